//! Each code of `docs/codes.txt` is said once by the real binary: in the rooms below, or where another file's test meets it anyway.
//! `tests/tidy` holds the calls of [`produces`] to that table.

mod answers;
mod commands;
pub(crate) mod database;
mod logins;
mod mapping;
mod statements;
mod states;

/// Names the code that a test makes the binary say, in the place where the test asks for it.
#[must_use = "a test that names a code asks for it"]
pub(crate) fn produces(code: &'static str) -> &'static str {
    code
}

/// Whether a text has the code as a word of its own.
pub(crate) fn says(text: &str, code: &str) -> bool {
    let is_of_a_word = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    text.split(|letter| !is_of_a_word(letter))
        .any(|word| word == code)
}
