//! What keeps failing of one object, for `sync_status.last_error`.

use std::collections::BTreeMap;

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
    by_task: BTreeMap<Task, KnownError>,
    told: ToldErrors,
}

/// The words of an error, and its code.
pub(super) type KnownError = (String, &'static str);

/// What `sync_status` says of an object's errors.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum ToldErrors {
    /// What the last run left there.
    #[default]
    Former,
    /// None.
    Well,
    /// These words, and the code of the first.
    Failing(String, &'static str),
}

impl Errors {
    /// How a task's step ended. Gives what is to be told, where that is news.
    pub(super) fn note(&self, task: Task, error: Option<KnownError>) -> Option<ToldErrors> {
        let mut failing = self.0.lock();
        match error {
            Some(error) => drop(failing.by_task.insert(task, error)),
            None => drop(failing.by_task.remove(&task)),
        }
        let errors = failing.by_task.values();
        let errors: BTreeMap<&str, &'static str> = errors
            .map(|(explanation, code)| (explanation.as_str(), *code))
            .collect();
        let all = match errors.values().next() {
            None => ToldErrors::Well,
            Some(code) => {
                let words = errors.keys().copied().collect::<Vec<_>>();
                ToldErrors::Failing(words.join("; "), code)
            }
        };
        let is_news = failing.told != all;
        failing.told = all.clone();
        is_news.then_some(all)
    }
}

/// Keeps the words of an object's errors where `sync_status` shows them, and forgets them when they are over.
pub(super) async fn write_down(engine: &Engine, name: &ObjectType, told: ToldErrors) {
    let name = name.clone();
    let failing = match told {
        ToldErrors::Former | ToldErrors::Well => None,
        ToldErrors::Failing(explanation, code) => Some((explanation, code)),
    };
    let noted = engine
        .store()
        .write(Lane::Bulk, move |tx| {
            let failing = failing.as_ref();
            let failing = failing.map(|(explanation, code)| (explanation.as_str(), Some(*code)));
            cursors::set_error(tx, &name, failing)
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
        let said = |explanation: &str| {
            let code = if explanation == "lost" {
                "connection-lost"
            } else {
                "refused"
            };
            Some((explanation.to_owned(), code))
        };
        let told = |explanation: &str| {
            let code = if explanation.starts_with("lost") {
                "connection-lost"
            } else {
                "refused"
            };
            Some(ToldErrors::Failing(explanation.to_owned(), code))
        };
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
