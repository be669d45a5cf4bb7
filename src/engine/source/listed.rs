//! Which properties HubSpot has, where an answer made somebody ask (`source/blanks`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::name::ObjectType;
use crate::model::time::Timestamp;

/// What HubSpot said last of each object's properties.
#[derive(Debug, Default)]
pub(crate) struct ListedProperties(Mutex<BTreeMap<ObjectType, Listed>>);

/// The names of an object's properties.
#[derive(Debug)]
struct Listed {
    at: Timestamp,
    names: Arc<BTreeSet<String>>,
}

impl ListedProperties {
    /// The names of an object's properties, unless they are older than `holds`, or from a time that has not come.
    pub(super) fn of(
        &self,
        object: &ObjectType,
        now: Timestamp,
        holds: Duration,
    ) -> Option<Arc<BTreeSet<String>>> {
        let listed = self.0.lock();
        let known = listed.get(object)?;
        let is_fresh = (known.at..=known.at + holds).contains(&now);
        is_fresh.then(|| Arc::clone(&known.names))
    }

    /// Remembers what HubSpot said at a moment.
    pub(super) fn note(
        &self,
        object: &ObjectType,
        at: Timestamp,
        names: BTreeSet<String>,
    ) -> Arc<BTreeSet<String>> {
        let names = Arc::new(names);
        let listed = Listed {
            at,
            names: Arc::clone(&names),
        };
        self.0.lock().insert(object.clone(), listed);
        names
    }
}
