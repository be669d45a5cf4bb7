//! The table of what finds which bug, between two marks of a page. What was not measured this time stays as it was.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

const BEGIN: &str = "<!-- planted bugs: written by `make planted-power` -->";
/// What a cell says of a suite that has no seeds and found the bug.
pub(crate) const FOUND: &str = "found";
const END: &str = "<!-- end of planted bugs -->";

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    suites: Vec<&'static str>,
    before: String,
    after: String,
    rows: BTreeMap<(u32, String), Row>,
}

#[derive(Debug, Clone, Default)]
struct Row {
    why: String,
    cells: Vec<String>,
}

impl Table {
    /// Reads a page; a page without the marks gets them at its end.
    pub(crate) fn read(page: &Path, suites: &[&'static str]) -> Result<Self> {
        let text = if page.exists() {
            std::fs::read_to_string(page)?
        } else {
            String::new()
        };
        let (before, rest) = text.split_once(BEGIN).unwrap_or((&text, ""));
        let (table, after) = rest.split_once(END).unwrap_or(("", ""));
        let mut read = Self {
            suites: suites.to_vec(),
            before: before.to_owned(),
            after: after.to_owned(),
            rows: BTreeMap::new(),
        };
        for line in table.lines().filter(|line| line.starts_with("| `")) {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let name = cells.next().unwrap_or_default().trim_matches('`');
            let why = cells.next().unwrap_or_default().to_owned();
            let mut cells: Vec<String> = cells.map(str::to_owned).collect();
            cells.resize(suites.len(), String::new());
            read.rows.insert(key(name), Row { why, cells });
        }
        Ok(read)
    }

    /// Puts what a suite found.
    pub(crate) fn put(&mut self, name: &str, why: &str, suite: &str, cell: &str) {
        let count = self.suites.len();
        let row = self.rows.entry(key(name)).or_default();
        why.replace('|', "/").clone_into(&mut row.why);
        row.cells.resize(count, String::new());
        if let Some(place) = self.suites.iter().position(|known| *known == suite) {
            cell.clone_into(&mut row.cells[place]);
        }
    }

    /// Whether some suite found a bug.
    pub(crate) fn is_found(&self, name: &str) -> bool {
        self.rows
            .get(&key(name))
            .is_some_and(|row| row.cells.iter().any(|cell| says_found(cell)))
    }

    /// Writes the page.
    pub(crate) fn write(&self, page: &Path) -> Result<()> {
        let mut text = format!("{}{BEGIN}\n\n| bug | what goes wrong |", self.before);
        for suite in &self.suites {
            write!(text, " {suite} |")?;
        }
        writeln!(text, "\n|---|---|{}", "---|".repeat(self.suites.len()))?;
        for ((_, name), row) in &self.rows {
            writeln!(
                text,
                "| `{name}` | {} | {} |",
                row.why,
                row.cells.join(" | ")
            )?;
        }
        write!(
            text,
            "\n{END}{}",
            if self.after.is_empty() {
                "\n"
            } else {
                &self.after
            }
        )?;
        std::fs::write(page, text)?;
        Ok(())
    }
}

/// Whether a cell says that its suite found the bug; `≤` stands before the place of a world that finds it, where they were
/// not played in their order.
fn says_found(cell: &str) -> bool {
    let number = cell.trim_start_matches('≤');
    cell == FOUND || number.parse::<u64>().is_ok()
}

fn key(name: &str) -> (u32, String) {
    let digits = name
        .split('-')
        .next()
        .and_then(|digits| digits.parse().ok());
    (digits.unwrap_or(u32::MAX), name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn rows_that_are_not_measured_stay_as_they_were() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = folder.path().join("page.md");
        std::fs::write(&page, "# Tests\n\nWords.\n\n").expect("a page");
        let suites = ["units", "simulation"];
        let mut table = Table::read(&page, &suites).expect("a table");
        table.put("31-late", "it is late", "simulation", "17");
        table.put("7-early", "it is early", "units", "—");
        table.write(&page).expect("written");
        let mut table = Table::read(&page, &suites).expect("a table");
        assert!(table.is_found("31-late") && !table.is_found("7-early"));
        table.put("7-early", "it is early", "simulation", "not run");
        assert!(!table.is_found("7-early"));
        table.put("7-early", "it is early", "simulation", "—");
        table.put("8-later", "it is later", "simulation", "≤1394");
        assert!(table.is_found("8-later"));
        table.put("7-early", "it is early", "units", "found");
        table.write(&page).expect("written");
        let text = std::fs::read_to_string(&page).expect("a page");
        assert!(text.starts_with("# Tests\n\nWords.\n\n<!--"), "{text}");
        assert!(
            text.contains(
                "| `7-early` | it is early | found | — |\n| `8-later` | it is later |  | ≤1394 |\n| `31-late` | it is late |  | 17 |\n"
            ),
            "{text}"
        );
    }
}
