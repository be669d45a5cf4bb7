//! An association has two directions: in a pair of one object each is a row of its own, and where the file maps a pair in both orders
//! each is a row of another pair. What a program writes in one shows in the other, and no poll is waited for.

use crate::daemon::{Site, eventually};
use crate::exclusive::{associate, both_sides};
use crate::links::{FAMILY, company};
use crate::portal::Portal;

/// Neither a poll nor a pass brings anything within a test.
const RARELY: &str = "[schedule]\npoll = \"1h\"\n";

const PASSED: &str = "SELECT count(*) = 0 FROM sync_status WHERE last_association_pass_at IS NULL";

#[test]
fn a_disassociation_of_one_object_that_is_given_up_comes_back_in_both_directions() {
    for given_up in ["DELETE FROM sync_holds", "DELETE FROM sync_outbox"] {
        let portal = Portal::quick();
        let [mother, daughter, son] =
            ["Mother", "Daughter", "Son"].map(|name| company(&portal, name));
        let types = portal.stand().pair_types("companies", "companies");
        let child = types.into_iter().find(|kind| kind.kind.type_id == 13);
        let child = child.expect("HubSpot has it").kind;
        for other in [daughter, son] {
            let (now, ends) = (portal.now_ms(), [mother, other].map(|id| ("companies", id)));
            assert!(portal.stand().label(ends[0], ends[1], child, now));
        }
        let settings = format!("{RARELY}[guard]\nmax_archives = 1\n");
        let mut site = Site::with(&portal, &settings, FAMILY);
        site.start_and_load();
        site.until_sql(PASSED);
        site.until_sql("SELECT count(*) = 8 FROM associations");
        site.execute("DELETE FROM associations WHERE type_id = 450 AND from_local_id = 1");
        assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
        site.until_sql("SELECT count(*) FROM sync_holds WHERE records = 2");
        site.execute(given_up);
        site.until_pushed();
        site.until_sql("SELECT count(*) = 8 FROM associations");
        let [here, there] = both_sides(&portal, &site, "companies", "companies");
        assert_eq!(here, there, "{given_up}");
        assert_eq!(site.stop(), 0);
    }
}

const ORDERS: &str = "[objects.contacts]\n[objects.companies]\n[associations]\n\
     forth = { from = \"contacts\", to = \"companies\" }\n\
     back = { from = \"companies\", to = \"contacts\" }\n";

/// Whether each order of the pair shows what HubSpot has in it, and how many types that is.
fn shown(portal: &Portal, site: &Site) -> Option<usize> {
    let orders = [("contacts", "companies"), ("companies", "contacts")];
    let sides = orders.map(|(from, to)| both_sides(portal, site, from, to));
    let is_equal = sides.iter().all(|[here, there]| here == there);
    is_equal.then(|| portal.stand().links("contacts", "companies").len())
}

#[test]
fn what_a_program_writes_in_one_order_of_a_pair_shows_in_the_other() {
    let portal = Portal::quick();
    let (ann, acme) = (portal.contact("ann@example.com"), company(&portal, "Acme"));
    let mut site = Site::with(&portal, RARELY, ORDERS);
    site.start_and_load();
    site.until_sql(PASSED);
    let (contact, its_company) = (("contacts", ann), ("companies", acme));
    let forth = associate(contact, its_company, 0);
    let back = associate(its_company, contact, 0);
    let take = |from: &str| format!("DELETE FROM associations WHERE from_object = '{from}'");
    for (insert, other) in [(&back, "contacts"), (&forth, "companies")] {
        site.execute(insert);
        site.until_pushed();
        eventually("both orders show it", || {
            shown(&portal, &site).is_some_and(|types| types > 0)
        });
        // Away in one order, it is away in the other at once, by one entry a type.
        site.execute(&take(other));
        assert_eq!(site.number("SELECT count(*) FROM associations"), 0);
        site.until_pushed();
        eventually("nobody shows it", || shown(&portal, &site) == Some(0));
    }
    // Taken away in one order and made in the other, it is there.
    for (take_from, insert) in [("contacts", &back), ("companies", &forth)] {
        site.execute(&forth);
        site.until_pushed();
        eventually("both orders show it", || {
            shown(&portal, &site).is_some_and(|types| types > 0)
        });
        let both = format!("BEGIN; {}; {insert}; COMMIT", take(take_from));
        site.program().execute_batch(&both).expect("is taken");
        site.until_pushed();
        eventually("both orders show it still", || {
            shown(&portal, &site).is_some_and(|types| types > 0)
        });
    }
    assert_eq!(site.stop(), 0);
}
