//! Of which acts the worlds of a mapping are made: with what one can begin, and what can follow.

use hubsyncd::model::mapping::Policy;

use crate::worlds::acts::{Act, Tying};
use crate::worlds::alphabet::{Mode, Setup};

/// What a world can begin with: before it, nothing can be taken back, restored or lost.
const BEGINNINGS: [Act; 5] = [Act::Write, Act::Delete, Act::Edit, Act::Archive, Act::Merge];

/// What can follow.
const LETTERS: [Act; 18] = [
    Act::Write,
    Act::WriteBack,
    Act::Delete,
    Act::Insert,
    Act::Edit,
    Act::EditBack,
    Act::EditSame,
    Act::Archive,
    Act::Restore,
    Act::Merge,
    Act::Kill,
    Act::ClockAhead,
    Act::Poll,
    Act::Compare,
    Act::Replace,
    Act::EditSent,
    Act::EditSentByApp,
    Act::MergeAway,
];

/// What can follow where a person is new.
const NEW: [Act; 14] = [
    Act::Insert,
    Act::InsertTwin,
    Act::Write,
    Act::WriteOther,
    Act::Delete,
    Act::Create,
    Act::Edit,
    Act::EditOther,
    Act::Archive,
    Act::Merge,
    Act::MergeAway,
    Act::Replace,
    Act::Kill,
    Act::Poll,
];

/// What can follow where nothing was read yet.
const FRESH: [Act; 14] = [
    Act::Insert,
    Act::Write,
    Act::WriteOther,
    Act::Edit,
    Act::EditOther,
    Act::EditBack,
    Act::Archive,
    Act::Restore,
    Act::Merge,
    Act::MergeAway,
    Act::Delete,
    Act::Kill,
    Act::Poll,
    Act::Compare,
];

/// What can follow where one may go.
const SPARING: [Act; 8] = [
    Act::Archive,
    Act::ArchiveOther,
    Act::Delete,
    Act::DeleteOther,
    Act::Approve,
    Act::Compare,
    Act::Kill,
    Act::Poll,
];

/// What can follow where requests are few.
const NARROW: [Act; 10] = [
    Act::Toggle,
    Act::Insert,
    Act::Write,
    Act::WriteOther,
    Act::Edit,
    Act::Delete,
    Act::Kill,
    Act::Pause,
    Act::Poll,
    Act::Compare,
];

/// What can follow where a program's trigger writes too.
const TRIGGERED: [Act; 9] = [
    Act::Write,
    Act::WriteTwice,
    Act::WriteBack,
    Act::Replace,
    Act::Delete,
    Act::Insert,
    Act::Edit,
    Act::Kill,
    Act::Poll,
];

/// What can follow where nothing may be emptied.
const FILLED: [Act; 15] = [
    Act::Clear,
    Act::ClearThere,
    Act::Write,
    Act::WriteBack,
    Act::WriteOther,
    Act::Edit,
    Act::EditBack,
    Act::EditOther,
    Act::Replace,
    Act::Delete,
    Act::Approve,
    Act::TakeBack,
    Act::Kill,
    Act::Poll,
    Act::Compare,
];

/// What can follow where records come and go in another way.
const COMINGS: [Act; 15] = [
    Act::Write,
    Act::WriteOther,
    Act::Delete,
    Act::Insert,
    Act::Edit,
    Act::Archive,
    Act::Restore,
    Act::Merge,
    Act::Create,
    Act::Approve,
    Act::Hide,
    Act::Show,
    Act::Kill,
    Act::Poll,
    Act::Compare,
];

/// What can follow where a field is written in another way.
const WRITINGS: [Act; 11] = [
    Act::Write,
    Act::WriteBack,
    Act::Clear,
    Act::Edit,
    Act::EditBack,
    Act::ClearThere,
    Act::EditByApp,
    Act::Delete,
    Act::Merge,
    Act::Kill,
    Act::Poll,
];

/// What can follow where HubSpot's own history is asked for.
const REMEMBERED: [Act; 11] = [
    Act::Write,
    Act::WriteTwice,
    Act::Edit,
    Act::EditBack,
    Act::EditByApp,
    Act::ClearThere,
    Act::Archive,
    Act::Restore,
    Act::Merge,
    Act::Kill,
    Act::Poll,
];

/// With what those begin.
const WRITINGS_FIRST: [Act; 4] = [Act::Write, Act::Edit, Act::ClearThere, Act::Clear];

/// With what worlds begin in which the token does not see all.
const HIDDEN_FIRST: [Act; 6] = [
    Act::Hide,
    Act::Write,
    Act::Delete,
    Act::Edit,
    Act::Archive,
    Act::Merge,
];

/// With what those begin that have a list of their own.
const NEW_FIRST: [Act; 2] = [Act::Insert, Act::Create];
const FRESH_FIRST: [Act; 5] = [Act::Insert, Act::Edit, Act::Archive, Act::Merge, Act::Kill];
const FILLED_FIRST: [Act; 4] = [Act::Clear, Act::ClearThere, Act::Write, Act::Edit];
const SPARING_FIRST: [Act; 3] = [Act::Archive, Act::Delete, Act::DeleteOther];
const NARROW_FIRST: [Act; 4] = [Act::Toggle, Act::Write, Act::Edit, Act::Delete];
const TRIGGERED_FIRST: [Act; 4] = [Act::Write, Act::WriteTwice, Act::Replace, Act::Edit];

/// What can follow where an operator decides.
const DECISIONS: [Act; 7] = [
    Act::WriteOther,
    Act::DecideLocal,
    Act::DecideRemote,
    Act::DecideOddly,
    Act::DecideValue,
    Act::Discard,
    Act::EditByApp,
];

/// What can follow where records hang together.
const TIES: [Act; 20] = [
    Act::Ties(Tying::Join),
    Act::Ties(Tying::Prefer),
    Act::Ties(Tying::Label),
    Act::Ties(Tying::Unlabel),
    Act::Ties(Tying::Part),
    Act::Ties(Tying::JoinFirst),
    Act::TiesThere(Tying::Join),
    Act::TiesThere(Tying::PreferThird),
    Act::TiesThere(Tying::Label),
    Act::TiesThere(Tying::Unlabel),
    Act::TiesThere(Tying::Part),
    Act::TiesThere(Tying::JoinNew),
    Act::TiesThere(Tying::JoinFirst),
    Act::TiesThere(Tying::PartSecond),
    Act::Ties(Tying::PreferThird),
    Act::Ties(Tying::PartSecond),
    Act::Delete,
    Act::Merge,
    Act::Kill,
    Act::Poll,
];

/// With what those begin.
const TIES_FIRST: [Act; 7] = [
    Act::Ties(Tying::Join),
    Act::Ties(Tying::Prefer),
    Act::Ties(Tying::Part),
    Act::Ties(Tying::JoinNew),
    Act::TiesThere(Tying::Join),
    Act::TiesThere(Tying::Part),
    Act::Edit,
];

/// Whatever can follow in worlds of a mapping.
pub(super) fn letters(setup: Setup) -> impl Iterator<Item = Act> {
    let own: &'static [Act] = match setup.mode {
        Mode::Plain | Mode::Keyless => &LETTERS,
        Mode::New => &NEW,
        Mode::Narrow => &NARROW,
        Mode::Sparing => &SPARING,
        Mode::Filled => &FILLED,
        Mode::Fresh => &FRESH,
        Mode::Triggered => &TRIGGERED,
        Mode::Remembers => &REMEMBERED,
        Mode::Linked => &TIES,
        Mode::IfEmpty | Mode::Fills | Mode::Append | Mode::Untold => &WRITINGS,
        Mode::Marks
        | Mode::MakesAnew
        | Mode::BringsBack
        | Mode::FromHubspot
        | Mode::FromLocal
        | Mode::OnlyLinks
        | Mode::User
        | Mode::Guarded => &COMINGS,
    };
    let of_webhooks = [Act::Announce, Act::Lose, Act::Erase];
    let of_webhooks = of_webhooks.into_iter().filter(move |_| setup.webhooks);
    let decides = setup.policy == Policy::Manual && setup.mode == Mode::Plain;
    let of_people = DECISIONS.into_iter().filter(move |_| decides);
    let own = own.iter().copied().filter(move |act| act.belongs(setup));
    own.chain(of_webhooks).chain(of_people)
}

/// Each first act of a world of a mapping with each that can follow it.
pub(super) fn pairs(setup: Setup) -> impl Iterator<Item = (Act, Act)> {
    let first: &'static [Act] = match setup.mode {
        Mode::Linked => &TIES_FIRST,
        Mode::IfEmpty | Mode::Fills | Mode::Append | Mode::Untold => &WRITINGS_FIRST,
        Mode::User => &HIDDEN_FIRST,
        Mode::New => &NEW_FIRST,
        Mode::Narrow => &NARROW_FIRST,
        Mode::Sparing => &SPARING_FIRST,
        Mode::Filled => &FILLED_FIRST,
        Mode::Fresh => &FRESH_FIRST,
        Mode::Triggered => &TRIGGERED_FIRST,
        Mode::Remembers => &WRITINGS_FIRST,
        Mode::Plain
        | Mode::Keyless
        | Mode::Marks
        | Mode::MakesAnew
        | Mode::BringsBack
        | Mode::FromHubspot
        | Mode::FromLocal
        | Mode::OnlyLinks
        | Mode::Guarded => &BEGINNINGS,
    };
    first
        .iter()
        .copied()
        .flat_map(move |first| letters(setup).map(move |second| (first, second)))
}
