//! `init`: reads what a portal has, for a mapping file to begin with. What is proposed says `decide/portal/draft`.

use std::borrow::Cow;
use std::sync::Arc;

use thiserror::Error;

use crate::app::budget::{AskError, AskingCommand};
use crate::clock::Clock;
use crate::config::suggest::nearest;
use crate::config::{Auth, Config};
pub(crate) use crate::decide::portal::draft::Extent;
use crate::decide::portal::draft::{self, DraftField, DraftFields, DraftName, OfferedProperty};
use crate::decide::portal::objects::{ListedProperty, ObjectSchema};
use crate::decide::quota::LimitSettings;
use crate::engine::portal::reading::is_of_one_object;
use crate::hubspot::endpoints::associations::Ends;
use crate::hubspot::endpoints::properties::PropertyDefinition;
use crate::hubspot::{Client, HubspotError, ListQuery, Priority};
use crate::model::id::PortalId;
use crate::model::name::{MAX_COLUMNS, ObjectType};
use crate::model::object::StandardObject;
use crate::model::settings::{Limits, Tier};

/// The objects of a portal in which nothing is yet.
const FIRST_OBJECTS: [&str; 4] = ["contacts", "companies", "deals", "tickets"];

/// Why there is no draft.
#[derive(Debug, Error)]
pub(crate) enum InitError {
    /// HubSpot can't be asked at all.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// HubSpot.
    #[error(transparent)]
    Hubspot(#[from] HubspotError),
    /// Objects that somebody names are not there.
    #[error("the portal has no object {}", listed(.0))]
    UnknownObjects(Vec<UnknownName>),
    /// Nothing can be mapped.
    #[error("the token may read no object of the portal")]
    Nothing,
}

impl InitError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Ask(error) => error.hint().map(Cow::Owned),
            Self::Hubspot(error) => error.hint(),
            Self::UnknownObjects(unknown) => Some(meant(unknown).into()),
            Self::Nothing => Some(
                "give the app or the service key the scope `crm.objects.contacts.read` and others in HubSpot"
                    .into(),
            ),
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Ask(error) => return error.code(),
            Self::Hubspot(error) => error.code(),
            Self::UnknownObjects(_) => "object-unknown",
            Self::Nothing => "missing-scope",
        })
    }

    /// Whether the file or a secret must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Ask(error) => error.is_configuration(),
            Self::Hubspot(_) | Self::UnknownObjects(_) | Self::Nothing => false,
        }
    }
}

/// A name of an object that the portal hasn't, and what may have been meant.
#[derive(Debug)]
pub(crate) struct UnknownName {
    written: String,
    near: Option<String>,
}

fn listed(unknown: &[UnknownName]) -> String {
    let names = unknown.iter().map(|name| format!("`{}`", name.written));
    names.collect::<Vec<_>>().join(", ")
}

fn meant(unknown: &[UnknownName]) -> String {
    let near = unknown.iter().filter_map(|name| {
        let near = name.near.as_ref()?;
        Some(format!("write `{near}` for `{}`", name.written))
    });
    let rule =
        "name HubSpot's plural (`contacts`), or a custom object by its name or object type id";
    let hints: Vec<String> = near.chain([rule.to_owned()]).collect();
    hints.join("; ")
}

/// What somebody wants a file of.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Objects by name; none: those that the portal uses.
    pub(crate) objects: Vec<String>,
    /// How much of each.
    pub(crate) extent: Extent,
    /// Another host than the file's or HubSpot's.
    pub(crate) base_url: Option<String>,
}

/// What a mapping file begins with.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) portal: PortalId,
    pub(crate) base_url: String,
    pub(crate) tier: Tier,
    pub(crate) auth: Auth,
    pub(crate) objects: Vec<DraftObject>,
    pub(crate) pairs: Vec<DraftPair>,
    /// What was left out, a sentence each.
    pub(crate) notes: Vec<String>,
}

/// An object of the draft.
#[derive(Debug)]
pub(crate) struct DraftObject {
    pub(crate) name: DraftName,
    /// Why it is only read, where the token may not write it.
    pub(crate) only_read: Option<String>,
    /// Whether HubSpot lets no app write it.
    pub(crate) is_read_only: bool,
    pub(crate) fields: Vec<(DraftField, PropertyDefinition)>,
}

/// A pair of the draft.
#[derive(Debug)]
pub(crate) struct DraftPair {
    pub(crate) from: ObjectType,
    pub(crate) to: ObjectType,
    pub(crate) labels: Vec<String>,
}

/// What is to be mapped, before its properties are read.
struct Candidate {
    name: DraftName,
    schema: Option<ObjectSchema>,
}

/// Reads the portal; `config` is the file that `--config` names, or what is in force where there is none.
///
/// # Errors
/// HubSpot can't be asked; an object that is named isn't there. What it goes on with is handed to `tell`.
pub(crate) async fn draft(
    mut config: Config,
    wish: &Wish,
    clock: &Arc<dyn Clock>,
    tell: &mut dyn FnMut(&str),
) -> Result<Draft, InitError> {
    if let Some(base_url) = &wish.base_url {
        base_url
            .trim_end_matches('/')
            .clone_into(&mut config.portal.base_url);
    }
    // The most: HubSpot's headers lower it with the first answer, and so tell the tier.
    config.limits = LimitSettings::new(&Limits::default(), Tier::Enterprise);
    let asking = AskingCommand::begin(&config, clock).await?;
    let client = asking.client();
    let portal = client.account().await?.portal_id;
    let mut notes = Vec::new();
    let mut objects = Vec::new();
    tell("looking which objects the portal has");
    for candidate in candidates(client, wish, &mut notes).await? {
        tell(&format!("reading the properties of {}", candidate.name.key));
        let is_named = !wish.objects.is_empty();
        match read(client, &candidate, wish.extent).await {
            Ok((object, left_out)) => {
                notes.extend(without(&object.name.key, &left_out));
                objects.push(object);
            }
            Err(error) if !is_named && is_of_one_object(&error) => {
                notes.push(format!("{} is left out: {error}", candidate.name.key));
            }
            Err(error) => return Err(error.into()),
        }
    }
    objects.retain(|object| !object.fields.is_empty());
    if objects.is_empty() {
        return Err(InitError::Nothing);
    }
    if objects.len() > 1 {
        tell("reading the associations of these objects");
    }
    let pairs = pairs(client, &objects).await?;
    let seen = client.limiter().snapshot();
    Ok(Draft {
        portal,
        base_url: config.portal.base_url,
        tier: draft::tier(seen.burst_limit, seen.daily_limit),
        auth: config.auth,
        objects,
        pairs,
        notes,
    })
}

/// That properties are left out of an object.
fn without(object: &ObjectType, left_out: &[String]) -> Option<String> {
    const MOST_NAMED: usize = 5;
    let named: Vec<String> = left_out
        .iter()
        .take(MOST_NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = match left_out.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!left_out.is_empty()).then(|| {
        format!(
            "{object}: {}{more} left out: no mapping has properties of such names, or more than {MAX_COLUMNS} columns",
            named.join(", ")
        )
    })
}

/// The objects that somebody names, else those that have a record; of an empty portal the first four.
async fn candidates(
    client: &Client,
    wish: &Wish,
    notes: &mut Vec<String>,
) -> Result<Vec<Candidate>, InitError> {
    let schemas = match client.schemas().await {
        Ok(schemas) => schemas,
        Err(error) if is_of_one_object(&error) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if !wish.objects.is_empty() {
        return all_by_name(client, &wish.objects, &schemas).await;
    }
    let standard = draft::looked_at().map(of_standard);
    let custom = schemas.iter().filter_map(of_schema);
    let mut used = Vec::new();
    for candidate in standard.chain(custom) {
        let key = &candidate.name.key;
        if let Some(type_id) = candidate.schema.as_ref().map(|schema| &schema.type_id)
            && let Ok(type_id) = ObjectType::parse(type_id)
        {
            client.call_object(key, &type_id);
        }
        let one = ListQuery {
            limit: 1,
            ..ListQuery::default()
        };
        match client.list(key, &one, Priority::Interactive).await {
            Ok(page) if page.records.is_empty() && page.unread.is_empty() => {}
            Ok(_) => used.push(candidate),
            // An object that the portal hasn't is nothing to tell.
            Err(error) if error.is_forbidden() && FIRST_OBJECTS.contains(&key.as_str()) => {
                notes.push(format!("{key} is left out: {error}"));
            }
            Err(error) if is_of_one_object(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if used.is_empty() {
        let first = FIRST_OBJECTS
            .iter()
            .filter_map(|name| StandardObject::of(name));
        used.extend(first.map(of_standard));
    }
    Ok(used)
}

fn of_standard(standard: &StandardObject) -> Candidate {
    Candidate {
        name: DraftName {
            key: standard.object_type(),
            table: None,
        },
        schema: None,
    }
}

fn of_schema(schema: &ObjectSchema) -> Option<Candidate> {
    Some(Candidate {
        name: draft::name_of(schema)?,
        schema: Some(schema.clone()),
    })
}

/// The objects of these names, each once, however often and in whichever spelling it is named.
async fn all_by_name(
    client: &Client,
    names: &[String],
    schemas: &[ObjectSchema],
) -> Result<Vec<Candidate>, InitError> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        match by_name(client, name, schemas).await? {
            Some(again) if found.iter().any(|known| known.name.key == again.name.key) => {}
            Some(new) => found.push(new),
            None => {
                let standard = draft::looked_at().map(|object| object.name);
                let custom = schemas.iter().map(|schema| schema.name.as_str());
                let all: Vec<&str> = standard.chain(custom).collect();
                unknown.push(UnknownName {
                    written: name.clone(),
                    near: nearest(name, &all).map(str::to_owned),
                });
            }
        }
    }
    match unknown.is_empty() {
        true => Ok(found),
        false => Err(InitError::UnknownObjects(unknown)),
    }
}

/// The object of a name; `None` where the portal has none.
async fn by_name(
    client: &Client,
    name: &str,
    schemas: &[ObjectSchema],
) -> Result<Option<Candidate>, HubspotError> {
    if let Some(standard) = StandardObject::spelled(name) {
        return Ok(Some(of_standard(standard)));
    }
    let listed = schemas.iter().find(|schema| schema.is_called(name));
    let schema = match (listed, ObjectType::parse(name)) {
        (Some(schema), _) => schema.clone(),
        (None, Ok(address)) => match client.schema(&address).await {
            Ok(schema) => schema,
            Err(error) if error.status() == Some(404) => return Ok(None),
            Err(error) => return Err(error),
        },
        (None, Err(_)) => return Ok(None),
    };
    Ok(of_schema(&schema))
}

/// An object with its properties, and whether the token may write it; and the names of the properties that are left out.
async fn read(
    client: &Client,
    candidate: &Candidate,
    extent: Extent,
) -> Result<(DraftObject, Vec<String>), HubspotError> {
    let key = &candidate.name.key;
    let schema = candidate.schema.as_ref();
    if let Some(type_id) = schema.and_then(|schema| ObjectType::parse(&schema.type_id).ok()) {
        client.call_object(key, &type_id);
    }
    let mut found = client.properties(key).await?;
    found.retain(|property| !property.archived);
    let standard = StandardObject::of(key.as_str());
    let is_read_only = standard.is_some_and(|standard| standard.is_read_only);
    let only_read = match is_read_only {
        true => None,
        false => match client.try_to_write(key).await {
            Ok(()) => None,
            Err(error) if error.is_forbidden() => Some(error.to_string()),
            Err(error) => return Err(error),
        },
    };
    let offered: Vec<OfferedProperty<'_>> = found
        .iter()
        .map(|property| OfferedProperty {
            listed: ListedProperty {
                name: &property.name,
                is_portals_own: !property.hubspot_defined,
            },
            read_only: property.read_only,
        })
        .collect();
    let listed: Vec<ListedProperty<'_>> = offered.iter().map(|one| one.listed).collect();
    let schema = schema.map(|schema| schema.clone().with_defaults(&listed));
    let DraftFields { chosen, left_out } =
        draft::fields(standard, schema.as_ref(), &offered, extent);
    let fields = chosen.into_iter().map(|field| {
        let definition = found[field.index].clone();
        (field, definition)
    });
    let object = DraftObject {
        name: candidate.name.clone(),
        only_read,
        is_read_only,
        fields: fields.collect(),
    };
    Ok((object, left_out))
}

/// The pairs of the objects that HubSpot knows an association of.
async fn pairs(client: &Client, objects: &[DraftObject]) -> Result<Vec<DraftPair>, InitError> {
    let mut pairs = Vec::new();
    for (place, second) in objects.iter().enumerate() {
        for first in &objects[..place] {
            let (from, to) = draft::ends(&first.name.key, &second.name.key);
            match client.association_types(Ends { from, to }).await {
                Ok(types) if types.is_empty() => {}
                Ok(types) => pairs.push(DraftPair {
                    from: from.clone(),
                    to: to.clone(),
                    labels: types.into_iter().filter_map(|kind| kind.label).collect(),
                }),
                Err(error) if is_of_one_object(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(pairs)
}
