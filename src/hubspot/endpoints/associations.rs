//! Associations in bulk, and the types that a pair of objects has (`hubspot/api-facts.md#8`).
//!
//! All of them are outside HubSpot's ten-second window, and have a pace of their own. A record without associations is
//! left out of an answer, or named in an error of its own: either way it has none.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::decide::quota::Priority;
use crate::hubspot::Client;
use crate::hubspot::call::Request;
use crate::hubspot::call::answer::{Words, read_entry};
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::call::transport::HttpResponse;
use crate::hubspot::endpoints::batch::to_body;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::endpoints::reread::Reread;
use crate::hubspot::wire::{self, Elements};
use crate::model::association::{AssociationType, Category, Links, TypeId};
use crate::model::id::HubspotId;
use crate::model::name::ObjectType;

/// Records whose associations one request reads, at most (`hubspot/api-facts.md#3`).
pub(crate) const MOST_READ: usize = 1000;

/// Inputs of one write, at most: HubSpot documents 2,000, and people have met a hundred (`hubspot/api-facts.md#3`).
pub(crate) const MOST_WRITTEN: usize = 500;

/// Pages of one record's associations that are read, at most: 50,000 associations of 500 a page, and some more.
const MOST_PAGES: usize = 200;

/// A record that an answer leaves out without a word is asked for so often before it counts as one without associations.
const ASKED_IN_SILENCE: usize = 3;

/// Two objects, in the order in which a call names them.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// Where the associations start.
    pub from: &'a ObjectType,
    /// Where they lead.
    pub to: &'a ObjectType,
}

/// The associations of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AssociationsRead {
    /// Those of each record that HubSpot told of, by the id that was asked for; empty where it has none, or is not there.
    pub links: BTreeMap<HubspotId, Links>,
    /// Records of which nothing is known: left out with an error of their own, or with one that names nobody.
    pub unread: BTreeSet<HubspotId>,
    /// The types that were met, with their labels.
    pub types: BTreeMap<TypeId, Option<String>>,
}

/// One pair of records of a write, and its types; none where the call takes none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkInput {
    /// The record where the association starts.
    pub from: HubspotId,
    /// The record where it leads.
    pub to: HubspotId,
    /// Its types.
    pub types: BTreeSet<TypeId>,
}

/// HubSpot's refusal of single pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkError {
    /// Ids of records that it names, of either end; empty where it names none.
    pub ids: BTreeSet<HubspotId>,
    /// HubSpot's category.
    pub category: String,
    /// HubSpot's sub-category.
    pub sub_category: String,
    /// HubSpot's codes of single mistakes.
    pub codes: Vec<String>,
    /// HubSpot's own words, at most 2 KB.
    pub message: Words,
}

impl LinkError {
    /// HubSpot's word that one of the records isn't there, where it answers the whole request with that: it may as well be an
    /// error of one pair (`hubspot/api-facts.md#8`).
    pub(crate) fn of_missing(error: &HubspotError) -> Option<Self> {
        let answer = error.answer()?;
        (answer.status == 404 && answer.category == NOT_FOUND).then(|| Self {
            ids: BTreeSet::new(),
            category: answer.category.clone(),
            sub_category: answer.sub_category.clone(),
            codes: answer.codes.clone(),
            message: answer.message.clone(),
        })
    }
}

/// What became of a batch of pairs that HubSpot took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LinksWritten {
    /// The pairs that were associated, from and to as the call named them. An archive answers nothing: what it names is gone.
    pub done: BTreeSet<(HubspotId, HubspotId)>,
    /// The types by which a default associated them, where the answer says so: the plain one, and whatever HubSpot adds to it.
    pub types: BTreeMap<(HubspotId, HubspotId), BTreeSet<TypeId>>,
    /// What was refused.
    pub errors: Vec<LinkError>,
}

#[derive(Serialize)]
struct LinkInputs<T> {
    inputs: Vec<T>,
}

#[derive(Serialize)]
struct AssociationsOf<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct IdBody {
    id: String,
}

impl From<HubspotId> for IdBody {
    fn from(id: HubspotId) -> Self {
        Self { id: id.to_string() }
    }
}

#[derive(Serialize)]
struct PairBody<'a> {
    from: IdBody,
    to: IdBody,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<TypeBody<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TypeBody<'a> {
    association_category: &'a str,
    association_type_id: i64,
}

impl<'a> TypeBody<'a> {
    pub(super) fn of(kind: &'a TypeId) -> Self {
        Self {
            association_category: kind.category.as_str(),
            association_type_id: kind.number,
        }
    }
}

#[derive(Serialize)]
struct FanBody {
    from: IdBody,
    to: Vec<IdBody>,
}

impl Client {
    /// The associations of up to 1,000 records to another object, all pages of each.
    pub(crate) async fn read_associations(
        &self,
        ends: Ends<'_>,
        ids: &BTreeSet<HubspotId>,
        priority: Priority,
    ) -> Result<AssociationsRead, HubspotError> {
        self.read_associations_within(ends, ids, priority, None)
            .await
    }

    /// The same, before a write that rests on it.
    pub(crate) async fn read_associations_within(
        &self,
        ends: Ends<'_>,
        ids: &BTreeSet<HubspotId>,
        priority: Priority,
        reread: Option<&Reread>,
    ) -> Result<AssociationsRead, HubspotError> {
        if ids.len() > MOST_READ {
            return Err(self.invalid(
                Endpoint::ReadAssociations,
                "too many records for one read of associations",
            ));
        }
        let mut read = AssociationsRead::default();
        let mut silent: BTreeSet<HubspotId> = ids.clone();
        for _ in 0..ASKED_IN_SILENCE {
            let asked = silent.into_iter().map(|id| (id, None)).collect();
            silent = self
                .read_all_pages(ends, asked, (priority, reread), &mut read)
                .await?;
            if silent.is_empty() {
                return Ok(read);
            }
        }
        let none = silent.into_iter().map(|id| (id, Links::new()));
        read.links.extend(none);
        Ok(read)
    }

    /// All pages of each record's associations; gives the records that were left out without a word.
    async fn read_all_pages(
        &self,
        ends: Ends<'_>,
        mut asked: BTreeMap<HubspotId, Option<String>>,
        within: (Priority, Option<&Reread>),
        read: &mut AssociationsRead,
    ) -> Result<BTreeSet<HubspotId>, HubspotError> {
        let mut silent = BTreeSet::new();
        for _ in 0..MOST_PAGES {
            if asked.is_empty() {
                return Ok(silent);
            }
            let left = self.read_page(ends, &asked, within, read).await?;
            silent.extend(left.silent);
            asked = left.next;
        }
        // What goes on for ever is known by none of its pages.
        for id in asked.into_keys() {
            read.links.remove(&id);
            read.unread.insert(id);
        }
        Ok(silent)
    }

    /// A page of each record's associations.
    async fn read_page(
        &self,
        ends: Ends<'_>,
        asked: &BTreeMap<HubspotId, Option<String>>,
        (priority, reread): (Priority, Option<&Reread>),
        read: &mut AssociationsRead,
    ) -> Result<LeftOpen, HubspotError> {
        let inputs = asked.iter().map(|(id, after)| AssociationsOf {
            id: id.to_string(),
            after: after.as_deref(),
        });
        let inputs = inputs.collect();
        let endpoint = Endpoint::ReadAssociations;
        let request = request(endpoint, ends, inputs, priority);
        let response = self.send_within(&request, reread).await?;
        let batch = self.parse::<wire::Batch<wire::RecordLinks>>(endpoint, &response)?;
        self.note_unread(endpoint, &batch.results);
        Ok(take_page(batch, asked, read))
    }

    /// The types that a pair of objects has, plain ones and labels.
    pub async fn association_types(
        &self,
        ends: Ends<'_>,
    ) -> Result<Vec<AssociationType>, HubspotError> {
        let request = Request {
            endpoint: Endpoint::AssociationLabels,
            object: Some(ends.from),
            to: Some(ends.to),
            query: String::new(),
            body: None,
            inputs: None,
            priority: Priority::Poll,
        };
        let (page, _) = self.page::<wire::LinkType>(&request).await?;
        // A type that can't be read would be taken for one that the portal no longer has.
        if !page.results.are_whole() {
            return Err(HubspotError::Unreadable {
                call: self.name(Endpoint::AssociationLabels),
                status: 200,
                source: "a type of associations can't be read".into(),
            });
        }
        let types = page.results.read.into_iter();
        Ok(types.map(type_from_wire).collect())
    }

    /// With how many records of `to` one of `from` may be associated by each type that the portal limits.
    pub(crate) async fn association_limits(
        &self,
        ends: Ends<'_>,
    ) -> Result<BTreeMap<TypeId, u32>, HubspotError> {
        let request = Request {
            endpoint: Endpoint::AssociationLimits,
            object: Some(ends.from),
            to: Some(ends.to),
            query: String::new(),
            body: None,
            inputs: None,
            priority: Priority::Poll,
        };
        let (page, _) = self.page::<wire::LinkLimit>(&request).await?;
        let limits = page.results.read.into_iter().filter_map(|limit| {
            let kind = TypeId {
                category: Category::parse(&limit.category),
                number: limit.type_id.0,
            };
            let most = limit.user_enforced_max_to_object_ids;
            Some((kind, most.filter(|most| *most > 0)?))
        });
        Ok(limits.collect())
    }

    /// Associates pairs by the type that they have where nobody names one. Repeating it changes nothing.
    pub(crate) async fn associate_by_default(
        &self,
        ends: Ends<'_>,
        pairs: &[LinkInput],
        within: (Priority, Option<&Reread>),
    ) -> Result<LinksWritten, HubspotError> {
        let endpoint = Endpoint::AssociateByDefault;
        let inputs = pairs.iter().map(|pair| PairBody {
            from: pair.from.into(),
            to: pair.to.into(),
            types: Vec::new(),
        });
        let response = self
            .write_links(endpoint, ends, inputs.collect(), within)
            .await?;
        let batch = self.parse::<wire::Batch<wire::DefaultLink>>(endpoint, &response)?;
        let mut written = LinksWritten {
            errors: errors_of(batch.errors),
            ..LinksWritten::default()
        };
        // The inverse direction is answered as well.
        let asked: BTreeSet<_> = pairs.iter().map(|pair| (pair.from, pair.to)).collect();
        for result in batch.results.read {
            let pair = (HubspotId(result.from.id.0), HubspotId(result.to.id.0));
            if asked.contains(&pair) {
                written.done.insert(pair);
                let made = result.association_spec.map(|spec| TypeId {
                    category: Category::parse(&spec.association_category),
                    number: spec.association_type_id.0,
                });
                written.types.entry(pair).or_default().extend(made);
            }
        }
        Ok(written)
    }

    /// Associates pairs by types. Repeating it changes nothing.
    pub(crate) async fn create_associations(
        &self,
        ends: Ends<'_>,
        pairs: &[LinkInput],
        within: (Priority, Option<&Reread>),
    ) -> Result<LinksWritten, HubspotError> {
        let endpoint = Endpoint::CreateAssociations;
        let response = self
            .write_links(endpoint, ends, typed(pairs), within)
            .await?;
        let batch = self.parse::<wire::Batch<wire::LabelledPair>>(endpoint, &response)?;
        let done = batch.results.read.iter().map(|result| {
            let [from, to] = [&result.from_object_id, &result.to_object_id];
            (HubspotId(from.0), HubspotId(to.0))
        });
        Ok(LinksWritten {
            done: done.collect(),
            errors: errors_of(batch.errors),
            ..LinksWritten::default()
        })
    }

    /// Takes types of pairs away; the plain type takes the others with it. What is not there is no error.
    pub(crate) async fn archive_labels(
        &self,
        ends: Ends<'_>,
        pairs: &[LinkInput],
        within: (Priority, Option<&Reread>),
    ) -> Result<LinksWritten, HubspotError> {
        let endpoint = Endpoint::ArchiveLabels;
        let response = self
            .write_links(endpoint, ends, typed(pairs), within)
            .await?;
        self.archived(endpoint, &response, pairs)
    }

    /// Takes all types of pairs away. What is not there is no error.
    pub(crate) async fn archive_associations(
        &self,
        ends: Ends<'_>,
        pairs: &[LinkInput],
        within: (Priority, Option<&Reread>),
    ) -> Result<LinksWritten, HubspotError> {
        let endpoint = Endpoint::ArchiveAssociations;
        let mut fans: BTreeMap<HubspotId, Vec<IdBody>> = BTreeMap::new();
        for pair in pairs {
            fans.entry(pair.from).or_default().push(pair.to.into());
        }
        let fans = fans.into_iter().map(|(from, to)| FanBody {
            from: from.into(),
            to,
        });
        let response = self
            .write_links(endpoint, ends, fans.collect(), within)
            .await?;
        self.archived(endpoint, &response, pairs)
    }

    /// What an archive did: all that it does not refuse, with a body or without one.
    fn archived(
        &self,
        endpoint: Endpoint,
        response: &HttpResponse,
        pairs: &[LinkInput],
    ) -> Result<LinksWritten, HubspotError> {
        let errors = if response.body.iter().all(u8::is_ascii_whitespace) {
            Vec::new()
        } else {
            let said = self.parse::<wire::LinksArchived>(endpoint, response)?;
            errors_of(said.errors)
        };
        let refused = |pair: &&LinkInput| {
            let names = |error: &LinkError| {
                error.ids.is_empty()
                    || error.ids.contains(&pair.from)
                    || error.ids.contains(&pair.to)
            };
            errors.iter().any(names)
        };
        let done = pairs.iter().filter(|pair| !refused(pair));
        let done = done.map(|pair| (pair.from, pair.to)).collect();
        Ok(LinksWritten {
            done,
            errors,
            ..LinksWritten::default()
        })
    }

    async fn write_links<T: Serialize>(
        &self,
        endpoint: Endpoint,
        ends: Ends<'_>,
        inputs: Vec<T>,
        (priority, reread): (Priority, Option<&Reread>),
    ) -> Result<HttpResponse, HubspotError> {
        if inputs.len() > MOST_WRITTEN {
            return Err(self.invalid(endpoint, "too many pairs for one write of associations"));
        }
        let request = request(endpoint, ends, inputs, priority);
        self.send_within(&request, reread).await
    }
}

fn request<T: Serialize>(
    endpoint: Endpoint,
    ends: Ends<'_>,
    inputs: Vec<T>,
    priority: Priority,
) -> Request<'_> {
    Request {
        endpoint,
        object: Some(ends.from),
        to: Some(ends.to),
        query: String::new(),
        inputs: Some(inputs.len() as u64),
        body: Some(to_body(&LinkInputs { inputs })),
        priority,
    }
}

fn typed(pairs: &[LinkInput]) -> Vec<PairBody<'_>> {
    let pairs = pairs.iter().map(|pair| PairBody {
        from: pair.from.into(),
        to: pair.to.into(),
        types: pair.types.iter().map(TypeBody::of).collect(),
    });
    pairs.collect()
}

fn type_from_wire(found: wire::LinkType) -> AssociationType {
    AssociationType {
        id: TypeId {
            category: Category::parse(&found.category),
            number: found.type_id.0,
        },
        label: found.label.0.filter(|label| !label.is_empty()),
        most: None,
    }
}

/// What a page left open.
#[derive(Default)]
struct LeftOpen {
    /// Records that have another page, and where it begins.
    next: BTreeMap<HubspotId, Option<String>>,
    /// Records that were left out without a word: HubSpot names those that have no associations.
    silent: BTreeSet<HubspotId>,
}

/// Takes a page of each record.
fn take_page(
    batch: wire::Batch<wire::RecordLinks>,
    asked: &BTreeMap<HubspotId, Option<String>>,
    read: &mut AssociationsRead,
) -> LeftOpen {
    let mut left = LeftOpen::default();
    let (mut told, mut odd) = (BTreeSet::new(), BTreeSet::new());
    // A record that lost its id in a merge may be answered under another one: then nothing is known of the one that was asked for.
    let mut has_strangers = !batch.results.are_whole();
    for record in batch.results.read {
        let id = HubspotId(record.from.id.0);
        has_strangers |= !asked.contains_key(&id);
        if !asked.contains_key(&id) {
            continue;
        }
        if !record.is_whole() {
            odd.insert(id);
            continue;
        }
        told.insert(id);
        let links = read.links.entry(id).or_default();
        for link in record.to.read {
            let types = links.entry(HubspotId(link.to_object_id.0)).or_default();
            for kind in link.association_types.read.into_iter().map(type_from_wire) {
                types.insert(kind.id.clone());
                read.types.insert(kind.id, kind.label);
            }
        }
        let page = record.paging.and_then(|paging| paging.next);
        let after = page.and_then(|page| page.after.0);
        left.next.extend(after.map(|after| (id, Some(after))));
    }
    let errors = errors_of(batch.errors);
    let (none, failed): (Vec<_>, Vec<_>) = errors.iter().partition(|error| error.is_of_nothing());
    let named =
        |errors: &[&LinkError], id: &HubspotId| errors.iter().any(|error| error.ids.contains(id));
    let failed_nameless = failed.iter().any(|error| error.ids.is_empty());
    for (id, after) in asked.iter().filter(|(id, _)| !told.contains(id)) {
        let is_first = after.is_none() && !odd.contains(id);
        if is_first && named(&none, id) {
            read.links.insert(*id, Links::new());
        } else if is_first && !has_strangers && !failed_nameless && !named(&failed, id) {
            left.silent.insert(*id);
        } else {
            // Also what is missing behind a first page: of half a record's associations nothing is to be concluded.
            read.links.remove(id);
            read.unread.insert(*id);
        }
    }
    left
}

impl LinkError {
    /// Whether it says that a record has no associations, or is not there: no failure.
    fn is_of_nothing(&self) -> bool {
        self.sub_category.ends_with("NO_ASSOCIATIONS_FOUND") || self.category == NOT_FOUND
    }
}

/// The category of what is not there.
const NOT_FOUND: &str = "OBJECT_NOT_FOUND";

/// Under these names an error's context has the records that it is about.
const IDS: [&str; 5] = ["fromObjectId", "toObjectId", "objectId", "ids", "id"];

fn errors_of(errors: Option<Elements<Value>>) -> Vec<LinkError> {
    let error = |entry: &Value| {
        let answer = read_entry(entry);
        let context = |name: &&str| entry.get("context").and_then(|context| context.get(*name));
        LinkError {
            ids: IDS.iter().filter_map(context).flat_map(ids_in).collect(),
            category: answer.category,
            sub_category: answer.sub_category,
            codes: answer.codes,
            message: answer.message,
        }
    };
    let errors = errors.unwrap_or_default();
    errors.read.iter().map(error).collect()
}

/// The ids of a list, or a single one; texts or numbers.
fn ids_in(value: &Value) -> Vec<HubspotId> {
    let id = |value: &Value| match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_i64().map(HubspotId),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match value.as_array() {
        Some(values) => values.iter().filter_map(id).collect(),
        None => id(value).into_iter().collect(),
    }
}
