//! `sync_tokens`: the OAuth installation, its tokens sealed. Login and logout write it beside a running daemon.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, named_params};
use secrecy::SecretString;

use crate::clock::Clock;
use crate::model::id::PortalId;
use crate::model::time::Timestamp;
use crate::store::migrate::NEWEST;
use crate::store::seal::{SealError, Sealer};
use crate::store::{Mode, OpenOptions, Store, StoreError, lease, meta, writer};

/// How long login waits for another program's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Both tokens as they are.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// For the next access token.
    pub refresh: SecretString,
    /// For requests.
    pub access: SecretString,
    /// When the access token was given.
    pub issued_at: Timestamp,
    /// When it dies.
    pub expires_at: Timestamp,
}

/// An installation, its tokens sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The portal.
    pub portal_id: PortalId,
    /// Grows with each login and renewal.
    pub generation: i64,
    refresh: String,
    access: String,
    /// When the access token was given.
    pub issued_at: Timestamp,
    /// When it dies.
    pub expires_at: Timestamp,
    /// What was granted, where HubSpot said it.
    pub scopes: Option<Vec<String>>,
    /// When somebody logged in.
    pub logged_in_at: Timestamp,
    /// HubSpot's words, once it refused the refresh token for good.
    pub problem: Option<String>,
}

impl Installation {
    /// Opens both tokens.
    ///
    /// # Errors
    /// [`SealError::OtherKey`].
    pub fn open(&self, sealer: &Sealer) -> Result<Tokens, SealError> {
        Ok(Tokens {
            refresh: sealer.open(&self.refresh, &place(self.portal_id, "refresh"))?,
            access: sealer.open(&self.access, &place(self.portal_id, "access"))?,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        })
    }
}

/// What a token is bound to.
fn place(portal: PortalId, which: &str) -> String {
    format!("hubsyncd portal {portal} {which} token")
}

/// Sealed tokens, ready to be written.
#[derive(Debug, Clone)]
pub struct Sealed {
    refresh: String,
    access: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// Seals both tokens for a portal.
///
/// # Errors
/// [`SealError::NoRandom`].
pub fn seal(sealer: &Sealer, portal: PortalId, tokens: &Tokens) -> Result<Sealed, SealError> {
    Ok(Sealed {
        refresh: sealer.seal(&tokens.refresh, &place(portal, "refresh"))?,
        access: sealer.seal(&tokens.access, &place(portal, "access"))?,
        issued_at: tokens.issued_at,
        expires_at: tokens.expires_at,
    })
}

/// The installation of a portal; without one, the last login's.
pub fn installation(
    connection: &Connection,
    portal: Option<PortalId>,
) -> Result<Option<Installation>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT portal_id, generation, refresh_token, access_token, issued_at, expires_at, scopes, logged_in_at, problem
         FROM sync_tokens
         WHERE :portal IS NULL OR portal_id = :portal
         ORDER BY logged_in_at DESC
         LIMIT 1",
    )?;
    let time = |text: String| Timestamp::parse(&text).unwrap_or_default();
    let found = statement
        .query_row(
            named_params! { ":portal": portal.map(|portal| portal.0) },
            |row| {
                Ok(Installation {
                    portal_id: PortalId(row.get(0)?),
                    generation: row.get(1)?,
                    refresh: row.get(2)?,
                    access: row.get(3)?,
                    issued_at: time(row.get(4)?),
                    expires_at: time(row.get(5)?),
                    scopes: row
                        .get::<_, Option<String>>(6)?
                        .map(|text| text.split(' ').map(str::to_owned).collect()),
                    logged_in_at: time(row.get(7)?),
                    problem: row.get(8)?,
                })
            },
        )
        .optional()?;
    Ok(found)
}

/// Keeps renewed tokens, unless somebody logged in or out meanwhile. Tells the new generation.
pub fn renew(
    tx: &Connection,
    portal: PortalId,
    generation: i64,
    sealed: &Sealed,
) -> Result<Option<i64>, StoreError> {
    let renewed = tx
        .prepare_cached(
            "UPDATE sync_tokens
             SET generation = generation + 1,
                 refresh_token = :refresh,
                 access_token = :access,
                 issued_at = :issued_at,
                 expires_at = :expires_at,
                 revoked_at = NULL,
                 problem = NULL
             WHERE portal_id = :portal AND generation = :generation
             RETURNING generation",
        )?
        .query_row(
            named_params! {
                ":portal": portal.0,
                ":generation": generation,
                ":refresh": sealed.refresh,
                ":access": sealed.access,
                ":issued_at": sealed.issued_at.to_string(),
                ":expires_at": sealed.expires_at.to_string(),
            },
            |row| row.get(0),
        )
        .optional()?;
    Ok(renewed)
}

/// Notes that HubSpot refused the refresh token for good.
pub fn revoked(
    tx: &Connection,
    portal: PortalId,
    generation: i64,
    words: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_tokens
         SET revoked_at = :now, problem = :words
         WHERE portal_id = :portal AND generation = :generation",
    )?
    .execute(named_params! {
        ":portal": portal.0,
        ":generation": generation,
        ":words": words,
        ":now": now.to_string(),
    })?;
    Ok(())
}

/// Runs a job in a transaction on the database of a daemon that may run or not; the file is made where there is none.
///
/// # Errors
/// The file can't be opened or made, is newer, or is older and in use.
pub fn beside_the_daemon<T>(
    path: &Path,
    clock: &dyn Clock,
    job: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if version(path)? < NEWEST {
        let options = OpenOptions {
            path: path.to_owned(),
            mode: Mode::Inline,
            busy_timeout: BUSY_TIMEOUT,
        };
        Store::open(&options, clock)?.close();
    }
    let mut connection = open(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", true)?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > NEWEST {
        return Err(StoreError::NewerDatabase {
            found,
            known: NEWEST,
        });
    }
    let done = job(&tx)?;
    tx.commit()?;
    Ok(done)
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    writer::harden(&connection, BUSY_TIMEOUT)?;
    Ok(connection)
}

/// The version of the file's bookkeeping; -1 where there is no file.
fn version(path: &Path) -> Result<i64, StoreError> {
    if !path.exists() {
        return Ok(-1);
    }
    Ok(open(path)?.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Keeps a login.
///
/// # Errors
/// [`StoreError::OtherPortal`] where the file was filled from another portal.
pub fn log_in(
    tx: &rusqlite::Transaction<'_>,
    portal: PortalId,
    sealed: &Sealed,
    scopes: Option<&[String]>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if meta::get(tx, meta::PORTAL_ID)?.is_some() {
        lease::check_portal(tx, portal)?;
    }
    tx.execute(
        "INSERT INTO sync_tokens
             (portal_id, generation, refresh_token, access_token, issued_at, expires_at, scopes, logged_in_at)
         VALUES (:portal, 1, :refresh, :access, :issued_at, :expires_at, :scopes, :now)
         ON CONFLICT (portal_id) DO UPDATE
         SET generation = generation + 1,
             refresh_token = excluded.refresh_token,
             access_token = excluded.access_token,
             issued_at = excluded.issued_at,
             expires_at = excluded.expires_at,
             scopes = excluded.scopes,
             logged_in_at = excluded.logged_in_at,
             revoked_at = NULL,
             problem = NULL",
        named_params! {
            ":portal": portal.0,
            ":refresh": sealed.refresh,
            ":access": sealed.access,
            ":issued_at": sealed.issued_at.to_string(),
            ":expires_at": sealed.expires_at.to_string(),
            ":scopes": scopes.map(|scopes| scopes.join(" ")),
            ":now": now.to_string(),
        },
    )?;
    Ok(())
}

/// Forgets an installation. Tells whether there was one.
pub fn log_out(tx: &rusqlite::Transaction<'_>, portal: PortalId) -> Result<bool, StoreError> {
    let gone = tx.execute(
        "DELETE FROM sync_tokens WHERE portal_id = :portal",
        named_params! { ":portal": portal.0 },
    )?;
    Ok(gone > 0)
}
