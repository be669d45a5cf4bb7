//! `Reader`: reads entries by type, notes every mistake and every setting, and goes on.
//!
//! It knows types of TOML (text, number, list, table) and what a secret's key is called, not what a key means: that is
//! `check/`.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use crate::config::conceal::{names_a_secret, names_a_secret_table, redact, redact_public};
use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::keys;
use crate::config::problem::{Problem, Severity};
use crate::config::render::{Setting, SettingOrigin};
use crate::config::secret::SecretSource;
use crate::config::source::FileSource;
use crate::config::suggest::{nearest, which};
use crate::decide::portal::wishes::PropertyWish;

/// Problems that are kept: a file with more is no mapping file.
const MOST_PROBLEMS: usize = 1000;

/// The settings whose values may look like a secret and are none: each by its whole path, since an object's `key` is no file.
const PUBLIC: [&str; 6] = [
    "auth.oauth.client_id",
    "database.path",
    "webhooks.path",
    "webhooks.public_url",
    "webhooks.tls.cert",
    "webhooks.tls.key",
];

/// Collects problems, places of secrets and settings while a file is read.
pub(crate) struct Reader<'s> {
    /// The file.
    pub(crate) source: &'s FileSource,
    /// Every mistake so far.
    pub(crate) problems: Vec<Problem>,
    /// Places of secrets written in clear.
    pub(crate) secrets: Vec<Range<usize>>,
    /// Every setting in force, in reading order.
    pub(crate) settings: Vec<Setting>,
    /// Where the secrets lie that are in use, with the key and its place in the file.
    pub(crate) in_use: Vec<(SecretSource, String, Range<usize>)>,
    /// The properties that the file declares.
    pub(crate) creates: Vec<PropertyWish>,
}

impl<'s> Reader<'s> {
    /// A reader that has found nothing yet.
    pub(crate) fn new(source: &'s FileSource) -> Self {
        Self {
            source,
            problems: Vec::new(),
            secrets: Vec::new(),
            settings: Vec::new(),
            in_use: Vec::new(),
            creates: Vec::new(),
        }
    }

    /// Notes a mistake.
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        span: &Range<usize>,
        key: &str,
        message: &str,
        hint: &str,
    ) {
        self.note(Severity::Error, code, span, key, message, hint);
    }

    /// Notes something to look at.
    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        span: &Range<usize>,
        key: &str,
        message: &str,
        hint: &str,
    ) {
        self.note(Severity::Warning, code, span, key, message, hint);
    }

    /// Notes that this version can't do what is asked for.
    pub(crate) fn not_yet(&mut self, span: &Range<usize>, key: &str, what: &str, hint: &str) {
        self.error(
            "not-yet",
            span,
            key,
            &format!("this version can't do {what} yet"),
            hint,
        );
    }

    fn note(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: &Range<usize>,
        key: &str,
        message: &str,
        hint: &str,
    ) {
        if self.problems.len() >= MOST_PROBLEMS {
            return;
        }
        let (line, column) = self.source.position(span.start);
        self.problems.push(Problem {
            severity,
            code,
            file: self.source.path.clone(),
            line,
            column,
            key: redact(key),
            message: redact(message),
            hint: redact(hint),
            span: span.clone(),
        });
    }

    /// The whole file as a table; every mistake of TOML is noted and what could be read is kept.
    pub(crate) fn root<'t>(&mut self, document: &'t DeTable<'t>, known: &[&str]) -> TomlTable<'t> {
        let table = TomlTable::from_toml(String::new(), document);
        self.unknown_keys(&table, known);
        table
    }

    /// A table below another, empty where it is left out or is no table.
    pub(crate) fn section<'t>(
        &mut self,
        parent: &TomlTable<'t>,
        name: &str,
        known: &[&str],
    ) -> TomlTable<'t> {
        let found = parent
            .get(name)
            .cloned()
            .and_then(|entry| self.table(&entry, known));
        found.unwrap_or_else(|| TomlTable {
            path: join(&parent.path, name),
            entries: Vec::new(),
        })
    }

    /// An entry as a table with some known keys.
    pub(crate) fn table<'t>(
        &mut self,
        entry: &KeyAndValue<'t>,
        known: &[&str],
    ) -> Option<TomlTable<'t>> {
        let table = self.free_table(entry)?;
        self.unknown_keys(&table, known);
        Some(table)
    }

    /// An entry as a table whose keys are names that people choose.
    pub(crate) fn free_table<'t>(&mut self, entry: &KeyAndValue<'t>) -> Option<TomlTable<'t>> {
        let DeValue::Table(table) = entry.value else {
            self.wrong_type(entry, "a table");
            return None;
        };
        Some(TomlTable::from_toml(entry.path.clone(), table))
    }

    /// Whether an entry is a table.
    pub(crate) fn is_table(entry: &KeyAndValue<'_>) -> bool {
        entry.value.is_table()
    }

    /// The entries of a list.
    pub(crate) fn list<'t>(&mut self, entry: &KeyAndValue<'t>) -> Option<Vec<KeyAndValue<'t>>> {
        let DeValue::Array(array) = entry.value else {
            self.wrong_type(entry, "a list in `[ ]`");
            return None;
        };
        let element = |value: &'t toml::Spanned<DeValue<'t>>| KeyAndValue {
            span: value.span(),
            value: value.get_ref(),
            ..entry.clone()
        };
        Some(array.iter().map(element).collect())
    }

    /// Whether an entry is a list.
    pub(crate) fn is_list(entry: &KeyAndValue<'_>) -> bool {
        entry.value.is_array()
    }

    /// An entry as text.
    pub(crate) fn text<'t>(&mut self, entry: &KeyAndValue<'t>) -> Option<&'t str> {
        let DeValue::String(text) = entry.value else {
            self.wrong_type(entry, "text in quotes");
            return None;
        };
        Some(text)
    }

    /// The text of an entry that may be something else.
    pub(crate) fn peek_text<'t>(entry: &KeyAndValue<'t>) -> Option<&'t str> {
        if let DeValue::String(text) = entry.value {
            Some(text)
        } else {
            None
        }
    }

    /// An entry as `true` or `false`.
    pub(crate) fn boolean(&mut self, entry: &KeyAndValue<'_>) -> Option<bool> {
        let DeValue::Boolean(value) = entry.value else {
            self.wrong_type(entry, "`true` or `false`");
            return None;
        };
        Some(*value)
    }

    /// An entry as a whole number within bounds.
    pub(crate) fn integer(
        &mut self,
        entry: &KeyAndValue<'_>,
        bounds: RangeInclusive<u64>,
    ) -> Option<u64> {
        let DeValue::Integer(number) = entry.value else {
            self.wrong_type(entry, "a whole number");
            return None;
        };
        let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let value = value.and_then(|value| u64::try_from(value).ok());
        let value = value.filter(|value| bounds.contains(value));
        if value.is_none() {
            self.out_of_range(
                entry,
                &bounds.start().to_string(),
                &bounds.end().to_string(),
            );
        }
        value
    }

    /// An entry as a number within bounds.
    pub(crate) fn number(
        &mut self,
        entry: &KeyAndValue<'_>,
        bounds: RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = match entry.value {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => {
                let whole = i64::from_str_radix(number.as_str(), number.radix()).ok();
                whole.map(|whole| whole as f64)
            }
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wrong_type(entry, "a number");
                return None;
            }
        };
        let value = value.filter(|value| bounds.contains(value));
        if value.is_none() {
            self.out_of_range(
                entry,
                &bounds.start().to_string(),
                &bounds.end().to_string(),
            );
        }
        value
    }

    /// An entry as one of some names; `what` says of what (`policy`).
    pub(crate) fn choice<T>(
        &mut self,
        entry: &KeyAndValue<'_>,
        what: &str,
        choices: &[(&str, T)],
    ) -> Option<T>
    where
        T: Clone,
    {
        let text = self.text(entry)?;
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(chosen.clone());
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("unknown {what} `{text}` for `{}`", entry.path);
        self.error(
            "unknown-value",
            &entry.span,
            &entry.path,
            &message,
            &which(text, &names),
        );
        None
    }

    /// A value that is no number between two others.
    pub(crate) fn out_of_range(&mut self, entry: &KeyAndValue<'_>, least: &str, most: &str) {
        let message = format!("`{}` is out of range", entry.path);
        self.error(
            "out-of-range",
            &entry.span,
            &entry.path,
            &message,
            &format!("write a number from {least} to {most}"),
        );
    }

    /// A value of another type than `wanted`.
    pub(crate) fn wrong_type(&mut self, entry: &KeyAndValue<'_>, wanted: &str) {
        if names_a_secret(entry.name) || names_a_secret_table(entry.name) {
            self.secrets.push(entry.span.clone());
        }
        let message = format!(
            "`{}` must be {wanted}, not {}",
            entry.path,
            entry.type_name()
        );
        let unquoted =
            entry.value.is_str() && (wanted.ends_with("number") || wanted.contains("true"));
        let hint = format!(
            "write {wanted}{}",
            if unquoted { ", without quotes" } else { "" }
        );
        self.error("wrong-type", &entry.span, &entry.path, &message, &hint);
    }

    /// Reads a key that has a default: its value, and that in TOML for `--show`.
    pub(crate) fn or_default<'t, T>(
        &mut self,
        table: &TomlTable<'t>,
        name: &str,
        default: (T, &str),
        read: impl FnOnce(&mut Self, &KeyAndValue<'t>) -> Option<T>,
    ) -> T {
        let read = self.optional(table, name, read);
        if table.get(name).is_none() {
            self.show(&join(&table.path, name), default.1, SettingOrigin::Default);
        }
        read.unwrap_or(default.0)
    }

    /// Reads a key that may be left out.
    pub(crate) fn optional<'t, T>(
        &mut self,
        table: &TomlTable<'t>,
        name: &str,
        read: impl FnOnce(&mut Self, &KeyAndValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let entry = table.get(name)?.clone();
        self.show_entry(&entry);
        read(self, &entry)
    }

    /// Notes the setting that an entry makes, as it is written.
    pub(crate) fn show_entry(&mut self, entry: &KeyAndValue<'_>) {
        let (line, _) = self.source.position(entry.key_span.start);
        let written = self.source.text.get(entry.span.clone()).unwrap_or_default();
        let written = written.split_whitespace().collect::<Vec<_>>().join(" ");
        let written = if PUBLIC.contains(&entry.path.as_str()) && is_one_text(&written) {
            redact_public(&written)
        } else {
            redact(&written)
        };
        self.show(&entry.path, &written, SettingOrigin::File { line });
    }

    /// Notes a setting in force.
    pub(crate) fn show(&mut self, path: &str, value: &str, origin: SettingOrigin) {
        self.settings.push(Setting {
            path: path.to_owned(),
            value: value.to_owned(),
            origin,
        });
    }

    fn unknown_keys(&mut self, table: &TomlTable<'_>, known: &[&str]) {
        let unknown = table
            .entries
            .iter()
            .filter(|entry| !known.contains(&entry.name));
        for entry in unknown.take(MOST_PROBLEMS) {
            let near = nearest(entry.name, known);
            // What stands under a key that is not even near a known one may be anything, and beside secrets each may be one.
            let beside_secrets = table.path.split('.').any(names_a_secret_table);
            if beside_secrets || names_a_secret(entry.name) || near.is_none_or(names_a_secret) {
                self.secrets.push(entry.span.clone());
            }
            // In the table that names a secret's place a word that is no key's may be the secret itself.
            if near.is_none() && known == keys::SECRET {
                self.secrets.push(entry.key_span.clone());
                let message = format!("unknown key in `[{}]`", table.path);
                let hint = which("", known);
                self.error("unknown-key", &entry.key_span, &table.path, &message, &hint);
                continue;
            }
            let place = if table.path.is_empty() {
                String::new()
            } else {
                format!(" in `[{}]`", table.path)
            };
            let message = format!("unknown key `{}`{place}", entry.name);
            self.error(
                "unknown-key",
                &entry.key_span,
                &entry.path,
                &message,
                &which(entry.name, known),
            );
        }
    }
}

/// Whether a value is one text in its quotes: `"/etc/tls/key.pem"`. Whatever else stands behind a public key (`key = [0f8f…`) may
/// be a secret that slipped in.
fn is_one_text(written: &str) -> bool {
    let quotes = ['"', '\''];
    let inside = quotes
        .iter()
        .find_map(|quote| written.strip_prefix(*quote)?.strip_suffix(*quote));
    inside.is_some_and(|inside| !inside.contains(quotes))
}
