//! A look at a database whose disk can only be read. SQLite keeps an index of the log beside the file and makes it even to read:
//! where it can't be made, the look does without.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::database::access;
use crate::store::database::lease::beside;

/// What else a connection is opened with.
const UNSHARED: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX;

/// Opens a database to look at it. `otherwise`: how it is opened where its disk can be written, or the index of its log is there.
///
/// # Errors
/// SQLite's own.
pub(crate) fn open_to_look(path: &Path, otherwise: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, otherwise | UNSHARED)?;
    if !access::is_on_a_read_only_disk(path) || !lacks_index(&connection) {
        return Ok(connection);
    }
    drop(connection);
    match std::fs::metadata(beside(path, "-wal")) {
        Ok(log) if log.len() > 0 => with_its_log(path),
        Ok(_) | Err(_) => as_it_stands(path),
    }
}

fn lacks_index(connection: &Connection) -> bool {
    let looked = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_row| Ok(()));
    let error = looked.err().and_then(|error| error.sqlite_error_code());
    matches!(error, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// What a daemon left that was killed: SQLite reads the log itself and keeps its index in memory, as if nobody else had the file
/// open. Its locks would need the index, and whoever can only read keeps nobody from anything.
fn with_its_log(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | UNSHARED;
    let connection = Connection::open_with_flags_and_vfs(path, flags, "unix-none")?;
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_row| Ok(()))?;
    Ok(connection)
}

/// The file alone holds everything.
fn as_it_stands(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | UNSHARED;
    Connection::open_with_flags(immutable(path), flags)
}

/// The name by which SQLite opens a file that nobody changes.
fn immutable(path: &Path) -> PathBuf {
    // Of `//folder/crm.db` alone SQLite would take the folder for a host.
    let mut name = String::from(if path.is_absolute() {
        "file://"
    } else {
        "file:"
    });
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                name.push(char::from(*byte));
            }
            other => {
                // Nothing can fail that writes into a `String`.
                write!(name, "%{other:02x}").ok();
            }
        }
    }
    PathBuf::from(name + "?immutable=1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mode;
    use crate::store::testing::{connection, folder, open};

    fn cities(connection: &Connection) -> i64 {
        let sql = "SELECT count(*) FROM cities";
        connection.query_row(sql, [], |row| row.get(0)).expect(sql)
    }

    #[test]
    fn a_file_that_nobody_changes_is_read_by_its_name_whatever_is_in_it() {
        for (path, expected) in [
            ("/data/crm.db", "file:///data/crm.db?immutable=1"),
            ("//data/crm.db", "file:////data/crm.db?immutable=1"),
            ("crm.db", "file:crm.db?immutable=1"),
            (
                "/a b/100%?#.db",
                "file:///a%20b/100%25%3f%23.db?immutable=1",
            ),
        ] {
            assert_eq!(immutable(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn a_log_without_its_index_is_read_and_left_as_it_is() {
        let folder = folder();
        drop(open(&folder, Mode::Inline).expect("opens"));
        let program = connection(&folder);
        program
            .execute_batch("CREATE TABLE cities (name TEXT); INSERT INTO cities VALUES ('Oslo')")
            .expect("a program's table");
        // The copy is as a kill leaves it, on a disk that kept no index.
        let copy = folder.path().join("copy.db");
        let original = folder.path().join("crm.db");
        for suffix in ["", "-wal"] {
            std::fs::copy(beside(&original, suffix), beside(&copy, suffix)).expect("copied");
        }
        let log = || std::fs::read(beside(&copy, "-wal")).expect("a log");
        let before = log();
        assert!(!before.is_empty());
        let look = with_its_log(&copy).expect("opens");
        assert_eq!(cities(&look), 1);
        drop(look);
        assert!(log() == before, "it was written back");
        assert!(!beside(&copy, "-shm").exists());
        drop(program);
        assert_eq!(cities(&as_it_stands(&original).expect("opens")), 1);
    }
}
