//! What the next push would send: the push's own order and decisions on a database that is only read, without its last step.
//! Each entry that is not dead is told, also what is not due.

mod adopted;
pub(crate) mod ahead;
mod asked;
mod followers;
pub(crate) mod planned;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use crate::decide::guard::Verdict;
use crate::decide::matching::{LookBefore, SEARCH_LAG, looked_up};
use crate::decide::outgoing::along::WithLinks;
use crate::decide::outgoing::associate::{CountedPair, LinkCall, ReadyLink, link_requests, ready};
use crate::decide::outgoing::claim::after_its_read;
use crate::decide::outgoing::plan::{BATCH, DueEntry, PlannedBatch, PushCost, all_batches};
use crate::decide::outgoing::preview::{
    KeptWhy, LeftOut, Preview, PreviewField, as_known, of_create, of_update,
};
use crate::decide::record::{CleanBase, OpenConflict};
use crate::engine::inbound::clearing;
use crate::engine::inbound::merge::{ShownRecord, decided};
use crate::engine::outbound::along;
use crate::engine::outbound::archive::{self, archives_records};
use crate::engine::outbound::associate::guarded_pair;
use crate::engine::outbound::create;
use crate::engine::outbound::guarded::Guarded;
use crate::engine::outbound::left_out;
use crate::engine::outbound::push;
use crate::engine::outbound::searched::is_young;
use crate::engine::outbound::taken;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::hubspot::endpoints::associations::{MOST_READ, MOST_WRITTEN};
use crate::model::association::PairMapping;
use crate::model::entry::{Entry, EntryState, Operation, WaitsFor};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::group_of;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::settings::Guard;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::cleared::HeldClear;
use crate::store::history::Origin;
use crate::store::holds::Side;
use crate::store::links::types;
use crate::store::lookups::Lookups;
use crate::store::outbox::links::{self, queued, queued_ends};
use crate::store::outbox::{self, WaitingEntry};
use crate::store::shape::options;
use crate::store::{StoreError, cleared, conflicts, fields, reads};

use self::ahead::{BACK, SettledAhead, present_as_known};
use self::asked::{AskedOfHubspot, is_as_before};
use self::followers::MadeAhead;
use self::planned::{ANOTHERS, PlannedEntry, ShownAgain, not_archived, not_sent};

/// How much would be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanTotals {
    /// Entries.
    pub entries: u64,
    /// Requests.
    pub requests: u64,
    /// Entries that the guard would hold, or holds.
    pub held: u64,
    /// Emptied values of other entries that it would hold, or holds.
    pub held_values: u64,
}

/// One look at everything that waits.
pub struct Rehearsal<'a> {
    /// The transaction that it reads in.
    pub tx: &'a Transaction<'a>,
    /// The objects in force.
    pub objects: &'a Objects,
    /// The guard's bounds.
    pub guard: Guard,
    /// This machine's time.
    pub now: Timestamp,
    /// HubSpot's clock minus this machine's.
    pub offset_ms: i64,
    /// What was read again; `None`: nobody asked HubSpot.
    pub shown: Option<&'a ShownAgain>,
    /// What was carried out ahead.
    pub ahead: &'a SettledAhead,
    /// The objects that can't be pushed at present, each with the code that says why.
    pub kept_back: &'a [(String, String)],
    /// Of which columns the guard would hold what empties them, as far as it was looked at.
    pub held_columns: RefCell<BTreeMap<(ObjectType, PropertyName), bool>>,
    /// The rows that would become records, by the values that say which; as far as they were looked at.
    pub makes: RefCell<BTreeMap<(ObjectType, PropertyName, String), LocalId>>,
    /// What the push's creates make, where an association waits for one.
    pub made: RefCell<MadeAhead>,
}

impl Rehearsal<'_> {
    /// Hands out every entry that is not dead, in the order of the push; behind what is due of an object stands what is not.
    ///
    /// # Errors
    /// The database refuses, or `each` does.
    pub fn each<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(PlannedEntry) -> Result<(), E>,
    ) -> Result<PlanTotals, E> {
        let mut totals = PlanTotals::default();
        self.look_at_creates()?;
        for object in self.objects.iter() {
            let mut tell = |planned: PlannedEntry| {
                totals.held += u64::from(planned.waits_for == Some(WaitsFor::Guard));
                totals.held_values += planned.preview.kept_because(KeptWhy::Guard);
                totals.entries += u64::from(planned.is_sent());
                each(planned)
            };
            let requests = self.each_of(object, &mut tell)?;
            totals.requests += requests;
        }
        Ok(totals)
    }

    fn each_of<E: From<StoreError>>(
        &self,
        object: &ObjectSync,
        each: &mut impl FnMut(PlannedEntry) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut later = Vec::new();
        let (mut requests_beside, mut cost) = (0, PushCost::default());
        let mut updates_read = 0;
        let (mut links, mut archives) = (Vec::new(), Vec::new());
        for pair in pairs_of(object) {
            let mut waiting = Vec::new();
            let mut due = self.due(&pair.from, Some(&pair.to), &LINKS, &mut waiting)?;
            for entry in waiting {
                match self.follows(pair, &entry)? {
                    true => due.push(entry),
                    false => later.push(entry),
                }
            }
            let name = pair.name();
            let guarded = guarded_pair(self.tx, pair, &name, &self.guard, self.since())?;
            let is_held = self.is_held(&guarded)?;
            requests_beside += self.requests_of_pair(pair, &due, is_held)?;
            links.extend(due.into_iter().map(|entry| (entry, is_held)));
        }
        if object.mapping().direction.pushes() {
            let guards = archive::guards(self.tx, object, &self.guard, self.since())?;
            let creates = self.due(object.object(), None, &[Operation::Create], &mut later)?;
            let updates = self.due(object.object(), None, &[Operation::Update], &mut later)?;
            let holds_updates = match &guards.updates {
                Some(updates) => self.is_held(updates)?,
                None => false,
            };
            requests_beside += self.looks_before(object, &creates)?;
            let mut is_any_made = false;
            let is_back = |entry: &WaitingEntry| self.ahead.back.contains(&entry.id);
            let (back, updates): (Vec<_>, Vec<_>) = updates.into_iter().partition(is_back);
            let batches = all_batches(due_of(&creates), due_of(&updates)).into_iter();
            let behind = all_batches(Vec::new(), due_of(&back));
            for (operation, batch) in batches.chain(behind) {
                let is_held = operation == Operation::Update && holds_updates;
                let mut together = PlannedBatch::of(operation);
                let (mut pairs_along, mut refused) = (BTreeSet::new(), Vec::new());
                for id in batch {
                    let before = together.refused - together.named;
                    let mut counted = |planned: PlannedEntry| {
                        planned.count_in(&mut together);
                        if planned.is_sent() {
                            pairs_along.extend(planned.along.iter().map(|one| one.pair.clone()));
                        }
                        each(planned)
                    };
                    self.tell(object, id, true, is_held, &mut counted)?;
                    if together.refused - together.named > before {
                        refused.extend(outbox::by_id(self.tx, id)?);
                    }
                }
                together.looks = create::requests_of_refused(self.tx, object, &refused)?;
                let pairs = object.pairs.iter();
                let read = pairs.filter(|pair| pairs_along.contains(&pair.key));
                requests_beside += read.count() as u64;
                is_any_made |= operation == Operation::Create && together.sent > 0;
                if operation == Operation::Update {
                    updates_read += together.read;
                }
                cost.add(&together);
            }
            if object.key_wanted && is_any_made {
                // The key's property is made before the first create, in a group that a custom object is asked for.
                requests_beside += 1 + u64::from(group_of(object.object()).is_none());
            }
            let is_held = archives_records(object) && self.is_held(&guards.archives)?;
            let due = self.due(object.object(), None, &[Operation::Archive], &mut later)?;
            archives.extend(due.into_iter().map(|entry| (entry, is_held)));
        }
        let others: Vec<_> = links.into_iter().chain(archives).collect();
        let by_kind = others.chunk_by(|(one, _), (other, _)| one.operation == other.operation);
        for part in by_kind.flat_map(|part| part.chunks(BATCH)) {
            let operation = part.first().map(|(entry, _)| entry.operation);
            let mut together = PlannedBatch::of(operation.unwrap_or(Operation::Archive));
            for (entry, is_held) in part {
                let is_held = *is_held && may_be_held(entry.operation);
                let mut counted = |planned: PlannedEntry| {
                    planned.count_in(&mut together);
                    each(planned)
                };
                self.tell(object, entry.id, true, is_held, &mut counted)?;
            }
            cost.add(&together);
        }
        later.sort_by_key(|entry| (entry.due, entry.id));
        for entry in later {
            self.tell(object, entry.id, false, false, each)?;
        }
        if object.mapping().direction.pushes() {
            self.tell_held_alone(object, each)?;
        }
        let ended = self.ahead.ended.iter();
        for planned in ended.filter(|planned| planned.object == *object.object()) {
            each(planned.clone())?;
        }
        requests_beside += self.ahead.requests_of(object.object(), updates_read);
        Ok(match self.kept_back_by(object.object()) {
            Some(_) => 0,
            None => {
                let keeps_histories = object.mapping().with_remote_history().next().is_some();
                requests_beside + cost.requests(keeps_histories)
            }
        })
    }

    /// What it costs to look for the records of creates before they are sent.
    fn looks_before(&self, object: &ObjectSync, due: &[WaitingEntry]) -> Result<u64, StoreError> {
        let mut creates = Vec::with_capacity(due.len());
        for entry in due {
            creates.extend(outbox::by_id(self.tx, entry.id)?);
        }
        let mut requests = 0;
        for batch in creates.chunks(BATCH) {
            requests += create::look_requests(self.tx, object, batch, self.now)?;
        }
        Ok(requests)
    }

    /// What the due entries of a pair cost. One that goes along in a create costs nothing of its own.
    fn requests_of_pair(
        &self,
        pair: &PairMapping,
        due: &[WaitingEntry],
        is_held: bool,
    ) -> Result<u64, StoreError> {
        let known = types::of(self.tx, pair)?;
        let mut counted = Vec::new();
        for entry in due {
            let Some(link) = queued(self.tx, &known, entry.id)? else {
                continue;
            };
            if self.made.borrow().takes_along(link.id) {
                continue;
            }
            let link = self.made.borrow().once_made(pair, link);
            let operation = link.standing.operation;
            if is_held && may_be_held(operation) && link.standing.approved_hold.is_none() {
                continue;
            }
            let call = match (ready(&link, pair.key.as_str(), self.now), operation) {
                (ReadyLink::Goes(call), _) => call,
                (ReadyLink::Named(_), Operation::Associate) => LinkCall::Create,
                (ReadyLink::Named(_), _) => LinkCall::ArchiveLabels,
                _ => continue,
            };
            counted.push(links::counted(self.tx, pair, &known, (&link, call))?);
        }
        let around = CountedPair {
            implies: known.iter().any(|known| known.id.is_primary()),
            is_of_one_object: pair.is_of_one_object(),
            most_written: MOST_WRITTEN,
            most_read: MOST_READ,
        };
        Ok(link_requests(counted, around))
    }

    /// What is due, the oldest first; the rest is added to `later`.
    fn due(
        &self,
        object: &ObjectType,
        to: Option<&ObjectType>,
        operations: &[Operation],
        later: &mut Vec<WaitingEntry>,
    ) -> Result<Vec<WaitingEntry>, StoreError> {
        let mut due = Vec::new();
        for operation in operations {
            let waiting = outbox::waiting(self.tx, object, to, *operation, self.now)?;
            let (now, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|entry| entry.is_due);
            due.extend(now);
            later.extend(rest);
        }
        due.sort_by_key(|entry| (entry.due, entry.id));
        Ok(due)
    }

    fn since(&self) -> Timestamp {
        self.now.plus_millis(self.offset_ms) - self.guard.window
    }

    fn is_held(&self, guarded: &Guarded<'_>) -> Result<bool, StoreError> {
        let (_, verdict) = guarded.word(self.tx, self.now)?;
        Ok(matches!(verdict, Verdict::Hold { .. }))
    }

    fn tell<E: From<StoreError>>(
        &self,
        object: &ObjectSync,
        id: OutboxId,
        is_due: bool,
        is_held: bool,
        each: &mut impl FnMut(PlannedEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(entry) = outbox::by_id(self.tx, id)? else {
            return Ok(());
        };
        // An approval that somebody gave goes before the count.
        let is_held = is_held && entry.standing.approved_hold.is_none();
        let planned = PlannedEntry {
            waits_for: match is_held {
                true => Some(WaitsFor::Guard),
                false => entry
                    .standing
                    .waits_for
                    .filter(|waits| is_waited_for(*waits) || !is_due),
            },
            due: match is_held || entry.standing.state == EntryState::InFlight {
                true => None,
                false => entry.standing.due,
            },
            explanation: match (entry.standing.is_at_rest()
                || entry.standing.waits_for == Some(WaitsFor::Create))
                && !is_held
            {
                true => entry.standing.last_error.clone(),
                false => None,
            },
            is_in_flight: entry.standing.state == EntryState::InFlight,
            is_due,
            ..PlannedEntry::of(object.object(), &entry)
        };
        let mut planned = self.with_fields(object, &entry, planned)?;
        if let Some(code) = self.kept_back_by(object.object()) {
            planned.asked = AskedOfHubspot::default();
            let why = || format!("{} is not synced at present (`{code}`)", object.object());
            planned.explanation.get_or_insert_with(why);
        }
        each(planned)
    }

    fn kept_back_by(&self, object: &ObjectType) -> Option<&str> {
        let mut kept_back = self.kept_back.iter();
        let found = kept_back.find(|(name, _)| name == object.as_str());
        found.map(|(_, code)| code.as_str())
    }

    /// Rows of which nothing waits but what the guard took out of their entries.
    fn tell_held_alone<E: From<StoreError>>(
        &self,
        object: &ObjectSync,
        each: &mut impl FnMut(PlannedEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let held = cleared::without_entry(self.tx, object.object())?;
        for of_row in held.chunk_by(|one, other| one.local_id == other.local_id) {
            let Some(first) = of_row.first() else {
                continue;
            };
            each(PlannedEntry {
                object: object.object().clone(),
                local_id: first.local_id,
                hs_id: first.hs_id,
                operation: Operation::Update,
                waits_for: Some(WaitsFor::Guard),
                due: None,
                preview: Preview {
                    fields: of_row.iter().map(emptied).collect(),
                    kept: Vec::new(),
                },
                association: None,
                explanation: None,
                need_history: Vec::new(),
                is_in_flight: false,
                is_due: false,
                asked: AskedOfHubspot::default(),
                along: Vec::new(),
                is_contested: false,
            })?;
        }
        Ok(())
    }

    fn with_fields(
        &self,
        object: &ObjectSync,
        entry: &Entry,
        planned: PlannedEntry,
    ) -> Result<PlannedEntry, StoreError> {
        let pass = Pass {
            object,
            origin: Origin::Poll,
            now: self.now,
            offset_ms: self.offset_ms,
        };
        let planned = self.put_off(&pass, entry, planned)?;
        match entry.standing.operation {
            Operation::Create => self.create(&pass, entry, planned),
            Operation::Update => self.update(&pass, entry, planned),
            Operation::Archive => self.archive(&pass, entry, planned),
            Operation::Associate | Operation::Disassociate => {
                let association = queued_ends(self.tx, entry.id)?;
                // What is due and waits for a create follows it.
                match planned.is_due && planned.waits_for == Some(WaitsFor::Create) {
                    true => Ok(PlannedEntry {
                        association,
                        asked: AskedOfHubspot::Behind,
                        explanation: None,
                        ..planned
                    }),
                    false => Ok(PlannedEntry {
                        association,
                        ..planned
                    }),
                }
            }
        }
    }

    /// An entry that is due and that the push puts off unsent: something else of its record, or of another row, goes before.
    fn put_off(
        &self,
        pass: &Pass<'_>,
        entry: &Entry,
        planned: PlannedEntry,
    ) -> Result<PlannedEntry, StoreError> {
        if !planned.is_due || planned.waits_for.is_some() {
            return Ok(planned);
        }
        let until = |next: Timestamp, why: String| PlannedEntry {
            due: Some(next),
            explanation: Some(why),
            is_due: false,
            ..planned.clone()
        };
        if let Some(first) = taken::waits_for(self.tx, pass, entry)? {
            let why = format!("row {} gives up a value of it in HubSpot first", first.by);
            return Ok(until(first.next, why));
        }
        let standing = &entry.standing;
        if standing.operation == Operation::Create
            && looked_up(pass.object, LookBefore::Search).next().is_some()
            && is_young(entry, pass.now)
        {
            let why = "HubSpot's search is to show first what was there when the row was made";
            return Ok(until(standing.enqueued_at + SEARCH_LAG, why.to_owned()));
        }
        if let (Operation::Update, Some(hs_id)) = (standing.operation, standing.hs_id)
            && let Some(due) = reads::asked_for(self.tx, pass.name(), hs_id)?
        {
            let why = "its record is read from HubSpot first";
            return Ok(until(after_its_read(due, pass.now), why.to_owned()));
        }
        Ok(planned)
    }

    fn archive(
        &self,
        pass: &Pass<'_>,
        entry: &Entry,
        planned: PlannedEntry,
    ) -> Result<PlannedEntry, StoreError> {
        if !archives_records(pass.object) {
            return Ok(not_sent(planned, BACK));
        }
        let Some(hs_id) = entry.standing.hs_id else {
            return Ok(planned);
        };
        if !planned.is_due || planned.waits_for.is_some() {
            return Ok(planned);
        }
        if self.is_taken_over(pass.name(), hs_id) {
            return Ok(not_sent(planned, ANOTHERS));
        }
        let (entry, _) = clearing::rejoined(self.tx, pass.name(), entry.clone())?;
        let present = match self.shown {
            Some(shown) => shown.present(pass.name(), hs_id),
            None => present_as_known(self.tx, pass, &entry, hs_id)?,
        };
        let judged = archive::judged(self.tx, pass, (&entry, hs_id), &present)?;
        let planned = PlannedEntry {
            asked: AskedOfHubspot::Read,
            ..planned
        };
        Ok(match not_archived(judged.0, &judged.1) {
            Some(explanation) => not_sent(planned, explanation),
            None => planned,
        })
    }

    fn create(
        &self,
        pass: &Pass<'_>,
        entry: &Entry,
        planned: PlannedEntry,
    ) -> Result<PlannedEntry, StoreError> {
        let object = pass.object;
        let Some(row) = object.table.by_local_id(self.tx, entry.local_id)? else {
            return Ok(rowless(planned));
        };
        if let Some(record) = self.met(entry, &planned) {
            return self.adopted(pass, (entry, row), record, planned);
        }
        let gone = options::gone_in(self.tx, object.mapping(), &row)?;
        let is_placeless = left_out::is_placeless(pass, &gone);
        let unfit = match is_placeless {
            true => None,
            false => match create::unfit(self.tx, pass, &row)? {
                None => self.twin(object, &row, &planned),
                unfit => unfit,
            },
        };
        if unfit.is_some() {
            return Ok(PlannedEntry {
                explanation: unfit,
                ..planned
            });
        }
        let along = match along::known(self.tx, pass, entry, &|object, row| {
            self.is_made(object, row)
        })? {
            WithLinks::Lacks(explanation) => return Ok(not_sent(planned, &explanation)),
            WithLinks::Goes(along) => along,
            WithLinks::WaitsForCreate | WithLinks::WaitsForTypes => Vec::new(),
        };
        let open = conflicts::open_of(self.tx, pass.name(), entry.local_id)?;
        let left_out = self.left_out(object, &row)?;
        let unwritable = is_placeless.then(|| outbox::UNWRITABLE.to_owned());
        Ok(PlannedEntry {
            preview: of_create(object, &row, &open, &left_out),
            explanation: planned.explanation.or(unwritable),
            asked: match along.is_empty() {
                true => AskedOfHubspot::Nothing,
                false => AskedOfHubspot::Along,
            },
            along,
            ..planned
        })
    }

    fn update(
        &self,
        pass: &Pass<'_>,
        entry: &Entry,
        planned: PlannedEntry,
    ) -> Result<PlannedEntry, StoreError> {
        let (tx, object) = (self.tx, pass.object);
        let row = object.table.by_local_id(tx, entry.local_id)?;
        let (Some(row), Some(hs_id)) = (row, entry.standing.hs_id) else {
            return Ok(rowless(planned));
        };
        let (entry, held) = clearing::rejoined(tx, pass.name(), entry.clone())?;
        let open = conflicts::open_of(tx, pass.name(), entry.local_id)?;
        let read = self.shown.and_then(|all| all.of(pass.name(), hs_id));
        let is_missed = |all: &ShownAgain| planned.is_due || all.has_missed(pass.name(), hs_id);
        if read.is_none() && self.shown.is_some_and(is_missed) {
            return self.unshown(pass, planned, hs_id);
        }
        let known = as_known(object, hs_id, &row, (&entry, &open));
        let shown = ShownRecord {
            record: read.map_or(&known, |read| &read.record),
            histories: read.and_then(|read| read.histories.as_ref()),
            clean_base: CleanBase::Mirror,
            // What a lost request of ours brought only HubSpot's answer can tell.
            lookups: Lookups {
                sent: read.is_some(),
                ..Lookups::ALL
            },
        };
        let is_read = planned.is_due
            && planned.waits_for.is_none()
            && !is_as_before(object.mapping(), &entry, &row);
        let planned = PlannedEntry {
            asked: match is_read {
                true => AskedOfHubspot::Read,
                false => AskedOfHubspot::default(),
            },
            is_contested: shown.histories.is_some(),
            ..planned
        };
        let waiting = WaitingUpdate {
            row: &row,
            entry: &entry,
            open: &open,
            held: &held,
        };
        self.merged(pass, &waiting, shown, planned)
    }

    /// An update whose record was not shown, and of which nothing is decided yet.
    fn unshown(
        &self,
        pass: &Pass<'_>,
        planned: PlannedEntry,
        id: HubspotId,
    ) -> Result<PlannedEntry, StoreError> {
        if planned.explanation.is_some() {
            return Ok(planned);
        }
        let why = match reads::is_removal_noted(self.tx, pass.name(), id)? {
            true => {
                format!("HubSpot no longer has record {id}: its row waits for the guard's word")
            }
            false => format!("HubSpot does not show record {id}: it is read again first"),
        };
        Ok(not_sent(planned, &why))
    }

    /// What is left to be sent of an update once its row is merged with what HubSpot shows.
    fn merged(
        &self,
        pass: &Pass<'_>,
        waiting: &WaitingUpdate<'_>,
        shown: ShownRecord<'_>,
        planned: PlannedEntry,
    ) -> Result<PlannedEntry, StoreError> {
        let object = pass.object;
        let WaitingUpdate {
            row,
            entry,
            open,
            held,
        } = *waiting;
        let mut plan = decided(self.tx, pass, row, Some(entry), shown)?;
        plan.leave(&held.iter().map(|held| held.property.clone()).collect());
        let left_out = self.left_out(object, row)?;
        let mut preview = of_update(object, row, (entry, open), &plan, &left_out);
        for held in held.iter().filter(|held| held.side == Side::Hubspot) {
            preview.keep(emptied(held), KeptWhy::Guard);
        }
        let explanation = self.refused(pass, row, shown.record, &mut preview)?;
        let planned = PlannedEntry {
            preview,
            explanation: planned.explanation.or(explanation),
            need_history: plan.need_history,
            ..planned
        };
        match planned.is_due && entry.standing.approved_hold.is_none() {
            true => self.without_held_columns(object, planned),
            false => Ok(planned),
        }
    }

    /// Values that the guard would take out are not sent; where they are all of an entry, it waits.
    fn without_held_columns(
        &self,
        object: &ObjectSync,
        mut planned: PlannedEntry,
    ) -> Result<PlannedEntry, StoreError> {
        let (mut sent, mut held) = (Vec::new(), Vec::new());
        for field in &planned.preview.fields {
            let is_emptied = field.new.is_empty() && !field.old.is_empty();
            match is_emptied && self.is_held_column(object, &field.property)? {
                true => held.push(field.clone()),
                false => sent.push(field.clone()),
            }
        }
        if sent.is_empty() && !held.is_empty() {
            planned.waits_for = Some(WaitsFor::Guard);
            planned.due = None;
            planned.asked = AskedOfHubspot::default();
        } else {
            planned.preview.fields = sent;
            for field in held {
                planned.preview.keep(field, KeptWhy::Guard);
            }
        }
        Ok(planned)
    }

    fn is_held_column(
        &self,
        object: &ObjectSync,
        property: &PropertyName,
    ) -> Result<bool, StoreError> {
        let key = (object.object().clone(), property.clone());
        if let Some(known) = self.held_columns.borrow().get(&key) {
            return Ok(*known);
        }
        let bounds = (self.guard.max_cleared, self.since());
        let (_, verdict) = clearing::word(self.tx, object, property, bounds)?;
        let is_held = matches!(verdict, Verdict::Hold { .. });
        self.held_columns.borrow_mut().insert(key, is_held);
        Ok(is_held)
    }

    /// What the push finds when it has decided: a value that can't be sent keeps all of them here, and a fight is parked.
    fn refused(
        &self,
        pass: &Pass<'_>,
        row: &MirrorRow,
        record: &RemoteRecord,
        preview: &mut Preview,
    ) -> Result<Option<String>, StoreError> {
        let sent: Vec<PropertyName> = preview
            .fields
            .iter()
            .map(|field| field.property.clone())
            .collect();
        let is_sent = |property: &PropertyName| sent.contains(property);
        if let Some(explanation) = push::unfit(self.tx, pass, (row, record), &is_sent)? {
            preview.fields.clear();
            return Ok(Some(explanation));
        }
        for property in sent {
            let place = preview
                .fields
                .iter()
                .position(|field| field.property == property);
            let Some(place) = place else { continue };
            let held = preview.fields[place].old.clone();
            if push::is_fought_over(self.tx, pass, (row, record), &property, &held)? {
                let field = preview.fields.remove(place);
                preview.keep(field, KeptWhy::Conflict);
            }
        }
        Ok(None)
    }

    fn left_out(&self, object: &ObjectSync, row: &MirrorRow) -> Result<Vec<LeftOut>, StoreError> {
        let id = row.record.local_id;
        let gone = options::gone_in(self.tx, object.mapping(), row)?.into_iter();
        let gone = gone.map(|property| LeftOut {
            held: row.value(&property).clone(),
            property,
        });
        let mut left_out: Vec<LeftOut> = gone.collect();
        for field in fields::left_out(self.tx, object.mapping())? {
            let held = object.table.former_value(self.tx, id, &field)?;
            let Some(held) = held.filter(|held: &Value| !held.is_empty()) else {
                continue;
            };
            let property = PropertyName::parse(&field.property)
                .map_err(|error| StoreError::UnknownValue(error.to_string()))?;
            left_out.push(LeftOut { property, held });
        }
        Ok(left_out)
    }
}

/// An update that waits, with its row and what stands around it.
#[derive(Clone, Copy)]
struct WaitingUpdate<'a> {
    row: &'a MirrorRow,
    entry: &'a Entry,
    open: &'a BTreeMap<PropertyName, OpenConflict>,
    /// What the guard holds of the row.
    held: &'a [HeldClear],
}

/// The pairs whose rows start from an object and go to HubSpot.
fn pairs_of(object: &ObjectSync) -> impl Iterator<Item = &PairMapping> {
    let pairs = object.pairs.iter();
    pairs.filter(|pair| pair.from == *object.object() && pair.direction.pushes())
}

/// The operations of associations.
const LINKS: [Operation; 2] = [Operation::Associate, Operation::Disassociate];

/// Whether an entry is held for that although its time has come.
fn is_waited_for(what: WaitsFor) -> bool {
    match what {
        WaitsFor::Backfill | WaitsFor::Guard | WaitsFor::Create => true,
        WaitsFor::Answer | WaitsFor::Lock => false,
    }
}

fn may_be_held(operation: Operation) -> bool {
    matches!(operation, Operation::Archive | Operation::Disassociate)
}

fn due_of(entries: &[WaitingEntry]) -> Vec<DueEntry> {
    let due = entries.iter();
    due.map(WaitingEntry::as_due).collect()
}

/// What a row's value would become that the guard holds.
fn emptied(held: &HeldClear) -> PreviewField {
    PreviewField {
        property: held.property.clone(),
        old: held.remote.clone(),
        new: Value::EMPTY,
    }
}

fn rowless(planned: PlannedEntry) -> PlannedEntry {
    not_sent(
        planned,
        "its row is gone, so that nothing of it can be sent",
    )
}
