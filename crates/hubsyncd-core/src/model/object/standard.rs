//! The table of standard objects (`hubspot/api-facts.md#5`): what is special about each.

use crate::model::object::{
    DEAL_STAGES, MODIFIED, MODIFIED_OF_CONTACTS, NewLinks, ObjectEvents, STAGES, StandardObject,
    TICKET_STAGES,
};

/// What most objects have in common.
const PLAIN: StandardObject = StandardObject {
    name: "",
    event_word: "",
    type_id: "",
    events: ObjectEvents::Generic,
    group: None,
    modified_property: MODIFIED,
    unique: None,
    domain: None,
    stages: None,
    only_scope: None,
    opened_as: None,
    has_privacy_deletion: false,
    is_read_only: false,
    required: &[],
    one_of: &[],
    new_links: NewLinks::Follow,
    properties: &[],
};

/// What activities have in common: they happened at some time, whoever may see contacts may see them, and people find them
/// under the records that they are associated with.
const ACTIVITY: StandardObject = StandardObject {
    opened_as: Some("contacts"),
    required: &["hs_timestamp"],
    new_links: NewLinks::GoAlong,
    ..PLAIN
};

/// The table.
pub const STANDARD_OBJECTS: [StandardObject; 29] = [
    StandardObject {
        name: "contacts",
        event_word: "contact",
        type_id: "0-1",
        events: ObjectEvents::Classic,
        group: Some("contactinformation"),
        modified_property: MODIFIED_OF_CONTACTS,
        unique: Some("email"),
        one_of: &["email", "firstname", "lastname"],
        has_privacy_deletion: true,
        properties: &[
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
        ..PLAIN
    },
    StandardObject {
        name: "companies",
        event_word: "company",
        type_id: "0-2",
        events: ObjectEvents::Classic,
        group: Some("companyinformation"),
        domain: Some("domain"),
        one_of: &["name", "domain"],
        properties: &[
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
        ..PLAIN
    },
    StandardObject {
        name: "deals",
        event_word: "deal",
        type_id: "0-3",
        events: ObjectEvents::Classic,
        group: Some("dealinformation"),
        stages: Some(DEAL_STAGES),
        required: &["dealname"],
        properties: &[
            "dealname",
            "amount",
            "closedate",
            "pipeline",
            "dealstage",
            "dealtype",
            "description",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "tickets",
        event_word: "ticket",
        type_id: "0-5",
        events: ObjectEvents::Classic,
        group: Some("ticketinformation"),
        stages: Some(TICKET_STAGES),
        required: &["subject", "hs_pipeline_stage"],
        only_scope: Some("tickets"),
        properties: &[
            "subject",
            "content",
            "hs_pipeline",
            "hs_pipeline_stage",
            "hs_ticket_priority",
            "hs_ticket_category",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "products",
        event_word: "product",
        type_id: "0-7",
        events: ObjectEvents::Classic,
        required: &["name"],
        properties: &[
            "name",
            "description",
            "price",
            "hs_sku",
            "hs_cost_of_goods_sold",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "line_items",
        event_word: "line_item",
        type_id: "0-8",
        events: ObjectEvents::Classic,
        properties: &[
            "name",
            "quantity",
            "price",
            "amount",
            "hs_sku",
            "hs_product_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "quotes",
        event_word: "quote",
        type_id: "0-14",
        required: &["hs_title", "hs_expiration_date"],
        properties: &[
            "hs_title",
            "hs_expiration_date",
            "hs_status",
            "hs_quote_amount",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "leads",
        event_word: "lead",
        type_id: "0-136",
        stages: Some(STAGES),
        required: &["hs_lead_name"],
        new_links: NewLinks::Demanded(&["contacts", "companies"]),
        properties: &[
            "hs_lead_name",
            "hs_lead_type",
            "hs_lead_label",
            "hs_pipeline",
            "hs_pipeline_stage",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "calls",
        event_word: "call",
        type_id: "0-48",
        properties: &[
            "hs_timestamp",
            "hs_call_title",
            "hs_call_body",
            "hs_call_direction",
            "hs_call_duration",
            "hs_call_status",
            "hubspot_owner_id",
        ],
        ..ACTIVITY
    },
    StandardObject {
        name: "emails",
        event_word: "email",
        type_id: "0-49",
        required: &["hs_timestamp", "hs_email_direction"],
        properties: &[
            "hs_timestamp",
            "hs_email_subject",
            "hs_email_text",
            "hs_email_direction",
            "hs_email_status",
            "hubspot_owner_id",
        ],
        ..ACTIVITY
    },
    StandardObject {
        name: "meetings",
        event_word: "meeting",
        type_id: "0-47",
        properties: &[
            "hs_timestamp",
            "hs_meeting_title",
            "hs_meeting_body",
            "hs_meeting_start_time",
            "hs_meeting_end_time",
            "hs_meeting_outcome",
            "hubspot_owner_id",
        ],
        ..ACTIVITY
    },
    StandardObject {
        name: "notes",
        event_word: "note",
        type_id: "0-46",
        properties: &["hs_timestamp", "hs_note_body", "hubspot_owner_id"],
        ..ACTIVITY
    },
    StandardObject {
        name: "tasks",
        event_word: "task",
        type_id: "0-27",
        properties: &[
            "hs_timestamp",
            "hs_task_subject",
            "hs_task_body",
            "hs_task_status",
            "hs_task_priority",
            "hs_task_type",
            "hubspot_owner_id",
        ],
        ..ACTIVITY
    },
    StandardObject {
        name: "communications",
        event_word: "communication",
        type_id: "0-18",
        properties: &[
            "hs_timestamp",
            "hs_communication_channel_type",
            "hs_communication_body",
            "hubspot_owner_id",
        ],
        ..ACTIVITY
    },
    StandardObject {
        name: "postal_mail",
        event_word: "postal_mail",
        type_id: "0-116",
        properties: &["hs_timestamp", "hs_postal_mail_body", "hubspot_owner_id"],
        ..ACTIVITY
    },
    StandardObject {
        name: "users",
        event_word: "user",
        type_id: "0-115",
        events: ObjectEvents::None,
        is_read_only: true,
        properties: &[
            "hs_given_name",
            "hs_family_name",
            "hs_email",
            "hs_job_title",
            "hs_internal_user_id",
            "hs_availability_status",
            "hs_out_of_office_hours",
            "hs_working_hours",
            "hs_standard_time_zone",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "orders",
        event_word: "order",
        type_id: "0-123",
        properties: &[
            "hs_order_name",
            "hs_total_price",
            "hs_currency_code",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "carts",
        event_word: "cart",
        type_id: "0-142",
        properties: &["hs_cart_name", "hs_total_price", "hubspot_owner_id"],
        ..PLAIN
    },
    StandardObject {
        name: "invoices",
        event_word: "invoice",
        type_id: "0-53",
        properties: &[
            "hs_title",
            "hs_number",
            "hs_amount_billed",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "subscriptions",
        event_word: "subscription",
        type_id: "0-69",
        properties: &["hs_name", "hs_status", "hubspot_owner_id"],
        ..PLAIN
    },
    StandardObject {
        name: "commerce_payments",
        event_word: "commerce_payment",
        type_id: "0-101",
        properties: &["hs_customer_email", "hs_initial_amount"],
        ..PLAIN
    },
    StandardObject {
        name: "services",
        event_word: "service",
        type_id: "0-162",
        properties: &["hs_name", "hs_amount_paid", "hubspot_owner_id"],
        ..PLAIN
    },
    StandardObject {
        name: "appointments",
        event_word: "appointment",
        type_id: "0-421",
        properties: &[
            "hs_appointment_name",
            "hs_appointment_start",
            "hubspot_owner_id",
        ],
        ..PLAIN
    },
    StandardObject {
        name: "listings",
        event_word: "listing",
        type_id: "0-420",
        properties: &["hs_name", "hs_price", "hubspot_owner_id"],
        ..PLAIN
    },
    StandardObject {
        name: "courses",
        event_word: "course",
        type_id: "0-410",
        properties: &["hs_course_name", "hs_course_id", "hubspot_owner_id"],
        ..PLAIN
    },
    StandardObject {
        name: "projects",
        event_word: "project",
        type_id: "0-970",
        properties: &["hs_name", "hs_description", "hubspot_owner_id"],
        ..PLAIN
    },
    StandardObject {
        name: "goal_targets",
        event_word: "goal_target",
        type_id: "0-74",
        events: ObjectEvents::None,
        properties: &["hs_goal_name", "hs_target_amount"],
        ..PLAIN
    },
    StandardObject {
        name: "feedback_submissions",
        event_word: "feedback_submission",
        type_id: "0-19",
        events: ObjectEvents::None,
        properties: &["hs_survey_name", "hs_value"],
        ..PLAIN
    },
    StandardObject {
        name: "marketing_events",
        event_word: "marketing_event",
        type_id: "0-54",
        events: ObjectEvents::None,
        properties: &["hs_event_name", "hs_start_datetime"],
        ..PLAIN
    },
];
