//! What the portal has beside its records: owners, and pipelines with their stages.

/// An owner; records name it by `id`, not by `user_id` (`hubspot/api-facts.md#9`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// What `hubspot_owner_id` holds.
    pub id: i64,
    /// The address.
    pub email: Option<String>,
    /// The first name.
    pub first_name: Option<String>,
    /// The last name.
    pub last_name: Option<String>,
    /// The user; none for queues and deactivated users.
    pub user_id: Option<i64>,
    /// Whether deactivated.
    pub archived: bool,
}

/// A pipeline of deals, tickets or a custom object.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// The internal name, which records hold: `default`, a number.
    pub id: String,
    /// What people see.
    pub label: Option<String>,
    /// Its place in the list.
    pub display_order: Option<i64>,
    /// Whether it lies in the archive.
    pub archived: bool,
    /// Its stages.
    pub stages: Vec<Stage>,
}

/// A stage of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The internal name, which records hold.
    pub id: String,
    /// What people see.
    pub label: Option<String>,
    /// Its place in the pipeline.
    pub display_order: Option<i64>,
    /// Whether it ends a deal or ticket.
    pub closed: Option<bool>,
    /// The chance that a deal in it is won, 0 to 1.
    pub probability: Option<f64>,
    /// Whether it lies in the archive.
    pub archived: bool,
}
