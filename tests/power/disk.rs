//! What a disk may hold after a power cut: everything that was flushed, and of the rest any part.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::vfs::{Change, Operation};

/// A disk writes a sector as a whole or not at all.
const SECTOR: usize = 512;

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<String, File>,
}

#[derive(Debug, Default)]
struct File {
    /// `None` where the file is not there.
    flushed: Option<Vec<u8>>,
    /// Changes since, in order.
    waiting: Vec<Change>,
}

/// Which changes that were not flushed reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    None,
    All,
    /// Those before some moment.
    Some,
    /// Any, in whole.
    Any,
    /// Any, some of them in part.
    Torn,
}

impl Cut {
    /// The kinds in turn; most are torn, since that is what most cuts leave.
    pub(crate) fn nth(number: usize) -> Self {
        match number {
            0 => Self::None,
            1 => Self::All,
            2 | 3 => Self::Some,
            4..=6 => Self::Any,
            _ => Self::Torn,
        }
    }
}

impl Disk {
    /// Does an operation.
    pub(crate) fn apply(&mut self, operation: &Operation) {
        let file = self.files.entry(operation.file.clone()).or_default();
        match &operation.change {
            Change::Sync => {
                let is_new = file.flushed.is_none();
                file.flush();
                if is_new {
                    self.flush_folder();
                }
            }
            Change::Delete { durable: true } => *file = File::default(),
            change @ (Change::Write { .. } | Change::Truncate { .. } | Change::Delete { .. }) => {
                file.waiting.push(change.clone());
            }
        }
    }

    /// The first flush of a new file flushes its folder too: from then on deleted files are gone.
    fn flush_folder(&mut self) {
        for file in self.files.values_mut() {
            let deleted = file
                .waiting
                .iter()
                .rposition(|change| matches!(change, Change::Delete { .. }));
            if let Some(last) = deleted {
                file.waiting.drain(..=last);
                file.flushed = None;
            }
        }
    }

    /// Changes that are not flushed.
    pub(crate) fn waiting(&self) -> usize {
        self.files.values().map(|file| file.waiting.len()).sum()
    }

    /// The files as a cut may leave them.
    pub(crate) fn cut(&self, cut: Cut, rng: &mut ChaCha8Rng) -> Files {
        let mut files = Files::new();
        for (name, file) in &self.files {
            if let Some(bytes) = file.cut(cut, rng) {
                files.insert(name.clone(), bytes);
            }
        }
        files
    }
}

impl File {
    fn flush(&mut self) {
        for change in std::mem::take(&mut self.waiting) {
            carry_out(&mut self.flushed, &change);
        }
        self.flushed.get_or_insert_default();
    }

    fn cut(&self, cut: Cut, rng: &mut ChaCha8Rng) -> Option<Vec<u8>> {
        let mut bytes = self.flushed.clone();
        let until = match cut {
            Cut::None => 0,
            Cut::Some => rng.random_range(0..=self.waiting.len()),
            Cut::All | Cut::Any | Cut::Torn => self.waiting.len(),
        };
        for change in &self.waiting[..until] {
            let reached = match cut {
                Cut::None | Cut::Some | Cut::All => true,
                Cut::Any | Cut::Torn => rng.random_bool(0.5),
            };
            match change {
                // What comes after a deletion went to another file of that name.
                Change::Delete { .. } if !reached => break,
                Change::Write { offset, bytes: new } if !reached && cut == Cut::Torn => {
                    tear(&mut bytes, *offset, new, rng);
                }
                _ if reached => carry_out(&mut bytes, change),
                Change::Write { .. }
                | Change::Truncate { .. }
                | Change::Delete { .. }
                | Change::Sync => {}
            }
        }
        bytes
    }
}

fn carry_out(bytes: &mut Option<Vec<u8>>, change: &Change) {
    match change {
        Change::Write { offset, bytes: new } => put(bytes, *offset, new),
        Change::Truncate { size } => bytes.get_or_insert_default().resize(*size, 0),
        Change::Delete { .. } => *bytes = None,
        Change::Sync => {}
    }
}

fn put(bytes: &mut Option<Vec<u8>>, offset: usize, new: &[u8]) {
    let bytes = bytes.get_or_insert_default();
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

/// Some sectors of a write reach the disk.
fn tear(bytes: &mut Option<Vec<u8>>, offset: usize, new: &[u8], rng: &mut ChaCha8Rng) {
    let mut from = 0;
    while from < new.len() {
        let to = new
            .len()
            .min((offset + from) / SECTOR * SECTOR + SECTOR - offset);
        if rng.random_bool(0.5) {
            put(bytes, offset + from, &new[from..to]);
        }
        from = to;
    }
}
