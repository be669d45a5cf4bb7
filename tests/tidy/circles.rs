//! Circles of files in `engine`: files that import each other, directly or by way of others. Whoever reads one of a circle
//! has to read all of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{OF_TESTS, code, files};

/// Two files may be halves of one thing, such as a push and its batches; more than that are none.
const LARGEST_CIRCLE: usize = 3;

/// The paths that the uses of a text name, groups taken apart: `a::{b, c::{d}}` is `a::b` and `a::c::d`.
fn used(text: &str) -> Vec<String> {
    fn take_apart(before: &str, tree: &str, found: &mut Vec<String>) {
        let Some((own, group)) = tree.split_once('{') else {
            let own = tree.split(" as ").next().unwrap_or(tree);
            found.push(format!("{before}{}", own.trim()));
            return;
        };
        let before = format!("{before}{}", own.trim());
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        let (mut depth, mut from) = (0, 0);
        for (at, letter) in group.char_indices().chain([(group.len(), ',')]) {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    take_apart(&before, &group[from..at], found);
                    from = at + 1;
                }
                _ => {}
            }
        }
    }
    let lines = text.lines().map(str::trim_start);
    let code: Vec<&str> = lines.filter(|line| !line.starts_with("//")).collect();
    let code = code.join(" ");
    let mut found = Vec::new();
    for (at, word) in code.match_indices("use ") {
        let is_a_word = code[..at].ends_with([' ', ';', '}']) || at == 0;
        if let (true, Some((tree, _))) = (is_a_word, code[at + word.len()..].split_once(';')) {
            take_apart("", tree, &mut found);
        }
    }
    // Paths that the code names in passing.
    for (at, _) in code.match_indices("crate::") {
        let is_of_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        let rest = &code[at..];
        found.push(
            rest[..rest
                .find(|letter| !is_of_path(letter))
                .unwrap_or(rest.len())]
                .to_owned(),
        );
    }
    found
}

/// `src/engine/source/poll.rs` is `engine::source::poll`.
fn module_of(name: &str) -> String {
    let name = name.strip_prefix("src/").unwrap_or(name);
    name.trim_end_matches(".rs").replace('/', "::")
}

/// Which files of `all` each imports.
fn imports(all: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeSet<String> = all.iter().map(|(name, _)| module_of(name)).collect();
    all.iter()
        .map(|(name, text)| {
            let own = module_of(name);
            let above = own.rsplit_once("::").map_or("", |(above, _)| above);
            let named = used(&code(text)).into_iter().filter_map(|path| {
                let path = match path.strip_prefix("super::") {
                    Some(rest) => format!("{above}::{rest}"),
                    None => path.strip_prefix("crate::")?.to_owned(),
                };
                let ends = path.rmatch_indices("::").map(|(at, _)| at);
                let longest_first = [path.len()].into_iter().chain(ends);
                let mut files = longest_first.map(|end| path[..end].to_owned());
                files.find(|file| modules.contains(file))
            });
            let named = named.filter(|file| *file != own).collect();
            (own, named)
        })
        .collect()
}

/// What a file imports, and what those import, to the end.
fn reached(imports: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(file) = next.pop() {
        for other in imports.get(&file).into_iter().flatten() {
            if reached.insert(other.clone()) {
                next.push(other.clone());
            }
        }
    }
    reached
}

/// The circles of files, each once.
fn circles(all: &[(String, String)]) -> BTreeSet<BTreeSet<String>> {
    let imports = imports(all);
    let reach: BTreeMap<&String, BTreeSet<String>> = imports
        .keys()
        .map(|file| (file, reached(&imports, file)))
        .collect();
    reach
        .iter()
        .filter(|(file, own)| own.contains(**file))
        .map(|(file, own)| {
            let both_ways = own.iter().filter(|other| reach[other].contains(*file));
            both_ways.cloned().collect()
        })
        .collect()
}

#[test]
fn no_circle_of_files_in_the_engine_is_large() {
    let sample = |name: &str, text: &str| (format!("src/engine/{name}.rs"), text.to_owned());
    let found = circles(&[
        sample("a", "use crate::engine::{b::{B, of}, Engine};\n"),
        sample("b", "pub(crate) use super::c::C as D;\n"),
        sample("c", "fn x() { crate::engine::a::y() }\n"),
        sample(
            "d",
            "use crate::engine::a::A;\n#[cfg(test)]\nuse super::e::E;\n",
        ),
        sample("e", "// use super::d::D;\nuse super::d::D;\n"),
    ]);
    let circle = ["a", "b", "c"].map(|name| format!("engine::{name}"));
    assert_eq!(found, BTreeSet::from([BTreeSet::from(circle)]));
    let all: Vec<_> = files("src", "rs")
        .into_iter()
        .filter(|(name, _)| name.starts_with("src/engine"))
        .filter(|(name, _)| !OF_TESTS.iter().any(|own| name.ends_with(own)))
        .collect();
    let mut large = circles(&all);
    large.retain(|circle| circle.len() > LARGEST_CIRCLE);
    assert!(large.is_empty(), "{large:#?}");
}
