//! What the contract says of a field that holds options and is written with `append`: both sides come to hold the same, and what
//! a program adds goes out, but nothing that it takes away (contract, section 2). It stands beside `model.rs`.

use std::collections::BTreeSet;

use crate::model::Text;

/// The options of one field of one record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// What programs have added and not taken away again.
    added: BTreeSet<String>,
    /// What programs have taken away, and whether some of that came back.
    dropped: BTreeSet<String>,
    came_back: bool,
    /// What people have taken away in HubSpot.
    removed: BTreeSet<String>,
    /// What HubSpot has held, and what the daemon was told last.
    shown: BTreeSet<String>,
    read: BTreeSet<String>,
}

/// The options of a text.
pub(crate) fn options(text: &Text) -> BTreeSet<String> {
    let parts = text.iter().flat_map(|text| text.split(';'));
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Options {
    /// A program has written.
    pub(crate) fn written_here(&mut self, old: &Text, new: &Text) {
        let (old, new) = (options(old), options(new));
        self.added.extend(new.difference(&old).cloned());
        self.added.retain(|option| new.contains(option));
        self.dropped.extend(old.difference(&new).cloned());
        self.dropped.retain(|option| !new.contains(option));
    }

    /// The daemon has written here.
    pub(crate) fn taken_here(&mut self, old: &Text, new: &Text) {
        let (old, new) = (options(old), options(new));
        let mut comes = new.difference(&old);
        self.came_back |= comes.any(|option| self.dropped.contains(option));
    }

    /// At rest: what a program took away in vain is told in the history.
    pub(crate) fn gave_way(&self, is_told: bool) -> Result<(), String> {
        match self.came_back && !is_told {
            true => Err(format!(
                "options came back here, and nothing tells of it: {self:?}"
            )),
            false => Ok(()),
        }
    }

    /// A person has written in HubSpot.
    pub(crate) fn written_there(&mut self, old: &Text, new: &Text) {
        let (old, new) = (options(old), options(new));
        self.shown.extend(old.union(&new).cloned());
        self.removed.extend(old.difference(&new).cloned());
    }

    /// The daemon has been told what HubSpot holds.
    pub(crate) fn read(&mut self, there: &Text) {
        self.read = options(there);
    }

    /// The daemon has written in HubSpot; what it took away it could not know of.
    pub(crate) fn pushed(&mut self, new: &Text) -> Result<(), String> {
        let new = options(new);
        let taken: Vec<&String> = self.read.difference(&new).collect();
        if !taken.is_empty() {
            return Err(format!("{taken:?} were taken away there"));
        }
        self.removed.extend(self.shown.difference(&new).cloned());
        self.shown.extend(new);
        Ok(())
    }

    /// What stands at rest.
    pub(crate) fn judge(&self, first: &str, here: &Text, there: &Text) -> Result<(), String> {
        let (here, there) = (options(here), options(there));
        if here != there {
            return Err(format!("{here:?} here and {there:?} there"));
        }
        let mut wanted: BTreeSet<String> = self.added.union(&self.shown).cloned().collect();
        wanted.insert(first.to_owned());
        let lost: Vec<&String> = wanted
            .difference(&here)
            .filter(|option| !self.removed.contains(*option))
            .collect();
        if lost.is_empty() {
            Ok(())
        } else {
            Err(format!("{lost:?} are lost: {self:?}"))
        }
    }
}
