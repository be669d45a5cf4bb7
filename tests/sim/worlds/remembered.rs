//! Where the file asks for HubSpot's own history of the hot field: that at rest it is here, to its last word.

use crate::worlds::alphabet::Mode;
use crate::worlds::play::Play;

impl Play<'_> {
    /// At rest: each value that HubSpot held is in `property_history`, the one that stands there last.
    pub(super) fn judge_remembered(&self) -> Result<(), String> {
        if self.small.setup.mode != Mode::Remembers || !self.existence.is_plain() {
            return Ok(());
        }
        let property = self.fields[0];
        let stands = self.bench.value_of(self.record, property);
        let written: Vec<(i64, Option<String>)> = {
            let state = self.bench.world.state();
            let log = state.portal.write_log()[self.writes_at_first..].iter();
            log.filter(|entry| entry.id == self.record)
                .flat_map(|entry| entry.properties.iter().map(|one| (entry.at_ms, one)))
                .filter(|(_, one)| one.name == property && one.old != one.new)
                .map(|(at, one)| (at, one.new.clone()))
                .collect()
        };
        // Of two words at one time one is kept.
        if written.windows(2).any(|two| two[0].0 == two[1].0) {
            return Ok(());
        }
        let connection = self.bench.programs.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT nullif(value, '') FROM property_history
                 WHERE object = 'contacts' AND hs_id = ?1 AND property = ?2 ORDER BY at",
            )
            .expect("the histories can be read");
        let told = statement
            .query_map((self.record as i64, property), |row| row.get(0))
            .expect("rows");
        let told: Vec<Option<String>> = told.collect::<Result<_, _>>().expect("histories");
        if let Some(untold) = written.iter().find(|(_, value)| !told.contains(value)) {
            return Err(format!(
                "HubSpot held {:?}, and property_history has {told:?}",
                untold.1
            ));
        }
        match told.last() == Some(&stands) {
            true => Ok(()),
            false => Err(format!(
                "HubSpot holds {stands:?}, and property_history ends with {told:?}"
            )),
        }
    }
}
