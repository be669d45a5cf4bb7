//! What brings records or their ids: first read, poll, comparison, filling, reads that somebody asked for, associations, and webhooks.
//! A file here asks HubSpot and hands what came to `inbound/`; it decides nothing about a row.

pub mod answers;
pub(crate) mod arrivals;
pub(super) mod asked;
pub mod backfill;
pub mod blanks;
pub mod deliveries;
pub mod filling;
pub(crate) mod heard;
pub mod histories;
pub mod ingest;
pub mod links;
pub(crate) mod listed;
pub mod poll;
mod ranges;
pub mod reads;
pub mod receive;
pub mod reconcile;
pub(crate) mod walked;
