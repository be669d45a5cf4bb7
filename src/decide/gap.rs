//! The gap between a read and the write that rests on it: what somebody writes into it is written over, since HubSpot
//! has no conditional write. Here: how long it may be.
//!
//! It asks nobody and writes nothing: `hubspot::reread` looks at the clocks, `engine::push` and `engine::archive` read
//! again.

use std::time::Duration;

/// A write goes out at most so long after the answer to the read that it rests on (design, section 4).
pub const FRESH: Duration = Duration::from_secs(1);

/// A batch that came too late so often in a row, without ever being sent, goes back to the queue: something holds the
/// database or the process up, and the step has to end.
pub const MOST_LATE: u32 = 3;
