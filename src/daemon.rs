//! The life of the process: builds the parts, starts the tasks, waits, drains.

pub mod bells;
pub mod build;
pub mod condition;
mod errors;
pub mod heartbeat;
mod listeners;
mod long_log;
mod metrics;
pub mod once;
mod page;
pub(crate) mod reload;
pub mod run;
mod seldom;
pub mod settings;
mod status_line;
mod steps;
pub mod systemd;
pub mod table;
pub mod tasks;
mod webhooks;
