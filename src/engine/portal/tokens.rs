//! Keeps the client's OAuth token fresh: one step for all tasks, so that no refresh happens twice.
//!
//! A renewed refresh token is on disk before the new access token is used; a crash between the two finds it there.

use std::time::Duration;

use parking_lot::Mutex;
use secrecy::SecretString;

use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::RENEWING;
use crate::hubspot::call::oauth::{App, OAuthError, TokenGrant};
use crate::model::time::Timestamp;
use crate::store::seal::{SealError, Sealer};
use crate::store::tokens::{self, Installation, Own, Tokens};
use crate::store::{Lane, StoreError};

/// Tokens are renewed this long before they die …
const BEFORE_EXPIRY: Duration = Duration::from_mins(30);

/// … or, if that is later, after this share of their life, in percent. HubSpot's live 30 minutes today
/// (`hubspot/api-facts.md#2`).
const SHARE_OF_LIFE: i64 = 80;

/// A token that HubSpot refuses before its time is renewed at once, and not again within this.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(15);

/// The app and the key of its tokens, and what was loaded.
#[derive(Debug)]
pub struct Keeper {
    app: App,
    sealer: Sealer,
    held: Mutex<HeldTokens>,
}

#[derive(Debug, Default)]
struct HeldTokens {
    /// The generation of the token that the client sends.
    generation: Option<i64>,
    renewed_at: Option<Timestamp>,
    /// Tokens that HubSpot gave and the disk did not take yet: never to be lost.
    unsaved: Option<(Installation, Tokens)>,
}

impl Keeper {
    /// A keeper that holds nothing yet.
    pub fn new(app: App, sealer: Sealer) -> Self {
        Self {
            app,
            sealer,
            held: Mutex::default(),
        }
    }

    fn held<T>(&self, change: impl FnOnce(&mut HeldTokens) -> T) -> T {
        change(&mut self.held.lock())
    }
}

/// When a token is renewed.
fn renewal_of(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.since(issued);
    let by_share = issued.plus_millis(life.as_millis() as i64 / 100 * SHARE_OF_LIFE);
    by_share.max(expires - BEFORE_EXPIRY)
}

/// Loads, renews or withdraws the token, whatever is due.
///
/// # Errors
/// HubSpot can't be reached or refuses the app; the database refuses.
pub async fn step(engine: &Engine, keeper: &Keeper) -> Result<Progress, StepError> {
    if let Some((installation, tokens)) = keeper.held(|held| held.unsaved.take()) {
        save(engine, keeper, installation, tokens).await?;
    }
    let configured = engine.settings().portal;
    let found = engine
        .store
        .read(move |connection| tokens::own(connection, configured))
        .await?;
    let installation = match found {
        Own::Found(installation) => *installation,
        Own::Nobody(nobody) => return Ok(withdraw(engine, keeper, &nobody.to_string())),
    };
    if let Some(problem) = &installation.problem {
        let explanation =
            format!("HubSpot revoked the grant ({problem}): run `hubsyncd auth login`");
        return Ok(withdraw(engine, keeper, &explanation));
    }
    let tokens = match installation.open(&keeper.sealer) {
        Ok(tokens) => tokens,
        Err(error) => return Ok(withdraw(engine, keeper, &error.to_string())),
    };
    load(engine, keeper, installation.generation, &tokens);
    let now = engine.now();
    let due = renewal_of(tokens.issued_at, tokens.expires_at);
    // A clock that was set back behind the token's birth tells nothing: the token's life counts from now at most.
    let due = due.min(now + tokens.expires_at.since(tokens.issued_at));
    let rejected = engine.client.was_rejected()
        && keeper
            .held(|held| held.renewed_at)
            .is_none_or(|last| now.since(last) >= BETWEEN_RENEWALS || last > now);
    if now < due && !rejected {
        return Ok(Progress::Idle { until: Some(due) });
    }
    renew(engine, keeper, installation, tokens).await?;
    Ok(Progress::More)
}

/// Whether the key opens what is stored, if anything is: to be asked at the start.
///
/// # Errors
/// The database can't be read; within, the key is another one.
pub(crate) async fn check_key(
    engine: &Engine,
    keeper: &Keeper,
) -> Result<Result<(), SealError>, StoreError> {
    let configured = engine.settings().portal;
    let found = engine
        .store
        .read(move |connection| tokens::own(connection, configured))
        .await?;
    Ok(match found {
        Own::Found(installation) => installation.open(&keeper.sealer).map(|_| ()),
        Own::Nobody(_) => Ok(()),
    })
}

fn withdraw(engine: &Engine, keeper: &Keeper, why: &str) -> Progress {
    keeper.held(|held| held.generation = None);
    engine.client.withdraw(why);
    Progress::RING
}

fn load(engine: &Engine, keeper: &Keeper, generation: i64, tokens: &Tokens) {
    let now = engine.now();
    if now >= tokens.expires_at {
        engine.client.withdraw(RENEWING);
        keeper.held(|held| held.generation = None);
        return;
    }
    if keeper.held(|held| held.generation) == Some(generation) {
        return;
    }
    if let Err(error) = engine.client.authorize(&tokens.access, tokens.expires_at) {
        engine.client.withdraw(&error.to_string());
        return;
    }
    keeper.held(|held| held.generation = Some(generation));
    tracing::info!(expires_at = %tokens.expires_at, "the access token is in use");
}

async fn renew(
    engine: &Engine,
    keeper: &Keeper,
    installation: Installation,
    tokens: Tokens,
) -> Result<(), StepError> {
    let asked_at = engine.now();
    match engine.client.refresh(&keeper.app, &tokens.refresh).await {
        Ok(grant) => {
            let renewed = tokens_of(&grant, asked_at, Some(&tokens.refresh));
            keeper.held(|held| held.renewed_at = Some(asked_at));
            match renewed {
                Some(renewed) => save(engine, keeper, installation, renewed).await,
                None => Ok(()),
            }
        }
        Err(OAuthError::Revoked { explanation }) => {
            tracing::error!(portal_id = %installation.portal_id, error = explanation, code = "logged-out", "HubSpot revoked the grant; nothing is sent until somebody logs in with `hubsyncd auth login`");
            let (portal, generation) = (installation.portal_id, installation.generation);
            engine
                .store
                .write(Lane::Interactive, move |tx| {
                    tokens::revoked(tx, portal, generation, &explanation, tx.now())
                })
                .await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Both tokens of a grant; the former refresh token where HubSpot names none.
pub(crate) fn tokens_of(
    grant: &TokenGrant,
    issued_at: Timestamp,
    former: Option<&SecretString>,
) -> Option<Tokens> {
    let refresh = grant.refresh_token.as_ref().or(former)?;
    Some(Tokens {
        refresh: refresh.clone(),
        access: grant.access_token.clone(),
        issued_at,
        expires_at: issued_at + grant.expires_in,
    })
}

/// First to disk, then into use.
async fn save(
    engine: &Engine,
    keeper: &Keeper,
    installation: Installation,
    tokens: Tokens,
) -> Result<(), StepError> {
    let (portal, generation) = (installation.portal_id, installation.generation);
    let sealed = match tokens::seal(&keeper.sealer, portal, &tokens) {
        Ok(sealed) => sealed,
        Err(error) => {
            keeper.held(|held| held.unsaved = Some((installation, tokens)));
            return Err(StepError::Seal(error));
        }
    };
    let saved = engine
        .store
        .write(Lane::Interactive, move |tx| {
            tokens::renew(tx, portal, generation, &sealed)
        })
        .await;
    match saved {
        Ok(Some(generation)) => {
            load(engine, keeper, generation, &tokens);
            Ok(())
        }
        // Somebody logged in or out meanwhile: theirs holds.
        Ok(None) => Ok(()),
        Err(error) => {
            keeper.held(|held| held.unsaved = Some((installation, tokens)));
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::{Desk, failure, run};
    use crate::model::id::PortalId;

    #[test]
    fn long_tokens_are_renewed_half_an_hour_before_they_die_and_short_ones_at_four_fifths() {
        let issued = Timestamp::from_millis(1_790_000_000_000);
        for (life, expected) in [
            (Duration::from_hours(6), Duration::from_mins(330)),
            (Duration::from_hours(2), Duration::from_mins(96)),
            (Duration::from_mins(30), Duration::from_mins(24)),
            (Duration::from_secs(10), Duration::from_secs(8)),
        ] {
            assert_eq!(renewal_of(issued, issued + life).since(issued), expected);
        }
    }

    /// A desk where somebody has logged in, and whose access token is to be renewed.
    fn logged_in() -> (Desk, Keeper) {
        let desk = Desk::logged_out();
        let key = SecretString::from("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let app = App {
            client_id: "id".to_owned(),
            client_secret: SecretString::from("client-secret"),
            token_path: "/oauth/2026-03/token".to_owned(),
        };
        let keeper = Keeper::new(app, Sealer::new(&key).expect("a key"));
        let (portal, now) = (PortalId(12_345_678), desk.engine.now());
        let tokens = Tokens {
            refresh: SecretString::from("refresh-one"),
            access: SecretString::from("access-one"),
            issued_at: now,
            expires_at: now + Duration::from_mins(30),
        };
        let sealed = tokens::seal(&keeper.sealer, portal, &tokens).expect("sealed");
        let kept = run(desk.engine.store().write(Lane::Bulk, move |tx| {
            tokens::log_in(tx, portal, &sealed, None, now)
        }));
        kept.expect("a login");
        run(step(&desk.engine, &keeper)).expect("a token");
        desk.clock.pass(Duration::from_mins(25));
        (desk, keeper)
    }

    fn grant(access: &str) -> String {
        format!(r#"{{"access_token":"{access}","refresh_token":"refresh-two","expires_in":1800}}"#)
    }

    /// The token that a request is sent with.
    fn sent_with(desk: &Desk) -> String {
        run(desk.engine.client().account()).expect("an account");
        let asked = desk.hubspot.asked("account-info");
        asked.last().expect("a request").token.clone()
    }

    fn on_disk(desk: &Desk, keeper: &Keeper) -> String {
        let found = run(desk
            .engine
            .store()
            .read(|connection| tokens::own(connection, None)));
        let Own::Found(found) = found.expect("a login") else {
            unreachable!("somebody has logged in");
        };
        let tokens = found.open(&keeper.sealer).expect("the key");
        secrecy::ExposeSecret::expose_secret(&tokens.refresh).to_owned()
    }

    #[test]
    fn a_renewed_access_token_is_used_only_once_its_refresh_token_is_on_disk() {
        let (desk, keeper) = logged_in();
        desk.hubspot.answer("/oauth/", grant("access-two"));
        let other = rusqlite::Connection::open(desk.folder.path().join("crm.db")).expect("opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        assert!(!failure(run(step(&desk.engine, &keeper))).is_empty());
        assert_eq!(sent_with(&desk), "Bearer access-one");
        assert_eq!(on_disk(&desk, &keeper), "refresh-one");
        other.execute_batch("ROLLBACK").expect("no lock");
        run(step(&desk.engine, &keeper)).expect("saved");
        assert_eq!(sent_with(&desk), "Bearer access-two");
        assert_eq!(on_disk(&desk, &keeper), "refresh-two");
        // HubSpot gave it once.
        assert_eq!(desk.hubspot.asked("/oauth/").len(), 1);
    }

    #[test]
    fn a_rotated_refresh_token_survives_a_full_disk() {
        let (desk, keeper) = logged_in();
        let long = "x".repeat(50_000);
        desk.hubspot.answer("/oauth/", grant(&long));
        let bound = |pages: &'static str| {
            run(desk.engine.store().write(Lane::Bulk, move |tx| {
                let sql = format!("PRAGMA max_page_count = {pages}");
                Ok(tx.query_row(&sql, [], |row| row.get::<_, i64>(0))?)
            }))
            .expect("a bound")
        };
        bound("1");
        for _ in 0..3 {
            assert!(!failure(run(step(&desk.engine, &keeper))).is_empty());
        }
        assert_eq!(sent_with(&desk), "Bearer access-one");
        bound("1000000");
        run(step(&desk.engine, &keeper)).expect("saved");
        assert_eq!(on_disk(&desk, &keeper), "refresh-two");
        assert_eq!(sent_with(&desk), format!("Bearer {long}"));
        assert_eq!(desk.hubspot.asked("/oauth/").len(), 1);
    }
}
