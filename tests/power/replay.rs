//! Every disk that a cut may leave, opened again: what must be there, and what may.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

use crate::disk::{Cut, Disk, Files};
use crate::scenario::{self, Recorded};
use crate::vfs::Change;

/// One state in this many is also started from, as the daemon does.
const STARTED: usize = 16;

/// What a replay found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) states: usize,
    /// States in which an acknowledged transaction is missing.
    pub(crate) lost: usize,
    /// States that no number of whole transactions gives.
    pub(crate) half: usize,
    /// States that SQLite finds damaged or can't read.
    pub(crate) corrupt: usize,
    /// States from which the daemon can't start.
    pub(crate) stuck: usize,
    /// The first of each, for a person.
    pub(crate) examples: Vec<String>,
}

/// Cuts the power before every flush and at the end, `cuts` times each.
pub(crate) fn replay(recorded: &Recorded, seed: u64, cuts: usize) -> Found {
    let scratch = folder();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut disk = Disk::default();
    let mut found = Found::default();
    for (position, operation) in recorded.operations.iter().enumerate() {
        if matches!(operation.change, Change::Sync | Change::Delete { .. }) {
            for number in 0..cuts_worth(&disk, cuts) {
                let files = disk.cut(Cut::nth(number), &mut rng);
                found.check(recorded, position, &files, scratch.path());
            }
        }
        disk.apply(operation);
    }
    let files = disk.cut(Cut::All, &mut rng);
    found.check(recorded, recorded.operations.len(), &files, scratch.path());
    found
}

/// Where nothing waits to be flushed every cut leaves the same.
fn cuts_worth(disk: &Disk, cuts: usize) -> usize {
    if disk.waiting() == 0 { 1 } else { cuts }
}

/// A folder in memory where there is one: nothing in it is to outlive the test.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    made.expect("a folder")
}

impl Found {
    fn check(&mut self, recorded: &Recorded, position: usize, files: &Files, scratch: &Path) {
        self.states += 1;
        lay_out(files, scratch);
        let path = scratch.join("crm.db");
        let before = |limit: &dyn Fn(&scenario::Done) -> usize| {
            let count = recorded
                .transactions
                .iter()
                .filter(|done| limit(done) <= position);
            count.count()
        };
        let acknowledged = before(&|done| done.acknowledged);
        let begun = before(&|done| done.began);
        // The first start is several transactions; from whatever it left it is made again.
        if acknowledged > 0 {
            match read(&path) {
                Err(explanation) => self.note("corrupt", recorded, position, &explanation),
                Ok(content) => {
                    let whole =
                        |range: &[scenario::Done]| range.iter().any(|done| done.content == content);
                    if !whole(&recorded.transactions[acknowledged - 1..begun]) {
                        let kind = if whole(&recorded.transactions) {
                            "lost"
                        } else {
                            "half"
                        };
                        self.note(kind, recorded, position, "");
                    }
                }
            }
        }
        if acknowledged == 0 || self.states.is_multiple_of(STARTED) {
            match scenario::start(&path) {
                Ok(store) => store.close(),
                Err(error) => self.note("stuck", recorded, position, &error.to_string()),
            }
        }
    }

    fn note(&mut self, kind: &str, recorded: &Recorded, position: usize, explanation: &str) {
        let count = match kind {
            "lost" => &mut self.lost,
            "half" => &mut self.half,
            "corrupt" => &mut self.corrupt,
            _ => &mut self.stuck,
        };
        *count += 1;
        if *count == 1 {
            let last = recorded
                .transactions
                .iter()
                .rfind(|done| done.acknowledged <= position);
            self.examples.push(format!(
                "{kind} at operation {position}, after `{}` was acknowledged: {explanation}",
                last.map_or("nothing", |done| &done.what)
            ));
        }
    }
}

fn lay_out(files: &Files, scratch: &Path) {
    for name in ["crm.db", "crm.db-wal", "crm.db-shm", "crm.db-journal"] {
        let path = scratch.join(name);
        match files.get(name) {
            Some(bytes) => fs::write(&path, bytes).expect("writes"),
            None if path.exists() => fs::remove_file(&path).expect("removes"),
            None => {}
        }
    }
    // The lock file tells of restored backups, which is another test.
    let lock = scratch.join("crm.db.lock");
    if lock.exists() {
        fs::remove_file(lock).expect("removes");
    }
}

/// The content, if SQLite finds the file whole.
fn read(path: &Path) -> Result<u64, String> {
    let explanation = |error: rusqlite::Error| error.to_string();
    let connection = Connection::open(path).map_err(explanation)?;
    let checked: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .map_err(explanation)?;
    if checked != "ok" {
        return Err(checked);
    }
    content(&connection).map_err(explanation)
}

/// All rows of all tables as one number.
pub(crate) fn content(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection
        .prepare_cached("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let tables: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut hasher = DefaultHasher::new();
    for table in tables {
        table.hash(&mut hasher);
        let mut statement = connection.prepare_cached(&format!("SELECT * FROM \"{table}\""))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for index in 0..columns {
                hash(row.get_ref(index)?, &mut hasher);
            }
        }
    }
    Ok(hasher.finish())
}

fn hash(value: ValueRef<'_>, hasher: &mut DefaultHasher) {
    match value {
        ValueRef::Null => 0_u8.hash(hasher),
        ValueRef::Integer(number) => (1_u8, number).hash(hasher),
        ValueRef::Real(number) => (2_u8, number.to_bits()).hash(hasher),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => (3_u8, bytes).hash(hasher),
    }
}

/// What a scenario holds, so that a run that tests nothing is seen.
pub(crate) fn kinds(recorded: &Recorded) -> BTreeMap<(&str, &str), usize> {
    let mut kinds = BTreeMap::new();
    for operation in &recorded.operations {
        let kind = match operation.change {
            Change::Write { .. } => "write",
            Change::Truncate { .. } => "truncate",
            Change::Sync => "sync",
            Change::Delete { .. } => "delete",
        };
        *kinds.entry((operation.file.as_str(), kind)).or_default() += 1;
    }
    kinds
}
