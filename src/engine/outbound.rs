//! What becomes of a local write: claimed, looked at once more, sent, and its answer settled.
//! Nothing here reads the mirror into HubSpot but through an entry of the outbox.

mod along;
pub mod archive;
mod associate;
pub mod claiming;
pub mod create;
pub mod gap;
pub mod guarded;
pub mod left_out;
pub mod present;
pub mod preview;
pub mod push;
pub mod pushed;
pub mod searched;
pub mod sending;
pub mod settle;
pub mod stages;
pub mod taken;
mod together;
pub(crate) mod turns;
pub mod unchanged;
