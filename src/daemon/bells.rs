//! The doorbells: a ring shortens a wait, and says no more than that there is something to look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::daemon::condition::Condition;

/// What a loop waits for besides time. Who rings which is told by `daemon/table.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bell {
    /// Local changes may wait.
    Push,
    /// Records may be asked for, or be gone.
    Reads,
    /// Events were stored.
    Inbox,
    /// Something changed in HubSpot that nobody announced.
    Inbound,
    /// Somebody may have logged in.
    Logins,
    /// Somebody may have decided.
    Decisions,
    /// Associations may be asked for.
    Links,
    /// Something was pushed.
    Looks,
    /// Columns may be there whose values are to be read.
    Filling,
    /// The mapping file says otherwise.
    Settings,
    /// The daemon is doing otherwise.
    Health,
}

impl Bell {
    const ALL: [Self; 11] = [
        Self::Push,
        Self::Reads,
        Self::Inbox,
        Self::Inbound,
        Self::Logins,
        Self::Decisions,
        Self::Links,
        Self::Looks,
        Self::Filling,
        Self::Settings,
        Self::Health,
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Reads => "reads",
            Self::Inbox => "inbox",
            Self::Inbound => "inbound",
            Self::Logins => "logins",
            Self::Decisions => "decisions",
            Self::Links => "links",
            Self::Looks => "looks",
            Self::Filling => "filling",
            Self::Settings => "settings",
            Self::Health => "health",
        }
    }
}

/// Whom a commit of another program calls.
pub const AFTER_A_COMMIT: [Bell; 3] = [Bell::Push, Bell::Decisions, Bell::Logins];

/// One bell: it counts, so that whoever has looked away knows whether it was rung meanwhile.
#[derive(Debug, Default)]
pub struct Ring {
    rings: AtomicU64,
    call: Notify,
}

impl Ring {
    /// Rings for all who wait.
    pub fn ring(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        self.call.notify_waiters();
    }

    /// How often it was rung.
    pub fn rings(&self) -> u64 {
        self.rings.load(Ordering::SeqCst)
    }

    /// Waits until it was rung more often than that.
    pub async fn after(&self, heard: u64) {
        loop {
            // Registered before the look, so that no ring in between is lost.
            let call = self.call.notified();
            tokio::pin!(call);
            call.as_mut().enable();
            if self.rings() != heard {
                return;
            }
            call.await;
        }
    }
}

/// All bells of a daemon.
#[derive(Debug, Clone)]
pub struct Bells {
    all: [Arc<Ring>; Bell::ALL.len()],
}

impl Bells {
    /// Silent bells; the condition rings its own.
    pub fn new(condition: &Condition) -> Self {
        Self {
            all: Bell::ALL.map(|bell| {
                if bell == Bell::Health {
                    condition.changed()
                } else {
                    Arc::default()
                }
            }),
        }
    }

    /// One of them.
    pub fn of(&self, bell: Bell) -> &Arc<Ring> {
        &self.all[bell as usize]
    }

    /// The one that a task waits for; silence where it waits for none.
    pub(super) fn of_line(&self, bell: Option<Bell>) -> Arc<Ring> {
        bell.map_or_else(Arc::default, |bell| Arc::clone(self.of(bell)))
    }

    /// Rings all: what everybody goes by is another than before.
    pub(super) fn ring_all(&self) {
        self.ring(&Bell::ALL);
    }

    /// Rings some of them.
    pub fn ring(&self, bells: &[Bell]) {
        for bell in bells {
            self.of(*bell).ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_ring_is_heard_before_and_while_somebody_waits() {
        let ring = Ring::default();
        let heard = ring.rings();
        assert!(ring.after(heard).now_or_never().is_none());
        ring.ring();
        assert!(ring.after(heard).now_or_never().is_some(), "before");
        let heard = ring.rings();
        let mut waits = Box::pin(ring.after(heard));
        assert!(waits.as_mut().now_or_never().is_none());
        ring.ring();
        assert!(waits.now_or_never().is_some(), "while");
    }

    #[test]
    fn each_bell_is_its_own() {
        let condition = Condition::default();
        let bells = Bells::new(&condition);
        bells.ring(&AFTER_A_COMMIT);
        condition.changed().ring();
        let rung: Vec<&str> = Bell::ALL
            .iter()
            .filter(|bell| bells.of(**bell).rings() > 0)
            .map(|bell| bell.as_str())
            .collect();
        assert_eq!(rung, ["push", "logins", "decisions", "health"]);
    }
}
