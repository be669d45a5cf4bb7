//! What the guard counts, by what key, and its bounds.

use crate::decide::guard::Bounds;
use crate::model::name::ObjectType;
use crate::model::settings::Guard;
use crate::store::holds::{HeldOperation, HoldKey, Side};

/// The guard's key of archives in HubSpot.
pub(crate) fn archive_key(object: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object,
        side: Side::Hubspot,
        operation: HeldOperation::Archive,
    }
}

/// The guard's key of updates in HubSpot.
pub(crate) fn update_key(object: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object,
        side: Side::Hubspot,
        operation: HeldOperation::Update,
    }
}

/// The guard's key of disassociations in HubSpot, by the pair's name.
pub(crate) fn disassociation_key(pair: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object: pair,
        side: Side::Hubspot,
        operation: HeldOperation::Disassociate,
    }
}

/// The guard's key of removals here.
pub(crate) fn removal_key(object: &ObjectType) -> HoldKey<'_> {
    HoldKey {
        object,
        side: Side::Local,
        operation: HeldOperation::Remove,
    }
}

/// The guard's bounds.
pub fn bounds(guard: &Guard) -> Bounds {
    Bounds {
        max_records: guard.max_archives,
        max_share: guard.max_share,
    }
}
