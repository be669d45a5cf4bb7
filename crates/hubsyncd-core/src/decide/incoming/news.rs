//! What a webhook's event is worth: is it wanted at all, and does it tell something that the mirror does not show?
//!
//! An event says that something changed, not what is true now, so it costs a read or nothing. Of a record that has a row:
//!
//! | event | what it costs |
//! |---|---|
//! | creation, association | nothing |
//! | change to what the mirror holds, or to what we sent or it was before | nothing |
//! | change to a value that our own app set, when HubSpot acknowledged it to us | nothing |
//! | change to anything else, of a field in conflict, or with a hidden value | a read |
//! | deletion, privacy deletion, merge, restore | a read |
//!
//! Of a record without one:
//!
//! | event | an archive waits | it is on its way | nothing waits |
//! |---|---|---|---|
//! | creation, change of before the record left | nothing | nothing | nothing |
//! | creation, change | a read | a read | a read; patience while it may be one of the creates that are being sent |
//! | deletion of before the record left | a read | nothing | nothing |
//! | deletion | a read | nothing | a read, since a page that is on its way may bring it, and since another one of which it had become a part goes with it; patience likewise, but for such a part |
//! | privacy deletion, merge, restore | a read | a read | a read |
//! | association | nothing | nothing | nothing |
//!
//! Whose app made a change makes no echo of it: others may write with our token (a script that imports, a second daemon). An echo
//! shows a value that this daemon sent, at the time at which it was sent.

use std::time::Duration;

use crate::decide::echo::{SentValue, is_sent};
use crate::model::association::PairMapping;
use crate::model::entry::{Base, Entry, EntryField, EntryState};
use crate::model::event::{Event, EventKind};
use crate::model::mapping::{FieldMapping, Mapping, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::LocalRecord;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// How long an unknown record may be one of the creates that are being sent.
const LONGEST_DOUBT: Duration = Duration::from_secs(10);

/// What is to become of an event by the mapping alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewsVerdict {
    /// It is kept until its record was read.
    Wanted,
    /// It is understood and not wanted, for that reason.
    Ignored(&'static str),
    /// It makes no sense, for that reason.
    Dead(&'static str),
}

/// Whether a change of associations of an object's records can be one of a pair's.
fn tells_of(pair: &PairMapping, object: &ObjectType) -> bool {
    pair.from == *object || pair.to == *object
}

/// Says what is to become of an event.
pub fn verdict(mapping: &Mapping, event: &Event) -> NewsVerdict {
    if let Some(problem) = event.problem {
        return NewsVerdict::Dead(problem);
    }
    if event.event_type.is_empty() {
        return NewsVerdict::Dead("the event has no type");
    }
    let Some(kind) = event.kind() else {
        return NewsVerdict::Ignored("no event of records");
    };
    let object = event.object.as_ref();
    let Some(object) = object.and_then(|object| mapping.object(object.as_str())) else {
        return NewsVerdict::Ignored("the object is not mapped");
    };
    let is_of_pair = kind == EventKind::AssociationChange;
    if is_of_pair
        && !mapping
            .pairs
            .iter()
            .any(|pair| tells_of(pair, &object.object))
    {
        return NewsVerdict::Ignored("no association of the object is mapped");
    }
    // A person's data must go, whoever wrote it.
    if !object.direction.pulls() && kind != EventKind::PrivacyDeletion && !is_of_pair {
        return NewsVerdict::Ignored("the object is only pushed");
    }
    if event.hs_id.is_none() {
        return NewsVerdict::Dead("the event names no record");
    }
    if kind != EventKind::PropertyChange {
        return NewsVerdict::Wanted;
    }
    let Some(property) = &event.property else {
        return NewsVerdict::Dead("the event names no property");
    };
    match object.field(property) {
        Some(field) if field.direction.pulls() => NewsVerdict::Wanted,
        Some(_) => NewsVerdict::Ignored("the property is only pushed"),
        // The portal's schema says which are mapped.
        None if object.fields.is_empty() => NewsVerdict::Wanted,
        None => NewsVerdict::Ignored("the property is not mapped"),
    }
}

/// What an event costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the mirror is there already.
    Nothing,
    /// A look a moment later.
    Patience,
    /// A read of its record.
    Read,
}

/// What is known here of the record that an event is about.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its row.
    pub row: Option<&'a LocalRecord>,
    /// What waits of it.
    pub entry: Option<&'a Entry>,
    /// Whether an attempt of that has had no answer.
    pub in_doubt: bool,
    /// Its fields in an open conflict.
    pub contested: &'a [PropertyName],
    /// When it left the mirror, of one without a row.
    pub left_at: Option<Timestamp>,
    /// Whether it is a part of another record that is here.
    pub is_merged: bool,
}

/// When and amid what an event is looked at.
#[derive(Debug, Clone, Copy)]
pub struct NewsMoment {
    /// The transaction's time.
    pub now: Timestamp,
    /// HubSpot's clock minus this machine's.
    pub hubspot_ahead_ms: i64,
    /// Whether creates of the object are being sent.
    pub creating: bool,
    /// When the event came.
    pub received_at: Timestamp,
}

/// Says what an event costs.
pub fn need(
    mapping: &ObjectMapping,
    known: &Known<'_>,
    event: &Event,
    moment: &NewsMoment,
) -> Need {
    match (event.kind(), known.row) {
        (None, _) => Need::Nothing,
        (Some(kind), Some(row)) => match kind {
            EventKind::Creation | EventKind::AssociationChange => Need::Nothing,
            EventKind::PropertyChange => need_of_change(mapping, known, row, event),
            EventKind::Deletion
            | EventKind::PrivacyDeletion
            | EventKind::Merge
            | EventKind::Restore => Need::Read,
        },
        (Some(kind), None) => need_without_row(known, kind, event, moment),
    }
}

fn need_without_row(
    known: &Known<'_>,
    kind: EventKind,
    event: &Event,
    moment: &NewsMoment,
) -> Need {
    // It left the mirror after that: our own archive, or one that was seen already.
    // A tombstone of the future was set before the clock was put back: it says nothing.
    let left_later = known.left_at.is_some_and(|left| {
        let occurred = event.occurred_at;
        let occurred = occurred.map(|at| at.plus_millis(-moment.hubspot_ahead_ms));
        left <= moment.now && occurred.is_some_and(|at| at <= left)
    });
    let may_be_ours = moment.creating
        && known.entry.is_none()
        && moment.now.since(moment.received_at) < LONGEST_DOUBT
        && moment.received_at <= moment.now;
    let of_no_entry = match (left_later, may_be_ours) {
        (true, _) => Need::Nothing,
        (false, true) => Need::Patience,
        (false, false) => Need::Read,
    };
    match kind {
        EventKind::PrivacyDeletion | EventKind::Merge | EventKind::Restore => Need::Read,
        EventKind::Deletion => match known.entry {
            Some(entry) if entry.standing.state != EntryState::InFlight => Need::Read,
            Some(_) => Need::Nothing,
            // Its merge is told as a deletion too.
            None if known.is_merged && !left_later => Need::Read,
            None => of_no_entry,
        },
        EventKind::Creation | EventKind::PropertyChange | EventKind::AssociationChange => {
            of_no_entry
        }
    }
}

fn need_of_change(
    mapping: &ObjectMapping,
    known: &Known<'_>,
    row: &LocalRecord,
    event: &Event,
) -> Need {
    let property = event.property.as_ref();
    let field = property.and_then(|property| mapping.field(property));
    let Some(field) = field.filter(|field| field.direction.pulls()) else {
        return Need::Nothing;
    };
    let is_contested = known.contested.contains(&field.property);
    let Some(said) = said(field, event).filter(|_| !is_contested) else {
        return Need::Read;
    };
    let dirty = known.entry.and_then(|entry| {
        let mut fields = entry.fields.iter();
        fields.find(|dirty| dirty.property == field.property)
    });
    let same = |value: &Value| field.property_type.same(value, &said);
    let is_known = match dirty {
        None => same(row.values.get(&field.property).unwrap_or(&Value::EMPTY)),
        Some(dirty) => {
            let occurred = event.occurred_at;
            let is_shown = occurred.is_some_and(|at| Some(at) <= row.modified_at);
            is_ours(dirty, &same, is_shown)
        }
    };
    if is_known { Need::Nothing } else { Need::Read }
}

/// The value that an event says; `None` for one that HubSpot hides, or that is not of the type.
fn said(field: &FieldMapping, event: &Event) -> Option<Value> {
    let text = event.value.as_deref()?;
    field.property_type.canonical(Some(text)).ok()
}

/// Whether a value is what HubSpot had before a local change, or what is being sent. While a write over it is on its way, somebody
/// may have set it back, unless the mirror has seen a version from after the event (`is_shown`).
fn is_ours(dirty: &EntryField, same: &dyn Fn(&Value) -> bool, is_shown: bool) -> bool {
    let is_base = match &dirty.base {
        Base::Known(base) => same(base),
        Base::Unknown => false,
    };
    match &dirty.sent {
        Some(sent) => same(sent) || (is_base && is_shown),
        None => is_base,
    }
}

/// A change that may be an earlier push of ours, which comes back after a later one.
#[derive(Debug, Clone, PartialEq)]
pub struct MaybeEcho<'a> {
    /// The field.
    pub field: &'a FieldMapping,
    /// The value that it says.
    pub said: Value,
    /// When it was made, by HubSpot's clock.
    occurred_at: Timestamp,
}

/// How long after HubSpot carried a push out its acknowledgement is written down at the latest.
const ACKNOWLEDGED_AFTER_MS: i64 = 60_000;

/// By how much two clocks may differ that count as one: HubSpot tells its time in whole seconds (`design.md`, section 2).
const CLOCKS_DIFFER_MS: i64 = 2_000;

/// The echo that an event may be: it says that our own app made the change, and nothing of the row is in doubt.
pub fn may_be_late_echo<'a>(
    mapping: &'a ObjectMapping,
    known: &Known<'_>,
    event: &Event,
) -> Option<MaybeEcho<'a>> {
    let is_change = event.own && event.kind() == Some(EventKind::PropertyChange);
    if !is_change || known.row.is_none() || known.in_doubt {
        return None;
    }
    let property = event.property.as_ref()?;
    let field = mapping.field(property)?;
    if known.contested.contains(property) {
        return None;
    }
    Some(MaybeEcho {
        field,
        said: said(field, event)?,
        occurred_at: event.occurred_at?,
    })
}

impl MaybeEcho<'_> {
    /// Within which time, by this machine's clock, the push was acknowledged of which this is the echo: what somebody else sets with
    /// our app's token later is none, though we have sent the same value before.
    pub fn acknowledged_within(&self, hubspot_ahead_ms: i64) -> (Timestamp, Timestamp) {
        let occurred_at = self.occurred_at.plus_millis(-hubspot_ahead_ms);
        (
            occurred_at.plus_millis(-CLOCKS_DIFFER_MS),
            occurred_at.plus_millis(ACKNOWLEDGED_AFTER_MS),
        )
    }

    /// Whether a request with that value was lost: it may have landed only now, over a later one, so that it is no echo.
    pub fn may_be_of(&self, lost: &[SentValue]) -> bool {
        is_sent(self.field.property_type, lost, &self.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::{Operation, Standing};
    use crate::model::field_values::FieldValues;
    use crate::model::id::{HubspotId, LocalId, OutboxId};
    use crate::model::mapping::{Direction, FieldModes, KeyChoice, Modes, Policy};
    use crate::model::name::{ColumnName, ObjectType, TableName};
    use crate::model::value::PropertyType;

    fn property(name: &str) -> PropertyName {
        PropertyName::parse(name).expect("a name")
    }

    fn object(direction: Direction) -> ObjectMapping {
        let field = |name: &str, direction| FieldMapping {
            property: property(name),
            column: ColumnName::parse(name).expect("a name"),
            declared_type: None,
            property_type: PropertyType::Number,
            direction,
            policy: Policy::Newest,
            modes: FieldModes::default(),
        };
        ObjectMapping {
            object: ObjectType::parse("contacts").expect("a name"),
            address: None,
            table: TableName::parse("contacts").expect("a name"),
            direction,
            key: KeyChoice::Auto,
            match_property: None,
            modes: Modes::default(),
            policy: Policy::Newest,
            poll: Duration::from_secs(5),
            fields: vec![
                field("price", Direction::Both),
                field("score", Direction::Push),
            ],
        }
    }

    fn event(kind: &str) -> Event {
        Event {
            event_id: Some(1),
            event_type: format!("contact.{kind}"),
            portal_id: None,
            object: Some(ObjectType::parse("contacts").expect("a name")),
            hs_id: Some(HubspotId(101)),
            others: Vec::new(),
            property: Some(property("price")),
            value: Some("1".to_owned()),
            occurred_at: Some(at(10)),
            own: false,
            problem: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::EPOCH.plus_millis(second * 1_000)
    }

    #[test]
    fn while_the_schema_is_to_name_the_properties_every_change_is_wanted() {
        let unnamed = ObjectMapping {
            fields: Vec::new(),
            ..object(Direction::Both)
        };
        let mapping = Mapping {
            objects: vec![unnamed],
            pairs: Vec::new(),
        };
        assert_eq!(
            verdict(&mapping, &event("propertyChange")),
            NewsVerdict::Wanted
        );
    }

    #[test]
    fn an_event_that_no_mapping_wants_is_ignored_and_one_that_makes_no_sense_is_dead() {
        let check = |direction, event: Event, expected| {
            let mapping = Mapping {
                pairs: Vec::new(),
                objects: vec![object(direction)],
            };
            assert_eq!(verdict(&mapping, &event), expected, "{event:?}");
        };
        let change = || event("propertyChange");
        let of = |name: &str| Event {
            property: Some(property(name)),
            ..change()
        };
        check(Direction::Both, change(), NewsVerdict::Wanted);
        check(Direction::Both, event("deletion"), NewsVerdict::Wanted);
        let problem = Some("it is too long");
        let broken = Event {
            problem,
            ..change()
        };
        check(Direction::Both, broken, NewsVerdict::Dead("it is too long"));
        let untyped = Event {
            event_type: String::new(),
            ..change()
        };
        check(
            Direction::Both,
            untyped,
            NewsVerdict::Dead("the event has no type"),
        );
        let message = event("newMessage");
        check(
            Direction::Both,
            message,
            NewsVerdict::Ignored("no event of records"),
        );
        let association = event("associationChange");
        check(
            Direction::Both,
            association,
            NewsVerdict::Ignored("no association of the object is mapped"),
        );
        let unmapped = Event {
            object: None,
            ..change()
        };
        check(
            Direction::Both,
            unmapped,
            NewsVerdict::Ignored("the object is not mapped"),
        );
        check(
            Direction::Push,
            change(),
            NewsVerdict::Ignored("the object is only pushed"),
        );
        check(
            Direction::Push,
            event("privacyDeletion"),
            NewsVerdict::Wanted,
        );
        let nobodys = Event {
            hs_id: None,
            ..change()
        };
        check(
            Direction::Both,
            nobodys,
            NewsVerdict::Dead("the event names no record"),
        );
        let nothings = Event {
            property: None,
            ..change()
        };
        check(
            Direction::Both,
            nothings,
            NewsVerdict::Dead("the event names no property"),
        );
        check(
            Direction::Both,
            of("score"),
            NewsVerdict::Ignored("the property is only pushed"),
        );
        check(
            Direction::Both,
            of("stage"),
            NewsVerdict::Ignored("the property is not mapped"),
        );
    }

    fn entry(state: EntryState, base: &str, sent: Option<&str>) -> Entry {
        Entry {
            id: OutboxId(1),
            local_id: LocalId(1),
            standing: Standing {
                hs_id: Some(HubspotId(101)),
                operation: Operation::Update,
                state,
                attempts: 0,
                enqueued_at: at(0),
                ..Standing::NOTHING
            },
            version: 1,
            key: None,
            row: None,
            fields: vec![EntryField {
                property: property("price"),
                base: Base::Known(Value::from_canonical(base)),
                changed_at: at(0),
                sent: sent.map(Value::from_canonical),
            }],
        }
    }

    fn row(price: &str) -> LocalRecord {
        LocalRecord {
            local_id: LocalId(1),
            hs_id: Some(HubspotId(101)),
            modified_at: Some(at(0)),
            unreadable: std::collections::BTreeSet::new(),
            values: FieldValues::from_iter([(property("price"), Value::from_canonical(price))]),
        }
    }

    const NOBODY: Known<'static> = Known {
        row: None,
        entry: None,
        in_doubt: false,
        contested: &[],
        left_at: None,
        is_merged: false,
    };

    fn moment() -> NewsMoment {
        NewsMoment {
            now: at(12),
            hubspot_ahead_ms: 0,
            creating: false,
            received_at: at(11),
        }
    }

    fn needs(known: &Known<'_>, event: &Event, moment: &NewsMoment) -> Need {
        need(&object(Direction::Both), known, event, moment)
    }

    #[test]
    fn a_record_that_has_a_row_is_read_for_what_the_mirror_does_not_show() {
        let row = row("1");
        let known = Known {
            row: Some(&row),
            ..NOBODY
        };
        for (kind, expected) in [
            ("creation", Need::Nothing),
            ("associationChange", Need::Nothing),
            ("newMessage", Need::Nothing),
            ("propertyChange", Need::Nothing),
            ("deletion", Need::Read),
            ("privacyDeletion", Need::Read),
            ("merge", Need::Read),
            ("restore", Need::Read),
        ] {
            assert_eq!(needs(&known, &event(kind), &moment()), expected, "{kind}");
        }
        let check = |known: &Known<'_>, value: Option<&str>, expected| {
            let change = Event {
                value: value.map(str::to_owned),
                ..event("propertyChange")
            };
            assert_eq!(needs(known, &change, &moment()), expected, "{value:?}");
        };
        check(&known, Some("1.0"), Need::Nothing);
        check(&known, Some("2"), Need::Read);
        // Hidden, or of another type.
        check(&known, None, Need::Read);
        check(&known, Some("much"), Need::Read);
        let contested = [property("price")];
        let in_conflict = Known {
            contested: &contested,
            ..known
        };
        check(&in_conflict, Some("1"), Need::Read);
        // Only pushed: whatever it is there, nothing of it comes here.
        let pushed = Event {
            property: Some(property("score")),
            ..event("propertyChange")
        };
        assert_eq!(needs(&known, &pushed, &moment()), Need::Nothing);
    }

    #[test]
    fn of_a_written_field_what_was_before_and_what_is_sent_is_no_news() {
        let row = row("1");
        let waits = entry(EntryState::Pending, "2", None);
        let flies = entry(EntryState::InFlight, "2", Some("3"));
        // What it was before is no news of before the version that is known, and while nothing goes over it.
        for (entry, occurred, base, sent) in [
            (&waits, 10, Need::Nothing, Need::Read),
            (&flies, 0, Need::Nothing, Need::Nothing),
            (&flies, 10, Need::Read, Need::Nothing),
        ] {
            let known = Known {
                row: Some(&row),
                entry: Some(entry),
                ..NOBODY
            };
            for (value, expected) in [
                ("1", Need::Read),
                ("2", base),
                ("3", sent),
                ("4", Need::Read),
            ] {
                let change = Event {
                    value: Some(value.to_owned()),
                    occurred_at: Some(at(occurred)),
                    ..event("propertyChange")
                };
                assert_eq!(needs(&known, &change, &moment()), expected, "{value}");
            }
        }
    }

    /// The needs of creation, change, deletion, privacy deletion, merge, restore, association.
    fn check_all(known: &Known<'_>, moment: &NewsMoment, expected: [Need; 7]) {
        let all = EventKind::ALL.map(|kind| {
            let event = event(kind.as_str());
            needs(known, &event, moment)
        });
        assert_eq!(all, expected, "{known:?} {moment:?}");
    }

    #[test]
    fn a_record_without_a_row_is_read_unless_it_left_later_or_may_be_ours() {
        use Need::{Nothing, Patience, Read};

        let unknown = [Read; 7];
        let creating = NewsMoment {
            creating: true,
            ..moment()
        };
        let may_be_ours = [Patience, Patience, Patience, Read, Read, Read, Patience];
        check_all(&NOBODY, &moment(), unknown);
        check_all(&NOBODY, &creating, may_be_ours);
        // For ten seconds, and by a clock that was not put back meanwhile.
        for received_at in [at(2), at(13)] {
            let received = NewsMoment {
                received_at,
                ..creating
            };
            check_all(&NOBODY, &received, unknown);
        }
        for (state, deletion) in [
            (EntryState::Pending, Read),
            (EntryState::Dead, Read),
            (EntryState::InFlight, Nothing),
        ] {
            let entry = entry(state, "1", None);
            let waits = Known {
                entry: Some(&entry),
                ..NOBODY
            };
            let expected = [Read, Read, deletion, Read, Read, Read, Read];
            check_all(&waits, &creating, expected);
        }
    }

    #[test]
    fn what_was_before_a_record_left_is_no_news_by_hubspots_clock() {
        use Need::{Nothing, Read};

        let over = [Nothing, Nothing, Nothing, Read, Read, Read, Nothing];
        let unknown = [Read; 7];
        let check = |left, hubspot_ahead_ms, expected| {
            let left = Known {
                left_at: Some(at(left)),
                ..NOBODY
            };
            let moment = NewsMoment {
                hubspot_ahead_ms,
                ..moment()
            };
            check_all(&left, &moment, expected);
        };
        check(10, 0, over);
        check(9, 0, unknown);
        check(9, 1_000, over);
        check(11, -2_000, unknown);
        // Of before the clock was put back.
        check(13, 0, unknown);
        // It had become a part of another one: that one is gone too, unless it is the merge that is told so.
        let merged = |left| Known {
            left_at: Some(at(left)),
            is_merged: true,
            ..NOBODY
        };
        check_all(&merged(9), &moment(), [Read; 7]);
        check_all(&merged(10), &moment(), over);
    }

    #[test]
    fn an_earlier_push_that_comes_back_late_is_an_echo_of_its_time_unless_a_request_with_it_was_lost()
     {
        fn value(text: &str) -> Value {
            Value::from_canonical(text)
        }
        let (row, mapping) = (row("9"), object(Direction::Both));
        let known = Known {
            row: Some(&row),
            ..NOBODY
        };
        let own = Event {
            own: true,
            ..event("propertyChange")
        };
        let echo = may_be_late_echo(&mapping, &known, &own).expect("it may be one");
        let lost = |text: &str| SentValue {
            value: value(text),
            over: at(1),
        };
        assert_eq!(echo.said, value("1"));
        assert!(!echo.may_be_of(&[]));
        assert!(!echo.may_be_of(&[lost("5")]));
        assert!(echo.may_be_of(&[lost("1.0")]));
        // By HubSpot's clock it was made at 10: the push was acknowledged then or a while later, and not before.
        assert_eq!(echo.acknowledged_within(0), (at(8), at(70)));
        assert_eq!(echo.acknowledged_within(5_000), (at(3), at(65)));
        let none = |known: &Known<'_>, event: &Event| {
            assert_eq!(may_be_late_echo(&mapping, known, event), None, "{event:?}");
        };
        none(&known, &event("propertyChange"));
        none(&NOBODY, &own);
        none(
            &Known {
                in_doubt: true,
                ..known
            },
            &own,
        );
        let contested = [property("price")];
        none(
            &Known {
                contested: &contested,
                ..known
            },
            &own,
        );
        let hidden = Event {
            value: None,
            ..own.clone()
        };
        none(&known, &hidden);
        let timeless = Event {
            occurred_at: None,
            ..own.clone()
        };
        none(&known, &timeless);
        let unmapped = Event {
            property: Some(property("stage")),
            ..own.clone()
        };
        none(&known, &unmapped);
        let deletion = Event {
            own: true,
            ..event("deletion")
        };
        none(&known, &deletion);
    }
}
