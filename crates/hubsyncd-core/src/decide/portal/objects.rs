//! Which object of the portal's a mapping means where HubSpot doesn't define it, and what its schema says of it
//! (`hubspot/api-facts.md#9`).

use serde::{Deserialize, Serialize};

use crate::model::mapping::{FieldMapping, FieldModes, Mapping, OWN_KEY, ObjectMapping};
use crate::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use crate::model::object::STAGES;
use crate::model::value::PropertyType;

/// An object as the portal's schema describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObjectSchema {
    /// HubSpot's object type id, as `2-2000001`: what HubSpot is asked for.
    pub type_id: String,
    /// As `p12345_machine`.
    pub full_name: String,
    /// As `machine`.
    pub name: String,
    /// The properties without which HubSpot takes no create of it.
    pub required: Vec<String>,
    /// The properties that a record is shown by.
    pub display: Vec<String>,
    /// The properties that are mapped where the file names none.
    #[serde(default)]
    pub defaults: Vec<String>,
}

impl ObjectSchema {
    /// Whether a name is one of the object's.
    pub fn is_called(&self, name: &str) -> bool {
        [&self.type_id, &self.full_name, &self.name]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Settles which properties are mapped where the file names none: those by which a record is shown, those that it needs,
    /// those that the portal made, and owner and stage where it has them.
    #[must_use]
    pub fn with_defaults(self, listed: &[ListedProperty<'_>]) -> Self {
        let mut defaults: Vec<String> = Vec::new();
        let own = listed.iter().filter(|property| property.is_portals_own);
        let common = ["hubspot_owner_id", STAGES.pipeline, STAGES.stage];
        let wanted = self
            .display
            .iter()
            .chain(&self.required)
            .map(String::as_str);
        let wanted = wanted
            .chain(own.map(|property| property.name))
            .chain(common);
        for name in wanted.filter(|name| *name != OWN_KEY) {
            let is_there = listed.iter().any(|property| property.name == name);
            if is_there
                && !defaults
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(name))
            {
                defaults.push(name.to_owned());
            }
        }
        Self { defaults, ..self }
    }
}

/// A property in the portal's list.
#[derive(Debug, Clone, Copy)]
pub struct ListedProperty<'a> {
    /// Its internal name.
    pub name: &'a str,
    /// Whether the portal made it, not HubSpot.
    pub is_portals_own: bool,
}

/// Why an object that the portal has can't be synced as the mapping has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

/// The mapping of an object with what its schema settles: HubSpot's id of it, the table's name where the file has none, and
/// the fields likewise. `others` are those that are settled already.
///
/// # Errors
/// Another table of `[objects]` means the same object or has the same table, or no property is to be mapped.
pub fn settled(
    object: &ObjectMapping,
    schema: &ObjectSchema,
    others: &Mapping,
) -> Result<ObjectMapping, Unfit> {
    let name = &object.object;
    let address = ObjectType::parse(&schema.type_id).ok();
    let address = address.unwrap_or_else(|| object.address().clone());
    if let Some(same) = others
        .objects
        .iter()
        .find(|other| *other.address() == address)
    {
        return Err(Unfit {
            problem: format!(
                "`{name}` and `{}` are both HubSpot's object {address}",
                same.object
            ),
            hint: format!("take `[objects.{name}]` out"),
        });
    }
    let table = match object.table.is_until_named() {
        true => TableName::parse(&schema.name).map_err(|error| Unfit {
            problem: format!("the schema's name can't be a table's: {error}"),
            hint: format!("add `table` to `[objects.\"{name}\"]`"),
        })?,
        false => object.table.clone(),
    };
    let is_same =
        |other: &&ObjectMapping| other.table.as_str().eq_ignore_ascii_case(table.as_str());
    if let Some(same) = others.objects.iter().find(is_same) {
        return Err(Unfit {
            problem: format!("`{}` and `{name}` both go to table `{table}`", same.object),
            hint: format!("give `[objects.\"{name}\"]` a `table` of its own"),
        });
    }
    let fields = match object.fields.is_empty() {
        true => schema
            .defaults
            .iter()
            .filter_map(|name| field(object, name))
            .collect(),
        false => object.fields.clone(),
    };
    if fields.is_empty() {
        return Err(Unfit {
            problem: format!("the schema of `{name}` names no property to be mapped"),
            hint: format!("write `[objects.{name}.properties]`"),
        });
    }
    Ok(ObjectMapping {
        address: Some(address).filter(|address| address != name),
        table,
        fields,
        ..object.clone()
    })
}

/// A property under a column of its own name.
fn field(object: &ObjectMapping, name: &str) -> Option<FieldMapping> {
    Some(FieldMapping {
        property: PropertyName::parse(name).ok()?,
        column: ColumnName::parse(name).ok()?,
        declared_type: None,
        property_type: PropertyType::String,
        direction: object.direction,
        policy: object.policy,
        modes: FieldModes::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> ObjectSchema {
        ObjectSchema {
            type_id: "2-2000001".to_owned(),
            full_name: "p12345_machine".to_owned(),
            name: "machine".to_owned(),
            required: vec!["serial".to_owned()],
            display: vec!["model".to_owned()],
            defaults: Vec::new(),
        }
    }

    fn listed<'a>(own: &[&'a str], hubspots: &[&'a str]) -> Vec<ListedProperty<'a>> {
        let named = |is_portals_own: bool| {
            move |name: &&'a str| ListedProperty {
                name,
                is_portals_own,
            }
        };
        let own = own.iter().map(named(true));
        own.chain(hubspots.iter().map(named(false))).collect()
    }

    fn mapped(key: &str) -> ObjectMapping {
        let object = ObjectType::parse(key).expect(key);
        ObjectMapping {
            table: TableName::parse(key).unwrap_or_else(|_| TableName::until_named(&object)),
            object,
            fields: Vec::new(),
            ..crate::testing::contacts().mapping().clone()
        }
    }

    #[test]
    fn an_object_is_found_by_each_of_its_names() {
        for (name, expected) in [
            ("2-2000001", true),
            ("p12345_machine", true),
            ("Machine", true),
            ("machines", false),
        ] {
            assert_eq!(machine().is_called(name), expected, "{name}");
        }
    }

    #[test]
    fn without_a_list_what_shows_a_record_what_it_needs_and_what_the_portal_made_is_mapped() {
        let own = ["color", OWN_KEY, "serial", "model"];
        let hubspots = ["hs_object_id", "hubspot_owner_id", "hs_pipeline"];
        let schema = machine().with_defaults(&listed(&own, &hubspots));
        let expected = [
            "model",
            "serial",
            "color",
            "hubspot_owner_id",
            "hs_pipeline",
        ];
        assert_eq!(schema.defaults, expected);
    }

    #[test]
    fn the_schema_settles_address_table_and_fields() {
        let schema = machine().with_defaults(&listed(&["model"], &[]));
        let none = Mapping::default();
        for (key, table, address) in [
            ("2-2000001", "machine", None),
            ("machines", "machines", Some("2-2000001")),
        ] {
            let settled = settled(&mapped(key), &schema, &none).expect("it fits");
            assert_eq!(settled.table.as_str(), table);
            assert_eq!(settled.address.as_ref().map(ObjectType::as_str), address);
            assert_eq!(settled.fields.len(), 1);
        }
        let nothing = settled(&mapped("machines"), &machine(), &none).expect_err("no property");
        assert!(
            nothing.problem.contains("no property"),
            "{}",
            nothing.problem
        );
    }

    #[test]
    fn two_tables_of_the_file_are_not_one_object_and_two_objects_not_one_table() {
        let schema = machine().with_defaults(&listed(&["model"], &[]));
        let first = settled(&mapped("machines"), &schema, &Mapping::default()).expect("it fits");
        let others = Mapping {
            objects: vec![first],
            pairs: Vec::new(),
        };
        let same = settled(&mapped("machine"), &schema, &others).expect_err("the same object");
        assert_eq!(
            same.problem,
            "`machine` and `machines` are both HubSpot's object 2-2000001"
        );
        let named = ObjectSchema {
            type_id: "2-7".to_owned(),
            name: "Machines".to_owned(),
            ..schema
        };
        let same = settled(&mapped("2-7"), &named, &others).expect_err("the same table");
        assert_eq!(
            same.problem,
            "`machines` and `2-7` both go to table `Machines`"
        );
    }
}
