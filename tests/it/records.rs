//! Each record's state and the quota, as rows: `sync_records` and `sync_quota`.

use hubsyncd::simulator::settings::Settings;
use serde_json::Value;

use crate::calls::lines;
use crate::daemon::Site;
use crate::portal::Portal;

/// Where the sums of `sync_records` differ from what `sync_status` says.
const DIFFERENT: &str = "SELECT s.object FROM sync_status AS s WHERE
     s.\"rows\" <> (SELECT count(*) FROM sync_records AS r WHERE r.object = s.object)
     OR s.in_sync <> (SELECT count(*) FROM sync_records AS r WHERE r.object = s.object AND r.state = 'in_sync')
     OR s.waiting <> (SELECT count(*) FROM sync_records AS r WHERE r.object = s.object AND r.state = 'waiting')
     OR s.failing <> (SELECT count(*) FROM sync_records AS r WHERE r.object = s.object AND r.state = 'failing')
     OR s.excluded <> (SELECT count(*) FROM sync_records AS r WHERE r.object = s.object AND r.state = 'excluded')";

#[test]
fn each_record_says_what_waits_of_it_and_the_sums_are_those_of_the_status() {
    let portal = Portal::quick();
    portal.fill("contacts", 5);
    portal.fill("companies", 2);
    let objects = format!(
        "{}[objects.companies.properties]\nname = \"name\"\n\
         [associations]\ncontacts_companies = {{ from = \"contacts\", to = \"companies\" }}\n",
        crate::daemon::CONTACTS
    );
    let site = Site::with(&portal, "[conflicts]\npolicy = \"manual\"\n", &objects);
    site.once();
    site.execute("UPDATE contacts SET city = 'Lima' WHERE local_id = 1");
    site.once();
    // Without a daemon: what programs write waits.
    site.execute("UPDATE contacts SET city = 'Rome', first_name = 'Ann' WHERE local_id = 2");
    site.execute("INSERT INTO contacts (email) VALUES ('no address')");
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('contacts', 3, 'companies', 1)",
    );
    let row = |id: i64| {
        lines(
            &site,
            &format!(
                "SELECT state || ' ' || coalesce(pending, '-') || ' ' || conflicts || ' ' || attempts || ' ' ||
                        coalesce(code, '-') || ' ' || (changed_at IS NOT NULL) || (pushed_at IS NOT NULL)
                 FROM sync_records WHERE object = 'contacts' AND local_id = {id}"
            ),
        )
    };
    assert_eq!(row(1), ["in_sync - 0 0 - 11"]);
    assert_eq!(row(2), ["waiting city,first_name 0 0 - 10"]);
    assert_eq!(row(3), ["in_sync contacts_companies 0 0 - 00"]);
    assert_eq!(row(4), ["in_sync - 0 0 - 00"]);
    assert_eq!(row(6), ["waiting email 0 0 - 10"]);
    assert_eq!(lines(&site, DIFFERENT), Vec::<String>::new());
    let id = site.number("SELECT hs_id FROM contacts WHERE local_id = 2");
    portal.edit(id.unsigned_abs(), &[("city", "Oslo")]);
    site.once();
    assert_eq!(row(2), ["failing - 1 0 - 11"]);
    assert_eq!(row(6), ["failing email 0 1 invalid-email 10"]);
    assert_eq!(lines(&site, DIFFERENT), Vec::<String>::new());
    assert_eq!(
        site.number(
            "SELECT count(*) FROM sync_records WHERE object = 'companies' AND state = 'in_sync'"
        ),
        2
    );
}

#[test]
fn the_quota_says_what_others_use_and_when_the_day_is_spent() {
    let portal = Portal::with(Settings {
        daily_limit: 200,
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        ..Settings::default()
    });
    let site = Site::with(
        &portal,
        "[limits]\nper_day = 200\n",
        crate::daemon::CONTACTS,
    );
    site.once();
    let ours = portal.stand().request_log().len() as i64;
    let quota = |column: &str| site.number(&format!("SELECT {column} FROM sync_quota"));
    assert_eq!(
        (
            quota("daily_used"),
            quota("used_by_others"),
            quota("per_hour")
        ),
        (ours, 0, ours)
    );
    assert_eq!(
        (
            quota("burst_limit"),
            quota("CAST(search_limit AS INTEGER)"),
            quota("daily_limit")
        ),
        (190, 5, 200)
    );
    for _ in 0..60 {
        portal.call("GET", "/crm/v3/objects/contacts", &Value::Null);
    }
    site.once();
    let all = portal.stand().request_log().len() as i64;
    assert_eq!(
        (
            quota("daily_used"),
            quota("used_by_others"),
            quota("per_hour")
        ),
        (all, 60, all - 60)
    );
    assert_eq!(site.number("SELECT daily_used FROM sync_health"), all);
    // By the last hour's rate of all, unless the day ends before.
    let seconds = (200 - all) * 3600 / all;
    let forecast = format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+{seconds} seconds')");
    let is_told = format!(
        "CASE WHEN {forecast} < resets_at THEN abs(strftime('%s', empty_at) - strftime('%s', {forecast})) <= 5
              ELSE empty_at IS NULL END"
    );
    assert_eq!(quota(&is_told), 1);
}
