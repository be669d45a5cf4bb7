//! INSERT and DELETE in `associations`, and what becomes of a deleted row's.

use rusqlite::{Connection, StatementStatus};

use super::scene::{CLAUSES, RECORDS, Scene, objects, with_mapping};
use crate::model::association::PairMapping;
use crate::model::mapping::{Direction, Mapping, Policy};
use crate::model::name::{ObjectType, TableName};
use crate::store::testing::{at_once, now, options};

fn pair(key: &str, from: &str, to: &str, direction: Direction) -> PairMapping {
    PairMapping {
        key: TableName::parse(key).expect("a name"),
        from: ObjectType::parse(from).expect("a name"),
        to: ObjectType::parse(to).expect("a name"),
        direction,
        policy: Policy::Remote,
    }
}

fn pairs() -> Mapping {
    Mapping {
        pairs: vec![
            pair(
                "contacts_companies",
                "contacts",
                "companies",
                Direction::Both,
            ),
            pair("family", "companies", "companies", Direction::Both),
            pair("deals_contacts", "deals", "contacts", Direction::Pull),
        ],
        ..objects()
    }
}

/// What HubSpot has: two companies more, and the types of two pairs.
const TYPES: &str = "
    INSERT INTO companies (local_id, hs_id, name) VALUES (2, 202, 'Difference Engines'), (3, NULL, 'New');
    INSERT INTO association_types (from_object, to_object, category, type_id, label, inverse_type_id, archived)
    VALUES ('contacts', 'companies', 'HUBSPOT_DEFINED', 279, NULL, 280, 0),
           ('contacts', 'companies', 'HUBSPOT_DEFINED', 1, 'Primary', 2, 0),
           ('contacts', 'companies', 'USER_DEFINED', 1, 'Billing', 2, 0),
           ('contacts', 'companies', 'USER_DEFINED', 36, 'Twice', 37, 0),
           ('contacts', 'companies', 'USER_DEFINED', 38, 'twice', 39, 0),
           ('contacts', 'companies', 'USER_DEFINED', 40, 'Gone', 41, 1),
           ('companies', 'companies', 'HUBSPOT_DEFINED', 450, NULL, 450, 0),
           ('companies', 'companies', 'HUBSPOT_DEFINED', 13, 'Child', 14, 0),
           ('companies', 'companies', 'HUBSPOT_DEFINED', 14, 'Parent', 13, 0);";

/// In a fresh scene of each client whose daemon knows the types.
fn linked(act: impl Fn(&Scene)) {
    with_mapping(pairs(), &format!("{RECORDS}{TYPES}"), |scene| {
        scene.fit_to_mapping(&pairs());
        act(scene);
    });
}

impl Scene {
    fn fit_to_mapping(&self, mapping: &Mapping) {
        let store = crate::store::Store::open(
            &options(self.folder(), crate::store::Mode::Inline),
            std::sync::Arc::new(crate::store::testing::Standing),
        )
        .expect("opens");
        let mapping = mapping.clone();
        let done = at_once(store.write(crate::store::Lane::Bulk, move |tx| {
            crate::store::shape::ddl::fit_to_mapping(tx, &mapping, now())
        }));
        done.expect("fits");
        store.close();
    }

    /// Links: ends, type, label.
    fn links(&self) -> Vec<String> {
        self.rows(
            "SELECT from_object || ' ' || from_local_id || ' to ' || to_local_id, category, type_id, label
             FROM associations ORDER BY from_object DESC, from_local_id, to_local_id, type_id",
        )
    }

    fn link_entries(&self) -> Vec<String> {
        self.rows(
            "SELECT operation || ' ' || local_id || ' to ' || to_local_id, hs_id, type_id, label, state,
                    coalesce(waits_for, iif(next_attempt_at IS NULL, 'for ever', 'due'))
             FROM sync_outbox WHERE to_object IS NOT NULL ORDER BY id",
        )
    }
}

const ENDS: &str = "from_object, from_local_id, to_object, to_local_id";

fn insert(more: &str, values: &str) -> String {
    format!("INSERT INTO associations ({ENDS}{more}) VALUES ('contacts', 1, 'companies', {values})")
}

#[test]
fn an_insert_is_filled_in_and_queued_once() {
    linked(|scene| {
        scene.do_run(&insert("", "1"));
        scene.do_run(&insert(", label", "1, ' primary '"));
        scene.do_run(&insert(", type_id, category", "2, 1, 'USER_DEFINED'"));
        assert_eq!(
            scene.links(),
            [
                "contacts 1 to 1 HUBSPOT_DEFINED 1 Primary",
                "contacts 1 to 1 HUBSPOT_DEFINED 279 -",
                "contacts 1 to 2 USER_DEFINED 1 Billing",
            ]
        );
        assert_eq!(
            scene.link_entries(),
            [
                "associate 1 to 1 101 279 - pending due",
                "associate 1 to 1 101 1 Primary pending due",
                "associate 1 to 2 101 1 Billing pending due",
            ]
        );
        for clause in CLAUSES {
            for again in [
                insert("", "1"),
                insert(", label", "1, 'PRIMARY'"),
                insert(", type_id", "1, 279"),
                insert(", type_id, category", "2, 1, 'USER_DEFINED'"),
                insert(", id", "1, 1"),
            ] {
                scene.does_nothing(&again.replace("INSERT INTO", &format!("INSERT {clause} INTO")));
                let changes = "CREATE TEMP TABLE seen (changes CHECK (changes = 0)); INSERT INTO seen SELECT changes()";
                let (table, seen) = changes.split_once("; ").expect("two");
                scene.does_nothing(&format!("{table}; {again}; {seen}"));
            }
        }
        let view = "SELECT association_id, contacts_local_id, companies_local_id, type_id, is_primary FROM contacts_companies ORDER BY 1";
        assert_eq!(scene.reads(view), ["1 1 1 279 0", "2 1 1 1 1", "3 1 2 1 0"]);
    });
}

#[test]
fn a_link_of_rows_that_hubspot_has_not_seen_waits_for_their_creates() {
    linked(|scene| {
        scene.do_run(
            "BEGIN; INSERT INTO contacts (email) VALUES ('cy@example.com');
             INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 3, 'companies', 1);
             INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 1, 'companies', 3);
             COMMIT",
        );
        assert_eq!(
            scene.link_entries(),
            [
                "associate 3 to 1 - 279 - pending create",
                "associate 1 to 3 101 279 - pending create",
            ]
        );
        scene.do_run("DELETE FROM contacts WHERE local_id = 3");
        assert_eq!(
            scene.link_entries(),
            ["associate 1 to 3 101 279 - pending create"]
        );
        assert_eq!(scene.links().len(), 1);
    });
}

#[test]
fn before_the_types_are_known_a_link_waits_as_it_was_written() {
    with_mapping(pairs(), RECORDS, |scene| {
        for again in ["INSERT", "REPLACE"] {
            let again = |sql: String| sql.replacen("INSERT", again, 1);
            scene.do_run(&again(insert("", "1")));
            scene.do_run(&again(insert(", label", "1, 'Billing'")));
            scene.do_run(&again(insert(", type_id", "1, 36")));
            assert_eq!(
                scene.link_entries(),
                [
                    "associate 1 to 1 101 - - pending due",
                    "associate 1 to 1 101 - Billing pending due",
                    "associate 1 to 1 101 36 - pending due",
                ]
            );
            assert_eq!(scene.links().len(), 3);
        }
        scene.do_run("DELETE FROM associations WHERE label = 'Billing'");
        assert_eq!(scene.link_entries().len(), 2);
        scene.do_run("DELETE FROM associations");
        assert_eq!(scene.link_entries(), Vec::<String>::new());
    });
}

#[test]
fn what_is_no_link_of_the_mapping_is_refused_with_a_sentence() {
    linked(|scene| {
        let types = "`Billing` (USER_DEFINED 1), `Primary` (HUBSPOT_DEFINED 1), `Twice` (USER_DEFINED 36), `twice` (USER_DEFINED 38)";
        let types = format!("no label (HUBSPOT_DEFINED 279), {types}");
        for (sql, sentence) in [
            (
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('companies', 1, 'contacts', 1)".to_owned(),
                "rows of contacts_companies stand from contacts to companies: exchange the two ends [pair-turned]".to_owned(),
            ),
            (
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('deals', 1, 'contacts', 1)".to_owned(),
                "deals_contacts comes from HubSpot: leave it as it is [pair-pulled]".to_owned(),
            ),
            (
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('deals', 1, 'companies', 1)".to_owned(),
                "this pair of objects is not in the mapping file, or waits with one of its objects (sync_status.last_error): associations takes contacts to companies, companies to companies, deals to contacts [pair-unmapped]".to_owned(),
            ),
            (insert("", "9"), "companies has no row with this to_local_id: INSERT that row first [association-without-row]".to_owned()),
            (insert(", id", "1, 7"), "associations gives each row its id: leave it out [association-id]".to_owned()),
            (insert(", id", "1, 0"), "associations gives each row its id: leave it out [association-id]".to_owned()),
            (insert(", id", "1, -1"), "associations gives each row its id: leave it out [association-id]".to_owned()),
            (insert(", id", "1, -7"), "associations gives each row its id: leave it out [association-id]".to_owned()),
            (insert(", label", "1, 'Bill'"), format!("contacts_companies has no such label or type: it has {types} [unknown-association-type]")),
            (insert(", label", "1, 'Gone'"), format!("contacts_companies has no such label or type: it has {types} [unknown-association-type]")),
            (insert(", type_id", "1, 37"), format!("contacts_companies has no such label or type: it has {types} [unknown-association-type]")),
            (
                insert(", label", "1, 'TWICE'"),
                format!("more than one type of contacts_companies has this label or number: write category and type_id of one of {types} [ambiguous-association-type]"),
            ),
            (
                insert(", type_id", "1, 1"),
                format!("more than one type of contacts_companies has this label or number: write category and type_id of one of {types} [ambiguous-association-type]"),
            ),
            (
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('companies', 1, 'companies', 1)".to_owned(),
                "a record can not be associated with itself [association-with-itself]".to_owned(),
            ),
        ] {
            scene.refused(&sql, &sentence);
        }
        scene.do_run(&insert("", "1"));
        scene.refused(
            "UPDATE associations SET to_local_id = 2",
            "a row of associations can not be changed: DELETE it and INSERT another [association-update]",
        );
        scene.as_daemon(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id)
             VALUES ('deals', 1, 'contacts', 1, 'HUBSPOT_DEFINED', 3)",
        );
        scene.refused(
            "DELETE FROM associations WHERE from_object = 'deals'",
            "deals_contacts comes from HubSpot: leave it as it is [pair-pulled]",
        );
        for view in ["made", "gone", "lost", "back"] {
            let columns = scene.rows(&format!(
                "SELECT count(*) FROM pragma_table_info('_sync_link_{view}')"
            ));
            let nulls = vec!["NULL"; columns[0].parse().expect("a number")].join(", ");
            let done = scene.run(&format!("INSERT INTO _sync_link_{view} VALUES ({nulls})"));
            assert!(view == "lost" || view == "back" || done.is_err(), "{view}");
        }
    });
}

/// What the daemon has written down as HubSpot's.
const KNOWN: &str = "
    INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id, label)
    VALUES ('contacts', 1, 'companies', 1, 'HUBSPOT_DEFINED', 279, NULL),
           ('contacts', 1, 'companies', 1, 'HUBSPOT_DEFINED', 1, 'Primary'),
           ('contacts', 1, 'companies', 2, 'HUBSPOT_DEFINED', 279, NULL),
           ('companies', 1, 'companies', 2, 'HUBSPOT_DEFINED', 450, NULL),
           ('companies', 2, 'companies', 1, 'HUBSPOT_DEFINED', 450, NULL),
           ('companies', 1, 'companies', 2, 'HUBSPOT_DEFINED', 13, 'Child'),
           ('companies', 2, 'companies', 1, 'HUBSPOT_DEFINED', 14, 'Parent');";

#[test]
fn a_second_insert_by_a_number_or_label_of_several_types_is_refused_whichever_is_there() {
    linked(|scene| {
        scene.do_run(&insert(", category, type_id", "1, 'HUBSPOT_DEFINED', 1"));
        scene.do_run(&insert(", category, type_id", "1, 'USER_DEFINED', 36"));
        let held = scene.links();
        for (more, values, code) in [
            (", type_id", "1, 1", "[ambiguous-association-type]"),
            (", label", "1, ' TWICE'", "[ambiguous-association-type]"),
            (
                ", type_id, label",
                "1, 279, 'Primary'",
                "[unknown-association-type]",
            ),
            (
                ", type_id, label",
                "1, 1, 'Twice'",
                "[unknown-association-type]",
            ),
            (
                ", category, type_id, label",
                "1, 'HUBSPOT_DEFINED', 1, 'Billing'",
                "[unknown-association-type]",
            ),
        ] {
            let explanation = scene.run(&insert(more, values)).expect_err("is refused");
            assert!(
                explanation.ends_with(code),
                "{more} {values}: {explanation}"
            );
        }
        // What names one that is there is no change.
        for (more, values) in [
            (
                ", type_id, label",
                "1, 1, '	primary
'",
            ),
            (", type_id", "1, 36"),
            (", category, type_id", "1, 'HUBSPOT_DEFINED', 1"),
        ] {
            scene.does_nothing(&insert(more, values));
        }
        assert_eq!(scene.links(), held);
        // The other one of that number is another type.
        scene.do_run(&insert(", type_id, label", "1, 1, 'billing'"));
        assert_eq!(scene.links().len(), held.len() + 1);
    });
}

#[test]
fn a_delete_takes_what_hubspot_takes_with_it() {
    linked(|scene| {
        scene.as_daemon(KNOWN);
        scene.do_run("DELETE FROM associations WHERE label = 'Primary'");
        assert_eq!(
            scene.link_entries(),
            ["disassociate 1 to 1 101 1 Primary pending due"]
        );
        // The same again is taken back.
        scene.do_run(&insert(", label", "1, 'Primary'"));
        assert_eq!(scene.link_entries(), Vec::<String>::new());
        // The plain type takes the others.
        scene.do_run("DELETE FROM associations WHERE from_object = 'contacts' AND to_local_id = 1 AND type_id = 279");
        assert_eq!(
            scene.link_entries(),
            [
                "disassociate 1 to 1 101 1 Primary pending due",
                "disassociate 1 to 1 101 279 - pending due",
            ]
        );
        // A label alone keeps the plain type.
        scene.do_run(&insert(", label", "1, 'Primary'"));
        assert_eq!(scene.link_entries(), Vec::<String>::new());
        assert_eq!(scene.links().len(), 7);
        // One direction of a pair of one object takes the other.
        scene.do_run("DELETE FROM associations WHERE type_id = 14");
        assert_eq!(
            scene.link_entries(),
            ["disassociate 2 to 1 202 14 Parent pending due"]
        );
        assert_eq!(scene.links().len(), 5);
        scene.do_run("INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label) VALUES ('companies', 1, 'companies', 2, 'child')");
        assert_eq!(scene.link_entries(), Vec::<String>::new());
        scene.do_run("DELETE FROM associations WHERE from_object = 'companies'");
        assert_eq!(scene.link_entries().len(), 2);
        assert_eq!(scene.links().len(), 3);
    });
}

#[test]
fn what_is_on_its_way_is_told_by_its_version_and_what_is_in_doubt_is_turned_round() {
    linked(|scene| {
        scene.do_run(&insert("", "1"));
        scene.as_daemon("UPDATE sync_outbox SET state = 'in_flight'");
        scene.do_run("DELETE FROM associations");
        let versions = "SELECT operation, state, version FROM sync_outbox";
        assert_eq!(scene.rows(versions), ["associate in_flight 2"]);
        scene.do_run(&insert("", "1"));
        assert_eq!(scene.rows(versions), ["associate in_flight 3"]);
        scene.as_daemon("UPDATE sync_outbox SET state = 'pending', unanswered_since = 'x', waits_for = 'answer'");
        scene.do_run("DELETE FROM associations");
        assert_eq!(scene.rows(versions), ["disassociate pending 4"]);
        scene.do_run(&insert("", "1"));
        assert_eq!(scene.rows(versions), ["associate pending 5"]);
        scene.as_daemon("UPDATE sync_outbox SET state = 'dead', unanswered_since = NULL");
        scene.do_run("DELETE FROM associations");
        assert_eq!(scene.rows(versions), Vec::<String>::new());
    });
}

#[test]
fn a_deleted_row_s_links_go_without_a_word_and_come_back_with_it() {
    linked(|scene| {
        scene.as_daemon(KNOWN);
        scene.do_run(&insert(", label", "2, 'Primary'"));
        scene.do_run("DELETE FROM contacts WHERE local_id = 1");
        assert_eq!(scene.links().len(), 4);
        assert_eq!(scene.link_entries(), Vec::<String>::new());
        // What was still to be made is written down.
        let history = "SELECT object || ' ' || local_id || ' ' || hs_id || ' ' || property || ' ' || origin, old_value, new_value FROM sync_history";
        let line = r#"contacts_companies 1 101 association push {"from_local_id":1,"from_hs_id":101,"to_local_id":2,"to_hs_id":202,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Primary"} -"#;
        assert_eq!(scene.rows(history), [line]);
        let kept = "SELECT json_extract(j.value, '$.from_hs_id'), json_extract(j.value, '$.to_hs_id'), json_extract(j.value, '$.type_id'),
                           json_extract(j.value, '$.pending')
                    FROM sync_outbox, json_each(row, '$.associations') AS j ORDER BY 2, 3";
        assert_eq!(
            scene.rows(kept),
            [
                "101 201 1 -",
                "101 201 279 -",
                "101 202 1 1",
                "101 202 279 -"
            ]
        );
        scene.do_run(
            "INSERT INTO contacts (local_id, hs_id, email) VALUES (1, 101, 'ada@example.com')",
        );
        assert_eq!(scene.links().len(), 8);
        assert_eq!(
            scene.link_entries(),
            ["associate 1 to 2 101 1 Primary pending due"]
        );
        // Whichever end it is.
        scene.do_run(
            "DELETE FROM contacts WHERE local_id = 1; DELETE FROM contacts WHERE local_id = 2",
        );
        assert_eq!(scene.links().len(), 4);
    });
}

/// The creates: row, state, code, what they wait for.
const CREATES: &str = "SELECT object || ' ' || local_id, state, code, coalesce(waits_for, iif(next_attempt_at IS NULL, 'for ever', 'due'))
    FROM sync_outbox WHERE operation = 'create' ORDER BY id";

#[test]
fn a_create_that_lacks_an_association_is_pending_again_with_the_first_that_names_its_row() {
    let lacking = "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, key, state, attempts, last_error, code)
        VALUES ('companies', 3, 'create', '2026-11-24T03:10:00.000Z', '0123456789abcdef0123456789abcdef', 'dead', 1, 'lacks one [association-required]', 'association-required')";
    linked(|scene| {
        scene.as_daemon(lacking);
        scene.do_run(&insert("", "2"));
        assert_eq!(
            scene.rows(CREATES),
            ["companies 3 dead association-required -"].map(|dead| dead.replace(" -", " for ever"))
        );
        scene.do_run(&insert("", "3"));
        assert_eq!(scene.rows(CREATES), ["companies 3 pending - due"]);
        // What is dead for another reason stays so.
        scene.as_daemon("UPDATE sync_outbox SET state = 'dead', code = 'required-property' WHERE operation = 'create'");
        scene.do_run(&insert(", label", "3, 'Primary'"));
        assert_eq!(
            scene.rows(CREATES),
            ["companies 3 dead required-property due"]
        );
    });
}

#[test]
fn a_create_that_waits_for_another_row_looks_anew_when_no_association_names_it_any_more() {
    let waiting = "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, key, waits_for)
        VALUES ('companies', 3, 'create', '2026-11-24T03:10:00.000Z', '0123456789abcdef0123456789abcdef', 'create')";
    for goes in [
        "DELETE FROM associations",
        "DELETE FROM contacts WHERE local_id = 1",
    ] {
        linked(|scene| {
            scene.as_daemon(waiting);
            scene.do_run(&insert("", "3"));
            assert_eq!(scene.rows(CREATES), ["companies 3 pending - create"]);
            scene.do_run(goes);
            assert_eq!(scene.rows(CREATES), ["companies 3 pending - due"]);
        });
    }
}

#[test]
fn what_is_in_doubt_with_a_create_waits_no_longer_when_its_row_goes() {
    linked(|scene| {
        scene.as_daemon("INSERT INTO contacts (local_id, email) VALUES (9, 'new@example.com')");
        scene.do_run(&insert("", "1").replace("'contacts', 1", "'contacts', 9"));
        scene.as_daemon("UPDATE sync_outbox SET unanswered_since = 'x', attempts = 1");
        let waits = ["associate 9 to 1 - 279 - pending create"];
        assert_eq!(scene.link_entries(), waits);
        scene.do_run("DELETE FROM associations");
        let turned = ["disassociate 9 to 1 - 279 - pending create"];
        assert_eq!(scene.link_entries(), turned);
        scene.do_run("DELETE FROM contacts WHERE local_id = 9");
        let due = ["disassociate 9 to 1 - 279 - pending due"];
        assert_eq!(scene.link_entries(), due);
    });
}

#[test]
fn a_row_that_is_replaced_keeps_its_links_and_what_waits_of_them() {
    linked(|scene| {
        scene.do_run("INSERT INTO contacts (local_id, email) VALUES (9, 'new@example.com')");
        let new = insert(", label", "1, 'Primary'").replace("'contacts', 1", "'contacts', 9");
        scene.do_run(&new);
        let waits = ["associate 9 to 1 - 1 Primary pending create"];
        let links = ["contacts 9 to 1 HUBSPOT_DEFINED 1 Primary"];
        assert_eq!(
            (scene.links(), scene.link_entries()),
            (
                links.map(str::to_owned).to_vec(),
                waits.map(str::to_owned).to_vec()
            )
        );
        for replaced in [
            "REPLACE INTO contacts (local_id, email) VALUES (9, 'newer@example.com')",
            "REPLACE INTO contacts (local_id, email) VALUES (9, 'newer@example.com')",
            "UPDATE contacts SET email = 'newest@example.com' WHERE local_id = 9",
        ] {
            scene.do_run(replaced);
            assert_eq!(scene.links(), links, "{replaced}");
            assert_eq!(scene.link_entries(), waits, "{replaced}");
            let creates = "SELECT count(*) FROM sync_outbox WHERE operation = 'create'";
            assert_eq!(scene.rows(creates), ["1"]);
        }
        let written = "SELECT count(*) FROM sync_history";
        assert_eq!(scene.rows(written), ["0"], "nothing of it is gone");
        scene.do_run("DELETE FROM contacts WHERE local_id = 9");
        assert_eq!(scene.rows(written), ["1"]);
        assert_eq!(scene.links(), Vec::<String>::new());
        scene.do_run("INSERT INTO contacts (local_id, email) VALUES (9, 'other@example.com')");
        assert_eq!(scene.links(), Vec::<String>::new(), "another row");
    });
}

#[test]
fn a_write_costs_the_same_however_many_associations_there_are_and_wait() {
    let many = "WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
        INSERT INTO contacts (local_id, hs_id, email) SELECT i, 10000 + i, i || '@example.com' FROM n;
        WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
        INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id)
        SELECT 'contacts', i, 'companies', 2, 'HUBSPOT_DEFINED', 279 FROM n;
        INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at, to_object, to_local_id, category, type_id)
        SELECT from_object, from_local_id, 1, 'associate', '2026-11-24T03:10:00.000Z', '2026-11-24T03:10:00.000Z', to_object, to_local_id,
               category, type_id
        FROM associations WHERE from_local_id >= 100";
    linked(|scene| {
        let steps = || {
            let program = Connection::open(scene.path()).expect("opens");
            let steps = |sql: &str| {
                let mut statement = program.prepare(sql).expect(sql);
                statement.execute([]).expect(sql);
                statement.get_status(StatementStatus::VmStep)
            };
            let made = steps(&insert("", "1"));
            let gone = steps(
                "DELETE FROM associations WHERE from_object = 'contacts' AND from_local_id = 1 AND to_object = 'companies'",
            );
            (made, gone)
        };
        let few = steps();
        scene.as_daemon(many);
        let (made, gone) = steps();
        assert!(made < few.0 + few.0 / 10, "{few:?} steps, then {made}");
        assert!(gone < few.1 + few.1 / 10, "{few:?} steps, then {gone}");
    });
}

#[test]
fn a_pair_s_view_is_not_put_in_the_place_of_another_table() {
    linked(|scene| {
        scene.do_run("DROP VIEW contacts_companies");
        scene.fit_to_mapping(&pairs());
        assert_eq!(
            scene.reads("SELECT count(*) FROM contacts_companies"),
            ["0"]
        );
        let without = Mapping {
            pairs: Vec::new(),
            ..pairs()
        };
        scene.fit_to_mapping(&without);
        assert_eq!(
            scene.rows("SELECT name FROM sqlite_schema WHERE type = 'view' AND name IN ('contacts_companies', 'family')"),
            Vec::<String>::new()
        );
        scene.refused(
            &insert("", "1"),
            "associations can not be written: the mapping file has no pair, or its pairs wait with their objects (sync_status.last_error) [pair-unmapped]",
        );
    });
}

#[test]
fn a_label_with_letters_beyond_ascii_waits_for_the_daemon_where_sqlite_does_not_know_it_again() {
    linked(|scene| {
        scene.as_daemon(
            "INSERT INTO association_types (from_object, to_object, category, type_id, label, inverse_type_id, archived)
             VALUES ('contacts', 'companies', 'USER_DEFINED', 50, 'Ärzte', 51, 0)",
        );
        scene.fit_to_mapping(&pairs());
        scene.do_run(&insert(", label", "1, ' ÄRZTE'"));
        scene.do_run(&insert(", label", "2, 'ärzte'"));
        scene.do_run(&insert(", label", "3, 'Ärzte'"));
        let entries = "SELECT to_local_id, coalesce(type_id, '-'), label FROM sync_outbox WHERE operation = 'associate' ORDER BY id";
        assert_eq!(
            scene.rows(entries),
            ["1 50 Ärzte", "2 - ärzte", "3 50 Ärzte"]
        );
        assert!(scene.run(&insert(", label", "1, 'Arzte'")).is_err());
        assert!(
            scene
                .run(&insert(", label, type_id", "1, 'ärzte', 279"))
                .is_err()
        );
    });
}

#[test]
fn a_row_of_a_former_pair_is_taken_away_once_the_pair_is_back_and_goes_with_its_mirror_row_and_comes_back()
 {
    linked(|scene| {
        scene.as_daemon(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id)
             VALUES ('contacts', 1, 'companies', 1, 'HUBSPOT_DEFINED', 279), ('contacts', 1, 'companies', 2, 'HUBSPOT_DEFINED', 279)",
        );
        let without = Mapping {
            pairs: Vec::new(),
            ..pairs()
        };
        scene.fit_to_mapping(&without);
        scene.do_run("DELETE FROM associations WHERE to_local_id = 2");
        let entries = "SELECT operation, hs_id, to_local_id, type_id, state, coalesce(code, '-') FROM sync_outbox ORDER BY id";
        assert_eq!(
            scene.rows(entries),
            ["disassociate 101 2 279 dead pair-unmapped"]
        );
        scene.do_run("DELETE FROM contacts WHERE local_id = 1");
        let kept = "SELECT json_extract(row, '$.associations[0].to_hs_id') FROM sync_outbox WHERE operation = 'archive'";
        assert_eq!(scene.rows(kept), ["201"]);
        let rows = "SELECT to_local_id FROM associations";
        assert_eq!(scene.rows(rows), Vec::<String>::new());
        scene.do_run(
            "INSERT INTO contacts (local_id, hs_id, email) VALUES (1, 101, 'ada@example.com')",
        );
        assert_eq!(scene.rows(rows), ["1"]);
    });
}

#[test]
fn the_triggers_of_links_read_like_this() {
    linked(|scene| {
        if scene.has_recursive_triggers() || scene.client() != super::scene::Client::Own {
            return;
        }
        let texts = scene.rows(
            "SELECT sql || ';' FROM sqlite_schema WHERE name LIKE 'sync_guard_associations%' OR name LIKE 'sync_link%' ORDER BY name",
        );
        insta::assert_snapshot!("links", texts.join("\n\n"));
    });
}
