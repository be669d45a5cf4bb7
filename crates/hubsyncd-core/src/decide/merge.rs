//! One field: (base, local, remote, policy, times) → what becomes of it. The heart of the program.
//!
//! It fetches nothing and writes nothing. Promises 3, 4 and 13 rest on it: equal values never move, and a value that
//! loses is always named in the outcome.

pub use crate::decide::merge::modes::Owed;
pub(crate) use crate::decide::merge::modes::by_mode;
use crate::model::conflict::Winner;
use crate::model::entry::Base;
use crate::model::mapping::{Direction, Policy, WriteMode};
use crate::model::time::Timestamp;
use crate::model::value::{PropertyType, Value};

mod modes;

/// What is known of the moment at which HubSpot's value was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemoteTime {
    /// Nobody has asked for the property's history yet.
    NotAsked,
    /// The newest entry of its history.
    At(Timestamp),
    /// HubSpot gave no history for it.
    Missing,
}

/// A field as both sides show it.
#[derive(Debug, Clone)]
pub(crate) struct FieldInput<'a> {
    /// How values compare.
    pub kind: PropertyType,
    /// The narrower of the object's and the property's direction.
    pub direction: Direction,
    /// How a local value is written.
    pub write: WriteMode,
    /// What our last write went over and is to go back.
    pub owed: Option<&'a Owed>,
    /// Who wins a conflict.
    pub policy: Policy,
    /// The last agreed value; for a clean field the local value itself.
    pub base: &'a Base,
    /// The mirror's value.
    pub local: &'a Value,
    /// HubSpot's value.
    pub remote: &'a Value,
    /// When the local value was written, in HubSpot's time; `None` for a clean field.
    pub local_changed_at: Option<Timestamp>,
    /// When HubSpot's value was set.
    pub remote_changed_at: RemoteTime,
    /// When the record changed last in HubSpot.
    pub record_updated_at: Timestamp,
}

/// What becomes of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldOutcome {
    /// Both sides hold the base.
    Nothing,
    /// The mirror takes HubSpot's value; nothing local is lost.
    TakeRemote,
    /// HubSpot holds the base: the local change waits to be pushed.
    PushLocal,
    /// Both sides came to the same: the pending change goes.
    Agreed,
    /// The mirror takes the value that the way of writing gives, and where HubSpot holds another one, it goes out.
    Meet {
        /// The value.
        value: Value,
        /// Whether something that was written here gives way to it.
        gives_up: bool,
    },
    /// Both sides differ; recorded closed, with its winner.
    Conflict {
        /// `Local` or `Remote`.
        winner: Winner,
        /// Why.
        reason: &'static str,
    },
    /// Both sides differ and a person decides.
    Ask,
    /// `newest` can't be told without the property's history.
    NeedHistory,
}

/// Why a conflict was decided by policy.
pub const BY_POLICY: &str = "the policy says so";
/// Why a push-only field wins.
pub(crate) const PUSH_ONLY: &str = "the field is only pushed";
/// Why a pull-only field loses.
pub(crate) const PULL_ONLY: &str = "the field is only pulled";
/// Why the later local write wins.
pub(crate) const LOCAL_LATER: &str = "the local write is later than the change in HubSpot";
/// Why the later remote change wins.
pub(crate) const REMOTE_LATER: &str = "the change in HubSpot is later than the local write";
/// Why a tie goes to HubSpot.
pub(crate) const TIE: &str = "both changes are of the same moment, and a tie goes to HubSpot";
/// Why the local write wins without history.
pub(crate) const LOCAL_AFTER_RECORD: &str = "HubSpot gave no history for the property, but the local write is later than any change of the record";
/// Why the remote value wins without history.
pub(crate) const NO_HISTORY: &str =
    "HubSpot gave no history for the property, and its record changed after the local write";

/// Decides what becomes of one field.
pub(crate) fn merge_field(field: &FieldInput<'_>) -> FieldOutcome {
    by_mode(field).unwrap_or_else(|| replace(field))
}

/// A field whose value takes the place of HubSpot's.
fn replace(field: &FieldInput<'_>) -> FieldOutcome {
    let agreed = field.kind.same(field.local, field.remote);
    match field.base {
        Base::Known(base) => {
            let remote_same = field.kind.same(base, field.remote);
            let local_same = field.kind.same(base, field.local);
            match (remote_same, local_same) {
                (true, true) => FieldOutcome::Nothing,
                (true, false) => local_change(field),
                (false, true) => remote_change(field),
                (false, false) if agreed => FieldOutcome::Agreed,
                (false, false) => conflict(field),
            }
        }
        Base::Unknown if agreed => FieldOutcome::Agreed,
        Base::Unknown if field.direction == Direction::Both && field.local.is_empty() => {
            FieldOutcome::TakeRemote
        }
        Base::Unknown if field.direction == Direction::Both && field.remote.is_empty() => {
            FieldOutcome::PushLocal
        }
        Base::Unknown => conflict(field),
    }
}

fn local_change(field: &FieldInput<'_>) -> FieldOutcome {
    if field.direction.pushes() {
        FieldOutcome::PushLocal
    } else {
        FieldOutcome::Conflict {
            winner: Winner::Remote,
            reason: PULL_ONLY,
        }
    }
}

fn remote_change(field: &FieldInput<'_>) -> FieldOutcome {
    if field.direction.pulls() {
        FieldOutcome::TakeRemote
    } else {
        FieldOutcome::Conflict {
            winner: Winner::Local,
            reason: PUSH_ONLY,
        }
    }
}

fn conflict(field: &FieldInput<'_>) -> FieldOutcome {
    let decided = |winner, reason| FieldOutcome::Conflict { winner, reason };
    match (field.direction, field.policy) {
        (Direction::Push, _) => decided(Winner::Local, PUSH_ONLY),
        (Direction::Pull, _) => decided(Winner::Remote, PULL_ONLY),
        (Direction::Both, Policy::Remote) => decided(Winner::Remote, BY_POLICY),
        (Direction::Both, Policy::Local) => decided(Winner::Local, BY_POLICY),
        (Direction::Both, Policy::Manual) => FieldOutcome::Ask,
        (Direction::Both, Policy::Newest) => newest(field),
    }
}

fn newest(field: &FieldInput<'_>) -> FieldOutcome {
    let decided = |winner, reason| FieldOutcome::Conflict { winner, reason };
    // A clean field with an unknown base was not written by anybody since it was filled: HubSpot's is the later.
    let Some(local) = field.local_changed_at else {
        return decided(Winner::Remote, REMOTE_LATER);
    };
    match field.remote_changed_at {
        RemoteTime::NotAsked if local > field.record_updated_at => {
            decided(Winner::Local, LOCAL_LATER)
        }
        RemoteTime::NotAsked => FieldOutcome::NeedHistory,
        RemoteTime::At(remote) if local > remote => decided(Winner::Local, LOCAL_LATER),
        RemoteTime::At(remote) if local < remote => decided(Winner::Remote, REMOTE_LATER),
        RemoteTime::At(_) => decided(Winner::Remote, TIE),
        RemoteTime::Missing if local > field.record_updated_at => {
            decided(Winner::Local, LOCAL_AFTER_RECORD)
        }
        RemoteTime::Missing => decided(Winner::Remote, NO_HISTORY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Timestamp = Timestamp::EPOCH;

    fn value(text: &str) -> Value {
        Value::from_canonical(text)
    }

    struct Case<'a> {
        direction: Direction,
        policy: Policy,
        base: Option<&'a str>,
        local: &'a str,
        remote: &'a str,
        local_at: Option<i64>,
        remote_at: RemoteTime,
    }

    const PLAIN: Case<'static> = Case {
        direction: Direction::Both,
        policy: Policy::Newest,
        base: Some("a"),
        local: "a",
        remote: "a",
        local_at: Some(100),
        remote_at: RemoteTime::NotAsked,
    };

    fn outcome(case: &Case<'_>, kind: PropertyType) -> FieldOutcome {
        let base = case
            .base
            .map_or(Base::Unknown, |text| Base::Known(value(text)));
        merge_field(&FieldInput {
            kind,
            direction: case.direction,
            write: WriteMode::Replace,
            owed: None,
            policy: case.policy,
            base: &base,
            local: &value(case.local),
            remote: &value(case.remote),
            local_changed_at: case.local_at.map(Timestamp::from_millis),
            remote_changed_at: case.remote_at,
            record_updated_at: LATE.plus_millis(200),
        })
    }

    fn check(case: &Case<'_>, expected: impl Into<FieldOutcome>) {
        let expected: FieldOutcome = expected.into();
        assert_eq!(outcome(case, PropertyType::String), expected);
    }

    fn local(reason: &'static str) -> FieldOutcome {
        FieldOutcome::Conflict {
            winner: Winner::Local,
            reason,
        }
    }

    fn remote(reason: &'static str) -> FieldOutcome {
        FieldOutcome::Conflict {
            winner: Winner::Remote,
            reason,
        }
    }

    #[test]
    fn the_table_of_the_design_holds_row_by_row() {
        check(&PLAIN, FieldOutcome::Nothing);
        check(
            &Case {
                remote: "r",
                ..PLAIN
            },
            FieldOutcome::TakeRemote,
        );
        check(
            &Case {
                local: "l",
                ..PLAIN
            },
            FieldOutcome::PushLocal,
        );
        check(
            &Case {
                local: "x",
                remote: "x",
                ..PLAIN
            },
            FieldOutcome::Agreed,
        );
        check(
            &Case {
                local: "l",
                remote: "r",
                policy: Policy::Remote,
                ..PLAIN
            },
            remote(BY_POLICY),
        );
        check(
            &Case {
                local: "l",
                remote: "r",
                policy: Policy::Local,
                ..PLAIN
            },
            local(BY_POLICY),
        );
        check(
            &Case {
                local: "l",
                remote: "r",
                policy: Policy::Manual,
                ..PLAIN
            },
            FieldOutcome::Ask,
        );
    }

    #[test]
    fn newest_compares_the_propertys_own_time_and_a_tie_goes_to_remote() {
        let both = Case {
            local: "l",
            remote: "r",
            ..PLAIN
        };
        check(&both, FieldOutcome::NeedHistory);
        check(
            &Case {
                local_at: Some(201),
                ..both
            },
            local(LOCAL_LATER),
        );
        let at = |ms| RemoteTime::At(Timestamp::from_millis(ms));
        check(
            &Case {
                remote_at: at(99),
                ..both
            },
            local(LOCAL_LATER),
        );
        check(
            &Case {
                remote_at: at(100),
                ..both
            },
            remote(TIE),
        );
        check(
            &Case {
                remote_at: at(101),
                ..both
            },
            remote(REMOTE_LATER),
        );
        check(
            &Case {
                remote_at: RemoteTime::Missing,
                ..both
            },
            remote(NO_HISTORY),
        );
        check(
            &Case {
                remote_at: RemoteTime::Missing,
                local_at: Some(201),
                ..both
            },
            local(LOCAL_AFTER_RECORD),
        );
    }

    #[test]
    fn with_an_unknown_base_equal_agrees_and_an_empty_side_takes_the_others() {
        let unknown = Case {
            base: None,
            ..PLAIN
        };
        check(&unknown, FieldOutcome::Agreed);
        check(
            &Case {
                local: "",
                remote: "r",
                ..unknown
            },
            FieldOutcome::TakeRemote,
        );
        check(
            &Case {
                local: "l",
                remote: "",
                ..unknown
            },
            FieldOutcome::PushLocal,
        );
        check(
            &Case {
                local: "l",
                remote: "r",
                policy: Policy::Manual,
                ..unknown
            },
            FieldOutcome::Ask,
        );
    }

    #[test]
    fn a_one_way_field_has_no_policy() {
        let push = Case {
            direction: Direction::Push,
            policy: Policy::Remote,
            ..PLAIN
        };
        check(
            &Case {
                remote: "r",
                ..push
            },
            local(PUSH_ONLY),
        );
        check(
            &Case {
                remote: "r",
                local: "l",
                ..push
            },
            local(PUSH_ONLY),
        );
        check(&Case { local: "l", ..push }, FieldOutcome::PushLocal);
        let pull = Case {
            direction: Direction::Pull,
            policy: Policy::Local,
            ..PLAIN
        };
        check(
            &Case {
                remote: "r",
                ..pull
            },
            FieldOutcome::TakeRemote,
        );
        check(&Case { local: "l", ..pull }, remote(PULL_ONLY));
        check(
            &Case {
                local: "l",
                remote: "r",
                ..pull
            },
            remote(PULL_ONLY),
        );
    }

    #[test]
    fn clearing_is_a_change_like_any_other() {
        check(
            &Case {
                remote: "",
                ..PLAIN
            },
            FieldOutcome::TakeRemote,
        );
        check(&Case { local: "", ..PLAIN }, FieldOutcome::PushLocal);
        check(
            &Case {
                base: Some(""),
                remote: "r",
                local: "",
                ..PLAIN
            },
            FieldOutcome::TakeRemote,
        );
    }

    #[test]
    fn sets_that_differ_in_order_alone_are_no_change() {
        let case = Case {
            base: Some("a;b"),
            local: "b;a",
            remote: "a;b",
            ..PLAIN
        };
        assert_eq!(outcome(&case, PropertyType::Set), FieldOutcome::Nothing);
    }

    /// Every combination of five values in three places, all policies, directions and times: a value vanishes from both
    /// sides only where the outcome names the conflict that keeps it.
    #[test]
    fn no_combination_loses_a_value_silently() {
        let values = ["", "a", "b", "c"];
        let times = [
            RemoteTime::At(LATE),
            RemoteTime::At(LATE.plus_millis(500)),
            RemoteTime::Missing,
        ];
        let mut cases = 0;
        for base in [None, Some(""), Some("a"), Some("b")] {
            for (local, remote) in values
                .iter()
                .flat_map(|l| values.iter().map(move |r| (*l, *r)))
            {
                for policy in Policy::ALL {
                    for direction in [Direction::Both, Direction::Pull, Direction::Push] {
                        for remote_at in times {
                            let case = Case {
                                direction,
                                policy,
                                base,
                                local,
                                remote,
                                local_at: Some(100),
                                remote_at,
                            };
                            keeps_every_value(&case);
                            cases += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(cases, 4 * 16 * 4 * 3 * 3);
    }

    fn keeps_every_value(case: &Case<'_>) {
        let named = |winner| matches!(outcome(case, PropertyType::String), FieldOutcome::Conflict { winner: found, .. } if found == winner);
        match outcome(case, PropertyType::String) {
            FieldOutcome::Nothing | FieldOutcome::Agreed => assert_eq!(case.local, case.remote),
            FieldOutcome::TakeRemote => {
                assert!(case.base == Some(case.local) || case.local.is_empty());
            }
            FieldOutcome::PushLocal => {
                assert!(case.base == Some(case.remote) || case.remote.is_empty());
            }
            FieldOutcome::Conflict { winner, .. } => {
                assert!(named(winner) && case.local != case.remote);
            }
            FieldOutcome::Ask => assert_eq!(
                (case.policy, case.direction),
                (Policy::Manual, Direction::Both)
            ),
            FieldOutcome::NeedHistory => unreachable!("the time is given"),
            FieldOutcome::Meet { .. } => unreachable!("the value takes the other's place"),
        }
    }
}
