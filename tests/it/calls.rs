//! What was asked of HubSpot, as rows: `sync_calls`, and `sync_requests` beside it.

use hubsyncd::simulator::faults::FaultKind;

use crate::codes::produces;
use crate::daemon::Site;
use crate::portal::Portal;

/// What a query says, a row a line.
pub(crate) fn lines(site: &Site, sql: &str) -> Vec<String> {
    let program = site.program();
    let mut statement = program.prepare(sql).expect(sql);
    let rows = statement.query_map([], |row| row.get(0)).expect(sql);
    rows.collect::<Result<_, _>>().expect(sql)
}

/// How many calls there are, which must be as many as are counted by the hour.
fn calls(site: &Site) -> i64 {
    let counted = site.number("SELECT sum(requests) FROM sync_requests");
    assert_eq!(site.number("SELECT count(*) FROM sync_calls"), counted);
    counted
}

#[test]
fn each_attempt_has_a_row_with_its_template_and_its_run() {
    let portal = Portal::quick();
    portal.fill("contacts", 130);
    let site = Site::new(&portal);
    portal.script(FaultKind::AnswerLost, 1, "/contacts");
    site.once();
    // The simulator's own log counts what arrived.
    assert_eq!(calls(&site), portal.stand().request_log().len() as i64);
    let listed = "SELECT method || ' ' || coalesce(status, 'none') || ' ' || attempt || ' ' || coalesce(records, 0) || ' ' ||
                         coalesce(c.code, 'fine') || ' ' || coalesce(r.kind, 'no run')
                  FROM sync_calls AS c LEFT JOIN sync_runs AS r ON r.id = c.run_id
                  WHERE class = 'list' ORDER BY c.id";
    let lost = "GET none 1 0 connection-lost backfill";
    let pages = ["GET 200 2 100 fine backfill", "GET 200 1 30 fine backfill"];
    let first = lines(&site, listed);
    // The first request of contacts is the one whose answer went, whichever it is.
    let rest = first.iter().filter(|line| *line != lost);
    let rest: Vec<String> = rest.map(|line| line.replace(" 2 100", " 1 100")).collect();
    assert_eq!(rest, pages.map(|line| line.replace(" 2 100", " 1 100")));
    let first_lost = format!(
        "SELECT count(*) FROM sync_calls WHERE status IS NULL AND code = '{}' AND attempt = 1",
        produces("connection-lost")
    );
    assert_eq!(site.number(&first_lost), 1);
    for path in lines(&site, "SELECT DISTINCT path FROM sync_calls") {
        assert!(
            path.starts_with('/') && !path.contains(['?', '@']),
            "{path}"
        );
    }
    // A run has the calls that it counts.
    let other = "SELECT count(*) FROM sync_runs AS r
                 WHERE kind IN ('backfill', 'poll') AND requests > (SELECT count(*) FROM sync_calls WHERE run_id = r.id)";
    assert_eq!(
        site.number(other),
        0,
        "{:?}",
        lines(
            &site,
            "SELECT path || ' ' || coalesce(run_id, 0) FROM sync_calls"
        )
    );
    let left = "SELECT count(*) FROM sync_calls WHERE burst_left IS NOT NULL AND day_left IS NOT NULL AND correlation_id IS NOT NULL";
    assert!(site.number(left) > 3);
    // Commands are told as well.
    let before = calls(&site);
    let output = site.run(&["check", "--online"]);
    assert!(output.status.success());
    assert!(calls(&site) > before);
    assert_eq!(calls(&site), portal.stand().request_log().len() as i64);
}

#[test]
fn a_batch_that_came_to_nothing_is_a_run_with_its_calls() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    site.start_and_settle();
    let runs = "SELECT kind || ' ' || coalesce(code, 'fine') || ' ' || seen || ' ' || changed || ' ' || (finished_at IS NOT NULL) || ' ' ||
                       (error IS NOT NULL) || ' ' || (SELECT count(*) FROM sync_calls AS c WHERE c.run_id = r.id AND c.class = 'update')
                FROM sync_runs AS r WHERE kind = 'push' ORDER BY id";
    // HubSpot fails twice; then it carries it out.
    portal.script(FaultKind::InternalError, 2, "contacts/batch/update");
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_pushed();
    assert_eq!(portal.value(id, "city").as_deref(), Some("Lima"));
    assert_eq!(
        lines(&site, runs),
        ["push internal-error 2 0 1 1 2", "push fine 1 1 1 0 1"]
    );
    let unsigned = "SELECT count(*) FROM sync_calls WHERE class = 'update' AND run_id IS NULL";
    assert_eq!(site.number(unsigned), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn an_entry_that_hubspot_refused_names_the_call_that_said_so() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    site.once();
    site.execute("INSERT INTO contacts (email, city) VALUES ('no address', 'Rome')");
    site.once();
    let entry = "SELECT c.class || ' ' || c.records || ' ' || o.code
                 FROM sync_outbox AS o JOIN sync_calls AS c USING (correlation_id)";
    assert_eq!(lines(&site, entry), ["upsert 1 invalid-email"]);
    let listed = site.run(&["outbox", "list", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).expect("JSON");
    let named = site.text("SELECT correlation_id FROM sync_outbox");
    assert!(named.is_some());
    assert_eq!(listed[0]["correlation_id"].as_str(), named.as_deref());
    let refused = site
        .program()
        .execute("DELETE FROM sync_calls", [])
        .expect_err("it is kept by hubsyncd");
    assert!(
        refused
            .to_string()
            .contains("sync_calls is kept by hubsyncd"),
        "{refused}"
    );
}
