//! What keeps failing of one object, for `sync_status.last_error`.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::decide::round::Task;
use crate::engine::Engine;
use crate::model::name::ObjectType;
use crate::store::{Lane, cursors};

/// What keeps failing of one object, by task: what one of them does well ends no error of another.
#[derive(Debug, Default)]
pub(super) struct Errors(Mutex<Failing>);

#[derive(Debug, Default)]
struct Failing {
    by_task: BTreeMap<Task, String>,
    told: ToldErrors,
}

/// What `sync_status` says of an object's errors.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum ToldErrors {
    /// What the last run left there.
    #[default]
    Former,
    /// None.
    Well,
    /// These words.
    Failing(String),
}

impl Errors {
    /// How a task's step ended. Gives what is to be told, where that is news.
    pub(super) fn note(&self, task: Task, explanation: Option<String>) -> Option<ToldErrors> {
        let mut failing = self.0.lock();
        match explanation {
            Some(explanation) => drop(failing.by_task.insert(task, explanation)),
            None => drop(failing.by_task.remove(&task)),
        }
        let explanation: BTreeSet<&str> = failing.by_task.values().map(String::as_str).collect();
        let explanation = explanation.into_iter().collect::<Vec<_>>().join("; ");
        let all = match explanation.as_str() {
            "" => ToldErrors::Well,
            _ => ToldErrors::Failing(explanation),
        };
        let is_news = failing.told != all;
        failing.told = all.clone();
        is_news.then_some(all)
    }
}

/// Keeps the words of an object's errors where `sync_status` shows them, and forgets them when they are over.
pub(super) async fn write_down(engine: &Engine, name: &ObjectType, told: ToldErrors) {
    let name = name.clone();
    let explanation = match told {
        ToldErrors::Former | ToldErrors::Well => None,
        ToldErrors::Failing(explanation) => Some(explanation),
    };
    let noted = engine
        .store()
        .write(Lane::Bulk, move |tx| {
            cursors::set_error(tx, &name, explanation.as_deref())
        })
        .await;
    if let Err(failed) = noted {
        tracing::warn!(error = %failed, code = failed.code(), "the last error could not be noted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_task_does_well_ends_no_error_of_another() {
        let errors = Errors::default();
        let said = |explanation: &str| Some(explanation.to_owned());
        let told = |explanation: &str| Some(ToldErrors::Failing(explanation.to_owned()));
        assert_eq!(
            errors.note(Task::Inbound, None),
            Some(ToldErrors::Well),
            "over"
        );
        assert_eq!(errors.note(Task::Inbound, None), None);
        assert_eq!(errors.note(Task::Push, said("refused")), told("refused"));
        assert_eq!(errors.note(Task::Inbound, None), None);
        assert_eq!(errors.note(Task::Push, said("refused")), None);
        assert_eq!(
            errors.note(Task::Reads, said("lost")),
            told("lost; refused")
        );
        assert_eq!(errors.note(Task::Push, None), told("lost"));
        assert_eq!(errors.note(Task::Reads, None), Some(ToldErrors::Well));
    }
}
