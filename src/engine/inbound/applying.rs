//! What a step applies of HubSpot's answer, and what is said of a record that its table refuses.

use rusqlite::Transaction;

use crate::decide::incoming::freshness::{Evidence, Question};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::model::id::HubspotId;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::meta::REFUSED_BY_TABLE;
use crate::store::shape::referrers;
use crate::store::{StoreError, reads};

/// What is being applied, and how.
#[derive(Debug, Clone, Copy)]
pub struct Applying<'a> {
    /// The transaction's work that this is a part of.
    pub pass: Pass<'a>,
    /// How sure the answer is.
    pub evidence: Evidence,
    /// This machine's time before the request was sent.
    pub asked_at: Timestamp,
    /// Whether changes are written to `sync_history`: not during the first backfill.
    pub with_history: bool,
    /// Records of the same answer that come after the one that is applied: the guard judges what they empty together.
    pub later: &'a [&'a RemoteRecord],
}

impl<'a> Applying<'a> {
    /// The store's answer to a question that was asked at that time.
    pub(crate) fn from_store(pass: Pass<'a>, asked_at: Timestamp) -> Self {
        Self {
            pass,
            evidence: Evidence::Store,
            asked_at,
            with_history: true,
            later: &[],
        }
    }

    /// An answer's records in their order, each with how it is applied: beside those that come after it, whatever the way in
    /// which the answer came.
    pub(crate) fn each<'r>(
        self,
        records: &'r [&'r RemoteRecord],
    ) -> impl Iterator<Item = (Applying<'r>, &'r RemoteRecord)>
    where
        'a: 'r,
    {
        records.iter().enumerate().map(move |(at, record)| {
            let later = &records[at + 1..];
            (Applying { later, ..self }, *record)
        })
    }

    /// The question that is answered.
    pub(crate) fn question(&self) -> Question {
        Question {
            evidence: self.evidence,
            asked_at: self.asked_at,
            now: self.pass.now,
        }
    }
}

/// What is left of an answer's records behind the one that is taken up, where it shows one.
pub(crate) fn behind<'r>(
    later: &'r [&'r RemoteRecord],
    shown: Option<HubspotId>,
) -> &'r [&'r RemoteRecord] {
    match later {
        [next, rest @ ..] if shown == Some(next.id) => rest,
        _ => later,
    }
}

/// Puts off a record that the table refuses: it is read and tried again later, and `sync_status` says so until then.
pub(crate) fn refuse_record(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    error: &StoreError,
) -> Result<(), StoreError> {
    let table = &pass.object.mapping().table;
    let why = match error.is_of_reference() {
        true => why_kept(tx, pass.object, error)?,
        false => {
            format!("{error}: change the rows, or what refuses it; it is tried again by itself")
        }
    };
    let explanation = format!("HubSpot record {id} does not fit into {table}: {why}");
    refuse_saying(tx, pass, id, &explanation)
}

/// The same, in these words.
pub(crate) fn refuse_saying(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    explanation: &str,
) -> Result<(), StoreError> {
    let object = pass.name();
    if reads::ask_refused(tx, object, id, pass.origin, pass.now, explanation)? {
        tracing::error!(object = %object, hs_id = %id, code = REFUSED_BY_TABLE, "the table refuses a record; see sync_status.last_error");
    }
    Ok(())
}

/// Why a constraint keeps a row, with the tables whose rows refer to it, and what to do.
pub(crate) fn why_kept(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    error: &StoreError,
) -> Result<String, StoreError> {
    let table = &object.mapping().table;
    let referrers = referrers::of_table(tx, table.as_str())?;
    let whose = match referrers.is_empty() {
        true => String::new(),
        false => format!("; rows of `{}` refer to {table}", referrers.join("`, `")),
    };
    Ok(format!(
        "{error}{whose}: delete what keeps it, or let it refer to nothing"
    ))
}
