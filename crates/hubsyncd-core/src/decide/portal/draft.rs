//! What `init` proposes: which of a portal's objects, properties and pairs a new mapping file begins with.

use std::collections::BTreeSet;

use crate::decide::portal::objects::{ListedProperty, ObjectSchema};
use crate::model::mapping::OWN_KEY;
use crate::model::name::{
    ColumnName, MAX_COLUMNS, MAX_IDENTIFIER_BYTES, OWN_COLUMNS, ObjectType, PropertyName, TableName,
};
use crate::model::object::{STANDARD_OBJECTS, StandardObject};
use crate::model::settings::Tier;

/// How much of an object is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// What tells its records apart, and what HubSpot demands.
    Minimal,
    /// What people use: HubSpot's best known properties, and all that the portal made.
    #[default]
    Sensible,
    /// Everything.
    All,
}

/// A property that the portal offers.
#[derive(Debug, Clone, Copy)]
pub struct OfferedProperty<'a> {
    /// Its name, and whether the portal made it.
    pub listed: ListedProperty<'a>,
    /// Whether its values can't be written.
    pub read_only: bool,
}

/// A property as it is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftField {
    /// Its place among those that are offered.
    pub index: usize,
    /// Its column.
    pub column: ColumnName,
    /// Whether it can only be read.
    pub is_pulled: bool,
}

/// The objects that are looked at where nobody names any, in this order; activities only by name, custom ones come behind.
pub fn looked_at() -> impl Iterator<Item = &'static StandardObject> {
    STANDARD_OBJECTS
        .iter()
        .filter(|object| object.opened_as.is_none())
}

/// What is proposed of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DraftFields {
    /// Properties, HubSpot's best known ones first.
    pub chosen: Vec<DraftField>,
    /// Names of those that no mapping can have: it knows no such name, or the table would have too many columns.
    pub left_out: Vec<String>,
}

/// The properties that are proposed of an object.
pub fn fields(
    standard: Option<&StandardObject>,
    schema: Option<&ObjectSchema>,
    offered: &[OfferedProperty<'_>],
    extent: Extent,
) -> DraftFields {
    let none = ObjectSchema::default();
    let schema = schema.unwrap_or(&none);
    let mut wanted: Vec<&str> = Vec::new();
    if let Some(standard) = standard {
        let all = standard.properties.iter().copied();
        match extent {
            Extent::Minimal => wanted.extend(all.filter(|name| identifies(standard, name))),
            Extent::Sensible | Extent::All => wanted.extend(all),
        }
    }
    let of_schema = schema.display.iter().chain(&schema.required);
    wanted.extend(of_schema.map(String::as_str));
    if extent == Extent::Sensible {
        wanted.extend(schema.defaults.iter().map(String::as_str));
    }
    let rest = offered.iter().filter(|property| match extent {
        Extent::Minimal => false,
        Extent::Sensible => property.listed.is_portals_own,
        Extent::All => true,
    });
    wanted.extend(rest.map(|property| property.listed.name));
    let mut draft = DraftFields::default();
    let (mut seen, mut columns) = (BTreeSet::new(), BTreeSet::new());
    for name in wanted {
        let place = offered.iter().position(|known| known.listed.name == name);
        let Some(index) = place.filter(|_| name != OWN_KEY && name != RECORD_ID) else {
            continue;
        };
        if !seen.insert(name) {
            continue;
        }
        let has_room = draft.chosen.len() < MAX_COLUMNS - OWN_COLUMNS.len();
        let is_name = PropertyName::parse(name).is_ok();
        let column = (has_room && is_name).then(|| column_of(name, &mut columns));
        match column.flatten() {
            Some(column) => draft.chosen.push(DraftField {
                index,
                column,
                is_pulled: offered[index].read_only,
            }),
            None => draft.left_out.push(name.to_owned()),
        }
    }
    draft
}

/// Every row has it as `hs_id`.
const RECORD_ID: &str = "hs_object_id";

/// What tells an object's records apart, or has to be there.
fn identifies(standard: &StandardObject, name: &str) -> bool {
    let stages = standard
        .stages
        .map(|stages| [stages.pipeline, stages.stage]);
    let named = [standard.unique, standard.domain].into_iter().flatten();
    standard.required.contains(&name)
        || standard.one_of.contains(&name)
        || stages.is_some_and(|stages| stages.contains(&name))
        || named.into_iter().any(|known| known == name)
        // Of an object of which nothing is demanded the first is what people call it by.
        || standard.required.is_empty()
            && standard.one_of.is_empty()
            && standard.properties.first() == Some(&name)
}

/// A column of the property's name, or of one that is free; HubSpot's names may be longer than a column's.
fn column_of(name: &str, taken: &mut BTreeSet<String>) -> Option<ColumnName> {
    let mut candidates = (0..100).map(|number| {
        let end = match number {
            0 => String::new(),
            1 => "_value".to_owned(),
            _ => format!("_{number}"),
        };
        let most = MAX_IDENTIFIER_BYTES - end.len();
        format!("{}{end}", name.get(..most).unwrap_or(name))
    });
    candidates
        .by_ref()
        .filter_map(|candidate| ColumnName::parse(&candidate).ok())
        .find(|column| taken.insert(column.as_str().to_ascii_lowercase()))
}

/// What an object is called in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftName {
    /// The key in `[objects]`.
    pub key: ObjectType,
    /// The table, where the key can't be one.
    pub table: Option<TableName>,
}

/// What a custom object is called: its name, its full name or its id, whichever means nothing else.
pub fn name_of(schema: &ObjectSchema) -> Option<DraftName> {
    let names = [&schema.name, &schema.full_name, &schema.type_id];
    let key = names.into_iter().find_map(|name| {
        let key = ObjectType::parse(name).ok()?;
        StandardObject::spelled(name).is_none().then_some(key)
    })?;
    if TableName::parse(key.as_str()).is_ok() {
        return Some(DraftName { key, table: None });
    }
    let others = [
        format!("{}_records", schema.name),
        format!("object_{}", schema.name),
    ];
    let table = others.iter().find_map(|name| TableName::parse(name).ok())?;
    let table = Some(table);
    Some(DraftName { key, table })
}

/// The order of the two ends of a pair of objects that stand in this order: rows stand from the one that names the other, as
/// a contact or a deal names its company.
pub fn ends<'a>(first: &'a ObjectType, second: &'a ObjectType) -> (&'a ObjectType, &'a ObjectType) {
    match (first.as_str(), second.as_str()) {
        ("contacts", "companies") => (first, second),
        _ => (second, first),
    }
}

/// The tier that HubSpot's headers tell: of what the limits of several tiers fit, the smallest.
pub fn tier(burst: u32, per_day: Option<u64>) -> Tier {
    let fits = |tier: &Tier| {
        tier.burst_per_10_seconds() >= burst.min(Tier::Enterprise.burst_per_10_seconds())
            && per_day.is_none_or(|day| tier.per_day() >= day.min(Tier::Enterprise.per_day()))
    };
    let mut tiers = Tier::ALL.into_iter();
    tiers.find(fits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered<'a>(own: &[&'a str], hubspots: &[&'a str]) -> Vec<OfferedProperty<'a>> {
        let property = |is_portals_own| {
            move |name: &&'a str| OfferedProperty {
                listed: ListedProperty {
                    name,
                    is_portals_own,
                },
                read_only: name.starts_with("calculated"),
            }
        };
        let own_properties = own.iter().map(property(true));
        own_properties
            .chain(hubspots.iter().map(property(false)))
            .collect()
    }

    fn names(extent: Extent) -> Vec<String> {
        let all = offered(
            &["vip", "calculated_score", OWN_KEY],
            &[
                "hs_object_id",
                "email",
                "city",
                "firstname",
                "hs_other",
                "hs_id",
            ],
        );
        let contacts = StandardObject::of("contacts");
        let chosen = fields(contacts, None, &all, extent).chosen;
        chosen
            .iter()
            .map(|field| {
                let pull = if field.is_pulled { "<" } else { "" };
                format!("{}={}{pull}", all[field.index].listed.name, field.column)
            })
            .collect()
    }

    #[test]
    fn each_extent_takes_more_and_nothing_that_a_row_has_already() {
        assert_eq!(
            names(Extent::Minimal),
            ["email=email", "firstname=firstname"]
        );
        assert_eq!(
            names(Extent::Sensible),
            [
                "email=email",
                "firstname=firstname",
                "city=city",
                "vip=vip",
                "calculated_score=calculated_score<"
            ]
        );
        let all = names(Extent::All);
        assert_eq!(all.len(), 7, "{all:?}");
        assert_eq!(all[5..], ["hs_other=hs_other", "hs_id=hs_id_value"]);
    }

    #[test]
    fn a_property_whose_name_is_longer_than_a_columns_has_a_shorter_one_and_what_has_no_name_is_told()
     {
        let long = ["a".repeat(64), "a".repeat(100), "a".repeat(63)];
        let own: Vec<&str> = long.iter().map(String::as_str).collect();
        let all = offered(&[&own[..], &["with-dash", "1st"]].concat(), &[]);
        let draft = fields(None, None, &all, Extent::Sensible);
        let columns: Vec<&str> = draft
            .chosen
            .iter()
            .map(|field| field.column.as_str())
            .collect();
        let cut = |letters: usize, end: &str| format!("{}{end}", "a".repeat(letters));
        assert_eq!(columns, [cut(63, ""), cut(57, "_value"), cut(61, "_2")]);
        assert_eq!(draft.left_out, ["with-dash", "1st"]);
        let many: Vec<String> = (0..2_000).map(|number| format!("own_{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let draft = fields(None, None, &offered(&many, &[]), Extent::Sensible);
        assert_eq!((draft.chosen.len(), draft.left_out.len()), (1_995, 5));
    }

    #[test]
    fn a_custom_object_is_called_by_the_first_name_that_means_nothing_else() {
        let schema = |name: &str| ObjectSchema {
            type_id: "2-7".to_owned(),
            full_name: format!("p1_{name}"),
            name: name.to_owned(),
            ..ObjectSchema::default()
        };
        let called = |name: &str| {
            let called = name_of(&schema(name)).expect("a name");
            let table = called.table.map(|table| table.to_string());
            (called.key.to_string(), table)
        };
        assert_eq!(called("machine"), ("machine".to_owned(), None));
        assert_eq!(called("contact"), ("p1_contact".to_owned(), None));
        assert_eq!(
            called("owners"),
            ("owners".to_owned(), Some("owners_records".to_owned()))
        );
    }

    #[test]
    fn the_headers_tell_the_tier() {
        for (burst, day, expected) in [
            (100, Some(250_000), Tier::Free),
            (190, Some(625_000), Tier::Professional),
            (190, Some(1_000_000), Tier::Enterprise),
            (250, Some(2_000_000), Tier::Enterprise),
            (110, None, Tier::Professional),
        ] {
            assert_eq!(tier(burst, day), expected, "{burst} {day:?}");
        }
        let [contacts, companies, deals] =
            ["contacts", "companies", "deals"].map(|name| ObjectType::parse(name).expect("name"));
        assert_eq!(ends(&contacts, &companies), (&contacts, &companies));
        assert_eq!(ends(&companies, &deals), (&deals, &companies));
    }
}
