//! What is true of the portal as a whole: its schema, the objects in force, the token and what it may not do.

pub mod access;
pub mod contradictions;
mod known;
pub mod objects;
mod pair_types;
pub mod reference;
pub mod schema;
pub mod tokens;
