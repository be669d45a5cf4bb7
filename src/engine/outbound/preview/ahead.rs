//! What becomes of whole records before anything of them is sent, carried out ahead in a copy of the database: rows that come back
//! instead of being archived, and rows whose record HubSpot no longer has. The push's own transactions do it, with the reads and
//! the removals that it asks for; what is read of HubSpot is given. What waits of such a row then is planned like anything else.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use crate::decide::decision::former_record;
use crate::decide::existence::{Action, NOT_VISIBLE};
use crate::decide::incoming::reading::Due;
use crate::decide::outgoing::looking::agreed_before;
use crate::decide::outgoing::plan::{BATCH, BATCH_WITH_HISTORY};
use crate::decide::outgoing::present::Present;
use crate::engine::inbound::applying::Applying;
use crate::engine::inbound::existence::shown_version;
use crate::engine::inbound::removal;
use crate::engine::outbound::archive::{self, archives_records};
use crate::engine::outbound::preview::planned::{PlannedEntry, ShownAgain, not_archived, not_sent};
use crate::engine::outbound::push;
use crate::engine::pass::Pass;
use crate::engine::source::reads::take_missing;
use crate::model::entry::{Entry, EntryState, Operation};
use crate::model::id::{HubspotId, OutboxId};
use crate::model::name::ObjectType;
use crate::model::record::RemoteRecord;
use crate::model::settings::Guard;
use crate::store::history::Origin;
use crate::store::{StoreError, conflicts, outbox, reads};

/// Why a deletion here archives nothing.
pub(super) const BACK: &str =
    "deletions here archive nothing (`on_local_delete = \"restore\"`): the row comes back";

/// What was carried out ahead.
#[derive(Debug, Default)]
pub struct SettledAhead {
    /// Entries of which nothing is sent: they end before, or wait for what became of their record.
    pub ended: Vec<PlannedEntry>,
    /// Updates of rows that are back: they go behind what was due before.
    pub(super) back: BTreeSet<OutboxId>,
    /// By object: the requests that it costs, the read before updates aside.
    requests: BTreeMap<ObjectType, u64>,
    /// By object: updates whose record was read with the others before they are sent, and missed.
    missed: BTreeMap<ObjectType, usize>,
}

impl SettledAhead {
    fn count(&mut self, object: &ObjectType, requests: usize) {
        *self.requests.entry(object.clone()).or_default() += requests as u64;
    }

    /// The requests of an object, of which so many updates are read before they are sent.
    pub(super) fn requests_of(&self, object: &ObjectType, updates_read: usize) -> u64 {
        let missed = self.missed.get(object).copied().unwrap_or_default();
        // They are read with the others.
        let read = (updates_read + missed).div_ceil(BATCH) - updates_read.div_ceil(BATCH);
        read as u64 + self.requests.get(object).copied().unwrap_or_default()
    }

    fn end(&mut self, pass: &Pass<'_>, entry: &Entry, why: &str) {
        let planned = PlannedEntry::of(pass.name(), entry);
        self.ended.push(not_sent(planned, why));
    }

    /// The rows of due archives that come back, where deletions archive nothing. `shown`: what HubSpot was asked; `None`: it is taken
    /// to hold what both sides knew last.
    ///
    /// # Errors
    /// The database refuses.
    pub(crate) fn take_rows_back(
        &mut self,
        tx: &Transaction<'_>,
        pass: &Pass<'_>,
        guard: &Guard,
        (due, shown): (&[Entry], Option<&ShownAgain>),
    ) -> Result<(), StoreError> {
        if archives_records(pass.object) {
            return Ok(());
        }
        let (mut read, mut asked) = (0_usize, Vec::new());
        for entry in due {
            let Some(hs_id) = entry.standing.hs_id else {
                continue;
            };
            let present = match shown {
                Some(shown) => shown.present(pass.name(), hs_id),
                None => present_as_known(tx, pass, entry, hs_id)?,
            };
            let (hubspot, actions) = archive::judged(tx, pass, (entry, hs_id), &present)?;
            let was_asked = reads::is_asked(tx, pass.name(), hs_id)?;
            archive::claim_judged(tx, pass, guard, (std::slice::from_ref(entry), &present))?;
            read += 1;
            let comes_back = actions.contains(&Action::Undelete);
            let left = outbox::by_id(tx, entry.id)?;
            if comes_back && !was_asked && reads::is_asked(tx, pass.name(), hs_id)? {
                // The read that goes before what waited of it: the plan rests on one of its own.
                answered(tx, pass, hs_id)?;
                asked.push((hs_id, left.is_some()));
                self.back.extend(left.as_ref().map(|left| left.id));
            }
            match (left, not_archived(hubspot, &actions)) {
                (None, _) if comes_back => self.end(pass, entry, BACK),
                (None, Some(why)) => self.end(pass, entry, why),
                (None, None) | (Some(_), _) => {}
            }
        }
        self.count(pass.name(), read.div_ceil(BATCH) + reading(asked));
        Ok(())
    }

    /// Updates whose record a read has missed: what became of it, by HubSpot's archive, and of its row, by the guard's word.
    ///
    /// # Errors
    /// The database refuses.
    pub(crate) fn take_missed(
        &mut self,
        tx: &Transaction<'_>,
        pass: &Pass<'_>,
        guard: &Guard,
        (missed, shown, archived): (&[Entry], &ShownAgain, &[RemoteRecord]),
    ) -> Result<(), StoreError> {
        let applying = Applying::from_store(*pass, shown.asked_at);
        let mut asked = Vec::new();
        for entry in missed {
            let Some(hs_id) = entry.standing.hs_id else {
                continue;
            };
            push::put_off_missed(tx, &applying, entry, hs_id)?;
            if !reads::is_asked(tx, pass.name(), hs_id)? {
                continue;
            }
            let due = answered(tx, pass, hs_id)?;
            let record = archived.iter().find(|record| record.id == hs_id);
            take_missing(tx, pass, due, record, shown.asked_at)?;
            asked.push((hs_id, true));
        }
        removal::rehearse(tx, pass, guard)?;
        for entry in missed {
            if let Some(why) = what_became(tx, pass, entry)? {
                self.end(pass, entry, &why);
            }
        }
        *self.missed.entry(pass.name().clone()).or_default() += missed.len();
        // Each is read once more, and then in the archive.
        self.count(pass.name(), 2 * reading(asked));
        Ok(())
    }
}

/// How many requests read records before what waits of some of them is sent, those first that have the smaller ids: a batch with one of
/// which something waits asks for histories, and is smaller. Where nothing waits, no push waits for them.
fn reading(mut records: Vec<(HubspotId, bool)>) -> usize {
    let waits = |record: &(HubspotId, bool)| record.1;
    if !records.iter().any(waits) {
        return 0;
    }
    records.sort_unstable();
    let (mut left, mut requests) = (records.as_slice(), 0);
    while !left.is_empty() {
        let small = left.len().min(BATCH_WITH_HISTORY);
        let goes = match left[..small].iter().any(waits) {
            true => small,
            false => {
                let rest = left[small..].iter();
                small
                    + rest
                        .take_while(|record| !record.1)
                        .count()
                        .min(BATCH - small)
            }
        };
        left = &left[goes..];
        requests += 1;
    }
    requests
}

/// Ends the read of a record that the push has asked for: the plan has it already.
fn answered(tx: &Transaction<'_>, pass: &Pass<'_>, id: HubspotId) -> Result<Due, StoreError> {
    let due = Due {
        id,
        origin: Origin::Poll,
        number: i64::MAX,
    };
    reads::done(tx, pass.name(), due)?;
    reads::end_done(tx, pass.name())?;
    Ok(due)
}

/// Why nothing of an update is sent whose record was missed; `None`: something else of its row stands in the plan, or itself.
fn what_became(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
) -> Result<Option<String>, StoreError> {
    let Some(id) = entry.standing.hs_id else {
        return Ok(None);
    };
    let of_row = outbox::of_row(tx, pass.name(), entry.local_id)?;
    let why = match of_row {
        None => match pass.object.table.by_local_id(tx, entry.local_id)? {
            None => "its row goes too, with what waited of it",
            Some(_) => "its row stays and says so, without what waited of it",
        },
        Some(left) if left.standing.operation != Operation::Update => return Ok(None),
        Some(left) if left.standing.state == EntryState::Dead => {
            return Ok(left.standing.last_error.or(Some(NOT_VISIBLE.to_owned())));
        }
        Some(_) => return Ok(None),
    };
    Ok(Some(format!("HubSpot no longer has record {id}: {why}")))
}

/// The record of a deleted row as it is known here: as both sides knew it last.
pub(super) fn present_as_known(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    hs_id: HubspotId,
) -> Result<Present, StoreError> {
    let (object, row) = (pass.object, entry.row.as_deref().unwrap_or_default());
    let former = former_record(object, hs_id, row, pass.now);
    let version = shown_version(tx, None, Some(entry))?;
    let open = conflicts::open_of(tx, pass.name(), entry.local_id)?;
    let agreed = agreed_before(object, entry);
    let agreed = agreed.iter().filter(|(name, _)| !open.contains_key(name));
    let agreed = agreed.map(|(name, value)| (name.clone(), value.clone()));
    let seen = open
        .iter()
        .map(|(name, open)| (name.clone(), open.remote.clone()));
    let values = agreed.chain(seen).collect();
    let record = RemoteRecord {
        values,
        updated_at: version.max(Some(former.updated_at)).unwrap_or_default(),
        ..former
    };
    Ok(Present {
        asked_at: pass.now,
        records: vec![record],
        ..Present::default()
    })
}
