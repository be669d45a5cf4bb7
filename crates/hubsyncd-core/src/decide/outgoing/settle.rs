//! A batch's answer → what becomes of each of its entries.

use crate::model::entry::Operation;
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;

/// HubSpot's refusal of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HubSpot's category.
    pub category: String,
    /// HubSpot's own words.
    pub explanation: String,
    /// The record that exists already, where the refusal names one.
    pub existing: Option<HubspotId>,
}

/// What the answer says about one input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InputAnswer<'a> {
    /// A result.
    Result(&'a RemoteRecord),
    /// An error that names it.
    Refused(&'a Refusal),
    /// Neither: a merged-away id is answered so (`hubspot/api-facts.md#5`).
    Silence,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// Done on both sides; the answer's values become the base.
    Acknowledge(Box<RemoteRecord>),
    /// The record exists already: the row takes its id after a read.
    Adopt(HubspotId),
    /// A unique value is taken and the refusal does not say by whom: look by the match property.
    LookForMatch(String),
    /// Another record has a unique value that an update was to give: one of ours that gives it up, or a person decides.
    Taken(String),
    /// The record must be read: it may be archived, merged, or the answer was silent.
    Reread(String),
    /// HubSpot does not find a record that a create names: that one is read, and the create sent again.
    MissesOther(String),
    /// To be sent again later.
    Retry(String),
    /// Nobody knows whether it happened.
    Lost(String),
    /// Refused for good, in HubSpot's words.
    Dead(String),
}

/// Settles one input of a batch that was answered.
pub(crate) fn settle_input(operation: Operation, answer: InputAnswer<'_>) -> Settlement {
    match answer {
        InputAnswer::Result(record) => Settlement::Acknowledge(Box::new(record.clone())),
        InputAnswer::Refused(refusal) => settle_refusal(operation, refusal),
        InputAnswer::Silence if operation == Operation::Create => {
            Settlement::Lost("HubSpot's answer has no result for this record".to_owned())
        }
        InputAnswer::Silence => {
            Settlement::Reread("HubSpot's answer has no result for this record".to_owned())
        }
    }
}

fn settle_refusal(operation: Operation, refusal: &Refusal) -> Settlement {
    let explanation = refusal.explanation.clone();
    match (operation, refusal.category.as_str(), refusal.existing) {
        (Operation::Create, _, Some(existing)) => Settlement::Adopt(existing),
        (Operation::Create, category, None) if names_a_taken_value(category, &explanation) => {
            Settlement::LookForMatch(explanation)
        }
        (Operation::Update | Operation::Archive, "OBJECT_NOT_FOUND", _) => {
            Settlement::Reread(explanation)
        }
        (Operation::Create, "OBJECT_NOT_FOUND", _) => Settlement::MissesOther(explanation),
        (Operation::Update, category, _) if names_a_taken_value(category, &explanation) => {
            Settlement::Taken(explanation)
        }
        (_, "INTERNAL_ERROR" | "LOCKED" | "RATE_LIMITS" | "MIGRATION_IN_PROGRESS", _) => {
            Settlement::Retry(explanation)
        }
        _ => Settlement::Dead(explanation),
    }
}

/// What is known of the portal and what a refusal says to be otherwise (`hubspot/api-facts.md#4`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contradiction {
    /// The properties and their options.
    Properties,
    /// The pipelines and their stages.
    Pipelines,
    /// The owners.
    Owners,
}

/// What the words of a refusal contradict.
pub fn contradicted(explanation: &str) -> Option<Contradiction> {
    let names = |codes: &[&str]| codes.iter().any(|code| explanation.contains(code));
    if names(&["INVALID_PIPELINE"]) {
        Some(Contradiction::Pipelines)
    } else if names(&["INVALID_OWNER_ID"]) {
        Some(Contradiction::Owners)
    } else if names(&["PROPERTY_DOESNT_EXIST", "INVALID_OPTION", "READ_ONLY_VALUE"]) {
        Some(Contradiction::Properties)
    } else {
        None
    }
}

fn names_a_taken_value(category: &str, explanation: &str) -> bool {
    matches!(category, "CONFLICT" | "OBJECT_ALREADY_EXISTS")
        || explanation.contains("CONFLICTING_UNIQUE_VALUE")
}

/// Who has a unique value that HubSpot did not give, as far as our own rows tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueHolder {
    /// A record that has a pending change of it, or is to be archived.
    GivesItUp,
    /// One that gives it up for what this one gives up: neither can go first.
    Exchanges,
    /// One that gave it up while this one was on its way.
    GaveItUp,
    /// One that keeps it, or one that we don't know.
    KeepsIt,
}

/// What becomes of an entry that asked for such a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenOutcome {
    /// Sent again once the other change is done.
    AfterTheOther,
    /// Sent again at once.
    Again,
    /// For a person.
    Dead,
}

/// A value that one of our own pending changes frees is not refused for good.
pub fn settle_taken(holder: ValueHolder, attempts: u32) -> TakenOutcome {
    match holder {
        ValueHolder::GivesItUp => TakenOutcome::AfterTheOther,
        // HubSpot may need a moment, but not for ever.
        ValueHolder::GaveItUp if attempts < POISON_ATTEMPTS => TakenOutcome::Again,
        ValueHolder::GaveItUp | ValueHolder::Exchanges | ValueHolder::KeepsIt => TakenOutcome::Dead,
    }
}

/// Why a batch got no answer for its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Refused as a whole, because of at least one input.
    Refused,
    /// It surely did not happen and may be sent again: limits, locks, a connection that was never made.
    NotDone,
    /// It may have happened: no answer, a gateway's error.
    Unknown,
    /// The fault follows a record through splits, or passes: a server error that was answered.
    ServerError,
}

/// What becomes of a whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFate {
    /// Sent again in two halves, until the bad record is alone.
    Split,
    /// The one record that is left is dead.
    Dead,
    /// All are sent again later.
    Retry,
    /// Nobody knows what happened.
    Lost,
}

/// A record that alone draws server errors this often is parked (engineering notes, 2.5).
pub(crate) const POISON_ATTEMPTS: u32 = 8;

/// After this many attempts an entry is sent alone: one record that makes HubSpot fail must not hold up 99 others.
pub const ALONE_AFTER: u32 = 3;

/// Decides for a batch that failed as a whole. Only a refusal is split and sent again at once: after anything else the
/// records may have been written, and nothing is repeated before it was looked for.
pub fn settle_failure(failure: Failure, inputs: usize, attempts: u32) -> BatchFate {
    match failure {
        Failure::Refused if inputs > 1 => BatchFate::Split,
        Failure::Refused => BatchFate::Dead,
        Failure::NotDone => BatchFate::Retry,
        Failure::Unknown => BatchFate::Lost,
        Failure::ServerError if inputs == 1 && attempts >= POISON_ATTEMPTS => BatchFate::Dead,
        Failure::ServerError => BatchFate::Lost,
    }
}

/// What becomes of an entry whose batch failed as a whole.
#[derive(Debug, Clone, PartialEq)]
pub enum FailedOutcome {
    /// The record exists already.
    Adopt(HubspotId),
    /// Nobody knows whether it happened, and it is not sent again: a person decides.
    ParkInDoubt,
    /// As if the refusal stood among others of an answer.
    Settle(Settlement),
    /// Refused for good.
    Refuse,
    /// Surely not done, and sent again later.
    Retry,
    /// Nobody knows whether it happened.
    Lose,
}

/// Settles an entry of a batch that failed. `in_doubt`: HubSpot answered with a server error, which says nothing of what was
/// done before it.
pub fn settle_failed(
    operation: Operation,
    fate: BatchFate,
    in_doubt: bool,
    refusal: Option<&Refusal>,
) -> FailedOutcome {
    let existing = refusal.and_then(|refusal| refusal.existing);
    match (fate, existing, operation) {
        (BatchFate::Retry, ..) => FailedOutcome::Retry,
        (BatchFate::Lost, ..) => FailedOutcome::Lose,
        (BatchFate::Dead, Some(existing), Operation::Create) => FailedOutcome::Adopt(existing),
        (BatchFate::Dead, ..) if in_doubt => FailedOutcome::ParkInDoubt,
        (BatchFate::Dead | BatchFate::Split, ..) => {
            // A refusal of its only input says as much as one that stands among others.
            match refusal.map(|refusal| settle_refusal(operation, refusal)) {
                Some(
                    settlement @ (Settlement::LookForMatch(_)
                    | Settlement::Taken(_)
                    | Settlement::MissesOther(_)),
                ) => FailedOutcome::Settle(settlement),
                Some(
                    Settlement::Acknowledge(_)
                    | Settlement::Adopt(_)
                    | Settlement::Reread(_)
                    | Settlement::Retry(_)
                    | Settlement::Lost(_)
                    | Settlement::Dead(_),
                )
                | None => FailedOutcome::Refuse,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(
        operation: Operation,
        category: &str,
        explanation: &str,
        existing: Option<i64>,
    ) -> Settlement {
        let refusal = Refusal {
            category: category.to_owned(),
            explanation: explanation.to_owned(),
            existing: existing.map(HubspotId),
        };
        settle_input(operation, InputAnswer::Refused(&refusal))
    }

    #[test]
    fn a_refusal_is_settled_by_what_it_says() {
        let explanation = || "words".to_owned();
        assert_eq!(
            refused(Operation::Create, "CONFLICT", "words", Some(7)),
            Settlement::Adopt(HubspotId(7))
        );
        assert_eq!(
            refused(Operation::Create, "CONFLICT", "words", None),
            Settlement::LookForMatch(explanation())
        );
        assert_eq!(
            refused(Operation::Create, "VALIDATION_ERROR", "words", None),
            Settlement::Dead(explanation())
        );
        assert_eq!(
            refused(Operation::Create, "OBJECT_NOT_FOUND", "words", None),
            Settlement::MissesOther(explanation())
        );
        assert_eq!(
            refused(Operation::Update, "OBJECT_NOT_FOUND", "words", None),
            Settlement::Reread(explanation())
        );
        assert_eq!(
            refused(Operation::Update, "LOCKED", "words", None),
            Settlement::Retry(explanation())
        );
        assert_eq!(
            refused(Operation::Update, "VALIDATION_ERROR", "words", Some(7)),
            Settlement::Dead(explanation())
        );
    }

    #[test]
    fn a_value_that_our_own_change_frees_is_not_refused_for_good() {
        assert_eq!(
            refused(Operation::Update, "CONFLICT", "words", Some(7)),
            Settlement::Taken("words".to_owned())
        );
        let explanation = "x must be unique (CONFLICTING_UNIQUE_VALUE)";
        assert_eq!(
            refused(Operation::Update, "VALIDATION_ERROR", explanation, None),
            Settlement::Taken(explanation.to_owned())
        );
        let check = |holder, attempts, expected| {
            assert_eq!(settle_taken(holder, attempts), expected);
        };
        check(ValueHolder::GivesItUp, 100, TakenOutcome::AfterTheOther);
        check(ValueHolder::GaveItUp, 1, TakenOutcome::Again);
        check(ValueHolder::GaveItUp, POISON_ATTEMPTS, TakenOutcome::Dead);
        check(ValueHolder::Exchanges, 1, TakenOutcome::Dead);
        check(ValueHolder::KeepsIt, 1, TakenOutcome::Dead);
    }

    #[test]
    fn silence_is_never_taken_for_success() {
        assert!(matches!(
            settle_input(Operation::Update, InputAnswer::Silence),
            Settlement::Reread(_)
        ));
        assert!(matches!(
            settle_input(Operation::Create, InputAnswer::Silence),
            Settlement::Lost(_)
        ));
    }

    #[test]
    fn a_refused_batch_is_halved_until_the_bad_record_is_alone() {
        assert_eq!(settle_failure(Failure::Refused, 100, 1), BatchFate::Split);
        assert_eq!(settle_failure(Failure::Refused, 1, 1), BatchFate::Dead);
        assert_eq!(settle_failure(Failure::NotDone, 100, 9), BatchFate::Retry);
        assert_eq!(settle_failure(Failure::Unknown, 1, 99), BatchFate::Lost);
        assert_eq!(
            settle_failure(Failure::ServerError, 100, 1),
            BatchFate::Lost
        );
        assert_eq!(
            settle_failure(Failure::ServerError, 100, 9),
            BatchFate::Lost
        );
        assert_eq!(
            settle_failure(Failure::ServerError, 1, POISON_ATTEMPTS),
            BatchFate::Dead
        );
    }

    #[test]
    fn an_entry_of_a_failed_batch_is_settled_by_the_batchs_fate_and_what_was_said() {
        use Operation::{Archive, Create, Update};

        let refusal = |category: &str, existing: Option<i64>| Refusal {
            category: category.to_owned(),
            explanation: "words".to_owned(),
            existing: existing.map(HubspotId),
        };
        let check = |operation, fate, in_doubt, refusal: Option<Refusal>, expected| {
            let outcome = settle_failed(operation, fate, in_doubt, refusal.as_ref());
            assert_eq!(outcome, expected, "{operation:?} {fate:?} {refusal:?}");
        };
        let explanation = || "words".to_owned();
        let taken = || Some(refusal("CONFLICT", None));
        let exists = || Some(refusal("CONFLICT", Some(7)));
        for operation in [Create, Update, Archive] {
            for in_doubt in [false, true] {
                for said in [None, taken(), exists()] {
                    let retry = FailedOutcome::Retry;
                    check(operation, BatchFate::Retry, in_doubt, said.clone(), retry);
                    check(
                        operation,
                        BatchFate::Lost,
                        in_doubt,
                        said,
                        FailedOutcome::Lose,
                    );
                }
            }
            check(
                operation,
                BatchFate::Dead,
                false,
                None,
                FailedOutcome::Refuse,
            );
            check(
                operation,
                BatchFate::Dead,
                true,
                None,
                FailedOutcome::ParkInDoubt,
            );
            let invalid = Some(refusal("VALIDATION_ERROR", None));
            check(
                operation,
                BatchFate::Dead,
                false,
                invalid,
                FailedOutcome::Refuse,
            );
        }
        let adopt = FailedOutcome::Adopt(HubspotId(7));
        check(Create, BatchFate::Dead, false, exists(), adopt);
        let look = FailedOutcome::Settle(Settlement::LookForMatch(explanation()));
        check(Create, BatchFate::Dead, false, taken(), look);
        for said in [taken(), exists()] {
            let taken = FailedOutcome::Settle(Settlement::Taken(explanation()));
            check(Update, BatchFate::Dead, false, said, taken);
        }
        check(
            Archive,
            BatchFate::Dead,
            false,
            taken(),
            FailedOutcome::Refuse,
        );
    }
}
