//! Small worlds: one record, a hot field, a dozen events at most, every sequence of them and every single fault. Who should
//! have won is told by the model beside this file.

pub(crate) mod alphabet;
mod bench;
mod play;

use std::io::Write as _;

use hubsyncd::model::mapping::Policy;

use alphabet::{Act, Setup, Small};
use bench::Bench;
use play::play;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test measures its own real time"
)]
fn every_short_sequence_ends_as_the_design_says() {
    let letters = [
        Act::Write,
        Act::WriteBack,
        Act::Edit,
        Act::EditBack,
        Act::Kill,
        Act::Poll,
    ];
    let mut out = std::io::stderr().lock();
    for policy in Policy::ALL {
        let begun = std::time::Instant::now();
        let setup = Setup::of(policy);
        let mut bench = Bench::new(setup);
        writeln!(out, "bench {:?}", begun.elapsed()).expect("stderr");
        let begun = std::time::Instant::now();
        let (mut count, mut requests, mut failed) = (0, 0, 0);
        for number in 0..letters.len().pow(3) {
            let digits = [number % 6, number / 6 % 6, number / 36];
            let small = Small {
                setup,
                acts: digits.map(|digit| letters[digit].into()).to_vec(),
                fault: None,
            };
            let played = play(&mut bench, &small);
            count += 1;
            requests += played.requests;
            if let Some(what) = played.broken {
                failed += 1;
                if failed < 6 {
                    writeln!(out, "{small}{what}\n").expect("stderr");
                }
            }
        }
        writeln!(
            out,
            "{policy:?}: {count} worlds in {:?}, {requests} requests, {failed} failed",
            begun.elapsed()
        )
        .expect("stderr");
    }
}
