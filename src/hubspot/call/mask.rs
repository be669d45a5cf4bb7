//! Own secrets in HubSpot's words: whoever answers may repeat what was sent, and words go to log, database and screen.

use bytes::Bytes;
use http::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::hubspot::call::transport::HttpResponse;
use crate::model::hex;

/// What stands in a secret's place.
const MASK: &str = "***";

/// As much of a refusal as is looked at.
const MAX_REFUSAL_BYTES: usize = 1024 * 1024;

/// A shorter text is no secret of anybody's, and would be found in every other word.
const SHORTEST: usize = 6;

/// Takes the secrets of a request out of an answer that may have errors in it, headers included: as they are, as in a URL
/// and as in JSON. Other answers are left alone.
pub(crate) fn mask(response: &mut HttpResponse, secrets: &[&str]) {
    // 207 is a batch that was carried out in part.
    if (200..300).contains(&response.status) && response.status != 207 {
        return;
    }
    if response.status != 207 {
        // More is no refusal that HubSpot wrote, and nobody reads it.
        response.body.truncate(MAX_REFUSAL_BYTES);
    }
    if let Some(plain) = without_escapes(&response.body, secrets) {
        response.body = plain;
    }
    for form in secrets.iter().flat_map(|secret| forms(secret)) {
        if let Some(masked) = without(&response.body, form.as_bytes()) {
            response.body = Bytes::from(masked);
        }
        for value in response.headers.values_mut() {
            if without(value.as_bytes(), form.as_bytes()).is_some() {
                *value = HeaderValue::from_static(MASK);
            }
        }
    }
}

/// JSON may write any letter as `\uXXXX`: a body that holds a secret so is written anew, in one pass.
fn without_escapes(body: &[u8], secrets: &[&str]) -> Option<Bytes> {
    let is_escape = |pair: &[u8]| pair == b"\\u";
    if !body.windows(2).any(is_escape) {
        return None;
    }
    let plain = plainly(body);
    let mut forms = secrets.iter().flat_map(|secret| forms(secret));
    forms
        .any(|form| without(&plain, form.as_bytes()).is_some())
        .then(|| Bytes::from(plain))
}

/// The body with each letter of ASCII as itself, as far as JSON allows it.
fn plainly(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(body.len());
    let mut rest = body;
    while let [first, tail @ ..] = rest {
        let letter = ascii_escape(rest);
        rest = match (letter, first) {
            (Some(letter), _) => {
                if matches!(letter, b'"' | b'\\') {
                    plain.push(b'\\');
                }
                plain.push(letter);
                &rest[6..]
            }
            // Whatever is escaped is no beginning of an escape.
            (None, b'\\') if !tail.is_empty() => {
                plain.extend_from_slice(&rest[..2]);
                &rest[2..]
            }
            (None, _) => {
                plain.push(*first);
                tail
            }
        };
    }
    plain
}

/// The printable letter whose escape stands at the beginning.
fn ascii_escape(rest: &[u8]) -> Option<u8> {
    let digits = rest.strip_prefix(b"\\u00")?.get(..2)?;
    let [letter] = hex::decode(std::str::from_utf8(digits).ok()?)?[..] else {
        return None;
    };
    (b' '..=b'~').contains(&letter).then_some(letter)
}

/// How a secret may be written.
fn forms(secret: &str) -> Vec<String> {
    let secret = secret.trim();
    if secret.len() < SHORTEST {
        return Vec::new();
    }
    let everything = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let in_a_form = ["%2D", "%5F", "%2E", "%7E"]
        .iter()
        .zip(["-", "_", ".", "~"])
        .fold(everything.clone(), |text, (from, to)| {
            text.replace(from, to)
        });
    let json = serde_json::Value::from(secret).to_string();
    let json = json.trim_matches('"').to_owned();
    let slashes = json.replace('/', "\\/");
    let mut forms = vec![secret.to_owned(), json, slashes];
    for encoded in [everything, in_a_form] {
        forms.push(lower_hex(&encoded));
        forms.push(encoded);
    }
    forms.sort();
    forms.dedup();
    // The longest first: a part of it may be another form.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms
}

/// `%2F` as `%2f`.
fn lower_hex(encoded: &str) -> String {
    let mut left = 0;
    let lower = |letter: char| {
        let is_hex = left > 0;
        left = if letter == '%' { 2 } else { left.max(1) - 1 };
        if is_hex {
            letter.to_ascii_lowercase()
        } else {
            letter
        }
    };
    encoded.chars().map(lower).collect()
}

/// The text with the mask for each occurrence; `None` where there is none.
fn without(text: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    let mut rest = text;
    while let Some(place) = rest
        .windows(secret.len())
        .position(|window| window == secret)
    {
        let masked: &mut Vec<u8> = found.get_or_insert_default();
        masked.extend_from_slice(&rest[..place]);
        masked.extend_from_slice(MASK.as_bytes());
        rest = &rest[place + secret.len()..];
    }
    if let Some(masked) = &mut found {
        masked.extend_from_slice(rest);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_masked_in_refusals_and_batches() {
        const SECRET: &str = "na1-a_b/c\"d+e";
        let forms = [
            SECRET,
            "na1-a_b/c\\\"d+e",
            "na1-a_b\\/c\\\"d+e",
            "na1%2Da%5Fb%2Fc%22d%2Be",
            "na1-a_b%2Fc%22d%2Be",
            "na1-a_b%2fc%22d%2be",
        ];
        for status in [207, 400, 401, 500] {
            for form in forms {
                let mut response = HttpResponse {
                    status,
                    headers: http::HeaderMap::new(),
                    body: Bytes::from(format!("token {form} and {form}!")),
                };
                if let Ok(value) = HeaderValue::from_str(&format!("x{form}")) {
                    response.headers.insert("x-trace", value);
                }
                mask(&mut response, &[SECRET, "", "a"]);
                assert_eq!(response.body, "token *** and ***!", "{form}");
                assert_eq!(response.headers["x-trace"], "***", "{form}");
            }
        }
        let mut escaped = HttpResponse {
            status: 400,
            headers: http::HeaderMap::new(),
            body: Bytes::from(r#"{"message":"na1-a_b\u002fc\u0022d\u002be is dead"}"#),
        };
        mask(&mut escaped, &[SECRET]);
        assert_eq!(escaped.body, r#"{"message":"*** is dead"}"#);
        let mut flood = HttpResponse {
            status: 500,
            headers: http::HeaderMap::new(),
            body: Bytes::from(vec![b'x'; 2 * MAX_REFUSAL_BYTES]),
        };
        mask(&mut flood, &[SECRET]);
        assert_eq!(flood.body.len(), MAX_REFUSAL_BYTES);
        let mut success = HttpResponse {
            status: 200,
            headers: http::HeaderMap::new(),
            body: Bytes::from(SECRET),
        };
        mask(&mut success, &[SECRET]);
        assert_eq!(success.body, SECRET);
    }
}
