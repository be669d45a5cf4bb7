//! What HubSpot demands of a record, looked at before a request is spent on it: properties that a create must have, and a stage
//! that is its pipeline's (`hubspot/api-facts.md#5`, `#9`).

use crate::model::mapping::FieldMapping;
use crate::model::name::PropertyName;
use crate::model::object::StageProperties;
use crate::model::reference::{Pipeline, Stage};
use crate::model::row::MirrorRow;
use crate::model::synced::SyncedObject;
use crate::model::value::Value;

/// The code of a create that lacks what HubSpot demands.
pub(crate) const REQUIRED_PROPERTY: &str = "required-property";

/// The code of a stage that is not its pipeline's.
pub(crate) const STAGE_OF_ANOTHER_PIPELINE: &str = "stage-of-another-pipeline";

/// What of a new record is missing that HubSpot demands, in a sentence with its code.
pub fn missing(object: &SyncedObject, row: &MirrorRow) -> Option<String> {
    let (mapping, id) = (object.mapping(), row.record.local_id);
    let table = &mapping.table;
    let sent = |name: &str| {
        let mut fields = mapping.fields.iter();
        fields.find(|field| field.property.as_str() == name && field.is_sent())
    };
    let is_locked = |name: &str| {
        let mut fields = mapping.fields.iter();
        fields.any(|field| field.property.as_str() == name && field.modes.locked)
    };
    let has_value = |field: &FieldMapping| !row.value(&field.property).is_empty();
    let lacks = |name: &str, of: &str| match sent(name) {
        None if is_locked(name) => Some(format!(
            "HubSpot takes no new record of {}{of} without `{name}`, which it lets nobody write any more: make it writable there \
             again [{REQUIRED_PROPERTY}]",
            mapping.object
        )),
        Some(field) if has_value(field) => None,
        Some(field) => Some(format!(
            "`{table}.{}` of row {id} is empty, and HubSpot takes no new record of {}{of} without it: write it [{REQUIRED_PROPERTY}]",
            field.column, mapping.object
        )),
        None => Some(format!(
            "HubSpot takes no new record of {}{of} without `{name}`, which no column of `{table}` sends: add it to \
             `[objects.{}.properties]` [{REQUIRED_PROPERTY}]",
            mapping.object, mapping.object
        )),
    };
    let mut required = object.required.iter();
    let missing = required.find_map(|name| lacks(name, ""));
    let missing = missing.or_else(|| {
        let mut columns = object.one_of.iter().filter_map(|name| sent(name));
        let is_given = object.one_of.is_empty() || columns.clone().any(has_value);
        let all = |names: Vec<&str>| format!("`{}`", names.join("`, `"));
        (!is_given).then(|| match columns.next() {
            Some(first) => format!(
                "row {id} of {table} has none of {}, and HubSpot takes no new record of {} without one of them: write one \
                 [{REQUIRED_PROPERTY}]",
                all([first].into_iter().chain(columns).map(|field| field.column.as_str()).collect()),
                mapping.object,
            ),
            None => format!(
                "HubSpot takes no new record of {} without one of {}, which no column of `{table}` sends: add one to \
                 `[objects.{}.properties]` [{REQUIRED_PROPERTY}]",
                mapping.object,
                all(object.one_of.to_vec()),
                mapping.object
            ),
        })
    });
    // Whoever names a pipeline names a stage of it.
    missing.or_else(|| {
        let stages = object
            .stages
            .filter(|stages| sent(stages.pipeline).is_some_and(has_value))?;
        lacks(stages.stage, " in a pipeline")
    })
}

/// Where a row says that its record is to stand.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pipeline: &'a str,
    stage: &'a str,
    column: &'a str,
}

/// What of a row is sent.
#[derive(Clone, Copy)]
pub enum SentPart<'a> {
    /// All of it: its record is to be made.
    New,
    /// These properties of a record that HubSpot has.
    Some {
        /// Which.
        is_sent: &'a dyn Fn(&PropertyName) -> bool,
        /// The pipeline in which HubSpot shows the record, where the mapping does not say it.
        shown_in: Option<&'a str>,
    },
}

impl SentPart<'_> {
    fn has(&self, field: &FieldMapping) -> bool {
        let is_sent = match self {
            Self::New => true,
            Self::Some { is_sent, .. } => is_sent(&field.property),
        };
        field.is_sent() && is_sent
    }
}

/// Whether a row sends a stage that no known pipeline has: it may have been made since they were read.
pub fn sends_unknown_stage(
    object: &SyncedObject,
    row: &MirrorRow,
    sent: SentPart<'_>,
    pipelines: &[Pipeline],
) -> bool {
    unknown_stage(object, row, sent, pipelines).is_some()
}

/// Such a stage, and its column.
fn unknown_stage<'a>(
    object: &'a SyncedObject,
    row: &'a MirrorRow,
    sent: SentPart<'_>,
    pipelines: &[Pipeline],
) -> Option<(&'a str, &'a str)> {
    let stages = object.stages?;
    let mut fields = object.mapping().fields.iter();
    let field = fields.find(|field| field.property.as_str() == stages.stage && sent.has(field))?;
    let stage = text(row.value(&field.property));
    let is_known = pipelines.iter().any(|one| stage_of(one, stage).is_some());
    (!stage.is_empty() && !is_known).then_some((stage, field.column.as_str()))
}

/// That a stage is none of the object's, in a sentence with its code: for a row whose pipeline nobody knows ([`place`]). Where no
/// pipeline is known, HubSpot has the word.
pub fn placeless(
    object: &SyncedObject,
    row: &MirrorRow,
    sent: SentPart<'_>,
    pipelines: &[Pipeline],
) -> Option<String> {
    if pipelines.is_empty() {
        return None;
    }
    let (stage, column) = unknown_stage(object, row, sent, pipelines)?;
    Some(format!(
        "`{}.{column}` of row {} is `{stage}`, {OF_NONE}: write one of `pipeline_stages` [{STAGE_OF_ANOTHER_PIPELINE}]",
        object.mapping().table,
        row.record.local_id,
    ))
}

/// What is said of a stage that no pipeline has.
const OF_NONE: &str = "which is a stage of no pipeline";

/// The place of a row, where it names pipeline and stage and one of the two is sent. What it leaves open HubSpot settles: a new
/// record that names no pipeline is made in the default one, and another stays in its own. Where nobody knows that one, there is
/// no place: HubSpot has the word.
pub fn place<'a>(
    object: &'a SyncedObject,
    row: &'a MirrorRow,
    sent: SentPart<'a>,
) -> Option<Place<'a>> {
    let StageProperties {
        pipeline,
        stage,
        default_pipeline,
    } = object.stages?;
    let fields = &object.mapping().fields;
    let field = |name: &str| fields.iter().find(|field| field.property.as_str() == name);
    let (pipeline, stage) = (field(pipeline), field(stage)?);
    let is_written = |field: &FieldMapping| sent.has(field);
    if !pipeline.is_some_and(is_written) && !is_written(stage) {
        return None;
    }
    let named = match sent {
        SentPart::New => pipeline.filter(|field| is_written(field)),
        SentPart::Some { .. } => pipeline,
    };
    let named = named.map_or("", |field| text(row.value(&field.property)));
    let left_open = match sent {
        SentPart::New => default_pipeline,
        SentPart::Some { shown_in, .. } => shown_in,
    };
    let pipeline = match left_open {
        Some(pipeline) if named.is_empty() => pipeline,
        Some(_) | None => named,
    };
    let place = Place {
        pipeline,
        stage: text(row.value(&stage.property)),
        column: stage.column.as_str(),
    };
    (!place.pipeline.is_empty() && !place.stage.is_empty()).then_some(place)
}

fn text(value: &Value) -> &str {
    value.to_wire()
}

/// Whether the known pipelines have the place: one that is new in HubSpot may be missing here.
pub fn is_known(place: &Place<'_>, pipelines: &[Pipeline]) -> bool {
    let own = pipelines
        .iter()
        .find(|pipeline| pipeline.id == place.pipeline);
    own.is_some_and(|own| stage_of(own, place.stage).is_some())
}

fn stage_of<'a>(pipeline: &'a Pipeline, id: &str) -> Option<&'a Stage> {
    pipeline.stages.iter().find(|stage| stage.id == id)
}

/// That a stage is not its pipeline's, in a sentence with its code. Of a pipeline that is not known HubSpot has the word.
pub fn misplaced(
    object: &SyncedObject,
    row: &MirrorRow,
    place: &Place<'_>,
    pipelines: &[Pipeline],
) -> Option<String> {
    let own = pipelines
        .iter()
        .find(|pipeline| pipeline.id == place.pipeline)?;
    if stage_of(own, place.stage).is_some() {
        return None;
    }
    let named = |id: &str, label: Option<&String>| match label.filter(|label| label.as_str() != id)
    {
        Some(label) => format!("`{id}` ({label})"),
        None => format!("`{id}`"),
    };
    let others = pipelines.iter().filter(|other| !other.stages.is_empty());
    let mut others = others.filter_map(|other| Some((other, stage_of(other, place.stage)?)));
    let what = match others.next() {
        Some((other, stage)) => format!(
            "stage {} of pipeline {}",
            named(&stage.id, stage.label.as_ref()),
            named(&other.id, other.label.as_ref())
        ),
        None => format!("`{}`, {OF_NONE}", place.stage),
    };
    let stages = own
        .stages
        .iter()
        .map(|stage| named(&stage.id, stage.label.as_ref()));
    Some(format!(
        "`{}.{}` of row {} is {what}, and its pipeline is {}: write one of {} [{STAGE_OF_ANOTHER_PIPELINE}]",
        object.mapping().table,
        place.column,
        row.record.local_id,
        named(&own.id, own.label.as_ref()),
        stages.collect::<Vec<_>>().join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mapping::{Direction, ObjectMapping};
    use crate::testing::{contacts, property, row, value};

    fn deals() -> SyncedObject {
        let contacts = contacts();
        let renamed = ["pipeline", "dealstage", "dealname", "score"];
        let fields = contacts.mapping().fields.iter().zip(renamed);
        let fields = fields.map(|(field, name)| FieldMapping {
            property: property(name),
            ..field.clone()
        });
        SyncedObject {
            stages: Some(StageProperties {
                pipeline: "pipeline",
                stage: "dealstage",
                default_pipeline: Some("sales"),
            }),
            required: vec!["dealname".to_owned()],
            one_of: &[],
            ..SyncedObject::of(ObjectMapping {
                fields: fields.collect(),
                ..contacts.mapping().clone()
            })
        }
    }

    fn deal(values: &[(&str, &str)]) -> MirrorRow {
        let mut row = row(7, None, &[]);
        let values = values
            .iter()
            .map(|(name, text)| (property(name), value(text)));
        row.record.values = values.collect();
        row
    }

    fn pipeline(id: &str, stages: &[&str]) -> Pipeline {
        let stage = |id: &&str| Stage {
            id: (*id).to_owned(),
            label: Some(format!("The {id}")),
            display_order: None,
            closed: None,
            probability: None,
            archived: false,
        };
        Pipeline {
            id: id.to_owned(),
            label: None,
            display_order: None,
            archived: false,
            stages: stages.iter().map(stage).collect(),
        }
    }

    #[test]
    fn a_stage_must_be_its_pipelines() {
        let known = [
            pipeline("sales", &["open", "won"]),
            pipeline("renewals", &["due"]),
        ];
        let object = deals();
        for (pipeline, stage, expected) in [
            ("sales", "won", None),
            ("", "won", None),
            (
                "",
                "due",
                Some(
                    "is stage `due` (The due) of pipeline `renewals`, and its pipeline is `sales`",
                ),
            ),
            ("sales", "", None),
            ("new", "won", None),
            (
                "sales",
                "due",
                Some(
                    "is stage `due` (The due) of pipeline `renewals`, and its pipeline is `sales`: write one of `open` (The open), `won` (The won) [stage-of-another-pipeline]",
                ),
            ),
            (
                "renewals",
                "lost",
                Some("is `lost`, which is a stage of no pipeline"),
            ),
        ] {
            let row = deal(&[("pipeline", pipeline), ("dealstage", stage)]);
            let place = place(&object, &row, SentPart::New);
            let told = place.and_then(|place| misplaced(&object, &row, &place, &known));
            match expected {
                None => assert_eq!(told, None, "{pipeline} {stage}"),
                Some(explanation) => assert!(
                    told.as_ref().is_some_and(|told| told.contains(explanation)),
                    "{told:?}"
                ),
            }
        }
    }

    #[test]
    fn what_is_not_sent_is_not_looked_at() {
        let object = deals();
        let row = deal(&[("pipeline", "sales"), ("dealstage", "due")]);
        let is_placed = |row: &MirrorRow, sent: &str| {
            let is_sent = |name: &PropertyName| name.as_str() == sent;
            let part = SentPart::Some {
                is_sent: &is_sent,
                shown_in: None,
            };
            place(&object, row, part).is_some()
        };
        assert!(!is_placed(&row, "dealname"));
        assert!(is_placed(&row, "pipeline"));
        // The pipeline of a record that HubSpot has is not the default one for being unknown here.
        assert!(!is_placed(&deal(&[("dealstage", "due")]), "dealstage"));
    }

    #[test]
    fn a_stage_without_its_pipeline_is_held_to_the_one_in_which_hubspot_shows_the_record() {
        let known = [
            pipeline("sales", &["open", "won"]),
            pipeline("renewals", &["due"]),
        ];
        let mut mapping = deals().mapping().clone();
        mapping
            .fields
            .retain(|field| field.property.as_str() != "pipeline");
        let object = SyncedObject {
            stages: deals().stages,
            ..SyncedObject::of(mapping)
        };
        let row = deal(&[("dealstage", "due")]);
        let is_refused = |shown_in| {
            let sent = SentPart::Some {
                is_sent: &|_| true,
                shown_in,
            };
            let place = place(&object, &row, sent);
            place.is_some_and(|place| misplaced(&object, &row, &place, &known).is_some())
        };
        assert!(is_refused(Some("sales")));
        assert!(!is_refused(Some("renewals")));
        assert!(!is_refused(None), "HubSpot has the word");
        let is_unknown = |stage| {
            sends_unknown_stage(
                &object,
                &deal(&[("dealstage", stage)]),
                SentPart::New,
                &known,
            )
        };
        assert!(is_unknown("new") && !is_unknown("due") && !is_unknown(""));
        let told = |stage, known| {
            placeless(
                &object,
                &deal(&[("dealstage", stage)]),
                SentPart::New,
                known,
            )
        };
        assert_eq!(
            told("new", &known).as_deref(),
            Some(
                "`contacts.firstname` of row 7 is `new`, which is a stage of no pipeline: write one of `pipeline_stages` [stage-of-another-pipeline]"
            )
        );
        assert_eq!(told("due", &known), None);
        assert_eq!(told("new", &[]), None, "HubSpot has the word");
        assert_eq!(object.unmapped_pipeline(), Some("pipeline"));
        assert_eq!(deals().unmapped_pipeline(), None);
    }

    #[test]
    fn a_create_that_nothing_identifies_is_told_of() {
        let mut object = deals();
        object.required.clear();
        object.one_of = &["dealname", "dealstage", "lastname"];
        assert_eq!(missing(&object, &deal(&[("dealstage", "won")])), None);
        let empty = missing(&object, &deal(&[("pipeline", "")])).expect("it is missing");
        let columns = ["dealname", "dealstage"].map(|name| {
            let mut fields = object.mapping().fields.iter();
            let field = fields.find(|field| field.property.as_str() == name);
            field.expect("a field").column.as_str().to_owned()
        });
        assert!(
            empty.contains("row 7 of contacts has none of")
                && columns
                    .iter()
                    .all(|column| empty.contains(&format!("`{column}`")))
                && !empty.contains("lastname")
                && empty.ends_with("[required-property]"),
            "{empty}"
        );
        object.one_of = &["firstname", "lastname"];
        let unmapped = missing(&object, &deal(&[])).expect("it is missing");
        assert!(
            unmapped.contains("without one of `firstname`, `lastname`, which no column"),
            "{unmapped}"
        );
    }

    #[test]
    fn a_create_without_what_hubspot_demands_is_told_of() {
        let mut object = deals();
        let named = deal(&[("dealname", "Big")]);
        assert_eq!(missing(&object, &named), None);
        let placed = deal(&[
            ("dealname", "Big"),
            ("pipeline", "sales"),
            ("dealstage", "won"),
        ]);
        assert_eq!(missing(&object, &placed), None);
        let stageless = missing(
            &object,
            &deal(&[("dealname", "Big"), ("pipeline", "sales")]),
        );
        assert!(
            stageless.is_some_and(|told| told.contains("in a pipeline without it")
                && told.ends_with("[required-property]"))
        );
        let nameless = missing(&object, &deal(&[])).expect("it is missing");
        assert!(
            nameless.starts_with("`contacts.city` of row 7 is empty"),
            "{nameless}"
        );
        assert!(nameless.ends_with("[required-property]"), "{nameless}");
        object.required = vec!["amount".to_owned()];
        let unmapped = missing(&object, &named).expect("it is missing");
        assert!(unmapped.contains("`amount`, which no column"), "{unmapped}");
        object.required = vec!["score".to_owned()];
        assert_eq!(object.mapping().fields[3].direction, Direction::Pull);
        assert!(missing(&object, &named).is_some());
        // Nor does a column send what HubSpot lets nobody write any more.
        object.required = vec!["dealname".to_owned()];
        assert_eq!(missing(&object, &named), None);
        let mut locked = object.mapping().clone();
        let mut name = locked.fields.iter_mut();
        let name = name.find(|field| field.property.as_str() == "dealname");
        name.expect("a field").modes.locked = true;
        let locked = SyncedObject {
            required: object.required.clone(),
            ..SyncedObject::of(locked)
        };
        let unsent = missing(&locked, &named).expect("it is missing");
        assert!(unsent.contains("make it writable there again"), "{unsent}");
    }
}
