//! `[schedule]`: when HubSpot is asked, and in which time zone.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::config::file::{KeyAndValue, TomlTable, join};
use crate::config::keys;
use crate::config::reader::Reader;
use crate::config::render::SettingOrigin;
use crate::config::schedule::Schedule;
use crate::config::settings::{PollRhythm, PollSettings};
use crate::config::suggest::nearest;
use crate::config::units::duration_text;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Between two polls: HubSpot allows five searches a second, and a day without a look is none.
pub(super) const POLL_BOUNDS: RangeInclusive<Duration> = SECOND..=Duration::from_hours(24);

/// Walks again of one window: each costs a search.
const MOST_AGAIN: usize = 8;

/// `[schedule]`; the objects' own polls come later.
pub(super) fn schedule(reader: &mut Reader<'_>, root: &TomlTable<'_>) -> PollSettings {
    let table = reader.section(root, "schedule", keys::SCHEDULE);
    let timezone = reader.or_default(&table, "timezone", (Tz::UTC, "\"UTC\""), zone);
    let mut duration =
        |name: &str, default: Duration, shown: &str, bounds: RangeInclusive<Duration>| {
            reader.or_default(&table, name, (default, shown), |reader, entry| {
                reader.duration(entry, &bounds)
            })
        };
    let overlap = duration("overlap", 15 * SECOND, "\"15s\"", Duration::ZERO..=HOUR);
    let poll_with_webhooks = duration("poll_with_webhooks", MINUTE, "\"60s\"", POLL_BOUNDS);
    let reference = duration("reference", HOUR, "\"1h\"", SECOND..=30 * DAY);
    let associations = duration("associations", DAY, "\"24h\"", SECOND..=365 * DAY);
    let poll = reader.or_default(
        &table,
        "poll",
        (Schedule::Every(10 * SECOND), "\"10s\""),
        |reader, entry| reader.schedule(entry, timezone, &POLL_BOUNDS),
    );
    let idle = poll_idle(reader, &table);
    let poll = rhythm(reader, &table, poll, idle);
    let nightly = Schedule::parse("0 30 3 * * *", timezone).expect("the default is an expression");
    let reconcile = reader.or_default(
        &table,
        "reconcile",
        (nightly, "\"0 30 3 * * *\""),
        |reader, entry| reader.schedule(entry, timezone, &(SECOND..=365 * DAY)),
    );
    let again = reader.or_default(
        &table,
        "again",
        (vec![5 * MINUTE, HOUR], "[\"5m\", \"1h\"]"),
        again,
    );
    let objects = Vec::new();
    PollSettings {
        poll,
        objects,
        reconcile,
        timezone,
        overlap,
        again,
        poll_with_webhooks,
        reference,
        associations,
    }
}

/// `poll_idle` of `[schedule]` or of an object, where it is written.
pub(super) fn poll_idle(reader: &mut Reader<'_>, table: &TomlTable<'_>) -> Option<Duration> {
    reader.optional(table, "poll_idle", |reader, entry| {
        reader.duration(entry, &POLL_BOUNDS)
    })
}

/// The rhythm of a table's own `poll`, and of its `poll_idle`, where that is written; shown where it is not.
pub(super) fn rhythm(
    reader: &mut Reader<'_>,
    table: &TomlTable<'_>,
    poll: Schedule,
    idle: Option<Duration>,
) -> PollRhythm {
    let rhythm = PollRhythm::of(poll);
    if let Some(idle) = idle {
        return PollRhythm { idle, ..rhythm };
    }
    if let Some(longest) = rhythm
        .longest()
        .filter(|_| table.get("poll_idle").is_none())
    {
        let path = join(&table.path, "poll_idle");
        let shown = format!("\"{}\"", duration_text(longest));
        reader.show(&path, &shown, SettingOrigin::Default);
    }
    rhythm
}

fn again(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<Vec<Duration>> {
    let list = reader.list(entry)?;
    if list.len() > MOST_AGAIN {
        let message = format!("`{}` has {} durations", entry.path, list.len());
        reader.error(
            "out-of-range",
            &entry.span,
            &entry.path,
            &message,
            &format!("write {MOST_AGAIN} at most"),
        );
        return None;
    }
    let read = |element: &KeyAndValue<'_>| reader.duration(element, &(SECOND..=30 * DAY));
    let durations: Vec<_> = list.iter().map(read).collect();
    durations.into_iter().collect()
}

fn zone(reader: &mut Reader<'_>, entry: &KeyAndValue<'_>) -> Option<Tz> {
    let text = reader.text(entry)?;
    if let Ok(zone) = Tz::from_str(text) {
        return Some(zone);
    }
    let names: Vec<&str> = TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
    let same_city = |name: &&&str| {
        name.rsplit('/')
            .next()
            .is_some_and(|city| city.eq_ignore_ascii_case(text))
    };
    let any_case = |name: &&&str| name.eq_ignore_ascii_case(text);
    let near = names
        .iter()
        .find(any_case)
        .or_else(|| names.iter().find(same_city))
        .copied();
    let near = near.or_else(|| nearest_zone(text, &names));
    let hint = near.map_or(
        "write a name such as `Europe/Berlin` or `UTC`".to_owned(),
        |near| format!("write `{near}`"),
    );
    reader.error(
        "bad-timezone",
        &entry.span,
        &entry.path,
        &format!("unknown time zone `{text}`"),
        &hint,
    );
    None
}

/// The nearest name, where capitals don't count.
fn nearest_zone<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let near = nearest(text, &lower)?;
    names
        .iter()
        .find(|name| name.eq_ignore_ascii_case(near))
        .copied()
}
