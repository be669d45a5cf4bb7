//! Values that several sections share: durations, sizes, schedules, addresses, secrets, names.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono_tz::Tz;

use crate::config::ConfigError;
use crate::config::file::KeyAndValue;
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::render::SettingOrigin;
use crate::config::schedule::{Schedule, ScheduleError};
use crate::config::secret::{SecretSource, is_open_to_others};
use crate::config::units::{DURATION_HINT, SIZE_HINT, duration_text, parse_duration, parse_size};
use crate::model::mapping::{Direction, Policy, WriteMode};
use crate::model::name::NameError;

/// Directions by name.
pub(super) const DIRECTIONS: [(&str, Direction); 3] = [
    ("both", Direction::Both),
    ("pull", Direction::Pull),
    ("push", Direction::Push),
];

/// Policies by name.
pub(super) const POLICIES: [(&str, Policy); 4] = [
    ("remote", Policy::Remote),
    ("local", Policy::Local),
    ("newest", Policy::Newest),
    ("manual", Policy::Manual),
];

/// Ways of writing by name.
pub(super) const WRITE_MODES: [(&str, WriteMode); 3] = [
    ("replace", WriteMode::Replace),
    ("if_empty", WriteMode::IfEmpty),
    ("append", WriteMode::Append),
];

const CRON_HINT: &str =
    "write second, minute, hour, day, month and weekday, as in `0 30 3 * * *` for 03:30 every day";

impl<'t> Reader<'_> {
    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        entry: &KeyAndValue<'t>,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(entry)?;
        let Some(duration) = parse_duration(text) else {
            let message = format!("`{text}` for `{}` is no duration", entry.path);
            self.error(
                "bad-duration",
                &entry.span,
                &entry.path,
                &message,
                DURATION_HINT,
            );
            return None;
        };
        self.duration_within(entry, duration, bounds)
    }

    fn duration_within(
        &mut self,
        entry: &KeyAndValue<'t>,
        duration: Duration,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        if bounds.contains(&duration) {
            return Some(duration);
        }
        let (least, most) = (duration_text(*bounds.start()), duration_text(*bounds.end()));
        let message = format!("`{}` is out of range", entry.path);
        let hint = format!("write a duration from `{least}` to `{most}`");
        self.error("out-of-range", &entry.span, &entry.path, &message, &hint);
        None
    }

    /// A size in bytes, within bounds.
    pub(super) fn size(
        &mut self,
        entry: &KeyAndValue<'t>,
        bounds: RangeInclusive<u64>,
    ) -> Option<u64> {
        let text = self.text(entry)?;
        let size = parse_size(text);
        if size.is_none() {
            let message = format!("`{text}` for `{}` is no size", entry.path);
            self.error("bad-size", &entry.span, &entry.path, &message, SIZE_HINT);
        }
        let size = size?;
        if !bounds.contains(&size) {
            self.out_of_range(
                entry,
                &format!("{} bytes", bounds.start()),
                &format!("{} bytes", bounds.end()),
            );
            return None;
        }
        Some(size)
    }

    /// A duration within bounds or a cron expression.
    pub(super) fn schedule(
        &mut self,
        entry: &KeyAndValue<'t>,
        timezone: Tz,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Schedule> {
        let text = self.text(entry)?;
        let error = match Schedule::parse(text, timezone) {
            Ok(Schedule::Every(duration)) => {
                return self
                    .duration_within(entry, duration, bounds)
                    .map(Schedule::Every);
            }
            Ok(cron) => return Some(cron),
            Err(error) => error,
        };
        let (code, what, hint) = match error {
            ScheduleError::Duration => (
                "bad-duration",
                "is no duration",
                format!("{DURATION_HINT}; or a cron expression"),
            ),
            ScheduleError::Cron => ("bad-cron", "is no cron expression", CRON_HINT.to_owned()),
            ScheduleError::WithoutSeconds => (
                "bad-cron",
                "has no seconds",
                format!("put the seconds in front: `0 {}`", text.trim()),
            ),
            ScheduleError::Never => (
                "bad-cron",
                "names a time that never comes",
                CRON_HINT.to_owned(),
            ),
        };
        let message = format!("`{text}` for `{}` {what}", entry.path);
        self.error(code, &entry.span, &entry.path, &message, &hint);
        None
    }

    /// An IP address with a port.
    pub(super) fn address(&mut self, entry: &KeyAndValue<'t>) -> Option<SocketAddr> {
        let text = self.text(entry)?;
        let Ok(address) = text.parse::<SocketAddr>() else {
            let message = format!("`{text}` for `{}` is no address", entry.path);
            let port = text
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse::<u16>().ok())
                .unwrap_or(if entry.path.starts_with("webhooks") {
                    8787
                } else {
                    9187
                });
            let hint =
                format!("write an IP address and a port: `127.0.0.1:{port}` or `[::1]:{port}`");
            self.error("bad-address", &entry.span, &entry.path, &message, &hint);
            return None;
        };
        Some(address)
    }

    /// A name, or why it can't be one.
    pub(super) fn name<T>(
        &mut self,
        entry: &KeyAndValue<'t>,
        parsed: Result<T, NameError>,
        what: &str,
        hint: &str,
    ) -> Option<T> {
        match parsed {
            Ok(name) => Some(name),
            Err(error) => {
                let code = if matches!(error, NameError::Reserved { .. }) {
                    "reserved"
                } else {
                    "bad-name"
                };
                self.error(
                    code,
                    &entry.span,
                    &entry.path,
                    &format!("{what} {}", clipped(&error)),
                    hint,
                );
                None
            }
        }
    }

    /// Where a secret lies. A secret itself is refused and hidden.
    pub(super) fn secret(&mut self, entry: &KeyAndValue<'t>) -> Option<SecretSource> {
        if !Self::is_table(entry) {
            self.secret_in_clear(entry, &entry.path);
            return None;
        }
        let table = self.free_table(entry)?;
        let places: Vec<_> = table
            .entries
            .iter()
            .filter(|place| keys::SECRET.contains(&place.name))
            .cloned()
            .collect();
        if places.len() < table.entries.len() {
            // Whatever stands there under another name may be the secret.
            let others = table
                .entries
                .iter()
                .filter(|other| !keys::SECRET.contains(&other.name));
            self.secrets.extend(others.map(|other| other.span.clone()));
            self.table(entry, keys::SECRET);
            return None;
        }
        let [place] = places.as_slice() else {
            let message = format!(
                "`{}` names {} places",
                entry.path,
                if places.is_empty() { "no" } else { "several" }
            );
            let hint = "write one of `{ env = \"NAME\" }`, `{ file = \"PATH\" }` and `{ credential = \"NAME\" }`";
            self.error("bad-secret", &entry.span, &entry.path, &message, hint);
            return None;
        };
        let source = self.secret_place(place)?;
        self.in_use
            .push((source.clone(), entry.path.clone(), entry.span.clone()));
        Some(source)
    }

    /// A secret whose place the file leaves to us.
    pub(super) fn secret_in_variable(&mut self, path: &str, variable: &str) -> SecretSource {
        let source = SecretSource::Env(variable.to_owned());
        self.show(path, &source.to_toml(), SettingOrigin::Default);
        self.in_use.push((source.clone(), path.to_owned(), 0..0));
        source
    }

    /// Warns of secrets that are not there for whoever runs this: the daemon may have them all the same.
    pub(super) fn warn_of_missing_secrets(&mut self, look: LookForSecret) {
        for (source, path, span) in std::mem::take(&mut self.in_use) {
            if let Err(error) = look(&source) {
                let message = format!("{error}, as seen from here");
                let (code, hint) = (error.code().unwrap_or_default(), error.hint());
                let hint = hint.unwrap_or_default();
                self.warning(code, &span, &path, &message, &hint);
            }
        }
    }

    /// The same, noted for `--show`: only a place that was understood is ever shown, in our own spelling.
    pub(super) fn shown_secret(&mut self, entry: &KeyAndValue<'t>) -> Option<SecretSource> {
        let source = self.secret(entry)?;
        let (line, _) = self.source.position(entry.key_span.start);
        self.show(&entry.path, &source.to_toml(), SettingOrigin::File { line });
        Some(source)
    }

    fn secret_place(&mut self, place: &KeyAndValue<'t>) -> Option<SecretSource> {
        let Some(text) = Self::peek_text(place) else {
            self.secrets.push(place.span.clone());
            self.wrong_type(place, "text in quotes");
            return None;
        };
        if place.name == "file" {
            return self.secret_file(place, text);
        }
        let is_variable = is_variable_name(text);
        let is_credential =
            !text.is_empty() && !text.contains(['/', '\0']) && text != "." && text != "..";
        if looks_like_a_secret(text) || (place.name == "env" && !is_variable && text.len() > 20) {
            self.secret_in_clear(
                place,
                place.path.trim_end_matches(&format!(".{}", place.name)),
            );
            return None;
        }
        match place.name {
            "env" if is_variable => Some(SecretSource::Env(text.to_owned())),
            "credential" if is_credential => Some(SecretSource::Credential(text.to_owned())),
            _ => {
                self.secrets.push(place.span.clone());
                let (what, hint) = if place.name == "env" {
                    (
                        "an environment variable",
                        "write letters, digits and `_`: `{ env = \"HUBSPOT_ACCESS_TOKEN\" }`",
                    )
                } else {
                    (
                        "a credential",
                        "write the name that `LoadCredential=` gives it, without a path",
                    )
                };
                let message = format!("`{}` is not the name of {what}", place.path);
                self.error("bad-secret", &place.span, &place.path, &message, hint);
                None
            }
        }
    }

    fn secret_file(&mut self, place: &KeyAndValue<'t>, text: &str) -> Option<SecretSource> {
        if text.to_ascii_lowercase().starts_with("pat-") {
            self.secret_in_clear(place, place.path.trim_end_matches(".file"));
            return None;
        }
        if text.is_empty() || text.contains('\0') {
            let message = format!("`{}` is no path", place.path);
            self.error(
                "bad-secret",
                &place.span,
                &place.path,
                &message,
                "write the path of a file that holds the secret alone",
            );
            return None;
        }
        let path = self.source.resolve(text);
        if is_open_to_others(&path) {
            let message = format!("others than its owner may read `{text}`");
            self.warning(
                "open-secret-file",
                &place.span,
                &place.path,
                &message,
                &format!("run `chmod 600 {text}`"),
            );
        }
        Some(SecretSource::File(path))
    }

    fn secret_in_clear(&mut self, place: &KeyAndValue<'t>, key: &str) {
        self.secrets.push(place.span.clone());
        let message = format!("`{key}` holds a secret in clear");
        let name = key.rsplit('.').next().unwrap_or(key);
        let variable = format!("HUBSPOT_{}", name.to_uppercase());
        let hint = format!(
            "put it in the environment and write `{name} = {{ env = \"{variable}\" }}`; then have HubSpot make a new one"
        );
        self.error("secret-in-clear", &place.span, key, &message, &hint);
    }
}

/// Looks whether a secret is there.
pub(super) type LookForSecret = fn(&SecretSource) -> Result<(), ConfigError>;

/// A refusal of a name, short enough to be read.
fn clipped(error: &NameError) -> String {
    let text = error.to_string();
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The shortest run of letters and digits that is taken for a secret.
const LEAST_SECRET: usize = 20;

/// Whether what should be a name is rather the secret itself: a token, or a long run of letters and digits such as HubSpot
/// makes for client secrets and OAuth tokens. People write names in capitals, or in words.
pub(super) fn looks_like_a_secret(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let has_small_letters = text.bytes().any(|byte| byte.is_ascii_lowercase());
    let has_capitals = text.bytes().any(|byte| byte.is_ascii_uppercase());
    let longest_word = text.split(['_', '-', '.']).map(str::len).max().unwrap_or(0);
    text.to_ascii_lowercase()
        .replace('_', "-")
        .starts_with("pat-")
        || (longest_word >= LEAST_SECRET && digits >= 3 && has_small_letters)
        || (text.len() >= 2 * LEAST_SECRET && digits >= 5 && has_small_letters && has_capitals)
}

/// Whether text can name an environment variable.
pub(super) fn is_variable_name(text: &str) -> bool {
    let first_is_fine = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    first_is_fine
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
