//! The walk over all of an object's list, by first read and comparison alike: several chains of pages at once where the list's
//! cursor is a record's id, else one.
//!
//! A step asks, writes each page in a transaction of its own with the range that it moves (`store/ranges`), and ends with nothing
//! under way. How many chains there are follows by itself: one more begins while no request waits for the limiter and no page for
//! the writer, in the larger part of the range that has most left (`decide/incoming/ranges`). After a crash the ranges go on where they
//! stood: what is asked for again is what was under way.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::decide::cursor::page_end;
use crate::decide::decision::commands::PausedSide;
use crate::decide::incoming::convert::remote_records;
use crate::decide::incoming::freshness::Evidence;
use crate::decide::incoming::ranges::{
    IdRange, ListExtent, MOST_CHAINS, OpenRange, RangeReach, begins_at, chains_at, names_an_id,
    split,
};
use crate::decide::quota::EndpointClass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::source::blanks;
use crate::engine::source::walked::KnownList;
use crate::engine::{Engine, StepEnd, StepError};
use crate::hubspot::endpoints::search::{MAX_SEARCH_PAGE, search_body_fits};
use crate::hubspot::{ListQuery, Priority};
use crate::model::id::HubspotId;
use crate::model::mapping::FirstReadBy;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::ranges::{self, ListWalk};
use crate::store::{Lane, StoreError, WriteTx, cursors};

/// The most records of a list page (`hubspot/api-facts.md#3`).
pub(super) const PAGE: u32 = 100;

/// The most records of a page of a search (`hubspot/api-facts.md#6`).
const SEARCH_PAGE: u32 = MAX_SEARCH_PAGE;

/// Where fewer records are left, lists alone are as soon at the end.
const LEAST_FOR_SEARCHES: u64 = 5_000;

/// A step asks for no page after this: a pause, another mapping and the stop are looked at between steps.
const STEP_LASTS: Duration = Duration::from_secs(15);

/// Between two looks whether the walk is to rest.
const LOOK: Duration = Duration::from_secs(1);

/// A chain asks for its next page while so few of its pages wait to be written.
const MOST_UNWRITTEN: usize = 1;

/// What is done with the pages of a walk.
pub(super) struct PagedWalk {
    /// Whose ranges they are.
    pub(super) walk: ListWalk,
    /// Applies a page, in the transaction that moves its range.
    pub(super) apply: fn(&WriteTx<'_>, &ObjectSync, i64, &PagePart) -> Result<Applied, StoreError>,
    /// Makes ready for the end, before the transaction of the last page.
    pub(super) before_end: fn(&WriteTx<'_>, &ObjectSync) -> Result<(), StoreError>,
    /// Ends the walk, in the transaction of the last page. Tells whether nothing follows.
    pub(super) end: fn(&WriteTx<'_>, &ObjectSync, i64) -> Result<bool, StoreError>,
}

/// How far a page was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// All of it.
    Whole,
    /// All of it, and what it says of the rows up to this id: the rest takes another transaction.
    UpTo(HubspotId),
}

/// A page of the list, read.
#[derive(Debug)]
pub(super) struct ReadPage {
    /// This machine's time before the request was sent.
    pub(super) asked_at: Timestamp,
    /// Whether HubSpot's store showed it, or its index.
    pub(super) evidence: Evidence,
    /// Whether the index has said which records there are.
    pub(super) by_search: bool,
    /// Its records.
    pub(super) records: Vec<RemoteRecord>,
    /// Records of the page that HubSpot could not read this time.
    pub(super) unread: Vec<HubspotId>,
    /// What of the page not even the id could be read, in a sentence.
    pub(super) odd: Option<String>,
    /// With what the next one is asked for; `None` at the end.
    pub(super) after: Option<String>,
    /// The `Date` of the answer, by HubSpot's clock.
    pub(super) date: Option<Timestamp>,
}

/// By so much the index may be late (`hubspot/api-facts.md#6`): what was changed that long before a search is polled again.
const INDEX_LATE: Duration = Duration::from_hours(1);

impl ReadPage {
    /// By HubSpot's clock, everything that was changed before is on the page.
    pub(super) fn known_at(&self) -> Option<Timestamp> {
        match self.by_search {
            false => self.date,
            true => self.date.map(|date| date - INDEX_LATE),
        }
    }

    /// The records of the page, those included that HubSpot could not read this time: they are there.
    pub(super) fn shown(&self) -> impl Iterator<Item = HubspotId> {
        let read = self.records.iter().map(|record| record.id);
        read.chain(self.unread.iter().copied())
    }

    /// Leaves out what is another range's.
    fn within(&mut self, range: &IdRange) {
        self.records.retain(|record| range.holds(record.id));
        self.unread.retain(|id| range.holds(*id));
    }
}

/// The part of a page that is its range's.
#[derive(Debug)]
pub(super) struct PagePart {
    /// The page.
    pub(super) page: ReadPage,
    /// Where its range stood before it.
    pub(super) range: IdRange,
    /// How far it reaches.
    pub(super) reach: RangeReach,
}

/// Reads a page of an object's list.
pub(super) async fn read_page(
    engine: &Engine,
    object: &ObjectSync,
    after: Option<String>,
) -> Result<ReadPage, StepError> {
    let asked_at = engine.now();
    let query = ListQuery {
        after,
        limit: PAGE,
        properties: object.properties.clone(),
        archived: false,
    };
    let mut page = engine
        .client
        .list(object.object(), &query, Priority::Bulk)
        .await?;
    blanks::fill(engine, object, &object.properties, &mut page.records).await?;
    Ok(ReadPage {
        asked_at,
        evidence: Evidence::Store,
        by_search: page.by_search,
        records: remote_records(object, page.records),
        unread: page.unread,
        odd: page.odd,
        after: page.after,
        date: page.date,
    })
}

/// Searches for the next records of a range. The count must be what the page before it has left: what the index lacks or has got
/// since is found by list.
async fn search_page(
    engine: &Engine,
    object: &ObjectSync,
    (last, until): (HubspotId, Option<HubspotId>),
    expected: Option<u64>,
) -> Result<Option<(ReadPage, u64)>, StepError> {
    let asked_at = engine.now();
    let mut found = engine
        .client
        .search_between(
            object.object(),
            (last, until),
            &object.properties,
            Priority::Bulk,
        )
        .await?;
    let end = page_end(Some(last), found.records.iter().map(|record| record.id))?;
    let shown = (found.records.len() + found.unread.len()) as u64;
    let is_short = !found.is_last && shown < u64::from(SEARCH_PAGE).min(found.total);
    if is_short || found.odd.is_some() || expected.is_some_and(|left| left != found.total) {
        return Ok(None);
    }
    blanks::fill(engine, object, &object.properties, &mut found.records).await?;
    let end = end.max(found.unread.iter().copied().max());
    let page = ReadPage {
        asked_at,
        evidence: Evidence::Search,
        by_search: true,
        records: remote_records(object, found.records),
        unread: found.unread,
        odd: None,
        after: end.filter(|_| !found.is_last).map(|end| end.to_string()),
        date: found.date,
    };
    Ok(Some((page, found.total.saturating_sub(shown))))
}

/// How a step of a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// There is more to read.
    More,
    /// The walk is at its end; whether something of the same work follows.
    Ended {
        /// Whether nothing follows.
        is_done: bool,
    },
}

/// Walks on: one page of a walk that has just begun, else as many as come in a quarter of a minute.
pub(super) async fn step(
    engine: &Engine,
    object: &ObjectSync,
    walk: &PagedWalk,
    ends: &StepEnd,
) -> Result<Walked, StepError> {
    let key = (object.object().clone(), walk.walk);
    let (name, of) = key.clone();
    let mut stand = engine
        .store
        .read(move |connection| ranges::of(connection, &name, of))
        .await?;
    if stand.is_empty() {
        let name = object.object().clone();
        let begun = move |tx: &WriteTx<'_>| ranges::begin(tx, &name, of);
        engine.store.write(Lane::Interactive, begun).await?;
        stand.push(IdRange::whole());
    }
    let is_first = stand.iter().all(|range| range.after.is_none());
    let known = match is_first {
        // A page of an earlier walk says nothing of this one but that its cursor made no sense.
        true => KnownList {
            is_one_chain: engine.memory.lists.of(&key).is_one_chain,
            ..KnownList::default()
        },
        false => engine.memory.lists.of(&key),
    };
    let mut walker = Walker::new(engine, object, walk, (stand, known, ends));
    let done = walker.run(is_first).await;
    let known = walker.known;
    match &done {
        Ok(Walked::Ended { .. }) => engine.memory.lists.forget(&key),
        Ok(Walked::More) | Err(_) => engine.memory.lists.note(key, known),
    }
    done
}

/// How a chain reads its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadBy {
    List,
    /// And how many records are left of it by the index, where a page has said so.
    Search(Option<u64>),
}

/// A range with its chain of pages.
struct Chain {
    by: ReadBy,
    /// As it stands in the database.
    range: IdRange,
    /// With what the next page is asked for, as the newest page says.
    next: Option<String>,
    /// Whether the newest page was the range's last.
    is_read: bool,
    /// The highest id of the pages that came.
    read_to: HubspotId,
    is_asked: bool,
    unwritten: usize,
    spacing: f64,
}

/// A range as it was when it was searched: its start and its end.
type SearchedRange = (HubspotId, Option<HubspotId>);

/// What a walk waits for.
enum WalkEvent {
    Page(HubspotId, Result<ReadPage, StepError>, Duration),
    /// With what is left by the index; nothing where that makes no sense.
    Found(SearchedRange, Result<Option<(ReadPage, u64)>, StepError>),
    Extent(Option<CountedList>),
    Written(Result<Wrote, StepError>),
}

/// How far a list reaches.
struct CountedList {
    highest: HubspotId,
    total: u64,
    /// Records that the walk has seen before this step, where that is kept.
    seen: u64,
}

/// What became of a page in the database.
struct Wrote {
    part: PagePart,
    outcome: PageOutcome,
}

#[derive(Debug, Clone, Copy)]
enum PageOutcome {
    Moved,
    Stopped(HubspotId),
    Ended(bool),
    /// The walk was begun anew by somebody else.
    Overtaken,
}

/// Whether a step goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum WalkPhase {
    Open,
    /// Nothing more is asked for.
    Closing,
    /// And what still comes is of no use.
    Void,
}

/// A step of a walk.
struct Walker<'a> {
    engine: &'a Engine,
    object: &'a ObjectSync,
    walk: &'a PagedWalk,
    ends: &'a StepEnd,
    known: KnownList,
    /// By their starts.
    chains: BTreeMap<HubspotId, Chain>,
    reading: FuturesUnordered<BoxFuture<'a, WalkEvent>>,
    writing: Option<BoxFuture<'a, WalkEvent>>,
    /// What came while something else was looked at.
    came: VecDeque<WalkEvent>,
    /// Pages in the order in which they came.
    unwritten: VecDeque<(HubspotId, ReadPage)>,
    phase: WalkPhase,
    /// Whether a search made no sense in this step.
    is_without_searches: bool,
    /// Whether the list's extent was asked for in this step.
    has_counted: bool,
    failure: Option<StepError>,
    ended: Option<bool>,
    began: Duration,
    looked: Duration,
}

impl<'a> Walker<'a> {
    fn new(
        engine: &'a Engine,
        object: &'a ObjectSync,
        walk: &'a PagedWalk,
        (stand, mut known, ends): (Vec<IdRange>, KnownList, &'a StepEnd),
    ) -> Self {
        // More than one there are only where the cursor was an id.
        known.is_by_id |= stand.len() > 1;
        let chain = |range: IdRange| Chain {
            by: ReadBy::List,
            next: range.after.clone(),
            is_read: false,
            read_to: range.last,
            is_asked: false,
            unwritten: 0,
            spacing: known.spacing.get(&range.start).copied().unwrap_or(1.0),
            range,
        };
        let chains = stand.into_iter().map(|range| (range.start, chain(range)));
        let began = engine.clock.monotonic();
        Self {
            engine,
            object,
            walk,
            ends,
            chains: chains.collect(),
            known,
            reading: FuturesUnordered::new(),
            writing: None,
            came: VecDeque::new(),
            unwritten: VecDeque::new(),
            phase: WalkPhase::Open,
            is_without_searches: false,
            has_counted: false,
            failure: None,
            ended: None,
            began,
            looked: began,
        }
    }

    async fn run(&mut self, is_one_page: bool) -> Result<Walked, StepError> {
        loop {
            if !self.is_closing() {
                self.ask();
            }
            if is_one_page {
                self.end(WalkPhase::Closing);
            }
            self.write();
            self.widen().await;
            let Some(event) = self.next().await else {
                break;
            };
            self.take(event);
            if let Err(error) = self.look().await {
                self.fail(error, WalkPhase::Void);
            }
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        Ok(match self.ended {
            Some(is_done) => Walked::Ended { is_done },
            None => Walked::More,
        })
    }

    /// Asks for the next page of each chain that may have one more.
    fn ask(&mut self) {
        let (engine, object) = (self.engine, self.object);
        let mut asked = self.chains.values().filter(|chain| chain.is_asked).count();
        let search_rate = self.search_rate();
        for chain in self.chains.values_mut() {
            let may_ask = !chain.is_asked && !chain.is_read && chain.unwritten <= MOST_UNWRITTEN;
            if !may_ask || asked >= MOST_CHAINS {
                continue;
            }
            chain.is_asked = true;
            asked += 1;
            let (start, after) = (chain.range.start, chain.next.clone());
            if let (ReadBy::Search(expected), Some(rate)) = (chain.by, search_rate) {
                let (read_to, until) = (chain.read_to, chain.range.until);
                let now = engine.clock.monotonic();
                let wait = engine.memory.searches.take(now, rate);
                self.reading.push(Box::pin(async move {
                    if !wait.is_zero() {
                        engine.clock.sleep(wait).await;
                    }
                    let found = search_page(engine, object, (read_to, until), expected).await;
                    WalkEvent::Found((start, until), found)
                }));
                continue;
            }
            chain.by = ReadBy::List;
            self.reading.push(Box::pin(async move {
                let began = engine.clock.monotonic();
                let page = read_page(engine, object, after).await;
                let took = engine.clock.monotonic().saturating_sub(began);
                WalkEvent::Page(start, page, took)
            }));
        }
    }

    /// Begins to write the oldest page, unless another is being written.
    fn write(&mut self) {
        if self.writing.is_some() || self.is_void() {
            return;
        }
        while let Some((start, mut page)) = self.unwritten.pop_front() {
            let Some(chain) = self.chains.get(&start) else {
                continue;
            };
            let range = chain.range.clone();
            let reach = range.reach(page.shown().max(), page.after.as_deref());
            page.within(&range);
            let is_last = reach.is_end && self.chains.len() == 1;
            let part = PagePart { page, range, reach };
            let (engine, object, walk) = (self.engine, self.object, self.walk);
            self.writing = Some(Box::pin(async move {
                WalkEvent::Written(write_part(engine, object, walk, part, is_last).await)
            }));
            return;
        }
    }

    /// Begins further chains while the limiter and the writer have nothing to do.
    async fn widen(&mut self) {
        self.ask_extent();
        while let Some(by) = self.may_widen().await {
            let Some((start, at)) = self.place() else {
                return;
            };
            let range = self.chains[&start].range.clone();
            let (name, of) = (self.object.object().clone(), self.walk.walk);
            let own = range.clone();
            let parting = move |tx: &WriteTx<'_>| ranges::split(tx, &name, of, &own, at);
            match self.engine.store.write(Lane::Interactive, parting).await {
                Ok(true) => self.part(start, at, range.until, by),
                // Somebody has begun the walk anew.
                Ok(false) => self.end(WalkPhase::Closing),
                Err(error) => self.fail(error.into(), WalkPhase::Void),
            }
            if !self.is_closing() {
                self.ask();
            }
        }
    }

    fn part(&mut self, start: HubspotId, at: HubspotId, until: Option<HubspotId>, by: ReadBy) {
        let Some(former) = self.chains.get_mut(&start) else {
            return;
        };
        former.range.until = Some(at);
        if let ReadBy::Search(left) = &mut former.by {
            // Fewer are left of it: nobody has counted how many.
            *left = None;
        }
        let range = IdRange::behind(at, until);
        let chain = Chain {
            by,
            next: range.after.clone(),
            is_read: false,
            read_to: at,
            is_asked: false,
            unwritten: 0,
            spacing: former.spacing,
            range,
        };
        self.chains.insert(at, chain);
    }

    /// By what another chain may read, if one may begin.
    async fn may_widen(&mut self) -> Option<ReadBy> {
        let knows = self.known.is_by_id && !self.known.is_one_chain && self.known.extent.is_some();
        if self.is_closing() || !knows {
            return None;
        }
        // What was asked for enters the limiter's queue.
        while let Some(event) = poll_fn(|context| {
            Poll::Ready(match self.reading.poll_next_unpin(context) {
                Poll::Ready(event) => event,
                Poll::Pending => None,
            })
        })
        .await
        {
            self.came.push_back(event);
        }
        if !self.came.is_empty() || !self.unwritten.is_empty() {
            return None;
        }
        let lists = self
            .chains
            .values()
            .filter(|chain| chain.by == ReadBy::List);
        let asked = lists.filter(|chain| chain.is_asked).count();
        if !self
            .engine
            .client
            .limiter()
            .is_waited_for(EndpointClass::Crm)
        {
            let is_room = asked < MOST_CHAINS.min(2 * self.wanted());
            return is_room.then_some(ReadBy::List);
        }
        // Lists bring all that they may: searches pass them by.
        let searches = self
            .chains
            .values()
            .filter(|chain| chain.by != ReadBy::List);
        (searches.count() < self.searches_wanted()).then_some(ReadBy::Search(None))
    }

    /// Searches a second that may be made beside the lists. A comparison makes none: what the index lacks proves nothing.
    fn search_rate(&self) -> Option<f64> {
        let is_first_read = self.walk.walk == ListWalk::Backfill;
        let mapping = self.object.mapping();
        let may = is_first_read
            && !self.is_without_searches
            && mapping.modes.backfill == FirstReadBy::List
            && search_body_fits(&self.object.properties);
        self.engine
            .client
            .limiter()
            .searches_beside_lists()
            .filter(|_| may)
    }

    /// How many chains search, once enough is left for them to be worth their begin.
    fn searches_wanted(&self) -> usize {
        let (_, total) = self.known.extent.unwrap_or((HubspotId(0), 0));
        let is_long = total.saturating_sub(self.known.seen) >= LEAST_FOR_SEARCHES;
        let rate = self.search_rate().filter(|_| is_long);
        rate.map_or(0, |rate| {
            chains_at(rate, self.known.latency.unwrap_or_default())
        })
    }

    /// How many chains use what is allowed, by the shortest answer so far.
    fn wanted(&self) -> usize {
        let rate = f64::from(self.engine.client.limiter().snapshot().burst_limit) / 10.0;
        chains_at(rate, self.known.latency.unwrap_or_default())
    }

    /// Where another chain is to begin: in which range, and at which id.
    fn place(&self) -> Option<(HubspotId, HubspotId)> {
        let (highest, total) = self.known.extent?;
        let extent = ListExtent {
            highest,
            left: Some(total.saturating_sub(self.known.seen)),
        };
        let chains = self.chains.values().filter(|chain| !chain.is_read);
        let chains: Vec<&Chain> = chains.collect();
        let open = chains.iter().map(|chain| {
            let page = match chain.by {
                ReadBy::List => PAGE,
                ReadBy::Search(_) => SEARCH_PAGE,
            };
            let under_way = if chain.is_asked { f64::from(page) } else { 0.0 };
            let ahead = (under_way * chain.spacing) as i64;
            OpenRange {
                at: HubspotId(chain.read_to.0.saturating_add(ahead)),
                until: chain.range.until,
                spacing: chain.spacing,
            }
        });
        let open: Vec<OpenRange> = open.collect();
        let (index, at) = split(&open, extent, self.wanted() + self.searches_wanted())?;
        Some((chains[index].range.start, at))
    }

    /// Asks how far the list reaches, once its cursor has shown to be an id and a page is known to follow.
    fn ask_extent(&mut self) {
        let is_due = self.known.is_by_id && !self.known.is_one_chain && self.known.extent.is_none();
        if self.is_closing() || self.has_counted || !is_due {
            return;
        }
        self.has_counted = true;
        let (engine, object, walk) = (self.engine, self.object, self.walk.walk);
        self.reading.push(Box::pin(async move {
            // A refusal costs the progress line its share, and the next step asks again.
            WalkEvent::Extent(count(engine, object, walk).await.ok().flatten())
        }));
    }

    /// The next thing that comes; `None` where nothing is under way.
    async fn next(&mut self) -> Option<WalkEvent> {
        if let Some(event) = self.came.pop_front() {
            return Some(event);
        }
        poll_fn(|context| {
            if let Some(writing) = &mut self.writing
                && let Poll::Ready(event) = writing.as_mut().poll(context)
            {
                self.writing = None;
                return Poll::Ready(Some(event));
            }
            let read = self.reading.poll_next_unpin(context);
            match read {
                Poll::Ready(None) if self.writing.is_some() => Poll::Pending,
                Poll::Ready(_) | Poll::Pending => read,
            }
        })
        .await
    }

    fn take(&mut self, event: WalkEvent) {
        match event {
            WalkEvent::Page(start, page, took) => self.take_page(start, page, took),
            WalkEvent::Found(range, found) => self.take_found(range, found),
            WalkEvent::Extent(Some(counted)) => {
                self.known.extent = Some((counted.highest, counted.total));
                self.known.seen = self.known.seen.max(counted.seen);
            }
            WalkEvent::Extent(None) => {}
            WalkEvent::Written(Ok(wrote)) => self.settle(wrote),
            WalkEvent::Written(Err(error)) => self.fail(error, WalkPhase::Void),
        }
    }

    fn is_closing(&self) -> bool {
        self.phase != WalkPhase::Open
    }

    fn is_void(&self) -> bool {
        self.phase == WalkPhase::Void
    }

    fn end(&mut self, phase: WalkPhase) {
        self.phase = self.phase.max(phase);
    }

    fn fail(&mut self, error: StepError, phase: WalkPhase) {
        self.end(phase);
        self.failure.get_or_insert(error);
    }

    fn take_page(&mut self, start: HubspotId, page: Result<ReadPage, StepError>, took: Duration) {
        let Some(chain) = self.chains.get_mut(&start) else {
            return;
        };
        chain.is_asked = false;
        let is_probe = start != HubspotId(0) && chain.range.last == start && chain.read_to == start;
        let page = match page {
            Ok(page) => page,
            // It takes no id of ours.
            Err(StepError::Hubspot(error)) if is_probe && error.status() == Some(400) => {
                return self.give_up();
            }
            Err(error) => return self.fail(error, WalkPhase::Closing),
        };
        let (lowest, highest) = (page.shown().min(), page.shown().max());
        if is_probe && !begins_at(start, lowest, page.after.as_deref()) {
            return self.give_up();
        }
        let next = page.after.as_deref().zip(highest);
        self.known.is_by_id |= next.is_some_and(|(next, highest)| names_an_id(next, highest));
        let latency = self.known.latency.unwrap_or(took);
        self.known.latency = Some(latency.min(took));
        self.note_page(start, page);
    }

    /// What a search shows. Where it makes no sense or fails, the list goes on where it stood.
    fn take_found(
        &mut self,
        (start, until): SearchedRange,
        found: Result<Option<(ReadPage, u64)>, StepError>,
    ) {
        let Some(chain) = self.chains.get_mut(&start) else {
            return;
        };
        chain.is_asked = false;
        match found {
            Ok(Some((page, left))) => {
                // Of a range that was parted meanwhile nobody has counted what is left.
                let is_whole = chain.range.until == until;
                chain.by = ReadBy::Search(Some(left).filter(|_| is_whole));
                self.note_page(start, page);
            }
            Ok(None) => {
                tracing::info!(object = %self.object.object(), "the index counts otherwise than it shows; the list goes on from there");
                chain.by = ReadBy::List;
                chain.next = Some(chain.read_to.to_string());
            }
            Err(error) => {
                tracing::info!(object = %self.object.object(), error = %error, "a search beside the list failed; the list goes on from there");
                chain.by = ReadBy::List;
                chain.next = Some(chain.read_to.to_string());
                self.is_without_searches = true;
            }
        }
    }

    fn note_page(&mut self, start: HubspotId, page: ReadPage) {
        let Some(chain) = self.chains.get_mut(&start) else {
            return;
        };
        let (lowest, highest) = (page.shown().min(), page.shown().max());
        let reach = chain.range.reach(highest, page.after.as_deref());
        chain.is_read = reach.is_end;
        chain.next.clone_from(&page.after);
        chain.unwritten += 1;
        if let Some((lowest, highest)) = lowest.zip(highest) {
            chain.read_to = chain.read_to.max(highest);
            let steps = page.shown().count().saturating_sub(1).max(1) as f64;
            chain.spacing = ((highest.0 - lowest.0) as f64 / steps).max(1.0);
            self.known.spacing.insert(start, chain.spacing);
        }
        self.known.seen += page.records.len() as u64;
        self.unwritten.push_back((start, page));
    }

    /// A page in the middle of the list is not what was asked for: the list is read from its beginning, by one chain.
    fn give_up(&mut self) {
        let object = self.object.object();
        tracing::warn!(%object, "the list's cursor is no record id after all; it is read again from its beginning");
        self.known.is_one_chain = true;
        self.end(WalkPhase::Void);
    }

    fn settle(&mut self, wrote: Wrote) {
        let PagePart { page, range, reach } = wrote.part;
        let Some(chain) = self.chains.get_mut(&range.start) else {
            return;
        };
        match wrote.outcome {
            PageOutcome::Stopped(last) => {
                chain.range.last = last;
                self.unwritten.push_front((range.start, page));
            }
            PageOutcome::Moved if !reach.is_end => {
                chain.unwritten -= 1;
                chain.range.after = page.after;
                chain.range.last = reach.to;
            }
            PageOutcome::Moved => drop(self.chains.remove(&range.start)),
            PageOutcome::Ended(is_done) => {
                self.chains.remove(&range.start);
                self.ended = Some(is_done);
            }
            PageOutcome::Overtaken => {
                self.end(WalkPhase::Void);
            }
        }
    }

    /// Looks whether the walk is to rest, or its list to be read anew.
    async fn look(&mut self) -> Result<(), StepError> {
        let is_idle = self.reading.is_empty() && self.writing.is_none() && self.came.is_empty();
        if self.known.is_one_chain && self.is_void() && is_idle {
            let (name, of) = (self.object.object().clone(), self.walk.walk);
            let anew = move |tx: &WriteTx<'_>| cursors::list_again(tx, &name, of);
            self.engine.store.write(Lane::Bulk, anew).await?;
            return Ok(());
        }
        if self.ends.is_reached(self.engine) {
            self.end(WalkPhase::Closing);
        }
        let now = self.engine.clock.monotonic();
        if self.is_closing() || now.saturating_sub(self.looked) < LOOK {
            return Ok(());
        }
        self.looked = now;
        let pauses = &self.engine.memory.pauses;
        let is_paused = pauses.ask(&self.engine.store, PausedSide::Pull);
        let own = self.object.table.mapping();
        let in_force = self.engine.object(self.object.object());
        let is_exchanged = in_force.is_none_or(|object| !Arc::ptr_eq(object.table.mapping(), own));
        if is_exchanged || is_paused.await? || now.saturating_sub(self.began) >= STEP_LASTS {
            self.end(WalkPhase::Closing);
        }
        Ok(())
    }
}

/// Counts an object's list: HubSpot's index does, and for a comparison the mirror.
async fn count(
    engine: &Engine,
    object: &ObjectSync,
    walk: ListWalk,
) -> Result<Option<CountedList>, StepError> {
    if walk == ListWalk::Reconcile {
        let sync = object.clone();
        let counted = engine.store.read(move |connection| {
            let (highest, total) = (
                sync.table.highest_id(connection)?,
                sync.table.linked(connection)?,
            );
            Ok(highest.map(|highest| CountedList {
                highest,
                total,
                seen: 0,
            }))
        });
        return Ok(counted.await?);
    }
    let client = &engine.client;
    let (total, highest) = client
        .search_highest(object.object(), Priority::Bulk)
        .await?;
    let name = object.object().clone();
    let seen = move |tx: &WriteTx<'_>| {
        cursors::set_backfill_total(tx, &name, total)?;
        Ok(cursors::get(tx, &name)?.backfill_rows)
    };
    let seen = engine.store.write(Lane::Bulk, seen).await?;
    Ok(highest.map(|highest| CountedList {
        highest,
        total,
        seen,
    }))
}

/// Applies a page, and moves its range in the same transaction.
async fn write_part(
    engine: &Engine,
    object: &ObjectSync,
    walk: &PagedWalk,
    part: PagePart,
    is_last: bool,
) -> Result<Wrote, StepError> {
    if is_last {
        let (sync, before_end) = (object.clone(), walk.before_end);
        let ready = move |tx: &WriteTx<'_>| before_end(tx, &sync);
        engine.store.write(Lane::Bulk, ready).await?;
    }
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let (of, apply, end) = (walk.walk, walk.apply, walk.end);
    let job = move |tx: &WriteTx<'_>| {
        let name = sync.object();
        let (range, reach) = (&part.range, part.reach);
        let next = part.page.after.as_deref().filter(|_| !reach.is_end);
        let stands = match next {
            Some(after) => ranges::advance(tx, name, of, range, (after, reach.to))?,
            None => ranges::finish(tx, name, of, range)?,
        };
        let outcome = if !stands {
            PageOutcome::Overtaken
        } else if let Applied::UpTo(last) = apply(tx, &sync, offset, &part)? {
            ranges::stop_at(tx, name, of, range, last)?;
            PageOutcome::Stopped(last)
        } else if reach.is_end && ranges::of(tx, name, of)?.is_empty() {
            PageOutcome::Ended(end(tx, &sync, offset)?)
        } else {
            PageOutcome::Moved
        };
        // The page goes back to the thread that made it: freeing another thread's memory makes both wait.
        Ok(Wrote { part, outcome })
    };
    Ok(engine.store.write(Lane::Bulk, job).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Progress;
    use crate::engine::desk::{Desk, run};
    use crate::engine::source::backfill;
    use crate::store::cursors::Backfill;

    /// A page of records, and with what the next one is asked for.
    fn page(ids: std::ops::RangeInclusive<u32>, next: &str) -> String {
        let record = |id| format!(r#"{{"id":"{id}","properties":{{"email":"{id}@example.com"}}}}"#);
        let records: Vec<String> = ids.map(record).collect();
        let next = match next {
            "" => String::new(),
            next => format!(r#","paging":{{"next":{{"after":"{next}"}}}}"#),
        };
        format!(r#"{{"results":[{}]{next}}}"#, records.join(","))
    }

    /// A portal of a thousand contacts, of whose list the first page is read.
    fn begun() -> (Desk, Arc<ObjectSync>) {
        let desk = Desk::new(0);
        let contacts = desk.contacts();
        desk.hubspot.answer("/contacts?", page(1..=100, "101"));
        desk.hubspot.answer(
            "/search",
            r#"{"total":1000,"results":[{"id":"1000","properties":{}}]}"#,
        );
        let done = run(backfill::step(&desk.engine, &contacts, &StepEnd::never())).expect("a page");
        assert_eq!(done, Progress::More);
        (desk, contacts)
    }

    fn afters(desk: &Desk) -> Vec<String> {
        let asked = desk.hubspot.asked("/contacts?");
        let after = |path: &str| {
            path.split_once("after=")
                .map_or("", |(_, after)| after)
                .to_owned()
        };
        asked.iter().map(|one| after(&one.path)).collect()
    }

    #[test]
    fn a_list_whose_cursor_is_an_id_is_read_at_several_places_at_once() {
        let (desk, contacts) = begun();
        desk.hubspot.answer("after=101", page(101..=200, "201"));
        while run(backfill::step(&desk.engine, &contacts, &StepEnd::never())).expect("pages")
            == Progress::More
        {}
        let afters = afters(&desk);
        let mut parts: Vec<u32> = afters
            .iter()
            .filter_map(|after| after.parse().ok())
            .collect();
        parts.sort_unstable();
        assert!(parts.len() > 4 && parts[0] == 101, "{parts:?}");
        assert!(parts.windows(2).all(|two| two[0] < two[1]), "{parts:?}");
        assert_eq!(desk.cursor().backfill, Backfill::Done);
        assert_eq!(desk.cursor().backfill_total, Some(1000));
    }

    #[test]
    fn a_list_that_shows_something_else_in_its_middle_is_read_again_by_one_chain() {
        for is_refused in [false, true] {
            let (desk, contacts) = begun();
            desk.hubspot.answer("after=101", page(101..=200, "201"));
            // Asked for behind an id it begins at the beginning, or takes no such word.
            match is_refused {
                true => desk.hubspot.refuse("after=3", 400),
                false => desk.hubspot.answer("after=3", page(1..=50, "51")),
            }
            let done = run(backfill::step(&desk.engine, &contacts, &StepEnd::never()));
            assert_eq!(done.expect("pages"), Progress::More);
            assert_eq!(desk.cursor().backfill_rows, 0);
            desk.hubspot.answer("/contacts?", page(1..=100, "101"));
            desk.hubspot.answer("/contacts?", page(101..=150, ""));
            let asked = afters(&desk).len();
            while run(backfill::step(&desk.engine, &contacts, &StepEnd::never())).expect("pages")
                == Progress::More
            {}
            assert_eq!(afters(&desk)[asked..], ["", "101"]);
            assert_eq!(desk.cursor().backfill_rows, 150);
        }
    }

    #[test]
    fn a_list_whose_cursor_is_no_id_is_one_chain() {
        let desk = Desk::new(0);
        let contacts = desk.contacts();
        desk.hubspot.answer("/contacts?", page(1..=100, "NTEwMQ"));
        desk.hubspot.answer("NTEwMQ", page(101..=200, "NTIwMQ"));
        desk.hubspot.answer("NTIwMQ", page(201..=250, ""));
        while run(backfill::step(&desk.engine, &contacts, &StepEnd::never())).expect("pages")
            == Progress::More
        {}
        assert_eq!(afters(&desk), ["", "NTEwMQ", "NTIwMQ"]);
        assert_eq!(desk.cursor().backfill_rows, 250);
        assert_eq!(desk.hubspot.asked("/search").len(), 0);
    }
}
