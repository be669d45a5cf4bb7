//! What programs do in a world, to the row of its person.

use crate::worlds::bench::PERSON;
use crate::worlds::play::{PAUSE, Play};

/// How often a program writes where it writes again and again: more often than two systems may answer each other before it is
/// a fight.
pub(super) const TOGGLES: usize = 7;

impl Play<'_> {
    /// A program's statement about the hot row.
    pub(super) fn sql(&mut self, sql: &str, value: &str) -> Result<(), String> {
        let Some(row) = self.hot().map(|row| row.local_id) else {
            return Ok(());
        };
        let connection = self.bench.programs.connection();
        let done = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((value, row)));
        self.ran(done)
    }

    /// A row of the person, under a number where that is given.
    pub(super) fn insert(&mut self, number: Option<i64>) -> Result<(), String> {
        // HubSpot takes nobody back who was erased.
        if self.hot().is_some() || self.existence.is_erased {
            return Ok(());
        }
        let value = self.next_hot("l");
        let sql = "INSERT INTO contacts (local_id, c_email, c_firstname) VALUES (?3, ?1, ?2)";
        let done = self
            .bench
            .programs
            .connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((PERSON, &value, number)));
        self.existence.inserted += usize::from(done.is_ok());
        self.ran(done)
    }

    /// The same, under the number of the row that went last.
    pub(super) fn insert_number(&mut self) -> Result<(), String> {
        let deleted = self.existence.deleted.last().map(|one| one.local_id);
        self.insert(deleted)
    }

    /// A row of a person who has one.
    pub(super) fn insert_twin(&mut self) -> Result<(), String> {
        if self.hot().is_none() {
            return Ok(());
        }
        self.existence.twins += 1;
        let value = self.next_hot("l");
        let sql = "INSERT INTO contacts (c_email, c_firstname) VALUES (?1, ?2)";
        let connection = self.bench.programs.connection();
        let done = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((PERSON, &value)));
        self.ran(done)
    }

    /// The row of another person.
    pub(super) fn delete_other(&mut self) -> Result<(), String> {
        self.operate("DELETE FROM contacts WHERE c_email = 'other@example.com'")
    }

    /// REPLACE over the row: what is not named is empty.
    pub(super) fn replace(&mut self) -> Result<(), String> {
        let value = self.next_hot("l");
        self.sql(
            &format!(
                "REPLACE INTO contacts (local_id, c_email, c_firstname) VALUES (?2, '{PERSON}', ?1)"
            ),
            &value,
        )
    }

    /// Two values in one transaction, of which the last one counts.
    pub(super) fn write_twice(&mut self) -> Result<(), String> {
        let Some(row) = self.hot().map(|row| row.local_id) else {
            return Ok(());
        };
        let (one, other) = (self.next_hot("l"), self.next_hot("l"));
        let sql = "UPDATE contacts SET c_firstname = ?1 WHERE local_id = ?2";
        let connection = self.bench.programs.connection();
        let whole = || -> rusqlite::Result<usize> {
            let whole = connection.unchecked_transaction()?;
            whole.prepare_cached(sql)?.execute((one, row))?;
            let count = whole.prepare_cached(sql)?.execute((other, row))?;
            whole.commit()?;
            Ok(count)
        };
        let done = whole();
        self.ran(done)
    }

    /// New values, each pushed before the next one, and nobody answers them.
    pub(super) fn toggle(&mut self) -> Result<(), String> {
        for _ in 0..TOGGLES {
            let value = self.next_hot("l");
            self.sql(
                "UPDATE contacts SET c_firstname = ?1 WHERE local_id = ?2",
                &value,
            )?;
            self.pass(PAUSE)?;
        }
        Ok(())
    }
}
