//! `check --online`: each of the doctor's lines, turned yellow or red by what should turn it, and the page when all is well.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::process::Output;

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::portal::NewObject;
use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use hubsyncd::simulator::webhooks::{ClientSecret, DEFAULT_SECRET, Webhooks};
use serde_json::{Value, json};

use crate::codes::produces;
use crate::daemon::{CONTACTS, Site};
use crate::disturbances::with_a_certificate_of_its_own;
use crate::portal::Portal;
use crate::ports::free_port;

const KEY: &str = "dev-0000-key";

/// What people do before the doctor looks.
type Arrange = Box<dyn Fn(&Portal, &Site)>;

/// What makes a line of the page other than green.
struct Case {
    /// Of the portal.
    settings: Settings,
    /// More sections of the file.
    sections: String,
    /// The file's objects.
    objects: String,
    /// What the file says in the place of what it would say.
    instead: Vec<(&'static str, String)>,
    /// Variables of the environment.
    variables: Vec<(&'static str, &'static str)>,
    /// What people do in the portal or on the machine before.
    arrange: Arrange,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            settings: Settings::quick(),
            sections: String::new(),
            objects: CONTACTS.to_owned(),
            instead: Vec::new(),
            variables: Vec::new(),
            arrange: Box::new(|_, _| {}),
        }
    }
}

impl Case {
    fn of_settings(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    fn of_objects(objects: &str) -> Self {
        Self {
            objects: objects.to_owned(),
            ..Self::default()
        }
    }

    fn of_sections(sections: String) -> Self {
        Self {
            sections,
            ..Self::default()
        }
    }

    fn instead(mut self, what: &'static str, other: &str) -> Self {
        self.instead.push((what, other.to_owned()));
        self
    }

    fn arranged(mut self, arrange: impl Fn(&Portal, &Site) + 'static) -> Self {
        self.arrange = Box::new(arrange);
        self
    }

    fn site(&self, portal: &Portal) -> Site {
        let site = Site::with(portal, &self.sections, &self.objects);
        std::fs::write(site.path("secret"), DEFAULT_SECRET).expect("written");
        std::fs::write(site.path("key"), KEY).expect("written");
        let mut text = std::fs::read_to_string(site.path("config.toml")).expect("a file");
        text = text.replace(&portal.url(), "BASE");
        for (what, other) in &self.instead {
            assert!(text.contains(what), "{what}");
            text = text.replace(what, other);
        }
        std::fs::write(
            site.path("config.toml"),
            text.replace("BASE", &portal.url()),
        )
        .expect("written");
        (self.arrange)(portal, &site);
        site
    }

    fn run(&self) -> (Output, Value) {
        let portal = Portal::with(self.settings.clone());
        let site = self.site(&portal);
        let mut command = site.command(&["check", "--online", "--json"]);
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
        let output = command
            .envs(self.variables.clone())
            .output()
            .expect("it runs");
        let page = page_of(&output);
        (output, page)
    }
}

fn page_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        panic!("{error}: {told}")
    })
}

fn line<'a>(page: &'a Value, name: &str) -> &'a Value {
    let lines = page["checks"].as_array().expect("a list");
    lines
        .iter()
        .find(|line| line["name"] == name)
        .unwrap_or_else(|| panic!("no line `{name}` in {page:#}"))
}

/// Each case turns its line, has a remedy there, and ends as its colour says.
fn check(cases: Vec<(&str, &str, &str, Case)>) {
    for (name, status, code, case) in cases {
        let (output, page) = case.run();
        let found = line(&page, name);
        assert_eq!(
            (found["status"].as_str(), found["code"].as_str()),
            (Some(status), Some(code)),
            "{name}: {found:#}"
        );
        let has_words = |key: &str| found[key].as_str().is_some_and(|words| !words.is_empty());
        assert!(has_words("message") && has_words("hint"), "{found:#}");
        let is_red = page["checks"]
            .as_array()
            .is_some_and(|lines| lines.iter().any(|line| line["status"] == "red"));
        assert_eq!(
            output.status.code(),
            Some(i32::from(is_red)),
            "{name}: {page:#}"
        );
        assert_eq!(page["ok"], !is_red, "{name}");
        assert!(is_red == (status == "red"), "{name}: {page:#}");
    }
}

fn denied(scope: &str) -> Settings {
    Settings {
        denied_scopes: BTreeSet::from([scope.to_owned()]),
        ..Settings::quick()
    }
}

fn webhooks(public_url: &str, more: &str) -> String {
    format!(
        "[webhooks]\nlisten = \"127.0.0.1:{}\"\npublic_url = \"{public_url}\"\n\
         client_secret = {{ file = \"secret\" }}\n{more}\n",
        free_port()
    )
}

const BY_API: &str = "app_id = 1160452\ndeveloper_key = { file = \"key\" }";

fn with_developer() -> Settings {
    Settings {
        developer_key: Some(ClientSecret(KEY.to_owned())),
        webhooks: Some(Webhooks {
            by_subscription: true,
            ..Webhooks::default()
        }),
        ..Settings::quick()
    }
}

#[test]
fn the_way_to_hubspot_turns_red_where_it_is_closed() {
    let elsewhere = |host: &str| {
        Case::default().instead(
            "base_url = \"BASE\"",
            &format!("base_url = \"{host}\"\nallow_other_host = true"),
        )
    };
    let mut no_authorities = elsewhere("https://localhost:1");
    no_authorities.variables = vec![("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "")];
    let mut no_proxy = elsewhere("https://hubspot.invalid");
    no_proxy.variables = vec![("HTTPS_PROXY", "socks5://proxy:1")];
    let mut closed_proxy = elsewhere("https://hubspot.invalid");
    closed_proxy.variables = vec![("HTTPS_PROXY", "http://127.0.0.1:1")];
    let of_its_own = with_a_certificate_of_its_own();
    check(vec![
        (
            "certificates",
            "red",
            produces("no-authorities"),
            no_authorities,
        ),
        (
            "certificates",
            "red",
            produces("tls"),
            elsewhere(&format!("https://localhost:{of_its_own}")),
        ),
        ("proxy", "red", produces("bad-proxy"), no_proxy),
        ("proxy", "red", produces("no-connection"), closed_proxy),
        (
            "dns",
            "red",
            produces("dns"),
            elsewhere("https://hubspot.invalid"),
        ),
        (
            "portal",
            "red",
            produces("no-connection"),
            elsewhere("http://127.0.0.1:1"),
        ),
    ]);
}

#[test]
fn token_portal_and_limits_have_their_lines() {
    let used = |requests: u64| {
        Case::of_settings(Settings {
            limits_enabled: true,
            ..Settings::quick()
        })
        .arranged(move |portal, _| {
            let now = portal.now_ms();
            portal.stand().use_today(requests, now);
        })
    };
    check(vec![
        (
            "token",
            "red",
            produces("unauthorized"),
            Case::default().arranged(|portal, _| {
                portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
            }),
        ),
        (
            "portal",
            "red",
            produces("other-portal"),
            Case::default().instead("[portal]\n", "[portal]\nid = 1\n"),
        ),
        (
            "portal",
            "red",
            produces("other-portal"),
            // Of which the database knows, and the file says nothing.
            Case::default().arranged(|portal, site| {
                site.once();
                portal.stand().settings_mut().portal_id = 4_711;
            }),
        ),
        (
            "portal",
            "red",
            produces("forbidden"),
            Case::default().arranged(|portal, _| {
                portal.script(FaultKind::Forbidden, 1_000, "account-info");
            }),
        ),
        (
            "tier",
            "yellow",
            produces("tier-differs"),
            Case::of_settings(Settings {
                burst_limit: 100,
                ..Settings::quick()
            }),
        ),
        ("day", "yellow", produces("day-nearly-spent"), used(600_000)),
        ("day", "red", produces("out-of-quota"), used(625_000)),
        (
            "clock",
            "yellow",
            produces("clock-off"),
            Case::of_settings(Settings {
                clock_offset_ms: 120_000,
                ..Settings::quick()
            }),
        ),
    ]);
}

#[test]
fn the_database_s_folder_and_the_ports_have_their_lines() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let door = webhooks("https://example.com/webhooks/hubspot", "");
    let listen = door.lines().nth(1).expect("an address").to_owned();
    let door = door.replace(&listen, &format!("listen = \"{address}\""));
    check(vec![
        (
            "database",
            "red",
            produces("no-folder"),
            Case::default().instead("path = \"crm.db\"", "path = \"nowhere/crm.db\""),
        ),
        (
            "database",
            "red",
            produces("no-database"),
            Case::default().arranged(|_, site| {
                std::fs::write(site.path("crm.db"), "name,city\n".repeat(1_000)).expect("written");
            }),
        ),
        (
            "database",
            "red",
            produces("newer-database"),
            Case::default().arranged(|_, site| {
                site.once();
                site.execute("PRAGMA user_version = 9999");
            }),
        ),
        (
            "database",
            "yellow",
            produces("folder-not-setgid"),
            Case::default().arranged(|_, site| {
                let mode = std::fs::Permissions::from_mode(0o770);
                std::fs::set_permissions(site.path("."), mode).expect("ours");
            }),
        ),
        (
            "pages",
            "red",
            "damaged-database",
            Case::default().arranged(|_, site| {
                site.once();
                site.number("PRAGMA wal_checkpoint(TRUNCATE)");
                let size = site.number("PRAGMA page_size") as u64;
                let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'contacts'";
                let page = site.number(root) as u64;
                let file = File::options().write(true).open(site.path("crm.db"));
                let file = file.expect("the database");
                let torn = vec![0xff; size as usize];
                file.write_all_at(&torn, (page - 1) * size)
                    .expect("written");
            }),
        ),
        (
            "listener http",
            "red",
            produces("address-taken"),
            Case::of_sections(format!("[http]\nlisten = \"{address}\"\n")),
        ),
        (
            "listener webhooks",
            "red",
            produces("address-taken"),
            Case::of_sections(door),
        ),
        (
            "listener webhooks",
            "red",
            "bad-certificate",
            Case::of_sections(webhooks(
                "https://example.com/webhooks/hubspot",
                "tls = { cert = \"no.pem\", key = \"no.key\" }",
            )),
        ),
    ]);
}

#[test]
fn a_secret_that_the_daemon_would_not_start_without_ends_every_command_that_asks_hubspot() {
    for section in [
        "[http]\nlisten = \"127.0.0.1:0\"\ntoken = { env = \"HUBSYNC_NOT_SET\" }\n".to_owned(),
        webhooks("https://example.com/webhooks/hubspot", "")
            .replace("{ file = \"secret\" }", "{ env = \"HUBSYNC_NOT_SET\" }"),
    ] {
        let portal = Portal::quick();
        let site = Site::with(&portal, &section, CONTACTS);
        for command in [&["check", "--online"][..], &["once"], &["run"]] {
            let output = site.run(command);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{command:?}: {told}");
            assert!(told.contains("HUBSYNC_NOT_SET"), "{command:?}: {told}");
        }
        assert_eq!(portal.requests("/objects/"), 0);
    }
}

#[test]
fn the_webhook_s_url_and_the_subscriptions_have_their_lines() {
    let here = "https://localhost/webhooks/hubspot";
    let with = |settings: Settings, url: &str, more: &str| Case {
        settings,
        ..Case::of_sections(webhooks(url, more))
    };
    let service_key = Settings {
        app_id: 0,
        ..Settings::quick()
    };
    check(vec![
        (
            "webhook url",
            "yellow",
            produces("webhook-url-private"),
            with(Settings::quick(), here, ""),
        ),
        (
            "webhook url",
            "yellow",
            produces("webhook-url-unknown"),
            with(
                Settings::quick(),
                "https://sync.invalid/webhooks/hubspot",
                "",
            ),
        ),
        (
            "webhook url",
            "yellow",
            produces("webhook-url-differs"),
            with(with_developer(), here, BY_API).arranged(|portal, _| {
                let path = format!("/webhooks/v3/1160452/settings?hapikey={KEY}");
                let throttling = json!({"maxConcurrentRequests": 10, "period": "SECONDLY"});
                let target = "http://127.0.0.1:1/other";
                let body = json!({"targetUrl": target, "throttling": throttling});
                let (status, answer) = portal.call("PUT", &path, &body);
                assert_eq!(status, 200, "{answer}");
            }),
        ),
        (
            "subscriptions",
            "yellow",
            produces("subscriptions-differ"),
            with(with_developer(), here, BY_API),
        ),
        (
            "subscriptions",
            "yellow",
            produces("developer-key-refused"),
            with(Settings::quick(), here, BY_API),
        ),
        (
            "subscriptions",
            "yellow",
            produces("no-app"),
            with(service_key, here, ""),
        ),
    ]);
}

#[test]
fn each_scope_that_is_missing_is_named_with_its_object() {
    let scope = |settings| Case::of_settings(settings);
    let of_key = |scope: &str| {
        Case::of_settings(Settings {
            app_id: 0,
            ..denied(scope)
        })
    };
    check(vec![
        (
            "scope contacts read",
            "red",
            produces("missing-scope"),
            scope(denied("crm.objects.contacts.read")),
        ),
        (
            "scope contacts write",
            "red",
            produces("missing-scope"),
            scope(denied("crm.objects.contacts.write")),
        ),
        (
            "scope contacts write",
            "red",
            produces("missing-scope"),
            of_key("crm.objects.contacts.write"),
        ),
        (
            "scope contacts schema",
            "red",
            produces("missing-scope"),
            scope(denied("crm.schemas.contacts.read")),
        ),
    ]);
    let (_, page) = scope(denied("crm.schemas.contacts.read")).run();
    let told = line(&page, "scope contacts schema")["message"].to_string();
    assert!(told.contains("crm.schemas.contacts.read"), "{told}");
    assert!(told.contains("not looked at for that"), "{told}");
    let lines = page["checks"].as_array().expect("a list");
    let left = |line: &&Value| {
        line["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("property"))
    };
    assert_eq!(lines.iter().filter(left).count(), 0, "{page:#}");
    // What is only pulled needs no scope for writes.
    let case = Case {
        objects: format!("[objects.contacts]\ndirection = \"pull\"\n{CONTACTS}"),
        ..scope(denied("crm.objects.contacts.write"))
    };
    let (output, page) = case.run();
    assert_eq!(output.status.code(), Some(0), "{page:#}");
}

/// The names of a page's lines.
fn names(page: &Value) -> Vec<String> {
    let lines = page["checks"].as_array().expect("a list").iter();
    let names = lines.map(|line| line["name"].as_str().expect("a name").to_owned());
    names.collect()
}

#[test]
fn what_hangs_on_a_red_line_is_left_out_and_that_line_says_so() {
    let pair = "[associations]\nworks = { from = \"deals\", to = \"companies\" }\n";
    let objects = format!("[objects.deals]\n[objects.companies]\n{pair}");
    let missing = Settings {
        missing_objects: BTreeSet::from(["companies".to_owned()]),
        ..Settings::quick()
    };
    for (settings, red, left) in [
        (
            denied("crm.objects.deals.read"),
            "scope deals read",
            vec!["pipelines deals", "association works"],
        ),
        (missing, "object companies", vec!["association works"]),
    ] {
        let case = Case {
            settings,
            ..Case::of_objects(&objects)
        };
        let (output, page) = case.run();
        assert_eq!(output.status.code(), Some(1), "{page:#}");
        let told = line(&page, red)["message"].as_str().expect("words");
        let (_, told) = told
            .split_once("not looked at for that: ")
            .expect("it says so");
        for name in left {
            assert!(told.contains(&format!("`{name}`")), "{red}: {told}");
            assert!(!names(&page).iter().any(|line| line == name), "{page:#}");
        }
    }
    // The scopes of what the token may not read the properties of are looked at all the same.
    let case = Case::of_settings(denied("crm.schemas.contacts.read"));
    let (_, page) = case.run();
    assert_eq!(line(&page, "scope contacts read")["status"], "green");
}

#[test]
fn a_day_that_ends_in_the_middle_is_the_day_s_line_and_no_scope_s() {
    let (output, page) = Case::of_settings(Settings {
        limits_enabled: true,
        ..Settings::quick()
    })
    .arranged(|portal, _| {
        let now = portal.now_ms();
        portal.stand().use_today(624_997, now);
    })
    .run();
    assert_eq!(output.status.code(), Some(1), "{page:#}");
    let day = line(&page, "day");
    assert_eq!(
        (&day["status"], &day["code"]),
        (&json!("red"), &json!("out-of-quota")),
        "{page:#}"
    );
    let told = day["message"].as_str().expect("words");
    assert!(
        told.contains("not looked at for that: what of the mapping"),
        "{told}"
    );
    let lines = page["checks"].as_array().expect("a list").iter();
    let red = lines.filter(|line| line["status"] == "red");
    assert_eq!(red.count(), 1, "{page:#}");
}

#[test]
fn requests_of_the_check_itself_are_no_other_app_s() {
    let (_, page) = Case::of_settings(Settings {
        limits_enabled: true,
        ..Settings::quick()
    })
    .arranged(|portal, _| {
        let now = portal.now_ms();
        portal.stand().use_today(1_000, now);
    })
    .run();
    let told = line(&page, "day")["message"].as_str().expect("words");
    assert!(told.contains(", 1000 of them by other apps"), "{told}");
}

#[test]
fn a_property_that_was_written_before_and_is_read_only_is_told_as_sync_fields_tells_it() {
    const TEXT: (&str, &str) = ("string", "text");
    let portal = Portal::quick();
    make_property(&portal, "colour", "string", "text");
    make_property(&portal, "gone", "string", "text");
    let objects = format!("{CONTACTS}colour = \"colour\"\ngone = \"gone\"\n");
    let site = Site::with(&portal, "", &objects);
    site.once();
    portal.stand().redefine("contacts", "colour", TEXT, true);
    let (status, _) = portal.call("DELETE", "/crm/v3/properties/contacts/gone", &Value::Null);
    assert_eq!(status, 204);
    site.once();
    let page = page_of(&site.run(&["check", "--online", "--json"]));
    for name in ["colour", "gone"] {
        let told = site.text(&format!(
            "SELECT hint FROM sync_fields WHERE property = '{name}'"
        ));
        let line = line(&page, &format!("property contacts.{name}"));
        assert_eq!(line["hint"].as_str(), told.as_deref(), "{line:#}");
        assert_eq!(line["status"], "yellow");
    }
    let told = site.text("SELECT problem FROM sync_fields WHERE property = 'colour'");
    let line = line(&page, "property contacts.colour");
    assert_eq!(line["message"].as_str(), told.as_deref(), "{line:#}");
}

#[test]
fn what_rows_hold_and_hubspot_has_no_longer_or_their_column_can_not_is_yellow_before_the_daemon_has_seen_it()
 {
    let portal = Portal::quick();
    make_property(&portal, "colour", "enumeration", "select");
    make_property(&portal, "score", "string", "text");
    let objects = format!(
        "{CONTACTS}colour = \"colour\"\nscore = {{ column = \"score\", type = \"number\" }}\n[objects.deals]\n"
    );
    let ada = portal.contact("ada@example.com");
    portal.edit(ada, &[("colour", "b"), ("score", "7")]);
    portal.deal();
    let site = Site::with(&portal, "[schedule]\nreference = \"1s\"\n", &objects);
    site.once();
    let stage = site.text("SELECT dealstage FROM deals").expect("a stage");
    let page = || page_of(&site.run(&["check", "--online", "--json"]));
    let names = ["property contacts.colour", "property deals.dealstage"];
    set_options(&portal, "colour", &["a"]);
    portal.stand().settings_mut().deleted_stages.insert(stage);
    portal.edit(ada, &[("score", "many")]);
    let before = page();
    site.once();
    let after = page();
    let told = "SELECT code || ' ' || problem || ' ' || hint FROM sync_fields WHERE object || '.' || property = ";
    for (name, code) in [
        (names[0], produces("option-missing")),
        (names[1], produces("unknown-stage")),
        ("property contacts.score", produces("unreadable-value")),
    ] {
        let found = line(&after, name);
        let words = ["code", "message", "hint"].map(|key| found[key].as_str().unwrap_or_default());
        let of_field = name.trim_start_matches("property ");
        assert_eq!(
            site.text(&format!("{told}'{of_field}'")).as_deref(),
            Some(words.join(" ").as_str())
        );
        assert_eq!((&found["status"], words[0]), (&json!("yellow"), code));
        // What a column can't hold is known once it was read.
        let is_seen = name != "property contacts.score";
        assert_eq!(line(&before, name) == found, is_seen, "{before:#}");
    }
    set_options(&portal, "colour", &["a", "b"]);
    portal.stand().settings_mut().deleted_stages.clear();
    let healed = page();
    for name in names {
        assert_eq!(line(&healed, name)["status"], "green");
    }
}

/// Gives a property of contacts these options alone.
fn set_options(portal: &Portal, name: &str, values: &[&str]) {
    let options: Vec<Value> = values
        .iter()
        .map(|value| json!({"label": value, "value": value}))
        .collect();
    let path = format!("/crm/v3/properties/contacts/{name}");
    let (status, answer) = portal.call("PATCH", &path, &json!({ "options": options }));
    assert_eq!(status, 200, "{answer}");
}

/// A property that somebody makes in the portal.
fn make_property(portal: &Portal, name: &str, kind: &str, field_type: &str) {
    let body = json!({"name": name, "label": name, "type": kind, "fieldType": field_type,
        "groupName": "contactinformation",
        "options": if kind == "enumeration" { json!([{"label": "A", "value": "a"}, {"label": "B", "value": "b"}]) } else { json!([]) }});
    let (status, answer) = portal.call("POST", "/crm/v3/properties/contacts", &body);
    assert_eq!(status, 201, "{answer}");
}

fn contacts_with(property: &str) -> String {
    format!("{CONTACTS}{property}\n")
}

#[test]
fn each_property_that_is_not_as_the_file_has_it_is_yellow() {
    let archived =
        Case::of_objects(&contacts_with("vip_level = \"level\"")).arranged(|portal, _| {
            make_property(portal, "vip_level", "string", "text");
            let none = Value::Null;
            let (status, _) = portal.call("DELETE", "/crm/v3/properties/contacts/vip_level", &none);
            assert_eq!(status, 204);
        });
    check(vec![
        (
            "property contacts.vip_level",
            "yellow",
            produces("unknown-property"),
            Case::of_objects(&contacts_with("vip_level = \"level\"")),
        ),
        (
            "property contacts.vip_level",
            "yellow",
            produces("property-archived"),
            archived,
        ),
        (
            "property contacts.phone",
            "yellow",
            produces("property-type"),
            Case::of_objects(&contacts_with(
                "phone = { column = \"phone\", type = \"date\" }",
            )),
        ),
        (
            "property contacts.num_associated_deals",
            "yellow",
            produces("read-only-property"),
            Case::of_objects(&contacts_with("num_associated_deals = \"deals\"")),
        ),
        (
            "property contacts.phone",
            "yellow",
            produces("append-to-no-set"),
            Case::of_objects(&contacts_with(
                "phone = { column = \"phone\", write = \"append\" }",
            )),
        ),
    ]);
}

#[test]
fn a_key_or_match_that_can_not_be_used_as_declared_says_so() {
    let objects = |settings: &str, property: &str| {
        format!(
            "[objects.contacts]\n{settings}\n{}",
            contacts_with(property)
        )
    };
    let set = |case: Case| {
        case.arranged(|portal, _| make_property(portal, "likes", "enumeration", "checkbox"))
    };
    check(vec![
        (
            "key contacts",
            "red",
            produces("match-unusable"),
            Case::of_objects(&objects("key = \"reference\"", "reference = \"reference\"")),
        ),
        (
            "key contacts",
            "yellow",
            produces("key-not-unique"),
            Case::of_objects(&objects("key = \"phone\"", "phone = \"phone\"")),
        ),
        (
            "match contacts",
            "red",
            produces("match-unusable"),
            set(Case::of_objects(&objects(
                "match = \"likes\"",
                "likes = \"likes\"",
            ))),
        ),
        (
            "match contacts",
            "yellow",
            produces("match-by-search"),
            Case::of_objects(&objects(
                "direction = \"push\"\nmatch = \"phone\"",
                "phone = \"phone\"",
            )),
        ),
    ]);
}

const MACHINES: NewObject<'_> = NewObject {
    name: "machine",
    singular: "Machine",
    plural: "Machines",
    texts: &["model"],
    unique: &[],
    required: &["model"],
    associated: &[],
};

#[test]
fn objects_associations_and_pipelines_have_their_lines() {
    let machines = |portal: &Portal, _: &Site| {
        let now = portal.now_ms();
        portal.stand().create_object(MACHINES, now);
    };
    let pair = "[associations]\nmachines_contacts = { from = \"machine\", to = \"contacts\" }\n";
    let deals = "[objects.deals]\n";
    check(vec![
        (
            "object companies",
            "red",
            produces("object-unknown"),
            Case {
                settings: Settings {
                    missing_objects: BTreeSet::from(["companies".to_owned()]),
                    ..Settings::quick()
                },
                ..Case::of_objects("[objects.companies]\n")
            },
        ),
        (
            "object machine",
            "red",
            produces("object-unknown"),
            Case::of_objects("[objects.machine]\n"),
        ),
        (
            "object machine",
            "yellow",
            produces("required-property"),
            Case::of_objects("[objects.machine.properties]\nhs_object_id = { column = \"number\", direction = \"pull\" }\n")
                .arranged(machines),
        ),
        (
            "association machines_contacts",
            "yellow",
            produces("no-association-type"),
            Case::of_objects(&format!("{CONTACTS}[objects.machine]\n{pair}")).arranged(machines),
        ),
        (
            "pipelines deals",
            "yellow",
            produces("internal-error"),
            Case::of_objects(deals).arranged(|portal, _| {
                portal.script(FaultKind::InternalError, 1_000, "pipelines");
            }),
        ),
    ]);
}

#[test]
fn a_page_in_order_is_green_and_asks_for_nothing_to_be_changed() {
    let objects = format!(
        "{CONTACTS}[objects.companies]\n[objects.deals]\n[associations]\n\
         contacts_companies = {{ from = \"contacts\", to = \"companies\" }}\n"
    );
    let case = Case {
        settings: Settings::default(),
        ..Case::of_objects(&objects)
    };
    let portal = Portal::with(case.settings.clone());
    let site = case.site(&portal);
    let output = site.run(&["check", "--online", "--json"]);
    let page = page_of(&output);
    assert_eq!(output.status.code(), Some(0), "{page:#}");
    let mut names = BTreeSet::new();
    for line in page["checks"].as_array().expect("a list") {
        assert_eq!(line["status"], "green", "{line:#}");
        assert!(line["code"].is_null() && line["hint"].is_null(), "{line:#}");
        assert!(names.insert(line["name"].to_string()), "{line:#}");
    }
    for name in [
        "certificates",
        "proxy",
        "dns",
        "token",
        "portal",
        "tier",
        "day",
        "clock",
        "database",
        "scope deals write",
        "object deals",
        "property deals.amount",
        "key contacts",
        "match contacts",
        "association contacts_companies",
        "pipelines deals",
    ] {
        assert_eq!(line(&page, name)["status"], "green");
    }
    assert_eq!(page["ok"], true);
    assert!(!site.path("crm.db").exists(), "nothing was made");
    assert!(portal.stand().write_log().is_empty(), "nothing was written");
    portal.assert_limits_were_kept();
    insta::assert_snapshot!(in_words(&site));
}

/// The page as people read it, but for what differs from machine to machine, and from day to day.
fn in_words(site: &Site) -> String {
    let output = site.run(&["check", "--online"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let folder = site.path("").display().to_string();
    let text = text.replace(folder.trim_end_matches('/'), "FOLDER");
    let kept = text.lines().filter(|line| {
        !["database", "day:", "dns", "clock"]
            .iter()
            .any(|word| line.contains(word))
    });
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_page_with_troubles_says_of_each_what_to_do() {
    let objects = "[objects.contacts]\nkey = \"hs_lead_status\"\n[objects.contacts.properties]\n\
         email = \"email\"\nfirstnme = \"first_name\"\nlifecyclestage = { type = \"number\" }\n\
         hs_lead_status = \"lead_status\"\nhs_object_id = \"id\"\n\
         birthday = { create = { label = \"Birthday\", type = \"string\" } }\n\
         vip = { create = { label = \"VIP\", type = \"bool\" } }\n\
         [objects.companies]\n[objects.deals]\n[objects.unicorns]\n\
         [associations]\ndeals_companies = { from = \"deals\", to = \"companies\" }\n";
    let case = Case {
        settings: Settings {
            denied_scopes: BTreeSet::from([
                "crm.objects.companies.write".to_owned(),
                "crm.objects.deals.read".to_owned(),
            ]),
            ..Settings::default()
        },
        ..Case::of_objects(objects)
    };
    let portal = Portal::with(case.settings.clone());
    insta::assert_snapshot!(in_words(&case.site(&portal)));
}

#[test]
fn beside_a_running_daemon_its_own_things_are_in_order() {
    let portal = Portal::quick();
    portal.fill("contacts", 20);
    let http = format!("[http]\nlisten = \"127.0.0.1:{}\"\n", free_port());
    let door = webhooks("https://localhost/webhooks/hubspot", "");
    let mut site = Site::with(&portal, &format!("{http}{door}"), CONTACTS);
    std::fs::write(site.path("secret"), DEFAULT_SECRET).expect("written");
    site.start_and_load();
    let pid = site.number("SELECT pid FROM sync_health");
    let output = site.run(&["check", "--online", "--json"]);
    let page = page_of(&output);
    assert_eq!(output.status.code(), Some(0), "{page:#}");
    for name in [
        "database",
        "listener http",
        "listener webhooks",
        "webhook url",
    ] {
        assert_eq!(
            line(&page, name)["message"],
            format!("in use by hubsyncd, pid {pid}")
        );
    }
    assert_eq!(site.stop(), 0);
}

#[test]
fn beside_a_first_load_at_the_limit_neither_meets_a_429() {
    let portal = Portal::with(Settings {
        index_delay_max_ms: 300,
        ..Settings::default()
    });
    portal.fill("contacts", 25_000);
    let mut site = Site::new(&portal);
    site.start();
    site.until_sql("SELECT count(*) > 1000 FROM contacts");
    let output = site.run(&["check", "--online", "--json"]);
    let page = page_of(&output);
    assert_eq!(output.status.code(), Some(0), "{page:#}");
    assert!(site.number("SELECT count(*) FROM contacts") < 25_000);
    site.wait_loaded();
    portal.assert_limits_were_kept();
    // The window was full, and not only kept.
    let most = portal.stand().violations().most_in_ten_seconds;
    assert!(most > 150, "{most}");
    assert_eq!(site.stop(), 0);
}

#[test]
fn mistakes_of_the_file_and_unset_secrets_come_first() {
    let portal = Portal::quick();
    let site = Site::with(&portal, "", "[objects.contacts]\ntabel = \"x\"\n");
    let output = site.run(&["check", "--online", "--json"]);
    let page = page_of(&output);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!((&page["ok"], &page["checks"]), (&json!(false), &json!([])));
    assert_eq!(page["problems"].as_array().map(Vec::len), Some(1));
    assert!(portal.stand().request_log().is_empty());
    let site = Site::new(&portal);
    std::fs::remove_file(site.path("token")).expect("it was there");
    let output = site.run(&["check", "--online"]);
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("[secret-unreadable]\nhint: "), "{told}");
}
