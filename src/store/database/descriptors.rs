//! How many files this process may still open. SQLite says of it what it says of any file that it can't open, and what the system says names
//! no remedy; so it is looked for here.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// What one more transaction may want at once: a connection of its own, its log and index, a folder, a socket to HubSpot.
const SPARE: u64 = 8;

/// Too few descriptors for what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FewDescriptors {
    /// How many files the process may have open.
    pub(crate) limit: u64,
    /// How many it has.
    pub(crate) open: u64,
}

/// Whether the process is near its limit, so that something or other can't be opened, or could not a moment ago.
pub(crate) fn few() -> Option<FewDescriptors> {
    let limit = getrlimit(Resource::Nofile).current?;
    // To look takes a descriptor too: where there is none, none is left.
    let open = fs::read_dir("/proc/self/fd").map_or(limit, |files| files.count() as u64);
    (limit.saturating_sub(open) < SPARE).then_some(FewDescriptors { limit, open })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::process::{Rlimit, setrlimit};

    use super::*;

    #[test]
    fn a_process_that_has_few_left_knows_it_also_where_it_has_none() {
        let own = getrlimit(Resource::Nofile);
        assert_eq!(few(), None);
        let mut open = Vec::new();
        let limited = Rlimit {
            current: Some(40),
            maximum: own.maximum,
        };
        setrlimit(Resource::Nofile, limited).expect("a lower limit");
        while let Ok(file) = File::open("/dev/null") {
            open.push(file);
        }
        let none = few();
        drop(open.split_off(4));
        let some = few();
        drop(open);
        setrlimit(Resource::Nofile, own).expect("the former limit");
        assert_eq!(
            none,
            Some(FewDescriptors {
                limit: 40,
                open: 40
            })
        );
        assert_eq!(some, None);
    }
}
