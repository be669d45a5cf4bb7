//! What systemd does for the daemon, done by hand.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;
use crate::webhooks::Door;

#[test]
fn a_socket_that_is_handed_over_is_used_in_place_of_the_address_of_the_file() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    // The file names another address than the one that is called.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let door = Door::at(address);
    let settings = door.settings("").replace(
        &format!("listen = \"{address}\""),
        "listen = \"127.0.0.1:1\"",
    );
    let mut site = Door::site_with(
        &portal,
        &format!("[schedule]\npoll = \"1h\"\n{settings}"),
        CONTACTS,
    );
    start_with(&mut site, listener);
    portal.edit(ann, &[("city", "Oslo")]);
    assert_eq!(tell_city(&site, &portal, &door, ann, "Oslo"), 204);
    site.until_sql("SELECT city = 'Oslo' FROM contacts");
    assert_eq!(site.stop(), 0);
}

/// Starts the daemon with a socket as systemd hands it over.
fn start_with(site: &mut Site, listener: TcpListener) {
    let run = site.command(&["run"]);
    let mut command = Command::new("sh");
    // File 3 is the first that systemd hands over; the variables name the process that it is meant for.
    command
        .args([
            "-c",
            "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null",
        ])
        .arg(run.get_program())
        .args(run.get_args())
        .env_remove("HUBSPOT_ACCESS_TOKEN")
        .stdin(Stdio::from(OwnedFd::from(listener)));
    site.start_by(command);
    site.wait_loaded();
}

/// Tells the daemon of an edit as HubSpot does; gives its answer.
fn tell_city(site: &Site, portal: &Portal, door: &Door, id: u64, city: &str) -> u16 {
    let event = json!([{
        "eventId": 1, "subscriptionId": 1, "portalId": site.number("SELECT portal_id FROM sync_health"), "appId": 1,
        "occurredAt": portal.now_ms(), "subscriptionType": "contact.propertyChange", "attemptNumber": 0,
        "objectId": id, "propertyName": "city", "propertyValue": city, "changeSource": "CRM"
    }]);
    door.deliver(portal, &event)
}

#[test]
fn a_socket_that_is_handed_over_is_there_again_for_a_section_that_comes_back() {
    let portal = Portal::quick();
    let ann = portal.contact("ann@example.com");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    // systemd goes on listening, so nobody else can.
    let of_systemd = listener.try_clone().expect("a second handle");
    let door = Door::at(listener.local_addr().expect("an address"));
    let rarely = "[schedule]\npoll = \"1h\"\n";
    let with = format!("{rarely}{}", door.settings(""));
    let mut site = Door::site_with(&portal, rarely, CONTACTS);
    start_with(&mut site, listener);
    let in_force = || {
        site.log()
            .matches("the changed mapping file is in force")
            .count()
    };
    for (settings, city) in [
        (with.as_str(), "Oslo"),
        (rarely, ""),
        (with.as_str(), "Lima"),
    ] {
        let before = in_force();
        site.configure(&portal, settings, CONTACTS);
        eventually("it is in force", || in_force() > before);
        if city.is_empty() {
            continue;
        }
        portal.edit(ann, &[("city", city)]);
        assert_eq!(tell_city(&site, &portal, &door, ann, city), 204);
        site.until_sql(&format!("SELECT city = '{city}' FROM contacts"));
    }
    assert_eq!(site.stop(), 0);
    drop(of_systemd);
}

#[test]
fn the_journal_gets_each_line_with_its_fields() {
    let portal = Portal::quick();
    portal.contact("ann@example.com");
    let mut site = Site::new(&portal);
    let text = fs::read_to_string(site.path("config.toml")).expect("a file");
    let text = text.replace("format = \"text\"", "format = \"journal\"");
    fs::write(site.path("config.toml"), text).expect("written");
    let journal = UnixDatagram::bind(site.path("journal")).expect("a socket");
    journal
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let mut command = site.command(&["run"]);
    command.env("HUBSYNCD_JOURNAL_SOCKET", site.path("journal"));
    site.start_by(command);
    let mut buffer = [0; 8_192];
    loop {
        let length = journal.recv(&mut buffer).expect("a line");
        let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(told.starts_with("MESSAGE="), "{told}");
        let has = |line: &str| told.lines().any(|own| own == line);
        if has("OBJECT=contacts") && told.contains("the first full read is done") {
            assert!(
                has("PRIORITY=6") && has("SYSLOG_IDENTIFIER=hubsyncd") && has("ROWS=1"),
                "{told}"
            );
            break;
        }
    }
    // What the journal does not take goes to standard error.
    fs::remove_file(site.path("journal")).expect("removed");
    assert_eq!(site.stop(), 0);
    assert!(
        site.log().contains("<6>stopped drained=true"),
        "{}",
        site.log()
    );
}
