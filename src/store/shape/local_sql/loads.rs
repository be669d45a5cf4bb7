//! `.import` and bulk loads.

use std::fs;

use super::scene::{Client, everywhere};

#[test]
fn an_import_into_a_table_of_its_own_and_an_insert_from_it_are_creates() {
    everywhere(|scene| {
        if scene.client() != Client::System {
            return;
        }
        let file = scene.path().with_file_name("people.csv");
        fs::write(
            &file,
            "email,first_name,revenue\ncy@example.com,Cy,12.5\n\"di@example.com\",\"Di, too\",\n",
        )
        .expect("writes");
        scene.do_run(&format!(
            ".import --csv {} people\n\
             INSERT INTO contacts (email, first_name, revenue) SELECT email, first_name, nullif(revenue, '') FROM people;",
            file.display()
        ));
        assert_eq!(
            scene.contacts()[2..],
            ["3 - cy@example.com Cy", "4 - di@example.com Di, too"]
        );
        assert_eq!(
            scene.outbox(),
            ["create contacts 3 -", "create contacts 4 -"]
        );
    });
}

#[test]
fn an_import_straight_into_a_mirror_table_is_taken_row_by_row_or_refused_with_a_sentence() {
    everywhere(|scene| {
        if scene.client() != Client::System {
            return;
        }
        let file = scene.path().with_file_name("deals.csv");
        // `.import` has text for every column, and no NULL: a record's id can't be left out.
        fs::write(&file, "5,555,9,,,0\n").expect("writes");
        let import = format!(".import --csv {} deals\n", file.display());
        let before = scene.rows("SELECT * FROM deals");
        let refused = scene.run(&import).expect_err("is refused");
        assert!(
            refused
                .ends_with("INSERT failed: deals.hs_id comes from HubSpot: leave it [read-only]"),
            "{refused}"
        );
        assert_eq!(scene.rows("SELECT * FROM deals"), before);
        assert_eq!(scene.outbox(), Vec::<String>::new());
    });
}

#[test]
fn a_load_of_10_000_rows_in_one_transaction_is_a_create_for_each() {
    everywhere(|scene| {
        if scene.has_recursive_triggers() {
            return;
        }
        scene.do_run(
            "BEGIN;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             INSERT INTO contacts (email, first_name, revenue) SELECT 'p' || i || '@example.com', 'P' || i, i / 4.0 FROM n;
             COMMIT",
        );
        let counted = "SELECT count(*), count(DISTINCT key), min(local_id), max(local_id), sum(local_id) FROM sync_outbox WHERE operation = 'create'";
        assert_eq!(scene.rows(counted), ["10000 10000 3 10002 50025000"]);
        scene.do_run("UPDATE contacts SET first_name = upper(first_name)");
        assert_eq!(scene.outbox().len(), 10_002);
        scene.do_run("DELETE FROM contacts WHERE local_id > 2");
        assert_eq!(
            scene.outbox(),
            [
                "update contacts 1 101; firstname was Ada",
                "update contacts 2 102; firstname was Bob"
            ]
        );
    });
}
