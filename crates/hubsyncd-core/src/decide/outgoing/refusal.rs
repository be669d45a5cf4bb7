//! HubSpot's refusals by our codes: which of its many spellings mean the same, in one table.
//!
//! HubSpot's words stay as they are; the code stands in brackets behind them, as behind our own sentences, so that `code` of
//! `sync_outbox` is read from either in the same way (`model/entry`).

use crate::decide::outgoing::needed::STAGE_OF_ANOTHER_PIPELINE;

/// HubSpot's codes of single mistakes, and ours (`hubspot/api-facts.md#4`).
const BY_CODE: [(&str, &str); 26] = [
    ("PROPERTY_DOESNT_EXIST", "unknown-property"),
    ("READ_ONLY_VALUE", "read-only-property"),
    ("INVALID_OPTION", "invalid-option"),
    ("INVALID_EMAIL", "invalid-email"),
    ("INVALID_DATE", "invalid-date"),
    ("INVALID_LONG", "invalid-number"),
    ("INVALID_INTEGER", "invalid-number"),
    ("INVALID_NUMBER", "invalid-number"),
    ("INVALID_DOUBLE", "invalid-number"),
    ("INVALID_BOOLEAN", "invalid-boolean"),
    ("VALUE_TOO_LONG", "value-too-long"),
    ("PROPERTY_VALUE_TOO_LONG", "value-too-long"),
    ("REQUIRED_PROPERTY", "required-property"),
    ("MISSING_REQUIRED_PROPERTY", "required-property"),
    ("MISSING_CONDITIONAL_REQUIRED_PROPERTY", "required-property"),
    ("CONFLICTING_UNIQUE_VALUE", VALUE_TAKEN),
    ("INVALID_OWNER_ID", "unknown-owner"),
    ("INVALID_PIPELINE", "unknown-pipeline"),
    ("INVALID_PIPELINE_STAGE", "unknown-stage"),
    ("PIPELINE_RULE_VIOLATION", "pipeline-rule"),
    ("APPROVAL_REQUIRED", "approval-required"),
    ("INVALID_OBJECT_IDS", "invalid-batch"),
    ("INVALID_ASSOCIATION_TYPE_ID", "unknown-association-type"),
    ("ASSOCIATION_LIMIT_EXCEEDED", ASSOCIATION_LIMIT),
    ("SELF_ASSOCIATION", "association-with-itself"),
    ("MISSING_SCOPES", "missing-scope"),
];

/// HubSpot's categories, where no code of a mistake says more.
const BY_CATEGORY: [(&str, &str); 10] = [
    ("MISSING_SCOPES", "missing-scope"),
    ("FORBIDDEN", "forbidden"),
    ("CONFLICT", VALUE_TAKEN),
    ("OBJECT_ALREADY_EXISTS", VALUE_TAKEN),
    ("OBJECT_NOT_FOUND", RECORD_NOT_FOUND),
    ("INTERNAL_ERROR", "internal-error"),
    ("LOCKED", "locked"),
    ("RATE_LIMITS", "throttled"),
    ("MIGRATION_IN_PROGRESS", "moving"),
    ("VALIDATION_ERROR", REFUSED),
];

/// The codes of refusals that end when the portal's properties change.
pub const OF_PROPERTIES: [&str; 3] = ["unknown-property", "read-only-property", "invalid-option"];

/// Those that end when an object's pipelines change, our own included.
pub const OF_PIPELINES: [&str; 3] = [
    "unknown-pipeline",
    "unknown-stage",
    STAGE_OF_ANOTHER_PIPELINE,
];

/// The code of a refusal since HubSpot does not find a record.
pub const RECORD_NOT_FOUND: &str = "record-not-found";

/// The code of an association that the portal's limit of its pair forbids.
pub const ASSOCIATION_LIMIT: &str = "association-limit";

/// The code of a value that another record has, and may not be given twice.
pub(crate) const VALUE_TAKEN: &str = "value-taken";

/// The code of a refusal that no line of the table names.
pub const REFUSED: &str = "refused";

/// Our code of a refusal: that of its first mistake that the table knows, else that of its category.
pub fn code_of(category: &str, codes: &[String]) -> &'static str {
    let find = |table: &[(&str, &'static str)], name: &str| {
        let found = table.iter().find(|(theirs, _)| *theirs == name);
        found.map(|(_, ours)| *ours)
    };
    let mut named = codes.iter().filter_map(|code| find(&BY_CODE, code));
    let of_mistake = named.next();
    of_mistake
        .or_else(|| find(&BY_CATEGORY, category))
        .unwrap_or(REFUSED)
}

/// What is said of a refusal: HubSpot's words, with those of its codes that they don't name, and our code in brackets.
///
/// ```
/// # use hubsyncd_core::decide::outgoing::refusal::coded;
/// let told = coded("Property values were not valid", "VALIDATION_ERROR", &["INVALID_EMAIL".to_owned()]);
/// assert_eq!(told, "Property values were not valid (INVALID_EMAIL) [invalid-email]");
/// ```
pub fn coded(explanation: &str, category: &str, codes: &[String]) -> String {
    let unnamed: Vec<&str> = codes
        .iter()
        .map(String::as_str)
        .filter(|code| !explanation.contains(code))
        .collect();
    let named = match unnamed[..] {
        [] => explanation.to_owned(),
        [..] => format!("{explanation} ({})", unnamed.join(", ")),
    };
    format!("{named} [{}]", code_of(category, codes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_only_the_codes_that_they_do_not_name_themselves() {
        let codes = ["A".to_owned(), "B".to_owned()];
        assert_eq!(coded("A is wrong", "", &codes), "A is wrong (B) [refused]");
        assert_eq!(coded("A, B", "", &codes), "A, B [refused]");
    }

    #[test]
    fn a_mistake_is_known_by_the_first_code_that_the_table_names_else_by_its_category() {
        let check = |category: &str, codes: &[&str], expected: &str| {
            let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
            assert_eq!(code_of(category, &codes), expected, "{category} {codes:?}");
        };
        check("VALIDATION_ERROR", &["INVALID_OPTION"], "invalid-option");
        check(
            "VALIDATION_ERROR",
            &["NEW_RULE", "INVALID_LONG"],
            "invalid-number",
        );
        check("CONFLICT", &[], "value-taken");
        check("VALIDATION_ERROR", &["NEW_RULE"], REFUSED);
        check("", &[], REFUSED);
        for (theirs, ours) in BY_CODE {
            check("VALIDATION_ERROR", &[theirs], ours);
        }
        for (theirs, ours) in BY_CATEGORY {
            check(theirs, &[], ours);
        }
    }
}
