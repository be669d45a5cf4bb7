//! Updates of nothing: a program wrote a value in another spelling, or empty text over NULL. Triggers see a change there, since
//! they know no types; they end here, before HubSpot is asked for anything.

use rusqlite::{Connection, Transaction};

use crate::decide::outgoing::acknowledge::unchanged;
use crate::decide::outgoing::claim::is_update_at_rest;
use crate::engine::Engine;
use crate::engine::portal::objects::ObjectSync;
use crate::model::entry::{Base, Entry};
use crate::model::id::OutboxId;
use crate::model::name::PropertyName;
use crate::store::{Lane, StoreError, outbox};

/// Ends what changes nothing, and gives the other entries; one that is only partly unchanged is due at the next step.
pub(crate) async fn without_unchanged(
    engine: &Engine,
    object: &ObjectSync,
    due: Vec<Entry>,
) -> Result<Vec<Entry>, StoreError> {
    let of = object.clone();
    let (due, unchanged) = engine
        .store
        .read(move |connection| {
            let mut unchanged = Vec::new();
            for queued in &due {
                if !unchanged_fields(connection, &of, queued)?.is_empty() {
                    unchanged.push(queued.id);
                }
            }
            Ok((due, unchanged))
        })
        .await?;
    if unchanged.is_empty() {
        return Ok(due);
    }
    let (of, ids) = (object.clone(), unchanged.clone());
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            ids.iter().try_for_each(|id| end_unchanged(tx, &of, *id))
        })
        .await?;
    let left = due
        .into_iter()
        .filter(|queued| !unchanged.contains(&queued.id));
    Ok(left.collect())
}

fn end_unchanged(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    id: OutboxId,
) -> Result<(), StoreError> {
    // A program may have written since the entry was looked at.
    let Some(queued) = outbox::by_id(tx, id)? else {
        return Ok(());
    };
    let unchanged = unchanged_fields(tx, object, &queued)?;
    if unchanged.is_empty() {
        return Ok(());
    }
    agree(tx, object, &queued, &unchanged)?;
    for property in &unchanged {
        outbox::drop_field(tx, id, property)?;
    }
    if outbox::fields(tx, id)?.is_empty() {
        outbox::end(tx, id)?;
    }
    Ok(())
}

/// Gives columns the spelling of what both sides hold: nothing else would, and programs compare and sort by it.
fn agree(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    entry: &Entry,
    unchanged: &[PropertyName],
) -> Result<(), StoreError> {
    let Some(mut row) = object.table.by_local_id(tx, entry.local_id)? else {
        return Ok(());
    };
    for field in entry
        .fields
        .iter()
        .filter(|field| unchanged.contains(&field.property))
    {
        if let Base::Known(base) = &field.base {
            row.set(object.mapping(), &field.property, base);
        }
    }
    object.table.update(tx, &row)
}

/// The fields of a waiting update in which the row holds their base; none while an attempt is open, which may have brought
/// something else.
fn unchanged_fields(
    connection: &Connection,
    object: &ObjectSync,
    entry: &Entry,
) -> Result<Vec<PropertyName>, StoreError> {
    if !is_update_at_rest(entry) {
        return Ok(Vec::new());
    }
    let row = object.table.by_local_id(connection, entry.local_id)?;
    Ok(row.map_or_else(Vec::new, |row| unchanged(object.mapping(), entry, &row)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{How, Scene, record};
    use crate::model::mapping::Policy;

    fn scene() -> Scene {
        let scene = Scene::of(Policy::Local);
        let values = [
            ("firstname", "Ada"),
            ("annualrevenue", "1.5"),
            ("seen", "2026-11-24T03:10:00.000Z"),
        ];
        scene.apply(How::at(0), &record(101, 0, &values));
        scene
    }

    fn end(scene: &Scene) {
        scene.write(|tx| end_unchanged(tx, &scene.object, OutboxId(1)));
    }

    #[test]
    fn an_update_to_the_same_values_in_another_spelling_ends_before_hubspot_is_asked() {
        let scene = scene();
        scene.program("UPDATE contacts SET seen = '2026-11-24 03:10', stage = '', interests = ';'");
        assert_eq!(scene.rows("SELECT count(*) FROM sync_outbox_fields"), ["3"]);
        end(&scene);
        assert_eq!(scene.outbox(), Vec::<String>::new());
        let held = "SELECT seen, stage IS NULL, interests IS NULL FROM contacts";
        assert_eq!(scene.rows(held), ["2026-11-24T03:10:00.000Z 1 1"]);
    }

    #[test]
    fn what_changes_something_stays_and_so_does_what_an_open_attempt_may_have_brought() {
        let scene = scene();
        scene.program("UPDATE contacts SET seen = '2026-11-24 03:10', first_name = 'Eve'");
        end(&scene);
        let left = "SELECT property FROM sync_outbox_fields";
        assert_eq!(scene.rows(left), ["firstname"]);
        scene.daemon("UPDATE sync_outbox SET unanswered_since = '2026-11-24T03:10:00.000Z'");
        scene.program("UPDATE contacts SET first_name = 'Ada'");
        end(&scene);
        assert_eq!(scene.rows(left), ["firstname"]);
    }
}
