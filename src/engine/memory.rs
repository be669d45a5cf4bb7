//! What steps remember from one call to the next beside what the database keeps. A start begins without any of it, and loses
//! some requests by that: what must survive is a row.
//!
//! Each is a type of the step that it belongs to, stands in a file of that step's that knows no engine, and has a lock of its own,
//! which nobody holds across a wait. Those above `listed` belong to one step; the others are shared, for the reason that each gives.

use crate::engine::decisions::later::PutOff;
use crate::engine::decisions::paused::KnownPauses;
use crate::engine::outbound::turns::{BatchesAtOnce, LinksAtOnce, Turns};
use crate::engine::portal::contradicted::Contradicted;
use crate::engine::portal::refusals::Refusals;
use crate::engine::source::arrivals::Arrivals;
use crate::engine::source::asked::AskedPolls;
use crate::engine::source::heard::Deliveries;
use crate::engine::source::listed::ListedProperties;
use crate::engine::source::walked::{SearchTurns, WalkedLists};
use crate::model::id::ConflictId;

/// What steps remember. Those of different objects run at the same time.
#[derive(Debug, Default)]
pub(crate) struct StepMemory {
    /// Of first reads and comparisons: what the lists have shown of themselves.
    pub(crate) lists: WalkedLists,
    /// When a first read may search beside its lists. Shared by those of all objects: HubSpot counts an account's searches.
    pub(crate) searches: SearchTurns,
    /// Of the push: whose turn it is, the oldest's or the youngest's.
    pub(crate) turns: Turns,
    /// Of the associations of the push: the same of each pair, and of each object which of its pairs comes first.
    pub(crate) link_turns: Turns,
    /// Of the associations of the push: how many go in one request.
    pub(crate) links_at_once: LinksAtOnce,
    /// Of the push: how many batches go at once.
    pub(crate) at_once: BatchesAtOnce,
    /// Of the decisions: which wait for a better answer.
    pub(crate) later: PutOff<ConflictId>,
    /// Of the commands by SQL: which HubSpot did not answer.
    pub(crate) orders: PutOff<i64>,
    /// Which sides are paused. Shared by the commands, which alone change that, and by the tasks, which ask at each turn.
    pub(crate) pauses: KnownPauses,
    /// Which properties HubSpot has. Shared by whatever reads records: a property that one read found to be gone is gone for the
    /// next, and the question costs a request.
    pub(crate) listed: ListedProperties,
    /// When events came. Shared by what stores deliveries and what looks at the inbox: the one waits until the other is quiet.
    pub(crate) arrivals: Arrivals,
    /// Which objects are to be polled at once. Shared by the commands that ask for it and the tasks that poll.
    pub(crate) polls: AskedPolls,
    /// Whether webhooks arrive. Shared by what stores deliveries and by the polls, which find what no delivery announced.
    pub(crate) deliveries: Deliveries,
    /// What HubSpot forbids. Shared by the steps of all objects, which meet it, and by the read of the schema, after which all is
    /// tried once more.
    pub(crate) refusals: Refusals,
    /// Which answers have contradicted what is known of the portal. Shared by reads and pushes of all objects: a new owner who
    /// stands in a hundred records is asked for once.
    pub(crate) contradicted: Contradicted,
}
