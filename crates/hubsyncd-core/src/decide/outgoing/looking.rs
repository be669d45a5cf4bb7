//! A create whose answer was lost: how its record can be found again, and whether a record that was found is its.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::acts::Act;
use crate::decide::echo::{
    FoundBy, Histories, begun_by_another, earliest_made, made_by_us, sent_values,
};
use crate::decide::incoming::convert::{identities, identity, record_identities};
use crate::decide::matching::{Identity, LookBefore, looked_up};
use crate::decide::outgoing::doubt::LookIn;
use crate::decide::record::OpenConflict;
use crate::model::entry::{Base, Entry, EntryState, NO_RECORD, Operation};
use crate::model::field_values::FieldValues;
use crate::model::id::OutboxId;
use crate::model::name::PropertyName;
use crate::model::object::is_unique_in_hubspot;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::row::json as rowjson;
use crate::model::synced::SyncedObject;
use crate::model::time::Timestamp;
use crate::model::value::Value;

/// How a create can be found again.
#[derive(Debug, Default)]
pub struct LookBy {
    /// The random key, in our own property.
    pub key: Option<String>,
    /// Values of the row that HubSpot keeps unique, as they are asked for, and what they say.
    pub unique: Vec<(String, Identity)>,
    /// Others that say which record it is, of a row that was deleted while its create was in doubt: no row can take the
    /// record, so that search must show it.
    pub searched: Vec<Identity>,
}

/// How a create can be found again; `row` is its row, where that is there.
pub fn look_by(object: &SyncedObject, entry: &Entry, row: Option<&MirrorRow>) -> LookBy {
    let standing = &entry.standing;
    let former = entry
        .row
        .as_deref()
        .map(|row| rowjson::values(object.mapping(), row));
    let values = row.map(|row| &row.record.values).or(former.as_ref());
    // A lost create made its record with what it carried, whatever the row holds by now.
    let sent = standing.unanswered_since.map(|_| sent_values(entry));
    let values = sent.as_ref().filter(|sent| !sent.is_empty()).or(values);
    // HubSpot may know the key's property only since the attempt: what that made does not carry the key.
    let carried = standing.unanswered_since.is_none() || !standing.sent_keyless;
    let key = entry.key.as_ref();
    let key = key.filter(|_| object.key_property.is_some() && carried);
    let unique = values.map_or_else(Vec::new, |values| unique_values(object, values));
    let is_deleted = row.is_none() && entry.row.is_some() && standing.unanswered_since.is_some();
    let searched = match (key, values) {
        (None, Some(values)) if unique.is_empty() && is_deleted => identities(object, values),
        (Some(_) | None, _) => Vec::new(),
    };
    LookBy {
        key: key.cloned(),
        unique,
        searched,
    }
}

/// By what HubSpot is asked whether it has the record of a new row already: by every value of which it gives no two records one, as
/// it would refuse the create for it, and by what is searched for before a create.
pub fn meet_by(object: &SyncedObject, row: &MirrorRow) -> LookBy {
    let values = &row.record.values;
    let mut unique = unique_values(object, values);
    let fields = object.mapping().fields.iter();
    let refused = fields
        .filter(|field| field.is_sent() && is_unique_in_hubspot(object.object(), &field.property));
    for field in refused {
        let is_asked = unique.iter().any(|(_, own)| own.property == field.property);
        let own = values.get(&field.property);
        let own = own.and_then(|value| identity(object, field, value));
        unique.extend(own.filter(|_| !is_asked).map(|own| (own.form.clone(), own)));
    }
    let mut searched = identities(object, values);
    searched.retain(|own| {
        looked_up(object, LookBefore::Search).any(|field| field.property == own.property)
    });
    LookBy {
        key: None,
        unique,
        searched,
    }
}

fn unique_values(object: &SyncedObject, values: &FieldValues) -> Vec<(String, Identity)> {
    identities(object, values)
        .into_iter()
        .filter(|identity| object.is_unique(&identity.property))
        .map(|identity| {
            // HubSpot keeps an address in its form; any other value as it stands, and perhaps tells its letters apart.
            let asked = match is_unique_in_hubspot(object.object(), &identity.property) {
                true => identity.form.clone(),
                false => values
                    .get(&identity.property)
                    .unwrap_or(&Value::EMPTY)
                    .to_wire()
                    .to_owned(),
            };
            (asked, identity)
        })
        .collect()
}

impl LookBy {
    /// Where it is looked for.
    pub fn look_in(&self) -> LookIn {
        if self.key.is_some() || !self.unique.is_empty() {
            LookIn::Store
        } else if self.searched.is_empty() {
            LookIn::Nowhere
        } else {
            LookIn::Search
        }
    }

    fn asks_for(&self, key: &str) -> bool {
        self.key.as_deref() == Some(key) || self.unique.iter().any(|(asked, _)| asked == key)
    }

    fn found_by(&self, object: &SyncedObject, record: &RemoteRecord) -> Option<FoundBy> {
        let found = record_identities(object, record);
        let unique = self.unique.iter().map(|(_, own)| own);
        let holds = |own: &Identity| {
            let field = object.mapping().field(&own.property);
            let held = field.zip(record.values.get(&own.property));
            held.and_then(|(field, value)| identity(object, field, value))
                .as_ref()
                == Some(own)
        };
        let mut all = unique.chain(&self.searched);
        let matches = all.any(|own| found.contains(own) || holds(own));
        match (&self.key, matches) {
            (Some(_), _) if self.key == record.own_key => Some(FoundBy::Key),
            (Some(_), true) => Some(FoundBy::MatchWithoutKey),
            (None, true) => Some(FoundBy::MatchAlone),
            (_, false) => None,
        }
    }
}

/// What the store is asked for by each property, all creates together.
pub fn asked_for(
    object: &SyncedObject,
    looks: &[(OutboxId, LookBy)],
) -> BTreeMap<PropertyName, BTreeSet<String>> {
    let mut asked: BTreeMap<PropertyName, BTreeSet<String>> = BTreeMap::new();
    if let Some(property) = &object.key_property {
        let keys = looks.iter().filter_map(|(_, by)| by.key.clone());
        asked.insert(property.clone(), keys.collect());
    }
    for (value, identity) in looks.iter().flat_map(|(_, by)| &by.unique) {
        let values = asked.entry(identity.property.clone()).or_default();
        values.insert(value.clone());
    }
    asked.retain(|_, values| !values.is_empty());
    asked
}

/// What search is asked for by each property, and since when at the earliest what is found may have been made.
pub fn searched_for(
    entries: &[Entry],
    looks: &[(OutboxId, LookBy)],
    clock_offset_ms: i64,
) -> BTreeMap<PropertyName, (BTreeSet<String>, Timestamp)> {
    let lost = |id: OutboxId| {
        let mut entries = entries.iter();
        let entry = entries.find(|entry| entry.id == id)?;
        entry.standing.unanswered_since
    };
    let mut wanted: BTreeMap<PropertyName, (BTreeSet<String>, Timestamp)> = BTreeMap::new();
    for (id, by) in looks {
        let Some(since) = lost(*id).map(|lost| earliest_made(lost, clock_offset_ms)) else {
            continue;
        };
        for Identity { property, form } in &by.searched {
            let (forms, earliest) = wanted
                .entry(property.clone())
                .or_insert_with(|| (BTreeSet::new(), since));
            forms.insert(form.clone());
            *earliest = since.min(*earliest);
        }
    }
    wanted
}

/// Keys whose records were not found.
pub fn unseen_keys(looks: &[(OutboxId, LookBy)], found: &[RemoteRecord]) -> Vec<String> {
    let keys = looks.iter().filter_map(|(_, by)| by.key.clone());
    let is_seen = |key: &String| {
        let mut found = found.iter();
        found.any(|record| record.own_key.as_ref() == Some(key))
    };
    keys.filter(|key| !is_seen(key)).collect()
}

/// Creates of which HubSpot did not say whether their record is there: something of them is unread, and nothing was found.
pub fn left_in_doubt(
    object: &SyncedObject,
    looks: &[(OutboxId, LookBy)],
    unread: &[String],
    found: &[RemoteRecord],
) -> Vec<OutboxId> {
    looks
        .iter()
        .filter(|(_, by)| unread.iter().any(|key| by.asks_for(key)))
        .filter(|(_, by)| {
            let mut found = found.iter();
            !found.any(|record| by.found_by(object, record).is_some())
        })
        .map(|(id, _)| *id)
        .collect()
}

/// The create that a found record may be of. One that carries a key is the row's whose key it is, whoever else has its match
/// value.
pub fn meant_by(
    object: &SyncedObject,
    looks: &[(OutboxId, LookBy)],
    record: &RemoteRecord,
) -> Option<(OutboxId, FoundBy)> {
    let found = looks
        .iter()
        .filter_map(|(id, by)| Some((*id, by.found_by(object, record)?)));
    let mut by_key = found.clone().filter(|(_, by)| *by == FoundBy::Key);
    by_key.next().or_else(|| found.clone().next())
}

/// Whether a create made a record that a look found. `told`: the histories of the values by which it was found.
pub fn has_made(
    create: &Entry,
    by: FoundBy,
    record: &RemoteRecord,
    told: Option<&Histories>,
    clock_offset_ms: i64,
) -> bool {
    // A create that was refused carried nothing that could have made a record.
    let may_have_landed = by == FoundBy::Key || !sent_values(create).is_empty();
    // Without a key it may be somebody else's who had the same idea: the history of the value knows.
    let is_anothers = by != FoundBy::Key
        && told.is_some_and(|told| told.values().any(|past| begun_by_another(past)));
    let standing = &create.standing;
    standing.operation == Operation::Create
        && standing.state == EntryState::Pending
        && may_have_landed
        && !is_anothers
        && standing
            .unanswered_since
            .is_some_and(|lost| made_by_us(by, lost, record, clock_offset_ms))
}

/// Whether a create may be sent: it waits, nothing of it is in doubt, and nobody has given it up.
pub fn is_fresh_create(create: &Entry) -> bool {
    let standing = &create.standing;
    standing.operation == Operation::Create
        && standing.state == EntryState::Pending
        && standing.unanswered_since.is_none()
        && standing.discarded_at.is_none()
}

/// The archive of the person that a row inserted again is: the surest value that both have decides.
pub fn reinserted<'a>(
    object: &SyncedObject,
    row: &MirrorRow,
    archives: &'a [Entry],
) -> Option<&'a Entry> {
    let own = identities(object, &row.record.values);
    let mut archives = archives.iter();
    archives.find(|archive| {
        let former = identities(object, &former_values(object, archive));
        let known = own.iter().find_map(|identity| {
            let mut former = former.iter();
            let other = former.find(|other| other.property == identity.property);
            other.map(|other| other == identity)
        });
        known == Some(true)
    })
}

/// What a deleted row held; nothing where it is not known.
pub fn former_values(object: &SyncedObject, entry: &Entry) -> FieldValues {
    let row = entry.row.as_deref();
    row.map(|row| rowjson::values(object.mapping(), row))
        .unwrap_or_default()
}

/// What both sides agreed on of a deleted row whose archive waits: the base of what it waited to send, and what it held of the
/// rest. Of a field whose base nobody knows there is nothing.
pub fn agreed_before(object: &SyncedObject, archive: &Entry) -> FieldValues {
    let held = former_values(object, archive);
    let fields = object.mapping().fields.iter();
    let agreed = fields.filter_map(|field| {
        let agreed = match archive.field(&field.property).map(|waits| &waits.base) {
            Some(Base::Known(base)) => Some(base),
            Some(Base::Unknown) => None,
            None => held.get(&field.property),
        };
        Some((field.property.clone(), agreed?.clone()))
    });
    agreed.collect()
}

/// The fields of a create that becomes an update of the record whose archive waits: what the deleted row waited to send
/// keeps its base, and what it held is the base of the rest. `open`: conflicts that go over to the row.
pub fn relinked(
    object: &SyncedObject,
    row: &MirrorRow,
    create: &Entry,
    archive: &Entry,
    open: &BTreeMap<PropertyName, OpenConflict>,
) -> Vec<Act> {
    let agreed = agreed_before(object, archive);
    let fields = object.mapping().fields.iter();
    let pushed = fields.filter(|field| field.direction.pushes());
    let acts = pushed.map(|field| {
        let property = &field.property;
        let base = match agreed.get(property) {
            Some(agreed) => Base::Known(agreed.clone()),
            None if archive.field(property).is_some() => Base::Unknown,
            None => NO_RECORD,
        };
        let is_same = base.is_same(field.property_type, row.value(property));
        match is_same || open.contains_key(property) {
            true => Act::DropField(property.clone()),
            false => Act::PutField {
                property: property.clone(),
                base,
                changed_at: create.standing.enqueued_at,
            },
        }
    });
    acts.collect()
}

/// What a create carries: all columns that have a value and are pushed, but for those that wait for a person's word.
pub fn carried<'a>(
    object: &'a SyncedObject,
    row: &'a MirrorRow,
    held: &BTreeMap<PropertyName, OpenConflict>,
) -> Vec<(&'a PropertyName, &'a Value)> {
    let fields = object.mapping().fields.iter();
    fields
        .filter(|field| field.is_sent() && !held.contains_key(&field.property))
        .map(|field| (&field.property, row.value(&field.property)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// What is written of the fields of a create that is claimed. What has a value and is left out of requests (`kept`) waits
/// on; what was written since the INSERT and is not sent waits no more.
pub fn claimed(
    create: &Entry,
    carried: &[(&PropertyName, &Value)],
    kept: &[PropertyName],
) -> Vec<Act> {
    let mut acts = Vec::new();
    for (property, value) in carried {
        acts.push(Act::PutField {
            property: (*property).clone(),
            base: NO_RECORD,
            changed_at: create.standing.enqueued_at,
        });
        acts.push(Act::SetSent {
            property: (*property).clone(),
            value: (*value).clone(),
        });
    }
    let others = create.fields.iter().map(|field| &field.property);
    let others = others.filter(|property| {
        let is_sent = carried.iter().any(|(sent, _)| sent == property);
        !is_sent && !kept.contains(property)
    });
    acts.extend(others.cloned().map(Act::DropField));
    acts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::LocalId;
    use crate::testing::{at, contacts, entry, property, record, row};

    fn lost_create(key: Option<&str>, row: Option<&str>) -> Entry {
        let mut create = entry(Operation::Create, &[("email", "", Some("ann@example.com"))]);
        create.standing.unanswered_since = Some(at(10));
        create.key = key.map(str::to_owned);
        create.row = row.map(str::to_owned);
        create
    }

    fn keyed() -> SyncedObject {
        contacts().keyed(Some(property("hubsyncd_key")))
    }

    #[test]
    fn a_lost_create_is_looked_for_by_what_it_carried() {
        let plain = SyncedObject::of(contacts().mapping().clone());
        let here = row(1, None, &[("email", "other@example.com")]);
        let check = |object: &SyncedObject, create: &Entry, row, expected| {
            assert_eq!(look_by(object, create, row).look_in(), expected);
        };
        let create = lost_create(Some("k1"), None);
        check(&keyed(), &create, Some(&here), LookIn::Store);
        check(&plain, &create, Some(&here), LookIn::Nowhere);
        let deleted = lost_create(None, Some(r#"{"email":"other@example.com"}"#));
        check(&plain, &deleted, None, LookIn::Search);
        let by = look_by(&contacts(), &create, Some(&here));
        assert_eq!(by.unique[0].0, "ann@example.com");
    }

    #[test]
    fn a_create_without_a_key_is_not_looked_for_by_it() {
        let mut create = lost_create(Some("k1"), None);
        assert_eq!(look_by(&keyed(), &create, None).key.as_deref(), Some("k1"));
        create.standing.sent_keyless = true;
        assert_eq!(look_by(&keyed(), &create, None).key, None);
    }

    #[test]
    fn a_record_with_a_key_is_the_creates_whose_key_it_is_whoever_has_its_values() {
        let object = SyncedObject {
            unique: vec![property("email")],
            ..keyed()
        };
        let looks: Vec<(OutboxId, LookBy)> = ["k1", "k2"]
            .into_iter()
            .enumerate()
            .map(|(number, key)| {
                let create = lost_create(Some(key), None);
                let id = OutboxId(number as i64 + 1);
                (id, look_by(&object, &create, None))
            })
            .collect();
        let mut found = record(101, 20, &[("email", "ann@example.com")]);
        found.own_key = Some("k2".to_owned());
        assert_eq!(
            meant_by(&object, &looks, &found),
            Some((OutboxId(2), FoundBy::Key))
        );
        found.own_key = None;
        let by_value = Some((OutboxId(1), FoundBy::MatchWithoutKey));
        assert_eq!(meant_by(&object, &looks, &found), by_value);
        assert_eq!(unseen_keys(&looks, &[]), ["k1", "k2"]);
        let unread = ["k1".to_owned()];
        assert_eq!(left_in_doubt(&object, &looks, &unread, &[]), [OutboxId(1)]);
        assert_eq!(left_in_doubt(&object, &looks, &unread, &[found]), []);
    }

    #[test]
    fn a_create_that_carried_nothing_or_is_answered_has_made_no_record() {
        let mut found = record(101, 20, &[("email", "ann@example.com")]);
        found.created_at = at(9);
        let made = |create: &Entry| has_made(create, FoundBy::MatchAlone, &found, None, 0);
        let create = lost_create(None, None);
        assert!(made(&create));
        let mut answered = create.clone();
        answered.standing.unanswered_since = None;
        assert!(!made(&answered));
        let mut refused = create;
        refused.fields[0].sent = None;
        assert!(!made(&refused));
    }

    #[test]
    fn a_row_inserted_again_keeps_what_the_deleted_one_agreed_on() {
        let object = contacts();
        let again = row(2, None, &[("email", "ann@example.com"), ("city", "Lima")]);
        let mut archive = entry(Operation::Archive, &[("firstname", "Ann", None)]);
        archive.row =
            Some(r#"{"email":"ann@example.com","firstname":"Anna","city":"Lima"}"#.to_owned());
        let archives = [archive];
        let found = reinserted(&object, &again, &archives).expect("the same person");
        let mut create = entry(Operation::Create, &[]);
        create.local_id = LocalId(2);
        let acts = relinked(&object, &again, &create, found, &BTreeMap::new());
        let put = Act::PutField {
            property: property("firstname"),
            base: Base::Known(Value::from_canonical("Ann")),
            changed_at: create.standing.enqueued_at,
        };
        let dropped = ["email", "city"].map(|name| Act::DropField(property(name)));
        let [email, city] = dropped;
        assert_eq!(acts, [email, put, city]);
        let stranger = row(2, None, &[("email", "bob@example.com")]);
        assert_eq!(reinserted(&object, &stranger, &archives), None);
    }

    #[test]
    fn a_create_carries_what_has_a_value_and_lets_go_what_is_not_sent() {
        let object = contacts();
        let here = row(1, None, &[("email", "ann@example.com"), ("score", "7")]);
        let carried = carried(&object, &here, &BTreeMap::new());
        assert_eq!(
            carried,
            [(
                &property("email"),
                &Value::from_canonical("ann@example.com")
            )]
        );
        let create = entry(Operation::Create, &[("city", "", None), ("gone", "", None)]);
        let acts = claimed(&create, &carried, &[property("gone")]);
        assert_eq!(acts.last(), Some(&Act::DropField(property("city"))));
        assert_eq!(acts.len(), 3);
    }
}
