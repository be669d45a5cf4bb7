//! The limiter against a HubSpot that counts what arrives, under virtual time.

mod associations;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::hubspot::testing::{ManualClock, run, run_all, run_until};
use crate::model::settings::{Limits, Tier};

const NOON: &str = "2026-11-24T12:00:00Z";

/// What HubSpot counts, and what the database holds: both outlive a daemon.
#[derive(Clone, Default)]
struct World {
    arrivals: Arc<Mutex<Vec<(EndpointClass, Duration)>>>,
    leases: Arc<Mutex<Vec<(Timestamp, u32)>>>,
}

impl World {
    fn lease(&self) -> LeaseFn {
        let leases = Arc::clone(&self.leases);
        Arc::new(move |request| {
            let leases = Arc::clone(&leases);
            Box::pin(async move {
                leases.lock().push((request.at, request.count));
                Ok(())
            })
        })
    }

    fn leased(&self) -> u32 {
        self.leases.lock().iter().map(|(_, count)| count).sum()
    }

    /// All leases that were open in the last ten seconds: the ones granted then, and the two before them.
    fn recent(&self, now: Timestamp) -> u32 {
        let leases = self.leases.lock();
        let old = leases.iter().filter(|(at, _)| *at < now - BURST).count();
        leases
            .iter()
            .skip(old.saturating_sub(2))
            .map(|(_, count)| count)
            .sum()
    }

    fn arrived(&self, class: EndpointClass, at: Duration) {
        self.arrivals.lock().push((class, at));
    }

    /// The most arrivals of a class in any window, both ends included.
    fn worst(&self, class: EndpointClass, window: Duration) -> usize {
        let arrivals = self.arrivals.lock();
        let mut times: Vec<Duration> = arrivals
            .iter()
            .filter(|(of, _)| *of == class)
            .map(|(_, at)| *at)
            .collect();
        times.sort_unstable();
        let mut first = 0;
        let mut worst = 0;
        for (last, at) in times.iter().enumerate() {
            while times[first] + window < *at {
                first += 1;
            }
            worst = worst.max(last + 1 - first);
        }
        worst
    }
}

const BURST: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

fn settings(burst: u32) -> LimitSettings {
    let limits = Limits {
        burst_per_10_seconds: Some(burst),
        ..Limits::default()
    };
    LimitSettings::new(&limits, Tier::Professional)
}

fn limiter(clock: &Arc<ManualClock>, settings: LimitSettings, world: &World) -> Arc<Limiter> {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    Limiter::new(settings, clock, world.lease(), &StartState::default())
}

fn answered() -> QuotaWord {
    QuotaWord {
        by_hubspot: true,
        ..QuotaWord::default()
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// How a simulated request fares.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    NotSent,
    /// Its answer is lost, and it arrives some time afterwards.
    Late,
}

/// One request: it goes when it may, arrives, is answered.
async fn request(
    clock: &ManualClock,
    limiter: &Arc<Limiter>,
    world: &World,
    class: EndpointClass,
    priority: Priority,
    way: (Duration, Duration),
    fate: Fate,
) {
    let permit = limiter
        .acquire(class, priority)
        .await
        .expect("there is budget");
    match fate {
        Fate::Answered => {
            clock.sleep(way.0).await;
            world.arrived(class, clock.monotonic());
            clock.sleep(way.1).await;
            permit.answered(&answered());
        }
        Fate::NotSent => permit.not_sent(),
        Fate::Late => {
            clock.sleep(way.0).await;
            world.arrived(class, clock.monotonic() + way.1);
            permit.lost();
        }
    }
}

/// A permit, if there is one in that time; after that nobody waits for it.
async fn acquire_within(
    clock: &ManualClock,
    limiter: &Arc<Limiter>,
    priority: Priority,
    patience: Duration,
) -> Option<Permit> {
    let permit = std::pin::pin!(limiter.acquire(EndpointClass::Crm, priority));
    match futures_util::future::select(permit, clock.sleep(patience)).await {
        futures_util::future::Either::Left((permit, _)) => Some(permit.expect("budget")),
        futures_util::future::Either::Right(_) => None,
    }
}

/// Workers that send one request after another with random pauses and ways, until a moment.
fn workers<'a>(
    clock: &'a Arc<ManualClock>,
    limiter: &'a Arc<Limiter>,
    world: &'a World,
    seed: u64,
    chaos: bool,
) -> Vec<BoxFuture<'a, ()>> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let count = dice.random_range(1..24_u64);
    (0..count)
        .map(|worker| {
            let mut dice = ChaCha8Rng::seed_from_u64(seed ^ (worker << 32));
            let priority = [
                Priority::Interactive,
                Priority::Webhook,
                Priority::Poll,
                Priority::Bulk,
            ][(worker % 4) as usize];
            let longest_way = dice.random_range(1..3000_u64);
            let longest_pause = dice.random_range(1..500_u64);
            let future: BoxFuture<'a, ()> = Box::pin(async move {
                loop {
                    clock.sleep(ms(dice.random_range(0..longest_pause))).await;
                    let class = if dice.random_bool(0.2) {
                        EndpointClass::Search
                    } else {
                        EndpointClass::Crm
                    };
                    let way = (
                        ms(dice.random_range(0..longest_way)),
                        ms(dice.random_range(0..longest_way)),
                    );
                    // Five lost in a row would open the breaker, which has a test of its own.
                    let fate = match dice.random_range(0..100) {
                        0 if chaos => Fate::Late,
                        1 if chaos => Fate::NotSent,
                        _ => Fate::Answered,
                    };
                    request(clock, limiter, world, class, priority, way, fate).await;
                }
            });
            future
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn hubspot_never_counts_more_than_its_limits_whatever_arrives_when(seed: u64, burst in 1_u32..200, chaos: bool) {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        let limiter = limiter(&clock, settings(burst), &world);
        run_until(&clock, Duration::from_mins(1), workers(&clock, &limiter, &world, seed, chaos));
        prop_assert!(world.worst(EndpointClass::Crm, BURST) <= burst as usize);
        prop_assert!(world.worst(EndpointClass::Search, SECOND) <= 5);
        prop_assert!(world.leased() as usize >= world.arrivals.lock().len());
    }

    #[test]
    fn a_kill_and_a_start_make_no_window_overflow(seed: u64, burst in 5_u32..200, kills in prop::collection::vec(1_u64..45_000, 2..6)) {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        for (number, after) in kills.iter().enumerate() {
            let start = StartState {
                recent: vec![Recent {
                    requests: world.recent(clock.now()),
                    counted_before: None,
                }],
                ..StartState::default()
            };
            let steady: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
            let limiter = Limiter::new(settings(burst), steady, world.lease(), &start);
            let end = clock.monotonic() + ms(*after);
            run_until(&clock, end, workers(&clock, &limiter, &world, seed ^ number as u64, false));
            let left = end.saturating_sub(clock.monotonic());
            clock.advance(left);
        }
        prop_assert!(world.worst(EndpointClass::Crm, BURST) <= burst as usize);
        prop_assert!(world.worst(EndpointClass::Search, SECOND) <= 5);
    }
}

#[test]
fn other_limits_of_the_file_hold_at_once_against_what_was_sent_before() {
    for (before, after) in [(100, 30), (30, 100)] {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        let limiter = limiter(&clock, settings(before), &world);
        run_until(
            &clock,
            Duration::from_secs(25),
            workers(&clock, &limiter, &world, 7, false),
        );
        assert!(world.worst(EndpointClass::Crm, BURST) <= before as usize);
        let searches = LimitSettings {
            search_per_second: 2.0,
            ..settings(after)
        };
        limiter.set_limits(searches);
        world.arrivals.lock().clear();
        run_until(
            &clock,
            Duration::from_mins(1),
            workers(&clock, &limiter, &world, 8, false),
        );
        let worst = world.worst(EndpointClass::Crm, BURST);
        assert!(
            worst <= after as usize && worst * 3 > after as usize,
            "{worst}"
        );
        assert!(world.worst(EndpointClass::Search, SECOND) <= 2);
    }
}

#[test]
fn after_a_clean_stop_the_first_search_waits_no_longer_than_its_own_window() {
    let first_search = |counted_before: Option<Duration>| {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        let start = StartState {
            recent: vec![Recent {
                requests: 20,
                counted_before,
            }],
            ..StartState::default()
        };
        let steady: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let limiter = Limiter::new(settings(190), steady, world.lease(), &start);
        let begun = clock.monotonic();
        let permit = run(
            &clock,
            limiter.acquire(EndpointClass::Search, Priority::Poll),
        );
        drop(permit.expect("let go"));
        clock.monotonic().saturating_sub(begun)
    };
    assert!(first_search(Some(Duration::from_secs(3))) < ms(100));
    assert!(first_search(Some(ms(100))) < ms(1_100));
    assert!(
        first_search(None) >= Duration::from_secs(5),
        "they may be on the wire"
    );
}

#[test]
fn what_a_limiter_hands_on_is_what_it_sent_and_when_and_a_start_says_how_long_it_waits_for_it() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let first = limiter(&clock, settings(20), &world);
    for _ in 0..12 {
        let permit = run(
            &clock,
            first.acquire(EndpointClass::Crm, Priority::Interactive),
        );
        permit.expect("let go").answered(&answered());
    }
    // No search of a moment ago is on the wire.
    clock.advance(Duration::from_secs(2));
    let sent = first.recent();
    let requests = |recent: &[(u32, Timestamp)]| recent.iter().map(|(requests, _)| requests).sum();
    let all: u32 = requests(&sent);
    assert!((5..=12).contains(&all), "{sent:?}");
    let before = |(requests, at): &(u32, Timestamp)| Recent {
        requests: *requests,
        counted_before: Some(clock.now().since(*at)),
    };
    let start = StartState {
        recent: sent.iter().map(before).collect(),
        ..StartState::default()
    };
    let steady: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let second = Limiter::new(settings(all), steady, world.lease(), &start);
    assert_eq!(second.recent(), sent);
    let wait = second.first_wait().expect("the window is full");
    assert!(
        wait < Duration::from_secs(8),
        "the oldest goes first: {wait:?}"
    );
    clock.advance(wait);
    assert_eq!(second.first_wait(), None);
    let left: u32 = requests(&second.recent());
    assert!(left < all, "it is forgotten");
}

#[test]
fn a_backfill_alone_has_95_percent_of_the_limit() {
    for burst in [100, 110, 190, 250] {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        let limiter = limiter(&clock, settings(burst), &world);
        let chains = (0..8_u64).map(|chain| {
            let (clock, limiter, world) = (&clock, &limiter, &world);
            let mut dice = ChaCha8Rng::seed_from_u64(chain);
            let future: BoxFuture<'_, ()> = Box::pin(async move {
                loop {
                    let way = (
                        ms(dice.random_range(37..112)),
                        ms(dice.random_range(38..113)),
                    );
                    request(
                        clock,
                        limiter,
                        world,
                        EndpointClass::Crm,
                        Priority::Bulk,
                        way,
                        Fate::Answered,
                    )
                    .await;
                }
            });
            future
        });
        run_until(&clock, Duration::from_mins(10), chains);
        let arrived = world.arrivals.lock().len() as f64;
        let share = arrived / (60.0 * f64::from(burst));
        assert!(share >= 0.95, "{burst}: {share}");
        assert!(
            world.worst(EndpointClass::Crm, BURST) <= burst as usize,
            "{burst}"
        );
    }
}

#[test]
fn requests_come_evenly_and_not_in_one_burst() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(100), &world);
    let chains = (0..50).map(|_| {
        let future: BoxFuture<'_, ()> = Box::pin(request(
            &clock,
            &limiter,
            &world,
            EndpointClass::Crm,
            Priority::Bulk,
            (ms(1), ms(1)),
            Fate::Answered,
        ));
        future
    });
    run_all(&clock, chains);
    assert!(world.worst(EndpointClass::Crm, SECOND) <= 12);
}

#[test]
fn a_push_goes_before_the_bulk_that_waits() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(100), &world);
    let order: Mutex<Vec<Priority>> = Mutex::default();
    let one = |priority: Priority, at: Duration| -> BoxFuture<'_, ()> {
        let (clock, limiter, order) = (&clock, &limiter, &order);
        Box::pin(async move {
            clock.sleep(at).await;
            let permit = limiter
                .acquire(EndpointClass::Crm, priority)
                .await
                .expect("budget");
            order.lock().push(priority);
            permit.answered(&answered());
        })
    };
    let bulk = (0..20).map(|_| one(Priority::Bulk, ms(0)));
    let late = [Priority::Poll, Priority::Webhook, Priority::Interactive]
        .map(|priority| one(priority, ms(300)));
    run_all(&clock, bulk.chain(late));
    let order = order.into_inner();
    let place = |priority| {
        order
            .iter()
            .position(|at| *at == priority)
            .expect("it went")
    };
    let before = place(Priority::Interactive);
    assert!((2..8).contains(&before), "{order:?}");
    assert_eq!(
        (place(Priority::Webhook), place(Priority::Poll)),
        (before + 1, before + 2),
        "{order:?}"
    );
}

#[test]
fn bulk_leaves_places_of_the_window_for_pushes() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    let within_a_minute = |priority| {
        run(
            &clock,
            acquire_within(&clock, &limiter, priority, Duration::from_mins(1)),
        )
    };
    let mut unanswered = Vec::new();
    while let Some(permit) = within_a_minute(Priority::Bulk) {
        unanswered.push(permit);
    }
    assert_eq!(unanswered.len(), 188);
    unanswered.extend(within_a_minute(Priority::Interactive));
    unanswered.extend(within_a_minute(Priority::Interactive));
    assert_eq!(unanswered.len(), 190);
    assert!(within_a_minute(Priority::Interactive).is_none());
}

#[test]
fn the_day_ends_for_bulk_then_for_polls_then_for_pushes() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limits = Limits {
        per_day: Some(100),
        ..Limits::default()
    };
    let limiter = limiter(
        &clock,
        LimitSettings::new(&limits, Tier::Professional),
        &world,
    );
    let spend = |priority: Priority| {
        let mut sent = 0;
        loop {
            match run(&clock, limiter.acquire(EndpointClass::Crm, priority)) {
                Ok(permit) => {
                    permit.answered(&answered());
                    sent += 1;
                }
                Err(LimiterError::OutOfQuota { until }) => return (sent, until.to_string()),
                Err(error) => panic!("{error}"),
            }
        }
    };
    let midnight = "2026-11-25T00:00:03.000Z".to_owned();
    assert_eq!(spend(Priority::Bulk), (85, midnight.clone()));
    assert_eq!(spend(Priority::Poll), (5, midnight.clone()));
    assert_eq!(spend(Priority::Webhook), (10, midnight.clone()));
    assert_eq!(spend(Priority::Interactive), (0, midnight));
    assert_eq!(world.leased(), 100);
    let snapshot = limiter.snapshot();
    assert_eq!(
        (snapshot.daily_limit, snapshot.daily_used),
        (Some(100), 100)
    );
    clock.advance(Duration::from_hours(13));
    assert_eq!(spend(Priority::Bulk).0, 85);
}

#[test]
fn a_lease_is_written_before_its_requests_and_never_for_more_than_20() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    for sent in 1..=45 {
        run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Bulk))
            .expect("budget")
            .answered(&answered());
        assert!(world.leased() >= sent);
        assert!(world.leased() < sent + LEASE);
    }
    assert_eq!(limiter.unused_lease(), 15);
    run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Bulk))
        .expect("budget")
        .not_sent();
    assert_eq!(limiter.unused_lease(), 15);
}

const LEASE: u32 = crate::decide::quota::LEASE_REQUESTS;

#[test]
fn a_lease_that_fails_fails_the_request_and_the_next_one_tries_again() {
    let clock = ManualClock::at(NOON);
    let steady: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let full: LeaseFn = Arc::new(|_| Box::pin(async { Err(LeaseError::from("the disk is full")) }));
    let limiter = Limiter::new(settings(190), steady, full, &StartState::default());
    for _ in 0..2 {
        let result = run(
            &clock,
            limiter.acquire(EndpointClass::Crm, Priority::Interactive),
        );
        assert!(matches!(result, Err(LimiterError::Lease(_))));
    }
}

#[test]
fn a_429_pauses_the_window_that_it_names() {
    for (pause, class, wait) in [
        (EndpointClass::Crm, EndpointClass::Crm, 10_000),
        (EndpointClass::Search, EndpointClass::Search, 1000),
        (EndpointClass::Crm, EndpointClass::Search, 0),
    ] {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        let limiter = limiter(&clock, settings(190), &world);
        let permit = run(&clock, limiter.acquire(pause, Priority::Poll)).expect("budget");
        permit.answered(&QuotaWord {
            pause: Some(Pause::Class(pause)),
            ..answered()
        });
        let before = clock.monotonic();
        run(&clock, limiter.acquire(class, Priority::Poll))
            .expect("budget")
            .answered(&answered());
        let waited = clock.monotonic().saturating_sub(before).as_millis() as u64;
        assert!((wait..wait + 2000).contains(&waited), "{waited}");
        assert_eq!(limiter.snapshot().throttled_last_minute, 1);
    }
}

#[test]
fn a_closed_limiter_ends_whoever_waits() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    let permits: Vec<Permit> = (0..2)
        .map(|_| run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll)).expect("budget"))
        .collect();
    limiter.close();
    let before = clock.monotonic();
    for class in [EndpointClass::Search, EndpointClass::Crm] {
        let refused = run(&clock, limiter.acquire(class, Priority::Interactive));
        assert!(matches!(refused, Err(LimiterError::Closed)));
    }
    run(&clock, limiter.closed());
    assert_eq!(clock.monotonic(), before);
    for permit in permits {
        permit.answered(&answered());
    }
}

#[test]
fn searches_that_met_the_bursts_limit_have_their_places_kept_there() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    assert_eq!(limiter.snapshot().burst_left, 190);
    let permit = run(
        &clock,
        limiter.acquire(EndpointClass::Search, Priority::Poll),
    )
    .expect("budget");
    permit.answered(&QuotaWord {
        pause: Some(Pause::Class(EndpointClass::Crm)),
        ..answered()
    });
    assert_eq!(limiter.snapshot().burst_left, 140);
    // Whoever met a limit waits too, whichever it was.
    let before = clock.monotonic();
    run(
        &clock,
        limiter.acquire(EndpointClass::Search, Priority::Poll),
    )
    .expect("budget")
    .answered(&answered());
    let waited = clock.monotonic().saturating_sub(before);
    assert!(waited >= Duration::from_secs(9), "{waited:?}");
}

#[test]
fn a_spent_day_and_a_move_end_the_step_with_the_time_to_come_back() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    assert!(limiter.set_time_zone("Europe/Berlin"));
    let permit = run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll)).expect("budget");
    let until = permit.answered(&QuotaWord {
        pause: Some(Pause::Everything),
        retry_after: Some(Duration::from_hours(2)),
        ..answered()
    });
    assert_eq!(until.to_string(), "2026-11-24T14:00:00.000Z");
    for class in [EndpointClass::Search, EndpointClass::Crm] {
        let error = run(&clock, limiter.acquire(class, Priority::Interactive))
            .err()
            .expect("a pause");
        assert!(matches!(error, LimiterError::Paused { .. }));
        assert_eq!(error.until(), Some(until));
    }
    clock.advance(Duration::from_hours(2));
    let permit = run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll)).expect("budget");
    permit.answered(&QuotaWord {
        pause: Some(Pause::Day),
        ..answered()
    });
    let error = run(
        &clock,
        limiter.acquire(EndpointClass::Search, Priority::Interactive),
    )
    .err()
    .expect("no quota");
    assert!(matches!(error, LimiterError::OutOfQuota { .. }));
    assert_eq!(
        error.until().expect("a time").to_string(),
        "2026-11-24T23:00:03.000Z"
    );
}

#[test]
fn after_five_failures_one_probe_at_a_time_goes() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    for _ in 0..5 {
        run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll))
            .expect("closed")
            .not_sent();
    }
    let error = run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll))
        .err()
        .expect("open");
    assert!(matches!(error, LimiterError::Unreachable { .. }));
    clock.advance(error.until().expect("a time").since(clock.now()));
    // Two want to be the probe. The other waits for its end, and is told of the next one.
    let probe = || -> BoxFuture<'_, bool> {
        Box::pin(async {
            let permit = limiter.acquire(EndpointClass::Crm, Priority::Poll).await;
            clock.sleep(ms(500)).await;
            permit.map(Permit::not_sent).is_ok()
        })
    };
    let mut went = run_all(&clock, [probe(), probe()]);
    went.sort_unstable();
    assert_eq!(went, [false, true]);
    clock.advance(Duration::from_secs(30));
    run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll))
        .expect("a probe")
        .answered(&answered());
    run(
        &clock,
        limiter.acquire(EndpointClass::Search, Priority::Poll),
    )
    .expect("closed")
    .answered(&answered());
}

#[test]
fn headers_lower_the_limit_at_once_and_others_share_the_window() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    let answer = |limit, left| {
        let permit = run(
            &clock,
            limiter.acquire(EndpointClass::Crm, Priority::Interactive),
        )
        .expect("budget");
        permit.answered(&QuotaWord {
            observed: Observed {
                burst_limit: Some(limit),
                burst_left: Some(left),
                ..Observed::default()
            },
            ..answered()
        });
        let snapshot = limiter.snapshot();
        (snapshot.burst_limit, snapshot.burst_left)
    };
    assert_eq!(answer(190, 189), (190, 189));
    // Somebody else under the same token sent forty.
    assert_eq!(answer(190, 148), (190, 148));
    assert_eq!(answer(100, 57), (100, 57));
    clock.advance(BURST + SECOND);
    assert_eq!(answer(100, 99), (100, 99));
}

#[test]
fn our_own_requests_are_not_taken_for_others() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(50), &world);
    let chains = (0..12_u64).map(|chain| {
        let (clock, limiter, world) = (&clock, &limiter, &world);
        let mut dice = ChaCha8Rng::seed_from_u64(chain);
        let future: BoxFuture<'_, ()> = Box::pin(async move {
            for _ in 0..20 {
                let permit = limiter
                    .acquire(EndpointClass::Crm, Priority::Bulk)
                    .await
                    .expect("budget");
                clock.sleep(ms(dice.random_range(1..800))).await;
                world.arrived(EndpointClass::Crm, clock.monotonic());
                let since = clock.monotonic().saturating_sub(BURST);
                let counted = world
                    .arrivals
                    .lock()
                    .iter()
                    .filter(|(_, at)| *at > since)
                    .count();
                clock.sleep(ms(dice.random_range(1..800))).await;
                permit.answered(&QuotaWord {
                    observed: Observed {
                        burst_limit: Some(50),
                        burst_left: Some(50 - counted as u32),
                        ..Observed::default()
                    },
                    ..answered()
                });
                assert_eq!(limiter.state().quota.others_in_window(), 0);
            }
        });
        future
    });
    run_all(&clock, chains);
}

#[test]
fn whoever_gives_up_waiting_wakes_the_next() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(1), &world);
    let first = run(
        &clock,
        limiter.acquire(EndpointClass::Crm, Priority::Interactive),
    )
    .expect("budget");
    let impatient = async {
        let permit = acquire_within(&clock, &limiter, Priority::Interactive, ms(100)).await;
        permit.is_none()
    };
    let holder = async {
        clock.sleep(ms(1000)).await;
        first.answered(&answered());
        true
    };
    let patient = async {
        limiter
            .acquire(EndpointClass::Crm, Priority::Bulk)
            .await
            .is_ok()
    };
    let results = run_all::<bool>(
        &clock,
        [
            Box::pin(impatient) as BoxFuture<'_, bool>,
            Box::pin(holder),
            Box::pin(patient),
        ],
    );
    assert_eq!(results, [true, true, true]);
}

#[test]
fn a_slow_portals_own_pace_holds() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limits = Limits {
        per_second: Some(2.0),
        search_per_second: Some(0.5),
        ..Limits::default()
    };
    let limiter = limiter(
        &clock,
        LimitSettings::new(&limits, Tier::Enterprise),
        &world,
    );
    for class in [EndpointClass::Crm, EndpointClass::Search] {
        let chains = (0..10).map(|_| {
            let future: BoxFuture<'_, ()> = Box::pin(request(
                &clock,
                &limiter,
                &world,
                class,
                Priority::Bulk,
                (ms(1), ms(1)),
                Fate::Answered,
            ));
            future
        });
        run_all(&clock, chains);
    }
    assert!(world.worst(EndpointClass::Crm, SECOND) <= 4);
    assert_eq!(world.worst(EndpointClass::Search, SECOND), 1);
}

/// How long the next request waits after one that ended so.
fn wait_after(end: impl FnOnce(Permit)) -> Duration {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(1), &world);
    let permit = run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll)).expect("budget");
    end(permit);
    let before = clock.monotonic();
    run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll))
        .expect("budget")
        .answered(&answered());
    clock.monotonic().saturating_sub(before)
}

#[test]
fn a_request_whose_answer_was_lost_holds_its_place_for_a_minute_more() {
    let answered = wait_after(|permit| {
        permit.answered(&answered());
    });
    assert!(
        answered >= BURST && answered < BURST + SECOND,
        "{answered:?}"
    );
    let lost = wait_after(Permit::lost);
    assert!(lost >= BURST + Duration::from_mins(1), "{lost:?}");
    assert!(lost < BURST + Duration::from_secs(61), "{lost:?}");
}

#[test]
fn a_request_that_was_dropped_half_way_holds_its_place_as_a_lost_one_does() {
    let dropped = wait_after(drop);
    assert!(dropped >= BURST + Duration::from_mins(1), "{dropped:?}");
    // Half-way is also inside the future that sends it.
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(1), &world);
    let way = (Duration::from_secs(9), Duration::from_secs(9));
    let (class, priority) = (EndpointClass::Crm, Priority::Poll);
    let sending: BoxFuture<'_, ()> = Box::pin(request(
        &clock,
        &limiter,
        &world,
        class,
        priority,
        way,
        Fate::Answered,
    ));
    run_until(&clock, Duration::from_secs(5), [sending]);
    let before = clock.monotonic();
    let next = run(&clock, limiter.acquire(class, priority)).expect("budget");
    let waited = clock.monotonic().saturating_sub(before);
    assert!(waited >= Duration::from_secs(69), "{waited:?}");
    next.unused();
}

#[test]
fn a_read_and_its_write_go_at_once_however_narrow_the_limits_are() {
    for (burst, per_second, together) in [
        (190, None, 2),
        (2, None, 2),
        (100, Some(0.2), 2),
        (1, None, 1),
    ] {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        let limits = Limits {
            burst_per_10_seconds: Some(burst),
            per_second,
            ..Limits::default()
        };
        let limiter = limiter(
            &clock,
            LimitSettings::new(&limits, Tier::Professional),
            &world,
        );
        // Whatever has filled the window before.
        for _ in 0..burst.min(3) {
            let (class, priority) = (EndpointClass::Crm, Priority::Bulk);
            let permit = run(&clock, limiter.acquire(class, priority)).expect("budget");
            permit.answered(&answered());
        }
        let pair = limiter.acquire_together(EndpointClass::Crm, Priority::Interactive, 2);
        let pair = run(&clock, pair).expect("budget");
        assert_eq!(pair.len(), together, "{burst} {per_second:?}");
        assert!(limiter.snapshot().burst_left <= burst - together as u32);
        for permit in pair {
            permit.unused();
        }
        assert_eq!(limiter.unused_lease() % 20, (20 - burst.min(3)) % 20);
    }
}

#[test]
fn pairs_never_overrun_a_window_and_never_wait_for_each_other() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(3), &world);
    let chains = (0..5).map(|_| {
        let (clock, limiter, world) = (&clock, &limiter, &world);
        let future: BoxFuture<'_, ()> = Box::pin(async move {
            for _ in 0..4 {
                let pair = limiter.acquire_together(EndpointClass::Crm, Priority::Interactive, 2);
                for mut permit in pair.await.expect("budget") {
                    assert!(permit.may_still_go());
                    clock.sleep(ms(100)).await;
                    world.arrived(EndpointClass::Crm, clock.monotonic());
                    permit.answered(&answered());
                }
            }
        });
        future
    });
    run_all(&clock, chains);
    assert_eq!(world.arrivals.lock().len(), 40);
    assert!(world.worst(EndpointClass::Crm, BURST) <= 3);
}

#[test]
fn a_place_that_nobody_used_says_nothing_about_hubspot() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    for _ in 0..9 {
        run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll))
            .expect("HubSpot is not held for unreachable")
            .unused();
    }
    assert_eq!(limiter.snapshot().burst_left, 190);
    assert_eq!(limiter.snapshot().daily_used, 0);
}

#[test]
fn a_place_that_was_reserved_is_given_up_in_a_pause_and_at_the_end() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, settings(190), &world);
    let acquire = || run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Poll));
    let (mut reserved, other) = (acquire().expect("budget"), acquire().expect("budget"));
    assert!(reserved.may_still_go());
    other.answered(&QuotaWord {
        pause: Some(Pause::Class(EndpointClass::Crm)),
        ..answered()
    });
    assert!(!reserved.may_still_go());
    clock.advance(BURST + SECOND);
    assert!(reserved.may_still_go());
    limiter.close();
    assert!(!reserved.may_still_go());
    reserved.unused();
}

#[test]
fn a_class_rests_for_a_minute_at_most_whatever_hubspot_asks_for() {
    let (search, read) = (RestingWork::Search, RestingWork::Read);
    for (pause, throttled) in [
        (Pause::Rest(search), 0),
        (Pause::Class(EndpointClass::Search), 1),
    ] {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        let limiter = limiter(&clock, settings(190), &world);
        let acquire = |class| {
            let work = match class {
                EndpointClass::Search => search,
                EndpointClass::Associations => RestingWork::Associations,
                EndpointClass::Crm => read,
            };
            run(&clock, async {
                limiter.rest(work).await?;
                limiter.acquire(class, Priority::Poll).await
            })
        };
        let until = acquire(EndpointClass::Search)
            .expect("budget")
            .answered(&QuotaWord {
                pause: Some(pause),
                retry_after: Some(Duration::from_hours(1)),
                ..answered()
            });
        assert_eq!(until, clock.now() + Duration::from_mins(1));
        let refused = acquire(EndpointClass::Search).err().expect("a rest");
        assert_eq!(refused.until(), Some(until));
        // Writes, and everything else, go on.
        let before = clock.monotonic();
        acquire(EndpointClass::Crm).expect("budget").unused();
        assert_eq!(clock.monotonic(), before);
        assert_eq!(limiter.snapshot().throttled_last_minute, throttled);
        clock.advance(Duration::from_mins(1));
        acquire(EndpointClass::Search).expect("budget").unused();
    }
}
