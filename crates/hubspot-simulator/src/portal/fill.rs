//! Believable records by the `fake` crate, from the portal's seed; a million contacts in a few seconds.

use fake::Fake as _;
use fake::faker::address::en::{
    BuildingNumber, CityName, CountryName, StateName, StreetName, ZipCode,
};
use fake::faker::company::en::{Buzzword, CompanyName, Profession};
use fake::faker::job::en::Title;
use fake::faker::lorem::en::Sentence;
use fake::faker::name::en::{FirstName, LastName};
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::catalogue::contacts::{
    INDUSTRIES, INTERESTS, LEAD_STATUSES, LIFECYCLE_STAGES, LOYALTY_TIERS,
};
use crate::catalogue::pipelines::{DEAL_STAGES, TICKET_STAGES};
use crate::catalogue::{COMPANY, CONTACT, DEAL, OWNERS, ObjectIndex, TICKET};
use crate::portal::Portal;
use crate::portal::record::{Document, Source, Stored, Values};
use crate::portal::schema::Kind;
use crate::world::time;

/// The oldest record's age.
const AGE_MS: i64 = 730 * time::DAY_MS;

type Texts = Vec<(&'static str, String)>;

impl Portal {
    /// Adds `count` records that were created over the last two years, as an import did it long ago: not in the write log,
    /// visible in search at once, none modified after `now_ms`.
    pub fn fill(&mut self, object: &str, count: usize, now_ms: i64) {
        let object = self.index_of(object);
        let now_ms = self.hubspot_ms(now_ms);
        let first_id = self.table(object).next_id;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed() ^ first_id);
        let step_ms = (AGE_MS / (count as i64 + 1)).max(1);
        for number in 0..count {
            let created_ms =
                now_ms - AGE_MS + step_ms * number as i64 + rng.random_range(0..step_ms);
            let modified_ms = rng.random_range(created_ms..=now_ms.max(created_ms));
            let id = self.take_id(object);
            let texts = self.texts_of(object, id, created_ms, &mut rng);
            let table = self.table_mut(object);
            let entries = texts.iter().filter(|(_, text)| !text.is_empty());
            let entries =
                entries.filter_map(|(name, text)| Some((table.schema.live(name)?, text.as_str())));
            let document = Document {
                created_ms,
                modified_ms,
                values: Values::new(entries.collect()),
            };
            table.insert(
                id,
                Stored {
                    document,
                    origin: Source::Import,
                    extra: None,
                },
            );
        }
        self.forget_searches();
    }
}

impl Portal {
    fn texts_of(
        &self,
        object: ObjectIndex,
        id: u64,
        created_ms: i64,
        rng: &mut ChaCha8Rng,
    ) -> Texts {
        match object {
            CONTACT => contact(id, created_ms, rng),
            COMPANY => company(id, rng),
            DEAL => deal(id, created_ms, rng),
            TICKET => ticket(id, created_ms, rng),
            _ => self.plain(object, id, created_ms),
        }
    }

    /// Any other object: what a create needs, and its first property.
    fn plain(&self, object: ObjectIndex, id: u64, created_ms: i64) -> Texts {
        let table = self.table(object);
        let needed = table.spec.needs.iter().map(|group| group[0]);
        let first = table.spec.properties.iter().map(|row| row.name).take(1);
        let text = |name: &'static str| {
            let property = table.schema.property(table.schema.live(name)?);
            let text = match property.kind {
                Kind::Date => time::date(created_ms),
                Kind::Datetime => time::iso(created_ms),
                Kind::Number => (id % 1_000).to_string(),
                Kind::Enumeration => property.choices.first()?.value.clone(),
                Kind::Bool => "true".to_owned(),
                Kind::String | Kind::PhoneNumber | Kind::Json => {
                    format!("{} {id}", table.spec.singular)
                }
            };
            Some((name, text))
        };
        let mut texts: Texts = first.chain(needed).filter_map(text).collect();
        texts.dedup_by_key(|(name, _)| *name);
        texts
    }
}

fn one_of(list: &[&str], rng: &mut ChaCha8Rng) -> String {
    (*list.choose(rng).unwrap_or(&"")).to_owned()
}

fn owner(rng: &mut ChaCha8Rng) -> String {
    OWNERS[rng.random_range(0..4)].id.to_string()
}

/// The text in three of four cases, else nothing.
fn mostly(text: impl FnOnce(&mut ChaCha8Rng) -> String, rng: &mut ChaCha8Rng) -> String {
    if rng.random_ratio(3, 4) {
        text(rng)
    } else {
        String::new()
    }
}

fn phone(rng: &mut ChaCha8Rng) -> String {
    let mut part = |low: u32, high: u32| rng.random_range(low..high);
    format!(
        "+1 {}-{}-{:04}",
        part(201, 990),
        part(200, 999),
        part(0, 10_000)
    )
}

fn letters(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase()
}

fn day(ms: i64, rng: &mut ChaCha8Rng, first: i64, last: i64) -> String {
    time::date(ms + rng.random_range(first..last) * time::DAY_MS)
}

fn contact(id: u64, created_ms: i64, rng: &mut ChaCha8Rng) -> Texts {
    let first: &str = FirstName().fake_with_rng(rng);
    let last: &str = LastName().fake_with_rng(rng);
    let company: String = CompanyName().fake_with_rng(rng);
    let domain = format!("{}.example", letters(&company));
    let street: String = StreetName().fake_with_rng(rng);
    let house: String = BuildingNumber().fake_with_rng(rng);
    let interests = INTERESTS
        .iter()
        .filter(|_| rng.random_ratio(1, 3))
        .copied()
        .collect::<Vec<_>>()
        .join(";");
    vec![
        (
            "email",
            format!("{}.{}.{id}@{domain}", letters(first), letters(last)),
        ),
        ("firstname", first.to_owned()),
        ("lastname", last.to_owned()),
        ("phone", mostly(phone, rng)),
        ("jobtitle", mostly(|rng| Title().fake_with_rng(rng), rng)),
        ("lifecyclestage", one_of(&LIFECYCLE_STAGES[..6], rng)),
        (
            "hs_lead_status",
            mostly(|rng| one_of(LEAD_STATUSES, rng), rng),
        ),
        ("address", format!("{house} {street}")),
        ("city", CityName().fake_with_rng(rng)),
        ("state", StateName().fake_with_rng(rng)),
        ("zip", ZipCode().fake_with_rng(rng)),
        ("country", CountryName().fake_with_rng(rng)),
        ("website", format!("https://www.{domain}")),
        ("company", company),
        ("hubspot_owner_id", owner(rng)),
        (
            "loyalty_tier",
            mostly(|rng| one_of(LOYALTY_TIERS, rng), rng),
        ),
        ("interests", interests),
        (
            "birthday",
            mostly(|rng| day(created_ms, rng, -25_000, -7_000), rng),
        ),
        ("vip", rng.random_ratio(1, 20).to_string()),
        ("credit_limit", (rng.random_range(0..200) * 250).to_string()),
        ("customer_number", format!("C-{id}")),
    ]
}

fn company(id: u64, rng: &mut ChaCha8Rng) -> Texts {
    let name: String = CompanyName().fake_with_rng(rng);
    let domain = format!("{}-{}.example", letters(&name), id % 10_000);
    vec![
        ("website", format!("https://www.{domain}")),
        ("domain", domain),
        ("name", name),
        ("phone", mostly(phone, rng)),
        ("city", CityName().fake_with_rng(rng)),
        ("state", StateName().fake_with_rng(rng)),
        ("country", CountryName().fake_with_rng(rng)),
        ("industry", mostly(|rng| one_of(INDUSTRIES, rng), rng)),
        (
            "annualrevenue",
            (rng.random_range(1..5_000) * 10_000).to_string(),
        ),
        ("numberofemployees", rng.random_range(1..3_000).to_string()),
        ("lifecyclestage", one_of(&LIFECYCLE_STAGES[..6], rng)),
        ("hubspot_owner_id", owner(rng)),
        (
            "description",
            mostly(
                |rng| {
                    format!(
                        "{} {}",
                        Buzzword().fake_with_rng::<&str, _>(rng),
                        Profession().fake_with_rng::<&str, _>(rng)
                    )
                },
                rng,
            ),
        ),
        (
            "account_tier",
            mostly(|rng| one_of(&["a", "b", "c"], rng), rng),
        ),
        ("key_account", rng.random_ratio(1, 10).to_string()),
        ("erp_number", format!("E-{id}")),
    ]
}

fn deal(id: u64, created_ms: i64, rng: &mut ChaCha8Rng) -> Texts {
    let buyer: String = CompanyName().fake_with_rng(rng);
    let pipeline = &DEAL_STAGES.pipelines[usize::from(rng.random_ratio(1, 5))];
    let stage = pipeline.stages[rng.random_range(0..pipeline.stages.len())].0;
    let close_ms = created_ms + rng.random_range(5..200) * time::DAY_MS;
    vec![
        (
            "dealname",
            format!(
                "{buyer} – {}",
                one_of(&["new licence", "renewal", "add-on", "pilot"], rng)
            ),
        ),
        (
            "amount",
            format!("{}", f64::from(rng.random_range(4..2_000_u32)) * 62.5),
        ),
        ("closedate", time::iso(close_ms)),
        ("pipeline", pipeline.id.to_owned()),
        ("dealstage", stage.to_owned()),
        (
            "dealtype",
            one_of(&["newbusiness", "existingbusiness"], rng),
        ),
        (
            "hs_priority",
            mostly(|rng| one_of(&["low", "medium", "high"], rng), rng),
        ),
        ("hubspot_owner_id", owner(rng)),
        ("deal_currency_code", one_of(&["USD", "EUR"], rng)),
        ("order_number", format!("O-{id}")),
    ]
}

fn ticket(id: u64, created_ms: i64, rng: &mut ChaCha8Rng) -> Texts {
    let pipeline = &TICKET_STAGES.pipelines[0];
    let stage = pipeline.stages[rng.random_range(0..pipeline.stages.len())].0;
    vec![
        ("subject", Sentence(3..7).fake_with_rng(rng)),
        ("content", Sentence(8..25).fake_with_rng(rng)),
        ("hs_pipeline", pipeline.id.to_owned()),
        ("hs_pipeline_stage", stage.to_owned()),
        (
            "hs_ticket_priority",
            mostly(|rng| one_of(&["LOW", "MEDIUM", "HIGH", "URGENT"], rng), rng),
        ),
        (
            "source_type",
            one_of(&["CHAT", "EMAIL", "FORM", "PHONE"], rng),
        ),
        ("hubspot_owner_id", owner(rng)),
        ("due_on", mostly(|rng| day(created_ms, rng, 2, 30), rng)),
        ("case_number", format!("T-{id}")),
    ]
}

#[cfg(test)]
mod tests {
    use crate::testing::Desk;

    #[test]
    fn sample_records_would_pass_hubspot_s_own_checks() {
        let mut desk = Desk::quick();
        for object in ["contacts", "companies", "deals", "tickets"] {
            desk.portal.fill(object, 60, desk.now_ms);
            assert_eq!(desk.portal.count(object), 60);
            let samples: Vec<(u64, Vec<(String, String)>)> = desk
                .portal
                .records(object)
                .iter()
                .map(|record| {
                    assert!(
                        record.modified_ms() <= desk.now_ms
                            && record.created_ms() <= record.modified_ms()
                    );
                    let all = record.properties();
                    (
                        record.id(),
                        all.into_iter()
                            .map(|(name, text)| (name.to_owned(), text.to_owned()))
                            .collect(),
                    )
                })
                .collect();
            for (id, properties) in samples {
                let before = desk
                    .portal
                    .record(object, id)
                    .map(|record| record.modified_ms());
                let same: Vec<(&str, &str)> = properties
                    .iter()
                    .map(|(name, text)| (name.as_str(), text.as_str()))
                    .collect();
                assert!(
                    desk.portal.edit(object, id, &same, desk.now_ms),
                    "{object} {properties:?}"
                );
                assert_eq!(
                    desk.portal
                        .record(object, id)
                        .map(|record| record.modified_ms()),
                    before,
                    "{properties:?}"
                );
            }
        }
    }
}
