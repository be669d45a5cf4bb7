//! systemd's journal by its own protocol: each event a datagram with its fields, so that `journalctl OBJECT=contacts` finds them. Whatever
//! the journal does not take (it is not there, it is busy, an event is too long) goes to standard error as a line.

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer};

use super::priority;

/// Where the journal takes datagrams (`systemd.journal-fields(7)`).
const SOCKET: &str = "/run/systemd/journal/socket";

/// Names another socket, for tests.
const ANOTHER: &str = "HUBSYNCD_JOURNAL_SOCKET";

/// Where the journal is, if it is there.
pub(super) fn socket() -> Option<PathBuf> {
    let path = std::env::var_os(ANOTHER).map_or_else(|| PathBuf::from(SOCKET), PathBuf::from);
    path.exists().then_some(path)
}

/// Sends each event to the journal.
pub(super) struct NativeJournal {
    socket: UnixDatagram,
    /// Named with each datagram: the journal may be another one after an upgrade of systemd.
    path: PathBuf,
    /// What writes the line where there is no datagram.
    lines: Box<dyn Layer<Registry> + Send + Sync>,
}

impl NativeJournal {
    /// Opens a socket; nothing is sent yet.
    ///
    /// # Errors
    /// The system gives none.
    pub(super) fn open(
        path: &Path,
        lines: Box<dyn Layer<Registry> + Send + Sync>,
    ) -> Result<Self, (io::Error, Box<dyn Layer<Registry> + Send + Sync>)> {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            // A journal that is busy must not hold up whoever logs.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match socket {
            Ok(socket) => Ok(Self {
                socket,
                path: path.to_owned(),
                lines,
            }),
            Err(error) => Err((error, lines)),
        }
    }
}

impl Layer<Registry> for NativeJournal {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, Registry>) {
        let datagram = datagram(event);
        if self.socket.send_to(&datagram, &self.path).is_err() {
            self.lines.on_event(event, context);
        }
    }
}

/// An event as the journal reads it.
fn datagram(event: &Event<'_>) -> Vec<u8> {
    let mut fields = JournalFields::default();
    event.record(&mut fields);
    let JournalFields {
        message,
        shown,
        all,
    } = fields;
    let level: Level = *event.metadata().level();
    let mut bytes = Vec::new();
    push(&mut bytes, "MESSAGE", &format!("{message}{shown}"));
    push(&mut bytes, "PRIORITY", &priority(level).to_string());
    push(&mut bytes, "SYSLOG_IDENTIFIER", "hubsyncd");
    push(&mut bytes, "TARGET", event.metadata().target());
    for (name, value) in all {
        push(&mut bytes, &name.to_ascii_uppercase(), &value);
    }
    bytes
}

/// A field: `NAME=value`, or with its length where it has several lines.
fn push(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

/// An event in pieces: the sentence, what `journalctl` shows behind it, and each field by its name.
#[derive(Default)]
struct JournalFields {
    message: String,
    shown: String,
    all: Vec<(&'static str, String)>,
}

impl JournalFields {
    fn take(&mut self, field: &Field, value: String, shown: &str) {
        if field.name() == "message" {
            self.message = value;
            return;
        }
        self.shown.extend([" ", field.name(), "=", shown]);
        self.all.push((field.name(), value));
    }
}

impl Visit for JournalFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned(), &format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.take(field, text.clone(), &text);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What the journal gets of some lines.
    fn heard(work: impl FnOnce()) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).expect("a socket");
        journal.set_nonblocking(true).expect("a socket");
        let silent = tracing_subscriber::layer::Identity::new().boxed();
        let native = NativeJournal::open(&path, silent).ok().expect("a socket");
        let subscriber = tracing_subscriber::registry().with(native);
        tracing::subscriber::with_default(subscriber, work);
        let mut buffer = [0; 4_096];
        let mut datagrams = Vec::new();
        while let Ok(length) = journal.recv(&mut buffer) {
            datagrams.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        datagrams
    }

    #[test]
    fn each_field_has_its_name_and_none_can_pretend_to_be_another() {
        let datagrams = heard(|| {
            let error = "two\nPRIORITY=0";
            tracing::warn!(target: "hubsyncd::engine", object = "contacts", rows = 7, error, "a step failed");
        });
        let length = u64::try_from("two\nPRIORITY=0".len()).expect("a length");
        let framed = String::from_utf8(length.to_le_bytes().to_vec()).expect("text");
        assert_eq!(
            datagrams,
            [format!(
                "MESSAGE=a step failed object=\"contacts\" rows=7 error=\"two\\nPRIORITY=0\"\nPRIORITY=4\nSYSLOG_IDENTIFIER=hubsyncd\nTARGET=hubsyncd::engine\nOBJECT=contacts\nROWS=7\nERROR\n{framed}two\nPRIORITY=0\n"
            )]
        );
    }
}
