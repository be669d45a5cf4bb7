//! What is in force of the mapping file: one value for the tasks and one for the engine's steps, both made of it here. Whoever
//! goes by them looks when a step begins, so that they can be exchanged while the tasks run.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Config, PollSettings};
use crate::engine::{Engine, Settings};
use crate::model::id::PortalId;
use crate::store::retention::Keep;

/// What the tasks go by.
#[derive(Debug, Clone)]
pub struct TaskSettings {
    /// When HubSpot is asked.
    pub poll: PollSettings,
    /// What is forgotten, and when.
    pub keep: Keep,
}

impl From<&Config> for TaskSettings {
    fn from(config: &Config) -> Self {
        Self {
            poll: config.poll.clone(),
            keep: Keep {
                history: config.retention.history,
                inbox: config.retention.inbox,
                runs: config.retention.runs,
                max_bytes: config.retention.max_size,
            },
        }
    }
}

/// What the engine's steps go by. `portal` is the one that the file names.
pub(super) fn of_engine(config: &Config, portal: Option<PortalId>) -> Settings {
    let relaxed = config.poll.poll_with_webhooks;
    Settings {
        portal,
        overlap: config.poll.overlap,
        again: config.poll.again.clone(),
        guard: config.guard,
        relaxed_poll: config.webhooks.is_some().then_some(relaxed),
        associations: config.poll.associations,
    }
}

/// The tasks' settings at this moment, shared by all of them.
#[derive(Debug, Clone)]
pub struct InForce(Arc<watch::Sender<Arc<TaskSettings>>>);

impl InForce {
    /// These, until they are exchanged.
    pub fn new(settings: TaskSettings) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(settings))))
    }

    /// Those of this moment.
    pub fn now(&self) -> Arc<TaskSettings> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts those of another file in force, for the tasks and for the engine's steps. The portal stays. What a task was made
    /// with, such as its interval, it learns when it is started again.
    pub fn exchange(&self, engine: &Engine, config: &Config) {
        let portal = engine.settings().portal;
        engine.exchange_settings(of_engine(config, portal));
        self.0.send_replace(Arc::new(TaskSettings::from(config)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config;
    use crate::engine::desk::Desk;

    #[test]
    fn another_file_is_in_force_for_whoever_looks_next_and_not_for_a_step_that_runs() {
        let Desk { engine, folder, .. } = Desk::new(0);
        let path = folder.path().join("config.toml");
        let read = |overlap: &str, history: &str| {
            let text = format!(
                "[schedule]\noverlap = \"{overlap}\"\n[retention]\nhistory = \"{history}\"\n[objects.contacts]\n"
            );
            std::fs::write(&path, text).expect("is written");
            config::load(&path).expect("is a mapping file")
        };
        let in_force = InForce::new(TaskSettings::from(&read("15s", "90d")));
        let task = in_force.clone();
        let of_a_step = (task.now(), engine.settings());
        in_force.exchange(&engine, &read("20s", "30d"));
        let days = |days: u64| Duration::from_hours(24 * days);
        assert_eq!(of_a_step.0.keep.history, days(90));
        assert_eq!(task.now().keep.history, days(30));
        assert_eq!(of_a_step.1.overlap, Duration::from_secs(15));
        assert_eq!(engine.settings().overlap, Duration::from_secs(20));
    }
}
