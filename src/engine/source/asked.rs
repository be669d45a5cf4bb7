//! Which objects are to be polled at once, whatever their schedule: a command asked for it. A start polls each object at once anyway.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::model::name::ObjectType;

/// Polls that somebody asked for.
#[derive(Debug, Default)]
pub(crate) struct AskedPolls(Mutex<BTreeSet<ObjectType>>);

impl AskedPolls {
    /// Asks for one.
    pub(crate) fn ask(&self, object: &ObjectType) {
        self.0.lock().insert(object.clone());
    }

    /// Whether one was asked for, which is over with it.
    pub(crate) fn take(&self, object: &ObjectType) -> bool {
        self.0.lock().remove(object)
    }
}
