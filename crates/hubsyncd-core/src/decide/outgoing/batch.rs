//! Which input of a batch a result or an error of its answer is about.
//!
//! | the answer names | a result of | an error of |
//! |---|---|---|
//! | a trace id | the input that carried it | the inputs that carried it |
//! | an id, of an update | the record's input | the inputs with it |
//! | an id, of a create | the input whose key the record has | the inputs with that key |
//! | nothing of these | the create whose unique value the record has | the only input of its batch |

use std::collections::BTreeSet;

use crate::decide::incoming::convert::has_unique_value;
use crate::decide::outgoing::gap::MOST_LATE;
use crate::decide::outgoing::plan::{BATCH, BATCH_WITH_HISTORY, Order};
use crate::decide::outgoing::present::Present;
use crate::decide::outgoing::settle::{InputAnswer, Refusal, Settlement, settle_input};
use crate::model::attempt::{Late, Sent};
use crate::model::entry::{Entry, Operation};
use crate::model::id::{HubspotId, OutboxId};
use crate::model::record::RemoteRecord;
use crate::model::synced::SyncedObject;

/// An input, by what an answer may name of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Input<'a> {
    /// Its trace id.
    trace_id: &'a str,
    /// The record's id, or the key of a create.
    id: Option<&'a str>,
}

/// What an error names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named<'a> {
    /// Trace ids.
    trace_ids: &'a [String],
    /// Ids or keys.
    ids: &'a [String],
}

/// Whether an error is about an input of a batch of so many.
fn is_error_of(input: Input<'_>, error: Named<'_>, inputs: usize) -> bool {
    let named = |names: &[String], own: &str| names.iter().any(|name| name == own);
    if !error.trace_ids.is_empty() {
        return named(error.trace_ids, input.trace_id);
    }
    match error.ids {
        [] => inputs == 1,
        ids => input.id.is_some_and(|id| named(ids, id)),
    }
}

/// Whether a result with that trace id is an input's. `shares_value` says whether the record has a unique value that the
/// input carried.
fn is_result_of(
    operation: Operation,
    input: Input<'_>,
    trace_id: Option<&str>,
    record: &RemoteRecord,
    shares_value: impl FnOnce() -> bool,
) -> bool {
    if let Some(trace_id) = trace_id {
        return trace_id == input.trace_id;
    }
    match operation {
        Operation::Update => input.id == Some(record.id.to_string().as_str()),
        Operation::Create | Operation::Archive | Operation::Associate | Operation::Disassociate => {
            let by_key = input.id.is_some() && input.id == record.own_key.as_deref();
            by_key || shares_value()
        }
    }
}

/// HubSpot's refusal of single inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRefusal {
    /// The trace ids of the inputs meant.
    pub trace_ids: Vec<String>,
    /// The ids or keys meant.
    pub ids: Vec<String>,
    /// What is refused.
    pub refusal: Refusal,
}

/// Matches results and refusals to inputs: by trace id, by id, by the value of the key. What was acknowledged comes first: it
/// may have freed the value that another input was refused.
pub fn settlements(
    object: &SyncedObject,
    operation: Operation,
    batch: &[Sent],
    results: &[(Option<String>, RemoteRecord)],
    refusals: &[NamedRefusal],
) -> Vec<(Sent, Settlement)> {
    let settlement = |sent: &Sent| {
        let input = Input {
            trace_id: &sent.input.trace_id,
            id: sent.input.id.as_deref(),
        };
        let result = results.iter().find(|(trace_id, record)| {
            let shares_value = || has_unique_value(object, &sent.input.properties, record);
            is_result_of(operation, input, trace_id.as_deref(), record, shares_value)
        });
        let refusal = refusals.iter().find(|named| {
            let (trace_ids, ids) = (&named.trace_ids[..], &named.ids[..]);
            is_error_of(input, Named { trace_ids, ids }, batch.len())
        });
        let answer = match (result, refusal) {
            (Some((_, record)), _) => InputAnswer::Result(record),
            (None, Some(named)) => InputAnswer::Refused(&named.refusal),
            (None, None) => InputAnswer::Silence,
        };
        settle_input(operation, answer)
    };
    let settled = batch.iter().map(|sent| (sent.clone(), settlement(sent)));
    let (done, others): (Vec<_>, Vec<_>) =
        settled.partition(|(_, settlement)| matches!(settlement, Settlement::Acknowledge(_)));
    done.into_iter().chain(others).collect()
}

/// The records that creates met, each once.
pub fn met(settled: &[(Sent, Settlement)]) -> Vec<HubspotId> {
    let met = settled
        .iter()
        .filter_map(|(_, settlement)| match settlement {
            Settlement::Adopt(id) => Some(*id),
            Settlement::Acknowledge(_)
            | Settlement::LookForMatch(_)
            | Settlement::Taken(_)
            | Settlement::MissesOther(_)
            | Settlement::Reread(_)
            | Settlement::Retry(_)
            | Settlement::Lost(_)
            | Settlement::Dead(_) => None,
        });
    let met: BTreeSet<HubspotId> = met.collect();
    met.into_iter().collect()
}

/// Entries that are read, claimed and sent together in one try.
#[derive(Debug, Clone)]
pub struct Together {
    /// The entries, as they were when the step began.
    pub entries: Vec<Entry>,
    /// How often they have come too late.
    pub late: u32,
}

impl Together {
    /// The tries of a step. Where histories are asked for, a batch is smaller (`hubspot/api-facts.md#3`).
    pub fn all(due: &[Entry], with_history: bool) -> Vec<Self> {
        let size = match with_history {
            true => BATCH_WITH_HISTORY,
            false => BATCH,
        };
        let chunks = due.chunks(size).map(|due| Self {
            entries: due.to_vec(),
            late: 0,
        });
        chunks.collect()
    }

    /// The records.
    pub fn ids(&self) -> Vec<HubspotId> {
        let ids = self.entries.iter().filter_map(|entry| entry.standing.hs_id);
        ids.collect()
    }

    /// Whether a second read shows the record of an attempt as the first one did.
    pub fn is_shown_alike(&self, sent: &Sent, first: &Present, second: &Present) -> bool {
        let mut entries = self.entries.iter();
        let found = entries.find(|entry| entry.id == sent.entry);
        let id = found.and_then(|entry| entry.standing.hs_id);
        id.is_some_and(|id| first.of(id) == second.of(id) && !second.is_unread(id))
    }

    /// The part of it that came too late, to be read again; `None` where it has come too late too often. A part of what was
    /// sent stays a part, so that halving comes to an end.
    pub fn again(&self, late: &Late) -> Option<Self> {
        let entries = self.entries.iter();
        let entries = entries.filter(|entry| late.entries.contains(&entry.id));
        Some(Self {
            entries: entries.cloned().collect(),
            late: late_again(self.late, late)?,
        })
    }
}

/// How often in a row entries have come too late that did so again; `None` where that is too often.
fn late_again(before: u32, late: &Late) -> Option<u32> {
    let again = if late.is_part { 0 } else { before + 1 };
    (again <= MOST_LATE).then_some(again)
}

/// Associations of a pair that are read, claimed and sent together in one try.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TogetherLinks {
    /// Their entries.
    pub entries: Vec<OutboxId>,
    /// Whether they are the youngest of a long queue: then the youngest says by which call they go, else the oldest.
    pub are_youngest: bool,
    /// How often they have come too late.
    pub late: u32,
    /// How many requests the read took by then: lists of many pages take several, and so do records that HubSpot leaves out.
    pub reads: u32,
}

impl TogetherLinks {
    /// The first try of entries that are due.
    pub fn of(entries: Vec<OutboxId>, order: Order) -> Self {
        Self {
            entries,
            are_youngest: order == Order::NewestFirst,
            ..Self::default()
        }
    }

    /// As [`Together::again`], where the read took so many requests.
    pub fn again(&self, late: Late, reads: u32) -> Option<Self> {
        Some(Self {
            late: late_again(self.late, &late)?,
            entries: late.entries,
            are_youngest: self.are_youngest,
            reads,
        })
    }

    /// How many requests are to go at once where the records of so many ends are read: those of the read, and the write.
    pub fn requests(&self, ends: u32) -> u32 {
        ends.max(self.reads) + 1
    }

    /// Whether the write goes however old its read is: the pages of a list may take longer than a read stays fresh, and would be read
    /// without end.
    pub fn goes_anyway(&self, ends: u32) -> bool {
        self.late == MOST_LATE && self.reads > ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::field_values::FieldValues;
    use crate::model::id::HubspotId;
    use crate::model::time::Timestamp;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_error_is_about_the_inputs_that_it_names_and_about_the_only_one_where_it_names_none() {
        let check = |trace_ids: &[&str], ids: &[&str], inputs, expected| {
            let (trace_ids, ids) = (names(trace_ids), names(ids));
            let error = Named {
                trace_ids: &trace_ids,
                ids: &ids,
            };
            let input = Input {
                trace_id: "7-1",
                id: Some("101"),
            };
            let found = is_error_of(input, error, inputs);
            assert_eq!(found, expected, "{error:?} of {inputs}");
        };
        check(&["7-1"], &[], 2, true);
        check(&["6-1", "7-1"], &[], 2, true);
        check(&["7-2"], &[], 1, false);
        // A trace id says more than an id: an earlier attempt had the same.
        check(&["7-2"], &["101"], 2, false);
        check(&[], &["101"], 2, true);
        check(&[], &["102"], 2, false);
        check(&[], &["102"], 1, false);
        check(&[], &[], 1, true);
        check(&[], &[], 2, false);
    }

    #[test]
    fn what_comes_too_late_takes_its_places_with_its_pages_and_goes_in_the_end() {
        let late = |is_part| Late {
            entries: vec![OutboxId(1)],
            is_part,
        };
        let first = TogetherLinks::of(vec![OutboxId(1), OutboxId(2)], Order::OldestFirst);
        assert_eq!(first.requests(1), 2);
        let mut last = first.again(late(false), 3).expect("is read again");
        assert_eq!(last.entries, [OutboxId(1)]);
        assert_eq!(last.requests(1), 4);
        while let Some(again) = last.again(late(false), 3) {
            assert!(!last.goes_anyway(1));
            last = again;
        }
        assert!(last.goes_anyway(1));
        assert!(!last.goes_anyway(3), "it was read at once");
        assert_eq!(last.again(late(true), 3).map(|part| part.late), Some(0));
    }

    #[test]
    fn an_error_that_names_ids_is_not_about_an_input_without_one() {
        let ids = names(&["101"]);
        let error = Named {
            trace_ids: &[],
            ids: &ids,
        };
        let input = Input {
            trace_id: "7-1",
            id: None,
        };
        assert!(!is_error_of(input, error, 1));
    }

    fn record(key: Option<&str>) -> RemoteRecord {
        RemoteRecord {
            id: HubspotId(101),
            values: FieldValues::default(),
            invalid: std::collections::BTreeMap::new(),
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            archived: false,
            archived_at: None,
            merged_ids: Vec::new(),
            own_key: key.map(str::to_owned),
            other_emails: Vec::new(),
            pipeline: None,
        }
    }

    #[test]
    fn a_result_is_of_the_input_whose_trace_id_id_key_or_value_it_has() {
        let check = |operation, id, trace_id, key, shares_value, expected| {
            let input = Input {
                trace_id: "7-1",
                id,
            };
            let record = record(key);
            let found = is_result_of(operation, input, trace_id, &record, || shares_value);
            assert_eq!(
                found, expected,
                "{operation:?} {input:?} {trace_id:?} {key:?}"
            );
        };
        let (create, update) = (Operation::Create, Operation::Update);
        for operation in [create, update] {
            check(operation, Some("102"), Some("7-1"), None, false, true);
            check(
                operation,
                Some("101"),
                Some("7-2"),
                Some("101"),
                true,
                false,
            );
        }
        check(update, Some("101"), None, None, false, true);
        check(update, Some("102"), None, Some("102"), true, false);
        check(create, Some("k"), None, Some("k"), false, true);
        check(create, Some("k"), None, Some("other"), false, false);
        check(create, None, None, None, false, false);
        check(create, None, None, None, true, true);
        check(create, Some("k"), None, None, true, true);
    }

    fn sent(id: i64, trace: &str) -> Sent {
        Sent {
            entry: crate::model::id::OutboxId(id),
            attempts: 1,
            input: crate::model::answer::WriteInput {
                trace_id: trace.to_owned(),
                id: None,
                properties: Vec::new(),
                associations: Vec::new(),
            },
            read_version: None,
            archive: None,
            along: Vec::new(),
        }
    }

    #[test]
    fn each_input_has_its_own_answer_and_what_was_acknowledged_comes_first() {
        let object = crate::testing::contacts();
        let batch = [sent(1, "1-1"), sent(2, "2-1"), sent(3, "3-1")];
        let results = [(Some("3-1".to_owned()), crate::testing::record(103, 9, &[]))];
        let refusals = [NamedRefusal {
            trace_ids: vec!["1-1".to_owned()],
            ids: Vec::new(),
            refusal: Refusal {
                category: "VALIDATION_ERROR".to_owned(),
                explanation: "no".to_owned(),
                existing: None,
            },
        }];
        let settled = settlements(&object, Operation::Create, &batch, &results, &refusals);
        let order: Vec<i64> = settled.iter().map(|(sent, _)| sent.entry.0).collect();
        assert_eq!(order, [3, 1, 2]);
        assert!(matches!(settled[0].1, Settlement::Acknowledge(_)));
        assert!(matches!(settled[1].1, Settlement::Dead(_)));
        assert!(met(&settled).is_empty());
    }

    #[test]
    fn what_comes_too_late_too_often_goes_back_and_a_part_counts_anew() {
        let entries = [(1, 101), (2, 102)].map(|(id, hs_id)| {
            let mut entry = crate::testing::entry(Operation::Update, &[]);
            entry.id = crate::model::id::OutboxId(id);
            entry.standing.hs_id = Some(HubspotId(hs_id));
            entry
        });
        let mut together = Together::all(&entries, true).remove(0);
        let late = |is_part| Late {
            entries: vec![crate::model::id::OutboxId(2)],
            is_part,
        };
        together.late = MOST_LATE;
        assert!(together.again(&late(false)).is_none());
        let part = together.again(&late(true)).expect("a part");
        assert_eq!((part.ids(), part.late), (vec![HubspotId(102)], 0));
        let shown = |text| Present {
            records: vec![crate::testing::record(102, 9, &[("city", text)])],
            ..Present::default()
        };
        let attempt = sent(2, "2-1");
        assert!(part.is_shown_alike(&attempt, &shown("Rome"), &shown("Rome")));
        assert!(!part.is_shown_alike(&attempt, &shown("Rome"), &shown("Kiel")));
    }
}
