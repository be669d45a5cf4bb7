//! The world around the records: limits, faults, gateways, tokens, settings, HubSpot's calendar.

pub(crate) mod auth;
pub mod faults;
pub(crate) mod gateway;
pub(crate) mod limits;
pub mod oauth;
pub mod scenario;
pub mod settings;
pub(crate) mod time;
