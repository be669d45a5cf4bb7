//! What another mapping file says otherwise, a line a setting: what `run` tells of a file that was changed while it runs.

use std::collections::BTreeMap;

use crate::config::render::{Setting, SettingOrigin};

/// A setting that another file has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettingChange {
    /// The key's dotted path; of an object, a pair or a section that is new or gone, its own.
    pub(crate) key: String,
    /// The sentence: `schedule.poll: "10s" → "5s"`.
    pub(crate) line: String,
}

/// What stands for all of its keys where it is new or gone.
fn group_of(path: &str) -> Option<&str> {
    let (section, rest) = path.split_once('.')?;
    match section {
        "objects" | "associations" => {
            let name = rest.split('.').next().unwrap_or(rest);
            Some(&path[..section.len() + 1 + name.len()])
        }
        "webhooks" | "http" => Some(section),
        _ => None,
    }
}

/// What is otherwise, in the order of the paths.
pub(crate) fn changes(before: &[Setting], after: &[Setting]) -> Vec<SettingChange> {
    let (before, after) = (by_path(before), by_path(after));
    let has = |settings: &BTreeMap<&str, &Setting>, group: &str| {
        let own = format!("{group}.");
        let mut behind = settings.range(own.as_str()..);
        behind
            .next()
            .is_some_and(|(path, _)| path.starts_with(&own))
    };
    let mut changes: Vec<SettingChange> = Vec::new();
    let mut note = |key: &str, line: String| {
        if changes.last().is_none_or(|last| last.key != key) {
            let key = key.to_owned();
            changes.push(SettingChange { key, line });
        }
    };
    let mut paths: Vec<&str> = before.keys().chain(after.keys()).copied().collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let group = group_of(path);
        if let Some(group) = group.filter(|group| !has(&before, group)) {
            note(group, format!("{group}: new"));
            continue;
        }
        if let Some(group) = group.filter(|group| !has(&after, group)) {
            note(group, format!("{group}: taken out"));
            continue;
        }
        let (old, new) = (before.get(path), after.get(path));
        let is_above = |setting: &&&Setting| setting.origin == SettingOrigin::Above;
        // What follows from a line above is told by that line.
        if old.as_ref().is_some_and(is_above) && new.as_ref().is_some_and(is_above) {
            continue;
        }
        let value = |setting: Option<&&Setting>| match setting.map_or("", |own| own.value.as_str())
        {
            "" => "none".to_owned(),
            value => value.to_owned(),
        };
        let (old, new) = (value(old), value(new));
        if old != new {
            note(path, format!("{path}: {old} → {new}"));
        }
    }
    changes
}

fn by_path(settings: &[Setting]) -> BTreeMap<&str, &Setting> {
    let pairs = settings.iter().map(|own| (own.path.as_str(), own));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::check::check_bytes;

    fn settings(text: &str) -> Vec<Setting> {
        let checked = check_bytes(Path::new("config.toml"), text.as_bytes().to_vec());
        assert!(checked.config.is_some(), "{}", checked.report);
        checked.settings
    }

    fn told(before: &str, after: &str) -> Vec<String> {
        let changes = changes(&settings(before), &settings(after));
        changes.into_iter().map(|change| change.line).collect()
    }

    #[test]
    fn each_setting_that_is_otherwise_is_one_line_with_both_values() {
        let before = "[schedule]\npoll = \"10s\"\n[objects.companies.properties]\nname = \"name\"\ncity = \"city\"\n";
        let after = "[schedule]\npoll = \"5s\"\n[objects.companies.properties]\nname = \"title\"\nphone = \"phone\"\n";
        assert_eq!(
            told(before, after),
            [
                r#"objects.companies.properties.city: { column = "city", direction = "both", conflict = "newest" } → none"#,
                r#"objects.companies.properties.name: { column = "name", direction = "both", conflict = "newest" } → { column = "title", direction = "both", conflict = "newest" }"#,
                r#"objects.companies.properties.phone: none → { column = "phone", direction = "both", conflict = "newest" }"#,
                "schedule.poll: \"10s\" → \"5s\"",
                "schedule.poll_idle: \"90s\" → \"45s\"",
            ]
        );
        assert_eq!(told(before, before), [""; 0]);
    }

    #[test]
    fn an_object_a_pair_and_a_section_that_are_new_or_gone_are_one_line_each() {
        let one = "[objects.contacts]\n";
        let more = "[http]\n[objects.contacts]\n[objects.companies]\n[associations]\nc = { from = \"contacts\", to = \"companies\" }\n";
        assert_eq!(
            told(one, more),
            ["associations.c: new", "http: new", "objects.companies: new"]
        );
        assert_eq!(
            told(more, one),
            [
                "associations.c: taken out",
                "http: taken out",
                "objects.companies: taken out"
            ]
        );
    }
}
