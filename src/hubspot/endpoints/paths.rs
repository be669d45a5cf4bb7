//! Every endpoint that is called: its method, its path in three versions, its class.
//!
//! One table (`hubspot/api-facts.md#1`): moving to another version of the API is one constant.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::decide::portal::scopes::Access;
use crate::decide::quota::{EndpointClass, RestingWork};
use crate::model::name::ObjectType;
use crate::model::settings::ApiVersion;

macro_rules! endpoints {
    ($($(#[$doc:meta])* $name:ident $method:ident $label:literal: $numbered:literal | $dated:literal $rest:literal;)*) => {
        /// An endpoint that the daemon calls.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Endpoint {
            $($(#[$doc])* $name,)*
        }

        impl Endpoint {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its class in counts and metrics (`sync_requests`); calls that are counted together share one.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// Its method.
            pub(crate) fn method(self) -> Method {
                match self {
                    $(Self::$name => Method::$method,)*
                }
            }

            /// Its path with `{object}` for the object and `{to}` for the other one, as logs show it.
            pub(crate) fn template(self, version: ApiVersion) -> &'static str {
                match (self, version) {
                    $(
                        (Self::$name, ApiVersion::V3) => concat!($numbered, $rest),
                        (Self::$name, ApiVersion::V2026_03) => concat!($dated, "2026-03", $rest),
                        (Self::$name, ApiVersion::V2026_09) => concat!($dated, "2026-09", $rest),
                    )*
                }
            }
        }
    };
}

endpoints! {
    /// A page of all records.
    List GET "list": "/crm/v3/objects" | "/crm/objects/" "/{object}";
    /// A page of a search.
    Search POST "search": "/crm/v3/objects" | "/crm/objects/" "/{object}/search";
    /// Records by id or by a unique property.
    BatchRead POST "read": "/crm/v3/objects" | "/crm/objects/" "/{object}/batch/read";
    /// Makes records.
    BatchCreate POST "create": "/crm/v3/objects" | "/crm/objects/" "/{object}/batch/create";
    /// Changes records.
    BatchUpdate POST "update": "/crm/v3/objects" | "/crm/objects/" "/{object}/batch/update";
    /// Makes or changes records by a unique property.
    BatchUpsert POST "upsert": "/crm/v3/objects" | "/crm/objects/" "/{object}/batch/upsert";
    /// Archives records.
    BatchArchive POST "archive": "/crm/v3/objects" | "/crm/objects/" "/{object}/batch/archive";
    /// The associations of up to 1,000 records to another object.
    ReadAssociations POST "associations": "/crm/v4/associations" | "/crm/associations/" "/{object}/{to}/batch/read";
    /// Associates pairs by the type that they have where nobody names one.
    AssociateByDefault POST "associations": "/crm/v4/associations" | "/crm/associations/" "/{object}/{to}/batch/associate/default";
    /// Associates pairs by types.
    CreateAssociations POST "associations": "/crm/v4/associations" | "/crm/associations/" "/{object}/{to}/batch/create";
    /// Takes types of pairs away.
    ArchiveLabels POST "associations": "/crm/v4/associations" | "/crm/associations/" "/{object}/{to}/batch/labels/archive";
    /// Takes all types of pairs away.
    ArchiveAssociations POST "associations": "/crm/v4/associations" | "/crm/associations/" "/{object}/{to}/batch/archive";
    /// The types that records of two objects can be associated by.
    AssociationLabels GET "associations": "/crm/v4/associations" | "/crm/associations/" "/{object}/{to}/labels";
    /// With how many records of another object one may be associated, type by type, where the portal limits it.
    AssociationLimits GET "associations": "/crm/associations/v4" | "/crm/associations/" "/definitions/configurations/{object}/{to}";
    /// All properties of an object.
    Properties GET "schema": "/crm/v3/properties" | "/crm/properties/" "/{object}";
    /// Makes a property.
    CreateProperty POST "schema": "/crm/v3/properties" | "/crm/properties/" "/{object}";
    /// Changes a property, whose name ends the path.
    ChangeProperty PATCH "schema": "/crm/v3/properties" | "/crm/properties/" "/{object}/";
    /// Makes a group of properties.
    CreateGroup POST "schema": "/crm/v3/properties" | "/crm/properties/" "/{object}/groups";
    /// The groups that properties stand in.
    PropertyGroups GET "schema": "/crm/v3/properties" | "/crm/properties/" "/{object}/groups";
    /// A page of owners.
    Owners GET "schema": "/crm/v3/owners" | "/crm/owners/" "";
    /// All pipelines of an object.
    Pipelines GET "schema": "/crm/v3/pipelines" | "/crm/pipelines/" "/{object}";
    /// The schemas of all custom objects.
    Schemas GET "schema": "/crm-object-schemas/v3" | "/crm-object-schemas/" "/schemas";
    /// The schema of one object.
    Schema GET "schema": "/crm-object-schemas/v3" | "/crm-object-schemas/" "/schemas/{object}";
    /// The account: portal and time zone.
    Account GET "schema": "/account-info/v3" | "/account-info/" "/details";
}

impl Endpoint {
    /// The path for an object, and for an association's other one; endpoints without them ignore it.
    pub(crate) fn path(
        self,
        version: ApiVersion,
        object: Option<&ObjectType>,
        to: Option<&ObjectType>,
    ) -> String {
        let path = self.template(version);
        path.replace("{object}", &segment(object))
            .replace("{to}", &segment(to))
    }

    /// Which of HubSpot's limits it meets (`hubspot/api-facts.md#3`). The older spelling of the label path is not among those that
    /// HubSpot's files exempt from the ten seconds.
    pub(crate) fn class(self, version: ApiVersion) -> EndpointClass {
        match self {
            Self::Search => EndpointClass::Search,
            Self::AssociationLabels if version == ApiVersion::V3 => EndpointClass::Crm,
            Self::ReadAssociations
            | Self::AssociateByDefault
            | Self::CreateAssociations
            | Self::ArchiveLabels
            | Self::ArchiveAssociations
            | Self::AssociationLabels
            | Self::AssociationLimits => EndpointClass::Associations,
            Self::List
            | Self::BatchRead
            | Self::BatchCreate
            | Self::BatchUpdate
            | Self::BatchUpsert
            | Self::BatchArchive
            | Self::Properties
            | Self::CreateProperty
            | Self::ChangeProperty
            | Self::CreateGroup
            | Self::PropertyGroups
            | Self::Owners
            | Self::Pipelines
            | Self::Schemas
            | Self::Schema
            | Self::Account => EndpointClass::Crm,
        }
    }

    /// What rests with it while HubSpot is in trouble.
    pub(crate) fn work(self) -> RestingWork {
        match self {
            Self::Search => RestingWork::Search,
            Self::List | Self::BatchRead => RestingWork::Read,
            Self::BatchCreate | Self::BatchUpsert => RestingWork::Create,
            Self::BatchUpdate => RestingWork::Update,
            Self::BatchArchive => RestingWork::Archive,
            Self::ReadAssociations
            | Self::AssociateByDefault
            | Self::CreateAssociations
            | Self::ArchiveLabels
            | Self::ArchiveAssociations
            | Self::AssociationLabels
            | Self::AssociationLimits => RestingWork::Associations,
            Self::Properties
            | Self::CreateProperty
            | Self::ChangeProperty
            | Self::CreateGroup
            | Self::PropertyGroups
            | Self::Owners
            | Self::Pipelines
            | Self::Schemas
            | Self::Schema
            | Self::Account => RestingWork::Portal,
        }
    }

    /// What of an object's, or of a pair's associations, it lets be done, by scopes; `None` where neither stops without it, and nobody
    /// misses it. Without labels and limits a pair goes on: its types are met in its associations too, and its limits in refusals.
    pub(crate) fn access(self) -> Option<Access> {
        match self {
            Self::List
            | Self::Search
            | Self::BatchRead
            | Self::ReadAssociations
            | Self::Owners
            | Self::Pipelines => Some(Access::Read),
            Self::BatchCreate
            | Self::BatchUpdate
            | Self::BatchUpsert
            | Self::BatchArchive
            | Self::AssociateByDefault
            | Self::CreateAssociations
            | Self::ArchiveLabels
            | Self::ArchiveAssociations => Some(Access::Write),
            Self::Properties | Self::PropertyGroups | Self::AssociationLabels => {
                Some(Access::Definitions)
            }
            Self::AssociationLimits => Some(Access::Limits),
            Self::CreateProperty
            | Self::ChangeProperty
            | Self::CreateGroup
            | Self::Schemas
            | Self::Schema
            | Self::Account => None,
        }
    }

    /// Whether it can be asked for fewer records at once.
    pub(crate) fn is_paged(self) -> bool {
        matches!(self, Self::List | Self::Search | Self::BatchRead)
    }

    /// Whether it changes nothing, so that it may be repeated after a lost answer.
    pub(crate) fn is_read(self) -> bool {
        match self {
            Self::BatchCreate
            | Self::BatchUpdate
            | Self::BatchUpsert
            | Self::BatchArchive
            | Self::AssociateByDefault
            | Self::CreateAssociations
            | Self::ArchiveLabels
            | Self::ArchiveAssociations
            | Self::CreateProperty
            | Self::ChangeProperty
            | Self::CreateGroup => false,
            Self::List
            | Self::Search
            | Self::BatchRead
            | Self::ReadAssociations
            | Self::AssociationLabels
            | Self::AssociationLimits
            | Self::Properties
            | Self::PropertyGroups
            | Self::Owners
            | Self::Pipelines
            | Self::Schemas
            | Self::Schema
            | Self::Account => true,
        }
    }
}

/// An object's name as a segment of a path.
fn segment(object: Option<&ObjectType>) -> String {
    let name = object.map_or("", ObjectType::as_str);
    let segment = utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
    // `_` and `-` are unreserved and stand in names and object type ids.
    segment.replace("%5F", "_").replace("%2D", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_each_path_in_three_versions() {
        let [contacts, companies] =
            ["contacts", "companies"].map(|name| ObjectType::parse(name).expect("name"));
        let mut expected = include_str!("../../../tests/fixtures/paths.txt").lines();
        for endpoint in Endpoint::ALL {
            for version in [ApiVersion::V3, ApiVersion::V2026_03, ApiVersion::V2026_09] {
                let path = endpoint.path(version, Some(&contacts), Some(&companies));
                let line = format!("{} {} {path}", endpoint.label(), endpoint.method());
                assert_eq!(Some(line.as_str()), expected.next());
            }
        }
        assert_eq!(expected.next(), None);
    }

    #[test]
    fn only_searches_and_association_calls_are_outside_the_ten_seconds() {
        let labels_of = |class, version| {
            let of_class = |endpoint: &&Endpoint| endpoint.class(version) == class;
            let labels = Endpoint::ALL.iter().filter(of_class);
            labels.map(|endpoint| endpoint.label()).collect::<Vec<_>>()
        };
        for version in ApiVersion::ALL {
            assert_eq!(labels_of(EndpointClass::Search, version), ["search"]);
            let exempt = if version == ApiVersion::V3 { 6 } else { 7 };
            let associations = labels_of(EndpointClass::Associations, version);
            assert_eq!(associations, vec!["associations"; exempt]);
        }
    }
}
