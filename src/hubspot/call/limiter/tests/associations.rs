//! Association calls beside everything else: a pace of their own, which the burst neither pays for nor waits for.

use super::*;
use crate::decide::quota::{ASSOCIATIONS_IN_FLIGHT, HALF_PACE};

fn with_rate(per_second: f64) -> LimitSettings {
    let limits = Limits {
        burst_per_10_seconds: Some(100),
        associations_per_second: Some(per_second),
        ..Limits::default()
    };
    LimitSettings::new(&limits, Tier::Professional)
}

/// Sends one request of a class after another.
fn chain<'a>(
    clock: &'a Arc<ManualClock>,
    limiter: &'a Arc<Limiter>,
    world: &'a World,
    class: EndpointClass,
    way: Duration,
) -> BoxFuture<'a, ()> {
    let bulk = Priority::Bulk;
    Box::pin(async move {
        loop {
            request(
                clock,
                limiter,
                world,
                class,
                bulk,
                (way, way),
                Fate::Answered,
            )
            .await;
        }
    })
}

fn count(world: &World, class: EndpointClass) -> usize {
    let arrivals = world.arrivals.lock();
    arrivals.iter().filter(|(of, _)| *of == class).count()
}

#[test]
fn a_pass_over_associations_takes_nothing_from_a_first_load() {
    let loaded = |with_pass: bool| {
        let clock = ManualClock::at(NOON);
        let world = World::default();
        let limiter = limiter(&clock, with_rate(10.0), &world);
        let pass = if with_pass { 6 } else { 0 };
        let classes = [EndpointClass::Crm; 8].into_iter();
        let classes = classes.chain([EndpointClass::Associations; 6].into_iter().take(pass));
        let chains = classes.map(|class| chain(&clock, &limiter, &world, class, ms(75)));
        run_until(&clock, Duration::from_mins(1), chains);
        let passed = count(&world, EndpointClass::Associations);
        (count(&world, EndpointClass::Crm), passed, world)
    };
    let (alone, _, _) = loaded(false);
    let (beside, passed, world) = loaded(true);
    assert_eq!(beside, alone);
    assert!(
        (400..=600).contains(&passed),
        "{passed} in a minute at 10 a second"
    );
    assert!(world.worst(EndpointClass::Associations, SECOND) <= 10);
}

#[test]
fn at_most_four_association_calls_are_unanswered() {
    let clock = ManualClock::at(NOON);
    let limiter = limiter(&clock, with_rate(100.0), &World::default());
    let acquire = || limiter.acquire(EndpointClass::Associations, Priority::Interactive);
    let mut permits: Vec<Permit> = (0..ASSOCIATIONS_IN_FLIGHT)
        .map(|_| run(&clock, acquire()).expect("let go"))
        .collect();
    let began = clock.monotonic();
    let first = permits.pop().expect("a permit");
    let answers: BoxFuture<'_, ()> = Box::pin(async {
        clock.sleep(Duration::from_secs(7)).await;
        first.answered(&answered());
    });
    let fifth: BoxFuture<'_, ()> = Box::pin(async {
        acquire().await.expect("let go").answered(&answered());
    });
    run_all(&clock, [answers, fifth]);
    let waited = clock.monotonic().saturating_sub(began);
    assert_eq!(waited, Duration::from_secs(7));
}

#[test]
fn a_429_halves_the_pace_of_association_calls_for_a_minute_and_leaves_the_others_alone() {
    let clock = ManualClock::at(NOON);
    let world = World::default();
    let limiter = limiter(&clock, with_rate(10.0), &world);
    let permit = run(
        &clock,
        limiter.acquire(EndpointClass::Associations, Priority::Bulk),
    );
    permit.expect("let go").answered(&QuotaWord {
        pause: Some(Pause::Class(EndpointClass::Associations)),
        retry_after: Some(SECOND),
        ..answered()
    });
    let other = run(&clock, limiter.acquire(EndpointClass::Crm, Priority::Bulk));
    other.expect("let go").answered(&answered());
    assert!(clock.monotonic() < SECOND, "records do not wait");
    let sent_until = |end: Duration| {
        let before = count(&world, EndpointClass::Associations);
        let chains = (0..4).map(|_| {
            chain(
                &clock,
                &limiter,
                &world,
                EndpointClass::Associations,
                ms(20),
            )
        });
        run_until(&clock, end, chains);
        clock.advance(end.saturating_sub(clock.monotonic()));
        count(&world, EndpointClass::Associations) - before
    };
    let half = sent_until(SECOND + HALF_PACE);
    assert!(
        (250..=310).contains(&half),
        "{half} in a minute at half of 10 a second"
    );
    let whole = sent_until(SECOND + HALF_PACE * 2);
    assert!((500..=610).contains(&whole), "{whole} in the next one");
}

#[test]
fn the_pace_is_a_tenth_of_the_tiers_burst_where_the_file_says_none() {
    let limits = Limits {
        burst_per_10_seconds: Some(10_000),
        ..Limits::default()
    };
    for (settings, expected) in [
        (LimitSettings::new(&limits, Tier::Free), 10.0),
        (LimitSettings::new(&limits, Tier::Enterprise), 19.0),
        (LimitSettings::oauth(&limits), 11.0),
    ] {
        assert!((settings.associations_per_second - expected).abs() < f64::EPSILON);
    }
}

#[test]
fn a_write_of_associations_goes_at_once_with_its_reads_however_slow_the_pace() {
    let clock = ManualClock::at(NOON);
    let limiter = limiter(&clock, with_rate(0.2), &World::default());
    let began = clock.monotonic();
    for _ in 0..3 {
        let together =
            limiter.acquire_together(EndpointClass::Associations, Priority::Interactive, 3);
        let permits = run(&clock, together).expect("let go");
        assert_eq!(permits.len(), 3);
        for permit in permits {
            permit.answered(&answered());
        }
    }
    // Nine requests, of which the first need not wait.
    let took = clock.monotonic().saturating_sub(began);
    assert!(took >= Duration::from_secs(8 * 5), "{took:?}");
}
