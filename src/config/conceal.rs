//! How a secret looks, and where one may stand in the mapping file's text, also where that is no TOML (promise 10).
//!
//! Two eyes look at each text: one knows the shapes that HubSpot's secrets have, the other where a secret would be written.
//! What either sees is hidden: a star too many costs nothing.

use std::ops::Range;

use toml::de::DeTable;

use crate::config::keys;

/// Every place of a file's text that may hold a secret.
pub(crate) fn places(text: &str) -> Vec<Range<usize>> {
    let mut spans = shapes(text);
    spans.extend(assignments(text));
    spans
}

/// Text of a message with whatever looks like a secret taken out.
pub(crate) fn redact(text: &str) -> String {
    without(text, shapes(text))
}

/// The same for a setting that is public and may look like a secret: an app's id, a path, a URL.
pub(crate) fn redact_public(text: &str) -> String {
    without(
        text,
        [tokens(text), user_infos(text), parameters(text)].concat(),
    )
}

fn without(text: &str, mut spans: Vec<Range<usize>>) -> String {
    spans.sort_by_key(|span| (span.start, span.end));
    let mut redacted = String::with_capacity(text.len());
    let mut from = 0;
    for span in spans {
        if span.start >= from {
            redacted.push_str(&text[from..span.start]);
            redacted.push_str("***");
        }
        from = from.max(span.end);
    }
    redacted.push_str(&text[from..]);
    redacted
}

/// The keys whose values are secrets, and the words that such a key is made of.
const TELLING: [&str; 8] = [
    "access_token",
    "refresh_token",
    "client_secret",
    "developer_key",
    "token_key",
    "token",
    "secret",
    "password",
];

/// What the name of a secret's key has in it.
const TELLING_PARTS: [&str; 7] = [
    "token",
    "secret",
    "passw",
    "developer_key",
    "api_key",
    "apikey",
    "bearer",
];

/// The tables in which secrets are written.
const TABLES: [&str; 3] = ["auth", "oauth", "webhooks"];

/// Whether a key's name says that its value is a secret, with a slip of the pen or two.
pub(crate) fn names_a_secret(key: &str) -> bool {
    if key.len() > 100 {
        return false; // The distance costs length times length; nothing long is a slip of the pen.
    }
    let key = key.to_lowercase().replace('-', "_");
    if key == "token_path" || keys::is_key(&key) && !TELLING.contains(&key.as_str()) {
        return false;
    }
    let is_near = |name: &&str| strsim::damerau_levenshtein(&key, name) <= (name.len() / 4).max(1);
    TELLING_PARTS.iter().any(|part| key.contains(part)) || TELLING.iter().any(is_near)
}

/// Whether a table's name says that secrets are written in it.
pub(crate) fn names_a_secret_table(name: &str) -> bool {
    let name = name.to_lowercase();
    name.len() <= 20
        && TABLES
            .iter()
            .any(|table| strsim::damerau_levenshtein(&name, table) <= 1)
}

/// Whatever looks like a secret, wherever it stands.
fn shapes(text: &str) -> Vec<Range<usize>> {
    [
        tokens(text),
        user_infos(text),
        parameters(text),
        random_words(text),
    ]
    .concat()
}

/// The shortest run after `pat-` that is taken for a token.
const LEAST_TOKEN: usize = 8;

/// HubSpot's regions, as tokens name them (`hubspot/api-facts.md#2`): `pat_` without one is a word of somebody's.
const REGIONS: [&str; 4] = ["na", "eu", "ap", "ca"];

/// Tokens of private apps and service keys: `pat-`, a region, a UUID (`hubspot/api-facts.md#2`).
fn tokens(text: &str) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let found = lower.match_indices("pat").filter_map(|(start, _)| {
        let rest = &lower[start + 3..];
        let length = rest
            .find(|character: char| {
                !(character.is_ascii_alphanumeric() || "-_".contains(character))
            })
            .unwrap_or(rest.len());
        let is_token = match rest.bytes().next() {
            Some(b'-') => length > LEAST_TOKEN,
            Some(b'_') => length > LEAST_TOKEN && REGIONS.contains(&&rest[1..3]),
            _ => false,
        };
        is_token.then_some(start..start + 3 + length)
    });
    found.collect()
}

/// User and password of URLs, and of what would be one without its scheme.
fn user_infos(text: &str) -> Vec<Range<usize>> {
    let ends_word = |character: char| character.is_whitespace() || "\"'`".contains(character);
    let found = text.match_indices('@').filter_map(|(at, _)| {
        let start = text[..at].rfind(ends_word).map_or(0, |found| {
            found + text[found..].chars().next().map_or(1, char::len_utf8)
        });
        let word = &text[start..at];
        let start = word
            .find("://")
            .map_or(start, |scheme| start + scheme + "://".len());
        (word.contains(':') && start < at).then_some(start..at)
    });
    found.collect()
}

/// Values of a URL's parameters that are named like secrets.
fn parameters(text: &str) -> Vec<Range<usize>> {
    let found = text.match_indices(['?', '&']).filter_map(|(at, _)| {
        let rest = &text[at + 1..];
        let ends = |character: char| character.is_whitespace() || "&#\"'`".contains(character);
        let parameter = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let (name, value) = parameter.split_once('=')?;
        let start = at + 1 + name.len() + 1;
        (names_a_secret(name) || name == "hapikey").then(|| start..start + value.len())
    });
    found.collect()
}

/// A run of letters and digits of this length may be a secret.
const LEAST_SUSPECT: usize = 16;

/// Letters of a word that are mixed with digits as nobody writes them.
const LEAST_MIXED: usize = 8;

/// A run without any mark in it that is longer than words are.
const LONG_RUN: usize = 32;

/// Words that no person made up: UUIDs, and base64 or hexadecimal digits.
fn random_words(text: &str) -> Vec<Range<usize>> {
    let is_word =
        |character: char| character.is_ascii_alphanumeric() || "-_+/=.~".contains(character);
    let words = text.split(|character| !is_word(character));
    let found = words.filter(|word| looks_random(word)).map(|word| {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        start..start + word.len()
    });
    found.collect()
}

/// Whether a word is made of parts in which letters and digits are mixed. A property's name of HubSpot's own is none: some hold
/// a stage's id.
fn looks_random(word: &str) -> bool {
    let is_long = word.len() >= LEAST_SUSPECT && !word.starts_with("hs_");
    // A path has a part for each folder, each a word of its own.
    is_long
        && word.split('/').any(|segment| {
            let parts = || segment.split(|character: char| !character.is_ascii_alphanumeric());
            let mixed: usize = parts().filter(|part| is_mixed(part)).map(str::len).sum();
            (segment.len() >= LEAST_SUSPECT && mixed >= LEAST_MIXED) || parts().any(is_long_run)
        })
}

/// Whether letters and digits take turns in a part of a word: `v2` and `eu1` are names, `0f8f` is none.
fn is_mixed(part: &str) -> bool {
    let bytes = part.as_bytes();
    let turns = bytes
        .windows(2)
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
        .count();
    turns >= 2
}

fn is_long_run(part: &str) -> bool {
    let has = |is: fn(&u8) -> bool| part.bytes().any(|byte| is(&byte));
    part.len() >= LONG_RUN
        && ((has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase))
            || part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Values written behind a key that is a secret's, as far as they reach.
fn assignments(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut beside_secrets = false;
    let mut hidden_to = 0;
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            beside_secrets = names_of(line).any(names_a_secret_table);
        }
        for WrittenKey {
            path,
            name,
            at,
            value,
        } in keys_of(line, line_start)
        {
            if value < hidden_to {
                continue;
            }
            let value = value + blanks(&text[value..]);
            if names_a_place(name) {
                spans.extend(quoted_suspect(&text[value..]).map(|length| value..value + length));
                continue;
            }
            if is_below_a_secret(path) {
                // The secret was written as a key.
                spans.push(at..at + name.len());
            }
            let is_table = names_a_secret_table(name) && !text[value..].starts_with('{');
            let is_unknown =
                beside_secrets && !name.is_empty() && !keys::is_key_beside_secrets(name);
            if names_a_secret(name) || is_table || is_unknown {
                hidden_to = end_of_value(text, value);
                spans.extend(hidden(text, &(value..hidden_to)));
            }
        }
        line_start += line.len();
    }
    spans
}

/// A key as it is written in a line.
struct WrittenKey<'t> {
    /// With what stands before it.
    path: &'t str,
    /// Its last part.
    name: &'t str,
    /// Where that begins in the whole text.
    at: usize,
    /// Where its value begins there.
    value: usize,
}

/// The keys of a line: its first word, and whatever stands before a `=` or a `:`.
fn keys_of(line: &str, line_start: usize) -> Vec<WrittenKey<'_>> {
    let is_part = |letter: char| letter.is_alphanumeric() || "_-.\"'".contains(letter);
    let written = |from: usize, to: usize, value: usize| {
        let path = line[from..to].trim_matches(['"', '\'', '.']);
        let name = path.rsplit(['.', '"', '\'']).next().unwrap_or_default();
        WrittenKey {
            path,
            name,
            at: line_start + (name.as_ptr() as usize - line.as_ptr() as usize),
            value: line_start + value,
        }
    };
    let begin = line.len() - line.trim_start_matches([' ', '\t', '{']).len();
    let rest = &line[begin..];
    let end = begin + rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
    let is_alone = !line[end..].trim_start().starts_with(['=', ':']);
    let mut keys: Vec<WrittenKey<'_>> = (is_alone && end > begin)
        .then(|| written(begin, end, end))
        .into_iter()
        .collect();
    keys.extend(line.match_indices(['=', ':']).filter_map(|(at, mark)| {
        let before = line[..at].trim_end();
        let from = before
            .char_indices()
            .rev()
            .take_while(|(_, letter)| is_part(*letter))
            .last()
            .map_or(before.len(), |(from, _)| from);
        let written = written(from, before.len(), at + mark.len());
        let is_url = mark == ":" && line[at..].starts_with("://");
        // What is no `key: value` of another language is a time, an address or a path.
        let is_key = mark == "=" || names_a_secret(written.name);
        (is_key && !is_url).then_some(written)
    }));
    keys
}

fn names_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| !(letter.is_alphanumeric() || "_-".contains(letter)))
        .filter(|name| !name.is_empty())
}

/// Whether the last part of a dotted key stands below a secret's key.
fn is_below_a_secret(path: &str) -> bool {
    let parts: Vec<&str> = names_of(path).collect();
    parts
        .split_last()
        .is_some_and(|(_, above)| above.iter().any(|part| names_a_secret(part)))
}

/// Whether a line is the header of one of the file's own tables.
fn is_header(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('[')
        && line.ends_with(']')
        && names_of(line)
            .next()
            .is_some_and(|name| keys::ROOT.contains(&name))
}

/// Whether a line begins with a key or a table of the mapping file that holds no secret.
fn begins_a_statement(line: &str) -> bool {
    is_header(line)
        || line.split_once('=').is_some_and(|(key, _)| {
            let key = key.trim();
            keys::is_key(key) && !names_a_place(key) && !names_a_secret(key)
        })
}

/// Lines that a value is read on: it seldom has more than one.
const MOST_LINES: usize = 20;

/// Where a value ends: where TOML says so, else where the next statement of the file begins.
fn end_of_value(text: &str, value: usize) -> usize {
    for quotes in ["\"\"\"", "'''"] {
        if let Some(rest) = text[value..].strip_prefix(quotes) {
            let length = rest.find(quotes);
            return length.map_or(text.len(), |end| value + end + 2 * quotes.len());
        }
    }
    let mut at = value;
    for (number, line) in text[value..].split_inclusive('\n').enumerate() {
        if number > 0 && begins_a_statement(line) {
            return at;
        }
        at += line.len();
        if number < MOST_LINES && is_value(&text[value..at]) {
            return at + bare_lines(&text[at..]);
        }
    }
    text.len()
}

/// How much of a text is lines that have neither a key nor a table: what stands there belongs to the key above.
fn bare_lines(text: &str) -> usize {
    let mut at = 0;
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        let words = line.trim();
        at += line.len();
        if words.starts_with(['#', '[']) || words.contains('=') {
            break;
        }
        if !words.is_empty() {
            end = at;
        }
    }
    end
}

fn is_value(text: &str) -> bool {
    !text.trim().is_empty() && DeTable::parse(&format!("x = {text}")).is_ok()
}

/// What is hidden of a secret's value: all but brackets and the names of places.
fn hidden(text: &str, part: &Range<usize>) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut at = part.start;
    while let Some(letter) = text[at..part.end].chars().next() {
        if let Some(end) = place_at(text, at, part.end) {
            at = end;
            continue;
        }
        let next = at + letter.len_utf8();
        if !letter.is_whitespace() && !"{}[],".contains(letter) {
            match spans.last_mut() {
                Some(last) if last.end == at => last.end = next,
                Some(_) | None => spans.push(at..next),
            }
        }
        at = next;
    }
    spans
}

/// Where `env = "NAME"` ends that begins here; without the name where that is none.
fn place_at(text: &str, at: usize, end: usize) -> Option<usize> {
    let is_inside = text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    let rest = &text[at..end];
    let place = keys::SECRET
        .iter()
        .find(|place| !is_inside && rest.starts_with(**place))?;
    let after = rest[place.len()..].trim_start_matches([' ', '\t']);
    let value = after.strip_prefix('=')?.trim_start_matches([' ', '\t']);
    let value_at = end - value.len();
    let Some(quote) = value.chars().next().filter(|first| "\"'".contains(*first)) else {
        return Some(value_at);
    };
    let length = value[1..].find(quote).unwrap_or(0);
    let name = &value[1..=length];
    let may_be = |letter: char| match *place {
        "env" => letter.is_ascii_alphanumeric() || letter == '_',
        _ => letter.is_alphanumeric() || "_-./~@+ ".contains(letter),
    };
    let is_name = !name.is_empty() && name.chars().all(may_be) && quoted_suspect(value).is_none();
    Some(value_at + if is_name { length + 2 } else { 0 })
}

/// Whether a key's value names where a secret lies: the secret itself is written there by mistake.
fn names_a_place(key: &str) -> bool {
    keys::SECRET.contains(&key)
}

/// The length of a quoted text, where it looks like a secret and not like the name of a place.
fn quoted_suspect(value: &str) -> Option<usize> {
    let quote = value
        .chars()
        .next()
        .filter(|first| "\"'".contains(*first))?;
    let inner = &value[1..];
    let end = inner.find([quote, '\n'])?;
    let text = &inner[..end];
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let is_suspect = text.len() >= LEAST_SUSPECT
        && digits >= 3
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains('/');
    is_suspect.then_some(end + 2)
}

/// What may be a secret in lines that are no TOML, where keys and values can't be told apart.
pub(crate) fn suspects(text: &str, part: &Range<usize>) -> Vec<Range<usize>> {
    let is_token = |character: char| character.is_alphanumeric() || "-_+/.".contains(character);
    let mut spans = Vec::new();
    let mut after_telling = false;
    let mut is_first = true;
    let header = text[..part.start]
        .lines()
        .rev()
        .find(|line| line.trim_start().starts_with('['));
    let beside_secrets = header.is_some_and(|header| names_of(header).any(names_a_secret_table));
    for word in text[part.clone()].split(|character| !is_token(character)) {
        if word.is_empty() {
            continue;
        }
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
        let is_long = word.len() >= LEAST_SUSPECT && has_digit;
        if is_long || after_telling {
            spans.push(start..start + word.len());
        }
        let is_unknown = is_first && beside_secrets && !keys::is_key_beside_secrets(word);
        let last = word.rsplit('.').next().unwrap_or(word);
        after_telling |= is_unknown || names_a_secret(last) || names_a_secret_table(last);
        is_first = false;
    }
    spans
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::source::FileSource;

    fn masked(text: &str) -> String {
        FileSource::new(Path::new("x.toml"), text.to_owned()).masked(&[])
    }

    #[test]
    fn a_secret_is_hidden_also_where_the_text_is_no_toml() {
        for (text, expected) in [
            ("access_token = hush\nid = 1", "access_token = ****\nid = 1"),
            (
                "a = { client_secret = \"hush\" }",
                "a = { client_secret = ****** }",
            ),
            ("x pat-na1-00000000 y", "x **************** y"),
            ("u = \"https://me:pw@host/\"", "u = \"https://*****@host/\""),
            (
                "u = \"https://me:p/w@host/\"",
                "u = \"https://******@host/\"",
            ),
            ("u = \"me:pw@host\"", "u = \"*****@host\""),
            (
                "u = \"https://a/b?token=pw&c=1\"",
                "u = \"https://a/b?token=*******",
            ),
            (
                "token = \"\"\"\nhush\n\"\"\"\nb = 1",
                "token = ***\n****\n***\nb = 1",
            ),
            ("token =\n  \"hush\"\nid = 1", "token =\n  ******\nid = 1"),
            ("token = \"hu\nsh\"\nid = 1", "token = ***\n***\nid = 1"),
            (
                "token = \"x\"\n\n\"hush\"\nid = 1",
                "token = ***\n\n******\nid = 1",
            ),
            ("token = \"\nid = \"1\"", "token = *\nid = \"1\""),
            ("token\n= \"hush\"\nid = 1", "token\n* ******\nid = 1"),
            ("token => \"hush\"\nid = 1", "token =* ******\nid = 1"),
            ("token [\n\"hush\"\n]\nid = 1", "token [\n******\n]\nid = 1"),
            (
                "token = [\n  { env = \"A\" },\n  \"hush\",\n]\nid = 1",
                "token = [\n  { env = \"A\" },\n  ******,\n]\nid = 1",
            ),
            (
                "token = {\n env = \"A\",\n x = \"hush\"\nid = 1",
                "token = {\n env = \"A\",\n * * ******\nid = 1",
            ),
            ("token = { env = hush }", "token = { env = **** }"),
            (
                "token =\n\n\"hush\"\n[portal]\nid = 1",
                "token =\n\n******\n[portal]\nid = 1",
            ),
            (
                "access_token = { env = \"NAME\" }",
                "access_token = { env = \"NAME\" }",
            ),
            (
                "access_token = { value = \"hush\" }",
                "access_token = { ***** * ****** }",
            ),
            (
                "[oauth]\nx = { env = \"9f86d081884c7d65\" }",
                "[oauth]\nx = { env = ****************** }",
            ),
            (
                "x = { file = \"/run/secrets/hubspot2026key1\" }",
                "x = { file = \"/run/secrets/hubspot2026key1\" }",
            ),
            (
                "token_path = \"/oauth/v1/token\"",
                "token_path = \"/oauth/v1/token\"",
            ),
            ("[auth]\npath = hush", "[auth]\npath = hush"),
            ("[auth]\nacc = hush", "[auth]\nacc = ****"),
            ("[portal]\nacc = hush", "[portal]\nacc = hush"),
            ("auth = \"hush\"", "auth = ******"),
            ("'oken = \"hush\"", "'oken = ******"),
            ("access_token.hush = 1", "access_token.**** = 1"),
            ("tier = \"free\"", "tier = \"free\""),
            ("# token of ours\nb = 1", "# token of ours\nb = 1"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn where_the_text_is_no_toml_whatever_may_be_a_secret_is_hidden() {
        let source = FileSource::new(
            Path::new("x.toml"),
            "access_token \"hush\"\nid = 1\nx 0f8fad5b-d9cb-469f y\n".to_owned(),
        );
        let first = suspects(&source.text, &(0..19));
        let second = suspects(&source.text, &(27..49));
        assert_eq!(
            source.masked(&[first, second].concat()),
            "access_token ******\nid = 1\nx ****************** y\n"
        );
    }

    #[test]
    fn a_message_never_repeats_a_token() {
        for (text, expected) in [
            ("`pat-eu1-12345678` is no host", "`***` is no host"),
            ("`pat_eu1_12345678` is no host", "`***` is no host"),
            ("`http://a:b@c/` has a user", "`http://***@c/` has a user"),
            ("`a:b@c` has a user", "`***@c` has a user"),
            (
                "`0f8fad5b-d9cb-469f-a165-70867728950e` is no level",
                "`***` is no level",
            ),
            (
                "`bjVoZUp6Q2x4cVdmM1RrYTlQeDdSdEx2QnNZb0UyR2k=` is no level",
                "`***` is no level",
            ),
            ("`?hapikey=x` is no path", "`?hapikey=***` is no path"),
            ("a path-like word", "a path-like word"),
        ] {
            assert_eq!(redact(text), expected, "{text}");
        }
    }

    #[test]
    fn what_people_and_hubspot_call_things_is_no_secret() {
        for name in [
            "HUBSPOT_ACCESS_TOKEN_2026_PRODUCTION_EU1",
            "MyHubSpotAccessTokenEurope2",
            "hs_v2_date_entered_4f1a2b3c_77de_4b0e_9d2a_1b2c3d4e5f60",
            "recent_deal_2026q4_amount_v2",
            "crm.objects.contacts.read",
            "/var/lib/hubsyncd/portal12345678-eu1.db",
            "2026-11-24T00:00:00.000Z",
            "https://sync.example.com/webhooks/hubspot",
        ] {
            assert_eq!(redact(name), name);
        }
    }

    #[test]
    fn a_slip_of_the_pen_does_not_make_a_secret_public() {
        for key in [
            "acess_token",
            "accesstokn",
            "acces_tokn",
            "Access-Token",
            "oken",
            "tokne",
            "clientsecert",
            "client_secrt",
            "develper_key",
            "tokenkey",
            "secert",
            "passwrd",
        ] {
            assert!(names_a_secret(key), "{key}");
        }
        for key in [
            "tier",
            "table",
            "token_path",
            "scopes",
            "key",
            "path",
            "select",
            "street",
            "email",
        ] {
            assert!(!names_a_secret(key), "{key}");
        }
    }
}
