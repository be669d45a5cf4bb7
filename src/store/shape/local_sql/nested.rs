//! Triggers of the user's that write to mirror tables: SQLite runs them before or after ours, as it happens, and what they
//! write is a program's write like any other.

use super::scene::{Scene, everywhere};

const NONE: [&str; 0] = [];

const NORMALISE: &str = "
    CREATE TRIGGER zz AFTER UPDATE OF first_name ON contacts WHEN new.first_name <> upper(new.first_name)
    BEGIN UPDATE contacts SET first_name = upper(first_name) WHERE local_id = new.local_id; END;";

/// By the record, so that it is found whatever number it has.
const NORMALISE_NEW: &str = "
    CREATE TRIGGER zz AFTER INSERT ON contacts WHEN new.first_name <> upper(new.first_name)
    BEGIN UPDATE contacts SET first_name = upper(first_name) WHERE email = new.email; END;";

/// Acts where a user's triggers run before ours, and where they run after them.
fn with_triggers(triggers: &str, act: impl Fn(&Scene)) {
    for is_first in [true, false] {
        eprintln!("the user's first: {is_first}");
        everywhere(|scene| {
            scene.do_run(triggers);
            if !is_first {
                scene.turn_triggers_round();
            }
            act(scene);
        });
    }
}

/// What a statement leaves of the two contacts, and in the outbox.
fn leaves(scene: &Scene, sql: &str, contacts: &[&str], outbox: &[&str]) {
    scene.do_run(sql);
    assert_eq!(scene.contacts(), contacts, "{sql}");
    assert_eq!(scene.outbox(), outbox, "{sql}");
}

fn updates(triggers: &str, statements: &[(&str, &str, &[&str])]) {
    with_triggers(triggers, |scene| {
        for (sql, row, outbox) in statements {
            leaves(scene, sql, &[row, "2 102 bob@example.com Bob"], outbox);
        }
    });
}

#[test]
fn a_normalised_update_is_sent_with_the_base_that_it_had() {
    updates(
        NORMALISE,
        &[
            (
                "UPDATE contacts SET first_name = 'repl' WHERE local_id = 1",
                "1 101 ada@example.com REPL",
                &["update contacts 1 101; firstname was Ada"],
            ),
            // Back to the base, which is not as the trigger wants it.
            (
                "UPDATE contacts SET first_name = 'Ada' WHERE local_id = 1",
                "1 101 ada@example.com ADA",
                &["update contacts 1 101; firstname was Ada"],
            ),
            (
                "UPDATE contacts SET first_name = 'ada', email = 'a' WHERE local_id = 1",
                "1 101 a ADA",
                &["update contacts 1 101; email was ada@example.com; firstname was Ada"],
            ),
        ],
    );
}

#[test]
fn an_update_that_is_normalised_to_the_base_sends_nothing() {
    with_triggers(NORMALISE, |scene| {
        scene.as_daemon("UPDATE contacts SET first_name = 'ADA' WHERE local_id = 1");
        for sql in [
            "UPDATE contacts SET first_name = 'ada' WHERE local_id = 1",
            "UPDATE contacts SET first_name = 'x' WHERE local_id = 1;
             UPDATE contacts SET first_name = 'ada' WHERE local_id = 1",
        ] {
            scene.do_run(sql);
            assert_eq!(scene.outbox(), NONE, "{sql}");
        }
    });
}

#[test]
fn a_write_that_a_trigger_takes_back_sends_nothing() {
    for event in ["AFTER UPDATE", "AFTER UPDATE OF first_name"] {
        with_triggers(
            &format!(
                "CREATE TRIGGER zz {event} ON contacts WHEN new.first_name = 'x'
                 BEGIN UPDATE contacts SET first_name = old.first_name WHERE local_id = new.local_id; END;"
            ),
            |scene| {
                scene.do_run("UPDATE contacts SET first_name = 'x'");
                assert_eq!(scene.outbox(), NONE);
                scene.do_run("UPDATE contacts SET first_name = 'x', email = 'x' WHERE local_id = 2");
                assert_eq!(
                    scene.outbox(),
                    ["update contacts 2 102; email was bob@example.com"]
                );
            },
        );
    }
}

#[test]
fn a_chain_of_triggers_makes_one_update_from_the_first_base() {
    let steps = "
        CREATE TRIGGER z1 AFTER UPDATE OF first_name ON contacts WHEN new.first_name = 'b'
        BEGIN UPDATE contacts SET first_name = 'c' WHERE local_id = new.local_id; END;
        CREATE TRIGGER z2 AFTER UPDATE OF first_name ON contacts WHEN new.first_name = 'c'
        BEGIN UPDATE contacts SET first_name = 'd', email = 'd' WHERE local_id = new.local_id; END;
        CREATE TRIGGER z3 AFTER UPDATE OF first_name ON contacts WHEN new.first_name = 'e'
        BEGIN UPDATE contacts SET first_name = 'f' WHERE local_id = new.local_id;
              UPDATE contacts SET first_name = 'Ada' WHERE local_id = new.local_id; END;";
    updates(
        steps,
        &[
            (
                "UPDATE contacts SET first_name = 'b' WHERE local_id = 1",
                "1 101 d d",
                &["update contacts 1 101; email was ada@example.com; firstname was Ada"],
            ),
            (
                "UPDATE contacts SET first_name = 'e' WHERE local_id = 1",
                "1 101 d Ada",
                &["update contacts 1 101; email was ada@example.com"],
            ),
            (
                "UPDATE contacts SET first_name = 'e', email = 'ada@example.com' WHERE local_id = 1",
                "1 101 ada@example.com Ada",
                &[],
            ),
        ],
    );
}

#[test]
fn a_trigger_that_fires_itself_makes_one_update() {
    with_triggers(
        "CREATE TRIGGER zz AFTER UPDATE OF revenue ON contacts WHEN new.revenue < 5
         BEGIN UPDATE contacts SET revenue = new.revenue + 1 WHERE local_id = new.local_id; END;",
        |scene| {
            scene.do_run("UPDATE contacts SET revenue = 1.25 WHERE local_id = 1");
            assert_eq!(
                scene.outbox(),
                ["update contacts 1 101; annualrevenue was 1.5"]
            );
            let reached = if scene.has_recursive_triggers() {
                "5.25"
            } else {
                "2.25"
            };
            assert_eq!(
                scene.rows("SELECT revenue FROM contacts WHERE local_id = 1"),
                [reached]
            );
        },
    );
}

#[test]
fn what_a_trigger_writes_to_another_column_row_or_mirror_is_sent_too() {
    with_triggers(
        "CREATE TRIGGER zz AFTER UPDATE OF first_name ON contacts WHEN new.local_id = 1
         BEGIN
             UPDATE contacts SET stage = 'seen' WHERE local_id = new.local_id;
             UPDATE contacts SET stage = 'other' WHERE local_id = 2;
             UPDATE deals SET amount = 6;
             INSERT INTO contacts (email) VALUES ('new@example.com');
         END;",
        |scene| {
            scene.do_run("UPDATE contacts SET first_name = 'x' WHERE local_id = 1");
            assert_eq!(
                scene.outbox(),
                [
                    "update contacts 1 101; firstname was Ada; stage was lead",
                    "update contacts 2 102; stage was -",
                    "create contacts 3 -",
                    "update deals 1 301; amount was 5.0",
                ]
            );
        },
    );
}

#[test]
fn what_a_trigger_writes_before_an_update_is_sent_with_the_base_that_it_had() {
    with_triggers(
        "CREATE TRIGGER zz BEFORE UPDATE OF first_name ON contacts WHEN new.first_name = 'x'
         BEGIN UPDATE contacts SET stage = 'touched', first_name = 'lost' WHERE local_id = new.local_id; END;",
        |scene| {
            scene.do_run("UPDATE contacts SET first_name = 'x' WHERE local_id = 1");
            assert_eq!(
                scene.outbox(),
                ["update contacts 1 101; firstname was Ada; stage was lead"]
            );
            scene.do_run("DROP TRIGGER zz; UPDATE contacts SET first_name = 'Ada', stage = 'lead' WHERE local_id = 1");
            assert_eq!(scene.outbox(), NONE);
        },
    );
}

#[test]
fn a_conflict_is_told_what_the_row_holds_in_the_end() {
    with_triggers(NORMALISE, |scene| {
        scene.as_daemon(
            "INSERT INTO sync_conflicts (object, local_id, hs_id, property, base_value, local_value, remote_value, policy, detected_at)
             VALUES ('contacts', 1, 101, 'firstname', 'A', 'Ada', 'Augusta', 'manual', '2026-11-24T03:10:00.000Z')",
        );
        scene.do_run("UPDATE contacts SET first_name = 'countess' WHERE local_id = 1");
        assert_eq!(
            scene.rows("SELECT local_value FROM sync_conflicts"),
            ["COUNTESS"]
        );
        assert_eq!(scene.outbox(), NONE);
    });
}

#[test]
fn an_open_attempt_is_not_cut_short_by_a_trigger() {
    with_triggers(NORMALISE, |scene| {
        scene.do_run("UPDATE contacts SET first_name = 'b' WHERE local_id = 1");
        scene.as_daemon("UPDATE sync_outbox SET state = 'in_flight'; UPDATE sync_outbox_fields SET sent_value = 'B'");
        scene.do_run("UPDATE contacts SET first_name = 'Ada', stage = 'x' WHERE local_id = 1");
        assert_eq!(
            scene.outbox(),
            ["update contacts 1 101, in_flight; firstname was Ada; stage was lead"]
        );
    });
}

#[test]
fn a_row_that_a_trigger_normalises_is_created_once() {
    with_triggers(NORMALISE_NEW, |scene| {
        scene.do_run("INSERT INTO contacts (email, first_name) VALUES ('c', 'cy'), ('d', 'di')");
        let entries: Vec<String> = scene.rows("SELECT operation, local_id FROM sync_outbox");
        assert_eq!(entries, ["create 3", "create 4"]);
        assert_eq!(scene.contacts()[2..], ["3 - c CY", "4 - d DI"]);
    });
}

#[test]
fn a_row_that_a_trigger_takes_away_again_is_not_created() {
    with_triggers(
        "CREATE TRIGGER zz AFTER INSERT ON contacts BEGIN DELETE FROM contacts WHERE local_id = new.local_id; END;",
        |scene| {
            scene.do_run("INSERT INTO contacts (email) VALUES ('spam@example.com')");
            assert_eq!(scene.outbox(), NONE);
        },
    );
}

const REPLACES: [&str; 6] = [
    "REPLACE INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'robert')",
    "REPLACE INTO contacts (local_id, email, first_name) VALUES (2, 'bob@example.com', 'robert')",
    "REPLACE INTO contacts (local_id, hs_id, email, first_name) VALUES (2, 102, 'bob@example.com', 'robert')",
    "INSERT OR REPLACE INTO contacts (hs_id, email, first_name) SELECT hs_id, email, 'robert' FROM contacts WHERE hs_id = 102",
    "DELETE FROM contacts WHERE local_id = 2; INSERT INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'robert')",
    "DELETE FROM contacts WHERE local_id = 2; INSERT INTO contacts (local_id, email, first_name) VALUES (2, 'bob@example.com', 'robert')",
];

#[test]
fn a_replace_that_a_trigger_normalises_is_one_update() {
    for sql in REPLACES {
        eprintln!("{sql}");
        with_triggers(NORMALISE_NEW, |scene| {
            leaves(
                scene,
                sql,
                &["1 101 ada@example.com Ada", "2 102 bob@example.com ROBERT"],
                &["update contacts 2 102; firstname was Bob"],
            );
        });
    }
}

#[test]
fn a_replace_of_a_dirty_row_keeps_its_bases_whatever_a_trigger_writes() {
    for sql in REPLACES {
        eprintln!("{sql}");
        with_triggers(NORMALISE_NEW, |scene| {
            scene.do_run("UPDATE contacts SET first_name = 'B', stage = 'x' WHERE local_id = 2");
            leaves(
                scene,
                sql,
                &["1 101 ada@example.com Ada", "2 102 bob@example.com ROBERT"],
                &["update contacts 2 102; firstname was Bob"],
            );
            leaves(
                scene,
                &sql.replace("robert", "Bob"),
                &["1 101 ada@example.com Ada", "2 102 bob@example.com BOB"],
                &["update contacts 2 102; firstname was Bob"],
            );
        });
    }
}

#[test]
fn a_replace_of_a_row_whose_create_waits_keeps_the_create_whatever_a_trigger_writes() {
    with_triggers(NORMALISE_NEW, |scene| {
        scene.do_run("INSERT INTO contacts (email, first_name) VALUES ('c', 'cy')");
        let key = scene.rows("SELECT key FROM sync_outbox");
        scene.do_run("REPLACE INTO contacts (local_id, email, first_name) VALUES (3, 'c', 'ci')");
        assert_eq!(scene.contacts()[2..], ["3 - c CI"]);
        assert_eq!(scene.outbox(), ["create contacts 3 -; firstname was -?"]);
        assert_eq!(scene.rows("SELECT key FROM sync_outbox"), key);
    });
}

#[test]
fn a_trigger_that_inserts_another_row_leaves_a_replace_what_it_is() {
    for inserted in [
        "INSERT INTO contacts (email) VALUES ('new@example.com')",
        "INSERT INTO contacts (local_id, email) VALUES (50, 'new@example.com')",
        "INSERT OR IGNORE INTO contacts (local_id, email) VALUES (50, 'new@example.com')",
        "INSERT INTO contacts (local_id, email) VALUES (50, 'new@example.com') ON CONFLICT DO UPDATE SET email = excluded.email",
    ] {
        for sql in REPLACES {
            eprintln!("{inserted} in {sql}");
            with_triggers(
                &format!(
                    "CREATE TRIGGER zz AFTER INSERT ON contacts WHEN new.email = 'bob@example.com' BEGIN {inserted}; END;"
                ),
                |scene| {
                    scene.do_run(sql);
                    assert_eq!(
                        scene.contacts()[..2],
                        ["1 101 ada@example.com Ada", "2 102 bob@example.com robert"],
                    );
                    let outbox = scene.outbox();
                    assert_eq!(outbox[0], "update contacts 2 102; firstname was Bob");
                    assert!(outbox[1].starts_with("create contacts "), "{outbox:?}");
                    assert_eq!(outbox.len(), 2);
                    assert_eq!(
                        scene.rows("SELECT local_id FROM contacts WHERE email = 'new@example.com'"),
                        scene.rows("SELECT local_id FROM sync_outbox WHERE operation = 'create'"),
                    );
                },
            );
        }
    }
}

#[test]
fn a_trigger_that_replaces_another_row_or_writes_to_another_mirror_leaves_a_replace_what_it_is() {
    for sql in REPLACES {
        eprintln!("{sql}");
        with_triggers(
            "CREATE TRIGGER zz AFTER INSERT ON contacts WHEN new.email = 'bob@example.com'
             BEGIN
                 REPLACE INTO contacts (hs_id, email, first_name) VALUES (101, 'ada@example.com', 'Augusta');
                 INSERT INTO deals (amount) VALUES (8);
                 REPLACE INTO deals (hs_id, amount) VALUES (301, 6);
             END;",
            |scene| {
                scene.do_run(sql);
                assert_eq!(
                    scene.contacts(),
                    ["1 101 ada@example.com Augusta", "2 102 bob@example.com robert"],
                );
                let outbox = scene.outbox();
                assert!(
                    outbox[0].starts_with("update contacts 1 101; annualrevenue was 1.5;"),
                    "{outbox:?}"
                );
                assert_eq!(outbox[1], "update contacts 2 102; firstname was Bob");
                assert_eq!(outbox[2], "update deals 1 301; amount was 5.0");
                assert!(outbox[3].starts_with("create deals "), "{outbox:?}");
                assert_eq!(outbox.len(), 4);
            },
        );
    }
}

#[test]
fn several_replaces_in_one_statement_are_an_update_each_whatever_triggers_write() {
    with_triggers(
        &format!(
            "{NORMALISE_NEW}
             CREATE TRIGGER zy AFTER INSERT ON contacts WHEN new.first_name = 'cy' BEGIN INSERT INTO contacts (email) VALUES ('more'); END;"
        ),
        |scene| {
            scene.do_run(
                "REPLACE INTO contacts (hs_id, email, first_name)
                 VALUES (101, 'ada@example.com', 'augusta'), (NULL, 'cy@example.com', 'cy'), (102, 'bob@example.com', 'robert')",
            );
            let rows = scene.rows("SELECT hs_id, email, first_name FROM contacts ORDER BY email");
            assert_eq!(
                rows,
                [
                    "101 ada@example.com AUGUSTA",
                    "102 bob@example.com ROBERT",
                    "- cy@example.com CY",
                    "- more -"
                ]
            );
            let kinds = scene.rows("SELECT operation, hs_id FROM sync_outbox ORDER BY 1, 2");
            assert_eq!(kinds, ["create -", "create -", "update 101", "update 102"]);
            let orphans = "SELECT * FROM sync_outbox WHERE local_id NOT IN (SELECT local_id FROM contacts)";
            assert_eq!(scene.rows(orphans), NONE);
        },
    );
}

#[test]
fn a_replace_by_a_unique_index_is_one_update_whatever_a_trigger_writes() {
    with_triggers(
        "CREATE UNIQUE INDEX own ON contacts (email);
         CREATE TRIGGER zz AFTER INSERT ON contacts WHEN new.first_name = 'robert'
         BEGIN
             INSERT INTO contacts (email) VALUES ('new@example.com');
             UPDATE contacts SET first_name = 'ROBERT' WHERE email = new.email;
         END;",
        |scene| {
            assert_eq!(scene.repair(), NONE);
            scene.do_run(
                "REPLACE INTO contacts (email, first_name) VALUES ('bob@example.com', 'robert')",
            );
            assert_eq!(scene.contacts()[1], "2 102 bob@example.com ROBERT");
            let outbox = scene.outbox();
            assert_eq!(outbox[0], "update contacts 2 102; firstname was Bob");
            assert!(outbox[1].starts_with("create contacts "), "{outbox:?}");
            assert_eq!(outbox.len(), 2);
        },
    );
}

#[test]
fn an_upsert_is_the_update_that_it_is_whatever_a_trigger_writes() {
    with_triggers(
        &format!(
            "{NORMALISE}
             CREATE TRIGGER zy AFTER UPDATE OF first_name ON contacts WHEN new.first_name = 'robert'
             BEGIN INSERT INTO contacts (email) VALUES ('new@example.com'); END;"
        ),
        |scene| {
            scene.do_run(
                "INSERT INTO contacts (local_id, first_name) VALUES (2, 'robert') ON CONFLICT DO UPDATE SET first_name = excluded.first_name",
            );
            assert_eq!(
                scene.outbox(),
                [
                    "update contacts 2 102; firstname was Bob",
                    "create contacts 3 -"
                ]
            );
            scene.do_run("INSERT INTO contacts (email) VALUES ('after@example.com')");
            assert_eq!(scene.outbox()[2..], ["create contacts 4 -"]);
        },
    );
}

/// Taking the former row's ids is an UPDATE, for which triggers of the user's run too.
#[test]
fn what_a_trigger_writes_when_a_row_takes_its_ids_is_sent() {
    with_triggers(
        "CREATE TRIGGER zz AFTER UPDATE ON contacts WHEN new.stage IS NOT 'touched'
         BEGIN
             UPDATE contacts SET stage = 'touched' WHERE local_id = new.local_id;
             UPDATE deals SET amount = 6;
         END;",
        |scene| {
            scene.do_run("REPLACE INTO contacts (hs_id, email, first_name) VALUES (102, 'bob@example.com', 'Bob')");
            assert_eq!(
                scene.rows("SELECT stage FROM contacts WHERE hs_id = 102"),
                ["touched"]
            );
            assert_eq!(
                scene.outbox(),
                [
                    "update contacts 2 102; stage was -",
                    "update deals 1 301; amount was 5.0"
                ]
            );
            assert_eq!(scene.rows("SELECT * FROM _sync_bypassed"), NONE);
        },
    );
}

#[test]
fn what_a_trigger_writes_after_a_deletion_is_sent() {
    with_triggers(
        "CREATE TRIGGER zz AFTER DELETE ON contacts
         BEGIN
             UPDATE contacts SET first_name = 'heir' WHERE local_id = 2;
             INSERT INTO contacts (email) VALUES ('in memory');
         END;",
        |scene| {
            scene.do_run("DELETE FROM contacts WHERE local_id = 1");
            assert_eq!(
                scene.outbox(),
                [
                    "archive contacts 1 101, keeps the row",
                    "update contacts 2 102; firstname was Bob",
                    "create contacts 3 -"
                ]
            );
        },
    );
}
