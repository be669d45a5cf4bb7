//! What the contract says must come of what both sides do with a record's associations. It stands beside `model.rs` and shares
//! as little with the program.
//!
//! A link that is there or not can't conflict: what each side says of a pair and a type is carried out on the other one, each
//! side's words in their order. So what stands in the end is what some order of all words makes, by what HubSpot makes of each;
//! and once both sides show the same, what was said before comes before what is said after.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Place;

/// What links two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// That they belong together.
    Plain,
    /// The one company that stands for the record.
    Primary,
    /// A label.
    Label,
}

/// A company, by its row, and what links it to the record.
pub(crate) type Tie = (i64, Kind);
/// What a record is associated with.
pub(crate) type Ties = BTreeSet<Tie>;

/// What a program or a person did.
#[derive(Debug, Clone, Copy)]
struct Word {
    place: Place,
    tie: Tie,
    made: bool,
}

/// The record's associations.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinksModel {
    first: Ties,
    explanation: Vec<Word>,
    /// How many words had been said when both sides showed the same.
    settled: Vec<usize>,
    /// What HubSpot has shown at some time, and what was taken away there.
    shown: Ties,
    gone: Ties,
    /// Whether a program took the last away of what had not brought its plain type yet: what HubSpot had of it is not told.
    pub(crate) is_vague: bool,
    /// How many words had been said when HubSpot made each last.
    made_after: BTreeMap<Tie, usize>,
}

impl LinksModel {
    /// Both sides agree on these.
    pub(crate) fn new(first: Ties) -> Self {
        Self {
            shown: first.clone(),
            first,
            ..Self::default()
        }
    }

    /// A program or a person has made an association, or taken one away.
    pub(crate) fn said(&mut self, place: Place, tie: Tie, made: bool) {
        self.explanation.push(Word { place, tie, made });
    }

    /// HubSpot has made it or taken it away, whoever asked for that.
    pub(crate) fn happened(&mut self, tie: Tie, made: bool) {
        let seen = if made {
            &mut self.shown
        } else {
            &mut self.gone
        };
        seen.insert(tie);
        if made {
            self.made_after.insert(tie, self.explanation.len());
        }
    }

    /// Both sides show the same, and nothing waits.
    pub(crate) fn settles(&mut self) {
        if self.settled.last() != Some(&self.explanation.len()) {
            self.settled.push(self.explanation.len());
        }
    }

    /// Whether the daemon may do that on a side: somebody has asked for it on the other one.
    pub(crate) fn is_caused(&self, place: Place, tie: Tie, made: bool) -> bool {
        let (company, kind) = tie;
        let mut asked = self.explanation.iter().filter(|word| word.place != place);
        let is_preferred = |word: &Word| word.made && word.tie.1 == Kind::Primary;
        match (place, made) {
            // Whoever does not get its company preferred keeps it associated.
            (Place::Local, true) => {
                let is_own = |word: &Word| word.made && word.tie == (company, Kind::Primary);
                let gave_way = kind == Kind::Plain && self.explanation.iter().any(is_own);
                (self.shown.contains(&tie) && !self.is_unwanted(tie)) || gave_way
            }
            // Where each side prefers another company, one of them gives way; and a program's own later word for another one
            // takes the place of its earlier one, also of one that HubSpot has not heard yet.
            (Place::Local, false) => {
                self.gone.contains(&tie)
                    || (kind == Kind::Primary && (asked.any(is_preferred) || self.is_outdated(tie)))
            }
            (Place::Remote, true) => asked.any(|word| word.made && word.tie.0 == company),
            (Place::Remote, false) => asked.any(|word| {
                let is_own = word.tie == tie || word.tie == (company, Kind::Plain);
                (!word.made && is_own) || (kind == Kind::Primary && is_preferred(word))
            }),
        }
    }

    /// Whether a program took it away last, and neither HubSpot has made it since nor a person done anything with the company.
    fn is_unwanted(&self, tie: Tie) -> bool {
        let mut explanation = self.explanation.iter().enumerate().rev();
        let here = explanation.find(|(_, word)| word.place == Place::Local && word.tie == tie);
        let made_after = self.made_after.get(&tie).copied().unwrap_or_default();
        let is_theirs =
            |word: &Word| word.place == Place::Remote && word.made && word.tie.0 == tie.0;
        here.is_some_and(|(place, word)| !word.made && made_after <= place)
            && !self.explanation.iter().any(is_theirs)
    }

    /// Whether a program has named another primary company since it named this one.
    fn is_outdated(&self, tie: Tie) -> bool {
        let own =
            |word: &&Word| word.place == Place::Local && word.made && word.tie.1 == Kind::Primary;
        let last = self.explanation.iter().rev().find(own);
        last.is_some_and(|word| word.tie != tie)
    }

    /// All that may stand at rest.
    pub(crate) fn allowed(&self) -> BTreeSet<Ties> {
        let mut states = BTreeSet::from([self.first.clone()]);
        let mut from = 0;
        for to in self.settled.iter().copied().chain([self.explanation.len()]) {
            let explanation = &self.explanation[from..to];
            states = states
                .iter()
                .flat_map(|state| in_any_order(state, explanation))
                .collect();
            from = to;
        }
        // Where a record prefers none, the first company that a program associates with it is preferred. (What HubSpot made of
        // a person's word its log has said.)
        let firsts: Vec<Ties> = states
            .iter()
            .filter(|state| state.iter().all(|tie| tie.1 != Kind::Primary))
            .flat_map(|state| self.explanation.iter().map(move |word| (state, word)))
            .filter(|(state, word)| {
                let is_default = word.made && word.place == Place::Local;
                is_default && word.tie.1 == Kind::Plain && state.contains(&word.tie)
            })
            .map(|(state, word)| {
                let preferred = (word.tie.0, Kind::Primary);
                state.iter().copied().chain([preferred]).collect()
            })
            .collect();
        states.extend(firsts);
        states
    }
}

/// What the words make, each side's in their order.
fn in_any_order(state: &Ties, explanation: &[Word]) -> BTreeSet<Ties> {
    let of = |place| -> Vec<Word> {
        let own = explanation.iter().filter(|word| word.place == place);
        own.copied().collect()
    };
    let (here, there) = (of(Place::Local), of(Place::Remote));
    let mut made = interleaved(state, &here, &there);
    // A pair that was deleted here and labelled there meanwhile may come back with all its types.
    let labelled = there
        .iter()
        .filter(|word| word.made && word.tie.1 != Kind::Plain);
    for company in labelled.map(|word| word.tie.0).collect::<BTreeSet<_>>() {
        let others: Vec<Word> = here
            .iter()
            .filter(|word| word.tie.0 != company)
            .copied()
            .collect();
        if others.len() < here.len() {
            made.extend(interleaved(state, &others, &there));
        }
    }
    // What a program took away again before it was sent has left nothing, also not where it would have taken something's place.
    let taken_back = |company: i64| {
        let mut own = here.iter().rev().filter(|word| word.tie.0 == company);
        own.next().is_some_and(|last| !last.made)
    };
    for company in here.iter().map(|word| word.tie.0).collect::<BTreeSet<_>>() {
        if taken_back(company) {
            let sent = here
                .iter()
                .filter(|word| word.tie.0 != company || !word.made);
            made.extend(interleaved(
                state,
                &sent.copied().collect::<Vec<_>>(),
                &there,
            ));
        }
    }
    made
}

fn interleaved(state: &Ties, here: &[Word], there: &[Word]) -> BTreeSet<Ties> {
    let mut rows: Vec<BTreeSet<Ties>> = Vec::new();
    for ours in 0..=here.len() {
        let mut row: Vec<BTreeSet<Ties>> = Vec::new();
        for theirs in 0..=there.len() {
            let mut states = BTreeSet::new();
            if ours + theirs == 0 {
                states.insert(state.clone());
            }
            if ours > 0 {
                states.extend(rows[theirs].iter().map(|one| after(one, here[ours - 1])));
            }
            if theirs > 0 {
                states.extend(
                    row[theirs - 1]
                        .iter()
                        .map(|one| after(one, there[theirs - 1])),
                );
            }
            row.push(states);
        }
        rows = row;
    }
    rows.pop().unwrap_or_default()
}

/// What HubSpot makes of it: each type brings the plain one, which takes all with it, and a record prefers one company.
fn after(ties: &Ties, word: Word) -> Ties {
    let (company, kind) = word.tie;
    let mut ties = ties.clone();
    if !word.made {
        ties.retain(|tie| *tie != word.tie && (kind != Kind::Plain || tie.0 != company));
        return ties;
    }
    if kind == Kind::Primary {
        ties.retain(|tie| tie.1 != Kind::Primary);
    }
    ties.extend([word.tie, (company, Kind::Plain)]);
    ties
}
