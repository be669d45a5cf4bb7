//! Activities, and the people of a portal: what happens around records. Their scopes are those of contacts.

use crate::catalogue::objects::{ObjectScopes, ObjectSpec, plain_object};
use crate::catalogue::pipelines::LEAD_STAGES;
use crate::catalogue::{Flag, Row, choice, number, row, text};
use crate::portal::schema::Kind;

const WHEN: Row = row("hs_timestamp", Kind::Datetime, "date", Flag::Plain);

const fn long(name: &'static str) -> Row {
    row(name, Kind::String, "textarea", Flag::Plain)
}

const fn moment(name: &'static str) -> Row {
    row(name, Kind::Datetime, "date", Flag::Plain)
}

const fn activity(
    names: (&'static str, &'static str),
    type_id: &'static str,
    upper: &'static str,
    properties: &'static [Row],
) -> ObjectSpec {
    ObjectSpec {
        needs: &[&["hs_timestamp"]],
        scopes: ObjectScopes::Own("contacts"),
        ..plain_object(names, type_id, upper, properties)
    }
}

pub(crate) const CALLS: ObjectSpec = activity(
    ("calls", "call"),
    "0-48",
    "CALL",
    &[
        text("hs_call_title"),
        WHEN,
        long("hs_call_body"),
        number("hs_call_duration"),
        choice("hs_call_direction", Flag::Plain, &["INBOUND", "OUTBOUND"]),
        choice(
            "hs_call_status",
            Flag::Plain,
            &["COMPLETED", "BUSY", "NO_ANSWER", "FAILED"],
        ),
    ],
);

pub(crate) const EMAILS: ObjectSpec = ObjectSpec {
    needs: &[&["hs_timestamp"], &["hs_email_direction"]],
    ..activity(
        ("emails", "email"),
        "0-49",
        "EMAIL",
        &[
            text("hs_email_subject"),
            WHEN,
            choice(
                "hs_email_direction",
                Flag::Plain,
                &["EMAIL", "INCOMING_EMAIL", "FORWARDED_EMAIL"],
            ),
            long("hs_email_text"),
            choice(
                "hs_email_status",
                Flag::Plain,
                &["SENT", "FAILED", "BOUNCED"],
            ),
        ],
    )
};

pub(crate) const MEETINGS: ObjectSpec = activity(
    ("meetings", "meeting"),
    "0-47",
    "MEETING_EVENT",
    &[
        text("hs_meeting_title"),
        WHEN,
        long("hs_meeting_body"),
        moment("hs_meeting_start_time"),
        moment("hs_meeting_end_time"),
        choice(
            "hs_meeting_outcome",
            Flag::Plain,
            &["SCHEDULED", "COMPLETED", "NO_SHOW", "CANCELED"],
        ),
    ],
);

pub(crate) const NOTES: ObjectSpec = activity(
    ("notes", "note"),
    "0-46",
    "NOTE",
    &[row("hs_note_body", Kind::String, "html", Flag::Plain), WHEN],
);

pub(crate) const TASKS: ObjectSpec = activity(
    ("tasks", "task"),
    "0-27",
    "TASK",
    &[
        text("hs_task_subject"),
        WHEN,
        long("hs_task_body"),
        choice(
            "hs_task_status",
            Flag::Plain,
            &[
                "NOT_STARTED",
                "IN_PROGRESS",
                "WAITING",
                "COMPLETED",
                "DEFERRED",
            ],
        ),
        choice("hs_task_priority", Flag::Plain, &["LOW", "MEDIUM", "HIGH"]),
        choice("hs_task_type", Flag::Plain, &["CALL", "EMAIL", "MEETING"]),
    ],
);

pub(crate) const COMMUNICATIONS: ObjectSpec = activity(
    ("communications", "communication"),
    "0-18",
    "COMMUNICATION",
    &[
        long("hs_communication_body"),
        WHEN,
        choice(
            "hs_communication_channel_type",
            Flag::Plain,
            &["WHATS_APP", "LINKEDIN_MESSAGE", "SMS"],
        ),
    ],
);

pub(crate) const POSTAL_MAIL: ObjectSpec = activity(
    ("postal_mail", "postal_mail"),
    "0-116",
    "POSTAL_MAIL",
    &[long("hs_postal_mail_body"), WHEN],
);

pub(crate) const LEADS: ObjectSpec = ObjectSpec {
    needs: &[&["hs_lead_name"]],
    needs_link: &["0-1", "0-2"],
    stages: Some(&LEAD_STAGES),
    ..plain_object(
        ("leads", "lead"),
        "0-136",
        "LEAD",
        &[
            text("hs_lead_name"),
            choice(
                "hs_lead_type",
                Flag::Plain,
                &["NEW_BUSINESS", "UPSELL", "RE_ATTEMPTING"],
            ),
            choice("hs_lead_label", Flag::Plain, &["HOT", "WARM", "COLD"]),
            row(
                "hs_pipeline",
                Kind::Enumeration,
                "select",
                Flag::External("PIPELINE"),
            ),
            row(
                "hs_pipeline_stage",
                Kind::Enumeration,
                "select",
                Flag::External("PIPELINE_STAGE"),
            ),
        ],
    )
};

pub(crate) const USERS: ObjectSpec = ObjectSpec {
    scopes: ObjectScopes::ReadOnly("users"),
    ..plain_object(
        ("users", "user"),
        "0-115",
        "USER",
        &[
            text("hs_given_name"),
            text("hs_family_name"),
            text("hs_email"),
            text("hs_job_title"),
            choice(
                "hs_availability_status",
                Flag::Plain,
                &["available", "away"],
            ),
            text("hs_out_of_office_hours"),
            text("hs_working_hours"),
            text("hs_standard_time_zone"),
            number("hs_internal_user_id"),
        ],
    )
};
