//! hubsyncd keeps a local SQLite database and a HubSpot portal in agreement, both ways.
//!
//! The modules in reading order; arrows point one way: `cli → daemon → app → http → engine → {store, hubspot} → decide → model`.

pub use hubsyncd_core::{decide, model};

pub mod clock;
pub mod config;
pub mod hubspot;
pub mod store;

pub mod engine;

pub mod http;

pub mod app;

pub mod daemon;

pub mod cli;

pub mod telemetry;

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

#[cfg(feature = "simulator")]
pub use hubspot_simulator as simulator;
