//! One record that both sides have: its fields, each by `merge`, as a list of actions.
//!
//! It writes nothing: `engine::apply` carries the list out in one transaction. Existence is decided in `existence`.
//!
//! | the field | what is done |
//! |---|---|
//! | changed in HubSpot | taken |
//! | changed here | waits to be pushed |
//! | the same on both sides by now | agreed |
//! | changed on both sides | a conflict by its policy, then taken or pushed over; or a person is asked |
//! | changed on both sides, and `newest` wants to know when | its history is read first |
//! | in an open conflict | left alone, until the sides meet or one goes back to what was agreed on |
//! | in flight | its answer first |
//! | written only where HubSpot has none, or adding to a set (`write`) | both sides meet, and what gives way is kept |
//! | can't be read here | held, until its program writes it again |
//! | can't be held here | never taken; a person is asked before it is written over |
//! | perhaps a late request of ours | its history says whose value it is |
//! | a late request of ours, over what somebody had set unseen | what it went over is judged as if it stood there, and what wins goes over ours |

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::echo::{self, Agreed, Histories, SentValue, SentValues};
use crate::decide::merge::{FieldInput, FieldOutcome, Owed, PUSH_ONLY, RemoteTime, merge_field};
use crate::model::conflict::{End, Winner};
use crate::model::entry::{Base, Entry, EntryField, EntryState};
use crate::model::field_values::FieldValues;
use crate::model::id::ConflictId;
use crate::model::mapping::{Direction, FieldMapping, ObjectMapping, Policy, WriteMode};
use crate::model::name::PropertyName;
use crate::model::record::{LocalRecord, RemoteRecord};
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

/// What an open conflict says of itself.
pub const WAITS: &str = "waits for a decision";

/// A conflict that waits for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenConflict {
    /// Its row.
    pub id: ConflictId,
    /// The base that it holds.
    pub base: Base,
    /// HubSpot's value as last seen.
    pub remote: Value,
}

/// How the base of a field without pending change is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanBase<'a> {
    /// It is the mirror's value.
    Mirror,
    /// Nobody knows: the row was just linked to the record, or the column is being filled.
    Unknown,
    /// The values of the row that was deleted and is inserted again.
    Given(&'a FieldValues),
}

impl CleanBase<'_> {
    /// The base of a field whose mirror value is `local`.
    pub fn of(self, property: &PropertyName, local: &Value) -> Base {
        match self {
            Self::Mirror => Base::Known(local.clone()),
            Self::Unknown => Base::Unknown,
            Self::Given(values) => values
                .get(property)
                .cloned()
                .map_or(Base::Unknown, Base::Known),
        }
    }
}

/// A record as both sides have it.
#[derive(Debug)]
pub struct RecordInput<'a> {
    /// The object's mapping.
    pub mapping: &'a ObjectMapping,
    /// The mirror row.
    pub local: &'a LocalRecord,
    /// Its entry, where it has one.
    pub entry: Option<&'a Entry>,
    /// Its open conflicts.
    pub open: &'a BTreeMap<PropertyName, OpenConflict>,
    /// HubSpot's record.
    pub remote: &'a RemoteRecord,
    /// Histories, where they were asked for.
    pub histories: Option<&'a Histories>,
    /// What lost requests of ours carried.
    pub sent_earlier: &'a SentValues,
    /// Values that our writes went over and that are to go back.
    pub owed: &'a BTreeMap<PropertyName, Owed>,
    /// The transaction's time: what claims to be written later, by a program whose clock is ahead, was written by then.
    pub now: Timestamp,
    /// HubSpot's clock minus this machine's.
    pub clock_offset_ms: i64,
    /// What a clean field's base is.
    pub clean_base: CleanBase<'a>,
}

/// A conflict as it is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictNote {
    /// The property.
    pub property: PropertyName,
    /// What both sides agreed on last.
    pub base: Base,
    /// The mirror's value.
    pub local: Value,
    /// HubSpot's value.
    pub remote: Value,
    /// The policy in force.
    pub policy: Policy,
    /// Why it ended as it did.
    pub reason: &'static str,
}

impl ConflictNote {
    /// The value that loses, and the one that stays.
    pub fn losing_first(&self, winner: Winner) -> (&Value, &Value) {
        match winner {
            Winner::Remote => (&self.local, &self.remote),
            Winner::Local | Winner::Value | Winner::Agreed => (&self.remote, &self.local),
        }
    }
}

/// What is to be written for one field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldAction {
    /// The mirror takes HubSpot's value; a pending change of the field is dropped.
    Take {
        /// The property.
        property: PropertyName,
        /// HubSpot's value.
        value: Value,
        /// What the mirror held.
        old: Value,
    },
    /// The mirror takes the value that the way of writing gives; `Agree` or `PushOver` follows it.
    Meet {
        /// The property.
        property: PropertyName,
        /// The value.
        value: Value,
        /// What the mirror held.
        old: Value,
        /// Whether something that was written here gives way: it is kept.
        gives_up: bool,
    },
    /// The pending change is dropped; both sides hold the same.
    Agree {
        /// The property.
        property: PropertyName,
    },
    /// A request of ours whose answer was lost has brought this value to HubSpot.
    Arrived {
        /// The property.
        property: PropertyName,
        /// The value.
        value: Value,
        /// What both sides had agreed on before.
        old: Value,
    },
    /// The same beside an open conflict, which is about what somebody else has set: each answer that shows the value says it
    /// again, and it is written down once.
    ArrivedBeside {
        /// The conflict.
        id: ConflictId,
        /// The property.
        property: PropertyName,
        /// The value.
        value: Value,
        /// What it went over.
        old: Value,
    },
    /// The property's history was asked up to the record's present version: what a lost request still brings is later.
    Checked {
        /// The property.
        property: PropertyName,
    },
    /// The mirror's value is to be pushed over this base.
    PushOver {
        /// The property.
        property: PropertyName,
        /// HubSpot's value, the base from here on.
        base: Value,
    },
    /// A conflict that the policy decided; `Take` or `PushOver` follows it.
    Conflict {
        /// What is written down.
        note: ConflictNote,
        /// `Local` or `Remote`.
        winner: Winner,
    },
    /// A conflict for a person: the field's base moves into it.
    Ask {
        /// What is written down.
        note: ConflictNote,
    },
    /// An open conflict saw another value of HubSpot's.
    RemoteMoved {
        /// The conflict.
        id: ConflictId,
        /// The property.
        property: PropertyName,
        /// The new value.
        remote: Value,
        /// The former one.
        former: Value,
    },
    /// The guard holds that HubSpot emptied the field: the mirror keeps its value until an operator has said something, and a
    /// pending change of the field is dropped.
    Withhold {
        /// The property.
        property: PropertyName,
        /// The conflict that HubSpot's empty value has won, where that was one.
        note: Option<ConflictNote>,
    },
    /// An open conflict ended by itself; `Take`, `Agree`, `PushOver` or `Withhold` follows it.
    Close {
        /// The conflict.
        id: ConflictId,
        /// How it ended.
        winner: Winner,
    },
}

impl FieldAction {
    /// The property that it is about; an open conflict that ends is followed by what names it.
    fn property(&self) -> Option<&PropertyName> {
        match self {
            Self::Take { property, .. }
            | Self::Meet { property, .. }
            | Self::Agree { property }
            | Self::Arrived { property, .. }
            | Self::ArrivedBeside { property, .. }
            | Self::Checked { property }
            | Self::PushOver { property, .. }
            | Self::Withhold { property, .. }
            | Self::RemoteMoved { property, .. } => Some(property),
            Self::Conflict { note, .. } | Self::Ask { note } => Some(&note.property),
            Self::Close { .. } => None,
        }
    }
}

/// What became of a field that the sides did not agree on, or no longer differ in. A change that waits as before is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MergeOutcome {
    /// The row took HubSpot's value.
    Taken,
    /// The row's value is to go out, though no program has written it since both sides agreed.
    Kept,
    /// Both sides came to the same.
    Agreed,
    /// The row took the value that the way of writing gives.
    Met,
    /// The policy decided a conflict.
    Decided,
    /// A conflict waits for a person.
    Asked,
    /// A conflict that waited ended by itself.
    Closed,
}

impl MergeOutcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Taken,
        Self::Kept,
        Self::Agreed,
        Self::Met,
        Self::Decided,
        Self::Asked,
        Self::Closed,
    ];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Kept => "kept",
            Self::Agreed => "agreed",
            Self::Met => "met",
            Self::Decided => "decided",
            Self::Asked => "asked",
            Self::Closed => "closed",
        }
    }
}

/// The decision on one record.
#[derive(Debug, Default, PartialEq)]
pub struct RecordPlan {
    /// What is to be written, in order.
    pub actions: Vec<FieldAction>,
    /// Properties whose history must be read first; their fields are left as they are.
    pub need_history: Vec<PropertyName>,
    /// Properties whose local value can't be read: they wait for the program that wrote them, and HubSpot's value is not
    /// taken over bytes that nobody has seen.
    pub held: Vec<PropertyName>,
    /// Some fields are in flight: the record is to be read again once they are settled.
    pub deferred: bool,
}

impl RecordPlan {
    /// Leaves these fields as they are on each side: the guard holds them.
    pub fn leave(&mut self, held: &BTreeSet<PropertyName>) {
        let is_held = |property: &PropertyName| held.contains(property);
        self.actions
            .retain(|action| !action.property().is_some_and(is_held));
        self.need_history.retain(|property| !is_held(property));
    }

    /// What becomes of its fields, each at most once: what a field's first action says; those that follow carry it out.
    pub fn outcomes(&self) -> Vec<MergeOutcome> {
        let mut outcomes = Vec::new();
        let mut of = None;
        for action in &self.actions {
            let outcome = match action {
                FieldAction::Take { .. } => MergeOutcome::Taken,
                FieldAction::Meet { .. } => MergeOutcome::Met,
                FieldAction::Agree { .. } => MergeOutcome::Agreed,
                FieldAction::PushOver { .. } => MergeOutcome::Kept,
                FieldAction::Conflict { .. } => MergeOutcome::Decided,
                FieldAction::Ask { .. } => MergeOutcome::Asked,
                FieldAction::Close { .. } => {
                    outcomes.push(MergeOutcome::Closed);
                    of = Some(None);
                    continue;
                }
                FieldAction::Arrived { .. }
                | FieldAction::ArrivedBeside { .. }
                | FieldAction::Checked { .. }
                | FieldAction::Withhold { note: None, .. }
                | FieldAction::RemoteMoved { .. } => continue,
                FieldAction::Withhold { note: Some(_), .. } => MergeOutcome::Decided,
            };
            let is_told = match of {
                // What follows the end of a conflict is about the same field.
                Some(None) => true,
                Some(told) => told == action.property(),
                None => false,
            };
            if !is_told {
                outcomes.push(outcome);
            }
            of = Some(action.property());
        }
        outcomes
    }

    /// Fields that HubSpot empties, as they would be taken: clean ones, and those whose pending change loses to that. One that is
    /// pushed over afterwards is not empty for long.
    pub fn emptied(&self) -> Vec<PropertyName> {
        let is_taken = |property: &PropertyName| {
            let mut actions = self.actions.iter();
            actions.all(|action| {
                action.property() != Some(property)
                    || !matches!(action, FieldAction::PushOver { .. })
            })
        };
        let mut taken = Vec::new();
        for action in &self.actions {
            if let FieldAction::Take {
                property,
                value,
                old,
            } = action
                && value.is_empty()
                && !old.is_empty()
                && is_taken(property)
            {
                taken.push(property.clone());
            }
        }
        taken
    }

    /// Has the mirror keep its values of these fields, which HubSpot empties: the guard holds that.
    pub fn withhold(&mut self, held: &BTreeSet<PropertyName>) {
        let mut notes = BTreeMap::new();
        self.actions.retain(|action| {
            let FieldAction::Conflict { note, .. } = action else {
                return true;
            };
            let is_held = held.contains(&note.property);
            if is_held {
                notes.insert(note.property.clone(), note.clone());
            }
            !is_held
        });
        for action in &mut self.actions {
            if let FieldAction::Take { property, .. } = action
                && held.contains(property)
            {
                let note = notes.remove(property);
                *action = FieldAction::Withhold {
                    property: property.clone(),
                    note,
                };
            }
        }
    }
}

/// Decides every mapped field that the record's answer carried.
pub fn merge_record(input: &RecordInput<'_>) -> RecordPlan {
    let mut plan = RecordPlan::default();
    for (position, field) in input.mapping.fields.iter().enumerate() {
        let local = input
            .local
            .values
            .near(position, &field.property)
            .unwrap_or(&Value::EMPTY);
        if is_held(input, field) {
            plan.held.push(field.property.clone());
            continue;
        }
        if let Some(text) = input.remote.invalid.get(&field.property) {
            merge_unreadable(&mut plan, input, field, local, text);
        }
        let Some(remote) = input.remote.values.near(position, &field.property) else {
            continue;
        };
        match input.open.get(&field.property) {
            Some(open) => merge_open(&mut plan, input, field, open, local, remote),
            None => merge_plain(&mut plan, input, field, local, remote),
        }
    }
    plan
}

/// Whether a field is a local write that can't be read.
fn is_held(input: &RecordInput<'_>, field: &FieldMapping) -> bool {
    let property = &field.property;
    let is_written = || {
        let pending = input.entry.and_then(|entry| pending_field(entry, property));
        pending.is_some() || input.clean_base != CleanBase::Mirror
    };
    field.direction.pushes()
        && input.local.unreadable.contains(property)
        && !input.open.contains_key(property)
        && is_written()
}

fn merge_plain(
    plan: &mut RecordPlan,
    input: &RecordInput<'_>,
    field: &FieldMapping,
    local: &Value,
    remote: &Value,
) {
    let pending = input
        .entry
        .and_then(|entry| pending_field(entry, &field.property));
    if input
        .entry
        .is_some_and(|entry| entry.standing.state == EntryState::InFlight)
        && pending.is_some()
    {
        plan.deferred = true;
        return;
    }
    let sent = sent_of(input, field);
    // Most fields of most answers: what both sides agreed on last is what both still hold.
    let is_untouched =
        pending.is_none() && input.clean_base == CleanBase::Mirror && sent.is_empty();
    if is_untouched && local == remote && !input.owed.contains_key(&field.property) {
        return;
    }
    let base = match pending {
        Some(pending) => pending.base.clone(),
        None => input.clean_base.of(&field.property, local),
    };
    let history = history_of(input, &field.property);
    let agreed = echo::agreed(&echo::SentField {
        kind: field.property_type,
        base: &base,
        local,
        remote,
        pending: pending.is_some(),
        sent,
        history,
        updated_at: input.remote.updated_at,
    });
    if history.is_some() && !sent.is_empty() {
        plan.actions.push(FieldAction::Checked {
            property: field.property.clone(),
        });
    }
    let former = base.or_empty().clone();
    let arrived = |value: &Value, old: &Value| FieldAction::Arrived {
        property: field.property.clone(),
        value: value.clone(),
        old: old.clone(),
    };
    let mut gone_over = None;
    let (base, is_stored) = match agreed {
        Agreed::NeedHistory => return plan.need_history.push(field.property.clone()),
        Agreed::AsKnown => (base, pending.is_some()),
        Agreed::Unsure => (Base::Unknown, false),
        Agreed::Landed(value) => {
            plan.actions.push(arrived(&value, &former));
            (Base::Known(value), false)
        }
        Agreed::LandedOver { value, over } => {
            plan.actions.push(arrived(&value, &over.value));
            gone_over = Some(over);
            (base, false)
        }
    };
    let sides = FieldSides {
        base: &base,
        local,
        remote: gone_over.as_ref().map_or(remote, |over| &over.value),
        holds: gone_over.is_some().then_some(remote),
    };
    let written_at = pending
        .map(|pending| pending.changed_at)
        .or_else(|| create_time(input.entry, input.clean_base));
    let outcome = merge_field(&FieldInput {
        kind: field.property_type,
        direction: field.direction,
        write: field.write_mode(),
        owed: input.owed.get(&field.property),
        policy: field.policy,
        base: &base,
        local,
        remote: sides.remote,
        local_changed_at: written_at.map(|at| at.min(input.now).plus_millis(input.clock_offset_ms)),
        remote_changed_at: match &gone_over {
            Some(over) => RemoteTime::At(over.at),
            None => remote_time(input, &field.property),
        },
        record_updated_at: input.remote.updated_at,
    });
    if gone_over.is_some() {
        if outcome == FieldOutcome::Ask {
            // Each answer that shows the value must tell again whose it is: the conflict is about what it went over.
            plan.actions.retain(|action| {
                !matches!(action, FieldAction::Checked { property } if *property == field.property)
            });
        }
        return write_over_late(plan, field, outcome, sides);
    }
    if outcome == FieldOutcome::Agreed && echo::is_sent(field.property_type, sent, remote) {
        plan.actions.push(arrived(remote, &former));
    }
    write_outcome(plan, field, outcome, sides, is_stored);
}

/// A field's values, as they are judged.
#[derive(Clone, Copy)]
struct FieldSides<'a> {
    base: &'a Base,
    local: &'a Value,
    /// HubSpot's, or what a late request of ours went over there.
    remote: &'a Value,
    /// What that request has brought, and HubSpot holds.
    holds: Option<&'a Value>,
}

/// Why a value of HubSpot's comes back that a late request of ours went over.
const COMES_BACK: &str =
    "a request of ours landed late, over what was set in HubSpot after it: that goes back";

/// Why a value of HubSpot's does not come back that a late request of ours went over.
const STAYS_GONE: &str = "a request of ours landed late, over what was set in HubSpot after it";

/// Writes down what a late request of ours went over, and what is to stand in the place of what it brought.
fn write_over_late(
    plan: &mut RecordPlan,
    field: &FieldMapping,
    outcome: FieldOutcome,
    sides: FieldSides<'_>,
) {
    let told = match outcome {
        FieldOutcome::Conflict { .. } | FieldOutcome::Ask | FieldOutcome::NeedHistory => None,
        FieldOutcome::Nothing | FieldOutcome::PushLocal => Some((Winner::Local, STAYS_GONE)),
        FieldOutcome::TakeRemote | FieldOutcome::Agreed | FieldOutcome::Meet { .. } => {
            Some((Winner::Remote, COMES_BACK))
        }
    };
    write_outcome(plan, field, outcome, sides, false);
    if let Some((winner, reason)) = told {
        let note = ConflictNote {
            property: field.property.clone(),
            base: sides.base.clone(),
            local: sides.holds.unwrap_or(sides.local).clone(),
            remote: sides.remote.clone(),
            policy: field.policy,
            reason,
        };
        plan.actions.push(FieldAction::Conflict { note, winner });
    }
}

/// Why a person decides about a value that can't be read.
pub const UNREADABLE: &str =
    "HubSpot's value is not of the column's type, and would be lost under the value here";

/// HubSpot's value is text that the column can't hold: it is never taken, and nothing goes over it unless somebody who has
/// seen it says so.
fn merge_unreadable(
    plan: &mut RecordPlan,
    input: &RecordInput<'_>,
    field: &FieldMapping,
    local: &Value,
    text: &Value,
) {
    if let Some(open) = input.open.get(&field.property) {
        return merge_open_unreadable(plan, field, open, text);
    }
    let pending = input
        .entry
        .and_then(|entry| pending_field(entry, &field.property));
    let base = match (pending, input.clean_base) {
        (Some(pending), _) => &pending.base,
        // Nobody has written here: the row keeps what it has.
        (None, CleanBase::Mirror) if field.direction.pulls() => return,
        (None, CleanBase::Mirror | CleanBase::Unknown | CleanBase::Given(_))
            if local.is_empty() =>
        {
            return;
        }
        (None, CleanBase::Mirror | CleanBase::Unknown) => &Base::Unknown,
        (None, CleanBase::Given(values)) if values.get(&field.property) == Some(local) => return,
        (None, CleanBase::Given(_)) => &Base::Unknown,
    };
    let in_flight = input
        .entry
        .is_some_and(|entry| entry.standing.state == EntryState::InFlight);
    if in_flight && pending.is_some() {
        plan.deferred = true;
        return;
    }
    if matches!(base, Base::Known(base) if base == text) {
        return;
    }
    let note = |reason| ConflictNote {
        property: field.property.clone(),
        base: base.clone(),
        local: local.clone(),
        remote: text.clone(),
        policy: field.policy,
        reason,
    };
    match field.direction {
        Direction::Pull => {}
        Direction::Push => plan.actions.extend([
            FieldAction::Conflict {
                note: note(PUSH_ONLY),
                winner: Winner::Local,
            },
            FieldAction::PushOver {
                property: field.property.clone(),
                base: text.clone(),
            },
        ]),
        // Nothing goes over what HubSpot has, whatever that is: what was written here gives way to what was agreed on.
        Direction::Both if field.write_mode() == WriteMode::IfEmpty => plan.actions.extend([
            FieldAction::Meet {
                property: field.property.clone(),
                value: base.or_empty().clone(),
                old: local.clone(),
                gives_up: true,
            },
            FieldAction::Agree {
                property: field.property.clone(),
            },
        ]),
        Direction::Both => plan.actions.push(FieldAction::Ask {
            note: note(UNREADABLE),
        }),
    }
}

fn merge_open_unreadable(
    plan: &mut RecordPlan,
    field: &FieldMapping,
    open: &OpenConflict,
    text: &Value,
) {
    let property = || field.property.clone();
    if matches!(&open.base, Base::Known(base) if base == text) {
        plan.actions.extend([
            FieldAction::Close {
                id: open.id,
                winner: Winner::Local,
            },
            FieldAction::PushOver {
                property: property(),
                base: text.clone(),
            },
        ]);
    } else if open.remote != *text {
        plan.actions.push(FieldAction::RemoteMoved {
            id: open.id,
            property: property(),
            remote: text.clone(),
            former: open.remote.clone(),
        });
    }
}

fn pending_field<'a>(entry: &'a Entry, property: &PropertyName) -> Option<&'a EntryField> {
    entry
        .fields
        .iter()
        .find(|field| &field.property == property)
}

/// A row that waits for its create was written when it was queued.
fn create_time(entry: Option<&Entry>, clean_base: CleanBase<'_>) -> Option<Timestamp> {
    entry
        .filter(|_| clean_base != CleanBase::Mirror)
        .map(|entry| entry.standing.enqueued_at)
}

/// When the mirror's values were written that have no change of their own on disk, by this machine's clock: what is queued
/// for them must not be younger than they are. With the row's create; otherwise no later than the record's version, over
/// which a value goes that nobody has written since.
pub fn written_at(
    entry: Option<&Entry>,
    clean_base: CleanBase<'_>,
    record_updated_at: Timestamp,
    clock_offset_ms: i64,
) -> Timestamp {
    create_time(entry, clean_base)
        .unwrap_or_else(|| record_updated_at.plus_millis(-clock_offset_ms))
}

fn sent_of<'a>(input: &RecordInput<'a>, field: &FieldMapping) -> &'a [SentValue] {
    input
        .sent_earlier
        .get(&field.property)
        .map_or(&[], Vec::as_slice)
}

fn history_of<'a>(
    input: &RecordInput<'a>,
    property: &PropertyName,
) -> Option<&'a [echo::PastValue]> {
    Some(input.histories?.get(property)?.as_slice())
}

fn remote_time(input: &RecordInput<'_>, property: &PropertyName) -> RemoteTime {
    match history_of(input, property) {
        None => RemoteTime::NotAsked,
        Some(history) => history
            .first()
            .map_or(RemoteTime::Missing, |present| RemoteTime::At(present.at)),
    }
}

fn write_outcome(
    plan: &mut RecordPlan,
    field: &FieldMapping,
    outcome: FieldOutcome,
    sides: FieldSides<'_>,
    is_stored: bool,
) {
    let FieldSides {
        base,
        local,
        remote,
        holds,
    } = sides;
    let holds = holds.unwrap_or(remote);
    let is_over = !field.property_type.same(holds, remote);
    let property = || field.property.clone();
    let take = || FieldAction::Take {
        property: property(),
        value: remote.clone(),
        old: local.clone(),
    };
    let push = || FieldAction::PushOver {
        property: property(),
        base: holds.clone(),
    };
    let note = |reason| ConflictNote {
        property: property(),
        base: base.clone(),
        local: local.clone(),
        remote: remote.clone(),
        policy: field.policy,
        reason,
    };
    match outcome {
        FieldOutcome::Nothing | FieldOutcome::Agreed if is_over => plan.actions.push(push()),
        FieldOutcome::Nothing => {
            // A pending field whose value went back to its base while an attempt was unanswered.
            if is_stored {
                plan.actions.push(FieldAction::Agree {
                    property: property(),
                });
            }
        }
        FieldOutcome::TakeRemote => {
            plan.actions.push(take());
            plan.actions.extend(is_over.then(push));
        }
        FieldOutcome::Agreed => plan.actions.push(FieldAction::Agree {
            property: property(),
        }),
        FieldOutcome::PushLocal => {
            if !is_stored || !base.is_same(field.property_type, remote) {
                plan.actions.push(push());
            }
        }
        FieldOutcome::Meet { value, gives_up } => {
            let goes_out = !field.property_type.same(&value, holds);
            plan.actions.push(FieldAction::Meet {
                property: property(),
                value,
                old: local.clone(),
                gives_up,
            });
            plan.actions.push(match goes_out {
                true => push(),
                false => FieldAction::Agree {
                    property: property(),
                },
            });
        }
        FieldOutcome::Conflict { winner, reason } => {
            plan.actions.push(FieldAction::Conflict {
                note: note(reason),
                winner,
            });
            let takes = winner == Winner::Remote;
            plan.actions.extend(takes.then(take));
            plan.actions.extend((!takes || is_over).then(push));
        }
        FieldOutcome::Ask => plan.actions.push(FieldAction::Ask { note: note(WAITS) }),
        FieldOutcome::NeedHistory => plan.need_history.push(property()),
    }
}

fn merge_open(
    plan: &mut RecordPlan,
    input: &RecordInput<'_>,
    field: &FieldMapping,
    open: &OpenConflict,
    local: &Value,
    remote: &Value,
) {
    let property = || field.property.clone();
    let arrived = |value: Value, old: Value| FieldAction::ArrivedBeside {
        id: open.id,
        property: property(),
        value,
        old,
    };
    let sent = sent_of(input, field);
    let agreed = echo::agreed(&echo::SentField {
        kind: field.property_type,
        base: &open.base,
        local,
        remote,
        // What HubSpot held in between was seen when the conflict was opened.
        pending: false,
        sent,
        history: history_of(input, &field.property),
        updated_at: input.remote.updated_at,
    });
    match agreed {
        Agreed::NeedHistory => return plan.need_history.push(property()),
        // A late request of ours: the conflict is about what somebody else had set.
        Agreed::Landed(value) => return plan.actions.push(arrived(value, open.remote.clone())),
        Agreed::LandedOver { value, over } => {
            plan.actions.extend(moved(field, open, &over.value));
            return plan.actions.push(arrived(value, over.value));
        }
        Agreed::AsKnown | Agreed::Unsure => {}
    }
    if let Some(winner) = judge_open(field.property_type, &open.base, local, remote) {
        let is_ours = echo::is_sent(field.property_type, sent, remote);
        if winner == Winner::Agreed && is_ours {
            plan.actions
                .push(arrived(remote.clone(), open.remote.clone()));
        }
        plan.actions.push(FieldAction::Close {
            id: open.id,
            winner,
        });
        plan.actions.push(match winner {
            Winner::Remote => FieldAction::Take {
                property: property(),
                value: remote.clone(),
                old: local.clone(),
            },
            Winner::Local | Winner::Value => FieldAction::PushOver {
                property: property(),
                base: remote.clone(),
            },
            Winner::Agreed => FieldAction::Agree {
                property: property(),
            },
        });
    } else {
        plan.actions.extend(moved(field, open, remote));
    }
}

/// What an open conflict is told of a value that somebody set in HubSpot.
fn moved(field: &FieldMapping, open: &OpenConflict, remote: &Value) -> Option<FieldAction> {
    let moved = !field.property_type.same(&open.remote, remote);
    moved.then(|| FieldAction::RemoteMoved {
        id: open.id,
        property: field.property.clone(),
        remote: remote.clone(),
        former: open.remote.clone(),
    })
}

/// Whether an open conflict has ended by itself: both sides equal, or one of them back at the base.
pub(crate) fn judge_open(
    kind: PropertyType,
    base: &Base,
    local: &Value,
    remote: &Value,
) -> Option<Winner> {
    if kind.same(local, remote) {
        return Some(Winner::Agreed);
    }
    match base {
        Base::Known(base) if kind.same(base, remote) => Some(Winner::Local),
        Base::Known(base) if kind.same(base, local) => Some(Winner::Remote),
        Base::Known(_) | Base::Unknown => None,
    }
}

/// How an open conflict ends that nobody decided.
pub fn ended_by_itself(winner: Winner) -> End<'static> {
    End {
        winner,
        resolution: match winner {
            Winner::Agreed | Winner::Value => "agreed",
            Winner::Local | Winner::Remote => "returned to base",
        },
        reason: reason_of_end(winner),
    }
}

/// Why an open conflict ended by itself.
fn reason_of_end(winner: Winner) -> &'static str {
    match winner {
        Winner::Local => "HubSpot's value went back to what both sides had agreed on",
        Winner::Remote => "the value here went back to what both sides had agreed on",
        Winner::Agreed | Winner::Value => "both sides came to hold the same value",
    }
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod pairs;

#[cfg(test)]
mod tests {
    use super::cases::{at, city, mapping};
    use super::*;
    use crate::decide::echo::{Author, PastValue, ToldSource};
    use crate::model::entry::{Operation, Standing};
    use crate::model::id::{HubspotId, LocalId, OutboxId};

    fn value(text: &str) -> Value {
        Value::from_canonical(text)
    }

    /// A row in doubt: "Lima" was sent over the version of second 10 and its answer lost. `base` is the pending field's.
    struct Doubt {
        policy: Policy,
        base: Option<&'static str>,
        local: &'static str,
        remote: &'static str,
        open: Option<(&'static str, &'static str)>,
        history: Option<Vec<(&'static str, Author, i64)>>,
    }

    fn plan(doubt: &Doubt) -> RecordPlan {
        let field = |base: &str| EntryField {
            property: city(),
            base: Base::Known(value(base)),
            changed_at: at(15),
            sent: None,
        };
        let entry = doubt.base.map(|base| Entry {
            id: OutboxId(1),
            local_id: LocalId(1),
            standing: Standing {
                hs_id: Some(HubspotId(7)),
                operation: Operation::Update,
                state: EntryState::Pending,
                attempts: 1,
                enqueued_at: at(11),
                ..Standing::NOTHING
            },
            version: 1,
            key: None,
            row: None,
            fields: vec![field(base)],
        });
        let open = doubt.open.map(|(base, remote)| {
            let conflict = OpenConflict {
                id: ConflictId(3),
                base: Base::Known(value(base)),
                remote: value(remote),
            };
            (city(), conflict)
        });
        let histories: Option<Histories> = doubt.history.as_ref().map(|history| {
            let past = |(text, author, when): &(&str, Author, i64)| PastValue {
                value: value(text),
                at: at(*when),
                author: *author,
                source: ToldSource::default(),
            };
            [(city(), history.iter().map(past).collect())].into()
        });
        let sent = SentValue {
            value: value("Lima"),
            over: at(10),
        };
        merge_record(&RecordInput {
            mapping: &mapping(Direction::Both, doubt.policy),
            local: &LocalRecord {
                local_id: LocalId(1),
                hs_id: Some(HubspotId(7)),
                modified_at: Some(at(10)),
                unreadable: std::collections::BTreeSet::new(),
                values: FieldValues::from_iter([(city(), value(doubt.local))]),
            },
            entry: entry.as_ref(),
            open: &open.into_iter().collect(),
            remote: &RemoteRecord {
                id: HubspotId(7),
                values: FieldValues::from_iter([(city(), value(doubt.remote))]),
                invalid: BTreeMap::new(),
                created_at: at(1),
                updated_at: at(30),
                archived: false,
                archived_at: None,
                merged_ids: Vec::new(),
                own_key: None,
                other_emails: Vec::new(),
                pipeline: None,
            },
            histories: histories.as_ref(),
            sent_earlier: &[(city(), vec![sent])].into(),
            owed: &BTreeMap::new(),
            now: at(60),
            clock_offset_ms: 0,
            clean_base: CleanBase::Mirror,
        })
    }

    fn arrived(old: &str) -> FieldAction {
        FieldAction::Arrived {
            property: city(),
            value: value("Lima"),
            old: value(old),
        }
    }

    fn arrived_beside(old: &str) -> FieldAction {
        FieldAction::ArrivedBeside {
            id: ConflictId(3),
            property: city(),
            value: value("Lima"),
            old: value(old),
        }
    }

    fn push_over(base: &str) -> FieldAction {
        FieldAction::PushOver {
            property: city(),
            base: value(base),
        }
    }

    fn checked() -> FieldAction {
        FieldAction::Checked { property: city() }
    }

    const LATE: Doubt = Doubt {
        policy: Policy::Remote,
        base: Some("Paris"),
        local: "Oslo",
        remote: "Lima",
        open: None,
        history: None,
    };

    #[test]
    fn what_a_lost_update_brought_is_pushed_over_and_written_down() {
        assert_eq!(plan(&LATE).need_history, [city()]);
        let told = plan(&Doubt {
            history: Some(vec![("Lima", Author::Us, 30), ("Paris", Author::Other, 1)]),
            ..LATE
        });
        assert_eq!(
            told.actions,
            [checked(), arrived("Paris"), push_over("Lima")]
        );
        let agreed = plan(&Doubt {
            local: "Lima",
            ..LATE
        });
        let agree = FieldAction::Agree { property: city() };
        assert_eq!(agreed.actions, [arrived("Paris"), agree]);
    }

    /// `Oslo` was sent and answered, somebody set `Kiel`, and then the lost request landed.
    fn over_kiel() -> Vec<(&'static str, Author, i64)> {
        vec![
            ("Lima", Author::Us, 30),
            ("Kiel", Author::Other, 28),
            ("Oslo", Author::Us, 20),
        ]
    }

    fn take_kiel() -> FieldAction {
        FieldAction::Take {
            property: city(),
            value: value("Kiel"),
            old: value("Oslo"),
        }
    }

    /// The winner and the two values of each conflict of a plan.
    fn told(plan: &RecordPlan) -> Vec<(Option<Winner>, Value, Value)> {
        let told = plan.actions.iter().filter_map(|action| match action {
            FieldAction::Conflict { note, winner } => Some((Some(*winner), note)),
            FieldAction::Ask { note } => Some((None, note)),
            FieldAction::Take { .. }
            | FieldAction::Meet { .. }
            | FieldAction::Agree { .. }
            | FieldAction::Withhold { .. }
            | FieldAction::Arrived { .. }
            | FieldAction::ArrivedBeside { .. }
            | FieldAction::Checked { .. }
            | FieldAction::PushOver { .. }
            | FieldAction::RemoteMoved { .. }
            | FieldAction::Close { .. } => None,
        });
        told.map(|(winner, note)| (winner, note.local.clone(), note.remote.clone()))
            .collect()
    }

    #[test]
    fn what_a_late_request_went_over_comes_back_where_nobody_has_written_since() {
        for policy in [
            Policy::Remote,
            Policy::Local,
            Policy::Newest,
            Policy::Manual,
        ] {
            let plan = plan(&Doubt {
                policy,
                base: None,
                history: Some(over_kiel()),
                ..LATE
            });
            let [a, b, c, d, FieldAction::Conflict { .. }] = &plan.actions[..] else {
                panic!("{:?}", plan.actions);
            };
            assert_eq!(
                [a, b, c, d],
                [
                    &checked(),
                    &arrived("Kiel"),
                    &take_kiel(),
                    &push_over("Lima")
                ]
            );
            let kept = (Some(Winner::Remote), value("Lima"), value("Kiel"));
            assert_eq!(told(&plan), [kept]);
        }
    }

    #[test]
    fn what_a_late_request_went_over_is_judged_against_what_waits_here() {
        let judged = |policy| {
            plan(&Doubt {
                policy,
                base: Some("Paris"),
                history: Some(over_kiel()),
                ..LATE
            })
        };
        let both = || (value("Oslo"), value("Kiel"));
        // Written here at 15, and there at 28.
        for policy in [Policy::Remote, Policy::Newest] {
            let plan = judged(policy);
            assert_eq!(told(&plan), [(Some(Winner::Remote), both().0, both().1)]);
            assert_eq!(plan.actions[3..], [take_kiel(), push_over("Lima")]);
        }
        let local = judged(Policy::Local);
        assert_eq!(told(&local), [(Some(Winner::Local), both().0, both().1)]);
        assert_eq!(local.actions[3..], [push_over("Lima")]);
        let asked = judged(Policy::Manual);
        assert_eq!(told(&asked), [(None, both().0, both().1)]);
        assert_eq!(asked.actions[..1], [arrived("Kiel")]);
        assert_eq!(asked.actions.len(), 2);
    }

    #[test]
    fn an_open_conflict_is_told_of_what_a_late_request_went_over() {
        let open = |remote| {
            plan(&Doubt {
                policy: Policy::Manual,
                base: None,
                open: Some(("Paris", remote)),
                history: Some(over_kiel()),
                ..LATE
            })
        };
        let moved = FieldAction::RemoteMoved {
            id: ConflictId(3),
            property: city(),
            remote: value("Kiel"),
            former: value("Rome"),
        };
        assert_eq!(open("Rome").actions, [moved, arrived_beside("Kiel")]);
        assert_eq!(open("Kiel").actions, [arrived_beside("Kiel")]);
    }

    #[test]
    fn an_undo_of_a_lost_update_is_taken_and_the_undone_value_kept() {
        let undone = plan(&Doubt {
            local: "Lima",
            remote: "Paris",
            history: Some(vec![("Paris", Author::Other, 30), ("Lima", Author::Us, 20)]),
            ..LATE
        });
        let take = FieldAction::Take {
            property: city(),
            value: value("Paris"),
            old: value("Lima"),
        };
        assert_eq!(undone.actions, [checked(), arrived("Paris"), take]);
    }

    #[test]
    fn an_update_that_has_not_landed_waits_on_and_is_not_asked_for_twice() {
        let waits = Doubt {
            local: "Lima",
            remote: "Paris",
            history: Some(vec![("Paris", Author::Other, 1)]),
            ..LATE
        };
        assert_eq!(plan(&waits).actions, [checked()]);
    }

    #[test]
    fn a_value_of_an_unknown_app_is_kept_beside_ours() {
        for base in [Some("Paris"), None] {
            let unsure = plan(&Doubt {
                base,
                history: Some(vec![("Lima", Author::SomeApp, 30)]),
                ..LATE
            });
            let conflict = unsure.actions.iter().any(|action| {
                matches!(action, FieldAction::Conflict { note, winner: Winner::Remote }
                    if note.base == Base::Unknown && note.local == value("Oslo") && note.remote == value("Lima"))
            });
            assert!(conflict, "{:?}", unsure.actions);
        }
    }

    #[test]
    fn each_field_has_one_outcome_whatever_is_written_for_it() {
        use MergeOutcome::{Agreed, Asked, Closed, Decided, Kept, Met, Taken};

        let property = |name: &str| PropertyName::parse(name).expect("a name");
        let take = |name: &str| FieldAction::Take {
            property: property(name),
            value: value("Oslo"),
            old: value("Rome"),
        };
        let push = |name: &str| FieldAction::PushOver {
            property: property(name),
            base: value("Oslo"),
        };
        let agree = |name: &str| FieldAction::Agree {
            property: property(name),
        };
        let meet = |name: &str| FieldAction::Meet {
            property: property(name),
            value: value("Oslo"),
            old: value("Rome"),
            gives_up: false,
        };
        let note = |name: &str| ConflictNote {
            property: property(name),
            base: Base::Unknown,
            local: value("Oslo"),
            remote: value("Rome"),
            policy: Policy::Remote,
            reason: UNREADABLE,
        };
        let decide = |name: &str, winner| FieldAction::Conflict {
            note: note(name),
            winner,
        };
        let close = || FieldAction::Close {
            id: ConflictId(3),
            winner: Winner::Agreed,
        };
        let check = |actions: Vec<FieldAction>, expected: &[MergeOutcome]| {
            let plan = RecordPlan {
                actions,
                ..RecordPlan::default()
            };
            assert_eq!(plan.outcomes(), expected, "{:?}", plan.actions);
        };
        check(vec![], &[]);
        check(vec![take("a"), take("b")], &[Taken, Taken]);
        check(vec![take("a"), push("a"), push("b")], &[Taken, Kept]);
        check(vec![agree("a"), agree("b")], &[Agreed, Agreed]);
        check(
            vec![meet("a"), agree("a"), meet("b"), push("b")],
            &[Met, Met],
        );
        let decided = |name: &str| {
            [
                decide(name, Winner::Remote),
                take(name),
                decide(&format!("{name}2"), Winner::Local),
                push(&format!("{name}2")),
            ]
        };
        check(decided("a").into(), &[Decided, Decided]);
        check(
            vec![FieldAction::Ask { note: note("a") }, agree("b")],
            &[Asked, Agreed],
        );
        check(vec![close(), take("a"), take("b")], &[Closed, Taken]);
        check(
            vec![close(), agree("a"), close(), push("b")],
            &[Closed, Closed],
        );
        // What a lost request brought, and a history that was asked for, are beside the outcome.
        check(vec![checked(), arrived("Rome"), agree("city")], &[Agreed]);
        check(vec![checked()], &[]);
        let words = MergeOutcome::ALL.map(MergeOutcome::as_str);
        assert_eq!(
            words.into_iter().collect::<BTreeSet<_>>().len(),
            words.len()
        );
    }

    #[test]
    fn a_late_request_is_not_what_an_open_conflict_is_about() {
        let open = |history| Doubt {
            policy: Policy::Manual,
            base: None,
            open: Some(("Paris", "Rome")),
            history,
            ..LATE
        };
        assert_eq!(plan(&open(None)).need_history, [city()]);
        let ours = plan(&open(Some(vec![("Lima", Author::Us, 30)])));
        assert_eq!(ours.actions, [arrived_beside("Rome")]);
        let theirs = plan(&open(Some(vec![("Lima", Author::Other, 30)])));
        assert!(matches!(
            theirs.actions[..],
            [FieldAction::RemoteMoved { .. }]
        ));
        let both = plan(&Doubt {
            local: "Lima",
            ..open(None)
        });
        let close = FieldAction::Close {
            id: ConflictId(3),
            winner: Winner::Agreed,
        };
        let agree = FieldAction::Agree { property: city() };
        assert_eq!(both.actions, [arrived_beside("Rome"), close, agree]);
    }
}
