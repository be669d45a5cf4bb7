//! The look after a write: what somebody set in HubSpot between the read before it and the write is found and kept as a
//! closed conflict (promise 13). From an event that says the value, and without one from the property's history.
//!
//! What an archive went over the archived record itself shows: it changes no more.
//!
//! Looks stand in `_sync_gaps`, so that a restart loses none. They are collected for a while, asked for 50 at once, and
//! go after all other requests.

use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::echo::{Author, is_sent, late_since};
use crate::decide::incoming::convert::{histories, remote_record};
use crate::decide::incoming::reading::acknowledged_within;
use crate::decide::outgoing::gap::{
    ARCHIVED_OVER, COLLECTED_FOR, GoneOver, LookAt, LookBatch, Noted, NotedArchive, Push,
    RECORDS_OF_A_LOOK, gaps_of, given_back, goes_back, is_told_of_archived, kept,
    read_before_archive, told_gaps, was_archived_over, written_over,
};
use crate::decide::retry::{AFTER_UNREAD, latest_due};
use crate::engine::acts::EntryWork;
use crate::engine::inbound::applying::Applying;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::{BatchRead, HubspotError, Priority, ReadQuery};
use crate::model::answer::{MERGED_IDS, Record};
use crate::model::attempt::Sent;
use crate::model::conflict::{WHOLE_RECORD, Winner};
use crate::model::entry::Entry;
use crate::model::event::Event;
use crate::model::id::HubspotId;
use crate::model::mapping::FieldMapping;
use crate::model::name::ObjectType;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::conflicts::{self, About, NewConflict};
use crate::store::gaps;
use crate::store::history::{self, Change, Origin};
use crate::store::{Lane, StoreError, inbox, merges, outbox, reads, rowjson};

/// How long an event may still tell of a gap: events are seconds late, bulk ones minutes
/// (`hubspot/api-facts.md#10`).
const LATE_EVENTS: Duration = Duration::from_hours(1);

/// A look that could not be made for so long is given up.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Which looks a step makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// Those that are due.
    Due,
    /// Also those that are still collected: the process is about to end.
    Collected,
}

/// Keeps the fields of an acknowledged update, to be looked at or to be told of.
pub fn note(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    sent: &Sent,
    record: &RemoteRecord,
    push: Push,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    let object = pass.name();
    // A read that was asked for while the write was on its way: something showed a change.
    let seen = reads::is_asked(tx, object, record.id)?;
    let look = push.look_at(seen, pass.now);
    let (Some(look), Some(read_version), Some(entry)) =
        (look, sent.read_version, outbox::by_id(tx, sent.entry)?)
    else {
        return Ok(());
    };
    let gaps = gaps_of(&entry, read_version, Some(record), look);
    EntryWork::of_entry(tx, object, &entry, pass.now).carry_out(gaps)
}

/// Keeps what the read before an archive showed, with the claim: what the archive goes over is looked at also where its
/// answer never comes.
pub(crate) fn note_claimed_archive(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    read: &RemoteRecord,
) -> Result<(), StoreError> {
    let now = pass.now;
    let ids = (read.id, entry.local_id);
    let shown = (&*rowjson::of_record(read), read.updated_at);
    gaps::note_archive(tx, pass.name(), ids, shown, now)
}

/// An archive was answered: its record is looked at, or an event may tell of it.
pub(crate) fn note_archived(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    hs_id: HubspotId,
    push: Push,
) -> Result<(), StoreError> {
    let (object, now) = (pass.name(), pass.now);
    let seen = reads::is_asked(tx, object, hs_id)?;
    match push.look_at(seen, now) {
        Some(LookAt { at: Some(at), .. }) => gaps::look_at_archive(tx, object, hs_id, at),
        Some(LookAt { at: None, .. }) => Ok(()),
        None => gaps::forget_archive(tx, object, hs_id),
    }
}

/// Looks at one batch of records.
pub async fn step(
    engine: &Engine,
    object: &ObjectSync,
    looks: Looks,
) -> Result<Progress, StepError> {
    let (sync, now) = (object.clone(), engine.now());
    // Events take a while, and where they tell, nobody has to ask.
    let full_is_due = engine.settings().relaxed_poll.is_none();
    let (batch, next) = engine
        .store
        .read(move |connection| {
            let (name, latest) = (sync.object(), latest_due(now));
            let up_to = match looks {
                Looks::Due => now,
                Looks::Collected => now + COLLECTED_FOR,
            };
            let mut batch = LookBatch::default();
            let limit = RECORDS_OF_A_LOOK;
            for id in gaps::due(connection, name, up_to, latest, limit, full_is_due)? {
                for noted in gaps::of_record(connection, name, id)? {
                    let (property, since) = (&noted.property, noted.gap.read_version);
                    let is_told = inbox::said_after(connection, name, id, property, since)?;
                    batch.add(noted, is_told, up_to);
                }
                batch.add_archive(gaps::archive_of(connection, name, id)?);
            }
            Ok((batch, gaps::next_due(connection, name)?))
        })
        .await?;
    if batch.is_empty() {
        return Ok(Progress::Idle { until: next });
    }
    let (found, shown) = match ask_all(engine, object, &batch).await {
        // What is left of the day is for other work: the histories tell as much tomorrow.
        Err(error) if error.out_of_quota_until().is_some() => {
            return Ok(Progress::Idle {
                until: error.out_of_quota_until(),
            });
        }
        found => found?,
    };
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Conflict, offset);
            let now = pass.now;
            for id in batch.told {
                gaps::leave_to_events(tx, id)?;
            }
            for noted in batch.wanted {
                if found.unread.contains(&noted.hs_id.to_string()) {
                    gaps::put_off(tx, noted.id, now + AFTER_UNREAD)?;
                    continue;
                }
                if let Some(record) = Record::answering(&found.records, noted.hs_id) {
                    look(tx, &pass, &noted, record)?;
                }
                gaps::end(tx, noted.id)?;
            }
            for noted in batch.archives {
                if shown.unread.contains(&noted.hs_id.to_string()) {
                    gaps::put_off(tx, noted.id, now + AFTER_UNREAD)?;
                    continue;
                }
                // One that is not archived was restored, or the request never landed: nothing is lost.
                if let Some(record) = Record::answering(&shown.records, noted.hs_id) {
                    let record = remote_record(&sync, record.clone());
                    look_at_archived(tx, &pass, &noted, &record)?;
                }
                gaps::end(tx, noted.id)?;
            }
            Ok::<_, StoreError>(())
        })
        .await?;
    Ok(Progress::More)
}

/// Asks for the histories of what was pushed, and for what was archived.
async fn ask_all(
    engine: &Engine,
    object: &ObjectSync,
    batch: &LookBatch,
) -> Result<(BatchRead, BatchRead), HubspotError> {
    let (told, archives) = (ask(engine, object, batch).await?, &batch.archives);
    let shown = match ask_archived(engine, object, archives).await {
        // Nobody is helped by asking the same again.
        Err(error @ HubspotError::Refused { .. }) => {
            tracing::warn!(object = %object.object(), records = archives.len(), error = %error, code = error.code(), "HubSpot refused to show records that were archived: edits in the moment before the archive go unnoticed");
            BatchRead::default()
        }
        shown => shown?,
    };
    Ok((told, shown))
}

/// Asks for archived records as they were archived.
async fn ask_archived(
    engine: &Engine,
    object: &ObjectSync,
    archives: &[NotedArchive],
) -> Result<BatchRead, HubspotError> {
    if archives.is_empty() {
        return Ok(BatchRead::default());
    }
    let ids = archives.iter().map(|noted| noted.hs_id.to_string());
    let query = ReadQuery {
        keys: ids.collect(),
        id_property: None,
        properties: object.properties.clone(),
        with_history: Vec::new(),
        archived: true,
    };
    engine
        .client
        .batch_read(object.object(), &query, Priority::Look)
        .await
}

/// Asks for the histories of what was pushed, and for nothing else: of a record that was archived since, in the archive.
async fn ask(
    engine: &Engine,
    object: &ObjectSync,
    batch: &LookBatch,
) -> Result<BatchRead, HubspotError> {
    let (ids, properties) = batch.asked();
    let mut query = ReadQuery {
        keys: ids.iter().map(ToString::to_string).collect(),
        id_property: None,
        properties: vec![MERGED_IDS.to_owned()],
        with_history: properties.into_iter().map(ToString::to_string).collect(),
        archived: false,
    };
    let mut told = ask_histories(engine, object, &query).await?;
    query.keys = std::mem::take(&mut told.missing);
    query.archived = true;
    let of_archived = ask_histories(engine, object, &query).await?;
    told.records.extend(of_archived.records);
    told.unread.extend(of_archived.unread);
    Ok(told)
}

/// Asks for histories once. What HubSpot refuses to tell is not asked for again: it would be refused again.
async fn ask_histories(
    engine: &Engine,
    object: &ObjectSync,
    query: &ReadQuery,
) -> Result<BatchRead, HubspotError> {
    let read = engine
        .client
        .batch_read(object.object(), query, Priority::Look)
        .await;
    if let Err(error @ HubspotError::Refused { .. }) = &read {
        tracing::warn!(object = %object.object(), records = query.keys.len(), error = %error, code = error.code(), "HubSpot refused to tell the histories of records that were pushed: edits in the moment before the push go unnoticed");
        return Ok(BatchRead::default());
    }
    read
}

/// Reads one field's history.
fn look(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    noted: &Noted,
    record: &Record,
) -> Result<(), StoreError> {
    let object = pass.object;
    let Some(field) = object.mapping().field(&noted.property) else {
        return Ok(());
    };
    // Whose app it was does not matter here: the value tells.
    let asked = [noted.property.clone()];
    let histories = histories(object, record, &asked, None);
    let told = histories
        .get(&noted.property)
        .map_or(&[][..], Vec::as_slice);
    let since = late_since(noted.noted_at, pass.offset_ms);
    let sent = outbox::sent_earlier(tx, object.object(), noted.local_id, since)?;
    let sent = sent.get(&noted.property).map_or(&[][..], Vec::as_slice);
    let Some(before) = written_over(field.property_type, told, &noted.gap, sent) else {
        return Ok(());
    };
    // One that landed late may have gone over a later one of ours, which was answered.
    let is_late = noted.gap.written_version.is_none() && before.author != Author::Other;
    let within = acknowledged_within(before.at, pass.offset_ms);
    let (name, row, value) = (object.object(), noted.local_id, &before.value);
    if is_late && history::was_pushed(tx, name, row, field, value, within)? {
        return Ok(());
    }
    keep(tx, pass, field, noted, &GoneOver::told(before))
}

/// Compares an archived record with what the read before its archive showed, and keeps an edit that was archived over.
fn look_at_archived(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    noted: &NotedArchive,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let sent = outbox::sent_earlier(
        tx,
        object.object(),
        noted.local_id,
        late_since(noted.noted_at, pass.offset_ms),
    )?;
    let read = read_before_archive(object.mapping(), noted);
    if !was_archived_over(object.mapping(), &read, record, &sent) {
        return Ok(());
    }
    let about = About {
        object: object.object(),
        local_id: noted.local_id,
        hs_id: Some(noted.hs_id),
    };
    let shown = |row: &str| rowjson::by_column(object.mapping(), row);
    let (read, edited) = (shown(&noted.read), shown(&rowjson::of_record(record)));
    if conflicts::names_remote_since(tx, about, WHOLE_RECORD, Some(&edited), noted.noted_at)? {
        return Ok(());
    }
    let conflict = NewConflict {
        property: WHOLE_RECORD,
        base: Some(&read),
        base_known: true,
        local: None,
        remote: Some(&edited),
        policy: object.mapping().policy.as_str(),
        reason: ARCHIVED_OVER,
        set: None,
    };
    conflicts::record_closed(tx, about, conflict, Winner::Local, now)?;
    let change = Change {
        object: object.object(),
        local_id: noted.local_id,
        hs_id: Some(noted.hs_id),
        property: WHOLE_RECORD,
        old: Some(&edited),
        new: None,
        origin: Origin::Conflict,
    };
    history::record(tx, change, now)
}

/// An event of somebody's change of a record that was archived: whether it came before the archive, the record tells.
pub(crate) fn take_event_of_archived(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    noted: &NotedArchive,
    event: &Event,
) -> Result<(), StoreError> {
    if !is_told_of_archived(noted, event) {
        return Ok(());
    }
    // Not at once: the archive may be on its way.
    gaps::look_at_archive(tx, pass.name(), noted.hs_id, pass.now + COLLECTED_FOR)
}

/// What is kept of the writes to a record, by an id that it has or had: an event says the one of its time, also where the
/// record was merged away before it came.
pub(crate) fn noted_of(
    tx: &Transaction<'_>,
    object: &ObjectType,
    id: HubspotId,
) -> Result<Vec<Noted>, StoreError> {
    let mut noted = Vec::new();
    for id in merges::survivors_of(tx, object, id)? {
        noted.extend(gaps::of_record(tx, object, id)?);
    }
    Ok(noted)
}

/// Whether an event tells of an edit that was written over, which is kept then.
pub(crate) fn take_event(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    noted: &[Noted],
    event: &Event,
) -> Result<bool, StoreError> {
    let told = told_gaps(pass.object.mapping(), noted, event);
    let mut tells = false;
    for (field, noted, value) in &told.written_over {
        if event.own && is_late_request(tx, pass, field, noted, value)? {
            continue;
        }
        keep(tx, pass, field, noted, &GoneOver::announced(event, value))?;
        tells = true;
    }
    for id in told.unsure {
        gaps::look_at(tx, id, pass.now)?;
    }
    Ok(tells)
}

/// Whether a value that our app set in a gap is what a request of ours carried whose answer was lost: it landed in the gap.
fn is_late_request(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    field: &FieldMapping,
    noted: &Noted,
    value: &Value,
) -> Result<bool, StoreError> {
    let since = late_since(noted.noted_at, pass.offset_ms);
    let sent = outbox::sent_earlier(tx, pass.name(), noted.local_id, since)?;
    let sent = sent.get(&field.property).map_or(&[][..], Vec::as_slice);
    Ok(is_sent(field.property_type, sent, value))
}

/// Keeps a value that our write went over, once.
fn keep(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    field: &FieldMapping,
    noted: &Noted,
    over: &GoneOver,
) -> Result<(), StoreError> {
    let now = pass.now;
    let about = About {
        object: pass.name(),
        local_id: noted.local_id,
        hs_id: Some(noted.hs_id),
    };
    let (property, remote) = (field.property.as_str(), over.value.as_deref());
    if conflicts::names_remote_since(tx, about, property, remote, noted.noted_at)?
        || give_back(tx, pass, field, noted, over)?
    {
        return Ok(());
    }
    let work = EntryWork {
        tx,
        object: about.object,
        now,
        local_id: about.local_id,
        hs_id: about.hs_id,
        entry: None,
    };
    work.carry_out(kept(field, noted, over).into())
}

/// Takes a value back that our write was not to go over, and queues it. Tells whether that was possible.
fn give_back(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    field: &FieldMapping,
    noted: &Noted,
    over: &GoneOver,
) -> Result<bool, StoreError> {
    let (object, table) = (pass.name(), &pass.object.table);
    let row = table.by_local_id(tx, noted.local_id)?;
    let Some(mut row) = row.filter(|row| row.record.hs_id == Some(noted.hs_id)) else {
        return Ok(false);
    };
    let waiting = outbox::of_row(tx, object, noted.local_id)?;
    let is_open = conflicts::open_of(tx, object, noted.local_id)?.contains_key(&field.property);
    if is_open || !goes_back(field, &over.value, waiting.as_ref()) {
        return Ok(false);
    }
    let entry = outbox::ensure_update(tx, object, noted.local_id, noted.hs_id, pass.now)?;
    let Some(entry) = outbox::by_id(tx, entry)? else {
        return Ok(false);
    };
    let held = row.value(&field.property).clone();
    let acts = given_back(field, noted, over, &held, pass.now);
    EntryWork::of_entry(tx, object, &entry, pass.now).carry_out_on(
        pass.object.mapping(),
        &mut row,
        acts,
    )?;
    table.update(tx, &row)?;
    Ok(true)
}

/// Forgets what no event will tell of any more, and looks that could not be made for a day.
pub(crate) fn forget(tx: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    outbox::forget_owed(tx)?;
    gaps::forget(tx, now - LATE_EVENTS, now - LONGEST_WAIT, now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decide::outgoing::gap::{Age, Gap};
    use crate::engine::desk::{Desk, began, run};
    use crate::engine::outbound::settle::recover;
    use crate::engine::testing::{How, Scene, at, property, record};
    use crate::model::entry::Base;
    use crate::model::id::LocalId;
    use crate::model::mapping::Policy;
    use crate::model::name::PropertyName;
    use crate::store::gaps::NewGap;
    use crate::store::outbox::Attempt;

    const SMALL: Push = Push {
        records: 1,
        age: Age {
            asked: Duration::from_millis(2),
            answered: Duration::from_millis(1),
        },
        has_webhooks: false,
    };

    /// Row 1 was record 101 and is deleted here; its archive was claimed over a read of second 5.
    fn archiving() -> Scene {
        let scene = Scene::of(Policy::Remote);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("DELETE FROM contacts");
        scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let queued = queued.expect("an archive waits");
            outbox::claim(tx, &queued, Attempt::Archive, at(6))?;
            let entry = queued;
            let read = record(101, 5, &[("firstname", "Base"), ("stage", "lead")]);
            note_claimed_archive(tx, &scene.pass(at(6)), &entry, &read)
        });
        scene
    }

    /// The look at the archived record.
    fn look(scene: &Scene, shown: &RemoteRecord) {
        scene.write(|tx| {
            let noted = gaps::archive_of(tx, scene.object.object(), HubspotId(101))?;
            let noted = noted.expect("it is kept");
            look_at_archived(tx, &scene.pass(at(30)), &noted, shown)
        });
    }

    const LOOKS: &str = "SELECT hs_id, property, look_at FROM _sync_gaps";

    #[test]
    fn an_edit_that_an_archive_went_over_is_kept_as_a_conflict_of_the_record() {
        let check = |values: &[(&str, &str)], expected: &[&str]| {
            let scene = archiving();
            look(&scene, &record(101, 7, values));
            look(&scene, &record(101, 7, values));
            let kept = scene.rows(
                "SELECT local_id, hs_id, property, winner, resolved_at IS NOT NULL, remote_value FROM sync_conflicts",
            );
            assert_eq!(kept, expected, "{values:?}");
            let kept = scene.rows(
                "SELECT count(*) FROM sync_history WHERE origin = 'conflict' AND property = '*'",
            );
            assert_eq!(kept, [expected.len().to_string()], "{values:?}");
        };
        let same = [("firstname", "Base"), ("stage", "lead")];
        check(&same, &[]);
        let edited = [("firstname", "Theirs"), ("stage", "lead")];
        let explanation = r#"1 101 * local 1 {"first_name":"Theirs","stage":"lead"}"#;
        check(&edited, &[explanation]);
        // A value that the read did not ask for says nothing.
        check(&[("firstname", "Base"), ("email", "a@example.com")], &[]);
    }

    #[test]
    fn a_late_request_of_our_own_that_an_archive_meets_is_nobodys_edit() {
        let scene = archiving();
        scene.daemon(&format!(
            "INSERT INTO _sync_sent (object, local_id, property, value, sent_at, sent_over)
             VALUES ('contacts', 1, 'firstname', 'Ours', '{}', '{}')",
            at(4),
            at(0)
        ));
        let shown = record(101, 7, &[("firstname", "Ours"), ("stage", "lead")]);
        look(&scene, &shown);
        assert_eq!(scene.conflicts(), Vec::<String>::new());
    }

    #[test]
    fn an_archive_is_looked_at_once_it_was_answered_or_its_answer_is_lost() {
        let scene = archiving();
        assert_eq!(scene.rows(LOOKS), ["101 * -"]);
        scene.write(|tx| note_archived(tx, &scene.pass(at(8)), HubspotId(101), SMALL));
        assert_eq!(scene.rows(LOOKS), [format!("101 * {}", at(23))]);
        // A large push with a short gap: only an event tells, where any come.
        let large = Push {
            records: 100,
            ..SMALL
        };
        let scene = archiving();
        let told = Push {
            has_webhooks: true,
            ..large
        };
        scene.write(|tx| note_archived(tx, &scene.pass(at(8)), HubspotId(101), told));
        assert_eq!(scene.rows(LOOKS), ["101 * -"]);
        scene.write(|tx| note_archived(tx, &scene.pass(at(8)), HubspotId(101), large));
        assert_eq!(scene.rows(LOOKS), Vec::<String>::new());
    }

    #[test]
    fn what_a_killed_daemon_had_sent_is_looked_at() {
        let scene = archiving();
        scene.write(|tx| recover(tx, at(40)));
        assert_eq!(scene.rows(LOOKS), [format!("101 * {}", at(115))]);

        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let queued = queued.expect("an update waits");
            for field in &queued.fields {
                let ours = Value::from_canonical("Ours");
                outbox::set_sent(tx, queued.id, &field.property, &ours)?;
            }
            outbox::claim(tx, &queued, Attempt::Update { over: at(5) }, at(6))?;
            recover(tx, at(40))
        });
        assert_eq!(
            scene.rows(
                "SELECT property, base_value, sent_value, read_version, look_at FROM _sync_gaps"
            ),
            [format!("firstname Base Ours {} {}", at(5), at(115))]
        );
    }

    /// A look that is due at record 101, whose e-mail was `base` at the read and `ours` at the write.
    fn looking(desk: &Desk) -> Arc<ObjectSync> {
        let contacts = desk.contacts();
        let sync = Arc::clone(&contacts);
        let (read, written) = (began(), began() + Duration::from_secs(2));
        let noted = desk.engine.store().write(Lane::Bulk, move |tx| {
            let property = PropertyName::parse("email").expect("a name");
            let value = Value::from_canonical;
            let gap = Gap {
                base: Base::Known(value("base")),
                sent: value("ours"),
                answered: Some(value("ours")),
                read_version: read,
                written_version: Some(written),
            };
            let new = NewGap {
                object: sync.object(),
                hs_id: HubspotId(101),
                local_id: LocalId(1),
                property: &property,
                gap: &gap,
                look_at: Some(read),
                seen: true,
            };
            gaps::note(tx, new, read)
        });
        run(noted).expect("is noted");
        contacts
    }

    /// The history of an e-mail that somebody set between the read and the write.
    fn with_an_edit(id: u64, properties: &str) -> String {
        let entry = |value: &str, second: u64, source: &str| {
            let at = began() + Duration::from_secs(second);
            format!(r#"{{"value":"{value}","timestamp":"{at}","sourceType":"{source}"}}"#)
        };
        let history = [
            entry("ours", 2, "INTEGRATION"),
            entry("theirs", 1, "CRM_UI"),
            entry("base", 0, "CRM_UI"),
        ];
        format!(
            r#"{{"results":[{{"id":"{id}","properties":{properties},"propertiesWithHistory":{{"email":[{}]}}}}]}}"#,
            history.join(",")
        )
    }

    /// What is kept of the look, and the questions that it took.
    fn looked(desk: &Desk, contacts: &ObjectSync) -> (Vec<String>, Vec<bool>) {
        let done = run(step(&desk.engine, contacts, Looks::Due)).expect("a look");
        assert_eq!(done, Progress::More);
        let next = run(step(&desk.engine, contacts, Looks::Due)).expect("no look");
        assert_eq!(next, Progress::Idle { until: None }, "the look has ended");
        let kept = desk.engine.store().read(|connection| {
            let mut statement = connection.prepare(
                "SELECT hs_id || ' ' || local_value || ' ' || remote_value || ' ' || winner FROM sync_conflicts",
            )?;
            let kept = statement.query_map([], |row| row.get(0))?;
            Ok::<_, StoreError>(kept.collect::<Result<Vec<String>, _>>()?)
        });
        let asked = desk.hubspot.asked("/batch/read");
        let in_the_archive = asked.iter().map(|one| one.path.contains("archived=true"));
        (run(kept).expect("a query"), in_the_archive.collect())
    }

    const MISSING: &str =
        r#"{"results":[],"errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["101"]}}]}"#;

    #[test]
    fn what_a_push_went_over_is_found_in_the_archive_too() {
        let desk = Desk::new(0);
        let contacts = looking(&desk);
        desk.hubspot.answer("/batch/read", MISSING);
        desk.hubspot.answer("/batch/read", with_an_edit(101, "{}"));
        let (kept, in_the_archive) = looked(&desk, &contacts);
        assert_eq!(kept, ["101 ours theirs local"]);
        assert_eq!(in_the_archive, [false, true]);
        // One that is nowhere is not asked for again.
        let desk = Desk::new(0);
        let contacts = looking(&desk);
        desk.hubspot.answer("/batch/read", MISSING);
        desk.hubspot.answer("/batch/read", MISSING);
        let (kept, in_the_archive) = looked(&desk, &contacts);
        assert_eq!(kept, Vec::<String>::new());
        assert_eq!(in_the_archive, [false, true]);
    }

    #[test]
    fn a_survivors_answer_is_the_answer_to_the_id_that_was_merged_into_it() {
        let desk = Desk::new(0);
        let contacts = looking(&desk);
        let merged = r#"{"hs_merged_object_ids":"101;102"}"#;
        desk.hubspot
            .answer("/batch/read", with_an_edit(900, merged));
        let (kept, in_the_archive) = looked(&desk, &contacts);
        assert_eq!(kept, ["101 ours theirs local"]);
        assert_eq!(in_the_archive, [false]);
        let asked = &desk.hubspot.asked("/batch/read")[0].body;
        assert!(
            asked.contains(r#""properties":["hs_merged_object_ids"]"#),
            "{asked}"
        );
    }

    #[test]
    fn an_event_by_an_id_that_was_merged_away_tells_of_the_survivors_gap() {
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "base")]));
        let property = property("firstname");
        let value = Value::from_canonical;
        let gap = Gap {
            base: Base::Known(value("base")),
            sent: value("ours"),
            answered: Some(value("ours")),
            read_version: at(1),
            written_version: Some(at(4)),
        };
        let new = NewGap {
            object: scene.object.object(),
            hs_id: HubspotId(101),
            local_id: LocalId(1),
            property: &property,
            gap: &gap,
            look_at: None,
            seen: false,
        };
        scene.write(|tx| gaps::note(tx, new, at(4)));
        for (second, id, former) in [(5, 900, 101), (6, 901, 900)] {
            let mut survivor = record(id, second, &[("firstname", "ours")]);
            survivor.merged_ids = vec![HubspotId(former)];
            scene.apply(How::at(second), &survivor);
        }
        let event = Event {
            event_id: None,
            event_type: "contact.propertyChange".to_owned(),
            portal_id: None,
            object: Some(scene.object.object().clone()),
            hs_id: Some(HubspotId(101)),
            others: Vec::new(),
            property: Some(property.clone()),
            value: Some("theirs".to_owned()),
            occurred_at: Some(at(2)),
            own: false,
            problem: None,
        };
        let is_kept = scene.write(|tx| {
            let noted = noted_of(tx, scene.object.object(), HubspotId(101))?;
            take_event(tx, &scene.pass(at(7)), &noted, &event)
        });
        assert!(is_kept);
        let kept = scene.rows("SELECT local_id, hs_id, remote_value, winner FROM sync_conflicts");
        assert_eq!(kept, ["1 901 theirs local"]);
        // A request of ours that was lost landed in the gap.
        scene.daemon(&format!(
            "INSERT INTO _sync_sent (object, local_id, property, value, sent_at, sent_over)
             VALUES ('contacts', 1, 'firstname', 'late', '{0}', '{0}')",
            at(0)
        ));
        for (value, own, expected) in [
            ("late", true, false),
            ("late", false, true),
            ("a script's", true, true),
        ] {
            let event = Event {
                value: Some(value.to_owned()),
                own,
                ..event.clone()
            };
            let is_kept = scene.write(|tx| {
                let noted = noted_of(tx, scene.object.object(), HubspotId(101))?;
                take_event(tx, &scene.pass(at(8)), &noted, &event)
            });
            assert_eq!(is_kept, expected, "{value} {own}");
        }
    }
}
