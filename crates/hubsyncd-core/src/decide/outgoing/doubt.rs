//! A create whose answer was lost and whose record a look did not find: what becomes of it.
//!
//! | it is looked for | its row | since the loss | what is done |
//! |---|---|---|---|
//! | nowhere | any, and a person gave the create up | any | it ends |
//! | nowhere | any | any | a person looks |
//! | in the store, or by search | any | less than nothing: the clock was set back | it waits anew |
//! | in the store, or by search | any | its request may still land, or search is behind | it is looked for again after that |
//! | in the store, or by search | gone, and nobody deleted it | longer | a person is told what waited |
//! | in the store, or by search | deleted, or a person gave the create up | longer | it ends: it was never made |
//! | in the store, or by search | there | longer | it is sent again |
//!
//! Nothing is sent again while it may have been done (`design.md`, section 4: a create must never happen twice).

use std::time::Duration;

use crate::decide::echo::MAY_STILL_LAND;
use crate::decide::matching::SEARCH_LAG;
use crate::model::time::Timestamp;

/// Where what a lost create made is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookIn {
    /// Nowhere: nothing of it can be asked for.
    Nowhere,
    /// In the store, by its key or a unique value.
    Store,
    /// By search, which is behind the store.
    Search,
}

/// The row of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOfCreate {
    /// It is there.
    There,
    /// It was deleted.
    Deleted,
    /// It is gone, and no trigger saw who took it.
    Gone,
}

/// A create in doubt whose record was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfound {
    /// Where it was looked for.
    pub look: LookIn,
    /// Its row.
    pub row: RowOfCreate,
    /// Whether a person gave it up.
    pub is_given_up: bool,
    /// When its answer was lost.
    pub lost_at: Timestamp,
    /// The transaction's time.
    pub now: Timestamp,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLook {
    /// It ends.
    End,
    /// A person looks for the record.
    Tell,
    /// It waits as if it had been lost now, until then.
    WaitAnew(Timestamp),
    /// It is looked for again then.
    LookAgain(Timestamp),
    /// A person is told what waited of its row.
    ParkWithoutRow,
    /// It is sent again.
    Repeat,
}

/// Decides about a create that a look did not find.
pub fn after_look(unfound: &Unfound) -> AfterLook {
    let Unfound {
        look,
        row,
        is_given_up,
        lost_at,
        now,
    } = *unfound;
    let behind = match look {
        LookIn::Nowhere if is_given_up => return AfterLook::End,
        LookIn::Nowhere => return AfterLook::Tell,
        LookIn::Store => Duration::ZERO,
        LookIn::Search => SEARCH_LAG,
    };
    if lost_at > now {
        // The wait does not last as long as the clock was ahead.
        return AfterLook::WaitAnew(now + MAY_STILL_LAND + behind);
    }
    let is_sure_at = lost_at + MAY_STILL_LAND + behind;
    match row {
        _ if now < is_sure_at => AfterLook::LookAgain(is_sure_at),
        RowOfCreate::Gone if !is_given_up => AfterLook::ParkWithoutRow,
        RowOfCreate::There if !is_given_up => AfterLook::Repeat,
        RowOfCreate::There | RowOfCreate::Deleted | RowOfCreate::Gone => AfterLook::End,
    }
}

/// What a person is told who is to look for the record of a lost create.
pub fn words_for_a_person(row: RowOfCreate) -> &'static str {
    match row {
        RowOfCreate::Deleted => {
            "the answer to this create was lost, its row was deleted, and without a key or a value that HubSpot can be \
                     asked for nobody can tell whether it has the record: look for it there and archive it, then discard this entry [create-in-doubt]"
        }
        RowOfCreate::There | RowOfCreate::Gone => {
            "the answer to this create was lost, and without a key or a value that HubSpot keeps unique nobody can tell \
                     whether it has the record: look for it there, then retry the entry or delete the row [create-in-doubt]"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::EPOCH.plus_millis(second * 1_000)
    }

    const ROWS: [RowOfCreate; 3] = [RowOfCreate::There, RowOfCreate::Deleted, RowOfCreate::Gone];

    fn unfound(look: LookIn, row: RowOfCreate, second: i64) -> Unfound {
        Unfound {
            look,
            row,
            is_given_up: false,
            lost_at: at(0),
            now: at(second),
        }
    }

    fn given_up(unfound: Unfound) -> Unfound {
        Unfound {
            is_given_up: true,
            ..unfound
        }
    }

    #[test]
    fn nothing_is_repeated_or_ended_while_it_may_still_land_or_search_may_not_show_it() {
        for (look, sure) in [(LookIn::Store, 60), (LookIn::Search, 90)] {
            for row in ROWS {
                for early in [0, 59, sure - 1] {
                    let early = unfound(look, row, early);
                    for unfound in [early, given_up(early)] {
                        assert_eq!(after_look(&unfound), AfterLook::LookAgain(at(sure)));
                    }
                }
                let back = unfound(look, row, -5);
                assert_eq!(after_look(&back), AfterLook::WaitAnew(at(sure - 5)));
            }
        }
    }

    #[test]
    fn what_was_never_made_is_sent_again_where_its_row_is_there_and_ends_where_nobody_wants_it() {
        for (look, sure) in [(LookIn::Store, 60), (LookIn::Search, 90)] {
            let check = |row, expected| {
                let late = unfound(look, row, sure);
                assert_eq!(after_look(&late), expected, "{row:?}");
                assert_eq!(after_look(&given_up(late)), AfterLook::End, "{row:?}");
            };
            check(RowOfCreate::There, AfterLook::Repeat);
            check(RowOfCreate::Deleted, AfterLook::End);
            check(RowOfCreate::Gone, AfterLook::ParkWithoutRow);
        }
    }

    #[test]
    fn what_can_not_be_looked_for_is_a_persons_business_whenever_it_was_lost() {
        for row in ROWS {
            for second in [-5, 0, 1_000] {
                let nowhere = unfound(LookIn::Nowhere, row, second);
                assert_eq!(after_look(&nowhere), AfterLook::Tell);
                assert_eq!(after_look(&given_up(nowhere)), AfterLook::End);
            }
        }
    }
}
