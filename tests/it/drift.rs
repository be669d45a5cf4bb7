//! What people change in the portal's settings while the daemon runs: the one property that it is about says what to do, everything
//! else goes on, and it heals by itself.

use std::process::Command;
use std::time::Duration;

use hubsyncd::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::codes::{produces, says};
use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;
use crate::reads::{archive_property, call, make_property};

const OFTEN: &str = "[schedule]\npoll = \"1s\"\nreference = \"1s\"\n";

/// The property that all of this happens to. HubSpot says of a custom property with a name of this length who may write it.
const COLOUR: &str = "colour";

const PLAIN: (&str, &str) = ("string", "text");
const OPTIONS: (&str, &str) = ("enumeration", "select");

fn set_options(portal: &Portal, options: &[(&str, &str)]) {
    let option = |(value, label): &(&str, &str)| json!({"value": value, "label": label});
    let options: Vec<Value> = options.iter().map(option).collect();
    let path = format!("/crm/properties/2026-03/contacts/{COLOUR}");
    call(
        portal,
        "PATCH",
        &path,
        &json!({"label": "Colour", "options": options}),
    );
}

/// A portal with a contact, and a daemon that has read it.
fn loaded(extra: &str) -> (Portal, u64, Site) {
    let portal = Portal::quick();
    make_property(&portal, "contacts", COLOUR, false);
    let id = portal.contact("ann@example.com");
    portal.edit(id, &[(COLOUR, "red"), ("city", "Oslo")]);
    let objects = format!("[objects.contacts]\n{extra}{CONTACTS}colour = \"colour\"\n").replacen(
        "\n[objects.contacts.properties]",
        "[objects.contacts.properties]",
        1,
    );
    let mut site = Site::with(&portal, OFTEN, &objects);
    site.start_and_settle();
    (portal, id, site)
}

fn it_is_degraded(site: &Site) {
    site.until_sql(&format!(
        "SELECT state = 'degraded' FROM sync_fields WHERE property = '{COLOUR}'"
    ));
}

/// The rest of the record goes on, both ways.
fn the_rest_goes_on(portal: &Portal, id: u64, site: &Site, city: &str) {
    site.execute(&format!("UPDATE contacts SET city = '{city}'"));
    eventually("the city in HubSpot", || {
        portal.value(id, "city").as_deref() == Some(city)
    });
    portal.edit(id, &[("lastname", city)]);
    site.until_sql(&format!(
        "SELECT count(*) FROM contacts WHERE last_name = '{city}'"
    ));
}

#[test]
fn a_column_keeps_its_labels_while_its_property_is_gone() {
    let portal = Portal::quick();
    make_property(&portal, "contacts", COLOUR, false);
    let id = portal.contact("ann@example.com");
    portal.stand().redefine("contacts", COLOUR, OPTIONS, false);
    set_options(&portal, &[("red", "Crimson")]);
    portal.edit(id, &[(COLOUR, "red")]);
    let mut site = Site::with(&portal, OFTEN, &format!("{CONTACTS}colour = \"colour\"\n"));
    site.start_and_settle();
    let label = "SELECT colour_label FROM contacts_labels";
    assert_eq!(site.text(label).as_deref(), Some("Crimson"));
    archive_property(&portal, "contacts", COLOUR);
    it_is_degraded(&site);
    assert_eq!(site.text(label).as_deref(), Some("Crimson"));
    let kind = "SELECT type || ' ' || code FROM sync_fields WHERE property = 'colour'";
    assert_eq!(
        site.text(kind).as_deref(),
        Some("enumeration unknown-property")
    );
}

#[test]
fn a_property_that_is_gone_or_that_nobody_may_write_degrades_alone_and_heals_by_itself() {
    struct Kind {
        drift: fn(&Portal),
        heal: fn(&Portal),
        problem: &'static str,
        code: &'static str,
        is_pulled_on: bool,
    }
    let kinds = [
        Kind {
            drift: |portal| archive_property(portal, "contacts", COLOUR),
            heal: |portal| make_property(portal, "contacts", COLOUR, false),
            problem: "HubSpot has no property `colour` on contacts",
            code: "unknown-property",
            is_pulled_on: false,
        },
        Kind {
            drift: |portal| portal.stand().redefine("contacts", COLOUR, PLAIN, true),
            heal: |portal| portal.stand().redefine("contacts", COLOUR, PLAIN, false),
            problem: "HubSpot lets nobody write `colour` any more",
            code: "read-only-property",
            is_pulled_on: true,
        },
    ];
    for kind in kinds {
        let (portal, id, mut site) = loaded("");
        (kind.drift)(&portal);
        it_is_degraded(&site);
        let told = "SELECT problem || ': ' || hint FROM sync_fields WHERE state = 'degraded'";
        let told = site.text(told).expect("a sentence");
        assert!(told.starts_with(kind.problem), "{told}");
        let code = "SELECT code FROM sync_fields WHERE state = 'degraded'";
        assert_eq!(site.text(code).as_deref(), Some(kind.code));
        assert_eq!(
            site.text("SELECT state FROM sync_health").as_deref(),
            Some("degraded")
        );
        the_rest_goes_on(&portal, id, &site, "Lima");
        if kind.is_pulled_on {
            portal.stand().redefine("contacts", COLOUR, PLAIN, false);
            portal.edit(id, &[(COLOUR, "green")]);
            portal.stand().redefine("contacts", COLOUR, PLAIN, true);
            site.until_sql("SELECT count(*) FROM contacts WHERE colour = 'green'");
        }
        // A write waits; what else is written of the record goes.
        site.execute("UPDATE contacts SET colour = 'blue', city = 'Rome'");
        eventually("Rome in HubSpot", || {
            portal.value(id, "city").as_deref() == Some("Rome")
        });
        // A new row's record is made without it.
        site.execute("INSERT INTO contacts (email, colour) VALUES ('new@example.com', 'black')");
        site.until_sql("SELECT hs_id IS NOT NULL FROM contacts WHERE email = 'new@example.com'");
        site.kill();
        site.start_and_load();
        the_rest_goes_on(&portal, id, &site, "Bonn");
        let waiting = "SELECT count(*) FROM sync_outbox AS e JOIN sync_outbox_fields AS f ON f.outbox_id = e.id
             WHERE f.property = 'colour' AND e.state = 'pending'";
        assert_eq!(site.number(waiting), 2, "{}", kind.problem);
        let clock = SystemClock::new();
        let healed = clock.monotonic();
        (kind.heal)(&portal);
        site.until_sql("SELECT state = 'active' FROM sync_fields WHERE property = 'colour'");
        let took = clock.monotonic().saturating_sub(healed);
        assert!(took < Duration::from_secs(15), "{took:?}");
        site.until_pushed();
        assert_eq!(
            portal.value(id, COLOUR).as_deref(),
            Some("blue"),
            "{}",
            kind.problem
        );
        assert_eq!(portal.count_with(COLOUR, "black"), 1);
        assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
        assert_eq!(portal.contacts(), 2);
        let degraded = "SELECT count(*) FROM sync_fields WHERE state = 'degraded'";
        assert_eq!(site.number(degraded), 0);
        assert_eq!(site.number("SELECT count(code) FROM sync_fields"), 0);
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn a_property_of_another_type_is_degraded_keeps_its_values_and_heals_or_is_taken_by_the_file() {
    let (portal, id, mut site) = loaded("");
    portal.edit(id, &[(COLOUR, "7")]);
    site.until_sql("SELECT count(*) FROM contacts WHERE colour = '7'");
    let number = || {
        portal
            .stand()
            .redefine("contacts", COLOUR, ("number", "number"), false);
    };
    number();
    it_is_degraded(&site);
    assert_eq!(
        site.text("SELECT code FROM sync_fields WHERE property = 'colour'")
            .as_deref(),
        Some(produces("type-change"))
    );
    the_rest_goes_on(&portal, id, &site, "Lima");
    // What is written meanwhile waits, and goes once the type is what it was.
    site.execute("UPDATE contacts SET colour = '8'");
    site.until_sql("SELECT count(*) FROM sync_outbox_fields WHERE property = 'colour'");
    portal.stand().redefine("contacts", COLOUR, PLAIN, false);
    site.until_sql(
        "SELECT type = 'string' AND state = 'active' FROM sync_fields WHERE property = 'colour'",
    );
    eventually("8 in HubSpot", || {
        portal.value(id, COLOUR).as_deref() == Some("8")
    });
    site.until_pushed();
    // Changed for good, and the file takes it.
    number();
    it_is_degraded(&site);
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE colour = '8'"),
        1
    );
    assert_eq!(site.stop(), 0);
    site.start_and_load();
    it_is_degraded(&site);
    assert_eq!(site.stop(), 0);
    let taken = format!("{CONTACTS}colour = {{ column = \"colour\", type = \"number\" }}\n");
    site.configure(&portal, OFTEN, &taken);
    site.start_and_load();
    site.until_sql(
        "SELECT type = 'number' AND state = 'active' FROM sync_fields WHERE property = 'colour'",
    );
    assert_eq!(
        site.number("SELECT count(*) FROM contacts WHERE typeof(colour) = 'real' AND colour = 8"),
        1
    );
    site.execute("UPDATE contacts SET colour = 8.5");
    site.until_pushed();
    assert_eq!(portal.value(id, COLOUR).as_deref(), Some("8.5"));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_type_that_changes_while_a_value_waits_holds_that_value_alone_until_it_is_set_back() {
    let (portal, id, mut site) = loaded("");
    assert_eq!(site.stop(), 0);
    site.execute("UPDATE contacts SET colour = 'gold'");
    portal
        .stand()
        .redefine("contacts", COLOUR, ("number", "number"), false);
    site.start_and_load();
    it_is_degraded(&site);
    the_rest_goes_on(&portal, id, &site, "Lima");
    assert_eq!(portal.value(id, COLOUR).as_deref(), Some("red"));
    portal.stand().redefine("contacts", COLOUR, PLAIN, false);
    site.until_pushed();
    assert_eq!(portal.value(id, COLOUR).as_deref(), Some("gold"));
    assert_eq!(site.number("SELECT count(*) FROM sync_conflicts"), 0);
    assert_eq!(site.stop(), 0);
}

#[test]
fn new_labels_and_options_are_shown_and_an_option_that_is_gone_holds_up_its_own_write_until_it_is_back()
 {
    let (portal, id, mut site) = loaded("");
    portal.stand().redefine("contacts", COLOUR, OPTIONS, false);
    let both: &[_] = &[("red", "Red"), ("blue", "Blue")];
    set_options(&portal, both);
    let label = |expected: &str| {
        site.until_sql(&format!(
            "SELECT count(*) FROM contacts_labels WHERE colour_label = '{expected}'"
        ));
    };
    label("Red");
    site.until_sql(
        "SELECT label = 'Colour' FROM properties WHERE name = 'colour' AND object = 'contacts'",
    );
    set_options(&portal, &[("red", "Rouge"), ("blue", "Blue")]);
    label("Rouge");
    set_options(&portal, &[("red", "Rouge")]);
    site.until_sql("SELECT options NOT LIKE '%blue%' FROM properties WHERE name = 'colour' AND object = 'contacts'");
    let degraded = "SELECT count(*) FROM sync_fields WHERE state = 'degraded'";
    assert_eq!(site.number(degraded), 0, "no row holds it");
    let writes = portal.stand().write_log().len();
    site.execute("UPDATE contacts SET colour = 'blue'");
    it_is_degraded(&site);
    let told = "SELECT code || ': ' || problem FROM sync_fields WHERE state = 'degraded'";
    assert_eq!(
        site.text(told).as_deref(),
        Some(
            "option-missing: HubSpot has no option `blue` of `colour` any more, and 1 row holds it"
        )
    );
    assert_eq!(
        portal.stand().write_log().len(),
        writes,
        "no request is spent on it"
    );
    the_rest_goes_on(&portal, id, &site, "Lima");
    let told = site.run(&["explain", "--json", "contacts", "1"]);
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let what = told["next"]["what"].as_str().expect("words");
    assert!(
        what.starts_with("HubSpot has what its fields need again"),
        "{what}"
    );
    // A new record is made without it.
    site.execute("INSERT INTO contacts (email, colour) VALUES ('new@example.com', 'blue')");
    site.until_sql("SELECT hs_id IS NOT NULL FROM contacts WHERE email = 'new@example.com'");
    assert_eq!(
        site.number("SELECT count(*) FROM sync_outbox WHERE state = 'pending'"),
        2
    );
    let plan = site.run(&["plan", "--json"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).expect("JSON");
    for entry in plan.as_array().expect("a list") {
        let kept = &entry["kept"][0];
        assert_eq!(
            (&entry["fields"], &kept["local"], &kept["why"]),
            (&json!([]), &json!("blue"), &json!("degraded")),
            "{plan:#}"
        );
    }
    set_options(&portal, both);
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    eventually("blue in HubSpot", || {
        portal.value(id, COLOUR).as_deref() == Some("blue")
    });
    label("Blue");
    assert_eq!(portal.count_with(COLOUR, "blue"), 2);
    assert_eq!(site.number(degraded), 0);
    // What HubSpot takes away while records hold it is told too, and a value that it has ends that.
    set_options(&portal, &[("red", "Rouge")]);
    it_is_degraded(&site);
    site.execute("UPDATE contacts SET colour = 'red'");
    site.until_sql(&format!("SELECT ({degraded}) = 0"));
    site.until_pushed();
    assert_eq!(portal.count_with(COLOUR, "red"), 2);
    // All of them at once are gone no less than one.
    set_options(&portal, &[]);
    it_is_degraded(&site);
    let problem = "SELECT code || ': ' || problem FROM sync_fields WHERE state = 'degraded'";
    assert_eq!(
        site.text(problem).as_deref(),
        Some(
            "option-missing: HubSpot has no option `red` of `colour` any more, and 2 rows hold it"
        )
    );
    let list = site.run(&["outbox", "list"]);
    assert!(list.stdout.starts_with(b"0 entries"), "{list:?}");
    let writes = portal.stand().write_log().len();
    site.execute("UPDATE contacts SET colour = 'blue' WHERE local_id = 1");
    site.until_sql(&format!(
        "SELECT count(*) FROM sync_outbox WHERE code = '{}'",
        produces("nothing-writable")
    ));
    let list = site.run(&["outbox", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(
        list.contains(": nothing that waits of the row can be written in HubSpot at present: SELECT problem, hint FROM sync_fields says why [nothing-writable]\n"),
        "{list}"
    );
    assert_eq!(portal.stand().write_log().len(), writes);
    set_options(&portal, both);
    site.until_sql(&format!("SELECT ({degraded}) = 0"));
    site.until_pushed();
    assert_eq!(portal.count_with(COLOUR, "blue"), 1);
    assert_eq!(site.stop(), 0);
}

#[test]
fn stages_and_pipelines_that_are_renamed_or_gone_are_known_and_a_write_of_one_goes_when_it_is_back()
{
    let portal = Portal::quick();
    let id = portal.deal();
    let mut site = Site::with(&portal, OFTEN, "[objects.deals]\n");
    site.start_and_settle();
    site.until_sql("SELECT count(*) FROM deals_labels WHERE dealstage_label = 'Qualified To Buy'");
    let set = |change: fn(&mut hubsyncd::simulator::settings::Settings)| {
        change(portal.stand().settings_mut());
    };
    set(|settings| {
        settings
            .stage_labels
            .insert("qualifiedtobuy".to_owned(), "Keen".to_owned());
        settings
            .stage_labels
            .insert("default".to_owned(), "Big deals".to_owned());
    });
    site.until_sql("SELECT count(*) FROM deals_labels WHERE dealstage_label = 'Keen' AND pipeline_label = 'Big deals'");
    set(|settings| {
        settings.deleted_stages.insert("contractsent".to_owned());
    });
    site.until_sql("SELECT archived FROM pipeline_stages WHERE id = 'contractsent'");
    let writes = portal.stand().write_log().len();
    site.execute("UPDATE deals SET dealstage = 'contractsent'");
    site.until_sql(
        "SELECT count(*) FROM sync_outbox WHERE state = 'pending' AND code = 'nothing-writable'",
    );
    assert_eq!(portal.stand().write_log().len(), writes);
    let stage = "SELECT state || coalesce(' ' || code || ': ' || problem, '') FROM sync_fields WHERE property = 'dealstage'";
    let told = "degraded unknown-stage: HubSpot has no stage `contractsent` of `dealstage` any more, and 1 row holds it";
    site.until_sql(&format!("SELECT ({stage}) = '{told}'"));
    // Another record goes on, and so do this one's other fields.
    site.execute("INSERT INTO deals (dealname) VALUES ('Small')");
    site.until_sql("SELECT hs_id IS NOT NULL FROM deals WHERE dealname = 'Small'");
    site.execute(
        "UPDATE deals SET amount = 250, pipeline = 'default' WHERE dealstage = 'contractsent'",
    );
    eventually("the amount in HubSpot", || {
        let stand = portal.stand();
        let record = stand.record("deals", id).expect("there");
        record.value("amount") == Some("250")
    });
    // A new record is made nowhere else than where its row says.
    site.execute("INSERT INTO deals (dealname, pipeline, dealstage) VALUES ('Late', 'default', 'contractsent')");
    site.until_sql(
        "SELECT count(*) = 2 FROM sync_outbox WHERE state = 'pending' AND code = 'nothing-writable'",
    );
    let plan = site.run(&["plan", "--json"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).expect("JSON");
    for entry in plan.as_array().expect("a list") {
        let kept = entry["kept"].as_array().expect("a list");
        let is_it = |kept: &Value| kept["property"] == "dealstage" && kept["why"] == "degraded";
        assert!(kept.iter().any(is_it), "{plan:#}");
    }
    // `once` does not wait for what HubSpot has to have first.
    assert_eq!(site.stop(), 0);
    let once = site.run(&["once", "--timeout", "20s"]);
    assert_eq!(once.status.code(), Some(1));
    site.start_and_load();
    assert_eq!(portal.stand().count("deals"), 2);
    set(|settings| settings.deleted_stages.clear());
    site.until_sql("SELECT count(*) = 0 FROM sync_outbox");
    assert_eq!(portal.stand().count("deals"), 3);
    let value = |property: &str| {
        let stand = portal.stand();
        let record = stand.record("deals", id).expect("there");
        record.value(property).map(str::to_owned)
    };
    assert_eq!(value("dealstage").as_deref(), Some("contractsent"));
    site.until_sql(&format!("SELECT ({stage}) = 'active'"));
    assert_eq!(
        site.number("SELECT archived FROM pipeline_stages WHERE id = 'contractsent'"),
        0
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_property_that_hubspot_comes_to_demand_is_named_where_a_new_row_lacks_it_and_the_others_go() {
    let (portal, id, mut site) = loaded("");
    let demanded = [("contacts".to_owned(), vec![COLOUR.to_owned()])];
    portal.stand().settings_mut().required_in_2026_09 = demanded.into();
    site.execute("INSERT INTO contacts (email, colour) VALUES ('full@example.com', 'red')");
    site.execute("INSERT INTO contacts (email) VALUES ('bare@example.com')");
    site.until_sql("SELECT hs_id IS NOT NULL FROM contacts WHERE email = 'full@example.com'");
    site.until_sql(
        "SELECT hs_id IS NOT NULL OR EXISTS (SELECT 1 FROM sync_outbox AS e WHERE e.local_id = c.local_id AND e.code = 'required-property')
         FROM contacts AS c WHERE email = 'bare@example.com'",
    );
    the_rest_goes_on(&portal, id, &site, "Lima");
    // The value that was missing sends it.
    site.execute("UPDATE contacts SET colour = 'blue' WHERE email = 'bare@example.com'");
    site.until_pushed();
    assert_eq!(portal.count_with(COLOUR, "blue"), 1);
    assert_eq!(site.stop(), 0);
}

#[test]
fn with_strict_options_a_value_that_is_none_is_refused_where_it_is_written_until_hubspot_has_it() {
    let (portal, id, mut site) = loaded("strict_options = true\n");
    // Without options anything goes.
    site.execute("UPDATE contacts SET colour = 'pink'");
    site.until_pushed();
    let refused = |sql: &str| {
        // A client as old as the system's.
        let run = Command::new("sqlite3")
            .args(["-cmd", ".timeout 5000"])
            .arg(site.path("crm.db"))
            .arg(sql)
            .output()
            .expect("sqlite3 runs");
        let told = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success(), "{sql} is taken");
        assert!(
            told.contains("contacts.colour takes HubSpot's options alone")
                && says(&told, produces("invalid-option")),
            "{told}"
        );
    };
    for (kind, taken) in [(OPTIONS, "blue"), (("enumeration", "checkbox"), "red;blue")] {
        portal.stand().redefine("contacts", COLOUR, kind, false);
        set_options(&portal, &[("red", "Red"), ("blue", "Blue")]);
        let known = format!(
            "SELECT p.options IS NOT NULL AND p.field_type = '{}' FROM properties AS p WHERE p.object = 'contacts' AND p.name = 'colour'",
            kind.1
        );
        site.until_sql(&known);
        refused("UPDATE contacts SET colour = 'green'");
        refused("UPDATE contacts SET colour = 'red;green'");
        refused("INSERT INTO contacts (email, colour) VALUES ('b@example.com', 'green')");
        // What is there already may be written again, and nothing too.
        site.execute("UPDATE contacts SET colour = colour, city = 'Rome'");
        site.execute("REPLACE INTO contacts (local_id, hs_id, email, colour) SELECT local_id, hs_id, email, colour FROM contacts");
        site.execute("UPDATE contacts SET colour = NULL");
        site.execute(&format!("UPDATE contacts SET colour = '{taken}'"));
        site.until_pushed();
        assert_eq!(portal.value(id, COLOUR).as_deref(), Some(taken));
    }
    set_options(
        &portal,
        &[("red", "Red"), ("blue", "Blue"), ("green", "Green")],
    );
    site.until_sql("SELECT options LIKE '%green%' FROM properties WHERE object = 'contacts' AND name = 'colour'");
    site.execute("UPDATE contacts SET colour = 'green'");
    site.until_pushed();
    assert_eq!(portal.value(id, COLOUR).as_deref(), Some("green"));
    assert_eq!(site.stop(), 0);
}

/// A decision is written past the triggers that refuse a program's value.
#[test]
fn a_decided_value_is_held_to_the_rules_of_a_program_s_write() {
    let (portal, id, mut site) = loaded("strict_options = true\nconflict = \"manual\"\n");
    portal.stand().redefine("contacts", COLOUR, OPTIONS, false);
    set_options(
        &portal,
        &[("red", "Red"), ("blue", "Blue"), ("grey", "Grey")],
    );
    site.until_sql("SELECT options LIKE '%grey%' FROM properties WHERE object = 'contacts' AND name = 'colour'");
    site.execute("UPDATE contacts SET colour = 'red'");
    site.until_pushed();
    assert_eq!(site.stop(), 0);
    site.execute("UPDATE contacts SET colour = 'blue'");
    portal.edit(id, &[(COLOUR, "grey")]);
    site.start_and_load();
    let open = "SELECT id FROM sync_conflicts WHERE property = 'colour' AND resolved_at IS NULL";
    site.until_sql(open);
    let conflict = site.number(open).to_string();
    let refused = site.run(&["conflicts", "resolve", &conflict, "--value", "green"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("contacts.colour takes HubSpot's options alone")
            && says(&told, produces("invalid-option")),
        "{told}"
    );
    site.execute("UPDATE sync_conflicts SET resolution = 'value:green' WHERE resolved_at IS NULL");
    site.until_sql(
        "SELECT resolution IS NULL AND reason LIKE 'contacts.colour takes HubSpot''s options alone%[invalid-option]'
         FROM sync_conflicts WHERE resolved_at IS NULL",
    );
    assert_eq!(
        site.text("SELECT colour FROM contacts").as_deref(),
        Some("blue")
    );
    let taken = site.run(&["conflicts", "resolve", &conflict, "--value", "red"]);
    assert!(
        taken.status.success(),
        "{}",
        String::from_utf8_lossy(&taken.stderr)
    );
    site.until_sql("SELECT colour = 'red' FROM contacts");
    site.until_pushed();
    assert_eq!(portal.value(id, COLOUR).as_deref(), Some("red"));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_word_that_was_given_back_while_its_property_was_away_is_not_the_reason_once_it_is_back() {
    let (portal, id, mut site) = loaded("conflict = \"manual\"\n");
    assert_eq!(site.stop(), 0);
    site.execute("UPDATE contacts SET colour = 'blue'");
    portal.edit(id, &[(COLOUR, "grey")]);
    site.start_and_load();
    let reason = |said: &str| {
        format!(
            "SELECT reason LIKE '{said}%' FROM sync_conflicts WHERE property = 'colour' AND resolved_at IS NULL"
        )
    };
    site.until_sql(&reason("waits for a decision"));
    archive_property(&portal, "contacts", COLOUR);
    it_is_degraded(&site);
    site.execute("UPDATE sync_conflicts SET resolution = 'local' WHERE resolved_at IS NULL");
    site.until_sql(&reason("`colour` is not synced at the moment"));
    make_property(&portal, "contacts", COLOUR, false);
    site.until_sql("SELECT state = 'active' FROM sync_fields WHERE property = 'colour'");
    site.until_sql(&reason("waits for a decision"));
    site.execute("UPDATE sync_conflicts SET resolution = 'local' WHERE resolved_at IS NULL");
    eventually("our value", || {
        portal.value(id, COLOUR).as_deref() == Some("blue")
    });
    assert_eq!(site.stop(), 0);
}
