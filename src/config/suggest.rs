//! "Did you mean": the nearest of some words, for hints.

/// A hint that names the nearest of some words, or all of them.
pub(crate) fn which(text: &str, known: &[&str]) -> String {
    if let Some(near) = nearest(text, known) {
        return format!("write `{near}`");
    }
    let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => format!("write {last}"),
        Some((last, others)) => format!("write one of {} or {last}", others.join(", ")),
        None => "take it out".to_owned(),
    }
}

/// The nearest of some words, if one is near enough to be meant.
pub(crate) fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    // The distance costs length times length; nothing long is a slip of the pen.
    if text.len() > 100 {
        return None;
    }
    let lower = text.to_lowercase().replace('-', "_");
    let distance = |name: &&'k str| (strsim::damerau_levenshtein(&lower, name), *name);
    let (distance, name) = known.iter().map(distance).min()?;
    let bound = (name.chars().count().max(lower.chars().count()) / 3).max(1);
    (distance <= bound).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slip_of_the_pen_is_near() {
        let known = ["email", "base_url", "max_archives"];
        for (text, near) in [
            ("emial", "email"),
            ("base-url", "base_url"),
            ("MaxArchives", "max_archives"),
        ] {
            assert_eq!(nearest(text, &known), Some(near), "{text}");
        }
        for text in ["", "x", "phone", "completely different"] {
            assert_eq!(nearest(text, &known), None, "{text}");
        }
    }

    #[test]
    fn without_a_near_one_all_are_named() {
        assert_eq!(
            which("xyzzy", &["pull", "push", "both"]),
            "write one of `pull`, `push` or `both`"
        );
        assert_eq!(which("xyzzy", &["env"]), "write `env`");
    }
}
