//! The decisions, as pure functions: what was observed goes in, what is to be done comes out.
//!
//! No I/O, no clock, no async. `engine/` fetches the inputs and carries out the outputs.

pub mod acknowledge;
pub mod acts;
pub mod adopt;
pub mod answers;
pub mod archiving;
pub mod batch;
pub mod claim;
pub mod clock;
pub mod convert;
pub mod cursor;
pub mod decision;
pub mod deliveries;
pub mod doubt;
pub mod echo;
pub mod entry;
pub mod existence;
pub mod fight;
pub mod freshness;
pub mod gap;
pub mod guard;
pub mod looking;
pub mod matching;
pub mod merge;
pub mod news;
pub mod owners;
pub mod plan;
pub mod present;
pub mod quota;
pub mod reading;
pub mod record;
pub mod retry;
pub mod round;
pub mod schema;
pub mod scopes;
pub mod settle;
pub mod sorting;
pub mod subscriptions;
pub mod taken;
