//! The decisions, as pure functions: what was observed goes in, what is to be done comes out.
//!
//! No I/O, no clock, no async. `engine/` fetches the inputs and carries out the outputs.

pub mod acts;
pub mod adopt;
pub mod clock;
pub mod cursor;
pub mod decision;
pub mod echo;
pub mod entry;
pub mod existence;
pub mod fight;
pub mod guard;
pub mod incoming;
pub mod matching;
pub mod merge;
pub mod outgoing;
pub mod portal;
pub mod quota;
pub mod record;
pub mod retry;
pub mod round;
pub mod schema;
