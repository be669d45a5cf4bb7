//! The table of existence, row by row.

use super::*;
use crate::model::entry::EntryState;

const T: Timestamp = Timestamp::EPOCH;

fn at(second: i64) -> Timestamp {
    T.plus_millis(second * 1_000)
}

const HUBSPOT: [Hubspot; 11] = [
    Hubspot::Unchanged,
    Hubspot::Edited(T),
    Hubspot::Untold,
    Hubspot::Outdated,
    Hubspot::Unread,
    Hubspot::Young(T),
    Hubspot::Hidden,
    Hubspot::Gone {
        archived: Archived::Unshown,
    },
    Hubspot::Gone {
        archived: Archived::Shown(Some(T)),
    },
    Hubspot::Merged,
    Hubspot::Survivor,
];

const WORDS: [Word; 6] = [
    Word::Unasked,
    Word::Noted,
    Word::Passed,
    Word::Held,
    Word::Local,
    Word::Remote,
];

const CLEAN: Here = Here::Row {
    written_at: None,
    waits: Waits::Nothing,
};

fn written(second: i64) -> Here {
    Here::Row {
        written_at: Some(at(second)),
        waits: Waits::Change,
    }
}

fn deleted_at(second: i64) -> Here {
    Here::Deleted {
        at: at(second),
        flight: Flight::Nothing,
    }
}

fn everything_here(second: i64) -> Vec<Here> {
    let mut all = vec![
        Here::Nothing,
        Here::Marked,
        Here::Vanished { in_flight: false },
        Here::Vanished { in_flight: true },
        Here::Replaced,
        Here::InsertedAgain,
    ];
    for flight in [Flight::Nothing, Flight::Archive, Flight::Push] {
        all.push(Here::Deleted {
            at: at(second),
            flight,
        });
    }
    for waits in [Waits::Nothing, Waits::Change, Waits::Flight] {
        for written_at in [None, Some(at(second))] {
            all.push(Here::Row { written_at, waits });
        }
    }
    all
}

/// Every way in which records come and go.
fn all_modes() -> Vec<Modes> {
    let mut all = Vec::new();
    for on_remote_delete in OnRemoteDelete::ALL {
        for on_local_delete in OnLocalDelete::ALL {
            all.push(Modes {
                on_remote_delete,
                on_local_delete,
                ..Modes::default()
            });
        }
    }
    all
}

#[test]
fn whoever_looked_looks_again_when_an_answer_can_count() {
    let moment = Moment {
        now: at(1_000),
        offset_ms: 40_000,
    };
    let rest = Duration::from_secs(7);
    // HubSpot's clock is 40 s ahead: what is 1,100 there is 1,060 here.
    assert_eq!(Again::At(at(1_100)).due(&moment, rest), at(1_060));
    assert_eq!(Again::Unread.due(&moment, rest), at(1_030));
    for again in [
        Again::Outdated,
        Again::History,
        Again::Flight,
        Again::Create,
        Again::Removal,
    ] {
        assert_eq!(again.due(&moment, rest), at(1_007), "{again:?}");
    }
}

/// A young record that is missed is most likely hidden from a user's token, which somebody can end; all else ends by itself.
#[test]
fn an_entry_explains_only_what_somebody_can_do_something_about() {
    let sees = |sees| Modes {
        sees,
        ..Modes::default()
    };
    let young = Again::At(at(1));
    assert_eq!(young.explanation(sees(Sees::User)), Some(NOT_VISIBLE));
    assert_eq!(young.explanation(sees(Sees::Portal)), None);
    assert_eq!(Again::Unread.explanation(sees(Sees::User)), None);
}

/// Every combination of what both sides can show and who can have a word, in every mode, the local times at `second`.
fn everything(second: i64) -> Vec<Sides> {
    let modes = all_modes().into_iter();
    modes
        .flat_map(|modes| everything_in(modes, second))
        .collect()
}

fn everything_in(modes: Modes, second: i64) -> Vec<Sides> {
    let mut all = Vec::new();
    for hubspot in HUBSPOT {
        for here in everything_here(second) {
            for word in WORDS {
                for policy in Policy::ALL {
                    for is_erasure in [false, true] {
                        all.push(Sides {
                            hubspot,
                            here,
                            word,
                            policy,
                            modes,
                            is_erasure,
                        });
                    }
                }
            }
        }
    }
    all
}

fn sides(hubspot: Hubspot, here: Here, word: Word) -> Sides {
    Sides {
        hubspot,
        here,
        word,
        policy: Policy::Newest,
        modes: Modes::default(),
        is_erasure: false,
    }
}

/// The actions of one line of the table, in short: `conflict remote` is one with its winner.
fn check(sides: Sides, expected: &[&str]) {
    let shown = decide(&sides).into_iter().map(|action| match action {
        Action::LookAgain(again) => format!("again {again:?}").to_lowercase(),
        Action::Conflict(winner, _) => format!("conflict {}", winner.as_str()),
        Action::Close(winner, _) => format!("close {}", winner.as_str()),
        Action::CloseFields(winner, _) => {
            format!("close fields {}", winner.map_or("-", Winner::as_str))
        }
        Action::Ask(_) => "ask".to_owned(),
        Action::Rest(_) => "rest".to_owned(),
        Action::Park(_) => "park".to_owned(),
        Action::NoteRemoval { .. } => "note removal".to_owned(),
        Action::ForgetRemoval
        | Action::AskRead
        | Action::Erase
        | Action::RemoveRow
        | Action::MarkRow
        | Action::UnmarkRow
        | Action::CountUnseen
        | Action::Undelete
        | Action::CreateAgain
        | Action::BringBack
        | Action::CountAsSeen
        | Action::Archive
        | Action::MakeDue
        | Action::Done
        | Action::End
        | Action::Bury => format!("{action:?}"),
    });
    assert_eq!(shown.collect::<Vec<_>>(), expected, "{sides:?}");
}

const GONE: Hubspot = Hubspot::Gone {
    archived: Archived::Shown(Some(T)),
};

#[test]
fn what_is_not_told_is_looked_at_again_and_decides_nothing() {
    for (hubspot, again) in [
        (Hubspot::Unread, "again unread"),
        (Hubspot::Untold, "again history"),
        (Hubspot::Outdated, "again outdated"),
    ] {
        for here in [CLEAN, written(1), deleted_at(1), Here::Nothing] {
            for word in [Word::Unasked, Word::Passed] {
                check(sides(hubspot, here, word), &[again]);
            }
        }
    }
    let young = sides(Hubspot::Young(at(10)), deleted_at(1), Word::Passed);
    assert_eq!(decide(&young), [Action::LookAgain(Again::At(at(10)))]);
    for word in [Word::Local, Word::Remote] {
        for here in [CLEAN, written(1), deleted_at(1)] {
            check(sides(Hubspot::Unread, here, word), &["again unread"]);
            check(sides(Hubspot::Outdated, here, word), &["again outdated"]);
            let young = sides(Hubspot::Young(at(10)), here, word);
            assert_eq!(decide(&young), [Action::LookAgain(Again::At(at(10)))]);
        }
    }
}

#[test]
fn an_answer_that_misses_a_record_is_believed_unless_that_is_young_or_was_seen_since() {
    let long_ago = at(-1_000);
    let check = |created_at, version, archived, expected| {
        let missed = Absence {
            asked_at: at(20),
            created_at,
            version,
            archived,
            is_announced: false,
            sees: Sees::Portal,
        };
        let moment = Moment {
            now: at(22),
            offset_ms: 3_000,
        };
        assert_eq!(Hubspot::missed(&missed, &moment), expected, "{missed:?}");
    };
    let gone = |archived| Hubspot::Gone { archived };
    let (made, missed) = (Some(at(5)), Archived::Unshown);
    check(None, None, missed, gone(missed));
    check(Some(long_ago), Some(at(23)), missed, gone(missed));
    check(Some(long_ago), Some(at(24)), missed, Hubspot::Unread);
    check(made, made, missed, Hubspot::Young(at(35)));
    // The archive need not say since when.
    for shown in [Archived::Shown(Some(T)), Archived::Shown(None)] {
        check(made, made, shown, gone(shown));
    }
}

#[test]
fn the_guard_has_its_word_before_a_row_goes_and_what_it_holds_stays() {
    check(sides(GONE, CLEAN, Word::Unasked), &["note removal"]);
    check(sides(GONE, written(1), Word::Unasked), &["note removal"]);
    check(sides(GONE, written(1), Word::Noted), &["again removal"]);
    for held in everything(1) {
        if held.word == Word::Held {
            check(held, &[]);
        }
    }
}

#[test]
fn a_clean_row_goes_with_its_record() {
    for policy in Policy::ALL {
        check(
            Sides {
                policy,
                ..sides(GONE, CLEAN, Word::Passed)
            },
            &["ForgetRemoval", "RemoveRow"],
        );
    }
    check(sides(GONE, Here::Nothing, Word::Passed), &["ForgetRemoval"]);
}

fn in_mode(on_remote_delete: OnRemoteDelete) -> Modes {
    Modes {
        on_remote_delete,
        ..Modes::default()
    }
}

#[test]
fn the_file_says_what_an_archived_record_leaves_of_its_row() {
    for (mode, left) in [
        (OnRemoteDelete::Delete, "RemoveRow"),
        (OnRemoteDelete::Mark, "MarkRow"),
        (OnRemoteDelete::Recreate, "CreateAgain"),
    ] {
        let gone = |here, word, policy| Sides {
            policy,
            modes: in_mode(mode),
            ..sides(GONE, here, word)
        };
        for policy in Policy::ALL {
            check(gone(CLEAN, Word::Passed, policy), &["ForgetRemoval", left]);
            check(gone(CLEAN, Word::Unasked, policy), &["note removal"]);
        }
        let lost = gone(written(-1), Word::Passed, Policy::Newest);
        check(lost, &["conflict remote", "ForgetRemoval", left]);
        let won = gone(written(1), Word::Passed, Policy::Newest);
        check(won, &["conflict local", "ForgetRemoval", "CreateAgain"]);
        let asked = gone(written(1), Word::Passed, Policy::Manual);
        check(asked, &["ask", "ForgetRemoval", "rest"]);
        let decided = gone(written(1), Word::Remote, Policy::Manual);
        check(decided, &["close remote", left]);
    }
}

#[test]
fn a_marked_row_stays_until_its_record_is_shown() {
    for word in [Word::Unasked, Word::Noted, Word::Passed] {
        for hubspot in [GONE, Hubspot::Hidden, Hubspot::Unread, Hubspot::Merged] {
            let actions = decide(&sides(hubspot, Here::Marked, word));
            let stays =
                |action: &Action| matches!(action, Action::ForgetRemoval | Action::LookAgain(_));
            assert!(actions.iter().all(stays), "{hubspot:?} {actions:?}");
        }
        check(
            sides(Hubspot::Unchanged, Here::Marked, word),
            &["UnmarkRow"],
        );
        check(
            sides(Hubspot::Edited(T), Here::Marked, word),
            &["UnmarkRow"],
        );
    }
    let erased = Sides {
        is_erasure: true,
        ..sides(GONE, Here::Marked, Word::Unasked)
    };
    check(erased, &["Erase"]);
}

#[test]
fn a_deleted_row_comes_back_whatever_the_policy_where_the_file_says_so() {
    let modes = Modes {
        on_local_delete: OnLocalDelete::Restore,
        ..Modes::default()
    };
    for policy in Policy::ALL {
        for hubspot in [Hubspot::Unchanged, Hubspot::Edited(at(10))] {
            let deleted = Sides {
                policy,
                modes,
                ..sides(hubspot, deleted_at(20), Word::Passed)
            };
            check(deleted, &["Undelete", "AskRead"]);
        }
    }
    let gone = Sides {
        modes,
        ..sides(GONE, deleted_at(20), Word::Passed)
    };
    check(gone, &["Done"]);
}

#[test]
fn what_a_users_token_does_not_see_is_gone_only_where_hubspot_says_so() {
    let missed = |archived, is_announced, sees| {
        let missed = Absence {
            asked_at: at(20),
            created_at: None,
            version: None,
            archived,
            is_announced,
            sees,
        };
        Hubspot::missed(&missed, &noon())
    };
    let gone = |archived| Hubspot::Gone { archived };
    let unshown = Archived::Unshown;
    assert_eq!(missed(unshown, false, Sees::Portal), gone(unshown));
    assert_eq!(missed(unshown, false, Sees::User), Hubspot::Hidden);
    assert_eq!(missed(unshown, true, Sees::User), gone(unshown));
    for shown in [Archived::Shown(Some(T)), Archived::Shown(None)] {
        assert_eq!(missed(shown, false, Sees::User), gone(shown));
    }
}

#[test]
fn what_a_token_does_not_see_keeps_its_row_and_stops_what_waits() {
    let hidden = |here, word| sides(Hubspot::Hidden, here, word);
    for word in [Word::Unasked, Word::Noted, Word::Passed] {
        check(hidden(CLEAN, word), &["CountUnseen"]);
        check(hidden(written(1), word), &["CountUnseen", "park"]);
        check(hidden(Here::Nothing, word), &[]);
    }
    check(
        hidden(deleted_at(1), Word::Passed),
        &["CountUnseen", "park"],
    );
    check(hidden(deleted_at(1), Word::Unasked), &[]);
    for word in [Word::Local, Word::Remote] {
        check(hidden(written(1), word), &["again unread"]);
        check(hidden(deleted_at(1), word), &["again unread"]);
    }
}

#[test]
fn only_what_a_comparison_and_the_archive_miss_is_gone_for_good() {
    let check = |origin, archived, sees, expected| {
        let removal = Removal {
            id: HubspotId(101),
            archived,
            origin,
        };
        let modes = Modes {
            sees,
            ..Modes::default()
        };
        assert_eq!(is_gone_for_good(&removal, modes), expected);
    };
    let unshown = Archived::Unshown;
    check(Origin::Reconcile, unshown, Sees::Portal, true);
    check(
        Origin::Reconcile,
        Archived::Shown(Some(T)),
        Sees::Portal,
        false,
    );
    check(
        Origin::Reconcile,
        Archived::Shown(None),
        Sees::Portal,
        false,
    );
    check(Origin::Reconcile, unshown, Sees::User, false);
    check(Origin::Webhook, unshown, Sees::Portal, false);
    check(Origin::Poll, unshown, Sees::Portal, false);
}

#[test]
fn a_row_whose_push_is_on_its_way_waits_for_the_answer() {
    let in_flight = Here::Row {
        written_at: Some(at(1)),
        waits: Waits::Flight,
    };
    for is_erasure in [false, true] {
        check(
            Sides {
                is_erasure,
                ..sides(GONE, in_flight, Word::Passed)
            },
            &["again flight"],
        );
    }
}

#[test]
fn a_dirty_row_is_a_conflict_by_the_objects_policy() {
    let goes = ["conflict remote", "ForgetRemoval", "RemoveRow"];
    let again = ["conflict local", "ForgetRemoval", "CreateAgain"];
    let asks = ["ask", "ForgetRemoval", "rest"];
    let check = |policy, archived_at: Option<i64>, expected: &[&str]| {
        let archived = Archived::Shown(archived_at.map(at));
        let gone = Hubspot::Gone { archived };
        check(
            Sides {
                policy,
                ..sides(gone, written(10), Word::Passed)
            },
            expected,
        );
    };
    check(Policy::Remote, None, &goes);
    check(Policy::Local, None, &again);
    check(Policy::Manual, None, &asks);
    check(Policy::Newest, Some(9), &again);
    check(Policy::Newest, Some(10), &goes);
    check(Policy::Newest, Some(11), &goes);
    check(Policy::Newest, None, &goes);
}

#[test]
fn a_deletion_meets_an_edit_by_the_objects_policy() {
    let goes = ["close fields local", "conflict local", "Archive"];
    let back = ["conflict remote", "BringBack"];
    let asks = ["close fields -", "ask", "rest"];
    let check = |policy, deleted, expected: &[&str]| {
        let edited = Hubspot::Edited(at(10));
        check(
            Sides {
                policy,
                ..sides(edited, deleted_at(deleted), Word::Passed)
            },
            expected,
        );
    };
    check(Policy::Remote, 99, &back);
    check(Policy::Local, 0, &goes);
    check(Policy::Manual, 0, &asks);
    check(Policy::Newest, 11, &goes);
    check(Policy::Newest, 10, &back);
    check(Policy::Newest, 9, &back);
}

#[test]
fn a_deleted_rows_record_is_archived_as_it_was_and_not_before_its_turn() {
    let unchanged = |here, word| sides(Hubspot::Unchanged, here, word);
    check(
        unchanged(deleted_at(1), Word::Passed),
        &["close fields local", "Archive"],
    );
    check(unchanged(deleted_at(1), Word::Unasked), &[]);
    check(unchanged(Here::Replaced, Word::Passed), &["End"]);
    check(
        unchanged(Here::InsertedAgain, Word::Passed),
        &["again create"],
    );
    check(
        sides(Hubspot::Merged, deleted_at(1), Word::Passed),
        &["conflict remote", "Bury", "End"],
    );
    let survives = |here, word| sides(Hubspot::Survivor, here, word);
    let dropped = survives(deleted_at(1), Word::Passed);
    check(dropped, &["conflict remote", "End"]);
    check(survives(deleted_at(1), Word::Held), &[]);
    check(survives(Here::Replaced, Word::Passed), &["End"]);
    check(survives(CLEAN, Word::Passed), &[]);
    let modes = Modes {
        on_local_delete: OnLocalDelete::Restore,
        ..dropped.modes
    };
    check(Sides { modes, ..dropped }, &["Undelete"]);
}

#[test]
fn a_row_that_was_to_be_removed_stays_where_its_record_is_shown() {
    for here in [CLEAN, written(1), Here::Nothing] {
        check(
            sides(Hubspot::Unchanged, here, Word::Passed),
            &["ForgetRemoval", "AskRead"],
        );
    }
    check(sides(Hubspot::Unchanged, written(1), Word::Unasked), &[]);
}

#[test]
fn what_was_never_here_and_is_gone_is_remembered() {
    check(sides(GONE, Here::Nothing, Word::Unasked), &["Bury"]);
    for in_flight in [false, true] {
        check(
            sides(GONE, Here::Vanished { in_flight }, Word::Unasked),
            &[],
        );
    }
}

#[test]
fn a_person_decides_before_the_policy() {
    let check = |hubspot, here, local: &[&str], remote: &[&str]| {
        for policy in Policy::ALL {
            for (word, expected) in [(Word::Local, local), (Word::Remote, remote)] {
                let sides = Sides {
                    policy,
                    ..sides(hubspot, here, word)
                };
                check(sides, expected);
            }
        }
    };
    let shown = Hubspot::Unchanged;
    check(
        GONE,
        written(1),
        &["close local", "CreateAgain"],
        &["close remote", "RemoveRow"],
    );
    check(
        GONE,
        deleted_at(1),
        &["Done", "close local"],
        &["Done", "close remote"],
    );
    check(
        shown,
        written(1),
        &["MakeDue", "close local"],
        &["MakeDue", "AskRead", "close remote"],
    );
    check(
        shown,
        deleted_at(1),
        &["CountAsSeen", "MakeDue", "close local"],
        &["BringBack", "close remote"],
    );
    for here in [CLEAN, Here::Nothing] {
        check(shown, here, &["close local"], &["close remote"]);
    }
    check(GONE, Here::Nothing, &["close local"], &["close remote"]);
}

fn has(actions: &[Action], is_it: impl Fn(&Action) -> bool) -> bool {
    actions.iter().any(is_it)
}

#[test]
fn a_persons_word_is_answered_once_unless_it_has_to_wait() {
    for sides in everything(1) {
        let is_decided = matches!(sides.word, Word::Local | Word::Remote);
        let actions = decide(&sides);
        let closes = actions
            .iter()
            .filter(|action| matches!(action, Action::Close(..)));
        let is_told = is_there(sides.hubspot, sides.here).is_ok();
        let expected = usize::from(is_decided && is_told);
        assert_eq!(closes.count(), expected, "{sides:?}");
    }
}

#[test]
fn whoever_looks_again_does_nothing_else() {
    for sides in everything(1) {
        let actions = decide(&sides);
        let again = has(&actions, |action| matches!(action, Action::LookAgain(_)));
        assert!(!again || actions.len() == 1, "{sides:?} {actions:?}");
    }
}

#[test]
fn a_privacy_deletion_leaves_nothing_behind_that_is_not_on_its_way() {
    for sides in everything(1) {
        let is_theirs = matches!(
            sides.hubspot,
            Hubspot::Gone { .. } | Hubspot::Young(_) | Hubspot::Hidden
        );
        let is_own = matches!(sides.here, Here::Deleted { .. } | Here::Row { .. });
        if !sides.is_erasure || sides.word != Word::Passed || !is_theirs || !is_own {
            continue;
        }
        let in_flight = matches!(
            sides.here,
            Here::Row {
                waits: Waits::Flight,
                ..
            } | Here::Deleted {
                flight: Flight::Archive | Flight::Push,
                ..
            }
        );
        let expected = match in_flight {
            true => Action::LookAgain(Again::Flight),
            false => Action::Erase,
        };
        assert_eq!(decide(&sides), [expected], "{sides:?}");
    }
}

fn entry(operation: Operation, state: EntryState, row: Option<&str>) -> Entry {
    use crate::model::entry::{Base, EntryField, Standing};
    use crate::model::id::{LocalId, OutboxId};
    use crate::model::name::PropertyName;

    let field = |name: &str, second| EntryField {
        property: PropertyName::parse(name).expect("a name"),
        base: Base::Unknown,
        changed_at: at(second),
        sent: None,
    };
    Entry {
        id: OutboxId(1),
        local_id: LocalId(1),
        standing: Standing {
            hs_id: None,
            operation,
            state,
            attempts: 0,
            enqueued_at: at(5),
            has_row: row.is_some(),
            ..Standing::NOTHING
        },
        version: 1,
        key: None,
        row: row.map(str::to_owned),
        fields: vec![field("city", 20), field("zip", 7)],
    }
}

#[test]
fn what_a_person_gives_up_takes_nothing_along_that_was_there_before() {
    let id = HubspotId(101);
    let check = |operation, hs_id, row, expected| {
        let mut entry = entry(operation, EntryState::Pending, row);
        entry.standing.hs_id = hs_id;
        assert_eq!(
            given_up(&entry),
            expected,
            "{operation:?} {hs_id:?} {row:?}"
        );
    };
    for row in [None, Some("{}")] {
        for hs_id in [None, Some(id)] {
            check(Operation::Create, hs_id, row, GivenUp::Exclude);
            check(Operation::Associate, hs_id, row, GivenUp::End);
            check(Operation::Disassociate, hs_id, row, GivenUp::End);
        }
        check(Operation::Update, None, row, GivenUp::End);
        check(Operation::Archive, None, row, GivenUp::End);
        check(Operation::Archive, Some(id), row, GivenUp::Undelete(id));
    }
    check(Operation::Update, Some(id), None, GivenUp::TakeBack(id));
    check(
        Operation::Update,
        Some(id),
        Some("{}"),
        GivenUp::Undelete(id),
    );
}

fn noon() -> Moment {
    Moment {
        now: at(50),
        offset_ms: 3_000,
    }
}

#[test]
fn a_row_was_written_when_it_was_written_last_or_a_person_was_asked() {
    let check = |state: Option<EntryState>, asked_at: Option<i64>, expected, waits| {
        let entry = state.map(|state| entry(Operation::Update, state, None));
        assert_eq!(
            Here::row(entry.as_ref(), asked_at.map(at), &noon()),
            Here::Row {
                written_at: expected,
                waits
            }
        );
    };
    check(None, None, None, Waits::Nothing);
    check(None, Some(9), Some(at(12)), Waits::Nothing);
    check(Some(EntryState::Pending), None, Some(at(23)), Waits::Change);
    check(Some(EntryState::Dead), Some(9), Some(at(23)), Waits::Change);
    check(
        Some(EntryState::InFlight),
        Some(30),
        Some(at(33)),
        Waits::Flight,
    );
    // By a clock that is ahead.
    check(
        Some(EntryState::Pending),
        Some(99),
        Some(at(53)),
        Waits::Change,
    );
}

#[test]
fn only_what_keeps_its_row_was_deleted() {
    use EntryState::{Dead, InFlight, Pending};

    let check = |operation, state, row, expected| {
        let entry = entry(operation, state, row);
        assert_eq!(Here::rowless(Some(&entry), &noon()), expected);
    };
    let deleted = |flight| Here::Deleted { at: at(8), flight };
    let row = Some("{}");
    check(Operation::Archive, Pending, row, deleted(Flight::Nothing));
    check(Operation::Archive, Dead, row, deleted(Flight::Nothing));
    check(Operation::Archive, InFlight, row, deleted(Flight::Archive));
    for operation in [Operation::Create, Operation::Update] {
        check(operation, Pending, row, deleted(Flight::Nothing));
        check(operation, InFlight, row, deleted(Flight::Push));
        let vanished = |in_flight| Here::Vanished { in_flight };
        check(operation, Pending, None, vanished(false));
        check(operation, InFlight, None, vanished(true));
    }
    assert_eq!(Here::rowless(None, &noon()), Here::Nothing);
}

proptest::proptest! {
    #[test]
    fn what_both_sides_deleted_is_done(archived in proptest::option::of(-100_i64..100), second in -100_i64..100) {
        let gone = Hubspot::Gone { archived: Archived::Shown(archived.map(at)) };
        for policy in Policy::ALL {
            for word in [Word::Unasked, Word::Passed] {
                let both = Sides { policy, ..sides(gone, deleted_at(second), word) };
                proptest::prop_assert_eq!(decide(&both), [Action::Done]);
            }
            for word in [Word::Local, Word::Remote] {
                let both = Sides { policy, ..sides(gone, deleted_at(second), word) };
                proptest::prop_assert_eq!(decide(&both)[0], Action::Done);
            }
        }
    }

    #[test]
    fn nothing_that_one_side_did_is_lost_without_a_conflict(second in -100_i64..100, modes in proptest::sample::select(all_modes())) {
        for sides in everything_in(modes, second) {
            let actions = decide(&sides);
            let is_told = has(&actions, |action| {
                matches!(action, Action::Conflict(..) | Action::Ask(_) | Action::Close(..))
            });
            let loses = |action: &Action| match action {
                // Somebody's write here, or somebody's deletion in HubSpot.
                Action::RemoveRow | Action::MarkRow => {
                    !matches!(sides.here, Here::Row { written_at: None, .. })
                }
                Action::CreateAgain => {
                    sides.modes.on_remote_delete != OnRemoteDelete::Recreate
                        || !matches!(sides.here, Here::Row { written_at: None, .. })
                }
                // Somebody's edit in HubSpot, or somebody's deletion here.
                Action::Archive => sides.hubspot != Hubspot::Unchanged,
                Action::BringBack => true,
                // The deletion here, unless it is done in HubSpot or another row took its place.
                Action::End => sides.here != Here::Replaced,
                // What a privacy law takes is told to nobody.
                Action::Erase => !sides.is_erasure,
                // The deletion here, as the file wants it.
                Action::Undelete => sides.modes.on_local_delete != OnLocalDelete::Restore,
                Action::LookAgain(_)
                | Action::NoteRemoval { .. }
                | Action::ForgetRemoval
                | Action::UnmarkRow
                | Action::CountUnseen
                | Action::Park(_)
                | Action::AskRead
                | Action::CountAsSeen
                | Action::MakeDue
                | Action::Rest(_)
                | Action::Done
                | Action::Bury
                | Action::CloseFields(..)
                | Action::Conflict(..)
                | Action::Ask(_)
                | Action::Close(..) => false,
            };
            proptest::prop_assert!(is_told || !has(&actions, loses), "{:?} {:?}", sides, actions);
        }
    }

    #[test]
    fn what_is_done_fits_what_is_there(second in -100_i64..100, modes in proptest::sample::select(all_modes())) {
        for sides in everything_in(modes, second) {
            let has_row = matches!(sides.here, Here::Row { .. });
            let is_shown = is_there(sides.hubspot, Here::Nothing) == Ok(true);
            for action in decide(&sides) {
                let fits = match action {
                    Action::RemoveRow | Action::CreateAgain | Action::MarkRow => has_row && !is_shown,
                    Action::UnmarkRow => sides.here == Here::Marked && is_shown,
                    Action::CountUnseen | Action::Park(_) => sides.hubspot == Hubspot::Hidden,
                    Action::NoteRemoval { .. } => has_row && !is_shown && sides.word == Word::Unasked,
                    Action::BringBack | Action::Undelete | Action::Archive | Action::CountAsSeen => {
                        !has_row && is_shown
                    }
                    Action::Done => !has_row && !is_shown,
                    Action::Erase => sides.is_erasure && !is_shown,
                    Action::LookAgain(_)
                    | Action::ForgetRemoval
                    | Action::AskRead
                    | Action::MakeDue
                    | Action::Rest(_)
                    | Action::End
                    | Action::Bury
                    | Action::CloseFields(..)
                    | Action::Conflict(..)
                    | Action::Ask(_)
                    | Action::Close(..) => true,
                };
                proptest::prop_assert!(fits, "{:?} {:?}", sides, action);
            }
        }
    }
}
