//! Writes that have been checked: the table, the search index and the write log move together here and nowhere else.

use rand::RngExt as _;

use crate::catalogue::{CONTACT, OWNERS, ObjectIndex, entered, exited};
use crate::portal::links::End;
use crate::portal::record::{Document, Source, Stored, Values};
use crate::portal::table::Change;
use crate::portal::{Operation, Portal, PropertyWrite, WriteLogEntry};
use crate::world::time;

/// Who writes.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub source: Source,
    pub by_api: bool,
    pub trace_id: Option<String>,
    /// Whether the app's webhooks tell what becomes of associations.
    pub tells_links: bool,
    /// A record that is about to go: it loses its links and keeps its values.
    pub leaving: Option<End>,
}

impl Author {
    pub(crate) fn api(trace_id: Option<&str>) -> Self {
        Self {
            source: Source::Integration,
            by_api: true,
            trace_id: trace_id.map(str::to_owned),
            tells_links: true,
            leaving: None,
        }
    }

    pub(crate) fn other_app(app_id: u32) -> Self {
        Self {
            source: Source::OtherApp(app_id),
            ..Self::someone()
        }
    }

    pub(crate) fn person(user_id: u32) -> Self {
        Self {
            source: Source::Person(user_id),
            by_api: false,
            trace_id: None,
            tells_links: true,
            leaving: None,
        }
    }

    /// The person who makes all changes that no other one is named for.
    pub(crate) fn someone() -> Self {
        Self::person(OWNERS[0].user_id)
    }

    /// HubSpot, which keeps a property in step with associations.
    pub(crate) fn associations() -> Self {
        Self {
            source: Source::Associations,
            ..Self::someone()
        }
    }
}

impl Portal {
    /// The next id: greater than all before, with gaps as in a portal where others create too.
    pub(crate) fn take_id(&mut self, object: ObjectIndex) -> u64 {
        let gap = self.rng_mut().random_range(1..=7);
        let table = self.table_mut(object);
        let id = table.next_id;
        table.next_id += gap;
        id
    }

    pub(crate) fn index_due_ms(&mut self, now_ms: i64) -> i64 {
        let (low, high) = (
            self.settings().index_delay_min_ms,
            self.settings().index_delay_max_ms,
        );
        if high == 0 {
            now_ms
        } else {
            now_ms + self.rng_mut().random_range(low.min(high)..=high) as i64
        }
    }

    /// Creates a record.
    pub(crate) fn commit_create(
        &mut self,
        object: ObjectIndex,
        changes: &[Change],
        author: &Author,
        now_ms: i64,
    ) -> u64 {
        let id = self.take_id(object);
        let source = author.source;
        let times = self.stage_times(object, None, changes, now_ms);
        let entries = changes
            .iter()
            .chain(&times)
            .filter_map(|(property, value)| Some((*property, value.as_deref()?)));
        let document = Document {
            created_ms: now_ms,
            modified_ms: now_ms,
            values: Values::new(entries.collect()),
        };
        self.log_write(object, id, Operation::Create, changes, None, author, now_ms);
        self.place(
            object,
            id,
            Stored {
                document,
                origin: source,
                extra: None,
            },
            now_ms,
        );
        self.obey_written(End { object, id }, changes, author, now_ms);
        id
    }

    /// Some properties mean more than their value.
    fn obey_written(&mut self, end: End, changes: &[Change], author: &Author, now_ms: i64) {
        let schema = &self.table(end.object).schema;
        let names_company = |(property, _): &Change| {
            end.object == CONTACT && schema.property(*property).name == "associatedcompanyid"
        };
        if changes.iter().any(names_company) {
            self.obey_company_property(end, author, now_ms);
        }
    }

    /// Puts a new live record in its place and tells the index.
    pub(crate) fn place(&mut self, object: ObjectIndex, id: u64, stored: Stored, now_ms: i64) {
        let due_ms = self.index_due_ms(now_ms);
        let table = self.table_mut(object);
        table
            .index
            .change(id, None, Some(&stored.document), now_ms, due_ms);
        table.insert(id, stored);
    }

    /// Writes values of a live record, with all that follows; whether there was one.
    pub(crate) fn commit_update(
        &mut self,
        object: ObjectIndex,
        id: u64,
        changes: &[Change],
        author: &Author,
        now_ms: i64,
    ) -> bool {
        let is_there = self.write_values(object, id, changes, author, now_ms);
        if is_there {
            self.obey_written(End { object, id }, changes, author, now_ms);
        }
        is_there
    }

    /// Writes values of a live record and nothing besides; whether there was one.
    pub(crate) fn write_values(
        &mut self,
        object: ObjectIndex,
        id: u64,
        changes: &[Change],
        author: &Author,
        now_ms: i64,
    ) -> bool {
        let Some(before) = self
            .table(object)
            .live
            .get(&id)
            .map(|stored| stored.document.clone())
        else {
            return false;
        };
        let differs = changes
            .iter()
            .any(|(property, value)| before.values.get(*property) != value.as_deref());
        let moves = differs || self.settings().equal_write_moves_modified;
        let source = author.source;
        self.log_write(
            object,
            id,
            Operation::Update,
            changes,
            Some(&before),
            author,
            now_ms,
        );
        if !moves {
            return true;
        }
        let due_ms = self.index_due_ms(now_ms);
        let mut all = changes.to_vec();
        all.extend(self.stage_times(object, Some(&before), changes, now_ms));
        let table = self.table_mut(object);
        table.update(id, &all, source, now_ms, Some(now_ms));
        if let Some(stored) = table.live.get(&id) {
            table
                .index
                .change(id, Some(&before), Some(&stored.document), now_ms, due_ms);
        }
        true
    }

    /// When a record enters a stage and leaves another: HubSpot's own note, no write of anybody's.
    fn stage_times(
        &self,
        object: ObjectIndex,
        before: Option<&Document>,
        changes: &[Change],
        now_ms: i64,
    ) -> Vec<Change> {
        let table = self.table(object);
        let stages = table.spec.stages;
        let property = stages.and_then(|stages| table.schema.id(stages.stage));
        let written = changes.iter().find(|(id, _)| Some(*id) == property);
        let Some((stage_id, now_in)) = written else {
            return Vec::new();
        };
        let was_in = before.and_then(|document| document.values.get(*stage_id));
        if was_in == now_in.as_deref() {
            return Vec::new();
        }
        let names = [now_in.as_deref().map(entered), was_in.map(exited)];
        let at = Some(time::iso(now_ms));
        let known = names.into_iter().flatten();
        known
            .filter_map(|name| Some((table.schema.id(&name)?, at.clone())))
            .collect()
    }

    /// Moves a live record's last-modified time, and nothing else.
    pub(crate) fn touch(&mut self, end: End, now_ms: i64) {
        let live = self.table(end.object).live.get(&end.id);
        let Some(before) = live.map(|stored| stored.document.clone()) else {
            return;
        };
        let due_ms = self.index_due_ms(now_ms);
        let table = self.table_mut(end.object);
        table.update(end.id, &[], Source::Associations, now_ms, Some(now_ms));
        if let Some(stored) = table.live.get(&end.id) {
            let after = Some(&stored.document);
            table
                .index
                .change(end.id, Some(&before), after, now_ms, due_ms);
        }
    }

    /// Archives a live record; whether there was one.
    pub(crate) fn commit_archive(
        &mut self,
        object: ObjectIndex,
        id: u64,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        if !self.is_live(End { object, id }) {
            return false;
        }
        self.put_links_aside(End { object, id }, author, now_ms);
        self.vanish(object, id, now_ms, |table, id| table.archive(id, now_ms));
        self.log_write(object, id, Operation::Archive, &[], None, author, now_ms);
        true
    }

    /// Deletes a live record for good, and blocks its e-mail.
    pub(crate) fn commit_privacy_delete(
        &mut self,
        object: ObjectIndex,
        id: u64,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        let table = self.table(object);
        // Of an archived record, too, what HubSpot keeps goes.
        let stored = table.live.get(&id).or_else(|| table.archived.get(&id));
        let was_there = stored.is_some();
        let email = table
            .email()
            .and_then(|email| stored?.document.values.get(email));
        let email = email.map(str::to_owned);
        self.commit_archive(object, id, author, now_ms);
        drop(self.record_links_mut().unshelve(End { object, id }));
        let table = self.table_mut(object);
        table.archived.remove(&id);
        table.blocked_emails.extend(email);
        if was_there {
            self.announce_privacy_deletion(object, id, now_ms);
        }
        was_there
    }

    /// Takes a live record away by `how`; search goes on showing it for the index delay.
    pub(crate) fn vanish(
        &mut self,
        object: ObjectIndex,
        id: u64,
        now_ms: i64,
        how: impl FnOnce(&mut crate::portal::table::Table, u64),
    ) -> bool {
        let Some(before) = self
            .table(object)
            .live
            .get(&id)
            .map(|stored| stored.document.clone())
        else {
            return false;
        };
        let due_ms = self.index_due_ms(now_ms);
        let table = self.table_mut(object);
        how(table, id);
        table.index.change(id, Some(&before), None, now_ms, due_ms);
        true
    }

    /// Brings an archived record back; not if its e-mail or another key has been taken since.
    pub(crate) fn commit_restore(
        &mut self,
        object: ObjectIndex,
        id: u64,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        let table = self.table(object);
        let free = table
            .archived
            .get(&id)
            .is_some_and(|stored| !table.keys_are_taken(&stored.document));
        if !free {
            return false;
        }
        let due_ms = self.index_due_ms(now_ms);
        let table = self.table_mut(object);
        table.restore(id, now_ms);
        if let Some(stored) = table.live.get(&id) {
            table
                .index
                .change(id, None, Some(&stored.document), now_ms, due_ms);
        }
        self.log_write(object, id, Operation::Restore, &[], None, author, now_ms);
        self.bring_links_back(End { object, id }, author, now_ms);
        true
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one line of the log, field by field"
    )]
    pub(crate) fn log_write(
        &mut self,
        object: ObjectIndex,
        id: u64,
        operation: Operation,
        changes: &[Change],
        before: Option<&Document>,
        author: &Author,
        now_ms: i64,
    ) {
        let schema = &self.table(object).schema;
        let properties = changes.iter().map(|(property, new)| PropertyWrite {
            name: schema.property(*property).name.clone(),
            old: before
                .and_then(|document| document.values.get(*property))
                .map(str::to_owned),
            new: new.clone(),
        });
        let entry = WriteLogEntry {
            at_ms: now_ms,
            object: self.table(object).spec.plural,
            id,
            operation,
            properties: properties.collect(),
            by_api: author.by_api,
            trace_id: author.trace_id.clone(),
        };
        self.announce(object, &entry);
        self.push_write(entry);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Desk;

    /// api-facts.md#7: answered when asked for by name, and in no list.
    #[test]
    fn the_time_of_a_stage_is_readable_and_unlisted() {
        let mut desk = Desk::quick();
        let deal = desk.deal("Big");
        let (first, won) = (
            "hs_v2_date_entered_appointmentscheduled",
            "hs_v2_date_entered_closedwon",
        );
        let path = format!("/crm/objects/2026-03/deals/{deal}?properties={first},{won}");
        let (_, body) = desk.get(&path);
        assert_eq!(body["properties"][first], "2026-11-24T06:00:00Z");
        assert_eq!(body["properties"][won], json!(null));
        desk.now_ms += 60_000;
        let stage = [("dealstage", "closedwon")];
        assert!(desk.portal.edit("deals", deal, &stage, desk.now_ms));
        let (_, body) = desk.get(&path);
        assert_eq!(body["properties"][won], "2026-11-24T06:01:00Z");
        let (_, list) = desk.get("/crm/properties/2026-03/deals");
        let names = list["results"].as_array().expect("a list").iter();
        let names: Vec<_> = names.filter_map(|one| one["name"].as_str()).collect();
        assert!(names.contains(&"dealstage") && !names.contains(&won));
        assert_eq!(
            desk.get(&format!("/crm/properties/2026-03/deals/{won}")).0,
            404
        );
    }

    #[test]
    fn a_stage_time_cannot_be_written_and_is_in_no_write_log() {
        let mut desk = Desk::quick();
        let deal = desk.deal("Big");
        let written = [("hs_v2_date_entered_closedwon", "2026-01-01")];
        assert!(!desk.portal.edit("deals", deal, &written, desk.now_ms));
        let logged = desk.portal.write_log().iter();
        let mut names = logged.flat_map(|entry| entry.properties.iter().map(|one| &one.name));
        assert!(names.all(|name| !name.starts_with("hs_v2_")));
    }
}
