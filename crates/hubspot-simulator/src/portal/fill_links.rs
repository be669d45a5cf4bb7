//! Links between records that `fill` made: as an import made them long ago.

use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::portal::Portal;
use crate::portal::link_types::LinkDefinition;
use crate::portal::links::End;

impl Portal {
    /// Links nine of ten records of `from` with one of `to` each: as its primary where the pair has such a type, else by the
    /// plain type. Nothing of it is in the log, and no webhook tells of it; a pair without types gets no links.
    pub fn fill_links(&mut self, from: &str, to: &str) {
        let ids = |object: &str| -> Vec<u64> {
            let records = self.records(object);
            records.iter().map(|record| record.id).collect()
        };
        let (own, others) = (ids(from), ids(to));
        let (from, to) = (self.index_of(from), self.index_of(to));
        let types = self.link_types();
        let Some(definition) = types.primary(from, to).or(types.plain(from, to)).cloned() else {
            return;
        };
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed() ^ 0x0011_9C5E);
        for id in own {
            let Some(other) = others.choose(&mut rng).filter(|other| **other != id) else {
                continue;
            };
            if rng.random_ratio(9, 10) {
                let ends = (
                    End { object: from, id },
                    End {
                        object: to,
                        id: *other,
                    },
                );
                self.lay_link(ends, &definition);
            }
        }
    }

    /// Both directions of a link and of what it implies.
    fn lay_link(&mut self, (from, to): (End, End), definition: &LinkDefinition) {
        for kind in self.implied(definition) {
            if let Some(inverse) = self.inverse(from, to, kind) {
                let links = self.record_links_mut();
                links.add(from, to, kind);
                links.add(to, from, inverse);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::portal::Portal;
    use crate::settings::Settings;

    #[test]
    fn most_filled_contacts_have_one_primary_company_and_nothing_is_logged() {
        let mut portal = Portal::new(Settings::default(), 1, 1_700_000_000_000);
        portal.fill("contacts", 200, 1_700_000_000_000);
        portal.fill("companies", 20, 1_700_000_000_000);
        portal.fill_links("contacts", "companies");
        let links = portal.links("contacts", "companies");
        let primaries = links.iter().filter(|link| link.kind.type_id == 1).count();
        let plain = links.iter().filter(|link| link.kind.type_id == 279).count();
        assert!((150..200).contains(&primaries), "{primaries}");
        assert_eq!(primaries, plain);
        assert_eq!(portal.links("companies", "contacts").len(), links.len());
        assert!(portal.link_log().is_empty());
    }
}
