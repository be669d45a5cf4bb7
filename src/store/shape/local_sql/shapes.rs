//! Mirror tables of other shapes: very wide ones, names that are keywords, what users make of them.

use super::scene::{everywhere, with_mapping};
use crate::model::mapping::{Direction, FieldMapping};
use crate::model::value::PropertyType;
use crate::store::testing::{field, mapping, object};

const NONE: [&str; 0] = [];

/// More columns than any portal's object is mapped with; SQLite itself ends at 2,000.
const WIDE: usize = 1_200;

#[test]
fn a_table_of_1200_columns_is_written_like_any_other() {
    let kinds = [
        PropertyType::String,
        PropertyType::Number,
        PropertyType::Datetime,
        PropertyType::Bool,
    ];
    let fields: Vec<FieldMapping> = (0..WIDE)
        .map(|number| {
            let direction = if number % 5 == 4 {
                Direction::Pull
            } else {
                Direction::Both
            };
            let name = format!("p{number}");
            field(&name, &name, kinds[number % kinds.len()], direction)
        })
        .collect();
    let wide = mapping(vec![object("contacts", Direction::Both, fields)]);
    let records =
        "INSERT INTO contacts (local_id, hs_id, p0, p1) VALUES (1, 101, 'a', 1), (2, 102, 'b', 2);
                   UPDATE _sync_cursors SET backfill = 'done'";
    with_mapping(wide, records, |scene| {
        scene.do_run("INSERT INTO contacts (p0) VALUES ('new')");
        scene.do_run("UPDATE contacts SET p1 = 5, p1195 = 1 WHERE local_id = 1");
        scene.do_run("REPLACE INTO contacts (hs_id, p0, p1) VALUES (102, 'c', 2)");
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 101; p1 was 1.0; p1195 was -",
                "update contacts 2 102; p0 was b",
                "create contacts 3 -"
            ]
        );
        scene.do_run("DELETE FROM contacts WHERE local_id < 3");
        assert_eq!(scene.outbox().len(), 3);
        assert_eq!(
            scene.rows("SELECT json_extract(row, '$.p1'), json_extract(row, '$.p1195'), json_extract(row, '$.\"$local_id\"'),
                               (SELECT count(*) FROM json_each(row))
                        FROM sync_outbox WHERE operation = 'archive' ORDER BY local_id"),
            ["5.0 1 1 1204", "2.0 - 2 1204"]
        );
        scene.refused(
            "UPDATE contacts SET p1199 = 1",
            "contacts.p1199 comes from HubSpot: leave it [read-only]",
        );
    });
}

#[test]
fn names_that_are_keywords_are_names() {
    let columns = ["order", "select", "values", "Group", "index", "new", "old"];
    let fields = columns
        .iter()
        .map(|name| {
            field(
                &name.to_lowercase(),
                name,
                PropertyType::String,
                Direction::Both,
            )
        })
        .collect();
    let mut orders = object("contacts", Direction::Both, fields);
    orders.table = crate::model::name::TableName::parse("table").expect("a name");
    let records =
        "INSERT INTO \"table\" (local_id, hs_id, \"order\", \"group\") VALUES (1, 101, 'a', 'b');
                   UPDATE _sync_cursors SET backfill = 'done'";
    with_mapping(mapping(vec![orders]), records, |scene| {
        scene.do_run(
            "UPDATE \"table\" SET \"order\" = 'x', \"GROUP\" = 'y';
             REPLACE INTO \"table\" (hs_id, \"select\", \"new\", \"old\") VALUES (101, 's', 'n', 'o')",
        );
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101; group was b; new was -; old was -; order was a; select was -"]
        );
        assert_eq!(
            scene.reads("SELECT \"rows\", waiting FROM sync_status"),
            ["1 1"]
        );
    });
}

#[test]
fn every_client_reads_what_people_look_at() {
    everywhere(|scene| {
        scene.do_run("UPDATE contacts SET first_name = 'B' WHERE local_id = 1; DELETE FROM contacts WHERE local_id = 2");
        assert_eq!(
            scene.reads(
                "SELECT object, table_name, direction, \"rows\", backfill, pending, in_sync, waiting, failing, excluded, problems
                 FROM sync_status ORDER BY object"
            ),
            [
                "companies companies pull 1 done 0 1 0 0 0 0",
                "contacts contacts both 1 done 2 0 1 0 0 0",
                "deals deals push 1 done 0 1 0 0 0 0",
            ]
        );
        assert_eq!(
            scene.reads("SELECT state, inbox_depth, outbox_depth FROM sync_health"),
            ["stopped 0 2"]
        );
    });
}

#[test]
fn a_generated_column_of_the_users_is_left_to_sqlite() {
    everywhere(|scene| {
        scene.do_run("ALTER TABLE contacts ADD COLUMN upper_name TEXT GENERATED ALWAYS AS (upper(first_name)) VIRTUAL");
        assert_eq!(scene.repair(), NONE);
        scene.do_run(
            "UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1;
             REPLACE INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'Robert');
             DELETE FROM contacts WHERE local_id = 1;
             INSERT INTO contacts (email) VALUES ('cy@example.com')",
        );
        assert_eq!(
            scene.rows("SELECT upper_name FROM contacts"),
            ["ROBERT", "-"]
        );
        assert_eq!(
            scene.outbox(),
            [
                "archive contacts 1 101, keeps the row; firstname was Ada",
                "update contacts 2 102; firstname was Bob",
                "create contacts 4 -"
            ]
        );
    });
}

#[test]
fn a_copy_of_a_mirror_table_is_the_users_own() {
    everywhere(|scene| {
        scene.do_run("CREATE TABLE people AS SELECT * FROM contacts");
        assert_eq!(scene.repair(), NONE);
        scene.do_run("UPDATE people SET hs_id = 9 WHERE local_id = 1; DELETE FROM people");
        assert_eq!(scene.outbox(), NONE);
        assert_eq!(scene.contacts().len(), 2);
    });
}

#[test]
fn a_vacuum_changes_nothing() {
    everywhere(|scene| {
        scene.does_nothing("VACUUM; REINDEX; ANALYZE");
        assert_eq!(scene.repair(), NONE);
    });
}
