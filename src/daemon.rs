//! The life of the process: builds the parts, starts the tasks, waits, drains.

pub mod build;
pub mod condition;
pub mod heartbeat;
pub mod once;
pub mod run;
mod seldom;
pub mod systemd;
pub mod tasks;
mod webhooks;
