//! OAuth from the consent to the revoked grant, and promise 10: where secrets are not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::oauth::OAuthApp;
use hubsyncd::simulator::settings::Settings;
use rustix::process::Signal;

use crate::daemon::{CONTACTS, Site, eventually, wait};
use crate::portal::Portal;
use crate::ports::free_port;

/// 32 bytes, as `openssl rand -base64 32` writes them.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const OTHER_KEY: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

pub(crate) fn portal_with(app: OAuthApp) -> Portal {
    Portal::with(Settings {
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        burst_limit: 110,
        oauth: Some(app),
        ..Settings::default()
    })
}

pub(crate) fn app(life_s: u64) -> OAuthApp {
    OAuthApp {
        redirect_uri: format!("http://127.0.0.1:{}/callback", free_port()),
        life_s,
        ..OAuthApp::default()
    }
}

/// A site whose mapping file has an OAuth app in place of the token.
pub(crate) fn site_of(portal: &Portal, app: &OAuthApp, more: &str) -> Site {
    let site = Site::new(portal);
    let text = std::fs::read_to_string(site.path("config.toml")).expect("a file");
    let oauth = format!(
        "[auth.oauth]\nclient_id = \"{}\"\nclient_secret = {{ file = \"secret\" }}\ntoken_key = {{ file = \"key\" }}\n\
         redirect_uri = \"{}\"\nauthorize_url = \"{}/oauth/authorize\"\n{more}",
        app.client_id,
        app.redirect_uri,
        portal.url()
    );
    let text = text.replace("[auth]\naccess_token = { file = \"token\" }\n", &oauth);
    std::fs::write(site.path("config.toml"), text).expect("written");
    put_secret(&site, "secret", &app.client_secret.0);
    put_secret(&site, "key", KEY);
    site
}

pub(crate) fn put_secret(site: &Site, name: &str, secret: &str) {
    std::fs::write(site.path(name), secret).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(site.path(name), mode).expect("nobody else reads it");
}

/// A browser's GET: status, `Location`.
pub(crate) fn get(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").expect("plain");
    let (host, path) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("it listens");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let location = text.lines().find_map(|line| {
        line.to_lowercase()
            .starts_with("location: ")
            .then(|| line[10..].trim())
    });
    (
        status.expect("a status"),
        location.unwrap_or_default().to_owned(),
    )
}

/// `auth login` up to the printed URL.
pub(crate) fn begin_login(site: &Site) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let mut command = site.command(&["auth", "login", "--no-browser"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut url = String::new();
    while !url.trim_start().starts_with("http") {
        url.clear();
        if out.read_line(&mut url).expect("a line") == 0 {
            let mut err = String::new();
            child
                .stderr
                .take()
                .expect("a pipe")
                .read_to_string(&mut err)
                .expect("text");
            panic!("no URL was printed: {err}");
        }
    }
    (child, out, url.trim().to_owned())
}

/// The whole login by a person who says yes; status and all that was printed.
pub(crate) fn login(site: &Site) -> (i32, String) {
    let (mut child, mut out, url) = begin_login(site);
    let (status, back) = get(&url);
    assert_eq!(status, 302, "{url}");
    assert_eq!(get(&back).0, 200, "{back}");
    let mut text = String::new();
    out.read_to_string(&mut text).expect("text");
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut text)
        .expect("text");
    (
        child.wait().expect("it ends").code().expect("a status"),
        text,
    )
}

fn assert_nowhere(site: &Site, secrets: &[String], also: &[String]) {
    let mut places: Vec<(String, Vec<u8>)> = ["crm.db", "crm.db-wal", "log"]
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                std::fs::read(site.path(name)).unwrap_or_default(),
            )
        })
        .collect();
    places.extend(
        also.iter()
            .map(|text| ("output".to_owned(), text.clone().into_bytes())),
    );
    for (place, bytes) in places {
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "a secret is in {place}");
        }
    }
}

#[test]
fn one_login_lasts_through_renewals_kills_and_rotated_refresh_tokens() {
    for rotates in [false, true] {
        let app = OAuthApp { rotates, ..app(5) };
        let portal = portal_with(app.clone());
        portal.fill("contacts", 30);
        let mut site = site_of(&portal, &app, "");
        let (status, out) = login(&site);
        assert_eq!(status, 0, "{out}");
        assert!(out.contains("logged in to portal 48151623"), "{out}");
        let mut secrets = portal.stand().live_tokens();
        site.start_and_load();
        // Kept, not only answered: whoever is killed between HubSpot's answer and the disk has lost a rotated token.
        site.until_sql("SELECT generation >= 3 FROM _sync_tokens");
        secrets.extend(portal.stand().live_tokens());
        site.kill();
        site.start();
        site.execute("UPDATE contacts SET city = 'Lima'");
        site.until_pushed();
        let (before, begun) = (portal.stand().renewals(), portal.now_ms());
        eventually("further renewals", || {
            portal.stand().renewals() >= before + 2
        });
        let passed = portal.now_ms() - begun;
        assert!(
            passed >= 3_000,
            "renewed twice within {passed} ms: more than one task renews"
        );
        assert_eq!(
            site.text("SELECT state FROM sync_health").as_deref(),
            Some("running")
        );
        secrets.extend(portal.stand().live_tokens());
        secrets.extend([app.client_secret.0.clone(), KEY.to_owned()]);
        let shown = [
            "auth status",
            "auth status --json",
            "status --json",
            "check --show",
            "outbox list --json",
        ]
        .map(|line| {
            let output = site.run(&line.split(' ').collect::<Vec<_>>());
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        });
        assert!(shown[1].contains("\"state\":\"logged_in\""), "{}", shown[1]);
        assert_nowhere(&site, &secrets, &shown);
        assert_eq!(site.stop(), 0);
        assert_nowhere(&site, &secrets, &[]);
    }
}

#[test]
fn a_revoked_grant_stops_everything_and_a_new_login_goes_on_by_itself() {
    let app = app(4);
    let portal = portal_with(app.clone());
    let id = portal.contact("ann@example.com");
    let mut site = site_of(&portal, &app, "");
    assert_eq!(login(&site).0, 0);
    site.start_and_load();
    portal.stand().uninstall();
    site.until_sql("SELECT state = 'unauthorized' FROM sync_health");
    site.until_sql("SELECT last_error LIKE '%auth login%' FROM sync_health");
    site.execute("UPDATE contacts SET city = 'Lima'");
    let requests = portal.requests("");
    wait(Duration::from_secs(3));
    assert_eq!(portal.requests(""), requests, "it goes on asking");
    let status = site.run(&["auth", "status"]);
    let explanation = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.status.code() == Some(1) && explanation.contains("revoked"),
        "{explanation}"
    );
    assert_eq!(login(&site).0, 0);
    eventually("Lima in HubSpot", || {
        portal.value(id, "city").as_deref() == Some("Lima")
    });
    site.until_sql("SELECT state = 'running' FROM sync_health");
    assert_eq!(site.stop(), 0);
}

#[test]
fn once_renews_a_token_that_is_refused_before_its_time_and_goes_on() {
    let app = app(1_800);
    let portal = portal_with(app.clone());
    portal.fill("contacts", 20);
    let site = site_of(&portal, &app, "");
    assert_eq!(login(&site).0, 0);
    portal.stand().kill_access_tokens();
    let output = site.run(&["once"]);
    let explanation =
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{explanation}");
    assert_eq!(portal.stand().renewals(), 1);
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 20);
    // A grant that is gone is no reason to go on.
    portal.stand().uninstall();
    let output = site.run(&["once"]);
    let explanation =
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{explanation}");
}

#[test]
fn a_command_renews_a_token_that_has_died_and_beside_a_daemon_leaves_it_to_that() {
    // Shorter than what a command wants of a token.
    let app = app(20);
    let portal = portal_with(app.clone());
    portal.fill("contacts", 20);
    let mut site = site_of(&portal, &app, "");
    assert_eq!(login(&site).0, 0);
    let generation = "SELECT generation FROM _sync_tokens";
    let logged_in = site.number(generation);
    for renewals in 1..=2 {
        let output = site.run(&["check", "--online"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert_eq!(portal.stand().renewals(), renewals, "{told}");
        assert_eq!(
            site.number(generation) - logged_in,
            renewals as i64,
            "it is kept"
        );
    }
    site.start_and_load();
    let before = portal.stand().renewals();
    let output = site.run(&["plan", "--online"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // The daemon may have renewed it in the meantime; the command's own would be one more at once.
    assert!(portal.stand().renewals() <= before + 1);
    assert_eq!(site.stop(), 0);
    // A grant that is gone is told as such.
    portal.stand().uninstall();
    let output = site.run(&["plan", "--online"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("hint: "), "{told}");
}

#[test]
fn a_daemon_waits_for_the_first_login_and_stops_at_the_logout() {
    let app = app(1_800);
    let portal = portal_with(app.clone());
    portal.fill("contacts", 20);
    let mut site = site_of(&portal, &app, "");
    site.start();
    eventually("it says what it waits for", || {
        site.log().contains("run `hubsyncd auth login`")
    });
    assert_eq!(portal.requests(""), 0);
    assert_eq!(login(&site).0, 0);
    site.wait_loaded();
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 20);
    let output = site.run(&["auth", "logout"]);
    let explanation = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && explanation.contains("revoked and forgotten"),
        "{explanation}"
    );
    assert!(
        portal
            .stand()
            .live_tokens()
            .iter()
            .all(|token| !token.contains("-refresh-"))
    );
    site.until_sql("SELECT state = 'unauthorized' FROM sync_health");
    assert_eq!(site.stop(), 0);
    assert_eq!(site.run(&["auth", "status"]).status.code(), Some(1));
}

#[test]
fn a_bad_day_of_the_token_endpoint_is_no_dead_token() {
    let app = app(3);
    let portal = portal_with(app.clone());
    let id = portal.contact("ann@example.com");
    let mut site = site_of(&portal, &app, "");
    assert_eq!(login(&site).0, 0);
    site.start_and_load();
    portal.script(FaultKind::Unavailable, 3, "/oauth/2026-03/token");
    let renewals = portal.stand().renewals();
    eventually("renewed all the same", || {
        portal.stand().renewals() > renewals
    });
    site.execute("UPDATE contacts SET city = 'Lima'");
    eventually("Lima in HubSpot", || {
        portal.value(id, "city").as_deref() == Some("Lima")
    });
    assert_eq!(
        site.number("SELECT count(*) FROM _sync_tokens WHERE problem IS NOT NULL"),
        0
    );
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_was_not_granted_or_not_meant_is_not_kept() {
    let app = OAuthApp {
        declined: vec!["crm.objects.contacts.write".to_owned()],
        ..app(1_800)
    };
    let portal = portal_with(app.clone());
    let site = site_of(&portal, &app, "");
    let (status, explanation) = login(&site);
    assert_eq!(status, 1);
    assert!(
        explanation.contains("not granted: crm.objects.contacts.write")
            && explanation.contains("the grant that HubSpot gave was revoked"),
        "{explanation}"
    );
    assert_eq!(refresh_tokens(&portal), 0, "a grant lives on");
    // A forged return is refused and the right one still awaited.
    portal.stand().settings_mut().oauth = Some(OAuthApp {
        declined: vec![],
        ..app.clone()
    });
    let (mut child, _out, url) = begin_login(&site);
    let forged = format!("{}?code=stolen&state=forged", app.redirect_uri);
    assert_eq!(get(&forged).0, 400);
    let (_, back) = get(&url);
    assert_eq!(get(&back).0, 200);
    assert!(child.wait().expect("it ends").success());
    // A person who says no.
    portal.stand().settings_mut().oauth = Some(OAuthApp {
        denies: true,
        ..app.clone()
    });
    let (status, explanation) = login(&site);
    assert!(
        status == 1 && explanation.contains("access_denied: The user said no"),
        "{explanation}"
    );
    // Another account than the file's.
    portal.stand().settings_mut().oauth = Some(OAuthApp {
        declined: vec![],
        ..app.clone()
    });
    let text = std::fs::read_to_string(site.path("config.toml")).expect("a file");
    std::fs::write(
        site.path("config.toml"),
        text.replace("[portal]\n", "[portal]\nid = 7\n"),
    )
    .expect("written");
    let (status, explanation) = login(&site);
    assert!(
        status == 1 && explanation.contains("portal 48151623") && explanation.contains("portal 7"),
        "{explanation}"
    );
    // That of the login between them.
    // Another database may live by that account's grant: it is left alone, and the words say so.
    assert!(explanation.contains("was left as it is"), "{explanation}");
    assert_eq!(refresh_tokens(&portal), 2);
}

fn refresh_tokens(portal: &Portal) -> usize {
    let tokens = portal.stand().live_tokens();
    tokens
        .iter()
        .filter(|token| token.contains("-refresh-"))
        .count()
}

#[test]
fn a_login_outlasts_a_locked_database_and_an_introspection_that_fails() {
    let app = app(1_800);
    let portal = portal_with(app.clone());
    let site = site_of(&portal, &app, "");
    assert_eq!(login(&site).0, 0);
    let (mut child, mut out, url) = begin_login(&site);
    let held = rusqlite::Connection::open(site.path("crm.db")).expect("opens");
    held.execute_batch("BEGIN IMMEDIATE").expect("held");
    // To read is no write: nobody waits for a lock.
    let status = site.run(&["auth", "status"]);
    assert!(status.status.success(), "{status:?}");
    let (_, back) = get(&url);
    assert_eq!(get(&back).0, 200);
    // Longer than SQLite itself waits.
    wait(Duration::from_secs(6));
    held.execute_batch("COMMIT").expect("let go");
    let mut text = String::new();
    out.read_to_string(&mut text).expect("text");
    assert!(child.wait().expect("it ends").success(), "{text}");
    // What the grant doesn't say, introspection would; the account tells the portal all the same.
    portal.stand().settings_mut().oauth = Some(OAuthApp {
        is_terse: true,
        ..app.clone()
    });
    for fault in [FaultKind::InternalError, FaultKind::RateLimited] {
        portal.script(fault, 1, "/oauth/2026-03/token/introspect");
        let (status, explanation) = login(&site);
        assert!(
            status == 0 && explanation.contains("did not say which scopes"),
            "{explanation}"
        );
    }
}

#[test]
fn the_key_must_be_there_and_the_same() {
    let app = app(1_800);
    let portal = portal_with(app.clone());
    let site = site_of(&portal, &app, "");
    let said = |site: &Site, line: &[&str]| {
        let output = site.run(line);
        let explanation =
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), explanation)
    };
    put_secret(&site, "key", "short");
    let (status, explanation) = said(&site, &["auth", "login", "--no-browser"]);
    assert!(
        status == Some(78) && explanation.contains("32 random bytes"),
        "{explanation}"
    );
    std::fs::remove_file(site.path("key")).expect("removed");
    let (status, explanation) = said(&site, &["auth", "login", "--no-browser"]);
    assert!(
        status == Some(78) && explanation.contains("can't read the file"),
        "{explanation}"
    );
    put_secret(&site, "key", KEY);
    assert_eq!(login(&site).0, 0);
    put_secret(&site, "key", OTHER_KEY);
    for line in [["run"].as_slice(), &["once"]] {
        let (status, explanation) = said(&site, line);
        assert!(
            status == Some(78) && explanation.contains("another key than at the last login"),
            "{explanation}"
        );
        assert!(!explanation.contains(OTHER_KEY), "a secret in an error");
    }
    let (_, explanation) = said(&site, &["auth", "status", "--json"]);
    assert!(
        explanation.contains("\"problem\":\"the token key does not open"),
        "{explanation}"
    );
    put_secret(&site, "key", KEY);
    assert!(site.run(&["once"]).status.success());
    // Whoever lost the key can still log out; only the revocation needs it.
    std::fs::remove_file(site.path("key")).expect("removed");
    let (status, explanation) = said(&site, &["auth", "logout"]);
    assert!(
        status == Some(1) && explanation.contains("here alone: can't read the file"),
        "{explanation}"
    );
    assert_eq!(site.number("SELECT count(*) FROM _sync_tokens"), 0);
}

#[test]
fn the_older_token_endpoint_works_as_long_as_it_is_served() {
    let app = app(1_800);
    let portal = portal_with(app.clone());
    portal.fill("contacts", 5);
    let site = site_of(&portal, &app, "token_path = \"/oauth/v1/token\"\n");
    let (status, explanation) = login(&site);
    assert_eq!(status, 0, "{explanation}");
    assert!(
        explanation.contains("did not say which scopes"),
        "{explanation}"
    );
    assert!(site.run(&["once"]).status.success());
    assert_eq!(site.number("SELECT count(*) FROM contacts"), 5);
}

#[test]
fn a_crash_leaves_no_core_dump_with_secrets() {
    let portal = Portal::quick();
    let mut site = Site::with(&portal, "", CONTACTS);
    site.start_and_load();
    let limits = site.limits();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    site.signal(Signal::ABORT);
    site.crashed();
    let cores: Vec<_> = std::fs::read_dir(site.path("."))
        .expect("a folder")
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("core"))
        .collect();
    assert!(cores.is_empty(), "{cores:?}");
}
