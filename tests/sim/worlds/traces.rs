//! What the tables tell of what the daemon has done: a line for each value that it brought to a side, with the side from which
//! it came; and what HubSpot's limit says of the requests.

use hubsyncd::simulator::portal::Operation;

use crate::model::Place;
use crate::worlds::alphabet::Mode;
use crate::worlds::play::Play;

impl Play<'_> {
    /// At rest: the value that the daemon brought to a side last, and that still stands there, is in the history.
    pub(super) fn judge_traces(&self) -> Result<(), String> {
        self.judge_limit()?;
        let is_told = !matches!(
            self.small.setup.mode,
            Mode::Untold | Mode::Fills | Mode::Append
        );
        if !is_told || self.existence.is_erased || self.existence.was_hidden {
            return Ok(());
        }
        let state = self.bench.world.state();
        let log = &state.portal.write_log()[self.writes_at_first..];
        for property in self.fields {
            let mut own = log.iter().rev().filter(|entry| entry.id == self.record);
            let last = own.find(|entry| {
                let mut written = entry.properties.iter();
                written.any(|one| one.name == property && one.old != one.new)
            });
            let Some(last) = last.filter(|entry| entry.by_api) else {
                continue;
            };
            let value = last.properties.iter().find(|one| one.name == property);
            let value = value.and_then(|one| one.new.clone());
            let is_made = last.operation == Operation::Create;
            // A create that was lost, without a key or a value to look by: a person has to look, and nobody can tell of it before.
            if is_made && self.small.setup.mode == Mode::Keyless && self.is_dead() {
                continue;
            }
            let told = match is_made {
                true => self.tells("SELECT 1 FROM sync_history WHERE property = '*' AND origin IN ('push', 'conflict') AND instr(new_value, ?1) AND ?2 = ?2", value.as_deref(), property),
                false => self.tells(
                    "SELECT 1 FROM sync_history WHERE property = ?2 AND new_value IS ?1",
                    value.as_deref(),
                    property,
                ),
            };
            if !told {
                return Err(format!(
                    "{property}: the daemon wrote {value:?} there, and the history does not tell"
                ));
            }
        }
        for (index, property) in self.fields.into_iter().enumerate() {
            let model = &self.models[index];
            // What a first read brings nobody tells.
            let is_first = self.small.setup.mode == Mode::Fresh;
            if is_first || !model.was_brought(Place::Local) || !self.existence.is_plain() {
                continue;
            }
            let value = self.hot().and_then(|row| row.values[index].clone());
            if !self.tells(
                "SELECT 1 FROM sync_history WHERE property = ?2 AND new_value IS ?1",
                value.as_deref(),
                property,
            ) {
                return Err(format!(
                    "{property}: the daemon wrote {value:?} here, and the history does not tell"
                ));
            }
        }
        Ok(())
    }

    fn tells(&self, sql: &str, value: Option<&str>, property: &str) -> bool {
        let connection = self.bench.programs.connection();
        let mut statement = connection.prepare_cached(sql).expect(sql);
        statement.exists((value, property)).expect(sql)
    }

    /// No request of the daemon's is refused for the limit that it was told.
    fn judge_limit(&self) -> Result<(), String> {
        let violations = self.bench.world.state().portal.violations();
        match self.small.setup.mode == Mode::Narrow && violations.burst > self.refused_at_first {
            true => Err(format!("HubSpot's limit was exceeded: {violations:?}")),
            false => Ok(()),
        }
    }
}
