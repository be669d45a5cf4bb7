//! Secrets and the portal's id by reference: where they lie, and reading them when they are needed.
//!
//! Errors name the variable or the file, never what is in it (promise 10).

use std::env;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::config::ConfigError;
use crate::model::id::PortalId;

/// The largest secret that is read; tokens have a few hundred bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// systemd's folder of `LoadCredential=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file that holds nothing else.
    File(PathBuf),
    /// A credential of systemd's `LoadCredential=`.
    Credential(String),
}

impl SecretSource {
    /// Reads the secret. A line's end behind it is taken off.
    ///
    /// # Errors
    /// It is not there, can't be read, is empty, or can't be sent in a header.
    pub fn resolve(&self) -> Result<SecretString, ConfigError> {
        let secret = self.resolve_again()?;
        if let Self::File(path) = self
            && is_open_to_others(path)
        {
            tracing::warn!(path = %path.display(), code = "open-secret-file", "others than its owner may read the secret's file; `chmod 600` it");
        }
        Ok(secret)
    }

    /// The same, where a file that others may read was told of before.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub(crate) fn resolve_again(&self) -> Result<SecretString, ConfigError> {
        self.resolve_with(&|name| env::var_os(name))
    }

    /// Looks whether the secret is there for whoever runs this.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub(crate) fn look(&self) -> Result<(), ConfigError> {
        self.resolve_again().map(drop)
    }

    /// The place as the mapping file writes it; never the secret.
    pub(crate) fn to_toml(&self) -> String {
        match self {
            Self::Env(name) => format!("{{ env = {name:?} }}"),
            Self::File(file) => format!("{{ file = {:?} }}", file.to_string_lossy()),
            Self::Credential(name) => format!("{{ credential = {name:?} }}"),
        }
    }

    /// The place in as few words as a sentence needs.
    pub(crate) fn in_short(&self) -> String {
        match self {
            Self::Env(name) => format!("`{name}`"),
            Self::File(_) | Self::Credential(_) => self.to_string(),
        }
    }

    fn resolve_with(
        &self,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<SecretString, ConfigError> {
        let text = match self {
            Self::Env(name) => read_variable(name, variable)?,
            Self::File(path) => self.read_file(path)?,
            Self::Credential(name) => {
                let folder = variable(CREDENTIALS_DIRECTORY)
                    .ok_or_else(|| ConfigError::NoCredentials { name: name.clone() })?;
                self.read_file(&Path::new(&folder).join(name))?
            }
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.trim().is_empty() {
            return Err(ConfigError::SecretEmpty {
                place: self.to_string(),
            });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::SecretMalformed {
                place: self.to_string(),
            });
        }
        Ok(SecretString::from(text))
    }

    fn read_file(&self, path: &Path) -> Result<String, ConfigError> {
        let read = || -> io::Result<String> {
            let mut text = String::new();
            File::open(path)?
                .take(MAX_SECRET_BYTES)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        read().map_err(|source| ConfigError::SecretUnreadable {
            place: self.to_string(),
            path: path.to_owned(),
            source,
        })
    }
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(formatter, "the environment variable `{name}`"),
            Self::File(path) => write!(formatter, "the file `{}`", path.display()),
            Self::Credential(name) => write!(formatter, "the credential `{name}`"),
        }
    }
}

/// Whether the group or everybody may read a file. A file that can't be looked at is not open.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| mode(&metadata) & 0o044 != 0)
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions())
}

#[cfg(not(unix))]
fn mode(_metadata: &Metadata) -> u32 {
    0
}

fn read_variable(
    name: &str,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<String, ConfigError> {
    let value = variable(name).ok_or_else(|| ConfigError::EnvUnset {
        name: name.to_owned(),
    })?;
    let malformed = || ConfigError::SecretMalformed {
        place: SecretSource::Env(name.to_owned()).to_string(),
    };
    value.into_string().ok().ok_or_else(malformed)
}

/// The portal's id, or where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortalIdSource {
    /// In the file.
    Number(PortalId),
    /// An environment variable.
    Env(String),
}

impl PortalIdSource {
    /// The id.
    ///
    /// # Errors
    /// The variable is unset or holds no number.
    pub fn resolve(&self) -> Result<PortalId, ConfigError> {
        self.resolve_with(&|name| env::var_os(name))
    }

    fn resolve_with(
        &self,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<PortalId, ConfigError> {
        match self {
            Self::Number(id) => Ok(*id),
            Self::Env(name) => {
                let text = read_variable(name, variable)?;
                let id = text.parse::<PortalId>().ok().filter(|id| id.0 > 0);
                id.ok_or_else(|| ConfigError::NotAPortalId { name: name.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn resolve(source: &SecretSource, variables: &[(&str, &str)]) -> Result<String, ConfigError> {
        let variable = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| OsString::from(value))
        };
        source
            .resolve_with(&variable)
            .map(|secret| secret.expose_secret().to_owned())
    }

    fn refusal(source: &SecretSource, variables: &[(&str, &str)]) -> (String, String) {
        let error = resolve(source, variables).expect_err("refused");
        let shown = format!("{error:?} {error}");
        assert!(!shown.contains("hush"), "{shown}");
        (error.to_string(), error.hint().unwrap_or_default())
    }

    #[test]
    fn a_variable_is_read_without_its_line_end() {
        let source = SecretSource::Env("TOKEN".to_owned());
        assert_eq!(
            resolve(&source, &[("TOKEN", "hush\n")]).expect("set"),
            "hush"
        );
        assert_eq!(
            resolve(&source, &[("TOKEN", "hush\r\n")]).expect("set"),
            "hush"
        );
    }

    #[test]
    fn what_is_missing_is_named_with_a_remedy_and_never_shown() {
        let source = SecretSource::Env("TOKEN".to_owned());
        let (message, hint) = refusal(&source, &[]);
        assert_eq!(message, "the environment variable `TOKEN` is not set");
        assert_eq!(hint, "export TOKEN=… in the daemon's environment");
        assert_eq!(
            refusal(&source, &[("TOKEN", "\n")]).0,
            "the environment variable `TOKEN` is empty"
        );
        let (message, _) = refusal(&source, &[("TOKEN", "hush hush")]);
        assert_eq!(
            message,
            "the environment variable `TOKEN` holds something other than one line of printable letters"
        );
        let (message, hint) = refusal(&SecretSource::Credential("token".to_owned()), &[]);
        assert_eq!(
            message,
            "no credential `token`: `CREDENTIALS_DIRECTORY` is not set"
        );
        assert_eq!(hint, "add `LoadCredential=token:PATH` to the unit");
    }

    #[test]
    fn files_and_credentials_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "hush\n").expect("written");
        assert_eq!(
            resolve(&SecretSource::File(path.clone()), &[]).expect("file"),
            "hush"
        );
        let folder_name = folder.path().to_str().expect("text");
        let credential = SecretSource::Credential("token".to_owned());
        assert_eq!(
            resolve(&credential, &[(CREDENTIALS_DIRECTORY, folder_name)]).expect("credential"),
            "hush"
        );
        let (message, _) = refusal(&SecretSource::File(folder.path().join("none")), &[]);
        assert!(message.starts_with("can't read the file `"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "hush\n").expect("written");
        for (mode, open) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
            assert_eq!(is_open_to_others(&path), open, "{mode:o}");
        }
    }

    #[test]
    fn a_portal_id_may_come_from_the_environment() {
        let source = PortalIdSource::Env("PORTAL".to_owned());
        let from = |text: &'static str| source.resolve_with(&move |_| Some(OsString::from(text)));
        assert_eq!(from("12345").expect("number"), PortalId(12345));
        assert!(matches!(
            from("none"),
            Err(ConfigError::NotAPortalId { .. })
        ));
        assert!(matches!(from("0"), Err(ConfigError::NotAPortalId { .. })));
    }
}
