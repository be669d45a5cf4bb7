//! JSON that is almost JSON: its texts made readable, and nothing else about it changed.
//!
//! Half an emoji, bytes that are no UTF-8, a line's end inside a text and a number that no machine holds stand in a value
//! or two; the rest of the answer is as good as any. In one pass, whatever the length.

use std::borrow::Cow;

/// What stands for half of a pair.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// The body with U+FFFD for what is no text, escapes for control characters inside texts, and a text for each number that
/// is out of range. What is good is left as it is.
pub(in crate::hubspot) fn mend(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let bytes = text.as_bytes();
    let mut mended = Vec::with_capacity(bytes.len() + 64);
    let mut at = 0;
    let mut inside = false;
    while at < bytes.len() {
        let length = match bytes[at] {
            b'"' => {
                inside = !inside;
                copy(&mut mended, &bytes[at..=at])
            }
            b'\\' if inside => escape(&mut mended, &bytes[at..]),
            control @ 0..=0x1f if inside => {
                mended.extend_from_slice(format!("\\u{control:04x}").as_bytes());
                1
            }
            b'-' | b'0'..=b'9' if !inside => number(&mut mended, &bytes[at..]),
            _ => copy(&mut mended, &bytes[at..=at]),
        };
        at += length;
    }
    match String::from_utf8_lossy(&mended) {
        Cow::Borrowed(whole) => whole.to_owned(),
        Cow::Owned(replaced) => replaced,
    }
}

fn copy(mended: &mut Vec<u8>, bytes: &[u8]) -> usize {
    mended.extend_from_slice(bytes);
    bytes.len()
}

/// An escape inside a text; tells how many bytes of the body it was.
fn escape(mended: &mut Vec<u8>, rest: &[u8]) -> usize {
    let Some(unit) = unit(rest) else {
        return copy(mended, &rest[..rest.len().min(2)]);
    };
    let is_pair = (0xd800..0xdc00).contains(&unit)
        && self::unit(&rest[6..]).is_some_and(|low| (0xdc00..0xe000).contains(&low));
    if is_pair {
        return copy(mended, &rest[..12]);
    }
    if (0xd800..0xe000).contains(&unit) {
        mended.extend_from_slice(REPLACEMENT);
        return 6;
    }
    copy(mended, &rest[..6])
}

/// The UTF-16 unit of an escape that stands at the beginning.
fn unit(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A number; one that is out of range becomes a text of the same digits. Tells how many bytes it was.
fn number(mended: &mut Vec<u8>, rest: &[u8]) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let length = rest.iter().take_while(|byte| is_part(byte)).count();
    let digits = &rest[..length];
    let value = std::str::from_utf8(digits).map(str::parse::<f64>);
    let is_out_of_range = matches!(value, Ok(Ok(value)) if value.is_infinite());
    if is_out_of_range {
        mended.push(b'"');
    }
    mended.extend_from_slice(digits);
    if is_out_of_range {
        mended.push(b'"');
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(body: &[u8]) -> String {
        let value: serde_json::Value = serde_json::from_str(&mend(body)).expect("JSON");
        value["a"].as_str().expect("a text").to_owned()
    }

    #[test]
    fn what_is_no_text_becomes_a_replacement_character() {
        for (body, text) in [
            (&br#"{"a":"x \ud83d"}"#[..], "x \u{fffd}"),
            (br#"{"a":"\ude00 x"}"#, "\u{fffd} x"),
            (br#"{"a":"\ud83d\ud83d\ude00"}"#, "\u{fffd}\u{1f600}"),
            (br#"{"a":"\ud83d\n\\ud83d"}"#, "\u{fffd}\n\\ud83d"),
            (br#"{"a":"\uD83D\uDE00\u00e9"}"#, "\u{1f600}é"),
            (b"{\"a\":\"caf\xe9\"}", "caf\u{fffd}"),
            (b"{\"a\":\"one\ntwo\x00\"}", "one\ntwo\0"),
            (br#"{"a":1e400}"#, "1e400"),
            (br#"{"a":-1e999, "b":[1.5,-0]}"#, "-1e999"),
        ] {
            assert_eq!(text_of(body), text, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_is_good_stays_as_it_is() {
        for body in [
            r#"{"a":"é \ud83d\ude00 \u0000 \" \\","b":[1,-2.5e3,true,null,{}]}"#,
            "",
            "\\",
            "\"\\",
            "{\"a\":\"\\u12",
            "not JSON at all \\ud83d",
        ] {
            assert_eq!(mend(body.as_bytes()), body);
        }
    }
}
