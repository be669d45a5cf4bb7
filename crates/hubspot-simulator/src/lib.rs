//! HubSpot in memory, for `demo`, `simulate` and the tests.
//!
//! [`portal::Portal`] is pure: it has no input or output and no clock. Time comes in as epoch milliseconds, chance
//! comes from a seed, so a run can be replayed. [`server`] puts it behind HTTP. Nothing here shares a type with the
//! client of `hubsyncd`: two readings of one API check each other. The authority on behaviour is `api-facts.md`;
//! where it says "unsure", [`settings::Settings`] has a switch for both.

pub mod faults;
pub mod oauth;
pub mod portal;
pub mod record;
pub mod request;
pub mod scenario;
pub mod server;
pub mod settings;
pub mod webhooks;

mod account;
mod answer;
mod auth;
mod batch;
mod batch_read;
mod batch_upsert;
mod catalogue;
mod catalogue_contacts;
mod catalogue_others;
mod clock;
mod commit;
mod fill;
mod filter;
mod gateway;
mod index;
mod limits;
mod list;
mod logs;
mod merge;
mod people;
mod prepare;
mod problem;
mod properties;
mod routes;
mod schema;
mod search;
mod search_query;
mod sender;
mod single;
mod subscriptions;
mod table;
#[cfg(test)]
mod testing;
mod time;
mod value;
