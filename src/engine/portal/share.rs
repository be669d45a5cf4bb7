//! Room for a command that asks HubSpot beside the daemon: as long as one has a lease in the database, its share of the windows
//! is left free; and it is told once what was sent before leaves it free.

use crate::engine::{Engine, StepError};
use crate::store::Lane;
use crate::store::quota::command;

/// Looks whether a command has asked.
pub async fn step(engine: &Engine) -> Result<(), StepError> {
    let now = engine.now();
    let wanted = engine
        .store
        .read(move |connection| command::wanted(connection, now))
        .await?;
    let is_free = engine.client.limiter().leave_share(wanted.is_left);
    let Some(id) = wanted.waiting.filter(|_| is_free) else {
        return Ok(());
    };
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            command::grant(tx, id, tx.now())
        })
        .await?;
    Ok(())
}
