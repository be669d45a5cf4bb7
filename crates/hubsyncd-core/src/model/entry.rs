//! An entry of the outbox: one record's work to push, coalesced to one operation.

use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::PropertyName;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

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

impl Base {
    /// The agreed value; empty where nobody knows it.
    pub(crate) fn or_empty(&self) -> &Value {
        match self {
            Self::Known(value) => value,
            Self::Unknown => &Value::EMPTY,
        }
    }

    /// Whether both sides are known to have agreed on a value.
    pub fn is_same(&self, kind: PropertyType, value: &Value) -> bool {
        matches!(self, Self::Known(base) if kind.same(base, value))
    }
}

/// What says of an entry whether, when and as what it is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// What is to be done.
    pub operation: Operation,
    /// The record, once HubSpot has it.
    pub hs_id: Option<HubspotId>,
    /// Where it stands.
    pub state: EntryState,
    /// Attempts since the last success or retry by hand.
    pub attempts: u32,
    /// When the first of the coalesced writes was made.
    pub enqueued_at: Timestamp,
    /// When it is tried next; `None` while only an event lets it go on.
    pub due: Option<Timestamp>,
    /// What it waits for, besides its time.
    pub waits_for: Option<WaitsFor>,
    /// Since when an attempt has had no answer.
    pub unanswered_since: Option<Timestamp>,
    /// Why it is not done yet.
    pub last_error: Option<String>,
    /// HubSpot's time of the record's version that the last attempt went over.
    pub sent_over: Option<Timestamp>,
    /// Whether the last attempt of a create carried no key.
    pub sent_keyless: bool,
    /// The row that has a unique value of it, and gives that up.
    pub taken_by: Option<LocalId>,
    /// When a person gave it up.
    pub discarded_at: Option<Timestamp>,
    /// The hold by which the guard let it go.
    pub approved_hold: Option<i64>,
    /// Whether it keeps a deleted row.
    pub has_row: bool,
}

impl Standing {
    /// Whether it waits for no time and nothing that comes by itself: what is said of it says for what.
    pub fn is_at_rest(&self) -> bool {
        self.state == EntryState::Pending && self.due.is_none() && self.waits_for.is_none()
    }

    /// The stable code of `last_error`.
    pub fn code(&self) -> Option<&str> {
        self.last_error.as_deref().and_then(code_in)
    }
}

/// The stable code of a sentence: what stands in brackets at its end, in lower case with hyphens
/// (`… [stage-of-another-pipeline]`); `None` where nothing does.
pub fn code_in(sentence: &str) -> Option<&str> {
    let (_, code) = sentence.strip_suffix(']')?.rsplit_once(" [")?;
    let is_code = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    (!code.is_empty() && code.chars().all(is_code)).then_some(code)
}

/// A sentence with its code behind it. What HubSpot or a trigger refused names its code itself.
pub fn with_code(sentence: &str, code: Option<&str>) -> String {
    match code.filter(|_| code_in(sentence).is_none()) {
        Some(code) => format!("{sentence} [{code}]"),
        None => sentence.to_owned(),
    }
}

#[cfg(test)]
impl Standing {
    /// An update that says nothing, of which a test names the rest.
    pub(crate) const NOTHING: Self = Self {
        operation: Operation::Update,
        hs_id: None,
        state: EntryState::Pending,
        attempts: 0,
        enqueued_at: Timestamp::EPOCH,
        due: None,
        waits_for: None,
        unanswered_since: None,
        last_error: None,
        sent_over: None,
        sent_keyless: false,
        taken_by: None,
        discarded_at: None,
        approved_hold: None,
        has_row: false,
    };
}

/// An entry as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: OutboxId,
    /// The row.
    pub local_id: LocalId,
    /// Where it stands.
    pub standing: Standing,
    /// Raised by every local write; tells whether the row changed while an attempt was in flight.
    pub version: i64,
    /// The random key that a create carries.
    pub key: Option<String>,
    /// The whole row as JSON, once it was deleted.
    pub row: Option<String>,
    /// The fields that differ from their base.
    pub fields: Vec<EntryField>,
}

impl Entry {
    /// The field of a property that waits.
    pub fn field(&self, property: &PropertyName) -> Option<&EntryField> {
        self.fields.iter().find(|field| &field.property == property)
    }
}

/// The base that a field of a fresh create has: the record is not there yet.
pub(crate) const NO_RECORD: Base = Base::Known(Value::EMPTY);

#[cfg(test)]
mod tests {
    use super::Standing;

    #[test]
    fn the_code_is_what_stands_in_brackets_at_the_end_of_the_sentence() {
        for (explanation, code) in [
            (
                "this stage is another pipeline's [stage-of-another-pipeline]",
                Some("stage-of-another-pipeline"),
            ),
            ("HubSpot refused `email` [INVALID_EMAIL]", None),
            ("the list ends with []", None),
            ("[lonely]", None),
            ("no code", None),
        ] {
            let standing = Standing {
                last_error: Some(explanation.to_owned()),
                ..Standing::NOTHING
            };
            assert_eq!(standing.code(), code, "{explanation}");
        }
        assert_eq!(Standing::NOTHING.code(), None);
    }
}
