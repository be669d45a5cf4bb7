//! The decisions, as pure functions: what was observed goes in, what is to be done comes out.
//!
//! No I/O, no clock, no async. `engine/` fetches the inputs and carries out the outputs.

pub mod adopt;
pub mod batch;
pub mod clock;
pub mod convert;
pub mod cursor;
pub mod doubt;
pub mod echo;
pub mod entry;
pub mod existence;
pub mod fight;
pub mod freshness;
pub mod gap;
pub mod guard;
pub mod matching;
pub mod merge;
pub mod news;
pub mod owners;
pub mod plan;
pub mod quota;
pub mod record;
pub mod retry;
pub mod round;
pub mod schema;
pub mod scopes;
pub mod settle;
pub mod subscriptions;
