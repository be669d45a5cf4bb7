//! Values that people and programs write: texts are unique, so that each can be followed; other types take a few.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::plan::pick;

/// Draws values; every text is another one.
#[derive(Debug)]
pub(crate) struct Values {
    number: u64,
    next: u64,
}

impl Values {
    /// The values of one act: what the others write is the same with it or without it.
    pub(crate) fn of(number: u64) -> Self {
        Self { number, next: 0 }
    }

    /// A text that nobody has written before.
    pub(crate) fn text(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}n{}", self.number, self.next)
    }

    /// A value for a property, as HubSpot's text; empty for none.
    pub(crate) fn for_property(
        &mut self,
        rng: &mut ChaCha8Rng,
        property: &str,
        prefix: &str,
    ) -> String {
        if rng.random_bool(0.06) && property != "email" && property != "name" {
            return String::new();
        }
        let list: &[&str] = match property {
            "email" => return self.email(rng, prefix),
            "credit_limit" | "annualrevenue" => &["1", "1.0", "2.50", "2.5", "1000000", "-3", "0"],
            "vip" | "key_account" => &["true", "false"],
            "birthday" => &["1980-02-29", "2001-01-01", "1999-12-31"],
            "last_visit" => &[
                "2026-11-24T03:10:00Z",
                "2026-11-24T03:10:00.120Z",
                "2020-02-02T02:02:02.002Z",
            ],
            "loyalty_tier" => &["bronze", "silver", "gold", "platinum"],
            "account_tier" => &["a", "b", "c"],
            "interests" => &[
                "webinars",
                "events;webinars",
                "webinars;events",
                "newsletter;events",
            ],
            _ => return self.text(prefix),
        };
        (*pick(rng, list)).to_owned()
    }

    fn email(&mut self, rng: &mut ChaCha8Rng, prefix: &str) -> String {
        // A small pool now and then, so that two sides mean the same person.
        if rng.random_bool(0.3) {
            return format!("p{}@example.com", rng.random_range(0..12));
        }
        let name = self.text(prefix);
        if rng.random_bool(0.1) {
            format!("{}@Example.COM", name.to_uppercase())
        } else {
            format!("{name}@example.com")
        }
    }
}

/// Whether each value of the property is written once only.
pub(crate) fn is_unique_text(property: &str) -> bool {
    matches!(
        property,
        "firstname" | "lastname" | "city" | "name" | "internal_notes" | "description" | "serial"
    )
}
