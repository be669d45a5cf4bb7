//! From what a request wants written to the changes that will be: every check of HubSpot's, and none of its effects.
//!
//! Covers existence, read-only, type, references, required properties, unique values and the one-way `lifecyclestage`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::problem::{Detail, Problem};
use crate::catalogue::contacts::LIFECYCLE_STAGES;
use crate::catalogue::pipelines::Stages;
use crate::catalogue::{OWNERS, ObjectIndex};
use crate::portal::Portal;
use crate::portal::record::PropertyId;
use crate::portal::table::{Change, Table};
use crate::portal::value::{canonical, unique_key};

/// Unique values that earlier inputs of the same batch will hold.
pub(crate) type Claims = BTreeSet<(PropertyId, String)>;

/// What is to be written, before any check; an empty text clears.
pub(crate) type Wanted = Vec<(String, String)>;

/// What the checks depend on.
#[derive(Clone, Copy)]
pub(crate) struct Aim<'a> {
    pub object: ObjectIndex,
    /// The record to change; `None` for a new one.
    pub id: Option<u64>,
    /// Whether the portal's own rules hold (2026-09).
    pub enforces_rules: bool,
    /// A person may move `lifecyclestage` back.
    pub is_person: bool,
    pub claims: &'a Claims,
}

/// The `properties` of a request's JSON as texts: numbers and booleans are taken too, `null` by the portal's mood.
pub(crate) fn wanted_of(properties: Option<&Value>, null_clears: bool) -> Result<Wanted, Problem> {
    let Some(properties) = properties.filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let map = properties
        .as_object()
        .ok_or_else(|| Problem::validation("Invalid input JSON: properties is no object"))?;
    let mut wanted = Vec::new();
    for (name, value) in map {
        match value {
            Value::Null if !null_clears => {}
            Value::Null => wanted.push((name.clone(), String::new())),
            Value::String(text) => wanted.push((name.clone(), text.clone())),
            Value::Bool(_) | Value::Number(_) => wanted.push((name.clone(), value.to_string())),
            Value::Array(_) | Value::Object(_) => {
                return Err(Problem::validation(format!(
                    "Invalid input JSON: cannot deserialize the value of {name}"
                )));
            }
        }
    }
    Ok(wanted)
}

impl Portal {
    /// Checks everything; the changes name each property once.
    pub(crate) fn prepare(&self, aim: Aim<'_>, wanted: &Wanted) -> Result<Vec<Change>, Problem> {
        let mut details = Vec::new();
        let mut changes = self.checked_values(aim, wanted, &mut details);
        self.check_pipeline(aim, &mut changes, &mut details);
        if aim.id.is_none() {
            self.check_required(aim, &changes, &mut details);
        }
        if !details.is_empty() {
            return Err(Problem::values(details, self.settings().portal_id));
        }
        self.check_unique(aim, &changes)?;
        if !aim.is_person {
            self.keep_lifecycle_forward(aim, &mut changes);
        }
        Ok(changes)
    }

    fn checked_values(
        &self,
        aim: Aim<'_>,
        wanted: &Wanted,
        details: &mut Vec<Detail>,
    ) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::with_capacity(wanted.len());
        for (name, text) in wanted {
            match self.checked_value(aim, name, text) {
                Ok(change) => changes.push(change),
                Err(detail) => details.push(detail),
            }
        }
        changes
    }

    fn checked_value(&self, aim: Aim<'_>, name: &str, text: &str) -> Result<Change, Detail> {
        let refuse = |code, message: String| {
            Err(Detail {
                message,
                code,
                property: name.to_owned(),
            })
        };
        let table = self.table(aim.object);
        let Some(id) = table.schema.live(name) else {
            return refuse(
                "PROPERTY_DOESNT_EXIST",
                format!("Property \"{name}\" does not exist"),
            );
        };
        let property = table.schema.property(id);
        if property.read_only || property.calculated {
            return refuse(
                "READ_ONLY_VALUE",
                format!("\"{name}\" is a read only property; its value cannot be set."),
            );
        }
        if text.is_empty() {
            return Ok((id, None));
        }
        let current = self.current(aim, id);
        let value = match canonical(property, text, current, self.settings().respell_numbers) {
            Ok(value) => value,
            Err(refusal) => return refuse(refusal.code, refusal.message),
        };
        if name == "hubspot_owner_id" && !OWNERS.iter().any(|owner| owner.id.to_string() == value) {
            return refuse(
                "INVALID_OWNER_ID",
                format!("Owner with id {value} does not exist"),
            );
        }
        if Some(id) == table.email() && table.blocked_emails.contains(&value) {
            return refuse(
                "INVALID_EMAIL",
                "email has been GDPR blacklisted".to_owned(),
            );
        }
        Ok((id, Some(value).filter(|value| !value.is_empty())))
    }

    fn current(&self, aim: Aim<'_>, property: PropertyId) -> Option<&str> {
        self.table(aim.object)
            .live
            .get(&aim.id?)?
            .document
            .values
            .get(property)
    }

    fn outcome<'a>(&'a self, aim: Aim<'_>, changes: &'a [Change], name: &str) -> Option<&'a str> {
        let property = self.table(aim.object).schema.id(name)?;
        match changes.iter().find(|(id, _)| *id == property) {
            Some((_, value)) => value.as_deref(),
            None => self.current(aim, property),
        }
    }

    /// The stage must belong to the pipeline; a new record without a pipeline gets the default one (`api-facts.md#5`).
    fn check_pipeline(&self, aim: Aim<'_>, changes: &mut Vec<Change>, details: &mut Vec<Detail>) {
        let Some(stages) = self.table(aim.object).spec.stages else {
            return;
        };
        let (pipeline_name, stage_name) = (stages.pipeline, stages.stage);
        let schema = &self.table(aim.object).schema;
        let (Some(pipeline_id), Some(stage_id)) = (schema.id(pipeline_name), schema.id(stage_name))
        else {
            return;
        };
        let given = changes
            .iter()
            .any(|(id, _)| *id == pipeline_id || *id == stage_id);
        if !given && aim.id.is_some() {
            return;
        }
        if self.outcome(aim, changes, pipeline_name).is_none() {
            let named_stage = self.outcome(aim, changes, stage_name).map(str::to_owned);
            changes.retain(|(id, _)| *id != pipeline_id);
            changes.push((pipeline_id, Some(stages.default.to_owned())));
            if named_stage.is_none() && !stages.is_stage_needed && aim.id.is_none() {
                let first = stages.pipelines[0].stages[0].0;
                changes.retain(|(id, _)| *id != stage_id);
                changes.push((stage_id, Some(first.to_owned())));
            }
        }
        let pipeline = self
            .outcome(aim, changes, pipeline_name)
            .unwrap_or_default();
        let stage = self.outcome(aim, changes, stage_name);
        let problem = stage_problem(stages, &self.settings().deleted_stages, (pipeline, stage));
        let is_moved = changes.iter().any(|(id, _)| *id == stage_id);
        let rule = stage
            .filter(|_| is_moved)
            .and_then(|stage| self.settings().stage_rules.get(stage));
        details.extend(problem.or_else(|| {
            rule.map(|words| Detail {
                message: words.clone(),
                code: "PIPELINE_RULE_VIOLATION",
                property: stage_name.to_owned(),
            })
        }));
    }

    fn check_required(&self, aim: Aim<'_>, changes: &[Change], details: &mut Vec<Detail>) {
        let has = |name: &&str| self.outcome(aim, changes, name).is_some();
        let is_clean = details.is_empty();
        let own = self.custom(aim.object).map(|custom| &custom.required);
        let own = own.into_iter().flatten().map(|name| vec![name.as_str()]);
        let standard = self.table(aim.object).spec.needs.iter();
        for group in standard.map(|group| group.to_vec()).chain(own) {
            if !is_clean || group.iter().any(has) {
                continue;
            }
            let names = group.join(", ");
            details.push(Detail {
                message: format!("One of these properties is required: [{names}]"),
                code: "REQUIRED_PROPERTY",
                property: group[0].to_owned(),
            });
        }
        let asked = self
            .settings()
            .required_in_2026_09
            .get(self.table(aim.object).spec.plural);
        let missing = asked
            .into_iter()
            .flatten()
            .filter(|name| aim.enforces_rules && !has(&name.as_str()));
        details.extend(missing.map(|name| Detail {
            message: format!("Required property \"{name}\" is missing"),
            code: "MISSING_REQUIRED_PROPERTY",
            property: name.clone(),
        }));
    }

    fn check_unique(&self, aim: Aim<'_>, changes: &[Change]) -> Result<(), Problem> {
        let table = self.table(aim.object);
        for (property, value) in changes {
            let Some(value) = value.as_deref().filter(|_| table.is_key(*property)) else {
                continue;
            };
            let archived = || {
                table
                    .find_archived_by_key(*property, value)
                    .filter(|_| self.settings().archived_holds_unique)
            };
            let holder = table.find_by_key(*property, value).or_else(archived);
            let is_claimed = aim.claims.contains(&(*property, unique_key(value)));
            if is_claimed || holder.is_some_and(|holder| Some(holder) != aim.id) {
                return Err(self.conflict(table, *property, value, holder));
            }
        }
        Ok(())
    }

    fn conflict(
        &self,
        table: &Table,
        property: PropertyId,
        value: &str,
        holder: Option<u64>,
    ) -> Problem {
        if Some(property) == table.email() {
            let Some(holder) = holder else {
                return Problem::new(409, "CONFLICT", "Contact already exists in this batch.");
            };
            let problem = Problem::new(
                409,
                "CONFLICT",
                format!("Contact already exists. Existing ID: {holder}"),
            );
            return problem.with("existingId", vec![holder.to_string()]);
        }
        let name = table.schema.property(property).name.clone();
        let holder = holder.map_or_else(|| "another input".to_owned(), |holder| holder.to_string());
        let message =
            format!("{name} must be unique: {holder} already has that value. Value: {value}");
        let detail = Detail {
            message,
            code: "CONFLICTING_UNIQUE_VALUE",
            property: name,
        };
        Problem::values(vec![detail], self.settings().portal_id)
    }

    /// A backward stage is ignored with 200: the change keeps what is there.
    fn keep_lifecycle_forward(&self, aim: Aim<'_>, changes: &mut [Change]) {
        let Some(property) = self.table(aim.object).schema.id("lifecyclestage") else {
            return;
        };
        let Some(current) = self.current(aim, property) else {
            return;
        };
        let rank = |stage: &str| LIFECYCLE_STAGES.iter().position(|known| *known == stage);
        for (id, value) in changes.iter_mut().filter(|(id, _)| *id == property) {
            debug_assert_eq!(*id, property);
            if value
                .as_deref()
                .is_some_and(|wanted| rank(wanted) < rank(current))
            {
                *value = Some(current.to_owned());
            }
        }
    }
}

fn stage_problem(
    stages: &Stages,
    deleted: &BTreeSet<String>,
    (pipeline, stage): (&str, Option<&str>),
) -> Option<Detail> {
    let names = (stages.pipeline, stages.stage);
    let mut there = stages.pipelines.iter();
    let Some(known) = there.find(|known| known.id == pipeline && !deleted.contains(known.id))
    else {
        let message = format!("{pipeline} is not a valid pipeline");
        return Some(Detail {
            message,
            code: "INVALID_PIPELINE",
            property: names.0.to_owned(),
        });
    };
    let Some(stage) = stage else {
        let message = format!("{} is required when {} is given", names.1, names.0);
        return Some(Detail {
            message,
            code: "REQUIRED_PROPERTY",
            property: names.1.to_owned(),
        });
    };
    if known.stages.iter().any(|(id, _, _)| *id == stage) && !deleted.contains(stage) {
        return None;
    }
    let message = format!("{stage} is not a valid pipeline stage of {pipeline}");
    Some(Detail {
        message,
        code: "INVALID_PIPELINE_STAGE",
        property: names.1.to_owned(),
    })
}
