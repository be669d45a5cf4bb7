//! What HubSpot is asked for an entry of a plan, so that a plan counts what the push then sends.

use crate::decide::outgoing::acknowledge::unchanged;
use crate::decide::outgoing::claim::is_update_at_rest;
use crate::decide::outgoing::plan::PlannedBatch;
use crate::engine::outbound::preview::planned::PlannedEntry;
use crate::model::entry::Entry;
use crate::model::mapping::ObjectMapping;
use crate::model::row::MirrorRow;

/// What is asked for an entry besides the write itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum AskedOfHubspot {
    /// Nothing.
    #[default]
    Nothing,
    /// Nothing; the create that it waits for goes before it in the same push.
    Behind,
    /// Its record is read first.
    Read,
    /// Its associations go along with it.
    Along,
    /// HubSpot refuses the create and names the record, which is read.
    Named,
    /// HubSpot refuses the create, and the record is looked for.
    Refusal,
    /// A look before the create has shown the record.
    Look,
    /// A search before the create has found the record, which is read.
    Search,
}

impl PlannedEntry {
    /// Counts it in its batch.
    pub(super) fn count_in(&self, batch: &mut PlannedBatch) {
        let sent = usize::from(self.is_sent());
        let is_contested = usize::from(self.is_contested && self.is_due);
        batch.contested += is_contested;
        let is_adopted = match self.asked {
            AskedOfHubspot::Nothing
            | AskedOfHubspot::Behind
            | AskedOfHubspot::Read
            | AskedOfHubspot::Along => 0,
            AskedOfHubspot::Named
            | AskedOfHubspot::Refusal
            | AskedOfHubspot::Look
            | AskedOfHubspot::Search => 1,
        };
        batch.adopted += is_adopted;
        match self.asked {
            AskedOfHubspot::Nothing | AskedOfHubspot::Behind => {}
            AskedOfHubspot::Read => batch.read += 1,
            AskedOfHubspot::Along => batch.along += sent,
            AskedOfHubspot::Named => {
                batch.sent += 1;
                batch.refused += 1;
                batch.named += 1;
            }
            AskedOfHubspot::Refusal => {
                batch.sent += 1;
                batch.refused += 1;
            }
            AskedOfHubspot::Look => {}
            AskedOfHubspot::Search => batch.searched += 1,
        }
        match is_adopted + is_contested {
            0 => batch.sent += sent,
            _ => batch.sent_later += sent,
        }
    }
}

/// Whether a program has written back all that waits: it ends without a request.
pub(super) fn is_as_before(mapping: &ObjectMapping, entry: &Entry, row: &MirrorRow) -> bool {
    is_update_at_rest(entry) && unchanged(mapping, entry, row).len() == entry.fields.len()
}
