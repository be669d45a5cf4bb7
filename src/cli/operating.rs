//! What an operator asks of the database, beside a running daemon or without one: what was changed, why a record is not in sync, a
//! copy. Nothing here asks HubSpot.

pub mod backup;
pub mod changes;
pub mod explain;
pub(crate) mod outlet;
