//! A conflict: both sides changed one field, or one side changed what the other removed.

use crate::model::entry::states;

states! {
    /// Whose value a conflict ended with.
    Winner {
        /// The mirror's.
        Local = "local",
        /// HubSpot's.
        Remote = "remote",
        /// A third one, given by a person.
        Value = "value",
        /// Both came to hold the same.
        Agreed = "agreed",
    }
}

/// The property name of a conflict about a record as a whole.
pub const WHOLE_RECORD: &str = "*";

/// How a conflict ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End<'a> {
    /// Whose value stands.
    pub winner: Winner,
    /// How it ended by itself, in a word; what a person wrote stays.
    pub resolution: &'a str,
    /// What happened, in a sentence.
    pub reason: &'a str,
}
