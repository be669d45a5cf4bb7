//! Sealed texts: ChaCha20-Poly1305 under a key that is not in the file, bound to what they are.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroize};
use thiserror::Error;

use crate::model::hex;

/// The form of what is sealed, for keys and ciphers to come.
const VERSION: &str = "v1.";

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Why nothing was sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// The key is not 32 bytes as base64 or hexadecimal.
    #[error("the token key is not 32 random bytes as base64 or hexadecimal")]
    NotAKey,
    /// Sealed under another key, for another place, or damaged.
    #[error("the token key does not open what is stored: it is another key than at the last login")]
    OtherKey,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// A key.
pub struct Sealer {
    key: LessSafeKey,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sealer")
    }
}

impl Sealer {
    /// Takes 32 bytes as base64 (44 letters, or 43 without `=`) or hexadecimal (64 letters).
    ///
    /// # Errors
    /// [`SealError::NotAKey`].
    pub fn new(key: &SecretString) -> Result<Self, SealError> {
        let mut bytes = decode(key.expose_secret().trim()).ok_or(SealError::NotAKey)?;
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &bytes);
        bytes.zeroize();
        let key = LessSafeKey::new(unbound.map_err(|_of_another_length| SealError::NotAKey)?);
        Ok(Self { key })
    }

    /// Seals a text for a place, such as `portal 7 refresh`.
    ///
    /// # Errors
    /// [`SealError::NoRandom`].
    pub(crate) fn seal(&self, text: &SecretString, place: &str) -> Result<String, SealError> {
        let mut nonce = [0_u8; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_says_nothing| SealError::NoRandom)?;
        let mut sealed = text.expose_secret().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut sealed,
            )
            .map_err(|_says_nothing| SealError::NoRandom)?;
        Ok(format!(
            "{VERSION}{}",
            URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
        ))
    }

    /// Opens what was sealed for a place.
    ///
    /// # Errors
    /// [`SealError::OtherKey`].
    pub fn open(&self, sealed: &str, place: &str) -> Result<SecretString, SealError> {
        let bytes = sealed
            .strip_prefix(VERSION)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .ok_or(SealError::OtherKey)?;
        let (nonce, rest) = bytes
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::OtherKey)?;
        let mut rest = rest.to_vec();
        let opened = self.key.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(place.as_bytes()),
            &mut rest,
        );
        let text = opened
            .ok()
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .map(SecretString::from);
        rest.zeroize();
        text.ok_or(SealError::OtherKey)
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let hexadecimal = (text.len() == 2 * KEY_BYTES)
        .then(|| hex::decode(text))
        .flatten();
    let padded = || STANDARD.decode(text).ok();
    let bare = || URL_SAFE_NO_PAD.decode(text).ok();
    hexadecimal
        .or_else(padded)
        .or_else(bare)
        .filter(|bytes| bytes.len() == KEY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(key: &str) -> Sealer {
        Sealer::new(&SecretString::from(key)).expect("a key")
    }

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_place_alone() {
        let (own, text) = (sealer(KEY), SecretString::from("hush"));
        let sealed = own.seal(&text, "portal 7 refresh").expect("sealed");
        assert!(!sealed.contains("hush"));
        assert_ne!(
            sealed,
            own.seal(&text, "portal 7 refresh").expect("another nonce")
        );
        let opened = own.open(&sealed, "portal 7 refresh").expect("opened");
        assert_eq!(opened.expose_secret(), "hush");
        let other = sealer(&"ab".repeat(32));
        let damaged = sealed.replace(
            &sealed[20..21],
            if &sealed[20..21] == "A" { "B" } else { "A" },
        );
        for opened in [
            other.open(&sealed, "portal 7 refresh"),
            own.open(&sealed, "portal 8 refresh"),
            own.open(&sealed, "portal 7 access"),
            own.open(&damaged, "portal 7 refresh"),
            own.open("v1.", "portal 7 refresh"),
            own.open("hush", "portal 7 refresh"),
        ] {
            assert_eq!(opened.map(|_| ()), Err(SealError::OtherKey));
        }
    }

    #[test]
    fn a_key_has_32_bytes_in_one_of_two_spellings() {
        let hexadecimal = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let sealed = sealer(KEY)
            .seal(&SecretString::from("hush"), "x")
            .expect("sealed");
        assert!(sealer(hexadecimal).open(&sealed, "x").is_ok());
        assert!(sealer(KEY.trim_end_matches('=')).open(&sealed, "x").is_ok());
        for wrong in ["", "hush", "AAEC", &"g".repeat(64), &KEY[4..]] {
            let key = SecretString::from(wrong);
            assert_eq!(
                Sealer::new(&key).map(|_| ()),
                Err(SealError::NotAKey),
                "{wrong}"
            );
        }
    }
}
