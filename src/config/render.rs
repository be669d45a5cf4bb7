//! What `check --show` writes: every setting in force and where it comes from.

use std::fmt::Write;
use std::path::Path;

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingOrigin {
    /// A line of the file, from 1.
    File {
        /// The line.
        line: usize,
    },
    /// Nothing was written.
    Default,
    /// Nothing was written, and the account's tier decides.
    Tier,
    /// Nothing was written, and HubSpot's limits of an OAuth app decide.
    App,
    /// Nothing was written, and the setting of the same meaning one level up decides.
    Above,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The key's dotted path.
    pub path: String,
    /// The value as TOML; empty where there is none in force. A secret's is the place where it lies, never the secret.
    pub value: String,
    /// Where it comes from.
    pub origin: SettingOrigin,
}

/// Values longer than this push no comment to the right.
const WIDEST: usize = 60;

/// One line a setting: TOML, and its origin as a comment.
pub(crate) fn render_settings(path: &Path, settings: &[Setting]) -> String {
    let line = |setting: &Setting| match setting.value.as_str() {
        "" => format!("# {}: none", setting.path),
        value => format!("{} = {value}", setting.path),
    };
    let widths = settings.iter().map(|setting| line(setting).chars().count());
    let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    let mut text = String::new();
    for setting in settings {
        let origin = match setting.origin {
            SettingOrigin::File { line } => format!("{}:{line}", path.display()),
            SettingOrigin::Default => "default".to_owned(),
            SettingOrigin::Tier => "the tier's".to_owned(),
            SettingOrigin::App => "an OAuth app's".to_owned(),
            SettingOrigin::Above => "from above".to_owned(),
        };
        // Writing to a `String` can't fail.
        writeln!(text, "{:<width$}  # {origin}", line(setting)).expect("text grows");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_says_where_it_comes_from() {
        let setting = |path: &str, value: &str, origin| Setting {
            path: path.to_owned(),
            value: value.to_owned(),
            origin,
        };
        let settings = [
            setting("portal.tier", "\"free\"", SettingOrigin::Default),
            setting("schedule.poll", "\"5s\"", SettingOrigin::File { line: 3 }),
            setting("limits.per_day", "250000", SettingOrigin::Tier),
            setting("limits.per_day", "", SettingOrigin::App),
        ];
        let text = render_settings(Path::new("c.toml"), &settings);
        insta::assert_snapshot!(text, @r#"
        portal.tier = "free"     # default
        schedule.poll = "5s"     # c.toml:3
        limits.per_day = 250000  # the tier's
        # limits.per_day: none   # an OAuth app's
        "#);
    }
}
