//! What the portal has of a mapping's objects, and what of the mapping does not fit it: the read of the schema without its
//! writes. The schema step writes down what it finds, the doctor (`app/doctor`) tells it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::decide::portal::objects::{ObjectSchema, Unfit, settled};
use crate::decide::schema::{Definition, Definitions, FieldProblem, remarks, resolve};
use crate::engine::portal::access::LOOK_AT_THE_NAME;
use crate::engine::portal::known;
use crate::hubspot::call::standing::with_causes;
use crate::hubspot::endpoints::properties::PropertyDefinition;
use crate::hubspot::{Client, HubspotError};
use crate::model::mapping::{Mapping, ObjectMapping};
use crate::model::name::ObjectType;
use crate::store::meta::{FORBIDDEN, MISSING_SCOPE, OBJECT_UNFIT, OBJECT_UNKNOWN};

/// What was known before: it holds where HubSpot says nothing this time.
#[derive(Debug, Default)]
pub(crate) struct Former {
    /// The schemas of objects that HubSpot doesn't define.
    pub(crate) schemas: BTreeMap<String, ObjectSchema>,
    /// The properties of all mapped objects.
    pub(crate) definitions: BTreeMap<ObjectType, Definitions>,
    /// Properties that are answered and not listed.
    pub(crate) unlisted: BTreeMap<String, BTreeSet<String>>,
}

/// What was read, and what follows for the mapping.
#[derive(Debug)]
pub(crate) struct PortalReading {
    /// The properties that HubSpot gave.
    pub(crate) definitions: BTreeMap<ObjectType, Vec<PropertyDefinition>>,
    /// The same with those that are answered and not listed, and those that are known from before.
    pub(crate) portal: BTreeMap<ObjectType, Definitions>,
    /// The schemas of objects that HubSpot doesn't define.
    pub(crate) schemas: BTreeMap<ObjectType, ObjectSchema>,
    /// Properties that are answered and not listed.
    pub(crate) unlisted: BTreeMap<ObjectType, BTreeSet<String>>,
    /// The mapping of the objects whose properties are known, with every type settled.
    pub(crate) mapping: Mapping,
    /// What of it can't be synced.
    pub(crate) problems: Vec<FieldProblem>,
    /// What of it does less than its names promise.
    pub(crate) remarks: Vec<FieldProblem>,
    /// The objects that do not go on as the portal has them.
    pub(crate) kept_back: Vec<(ObjectType, KeptBack)>,
}

/// Reads properties and schemas. An object whose properties the token may not read, or that HubSpot does not give this time,
/// is as it was last known, or kept back where it was never read.
///
/// # Errors
/// HubSpot can't be asked at all.
pub(crate) async fn read(
    client: &Client,
    in_file: &Mapping,
    mut former: Former,
) -> Result<PortalReading, HubspotError> {
    let known::Schemas {
        found: mut schemas,
        unheard_of,
    } = known::schemas(client, in_file, std::mem::take(&mut former.schemas)).await?;
    let mut portal = BTreeMap::new();
    let mut definitions = BTreeMap::new();
    let mut kept_back = Vec::new();
    for object in &in_file.objects {
        let name = &object.object;
        let found = match client.properties(name).await {
            Ok(found) => found,
            Err(error) if keeps_no_other(&error) => {
                kept_back.push((name.clone(), KeptBack::Refused(error)));
                portal.extend(former.definitions.remove_entry(name));
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(schema) = schemas.remove(name) {
            let listed = known::listed(&found);
            schemas.insert(name.clone(), schema.with_defaults(&listed));
        }
        portal.insert(
            name.clone(),
            found.iter().map(named_definition).collect::<Definitions>(),
        );
        definitions.insert(name.clone(), found);
    }
    let known = settle(in_file, &portal, (&schemas, &unheard_of), &mut kept_back);
    let unlisted = read_unlisted(client, &known, &former.unlisted, &mut portal).await?;
    let (mapping, problems) = resolve(&known, &portal);
    Ok(PortalReading {
        remarks: remarks(&mapping, &portal),
        definitions,
        portal,
        schemas,
        unlisted,
        mapping,
        problems,
        kept_back,
    })
}

impl PortalReading {
    /// Why no object is known, where one could not be asked for: nothing follows from that.
    pub(super) fn nothing_is_known(&mut self) -> Option<HubspotError> {
        if !self.portal.is_empty() {
            return None;
        }
        let is_failure = |(_, why): &(ObjectType, KeptBack)| !why.is_unknown_object();
        let at = self.kept_back.iter().rposition(is_failure)?;
        match self.kept_back.swap_remove(at).1 {
            KeptBack::Refused(error) => Some(error),
            KeptBack::UnheardOf | KeptBack::Unfit(_) => None,
        }
    }
}

fn named_definition(property: &PropertyDefinition) -> (String, Definition) {
    (property.name.clone(), property.to_definition())
}

/// Why an object does not go on as the portal has it.
#[derive(Debug)]
pub(crate) enum KeptBack {
    /// HubSpot gave its properties not.
    Refused(HubspotError),
    /// HubSpot knows no schema of it, and the file names none of the properties that it answers nevertheless.
    UnheardOf,
    /// What the mapping has of it does not fit.
    Unfit(Unfit),
}

impl KeptBack {
    /// Of an object of which the portal knows no schema, and the file no property, nobody knows what it is.
    fn of_unfit(object: &ObjectMapping, is_unheard_of: bool, unfit: Unfit) -> Self {
        match is_unheard_of && object.fields.is_empty() {
            true => Self::UnheardOf,
            false => Self::Unfit(unfit),
        }
    }

    /// Whether the portal has no such object.
    pub(crate) fn is_unknown_object(&self) -> bool {
        match self {
            Self::Refused(error) => error.status() == Some(404),
            Self::UnheardOf => true,
            Self::Unfit(_) => false,
        }
    }

    /// What is likely to go well when it is asked again: neither a right nor the portal must change for it.
    pub(super) fn asked_again_soon(self) -> Option<HubspotError> {
        let is_lasting = self.is_unknown_object();
        match self {
            Self::Refused(error) if !is_lasting && !error.is_forbidden() => Some(error),
            Self::Refused(_) | Self::UnheardOf | Self::Unfit(_) => None,
        }
    }

    /// The code in `sync_status`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Refused(error) if error.is_of_scope() => MISSING_SCOPE,
            Self::Refused(error) if error.is_forbidden() => FORBIDDEN,
            Self::UnheardOf => OBJECT_UNKNOWN,
            Self::Refused(_) if self.is_unknown_object() => OBJECT_UNKNOWN,
            Self::Refused(error) => error.code(),
            Self::Unfit(_) => OBJECT_UNFIT,
        }
    }

    /// The sentence in `sync_status`.
    pub(crate) fn explanation(&self, object: &ObjectMapping) -> String {
        match self {
            Self::UnheardOf => unknown_words(object),
            Self::Refused(_) if self.is_unknown_object() => unknown_words(object),
            Self::Refused(error) => with_causes(error),
            Self::Unfit(unfit) => format!("{}; {}", unfit.problem, unfit.hint),
        }
    }

    pub(crate) fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::UnheardOf => Some(LOOK_AT_THE_NAME.into()),
            Self::Refused(_) if self.is_unknown_object() => Some(LOOK_AT_THE_NAME.into()),
            Self::Refused(error) => error.hint(),
            Self::Unfit(unfit) => Some(Cow::Borrowed(&unfit.hint)),
        }
    }
}

/// That the portal has no such object.
pub(super) fn unknown_words(object: &ObjectMapping) -> String {
    match &object.address {
        Some(address) => format!(
            "the portal has no object `{address}`, which `{}` stands for",
            object.object
        ),
        None => format!("the portal has no object `{}`", object.object),
    }
}

/// The mapping with what the portal's schemas settle, of the objects whose properties are known. What does not fit is kept
/// back.
pub(super) fn settle(
    in_file: &Mapping,
    portal: &BTreeMap<ObjectType, Definitions>,
    (schemas, unheard_of): (&BTreeMap<ObjectType, ObjectSchema>, &BTreeSet<ObjectType>),
    kept_back: &mut Vec<(ObjectType, KeptBack)>,
) -> Mapping {
    let mapped = in_file.objects.iter();
    let is_standard = |object: &&ObjectMapping| !schemas.contains_key(&object.object);
    let mut others = Mapping {
        objects: mapped.clone().filter(is_standard).cloned().collect(),
        pairs: Vec::new(),
    };
    let mut known = Mapping::default();
    for object in mapped.filter(|object| portal.contains_key(&object.object)) {
        let Some(schema) = schemas.get(&object.object) else {
            known.objects.push(object.clone());
            continue;
        };
        match settled(object, schema, &others) {
            Ok(settled) => {
                others.objects.push(settled.clone());
                known.objects.push(settled);
            }
            Err(unfit) => {
                let is_unheard_of = unheard_of.contains(&object.object);
                let why = KeptBack::of_unfit(object, is_unheard_of, unfit);
                kept_back.push((object.object.clone(), why));
            }
        }
    }
    known.pairs = in_file
        .of_objects(|object| known.object(object.object.as_str()).is_some())
        .pairs;
    known
}

/// Adds the properties that HubSpot answers without listing them to what the portal has. Returns their names.
async fn read_unlisted(
    client: &Client,
    mapping: &Mapping,
    former: &BTreeMap<String, BTreeSet<String>>,
    portal: &mut BTreeMap<ObjectType, Definitions>,
) -> Result<BTreeMap<ObjectType, BTreeSet<String>>, HubspotError> {
    let none = BTreeSet::new();
    let mut unlisted = BTreeMap::new();
    for object in &mapping.objects {
        let Some(listed) = portal.get_mut(&object.object) else {
            continue;
        };
        let former = former.get(object.object.as_str()).unwrap_or(&none);
        let found = known::unlisted_properties(client, object, listed, former).await?;
        if !found.is_empty() {
            let names = found.keys().cloned().collect();
            unlisted.insert(object.object.clone(), names);
            listed.extend(found);
        }
    }
    Ok(unlisted)
}

/// Whether a refusal or a failure is about the object that was asked for: the next one may go well.
pub(crate) fn is_of_one_object(error: &HubspotError) -> bool {
    match error {
        HubspotError::Forbidden { .. }
        | HubspotError::Refused { .. }
        | HubspotError::Server { .. }
        | HubspotError::Unreadable { .. } => true,
        HubspotError::Unauthorized { .. }
        | HubspotError::LoggedOut { .. }
        | HubspotError::Throttled { .. }
        | HubspotError::Locked { .. }
        | HubspotError::Moving { .. }
        | HubspotError::Gateway { .. }
        | HubspotError::NotSent { .. }
        | HubspotError::Lost { .. }
        | HubspotError::HeldBack { .. }
        | HubspotError::Stale { .. }
        | HubspotError::Invalid { .. } => false,
    }
}

/// Whether the others are asked all the same: it is about the one that was asked for, or something on the way to that one gave no
/// answer. Where HubSpot can't be reached at all, the next request tells.
pub(crate) fn keeps_no_other(error: &HubspotError) -> bool {
    is_of_one_object(error)
        || matches!(
            error,
            HubspotError::Gateway { .. } | HubspotError::Lost { .. }
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::Desk;

    #[test]
    fn an_object_of_which_neither_the_portal_nor_the_file_knows_anything_is_unknown() {
        let named = Desk::new(0).contacts().mapping().clone();
        let mut bare = named.clone();
        bare.fields.clear();
        for (object, is_unheard_of, code) in [
            (&bare, true, OBJECT_UNKNOWN),
            (&bare, false, OBJECT_UNFIT),
            (&named, true, OBJECT_UNFIT),
        ] {
            let unfit = settled(object, &ObjectSchema::default(), &Mapping::default());
            let unfit = unfit.err().unwrap_or(Unfit {
                problem: "there are two of it".to_owned(),
                hint: "take one out".to_owned(),
            });
            let why = KeptBack::of_unfit(object, is_unheard_of, unfit);
            assert_eq!(
                (why.code(), why.is_unknown_object()),
                (code, code == OBJECT_UNKNOWN)
            );
        }
    }
}
