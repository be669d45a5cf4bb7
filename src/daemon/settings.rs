//! What is in force of the mapping file, for the tasks and for the engine's steps: one value, made of the file here. Whoever goes by
//! it looks when a step begins, so that it can be exchanged while the tasks run, and a task never goes by another file than its steps.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Config, PollSettings};
use crate::engine::{Engine, Settings, SettingsSource};
use crate::model::id::PortalId;
use crate::store::calls::ring::KeepCalls;
use crate::store::retention::Keep;

/// What the tasks go by.
#[derive(Debug, Clone)]
pub struct TaskSettings {
    /// When HubSpot is asked.
    pub poll: PollSettings,
    /// What is forgotten, and when.
    pub keep: Keep,
    /// The same of `sync_calls`.
    pub keep_calls: KeepCalls,
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
            keep_calls: KeepCalls {
                calls: config.retention.calls,
                errors: config.retention.call_errors,
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

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct FileSettings {
    /// What the tasks go by.
    pub(crate) tasks: TaskSettings,
    /// What the engine's steps go by.
    pub(crate) steps: Arc<Settings>,
}

/// The settings at this moment, shared by all tasks and by the engine.
#[derive(Debug, Clone)]
pub struct InForce(Arc<watch::Sender<Arc<FileSettings>>>);

impl InForce {
    /// These for the tasks, and for an engine's steps those that it was made with, until both are exchanged.
    pub fn of(engine: &Engine, tasks: TaskSettings) -> Self {
        let steps = engine.settings();
        let own = Self(Arc::new(watch::Sender::new(Arc::new(FileSettings {
            tasks,
            steps,
        }))));
        let seen = own.clone();
        engine.go_by(SettingsSource::new(move || Arc::clone(&seen.now().steps)));
        own
    }

    /// Those of this moment.
    pub(crate) fn now(&self) -> Arc<FileSettings> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts those of another file in force. The portal stays. What a task was made with, such as its interval, it learns when
    /// it is started again.
    pub fn exchange(&self, config: &Config) {
        let portal = self.now().steps.portal;
        self.0.send_replace(Arc::new(FileSettings {
            tasks: TaskSettings::from(config),
            steps: Arc::new(of_engine(config, portal)),
        }));
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
        let in_force = InForce::of(&engine, TaskSettings::from(&read("15s", "90d")));
        in_force.exchange(&read("15s", "90d"));
        let task = in_force.clone();
        let of_a_step = (task.now(), engine.settings());
        in_force.exchange(&read("20s", "30d"));
        let days = |days: u64| Duration::from_hours(24 * days);
        assert_eq!(of_a_step.0.tasks.keep.history, days(90));
        assert_eq!(task.now().tasks.keep.history, days(30));
        assert_eq!(of_a_step.1.overlap, Duration::from_secs(15));
        assert_eq!(engine.settings().overlap, Duration::from_secs(20));
        assert!(
            Arc::ptr_eq(&engine.settings(), &task.now().steps),
            "one value"
        );
    }
}
