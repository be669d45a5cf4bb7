//! What each step of the round calls in the engine. Tasks and `once` call them here and nowhere else.

use crate::decide::round::{Step, Task};
use crate::engine::decisions::resolve;
use crate::engine::inbound::removal;
use crate::engine::outbound::gap::{self, Looks};
use crate::engine::outbound::push;
use crate::engine::portal::access::{self, Access, TO_PUSH, TO_READ};
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::{reference, schema};
use crate::engine::source::{backfill, filling, histories, ingest, links, poll, reads, reconcile};
use crate::engine::{Engine, Progress, StepEnd, StepError};
use crate::store::measured::working;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// A daemon, which comes again.
    Daemon,
    /// A run that ends.
    Once,
}

/// What an object's task needs of the token.
pub(super) fn needs(task: Task) -> &'static [Access] {
    if task == Task::Push { TO_PUSH } else { TO_READ }
}

/// Calls a step of an object, unless that waits for a scope.
pub(super) async fn within(
    engine: &Engine,
    object: &ObjectSync,
    step: Step,
    (caller, ends): (Caller, &StepEnd),
) -> Result<Progress, StepError> {
    let work = of_object(engine, object, step, (caller, ends));
    access::within(engine, object.object(), needs(step.task()), work).await
}

/// Calls a step of an object.
pub(super) async fn of_object(
    engine: &Engine,
    object: &ObjectSync,
    step: Step,
    (caller, ends): (Caller, &StepEnd),
) -> Result<Progress, StepError> {
    engine.begins_step();
    let done = async {
        match step {
            Step::FirstRead => backfill::step(engine, object, ends).await,
            Step::Filling => filling::step(engine, object).await,
            Step::Comparison => reconcile::step(engine, object, ends).await,
            Step::Poll => match caller {
                Caller::Daemon => poll::step(engine, object).await,
                // A daemon polls again and compares beside it.
                Caller::Once => poll::step_or_compare(engine, object, ends).await,
            },
            Step::Again(index) => match engine.again().get(index) {
                Some(delay) => poll::step_again(engine, object, *delay).await,
                None => Ok(Progress::RING),
            },
            Step::Reads => reads::step(engine, object).await,
            Step::Removals => removal::step(engine, object).await,
            Step::Push => push::step(engine, object).await,
            Step::Links => links::step(engine, object).await,
            Step::Looks => gap::step(engine, object, looks(caller)).await,
            Step::Histories => histories::step(engine, object, looks(caller)).await,
            Step::Schema | Step::Reference | Step::Decisions | Step::Inbox => {
                shared(engine, step).await
            }
        }
    };
    working(step.work(), done).await
}

fn looks(caller: Caller) -> Looks {
    match caller {
        Caller::Daemon => Looks::Due,
        // Nobody waits for more of it.
        Caller::Once => Looks::Collected,
    }
}

/// Calls a step that belongs to no object.
pub(super) async fn shared(engine: &Engine, step: Step) -> Result<Progress, StepError> {
    engine.begins_step();
    let done = async {
        match step {
            Step::Schema => match schema::refresh(engine).await?.soon {
                Some(error) => Err(error.into()),
                None => Ok(Progress::RING),
            },
            Step::Reference => {
                reference::refresh(engine).await?;
                Ok(Progress::RING)
            }
            Step::Decisions => resolve::step(engine).await,
            Step::Inbox => ingest::step(engine).await,
            Step::FirstRead
            | Step::Filling
            | Step::Comparison
            | Step::Poll
            | Step::Again(_)
            | Step::Reads
            | Step::Removals
            | Step::Push
            | Step::Links
            | Step::Looks
            | Step::Histories => Ok(Progress::RING),
        }
    };
    working(step.work(), done).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::{Desk, failure, run};
    use crate::store::testing::daemons_connection;

    /// The steps that a daemon calls at each ring, in a file that nothing waits in.
    const OFTEN: [Step; 7] = [
        Step::Inbox,
        Step::Decisions,
        Step::Reads,
        Step::Removals,
        Step::Push,
        Step::Looks,
        Step::Histories,
    ];

    #[test]
    fn a_step_that_finds_nothing_to_do_waits_for_no_other_write() {
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        let other = daemons_connection(&desk.folder);
        let call = |step| {
            let by = (Caller::Daemon, &StepEnd::never());
            run(of_object(&desk.engine, &contacts, step, by))
        };
        other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        for step in OFTEN {
            let done = call(step);
            assert!(
                matches!(done, Ok(Progress::Idle { .. })),
                "{step:?}: {done:?}"
            );
        }
        // One that finds something needs the lock.
        other
            .execute_batch(
                "INSERT INTO _sync_removals (object, hs_id, origin, seen_at) VALUES ('contacts', 101, 'poll', '2026-11-24T03:10:00.000Z');
                 COMMIT;
                 BEGIN IMMEDIATE",
            )
            .expect("a removal");
        let explanation = failure(call(Step::Removals));
        assert!(explanation.contains("busy"), "{explanation}");
    }
}
