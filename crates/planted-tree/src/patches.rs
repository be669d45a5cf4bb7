//! The planted bugs as they are kept: a patch each, with a head that says why, and which tests are expected to find it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A bug.
#[derive(Debug, Clone)]
pub(crate) struct Bug {
    /// Its file's name without the ending.
    pub(crate) name: String,
    /// What goes wrong.
    pub(crate) why: String,
    /// The tests that find it, as a nextest filter.
    pub(crate) expect: String,
    /// Where those tests are, as words for cargo.
    pub(crate) targets: Vec<String>,
    /// What stands in the files that it changes, by their names.
    pub(crate) files: BTreeMap<String, String>,
}

/// The names of the patches in a folder that are wanted (all, where none is named), by their numbers.
pub(crate) fn names(folder: &Path, wanted: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).context("the folder of patches can't be read")? {
        let file = file?.file_name().into_string().unwrap_or_default();
        if let Some(name) = file.strip_suffix(".patch") {
            names.push(name.to_owned());
        }
    }
    names.retain(|name| wanted.is_empty() || wanted.iter().any(|word| is_meant(name, word)));
    names.sort_by_key(|name| (number(name), name.clone()));
    if names.is_empty() {
        bail!("no patch is named so: {}", wanted.join(" "));
    }
    Ok(names)
}

fn is_meant(name: &str, word: &str) -> bool {
    name.strip_prefix(word)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn number(name: &str) -> u32 {
    name.split('-')
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(u32::MAX)
}

/// Reads a patch and applies it to copies of the files that it changes.
pub(crate) fn load(root: &Path, scratch: &Path, folder: &Path, name: &str) -> Result<Bug> {
    let path = folder.join(format!("{name}.patch"));
    let text = std::fs::read_to_string(&path).context("the patch can't be read")?;
    let head = |key: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(key).map(str::to_owned))
    };
    let changed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("+++ b/"))
        .collect();
    if scratch.exists() {
        std::fs::remove_dir_all(scratch)?;
    }
    for file in &changed {
        let copy = scratch.join(file);
        std::fs::create_dir_all(copy.parent().context("a file has a folder")?)?;
        std::fs::copy(root.join(file), copy).with_context(|| format!("`{file}` is gone"))?;
    }
    // Two lines of context less are enough to know the place by: a neighbour may change without it. Git must not take
    // the folder for a part of the tree around it.
    let applied = Command::new("git")
        .args(["apply", "-C1"])
        .arg(&path)
        .current_dir(scratch)
        .env(
            "GIT_CEILING_DIRECTORIES",
            scratch.parent().context("a folder")?,
        )
        .stderr(Stdio::null())
        .status()?;
    if !applied.success() {
        bail!("the patch no longer applies");
    }
    let mut files = BTreeMap::new();
    for file in &changed {
        let after = std::fs::read_to_string(scratch.join(file))?;
        if after == std::fs::read_to_string(root.join(file))? {
            bail!("the patch changes nothing in `{file}`");
        }
        files.insert((*file).to_owned(), after);
    }
    Ok(Bug {
        name: name.to_owned(),
        why: text.lines().next().unwrap_or_default().to_owned(),
        expect: head("expect: ").context("no line `expect:`")?,
        targets: head("in: ")
            .context("no line `in:`")?
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        files,
    })
}

#[cfg(test)]
mod tests {
    use super::{is_meant, load, names};

    const PATCH: &str = "one is two\nin: --lib\nexpect: test(one)\n\ndiff --git a/src/one.rs b/src/one.rs\n--- a/src/one.rs\n+++ b/src/one.rs\n@@ -1,1 +1,1 @@\n-fn one() -> u8 { 1 }\n+fn one() -> u8 { 2 }\n";

    #[test]
    fn a_patch_is_meant_by_its_number_or_its_name() {
        assert!(is_meant("31-oldest-write", "31"));
        assert!(is_meant("31-oldest-write", "31-oldest-write"));
        assert!(!is_meant("31-oldest-write", "3"));
    }

    #[test]
    fn a_patch_is_applied_to_copies_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("src")).expect("a folder");
        std::fs::write(root.join("src/one.rs"), "fn one() -> u8 { 1 }\n").expect("a file");
        std::fs::write(root.join("7-one.patch"), PATCH).expect("a file");
        let scratch = folder.path().join("scratch/within");
        assert_eq!(names(&root, &["7".to_owned()]).expect("names"), ["7-one"]);
        let bug = load(&root, &scratch, &root, "7-one").expect("a patch");
        assert_eq!(bug.files["src/one.rs"], "fn one() -> u8 { 2 }\n");
        assert_eq!(
            (bug.why.as_str(), bug.expect.as_str()),
            ("one is two", "test(one)")
        );
        let there = std::fs::read_to_string(root.join("src/one.rs")).expect("a file");
        assert_eq!(there, "fn one() -> u8 { 1 }\n");
    }
}
