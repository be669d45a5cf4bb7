//! Values of fields that requests leave out at the moment: a create goes without them, and they wait as an update of the
//! record that it makes. What can't be left out is a row's own key, and the place where its record is to stand: while that is not
//! synced, or HubSpot does not have it, the create waits.

use rusqlite::Transaction;

use crate::decide::retry::AFTER_DRIFT;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, StepError};
use crate::model::entry::{Base, Entry};
use crate::model::mapping::KeyChoice;
use crate::model::name::PropertyName;
use crate::model::row::MirrorRow;
use crate::store::fields::{self, FieldRow};
use crate::store::outbox::{self, Answered};
use crate::store::shape::options;
use crate::store::{Lane, StoreError};

/// Notes in a create's entry what its row holds in fields that are left out, each as a change over a value that nobody has
/// looked at. Answers with their properties.
pub fn keep(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    entry: &Entry,
    left_out: &[FieldRow],
) -> Result<Vec<PropertyName>, StoreError> {
    let held = object.table.holding(tx, entry.local_id, left_out)?;
    note(tx, entry, &held)?;
    Ok(held)
}

/// Notes in a create's entry that fields wait which it goes without.
pub(super) fn note(
    tx: &Transaction<'_>,
    entry: &Entry,
    properties: &[PropertyName],
) -> Result<(), StoreError> {
    for property in properties {
        let is_noted = entry.fields.iter().any(|field| field.property == *property);
        if !is_noted {
            outbox::put_field(
                tx,
                entry.id,
                property,
                &Base::Unknown,
                entry.standing.enqueued_at,
            )?;
        }
    }
    Ok(())
}

/// The fields of a row that hold options, stages or pipelines which HubSpot has no longer: requests leave them out, and
/// `sync_fields` says so.
pub(super) fn gone_options(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: &MirrorRow,
) -> Result<Vec<PropertyName>, StoreError> {
    let object = pass.object.mapping();
    let gone = options::gone_in(tx, object, row)?;
    for property in &gone {
        if !fields::is_degraded(tx, pass.name(), property)?
            && let Some(field) = object.field(property)
            && let Some(problem) = options::lost_by(tx, object, field)?
        {
            fields::degrade(tx, &problem, pass.now)?;
        }
    }
    Ok(gone)
}

/// Whether the place of a new record, its pipeline or its stage, is among what HubSpot has no longer: it is made nowhere else.
pub(super) fn is_placeless(pass: &Pass<'_>, gone: &[PropertyName]) -> bool {
    let mut gone = gone.iter();
    gone.any(|property| options::is_of_place(pass.name(), property))
}

/// The creates of `due` that can leave: where the object's own key is left out, the others rest until it is synced again.
pub(crate) async fn without_keyless(
    engine: &Engine,
    object: &ObjectSync,
    due: Vec<Entry>,
) -> Result<Vec<Entry>, StepError> {
    let KeyChoice::Property(key) = &object.mapping().key else {
        return Ok(due);
    };
    if object.mapping().key_field().is_some() {
        return Ok(due);
    }
    let (sync, key) = (object.clone(), key.clone());
    let go_on = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let left_out = fields::left_out(tx, sync.mapping())?;
            let again = tx.now() + AFTER_DRIFT;
            let mut go_on = Vec::with_capacity(due.len());
            for queued in due {
                if !keep(tx, &sync, &queued, &left_out)?.contains(&key) {
                    go_on.push(queued);
                    continue;
                }
                let explanation = format!(
                    "`{key}` is the key of {} row {} and is not synced at the moment: SELECT problem, hint FROM sync_fields says why",
                    sync.mapping().table,
                    queued.local_id
                );
                let waits_for = queued.standing.waits_for;
                let id = queued.id;
                outbox::retry(tx, id, again, Some(&explanation), waits_for, Answered::No)?;
            }
            Ok(go_on)
        })
        .await?;
    Ok(go_on)
}
