//! Links as they are made and taken away: what one type implies for the others, both directions, log and events
//! (`api-facts.md#8`).

use crate::catalogue::links::LinkRole;
use crate::catalogue::{COMPANY, CONTACT, ObjectIndex};
use crate::portal::Portal;
use crate::portal::commit::Author;
use crate::portal::link_types::{LinkCategory, LinkDefinition, LinkType};
use crate::portal::links::End;
use crate::portal::logs::LinkLogEntry;

/// Why a link can't be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkRefusal {
    /// The pair has no such type.
    UnknownType,
    /// One of the two is no live record.
    Missing(End),
    /// A record and itself.
    Itself,
    /// The portal allows a record of `from` this many.
    TooMany { from: End, most: u32 },
}

impl Portal {
    /// Whether a pair may have this type.
    pub(crate) fn check_link(
        &self,
        from: End,
        to: End,
        kind: LinkType,
    ) -> Result<LinkDefinition, LinkRefusal> {
        let found = self.link_types().find(from.object, to.object, kind);
        let definition = found.cloned().ok_or(LinkRefusal::UnknownType)?;
        if let Some(missing) = [from, to].into_iter().find(|end| !self.is_live(*end)) {
            return Err(LinkRefusal::Missing(missing));
        }
        if from == to {
            return Err(LinkRefusal::Itself);
        }
        for kind in self.implied(&definition) {
            self.check_most(from, to, kind)?;
        }
        self.check_room(to, from, &definition)?;
        Ok(definition)
    }

    /// Whether a record has room for one more of a type that the other end names.
    pub(crate) fn check_room(
        &self,
        to: End,
        from: End,
        definition: &LinkDefinition,
    ) -> Result<(), LinkRefusal> {
        for kind in self.implied(definition) {
            if let Some(inverse) = self.inverse(from, to, kind) {
                self.check_most(to, from, inverse)?;
            }
        }
        Ok(())
    }

    fn check_most(&self, from: End, to: End, kind: LinkType) -> Result<(), LinkRefusal> {
        let definition = self.link_types().find(from.object, to.object, kind);
        let Some(most) = definition.and_then(|definition| definition.most) else {
            return Ok(());
        };
        let links = self.record_links();
        let others = links.with_kind(from, to.object, kind);
        let others = others.filter(|id| *id != to.id).count();
        // A new primary takes the place of the old one.
        let gives_way = definition.is_some_and(|known| known.role == LinkRole::Primary);
        if gives_way || others < most as usize {
            Ok(())
        } else {
            Err(LinkRefusal::TooMany { from, most })
        }
    }

    pub(crate) fn is_live(&self, end: End) -> bool {
        self.table(end.object).live.contains_key(&end.id)
    }

    pub(crate) fn inverse(&self, from: End, to: End, kind: LinkType) -> Option<LinkType> {
        let known = self.link_types().find(from.object, to.object, kind);
        known.map(|definition| definition.inverse)
    }

    /// The type itself, and the plain type with every other.
    pub(crate) fn implied(&self, definition: &LinkDefinition) -> Vec<LinkType> {
        let plain = self.link_types().plain(definition.from, definition.to);
        let plain = plain.map(|plain| plain.kind);
        let mut kinds: Vec<LinkType> = plain.into_iter().chain([definition.kind]).collect();
        kinds.dedup();
        kinds
    }

    /// Makes a link that `check_link` has let pass; whether anything changed.
    pub(crate) fn commit_link(
        &mut self,
        (from, to): (End, End),
        definition: &LinkDefinition,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        self.demote_others(from, to, definition.role, author, now_ms);
        let mut changed = false;
        for kind in self.implied(definition) {
            changed |= self.put_kind((from, to), kind, author, now_ms);
        }
        if changed {
            self.follow_links((from, to), author, now_ms);
        }
        changed
    }

    /// The plain type of a pair, and with it the primary where the record has none yet; the types that the pair then has
    /// by this call.
    pub(crate) fn commit_default_link(
        &mut self,
        (from, to): (End, End),
        plain: &LinkDefinition,
        author: &Author,
        now_ms: i64,
    ) -> Vec<LinkType> {
        let mut made = vec![plain.kind];
        self.commit_link((from, to), plain, author, now_ms);
        if self.settings().first_company_is_primary
            && let Some(primary) = self.missing_primary(from, to)
        {
            self.commit_link((from, to), &primary, author, now_ms);
            made.push(primary.kind);
        }
        made
    }

    /// The primary type of a pair whose one end has no primary yet.
    fn missing_primary(&self, from: End, to: End) -> Option<LinkDefinition> {
        let types = self.link_types();
        let known = types.of(from.object, to.object).iter();
        let primary = known.filter(|one| one.role.is_primary()).find(|one| {
            let (owner, other, kind) = match one.role {
                LinkRole::Primary => (from, to, one.kind),
                LinkRole::Plain | LinkRole::PrimaryInverse | LinkRole::Labelled => {
                    (to, from, one.inverse)
                }
            };
            let mut primaries = self.record_links().with_kind(owner, other.object, kind);
            primaries.next().is_none()
        });
        primary.cloned()
    }

    /// A new primary leaves the old one its plain type.
    fn demote_others(&mut self, from: End, to: End, role: LinkRole, author: &Author, now_ms: i64) {
        let (owner, chosen) = match role {
            LinkRole::Primary => (from, to),
            LinkRole::PrimaryInverse => (to, from),
            LinkRole::Plain | LinkRole::Labelled => return,
        };
        let Some(primary) = self.link_types().primary(owner.object, chosen.object) else {
            return;
        };
        let kind = primary.kind;
        let links = self.record_links();
        let others: Vec<u64> = links
            .with_kind(owner, chosen.object, kind)
            .filter(|id| *id != chosen.id)
            .collect();
        for id in others {
            let other = End {
                object: chosen.object,
                id,
            };
            self.take_kind((owner, other), kind, author, now_ms);
        }
    }

    /// Takes one type of a pair away; with the plain type all of them go.
    pub(crate) fn commit_unlink(
        &mut self,
        (from, to): (End, End),
        kind: LinkType,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        let plain = self.link_types().plain(from.object, to.object);
        if plain.is_some_and(|plain| plain.kind == kind) {
            return self.commit_unlink_pair((from, to), author, now_ms);
        }
        let changed = self.take_kind((from, to), kind, author, now_ms);
        if changed {
            self.follow_links((from, to), author, now_ms);
        }
        changed
    }

    /// Takes all types of a pair away; whether there were any.
    pub(crate) fn commit_unlink_pair(
        &mut self,
        (from, to): (End, End),
        author: &Author,
        now_ms: i64,
    ) -> bool {
        let kinds = self.record_links().kinds(from, to).to_vec();
        for kind in &kinds {
            self.take_kind((from, to), *kind, author, now_ms);
        }
        if !kinds.is_empty() {
            self.follow_links((from, to), author, now_ms);
        }
        !kinds.is_empty()
    }

    /// Deletes a label in both directions: associations lose it and keep the plain type. False if there is no such label.
    pub(crate) fn commit_delete_label(
        &mut self,
        (from, to): (ObjectIndex, ObjectIndex),
        kind: LinkType,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        let known = self.link_types().find(from, to, kind).cloned();
        let is_own = |definition: &LinkDefinition| {
            definition.role == LinkRole::Labelled && kind.category != LinkCategory::HubSpot
        };
        let Some(definition) = known.filter(is_own) else {
            return false;
        };
        let all = self.record_links().of_pair(from, to);
        let held = all.flat_map(|(id, partners)| {
            let with_it = partners.iter().filter(|(_, kinds)| kinds.contains(&kind));
            with_it.map(move |(to_id, _)| (id, *to_id))
        });
        for (from_id, to_id) in held.collect::<Vec<_>>() {
            let ends = (
                End {
                    object: from,
                    id: from_id,
                },
                End {
                    object: to,
                    id: to_id,
                },
            );
            self.take_kind(ends, kind, author, now_ms);
        }
        self.link_types_mut().remove(&definition);
        true
    }

    fn put_kind(
        &mut self,
        (from, to): (End, End),
        kind: LinkType,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        self.change_kind((from, to), kind, false, author, now_ms)
    }

    fn take_kind(
        &mut self,
        (from, to): (End, End),
        kind: LinkType,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        self.change_kind((from, to), kind, true, author, now_ms)
    }

    /// Adds or removes a type of a pair, as each of its ends sees it.
    fn change_kind(
        &mut self,
        (from, to): (End, End),
        kind: LinkType,
        removed: bool,
        author: &Author,
        now_ms: i64,
    ) -> bool {
        let Some(inverse) = self.inverse(from, to, kind) else {
            return false;
        };
        let mut changed = false;
        for (ends, kind) in [((from, to), kind), ((to, from), inverse)] {
            let links = self.record_links_mut();
            let is_news = match removed {
                true => links.remove(ends.0, ends.1, kind),
                false => links.add(ends.0, ends.1, kind),
            };
            if is_news {
                self.note_link(ends, kind, removed, author, now_ms);
            }
            changed |= is_news;
        }
        changed
    }

    fn note_link(
        &mut self,
        (from, to): (End, End),
        kind: LinkType,
        removed: bool,
        author: &Author,
        now_ms: i64,
    ) {
        let entry = LinkLogEntry {
            at_ms: now_ms,
            from_object: self.table(from.object).spec.plural,
            from_id: from.id,
            to_object: self.table(to.object).spec.plural,
            to_id: to.id,
            kind,
            removed,
            by_api: author.by_api,
        };
        if author.tells_links {
            self.announce_link((from, to), &entry, author);
        }
        self.push_link(entry);
    }

    /// What follows from a changed pair: the contact's company, and by the settings the last-modified time.
    fn follow_links(&mut self, (from, to): (End, End), author: &Author, now_ms: i64) {
        let stays = |end: End| author.leaving != Some(end);
        for (contact, company) in [(from, to), (to, from)] {
            let is_pair = (contact.object, company.object) == (CONTACT, COMPANY);
            if is_pair && stays(contact) {
                self.mirror_primary(contact, now_ms);
            }
        }
        if self.settings().association_moves_modified {
            for end in [from, to].into_iter().filter(|end| stays(*end)) {
                self.touch(end, now_ms);
            }
        }
    }

    /// `associatedcompanyid` names the primary company.
    pub(crate) fn mirror_primary(&mut self, contact: End, now_ms: i64) {
        let Some(property) = self.table(CONTACT).schema.id("associatedcompanyid") else {
            return;
        };
        let primary = self.primary_company(contact).map(|id| id.to_string());
        let stored = self.table(CONTACT).live.get(&contact.id);
        let stored = stored.map(|stored| stored.document.values.get(property));
        if stored.is_some_and(|stored| stored != primary.as_deref()) {
            let changes = [(property, primary)];
            self.write_values(
                contact.object,
                contact.id,
                &changes,
                &Author::associations(),
                now_ms,
            );
        }
    }

    fn primary_company(&self, contact: End) -> Option<u64> {
        let primary = self.link_types().primary(CONTACT, COMPANY)?;
        let links = self.record_links();
        links.with_kind(contact, COMPANY, primary.kind).next()
    }

    /// A written `associatedcompanyid` makes that company the primary one; cleared, there is none.
    pub(crate) fn obey_company_property(&mut self, contact: End, author: &Author, now_ms: i64) {
        let table = self.table(CONTACT);
        let Some(property) = table.schema.id("associatedcompanyid") else {
            return;
        };
        let stored = table.live.get(&contact.id);
        let written = stored.and_then(|stored| stored.document.values.get(property));
        let written: Option<u64> = written.and_then(|text| text.parse().ok());
        let current = self.primary_company(contact);
        let Some(primary) = self.link_types().primary(CONTACT, COMPANY).cloned() else {
            return;
        };
        let company = |id| End {
            object: COMPANY,
            id,
        };
        match (written, current) {
            (Some(id), _) if current != Some(id) && self.is_live(company(id)) => {
                self.commit_link((contact, company(id)), &primary, author, now_ms);
            }
            (None, Some(id)) => {
                self.commit_unlink((contact, company(id)), primary.kind, author, now_ms);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::portal::LinkType;
    use crate::testing::Desk;

    fn named(desk: &Desk, contact: u64) -> Option<&str> {
        let record = desk.portal.record("contacts", contact)?;
        record.value("associatedcompanyid")
    }

    #[test]
    fn a_label_brings_the_plain_type_and_each_type_its_inverse() {
        let mut desk = Desk::quick();
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        let kind = LinkType::hubspot(2);
        let (from, to) = (("companies", acme), ("contacts", ada));
        assert!(desk.portal.label(from, to, kind, desk.now_ms));
        assert_eq!(desk.kinds(ada, acme), [1, 279]);
        let back = desk.portal.links_of(from, "contacts");
        let back: Vec<u32> = back.iter().map(|link| link.kind.type_id).collect();
        assert_eq!(back, [2, 280]);
    }

    #[test]
    fn a_new_primary_leaves_the_old_one_its_plain_type_and_moves_the_property() {
        let mut desk = Desk::quick();
        let ada = desk.contact("ada@example.com");
        let (acme, beta) = (desk.company("Acme"), desk.company("Beta"));
        let contact = ("contacts", ada);
        for company in [acme, beta] {
            let to = ("companies", company);
            assert!(desk.portal.set_primary(contact, to, desk.now_ms));
        }
        assert_eq!(
            (desk.kinds(ada, acme), desk.kinds(ada, beta)),
            (vec![279], vec![1, 279])
        );
        assert_eq!(named(&desk, ada), Some(beta.to_string().as_str()));
        let to = ("companies", beta);
        let unset = desk
            .portal
            .unlabel(contact, to, LinkType::hubspot(1), desk.now_ms);
        assert!(unset);
        assert_eq!(
            (desk.kinds(ada, beta), named(&desk, ada)),
            (vec![279], None)
        );
    }

    #[test]
    fn removing_the_plain_type_removes_every_type_of_the_pair() {
        let mut desk = Desk::quick();
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        let (from, to) = (("contacts", ada), ("companies", acme));
        let pair = ("contacts", "companies");
        let (adviser, _) = desk.portal.create_label(pair, "Adviser", None);
        assert!(desk.portal.label(from, to, adviser, desk.now_ms));
        assert!(desk.portal.set_primary(from, to, desk.now_ms));
        assert_eq!(desk.portal.links("contacts", "companies").len(), 3);
        let plain = LinkType::hubspot(279);
        assert!(desk.portal.unlabel(from, to, plain, desk.now_ms));
        assert_eq!(desk.portal.links("contacts", "companies"), []);
        assert_eq!(desk.portal.links("companies", "contacts"), []);
    }

    #[test]
    fn companies_are_parent_and_child_each_from_its_end() {
        let mut desk = Desk::quick();
        let (parent, child) = (desk.company("Parent"), desk.company("Child"));
        let (from, to) = (("companies", parent), ("companies", child));
        let kind = LinkType::hubspot(13);
        assert!(desk.portal.label(from, to, kind, desk.now_ms));
        let seen = desk.portal.links("companies", "companies");
        let seen: Vec<_> = seen
            .iter()
            .map(|link| (link.from_id, link.to_id, link.kind.type_id))
            .collect();
        let expected = [
            (parent, child, 13),
            (parent, child, 450),
            (child, parent, 14),
            (child, parent, 450),
        ];
        assert_eq!(seen, expected);
        let itself = desk.portal.label(from, from, kind, desk.now_ms);
        assert!(!itself, "not with itself");
    }

    #[test]
    fn a_written_company_property_makes_and_unmakes_the_primary() {
        let mut desk = Desk::quick();
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        let id = acme.to_string();
        let write = |desk: &mut Desk, text: &str| {
            let properties = [("associatedcompanyid", text)];
            desk.portal.edit("contacts", ada, &properties, desk.now_ms)
        };
        assert!(write(&mut desk, &id));
        assert_eq!(desk.kinds(ada, acme), [1, 279]);
        assert!(write(&mut desk, ""));
        assert_eq!(desk.kinds(ada, acme), [279]);
    }

    #[test]
    fn each_direction_of_each_type_is_logged_once() {
        let mut desk = Desk::quick();
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        for _ in 0..2 {
            let (from, to) = (("contacts", ada), ("companies", acme));
            assert!(desk.portal.set_primary(from, to, desk.now_ms));
        }
        let log = desk.portal.link_log().iter();
        let log: Vec<_> = log
            .map(|entry| (entry.from_object, entry.kind.type_id, entry.removed))
            .collect();
        let expected = [
            ("contacts", 279, false),
            ("companies", 280, false),
            ("contacts", 1, false),
            ("companies", 2, false),
        ];
        assert_eq!(log, expected);
    }
}
