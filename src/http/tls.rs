//! TLS of a listener: the certificate's files, read again when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// Why a certificate can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("`{}` holds no {what} as PEM", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate file is empty of certificates.
    #[error("`{}` holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key don't belong together, or are of a kind that TLS doesn't take.
    #[error("the certificate can't be used")]
    Refused(#[from] rustls::Error),
}

/// What the files held when they were last read well.
struct Loaded {
    files: (Vec<u8>, Vec<u8>),
    config: Arc<ServerConfig>,
}

/// What the files hold by now, read well and not in use yet.
pub(crate) struct NewCertificate(Loaded);

/// A certificate and its key.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// A file can't be read or used.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = read(cert, key)?;
        let config = Arc::new(understand(cert, key, &files)?);
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            loaded: Mutex::new(Loaded { files, config }),
        })
    }

    /// What the files hold, where that is not what is in use.
    ///
    /// # Errors
    /// It can't be used.
    pub(crate) fn changed(&self) -> Result<Option<NewCertificate>, TlsError> {
        let files = read(&self.cert, &self.key)?;
        if self.loaded.lock().files == files {
            return Ok(None);
        }
        let config = Arc::new(understand(&self.cert, &self.key, &files)?);
        Ok(Some(NewCertificate(Loaded { files, config })))
    }

    /// New connections use another certificate; those that are open keep theirs.
    pub(crate) fn exchange(&self, new: NewCertificate) {
        *self.loaded.lock() = new.0;
    }

    /// What new connections use.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let loaded = self.loaded.lock();
        Arc::clone(&loaded.config)
    }
}

fn read(cert: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::Unreadable {
            path: path.to_owned(),
            source,
        })
    };
    Ok((read(cert)?, read(key)?))
}

fn understand(
    cert: &Path,
    key: &Path,
    files: &(Vec<u8>, Vec<u8>),
) -> Result<ServerConfig, TlsError> {
    let not_pem = |path: &Path, what, source| TlsError::NotPem {
        path: path.to_owned(),
        what,
        source,
    };
    let chain = CertificateDer::pem_slice_iter(&files.0)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| not_pem(cert, "certificate", source))?;
    if chain.is_empty() {
        return Err(TlsError::Empty {
            path: cert.to_owned(),
        });
    }
    let secret = PrivateKeyDer::from_pem_slice(&files.1)
        .map_err(|source| not_pem(key, "private key", source))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn paths(&self) -> (PathBuf, PathBuf) {
            (
                self.0.path().join("cert.pem"),
                self.0.path().join("key.pem"),
            )
        }

        fn put(&self, cert: &str, key: &str) {
            let (cert_path, key_path) = self.paths();
            std::fs::write(cert_path, cert).expect("written");
            std::fs::write(key_path, key).expect("written");
        }
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn changed_files_are_taken_and_broken_ones_are_not() {
        let folder = Folder::new();
        let (cert, key) = folder.paths();
        let (first, second) = (pair(), pair());
        folder.put(&first.0, &first.1);
        let tls = Tls::load(&cert, &key).expect("usable");
        let used = tls.config();
        assert!(tls.changed().expect("the same").is_none());
        folder.put(&second.0, &first.1);
        let mixed = tls.changed().err().expect("keys differ");
        assert!(mixed.to_string().contains("can't be used"), "{mixed}");
        folder.put(&second.0, &second.1);
        let new = tls.changed().expect("usable").expect("another");
        assert!(Arc::ptr_eq(&used, &tls.config()), "not in use yet");
        tls.exchange(new);
        assert!(!Arc::ptr_eq(&used, &tls.config()));
        assert!(tls.changed().expect("usable").is_none());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let folder = Folder::new();
        let (cert, key) = folder.paths();
        let missing = Tls::load(&cert, &key).expect_err("no file");
        assert!(missing.to_string().starts_with("can't read `"), "{missing}");
        let (good, secret) = pair();
        folder.put("", &secret);
        let empty = Tls::load(&cert, &key).expect_err("empty");
        assert!(
            empty.to_string().ends_with("holds no certificate"),
            "{empty}"
        );
        folder.put(&good, "hush");
        let no_key = Tls::load(&cert, &key).expect_err("no key");
        let explanation = format!("{no_key} {no_key:?}");
        assert!(
            explanation.contains("private key") && !explanation.contains("hush"),
            "{explanation}"
        );
    }
}
