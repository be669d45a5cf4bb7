//! What is claimed for an attempt, and what is told of each request.

use crate::model::answer::WriteInput;
use crate::model::association::TypeId;
use crate::model::entry::Entry;
use crate::model::id::{HubspotId, OutboxId};
use crate::model::name::TableName;
use crate::model::time::Timestamp;

/// An input that was claimed for an attempt.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The entry.
    pub entry: OutboxId,
    /// Which attempt this is.
    pub attempts: u32,
    /// What is sent.
    pub input: WriteInput,
    /// HubSpot's time of the record as the read before it showed it; `None` where nothing was read.
    pub read_version: Option<Timestamp>,
    /// What an archive takes away.
    pub archive: Option<Archive>,
    /// The associations that go along in a create.
    pub along: Vec<Along>,
}

/// An association that goes along in the create of the record at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Along {
    /// Its own entry.
    pub entry: OutboxId,
    /// The key of its pair.
    pub pair: TableName,
    /// At which of its ends the new record stands.
    pub end: NewEnd,
    /// The record at the other end.
    pub other: HubspotId,
    /// Its type as the new record sees it.
    pub kind: TypeId,
}

/// An end of an association at which a new record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NewEnd {
    /// The association starts from it.
    From,
    /// It leads to it.
    To,
}

impl Along {
    /// Its two records, from and to, once the new one is there.
    pub fn ends(&self, new: HubspotId) -> (HubspotId, HubspotId) {
        match self.end {
            NewEnd::From => (new, self.other),
            NewEnd::To => (self.other, new),
        }
    }
}

/// What an archive takes away.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Its entry, with the deleted row.
    pub entry: Entry,
    /// The record.
    pub hs_id: HubspotId,
    /// Whether an operator approved it, so that the guard does not count it.
    pub approved: bool,
}

impl Sent {
    /// The attempt of an archive.
    pub fn archive_of(entry: Entry, hs_id: HubspotId) -> Self {
        Self {
            entry: entry.id,
            attempts: entry.standing.attempts + 1,
            input: WriteInput {
                trace_id: String::new(),
                id: Some(hs_id.to_string()),
                properties: Vec::new(),
                associations: Vec::new(),
            },
            read_version: None,
            along: Vec::new(),
            archive: Some(Archive {
                approved: entry.standing.approved_hold.is_some(),
                entry,
                hs_id,
            }),
        }
    }
}

/// Entries that were claimed and not sent, because what their claim rests on had grown too old: they are pending again,
/// as if they had not been claimed.
#[derive(Debug, PartialEq, Eq)]
pub struct Late {
    /// The entries.
    pub entries: Vec<OutboxId>,
    /// Whether they are a part of what was claimed together: the rest, or the whole of them, was sent.
    pub is_part: bool,
}

/// One attempt of a request to HubSpot, as it is kept: which endpoint, how it went, how long it took. Never a body, a value, a
/// query or an id of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallMade {
    /// When it was sent, by this machine's clock.
    pub at: Timestamp,
    /// Its method.
    pub method: String,
    /// Its path without the query; version and object as sent, each id and name in it as `{id}` or `{name}`.
    pub path: String,
    /// The class of the endpoint: `list`, `search`, `read` …
    pub class: &'static str,
    /// The answer's status; `None` where no answer came.
    pub status: Option<u16>,
    /// Milliseconds until the answer was there, or was given up.
    pub ms: u64,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Inputs of a batch, or results of a page.
    pub records: Option<u64>,
    /// Why it failed, in one word; `None` for a success.
    pub code: Option<&'static str>,
    /// HubSpot's own name of the request.
    pub correlation_id: Option<String>,
    /// What the answer says is left of the ten-second window.
    pub burst_left: Option<u32>,
    /// What the answer says is left of the day.
    pub day_left: Option<u64>,
}

impl CallMade {
    /// Whether HubSpot said that a limit is exceeded.
    pub fn is_throttled(&self) -> bool {
        self.status == Some(429)
    }
}
