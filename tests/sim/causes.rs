//! Nothing is overwritten, removed or archived without a trace and a cause.

use std::collections::{BTreeMap, BTreeSet};

use hubsyncd::model::mapping::{Direction, WriteMode};
use hubsyncd::simulator::portal::Operation;

use crate::checks::{explanation, rows, texts};
use crate::local::{Programs, tag_of};
use crate::model_options::options;
use crate::plan::Plan;
use crate::script::Act;
use crate::values::is_unique_text;
use crate::world::World;

/// Which row is which record, as it was seen last: object and row, with the record and its version.
pub(crate) type Known = BTreeMap<(String, i64), (u64, String)>;

/// At rest: what the log of HubSpot and the tables here say of each other.
pub(crate) fn all_have_causes(
    programs: &Programs,
    world: &World,
    plan: &Plan,
    known: &Known,
) -> Result<(), String> {
    modes_are_kept(programs, world, plan)?;
    // A restored file has forgotten why.
    if plan.has(Act::PutBack) {
        return Ok(());
    }
    no_edit_is_overwritten_unseen(programs, world, plan)?;
    no_record_is_archived_without_a_deletion(programs, world)?;
    no_row_is_gone_without_a_cause(programs, world, plan, known)
}

/// What a mapping says of how values are written, which records are made and what is told.
fn modes_are_kept(programs: &Programs, world: &World, plan: &Plan) -> Result<(), String> {
    for object in &plan.mapping.objects {
        let name = object.object.as_str();
        for field in object.fields.iter().filter(|field| !field.modes.history) {
            let property = field.property.as_str();
            let told = texts(
                programs.connection(),
                &format!(
                    "SELECT id, origin FROM sync_history WHERE object = '{name}' AND property = '{property}' AND origin <> 'conflict'"
                ),
            );
            if !told.is_empty() {
                return Err(format!(
                    "I13: {name}.{property} is in the history: {told:?}"
                ));
            }
        }
        let state = world.state();
        let log = state.portal.write_log();
        for entry in log
            .iter()
            .filter(|entry| entry.by_api && entry.object == name)
        {
            if entry.operation == Operation::Create && !object.modes.new_records.makes_records() {
                return Err(format!(
                    "I13: {name} {} was made, and rows only link",
                    entry.id
                ));
            }
            for write in entry
                .properties
                .iter()
                .filter(|_| entry.operation == Operation::Update)
            {
                let mut fields = object.fields.iter();
                let is_set = fields.any(|field| {
                    field.property.as_str() == write.name
                        && field.modes.write == WriteMode::Append
                        && field.direction == Direction::Both
                });
                let taken = || options(&write.old).difference(&options(&write.new)).count();
                if is_set && taken() > 0 {
                    return Err(format!(
                        "I13: options of {name} {} went: {write:?}",
                        entry.id
                    ));
                }
            }
        }
    }
    Ok(())
}

/// A person's text that a push replaced is in the history or among the conflicts.
fn no_edit_is_overwritten_unseen(
    programs: &Programs,
    world: &World,
    plan: &Plan,
) -> Result<(), String> {
    let mut kept: BTreeSet<String> = BTreeSet::new();
    for sql in [
        "SELECT base_value, local_value, remote_value FROM sync_conflicts",
        "SELECT old_value, new_value FROM sync_history",
        "SELECT base_value, sent_value FROM sync_outbox_fields",
        "SELECT row FROM sync_outbox WHERE row IS NOT NULL",
    ] {
        for text in texts(programs.connection(), sql) {
            kept.extend(explanation(&text));
        }
    }
    let state = world.state();
    for entry in state.portal.write_log() {
        if !entry.by_api || entry.operation != Operation::Update {
            continue;
        }
        for property in &entry.properties {
            let (Some(old), name) = (&property.old, property.name.as_str()) else {
                continue;
            };
            let is_theirs = is_unique_text(name)
                && old.starts_with('r')
                && property.new.as_ref() != Some(old)
                && is_mapped(plan, entry.object, name);
            if is_theirs && !kept.contains(old) {
                return Err(format!(
                    "I4: a person's {old} in {name} of {} {} was overwritten by {:?} and is kept nowhere",
                    entry.object, entry.id, property.new
                ));
            }
        }
    }
    Ok(())
}

fn is_mapped(plan: &Plan, object: &str, property: &str) -> bool {
    let mapped = plan.mapping.objects.iter();
    let fields = mapped
        .filter(|one| one.object.as_str() == object)
        .flat_map(|one| &one.fields);
    fields
        .into_iter()
        .any(|field| field.property.as_str() == property)
}

/// The daemon archives only what a program deleted.
fn no_record_is_archived_without_a_deletion(
    programs: &Programs,
    world: &World,
) -> Result<(), String> {
    let state = world.state();
    let mut tags: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    let mut absorbed: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for entry in state.portal.write_log() {
        for property in &entry.properties {
            let Some(new) = property.new.as_deref() else {
                continue;
            };
            if property.name == tag_of(entry.object) {
                tags.entry(entry.id).or_default().insert(new);
            }
            if property.name == "hs_merged_object_ids" {
                let ids = new.split(';').filter_map(|id| id.parse::<u64>().ok());
                absorbed.entry(entry.id).or_default().extend(ids);
            }
        }
        if !entry.by_api || entry.operation != Operation::Archive {
            continue;
        }
        let mut ids = absorbed.get(&entry.id).cloned().unwrap_or_default();
        ids.insert(entry.id);
        let is_known = ids.iter().any(|id| {
            let mut own = tags.get(id).into_iter().flatten();
            programs.deleted_ids.contains(id) || own.any(|tag| programs.deleted_tags.contains(*tag))
        });
        if !is_known {
            return Err(format!(
                "I11: {} {} was archived by the daemon, and no program deleted it",
                entry.object, entry.id
            ));
        }
    }
    Ok(())
}

/// A row goes because a program deleted it, or because its record was archived or merged.
fn no_row_is_gone_without_a_cause(
    programs: &Programs,
    world: &World,
    plan: &Plan,
    known: &Known,
) -> Result<(), String> {
    let state = world.state();
    let mut left: BTreeSet<u64> = BTreeSet::new();
    for entry in state.portal.write_log() {
        match entry.operation {
            Operation::Archive => {
                left.insert(entry.id);
            }
            Operation::Merge => {
                let merged = entry.properties.iter();
                let merged = merged.filter(|property| property.name == "hs_merged_object_ids");
                let ids = merged.filter_map(|property| property.new.as_deref());
                left.extend(
                    ids.flat_map(|ids| ids.split(';').filter_map(|id| id.parse::<u64>().ok())),
                );
            }
            Operation::Create | Operation::Update | Operation::Restore => {}
        }
    }
    for object in &plan.mapping.objects {
        let name = object.object.as_str();
        let there: BTreeSet<i64> = rows(programs.connection(), object)
            .iter()
            .map(|row| row.local_id)
            .collect();
        for ((of, row), (id, _)) in known {
            let is_deleted = programs.deleted_rows.contains(&(of.clone(), *row));
            if of == name && !there.contains(row) && !is_deleted && !left.contains(id) {
                return Err(format!(
                    "I11: {name} row {row} of record {id} is gone, and nobody deleted, archived or merged it"
                ));
            }
        }
    }
    Ok(())
}
