//! The properties that a mapping file declares (`create`), against those of the portal: which groups, properties and options are
//! to be made. Nothing is ever deleted, and nothing that is there is changed but by options that are added behind its own.

use std::collections::BTreeMap;

use crate::decide::schema::Definition;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::group_of;
use crate::model::value::PropertyType;

/// An option as HubSpot knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WishedOption {
    /// What records hold.
    pub value: String,
    /// What people see.
    pub label: String,
}

/// A property as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyWish {
    /// The object.
    pub object: ObjectType,
    /// Its internal name.
    pub property: PropertyName,
    /// What people see.
    pub label: String,
    /// The type of its values.
    pub kind: PropertyType,
    /// HubSpot's `fieldType`, where the type's own is not meant.
    pub field_type: Option<String>,
    /// The group, where the object's first is not meant.
    pub group: Option<String>,
    /// What it is for.
    pub description: String,
    /// Its options.
    pub options: Vec<WishedOption>,
    /// Whether no two records can hold the same value.
    pub unique: bool,
}

/// HubSpot's `type` of properties of a type, and the `fieldType`s that it makes them with; the first is what is meant where nobody
/// names one (`hubspot/api-facts.md#7`).
pub fn wire_types(kind: PropertyType) -> (&'static str, &'static [&'static str]) {
    match kind {
        PropertyType::Number | PropertyType::Decimal | PropertyType::Integer => {
            ("number", &["number"])
        }
        PropertyType::Bool => ("bool", &["booleancheckbox"]),
        PropertyType::Date => ("date", &["date"]),
        PropertyType::Datetime => ("datetime", &["date"]),
        PropertyType::Enumeration => (
            "enumeration",
            &["select", "radio", "checkbox", "booleancheckbox"],
        ),
        PropertyType::Set => ("enumeration", &["checkbox"]),
        PropertyType::String => (
            "string",
            &["text", "textarea", "html", "file", "phonenumber"],
        ),
    }
}

impl PropertyWish {
    /// HubSpot's `type` and `fieldType` of it.
    pub fn wire_type(&self) -> (&'static str, &str) {
        let (kind, field_types) = wire_types(self.kind);
        (kind, self.field_type.as_deref().unwrap_or(field_types[0]))
    }

    /// Those of its options that are not among some.
    pub fn missing_options<'a>(&'a self, known: &[(String, String)]) -> Vec<&'a WishedOption> {
        let is_known =
            |option: &&WishedOption| known.iter().any(|(value, _)| *value == option.value);
        self.options
            .iter()
            .filter(|option| !is_known(option))
            .collect()
    }
}

/// What the portal has of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalProperty {
    /// How it is defined.
    pub definition: Definition,
    /// Value and label of each option.
    pub options: Vec<(String, String)>,
}

/// What the portal has of an object.
#[derive(Debug, Clone, Default)]
pub struct PortalObject {
    /// Its properties, by name.
    pub properties: BTreeMap<String, PortalProperty>,
    /// The names of its archived ones.
    pub archived: Vec<String>,
    /// The names of its groups, the first of which takes what names none.
    pub groups: Vec<String>,
}

/// Something to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyStep {
    /// A group of properties.
    Group {
        /// Of which object.
        object: ObjectType,
        /// Its internal name.
        name: String,
    },
    /// A property.
    Property {
        /// As it is declared.
        wish: PropertyWish,
        /// The group that it comes to.
        group: String,
        /// Whether it lies in the archive, from where HubSpot brings it back as it was.
        is_archived: bool,
    },
    /// Options of a property that is there.
    Options {
        /// Of which object.
        object: ObjectType,
        /// Of which property.
        property: PropertyName,
        /// Those that are added, behind all that the property has when they are.
        added: Vec<WishedOption>,
    },
}

/// What is to be made, and what is there and other than declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyPlan {
    /// In the order in which it can be made.
    pub steps: Vec<PropertyStep>,
    /// A sentence each: nobody changes these.
    pub differences: Vec<String>,
}

/// Holds the wishes against the portal. What is said of an object that the portal does not show is nothing.
pub fn plan(wishes: &[PropertyWish], portal: &BTreeMap<ObjectType, PortalObject>) -> PropertyPlan {
    let mut plan = PropertyPlan::default();
    for wish in wishes {
        let Some(object) = portal.get(&wish.object) else {
            continue;
        };
        match object.properties.get(wish.property.as_str()) {
            Some(found) => compare(wish, found, &mut plan),
            None => make(wish, object, &mut plan),
        }
    }
    plan
}

fn make(wish: &PropertyWish, object: &PortalObject, plan: &mut PropertyPlan) {
    let first = || {
        let known = group_of(&wish.object).map(str::to_owned);
        known.or_else(|| object.groups.first().cloned())
    };
    let group = wish.group.clone().or_else(first).unwrap_or_default();
    let step = PropertyStep::Group {
        object: wish.object.clone(),
        name: group.clone(),
    };
    if !object.groups.contains(&group) && !plan.steps.contains(&step) {
        plan.steps.push(step);
    }
    plan.steps.push(PropertyStep::Property {
        is_archived: object
            .archived
            .iter()
            .any(|name| name == wish.property.as_str()),
        wish: wish.clone(),
        group,
    });
}

fn compare(wish: &PropertyWish, found: &PortalProperty, plan: &mut PropertyPlan) {
    let mut differ = |what: String| {
        let (object, property) = (&wish.object, &wish.property);
        plan.differences.push(format!(
            "`{object}.{property}` is there and {what}; nobody changes that"
        ));
    };
    let (kind, _) = wish.wire_type();
    let is_several = found.definition.property_type() == PropertyType::Set;
    if found.definition.kind != kind {
        differ(format!("of type {}, not {kind}", found.definition.kind));
        return;
    }
    if is_several != (wish.kind == PropertyType::Set) {
        let holds = if is_several {
            "several options"
        } else {
            "one option"
        };
        differ(format!("holds {holds} of a record"));
        return;
    }
    if wish.unique && !found.definition.unique {
        differ("not unique".to_owned());
    }
    let added: Vec<WishedOption> = wish
        .missing_options(&found.options)
        .into_iter()
        .cloned()
        .collect();
    if added.is_empty() {
        return;
    }
    plan.steps.push(PropertyStep::Options {
        object: wish.object.clone(),
        property: wish.property.clone(),
        added,
    });
}

/// The longest name that HubSpot gives a property or a group (`hubspot/api-facts.md#7`).
const LONGEST_NAME: usize = 100;

/// Whether HubSpot makes a property or a group of this name: lower case letters, digits and `_`, a letter first
/// (`hubspot/api-facts.md#7`).
pub fn is_made_name(name: &str) -> bool {
    let is_part =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(is_part)
        && name.len() <= LONGEST_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(value: &str) -> WishedOption {
        WishedOption {
            value: value.to_owned(),
            label: value.to_owned(),
        }
    }

    fn wish(name: &str, kind: PropertyType, group: Option<&str>) -> PropertyWish {
        PropertyWish {
            object: ObjectType::parse("contacts").expect("a name"),
            property: PropertyName::parse(name).expect("a name"),
            label: name.to_owned(),
            kind,
            field_type: None,
            group: group.map(str::to_owned),
            description: String::new(),
            options: ["gold", "silver"].map(option).to_vec(),
            unique: false,
        }
    }

    fn contacts(
        kind: &str,
        field_type: &str,
        options: &[&str],
    ) -> BTreeMap<ObjectType, PortalObject> {
        let definition = Definition {
            kind: kind.to_owned(),
            field_type: field_type.to_owned(),
            read_only: false,
            unique: false,
            refers_to_record: false,
        };
        let options = options
            .iter()
            .map(|value| ((*value).to_owned(), "Label".to_owned()));
        let found = PortalProperty {
            definition,
            options: options.collect(),
        };
        let object = PortalObject {
            properties: BTreeMap::from([("tier".to_owned(), found)]),
            archived: vec!["old".to_owned()],
            groups: vec!["contactinformation".to_owned()],
        };
        BTreeMap::from([(ObjectType::parse("contacts").expect("a name"), object)])
    }

    fn told(wishes: &[PropertyWish], portal: &BTreeMap<ObjectType, PortalObject>) -> Vec<String> {
        let plan = plan(wishes, portal);
        let steps = plan.steps.iter().map(|step| match step {
            PropertyStep::Group { name, .. } => format!("group {name}"),
            PropertyStep::Property {
                wish,
                group,
                is_archived,
            } => {
                format!(
                    "{} in {group}{}",
                    wish.property,
                    if *is_archived { " again" } else { "" }
                )
            }
            PropertyStep::Options { added, .. } => {
                let added: Vec<&str> = added.iter().map(|option| option.value.as_str()).collect();
                format!("more: {}", added.join(" "))
            }
        });
        steps.chain(plan.differences.iter().cloned()).collect()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_only_grows() {
        let tier = [wish("tier", PropertyType::Enumeration, None)];
        let select = contacts("enumeration", "select", &["bronze", "gold"]);
        assert_eq!(told(&tier, &select), ["more: silver"]);
        let whole = contacts("enumeration", "select", &["silver", "gold"]);
        assert_eq!(told(&tier, &whole), Vec::<String>::new());
        let other = contacts("number", "number", &[]);
        let sentence =
            "`contacts.tier` is there and of type number, not enumeration; nobody changes that";
        assert_eq!(told(&tier, &other), [sentence]);
        let several = contacts("enumeration", "checkbox", &[]);
        assert!(told(&tier, &several)[0].contains("several options"));
    }

    #[test]
    fn a_group_comes_once_and_before_what_stands_in_it() {
        let own = |name: &str| wish(name, PropertyType::Set, Some("loyalty"));
        let plain = wish("old", PropertyType::Enumeration, None);
        assert_eq!(
            told(
                &[own("one"), own("two"), plain],
                &contacts("string", "text", &[])
            ),
            [
                "group loyalty",
                "one in loyalty",
                "two in loyalty",
                "old in contactinformation again"
            ]
        );
    }
}
