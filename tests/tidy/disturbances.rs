//! Each row of the tables in `docs/disturbances.md` names the test that holds it, and that test reads this row.

use std::collections::BTreeSet;

const PAGE: &str = "docs/disturbances.md";
const TESTS: &str = "tests/it/disturbances.rs";

/// The first cells of the tables with that many columns, and the second ones, both without their marks.
fn rows(page: &str, columns: usize) -> Vec<(String, String)> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim_matches([' ', '`']).to_owned())
            .collect()
    };
    let lines = page.lines().filter(|line| line.starts_with("| `"));
    let rows = lines.map(cells).filter(|cells| cells.len() == columns);
    rows.map(|cells| (cells[0].clone(), cells[1].clone()))
        .collect()
}

/// The test's own text, from its name to the next item.
fn body<'a>(tests: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = tests.split_once(&format!("\n#[test]\nfn {name}() {{\n"))?;
    behind.split("\n}\n").next()
}

/// What is wrong with the page's rows and their tests.
fn wrong(page: &str, tests: &str) -> Vec<String> {
    let (promised, held) = (rows(page, 5), rows(page, 3));
    let mut wrong = Vec::new();
    let of_tests: BTreeSet<&str> = held.iter().map(|(row, _)| row.as_str()).collect();
    for (row, _) in &promised {
        if !of_tests.contains(row.as_str()) {
            wrong.push(format!("`{row}` names no test"));
        }
    }
    for (row, test) in &held {
        match body(tests, test) {
            None => wrong.push(format!("`{row}` names `{test}`, which is no test")),
            Some(text) if !text.contains(&format!("row(\"{row}\")")) => {
                wrong.push(format!("`{test}` does not read `{row}`"));
            }
            Some(_) => {}
        }
    }
    wrong
}

#[test]
fn each_row_of_the_disturbances_names_a_test_that_reads_it() {
    let page = "| `a` | one | `x` | – | y |\n| `b` | two | `x` | – | y |\n| `c` | three | `x` | – | y |\n\
                | `a` | `first` | |\n| `b` | `second` | |\n";
    let tests = "\n#[test]\nfn first() {\n    held(&row(\"b\"));\n}\n";
    assert_eq!(
        wrong(page, tests),
        [
            "`c` names no test",
            "`first` does not read `a`",
            "`b` names `second`, which is no test"
        ]
    );
    let read = |name: &str| std::fs::read_to_string(super::root().join(name)).expect(name);
    let page = read(PAGE);
    assert!(rows(&page, 5).len() > 15, "the tables are read");
    assert_eq!(wrong(&page, &read(TESTS)), [""; 0]);
}
