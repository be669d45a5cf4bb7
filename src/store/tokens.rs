//! `_sync_tokens`: the OAuth installation, its tokens sealed. Login and logout write it beside a running daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, named_params};
use secrecy::SecretString;

use crate::clock::Clock;
use crate::model::id::PortalId;
use crate::model::settings::Checkpoint;
use crate::model::time::Timestamp;
use crate::store::database::migrate::{NEWEST, known_version};
use crate::store::database::readers;
use crate::store::database::writer;
use crate::store::database::{access, checkpoints, lease};
use crate::store::seal::{SealError, Sealer};
use crate::store::{Mode, OpenOptions, Store, StoreError, meta};

/// How long login waits for another program's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Both tokens as they are.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// For the next access token.
    pub refresh: SecretString,
    /// For requests.
    pub access: SecretString,
    /// When the access token was given.
    pub issued_at: Timestamp,
    /// When it dies.
    pub expires_at: Timestamp,
}

/// An installation, its tokens sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The portal.
    pub portal_id: PortalId,
    /// Grows with each login and renewal.
    pub generation: i64,
    refresh: String,
    access: String,
    /// When the access token was given.
    pub issued_at: Timestamp,
    /// When it dies.
    pub expires_at: Timestamp,
    /// What was granted, where HubSpot said it.
    pub scopes: Option<Vec<String>>,
    /// When somebody logged in.
    pub logged_in_at: Timestamp,
    /// HubSpot's words, once it refused the refresh token for good.
    pub problem: Option<String>,
}

impl Installation {
    /// Opens both tokens.
    ///
    /// # Errors
    /// [`SealError::OtherKey`].
    pub fn open(&self, sealer: &Sealer) -> Result<Tokens, SealError> {
        Ok(Tokens {
            refresh: sealer.open(&self.refresh, &place(self.portal_id, "refresh"))?,
            access: sealer.open(&self.access, &place(self.portal_id, "access"))?,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        })
    }
}

/// What a token is bound to.
fn place(portal: PortalId, which: &str) -> String {
    format!("hubsyncd portal {portal} {which} token")
}

/// Sealed tokens, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    refresh: String,
    access: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// Seals both tokens for a portal.
///
/// # Errors
/// [`SealError::NoRandom`].
pub(crate) fn seal(
    sealer: &Sealer,
    portal: PortalId,
    tokens: &Tokens,
) -> Result<Sealed, SealError> {
    Ok(Sealed {
        refresh: sealer.seal(&tokens.refresh, &place(portal, "refresh"))?,
        access: sealer.seal(&tokens.access, &place(portal, "access"))?,
        issued_at: tokens.issued_at,
        expires_at: tokens.expires_at,
    })
}

/// Whose installation a database may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// The one of its portal.
    Found(Box<Installation>),
    /// None.
    Nobody(Nobody),
}

/// Why there is no installation to be used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nobody {
    /// The portal of the database, or else of the mapping file.
    pub portal: Option<PortalId>,
    /// Portals with logins that are not this database's.
    pub others: Vec<PortalId>,
}

impl std::fmt::Display for Nobody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let others: Vec<String> = self.others.iter().map(ToString::to_string).collect();
        let others = others.join(" and ");
        match (self.portal, others.is_empty()) {
            (_, true) => formatter.write_str("nobody has logged in: run `hubsyncd auth login`"),
            (Some(portal), false) => write!(
                formatter,
                "nobody has logged in to portal {portal}, to which this database belongs, and a login to portal {others} \
                 is not used for it: run `hubsyncd auth login`"
            ),
            (None, false) => write!(
                formatter,
                "there are logins to portals {others}, and this database belongs to none yet: run `hubsyncd auth login` \
                 for the one that is meant"
            ),
        }
    }
}

/// The installation of the portal that the database was filled from; before that, of the one that the mapping file names;
/// before that, the only one.
///
/// # Errors
/// The database can't be read.
pub fn own(connection: &Connection, configured: Option<PortalId>) -> Result<Own, StoreError> {
    let mut all = all(connection)?;
    let portal = portal(connection)?.or(configured);
    let place = match portal {
        Some(portal) => all.iter().position(|one| one.portal_id == portal),
        None => (all.len() == 1).then_some(0),
    };
    Ok(match place {
        Some(place) => Own::Found(Box::new(all.swap_remove(place))),
        None => Own::Nobody(Nobody {
            portal,
            others: all.into_iter().map(|one| one.portal_id).collect(),
        }),
    })
}

/// The portal that the database was filled from.
fn portal(connection: &Connection) -> Result<Option<PortalId>, StoreError> {
    let remembered = meta::get(connection, meta::PORTAL_ID)?;
    Ok(remembered.and_then(|text| text.parse().ok().map(PortalId)))
}

/// Every installation, by portal.
///
/// # Errors
/// The database can't be read.
pub fn all(connection: &Connection) -> Result<Vec<Installation>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT portal_id, generation, refresh_token, access_token, issued_at, expires_at, scopes, logged_in_at, problem
         FROM _sync_tokens
         ORDER BY portal_id",
    )?;
    let time = |text: String| Timestamp::parse(&text).unwrap_or_default();
    let found = statement.query_map([], |row| {
        Ok(Installation {
            portal_id: PortalId(row.get(0)?),
            generation: row.get(1)?,
            refresh: row.get(2)?,
            access: row.get(3)?,
            issued_at: time(row.get(4)?),
            expires_at: time(row.get(5)?),
            scopes: row
                .get::<_, Option<String>>(6)?
                .map(|text| text.split(' ').map(str::to_owned).collect()),
            logged_in_at: time(row.get(7)?),
            problem: row.get(8)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Keeps renewed tokens, unless somebody logged in or out meanwhile. Tells the new generation.
pub(crate) fn renew(
    tx: &Connection,
    portal: PortalId,
    generation: i64,
    sealed: &Sealed,
) -> Result<Option<i64>, StoreError> {
    let renewed = tx
        .prepare_cached(
            "UPDATE _sync_tokens
             SET generation = generation + 1,
                 refresh_token = :refresh,
                 access_token = :access,
                 issued_at = :issued_at,
                 expires_at = :expires_at,
                 revoked_at = NULL,
                 problem = NULL
             WHERE portal_id = :portal AND generation = :generation
             RETURNING generation",
        )?
        .query_row(
            named_params! {
                ":portal": portal.0,
                ":generation": generation,
                ":refresh": sealed.refresh,
                ":access": sealed.access,
                ":issued_at": sealed.issued_at.to_string(),
                ":expires_at": sealed.expires_at.to_string(),
            },
            |row| row.get(0),
        )
        .optional()?;
    Ok(renewed)
}

/// Notes that HubSpot refused the refresh token for good.
pub fn revoked(
    tx: &Connection,
    portal: PortalId,
    generation: i64,
    explanation: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE _sync_tokens
         SET revoked_at = :now, problem = :words
         WHERE portal_id = :portal AND generation = :generation",
    )?
    .execute(named_params! {
        ":portal": portal.0,
        ":generation": generation,
        ":words": explanation,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Runs a job in a transaction on the database of a daemon that may run or not; the file is made where there is none.
///
/// # Errors
/// The file can't be opened or made, is newer, or is older and in use.
pub(crate) fn beside_the_daemon<T>(
    path: &Path,
    clock: &Arc<dyn Clock>,
    job: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    write_beside(path, clock, job).map_err(|error| access::explain(path, error))
}

fn write_beside<T>(
    path: &Path,
    clock: &Arc<dyn Clock>,
    job: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if version(path)? < NEWEST {
        let checkpoint = match look_beside(path, |connection| Ok(checkpoints::kept(connection)?))? {
            Some(kept) => kept,
            None => Checkpoint::Own,
        };
        let options = OpenOptions {
            path: path.to_owned(),
            mode: Mode::Inline,
            busy_timeout: BUSY_TIMEOUT,
            checkpoint,
        };
        Store::open(&options, Arc::clone(clock))?.close();
    }
    let mut connection = open(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", true)?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    known_version(&tx)?;
    let done = job(&tx)?;
    tx.commit()?;
    Ok(done)
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    writer::harden(&connection, BUSY_TIMEOUT)?;
    checkpoints::as_the_daemon_does(&connection)?;
    Ok(connection)
}

/// Reads a database that a daemon may be writing to, without a lock that it would wait for. `None` where there is no file,
/// or one that is older than logins.
///
/// # Errors
/// The file can't be read, or is newer.
pub fn look<T>(
    path: &Path,
    job: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    look_beside(path, job).map_err(|error| access::explain(path, error))
}

fn look_beside<T>(
    path: &Path,
    job: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    connect_beside(path)?
        .map(|connection| job(&connection))
        .transpose()
}

/// A connection for longer looks; `None` as of [`look`].
///
/// # Errors
/// The file can't be read, or is newer.
pub(crate) fn looking(path: &Path) -> Result<Option<Connection>, StoreError> {
    connect_beside(path).map_err(|error| access::explain(path, error))
}

fn connect_beside(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = readers::connect(path, BUSY_TIMEOUT)?;
    known_version(&connection)?;
    checkpoints::as_the_daemon_does(&connection)?;
    let is_there: bool = connection.query_row(
        "SELECT count(*) > 0 FROM sqlite_schema WHERE name = '_sync_tokens'",
        [],
        |row| row.get(0),
    )?;
    Ok(is_there.then_some(connection))
}

/// The version of the file's bookkeeping; -1 where there is no file.
fn version(path: &Path) -> Result<i64, StoreError> {
    if !path.exists() {
        return Ok(-1);
    }
    known_version(&open(path)?)
}

/// Keeps a login, and forgets those to other portals, which it tells.
///
/// # Errors
/// [`StoreError::OtherPortal`] where the file was filled from another portal.
pub(crate) fn log_in(
    tx: &rusqlite::Transaction<'_>,
    portal: PortalId,
    sealed: &Sealed,
    scopes: Option<&[String]>,
    now: Timestamp,
) -> Result<Vec<Installation>, StoreError> {
    if meta::get(tx, meta::PORTAL_ID)?.is_some() {
        lease::check_portal(tx, portal)?;
    }
    tx.execute(
        "INSERT INTO _sync_tokens
             (portal_id, generation, refresh_token, access_token, issued_at, expires_at, scopes, logged_in_at)
         VALUES (:portal, 1, :refresh, :access, :issued_at, :expires_at, :scopes, :now)
         ON CONFLICT (portal_id) DO UPDATE
         SET generation = generation + 1,
             refresh_token = excluded.refresh_token,
             access_token = excluded.access_token,
             issued_at = excluded.issued_at,
             expires_at = excluded.expires_at,
             scopes = excluded.scopes,
             logged_in_at = excluded.logged_in_at,
             revoked_at = NULL,
             problem = NULL",
        named_params! {
            ":portal": portal.0,
            ":refresh": sealed.refresh,
            ":access": sealed.access,
            ":issued_at": sealed.issued_at.to_string(),
            ":expires_at": sealed.expires_at.to_string(),
            ":scopes": scopes.map(|scopes| scopes.join(" ")),
            ":now": now.to_string(),
        },
    )?;
    let mut replaced = all(tx)?;
    replaced.retain(|one| one.portal_id != portal);
    for one in &replaced {
        log_out(tx, one.portal_id)?;
    }
    Ok(replaced)
}

/// Forgets an installation. Tells whether there was one.
pub(crate) fn log_out(
    tx: &rusqlite::Transaction<'_>,
    portal: PortalId,
) -> Result<bool, StoreError> {
    let gone = tx.execute(
        "DELETE FROM _sync_tokens WHERE portal_id = :portal",
        named_params! { ":portal": portal.0 },
    )?;
    Ok(gone > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Standing, folder, now, open as open_store};

    fn used(connection: &Connection, configured: Option<i64>) -> Result<i64, String> {
        match own(connection, configured.map(PortalId)).expect("read") {
            Own::Found(found) => Ok(found.portal_id.0),
            Own::Nobody(nobody) => Err(nobody.to_string()),
        }
    }

    fn sealed() -> Sealed {
        Sealed {
            refresh: "r".to_owned(),
            access: "a".to_owned(),
            issued_at: now(),
            expires_at: now(),
        }
    }

    #[test]
    fn only_the_login_of_the_database_s_portal_is_used() {
        let folder = folder();
        let path = folder.path().join("crm.db");
        open_store(&folder, Mode::Inline).expect("opens").close();
        let clock: Arc<dyn Clock> = Arc::new(Standing);
        beside_the_daemon(&path, &clock, |tx| {
            let login = |portal| log_in(tx, PortalId(portal), &sealed(), None, now());
            let nobody = used(tx, None).expect_err("nobody");
            assert_eq!(nobody, "nobody has logged in: run `hubsyncd auth login`");
            // Before the file belongs to a portal, the newest login replaces what lies there.
            assert!(login(7)?.is_empty());
            assert_eq!(used(tx, None), Ok(7));
            let replaced = login(8)?;
            assert_eq!((replaced.len(), replaced[0].portal_id), (1, PortalId(7)));
            assert_eq!(used(tx, None), Ok(8));
            let other = used(tx, Some(7)).expect_err("the file names another");
            assert!(
                other.contains("a login to portal 8 is not used"),
                "{other}"
            );
            // A file from an older time may hold several.
            tx.execute(
                "INSERT INTO _sync_tokens
                     (portal_id, generation, refresh_token, access_token, issued_at, expires_at, logged_in_at)
                 SELECT 9, 1, 'r', 'a', issued_at, expires_at, logged_in_at FROM _sync_tokens",
                [],
            )?;
            let several = used(tx, None).expect_err("several");
            assert!(several.contains("portals 8 and 9"), "{several}");
            meta::set(tx, meta::PORTAL_ID, "8")?;
            assert_eq!(used(tx, None), Ok(8));
            assert_eq!(used(tx, Some(9)), Ok(8), "the file's own portal goes first");
            log_out(tx, PortalId(8))?;
            let gone = used(tx, None).expect_err("logged out");
            assert!(
                gone.contains("to portal 8") && gone.contains("a login to portal 9 is not used"),
                "{gone}"
            );
            Ok(())
        })
        .expect("done");
    }
}
