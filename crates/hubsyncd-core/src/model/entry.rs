//! An entry of the outbox: one record's work to push, coalesced to one operation.

use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::PropertyName;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// An enum of words in the database: its cases, with the text of each.
#[macro_export]
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$case_doc])* $case),+
        }

        impl $name {
            /// The text in the database.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$case => $text),+
                }
            }

            /// Reads the database's text.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$case),)+
                    _ => None,
                }
            }
        }
    };
}
pub use crate::states;

states! {
    /// What is to be done in HubSpot.
    Operation {
        /// Make the record.
        Create = "create",
        /// Change some of its properties.
        Update = "update",
        /// Move it to the archive.
        Archive = "archive",
        /// Associate two records.
        Associate = "associate",
        /// Take an association away.
        Disassociate = "disassociate",
    }
}

states! {
    /// Where an entry stands.
    EntryState {
        /// To be sent when it is due.
        Pending = "pending",
        /// An attempt is on its way, or its answer was cut off by a crash.
        InFlight = "in_flight",
        /// Refused for good; a person decides.
        Dead = "dead",
    }
}

states! {
    /// What a pending entry waits for, besides its time.
    WaitsFor {
        /// The object's first backfill.
        Backfill = "backfill",
        /// An operator's word (`sync_holds`).
        Guard = "guard",
        /// Certainty about an attempt whose answer was lost.
        Answer = "answer",
        /// The create of the other side of an association.
        Create = "create",
        /// A lock in HubSpot (423).
        Lock = "lock",
    }
}

/// A field of an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryField {
    /// HubSpot's name of the property.
    pub property: PropertyName,
    /// What both sides last agreed on.
    pub base: Base,
    /// When the last local write to the field was made.
    pub changed_at: Timestamp,
    /// The value of the attempt in flight.
    pub sent: Option<Value>,
}

/// What both sides last agreed on, where that is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Base {
    /// The agreed value, canonical.
    Known(Value),
    /// A record that was adopted, or a column that was filled again: nobody knows.
    Unknown,
}

/// An entry as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: OutboxId,
    /// The row.
    pub local_id: LocalId,
    /// The record, once HubSpot has it.
    pub hs_id: Option<HubspotId>,
    /// What is to be done.
    pub operation: Operation,
    /// Where it stands.
    pub state: EntryState,
    /// Attempts made since the last success or retry by hand.
    pub attempts: u32,
    /// When the first of the coalesced writes was made.
    pub enqueued_at: Timestamp,
    /// Raised by every local write; tells whether the row changed while an attempt was in flight.
    pub version: i64,
    /// The random key that a create carries.
    pub key: Option<String>,
    /// The whole row as JSON, once it was deleted.
    pub row: Option<String>,
    /// The fields that differ from their base.
    pub fields: Vec<EntryField>,
}

/// The base that a field of a fresh create has: the record is not there yet.
pub const NO_RECORD: Base = Base::Known(Value::EMPTY);
