//! The pipelines of a new portal, and which properties hold them (`api-facts.md#9`).

/// The pipelines of an object.
#[derive(Debug)]
pub(crate) struct Stages {
    /// The properties that hold pipeline and stage.
    pub pipeline: &'static str,
    pub stage: &'static str,
    /// The pipeline that is meant when none is given.
    pub default: &'static str,
    /// Whether a create must name a stage; else the first one is meant.
    pub is_stage_needed: bool,
    /// The name of a stage's entry in `metadata`.
    pub metadata: &'static str,
    pub pipelines: &'static [Pipeline],
}

pub(crate) static DEAL_STAGES: Stages = Stages {
    pipeline: "pipeline",
    stage: "dealstage",
    default: "default",
    is_stage_needed: false,
    metadata: "probability",
    pipelines: DEAL_PIPELINES,
};

pub(crate) static TICKET_STAGES: Stages = Stages {
    pipeline: "hs_pipeline",
    stage: "hs_pipeline_stage",
    default: "0",
    is_stage_needed: true,
    metadata: "ticketState",
    pipelines: TICKET_PIPELINES,
};

pub(crate) static LEAD_STAGES: Stages = Stages {
    pipeline: "hs_pipeline",
    stage: "hs_pipeline_stage",
    default: "lead-pipeline-id",
    is_stage_needed: false,
    metadata: "leadState",
    pipelines: LEAD_PIPELINES,
};

/// A pipeline: id, label, stages (id, label, the `metadata` entry).
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub id: &'static str,
    pub label: &'static str,
    pub stages: &'static [(&'static str, &'static str, &'static str)],
}

const DEAL_PIPELINES: &[Pipeline] = &[
    Pipeline {
        id: "default",
        label: "Sales Pipeline",
        stages: &[
            ("appointmentscheduled", "Appointment Scheduled", "0.2"),
            ("qualifiedtobuy", "Qualified To Buy", "0.4"),
            ("presentationscheduled", "Presentation Scheduled", "0.6"),
            ("decisionmakerboughtin", "Decision Maker Bought-In", "0.8"),
            ("contractsent", "Contract Sent", "0.9"),
            ("closedwon", "Closed Won", "1.0"),
            ("closedlost", "Closed Lost", "0.0"),
        ],
    },
    Pipeline {
        id: "75e28846-ad0d-4be2-a027-5e1da6590b98",
        label: "Renewals",
        stages: &[
            ("139921", "Up for renewal", "0.5"),
            ("139922", "Renewed", "1.0"),
            ("139923", "Lost", "0.0"),
        ],
    },
];

const TICKET_PIPELINES: &[Pipeline] = &[
    Pipeline {
        id: "0",
        label: "Support Pipeline",
        stages: &[
            ("1", "New", "OPEN"),
            ("2", "Waiting on contact", "OPEN"),
            ("3", "Waiting on us", "OPEN"),
            ("4", "Closed", "CLOSED"),
        ],
    },
    Pipeline {
        id: "1480221",
        label: "Returns",
        stages: &[("5566001", "Asked", "OPEN"), ("5566002", "Done", "CLOSED")],
    },
];

const LEAD_PIPELINES: &[Pipeline] = &[Pipeline {
    id: "lead-pipeline-id",
    label: "Lead pipeline",
    stages: &[
        ("new-stage-id", "New", "NEW"),
        ("attempting-stage-id", "Attempting", "IN_PROGRESS"),
        ("connected-stage-id", "Connected", "IN_PROGRESS"),
        ("qualified-stage-id", "Qualified", "QUALIFIED"),
        ("unqualified-stage-id", "Unqualified", "UNQUALIFIED"),
    ],
}];
