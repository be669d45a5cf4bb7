//! What the engine's tests share: a real file with a table of contacts, a program that writes to it, and records as
//! HubSpot would show them. Nothing is sent; a test calls what a step does inside its transaction.

use std::cell::RefCell;

use rusqlite::{Connection, Transaction};
use tempfile::TempDir;

use crate::decide::incoming::freshness::Evidence;
use crate::decide::outgoing::present::Present;
use crate::engine::inbound::apply::apply_record;
use crate::engine::inbound::applying::Applying;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::model::id::HubspotId;
use crate::model::mapping::{ObjectMapping, Policy};
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::store::history::Origin;
use crate::store::shape::ddl;
use crate::store::testing::{
    at_once, connection, contacts, daemons_connection, folder, mapping, now, open, shown,
};
use crate::store::{Lane, Mode, Store, StoreError, WriteTx};

/// A moment of the scene: seconds after ten past three in the morning.
pub(crate) fn at(second: i64) -> Timestamp {
    now().plus_millis(second * 1_000)
}

/// A file of its own with contacts, whose first read is done.
pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) object: ObjectSync,
    /// The daemon's hand: no trigger fires.
    daemon: RefCell<Connection>,
}

/// How an answer is applied: a read from the store that was asked for at the same second, unless a test says otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) evidence: Evidence,
    pub(crate) asked_at: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) clock_offset_ms: i64,
}

impl How {
    pub(crate) fn at(second: i64) -> Self {
        Self {
            evidence: Evidence::Store,
            asked_at: at(second),
            now: at(second),
            clock_offset_ms: 0,
        }
    }
}

impl Scene {
    /// Contacts of one policy.
    pub(crate) fn of(policy: Policy) -> Self {
        Self::with(|mapping| {
            mapping.policy = policy;
            for field in &mut mapping.fields {
                field.policy = policy;
            }
        })
    }

    /// Contacts matched by e-mail, under a mapping that `change` has its word in.
    pub(crate) fn with(change: impl FnOnce(&mut ObjectMapping)) -> Self {
        let mut object = contacts();
        object.match_property = Some(property("email"));
        change(&mut object);
        let folder = folder();
        let store = open(&folder, Mode::Inline).expect("opens");
        let made = object.clone();
        let fill = move |tx: &crate::store::WriteTx<'_>| {
            ddl::fit_to_mapping(tx, &mapping(vec![made]), now())?;
            Ok::<_, StoreError>(tx.execute_batch("UPDATE _sync_cursors SET backfill = 'done'")?)
        };
        at_once(store.write(Lane::Bulk, fill)).expect("fills");
        store.close();
        let daemon = daemons_connection(&folder);
        Self {
            folder,
            object: synced(object),
            daemon: RefCell::new(daemon),
        }
    }

    /// Contacts 1 to 120, matched by `1@example.com` and so on, whose first name is Ada on both sides, and a guard that lets 12 of
    /// them be emptied.
    pub(crate) fn of_adas() -> Self {
        let scene = Self::of(Policy::Newest);
        for number in 1..=120 {
            let email = format!("{number}@example.com");
            let ada = record(
                100 + number,
                0,
                &[("firstname", "Ada"), ("email", email.as_str())],
            );
            scene.apply(How::at(0), &ada);
        }
        let bounds = "INSERT INTO _sync_meta (name, value) VALUES ('guard_cleared', '0.1 3600000')";
        scene.daemon(bounds);
        scene
    }

    /// Records 101 and so on, so many, as they are once somebody has emptied their first names.
    pub(crate) fn emptied(count: i64) -> Vec<RemoteRecord> {
        let records = (1..=count).map(|number| {
            let email = format!("{number}@example.com");
            record(
                100 + number,
                9,
                &[("firstname", ""), ("email", email.as_str())],
            )
        });
        records.collect()
    }

    /// What the guard holds of columns: the side, how many values, and the property.
    pub(crate) fn clear_holds(&self) -> Vec<String> {
        self.rows("SELECT side, records, property FROM sync_holds WHERE settled_at IS NULL AND operation = 'clear'")
    }

    /// Statements of a program: triggers fire.
    pub(crate) fn program(&self, sql: &str) {
        connection(&self.folder).execute_batch(sql).expect(sql);
    }

    /// Statements of the daemon: no trigger fires.
    pub(crate) fn daemon(&self, sql: &str) {
        self.daemon.borrow().execute_batch(sql).expect(sql);
    }

    /// One transaction of the daemon.
    pub(crate) fn write<T>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> T {
        let mut connection = self.daemon.borrow_mut();
        let tx = connection.transaction().expect("begins");
        let done = job(&tx).expect("is done");
        tx.commit().expect("commits");
        done
    }

    /// Applies a record as a read or a page does. Tells whether something changed here.
    pub(crate) fn apply(&self, how: How, record: &RemoteRecord) -> bool {
        self.write(|tx| apply_record(tx, &self.applying(how), record, None))
    }

    pub(crate) fn applying(&self, how: How) -> Applying<'_> {
        Applying {
            pass: Pass {
                object: &self.object,
                origin: Origin::Poll,
                now: how.now,
                offset_ms: how.clock_offset_ms,
            },
            evidence: how.evidence,
            asked_at: how.asked_at,
            with_history: true,
            later: &[],
        }
    }

    /// A transaction at this time, by clocks that agree.
    pub(crate) fn pass(&self, now: Timestamp) -> Pass<'_> {
        Pass {
            now,
            ..pass(&self.object)
        }
    }

    /// The rows of a query, columns joined by spaces; NULL is `-`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let connection = self.daemon.borrow();
        let mut statement = connection.prepare(sql).expect(sql);
        let columns = statement.column_count();
        let lines = statement.query_map([], |row| {
            let texts: Result<Vec<String>, _> = (0..columns)
                .map(|index| row.get_ref(index).map(shown))
                .collect();
            Ok(texts?.join(" "))
        });
        lines.expect(sql).collect::<Result<_, _>>().expect("reads")
    }

    /// What waits to be pushed: operation, row, record, and each field with its base; `?` where that is not known.
    pub(crate) fn outbox(&self) -> Vec<String> {
        self.rows(
            "SELECT e.operation || ' ' || e.local_id || ' ' || coalesce(e.hs_id, '-')
                    || coalesce((SELECT group_concat('; ' || f.property || ' was '
                                                     || CASE f.base_known WHEN 1 THEN coalesce(f.base_value, '-') ELSE '?' END, '')
                                 FROM sync_outbox_fields AS f WHERE f.outbox_id = e.id), '')
             FROM sync_outbox AS e
             ORDER BY e.local_id",
        )
    }

    /// Conflicts: row, property, both values, and the winner, `-` while one is open.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        self.rows(
            "SELECT local_id, property, local_value, remote_value, winner FROM sync_conflicts ORDER BY id",
        )
    }
}

pub(crate) fn property(name: &str) -> PropertyName {
    PropertyName::parse(name).expect(name)
}

/// A record as HubSpot shows it, last changed at this second.
pub(crate) fn record(id: i64, updated: i64, values: &[(&str, &str)]) -> RemoteRecord {
    RemoteRecord {
        id: HubspotId(id),
        values: values
            .iter()
            .map(|(name, value)| (property(name), Value::from_canonical(*value)))
            .collect(),
        invalid: std::collections::BTreeMap::new(),
        created_at: at(-1_000_000),
        updated_at: at(updated),
        archived: false,
        archived_at: None,
        merged_ids: Vec::new(),
        own_key: None,
        other_emails: Vec::new(),
        pipeline: None,
    }
}

/// An answer of these records, with the keys that could not be read.
pub(crate) fn showing(records: Vec<RemoteRecord>, unread: &[&str]) -> Present {
    Present {
        records,
        unread: unread.iter().map(|key| (*key).to_owned()).collect(),
        ..Present::default()
    }
}

/// As many keys as a step may need.
const KEYS: usize = 200;

pub(crate) fn pass(object: &ObjectSync) -> Pass<'_> {
    Pass {
        object,
        origin: Origin::Poll,
        now: now(),
        offset_ms: 0,
    }
}

pub(crate) fn sync() -> ObjectSync {
    synced(contacts())
}

/// An object with the table of its mapping, and unique e-mail addresses.
pub(crate) fn synced(mapping: ObjectMapping) -> ObjectSync {
    ObjectSync::new(SyncedObject {
        unique: vec![property("email")],
        ..SyncedObject::of(mapping)
    })
}

/// Contacts 1 to `rows`, whose records are 1001 and so on.
pub(crate) fn with_contacts(rows: i64) -> (TempDir, Store) {
    let folder = folder();
    let store = open(&folder, Mode::Inline).expect("opens");
    write(&store, move |tx| {
        ddl::fit_to_mapping(tx, &mapping(vec![contacts()]), now())?;
        for row in 1..=rows {
            tx.execute(
                "INSERT INTO contacts (local_id, hs_id, email, first_name) VALUES (?1, 1000 + ?1, ?1 || '@example.com', 'Ada')",
                [row],
            )?;
        }
        Ok(tx.execute_batch("UPDATE _sync_cursors SET backfill = 'done'")?)
    });
    (folder, store)
}

pub(crate) fn write<T: Send + 'static>(
    store: &Store,
    job: impl FnOnce(&WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
) -> T {
    at_once(store.write(Lane::Bulk, job)).expect("writes")
}

pub(crate) fn keys() -> Vec<String> {
    (0..KEYS).map(|number| format!("{number:032x}")).collect()
}
