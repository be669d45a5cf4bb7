//! What kind of portal is simulated, with one switch for each behaviour that `api-facts.md` leaves open.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::webhooks::{ClientSecret, Webhooks};
use crate::world::oauth::OAuthApp;

/// The token that a new portal accepts.
pub const DEFAULT_TOKEN: &str = "pat-na1-51111111-2222-4333-8444-555555555555";

/// The portal and its moods. Every field has a default, so a scenario file names only what differs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one switch for each open question, each on its own"
)]
pub struct Settings {
    /// The account's id.
    pub portal_id: u64,
    /// The app that the tokens belong to: `sourceId` of API writes in the property history.
    pub app_id: u64,
    /// An IANA zone; the daily limit resets at its midnight.
    pub time_zone: String,
    /// Accepted bearer tokens.
    #[serde(skip_deserializing)]
    pub tokens: Tokens,
    /// One more token: what is written with it a person has written in HubSpot's pages, and no app.
    pub people_token: Option<String>,
    /// Scopes that the tokens lack, such as `crm.objects.contacts.write`; a request that needs one gets 403.
    pub denied_scopes: BTreeSet<String>,
    /// HubSpot's clock minus the clock of the caller, in milliseconds: the `Date` header and all times follow it.
    pub clock_offset_ms: i64,
    /// Bounds of the time to each answer, milliseconds.
    pub latency_min_ms: u64,
    /// Upper bound of the time to each answer, milliseconds.
    pub latency_max_ms: u64,

    /// Whether any request limit is enforced. Off, the rate headers still tell the numbers.
    pub limits_enabled: bool,
    /// Requests in any rolling ten seconds (`api-facts.md#3`).
    pub burst_limit: u32,
    /// Searches in any rolling second.
    pub search_limit: u32,
    /// Requests from midnight to midnight.
    pub daily_limit: u32,
    /// Whether answers to static tokens carry the two `Daily` headers; an OAuth app's never do.
    pub daily_headers: bool,
    /// Whether a search counts in the ten-second window (unknown 1).
    pub searches_count_in_burst: bool,
    /// Whether a search counts in the day (unknown 1).
    pub searches_count_in_day: bool,
    /// Whether a 429 carries `Retry-After` (unknown 2).
    pub retry_after_on_429: bool,
    /// Whether the 429 of a search names its policy (unknown 2).
    pub search_policy_name: bool,
    /// Whether refused requests count in the day (unknown 3).
    pub refused_count_in_day: bool,

    /// Bounds of the delay of each search document on its own, milliseconds (unknown 13).
    pub index_delay_min_ms: u64,
    /// Upper bound of that delay; differing bounds make documents visible out of order.
    pub index_delay_max_ms: u64,
    /// Whether `hs_object_id` sorts as text in search (unknown 14).
    pub sort_ids_as_text: bool,
    /// Whether the 3,000 characters of a search are those of the whole body (unknown 15), else of its values.
    pub search_limit_is_whole_body: bool,
    /// Whether `NEQ` and `NOT_IN` match records without a value.
    pub negative_filters_match_empty: bool,
    /// Whether records that tie in a sort change places between two pages.
    pub ties_change_between_pages: bool,

    /// Whether list's `after` is opaque; else it is the last id plus one (unknown 4).
    pub opaque_after: bool,
    /// Whether an update with one bad value and trace ids answers 207; else 400 for all (unknown 5).
    pub update_bad_value_is_207: bool,
    /// Whether an update by a merged-away id reaches the survivor (unknown 6).
    pub merged_id_update_lands: bool,
    /// Whether two ids that merged give two results in a batch read (unknown 7).
    pub merged_ids_read_twice: bool,
    /// Records that the tokens' user may not see: lists, batch reads, searches and associations miss them, in the archive too.
    pub hidden: BTreeSet<u64>,
    /// Whether a batch read shows archived records; their list does in any case.
    pub archived_by_id: bool,
    /// Whether a merge keeps the primary's id, as before 2025; else the result has a new one.
    pub merge_keeps_primary_id: bool,
    /// Whether the values that a merge moved are told as `propertyChange` beside `merge`; seen without, documented with.
    pub merge_tells_property_changes: bool,
    /// Whether an archived record still holds its unique values (unknown 9).
    pub archived_holds_unique: bool,
    /// Whether a write of an equal value moves the last-modified time (unknown 11).
    pub equal_write_moves_modified: bool,
    /// Whether `null` in a write clears the value; else it is ignored (unknown 17).
    pub null_clears: bool,
    /// Whether association answers spell record ids as numbers, as seen; else as text, as the files have it.
    pub association_ids_are_numbers: bool,
    /// Associations of one record on a page of a list or a batch read (`api-facts.md#8`: 500).
    pub associations_per_page: usize,
    /// Whether the default association of a record that has no primary company yet makes that company the primary one.
    pub first_company_is_primary: bool,
    /// Whether the answer to a default association names the primary that it made; else the plain type alone.
    pub default_names_primary: bool,
    /// Whether a label replaces the pair's other labels (unknown 16); else it is added.
    pub label_replaces_others: bool,
    /// Whether a change of associations moves the last-modified time of both records (unknown 12).
    pub association_moves_modified: bool,
    /// Whether one input with an unknown type fails a whole batch of associations with 400; else it is an entry of the 207.
    pub bad_association_type_fails_batch: bool,
    /// Whether one input that names a record which isn't there fails a whole batch of associations with 404; else it is an entry
    /// of the 207.
    pub missing_record_fails_batch: bool,
    /// Whether date versions answer 200 with a body where associations are archived in a batch, as their files say; else 204.
    pub association_archive_is_200: bool,
    /// Whether a read of associations by a merged-away id finds the survivor's.
    pub merged_id_associations_found: bool,
    /// Whether webhooks tell the associations that an archive, a restore or a merge moved.
    pub moved_links_are_told: bool,
    /// Whether numbers are spelled anew, `42.50` as `42.5` (unknown 18).
    pub respell_numbers: bool,
    /// Whether properties without a value are left out of records; else they are `null`, as seen.
    pub leave_out_empty: bool,
    /// Whether U+FFFD in a value is answered as half of a pair (`\ud83d` alone), as in a text that was cut within an emoji.
    pub cuts_pairs: bool,
    /// Whether trailing zero milliseconds are left out of times.
    pub shorten_milliseconds: bool,
    /// Whether a batch update takes `idProperty: email`; refused as non-unique in 2024.
    pub batch_update_by_email: bool,
    /// Whether an empty batch is a 400; else an empty 200.
    pub empty_batch_is_400: bool,
    /// Properties that the portal's create form asks for, by plural object name: enforced in 2026-09 alone.
    pub required_in_2026_09: BTreeMap<String, Vec<String>>,
    /// Stages into which a rule of their pipeline lets no record move, each with what HubSpot says of it.
    pub stage_rules: BTreeMap<String, String>,
    /// Pipelines and stages that somebody deleted, by their ids.
    pub deleted_stages: BTreeSet<String>,
    /// Labels that somebody gave pipelines and stages, by their ids.
    pub stage_labels: BTreeMap<String, String>,
    /// Standard objects that the portal doesn't have, by plural name.
    pub missing_objects: BTreeSet<String>,
    /// The key of the developer account that owns the app; none: its webhooks can't be set by API.
    pub developer_key: Option<ClientSecret>,
    /// An OAuth app; none: static tokens alone.
    pub oauth: Option<OAuthApp>,
    /// An app's webhooks; none: nothing is sent.
    pub webhooks: Option<Webhooks>,
    /// Entries that the write log and the request log keep; older ones are dropped.
    pub log_limit: usize,
}

/// Accepted tokens; never printed.
#[derive(Clone)]
pub struct Tokens(pub Vec<String>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Tokens({})", self.0.len())
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self(vec![DEFAULT_TOKEN.to_owned()])
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            portal_id: 48_151_623,
            app_id: 1_160_452,
            time_zone: "US/Eastern".to_owned(),
            tokens: Tokens::default(),
            people_token: None,
            denied_scopes: BTreeSet::new(),
            clock_offset_ms: 0,
            latency_min_ms: 0,
            latency_max_ms: 0,
            limits_enabled: true,
            burst_limit: 190,
            search_limit: 5,
            daily_limit: 625_000,
            daily_headers: true,
            searches_count_in_burst: false,
            searches_count_in_day: true,
            retry_after_on_429: false,
            search_policy_name: true,
            refused_count_in_day: true,
            index_delay_min_ms: 300,
            index_delay_max_ms: 3_000,
            sort_ids_as_text: false,
            search_limit_is_whole_body: true,
            negative_filters_match_empty: true,
            ties_change_between_pages: false,
            opaque_after: false,
            update_bad_value_is_207: true,
            merged_id_update_lands: false,
            merged_ids_read_twice: false,
            hidden: BTreeSet::new(),
            archived_by_id: true,
            merge_keeps_primary_id: false,
            merge_tells_property_changes: false,
            archived_holds_unique: false,
            equal_write_moves_modified: false,
            null_clears: false,
            association_ids_are_numbers: true,
            associations_per_page: 500,
            first_company_is_primary: true,
            default_names_primary: true,
            label_replaces_others: false,
            association_moves_modified: false,
            bad_association_type_fails_batch: true,
            missing_record_fails_batch: false,
            association_archive_is_200: false,
            merged_id_associations_found: true,
            moved_links_are_told: false,
            respell_numbers: true,
            leave_out_empty: false,
            cuts_pairs: false,
            shorten_milliseconds: true,
            batch_update_by_email: false,
            empty_batch_is_400: true,
            required_in_2026_09: BTreeMap::new(),
            stage_rules: BTreeMap::new(),
            deleted_stages: BTreeSet::new(),
            stage_labels: BTreeMap::new(),
            missing_objects: BTreeSet::new(),
            developer_key: None,
            oauth: None,
            webhooks: None,
            log_limit: 200_000,
        }
    }
}

impl Settings {
    /// A portal without limits, latency and index delay: for tests of something else.
    pub fn quick() -> Self {
        Self {
            limits_enabled: false,
            index_delay_min_ms: 0,
            index_delay_max_ms: 0,
            ..Self::default()
        }
    }

    /// Every open question decided by the seed, so that many seeds test both answers.
    #[must_use]
    pub fn with_unknowns_from(mut self, seed: u64) -> Self {
        let switches: [&mut bool; 30] = [
            &mut self.searches_count_in_burst,
            &mut self.searches_count_in_day,
            &mut self.retry_after_on_429,
            &mut self.search_policy_name,
            &mut self.refused_count_in_day,
            &mut self.negative_filters_match_empty,
            &mut self.opaque_after,
            &mut self.update_bad_value_is_207,
            &mut self.merged_id_update_lands,
            &mut self.merged_ids_read_twice,
            &mut self.merge_keeps_primary_id,
            &mut self.archived_holds_unique,
            &mut self.equal_write_moves_modified,
            &mut self.null_clears,
            &mut self.respell_numbers,
            &mut self.shorten_milliseconds,
            &mut self.batch_update_by_email,
            &mut self.ties_change_between_pages,
            &mut self.leave_out_empty,
            &mut self.merge_tells_property_changes,
            &mut self.association_ids_are_numbers,
            &mut self.first_company_is_primary,
            &mut self.label_replaces_others,
            &mut self.association_moves_modified,
            &mut self.bad_association_type_fails_batch,
            &mut self.association_archive_is_200,
            &mut self.merged_id_associations_found,
            &mut self.moved_links_are_told,
            &mut self.default_names_primary,
            &mut self.missing_record_fails_batch,
        ];
        let bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        for (position, switch) in switches.into_iter().enumerate() {
            *switch = bits >> position & 1 == 1;
        }
        self
    }

    /// Takes a token away: requests with it get 401.
    pub fn revoke(&mut self, token: &str) {
        self.tokens.0.retain(|known| known != token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::faults::Scenario;

    const MANUAL: &str = include_str!("../../../../docs/simulator.md");

    /// The names that serde would take instead of `wrong`.
    fn names(text: &str) -> Vec<String> {
        let error = Scenario::from_json(text)
            .expect_err("an unknown name")
            .to_string();
        let expected = error.split_once("expected").expect("the known names").1;
        expected
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_manual_names_every_setting_and_every_fault() {
        let settings = names(r#"{"settings": {"wrong": 1}}"#);
        let faults = names(r#"{"faults": {"chances": {"wrong": 1}}}"#);
        let others = names(r#"{"faults": {"wrong": 1}}"#);
        assert!(
            settings.len() > 30 && faults.len() == 21,
            "{settings:?} {faults:?}"
        );
        let webhooks = names(r#"{"settings": {"webhooks": {"wrong": 1}}}"#);
        let oauth = names(r#"{"settings": {"oauth": {"wrong": 1}}}"#);
        let parts = webhooks.iter().chain(&oauth);
        for name in settings.iter().chain(&faults).chain(&others).chain(parts) {
            let quoted = [format!("`{name}`"), format!("\"{name}\"")];
            assert!(
                quoted.iter().any(|name| MANUAL.contains(name)),
                "docs/simulator.md lacks `{name}`"
            );
        }
    }

    #[test]
    fn unknowns_follow_the_seed_and_take_both_values() {
        let drawn = |seed| Settings::quick().with_unknowns_from(seed).opaque_after;
        assert_eq!(drawn(3), drawn(3));
        assert!((0..20).any(drawn) && !(0..20).all(drawn));
    }
}
