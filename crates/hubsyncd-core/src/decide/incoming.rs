//! What comes in: which events and records are asked for together, what an answer says by the mapping's types, and which
//! events it answers.

pub mod absorb;
pub mod answers;
pub mod convert;
pub mod deliveries;
pub mod freshness;
pub mod links;
pub mod news;
pub mod ranges;
pub mod reading;
pub mod rotation;
pub mod sorting;
pub mod unshown;
