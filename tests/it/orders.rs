//! Operating by SQL: rows of `sync_commands`, which the daemon carries out within seconds and answers in the same row.

use hubsyncd::simulator::faults::FaultKind;

use crate::calls::lines;
use crate::codes::{produces, says};
use crate::daemon::{CONTACTS, Site};
use crate::portal::Portal;

const TELL: &str = "INSERT INTO sync_commands (command, object, argument) VALUES";

fn tell(site: &Site, command: &str) {
    site.execute(&format!("{TELL} ({command})"));
}

/// The state, the result and the code of the last command, once it has ended.
fn answered(site: &Site) -> String {
    site.until_sql("SELECT count(*) = 0 FROM sync_commands WHERE state IN ('waiting', 'running')");
    lines(
        site,
        "SELECT state || ': ' || result || ' ' || coalesce(code, '-') || (finished_at IS NOT NULL) FROM sync_commands ORDER BY id DESC LIMIT 1",
    )
    .remove(0)
}

#[test]
fn each_command_is_carried_out_and_answered_in_its_row() {
    let portal = Portal::quick();
    portal.fill("contacts", 130);
    // Nothing comes by itself.
    let mut site = Site::with(
        &portal,
        "[schedule]\npoll = \"1h\"\n",
        crate::daemon::CONTACTS,
    );
    site.start_and_settle();
    let id = site.number("SELECT hs_id FROM contacts WHERE local_id = 7");
    let edit = |city: &str| portal.edit(id.unsigned_abs(), &[("city", city)]);
    let city = || site.text("SELECT city FROM contacts WHERE local_id = 7");
    edit("Lima");
    tell(&site, &format!("'refetch', 'contacts', '{id}'"));
    assert!(
        answered(&site).starts_with("done: 1 record read, 1 changed, 1 request -1"),
        "{}",
        answered(&site)
    );
    assert_eq!(city().as_deref(), Some("Lima"));
    edit("Rome");
    tell(&site, "'poll', 'contacts', NULL");
    assert!(answered(&site).starts_with("done: "), "{}", answered(&site));
    assert_eq!(city().as_deref(), Some("Rome"));
    edit("Oslo");
    let cursor = "SELECT polled_to || coalesce(window_to, '-') || last_poll_at FROM _sync_cursors";
    let before = lines(&site, cursor);
    tell(&site, "'refetch', 'contacts', 'since 10m'");
    assert!(
        answered(&site).starts_with("done: 1 record read, 1 changed, 2 requests -1"),
        "{}",
        answered(&site)
    );
    assert_eq!(city().as_deref(), Some("Oslo"));
    // It is a walk of its own: neither the lag nor the next start goes by it.
    assert_eq!(lines(&site, cursor), before);
    // Also where the poll that would show the same is yet to be made.
    tell(&site, "'refetch', 'contacts', 'since 2020-01-01'");
    assert!(
        answered(&site).starts_with("done: 130 records read, 0 changed, 3 requests -1"),
        "{}",
        answered(&site)
    );
    assert_eq!(lines(&site, cursor), before);
    edit("Bern");
    tell(&site, "'backfill', 'contacts', NULL");
    assert!(
        answered(&site).starts_with("done: 130 records read, 1 changed, 2 requests -1"),
        "{}",
        answered(&site)
    );
    assert_eq!(city().as_deref(), Some("Bern"));
    assert_eq!(lines(&site, "SELECT backfill FROM sync_status"), ["done"]);
    let now = portal.now_ms();
    portal.stand().archive("contacts", id.unsigned_abs(), now);
    tell(&site, "'reconcile', NULL, NULL");
    assert!(answered(&site).starts_with("done: "), "{}", answered(&site));
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 129);
    assert!(site.number("SELECT count(*) FROM sync_commands WHERE run_id IS NOT NULL") >= 3);
    assert_eq!(site.stop(), 0);
    // One that waits for a daemon is carried out by `once` as well, and equal ones once.
    let id = site.number("SELECT hs_id FROM contacts WHERE local_id = 8");
    for _ in 0..2 {
        tell(&site, &format!("'refetch', 'contacts', '{id}'"));
    }
    site.once();
    let last = "SELECT result FROM sync_commands WHERE state = 'done' ORDER BY id DESC LIMIT 2";
    assert_eq!(
        lines(&site, last),
        ["1 record read, 0 changed, 1 request"; 2]
    );
}

#[test]
fn pauses_and_resumes_that_wait_together_are_carried_out_in_their_order() {
    let portal = Portal::quick();
    let mut site = Site::new(&portal);
    site.start_and_load();
    for (words, is_paused) in [
        (["pause", "resume", "pause"], true),
        (["resume", "pause", "resume"], false),
    ] {
        assert_eq!(site.stop(), 0);
        for word in words {
            tell(&site, &format!("'{word}', NULL, NULL"));
        }
        site.start();
        assert_eq!(
            answered(&site),
            format!("done: push and pull {}d -1", words[2])
        );
        let pauses = site.number("SELECT count(*) FROM _sync_pauses");
        assert_eq!(pauses > 0, is_paused, "{words:?}");
    }
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_object_that_is_only_pushed_is_compared_when_somebody_asks() {
    let portal = Portal::quick();
    let objects = "[objects.contacts]\ndirection = \"push\"\n[objects.contacts.properties]\n\
                   email = \"email\"\ncity = \"city\"\n";
    let mut site = Site::with(&portal, "", objects);
    site.start_and_settle();
    site.execute("INSERT INTO contacts (email, city) VALUES ('ann@example.com', 'Rome')");
    site.until_sql("SELECT count(hs_id) FROM contacts");
    site.until_pushed();
    let id = site.number("SELECT hs_id FROM contacts").unsigned_abs();
    for object in ["'contacts'", "NULL"] {
        portal.edit(id, &[("city", "Lima")]);
        tell(&site, &format!("'reconcile', {object}, NULL"));
        assert!(answered(&site).starts_with("done: "), "{}", answered(&site));
        site.until_pushed();
        assert_eq!(
            portal.value(id, "city").as_deref(),
            Some("Rome"),
            "{object}"
        );
    }
    let runs =
        "SELECT count(*) FROM sync_runs WHERE kind = 'reconcile' AND finished_at IS NOT NULL";
    assert!(site.number(runs) >= 2);
    // Whatever reads more than its rows is refused, in words that are true.
    for command in [
        "'poll', 'contacts', NULL",
        "'backfill', 'contacts', NULL",
        "'refetch', 'contacts', '1'",
    ] {
        tell(&site, command);
        let told = answered(&site);
        assert!(
            told.starts_with("refused: contacts is only pushed"),
            "{told}"
        );
    }
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_command_tells_of_its_own_work_and_not_of_what_others_do_meanwhile() {
    let portal = Portal::quick();
    portal.fill("contacts", 30);
    let site = Site::new(&portal);
    site.once();
    let ids: Vec<u64> = (1..=3)
        .map(|row| {
            site.number(&format!(
                "SELECT hs_id FROM contacts WHERE local_id = {row}"
            ))
        })
        .map(i64::unsigned_abs)
        .collect();
    portal.edit(ids[0], &[("city", "Lima")]);
    tell(&site, "'poll', 'contacts', NULL");
    // A push reads its record, looks at it afterwards and writes it down; the refetch reads and writes another one.
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id = 2");
    tell(&site, &format!("'refetch', 'contacts', '{}'", ids[2]));
    site.once();
    let told = "SELECT command || ': ' || state || ': ' || result FROM sync_commands WHERE command <> 'refetch' ORDER BY id";
    // A poll that was on its way when the command was noticed may bring the edit; the one that is asked for then goes over it again,
    // and over what was pushed meanwhile.
    let polled = &lines(&site, told)[0];
    let own = [
        "1 record read, 1 changed, 1 request",
        "3 records read, 1 changed, 2 requests",
    ];
    assert!(
        own.iter()
            .any(|own| *polled == format!("poll: done: {own}")),
        "{polled}"
    );
    // A comparison beside them tells of what it has compared itself.
    portal.edit(ids[2], &[("city", "Kiel")]);
    tell(&site, &format!("'refetch', 'contacts', '{}'", ids[2]));
    tell(&site, "'reconcile', 'contacts', NULL");
    site.once();
    // Whichever of them meets the edit first has changed the row; who reads it after that has not.
    let reconciled = &lines(&site, told)[1];
    let own = [0, 1]
        .map(|changed| format!("reconcile: done: 30 records read, {changed} changed, 1 request"));
    assert!(own.contains(reconciled), "{reconciled}");
    let of_refetches = "SELECT result FROM sync_commands WHERE command = 'refetch' AND result NOT LIKE '1 record read, 0 changed, %'";
    assert_eq!(lines(&site, of_refetches), [""; 0]);
}

#[test]
fn a_walk_that_a_kill_has_cut_goes_on_behind_its_last_page() {
    let portal = Portal::quick();
    portal.fill("contacts", 30);
    let site = Site::new(&portal);
    site.once();
    let runs = "SELECT count(*) FROM sync_runs WHERE kind = 'reconcile'";
    let before = site.number(runs);
    tell(&site, "'refetch', 'contacts', 'since 2020-01-01'");
    // As it stands after a page of 20.
    site.execute_as_daemon("UPDATE sync_commands SET state = 'running'");
    site.execute_as_daemon(
        "INSERT INTO _sync_command_work (command_id, object, noticed_at, began_at, history_from, calls_from, seen_from,
                                         after, seen, changed, requests)
         SELECT c.id, 'contacts', c.at, c.at, 0, 0, 0,
                (SELECT hs_id FROM contacts ORDER BY hs_id LIMIT 1 OFFSET 19), 20, 2, 2
         FROM sync_commands AS c",
    );
    site.once();
    assert!(
        answered(&site).starts_with("done: 30 records read, 2 changed, 4 requests -1"),
        "{}",
        answered(&site)
    );
    assert_eq!(site.number(runs), before);
}

#[test]
fn what_ran_when_the_file_took_its_object_out_has_failed_and_was_not_refused() {
    let portal = Portal::quick();
    portal.fill("contacts", 2);
    portal.fill("companies", 2);
    let companies = "[objects.companies.properties]\nname = \"name\"\n";
    let both = format!("{CONTACTS}{companies}");
    let only_pushed = format!("{CONTACTS}[objects.companies]\ndirection = \"push\"\n{companies}");
    for (command, then, told) in [
        (
            "'refetch', 'companies', 'since 2020-01-01'",
            CONTACTS,
            "`companies`",
        ),
        ("'poll', 'companies', NULL", CONTACTS, "`companies`"),
        ("'poll', NULL, NULL", CONTACTS, "companies can't be read"),
        (
            "'poll', 'companies', NULL",
            &only_pushed,
            "companies is only pushed",
        ),
    ] {
        let site = Site::with(&portal, "", &both);
        site.once();
        // As it stands once it was begun.
        tell(&site, command);
        site.execute_as_daemon("UPDATE sync_commands SET state = 'running'");
        site.execute_as_daemon(
            "INSERT INTO _sync_command_work (command_id, object, noticed_at, began_at, history_from, calls_from, seen_from)
             SELECT id, 'companies', at, at, 0, 0, 0 FROM sync_commands",
        );
        site.configure(&portal, "", then);
        site.once();
        let answered = answered(&site);
        let is_told = answered.starts_with("failed: ") && answered.contains(told);
        assert!(is_told, "{command}: {answered}");
        let codes =
            "SELECT count(*) FROM sync_commands WHERE code IN ('command-object', 'command-failed')";
        assert_eq!(site.number(codes), 1, "{command}: {answered}");
    }
}

#[test]
fn what_can_not_be_done_is_refused_by_the_statement_or_in_the_row() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    site.once();
    let program = site.program();
    for (sql, code) in [
        (
            "INSERT INTO sync_commands (command) VALUES ('dance')",
            produces("command-unknown"),
        ),
        (
            "INSERT INTO sync_commands (command, state) VALUES ('poll', 'done')",
            produces("command-state"),
        ),
        (
            "INSERT INTO sync_commands (command, result) VALUES ('poll', 'x')",
            "command-state",
        ),
    ] {
        let refused = program.execute(sql, []).expect_err(sql).to_string();
        assert!(refused.ends_with(&format!("[{code}]")), "{refused}");
    }
    tell(&site, "'poll', NULL, NULL");
    let exchanged = "INSERT OR REPLACE INTO sync_commands (id, command) VALUES (1, 'pause')";
    let refused = program.execute(exchanged, []).expect_err("it is fixed");
    assert!(
        refused.to_string().ends_with("[command-fixed]"),
        "{refused}"
    );
    let refused = program
        .execute("UPDATE sync_commands SET command = 'pause'", [])
        .expect_err("it is fixed");
    assert!(
        says(&refused.to_string(), produces("command-fixed")),
        "{refused}"
    );
    assert_eq!(
        program
            .execute("DELETE FROM sync_commands", [])
            .expect("it waits"),
        1
    );
    tell(&site, "'refetch', 'deals', '101'");
    tell(&site, "'refetch', 'contacts', NULL");
    site.once();
    let told = "SELECT state || ' ' || code FROM sync_commands ORDER BY id";
    assert_eq!(
        lines(&site, told),
        [
            format!("refused {}", produces("command-object")),
            format!("refused {}", produces("command-argument"))
        ]
    );
}

#[test]
fn a_pause_holds_across_restarts_until_it_is_ended() {
    let portal = Portal::quick();
    portal.fill("contacts", 3);
    let mut site = Site::new(&portal);
    site.start_and_settle();
    tell(&site, "'pause', NULL, 'push'");
    assert_eq!(answered(&site), "done: push paused -1");
    site.until_sql(&format!(
        "SELECT state = '{}' FROM sync_health",
        produces("paused")
    ));
    assert_eq!(site.run(&["status", "--exit-code"]).status.code(), Some(3));
    let told = site.run(&["status"]).stdout;
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("\npaused: push\n"), "{told}");
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    assert_eq!(site.stop(), 0);
    // It holds for the daemon; `once` works, and says so.
    let said = site.once();
    assert!(
        said.trim_end().ends_with("; push paused in the daemon"),
        "{said}"
    );
    assert_eq!(portal.count_with("city", "Lima"), 1);
    site.execute("UPDATE contacts SET city = 'Quito' WHERE local_id = 1");
    site.start();
    site.until_sql("SELECT state = 'paused' FROM sync_health");
    // Pulling goes on, which a poll after this shows; nothing was sent.
    let id = portal.contact("new@example.com");
    site.until_sql(&format!("SELECT count(*) FROM contacts WHERE hs_id = {id}"));
    assert_eq!(portal.count_with("city", "Quito"), 0);
    tell(&site, "'resume', NULL, NULL");
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Quito"), 1);
    tell(&site, "'pause', NULL, 'pull'");
    site.until_sql("SELECT state = 'paused' FROM sync_health");
    tell(&site, "'poll', NULL, NULL");
    portal.contact("later@example.com");
    site.execute("UPDATE contacts SET city = 'Rome' WHERE local_id = 1");
    site.until_pushed();
    assert_eq!(
        site.number("SELECT count(*) FROM sync_commands WHERE state = 'waiting'"),
        1
    );
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE email = 'later@example.com'"),
        0
    );
    tell(&site, "'resume', NULL, 'pull'");
    assert!(answered(&site).starts_with("done: "));
    site.until_sql("SELECT count(*) FROM contacts WHERE email = 'later@example.com'");
}

#[test]
fn a_pause_that_was_written_before_the_start_holds_from_the_first_moment() {
    let portal = Portal::quick();
    portal.fill("contacts", 60);
    let mut site = Site::new(&portal);
    site.once();
    let runs = "SELECT count(*) FROM sync_runs WHERE kind IN ('push', 'poll')";
    let before = site.number(runs);
    tell(&site, "'pause', NULL, NULL");
    site.execute("UPDATE contacts SET city = 'Early'");
    site.start();
    site.until_sql("SELECT state = 'paused' FROM sync_health");
    assert_eq!(portal.count_with("city", "Early"), 0);
    assert_eq!(site.number(runs), before);
    assert_eq!(site.stop(), 0);
    // While the start waits for HubSpot a command is looked at as well.
    tell(&site, "'resume', NULL, NULL");
    portal.script(FaultKind::Unavailable, 1_000, "/account-info");
    site.start();
    site.until_sql("SELECT state = 'done' FROM sync_commands ORDER BY id DESC LIMIT 1");
    tell(&site, "'poll', 'deals', NULL");
    tell(&site, "'poll', 'contacts', NULL");
    tell(&site, "'pause', NULL, 'push'");
    site.until_sql("SELECT state = 'done' FROM sync_commands ORDER BY id DESC LIMIT 1");
    site.until_sql("SELECT state = 'refused' FROM sync_commands WHERE object = 'deals'");
    assert_eq!(
        site.number("SELECT state = 'waiting' FROM sync_commands WHERE object = 'contacts'"),
        1
    );
    portal.stand().faults_mut().scripts.clear();
    site.until_sql("SELECT state = 'paused' FROM sync_health");
    site.until_sql("SELECT state = 'done' FROM sync_commands WHERE object = 'contacts'");
    assert_eq!(portal.count_with("city", "Early"), 0);
    tell(&site, "'resume', NULL, NULL");
    site.until_pushed();
    assert_eq!(portal.count_with("city", "Early"), 60);
    assert_eq!(site.stop(), 0);
}

#[test]
fn the_last_word_on_a_pause_is_what_holds() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    site.once();
    for (rows, told, paused) in [
        (
            [
                "'pause', NULL, NULL",
                "'resume', NULL, NULL",
                "'pause', NULL, NULL",
            ],
            [
                "push and pull paused",
                "push and pull resumed",
                "push and pull paused",
            ],
            "pull,push",
        ),
        (
            [
                "'resume', NULL, NULL",
                "'pause', NULL, NULL",
                "'resume', NULL, NULL",
            ],
            [
                "push and pull resumed",
                "push and pull paused",
                "push and pull resumed",
            ],
            "",
        ),
        (
            [
                "'pause', NULL, 'push'",
                "'resume', NULL, NULL",
                "'pause', NULL, 'push'",
            ],
            ["push paused", "push and pull resumed", "push paused"],
            "push",
        ),
    ] {
        for row in rows {
            tell(&site, row);
        }
        site.once();
        let results = lines(
            &site,
            "SELECT result FROM sync_commands WHERE state = 'done' ORDER BY id DESC LIMIT 3",
        );
        assert_eq!(
            results.into_iter().rev().collect::<Vec<_>>(),
            told,
            "{rows:?}"
        );
        let sides = "SELECT coalesce(group_concat(side), '') FROM (SELECT side FROM _sync_pauses ORDER BY side)";
        assert_eq!(lines(&site, sides), [paused], "{rows:?}");
    }
}

#[test]
fn a_command_that_hubspot_does_not_answer_keeps_no_other_from_its_turn() {
    let portal = Portal::quick();
    portal.fill("contacts", 10);
    let scope = "crm.objects.deals.read".to_owned();
    portal.stand().settings_mut().denied_scopes.insert(scope);
    let settings = "[schedule]\npoll = \"1s\"\n";
    let mut site = Site::with(&portal, settings, "[objects.contacts]\n[objects.deals]\n");
    site.start();
    site.until_sql("SELECT backfill = 'done' FROM sync_status WHERE object = 'contacts'");
    site.until_sql("SELECT code = 'missing-scope' FROM sync_status WHERE object = 'deals'");
    let last =
        "SELECT state || ' ' || coalesce(result, '') FROM sync_commands ORDER BY id DESC LIMIT 1";
    for command in [
        "'refetch', 'deals', 'since 10m'",
        "'backfill', 'deals', NULL",
        "'poll', NULL, NULL",
    ] {
        tell(&site, command);
        site.until_sql(
            "SELECT count(*) = 0 FROM sync_commands WHERE state IN ('waiting', 'running')",
        );
        let told = site.text(last).expect("an answer");
        assert!(
            told.starts_with("failed deals can't be read now: `hubsyncd status` says why"),
            "{told}"
        );
    }
    // HubSpot answers nobody: what stops the daemon is carried out all the same.
    portal.script(FaultKind::Unavailable, 1_000, "/contacts/search");
    tell(&site, "'refetch', 'contacts', 'since 10m'");
    site.until_sql("SELECT count(*) FROM sync_commands WHERE state = 'running' AND result LIKE 'HubSpot is asked again later: %'");
    tell(&site, "'pause', NULL, 'push'");
    site.until_sql("SELECT count(*) FROM sync_commands WHERE command = 'pause' AND state = 'done'");
    portal.stand().faults_mut().scripts.clear();
    site.until_sql("SELECT count(*) = 0 FROM sync_commands WHERE state IN ('waiting', 'running')");
    // One whose object leaves the file while it runs was carried out in part.
    portal.script(FaultKind::Unavailable, 1_000, "/contacts/search");
    tell(&site, "'refetch', 'contacts', 'since 20m'");
    site.until_sql("SELECT count(*) FROM sync_commands WHERE state = 'running'");
    site.configure(&portal, settings, "[objects.deals]\n");
    site.until_sql("SELECT count(*) = 0 FROM sync_commands WHERE state IN ('waiting', 'running')");
    assert_eq!(
        lines(
            &site,
            "SELECT state || ' ' || code FROM sync_commands ORDER BY id DESC LIMIT 1"
        ),
        ["failed command-object"]
    );
    portal.stand().faults_mut().scripts.clear();
    assert_eq!(site.stop(), 0);
}
