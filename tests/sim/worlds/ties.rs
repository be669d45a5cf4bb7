//! What happens to the associations of a world's record: programs and people make them and take them away, both sides are
//! watched, and the model says what must stand.

use std::collections::{BTreeMap, BTreeSet};

use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::portal::{Link, LinkType, Operation};
use rusqlite::Connection;
use rusqlite::OptionalExtension as _;

use crate::links;
use crate::model::Place;
use crate::model_links::{Kind, LinksModel, Tie, Ties};
use crate::worlds::acts::{Act, Tying};
use crate::worlds::alphabet::Mode;
use crate::worlds::bench::{LABEL, PERSON};
use crate::worlds::play::Play;
use crate::worlds::watch::Hand;

/// Both ends of the pair.
const ENDS: [&str; 2] = ["contacts", "companies"];

/// What is known of the record's associations.
#[derive(Debug, Clone, Default)]
pub(super) struct Tied {
    model: LinksModel,
    /// Those of the row, and whose row that is.
    here: Ties,
    row: Option<i64>,
    /// Companies that were known as records first, by which they go on being named.
    names: BTreeMap<u64, i64>,
    /// How much of HubSpot's log was seen.
    seen: usize,
    /// Companies that programs have made, and that the daemon has.
    made: usize,
    created: usize,
    /// Companies that people made the primary one, by their records, and when.
    preferred: BTreeMap<u64, i64>,
    /// Those that a write of the daemon's took that from, of which its read can have told.
    fallen: BTreeSet<u64>,
}

/// A write goes out a second after its read at the latest; so long after a person's act HubSpot carries out what may not have seen it.
const UNSEEN_MS: i64 = 2_500;

impl Play<'_> {
    pub(super) fn are_tied(&self) -> bool {
        self.small.setup.mode == Mode::Linked
    }

    /// How the record hangs together with others at first.
    pub(super) fn begin_ties(&mut self) {
        if !self.are_tied() {
            return;
        }
        let here = self.ties_here();
        self.tied = Tied {
            model: LinksModel::new(here.clone()),
            here,
            row: self.hot().map(|row| row.local_id),
            seen: self.bench.world.state().portal.link_log().len(),
            ..Tied::default()
        };
    }

    /// A program does something with them.
    pub(super) fn tie(&mut self, what: Tying) -> Result<(), String> {
        let Some(row) = self.hot().map(|row| row.local_id) else {
            return Ok(());
        };
        let connection = self.bench.programs.connection();
        let place = match what {
            Tying::Prefer | Tying::Join | Tying::PartSecond => 1,
            Tying::PreferThird => 2,
            Tying::JoinFirst | Tying::Label | Tying::Unlabel | Tying::Part | Tying::JoinNew => 0,
        };
        let company = if what == Tying::JoinNew {
            self.tied.made += 1;
            let made = connection
                .prepare_cached("INSERT INTO companies (c_name) VALUES ('New')")
                .and_then(|mut statement| statement.insert([]));
            Some(made.map_err(|error| format!("a program's company: {error}"))?)
        } else {
            row_of(connection, self.bench.companies[place])
        };
        let Some(company) = company else {
            return Ok(());
        };
        let label = match what {
            Tying::Prefer | Tying::PreferThird => Some("Primary"),
            Tying::Label => Some(LABEL),
            Tying::Join
            | Tying::JoinFirst
            | Tying::Unlabel
            | Tying::Part
            | Tying::PartSecond
            | Tying::JoinNew => None,
        };
        let sql = match what {
            Tying::Part | Tying::PartSecond => {
                "DELETE FROM associations WHERE from_object = 'contacts' AND from_local_id = ?1 AND to_local_id = ?2 AND ?3 IS NULL"
            }
            Tying::Unlabel => {
                "DELETE FROM associations WHERE from_object = 'contacts' AND from_local_id = ?1 AND to_local_id = ?2 AND ?3 IS NULL AND label IS NOT NULL"
            }
            Tying::Join
            | Tying::JoinFirst
            | Tying::Prefer
            | Tying::PreferThird
            | Tying::Label
            | Tying::JoinNew => {
                "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label) VALUES ('contacts', ?1, 'companies', ?2, ?3)"
            }
        };
        let done = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((row, company, label)));
        self.ran(done)
    }

    /// A person does something with them.
    pub(super) fn tie_there(&mut self, what: Tying) -> Result<(), String> {
        {
            let mut state = self.bench.world.state();
            let now = state.true_ms();
            let one = (ENDS[0], self.record);
            let [first, second, third] = [0, 1, 2].map(|place| {
                let companies = &self.bench.companies;
                (ENDS[1], companies[place])
            });
            let label = self.bench.label.expect("the pair has a label");
            let portal = &mut state.portal;
            match what {
                Tying::Join => portal.associate(one, second, now),
                Tying::JoinFirst => portal.associate(one, first, now),
                Tying::Prefer => portal.set_primary(one, second, now),
                Tying::PreferThird => portal.set_primary(one, third, now),
                Tying::Label => portal.label(one, first, label, now),
                Tying::Unlabel => {
                    let links = portal.links_of(one, ENDS[1]);
                    let mut labelled = links
                        .iter()
                        .filter(|link| link.to_id == first.1 && link.label.is_some());
                    let kind = labelled.next_back().map(|link| link.kind);
                    kind.is_some_and(|kind| portal.unlabel(one, first, kind, now))
                }
                Tying::Part => portal.disassociate(one, first, now),
                Tying::PartSecond => portal.disassociate(one, second, now),
                Tying::JoinNew => {
                    let id = portal.create(ENDS[1], &[("name", "Theirs")], now);
                    portal.associate(one, (ENDS[1], id), now)
                }
            };
        }
        self.look_there()
    }

    /// Sees what has changed in the mirror since the last look.
    pub(super) fn look_at_ties(&mut self, hand: Hand) -> Result<(), String> {
        if !self.are_tied() {
            return Ok(());
        }
        let row = self.hot().map(|row| row.local_id);
        let found = self.ties_here();
        let former_row = std::mem::replace(&mut self.tied.row, row);
        let before = std::mem::replace(&mut self.tied.here, found);
        // What goes and comes with a row nobody has said of itself.
        if former_row != row || row.is_none() {
            return Ok(());
        }
        let is_plain = self.existence.is_plain();
        let tied = &mut self.tied;
        let changes: Vec<(Tie, bool)> = tied
            .here
            .symmetric_difference(&before)
            .map(|tie| (*tie, tied.here.contains(tie)))
            .collect();
        for (tie, made) in changes {
            let is_there = |ties: &Ties| ties.iter().any(|one| one.0 == tie.0);
            let was_plain = before.contains(&(tie.0, Kind::Plain));
            tied.model.is_vague |= !made && !was_plain && !is_there(&tied.here);
            match hand {
                Hand::Program => tied.model.said(Place::Local, tie, made),
                Hand::Daemon if !is_plain || tied.model.is_caused(Place::Local, tie, made) => {}
                Hand::Daemon => {
                    let what = if made { "came" } else { "went" };
                    return Err(format!("{tie:?} {what} here, and nobody asked for that"));
                }
            }
        }
        self.settle_ties();
        Ok(())
    }

    /// Sees what was written in HubSpot since the last look.
    pub(super) fn look_at_ties_there(&mut self) -> Result<(), String> {
        if !self.are_tied() {
            return Ok(());
        }
        let news = {
            let state = self.bench.world.state();
            let log = state.portal.link_log();
            let news = log[self.tied.seen..].to_vec();
            self.tied.seen = log.len();
            news
        };
        let is_plain = self.existence.is_plain();
        for entry in news {
            if entry.from_object != ENDS[0] || entry.from_id != self.record {
                continue;
            }
            let label = self.label_of(entry.kind);
            let company = self.named(entry.to_id);
            if company < 0 {
                self.tied.names.insert(entry.to_id, company);
            }
            let (tie, made) = ((company, kind_of(label.as_deref())), !entry.removed);
            if tie.1 == Kind::Primary {
                self.note_primary(entry.to_id, (made, entry.by_api), entry.at_ms);
            }
            let model = &mut self.tied.model;
            model.happened(tie, made);
            if !entry.by_api {
                model.said(Place::Remote, tie, made);
            } else if is_plain && !model.is_caused(Place::Remote, tie, made) {
                let what = if made { "came" } else { "went" };
                return Err(format!("{tie:?} {what} there, and nobody asked for that"));
            }
        }
        self.settle_ties();
        Ok(())
    }

    /// Notes what becomes of the primary company that a person named.
    fn note_primary(&mut self, company: u64, (made, by_api): (bool, bool), at_ms: i64) {
        let tied = &mut self.tied;
        match (made, by_api) {
            (true, false) => drop(tied.preferred.insert(company, at_ms)),
            (true, true) => {}
            (false, false) => drop(tied.preferred.remove(&company)),
            (false, true) => {
                let named_at = tied.preferred.remove(&company);
                let is_seen = named_at.is_some_and(|named_at| at_ms - named_at > UNSEEN_MS);
                tied.fallen.extend(is_seen.then_some(company));
            }
        }
    }

    /// No primary that a person named falls without a trace: somebody has told of it, or it stands in a conflict.
    fn primaries_left_a_trace(&self) -> Result<(), String> {
        // What is long on its way rests on what was there long before.
        let fault = self.small.fault.map(|fault| fault.kind);
        if matches!(fault, Some(FaultKind::Late | FaultKind::Slow)) || !self.existence.is_plain() {
            return Ok(());
        }
        for company in &self.tied.fallen {
            let is_it = |value: &str| {
                format!(
                    "json_extract({value}, '$.to_hs_id') = {company} AND json_extract({value}, '$.type_id') = 1"
                )
            };
            let told = format!(
                "SELECT 1 FROM sync_history WHERE object = 'contacts_companies' AND property = 'association' AND {}
                 UNION ALL SELECT 1 FROM sync_conflicts AS c, json_each(c.remote_value) AS j
                 WHERE c.object = 'contacts_companies' AND c.property = 'association' AND {}",
                is_it("coalesce(new_value, old_value)"),
                is_it("j.value")
            );
            if !self.finds(&told) {
                return Err(format!(
                    "the primary company {company} that a person named was written over, and nothing tells of it"
                ));
            }
        }
        Ok(())
    }

    /// Companies that the daemon makes; a person's are none of its work.
    pub(super) fn made_another(&mut self, operation: Operation) -> Result<(), String> {
        self.tied.created += usize::from(operation == Operation::Create);
        if operation == Operation::Archive || self.tied.created > self.tied.made {
            return Err("a company was archived, or made though nobody wanted it".to_owned());
        }
        Ok(())
    }

    fn label_of(&self, kind: LinkType) -> Option<String> {
        let state = self.bench.world.state();
        let types = state.portal.pair_types(ENDS[0], ENDS[1]);
        let found = types.into_iter().find(|known| known.kind == kind);
        found.and_then(|known| known.label)
    }

    /// The associations of the person's row.
    fn ties_here(&self) -> Ties {
        let mut statement = self
            .bench
            .programs
            .connection()
            .prepare_cached(
                "SELECT a.to_local_id, a.label, o.hs_id FROM associations AS a
                 JOIN contacts AS c ON c.local_id = a.from_local_id
                 LEFT JOIN companies AS o ON o.local_id = a.to_local_id
                 WHERE a.from_object = 'contacts' AND a.to_object = 'companies' AND c.c_email = ?1",
            )
            .expect("the associations can be read");
        let rows = statement.query_map([PERSON], |row| {
            let record: Option<i64> = row.get(2)?;
            let name = record.and_then(|id| self.tied.names.get(&id.unsigned_abs()));
            let company = name.copied().map_or_else(|| row.get(0), Ok)?;
            let label: Option<String> = row.get(1)?;
            Ok((company, kind_of(label.as_deref())))
        });
        rows.expect("rows")
            .collect::<Result<BTreeSet<Tie>, _>>()
            .expect("associations")
    }

    /// What a company goes by: its row; one that had none when it was first heard of goes by its record.
    fn named(&self, company: u64) -> i64 {
        let known = self.tied.names.get(&company).copied();
        let row = || row_of(self.bench.programs.connection(), company);
        known.or_else(row).unwrap_or(-(company as i64))
    }

    fn ties_there(&self) -> Ties {
        let links = {
            let state = self.bench.world.state();
            state.portal.links_of((ENDS[0], self.record), ENDS[1])
        };
        let tie = |link: &Link| (self.named(link.to_id), kind_of(link.label.as_deref()));
        links.iter().map(tie).collect()
    }

    fn settle_ties(&mut self) {
        if self.ties_left().is_empty() && self.ties_there() == self.tied.here {
            self.tied.model.settles();
        }
    }

    /// What waits to be done.
    pub(super) fn ties_left(&self) -> Vec<String> {
        if !self.are_tied() {
            return Vec::new();
        }
        let connection = self.bench.programs.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT 'association ' || operation FROM sync_outbox WHERE operation IN ('associate', 'disassociate') AND state <> 'dead' AND next_attempt_at IS NOT NULL
                 UNION ALL SELECT 'links of ' || hs_id FROM _sync_links_due
                 UNION ALL SELECT 'a pass over ' || pair FROM _sync_link_passes WHERE started_at IS NOT NULL",
            )
            .expect("the tables can be read");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("what is left")
    }

    /// Whether a person did something that only an event or a comparison tells of.
    pub(super) fn ties_are_untold(&self) -> bool {
        let mut acts = self.small.acts.iter();
        acts.any(|placed| matches!(placed.act, Act::TiesThere(_)))
    }

    /// At rest: both sides show the same, and what was said.
    pub(super) fn judge_ties(&self, unanswered: bool) -> Result<Option<&'static str>, String> {
        if !self.are_tied() {
            return Ok(None);
        }
        let connection = self.bench.programs.connection();
        links::both_sides_agree(connection, &self.bench.world, &self.bench.plan)?;
        self.primaries_left_a_trace()?;
        let is_listed = self.finds(
            "SELECT 1 FROM sync_outbox WHERE operation IN ('associate', 'disassociate')
             UNION ALL SELECT 1 FROM sync_conflicts WHERE object = 'contacts_companies'",
        );
        if is_listed {
            return Ok(Some("listed"));
        }
        if unanswered || self.tied.model.is_vague || !self.existence.is_plain() {
            return Ok(None);
        }
        let (stands, allowed) = (&self.tied.here, self.tied.model.allowed());
        match allowed.contains(stands) {
            true => Ok(Some("agreed")),
            false => Err(format!(
                "associated with {stands:?} where the contract allows {allowed:?}: {:?}",
                self.tied.model
            )),
        }
    }
}

fn kind_of(label: Option<&str>) -> Kind {
    match label {
        None => Kind::Plain,
        Some(LABEL) => Kind::Label,
        Some(_) => Kind::Primary,
    }
}

fn row_of(connection: &Connection, company: u64) -> Option<i64> {
    let mut statement = connection
        .prepare_cached("SELECT local_id FROM companies WHERE hs_id = ?1")
        .expect("the companies can be read");
    let found = statement.query_row([company as i64], |row| row.get(0));
    found.optional().expect("a company")
}
