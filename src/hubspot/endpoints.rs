//! One file for each kind of request that is made of HubSpot, as methods of the client. None repeats, waits or logs: `call` does.

pub mod account;
pub mod associations;
pub mod batch;
pub mod list;
pub mod owners;
pub(crate) mod pages;
pub mod paths;
pub mod pipelines;
pub mod properties;
pub mod reread;
pub mod schemas;
pub mod search;
pub mod subscriptions;
pub mod write;
