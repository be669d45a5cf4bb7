//! Why a changed mapping file is not in force, in the words of `sync_health.config_error` and of the log.

use crate::app::client::ClientError;
use crate::config::{ConfigError, Severity};
use crate::daemon::build::StartError;
use crate::daemon::run::RunError;
use crate::daemon::tasks::with_causes;
use crate::engine::StepError;

/// Why a changed file is not in force: every mistake.
#[derive(Debug)]
pub(super) struct FileRefused {
    mistakes: Vec<FileMistake>,
}

/// One of them.
#[derive(Debug, Default)]
struct FileMistake {
    place: Option<String>,
    key: Option<String>,
    code: Option<&'static str>,
    explanation: String,
    hint: Option<String>,
}

impl std::fmt::Display for FileMistake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(formatter, "{place}: {}", self.explanation),
            None => formatter.write_str(&self.explanation),
        }
    }
}

impl FileRefused {
    /// One that is told in a sentence alone.
    pub(super) fn because(explanation: String) -> Self {
        Self {
            mistakes: vec![FileMistake {
                explanation,
                ..FileMistake::default()
            }],
        }
    }

    /// All of them in a sentence, and the code of the first that has one.
    pub(super) fn told(&self) -> (String, Option<&'static str>) {
        let told = self.mistakes.iter().map(FileMistake::to_string);
        let told: Vec<String> = told.collect();
        let code = self.mistakes.iter().find_map(|mistake| mistake.code);
        (told.join("; "), code)
    }

    /// Logs each of them.
    pub(super) fn log(&self) {
        for mistake in &self.mistakes {
            let FileMistake {
                place,
                key,
                code,
                explanation,
                hint,
            } = mistake;
            tracing::error!(place, key, code, hint, "{explanation}");
        }
        tracing::error!("the changed mapping file is not in force; what was in force stays so");
    }

    fn of(error: &dyn std::error::Error, code: Option<&'static str>, hint: Option<String>) -> Self {
        Self {
            mistakes: vec![FileMistake {
                code,
                explanation: with_causes(error),
                hint,
                ..FileMistake::default()
            }],
        }
    }
}

impl From<ConfigError> for FileRefused {
    fn from(error: ConfigError) -> Self {
        let ConfigError::Invalid(report) = error else {
            return Self::of(&error, error.code(), error.hint());
        };
        let errors = report.problems.into_iter();
        let errors = errors.filter(|problem| problem.severity == Severity::Error);
        Self {
            mistakes: errors
                .map(|problem| FileMistake {
                    place: (!problem.is_unreadable()).then(|| {
                        let file = problem.file.file_name().unwrap_or_default();
                        let file = file.to_string_lossy();
                        format!("{file}:{}:{}", problem.line, problem.column)
                    }),
                    key: Some(problem.key).filter(|key| !key.is_empty()),
                    code: Some(problem.code),
                    explanation: problem.message,
                    hint: Some(problem.hint),
                })
                .collect(),
        }
    }
}

impl From<RunError> for FileRefused {
    fn from(error: RunError) -> Self {
        Self::of(&error, error.code(), error.hint())
    }
}

impl From<ClientError> for FileRefused {
    fn from(error: ClientError) -> Self {
        RunError::from(StartError::from(error)).into()
    }
}

impl From<StepError> for FileRefused {
    fn from(error: StepError) -> Self {
        RunError::from(error).into()
    }
}
