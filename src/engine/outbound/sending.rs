//! How what is claimed is sent.

pub(in crate::engine::outbound) mod batches;

use rusqlite::Transaction;

use crate::engine::Engine;
use crate::engine::portal::objects::ObjectSync;
use crate::hubspot::{Priority, Reread};
use crate::model::entry::Operation;
use crate::model::id::OutboxId;
use crate::model::time::Timestamp;
use crate::store::{StoreError, outbox};

/// What a claim rests on.
pub(crate) struct Ground {
    /// The read before it.
    pub reread: Reread,
    /// The claim's time.
    pub claimed_at: Timestamp,
}

/// How entries are sent.
#[derive(Clone, Copy)]
pub(crate) struct Sending<'a> {
    /// By which store and client.
    pub engine: &'a Engine,
    /// The object.
    pub object: &'a ObjectSync,
    /// What is asked of HubSpot.
    pub operation: Operation,
    /// Before which other requests.
    pub priority: Priority,
    /// What the claims rest on; `None` for creates: nothing is read for what overwrites nobody's values.
    pub ground: Option<&'a Ground>,
}

/// Which entries a request was about, and what HubSpot called it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Correlated {
    entries: Vec<OutboxId>,
    correlation_id: Option<String>,
}

impl Correlated {
    /// With this task's last request.
    pub(crate) fn just_now(engine: &Engine, entries: impl Iterator<Item = OutboxId>) -> Self {
        Self {
            entries: entries.collect(),
            correlation_id: engine.store.calls().last_correlation_id(),
        }
    }

    /// Writes it down, for those that are left of them to tell.
    pub(crate) fn note(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        outbox::correlate(tx, &self.entries, self.correlation_id.as_deref())
    }
}
