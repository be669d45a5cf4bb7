//! What both sides show of one record: HubSpot's answer, the row and its entry here, and who has had a word.

use crate::decide::incoming::freshness::{Freshness, missing_too_soon, of_absence};
use crate::decide::incoming::reading::Archived;
use crate::model::entry::{Entry, EntryState, Operation};
use crate::model::mapping::{Modes, ObjectMapping, Policy, Sees};
use crate::model::time::Timestamp;

/// What HubSpot shows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hubspot {
    /// It shows it, and nobody has edited it since both sides agreed.
    Unchanged,
    /// It shows it, edited at that time since both sides agreed.
    Edited(Timestamp),
    /// It shows it, and only a property's history can tell whether it was edited.
    Untold,
    /// It shows it as it was before what is known here.
    Outdated,
    /// It neither shows it nor says that it is missing.
    Unread,
    /// It does not show it, which says nothing before that time: the record is too young.
    Young(Timestamp),
    /// It is in the archive, or gone for good.
    Gone {
        /// What its archive says of it.
        archived: Archived,
    },
    /// It does not show it to this token, which says nothing: its user may not see it.
    Hidden,
    /// It has become a part of another one.
    Merged,
    /// It shows it, and another one has become a part of it since the mirror knew of it.
    Survivor,
}

/// An answer that does not show a record, and what is known here of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// When HubSpot was asked, by this machine's clock.
    pub asked_at: Timestamp,
    /// When HubSpot made the record.
    pub created_at: Option<Timestamp>,
    /// The version of the record that its row has.
    pub version: Option<Timestamp>,
    /// What HubSpot's archive says of it.
    pub archived: Archived,
    /// Whether HubSpot has announced its deletion.
    pub is_announced: bool,
    /// What the token sees.
    pub sees: Sees,
}

impl Absence {
    /// Whether the archive's word is to be kept for a look that asks only for what is live: the token's user sees not all, or
    /// the record is so young that a single answer which misses it says nothing.
    pub fn needs_the_archives_word(&self, moment: &Moment) -> bool {
        self.sees == Sees::User
            || missing_too_soon(self.created_at, moment.there(), false).is_some()
    }
}

impl Hubspot {
    /// What such an answer says of the record. No absence is believed but here.
    pub fn missed(missed: &Absence, moment: &Moment) -> Self {
        let Absence {
            asked_at,
            created_at,
            version,
            archived,
            is_announced,
            sees,
        } = *missed;
        // It was made or restored since the question.
        if of_absence(asked_at, version, moment.offset_ms) == Freshness::Stale {
            return Self::Unread;
        }
        let is_told = archived.is_shown() || is_announced;
        match missing_too_soon(created_at, moment.there(), is_told) {
            Some(again) => Self::Young(again),
            None if sees == Sees::User && !is_told => Self::Hidden,
            None => Self::Gone { archived },
        }
    }
}

/// What is on its way to HubSpot of a row that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flight {
    /// Nothing.
    Nothing,
    /// Its archive.
    Archive,
    /// A push of before the deletion.
    Push,
}

/// What waits of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Nothing.
    Nothing,
    /// A change.
    Change,
    /// A change that is on its way.
    Flight,
}

/// What is here of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// Neither a row nor anything that waits.
    Nothing,
    /// A row.
    Row {
        /// The last local write that HubSpot has not seen, or that a person is asked about, in HubSpot's time.
        written_at: Option<Timestamp>,
        /// What waits of it.
        waits: Waits,
    },
    /// The row was deleted, and its record is to be archived.
    Deleted {
        /// When, in HubSpot's time.
        at: Timestamp,
        /// What is on its way.
        flight: Flight,
    },
    /// A row that says that its record is archived.
    Marked,
    /// The row went without a deletion (a program dropped the table), and something of it waits.
    Vanished {
        /// Whether that is on its way.
        in_flight: bool,
    },
    /// The row was deleted, and another one is the record by now.
    Replaced,
    /// The row was deleted, and another one that waits for its create may be the record.
    InsertedAgain,
}

/// Who has had a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Nobody: the guard counts first what would go.
    Unasked,
    /// Nobody yet: its row waits for the guard.
    Noted,
    /// The guard lets it go, or an operator did.
    Passed,
    /// The guard holds it.
    Held,
    /// A person has decided the conflict `*` for the side here.
    Local,
    /// A person has decided it for HubSpot.
    Remote,
}

impl Word {
    /// A person's word about a whole record; `None` where it is none.
    pub fn of_person(word: &str) -> Option<Self> {
        match word {
            "local" => Some(Self::Local),
            "remote" => Some(Self::Remote),
            _ => None,
        }
    }
}

/// What both sides show of one record, and what was said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// HubSpot's side.
    pub hubspot: Hubspot,
    /// The side here.
    pub here: Here,
    /// Who has had a word.
    pub word: Word,
    /// The object's policy.
    pub policy: Policy,
    /// How the object's records come and go.
    pub modes: Modes,
    /// Whether HubSpot has announced that the record is deleted for privacy.
    pub is_erasure: bool,
}

impl Sides {
    /// What both sides show where nobody is asked and nothing is held.
    pub fn passed(hubspot: Hubspot, here: Here, mapping: &ObjectMapping) -> Self {
        Self {
            hubspot,
            here,
            word: Word::Passed,
            policy: mapping.policy,
            modes: mapping.modes,
            is_erasure: false,
        }
    }
}

/// The moment of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The transaction's time.
    pub now: Timestamp,
    /// HubSpot's clock minus this machine's.
    pub offset_ms: i64,
}

impl Moment {
    /// The transaction's time by HubSpot's clock.
    pub fn there(&self) -> Timestamp {
        self.now.plus_millis(self.offset_ms)
    }

    /// A time of this machine in HubSpot's clock: what claims to be later, by a clock that is ahead, was by then.
    pub fn in_hubspot(&self, at: Timestamp) -> Timestamp {
        at.min(self.now).plus_millis(self.offset_ms)
    }
}

impl Here {
    /// What is here of a record that has a row. `asked_at` is when the latest of the row's open conflicts was opened.
    pub fn row(entry: Option<&Entry>, asked_at: Option<Timestamp>, moment: &Moment) -> Self {
        let written = entry
            .into_iter()
            .flat_map(|entry| &entry.fields)
            .map(|field| field.changed_at)
            .max();
        Self::Row {
            written_at: written.max(asked_at).map(|at| moment.in_hubspot(at)),
            waits: match entry.map(|entry| entry.standing.state) {
                None => Waits::Nothing,
                Some(EntryState::InFlight) => Waits::Flight,
                Some(EntryState::Pending | EntryState::Dead) => Waits::Change,
            },
        }
    }

    /// What is here of a record without a row.
    pub fn rowless(entry: Option<&Entry>, moment: &Moment) -> Self {
        let Some(entry) = entry else {
            return Self::Nothing;
        };
        let in_flight = entry.standing.state == EntryState::InFlight;
        match entry.standing.operation {
            Operation::Archive => Self::Deleted {
                at: moment.in_hubspot(entry.standing.enqueued_at),
                flight: match in_flight {
                    true => Flight::Archive,
                    false => Flight::Nothing,
                },
            },
            Operation::Create | Operation::Update if entry.row.is_some() => Self::Deleted {
                at: moment.in_hubspot(entry.standing.enqueued_at),
                flight: match in_flight {
                    true => Flight::Push,
                    false => Flight::Nothing,
                },
            },
            Operation::Create
            | Operation::Update
            | Operation::Associate
            | Operation::Disassociate => Self::Vanished { in_flight },
        }
    }
}
