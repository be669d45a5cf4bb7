//! Builds the copy of the tree, and runs tests of it by cargo-nextest.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How a run of tests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A test failed.
    Red,
    /// All held.
    Green,
    /// No test is named so.
    Empty,
    /// It was ended when its time was over.
    Late,
    /// Something else went wrong.
    Broken,
}

/// An error of the compiler: where, and the line that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The file, from the tree's root.
    pub(crate) file: String,
    /// The line.
    pub(crate) line: usize,
    /// The words.
    pub(crate) text: String,
}

/// A folder with a copy of the tree, and what cargo makes of it.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// The copy of the tree.
    pub(crate) copy: PathBuf,
    /// Cargo's folder, and ours.
    pub(crate) target: PathBuf,
}

impl Workshop {
    fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        command
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.target)
            // Nobody reads a backtrace of a bug that was planted.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .stdin(Stdio::null());
        command
    }

    fn binaries(&self) -> PathBuf {
        self.target.join("binaries.json")
    }

    fn packages(&self) -> PathBuf {
        self.target.join("packages.json")
    }

    /// Where the words of the last build or run are, of so many side by side.
    pub(crate) fn log(&self, place: usize) -> PathBuf {
        self.target.join(format!("log-{place}"))
    }

    /// Builds the targets. What the compiler refuses is no error of this function.
    pub(crate) fn build(&self, targets: &[String]) -> Result<Vec<Complaint>> {
        let metadata = self
            .cargo()
            .args(["metadata", "--format-version", "1"])
            .stdout(File::create(self.packages())?)
            .stderr(Stdio::null())
            .status()?;
        if !metadata.success() {
            bail!("cargo does not know the copy's packages");
        }
        let short = self
            .cargo()
            .args(["test", "--no-run", "--message-format", "short"])
            .args(targets)
            .stdout(Stdio::null())
            .stderr(File::create(self.log(0))?)
            .status()?;
        let words = std::fs::read_to_string(self.log(0))?;
        if !short.success() {
            let complaints = complaints(&words);
            if complaints.is_empty() {
                bail!("the tree is not built:\n{words}");
            }
            return Ok(complaints);
        }
        let list = self
            .cargo()
            .args(["nextest", "list", "--list-type", "binaries-only"])
            .args(["--message-format", "json"])
            .args(targets)
            .stdout(File::create(self.binaries())?)
            .stderr(Stdio::null())
            .status()?;
        if !list.success() {
            bail!("cargo-nextest does not list the copy's tests");
        }
        Ok(Vec::new())
    }

    /// Runs the tests of what was built that a filter names, with variables set, for so long at most. `place` tells those
    /// that run side by side apart.
    pub(crate) fn test(
        &self,
        filter: &str,
        variables: &[(&str, String)],
        most: Duration,
        place: usize,
    ) -> Result<Ended> {
        let log = File::create(self.log(place))?;
        let mut child = self
            .cargo()
            .args(["nextest", "run", "--no-tests", "fail", "-E", filter])
            // What one test has found the other parts need not look for.
            .args(["--max-fail", "1:immediate"])
            .arg("--binaries-metadata")
            .arg(self.binaries())
            .arg("--cargo-metadata")
            .arg(self.packages())
            .args([
                "--failure-output",
                "immediate",
                "--success-output",
                "immediate",
            ])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: whoever is late ends with all that it started.
            .process_group(0)
            .spawn()
            .context("cargo-nextest can't be started")?;
        let begun = started();
        let mut told = false;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begun.elapsed() > most && !told {
                told = true;
                Command::new("kill")
                    .args(["-s", "TERM", "--", &format!("-{}", child.id())])
                    .status()?;
            }
            breathe();
        };
        Ok(match status.code() {
            _ if told => Ended::Late,
            Some(0) => Ended::Green,
            Some(100) => Ended::Red,
            Some(4) => Ended::Empty,
            _ => Ended::Broken,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a bound of real time")]
fn started() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a child is waited for")]
fn breathe() {
    std::thread::sleep(Duration::from_millis(20));
}

/// What short messages of the compiler complain of.
fn complaints(words: &str) -> Vec<Complaint> {
    let errors = words.lines().filter_map(|text| {
        let (place, said) = text.split_once(": ")?;
        let mut parts = place.split(':');
        let (file, line) = (parts.next()?, parts.next()?.parse().ok()?);
        said.starts_with("error").then(|| Complaint {
            file: file.to_owned(),
            line,
            text: text.to_owned(),
        })
    });
    errors.collect()
}

/// The tests that words for cargo name, as a nextest filter.
pub(crate) fn filter_of(targets: &[String]) -> Result<String> {
    let mut words = targets.iter().map(String::as_str);
    match (words.next(), words.next(), words.next()) {
        (Some("--lib"), None, None) => Ok("kind(lib)".to_owned()),
        (Some("--test"), Some(name), None) => Ok(format!("binary(={name})")),
        (Some("-p"), Some(name), None) => Ok(format!("package(={name}) & kind(lib)")),
        _ => bail!(
            "`in:` says `--lib`, `--test NAME` or `-p NAME`, not `{}`",
            targets.join(" ")
        ),
    }
}

/// The words for one build of all that several bugs name.
pub(crate) fn together<'bugs>(targets: impl Iterator<Item = &'bugs [String]>) -> Vec<String> {
    let mut all = BTreeSet::new();
    for words in targets {
        match words {
            [test, name] if test == "--test" => all.insert(vec![test.clone(), name.clone()]),
            _ => all.insert(vec!["--lib".to_owned()]),
        };
    }
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::{Complaint, complaints, filter_of, together};

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn errors_are_read_with_their_places() {
        let words = "   Compiling a\nsrc/a.rs:7:5: warning: unused\nsrc/a.rs:9:1: error[E0308]: mismatched types\nerror: could not compile\n";
        let expected = Complaint {
            file: "src/a.rs".to_owned(),
            line: 9,
            text: "src/a.rs:9:1: error[E0308]: mismatched types".to_owned(),
        };
        assert_eq!(complaints(words), [expected]);
    }

    #[test]
    fn targets_are_filters_and_one_build() {
        let (lib, it, core) = (words("--lib"), words("--test it"), words("-p core"));
        assert_eq!(filter_of(&it).expect("a filter"), "binary(=it)");
        assert_eq!(
            filter_of(&core).expect("a filter"),
            "package(=core) & kind(lib)"
        );
        filter_of(&words("--bins")).expect_err("no filter");
        let all = [lib.as_slice(), &it, &core, &it];
        assert_eq!(together(all.into_iter()), ["--lib", "--test", "it"]);
    }
}
