//! A database with two contacts that HubSpot knows, and the clients that write to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tempfile::TempDir;

use super::programs::Program;
use crate::model::entry::{Base, EntryField};
use crate::model::id::OutboxId;
use crate::model::mapping::{Direction, Mapping};
use crate::model::value::PropertyType;
use crate::store::shape::{ddl, matching};
use crate::store::testing::{
    Standing, at_once, contacts, field, folder, mapping, now, object, open, options, shown,
};
use crate::store::{Lane, Mode, Store, conflicts, outbox, rowjson};

/// Conflict clauses of INSERT and UPDATE.
pub(super) const CLAUSES: [&str; 6] = [
    "",
    "OR REPLACE",
    "OR IGNORE",
    "OR FAIL",
    "OR ABORT",
    "OR ROLLBACK",
];

/// What the daemon would have written: contacts 1 and 2, a company and a deal, all first reads done.
pub(super) const RECORDS: &str = "
    INSERT INTO contacts (local_id, hs_id, email, first_name, revenue, price, owner, opt_out, birthday, seen, stage, interests,
                          score, hs_created_at, hs_modified_at)
    VALUES (1, 101, 'ada@example.com', 'Ada', 1.5, '12.50', 7, 0, '1815-12-10', '2026-11-24T03:10:00.000Z', 'lead', 'a;b',
            9.0, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'),
           (2, 102, 'bob@example.com', 'Bob', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z');
    INSERT INTO companies (local_id, hs_id, name) VALUES (1, 201, 'Analytical Engines');
    INSERT INTO deals (local_id, hs_id, amount) VALUES (1, 301, 5);
    UPDATE _sync_cursors SET backfill = 'done', polled_to = '2026-11-24T00:00:00.000Z';
";

/// A program that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// SQLite as it is built in.
    Own,
    /// The system's `sqlite3`.
    System,
}

/// A file of its own, and one client.
pub(super) struct Scene {
    folder: TempDir,
    path: PathBuf,
    client: Client,
    recursive_triggers: bool,
    program: Program,
    /// Looks, and writes what the daemon would: no trigger fires.
    daemon: Connection,
}

/// Contacts both ways, companies from HubSpot, deals to HubSpot.
pub(super) fn objects() -> Mapping {
    let amount = field("amount", "amount", PropertyType::Number, Direction::Push);
    let name = field("name", "name", PropertyType::String, Direction::Pull);
    mapping(vec![
        contacts(),
        object("companies", Direction::Pull, vec![name]),
        object("deals", Direction::Push, vec![amount]),
    ])
}

/// Acts in a fresh scene of each client.
pub(super) fn everywhere(act: impl Fn(&Scene)) {
    // A test that acts in dozens of scenes makes the file once.
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    in_each(MADE.get_or_init(|| make(objects(), RECORDS)), act);
}

/// Acts in a fresh scene of each client, under another mapping and with other records.
pub(super) fn with_mapping(mapping: Mapping, records: &str, act: impl Fn(&Scene)) {
    in_each(&make(mapping, records), act);
}

fn in_each(made: &[u8], act: impl Fn(&Scene)) {
    for client in [Client::Own, Client::System] {
        for recursive_triggers in [false, true] {
            let scene = Scene::copy_of(made, client, recursive_triggers);
            act(&scene);
        }
    }
}

/// Acts in a fresh scene of each client with each conflict clause.
pub(super) fn with_each_clause(clauses: &[&str], act: impl Fn(&Scene, &str)) {
    for clause in clauses {
        eprintln!("with `{clause}`");
        everywhere(|scene| act(scene, clause));
    }
}

/// What a file with these tables and records holds.
fn make(mapping: Mapping, records: &str) -> Vec<u8> {
    let (folder, records) = (folder(), records.to_owned());
    let store = open(&folder, Mode::Inline).expect("opens");
    let fill = move |tx: &crate::store::WriteTx<'_>| {
        let changes = ddl::fit_to_mapping(tx, &mapping, now())?;
        assert_eq!(changes.put_back, Vec::<String>::new());
        Ok(tx.execute_batch(&records)?)
    };
    at_once(store.write(Lane::Bulk, fill)).expect("fills");
    store.close();
    fs::read(folder.path().join("crm.db")).expect("reads")
}

impl Scene {
    fn copy_of(made: &[u8], client: Client, recursive_triggers: bool) -> Self {
        eprintln!("as {client:?}, recursive_triggers {recursive_triggers}");
        let folder = folder();
        let path = folder.path().join("crm.db");
        fs::write(&path, made).expect("writes");
        let daemon = Connection::open(&path).expect("opens");
        daemon
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
            .expect("turns triggers off");
        matching::register(&daemon).expect("registers");
        // More than there are tables: before and behind a statement all of them are read.
        daemon.set_prepared_statement_cache_capacity(128);
        Self {
            folder,
            program: Program::of(client, &path, recursive_triggers),
            path,
            client,
            recursive_triggers,
            daemon,
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client
    }

    pub(super) fn has_recursive_triggers(&self) -> bool {
        self.recursive_triggers
    }

    pub(super) fn folder(&self) -> &TempDir {
        &self.folder
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs statements as the program, up to the first that is refused: its sentence. Whatever came of it, the bookkeeping is
    /// in order afterwards.
    pub(super) fn run(&self, sql: &str) -> Result<(), String> {
        let done = self.program.run(sql);
        self.check_order();
        done
    }

    /// Runs statements that are taken.
    pub(super) fn do_run(&self, sql: &str) {
        assert_eq!(self.run(sql), Ok(()), "{sql}");
    }

    /// Runs statements that are refused with this sentence, and leave everything as it was.
    pub(super) fn refused(&self, sql: &str, sentence: &str) {
        let before = self.all();
        assert_eq!(self.run(sql), Err(sentence.to_owned()), "{sql}");
        assert_eq!(self.all(), before, "{sql}");
    }

    /// Runs statements that change nothing that is ours or HubSpot's.
    pub(super) fn does_nothing(&self, sql: &str) {
        let before = self.all();
        self.do_run(sql);
        assert_eq!(self.all(), before, "{sql}");
    }

    /// Makes the triggers of contacts anew, the last one first: SQLite fires those of one event in an order that follows it.
    pub(super) fn turn_triggers_round(&self) {
        let triggers =
            "FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'sync_mirror_contacts_%'";
        let names = self.rows(&format!("SELECT name {triggers}"));
        let texts = self.rows(&format!("SELECT sql {triggers} ORDER BY rowid DESC"));
        let drops = names.iter().map(|name| format!("DROP TRIGGER {name}"));
        let turned: Vec<String> = drops.chain(texts).collect();
        self.as_daemon(&format!("BEGIN; {}; COMMIT", turned.join("; ")));
    }

    /// Runs statements as the daemon: no trigger fires.
    pub(super) fn as_daemon(&self, sql: &str) {
        self.daemon.execute_batch(sql).expect("runs");
    }

    /// What the daemon does every minute: the names of what it put back.
    pub(super) fn repair(&self) -> Vec<String> {
        let options = options(&self.folder, Mode::Inline);
        let store = Store::open(&options, Arc::new(Standing)).expect("opens");
        let repaired = at_once(store.write(Lane::Bulk, |tx| ddl::repair(tx, &objects(), now())));
        store.close();
        repaired.expect("repairs")
    }

    /// The rows of a query, columns joined by spaces; NULL is `-`.
    pub(super) fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.daemon.prepare_cached(sql).expect(sql);
        let columns = statement.column_count();
        let lines = statement.query_map([], |row| {
            let texts: Result<Vec<String>, _> = (0..columns)
                .map(|index| row.get_ref(index).map(shown))
                .collect();
            Ok(texts?.join(" "))
        });
        lines.expect(sql).collect::<Result<_, _>>().expect("reads")
    }

    /// Contacts: both ids, email, first name.
    pub(super) fn contacts(&self) -> Vec<String> {
        self.rows("SELECT local_id, hs_id, email, first_name FROM contacts ORDER BY local_id")
    }

    /// The outbox in sentences: operation, object, row, record, state and what it waits for where that is unusual, and the
    /// fields with their bases.
    pub(super) fn outbox(&self) -> Vec<String> {
        self.rows(
            "SELECT operation || ' ' || object || ' ' || local_id || ' ' || coalesce(hs_id, '-')
                    || CASE state WHEN 'pending' THEN '' ELSE ', ' || state END
                    || CASE WHEN unanswered_since IS NULL THEN '' ELSE ', unanswered' END
                    || coalesce(', waits for ' || waits_for, '')
                    || CASE WHEN row IS NULL THEN '' ELSE ', keeps the row' END
                    || coalesce((SELECT group_concat('; ' || f.property || ' was ' || coalesce(f.base_value, '-')
                                                     || CASE f.base_known WHEN 1 THEN '' ELSE '?' END, '')
                                 FROM (SELECT * FROM sync_outbox_fields WHERE outbox_id = e.id ORDER BY property) AS f), '')
             FROM sync_outbox AS e
             ORDER BY object, local_id",
        )
    }

    /// What the daemon does before it looks at open conflicts.
    pub(super) fn spell_conflicts(&self) {
        assert!(conflicts::is_misspelled(&self.daemon).expect("looks"));
        let tx = self.daemon.unchecked_transaction().expect("begins");
        conflicts::spell(&tx).expect("spells");
        tx.commit().expect("commits");
        assert!(!conflicts::is_misspelled(&self.daemon).expect("looks"));
    }

    fn queued(&self) -> Vec<crate::model::entry::Entry> {
        let mut statement = self
            .daemon
            .prepare_cached("SELECT id FROM sync_outbox ORDER BY object, local_id")
            .expect("prepares");
        let ids = statement.query_map([], |row| row.get(0).map(OutboxId));
        ids.expect("asks")
            .map(|id| {
                let queued = outbox::by_id(&self.daemon, id.expect("reads"));
                queued.expect("reads").expect("is there")
            })
            .collect()
    }

    /// The outbox as the daemon reads it: operation, row, and the fields with their bases.
    pub(super) fn read_by_the_daemon(&self) -> Vec<String> {
        let field = |field: &EntryField| {
            let base = match &field.base {
                Base::Known(value) => value.as_deref().unwrap_or("-"),
                Base::Unknown => "?",
            };
            format!("; {} was {base}", field.property)
        };
        let queued = self.queued();
        queued
            .iter()
            .map(|queued| {
                let fields: String = queued.fields.iter().map(field).collect();
                let operation = queued.standing.operation.as_str();
                format!("{operation} {}{fields}", queued.local_id)
            })
            .collect()
    }

    /// What the rows that entries keep say of a property, as the daemon reads them.
    pub(super) fn kept_by_the_daemon(&self, property: &str) -> Vec<String> {
        let kept = |queued: &crate::model::entry::Entry| {
            let row = queued.row.as_deref()?;
            rowjson::text_in(row, property)?
        };
        self.queued().iter().filter_map(kept).collect()
    }

    /// What the program itself reads.
    pub(super) fn reads(&self, sql: &str) -> Vec<String> {
        match self.client {
            Client::Own => self.rows(sql),
            Client::System => {
                let output = Command::new("sqlite3")
                    .args(["-batch", "-separator", " ", "-nullvalue", "-"])
                    .arg(&self.path)
                    .arg(sql)
                    .output()
                    .expect("install the package `sqlite3`: the suite runs it as a client");
                assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{sql}");
                let text = String::from_utf8(output.stdout).expect("is text");
                text.lines().map(str::to_owned).collect()
            }
        }
    }

    /// Everything but what is noted for one statement, which may stay behind.
    fn all(&self) -> Vec<String> {
        let tables =
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'
                      AND name NOT IN ('_sync_replaced', '_sync_written', '_sync_left')";
        self.rows(tables)
            .iter()
            .flat_map(|table| self.rows(&format!("SELECT '{table}', * FROM \"{table}\"")))
            .collect()
    }

    /// What holds after any statement.
    fn check_order(&self) {
        let none = Vec::<String>::new();
        assert_eq!(self.rows("SELECT open FROM _sync_gate"), ["0"]);
        assert_eq!(self.rows("SELECT property FROM _sync_changed"), none);
        let orphans =
            "SELECT * FROM sync_outbox_fields WHERE outbox_id NOT IN (SELECT id FROM sync_outbox)";
        assert_eq!(self.rows(orphans), none);
        let keyless = "SELECT * FROM sync_outbox WHERE operation = 'create'
                       AND (length(key) <> 32 OR key GLOB '*[^0-9a-f]*' OR key IN (SELECT key FROM sync_outbox GROUP BY key HAVING count(*) > 1))";
        assert_eq!(self.rows(keyless), none);
        let timeless = "SELECT * FROM sync_outbox WHERE state = 'pending' AND waits_for IS NULL AND next_attempt_at IS NULL
                        UNION ALL SELECT * FROM sync_outbox WHERE enqueued_at NOT GLOB '????-??-??T??:??:??.???Z'";
        assert_eq!(self.rows(timeless), none);
    }
}
