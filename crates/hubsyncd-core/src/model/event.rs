//! A webhook event: that something about a record changed. What is true now is read from HubSpot.

use crate::model::id::{HubspotId, PortalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;

/// What happened, behind the dot of an event type (`hubspot/api-facts.md#10`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A record was made.
    Creation,
    /// A property changed.
    PropertyChange,
    /// A record was archived.
    Deletion,
    /// A record was deleted for good because of a privacy law.
    PrivacyDeletion,
    /// Records became one.
    Merge,
    /// A record came back from the archive.
    Restore,
    /// An association came or went.
    AssociationChange,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Creation,
        Self::PropertyChange,
        Self::Deletion,
        Self::PrivacyDeletion,
        Self::Merge,
        Self::Restore,
        Self::AssociationChange,
    ];

    /// HubSpot's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creation => "creation",
            Self::PropertyChange => "propertyChange",
            Self::Deletion => "deletion",
            Self::PrivacyDeletion => "privacyDeletion",
            Self::Merge => "merge",
            Self::Restore => "restore",
            Self::AssociationChange => "associationChange",
        }
    }

    /// The kind of an event type such as `contact.propertyChange`; `None` for one that is not known.
    pub fn of(event_type: &str) -> Option<Self> {
        let (_, word) = event_type.rsplit_once('.')?;
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// An event as HubSpot sent it. Its `Debug` form never shows the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// HubSpot's number; not unique (`hubspot/api-facts.md#10`).
    pub event_id: Option<i64>,
    /// `contact.propertyChange`, `object.creation` …
    pub event_type: String,
    /// The portal that it happened in.
    pub portal_id: Option<PortalId>,
    /// The kind of record; `None` where no mapping could name it.
    pub object: Option<ObjectType>,
    /// The record; for associations the one that they start from.
    pub hs_id: Option<HubspotId>,
    /// Merges: those that went in, then the survivor. Associations: the other record.
    pub others: Vec<HubspotId>,
    /// The property that changed.
    pub property: Option<PropertyName>,
    /// Its raw text; `None` where the event has none, or one that HubSpot hides.
    pub value: Option<String>,
    /// When it happened.
    pub occurred_at: Option<Timestamp>,
    /// Whether it says that its own app made the change.
    pub own: bool,
    /// Why nothing can be made of it, whatever else it says.
    pub problem: Option<&'static str>,
}

impl Event {
    /// What happened; `None` for an event type that is not known.
    pub fn kind(&self) -> Option<EventKind> {
        EventKind::of(&self.event_type)
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Event")
            .field("event_type", &self.event_type)
            .field("hs_id", &self.hs_id)
            .field("property", &self.property)
            .finish_non_exhaustive()
    }
}

/// A stored event that waits.
#[derive(Debug, Clone)]
pub struct WaitingEvent {
    /// The row.
    pub id: i64,
    /// When it came.
    pub received_at: Timestamp,
    /// What HubSpot sent, without its portal.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_what_stands_behind_the_dot() {
        for kind in EventKind::ALL {
            assert_eq!(
                EventKind::of(&format!("contact.{}", kind.as_str())),
                Some(kind)
            );
        }
        for unknown in ["conversation.newMessage", "creation", "", "contact."] {
            assert_eq!(EventKind::of(unknown), None, "{unknown}");
        }
    }
}
