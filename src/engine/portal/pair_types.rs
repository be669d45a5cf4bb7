//! The types that the mapped pairs of objects have in HubSpot, and with how many records the portal lets one at either end have them.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction};

use crate::decide::portal::link_types::{self, KnownType};
use crate::engine::portal::reading::keeps_no_other;
use crate::engine::{Engine, StepError};
use crate::hubspot::endpoints::associations::Ends;
use crate::hubspot::{Client, HubspotError};
use crate::model::association::{AssociationType, PairMapping, TypeId};
use crate::model::mapping::Mapping;
use crate::model::time::Timestamp;
use crate::store::links::{passes, types};
use crate::store::{Lane, StoreError, outbox};

/// The types of a pair, and those of the other direction.
#[derive(Debug)]
pub(super) struct ShownTypes {
    there: Vec<AssociationType>,
    back: Vec<AssociationType>,
    limits: PairLimits,
}

/// With how many records one may have each type that the portal limits, of the pair and of the other direction; `None` where
/// HubSpot does not give them: what is known of them stays.
#[derive(Debug, Clone, Default)]
struct PairLimits {
    there: Option<BTreeMap<TypeId, u32>>,
    back: Option<BTreeMap<TypeId, u32>>,
}

impl PairLimits {
    fn most(&self, known: &KnownType) -> [Option<u32>; 2] {
        let back = |limits: &BTreeMap<TypeId, u32>| {
            known
                .turned()
                .and_then(|turned| limits.get(&turned).copied())
        };
        [
            match &self.there {
                Some(limits) => limits.get(&known.id).copied(),
                None => known.most,
            },
            match &self.back {
                Some(limits) => back(limits),
                None => known.most_back,
            },
        ]
    }
}

/// The types of the pairs, and why those of some could not be read.
#[derive(Debug, Default)]
pub(super) struct PairsRead {
    pub(super) shown: Vec<(PairMapping, ShownTypes)>,
    pub(super) unread: Vec<(PairMapping, HubspotError)>,
}

/// Reads the types of all pairs. One that HubSpot does not give keeps what is known of it, and no other from being read.
pub(super) async fn read(client: &Client, mapping: &Mapping) -> Result<PairsRead, HubspotError> {
    let mut all = PairsRead::default();
    for pair in &mapping.pairs {
        match read_of(client, pair).await {
            Ok(types) => all.shown.push((pair.clone(), types)),
            Err(error) if holds_up_its_pair_alone(&error) => {
                tracing::warn!(object = %pair.key, error = %error, code = error.code(), "the types of an association could not be read; they stay as they are known");
                all.unread.push((pair.clone(), error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Whether the other pairs are read all the same, and what was read of the objects before counts. After a few gateways' answers in a
/// row HubSpot passes for unreachable: whether it is, the next request of another kind tells.
fn holds_up_its_pair_alone(error: &HubspotError) -> bool {
    keeps_no_other(error) || error.is_unreachable()
}

/// Why a pair waits whose types were never read, where it is likely to go well when it is asked again.
pub(super) fn waits(
    connection: &Connection,
    unread: &[(PairMapping, HubspotError)],
) -> Result<Option<usize>, StoreError> {
    for (at, (pair, error)) in unread.iter().enumerate() {
        let is_lasting = error.is_forbidden() || error.status() == Some(404);
        if !is_lasting && types::of(connection, pair)?.is_empty() {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

async fn read_of(client: &Client, pair: &PairMapping) -> Result<ShownTypes, HubspotError> {
    let (forth, turned) = directions(pair);
    let there = client.association_types(forth).await?;
    let back = match turned {
        Some(turned) => client.association_types(turned).await?,
        None => there.clone(),
    };
    Ok(ShownTypes {
        there,
        back,
        limits: read_limits(client, pair).await?,
    })
}

/// The directions in which HubSpot is asked about a pair; of one object both are one.
fn directions(pair: &PairMapping) -> (Ends<'_>, Option<Ends<'_>>) {
    let (from, to) = (&pair.from, &pair.to);
    let turned = Ends { from: to, to: from };
    (
        Ends { from, to },
        (!pair.is_of_one_object()).then_some(turned),
    )
}

/// The limits of a pair that is written; nothing goes by those of one that only comes from HubSpot.
async fn read_limits(client: &Client, pair: &PairMapping) -> Result<PairLimits, HubspotError> {
    if !pair.direction.pushes() {
        return Ok(PairLimits::default());
    }
    let (forth, turned) = directions(pair);
    let there = read_limits_of(client, pair, forth).await?;
    let back = match turned {
        Some(turned) => read_limits_of(client, pair, turned).await?,
        None => there.clone(),
    };
    Ok(PairLimits { there, back })
}

/// Those of one direction: where HubSpot does not give them, those of the other one hold all the same.
async fn read_limits_of(
    client: &Client,
    pair: &PairMapping,
    ends: Ends<'_>,
) -> Result<Option<BTreeMap<TypeId, u32>>, HubspotError> {
    match client.association_limits(ends).await {
        Ok(limits) => Ok(Some(limits)),
        Err(error) if holds_up_its_pair_alone(&error) => {
            tracing::debug!(object = %pair.key, error = %error, "the limits of an association could not be read; they stay as they are known");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Saves what is new of a pair's types. Where one is gone, so are the associations of it: a pass over all finds that.
pub(super) fn save(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    shown: &ShownTypes,
    now: Timestamp,
) -> Result<(), StoreError> {
    let known = types::of(tx, pair)?;
    let (mut there, mut back) = (shown.there.clone(), shown.back.clone());
    for kind in &mut there {
        let before = known.iter().find(|known| known.id == kind.id);
        kind.most = match &shown.limits.there {
            Some(limits) => limits.get(&kind.id).copied(),
            None => before.and_then(|known| known.most),
        };
    }
    for kind in &mut back {
        let mut before = known.iter();
        let before = before.find(|known| known.turned().as_ref() == Some(&kind.id));
        kind.most = match &shown.limits.back {
            Some(limits) => limits.get(&kind.id).copied(),
            None => before.and_then(|known| known.most_back),
        };
    }
    let changes = link_types::compare(pair, &known, &there, &back);
    if changes.save.is_empty() {
        return Ok(());
    }
    types::save(tx, pair, &changes.save)?;
    types::relabel(tx, pair)?;
    let limits = |known: &KnownType| [known.most, known.most_back];
    let is_other = |saved: &KnownType| {
        let before = known.iter().find(|known| known.id == saved.id);
        before.map_or([None; 2], limits) != limits(saved)
    };
    if changes.save.iter().any(is_other) {
        outbox::links::revive_limited(tx, pair, None, now)?;
    }
    if changes.went {
        passes::begin(tx, pair, now)?;
    }
    Ok(())
}

/// Reads the limits of one pair again, since HubSpot has refused what they would allow. Tells whether they are others than were
/// known.
pub(super) async fn read_limits_again(
    engine: &Engine,
    pair: &PairMapping,
) -> Result<bool, StepError> {
    let limits = match read_limits(&engine.client, pair).await {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(object = %pair.key, error = %error, code = error.code(), "the limits of an association could not be read again");
            return Ok(false);
        }
    };
    let pair = pair.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let mut known = types::of(tx, &pair)?;
            known.retain(|known| {
                !known.archived && [known.most, known.most_back] != limits.most(known)
            });
            if known.is_empty() {
                return Ok(false);
            }
            for kind in &mut known {
                [kind.most, kind.most_back] = limits.most(kind);
            }
            types::save(tx, &pair, &known)?;
            outbox::links::revive_limited(tx, &pair, None, tx.now())?;
            Ok::<_, StoreError>(true)
        })
        .await
        .map_err(StepError::from)
}
