//! What a command asks of HubSpot, written into `sync_calls` where there is a database. It sends nothing itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::hubspot::Client;
use crate::store::calls::{CallBook, TakenCalls};
use crate::store::tokens::beside_the_daemon;

/// A call stands in its row after this at the latest.
const WRITTEN: Duration = Duration::from_secs(1);

/// A command's calls: they are written while it works, and the last of them when this is dropped.
pub(crate) struct CommandCalls {
    pages: Pages,
    writing: JoinHandle<()>,
}

#[derive(Clone)]
struct Pages {
    book: CallBook,
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

impl CommandCalls {
    /// Keeps what a client sends from here on.
    pub(crate) fn of(client: &Client, path: &Path, clock: &Arc<dyn Clock>) -> Self {
        let pages = Pages {
            book: CallBook::default(),
            path: path.to_owned(),
            clock: Arc::clone(clock),
        };
        client.tell_calls(pages.book.clone());
        let own = pages.clone();
        let writing = tokio::spawn(async move {
            loop {
                own.clock.sleep(WRITTEN).await;
                own.write();
            }
        });
        Self { pages, writing }
    }

    /// Writes down what was sent so far, where that is possible; tells how many calls are left.
    pub(crate) fn write(&self) -> u64 {
        self.pages.write();
        self.pages.book.len()
    }
}

impl Drop for CommandCalls {
    fn drop(&mut self) {
        self.writing.abort();
        self.pages.write();
    }
}

impl Pages {
    fn write(&self) {
        if self.book.is_empty() || !self.path.exists() {
            return;
        }
        let written = beside_the_daemon(&self.path, &self.clock, |tx| self.book.write_all(tx));
        match written {
            Ok(written) => written.into_iter().for_each(TakenCalls::are_written),
            // What was asked for matters more than that it is told.
            Err(error) => {
                tracing::debug!(%error, "a command's calls could not be written down");
            }
        }
    }
}
