//! How what is claimed is sent.

use crate::engine::Engine;
use crate::engine::portal::objects::ObjectSync;
use crate::hubspot::{Priority, Reread};
use crate::model::entry::Operation;
use crate::model::time::Timestamp;

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
