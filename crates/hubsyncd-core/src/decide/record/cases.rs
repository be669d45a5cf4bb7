//! One record, one field: each line of what the merge of a record does, and a record that is disturbed twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop_oneof};

use super::*;
use crate::decide::echo::{Author, PastValue, ToldSource};
use crate::model::entry::{Operation, Standing};
use crate::model::field_values::FieldValues;
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::mapping::{FieldModes, KeyChoice, Modes};
use crate::model::name::{ColumnName, ObjectType, TableName};

pub(super) fn city() -> PropertyName {
    PropertyName::parse("city").expect("a name")
}

fn value(text: &str) -> Value {
    Value::from_canonical(text)
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::EPOCH.plus_millis(second * 1_000)
}

pub(super) fn mapping(direction: Direction, policy: Policy) -> ObjectMapping {
    ObjectMapping {
        object: ObjectType::parse("contacts").expect("a name"),
        address: None,
        table: TableName::parse("contacts").expect("a name"),
        direction: Direction::Both,
        key: KeyChoice::Auto,
        match_property: None,
        modes: Modes::default(),
        policy,
        poll: Duration::from_secs(5),
        fields: vec![FieldMapping {
            property: city(),
            column: ColumnName::parse("city").expect("a name"),
            declared_type: None,
            property_type: PropertyType::String,
            direction,
            policy,
            modes: FieldModes::default(),
        }],
    }
}

fn entry(state: EntryState, base: Base, changed_at: Timestamp) -> Entry {
    Entry {
        id: OutboxId(1),
        local_id: LocalId(1),
        standing: Standing {
            hs_id: Some(HubspotId(7)),
            operation: Operation::Update,
            state,
            attempts: 0,
            enqueued_at: changed_at,
            ..Standing::NOTHING
        },
        version: 1,
        key: None,
        row: None,
        fields: vec![EntryField {
            property: city(),
            base,
            changed_at,
            sent: None,
        }],
    }
}

fn remote(shown: &str, updated_at: Timestamp) -> RemoteRecord {
    RemoteRecord {
        id: HubspotId(7),
        values: FieldValues::from_iter([(city(), value(shown))]),
        invalid: BTreeMap::new(),
        created_at: at(0),
        updated_at,
        archived: false,
        archived_at: None,
        merged_ids: Vec::new(),
        own_key: None,
        other_emails: Vec::new(),
        pipeline: None,
    }
}

fn local(held: &str) -> LocalRecord {
    LocalRecord {
        local_id: LocalId(1),
        hs_id: Some(HubspotId(7)),
        modified_at: None,
        unreadable: BTreeSet::new(),
        values: FieldValues::from_iter([(city(), value(held))]),
    }
}

/// The same with a way of writing.
fn mapping_written(direction: Direction, policy: Policy, write: WriteMode) -> ObjectMapping {
    let mut mapping = mapping(direction, policy);
    mapping.fields[0].modes.write = write;
    if write == WriteMode::Append {
        mapping.fields[0].property_type = PropertyType::Set;
    }
    mapping
}

/// A record of one field. What waits was written at 20; HubSpot's record changed at 30.
#[derive(Clone, Copy)]
struct Case {
    direction: Direction,
    policy: Policy,
    write: WriteMode,
    /// What is to go back, and over what.
    owed: Option<(&'static str, &'static str)>,
    /// The pending field's base; `?` is an unknown one.
    pending: Option<&'static str>,
    state: EntryState,
    local: &'static str,
    remote: &'static str,
    /// Base and HubSpot's value of an open conflict.
    open: Option<(&'static str, &'static str)>,
    /// When HubSpot's value was set.
    set_at: Option<i64>,
    is_unreadable_here: bool,
    is_invalid_there: bool,
    is_just_linked: bool,
}

const CLEAN: Case = Case {
    direction: Direction::Both,
    policy: Policy::Remote,
    write: WriteMode::Replace,
    owed: None,
    pending: None,
    state: EntryState::Pending,
    local: "a",
    remote: "a",
    open: None,
    set_at: None,
    is_unreadable_here: false,
    is_invalid_there: false,
    is_just_linked: false,
};

/// Written here, over `a`.
const WRITTEN: Case = Case {
    pending: Some("a"),
    local: "b",
    ..CLEAN
};

/// Written on both sides, over `a`.
const BOTH: Case = Case {
    remote: "c",
    ..WRITTEN
};

/// In a conflict that a person is asked about: `a` was agreed on, `c` was seen there.
const OPEN: Case = Case {
    policy: Policy::Manual,
    local: "b",
    remote: "c",
    open: Some(("a", "c")),
    ..CLEAN
};

fn known(text: &str) -> Base {
    match text {
        "?" => Base::Unknown,
        text => Base::Known(value(text)),
    }
}

fn plan_of(case: Case) -> RecordPlan {
    let entry = case
        .pending
        .map(|base| entry(case.state, known(base), at(20)));
    let open = case.open.map(|(base, remote)| {
        let conflict = OpenConflict {
            id: ConflictId(3),
            base: known(base),
            remote: value(remote),
        };
        (city(), conflict)
    });
    let histories: Option<Histories> = case.set_at.map(|second| {
        let top = PastValue {
            value: value(case.remote),
            at: at(second),
            author: Author::Other,
            source: ToldSource::default(),
        };
        [(city(), vec![top])].into()
    });
    let owed = case.owed.map(|(text, over)| {
        let (value, over) = (value(text), value(over));
        (city(), Owed { value, over })
    });
    let mut local = local(case.local);
    if case.is_unreadable_here {
        local.unreadable.insert(city());
    }
    let mut remote = remote(case.remote, at(30));
    if case.is_invalid_there {
        let shown = std::mem::take(&mut remote.values);
        let shown = shown.iter();
        remote.invalid = shown
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
    }
    merge_record(&RecordInput {
        mapping: &mapping_written(case.direction, case.policy, case.write),
        local: &local,
        entry: entry.as_ref(),
        open: &open.into_iter().collect(),
        remote: &remote,
        histories: histories.as_ref(),
        sent_earlier: &SentValues::new(),
        owed: &owed.into_iter().collect(),
        now: at(60),
        clock_offset_ms: 0,
        clean_base: match case.is_just_linked {
            true => CleanBase::Unknown,
            false => CleanBase::Mirror,
        },
    })
}

/// An action in short.
fn shown(action: &FieldAction) -> String {
    let text = |value: &Value| value.as_deref().unwrap_or("-").to_owned();
    match action {
        FieldAction::Take { value, .. } => format!("take {}", text(value)),
        FieldAction::Meet {
            value, gives_up, ..
        } => {
            let why = if *gives_up { " for good" } else { "" };
            format!("meet {}{why}", text(value))
        }
        FieldAction::Agree { .. } => "agree".to_owned(),
        FieldAction::Arrived { value, .. } => format!("arrived {}", text(value)),
        FieldAction::ArrivedBeside { value, .. } => format!("arrived beside {}", text(value)),
        FieldAction::Checked { .. } => "checked".to_owned(),
        FieldAction::PushOver { base, .. } => format!("push over {}", text(base)),
        FieldAction::Withhold { note: None, .. } => "withhold".to_owned(),
        FieldAction::Withhold { note: Some(_), .. } => "withhold what won".to_owned(),
        FieldAction::Conflict { winner, .. } => format!("conflict {}", winner.as_str()),
        FieldAction::Ask { .. } => "ask".to_owned(),
        FieldAction::RemoteMoved { remote, .. } => format!("moved {}", text(remote)),
        FieldAction::Close { winner, .. } => format!("close {}", winner.as_str()),
    }
}

/// The plan in short.
fn check(case: Case, expected: &[&str]) {
    let plan = plan_of(case);
    let mut shown: Vec<String> = plan.actions.iter().map(shown).collect();
    shown.extend(plan.need_history.iter().map(|_| "history".to_owned()));
    shown.extend(plan.held.iter().map(|_| "held".to_owned()));
    shown.extend(plan.deferred.then(|| "deferred".to_owned()));
    assert_eq!(shown, expected);
}

#[test]
fn what_hubspot_empties_is_withheld_with_the_conflict_that_it_won() {
    let check = |case: Case, expected: &[&str]| {
        let mut plan = plan_of(case);
        let emptied = plan.emptied();
        plan.withhold(&emptied.into_iter().collect());
        let shown: Vec<String> = plan.actions.iter().map(shown).collect();
        assert_eq!(shown, expected);
    };
    let of = |case, policy, remote| Case {
        policy,
        remote,
        ..case
    };
    check(of(CLEAN, Policy::Remote, ""), &["withhold"]);
    check(of(CLEAN, Policy::Remote, "c"), &["take c"]);
    check(of(BOTH, Policy::Remote, ""), &["withhold what won"]);
    check(
        of(BOTH, Policy::Remote, "c"),
        &["conflict remote", "take c"],
    );
    check(
        of(BOTH, Policy::Local, ""),
        &["conflict local", "push over -"],
    );
}

#[test]
fn a_field_that_one_side_changed_goes_to_the_other() {
    for policy in Policy::ALL {
        check(Case { policy, ..CLEAN }, &[]);
        let theirs = Case {
            policy,
            remote: "c",
            ..CLEAN
        };
        check(theirs, &["take c"]);
        // What waits goes out by itself.
        check(Case { policy, ..WRITTEN }, &[]);
        let same = Case {
            policy,
            remote: "b",
            ..WRITTEN
        };
        check(same, &["agree"]);
        let back = Case {
            policy,
            local: "a",
            ..WRITTEN
        };
        check(back, &["agree"]);
    }
}

#[test]
fn a_field_that_is_written_only_where_hubspot_has_none_gives_way_and_makes_no_conflict() {
    for policy in Policy::ALL {
        let if_empty = |case: Case| Case {
            policy,
            write: WriteMode::IfEmpty,
            ..case
        };
        check(if_empty(CLEAN), &[]);
        check(if_empty(WRITTEN), &["meet a for good", "agree"]);
        check(if_empty(BOTH), &["meet c for good", "agree"]);
        let emptied = Case { remote: "", ..BOTH };
        check(if_empty(emptied), &["push over -"]);
        let never_had = Case {
            pending: Some(""),
            ..emptied
        };
        check(if_empty(never_had), &[]);
        let cleared = Case {
            local: "",
            ..WRITTEN
        };
        check(if_empty(cleared), &["meet a for good", "agree"]);
        let adopted = Case {
            local: "b",
            remote: "c",
            is_just_linked: true,
            ..CLEAN
        };
        check(if_empty(adopted), &["meet c for good", "agree"]);
        let unreadable = Case {
            is_invalid_there: true,
            ..BOTH
        };
        check(if_empty(unreadable), &["meet a for good", "agree"]);
        let going_back = Case {
            local: "c",
            remote: "b",
            pending: Some("b"),
            owed: Some(("c", "b")),
            ..CLEAN
        };
        check(if_empty(going_back), &[]);
        let written_again = Case {
            local: "d",
            ..going_back
        };
        check(if_empty(written_again), &["meet c for good", "push over b"]);
        // What flows one way has no way of writing.
        let pushed = Case {
            direction: Direction::Push,
            ..BOTH
        };
        check(if_empty(pushed), &["conflict local", "push over c"]);
    }
}

#[test]
fn a_field_that_adds_to_a_set_takes_nothing_away_there() {
    let append = |base, local, remote| Case {
        write: WriteMode::Append,
        pending: Some(base),
        local,
        remote,
        ..CLEAN
    };
    check(append("a;b", "a;b;c", "a"), &["meet a;c", "push over a"]);
    check(append("a", "a;c", "a"), &[]);
    check(append("a", "a;b;c", "a;b"), &["push over a;b"]);
    check(append("a;b", "a", "a;b"), &["meet a;b for good", "agree"]);
    check(append("?", "a;c", "c"), &["push over c"]);
    check(append("?", "a", "c"), &["meet c;a", "push over c"]);
}

#[test]
fn a_field_that_both_sides_changed_is_a_conflict_by_its_policy() {
    let check_policy = |policy, set_at, expected: &[&str]| {
        let case = Case {
            policy,
            set_at,
            ..BOTH
        };
        check(case, expected);
    };
    let (theirs, ours) = (
        ["conflict remote", "take c"],
        ["conflict local", "push over c"],
    );
    check_policy(Policy::Remote, None, &theirs);
    check_policy(Policy::Local, None, &ours);
    check_policy(Policy::Manual, None, &["ask"]);
    check_policy(Policy::Newest, None, &["history"]);
    check_policy(Policy::Newest, Some(19), &ours);
    check_policy(Policy::Newest, Some(20), &theirs);
    check_policy(Policy::Newest, Some(21), &theirs);
}

#[test]
fn a_field_of_one_direction_takes_nothing_from_the_other() {
    let pushed = Case {
        direction: Direction::Push,
        remote: "c",
        ..CLEAN
    };
    check(pushed, &["conflict local", "push over c"]);
    let pulled = Case {
        direction: Direction::Pull,
        ..pushed
    };
    check(pulled, &["take c"]);
}

#[test]
fn of_a_row_that_was_just_linked_nobody_knows_what_was_agreed_on() {
    let linked = Case {
        is_just_linked: true,
        ..CLEAN
    };
    check(linked, &["agree"]);
    let check_values = |local, remote, expected: &[&str]| {
        let case = Case {
            local,
            remote,
            ..linked
        };
        check(case, expected);
    };
    check_values("", "c", &["take c"]);
    check_values("b", "", &["push over -"]);
    check_values("b", "c", &["conflict remote", "take c"]);
    let waits = Case {
        pending: Some("?"),
        ..BOTH
    };
    check(waits, &["conflict remote", "take c"]);
}

#[test]
fn what_is_in_flight_waits_for_its_answer() {
    let state = EntryState::InFlight;
    check(Case { state, ..BOTH }, &["deferred"]);
    let invalid = Case {
        is_invalid_there: true,
        state,
        ..BOTH
    };
    check(invalid, &["deferred"]);
}

#[test]
fn an_open_conflict_waits_for_a_person_or_ends_when_the_sides_meet() {
    check(OPEN, &[]);
    let check_values = |local, remote, expected: &[&str]| {
        let case = Case {
            local,
            remote,
            ..OPEN
        };
        check(case, expected);
    };
    check_values("b", "d", &["moved d"]);
    check_values("b", "b", &["close agreed", "agree"]);
    check_values("b", "a", &["close local", "push over a"]);
    check_values("a", "c", &["close remote", "take c"]);
}

#[test]
fn what_can_not_be_read_is_neither_taken_nor_written_over() {
    let here = Case {
        is_unreadable_here: true,
        ..BOTH
    };
    check(here, &["held"]);
    let there = |case: Case| Case {
        is_invalid_there: true,
        ..case
    };
    // Nobody wrote here: the row keeps what it has.
    check(
        there(Case {
            remote: "c",
            ..CLEAN
        }),
        &[],
    );
    check(there(BOTH), &["ask"]);
    // The text is what it was written over.
    check(there(WRITTEN), &[]);
    check(
        there(Case {
            remote: "d",
            ..OPEN
        }),
        &["moved d"],
    );
    check(
        there(Case {
            remote: "a",
            ..OPEN
        }),
        &["close local", "push over a"],
    );
}

/// What befalls a record.
#[derive(Debug, Clone, Copy)]
enum Disturbance {
    /// A program writes it here.
    Write(&'static str),
    /// Somebody edits it in HubSpot.
    Edit(&'static str),
    /// The answer of the next push is lost; the push has landed, or lands a round later.
    LosePush { is_late: bool },
}

/// One record of one field on both sides, with what is kept of it: a model of what the engine does with a plan.
struct World {
    policy: Policy,
    write: WriteMode,
    second: i64,
    local: &'static str,
    /// HubSpot's values, the newest first.
    there: Vec<(&'static str, i64, Author)>,
    pending: Option<(Base, i64)>,
    open: Option<(Base, &'static str)>,
    sent: Vec<(&'static str, i64)>,
    loses_push: Option<bool>,
    late: Option<&'static str>,
    /// Values that somebody wrote and nobody who saw them has written over.
    owed: BTreeSet<&'static str>,
    /// Values that stand in the history or a conflict.
    kept: BTreeSet<&'static str>,
    conflicts: usize,
    /// The last values that were written on each side by somebody.
    written: Option<&'static str>,
    edited: Option<&'static str>,
}

const VALUES: [&str; 5] = ["", "Paris", "Lima", "Oslo", "Rome"];

fn named(value: &Value) -> &'static str {
    let text = value.as_deref().unwrap_or_default();
    VALUES
        .into_iter()
        .find(|known| *known == text)
        .expect("a value of the world")
}

impl World {
    fn new(policy: Policy, write: WriteMode) -> Self {
        Self {
            policy,
            write,
            second: 10,
            local: "Paris",
            there: vec![("Paris", 1, Author::Other)],
            pending: None,
            open: None,
            sent: Vec::new(),
            loses_push: None,
            late: None,
            owed: BTreeSet::new(),
            kept: BTreeSet::new(),
            conflicts: 0,
            written: None,
            edited: None,
        }
    }

    fn disturb(&mut self, disturbance: Disturbance) {
        self.second += 10;
        match disturbance {
            Disturbance::Write(text) if text == self.local => {}
            Disturbance::Write(text) => {
                if self.open.is_none() {
                    let base = match self.pending.take() {
                        Some((base, _)) => base,
                        None => Base::Known(value(self.local)),
                    };
                    let is_back = base == Base::Known(value(text)) && self.sent.is_empty();
                    self.pending = (!is_back).then_some((base, self.second));
                }
                self.owed.remove(self.local);
                self.owed.insert(text);
                self.written = Some(text);
                self.local = text;
            }
            Disturbance::Edit(text) if text == self.shown() => {}
            Disturbance::Edit(text) => {
                self.owed.remove(self.shown());
                self.owed.insert(text);
                self.edited = Some(text);
                self.there.insert(0, (text, self.second, Author::Other));
            }
            Disturbance::LosePush { is_late } => self.loses_push = Some(is_late),
        }
    }

    fn shown(&self) -> &'static str {
        self.there[0].0
    }

    fn version(&self) -> i64 {
        self.there[0].1
    }

    /// Reads and merges, with the history where the plan asks for it, and pushes what waits. Tells whether anything moved.
    fn round(&mut self) -> bool {
        self.second += 10;
        if let Some(late) = self.late.take() {
            // Whom it goes over is the business of the look after a push (`gap`).
            self.owed.remove(self.shown());
            self.there.insert(0, (late, self.second, Author::Us));
        }
        let mut plan = self.plan(false);
        if !plan.need_history.is_empty() {
            plan = self.plan(true);
            assert_eq!(plan.need_history, [], "a history is asked for once");
        }
        let mut moved = false;
        for action in &plan.actions {
            moved |= !matches!(action, FieldAction::Checked { .. });
            self.carry_out(action);
        }
        self.push() || moved
    }

    fn plan(&self, with_history: bool) -> RecordPlan {
        let past = |(text, second, author): &(&str, i64, Author)| PastValue {
            value: value(text),
            at: at(*second),
            author: *author,
            source: ToldSource::default(),
        };
        let histories: Histories = [(city(), self.there.iter().map(past).collect())].into();
        let entry = self
            .pending
            .as_ref()
            .map(|(base, second)| entry(EntryState::Pending, base.clone(), at(*second)));
        let open = self.open.as_ref().map(|(base, remote)| {
            let conflict = OpenConflict {
                id: ConflictId(3),
                base: base.clone(),
                remote: value(remote),
            };
            (city(), conflict)
        });
        let sent = self.sent.iter().map(|(text, over)| SentValue {
            value: value(text),
            over: at(*over),
        });
        merge_record(&RecordInput {
            mapping: &mapping_written(Direction::Both, self.policy, self.write),
            local: &local(self.local),
            entry: entry.as_ref(),
            open: &open.into_iter().collect(),
            remote: &remote(self.shown(), at(self.version())),
            histories: with_history.then_some(&histories),
            sent_earlier: &[(city(), sent.collect())].into(),
            owed: &BTreeMap::new(),
            now: at(self.second),
            clock_offset_ms: 0,
            clean_base: CleanBase::Mirror,
        })
    }

    fn carry_out(&mut self, action: &FieldAction) {
        match action {
            FieldAction::Take { value, old, .. } => {
                // What waited may only be dropped where a conflict keeps it; what was agreed on, nobody misses.
                let agreed = Base::Known(old.clone());
                if self
                    .pending
                    .as_ref()
                    .is_none_or(|(base, _)| *base == agreed)
                {
                    self.kept.insert(named(old));
                }
                self.local = named(value);
                self.pending = None;
            }
            FieldAction::Meet {
                value,
                old,
                gives_up,
                ..
            } => {
                if *gives_up {
                    self.kept.insert(named(old));
                }
                self.local = named(value);
            }
            FieldAction::Agree { .. } | FieldAction::Withhold { .. } => self.pending = None,
            FieldAction::Arrived { value, old, .. }
            | FieldAction::ArrivedBeside { value, old, .. } => {
                self.kept.extend([named(value), named(old)]);
            }
            FieldAction::Checked { .. } => {
                let version = self.version();
                for sent in &mut self.sent {
                    sent.1 = version;
                }
            }
            FieldAction::PushOver { base, .. } => {
                let written = self.pending.as_ref().map(|(_, second)| *second);
                let written = written.unwrap_or(self.version());
                self.pending = Some((Base::Known(base.clone()), written));
            }
            FieldAction::Conflict { note, .. } => {
                self.conflicts += 1;
                self.kept.extend([named(&note.local), named(&note.remote)]);
            }
            FieldAction::Ask { note } => {
                self.conflicts += 1;
                self.open = Some((note.base.clone(), named(&note.remote)));
                self.pending = None;
            }
            FieldAction::RemoteMoved { remote, former, .. } => {
                self.kept.insert(named(former));
                if let Some((_, seen)) = &mut self.open {
                    *seen = named(remote);
                }
            }
            FieldAction::Close { .. } => self.open = None,
        }
    }

    /// Tells whether something was sent.
    fn push(&mut self) -> bool {
        let Some((base, _)) = self.pending.clone().filter(|_| self.open.is_none()) else {
            return false;
        };
        // What a push went over is in its row of the history.
        if let Base::Known(base) = &base {
            self.kept.insert(named(base));
        }
        let over = self.version();
        match self.loses_push.take() {
            None => {
                self.pending = None;
                self.land();
            }
            Some(is_late) => {
                self.sent.push((self.local, over));
                match is_late {
                    true => self.late = Some(self.local),
                    false => self.land(),
                }
            }
        }
        true
    }

    fn land(&mut self) {
        if self.shown() != self.local {
            self.there.insert(0, (self.local, self.second, Author::Us));
        }
    }

    fn assert_at_rest(&self) {
        let seen = self.open.as_ref().map(|(_, remote)| *remote);
        match seen {
            Some(seen) => assert_eq!(seen, self.shown(), "the person sees what is there"),
            None => assert_eq!(self.local, self.shown(), "both sides hold the same"),
        }
        assert_eq!(self.pending, None);
        // Where one side alone was written, by however many requests of ours, it has its way.
        let alone = match (self.written, self.edited) {
            (Some(_), Some(_)) => None,
            (one, other) => one.or(other),
        };
        match (self.write, alone) {
            (WriteMode::Replace, Some(alone)) => {
                assert_eq!((self.local, self.conflicts), (alone, 0));
            }
            (WriteMode::Replace, None) => {}
            (WriteMode::IfEmpty | WriteMode::Append, _) => assert_eq!(self.conflicts, 0),
        }
        for owed in &self.owed {
            let is_there = [self.local, self.shown()].contains(owed);
            assert!(is_there || self.kept.contains(owed), "`{owed}` is lost");
        }
    }
}

/// Rounds after which a record that is left alone is at rest.
const ROUNDS: usize = 4;

fn disturbance() -> impl Strategy<Value = Disturbance> {
    let text = || proptest::sample::select(VALUES.to_vec());
    prop_oneof![
        text().prop_map(Disturbance::Write),
        text().prop_map(Disturbance::Edit),
        any::<bool>().prop_map(|is_late| Disturbance::LosePush { is_late }),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(4_000))]

    #[test]
    fn a_record_that_is_disturbed_twice_comes_to_rest_and_nothing_is_lost(
        policy in proptest::sample::select(Policy::ALL.to_vec()),
        write in proptest::sample::select(vec![WriteMode::Replace, WriteMode::IfEmpty]),
        written in proptest::option::of(proptest::sample::select(VALUES.to_vec())),
        first in disturbance(),
        between in 0_usize..3,
        second in disturbance(),
    ) {
        let mut world = World::new(policy, write);
        // Something may wait already.
        if let Some(written) = written {
            world.disturb(Disturbance::Write(written));
        }
        world.disturb(first);
        for _ in 0..between {
            world.round();
        }
        world.disturb(second);
        for _ in 0..ROUNDS {
            world.round();
        }
        proptest::prop_assert!(!world.round(), "it does not come to rest");
        world.assert_at_rest();
    }
}
