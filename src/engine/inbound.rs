//! What becomes of a record that came: which row it is, what its fields and its existence mean, in one transaction.
//! Nothing here asks HubSpot; `source/` brings the records.

pub mod absorb;
pub mod actions;
pub mod adopt;
pub mod apply;
pub mod applying;
pub mod clearing;
pub mod existence;
pub mod links;
pub mod merge;
pub(crate) mod other_end;
pub mod removal;
pub mod unshown;
pub(crate) mod went;
