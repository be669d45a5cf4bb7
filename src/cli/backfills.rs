//! Shows how far the first full reads are, while `run` and `once` work.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::progress::{Lines, Screen, WorkProgress, WorkSnapshot};
use crate::clock::Clock;
use crate::store::{Store, cursors};

/// Time between two looks at the cursors.
const LOOK: Duration = Duration::from_millis(500);

/// Shows progress until it is dropped. What can't be read or written is left out: it is only a view.
pub async fn show(store: Store, clock: Arc<dyn Clock>, screen: Screen, lines: Lines) {
    let mut progress = WorkProgress::new(screen, lines, Arc::clone(&clock));
    loop {
        let Ok(backfills) = store.read(cursors::backfills).await else {
            return;
        };
        let snapshots: Vec<WorkSnapshot> = backfills
            .into_iter()
            .map(|backfill| WorkSnapshot {
                object: backfill.object,
                done: backfill.rows,
                total: backfill.total,
                finished: backfill.done,
            })
            .collect();
        if progress.update(&snapshots, &mut io::stderr()).is_err() {
            return;
        }
        clock.sleep(LOOK).await;
    }
}
