//! `check`: validates the mapping file without touching anything, and shows what is in force; `--online` compares it with the
//! portal.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::app::doctor::{CheckLine, Colour, examine};
use crate::cli::ExitStatus;
use crate::cli::format::{counted, painted, printable};
use crate::clock::{Clock, SystemClock};
use crate::config::render::render_settings;
use crate::config::{Checked, Config, Drawing, Severity, check_file_and_secrets, json_schema};

/// What `check` is asked for.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "an option each, as people write them"
)]
pub struct CheckArgs {
    /// Print every setting in force and where it comes from.
    #[arg(long, conflicts_with = "json")]
    pub show: bool,
    /// Compare the file with the portal, and look at token, limits, database and ports; changes nothing.
    #[arg(long)]
    pub online: bool,
    /// Print the JSON Schema of mapping files, which editors complete and explain them by; reads no file.
    #[arg(long, conflicts_with_all = ["show", "online", "json"])]
    pub schema: bool,
    /// Print one JSON value.
    #[arg(long)]
    pub json: bool,
}

/// Checks a file and prints what is wrong with it to `out`.
///
/// # Errors
/// `out` can't be written to.
pub fn check(path: &Path, args: CheckArgs, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let checked = check_file_and_secrets(path);
    if args.json {
        writeln!(out, "{}", checked.report.to_json())?;
    } else {
        print(&checked, args.show, Drawing::of_stdout(), out)?;
    }
    Ok(if checked.report.is_ok() {
        ExitStatus::Done
    } else {
        ExitStatus::Config
    })
}

/// Prints the JSON Schema of mapping files.
///
/// # Errors
/// `out` can't be written to.
pub fn schema(out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    writeln!(out, "{}", serde_json::to_string_pretty(&json_schema())?)?;
    Ok(ExitStatus::Done)
}

/// Checks a file, and then holds it against the portal. Mistakes in the file come first, and are the end of it.
///
/// # Errors
/// A secret is missing, the database can't be read, or `out` can't be written to.
pub async fn online(
    path: &Path,
    args: CheckArgs,
    out: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    let checked = check_file_and_secrets(path);
    let problems = checked.report.to_json();
    let Some(config) = &checked.config else {
        if !args.json {
            return check(path, args, out);
        }
        writeln!(out, "{}", with_checks(problems, false, &[]))?;
        return Ok(ExitStatus::Config);
    };
    let clock: Arc<dyn Clock> = SystemClock::new();
    let lines = match examine(config, &clock).await {
        Ok(lines) => lines,
        Err(error) => {
            if args.json {
                writeln!(out, "{}", with_checks(problems, false, &[]))?;
            }
            return Err(error.into());
        }
    };
    let is_red = lines.iter().any(|line| line.status == Colour::Red);
    if args.json {
        writeln!(out, "{}", with_checks(problems, !is_red, &lines))?;
    } else {
        print(&checked, args.show, Drawing::of_stdout(), out)?;
        print_lines(&lines, Drawing::of_stdout(), out)?;
    }
    Ok(match is_red {
        true => ExitStatus::Failed,
        false => ExitStatus::Done,
    })
}

fn with_checks(
    mut problems: serde_json::Value,
    is_ok: bool,
    lines: &[CheckLine],
) -> serde_json::Value {
    problems["ok"] = is_ok.into();
    problems["checks"] = serde_json::json!(lines);
    problems
}

/// A line each, those of an object's properties that are in order as one.
fn print_lines(lines: &[CheckLine], drawing: Drawing, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut folded: Vec<(&str, usize)> = Vec::new();
    for line in lines {
        let object = line.name.strip_prefix("property ");
        let object = object.and_then(|name| name.split('.').next());
        if let (Some(object), Colour::Green) = (object, line.status) {
            match folded.last_mut() {
                Some((known, count)) if *known == object => *count += 1,
                Some(_) | None => folded.push((object, 1)),
            }
            continue;
        }
        // What is otherwise stands in front of what is in order, so that an object's properties are counted once.
        if object.is_none() {
            unfold(&mut folded, drawing, out)?;
        }
        let code = line.code.map(|code| format!(" [{code}]"));
        let code = code.unwrap_or_default();
        let text = format!("{}: {}{code}", line.name, line.message);
        writeln!(out, "{}{}", mark(line.status, drawing), printable(&text))?;
        if let Some(hint) = &line.hint {
            writeln!(out, "        hint: {}", printable(hint))?;
        }
    }
    unfold(&mut folded, drawing, out)?;
    let count = |colour| lines.iter().filter(|line| line.status == colour).count();
    writeln!(
        out,
        "{} red, {} yellow, {} green",
        count(Colour::Red),
        count(Colour::Yellow),
        count(Colour::Green)
    )?;
    Ok(())
}

fn unfold(
    folded: &mut Vec<(&str, usize)>,
    drawing: Drawing,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for (object, count) in folded.drain(..) {
        let properties = counted(count as i64, "property", "properties");
        writeln!(
            out,
            "{}properties of {object}: {properties} in order",
            mark(Colour::Green, drawing)
        )?;
    }
    Ok(())
}

/// The colour's word, in its colour.
fn mark(colour: Colour, drawing: Drawing) -> String {
    let word = match colour {
        Colour::Green => "green",
        Colour::Yellow => "yellow",
        Colour::Red => "red",
    };
    painted(&format!("{word:<8}"), colour, drawing)
}

fn print(
    checked: &Checked,
    show: bool,
    drawing: Drawing,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Checked {
        config,
        report,
        settings,
        ..
    } = checked;
    if let (Some(_), true) = (config, show) {
        write!(out, "{}", render_settings(&report.file, settings))?;
    }
    if !report.problems.is_empty() {
        writeln!(out, "{}", report.render(drawing))?;
    }
    if let Some(config) = config
        .as_ref()
        .filter(|_| !show && report.count(Severity::Error) == 0)
    {
        writeln!(
            out,
            "`{}` is right: {}",
            report.file.display(),
            described(config)
        )?;
    }
    Ok(())
}

/// What the file maps, in a line.
fn described(config: &Config) -> String {
    let object = |object: &crate::model::mapping::ObjectMapping| {
        let properties = counted(object.fields.len() as i64, "property", "properties");
        format!("{} ({properties})", object.object)
    };
    let objects: Vec<_> = config.mapping.objects.iter().map(object).collect();
    format!("{} to `{}`", objects.join(", "), config.database.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, args: CheckArgs) -> (ExitStatus, String) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).expect("written");
        let mut out = Vec::new();
        let status = check(&path, args, &mut out).expect("a buffer takes everything");
        (status, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_right_file_ends_with_0_and_a_line() {
        let (status, out) = run("[objects.contacts]", CheckArgs::default());
        assert_eq!(status, ExitStatus::Done);
        assert!(
            out.ends_with(
                "config.toml` is right: contacts (16 properties) to `/var/lib/hubsyncd/crm.db`\n"
            ),
            "{out}"
        );
    }

    #[test]
    fn one_property_is_one() {
        let text = "[objects.contacts.properties]\nemail = \"email\"\n";
        let (_, out) = run(text, CheckArgs::default());
        assert!(out.contains("contacts (1 property) to"), "{out}");
    }

    #[test]
    fn a_missing_file_is_said_to_be_missing() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("none.toml");
        let told = |path: &Path| {
            let mut out = Vec::new();
            let status = check(path, CheckArgs::default(), &mut out).expect("written");
            assert_eq!(status, ExitStatus::Config);
            String::from_utf8(out).expect("text")
        };
        let out = told(&path);
        assert!(out.contains("there is no such file"), "{out}");
        let out = told(folder.path());
        assert!(out.contains("it is a folder"), "{out}");
    }

    #[test]
    fn an_oauth_apps_limits_are_shown_as_they_are_in_force() {
        let text = "[portal]\ntier = \"professional\"\n[auth.oauth]\nclient_id = \"a\"\n\
            client_secret = { env = \"S\" }\ntoken_key = { env = \"K\" }\n[objects.contacts]\n";
        let show = CheckArgs {
            show: true,
            ..CheckArgs::default()
        };
        let (status, out) = run(text, show);
        assert_eq!(status, ExitStatus::Done, "{out}");
        for line in [
            "limits.burst_per_10_seconds = 110 ",
            "limits.per_second = 11.0 ",
            "# limits.per_day: none ",
        ] {
            assert!(out.contains(line), "{out}");
        }
        assert!(!out.contains("625000") && !out.contains("= 190"), "{out}");
    }

    #[test]
    fn mistakes_end_with_78() {
        let (status, out) = run("[objects.contacts]\ntabel = \"x\"", CheckArgs::default());
        assert_eq!(status, ExitStatus::Config);
        assert!(
            out.contains("write `table`") && !out.contains("is right"),
            "{out}"
        );
    }

    #[test]
    fn json_is_one_value_and_nothing_else() {
        for (text, ok) in [
            ("[objects.contacts]", true),
            ("tabel = 1", false),
            ("[http]\nlisten = \"0.0.0.0:1\"\n[objects.deals]", false),
        ] {
            let (status, out) = run(
                text,
                CheckArgs {
                    json: true,
                    ..CheckArgs::default()
                },
            );
            let value: serde_json::Value = serde_json::from_str(&out).expect("json");
            assert_eq!(value["ok"], ok, "{out}");
            assert_eq!(status == ExitStatus::Done, ok);
        }
    }

    #[test]
    fn show_prints_what_is_in_force() {
        let (status, out) = run(
            "[objects.contacts]",
            CheckArgs {
                show: true,
                ..CheckArgs::default()
            },
        );
        assert_eq!(status, ExitStatus::Done);
        assert!(out.contains("objects.contacts.match = \"email\""), "{out}");
    }

    #[test]
    fn lines_in_order_are_folded_and_the_others_have_their_remedy() {
        let lines = [
            CheckLine::green("dns", "`api.hubapi.com` is 192.0.2.1"),
            CheckLine::green("property contacts.email", "string"),
            CheckLine::green("property contacts.city", "string"),
            CheckLine::yellow(
                "property contacts.vip",
                "unknown-property",
                "HubSpot has no property `vip` on contacts".to_owned(),
                "make it",
            ),
            CheckLine::red("portal", "other-portal", "another one".to_owned(), "use it"),
        ];
        let mut out = Vec::new();
        print_lines(&lines, Drawing::Plain, &mut out).expect("written");
        insta::assert_snapshot!(String::from_utf8(out).expect("text"), @r"
        green   dns: `api.hubapi.com` is 192.0.2.1
        yellow  property contacts.vip: HubSpot has no property `vip` on contacts [unknown-property]
                hint: make it
        green   properties of contacts: 2 properties in order
        red     portal: another one [other-portal]
                hint: use it
        1 red, 1 yellow, 3 green
        ");
    }
}
