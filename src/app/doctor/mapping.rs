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
use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::ObjectType;
use crate::model::object::{StandardObject, stage_properties};
use crate::model::reference::Pipeline;
use crate::store::shape::{ddl, options};
use crate::store::{tokens, unreadable};

/// Adds the lines of all objects and pairs.
///
/// # Errors
/// HubSpot can be asked no more, whatever about.
pub(super) async fn compare(
    config: &Config,
    asked: &Asked,
    lines: &mut Vec<CheckLine>,
) -> Result<(), HubspotError> {
    let client = asked.asking.client();
    let read = reading::read(client, &config.mapping, Former::default()).await?;
    let read = as_held(config, read);
    let mut found = FoundLines {
        lines,
        red: Vec::new(),
    };
    for object in &config.mapping.objects {
        let name = &object.object;
        let mut kept_back = read.kept_back.iter();
        match kept_back.find(|(kept, _)| kept == name) {
            Some((_, KeptBack::Refused(error))) if error.is_forbidden() => {
                let line = of_error(&format!("scope {name} schema"), error);
                found.red(
                    object,
                    line.leaving_out(&format!(
                        "the object, its properties, `key`, `match` and pipelines of {name}"
                    )),
                );
                scopes(object, asked, &mut found).await?;
            }
            Some((_, why)) => {
                let hint = why.hint().unwrap_or_default();
                let code = match (why.code(), why) {
                    ("", KeptBack::Refused(error)) => error.code(),
                    (code, _) => code,
                };
                let line = CheckLine::red(
                    &format!("object {name}"),
                    code,
                    why.explanation(object),
                    &hint,
                );
                found.red(
                    object,
                    line.leaving_out("its scopes, properties, `key`, `match` and pipelines"),
                );
            }
            None => {
                let schema = format!("scope {name} schema");
                let scope = format!("`{}`", Access::Definitions.scope(name.as_str()));
                found.lines.push(CheckLine::green(schema, scope));
                scopes(object, asked, &mut found).await?;
                of_object(object, &read, (client, config), &mut found).await?;
            }
        }
    }
    for pair in &config.mapping.pairs {
        let line = format!("association {}", pair.key);
        let (from, to) = (&pair.from, &pair.to);
        if found.left_out(&line, &[from, to], |why| why.starts_with("object ")) {
            continue;
        }
        let types = client.association_types(Ends { from, to }).await;
        let labels = types.map(|types| match types.len() {
            0 => CheckLine::yellow(
                &line,
                "no-association-type",
                format!("HubSpot knows no association from {from} to {to}"),
                "take the pair out of `[associations]`, or make a label for it in HubSpot",
            ),
            total => {
                let labels = types.iter().filter(|kind| kind.label.is_some()).count();
                CheckLine::green(&line, format!("{total} types, {labels} of them labels"))
            }
        });
        let unseen = |error: &HubspotError| yellow_of_error(&line, error);
        found.hanging(&line, labels, (&[from, to], unseen))?;
    }
    Ok(())
}

/// The same with what the database knows of its columns, and the daemon therefore makes of them: a type that is held, a
/// property that is locked.
fn as_held(config: &Config, read: PortalReading) -> PortalReading {
    let held = tokens::look(&config.database, |connection| {
        let (mapping, held) = ddl::hold_types(connection, &read.mapping, &read.problems)?;
        let (mapping, locked) = ddl::hold_directions(connection, &mapping, &config.mapping)?;
        Ok((mapping, held.into_iter().chain(locked)))
    });
    // What keeps the database from being looked at has its own line.
    let Some((mapping, problems)) = held.ok().flatten() else {
        return read;
    };
    PortalReading {
        problems: read.problems.iter().cloned().chain(problems).collect(),
        mapping,
        ..read
    }
}

/// The lines that were found, and which of them keep others from being looked at.
struct FoundLines<'a> {
    lines: &'a mut Vec<CheckLine>,
    /// Red lines, each with its object.
    red: Vec<(ObjectType, String)>,
}

impl FoundLines<'_> {
    /// Adds a red line on which others of the object hang.
    fn red(&mut self, object: &ObjectMapping, line: CheckLine) {
        self.red.push((object.object.clone(), line.name.clone()));
        self.lines.push(line);
    }

    /// Adds a line about objects, or what is said where it can't be looked at. Where that is for the sake of a red line, it is left
    /// out, and that one says so.
    fn hanging(
        &mut self,
        name: &str,
        looked: Result<CheckLine, HubspotError>,
        (objects, unseen): (&[&ObjectType], impl FnOnce(&HubspotError) -> CheckLine),
    ) -> Result<(), HubspotError> {
        match looked {
            Ok(line) => self.lines.push(line),
            Err(error) => {
                let error = of_this_alone(error)?;
                if !self.left_out(name, objects, |_| true) {
                    self.lines.push(unseen(&error));
                }
            }
        }
        Ok(())
    }

    /// Whether a line about objects is left out for the sake of red ones of some kind, which then say so.
    fn left_out(
        &mut self,
        name: &str,
        objects: &[&ObjectType],
        is_why: impl Fn(&str) -> bool,
    ) -> bool {
        let red = self.red.iter();
        let red = red.filter(|(red, line)| objects.contains(&red) && is_why(line));
        let reasons: Vec<&String> = red.map(|(_, line)| line).collect();
        for line in self.lines.iter_mut() {
            if reasons.contains(&&line.name) {
                *line = line.clone().leaving_out(&format!("`{name}`"));
            }
        }
        !reasons.is_empty()
    }
}

/// An error that says something of what was asked about, and nothing of all other questions.
///
/// # Errors
/// Any other.
fn of_this_alone(error: HubspotError) -> Result<HubspotError, HubspotError> {
    match reading::is_of_one_object(&error) {
        true => Ok(error),
        false => Err(error),
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

/// The lines of the scopes that an object needs besides that of its schema, each found out by a request.
async fn scopes(
    object: &ObjectMapping,
    asked: &Asked,
    found: &mut FoundLines<'_>,
) -> Result<(), HubspotError> {
    let (name, client) = (&object.object, asked.asking.client());
    let granted = |access: Access| format!("`{}`", access.scope(name.as_str()));
    let query = ListQuery {
        limit: 1,
        ..ListQuery::default()
    };
    let line = format!("scope {name} read");
    match client.list(name, &query, Priority::Interactive).await {
        Ok(_) => found
            .lines
            .push(CheckLine::green(line, granted(Access::Read))),
        Err(error) => found.red(object, of_error(&line, &of_this_alone(error)?)),
    }
    if !object.direction.pushes() {
        return Ok(());
    }
    let scope = Access::Write.scope(name.as_str());
    let mut scopes = asked.scopes.iter().flatten();
    let write = match scopes.any(|granted| *granted == scope) {
        true => Ok(()),
        false => client.try_to_write(name).await,
    };
    let line = format!("scope {name} write");
    found.lines.push(match write {
        Ok(()) => CheckLine::green(line, granted(Access::Write)),
        Err(error) => of_error(&line, &of_this_alone(error)?),
    });
    Ok(())
}

/// The lines of an object, its properties, its key and match, and its pipelines.
async fn of_object(
    object: &ObjectMapping,
    read: &PortalReading,
    (client, config): (&Client, &Config),
    found: &mut FoundLines<'_>,
) -> Result<(), HubspotError> {
    let name = &object.object;
    let mapped = read.mapping.object(name.as_str()).unwrap_or(object);
    let Some(portal) = read.portal.get(name) else {
        return Ok(());
    };
    let required = required(object, read);
    found.lines.push(of_itself(object, mapped, &required));
    let is_missing = |property: &str| !portal.contains_key(property);
    let fields = mapped.fields.iter();
    let archived = match fields
        .clone()
        .any(|field| is_missing(field.property.as_str()))
    {
        true => match client.archived_properties(name).await {
            Ok(archived) => archived,
            // Each is missing then, as far as anybody knows.
            Err(error) => of_this_alone(error).map(|_| Vec::new())?,
        },
        false => Vec::new(),
    };
    let listed = read.definitions.get(name);
    let pipelines = match stage_properties(name, |property| portal.contains_key(property)) {
        Some(_) => Some(client.pipelines(name).await),
        None => None,
    };
    let known = pipelines.as_ref().and_then(|known| known.as_ref().ok());
    let rows = of_rows(config, mapped, |field| {
        offered(name, field, listed, known.map(Vec::as_slice))
    });
    for field in fields {
        let property = field.property.as_str();
        let there = match portal.get(property) {
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
        let wrong = read.problems.iter().chain(&rows).find(is_it);
        let line = doctor::property(mapped, in_file, there, wrong);
        let mut wishes = config.creates.iter();
        let wish = wishes.find(|wish| wish.object == *name && wish.property == field.property);
        found.lines.push(as_declared(line, there, wish, listed));
    }
    found
        .lines
        .push(doctor::key(mapped, |name| portal.get(name)));
    let of_match = doctor::match_property(mapped, |name| portal.get(name));
    found.lines.extend(of_match);
    if let Some(pipelines) = pipelines {
        let line = format!("pipelines {name}");
        let pipelines = pipelines.map(|found| of_pipelines(&line, &found));
        let unseen = |error: &HubspotError| {
            let unseen = yellow_of_error(&line, error);
            match error.is_of_scope() {
                // The object itself does not wait for it.
                true => CheckLine {
                    hint: Some(add_it()),
                    ..unseen
                },
                false => unseen,
            }
        };
        found.hanging(&line, pipelines, (&[name], unseen))?;
    }
    Ok(())
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
    let required: Vec<&str> = required.iter().map(String::as_str).collect();
    if let Some(line) = doctor::required_unsent(mapped, &required) {
        return line;
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

fn of_pipelines(name: &str, found: &[Pipeline]) -> CheckLine {
    if found.is_empty() {
        return CheckLine::yellow(
            name,
            "no-pipeline",
            "the object has no pipeline, so that no stage can be checked".to_owned(),
            "make one in HubSpot, or take the two properties of pipeline and stage out",
        );
    }
    let stages: usize = found.iter().map(|pipeline| pipeline.stages.len()).sum();
    CheckLine::green(name, format!("{} with {stages} stages", found.len()))
}

/// What the database's rows hold that HubSpot does not have, or their columns can't.
fn of_rows<'a>(
    config: &Config,
    object: &ObjectMapping,
    offered: impl Fn(&FieldMapping) -> Option<BTreeSet<&'a str>>,
) -> Vec<FieldProblem> {
    let looked = tokens::look(&config.database, |connection| {
        let mut problems = unreadable::problems(connection, &object.object)?;
        for field in &object.fields {
            let Some(offered) = offered(field) else {
                continue;
            };
            // A table or column that the daemon has not made yet holds nothing.
            let lost = options::lost_against(connection, object, field, &offered);
            problems.extend(lost.ok().flatten());
        }
        Ok(problems)
    });
    // What keeps the database from being looked at has its own line.
    looked.ok().flatten().unwrap_or_default()
}

/// The values that HubSpot has of a field right now; `None`: any, or nobody knows.
fn offered<'a>(
    object: &ObjectType,
    field: &FieldMapping,
    listed: Option<&'a Vec<PropertyDefinition>>,
    pipelines: Option<&'a [Pipeline]>,
) -> Option<BTreeSet<&'a str>> {
    let property = field.property.as_str();
    match stage_properties(object, |_| true) {
        Some(stages) if stages.pipeline == property => {
            Some(pipelines?.iter().map(|found| found.id.as_str()).collect())
        }
        Some(stages) if stages.stage == property => {
            let stages = pipelines?.iter().flat_map(|found| &found.stages);
            Some(stages.map(|stage| stage.id.as_str()).collect())
        }
        Some(_) | None => {
            let mut listed = listed?.iter();
            let options = &listed.find(|listed| listed.name == property)?.options;
            let values = options.iter().map(|(value, _)| value.as_str());
            (!options.is_empty()).then(|| values.collect())
        }
    }
}
