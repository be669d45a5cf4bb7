//! Where a change came from, as `sync_history` says it.

/// Where a change came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An incremental poll, or a read that it asked for.
    Poll,
    /// A webhook.
    Webhook,
    /// The full comparison.
    Reconcile,
    /// A local change that HubSpot acknowledged.
    Push,
    /// A value that lost a conflict.
    Conflict,
    /// Two records became one.
    Absorb,
    /// A person discarded a pending change.
    Discard,
    /// A column was filled again.
    Schema,
    /// A person turned a change back.
    Undo,
    /// A rule gave a record to somebody: reserved, and nothing writes it.
    Rule,
}

impl Origin {
    /// All of them, in the order of the manual.
    pub const ALL: [Self; 10] = [
        Self::Poll,
        Self::Webhook,
        Self::Reconcile,
        Self::Push,
        Self::Conflict,
        Self::Absorb,
        Self::Discard,
        Self::Schema,
        Self::Undo,
        Self::Rule,
    ];

    /// The text in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Webhook => "webhook",
            Self::Reconcile => "reconcile",
            Self::Push => "push",
            Self::Conflict => "conflict",
            Self::Absorb => "absorb",
            Self::Discard => "discard",
            Self::Schema => "schema",
            Self::Undo => "undo",
            Self::Rule => "rule",
        }
    }

    /// Reads the database's text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == text)
    }
}
