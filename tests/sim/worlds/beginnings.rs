//! How worlds begin that are about what follows on something: a conflict that is open, a record that is archived, a request
//! that was lost. After each comes every pair of acts.

use hubsyncd::model::mapping::Policy;
use hubsyncd::simulator::faults::FaultKind;

use crate::points::{Call, Moment, Point};
use crate::worlds::acts::Act;
use crate::worlds::alphabet::{FAULTS, Mode, OneFault, Placed, Setup, Small, When};
use crate::worlds::letters::letters;
use crate::worlds::many::FAULTY;

/// Both sides have written, and the daemon has seen both.
const CONFLICT: &[Act] = &[Act::Down, Act::Write, Act::Edit, Act::Up, Act::Poll];
/// The row was written, the record archived, and the daemon has seen both.
const WHOLE_CONFLICT: &[Act] = &[
    Act::Down,
    Act::Write,
    Act::Archive,
    Act::Up,
    Act::Compare,
    Act::Poll,
];
/// The row was deleted, the record edited, and the daemon has seen both.
const DELETED_CONFLICT: &[Act] = &[Act::Down, Act::Delete, Act::Edit, Act::Up, Act::Poll];

/// How a request can be lost so that nobody knows what became of it.
const LOST: [FaultKind; 3] = [
    FaultKind::AnswerLost,
    FaultKind::HtmlAnswer,
    FaultKind::Late,
];

/// The acts with which such worlds of a mapping begin.
fn beginnings(setup: Setup) -> Vec<&'static [Act]> {
    let own: &[&'static [Act]] = match (setup.mode, setup.policy) {
        (Mode::Plain, Policy::Manual) => &[
            CONFLICT,
            WHOLE_CONFLICT,
            DELETED_CONFLICT,
            &[
                Act::Down,
                Act::Write,
                Act::Edit,
                Act::WriteElsewhere,
                Act::EditElsewhere,
                Act::Up,
                Act::Poll,
            ],
            &[
                Act::Down,
                Act::Write,
                Act::Edit,
                Act::Up,
                Act::Poll,
                Act::DecideLocal,
            ],
        ],
        (Mode::MakesAnew | Mode::BringsBack, Policy::Manual) => &[CONFLICT],
        (Mode::Plain, _) => &[
            &[Act::Down, Act::Delete],
            &[Act::Down, Act::WriteElsewhere],
            &[Act::Delete, Act::Poll],
            &[Act::Archive, Act::Compare, Act::Poll],
            &[Act::Merge, Act::Poll],
            &[Act::ClockDayAhead],
        ],
        (Mode::New, _) => &[
            &[Act::Insert],
            &[Act::Insert, Act::Poll],
            &[Act::Down, Act::Insert],
        ],
        (
            Mode::Marks | Mode::MakesAnew | Mode::FromHubspot | Mode::FromLocal | Mode::OnlyLinks,
            _,
        ) => &[&[Act::Archive, Act::Compare, Act::Poll]],
        (Mode::BringsBack, _) => &[&[Act::Delete, Act::Poll]],
        (Mode::Sparing, _) => &[
            &[Act::Archive, Act::Compare, Act::Poll],
            &[Act::DeleteOther, Act::Poll],
        ],
        (Mode::Filled, _) => &[&[Act::Clear, Act::Poll], &[Act::ClearThere, Act::Poll]],
        (Mode::Guarded, _) => &[
            &[Act::Delete, Act::Poll],
            &[Act::Archive, Act::Compare, Act::Poll],
        ],
        (Mode::Triggered, Policy::Manual) => &[CONFLICT],
        (Mode::Narrow, _) => &[&[Act::Write, Act::Pause, Act::Write, Act::Pause]],
        (
            Mode::Linked
            | Mode::IfEmpty
            | Mode::Fills
            | Mode::Append
            | Mode::Untold
            | Mode::Fresh
            | Mode::Keyless
            | Mode::User
            | Mode::Triggered
            | Mode::Remembers,
            _,
        ) => &[],
    };
    own.to_vec()
}

/// The same, of worlds in which a request of the first act is lost: what was sent, or made, is in doubt.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "others begin in no such way"
)]
fn in_doubt(setup: Setup) -> Vec<(&'static [Act], OneFault)> {
    let own: &[(&'static [Act], u8)] = match setup.mode {
        Mode::Plain if !setup.webhooks => &[
            (&[Act::Write, Act::Pause], 1),
            (&[Act::Delete, Act::Pause], 1),
        ],
        Mode::New => &[
            (&[Act::Insert, Act::Pause], 0),
            (&[Act::Insert, Act::Pause], 1),
            (&[Act::Insert, Act::Pause], 2),
        ],
        _ => &[],
    };
    let all = own.iter().flat_map(|(acts, after)| {
        LOST.map(|kind| {
            let after = *after;
            (*acts, OneFault { kind, after })
        })
    });
    all.collect()
}

/// Every pair of acts after each beginning.
pub(super) fn begun(setup: Setup) -> impl Iterator<Item = Small> {
    let pairs =
        move || letters(setup).flat_map(move |one| letters(setup).map(move |other| [one, other]));
    let begun = move |acts: &[Act], then: [Act; 2], fault| Small {
        setup,
        acts: acts.iter().copied().chain(then).map(Placed::from).collect(),
        fault,
        chance: 0,
    };
    let plain = beginnings(setup)
        .into_iter()
        .flat_map(move |acts| pairs().map(move |then| begun(acts, then, None)));
    let in_doubt = in_doubt(setup)
        .into_iter()
        .flat_map(move |(acts, fault)| pairs().map(move |then| begun(acts, then, Some(fault))));
    let all = plain.chain(in_doubt).chain(put_off(setup));
    let all = all.chain(toggled(setup));
    all.chain(while_away(setup)).chain(beside_the_lost(setup))
}

/// What happens while a request is on its way that is lost: before anybody looks for it again.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are as usual")]
fn beside_the_lost(setup: Setup) -> impl Iterator<Item = Small> {
    let (first, call) = match setup.mode {
        Mode::New => (Act::Insert, Call::Upsert),
        _ => (Act::Write, Call::Update),
    };
    let is_one = matches!(setup.mode, Mode::Plain | Mode::New) && !setup.webhooks;
    let own = LOST.into_iter().filter(move |_| is_one);
    own.flat_map(move |kind| {
        letters(setup).flat_map(move |one| {
            letters(setup).map(move |other| {
                let moment = Moment::Departed;
                let when = When::At(Point { call, moment }, 0);
                let beside = [one, other].map(|act| Placed { act, when });
                Small {
                    setup,
                    acts: beside.into_iter().chain([first.into()]).collect(),
                    fault: Some(OneFault { kind, after: 1 }),
                    chance: 0,
                }
            })
        })
    })
}

/// What happens while the daemon is away, one thing a while after the other.
const AWAY: [Act; 6] = [
    Act::Write,
    Act::WriteOther,
    Act::Edit,
    Act::EditOther,
    Act::Archive,
    Act::Delete,
];

fn while_away(setup: Setup) -> impl Iterator<Item = Small> {
    let is_plain = setup.mode == Mode::Plain && !setup.webhooks;
    let own = AWAY.into_iter().filter(move |_| is_plain);
    own.flat_map(move |one| {
        AWAY.into_iter().flat_map(move |two| {
            AWAY.map(|three| Small {
                setup,
                acts: [Act::Down, one, Act::Pause, two, Act::Pause, three, Act::Up]
                    .map(Placed::from)
                    .to_vec(),
                fault: None,
                chance: 0,
            })
        })
    })
}

/// A program that writes again and again, one of whose requests is lost, alone and with a person who writes after it.
fn toggled(setup: Setup) -> impl Iterator<Item = Small> {
    let is_plain = setup.mode == Mode::Plain && !setup.webhooks;
    let own = LOST.into_iter().filter(move |_| is_plain);
    own.flat_map(move |kind| {
        (0..2 * FAULTY).flat_map(move |after| {
            [&[Act::Toggle][..], &[Act::Toggle, Act::Edit]].map(|acts| Small {
                setup,
                acts: acts.iter().copied().map(Placed::from).collect(),
                fault: Some(OneFault { kind, after }),
                chance: 0,
            })
        })
    })
}

/// What was put off by a clock that was a day ahead.
fn put_off(setup: Setup) -> impl Iterator<Item = Small> {
    let own = (setup == Setup::of(Policy::Remote)).then_some(());
    own.into_iter().flat_map(move |()| {
        FAULTS.into_iter().flat_map(move |(kind, _)| {
            (0..FAULTY).flat_map(move |after| {
                [Act::Write, Act::Delete, Act::Edit].map(|act| Small {
                    setup,
                    acts: [Act::ClockDayAhead, act, Act::Pause, Act::ClockDayBack]
                        .map(Placed::from)
                        .to_vec(),
                    fault: Some(OneFault { kind, after }),
                    chance: 0,
                })
            })
        })
    })
}
