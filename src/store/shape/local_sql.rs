//! What a local program's statement means: for each kind of statement the row, the outbox and the sentence that come of it
//! (`design.md`, section 3).
//!
//! Every statement runs through SQLite as it is built in and through the system's `sqlite3`, with `recursive_triggers` off
//! and on, and where it can carry a conflict clause with each of them. All must leave the same. A statement that stands alone goes
//! through a connection that its program keeps, several through one of their own.

mod associations;
mod bookkeeping;
mod bypassed;
mod cost;
mod delete;
mod entries;
mod insert;
mod loads;
mod nested;
mod programs;
mod random;
mod refusals;
mod repair;
mod replace;
mod replaced;
mod scene;
mod shapes;
mod transactions;
mod update;
