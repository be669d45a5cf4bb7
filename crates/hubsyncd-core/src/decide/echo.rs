//! What we may have sent, against what HubSpot holds: is a value there somebody's, or one of ours whose answer was lost?
//!
//! The one place that knows. Merge, archive, adoption, conflicts and removal ask here, so that a late request of our own
//! is nobody's edit anywhere, and somebody's edit is never taken for a request of ours (`design.md`, sections 2 and 4).
//! It fetches nothing: what was sent and what a property's history says is handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::entry::{Base, Entry, Operation};
use crate::model::field_values::FieldValues;
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

/// Who set a value, as its history says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The app whose token we send with.
    Us,
    /// An app, and nobody can say whether it is ours.
    SomeApp,
    /// A person, another app, HubSpot itself.
    Other,
}

/// Who set a value, by the source that its history names (`hubspot/api-facts.md#7`) and the app that our token belongs to.
pub fn author(source_type: Option<&str>, source_id: Option<&str>, own_app: Option<&str>) -> Author {
    match (source_type, source_id, own_app) {
        (Some("INTEGRATION" | "API"), Some(id), Some(own)) if id == own => Author::Us,
        (Some("INTEGRATION"), Some(_), Some(_)) => Author::Other,
        (Some("INTEGRATION" | "API"), _, _) => Author::SomeApp,
        (_, _, _) => Author::Other,
    }
}

/// Who set a value, in the words of its history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToldSource {
    /// What kind of thing.
    pub kind: Option<String>,
    /// Which one.
    pub id: Option<String>,
}

/// A value that a property had.
#[derive(Debug, Clone, PartialEq)]
pub struct PastValue {
    /// The value, canonical.
    pub value: Value,
    /// When it was set.
    pub at: Timestamp,
    /// Who set it.
    pub author: Author,
    /// Who that is.
    pub source: ToldSource,
}

/// Histories of one record, the newest value first; empty where HubSpot gave none for the property.
pub type Histories = BTreeMap<PropertyName, Vec<PastValue>>;

/// A value that a request carried whose answer was lost.
#[derive(Debug, Clone, PartialEq)]
pub struct SentValue {
    /// The value, canonical.
    pub value: Value,
    /// HubSpot's time of the record's version that it was sent over. What it brought is later; both times are HubSpot's,
    /// so no clock of ours has a say.
    pub over: Timestamp,
}

/// What lost requests of one row carried.
pub type SentValues = BTreeMap<PropertyName, Vec<SentValue>>;

/// A field of which requests may be on their way.
#[derive(Debug, Clone, Copy)]
pub struct SentField<'a> {
    /// How values compare.
    pub kind: PropertyType,
    /// What both sides agreed on last, as far as answers tell.
    pub base: &'a Base,
    /// The mirror's value, or the deleted row's.
    pub local: &'a Value,
    /// HubSpot's value.
    pub remote: &'a Value,
    /// Whether a local change of the field waits.
    pub pending: bool,
    /// What lost requests carried for it.
    pub sent: &'a [SentValue],
    /// Its history, where it was asked for.
    pub history: Option<&'a [PastValue]>,
    /// When the record changed last in HubSpot.
    pub updated_at: Timestamp,
}

/// What both sides agreed on last, once it is known what became of lost requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Agreed {
    /// What was known: no lost request has had a part in it.
    AsKnown,
    /// A request whose answer was lost has landed with this value. Where HubSpot holds another one, somebody changed it
    /// after that.
    Landed(Value),
    /// The same, and it went over what somebody had set since, which nobody here has seen: a program writes `Rome`, the request
    /// is late, `Lima` is sent and answered, a person sets `Kiel`, and then `Rome` lands.
    LandedOver {
        /// What the request brought; HubSpot holds it.
        value: Value,
        /// What it went over.
        over: PastValue,
    },
    /// An app has set a value of ours, and nobody can say which app: both values are to be kept.
    Unsure,
    /// The property's history must tell.
    NeedHistory,
}

/// Says what both sides agreed on last.
pub fn agreed(field: &SentField<'_>) -> Agreed {
    let same = |value: &Value| field.kind.same(value, field.remote);
    if field.sent.is_empty() || same(field.local) {
        return Agreed::AsKnown;
    }
    let carried = |value: &Value, at: Timestamp| {
        let is_it = |sent: &SentValue| field.kind.same(&sent.value, value) && at > sent.over;
        field.sent.iter().any(is_it)
    };
    let is_base = matches!(field.base, Base::Known(base) if same(base));
    let may_be_ours = !is_base && carried(field.remote, field.updated_at);
    // Where nothing waits, a value that we never sent is somebody's, whatever stood there in between.
    let may_be_undone =
        field.pending && !may_be_ours && field.sent.iter().any(|sent| field.updated_at > sent.over);
    if !may_be_ours && !may_be_undone {
        return Agreed::AsKnown;
    }
    let Some(history) = field.history else {
        return Agreed::NeedHistory;
    };
    let present = history
        .first()
        .filter(|present| carried(&present.value, present.at));
    if may_be_ours {
        return match present.map(|present| present.author) {
            Some(Author::Us) => {
                let value = field.remote.clone();
                match gone_over(field, history) {
                    Some(over) => Agreed::LandedOver {
                        value,
                        over: over.clone(),
                    },
                    None => Agreed::Landed(value),
                }
            }
            Some(Author::SomeApp) => Agreed::Unsure,
            Some(Author::Other) | None => Agreed::AsKnown,
        };
    }
    if present.is_some_and(|present| present.author == Author::Us) {
        // A later request of ours brought the base back by itself.
        return Agreed::AsKnown;
    }
    // HubSpot held what we sent, and somebody has changed it since.
    let landed = history.iter().skip(1).find(|past| {
        past.author != Author::Other && !same(&past.value) && carried(&past.value, past.at)
    });
    landed.map_or(Agreed::AsKnown, |past| Agreed::Landed(past.value.clone()))
}

/// What somebody had set that the late request went over which brought the present value, where nobody here has seen it: what
/// was seen is the base.
fn gone_over<'a>(field: &SentField<'_>, history: &'a [PastValue]) -> Option<&'a PastValue> {
    let Base::Known(base) = field.base else {
        return None;
    };
    let is_late = |past: &PastValue, sent: &SentValue| {
        field.kind.same(&sent.value, &past.value) && past.at > sent.over
    };
    let is_ours = |past: &PastValue| {
        past.author != Author::Other && field.sent.iter().any(|sent| is_late(past, sent))
    };
    let landing = field
        .sent
        .iter()
        .filter(|sent| field.kind.same(&sent.value, field.remote))
        .map(|sent| sent.over)
        .min()?;
    // Several late requests may have landed on each other.
    let before = history.iter().find(|past| !is_ours(past))?;
    let is_edit = before.author != Author::Us && !field.kind.same(base, &before.value);
    (is_edit && before.at > landing).then_some(before)
}

/// Whether somebody has edited a field in HubSpot since both sides agreed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// HubSpot holds what was agreed on, what the row held, or what a late request of ours brought.
    No,
    /// Somebody else's value is there.
    Yes,
    /// The property's history must tell.
    NeedHistory,
}

/// Says whether a field of a deleted row's record was edited in HubSpot. A value that the row held when it was deleted is
/// nobody's edit, whoever set it: the deletion meant it.
pub fn edited(field: &SentField<'_>) -> Edited {
    let same = |value: &Value| field.kind.same(value, field.remote);
    let is_other = |value: &Value| match same(value) {
        true => Edited::No,
        false => Edited::Yes,
    };
    if same(field.local) {
        return Edited::No;
    }
    match (agreed(field), field.base) {
        (Agreed::NeedHistory, _) => Edited::NeedHistory,
        (Agreed::Unsure | Agreed::LandedOver { .. }, _) => Edited::Yes,
        (Agreed::Landed(value), _) => is_other(&value),
        (Agreed::AsKnown, Base::Known(base)) => is_other(base),
        (Agreed::AsKnown, Base::Unknown) => Edited::No,
    }
}

/// Whether HubSpot holds for a field what a lost request of ours carried.
pub fn is_sent(kind: PropertyType, sent: &[SentValue], remote: &Value) -> bool {
    sent.iter().any(|sent| kind.same(&sent.value, remote))
}

/// How a record was found that a lost create may have made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// It carries the key that only our create carried.
    Key,
    /// It has the create's match value, and the object has no key of ours.
    MatchAlone,
    /// It has the create's match value and lacks the key that our create carried.
    MatchWithoutKey,
}

/// A lost create was sent at most this long before its loss: a write's timeout, and what two clocks may differ.
const SENT_BEFORE_LOSS_MS: i64 = 110_000;

/// Whether a lost create of ours made a record. Where creates carry a key, only the key says so: anybody may make a record
/// with the same e-mail. `lost_at` and the record's creation are compared in this machine's time.
pub(crate) fn made_by_us(
    found_by: FoundBy,
    lost_at: Timestamp,
    record: &RemoteRecord,
    clock_offset_ms: i64,
) -> bool {
    match found_by {
        FoundBy::Key => true,
        FoundBy::MatchAlone => record.created_at >= earliest_made(lost_at, clock_offset_ms),
        FoundBy::MatchWithoutKey => false,
    }
}

/// When a create that was lost then may have made its record at the earliest, by HubSpot's clock.
pub(crate) fn earliest_made(lost_at: Timestamp, clock_offset_ms: i64) -> Timestamp {
    lost_at.plus_millis(clock_offset_ms - SENT_BEFORE_LOSS_MS)
}

/// Whether a property's history says that its first value is surely not ours: somebody else has made the record with it.
pub(crate) fn begun_by_another(history: &[PastValue]) -> bool {
    history
        .last()
        .is_some_and(|first| first.author == Author::Other)
}

/// What becomes of an entry whose answer was lost, by a cut connection or by our own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterLoss {
    /// A create: its record is looked for before anything else.
    Look,
    /// An update of a row that was deleted meanwhile: its record is to be archived.
    Archive,
    /// It is merged and sent again.
    MergeAgain,
}

/// Decides for an entry whose answer was lost. What it carried is remembered in every case: a create keeps it beside its
/// fields.
pub(crate) fn after_loss(entry: &Entry) -> AfterLoss {
    match entry.standing.operation {
        Operation::Create => AfterLoss::Look,
        Operation::Update if entry.row.is_some() && entry.standing.hs_id.is_some() => {
            AfterLoss::Archive
        }
        Operation::Update | Operation::Archive | Operation::Associate | Operation::Disassociate => {
            AfterLoss::MergeAgain
        }
    }
}

/// How long after its loss a request may still land (`design.md`, section 4).
pub const MAY_STILL_LAND: Duration = Duration::from_mins(1);

/// How long values that lost requests carried are remembered.
pub(crate) const LATE_REQUESTS: Duration = Duration::from_mins(10);

/// The moment since which lost requests count, by this machine's clock. Where that was set ahead since they were sent, HubSpot's clock
/// tells that less time has passed.
pub fn late_since(now: Timestamp, clock_offset_ms: i64) -> Timestamp {
    now.min(now.plus_millis(clock_offset_ms)) - LATE_REQUESTS
}

/// What an attempt carried.
pub fn sent_values(entry: &Entry) -> FieldValues {
    entry
        .fields
        .iter()
        .filter_map(|field| Some((field.property.clone(), field.sent.clone()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::from_canonical(text)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::EPOCH.plus_millis(seconds * 1000)
    }

    /// A property's history, the newest first: value, author, second.
    type Told<'a> = &'a [(&'a str, Author, i64)];

    /// base, local, remote; sent values with the second of the version that they went over.
    struct Case<'a> {
        base: &'a str,
        local: &'a str,
        remote: &'a str,
        pending: bool,
        sent: &'a [(&'a str, i64)],
        history: Option<Told<'a>>,
        updated: i64,
    }

    impl Case<'_> {
        fn ask<T>(&self, rule: impl FnOnce(&SentField<'_>) -> T) -> T {
            let sent: Vec<SentValue> = self
                .sent
                .iter()
                .map(|(text, over)| SentValue {
                    value: value(text),
                    over: at(*over),
                })
                .collect();
            let history: Option<Vec<PastValue>> = self.history.map(|history| {
                let past = |(text, author, when): &(&str, Author, i64)| PastValue {
                    value: value(text),
                    at: at(*when),
                    author: *author,
                    source: ToldSource::default(),
                };
                history.iter().map(past).collect()
            });
            rule(&SentField {
                kind: PropertyType::String,
                base: &Base::Known(value(self.base)),
                local: &value(self.local),
                remote: &value(self.remote),
                pending: self.pending,
                sent: &sent,
                history: history.as_deref(),
                updated_at: at(self.updated),
            })
        }

        fn agreed(&self) -> Agreed {
            self.ask(agreed)
        }

        fn edited(&self) -> Edited {
            self.ask(edited)
        }
    }

    fn landed(text: &str) -> Agreed {
        Agreed::Landed(value(text))
    }

    use Author::{Other, SomeApp, Us};

    const LATE: Case<'_> = Case {
        base: "old",
        local: "newer",
        remote: "sent",
        pending: true,
        sent: &[("sent", 10)],
        history: None,
        updated: 20,
    };

    const UNDONE: Case<'_> = Case {
        base: "old",
        local: "sent",
        remote: "old",
        pending: true,
        sent: &[("sent", 10)],
        history: None,
        updated: 30,
    };

    #[test]
    fn a_late_request_of_ours_is_nobodys_edit() {
        assert_eq!(LATE.agreed(), Agreed::NeedHistory);
        let told = |history: Told<'_>| {
            Case {
                history: Some(history),
                ..LATE
            }
            .agreed()
        };
        assert_eq!(told(&[("sent", Us, 20), ("old", Other, 1)]), landed("sent"));
        // The same over a value that was acknowledged since.
        let clean = Case {
            base: "newer",
            pending: false,
            history: Some(&[("sent", Us, 20), ("newer", Us, 15)]),
            ..LATE
        };
        assert_eq!(clean.agreed(), landed("sent"));
    }

    #[test]
    fn what_a_late_request_went_over_is_told() {
        const THEIRS: (&str, Author, i64) = ("theirs", Other, 18);
        const SCRIPT: (&str, Author, i64) = ("theirs", SomeApp, 18);
        // `newer` was sent and answered, somebody set `theirs`, and then `sent` landed.
        let clean = Case {
            base: "newer",
            pending: false,
            sent: &[("sent", 10), ("other", 10)],
            ..LATE
        };
        let check = |history: Told<'static>, expected: Option<(&str, Author, i64)>| {
            let told = Case {
                history: Some(history),
                ..clean
            };
            let over = expected.map_or(landed("sent"), |(text, author, when)| Agreed::LandedOver {
                value: value("sent"),
                over: PastValue {
                    value: value(text),
                    at: at(when),
                    author,
                    source: ToldSource::default(),
                },
            });
            assert_eq!(told.agreed(), over, "{history:?}");
            let edited = if expected.is_some() {
                Edited::Yes
            } else {
                Edited::No
            };
            assert_eq!(told.edited(), edited, "{history:?}");
        };
        check(&[("sent", Us, 20), THEIRS, ("newer", Us, 15)], Some(THEIRS));
        // A second late request that landed before the first one.
        check(&[("sent", Us, 20), ("other", Us, 19), THEIRS], Some(THEIRS));
        check(&[("sent", Us, 20), SCRIPT], Some(SCRIPT));
        // What was agreed on, what we sent and were answered, and what stood there before the request was made.
        check(&[("sent", Us, 20), ("newer", Other, 18), THEIRS], None);
        check(&[("sent", Us, 20), ("newest", Us, 18), THEIRS], None);
        check(&[("sent", Us, 20), ("theirs", Other, 10)], None);
        check(&[("sent", Us, 20)], None);
    }

    #[test]
    fn a_person_who_sets_a_field_to_the_value_of_a_lost_request_is_not_taken_for_that_request() {
        let told = |history: Told<'_>| {
            Case {
                history: Some(history),
                ..LATE
            }
            .agreed()
        };
        assert_eq!(
            told(&[("sent", Other, 20), ("old", Other, 1)]),
            Agreed::AsKnown
        );
        assert_eq!(
            told(&[("sent", Other, 20), ("mid", Other, 18), ("sent", Us, 15)]),
            Agreed::AsKnown
        );
    }

    #[test]
    fn another_apps_value_is_not_ours_and_an_unknown_apps_is_kept_beside_ours() {
        let told = |history: Told<'_>| {
            Case {
                history: Some(history),
                ..LATE
            }
            .agreed()
        };
        assert_eq!(
            told(&[("sent", Other, 20), ("old", Us, 1)]),
            Agreed::AsKnown
        );
        assert_eq!(told(&[("sent", SomeApp, 20)]), Agreed::Unsure);
        assert_eq!(told(&[]), Agreed::AsKnown);
        // What stood there before we sent anything was not brought by it, whoever set it.
        assert_eq!(told(&[("sent", Us, 10)]), Agreed::AsKnown);
        assert_eq!(
            Case {
                updated: 10,
                ..LATE
            }
            .agreed(),
            Agreed::AsKnown
        );
    }

    #[test]
    fn an_app_is_ours_by_its_id_alone() {
        let by = |source, id, own| author(Some(source), id, own);
        assert_eq!(by("INTEGRATION", Some("7"), Some("7")), Us);
        assert_eq!(by("INTEGRATION", Some("8"), Some("7")), Other);
        assert_eq!(by("INTEGRATION", Some("7"), None), SomeApp);
        assert_eq!(by("INTEGRATION", None, Some("7")), SomeApp);
        assert_eq!(by("API", Some("8"), Some("7")), SomeApp);
        assert_eq!(by("CRM_UI", Some("7"), Some("7")), Other);
        assert_eq!(author(None, None, None), Other);
    }

    #[test]
    fn an_undo_of_an_update_whose_answer_was_lost_is_a_change_in_hubspot() {
        assert_eq!(UNDONE.agreed(), Agreed::NeedHistory);
        let told = |local, history: Told<'_>| {
            Case {
                local,
                history: Some(history),
                ..UNDONE
            }
            .agreed()
        };
        let undone: Told<'_> = &[("old", Other, 30), ("sent", Us, 20), ("old", Other, 1)];
        assert_eq!(told("sent", undone), landed("sent"));
        assert_eq!(told("newer", undone), landed("sent"));
        assert_eq!(
            told("newer", &[("old", Other, 30), ("sent", SomeApp, 20)]),
            landed("sent")
        );
        // Nothing has landed, or only what was there before.
        assert_eq!(told("sent", &[("old", Other, 1)]), Agreed::AsKnown);
        assert_eq!(
            told("sent", &[("old", Other, 9), ("sent", Us, 5)]),
            Agreed::AsKnown
        );
        // Nothing has happened at all since it was sent: nobody need be asked.
        let unmoved = Case {
            updated: 10,
            ..UNDONE
        };
        assert_eq!(unmoved.agreed(), Agreed::AsKnown);
    }

    #[test]
    fn a_change_over_a_landed_update_is_measured_against_it() {
        let over = Case {
            remote: "theirs",
            history: Some(&[("theirs", Other, 30), ("sent", Us, 20)]),
            ..UNDONE
        };
        assert_eq!(over.agreed(), landed("sent"));
        // Our own later request brought the base back.
        let back = Case {
            local: "newer",
            sent: &[("sent", 10), ("old", 12)],
            history: Some(&[("old", Us, 30), ("sent", Us, 20)]),
            ..UNDONE
        };
        assert_eq!(back.agreed(), Agreed::AsKnown);
    }

    #[test]
    fn without_a_lost_request_nobody_is_asked() {
        for (base, local, remote) in [
            ("a", "a", "a"),
            ("a", "b", "a"),
            ("a", "a", "b"),
            ("a", "b", "c"),
        ] {
            let plain = Case {
                base,
                local,
                remote,
                sent: &[],
                ..LATE
            };
            assert_eq!(plain.agreed(), Agreed::AsKnown);
        }
        let equal = Case {
            local: "sent",
            ..LATE
        };
        assert_eq!(equal.agreed(), Agreed::AsKnown);
        // Nothing waits and the value was never sent: it is somebody's.
        let clean = Case {
            base: "local",
            local: "local",
            remote: "theirs",
            pending: false,
            ..LATE
        };
        assert_eq!(clean.agreed(), Agreed::AsKnown);
    }

    #[test]
    fn a_deleted_rows_own_update_is_nobodys_edit() {
        // UPDATE, its answer lost, DELETE: HubSpot holds what the row held.
        let own = Case {
            local: "sent",
            ..LATE
        };
        assert_eq!(own.edited(), Edited::No);
        // Another UPDATE in between.
        assert_eq!(LATE.edited(), Edited::NeedHistory);
        let told = |case: Case<'static>, history| {
            Case {
                history: Some(history),
                ..case
            }
            .edited()
        };
        assert_eq!(told(LATE, &[("sent", Us, 20)]), Edited::No);
        assert_eq!(told(LATE, &[("sent", Other, 20)]), Edited::Yes);
        assert_eq!(told(LATE, &[("sent", SomeApp, 20)]), Edited::Yes);
        // A person's undo of the landed update is an edit, although HubSpot holds the base again.
        assert_eq!(
            told(UNDONE, &[("old", Other, 30), ("sent", Us, 20)]),
            Edited::Yes
        );
        assert_eq!(told(UNDONE, &[("old", Other, 1)]), Edited::No);
        let theirs = Case {
            remote: "theirs",
            sent: &[],
            ..LATE
        };
        assert_eq!(theirs.edited(), Edited::Yes);
    }

    #[test]
    fn only_its_key_says_that_a_create_of_ours_made_a_record() {
        let record = RemoteRecord {
            id: crate::model::id::HubspotId(7),
            values: FieldValues::default(),
            invalid: BTreeMap::new(),
            created_at: at(1000),
            updated_at: at(1000),
            archived: false,
            archived_at: None,
            merged_ids: Vec::new(),
            own_key: None,
            other_emails: Vec::new(),
            pipeline: None,
        };
        assert!(made_by_us(FoundBy::Key, at(9000), &record, 0));
        assert!(!made_by_us(FoundBy::MatchWithoutKey, at(1000), &record, 0));
        assert!(made_by_us(FoundBy::MatchAlone, at(1110), &record, 0));
        assert!(!made_by_us(FoundBy::MatchAlone, at(1111), &record, 0));
        assert!(made_by_us(FoundBy::MatchAlone, at(1121), &record, -11_000));
    }

    #[test]
    fn a_lost_create_is_looked_for_and_a_deleted_rows_update_becomes_its_archive() {
        let check = |operation, row: Option<&str>, hs_id, expected| {
            let entry = Entry {
                id: crate::model::id::OutboxId(1),
                local_id: crate::model::id::LocalId(1),
                standing: crate::model::entry::Standing {
                    hs_id,
                    operation,
                    state: crate::model::entry::EntryState::InFlight,
                    attempts: 1,
                    enqueued_at: at(0),
                    has_row: row.is_some(),
                    ..crate::model::entry::Standing::NOTHING
                },
                version: 1,
                key: None,
                row: row.map(str::to_owned),
                fields: Vec::new(),
            };
            assert_eq!(after_loss(&entry), expected);
        };
        let known = Some(crate::model::id::HubspotId(7));
        check(Operation::Create, None, None, AfterLoss::Look);
        check(Operation::Create, Some("{}"), None, AfterLoss::Look);
        check(Operation::Update, None, known, AfterLoss::MergeAgain);
        check(Operation::Update, Some("{}"), known, AfterLoss::Archive);
        check(Operation::Archive, Some("{}"), known, AfterLoss::MergeAgain);
    }

    #[test]
    fn lost_requests_count_for_ten_minutes_by_the_clock_that_is_behind() {
        assert_eq!(late_since(at(1_000), 0), at(400));
        // Set ahead by ten minutes since they were sent.
        assert_eq!(late_since(at(1_600), -600_000), at(400));
        assert_eq!(late_since(at(1_000), 600_000), at(400));
    }
}
