//! A mapping that changes between runs: what becomes of columns, values that wait, and `sync_fields`.

use rusqlite::config::DbConfig;
use tempfile::TempDir;

use super::*;
use crate::decide::schema::FieldProblem;
use crate::model::name::{ColumnName, TableName};
use crate::store::shape::repair::repair;
use crate::store::testing::{at_once, contacts, field, folder, mapping, now, object, open, shown};
use crate::store::{Lane, Mode, Store, WriteTx};

const NONE: [&str; 0] = [];

/// A file in which contacts 1 (in HubSpot) and 2 (not yet) are, after the first reads.
struct File {
    _folder: TempDir,
    store: Store,
    program: Connection,
}

impl File {
    fn new() -> Self {
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let program = Connection::open(folder.path().join("crm.db")).expect("opens");
        let file = Self {
            _folder: folder,
            store,
            program,
        };
        file.fit_to_mapping(&mapping(vec![contacts()]))
            .expect("makes");
        file.as_daemon(
            "INSERT INTO contacts (local_id, hs_id, email, first_name, revenue, opt_out, birthday, stage)
             VALUES (1, 101, 'ada@example.com', 'Ada', 1.5, 1, '1815-12-10', 'lead')",
        );
        file.as_daemon(
            "UPDATE _sync_cursors SET backfill = 'done', polled_to = '2026-11-24T00:00:00.000Z'",
        );
        file
    }

    fn fit_to_mapping(&self, mapping: &Mapping) -> Result<Changes, StoreError> {
        let mapping = mapping.clone();
        let job = move |tx: &WriteTx<'_>| fit_to_mapping(tx, &mapping, now());
        at_once(self.store.write(Lane::Bulk, job))
    }

    /// Brings up and tells what was said.
    fn lines(&self, objects: Vec<ObjectMapping>) -> Vec<String> {
        let changes = self.fit_to_mapping(&mapping(objects)).expect("brings up");
        assert_eq!(changes.put_back, NONE);
        self.check_settled();
        changes.lines
    }

    /// Nothing is left to do, and nothing odd in the file.
    fn check_settled(&self) {
        for table in ["contacts", "companies", "deals", "people"] {
            let is_ours = format!(
                "SELECT count(*) FROM _sync_objects WHERE table_name = '{table}' AND direction <> 'unmapped'"
            );
            if exists(&self.program, table).expect("looks") && self.rows(&is_ours) == ["1"] {
                assert_eq!(
                    definition::difference(&self.program, table, &[]).expect("looks"),
                    None
                );
            }
        }
        assert_eq!(self.rows("PRAGMA integrity_check"), ["ok"]);
        assert_eq!(self.rows("PRAGMA foreign_key_check"), NONE);
        assert_eq!(
            self.rows("SELECT name FROM sqlite_schema WHERE name LIKE '_sync_moving%'"),
            NONE
        );
    }

    fn as_daemon(&self, sql: &str) {
        let triggers = |on| {
            self.program
                .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, on)
                .expect("turns triggers on or off")
        };
        triggers(false);
        self.run(sql);
        triggers(true);
    }

    fn run(&self, sql: &str) {
        self.program.execute_batch(sql).expect(sql);
    }

    fn refused(&self, sql: &str) -> String {
        self.program.execute_batch(sql).expect_err(sql).to_string()
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.program.prepare(sql).expect(sql);
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let texts: Result<Vec<_>, _> = (0..columns)
                .map(|index| row.get_ref(index).map(shown))
                .collect();
            Ok(texts?.join(" "))
        });
        rows.expect(sql).collect::<Result<_, _>>().expect("reads")
    }

    fn state(&self, property: &str) -> String {
        self.rows(&format!(
            "SELECT column_name || ' ' || type || ' ' || state FROM sync_fields WHERE property = '{property}'"
        ))
        .join(", ")
    }

    fn pending(&self) -> Vec<String> {
        self.rows(
            "SELECT e.operation, f.property, f.base_value FROM sync_outbox AS e
             LEFT JOIN sync_outbox_fields AS f ON f.outbox_id = e.id ORDER BY e.id, f.property",
        )
    }

    fn filling_after(&self) -> Vec<String> {
        self.rows("SELECT coalesce(quote(filling_after), 'NULL') FROM _sync_cursors WHERE object = 'contacts'")
    }
}

/// Contacts with something changed in the mapping.
fn changed(change: impl FnOnce(&mut Vec<FieldMapping>)) -> Vec<ObjectMapping> {
    let mut object = contacts();
    change(&mut object.fields);
    vec![object]
}

fn without(property: &str) -> Vec<ObjectMapping> {
    changed(|fields| fields.retain(|field| field.property.as_str() != property))
}

fn named(property: &str, column: &str) -> Vec<ObjectMapping> {
    changed(|fields| of(fields, property).column = ColumnName::parse(column).expect(column))
}

fn typed(property: &str, kind: PropertyType) -> Vec<ObjectMapping> {
    changed(|fields| of(fields, property).property_type = kind)
}

fn of<'a>(fields: &'a mut [FieldMapping], property: &str) -> &'a mut FieldMapping {
    fields
        .iter_mut()
        .find(|field| field.property.as_str() == property)
        .expect(property)
}

fn in_table(table: &str) -> Vec<ObjectMapping> {
    let mut object = contacts();
    object.table = TableName::parse(table).expect(table);
    vec![object]
}

#[test]
fn the_same_mapping_again_writes_nothing() {
    let file = File::new();
    // The first look after the rows came notes the largest of their ids.
    assert_eq!(file.lines(vec![contacts()]), NONE);
    let version = file.rows("PRAGMA schema_version");
    let seen = file.rows("PRAGMA data_version");
    assert_eq!(file.lines(vec![contacts()]), NONE);
    assert_eq!(file.rows("PRAGMA schema_version"), version);
    assert_eq!(file.rows("PRAGMA data_version"), seen);
}

#[test]
fn an_added_column_is_filled_where_pages_without_it_were_read() {
    let file = File::new();
    let more = || {
        changed(|fields| {
            fields.push(field("city", "city", PropertyType::String, Direction::Both));
        })
    };
    file.as_daemon("UPDATE _sync_cursors SET backfill = 'waiting', polled_to = NULL");
    assert_eq!(file.lines(more()), ["column contacts.city added"]);
    assert_eq!(file.state("city"), "city string active");

    let file = File::new();
    assert_eq!(file.lines(more()), ["column contacts.city added"]);
    assert_eq!(file.state("city"), "city string filling");
    assert_eq!(file.filling_after(), ["''"]);
    file.run("UPDATE contacts SET city = 'London' WHERE local_id = 1");
    assert_eq!(file.pending(), ["update city -"]);
}

#[test]
fn an_added_column_meets_dirty_fields_and_leaves_them() {
    let file = File::new();
    file.run("UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1");
    file.lines(changed(|fields| {
        fields.push(field("city", "city", PropertyType::String, Direction::Both));
    }));
    assert_eq!(file.pending(), ["update firstname Ada"]);
    assert_eq!(file.rows("SELECT first_name FROM contacts"), ["Augusta"]);
}

#[test]
fn a_removed_column_stays_unsynced_and_so_do_its_pending_values() {
    let file = File::new();
    file.run("UPDATE contacts SET first_name = 'Augusta', stage = 'customer' WHERE local_id = 1");
    assert_eq!(
        file.lines(without("firstname")),
        ["column contacts.first_name is no longer mapped and stays as it is"]
    );
    assert_eq!(file.state("firstname"), "first_name string unmapped");
    assert_eq!(
        file.pending(),
        ["update firstname Ada", "update stage lead"]
    );
    assert_eq!(file.rows("SELECT first_name FROM contacts"), ["Augusta"]);
    assert_eq!(file.rows("SELECT problems FROM sync_status"), ["1"]);
    file.run("UPDATE contacts SET first_name = 'Mine' WHERE local_id = 1");
    file.run("INSERT INTO contacts (email, first_name) VALUES ('cy@example.com', 'Cy')");
    assert_eq!(
        file.pending(),
        ["update firstname Ada", "update stage lead", "create - -"]
    );
    assert_eq!(file.lines(without("firstname")), NONE);
}

#[test]
fn a_column_that_is_mapped_again_is_filled_and_its_pending_values_wait_again() {
    let file = File::new();
    file.run("UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1");
    file.lines(without("firstname"));
    assert_eq!(
        file.lines(vec![contacts()]),
        ["column contacts.first_name is filled from contacts.firstname"]
    );
    assert_eq!(file.state("firstname"), "first_name string filling");
    assert_eq!(file.filling_after(), ["''"]);
    assert_eq!(file.pending(), ["update firstname Ada"]);
    file.run("UPDATE contacts SET first_name = 'Ada' WHERE local_id = 1");
    assert_eq!(file.pending(), NONE);
}

#[test]
fn another_column_for_the_same_property_is_a_rename() {
    let file = File::new();
    file.run(
        "CREATE INDEX own ON contacts (first_name);
         CREATE VIEW names AS SELECT first_name FROM contacts;
         UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1",
    );
    assert_eq!(
        file.lines(named("firstname", "given_name")),
        ["column contacts.first_name renamed to given_name"]
    );
    assert_eq!(file.state("firstname"), "given_name string active");
    assert_eq!(file.rows("SELECT given_name FROM contacts"), ["Augusta"]);
    assert_eq!(file.rows("SELECT * FROM names"), ["Augusta"]);
    assert_eq!(
        file.rows("SELECT name FROM pragma_index_info('own')"),
        ["given_name"]
    );
    assert_eq!(file.pending(), ["update firstname Ada"]);
    file.run("UPDATE contacts SET given_name = 'Ada' WHERE local_id = 1");
    assert_eq!(file.pending(), NONE);
}

#[test]
fn a_renamed_column_is_named_in_its_check_and_can_be_retyped_afterwards() {
    let file = File::new();
    file.lines(named("birthday", "born_on"));
    assert_eq!(
        file.refused("UPDATE contacts SET born_on = 'soon'"),
        "CHECK constraint failed: born_on must be a date like 2026-11-24 [invalid-date]"
    );
    let lines = file.lines(changed(|fields| {
        let birthday = of(fields, "birthday");
        birthday.column = ColumnName::parse("born_on").expect("a name");
        birthday.property_type = PropertyType::Datetime;
    }));
    assert_eq!(lines, ["column contacts.born_on made anew as datetime"]);
    assert_eq!(
        file.refused("UPDATE contacts SET born_on = 'soon'"),
        "CHECK constraint failed: born_on must be a time like 2026-11-24T03:10:00.000Z [invalid-date]"
    );
    file.run("UPDATE contacts SET born_on = '1815-12-10 12:00' WHERE local_id = 1");
}

#[test]
fn whole_records_in_history_and_conflicts_follow_their_renamed_columns() {
    let file = File::new();
    file.as_daemon(
        r#"INSERT INTO sync_history (at, object, local_id, property, old_value, origin)
           VALUES ('x', 'contacts', 1, '*', '{"birthday":"1815-12-10","price":"1"}', 'push');
           INSERT INTO sync_conflicts (object, local_id, property, base_value, remote_value, policy, detected_at)
           VALUES ('contacts', 1, '*', '{"birthday":"1815-12-10"}', '{"birthday":"1816-01-01","own":1}', 'manual', 'x')"#,
    );
    file.lines(named("birthday", "born_on"));
    assert_eq!(
        file.rows("SELECT old_value FROM sync_history WHERE property = '*'"),
        [r#"{"born_on":"1815-12-10","price":"1"}"#]
    );
    assert_eq!(
        file.rows(
            "SELECT base_value, coalesce(local_value, '-'), remote_value FROM sync_conflicts"
        ),
        [r#"{"born_on":"1815-12-10"} - {"born_on":"1816-01-01","own":1}"#]
    );
}

#[test]
fn two_properties_can_swap_their_columns() {
    let file = File::new();
    file.as_daemon("UPDATE contacts SET price = '12.50'");
    file.lines(changed(|fields| {
        of(fields, "birthday").column = ColumnName::parse("price").expect("a name");
        of(fields, "price").column = ColumnName::parse("birthday").expect("a name");
    }));
    assert_eq!(
        file.rows("SELECT price, birthday FROM contacts"),
        ["1815-12-10 12.50"]
    );
    assert_eq!(
        file.refused("UPDATE contacts SET price = '12.50'"),
        "CHECK constraint failed: price must be a date like 2026-11-24 [invalid-date]"
    );
}

#[test]
fn a_column_whose_name_another_property_wants_makes_way() {
    let file = File::new();
    file.run("UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1");
    let lines = file.lines(changed(|fields| {
        fields.retain(|field| field.property.as_str() != "firstname");
        fields.push(field(
            "nickname",
            "first_name",
            PropertyType::String,
            Direction::Both,
        ));
    }));
    assert_eq!(
        lines,
        [
            "column contacts.first_name renamed to first_name_of_firstname",
            "column contacts.first_name added",
            "column contacts.first_name_of_firstname is no longer mapped and stays as it is",
        ]
    );
    assert_eq!(
        file.rows("SELECT first_name, first_name_of_firstname FROM contacts"),
        ["- Augusta"]
    );
    assert_eq!(
        file.state("firstname"),
        "first_name_of_firstname string unmapped"
    );
    assert_eq!(file.state("nickname"), "first_name string filling");
    assert_eq!(file.pending(), ["update firstname Ada"]);
    // And back: the old column is the property's again.
    file.lines(vec![contacts()]);
    assert_eq!(file.rows("SELECT first_name FROM contacts"), ["Augusta"]);
    assert_eq!(file.state("firstname"), "first_name string filling");
}

#[test]
fn another_table_for_the_same_object_is_a_rename_and_keeps_everything() {
    let file = File::new();
    file.run(
        "ALTER TABLE contacts ADD COLUMN note TEXT;
         CREATE INDEX own ON contacts (note);
         CREATE TRIGGER mine AFTER UPDATE OF note ON contacts BEGIN SELECT 1; END;
         UPDATE contacts SET first_name = 'Augusta', note = 'mine' WHERE local_id = 1",
    );
    assert_eq!(
        file.lines(in_table("people")),
        ["table contacts of contacts renamed to people"]
    );
    assert_eq!(
        file.rows("SELECT local_id, first_name, note FROM people"),
        ["1 Augusta mine"]
    );
    assert_eq!(
        file.rows("SELECT name, tbl_name FROM sqlite_schema WHERE name IN ('own', 'mine', 'sync_archived_people') ORDER BY name"),
        ["mine people", "own people", "sync_archived_people people"]
    );
    assert_eq!(
        file.rows("SELECT name FROM sqlite_schema WHERE name LIKE 'sync%contacts%'"),
        NONE
    );
    assert_eq!(
        file.rows("SELECT object, table_name, \"rows\" FROM sync_status"),
        ["contacts people 1"]
    );
    assert_eq!(file.pending(), ["update firstname Ada"]);
    // Ids are never used twice, under any name.
    file.as_daemon("DELETE FROM people");
    file.run("INSERT INTO people (email) VALUES ('cy@example.com')");
    assert_eq!(file.rows("SELECT local_id FROM people"), ["2"]);
    assert_eq!(file.lines(in_table("people")), NONE);
}

#[test]
fn two_objects_can_swap_their_tables() {
    let file = File::new();
    let deals = |table: &str| {
        let amount = field("amount", "amount", PropertyType::Number, Direction::Both);
        let mut deals = object("deals", Direction::Both, vec![amount]);
        deals.table = TableName::parse(table).expect(table);
        deals
    };
    file.lines(vec![contacts(), deals("deals")]);
    file.as_daemon("INSERT INTO deals (local_id, hs_id, amount) VALUES (1, 301, 5)");
    let mut people = contacts();
    people.table = TableName::parse("deals").expect("a name");
    file.lines(vec![people, deals("contacts")]);
    assert_eq!(file.rows("SELECT email FROM deals"), ["ada@example.com"]);
    assert_eq!(file.rows("SELECT amount FROM contacts"), ["5.0"]);
}

#[test]
fn another_type_is_refused_while_values_wait() {
    let waiting = [
        "UPDATE contacts SET stage = 'customer' WHERE local_id = 1",
        "INSERT INTO contacts (stage) VALUES ('lead')",
    ];
    for sql in waiting {
        let file = File::new();
        file.run(sql);
        let error = file
            .fit_to_mapping(&mapping(typed("stage", PropertyType::Number)))
            .expect_err("refused");
        assert_eq!(
            error.to_string(),
            "`contacts.stage` can't change from enumeration to number while 1 of its values wait to be pushed or decided"
        );
        assert!(error.is_configuration());
        // Nothing of it has happened.
        assert_eq!(file.state("stage"), "stage enumeration active");
        file.check_settled();
        assert_eq!(file.lines(vec![contacts()]), NONE);
    }
}

#[test]
fn a_type_that_hubspot_changed_degrades_its_field_until_it_is_set_back_or_the_file_names_it() {
    let file = File::new();
    file.run("UPDATE contacts SET stage = 'customer', first_name = 'B' WHERE local_id = 1");
    let changed = mapping(typed("stage", PropertyType::Number));
    let (held, problems) = hold_types(&file.program, &changed, &[]).expect("looks");
    assert_eq!(held, mapping(vec![contacts()]), "the column keeps its type");
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].problem,
        "HubSpot changed the type of `stage` from enumeration to number"
    );
    assert_eq!(file.lines(held.objects), NONE);
    let job = move |tx: &WriteTx<'_>| fields::set_problems(tx, &problems, now());
    at_once(file.store.write(Lane::Bulk, job)).expect("notes");
    assert_eq!(file.state("stage"), "stage enumeration degraded");
    // With nothing that waits it is held all the same: what the column holds is nobody's to take.
    file.as_daemon("DELETE FROM sync_outbox_fields WHERE property = 'stage'");
    let (held, problems) = hold_types(&file.program, &changed, &[]).expect("looks");
    assert_eq!(held, mapping(vec![contacts()]));
    assert_eq!(problems.len(), 1);
    // Set back.
    let back = mapping(vec![contacts()]);
    let (held, problems) = hold_types(&file.program, &back, &[]).expect("looks");
    assert_eq!((held, problems), (back, Vec::new()));
    // The file takes the new type: what the column held is kept in the history.
    let mut changed = changed;
    of(&mut changed.objects[0].fields, "stage").declared_type = Some(PropertyType::Number);
    let (held, problems) = hold_types(&file.program, &changed, &[]).expect("looks");
    assert_eq!((held, problems), (changed.clone(), Vec::new()));
    assert!(!file.lines(changed.objects).is_empty());
    assert_eq!(
        file.rows("SELECT property, old_value, origin FROM sync_history"),
        ["stage customer schema"]
    );
    // The file's own wish is refused as ever.
    let mut asked = typed("firstname", PropertyType::Number);
    of(&mut asked[0].fields, "firstname").declared_type = Some(PropertyType::Number);
    let stage = of(&mut asked[0].fields, "stage");
    stage.property_type = PropertyType::Number;
    stage.declared_type = Some(PropertyType::Number);
    let (held, problems) = hold_types(&file.program, &mapping(asked.clone()), &[]).expect("looks");
    assert_eq!((held, problems), (mapping(asked), Vec::new()));
}

#[test]
fn what_hubspot_lets_nobody_write_any_more_is_locked_where_it_was_written_before_and_the_file_wants_it()
 {
    let file = File::new();
    let in_file = mapping(vec![contacts()]);
    let pulled = |property: &str| {
        mapping(changed(|fields| {
            of(fields, property).direction = Direction::Pull;
        }))
    };
    let (held, problems) =
        hold_directions(&file.program, &pulled("stage"), &in_file).expect("looks");
    let told: Vec<&str> = problems
        .iter()
        .map(|problem| problem.problem.as_str())
        .collect();
    assert_eq!(told, ["HubSpot lets nobody write `stage` any more"]);
    let mut locked = contacts();
    of(&mut locked.fields, "stage").modes.locked = true;
    assert_eq!(held, mapping(vec![locked]), "its column takes writes");
    for (now, wanted) in [
        (in_file.clone(), in_file.clone()),
        // The file asks for it.
        (pulled("stage"), pulled("stage")),
        // It was never written.
        (
            in_file.clone(),
            mapping(changed(|fields| {
                of(fields, "score").direction = Direction::Both;
            })),
        ),
    ] {
        let found = hold_directions(&file.program, &now, &wanted).expect("looks");
        assert_eq!(found, (now, Vec::new()));
    }
}

#[test]
fn what_was_put_off_for_a_property_is_due_when_it_can_be_written_again() {
    let file = File::new();
    file.run("UPDATE contacts SET stage = 'customer' WHERE local_id = 1");
    let put_off = || {
        file.as_daemon("UPDATE sync_outbox SET next_attempt_at = '2026-11-24T04:10:00.000Z'");
    };
    let due = || file.rows("SELECT next_attempt_at FROM sync_outbox");
    let problems = |problems: Vec<FieldProblem>| {
        let job = move |tx: &WriteTx<'_>| fields::set_problems(tx, &problems, now());
        assert_eq!(at_once(file.store.write(Lane::Bulk, job)).ok(), Some(()));
    };

    file.lines(without("stage"));
    put_off();
    file.lines(without("firstname"));
    assert_eq!(due(), ["2026-11-24T03:10:00.000Z"]);

    problems(vec![FieldProblem {
        object: contacts().object,
        property: contacts().fields[8].property.clone(),
        code: "unknown-property",
        problem: "HubSpot has no property `stage` on contacts".to_owned(),
        hint: "make it".to_owned(),
    }]);
    let codes = || file.rows("SELECT code FROM sync_fields WHERE code IS NOT NULL");
    assert_eq!(codes(), ["unknown-property"]);
    put_off();
    assert_eq!(due(), ["2026-11-24T04:10:00.000Z"]);
    problems(vec![]);
    assert_eq!(codes(), NONE);
    assert_eq!(due(), ["2026-11-24T03:10:00.000Z"]);

    file.lines(changed(|fields| {
        of(fields, "stage").direction = Direction::Pull;
    }));
    put_off();
    file.lines(vec![contacts()]);
    assert_eq!(due(), ["2026-11-24T03:10:00.000Z"]);
}

#[test]
fn an_open_conflict_shows_what_a_column_holds_that_left_the_mapping_and_is_back() {
    let file = File::new();
    file.as_daemon(
        "INSERT INTO sync_conflicts (object, local_id, hs_id, property, base_value, local_value, remote_value, policy, detected_at)
         VALUES ('contacts', 1, 101, 'annualrevenue', '1', '1.5', '2', 'manual', '2026-11-24T03:10:00.000Z')",
    );
    let values = || file.rows("SELECT local_value, remote_value FROM sync_conflicts");
    file.lines(without("annualrevenue"));
    file.run("UPDATE contacts SET revenue = 7.0 WHERE local_id = 1");
    file.lines(vec![contacts()]);
    assert_eq!(values(), ["7 2"]);
}

#[test]
fn what_was_given_back_for_an_object_that_was_out_of_the_file_waits_again_once_it_is_back() {
    let file = File::new();
    file.as_daemon(
        "INSERT INTO sync_conflicts (object, local_id, property, policy, detected_at, reason)
         VALUES ('contacts', 1, 'unheard_of', 'manual', 'x', '`contacts` is no longer in the mapping file: write it there again, then decide'),
                ('contacts', 1, '*', 'manual', 'x', '`contacts` is no longer in the mapping file: write it there again, then decide'),
                ('deals', 1, '*', 'manual', 'x', '`deals` is no longer in the mapping file: write it there again, then decide')",
    );
    file.lines(vec![contacts()]);
    assert_eq!(
        file.rows("SELECT reason FROM sync_conflicts"),
        [
            "waits for a decision",
            "waits for a decision",
            "`deals` is no longer in the mapping file: write it there again, then decide"
        ]
    );
}

#[test]
fn another_type_is_refused_while_a_conflict_is_open() {
    let file = File::new();
    file.as_daemon(
        "INSERT INTO sync_conflicts (object, local_id, property, policy, detected_at) VALUES ('contacts', 1, 'stage', 'manual', 'x')",
    );
    let refused = file.fit_to_mapping(&mapping(typed("stage", PropertyType::Number)));
    assert!(matches!(
        refused,
        Err(StoreError::TypeChange { waiting: 1, .. })
    ));
}

#[test]
fn another_type_makes_the_column_anew_and_fills_it() {
    let file = File::new();
    file.run(
        "ALTER TABLE contacts ADD COLUMN note TEXT;
         CREATE UNIQUE INDEX own ON contacts (stage, note);
         UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1",
    );
    assert_eq!(
        file.lines(typed("stage", PropertyType::Number)),
        ["column contacts.stage made anew as number"]
    );
    assert_eq!(file.state("stage"), "stage number filling");
    assert_eq!(file.filling_after(), ["''"]);
    assert_eq!(
        file.rows("SELECT stage, first_name FROM contacts"),
        ["- Augusta"]
    );
    assert_eq!(
        file.rows("SELECT name FROM pragma_index_info('own')"),
        ["stage", "note"]
    );
    assert_eq!(file.pending(), ["update firstname Ada"]);
    file.run("UPDATE contacts SET stage = 2 WHERE local_id = 1");
    assert_eq!(file.pending(), ["update firstname Ada", "update stage -"]);
}

#[test]
fn between_texts_the_column_stays_and_is_filled_again() {
    let file = File::new();
    file.run("UPDATE contacts SET stage = 'customer' WHERE local_id = 1");
    assert_eq!(
        file.lines(typed("stage", PropertyType::String)),
        ["column contacts.stage is filled from contacts.stage"]
    );
    assert_eq!(file.state("stage"), "stage string filling");
    assert_eq!(file.rows("SELECT stage FROM contacts"), ["customer"]);
    assert_eq!(file.pending(), ["update stage lead"]);
}

#[test]
fn what_an_unmapped_column_of_another_type_held_goes_to_history() {
    let file = File::new();
    file.lines(without("optout"));
    file.run("UPDATE contacts SET opt_out = 0 WHERE local_id = 1");
    file.lines(typed("optout", PropertyType::String));
    assert_eq!(file.state("optout"), "opt_out string filling");
    assert_eq!(file.rows("SELECT opt_out FROM contacts"), ["-"]);
    assert_eq!(
        file.rows("SELECT object, local_id, hs_id, property, old_value, new_value, origin FROM sync_history"),
        ["contacts 1 101 optout false - schema"]
    );
}

#[test]
fn a_wider_direction_lets_writes_through_and_one_that_pulls_at_last_is_filled() {
    let file = File::new();
    let directed =
        |property: &str, direction| changed(|fields| of(fields, property).direction = direction);
    file.lines(directed("score", Direction::Both));
    file.run("UPDATE contacts SET score = 3 WHERE local_id = 1");
    assert_eq!(file.pending(), ["update score -"]);
    assert_eq!(file.state("score"), "score number active");

    file.lines(directed("stage", Direction::Push));
    assert_eq!(file.state("stage"), "stage enumeration active");
    file.lines(vec![contacts()]);
    assert_eq!(file.state("stage"), "stage enumeration filling");
    assert_eq!(
        file.rows("SELECT direction FROM sync_fields WHERE property = 'stage'"),
        ["both"]
    );
}

#[test]
fn an_object_that_is_no_longer_mapped_stays_unsynced_and_comes_back() {
    let file = File::new();
    file.run("UPDATE contacts SET first_name = 'Augusta' WHERE local_id = 1");
    let lines = file.lines(vec![]);
    assert!(
        lines.contains(&"column contacts.email is no longer mapped and stays as it is".to_owned())
    );
    assert_eq!(
        file.rows("SELECT DISTINCT state FROM sync_fields"),
        ["unmapped"]
    );
    assert_eq!(file.rows("SELECT * FROM sync_status"), NONE);
    assert_eq!(file.pending(), ["update firstname Ada"]);
    file.lines(vec![contacts()]);
    assert_eq!(
        file.rows("SELECT DISTINCT state FROM sync_fields"),
        ["filling"]
    );
    assert_eq!(
        file.rows(
            "SELECT backfill, polled_to, reconcile_started_at IS NOT NULL FROM _sync_cursors"
        ),
        ["done 2026-11-24T00:00:00.000Z 1"],
        "what was archived meanwhile is found by a comparison"
    );
    file.run("UPDATE contacts SET stage = 'customer' WHERE local_id = 1");
    assert_eq!(
        file.pending(),
        ["update firstname Ada", "update stage lead"]
    );
}

#[test]
fn a_table_whose_object_is_not_mapped_refuses_what_would_reach_nobody() {
    let file = File::new();
    file.run("ALTER TABLE contacts ADD COLUMN note TEXT");
    file.lines(vec![]);
    let sentence = "contacts is not in the mapping file, so that nothing written to contacts would reach HubSpot: \
                    map contacts again, or go on in a table of your own (CREATE TABLE ... AS SELECT * FROM contacts) [object-not-mapped]";
    for write in [
        "INSERT INTO contacts (email) VALUES ('new@example.com')",
        "INSERT OR REPLACE INTO contacts (local_id, hs_id, email) VALUES (1, 101, 'new@example.com')",
        "UPDATE contacts SET email = 'mine'",
        "UPDATE contacts SET hs_id = 999",
        "DELETE FROM contacts",
    ] {
        assert!(file.refused(write).starts_with(sentence), "{write}");
    }
    file.run("UPDATE contacts SET note = 'mine', email = email");
    assert_eq!(
        file.rows("SELECT local_id, hs_id, email, note FROM contacts"),
        ["1 101 ada@example.com mine"]
    );
    assert_eq!(file.lines(vec![]), NONE);
    file.run("DROP TRIGGER sync_unmapped_contacts_delete");
    let changes = file.fit_to_mapping(&mapping(vec![])).expect("brings up");
    assert_eq!(changes.put_back, ["sync_unmapped_contacts_delete"]);

    file.lines(vec![contacts()]);
    file.run("UPDATE contacts SET email = 'mine'");
    assert_eq!(file.pending(), ["update email ada@example.com"]);
}

#[test]
fn a_table_in_the_place_of_an_unmapped_mirror_is_the_users_own_until_the_object_is_mapped_again() {
    let file = File::new();
    let deals = || object("deals", Direction::Both, Vec::new());
    file.lines(vec![contacts(), deals()]);
    file.lines(vec![deals()]);
    file.run("DROP TABLE contacts; CREATE TABLE contacts (email TEXT)");
    assert_eq!(file.lines(vec![deals()]), NONE);
    file.run("INSERT INTO contacts VALUES ('mine')");
    file.lines(vec![contacts(), deals()]);
    assert_eq!(file.rows("SELECT * FROM contacts_replaced_1"), ["mine"]);
    assert_eq!(file.rows("SELECT count(*) FROM contacts"), ["0"]);
}

#[test]
fn a_table_of_an_unmapped_object_that_is_renamed_is_the_users_own() {
    let file = File::new();
    file.lines(vec![]);
    file.run("ALTER TABLE contacts RENAME TO people");
    file.lines(vec![]);
    file.run("DELETE FROM people");
    assert_eq!(
        file.rows("SELECT name FROM sqlite_schema WHERE name LIKE 'sync_unmapped%'"),
        NONE
    );
}

#[test]
fn an_object_that_pulls_at_last_begins_with_a_backfill() {
    let file = File::new();
    let directed = |direction| {
        let amount = field("amount", "amount", PropertyType::Number, direction);
        vec![contacts(), object("deals", direction, vec![amount])]
    };
    file.lines(directed(Direction::Push));
    let backfill = "SELECT backfill FROM _sync_cursors WHERE object = 'deals'";
    assert_eq!(file.rows(backfill), ["done"]);
    file.lines(directed(Direction::Both));
    assert_eq!(file.rows(backfill), ["waiting"]);
    assert_eq!(file.state("amount"), "amount number active");
    file.run("INSERT INTO deals (amount) VALUES (1)");
    file.lines(directed(Direction::Push));
    assert_eq!(
        file.rows("SELECT waits_for, next_attempt_at IS NULL FROM sync_outbox"),
        ["- 0"]
    );
}

#[test]
fn somebody_elses_table_or_column_is_never_taken() {
    let file = File::new();
    file.run("CREATE TABLE people (name TEXT); ALTER TABLE contacts ADD COLUMN city TEXT");
    let taken = file
        .fit_to_mapping(&mapping(in_table("people")))
        .expect_err("refused");
    assert_eq!(
        taken.to_string(),
        "there is a table or view `people` that is not the mirror of contacts: rename it, or write another `table` for contacts"
    );
    let more = changed(|fields| {
        fields.push(field("city", "city", PropertyType::String, Direction::Both));
    });
    let taken = file.fit_to_mapping(&mapping(more)).expect_err("refused");
    assert_eq!(
        taken.to_string(),
        "contacts has a column `city` of its own already: rename it, or write another `column`"
    );
    let taken = file
        .fit_to_mapping(&mapping(named("firstname", "city")))
        .expect_err("refused");
    assert!(matches!(taken, StoreError::Mapping(_)));
    file.check_settled();
    assert_eq!(file.lines(vec![contacts()]), NONE);
}

#[test]
fn a_mapping_that_changes_does_not_hide_a_dropped_trigger() {
    let file = File::new();
    file.run("DROP TRIGGER sync_mirror_contacts_update");
    let changes = file
        .fit_to_mapping(&mapping(named("firstname", "given_name")))
        .expect("brings up");
    assert_eq!(changes.put_back, ["sync_mirror_contacts_update"]);
    let repaired = at_once(file.store.write(Lane::Bulk, |tx| {
        repair(tx, &mapping(named("firstname", "given_name")), now())
    }));
    assert_eq!(repaired.expect("repairs"), NONE);
}

#[test]
fn a_field_with_values_that_can_not_be_read_is_synced_on_until_its_type_fits() {
    let file = File::new();
    file.as_daemon(
        "INSERT INTO sync_unreadable (object, property, hs_id, value, seen_at)
         VALUES ('contacts', 'annualrevenue', 101, 'many', '2026-11-24T03:10:00.000Z');
         UPDATE sync_fields SET state = 'degraded', problem = 'many' WHERE property = 'annualrevenue'",
    );
    assert_eq!(file.lines(vec![contacts()]), NONE);
    let no_problems = |tx: &WriteTx<'_>| fields::set_problems(tx, &[], now());
    assert_eq!(
        at_once(file.store.write(Lane::Bulk, no_problems)).ok(),
        Some(())
    );
    file.run("UPDATE contacts SET revenue = 2 WHERE local_id = 1");
    assert_eq!(file.pending(), ["update annualrevenue 1.5"]);
    assert_eq!(file.state("annualrevenue"), "revenue number degraded");
    file.run("UPDATE contacts SET revenue = 1.5 WHERE local_id = 1");

    file.lines(typed("annualrevenue", PropertyType::String));
    assert_eq!(file.state("annualrevenue"), "revenue string filling");
    assert_eq!(file.rows("SELECT * FROM sync_unreadable"), NONE);
}

#[test]
fn a_degraded_field_stays_degraded_whatever_else_changes() {
    let file = File::new();
    file.as_daemon("UPDATE sync_fields SET state = 'degraded', problem = 'gone', hint = 'make it', code = 'unknown-property' WHERE property = 'stage'");
    file.lines(named("stage", "life_stage"));
    assert_eq!(
        file.rows(
            "SELECT column_name, state, problem, hint, code FROM sync_fields WHERE property = 'stage'"
        ),
        ["life_stage degraded gone make it unknown-property"]
    );
}

#[test]
fn a_disk_that_takes_nothing_more_degrades_the_daemon_in_its_view() {
    let file = File::new();
    file.as_daemon(
        "UPDATE _sync_cursors SET backfill = 'done';
         UPDATE _sync_daemon SET phase = 'running', heartbeat_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    );
    let mut states = Vec::new();
    for code in [
        "disk-full",
        "read-only-disk",
        "read-only-database",
        "busy-database",
    ] {
        file.as_daemon(&format!(
            "UPDATE _sync_daemon SET last_error = 'why', last_error_code = '{code}'"
        ));
        states.extend(file.rows("SELECT state || ' ' || code FROM sync_health"));
    }
    assert_eq!(
        states,
        [
            "degraded disk-full",
            "degraded read-only-disk",
            "degraded read-only-database",
            "running busy-database"
        ]
    );
}

#[test]
fn the_views_are_there_before_the_first_schema_and_make_way_for_the_real_ones() {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    let program = Connection::open(folder.path().join("crm.db")).expect("opens");
    let file = File {
        _folder: folder,
        store,
        program,
    };
    let first = || {
        let job = |tx: &WriteTx<'_>| {
            crate::store::shape::repair::views_first(tx, &mapping(vec![contacts()]), now())
        };
        at_once(file.store.write(Lane::Bulk, job)).expect("makes")
    };
    assert_eq!(first(), NONE);
    assert_eq!(file.rows("SELECT state FROM sync_health"), ["stopped"]);
    let names = |view: &str| file.rows(&format!("SELECT name FROM pragma_table_info('{view}')"));
    let before = [names("sync_status"), names("sync_health")];
    assert_eq!(
        file.rows("SELECT object, table_name, rows, backfill, pending FROM sync_status"),
        ["contacts contacts 0 waiting 0"]
    );
    let changes = file
        .fit_to_mapping(&mapping(vec![contacts()]))
        .expect("makes");
    assert_eq!(changes.put_back, NONE);
    assert_eq!([names("sync_status"), names("sync_health")], before);
    file.as_daemon("INSERT INTO contacts (local_id, hs_id) VALUES (1, 101)");
    assert_eq!(file.rows("SELECT rows FROM sync_status"), ["1"]);
    file.run("DROP VIEW sync_status");
    assert_eq!(first(), ["sync_status"]);
    assert_eq!(file.rows("SELECT rows FROM sync_status"), ["1"]);
    file.run("DROP TABLE contacts; DROP VIEW sync_status");
    assert_eq!(first(), ["sync_status"]);
    assert_eq!(file.rows("SELECT rows FROM sync_status"), ["0"]);
}
