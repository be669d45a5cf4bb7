//! The standard properties of contacts, and a few that this portal made itself.

use crate::catalogue::{Flag, Row, choice, number, read_only, row, text};
use crate::portal::schema::Kind;

/// In the order in which `lifecyclestage` may move (`api-facts.md#5`).
pub(crate) const LIFECYCLE_STAGES: &[&str] = &[
    "subscriber",
    "lead",
    "marketingqualifiedlead",
    "salesqualifiedlead",
    "opportunity",
    "customer",
    "evangelist",
    "other",
];

/// A sample of HubSpot's industries.
pub(crate) const INDUSTRIES: &[&str] = &[
    "ACCOUNTING",
    "AUTOMOTIVE",
    "BANKING",
    "BIOTECHNOLOGY",
    "COMPUTER_SOFTWARE",
    "CONSTRUCTION",
    "EDUCATION_MANAGEMENT",
    "FOOD_PRODUCTION",
    "HOSPITAL_HEALTH_CARE",
    "INSURANCE",
    "LOGISTICS_AND_SUPPLY_CHAIN",
    "MACHINERY",
    "RETAIL",
    "TELECOMMUNICATIONS",
    "UTILITIES",
];

pub(crate) const LOYALTY_TIERS: &[&str] = &["bronze", "silver", "gold", "platinum"];
pub(crate) const INTERESTS: &[&str] = &[
    "webinars",
    "newsletter",
    "events",
    "beta_programme",
    "case_studies",
];
pub(crate) const LEAD_STATUSES: &[&str] = &[
    "NEW",
    "OPEN",
    "IN_PROGRESS",
    "OPEN_DEAL",
    "UNQUALIFIED",
    "ATTEMPTED_TO_CONTACT",
    "CONNECTED",
    "BAD_TIMING",
];

pub(crate) const CONTACTS: &[Row] = &[
    text("email"),
    text("firstname"),
    text("lastname"),
    row("phone", Kind::String, "phonenumber", Flag::Plain),
    row("mobilephone", Kind::String, "phonenumber", Flag::Plain),
    text("company"),
    text("jobtitle"),
    text("salutation"),
    choice("lifecyclestage", Flag::Plain, LIFECYCLE_STAGES),
    choice("hs_lead_status", Flag::Plain, LEAD_STATUSES),
    text("address"),
    text("city"),
    text("state"),
    text("zip"),
    text("country"),
    text("website"),
    text("annualrevenue"),
    text("numemployees"),
    text("industry"),
    text("date_of_birth"),
    text("fax"),
    text("hs_language"),
    text("twitterhandle"),
    row("message", Kind::String, "textarea", Flag::Plain),
    row("closedate", Kind::Datetime, "date", Flag::Plain),
    row(
        "hubspot_owner_id",
        Kind::Enumeration,
        "select",
        Flag::External("OWNER"),
    ),
    row(
        "associatedcompanyid",
        Kind::Number,
        "number",
        Flag::Refers("COMPANY"),
    ),
    read_only("createdate", Kind::Datetime, "date"),
    read_only("lastmodifieddate", Kind::Datetime, "date"),
    read_only("hs_object_id", Kind::Number, "number"),
    read_only("hs_merged_object_ids", Kind::Enumeration, "checkbox"),
    read_only("hs_calculated_merged_vids", Kind::Enumeration, "checkbox"),
    read_only("hs_additional_emails", Kind::Enumeration, "checkbox"),
    row("hs_email_domain", Kind::String, "text", Flag::Calculated),
    row(
        "num_associated_deals",
        Kind::Number,
        "number",
        Flag::Calculated,
    ),
    row(
        "notes_last_updated",
        Kind::Datetime,
        "date",
        Flag::Calculated,
    ),
    row(
        "hs_searchable_calculated_phone_number",
        Kind::String,
        "calculation_equation",
        Flag::Calculated,
    ),
    row(
        "hs_unique_creation_key",
        Kind::String,
        "text",
        Flag::ReadOnlyUnique,
    ),
    row(
        "hs_sa_first_engagement_date",
        Kind::Datetime,
        "date",
        Flag::Calculated,
    ),
    choice("loyalty_tier", Flag::Custom, LOYALTY_TIERS),
    Row {
        name: "interests",
        kind: Kind::Enumeration,
        field_type: "checkbox",
        flag: Flag::Custom,
        choices: INTERESTS,
    },
    row("birthday", Kind::Date, "date", Flag::Custom),
    row("vip", Kind::Bool, "booleancheckbox", Flag::Custom),
    row("credit_limit", Kind::Number, "number", Flag::Custom),
    row("last_visit", Kind::Datetime, "date", Flag::Custom),
    row("internal_notes", Kind::String, "textarea", Flag::Custom),
    row("customer_number", Kind::String, "text", Flag::CustomUnique),
    number("hubspotscore"),
];
