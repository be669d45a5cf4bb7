//! Plain settings that more than one part of the daemon is handed: HubSpot's version and tier, limits, guard.
//!
//! They are values only. `config/` reads them from the file; `hubspot/`, `store/` and `engine/` take them from here and
//! so need to know nothing of the file.

use std::time::Duration;

/// Which family of HubSpot's paths is used (`hubspot/api-facts.md#1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ApiVersion {
    /// The dated version of March 2026.
    #[default]
    V2026_03,
    /// The dated version of September 2026.
    V2026_09,
    /// The older numbered paths.
    V3,
}

impl ApiVersion {
    /// All versions, in the order of the manual.
    pub const ALL: [Self; 3] = [Self::V2026_03, Self::V2026_09, Self::V3];

    /// The name in the mapping file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2026_03 => "2026-03",
            Self::V2026_09 => "2026-09",
            Self::V3 => "v3",
        }
    }

    /// Reads a name of the mapping file.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|candidate| candidate.as_str() == name)
    }
}

/// The account's tier, which decides its limits until HubSpot's headers say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tier {
    /// No paid hub.
    #[default]
    Free,
    /// Starter.
    Starter,
    /// Professional.
    Professional,
    /// Enterprise.
    Enterprise,
}

impl Tier {
    /// All tiers, the smallest first.
    pub const ALL: [Self; 4] = [
        Self::Free,
        Self::Starter,
        Self::Professional,
        Self::Enterprise,
    ];

    /// The name in the mapping file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Starter => "starter",
            Self::Professional => "professional",
            Self::Enterprise => "enterprise",
        }
    }

    /// Reads a name of the mapping file.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|candidate| candidate.as_str() == name)
    }

    /// Requests of one app in any 10 seconds (`hubspot/api-facts.md#3`).
    pub fn burst_per_10_seconds(self) -> u32 {
        match self {
            Self::Free | Self::Starter => 100,
            Self::Professional | Self::Enterprise => 190,
        }
    }

    /// Requests of all the account's apps in a day (`hubspot/api-facts.md#3`).
    pub fn per_day(self) -> u64 {
        match self {
            Self::Free | Self::Starter => 250_000,
            Self::Professional => 625_000,
            Self::Enterprise => 1_000_000,
        }
    }
}

/// Who writes the database's log back into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Checkpoint {
    /// The daemon, in small parts as it writes, and all of it at its end.
    #[default]
    Own,
    /// Another program that copies the log elsewhere (Litestream). hubsyncd never does, also not at its end.
    Outside,
}

impl Checkpoint {
    /// Both, in the order of the manual.
    pub const ALL: [Self; 2] = [Self::Own, Self::Outside];

    /// The name in the mapping file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Outside => "outside",
        }
    }
}

/// How a webhook is signed (`hubspot/api-facts.md#11`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SignatureVersion {
    /// HMAC over method, URL, body and time; sent with every webhook.
    #[default]
    V3,
    /// A hash over method, URL and body, without a time.
    V2,
    /// A hash over the body, without a time.
    V1,
}

impl SignatureVersion {
    /// All versions, the strongest first.
    pub const ALL: [Self; 3] = [Self::V3, Self::V2, Self::V1];

    /// The name in the mapping file and in HubSpot's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "v3",
            Self::V2 => "v2",
            Self::V1 => "v1",
        }
    }
}

/// Searches of the whole account in a second, whatever its tier (`hubspot/api-facts.md#3`).
pub(crate) const SEARCH_PER_SECOND: f64 = 5.0;

/// What the file says about limits. `None`: the tier's number holds, and HubSpot's headers move it. A number of the
/// file is never exceeded; headers only lower it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests in any 10 seconds, at least 1.
    pub burst_per_10_seconds: Option<u32>,
    /// The pace inside the burst window, requests a second; above 0.
    pub per_second: Option<f64>,
    /// Searches a second; above 0.
    pub search_per_second: Option<f64>,
    /// Bulk association calls a second; above 0.
    pub associations_per_second: Option<f64>,
    /// Requests a day, at least 1.
    pub per_day: Option<u64>,
    /// Share of the day, 0 to 0.9, that polling and backfill leave for pushes.
    pub reserve_for_push: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            burst_per_10_seconds: None,
            per_second: None,
            search_per_second: None,
            associations_per_second: None,
            per_day: None,
            reserve_for_push: 0.10,
        }
    }
}

/// How much may go in one window before an operator is asked (promise 11).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// Archives or deletions of an object on one side within `window` that are always let through …
    pub max_archives: u64,
    /// … or this share of its rows, 0 to 1, whichever is more.
    pub max_share: f64,
    /// The rolling window.
    pub window: Duration,
    /// The same for pushed updates; 0: no bound.
    pub max_updates: u64,
    /// Share of a column's values that may become empty within `window`, on either side, 0 to 1; 1: no bound.
    pub max_cleared: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_archives: 100,
            max_share: 0.05,
            window: Duration::from_hours(1),
            max_updates: 0,
            max_cleared: 0.2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_the_least_is_the_default() {
        for version in ApiVersion::ALL {
            assert_eq!(ApiVersion::parse(version.as_str()), Some(version));
        }
        for tier in Tier::ALL {
            assert_eq!(Tier::parse(tier.as_str()), Some(tier));
            assert!(tier.burst_per_10_seconds() >= Tier::default().burst_per_10_seconds());
            assert!(tier.per_day() >= Tier::default().per_day());
        }
        assert_eq!(Tier::parse("Free"), None);
    }
}
