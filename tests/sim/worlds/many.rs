//! Which small worlds are run: every short sequence, every single fault in it, every meeting of two acts at a point; and
//! longer ones, drawn from a seed.

use std::collections::BTreeSet;

use hubsyncd::model::mapping::{Direction, Policy};
use hubsyncd::simulator::faults::FaultKind;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::plan::pick;
use crate::points::{Call, Moment, Point};
use crate::worlds::acts::{Act, Tying};
use crate::worlds::alphabet::{FAULTS, Mode, ODD_ANSWERS, OneFault, Placed, Setup, Small, When};
use crate::worlds::beginnings::begun;
use crate::worlds::letters::{letters, pairs};

/// Requests of a world that can each meet a fault.
pub(super) const FAULTY: u8 = 6;

/// Where two acts meet.
const CALLS: [Call; 11] = [
    Call::Search,
    Call::Read,
    Call::History,
    Call::List,
    Call::Create,
    Call::Upsert,
    Call::Update,
    Call::Archive,
    Call::Links,
    Call::Associate,
    Call::Disassociate,
];

/// Whose answers are overtaken: at which passing of it, and after how many requests that is.
const OVERTAKEN: [(Call, u8, u8); 6] = [
    (Call::Search, 1, 1),
    (Call::Search, 0, 2),
    (Call::Search, 1, 3),
    (Call::Read, 0, 0),
    (Call::Read, 0, 1),
    (Call::Update, 0, 1),
];

/// The same of what a comparison asks for.
const COMPARED: [(Call, u8, u8); 2] = [(Call::List, 0, 0), (Call::List, 0, 1)];

/// The points at which two acts meet.
fn points(setup: Setup) -> impl Iterator<Item = Point> {
    let of_links = [Call::Links, Call::Associate, Call::Disassociate];
    let of_calls = CALLS
        .into_iter()
        .filter(move |call| setup.mode == Mode::Linked || !of_links.contains(call))
        .flat_map(|call| Moment::ALL.map(|moment| Point { call, moment }));
    of_calls.chain([Point::COMMITTED])
}

/// The mappings of which there are worlds.
pub(super) fn setups() -> Vec<Setup> {
    let mut setups = Policy::ALL.map(Setup::of).to_vec();
    for direction in [Direction::Pull, Direction::Push] {
        setups.push(Setup {
            direction,
            ..Setup::of(Policy::Remote)
        });
    }
    for policy in [Policy::Remote, Policy::Newest, Policy::Local] {
        setups.push(Setup {
            webhooks: true,
            ..Setup::of(policy)
        });
    }
    setups.push(Setup {
        ahead_ms: -BEHIND_MS,
        ..Setup::of(Policy::Newest)
    });
    for policy in [Policy::Remote, Policy::Local, Policy::Manual] {
        setups.push(Setup::of(policy).with(Mode::Linked));
    }
    setups.push(Setup {
        webhooks: true,
        ..Setup::of(Policy::Remote).with(Mode::Linked)
    });
    setups.push(Setup {
        webhooks: true,
        ..Setup::of(Policy::Remote).with(Mode::Marks)
    });
    let new = Setup::of(Policy::Remote).with(Mode::New);
    setups.push(Setup {
        webhooks: true,
        ..new
    });
    setups.push(Setup {
        webhooks: true,
        ..Setup::of(Policy::Remote).with(Mode::Remembers)
    });
    setups.push(Setup {
        ahead_ms: -BEHIND_MS,
        policy: Policy::Newest,
        ..new
    });
    let narrow = Setup::of(Policy::Remote).with(Mode::Narrow);
    setups.push(Setup {
        webhooks: true,
        ..narrow
    });
    for (mode, policies) in MODES {
        setups.extend(policies.iter().map(|policy| Setup::of(*policy).with(mode)));
    }
    setups
}

/// The other modes, and under which policies there are worlds of them.
const MODES: [(Mode, &[Policy]); 20] = [
    (Mode::Marks, &[Policy::Remote, Policy::Local]),
    (
        Mode::MakesAnew,
        &[Policy::Remote, Policy::Newest, Policy::Manual],
    ),
    (
        Mode::BringsBack,
        &[Policy::Remote, Policy::Local, Policy::Manual],
    ),
    (Mode::FromHubspot, &[Policy::Remote]),
    (Mode::FromLocal, &[Policy::Local]),
    (Mode::OnlyLinks, &[Policy::Remote]),
    (Mode::IfEmpty, &[Policy::Remote]),
    (Mode::Fills, &[Policy::Remote]),
    (Mode::User, &[Policy::Remote]),
    (Mode::Append, &[Policy::Remote]),
    (Mode::Untold, &[Policy::Remote, Policy::Local]),
    (Mode::Guarded, &[Policy::Remote]),
    (
        Mode::Filled,
        &[Policy::Remote, Policy::Local, Policy::Manual],
    ),
    (Mode::Keyless, &[Policy::Remote]),
    (
        Mode::New,
        &[
            Policy::Remote,
            Policy::Local,
            Policy::Newest,
            Policy::Manual,
        ],
    ),
    (Mode::Fresh, &[Policy::Remote, Policy::Newest]),
    (Mode::Narrow, &[Policy::Remote]),
    (Mode::Sparing, &[Policy::Remote]),
    (Mode::Triggered, &[Policy::Remote, Policy::Manual]),
    (Mode::Remembers, &[Policy::Remote]),
];

/// So far behind is HubSpot's clock in some worlds: more than passes between two acts, and than windows overlap.
const BEHIND_MS: i64 = 30_000;

/// So many worlds of one mapping come before those of the next one: each mapping needs a database of its own, and whatever
/// the first ones find should not wait for all of them.
const IN_TURN: usize = 64;

/// One in `stride` of the enumerated worlds, and of those that are about time all: of each mapping a few in turn, and any few
/// are spread over all. `first` says where they begin.
pub(super) fn spread(first: u64, stride: u64) -> impl Iterator<Item = Small> {
    let of_setup = |setup: Setup| {
        // Of other modes a few of those that are about time will do.
        let of_ties = Setup::of(Policy::Remote).with(Mode::Linked);
        let is_plain = setup.mode == Mode::Plain || setup == of_ties;
        let all: Vec<Small> = enumerated(setup)
            .chain(timed(setup).filter(|_| !is_plain))
            .collect();
        let own = order(all.len() as u64, first).take(all.len().div_ceil(stride as usize));
        let own: Vec<Small> = own.map(|number| all[number as usize].clone()).collect();
        let own: Vec<Small> = timed(setup).filter(|_| is_plain).chain(own).collect();
        let mixed = order(own.len() as u64, first);
        mixed.map(|number| own[number as usize].clone()).collect()
    };
    let of_setups: Vec<Vec<Small>> = setups().into_iter().map(of_setup).collect();
    let most = of_setups.iter().map(Vec::len).max().unwrap_or_default();
    (0..most.div_ceil(IN_TURN)).flat_map(move |turn| {
        let mut own = Vec::new();
        for worlds in &of_setups {
            own.extend_from_slice(worlds.chunks(IN_TURN).nth(turn).unwrap_or_default());
        }
        own
    })
}

/// Every short sequence, and those of two acts with each single fault and at each point.
fn enumerated(setup: Setup) -> impl Iterator<Item = Small> {
    let small = move |acts: &[Placed]| Small {
        setup,
        acts: acts.to_vec(),
        fault: None,
        chance: 0,
    };
    let pairs = move || pairs(setup);
    let sequences = pairs().flat_map(move |(first, second)| {
        letters(setup).map(move |third| small(&[first.into(), second.into(), third.into()]))
    });
    let faults = pairs().flat_map(move |(first, second)| {
        let kinds = FAULTS.into_iter().chain(ODD_ANSWERS);
        kinds.flat_map(move |(kind, _)| {
            (0..FAULTY).map(move |after| Small {
                fault: Some(OneFault { kind, after }),
                ..small(&[first.into(), second.into()])
            })
        })
    });
    let meetings = pairs().flat_map(move |(first, act)| {
        points(setup).map(move |point| {
            let when = When::At(point, 0);
            small(&[Placed { act, when }, first.into()])
        })
    });
    // What happens while an answer is on its way, which is about what was before.
    let overtaken = pairs().flat_map(move |(first, act)| {
        OVERTAKEN.map(|(call, nth, after)| {
            let moment = Moment::Landed;
            let when = When::At(Point { call, moment }, nth);
            let kind = FaultKind::Slow;
            let announced = Placed {
                act: Act::Announce,
                when,
            };
            let mut acts = vec![Placed { act, when }, announced, first.into()];
            acts.retain(|placed| setup.webhooks || placed.act != Act::Announce);
            Small {
                fault: Some(OneFault { kind, after }),
                ..small(&acts)
            }
        })
    });
    // The same of a page of a comparison.
    let compared = pairs().flat_map(move |(first, act)| {
        COMPARED.map(|(call, nth, after)| {
            let moment = Moment::Landed;
            let when = When::At(Point { call, moment }, nth);
            let kind = FaultKind::Slow;
            let announced = Placed {
                act: Act::Announce,
                when,
            };
            let mut acts = vec![
                Placed { act: first, when },
                Placed { act, when },
                announced,
                Act::Compare.into(),
            ];
            acts.retain(|placed| setup.webhooks || placed.act != Act::Announce);
            Small {
                fault: Some(OneFault { kind, after }),
                ..small(&acts)
            }
        })
    });
    let all = sequences.chain(meetings).chain(faults).chain(overtaken);
    all.chain(compared).chain(begun(setup))
}

/// What a person does while a limit or a lock holds a write of associations up, before which a read went.
fn held_up(setup: Setup) -> impl Iterator<Item = Small> {
    let is_of_people = |act: Act| matches!(act, Act::TiesThere(_));
    let is_of_programs = |act: Act| matches!(act, Act::Ties(_));
    let pairs =
        pairs(setup).filter(move |(first, second)| is_of_programs(*first) && is_of_people(*second));
    pairs.flat_map(move |(first, act)| {
        let meeting = move |call, kind, after| Small {
            setup,
            acts: vec![
                Placed {
                    act,
                    when: When::At(
                        Point {
                            call,
                            moment: Moment::Answered,
                        },
                        0,
                    ),
                },
                first.into(),
            ],
            fault: Some(OneFault { kind, after }),
            chance: 0,
        };
        let calls = [Call::Associate, Call::Disassociate].into_iter();
        calls.flat_map(move |call| {
            let kinds = [FaultKind::RateLimited, FaultKind::Locked].into_iter();
            kinds.flat_map(move |kind| (0..FAULTY).map(move |after| meeting(call, kind, after)))
        })
    })
}

/// What happens while the daemon is away, with time between; what so near to a poll that the index is behind; and what while a write
/// of associations is held up.
fn timed(setup: Setup) -> impl Iterator<Item = Small> {
    away(setup).chain(held_up(setup))
}

fn away(setup: Setup) -> impl Iterator<Item = Small> {
    pairs(setup).flat_map(move |(first, second)| {
        let orders = [
            vec![Act::Down, first, Act::Pause, second, Act::Up],
            vec![Act::Eve, first, second],
            vec![first, Act::Eve, second],
        ];
        orders.map(|acts| Small {
            setup,
            acts: acts.into_iter().map(Placed::from).collect(),
            fault: None,
            chance: 0,
        })
    })
}

/// The numbers below `count`, each once, from one that `first` says on: any few that follow each other are spread over all.
fn order(count: u64, first: u64) -> impl Iterator<Item = u64> {
    // Near the golden section, neighbours come late; without a common divisor, every number comes.
    let step = (count * 618 / 1000..count)
        .find(|step| divisor(*step, count) == 1)
        .unwrap_or(1);
    (0..count).map(move |place| (first + place * step) % count)
}

fn divisor(one: u64, other: u64) -> u64 {
    match other {
        0 => one,
        _ => divisor(other, one % other),
    }
}

#[test]
fn every_enumerated_world_is_in_the_order_once() {
    let all: usize = setups()
        .into_iter()
        .map(|setup| enumerated(setup).count() + timed(setup).count())
        .sum();
    let worlds: BTreeSet<String> = spread(7, 1).map(|small| small.to_string()).collect();
    let distinct: BTreeSet<String> = setups()
        .into_iter()
        .flat_map(|setup| enumerated(setup).chain(timed(setup)))
        .map(|small| small.to_string())
        .collect();
    assert_eq!(worlds, distinct);
    assert_eq!(spread(7, 1).count(), all);
}

#[test]
fn every_number_has_its_place_in_the_order() {
    for count in [1, 2, 10, 41_040] {
        let all: BTreeSet<u64> = order(count, 1_000_001).collect();
        assert_eq!(all, (0..count).collect());
    }
}

/// A person who is deleted and comes again later, with each fault at each request: the one short scene with a create.
pub(super) fn comings_again(policy: Policy) -> impl Iterator<Item = Small> {
    FAULTS.into_iter().flat_map(move |(kind, _)| {
        (0..10).map(move |after| Small {
            setup: Setup::of(policy),
            acts: [Act::Delete, Act::Poll, Act::Insert]
                .map(Placed::from)
                .to_vec(),
            fault: Some(OneFault { kind, after }),
            chance: 0,
        })
    })
}

/// An association that a program makes, and one that it takes away, with each fault at each request: of the many worlds with
/// associations a short run plays few.
pub(super) fn associations_with_faults(policy: Policy) -> impl Iterator<Item = Small> {
    let setup = Setup::of(policy).with(Mode::Linked);
    let faults = FAULTS
        .into_iter()
        .flat_map(|(kind, _)| (0..6).map(move |after| OneFault { kind, after }));
    faults.flat_map(move |fault| {
        [Tying::Join, Tying::Part].map(|tying| Small {
            setup,
            acts: vec![Act::Ties(tying).into()],
            fault: Some(fault),
            chance: 0,
        })
    })
}

/// What takes three acts with time between them, in each mode that has its own word on it.
pub(super) fn comings_in_modes() -> impl Iterator<Item = Small> {
    MODES.into_iter().flat_map(move |(mode, policies)| {
        let setup = Setup::of(policies[0]).with(mode);
        let scenes = [
            [Act::Delete, Act::Poll, Act::Insert],
            [Act::Archive, Act::Poll, Act::Create],
            [Act::Archive, Act::Poll, Act::Restore],
            [Act::Archive, Act::Poll, Act::Delete],
            [Act::Delete, Act::Poll, Act::Approve],
            [Act::Delete, Act::Insert, Act::Retry],
        ];
        let own = scenes
            .into_iter()
            .filter(move |acts| acts.iter().all(|act| act.belongs(setup)));
        own.map(move |acts| Small {
            setup,
            acts: acts.map(Placed::from).to_vec(),
            fault: None,
            chance: 0,
        })
    })
}

/// A longer world.
pub(super) fn drawn(seed: u64) -> Small {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0D5A_11AB);
    let rng = &mut rng;
    let setup = *pick(rng, &setups());
    let mut acts: Vec<Placed> = Vec::new();
    let points: Vec<Point> = points(setup).collect();
    let all: Vec<Act> = Act::ALL
        .into_iter()
        .map(|(act, _)| act)
        .filter(|act| act.belongs(setup))
        .collect();
    // A few letters of the alphabet each: a world of all of them is always the same soup.
    let mut own: Vec<Act> = vec![Act::Write, Act::Edit];
    for _ in 0..rng.random_range(1..5) {
        own.push(*pick(rng, &all));
    }
    for _ in 0..rng.random_range(3..=10) {
        let act = *pick(rng, &own);
        let when = if rng.random_bool(0.25) {
            When::At(*pick(rng, &points), rng.random_range(0..3))
        } else {
            When::Next
        };
        acts.push(Placed { act, when });
    }
    let fault = rng.random_bool(0.4).then(|| OneFault {
        kind: match rng.random_bool(0.2) {
            true => pick(rng, &ODD_ANSWERS).0,
            false => pick(rng, &FAULTS).0,
        },
        after: rng.random_range(0..10),
    });
    Small {
        setup,
        acts,
        fault,
        chance: rng.random(),
    }
}

/// The smallest world that is still broken.
pub(super) fn shrink(world: &Small, is_broken: &mut dyn FnMut(&Small) -> bool) -> Small {
    let mut smallest = world.clone();
    loop {
        let mut candidates = Vec::new();
        for index in 0..smallest.acts.len() {
            let mut fewer = smallest.clone();
            fewer.acts.remove(index);
            candidates.push(fewer);
        }
        if smallest.fault.is_some() {
            candidates.push(Small {
                fault: None,
                ..smallest.clone()
            });
        }
        for index in 0..smallest.acts.len() {
            if smallest.acts[index].when != When::Next {
                let mut plainer = smallest.clone();
                plainer.acts[index].when = When::Next;
                candidates.push(plainer);
            }
        }
        if smallest.setup.webhooks {
            let mut without = smallest.clone();
            without.setup.webhooks = false;
            candidates.push(without);
        }
        if smallest.setup.ahead_ms != 0 {
            let mut without = smallest.clone();
            without.setup.ahead_ms = 0;
            candidates.push(without);
        }
        let plain = smallest.setup.with(Mode::Plain);
        let mut acts = smallest.acts.iter();
        if smallest.setup.mode != Mode::Plain && acts.all(|placed| placed.act.belongs(plain)) {
            candidates.push(Small {
                setup: plain,
                ..smallest.clone()
            });
        }
        if smallest.chance != 0 {
            candidates.push(Small {
                chance: 0,
                ..smallest.clone()
            });
        }
        match candidates.into_iter().find(|world| is_broken(world)) {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}
