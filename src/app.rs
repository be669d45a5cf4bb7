//! What commands do beside the daemon: their share of HubSpot's requests, a new mapping file, the doctor, declared properties,
//! what the next push would send, what is turned back, the login of an OAuth app, and the webhook subscriptions of an app.
//!
//! A file here builds its own few parts (a limiter, a client, perhaps the database) and needs no running daemon; `cli/` asks
//! and prints.

pub mod budget;
mod calls;
pub mod client;
pub mod codes;
pub mod doctor;
pub mod init;
pub mod login;
pub mod plan;
pub mod properties;
pub(crate) mod remedies;
pub mod subscriptions;
pub mod undo;
