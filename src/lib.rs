//! hubsyncd keeps a local SQLite database and a HubSpot portal in agreement, both ways.
//!
//! The modules in reading order; arrows point one way: `cli → daemon → http → engine → {store, hubspot} → decide → model`.

pub mod cli;
pub mod clock;
pub mod config;
pub mod decide;
pub mod http;
pub mod model;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod store;
pub mod telemetry;
