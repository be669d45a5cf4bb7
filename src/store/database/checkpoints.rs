//! Who writes the log back into the file: hubsyncd, or another program that copies the log elsewhere (`[database] checkpoint`).
//!
//! The daemon keeps its setting in the database, so that the commands, which write beside it, leave the log alone as well.
//! A replica that misses a part of the log must be made anew: nothing is lost then, but it costs a copy of the whole file.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use crate::model::settings::Checkpoint;
use crate::store::{StoreError, meta};

/// The setting's name in `_sync_meta`.
const OWNER: &str = "checkpoint";

/// Keeps the setting for the commands.
pub(crate) fn keep(tx: &Transaction<'_>, checkpoint: Checkpoint) -> Result<(), StoreError> {
    if kept(tx)? == checkpoint {
        return Ok(());
    }
    meta::set(tx, OWNER, checkpoint.as_str())
}

/// The setting under which the daemon ran last; a file without our tables has none.
pub(crate) fn kept(connection: &Connection) -> rusqlite::Result<Checkpoint> {
    let is_ours = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = '_sync_meta'";
    if !connection.query_row(is_ours, [], |row| row.get::<_, bool>(0))? {
        return Ok(Checkpoint::Own);
    }
    let mut statement =
        connection.prepare_cached("SELECT value = :outside FROM _sync_meta WHERE name = :name")?;
    let names = named_params! { ":outside": Checkpoint::Outside.as_str(), ":name": OWNER };
    let is_outside: Option<bool> = statement.query_row(names, |row| row.get(0)).optional()?;
    Ok(match is_outside {
        Some(true) => Checkpoint::Outside,
        Some(false) | None => Checkpoint::Own,
    })
}

/// From now on this connection never writes the log back, also where it is the last one that closes.
pub(crate) fn leave(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// [`leave`]s the log to others where the daemon does.
pub(crate) fn as_the_daemon_does(connection: &Connection) -> rusqlite::Result<()> {
    match kept(connection)? {
        Checkpoint::Own => Ok(()),
        Checkpoint::Outside => leave(connection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::damage;
    use crate::store::testing::{self, connection};
    use crate::store::tokens;
    use crate::store::{Lane, Mode, Store};

    fn open(folder: &tempfile::TempDir, checkpoint: Checkpoint) -> Store {
        let options = crate::store::OpenOptions {
            checkpoint,
            ..testing::options(folder, Mode::Inline)
        };
        Store::open(&options, std::sync::Arc::new(testing::Standing)).expect("opens")
    }

    async fn write_much(store: &Store) {
        for letter in ('a'..='z').chain('A'..='Z') {
            let value = letter.to_string().repeat(100_000);
            let written = store.write(Lane::Bulk, move |tx| meta::set(tx, "a_test", &value));
            written.await.expect("written");
        }
    }

    #[tokio::test]
    async fn a_log_that_another_program_writes_back_is_left_alone_also_at_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes = |name: &str| {
            let file = std::fs::metadata(folder.path().join(name));
            file.map_or(0, |file| file.len())
        };
        let store = open(&folder, Checkpoint::Outside);
        write_much(&store).await;
        store.close();
        assert!(bytes("crm.db") <= 4096, "{}", bytes("crm.db"));
        assert!(bytes("crm.db-wal") > 4_000_000, "{}", bytes("crm.db-wal"));
        let beside = connection(&folder);
        as_the_daemon_does(&beside).expect("a setting");
        assert_eq!(kept(&beside).expect("a setting"), Checkpoint::Outside);
        drop(beside);
        // What commands look by is the last connection that closes, too.
        let path = folder.path().join("crm.db");
        let looked = tokens::look(&path, |_| Ok(())).expect("looks");
        assert!(looked.is_some());
        drop(tokens::looking(&path).expect("looks"));
        damage::look_through(&path).expect("whole");
        let clock: std::sync::Arc<dyn crate::clock::Clock> = std::sync::Arc::new(testing::Standing);
        tokens::beside_the_daemon(&path, &clock, |_| Ok(())).expect("writes");
        assert!(bytes("crm.db") <= 4096, "{}", bytes("crm.db"));
        assert!(bytes("crm.db-wal") > 4_000_000, "{}", bytes("crm.db-wal"));

        let store = open(&folder, Checkpoint::Own);
        store.close();
        assert!(bytes("crm.db") > 100_000, "{}", bytes("crm.db"));
        assert_eq!(bytes("crm.db-wal"), 0);
        let beside = connection(&folder);
        assert_eq!(kept(&beside).expect("a setting"), Checkpoint::Own);
    }
}
