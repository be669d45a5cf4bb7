//! The page on `[http]`: what it shows, to whom, and that no value becomes a part of it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::commands::{get, get_with};
use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;
use crate::ports::free_port;

/// What somebody may type into a form at HubSpot.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&";

fn parts(answer: &str) -> (&str, &str) {
    answer.split_once("\r\n\r\n").expect("a head and a body")
}

#[test]
fn the_page_shows_what_is_and_what_to_do_and_reads_no_value_as_a_tag() {
    let portal = Portal::quick();
    let id = portal.contact("ann@example.com");
    let port = free_port();
    let settings =
        format!("[http]\nlisten = \"127.0.0.1:{port}\"\n[conflicts]\npolicy = \"manual\"\n");
    let mut site = Site::with(&portal, &settings, CONTACTS);
    site.start_and_settle();
    portal.edit(id, &[("city", HOSTILE)]);
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.until_sql("SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL");
    site.execute("INSERT INTO contacts (email) VALUES ('no address')");
    site.until_sql("SELECT count(*) FROM sync_outbox WHERE state = 'dead'");
    let answer = get(port, "/");
    let (head, html) = parts(&answer);
    let head = head.to_lowercase();
    for line in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(html.starts_with("<!doctype html>") && html.contains("name=\"viewport\""));
    assert!(!html.contains("Lima"), "values come by status.json alone");
    let mut shown = Value::Null;
    eventually("what has happened", || {
        let answer = get(port, "/status.json");
        let (head, json) = parts(&answer);
        assert!(head.contains("content-type: application/json"), "{head}");
        shown = serde_json::from_str(json).expect("JSON");
        shown["dead"].as_array().is_some_and(|dead| dead.len() == 1)
            && shown["conflicts"]
                .as_array()
                .is_some_and(|open| open.len() == 1)
    });
    assert_eq!(shown["conflicts"][0]["remote_value"], HOSTILE);
    assert_eq!(shown["objects"][0]["object"], "contacts");
    assert_eq!(shown["health"]["state"], "running");
    let hours = shown["hours"].as_array().expect("hours");
    assert_eq!(hours.len(), 24);
    let requests = hours.iter().filter_map(|hour| hour["requests"].as_i64());
    assert!(requests.sum::<i64>() > 0, "{hours:?}");
    drawn(&shown);
    // With a token it is asked for.
    std::fs::write(site.path("http-token"), "hush").expect("written");
    let token = settings.replace(
        "[conflicts]",
        "token = { file = \"http-token\" }\n[conflicts]",
    );
    site.configure(&portal, &token, CONTACTS);
    eventually("the token is asked for", || {
        get(port, "/").starts_with("HTTP/1.1 401")
    });
    let refused = get(port, "/status.json");
    assert!(
        refused.starts_with("HTTP/1.1 401") && !refused.contains("Lima"),
        "{refused}"
    );
    let refused = refused.to_lowercase();
    assert!(
        refused.contains("www-authenticate: bearer realm=\"hubsyncd\""),
        "{refused}"
    );
    for shown in ["Bearer hush", "Basic YW5uOmh1c2g="] {
        let answer = get_with(port, "/status.json", &format!("Authorization: {shown}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{shown}: {answer}");
    }
    assert_eq!(site.stop(), 0);
}

/// A document with as little in it as the page's script needs: what is set as text stays text.
const STUB: &str = r"
class Node { constructor(tag) { this.tag = tag; this.children = []; this.text = ''; this.all = {}; }
  set textContent(text) { this.text = String(text); this.children = []; }
  append(...nodes) { this.children.push(...nodes); }
  appendChild(node) { this.children.push(node); return node; }
  replaceChildren(...nodes) { this.children = nodes; }
  setAttribute(name, value) { this.all[name] = value; }
  addEventListener() {}
  get told() { return this.text + this.children.map((node) => node.told).join(' '); } }
globalThis.Node = Node;
const places = {};
globalThis.document = { hidden: false, title: '', createElement: (tag) => new Node(tag), createElementNS: (_, tag) => new Node(tag),
  getElementById: (id) => (places[id] ??= new Node(id)) };
globalThis.navigator ??= {};
globalThis.setInterval = () => {};
globalThis.fetch = async () => ({ ok: true, json: async () => GIVEN });
process.on('beforeExit', () => {
  if (globalThis.done) return;
  globalThis.done = true;
  process.stdout.write(JSON.stringify({ title: document.title, told: Object.values(places).map((node) => node.told).join('\n'),
    bars: places.hours.children[1].children.map((chart) => chart.children[1].children.length) }));
});
";

/// Runs the page's own script on what was served, where there is something that runs scripts.
fn drawn(shown: &Value) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/page/page.js");
    let script = std::fs::read_to_string(page).expect("the script");
    let begun = Command::new("node")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = begun else { return };
    let text = format!("const GIVEN = {shown};\n{STUB}\n{script}");
    let sent = child
        .stdin
        .take()
        .expect("piped")
        .write_all(text.as_bytes());
    drop(sent);
    let output = child.wait_with_output().expect("it ends");
    let drawn: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(drawn["title"], "hubsyncd: running");
    let told = drawn["told"].as_str().expect("text");
    for part in [
        HOSTILE,
        "contacts",
        "hubsyncd conflicts resolve 1 --take remote",
        "hubsyncd outbox retry ",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("does not answer"), "{told}");
    assert_eq!(drawn["bars"], serde_json::json!([48, 24]));
}
