//! Tests of `check`: a line a case, the whole report as people see it, and that no bytes make it panic. What is shown of secrets,
//! and how what an object says fits together, have files of their own.

mod combinations;
mod secrets;

use std::path::Path;

use super::*;
use crate::config::render::render_settings;
use crate::config::{Auth, Drawing, HttpSettings};
use crate::model::mapping::{Direction, FieldModes, FirstReadBy, KeyChoice, Policy, WriteMode};

const EXAMPLE: &str = include_str!("../../../config.example.toml");
const MANUAL: &str = include_str!("../../../docs/configuration.md");
const MISTAKES: &str = include_str!("../../../tests/config/mistakes.toml");

fn checked(text: &str) -> Checked {
    check_bytes(Path::new("config.toml"), text.as_bytes().to_vec())
}

fn config(text: &str) -> Config {
    let checked = checked(text);
    checked
        .config
        .unwrap_or_else(|| panic!("{}", checked.report))
}

/// `expected` has a `code line:column` a problem; nothing for a right file. A mapped object is added where there is none.
#[track_caller]
fn check(text: &str, expected: &str) {
    let whole = if text.contains("[objects") {
        text.to_owned()
    } else {
        format!("{text}\n[objects.contacts]")
    };
    let report = checked(&whole).report;
    let found: Vec<_> = report
        .problems
        .iter()
        .map(|problem| format!("{} {}:{}", problem.code, problem.line, problem.column))
        .collect();
    assert_eq!(found.join(", "), expected, "{text}\n{report}");
}

/// A property's problem, at its line 2.
#[track_caller]
fn check_property(property: &str, expected: &str) {
    check(
        &format!("[objects.contacts.properties]\n{property}"),
        expected,
    );
}

#[test]
fn one_line_is_a_whole_file() {
    let config = config("[objects.contacts]");
    assert_eq!(config.database, Path::new("/var/lib/hubsyncd/crm.db"));
    assert_eq!(
        token_of(&config),
        "the environment variable `HUBSPOT_ACCESS_TOKEN`"
    );
    assert_eq!(config.http, None);
    let contacts = config.mapping.object("contacts").expect("contacts");
    assert_eq!(contacts.table.as_str(), "contacts");
    assert_eq!(
        contacts.match_property.as_ref().map(ToString::to_string),
        Some("email".to_owned())
    );
    assert_eq!(
        (contacts.key.clone(), contacts.policy),
        (KeyChoice::Auto, Policy::Newest)
    );
    assert_eq!(contacts.poll, std::time::Duration::from_secs(10));
    assert_eq!(contacts.fields.len(), 16);
    assert!(
        contacts
            .fields
            .iter()
            .all(|field| field.property.as_str() == field.column.as_str())
    );
}

#[test]
fn every_standard_set_is_a_right_mapping() {
    let config =
        config("[objects.contacts]\n[objects.companies]\n[objects.deals]\n[objects.tickets]");
    let names: Vec<_> = config
        .mapping
        .objects
        .iter()
        .map(|object| object.object.as_str())
        .collect();
    assert_eq!(names, ["contacts", "companies", "deals", "tickets"]);
    assert!(
        config
            .mapping
            .objects
            .iter()
            .all(|object| object.fields.len() >= 7)
    );
    assert_eq!(
        config
            .mapping
            .object("deals")
            .expect("deals")
            .match_property,
        None
    );
}

#[test]
fn what_is_written_is_what_is_meant() {
    let config = config(
        r#"
        [portal]
        id = 12345678
        base_url = "http://127.0.0.1:8080/"
        tier = "professional"
        [database]
        path = "crm.db"
        [schedule]
        poll = "20s"
        timezone = "Europe/Berlin"
        [objects.deals]
        poll = "0 0 * * * *"
        [objects.contacts]
        key = "external_id"
        conflict = "manual"
        [objects.contacts.properties]
        zip = "zip"
        external_id = "id"
        amount = { type = "decimal", direction = "pull" }
        city = { column = "town", conflict = "local" }
        "#,
    );
    assert_eq!(config.portal.base_url, "http://127.0.0.1:8080");
    assert_eq!(
        config
            .portal
            .id
            .as_ref()
            .map(|id| id.resolve().expect("number").0),
        Some(12_345_678)
    );
    assert_eq!(config.database, Path::new("crm.db"));
    let contacts = config.mapping.object("contacts").expect("contacts");
    assert_eq!(
        contacts.match_property.as_ref().map(ToString::to_string),
        Some("external_id".to_owned())
    );
    let fields: Vec<_> = contacts
        .fields
        .iter()
        .map(|field| {
            (
                field.property.as_str(),
                field.column.as_str(),
                field.direction,
                field.policy,
            )
        })
        .collect();
    assert_eq!(
        fields,
        [
            ("zip", "zip", Direction::Both, Policy::Manual),
            ("external_id", "id", Direction::Both, Policy::Manual),
            ("amount", "amount", Direction::Pull, Policy::Manual),
            ("city", "town", Direction::Both, Policy::Local),
        ]
    );
    assert_eq!(config.poll.of(&contacts.object).poll.to_string(), "20s");
    let deals = config.mapping.object("deals").expect("deals");
    assert_eq!(
        config.poll.of(&deals.object).poll.to_string(),
        "0 0 * * * *"
    );
    assert_eq!(deals.poll, std::time::Duration::from_hours(1));
    assert_eq!(
        config.mapping.objects[0].object.as_str(),
        "deals",
        "the file's order is kept"
    );
}

#[test]
fn relative_paths_begin_at_the_files_folder() {
    let text = "database.path = \"data/crm.db\"\nauth.access_token = { file = \"token\" }\n[objects.contacts]";
    let checked = check_bytes(
        Path::new("/etc/hubsyncd/config.toml"),
        text.as_bytes().to_vec(),
    );
    let config = checked.config.expect("right");
    assert_eq!(config.database, Path::new("/etc/hubsyncd/data/crm.db"));
    assert_eq!(token_of(&config), "the file `/etc/hubsyncd/token`");
}

#[test]
fn keys_and_types_are_checked_everywhere() {
    check("[portl]", "unknown-key 1:2");
    check("[portal]\nteir = 1", "unknown-key 2:1");
    check("portal = 3", "wrong-type 1:10");
    check("[schedule]\npoll = 10", "wrong-type 2:8");
    check("[schedule]\nagain = \"5m\"", "wrong-type 2:9");
    check("[schedule]\nagain = [\"5m\", 3]", "wrong-type 2:16");
    check("[portal]\nallow_other_host = \"yes\"", "wrong-type 2:20");
    check("[objects]\ncontacts = true", "wrong-type 2:12");
    check(
        "[objects.contacts]\nproperties = [\"email\"]",
        "wrong-type 2:14",
    );
    check_property("email = 5", "wrong-type 2:9");
    check_property("email = { colum = \"x\" }", "unknown-key 2:11");
}

#[test]
fn a_file_without_an_object_is_no_mapping() {
    let report = checked("").report;
    assert_eq!(
        (report.problems[0].code, report.problems[0].line),
        ("no-objects", 1)
    );
    check("[objects]", "no-objects 1:2");
    check("[objects.contacts.properties]", "empty 1:19");
}

#[test]
fn numbers_have_bounds() {
    check("[limits]\nburst_per_10_seconds = 0", "out-of-range 2:24");
    check("[limits]\nper_day = -1", "out-of-range 2:11");
    check(
        "[limits]\nper_day = 99999999999999999999",
        "out-of-range 2:11",
    );
    check("[limits]\nper_second = nan", "out-of-range 2:14");
    check("[limits]\nper_second = 19", "");
    check("[guard]\nmax_share = 1.1", "out-of-range 2:13");
    check("[portal]\nid = 0", "out-of-range 2:6");
    check("[schedule]\npoll = \"10ms\"", "out-of-range 2:8");
    check("[schedule]\noverlap = \"2h\"", "out-of-range 2:11");
}

#[test]
fn times_sizes_and_zones_are_read() {
    check("[schedule]\npoll = \"10 s\"", "bad-duration 2:8");
    check("[schedule]\npoll = \"fast\"", "bad-duration 2:8");
    check("[schedule]\nreconcile = \"0 30 25 * * *\"", "bad-cron 2:13");
    check("[schedule]\nreconcile = \"30 3 * * *\"", "bad-cron 2:13");
    check("[schedule]\nreconcile = \"0 0 0 30 2 *\"", "bad-cron 2:13");
    check("[schedule]\nreconcile = \"@daily\"", "");
    check("[schedule]\ntimezone = \"Berlin\"", "bad-timezone 2:12");
    check("[retention]\nmax_size = \"1 PB\"", "bad-size 2:12");
    check("[guard]\nwindow = \"1.5h\"", "bad-duration 2:10");
}

#[test]
fn the_token_goes_to_hubspot_or_this_machine() {
    let check =
        |url: &str, expected: &str| check(&format!("[portal]\nbase_url = \"{url}\""), expected);
    check("https://api.hubapi.com", "");
    check("https://API.hubapi.com/", "");
    check("https://api-eu1.hubapi.com", "");
    check("http://127.4.5.6:8080", "");
    check("http://[::1]:8080", "");
    check("http://localhost:1", "");
    check("http://api.hubapi.com", "insecure-url 2:12");
    check("http://127.1", "insecure-url 2:12");
    check("http://localhost.example.com", "insecure-url 2:12");
    check("https://evilhubapi.com", "other-host 2:12");
    check("https://api.hubapi.com.example.com", "other-host 2:12");
    check("https://api.hubapi.com@example.com", "bad-url 2:12");
    check("https://api.hubapi.com/crm/v3", "bad-url 2:12");
    check("https://api.hubapi.com?x=1", "bad-url 2:12");
    check("https://api.hubapi.com#x", "bad-url 2:12");
    check("https://api.hubapi.com:99999", "bad-url 2:12");
    check("https://api.hubapi.com:", "bad-url 2:12");
    check("api.hubapi.com", "bad-url 2:12");
    check("/crm", "bad-url 2:12");
    check("ftp://localhost", "bad-url 2:12");
    check("", "bad-url 2:12");
}

#[test]
fn another_host_needs_a_word() {
    check(
        "[portal]\nbase_url = \"https://proxy.example.com\"\nallow_other_host = true",
        "",
    );
    check(
        "[portal]\nbase_url = \"http://proxy.example.com\"\nallow_other_host = true",
        "insecure-url 2:12",
    );
}

#[test]
fn addresses_are_numbers_with_a_port() {
    check("[http]", "");
    check("[http]\nlisten = \"[::1]:80\"", "");
    check("[http]\nlisten = \"localhost:80\"", "bad-address 2:10");
    check("[http]\nlisten = \"127.0.0.1\"", "bad-address 2:10");
    for open in ["0.0.0.0:80", "[::]:80", "192.168.1.7:80"] {
        let http = format!("[http]\nlisten = \"{open}\"");
        check(&http, "open-address 2:10");
        assert!(!checked(&http).report.is_ok(), "{open}");
        check(&format!("{http}\ntoken = {{ env = \"T\" }}"), "");
    }
    check("[http]\ntoken = \"in-clear\"", "secret-in-clear 2:9");
    for (section, port) in [("http", "9187"), ("webhooks", "8787")] {
        let report = checked(&format!("[{section}]\nlisten = \"here\"")).report;
        let mut hints = report.problems.iter().map(|problem| &problem.hint);
        assert!(hints.any(|hint| hint.contains(port)), "{report}");
    }
    assert_eq!(
        config("http = {}\n[objects.contacts]").http,
        Some(HttpSettings {
            listen: ([127, 0, 0, 1], 9187).into(),
            token: None,
        })
    );
}

#[test]
fn names_choices_and_levels_are_read() {
    check("[portal]\ntier = \"pro\"", "unknown-value 2:8");
    check("[conflicts]\npolicy = \"newst\"", "unknown-value 2:10");
    check("[log]\nlevel = \"inof\"", "unknown-value 2:9");
    check("[log]\nlevel = \"info,hubsyncd::hubspot=debug\"", "");
    check("[log]\nlevel = \"hubsyncd=\"", "unknown-value 2:9");
    check("[log]\nformat = \"xml\"", "unknown-value 2:10");
    check("[database]\npath = \"\"", "bad-path 2:8");
    check("[database]\npath = \":memory:\"", "bad-path 2:8");
}

#[test]
fn two_never_share_a_place_and_what_is_reserved_stays_free() {
    check_property("a = \"x\"\nb = \"X\"", "duplicate-column 3:5");
    check_property("a = \"b\"\nb = {}", "duplicate-column 3:1");
    check_property("a = \"HS_ID\"", "reserved 2:5");
    check_property("a = \"a b\"", "bad-name 2:5");
    check_property("a = \"\"", "bad-name 2:5");
    check_property("\"a b\" = \"a\"", "bad-name 2:1");
    check_property("\"\" = \"a\"", "bad-name 2:1");
    check_property("hubsyncd_key = \"k\"", "reserved 2:1");
    check_property(
        "hubsyncd_key = { column = \"k\", direction = \"pull\" }",
        "",
    );
    check_property("order = \"select\"\nwhere = \"from\"", "");
    check("[objects.contacts]\ntable = \"sync_x\"", "reserved 2:9");
    check("[objects.contacts]\ntable = \"owners\"", "reserved 2:9");
    check("[objects.contacts]\ntable = \"order\"", "");
    for table in ["pragma_table_info", "JSON_each", "dbstat", "sqlite_x"] {
        check(
            &format!("[objects.contacts]\ntable = \"{table}\""),
            "reserved 2:9",
        );
    }
    check(
        "[objects.contacts]\n[objects.deals]\ntable = \"Contacts\"",
        "duplicate-table 2:10",
    );
}

#[test]
fn a_table_has_no_more_columns_than_sqlite_takes() {
    let mapped = |count: usize| {
        let lines: Vec<String> = (0..count)
            .map(|number| format!("p{number} = \"c{number}\""))
            .collect();
        format!("[objects.contacts.properties]\n{}", lines.join("\n"))
    };
    check(&mapped(1_995), "");
    check(&mapped(1_996), "too-many-columns 1:19");
}

#[test]
fn two_do_not_listen_on_one_port() {
    let both = |http: &str, webhooks: &str| {
        format!(
            "[http]\nlisten = \"{http}\"\n[webhooks]\nlisten = \"{webhooks}\"\npublic_url = \"https://a.example/x\""
        )
    };
    check(
        &both("127.0.0.1:80", "127.0.0.1:80"),
        "duplicate-address 2:10",
    );
    check(
        &both("127.0.0.1:80", "0.0.0.0:80"),
        "duplicate-address 2:10, open-address 4:10",
    );
    check(&both("127.0.0.1:80", "127.0.0.2:80"), "");
    check(&both("127.0.0.1:80", "127.0.0.1:81"), "");
    check(&both("127.0.0.1:0", "127.0.0.1:0"), "");
    check(
        "[http]\n[webhooks]\nlisten = \"127.0.0.1:9187\"\npublic_url = \"https://a.example/x\"",
        "duplicate-address 1:2",
    );
}

#[test]
fn the_database_is_no_folder_and_not_the_mapping_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    for (database, expected) in [
        ("config.toml", 1),
        (".", 1),
        ("../", 1),
        ("config.toml/crm.db", 1),
        ("config.toml/a/crm.db", 1),
        ("crm.db", 0),
    ] {
        let text = format!("[database]\npath = \"{database}\"\n[objects.contacts]");
        std::fs::write(&path, &text).expect("written");
        let report = check_file(&path).report;
        assert_eq!(report.problems.len(), expected, "{report}");
        assert!(
            report
                .problems
                .iter()
                .all(|problem| problem.code == "bad-path")
        );
    }
}

#[test]
fn the_database_of_a_file_with_mistakes_is_the_one_that_is_meant_beyond_doubt() {
    let objects = "[objects.contacts]\n";
    let check = |text: &str, expected: Option<&str>| {
        let found = checked(&format!("{text}\n{objects}")).database;
        let found = found.map(|path| path.display().to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
    };
    let default = Some("/var/lib/hubsyncd/crm.db");
    let written = Some("/srv/crm.db");
    check("", default);
    check("[guard]\nmax_archivs = 7", default);
    check("[gard]\nmax_archives = 7", None);
    check("[guard\nmax_archives = 7", None);
    let path = "[database]\npath = \"/srv/crm.db\"\n";
    check(path, written);
    check(&format!("{path}[guard]\nmax_archivs = 7"), written);
    check(&format!("{path}[gard]\nmax_archives = 7"), written);
    check(&format!("{path}[guard\nmax_archives = 7"), written);
    check(&format!("{path}checkpoint = \"mine\""), None);
    check(&format!("{path}path = \"/srv/other.db\""), None);
    check(&format!("{path}[database]\npath = \"/srv/other.db\""), None);
    check("[database]\npath = 7", None);
    check("[database]\npth = \"/srv/crm.db\"", None);
    check("[databse]\npath = \"/srv/crm.db\"", None);
    check("[database\npath = \"/srv/crm.db\"", None);
    check("database = \"/srv/crm.db\"", None);
}

#[test]
fn directions_policies_and_matches_fit_together() {
    check_property(
        "a = { direction = \"pull\", conflict = \"local\" }",
        "one-way-policy 2:38",
    );
    check_property(
        "a = { direction = \"push\", conflict = \"local\" }",
        "one-way-policy 2:38",
    );
    check(
        "[objects.contacts]\ndirection = \"pull\"\nconflict = \"local\"",
        "one-way-policy 3:12",
    );
    check(
        "[objects.contacts]\ndirection = \"pull\"\nproperties.a = { direction = \"push\" }",
        "opposite-directions 3:30",
    );
    check(
        "[objects.contacts]\ndirection = \"pull\"\nproperties.a = { direction = \"both\" }",
        "",
    );
    check(
        "[objects.contacts]\nmatch = \"emial\"",
        "match-not-mapped 2:9",
    );
    check("[objects.deals]\nmatch = \"dealname\"", "");
    check(
        "[objects.contacts]\nmatch = \"a\"\nproperties.a = \"hs_id\"",
        "reserved 3:16",
    );
    check(
        "[objects.contacts]\nmatch = \"a\"\nproperties.a = { direction = \"pull\" }",
        "match-one-way 2:9",
    );
    check("[objects.contacts]\nkey = \"a b\"", "bad-name 2:7");
    check("[objects.contacts]\nkey = \"none\"", "");
}

#[test]
fn how_a_property_is_written_goes_with_both_directions_and_without_a_policy() {
    check_property("a = { write = \"if_empty\" }", "");
    check_property("a = { write = \"append\" }", "");
    check_property("a = { write = \"append\", type = \"set\" }", "");
    check_property("a = { write = \"replace\", conflict = \"local\" }", "");
    check_property("a = { write = \"always\" }", "unknown-value 2:15");
    for direction in ["pull", "push"] {
        for mode in ["replace", "if_empty", "append"] {
            check_property(
                &format!("a = {{ write = \"{mode}\", direction = \"{direction}\" }}"),
                "one-way-write 2:15",
            );
        }
    }
    check(
        "[objects.contacts]\ndirection = \"pull\"\nproperties.a = { write = \"if_empty\" }",
        "one-way-write 3:26",
    );
    check_property(
        "a = { write = \"append\", type = \"string\" }",
        "append-to-no-set 2:15",
    );
    for mode in ["if_empty", "append"] {
        check_property(
            &format!("a = {{ write = \"{mode}\", conflict = \"remote\" }}"),
            "policy-never-asked 2:15",
        );
    }
}

#[test]
fn what_is_kept_of_a_property_over_time_is_said_in_the_file() {
    let modes = |text: &str| {
        let config = config(&format!("[objects.contacts.properties]\na = {text}"));
        config.mapping.object("contacts").expect("contacts").fields[0].modes
    };
    assert_eq!(modes("\"a\""), FieldModes::default());
    assert!(FieldModes::default().history);
    assert!(!modes("{ history = false }").history);
    assert!(modes("{ remote_history = true }").remote_history);
    assert_eq!(modes("{ write = \"if_empty\" }").write, WriteMode::IfEmpty);
    check_property("a = { history = \"no\" }", "wrong-type 2:17");
    check_property("a = { remote_history = 1 }", "wrong-type 2:24");
}

#[test]
fn what_is_to_come_is_refused_and_its_defaults_are_not() {
    check("[objects.contacts]\nbackfill = \"export\"", "not-yet 2:12");
    check("[objects.contacts]\nfilter = \"x\"", "reserved 2:1");
    check(
        "[objects.contacts]\nstrict_options = true\nbackfill = \"list\"",
        "",
    );
    check(
        "[objects.contacts]\nbackfill = \"exprt\"",
        "unknown-value 2:12",
    );
}

#[test]
fn any_object_is_mapped_by_a_name_that_means_one() {
    for right in [
        "[objects.line_items]",
        "[objects.users]",
        "[objects.users]\ndirection = \"pull\"",
        "[objects.machine]",
        "[objects.cars]",
        "[objects.p12345_machine]",
        "[objects.\"2-2000001\"]",
        "[objects.machines]\nobject = \"2-2000001\"",
        "[objects.contracts]\nobject = \"contracts\"",
        "[objects.contacts]\nobject = \"contacts\"",
        "[objects.estates]\nobject = \"properties\"",
    ] {
        check(right, "");
    }
    for (wrong, expected) in [
        ("[objects.contact]", "object-name 1:10"),
        ("[objects.\"0-1\"]", "object-name 1:10"),
        ("[objects.contracts]", "object-name 1:10"),
        (
            "[objects.people]\nobject = \"contacts\"",
            "object-name 2:10",
        ),
        (
            "[objects.contacts]\nobject = \"machine\"",
            "object-name 2:10",
        ),
        ("[objects.machines]\nobject = \"a b\"", "bad-name 2:10"),
        (
            "[objects.properties]\nobject = \"properties\"",
            "reserved 1:10",
        ),
        (
            "[objects.users]\ndirection = \"push\"",
            "read-only-object 2:13",
        ),
    ] {
        check(wrong, expected);
    }
}

#[test]
fn the_file_says_how_records_come_and_go() {
    use crate::model::mapping::{Modes, NewRecords, OnLocalDelete, OnRemoteDelete, Sees};

    let modes = |text: &str| {
        let config = checked(text).config.expect(text);
        config.mapping.objects[0].modes
    };
    assert_eq!(modes("[objects.contacts]"), Modes::default());
    assert!(modes("[objects.contacts]\nstrict_options = true").strict_options);
    let by = |text: &str| modes(&format!("[objects.contacts]\nbackfill = \"{text}\"")).backfill;
    assert_eq!(
        [by("list"), by("list_only")],
        [FirstReadBy::List, FirstReadBy::ListOnly]
    );
    let text = "[auth]\nsees = \"user\"\n[objects.contacts]\non_remote_delete = \"mark\"\n\
                on_local_delete = \"restore\"\nnew_records = \"from_hubspot\"";
    let written = Modes {
        on_remote_delete: OnRemoteDelete::Mark,
        on_local_delete: OnLocalDelete::Restore,
        new_records: NewRecords::FromHubspot,
        sees: Sees::User,
        ..Modes::default()
    };
    assert_eq!(modes(text), written);
    check(
        "[objects.contacts]\non_remote_delete = \"recreate\"\nnew_records = \"from_local\"",
        "",
    );
    check("[auth]\nsees = \"all\"", "unknown-value 2:8");
    check(
        "[objects.contacts]\non_remote_delete = \"archive\"",
        "unknown-value 2:20",
    );
    check(
        "[objects.contacts]\nnew_records = \"local\"",
        "unknown-value 2:15",
    );
}

#[test]
fn records_of_one_side_alone_need_a_match_and_are_not_made_anew() {
    for mode in ["from_hubspot", "from_local", "none"] {
        check(
            &format!("[objects.deals]\nnew_records = \"{mode}\""),
            "match-missing 2:15",
        );
        check(
            &format!("[objects.deals]\nnew_records = \"{mode}\"\nmatch = \"dealname\""),
            "",
        );
    }
    check("[objects.deals]\nnew_records = \"both\"", "");
    check(
        "[objects.deals]\ndirection = \"pull\"\nnew_records = \"from_hubspot\"",
        "",
    );
    check(
        "[objects.deals]\ndirection = \"pull\"\nnew_records = \"none\"",
        "match-missing 3:15",
    );
    for mode in ["from_hubspot", "none"] {
        check(
            &format!(
                "[objects.contacts]\nnew_records = \"{mode}\"\non_remote_delete = \"recreate\""
            ),
            "contradiction 3:20",
        );
    }
    check(
        "[objects.contacts]\ndirection = \"pull\"\non_remote_delete = \"recreate\"",
        "contradiction 3:20",
    );
}

#[test]
fn a_declared_property_says_what_hubspot_needs_to_make_it() {
    let declared = |create: &str, expected: &str| {
        check_property(&format!("a = {{ create = {{ {create} }} }}"), expected);
    };
    declared("label = \"A\", type = \"string\", unique = true", "");
    declared(
        "label = \"A\", type = \"set\", options = [\"b\", { value = \"c\" }]",
        "",
    );
    declared(
        "lable = \"A\"",
        "missing-key 2:7, missing-key 2:7, unknown-key 2:18",
    );
    declared("label = \"A\", type = \"enumeration\"", "missing-key 2:7");
    declared(
        "label = \"A\", type = \"date\", options = [\"b\"], unique = true",
        "contradiction 2:56, contradiction 2:72",
    );
    declared(
        "label = \"A\", type = \"string\", field_type = \"textarea\"",
        "",
    );
    declared(
        "label = \"A\", type = \"string\", field_type = \"textarea\", unique = true",
        "contradiction 2:82",
    );
    for (kind, field_type) in [("number", "text"), ("date", "datetime"), ("bool", "select")] {
        declared(
            &format!("field_type = \"{field_type}\", type = \"{kind}\", label = \"A\""),
            "contradiction 2:31",
        );
    }
    declared(
        "label = \"A\", type = \"set\", options = [\"b\", \"b\", \"c;d\"]",
        "bad-value 2:61, bad-value 2:66",
    );
    for (group, expected) in [
        ("crm_2", ""),
        ("my group", "bad-name 2:56"),
        ("Sales", "bad-name 2:56"),
        ("2nd", "bad-name 2:56"),
        ("", "bad-name 2:56"),
    ] {
        declared(
            &format!("label = \"A\", type = \"string\", group = \"{group}\""),
            expected,
        );
    }
    for (name, expected) in [
        ("tier_2", ""),
        ("Tier", "bad-name 2:1"),
        ("_tier", "bad-name 2:1"),
    ] {
        check_property(
            &format!(
                "{name} = {{ column = \"a\", create = {{ label = \"A\", type = \"string\" }} }}"
            ),
            expected,
        );
    }
    let wishes = config(
        "[objects.contacts.properties]\na = { create = { label = \"A\", type = \"set\", group = \"g\", options = [\"b\", { value = \"c\", label = \"C\" }] } }",
    )
    .creates;
    assert_eq!(wishes.len(), 1);
    assert_eq!(wishes[0].wire_type(), ("enumeration", "checkbox"));
    assert_eq!(
        (
            wishes[0].group.as_deref(),
            wishes[0].options[1].label.as_str()
        ),
        (Some("g"), "C")
    );
}

/// `expected` of a file that maps contacts and companies, whose lines of `[associations]` begin with line 2.
#[track_caller]
fn check_pairs(pairs: &str, expected: &str) {
    let text = format!(
        "[associations]\n{pairs}\n[objects.contacts]\n[objects.companies]\ntable = \"firms\""
    );
    check(&text, expected);
}

#[test]
fn a_pair_leads_from_a_mapped_object_to_a_mapped_object_once_in_each_order() {
    check("[associations]", "");
    let ends = "from = \"contacts\", to = \"companies\"";
    check_pairs(&format!("a = {{ {ends} }}"), "");
    check_pairs(
        &format!(
            "a = {{ {ends} }}\nb = {{ from = \"companies\", to = \"contacts\" }}\nc = {{ from = \"companies\", to = \"companies\" }}"
        ),
        "",
    );
    check_pairs(
        &format!("a = {{ {ends} }}\nb = {{ {ends} }}"),
        "duplicate-pair 3:1",
    );
    check_pairs(
        "a = { form = \"contacts\" }",
        "missing-key 2:1, missing-key 2:1, unknown-key 2:7",
    );
    check_pairs("a = { from = \"contacts\" }", "missing-key 2:1");
    check_pairs(
        "a = { from = \"contacts\", to = \"deals\" }",
        "object-not-mapped 2:31",
    );
    check_pairs(
        "a = { from = \"contact\", to = \"firms\" }",
        "object-not-mapped 2:14, object-not-mapped 2:30",
    );
    check_pairs("a = 1", "wrong-type 2:5");
    for (name, expected) in [
        ("contacts", "duplicate-table 2:1"),
        ("Firms", "duplicate-table 2:1"),
        ("companies", ""),
        ("sync_pair", "reserved 2:1"),
        ("associations", "reserved 2:1"),
        ("association_types", "reserved 2:1"),
        ("\"a b\"", "bad-name 2:1"),
    ] {
        check_pairs(&format!("{name} = {{ {ends} }}"), expected);
    }
    check_pairs(
        &format!("a = {{ {ends} }}\nA = {{ from = \"companies\", to = \"contacts\" }}"),
        "duplicate-table 3:1",
    );
}

#[test]
fn a_pair_has_a_direction_and_a_policy_that_needs_no_time() {
    let with = |more: &str| format!("a = {{ from = \"contacts\", to = \"companies\", {more} }}");
    for (more, expected) in [
        ("direction = \"pull\"", ""),
        ("direction = \"both\", conflict = \"local\"", ""),
        ("conflict = \"manual\"", ""),
        ("conflict = \"newest\"", "no-newest 2:55"),
        ("conflict = \"newst\"", "unknown-value 2:55"),
        ("direction = \"psuh\"", "unknown-value 2:56"),
        (
            "direction = \"push\", conflict = \"local\"",
            "one-way-policy 2:75",
        ),
    ] {
        check_pairs(&with(more), expected);
    }
    let config = config(&format!(
        "[associations]\n{}\n[objects.contacts]\n[objects.companies]",
        with("direction = \"push\"")
    ));
    let pair = config
        .mapping
        .pair("contacts", "companies")
        .expect("a pair");
    assert_eq!(
        (pair.key.as_str(), pair.direction, pair.policy),
        ("a", Direction::Push, Policy::Remote)
    );
    assert_eq!(config.mapping.pair("companies", "contacts"), None);
}

/// Where the static token lies.
fn token_of(config: &Config) -> String {
    match &config.auth {
        Auth::Token(source) => source.to_string(),
        Auth::OAuth(_) => "an OAuth app".to_owned(),
    }
}

#[test]
fn an_oauth_app_needs_an_id_a_secret_and_a_key_for_its_tokens() {
    check(
        "[auth.oauth]",
        "missing-key 1:7, missing-key 1:7, missing-key 1:7",
    );
    let app = "[auth.oauth]\nclient_id = \"x\"\nclient_secret = { env = \"A\" }\ntoken_key = { env = \"B\" }\n";
    let line = |key: &str, expected: &str| check(&format!("{app}{key}"), expected);
    line("", "");
    line("token_kye = 1", "unknown-key 5:1");
    line(
        "redirect_uri = \"https://example.com/callback\"",
        "bad-url 5:16",
    );
    line(
        "redirect_uri = \"http://localhost/callback\"",
        "bad-url 5:16",
    );
    line("redirect_uri = \"http://127.0.0.1:9/back\"", "");
    line("authorize_url = \"http://example.com\"", "bad-url 5:17");
    line(
        "authorize_url = \"https://app-eu1.hubspot.com/oauth/authorize\"",
        "",
    );
    line("token_path = \"/oauth/v1/token\"", "");
    line("token_path = \"/oauth/v2/token\"", "unknown-value 5:14");
    line(
        "scopes = [\"crm.objects.contacts.read\"]",
        "missing-scope 5:10, missing-scope 5:10",
    );
    let schemas = "\"crm.schemas.contacts.read\", \"crm.schemas.contacts.write\", \"crm.objects.owners.read\"";
    let records = "\"crm.objects.contacts.read\", \"crm.objects.contacts.write\"";
    line(&format!("scopes = [{schemas}, {records}]"), "");
    line(
        &format!("scopes = [{schemas}]\noptional_scopes = [{records}]"),
        "",
    );
    let report = |mapping: &str| {
        let text = format!("{app}scopes = [{schemas}, \"crm.objects.contacts.read\"]\n{mapping}");
        checked(&text).report.to_string()
    };
    let both = report("[objects.contacts]");
    assert!(
        both.contains("not here: `crm.objects.contacts.write`"),
        "{both}"
    );
    let pulled = report("[objects.contacts]\ndirection = \"pull\"");
    assert!(pulled.contains("no mistakes"), "{pulled}");
    line("scopes = [\"two words\"]", "bad-value 5:11");
    line("scopes = \"oauth\"", "wrong-type 5:10");
    check(
        "[auth.oauth]\nclient_id = \"x\"\nclient_secret = \"hush\"\ntoken_key = \"hush\"",
        "secret-in-clear 3:17, secret-in-clear 4:13",
    );
    check(
        &app.replace(
            "[auth.oauth]",
            "[auth]\naccess_token = { env = \"A\" }\n[auth.oauth]",
        ),
        "two-tokens 2:1",
    );
}

#[test]
fn webhooks_say_under_which_url_they_are_signed() {
    check("[webhooks]", "missing-key 1:2");
    let line = |key: &str, expected: &str| {
        check(
            &format!("[webhooks]\npublic_url = \"https://a.example/hook?x=1\"\n{key}"),
            expected,
        );
    };
    line("", "");
    line("listen = \"x\"", "bad-address 3:10");
    line("client_secret = \"hush\"", "secret-in-clear 3:17");
    line(
        "client_secret = [{ env = \"A\" }, \"hush\"]",
        "secret-in-clear 3:33",
    );
    line("client_secret = [{ env = \"A\" }, { file = \"b\" }]", "");
    line("client_secret = []", "bad-value 3:17");
    line(
        "client_secret = [{ env = \"A\" }, { env = \"B\" }, { env = \"C\" }]",
        "bad-value 3:17",
    );
    line("path = \"hook\"", "bad-path 3:8");
    line("path = \"/hook/{id}\"", "bad-path 3:8");
    line("signature = \"v4\"", "unknown-value 3:13");
    line("max_body = \"1KB\"", "out-of-range 3:12");
    line("max_connections = 0", "out-of-range 3:19");
    line("tls = { cert = \"a\" }", "missing-key 3:1");
    line("tls = { cert = \"a\", key = \"b\" }", "");
    line(
        "developer_key = { env = \"A\" }\napp_id = 0",
        "out-of-range 4:10",
    );
    line("app_id = 7", "missing-key 3:1");
    line("developer_key = { env = \"A\" }", "missing-key 3:1");
    line("app_id = 7\ndeveloper_key = { env = \"A\" }", "");
    for (url, expected) in [
        ("http://a.example/hook", "insecure-url 2:14"),
        ("http://127.0.0.1:8787/hook", ""),
        ("/hook", "bad-url 2:14"),
        ("https://a.example/hook#x", "bad-url 2:14"),
        ("https://me:hush@a.example/hook", "bad-url 2:14"),
        ("ftp://a.example/", "insecure-url 2:14"),
    ] {
        check(&format!("[webhooks]\npublic_url = \"{url}\""), expected);
    }
}

#[test]
fn toml_that_is_none_has_a_place_too() {
    check("[portal]\ntier = free", "syntax 2:8");
    check("[portal]\ntier = \"free\"\ntier = \"free\"", "syntax 3:1");
    check("[portal]\ntier = \"free\"\n[portal]", "syntax 3:2");
    check(
        "[portal]\ntier = free\n[conflicts]\npolicy = \"newst\"",
        "syntax 2:8, unknown-value 4:10",
    );
    check(
        "[portal]\ntier \"free\"\nid = 0\n[conflicts]\npolicy = 1",
        "syntax 2:6, out-of-range 3:6, wrong-type 5:10",
    );
    check(
        "[portal\ntier = 1\n[conflicts]\npolicy = 1",
        "syntax 1:8, wrong-type 4:10",
    );
    let report = checked("x = [").report;
    assert!(
        !report.problems.is_empty()
            && report
                .problems
                .iter()
                .all(|problem| problem.code != "no-objects"),
        "{report}"
    );
}

#[test]
fn a_byte_order_mark_is_no_column() {
    let text = "\u{feff}[objects.contacts]\nx = 1\n";
    check(text, "unknown-key 2:1");
    for text in [
        "\u{feff}x = 1\n[objects.contacts]",
        "\u{feff}x = \n[objects.contacts]",
    ] {
        let report = checked(text).report;
        let plain = checked(&text.replace('\u{feff}', "")).report;
        assert_eq!(report.to_string(), plain.to_string());
        assert_eq!(report.problems[0].column, plain.problems[0].column);
    }
}

#[test]
fn a_mistake_at_the_end_of_the_file_has_a_place() {
    for text in [
        "[objects.contacts]\nx = [\n",
        "[objects.contacts]\nx = \"\"\"\n",
    ] {
        let report = checked(text).report;
        let drawn = report.to_string();
        for problem in &report.problems {
            let place = format!("config.toml:{}:{}", problem.line, problem.column);
            assert!(drawn.contains(&place), "{drawn}");
        }
        assert!(!report.is_ok());
    }
}

#[test]
fn what_is_no_toml_says_what_to_write() {
    let text = "[portal]\ntier = free\nid = \"1\n\n[objects.contacts\n[objects.deals]\npoll \"5s\"\nfilter = 1\n[http]\nlisten = \"0.0.0.0:9187\"\n";
    insta::assert_snapshot!("no_toml", checked(text).report.render(Drawing::Plain));
}

#[test]
fn a_file_that_is_no_text_or_too_large_is_refused() {
    let bytes = check_bytes(Path::new("c.toml"), b"a = 1\nb = \xff".to_vec());
    let problem = &bytes.report.problems[0];
    assert_eq!(
        (problem.code, problem.line, problem.column),
        ("not-text", 2, 5)
    );
    let drawn = bytes.report.to_string();
    assert!(drawn.contains("c.toml:2:5"), "{drawn}");
    let large = check_bytes(Path::new("c.toml"), vec![b'\n'; MAX_FILE_BYTES + 1]);
    assert_eq!(large.report.problems[0].code, "too-large");
    let none = check_file(Path::new("no/such/file.toml"));
    assert_eq!(none.report.problems[0].code, "unreadable");
    assert!(
        none.report.to_string().contains("`no/such/file.toml`"),
        "{}",
        none.report
    );
}

#[test]
fn every_mistake_is_shown_at_once() {
    insta::assert_snapshot!("mistakes", checked(MISTAKES).report.render(Drawing::Plain));
}

#[test]
fn the_json_form_is_the_documented_one() {
    let json = checked("[portal]\nteir = \"free\"\n[objects.contacts]")
        .report
        .to_json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).expect("json"), @r#"
    {
      "ok": false,
      "problems": [
        {
          "code": "unknown-key",
          "column": 1,
          "file": "config.toml",
          "hint": "write `tier`",
          "key": "portal.teir",
          "line": 2,
          "message": "unknown key `teir` in `[portal]`",
          "severity": "error"
        }
      ]
    }
    "#);
}

#[test]
fn every_setting_in_force_is_shown_with_its_origin() {
    let checked = checked(
        "[schedule]\npoll = \"20s\"\n[objects.deals]\nconflict = \"local\"\n[objects.deals.properties]\namount = \"value\"",
    );
    insta::assert_snapshot!(
        "settings",
        render_settings(Path::new("config.toml"), &checked.settings)
    );
}

#[test]
fn the_longest_wait_is_nine_polls_unless_it_is_written_beside_them() {
    let check = |schedule: &str, object: &str, poll: &str, longest: Option<u64>| {
        let text = format!("[schedule]\n{schedule}\n[objects.contacts]\n{object}\n");
        let config = config(&text);
        let rhythm = config.poll.of(&config.mapping.objects[0].object);
        let longest = longest.map(std::time::Duration::from_secs);
        assert_eq!(rhythm.poll.to_string(), poll, "{text}");
        assert_eq!(rhythm.longest(), longest, "{text}");
    };
    let cron = "poll = \"0 * * * * *\"";
    check("", "", "10s", Some(90));
    check("poll = \"20s\"", "", "20s", Some(180));
    check("poll_idle = \"10s\"", "", "10s", Some(10));
    check("poll = \"20s\"\npoll_idle = \"1h\"", "", "20s", Some(3_600));
    check("poll_idle = \"1h\"", "poll = \"5s\"", "5s", Some(45));
    check("poll = \"20s\"", "poll_idle = \"30s\"", "20s", Some(30));
    check("", "poll = \"5s\"\npoll_idle = \"6s\"", "5s", Some(6));
    check(cron, "", "0 * * * * *", None);
    check(cron, "poll_idle = \"1h\"", "0 * * * * *", None);
    check(cron, "poll = \"5s\"", "5s", Some(45));
}

#[test]
fn the_example_is_right_and_complete() {
    let config = config(EXAMPLE);
    assert_eq!(config.warnings, []);
    assert_eq!(config.mapping.objects.len(), 5);
    for key in keys::ALL.iter().copied().flatten() {
        assert!(is_word_of(key, EXAMPLE), "`{key}` is not in the example");
        assert!(is_word_of(key, MANUAL), "`{key}` is not in the manual");
    }
}

fn is_word_of(key: &str, text: &str) -> bool {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .any(|word| word == key)
}

#[test]
fn what_the_example_calls_a_default_is_one() {
    let minimal = config("[objects.contacts]");
    let example = config(EXAMPLE);
    assert_eq!(example.limits, minimal.limits);
    assert_eq!(example.guard, minimal.guard);
    assert_eq!(example.retention, minimal.retention);
    assert_eq!(example.portal, minimal.portal);
    assert_eq!(example.log, minimal.log);
    assert_eq!(example.auth, minimal.auth);
    assert_eq!(example.database, minimal.database);
    assert_eq!(
        (example.poll.poll, example.poll.reconcile),
        (minimal.poll.poll, minimal.poll.reconcile)
    );
    assert_eq!(
        (example.poll.again, example.poll.overlap),
        (minimal.poll.again, minimal.poll.overlap)
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let checked = check_bytes(Path::new("c.toml"), bytes);
        proptest::prop_assert!(!checked.report.render(Drawing::Plain).is_empty());
    }

    #[test]
    fn no_slip_of_the_pen_makes_it_panic(at in 0_usize..9000, length in 0_usize..40, instead in "[\\[\\]{}=\"'.#\n a-zé0-9,]{0,6}") {
        let mut text = format!("{MISTAKES}{EXAMPLE}").replace("\n# ", "\n");
        if at % 2 == 0 {
            text = EXAMPLE.to_owned();
        }
        let start = text.floor_char_boundary(at);
        let end = text.floor_char_boundary(start + length).max(start);
        text.replace_range(start..end, &instead);
        let checked = check_bytes(Path::new("c.toml"), text.into_bytes());
        proptest::prop_assert!(!checked.report.render(Drawing::Plain).contains("0f8fad5b-d9cb-469f-a165-70867728950e"));
        proptest::prop_assert_eq!(checked.config.is_some(), checked.report.is_ok());
    }
}
