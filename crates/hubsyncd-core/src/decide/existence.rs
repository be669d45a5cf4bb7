//! Whether a record and its row go on being: what both sides show of it, and who has had a word → what is done, in order.
//! Existence is merged like a field, and nowhere else.
//!
//! | in HubSpot | here | what is done |
//! |---|---|---|
//! | not told (unread, young, history wanted) | anything | whoever looked looks again |
//! | gone | row, nobody has judged it yet | noted: the guard has its word on it |
//! | gone | row that waits for the guard | what waits of it waits too |
//! | gone | row with a push on its way | its answer first |
//! | gone, erased for privacy | anything | all of it goes, whatever waits |
//! | gone | row, clean | the row goes |
//! | gone | row, written | conflict `*`: `remote` the row goes · `local` it is created again · `newest` the later · `manual` a person |
//! | gone | deleted | done on both sides |
//! | gone | nothing | remembered as gone, so that an older page makes no row of it |
//! | merged into another | deleted | conflict `*` for HubSpot; nothing is sent, since it would take the survivor |
//! | shown | row that was to be removed, also one that went meanwhile | it stays, and the record is read |
//! | shown, unchanged | deleted | archived |
//! | shown, edited | deleted | conflict `*`: `remote` the row comes back · `local` archived · `newest` the later · `manual` a person |
//! | shown | another row is the record | the archive ends |
//! | shown | a row inserted again may be it | the archive waits |
//! | anything | held by the guard | stays as it is |
//!
//! An answer that misses a record says that it is gone only by [`Hubspot::missed`]: one made moments ago is young, and one
//! of which a later version is here is unread.
//!
//! A person's word on the conflict `*` goes before the policy:
//!
//! | in HubSpot | here | `local` | `remote` |
//! |---|---|---|---|
//! | not told (unread, young) | anything | whoever looked looks again | the same |
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
//! that means it). The rest of the design's table has its place here: `on_remote_delete` (`mark`, `recreate`) beside the
//! clean row in `removed`, `on_local_delete` (`restore`) beside the unchanged record in `deleted`, and a marked row is
//! one more [`Here`], which a shown record unmarks.

use crate::decide::freshness::{Freshness, missing_too_soon, of_absence};
use crate::decide::merge::{BY_POLICY, LOCAL_LATER, REMOTE_LATER};
use crate::model::conflict::Winner;
use crate::model::entry::{Entry, EntryState, Operation};
use crate::model::id::HubspotId;
use crate::model::mapping::Policy;
use crate::model::time::Timestamp;

/// Why the record's archiving wins.
pub const ARCHIVED_LATER: &str = "the record was archived after the local write";
/// Why the local write wins over the archiving.
pub const WRITTEN_LATER: &str = "the local write is later than the archiving";
/// Why the archiving wins where its time is not known.
pub const ARCHIVED_UNKNOWN: &str = "HubSpot does not say when the record was archived";
/// Why a pending archive is dropped.
pub const MERGED: &str =
    "the record was merged into another one in HubSpot before its archive was sent";
/// What a person is asked about a written row.
pub const REMOVED_THERE: &str = "the record was removed in HubSpot while a local change waited";
/// What a person is asked about a deleted row.
pub const EDITED_THERE: &str = "the row was deleted here, and the record was edited in HubSpot";

/// What HubSpot shows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hubspot {
    /// It shows it, and nobody has edited it since both sides agreed.
    Unchanged,
    /// It shows it, edited at that time since both sides agreed.
    Edited(Timestamp),
    /// It shows it, and only a property's history can tell whether it was edited.
    Untold,
    /// It neither shows it nor says that it is missing.
    Unread,
    /// It does not show it, which says nothing before that time: the record is too young.
    Young(Timestamp),
    /// It is in the archive, or gone for good.
    Gone {
        /// When it was archived, where HubSpot says so.
        archived_at: Option<Timestamp>,
    },
    /// It has become a part of another one.
    Merged,
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
    /// When it was archived, where HubSpot's archive shows it.
    pub archived_at: Option<Timestamp>,
}

impl Hubspot {
    /// What such an answer says of the record. No absence is believed but here.
    pub fn missed(missed: &Absence, moment: &Moment) -> Self {
        let Absence {
            asked_at,
            created_at,
            version,
            archived_at,
        } = *missed;
        // It was made or restored since the question.
        if of_absence(asked_at, version, moment.offset_ms) == Freshness::Stale {
            return Self::Unread;
        }
        match missing_too_soon(created_at, moment.there(), archived_at.is_some()) {
            Some(again) => Self::Young(again),
            None => Self::Gone { archived_at },
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
    /// Whether HubSpot has announced that the record is deleted for privacy.
    pub is_erasure: bool,
}

/// What whoever looked waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// A time in HubSpot's clock, after which the answer counts.
    At(Timestamp),
    /// A better answer.
    Unread,
    /// A property's history.
    History,
    /// The answer of an attempt.
    Flight,
    /// What becomes of another row's create.
    Create,
    /// The guard's word on the row.
    Removal,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Whoever looked looks again.
    LookAgain(Again),
    /// The row waits for the guard's word.
    NoteRemoval {
        /// When its record was archived, where HubSpot says so.
        archived_at: Option<Timestamp>,
    },
    /// It waits no more.
    ForgetRemoval,
    /// The record is read.
    AskRead,
    /// All that is known of the record goes, for privacy.
    Erase,
    /// The row goes, with its conflicts and what waits; the history keeps it.
    RemoveRow,
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

/// Decides what becomes of a record and its row.
pub fn decide(sides: &Sides) -> Vec<Action> {
    match sides.word {
        Word::Held => Vec::new(),
        Word::Local => decided_local(sides.hubspot, sides.here),
        Word::Remote => decided_remote(sides.hubspot, sides.here),
        Word::Unasked | Word::Noted | Word::Passed => merged(sides),
    }
}

fn merged(sides: &Sides) -> Vec<Action> {
    match sides.here {
        Here::Replaced => return vec![Action::End],
        Here::InsertedAgain => return vec![Action::LookAgain(Again::Create)],
        Here::Nothing | Here::Row { .. } | Here::Deleted { .. } | Here::Vanished { .. } => {}
    }
    match sides.hubspot {
        Hubspot::Unread => vec![Action::LookAgain(Again::Unread)],
        Hubspot::Untold => vec![Action::LookAgain(Again::History)],
        // Whom a law lets go is not looked for once more.
        Hubspot::Young(again) if !sides.is_erasure => vec![Action::LookAgain(Again::At(again))],
        Hubspot::Young(_) => gone(sides, None),
        Hubspot::Gone { archived_at } => gone(sides, archived_at),
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
            | Here::Deleted { .. }
            | Here::Vanished { .. }
            | Here::Replaced
            | Here::InsertedAgain => Vec::new(),
        },
        Hubspot::Unchanged => shown(sides, None),
        Hubspot::Edited(at) => shown(sides, Some(at)),
    }
}

fn gone(sides: &Sides, archived_at: Option<Timestamp>) -> Vec<Action> {
    let erases = sides.is_erasure;
    match (sides.here, sides.word) {
        (Here::Row { .. }, Word::Unasked) => vec![Action::NoteRemoval { archived_at }],
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
        (Here::Row { written_at, .. }, _) => removed(sides.policy, written_at, archived_at),
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
    policy: Policy,
    written_at: Option<Timestamp>,
    archived_at: Option<Timestamp>,
) -> Vec<Action> {
    let Some(written) = written_at else {
        return vec![Action::ForgetRemoval, Action::RemoveRow];
    };
    let there = |reason| {
        vec![
            Action::Conflict(Winner::Remote, reason),
            Action::ForgetRemoval,
            Action::RemoveRow,
        ]
    };
    let here = |reason| {
        vec![
            Action::Conflict(Winner::Local, reason),
            Action::ForgetRemoval,
            Action::CreateAgain,
        ]
    };
    match (policy, archived_at) {
        (Policy::Remote, _) => there(BY_POLICY),
        (Policy::Local, _) => here(BY_POLICY),
        (Policy::Manual, _) => vec![
            Action::Ask(REMOVED_THERE),
            Action::ForgetRemoval,
            Action::Rest("HubSpot no longer has the record; decide its conflict in sync_conflicts"),
        ],
        (Policy::Newest, Some(archived)) if written > archived => here(WRITTEN_LATER),
        (Policy::Newest, Some(_)) => there(ARCHIVED_LATER),
        (Policy::Newest, None) => there(ARCHIVED_UNKNOWN),
    }
}

fn shown(sides: &Sides, edited_at: Option<Timestamp>) -> Vec<Action> {
    match (sides.here, sides.word) {
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
        ) => deleted(sides.policy, edited_at, at),
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
            Action::Rest("the record was edited in HubSpot; decide its conflict in sync_conflicts"),
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
        Hubspot::Unread => Err(Again::Unread),
        Hubspot::Young(again) => Err(Again::At(again)),
        _ if is_flying => Err(Again::Flight),
        Hubspot::Unchanged | Hubspot::Edited(_) | Hubspot::Untold | Hubspot::Merged => Ok(true),
        Hubspot::Gone { .. } => Ok(false),
    }
}

fn decided_local(hubspot: Hubspot, here: Here) -> Vec<Action> {
    let close = |reason| Action::Close(Winner::Local, reason);
    match (is_there(hubspot, here), here) {
        (Err(again), _) => vec![Action::LookAgain(again)],
        // First: what is still open of the row follows it to the record that is to be.
        (Ok(false), Here::Row { .. }) => vec![
            close("decided: the record is created again in HubSpot"),
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

fn decided_remote(hubspot: Hubspot, here: Here) -> Vec<Action> {
    let close = |reason| Action::Close(Winner::Remote, reason);
    match (is_there(hubspot, here), here) {
        (Err(again), _) => vec![Action::LookAgain(again)],
        // First: the row's conflicts are closed with it.
        (Ok(false), Here::Row { .. }) => {
            vec![close("decided: the row is removed here"), Action::RemoveRow]
        }
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
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::EPOCH;

    fn at(second: i64) -> Timestamp {
        T.plus_millis(second * 1_000)
    }

    const HUBSPOT: [Hubspot; 8] = [
        Hubspot::Unchanged,
        Hubspot::Edited(T),
        Hubspot::Untold,
        Hubspot::Unread,
        Hubspot::Young(T),
        Hubspot::Gone { archived_at: None },
        Hubspot::Gone {
            archived_at: Some(T),
        },
        Hubspot::Merged,
    ];

    const WORDS: [Word; 6] = [
        Word::Unasked,
        Word::Noted,
        Word::Passed,
        Word::Held,
        Word::Local,
        Word::Remote,
    ];

    const CLEAN: Here = Here::Row {
        written_at: None,
        waits: Waits::Nothing,
    };

    fn written(second: i64) -> Here {
        Here::Row {
            written_at: Some(at(second)),
            waits: Waits::Change,
        }
    }

    fn deleted_at(second: i64) -> Here {
        Here::Deleted {
            at: at(second),
            flight: Flight::Nothing,
        }
    }

    fn everything_here(second: i64) -> Vec<Here> {
        let mut all = vec![
            Here::Nothing,
            Here::Vanished { in_flight: false },
            Here::Vanished { in_flight: true },
            Here::Replaced,
            Here::InsertedAgain,
        ];
        for flight in [Flight::Nothing, Flight::Archive, Flight::Push] {
            all.push(Here::Deleted {
                at: at(second),
                flight,
            });
        }
        for waits in [Waits::Nothing, Waits::Change, Waits::Flight] {
            for written_at in [None, Some(at(second))] {
                all.push(Here::Row { written_at, waits });
            }
        }
        all
    }

    /// Every combination of what both sides can show and who can have a word, the local times at `second`.
    fn everything(second: i64) -> Vec<Sides> {
        let mut all = Vec::new();
        for hubspot in HUBSPOT {
            for here in everything_here(second) {
                for word in WORDS {
                    for policy in Policy::ALL {
                        for is_erasure in [false, true] {
                            all.push(Sides {
                                hubspot,
                                here,
                                word,
                                policy,
                                is_erasure,
                            });
                        }
                    }
                }
            }
        }
        all
    }

    fn sides(hubspot: Hubspot, here: Here, word: Word) -> Sides {
        Sides {
            hubspot,
            here,
            word,
            policy: Policy::Newest,
            is_erasure: false,
        }
    }

    /// The actions of one line of the table, in short: `conflict remote` is one with its winner.
    fn check(sides: Sides, expected: &[&str]) {
        let shown = decide(&sides).into_iter().map(|action| match action {
            Action::LookAgain(again) => format!("again {again:?}").to_lowercase(),
            Action::Conflict(winner, _) => format!("conflict {}", winner.as_str()),
            Action::Close(winner, _) => format!("close {}", winner.as_str()),
            Action::CloseFields(winner, _) => {
                format!("close fields {}", winner.map_or("-", Winner::as_str))
            }
            Action::Ask(_) => "ask".to_owned(),
            Action::Rest(_) => "rest".to_owned(),
            Action::NoteRemoval { .. } => "note removal".to_owned(),
            Action::ForgetRemoval
            | Action::AskRead
            | Action::Erase
            | Action::RemoveRow
            | Action::CreateAgain
            | Action::BringBack
            | Action::CountAsSeen
            | Action::Archive
            | Action::MakeDue
            | Action::Done
            | Action::End
            | Action::Bury => format!("{action:?}"),
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected, "{sides:?}");
    }

    const GONE: Hubspot = Hubspot::Gone {
        archived_at: Some(T),
    };

    #[test]
    fn what_is_not_told_is_looked_at_again_and_decides_nothing() {
        for (hubspot, again) in [
            (Hubspot::Unread, "again unread"),
            (Hubspot::Untold, "again history"),
        ] {
            for here in [CLEAN, written(1), deleted_at(1), Here::Nothing] {
                for word in [Word::Unasked, Word::Passed] {
                    check(sides(hubspot, here, word), &[again]);
                }
            }
        }
        let young = sides(Hubspot::Young(at(10)), deleted_at(1), Word::Passed);
        assert_eq!(decide(&young), [Action::LookAgain(Again::At(at(10)))]);
        for word in [Word::Local, Word::Remote] {
            for here in [CLEAN, written(1), deleted_at(1)] {
                check(sides(Hubspot::Unread, here, word), &["again unread"]);
                let young = sides(Hubspot::Young(at(10)), here, word);
                assert_eq!(decide(&young), [Action::LookAgain(Again::At(at(10)))]);
            }
        }
    }

    #[test]
    fn an_answer_that_misses_a_record_is_believed_unless_that_is_young_or_was_seen_since() {
        let long_ago = at(-1_000);
        let check = |created_at, version, archived_at, expected| {
            let missed = Absence {
                asked_at: at(20),
                created_at,
                version,
                archived_at,
            };
            let moment = Moment {
                now: at(22),
                offset_ms: 3_000,
            };
            assert_eq!(Hubspot::missed(&missed, &moment), expected, "{missed:?}");
        };
        let gone = |archived_at| Hubspot::Gone { archived_at };
        check(None, None, None, gone(None));
        check(Some(long_ago), Some(at(23)), None, gone(None));
        check(Some(long_ago), Some(at(24)), None, Hubspot::Unread);
        check(Some(at(5)), Some(at(5)), None, Hubspot::Young(at(35)));
        check(Some(at(5)), Some(at(5)), Some(T), gone(Some(T)));
    }

    #[test]
    fn the_guard_has_its_word_before_a_row_goes_and_what_it_holds_stays() {
        check(sides(GONE, CLEAN, Word::Unasked), &["note removal"]);
        check(sides(GONE, written(1), Word::Unasked), &["note removal"]);
        check(sides(GONE, written(1), Word::Noted), &["again removal"]);
        for held in everything(1) {
            if held.word == Word::Held {
                check(held, &[]);
            }
        }
    }

    #[test]
    fn a_clean_row_goes_with_its_record() {
        for policy in Policy::ALL {
            check(
                Sides {
                    policy,
                    ..sides(GONE, CLEAN, Word::Passed)
                },
                &["ForgetRemoval", "RemoveRow"],
            );
        }
        check(sides(GONE, Here::Nothing, Word::Passed), &["ForgetRemoval"]);
    }

    #[test]
    fn a_row_whose_push_is_on_its_way_waits_for_the_answer() {
        let in_flight = Here::Row {
            written_at: Some(at(1)),
            waits: Waits::Flight,
        };
        for is_erasure in [false, true] {
            check(
                Sides {
                    is_erasure,
                    ..sides(GONE, in_flight, Word::Passed)
                },
                &["again flight"],
            );
        }
    }

    #[test]
    fn a_dirty_row_is_a_conflict_by_the_objects_policy() {
        let goes = ["conflict remote", "ForgetRemoval", "RemoveRow"];
        let again = ["conflict local", "ForgetRemoval", "CreateAgain"];
        let asks = ["ask", "ForgetRemoval", "rest"];
        let check = |policy, archived_at: Option<i64>, expected: &[&str]| {
            let archived_at = archived_at.map(at);
            let gone = Hubspot::Gone { archived_at };
            check(
                Sides {
                    policy,
                    ..sides(gone, written(10), Word::Passed)
                },
                expected,
            );
        };
        check(Policy::Remote, None, &goes);
        check(Policy::Local, None, &again);
        check(Policy::Manual, None, &asks);
        check(Policy::Newest, Some(9), &again);
        check(Policy::Newest, Some(10), &goes);
        check(Policy::Newest, Some(11), &goes);
        check(Policy::Newest, None, &goes);
    }

    #[test]
    fn a_deletion_meets_an_edit_by_the_objects_policy() {
        let goes = ["close fields local", "conflict local", "Archive"];
        let back = ["conflict remote", "BringBack"];
        let asks = ["close fields -", "ask", "rest"];
        let check = |policy, deleted, expected: &[&str]| {
            let edited = Hubspot::Edited(at(10));
            check(
                Sides {
                    policy,
                    ..sides(edited, deleted_at(deleted), Word::Passed)
                },
                expected,
            );
        };
        check(Policy::Remote, 99, &back);
        check(Policy::Local, 0, &goes);
        check(Policy::Manual, 0, &asks);
        check(Policy::Newest, 11, &goes);
        check(Policy::Newest, 10, &back);
        check(Policy::Newest, 9, &back);
    }

    #[test]
    fn a_deleted_rows_record_is_archived_as_it_was_and_not_before_its_turn() {
        let unchanged = |here, word| sides(Hubspot::Unchanged, here, word);
        check(
            unchanged(deleted_at(1), Word::Passed),
            &["close fields local", "Archive"],
        );
        check(unchanged(deleted_at(1), Word::Unasked), &[]);
        check(unchanged(Here::Replaced, Word::Passed), &["End"]);
        check(
            unchanged(Here::InsertedAgain, Word::Passed),
            &["again create"],
        );
        check(
            sides(Hubspot::Merged, deleted_at(1), Word::Passed),
            &["conflict remote", "Bury", "End"],
        );
    }

    #[test]
    fn a_row_that_was_to_be_removed_stays_where_its_record_is_shown() {
        for here in [CLEAN, written(1), Here::Nothing] {
            check(
                sides(Hubspot::Unchanged, here, Word::Passed),
                &["ForgetRemoval", "AskRead"],
            );
        }
        check(sides(Hubspot::Unchanged, written(1), Word::Unasked), &[]);
    }

    #[test]
    fn what_was_never_here_and_is_gone_is_remembered() {
        check(sides(GONE, Here::Nothing, Word::Unasked), &["Bury"]);
        for in_flight in [false, true] {
            check(
                sides(GONE, Here::Vanished { in_flight }, Word::Unasked),
                &[],
            );
        }
    }

    #[test]
    fn a_person_decides_before_the_policy() {
        let check = |hubspot, here, local: &[&str], remote: &[&str]| {
            for policy in Policy::ALL {
                for (word, expected) in [(Word::Local, local), (Word::Remote, remote)] {
                    let sides = Sides {
                        policy,
                        ..sides(hubspot, here, word)
                    };
                    check(sides, expected);
                }
            }
        };
        let shown = Hubspot::Unchanged;
        check(
            GONE,
            written(1),
            &["close local", "CreateAgain"],
            &["close remote", "RemoveRow"],
        );
        check(
            GONE,
            deleted_at(1),
            &["Done", "close local"],
            &["Done", "close remote"],
        );
        check(
            shown,
            written(1),
            &["MakeDue", "close local"],
            &["MakeDue", "AskRead", "close remote"],
        );
        check(
            shown,
            deleted_at(1),
            &["CountAsSeen", "MakeDue", "close local"],
            &["BringBack", "close remote"],
        );
        for here in [CLEAN, Here::Nothing] {
            check(shown, here, &["close local"], &["close remote"]);
        }
        check(GONE, Here::Nothing, &["close local"], &["close remote"]);
    }

    fn has(actions: &[Action], is_it: impl Fn(&Action) -> bool) -> bool {
        actions.iter().any(is_it)
    }

    #[test]
    fn a_persons_word_is_answered_once_unless_it_has_to_wait() {
        for sides in everything(1) {
            let is_decided = matches!(sides.word, Word::Local | Word::Remote);
            let actions = decide(&sides);
            let closes = actions
                .iter()
                .filter(|action| matches!(action, Action::Close(..)));
            let is_told = is_there(sides.hubspot, sides.here).is_ok();
            let expected = usize::from(is_decided && is_told);
            assert_eq!(closes.count(), expected, "{sides:?}");
        }
    }

    #[test]
    fn whoever_looks_again_does_nothing_else() {
        for sides in everything(1) {
            let actions = decide(&sides);
            let again = has(&actions, |action| matches!(action, Action::LookAgain(_)));
            assert!(!again || actions.len() == 1, "{sides:?} {actions:?}");
        }
    }

    #[test]
    fn a_privacy_deletion_leaves_nothing_behind_that_is_not_on_its_way() {
        for sides in everything(1) {
            let is_theirs = matches!(sides.hubspot, Hubspot::Gone { .. } | Hubspot::Young(_));
            let is_own = matches!(sides.here, Here::Deleted { .. } | Here::Row { .. });
            if !sides.is_erasure || sides.word != Word::Passed || !is_theirs || !is_own {
                continue;
            }
            let in_flight = matches!(
                sides.here,
                Here::Row {
                    waits: Waits::Flight,
                    ..
                } | Here::Deleted {
                    flight: Flight::Archive | Flight::Push,
                    ..
                }
            );
            let expected = match in_flight {
                true => Action::LookAgain(Again::Flight),
                false => Action::Erase,
            };
            assert_eq!(decide(&sides), [expected], "{sides:?}");
        }
    }

    fn entry(operation: Operation, state: EntryState, row: Option<&str>) -> Entry {
        use crate::model::entry::{Base, EntryField, Standing};
        use crate::model::id::{LocalId, OutboxId};
        use crate::model::name::PropertyName;

        let field = |name: &str, second| EntryField {
            property: PropertyName::parse(name).expect("a name"),
            base: Base::Unknown,
            changed_at: at(second),
            sent: None,
        };
        Entry {
            id: OutboxId(1),
            local_id: LocalId(1),
            standing: Standing {
                hs_id: None,
                operation,
                state,
                attempts: 0,
                enqueued_at: at(5),
                has_row: row.is_some(),
                ..Standing::NOTHING
            },
            version: 1,
            key: None,
            row: row.map(str::to_owned),
            fields: vec![field("city", 20), field("zip", 7)],
        }
    }

    #[test]
    fn what_a_person_gives_up_takes_nothing_along_that_was_there_before() {
        let id = HubspotId(101);
        let check = |operation, hs_id, row, expected| {
            let mut entry = entry(operation, EntryState::Pending, row);
            entry.standing.hs_id = hs_id;
            assert_eq!(
                given_up(&entry),
                expected,
                "{operation:?} {hs_id:?} {row:?}"
            );
        };
        for row in [None, Some("{}")] {
            for hs_id in [None, Some(id)] {
                check(Operation::Create, hs_id, row, GivenUp::Exclude);
                check(Operation::Associate, hs_id, row, GivenUp::End);
                check(Operation::Disassociate, hs_id, row, GivenUp::End);
            }
            check(Operation::Update, None, row, GivenUp::End);
            check(Operation::Archive, None, row, GivenUp::End);
            check(Operation::Archive, Some(id), row, GivenUp::Undelete(id));
        }
        check(Operation::Update, Some(id), None, GivenUp::TakeBack(id));
        check(
            Operation::Update,
            Some(id),
            Some("{}"),
            GivenUp::Undelete(id),
        );
    }

    fn noon() -> Moment {
        Moment {
            now: at(50),
            offset_ms: 3_000,
        }
    }

    #[test]
    fn a_row_was_written_when_it_was_written_last_or_a_person_was_asked() {
        let check = |state: Option<EntryState>, asked_at: Option<i64>, expected, waits| {
            let entry = state.map(|state| entry(Operation::Update, state, None));
            assert_eq!(
                Here::row(entry.as_ref(), asked_at.map(at), &noon()),
                Here::Row {
                    written_at: expected,
                    waits
                }
            );
        };
        check(None, None, None, Waits::Nothing);
        check(None, Some(9), Some(at(12)), Waits::Nothing);
        check(Some(EntryState::Pending), None, Some(at(23)), Waits::Change);
        check(Some(EntryState::Dead), Some(9), Some(at(23)), Waits::Change);
        check(
            Some(EntryState::InFlight),
            Some(30),
            Some(at(33)),
            Waits::Flight,
        );
        // By a clock that is ahead.
        check(
            Some(EntryState::Pending),
            Some(99),
            Some(at(53)),
            Waits::Change,
        );
    }

    #[test]
    fn only_what_keeps_its_row_was_deleted() {
        use EntryState::{Dead, InFlight, Pending};

        let check = |operation, state, row, expected| {
            let entry = entry(operation, state, row);
            assert_eq!(Here::rowless(Some(&entry), &noon()), expected);
        };
        let deleted = |flight| Here::Deleted { at: at(8), flight };
        let row = Some("{}");
        check(Operation::Archive, Pending, row, deleted(Flight::Nothing));
        check(Operation::Archive, Dead, row, deleted(Flight::Nothing));
        check(Operation::Archive, InFlight, row, deleted(Flight::Archive));
        for operation in [Operation::Create, Operation::Update] {
            check(operation, Pending, row, deleted(Flight::Nothing));
            check(operation, InFlight, row, deleted(Flight::Push));
            let vanished = |in_flight| Here::Vanished { in_flight };
            check(operation, Pending, None, vanished(false));
            check(operation, InFlight, None, vanished(true));
        }
        assert_eq!(Here::rowless(None, &noon()), Here::Nothing);
    }

    proptest::proptest! {
        #[test]
        fn what_both_sides_deleted_is_done(archived in proptest::option::of(-100_i64..100), second in -100_i64..100) {
            let gone = Hubspot::Gone { archived_at: archived.map(at) };
            for policy in Policy::ALL {
                for word in [Word::Unasked, Word::Passed] {
                    let both = Sides { policy, ..sides(gone, deleted_at(second), word) };
                    proptest::prop_assert_eq!(decide(&both), [Action::Done]);
                }
                for word in [Word::Local, Word::Remote] {
                    let both = Sides { policy, ..sides(gone, deleted_at(second), word) };
                    proptest::prop_assert_eq!(decide(&both)[0], Action::Done);
                }
            }
        }

        #[test]
        fn nothing_that_one_side_did_is_lost_without_a_conflict(second in -100_i64..100) {
            for sides in everything(second) {
                let actions = decide(&sides);
                let is_told = has(&actions, |action| {
                    matches!(action, Action::Conflict(..) | Action::Ask(_) | Action::Close(..))
                });
                let loses = |action: &Action| match action {
                    // Somebody's write here, or somebody's deletion in HubSpot.
                    Action::RemoveRow => !matches!(sides.here, Here::Row { written_at: None, .. }),
                    Action::CreateAgain => true,
                    // Somebody's edit in HubSpot, or somebody's deletion here.
                    Action::Archive => sides.hubspot != Hubspot::Unchanged,
                    Action::BringBack => true,
                    // The deletion here, unless it is done in HubSpot or another row took its place.
                    Action::End => sides.here != Here::Replaced,
                    // What a privacy law takes is told to nobody.
                    Action::Erase => !sides.is_erasure,
                    Action::LookAgain(_)
                    | Action::NoteRemoval { .. }
                    | Action::ForgetRemoval
                    | Action::AskRead
                    | Action::CountAsSeen
                    | Action::MakeDue
                    | Action::Rest(_)
                    | Action::Done
                    | Action::Bury
                    | Action::CloseFields(..)
                    | Action::Conflict(..)
                    | Action::Ask(_)
                    | Action::Close(..) => false,
                };
                proptest::prop_assert!(is_told || !has(&actions, loses), "{:?} {:?}", sides, actions);
            }
        }

        #[test]
        fn what_is_done_fits_what_is_there(second in -100_i64..100) {
            for sides in everything(second) {
                let has_row = matches!(sides.here, Here::Row { .. });
                let is_shown = is_there(sides.hubspot, Here::Nothing) == Ok(true);
                for action in decide(&sides) {
                    let fits = match action {
                        Action::RemoveRow | Action::CreateAgain => has_row && !is_shown,
                        Action::NoteRemoval { .. } => has_row && !is_shown && sides.word == Word::Unasked,
                        Action::BringBack | Action::Archive | Action::CountAsSeen => !has_row && is_shown,
                        Action::Done => !has_row && !is_shown,
                        Action::Erase => sides.is_erasure && !is_shown,
                        Action::LookAgain(_)
                        | Action::ForgetRemoval
                        | Action::AskRead
                        | Action::MakeDue
                        | Action::Rest(_)
                        | Action::End
                        | Action::Bury
                        | Action::CloseFields(..)
                        | Action::Conflict(..)
                        | Action::Ask(_)
                        | Action::Close(..) => true,
                    };
                    proptest::prop_assert!(fits, "{:?} {:?}", sides, action);
                }
            }
        }
    }
}
