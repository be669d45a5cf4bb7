//! Records that something asked to be read from HubSpot's store: with the history of fields that a policy must compare,
//! and with the archive where they are missing.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::decide::echo::late_since;
use crate::decide::existence::{Absence, Action, Here, Hubspot, Sides, Word, decide};
use crate::decide::incoming::convert::{histories, remote_record};
use crate::decide::incoming::reading::{
    Absent, Archived, Due, MaybePushed, Removal, WantedReads, absent, next_look_for_erasure,
    origin_of, set_by_apps, told_of_absent,
};
use crate::decide::outgoing::archiving::{DeletedRow, agreed_with_archived};
use crate::decide::outgoing::plan::BATCH;
use crate::decide::retry::{AFTER_CONSTRAINT, AFTER_FLIGHT, AFTER_UNREAD};
use crate::engine::acts::EntryWork;
use crate::engine::inbound::absorb;
use crate::engine::inbound::apply::apply_record;
use crate::engine::inbound::applying::{Applying, refuse_record};
use crate::engine::inbound::existence::{Matter, end_removal, missed};
use crate::engine::pass::Pass;
use crate::engine::portal::contradictions;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::answers;
use crate::engine::source::blanks;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::{BatchRead, Priority, ReadQuery, Record};
use crate::model::entry::{EntryState, Operation};
use crate::model::id::HubspotId;
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::absent::{Deletion, WhyAbsent};
use crate::store::cursors;
use crate::store::database::savepoint;
use crate::store::history::{self, Origin};
use crate::store::reads::FallsDue;
use crate::store::{Lane, StoreError, absent, outbox, reads, unreadable};

/// So many of them are named in a line of the log.
const MOST_NAMED: usize = 20;

/// Reads one batch of what is due.
pub async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let (sync, now) = (object.clone(), engine.now());
    let since = late_since(now, engine.client.clock_offset_ms());
    let (wanted, next) = engine
        .store
        .read(move |connection| wanted(connection, &sync, (now, since)))
        .await?;
    if wanted.ids.is_empty() {
        return Ok(Progress::Idle { until: next });
    }
    let own_app = match wanted.in_doubt {
        true => engine.client.own_app().await,
        false => None,
    };
    let asked_at = engine.now();
    let histories_of: Vec<PropertyName> = wanted.with_history.into_iter().collect();
    let keys: Vec<String> = wanted.ids.iter().map(|due| due.id.to_string()).collect();
    let BatchRead {
        records: found,
        unread,
        unreadable: odd,
        ..
    } = read(engine, object, keys, &histories_of, false).await?;
    let absent = absent(&wanted.ids, &found);
    let archived = match absent.is_empty() {
        true => Vec::new(),
        false => {
            let keys = absent.iter().map(|due| due.id.to_string()).collect();
            read(engine, object, keys, &[], true).await?.records
        }
    };
    let Absent { unread, missing } = told_of_absent(absent, &unread, &archived);
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let client = engine.client.clone();
    let ids = wanted.ids.clone();
    let borne_out = engine.time_borne_out();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Poll, offset);
            // A read is done before it is applied: applying may ask for another one.
            put_off_unread(tx, &pass, &unread)?;
            put_off_unreadable(tx, &pass, &odd)?;
            for due in ids.iter().filter(|due| !unread.contains(due)) {
                reads::done(tx, sync.object(), *due)?;
                answers::end_events(tx, &pass, *due, &found)?;
            }
            let (mut own_app, mut any) = (own_app, false);
            let remotes: Vec<RemoteRecord> = found
                .iter()
                .map(|record| remote_record(&sync, record.clone()))
                .collect();
            let remotes: Vec<&RemoteRecord> = remotes.iter().collect();
            let applied = Applying::from_store(pass, asked_at).each(&remotes);
            for (record, (applying, remote)) in found.into_iter().zip(applied) {
                if wanted.in_doubt && own_app.is_none() {
                    own_app = app_of_our_pushes(tx, &pass, &record)?;
                    own_app.as_deref().inspect(|id| client.learn_own_app(id));
                }
                let histories = histories(&sync, &record, &histories_of, own_app.as_deref());
                let applying = Applying {
                    pass: pass.saying(origin_of(&ids, remote)),
                    ..applying
                };
                match savepoint::within(tx, || {
                    apply_record(tx, &applying, remote, Some(&histories))
                }) {
                    Err(error) if error.is_of_one_row() => {
                        refuse_record(tx, &applying.pass, remote.id, &error)?;
                    }
                    applied => any |= applied?,
                }
                end_removal(tx, &pass, remote.id)?;
                // Also an id that was merged away and that the survivor answers.
                for due in ids.iter().filter(|due| remote.answers_to(due.id)) {
                    look_again_before_erasing(tx, &pass, due.id, borne_out)?;
                    if due.id != remote.id {
                        absorb::bury_merged(tx, &pass, due.id)?;
                    }
                }
            }
            if any {
                cursors::set_last_change(tx, sync.object(), pass.now)?;
            }
            for due in missing {
                let shown = archived.iter().find(|record| record.id == due.id);
                let shown = shown.map(|record| remote_record(&sync, record.clone()));
                take_missing(tx, &pass, due, shown.as_ref(), asked_at)?;
            }
            reads::end_done(tx, sync.object())
        })
        .await?;
    Ok(Progress::More)
}

/// The app that a history names as the author of a value which HubSpot has acknowledged to us at that time.
fn app_of_our_pushes(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    record: &Record,
) -> Result<Option<String>, StoreError> {
    let object = pass.object;
    let Some(row) = object.table.by_hs_id(tx, record.id)? else {
        return Ok(None);
    };
    let row = row.record.local_id;
    for MaybePushed {
        property,
        value,
        within,
        app,
    } in set_by_apps(object, record, pass.offset_ms)
    {
        let Some(field) = object.mapping().field(&property) else {
            continue;
        };
        if history::was_pushed(tx, object.object(), row, field, &value, within)? {
            return Ok(Some(app));
        }
    }
    Ok(None)
}

/// A record that a read missed, with what HubSpot's archive shows of it.
pub(crate) fn take_missing(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    due: Due,
    archived: Option<&RemoteRecord>,
    asked_at: Timestamp,
) -> Result<(), StoreError> {
    let removal = Removal {
        id: due.id,
        archived: match archived {
            Some(record) => Archived::Shown(record.archived_at),
            None => Archived::Unshown,
        },
        origin: due.origin,
    };
    if !note_missing(tx, pass, removal, asked_at)? {
        return Ok(());
    }
    unreadable::forget_whole(tx, pass.name(), due.id)?;
    match archived {
        Some(record) => agree_with_archived(tx, pass, record),
        None => Ok(()),
    }
}

/// Pending changes that an archived record holds have reached it before: its row counts as clean for them.
fn agree_with_archived(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(row) = object.table.by_hs_id(tx, record.id)? else {
        return Ok(());
    };
    let local_id = row.record.local_id;
    let Some(entry) = outbox::of_row(tx, object.object(), local_id)? else {
        return Ok(());
    };
    if entry.standing.state == EntryState::InFlight || entry.standing.operation != Operation::Update
    {
        return Ok(());
    }
    let sent = outbox::sent_earlier(
        tx,
        object.object(),
        local_id,
        late_since(now, pass.offset_ms),
    )?;
    let archived = DeletedRow {
        mapping: object.mapping(),
        entry: &entry,
        record,
        sent: &sent,
    };
    let acts = agreed_with_archived(&archived, &row.record.values);
    let work = EntryWork::of_entry(tx, object.object(), &entry, now);
    work.of_record(record.id).carry_out(acts)
}

async fn read(
    engine: &Engine,
    object: &ObjectSync,
    keys: Vec<String>,
    with_history: &[PropertyName],
    archived: bool,
) -> Result<BatchRead, StepError> {
    let query = ReadQuery {
        keys,
        id_property: None,
        properties: object.properties.clone(),
        with_history: with_history
            .iter()
            .map(|property| property.as_str().to_owned())
            .collect(),
        archived,
    };
    let mut found = engine
        .client
        .batch_read(object.object(), &query, Priority::Webhook)
        .await?;
    blanks::fill(engine, object, &query.properties, &mut found.records).await?;
    contradictions::look_at(engine, object, &found.records).await?;
    Ok(found)
}

/// Records that HubSpot could not read this time are noted, and asked for again: the read that shows or misses them takes
/// the note back.
fn put_off_unread(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    unread: &[Due],
) -> Result<(), StoreError> {
    let now = pass.now;
    if !unread.is_empty() {
        let ids = unread.iter().take(MOST_NAMED);
        let ids: Vec<String> = ids.map(|due| due.id.to_string()).collect();
        tracing::warn!(object = %pass.name(), records = unread.len(), hs_ids = ids.join(" "), "HubSpot neither showed records nor said that they are gone; they are asked for again");
    }
    for due in unread {
        unreadable::note_record(tx, pass.name(), due.id, now)?;
        reads::put_off(tx, FallsDue::Read, pass.name(), due.id, now + AFTER_UNREAD)?;
    }
    Ok(())
}

/// Records that the store shows and that make no sense are noted by their ids, and asked for less often: what HubSpot holds
/// must change first.
fn put_off_unreadable(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    odd: &[HubspotId],
) -> Result<(), StoreError> {
    let now = pass.now;
    for id in odd {
        unreadable::note_record(tx, pass.name(), *id, now)?;
        reads::put_off(tx, FallsDue::Read, pass.name(), *id, now + AFTER_CONSTRAINT)?;
    }
    Ok(())
}

/// Asks for reads of records that a page should have shown and that could not be read, and notes them: the read takes the
/// note back.
pub(crate) fn ask_unread(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    unread: &[HubspotId],
) -> Result<(), StoreError> {
    let now = pass.now;
    for id in unread {
        unreadable::note_record(tx, pass.name(), *id, now)?;
        reads::ask(tx, pass.name(), *id, pass.origin, now + AFTER_UNREAD)?;
    }
    Ok(())
}

fn wanted(
    connection: &Connection,
    object: &ObjectSync,
    (now, since): (Timestamp, Timestamp),
) -> Result<(WantedReads, Option<Timestamp>), StoreError> {
    let mut wanted = WantedReads::default();
    for due in reads::due(connection, object.object(), now, BATCH)? {
        let (properties, in_doubt) = contested(connection, object, due.id, since)?;
        if !wanted.add(due, properties, in_doubt) {
            break;
        }
    }
    let next = reads::next_due(connection, object.object())?;
    Ok((wanted.bounded(), next))
}

/// The fields of a record for which a merge may need the time or the author of HubSpot's change, and whether requests of
/// ours are in doubt: those since `since` count.
fn contested(
    connection: &Connection,
    object: &ObjectSync,
    id: HubspotId,
    since: Timestamp,
) -> Result<(BTreeSet<PropertyName>, bool), StoreError> {
    let Some(row) = object.table.by_hs_id(connection, id)? else {
        return Ok((BTreeSet::new(), false));
    };
    let local_id = row.record.local_id;
    let pending = outbox::of_row(connection, object.object(), local_id)?;
    let fields = pending
        .into_iter()
        .flat_map(|queued| queued.fields)
        .map(|field| field.property);
    let sent = outbox::sent_earlier(connection, object.object(), local_id, since)?;
    let in_doubt = !sent.is_empty();
    let fields = fields
        .chain(sent.into_keys())
        .filter(|property| object.mapping().field(property).is_some())
        .collect();
    Ok((fields, in_doubt))
}

/// A record that is to be erased and that HubSpot still shows: a deletion is believed only after a read.
fn look_again_before_erasing(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    borne_out: Option<Timestamp>,
) -> Result<(), StoreError> {
    let (object, now) = (pass.name(), pass.now);
    let Some(asked_at) = reads::erasure_asked_at(tx, object, id)? else {
        return Ok(());
    };
    if let Some(next) = next_look_for_erasure(asked_at, borne_out, now) {
        return reads::ask(tx, object, id, Origin::Webhook, next).map(drop);
    }
    tracing::error!(object = %object, hs_id = %id, code = "erasure-waits", "HubSpot announced a privacy deletion a day ago and still shows the record: nothing was erased");
    reads::forget_erasure(tx, object, id)
}

/// A record that an answer to a question of `asked_at` misses: its row waits for the guard, its pending archive is done.
/// Tells whether that is believed; else the record is read again.
pub(crate) fn note_missing(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    removal: Removal,
    asked_at: Timestamp,
) -> Result<bool, StoreError> {
    match savepoint::within(tx, || note_missing_one(tx, pass, removal, asked_at)) {
        // A program's constraint keeps what should go: it goes later, and the others now.
        Err(error) if error.is_of_one_row() => {
            let name = pass.name();
            let explanation = format!(
                "HubSpot record {} can't be taken out of the database: {error}",
                removal.id
            );
            if reads::ask_refused(tx, name, removal.id, removal.origin, pass.now, &explanation)? {
                tracing::error!(object = %name, hs_id = %removal.id, code = error.code(), "a constraint keeps a record that HubSpot no longer has; see sync_status.last_error");
            }
            Ok(false)
        }
        noted => noted,
    }
}

fn note_missing_one(
    tx: &rusqlite::Transaction<'_>,
    pass: &Pass<'_>,
    removal: Removal,
    asked_at: Timestamp,
) -> Result<bool, StoreError> {
    let moment = pass.moment();
    let (object, name, id) = (pass.object, pass.name(), removal.id);
    let row = object.table.by_hs_id(tx, id)?;
    let queued = match row {
        Some(_) => None,
        None => outbox::of_record(tx, name, id)?,
    };
    let entry = queued.as_ref();
    let missed = missed(tx, pass, Some(id), (row.as_ref(), entry), asked_at)?;
    let missed = Absence {
        archived: removal.archived.or(missed.archived),
        ..missed
    };
    let hubspot = Hubspot::missed(&missed, &moment);
    if let Hubspot::Gone { archived } = hubspot
        && missed.needs_the_archives_word(&moment)
        && (row.is_some() || entry.is_some())
    {
        // Whoever looks next may ask in a way that shows no archive: a push, or a person's decision.
        absent::note(
            tx,
            name,
            id,
            WhyAbsent::Deleted(Deletion {
                archived_at: archived.at(),
            }),
            pass.now,
        )?;
    }
    let actions = decide(&Sides {
        hubspot,
        here: match &row {
            Some(row) if object.table.is_marked(tx, row.record.local_id)? => Here::Marked,
            Some(_) => Here::row(None, None, &moment),
            None => Here::rowless(entry, &moment),
        },
        word: Word::Unasked,
        policy: object.mapping().policy,
        modes: object.mapping().modes,
        is_erasure: reads::erasure_asked_at(tx, name, id)?.is_some(),
    });
    if let [Action::LookAgain(again)] = actions[..] {
        let again = again.due(&moment, AFTER_FLIGHT);
        reads::ask(tx, name, id, removal.origin, again)?;
        return Ok(false);
    }
    let matter = Matter {
        pass: pass.saying(removal.origin),
        hs_id: id,
        row: row.as_ref(),
        queued: queued.as_ref(),
        record: None,
        key: "",
        decided: None,
    };
    matter.carry_out(tx, &actions)?;
    if removal.archived.is_shown() {
        // It stands in HubSpot's archive: it is not gone for good.
        reads::erase_later(tx, name, id, None)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{How, Scene, at, record};
    use crate::model::mapping::{Policy, Sees};

    #[test]
    fn a_record_that_was_made_or_restored_since_the_question_is_not_missing() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(30), &record(101, 30, &[("firstname", "Ann")]));
        let is_missing = |asked_at, offset| {
            let pass = Pass {
                offset_ms: offset,
                ..scene.pass(at(40))
            };
            let removal = Removal {
                id: HubspotId(101),
                archived: Archived::Unshown,
                origin: Origin::Poll,
            };
            scene.write(|tx| note_missing(tx, &pass, removal, at(asked_at)))
        };
        assert!(!is_missing(10, 0));
        assert_eq!(
            scene.rows("SELECT due_at FROM _sync_reads"),
            [at(70).to_string()]
        );
        assert!(is_missing(31, 0));
        assert!(is_missing(20, 15_000));
    }

    #[test]
    fn a_record_that_is_neither_shown_nor_called_missing_is_named_until_a_read_tells_of_it() {
        let scene = Scene::of(Policy::Newest);
        let object = scene.object.object();
        let told = || scene.rows("SELECT last_error FROM sync_status");
        let unread = |second| {
            scene.write(|tx| {
                reads::ask(tx, object, HubspotId(101), Origin::Webhook, at(second))?;
                let due = reads::due(tx, object, at(second), BATCH)?;
                put_off_unread(tx, &scene.pass(at(second)), &due)
            });
        };
        unread(10);
        assert_eq!(
            told(),
            ["HubSpot record 101 can't be read: SELECT * FROM sync_unreadable shows which"]
        );
        let again = scene.rows("SELECT due_at FROM _sync_reads");
        assert_eq!(again, [at(40).to_string()]);
        scene.apply(How::at(40), &record(101, 20, &[("firstname", "Ann")]));
        assert_eq!(told(), ["-"]);
    }

    #[test]
    fn a_privacy_deletion_of_a_record_that_is_still_shown_is_looked_at_again_for_a_day() {
        let day = 86_400;
        for (second, wait) in [
            (20, Some(10)),
            (200, Some(300)),
            (day - 1, Some(300)),
            (day, None),
        ] {
            let scene = Scene::of(Policy::Newest);
            let object = scene.object.object();
            scene.apply(How::at(0), &record(101, 0, &[("firstname", "Ann")]));
            scene.write(|tx| {
                reads::note_erasure(tx, object, HubspotId(101), at(0))?;
                look_again_before_erasing(tx, &scene.pass(at(second)), HubspotId(101), None)
            });
            let again = scene.rows("SELECT due_at FROM _sync_reads");
            let expected = wait.map(|wait| at(second + wait).to_string());
            assert_eq!(again, expected.into_iter().collect::<Vec<_>>());
            let still_asked = scene.rows("SELECT hs_id FROM _sync_erasures").len();
            assert_eq!(still_asked, usize::from(wait.is_some()));
            assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Ann"]);
        }
    }

    #[test]
    fn a_record_that_was_made_moments_ago_is_not_removed_because_one_read_misses_it() {
        let scene = Scene::of(Policy::Newest);
        let young = RemoteRecord {
            created_at: at(0),
            ..record(101, 0, &[("firstname", "Ann")])
        };
        scene.apply(How::at(1), &young);
        let missed = |second, offset_ms, archived| {
            scene.daemon("DELETE FROM _sync_reads; DELETE FROM _sync_removals");
            let removal = Removal {
                id: HubspotId(101),
                archived,
                origin: Origin::Poll,
            };
            let pass = Pass {
                offset_ms,
                ..scene.pass(at(second))
            };
            scene.write(|tx| note_missing(tx, &pass, removal, pass.now));
            let removals = scene.rows("SELECT hs_id FROM _sync_removals").len();
            (removals, scene.rows("SELECT due_at FROM _sync_reads"))
        };
        let unshown = Archived::Unshown;
        assert_eq!(missed(20, 0, unshown), (0, vec![at(30).to_string()]));
        assert_eq!(missed(55, 0, unshown), (0, vec![at(60).to_string()]));
        // By HubSpot's clock it is older than it seems here, and then it is gone.
        assert_eq!(missed(20, 50_000, unshown), (1, Vec::new()));
        assert_eq!(missed(60, 0, unshown), (1, Vec::new()));
        // The archive shows it: it is gone, however young.
        for shown in [Archived::Shown(Some(at(10))), Archived::Shown(None)] {
            assert_eq!(missed(20, 0, shown), (1, Vec::new()));
        }
    }

    #[test]
    fn an_older_page_makes_no_row_of_a_record_that_was_never_here_and_is_gone() {
        let scene = Scene::of(Policy::Newest);
        let removal = Removal {
            id: HubspotId(101),
            archived: Archived::Unshown,
            origin: Origin::Webhook,
        };
        scene.write(|tx| note_missing(tx, &scene.pass(at(20)), removal, at(20)));
        let stale = How {
            asked_at: at(10),
            ..How::at(30)
        };
        assert!(!scene.apply(stale, &record(101, 0, &[("firstname", "Ann")])));
        assert_eq!(scene.rows("SELECT count(*) FROM contacts"), ["0"]);
        assert!(scene.apply(How::at(40), &record(101, 0, &[("firstname", "Ann")])));
    }

    #[test]
    fn a_users_token_believes_a_deletion_that_is_announced_or_that_the_archive_shows() {
        let missing = |archived, is_announced| {
            let scene = Scene::with(|mapping| mapping.modes.sees = Sees::User);
            scene.apply(How::at(0), &record(101, 0, &[("firstname", "Ann")]));
            let removal = Removal {
                id: HubspotId(101),
                archived,
                origin: Origin::Reconcile,
            };
            scene.write(|tx| {
                if is_announced {
                    let said = WhyAbsent::Deleted(Deletion {
                        archived_at: Some(at(8)),
                    });
                    absent::note(tx, scene.object.object(), HubspotId(101), said, at(5))?;
                }
                note_missing(tx, &scene.pass(at(90)), removal, at(90))
            });
            let noted =
                "SELECT (SELECT max(archived_at) FROM _sync_removals), unseen FROM sync_status";
            scene.rows(noted).remove(0)
        };
        assert_eq!(missing(Archived::Unshown, false), "- 1");
        assert_eq!(missing(Archived::Unshown, true), format!("{} 0", at(8)));
        assert_eq!(
            missing(Archived::Shown(Some(at(10))), false),
            format!("{} 0", at(10))
        );
        assert_eq!(
            missing(Archived::Shown(Some(at(10))), true),
            format!("{} 0", at(10))
        );
        // In the archive, and nobody says since when.
        assert_eq!(missing(Archived::Shown(None), false), "- 0");
    }
}
