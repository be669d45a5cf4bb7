//! What a row of `sync_commands` asks for, and the sentences that answer it (`contract-operations.md`, section 1).

use std::time::Duration;

use crate::model::entry::states;
use crate::model::id::HubspotId;
use crate::model::time::Timestamp;

states! {
    /// A side of the work that can be paused.
    PausedSide {
        /// What is written here goes out.
        Push = "push",
        /// What HubSpot changed comes in.
        Pull = "pull",
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlOrder {
    /// To read these records of an object.
    RefetchIds(String, Vec<HubspotId>),
    /// To read what HubSpot's search shows as modified since.
    RefetchSince(String, Since),
    /// To poll an object, or all.
    Poll(Option<String>),
    /// To compare an object in full, or all.
    Reconcile(Option<String>),
    /// To read all records of an object again.
    Backfill(String),
    /// To pause these.
    Pause(Vec<PausedSide>),
    /// To go on with these.
    Resume(Vec<PausedSide>),
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// A time of HubSpot's.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl Since {
    /// As a time of HubSpot's, of a command that was noticed then.
    pub fn noticed_at(self, noticed_at: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => noticed_at - ago,
        }
    }
}

/// Why a command is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedOrder {
    /// The sentence.
    pub explanation: String,
    /// Its code.
    pub code: &'static str,
}

fn object(explanation: impl Into<String>) -> RefusedOrder {
    let explanation = explanation.into();
    RefusedOrder {
        explanation,
        code: "command-object",
    }
}

fn argument(explanation: impl Into<String>) -> RefusedOrder {
    let explanation = explanation.into();
    RefusedOrder {
        explanation,
        code: "command-argument",
    }
}

impl SqlOrder {
    /// The records that it names.
    pub fn ids(&self) -> &[HubspotId] {
        match self {
            Self::RefetchIds(_, ids) => ids,
            Self::RefetchSince(..)
            | Self::Poll(_)
            | Self::Reconcile(_)
            | Self::Backfill(_)
            | Self::Pause(_)
            | Self::Resume(_) => &[],
        }
    }

    /// Whether it is a walk of its own, page by page, and not work that is done anyway.
    pub fn walks(&self) -> bool {
        match self {
            Self::RefetchSince(..) | Self::Backfill(_) => true,
            Self::RefetchIds(..)
            | Self::Poll(_)
            | Self::Reconcile(_)
            | Self::Pause(_)
            | Self::Resume(_) => false,
        }
    }

    /// Reads a row. `is_mapped` says whether an object is one of the mapping's.
    ///
    /// # Errors
    /// It can't be carried out as it is.
    pub fn read(
        command: &str,
        of: Option<&str>,
        with: Option<&str>,
        is_mapped: impl Fn(&str) -> bool,
    ) -> Result<Self, RefusedOrder> {
        let of = of.map(str::trim).filter(|of| !of.is_empty());
        let with = with.map(str::trim).filter(|with| !with.is_empty());
        if let Some(name) = of.filter(|name| !is_mapped(name)) {
            return Err(object(format!(
                "no object `{name}` is mapped [command-object]"
            )));
        }
        let one = || {
            of.map(str::to_owned)
                .ok_or_else(|| object(format!("`{command}` needs an object [command-object]")))
        };
        let bare = |order| match with {
            None => Ok(order),
            Some(_) => Err(argument(format!(
                "`{command}` takes no argument [command-argument]"
            ))),
        };
        match command {
            "refetch" => refetch(one()?, with),
            "poll" => bare(Self::Poll(of.map(str::to_owned))),
            "reconcile" => bare(Self::Reconcile(of.map(str::to_owned))),
            "backfill" => bare(Self::Backfill(one()?)),
            word => {
                if of.is_some() {
                    return Err(object(format!(
                        "`{word}` holds for the portal: leave the object out [command-object]"
                    )));
                }
                let sides = match with {
                    None => vec![PausedSide::Push, PausedSide::Pull],
                    Some(side) => vec![PausedSide::parse(side).ok_or_else(|| {
                        argument(format!(
                            "`{word}` takes `push`, `pull` or nothing, not `{side}` [command-argument]"
                        ))
                    })?],
                };
                Ok(if word == "pause" {
                    Self::Pause(sides)
                } else {
                    Self::Resume(sides)
                })
            }
        }
    }
}

fn refetch(object: String, with: Option<&str>) -> Result<SqlOrder, RefusedOrder> {
    let Some(with) = with else {
        return Err(argument(
            "`refetch` needs ids (`101,102`) or `since` with a time; `backfill` reads all again [command-argument]",
        ));
    };
    if let Some(since) = with.strip_prefix("since ") {
        return match read_since(since.trim()) {
            Some(since) => Ok(SqlOrder::RefetchSince(object, since)),
            None => Err(argument(format!(
                "`{since}` is no time: write a date, an ISO time or an age such as `10m` [command-argument]"
            ))),
        };
    }
    let ids = with.split(',').map(str::trim).filter(|id| !id.is_empty());
    let mut read = Vec::new();
    for id in ids {
        match id.parse::<i64>() {
            Ok(number) if number > 0 => read.push(HubspotId(number)),
            Ok(_) | Err(_) => {
                return Err(argument(format!(
                    "`{id}` is no id of HubSpot's [command-argument]"
                )));
            }
        }
    }
    read.sort_unstable();
    read.dedup();
    match read[..] {
        [] => Err(argument(
            "`refetch` needs at least one id [command-argument]",
        )),
        [..] => Ok(SqlOrder::RefetchIds(object, read)),
    }
}

fn read_since(text: &str) -> Option<Since> {
    if let Some(at) = Timestamp::parse(text) {
        return Some(Since::At(at));
    }
    let digits = text.len()
        - text
            .trim_start_matches(|letter: char| letter.is_ascii_digit())
            .len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    // Nothing in HubSpot is older than a century.
    (seconds <= 100 * 366 * 86_400).then(|| Since::Ago(Duration::from_secs(seconds)))
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrderProgress {
    /// Records read.
    pub seen: u64,
    /// How many there are, where that is known.
    pub total: Option<u64>,
    /// Records that were changed here.
    pub changed: u64,
    /// Requests.
    pub requests: u64,
    /// Removals that the guard holds.
    pub held: u64,
}

impl OrderProgress {
    /// While it runs: `300 of 1,200 records, 4 requests`.
    pub fn running(&self) -> String {
        let seen = match self.total {
            Some(total) => format!("{} of {}", grouped(self.seen), counted(total, "record")),
            None => counted(self.seen, "record"),
        };
        format!("{seen}, {}", counted(self.requests, "request"))
    }

    /// At its end: `1,200 records read, 7 changed, 13 requests`.
    pub fn done(&self) -> String {
        let held = match self.held {
            0 => String::new(),
            held => format!(", {} held by the guard", counted(held, "removal")),
        };
        format!(
            "{} read, {} changed, {}{held}",
            counted(self.seen, "record"),
            grouped(self.changed),
            counted(self.requests, "request")
        )
    }
}

fn counted(number: u64, what: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {what}{end}", grouped(number))
}

/// A number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(command: &str, of: &str, with: &str) -> Result<SqlOrder, &'static str> {
        let some = |text: &'static str| (!text.is_empty()).then_some(text);
        let leaked = |text: &str| some(Box::leak(text.to_owned().into_boxed_str()));
        SqlOrder::read(command, leaked(of), leaked(with), |name| name == "contacts").map_err(
            |refused| {
                assert!(
                    refused
                        .explanation
                        .ends_with(&format!("[{}]", refused.code))
                );
                refused.code
            },
        )
    }

    #[test]
    fn a_row_is_read_or_refused_with_its_code() {
        let contacts = || "contacts".to_owned();
        let ids = vec![HubspotId(101), HubspotId(102)];
        assert_eq!(
            read("refetch", "contacts", "102, 101,101 "),
            Ok(SqlOrder::RefetchIds(contacts(), ids))
        );
        let ago = Since::Ago(Duration::from_mins(10));
        assert_eq!(
            read("refetch", "contacts", "since 10m"),
            Ok(SqlOrder::RefetchSince(contacts(), ago))
        );
        let at = Since::At(Timestamp::parse("2026-11-01").expect("a date"));
        assert_eq!(
            read("refetch", "contacts", "since 2026-11-01"),
            Ok(SqlOrder::RefetchSince(contacts(), at))
        );
        assert_eq!(read("poll", "", ""), Ok(SqlOrder::Poll(None)));
        assert_eq!(
            read("reconcile", "contacts", ""),
            Ok(SqlOrder::Reconcile(Some(contacts())))
        );
        assert_eq!(
            read("backfill", "contacts", ""),
            Ok(SqlOrder::Backfill(contacts()))
        );
        assert_eq!(
            read("pause", "", ""),
            Ok(SqlOrder::Pause(vec![PausedSide::Push, PausedSide::Pull]))
        );
        assert_eq!(
            read("resume", "", "pull"),
            Ok(SqlOrder::Resume(vec![PausedSide::Pull]))
        );
        for (command, of, with, code) in [
            ("refetch", "", "101", "command-object"),
            ("refetch", "deals", "101", "command-object"),
            ("refetch", "contacts", "", "command-argument"),
            ("refetch", "contacts", "101,x", "command-argument"),
            ("refetch", "contacts", "-1", "command-argument"),
            ("refetch", "contacts", "since tomorrow", "command-argument"),
            ("refetch", "contacts", ",", "command-argument"),
            ("backfill", "", "", "command-object"),
            ("pause", "contacts", "", "command-object"),
            ("pause", "", "both", "command-argument"),
            ("poll", "contacts", "x", "command-argument"),
        ] {
            assert_eq!(read(command, of, with), Err(code), "{command} {of} {with}");
        }
    }

    #[test]
    fn progress_and_end_are_sentences() {
        let progress = OrderProgress {
            seen: 1_200,
            total: None,
            changed: 7,
            requests: 13,
            held: 0,
        };
        assert_eq!(
            progress.done(),
            "1,200 records read, 7 changed, 13 requests"
        );
        let running = OrderProgress {
            seen: 300,
            total: Some(1_200),
            requests: 4,
            ..progress
        };
        assert_eq!(running.running(), "300 of 1,200 records, 4 requests");
        let held = OrderProgress {
            seen: 1,
            requests: 1,
            held: 40,
            ..progress
        };
        assert_eq!(
            held.done(),
            "1 record read, 7 changed, 1 request, 40 removals held by the guard"
        );
    }
}
