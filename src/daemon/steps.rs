//! What each step of the round calls in the engine. Tasks and `once` call them here and nowhere else.

use crate::decide::round::{Step, Task};
use crate::engine::inbound::removal;
use crate::engine::outbound::gap::{self, Looks};
use crate::engine::outbound::push;
use crate::engine::people::resolve;
use crate::engine::portal::access::{self, Access, TO_PUSH, TO_READ};
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::schema;
use crate::engine::source::{backfill, filling, ingest, poll, reads, reconcile};
use crate::engine::{Engine, Progress, StepError};

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
    caller: Caller,
) -> Result<Progress, StepError> {
    let work = of_object(engine, object, step, caller);
    access::within(engine, object.object(), needs(step.task()), work).await
}

/// Calls a step of an object.
pub(super) async fn of_object(
    engine: &Engine,
    object: &ObjectSync,
    step: Step,
    caller: Caller,
) -> Result<Progress, StepError> {
    match step {
        Step::FirstRead => backfill::step(engine, object).await,
        Step::Filling => filling::step(engine, object).await,
        Step::Comparison => reconcile::step(engine, object).await,
        Step::Poll => match caller {
            Caller::Daemon => poll::step(engine, object).await,
            // A daemon polls again and compares beside it.
            Caller::Once => poll::step_or_compare(engine, object).await,
        },
        Step::Again(index) => match engine.again().get(index) {
            Some(delay) => poll::step_again(engine, object, *delay).await,
            None => Ok(Progress::RING),
        },
        Step::Reads => reads::step(engine, object).await,
        Step::Removals => removal::step(engine, object).await,
        Step::Push => push::step(engine, object).await,
        Step::Looks => {
            let which = match caller {
                Caller::Daemon => Looks::Due,
                // Nobody waits for more of it.
                Caller::Once => Looks::Collected,
            };
            gap::step(engine, object, which).await
        }
        Step::Schema | Step::Reference | Step::Decisions | Step::Inbox => {
            shared(engine, step).await
        }
    }
}

/// Calls a step that belongs to no object.
pub(super) async fn shared(engine: &Engine, step: Step) -> Result<Progress, StepError> {
    match step {
        Step::Schema => match schema::refresh(engine).await?.soon {
            Some(error) => Err(error.into()),
            None => Ok(Progress::RING),
        },
        Step::Reference => {
            schema::refresh_reference(engine).await?;
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
        | Step::Looks => Ok(Progress::RING),
    }
}
