//! Damage of the file, looked for before somebody meets it.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ffi;

use crate::store::{StoreError, tokens};

/// Reads the whole file for damage (`PRAGMA quick_check`), which takes about a second a gigabyte. Nothing where there is no file yet.
///
/// # Errors
/// [`StoreError::Corrupt`] with what was found first; or the file can't be read.
pub(crate) fn look_through(database: &Path) -> Result<(), StoreError> {
    let Some(connection) = tokens::looking(database)? else {
        return Ok(());
    };
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => {
            let code = ffi::Error::new(ffi::SQLITE_CORRUPT);
            let source = rusqlite::Error::SqliteFailure(code, Some(found));
            Err(StoreError::Corrupt(Arc::new(source)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::store::Mode;
    use crate::store::testing::{connection, folder, open};

    #[test]
    fn a_page_that_was_written_over_is_found_and_a_whole_file_is_not() {
        let folder = folder();
        let path = folder.path().join("crm.db");
        assert!(look_through(&path).is_ok(), "there is none");
        drop(open(&folder, Mode::Inline).expect("opens"));
        assert!(look_through(&path).is_ok());
        let root: i64 = connection(&folder)
            .query_row(
                "SELECT rootpage FROM sqlite_schema WHERE name = 'sync_history'",
                [],
                |row| row.get(0),
            )
            .expect("its page");
        let file = File::options().write(true).open(&path).expect("opens");
        file.write_all_at(&[0xff; 4_096], (root.unsigned_abs() - 1) * 4_096)
            .expect("written over");
        let damaged = look_through(&path).expect_err("it is damaged");
        assert_eq!(damaged.code(), "damaged-database");
    }
}
