//! Two systems that fight over a field: HubSpot's side is changed back after each of our pushes, by somebody else than this
//! daemon. After a few rounds a person decides. A local program that writes a field often is no fight.

use std::time::Duration;

use crate::decide::echo::{SentValue, is_sent};
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

/// Rounds after which a field is parked: enough that a person's correction and its correction pass, few enough that nobody
/// pays for a day of it.
pub const ROUNDS: usize = 5;

/// The span in which rounds are counted: systems answer each other within seconds or minutes, people do not.
pub const SPAN: Duration = Duration::from_mins(10);

/// Why a fight waits for a person.
pub const REASON: &str = "HubSpot's side was changed back after each push: something there keeps setting the field, and the two would never end";

/// One push of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPush {
    /// What HubSpot held before it.
    pub before: Value,
    /// What HubSpot acknowledged.
    pub after: Value,
}

/// Since when pushes of a field count: a person's word begins a new count.
pub fn counted_since(now: Timestamp, decided_at: Option<Timestamp>) -> Timestamp {
    let span = now - SPAN;
    decided_at.map_or(span, |at| at.max(span))
}

/// Whether one more push would be another round of a fight. `pushes` are those of the last [`SPAN`], the oldest first;
/// `held` is what HubSpot holds, and `own` is what lost requests of ours carried: one that lands late is nobody's
/// answer.
///
/// HubSpot's side has moved between two pushes where the second found another value than the first had left.
pub fn is_fight(kind: PropertyType, pushes: &[FieldPush], held: &Value, own: &[SentValue]) -> bool {
    let found = pushes.iter().skip(1).map(|push| &push.before);
    let found = found.chain([held]);
    let moved = |left: &Value, found: &Value| !kind.same(left, found) && !is_sent(kind, own, found);
    let answered: Vec<bool> = pushes
        .iter()
        .zip(found)
        .map(|(push, found)| moved(&push.after, found))
        .collect();
    // Where HubSpot still holds what was pushed last, nobody there has answered.
    let is_answered = answered.last() == Some(&true);
    is_answered && answered.into_iter().filter(|answered| *answered).count() >= ROUNDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::from_canonical(text)
    }

    /// `b>a` is a push of `a` over `b`.
    fn check(pushes: &str, held: &str, own: &[&str], expected: bool) {
        let all: Vec<FieldPush> = pushes
            .split_whitespace()
            .map(|push| {
                let (before, after) = push.split_once('>').expect("a push");
                FieldPush {
                    before: value(before),
                    after: value(after),
                }
            })
            .collect();
        let over = Timestamp::EPOCH;
        let own = own.iter().map(|text| value(text));
        let own: Vec<SentValue> = own.map(|value| SentValue { value, over }).collect();
        let found = is_fight(PropertyType::Number, &all, &value(held), &own);
        assert_eq!(found, expected, "{pushes} {held}");
    }

    #[test]
    fn a_local_program_that_toggles_a_field_is_no_fight() {
        check(
            "0>1 1>0 0>1 1>0 0>1 1>0 0>1 1>0 0>1 1>0 0>1 1>0",
            "0",
            &[],
            false,
        );
        // Somebody in HubSpot had a word, once and again.
        check(
            "0>1 1>0 7>1 1>0 0>1 1>0 9>1 1>0 0>1 1>0 0>1 1>0",
            "8",
            &[],
            false,
        );
        check("", "0", &[], false);
    }

    #[test]
    fn hubspots_side_that_answers_each_push_is_a_fight_after_five_rounds() {
        check("2>1 2>1 2>1 2>1 2>1", "2", &[], true);
        check("2>1 2>1 2>1 2>1", "2", &[], false);
        // With another value each time, on either side.
        check("2>1 3>1 4>1 5>1 6>1", "7", &[], true);
        check("2>1 3>4 5>6 7>8 9>10", "11", &[], true);
        // The same number in another spelling was not changed.
        check("2>1 1.0>1 1.0>1 1.0>1 1.0>1", "1.0", &[], false);
        // The last push stands.
        check("2>1 2>1 2>1 2>1 2>1 2>1", "1", &[], false);
    }

    #[test]
    fn a_persons_word_begins_a_new_count() {
        let at = |minute: u64| Timestamp::EPOCH + Duration::from_mins(minute);
        for (decided_at, expected) in [
            (None, at(50)),
            (Some(at(40)), at(50)),
            (Some(at(55)), at(55)),
        ] {
            assert_eq!(counted_since(at(60), decided_at), expected);
        }
    }

    #[test]
    fn our_own_late_request_is_no_answer() {
        check("2>1 2>1 2>1 2>1 2>1", "2", &["2"], false);
        check("2>1 2>1 2>1 2>1 2>1", "2", &["3"], true);
    }
}
