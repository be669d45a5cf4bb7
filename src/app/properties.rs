//! `properties plan` and `properties apply`: the groups, properties and options that the mapping file declares (`create`), made
//! where the portal lacks them. Nothing is deleted. What is to be made says `decide/portal/wishes`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::app::budget::{AskError, AskingCommand};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, PortalIdSource};
use crate::decide::portal::wishes::{PortalObject, PortalProperty, WishedOption, plan};
pub(crate) use crate::decide::portal::wishes::{PropertyPlan, PropertyStep, PropertyWish};
use crate::engine::portal::reading::{self, Former};
use crate::hubspot::endpoints::properties::{NewProperty, SentOption};
use crate::hubspot::{Client, HubspotError};
use crate::model::id::PortalId;
use crate::model::name::{ObjectType, PropertyName};
use crate::model::value::PropertyType;

/// Why nothing could be looked at or made.
#[derive(Debug, Error)]
pub(crate) enum PropertiesError {
    /// HubSpot can't be asked at all.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A secret or the portal's id.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// HubSpot.
    #[error(transparent)]
    Hubspot(#[from] HubspotError),
    /// HubSpot does not make one of the steps.
    #[error("can't make {what}{words}")]
    Step {
        /// The group, property or options.
        what: String,
        /// HubSpot's words, behind a colon; they are about the declaration, and quote nothing of a record. Empty where it has none.
        words: String,
        /// What came of the request.
        source: HubspotError,
    },
    /// The token belongs to another portal than the file.
    #[error("the token is for portal {found}, and the mapping file for portal {expected}")]
    OtherPortal {
        /// The token's.
        found: PortalId,
        /// The file's.
        expected: PortalId,
    },
    /// An object that properties are declared of can't be read.
    #[error("{explanation}")]
    Object {
        /// Why.
        explanation: String,
        /// What to do.
        hint: String,
        /// The stable name of it.
        code: &'static str,
    },
}

impl PropertiesError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Ask(error) => error.hint().map(Cow::Owned),
            Self::Config(error) => error.hint().map(Cow::Owned),
            Self::Step {
                source: HubspotError::Refused { .. },
                ..
            } => Some(
                "correct its `create` in the mapping file and apply again: what was made before it stays".into(),
            ),
            Self::Hubspot(error) | Self::Step { source: error, .. } => error.hint(),
            Self::OtherPortal { .. } => {
                Some("use the token of the portal that the mapping file names".into())
            }
            Self::Object { hint, .. } => Some(Cow::Borrowed(hint)),
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Ask(error) => return error.code(),
            Self::Config(error) => return error.code(),
            Self::Hubspot(error) | Self::Step { source: error, .. } => error.code(),
            Self::OtherPortal { .. } => "other-portal",
            Self::Object { code, .. } => code,
        })
    }

    /// Whether the file or a secret must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Ask(error) => error.is_configuration(),
            Self::Config(_) | Self::OtherPortal { .. } => true,
            Self::Hubspot(_) | Self::Step { .. } | Self::Object { .. } => false,
        }
    }
}

/// What is declared, held against the portal.
pub(crate) struct DeclaredProperties {
    /// What is to be made.
    pub(crate) plan: PropertyPlan,
    asking: Option<AskingCommand>,
}

/// Looks at what the portal has of the objects that properties are declared of. A file that declares none asks nothing.
///
/// # Errors
/// HubSpot can't be asked, or does not show one of them.
pub(crate) async fn look(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<DeclaredProperties, PropertiesError> {
    let wishes = &config.creates;
    if wishes.is_empty() {
        return Ok(DeclaredProperties {
            plan: PropertyPlan::default(),
            asking: None,
        });
    }
    let asking = AskingCommand::begin(config, clock).await?;
    let client = asking.client();
    let expected = config.portal.id.as_ref().map(PortalIdSource::resolve);
    let found = client.account().await?.portal_id;
    if let Some(expected) = expected.transpose()?.filter(|expected| *expected != found) {
        return Err(PropertiesError::OtherPortal { found, expected });
    }
    let mapping = config
        .mapping
        .of_objects(|object| wishes.iter().any(|wish| wish.object == object.object));
    let read = reading::read(client, &mapping, Former::default()).await?;
    if let Some((name, why)) = read.kept_back.first()
        && let Some(object) = mapping.object(name.as_str())
    {
        return Err(PropertiesError::Object {
            explanation: why.explanation(object),
            hint: why.hint().unwrap_or_default().into_owned(),
            code: match why.code() {
                "" => "unreadable-answer",
                code => code,
            },
        });
    }
    let mut portal = BTreeMap::new();
    for (object, found) in read.definitions {
        let properties = found.into_iter().map(|property| {
            let known = PortalProperty {
                definition: property.to_definition(),
                options: property.options,
            };
            (property.name, known)
        });
        let known = PortalObject {
            properties: properties.collect(),
            archived: client.archived_properties(&object).await?,
            groups: client.property_groups(&object).await?,
        };
        portal.insert(object, known);
    }
    Ok(DeclaredProperties {
        plan: plan(wishes, &portal),
        asking: Some(asking),
    })
}

impl DeclaredProperties {
    /// Makes what is missing, a step at a time; `done` is told each.
    ///
    /// # Errors
    /// HubSpot refuses a step; those before it stay. Applying again goes on.
    pub(crate) async fn apply(
        &self,
        done: &mut dyn FnMut(&PropertyStep),
    ) -> Result<(), PropertiesError> {
        let Some(asking) = &self.asking else {
            return Ok(());
        };
        for step in &self.plan.steps {
            let made = carry_out(asking.client(), step).await;
            made.map_err(|source| PropertiesError::Step {
                what: named(step),
                words: source
                    .words_of_refusal()
                    .map_or_else(String::new, |words| format!(": HubSpot says `{words}`")),
                source,
            })?;
            done(step);
        }
        Ok(())
    }
}

/// What a step makes, for a sentence.
fn named(step: &PropertyStep) -> String {
    match step {
        PropertyStep::Group { object, name } => format!("the group `{name}` of {object}"),
        PropertyStep::Property { wish, .. } => {
            format!("the property `{}` of {}", wish.property, wish.object)
        }
        PropertyStep::Options {
            object, property, ..
        } => format!("the options of `{property}` of {object}"),
    }
}

async fn carry_out(client: &Client, step: &PropertyStep) -> Result<(), HubspotError> {
    match step {
        PropertyStep::Group { object, name } => client.create_group(object, name).await,
        PropertyStep::Property { wish, group, .. } => {
            let property = new_property(wish, group);
            let made = client.create_property(&wish.object, &property).await?;
            // One that lay in the archive is back as it was, whatever options the request had.
            let missing = wish.missing_options(&made.options);
            if missing.is_empty() {
                return Ok(());
            }
            let missing: Vec<WishedOption> = missing.into_iter().cloned().collect();
            add_options(client, (&wish.object, &wish.property), &missing).await
        }
        PropertyStep::Options {
            object,
            property,
            added,
        } => add_options(client, (object, property), added).await,
    }
}

/// Adds options behind those that the property has at this moment, each of which goes back as it is: somebody may have made others
/// since the plan was shown.
async fn add_options(
    client: &Client,
    (object, property): (&ObjectType, &PropertyName),
    added: &[WishedOption],
) -> Result<(), HubspotError> {
    let mut all = client
        .options_of(object, property)
        .await?
        .unwrap_or_default();
    let last = all.iter().map(|option| option.display_order).max();
    let missing: Vec<WishedOption> = added
        .iter()
        .filter(|option| !all.iter().any(|known| known.value == option.value))
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    all.extend(options(&missing, last.unwrap_or(-1) + 1));
    client.set_options(object, property, &all).await
}

fn new_property(wish: &PropertyWish, group: &str) -> NewProperty {
    let (kind, field_type) = wish.wire_type();
    NewProperty {
        name: wish.property.to_string(),
        label: wish.label.clone(),
        kind: kind.to_owned(),
        field_type: field_type.to_owned(),
        group_name: group.to_owned(),
        has_unique_value: wish.unique,
        hidden: false,
        description: wish.description.clone(),
        options: match wish.kind {
            // HubSpot shows them, and makes no such property without.
            PropertyType::Bool => {
                let both = [("true", "Yes"), ("false", "No")].map(|(value, label)| WishedOption {
                    value: value.to_owned(),
                    label: label.to_owned(),
                });
                options(&both, 0)
            }
            PropertyType::String
            | PropertyType::Number
            | PropertyType::Decimal
            | PropertyType::Integer
            | PropertyType::Date
            | PropertyType::Datetime
            | PropertyType::Enumeration
            | PropertyType::Set => options(&wish.options, 0),
        },
    }
}

fn options(wished: &[WishedOption], first: i64) -> Vec<SentOption> {
    let numbered = (first..).zip(wished);
    numbered
        .map(|(display_order, option)| SentOption {
            value: option.value.clone(),
            label: option.label.clone(),
            display_order,
            hidden: false,
            description: String::new(),
        })
        .collect()
}
