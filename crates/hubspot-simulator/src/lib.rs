//! HubSpot in memory, for `demo`, `simulate` and the tests.
//!
//! [`portal::Portal`] is pure: it has no input or output and no clock. Time comes in as epoch milliseconds, chance
//! comes from a seed, so a run can be replayed. [`server`] puts it behind HTTP. Nothing here shares a type with the
//! client of `hubsyncd`: two readings of one API check each other. The authority on behaviour is `api-facts.md`;
//! where it says "unsure", [`settings::Settings`] has a switch for both.
//!
//! Rooms: `portal` is the state and what follows from a write, `api` what is asked for and how it is answered, `catalogue`
//! what every portal has, `webhooks` what it tells an app, `world` its limits, tokens, faults and settings.

mod api;
mod catalogue;
mod clock;
pub mod portal;
pub mod server;
#[cfg(test)]
mod testing;
pub mod webhooks;
mod world;

pub use api::request;
pub use portal::record;
pub use world::{faults, oauth, scenario, settings};
