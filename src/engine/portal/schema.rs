//! Reads the portal's account and schema, settles types and brings the mirror tables up; makes the key property before
//! the first create.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decide::outgoing::refusal::OF_PROPERTIES;
use crate::decide::schema::{FieldProblem, key_is_made, synced_objects};
use crate::engine::portal::objects::{ObjectSync, Objects, PortalInForce};
use crate::engine::portal::pair_types::{self, PairsRead};
use crate::engine::portal::reading::{self, Former, KeptBack, PortalReading};
use crate::engine::{Engine, StepError};
use crate::hubspot::endpoints::properties::{NewProperty, PropertyDefinition};
use crate::hubspot::{Client, HubspotError, Retry};
use crate::model::association::PairMapping;
use crate::model::mapping::{Mapping, OWN_KEY, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::group_of;
use crate::model::synced::SyncedObject;
use crate::store::database::lease;
use crate::store::links::pairs;
use crate::store::meta::{self, PUT_BACK};
use crate::store::shape::{ddl, options};
use crate::store::{Lane, StoreError, cleared, fields, outbox, quota, reference};

/// Reads account and properties, and puts the objects in force. Refuses a token of another portal before anything else
/// is read. An object whose properties the token may not read, or that HubSpot does not give this time, goes on as it
/// was last known, or waits where it was never read; one that the portal has not waits in any case. The others don't
/// wait for it.
///
/// # Errors
/// HubSpot can't be asked, or gave the properties of no object and none is known.
pub async fn refresh(engine: &Engine) -> Result<Refreshed, StepError> {
    loop {
        let read = read(engine, &engine.client, engine.mapping()).await?;
        let alone = engine.fitting.lock().await;
        // Another mapping was put in force while HubSpot answered for the former one.
        if Arc::ptr_eq(&read.in_file, &engine.mapping()) {
            let refreshed = fit(engine, read).await;
            drop(alone);
            return refreshed;
        }
    }
}

/// What the portal has of a mapping, before any of it is in force.
#[derive(Debug)]
pub(crate) struct SchemaRead {
    in_file: Arc<Mapping>,
    portal: PortalReading,
    pairs: PairsRead,
}

/// Asks for account, properties and the types of pairs, by a client of its own where another token is to be tried. The mirror
/// and what is in force stay as they are.
///
/// # Errors
/// As [`refresh`].
pub(crate) async fn read(
    engine: &Engine,
    client: &Client,
    in_file: Arc<Mapping>,
) -> Result<SchemaRead, StepError> {
    check_portal(engine, client).await?;
    let names: Vec<ObjectType> = in_file.objects.iter().map(name_of).collect();
    let former = engine.store.read(move |connection| {
        Ok::<_, StoreError>(Former {
            schemas: reference::schemas(connection)?,
            definitions: reference::definitions(connection, &names)?,
            unlisted: reference::unlisted(connection)?,
        })
    });
    let mut portal = reading::read(client, &in_file, former.await?).await?;
    if let Some(error) = portal.nothing_is_known() {
        return Err(error.into());
    }
    let pairs = pair_types::read(client, &portal.mapping).await?;
    Ok(SchemaRead {
        in_file,
        portal,
        pairs,
    })
}

/// Makes the mirror fit what was read, and puts its mapping and objects in force. Where the mapping is another one than
/// before, no step may be at work that goes by the former of an object that differs.
///
/// # Errors
/// The database refuses the mapping, or anything else: all stays as it was.
pub(crate) async fn put_in_force(
    engine: &Engine,
    read: SchemaRead,
) -> Result<Refreshed, StepError> {
    let _alone = engine.fitting.lock().await;
    fit(engine, read).await
}

/// The same, for whoever is the only one that does so.
async fn fit(engine: &Engine, read: SchemaRead) -> Result<Refreshed, StepError> {
    let SchemaRead {
        in_file,
        portal: mut read,
        pairs,
    } = read;
    let PairsRead { shown, unread } = pairs;
    let kept_back = std::mem::take(&mut read.kept_back);
    let (portal, schemas) = (read.portal.clone(), read.schemas.clone());
    let unlisted = read.unlisted.clone();
    let (mapping, problems) = fit_to_mapping(engine, &in_file, read, shown, &kept_back).await?;
    engine.memory.refusals.look_again();
    note_kept_back(engine, &in_file, &kept_back);
    let former = engine.mapping();
    engine.take_mapping(in_file);
    engine.forget_unmapped(&former);
    let objects = synced_objects(&mapping, &problems, &portal, &schemas).into_iter();
    let objects = objects.map(|object| ObjectSync::new(with_unlisted(object, &unlisted)));
    engine.put_in_force(PortalInForce {
        objects: Arc::new(Objects::new(objects.collect())),
        mapping: Some(Arc::new(mapping)),
    });
    let soon = kept_back
        .into_iter()
        .find_map(|(_, why)| why.asked_again_soon());
    let of_pair = why_a_pair_waits(engine, unread).await?;
    engine.memory.refusals.set_pair_waits(of_pair.is_some());
    Ok(Refreshed {
        soon: soon.or(of_pair),
    })
}

/// Why the types of a pair are not known that waits for them.
async fn why_a_pair_waits(
    engine: &Engine,
    unread: Vec<(PairMapping, HubspotError)>,
) -> Result<Option<HubspotError>, StepError> {
    if unread.is_empty() {
        return Ok(None);
    }
    let read = engine.store.read(move |connection| {
        let waits = pair_types::waits(connection, &unread)?;
        let mut unread = unread;
        Ok::<_, StoreError>(waits.map(|at| unread.swap_remove(at).1))
    });
    Ok(read.await?)
}

/// Has the triggers go by the guard in force; a read of the schema does so too.
///
/// # Errors
/// The database refused.
pub(crate) async fn say_guard(engine: &Engine) -> Result<(), StepError> {
    let guard = engine.settings().guard;
    let said = engine
        .store
        .write(Lane::Interactive, move |tx| cleared::set_bound(tx, &guard));
    Ok(said.await?)
}

fn name_of(object: &ObjectMapping) -> ObjectType {
    object.object.clone()
}

pub(super) fn with_unlisted(
    object: SyncedObject,
    unlisted: &BTreeMap<ObjectType, BTreeSet<String>>,
) -> SyncedObject {
    let names = unlisted.get(object.object()).into_iter().flatten();
    let names = names.filter_map(|name| PropertyName::parse(name).ok());
    SyncedObject {
        unlisted: names.collect(),
        ..object
    }
}

/// What a read of the schema left to do.
#[derive(Debug)]
pub struct Refreshed {
    /// Why an object's properties, or a pair's types, are not known though the token may read them: to be asked again soon.
    pub soon: Option<HubspotError>,
}

/// Says which objects wait. A missing scope is told where it is learnt.
fn note_kept_back(engine: &Engine, in_file: &Mapping, kept_back: &[(ObjectType, KeptBack)]) {
    let mut unknown = BTreeMap::new();
    let mut explanation = Vec::new();
    for (name, why) in kept_back {
        let Some(object) = in_file.object(name.as_str()) else {
            continue;
        };
        if why.is_unknown_object() {
            unknown.insert(name.clone(), reading::unknown_words(object));
        }
        explanation.push(format!("{name}: {}", why.explanation(object)));
    }
    engine.memory.refusals.set_unknown(unknown);
    if !engine.memory.refusals.is_news(explanation) {
        return;
    }
    for (name, why) in kept_back {
        let object = in_file.object(name.as_str());
        let explanation = object.map(|object| why.explanation(object));
        tracing::error!(object = %name, error = explanation, hint = why.hint().as_deref(), code = why.code(), "an object can't be read as the mapping has it; it goes on as it was last known, or waits, and the others go on");
    }
}

async fn check_portal(engine: &Engine, client: &Client) -> Result<(), StepError> {
    let account = client.account().await?;
    let found = account.portal_id;
    if let Some(expected) = engine
        .settings()
        .portal
        .filter(|expected| *expected != found)
    {
        return Err(StepError::OtherPortal { found, expected });
    }
    if let Some(zone) = &account.time_zone {
        engine.client.limiter().set_time_zone(zone);
    }
    let zone = account.time_zone.clone();
    let day = engine.client.limiter().snapshot().day;
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            lease::check_portal(tx, found)?;
            if let Some(zone) = zone {
                if meta::get(tx, meta::TIME_ZONE)?.as_ref() != Some(&zone) {
                    quota::name_day(tx, &day)?;
                }
                meta::set(tx, meta::TIME_ZONE, &zone)?;
            }
            meta::set(tx, "schema_read_at", &now.to_string())
        })
        .await?;
    Ok(())
}

/// Makes the file fit the mapping. Returns the mapping that is in force, and all its problems: what HubSpot changed while
/// values wait is told by the file.
async fn fit_to_mapping(
    engine: &Engine,
    in_file: &Arc<Mapping>,
    read: PortalReading,
    types: Vec<(PairMapping, pair_types::ShownTypes)>,
    kept_back: &[(ObjectType, KeptBack)],
) -> Result<(Mapping, Vec<FieldProblem>), StepError> {
    let PortalReading {
        mapping,
        mut problems,
        remarks,
        definitions,
        schemas,
        unlisted,
        ..
    } = read;
    let unread: Vec<String> = in_file
        .objects
        .iter()
        .filter(|object| mapping.object(object.object.as_str()).is_none())
        .map(|object| unread_line(object, kept_back))
        .collect();
    for remark in &remarks {
        tracing::warn!(object = %remark.object, property = %remark.property, code = remark.code, hint = %remark.hint, "{}", remark.problem);
    }
    let in_file = Arc::clone(in_file);
    let guard = engine.settings().guard;
    let (mapping, problems, told) = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            cleared::set_bound(tx, &guard)?;
            meta::set(tx, meta::UNREAD, &unread.join("\n"))?;
            let (mapping, held) = ddl::hold_types(tx, &mapping, &problems)?;
            problems.extend(held);
            let (mapping, locked) = ddl::hold_directions(tx, &mapping, &in_file)?;
            problems.extend(locked);
            // The views with labels follow what properties refer to.
            for (object, found) in &definitions {
                let rows: Vec<reference::Property> = found.iter().map(property_row).collect();
                if reference::replace_properties(tx, object, &rows)? {
                    outbox::revive_refused(tx, object, &OF_PROPERTIES, now)?;
                }
            }
            // The triggers on `associations` tell people the types that a pair has.
            for (pair, shown) in &types {
                pair_types::save(tx, pair, shown, now)?;
            }
            let changes = ddl::fit_to_mapping(tx, &mapping, now)?;
            pairs::follow(tx, &in_file.pairs, now)?;
            for line in &changes.lines {
                tracing::info!(change = %line, "the mapping changed the mirror");
            }
            for name in &changes.put_back {
                tracing::warn!(
                    name,
                    code = PUT_BACK,
                    "somebody dropped or altered this; it was put back"
                );
            }
            // Of these fields everything else is synced on.
            let lost = options::lost(tx, &mapping)?;
            let told: Vec<FieldProblem> = problems.iter().chain(&lost).cloned().collect();
            fields::set_problems(tx, &told, now)?;
            fields::set_remarks(tx, &remarks)?;
            reference::keep_schemas(tx, &schemas)?;
            reference::keep_unlisted(tx, &unlisted)?;
            Ok((mapping, problems, told))
        })
        .await?;
    for problem in &told {
        tracing::warn!(object = %problem.object, property = %problem.property, code = problem.code, hint = %problem.hint, "{}", problem.problem);
    }
    Ok((mapping, problems))
}

/// A line of `meta::UNREAD`.
fn unread_line(object: &ObjectMapping, kept_back: &[(ObjectType, KeptBack)]) -> String {
    let why = kept_back.iter().find(|(name, _)| *name == object.object);
    let explanation = why
        .map(|(_, why)| why.explanation(object))
        .unwrap_or_default();
    let code = why.map_or("", |(_, why)| why.code());
    let parts = [
        object.object.as_str(),
        object.table.as_str(),
        object.direction.as_str(),
        explanation.as_str(),
        code,
    ];
    // A tab or a line's end in a sentence would make another line of it.
    parts.map(|part| part.replace(['\t', '\n'], " ")).join("\t")
}

fn property_row(property: &PropertyDefinition) -> reference::Property {
    let options: Vec<serde_json::Value> = property
        .options
        .iter()
        .map(|(value, label)| serde_json::json!({ "value": value, "label": label }))
        .collect();
    reference::Property {
        name: property.name.clone(),
        label: Some(property.label.clone()),
        definition: property.to_definition(),
        group_name: Some(property.group_name.clone()),
        referenced_object: property.referenced_object_type.clone(),
        options: (!options.is_empty()).then(|| serde_json::Value::Array(options).to_string()),
        archived: property.archived,
    }
}

/// The object with its key property, made before its first create where the mapping wants it. A refusal leaves the
/// match property as natural key.
pub(crate) async fn ensure_key(
    engine: &Engine,
    object: &ObjectSync,
) -> Result<ObjectSync, StepError> {
    // A step before this one may have made it.
    let in_force = engine.object(object.object());
    let object = in_force.as_deref().unwrap_or(object);
    if !object.key_wanted {
        return Ok(object.clone());
    }
    let property = NewProperty {
        name: OWN_KEY.to_owned(),
        label: "hubsyncd key".to_owned(),
        kind: "string".to_owned(),
        field_type: "text".to_owned(),
        group_name: own_group(engine, object.object()).await?,
        has_unique_value: true,
        hidden: true,
        description: "Tells hubsyncd which records it has created.".to_owned(),
        options: Vec::new(),
    };
    let made = match engine
        .client
        .create_property(object.object(), &property)
        .await
    {
        Ok(definition) => {
            let is_unique = definition.has_unique_value;
            note_made(engine, object.object(), &definition).await?;
            is_unique
        }
        Err(error) => {
            let category = error.answer().map(|answer| answer.category.as_str());
            let is_refused = matches!(error.retry(), Retry::Never | Retry::Split);
            match key_is_made(category, is_refused) {
                Some(true) => is_made_unique(engine, object.object()).await?,
                Some(false) => {
                    tracing::warn!(object = %object.object(), error = %error, code = error.code(), "the key property could not be made; creates rely on the match property");
                    false
                }
                None => return Err(error.into()),
            }
        }
    };
    if made {
        tracing::info!(object = %object.object(), property = OWN_KEY, "the hidden unique property for creates is there");
    }
    let key_property = PropertyName::parse(OWN_KEY).ok().filter(|_| made);
    let synced = ObjectSync::new(SyncedObject::clone(object).keyed(key_property));
    engine.replace_object(&synced);
    Ok(synced)
}

/// Whether the key property is unique that somebody else has made since the schema was read. One that HubSpot calls existing
/// and does not list is taken for ours.
async fn is_made_unique(engine: &Engine, object: &ObjectType) -> Result<bool, StepError> {
    let listed = engine.client.properties(object).await?;
    let Some(made) = listed.into_iter().find(|found| found.name == OWN_KEY) else {
        return Ok(true);
    };
    note_made(engine, object, &made).await?;
    if !made.has_unique_value {
        tracing::warn!(object = %object, property = OWN_KEY, code = "key-not-unique", "HubSpot does not keep the key property unique; creates rely on the match property");
    }
    Ok(made.has_unique_value)
}

/// Writes down that a property is there, which the last read of the schema did not show.
async fn note_made(
    engine: &Engine,
    object: &ObjectType,
    made: &PropertyDefinition,
) -> Result<(), StoreError> {
    let (object, made) = (object.clone(), property_row(made));
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let mut known = reference::properties(tx, &object)?;
            known.retain(|property| property.name != made.name);
            known.push(made);
            reference::replace_properties(tx, &object, &known).map(drop)
        })
        .await
}

/// The group in which a property of ours stands.
async fn own_group(engine: &Engine, object: &ObjectType) -> Result<String, StepError> {
    if let Some(known) = group_of(object) {
        return Ok(known.to_owned());
    }
    let groups = engine.client.property_groups(object).await?;
    Ok(groups.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::{Desk, run};

    #[test]
    fn an_empty_list_of_properties_leaves_every_field_as_it_was_and_is_asked_for_again_soon() {
        let desk = Desk::new(0);
        let before = desk.contacts();
        desk.hubspot.answer("/properties/", r#"{"results":[]}"#);
        let refreshed = run(refresh(&desk.engine)).expect("goes on");
        assert!(refreshed.soon.is_some());
        let after = desk.engine.object(before.object()).expect("contacts");
        assert_eq!(after.mapping(), before.mapping());
        let degraded = desk.engine.store().read(fields::troubled);
        assert_eq!(run(degraded).expect("fields"), []);
    }
}
