//! What becomes of links when their record goes, comes back, or is merged into another (`api-facts.md#13`).

use crate::catalogue::links::LinkRole;
use crate::catalogue::{CONTACT, ObjectIndex};
use crate::portal::Portal;
use crate::portal::commit::Author;
use crate::portal::link_types::LinkType;
use crate::portal::links::End;

impl Portal {
    /// The author of link changes that follow from something else: told as events only where the settings say so.
    fn link_mover(&self, author: &Author, leaving: Option<End>) -> Author {
        Author {
            leaving,
            tells_links: self.settings().moved_links_are_told,
            ..author.clone()
        }
    }

    /// An archived record loses its links, which wait for its restore.
    pub(crate) fn put_links_aside(&mut self, from: End, author: &Author, now_ms: i64) {
        let mover = self.link_mover(author, Some(from));
        for (to, kinds) in self.record_links().all_of(from) {
            self.commit_unlink_pair((from, to), &mover, now_ms);
            self.record_links_mut().shelve(from, to, kinds);
        }
    }

    /// A restored record gets its links back: to those that are live, by way of merges too. What is archived itself
    /// keeps the link for its own restore.
    pub(crate) fn bring_links_back(&mut self, from: End, author: &Author, now_ms: i64) {
        let mover = self.link_mover(author, None);
        let waiting = self.record_links_mut().unshelve(from);
        let had_links = !waiting.is_empty();
        for (to, kinds) in waiting {
            let live = self.table(to.object).resolve(to.id);
            if let Some(id) = live {
                let to = End {
                    object: to.object,
                    id,
                };
                self.relink((from, to), &kinds, &mover, now_ms);
            } else if self.table(to.object).archived.contains_key(&to.id) {
                let types = self.link_types();
                let inverse = |kind: &LinkType| {
                    let known = types.find(from.object, to.object, *kind);
                    known.map(|definition| definition.inverse)
                };
                let kinds = kinds.iter().filter_map(inverse).collect();
                self.record_links_mut().shelve(to, from, kinds);
            }
        }
        if had_links && from.object == CONTACT {
            self.mirror_primary(from, now_ms);
        }
    }

    /// The links of records that were merged, taken before they vanish: the first record's before the others'.
    pub(crate) fn take_links(
        &mut self,
        object: ObjectIndex,
        gone: &[u64],
        author: &Author,
        now_ms: i64,
    ) -> Vec<(End, Vec<LinkType>)> {
        let mut taken = Vec::new();
        for id in gone {
            let from = End { object, id: *id };
            let mover = self.link_mover(author, Some(from));
            for (to, kinds) in self.record_links().all_of(from) {
                self.commit_unlink_pair((from, to), &mover, now_ms);
                taken.push((to, kinds));
            }
        }
        taken
    }

    /// Gives the result of a merge the links of both.
    pub(crate) fn give_links(
        &mut self,
        winner: End,
        taken: Vec<(End, Vec<LinkType>)>,
        author: &Author,
        now_ms: i64,
    ) {
        let mover = self.link_mover(author, None);
        for (to, kinds) in taken {
            // The two ends of a link may be what was merged.
            if to != winner && self.is_live(to) {
                self.relink((winner, to), &kinds, &mover, now_ms);
            }
        }
    }

    /// Makes a link as it was, but takes no other record's place as the primary one.
    fn relink(&mut self, ends: (End, End), kinds: &[LinkType], author: &Author, now_ms: i64) {
        let (from, to) = ends;
        for kind in kinds {
            let types = self.link_types();
            let Some(definition) = types.find(from.object, to.object, *kind).cloned() else {
                continue;
            };
            let links = self.record_links();
            let is_taken = match definition.role {
                LinkRole::Primary => links.with_kind(from, to.object, *kind).next().is_some(),
                LinkRole::PrimaryInverse => links
                    .with_kind(to, from.object, definition.inverse)
                    .next()
                    .is_some(),
                LinkRole::Plain | LinkRole::Labelled => false,
            };
            let plain = types.plain(from.object, to.object).cloned();
            let made = Some(definition).filter(|_| !is_taken).or(plain);
            if let Some(made) = made {
                self.commit_link(ends, &made, author, now_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Desk;
    use crate::world::settings::Settings;

    fn pair(desk: &mut Desk) -> (u64, u64) {
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        let (from, to) = (("contacts", ada), ("companies", acme));
        assert!(desk.portal.set_primary(from, to, desk.now_ms));
        (ada, acme)
    }

    /// api-facts.md#13: gone with the archive, back with the restore.
    #[test]
    fn an_archived_record_loses_its_links_and_gets_them_back_in_whatever_order_two_are_restored() {
        for first in ["contacts", "companies"] {
            let mut desk = Desk::quick();
            let (ada, acme) = pair(&mut desk);
            let now_ms = desk.now_ms;
            assert!(desk.portal.archive("contacts", ada, now_ms));
            assert_eq!(desk.portal.links("companies", "contacts"), []);
            assert!(desk.portal.archive("companies", acme, now_ms));
            let second = if first == "contacts" {
                "companies"
            } else {
                "contacts"
            };
            let id = |object| if object == "contacts" { ada } else { acme };
            assert!(desk.portal.restore(first, id(first), now_ms));
            assert_eq!(desk.portal.links("contacts", "companies"), []);
            assert!(desk.portal.restore(second, id(second), now_ms));
            assert_eq!(desk.kinds(ada, acme), [1, 279], "{first} first");
        }
    }

    #[test]
    fn a_restored_company_does_not_take_the_place_of_a_newer_primary() {
        let mut desk = Desk::quick();
        let (ada, acme) = pair(&mut desk);
        let now_ms = desk.now_ms;
        assert!(desk.portal.archive("companies", acme, now_ms));
        let beta = desk.company("Beta");
        let (from, to) = (("contacts", ada), ("companies", beta));
        assert!(desk.portal.set_primary(from, to, now_ms));
        assert!(desk.portal.restore("companies", acme, now_ms));
        assert_eq!(
            (desk.kinds(ada, acme), desk.kinds(ada, beta)),
            (vec![279], vec![1, 279])
        );
    }

    /// api-facts.md#13: associations of both, excess primaries dropped.
    #[test]
    fn a_merge_gathers_the_links_of_both_and_keeps_the_primarys_company() {
        for merge_keeps_primary_id in [false, true] {
            let mut desk = Desk::new(Settings {
                merge_keeps_primary_id,
                ..Settings::quick()
            });
            let (ada, acme) = pair(&mut desk);
            let (twin, beta) = (desk.contact("twin@example.com"), desk.company("Beta"));
            let now_ms = desk.now_ms;
            let (from, to) = (("contacts", twin), ("companies", beta));
            assert!(desk.portal.set_primary(from, to, now_ms));
            let friends = (("contacts", ada), ("contacts", twin));
            assert!(desk.portal.associate(friends.0, friends.1, now_ms));
            let winner = desk.portal.merge("contacts", ada, twin, now_ms);
            let winner = winner.expect("two live records");
            assert_eq!(
                (desk.kinds(winner, acme), desk.kinds(winner, beta)),
                (vec![1, 279], vec![279])
            );
            assert_eq!(desk.portal.links("contacts", "contacts"), []);
            let record = desk.portal.record("contacts", winner).expect("live");
            let named = record.value("associatedcompanyid");
            assert_eq!(named, Some(acme.to_string().as_str()));
        }
    }

    #[test]
    fn a_restored_record_finds_its_partner_by_way_of_a_merge() {
        let mut desk = Desk::quick();
        let (ada, acme) = pair(&mut desk);
        let now_ms = desk.now_ms;
        assert!(desk.portal.archive("contacts", ada, now_ms));
        let beta = desk.company("Beta");
        let winner = desk.portal.merge("companies", beta, acme, now_ms);
        assert!(desk.portal.restore("contacts", ada, now_ms));
        assert_eq!(desk.kinds(ada, winner.expect("merged")), [1, 279]);
    }

    #[test]
    fn a_record_that_goes_keeps_its_values_and_is_not_written_for_its_links() {
        let mut desk = Desk::quick();
        let (ada, acme) = pair(&mut desk);
        let writes = desk.portal.write_log().len();
        assert!(desk.portal.archive("contacts", ada, desk.now_ms));
        assert_eq!(desk.portal.write_log().len(), writes + 1);
        assert!(desk.portal.archive("companies", acme, desk.now_ms));
        assert!(desk.portal.restore("contacts", ada, desk.now_ms));
        let named = desk.portal.record("contacts", ada);
        let named = named.and_then(|record| record.value("associatedcompanyid"));
        assert_eq!(named, None, "its company is not there");
    }

    #[test]
    fn a_record_that_is_deleted_for_good_leaves_no_link() {
        let mut desk = Desk::quick();
        let (ada, acme) = pair(&mut desk);
        assert!(desk.portal.delete_for_good("contacts", ada, desk.now_ms));
        let company = ("companies", acme);
        assert_eq!(desk.portal.links_of(company, "contacts"), []);
    }
}
