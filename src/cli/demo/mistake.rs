//! The end of the tour: a program's wrong UPDATE of many rows, what `plan` shows before it is sent, and `undo` after it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Tour, for_shell, own_name};
use crate::cli::demo::daemon::DemoDaemon;
use crate::cli::format::counted;

/// A program means one contact and changes all of a city.
const MISTAKE: &str = "UPDATE contacts SET city = 'Atlantis' WHERE city = 'Oslo'";

/// Nothing of the column waits any more.
const SENT: &str = "SELECT count(*) = 0 FROM sync_outbox_fields WHERE property = 'city'";

/// Of what a command prints: the lines that it begins with, and those that sum up.
const LINES_SHOWN: (usize, usize) = (4, 2);

impl Tour {
    pub(super) async fn mistake(
        &mut self,
        daemon: &mut DemoDaemon,
        config: &Path,
    ) -> anyhow::Result<()> {
        let ids = self
            .program
            .rows("SELECT hs_id FROM contacts WHERE city = 'Oslo' AND hs_id IS NOT NULL")?
            .concat();
        let ids: Vec<u64> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
        daemon.stop().await?;
        let wrong = self.program.execute(MISTAKE, &[])?;
        let wrong = counted(wrong as i64, "row", "rows");
        self.told.push(format!(
            "a mistake           with the daemon stopped, {MISTAKE} changed {wrong}"
        ));
        self.command("plan", config, "").await?;

        daemon.start().await?;
        let took = self.wait("a wrong update", SENT).await?;
        self.all_are_in("Atlantis", &ids)?;
        self.told.push(format!(
            "SQLite -> HubSpot   the daemon was started: after {:.1} s HubSpot had the wrong city in {}",
            took.as_secs_f64(),
            counted(ids.len() as i64, "record", "records")
        ));
        let [first, last] = ["min", "max"].map(|end| {
            self.program.number(&format!(
                "SELECT {end}(id) FROM sync_history WHERE property = 'city' AND new_value = 'Atlantis'"
            ))
        });
        let (first, last) = (first?, last?);
        let chosen = format!("--ids {first}-{last} --object contacts --column city --yes");
        self.command("undo", config, &chosen).await?;
        let took = self.wait("an undo", SENT).await?;
        self.all_are_in("Oslo", &ids)?;
        self.told.push(format!(
            "SQLite -> HubSpot   {} had Oslo again in HubSpot after {} ms",
            counted(ids.len() as i64, "record", "records"),
            took.as_millis()
        ));
        Ok(())
    }

    /// Runs a command of this program as somebody in a shell would, and tells what it printed.
    async fn command(&mut self, name: &str, config: &Path, rest: &str) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([name, "--config"])
            .arg(config)
            .args(rest.split_whitespace())
            .stdin(Stdio::null());
        let ran = tokio::task::spawn_blocking(move || command.output()).await??;
        let refused = String::from_utf8_lossy(&ran.stderr);
        anyhow::ensure!(ran.status.success(), "`{name}` failed: {}", refused.trim());
        let typed = format!(
            "{} {name} --config {} {rest}",
            own_name(),
            for_shell(config)
        );
        self.told.push(in_short(
            typed.trim(),
            &String::from_utf8_lossy(&ran.stdout),
        ));
        Ok(())
    }

    fn all_are_in(&self, city: &str, ids: &[u64]) -> anyhow::Result<()> {
        let portal = self.portal();
        for id in ids {
            let held = portal
                .record("contacts", *id)
                .and_then(|record| record.value("city"));
            anyhow::ensure!(
                held == Some(city),
                "record {id} has {held:?} in HubSpot and not {city}"
            );
        }
        Ok(())
    }
}

/// A command as somebody types it, with the first and the last lines of what it prints.
fn in_short(command: &str, shown: &str) -> String {
    let lines: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
    let (first, last) = LINES_SHOWN;
    let left_out = lines.len().saturating_sub(first + last);
    let (first, rest) = lines.split_at(first.min(lines.len()));
    let told = first.iter().map(|line| (*line).to_owned());
    let between =
        (left_out > 0).then(|| format!("… {}", counted(left_out as i64, "line", "lines")));
    let last = rest[left_out..].iter().map(|line| (*line).to_owned());
    std::iter::once(format!("  $ {command}"))
        .chain(
            told.chain(between)
                .chain(last)
                .map(|line| format!("    {line}")),
        )
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_with_its_first_and_last_lines() {
        let shown = |lines: usize| {
            let lines: Vec<String> = (1..=lines).map(|line| format!("line {line}\n")).collect();
            in_short("hubsyncd plan", &lines.concat())
        };
        assert_eq!(shown(1), "  $ hubsyncd plan\n    line 1");
        assert_eq!(shown(6).lines().count(), 7);
        assert!(!shown(6).contains('…'));
        let long = shown(9);
        assert!(
            long.contains("    line 4\n    … 3 lines\n    line 8\n"),
            "{long}"
        );
    }
}
