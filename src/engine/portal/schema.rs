//! Reads the portal's account and schema, settles types and brings the mirror tables up; makes the key property before
//! the first create.

use std::collections::BTreeMap;

use crate::decide::portal::owners::{FoundOwners, OwnerPage};
use crate::decide::schema::{
    Definition, Definitions, FieldProblem, key_is_made, remarks, resolve, synced_objects,
};
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::engine::{Engine, StepError};
use crate::hubspot::HubspotError;
use crate::hubspot::call::standing::with_causes;
use crate::hubspot::endpoints::properties::{NewProperty, PropertyDefinition};
use crate::model::mapping::{Mapping, OWN_KEY, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::{StandardObject, group_of};
use crate::model::synced::SyncedObject;
use crate::store::file::lease;
use crate::store::meta::{FORBIDDEN, MISSING_SCOPE};
use crate::store::shape::ddl;
use crate::store::{Lane, StoreError, fields, meta, quota, reference};

/// Reads account and properties, and puts the objects in force. Refuses a token of another portal before anything else
/// is read. An object whose properties the token may not read, or that HubSpot does not give this time, goes on as it
/// was last known, or waits where it was never read; the others don't wait for it.
///
/// # Errors
/// HubSpot can't be asked, or gave the properties of no object and none is known.
pub async fn refresh(engine: &Engine) -> Result<Refreshed, StepError> {
    check_portal(engine).await?;
    let mut portal = BTreeMap::new();
    let mut definitions = BTreeMap::new();
    let mut kept_back = Vec::new();
    for object in &engine.mapping.objects {
        let found = match engine.client.properties(&object.object).await {
            Ok(found) => found,
            Err(error) if is_of_one_object(&error) => {
                kept_back.push((object.object.clone(), error));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        portal.insert(
            object.object.clone(),
            found.iter().map(named_definition).collect::<Definitions>(),
        );
        definitions.insert(object.object.clone(), found);
    }
    let names: Vec<ObjectType> = kept_back.iter().map(|(name, _)| name.clone()).collect();
    if !names.is_empty() {
        let former = engine
            .store
            .read(move |connection| reference::definitions(connection, &names))
            .await?;
        portal.extend(former);
    }
    if portal.is_empty()
        && let Some((_, error)) = kept_back.pop()
    {
        return Err(error.into());
    }
    engine.refusals.look_again();
    note_kept_back(engine, &kept_back);
    let known = engine.mapping.objects.iter();
    let known = Mapping {
        objects: known
            .filter(|object| portal.contains_key(&object.object))
            .cloned()
            .collect(),
    };
    let (mapping, problems) = resolve(&known, &portal);
    let remarks = remarks(&mapping, &portal);
    let wrong = Wrong { problems, remarks };
    let (mapping, problems) = bring_up(engine, mapping, wrong, definitions, &kept_back).await?;
    let objects = synced_objects(&mapping, &problems, &portal).into_iter();
    engine.set_objects(Objects::new(objects.map(ObjectSync::new).collect()));
    engine.set_resolved(mapping);
    let soon = kept_back
        .iter()
        .position(|(_, error)| !error.is_forbidden());
    Ok(Refreshed {
        soon: soon.map(|at| kept_back.swap_remove(at).1),
    })
}

/// What a read of the schema left to do.
#[derive(Debug)]
pub struct Refreshed {
    /// Why an object's properties are not known though the token may read them: to be asked again soon.
    pub soon: Option<HubspotError>,
}

/// Whether a refusal or a failure is about the object that was asked for: the next one may go well.
fn is_of_one_object(error: &HubspotError) -> bool {
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
fn note_kept_back(engine: &Engine, kept_back: &[(ObjectType, HubspotError)]) {
    let words = kept_back
        .iter()
        .map(|(object, error)| format!("{object}: {error}"));
    if !engine.refusals.is_news(words.collect()) {
        return;
    }
    for (object, error) in kept_back {
        tracing::error!(object = %object, error = %error, hint = error.hint(), "the properties of an object could not be read; it goes on as it was last known, or waits, and the others go on");
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
async fn bring_up(
    engine: &Engine,
    mapping: Mapping,
    wrong: Wrong,
    definitions: BTreeMap<ObjectType, Vec<PropertyDefinition>>,
    kept_back: &[(ObjectType, HubspotError)],
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
    let (mapping, problems) = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let now = tx.now();
            meta::set(tx, meta::UNREAD, &unread.join("\n"))?;
            let (mapping, held) = ddl::hold_types(tx, &mapping)?;
            problems.extend(held);
            let changes = ddl::bring_up(tx, &mapping, now)?;
            for line in &changes.lines {
                tracing::info!(change = %line, "the mapping changed the mirror");
            }
            for name in &changes.put_back {
                tracing::warn!(name, "somebody dropped or altered this; it was put back");
            }
            fields::set_problems(tx, &problems, now)?;
            fields::set_remarks(tx, &remarks)?;
            for (object, found) in &definitions {
                let rows: Vec<reference::Property> = found.iter().map(property_row).collect();
                reference::replace_properties(tx, object, &rows)?;
            }
            Ok((mapping, problems))
        })
        .await?;
    for problem in &problems {
        tracing::warn!(object = %problem.object, property = %problem.property, hint = %problem.hint, "{}", problem.problem);
    }
    Ok((mapping, problems))
}

/// A line of `meta::UNREAD`.
fn unread_line(object: &ObjectMapping, kept_back: &[(ObjectType, HubspotError)]) -> String {
    let error = kept_back
        .iter()
        .find(|(name, _)| *name == object.object)
        .map(|(_, error)| error);
    let code = match error {
        Some(error) if error.is_of_scope() => MISSING_SCOPE,
        Some(error) if error.is_forbidden() => FORBIDDEN,
        Some(error) if error.status() == Some(404) => "object-unknown",
        Some(_) | None => "",
    };
    let why = match error {
        Some(error) if error.status() == Some(404) => {
            format!("the portal has no object `{}`", object.object)
        }
        Some(error) => with_causes(error),
        None => String::new(),
    };
    let parts = [
        object.object.as_str(),
        object.table.as_str(),
        object.direction.as_str(),
        why.as_str(),
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
        options: (!options.is_empty()).then(|| serde_json::Value::Array(options).to_string()),
        archived: property.archived,
    }
}

/// The object with its key property, made before its first create where the mapping wants it. A refusal leaves the
/// match property as natural key.
pub async fn ensure_key(engine: &Engine, object: &ObjectSync) -> Result<ObjectSync, StepError> {
    if !object.key_wanted {
        return Ok(object.clone());
    }
    let property = NewProperty {
        name: OWN_KEY.to_owned(),
        label: "hubsyncd key".to_owned(),
        kind: "string".to_owned(),
        field_type: "text".to_owned(),
        group_name: group_of(object.object()),
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

/// Reads owners and pipelines into the reference tables, each as far as HubSpot gives it.
///
/// # Errors
/// The first that failed; the others are written down.
pub async fn refresh_reference(engine: &Engine) -> Result<(), StepError> {
    let mut failure = None;
    let owners = read_if_allowed(read_owners(engine).await, &mut failure);
    let mut pipelines = Vec::new();
    for object in &engine.mapping.objects {
        let standard = StandardObject::of(object.object.as_str());
        if standard.is_some_and(|standard| standard.has_pipelines) {
            let read = engine.client.pipelines(&object.object).await;
            let read = read_if_allowed(read.map_err(StepError::from), &mut failure);
            pipelines.extend(read.map(|read| (object.object.clone(), read)));
        }
    }
    let is_whole = failure.is_none();
    engine
        .store
        .write(Lane::Bulk, move |tx| -> Result<(), StoreError> {
            if is_whole {
                meta::set(tx, "reference_read_at", &tx.now().to_string())?;
            }
            if let Some(owners) = owners {
                let owners = owners.joined(reference::owners(tx)?);
                reference::replace_owners(tx, &owners)?;
            }
            for (object, found) in &pipelines {
                reference::replace_pipelines(tx, object, found)?;
            }
            Ok(())
        })
        .await?;
    failure.map_or(Ok(()), Err)
}

/// What was read; the first failure is kept, and what is forbidden to the token is none: the table stays as it is.
fn read_if_allowed<T>(read: Result<T, StepError>, failure: &mut Option<StepError>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(StepError::Hubspot(error)) if error.is_forbidden() => None,
        Err(error) => {
            failure.get_or_insert(error);
            None
        }
    }
}

/// Both lists of owners, each page by page.
async fn read_owners(engine: &Engine) -> Result<FoundOwners, StepError> {
    let mut found = FoundOwners::default();
    for archived in [false, true] {
        let mut after = None;
        for number in 1.. {
            let page = engine.client.owners(after.as_deref(), archived).await?;
            after = page.after;
            match found.take(page.records, &page.unread, after.is_some(), number) {
                OwnerPage::Next => {}
                OwnerPage::Last => break,
                OwnerPage::Circle => {
                    tracing::warn!(
                        total = found.len(),
                        "HubSpot's list of owners leads to no end; those beyond stay as they are known"
                    );
                    break;
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::{Desk, run};

    fn page(id: u32, after: Option<&str>) -> String {
        let next = after.map_or_else(String::new, |after| {
            format!(r#","paging":{{"next":{{"after":"{after}"}}}}"#)
        });
        format!(r#"{{"results":[{{"id":"{id}","email":"{id}@example.com"}}]{next}}}"#)
    }

    fn read(desk: &Desk) -> Vec<i64> {
        run(refresh_reference(&desk.engine)).expect("is read");
        let owners = desk.engine.store().read(reference::owners);
        let owners = run(owners).expect("owners");
        owners.into_iter().map(|owner| owner.id).collect()
    }

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
    fn a_list_of_owners_that_leads_to_no_end_is_walked_until_nobody_new_comes() {
        let same: [(u32, &str); 20] = std::array::from_fn(|page| match page {
            0 => (1, "QQ"),
            _ => (2, "QQ"),
        });
        let in_turn: [(u32, &str); 20] = std::array::from_fn(|page| match page {
            0 => (1, "QQ"),
            odd if odd % 2 == 1 => (2, "Qg"),
            _ => (3, "QQ"),
        });
        for (pages, requests, owners) in [(same, 4, vec![1, 2, 7]), (in_turn, 5, vec![1, 2, 3, 7])]
        {
            let desk = Desk::new(0);
            desk.contacts();
            desk.hubspot.answer("/owners", page(7, None));
            assert_eq!(read(&desk), [7]);
            let before = desk.hubspot.asked("/owners").len();
            for (id, after) in pages {
                desk.hubspot.answer("/owners", page(id, Some(after)));
            }
            // Whoever stands beyond stays as known.
            assert_eq!(read(&desk), owners);
            // One more is the list of those that were deactivated.
            assert_eq!(desk.hubspot.asked("/owners").len() - before, requests);
        }
    }
}
