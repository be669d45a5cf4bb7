//! A rolling window, exact: who is in it, and when there is room.
//!
//! A request holds a place from its sending until the window's length after its answer, because HubSpot counts it at
//! some moment in between.

use std::collections::BTreeMap;
use std::time::Duration;

/// A rolling window of requests.
#[derive(Debug)]
pub(crate) struct RollingWindow {
    length: Duration,
    in_flight: u32,
    /// Places by the moment they become free.
    held: BTreeMap<Duration, u32>,
    held_count: u32,
}

impl RollingWindow {
    /// An empty window.
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            in_flight: 0,
            held: BTreeMap::new(),
            held_count: 0,
        }
    }

    /// Another length. What is held is held for that long as well, where it is longer.
    pub(crate) fn set_length(&mut self, length: Duration) {
        let longer = length.saturating_sub(self.length);
        let held = std::mem::take(&mut self.held).into_iter();
        self.held = held.map(|(until, count)| (until + longer, count)).collect();
        self.length = length;
    }

    /// Requests that HubSpot may count with one that is sent now.
    pub(crate) fn used(&mut self, now: Duration) -> u32 {
        while let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() <= now) {
            self.held_count -= entry.remove();
        }
        self.in_flight + self.held_count
    }

    /// Requests without an answer.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// A request goes.
    pub(crate) fn start(&mut self) {
        self.in_flight += 1;
    }

    /// A request ended; HubSpot counted it at `latest` at the latest.
    pub(crate) fn end(&mut self, latest: Duration) {
        self.withdraw();
        self.hold(1, latest);
    }

    /// A request never arrived.
    pub(crate) fn withdraw(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// So many requests were counted by HubSpot at `latest` at the latest.
    pub(crate) fn hold(&mut self, requests: u32, latest: Duration) {
        if requests > 0 {
            *self.held.entry(latest + self.length).or_default() += requests;
            self.held_count += requests;
        }
    }

    /// So many requests were counted by HubSpot so long before `now` at the latest, which may be before the clock began.
    pub(crate) fn hold_from_before(&mut self, requests: u32, now: Duration, before: Duration) {
        let until = (now + self.length).saturating_sub(before);
        if requests > 0 && until > now {
            *self.held.entry(until).or_default() += requests;
            self.held_count += requests;
        }
    }

    /// Who is held, and how many milliseconds ago HubSpot counted them at the latest; below zero it is to come. Whoever has no
    /// answer counts from now on.
    pub(crate) fn recent(&mut self, now: Duration) -> Vec<(u32, i64)> {
        self.used(now);
        let millis = |time: Duration| time.as_millis() as i64;
        let ago = |until: Duration| millis(now + self.length) - millis(until);
        let held = self.held.iter();
        let mut recent: Vec<_> = held
            .map(|(until, requests)| (*requests, ago(*until)))
            .collect();
        recent.extend((self.in_flight > 0).then_some((self.in_flight, 0)));
        recent
    }

    /// When fewer than `allowed` are used; `None`: not before an answer comes.
    pub(crate) fn free_at(&self, allowed: u32) -> Option<Duration> {
        let mut used = self.in_flight + self.held_count;
        for (until, count) in &self.held {
            used -= count;
            if used < allowed {
                return Some(*until);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_place_is_held_from_the_sending_until_a_window_after_the_answer() {
        let mut window = RollingWindow::new(ms(10_000));
        window.start();
        assert_eq!(window.used(ms(60_000)), 1);
        assert_eq!(window.free_at(1), None);
        window.end(ms(60_300));
        assert_eq!(window.used(ms(70_299)), 1);
        assert_eq!(window.free_at(1), Some(ms(70_300)));
        assert_eq!(window.used(ms(70_300)), 0);
    }

    #[test]
    fn whoever_asks_for_what_is_recent_hears_of_requests_without_an_answer_too() {
        let mut window = RollingWindow::new(ms(10_000));
        window.hold(2, ms(1_000));
        window.start();
        assert_eq!(window.recent(ms(4_000)), [(2, 3_000), (1, 0)]);
        window.end(ms(4_500));
        assert_eq!(window.recent(ms(5_000)), [(2, 4_000), (1, 500)]);
    }

    #[test]
    fn what_is_held_stays_held_when_the_window_gets_another_length() {
        let mut window = RollingWindow::new(ms(1_000));
        window.hold(1, ms(0));
        window.set_length(ms(4_000));
        assert_eq!(window.free_at(1), Some(ms(4_000)));
        window.set_length(ms(1_000));
        assert_eq!(window.free_at(1), Some(ms(4_000)));
        window.hold(1, ms(5_000));
        assert_eq!(window.used(ms(5_999)), 1);
        assert_eq!(window.used(ms(6_000)), 0);
    }

    #[test]
    fn a_request_that_never_arrived_takes_no_place() {
        let mut window = RollingWindow::new(ms(10_000));
        window.start();
        window.withdraw();
        assert_eq!(window.used(ms(0)), 0);
    }

    #[test]
    fn room_comes_when_enough_places_are_free() {
        let mut window = RollingWindow::new(ms(10));
        window.hold(3, ms(0));
        window.hold(2, ms(5));
        assert_eq!(window.free_at(5), Some(ms(10)));
        assert_eq!(window.free_at(2), Some(ms(15)));
        assert_eq!(window.free_at(0), None);
    }
}
