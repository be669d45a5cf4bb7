//! The table of `docs/disturbances.md`, a test a row: `sync_health` has the state, the code and the words that stand there, what is
//! written meanwhile waits, and once it is over both sides are equal and the daemon goes on by itself.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::Settings;
use rustix::process::Signal;
use serde_json::Value;

use crate::clocks::Clocks;
use crate::codes::produces;
use crate::daemon::{Site, eventually};
use crate::portal::Portal;
use crate::ports::free_port;
use crate::way::{Meets, Way, answer, page};

const TABLE: &str = include_str!("../../docs/disturbances.md");

/// What a row of the table promises.
struct Row {
    state: &'static str,
    code: Option<&'static str>,
    words: &'static str,
}

impl Row {
    /// The row, which promises this code.
    fn of(self, code: &str) -> Self {
        assert_eq!(self.code, Some(code));
        self
    }
}

/// The row of a name; a dash is nothing.
fn row(name: &str) -> Row {
    let begin = format!("| `{name}` | ");
    let line = TABLE.lines().find(|line| line.starts_with(&begin));
    let cells: Vec<&str> = line.expect(name).trim_matches('|').split(" | ").collect();
    let [_, _, state, code, words] = cells[..] else {
        panic!("five columns: {cells:?}")
    };
    let plain = |cell: &'static str| cell.trim_matches([' ', '`']);
    let said = |cell| Some(plain(cell)).filter(|text| *text != "–");
    Row {
        state: plain(state),
        code: said(code),
        words: said(words).unwrap_or_default(),
    }
}

/// Whether HubSpot's edit is here.
const CAME: &str = "SELECT count(*) FROM contacts WHERE local_id = 2 AND city = 'Edited meanwhile'";

/// A loaded site with a local write that waits, and an edit in HubSpot that is yet to come.
struct Case {
    portal: Portal,
    site: Site,
}

impl Case {
    fn of(settings: Settings) -> Self {
        let portal = Portal::with(settings);
        portal.fill("contacts", 10);
        let site = Site::new(&portal);
        site.once();
        Self { portal, site }
    }

    fn new() -> Self {
        Self::of(Settings::quick())
    }

    /// Names another address in the mapping file.
    fn leads_to(&self, url: &str) {
        let file = self.site.path("config.toml");
        let text = std::fs::read_to_string(&file).expect("the mapping file");
        let is_kept =
            |line: &&str| !line.starts_with("base_url") && !line.starts_with("allow_other");
        let kept: Vec<&str> = text.lines().filter(is_kept).collect();
        let own = format!("[portal]\nbase_url = \"{url}\"\nallow_other_host = true");
        std::fs::write(&file, kept.join("\n").replace("[portal]", &own)).expect("written");
    }

    fn edit_both_sides(&self) {
        let id = self
            .site
            .number("SELECT hs_id FROM contacts WHERE local_id = 2");
        self.site
            .execute("UPDATE contacts SET city = 'Written meanwhile' WHERE local_id = 1");
        self.portal
            .edit(id.unsigned_abs(), &[("city", "Edited meanwhile")]);
    }

    /// Whether `sync_health` says what the row promises.
    fn is_told(&self, row: &Row) -> bool {
        let health = "SELECT state || ' ' || coalesce(code, '–') || ' ' || coalesce(last_error, '') FROM sync_health";
        let begin = format!("{} {} ", row.state, row.code.unwrap_or("–"));
        let told = self.site.text(health).unwrap_or_default();
        told.starts_with(&begin) && told.contains(row.words)
    }

    fn until_told(&self, row: &Row) {
        eventually(row.words, || self.is_told(row));
    }

    /// It is over: what waited goes out, what was missed comes, and all is well.
    fn until_over(mut self) {
        self.site.until_sql(CAME);
        eventually("the local write is there", || {
            self.portal.count_with("city", "Written meanwhile") == 1
        });
        self.site
            .until_sql("SELECT state = 'running' AND code IS NULL FROM sync_health");
        assert_eq!(self.site.stop(), 0);
    }
}

/// Requests meet something on their way, until it is free again.
fn disturbed(row: &Row, meets: Meets) {
    let mut case = Case::new();
    let way = Way::to(&case.portal);
    case.leads_to(&way.url());
    way.obstruct("", meets);
    case.site.start();
    case.edit_both_sides();
    case.until_told(row);
    assert_eq!(case.site.number("SELECT count(*) FROM sync_outbox"), 1);
    way.free();
    case.until_over();
}

/// The address, or the proxy that the environment names, leads elsewhere at a start; at the next one it is right again.
fn elsewhere(row: &Row, url: &str, proxy: Option<&str>) {
    let mut case = Case::new();
    let own = case.portal.url();
    case.leads_to(url);
    case.edit_both_sides();
    let mut command = case.site.command(&["run"]);
    command.envs(proxy.map(|proxy| ("HTTPS_PROXY", proxy)));
    case.site.start_by(command);
    case.until_told(row);
    assert_eq!(case.site.number("SELECT count(*) FROM sync_outbox"), 1);
    assert_eq!(case.site.stop(), 0);
    case.leads_to(&own);
    case.site.start();
    case.until_over();
}

/// A host that nobody has.
const NOWHERE: &str = "https://api.nowhere.invalid";

#[test]
fn nobody_listens_at_hubspots_address() {
    let url = format!("http://127.0.0.1:{}", free_port());
    elsewhere(
        &row("nobody-listens").of(produces("no-connection")),
        &url,
        None,
    );
}

#[test]
fn nobody_knows_hubspots_name() {
    elsewhere(&row("no-name").of(produces("dns")), NOWHERE, None);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_not_accepted() {
    let port = with_a_certificate_of_its_own();
    elsewhere(
        &row("certificate").of(produces("tls")),
        &format!("https://localhost:{port}"),
        None,
    );
}

/// A TLS server whose certificate nobody has signed but itself.
pub(crate) fn with_a_certificate_of_its_own() -> u16 {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
        .expect("a certificate");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let Ok(mut caller) = caller else { return };
            let connection = rustls::ServerConnection::new(Arc::clone(&config));
            // The daemon hangs up where it doesn't believe the certificate.
            drop(connection.expect("a connection").complete_io(&mut caller));
        }
    });
    port
}

/// A proxy that answers whoever wants a tunnel.
fn proxy(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let Ok(mut caller) = caller else { return };
            let mut asked = [0; 4_096];
            let length = caller.read(&mut asked).unwrap_or_default();
            assert!(asked[..length].starts_with(b"CONNECT "), "a tunnel");
            drop(caller.write_all(answer.as_bytes()));
        }
    });
    format!("http://127.0.0.1:{port}")
}

#[test]
fn a_proxy_wants_a_password() {
    let proxy = proxy("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
    elsewhere(
        &row("proxy-password").of(produces("proxy")),
        NOWHERE,
        Some(&proxy),
    );
}

#[test]
fn a_proxy_fails() {
    let proxy = proxy("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    elsewhere(&row("proxy-fails"), NOWHERE, Some(&proxy));
}

#[test]
fn a_proxy_is_gone() {
    let proxy = format!("http://127.0.0.1:{}", free_port());
    elsewhere(&row("proxy-gone"), NOWHERE, Some(&proxy));
}

#[test]
fn hubspot_shows_a_page_of_its_maintenance() {
    let html = "<html><title>Scheduled maintenance</title>Back soon.</html>";
    disturbed(
        &row("maintenance").of(produces("gateway")),
        page("503 Service Unavailable", html),
    );
}

#[test]
fn hubspots_gateway_fails() {
    let html = "<html><center>cloudflare</center></html>";
    disturbed(&row("gateway"), page("502 Bad Gateway", html));
}

#[test]
fn a_network_wants_a_sign_in() {
    let html = "<!DOCTYPE html><title>Sign in to the network</title>";
    disturbed(
        &row("sign-in").of(produces("not-hubspot")),
        page("200 OK", html),
    );
}

#[test]
fn a_network_leads_to_its_sign_in() {
    let elsewhere = "302 Found\r\nlocation: https://login.example.com/";
    disturbed(&row("redirect"), answer(elsewhere, "text/html", ""));
}

#[test]
fn connections_are_cut_before_the_answer() {
    disturbed(&row("cut").of(produces("connection-lost")), Meets::Cut);
}

#[test]
fn connections_stand_and_no_answer_comes() {
    let row = row("silence").of(produces("timeout"));
    let mut case = Case::new();
    let (way, clocks) = (Way::to(&case.portal), Clocks::of(&case.site));
    case.leads_to(&way.url());
    way.obstruct("", Meets::Silence);
    let run = clocks.command(&case.site, &["run"]);
    case.site.start_by(run);
    case.edit_both_sides();
    // Half a minute passes over each request, after which a read is given up.
    let mut given_up = 0;
    eventually(row.words, || {
        if way.met() > given_up {
            given_up = way.met();
            clocks.set("STEADY_OFF_BY", 31 * given_up as i64);
        }
        case.is_told(&row)
    });
    assert_eq!(case.site.number("SELECT count(*) FROM sync_outbox"), 1);
    way.free();
    case.until_over();
}

#[test]
fn hubspot_moves_the_account() {
    let mut case = Case::new();
    case.portal.stand().faults_mut().migration_s = 1;
    case.portal.script(FaultKind::Migrating, u32::MAX, "");
    case.site.start();
    case.edit_both_sides();
    case.until_told(&row("moving").of(produces("moving")));
    case.portal.stand().faults_mut().calm();
    case.until_over();
}

#[test]
fn this_machines_clock_is_off() {
    let mut case = Case::of(Settings {
        clock_offset_ms: 180_000,
        ..Settings::quick()
    });
    case.site.start();
    case.until_told(&row("clock-off").of(produces("clock-off")));
    case.edit_both_sides();
    case.portal.stand().settings_mut().clock_offset_ms = 0;
    case.until_over();
}

/// The daemon's clock is set by so many seconds while it runs, and set right again.
fn clock_is_set(row: &Row, seconds: i64) {
    let mut case = Case::new();
    let clocks = Clocks::of(&case.site);
    // What people look at on that machine has its clock too.
    let mut look = clocks.command(&case.site, &["status", "--json"]);
    let run = clocks.command(&case.site, &["run"]);
    case.site.start_by(run);
    case.site.wait_loaded();
    clocks.set("CLOCK_OFF_BY", seconds);
    case.edit_both_sides();
    eventually("the clock is named", || {
        let told = look.output().expect("it runs").stdout;
        let told: Value = serde_json::from_slice(&told).unwrap_or_default();
        let health = &told["health"];
        let words = health["last_error"].as_str().unwrap_or_default();
        health["state"] == row.state
            && health["code"].as_str() == row.code
            && words.contains(row.words)
    });
    case.site.until_sql(CAME);
    case.site.until_pushed();
    clocks.set("CLOCK_OFF_BY", 0);
    case.until_over();
}

#[test]
fn this_machines_clock_is_set_forward() {
    clock_is_set(&row("clock-set-forward"), 93_600);
}

#[test]
fn this_machines_clock_is_set_back() {
    clock_is_set(&row("clock-set-back"), -93_600);
}

#[test]
fn the_machine_sleeps() {
    let mut case = Case::new();
    case.site.start_and_settle();
    case.site.freeze();
    case.edit_both_sides();
    // The time that it sleeps, without waiting for it.
    let slept = "strftime('%Y-%m-%dT%H:%M:%fZ', heartbeat_at, '-60 seconds')";
    case.site
        .execute_as_daemon(&format!("UPDATE _sync_daemon SET heartbeat_at = {slept}"));
    case.until_told(&row("suspended"));
    case.site.signal(Signal::CONT);
    case.until_over();
}
