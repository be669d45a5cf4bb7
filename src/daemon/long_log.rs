//! A log beside the database that can't be written back: since when that is so, and which program keeps it so.
//!
//! The system does not show every program: not one in another container, nor to a service that may not see the locks of others. So
//! a log that stays long is told also where nobody is seen to read in it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::store::database::log_readers::LogReader;

/// A program that has read in one transaction for that long, while the log grows, is named.
const LONG_READ: Duration = Duration::from_secs(15);

/// A log that has been long for that long, though the daemon writes it back with every few heartbeats, is held by somebody, and told
/// without a name where none is known.
const LONG_UNSEEN: Duration = Duration::from_secs(30);

/// What is known of it, by the steady clock.
#[derive(Debug, Default)]
pub(crate) struct LongLog {
    /// When the log was first seen to be long.
    since: Option<Duration>,
    /// Processes that read beside it, and since when.
    readers: BTreeMap<u32, Duration>,
}

impl LongLog {
    /// Learns how long a long log is that the daemon writes back, and who reads in it; gives what is to be said of that.
    pub(crate) fn learn(
        &mut self,
        log: Option<(u64, Vec<LogReader>)>,
        at: Duration,
    ) -> Option<String> {
        let Some((bytes, readers)) = log else {
            *self = Self::default();
            return None;
        };
        let since = *self.since.get_or_insert(at);
        let is_here = |pid: &u32| readers.iter().any(|reader| reader.pid == *pid);
        self.readers.retain(|pid, _| is_here(pid));
        for reader in &readers {
            self.readers.entry(reader.pid).or_insert(at);
        }
        let read_for = |reader: LogReader| {
            let begun = self.readers.get(&reader.pid).copied().unwrap_or(at);
            (reader, at.saturating_sub(begun))
        };
        let longest = readers.into_iter().map(read_for);
        let longest = longest.max_by_key(|(_, read_for)| *read_for);
        let mebibytes = bytes >> 20;
        if let Some((LogReader { pid, name }, read_for)) = longest
            && read_for >= LONG_READ
        {
            return Some(format!(
                "the log beside the database has {mebibytes} MiB and grows, since `{name}` (pid {pid}) has read in one transaction for {} s: end that transaction",
                read_for.as_secs()
            ));
        }
        let held_for = at.saturating_sub(since);
        (held_for >= LONG_UNSEEN).then(|| {
            format!(
                "the log beside the database has {mebibytes} MiB and could not be written back for {} s, since a program that can't be seen from here keeps a transaction open: find it (`fuser -v` on the database), and end that transaction",
                held_for.as_secs()
            )
        })
    }

    /// Learns whether a log is long that another program should write back; gives for how long it has been, where that is long.
    pub(crate) fn unwritten(&mut self, is_long: bool, at: Duration) -> Option<Duration> {
        if !is_long {
            self.since = None;
            return None;
        }
        let long_for = at.saturating_sub(*self.since.get_or_insert(at));
        (long_for >= LONG_READ).then_some(long_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(log: &mut LongLog, pids: Option<&[u32]>, seconds: u64) -> String {
        let reader = |pid: &u32| LogReader {
            pid: *pid,
            name: "python3".to_owned(),
        };
        let readers = pids.map(|pids| (17 << 20, pids.iter().map(reader).collect()));
        let told = log.learn(readers, Duration::from_secs(seconds));
        told.unwrap_or_default()
    }

    #[test]
    fn whoever_reads_for_long_beside_a_long_log_is_named_until_that_is_over() {
        let mut log = LongLog::default();
        let mut check = |pids: &[u32], seconds, expected: &str| {
            let told = learnt(&mut log, Some(pids), seconds);
            let found = match expected {
                "" => told.is_empty(),
                expected => told.contains(expected) && told.contains("17 MiB"),
            };
            assert!(found, "{seconds}: {told}");
        };
        check(&[1], 100, "");
        check(&[1, 2], 110, "");
        check(
            &[1, 2],
            115,
            "`python3` (pid 1) has read in one transaction for 15 s",
        );
        check(&[2], 120, "");
        check(&[2], 130, "(pid 2) has read in one transaction for 20 s");
        check(&[], 135, "can't be seen");
        // Another transaction.
        check(&[2], 140, "can't be seen");
    }

    #[test]
    fn a_log_that_stays_long_is_told_where_nobody_is_seen_to_read() {
        let mut log = LongLog::default();
        let unseen = "17 MiB and could not be written back for 30 s";
        assert_eq!(learnt(&mut log, Some(&[]), 100), "");
        assert_eq!(learnt(&mut log, Some(&[]), 125), "");
        assert!(learnt(&mut log, Some(&[]), 130).contains(unseen));
        // Somebody who is seen is named all the same, once that has lasted.
        assert!(learnt(&mut log, Some(&[3]), 131).contains("can't be seen"));
        assert!(learnt(&mut log, Some(&[3]), 146).contains("(pid 3)"));
        assert_eq!(learnt(&mut log, None, 150), "");
        assert_eq!(learnt(&mut log, Some(&[]), 151), "", "another time");
    }
}
