//! The mapping against the portal: scopes, objects, properties, keys, associations, pipelines.

use std::collections::BTreeSet;

use crate::app::doctor::portal::Asked;
use crate::config::Config;
use crate::decide::portal::doctor::{self, CheckLine, Colour, FoundProperty};
use crate::decide::portal::scopes::{Access, add_it};
use crate::decide::portal::wishes::PropertyWish;
use crate::decide::schema::FieldProblem;
use crate::engine::portal::reading::{self, Former, KeptBack, PortalReading};
use crate::hubspot::call::standing::with_causes;
use crate::hubspot::endpoints::associations::Ends;
use crate::hubspot::endpoints::properties::PropertyDefinition;
use crate::hubspot::{Client, HubspotError, ListQuery, Priority};
use crate::model::mapping::ObjectMapping;
use crate::model::object::{StandardObject, stage_properties};

/// Adds the lines of all objects and pairs.
pub(super) async fn compare(config: &Config, asked: &Asked, lines: &mut Vec<CheckLine>) {
    let client = asked.asking.client();
    let read = match reading::read(client, &config.mapping, Former::default()).await {
        Ok(read) => read,
        Err(error) => {
            let line = of_error("portal", &error).leaving_out("the objects and their properties");
            lines.retain(|known| known.name != line.name);
            lines.push(line);
            return;
        }
    };
    for object in &config.mapping.objects {
        let kept_back = read
            .kept_back
            .iter()
            .find(|(name, _)| *name == object.object);
        match kept_back {
            Some((_, KeptBack::Refused(error))) if error.is_forbidden() => {
                let what = format!(
                    "the object, its properties, `key` and `match` of {}",
                    object.object
                );
                let name = format!("scope {} schema", object.object);
                lines.push(of_error(&name, error).leaving_out(&what));
            }
            Some((_, why)) => {
                let name = format!("object {}", object.object);
                let hint = why.hint().unwrap_or_default();
                let code = match (why.code(), why) {
                    ("", KeptBack::Refused(error)) => error.code(),
                    (code, _) => code,
                };
                let what = "its scopes and properties";
                let line = CheckLine::red(&name, code, why.explanation(object), &hint);
                lines.push(line.leaving_out(what));
            }
            None => {
                lines.extend(scopes(object, asked).await);
                lines.extend(of_object(object, &read, (client, &config.creates)).await);
            }
        }
    }
    for pair in &config.mapping.pairs {
        let name = format!("association {}", pair.key);
        let (from, to) = (&pair.from, &pair.to);
        lines.push(match client.association_types(Ends { from, to }).await {
            Ok(types) if types.is_empty() => CheckLine::yellow(
                &name,
                "no-association-type",
                format!("HubSpot knows no association from {from} to {to}"),
                "take the pair out of `[associations]`, or make a label for it in HubSpot",
            ),
            Ok(types) => {
                let labels = types.iter().filter(|kind| kind.label.is_some()).count();
                let total = types.len();
                CheckLine::green(name, format!("{total} types, {labels} of them labels"))
            }
            Err(error) => yellow_of_error(&name, &error),
        });
    }
}

fn of_error(name: &str, error: &HubspotError) -> CheckLine {
    let hint = error.hint().unwrap_or_default();
    CheckLine::red(name, error.code(), with_causes(error), &hint)
}

fn yellow_of_error(name: &str, error: &HubspotError) -> CheckLine {
    let hint = error.hint().unwrap_or_default();
    CheckLine::yellow(name, error.code(), with_causes(error), &hint)
}

/// The lines of the scopes that an object needs, each found out by a request.
async fn scopes(object: &ObjectMapping, asked: &Asked) -> Vec<CheckLine> {
    let name = &object.object;
    let line = |which: &str, access: Access, tried: Result<(), HubspotError>| {
        let line = format!("scope {name} {which}");
        match tried {
            Ok(()) => CheckLine::green(line, format!("`{}`", access.scope(name.as_str()))),
            Err(error) => of_error(&line, &error),
        }
    };
    let mut lines = vec![line("schema", Access::Definitions, Ok(()))];
    let query = ListQuery {
        limit: 1,
        ..ListQuery::default()
    };
    let read = asked
        .asking
        .client()
        .list(name, &query, Priority::Interactive)
        .await;
    lines.push(line("read", Access::Read, read.map(drop)));
    if object.direction.pushes() {
        let scope = Access::Write.scope(name.as_str());
        let is_granted = asked
            .scopes
            .as_ref()
            .is_some_and(|granted| granted.contains(&scope));
        let write = match is_granted {
            true => Ok(()),
            false => asked.asking.client().try_to_write(name).await,
        };
        lines.push(line("write", Access::Write, write));
    }
    lines
}

/// The lines of an object, its properties, its key and match, and its pipelines.
async fn of_object(
    object: &ObjectMapping,
    read: &PortalReading,
    (client, wishes): (&Client, &[PropertyWish]),
) -> Vec<CheckLine> {
    let name = &object.object;
    let mapped = read.mapping.object(name.as_str()).unwrap_or(object);
    let Some(portal) = read.portal.get(name) else {
        return Vec::new();
    };
    let required = required(object, read);
    let mut lines = vec![of_itself(object, mapped, &required)];
    let is_missing = |property: &str| !portal.contains_key(property);
    let fields = mapped.fields.iter();
    let archived = match fields
        .clone()
        .any(|field| is_missing(field.property.as_str()))
    {
        true => client.archived_properties(name).await.unwrap_or_default(),
        false => Vec::new(),
    };
    let listed = read.definitions.get(name);
    for field in fields {
        let property = field.property.as_str();
        let found = match portal.get(property) {
            Some(definition) => {
                let listed = listed.into_iter().flatten();
                let listed = listed.filter(|listed| listed.name == property);
                FoundProperty::There {
                    definition,
                    options: listed.map(|listed| listed.options.len()).sum(),
                    is_required: required.contains(property),
                }
            }
            None if archived.iter().any(|name| name == property) => FoundProperty::Archived,
            None => FoundProperty::Missing,
        };
        let in_file = object.field(&field.property).unwrap_or(field);
        let is_it =
            |wrong: &&FieldProblem| wrong.object == *name && wrong.property == field.property;
        let wrong = read.problems.iter().find(is_it);
        let line = doctor::property(mapped, in_file, found, wrong);
        let wish = wishes
            .iter()
            .find(|wish| wish.object == *name && wish.property == field.property);
        lines.push(as_declared(line, found, wish, listed));
    }
    lines.push(doctor::key(mapped, |name| portal.get(name)));
    lines.extend(doctor::match_property(mapped, |name| portal.get(name)));
    if stage_properties(name, |property| portal.contains_key(property)).is_some() {
        lines.push(pipelines(object, client).await);
    }
    lines
}

/// The line of a property that the file declares: what is missing can be made.
fn as_declared(
    line: CheckLine,
    found: FoundProperty<'_>,
    wish: Option<&PropertyWish>,
    listed: Option<&Vec<PropertyDefinition>>,
) -> CheckLine {
    let Some(wish) = wish else {
        return line;
    };
    if matches!(found, FoundProperty::Missing | FoundProperty::Archived) {
        return CheckLine {
            hint: Some(doctor::MAKE_IT.to_owned()),
            ..line
        };
    }
    let mut listed = listed.into_iter().flatten();
    let listed = listed.find(|listed| listed.name == wish.property.as_str());
    let missing = listed.map(|listed| wish.missing_options(&listed.options));
    match missing {
        Some(missing) if line.status == Colour::Green && !missing.is_empty() => {
            doctor::options_missing(&line.name, &missing)
        }
        Some(_) | None => line,
    }
}

/// The properties without which HubSpot takes no new record.
fn required(object: &ObjectMapping, read: &PortalReading) -> BTreeSet<String> {
    let standard = StandardObject::of(object.object.as_str());
    let standard = standard.into_iter().flat_map(|known| known.required);
    let of_schema = read.schemas.get(&object.object);
    let of_schema = of_schema.into_iter().flat_map(|schema| &schema.required);
    standard
        .map(|name| (*name).to_owned())
        .chain(of_schema.cloned())
        .collect()
}

fn of_itself(
    object: &ObjectMapping,
    mapped: &ObjectMapping,
    required: &BTreeSet<String>,
) -> CheckLine {
    let name = format!("object {}", object.object);
    let unmapped: Vec<&str> = required
        .iter()
        .map(String::as_str)
        .filter(|required| {
            mapped
                .fields
                .iter()
                .all(|field| field.property.as_str() != *required)
        })
        .collect();
    let makes_records = object.direction.pushes() && object.modes.new_records.makes_records();
    if makes_records && !unmapped.is_empty() {
        let list = unmapped.join("`, `");
        return CheckLine::yellow(
            &name,
            "required-property",
            format!(
                "HubSpot takes no new record without `{list}`, which the file does not map: new rows are refused"
            ),
            "map it, or write `new_records = \"from_hubspot\"`",
        );
    }
    let address = mapped.address().as_str();
    let known = match address == object.object.as_str() {
        true => String::new(),
        false => format!(" (HubSpot's {address})"),
    };
    CheckLine::green(
        name,
        format!(
            "{} properties to table `{}`{known}",
            mapped.fields.len(),
            mapped.table
        ),
    )
}

async fn pipelines(object: &ObjectMapping, client: &Client) -> CheckLine {
    let name = format!("pipelines {}", object.object);
    match client.pipelines(&object.object).await {
        Ok(found) if found.is_empty() => CheckLine::yellow(
            &name,
            "no-pipeline",
            "the object has no pipeline, so that no stage can be checked".to_owned(),
            "make one in HubSpot, or take the two properties of pipeline and stage out",
        ),
        Ok(found) => {
            let stages: usize = found.iter().map(|pipeline| pipeline.stages.len()).sum();
            CheckLine::green(name, format!("{} with {stages} stages", found.len()))
        }
        Err(error) if error.is_of_scope() => {
            let line = yellow_of_error(&name, &error);
            CheckLine {
                hint: Some(add_it()),
                ..line
            }
        }
        Err(error) => yellow_of_error(&name, &error),
    }
}
