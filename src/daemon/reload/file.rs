//! The mapping file and the secrets that it names, as they are in force or are to be: what of another file needs a restart stays
//! as it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::changes::{SettingChange, changes};
use crate::config::{
    Auth, ClientId, Config, ConfigError, SecretSource, Setting, SettingOrigin, TlsFiles, load_shown,
};
use crate::decide::quota::LimitSettings;

/// A file, and what its secrets were when it was read.
#[derive(Clone)]
pub(super) struct FileRead {
    pub(super) config: Config,
    settings: Vec<Setting>,
    secrets: Secrets,
}

/// The secrets that the daemon goes by, each with its place.
#[derive(Clone, Default)]
struct Secrets(Vec<(SecretSource, SecretString)>);

impl Secrets {
    /// Reads those of a file. systemd hands its credentials over at the start: one that is known stays.
    fn read(config: &Config, former: &Self) -> Result<Self, ConfigError> {
        let mut secrets = Vec::new();
        for place in places(config) {
            let known = former.of(place);
            let known = known.filter(|_| matches!(place, SecretSource::Credential(_)));
            let secret = match known {
                Some(secret) => secret.clone(),
                None => place.resolve_again()?,
            };
            secrets.push((place.clone(), secret));
        }
        Ok(Self(secrets))
    }

    fn of(&self, place: &SecretSource) -> Option<&SecretString> {
        let found = self.0.iter().find(|(own, _)| own == place);
        found.map(|(_, secret)| secret)
    }

    /// Whether a place holds the same in both.
    fn agrees(&self, other: &Self, place: &SecretSource) -> bool {
        let exposed = |secrets: &Self| secrets.of(place).map(|own| own.expose_secret().to_owned());
        exposed(self) == exposed(other)
    }
}

/// Where the secrets lie that the daemon itself uses.
fn places(config: &Config) -> Vec<&SecretSource> {
    let webhooks = config.webhooks.iter();
    let webhooks = webhooks.flat_map(|webhooks| &webhooks.client_secrets);
    let http = config.http.iter().filter_map(|http| http.token.as_ref());
    places_of(&config.auth)
        .into_iter()
        .chain(webhooks)
        .chain(http)
        .collect()
}

fn places_of(auth: &Auth) -> Vec<&SecretSource> {
    match auth {
        Auth::Token(place) => vec![place],
        Auth::OAuth(oauth) => {
            let id = match &oauth.client_id {
                ClientId::Kept(place) => Some(place),
                ClientId::Written(_) => None,
            };
            let mut places = vec![&oauth.client_secret, &oauth.token_key];
            places.extend(id);
            places
        }
    }
}

/// A part of the file that is exchanged for what is in force. The mapping and the token have their own way: they wait for HubSpot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FilePart {
    /// `[limits]`.
    Limits,
    /// `[log]`.
    Log,
    /// `[guard]`.
    Guard,
    /// `[webhooks]`, or a secret of it.
    Webhooks,
    /// `[auth.oauth]`, or a secret of it.
    Login,
}

impl FileRead {
    /// A file that was checked already, with the secrets of this moment. What can't be read is no secret yet.
    pub(super) fn at_start(config: &Config, settings: Vec<Setting>) -> Self {
        let secrets = Secrets::read(config, &Secrets::default()).unwrap_or_default();
        Self {
            config: config.clone(),
            settings,
            secrets,
        }
    }

    /// Reads file and secrets again.
    ///
    /// # Errors
    /// The file has mistakes or can't be read, or a secret can't.
    pub(super) fn again(&self, path: &Path) -> Result<Self, ConfigError> {
        let (config, settings) = load_shown(path)?;
        let secrets = Secrets::read(&config, &self.secrets)?;
        Ok(Self {
            config,
            settings,
            secrets,
        })
    }

    /// This file as it can be in force after `former` without a restart, and what it says otherwise than that one, a line each.
    pub(super) fn after(mut self, former: &Self) -> (Self, Vec<SettingChange>) {
        let Config { portal, auth, .. } = &former.config;
        let is_same_kind =
            std::mem::discriminant(auth) == std::mem::discriminant(&self.config.auth);
        // What no line of the file says of the limits, tier and kind of token say.
        let limits_wait = !is_same_kind || portal.tier != self.config.portal.tier;
        let written = self.settings.iter();
        let written = written.filter(|own| matches!(own.origin, SettingOrigin::File { .. }));
        let written: BTreeSet<String> = written.map(|own| own.path.clone()).collect();
        let needs_restart = |key: &str| {
            let section = key.split('.').next().unwrap_or(key);
            match section {
                "portal" | "database" => true,
                "auth" => !is_same_kind && key != "auth.sees",
                "limits" => limits_wait && !written.contains(key),
                _ => false,
            }
        };
        let mut changes = changes(&former.settings, &self.settings);
        for change in &mut changes {
            if needs_restart(&change.key) {
                change.line.push_str("; this needs a restart");
            }
        }
        self.settings.retain(|own| !needs_restart(&own.path));
        let kept = former.settings.iter();
        self.settings
            .extend(kept.filter(|own| needs_restart(&own.path)).cloned());
        self.config.portal.clone_from(portal);
        self.config.database.clone_from(&former.config.database);
        self.config.checkpoint = former.config.checkpoint;
        if limits_wait {
            let own = self.config.limits;
            self.config.limits = limits_after(former.config.limits, own, &written);
        }
        if !is_same_kind {
            self.config.auth.clone_from(auth);
            for place in places_of(auth) {
                let secret = former.secrets.of(place).cloned();
                self.secrets
                    .0
                    .extend(secret.map(|own| (place.clone(), own)));
            }
        }
        (self, changes)
    }

    /// What is to be exchanged after `former`.
    pub(super) fn differs(&self, former: &Self) -> BTreeSet<FilePart> {
        let (own, other) = (&self.config, &former.config);
        let secrets = |places: Vec<&SecretSource>| {
            let mut places = places.into_iter();
            places.any(|place| !self.secrets.agrees(&former.secrets, place))
        };
        let of_webhooks = own.webhooks.iter();
        let of_webhooks = of_webhooks.flat_map(|own| &own.client_secrets).collect();
        let is_oauth = matches!(own.auth, Auth::OAuth(_));
        let differs = [
            (FilePart::Limits, own.limits != other.limits),
            (FilePart::Log, own.log != other.log),
            (FilePart::Guard, own.guard != other.guard),
            (
                FilePart::Webhooks,
                own.webhooks != other.webhooks || secrets(of_webhooks),
            ),
            (
                FilePart::Login,
                is_oauth && (own.auth != other.auth || secrets(places_of(&own.auth))),
            ),
        ];
        let differs = differs.into_iter();
        differs
            .filter_map(|(part, differs)| differs.then_some(part))
            .collect()
    }

    /// Whether anything is to be exchanged after `former`, the mapping and the token included.
    pub(super) fn is_as(&self, former: &Self) -> bool {
        let same = self.secrets.0.iter();
        let mut same = same.map(|(place, _)| self.secrets.agrees(&former.secrets, place));
        let Config { warnings, .. } = &self.config;
        let other = Config {
            warnings: warnings.clone(),
            ..former.config.clone()
        };
        self.config == other && same.all(|same| same)
    }

    /// The static token and where it stands; `None` for an OAuth app.
    pub(super) fn token(&self) -> Option<(&SecretString, String)> {
        match &self.config.auth {
            Auth::Token(place) => Some((self.secrets.of(place)?, place.in_short())),
            Auth::OAuth(_) => None,
        }
    }

    /// Whether a secret is a credential of systemd's, which changes at the next start alone.
    pub(super) fn has_credential(&self) -> bool {
        let mut places = places(&self.config).into_iter();
        places.any(|place| matches!(place, SecretSource::Credential(_)))
    }

    /// All files of which a change means something: the mapping file, secrets, a certificate and its key.
    pub(super) fn files(&self, path: &Path) -> Vec<PathBuf> {
        let mut files = vec![path.to_owned()];
        for place in places(&self.config) {
            if let SecretSource::File(file) = place {
                files.push(file.clone());
            }
        }
        let webhooks = self.config.webhooks.as_ref();
        if let Some(TlsFiles { cert, key }) = webhooks.and_then(|own| own.tls.as_ref()) {
            files.extend([cert.clone(), key.clone()]);
        }
        files
    }
}

/// The limits where tier or kind of token wait for a restart: those that are written are in force, the others stay as they were.
fn limits_after(
    former: LimitSettings,
    own: LimitSettings,
    written: &BTreeSet<String>,
) -> LimitSettings {
    let is_written = |name: &str| written.contains(&format!("limits.{name}"));
    let mut limits = former;
    if is_written("burst_per_10_seconds") {
        (limits.burst, limits.burst_is_fixed) = (own.burst, own.burst_is_fixed);
    }
    if is_written("per_second") {
        limits.per_second = own.per_second;
    }
    if is_written("search_per_second") {
        limits.search_per_second = own.search_per_second;
    }
    if is_written("associations_per_second") {
        limits.associations_per_second = own.associations_per_second;
    }
    if is_written("per_day") {
        (limits.per_day, limits.day_is_fixed) = (own.per_day, own.day_is_fixed);
    }
    if is_written("reserve_for_push") {
        limits.reserve_for_push = own.reserve_for_push;
    }
    limits
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file that is read, with whatever stands beside it.
    fn read(folder: &Path, text: &str) -> FileRead {
        let path = folder.join("config.toml");
        fs::write(folder.join("token"), "one").expect("written");
        fs::write(&path, format!("{text}\n[objects.contacts]\n")).expect("written");
        let (config, settings) = load_shown(&path).expect("a mapping file");
        FileRead::at_start(&config, settings)
    }

    fn told(before: &str, after: &str) -> (FileRead, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let (former, next) = (read(folder.path(), before), read(folder.path(), after));
        let (next, changes) = next.after(&former);
        (
            next,
            changes.into_iter().map(|change| change.line).collect(),
        )
    }

    const TOKEN: &str = "[auth]\naccess_token = { file = \"token\" }\n";

    #[test]
    fn a_login_in_place_of_a_token_waits_for_a_restart_with_the_limits_that_go_with_it() {
        let login = "[auth.oauth]\nclient_id = \"id\"\nclient_secret = { file = \"token\" }\ntoken_key = { file = \"token\" }\n[guard]\nmax_archives = 7\n";
        let (next, lines) = told(TOKEN, login);
        assert!(matches!(next.config.auth, Auth::Token(_)));
        assert_eq!(next.config.limits.burst, 100);
        assert_eq!(next.config.guard.max_archives, 7);
        assert!(next.token().is_some(), "it is still known");
        for line in lines {
            let waits = line.ends_with("; this needs a restart");
            assert_eq!(waits, !line.starts_with("guard."), "{line}");
        }
    }

    #[test]
    fn a_limit_that_is_written_waits_for_no_restart_also_beside_another_tier() {
        let other = format!("{TOKEN}[portal]\ntier = \"enterprise\"\n[limits]\nper_day = 1000\n");
        let (next, lines) = told(TOKEN, &other);
        assert_eq!(next.config.limits.per_day, Some(1_000));
        assert_eq!(next.config.limits.burst, 100);
        let of_day = lines.iter().find(|line| line.starts_with("limits.per_day"));
        let of_day = of_day.expect("it is told");
        assert!(!of_day.contains("needs a restart"), "{of_day}");
        let waits = |key: &str| {
            let mut others = lines.iter().filter(|line| line.starts_with(key));
            others.all(|line| line.ends_with("; this needs a restart"))
        };
        assert!(waits("portal.") && waits("limits.burst"), "{lines:?}");
    }

    #[test]
    fn what_waits_for_a_restart_is_told_again_with_the_next_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let texts = [
            TOKEN.to_owned(),
            format!("{TOKEN}[database]\npath = \"other.db\"\n"),
            format!("{TOKEN}[database]\npath = \"third.db\"\n"),
            TOKEN.to_owned(),
        ];
        let mut former = read(folder.path(), &texts[0]);
        let mut told = Vec::new();
        for text in &texts[1..] {
            let (next, changes) = read(folder.path(), text).after(&former);
            assert!(next.config.database.ends_with("crm.db"));
            told.push(changes.len());
            former = next;
        }
        assert_eq!(told, [1, 1, 0], "the last is what is in force");
    }

    #[test]
    fn a_secret_of_another_text_is_another_secret_and_says_nothing_of_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let former = read(folder.path(), TOKEN);
        fs::write(folder.path().join("token"), "two").expect("written");
        let next = former.again(&folder.path().join("config.toml"));
        let (next, changes) = next.expect("is read").after(&former);
        assert!(changes.is_empty() && !next.is_as(&former));
        assert!(next.differs(&former).is_empty());
        let (token, place) = next.token().expect("a token");
        assert_eq!(token.expose_secret(), "two");
        assert!(place.starts_with("the file `"), "{place}");
        assert_eq!(next.files(Path::new("c")).len(), 2);
    }
}
