//! What a portal and its app have: owners, scopes, subscriptions.

pub mod doctor;
pub mod draft;
pub mod exclusion;
pub mod link_types;
pub mod objects;
pub mod owners;
pub mod scopes;
pub mod subscriptions;
pub mod wishes;
