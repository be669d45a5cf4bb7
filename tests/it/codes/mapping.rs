//! The codes of the mapping file's mistakes: a file for each, by `check --json`, which touches nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::produces;

/// `check` of a file.
fn check(file: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hubsyncd"))
        .args(["check", "--config"])
        .arg(file)
        .args(arguments)
        .env("HUBSPOT_ACCESS_TOKEN", "set-for-the-test")
        .env("HUBSPOT_CLIENT_SECRET", "set-for-the-test")
        .output()
        .expect("it runs")
}

/// The codes that `check --json` finds; every problem says what to do.
fn found(file: &Path) -> Vec<String> {
    let output = check(file, &["--json"]);
    let page: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    let problems = page["problems"].as_array().expect("a list");
    assert!(
        problems.iter().all(|problem| problem["hint"]
            .as_str()
            .is_some_and(|hint| !hint.is_empty())),
        "{page:#}"
    );
    let is_refused = problems
        .iter()
        .any(|problem| problem["severity"] == "error");
    assert_eq!(page["ok"], !is_refused, "{page:#}");
    assert_eq!(output.status.code(), Some(if is_refused { 78 } else { 0 }));
    problems
        .iter()
        .map(|problem| problem["code"].as_str().expect("a code").to_owned())
        .collect()
}

/// Holds that a file has this mistake and no other. An object is mapped where none is.
fn mistake(code: &str, text: &str) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("config.toml");
    let whole = if text.contains("[objects") {
        text.to_owned()
    } else {
        format!("{text}\n[objects.contacts]\n")
    };
    std::fs::write(&file, &whole).expect("written");
    assert_eq!(found(&file), [code], "{whole}");
    let told = check(&file, &[]);
    let told =
        String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(told.contains(&format!("[{code}]: ")), "{told}");
}

/// The same of a line in `[objects.contacts.properties]`.
fn property(code: &str, line: &str) {
    mistake(code, &format!("[objects.contacts.properties]\n{line}\n"));
}

/// The same of an object's lines.
fn object(code: &str, lines: &str) {
    mistake(code, &format!("[objects.contacts]\n{lines}\n"));
}

#[test]
fn mistakes_of_spelling_are_told_by_their_codes() {
    mistake(produces("syntax"), "[portal\nid = 7\n[objects.contacts]");
    mistake(produces("unknown-key"), "[portal]\nteir = \"free\"");
    mistake(produces("unknown-value"), "[portal]\ntier = \"pro\"");
    mistake(produces("wrong-type"), "[portal]\nid = \"7\"");
    mistake(produces("out-of-range"), "[portal]\nid = 0");
    mistake(
        produces("bad-address"),
        "[http]\nlisten = \"localhost:9187\"",
    );
    mistake(
        produces("bad-cron"),
        "[schedule]\nreconcile = \"30 3 * * *\"",
    );
    mistake(produces("bad-duration"), "[schedule]\npoll = \"fast\"");
    mistake(produces("bad-path"), "[database]\npath = \"\"");
    mistake(
        produces("bad-secret"),
        "[auth]\naccess_token = { env = \"NOT A NAME\" }",
    );
    mistake(produces("bad-size"), "[retention]\nmax_size = \"1 PB\"");
    mistake(
        produces("bad-timezone"),
        "[schedule]\ntimezone = \"Berlin\"",
    );
    mistake(
        produces("bad-url"),
        "[portal]\nbase_url = \"api.hubapi.com\"",
    );
    property(produces("bad-name"), "email = \"e mail\"");
    property(
        produces("bad-value"),
        "a = { create = { label = \"A\", type = \"set\", options = [\"b\", \"b\"] } }",
    );
    property(produces("reserved"), "email = \"hs_id\"");
}

#[test]
fn what_is_missing_in_the_file_is_told_by_its_code() {
    mistake(produces("no-objects"), "[objects]");
    mistake(produces("empty"), "[objects.contacts.properties]");
    mistake(produces("missing-key"), "[webhooks]");
    mistake(
        produces("object-not-mapped"),
        "[associations]\na = { from = \"contacts\", to = \"deals\" }\n[objects.contacts]",
    );
    object(produces("key-not-mapped"), "key = \"external_id\"");
    object(produces("match-not-mapped"), "match = \"emial\"");
    mistake(
        produces("match-missing"),
        "[objects.deals]\nnew_records = \"from_hubspot\"",
    );
    object(produces("not-yet"), "backfill = \"export\"");
    mistake(produces("object-name"), "[objects.contcats]");
    mistake(
        produces("missing-scope"),
        "[auth.oauth]\nclient_id = \"x\"\nclient_secret = { env = \"HUBSPOT_CLIENT_SECRET\" }\n\
         token_key = { env = \"HUBSPOT_CLIENT_SECRET\" }\nscopes = [\"oauth\", \"crm.schemas.contacts.read\", \
         \"crm.objects.owners.read\", \"crm.schemas.contacts.write\"]",
    );
}

#[test]
fn what_does_not_go_together_in_the_file_is_told_by_its_code() {
    mistake(
        produces("duplicate-address"),
        "[http]\nlisten = \"127.0.0.1:80\"\n[webhooks]\nlisten = \"127.0.0.1:80\"\npublic_url = \"https://a.example/x\"",
    );
    property(produces("duplicate-column"), "a = \"x\"\nb = \"X\"");
    mistake(
        produces("duplicate-table"),
        "[objects.contacts]\n[objects.deals]\ntable = \"Contacts\"",
    );
    let pair = "{ from = \"contacts\", to = \"companies\" }";
    let objects = "[objects.contacts]\n[objects.companies]";
    mistake(
        produces("duplicate-pair"),
        &format!("[associations]\na = {pair}\nb = {pair}\n{objects}"),
    );
    mistake(
        produces("no-newest"),
        &format!(
            "[associations]\na = {{ from = \"contacts\", to = \"companies\", conflict = \"newest\" }}\n{objects}"
        ),
    );
    object(
        produces("key-one-way"),
        "key = \"a\"\nproperties.a = { direction = \"pull\" }",
    );
    object(
        produces("match-one-way"),
        "match = \"a\"\nproperties.a = { direction = \"pull\" }",
    );
    object(
        produces("several-values"),
        "match = \"a\"\nproperties.a = { type = \"set\" }",
    );
    object(
        produces("one-way-policy"),
        "direction = \"pull\"\nconflict = \"local\"",
    );
    property(
        produces("one-way-write"),
        "a = { write = \"if_empty\", direction = \"pull\" }",
    );
    object(
        produces("opposite-directions"),
        "direction = \"pull\"\nproperties.a = { direction = \"push\" }",
    );
    property(
        produces("policy-never-asked"),
        "a = { write = \"if_empty\", conflict = \"remote\" }",
    );
    property(
        produces("append-to-no-set"),
        "a = { write = \"append\", type = \"string\" }",
    );
    object(
        produces("contradiction"),
        "direction = \"pull\"\non_remote_delete = \"recreate\"",
    );
    mistake(
        produces("read-only-object"),
        "[objects.users]\ndirection = \"push\"",
    );
    mistake(
        produces("two-tokens"),
        "[auth]\naccess_token = { env = \"HUBSPOT_ACCESS_TOKEN\" }\n[auth.oauth]\nclient_id = \"x\"\n\
         client_secret = { env = \"HUBSPOT_CLIENT_SECRET\" }\ntoken_key = { env = \"HUBSPOT_CLIENT_SECRET\" }",
    );
    let columns: Vec<String> = (0..1_996)
        .map(|number| format!("p{number} = \"c{number}\""))
        .collect();
    property(produces("too-many-columns"), &columns.join("\n"));
}

#[test]
fn what_is_open_to_others_or_leads_elsewhere_is_told_by_its_code() {
    mistake(
        produces("insecure-url"),
        "[portal]\nbase_url = \"http://api.hubapi.com\"",
    );
    mistake(
        produces("other-host"),
        "[portal]\nbase_url = \"https://crm.example.com\"",
    );
    mistake(
        produces("open-address"),
        "[http]\nlisten = \"0.0.0.0:9187\"",
    );
    mistake(
        produces("secret-in-clear"),
        "[auth]\naccess_token = \"0f8fad5b-d9cb-469f-a165-70867728950e\"",
    );
}

#[test]
fn what_the_file_warns_of_is_told_by_its_code_and_is_no_error() {
    object(
        produces("no-effect"),
        "direction = \"pull\"\nmatch = \"email\"",
    );
    object(
        produces("match-by-search"),
        "direction = \"push\"\nmatch = \"phone\"\nproperties = { phone = \"phone\" }",
    );
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("config.toml");
    let token = folder.path().join("token");
    std::fs::write(&token, "a-token").expect("written");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("ours");
    std::fs::write(
        &file,
        "[auth]\naccess_token = { file = \"token\" }\n[objects.contacts]\n",
    )
    .expect("written");
    assert_eq!(found(&file), [produces("open-secret-file")]);
}

#[test]
fn a_file_that_is_no_text_is_told_by_its_code() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("config.toml");
    assert_eq!(found(&file), [produces("unreadable")]);
    std::fs::write(&file, b"[objects.contacts]\n# \xff\n").expect("written");
    assert_eq!(found(&file), [produces("not-text")]);
    std::fs::write(&file, "#".repeat(5 << 20)).expect("written");
    assert_eq!(found(&file), [produces("too-large")]);
}
