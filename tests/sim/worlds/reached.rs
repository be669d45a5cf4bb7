//! What the worlds have reached: something that none reaches is no longer tested.

use std::collections::BTreeMap;

use hubsyncd::model::mapping::Policy;

use crate::model::Place;
use crate::model_existence::Ends;
use crate::points::{Call, Moment, Point};
use crate::worlds::acts::{Act, Tying};
use crate::worlds::alphabet::{FAULTS, Mode, Small, words_of_fault};
use crate::worlds::play::Played;

/// How often each thing was reached.
#[derive(Debug)]
pub(super) struct Reached {
    counts: BTreeMap<String, u64>,
    /// Worlds in all.
    pub(super) worlds: u64,
    /// Requests in all.
    pub(super) requests: u64,
    /// Acts whose point was not passed.
    pub(super) missed: u64,
}

/// The calls that must meet every fault and pass every point.
const CALLS: [Call; 9] = [
    Call::Search,
    Call::Read,
    Call::Create,
    Call::Upsert,
    Call::Update,
    Call::Archive,
    Call::Links,
    Call::Associate,
    Call::Disassociate,
];

/// How a record that was disturbed as a whole must end in some world of a mode.
const ENDS: [(Mode, Ends); 9] = [
    (Mode::Marks, Ends::Marked),
    (Mode::MakesAnew, Ends::There),
    (Mode::BringsBack, Ends::There),
    (Mode::FromHubspot, Ends::Unlinked),
    (Mode::OnlyLinks, Ends::Unlinked),
    (Mode::OnlyLinks, Ends::LeftAlone),
    (Mode::FromLocal, Ends::LeftAlone),
    (Mode::Guarded, Ends::Held),
    (Mode::Guarded, Ends::Gone),
];

impl Reached {
    /// Nothing yet; what must be reached is counted from nought.
    pub(super) fn new() -> Self {
        let mut names: Vec<String> = Vec::new();
        for call in CALLS.into_iter().filter(|call| *call != Call::Create) {
            names.extend(Moment::ALL.map(|moment| Point { call, moment }.to_string()));
            let of_ties = [Call::Links, Call::Associate, Call::Disassociate].contains(&call);
            let faults = FAULTS.iter().take(if of_ties { 1 } else { FAULTS.len() });
            names.extend(faults.map(|(_, explanation)| of_fault(call, explanation)));
        }
        for (act, _) in Act::ALL {
            // Worlds that were kept name it; no letter of the alphabet does, since the third company is preferred there.
            if !matches!(act, Act::TiesThere(Tying::Prefer)) {
                names.push(format!("{act:?}"));
            }
        }
        for winner in ["local", "remote"] {
            for policy in [Policy::Local, Policy::Newest, Policy::Remote] {
                names.push(of_conflict(policy, winner));
            }
        }
        names.push(of_conflict(Policy::Manual, "open"));
        names.push(Point::COMMITTED.to_string());
        for policy in Policy::ALL {
            names.extend([Ends::Gone, Ends::There].map(|ends| of_existence(policy, ends)));
        }
        names.push(of_existence(Policy::Manual, Ends::Open));
        names.push("erased".to_owned());
        names.extend([Place::Local, Place::Remote].map(of_held));
        names.extend(ENDS.map(|(mode, ends)| of_mode(mode, ends)));
        for outcome in ["agreed", "listed"] {
            names.push(of_ties(outcome));
        }
        Self {
            counts: names.into_iter().map(|name| (name, 0)).collect(),
            worlds: 0,
            requests: 0,
            missed: 0,
        }
    }

    /// Takes note of a world.
    pub(super) fn count(&mut self, small: &Small, played: &Played) {
        self.worlds += 1;
        self.requests += played.requests;
        self.missed += played.missed as u64;
        let mut add = |name: String, times: u64| *self.counts.entry(name).or_default() += times;
        for (point, times) in &played.passed {
            add(point.to_string(), *times);
        }
        if let (Some(fault), Some(call)) = (small.fault, played.faulted) {
            add(of_fault(call, words_of_fault(fault.kind)), 1);
        }
        for placed in &small.acts {
            add(format!("{:?}", placed.act), 1);
        }
        for place in &played.held {
            add(of_held(*place), 1);
        }
        if let Some(ends) = played.ends {
            let mode = small.setup.mode;
            let name = match mode == Mode::Plain {
                true => of_existence(small.setup.policy, ends),
                false => of_mode(mode, ends),
            };
            add(name, 1);
        }
        if let Some(outcome) = played.ties {
            add(of_ties(outcome), 1);
        }
        add("erased".to_owned(), u64::from(played.erased));
        for winner in &played.conflicts {
            add(of_conflict(small.setup.policy, winner), 1);
        }
    }

    /// What was never reached.
    pub(super) fn never(&self) -> Vec<&str> {
        let never = self.counts.iter().filter(|(_, times)| **times == 0);
        never.map(|(name, _)| name.as_str()).collect()
    }

    /// A line for each thing.
    pub(super) fn lines(&self) -> Vec<String> {
        let lines = self.counts.iter();
        lines
            .map(|(name, times)| format!("{times:>9} {name}"))
            .collect()
    }
}

fn of_fault(call: Call, explanation: &str) -> String {
    format!("{}: {explanation}", call.as_str())
}

fn of_conflict(policy: Policy, winner: &str) -> String {
    format!("conflict under {}: {winner}", policy.as_str())
}

fn of_existence(policy: Policy, ends: Ends) -> String {
    format!(
        "a record that was disturbed as a whole under {}: {}",
        policy.as_str(),
        word(ends)
    )
}

fn of_mode(mode: Mode, ends: Ends) -> String {
    format!(
        "a record that was disturbed as a whole with {}: {}",
        mode.explanation(),
        word(ends)
    )
}

fn of_ties(outcome: &str) -> String {
    format!("associations of both sides: {outcome}")
}

fn word(ends: Ends) -> &'static str {
    match ends {
        Ends::Gone => "gone",
        Ends::There => "there",
        Ends::Open => "open",
        Ends::Marked => "marked",
        Ends::Unlinked => "without a record",
        Ends::LeftAlone => "without a row",
        Ends::Held => "held",
    }
}

fn of_held(place: Place) -> String {
    format!("held before it is emptied in {place:?}")
}
