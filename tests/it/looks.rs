//! Looks at a database that come again and again: most of the time of a new connection goes into reading the schema with all
//! its triggers, which is several milliseconds, a hundred times a second.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _};

use crate::daemon::open;

/// A program's connection that stays open from one look to the next. It goes with whoever looks, so that nothing but a wait
/// keeps the database open; a file that is another one, or can't be read yet, is opened anew.
pub(crate) struct Looks {
    path: PathBuf,
    kept: Option<(FileId, Connection)>,
}

/// Device and inode.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

impl Looks {
    /// Looks at the file at a path, which need not be there yet.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, kept: None }
    }

    /// A number; 0 where there is none, or no table yet.
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        self.first(sql).unwrap_or(0)
    }

    /// A text; `None` where there is none, or no table yet.
    pub(crate) fn text(&mut self, sql: &str) -> Option<String> {
        self.first(sql)
    }

    fn first<T: FromSql>(&mut self, sql: &str) -> Option<T> {
        let id = file_id(&self.path)?;
        let (_, program) = self
            .kept
            .take_if(|(kept, _)| *kept == id)
            .unwrap_or_else(|| (id, open(&self.path)));
        let answer = program.prepare_cached(sql).and_then(|mut look| {
            look.query_row([], |row| row.get::<_, Option<T>>(0))
                .optional()
        });
        self.kept = answer.is_ok().then_some((id, program));
        answer.ok().flatten().flatten()
    }
}
