//! The gap between a read and the write that rests on it: what somebody writes into it is written over, since HubSpot
//! has no conditional write. Here: how long it may be, which records are looked at afterwards, and what was written over.
//!
//! It asks nobody and writes nothing: `hubspot::reread` looks at the clocks, `engine::push` and `engine::archive` read
//! again, `engine::gap` looks afterwards. Moments inside the gap are compared by HubSpot's own versions of the record,
//! never by this machine's clock. Promise 13 rests on it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::echo::{Author, PastValue, SentValue, is_sent};
use crate::model::entry::Base;
use crate::model::field_values::FieldValues;
use crate::model::mapping::ObjectMapping;
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

/// A write goes out at most so long after the answer to the read that it rests on (design, section 4).
pub const FRESH: Duration = Duration::from_secs(1);

/// A batch that came too late so often in a row, without ever being sent, goes back to the queue: something holds the
/// database or the process up, and the step has to end.
pub const MOST_LATE: u32 = 3;

/// Records are collected so long before they are looked at.
pub const COLLECTED_FOR: Duration = Duration::from_secs(15);

/// The most records of one look, which asks for history (`hubspot/api-facts.md#3`).
pub const RECORDS_OF_A_LOOK: usize = 50;

/// Of a push of at most so many records, each is looked at.
const SMALL_PUSH: usize = 50;

/// Of a larger push, those are looked at where more than this lay between the answer to the read and the answer to the
/// write.
const LONG_GAP: Duration = Duration::from_millis(500);

/// Why a value of HubSpot's lost that nobody saw before it was written over.
pub const WRITTEN_OVER: &str =
    "it was set in HubSpot between the read before our write and the write, which went over it";

/// Why an edit of HubSpot's lost that nobody saw before its record was archived.
pub const ARCHIVED_OVER: &str = "it was edited in HubSpot between the read before our archive and the archive, which took the edited record away";

/// How old the read before a write was when the write was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Since its question: what it shows is of some moment after that.
    pub asked: Duration,
    /// Since its answer.
    pub answered: Duration,
}

/// Whether a record of a push is looked at afterwards. `seen`: a search hit or an event showed a change while the write
/// was on its way. A read that HubSpot was long about may show what was there long before its answer came.
pub fn is_looked_at(records: usize, age: Age, seen: bool) -> bool {
    records <= SMALL_PUSH || age.answered > LONG_GAP || age.asked > FRESH || seen
}

/// A field of a write, and the versions of its record on both sides of the gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// What the read showed.
    pub base: Base,
    /// What was sent.
    pub sent: Value,
    /// What the answer showed; `None` where it was lost.
    pub answered: Option<Value>,
    /// HubSpot's time of the record as the read showed it.
    pub read_version: Timestamp,
    /// HubSpot's time of the record as the answer showed it; `None` where it was lost.
    pub written_version: Option<Timestamp>,
}

impl Gap {
    /// What HubSpot holds by our write.
    pub fn ours(&self) -> &Value {
        self.answered.as_ref().unwrap_or(&self.sent)
    }

    fn is_ours(&self, kind: PropertyType, value: &Value) -> bool {
        kind.same(&self.sent, value) || kind.same(self.ours(), value)
    }

    fn is_base(&self, kind: PropertyType, value: &Value) -> bool {
        matches!(&self.base, Base::Known(base) if kind.same(base, value))
    }
}

/// What a property's history, the newest first, says was written over: the value that stood there when our write came,
/// if it was set after the read and is neither what the read showed nor ours. `sent_earlier`: what requests of our own
/// carried whose answers were lost; one that landed in the gap is nobody's edit.
pub fn written_over<'a>(
    kind: PropertyType,
    history: &'a [PastValue],
    gap: &Gap,
    sent_earlier: &[SentValue],
) -> Option<&'a Value> {
    let is_after_read = |entry: &PastValue| entry.at > gap.read_version;
    // The oldest of them is this write: a later one has a gap of its own.
    let own = history.iter().rposition(|entry| {
        entry.author != Author::Other && is_after_read(entry) && gap.is_ours(kind, &entry.value)
    })?;
    let before = history.get(own + 1).filter(|entry| is_after_read(entry))?;
    let is_late_request = before.author != Author::Other
        && sent_earlier
            .iter()
            .any(|sent| kind.same(&sent.value, &before.value));
    let is_edit =
        !gap.is_base(kind, &before.value) && !gap.is_ours(kind, &before.value) && !is_late_request;
    is_edit.then_some(&before.value)
}

/// Whether a field of a record that was archived shows that somebody edited it between the read before the archive and the
/// archive. `read`: what that read showed; `sent_earlier`: what requests of our own carried whose answers were lost. No
/// history is needed: what was archived changes no more.
pub fn was_archived_over(
    mapping: &ObjectMapping,
    read: &FieldValues,
    archived: &RemoteRecord,
    sent_earlier: &BTreeMap<PropertyName, Vec<SentValue>>,
) -> bool {
    let both_ways = mapping
        .fields
        .iter()
        .filter(|field| field.direction.pulls() && field.direction.pushes());
    both_ways.into_iter().any(|field| {
        let (property, kind) = (&field.property, field.property_type);
        let (Some(read), Some(holds)) = (read.get(property), archived.shown(property)) else {
            return false;
        };
        let ours = sent_earlier.get(property).map_or(&[][..], Vec::as_slice);
        !kind.same(read, holds) && !is_sent(kind, ours, holds)
    })
}

/// What an event says of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// Its value was written over.
    WrittenOver,
    /// Something may have been: the history tells.
    Unsure,
}

/// What an event of somebody's change says of a gap; `said` is `None` where HubSpot hides the value.
pub fn told_by_event(kind: PropertyType, gap: &Gap, said: Option<&Value>, at: Timestamp) -> Told {
    let Some(written) = gap.written_version.filter(|_| at > gap.read_version) else {
        return Told::Nothing;
    };
    match said {
        Some(said) if gap.is_base(kind, said) || gap.is_ours(kind, said) => Told::Nothing,
        Some(_) if at < written => Told::WrittenOver,
        // Of one millisecond: either may have come first.
        Some(_) if at == written => Told::Unsure,
        None if at <= written => Told::Unsure,
        Some(_) | None => Told::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::from_canonical(text)
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + milliseconds)
    }

    /// Read at 100, written at 200: `base` became `ours`.
    fn gap() -> Gap {
        Gap {
            base: Base::Known(value("base")),
            sent: value("Ours "),
            answered: Some(value("ours")),
            read_version: at(100),
            written_version: Some(at(200)),
        }
    }

    fn entry(text: &str, milliseconds: i64, by_app: bool) -> PastValue {
        PastValue {
            value: value(text),
            at: at(milliseconds),
            author: if by_app {
                Author::SomeApp
            } else {
                Author::Other
            },
        }
    }

    #[test]
    fn small_pushes_slow_ones_and_those_with_a_sign_are_looked_at() {
        let check = |records, milliseconds, seen, expected| {
            let age = Age {
                asked: Duration::from_millis(milliseconds + 200),
                answered: Duration::from_millis(milliseconds),
            };
            assert_eq!(is_looked_at(records, age, seen), expected);
        };
        check(1, 1, false, true);
        check(50, 1, false, true);
        check(51, 500, false, false);
        check(100, 501, false, true);
        check(100, 1, true, true);
    }

    #[test]
    fn a_large_push_that_rests_on_a_slow_answer_is_looked_at() {
        for (asked, expected) in [(1000, false), (1001, true), (2500, true)] {
            let age = Age {
                asked: Duration::from_millis(asked),
                answered: Duration::from_millis(100),
            };
            assert_eq!(is_looked_at(100, age, false), expected, "{asked}");
        }
    }

    #[test]
    fn the_history_tells_what_stood_there_when_our_write_came() {
        let check = |history: &[PastValue], expected: Option<&str>| {
            let found = written_over(
                PropertyType::String,
                history,
                &gap(),
                &[SentValue {
                    value: value("late"),
                    over: at(0),
                }],
            );
            assert_eq!(found.and_then(Value::as_deref), expected, "{history:?}");
        };
        let (base, ours) = (entry("base", 50, false), entry("ours", 200, true));
        check(&[ours.clone(), base.clone()], None);
        check(
            &[ours.clone(), entry("edit", 150, false), base.clone()],
            Some("edit"),
        );
        // Another app's edit is somebody's too; a lost request of our own is not.
        check(
            &[ours.clone(), entry("edit", 150, true), base.clone()],
            Some("edit"),
        );
        check(
            &[ours.clone(), entry("late", 150, true), base.clone()],
            None,
        );
        check(
            &[ours.clone(), entry("late", 150, false), base.clone()],
            Some("late"),
        );
        // The last of several stood there; one that was taken back by hand is no loss of ours.
        check(
            &[
                ours.clone(),
                entry("second", 160, false),
                entry("first", 150, false),
            ],
            Some("second"),
        );
        check(
            &[
                ours.clone(),
                entry("base", 160, false),
                entry("first", 150, false),
            ],
            None,
        );
        // What came after our write, before the read, or with our value is not written over.
        check(
            &[entry("later", 250, false), ours.clone(), base.clone()],
            None,
        );
        check(&[ours.clone(), entry("before", 100, false)], None);
        check(
            &[
                ours.clone(),
                entry("ours", 150, false),
                entry("edit", 140, false),
            ],
            None,
        );
        // A second write of the same value has a gap of its own.
        check(
            &[
                entry("ours", 400, true),
                entry("between", 300, false),
                ours.clone(),
                entry("edit", 150, false),
            ],
            Some("edit"),
        );
        // Our write left no entry: there was nothing to go over.
        check(&[entry("edit", 150, false), base], None);
        check(&[], None);
    }

    #[test]
    fn an_event_tells_of_an_edit_between_the_read_and_the_write() {
        let check = |said: Option<&str>, milliseconds, expected| {
            let said = said.map(value);
            let told = told_by_event(
                PropertyType::String,
                &gap(),
                said.as_ref(),
                at(milliseconds),
            );
            assert_eq!(told, expected, "{said:?} {milliseconds}");
        };
        check(Some("edit"), 150, Told::WrittenOver);
        check(Some("edit"), 100, Told::Nothing);
        check(Some("edit"), 200, Told::Unsure);
        check(Some("edit"), 201, Told::Nothing);
        check(Some("base"), 150, Told::Nothing);
        check(Some("ours"), 150, Told::Nothing);
        check(None, 150, Told::Unsure);
        check(None, 250, Told::Nothing);
        let lost = Gap {
            written_version: None,
            ..gap()
        };
        let said = value("edit");
        let told = told_by_event(PropertyType::String, &lost, Some(&said), at(150));
        assert_eq!(told, Told::Nothing);
    }
}
