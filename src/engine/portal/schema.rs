//! Reads the portal's account and schema, settles types and brings the mirror tables up; makes the key property before
//! the first create.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decide::portal::objects::{ObjectSchema, Unfit, settled};
use crate::decide::schema::{
    Definition, Definitions, FieldProblem, key_is_made, remarks, resolve, synced_objects,
};
use crate::engine::portal::access::LOOK_AT_THE_NAME;
use crate::engine::portal::known;
use crate::engine::portal::objects::{ObjectSync, Objects, PortalInForce};
use crate::engine::portal::pair_types::{self, ShownTypes};
use crate::engine::{Engine, StepError};
use crate::hubspot::HubspotError;
use crate::hubspot::call::standing::with_causes;
use crate::hubspot::endpoints::properties::{NewProperty, PropertyDefinition};
use crate::model::association::PairMapping;
use crate::model::mapping::{Mapping, OWN_KEY, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::group_of;
use crate::model::synced::SyncedObject;
use crate::store::database::lease;
use crate::store::links::pairs;
use crate::store::meta::{FORBIDDEN, MISSING_SCOPE, OBJECT_UNFIT, OBJECT_UNKNOWN};
use crate::store::shape::ddl;
use crate::store::{Lane, fields, meta, quota, reference};

/// Reads account and properties, and puts the objects in force. Refuses a token of another portal before anything else
/// is read. An object whose properties the token may not read, or that HubSpot does not give this time, goes on as it
/// was last known, or waits where it was never read; one that the portal has not waits in any case. The others don't
/// wait for it.
///
/// # Errors
/// HubSpot can't be asked, or gave the properties of no object and none is known.
pub async fn refresh(engine: &Engine) -> Result<Refreshed, StepError> {
    check_portal(engine).await?;
    let known::Schemas {
        found: mut schemas,
        unheard_of,
    } = known::schemas(engine).await?;
    let mut portal = BTreeMap::new();
    let mut definitions = BTreeMap::new();
    let mut kept_back = Vec::new();
    for object in &engine.mapping.objects {
        let name = &object.object;
        let found = match engine.client.properties(name).await {
            Ok(found) => found,
            Err(error) if is_of_one_object(&error) => {
                kept_back.push((name.clone(), KeptBack::Refused(error)));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(schema) = schemas.remove(name) {
            let listed = known::listed(&found);
            schemas.insert(name.clone(), schema.with_defaults(&listed));
        }
        portal.insert(
            name.clone(),
            found.iter().map(named_definition).collect::<Definitions>(),
        );
        definitions.insert(name.clone(), found);
    }
    let names: Vec<ObjectType> = kept_back.iter().map(|(name, _)| name.clone()).collect();
    if !names.is_empty() {
        let former = engine
            .store
            .read(move |connection| reference::definitions(connection, &names))
            .await?;
        portal.extend(former);
    }
    let is_failure = |(_, why): &(ObjectType, KeptBack)| !why.is_unknown_object();
    if portal.is_empty()
        && let Some(at) = kept_back.iter().rposition(is_failure)
        && let KeptBack::Refused(error) = kept_back.swap_remove(at).1
    {
        return Err(error.into());
    }
    engine.memory.refusals.look_again();
    let known = settle(
        &engine.mapping,
        &portal,
        (&schemas, &unheard_of),
        &mut kept_back,
    );
    let unlisted = read_unlisted(engine, &known, &mut portal).await?;
    note_kept_back(engine, &kept_back);
    let (mapping, problems) = resolve(&known, &portal);
    let remarks = remarks(&mapping, &portal);
    let wrong = Wrong { problems, remarks };
    let types = pair_types::read(engine, &mapping).await?;
    let read = ReadSchema {
        definitions,
        schemas: schemas.clone(),
        unlisted: unlisted.clone(),
        types,
    };
    let (mapping, problems) = fit_to_mapping(engine, mapping, wrong, read, &kept_back).await?;
    let objects = synced_objects(&mapping, &problems, &portal, &schemas).into_iter();
    let objects = objects.map(|object| ObjectSync::new(with_unlisted(object, &unlisted)));
    engine.put_in_force(PortalInForce {
        objects: Arc::new(Objects::new(objects.collect())),
        mapping: Some(Arc::new(mapping)),
    });
    let soon = kept_back
        .into_iter()
        .find_map(|(_, why)| why.asked_again_soon());
    Ok(Refreshed { soon })
}

/// Why an object does not go on as the portal has it.
#[derive(Debug)]
pub(super) enum KeptBack {
    /// HubSpot gave its properties not.
    Refused(HubspotError),
    /// HubSpot knows no schema of it, and the file names none of the properties that it answers nevertheless.
    UnheardOf,
    /// What the mapping has of it does not fit.
    Unfit(Unfit),
}

impl KeptBack {
    /// Of an object of which the portal knows no schema, and the file no property, nobody knows what it is.
    fn of_unfit(object: &ObjectMapping, is_unheard_of: bool, unfit: Unfit) -> Self {
        match is_unheard_of && object.fields.is_empty() {
            true => Self::UnheardOf,
            false => Self::Unfit(unfit),
        }
    }

    /// Whether the portal has no such object.
    fn is_unknown_object(&self) -> bool {
        match self {
            Self::Refused(error) => error.status() == Some(404),
            Self::UnheardOf => true,
            Self::Unfit(_) => false,
        }
    }

    /// What is likely to go well when it is asked again: neither a right nor the portal must change for it.
    fn asked_again_soon(self) -> Option<HubspotError> {
        let is_lasting = self.is_unknown_object();
        match self {
            Self::Refused(error) if !is_lasting && !error.is_forbidden() => Some(error),
            Self::Refused(_) | Self::UnheardOf | Self::Unfit(_) => None,
        }
    }

    /// The code in `sync_status`; nothing for what passes.
    fn code(&self) -> &'static str {
        match self {
            Self::Refused(error) if error.is_of_scope() => MISSING_SCOPE,
            Self::Refused(error) if error.is_forbidden() => FORBIDDEN,
            Self::UnheardOf => OBJECT_UNKNOWN,
            Self::Refused(_) if self.is_unknown_object() => OBJECT_UNKNOWN,
            Self::Refused(_) => "",
            Self::Unfit(_) => OBJECT_UNFIT,
        }
    }

    /// The sentence in `sync_status`.
    fn explanation(&self, object: &ObjectMapping) -> String {
        match self {
            Self::UnheardOf => unknown_words(object),
            Self::Refused(_) if self.is_unknown_object() => unknown_words(object),
            Self::Refused(error) => with_causes(error),
            Self::Unfit(unfit) => format!("{}; {}", unfit.problem, unfit.hint),
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::UnheardOf => Some(LOOK_AT_THE_NAME),
            Self::Refused(_) if self.is_unknown_object() => Some(LOOK_AT_THE_NAME),
            Self::Refused(error) => error.hint(),
            Self::Unfit(unfit) => Some(&unfit.hint),
        }
    }
}

/// That the portal has no such object.
fn unknown_words(object: &ObjectMapping) -> String {
    match &object.address {
        Some(address) => format!(
            "the portal has no object `{address}`, which `{}` stands for",
            object.object
        ),
        None => format!("the portal has no object `{}`", object.object),
    }
}

/// The mapping with what the portal's schemas settle, of the objects whose properties are known. What does not fit is kept
/// back.
pub(super) fn settle(
    file: &Mapping,
    portal: &BTreeMap<ObjectType, Definitions>,
    (schemas, unheard_of): (&BTreeMap<ObjectType, ObjectSchema>, &BTreeSet<ObjectType>),
    kept_back: &mut Vec<(ObjectType, KeptBack)>,
) -> Mapping {
    let mapped = file.objects.iter();
    let is_standard = |object: &&ObjectMapping| !schemas.contains_key(&object.object);
    let mut others = Mapping {
        objects: mapped.clone().filter(is_standard).cloned().collect(),
        pairs: Vec::new(),
    };
    let mut known = Mapping::default();
    for object in mapped.filter(|object| portal.contains_key(&object.object)) {
        let Some(schema) = schemas.get(&object.object) else {
            known.objects.push(object.clone());
            continue;
        };
        match settled(object, schema, &others) {
            Ok(settled) => {
                others.objects.push(settled.clone());
                known.objects.push(settled);
            }
            Err(unfit) => {
                let is_unheard_of = unheard_of.contains(&object.object);
                let why = KeptBack::of_unfit(object, is_unheard_of, unfit);
                kept_back.push((object.object.clone(), why));
            }
        }
    }
    known.pairs = file
        .of_objects(|object| known.object(object.object.as_str()).is_some())
        .pairs;
    known
}

/// Adds the properties that HubSpot answers without listing them to what the portal has. Returns their names.
async fn read_unlisted(
    engine: &Engine,
    mapping: &Mapping,
    portal: &mut BTreeMap<ObjectType, Definitions>,
) -> Result<BTreeMap<ObjectType, BTreeSet<String>>, StepError> {
    let former = engine.store.read(reference::unlisted).await?;
    let none = BTreeSet::new();
    let mut unlisted = BTreeMap::new();
    for object in &mapping.objects {
        let Some(listed) = portal.get_mut(&object.object) else {
            continue;
        };
        let former = former.get(object.object.as_str()).unwrap_or(&none);
        let found = known::unlisted_properties(engine, object, listed, former).await?;
        if !found.is_empty() {
            let names = found.keys().cloned().collect();
            unlisted.insert(object.object.clone(), names);
            listed.extend(found);
        }
    }
    Ok(unlisted)
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

/// What is written down of a read of the schema.
struct ReadSchema {
    definitions: BTreeMap<ObjectType, Vec<PropertyDefinition>>,
    schemas: BTreeMap<ObjectType, ObjectSchema>,
    unlisted: BTreeMap<ObjectType, BTreeSet<String>>,
    /// The types of each pair that could be read.
    types: Vec<(PairMapping, ShownTypes)>,
}

/// What a read of the schema left to do.
#[derive(Debug)]
pub struct Refreshed {
    /// Why an object's properties are not known though the token may read them: to be asked again soon.
    pub soon: Option<HubspotError>,
}

/// Whether a refusal or a failure is about the object that was asked for: the next one may go well.
pub(super) fn is_of_one_object(error: &HubspotError) -> bool {
    match error {
        HubspotError::Forbidden { .. }
        | HubspotError::Refused { .. }
        | HubspotError::Server { .. }
        | HubspotError::Unreadable { .. } => true,
        HubspotError::Unauthorized { .. }
        | HubspotError::LoggedOut { .. }
        | HubspotError::Throttled { .. }
        | HubspotError::Locked { .. }
        | HubspotError::Moving { .. }
        | HubspotError::Gateway { .. }
        | HubspotError::NotSent { .. }
        | HubspotError::Lost { .. }
        | HubspotError::HeldBack { .. }
        | HubspotError::Stale { .. }
        | HubspotError::Invalid { .. } => false,
    }
}

/// Says which objects wait. A missing scope is told where it is learnt.
fn note_kept_back(engine: &Engine, kept_back: &[(ObjectType, KeptBack)]) {
    let mut unknown = BTreeMap::new();
    let mut explanation = Vec::new();
    for (name, why) in kept_back {
        let Some(object) = engine.mapping.object(name.as_str()) else {
            continue;
        };
        if why.is_unknown_object() {
            unknown.insert(name.clone(), unknown_words(object));
        }
        explanation.push(format!("{name}: {}", why.explanation(object)));
    }
    engine.memory.refusals.set_unknown(unknown);
    if !engine.memory.refusals.is_news(explanation) {
        return;
    }
    for (name, why) in kept_back {
        let explanation = engine
            .mapping
            .object(name.as_str())
            .map(|object| why.explanation(object));
        tracing::error!(object = %name, error = explanation, hint = why.hint(), "an object can't be read as the mapping has it; it goes on as it was last known, or waits, and the others go on");
    }
}

async fn check_portal(engine: &Engine) -> Result<(), StepError> {
    let account = engine.client.account().await?;
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

fn named_definition(property: &PropertyDefinition) -> (String, Definition) {
    (property.name.clone(), property.to_definition())
}

/// What the portal's schema says against a mapping.
struct Wrong {
    problems: Vec<FieldProblem>,
    remarks: Vec<FieldProblem>,
}

/// Makes the file fit the mapping. Returns the mapping that is in force, and all its problems: what HubSpot changed while
/// values wait is told by the file.
async fn fit_to_mapping(
    engine: &Engine,
    mapping: Mapping,
    wrong: Wrong,
    read: ReadSchema,
    kept_back: &[(ObjectType, KeptBack)],
) -> Result<(Mapping, Vec<FieldProblem>), StepError> {
    let unread: Vec<String> = engine
        .mapping
        .objects
        .iter()
        .filter(|object| mapping.object(object.object.as_str()).is_none())
        .map(|object| unread_line(object, kept_back))
        .collect();
    let Wrong {
        mut problems,
        remarks,
    } = wrong;
    for remark in &remarks {
        tracing::warn!(object = %remark.object, property = %remark.property, hint = %remark.hint, "{}", remark.problem);
    }
    let in_file = engine.mapping.pairs.clone();
    let (mapping, problems) = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            meta::set(tx, meta::UNREAD, &unread.join("\n"))?;
            let (mapping, held) = ddl::hold_types(tx, &mapping)?;
            problems.extend(held);
            // The views with labels follow what properties refer to.
            for (object, found) in &read.definitions {
                let rows: Vec<reference::Property> = found.iter().map(property_row).collect();
                reference::replace_properties(tx, object, &rows)?;
            }
            // The triggers on `associations` tell people the types that a pair has.
            for (pair, shown) in &read.types {
                pair_types::save(tx, pair, shown, now)?;
            }
            let changes = ddl::fit_to_mapping(tx, &mapping, now)?;
            pairs::follow(tx, &in_file, now)?;
            for line in &changes.lines {
                tracing::info!(change = %line, "the mapping changed the mirror");
            }
            for name in &changes.put_back {
                tracing::warn!(name, "somebody dropped or altered this; it was put back");
            }
            fields::set_problems(tx, &problems, now)?;
            fields::set_remarks(tx, &remarks)?;
            reference::keep_schemas(tx, &read.schemas)?;
            reference::keep_unlisted(tx, &read.unlisted)?;
            Ok((mapping, problems))
        })
        .await?;
    for problem in &problems {
        tracing::warn!(object = %problem.object, property = %problem.property, hint = %problem.hint, "{}", problem.problem);
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
        Ok(definition) => definition.has_unique_value,
        Err(error) => {
            let category = error.answer().map(|answer| answer.category.as_str());
            match key_is_made(category, error.status(), error.is_forbidden()) {
                Some(true) => true,
                Some(false) => {
                    tracing::warn!(object = %object.object(), error = %error, "the key property could not be made; creates rely on the match property");
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

    #[test]
    fn an_object_of_which_neither_the_portal_nor_the_file_knows_anything_is_unknown() {
        let named = Desk::new(0).contacts().mapping().clone();
        let mut bare = named.clone();
        bare.fields.clear();
        for (object, is_unheard_of, code) in [
            (&bare, true, OBJECT_UNKNOWN),
            (&bare, false, OBJECT_UNFIT),
            (&named, true, OBJECT_UNFIT),
        ] {
            let unfit = settled(object, &ObjectSchema::default(), &Mapping::default());
            let unfit = unfit.err().unwrap_or(Unfit {
                problem: "there are two of it".to_owned(),
                hint: "take one out".to_owned(),
            });
            let why = KeptBack::of_unfit(object, is_unheard_of, unfit);
            assert_eq!(
                (why.code(), why.is_unknown_object()),
                (code, code == OBJECT_UNKNOWN)
            );
        }
    }
}
