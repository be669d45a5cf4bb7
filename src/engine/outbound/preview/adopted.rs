//! Creates whose record HubSpot has already: the row takes the record, as the push does once HubSpot has refused the create or a look
//! before it has shown the record, and what is left of it goes out as an update.

use crate::decide::incoming::convert::{identities, identity};
use crate::decide::matching::{LookBefore, looked_up};
use crate::decide::outgoing::looking::agreed_before;
use crate::decide::outgoing::preview::as_adopted;
use crate::decide::outgoing::taken::shared_words;
use crate::decide::record::CleanBase;
use crate::engine::inbound::merge::ShownRecord;
use crate::engine::outbound::create;
use crate::engine::outbound::preview::asked::AskedOfHubspot;
use crate::engine::outbound::preview::planned::{PlannedEntry, not_sent};
use crate::engine::outbound::preview::{Rehearsal, WaitingUpdate};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::model::entry::{Entry, Operation};
use crate::model::id::HubspotId;
use crate::model::mapping::FieldMapping;
use crate::model::name::ObjectType;
use crate::model::object::is_unique_in_hubspot;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::store::lookups::Lookups;
use crate::store::{StoreError, conflicts, outbox};

impl Rehearsal<'_> {
    /// The record that HubSpot has of a row whose create is due.
    pub(super) fn met(&self, entry: &Entry, planned: &PlannedEntry) -> Option<&RemoteRecord> {
        let met = &self.shown?.met;
        let is_due = planned.is_due && planned.waits_for.is_none();
        met.get(&entry.id).filter(|_| is_due)
    }

    /// Whether a row takes a record that waits to be archived with a deleted one.
    pub(super) fn is_taken_over(&self, object: &ObjectType, id: HubspotId) -> bool {
        let taken = self.shown.map(|shown| shown.taken_over.borrow());
        taken.is_some_and(|taken| taken.contains(&(object.clone(), id)))
    }

    /// A create once its row has taken the record that HubSpot has.
    pub(super) fn adopted(
        &self,
        pass: &Pass<'_>,
        (create, mut row): (&Entry, MirrorRow),
        record: &RemoteRecord,
        planned: PlannedEntry,
    ) -> Result<PlannedEntry, StoreError> {
        let (tx, object) = (self.tx, pass.object);
        let planned = PlannedEntry {
            asked: asked_before(object, (create, &row), record),
            ..planned
        };
        if let Some(holder) = object.table.by_hs_id(tx, record.id)? {
            let matched = object.mapping().match_field();
            let shared = matched.map_or("unique value", |field| field.property.as_str());
            let holder = (holder.record.local_id, record.id);
            let why = shared_words(object, create.local_id, shared, holder);
            return Ok(not_sent(planned, &why));
        }
        self.twin(object, &row, &planned);
        let archive = outbox::of_record(tx, pass.name(), record.id)?;
        let archive = archive.filter(|entry| entry.standing.operation == Operation::Archive);
        let agreed = archive
            .as_ref()
            .map(|archive| agreed_before(object, archive));
        if let (Some(_), Some(shown)) = (&archive, self.shown) {
            let taken = (pass.name().clone(), record.id);
            shown.taken_over.borrow_mut().insert(taken);
        }
        let base = agreed.as_ref().map_or(CleanBase::Unknown, CleanBase::Given);
        let open = conflicts::open_of(tx, pass.name(), create.local_id)?;
        let left_out = self.left_out(object, &row)?;
        let around = (base, &*left_out);
        let entry = as_adopted(object, (create, &mut row), record, &open, around);
        let read = self.shown.and_then(|all| all.of(pass.name(), record.id));
        let shown = ShownRecord {
            record: read.map_or(record, |read| &read.record),
            histories: read.and_then(|read| read.histories.as_ref()),
            clean_base: base,
            lookups: Lookups::ALL,
        };
        let planned = PlannedEntry {
            operation: Operation::Update,
            hs_id: Some(record.id),
            is_contested: shown.histories.is_some(),
            ..planned
        };
        let waiting = WaitingUpdate {
            row: &row,
            entry: &entry,
            open: &open,
            held: &[],
        };
        self.merged(pass, &waiting, shown, planned)
    }

    /// Why a new row waits for an earlier one with the same value: of one person no second record is made. The first of them is
    /// noted.
    pub(super) fn twin(
        &self,
        object: &ObjectSync,
        row: &MirrorRow,
        planned: &PlannedEntry,
    ) -> Option<String> {
        if !planned.is_due || planned.waits_for.is_some() || planned.explanation.is_some() {
            return None;
        }
        let (own, mut makes) = (row.record.local_id, self.makes.borrow_mut());
        for identity in identities(object, &row.record.values) {
            let property = identity.property.clone();
            let key = (object.object().clone(), property, identity.form);
            let first = *makes.entry(key).or_insert(own);
            if first != own {
                let why = format!(
                    "row {first} has the same `{}`, and its record is made first",
                    identity.property
                );
                return Some(why);
            }
        }
        None
    }
}

/// What the push asks before it knows that HubSpot has the record of a create. A refusal for a value that HubSpot keeps unique by
/// itself names the record; one for a property that the portal has made unique does not.
fn asked_before(
    object: &ObjectSync,
    (create, row): (&Entry, &MirrorRow),
    record: &RemoteRecord,
) -> AskedOfHubspot {
    if create::is_looked_for(object, create) {
        return AskedOfHubspot::Look;
    }
    if looked_up(object, LookBefore::Search).next().is_some() {
        return AskedOfHubspot::Search;
    }
    let is_shared = |field: &FieldMapping| {
        let own = identity(object, field, row.value(&field.property));
        let held = record.values.get(&field.property);
        let held = held.and_then(|held| identity(object, field, held));
        own.is_some() && own == held
    };
    let mut fields = object.mapping().fields.iter();
    let is_unnamed = fields.any(|field| {
        field.is_sent()
            && object.is_unique(&field.property)
            && !is_unique_in_hubspot(object.object(), &field.property)
            && is_shared(field)
    });
    match is_unnamed {
        true => AskedOfHubspot::Refusal,
        false => AskedOfHubspot::Named,
    }
}
