//! Whether a record and its row go on being: what both sides show of it, and who has had a word → what is done, in order.
//! Existence is merged like a field, and nowhere else.
//!
//! | in HubSpot | here | what is done |
//! |---|---|---|
//! | not told (unread, outdated, young, history wanted) | anything | whoever looked looks again |
//! | gone | row, nobody has judged it yet | noted: the guard has its word on it |
//! | gone | row that waits for the guard | what waits of it waits too |
//! | gone | row with a push on its way | its answer first |
//! | gone, erased for privacy | anything | all of it goes, whatever waits |
//! | gone | row, clean | `on_remote_delete`: `delete` the row goes · `mark` it stays and says so · `recreate` it is created again |
//! | gone | row, written | conflict `*`: `remote` as a clean row · `local` it is created again · `newest` the later · `manual` a person |
//! | gone | marked row | stays as it is |
//! | gone | deleted | done on both sides |
//! | gone | nothing | remembered as gone, so that an older page makes no row of it |
//! | hidden from this token | row | it stays; what waits of it is dead until a comparison sees the record |
//! | hidden from this token | deleted | the same: an archive is sent only where the record is shown |
//! | hidden from this token | nothing | nothing |
//! | merged into another | deleted | conflict `*` for HubSpot; nothing is sent, since it would take the survivor |
//! | shown, another one has become a part of it | deleted | the same, since it would take the other one too; with `on_local_delete = "restore"` the row comes back |
//! | shown | row that was to be removed, also one that went meanwhile | it stays, and the record is read |
//! | shown | marked row | it is a row as any other again |
//! | shown | deleted, and `on_local_delete = "restore"` | the row comes back with what was pending of it, and the record is read |
//! | shown, unchanged | deleted | archived |
//! | shown, edited | deleted | conflict `*`: `remote` the row comes back · `local` archived · `newest` the later · `manual` a person |
//! | shown | another row is the record | the archive ends |
//! | shown | a row inserted again may be it | the archive waits |
//! | anything | held by the guard | stays as it is |
//!
//! An answer that misses a record says that it is gone only by [`Hubspot::missed`]: one made moments ago is young, one
//! of which a later version is here is unread, and one that a token misses which sees only what its user sees is hidden,
//! unless HubSpot has announced the deletion or its archive shows the record.
//!
//! Where `new_records` lets no row become a record, one that is created again is linked or dead: the create's own look says
//! so (`outgoing/claim`).
//!
//! A person's word on the conflict `*` goes before the policy:
//!
//! | in HubSpot | here | `local` | `remote` |
//! |---|---|---|---|
//! | not told (unread, outdated, young) | anything | whoever looked looks again | the same |
//! | told | something on its way | its answer first | the same |
//! | gone | row | created again | the row goes |
//! | gone | deleted | done on both sides | done on both sides |
//! | shown | row that waits | what waits goes out | what waits goes out, and the record is read |
//! | shown | deleted | archived as it is now | the row comes back |
//! | anything | nothing waits | the conflict ends | the conflict ends |
//!
//! A person who gives up what waits (`given_up`):
//!
//! | what waits | its row | what is done |
//! |---|---|---|
//! | a create | any | the row stays here alone |
//! | an update | there | its fields go back to their base, and the record is read |
//! | an update or an archive | deleted | the row comes back with what was pending of it, and the record is read |
//! | anything of no record, or of two | any | it ends |
//!
//! A record that is shown and has a row is `record`'s business, and one without a row is a new row (`adopt` looks for one
//! that means it).

mod sides;

use std::time::Duration;

pub use self::sides::{Absence, Flight, Here, Hubspot, Moment, Sides, Waits, Word};
use crate::decide::incoming::reading::{Archived, Removal};
use crate::decide::merge::{BY_POLICY, LOCAL_LATER, REMOTE_LATER};
use crate::decide::retry::AFTER_UNREAD;
use crate::model::conflict::Winner;
use crate::model::entry::{Entry, Operation};
use crate::model::id::HubspotId;
use crate::model::mapping::{Modes, OnLocalDelete, OnRemoteDelete, Policy, Sees};
use crate::model::origin::Origin;
use crate::model::time::Timestamp;

/// Why the record's archiving wins.
pub(crate) const ARCHIVED_LATER: &str = "the record was archived after the local write";
/// Why the local write wins over the archiving.
pub(crate) const WRITTEN_LATER: &str = "the local write is later than the archiving";
/// Why the archiving wins where its time is not known.
pub(crate) const ARCHIVED_UNKNOWN: &str = "HubSpot does not say when the record was archived";
/// Why a pending archive is dropped.
pub const MERGED: &str =
    "the record was merged into another one in HubSpot before its archive was sent";
/// Why the archive of a record is dropped that another one was merged into.
pub const SURVIVES: &str =
    "another record was merged into this one in HubSpot before its archive was sent";
/// What a person is asked about a written row.
pub(crate) const REMOVED_THERE: &str =
    "the record was removed in HubSpot while a local change waited";
/// What a person is asked about a deleted row.
pub(crate) const EDITED_THERE: &str =
    "the row was deleted here, and the record was edited in HubSpot";

/// Why what waits of a record is dead that this token does not see. It ends with its code.
pub const NOT_VISIBLE: &str = "this token's user does not see the record: let the user see it, and it is tried again after the next comparison [not-visible]";

/// Why a conflict about a marked row ends.
const MARKED: &str = "decided; the row is marked as archived, and nothing waits to be sent";

/// What whoever looked waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// A time in HubSpot's clock, after which the answer counts.
    At(Timestamp),
    /// A better answer.
    Unread,
    /// An answer that is not older than what is known here.
    Outdated,
    /// A property's history.
    History,
    /// The answer of an attempt.
    Flight,
    /// What becomes of another row's create.
    Create,
    /// The guard's word on the row.
    Removal,
}

impl Again {
    /// What an entry says that waits for it, where somebody has something to do meanwhile: what a token misses whose user sees not
    /// all is most likely hidden from the user, however young.
    pub fn explanation(self, modes: Modes) -> Option<&'static str> {
        match self {
            Self::At(_) => (modes.sees == Sees::User).then_some(NOT_VISIBLE),
            Self::Unread
            | Self::Outdated
            | Self::History
            | Self::Flight
            | Self::Create
            | Self::Removal => None,
        }
    }

    /// When it is looked again, by this machine's clock; `rest`: where no time and no better answer is waited for.
    pub fn due(self, moment: &Moment, rest: Duration) -> Timestamp {
        match self {
            Self::At(there) => there.plus_millis(-moment.offset_ms),
            Self::Unread => moment.now + AFTER_UNREAD,
            Self::Outdated | Self::History | Self::Flight | Self::Create | Self::Removal => {
                moment.now + rest
            }
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Whoever looked looks again.
    LookAgain(Again),
    /// The row waits for the guard's word.
    NoteRemoval {
        /// What HubSpot's archive says of its record.
        archived: Archived,
    },
    /// It waits no more.
    ForgetRemoval,
    /// The record is read.
    AskRead,
    /// All that is known of the record goes, for privacy.
    Erase,
    /// The row goes, with its conflicts and what waits; the history keeps it.
    RemoveRow,
    /// The row stays and says that its record is archived: it goes back to what both sides agreed on, and what waits ends.
    MarkRow,
    /// A marked row is one as any other again.
    UnmarkRow,
    /// The row stays, and is counted as one that the token does not see.
    CountUnseen,
    /// What waits is dead until a comparison sees the record.
    Park(&'static str),
    /// The deleted row comes back with what was pending of it.
    Undelete,
    /// The row stays, loses its id and is created again.
    CreateAgain,
    /// The row comes back with HubSpot's values and its `local_id`.
    BringBack,
    /// The record as it is shown counts as what the deleted row was.
    CountAsSeen,
    /// The archive is sent.
    Archive,
    /// What waits is due.
    MakeDue,
    /// What waits is not due until a person has decided.
    Rest(&'static str),
    /// What waits ends; an archive whose answer was lost has done it.
    Done,
    /// What waits ends.
    End,
    /// An older page makes no row of the record.
    Bury,
    /// The conflicts of single fields end.
    CloseFields(Option<Winner>, &'static str),
    /// A conflict `*` that is decided.
    Conflict(Winner, &'static str),
    /// A conflict `*` for a person.
    Ask(&'static str),
    /// The person's conflict `*` ends.
    Close(Winner, &'static str),
}

/// Decides what becomes of a record and its row.
pub fn decide(sides: &Sides) -> Vec<Action> {
    match sides.word {
        Word::Held => Vec::new(),
        Word::Local => decided_local(sides.hubspot, sides.here, sides.modes),
        Word::Remote => decided_remote(sides.hubspot, sides.here, sides.modes),
        Word::Unasked | Word::Noted | Word::Passed => merged(sides),
    }
}

fn merged(sides: &Sides) -> Vec<Action> {
    match sides.here {
        Here::Replaced => return vec![Action::End],
        Here::InsertedAgain => return vec![Action::LookAgain(Again::Create)],
        Here::Nothing
        | Here::Row { .. }
        | Here::Marked
        | Here::Deleted { .. }
        | Here::Vanished { .. } => {}
    }
    match sides.hubspot {
        Hubspot::Hidden => hidden(sides),
        Hubspot::Unread => vec![Action::LookAgain(Again::Unread)],
        Hubspot::Outdated => vec![Action::LookAgain(Again::Outdated)],
        Hubspot::Untold => vec![Action::LookAgain(Again::History)],
        // Whom a law lets go is not looked for once more.
        Hubspot::Young(again) if !sides.is_erasure => vec![Action::LookAgain(Again::At(again))],
        Hubspot::Young(_) => gone(sides, Archived::Unshown),
        Hubspot::Gone { archived } => gone(sides, archived),
        Hubspot::Merged => match sides.here {
            Here::Deleted {
                flight: Flight::Nothing,
                ..
            } => vec![
                Action::Conflict(Winner::Remote, MERGED),
                Action::Bury,
                Action::End,
            ],
            // Its rows are absorbed.
            Here::Nothing
            | Here::Row { .. }
            | Here::Marked
            | Here::Deleted { .. }
            | Here::Vanished { .. }
            | Here::Replaced
            | Here::InsertedAgain => Vec::new(),
        },
        // What nobody deleted would be archived with it.
        Hubspot::Survivor => match sides.here {
            Here::Deleted {
                flight: Flight::Nothing,
                ..
            } => match sides.modes.on_local_delete {
                OnLocalDelete::Archive => {
                    vec![Action::Conflict(Winner::Remote, SURVIVES), Action::End]
                }
                OnLocalDelete::Restore => vec![Action::Undelete],
            },
            Here::Nothing
            | Here::Row { .. }
            | Here::Marked
            | Here::Deleted { .. }
            | Here::Vanished { .. }
            | Here::Replaced
            | Here::InsertedAgain => Vec::new(),
        },
        Hubspot::Unchanged => shown(sides, None),
        Hubspot::Edited(at) => shown(sides, Some(at)),
    }
}

/// A record that an answer misses, and that may be there all the same.
fn hidden(sides: &Sides) -> Vec<Action> {
    match sides.here {
        // A law's word is no absence: it was announced.
        Here::Row { .. } | Here::Deleted { .. } if sides.is_erasure => {
            gone(sides, Archived::Unshown)
        }
        Here::Row {
            waits: Waits::Change,
            ..
        } => vec![Action::CountUnseen, Action::Park(NOT_VISIBLE)],
        Here::Row { .. } => vec![Action::CountUnseen],
        Here::Deleted {
            flight: Flight::Nothing,
            ..
        } if sides.word == Word::Passed => vec![Action::CountUnseen, Action::Park(NOT_VISIBLE)],
        Here::Nothing
        | Here::Marked
        | Here::Deleted { .. }
        | Here::Vanished { .. }
        | Here::Replaced
        | Here::InsertedAgain => Vec::new(),
    }
}

fn gone(sides: &Sides, archived: Archived) -> Vec<Action> {
    let erases = sides.is_erasure;
    match (sides.here, sides.word) {
        (Here::Row { .. }, Word::Unasked) => vec![Action::NoteRemoval { archived }],
        (Here::Row { .. }, Word::Noted) => vec![Action::LookAgain(Again::Removal)],
        (Here::Nothing, Word::Passed) => vec![Action::ForgetRemoval],
        (
            Here::Row {
                waits: Waits::Flight,
                ..
            },
            _,
        ) => vec![Action::LookAgain(Again::Flight)],
        // Its answer would be written down after the erasure.
        (
            Here::Deleted {
                flight: Flight::Archive | Flight::Push,
                ..
            }
            | Here::Vanished { in_flight: true },
            _,
        ) if erases => vec![Action::LookAgain(Again::Flight)],
        _ if erases => vec![Action::Erase],
        (Here::Row { written_at, .. }, _) => removed(sides, written_at, archived.at()),
        (Here::Marked, _) => vec![Action::ForgetRemoval],
        (Here::Nothing, _) => vec![Action::Bury],
        (
            Here::Deleted {
                flight: Flight::Nothing | Flight::Archive,
                ..
            },
            _,
        ) => vec![Action::Done],
        // What is on its way settles it; nobody deleted the other one.
        _ => Vec::new(),
    }
}

/// A row whose record is gone.
fn removed(
    sides: &Sides,
    written_at: Option<Timestamp>,
    archived_at: Option<Timestamp>,
) -> Vec<Action> {
    let left = left_behind(sides.modes);
    let Some(written) = written_at else {
        return vec![Action::ForgetRemoval, left];
    };
    let there = |reason| {
        vec![
            Action::Conflict(Winner::Remote, reason),
            Action::ForgetRemoval,
            left,
        ]
    };
    let here = |reason| {
        vec![
            Action::Conflict(Winner::Local, reason),
            Action::ForgetRemoval,
            Action::CreateAgain,
        ]
    };
    match (sides.policy, archived_at) {
        (Policy::Remote, _) => there(BY_POLICY),
        (Policy::Local, _) => here(BY_POLICY),
        (Policy::Manual, _) => vec![
            Action::Ask(REMOVED_THERE),
            Action::ForgetRemoval,
            Action::Rest(
                "HubSpot no longer has the record; decide its conflict in sync_conflicts [open-conflict]",
            ),
        ],
        (Policy::Newest, Some(archived)) if written > archived => here(WRITTEN_LATER),
        (Policy::Newest, Some(_)) => there(ARCHIVED_LATER),
        (Policy::Newest, None) => there(ARCHIVED_UNKNOWN),
    }
}

/// What becomes of a row whose record is gone and that nobody has written.
fn left_behind(modes: Modes) -> Action {
    match modes.on_remote_delete {
        OnRemoteDelete::Delete => Action::RemoveRow,
        OnRemoteDelete::Mark => Action::MarkRow,
        OnRemoteDelete::Recreate => Action::CreateAgain,
    }
}

fn shown(sides: &Sides, edited_at: Option<Timestamp>) -> Vec<Action> {
    match (sides.here, sides.word) {
        (Here::Marked, _) => vec![Action::UnmarkRow],
        // It was to be removed, and was not gone or is back.
        (Here::Row { .. } | Here::Nothing, Word::Passed) => {
            vec![Action::ForgetRemoval, Action::AskRead]
        }
        (
            Here::Deleted {
                at,
                flight: Flight::Nothing,
            },
            Word::Passed,
        ) => match sides.modes.on_local_delete {
            OnLocalDelete::Archive => deleted(sides.policy, edited_at, at),
            OnLocalDelete::Restore => vec![Action::Undelete, Action::AskRead],
        },
        // The fields' business, or that of the archive when its turn comes.
        _ => Vec::new(),
    }
}

/// A row that was deleted here and whose record is there.
fn deleted(policy: Policy, edited_at: Option<Timestamp>, deleted_at: Timestamp) -> Vec<Action> {
    let ended = Action::CloseFields(
        Some(Winner::Local),
        "the row was deleted here, and its record is archived in HubSpot",
    );
    let here = |reason| {
        vec![
            ended,
            Action::Conflict(Winner::Local, reason),
            Action::Archive,
        ]
    };
    let there = |reason| vec![Action::Conflict(Winner::Remote, reason), Action::BringBack];
    let Some(edited) = edited_at else {
        return vec![ended, Action::Archive];
    };
    match policy {
        Policy::Remote => there(BY_POLICY),
        Policy::Local => here(BY_POLICY),
        Policy::Manual => vec![
            Action::CloseFields(
                None,
                "the row was deleted here: the conflict of the whole record (`*`) decides",
            ),
            Action::Ask(EDITED_THERE),
            Action::Rest(
                "the record was edited in HubSpot; decide its conflict in sync_conflicts [open-conflict]",
            ),
        ],
        Policy::Newest if deleted_at > edited => here(LOCAL_LATER),
        Policy::Newest => there(REMOTE_LATER),
    }
}

/// Whether a decision finds the record in HubSpot, or what it waits for. What was merged counts as its survivor.
fn is_there(hubspot: Hubspot, here: Here) -> Result<bool, Again> {
    let is_flying = matches!(
        here,
        Here::Row {
            waits: Waits::Flight,
            ..
        } | Here::Deleted {
            flight: Flight::Archive | Flight::Push,
            ..
        } | Here::Vanished { in_flight: true }
    );
    match hubspot {
        Hubspot::Unread | Hubspot::Hidden => Err(Again::Unread),
        Hubspot::Outdated => Err(Again::Outdated),
        Hubspot::Young(again) => Err(Again::At(again)),
        _ if is_flying => Err(Again::Flight),
        Hubspot::Unchanged
        | Hubspot::Edited(_)
        | Hubspot::Untold
        | Hubspot::Merged
        | Hubspot::Survivor => Ok(true),
        Hubspot::Gone { .. } => Ok(false),
    }
}

fn decided_local(hubspot: Hubspot, here: Here, modes: Modes) -> Vec<Action> {
    let close = |reason| Action::Close(Winner::Local, reason);
    match (is_there(hubspot, here), here) {
        (Err(again), _) => vec![Action::LookAgain(again)],
        (Ok(_), Here::Marked) => vec![close(MARKED)],
        // First: what is still open of the row follows it to the record that is to be.
        (Ok(false), Here::Row { .. }) => vec![
            close(match modes.new_records.makes_records() {
                true => "decided: the record is created again in HubSpot",
                false => "decided: the row stays, and is linked once HubSpot has a record of it",
            }),
            Action::CreateAgain,
        ],
        (
            Ok(true),
            Here::Row {
                waits: Waits::Nothing,
                ..
            },
        ) => vec![close("decided: the row stays; nothing waits to be sent")],
        (Ok(true), Here::Row { .. }) => vec![
            Action::MakeDue,
            close("decided: what changed here goes to HubSpot"),
        ],
        (_, Here::Nothing) => vec![close(
            "decided; the row is gone, and nothing waits to be sent",
        )],
        (Ok(true), _) => vec![
            Action::CountAsSeen,
            Action::MakeDue,
            close("decided: the record is archived in HubSpot"),
        ],
        (Ok(false), _) => vec![
            Action::Done,
            close("decided; neither side has the record any more"),
        ],
    }
}

fn decided_remote(hubspot: Hubspot, here: Here, modes: Modes) -> Vec<Action> {
    let close = |reason| Action::Close(Winner::Remote, reason);
    match (is_there(hubspot, here), here) {
        (Err(again), _) => vec![Action::LookAgain(again)],
        (Ok(_), Here::Marked) => vec![close(MARKED)],
        // First: the row's conflicts are closed with it.
        (Ok(false), Here::Row { .. }) => vec![
            close(match modes.on_remote_delete {
                OnRemoteDelete::Delete => "decided: the row is removed here",
                OnRemoteDelete::Mark => "decided: the row is marked as archived",
                OnRemoteDelete::Recreate => "decided: the record is created again in HubSpot",
            }),
            left_behind(modes),
        ],
        (
            Ok(true),
            Here::Row {
                waits: Waits::Nothing,
                ..
            },
        ) => vec![close("decided: the row stays; nothing waits to be sent")],
        (Ok(true), Here::Row { .. }) => vec![
            Action::MakeDue,
            Action::AskRead,
            close("decided; the record is in HubSpot again, and what changed here goes there"),
        ],
        (_, Here::Nothing) => vec![close(
            "decided; the row is gone, and nothing waits to be sent",
        )],
        (Ok(true), _) => vec![
            Action::BringBack,
            close("decided: the row is back with HubSpot's values"),
        ],
        (Ok(false), _) => vec![
            Action::Done,
            close("decided; neither side has the record any more"),
        ],
    }
}

/// How long what the file still knows of a record is kept that is nowhere in HubSpot, not even in its archive.
pub const ERASED_AFTER: Duration = Duration::from_hours(30 * 24);

/// Whether a removed row's record is gone for good: a full comparison missed it, and HubSpot's archive does not have it
/// either.
pub fn is_gone_for_good(removal: &Removal, modes: Modes) -> bool {
    removal.origin == Origin::Reconcile
        && !removal.archived.is_shown()
        && modes.sees == Sees::Portal
}

/// What it means that a person gives up what waits of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// It ends, and the row stays here alone.
    Exclude,
    /// The fields go back to their base, and the record is read.
    TakeBack(HubspotId),
    /// The deleted row comes back with what was pending of it, and the record is read.
    Undelete(HubspotId),
    /// It ends.
    End,
}

/// Decides what becomes of an entry that a person gives up.
pub fn given_up(entry: &Entry) -> GivenUp {
    match (entry.standing.operation, entry.standing.hs_id) {
        (Operation::Create, _) => GivenUp::Exclude,
        (Operation::Update, Some(id)) if entry.row.is_none() => GivenUp::TakeBack(id),
        // An update in doubt whose row was deleted is an archive to be.
        (Operation::Update | Operation::Archive, Some(id)) => GivenUp::Undelete(id),
        (
            Operation::Update | Operation::Archive | Operation::Associate | Operation::Disassociate,
            _,
        ) => GivenUp::End,
    }
}

#[cfg(test)]
mod tests;
