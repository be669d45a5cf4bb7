//! The page of each code: what it means, how to look, what to do. One table, `docs/codes.txt`, of which `hubsyncd explain CODE`
//! and `docs/RUNBOOK.md` are made; `tests/tidy` finds a code that has no page.

use serde::Serialize;

use crate::config::suggest;

const TABLE: &str = include_str!("../../docs/codes.txt");

/// What is to be known of a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodePage {
    /// The code.
    pub code: &'static str,
    /// What it means.
    pub means: &'static str,
    /// The SELECT or the command to look with.
    pub look: String,
    /// What to do.
    #[serde(rename = "do")]
    pub action: &'static str,
    #[serde(skip)]
    room: &'static str,
}

/// All of them, room by room.
pub fn pages() -> Vec<CodePage> {
    let mut pages: Vec<CodePage> = Vec::new();
    let (mut room, mut look) = ("", "");
    for line in TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if let Some((name, own)) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] look: "))
        {
            (room, look) = (name, own);
            continue;
        }
        let (code, rest) = line.split_once(": ").expect("a code and its page");
        if let Some(code) = code.strip_prefix("look ") {
            let page = pages.iter_mut().find(|page| page.code == code);
            page.expect("the code stands above").look = rest.replace("CODE", code);
            continue;
        }
        let (means, action) = rest.split_once(" | ").expect("a meaning and what to do");
        pages.push(CodePage {
            code,
            means,
            look: look.replace("CODE", code),
            action,
            room,
        });
    }
    pages
}

/// The page of a code, or of a state in its spelling of the tables (`out_of_quota`).
///
/// # Errors
/// There is none; a hint names those that are near.
pub fn page(code: &str) -> Result<CodePage, String> {
    let wanted = code.replace('_', "-");
    let pages = pages();
    if let Some(page) = pages.iter().find(|page| page.code == wanted) {
        return Ok(page.clone());
    }
    let words: Vec<&str> = wanted.split('-').collect();
    let is_near = |page: &&CodePage| {
        let shared = page.code.split('-').filter(|word| words.contains(word));
        shared.count() > 0
    };
    let near: Vec<&str> = pages.iter().filter(is_near).map(|page| page.code).collect();
    let all: Vec<&str> = pages.iter().map(|page| page.code).collect();
    Err(match (suggest::nearest(&wanted, &all), near.is_empty()) {
        (Some(nearest), _) => format!("write `{nearest}`"),
        (None, false) => suggest::which("", &near),
        (None, true) => "docs/RUNBOOK.md has them all".to_owned(),
    })
}

/// `docs/RUNBOOK.md`.
#[cfg(test)]
fn runbook() -> String {
    use std::fmt::Write as _;

    let mut text = "# Runbook\n\nA page for each code that hubsyncd says: in the `code` columns, in brackets at the end of a sentence, in the log and in\n\
        `--json`. `hubsyncd explain CODE` prints it too. This file is made of [codes.txt](codes.txt).\n"
        .to_owned();
    let mut room = "";
    for page in pages() {
        if page.room != room {
            room = page.room;
            write!(text, "\n## {room}\n").expect("a text takes everything");
        }
        let look = if page.look.starts_with("SELECT") {
            format!("```sql\n{};\n```", page.look)
        } else {
            format!("Look with `{}`.", page.look)
        };
        let (code, means, action) = (page.code, page.means, page.action);
        write!(
            text,
            "\n### `{code}`\n\n{means}\n\n{look}\n\nDo: {action}\n"
        )
        .expect("a text takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_runbook_is_made_of_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/RUNBOOK.md");
        if std::env::var_os("HUBSYNC_WRITE_DOCS").is_some() {
            std::fs::write(&path, runbook()).expect("it is written");
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(text == runbook(), "write it with HUBSYNC_WRITE_DOCS=1");
    }

    #[test]
    fn a_code_stands_once_and_is_found_in_either_spelling() {
        let pages = pages();
        let codes: BTreeSet<&str> = pages.iter().map(|page| page.code).collect();
        assert_eq!(codes.len(), pages.len());
        assert_eq!(page("out_of_quota").expect("a state").code, "out-of-quota");
        let entry = page("invalid-email").expect("a code");
        assert!(
            entry.look.ends_with("WHERE code = 'invalid-email'"),
            "{}",
            entry.look
        );
        for (slip, hint) in [
            ("invalid-emial", "write `invalid-email`"),
            ("nonsense", "docs/RUNBOOK.md has them all"),
        ] {
            assert_eq!(page(slip).expect_err(slip), hint);
        }
        assert!(
            page("wrong-email")
                .expect_err("no such code")
                .contains("`invalid-email`")
        );
    }
}
