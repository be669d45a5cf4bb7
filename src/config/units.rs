//! Durations and sizes as people write them in the mapping file: `500ms`, `10s`, `5m`, `1h`, `30d`; `512KiB`, `1MiB`.

use std::time::Duration;

/// The longest duration: ten years. Anything longer is a slip of the hand.
pub(crate) const MAX_DURATION: Duration = Duration::from_hours(3650 * 24);

/// What a duration looks like, for hints.
pub(crate) const DURATION_HINT: &str =
    "write a whole number and a unit: `500ms`, `10s`, `5m`, `1h` or `30d`";

/// What a size looks like, for hints.
pub(crate) const SIZE_HINT: &str =
    "write a whole number and a unit: `0`, `512KiB`, `1MiB` or `10GiB`";

/// Reads a duration of at most [`MAX_DURATION`].
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(milliseconds)?);
    (duration <= MAX_DURATION).then_some(duration)
}

/// Writes a duration in the largest unit that holds it whole.
pub(crate) fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    let whole = |(_, size): &(&str, u128)| milliseconds > 0 && milliseconds.is_multiple_of(*size);
    match units.into_iter().find(whole) {
        Some((unit, size)) => format!("{}{unit}", milliseconds / size),
        None => format!("{milliseconds}ms"),
    }
}

/// Reads a size in bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("0s", 0),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "s",
            "1.5h",
            "-1s",
            "1w",
            "10S",
            "99999999999999999999s",
            "4000d",
            "18446744073709551615d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_in_its_largest_whole_unit() {
        for text in ["500ms", "90s", "5m", "36h", "30d", "0ms"] {
            assert_eq!(duration_text(parse_duration(text).expect(text)), text);
        }
    }

    #[test]
    fn a_size_counts_in_thousands_or_in_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("10", 10),
            ("1kB", 1000),
            ("1MiB", 1_048_576),
            ("2GiB", 2_147_483_648),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1.5MiB",
            "1 MiB",
            "1TB",
            "18446744073709551615GiB",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
