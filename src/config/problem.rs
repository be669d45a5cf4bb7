//! `Problem`: one mistake in the mapping file with its place and its remedy; `Report`: all of them, for people and as
//! JSON.
//!
//! No text of a problem holds a secret: what looks like one is taken out when the problem is made, and excerpts are cut
//! from a text that was masked (promise 10).

use std::fmt;
use std::io::IsTerminal as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::config::source::{FileSource, without_mark};

/// How much a problem weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// The file works, and somebody may want to look at it.
    Warning,
}

/// A mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Its weight.
    pub severity: Severity,
    /// A stable short name of the kind of mistake (`unknown-key`).
    pub code: &'static str,
    /// The file, as it was given.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The key's dotted path (`objects.contacts.properties.email`); empty where no key is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead, beginning with a verb.
    pub hint: String,
    /// The offending text, in bytes of the file.
    #[serde(skip)]
    pub span: Range<usize>,
}

impl Problem {
    /// Whether the file could not be opened: no place in it is meant.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.code == UNREADABLE
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            hint,
            ..
        } = self;
        write!(
            formatter,
            "{}:{line}:{column}: {message} (hint: {hint})",
            file.display()
        )
    }
}

/// How a report is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawing {
    /// Letters only.
    Plain,
    /// With colours, for a terminal.
    Coloured,
}

impl Drawing {
    /// Colours where standard output is a terminal, unless `NO_COLOR` is set (no-color.org).
    pub(crate) fn of_stdout() -> Self {
        match std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            true => Self::Coloured,
            false => Self::Plain,
        }
    }
}

/// The problems of a file in the file's order, with what excerpts need.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The problems.
    pub problems: Vec<Problem>,
    /// The file's text, secrets replaced by stars.
    masked: String,
}

/// The code of a file that could not be opened: no place in it is meant.
pub(crate) const UNREADABLE: &str = "unreadable";

/// Problems that are drawn: more than anybody reads at once.
const MOST_DRAWN: usize = 100;

/// Lines and bytes of an excerpt, so that a runaway string doesn't fill the screen.
const MOST_EXCERPT_LINES: usize = 4;
const MOST_EXCERPT_BYTES: usize = 2000;

impl Report {
    /// The report of a file that could be read. `secrets` are places of secrets that were written in clear.
    pub(crate) fn new(
        source: &FileSource,
        secrets: &[Range<usize>],
        mut problems: Vec<Problem>,
    ) -> Self {
        problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
        problems.dedup();
        let masked = if problems.is_empty() {
            String::new()
        } else {
            source.masked(secrets)
        };
        Self {
            file: source.path.clone(),
            problems,
            masked,
        }
    }

    /// The report of a file that could not be read.
    pub(crate) fn unreadable(path: &Path, problem: Problem) -> Self {
        Self {
            file: path.to_owned(),
            problems: vec![problem],
            masked: String::new(),
        }
    }

    /// Whether the file can be used.
    pub fn is_ok(&self) -> bool {
        self.count(Severity::Error) == 0
    }

    /// How many problems of a weight there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    }

    /// The report for people: each problem with the offending text underlined, then a line that counts them.
    pub(crate) fn render(&self, drawing: Drawing) -> String {
        let renderer = match drawing {
            Drawing::Plain => Renderer::plain(),
            Drawing::Coloured => Renderer::styled(),
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for problem in self.problems.iter().take(MOST_DRAWN) {
            text.push_str(&renderer.render(&[self.group(problem)]));
            text.push_str("\n\n");
        }
        text.push_str(&self.summary());
        text
    }

    /// The report as `check --json` prints it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": self.is_ok(), "problems": self.problems })
    }

    fn summary(&self) -> String {
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let counted = |count: usize, word: &str| {
            format!("{count} {word}{}", if count == 1 { "" } else { "s" })
        };
        let mut parts = Vec::new();
        if errors > 0 {
            parts.push(counted(errors, "error"));
        }
        if warnings > 0 {
            parts.push(counted(warnings, "warning"));
        }
        if parts.is_empty() {
            parts.push("no mistakes".to_owned());
        }
        let more = self.problems.len().saturating_sub(MOST_DRAWN);
        let more = if more > 0 {
            format!(" ({more} not shown)")
        } else {
            String::new()
        };
        format!("{} in `{}`{more}", parts.join(", "), self.file.display())
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&problem.message).id(problem.code));
        let path = problem.file.display().to_string();
        if let Some((excerpt, span)) = self.excerpt(problem) {
            group = group.element(
                Snippet::source(excerpt)
                    .path(path)
                    .line_start(problem.line)
                    .annotation(AnnotationKind::Primary.span(span)),
            );
        } else if problem.code != UNREADABLE {
            // An empty line, or a text that can't be shown, has a place all the same.
            let place = Origin::path(path)
                .line(problem.line)
                .char_column(problem.column);
            group = group.element(place);
        }
        group.element(Level::HELP.message(&problem.hint))
    }

    /// The lines of a problem's place, and the place within them.
    fn excerpt(&self, problem: &Problem) -> Option<(&str, Range<usize>)> {
        let start = self.masked.floor_char_boundary(problem.span.start);
        let line_start = self.masked[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.masked.floor_char_boundary(problem.span.end.max(start));
        let rest = &self.masked[end..];
        let lines = &self.masked[line_start..end + rest.find('\n').unwrap_or(rest.len())];
        let mark = lines.len() - without_mark(lines).len();
        let (lines, line_start) = (&lines[mark..], line_start + mark);
        let (start, end) = (start.max(line_start), end.max(line_start));
        let length = lines
            .match_indices('\n')
            .nth(MOST_EXCERPT_LINES - 1)
            .map_or(lines.len(), |(at, _)| at);
        let lines = &lines[..lines.floor_char_boundary(length.min(MOST_EXCERPT_BYTES))];
        let (from, to) = (start - line_start, (end - line_start).min(lines.len()));
        (!lines.trim().is_empty() && from <= to).then_some((lines, from..to))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(Drawing::Plain))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Report")
            .field("file", &self.file)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}
