//! What is asked for and how it is answered: paths, bodies, problems, a file for each family of calls.
//!
//! Nothing here keeps state: what a call reads and writes is the portal's.

pub(crate) mod account;
pub(crate) mod answer;
pub(crate) mod associations;
pub(crate) mod batch;
pub(crate) mod batch_read;
pub(crate) mod batch_upsert;
pub(crate) mod calls;
pub(crate) mod list;
pub(crate) mod problem;
pub(crate) mod properties;
pub mod request;
pub(crate) mod routes;
pub(crate) mod schemas;
pub(crate) mod search;
pub(crate) mod single;
