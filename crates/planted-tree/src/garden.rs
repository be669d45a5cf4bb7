//! The bugs that are wanted, and the trees they are planted in: one for all that fit beside each other, one each for the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cargo::Workshop;
use crate::patches::{self, Bug};
use crate::tree;

/// The bugs and the copy of the tree.
#[derive(Debug)]
pub(crate) struct Garden {
    root: PathBuf,
    /// Where they are planted.
    pub(crate) workshop: Workshop,
    /// The bugs, by their numbers.
    pub(crate) bugs: Vec<Bug>,
    /// Patches that can't be read or applied, with the reason.
    pub(crate) bad: BTreeMap<String, String>,
}

impl Garden {
    /// Reads the patches that are wanted.
    pub(crate) fn open(root: &Path, wanted: &[String]) -> Result<Self> {
        let target = root.join("target/planted");
        let folder = root.join("tests/planted");
        std::fs::create_dir_all(&target)?;
        let mut garden = Self {
            root: root.to_owned(),
            workshop: Workshop {
                copy: target.join("tree"),
                target: target.clone(),
            },
            bugs: Vec::new(),
            bad: BTreeMap::new(),
        };
        for name in patches::names(&folder, wanted)? {
            match patches::load(root, &target.join("scratch"), &folder, &name) {
                Ok(bug) => garden.bugs.push(bug),
                Err(reason) => {
                    garden.bad.insert(name, format!("{reason:#}"));
                }
            }
        }
        Ok(garden)
    }

    /// Builds all bugs that fit beside each other. The others, with the reason: what the compiler does not take beside the
    /// rest is left out, until it takes the tree.
    pub(crate) fn build_together(&self, targets: &[String]) -> Result<BTreeMap<String, String>> {
        let mut alone = BTreeMap::new();
        loop {
            let merged = tree::merged(&self.root, &self.bugs, alone)?;
            tree::write(&self.root, &self.workshop.copy, &merged.files)?;
            let complaints = self.workshop.build(targets)?;
            if complaints.is_empty() {
                return Ok(merged.alone);
            }
            let before = merged.alone.len();
            alone = merged.alone.clone();
            for complaint in &complaints {
                if let Some(name) = merged.at(&self.bugs, &complaint.file, complaint.line) {
                    alone.insert(name.to_owned(), complaint.text.clone());
                }
            }
            if alone.len() == before {
                let texts: Vec<_> = complaints.into_iter().map(|one| one.text).collect();
                bail!("the merged tree does not compile:\n{}", texts.join("\n"));
            }
        }
    }

    /// Builds one bug by itself; what the compiler says against it.
    pub(crate) fn build_alone(&self, bug: &Bug, targets: &[String]) -> Result<Option<String>> {
        tree::write(&self.root, &self.workshop.copy, &bug.files)?;
        let complaints = self.workshop.build(targets)?;
        Ok(complaints.into_iter().next().map(|one| one.text))
    }
}
