//! What is the same all through one transaction of a step.

use crate::decide::existence::Moment;
use crate::engine::portal::objects::ObjectSync;
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::WriteTx;
use crate::store::history::Origin;

/// One transaction's work on an object: a step makes it inside the transaction and hands it on.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// The object.
    pub object: &'a ObjectSync,
    /// What `sync_history` says of a change that HubSpot brought.
    pub origin: Origin,
    /// The transaction's time.
    pub now: Timestamp,
    /// HubSpot's clock minus this machine's.
    pub offset_ms: i64,
}

impl<'a> Pass<'a> {
    /// A pass in this transaction.
    pub fn of(tx: &WriteTx<'_>, object: &'a ObjectSync, origin: Origin, offset_ms: i64) -> Self {
        let now = tx.now();
        Self::at(Moment { now, offset_ms }, object, origin)
    }

    /// A pass at that moment.
    pub(crate) fn at(moment: Moment, object: &'a ObjectSync, origin: Origin) -> Self {
        Self {
            object,
            origin,
            now: moment.now,
            offset_ms: moment.offset_ms,
        }
    }

    /// The same for a change of another origin.
    #[must_use]
    pub(crate) fn saying(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// The object's name.
    pub fn name(&self) -> &'a ObjectType {
        self.object.object()
    }

    /// The moment of a decision.
    pub fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            offset_ms: self.offset_ms,
        }
    }
}
