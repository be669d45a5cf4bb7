//! How the commands write for people: numbers, times and tables that line up. It knows nothing of the database.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::app::doctor::Colour;
use crate::config::Drawing;
use crate::model::time::Timestamp;

/// `1,200,000`.
pub(crate) fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 {
        "-".to_owned()
    } else {
        String::new()
    };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12 s`, `8 min`, `3 h 4 min`, `2 d 5 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds} s"),
        120..3600 => format!("{minutes} min"),
        3600..86_400 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// `12 s ago`, or `in 12 s` for a time to come.
pub(crate) fn moment(at: &str, now: Timestamp) -> String {
    match Timestamp::parse(at) {
        None => printable(at),
        Some(at) if at > now => format!("in {}", duration(at.since(now))),
        Some(at) => format!("{} ago", duration(now.since(at))),
    }
}

/// `2 conflicts`, `1 conflict`.
pub(crate) fn counted(number: i64, one: &str, several: &str) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { one } else { several }
    )
}

/// Text that can't move the cursor or change a terminal: what controls it is written as an escape.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for part in text.chars() {
        if part.is_control() || is_invisible(part) {
            safe.extend(part.escape_unicode());
        } else {
            safe.push(part);
        }
    }
    safe
}

/// Marks that change the direction of what follows.
fn is_invisible(part: char) -> bool {
    matches!(part, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most that many characters; the last one is `…` where some were left out.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let safe = printable(text);
    if safe.chars().count() <= most {
        return safe;
    }
    safe.chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// A word in its colour.
pub(crate) fn painted(word: &str, colour: Colour, drawing: Drawing) -> String {
    let number = match colour {
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Red => 31,
    };
    match drawing {
        Drawing::Plain => word.to_owned(),
        Drawing::Coloured => format!("\u{1b}[{number}m{word}\u{1b}[0m"),
    }
}

/// On which side a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table with a head; columns are two blanks apart and as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct TextTable {
    sides: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    pub(crate) fn new(head: &[(&str, Align)]) -> Self {
        Self {
            sides: head.iter().map(|(_, side)| *side).collect(),
            rows: vec![head.iter().map(|(title, _)| (*title).to_owned()).collect()],
        }
    }

    /// Cells must be printable; there are as many as titles.
    pub(crate) fn push(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.sides.len(), "a cell for each column");
        self.rows.push(cells);
    }
}

impl std::fmt::Display for TextTable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.sides.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), side) in row.iter().zip(&widths).zip(&self.sides) {
                match side {
                    Align::Left => write!(line, "{cell:<width$}  ")?,
                    Align::Right => write!(line, "{cell:>width$}  ")?,
                }
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A JSON array that is written a row at a time, so that a list of any length takes no memory. Nothing of it is written before
/// its first row or its end: what fails before that leaves no half of a value.
pub(crate) struct JsonArray<'out> {
    out: &'out mut dyn io::Write,
    first: bool,
}

impl<'out> JsonArray<'out> {
    pub(crate) fn begin(out: &'out mut dyn io::Write) -> Self {
        Self { out, first: true }
    }

    pub(crate) fn push(&mut self, row: &impl Serialize) -> anyhow::Result<()> {
        let before: &[u8] = match std::mem::take(&mut self.first) {
            true => b"[",
            false => b",\n",
        };
        self.out.write_all(before)?;
        serde_json::to_writer(&mut *self.out, row)?;
        Ok(())
    }

    pub(crate) fn end(self) -> anyhow::Result<()> {
        let rest: &[u8] = match self.first {
            true => b"[]\n",
            false => b"]\n",
        };
        self.out.write_all(rest)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (120_300, "120,300"),
            (-1_234_567, "-1,234,567"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn durations_have_one_or_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (11_040, "3 h 4 min"),
            (86_400, "1 d"),
            (190_800, "2 d 5 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn moments_are_before_or_after() {
        let now = Timestamp::parse("2026-11-24T03:10:00Z").expect("a moment");
        assert_eq!(moment("2026-11-24T03:09:55.000Z", now), "5 s ago");
        assert_eq!(moment("2026-11-24T03:20:00.000Z", now), "in 10 min");
        assert_eq!(moment("soon", now), "soon");
    }

    #[test]
    fn nothing_printed_controls_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mb\n\u{202e}c"),
            "a\\u{1b}[31mb\\u{a}\\u{202e}c"
        );
        assert_eq!(printable("Zoë, 株式会社"), "Zoë, 株式会社");
    }

    #[test]
    fn long_text_ends_with_a_mark() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abcde…");
        assert_eq!(shortened("Zoë Zoë", 4), "Zoë…");
    }

    #[test]
    fn columns_line_up() {
        let mut table = TextTable::new(&[
            ("object", Align::Left),
            ("rows", Align::Right),
            ("lag", Align::Left),
        ]);
        table.push(vec![
            "contacts".to_owned(),
            "1,200".to_owned(),
            "3 s".to_owned(),
        ]);
        table.push(vec!["Zoë".to_owned(), "7".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "object     rows  lag\ncontacts  1,200  3 s\nZoë           7\n"
        );
    }
}
