//! `webhooks list` and `webhooks apply`, for each kind of app.

use std::process::Output;

use hubsyncd::simulator::settings::{DEFAULT_TOKEN, Settings};
use hubsyncd::simulator::webhooks::{ClientSecret, DEFAULT_SECRET, Webhooks};

use crate::daemon::{CONTACTS, Site};
use crate::portal::Portal;

const KEY: &str = "dev-0000-key/with?odd&letters";

fn settings(version: &str, more: &str) -> String {
    format!(
        "[webhooks]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://sync.example.com/webhooks/hubspot\"\n\
         client_secret = {{ file = \"secret\" }}\n{more}\n{version}"
    )
}

fn site(portal: &Portal, version: &str, more: &str) -> Site {
    let site = Site::with(portal, &settings("", more), CONTACTS);
    let text = std::fs::read_to_string(site.path("config.toml")).expect("a file");
    let others = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("api_version"));
    let text = others.collect::<String>().replace(
        "[portal]\n",
        &format!("[portal]\napi_version = \"{version}\"\n"),
    );
    std::fs::write(site.path("config.toml"), text).expect("written");
    std::fs::write(site.path("secret"), DEFAULT_SECRET).expect("written");
    std::fs::write(site.path("key"), KEY).expect("written");
    site
}

fn by_api() -> &'static str {
    "app_id = 1160452\ndeveloper_key = { file = \"key\" }"
}

fn explanation(output: &Output) -> String {
    let all = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn by_api_the_plan_is_shown_and_carried_out_in_every_version() {
    for version in ["v3", "2026-03", "2026-09"] {
        let portal = Portal::with(Settings {
            developer_key: Some(ClientSecret(KEY.to_owned())),
            webhooks: Some(Webhooks {
                by_subscription: true,
                ..Webhooks::default()
            }),
            ..Settings::default()
        });
        let site = site(&portal, version, by_api());
        let listed = explanation(&site.run(&["webhooks", "list"]));
        let plan = explanation(&site.run(&["webhooks", "list", "--json"]));
        assert!(
            plan.contains("set maxConcurrentRequests to 10"),
            "what an app without settings gets is shown: {plan}"
        );
        assert!(listed.contains("app 1160452 calls nothing yet"), "{listed}");
        assert!(
            listed.contains("missing  contact.propertyChange email"),
            "{listed}"
        );
        // Nobody is there to be asked.
        let asked = site.run(&["webhooks", "apply"]);
        assert_eq!(asked.status.code(), Some(2));
        assert!(
            explanation(&asked).contains("give `--yes`"),
            "{}",
            explanation(&asked)
        );
        assert!(portal.stand().active_subscriptions().is_empty());
        let applied = site.run(&["webhooks", "apply", "--yes"]);
        assert!(applied.status.success(), "{}", explanation(&applied));
        let mut active: Vec<String> = portal
            .stand()
            .active_subscriptions()
            .into_iter()
            .map(|(kind, property)| {
                property.map_or(kind.clone(), |property| format!("{kind} {property}"))
            })
            .collect();
        active.sort();
        assert_eq!(
            active,
            [
                "contact.associationChange",
                "contact.creation",
                "contact.deletion",
                "contact.merge",
                "contact.privacyDeletion",
                "contact.propertyChange city",
                "contact.propertyChange email",
                "contact.propertyChange firstname",
                "contact.propertyChange lastname",
                "contact.restore",
            ]
        );
        let again = explanation(&site.run(&["webhooks", "apply", "--yes"]));
        assert!(again.contains("nothing to do"), "{again}");
        // A property less is paused, and switched on when it is back.
        let text = std::fs::read_to_string(site.path("config.toml")).expect("a file");
        std::fs::write(
            site.path("config.toml"),
            text.replace("city = \"city\"\n", ""),
        )
        .expect("written");
        let less = explanation(&site.run(&["webhooks", "apply", "--yes"]));
        assert!(
            less.contains("paused contact.propertyChange city"),
            "{less}"
        );
        assert_eq!(portal.stand().active_subscriptions().len(), 9);
        std::fs::write(site.path("config.toml"), text).expect("written");
        let more = explanation(&site.run(&["webhooks", "apply", "--yes"]));
        assert!(
            more.contains("switched on contact.propertyChange city"),
            "{more}"
        );
        let json = explanation(&site.run(&["webhooks", "list", "--json"]));
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            value["target_url"],
            "https://sync.example.com/webhooks/hubspot"
        );
        assert_eq!(value["plan"], serde_json::json!([]));
        for text in [listed, less, more, json] {
            assert!(
                !text.contains(KEY) && !text.contains("dev%2D0000"),
                "the key is shown"
            );
        }
    }
}

#[test]
fn another_url_leaves_the_app_s_throttling_as_it_is() {
    let portal = Portal::with(Settings {
        developer_key: Some(ClientSecret(KEY.to_owned())),
        ..Settings::default()
    });
    portal
        .stand()
        .set_app_target("https://old.example.com/hook", 20);
    let site = site(&portal, "2026-03", by_api());
    let applied = site.run(&["webhooks", "apply", "--yes"]);
    let said = explanation(&applied);
    assert!(applied.status.success(), "{said}");
    assert!(
        said.contains("set the target URL") && !said.contains("maxConcurrentRequests"),
        "{said}"
    );
    assert_eq!(portal.stand().app_concurrent(), 20);
}

#[test]
fn a_property_that_can_t_be_subscribed_stops_no_other() {
    let portal = Portal::with(Settings {
        developer_key: Some(ClientSecret(KEY.to_owned())),
        ..Settings::default()
    });
    portal.stand().refuse_subscription("city");
    let site = site(&portal, "2026-03", by_api());
    let applied = site.run(&["webhooks", "apply", "--yes"]);
    let said = explanation(&applied);
    assert_eq!(applied.status.code(), Some(1), "{said}");
    assert!(
        said.contains("not subscribed contact.propertyChange city: ")
            && said.contains("subscribed contact.propertyChange lastname"),
        "{said}"
    );
    assert_eq!(portal.stand().active_subscriptions().len(), 9);
}

#[test]
fn a_wrong_developer_key_is_told_without_showing_it() {
    let portal = Portal::with(Settings {
        developer_key: Some(ClientSecret("another".to_owned())),
        ..Settings::default()
    });
    let site = site(&portal, "2026-03", by_api());
    let output = site.run(&["webhooks", "apply", "--yes"]);
    let said = explanation(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("HubSpot refuses the developer key for app 1160452 (401)"),
        "{said}"
    );
    assert!(
        !said.contains("dev-0000") && !said.contains("hapikey"),
        "{said}"
    );
}

#[test]
fn a_project_app_gets_its_file_and_keeps_its_uid() {
    let portal = Portal::quick();
    let site = site(&portal, "2026-03", "");
    let folder = site.path("project");
    std::fs::create_dir_all(&folder).expect("made");
    let name = folder.to_str().expect("text");
    let refused = explanation(&site.run(&["webhooks", "apply", "--yes", "--project", name]));
    assert!(refused.contains("is no HubSpot project"), "{refused}");
    std::fs::write(folder.join("hsproject.json"), "{}").expect("written");
    let written = site.run(&["webhooks", "apply", "--yes", "--project", name]);
    assert!(written.status.success(), "{}", explanation(&written));
    let path = folder.join("src/app/webhooks/webhooks-hsmeta.json");
    let read = || -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON")
    };
    let config = read();
    assert_eq!(config["type"], "webhooks");
    assert_eq!(
        config["config"]["settings"]["targetUrl"],
        "https://sync.example.com/webhooks/hubspot"
    );
    let objects = config["config"]["subscriptions"]["crmObjects"]
        .as_array()
        .expect("a list");
    assert_eq!(objects.len(), 9);
    // What somebody else wrote into it stays.
    let mut own = config;
    own["uid"] = "mine".into();
    own["config"]["settings"]["maxConcurrentRequests"] = 7.into();
    own["config"]["settings"]["targetUrl"] = "https://old.example.com".into();
    own["config"]["subscriptions"]["hubEvents"] =
        serde_json::json!([{ "subscriptionType": "conversation.newMessage", "active": true }]);
    std::fs::write(&path, own.to_string()).expect("written");
    let merged = site.run(&["webhooks", "apply", "--yes", "--project", name]);
    let said = explanation(&merged);
    assert!(
        merged.status.success()
            && said.contains("in place of https://old.example.com")
            && said.contains("subscribe contact.privacyDeletion"),
        "{said}"
    );
    let file = read();
    assert_eq!(file["uid"], "mine");
    assert_eq!(file["config"]["settings"]["maxConcurrentRequests"], 7);
    assert_eq!(
        file["config"]["subscriptions"]["hubEvents"][0]["subscriptionType"],
        "conversation.newMessage"
    );
    let again = explanation(&site.run(&["webhooks", "apply", "--project", name]));
    assert!(again.contains("nothing to do"), "{again}");
    std::fs::write(&path, "[]").expect("written");
    let broken = explanation(&site.run(&["webhooks", "apply", "--yes", "--project", name]));
    assert!(
        broken.contains("is no JSON object of type `webhooks`"),
        "{broken}"
    );
}

#[test]
fn without_an_api_it_says_what_to_set_where() {
    let portal = Portal::quick();
    let site = site(&portal, "2026-03", "");
    let by_hand = site.run(&["webhooks", "apply"]);
    let said = explanation(&by_hand);
    assert!(
        by_hand.status.success()
            && said.contains("Target URL  https://sync.example.com/webhooks/hubspot"),
        "{said}"
    );
    assert!(
        said.contains("contact.propertyChange email") && said.contains("app 1160452"),
        "{said}"
    );
    assert!(!said.contains(DEFAULT_TOKEN), "a secret is shown");
    // A token that is no app's.
    portal.stand().settings_mut().app_id = 0;
    let service_key = site.run(&["webhooks", "apply"]);
    let said = explanation(&service_key);
    assert_eq!(service_key.status.code(), Some(1), "{said}");
    assert!(
        said.contains("HubSpot gives it no webhooks") && said.contains("schedule.poll"),
        "{said}"
    );
    // One that is dead tells nothing of its kind.
    portal.stand().settings_mut().revoke(DEFAULT_TOKEN);
    let dead = site.run(&["webhooks", "apply"]);
    let said = explanation(&dead);
    assert_eq!(dead.status.code(), Some(1), "{said}");
    assert!(
        said.contains("HubSpot refuses the portal's token") && !said.contains("service key"),
        "{said}"
    );
    // Without the section there is nothing to subscribe for.
    let bare = Site::new(&portal);
    let output = bare.run(&["webhooks", "list"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        explanation(&output).contains("has no `[webhooks]`"),
        "{}",
        explanation(&output)
    );
}
