//! An entry of a plan, and what HubSpot showed before it was planned.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::decide::echo::Histories;
use crate::decide::existence::{Action, Again, Hubspot, NOT_VISIBLE};
use crate::decide::outgoing::present::Present;
use crate::decide::outgoing::preview::Preview;
use crate::engine::outbound::preview::asked::AskedOfHubspot;
use crate::model::attempt::Along;
use crate::model::entry::{Entry, Operation, WaitsFor};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::outbox::links::QueuedEnds;

/// A record that was read again.
#[derive(Debug)]
pub struct ReadAgain {
    /// As HubSpot showed it.
    pub record: RemoteRecord,
    /// The histories that were asked for with it.
    pub histories: Option<Histories>,
}

/// What HubSpot showed of records that were read again, by object and the id that was asked for.
#[derive(Debug, Default)]
pub struct ShownAgain {
    /// When HubSpot was asked last.
    pub asked_at: Timestamp,
    /// What it was asked for.
    pub asked: BTreeSet<(ObjectType, HubspotId)>,
    /// The records that it showed.
    pub records: BTreeMap<(ObjectType, HubspotId), ReadAgain>,
    /// Those that it could not read this time.
    pub unread: BTreeSet<(ObjectType, HubspotId)>,
    /// The records that it has already of rows whose creates wait.
    pub met: BTreeMap<OutboxId, RemoteRecord>,
    /// Those of them whose archive waited, of a row that was deleted.
    pub taken_over: RefCell<BTreeSet<(ObjectType, HubspotId)>>,
}

impl ShownAgain {
    pub(super) fn of(&self, object: &ObjectType, id: HubspotId) -> Option<&ReadAgain> {
        self.records.get(&(object.clone(), id))
    }

    /// Whether HubSpot was asked for a record, and neither showed it nor said that it could not read it.
    pub(crate) fn has_missed(&self, object: &ObjectType, id: HubspotId) -> bool {
        let of = (object.clone(), id);
        self.asked.contains(&of) && !self.records.contains_key(&of) && !self.unread.contains(&of)
    }

    /// What the read said of one record.
    pub(super) fn present(&self, object: &ObjectType, id: HubspotId) -> Present {
        let read = self.of(object, id);
        let histories = read.and_then(|read| Some((read.record.id, read.histories.clone()?)));
        let is_unread = self.unread.contains(&(object.clone(), id));
        Present {
            asked_at: self.asked_at,
            records: read.map(|read| read.record.clone()).into_iter().collect(),
            histories: histories.into_iter().collect(),
            unread: is_unread.then(|| id.to_string()).into_iter().collect(),
        }
    }
}

/// An entry as the next push would find it.
#[derive(Debug, Clone)]
pub struct PlannedEntry {
    /// The object, of an association the one where it starts.
    pub object: ObjectType,
    /// The row.
    pub local_id: LocalId,
    /// Its record.
    pub hs_id: Option<HubspotId>,
    /// What would be done.
    pub operation: Operation,
    /// What it waits for.
    pub waits_for: Option<WaitsFor>,
    /// When it is due.
    pub due: Option<Timestamp>,
    /// Its fields.
    pub preview: Preview,
    /// The other end and the type of an association.
    pub association: Option<QueuedEnds>,
    /// Why the push would not send it, in a sentence.
    pub explanation: Option<String>,
    /// Properties whose history the push would read before it decides.
    pub need_history: Vec<PropertyName>,
    /// Whether it is under way.
    pub is_in_flight: bool,
    pub(super) is_due: bool,
    pub(super) asked: AskedOfHubspot,
    /// The associations that go along with it.
    pub(super) along: Vec<Along>,
    /// Whether it waits for the histories of its fields, which were read.
    pub(super) is_contested: bool,
}

impl PlannedEntry {
    /// An entry of which nothing is sent as yet.
    pub(super) fn of(object: &ObjectType, entry: &Entry) -> Self {
        Self {
            object: object.clone(),
            local_id: entry.local_id,
            hs_id: entry.standing.hs_id,
            operation: entry.standing.operation,
            waits_for: None,
            due: None,
            preview: Preview::default(),
            association: None,
            explanation: None,
            need_history: Vec::new(),
            is_in_flight: false,
            is_due: false,
            asked: AskedOfHubspot::default(),
            along: Vec::new(),
            is_contested: false,
        }
    }

    /// Whether the next push would send something of it.
    pub(crate) fn is_sent(&self) -> bool {
        let is_free = self.waits_for.is_none() || self.asked == AskedOfHubspot::Behind;
        self.is_due && is_free && self.explanation.is_none() && !self.is_empty()
    }

    /// Why it would not, in a sentence. `None`: it would, or is not due yet.
    pub(crate) fn why_not_sent(&self) -> Option<&str> {
        let is_empty = self.is_due && self.waits_for.is_none() && self.is_empty();
        let empty = is_empty.then_some(NOTHING_LEFT);
        self.explanation.as_deref().or(empty)
    }

    fn is_empty(&self) -> bool {
        self.operation == Operation::Update && self.preview.fields.is_empty()
    }

    /// Whether a record has to be read before the push decides about it.
    pub(crate) fn is_to_be_read(&self) -> bool {
        self.is_due && matches!(self.operation, Operation::Update | Operation::Archive)
    }
}

/// Why an archive is not sent; `None`: it is.
pub(super) fn not_archived(hubspot: Hubspot, actions: &[Action]) -> Option<&'static str> {
    if actions.contains(&Action::Archive) {
        return None;
    }
    let explanation = match actions {
        _ if hubspot == Hubspot::Merged => {
            "HubSpot has merged the record into another one, which is let be: the deletion is kept in sync_conflicts"
        }
        _ if hubspot == Hubspot::Survivor => {
            "HubSpot has merged another record into this one, which is let be: the deletion is kept in sync_conflicts"
        }
        [Action::LookAgain(Again::Create)] => {
            "a row that was inserted again may be the same record: its own entry goes before"
        }
        [Action::LookAgain(_)] => {
            "HubSpot does not show what became of the record: it is read again first"
        }
        [Action::End] => ANOTHERS,
        _ if actions.contains(&Action::Done) => "HubSpot has archived the record already",
        _ if actions.contains(&Action::BringBack) => {
            "the record was edited in HubSpot since, and that wins: the row comes back"
        }
        _ if actions
            .iter()
            .any(|action| matches!(action, Action::Ask(_))) =>
        {
            "the record was edited in HubSpot since: a person decides in sync_conflicts"
        }
        _ if actions
            .iter()
            .any(|action| matches!(action, Action::Park(_))) =>
        {
            NOT_VISIBLE
        }
        _ => "what is under way of the record comes first",
    };
    Some(explanation)
}

/// Why the archive of a record that another row has by now is not sent.
pub(super) const ANOTHERS: &str = "another row is the record by now";

/// Of an update that has no field left.
const NOTHING_LEFT: &str = "nothing of it is left to be sent";

pub(super) fn not_sent(planned: PlannedEntry, why: &str) -> PlannedEntry {
    PlannedEntry {
        explanation: Some(why.to_owned()),
        ..planned
    }
}
