//! What is claimed for an attempt, and how it is sent.

use crate::engine::Engine;
use crate::engine::portal::objects::ObjectSync;
use crate::hubspot::{Priority, Reread, WriteInput};
use crate::model::entry::{Entry, Operation};
use crate::model::id::{HubspotId, OutboxId};
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

/// What a claim rests on.
pub struct Ground {
    /// The read before it.
    pub reread: Reread,
    /// The claim's time.
    pub claimed_at: Timestamp,
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

/// How entries are sent.
#[derive(Clone, Copy)]
pub struct Sending<'a> {
    /// By which store and client.
    pub engine: &'a Engine,
    /// The object.
    pub object: &'a ObjectSync,
    /// What is asked of HubSpot.
    pub operation: Operation,
    /// Before which other requests.
    pub priority: Priority,
    /// What the claims rest on; `None` for creates: nothing is read for what overwrites nobody's values.
    pub ground: Option<&'a Ground>,
}
