//! Entries that are read, claimed and sent together: updates, and archives. A write rests on a read that is at most a second
//! old (`decide/gap`); what has grown older meanwhile is read again.

use crate::decide::gap::MOST_LATE;
use crate::decide::plan::{BATCH, BATCH_WITH_HISTORY};
use crate::engine::outbound::archive;
use crate::engine::outbound::present::{Doubt, Present, reread_records};
use crate::engine::outbound::push::claim_updates;
use crate::engine::outbound::sending::{Ground, Late, Sending, Sent};
use crate::engine::outbound::settle::{settle_batch, unclaim};
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, StepError};
use crate::hubspot::{Priority, Reread};
use crate::model::entry::{Entry, Operation};
use crate::model::id::HubspotId;

/// Entries of one try.
struct Together {
    /// The entries, as they were when the step began.
    entries: Vec<Entry>,
    /// How often they have come too late.
    late: u32,
}

impl Together {
    fn ids(&self) -> Vec<HubspotId> {
        let ids = self
            .entries
            .iter()
            .filter_map(|queued| queued.standing.hs_id);
        ids.collect()
    }

    fn id_of(&self, sent: &Sent) -> Option<HubspotId> {
        let mut entries = self.entries.iter();
        let found = entries.find(|queued| queued.id == sent.entry);
        found?.standing.hs_id
    }

    /// The part of it that came too late, to be read again; `None` where it has come too late too often. A part of what was
    /// sent stays a part, so that halving comes to an end.
    fn again(&self, late: &Late) -> Option<Self> {
        let entries = self.entries.iter();
        let entries = entries.filter(|queued| late.entries.contains(&queued.id));
        let again = Self {
            entries: entries.cloned().collect(),
            late: if late.is_part { 0 } else { self.late + 1 },
        };
        (again.late <= MOST_LATE).then_some(again)
    }
}

/// Reads the records of due updates or archives, claims what is still to be sent, and sends it.
pub(super) async fn send(
    engine: &Engine,
    object: &ObjectSync,
    operation: Operation,
    due: Vec<Entry>,
    priority: Priority,
) -> Result<(), StepError> {
    let doubt = match operation {
        Operation::Archive => Doubt::about(engine, object, &due).await?,
        Operation::Create | Operation::Update | Operation::Associate | Operation::Disassociate => {
            Doubt::default()
        }
    };
    // Where histories are asked for, a batch is smaller (`hubspot/api-facts.md#3`).
    let size = match doubt.is_none() {
        true => BATCH,
        false => BATCH_WITH_HISTORY,
    };
    let chunks = due.chunks(size).map(|due| Together {
        entries: due.to_vec(),
        late: 0,
    });
    let mut batches: Vec<Together> = chunks.collect();
    let trying = Trying {
        engine,
        object,
        operation,
        priority,
        doubt,
    };
    while let Some(batch) = batches.pop() {
        let late = trying.once(&batch).await?;
        batches.extend(late.into_iter().filter_map(|late| batch.again(&late)));
    }
    Ok(())
}

/// What all tries of a step share.
struct Trying<'a> {
    engine: &'a Engine,
    object: &'a ObjectSync,
    operation: Operation,
    priority: Priority,
    doubt: Doubt,
}

impl Trying<'_> {
    /// One try. What came too late before is read once more behind its claim: where the claim itself takes longer than a read
    /// stays fresh (a slow disk, a program that takes the lock again and again, a row of many megabytes) no read before
    /// it can be young enough. Records that the second read shows otherwise are left to the next try.
    async fn once(&self, batch: &Together) -> Result<Vec<Late>, StepError> {
        let (engine, object) = (self.engine, self.object);
        let (asked_at, entries) = (engine.now(), batch.entries.clone());
        let (reread, present) = self.read(batch).await?;
        let shown = (batch.late > 0).then(|| present.clone());
        let (claimed, claimed_at) = match self.operation {
            Operation::Archive => archive::claim_all(engine, object, entries, present).await?,
            Operation::Create
            | Operation::Update
            | Operation::Associate
            | Operation::Disassociate => {
                claim_updates(engine, object, entries, present, asked_at).await?
            }
        };
        let Some(shown) = shown.filter(|_| !claimed.is_empty()) else {
            return self.settle(Ground { reread, claimed_at }, claimed).await;
        };
        drop(reread);
        let (reread, present) = match self.read(batch).await {
            Ok(read) => read,
            // Nothing was sent: an entry that stayed in flight would count as one whose answer was lost.
            Err(error) => {
                unclaim(self.sending(None), claimed_at, claimed).await?;
                return Err(error);
            }
        };
        let (same, other): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|sent| {
            let id = batch.id_of(sent);
            id.is_some_and(|id| shown.of(id) == present.of(id) && !present.is_unread(id))
        });
        if !other.is_empty() {
            unclaim(self.sending(None), claimed_at, other).await?;
        }
        self.settle(Ground { reread, claimed_at }, same).await
    }

    async fn read(&self, batch: &Together) -> Result<(Reread, Present), StepError> {
        let reread = self.engine.client.begin_reread(self.priority).await?;
        let present = reread_records(
            self.engine,
            self.object,
            &batch.ids(),
            self.priority,
            &reread,
            &self.doubt,
        )
        .await?;
        Ok((reread, present))
    }

    async fn settle(&self, ground: Ground, claimed: Vec<Sent>) -> Result<Vec<Late>, StepError> {
        settle_batch(self.sending(Some(&ground)), claimed).await
    }

    fn sending<'g>(&'g self, ground: Option<&'g Ground>) -> Sending<'g> {
        Sending {
            engine: self.engine,
            object: self.object,
            operation: self.operation,
            priority: self.priority,
            ground,
        }
    }
}
