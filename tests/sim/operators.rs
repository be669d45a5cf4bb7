//! People with a SQL shell: they decide conflicts, discard entries, retry and approve.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rusqlite::types::Value as Sql;

use crate::local::Programs;
use crate::plan::pick;
use crate::script::Act;
use crate::values::Values;

/// A lost create that nothing could find again is left alone: a person looks in HubSpot before retrying it.
const RETRY: &str = "UPDATE sync_outbox SET state = 'pending' WHERE state = 'dead' AND last_error NOT LIKE 'the answer to this create%'";

impl Programs {
    /// What a person with a SQL shell does: decides, discards, retries, approves.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the acts of others are none of theirs"
    )]
    pub(crate) fn operate(&mut self, act: Act, rng: &mut ChaCha8Rng, values: &mut Values) {
        match act {
            Act::Decide => self.decide(rng, values),
            Act::Discard => self.discard(rng),
            Act::Retry => {
                self.run("retry", RETRY, &[]);
            }
            _ => self.approve(),
        }
    }

    fn approve(&mut self) {
        let now = self.now();
        self.run("approve", "UPDATE sync_holds SET approved_at = ? WHERE approved_at IS NULL AND settled_at IS NULL", &[Sql::Text(now)]);
    }

    fn decide(&mut self, rng: &mut ChaCha8Rng, values: &mut Values) {
        let open = self
            .list("SELECT id, property FROM sync_conflicts WHERE resolved_at IS NULL ORDER BY id");
        if open.is_empty() {
            return;
        }
        let (id, property) = pick(rng, &open).clone();
        let resolution = match rng.random_range(0..3) {
            0 => "local".to_owned(),
            1 => "remote".to_owned(),
            _ if property == "*" => "remote".to_owned(),
            _ => format!("value:{}", values.for_property(rng, &property, "d")),
        };
        self.run(
            "decide",
            "UPDATE sync_conflicts SET resolution = ? WHERE id = ?",
            &[Sql::Text(resolution), Sql::Integer(id)],
        );
    }

    /// Discards one pending or dead entry.
    fn discard(&mut self, rng: &mut ChaCha8Rng) {
        let waiting = self
            .list("SELECT id, operation FROM sync_outbox WHERE state <> 'in_flight' AND NOT (state = 'dead' AND unanswered_since IS NOT NULL) ORDER BY id");
        if !waiting.is_empty() {
            let (id, _) = pick(rng, &waiting).clone();
            self.run(
                "discard",
                "DELETE FROM sync_outbox WHERE id = ?",
                &[Sql::Integer(id)],
            );
        }
    }

    /// Decides everything, retries what is dead, approves what is held.
    pub(crate) fn settle_all(&mut self, rng: &mut ChaCha8Rng) {
        for (id, _) in self.list("SELECT id, property FROM sync_conflicts WHERE resolved_at IS NULL AND resolution IS NULL ORDER BY id") {
            let resolution = *pick(rng, &["local", "remote"]);
            self.run("decide", "UPDATE sync_conflicts SET resolution = ? WHERE id = ?", &[Sql::Text(resolution.to_owned()), Sql::Integer(id)]);
        }
        self.run("retry", RETRY, &[]);
        self.approve();
    }
}
