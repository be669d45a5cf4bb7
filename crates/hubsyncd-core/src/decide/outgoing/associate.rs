//! Associations on their way to HubSpot: by which call an entry goes out, what keeps it here, and what an answer makes of it.
//!
//! All of these calls may be repeated: what is there already is associated again, and what is not there is taken away again,
//! without a change (`hubspot/api-facts.md#8`). So an answer that is lost puts nothing in doubt for longer than it takes to
//! ask again.

use std::collections::BTreeSet;

use crate::decide::acts::{Act, back_and_uncounted};
use crate::decide::entry::{Answered, EntryEvent};
use crate::decide::incoming::links::LinkEntry;
use crate::decide::outgoing::refusal::{ASSOCIATION_LIMIT, REFUSED};
use crate::decide::outgoing::settle::BatchFate;
use crate::decide::portal::exclusion::{Excludes, Exclusion, PairExclusion, SeenLink};
use crate::decide::portal::link_types::{KnownType, turned_in};
use crate::model::association::{Category, ExclusiveEnd, TypeId};
use crate::model::entry::{EntryState, Operation, Standing, WaitsFor};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::time::Timestamp;

/// One end of an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkEnd {
    /// The row.
    pub local_id: LocalId,
    /// Whether it is in its table, and its record not archived.
    pub is_there: bool,
    /// Its record, once HubSpot has it.
    pub hs_id: Option<HubspotId>,
}

impl LinkEnd {
    /// Its row once its create is answered, as a rehearsal takes it: which id HubSpot gives nobody knows, and nothing depends on it.
    pub fn made(&mut self) {
        if self.is_there && self.hs_id.is_none() {
            self.hs_id = Some(HubspotId(i64::MAX));
        }
    }
}

/// An association's entry, with what is known of its pair.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuedLink {
    /// The entry.
    pub id: OutboxId,
    /// Where it stands.
    pub standing: Standing,
    /// Where the association starts.
    pub from: LinkEnd,
    /// Where it leads.
    pub to: LinkEnd,
    /// Its type; `None` for the pair's default, and for a label or a number that nobody has looked up yet.
    pub kind: Option<TypeId>,
    /// Its label.
    pub label: Option<String>,
    /// Whether `associations` has its row.
    pub has_row: bool,
    /// Whether nobody named its type, so that the pair's default is meant, of which HubSpot may make a primary.
    pub by_default: bool,
    /// What the pair's types say of it.
    pub told: TypesSay,
}

/// What the types of a pair, as far as they are known, say of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypesSay {
    /// They have not been read yet. What names a number or a label alone waits for them.
    Unread,
    /// It is of the pair's one plain type, or of whichever HubSpot takes where nobody names one.
    Plain,
    /// It is of another type that the pair has.
    Typed,
    /// Its label or number is that of this type.
    Means(TypeId),
    /// The pair has no such type or label, or no longer; all that it has.
    Unknown(String),
}

impl TypesSay {
    /// Whether taking it away takes all types of the two records away.
    pub fn takes_all(&self, types: &[KnownType]) -> bool {
        match self {
            Self::Means(kind) => told(NamedType::of(kind), types) == Self::Plain,
            Self::Plain => true,
            Self::Unread | Self::Typed | Self::Unknown(_) => false,
        }
    }
}

/// What is written of an association's type: all of it, a part of it, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamedType<'a> {
    /// Who made it.
    pub category: Option<&'a str>,
    /// Its number.
    pub number: Option<i64>,
    /// Its label.
    pub label: Option<&'a str>,
}

impl<'a> NamedType<'a> {
    /// That of a type which is known.
    pub fn of(kind: &'a TypeId) -> Self {
        Self {
            category: Some(kind.category.as_str()),
            number: Some(kind.number),
            label: None,
        }
    }

    /// The type, where category and number are there: a number alone may be that of several.
    pub fn kind(&self) -> Option<TypeId> {
        self.category
            .zip(self.number)
            .map(|(category, number)| TypeId {
                category: Category::parse(category),
                number,
            })
    }

    /// Whether a type may be the one that is meant by a part of its name.
    fn may_be(&self, known: &KnownType) -> bool {
        let has_label = match self.label {
            Some(label) => known.label.as_deref().map(folded) == Some(folded(label)),
            None => self.number.is_some() || known.label.is_none(),
        };
        let is_of = |category: &str| known.id.category.as_str() == category;
        has_label
            && self.number.is_none_or(|number| known.id.number == number)
            && self.category.is_none_or(is_of)
    }
}

/// A label as it is compared: without outer blanks and without regard to case. Letters that differ in small and are one in capitals
/// (`ß` and `ss`, the two small sigmas) are one.
fn folded(label: &str) -> String {
    label.trim().to_lowercase().to_uppercase()
}

/// What a pair's types say of what is written of an association's type.
pub fn told(named: NamedType<'_>, types: &[KnownType]) -> TypesSay {
    let now: Vec<&KnownType> = types.iter().filter(|known| !known.archived).collect();
    let Some(kind) = named.kind() else {
        return told_by_part(named, types, &now);
    };
    let plain: Vec<&KnownType> = now
        .iter()
        .copied()
        .filter(|known| known.label.is_none())
        .collect();
    match now.iter().any(|known| known.id == kind) {
        _ if types.is_empty() => TypesSay::Unread,
        true if plain.len() == 1 && plain[0].id == kind => TypesSay::Plain,
        true => TypesSay::Typed,
        false => TypesSay::Unknown(all_types(&now)),
    }
}

/// The same of an entry. A label that was deleted and made anew has another number, and means the same to whoever names it: what is
/// to be made under the former number is made under that one. Nothing is taken away under it.
pub fn told_of_entry(operation: Operation, named: NamedType<'_>, types: &[KnownType]) -> TypesSay {
    let said = told(named, types);
    let by_label = NamedType {
        label: named.label,
        ..NamedType::default()
    };
    let is_renumbered = matches!(said, TypesSay::Unknown(_))
        && operation == Operation::Associate
        && named.kind().is_some()
        && named.label.is_some();
    match is_renumbered.then(|| told(by_label, types)) {
        Some(TypesSay::Means(kind)) => TypesSay::Means(kind),
        Some(_) | None => said,
    }
}

/// A number, a label without regard to case and outer blanks, or both; without either the plain type, where there is only one.
fn told_by_part(named: NamedType<'_>, types: &[KnownType], now: &[&KnownType]) -> TypesSay {
    let is_default = named == NamedType::default();
    let meant: Vec<&&KnownType> = now.iter().filter(|known| named.may_be(known)).collect();
    match &meant[..] {
        _ if types.is_empty() && !is_default => TypesSay::Unread,
        [only] => TypesSay::Means(only.id.clone()),
        _ if is_default => TypesSay::Plain,
        _ => TypesSay::Unknown(all_types(now)),
    }
}

fn all_types(types: &[&KnownType]) -> String {
    let shown = types.iter().map(|known| match &known.label {
        Some(label) => format!("`{label}` ({})", known.id),
        None => format!("no label ({})", known.id),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Whether HubSpot is asked for a record's associations before an entry of them goes out: where its type excludes that of another
/// one, where all types of two records go, to which somebody may have added one since, and while a conflict of theirs is open.
pub fn needs_reread(
    operation: Operation,
    named: NamedType<'_>,
    types: &[KnownType],
    is_open: bool,
) -> bool {
    let takes = match operation {
        Operation::Disassociate => told(named, types).takes_all(types),
        Operation::Create | Operation::Update | Operation::Archive | Operation::Associate => {
            excludes_at(ExclusiveEnd::From, named, types)
        }
    };
    takes || is_open
}

/// Whether HubSpot is asked for the associations of the record where an entry leads before it goes out: where its type excludes
/// that of another one there. What takes it away does so while a conflict of theirs is open.
pub fn needs_reread_at_other_end(
    operation: Operation,
    named: NamedType<'_>,
    types: &[KnownType],
    is_open: bool,
) -> bool {
    (operation == Operation::Associate || is_open) && excludes_at(ExclusiveEnd::To, named, types)
}

/// Which other entries of a pair may not be overtaken by one, beside those of its two records: where its type excludes others, the last
/// write has the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overtakes {
    /// Not those of the row where it starts.
    pub none_of_from: bool,
    /// Not those of the row where it leads.
    pub none_of_to: bool,
}

impl Overtakes {
    /// By the type that is written of the entry.
    pub fn of(named: NamedType<'_>, types: &[KnownType]) -> Self {
        let kind = kind_of(named, types);
        let turned = turned_in(types, kind.as_ref());
        let from = Exclusion::of(types, ExclusiveEnd::From);
        let excludes_turned = turned.is_some_and(|turned| from.why(Some(turned)).is_some());
        Self {
            none_of_from: excludes_at(ExclusiveEnd::From, named, types),
            none_of_to: excludes_at(ExclusiveEnd::To, named, types) || excludes_turned,
        }
    }
}

/// Whether what is written of a type is one that excludes others at an end.
fn excludes_at(end: ExclusiveEnd, named: NamedType<'_>, types: &[KnownType]) -> bool {
    let kind = kind_of(named, types);
    Exclusion::of(types, end).why(kind.as_ref()).is_some()
}

/// The type that is meant by what is written of it.
fn kind_of(named: NamedType<'_>, types: &[KnownType]) -> Option<TypeId> {
    match told(named, types) {
        TypesSay::Means(kind) => Some(kind),
        TypesSay::Unread | TypesSay::Plain | TypesSay::Typed | TypesSay::Unknown(_) => named.kind(),
    }
}

/// Whether HubSpot is asked for the associations of the row where an entry of a pair of one object leads, whose rows start there too:
/// where its type excludes others there, and while a conflict of theirs is open.
pub fn needs_reread_of_other_row(
    operation: Operation,
    named: NamedType<'_>,
    types: &[KnownType],
    is_open: bool,
) -> bool {
    let kind = kind_of(named, types);
    let turned = turned_in(types, kind.as_ref());
    let excludes = || {
        Exclusion::of(types, ExclusiveEnd::From)
            .why(turned)
            .is_some()
    };
    is_open || (operation == Operation::Associate && excludes())
}

/// The entry that takes an association away which has to be gone before this one can be: under a limit HubSpot makes no room by
/// itself. `own` are the entries of the record that sees it so.
pub fn makes_room(
    seen: &SeenLink<'_>,
    own: &[LinkEntry],
    exclusion: &Exclusion,
) -> Option<OutboxId> {
    let is_limited = matches!(
        exclusion.why(seen.kind),
        Some(Excludes::Limited | Excludes::Pair)
    );
    let is_of_other = |entry: &&LinkEntry| {
        entry.operation == Operation::Disassociate
            && entry.state != EntryState::Dead
            && entry.to != seen.other
            && exclusion.parts(seen.kind, entry.kind.as_ref())
    };
    let mut others = own.iter().filter(|_| is_limited);
    others.find(is_of_other).map(|entry| entry.id)
}

/// The entries that wait to name a record another primary than one that HubSpot has named by a later write: that stands, and what
/// they make keeps its plain type. `own` are the entries of the record that sees it so.
pub fn outdone(
    (id, seen): (OutboxId, &SeenLink<'_>),
    own: &[LinkEntry],
    exclusion: &Exclusion,
) -> Vec<OutboxId> {
    let is_primary = exclusion.why(seen.kind) == Some(Excludes::Primary);
    let is_outdone = |entry: &&LinkEntry| {
        entry.operation == Operation::Associate
            && entry.state == EntryState::Pending
            && entry.id < id
            && entry.to != seen.other
            && exclusion.parts(seen.kind, entry.kind.as_ref())
    };
    let own = own.iter().filter(|entry| is_primary && is_outdone(entry));
    own.map(|entry| entry.id).collect()
}

/// The call by which an entry goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkCall {
    /// Associates by the type that the pair has where nobody names one.
    Default,
    /// Associates by type.
    Create,
    /// Takes types of a pair away.
    ArchiveLabels,
    /// Takes a pair away with all its types.
    ArchiveAll,
}

/// An entry of a pair as its requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedLink {
    /// The call by which it goes out.
    pub call: LinkCall,
    /// The row where it starts, and the one where it leads.
    pub ends: (LocalId, LocalId),
    /// Whether the associations of the record where it starts are read first.
    pub is_read_first: bool,
    /// Whether those of the record where it leads are.
    pub is_read_at_other_end: bool,
    /// Whether those of the record where it leads are read afterwards: what it takes from another one shows there.
    pub is_looked_at_there: bool,
}

/// How a pair's associations are read around a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedPair {
    /// Whether HubSpot may name a primary by itself.
    pub implies: bool,
    /// Whether both ends are records of one object.
    pub is_of_one_object: bool,
    /// The most that one request writes.
    pub most_written: usize,
    /// The most records that one request reads.
    pub most_read: usize,
}

/// How many requests the entries of a pair cost that go out now: each call's own, before each the reads that what still waits of
/// the pair needs, and behind it the reads of what it implied.
pub fn link_requests(mut links: Vec<CountedLink>, pair: CountedPair) -> u64 {
    let mut requests = 0;
    // Where the plain type of two records is taken away, its call takes the others too.
    let plain = links
        .iter()
        .filter(|link| link.call == LinkCall::ArchiveAll);
    let whole: BTreeSet<_> = plain.map(|link| link.ends).collect();
    for link in &mut links {
        if link.call == LinkCall::ArchiveLabels && whole.contains(&link.ends) {
            link.call = LinkCall::ArchiveAll;
        }
    }
    // Records that are read once all is sent, of each end.
    let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
    while let Some(first) = links.first().copied() {
        let makes = matches!(first.call, LinkCall::Default | LinkCall::Create);
        let is_read_at_once = makes && pair.implies;
        requests += 1 + u64::from(is_read_at_once);
        requests += u64::from(links.iter().any(|link| link.is_read_first));
        requests += u64::from(links.iter().any(|link| link.is_read_at_other_end));
        let mut room = pair.most_written;
        links.retain(|link| {
            let goes = link.call == first.call && room > 0;
            room -= usize::from(goes);
            if goes {
                from.extend((!is_read_at_once).then_some(link.ends.0));
                from.extend(pair.is_of_one_object.then_some(link.ends.1));
                to.extend(link.is_looked_at_there.then_some(link.ends.1));
            }
            !goes
        });
    }
    let reads = from.len().div_ceil(pair.most_read) + to.len().div_ceil(pair.most_read);
    requests + reads as u64
}

/// What becomes of an entry that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadyLink {
    /// It goes out.
    Goes(LinkCall),
    /// It has nothing to do: one of its rows is gone, or the table says otherwise by now.
    Ends,
    /// A program has turned it round while it was in doubt: so does its entry.
    Turns(EntryEvent),
    /// Its label or number is that of this type, which is to be written down first.
    Named(TypeId),
    /// It waits for the create of one of its rows.
    WaitsForCreate,
    /// It waits for the pair's types to be read.
    WaitsForTypes,
    /// HubSpot would refuse it.
    Dead(String),
}

/// Decides for an entry that is due. `pair` is the pair's name.
pub fn ready(link: &QueuedLink, pair: &str, now: Timestamp) -> ReadyLink {
    let associates = link.standing.operation == Operation::Associate;
    let is_turned = associates != link.has_row;
    let in_doubt = link.standing.unanswered_since.is_some();
    if !link.from.is_there || !link.to.is_there || (is_turned && !in_doubt) {
        return ReadyLink::Ends;
    }
    let (Some(hs_id), Some(_)) = (link.from.hs_id, link.to.hs_id) else {
        return ReadyLink::WaitsForCreate;
    };
    // An attempt that nobody has answered may have made what is no longer wanted, or taken away what is.
    if is_turned {
        return ReadyLink::Turns(turned(&link.standing, hs_id, now));
    }
    let is_plain = link.told == TypesSay::Plain;
    match (&link.told, associates) {
        (TypesSay::Means(kind), _) if link.kind.as_ref() != Some(kind) => {
            ReadyLink::Named(kind.clone())
        }
        (TypesSay::Unread, _) if link.kind.is_none() => ReadyLink::WaitsForTypes,
        (TypesSay::Unknown(types), true) => ReadyLink::Dead(format!(
            "{pair} has no such label or type: it has {types} [unknown-association-type]"
        )),
        // What HubSpot no longer has needs not be taken away.
        (TypesSay::Unknown(_), false) => ReadyLink::Ends,
        // The plain type that somebody named, as it is brought back, is to be no primary.
        (_, true) if is_plain && (link.by_default || link.kind.is_none()) => {
            ReadyLink::Goes(LinkCall::Default)
        }
        (_, true) => ReadyLink::Goes(LinkCall::Create),
        (_, false) if is_plain => ReadyLink::Goes(LinkCall::ArchiveAll),
        (_, false) => ReadyLink::Goes(LinkCall::ArchiveLabels),
    }
}

/// What HubSpot said of one association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkAnswer {
    /// It is as it was asked for.
    Done,
    /// Refused, in HubSpot's words.
    Refused {
        /// HubSpot's category.
        category: String,
        /// Our code of it (`decide/outgoing/refusal`).
        code: &'static str,
        /// Its words, with that code.
        explanation: String,
    },
    /// Nothing that names it.
    Silence,
}

/// What becomes of an entry whose attempt was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkSettlement {
    /// Both sides agree: it is over.
    Agreed,
    /// Nothing is left to ask for: HubSpot has no such record, or refused what nobody wants any more.
    Gone,
    /// The record is to be read, which tells whether it is gone; then it is tried again.
    LookAtRecords(EntryEvent),
    /// Anything else that befalls the entry.
    Befalls(EntryEvent),
}

/// What is said of an association whose pair's types are not known.
pub const UNTYPED: &str = "the labels of this pair have not been read from HubSpot yet";

/// Every portal takes so many associations in one request (`hubspot/api-facts.md#8`).
const LEAST_WRITTEN: usize = 100;

/// How many associations go in one request where HubSpot has refused so many at once and taken each part of them: it was the number
/// that it complained of.
pub fn fewer_at_once(refused: usize) -> usize {
    (refused / 2).max(LEAST_WRITTEN)
}

/// How often an association is sent to records that HubSpot does not find before a person is asked.
pub(crate) const MISSED_ATTEMPTS: u32 = 3;

/// Settles an entry whose attempt was answered. `next` is when it may be tried again.
pub fn settle_link(
    link: &QueuedLink,
    answer: &LinkAnswer,
    next: Timestamp,
    now: Timestamp,
) -> LinkSettlement {
    let associates = link.standing.operation == Operation::Associate;
    let again = |explanation: &str| EntryEvent::SentBack {
        next,
        explanation: Some(explanation.to_owned()),
        waits_for: None,
        answered: Answered::Yes,
    };
    match answer {
        LinkAnswer::Done => match (associates == link.has_row, link.from.hs_id) {
            (true, _) | (false, None) => LinkSettlement::Agreed,
            // A program has turned it round while it was on its way.
            (false, Some(hs_id)) => LinkSettlement::Befalls(turned(&link.standing, hs_id, now)),
        },
        LinkAnswer::Silence => {
            LinkSettlement::Befalls(again("HubSpot's answer says nothing of this association"))
        }
        // A program has turned it round meanwhile, so that nothing is left to ask for.
        LinkAnswer::Refused { .. } if associates != link.has_row => LinkSettlement::Gone,
        LinkAnswer::Refused {
            category,
            explanation,
            ..
        } => match category.as_str() {
            "OBJECT_NOT_FOUND" if !associates => LinkSettlement::Gone,
            "OBJECT_NOT_FOUND" if link.standing.attempts < MISSED_ATTEMPTS => {
                LinkSettlement::LookAtRecords(again(explanation))
            }
            "INTERNAL_ERROR" | "LOCKED" | "RATE_LIMITS" | "MIGRATION_IN_PROGRESS" => {
                LinkSettlement::Befalls(again(explanation))
            }
            _ => LinkSettlement::Befalls(EntryEvent::Refused {
                explanation: explanation.clone(),
                answered: Answered::Yes,
            }),
        },
    }
}

/// What befalls an entry whose answer is about other records than its rows are by now, since one was merged into another, or is made
/// anew: nothing is known of those, and it goes out again for them. `None`: it is about these. `sent` is the entry as it was claimed.
pub fn overtaken(
    link: &QueuedLink,
    sent: &QueuedLink,
    answer: &LinkAnswer,
    now: Timestamp,
) -> Option<EntryEvent> {
    let records = |link: &QueuedLink| (link.from.hs_id, link.to.hs_id);
    if records(link) == records(sent) || !link.from.is_there || !link.to.is_there {
        return None;
    }
    let is_unmade = link.from.hs_id.is_none() || link.to.hs_id.is_none();
    Some(EntryEvent::SentBack {
        next: now,
        explanation: None,
        waits_for: is_unmade.then_some(WaitsFor::Create),
        // What was done may have gone over to the record that is there now, with a merge.
        answered: match answer {
            LinkAnswer::Refused { .. } => Answered::Yes,
            LinkAnswer::Done | LinkAnswer::Silence => Answered::No,
        },
    })
}

impl LinkAnswer {
    /// Whether it may be that the portal limits the pair otherwise than it is known to: HubSpot says so, or does not say why it
    /// refuses.
    pub fn is_of_limit(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if [ASSOCIATION_LIMIT, REFUSED].contains(code))
    }
}

/// What befalls an entry that asks for the other of the two from now on.
fn turned(standing: &Standing, hs_id: HubspotId, now: Timestamp) -> EntryEvent {
    EntryEvent::Linked {
        operation: turned_round(standing.operation),
        hs_id,
        at: now,
    }
}

/// The other of the two operations.
fn turned_round(operation: Operation) -> Operation {
    match operation {
        Operation::Associate => Operation::Disassociate,
        Operation::Disassociate | Operation::Create | Operation::Update | Operation::Archive => {
            Operation::Associate
        }
    }
}

/// What is written of an entry whose batch failed as a whole and is not split. `until` is when HubSpot is to be asked again,
/// `waits_for` what it waits for where it is surely not done.
pub fn failed_link(
    fate: BatchFate,
    explanation: &str,
    (until, waits_for): (Timestamp, Option<WaitsFor>),
    now: Timestamp,
) -> Vec<Act> {
    let event = match fate {
        BatchFate::Split | BatchFate::Dead => EntryEvent::Refused {
            explanation: explanation.to_owned(),
            answered: Answered::Yes,
        },
        BatchFate::Lost => EntryEvent::Lost {
            at: now,
            next: until,
            explanation: explanation.to_owned(),
        },
        BatchFate::Retry => return back_and_uncounted(until, explanation, waits_for),
    };
    vec![Act::Befall(event)]
}

/// What befalls an entry that was in flight when the daemon ended, or whose step failed: it is sent again at once. One that went
/// along in a create waits for what becomes of that.
pub fn left_in_flight(link: &QueuedLink, now: Timestamp) -> Option<EntryEvent> {
    let is_unmade = |end: LinkEnd| end.is_there && end.hs_id.is_none();
    (link.standing.state == EntryState::InFlight).then(|| {
        if is_unmade(link.from) || is_unmade(link.to) {
            return waits(Some(WaitsFor::Create), None, now);
        }
        EntryEvent::Lost {
            at: now,
            next: now,
            explanation: "the daemon ended before HubSpot's answer arrived".to_owned(),
        }
    })
}

/// What befalls an entry that is due and has to wait for something: another row's create, or the pair's types. What is in doubt
/// stays so.
pub fn waits(
    waits_for: Option<WaitsFor>,
    explanation: Option<&str>,
    next: Timestamp,
) -> EntryEvent {
    EntryEvent::SentBack {
        next,
        explanation: explanation.map(str::to_owned),
        waits_for,
        answered: Answered::No,
    }
}

/// Which of the entries that are due go out together: those of the first one's call, but none of two records of which an
/// older entry goes out by another call, and none beside an older one if a record can't have both: in which order a batch is carried
/// out HubSpot does not say, and the last write is to have the last word. `going` are the entries with their calls, oldest first.
pub fn together(going: &[(QueuedLink, LinkCall)], exclusion: &PairExclusion<'_>) -> Vec<usize> {
    let Some((_, first)) = going.first() else {
        return Vec::new();
    };
    let ends = |link: &QueuedLink| (link.from.local_id, link.to.local_id);
    let seen: Vec<_> = going
        .iter()
        .map(|(link, _)| exclusion.seen(ends(link), link.kind.as_ref()))
        .collect();
    let makes = |call: &LinkCall| matches!(call, LinkCall::Default | LinkCall::Create);
    let is_first = |at: usize| {
        let (link, call) = &going[at];
        let is_before =
            |(beside, (older, other)): (&[SeenLink<'_>; 2], &(QueuedLink, LinkCall))| {
                (other != first && ends(older) == ends(link))
                    || (makes(call) && makes(other) && exclusion.parts(&seen[at], beside))
            };
        call == first && !seen[..at].iter().zip(going).any(is_before)
    };
    (0..going.len()).filter(|at| is_first(*at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::outgoing::refusal::RECORD_NOT_FOUND;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn end(local_id: i64) -> LinkEnd {
        LinkEnd {
            local_id: LocalId(local_id),
            is_there: true,
            hs_id: Some(HubspotId(100 + local_id)),
        }
    }

    #[test]
    fn each_call_of_a_pair_costs_itself_and_the_reads_around_it() {
        let of = |call, is_read_first, from| CountedLink {
            call,
            ends: (LocalId(from), LocalId(9)),
            is_read_first,
            is_read_at_other_end: false,
            is_looked_at_there: false,
        };
        let counted = |call, is_read_first| of(call, is_read_first, 1);
        let both = CountedPair {
            implies: false,
            is_of_one_object: false,
            most_written: 500,
            most_read: 1_000,
        };
        let implies = CountedPair {
            implies: true,
            ..both
        };
        let (plain, named) = (LinkCall::Default, LinkCall::Create);
        assert_eq!(link_requests(Vec::new(), implies), 0);
        let three = || vec![counted(plain, false); 3];
        // What HubSpot made of it is read at once where it may name a primary, and else once all is sent.
        assert_eq!(link_requests(three(), implies), 2);
        assert_eq!(link_requests(three(), both), 2);
        let few = |pair| CountedPair {
            most_written: 2,
            ..pair
        };
        assert_eq!(link_requests(three(), few(implies)), 4);
        assert_eq!(link_requests(three(), few(both)), 3);
        let mixed = vec![counted(plain, false), counted(named, true)];
        assert_eq!(link_requests(mixed, implies), 6);
        let away = || vec![counted(LinkCall::ArchiveAll, true)];
        assert_eq!(link_requests(away(), implies), 3);
        let label = counted(LinkCall::ArchiveLabels, true);
        assert_eq!(link_requests([away(), vec![label]].concat(), implies), 3);
        // Each record is read once, of two ends of one object too, and where it leads by a request of its own.
        let read_in_two = CountedPair {
            most_read: 2,
            ..both
        };
        let several = (1..=3).map(|from| of(plain, false, from)).collect();
        assert_eq!(link_requests(several, read_in_two), 3);
        let family = CountedPair {
            is_of_one_object: true,
            ..implies
        };
        assert_eq!(link_requests(three(), family), 3);
        let taken = CountedLink {
            is_looked_at_there: true,
            ..counted(named, false)
        };
        assert_eq!(link_requests(vec![taken], implies), 3);
    }

    fn link(operation: Operation, told: TypesSay) -> QueuedLink {
        QueuedLink {
            id: OutboxId(1),
            standing: Standing {
                operation,
                hs_id: Some(HubspotId(101)),
                attempts: 1,
                ..Standing::NOTHING
            },
            from: end(1),
            to: end(2),
            kind: Some(TypeId::of_hubspot(279)),
            label: None,
            has_row: operation == Operation::Associate,
            by_default: true,
            told,
        }
    }

    fn named<'a>(kind: Option<&'a TypeId>, label: Option<&'a str>) -> NamedType<'a> {
        let named = kind.map(NamedType::of).unwrap_or_default();
        NamedType { label, ..named }
    }

    #[test]
    fn a_label_is_that_of_a_type_whatever_its_case_and_no_label_the_plain_type() {
        let known = |category, number, label: Option<&str>, archived| KnownType {
            id: TypeId { category, number },
            label: label.map(str::to_owned),
            inverse: None,
            archived,
            most: None,
            most_back: None,
        };
        let user = || Category::UserDefined;
        let plain = TypeId::of_hubspot(279);
        let types = [
            known(Category::HubspotDefined, 279, None, false),
            known(user(), 36, Some("Ärztin"), false),
            known(user(), 38, Some("Gone"), true),
        ];
        let check = |kind: Option<&TypeId>, label: Option<&str>, expected: TypesSay| {
            assert_eq!(
                told(named(kind, label), &types),
                expected,
                "{kind:?} {label:?}"
            );
        };
        let (doctor, gone) = (types[1].id.clone(), types[2].id.clone());
        let all = || {
            TypesSay::Unknown(
                "no label (HUBSPOT_DEFINED 279), `Ärztin` (USER_DEFINED 36)".to_owned(),
            )
        };
        check(None, None, TypesSay::Means(plain.clone()));
        check(None, Some(" ärztin"), TypesSay::Means(doctor.clone()));
        for spelling in ["Straße", "STRASSE", "strasse "] {
            assert_eq!(folded(spelling), "STRASSE");
        }
        assert_eq!(folded("ΟΔΟΣ"), folded("οδος"));
        check(None, Some("Gone"), all());
        check(Some(&plain), None, TypesSay::Plain);
        check(Some(&doctor), None, TypesSay::Typed);
        check(Some(&gone), None, all());
        assert_eq!(told(named(None, Some("x")), &[]), TypesSay::Unread);
        assert_eq!(told(named(Some(&plain), None), &[]), TypesSay::Unread);
        assert_eq!(told(NamedType::default(), &[]), TypesSay::Plain);
        // Of several plain types nobody knows which one HubSpot takes.
        let two = [types[0].clone(), known(user(), 40, None, false)];
        assert_eq!(told(NamedType::default(), &two), TypesSay::Plain);
        assert_eq!(told(named(Some(&plain), None), &two), TypesSay::Typed);
    }

    #[test]
    fn an_answer_about_a_record_that_its_row_no_longer_is_says_nothing_of_the_present_one() {
        let refused = || LinkAnswer::Refused {
            category: "OBJECT_NOT_FOUND".to_owned(),
            code: RECORD_NOT_FOUND,
            explanation: "no such record [record-not-found]".to_owned(),
        };
        let sent = link(Operation::Associate, TypesSay::Plain);
        assert_eq!(overtaken(&sent, &sent, &refused(), at(20)), None);
        let merged = Some(HubspotId(900));
        for (now_is, waits_for) in [(merged, None), (None, Some(WaitsFor::Create))] {
            let mut present = sent.clone();
            present.to.hs_id = now_is;
            for (answer, answered) in [
                (refused(), Answered::Yes),
                (LinkAnswer::Done, Answered::No),
                (LinkAnswer::Silence, Answered::No),
            ] {
                let again = EntryEvent::SentBack {
                    next: at(20),
                    explanation: None,
                    waits_for,
                    answered,
                };
                assert_eq!(overtaken(&present, &sent, &answer, at(20)), Some(again));
            }
            present.from.is_there = false;
            assert_eq!(overtaken(&present, &sent, &refused(), at(20)), None);
        }
    }

    #[test]
    fn a_number_that_hubspot_refuses_is_halved_down_to_what_every_portal_takes() {
        assert_eq!([500, 250, 125, 62].map(fewer_at_once), [250, 125, 100, 100]);
    }

    /// A label that was deleted in the portal and made anew has another number.
    #[test]
    fn an_association_of_a_label_that_was_made_anew_goes_out_under_its_new_number() {
        let known = |number, label: Option<&str>, archived| KnownType {
            id: TypeId {
                category: Category::UserDefined,
                number,
            },
            label: label.map(str::to_owned),
            inverse: None,
            archived,
            most: None,
            most_back: None,
        };
        let types = [
            known(1, None, false),
            known(36, Some("Boss"), true),
            known(40, Some("boss"), false),
        ];
        let former = types[1].id.clone();
        let waiting = |operation, label| {
            let told = told_of_entry(operation, named(Some(&former), label), &types);
            let link = QueuedLink {
                kind: Some(former.clone()),
                ..link(operation, told)
            };
            ready(&link, "pair", at(20))
        };
        let renamed = ReadyLink::Named(types[2].id.clone());
        assert_eq!(waiting(Operation::Associate, Some("Boss ")), renamed);
        let is_dead = |ready| matches!(ready, ReadyLink::Dead(_));
        assert!(is_dead(waiting(Operation::Associate, Some("Friend"))));
        assert!(is_dead(waiting(Operation::Associate, None)));
        // Nothing is taken away under the new number.
        let taken_away = waiting(Operation::Disassociate, Some("Boss"));
        assert_eq!(taken_away, ReadyLink::Ends);
    }

    #[test]
    fn a_number_alone_is_that_of_one_type_or_of_none_and_never_the_default() {
        let known = |id: TypeId, label: Option<&str>| KnownType {
            id,
            label: label.map(str::to_owned),
            inverse: None,
            archived: false,
            most: None,
            most_back: None,
        };
        let user = |number| TypeId {
            category: Category::UserDefined,
            number,
        };
        let types = [
            known(TypeId::of_hubspot(279), None),
            known(TypeId::of_hubspot(1), Some("Primary")),
            known(user(1), Some("Boss")),
            known(user(2), Some("Spouse")),
        ];
        let by = |number, label, types: &[KnownType]| {
            let named = NamedType {
                number: Some(number),
                label,
                ..NamedType::default()
            };
            told(named, types)
        };
        assert_eq!(by(2, None, &types), TypesSay::Means(user(2)));
        assert_eq!(by(1, Some("boss "), &types), TypesSay::Means(user(1)));
        let plain = by(279, None, &types);
        assert_eq!(plain, TypesSay::Means(TypeId::of_hubspot(279)));
        assert!(plain.takes_all(&types) && !by(2, None, &types).takes_all(&types));
        for (number, label) in [(1, None), (3, None), (279, Some("Primary"))] {
            assert!(matches!(by(number, label, &types), TypesSay::Unknown(_)));
            let unread = by(number, label, &[]);
            assert!(!unread.takes_all(&[]));
            for operation in [Operation::Associate, Operation::Disassociate] {
                let untyped = QueuedLink {
                    kind: None,
                    ..link(operation, unread.clone())
                };
                assert_eq!(ready(&untyped, "pair", at(20)), ReadyLink::WaitsForTypes);
            }
        }
    }

    #[test]
    fn what_takes_something_away_that_somebody_may_have_named_since_is_read_before() {
        let known = |number, label: Option<&str>| KnownType {
            id: TypeId::of_hubspot(number),
            label: label.map(str::to_owned),
            inverse: None,
            archived: false,
            most: None,
            most_back: None,
        };
        let types = [known(279, None), known(1, Some("Primary"))];
        let ids: Vec<&TypeId> = types.iter().map(|known| &known.id).collect();
        let (plain, primary) = (NamedType::of(ids[0]), NamedType::of(ids[1]));
        let by_label = NamedType {
            label: Some("primary"),
            ..NamedType::default()
        };
        for (named, associate, disassociate) in [
            (plain, false, true),
            (NamedType::default(), false, true),
            (primary, true, false),
            (by_label, true, false),
        ] {
            let by = |operation| needs_reread(operation, named, &types, false);
            assert_eq!(by(Operation::Associate), associate, "{named:?}");
            assert_eq!(by(Operation::Disassociate), disassociate, "{named:?}");
            assert!(needs_reread(Operation::Associate, named, &types, true));
        }
    }

    #[test]
    fn what_a_limit_allows_once_waits_until_the_other_one_is_taken_away() {
        let known = |number, label: Option<&str>, most| KnownType {
            id: TypeId::of_hubspot(number),
            label: label.map(str::to_owned),
            inverse: None,
            archived: false,
            most,
            most_back: None,
        };
        let of = |most| {
            let types = [
                known(279, None, Some(most)),
                known(1, Some("Primary"), None),
            ];
            Exclusion::of(&types, ExclusiveEnd::From)
        };
        let limited = of(1);
        let free = of(2);
        let leaving = |to, state| LinkEntry {
            id: OutboxId(9),
            operation: Operation::Disassociate,
            state,
            to: LocalId(to),
            kind: Some(TypeId::of_hubspot(1)),
            takes_all: false,
            is_in_doubt: false,
        };
        let plain = TypeId::of_hubspot(279);
        let new = SeenLink {
            end: ExclusiveEnd::From,
            own: LocalId(1),
            other: LocalId(2),
            kind: Some(&plain),
        };
        let first = |own: LinkEntry, exclusion| makes_room(&new, &[own], exclusion);
        assert_eq!(
            first(leaving(3, EntryState::Pending), &limited),
            Some(OutboxId(9))
        );
        assert_eq!(first(leaving(3, EntryState::Dead), &limited), None);
        assert_eq!(first(leaving(2, EntryState::Pending), &limited), None);
        assert_eq!(first(leaving(3, EntryState::Pending), &free), None);
    }

    #[test]
    fn an_entry_goes_out_by_the_call_that_its_type_asks_for() {
        use LinkCall::{ArchiveAll, ArchiveLabels, Create, Default};
        use Operation::{Associate, Disassociate};
        let check = |link: QueuedLink, expected: ReadyLink| {
            assert_eq!(ready(&link, "pair", at(20)), expected, "{link:?}");
        };
        for (told, associate, disassociate) in [
            (TypesSay::Plain, Default, ArchiveAll),
            (TypesSay::Typed, Create, ArchiveLabels),
            (TypesSay::Unread, Create, ArchiveLabels),
        ] {
            check(link(Associate, told.clone()), ReadyLink::Goes(associate));
            check(link(Disassociate, told), ReadyLink::Goes(disassociate));
        }
        let untyped = |label: Option<&str>, told| QueuedLink {
            kind: None,
            label: label.map(str::to_owned),
            ..link(Associate, told)
        };
        check(untyped(None, TypesSay::Plain), ReadyLink::Goes(Default));
        for (kind, call) in [(Some(TypeId::of_hubspot(279)), Create), (None, Default)] {
            let named = QueuedLink {
                by_default: false,
                kind,
                ..link(Associate, TypesSay::Plain)
            };
            check(named, ReadyLink::Goes(call));
        }
        check(
            untyped(Some("Boss"), TypesSay::Unread),
            ReadyLink::WaitsForTypes,
        );
        let boss = TypeId {
            category: Category::UserDefined,
            number: 36,
        };
        check(
            untyped(Some("boss"), TypesSay::Means(boss.clone())),
            ReadyLink::Named(boss),
        );
        let unknown = || TypesSay::Unknown("`Boss` (USER_DEFINED 36)".to_owned());
        check(
            untyped(Some("Bos"), unknown()),
            ReadyLink::Dead(
                "pair has no such label or type: it has `Boss` (USER_DEFINED 36) [unknown-association-type]".to_owned(),
            ),
        );
        check(link(Disassociate, unknown()), ReadyLink::Ends);
    }

    #[test]
    fn an_entry_that_the_tables_contradict_ends_and_one_without_its_record_waits() {
        for operation in [Operation::Associate, Operation::Disassociate] {
            let plain = || link(operation, TypesSay::Plain);
            let turned = QueuedLink {
                has_row: operation != Operation::Associate,
                ..plain()
            };
            assert_eq!(ready(&turned, "pair", at(20)), ReadyLink::Ends);
            let mut without = plain();
            without.to.is_there = false;
            assert_eq!(ready(&without, "pair", at(20)), ReadyLink::Ends);
            let mut unmade = plain();
            unmade.from.hs_id = None;
            assert_eq!(ready(&unmade, "pair", at(20)), ReadyLink::WaitsForCreate);
        }
    }

    #[test]
    fn what_was_turned_round_while_its_answer_was_lost_is_asked_for_the_other_way() {
        for (operation, other) in [
            (Operation::Associate, Operation::Disassociate),
            (Operation::Disassociate, Operation::Associate),
        ] {
            let mut lost = link(operation, TypesSay::Plain);
            lost.standing.unanswered_since = Some(at(10));
            lost.has_row = !lost.has_row;
            let turned = ReadyLink::Turns(EntryEvent::Linked {
                operation: other,
                hs_id: HubspotId(101),
                at: at(20),
            });
            assert_eq!(ready(&lost, "pair", at(20)), turned);
            lost.to.hs_id = None;
            assert_eq!(ready(&lost, "pair", at(20)), ReadyLink::WaitsForCreate);
        }
    }

    #[test]
    fn what_was_turned_round_on_its_way_goes_the_other_way_next() {
        for (operation, other) in [
            (Operation::Associate, Operation::Disassociate),
            (Operation::Disassociate, Operation::Associate),
        ] {
            let settled = |link: &QueuedLink| settle_link(link, &LinkAnswer::Done, at(30), at(20));
            let mut sent = link(operation, TypesSay::Plain);
            assert_eq!(settled(&sent), LinkSettlement::Agreed);
            sent.has_row = !sent.has_row;
            assert_eq!(
                settled(&sent),
                LinkSettlement::Befalls(EntryEvent::Linked {
                    operation: other,
                    hs_id: HubspotId(101),
                    at: at(20),
                })
            );
        }
    }

    #[test]
    fn a_refusal_is_settled_by_what_it_says() {
        let refused = |link: &QueuedLink, category: &str| {
            let answer = LinkAnswer::Refused {
                category: category.to_owned(),
                code: REFUSED,
                explanation: "words".to_owned(),
            };
            settle_link(link, &answer, at(30), at(20))
        };
        let again = EntryEvent::SentBack {
            next: at(30),
            explanation: Some("words".to_owned()),
            waits_for: None,
            answered: Answered::Yes,
        };
        let dead = LinkSettlement::Befalls(EntryEvent::Refused {
            explanation: "words".to_owned(),
            answered: Answered::Yes,
        });
        let (makes, takes) = (
            link(Operation::Associate, TypesSay::Plain),
            link(Operation::Disassociate, TypesSay::Plain),
        );
        assert_eq!(refused(&makes, "VALIDATION_ERROR"), dead);
        assert_eq!(
            refused(&makes, "LOCKED"),
            LinkSettlement::Befalls(again.clone())
        );
        assert_eq!(refused(&takes, "OBJECT_NOT_FOUND"), LinkSettlement::Gone);
        let look = LinkSettlement::LookAtRecords(again);
        assert_eq!(refused(&makes, "OBJECT_NOT_FOUND"), look);
        let turned = QueuedLink {
            has_row: false,
            ..makes.clone()
        };
        assert_eq!(refused(&turned, "VALIDATION_ERROR"), LinkSettlement::Gone);
        let mut often = makes.clone();
        often.standing.attempts = MISSED_ATTEMPTS;
        assert_eq!(refused(&often, "OBJECT_NOT_FOUND"), dead);
    }

    #[test]
    fn what_a_failure_leaves_is_sent_again_unless_it_was_refused() {
        let lock = Some(WaitsFor::Lock);
        let fails = |fate| failed_link(fate, "words", (at(30), lock), at(20));
        assert_eq!(
            fails(BatchFate::Lost),
            [Act::Befall(EntryEvent::Lost {
                at: at(20),
                next: at(30),
                explanation: "words".to_owned(),
            })]
        );
        let again = fails(BatchFate::Retry);
        assert_eq!(again, back_and_uncounted(at(30), "words", lock));
        assert_eq!(again.last(), Some(&Act::Befall(EntryEvent::Uncounted)));
        for fate in [BatchFate::Dead, BatchFate::Split] {
            assert_eq!(
                fails(fate),
                [Act::Befall(EntryEvent::Refused {
                    explanation: "words".to_owned(),
                    answered: Answered::Yes,
                })]
            );
        }
        let mut left = link(Operation::Associate, TypesSay::Plain);
        assert_eq!(left_in_flight(&left, at(20)), None);
        left.standing.state = EntryState::InFlight;
        assert!(matches!(
            left_in_flight(&left, at(20)),
            Some(EntryEvent::Lost { next, .. }) if next == at(20)
        ));
        // It went along in a create: whether that was made is not known yet.
        left.to.hs_id = None;
        let create = Some(WaitsFor::Create);
        let waiting = waits(create, None, at(20));
        assert_eq!(left_in_flight(&left, at(20)), Some(waiting));
    }

    /// An association of row `from` with row `to`, and its call.
    fn going(call: LinkCall, from: i64, to: i64, number: i64) -> (QueuedLink, LinkCall) {
        let link = QueuedLink {
            from: end(from),
            to: end(to),
            kind: Some(TypeId::of_hubspot(number)),
            ..link(Operation::Associate, TypesSay::Typed)
        };
        (link, call)
    }

    #[test]
    fn two_records_get_their_associations_in_the_order_of_the_writes() {
        use LinkCall::{ArchiveLabels, Create, Default};
        let calls = |list: &[(LinkCall, i64, i64)]| {
            let all: Vec<_> = list
                .iter()
                .map(|(call, from, to)| going(*call, *from, *to, 279))
                .collect();
            together(&all, &PairExclusion::of(&[], false))
        };
        assert_eq!(calls(&[]), Vec::<usize>::new());
        assert_eq!(
            calls(&[
                (Create, 1, 1),
                (ArchiveLabels, 1, 2),
                (Create, 1, 2),
                (Default, 3, 3),
                (Create, 2, 2),
            ]),
            [0, 4]
        );
    }

    #[test]
    fn a_records_two_primaries_go_out_one_after_the_other() {
        use LinkCall::{ArchiveLabels, Create};
        let together = |all: &[_]| together(all, &PairExclusion::of(&[], false));
        let (first, second) = (going(Create, 1, 3, 1), going(Create, 1, 2, 1));
        let others = [going(Create, 1, 2, 279), going(Create, 4, 2, 1)];
        let all = [&[first.clone(), second][..], &others].concat();
        assert_eq!(together(&all), [0, 2, 3]);
        // What is taken away needs no turn.
        let gone = |to| going(ArchiveLabels, 1, to, 1);
        assert_eq!(together(&[gone(3), gone(2)]), [0, 1]);
        // The primary of the record where they lead.
        let all = [going(Create, 3, 1, 2), going(Create, 2, 1, 2), first];
        assert_eq!(together(&all), [0, 2]);
    }

    #[test]
    fn what_names_another_primary_by_an_older_write_is_outdone() {
        let (primary, plain) = (TypeId::of_hubspot(1), TypeId::of_hubspot(279));
        let waiting = |id, to, kind: &TypeId, state| LinkEntry {
            id: OutboxId(id),
            operation: Operation::Associate,
            state,
            to: LocalId(to),
            kind: Some(kind.clone()),
            takes_all: false,
            is_in_doubt: false,
        };
        let own = [
            waiting(4, 3, &primary, EntryState::Pending),
            waiting(3, 2, &primary, EntryState::Pending),
            waiting(2, 4, &plain, EntryState::Pending),
            waiting(1, 5, &primary, EntryState::Dead),
            waiting(6, 6, &primary, EntryState::Pending),
        ];
        let seen = SeenLink {
            end: ExclusiveEnd::From,
            own: LocalId(1),
            other: LocalId(2),
            kind: Some(&primary),
        };
        let exclusion = Exclusion::of(&[], ExclusiveEnd::From);
        assert_eq!(
            outdone((OutboxId(5), &seen), &own, &exclusion),
            [OutboxId(4)]
        );
        let seen = SeenLink {
            kind: Some(&plain),
            ..seen
        };
        assert_eq!(outdone((OutboxId(5), &seen), &own, &exclusion), []);
    }

    #[test]
    fn where_an_associations_other_row_is_limited_to_one_it_is_read_before() {
        let known = |number, inverse, most| KnownType {
            id: TypeId::of_hubspot(number),
            label: Some("Of the family".to_owned()),
            inverse: Some(inverse),
            archived: false,
            most,
            most_back: None,
        };
        let types = [known(13, 14, None), known(14, 13, Some(1))];
        let needs = |at: usize, operation, is_open| {
            let named = NamedType::of(&types[at].id);
            needs_reread_of_other_row(operation, named, &types, is_open)
        };
        assert!(needs(0, Operation::Associate, false));
        assert!(!needs(1, Operation::Associate, false));
        assert!(!needs(0, Operation::Disassociate, false));
        assert!(needs(0, Operation::Disassociate, true));
    }
}
