//! What a seed decides: the portal, the mapping, the faults and the rhythm. Each seed picks its own subset of everything
//! that can go wrong, since a run in which all of it happens at once hides what each of it does.

use std::collections::BTreeMap;
use std::time::Duration;

use hubsyncd::model::mapping::{
    Direction, FieldMapping, FieldModes, KeyChoice, Mapping, Modes, NewRecords, ObjectMapping,
    OnLocalDelete, OnRemoteDelete, Policy, Sees, WriteMode,
};
use hubsyncd::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use hubsyncd::model::settings::Guard;
use hubsyncd::model::value::PropertyType;
use hubsyncd::simulator::faults::FaultKind;
use hubsyncd::simulator::portal::{NewObject, Portal};
use hubsyncd::simulator::settings::Settings;
use hubsyncd::simulator::webhooks::Webhooks;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::links;
use crate::script::{self, Act, Allowed, Deed, Side};
use crate::values::is_unique_text;
use crate::world::Network;

/// A seed's decisions.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The seed.
    pub(crate) seed: u64,
    /// The portal.
    pub(crate) settings: Settings,
    /// The network.
    pub(crate) network: Network,
    /// Faults of HubSpot and the way to it.
    pub(crate) chances: BTreeMap<FaultKind, f64>,
    /// How long a late request takes at most.
    pub(crate) late_max_ms: u64,
    /// How long a slow answer takes.
    pub(crate) slow_ms: u64,
    /// What is synced.
    pub(crate) mapping: Mapping,
    /// The brake.
    pub(crate) guard: Guard,
    /// Whether the brake is small.
    pub(crate) small_guard: bool,
    /// Time between two polls.
    pub(crate) poll: Duration,
    /// How far a window reaches back.
    pub(crate) overlap: Duration,
    /// When windows are walked again.
    pub(crate) again: Vec<Duration>,
    /// Whether polls and webhooks alone must be enough, since nothing happens that only a comparison sees.
    pub(crate) never_compares: bool,
    /// Time between two full comparisons.
    pub(crate) reconcile: Duration,
    /// Records in HubSpot at the start.
    pub(crate) records: usize,
    /// What happens before the calm, in order; appointments last.
    pub(crate) script: Vec<Deed>,
    /// Where most of it happens.
    pub(crate) hot: Hot,
    /// How much of what programs do is told to the daemon; the rest it finds by its slow look.
    pub(crate) rings: f64,
    /// So few requests in ten seconds that an ordinary run comes to the limit, which the daemon was told.
    pub(crate) narrow: Option<u32>,
    /// Whether no pace keeps those apart, so that what was sent in the window alone does.
    pub(crate) unpaced: bool,
}

/// The records and fields on which most acts fall, so that two of them meet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hot {
    /// So many of the first records.
    pub(crate) records: usize,
    /// Properties of any object.
    pub(crate) properties: Vec<&'static str>,
    /// How often an act falls on one of them.
    pub(crate) heat: f64,
}

impl Hot {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut properties = vec![*pick(rng, &HOT_FIELDS)];
        if rng.random_bool(0.4) {
            properties.push(*pick(rng, &HOT_FIELDS));
        }
        Self {
            records: rng.random_range(1..=3),
            properties,
            heat: *pick(rng, &[0.0, 0.6, 0.9, 1.0]),
        }
    }

    /// The hot ones of a few; all of them, where the act falls elsewhere or none is hot.
    fn narrow<T: Clone>(
        &self,
        rng: &mut ChaCha8Rng,
        all: &[T],
        is_hot: impl Fn(usize, &T) -> bool,
    ) -> Vec<T> {
        if !rng.random_bool(self.heat) {
            return all.to_vec();
        }
        let places = all.iter().enumerate();
        let hot: Vec<T> = places
            .filter(|(place, one)| is_hot(*place, one))
            .map(|(_, one)| one.clone())
            .collect();
        if hot.is_empty() { all.to_vec() } else { hot }
    }

    /// The object that is hot, or all.
    pub(crate) fn of_objects(&self, rng: &mut ChaCha8Rng, mapping: &Mapping) -> Vec<ObjectMapping> {
        self.narrow(rng, &mapping.objects, |place, _| place == 0)
    }

    /// The hot ones of records or rows, in their order.
    pub(crate) fn of_records<T: Clone>(&self, rng: &mut ChaCha8Rng, all: &[T]) -> Vec<T> {
        self.narrow(rng, all, |place, _| place < self.records)
    }

    /// The hot ones of fields.
    pub(crate) fn of_fields(
        &self,
        rng: &mut ChaCha8Rng,
        all: &[FieldMapping],
    ) -> Vec<FieldMapping> {
        self.narrow(rng, all, |_, field| {
            self.properties.contains(&field.property.as_str())
        })
    }
}

/// What may be hot; the first are texts, which can be followed.
const HOT_FIELDS: [&str; 6] = ["firstname", "firstname", "city", "email", "vip", "name"];

impl Plan {
    /// Whether nothing at all goes wrong, but what people do to each other.
    pub(crate) fn is_faultless(&self) -> bool {
        let is_machine = |deed: &Deed| deed.act.side() == Side::Machine;
        self.chances.is_empty() && !self.script.iter().any(is_machine)
    }

    /// Whether no request of ours may be refused for the limit, whatever happens: what lands late counts when it lands, a
    /// file of before knows nothing of what was sent since, and only a refusal tells that searches count too.
    pub(crate) fn keeps_its_limit(&self) -> bool {
        let lands_late = self.chances.contains_key(&FaultKind::Late);
        let is_unknown = lands_late || self.settings.searches_count_in_burst;
        self.narrow.is_some() && !is_unknown && !self.has(Act::PutBack)
    }

    /// Whether an act is among what happens.
    pub(crate) fn has(&self, act: Act) -> bool {
        self.script.iter().any(|deed| deed.act == act)
    }

    /// Draws a plan.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x51A9_0000);
        let rng = &mut rng;
        let settings = portal(rng, seed);
        let small_guard = rng.random_bool(0.25);
        let faultless = rng.random_bool(0.15);
        let [removals, merges, operators] = [0.6, 0.35, 0.5].map(|chance| rng.random_bool(chance));
        let chances = if faultless {
            BTreeMap::new()
        } else {
            chances(rng)
        };
        let hides = [
            FaultKind::MissingRecord,
            FaultKind::OmittedRecord,
            FaultKind::UnreadableRecord,
        ];
        let is_seen = !removals && !merges && hides.iter().all(|kind| !chances.contains_key(kind));
        let never_compares = is_seen && rng.random_bool(0.7);
        let narrow = narrow(seed);
        let again = if rng.random_bool(0.5) {
            vec![Duration::from_mins(5)]
        } else {
            vec![Duration::from_mins(1), Duration::from_mins(6)]
        };
        Self {
            seed,
            network: Network {
                least_ms: rng.random_range(5..60),
                most_ms: *pick(rng, &[60, 200, 700, 3_000]),
                times_out: *pick(rng, &[0.0, 0.2, 1.0]),
            },
            chances,
            late_max_ms: *pick(rng, &[2_000, 20_000, 59_000]),
            slow_ms: *pick(rng, &[5_000, 40_000, 200_000]),
            mapping: with_new_records(with_modes(with_more(mapping(rng), seed), seed), seed),
            guard: guard(small_guard),
            small_guard,
            poll: Duration::from_secs(*pick(rng, &[10, 20, 45])),
            overlap: Duration::from_secs(15),
            again,
            never_compares,
            reconcile: if never_compares {
                Duration::from_hours(1_000)
            } else {
                Duration::from_mins(*pick(rng, &[7, 20, 60]))
            },
            records: *pick(rng, &[0, 1, 2, 3, 5, 12, 40]),
            script: script::draw(
                rng,
                Allowed {
                    faults: !faultless,
                    removals,
                    merges,
                    operators,
                },
            ),
            hot: Hot::draw(rng),
            rings: *pick(rng, &[0.0, 0.5, 0.9, 1.0]),
            narrow,
            unpaced: unpaced(seed),
            settings: Settings {
                webhooks: webhooks(seed),
                burst_limit: narrow.unwrap_or(settings.burst_limit),
                ..settings
            },
        }
    }
}

/// One of a few.
pub(crate) fn pick<'a, T>(rng: &mut ChaCha8Rng, choices: &'a [T]) -> &'a T {
    &choices[rng.random_range(0..choices.len())]
}

fn portal(rng: &mut ChaCha8Rng, seed: u64) -> Settings {
    let base = if rng.random_bool(0.6) {
        Settings::default().with_unknowns_from(seed)
    } else {
        Settings::default()
    };
    let (least, most) = *pick(rng, &[(0, 0), (300, 3_000), (1_000, 20_000), (0, 200_000)]);
    Settings {
        index_delay_min_ms: least,
        index_delay_max_ms: most,
        clock_offset_ms: *pick(rng, &[0, 0, 0, 1_500, -1_500, 30_000, -30_000, 400_000]),
        ..base
    }
}

/// Deliveries in any order, some twice, some late by minutes, some never.
fn webhooks(seed: u64) -> Option<Webhooks> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0EB0_0C5A);
    let rng = &mut rng;
    rng.random_bool(0.5).then(|| Webhooks {
        url: "http://127.0.0.1:1".to_owned(),
        generic: rng.random_bool(0.3),
        duplicates: *pick(rng, &[0.0, 0.2, 0.6]),
        losses: *pick(rng, &[0.0, 0.0, 0.1, 0.5]),
        delay_min_ms: *pick(rng, &[0, 20, 1_000]),
        delay_max_ms: *pick(rng, &[30, 2_000, 300_000]),
        most_in_a_request: *pick(rng, &[1, 7, 100]),
        ..Webhooks::default()
    })
}

/// How records come and go, mostly as by default.
fn with_modes(mut mapping: Mapping, seed: u64) -> Mapping {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xC0DE_5A17);
    let rng = &mut rng;
    for object in &mut mapping.objects {
        let on_remote_delete = *pick(rng, &OnRemoteDelete::ALL);
        let makes_anew = on_remote_delete == OnRemoteDelete::Recreate;
        if rng.random_bool(0.5) && (object.direction.pushes() || !makes_anew) {
            object.modes.on_remote_delete = on_remote_delete;
        }
        if rng.random_bool(0.25) {
            object.modes.on_local_delete = OnLocalDelete::Restore;
        }
    }
    mapping
}

/// Which side may make records, and what the token sees, mostly as by default; drawn by themselves, so that what else a plan
/// draws is the same.
fn with_new_records(mut mapping: Mapping, seed: u64) -> Mapping {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x2EC0_2D5A);
    let rng = &mut rng;
    let in_view = match rng.random_bool(0.1) {
        true => Sees::User,
        false => Sees::Portal,
    };
    for object in &mut mapping.objects {
        let modes = &mut object.modes;
        modes.sees = in_view;
        let is_both = object.direction == Direction::Both && object.match_property.is_some();
        if is_both && rng.random_bool(0.15) {
            modes.new_records = *pick(
                rng,
                &[
                    NewRecords::FromHubspot,
                    NewRecords::FromLocal,
                    NewRecords::None,
                ],
            );
            // Whoever only links makes nothing anew.
            if !modes.new_records.makes_records()
                && modes.on_remote_delete == OnRemoteDelete::Recreate
            {
                modes.on_remote_delete = OnRemoteDelete::Delete;
            }
        }
    }
    mapping
}

/// The limit of one plan in three.
fn narrow(seed: u64) -> Option<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x11A1_7000);
    rng.random_bool(0.33).then(|| rng.random_range(4..=16))
}

/// The pace of one plan in two.
fn unpaced(seed: u64) -> bool {
    ChaCha8Rng::seed_from_u64(seed ^ 0x9ACE_0000).random_bool(0.5)
}

fn chances(rng: &mut ChaCha8Rng) -> BTreeMap<FaultKind, f64> {
    const ALL: [FaultKind; 19] = [
        FaultKind::RateLimited,
        FaultKind::InternalError,
        FaultKind::BadGateway,
        FaultKind::Unavailable,
        FaultKind::GatewayTimeout,
        FaultKind::Locked,
        FaultKind::Migrating,
        FaultKind::NeverArrived,
        FaultKind::AnswerLost,
        FaultKind::Late,
        FaultKind::CutBody,
        FaultKind::TruncatedJson,
        FaultKind::HtmlAnswer,
        FaultKind::Slow,
        FaultKind::DuplicateRecord,
        FaultKind::MissingRecord,
        FaultKind::UnreadableRecord,
        FaultKind::OmittedRecord,
        FaultKind::FutureDate,
    ];
    let how_many = rng.random_range(0..5);
    let mut chances = BTreeMap::new();
    for _ in 0..how_many {
        let kind = *pick(rng, &ALL);
        let rare = matches!(kind, FaultKind::Migrating);
        chances.insert(
            kind,
            if rare {
                0.01
            } else {
                *pick(rng, &[0.02, 0.08, 0.25])
            },
        );
    }
    chances
}

fn guard(small: bool) -> Guard {
    let (max_archives, max_share) = if small { (1, 0.02) } else { (10_000, 1.0) };
    Guard {
        max_archives,
        max_share,
        window: Duration::from_hours(1),
        max_updates: 0,
        max_cleared: 1.0,
    }
}

fn mapping(rng: &mut ChaCha8Rng) -> Mapping {
    let mut objects = vec![contacts(rng)];
    if rng.random_bool(0.3) {
        objects.push(companies(rng));
    }
    Mapping {
        objects,
        pairs: Vec::new(),
    }
}

/// An object that the portal's people have made, and what else stands in pairs; drawn by itself, so that what else a plan draws is
/// the same.
fn with_more(mut mapping: Mapping, seed: u64) -> Mapping {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x3AC4_11E5);
    let rng = &mut rng;
    if rng.random_bool(0.25) {
        mapping.objects.push(machines(rng));
    }
    let with_family = rng.random_bool(0.5);
    let mut of_pairs = ChaCha8Rng::seed_from_u64(seed ^ 0x5D1E_C710);
    mapping.pairs = links::pairs(&mapping.objects, with_family, || {
        links::direction(&mut of_pairs)
    });
    mapping
}

/// The name of the portal's own object.
pub(crate) const MACHINE: &str = "machine";

/// That object, as the portal's people make it.
pub(crate) fn define_machine(portal: &mut Portal, now_ms: i64) {
    portal.create_object(
        NewObject {
            name: MACHINE,
            singular: "Machine",
            plural: "Machines",
            texts: &["name", "serial", "city"],
            required: &["name"],
            associated: &["contacts"],
            ..NewObject::default()
        },
        now_ms,
    );
}

/// Addressed by its short name, or by its full one.
fn machines(rng: &mut ChaCha8Rng) -> ObjectMapping {
    let policy = *pick(rng, &Policy::ALL);
    let fields = ["serial", "name", "city"].map(|property| field(rng, property, policy));
    let fields = fields.to_vec();
    let full = format!("p{}_{MACHINE}", Settings::default().portal_id);
    let address = rng
        .random_bool(0.5)
        .then(|| ObjectType::parse(&full).expect("a name"));
    ObjectMapping {
        address,
        ..object(rng, MACHINE, policy, KeyChoice::Auto, None, fields)
    }
}

/// The property and column that a row is known by on both sides; nobody changes it.
pub(crate) const TAG: [(&str, &str); 3] = [
    ("contacts", "internal_notes"),
    ("companies", "description"),
    (MACHINE, "serial"),
];

fn contacts(rng: &mut ChaCha8Rng) -> ObjectMapping {
    let policy = *pick(rng, &Policy::ALL);
    let key = if rng.random_bool(0.75) {
        KeyChoice::Auto
    } else {
        KeyChoice::None
    };
    let mut fields = vec![
        field(rng, "internal_notes", policy),
        field(rng, "email", policy),
    ];
    for property in [
        "firstname",
        "lastname",
        "city",
        "credit_limit",
        "vip",
        "birthday",
        "last_visit",
        "loyalty_tier",
        "interests",
    ] {
        if rng.random_bool(0.6) || property == "firstname" {
            fields.push(field(rng, property, policy));
        }
    }
    object(rng, "contacts", policy, key, Some("email"), fields)
}

fn companies(rng: &mut ChaCha8Rng) -> ObjectMapping {
    let policy = *pick(rng, &Policy::ALL);
    let mut fields = vec![
        field(rng, "description", policy),
        field(rng, "name", policy),
    ];
    for property in ["city", "annualrevenue", "account_tier", "key_account"] {
        fields.push(field(rng, property, policy));
    }
    object(rng, "companies", policy, KeyChoice::Auto, None, fields)
}

fn object(
    rng: &mut ChaCha8Rng,
    name: &str,
    policy: Policy,
    key: KeyChoice,
    matching: Option<&str>,
    mut fields: Vec<FieldMapping>,
) -> ObjectMapping {
    let direction = if rng.random_bool(0.08) {
        *pick(rng, &[Direction::Pull, Direction::Push])
    } else {
        Direction::Both
    };
    for field in &mut fields {
        field.direction = direction.narrow(field.direction).unwrap_or(direction);
    }
    ObjectMapping {
        object: ObjectType::parse(name).expect(name),
        address: None,
        table: TableName::parse(name).expect(name),
        direction,
        key,
        match_property: matching.map(|name| PropertyName::parse(name).expect(name)),
        modes: Modes::default(),
        policy,
        poll: Duration::from_secs(10),
        fields,
    }
}

fn field(rng: &mut ChaCha8Rng, property: &str, policy: Policy) -> FieldMapping {
    let is_own =
        TAG.iter().any(|(_, tag)| *tag == property) || property == "email" || property == "name";
    let direction = if !is_own && rng.random_bool(0.1) {
        *pick(rng, &[Direction::Pull, Direction::Push])
    } else {
        Direction::Both
    };
    FieldMapping {
        property: PropertyName::parse(property).expect(property),
        column: ColumnName::parse(&format!("c_{property}")).expect(property),
        declared_type: None,
        property_type: PropertyType::String,
        direction,
        policy: if rng.random_bool(0.25) {
            *pick(rng, &Policy::ALL)
        } else {
            policy
        },
        modes: modes(rng, property, is_own),
    }
}

/// How a field is written and whether its history is told; those by which the plan tells its own values are only ever
/// replaced. What the plan draws after it does not depend on it.
fn modes(rng: &ChaCha8Rng, property: &str, is_own: bool) -> FieldModes {
    let mut own = rng.clone();
    let write = match is_own || own.random_bool(0.8) {
        true => WriteMode::Replace,
        false => WriteMode::IfEmpty,
    };
    let remote_history = own.random_bool(0.2);
    FieldModes {
        write: match property == "interests" && own.random_bool(0.5) {
            true => WriteMode::Append,
            false => write,
        },
        // Texts are followed through the history.
        history: is_own || is_unique_text(property) || own.random_bool(0.8),
        remote_history,
        locked: false,
    }
}
