//! The question before something is carried out.

use std::io::{BufRead as _, IsTerminal as _, Write};

use crate::cli::NobodyToAsk;

/// Asks, where somebody is there to answer; without a terminal `--yes` is needed.
///
/// # Errors
/// Nobody is there to ask, or `out` is closed.
pub(crate) fn agreed(yes: bool, question: &str, out: &mut dyn Write) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        out.flush()?;
        return Err(NobodyToAsk {
            hint: "give `--yes` to carry it out",
        }
        .into());
    }
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
