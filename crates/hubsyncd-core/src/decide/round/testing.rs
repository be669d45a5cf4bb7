//! Times and answers of steps that the tests of the order, of a loop's pace and of `once` share.

use std::time::Duration;

use crate::decide::round::Progress;
use crate::model::time::Timestamp;

/// A moment, in seconds after one of 2027.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// Nothing to do until then.
pub(super) fn idle(seconds: u64) -> Progress {
    Progress::Idle {
        until: Some(at(seconds)),
    }
}
