//! The share of a command that asks HubSpot beside the daemon: which part of the windows it has, and for how long.

use std::time::Duration;

use crate::decide::quota::LimitSettings;

/// A lease holds so long unless it is renewed: a command that is killed takes no more of the daemon's time.
pub const LONGEST: Duration = Duration::from_mins(1);

/// A command renews its lease this often.
pub const RENEWED: Duration = Duration::from_secs(20);

/// A command searches once in two seconds.
const SEARCH_PER_SECOND: f64 = 0.5;

/// A command's part of whatever it shares with the daemon.
const PART: u32 = 10;

/// Requests of a window of so many that a command may send.
pub(crate) fn of_window(limit: u32) -> u32 {
    (limit / PART).max(1)
}

impl LimitSettings {
    /// What a command has of them.
    #[must_use]
    pub fn of_command(self) -> Self {
        let part = f64::from(PART);
        Self {
            per_second: self.per_second.map(|rate| rate / part),
            search_per_second: self.search_per_second.min(SEARCH_PER_SECOND),
            associations_per_second: self.associations_per_second / part,
            is_share: true,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::quota::day::{KnownQuotaDay, QuotaDay};
    use crate::decide::quota::{
        Ending, EndpointClass, Now, Observed, Pause, Priority, Quota, QuotaVerdict,
    };
    use crate::model::settings::{Limits, Tier};
    use crate::testing::at;

    fn now(milliseconds: u64) -> Now {
        let steady = Duration::from_millis(milliseconds);
        Now {
            steady,
            hubspot: at(0) + steady,
        }
    }

    fn quota(settings: LimitSettings) -> Quota {
        let day = QuotaDay::new(&settings, &KnownQuotaDay::default(), now(0));
        let mut quota = Quota::new(settings, &[], day, now(0));
        quota.add_lease(10_000);
        quota
    }

    /// Sends at once what may go; tells how many did.
    fn send_all(quota: &mut Quota, class: EndpointClass, at: Now) -> u32 {
        let mut sent = 0;
        while quota.may_go_together(class, Priority::Interactive, 1, at) == QuotaVerdict::Go {
            let grant = quota.grant(class, at);
            quota.end(&grant, Ending::Answered, at);
            sent += 1;
        }
        sent
    }

    #[test]
    fn daemon_and_command_together_never_send_more_than_the_window_holds() {
        for limit in [1, 9, 10, 100, 190, 250] {
            let limits = Limits {
                burst_per_10_seconds: Some(limit),
                ..Limits::default()
            };
            let settings = LimitSettings::new(&limits, Tier::Professional);
            let (mut daemon, mut command) = (quota(settings), quota(settings.of_command()));
            assert_eq!(send_all(&mut daemon, EndpointClass::Crm, now(0)), limit);
            assert!(!daemon.has_left_share(now(0)), "nobody has asked");
            daemon.leave_share(true);
            assert!(!daemon.has_left_share(now(5_000)), "the window is full");
            assert!(daemon.has_left_share(now(11_000)));
            let ours = send_all(&mut daemon, EndpointClass::Crm, now(11_000));
            let theirs = send_all(&mut command, EndpointClass::Crm, now(11_000));
            assert!(ours + theirs <= limit, "{ours} and {theirs} of {limit}");
            assert_eq!(theirs, of_window(limit));
            daemon.leave_share(false);
            assert_eq!(
                send_all(&mut daemon, EndpointClass::Crm, now(30_000)),
                limit
            );
        }
    }

    #[test]
    fn a_command_searches_once_in_two_seconds_and_the_daemon_leaves_one_search_free() {
        let settings = LimitSettings::new(&Limits::default(), Tier::Professional);
        let (mut daemon, mut command) = (quota(settings), quota(settings.of_command()));
        daemon.leave_share(true);
        assert_eq!(send_all(&mut daemon, EndpointClass::Search, now(0)), 4);
        assert_eq!(send_all(&mut command, EndpointClass::Search, now(0)), 1);
        assert_eq!(send_all(&mut command, EndpointClass::Search, now(1_900)), 0);
        assert_eq!(send_all(&mut command, EndpointClass::Search, now(2_100)), 1);
    }

    #[test]
    fn searches_beside_lists_leave_one_a_second_and_half_to_whoever_makes_them_too() {
        let with = |per_second| {
            let limits = Limits {
                search_per_second: Some(per_second),
                ..Limits::default()
            };
            quota(LimitSettings::new(&limits, Tier::Professional))
        };
        assert_eq!(with(1.5).searches_beside_lists(now(0)), None);
        let mut quota = with(5.0);
        assert_eq!(quota.searches_beside_lists(now(0)), Some(4.0));
        let grant = quota.grant(EndpointClass::Search, now(0));
        quota.end(&grant, Ending::Answered, now(10));
        let refused = Pause::Class(EndpointClass::Search);
        quota.pause(refused, &grant, None, now(10));
        assert_eq!(quota.searches_beside_lists(now(60_000)), Some(2.0));
        assert_eq!(quota.searches_beside_lists(now(700_000)), Some(4.0));
        quota.leave_share(true);
        assert_eq!(quota.searches_beside_lists(now(700_000)), None);
    }

    #[test]
    fn what_the_daemon_sends_beside_it_takes_nothing_of_a_commands_share() {
        let settings = LimitSettings::new(&Limits::default(), Tier::Professional);
        let mut command = quota(settings.of_command());
        let grant = command.grant(EndpointClass::Crm, now(0));
        command.end(&grant, Ending::Answered, now(10));
        let said = Observed {
            burst_limit: Some(190),
            burst_left: Some(5),
            ..Observed::default()
        };
        command.observe(&grant, &said, now(10));
        assert_eq!(send_all(&mut command, EndpointClass::Crm, now(20)), 18);
    }
}
