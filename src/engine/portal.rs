//! What is true of the portal as a whole: its schema, the objects in force, the token and what it may not do.

pub mod access;
pub(crate) mod contradicted;
pub mod contradictions;
mod known;
pub mod last_known;
pub mod objects;
mod pair_types;
pub(crate) mod reading;
pub mod reference;
pub(crate) mod refusals;
pub mod schema;
pub mod share;
pub mod tokens;
