//! What brings records or their ids: first read, poll, comparison, filling, reads that somebody asked for, associations, and webhooks.
//! A file here asks HubSpot and hands what came to `inbound/`; it decides nothing about a row.

pub mod answers;
pub mod backfill;
pub mod blanks;
pub mod deliveries;
pub mod filling;
pub mod histories;
pub mod ingest;
pub mod links;
pub mod poll;
pub mod reads;
pub mod receive;
pub mod reconcile;
