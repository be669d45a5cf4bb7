//! The standard properties that an object without a list of its own gets, so that `[objects.contacts]` alone works.
//!
//! All of them are HubSpot's own and writable by default; what a portal calculates is found out from its schema. Each
//! goes into a column of its own name.

/// The objects of this version, by HubSpot's plural names (`hubspot/api-facts.md#5`).
pub(crate) const OBJECTS: [&str; 4] = ["contacts", "companies", "deals", "tickets"];

/// The properties of an object; none for one that isn't in [`OBJECTS`].
pub(crate) fn standard_properties(object: &str) -> &'static [&'static str] {
    match object {
        "contacts" => &[
            "email",
            "firstname",
            "lastname",
            "phone",
            "mobilephone",
            "company",
            "jobtitle",
            "website",
            "address",
            "city",
            "state",
            "zip",
            "country",
            "lifecyclestage",
            "hs_lead_status",
            "hubspot_owner_id",
        ],
        "companies" => &[
            "name",
            "domain",
            "phone",
            "industry",
            "numberofemployees",
            "annualrevenue",
            "address",
            "city",
            "state",
            "zip",
            "country",
            "website",
            "description",
            "lifecyclestage",
            "hubspot_owner_id",
        ],
        "deals" => &[
            "dealname",
            "amount",
            "closedate",
            "pipeline",
            "dealstage",
            "dealtype",
            "description",
            "hubspot_owner_id",
        ],
        "tickets" => &[
            "subject",
            "content",
            "hs_pipeline",
            "hs_pipeline_stage",
            "hs_ticket_priority",
            "hs_ticket_category",
            "hubspot_owner_id",
        ],
        _ => &[],
    }
}
