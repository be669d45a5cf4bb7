//! What the design's table of existence says must come of a record that was archived, a row that was deleted, or both; and
//! that nothing goes on either side without a cause. It stands beside `model.rs` and shares as little with the program.

use std::collections::BTreeSet;

use hubsyncd::model::mapping::Policy;

/// What was done to the record and its row, with true times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Existence {
    /// A person archived the record.
    pub(crate) archived_ms: Vec<i64>,
    /// A person brought it back, or merged another record into it.
    pub(crate) is_intricate: bool,
    /// A program deleted the row, and how the sides stood then.
    pub(crate) deleted: Vec<Deletion>,
    /// A program inserted the person again.
    pub(crate) inserted: u64,
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

/// How both sides stand at rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExistenceSeen {
    /// The person's row: its id and the record's.
    pub(crate) row: Option<(i64, Option<u64>)>,
    /// The person's live record.
    pub(crate) record: Option<u64>,
    /// Whether a conflict about the whole record is open.
    pub(crate) is_open: bool,
    /// When the last change that only one side has was made there: the row's, and the record's.
    pub(crate) pending_local_ms: Option<i64>,
    pub(crate) last_remote_ms: Option<i64>,
    /// Whether that change of the record came too late for the daemon to see it.
    pub(crate) edit_fell_into_a_gap: bool,
}

/// How it may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Neither row nor record.
    Gone,
    /// Row and record, linked.
    There,
    /// A conflict for a person to decide.
    Open,
}

impl Existence {
    /// Whether nobody did anything to the record as a whole.
    pub(crate) fn is_plain(&self) -> bool {
        self.archived_ms.is_empty()
            && self.deleted.is_empty()
            && self.inserted == 0
            && !self.is_intricate
    }

    /// A row vanished by the daemon's hand.
    pub(crate) fn row_may_go(&self, hs_id: Option<u64>) -> Result<(), String> {
        match hs_id {
            Some(id) if !self.gone.contains(&id) && !self.unwanted.contains(&id) => Err(format!(
                "the row of record {id} was removed, and nobody had taken the record away"
            )),
            _ => Ok(()),
        }
    }

    /// A record was archived by the daemon, over rows that were there when the request was sent.
    pub(crate) fn record_may_go(&self, id: u64, row_is_there: bool) -> Result<(), String> {
        if !self.unwanted.contains(&id) {
            return Err(format!(
                "record {id} was archived, and no program had deleted its row"
            ));
        }
        if row_is_there {
            return Err(format!(
                "record {id} was archived while a row of its person was there"
            ));
        }
        Ok(())
    }

    /// Whether what stands at rest is what the table says.
    pub(crate) fn judge(
        &self,
        policy: Policy,
        seen: &ExistenceSeen,
        unanswered: bool,
    ) -> Result<(), String> {
        let ends = match (seen.row, seen.record) {
            _ if seen.is_open => Ends::Open,
            (None, None) => Ends::Gone,
            (Some((_, Some(linked))), Some(record)) if linked == record => Ends::There,
            other => return Err(format!("row and record do not fit together: {other:?}")),
        };
        let allowed = self.allowed(policy, seen);
        let is_doubtful = unanswered || self.is_intricate || self.inserted > 0;
        if !is_doubtful && !allowed.contains(&ends) {
            return Err(format!(
                "{ends:?} where the design allows {allowed:?}: {self:?} {seen:?}"
            ));
        }
        if self.inserted > 0 && self.archived_ms.is_empty() && !self.is_intricate {
            let deleted_last = self.deleted.len() as u64 > self.inserted;
            if !deleted_last && ends == Ends::Gone {
                return Err("the person was inserted again, and is gone".to_owned());
            }
        }
        if let (Ends::There, [deletion], 0, Some((local_id, _))) =
            (ends, &self.deleted[..], self.inserted, seen.row)
            && local_id != deletion.local_id
            && !self.is_intricate
        {
            return Err(format!("the row came back as {local_id}: {deletion:?}"));
        }
        Ok(())
    }

    fn allowed(&self, policy: Policy, seen: &ExistenceSeen) -> Vec<Ends> {
        match (&self.archived_ms[..], &self.deleted[..]) {
            ([], []) => vec![Ends::There],
            ([_, ..], [deletion, ..]) if policy == Policy::Manual && deletion.over_an_edit => {
                vec![Ends::Gone, Ends::Open]
            }
            ([_, ..], [_, ..]) => vec![Ends::Gone],
            ([archived], []) => match (seen.pending_local_ms, policy) {
                (None, _) => vec![Ends::Gone],
                (Some(_), Policy::Remote) => vec![Ends::Gone],
                (Some(_), Policy::Local) => vec![Ends::There],
                (Some(_), Policy::Manual) => vec![Ends::Open],
                (Some(written), Policy::Newest) if written > *archived => vec![Ends::There],
                (Some(_), Policy::Newest) => vec![Ends::Gone],
            },
            ([], [deletion]) => {
                let edited_after = seen.last_remote_ms.filter(|at| *at >= deletion.at_ms);
                let by_policy = match policy {
                    Policy::Remote => Ends::There,
                    Policy::Local => Ends::Gone,
                    Policy::Manual => Ends::Open,
                    Policy::Newest if edited_after.is_some() => Ends::There,
                    Policy::Newest => Ends::Gone,
                };
                match (deletion.over_an_edit, edited_after) {
                    (false, None) => vec![Ends::Gone],
                    (true, None) => vec![by_policy],
                    // An edit of the last milliseconds goes with the record.
                    (_, Some(_)) if seen.edit_fell_into_a_gap => vec![by_policy, Ends::Gone],
                    (_, Some(_)) => vec![by_policy],
                }
            }
            ([..], [..]) => vec![Ends::There, Ends::Gone, Ends::Open],
        }
    }
}
