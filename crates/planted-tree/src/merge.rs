//! Several versions of one file become one text: each function that differs asks which bug is awake, and has a body for each.

use anyhow::{Result, bail};

use crate::functions::{Function, frame, functions};

/// A body in the merged text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arm {
    /// Whose it is.
    pub(crate) number: usize,
    /// Its first line.
    pub(crate) first: usize,
    /// Its last line.
    pub(crate) last: usize,
}

/// The bodies of a version that differ from the original's: the function's place in the original, and the body.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    bodies: Vec<(usize, String)>,
}

/// What a version changes, where that is nothing but bodies of functions that can ask.
pub(crate) fn change(original: &str, version: &str) -> Result<Change> {
    let (ours, theirs) = (functions(original)?, functions(version)?);
    if frame(original, &ours) != frame(version, &theirs) || ours.len() != theirs.len() {
        bail!("it changes more than bodies of functions");
    }
    let mut bodies = Vec::new();
    for (place, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        let body = &version[their.body.clone()];
        if original[our.body.clone()] == *body {
            continue;
        }
        if our.is_fixed {
            bail!("the function can have one body alone: {}", our.key);
        }
        bodies.push((place, body.to_owned()));
    }
    Ok(Change { bodies })
}

/// The merged text, and where in it the bodies are.
pub(crate) fn merge(original: &str, changes: &[(usize, &Change)]) -> Result<(String, Vec<Arm>)> {
    let mut merged = Merged::default();
    let mut from = 0;
    for (place, function) in functions(original)?.iter().enumerate() {
        let bodies: Vec<_> = changes
            .iter()
            .flat_map(|(number, change)| {
                let own = change.bodies.iter().filter(|(at, _)| *at == place);
                own.map(|(_, body)| (*number, body.as_str()))
            })
            .collect();
        if bodies.is_empty() {
            continue;
        }
        merged.add(&original[from..function.body.start]);
        merged.function(original, function, &bodies);
        from = function.body.end;
    }
    merged.add(&original[from..]);
    Ok((merged.text, merged.arms))
}

struct Merged {
    text: String,
    line: usize,
    arms: Vec<Arm>,
}

impl Default for Merged {
    fn default() -> Self {
        Self {
            text: String::new(),
            line: 1,
            arms: Vec::new(),
        }
    }
}

impl Merged {
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
        self.line += text.matches('\n').count();
    }

    fn function(&mut self, original: &str, function: &Function, bodies: &[(usize, &str)]) {
        self.add("{ match crate::planted::number() {\n");
        for (number, body) in bodies {
            self.add(&format!("{number} => "));
            let first = self.line;
            self.add(body);
            let arm = Arm {
                number: *number,
                first,
                last: self.line,
            };
            self.arms.push(arm);
            self.add("\n");
        }
        self.add("_ => ");
        self.add(&original[function.body.clone()]);
        self.add("\n} }");
    }
}

#[cfg(test)]
mod tests {
    use super::{Arm, change, merge};

    const ORIGINAL: &str = "const A: u8 = 1;\nfn one() -> u8 {\n    1\n}\nfn two() {}\n";

    #[test]
    fn each_version_has_a_body_of_its_own() {
        let second = change(ORIGINAL, &ORIGINAL.replace("    1", "    2")).expect("a body");
        let third = change(ORIGINAL, &ORIGINAL.replace("    1", "    3")).expect("a body");
        let (text, arms) = merge(ORIGINAL, &[(7, &second), (9, &third)]).expect("Rust");
        assert_eq!(
            text,
            "const A: u8 = 1;\nfn one() -> u8 { match crate::planted::number() {\n7 => {\n    2\n}\n9 => {\n    3\n}\n_ => {\n    1\n}\n} }\nfn two() {}\n"
        );
        let nine = Arm {
            number: 9,
            first: 6,
            last: 8,
        };
        assert_eq!(arms[1], nine);
    }

    #[test]
    fn what_is_no_body_is_not_merged() {
        let constant = ORIGINAL.replace("A: u8 = 1", "A: u8 = 2");
        change(ORIGINAL, &constant).expect_err("a constant");
        let answer = "fn one() -> impl Iterator<Item = u8> { 0..1 }";
        change(answer, &answer.replace("0..1", "0..2")).expect_err("a type of its own");
    }
}
