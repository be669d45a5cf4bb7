//! What people do in a world: in HubSpot, and with a SQL shell.

use crate::model::Place;
use crate::worlds::acts::Act;
use crate::worlds::alphabet::Mode;
use crate::worlds::bench::{FIRST, NOBODY, PERSON, first};
use crate::worlds::play::Play;

impl Play<'_> {
    /// A person archives, restores, merges or erases the record.
    pub(super) fn whole_record(&mut self, act: Act) -> Result<(), String> {
        let record = self.record;
        let is_announced = self.small.setup.webhooks && !self.lost_announcements();
        {
            let mut state = self.bench.world.state();
            let now = state.true_ms();
            let portal = &mut state.portal;
            // A record that somebody else's was merged into has its address too.
            let has = |text: Option<&str>| {
                text.is_some_and(|text| text.split(';').any(|one| one == PERSON))
            };
            let mut others = portal.records("contacts").into_iter();
            let is_there =
                others.any(|one| has(one.value("email")) || has(one.value("hs_additional_emails")));
            if act == Act::Create && !is_there && !self.existence.is_erased {
                let hot = match first(self.small.setup) {
                    "" if self.small.setup.mode == Mode::New => FIRST,
                    own => own,
                };
                let hot = (self.fields[0], hot);
                let properties = [("email", PERSON), hot, (self.fields[1], FIRST)];
                self.record = portal.create("contacts", &properties, now);
                self.existence.made += 1;
                for model in &mut self.models {
                    model.begins_anew(Place::Remote);
                }
            }
            if act == Act::Archive && portal.archive("contacts", record, now) {
                self.existence.archived_ms.push(now);
                self.existence.gone.insert(record);
            }
            if act == Act::ArchiveOther {
                let other = self.bench.records[1];
                portal.archive("contacts", other, now);
                self.existence.gone.insert(other);
            }
            if act == Act::Restore && portal.restore("contacts", record, now) {
                self.existence.is_intricate = true;
            }
            // Where nobody tells of the law, it is a record that is gone.
            if act == Act::Erase && is_announced && portal.delete_for_good("contacts", record, now)
            {
                self.existence.is_erased = true;
                self.existence.gone.insert(record);
            }
            let other = self.bench.records[1];
            if act == Act::Merge
                && let Some(id) = portal.merge("contacts", record, other, now)
            {
                self.existence.is_intricate = true;
                self.existence.merges += 1;
                self.existence.gone.extend([record, other]);
                self.record = id;
            }
            // Whoever it was is somebody else from then on.
            if act == Act::MergeAway && portal.merge("contacts", other, record, now).is_some() {
                self.existence.is_intricate = true;
                self.existence.merges += 1;
                self.existence.gone.extend([record, other]);
                self.record = NOBODY;
            }
        }
        self.look_there()
    }

    pub(super) fn edit(&mut self, property: &str, value: &str) -> Result<(), String> {
        self.edit_by(None, property, value)
    }

    pub(super) fn edit_by(
        &mut self,
        app: Option<u32>,
        property: &str,
        value: &str,
    ) -> Result<(), String> {
        {
            let mut state = self.bench.world.state();
            let now = state.true_ms();
            let change = [(property, value)];
            let portal = &mut state.portal;
            match app {
                Some(app) => portal.edit_by_app("contacts", self.record, &change, app, now),
                None => portal.edit("contacts", self.record, &change, now),
            };
        }
        self.look_there()
    }

    /// A person with a SQL shell.
    pub(super) fn operate(&mut self, sql: &str) -> Result<(), String> {
        let done = self
            .bench
            .programs
            .connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]));
        self.ran(done)
    }

    pub(super) fn decide(&mut self, winner: Place) -> Result<(), String> {
        let open = self.open_now();
        let now = self.bench.world.state().true_ms();
        let row = self.hot().map(|row| row.local_id);
        for (_, of_row, property) in open {
            match self.fields.iter().position(|name| *name == property) {
                Some(index) if Some(of_row) == row => self.models[index].decided(winner, now),
                Some(_) | None => self.existence.decided = true,
            }
        }
        let sql = match winner {
            Place::Local => {
                "UPDATE sync_conflicts SET resolution = 'local' WHERE resolved_at IS NULL AND resolution IS NULL"
            }
            Place::Remote => {
                "UPDATE sync_conflicts SET resolution = 'remote' WHERE resolved_at IS NULL AND resolution IS NULL"
            }
        };
        self.operate(sql)
    }

    pub(super) fn discard(&mut self) -> Result<(), String> {
        self.existence.decided |=
            self.finds("SELECT 1 FROM sync_outbox WHERE state <> 'in_flight'");
        self.operate("DELETE FROM sync_outbox WHERE state <> 'in_flight' AND NOT (state = 'dead' AND unanswered_since IS NOT NULL)")
    }

    /// For a value that neither side holds.
    pub(super) fn decide_value(&mut self) -> Result<(), String> {
        let open = self.open_now();
        let now = self.bench.world.state().true_ms();
        let row = self.hot().map(|row| row.local_id);
        let value = self.next_value("d");
        // Which of two decisions is carried out is not told.
        self.existence.decided = true;
        for (_, of_row, property) in open {
            let place = self.fields.iter().position(|name| *name == property);
            if let Some(index) = place.filter(|_| Some(of_row) == row) {
                self.models[index].decided_for(&value, now);
            }
        }
        self.operate(&format!("UPDATE sync_conflicts SET resolution = 'value:{value}' WHERE resolved_at IS NULL AND resolution IS NULL AND property <> '*'"))
    }
}
