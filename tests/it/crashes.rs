//! Promises 1, 2 and 6: what was committed here is pushed, once, whatever crashes; a restart goes on.

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::Settings;

use crate::codes::{produces, says};
use crate::daemon::{Site, eventually, open};
use crate::portal::Portal;

#[test]
fn committed_writes_survive_kill_after_kill() {
    let portal = Portal::quick();
    portal.fill("contacts", 50);
    let mut site = Site::new(&portal);
    site.start_and_load();
    let writer = {
        let path = site.path("crm.db");
        std::thread::spawn(move || {
            let connection = open(&path);
            for number in 0..300 {
                let email = format!("local{number}@example.com");
                connection
                    .execute(
                        "INSERT INTO contacts (email, first_name) VALUES (?1, 'Ann')",
                        [&email],
                    )
                    .expect("a local write is never refused");
                connection
                    .execute("UPDATE contacts SET city = ?1 WHERE email = ?1", [&email])
                    .expect("a local write is never refused");
            }
        })
    };
    let mut kills = 0;
    while !writer.is_finished() || kills < 6 {
        let created = portal.contacts();
        // Killed as soon as something more has reached HubSpot, so that answers are on their way.
        eventually("a push or the end", || {
            portal.contacts() > created || writer.is_finished()
        });
        site.kill();
        kills += 1;
        site.start();
    }
    writer.join().expect("the writer ends");
    site.until_sql("SELECT count(*) = 350 FROM contacts WHERE hs_id IS NOT NULL");
    site.until_pushed();
    assert_eq!(portal.contacts(), 350, "after {kills} kills");
    for number in 0..300 {
        let email = format!("local{number}@example.com");
        assert_eq!(portal.count_with("email", &email), 1, "{email}");
        assert_eq!(portal.count_with("city", &email), 1, "{email}");
    }
    assert_eq!(site.stop(), 0);
    portal.assert_limits_were_kept();
}

#[test]
fn a_create_whose_answer_was_lost_is_found_by_its_key() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_load();
    portal.script(FaultKind::AnswerLost, 1, "/batch/upsert");
    site.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')");
    site.until_sql("SELECT count(hs_id) FROM contacts");
    site.until_pushed();
    assert_eq!(portal.contacts(), 1);
    assert_eq!(portal.requests("/batch/upsert"), 1);
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_create_in_flight_at_the_kill_is_not_repeated() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_load();
    portal.stand().faults_mut().slow_ms = 20_000;
    portal.script(FaultKind::Slow, 1, "/batch/upsert");
    site.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')");
    eventually("HubSpot has it", || portal.contacts() == 1);
    assert_eq!(
        site.number("SELECT count(*) FROM sync_outbox WHERE state = 'in_flight'"),
        1
    );
    site.kill();
    site.start();
    site.until_sql("SELECT count(hs_id) FROM contacts");
    site.until_pushed();
    assert_eq!(portal.contacts(), 1);
    assert_eq!(portal.requests("/batch/upsert"), 1);
}

#[test]
fn without_a_key_a_lost_create_is_found_by_its_match_value_or_is_dead() {
    let portal = Portal::quick();
    let objects = "[objects.contacts]\nkey = \"none\"\n[objects.contacts.properties]\nemail = \"email\"\nfirstname = \"first_name\"\n";
    let mut site = Site::with(&portal, "", objects);
    site.start_and_load();
    portal.script(FaultKind::AnswerLost, 1, "/batch/create");
    site.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')");
    site.until_sql("SELECT count(hs_id) FROM contacts");
    site.until_pushed();
    assert_eq!(portal.contacts(), 1);
    portal.script(FaultKind::AnswerLost, 1, "/batch/create");
    site.execute("INSERT INTO contacts (first_name) VALUES ('Nameless')");
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
    let explanation = site.text("SELECT last_error FROM sync_outbox WHERE state = 'dead'");
    assert!(explanation.is_some_and(|explanation| says(&explanation, produces("create-in-doubt"))));
    assert_eq!(portal.count_with("firstname", "Nameless"), 1);
    assert_eq!(portal.requests("/batch/create"), 2);
}

#[test]
fn a_backfill_goes_on_at_the_page_where_it_stopped() {
    let portal = Portal::with(Settings {
        latency_min_ms: 60,
        latency_max_ms: 60,
        ..Settings::default()
    });
    portal.fill("contacts", 3_000);
    let mut site = Site::new(&portal);
    site.start();
    site.until_sql("SELECT count(*) > 600 FROM contacts");
    site.kill();
    let asked = portal.requests("/contacts");
    let rows = site.number("SELECT count(*) FROM contacts");
    assert!(rows < 3_000, "the kill came too late to show anything");
    site.start_and_load();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 3_000);
    let lists = |portal: &Portal| portal.pages("contacts");
    // 30 pages; the few that were on their way at the kill may have been asked for twice, and where chains meet a page is read in
    // part.
    assert!(
        lists(&portal) <= 30 + 8,
        "{} pages, {asked} at the kill",
        lists(&portal)
    );
}

#[test]
fn a_restored_backup_makes_nothing_twice() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let mut site = Site::new(&portal);
    site.once();
    site.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')");
    site.program()
        .execute("VACUUM INTO 'backup.db'", [])
        .map(drop)
        .or_else(|_| {
            let backup = site.path("backup.db");
            site.program()
                .execute("VACUUM INTO ?1", [backup.to_string_lossy()])
                .map(drop)
        })
        .expect("a backup");
    site.once();
    assert_eq!(portal.count_with("email", "ada@example.com"), 1);
    let backup = [
        site.path("backup.db"),
        std::path::PathBuf::from("backup.db"),
    ]
    .into_iter()
    .find(|path| path.exists())
    .expect("the backup");
    for side in ["crm.db-wal", "crm.db-shm"] {
        if site.path(side).exists() {
            std::fs::remove_file(site.path(side)).expect("removed");
        }
    }
    std::fs::rename(backup, site.path("crm.db")).expect("the backup is put back");
    site.once();
    assert_eq!(portal.count_with("email", "ada@example.com"), 1);
    assert_eq!(
        site.number("SELECT count(hs_id) FROM contacts WHERE email = 'ada@example.com'"),
        1
    );
    site.start_and_load();
    assert_eq!(site.stop(), 0);
}
