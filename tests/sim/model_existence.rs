//! What the design's table of existence says must come of a record that was archived, a row that was deleted, or both; and
//! that nothing goes on either side without a cause. It stands beside `model.rs` and shares as little with the program.

use std::collections::BTreeSet;

use hubsyncd::model::mapping::Policy;

use crate::model::Place;
use crate::worlds::alphabet::Mode;
use crate::worlds::seen::ExistenceSeen;

/// What was done to the record and its row, with true times.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one kind of thing happened"
)]
pub(crate) struct Existence {
    /// A person archived the record.
    pub(crate) archived_ms: Vec<i64>,
    /// A person had the record erased: nothing of it may stay, whatever the policy.
    pub(crate) is_erased: bool,
    /// A person brought it back, or merged another record into it.
    pub(crate) is_intricate: bool,
    /// A program deleted the row, and how the sides stood then.
    pub(crate) deleted: Vec<Deletion>,
    /// A program inserted the person again.
    pub(crate) inserted: usize,
    /// How often a person merged another record into it.
    pub(crate) merges: usize,
    /// The token did not see the record for a while.
    pub(crate) was_hidden: bool,
    /// A person made a record of the same person.
    pub(crate) made: usize,
    /// An operator let go what was held, or decided about something, or gave it up.
    pub(crate) approved: bool,
    pub(crate) decided: bool,
    /// Second rows of the person.
    pub(crate) twins: usize,
    /// Rows and records that the daemon has taken away.
    taken: [usize; 2],
    /// Records that a person has taken away at some time.
    pub(crate) gone: BTreeSet<u64>,
    /// Records whose row a program has deleted at some time.
    pub(crate) unwanted: BTreeSet<u64>,
}

/// A row that a program deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deletion {
    pub(crate) at_ms: i64,
    pub(crate) local_id: i64,
    /// A person's edit that the row had not taken in.
    pub(crate) over_an_edit: bool,
}

/// How it may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Neither row nor record.
    Gone,
    /// Row and record, linked.
    There,
    /// A conflict for a person to decide.
    Open,
    /// A row that is marked, of a record that is archived.
    Marked,
    /// A row without a record, whose entry is dead.
    Unlinked,
    /// A record without a row.
    LeftAlone,
    /// What the guard holds.
    Held,
}

impl Existence {
    /// Whether nobody did anything to the record as a whole.
    pub(crate) fn is_plain(&self) -> bool {
        let nobody = self.archived_ms.is_empty() && self.deleted.is_empty();
        let nobody = nobody && self.inserted + self.made + self.twins == 0 && !self.decided;
        nobody && !self.is_erased && !self.is_intricate && !self.was_hidden
    }

    /// Whether a program inserted the person at most once and a person made the record at most once, and nobody did anything
    /// else to it as a whole.
    pub(crate) fn was_only_made(&self) -> bool {
        let plain = Self {
            inserted: 0,
            made: 0,
            ..self.clone()
        };
        self.inserted <= 1 && self.made <= 1 && plain.is_plain()
    }

    /// The daemon has taken a row or a record away.
    pub(crate) fn went(&mut self, mode: Mode, place: Place) -> Result<(), String> {
        let taken = &mut self.taken[place as usize];
        *taken += 1;
        // What goes by a merge or an erasure nobody counts.
        let is_counted = !self.approved && !self.is_intricate && !self.is_erased;
        match mode == Mode::Sparing && is_counted && *taken > 1 {
            true => Err(format!("{taken} went in {place:?} where one may go")),
            false => Ok(()),
        }
    }

    /// Whether the daemon may remove the row of a record, or archive the record while its person has a row or none.
    pub(crate) fn may_go(&self, place: Place, id: u64, row_is_there: bool) -> bool {
        let is_here = place == Place::Local;
        let is_caused = self.unwanted.contains(&id) || (is_here && self.gone.contains(&id));
        is_caused && (is_here || !row_is_there)
    }

    /// How it ended, where what stands at rest is what the table says.
    pub(crate) fn judge(
        &self,
        (policy, mode): (Policy, Mode),
        seen: &ExistenceSeen,
        is_doubtful: bool,
    ) -> Result<Ends, String> {
        let ends = match (seen.row, seen.record) {
            _ if seen.is_open => Ends::Open,
            _ if seen.is_held => Ends::Held,
            // Which of two rows is the person's is not told.
            _ if self.twins > 0 => return Ok(Ends::There),
            (None, None) => Ends::Gone,
            (Some((_, Some(_))), None) if seen.is_marked => Ends::Marked,
            (Some((_, Some(linked))), Some(record)) if linked == record => Ends::There,
            // The survivor of a merge is nobody's deletion where the token does not see all.
            (Some((_, Some(_))), None) if mode == Mode::User && self.merges > 0 => Ends::Gone,
            (Some(_), None) if seen.is_dead => Ends::Unlinked,
            (Some((_, None)), Some(_)) if seen.is_dead && mode == Mode::Keyless => Ends::Unlinked,
            (None, Some(_)) if mode.leaves_alone() => Ends::LeftAlone,
            other => return Err(format!("row and record do not fit together: {other:?}")),
        };
        let allowed = self.in_mode(mode, self.allowed((policy, mode), seen, is_doubtful));
        let came_back = ends == Ends::There && self.inserted + self.made == 0 && !self.is_intricate;
        let fits = match (seen.row, &self.deleted[..]) {
            (Some((id, _)), [one]) if came_back => id == one.local_id,
            _ => true,
        };
        if fits && allowed.contains(&ends) {
            return Ok(ends);
        }
        Err(format!(
            "{ends:?}, and the table allows {allowed:?}: {self:?} {seen:?}"
        ))
    }

    /// What else there is in worlds of that mapping.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are as usual")]
    fn in_mode(&self, mode: Mode, mut allowed: Vec<Ends>) -> Vec<Ends> {
        use Ends::{Gone, Held, LeftAlone, Marked, There, Unlinked};
        let (goes, stays) = (allowed.contains(&Gone), allowed.contains(&There));
        let comes = self.inserted > 0;
        let was_archived = !self.archived_ms.is_empty();
        match mode {
            Mode::Marks if goes && stays && !self.is_erased => allowed.push(Marked),
            Mode::Guarded
                if !self.is_erased && (goes || was_archived || !self.deleted.is_empty()) =>
            {
                // Nothing goes without a word; what has gone by itself is gone.
                let by_itself = self.is_intricate || (was_archived && !self.deleted.is_empty());
                allowed.retain(|ends| *ends != Gone || self.approved || by_itself);
                allowed.push(Held);
            }
            Mode::Sparing if goes || was_archived || !self.deleted.is_empty() => {
                allowed.push(Held);
            }
            Mode::Keyless if comes => allowed.push(Unlinked),
            _ if mode.only_links() && stays && (comes || was_archived) => allowed.push(Unlinked),
            _ => {}
        }
        // The survivor keeps the e-mail of what was merged into it, and has a row of its own.
        if comes && self.merges > 0 {
            allowed.push(Unlinked);
        }
        // HubSpot takes the e-mail of somebody who was erased no more: a row of his is refused.
        if comes && self.is_erased {
            allowed.push(Unlinked);
        }
        let comes_back = self.is_intricate || self.made > 0;
        if mode.leaves_alone() && comes_back && (was_archived || !self.deleted.is_empty()) {
            allowed.push(LeftAlone);
        }
        allowed
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are as usual")]
    fn allowed(
        &self,
        (policy, mode): (Policy, Mode),
        seen: &ExistenceSeen,
        is_doubtful: bool,
    ) -> Vec<Ends> {
        use Ends::{Gone, Marked, Open, There};
        let as_archived = match mode {
            Mode::Marks => Marked,
            Mode::MakesAnew => There,
            _ => Gone,
        };
        let as_deleted = match mode {
            Mode::BringsBack => There,
            _ => Gone,
        };
        let decided = |of_remote, of_local, local_is_later| match policy {
            Policy::Remote => of_remote,
            Policy::Local => of_local,
            Policy::Manual => Open,
            Policy::Newest if local_is_later => of_local,
            Policy::Newest => of_remote,
        };
        let came_again = self.inserted > 0;
        // Whoever had a row at first can be deleted once more than he was inserted.
        let was_there = usize::from(!matches!(mode, Mode::New | Mode::Fresh));
        let is_tie = |one: i64, other: i64| (one - other).abs() < seen.clock_ms;
        match (&self.archived_ms[..], &self.deleted[..]) {
            _ if self.is_erased && !came_again => vec![Gone],
            _ if self.is_intricate || self.is_erased || self.made > 0 || self.decided => {
                vec![Gone, There, Open]
            }
            ([], all) if came_again && all.len() < self.inserted + was_there => vec![There, Open],
            _ if came_again || is_doubtful => vec![Gone, There, Open],
            // Where nobody has made it yet, there is nobody.
            ([], []) if mode == Mode::New => vec![Gone],
            ([], []) => vec![There],
            // What a person was asked about meanwhile needs no word any more.
            ([_, ..], [_, ..]) => vec![Gone],
            ([archived], []) => {
                let written = seen.pending_local_ms;
                if policy == Policy::Newest && written.is_some_and(|at| is_tie(at, *archived)) {
                    return vec![as_archived, There];
                }
                let later = |written| decided(as_archived, There, written > *archived);
                vec![written.map_or(as_archived, later)]
            }
            ([], [one]) => {
                // Where a deletion never goes out, no policy sends it, and nobody is asked.
                if mode == Mode::BringsBack {
                    return vec![There];
                }
                let is_later = seen.last_remote_ms.is_some_and(|at| at >= one.at_ms);
                let by_policy = decided(There, Gone, !is_later);
                let is_near = seen.last_remote_ms.is_some_and(|at| is_tie(at, one.at_ms));
                if policy == Policy::Newest && is_near {
                    return vec![as_deleted, There];
                }
                match (one.over_an_edit, is_later) {
                    (false, false) => vec![as_deleted],
                    // An edit of the last milliseconds goes with the record.
                    (_, true) if seen.edit_fell_into_a_gap => vec![by_policy, as_deleted],
                    _ => vec![by_policy],
                }
            }
            ([..], [..]) => vec![Gone, There, Open],
        }
    }
}
