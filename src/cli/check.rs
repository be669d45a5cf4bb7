//! `check`: validates the mapping file without touching anything, and shows what is in force.

use std::io::{IsTerminal, Write};
use std::path::Path;

use crate::cli::ExitStatus;
use crate::cli::format::counted;
use crate::config::render::render_settings;
use crate::config::{Checked, Config, Drawing, Severity, check_file};

/// What `check` is asked for.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct CheckArgs {
    /// Print every setting in force and where it comes from.
    #[arg(long, conflicts_with = "json")]
    pub show: bool,
    /// Compare the file with the portal; not in this version yet.
    #[arg(long, hide = true)]
    pub online: bool,
    /// Print one JSON value.
    #[arg(long)]
    pub json: bool,
}

/// Checks a file and prints what is wrong with it to `out`.
///
/// # Errors
/// `out` or `err` can't be written to.
pub fn check(
    path: &Path,
    args: CheckArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<ExitStatus> {
    if args.online {
        writeln!(
            err,
            "`check --online` is not in this version yet\nhint: leave `--online` out to check the file alone"
        )?;
        return Ok(ExitStatus::Usage);
    }
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let drawing = if colours {
        Drawing::Coloured
    } else {
        Drawing::Plain
    };
    let checked = check_file(path);
    if args.json {
        writeln!(out, "{}", checked.report.to_json())?;
    } else {
        print(&checked, args.show, drawing, out)?;
    }
    Ok(if checked.report.is_ok() {
        ExitStatus::Done
    } else {
        ExitStatus::Config
    })
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

    fn run(text: &str, args: CheckArgs) -> (ExitStatus, String, String) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).expect("written");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = check(&path, args, &mut out, &mut err).expect("buffers take everything");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status, text(out), text(err))
    }

    #[test]
    fn a_right_file_ends_with_0_and_a_line() {
        let (status, out, err) = run("[objects.contacts]", CheckArgs::default());
        assert_eq!((status, err.as_str()), (ExitStatus::Done, ""));
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
        let (_, out, _) = run(text, CheckArgs::default());
        assert!(out.contains("contacts (1 property) to"), "{out}");
    }

    #[test]
    fn a_missing_file_is_said_to_be_missing() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("none.toml");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = check(&path, CheckArgs::default(), &mut out, &mut err).expect("written");
        let out = String::from_utf8(out).expect("text");
        assert_eq!(status, ExitStatus::Config);
        assert!(out.contains("there is no such file"), "{out}");
        let folder_itself = check(
            folder.path(),
            CheckArgs::default(),
            &mut err,
            &mut Vec::new(),
        );
        assert_eq!(folder_itself.expect("written"), ExitStatus::Config);
        let err = String::from_utf8(err).expect("text");
        assert!(err.contains("it is a folder"), "{err}");
    }

    #[test]
    fn an_oauth_apps_limits_are_shown_as_they_are_in_force() {
        let text = "[portal]\ntier = \"professional\"\n[auth.oauth]\nclient_id = \"a\"\n\
            client_secret = { env = \"S\" }\ntoken_key = { env = \"K\" }\n[objects.contacts]\n";
        let show = CheckArgs {
            show: true,
            ..CheckArgs::default()
        };
        let (status, out, _) = run(text, show);
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
        let (status, out, _) = run("[objects.contacts]\ntabel = \"x\"", CheckArgs::default());
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
            ("[http]\nlisten = \"0.0.0.0:1\"\n[objects.deals]", true),
        ] {
            let (status, out, err) = run(
                text,
                CheckArgs {
                    json: true,
                    ..CheckArgs::default()
                },
            );
            let value: serde_json::Value = serde_json::from_str(&out).expect("json");
            assert_eq!(value["ok"], ok, "{out}");
            assert_eq!(status == ExitStatus::Done, ok);
            assert_eq!(err, "");
        }
    }

    #[test]
    fn show_prints_what_is_in_force() {
        let (status, out, _) = run(
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
    fn online_says_that_it_is_to_come() {
        let (status, out, err) = run(
            "[objects.contacts]",
            CheckArgs {
                online: true,
                ..CheckArgs::default()
            },
        );
        assert_eq!((status, out.as_str()), (ExitStatus::Usage, ""));
        assert!(err.contains("not in this version yet"), "{err}");
    }
}
