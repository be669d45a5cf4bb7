//! hubsyncd keeps a local SQLite database and a HubSpot portal in agreement, both ways.
//!
//! The modules in reading order; arrows point one way: `cli → daemon → http → engine → {store, hubspot} → decide → model`.

pub mod clock;
pub mod decide;
pub mod model;
pub mod store;
