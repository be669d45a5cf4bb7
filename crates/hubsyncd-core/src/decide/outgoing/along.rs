//! Associations that go along in a create: which of them, what their create waits for, and what it must not be sent without.
//!
//! | the other record | less hangs on its associations | as much, or more |
//! |---|---|---|
//! | is there | goes along | goes along |
//! | has no id yet | is waited for | follows by itself once both are there |
//!
//! So no two creates wait for each other. An association whose type can't be told as the new record sees it follows by itself too.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::entry::{Answered, EntryEvent};
use crate::decide::outgoing::associate::{LinkEnd, QueuedLink, TypesSay};
use crate::decide::portal::link_types::KnownType;
use crate::model::answer::NewAssociation;
use crate::model::association::TypeId;
use crate::model::attempt::{Along, NewEnd};
use crate::model::entry::{Operation, WaitsFor};
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::{ObjectType, TableName};
use crate::model::object::NewLinks;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;

/// The code of a create that lacks an association that HubSpot demands.
pub const ASSOCIATION_REQUIRED: &str = "association-required";

/// An association that names a new record.
#[derive(Debug, Clone)]
pub struct NamedLink {
    /// Its entry.
    pub link: QueuedLink,
    /// The key of its pair.
    pub pair: TableName,
    /// At which of its ends the new record stands.
    pub end: NewEnd,
    /// The object at the other end.
    pub object: ObjectType,
    /// The types of the pair, as far as they are known.
    pub types: Vec<KnownType>,
}

impl NamedLink {
    fn other(&self) -> LinkEnd {
        match self.end {
            NewEnd::From => self.link.to,
            NewEnd::To => self.link.from,
        }
    }

    /// The same once the create of its other record is answered, where a create of an object with these associations waits for that.
    pub fn once_made(&mut self, own: &NewLinks, is_made: impl Fn(&ObjectType, LocalId) -> bool) {
        let is_awaited = own.exceeds(NewLinks::of(&self.object));
        if is_awaited && is_made(&self.object, self.other().local_id) {
            match self.end {
                NewEnd::From => self.link.to.made(),
                NewEnd::To => self.link.from.made(),
            }
        }
    }

    /// Whether it is to be made, by what its entry and the tables say.
    fn is_wanted(&self) -> bool {
        let associates = self.link.standing.operation == Operation::Associate;
        associates && self.link.has_row && self.other().is_there
    }

    /// Its type as the new record sees it.
    fn kind(&self) -> Option<TypeId> {
        let kind = match (&self.link.told, &self.link.kind) {
            (TypesSay::Unknown(_), _) => None,
            (TypesSay::Means(kind), None) => Some(kind),
            (_, kind) => kind.as_ref(),
        };
        match self.end {
            NewEnd::From => kind.cloned(),
            NewEnd::To => {
                let known = self.types.iter().find(|known| Some(&known.id) == kind)?;
                let category = known.id.category.clone();
                known.inverse.map(|number| TypeId { category, number })
            }
        }
    }

    fn goes(&self) -> Option<Along> {
        Some(Along {
            entry: self.link.id,
            pair: self.pair.clone(),
            end: self.end,
            other: self.other().hs_id?,
            kind: self.kind()?,
        })
    }
}

/// What becomes of a create, by the associations that name its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithLinks {
    /// It may be sent, with these.
    Goes(Vec<Along>),
    /// It waits for the create of a record that one of them names.
    WaitsForCreate,
    /// It waits for the types of a pair to be read.
    WaitsForTypes,
    /// HubSpot would refuse it, for this reason.
    Lacks(String),
}

/// Decides about a create whose row is to be sent.
pub fn with_links(object: &SyncedObject, local_id: LocalId, links: &[NamedLink]) -> WithLinks {
    let own = object.new_links;
    if own == NewLinks::Follow {
        return WithLinks::Goes(Vec::new());
    }
    let wanted = || links.iter().filter(|link| link.is_wanted());
    let is_awaited =
        |link: &NamedLink| link.other().hs_id.is_none() && own.exceeds(NewLinks::of(&link.object));
    if wanted().any(is_awaited) {
        return WithLinks::WaitsForCreate;
    }
    if let NewLinks::Demanded(objects) = own {
        let demanded = || wanted().filter(|link| objects.contains(&link.object.as_str()));
        if demanded().all(|link| link.goes().is_none()) {
            let unread = |link: &NamedLink| link.other().hs_id.is_some() && link.types.is_empty();
            return match demanded().any(unread) {
                true => WithLinks::WaitsForTypes,
                false => WithLinks::Lacks(lacking(object, local_id, objects)),
            };
        }
    }
    WithLinks::Goes(wanted().filter_map(NamedLink::goes).collect())
}

fn lacking(object: &SyncedObject, local_id: LocalId, demanded: &[&str]) -> String {
    let (table, name) = (&object.mapping().table, object.object());
    format!(
        "HubSpot takes no new record of {name} without an association with one of {}: INSERT INTO associations one that names \
         {table} row {local_id} [{ASSOCIATION_REQUIRED}]",
        demanded.join(", ")
    )
}

/// What a create carries of them: those with one record together.
pub(crate) fn new_associations(along: &[Along]) -> Vec<NewAssociation> {
    let mut all: BTreeMap<(&str, HubspotId), BTreeSet<TypeId>> = BTreeMap::new();
    for one in along {
        let types = all.entry((one.pair.as_str(), one.other)).or_default();
        types.insert(one.kind.clone());
    }
    let all = all.into_iter();
    all.map(|((_, to), types)| NewAssociation { to, types })
        .collect()
}

/// What becomes of an association whose create was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum AlongSettlement {
    /// Its record was made, and has it: settled as any other that was asked for and is there.
    Arrived,
    /// One of its rows is gone, and it with it.
    Ends,
    /// Anything else that befalls it.
    Befalls(EntryEvent),
}

/// Settles an association that went along. `is_shown`: a read shows that the records have it; `in_doubt`: its create may still
/// have made it.
pub fn settle_along(
    link: &QueuedLink,
    is_shown: bool,
    in_doubt: bool,
    now: Timestamp,
) -> AlongSettlement {
    let sent_back = |waits_for, answered| {
        AlongSettlement::Befalls(EntryEvent::SentBack {
            next: now,
            explanation: None,
            waits_for,
            answered,
        })
    };
    let is_made = link.from.hs_id.is_some() && link.to.hs_id.is_some();
    match is_made {
        _ if !link.from.is_there || !link.to.is_there => AlongSettlement::Ends,
        true if is_shown => AlongSettlement::Arrived,
        // It goes out by itself, which does no harm where it is there already.
        true => sent_back(None, Answered::No),
        false if in_doubt => sent_back(Some(WaitsFor::Create), Answered::No),
        false if !link.has_row => AlongSettlement::Ends,
        false => sent_back(Some(WaitsFor::Create), Answered::Yes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::association::Category;
    use crate::model::entry::Standing;
    use crate::model::id::OutboxId;
    use crate::testing::{at, contacts};

    fn object(name: &str) -> ObjectType {
        ObjectType::parse(name).expect("a name")
    }

    fn known(number: i64, label: Option<&str>, inverse: Option<i64>) -> KnownType {
        KnownType {
            id: TypeId::of_hubspot(number),
            label: label.map(str::to_owned),
            inverse,
            archived: false,
            most: None,
            most_back: None,
        }
    }

    /// An association of row 1, which is new, with row 2 of another object.
    fn named(end: NewEnd, other: &str, hs_id: Option<i64>) -> NamedLink {
        let own = LinkEnd {
            local_id: LocalId(1),
            is_there: true,
            hs_id: None,
        };
        let theirs = LinkEnd {
            local_id: LocalId(2),
            hs_id: hs_id.map(HubspotId),
            ..own
        };
        let (from, to) = match end {
            NewEnd::From => (own, theirs),
            NewEnd::To => (theirs, own),
        };
        NamedLink {
            link: QueuedLink {
                id: OutboxId(7),
                standing: Standing {
                    operation: Operation::Associate,
                    ..Standing::NOTHING
                },
                from,
                to,
                kind: Some(TypeId::of_hubspot(202)),
                label: None,
                has_row: true,
                by_default: false,
                told: TypesSay::Plain,
            },
            pair: TableName::parse("pair").expect("a name"),
            end,
            object: object(other),
            types: vec![known(202, None, Some(201)), known(300, Some("Boss"), None)],
        }
    }

    fn with(new_links: NewLinks, links: &[NamedLink]) -> WithLinks {
        let mut own = contacts();
        own.new_links = new_links;
        with_links(&own, LocalId(1), links)
    }

    const LEAD: NewLinks = NewLinks::Demanded(&["contacts", "companies"]);

    fn goes(verdict: WithLinks) -> Vec<(HubspotId, i64)> {
        let WithLinks::Goes(along) = verdict else {
            panic!("{verdict:?}");
        };
        let along = along.into_iter();
        along.map(|one| (one.other, one.kind.number)).collect()
    }

    #[test]
    fn what_names_a_record_goes_along_by_the_type_that_the_new_record_sees() {
        let there = |end| named(end, "contacts", Some(101));
        for own in [NewLinks::GoAlong, LEAD] {
            assert_eq!(
                goes(with(own, &[there(NewEnd::From)])),
                [(HubspotId(101), 202)]
            );
            assert_eq!(
                goes(with(own, &[there(NewEnd::To)])),
                [(HubspotId(101), 201)]
            );
        }
        assert_eq!(goes(with(NewLinks::Follow, &[there(NewEnd::From)])), []);
        // Of this type nobody knows what the other direction calls it.
        let mut boss = there(NewEnd::To);
        boss.link.kind = Some(TypeId::of_hubspot(300));
        assert_eq!(goes(with(NewLinks::GoAlong, &[boss])), []);
        let mut labelled = there(NewEnd::From);
        labelled.link.kind = None;
        labelled.link.told = TypesSay::Means(TypeId {
            category: Category::UserDefined,
            number: 36,
        });
        assert_eq!(
            goes(with(NewLinks::GoAlong, &[labelled])),
            [(HubspotId(101), 36)]
        );
        // Taken away again, or on its way out.
        let mut gone = there(NewEnd::From);
        gone.link.has_row = false;
        let mut leaves = there(NewEnd::From);
        leaves.link.standing.operation = Operation::Disassociate;
        assert_eq!(goes(with(NewLinks::GoAlong, &[gone, leaves])), []);
    }

    #[test]
    fn the_record_on_which_more_hangs_goes_last_and_no_two_wait_for_each_other() {
        let new = |other: &str| [named(NewEnd::From, other, None)];
        for (own, other, waits) in [
            (NewLinks::Follow, "notes", false),
            (NewLinks::GoAlong, "deals", true),
            (NewLinks::GoAlong, "p_machine", true),
            (NewLinks::GoAlong, "meetings", false),
            (NewLinks::GoAlong, "leads", false),
            (LEAD, "contacts", true),
            (LEAD, "notes", true),
        ] {
            let verdict = with(own, &new(other));
            assert_eq!(
                verdict == WithLinks::WaitsForCreate,
                waits,
                "{own:?} {other}"
            );
        }
        let mut gone = named(NewEnd::From, "deals", None);
        gone.link.to.is_there = false;
        assert_eq!(goes(with(NewLinks::GoAlong, &[gone])), []);
    }

    #[test]
    fn what_hubspot_demands_an_association_of_is_not_sent_without_one() {
        let explanation = "HubSpot takes no new record of contacts without an association with one of contacts, companies: \
                     INSERT INTO associations one that names contacts row 1 [association-required]";
        let lacks = WithLinks::Lacks(explanation.to_owned());
        assert_eq!(with(LEAD, &[]), lacks);
        let deal = named(NewEnd::From, "deals", Some(103));
        assert_eq!(with(LEAD, std::slice::from_ref(&deal)), lacks);
        let company = named(NewEnd::From, "companies", Some(102));
        let both = goes(with(LEAD, &[deal, company.clone()]));
        assert_eq!(both, [(HubspotId(103), 202), (HubspotId(102), 202)]);
        let untold = NamedLink {
            link: QueuedLink {
                kind: None,
                told: TypesSay::Unread,
                ..company.link
            },
            types: Vec::new(),
            ..company
        };
        assert_eq!(
            with(LEAD, std::slice::from_ref(&untold)),
            WithLinks::WaitsForTypes
        );
        assert_eq!(goes(with(NewLinks::GoAlong, &[untold])), []);
        assert_eq!(goes(with(NewLinks::GoAlong, &[])), []);
    }

    #[test]
    fn those_with_one_record_stand_together() {
        let along = |kind: i64, other: i64| Along {
            entry: OutboxId(kind),
            pair: TableName::parse("pair").expect("a name"),
            end: NewEnd::From,
            other: HubspotId(other),
            kind: TypeId::of_hubspot(kind),
        };
        let together = new_associations(&[along(578, 101), along(610, 102), along(608, 101)]);
        let together: Vec<(HubspotId, usize)> = together
            .iter()
            .map(|one| (one.to, one.types.len()))
            .collect();
        assert_eq!(together, [(HubspotId(101), 2), (HubspotId(102), 1)]);
    }

    #[test]
    fn what_went_along_is_settled_by_what_became_of_the_create() {
        let new = || named(NewEnd::From, "contacts", Some(101)).link;
        let made = || {
            let mut link = new();
            link.from.hs_id = Some(HubspotId(900));
            link
        };
        let back = |waits_for, answered| {
            AlongSettlement::Befalls(EntryEvent::SentBack {
                next: at(5),
                explanation: None,
                waits_for,
                answered,
            })
        };
        let create = Some(WaitsFor::Create);
        let check = |link: &QueuedLink, is_shown, in_doubt, expected: AlongSettlement| {
            let settled = settle_along(link, is_shown, in_doubt, at(5));
            assert_eq!(settled, expected, "{link:?}");
        };
        check(&made(), true, false, AlongSettlement::Arrived);
        check(&made(), false, false, back(None, Answered::No));
        check(&new(), false, false, back(create, Answered::Yes));
        check(&new(), false, true, back(create, Answered::No));
        let mut taken_away = new();
        taken_away.has_row = false;
        check(&taken_away, false, false, AlongSettlement::Ends);
        check(&taken_away, false, true, back(create, Answered::No));
        let mut gone = made();
        gone.to.is_there = false;
        check(&gone, true, false, AlongSettlement::Ends);
    }
}
