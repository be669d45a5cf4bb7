//! Associations that HubSpot shows no more: looks what is known of their records, and asks for reads of them. What is believed
//! `decide/incoming/unshown` says.

use std::collections::BTreeSet;

use rusqlite::Transaction;

use crate::decide::incoming::unshown::{EndStands, Sight, Unshown, unshown};
use crate::engine::inbound::links::PairSync;
use crate::engine::portal::objects::ObjectSync;
use crate::model::id::{HubspotId, LocalId};
use crate::model::mapping::{OnRemoteDelete, Sees};
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::store::history::Origin;
use crate::store::links::missed::MissedLink;
use crate::store::links::noted;
use crate::store::{StoreError, absent, conflicts, outbox, reads};

/// Associations that HubSpot shows no more, while one of their records may be gone with them.
#[derive(Default)]
pub(crate) struct DoubtedLinks {
    /// The rows at the other end.
    pub rows: BTreeSet<LocalId>,
    /// Whether one of them is to be asked about again.
    pub is_to_be_looked_at: bool,
}

impl DoubtedLinks {
    /// Looks what is known of the records of those that an answer misses, and asks for reads of them.
    pub(crate) fn look(
        tx: &Transaction<'_>,
        pair: &PairSync,
        from: &MirrorRow,
        unshown_rows: BTreeSet<LocalId>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let (mut doubt, mut still_missed) = (Self::default(), BTreeSet::new());
        let Some(from_id) = from.record.hs_id else {
            return Ok(doubt);
        };
        let key = &pair.mapping.key;
        let known = noted::of::<MissedLink>(tx, key, from_id)?;
        for local_id in unshown_rows {
            let Some(to) = pair.to.table.by_local_id(tx, local_id)? else {
                continue;
            };
            let Some(to_id) = to.record.hs_id else {
                continue;
            };
            let ends = [(&pair.from, from, from_id), (&pair.to, &to, to_id)];
            let mut stand = [EndStands::default(); 2];
            for (stands, (object, row, id)) in stand.iter_mut().zip(ends) {
                *stands = stands_of(tx, pair, object, (row.record.local_id, id))?;
            }
            let verdict = unshown(stand, known.contains(&MissedLink(to_id)));
            if verdict == Unshown::Believed {
                continue;
            }
            doubt.rows.insert(local_id);
            if verdict == Unshown::Stays {
                continue;
            }
            doubt.is_to_be_looked_at = true;
            still_missed.insert(MissedLink(to_id));
            let doubtful = ends.iter().zip(stand).filter(|(_, end)| end.is_doubtful());
            for ((object, _, id), _) in doubtful.filter(|_| verdict == Unshown::Looks) {
                reads::ask(tx, object.object(), *id, Origin::Poll, now)?;
            }
        }
        noted::replace(tx, key, from_id, &still_missed)?;
        Ok(doubt)
    }
}

/// What is known of a record that HubSpot shows as associated no more.
fn stands_of(
    tx: &Transaction<'_>,
    pair: &PairSync,
    object: &ObjectSync,
    (local_id, id): (LocalId, HubspotId),
) -> Result<EndStands, StoreError> {
    let (name, modes) = (object.object(), object.mapping().modes);
    let sight = match modes.sees {
        Sees::Portal => Sight::All,
        Sees::User if absent::is_noted(tx, name, id)? => Sight::Hidden,
        Sees::User => Sight::Users,
    };
    Ok(EndStands {
        // Of a pair that is only pushed the association is made anew.
        may_be_made_anew: !pair.mapping.direction.pulls()
            || modes.on_remote_delete == OnRemoteDelete::Recreate
            || outbox::of_row(tx, name, local_id)?.is_some(),
        sight,
        is_undecided: conflicts::open_whole(tx, name, local_id)?.is_some()
            || reads::is_removal_noted(tx, name, id)?,
        is_asked: reads::is_asked(tx, name, id)?,
    })
}
