//! What tests look at afterwards: records, the write log, the request log, violations of limits.

use crate::api::request::Request;
use crate::api::routes::{Route, template};
use crate::portal::Portal;
use crate::portal::link_types::LinkType;
use crate::portal::record::Record;
use crate::portal::table::Table;
use crate::world::limits::Violations;

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new record.
    Create,
    /// Values of a record, equal ones included.
    Update,
    /// A record went into the bin.
    Archive,
    /// A record came back from the bin.
    Restore,
    /// Two records became the one of this entry.
    Merge,
}

/// One property of a write, as canonical text; `None` is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyWrite {
    /// The property.
    pub name: String,
    /// Its value before.
    pub old: Option<String>,
    /// Its value after.
    pub new: Option<String>,
}

/// One write, whoever made it.
#[derive(Clone, Debug)]
pub struct WriteLogEntry {
    /// Epoch milliseconds of HubSpot's clock.
    pub at_ms: i64,
    /// Plural name, such as `contacts`.
    pub object: &'static str,
    /// The record.
    pub id: u64,
    /// What was done.
    pub operation: Operation,
    /// What was written; empty for archive and restore.
    pub properties: Vec<PropertyWrite>,
    /// Whether it came through the API; else a person did it.
    pub by_api: bool,
    /// The input's `objectWriteTraceId`.
    pub trace_id: Option<String>,
}

/// One direction of one association that was made or taken away, whoever did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLogEntry {
    /// Epoch milliseconds of HubSpot's clock.
    pub at_ms: i64,
    /// Plural name of the object from which it is seen.
    pub from_object: &'static str,
    /// The record from which it is seen.
    pub from_id: u64,
    /// Plural name of the other object.
    pub to_object: &'static str,
    /// The other record.
    pub to_id: u64,
    /// The type as `from` sees it.
    pub kind: LinkType,
    /// Whether it was taken away; else it was made.
    pub removed: bool,
    /// Whether it came through the API; else a person or HubSpot did it.
    pub by_api: bool,
}

/// One request that reached HubSpot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLogEntry {
    /// Epoch milliseconds of HubSpot's clock.
    pub at_ms: i64,
    /// Upper case.
    pub method: String,
    /// The path with ids replaced by `{id}`.
    pub path_template: String,
    /// The status of the answer, whether or not it arrived.
    pub status: u16,
    /// Inputs of a batch; else 0.
    pub inputs: usize,
    /// Whether a limit refused it; an injected 429 doesn't count.
    pub throttled: bool,
}

/// Both logs, bounded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs {
    writes: Vec<WriteLogEntry>,
    links: Vec<LinkLogEntry>,
    requests: Vec<RequestLogEntry>,
}

impl Portal {
    pub(crate) fn log_request(
        &mut self,
        request: &Request,
        route: Option<&Route>,
        status: u16,
        throttled: bool,
        at_ms: i64,
    ) {
        let is_batch = request.path.contains("/batch/");
        let entry = RequestLogEntry {
            at_ms,
            method: request.method.clone(),
            path_template: route
                .map_or_else(|| request.path.clone(), |route| template(request, route)),
            status,
            inputs: if is_batch {
                count_inputs(&request.body)
            } else {
                0
            },
            throttled,
        };
        let limit = self.settings().log_limit;
        bounded_push(&mut self.logs_mut().requests, entry, limit);
    }

    pub(crate) fn push_write(&mut self, entry: WriteLogEntry) {
        let limit = self.settings().log_limit;
        bounded_push(&mut self.logs_mut().writes, entry, limit);
    }

    pub(crate) fn push_link(&mut self, entry: LinkLogEntry) {
        let limit = self.settings().log_limit;
        bounded_push(&mut self.logs_mut().links, entry, limit);
    }

    /// Every change of an association, oldest first, each direction and type on its own, within the bound of the settings.
    pub fn link_log(&self) -> &[LinkLogEntry] {
        &self.logs().links
    }

    /// The live records of an object, by id.
    ///
    /// # Panics
    ///
    /// For an object that the portal hasn't; so do all methods that name one.
    pub fn records(&self, object: &str) -> Vec<Record<'_>> {
        let table = self.table_named(object);
        table
            .live
            .iter()
            .map(|(id, stored)| Record {
                id: *id,
                stored,
                schema: &table.schema,
            })
            .collect()
    }

    /// How many live records an object has.
    pub fn count(&self, object: &str) -> usize {
        self.table_named(object).live.len()
    }

    /// A record by its own id, archived ones too; a merged-away id finds nothing.
    pub fn record(&self, object: &str, id: u64) -> Option<Record<'_>> {
        let table = self.table_named(object);
        let stored = table.live.get(&id).or_else(|| table.archived.get(&id))?;
        Some(Record {
            id,
            stored,
            schema: &table.schema,
        })
    }

    /// The id that answers for a merged-away one.
    pub fn merged_into(&self, object: &str, id: u64) -> Option<u64> {
        self.table_named(object).redirects.get(&id).copied()
    }

    fn table_named(&self, object: &str) -> &Table {
        self.table(self.index_of(object))
    }

    /// Every write, oldest first, within the bound of the settings; `fill` isn't logged.
    pub fn write_log(&self) -> &[WriteLogEntry] {
        &self.logs().writes
    }

    /// Every request that arrived, oldest first, within the bound of the settings.
    pub fn request_log(&self) -> &[RequestLogEntry] {
        &self.logs().requests
    }

    /// Forgets the requests so far.
    pub fn clear_request_log(&mut self) {
        self.logs_mut().requests.clear();
    }

    /// 429 answers by limit, and the most requests in any window.
    pub fn violations(&self) -> Violations {
        self.limits().violations
    }
}

fn count_inputs(body: &[u8]) -> usize {
    let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    body.and_then(|body| body.get("inputs")?.as_array().map(Vec::len))
        .unwrap_or_default()
}

/// Keeps at least `limit` entries and at most twice as many.
fn bounded_push<T>(log: &mut Vec<T>, entry: T, limit: usize) {
    if log.len() >= limit.saturating_mul(2).max(1) {
        log.drain(..log.len() - limit.min(log.len()));
    }
    log.push(entry);
}
