//! What is to be written of a row, its entry and its conflicts, once both sides were looked at: a list in order, which
//! `engine/acts` carries out. What an event makes of the entry is `decide/entry`'s to say.

use crate::decide::echo::PastValue;
use crate::decide::entry::{Answered, EntryEvent};
use crate::decide::merge::Owed;
use crate::decide::outgoing::gap::{Gap, LookAt};
use crate::decide::record::ConflictNote;
use crate::model::conflict::Winner;
use crate::model::entry::{Base, WaitsFor};
use crate::model::id::HubspotId;
use crate::model::name::PropertyName;
use crate::model::origin::Origin;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// One thing to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Something befalls the entry.
    Befall(EntryEvent),
    /// The entry is done.
    End,
    /// The entry is done where no field is left of it.
    EndIfEmpty,
    /// A field waits no more.
    DropField(PropertyName),
    /// No field waits any more.
    DropFields,
    /// A field waits, over this base.
    PutField {
        /// The property.
        property: PropertyName,
        /// What both sides agreed on.
        base: Base,
        /// When it was written here.
        changed_at: Timestamp,
    },
    /// A field that waits goes over this value.
    SetBase {
        /// The property.
        property: PropertyName,
        /// What HubSpot holds.
        base: Value,
    },
    /// A field's value that an attempt carries.
    SetSent {
        /// The property.
        property: PropertyName,
        /// The value.
        value: Value,
    },
    /// A value of HubSpot's that our write went over goes back, in the entry's next attempt.
    Owe {
        /// The property.
        property: PropertyName,
        /// The value, and what HubSpot holds by our write.
        owed: Owed,
    },
    /// What the attempt carried is forgotten: it surely did not happen, or is remembered elsewhere.
    ClearSent,
    /// What the attempt carried is remembered while it may still land.
    RememberSent,
    /// The row takes a value.
    Set {
        /// The property.
        property: PropertyName,
        /// The value.
        value: Value,
    },
    /// A change is written down.
    History {
        /// The property.
        property: PropertyName,
        /// The value before.
        old: Value,
        /// The value after.
        new: Value,
        /// Where it came from.
        origin: Origin,
    },
    /// A conflict that was decided at once is written down.
    Conflict {
        /// What is written down.
        note: ConflictNote,
        /// Whose value stays.
        winner: Winner,
        /// When HubSpot's value was set and by whom, as far as that is known.
        set: Option<PastValue>,
    },
    /// A record is to be read.
    AskRead {
        /// The record.
        hs_id: HubspotId,
        /// On whose account.
        origin: Origin,
        /// From when on.
        at: Timestamp,
    },
    /// A field of a write is kept, to be looked at or to be told of.
    NoteGap {
        /// The record.
        hs_id: HubspotId,
        /// The property.
        property: PropertyName,
        /// What was read, sent and answered.
        gap: Gap,
        /// When and why it is looked at.
        look: LookAt,
    },
    /// An archived record is to be looked at.
    LookAtArchive {
        /// The record.
        hs_id: HubspotId,
        /// From when on.
        at: Timestamp,
    },
}

/// That a local value has reached HubSpot, over what was there.
pub fn pushed(property: &PropertyName, base: &Base, value: &Value) -> Act {
    Act::History {
        property: property.clone(),
        old: base.or_empty().clone(),
        new: value.clone(),
        origin: Origin::Push,
    }
}

/// What is written of an entry whose attempt HubSpot did not look at (a limit, a lock, an outage that it answered for): nothing of
/// it happened, it counts as not made, and it is made again at `next`.
pub fn back_and_uncounted(
    next: Timestamp,
    explanation: &str,
    waits_for: Option<WaitsFor>,
) -> Vec<Act> {
    let back = EntryEvent::SentBack {
        next,
        explanation: Some(explanation.to_owned()),
        waits_for,
        answered: Answered::Yes,
    };
    vec![
        Act::ClearSent,
        Act::Befall(back),
        Act::Befall(EntryEvent::Uncounted),
    ]
}
