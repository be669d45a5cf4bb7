//! Which OAuth scopes a mapping needs (`hubspot/api-facts.md#2`), and what is said of one that is missing.

use std::collections::BTreeSet;

use crate::model::mapping::{Mapping, ObjectMapping};
use crate::model::object::{STANDARD_OBJECTS, StandardObject};

/// What a scope lets the token do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Reading which properties an object has, or which labels a pair's associations.
    Definitions,
    /// Reading with how many records one may be associated.
    Limits,
    /// Reading records.
    Read,
    /// Writing records.
    Write,
}

impl Access {
    /// The scope that it needs for an object.
    pub fn scope(self, object: &str) -> String {
        let only = StandardObject::of(object).and_then(|standard| standard.only_scope);
        let object = named_in_scopes(object);
        match (self, only) {
            (Self::Definitions | Self::Limits, _) => format!("crm.schemas.{object}.read"),
            (Self::Read | Self::Write, Some(only)) => only.to_owned(),
            (Self::Read, None) => format!("crm.objects.{object}.read"),
            (Self::Write, None) => format!("crm.objects.{object}.write"),
        }
    }

    /// What HubSpot forbids with a 403, in a sentence: `name` is the object, or both of a pair, and `own` the scopes that it
    /// needs, `named` those that the answer names, of which one would do, `said` its own words where they may be repeated.
    pub fn refusal(
        self,
        (name, own): (&str, &[String]),
        named: &[String],
        category: &str,
        said: &str,
    ) -> String {
        let what = match self {
            Self::Definitions if own.len() > 1 => format!("read the labels of {name}"),
            Self::Definitions => format!("read the properties of {name}"),
            Self::Limits => format!("read the limits of {name}"),
            Self::Read => format!("read {name}"),
            Self::Write => format!("write {name}"),
        };
        let missing = own.iter().find(|own| named.contains(own));
        let why = match (named, missing) {
            (_, Some(missing)) => format!("scope `{missing}` is missing"),
            ([], None) if category == "MISSING_SCOPES" => {
                // Both ends of a pair of one object need the same.
                let mut each = own.to_vec();
                each.dedup();
                format!("scope `{}` is missing", each.join("` or `"))
            }
            ([], None) => says(category, said),
            ([only], None) => format!("scope `{only}` is missing"),
            ([..], None) => format!("one of the scopes `{}` is needed", named.join("`, `")),
        };
        format!("the token may not {what}: {why}")
    }
}

/// The object's name in scopes: an activity has those of contacts, and all custom objects share theirs.
fn named_in_scopes(object: &str) -> &str {
    match StandardObject::of(object) {
        Some(standard) => standard.opened_as.unwrap_or(standard.name),
        None if object == OWNERS => OWNERS,
        None => "custom",
    }
}

/// What the table `owners` is a copy of.
const OWNERS: &str = "owners";

/// Whether a 403 is about a scope: no other remedy helps, and this one helps nowhere else.
pub fn is_of_scope(named: &[String], category: &str) -> bool {
    !named.is_empty() || category == "MISSING_SCOPES"
}

/// What HubSpot said of a refusal.
pub fn says(category: &str, said: &str) -> String {
    match (category, said) {
        ("", "") => "HubSpot forbids it".to_owned(),
        (category, "") => format!("HubSpot says {category}"),
        ("", said) => format!("HubSpot says: {said}"),
        (category, said) => format!("HubSpot says {category}: {said}"),
    }
}

/// What somebody can do about a refusal that is about no scope.
pub const ASK_THE_ACCOUNT: &str = "look at the account, its users' rights and the app in HubSpot's settings; it is asked again by itself";

/// What somebody can do about a missing scope, wherever it is told.
pub fn add_it() -> String {
    format!("add it in HubSpot ({SCOPES_PLACE})")
}

/// Where HubSpot shows the scopes of a token (`hubspot/api-facts.md#2`).
const SCOPES_PLACE: &str = "of a service key under Development > Keys, of a private app under Settings > Integrations > Private Apps > Scopes";

/// What somebody can do about what is forbidden; `others` are the objects that go on meanwhile.
pub fn remedy(object: &str, others: &[&str], is_of_scope: bool) -> String {
    let rest = match others {
        [] => String::new(),
        [only] => format!("; {only} go on"),
        [first @ .., last] => format!("; {} and {last} go on", first.join(", ")),
    };
    if is_of_scope {
        format!("{}, or take `[objects.{object}]` out{rest}", add_it())
    } else {
        format!("{ASK_THE_ACCOUNT}, or take `[objects.{object}]` out{rest}")
    }
}

/// The scopes that are asked for where the file names none.
pub fn needed(mapping: &Mapping) -> BTreeSet<String> {
    let mut scopes = BTreeSet::from([
        "oauth".to_owned(),
        // The table `owners` is a copy of them.
        Access::Read.scope(OWNERS),
    ]);
    for object in &mapping.objects {
        scopes.extend(of_object(object));
    }
    scopes
}

fn of_object(object: &ObjectMapping) -> Vec<String> {
    let name = object.object.as_str();
    let mut scopes = vec![Access::Definitions.scope(name)];
    if object.carries_own_key() {
        scopes.push(format!("crm.schemas.{}.write", named_in_scopes(name)));
    }
    // A push reads before it writes.
    scopes.push(Access::Read.scope(name));
    if object.direction.pushes() {
        scopes.push(Access::Write.scope(name));
    }
    scopes
}

/// Whether nothing of an object goes without the scope: its records are read or written by it. What schemas and owners
/// need, other scopes may give as well.
pub fn is_of_records(scope: &str) -> bool {
    let is_only = |standard: &StandardObject| standard.only_scope == Some(scope);
    STANDARD_OBJECTS.iter().any(is_only)
        || (scope.starts_with("crm.objects.") && !scope.contains(".owners."))
}

/// What was asked for and not granted. Every OAuth app has `oauth`, whether or not HubSpot names it.
pub fn missing(asked: &BTreeSet<String>, granted: &[String]) -> Vec<String> {
    asked
        .iter()
        .filter(|scope| !granted.contains(scope) && scope.as_str() != "oauth")
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::mapping::{Direction, KeyChoice, Modes, Policy};
    use crate::model::name::{ObjectType, TableName};

    fn object(name: &str, direction: Direction, key: KeyChoice) -> ObjectMapping {
        ObjectMapping {
            object: ObjectType::parse(name).expect("a name"),
            address: None,
            table: TableName::parse(name).expect("a name"),
            direction,
            key,
            match_property: None,
            modes: Modes::default(),
            policy: Policy::Newest,
            poll: Duration::from_secs(10),
            fields: Vec::new(),
        }
    }

    #[test]
    fn an_activity_has_the_scopes_of_contacts_and_all_custom_objects_share_theirs() {
        for (access, object, scope) in [
            (Access::Read, "notes", "crm.objects.contacts.read"),
            (Access::Write, "calls", "crm.objects.contacts.write"),
            (Access::Definitions, "tasks", "crm.schemas.contacts.read"),
            (Access::Read, "line_items", "crm.objects.line_items.read"),
            (Access::Read, "users", "crm.objects.users.read"),
            (Access::Write, "machines", "crm.objects.custom.write"),
            (Access::Definitions, "2-2000001", "crm.schemas.custom.read"),
            (Access::Read, OWNERS, "crm.objects.owners.read"),
        ] {
            assert_eq!(access.scope(object), scope, "{object}");
        }
        let machines = Mapping {
            objects: vec![object("machines", Direction::Both, KeyChoice::Auto)],
            pairs: Vec::new(),
        };
        assert!(needed(&machines).contains("crm.schemas.custom.write"));
    }

    #[test]
    fn a_missing_scope_is_named_with_what_it_is_for() {
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (access, object, names, category, sentence) in [
            (
                Access::Read,
                "companies",
                &["crm.objects.companies.read"][..],
                "MISSING_SCOPES",
                "the token may not read companies: scope `crm.objects.companies.read` is missing",
            ),
            (
                Access::Write,
                "tickets",
                &[],
                "MISSING_SCOPES",
                "the token may not write tickets: scope `tickets` is missing",
            ),
            (
                Access::Definitions,
                "deals",
                &["crm.schemas.deals.read", "automation"],
                "MISSING_SCOPES",
                "the token may not read the properties of deals: scope `crm.schemas.deals.read` is missing",
            ),
            (
                Access::Read,
                "contacts",
                &["a", "b"],
                "MISSING_SCOPES",
                "the token may not read contacts: one of the scopes `a`, `b` is needed",
            ),
            (
                Access::Read,
                "contacts",
                &[],
                "BLOCKED",
                "the token may not read contacts: HubSpot says BLOCKED: Not now.",
            ),
        ] {
            let own = [access.scope(object)];
            assert_eq!(
                access.refusal((object, &own), &named(names), category, "Not now."),
                sentence
            );
        }
        let both = named(&["crm.objects.contacts.write", "crm.objects.companies.write"]);
        let of_pair = |names: &[&str]| {
            let pair = "associations of contacts with companies";
            Access::Write.refusal((pair, &both), &named(names), "MISSING_SCOPES", "")
        };
        let begin = "the token may not write associations of contacts with companies: scope";
        assert_eq!(
            of_pair(&["crm.objects.companies.write"]),
            format!("{begin} `crm.objects.companies.write` is missing")
        );
        assert_eq!(
            of_pair(&[]),
            format!(
                "{begin} `crm.objects.contacts.write` or `crm.objects.companies.write` is missing"
            )
        );
        let of_one = named(&["crm.schemas.companies.read", "crm.schemas.companies.read"]);
        let pair = "associations of companies with companies";
        assert_eq!(
            Access::Definitions.refusal((pair, &of_one), &[], "MISSING_SCOPES", ""),
            format!(
                "the token may not read the labels of {pair}: scope `crm.schemas.companies.read` is missing"
            )
        );
        assert_eq!(says("", ""), "HubSpot forbids it");
        assert_eq!(says("", "Not now."), "HubSpot says: Not now.");
        assert_eq!(
            remedy("companies", &["contacts", "deals", "tickets"], true),
            "add it in HubSpot (of a service key under Development > Keys, of a private app under Settings > Integrations > \
             Private Apps > Scopes), or take `[objects.companies]` out; contacts, deals and tickets go on"
        );
        let one = remedy("companies", &["contacts"], true);
        assert!(
            one.ends_with("or take `[objects.companies]` out; contacts go on"),
            "{one}"
        );
        let other = remedy("companies", &["contacts"], false);
        assert!(
            !other.contains("scope") && other.ends_with("; contacts go on"),
            "{other}"
        );
    }

    #[test]
    fn scopes_follow_objects_and_directions() {
        let mapping = Mapping {
            pairs: Vec::new(),
            objects: vec![
                object("contacts", Direction::Both, KeyChoice::Auto),
                object("companies", Direction::Pull, KeyChoice::Auto),
                object("tickets", Direction::Both, KeyChoice::None),
            ],
        };
        let scopes: Vec<String> = needed(&mapping).into_iter().collect();
        assert_eq!(
            scopes,
            [
                "crm.objects.companies.read",
                "crm.objects.contacts.read",
                "crm.objects.contacts.write",
                "crm.objects.owners.read",
                "crm.schemas.companies.read",
                "crm.schemas.contacts.read",
                "crm.schemas.contacts.write",
                "crm.schemas.tickets.read",
                "oauth",
                "tickets",
            ]
        );
        let granted = vec!["oauth".to_owned(), "tickets".to_owned()];
        assert_eq!(missing(&needed(&mapping), &granted).len(), 8);
        assert_eq!(
            missing(&needed(&mapping), &[]).len(),
            9,
            "`oauth` is never missed"
        );
    }
}
