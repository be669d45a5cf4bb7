//! The centre's plain values: what a record, a field, an entry of the outbox and a conflict are.
//!
//! Nothing here does I/O, reads a clock or knows SQLite, HTTP or tokio. Every other module speaks in these types.

pub mod answer;
pub mod association;
pub mod attempt;
pub mod conflict;
pub mod entry;
pub mod event;
pub mod field_values;
pub mod hex;
pub mod id;
pub mod mapping;
pub mod name;
pub mod object;
pub mod origin;
pub mod record;
pub mod reference;
pub mod row;
pub mod settings;
pub mod synced;
pub mod time;
pub mod value;
