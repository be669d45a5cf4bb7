//! Associations that HubSpot shows no more: somebody took two records apart, or one of them is gone with all of its own.
//!
//! HubSpot takes the associations of an archived record with it (`hubspot/api-facts.md#8`), and the rows of one that is created
//! anew stay; and it leaves out those of a record that the token's user does not see. So what an answer misses is believed at once
//! only where no row would outlive its record and the token sees all; else once reads behind that answer have shown both records.

use std::collections::BTreeSet;

use crate::decide::incoming::links::{LinkEntry, LinkRow, ShownLink};
use crate::model::entry::Operation;
use crate::model::id::LocalId;

/// What is known of one of the two records that HubSpot shows as associated no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndStands {
    /// Whether its row may outlive it and be created anew: by the file, or since something waits to be written; or whether the
    /// association is, since the pair is only pushed.
    pub may_be_made_anew: bool,
    /// Whether the token sees it.
    pub sight: Sight,
    /// Whether it is known to be gone, and what becomes of its row waits for a count, a hold or a person.
    pub is_undecided: bool,
    /// Whether a read of it is still to come.
    pub is_asked: bool,
}

/// Whether a token sees a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sight {
    /// It sees all of the portal.
    #[default]
    All,
    /// It sees only what its user sees, as far as anybody knows this record too.
    Users,
    /// The same, and the last answer about the record did not show it.
    Hidden,
}

impl EndStands {
    /// Whether its associations may be missed although nobody has taken them away.
    pub fn is_doubtful(self) -> bool {
        self.may_be_made_anew || self.sight != Sight::All
    }
}

/// What becomes of the rows of two records that HubSpot shows as associated no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unshown {
    /// Somebody took them apart: the rows go.
    Believed,
    /// The records are read first.
    Looks,
    /// That read is still to come.
    Waits,
    /// They stay until it is decided what becomes of the record, or the token sees it again.
    Stays,
}

/// Whether it is believed that somebody took two records apart. `is_missed`: an earlier answer missed the association too, and
/// the records have been asked for since.
pub fn unshown(ends: [EndStands; 2], is_missed: bool) -> Unshown {
    let doubtful = || ends.iter().filter(|end| end.is_doubtful());
    let stays = |end: &EndStands| end.is_undecided || end.sight == Sight::Hidden;
    if ends.iter().any(stays) {
        Unshown::Stays
    } else if doubtful().next().is_none() {
        Unshown::Believed
    } else if !is_missed {
        Unshown::Looks
    } else if doubtful().any(|end| end.is_asked) {
        Unshown::Waits
    } else {
        Unshown::Believed
    }
}

/// Rows at the other end that HubSpot shows as associated no more, whatever the type.
pub fn missed(rows: &[LinkRow], entries: &[LinkEntry], shown: &[ShownLink]) -> BTreeSet<LocalId> {
    let is_shown = |to: LocalId| shown.iter().any(|link| link.to == to);
    let waits = |row: &LinkRow| {
        let mut entries = entries.iter();
        entries.any(|entry| {
            entry.operation == Operation::Associate && entry.to == row.to && entry.kind == row.kind
        })
    };
    let missed = rows.iter().filter(|row| !is_shown(row.to) && !waits(row));
    missed.map(|row| row.to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::association::TypeId;
    use crate::model::entry::EntryState;
    use crate::model::id::OutboxId;

    #[test]
    fn what_hubspot_shows_no_more_stays_while_a_record_that_may_be_made_anew_may_be_gone() {
        let quiet = EndStands::default();
        let keeps = EndStands {
            may_be_made_anew: true,
            ..quiet
        };
        let asked = EndStands {
            is_asked: true,
            ..keeps
        };
        let gone = EndStands {
            is_undecided: true,
            ..quiet
        };
        let busy = EndStands {
            is_asked: true,
            ..quiet
        };
        let unsure = EndStands {
            sight: Sight::Users,
            ..quiet
        };
        let unread = EndStands {
            is_asked: true,
            ..unsure
        };
        let hidden = EndStands {
            sight: Sight::Hidden,
            ..quiet
        };
        for (ends, is_missed, expected) in [
            ([quiet, quiet], false, Unshown::Believed),
            ([busy, quiet], false, Unshown::Believed),
            ([quiet, keeps], false, Unshown::Looks),
            ([keeps, quiet], false, Unshown::Looks),
            // A read that somebody else asked for may be from before the answer.
            ([quiet, asked], false, Unshown::Looks),
            ([quiet, asked], true, Unshown::Waits),
            ([busy, keeps], true, Unshown::Believed),
            ([keeps, keeps], true, Unshown::Believed),
            ([gone, quiet], false, Unshown::Stays),
            ([keeps, gone], true, Unshown::Stays),
            // A token that sees not all: both are to be shown first.
            ([quiet, unsure], false, Unshown::Looks),
            ([unsure, unsure], true, Unshown::Believed),
            ([quiet, unread], true, Unshown::Waits),
            ([unsure, hidden], false, Unshown::Stays),
            ([hidden, unsure], true, Unshown::Stays),
        ] {
            assert_eq!(unshown(ends, is_missed), expected, "{ends:?} {is_missed}");
        }
    }

    #[test]
    fn an_association_is_missed_where_no_type_of_it_is_shown_and_none_is_on_its_way() {
        let kind = |number| Some(TypeId::of_hubspot(number));
        let row = |id, to, number| LinkRow {
            id,
            to: LocalId(to),
            kind: kind(number),
            label: None,
        };
        let rows = [row(7, 1, 279), row(8, 2, 279), row(9, 3, 1)];
        let entries = [LinkEntry {
            id: OutboxId(3),
            operation: Operation::Associate,
            state: EntryState::Pending,
            to: LocalId(3),
            kind: kind(1),
            takes_all: false,
            is_in_doubt: false,
        }];
        let there = [ShownLink {
            to: LocalId(2),
            kind: TypeId::of_hubspot(1),
        }];
        assert_eq!(
            missed(&rows, &entries, &there),
            BTreeSet::from([LocalId(1)])
        );
    }
}
