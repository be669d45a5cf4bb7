//! The gap between a read and the write that rests on it: what somebody writes into it is written over, since HubSpot
//! has no conditional write. Here: how long it may be, which records are looked at afterwards, and what was written over.
//!
//! It asks nobody and writes nothing: `hubspot::reread` looks at the clocks, `engine::push` and `engine::archive` read
//! again, `engine::gap` looks afterwards. Moments inside the gap are compared by HubSpot's own versions of the record,
//! never by this machine's clock. Promise 13 rests on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::acts::Act;
use crate::decide::echo::{Author, MAY_STILL_LAND, PastValue, SentValue, ToldSource, is_sent};
use crate::decide::merge::Owed;
use crate::decide::record::ConflictNote;
use crate::decide::retry::latest_due;
use crate::model::conflict::Winner;
use crate::model::entry::{Base, Entry, EntryState, Operation};
use crate::model::event::{Event, EventKind};
use crate::model::field_values::FieldValues;
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::{FieldMapping, ObjectMapping, WriteMode};
use crate::model::name::PropertyName;
use crate::model::origin::Origin;
use crate::model::record::RemoteRecord;
use crate::model::row::json as rowjson;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

/// A write goes out at most so long after the answer to the read that it rests on (design, section 4).
pub const FRESH: Duration = Duration::from_secs(1);

/// A batch that came too late so often in a row, without ever being sent, goes back to the queue: something holds the
/// database or the process up, and the step has to end.
pub(crate) const MOST_LATE: u32 = 3;

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
const WRITTEN_OVER: &str =
    "it was set in HubSpot between the read before our write and the write, which went over it";

/// Why a value of HubSpot's goes back that was written over although the field is only written where there is none.
const GOES_BACK: &str = "it was set in HubSpot between the read before our write and the write, which went over it; the property is only written where HubSpot has no value, so that it goes back";

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

impl Age {
    /// Whether somebody had time to edit the record in between.
    fn is_long(self) -> bool {
        self.answered > LONG_GAP || self.asked > FRESH
    }
}

/// Whether a record of a push is looked at afterwards. `seen`: a search hit or an event showed a change while the write
/// was on its way. A read that HubSpot was long about may show what was there long before its answer came.
pub fn is_looked_at(records: usize, age: Age, seen: bool) -> bool {
    records <= SMALL_PUSH || age.is_long() || seen
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
        self.base.is_same(kind, value)
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
) -> Option<&'a PastValue> {
    let is_after_read = |entry: &PastValue| entry.at > gap.read_version;
    let is_own = |entry: &PastValue| {
        entry.author != Author::Other && is_after_read(entry) && gap.is_ours(kind, &entry.value)
    };
    let gone_over = |own: usize| {
        let before = history.get(own + 1).filter(|entry| is_after_read(entry))?;
        let is_late_request = before.author != Author::Other
            && sent_earlier
                .iter()
                .any(|sent| kind.same(&sent.value, &before.value));
        let is_edit = !gap.is_base(kind, &before.value)
            && !gap.is_ours(kind, &before.value)
            && !is_late_request;
        is_edit.then_some(before)
    };
    if gap.written_version.is_none() {
        // It may have landed behind its repetition.
        let mut own = (0..history.len()).filter(|entry| is_own(&history[*entry]));
        return own.find_map(gone_over);
    }
    // The oldest of them is this write: a later one has a gap of its own.
    gone_over(history.iter().rposition(is_own)?)
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
enum Told {
    /// Nothing.
    Nothing,
    /// Its value was written over.
    WrittenOver,
    /// Something may have been: the history tells.
    Unsure,
}

/// What an event of somebody's change says of a gap; `said` is `None` where HubSpot hides the value.
fn told_by_event(kind: PropertyType, gap: &Gap, said: Option<&Value>, at: Timestamp) -> Told {
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

/// A field of a write, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// Its row.
    pub id: i64,
    /// The record.
    pub hs_id: HubspotId,
    /// The row of the mirror.
    pub local_id: LocalId,
    /// The property.
    pub property: PropertyName,
    /// What was read, sent and answered.
    pub gap: Gap,
    /// When it was noted.
    pub noted_at: Timestamp,
    /// When its history is to be asked for; `None`: only an event may tell.
    pub look_at: Option<Timestamp>,
    /// Whether its history is asked for although webhooks of the property arrive.
    pub seen: bool,
}

/// A record that was archived, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NotedArchive {
    /// Its row.
    pub id: i64,
    /// The record.
    pub hs_id: HubspotId,
    /// The row of the mirror that was deleted.
    pub local_id: LocalId,
    /// What the read before the archive showed, as the JSON of a row.
    pub read: String,
    /// HubSpot's time of the record as that read showed it.
    pub read_version: Timestamp,
    /// When it was noted.
    pub noted_at: Timestamp,
    /// Whether it is to be looked at.
    pub is_looked_at: bool,
}

/// When and why the fields of a write are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookAt {
    /// When their history is to be asked for; `None`: only an event may tell.
    pub at: Option<Timestamp>,
    /// Whether that is so although webhooks of the property arrive.
    pub seen: bool,
}

/// How a push went.
#[derive(Debug, Clone, Copy)]
pub struct Push {
    /// Records of its request.
    pub records: usize,
    /// How old its read was when the write was answered.
    pub age: Age,
    /// Whether events may tell of what is not looked at.
    pub has_webhooks: bool,
}

impl Push {
    /// Whether and when what it wrote is looked at; `None`: nothing of it is kept. `seen`: something showed a change while
    /// the write was on its way.
    pub fn look_at(&self, seen: bool, now: Timestamp) -> Option<LookAt> {
        let at = is_looked_at(self.records, self.age, seen).then_some(now + COLLECTED_FOR);
        // In a long gap an edit is likely enough that its one event, which HubSpot may never deliver, is not relied on.
        let seen = seen || self.age.is_long();
        (at.is_some() || self.has_webhooks).then_some(LookAt { at, seen })
    }
}

/// The fields of an update in flight, to be looked at or to be told of. `answer`: what HubSpot showed of the record then.
pub fn gaps_of(
    entry: &Entry,
    read_version: Timestamp,
    answer: Option<&RemoteRecord>,
    look: LookAt,
) -> Vec<Act> {
    let standing = &entry.standing;
    let (Operation::Update, EntryState::InFlight, Some(hs_id)) =
        (standing.operation, standing.state, standing.hs_id)
    else {
        return Vec::new();
    };
    let sent = entry.fields.iter();
    let sent = sent.filter_map(|field| Some((field, field.sent.as_ref()?)));
    let gaps = sent.map(|(field, value)| Act::NoteGap {
        hs_id: answer.map_or(hs_id, |record| record.id),
        property: field.property.clone(),
        gap: Gap {
            base: field.base.clone(),
            sent: value.clone(),
            answered: answer.map(|record| record.shown(&field.property).unwrap_or(value).clone()),
            read_version,
            written_version: answer.map(|record| record.updated_at),
        },
        look,
    });
    gaps.collect()
}

/// What a write would have gone over whose answer was lost, or that a stopped daemon left: it may have landed, or may land
/// yet, over somebody's edit.
pub(crate) fn gaps_of_lost(entry: &Entry, now: Timestamp) -> Vec<Act> {
    let at = now + MAY_STILL_LAND + COLLECTED_FOR;
    match (
        entry.standing.operation,
        entry.standing.hs_id,
        entry.standing.sent_over,
    ) {
        (Operation::Archive, Some(hs_id), _) => vec![Act::LookAtArchive { hs_id, at }],
        // On disk since the claim, so that a killed daemon knows it too.
        (_, _, Some(read_version)) => {
            let look = LookAt {
                at: Some(at),
                seen: true,
            };
            gaps_of(entry, read_version, None, look)
        }
        (_, _, None) => Vec::new(),
    }
}

/// Whether an event of somebody's change makes an archived record worth a look: whether it came before the archive, the
/// record tells.
pub fn is_told_of_archived(noted: &NotedArchive, event: &Event) -> bool {
    let is_change = event.kind() == Some(EventKind::PropertyChange);
    let is_later = event.occurred_at.is_some_and(|at| at > noted.read_version);
    !noted.is_looked_at && is_change && is_later
}

/// A text of HubSpot's, canonical where its type can hold it.
fn value_of(field: &FieldMapping, text: Option<&str>) -> Value {
    field
        .property_type
        .canonical(text)
        .unwrap_or_else(|_| Value::from_canonical(text.unwrap_or_default()))
}

/// What an event of somebody's change says of the gaps of its record: those that its value was written over in, with that
/// value, and those whose history tells.
#[derive(Debug, Default, PartialEq)]
pub struct ToldGaps<'a> {
    /// The field of the event and what was written over in these gaps.
    pub written_over: Vec<(&'a FieldMapping, &'a Noted, Value)>,
    /// Gaps of which the history tells.
    pub unsure: Vec<i64>,
}

/// Says what an event tells of the gaps of its record. Of a change by our own app too: somebody else may write with our token, and
/// what this daemon sent is known by its value.
pub fn told_gaps<'a>(
    mapping: &'a ObjectMapping,
    noted: &'a [Noted],
    event: &Event,
) -> ToldGaps<'a> {
    let mut told = ToldGaps::default();
    let is_change = event.kind() == Some(EventKind::PropertyChange);
    let property = event.property.as_ref().filter(|_| is_change);
    let field = property.and_then(|property| mapping.field(property));
    let (Some(at), Some(field)) = (event.occurred_at, field) else {
        return told;
    };
    let said = event.value.as_deref();
    let said = said.map(|text| value_of(field, Some(text)));
    for noted in noted
        .iter()
        .filter(|noted| noted.property == field.property)
    {
        let tells = told_by_event(field.property_type, &noted.gap, said.as_ref(), at);
        match (tells, &said) {
            (Told::WrittenOver, Some(said)) => {
                told.written_over.push((field, noted, said.clone()));
            }
            (Told::Unsure, _) => told.unsure.push(noted.id),
            (Told::WrittenOver | Told::Nothing, _) => {}
        }
    }
    told
}

/// What an archived record showed in the read before its archive.
pub fn read_before_archive(mapping: &ObjectMapping, noted: &NotedArchive) -> FieldValues {
    let fields = mapping.fields.iter().filter_map(|field| {
        let shown = rowjson::text_in(&noted.read, field.property.as_str())?;
        Some((field.property.clone(), value_of(field, shown.as_deref())))
    });
    fields.collect()
}

/// A value of HubSpot's that a write of ours went over.
#[derive(Debug, Clone, PartialEq)]
pub struct GoneOver {
    /// The value.
    pub value: Value,
    /// When it was set and by whom, as far as that is known.
    pub set: Option<PastValue>,
}

impl GoneOver {
    /// As the property's history tells it.
    pub fn told(past: &PastValue) -> Self {
        Self {
            value: past.value.clone(),
            set: Some(past.clone()),
        }
    }

    /// As an event tells it, which does not say who that was but whether it was our app.
    pub fn announced(event: &Event, value: &Value) -> Self {
        let set = event.occurred_at.map(|at| PastValue {
            value: value.clone(),
            at,
            author: match event.own {
                true => Author::Us,
                false => Author::Other,
            },
            source: ToldSource::default(),
        });
        Self {
            value: value.clone(),
            set,
        }
    }
}

/// What is written down of a value that our write went over.
pub fn kept(field: &FieldMapping, noted: &Noted, over: &GoneOver) -> [Act; 2] {
    let value = &over.value;
    let note = ConflictNote {
        property: field.property.clone(),
        base: noted.gap.base.clone(),
        local: noted.gap.ours().clone(),
        remote: value.clone(),
        policy: field.policy,
        reason: WRITTEN_OVER,
    };
    let history = Act::History {
        property: field.property.clone(),
        old: value.clone(),
        new: noted.gap.ours().clone(),
        origin: Origin::Conflict,
    };
    let conflict = Act::Conflict {
        note,
        winner: Winner::Local,
        set: over.set.clone(),
    };
    [conflict, history]
}

/// Whether a value that our write went over goes back: the field is only written where HubSpot has none, and nothing of it is
/// under way. `entry`: what waits of the row.
pub fn goes_back(field: &FieldMapping, value: &Value, entry: Option<&Entry>) -> bool {
    let is_free = entry.is_none_or(|entry| {
        entry.standing.operation == Operation::Update
            && entry.row.is_none()
            && entry.standing.state != EntryState::InFlight
    });
    field.write_mode() == WriteMode::IfEmpty && !value.is_empty() && is_free
}

/// What is written of such a value: it is taken here, and goes back over ours. `held`: what the mirror holds.
pub fn given_back(
    field: &FieldMapping,
    noted: &Noted,
    gone_over: &GoneOver,
    held: &Value,
    now: Timestamp,
) -> Vec<Act> {
    let property = || field.property.clone();
    let value = &gone_over.value;
    let over = noted.gap.ours().clone();
    let note = ConflictNote {
        property: property(),
        base: noted.gap.base.clone(),
        local: over.clone(),
        remote: value.clone(),
        policy: field.policy,
        reason: GOES_BACK,
    };
    vec![
        Act::Conflict {
            note,
            winner: Winner::Remote,
            set: gone_over.set.clone(),
        },
        Act::History {
            property: property(),
            old: held.clone(),
            new: value.clone(),
            origin: Origin::Conflict,
        },
        Act::Set {
            property: property(),
            value: value.clone(),
        },
        Act::PutField {
            property: property(),
            base: Base::Known(over.clone()),
            changed_at: now,
        },
        Act::Owe {
            property: property(),
            owed: Owed {
                value: value.clone(),
                over,
            },
        },
    ]
}

/// What is looked at in one step.
#[derive(Debug, Default)]
pub struct LookBatch {
    /// Gaps that events tell of.
    pub told: Vec<i64>,
    /// Gaps whose histories are asked for.
    pub wanted: Vec<Noted>,
    /// Archived records that are asked for.
    pub archives: Vec<NotedArchive>,
}

impl LookBatch {
    /// Adds a gap; `is_told`: an event after its read says what HubSpot held. One whose write was not answered waits for its own
    /// time, also where the record is looked at for another one: the write may land yet. A time later than any wait is of a clock
    /// that was ahead.
    pub fn add(&mut self, noted: Noted, is_told: bool, up_to: Timestamp) {
        let is_to_come = |at: Timestamp| at > up_to && at <= latest_due(up_to);
        if noted.gap.written_version.is_none() && noted.look_at.is_some_and(is_to_come) {
            return;
        }
        match is_told && !noted.seen {
            true => self.told.push(noted.id),
            false => self.wanted.push(noted),
        }
    }

    /// Adds an archive, where it is to be looked at.
    pub fn add_archive(&mut self, archive: Option<NotedArchive>) {
        self.archives
            .extend(archive.filter(|archive| archive.is_looked_at));
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.wanted.is_empty() && self.archives.is_empty()
    }

    /// The records whose histories are asked for, and the properties.
    pub fn asked(&self) -> (BTreeSet<HubspotId>, BTreeSet<&PropertyName>) {
        let ids = self.wanted.iter().map(|noted| noted.hs_id);
        let properties = self.wanted.iter().map(|noted| &noted.property);
        (ids.collect(), properties.collect())
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
            source: ToldSource::default(),
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
            let found = found.and_then(|past| past.value.as_deref());
            assert_eq!(found, expected, "{history:?}");
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

    #[test]
    fn only_fields_of_an_update_in_flight_have_a_gap() {
        let mut update = crate::testing::entry(
            Operation::Update,
            &[("city", "Rome", Some("Lima")), ("firstname", "Ann", None)],
        );
        let look = LookAt {
            at: None,
            seen: false,
        };
        assert_eq!(gaps_of(&update, crate::testing::at(3), None, look), []);
        update.standing.state = EntryState::InFlight;
        update.standing.hs_id = Some(HubspotId(101));
        assert_eq!(gaps_of(&update, crate::testing::at(3), None, look).len(), 1);
        assert_eq!(gaps_of_lost(&update, crate::testing::at(9)), []);
        update.standing.sent_over = Some(crate::testing::at(3));
        match &gaps_of_lost(&update, crate::testing::at(9))[..] {
            [
                Act::NoteGap {
                    hs_id, gap, look, ..
                },
            ] => {
                assert_eq!(*hs_id, HubspotId(101));
                assert_eq!(gap.answered, None);
                assert!(look.seen && look.at > Some(crate::testing::at(9) + MAY_STILL_LAND));
            }
            other => panic!("{other:?}"),
        }
        update.standing.operation = Operation::Archive;
        assert!(matches!(
            gaps_of_lost(&update, crate::testing::at(9))[..],
            [Act::LookAtArchive { .. }]
        ));
    }

    #[test]
    fn a_write_that_was_not_answered_may_have_landed_behind_its_repetition() {
        let lost = Gap {
            sent: value("ours"),
            answered: None,
            written_version: None,
            ..gap()
        };
        let told = |history: &[PastValue]| {
            let found = written_over(PropertyType::String, history, &lost, &[]);
            found.map(|past| past.value.clone())
        };
        let (base, again) = (entry("base", 50, false), entry("ours", 200, true));
        let history = [
            entry("ours", 400, true),
            entry("edit", 350, false),
            entry("later", 300, true),
            again.clone(),
            base.clone(),
        ];
        assert_eq!(told(&history), Some(value("edit")));
        assert_eq!(told(&history[2..]), None);
        // The repetition went over an edit.
        let history = [again, entry("edit", 150, false), base];
        assert_eq!(told(&history), Some(value("edit")));
    }

    #[test]
    fn a_write_that_was_not_answered_is_not_looked_at_before_it_may_have_landed() {
        let noted = |id, written, look_at| Noted {
            id,
            hs_id: HubspotId(101),
            local_id: LocalId(1),
            property: crate::testing::property("city"),
            gap: Gap {
                written_version: written,
                ..gap()
            },
            noted_at: at(200),
            look_at: Some(at(look_at)),
            seen: true,
        };
        let mut batch = LookBatch::default();
        batch.add(noted(1, None, 900), false, at(899));
        assert!(batch.is_empty());
        batch.add(noted(2, Some(at(200)), 900), false, at(899));
        batch.add(noted(3, None, 900), false, at(900));
        let wanted: Vec<i64> = batch.wanted.iter().map(|noted| noted.id).collect();
        assert_eq!(wanted, [2, 3]);
    }

    #[test]
    fn an_event_tells_of_the_gaps_of_its_own_property_alone() {
        use crate::testing::{at, contacts, property, value};

        let object = contacts();
        let noted = |id, name: &str| Noted {
            id,
            hs_id: HubspotId(101),
            local_id: LocalId(1),
            property: property(name),
            gap: Gap {
                base: Base::Known(value("Rome")),
                sent: value("Lima"),
                answered: Some(value("Lima")),
                read_version: at(10),
                written_version: Some(at(12)),
            },
            noted_at: at(12),
            look_at: None,
            seen: false,
        };
        let noted = [noted(1, "city"), noted(2, "firstname")];
        let event = |second: i64, own| Event {
            event_id: None,
            event_type: "contact.propertyChange".to_owned(),
            portal_id: None,
            object: None,
            hs_id: Some(HubspotId(101)),
            others: Vec::new(),
            property: Some(property("city")),
            value: Some("Kiel".to_owned()),
            occurred_at: Some(at(second)),
            own,
            problem: None,
        };
        let told = |second, own| {
            let told = told_gaps(object.mapping(), &noted, &event(second, own));
            let over = told.written_over.iter().map(|(_, noted, _)| noted.id);
            (over.collect::<Vec<i64>>(), told.unsure)
        };
        assert_eq!(told(11, false), (vec![1], vec![]));
        assert_eq!(told(12, false), (vec![], vec![1]));
        // Our app's token may be another program's too.
        assert_eq!(told(11, true), (vec![1], vec![]));
        let ours = Event {
            value: Some("Lima".to_owned()),
            ..event(11, true)
        };
        assert_eq!(
            told_gaps(object.mapping(), &noted, &ours),
            ToldGaps::default()
        );
        let [conflict, history] = kept(
            object.mapping().field(&property("city")).expect("a field"),
            &noted[0],
            &GoneOver {
                value: value("Kiel"),
                set: None,
            },
        );
        assert!(matches!(
            conflict,
            Act::Conflict {
                winner: Winner::Local,
                ..
            }
        ));
        assert!(matches!(history, Act::History { old, .. } if old == value("Kiel")));
    }
}
