//! Reference data, and stages that must be their pipeline's.

use hubsyncd::simulator::settings::Settings;

use crate::codes::produces;
use crate::daemon::{Site, eventually};
use crate::portal::Portal;

#[test]
fn owners_pipelines_and_stages_of_every_object_that_has_them_are_there() {
    let portal = Portal::quick();
    let objects = "[objects.contacts]\n[objects.deals]\n[objects.tickets]\n[objects.leads]\n";
    let site = Site::with(&portal, "", objects);
    site.once();
    assert!(site.number("SELECT count(*) FROM owners WHERE archived") > 0);
    assert!(site.number("SELECT count(*) FROM owners WHERE NOT archived") > 0);
    let having =
        "SELECT group_concat(object) FROM (SELECT DISTINCT object FROM pipelines ORDER BY object)";
    assert_eq!(site.text(having).as_deref(), Some("deals,leads,tickets"));
    let having = "SELECT group_concat(object) FROM (SELECT DISTINCT object FROM pipeline_stages ORDER BY object)";
    assert_eq!(site.text(having).as_deref(), Some("deals,leads,tickets"));
    let having = "SELECT count(DISTINCT object) FROM properties";
    assert_eq!(site.number(having), 4);
}

#[test]
fn a_stage_of_another_pipeline_is_refused_before_it_is_sent() {
    let portal = Portal::quick();
    let id = portal.deal();
    let mut site = Site::with(&portal, "", "[objects.deals]\n");
    site.start_and_load();
    let (pipeline, stage) = (
        site.text("SELECT pipeline_id FROM pipeline_stages WHERE pipeline_id <> 'default' ORDER BY 1 LIMIT 1"),
        site.text("SELECT id FROM pipeline_stages WHERE pipeline_id <> 'default' ORDER BY pipeline_id, id LIMIT 1"),
    );
    let (pipeline, stage) = (pipeline.expect("a pipeline"), stage.expect("a stage"));
    let writes = portal.stand().write_log().len();
    site.execute(&format!("UPDATE deals SET dealstage = '{stage}'"));
    site.execute(&format!(
        "INSERT INTO deals (dealname, pipeline, dealstage) VALUES ('New', 'default', '{stage}')"
    ));
    site.until_sql(&format!(
        "SELECT count(*) = 2 FROM sync_outbox WHERE state = 'dead' AND code = '{}'",
        produces("stage-of-another-pipeline")
    ));
    let said = site
        .text("SELECT last_error FROM sync_outbox ORDER BY id")
        .expect("a sentence");
    for part in [
        stage.as_str(),
        pipeline.as_str(),
        "`default`",
        "`qualifiedtobuy`",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(portal.stand().write_log().len(), writes);
    // A program sets the two columns in two statements.
    site.execute(&format!("UPDATE deals SET pipeline = '{pipeline}'"));
    site.until_pushed();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    let stand = portal.stand();
    let record = stand.record("deals", id).expect("there");
    assert_eq!(record.value("dealstage"), Some(stage.as_str()));
    assert_eq!(stand.count("deals"), 2);
}

#[test]
fn what_a_new_record_lacks_and_a_stage_that_is_not_the_default_pipelines_is_found_unsent() {
    let portal = Portal::quick();
    let site = Site::with(&portal, "", "[objects.deals]\n[objects.tickets]\n");
    site.once();
    let other = site
        .text("SELECT id FROM pipeline_stages WHERE object = 'deals' AND pipeline_id <> 'default' ORDER BY id LIMIT 1")
        .expect("a stage");
    let writes = portal.stand().write_log().len();
    site.execute("INSERT INTO tickets (subject) VALUES ('It stands')");
    site.execute("INSERT INTO deals (amount) VALUES (5)");
    site.execute("INSERT INTO deals (dealname, pipeline) VALUES ('Big', 'default')");
    site.execute(&format!(
        "INSERT INTO deals (dealname, dealstage) VALUES ('Small', '{other}')"
    ));
    site.once();
    let told = "SELECT group_concat(object || ' ' || local_id || ' ' || state || ' ' || code, '; ')
        FROM (SELECT * FROM sync_outbox ORDER BY object, local_id)";
    assert_eq!(
        site.text(told).as_deref(),
        Some(
            "deals 1 dead required-property; deals 2 dead required-property; \
             deals 3 dead stage-of-another-pipeline; tickets 1 dead required-property"
        )
    );
    assert_eq!(portal.stand().write_log().len(), writes);
    site.execute("UPDATE tickets SET hs_pipeline_stage = '1'");
    site.execute("UPDATE deals SET dealname = 'Middle', dealstage = 'qualifiedtobuy'");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(portal.stand().count("deals"), 3);
}

#[test]
fn a_stage_of_no_pipeline_is_refused_unsent_though_nobody_names_the_pipeline() {
    let portal = Portal::quick();
    let site = Site::with(
        &portal,
        "",
        "[objects.contacts]\n[objects.leads]\n[associations]\nleads_contacts = { from = \"leads\", to = \"contacts\" }\n",
    );
    portal.contact("ada@example.com");
    site.once();
    let writes = portal.stand().write_log().len();
    site.execute(
        "INSERT INTO leads (hs_lead_name, hs_pipeline_stage) VALUES ('Ada', 'qualifiedtobuy')",
    );
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id) VALUES ('leads', 1, 'contacts', 1)",
    );
    let waits = site.run(&["once", "--timeout", "5s"]);
    assert_eq!(waits.status.code(), Some(1), "its association waits");
    assert_eq!(
        site.text(
            "SELECT last_error FROM sync_outbox WHERE operation = 'create' AND state = 'dead'"
        )
        .as_deref(),
        Some(
            "`leads.hs_pipeline_stage` of row 1 is `qualifiedtobuy`, which is a stage of no pipeline: write one of `pipeline_stages` \
             [stage-of-another-pipeline]"
        )
    );
    assert_eq!(portal.stand().write_log().len(), writes);
    site.execute("UPDATE leads SET hs_pipeline_stage = (SELECT id FROM pipeline_stages WHERE object = 'leads' ORDER BY id LIMIT 1)");
    site.once();
    assert_eq!(site.number("SELECT count(hs_id) FROM leads"), 1);
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
}

#[test]
fn a_contact_or_company_that_nothing_identifies_is_found_unsent_until_it_is_named() {
    let portal = Portal::quick();
    let site = Site::with(&portal, "", "[objects.contacts]\n[objects.companies]\n");
    site.once();
    let writes = portal.stand().write_log().len();
    site.execute("INSERT INTO contacts (city) VALUES ('Rome')");
    site.execute("INSERT INTO companies (city) VALUES ('Rome')");
    site.once();
    let told =
        "SELECT group_concat(object || ' ' || state || ' ' || code || ' ' || last_error, '; ')
        FROM (SELECT * FROM sync_outbox ORDER BY object DESC)";
    assert_eq!(
        site.text(told).as_deref(),
        Some(
            "contacts dead required-property row 1 of contacts has none of `email`, `firstname`, `lastname`, and HubSpot takes no new \
             record of contacts without one of them: write one [required-property]; \
             companies dead required-property row 1 of companies has none of `name`, `domain`, and HubSpot takes no new record of \
             companies without one of them: write one [required-property]"
        )
    );
    assert_eq!(portal.stand().write_log().len(), writes);
    site.execute("UPDATE contacts SET lastname = 'Lovelace'");
    site.execute("UPDATE companies SET domain = 'example.com'");
    site.once();
    assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    assert_eq!(portal.stand().write_log().len(), writes + 2);
}

#[test]
fn a_stage_that_a_rule_of_the_pipeline_refuses_is_dead_with_its_words() {
    let explanation = "Deals above 10,000 need the approval of a manager before they are won";
    let portal = Portal::with(Settings {
        stage_rules: [("closedwon".to_owned(), explanation.to_owned())].into(),
        ..Settings::quick()
    });
    let id = portal.deal();
    let mut site = Site::with(&portal, "", "[objects.deals]\n");
    site.start_and_load();
    site.execute("UPDATE deals SET dealstage = 'closedwon'");
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
    let said = site
        .text("SELECT last_error FROM sync_outbox")
        .expect("a sentence");
    assert!(said.contains(explanation), "{said}");
    let code = site.text("SELECT code FROM sync_outbox");
    assert_eq!(code.as_deref(), Some(produces("pipeline-rule")));
    // A person approves.
    portal.stand().settings_mut().stage_rules.clear();
    site.execute("UPDATE sync_outbox SET state = 'pending'");
    site.until_pushed();
    let stand = portal.stand();
    let record = stand.record("deals", id).expect("there");
    assert_eq!(record.value("dealstage"), Some("closedwon"));
}

#[test]
fn an_answer_that_contradicts_the_reference_tables_makes_them_be_read_again() {
    let portal = Portal::quick();
    let id = portal.deal();
    let schedule = "[schedule]\npoll = \"1s\"\nreference = \"1h\"\n";
    let mut site = Site::with(&portal, schedule, "[objects.deals]\n");
    site.start_and_load();
    site.until_sql("SELECT count(*) FROM pipeline_stages");
    // As if they had been made after the last look.
    let program = site.program();
    let as_daemon = |sql: &str| {
        program
            .set_db_config(
                rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
                false,
            )
            .expect("no triggers");
        program.execute(sql, []).expect(sql);
    };
    let owner = site
        .text("SELECT CAST(min(id) AS TEXT) FROM owners")
        .expect("an owner");
    as_daemon("DELETE FROM pipeline_stages WHERE id = 'contractsent'");
    as_daemon(&format!("DELETE FROM owners WHERE id = {owner}"));
    let pipelines = portal.requests("/pipelines/");
    let edit = [
        ("dealstage", "contractsent"),
        ("hubspot_owner_id", owner.as_str()),
    ];
    let now = portal.now_ms();
    portal.stand().edit("deals", id, &edit, now);
    site.until_sql("SELECT count(*) FROM pipeline_stages WHERE id = 'contractsent'");
    site.until_sql(&format!("SELECT count(*) FROM owners WHERE id = {owner}"));
    // A local write of a stage that the table lacks likewise.
    as_daemon("DELETE FROM pipeline_stages WHERE id = 'presentationscheduled'");
    site.execute("UPDATE deals SET dealstage = 'presentationscheduled'");
    site.until_pushed();
    eventually("it is in HubSpot", || {
        let stand = portal.stand();
        stand
            .record("deals", id)
            .and_then(|record| record.value("dealstage").map(str::to_owned))
            .as_deref()
            == Some("presentationscheduled")
    });
    assert_eq!(portal.requests("/pipelines/"), pipelines + 2);
}

#[test]
fn owners_are_read_again_by_the_schedule() {
    let portal = Portal::quick();
    let mut site = Site::with(
        &portal,
        "[schedule]\npoll = \"1h\"\nreference = \"1s\"\n",
        "[objects.contacts]\n",
    );
    site.start_and_load();
    let owners = "SELECT group_concat(id || ' ' || email || ' ' || archived) FROM (SELECT * FROM owners ORDER BY id)";
    let before = site.text(owners).expect("owners");
    // As if somebody had come and somebody had another address since.
    site.execute_as_daemon("DELETE FROM owners WHERE id = (SELECT min(id) FROM owners)");
    site.execute_as_daemon(
        "UPDATE owners SET email = 'former@example.com', archived = NOT archived",
    );
    let mut looks = site.looks();
    eventually("they are as HubSpot has them", || {
        looks.text(owners).as_ref() == Some(&before)
    });
    assert_eq!(site.stop(), 0);
}
