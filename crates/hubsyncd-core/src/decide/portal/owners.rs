//! The owners of a portal, read page by page: where their list ends, and who stays known.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::HubspotId;
use crate::model::reference::Owner;

/// More pages of owners than this are not asked for: a hundred thousand of them.
const MOST_OWNER_PAGES: usize = 1000;

/// Owners as HubSpot's list has them.
#[derive(Debug, Default)]
pub struct FoundOwners {
    read: BTreeMap<i64, Owner>,
    /// Owners that are there and make no sense.
    unread: BTreeSet<i64>,
    /// Whether a list led to no end.
    is_part: bool,
}

/// What comes after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerPage {
    /// The next page.
    Next,
    /// Nothing: it was the list's last.
    Last,
    /// Nothing: the list leads to no end.
    Circle,
}

impl FoundOwners {
    /// Takes a page, the `number`th of its list. One that brings nobody new ends its list: the one after it may be the same
    /// for ever.
    pub fn take(
        &mut self,
        owners: Vec<Owner>,
        unread: &[HubspotId],
        leads_on: bool,
        number: usize,
    ) -> OwnerPage {
        let known = self.len() + self.unread.len();
        let owners = owners.into_iter();
        self.read.extend(owners.map(|owner| (owner.id, owner)));
        self.unread.extend(unread.iter().map(|id| id.0));
        if !leads_on {
            OwnerPage::Last
        } else if self.len() + self.unread.len() == known || number == MOST_OWNER_PAGES {
            self.is_part = true;
            OwnerPage::Circle
        } else {
            OwnerPage::Next
        }
    }

    /// How many were read.
    pub fn len(&self) -> usize {
        self.read.len()
    }

    /// Whether none was read.
    pub fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    /// The table's next content: who was not read, and may be there all the same, stays as known.
    pub fn joined(self, known: Vec<Owner>) -> Vec<Owner> {
        let mut owners = self.read;
        for owner in known {
            if self.is_part || self.unread.contains(&owner.id) {
                owners.entry(owner.id).or_insert(owner);
            }
        }
        owners.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(id: i64) -> Owner {
        Owner {
            id,
            email: None,
            first_name: None,
            last_name: None,
            user_id: None,
            archived: false,
        }
    }

    #[test]
    fn a_page_that_brings_nobody_new_ends_the_list_and_keeps_who_was_known() {
        let mut found = FoundOwners::default();
        assert_eq!(found.take(vec![owner(1)], &[], true, 1), OwnerPage::Next);
        assert_eq!(found.take(vec![owner(1)], &[], true, 2), OwnerPage::Circle);
        let ids: Vec<i64> = found
            .joined(vec![owner(7)])
            .iter()
            .map(|owner| owner.id)
            .collect();
        assert_eq!(ids, [1, 7]);
    }

    #[test]
    fn who_is_not_in_a_whole_list_goes_unless_it_could_not_be_read() {
        let mut found = FoundOwners::default();
        let last = found.take(vec![owner(1)], &[HubspotId(8)], false, 1);
        assert_eq!(last, OwnerPage::Last);
        let ids: Vec<i64> = found
            .joined(vec![owner(7), owner(8)])
            .iter()
            .map(|owner| owner.id)
            .collect();
        assert_eq!(ids, [1, 8]);
    }
}
