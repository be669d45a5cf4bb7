//! How records leave: HubSpot's record shape written straight as JSON text (`api-facts.md#5`).
//!
//! A page of a hundred records is the commonest answer and bounds how fast a backfill can be measured, so it is written
//! without building a tree.

use serde_json::{Value, json};

use crate::portal::record::{Document, HistoryEntry, PropertyId, Source, Stored};
use crate::portal::schema::Kind;
use crate::portal::table::{System, Table};
use crate::world::settings::Settings;
use crate::world::time;

/// The answer of a handler that succeeded.
pub(crate) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string().into_bytes(),
        }
    }

    /// 204.
    pub(crate) fn empty() -> Self {
        Self {
            status: 204,
            body: Vec::new(),
        }
    }
}

/// Which properties an answer shows, resolved once for all its records.
pub(crate) struct Selection {
    columns: Vec<Column>,
    /// By property number: position in `columns` plus one, or zero.
    slots: Vec<u16>,
    history: Vec<(String, PropertyId)>,
}

struct Column {
    /// The name as a JSON key with its colon.
    key: Vec<u8>,
    system: Option<System>,
    is_datetime: bool,
}

impl Selection {
    /// The named properties that exist, sorted, with the three that always come along; unknown ones are left out.
    pub(crate) fn new(table: &Table, names: &[String], history: &[String]) -> Self {
        let mut wanted: Vec<&str> = names.iter().chain(history).map(String::as_str).collect();
        if names.is_empty() {
            wanted.extend(table.spec.defaults);
        }
        wanted.extend([table.spec.created, "hs_object_id", table.spec.modified]);
        wanted.sort_unstable();
        wanted.dedup();
        let mut selection = Self {
            columns: Vec::new(),
            slots: vec![0; table.schema.len()],
            history: Vec::new(),
        };
        for name in wanted {
            if let Some(id) = table.schema.live(name) {
                selection.add(table, name, id);
            }
        }
        let found = |name: &String| Some((name.clone(), table.schema.live(name)?));
        selection.history = history.iter().filter_map(found).collect();
        selection
    }

    fn add(&mut self, table: &Table, name: &str, id: PropertyId) {
        let property = table.schema.property(id);
        self.columns.push(Column {
            key: format!("{}:", json!(name)).into_bytes(),
            system: table.system(id),
            is_datetime: property.kind == Kind::Datetime,
        });
        self.slots[usize::from(id)] = self.columns.len() as u16;
    }
}

/// What an answer adds to a record.
#[derive(Clone, Copy, Default)]
pub(crate) struct Addition<'a> {
    pub trace_id: Option<&'a str>,
    /// Upsert says whether it created.
    pub new: Option<bool>,
    /// `associations`, where a read asks for them.
    pub links: Option<&'a Value>,
}

/// Writes records of one table in one selection.
pub(crate) struct RecordWriter<'a> {
    pub table: &'a Table,
    pub settings: &'a Settings,
    pub selection: &'a Selection,
}

impl RecordWriter<'_> {
    /// A record as it is in the store.
    pub(crate) fn stored(
        &self,
        out: &mut Vec<u8>,
        id: u64,
        stored: &Stored,
        addition: Addition<'_>,
    ) {
        self.open(out, id, &stored.document, stored.archived_at_ms());
        if !self.selection.history.is_empty() {
            self.history(out, id, stored);
        }
        if let Some(links) = addition.links {
            out.extend_from_slice(format!(",\"associations\":{links}").as_bytes());
        }
        if let Some(trace_id) = addition.trace_id {
            out.extend_from_slice(b",\"objectWriteTraceId\":");
            string(out, trace_id);
        }
        if let Some(new) = addition.new {
            out.extend_from_slice(if new {
                b",\"new\":true"
            } else {
                b",\"new\":false"
            });
        }
        out.push(b'}');
    }

    /// A document as search shows it.
    pub(crate) fn document(&self, out: &mut Vec<u8>, id: u64, document: &Document) {
        self.open(out, id, document, None);
        out.push(b'}');
    }

    fn open(&self, out: &mut Vec<u8>, id: u64, document: &Document, archived_at_ms: Option<i64>) {
        out.extend_from_slice(format!("{{\"id\":\"{id}\",\"properties\":{{").as_bytes());
        self.properties(out, id, document);
        let times = [
            ("createdAt", document.created_ms),
            ("updatedAt", document.modified_ms),
        ];
        out.push(b'}');
        for (name, ms) in times {
            out.extend_from_slice(format!(",\"{name}\":\"{}\"", self.time(ms)).as_bytes());
        }
        let archived = archived_at_ms.is_some();
        out.extend_from_slice(format!(",\"archived\":{archived}").as_bytes());
        if let Some(ms) = archived_at_ms {
            out.extend_from_slice(format!(",\"archivedAt\":\"{}\"", self.time(ms)).as_bytes());
        }
        let (portal, object) = (self.settings.portal_id, self.table.spec.type_id);
        let url =
            format!(",\"url\":\"https://app.hubspot.com/contacts/{portal}/record/{object}/{id}\"");
        out.extend_from_slice(url.as_bytes());
    }

    fn properties(&self, out: &mut Vec<u8>, id: u64, document: &Document) {
        let mut texts: Vec<Option<&str>> = vec![None; self.selection.columns.len()];
        for (property, text) in document.values.iter() {
            let slot = usize::from(self.selection.slots[usize::from(property)]);
            if slot > 0 {
                texts[slot - 1] = Some(text);
            }
        }
        let mut is_first = true;
        for (column, text) in self.selection.columns.iter().zip(texts) {
            if self.settings.leave_out_empty && text.is_none() && column.system.is_none() {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            out.extend_from_slice(&column.key);
            match (text, column.system) {
                (Some(text), _) if column.is_datetime => string(out, &self.spelled(text)),
                (Some(text), _) => string(out, text),
                (None, Some(System::Created)) => string(out, &self.time(document.created_ms)),
                (None, Some(System::Modified)) => string(out, &self.time(document.modified_ms)),
                (None, Some(System::ObjectId)) => string(out, &id.to_string()),
                (None, None) => out.extend_from_slice(b"null"),
            }
        }
    }

    fn history(&self, out: &mut Vec<u8>, id: u64, stored: &Stored) {
        let entries = self.selection.history.iter().map(|(name, property)| {
            let told: Vec<Value> = self
                .entries(id, stored, *property)
                .iter()
                .map(|entry| {
                    history_json(
                        entry,
                        &self.spelled_as(*property, &entry.value),
                        self.settings,
                    )
                })
                .collect();
            (name.clone(), Value::Array(told))
        });
        let all = Value::Object(entries.collect());
        out.extend_from_slice(format!(",\"propertiesWithHistory\":{all}").as_bytes());
    }

    fn entries(&self, id: u64, stored: &Stored, property: PropertyId) -> Vec<HistoryEntry> {
        if self.table.system(property).is_none() {
            return stored.history(property);
        }
        let value = self
            .table
            .value(id, &stored.document, property)
            .unwrap_or_default();
        vec![HistoryEntry {
            value: value.into(),
            at_ms: stored.document.modified_ms,
            source: stored.origin,
        }]
    }

    fn spelled_as(&self, property: PropertyId, text: &str) -> String {
        let is_datetime = self.table.schema.property(property).kind == Kind::Datetime;
        if is_datetime {
            self.spelled(text)
        } else {
            text.to_owned()
        }
    }

    fn time(&self, ms: i64) -> String {
        self.spelled(&time::iso(ms))
    }

    fn spelled(&self, iso: &str) -> String {
        spelled(iso, self.settings)
    }
}

/// A time in the spelling of this portal.
pub(crate) fn spelled(iso: &str, settings: &Settings) -> String {
    if settings.shorten_milliseconds {
        time::shorten(iso)
    } else {
        iso.to_owned()
    }
}

fn history_json(entry: &HistoryEntry, value: &str, settings: &Settings) -> Value {
    let (source, source_id, user) = match entry.source {
        Source::Integration => ("INTEGRATION", Some(settings.app_id.to_string()), None),
        Source::OtherApp(app) => ("INTEGRATION", Some(app.to_string()), None),
        Source::Person(user) => ("CRM_UI", Some(format!("userId:{user}")), Some(user)),
        Source::Import => ("IMPORT", Some("1".to_owned()), None),
        Source::Merge => ("MERGE_OBJECTS", None, None),
        Source::Associations => ("ASSOCIATIONS", None, None),
    };
    let at = spelled(&time::iso(entry.at_ms), settings);
    let mut told = json!({"value": value, "timestamp": at, "sourceType": source, "sourceId": source_id, "sourceLabel": null});
    if let Some(user) = user {
        told["updatedByUserId"] = json!(user);
    }
    told
}

/// Appends a JSON string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    let plain = text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(Value::from(text).to_string().as_bytes());
    }
}
