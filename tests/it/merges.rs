//! Records that become one in HubSpot: chains of merges, ids that are kept or new, writes that were on their way to a record that is
//! no more, and what hung on it.

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::settings::Settings;
use hubsyncd::simulator::webhooks::Webhooks;
use serde_json::{Value, json};

use crate::daemon::{Site, eventually};
use crate::links::FAMILY;
use crate::portal::Portal;
use crate::webhooks::Door;

const OBJECTS: &str = "[objects.contacts]\n[objects.deals]\n[associations]\n\
     contacts_deals = { from = \"contacts\", to = \"deals\" }\n";

/// A portal in which a merge keeps the primary's id, or gives a new one.
fn portal(merge_keeps_primary_id: bool) -> Portal {
    Portal::with(Settings {
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        merge_keeps_primary_id,
        ..Settings::default()
    })
}

/// Three records of an object, the associations of the first two with records of another one made by people.
fn three(portal: &Portal, (object, named): (&str, &str), other: &str) -> [u64; 3] {
    let now = portal.now_ms() - 86_400_000;
    let mut stand = portal.stand();
    [1, 2, 3].map(|number| {
        let name = match object {
            "contacts" => format!("{number}@example.com"),
            _ => number.to_string(),
        };
        let id = stand.create(object, &[(named, &name)], now);
        let hung = match other {
            "contacts" => ("email", format!("of{number}@example.com")),
            _ => ("dealname", format!("of {number}")),
        };
        let hung = stand.create(other, &[(hung.0, &hung.1)], now);
        assert!(stand.associate((object, id), (other, hung), now));
        id
    })
}

#[test]
fn a_chain_of_merges_leaves_one_row_with_the_writes_and_associations_of_all() {
    for (keeps_id, object, named, written, other) in [
        (false, "contacts", "email", "phone", "deals"),
        (true, "contacts", "email", "phone", "deals"),
        (false, "deals", "dealname", "description", "contacts"),
    ] {
        let portal = portal(keeps_id);
        let ids = three(&portal, (object, named), other);
        let site = Site::with(&portal, "", OBJECTS);
        site.once();
        let view = "SELECT count(*) FROM contacts_deals";
        assert_eq!(site.number(view), 3, "{object}");
        // What a program has written to one that is merged away twice is not lost with it.
        site.execute(&format!(
            "UPDATE {object} SET {written} = 'Lima' WHERE hs_id = {}",
            ids[1]
        ));
        let now = portal.now_ms();
        let merged = portal
            .stand()
            .merge(object, ids[0], ids[1], now)
            .expect("both are there");
        let last = portal
            .stand()
            .merge(object, ids[2], merged, now + 1)
            .expect("both are there");
        assert_eq!(last == ids[2], keeps_id);
        site.once();
        let rows = format!("SELECT group_concat(hs_id) FROM {object}");
        assert_eq!(site.text(&rows), Some(last.to_string()), "{object}");
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
        let value = portal
            .stand()
            .record(object, last)
            .and_then(|record| record.value(written).map(str::to_owned));
        assert_eq!(value.as_deref(), Some("Lima"), "{object}");
        let here = format!("SELECT {written} FROM {object}");
        assert_eq!(site.text(&here).as_deref(), Some("Lima"));
        // All that hung on the three hangs on the one, here as there, by the view too.
        let there = portal.stand().links("contacts", "deals").len();
        assert_eq!((site.number(view), there), (3, 3), "{object}");
        let absorbed =
            "SELECT count(*) FROM sync_history WHERE origin = 'absorb' AND property = '*'";
        assert_eq!(site.number(absorbed), 2);
        assert_eq!(portal.requests("batch/archive"), 0);
    }
}

#[test]
fn a_write_that_is_on_its_way_to_a_record_while_that_is_merged_away_is_not_lost() {
    for (keeps_id, lands) in [(false, true), (true, false)] {
        let portal = portal(keeps_id);
        let [ann, bob, _] = three(&portal, ("contacts", "email"), "deals");
        let mut site = Site::with(&portal, "", OBJECTS);
        site.start_and_load();
        let fault = match lands {
            true => FaultKind::Slow,
            false => FaultKind::Unavailable,
        };
        portal.stand().faults_mut().slow_ms = 20_000;
        portal.script(fault, 1, "contacts/batch/update");
        let before = portal.requests("contacts/batch/update");
        site.execute(&format!(
            "UPDATE contacts SET phone = 'Lima' WHERE hs_id = {bob}"
        ));
        eventually("it is on its way", || {
            portal.requests("contacts/batch/update") > before
        });
        site.kill();
        let now = portal.now_ms();
        let survivor = portal
            .stand()
            .merge("contacts", ann, bob, now)
            .expect("both are there");
        site.start();
        site.until_sql(&format!(
            "SELECT count(*) = 1 FROM contacts WHERE hs_id = {survivor} AND phone = 'Lima'"
        ));
        site.until_pushed();
        assert_eq!(portal.value(survivor, "phone").as_deref(), Some("Lima"));
        assert_eq!(site.number("SELECT count(*) FROM contacts"), 2);
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn a_deletion_here_takes_nobody_along_who_was_merged_into_its_record() {
    for keeps_id in [true, false] {
        let portal = portal(keeps_id);
        let [ann, bob, _] = three(&portal, ("contacts", "email"), "deals");
        let site = Site::with(&portal, "", OBJECTS);
        site.once();
        let now = portal.now_ms();
        let merged = portal.stand().merge("contacts", ann, bob, now);
        let survivor = merged.expect("both are there");
        site.execute(&format!("DELETE FROM contacts WHERE hs_id = {ann}"));
        site.once();
        site.once();
        assert_eq!(portal.requests("contacts/batch/archive"), 0, "{keeps_id}");
        let left = format!("SELECT count(*) = 2 AND sum(hs_id = {survivor}) = 1 FROM contacts");
        assert_eq!(site.number(&left), 1, "{keeps_id}");
        let kept = "SELECT group_concat(winner || ' ' || (base_value ->> 'email')) FROM sync_conflicts WHERE property = '*'";
        assert_eq!(site.text(kept).as_deref(), Some("remote 1@example.com"));
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    }
}

#[test]
fn a_deletion_that_is_told_by_an_id_that_was_merged_away_is_the_survivors() {
    for is_private in [true, false] {
        let portal = portal(false);
        let [ann, bob, _] = three(&portal, ("contacts", "email"), "deals");
        let door = Door::new();
        let polls = "[schedule]\npoll = \"1s\"\npoll_with_webhooks = \"1s\"\n";
        let settings = format!("{polls}{}", door.settings(""));
        let mut site = Door::site_with(&portal, &settings, OBJECTS);
        site.start_and_settle();
        let now = portal.now_ms();
        let merged = portal.stand().merge("contacts", ann, bob, now);
        let survivor = merged.expect("both are there");
        site.until_sql(&format!(
            "SELECT count(*) = 2 AND sum(hs_id = {survivor}) = 1 FROM contacts"
        ));
        let now = portal.now_ms();
        let kinds = match is_private {
            true => {
                assert!(portal.stand().delete_for_good("contacts", survivor, now));
                vec!["privacyDeletion", "deletion"]
            }
            false => {
                assert!(portal.stand().archive("contacts", survivor, now));
                vec!["deletion"]
            }
        };
        let told = |(number, kind): (usize, &str)| {
            json!({
                "eventId": number, "subscriptionId": 7, "portalId": portal.stand().settings().portal_id, "appId": 1_160_452,
                "occurredAt": portal.now_ms(), "subscriptionType": format!("contact.{kind}"), "attemptNumber": 0, "objectId": bob,
            })
        };
        let events: Vec<Value> = kinds.into_iter().enumerate().map(told).collect();
        assert_eq!(door.deliver(&portal, &json!(events)), 204);
        site.until_sql("SELECT count(*) = 1 FROM contacts");
        if is_private {
            let kept = format!(
                "SELECT count(*) FROM sync_history WHERE hs_id IN ({ann}, {bob}, {survivor})"
            );
            assert_eq!(site.number(&kept), 0);
        }
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn a_merge_of_which_a_webhook_tells_is_there_without_a_poll() {
    for keeps_id in [true, false] {
        let portal = portal(keeps_id);
        let ids = three(&portal, ("contacts", "email"), "deals");
        let door = Door::new();
        let settings = format!("[schedule]\npoll = \"1h\"\n{}", door.settings(""));
        let mut site = Door::site_with(&portal, &settings, OBJECTS);
        site.start_and_settle();
        door.subscribe(&portal, Webhooks::default());
        let now = portal.now_ms();
        let survivor = portal
            .stand()
            .merge("contacts", ids[0], ids[1], now)
            .expect("both are there");
        assert_eq!(survivor == ids[0], keeps_id);
        site.until_sql(&format!(
            "SELECT count(*) = 2 AND sum(hs_id = {survivor}) = 1 FROM contacts"
        ));
        // What hung on either hangs on the one that is left.
        site.until_sql(&format!(
            "SELECT count(*) = 2 FROM contacts_deals AS d JOIN contacts AS c ON c.local_id = d.contacts_local_id
             WHERE c.hs_id = {survivor}"
        ));
        site.until_pushed();
        assert_eq!(portal.requests("batch/archive"), 0);
        assert_eq!(site.stop(), 0);
    }
}

#[test]
fn a_parent_and_its_child_become_one_company_that_is_not_its_own_parent() {
    for keeps_id in [true, false] {
        let portal = portal(keeps_id);
        let day_ago = portal.now_ms() - 86_400_000;
        let [mother, child, grandchild] = ["Mother", "Child", "Grandchild"].map(|name| {
            portal
                .stand()
                .create("companies", &[("name", name)], day_ago)
        });
        let kinds = portal.stand().pair_types("companies", "companies");
        let parent = kinds.iter().find(|kind| kind.kind.type_id == 13);
        let parent = parent.expect("HubSpot has it").kind;
        for (from, to) in [(mother, child), (child, grandchild)] {
            let ends = (("companies", from), ("companies", to));
            assert!(portal.stand().label(ends.0, ends.1, parent, day_ago));
        }
        let site = Site::with(&portal, "", FAMILY);
        site.once();
        assert_eq!(site.number("SELECT count(*) FROM associations"), 8);
        let now = portal.now_ms();
        let survivor = portal.stand().merge("companies", mother, child, now);
        let survivor = survivor.expect("both are there");
        site.once();
        site.once();
        let family = "SELECT group_concat(line) FROM (SELECT f.hs_id || ' ' || t.hs_id || ' ' || a.type_id AS line FROM associations AS a
             JOIN companies AS f ON f.local_id = a.from_local_id JOIN companies AS t ON t.local_id = a.to_local_id
             ORDER BY f.hs_id = :survivor DESC, a.type_id)";
        let family = family.replace(":survivor", &survivor.to_string());
        let expected = format!(
            "{survivor} {grandchild} 13,{survivor} {grandchild} 450,{grandchild} {survivor} 14,{grandchild} {survivor} 450"
        );
        assert_eq!(site.text(&family), Some(expected));
        let links = portal.stand().links("companies", "companies");
        assert_eq!(links.len(), 4);
        assert_eq!(site.number("SELECT count(*) FROM sync_outbox"), 0);
    }
}
