//! The log: three forms of a line to standard error, or systemd's journal by its own protocol, and the list of field names. It is set up here and written
//! everywhere else. No form ever changes what is logged: values, tokens and bodies never are (promise 10).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{LogFormat, LogSettings};

mod journal;

use journal::NativeJournal;

/// The names of all fields of log lines, each in use: those of the status tables' columns where there is one.
/// `tests/tidy` keeps every log line to them.
pub const FIELDS: &[&str] = &[
    "address",
    "allowed",
    "attempt",
    "attempts",
    "burst_left",
    "change",
    "changed_at",
    "code",
    "correlation_id",
    "day_left",
    "drained",
    "entries",
    "error",
    "events",
    "expires_at",
    "fatal",
    "hint",
    "hs_id",
    "hs_ids",
    "key",
    "local_id",
    "method",
    "ms",
    "name",
    "object",
    "operation",
    "path",
    "place",
    "policy",
    "portal_id",
    "portal_objects",
    "property",
    "reason",
    "records",
    "refused",
    "rows",
    "search_left",
    "signature",
    "status",
    "table_name",
    "task",
    "tls",
    "total",
    "unread",
    "until",
    "version",
    "wait_ms",
    "zone",
];

/// Why there is no log.
#[derive(Debug, Error)]
pub(crate) enum TelemetryError {
    /// `RUST_LOG` or `[log] level` can't be read.
    #[error("{place} holds a filter that can't be read: {why}")]
    Filter {
        /// Where it stands.
        place: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody has set up a log in this process before.
    #[error("the log is set up already")]
    Twice,
}

/// Sets the log up for the whole process. `RUST_LOG` goes before `[log] level`.
pub(crate) fn init<W>(settings: &LogSettings, writer: W) -> Result<LogControl, TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Clone + Send + Sync + 'static,
{
    let filter = filter(from_environment().as_deref(), &settings.level)?;
    let forms = LogForms {
        writer,
        journal: journal::socket(),
    };
    let (subscriber, control) = subscriber(filter, in_force(settings.format), forms);
    subscriber
        .try_init()
        .map_err(|_set| TelemetryError::Twice)?;
    Ok(control)
}

fn from_environment() -> Option<String> {
    let text = std::env::var("RUST_LOG").ok();
    text.filter(|text| !text.trim().is_empty())
}

/// Exchanges level and form of the log while it is written.
#[derive(Clone)]
pub(crate) struct LogControl(Arc<dyn Fn(EnvFilter, LogFormat) + Send + Sync>);

impl LogControl {
    /// What has the log be as these settings say.
    ///
    /// # Errors
    /// The level can't be read.
    pub(crate) fn setting(
        &self,
        settings: &LogSettings,
    ) -> Result<Box<dyn FnOnce() + Send>, TelemetryError> {
        let filter = filter(from_environment().as_deref(), &settings.level)?;
        let (own, format) = (self.clone(), in_force(settings.format));
        Ok(Box::new(move || (own.0)(filter, format)))
    }
}

/// A plain level is for the daemon; libraries speak up only about trouble, unless they are named. (At `trace` some of
/// them would write whole headers.)
fn filter(wanted: Option<&str>, level: &str) -> Result<EnvFilter, TelemetryError> {
    let (place, text) = wanted.map_or(("`[log] level`", level), |text| ("`RUST_LOG`", text));
    let text = text.trim();
    let plain = text.parse::<tracing::level_filters::LevelFilter>().is_ok();
    let directives = if plain {
        format!("warn,hubsyncd={text}")
    } else {
        format!("warn,{text}")
    };
    EnvFilter::try_new(&directives).map_err(|error| TelemetryError::Filter {
        place,
        why: error.to_string(),
    })
}

/// The form in force: `auto` is the journal's where standard error is the journal's, as systemd says in `JOURNAL_STREAM`,
/// and else for people: a terminal, a file, a container's log.
pub(crate) fn in_force(format: LogFormat) -> LogFormat {
    use std::os::unix::fs::MetadataExt as _;
    let stream = std::env::var("JOURNAL_STREAM").ok();
    // The file behind the descriptor, wherever it leads to.
    let stderr = std::fs::metadata("/proc/self/fd/2").ok();
    let stderr = stderr.map(|file| (file.dev(), file.ino()));
    form_of(format, stream.as_deref(), stderr)
}

fn form_of(format: LogFormat, journal: Option<&str>, stderr: Option<(u64, u64)>) -> LogFormat {
    if format != LogFormat::Auto {
        return format;
    }
    let named = journal.and_then(|text| text.split_once(':'));
    let named = named.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    match named {
        Some(named) if Some(named) == stderr => LogFormat::Journal,
        Some(_) | None => LogFormat::Text,
    }
}

/// Where lines go.
#[derive(Clone)]
struct LogForms<W> {
    writer: W,
    /// The journal's socket, where it has one.
    journal: Option<PathBuf>,
}

fn subscriber<W>(
    filter: EnvFilter,
    format: LogFormat,
    forms: LogForms<W>,
) -> (Box<dyn Subscriber + Send + Sync>, LogControl)
where
    W: for<'writer> MakeWriter<'writer> + Clone + Send + Sync + 'static,
{
    let (lines, of_lines) = reload::Layer::new(forms.lines(format));
    let (filter, of_filter) = reload::Layer::new(filter);
    let subscriber = tracing_subscriber::registry().with(lines).with(filter);
    let control = LogControl(Arc::new(move |filter, format| {
        // They fail where the subscriber is gone, and the log with it.
        drop(of_lines.reload(forms.lines(format)));
        drop(of_filter.reload(filter));
    }));
    (Box::new(subscriber), control)
}

impl<W> LogForms<W>
where
    W: for<'writer> MakeWriter<'writer> + Clone + Send + Sync + 'static,
{
    /// What writes the lines.
    fn lines(&self, format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(self.writer.clone())
            .with_ansi(false)
            // A closed standard error must not end the daemon.
            .log_internal_errors(false);
        match format {
            LogFormat::Journal => {
                let lines = layer.event_format(Journal).boxed();
                match &self.journal {
                    Some(socket) => match NativeJournal::open(socket, lines) {
                        Ok(native) => native.boxed(),
                        Err((_, lines)) => lines,
                    },
                    None => lines,
                }
            }
            LogFormat::Json => layer
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .boxed(),
            LogFormat::Text | LogFormat::Auto => layer.event_format(TextFormat).boxed(),
        }
    }
}

/// Lines for systemd's journal, which has the time itself: `<6>message field=value`.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        // A line's end would begin a line without a priority.
        for part in text.trim_end().chars() {
            match part {
                '\n' => writer.write_str("\\n")?,
                '\r' => writer.write_str("\\r")?,
                other => writer.write_char(other)?,
            }
        }
        writer.write_char('\n')
    }
}

/// Lines for people: time, level, sentence, fields; what to do about it stands below, as in the commands' own messages.
struct TextFormat;

/// The field that is a line of its own.
const HINT: &str = "hint";

impl<S, N> FormatEvent<S, N> for TextFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let mut parts = LogParts::default();
        event.record(&mut parts);
        let LogParts {
            sentence,
            fields,
            hint,
        } = parts;
        writeln!(
            writer,
            " {:>5} {sentence}{fields}",
            event.metadata().level().as_str()
        )?;
        match hint {
            Some(hint) => writeln!(writer, "{HINT}: {hint}"),
            None => Ok(()),
        }
    }
}

/// An event in pieces. A piece of text has no line's end of its own, so that nobody's value looks like a line of ours.
#[derive(Default)]
struct LogParts {
    sentence: String,
    fields: String,
    hint: Option<String>,
}

impl Visit for LogParts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            HINT => self.hint = Some(on_one_line(value)),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.sentence = on_one_line(&format!("{value:?}")),
            HINT => self.hint = Some(on_one_line(&format!("{value:?}"))),
            name => {
                let text = on_one_line(&format!("{value:?}"));
                self.fields.extend([" ", name, "=", &text]);
            }
        }
    }
}

fn on_one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}

/// syslog's number of a level (`sd-daemon(3)`).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("nobody panics")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines alone, whatever this machine has.
    fn to<W>(writer: W) -> LogForms<W> {
        LogForms {
            writer,
            journal: None,
        }
    }

    fn logged(wanted: Option<&str>, level: &str, format: LogFormat, work: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let filter = filter(wanted, level).expect("a filter");
        let (subscriber, _) = subscriber(filter, format, to(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = kept.0.lock().expect("nobody panics").clone();
        String::from_utf8(bytes).expect("text")
    }

    fn some_lines() {
        tracing::error!(target: "hubsyncd::engine", object = "contacts", "the token was refused");
        tracing::warn!(target: "hubsyncd::engine", error = "two\nlines", "a step failed");
        tracing::info!(target: "hubsyncd::daemon", portal_id = 7, "running");
        tracing::debug!(target: "hubsyncd::hubspot", status = 200, "asked");
    }

    #[test]
    fn the_journal_gets_a_priority_and_one_line_an_event() {
        let text = logged(None, "debug", LogFormat::Journal, some_lines);
        assert_eq!(
            text,
            "<3>the token was refused object=\"contacts\"\n<4>a step failed error=\"two\\nlines\"\n<6>running portal_id=7\n<7>asked status=200\n"
        );
    }

    #[test]
    fn level_and_form_are_exchanged_while_the_log_is_written() {
        let kept = Kept::default();
        let writer = kept.clone();
        let level = |level: &str| filter(None, level).expect("a filter");
        let (subscriber, control) = subscriber(
            level("warn"),
            LogFormat::Journal,
            to(move || writer.clone()),
        );
        tracing::subscriber::with_default(subscriber, || {
            let line = || tracing::info!(target: "hubsyncd", "running");
            line();
            (control.0)(level("info"), LogFormat::Journal);
            line();
            (control.0)(level("info"), LogFormat::Json);
            line();
            (control.0)(level("error"), LogFormat::Json);
            line();
        });
        let text = String::from_utf8(kept.0.lock().expect("nobody panics").clone());
        let text = text.expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0], "<6>running");
        assert!(lines[1].starts_with('{'), "{text}");
    }

    #[test]
    fn a_log_that_is_not_the_journals_is_for_people() {
        let auto = |journal, stderr| form_of(LogFormat::Auto, journal, stderr);
        assert_eq!(auto(None, Some((8, 42))), LogFormat::Text);
        assert_eq!(auto(Some("8:42"), Some((8, 42))), LogFormat::Journal);
        // A shell below the unit that sends it elsewhere.
        assert_eq!(auto(Some("8:42"), Some((8, 43))), LogFormat::Text);
        assert_eq!(auto(Some("nonsense"), None), LogFormat::Text);
        let written = form_of(LogFormat::Json, Some("8:42"), Some((8, 42)));
        assert_eq!(written, LogFormat::Json);
    }

    #[test]
    fn a_message_of_several_lines_stays_one_line_in_the_journal() {
        let text = logged(None, "info", LogFormat::Journal, || {
            tracing::info!(target: "hubsyncd", "{}", "one\ntwo\r<0>three");
        });
        assert_eq!(text, "<6>one\\ntwo\\r<0>three\n");
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_beside_the_message() {
        let text = logged(None, "info", LogFormat::Json, some_lines);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("json"))
            .collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0]["level"], "ERROR");
        assert_eq!(lines[0]["message"], "the token was refused");
        assert_eq!(lines[0]["object"], "contacts");
        assert_eq!(lines[2]["portal_id"], 7);
        assert!(lines[2]["timestamp"].is_string(), "{text}");
    }

    #[test]
    fn text_has_time_level_and_message() {
        let text = logged(None, "warn", LogFormat::Text, some_lines);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].contains("Z ERROR the token was refused object=\"contacts\""),
            "{text}"
        );
    }

    #[test]
    fn what_to_do_stands_on_a_line_of_its_own_for_people() {
        let text = logged(None, "warn", LogFormat::Text, || {
            let words = "can't open `crm.db`\nERROR forged";
            tracing::error!(target: "hubsyncd", hint = Some("make the folder"), "{words}");
            tracing::warn!(target: "hubsyncd", error = "two\nlines", hint = None::<&str>, "a step failed");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[0].ends_with("Z ERROR can't open `crm.db`\\nERROR forged"),
            "{text}"
        );
        assert_eq!(lines[1], "hint: make the folder");
        assert!(
            lines[2].ends_with("Z  WARN a step failed error=\"two\\nlines\""),
            "{text}"
        );
    }

    #[test]
    fn a_plain_level_is_for_the_daemon_and_libraries_stay_quiet() {
        let both = || {
            tracing::info!(target: "hubsyncd::engine", "ours");
            tracing::info!(target: "h2::codec", "theirs");
            tracing::warn!(target: "h2::codec", "their trouble");
        };
        assert_eq!(
            logged(None, "trace", LogFormat::Journal, both),
            "<6>ours\n<4>their trouble\n"
        );
        assert_eq!(
            logged(None, "error", LogFormat::Journal, both),
            "<4>their trouble\n"
        );
        assert_eq!(
            logged(None, "hubsyncd=error,h2=info", LogFormat::Journal, both),
            "<6>theirs\n<4>their trouble\n"
        );
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        assert_eq!(
            logged(Some("error"), "debug", LogFormat::Journal, some_lines)
                .lines()
                .count(),
            1
        );
    }

    #[test]
    fn a_filter_that_cant_be_read_says_where_it_stands() {
        let error = filter(Some("hubsyncd=loud"), "info").expect_err("no level");
        assert!(
            error
                .to_string()
                .starts_with("`RUST_LOG` holds a filter that can't be read"),
            "{error}"
        );
        let error = filter(None, "hubsyncd=loud").expect_err("no level");
        assert!(
            error.to_string().starts_with("`[log] level` holds"),
            "{error}"
        );
    }

    #[test]
    fn the_field_names_are_in_order_and_there_once() {
        assert!(FIELDS.is_sorted_by(|one, next| one < next), "{FIELDS:?}");
    }
}
