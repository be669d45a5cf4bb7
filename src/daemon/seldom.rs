//! `Seldom`: what comes again and again, said at once and then at most once a minute.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Time between two lines of the same.
const BETWEEN: Duration = Duration::from_mins(1);

/// Says something that comes again and again at once and then at most once a minute, with how often it came; and that
/// it is over, where it was said.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    came: AtomicU64,
    said_ms: AtomicI64,
    is_said: AtomicBool,
}

impl Seldom {
    /// How often it came in all, where it is to be said; `now` is the steady clock's time.
    pub(super) fn turn(&self, now: Duration) -> Option<u64> {
        let came = self.came.fetch_add(1, Ordering::Relaxed) + 1;
        let now = now.as_millis() as i64 + 1;
        let last = self.said_ms.load(Ordering::Relaxed);
        if last != 0 && now - last < BETWEEN.as_millis() as i64 {
            return None;
        }
        let is_mine = self
            .said_ms
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        is_mine.then(|| {
            self.is_said.store(true, Ordering::Relaxed);
            came
        })
    }

    /// It is over. How often it came, where that is to be said: an end is told of what was. What comes again within the
    /// minute is not said at once, so that something that comes and goes costs no more lines.
    pub(super) fn over(&self) -> Option<u64> {
        let came = self.came.swap(0, Ordering::Relaxed);
        self.is_said.swap(false, Ordering::Relaxed).then_some(came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_and_again_is_said_once_a_minute() {
        let seldom = Seldom::default();
        let turn = |seconds| seldom.turn(Duration::from_secs(seconds));
        assert_eq!(turn(0), Some(1));
        for second in 1..60 {
            assert_eq!(turn(second), None);
        }
        assert_eq!(turn(60), Some(61));
        assert_eq!(turn(61), None);
    }

    #[test]
    fn an_end_is_said_once_of_what_was_said() {
        let seldom = Seldom::default();
        let turn = |seconds| seldom.turn(Duration::from_secs(seconds));
        assert_eq!(seldom.over(), None, "nothing was");
        assert_eq!((turn(0), turn(1)), (Some(1), None));
        assert_eq!(seldom.over(), Some(2));
        assert_eq!(seldom.over(), None);
        // It comes and goes.
        assert_eq!((turn(2), seldom.over()), (None, None));
        assert_eq!((turn(59), turn(60)), (None, Some(2)));
        assert_eq!(seldom.over(), Some(2));
    }
}
