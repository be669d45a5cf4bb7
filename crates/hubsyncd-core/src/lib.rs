//! The centre of hubsyncd: plain values, and the decisions that are made of them.
//!
//! Nothing here has input or output, a clock or `async`: what was observed comes in, what is to be done goes out. So each
//! rule is a table that a test walks through, and a dry run is the list of what was decided.

pub mod model;

pub mod decide;

#[cfg(test)]
mod testing;
