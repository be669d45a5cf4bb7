//! The states of an outbox entry, and what each event makes of them: the one place where an entry changes.
//!
//! | event | pending | in flight | dead |
//! |---|---|---|---|
//! | claimed | in flight, one attempt more | – | – |
//! | taken back | – | pending, as if never claimed | – |
//! | sent back | pending, due later | pending, due later | – |
//! | lost | waits for its answer | waits for its answer | – |
//! | refused | dead | dead | dead, other words |
//! | linked | pending, an update or archive of the record | the same | the same |
//! | row gone | dead, of no record | the same | the same |
//! | asked | never due | never due | never due: a person decides about the record |
//! | decided | due | due | due |
//! | put off | due later | – | – |
//! | held, released | waits for the guard, goes on | – | – |
//! | backfilled | due, where it waited for the first backfill | the same | the same |
//! | writable | due, where only its time keeps it | – | – |
//! | healed | due, and written by now, where no wait explains its time | – | – |
//! | renamed | of the record that survived a merge | the same | the same |
//! | written | as it was; due, where it waited for another write | as it was | due: the write may mend it |
//! | deleted | an archive; gone, if HubSpot never heard of it | as it was | an archive; a create is gone |
//! | inserted again | an update again | as it was | due |
//! | mended | – | – | due, as if never tried: what was refused of it may go by now |
//! | retried | due | – | due, nothing in doubt |
//! | discarded | to be given up | – | to be given up |
//!
//! Triggers on the mirror tables make the last five (a deletion that is discarded is undone by `inserted again` too), and one statement over many entries makes held, released, backfilled,
//! writable, healed and mended (`store/outbox/bulk`, `store/outbox/guarded`, `store/outbox/links`); `store/shape/local_sql` holds both to this table. An entry that has an attempt
//! in doubt (`unanswered_since`) is due, but nobody may take it for one that HubSpot never heard of.
//!
//! An update whose row is deleted is the archive of its record as soon as nothing of it is in flight: at the deletion, or by
//! whatever ends the attempt that was on its way then (taken back, sent back, refused, linked). What a lost one carried is
//! remembered apart from it (`decide/echo`), so that nothing of it need be in doubt.
//!
//! `associate` and `disassociate` are entries of two rows, not a row's own. What an attempt, the guard or a person makes of an
//! entry holds for them as it is; `renamed`, `written`, `deleted` and `inserted again` befall a row's own entry alone. They
//! wait first for the creates of both sides (`waits_for` create), and `linked` turns one round that a program wrote again
//! while it was on its way. What programs make of them says `store/shape/associations`.

use crate::decide::retry::latest_due;
use crate::model::entry::{EntryState, Operation, Standing, WaitsFor};
use crate::model::id::{HubspotId, LocalId};
use crate::model::time::Timestamp;

/// What `last_error` says of an entry of which nothing can be sent; a local write to another field makes it due again.
pub const UNWRITABLE: &str = "nothing that waits of the row can be written in HubSpot at present: SELECT problem, hint FROM sync_fields says why [nothing-writable]";

/// Whether all attempts of an entry are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// None is in doubt.
    Yes,
    /// At least one may still have happened, or may still happen.
    No,
}

/// What an attempt sends, with what is to be known of it while its answer is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// A new record.
    Create {
        /// Whether it carries no key of ours: HubSpot knew none.
        is_keyless: bool,
    },
    /// Properties of a record.
    Update {
        /// The record's version that it goes over: what it brings is later, by HubSpot's own clock.
        over: Timestamp,
    },
    /// The record goes to the archive.
    Archive,
    /// An association, which may be repeated.
    Association,
}

/// What befalls an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryEvent {
    /// An attempt begins. Written down before the request leaves.
    Claimed {
        /// When.
        at: Timestamp,
        /// What is sent.
        attempt: Attempt,
    },
    /// The attempt of that time was not sent after all.
    TakenBack {
        /// The claim's time, by which an older attempt in doubt is known.
        claimed_at: Timestamp,
    },
    /// It is to be sent again.
    SentBack {
        /// When.
        next: Timestamp,
        /// Why; `None` leaves what is said of it.
        explanation: Option<String>,
        /// What it waits for besides.
        waits_for: Option<WaitsFor>,
        /// Whether the doubt about its attempts is over.
        answered: Answered,
    },
    /// A unique value of it is taken by a row that gives it up.
    TakenByRow {
        /// That row.
        row: LocalId,
        /// When it is worth a look.
        next: Timestamp,
        /// What is said of it.
        explanation: String,
    },
    /// The answer of its attempt was given up.
    Lost {
        /// When: the request may still land for a while after that.
        at: Timestamp,
        /// When to look what became of it.
        next: Timestamp,
        /// Why.
        explanation: String,
    },
    /// Refused for good.
    Refused {
        /// HubSpot's words, or ours.
        explanation: String,
        /// Whether the doubt about its attempts is over.
        answered: Answered,
    },
    /// Its row is gone, and nobody deleted it.
    RowGone {
        /// What is said of it.
        explanation: String,
    },
    /// Its record was found or made: it is an update of it, or an archive where the row was deleted meanwhile.
    Linked {
        /// Update or archive.
        operation: Operation,
        /// The record.
        hs_id: HubspotId,
        /// When it is due.
        at: Timestamp,
    },
    /// A person is asked about the record.
    Asked {
        /// What is said of it.
        explanation: String,
    },
    /// The person has decided for it.
    Decided {
        /// When.
        at: Timestamp,
    },
    /// It is to be looked at later, without an attempt.
    PutOff {
        /// When.
        next: Timestamp,
        /// Why; `None` leaves what is said of it.
        explanation: Option<String>,
    },
    /// An attempt counts as not made.
    Uncounted,
    /// The discarding can't be carried out.
    DiscardRefused {
        /// Why.
        explanation: String,
    },
    /// The guard holds it.
    Held,
    /// The guard lets it go.
    Released {
        /// The hold that was approved.
        hold: i64,
        /// When.
        at: Timestamp,
    },
    /// The object's first backfill is done.
    Backfilled,
    /// A property of it can be written again.
    Writable {
        /// When.
        at: Timestamp,
    },
    /// Times by a clock that was ahead are looked for.
    Healed {
        /// When.
        at: Timestamp,
    },
    /// Its record was merged into another in HubSpot.
    Renamed {
        /// The one that survived.
        hs_id: HubspotId,
    },
    /// Its row was written.
    Written,
    /// Its row was deleted.
    Deleted {
        /// When.
        at: Timestamp,
    },
    /// Its deleted row was inserted again.
    InsertedAgain,
    /// What it was refused for is no longer so: another setting of the portal, a pair that is mapped again, a record that is another one or
    /// gone.
    Mended {
        /// When.
        at: Timestamp,
    },
    /// A person wants it tried again.
    Retried,
    /// A person gives it up.
    Discarded {
        /// When.
        at: Timestamp,
    },
}

/// What an event makes of an entry; `None`: it is gone.
pub fn step(standing: Standing, event: EntryEvent) -> Option<Standing> {
    use EntryState::{Dead, InFlight, Pending};

    let now = standing;
    let state = now.state;
    let unanswered = |answered| match answered {
        Answered::Yes => None,
        Answered::No => now.unanswered_since,
    };
    let ends_attempt = matches!(
        event,
        EntryEvent::TakenBack { .. }
            | EntryEvent::SentBack { .. }
            | EntryEvent::TakenByRow { .. }
            | EntryEvent::Refused { .. }
            | EntryEvent::Linked { .. }
    );
    let after = match event {
        EntryEvent::Claimed { at, attempt } if is_free(&now) => Standing {
            state: InFlight,
            attempts: now.attempts.saturating_add(1),
            // A write that is seen was made, whatever its program's clock says.
            enqueued_at: now.enqueued_at.min(at),
            waits_for: None,
            unanswered_since: now.unanswered_since.or(Some(at)),
            sent_over: match attempt {
                Attempt::Update { over } => Some(over),
                Attempt::Create { .. } | Attempt::Archive | Attempt::Association => None,
            },
            sent_keyless: attempt == Attempt::Create { is_keyless: true },
            taken_by: None,
            ..now
        },
        EntryEvent::TakenBack { claimed_at } if state == InFlight => Standing {
            state: Pending,
            attempts: now.attempts.saturating_sub(1),
            unanswered_since: now.unanswered_since.filter(|since| *since != claimed_at),
            ..now
        },
        EntryEvent::SentBack {
            next,
            explanation,
            waits_for,
            answered,
        } if state != Dead => Standing {
            state: Pending,
            due: Some(next),
            last_error: explanation.or(now.last_error),
            waits_for,
            unanswered_since: unanswered(answered),
            ..now
        },
        EntryEvent::TakenByRow {
            row,
            next,
            explanation,
        } if state != Dead => Standing {
            state: Pending,
            due: Some(next),
            last_error: Some(explanation),
            waits_for: None,
            unanswered_since: None,
            taken_by: Some(row),
            ..now
        },
        EntryEvent::Lost {
            at,
            next,
            explanation,
        } if state != Dead => Standing {
            state: Pending,
            due: Some(next),
            last_error: Some(explanation),
            waits_for: Some(WaitsFor::Answer),
            unanswered_since: Some(at),
            ..now
        },
        EntryEvent::Refused {
            explanation,
            answered,
        } => Standing {
            state: Dead,
            last_error: Some(explanation),
            waits_for: None,
            unanswered_since: unanswered(answered),
            ..now
        },
        EntryEvent::RowGone { explanation } => Standing {
            state: Dead,
            attempts: 0,
            hs_id: None,
            due: None,
            waits_for: None,
            unanswered_since: None,
            last_error: Some(explanation),
            ..now
        },
        EntryEvent::Linked {
            operation,
            hs_id,
            at,
        } => Standing {
            operation,
            hs_id: Some(hs_id),
            state: Pending,
            attempts: 0,
            due: Some(at),
            last_error: None,
            waits_for: None,
            unanswered_since: None,
            ..now
        },
        EntryEvent::Asked { explanation } => Standing {
            state: Pending,
            due: None,
            last_error: Some(explanation),
            ..now
        },
        EntryEvent::Decided { at } => Standing {
            state: Pending,
            due: Some(at),
            waits_for: None,
            unanswered_since: None,
            ..now
        },
        EntryEvent::PutOff { next, explanation } if state == Pending => Standing {
            due: Some(next),
            last_error: explanation.or(now.last_error),
            ..now
        },
        EntryEvent::Uncounted => Standing {
            attempts: now.attempts.saturating_sub(1),
            ..now
        },
        EntryEvent::DiscardRefused { explanation } => Standing {
            discarded_at: None,
            last_error: Some(explanation),
            ..now
        },
        EntryEvent::Held if state == Pending && now.approved_hold.is_none() => Standing {
            waits_for: Some(WaitsFor::Guard),
            due: None,
            ..now
        },
        EntryEvent::Released { hold, at }
            if state == Pending && now.waits_for == Some(WaitsFor::Guard) =>
        {
            Standing {
                waits_for: None,
                due: Some(at),
                approved_hold: Some(hold),
                ..now
            }
        }
        EntryEvent::Backfilled if now.waits_for == Some(WaitsFor::Backfill) => Standing {
            waits_for: None,
            due: Some(now.enqueued_at),
            ..now
        },
        EntryEvent::Writable { at }
            if state == Pending
                && now.operation != Operation::Archive
                && now.waits_for.is_none()
                && now.due > Some(at) =>
        {
            Standing {
                due: Some(at),
                ..now
            }
        }
        EntryEvent::Healed { at } if is_put_off_by_a_clock(&now, at) => Standing {
            enqueued_at: now.enqueued_at.min(at),
            due: Some(at),
            ..now
        },
        EntryEvent::Renamed { hs_id } => Standing {
            hs_id: Some(hs_id),
            ..now
        },
        EntryEvent::Written if now.operation != Operation::Archive => written(now),
        EntryEvent::Deleted { at } => return deleted(now, at),
        EntryEvent::InsertedAgain if now.has_row => inserted_again(now),
        // What a person gives up stays given up.
        EntryEvent::Mended { at } if state == Dead && now.discarded_at.is_none() => Standing {
            state: Pending,
            attempts: 0,
            due: Some(at),
            last_error: None,
            // A call about an association may be repeated; of a record nobody has looked in HubSpot.
            unanswered_since: now.unanswered_since.filter(|_| !is_of_two(now.operation)),
            ..now
        },
        EntryEvent::Retried if state != InFlight => Standing {
            state: Pending,
            attempts: 0,
            due: Some(now.enqueued_at),
            // Whoever retries a dead entry has looked in HubSpot.
            unanswered_since: now.unanswered_since.filter(|_| state != Dead),
            waits_for: now
                .waits_for
                .filter(|waits| matches!(waits, WaitsFor::Guard | WaitsFor::Backfill)),
            ..now
        },
        EntryEvent::Discarded { at } if state != InFlight => Standing {
            discarded_at: now.discarded_at.or(Some(at)),
            ..now
        },
        EntryEvent::Claimed { .. }
        | EntryEvent::TakenBack { .. }
        | EntryEvent::SentBack { .. }
        | EntryEvent::TakenByRow { .. }
        | EntryEvent::Lost { .. }
        | EntryEvent::PutOff { .. }
        | EntryEvent::Held
        | EntryEvent::Released { .. }
        | EntryEvent::Backfilled
        | EntryEvent::Writable { .. }
        | EntryEvent::Healed { .. }
        | EntryEvent::Written
        | EntryEvent::InsertedAgain
        | EntryEvent::Mended { .. }
        | EntryEvent::Retried
        | EntryEvent::Discarded { .. } => now,
    };
    Some(match ends_attempt && state != Dead && after.has_row {
        true => archive_of_deleted(after),
        false => after,
    })
}

/// What an attempt left of the update of a row that was deleted meanwhile: the archive that the deletion asked for. What the
/// attempt waits for, a limit or a lock, its record's archive waits for too; what it was refused for it is not.
fn archive_of_deleted(now: Standing) -> Standing {
    let is_record_kept = now.operation == Operation::Update && now.hs_id.is_some();
    if !is_record_kept || now.state == EntryState::InFlight {
        return now;
    }
    let was_refused = now.state == EntryState::Dead;
    Standing {
        operation: Operation::Archive,
        state: EntryState::Pending,
        attempts: 0,
        due: match was_refused {
            true => Some(now.enqueued_at),
            false => now.due,
        },
        last_error: now.last_error.filter(|_| !was_refused),
        unanswered_since: None,
        taken_by: None,
        approved_hold: None,
        ..now
    }
}

/// Whether an entry is of an association, and so of two rows.
fn is_of_two(operation: Operation) -> bool {
    matches!(operation, Operation::Associate | Operation::Disassociate)
}

/// Whether an entry may be claimed: it has a time, and waits for nobody's word.
fn is_free(standing: &Standing) -> bool {
    let waits = matches!(
        standing.waits_for,
        Some(WaitsFor::Guard | WaitsFor::Backfill | WaitsFor::Create)
    );
    standing.state == EntryState::Pending && standing.due.is_some() && !waits
}

/// Whether an entry's time is none that the daemon set: due at once when it was queued, by a clock that was ahead; or later
/// than any wait.
fn is_put_off_by_a_clock(standing: &Standing, now: Timestamp) -> bool {
    let Some(due) = standing.due.filter(|due| *due > now) else {
        return false;
    };
    let is_as_queued = standing.attempts == 0 && due == standing.enqueued_at;
    standing.state == EntryState::Pending && (due > latest_due(now) || is_as_queued)
}

/// A write is no retry of what waits, but it may mend what is dead, and what can't be written must not hold it up.
fn written(now: Standing) -> Standing {
    let is_dead = now.state == EntryState::Dead;
    let is_unwritable = now.last_error.as_deref() == Some(UNWRITABLE);
    Standing {
        discarded_at: None,
        attempts: if is_dead { 0 } else { now.attempts },
        due: match is_dead || is_unwritable {
            true => Some(now.enqueued_at),
            false => now.due,
        },
        last_error: now.last_error.filter(|_| !is_unwritable),
        state: if is_dead {
            EntryState::Pending
        } else {
            now.state
        },
        ..now
    }
}

/// A create that HubSpot never heard of goes with its row. What is in flight, and a create in doubt, keeps its operation until its
/// answer is there, and is settled as a deletion then.
fn deleted(now: Standing, at: Timestamp) -> Option<Standing> {
    let is_unheard =
        now.attempts == 0 && now.unanswered_since.is_none() && now.state != EntryState::InFlight;
    if now.operation == Operation::Create && (now.state == EntryState::Dead || is_unheard) {
        return None;
    }
    let is_settled = now.state != EntryState::InFlight;
    let now = Standing {
        has_row: true,
        discarded_at: None,
        enqueued_at: at,
        ..now
    };
    Some(match now.operation == Operation::Update && is_settled {
        true => Standing {
            operation: Operation::Archive,
            state: EntryState::Pending,
            attempts: 0,
            due: Some(at),
            last_error: None,
            waits_for: None,
            approved_hold: None,
            unanswered_since: None,
            ..now
        },
        false => now,
    })
}

/// What a DELETE made of the entry is undone.
fn inserted_again(now: Standing) -> Standing {
    let was_archive = now.operation == Operation::Archive;
    let is_dead = now.state == EntryState::Dead;
    let anew = was_archive || is_dead;
    Standing {
        has_row: false,
        discarded_at: None,
        attempts: if anew { 0 } else { now.attempts },
        due: if anew { Some(now.enqueued_at) } else { now.due },
        waits_for: now.waits_for.filter(|_| !was_archive),
        approved_hold: now.approved_hold.filter(|_| !was_archive),
        last_error: now.last_error.filter(|_| !was_archive),
        state: if is_dead {
            EntryState::Pending
        } else {
            now.state
        },
        operation: if was_archive {
            Operation::Update
        } else {
            now.operation
        },
        ..now
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn fresh(operation: Operation) -> Standing {
        Standing {
            operation,
            hs_id: (operation != Operation::Create).then_some(HubspotId(101)),
            state: EntryState::Pending,
            attempts: 0,
            enqueued_at: at(1),
            due: Some(at(1)),
            waits_for: None,
            unanswered_since: None,
            last_error: None,
            sent_over: None,
            sent_keyless: false,
            taken_by: None,
            discarded_at: None,
            approved_hold: None,
            has_row: operation == Operation::Archive,
        }
    }

    /// Every event, each with the parts that change something.
    fn events() -> Vec<EntryEvent> {
        let explanation = || "words".to_owned();
        let mut events = vec![
            EntryEvent::TakenBack { claimed_at: at(10) },
            EntryEvent::TakenByRow {
                row: LocalId(7),
                next: at(30),
                explanation: explanation(),
            },
            EntryEvent::Lost {
                at: at(20),
                next: at(30),
                explanation: explanation(),
            },
            EntryEvent::RowGone {
                explanation: explanation(),
            },
            EntryEvent::Asked {
                explanation: explanation(),
            },
            EntryEvent::Decided { at: at(40) },
            EntryEvent::PutOff {
                next: at(30),
                explanation: Some(explanation()),
            },
            EntryEvent::Uncounted,
            EntryEvent::DiscardRefused {
                explanation: explanation(),
            },
            EntryEvent::Held,
            EntryEvent::Released {
                hold: 1,
                at: at(40),
            },
            EntryEvent::Backfilled,
            EntryEvent::Writable { at: at(0) },
            EntryEvent::Healed { at: at(0) },
            EntryEvent::Renamed {
                hs_id: HubspotId(101),
            },
            EntryEvent::Written,
            EntryEvent::Deleted { at: at(50) },
            EntryEvent::InsertedAgain,
            EntryEvent::Mended { at: at(50) },
            EntryEvent::Retried,
            EntryEvent::Discarded { at: at(50) },
        ];
        for attempt in [
            Attempt::Create { is_keyless: false },
            Attempt::Create { is_keyless: true },
            Attempt::Update { over: at(9) },
            Attempt::Archive,
            Attempt::Association,
        ] {
            events.push(EntryEvent::Claimed {
                at: at(10),
                attempt,
            });
        }
        for operation in [
            Operation::Update,
            Operation::Archive,
            Operation::Associate,
            Operation::Disassociate,
        ] {
            events.push(EntryEvent::Linked {
                operation,
                hs_id: HubspotId(101),
                at: at(40),
            });
        }
        for answered in [Answered::Yes, Answered::No] {
            events.push(EntryEvent::Refused {
                explanation: explanation(),
                answered,
            });
            for waits_for in [None, Some(WaitsFor::Answer), Some(WaitsFor::Lock)] {
                events.push(EntryEvent::SentBack {
                    next: at(30),
                    explanation: Some(explanation()),
                    waits_for,
                    answered,
                });
            }
        }
        events
    }

    /// An archive that waited becomes the update of a row that is there again, and owes the guard nothing; what was in flight or
    /// dead keeps what its answer needs.
    #[test]
    fn a_row_that_is_inserted_again_takes_back_its_delete_and_nothing_else() {
        let waiting = Standing {
            attempts: 3,
            due: Some(at(90)),
            waits_for: Some(WaitsFor::Guard),
            last_error: Some("held".to_owned()),
            discarded_at: Some(at(5)),
            approved_hold: Some(4),
            unanswered_since: Some(at(6)),
            ..fresh(Operation::Archive)
        };
        let update = Standing {
            operation: Operation::Update,
            attempts: 0,
            due: Some(at(1)),
            waits_for: None,
            last_error: None,
            discarded_at: None,
            approved_hold: None,
            has_row: false,
            ..waiting.clone()
        };
        assert_eq!(
            step(waiting.clone(), EntryEvent::InsertedAgain),
            Some(update)
        );

        let create = Standing {
            operation: Operation::Create,
            hs_id: None,
            waits_for: Some(WaitsFor::Backfill),
            ..waiting.clone()
        };
        let goes_on = Standing {
            discarded_at: None,
            has_row: false,
            ..create.clone()
        };
        assert_eq!(
            step(create.clone(), EntryEvent::InsertedAgain),
            Some(goes_on)
        );

        let dead = Standing {
            state: EntryState::Dead,
            ..create
        };
        let tried_anew = Standing {
            state: EntryState::Pending,
            attempts: 0,
            due: Some(at(1)),
            discarded_at: None,
            has_row: false,
            ..dead.clone()
        };
        assert_eq!(
            step(dead.clone(), EntryEvent::InsertedAgain),
            Some(tried_anew)
        );

        let never_deleted = fresh(Operation::Update);
        let same = Some(never_deleted.clone());
        assert_eq!(step(never_deleted, EntryEvent::InsertedAgain), same);
    }

    /// Two standings that no rule tells apart are one here, so that all that can be reached can be walked.
    fn shape(standing: &Standing) -> Standing {
        Standing {
            attempts: standing.attempts.min(2),
            enqueued_at: at(1),
            due: standing.due.map(|_| at(1)),
            sent_over: None,
            discarded_at: standing.discarded_at.map(|_| at(1)),
            ..standing.clone()
        }
    }

    /// What programs do to a row befalls the row's own entry, and an association is linked as one.
    fn befalls(standing: &Standing, event: &EntryEvent) -> bool {
        match event {
            EntryEvent::Written | EntryEvent::Deleted { .. } | EntryEvent::InsertedAgain => {
                !is_of_two(standing.operation)
            }
            EntryEvent::Linked { operation, .. } => {
                is_of_two(*operation) == is_of_two(standing.operation)
            }
            EntryEvent::Claimed { attempt, .. } => {
                (*attempt == Attempt::Association) == is_of_two(standing.operation)
            }
            EntryEvent::TakenBack { .. }
            | EntryEvent::SentBack { .. }
            | EntryEvent::TakenByRow { .. }
            | EntryEvent::Lost { .. }
            | EntryEvent::Refused { .. }
            | EntryEvent::RowGone { .. }
            | EntryEvent::Asked { .. }
            | EntryEvent::Decided { .. }
            | EntryEvent::PutOff { .. }
            | EntryEvent::Uncounted
            | EntryEvent::DiscardRefused { .. }
            | EntryEvent::Held
            | EntryEvent::Released { .. }
            | EntryEvent::Backfilled
            | EntryEvent::Writable { .. }
            | EntryEvent::Healed { .. }
            | EntryEvent::Renamed { .. }
            | EntryEvent::Mended { .. }
            | EntryEvent::Retried
            | EntryEvent::Discarded { .. } => true,
        }
    }

    /// Every standing that any sequence of events leads to, each once.
    fn all_reached() -> Vec<Standing> {
        let mut found: Vec<Standing> = [
            Operation::Create,
            Operation::Update,
            Operation::Archive,
            Operation::Associate,
            Operation::Disassociate,
        ]
        .map(fresh)
        .into();
        let waiting = |operation, waits_for| Standing {
            due: None,
            waits_for: Some(waits_for),
            ..fresh(operation)
        };
        found.push(waiting(Operation::Create, WaitsFor::Backfill));
        found.push(waiting(Operation::Associate, WaitsFor::Create));
        let mut seen: BTreeSet<Standing> = found.iter().map(shape).collect();
        let mut next = 0;
        while next < found.len() {
            for event in events() {
                if befalls(&found[next], &event)
                    && let Some(standing) = step(found[next].clone(), event)
                    && seen.insert(shape(&standing))
                {
                    found.push(standing);
                }
            }
            next += 1;
        }
        found
    }

    /// Whether something or somebody is bound to touch it again: the clock, an answer, the guard, the end of the
    /// first backfill or of a create, or a person whom it is told to.
    fn is_heard_of(standing: &Standing) -> bool {
        match standing.state {
            EntryState::InFlight => standing.unanswered_since.is_some(),
            EntryState::Dead => standing.last_error.is_some(),
            EntryState::Pending => {
                standing.due.is_some()
                    || matches!(
                        standing.waits_for,
                        Some(WaitsFor::Guard | WaitsFor::Backfill | WaitsFor::Create)
                    )
                    || standing.last_error.is_some()
            }
        }
    }

    #[test]
    fn no_sequence_of_events_leaves_an_entry_that_nothing_will_touch_again() {
        let all = all_reached();
        assert!(all.len() > 1_000, "{}", all.len());
        for standing in all {
            assert!(is_heard_of(&standing), "{standing:?}");
        }
    }

    #[test]
    fn only_a_person_a_program_or_what_mends_its_cause_revives_a_dead_entry() {
        for standing in all_reached() {
            if standing.state != EntryState::Dead {
                continue;
            }
            for event in events() {
                let asked = matches!(
                    event,
                    EntryEvent::Linked { .. }
                        | EntryEvent::Asked { .. }
                        | EntryEvent::Decided { .. }
                        | EntryEvent::Written
                        | EntryEvent::Deleted { .. }
                        | EntryEvent::InsertedAgain
                        | EntryEvent::Mended { .. }
                        | EntryEvent::Retried
                );
                if !befalls(&standing, &event) {
                    continue;
                }
                let after = step(standing.clone(), event.clone());
                let is_dead = after.is_some_and(|after| after.state == EntryState::Dead);
                assert!(is_dead || asked, "{event:?} on {standing:?}");
            }
        }
    }

    #[test]
    fn only_a_deletion_ends_an_entry_and_only_one_that_hubspot_never_heard_of() {
        for standing in all_reached() {
            for event in events() {
                let is_deletion = matches!(event, EntryEvent::Deleted { .. });
                if !befalls(&standing, &event) || step(standing.clone(), event).is_some() {
                    continue;
                }
                assert!(is_deletion && standing.operation == Operation::Create);
                let in_doubt =
                    standing.state == EntryState::InFlight || standing.unanswered_since.is_some();
                assert!(
                    !in_doubt || standing.state == EntryState::Dead,
                    "{standing:?}"
                );
            }
        }
    }

    #[test]
    fn an_attempt_stays_in_doubt_until_somebody_knows() {
        for standing in all_reached() {
            if standing.unanswered_since.is_none() {
                continue;
            }
            for event in events() {
                let knows = match &event {
                    EntryEvent::SentBack { answered, .. }
                    | EntryEvent::Refused { answered, .. } => *answered == Answered::Yes,
                    EntryEvent::TakenBack { claimed_at } => {
                        standing.unanswered_since == Some(*claimed_at)
                    }
                    EntryEvent::TakenByRow { .. }
                    | EntryEvent::Linked { .. }
                    | EntryEvent::RowGone { .. }
                    | EntryEvent::Decided { .. } => true,
                    // A person retries what is dead after a look in HubSpot.
                    EntryEvent::Retried => standing.state == EntryState::Dead,
                    // What a lost update carried is remembered beside its entry.
                    EntryEvent::Deleted { .. } => standing.operation == Operation::Update,
                    EntryEvent::Mended { .. } => {
                        standing.state == EntryState::Dead && is_of_two(standing.operation)
                    }
                    EntryEvent::Claimed { .. }
                    | EntryEvent::Lost { .. }
                    | EntryEvent::Asked { .. }
                    | EntryEvent::PutOff { .. }
                    | EntryEvent::Uncounted
                    | EntryEvent::DiscardRefused { .. }
                    | EntryEvent::Held
                    | EntryEvent::Released { .. }
                    | EntryEvent::Backfilled
                    | EntryEvent::Writable { .. }
                    | EntryEvent::Healed { .. }
                    | EntryEvent::Renamed { .. }
                    | EntryEvent::Written
                    | EntryEvent::InsertedAgain
                    | EntryEvent::Discarded { .. } => false,
                };
                let is_deleted_update = standing.has_row && standing.operation == Operation::Update;
                let knows = knows || is_deleted_update;
                if !befalls(&standing, &event) {
                    continue;
                }
                let after = step(standing.clone(), event.clone());
                let is_sure = after.is_some_and(|after| after.unanswered_since.is_none());
                assert!(!is_sure || knows, "{event:?} on {standing:?}");
            }
        }
    }

    #[test]
    fn in_flight_an_entry_keeps_its_operation_and_state_whatever_programs_write() {
        for standing in all_reached() {
            if standing.state != EntryState::InFlight {
                continue;
            }
            for event in [
                EntryEvent::Written,
                EntryEvent::Deleted { at: at(50) },
                EntryEvent::InsertedAgain,
                EntryEvent::Mended { at: at(50) },
                EntryEvent::Retried,
                EntryEvent::Discarded { at: at(50) },
                EntryEvent::Held,
                EntryEvent::Writable { at: at(0) },
                EntryEvent::Healed { at: at(0) },
                EntryEvent::PutOff {
                    next: at(60),
                    explanation: None,
                },
            ] {
                if !befalls(&standing, &event) {
                    continue;
                }
                let after = step(standing.clone(), event.clone()).expect("it stays");
                let is_undone = event == EntryEvent::InsertedAgain
                    && standing.has_row
                    && standing.operation == Operation::Archive;
                let expected = if is_undone {
                    Operation::Update
                } else {
                    standing.operation
                };
                assert_eq!((after.state, after.operation), (standing.state, expected));
            }
        }
    }

    #[test]
    fn what_is_mended_goes_as_if_never_tried_unless_a_person_gave_it_up() {
        let dead = |operation| Standing {
            state: EntryState::Dead,
            attempts: 4,
            last_error: Some("words".to_owned()),
            unanswered_since: Some(at(10)),
            ..fresh(operation)
        };
        let mended = |standing| step(standing, EntryEvent::Mended { at: at(50) }).expect("stays");
        for (operation, doubt) in [
            (Operation::Associate, None),
            (Operation::Create, Some(at(10))),
        ] {
            let expected = Standing {
                state: EntryState::Pending,
                attempts: 0,
                due: Some(at(50)),
                last_error: None,
                unanswered_since: doubt,
                ..dead(operation)
            };
            assert_eq!(mended(dead(operation)), expected);
        }
        let given_up = Standing {
            discarded_at: Some(at(20)),
            ..dead(Operation::Associate)
        };
        assert_eq!(mended(given_up.clone()), given_up);
    }

    /// Wherever an attempt of an update ends, and however: a row that was deleted meanwhile takes its record along, as if it had been
    /// deleted while nothing was on its way.
    #[test]
    fn an_update_whose_row_is_deleted_is_an_archive_as_soon_as_nothing_of_it_is_in_flight() {
        for standing in all_reached() {
            let is_of_record = standing.operation == Operation::Update && standing.hs_id.is_some();
            if !is_of_record || standing.state == EntryState::Dead {
                continue;
            }
            let is_in_flight = standing.state == EntryState::InFlight;
            let ends: Vec<EntryEvent> = match is_in_flight {
                true => events(),
                false => vec![EntryEvent::Deleted { at: at(50) }],
            };
            for event in ends {
                if !befalls(&standing, &event) || (is_in_flight && !standing.has_row) {
                    continue;
                }
                let after = step(standing.clone(), event.clone()).expect("stays");
                let is_over = after.state != EntryState::InFlight && after.hs_id.is_some();
                let is_asked = matches!(
                    event,
                    EntryEvent::Asked { .. } | EntryEvent::Lost { .. } | EntryEvent::Decided { .. }
                );
                let is_archive = after.operation == Operation::Archive;
                assert!(
                    is_archive || !is_over || is_asked,
                    "{event:?} on {standing:?}"
                );
            }
        }
        let claim = EntryEvent::Claimed {
            at: at(10),
            attempt: Attempt::Update { over: at(9) },
        };
        let on_its_way = step(fresh(Operation::Update), claim).expect("stays");
        let deleted = step(on_its_way, EntryEvent::Deleted { at: at(12) }).expect("stays");
        assert_eq!(deleted.operation, Operation::Update);
        let after = |event| step(deleted.clone(), event).expect("stays");
        let locked = after(EntryEvent::SentBack {
            next: at(30),
            explanation: Some("locked".to_owned()),
            waits_for: Some(WaitsFor::Lock),
            answered: Answered::Yes,
        });
        let archive = Standing {
            enqueued_at: at(12),
            due: Some(at(30)),
            waits_for: Some(WaitsFor::Lock),
            last_error: Some("locked".to_owned()),
            sent_over: Some(at(9)),
            ..fresh(Operation::Archive)
        };
        assert_eq!(locked, archive);
        let refused = after(EntryEvent::Refused {
            explanation: "HubSpot does not take it".to_owned(),
            answered: Answered::Yes,
        });
        let at_once = Standing {
            due: Some(at(12)),
            waits_for: None,
            last_error: None,
            ..archive
        };
        assert_eq!(refused, at_once);
    }

    #[test]
    fn a_deletion_and_the_same_row_again_are_an_update() {
        let deleted =
            step(fresh(Operation::Update), EntryEvent::Deleted { at: at(5) }).expect("stays");
        assert_eq!(deleted.operation, Operation::Archive);
        let again = step(deleted, EntryEvent::InsertedAgain).expect("stays");
        assert_eq!(
            (again.operation, again.state, again.due),
            (Operation::Update, EntryState::Pending, Some(at(5)))
        );
    }

    #[test]
    fn a_claim_that_is_taken_back_leaves_the_entry_as_it_was() {
        for standing in all_reached() {
            let is_of_deleted = standing.operation == Operation::Update && standing.has_row;
            if !is_free(&standing) || is_of_deleted {
                continue;
            }
            let claimed_at = at(99);
            let claim = EntryEvent::Claimed {
                at: claimed_at,
                attempt: Attempt::Archive,
            };
            let claimed = step(standing.clone(), claim).expect("stays");
            let back = step(claimed, EntryEvent::TakenBack { claimed_at }).expect("stays");
            let expected = Standing {
                waits_for: None,
                taken_by: None,
                sent_over: None,
                sent_keyless: false,
                ..standing
            };
            assert_eq!(back, expected);
        }
    }
}
