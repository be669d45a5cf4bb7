//! Reference tables: owners, pipelines, stages, properties. Read-only for everybody else; replaced as a whole.
//!
//! A refresh that brings what is there already writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction, named_params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decide::portal::objects::ObjectSchema;
use crate::decide::schema::{Definition, Definitions};
use crate::model::name::ObjectType;
use crate::model::reference::{Owner, Pipeline, Stage};
use crate::store::{StoreError, meta};

/// The schemas, in `_sync_meta`.
const SCHEMAS: &str = "object_schemas";

/// The properties that are not listed, in `_sync_meta`.
const UNLISTED: &str = "unlisted_properties";

/// A row of `properties`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The internal name.
    pub name: String,
    /// What people see.
    pub label: Option<String>,
    /// HubSpot's `type`, `fieldType` and what follows from them.
    pub definition: Definition,
    /// The group that it is shown in.
    pub group_name: Option<String>,
    /// The kind of records whose ids it holds, in HubSpot's word.
    pub referenced_object: Option<String>,
    /// The options as JSON.
    pub options: Option<String>,
    /// Whether it was archived.
    pub archived: bool,
}

/// Replaces all owners. Tells whether anything changed.
pub(crate) fn replace_owners(tx: &Transaction<'_>, owners: &[Owner]) -> Result<bool, StoreError> {
    let mut wanted = owners.to_vec();
    wanted.sort_by_key(|owner| owner.id);
    wanted.dedup_by_key(|owner| owner.id);
    if self::owners(tx)? == wanted {
        return Ok(false);
    }
    tx.prepare_cached("DELETE FROM owners")?.execute([])?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO owners (id, email, first_name, last_name, user_id, archived)
         VALUES (:id, :email, :first_name, :last_name, :user_id, :archived)",
    )?;
    for owner in wanted {
        statement.execute(named_params! {
            ":id": owner.id,
            ":email": owner.email,
            ":first_name": owner.first_name,
            ":last_name": owner.last_name,
            ":user_id": owner.user_id,
            ":archived": owner.archived,
        })?;
    }
    Ok(true)
}

/// Whether an owner is known, or none is, since nobody has asked yet.
pub(crate) fn has_owner(connection: &Connection, id: &str) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM owners WHERE id = CAST(:id AS INTEGER)) OR NOT EXISTS (SELECT 1 FROM owners)",
    )?;
    Ok(statement.query_row(named_params! { ":id": id }, |row| row.get(0))?)
}

/// All owners, by id.
pub fn owners(connection: &Connection) -> Result<Vec<Owner>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, email, first_name, last_name, user_id, archived FROM owners ORDER BY id",
    )?;
    let owners = statement.query_map([], |row| {
        Ok(Owner {
            id: row.get(0)?,
            email: row.get(1)?,
            first_name: row.get(2)?,
            last_name: row.get(3)?,
            user_id: row.get(4)?,
            archived: row.get(5)?,
        })
    })?;
    Ok(owners.collect::<Result<_, _>>()?)
}

/// Replaces an object's pipelines and stages; those that HubSpot no longer lists stay, archived: records hold them. Tells whether anything changed.
pub(crate) fn replace_pipelines(
    tx: &Transaction<'_>,
    object: &ObjectType,
    pipelines: &[Pipeline],
) -> Result<bool, StoreError> {
    let mut wanted = pipelines.to_vec();
    wanted.sort_by(|left, right| left.id.cmp(&right.id));
    wanted.dedup_by(|left, right| left.id == right.id);
    for pipeline in &mut wanted {
        pipeline
            .stages
            .sort_by(|left, right| left.id.cmp(&right.id));
        pipeline.stages.dedup_by(|left, right| left.id == right.id);
    }
    let known = all_pipelines(tx, object)?;
    archive_missing(&mut wanted, &known);
    if known == wanted {
        return Ok(false);
    }
    tx.prepare_cached("DELETE FROM pipelines WHERE object = :object")?
        .execute(named_params! { ":object": object.as_str() })?;
    tx.prepare_cached("DELETE FROM pipeline_stages WHERE object = :object")?
        .execute(named_params! { ":object": object.as_str() })?;
    for pipeline in &wanted {
        insert_pipeline(tx, object, pipeline)?;
    }
    Ok(true)
}

/// Adds what is known and missing, as archived, in the order of the ids.
fn archive_missing(wanted: &mut Vec<Pipeline>, known: &[Pipeline]) {
    for former in known {
        let mut gone = former.clone();
        let present = wanted.iter_mut().find(|pipeline| pipeline.id == gone.id);
        for stage in &mut gone.stages {
            stage.archived = true;
        }
        match present {
            Some(pipeline) => {
                gone.stages
                    .retain(|stage| pipeline.stages.iter().all(|other| other.id != stage.id));
                pipeline.stages.append(&mut gone.stages);
                pipeline
                    .stages
                    .sort_by(|left, right| left.id.cmp(&right.id));
            }
            None => {
                gone.archived = true;
                wanted.push(gone);
            }
        }
    }
    wanted.sort_by(|left, right| left.id.cmp(&right.id));
}

fn insert_pipeline(
    tx: &Transaction<'_>,
    object: &ObjectType,
    pipeline: &Pipeline,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO pipelines (object, id, label, display_order, archived)
         VALUES (:object, :id, :label, :display_order, :archived)",
    )?
    .execute(named_params! {
        ":object": object.as_str(),
        ":id": pipeline.id,
        ":label": pipeline.label,
        ":display_order": pipeline.display_order,
        ":archived": pipeline.archived,
    })?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO pipeline_stages (object, pipeline_id, id, label, display_order, closed, probability, archived)
         VALUES (:object, :pipeline_id, :id, :label, :display_order, :closed, :probability, :archived)",
    )?;
    for stage in &pipeline.stages {
        statement.execute(named_params! {
            ":object": object.as_str(),
            ":pipeline_id": pipeline.id,
            ":id": stage.id,
            ":label": stage.label,
            ":display_order": stage.display_order,
            ":closed": stage.closed,
            ":probability": stage.probability,
            ":archived": stage.archived,
        })?;
    }
    Ok(())
}

/// An object's pipelines, by id, stages by id; archived ones are left out.
pub fn pipelines(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Vec<Pipeline>, StoreError> {
    let mut pipelines = all_pipelines(connection, object)?;
    pipelines.retain(|pipeline| !pipeline.archived);
    for pipeline in &mut pipelines {
        pipeline.stages.retain(|stage| !stage.archived);
    }
    Ok(pipelines)
}

fn all_pipelines(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Vec<Pipeline>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, label, display_order, archived
         FROM pipelines
         WHERE object = :object
         ORDER BY id",
    )?;
    let rows = statement.query_map(named_params! { ":object": object.as_str() }, |row| {
        Ok(Pipeline {
            id: row.get(0)?,
            label: row.get(1)?,
            display_order: row.get(2)?,
            archived: row.get(3)?,
            stages: Vec::new(),
        })
    })?;
    let mut pipelines = rows.collect::<Result<Vec<_>, _>>()?;
    for pipeline in &mut pipelines {
        pipeline.stages = stages(connection, object, &pipeline.id)?;
    }
    Ok(pipelines)
}

fn stages(
    connection: &Connection,
    object: &ObjectType,
    pipeline: &str,
) -> Result<Vec<Stage>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, label, display_order, closed, probability, archived
         FROM pipeline_stages
         WHERE object = :object AND pipeline_id = :pipeline
         ORDER BY id",
    )?;
    let rows = statement.query_map(
        named_params! { ":object": object.as_str(), ":pipeline": pipeline },
        |row| {
            Ok(Stage {
                id: row.get(0)?,
                label: row.get(1)?,
                display_order: row.get(2)?,
                closed: row.get(3)?,
                probability: row.get(4)?,
                archived: row.get(5)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Replaces an object's properties; those that HubSpot no longer lists stay, archived. Tells whether anything changed.
pub(crate) fn replace_properties(
    tx: &Transaction<'_>,
    object: &ObjectType,
    properties: &[Property],
) -> Result<bool, StoreError> {
    let mut wanted = properties.to_vec();
    wanted.sort_by(|left, right| left.name.cmp(&right.name));
    wanted.dedup_by(|left, right| left.name == right.name);
    let known = self::properties(tx, object)?;
    let listed: BTreeSet<String> = wanted
        .iter()
        .map(|property| property.name.clone())
        .collect();
    let missing = known.iter().filter(|known| !listed.contains(&known.name));
    wanted.extend(missing.cloned().map(|property| Property {
        archived: true,
        ..property
    }));
    wanted.sort_by(|left, right| left.name.cmp(&right.name));
    if known == wanted {
        if has_lost_options(tx, object)? {
            replace_options(tx, object)?;
        }
        return Ok(false);
    }
    tx.prepare_cached("DELETE FROM properties WHERE object = :object")?
        .execute(named_params! { ":object": object.as_str() })?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO properties (object, name, label, type, field_type, group_name, read_only, unique_value, options, archived,
                                 refers_to_record, referenced_object)
         VALUES (:object, :name, :label, :type, :field_type, :group_name, :read_only, :unique_value, :options, :archived,
                 :refers_to_record, :referenced_object)",
    )?;
    for property in wanted {
        statement.execute(named_params! {
            ":object": object.as_str(),
            ":name": property.name,
            ":label": property.label,
            ":type": property.definition.kind,
            ":field_type": property.definition.field_type,
            ":group_name": property.group_name,
            ":read_only": property.definition.read_only,
            ":unique_value": property.definition.unique,
            ":options": property.options,
            ":archived": property.archived,
            ":refers_to_record": property.definition.refers_to_record,
            ":referenced_object": property.referenced_object,
        })?;
    }
    replace_options(tx, object)?;
    Ok(true)
}

/// Makes the options of an object's properties those of their JSON; of two with one value the first counts. Those that were and are
/// no longer are kept apart.
fn replace_options(tx: &Transaction<'_>, object: &ObjectType) -> Result<(), StoreError> {
    let object = named_params! { ":object": object.as_str() };
    tx.prepare_cached(
        "INSERT INTO _sync_gone_options (object, property, value)
         SELECT object, property, value
         FROM _sync_options
         WHERE object = :object
         ON CONFLICT DO NOTHING",
    )?
    .execute(object)?;
    // What was a choice and is text by now has its labels still, for what records hold of it.
    tx.prepare_cached(
        "DELETE FROM _sync_options
         WHERE object = :object
           AND property NOT IN (SELECT p.name FROM properties AS p
                                WHERE p.object = :object AND p.type = 'string'
                                  AND coalesce(json_array_length(p.options), 0) = 0)",
    )?
    .execute(object)?;
    tx.prepare_cached(
        "INSERT INTO _sync_options (object, property, value, label)
         SELECT p.object, p.name, o.value ->> 'value', o.value ->> 'label'
         FROM properties AS p, json_each(p.options) AS o
         WHERE p.object = :object AND o.value ->> 'value' IS NOT NULL
         ON CONFLICT DO NOTHING",
    )?
    .execute(object)?;
    // A property that is no choice any more takes what its new type takes, and so does one whose choices live elsewhere. One that
    // HubSpot has left without a single option takes none of those that it had.
    tx.prepare_cached(
        "DELETE FROM _sync_gone_options
         WHERE object = :object
           AND (value IN (SELECT o.value FROM _sync_options AS o
                          WHERE o.object = :object AND o.property = _sync_gone_options.property)
                OR NOT EXISTS (SELECT 1 FROM properties AS p
                               WHERE p.object = :object AND p.name = _sync_gone_options.property
                                 AND p.type = 'enumeration' AND p.referenced_object IS NULL))",
    )?
    .execute(object)?;
    Ok(())
}

/// Whether the labels of an object's options are lost, though it has options.
fn has_lost_options(tx: &Transaction<'_>, object: &ObjectType) -> Result<bool, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT NOT EXISTS (SELECT 1 FROM _sync_options WHERE object = :object)
            AND EXISTS (SELECT 1 FROM properties WHERE object = :object AND options IS NOT NULL)",
    )?;
    Ok(
        statement.query_row(named_params! { ":object": object.as_str() }, |row| {
            row.get(0)
        })?,
    )
}

/// An object's properties, by name.
pub fn properties(
    connection: &Connection,
    object: &ObjectType,
) -> Result<Vec<Property>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT name, label, coalesce(type, ''), coalesce(field_type, ''), group_name, read_only, unique_value, options, archived,
                refers_to_record, referenced_object
         FROM properties
         WHERE object = :object
         ORDER BY name",
    )?;
    let rows = statement.query_map(named_params! { ":object": object.as_str() }, |row| {
        Ok(Property {
            name: row.get(0)?,
            label: row.get(1)?,
            definition: Definition {
                kind: row.get(2)?,
                field_type: row.get(3)?,
                read_only: row.get(5)?,
                unique: row.get(6)?,
                refers_to_record: row.get(9)?,
            },
            group_name: row.get(4)?,
            referenced_object: row.get(10)?,
            options: row.get(7)?,
            archived: row.get(8)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What the portal last said about these objects' properties, archived ones left out. An object that was never read is
/// missing.
pub(crate) fn definitions(
    connection: &Connection,
    objects: &[ObjectType],
) -> Result<BTreeMap<ObjectType, Definitions>, StoreError> {
    let mut portal = BTreeMap::new();
    for object in objects {
        let found = properties(connection, object)?;
        if !found.is_empty() {
            let live = found.into_iter().filter(|property| !property.archived);
            portal.insert(
                object.clone(),
                live.map(|property| (property.name, property.definition))
                    .collect(),
            );
        }
    }
    Ok(portal)
}

/// What the portal last said about objects that HubSpot doesn't define, by their names in the mapping.
pub fn schemas(connection: &Connection) -> Result<BTreeMap<String, ObjectSchema>, StoreError> {
    remembered(connection, SCHEMAS)
}

/// Remembers what the portal said about such objects.
pub(crate) fn keep_schemas(
    tx: &Transaction<'_>,
    schemas: &BTreeMap<ObjectType, ObjectSchema>,
) -> Result<(), StoreError> {
    remember(tx, SCHEMAS, &schemas)
}

/// Mapped properties that HubSpot was found to answer without listing them, by object.
pub fn unlisted(connection: &Connection) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
    remembered(connection, UNLISTED)
}

/// Remembers such properties.
pub(crate) fn keep_unlisted(
    tx: &Transaction<'_>,
    unlisted: &BTreeMap<ObjectType, BTreeSet<String>>,
) -> Result<(), StoreError> {
    remember(tx, UNLISTED, &unlisted)
}

/// Nothing is remembered in a form that this version doesn't know: it is asked for again.
fn remembered<T: DeserializeOwned + Default>(
    connection: &Connection,
    name: &str,
) -> Result<T, StoreError> {
    let text = meta::get(connection, name)?.unwrap_or_default();
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

fn remember(tx: &Transaction<'_>, name: &str, what: &impl Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_string(what).expect("maps of texts are JSON");
    if meta::get(tx, name)?.as_ref() != Some(&text) {
        meta::set(tx, name, &text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at_once, folder, open};
    use crate::store::{Lane, Mode};

    fn property(name: &str, archived: bool) -> Property {
        Property {
            name: name.to_owned(),
            label: Some("A label".to_owned()),
            definition: Definition {
                kind: "enumeration".to_owned(),
                field_type: "checkbox".to_owned(),
                read_only: false,
                unique: true,
                refers_to_record: true,
            },
            group_name: None,
            referenced_object: None,
            options: Some("[]".to_owned()),
            archived,
        }
    }

    fn pipeline(id: &str) -> Pipeline {
        let stage = |id: &str| Stage {
            id: id.to_owned(),
            label: None,
            display_order: Some(1),
            closed: Some(true),
            probability: Some(0.5),
            archived: false,
        };
        Pipeline {
            id: id.to_owned(),
            label: None,
            display_order: None,
            archived: false,
            stages: vec![stage("won"), stage("lost")],
        }
    }

    #[test]
    fn a_refresh_replaces_everything_and_writes_nothing_twice() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let deals = ObjectType::parse("deals").expect("a name");
        let owner = |id, archived| Owner {
            id,
            email: None,
            first_name: None,
            last_name: None,
            user_id: Some(7),
            archived,
        };
        let answers = at_once(store.write(Lane::Bulk, move |tx| {
            let owners = [owner(2, true), owner(1, false)];
            let pipelines = [pipeline("b"), pipeline("a")];
            let properties = [property("gone", true), property("amount", false)];
            let first = [
                replace_owners(tx, &owners)?,
                replace_pipelines(tx, &deals, &pipelines)?,
                replace_properties(tx, &deals, &properties)?,
            ];
            let second = [
                replace_owners(tx, &owners)?,
                replace_pipelines(tx, &deals, &pipelines)?,
                replace_properties(tx, &deals, &properties)?,
            ];
            let third = replace_owners(tx, &owners[..1])?;
            let definitions = definitions(
                tx,
                &[deals.clone(), ObjectType::parse("tickets").expect("a name")],
            )?;
            Ok((
                first,
                second,
                third,
                owners.len(),
                self::owners(tx)?.len(),
                definitions[&deals].len(),
                definitions.len(),
            ))
        }));
        assert_eq!(
            answers.expect("writes"),
            ([true; 3], [false; 3], true, 2, 1, 1, 1)
        );
    }

    #[test]
    fn what_is_listed_no_more_stays_as_archived_and_is_itself_again_when_it_is_back() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let deals = ObjectType::parse("deals").expect("a name");
        let lists = at_once(store.write(Lane::Bulk, move |tx| {
            let whole = [pipeline("a"), pipeline("b")];
            let mut less = pipeline("a");
            less.stages.pop();
            let properties = [property("amount", false), property("colour", false)];
            let mut lists = Vec::new();
            for (pipelines, properties) in [
                (&whole[..], &properties[..]),
                (&[less][..], &properties[1..]),
                (&whole[..], &properties[..]),
            ] {
                replace_pipelines(tx, &deals, pipelines)?;
                replace_properties(tx, &deals, properties)?;
                let live = pipelines_of(&self::pipelines(tx, &deals)?);
                let all = pipelines_of(&all_pipelines(tx, &deals)?);
                let archived = self::properties(tx, &deals)?.into_iter();
                let archived: Vec<String> = archived
                    .filter(|property| property.archived)
                    .map(|property| property.name)
                    .collect();
                lists.push((live, all, archived.join(" ")));
            }
            Ok(lists)
        }));
        let sorted = "a: lost won; b: lost won".to_owned();
        let kept = "a: lost- won; b-: lost- won-".to_owned();
        let none = String::new();
        assert_eq!(
            lists.expect("writes"),
            [
                (sorted.clone(), sorted.clone(), none.clone()),
                ("a: won".to_owned(), kept, "amount".to_owned()),
                (sorted.clone(), sorted, none),
            ]
        );
    }

    /// Pipelines with their stages; a dash is behind what is archived.
    fn pipelines_of(pipelines: &[Pipeline]) -> String {
        let shown = |id: &str, archived: bool| format!("{id}{}", if archived { "-" } else { "" });
        let texts = pipelines.iter().map(|pipeline| {
            let stages = pipeline.stages.iter();
            let stages: Vec<String> = stages
                .map(|stage| shown(&stage.id, stage.archived))
                .collect();
            format!(
                "{}: {}",
                shown(&pipeline.id, pipeline.archived),
                stages.join(" ")
            )
        });
        texts.collect::<Vec<_>>().join("; ")
    }
}
