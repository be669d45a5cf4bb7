//! A plan that was cut down: the seed it was drawn from, and what is left of it. It is written as a list that can be read, kept
//! in `tests/sim/found/` and played again.

use std::fmt;

use hubsyncd::simulator::settings::Settings;

use crate::plan::{Plan, TAG};
use crate::script::Deed;

/// What is left of a seed's plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cut {
    /// The seed.
    pub(crate) seed: u64,
    /// Records in HubSpot at the start.
    pub(crate) records: usize,
    /// Chances of faults that are left, by their names.
    pub(crate) faults: Vec<String>,
    /// Fields that are left.
    pub(crate) fields: Vec<String>,
    /// What is as plain as can be.
    pub(crate) plain: Vec<String>,
    /// What happens.
    pub(crate) script: Vec<Deed>,
}

/// What can be made plain.
pub(crate) const PLAIN: [&str; 5] = ["webhooks", "index", "clock", "network", "limits"];

impl Cut {
    /// All of a plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        let fields = plan.mapping.objects.iter().flat_map(|object| {
            let fields = object.fields.iter();
            fields.map(|field| format!("{}.{}", object.object, field.property))
        });
        Self {
            seed: plan.seed,
            records: plan.records,
            faults: plan
                .chances
                .keys()
                .map(|kind| format!("{kind:?}"))
                .collect(),
            fields: fields.collect(),
            plain: Vec::new(),
            script: plan.script.clone(),
        }
    }

    /// The plan.
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = Plan::draw(self.seed);
        plan.records = self.records;
        plan.chances
            .retain(|kind, _| self.faults.contains(&format!("{kind:?}")));
        for object in &mut plan.mapping.objects {
            let name = object.object.clone();
            object
                .fields
                .retain(|field| self.fields.contains(&format!("{name}.{}", field.property)));
        }
        plan.mapping
            .objects
            .retain(|object| !object.fields.is_empty());
        for what in &self.plain {
            match what.as_str() {
                "webhooks" => plan.settings.webhooks = None,
                "index" => {
                    plan.settings.index_delay_min_ms = 0;
                    plan.settings.index_delay_max_ms = 0;
                }
                "clock" => plan.settings.clock_offset_ms = 0,
                "limits" => {
                    plan.narrow = None;
                    plan.settings.burst_limit = Settings::default().burst_limit;
                }
                _ => {
                    plan.network.least_ms = 5;
                    plan.network.most_ms = 5;
                    plan.network.times_out = 0.0;
                }
            }
        }
        plan.script.clone_from(&self.script);
        plan
    }

    /// Whether a field may go: rows are known by their tags, and persons by what HubSpot asks for.
    pub(crate) fn may_go(field: &str) -> bool {
        let is_tag = TAG
            .iter()
            .any(|(object, tag)| field == format!("{object}.{tag}"));
        !is_tag && !["contacts.email", "contacts.firstname", "companies.name"].contains(&field)
    }

    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut after = |key: &str| {
            let line = lines.next()?.strip_prefix(key)?;
            Some(
                line.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            )
        };
        Some(Self {
            seed: after("seed:")?.first()?.parse().ok()?,
            records: after("records:")?.first()?.parse().ok()?,
            faults: after("faults:")?,
            fields: after("fields:")?,
            plain: after("plain:")?,
            script: lines.map(Deed::parse).collect::<Option<_>>()?,
        })
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed: {}", self.seed)?;
        writeln!(formatter, "records: {}", self.records)?;
        writeln!(formatter, "faults: {}", self.faults.join(" "))?;
        writeln!(formatter, "fields: {}", self.fields.join(" "))?;
        writeln!(formatter, "plain: {}", self.plain.join(" "))?;
        for deed in &self.script {
            writeln!(formatter, "{deed}")?;
        }
        Ok(())
    }
}

#[test]
fn a_cut_plan_is_read_as_it_is_written() {
    for seed in 1..20 {
        let mut cut = Cut::of(&Plan::draw(seed));
        cut.plain = vec!["index".to_owned(), "clock".to_owned()];
        assert_eq!(Cut::parse(&cut.to_string()), Some(cut));
    }
}
