//! Archived or gone in HubSpot against edited here, deleted here against edited in HubSpot.
//!
//! Only `on_remote_delete = "delete"` and `on_local_delete = "archive"` are there so far.

use crate::model::conflict::Winner;
use crate::model::mapping::Policy;
use crate::model::time::Timestamp;

/// Why the record's archiving wins.
pub const ARCHIVED_LATER: &str = "the record was archived after the local write";
/// Why the local write wins over the archiving.
pub const WRITTEN_LATER: &str = "the local write is later than the archiving";
/// Why the archiving wins where its time is not known.
pub const ARCHIVED_UNKNOWN: &str = "HubSpot does not say when the record was archived";

/// What becomes of a row whose record HubSpot no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovedOutcome {
    /// The row goes; nothing local is lost.
    RemoveRow,
    /// The row goes, and a closed conflict keeps it.
    RemoveRowInConflict(&'static str),
    /// The row stays, loses its id and is created again.
    CreateAgain(&'static str),
    /// The row stays and a person decides.
    Ask,
}

/// Decides for a row whose record was archived or is gone. `last_write` is the row's last pending local write in
/// HubSpot's time.
pub fn removed_in_hubspot(
    policy: Policy,
    last_write: Option<Timestamp>,
    archived_at: Option<Timestamp>,
) -> RemovedOutcome {
    let Some(written) = last_write else {
        return RemovedOutcome::RemoveRow;
    };
    match (policy, archived_at) {
        (Policy::Remote, _) => RemovedOutcome::RemoveRowInConflict(crate::decide::merge::BY_POLICY),
        (Policy::Local, _) => RemovedOutcome::CreateAgain(crate::decide::merge::BY_POLICY),
        (Policy::Manual, _) => RemovedOutcome::Ask,
        (Policy::Newest, Some(archived)) if written > archived => {
            RemovedOutcome::CreateAgain(WRITTEN_LATER)
        }
        (Policy::Newest, Some(_)) => RemovedOutcome::RemoveRowInConflict(ARCHIVED_LATER),
        (Policy::Newest, None) => RemovedOutcome::RemoveRowInConflict(ARCHIVED_UNKNOWN),
    }
}

/// What becomes of a pending archive whose record was read just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletedOutcome {
    /// The record is archived.
    Archive,
    /// The record is archived over somebody's edit; a closed conflict keeps the edit.
    ArchiveInConflict(&'static str),
    /// The row comes back with HubSpot's values; a closed conflict keeps the deletion.
    BringBack(&'static str),
    /// Nothing is sent; a person decides.
    Ask,
}

/// Decides for a row that was deleted here. `edited_at` is the time of the change in HubSpot where the record differs
/// from the last agreed values; `deleted_at` the time of the DELETE in HubSpot's time.
pub fn deleted_here(
    policy: Policy,
    edited_at: Option<Timestamp>,
    deleted_at: Timestamp,
) -> DeletedOutcome {
    let Some(edited) = edited_at else {
        return DeletedOutcome::Archive;
    };
    match policy {
        Policy::Remote => DeletedOutcome::BringBack(crate::decide::merge::BY_POLICY),
        Policy::Local => DeletedOutcome::ArchiveInConflict(crate::decide::merge::BY_POLICY),
        Policy::Manual => DeletedOutcome::Ask,
        Policy::Newest if deleted_at > edited => {
            DeletedOutcome::ArchiveInConflict(crate::decide::merge::LOCAL_LATER)
        }
        Policy::Newest => DeletedOutcome::BringBack(crate::decide::merge::REMOTE_LATER),
    }
}

/// The winner that a conflict about existence is recorded with.
pub fn winner_of_removal(outcome: RemovedOutcome) -> Option<Winner> {
    match outcome {
        RemovedOutcome::RemoveRow | RemovedOutcome::Ask => None,
        RemovedOutcome::RemoveRowInConflict(_) => Some(Winner::Remote),
        RemovedOutcome::CreateAgain(_) => Some(Winner::Local),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::EPOCH;

    #[test]
    fn a_clean_row_goes_with_its_record() {
        for policy in Policy::ALL {
            assert_eq!(
                removed_in_hubspot(policy, None, Some(T)),
                RemovedOutcome::RemoveRow
            );
        }
    }

    #[test]
    fn a_dirty_row_is_a_conflict_by_the_objects_policy() {
        let written = Some(T.plus_millis(10));
        let check = |policy, archived, expected| {
            assert_eq!(removed_in_hubspot(policy, written, archived), expected);
        };
        check(
            Policy::Remote,
            None,
            RemovedOutcome::RemoveRowInConflict("the policy says so"),
        );
        check(
            Policy::Local,
            None,
            RemovedOutcome::CreateAgain("the policy says so"),
        );
        check(Policy::Manual, None, RemovedOutcome::Ask);
        check(
            Policy::Newest,
            Some(T.plus_millis(9)),
            RemovedOutcome::CreateAgain(WRITTEN_LATER),
        );
        check(
            Policy::Newest,
            Some(T.plus_millis(10)),
            RemovedOutcome::RemoveRowInConflict(ARCHIVED_LATER),
        );
        check(
            Policy::Newest,
            None,
            RemovedOutcome::RemoveRowInConflict(ARCHIVED_UNKNOWN),
        );
    }

    #[test]
    fn a_deletion_meets_an_edit_by_the_objects_policy() {
        let edited = Some(T.plus_millis(10));
        let check = |policy, at, expected| {
            assert_eq!(deleted_here(policy, edited, T.plus_millis(at)), expected);
        };
        assert_eq!(
            deleted_here(Policy::Remote, None, T),
            DeletedOutcome::Archive
        );
        check(
            Policy::Remote,
            99,
            DeletedOutcome::BringBack("the policy says so"),
        );
        check(
            Policy::Local,
            0,
            DeletedOutcome::ArchiveInConflict("the policy says so"),
        );
        check(Policy::Manual, 0, DeletedOutcome::Ask);
        check(
            Policy::Newest,
            11,
            DeletedOutcome::ArchiveInConflict(crate::decide::merge::LOCAL_LATER),
        );
        check(
            Policy::Newest,
            10,
            DeletedOutcome::BringBack(crate::decide::merge::REMOTE_LATER),
        );
    }
}
