//! What people do with associations in HubSpot meanwhile, and what tests see of them.

use crate::catalogue::links::LinkRole;
use crate::portal::Portal;
use crate::portal::commit::Author;
use crate::portal::link_types::{LinkType, NewLabel};
use crate::portal::links::{End, Partners};

/// A record as tests name it: its object and its id.
pub type Named<'a> = (&'a str, u64);

/// One type of association of two live records, seen from one of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The record from which it is seen.
    pub from_id: u64,
    /// The other record.
    pub to_id: u64,
    /// Its type.
    pub kind: LinkType,
    /// Its label; `None` for the plain type.
    pub label: Option<String>,
    /// Whether it is the primary type.
    pub is_primary: bool,
}

/// A type of association of a pair, as tests see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairType {
    /// The type.
    pub kind: LinkType,
    /// The same type as the other end sees it.
    pub inverse: LinkType,
    /// Its label; `None` for the plain type.
    pub label: Option<String>,
}

impl Portal {
    fn end_of(&self, (object, id): Named<'_>) -> End {
        End {
            object: self.index_of(object),
            id,
        }
    }

    /// A person associates two records by the pair's default. False where HubSpot would refuse.
    pub fn associate(&mut self, from: Named<'_>, to: Named<'_>, now_ms: i64) -> bool {
        self.tick(now_ms);
        let (now_ms, ends) = (
            self.hubspot_ms(now_ms),
            (self.end_of(from), self.end_of(to)),
        );
        let types = self.link_types();
        let Some(plain) = types.plain(ends.0.object, ends.1.object).cloned() else {
            return false;
        };
        if self.check_link(ends.0, ends.1, plain.kind).is_err() {
            return false;
        }
        self.commit_default_link(ends, &plain, &Author::someone(), now_ms);
        true
    }

    /// A person gives two records a label; the plain type comes with it. False where HubSpot would refuse.
    pub fn label(&mut self, from: Named<'_>, to: Named<'_>, kind: LinkType, now_ms: i64) -> bool {
        self.tick(now_ms);
        let (now_ms, ends) = (
            self.hubspot_ms(now_ms),
            (self.end_of(from), self.end_of(to)),
        );
        match self.check_link(ends.0, ends.1, kind) {
            Ok(definition) => {
                self.commit_link(ends, &definition, &Author::someone(), now_ms);
                true
            }
            Err(_) => false,
        }
    }

    /// A person makes `to` the primary record of `from`, such as a contact's primary company. False where there is no
    /// such thing.
    pub fn set_primary(&mut self, from: Named<'_>, to: Named<'_>, now_ms: i64) -> bool {
        let types = self.link_types();
        let primary = types.primary(self.index_of(from.0), self.index_of(to.0));
        match primary.map(|definition| definition.kind) {
            Some(kind) => self.label(from, to, kind, now_ms),
            None => false,
        }
    }

    /// A person takes all associations of two records away. False if there were none.
    pub fn disassociate(&mut self, from: Named<'_>, to: Named<'_>, now_ms: i64) -> bool {
        self.tick(now_ms);
        let (now_ms, ends) = (
            self.hubspot_ms(now_ms),
            (self.end_of(from), self.end_of(to)),
        );
        self.commit_unlink_pair(ends, &Author::someone(), now_ms)
    }

    /// A person takes one label away; the plain type takes all with it. False if it wasn't there.
    pub fn unlabel(&mut self, from: Named<'_>, to: Named<'_>, kind: LinkType, now_ms: i64) -> bool {
        self.tick(now_ms);
        let (now_ms, ends) = (
            self.hubspot_ms(now_ms),
            (self.end_of(from), self.end_of(to)),
        );
        self.commit_unlink(ends, kind, &Author::someone(), now_ms)
    }

    /// A person makes a label for a pair of objects; the type seen from either end. `inverse`: as the other end sees it,
    /// else the same.
    pub fn create_label(
        &mut self,
        (from, to): (&str, &str),
        label: &str,
        inverse: Option<&str>,
    ) -> (LinkType, LinkType) {
        let name: String = label.to_lowercase().replace(' ', "_");
        let new = NewLabel {
            from: self.index_of(from),
            to: self.index_of(to),
            name: &name,
            label: Some(label),
            inverse_label: inverse,
        };
        self.link_types_mut().add(new)
    }

    /// A person renames a label, seen from `from`. False if there is no such label.
    pub fn rename_label(&mut self, (from, to): (&str, &str), kind: LinkType, label: &str) -> bool {
        let pair = (self.index_of(from), self.index_of(to));
        let known = self.link_types().find(pair.0, pair.1, kind);
        let is_label = known.is_some_and(|definition| definition.role == LinkRole::Labelled);
        self.link_types_mut().change(pair, kind, |definition| {
            if is_label {
                definition.label = Some(label.to_owned());
            }
        });
        is_label
    }

    /// A person deletes a label in both directions: associations lose it and keep the plain type. False if there is no
    /// such label.
    pub fn delete_label(&mut self, (from, to): (&str, &str), kind: LinkType, now_ms: i64) -> bool {
        let now_ms = self.hubspot_ms(now_ms);
        let pair = (self.index_of(from), self.index_of(to));
        self.commit_delete_label(pair, kind, &Author::someone(), now_ms)
    }

    /// The portal's limit on a type: to how many records one of `from` may have it; `None` lifts it.
    pub fn limit_links(&mut self, (from, to): (&str, &str), kind: LinkType, most: Option<u32>) {
        let pair = (self.index_of(from), self.index_of(to));
        let types = self.link_types_mut();
        types.change(pair, kind, |definition| definition.most = most);
    }

    /// Every association between live records of two objects, sorted, as `from` sees it.
    pub fn links(&self, from: &str, to: &str) -> Vec<Link> {
        let pair = (self.index_of(from), self.index_of(to));
        let all = self.record_links().of_pair(pair.0, pair.1);
        all.flat_map(|(id, partners)| self.seen(pair, id, partners))
            .collect()
    }

    /// The associations of one record with those of an object, sorted.
    pub fn links_of(&self, from: Named<'_>, to: &str) -> Vec<Link> {
        let (end, object) = (self.end_of(from), self.index_of(to));
        let partners = self.record_links().partners(end, object);
        partners.map_or_else(Vec::new, |partners| {
            self.seen((end.object, object), end.id, partners)
        })
    }

    fn seen(&self, pair: (usize, usize), from_id: u64, partners: &Partners) -> Vec<Link> {
        let types = self.link_types();
        let one = |(to_id, kind): (u64, LinkType)| {
            let definition = types.find(pair.0, pair.1, kind)?;
            Some(Link {
                from_id,
                to_id,
                kind,
                label: definition.label.clone(),
                is_primary: definition.role.is_primary(),
            })
        };
        let kinds = partners
            .iter()
            .flat_map(|(to_id, kinds)| kinds.iter().map(|kind| (*to_id, *kind)));
        kinds.filter_map(one).collect()
    }

    /// The types that a pair of objects has.
    pub fn pair_types(&self, from: &str, to: &str) -> Vec<PairType> {
        let known = self.link_types().of(self.index_of(from), self.index_of(to));
        let seen = known.iter().map(|definition| PairType {
            kind: definition.kind,
            inverse: definition.inverse,
            label: definition.label.clone(),
        });
        seen.collect()
    }
}
