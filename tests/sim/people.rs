//! People in HubSpot: they create, edit, archive, merge and restore.

use hubsyncd::model::mapping::ObjectMapping;
use hubsyncd::simulator::portal::Operation;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::links;
use crate::local::tag_of;
use crate::plan::{Plan, pick};
use crate::script::Act;
use crate::values::Values;
use crate::world::World;

/// What people remember.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// Ids that somebody archived.
    archived: Vec<(String, u64)>,
    /// Changes made, of any kind.
    pub(crate) changes: u64,
}

impl People {
    /// The records that are there at the start.
    pub(crate) fn fill(
        &mut self,
        plan: &Plan,
        world: &World,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
    ) {
        for object in &plan.mapping.objects {
            for _ in 0..plan.records {
                self.create(object, world, rng, values);
            }
        }
    }

    /// One thing that a person does.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the acts of others are none of theirs"
    )]
    pub(crate) fn act(
        &mut self,
        act: Act,
        plan: &Plan,
        world: &World,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
    ) {
        links::act(plan, world);
        let objects = plan.hot.of_objects(rng, &plan.mapping);
        let object = pick(rng, &objects).clone();
        let ids = live(world, &object);
        if ids.is_empty() || act == Act::Create {
            return self.create(&object, world, rng, values);
        }
        let near = plan.hot.of_records(rng, &ids);
        let one = *pick(rng, &near);
        match act {
            Act::EditBack => self.edit_back(&object, world, one),
            Act::Archive => self.archive(&object, world, one),
            Act::Restore => self.restore(world, rng),
            Act::Merge if ids.len() > 1 => self.merge(&object, world, one, *pick(rng, &ids)),
            _ => self.edit(&object, plan, world, rng, values, one),
        }
    }

    fn create(
        &mut self,
        object: &ObjectMapping,
        world: &World,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
    ) {
        let mut properties = vec![(
            tag_of(object.object.as_str()).to_owned(),
            values.text("rtag"),
        )];
        for field in &object.fields {
            let property = field.property.as_str();
            if property != tag_of(object.object.as_str()) && rng.random_bool(0.7) {
                properties.push((property.to_owned(), values.for_property(rng, property, "r")));
            }
        }
        properties.retain(|(_, value)| !value.is_empty());
        // HubSpot asks for one of these.
        let needed = if object.object.as_str() == "contacts" {
            "firstname"
        } else {
            "name"
        };
        if properties.iter().all(|(name, _)| name != needed) {
            properties.push((needed.to_owned(), values.text("r")));
        }
        // An e-mail may be taken: the portal would refuse the whole record.
        let (email, properties): (Vec<_>, Vec<_>) = properties
            .into_iter()
            .partition(|(name, _)| name == "email");
        let mut state = world.state();
        let now = state.true_ms();
        let id = state
            .portal
            .create(object.object.as_str(), &borrowed(&properties), now);
        let taken = !email.is_empty()
            && state
                .portal
                .edit(object.object.as_str(), id, &borrowed(&email), now);
        state.note(&format!(
            "person creates {} {id} {properties:?} {email:?} -> {taken}",
            object.object
        ));
        self.changes += 1;
    }

    fn edit(
        &mut self,
        object: &ObjectMapping,
        plan: &Plan,
        world: &World,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        id: u64,
    ) {
        let tag = tag_of(object.object.as_str());
        let mut fields = object.fields.clone();
        fields.retain(|field| field.property.as_str() != tag);
        let fields = plan.hot.of_fields(rng, &fields);
        let mut properties: Vec<(String, String)> = Vec::new();
        for _ in 0..rng.random_range(1..=2) {
            let property = pick(rng, &fields).property.as_str();
            if properties.iter().all(|(name, _)| name != property) {
                properties.push((property.to_owned(), values.for_property(rng, property, "r")));
            }
        }
        let mut state = world.state();
        let now = state.true_ms();
        let done = state
            .portal
            .edit(object.object.as_str(), id, &borrowed(&properties), now);
        state.note(&format!(
            "person edits {} {id} {properties:?} -> {done}",
            object.object
        ));
        self.changes += u64::from(done);
    }

    /// The last edit of a record by a person is taken back, field by field.
    fn edit_back(&mut self, object: &ObjectMapping, world: &World, id: u64) {
        let name = object.object.as_str();
        let mut state = world.state();
        let last =
            state.portal.write_log().iter().rev().find(|entry| {
                !entry.by_api && entry.operation == Operation::Update && entry.id == id
            });
        let properties: Vec<(String, String)> = last.map_or_else(Vec::new, |entry| {
            let was = entry.properties.iter();
            was.map(|one| (one.name.clone(), one.old.clone().unwrap_or_default()))
                .collect()
        });
        let now = state.true_ms();
        let done = state.portal.edit(name, id, &borrowed(&properties), now);
        state.note(&format!(
            "person edits {name} {id} back {properties:?} -> {done}"
        ));
        self.changes += u64::from(done);
    }

    fn archive(&mut self, object: &ObjectMapping, world: &World, id: u64) {
        let mut state = world.state();
        let now = state.true_ms();
        let done = state.portal.archive(object.object.as_str(), id, now);
        state.note(&format!("person archives {} {id} -> {done}", object.object));
        self.archived.push((object.object.as_str().to_owned(), id));
        self.changes += 1;
    }

    fn restore(&mut self, world: &World, rng: &mut ChaCha8Rng) {
        if self.archived.is_empty() {
            return;
        }
        let (object, id) = pick(rng, &self.archived).clone();
        let mut state = world.state();
        let now = state.true_ms();
        let done = state.portal.restore(&object, id, now);
        state.note(&format!("person restores {object} {id} -> {done}"));
        self.changes += u64::from(done);
    }

    fn merge(&mut self, object: &ObjectMapping, world: &World, primary: u64, other: u64) {
        if primary == other {
            return;
        }
        let mut state = world.state();
        let now = state.true_ms();
        let id = state
            .portal
            .merge(object.object.as_str(), primary, other, now);
        state.note(&format!(
            "person merges {} {primary} + {other} -> {id:?}",
            object.object
        ));
        self.changes += u64::from(id.is_some());
    }
}

fn live(world: &World, object: &ObjectMapping) -> Vec<u64> {
    world
        .state()
        .portal
        .records(object.object.as_str())
        .iter()
        .map(hubsyncd::simulator::record::Record::id)
        .collect()
}

fn borrowed(properties: &[(String, String)]) -> Vec<(&str, &str)> {
    properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
