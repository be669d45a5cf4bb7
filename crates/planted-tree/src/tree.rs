//! The copy of the tree in which bugs are planted: it stays from run to run, and only what differs is written, so that only
//! that is built again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::merge::{Arm, Change, change, merge};
use crate::patches::Bug;

/// The variable that says which bug is awake.
pub(crate) const VARIABLE: &str = "HUBSYNC_PLANTED";

/// What a merged tree holds.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// The files that are not the original's.
    pub(crate) files: BTreeMap<String, String>,
    /// Whose bodies stand where, a list a file.
    arms: BTreeMap<String, Vec<Arm>>,
    /// Bugs that do not fit beside others, with the reason.
    pub(crate) alone: BTreeMap<String, String>,
}

impl Merged {
    /// The bugs whose bodies stand at a place of a file.
    pub(crate) fn at<'bugs>(
        &self,
        bugs: &'bugs [Bug],
        file: &str,
        line: usize,
    ) -> Option<&'bugs str> {
        let arms = self.arms.get(file)?;
        let arm = arms
            .iter()
            .find(|arm| (arm.first..=arm.last).contains(&line))?;
        bugs.get(arm.number.checked_sub(1)?)
            .map(|bug| bug.name.as_str())
    }
}

/// Puts all bugs but those without a place beside others into one set of files. A bug's number is its place in the list.
pub(crate) fn merged(root: &Path, bugs: &[Bug], alone: BTreeMap<String, String>) -> Result<Merged> {
    let mut tree = Merged {
        alone,
        ..Merged::default()
    };
    let mut changes: BTreeMap<&str, Vec<(usize, Change)>> = BTreeMap::new();
    for (place, bug) in bugs.iter().enumerate() {
        if tree.alone.contains_key(&bug.name) {
            continue;
        }
        let found: Result<Vec<_>> = bug
            .files
            .iter()
            .map(|(file, version)| {
                let original = std::fs::read_to_string(root.join(file))?;
                Ok((file.as_str(), change(&original, version)?))
            })
            .collect();
        match found {
            Ok(found) => {
                for (file, change) in found {
                    changes.entry(file).or_default().push((place + 1, change));
                }
            }
            Err(reason) => {
                tree.alone.insert(bug.name.clone(), reason.to_string());
            }
        }
    }
    let mut crates = BTreeSet::new();
    for (file, changes) in changes {
        let original = std::fs::read_to_string(root.join(file))?;
        let changes: Vec<_> = changes
            .iter()
            .map(|(number, change)| (*number, change))
            .collect();
        let (text, arms) = merge(&original, &changes)?;
        tree.files.insert(file.to_owned(), text);
        tree.arms.insert(file.to_owned(), arms);
        let source = file.rfind("src/").context("a source file")?;
        crates.insert(crate_of(&file[..source], file)?);
    }
    for source in crates {
        let root_file = format!("{source}lib.rs");
        let text = match tree.files.get(&root_file) {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(root.join(&root_file))?,
        };
        tree.files
            .insert(root_file, format!("{text}\nmod planted;\n"));
        tree.files
            .insert(format!("{source}planted.rs"), question(bugs));
    }
    Ok(tree)
}

/// The folder of sources of the crate that a file belongs to.
fn crate_of(before: &str, file: &str) -> Result<String> {
    match before {
        "" => Ok("src/".to_owned()),
        name if name.starts_with("crates/") => Ok(format!("{name}src/")),
        _ => bail!("`{file}` belongs to no library"),
    }
}

/// The module that merged bodies ask.
fn question(bugs: &[Bug]) -> String {
    let mut text = "//! Which planted bug is awake.\n\nconst NAMES: &[&str] = &[\n".to_owned();
    for bug in bugs {
        writeln!(text, "    {:?},", bug.name).expect("a String takes all");
    }
    write!(
        text,
        "];

/// The place of the bug that the variable names, from one on; zero: none is awake.
pub(crate) fn number() -> usize {{
    static NUMBER: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *NUMBER.get_or_init(|| match std::env::var(\"{VARIABLE}\") {{
        Ok(name) => NAMES.iter().position(|known| *known == name).map_or(0, |place| place + 1),
        Err(_) => 0,
    }})
}}
"
    )
    .expect("a String takes all");
    text
}

/// Makes the copy hold what is tracked, as it stands now, with some files exchanged.
pub(crate) fn write(root: &Path, copy: &Path, exchanged: &BTreeMap<String, String>) -> Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()?;
    let listed = String::from_utf8(listed.stdout).context("a file's name is no text")?;
    let mut wanted: BTreeSet<PathBuf> = exchanged.keys().map(PathBuf::from).collect();
    for file in listed.split('\0').filter(|file| !file.is_empty()) {
        let from = root.join(file);
        if !from.is_file() || exchanged.contains_key(file) {
            continue;
        }
        put(&copy.join(file), &std::fs::read(&from)?, Some(&from))?;
        wanted.insert(PathBuf::from(file));
    }
    for (file, text) in exchanged {
        put(&copy.join(file), text.as_bytes(), None)?;
    }
    clear(copy, copy, &wanted)
}

fn put(path: &Path, bytes: &[u8], like: Option<&Path>) -> Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    std::fs::write(path, bytes)?;
    if let Some(like) = like {
        std::fs::set_permissions(path, std::fs::metadata(like)?.permissions())?;
    }
    Ok(())
}

/// Removes what nobody wants.
fn clear(copy: &Path, folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            clear(copy, &path, wanted)?;
        } else if !wanted.contains(path.strip_prefix(copy)?) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::merged;
    use crate::patches::Bug;

    fn bug(name: &str, file: &str, text: &str) -> Bug {
        Bug {
            name: name.to_owned(),
            why: String::new(),
            expect: String::new(),
            targets: Vec::new(),
            files: BTreeMap::from([(file.to_owned(), text.to_owned())]),
        }
    }

    #[test]
    fn a_merged_tree_knows_whose_body_a_line_is_and_what_has_no_place() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("src")).expect("a folder");
        let original = "const A: u8 = 1;\nfn one() -> u8 { A }\n";
        std::fs::write(root.path().join("src/one.rs"), original).expect("a file");
        std::fs::write(root.path().join("src/lib.rs"), "mod one;\n").expect("a file");
        let bugs = [
            bug("1-body", "src/one.rs", &original.replace("{ A }", "{ 2 }")),
            bug("2-constant", "src/one.rs", &original.replace("= 1", "= 2")),
        ];
        let tree = merged(root.path(), &bugs, BTreeMap::new()).expect("a tree");
        let alone: Vec<_> = tree.alone.keys().collect();
        assert_eq!(alone, ["2-constant"]);
        assert_eq!(tree.at(&bugs, "src/one.rs", 3), Some("1-body"));
        assert_eq!(tree.at(&bugs, "src/one.rs", 1), None);
        assert_eq!(tree.files["src/lib.rs"], "mod one;\n\nmod planted;\n");
        assert!(tree.files["src/planted.rs"].contains("\"1-body\""));
    }
}
