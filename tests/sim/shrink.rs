//! A failing plan becomes a small one: fewer acts, records, fields, faults and less of everything else, as long as it fails
//! in the same way.

use std::time::Duration;

use crate::cut::{Cut, PLAIN};
use crate::script::{Deed, When};

/// Leaves out of a list what can be left out: first large parts, then small ones.
pub(crate) fn fewer<T: Clone>(all: &[T], fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = all.to_vec();
    let mut part = left.len().div_ceil(2);
    while part > 0 && !left.is_empty() {
        let mut at = 0;
        while at < left.len() {
            let mut without = left.clone();
            without.drain(at..left.len().min(at + part));
            if fails(&without) {
                left = without;
            } else {
                at += part;
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    left
}

/// The smallest plan that is found in a time and still fails.
pub(crate) fn shrink(cut: Cut, time: Duration, fails: &dyn Fn(&Cut) -> bool) -> Cut {
    let begun = crate::started();
    let mut fails = |cut: &Cut| begun.elapsed() < time && fails(cut);
    let mut smallest = cut;
    loop {
        let before = smallest.clone();
        smallest = once(&smallest, &mut fails);
        if smallest == before {
            return smallest;
        }
    }
}

fn once(cut: &Cut, fails: &mut dyn FnMut(&Cut) -> bool) -> Cut {
    let mut cut = cut.clone();
    let whole = cut.script.clone();
    let left = fewer(&whole, &mut |left| {
        let script = in_time(&whole, left);
        fails(&Cut {
            script,
            ..cut.clone()
        })
    });
    cut.script = in_time(&whole, &left);
    cut.faults = fewer(&cut.faults.clone(), &mut |faults| {
        let faults = faults.to_vec();
        fails(&Cut {
            faults,
            ..cut.clone()
        })
    });
    for records in [0, 1, 2, 3, cut.records / 2] {
        if records < cut.records
            && fails(&Cut {
                records,
                ..cut.clone()
            })
        {
            cut.records = records;
            break;
        }
    }
    let (may_go, stay): (Vec<_>, Vec<_>) = cut
        .fields
        .iter()
        .cloned()
        .partition(|field| Cut::may_go(field));
    let left = fewer(&may_go, &mut |left| {
        let fields = [stay.as_slice(), left].concat();
        fails(&Cut {
            fields,
            ..cut.clone()
        })
    });
    if left.len() < may_go.len() {
        cut.fields = [stay.as_slice(), &left].concat();
    }
    for what in PLAIN {
        let mut plainer = cut.clone();
        plainer.plain.push(what.to_owned());
        if !cut.plain.iter().any(|one| one == what) && fails(&plainer) {
            cut = plainer;
        }
    }
    for place in 0..cut.script.len() {
        let When::After(ms) = cut.script[place].when else {
            continue;
        };
        for shorter in [0, ms / 1_000 * 1_000] {
            let mut sooner = cut.clone();
            sooner.script[place].when = When::After(shorter);
            if shorter < ms && fails(&sooner) {
                cut = sooner;
                break;
            }
        }
    }
    cut
}

/// What is left of a list of acts, each at its time: the next one waits for those that were left out.
fn in_time(whole: &[Deed], left: &[Deed]) -> Vec<Deed> {
    let mut script = Vec::with_capacity(left.len());
    let mut waited = 0;
    for deed in whole {
        let stays = left.iter().find(|one| one.number == deed.number);
        match (stays, deed.when) {
            (None, When::After(ms)) => waited += ms,
            (None, _) => {}
            (Some(_), When::After(ms)) => {
                script.push(Deed {
                    when: When::After(std::mem::take(&mut waited) + ms),
                    ..deed.clone()
                });
            }
            (Some(_), _) => script.push(deed.clone()),
        }
    }
    script
}

#[test]
fn what_does_not_matter_is_left_out() {
    let all: Vec<u32> = (0..100).collect();
    let mut looks = 0;
    let left = fewer(&all, &mut |left| {
        looks += 1;
        left.contains(&17) && left.contains(&71)
    });
    assert_eq!(left, [17, 71]);
    assert!(looks < 60, "{looks}");
}

#[test]
fn what_is_left_happens_at_its_time() {
    let line = |text: &str| Deed::parse(text).expect("a line");
    let whole = [
        line("1 after 5 ms: a program writes (1)"),
        line("2 after 7 ms: a person edits (2)"),
        line("3 after 2 turns: a person edits (3)"),
        line("4 after 1 ms: a program deletes (4)"),
    ];
    let left = in_time(&whole, &[whole[1].clone(), whole[3].clone()]);
    let texts: Vec<_> = left.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "2 after 12 ms: a person edits (2)",
            "4 after 1 ms: a program deletes (4)"
        ]
    );
}
