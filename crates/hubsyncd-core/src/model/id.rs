//! Ids, a newtype each, so that a local id never stands where HubSpot's is meant.

use std::fmt;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.trim().parse().map(Self)
            }
        }
    };
}

id! {
    /// A HubSpot account.
    PortalId
}
id! {
    /// A record's id in HubSpot: `hs_object_id`, a positive 64-bit number written as text on the wire
    /// (`hubspot/api-facts.md#5`).
    HubspotId
}
id! {
    /// A row's id in its mirror table: stable from the first insert, never used twice.
    LocalId
}
id! {
    /// An entry of `sync_outbox`.
    OutboxId
}
id! {
    /// A row of `sync_conflicts`.
    ConflictId
}
id! {
    /// A row of `sync_holds`.
    HoldId
}
