//! Direction, key, match and policy of an object: each combination works, or is refused with a sentence.

use super::*;
use crate::model::name::PropertyName;

/// A deal with a property of each kind that `key` and `match` may name.
fn keyed(direction: &str, key: &str, matched: &str, policy: &str) -> String {
    let line = |name: &str, value: &str| match value {
        "-" => String::new(),
        value => format!("{name} = \"{value}\"\n"),
    };
    format!(
        "[objects.deals]\n{}{}{}{}[objects.deals.properties]\nexternal_id = \"external_id\"\ndealname = \"name\"\n\
         tags = {{ column = \"tags\", type = \"set\" }}\n{}",
        line("direction", direction),
        line("key", key),
        line("match", matched),
        line("conflict", policy),
        match direction {
            "push" => "",
            _ => "score = { column = \"score\", direction = \"pull\" }\n",
        }
    )
}

fn outcome(text: &str) -> String {
    let checked = checked(text);
    let problems = checked.report.problems.iter();
    let codes = problems.map(|problem| problem.code).collect();
    said(checked.config.is_some(), codes)
}

fn said(works: bool, mut codes: Vec<&str>) -> String {
    codes.sort_unstable();
    let works = if works { "works" } else { "refused" };
    format!("{works} {}", codes.join(" "))
}

#[test]
fn every_combination_of_direction_key_match_and_policy_works_or_is_refused_with_a_sentence() {
    let keys = [
        "auto",
        "none",
        "external_id",
        "unmapped",
        "score",
        "tags",
        "hubsyncd_key",
    ];
    let matches = ["-", "external_id", "dealname", "unmapped", "score", "tags"];
    for direction in ["both", "push", "pull"] {
        for key in keys {
            for matched in matches {
                let found = outcome(&keyed(direction, key, matched, "-"));
                let expected = expected_outcome(direction, key, matched, None);
                assert_eq!(found, expected, "{direction} key={key} match={matched}");
                // A policy decides between two sides: what flows one way has none, whatever the key.
                for policy in ["remote", "local", "newest", "manual"] {
                    let found = outcome(&keyed(direction, key, matched, policy));
                    let one_way = (direction != "both").then_some("one-way-policy");
                    let expected = expected_outcome(direction, key, matched, one_way);
                    assert_eq!(
                        found, expected,
                        "{direction} {policy} key={key} match={matched}"
                    );
                }
            }
        }
    }
}

/// The same from the contract: `design.md`, sections 4 and 6.2.
fn expected_outcome(
    direction: &str,
    key: &str,
    matched: &str,
    policy_is_wrong: Option<&'static str>,
) -> String {
    let mut codes: Vec<&str> = policy_is_wrong.into_iter().collect();
    let is_pulled = direction == "pull";
    let has_score = direction != "push";
    let key_is_wrong = match key {
        "hubsyncd_key" => Some("reserved"),
        "tags" => Some("several-values"),
        "unmapped" | "none" | "external_id" | "score" if is_pulled => Some("no-effect"),
        "unmapped" => Some("key-not-mapped"),
        "score" if direction == "both" => Some("key-one-way"),
        "score" if direction == "push" => Some("key-not-mapped"),
        _ => None,
    };
    codes.extend(key_is_wrong);
    codes.extend(match matched {
        "unmapped" => Some("match-not-mapped"),
        "score" if !has_score => Some("match-not-mapped"),
        "score" if !is_pulled => Some("match-one-way"),
        "tags" => Some("several-values"),
        "external_id" | "dealname" | "score" if is_pulled => Some("no-effect"),
        "external_id" | "dealname" if direction == "push" && key != matched => {
            Some("match-by-search")
        }
        _ => None,
    });
    let is_refused = codes
        .iter()
        .any(|code| !matches!(*code, "no-effect" | "match-by-search"));
    said(!is_refused, codes)
}

#[test]
fn a_key_of_ones_own_is_what_rows_are_matched_by() {
    let config = config(&keyed("both", "external_id", "-", "-"));
    let deals = config.mapping.object("deals").expect("deals");
    assert_eq!(
        deals.match_property.as_ref().map(PropertyName::as_str),
        Some("external_id")
    );
    let identities: Vec<_> = deals
        .identities()
        .map(|field| field.column.as_str())
        .collect();
    assert_eq!(identities, ["external_id"]);
    check("[objects.contacts]\ndirection = \"push\"", "");
    check(
        "[objects.companies]\ndirection = \"push\"\nmatch = \"domain\"",
        "match-by-search 3:9",
    );
}
