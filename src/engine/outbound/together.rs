//! Entries that are read, claimed and sent together: updates, and archives. A write rests on a read that is at most a second
//! old (`decide/outgoing/gap`); what has grown older meanwhile is read again.

use crate::decide::outgoing::batch::Together;
use crate::decide::outgoing::present::Present;
use crate::engine::outbound::archive;
use crate::engine::outbound::present::{Doubt, reread_records};
use crate::engine::outbound::push::claim_updates;
use crate::engine::outbound::sending::{Ground, Sending};
use crate::engine::outbound::settle::{settle_batch, unclaim};
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, StepError};
use crate::hubspot::{Priority, Reread};
use crate::model::attempt::{Late, Sent};
use crate::model::entry::{Entry, Operation};
use crate::store::measured::working;

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
    let mut batches = Together::all(&due, !doubt.is_none());
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
        let (same, other): (Vec<_>, Vec<_>) = claimed
            .into_iter()
            .partition(|sent| batch.is_shown_alike(sent, &shown, &present));
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
        working("settle", settle_batch(self.sending(Some(&ground)), claimed)).await
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
