//! The states of `sync_health`, whose codes are their names, and the codes of holds.

use hubsyncd::simulator::settings::Settings;
use rustix::process::Signal;

use super::produces;
use crate::daemon::{CONTACTS, Site, eventually};
use crate::links::OBJECTS;
use crate::portal::Portal;
use crate::way::{Meets, Way};

fn until(site: &Site, code: &str) {
    site.until_sql(&format!("SELECT state = '{code}' FROM sync_health"));
}

#[test]
fn a_daemon_goes_through_its_states_from_its_start_to_its_end() {
    let portal = Portal::quick();
    portal.fill("contacts", 10);
    let (way, mut site) = (Way::to(&portal), Site::new(&portal));
    let file = site.path("config.toml");
    let text = std::fs::read_to_string(&file).expect("the mapping file");
    std::fs::write(&file, text.replace(&portal.url(), &way.url())).expect("written");
    way.obstruct("", Meets::Silence);
    site.start();
    until(&site, produces("starting"));
    way.free();
    until(&site, produces("running"));
    way.obstruct("", Meets::Cut);
    until(&site, produces("unreachable"));
    way.free();
    until(&site, "running");
    way.obstruct("/search", Meets::Silence);
    let met = way.met();
    eventually("a search without an answer", || way.met() > met);
    site.signal(Signal::TERM);
    until(&site, produces("stopping"));
    assert_eq!(site.ended(), 0);
    until(&site, produces("stopped"));
}

#[test]
fn a_first_load_is_a_state_of_its_own() {
    let portal = Portal::with(Settings {
        latency_min_ms: 300,
        latency_max_ms: 300,
        ..Settings::quick()
    });
    portal.fill("contacts", 5_000);
    let mut site = Site::new(&portal);
    site.start();
    until(&site, produces("backfilling"));
    assert_eq!(site.stop(), 0);
}

#[test]
fn a_trigger_that_a_program_dropped_is_put_back_and_told_of() {
    let portal = Portal::quick();
    let site = Site::new(&portal);
    site.once();
    site.execute("DROP TRIGGER sync_mirror_contacts_insert");
    let output = site.run(&["once"]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(super::says(&log, produces("put-back")), "{log}");
    assert_eq!(
        site.text("SELECT code FROM sync_health").as_deref(),
        Some("put-back")
    );
}

#[test]
fn a_gate_that_a_program_opened_is_told_until_all_is_compared() {
    let portal = Portal::quick();
    portal.fill("contacts", 10);
    let (way, mut site) = (Way::to(&portal), Site::new(&portal));
    let file = site.path("config.toml");
    let text = std::fs::read_to_string(&file).expect("the mapping file");
    std::fs::write(&file, text.replace(&portal.url(), &way.url())).expect("written");
    site.start_and_settle();
    // The comparison gets no answer.
    way.obstruct("GET ", Meets::Silence);
    site.execute("UPDATE _sync_gate SET open = 20813");
    site.until_sql(&format!(
        "SELECT state = 'degraded' AND code = '{}' FROM sync_health",
        produces("triggers-bypassed")
    ));
    way.free();
    site.until_sql("SELECT count(*) = 0 FROM _sync_bypassed");
    assert_eq!(site.stop(), 0);
}

#[test]
fn what_the_guard_holds_has_the_code_of_its_kind() {
    let portal = Portal::quick();
    portal.fill("contacts", 150);
    let site = Site::with(&portal, "[guard]\nmax_updates = 20\n", CONTACTS);
    site.once();
    let held = |code: &str, sql: &str| {
        site.execute(sql);
        let output = site.run(&["once"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let hold = format!("SELECT count(*) FROM sync_holds WHERE code = '{code}'");
        assert_eq!(site.number(&hold), 1, "{told}");
        // The log says the same.
        assert!(super::says(&told, code), "{told}");
    };
    held(
        produces("updates-held"),
        "UPDATE contacts SET city = 'Lima'",
    );
    held(produces("archives-held"), "DELETE FROM contacts");
    assert_eq!(portal.contacts(), 150);
    until(&site, "stopped");
}

#[test]
fn a_mass_of_associations_that_is_taken_apart_is_held_under_its_code() {
    let portal = Portal::quick();
    portal.fill("contacts", 12);
    portal.fill("companies", 1);
    let mut site = Site::with(&portal, "", OBJECTS);
    site.once();
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
         SELECT 'contacts', c.local_id, 'companies', o.local_id FROM contacts AS c, companies AS o",
    );
    site.once();
    site.execute("DELETE FROM associations");
    site.start();
    site.until_sql(&format!(
        "SELECT count(*) FROM sync_holds WHERE code = '{}'",
        produces("disassociations-held")
    ));
    until(&site, produces("held"));
    assert_eq!(site.stop(), 0);
}
