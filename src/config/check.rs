//! File → `Config`, or every mistake at once, each with line, column and remedy.
//!
//! One file a group of sections stands below. A section that has a mistake is read to its end with defaults in place of
//! what is wrong; the result is used only when there was none.

use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::config::check::syntax::Mistake;
use crate::config::check::values::LookForSecret;
use crate::config::file::TomlTable;
use crate::config::keys;
use crate::config::problem::{Problem, Report, Severity, UNREADABLE};
use crate::config::reader::Reader;
use crate::config::render::Setting;
use crate::config::secret::SecretSource;
use crate::config::settings::{Auth, Config};
use crate::config::source::{FileSource, MAX_FILE_BYTES, ReadFailure};

pub(crate) use crate::config::check::connection::needs_leave;

mod associations;
mod auth;
mod connection;
mod creates;
mod daemon;
mod existence;
mod fields;
mod names;
mod objects;
mod rhythm;
mod syntax;
mod values;
mod webhooks;

/// What `check` found out about a file.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The settings, unless there is an error.
    pub config: Option<Config>,
    /// The database, where the file names it beyond doubt, whatever else is wrong.
    pub database: Option<PathBuf>,
    /// The mistakes.
    pub report: Report,
    /// Every setting in force; meaningful where `config` is there.
    pub settings: Vec<Setting>,
}

/// Checks a file. It is read once and nothing else is touched.
pub(crate) fn check_file(path: &Path) -> Checked {
    finish(path, FileSource::read(path), |_| Ok(()))
}

/// Checks a file, and warns of secrets that are not there for whoever runs the check.
pub(crate) fn check_file_and_secrets(path: &Path) -> Checked {
    finish(path, FileSource::read(path), SecretSource::look)
}

/// Checks bytes as if they were a file's.
pub(crate) fn check_bytes(path: &Path, bytes: Vec<u8>) -> Checked {
    finish(path, FileSource::from_bytes(path, bytes), |_| Ok(()))
}

fn finish(path: &Path, source: Result<FileSource, ReadFailure>, look: LookForSecret) -> Checked {
    match source {
        Ok(source) => check_source(&source, look),
        Err(failure) => {
            let report = Report::unreadable(path, unreadable(path, failure));
            Checked {
                config: None,
                database: None,
                report,
                settings: Vec::new(),
            }
        }
    }
}

fn check_source(source: &FileSource, look: LookForSecret) -> Checked {
    let (text, mistakes) = syntax::without_mistakes(source);
    let (document, _) = DeTable::parse_recoverable(&text);
    let mut reader = Reader::new(source);
    let config = read_root(&mut reader, document.get_ref());
    let is_sure = names_its_database(&reader, document.get_ref(), &mistakes);
    let database = is_sure.then(|| config.database.clone());
    syntax::note(&mut reader, &mistakes);
    reader.warn_of_missing_secrets(look);
    let report = Report::new(source, &reader.secrets, reader.problems);
    let config = report.is_ok().then(|| Config {
        warnings: report.problems.clone(),
        ..config
    });
    Checked {
        config,
        database,
        report,
        settings: reader.settings,
    }
}

/// Whether it is beyond doubt which database the file means: its path is written and right, or nothing that is wrong may be that line.
fn names_its_database(reader: &Reader<'_>, document: &DeTable<'_>, mistakes: &[Mistake]) -> bool {
    let errors = reader.problems.iter();
    let mut errors = errors.filter(|problem| problem.severity == Severity::Error);
    let root = TomlTable::from_toml(String::new(), document);
    let is_written = root.get("database").is_some_and(|entry| {
        let DeValue::Table(table) = entry.value else {
            return false;
        };
        let table = TomlTable::from_toml(entry.path.clone(), table);
        table.get("path").is_some()
    });
    let is_about_it = |problem: &Problem| problem.key.split('.').next() == Some("database");
    if is_written {
        return !errors.any(is_about_it)
            && !syntax::may_be_about(reader.source, mistakes, &["database", "path"]);
    }
    // A section's name may be what is misspelt.
    let is_of_root = |problem: &Problem| !problem.key.contains('.');
    mistakes.is_empty() && !errors.any(|problem| is_about_it(problem) || is_of_root(problem))
}

/// Reads every section, whatever is wrong in one of them.
fn read_root(reader: &mut Reader<'_>, document: &DeTable<'_>) -> Config {
    let root = reader.root(document, keys::ROOT);
    let portal = connection::portal(reader, &root);
    let (auth, sees) = auth::auth(reader, &root);
    let (database, checkpoint) = connection::database(reader, &root);
    let is_oauth = matches!(auth, Auth::OAuth(_));
    let limits = daemon::limits(reader, &root, portal.tier, is_oauth);
    let mut poll = rhythm::schedule(reader, &root);
    let webhooks = webhooks::webhooks(reader, &root);
    let http = daemon::http(reader, &root);
    let door = webhooks.as_ref().map(|webhooks| webhooks.listen);
    let health = http.as_ref().map(|http| http.listen);
    daemon::one_port_each(reader, &root, health, door);
    let policy = objects::default_policy(reader, &root);
    let log = daemon::log(reader, &root);
    let mut mapping = objects::mapping(reader, &root, policy, sees, &mut poll);
    mapping.pairs = associations::associations(reader, &root, &mapping.objects);
    auth::scopes(reader, &root, &auth, &mapping);
    let creates = std::mem::take(&mut reader.creates);
    let guard = daemon::guard(reader, &root);
    let retention = daemon::retention(reader, &root);
    let warnings = Vec::new();
    Config {
        portal,
        auth,
        database,
        checkpoint,
        limits,
        poll,
        webhooks,
        http,
        log,
        guard,
        retention,
        mapping,
        creates,
        warnings,
    }
}

/// The one problem of a file without text.
fn unreadable(path: &Path, failure: ReadFailure) -> Problem {
    let (code, message, hint, line, column) = match failure {
        ReadFailure::Io(error) => {
            let hint = io_hint(&error);
            (
                UNREADABLE,
                format!("can't read `{}`: {}", path.display(), io_words(&error)),
                hint.to_owned(),
                1,
                1,
            )
        }
        ReadFailure::TooLarge => {
            let message = format!(
                "`{}` is larger than {} KiB",
                path.display(),
                MAX_FILE_BYTES / 1024
            );
            (
                "too-large",
                message,
                "give the path of a mapping file, or map fewer properties".to_owned(),
                1,
                1,
            )
        }
        ReadFailure::NotText(valid) => {
            let (line, column) = FileSource::new(path, valid.clone()).position(valid.len());
            let message = format!("`{}` is not UTF-8 text", path.display());
            (
                "not-text",
                message,
                "save it as UTF-8".to_owned(),
                line,
                column,
            )
        }
    };
    let severity = Severity::Error;
    Problem {
        severity,
        code,
        file: path.to_owned(),
        line,
        column,
        key: String::new(),
        message,
        hint,
        span: 0..0,
    }
}

/// Why a file can't be read, as people say it.
fn io_words(error: &io::Error) -> String {
    let explanation = [
        (io::ErrorKind::NotFound, "there is no such file"),
        (io::ErrorKind::PermissionDenied, "this user may not read it"),
        (io::ErrorKind::IsADirectory, "it is a folder"),
        (
            io::ErrorKind::NotADirectory,
            "what stands before the last `/` is no folder",
        ),
    ];
    let known = explanation.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(
        || error.to_string(),
        |(_, explanation)| (*explanation).to_owned(),
    )
}

fn io_hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::NotFound {
        "give the path with `--config PATH` or in `HUBSYNCD_CONFIG`; a file with `[objects.contacts]` is enough"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "let the user that runs hubsyncd read it"
    } else {
        "give the path of a file"
    }
}

#[cfg(test)]
mod tests;
