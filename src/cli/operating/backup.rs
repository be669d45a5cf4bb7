//! `backup`: a copy of the database, while the daemon runs.

use std::io::Write;
use std::path::Path;

use crate::cli::ExitStatus;
use crate::cli::format::thousands;
use crate::store::commands::CommandDb;

/// Copies the database and says where to.
///
/// # Errors
/// The database can't be read, something is at the path, or the copy can't be written.
pub fn backup(database: &Path, path: &Path, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let bytes = CommandDb::open(database)?.back_up(path)?;
    let kib = i64::try_from(bytes.div_ceil(1024)).unwrap_or(i64::MAX);
    writeln!(out, "{}: {} KiB, checked", path.display(), thousands(kib))?;
    Ok(ExitStatus::Done)
}
