//! `<table>_labels`: a mirror with what people see in HubSpot beside what records hold (`design.md`, section 6.3).
//!
//! The labels are looked up when the view is read, so that a renamed option, stage or owner shows at once. Each look-up goes
//! by an index, and a column that nobody asks for is not looked up at all.

use std::collections::BTreeSet;

use rusqlite::{Connection, named_params};

use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::name::MAX_COLUMNS;
use crate::model::object::stage_properties;
use crate::model::value::PropertyType;
use crate::store::StoreError;
use crate::store::shape::ddl::{literal, quoted};
use crate::store::shape::triggers::Made;

/// The names that an object's view may have, the first that is free.
pub(crate) fn names(object: &ObjectMapping) -> [String; 2] {
    ["labels", "with_labels"].map(|end| format!("{}_{end}", object.table))
}

/// The properties of an object whose values are ids of owners, as the portal last said.
pub(crate) fn owner_properties(
    connection: &Connection,
    object: &ObjectMapping,
) -> Result<BTreeSet<String>, StoreError> {
    listed(
        connection,
        object,
        "SELECT name
         FROM properties
         WHERE object = :object AND referenced_object = 'OWNER'",
    )
}

/// The properties of an object that were choices and are text by now: what records hold of them has its label still.
pub(crate) fn former_choices(
    connection: &Connection,
    object: &ObjectMapping,
) -> Result<BTreeSet<String>, StoreError> {
    listed(
        connection,
        object,
        "SELECT DISTINCT o.property
         FROM _sync_options AS o
         JOIN properties AS p ON p.object = o.object AND p.name = o.property
         WHERE o.object = :object AND p.type = 'string'",
    )
}

/// What a query about an object names.
fn listed(
    connection: &Connection,
    object: &ObjectMapping,
    sql: &str,
) -> Result<BTreeSet<String>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let of_object = named_params! { ":object": object.object.as_str() };
    let names = statement.query_map(of_object, |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// The view of an object whose table has these columns.
pub(crate) fn view(
    object: &ObjectMapping,
    name: &str,
    columns: &[String],
    (owners, former_choices): (&BTreeSet<String>, &BTreeSet<String>),
) -> Made {
    let labelled = LabelledObject {
        object,
        owners,
        former_choices,
    };
    // A column of the table's keeps its name, and SQLite reads no view that is wider than a table may be.
    let mut taken: BTreeSet<String> = columns.iter().map(|name| name.to_lowercase()).collect();
    let mut selected = vec!["m.*".to_owned()];
    for field in &object.fields {
        let Some(text) = labelled.label(field) else {
            continue;
        };
        if taken.len() < MAX_COLUMNS {
            let label = free_name(&format!("{}_label", field.column), &taken);
            taken.insert(label.to_lowercase());
            selected.push(format!("{text} AS {}", quoted(&label)));
        }
    }
    Made {
        name: name.to_owned(),
        sql: format!(
            "CREATE VIEW {} AS\nSELECT {}\nFROM {} AS m",
            quoted(name),
            selected.join(",\n       "),
            quoted(object.table.as_str())
        ),
    }
}

/// A name that no column has: with `_2` behind it, or the next number, where one has it.
fn free_name(name: &str, taken: &BTreeSet<String>) -> String {
    let others = (2..).map(|number| format!("{name}_{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(others);
    let is_free = |name: &String| !taken.contains(&name.to_lowercase());
    names
        .find(is_free)
        .expect("one of more names than there are columns is free")
}

/// An object, and which of its properties name owners, or were choices.
struct LabelledObject<'a> {
    object: &'a ObjectMapping,
    owners: &'a BTreeSet<String>,
    former_choices: &'a BTreeSet<String>,
}

/// Where HubSpot keeps the label of a value.
enum Labels {
    Owners,
    Pipelines,
    Stages,
    Options,
}

impl LabelledObject<'_> {
    /// The label of a field's column; nothing where its values have none.
    fn label(&self, field: &FieldMapping) -> Option<String> {
        let labels = self.labels(field)?;
        let column = format!("m.{}", quoted(field.column.as_str()));
        let text = match field.property_type.sql_type() {
            "TEXT" => column,
            _ => format!("CAST({column} AS TEXT)"),
        };
        Some(if field.property_type == PropertyType::Set {
            self.labels_of_set(field, &labels, &text)
        } else {
            self.label_of_value(field, &labels, &text)
        })
    }

    fn labels(&self, field: &FieldMapping) -> Option<Labels> {
        let property = field.property.as_str();
        let stages = stage_properties(&self.object.object, |_| true);
        let has_options = matches!(
            field.property_type,
            PropertyType::Enumeration | PropertyType::Set
        ) || self.former_choices.contains(property);
        match stages {
            _ if self.owners.contains(property) => Some(Labels::Owners),
            Some(stages) if stages.pipeline == property => Some(Labels::Pipelines),
            Some(stages) if stages.stage == property => Some(Labels::Stages),
            Some(_) | None => has_options.then_some(Labels::Options),
        }
    }

    /// The label of one value; the value itself where it has none.
    fn label_of_value(&self, field: &FieldMapping, labels: &Labels, value: &str) -> String {
        let object = literal(self.object.object.as_str());
        let option = format!(
            "(SELECT nullif(o.label, '') FROM _sync_options AS o
                WHERE o.object = {object} AND o.property = {property} AND o.value = {value})",
            property = literal(field.property.as_str())
        );
        let first = match labels {
            Labels::Options => String::new(),
            Labels::Owners => format!(
                "(SELECT coalesce(nullif(trim(coalesce(o.first_name, '') || ' ' || coalesce(o.last_name, '')), ''), nullif(o.email, ''))
                FROM owners AS o WHERE o.id = {value}),
                "
            ),
            Labels::Pipelines => format!(
                "(SELECT nullif(p.label, '') FROM pipelines AS p WHERE p.object = {object} AND p.id = {value}),
                "
            ),
            Labels::Stages => self.stage(&object, value),
        };
        format!("coalesce({first}{option},\n                {value})")
    }

    /// The label of a stage: of the row's own pipeline where that is mapped, else of any that has it.
    fn stage(&self, object: &str, value: &str) -> String {
        let stages = stage_properties(&self.object.object, |_| true);
        let mut fields = self.object.fields.iter();
        let pipeline =
            fields.find(|field| stages.is_some_and(|own| own.pipeline == field.property.as_str()));
        let in_own = pipeline.map(|field| {
            format!(
                "(SELECT nullif(s.label, '') FROM pipeline_stages AS s
                WHERE s.object = {object} AND s.pipeline_id = m.{pipeline} AND s.id = {value}),
                ",
                pipeline = quoted(field.column.as_str())
            )
        });
        format!(
            "{}(SELECT nullif(s.label, '') FROM pipeline_stages AS s
                WHERE s.object = {object} AND s.id = {value} ORDER BY s.archived, s.pipeline_id LIMIT 1),
                ",
            in_own.unwrap_or_default()
        )
    }

    /// The labels of a set, in the order of the column. Without SQLite's JSON, which old programs lack.
    fn labels_of_set(&self, field: &FieldMapping, labels: &Labels, text: &str) -> String {
        let label = self.label_of_value(field, labels, "p.part");
        format!(
            "CASE WHEN {text} IS NULL THEN NULL ELSE coalesce((
           WITH RECURSIVE p (part, rest, labels) AS (
               SELECT '', {text} || ';', NULL
               UNION ALL
               SELECT substr(p.rest, 1, instr(p.rest, ';') - 1), substr(p.rest, instr(p.rest, ';') + 1),
                      CASE p.part WHEN '' THEN p.labels ELSE coalesce(p.labels || '; ', '') || {label} END
               FROM p
               WHERE p.rest <> ''
           )
           SELECT CASE p.part WHEN '' THEN p.labels ELSE coalesce(p.labels || '; ', '') || {label} END
           FROM p
           WHERE p.rest = ''), '') END"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::schema::Definition;
    use crate::model::mapping::Direction;
    use crate::model::name::TableName;
    use crate::model::reference::{Owner, Pipeline, Stage};
    use crate::store::reference::{self, Property};
    use crate::store::shape::fit::fit_to_mapping;
    use crate::store::testing::{
        at_once, daemons_connection, field, folder, mapping, now, object, open, texts,
    };
    use crate::store::{Lane, Mode};

    fn deals() -> ObjectMapping {
        let both = |name: &str, kind| field(name, name, kind, Direction::Both);
        object(
            "deals",
            Direction::Both,
            vec![
                both("dealname", PropertyType::String),
                both("pipeline", PropertyType::Enumeration),
                both("dealstage", PropertyType::Enumeration),
                both("hubspot_owner_id", PropertyType::Enumeration),
                both("colours", PropertyType::Set),
                both("dealtype", PropertyType::Enumeration),
            ],
        )
    }

    fn property(name: &str, options: Option<&str>, referenced: Option<&str>) -> Property {
        Property {
            name: name.to_owned(),
            label: None,
            definition: Definition {
                kind: "enumeration".to_owned(),
                field_type: String::new(),
                read_only: false,
                unique: false,
                refers_to_record: referenced.is_some(),
            },
            group_name: None,
            referenced_object: referenced.map(str::to_owned),
            options: options.map(str::to_owned),
            archived: false,
        }
    }

    fn pipelines() -> Vec<Pipeline> {
        ["sales", "renewal"]
            .map(|id| Pipeline {
                id: id.to_owned(),
                label: Some(format!("The {id} pipeline")),
                display_order: None,
                archived: false,
                stages: vec![Stage {
                    id: "won".to_owned(),
                    label: Some(format!("Won in {id}")),
                    display_order: None,
                    closed: None,
                    probability: None,
                    archived: false,
                }],
            })
            .into()
    }

    fn owners() -> Vec<Owner> {
        let owner = |id, first_name: Option<&str>, email: Option<&str>| Owner {
            id,
            email: email.map(str::to_owned),
            first_name: first_name.map(str::to_owned),
            last_name: first_name.map(|_| "Lovelace".to_owned()),
            user_id: None,
            archived: false,
        };
        vec![
            owner(1, Some("Ada"), Some("ada@example.com")),
            owner(2, None, Some("queue@example.com")),
            owner(3, None, None),
        ]
    }

    #[test]
    fn a_choice_that_becomes_text_keeps_its_label() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let both = |kind| field("dealtype", "dealtype", kind, Direction::Both);
        let told = |property: Property, kind| {
            let deals = object("deals", Direction::Both, vec![both(kind)]);
            let (name, mapping) = (deals.object.clone(), mapping(vec![deals]));
            at_once(store.write(Lane::Bulk, move |tx| {
                reference::replace_properties(tx, &name, &[property])?;
                fit_to_mapping(tx, &mapping, now()).map(drop)
            }))
            .expect("fits");
        };
        let options = Some(r#"[{"value":"new","label":"It's new"}]"#);
        told(
            property("dealtype", options, None),
            PropertyType::Enumeration,
        );
        daemons_connection(&folder)
            .execute_batch("INSERT INTO deals (dealtype) VALUES ('new'), ('other')")
            .expect("rows");
        let labels = "SELECT dealtype_label FROM deals_labels ORDER BY local_id";
        assert_eq!(texts(&folder, labels), ["It's new", "other"]);
        let mut text = property("dealtype", None, None);
        text.definition.kind = "string".to_owned();
        for _ in 0..2 {
            told(text.clone(), PropertyType::String);
            assert_eq!(texts(&folder, labels), ["It's new", "other"]);
        }
        let gone = "SELECT value FROM _sync_gone_options";
        assert_eq!(texts(&folder, gone), [""; 0], "it takes any text");
        // A choice again, with another label.
        let options = Some(r#"[{"value":"new","label":"Brand new"}]"#);
        told(
            property("dealtype", options, None),
            PropertyType::Enumeration,
        );
        assert_eq!(texts(&folder, labels), ["Brand new", "other"]);
    }

    #[test]
    fn each_value_shows_its_label_and_itself_where_it_has_none() {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let properties = [
            property(
                "colours",
                Some(r#"[{"value":"r","label":"Red"},{"value":"b","label":"Blue; dark"}]"#),
                None,
            ),
            property(
                "dealtype",
                Some(r#"[{"value":"new","label":"It's new"}, {"value":"old","label":""}]"#),
                None,
            ),
            property("hubspot_owner_id", None, Some("OWNER")),
        ];
        let fit = |objects: Vec<ObjectMapping>| {
            let mapping = mapping(objects);
            at_once(store.write(Lane::Bulk, move |tx| {
                fit_to_mapping(tx, &mapping, now()).map(|changes| changes.put_back)
            }))
            .expect("fits")
        };
        let deals = deals();
        let name = deals.object.clone();
        at_once(store.write(Lane::Bulk, move |tx| {
            reference::replace_properties(tx, &name, &properties)?;
            reference::replace_pipelines(tx, &name, &pipelines())?;
            reference::replace_owners(tx, &owners())
        }))
        .expect("is filled");
        fit(vec![deals.clone()]);
        let rows =
            "INSERT INTO deals (pipeline, dealstage, hubspot_owner_id, colours, dealtype) VALUES
                ('sales', 'won', '1', 'b;r', 'new'),
                ('renewal', 'won', '2', 'r;x;', 'old'),
                (NULL, 'won', '3', '', 'x'),
                ('gone', 'lost', '9', ';r', ''),
                (NULL, NULL, NULL, NULL, NULL)";
        daemons_connection(&folder)
            .execute_batch(rows)
            .expect("rows");
        let labels = "SELECT concat_ws(' | ', quote(pipeline_label), quote(dealstage_label), quote(hubspot_owner_id_label),
                quote(colours_label), quote(dealtype_label)) FROM deals_labels ORDER BY local_id";
        assert_eq!(
            texts(&folder, labels),
            [
                "'The sales pipeline' | 'Won in sales' | 'Ada Lovelace' | 'Blue; dark; Red' | 'It''s new'",
                "'The renewal pipeline' | 'Won in renewal' | 'queue@example.com' | 'Red; x' | 'old'",
                "NULL | 'Won in renewal' | '3' | '' | 'x'",
                "'gone' | 'lost' | '9' | 'Red' | ''",
                "NULL | NULL | NULL | NULL | NULL",
            ]
        );
        // Each look-up goes by a key: none grows with the tables.
        let plan = "EXPLAIN QUERY PLAN SELECT * FROM deals_labels";
        let explained = daemons_connection(&folder);
        let mut statement = explained.prepare(plan).expect(plan);
        let scans: Vec<String> = statement
            .query_map([], |row| row.get::<_, String>(3))
            .expect("is explained")
            .map(|detail| detail.expect("a step"))
            .filter(|detail| detail.starts_with("SCAN"))
            .collect();
        assert_eq!(
            scans.first().map(String::as_str),
            Some("SCAN m"),
            "{scans:?}"
        );
        let others = scans.iter().skip(1);
        assert!(
            others
                .clone()
                .all(|scan| scan == "SCAN p" || scan == "SCAN CONSTANT ROW"),
            "{scans:?}"
        );
        // A mapped table of the view's name has it; the view has another, and its own back afterwards.
        let subject = field("subject", "subject", PropertyType::String, Direction::Both);
        let tickets = object("tickets", Direction::Both, vec![subject]);
        let mut labelled = tickets.clone();
        labelled.table = TableName::parse("deals_labels").expect("a name");
        assert_eq!(fit(vec![deals.clone(), labelled.clone()]), [""; 0]);
        let views = "SELECT name FROM sqlite_schema WHERE type = 'view' AND name LIKE 'deals%labels' ORDER BY name";
        let other_names = ["deals_labels_labels", "deals_with_labels"];
        assert_eq!(texts(&folder, views), other_names);
        // Dropped by a program, it comes back; a column of a label's name is shown as it is, and the label beside it.
        daemons_connection(&folder)
            .execute_batch("DROP VIEW deals_with_labels; ALTER TABLE deals ADD COLUMN dealtype_label TEXT DEFAULT 'mine'")
            .expect("a program's");
        assert_eq!(fit(vec![deals.clone(), labelled]), ["deals_with_labels"]);
        assert_eq!(texts(&folder, views), other_names);
        assert_eq!(fit(vec![deals, tickets]), [""; 0]);
        assert_eq!(texts(&folder, views), ["deals_labels"]);
        assert_eq!(
            texts(&folder, "SELECT DISTINCT dealtype_label FROM deals_labels"),
            ["mine"]
        );
        let label_beside =
            "SELECT DISTINCT dealtype_label_2 FROM deals_labels WHERE dealtype <> '' ORDER BY 1";
        assert_eq!(texts(&folder, label_beside), ["It's new", "old", "x"]);
    }
}
