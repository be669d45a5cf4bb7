//! A mapping against the portal's schema: the types in force, and what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::portal::objects::ObjectSchema;
use crate::model::mapping::{
    Direction, FieldMapping, KeyChoice, Mapping, OWN_KEY, ObjectMapping, WriteMode,
};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::{is_unique_in_hubspot, stage_properties};
use crate::model::synced::SyncedObject;
use crate::model::value::PropertyType;

/// A property as the portal defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// HubSpot's `type`.
    pub kind: String,
    /// HubSpot's `fieldType`.
    pub field_type: String,
    /// Whether its value can be written (`hubspot/api-facts.md#7`).
    pub read_only: bool,
    /// Whether no two records can hold the same value.
    pub unique: bool,
    /// Whether it holds another record's id.
    pub refers_to_record: bool,
}

/// All properties of an object, by name.
pub type Definitions = BTreeMap<String, Definition>;

/// A mapped property that can't be synced as the mapping wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// The object.
    pub object: ObjectType,
    /// The property.
    pub property: PropertyName,
    /// The stable name of what is wrong.
    pub code: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

impl Definition {
    /// The type of its values.
    pub fn property_type(&self) -> PropertyType {
        PropertyType::from_definition(&self.kind, &self.field_type, self.refers_to_record)
    }
}

/// What to do where HubSpot has no property, or has it in its archive (`hubspot/api-facts.md#7`).
pub(crate) const NO_PROPERTY: &str = "make the property in HubSpot, or restore it there within 90 days of its archiving, or take it out of the mapping";

/// The mapping with every type settled, and its problems. A field with a problem keeps its column and is left out of
/// requests.
pub fn resolve(
    mapping: &Mapping,
    portal: &BTreeMap<ObjectType, Definitions>,
) -> (Mapping, Vec<FieldProblem>) {
    let mut problems = Vec::new();
    let objects = mapping
        .objects
        .iter()
        .map(|object| resolve_object(object, portal.get(&object.object), &mut problems))
        .collect();
    let pairs = mapping.pairs.clone();
    (Mapping { objects, pairs }, problems)
}

/// What of a resolved mapping does less than its names promise: its fields are synced all the same.
pub fn remarks(mapping: &Mapping, portal: &BTreeMap<ObjectType, Definitions>) -> Vec<FieldProblem> {
    let known = mapping
        .objects
        .iter()
        .filter_map(|object| Some((object, portal.get(&object.object)?)));
    known
        .flat_map(|(object, portal)| remarks_on(object, portal))
        .collect()
}

fn remarks_on(object: &ObjectMapping, portal: &Definitions) -> Vec<FieldProblem> {
    let remark = |field: &FieldMapping, code, problem: String, hint: &str| FieldProblem {
        object: object.object.clone(),
        property: field.property.clone(),
        code,
        problem,
        hint: hint.to_owned(),
    };
    let mut remarks: Vec<FieldProblem> = object
        .misnamed_identities()
        .map(|field| {
            let problem = format!(
                "`{}` can hold several values in HubSpot, so that no record of {} is found by it",
                field.property, object.object
            );
            remark(
                field,
                "match-unusable",
                problem,
                "give `key` and `match` properties that hold one value",
            )
        })
        .collect();
    if let Some(key) = object.key_field()
        && object.direction != Direction::Pull
        && let Some(definition) = portal.get(key.property.as_str())
        && !definition.unique
        && !is_unique_in_hubspot(&object.object, &key.property)
    {
        let problem = format!(
            "HubSpot does not keep `{}` unique: as the `key` of {} it does what `match` does, and nothing keeps two \
             records from having one value of it",
            key.property, object.object
        );
        let hint = "give `key` a property that HubSpot keeps unique, or write `key = \"auto\"` and name this one in `match`";
        remarks.push(remark(key, "key-not-unique", problem, hint));
    }
    remarks
}

fn resolve_object(
    object: &ObjectMapping,
    portal: Option<&Definitions>,
    problems: &mut Vec<FieldProblem>,
) -> ObjectMapping {
    let Some(portal) = portal else {
        return object.clone();
    };
    let fields = object
        .fields
        .iter()
        .map(|field| resolve_field(object, field, portal, problems))
        .collect();
    ObjectMapping {
        fields,
        ..object.clone()
    }
}

fn resolve_field(
    object: &ObjectMapping,
    field: &FieldMapping,
    portal: &Definitions,
    problems: &mut Vec<FieldProblem>,
) -> FieldMapping {
    let Some(definition) = portal.get(field.property.as_str()) else {
        problems.push(FieldProblem {
            object: object.object.clone(),
            property: field.property.clone(),
            code: "unknown-property",
            problem: format!(
                "HubSpot has no property `{}` on {}",
                field.property, object.object
            ),
            hint: NO_PROPERTY.to_owned(),
        });
        return field.clone();
    };
    let portal_type = definition.property_type();
    let direction = if definition.read_only {
        Direction::Pull
    } else {
        field.direction
    };
    if definition.read_only && field.direction == Direction::Push {
        problems.push(FieldProblem {
            object: object.object.clone(),
            property: field.property.clone(),
            code: "read-only-property",
            problem: format!(
                "HubSpot calculates `{}`, so that it can't be pushed",
                field.property
            ),
            hint: "write `direction = \"pull\"`, or take it out of the mapping".to_owned(),
        });
    }
    let property_type = field.declared_type.unwrap_or(portal_type);
    if field.modes.write == WriteMode::Append && property_type != PropertyType::Set {
        problems.push(FieldProblem {
            object: object.object.clone(),
            property: field.property.clone(),
            code: "append-to-no-set",
            problem: format!(
                "`{}` is of type {property_type}, so that nothing can be added to what it holds",
                field.property
            ),
            hint: "take `write = \"append\"` out: it is for checkbox properties".to_owned(),
        });
    }
    FieldMapping {
        property_type,
        direction,
        ..field.clone()
    }
}

/// The objects in force: their fields are those that nothing is wrong with.
pub fn synced_objects(
    mapping: &Mapping,
    problems: &[FieldProblem],
    portal: &BTreeMap<ObjectType, Definitions>,
    schemas: &BTreeMap<ObjectType, ObjectSchema>,
) -> Vec<SyncedObject> {
    let empty = Definitions::new();
    let synced = mapping.objects.iter().map(|object| {
        let wrong: BTreeSet<&PropertyName> = problems
            .iter()
            .filter(|problem| problem.object == object.object)
            .map(|problem| &problem.property)
            .collect();
        let name = &object.object;
        let definitions = portal.get(name).unwrap_or(&empty);
        let synced = synced_object(object, &wrong, definitions).paired(&mapping.pairs);
        match schemas.get(name) {
            Some(schema) => SyncedObject {
                required: schema.required.clone(),
                ..synced
            },
            None => synced,
        }
    });
    synced.collect()
}

fn synced_object(
    object: &ObjectMapping,
    wrong: &BTreeSet<&PropertyName>,
    portal: &Definitions,
) -> SyncedObject {
    let fields: Vec<FieldMapping> = object
        .fields
        .iter()
        .filter(|field| field.modes.locked || !wrong.contains(&field.property))
        .cloned()
        .collect();
    let is_unique = |name: &PropertyName| {
        let definition = portal.get(name.as_str());
        definition.is_some_and(|definition| definition.unique)
            || is_unique_in_hubspot(&object.object, name)
    };
    let properties = fields.iter().map(|field| &field.property);
    let unique: Vec<PropertyName> = properties.filter(|name| is_unique(name)).cloned().collect();
    let wanted = object.key == KeyChoice::Auto;
    let own_key = PropertyName::parse(OWN_KEY).ok().filter(|_| wanted);
    let key_property = own_key.filter(is_unique);
    let mapping = ObjectMapping {
        fields,
        ..object.clone()
    };
    let stages = stage_properties(&object.object, |name| portal.contains_key(name));
    // One of that name that HubSpot does not keep unique can't be made again: creates rely on the match property.
    let key_wanted =
        object.carries_own_key() && key_property.is_none() && !portal.contains_key(OWN_KEY);
    let placed = SyncedObject {
        stages,
        ..SyncedObject::of(mapping)
    };
    SyncedObject {
        key_wanted,
        unique,
        ..placed.keyed(key_property)
    }
}

/// What making the key property came to: whether it is there. Whether creates may carry it then says its definition: one that
/// somebody else has made need not be unique. `None`: HubSpot has not said no, and may say yes a moment later; the failure is the
/// caller's.
pub fn key_is_made(category: Option<&str>, is_refused: bool) -> Option<bool> {
    match category {
        Some("OBJECT_ALREADY_EXISTS") => Some(true),
        _ => is_refused.then_some(false),
    }
}

/// Properties that HubSpot answers by name and does not list (`hubspot/api-facts.md#7`).
pub mod unlisted {
    use super::Definition;

    /// What the times in a stage begin with.
    const TIMES: [&str; 4] = [
        "hs_v2_date_entered_",
        "hs_v2_date_exited_",
        "hs_date_entered_",
        "hs_date_exited_",
    ];

    /// What the lengths of stays in a stage begin with.
    const LENGTHS: [&str; 4] = [
        "hs_v2_time_in_",
        "hs_v2_cumulative_time_in_",
        "hs_v2_latest_time_in_",
        "hs_time_in_",
    ];

    /// Whether a name can be one of HubSpot's own properties.
    pub fn may_be_hubspots(name: &str) -> bool {
        name.starts_with("hs_")
    }

    /// What is known of such a property: HubSpot calculates it, and its name tells what it holds.
    pub fn definition(name: &str) -> Definition {
        let begins = |heads: &[&str]| heads.iter().any(|head| name.starts_with(head));
        let kind = match name {
            _ if begins(&TIMES) => "datetime",
            _ if begins(&LENGTHS) => "number",
            _ => "string",
        };
        Definition {
            kind: kind.to_owned(),
            field_type: String::new(),
            read_only: true,
            unique: false,
            refers_to_record: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mapping::{FieldModes, KeyChoice, Modes, NewRecords, Policy};
    use crate::model::name::{ColumnName, TableName};

    fn field(name: &str, direction: Direction) -> FieldMapping {
        FieldMapping {
            property: PropertyName::parse(name).expect(name),
            column: ColumnName::parse(name).expect(name),
            declared_type: None,
            property_type: PropertyType::String,
            direction,
            policy: Policy::Newest,
            modes: FieldModes::default(),
        }
    }

    fn definition(kind: &str, field_type: &str, read_only: bool) -> Definition {
        Definition {
            kind: kind.to_owned(),
            field_type: field_type.to_owned(),
            read_only,
            unique: false,
            refers_to_record: false,
        }
    }

    #[test]
    fn the_name_of_a_property_that_is_not_listed_tells_what_it_holds() {
        for (name, kind) in [
            ("hs_v2_date_entered_closedwon", "datetime"),
            ("hs_v2_date_exited_1", "datetime"),
            ("hs_v2_cumulative_time_in_1", "number"),
            ("hs_time_in_customer", "number"),
            ("hs_something", "string"),
        ] {
            let definition = unlisted::definition(name);
            assert_eq!(
                (definition.kind.as_str(), definition.read_only),
                (kind, true),
                "{name}"
            );
        }
        assert!(
            unlisted::may_be_hubspots("hs_v2_time_in_1") && !unlisted::may_be_hubspots("colour")
        );
    }

    #[test]
    fn types_come_from_the_portal_and_calculated_properties_are_pulled() {
        let object = ObjectMapping {
            object: ObjectType::parse("contacts").expect("name"),
            address: None,
            table: TableName::parse("contacts").expect("name"),
            direction: Direction::Both,
            key: KeyChoice::Auto,
            match_property: None,
            modes: Modes::default(),
            policy: Policy::Newest,
            poll: std::time::Duration::from_secs(5),
            fields: vec![
                field("interests", Direction::Both),
                field("score", Direction::Both),
                field("gone", Direction::Both),
            ],
        };
        let definitions = Definitions::from([
            (
                "interests".to_owned(),
                definition("enumeration", "checkbox", false),
            ),
            (
                "score".to_owned(),
                definition("number", "calculation_score", true),
            ),
        ]);
        let portal = BTreeMap::from([(object.object.clone(), definitions)]);
        let (resolved, problems) = resolve(
            &Mapping {
                pairs: Vec::new(),
                objects: vec![object],
            },
            &portal,
        );
        let fields = &resolved.objects[0].fields;
        assert_eq!(
            (fields[0].property_type, fields[0].direction),
            (PropertyType::Set, Direction::Both)
        );
        assert_eq!(
            (fields[1].property_type, fields[1].direction),
            (PropertyType::Number, Direction::Pull)
        );
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].problem,
            "HubSpot has no property `gone` on contacts"
        );
    }

    #[test]
    fn a_key_that_hubspot_keeps_not_unique_or_that_holds_several_values_is_remarked_on() {
        let told = |key: &str, kind: (&str, &str), unique: bool, direction: Direction| {
            let object = ObjectMapping {
                object: ObjectType::parse("contacts").expect("name"),
                address: None,
                table: TableName::parse("contacts").expect("name"),
                direction,
                key: KeyChoice::Property(PropertyName::parse(key).expect("name")),
                match_property: None,
                modes: Modes::default(),
                policy: Policy::Newest,
                poll: std::time::Duration::from_secs(5),
                fields: vec![field(key, Direction::Both)],
            };
            let defined = Definition {
                unique,
                ..definition(kind.0, kind.1, false)
            };
            let portal = BTreeMap::from([(
                object.object.clone(),
                Definitions::from([(key.to_owned(), defined)]),
            )]);
            let objects = vec![object];
            let (mapping, problems) = resolve(
                &Mapping {
                    objects,
                    pairs: Vec::new(),
                },
                &portal,
            );
            assert_eq!(problems, Vec::new());
            remarks(&mapping, &portal).len()
        };
        let text = ("string", "text");
        assert_eq!(told("reference", text, false, Direction::Both), 1);
        assert_eq!(told("reference", text, true, Direction::Both), 0);
        assert_eq!(told("email", text, false, Direction::Both), 0);
        assert_eq!(told("reference", text, false, Direction::Pull), 0);
        let several = ("enumeration", "checkbox");
        assert_eq!(told("interests", several, false, Direction::Both), 2);
    }

    #[test]
    fn only_where_a_key_is_made_for_it_does_a_create_carry_one_of_ours() {
        let contacts = crate::testing::contacts();
        let definition = |unique| Definition {
            kind: "string".to_owned(),
            field_type: "text".to_owned(),
            read_only: false,
            unique,
            refers_to_record: false,
        };
        let email = PropertyName::parse("email").expect("a name");
        let portal = |names: &[&str]| {
            let names = names.iter();
            names
                .map(|name| ((*name).to_owned(), definition(true)))
                .collect::<Definitions>()
        };
        let links = |new_records| {
            let mut object = contacts.mapping().clone();
            object.key = KeyChoice::Auto;
            object.modes.new_records = new_records;
            synced_object(&object, &BTreeSet::new(), &portal(&["email"])).key_wanted
        };
        assert!(links(NewRecords::FromLocal), "rows become records");
        for none in [NewRecords::FromHubspot, NewRecords::None] {
            assert!(!links(none), "no create goes out that could carry it");
        }
        for (key, known, expected) in [
            (KeyChoice::Auto, &["email", OWN_KEY][..], (true, false)),
            (KeyChoice::Auto, &["email"], (false, true)),
            (
                KeyChoice::Property(email.clone()),
                &["email", OWN_KEY],
                (false, false),
            ),
            (
                KeyChoice::Property(email.clone()),
                &["email"],
                (false, false),
            ),
            (KeyChoice::None, &["email", OWN_KEY], (false, false)),
        ] {
            let object = ObjectMapping {
                key,
                ..contacts.mapping().clone()
            };
            let sync = synced_object(&object, &BTreeSet::new(), &portal(known));
            let found = (sync.key_property.is_some(), sync.key_wanted);
            assert_eq!(found, expected, "{:?} {known:?}", object.key);
            assert!(sync.is_unique(&email));
        }
        let mut not_unique = portal(&["email"]);
        not_unique.insert(OWN_KEY.to_owned(), definition(false));
        let sync = synced_object(contacts.mapping(), &BTreeSet::new(), &not_unique);
        assert_eq!((sync.key_property, sync.key_wanted), (None, false));
    }
}
