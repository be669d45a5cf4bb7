//! Requests against the floor, and the memory of a long first read: counts, so that they hold on any machine.

use hubsyncd::simulator::settings::Settings;

use crate::daemon::{CONTACTS, Site, eventually};
use crate::portal::Portal;

/// Contacts of the first read that is measured.
const RECORDS: usize = 50_000;
/// The bound that the daemon is held to, whatever the number of records.
const MOST_KIB: u64 = 64 * 1024;

/// What is measured is the daemon, not its patience.
const WIDE_OPEN: &str = "[limits]\nburst_per_10_seconds = 10000\nper_second = 1000.0\nsearch_per_second = 100.0\nper_day = 1000000000\n";

/// Twenty properties, as the figure is defined. By lists alone: how many pages searches beside them carry depends on the machine.
const TWENTY: &str = r#"
[objects.contacts]
backfill = "list_only"

[objects.contacts.properties]
email = "email"
firstname = "firstname"
lastname = "lastname"
phone = "phone"
mobilephone = "mobilephone"
company = "company"
jobtitle = "jobtitle"
website = "website"
address = "address"
city = "city"
state = "state"
zip = "zip"
country = "country"
lifecyclestage = "lifecyclestage"
hs_lead_status = "hs_lead_status"
hubspot_owner_id = "hubspot_owner_id"
createdate = { column = "created", direction = "pull" }
birthday = "birthday"
vip = "vip"
credit_limit = "credit_limit"
"#;

fn without_limits() -> Portal {
    Portal::with(Settings {
        limits_enabled: false,
        // What the headers say, and the daemon believes.
        burst_limit: 1_000_000,
        daily_limit: 1_000_000_000,
        index_delay_min_ms: 0,
        index_delay_max_ms: 0,
        ..Settings::default()
    })
}

/// The floor and at most 2 % more.
fn assert_near(floor: usize, used: usize) {
    assert!(
        used >= floor,
        "{used} requests can't carry it: {floor} are the floor"
    );
    assert!(
        used <= floor + floor.div_ceil(50),
        "{used} requests, where {floor} are the floor"
    );
}

fn pages_of_the_list(portal: &Portal) -> usize {
    portal.pages("contacts")
}

#[test]
fn a_first_read_needs_few_requests_and_little_memory() {
    let portal = without_limits();
    portal.fill("contacts", RECORDS);
    let mut site = Site::with(&portal, WIDE_OPEN, TWENTY);
    site.start_and_load();
    assert_eq!(
        site.number("SELECT rows FROM sync_status WHERE object = 'contacts'"),
        RECORDS as i64
    );
    let high = site.peak_memory_kib();
    assert!(high < MOST_KIB, "{high} KiB at the most");
    assert_near(RECORDS / 100, pages_of_the_list(&portal));
    assert_eq!(site.stop(), 0);
}

#[test]
fn creates_and_updates_go_out_in_full_batches() {
    let portal = without_limits();
    let site = Site::with(&portal, WIDE_OPEN, CONTACTS);
    site.once();
    site.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO contacts (email, first_name) SELECT 'local' || i || '@example.com', 'Ann' FROM n",
    );
    site.once();
    assert_eq!(portal.contacts(), 5_000);
    assert_near(50, portal.requests("/batch/upsert"));
    site.execute("UPDATE contacts SET city = 'Lima'");
    site.once();
    assert_eq!(portal.count_with("city", "Lima"), 5_000);
    assert_near(50, portal.requests("/batch/update"));
    // Each batch of updates is read again just before. Looked at afterwards, by halves, are only those of which the read and
    // the write lay far apart; they are all looked at on a machine that is slow enough.
    let reads = portal.requests("/batch/read");
    assert!(reads <= 50 + 100 + 2, "{reads} reads");
    // A long queue goes in several batches at once: what one of them waits for does not hold the others up.
    let stand = portal.stand();
    let paths = stand.request_log().iter().map(|one| &one.path_template);
    let batches = paths.filter(|path| path.contains("/contacts/batch/"));
    let batches: Vec<bool> = batches.map(|path| path.ends_with("/update")).collect();
    let at_once = batches.windows(2).any(|two| two == [true, true]);
    assert!(at_once, "each write waits for the read before it");
}

#[test]
fn a_poll_that_finds_nothing_is_one_request_an_object() {
    let portal = without_limits();
    portal.fill("contacts", 300);
    let site = Site::with(&portal, WIDE_OPEN, CONTACTS);
    site.once();
    site.once();
    let before = portal.requests("/search");
    site.once();
    let used = portal.requests("/search") - before;
    assert!(
        (1..=3).contains(&used),
        "{used} searches: the poll and its walks again"
    );
}

#[test]
fn an_object_in_which_nothing_changes_is_polled_seldom_and_no_other_is() {
    let portal = without_limits();
    portal.fill("contacts", 5);
    let now = portal.now_ms();
    portal
        .stand()
        .create("companies", &[("name", "Young")], now);
    let schedule = format!("{WIDE_OPEN}[schedule]\npoll = \"1s\"\npoll_idle = \"1h\"\n");
    let mut site = Site::with(
        &portal,
        &schedule,
        "[objects.contacts]\n[objects.companies]\n",
    );
    let polls = |object: &str| portal.requests(&format!("/{object}/search"));
    site.start_and_load();
    eventually("polls of what is young", || polls("companies") >= 4);
    assert_eq!(
        polls("contacts"),
        1,
        "a day has passed since the last change"
    );
    // The first poll after a start comes at once, and finds a change: from then on it is as often as the other's.
    assert_eq!(site.stop(), 0);
    portal.contact("ann@example.com");
    site.start_and_load();
    eventually("polls of what has changed", || polls("contacts") >= 4);
    assert_eq!(site.stop(), 0);
}

const ASSOCIATED: &str = "[objects.contacts]\n[objects.companies]\n[associations]\n\
     contacts_companies = { from = \"contacts\", to = \"companies\" }\n";

#[test]
fn a_pass_over_associations_is_a_request_for_a_thousand_records_and_a_write_one_for_hundreds() {
    let portal = without_limits();
    portal.fill("contacts", 10_500);
    portal.fill("companies", 10);
    let site = Site::with(&portal, WIDE_OPEN, ASSOCIATED);
    site.once();
    assert_near(11, portal.requests("contacts/companies/batch/read"));
    site.execute(
        "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)
         SELECT 'contacts', c.local_id, 'companies', o.local_id FROM contacts AS c, companies AS o WHERE c.local_id <= 400",
    );
    let before = portal.requests("contacts/companies/batch/");
    let reads = portal.requests("contacts/companies/batch/read");
    site.once();
    let reads = portal.requests("contacts/companies/batch/read") - reads;
    let used = portal.requests("contacts/companies/batch/") - before - reads;
    let plain = "SELECT count(*) FROM associations WHERE type_id = 279";
    assert_eq!(site.number(plain), 4_000);
    assert!(
        (1..=42).contains(&used),
        "{used} requests for 4,000 associations"
    );
}
