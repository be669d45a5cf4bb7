//! The brake on mass removal (promise 11): counted → go on or hold.

/// What was counted for one object, side and operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Records that would go in this step, all that are due together.
    pub due: u64,
    /// Records that went within the window.
    pub in_window: u64,
    /// Rows that would be left once the due ones are gone.
    pub left: u64,
}

/// The bounds, as the mapping file gives them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Records within the window that always may go.
    pub max_records: u64,
    /// Or this share of the object's rows, 0 to 1, whichever is more.
    pub max_share: f64,
}

/// Emptying a side of more records than this is always held.
pub(crate) const SMALL_SIDE: u64 = 10;

/// Whether removals may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They may.
    Go,
    /// They wait for an operator's word.
    Hold {
        /// How many would have been allowed within the window.
        allowed: u64,
    },
}

/// Judges what is due as a whole, so that a mass deletion is held as a whole and not once its first part is gone.
pub fn judge(count: Count, bounds: Bounds) -> Verdict {
    let rows = count.left + count.due + count.in_window;
    let share = (rows as f64 * bounds.max_share.clamp(0.0, 1.0)).floor() as u64;
    let allowed = bounds.max_records.max(share);
    let empties = count.left == 0 && count.due + count.in_window > SMALL_SIDE;
    if count.due == 0 || (count.due + count.in_window <= allowed && !empties) {
        Verdict::Go
    } else {
        Verdict::Hold { allowed }
    }
}

/// A column of fewer values has no bound of its own.
const SMALL_COLUMN: u64 = 100;

/// Judges the values of a column that go from something to empty, as a share of those that it held when the window began; 1: no
/// bound.
pub fn judge_cleared(count: Count, max_share: f64) -> Verdict {
    let values = count.left + count.due + count.in_window;
    let allowed = (values as f64 * max_share.clamp(0.0, 1.0)).floor() as u64;
    let is_bound = values >= SMALL_COLUMN && max_share < 1.0;
    if count.due == 0 || !is_bound || count.due + count.in_window <= allowed {
        Verdict::Go
    } else {
        Verdict::Hold { allowed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        max_records: 100,
        max_share: 0.05,
    };

    fn check(due: u64, in_window: u64, left: u64, expected: Verdict) {
        assert_eq!(
            judge(
                Count {
                    due,
                    in_window,
                    left
                },
                BOUNDS
            ),
            expected,
            "{due} {in_window} {left}"
        );
    }

    #[test]
    fn a_hundred_or_a_twentieth_may_go_whichever_is_more() {
        check(100, 0, 900, Verdict::Go);
        check(101, 0, 900, Verdict::Hold { allowed: 100 });
        check(500, 0, 9_500, Verdict::Go);
        check(501, 0, 9_500, Verdict::Hold { allowed: 500 });
        check(1, 100, 900, Verdict::Hold { allowed: 100 });
        check(0, 100, 0, Verdict::Go);
    }

    #[test]
    fn emptying_a_side_of_more_than_ten_is_always_held() {
        check(10, 0, 0, Verdict::Go);
        check(11, 0, 0, Verdict::Hold { allowed: 100 });
        check(1, 10, 0, Verdict::Hold { allowed: 100 });
    }

    #[test]
    fn a_fifth_of_a_column_may_be_emptied_where_it_holds_a_hundred_values() {
        let judged = |due, in_window, left, share| {
            let count = Count {
                due,
                in_window,
                left,
            };
            judge_cleared(count, share)
        };
        assert_eq!(judged(20, 0, 80, 0.2), Verdict::Go);
        assert_eq!(judged(21, 0, 79, 0.2), Verdict::Hold { allowed: 20 });
        assert_eq!(judged(1, 20, 79, 0.2), Verdict::Hold { allowed: 20 });
        assert_eq!(judged(99, 0, 0, 0.2), Verdict::Go, "a small column");
        assert_eq!(judged(100, 0, 0, 0.2), Verdict::Hold { allowed: 20 });
        assert_eq!(judged(100, 0, 0, 1.0), Verdict::Go, "no bound");
        assert_eq!(judged(1, 0, 999, 0.0), Verdict::Hold { allowed: 0 });
        assert_eq!(judged(0, 500, 0, 0.2), Verdict::Go);
    }
}
