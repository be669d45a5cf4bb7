//! What answers have contradicted already: it is not asked for again for the same cause before the schedule's time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::name::{ObjectType, TableName};
use crate::model::time::Timestamp;

/// The most names that are remembered: a portal has some hundred owners and stages.
const MOST: usize = 10_000;

/// Between two reads of the schema for refusals: a batch may be refused a hundred times for one cause.
const BETWEEN: Duration = Duration::from_secs(30);

/// What was met already.
#[derive(Debug, Default)]
pub(crate) struct Contradicted {
    /// Owners and stages that are known, or were asked for.
    names: Mutex<BTreeSet<(NamedBy, String)>>,
    /// When a refusal last made somebody read, of a record and of each pair.
    refused_at: Mutex<BTreeMap<Option<TableName>, Timestamp>>,
}

/// What a record names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NamedBy {
    /// One of the portal's owners.
    Owner,
    /// A stage of an object's pipelines.
    Stage(ObjectType),
}

impl Contradicted {
    /// After a whole read everything may be asked for once more.
    pub(crate) fn forget(&self) {
        self.names.lock().clear();
    }

    /// Those of some names that were not met before; they count as met from here on.
    pub(super) fn new_of(&self, told: &BTreeSet<(NamedBy, String)>) -> BTreeSet<(NamedBy, String)> {
        let mut met = self.names.lock();
        let new: BTreeSet<_> = told.difference(&met).cloned().collect();
        if met.len() + new.len() > MOST {
            met.clear();
        }
        met.extend(new.iter().cloned());
        new
    }

    /// Whether a refusal, of a record or of a pair, may make somebody read at this moment.
    pub(super) fn may_read(&self, of: Option<&TableName>, now: Timestamp) -> bool {
        let mut refused_at = self.refused_at.lock();
        let last = refused_at.get(&of.cloned());
        let may = last.is_none_or(|last| now.since(*last) >= BETWEEN || *last > now);
        if may {
            refused_at.insert(of.cloned(), now);
        }
        may
    }
}
