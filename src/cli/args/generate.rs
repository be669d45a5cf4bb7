//! `man` and `completions`: pages and completions made from the definition of the command line, so that they can't differ from it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap_complete::aot;

use crate::cli::ExitStatus;
use crate::cli::args::{Cli, CompletionsArgs, ManArgs};

/// Writes the page of the program to the output, or those of all commands into a folder.
///
/// # Errors
/// The folder can't be made or written, or the output is closed.
pub fn man(args: &ManArgs, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let program = Cli::program();
    match &args.folder {
        Some(folder) => {
            let pages = write_pages(program, folder)
                .with_context(|| format!("the pages can't be written to {}", folder.display()))?;
            writeln!(out, "{}: {pages} pages", folder.display())?;
        }
        None => clap_mangen::Man::new(program).render(out)?,
    }
    Ok(ExitStatus::Done)
}

/// Pages by the names that they have: `hubsyncd.1`, `hubsyncd-once.1`, `hubsyncd-outbox-retry.1`.
fn write_pages(program: clap::Command, folder: &Path) -> std::io::Result<usize> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(program, folder)?;
    Ok(fs::read_dir(folder)?.count())
}

/// Writes the completions for a shell to the output.
///
/// # Errors
/// The output is closed.
pub fn completions(args: CompletionsArgs, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let mut program = Cli::program();
    let name = program.get_name().to_owned();
    let mut text = Vec::new();
    aot::generate(args.shell, &mut program, name, &mut text);
    out.write_all(&text)?;
    Ok(ExitStatus::Done)
}
