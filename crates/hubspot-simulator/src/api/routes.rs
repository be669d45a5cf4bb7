//! From a method and a path to a call: three families of paths, one table (`api-facts.md#1`).

pub(crate) mod pairs;

use percent_encoding::percent_decode_str;

use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::pairs::{association_route, pair_route, schema_route};
use crate::catalogue::ObjectIndex;
use crate::catalogue::objects::{ObjectScopes, Right};
use crate::portal::custom::CUSTOM_SCOPES;
use crate::world::limits::Counted;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    List,
    Create,
    Read,
    Patch,
    Delete,
    BatchRead,
    BatchCreate,
    BatchUpdate,
    BatchUpsert,
    BatchArchive,
    Search,
    Merge,
    PrivacyDelete,
    Properties,
    PropertyCreate,
    Property,
    PropertyPatch,
    PropertyDelete,
    Groups,
    GroupCreate,
    Owners,
    Owner,
    Pipelines,
    Pipeline,
    AccountDetails,
    AccountUsage,
    TokenInfo,
    Associations,
    AssociateDefault,
    Associate,
    Disassociate,
    AssociationsRead,
    AssociationsCreate,
    AssociationsDefault,
    AssociationsArchive,
    AssociationLabelsArchive,
    Labels,
    LabelCreate,
    LabelUpdate,
    LabelDelete,
    LinkLimits,
    LinkLimitsAll,
    LinkLimitsCreate,
    LinkLimitsUpdate,
    LinkLimitsPurge,
    Schemas,
    SchemaCreate,
    SchemasRead,
    Schema,
    SchemaPatch,
    SchemaDelete,
    SchemaAssociate,
    SchemaDisassociate,
}

/// A call with what the path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub call: Call,
    /// Contacts where the path names no object.
    pub object: ObjectIndex,
    /// The last segment where it varies: a record's id, a property's name; else empty.
    pub name: String,
    /// The object at the other end of an association; else `object`.
    pub to: ObjectIndex,
    /// The record at the other end, or a label's id; else empty.
    pub to_name: String,
    /// 2026-09 obeys the portal's own rules on writes.
    pub enforces_rules: bool,
    /// Whether the path has a date for its version.
    pub is_dated: bool,
    /// Whether the call is outside of the ten-second window, as the `OpenAPI` files say of bulk association and label calls
    /// (`api-facts.md#3`).
    pub is_exempt: bool,
}

impl Route {
    /// Groups of scopes: the call needs one of each. An association needs those of both objects (`api-facts.md#2`).
    pub(crate) fn scopes(&self, from: ObjectScopes, to: ObjectScopes) -> Vec<Vec<String>> {
        let mut groups = vec![self.scopes_of(from)];
        if self.to != self.object {
            groups.push(self.scopes_of(to));
        }
        groups.retain(|group| !group.is_empty());
        groups
    }

    pub(crate) fn counted(&self) -> Counted {
        if self.call == Call::Search {
            Counted::Search
        } else if self.is_exempt {
            Counted::Exempt
        } else {
            Counted::Plain
        }
    }

    fn scopes_of(&self, object: ObjectScopes) -> Vec<String> {
        match self.call {
            Call::List
            | Call::Read
            | Call::BatchRead
            | Call::Search
            | Call::Pipelines
            | Call::Pipeline
            | Call::Associations
            | Call::AssociationsRead
            | Call::Labels
            | Call::LinkLimits => object.of(Right::Read),
            Call::Create
            | Call::Patch
            | Call::Delete
            | Call::BatchCreate
            | Call::BatchUpdate
            | Call::BatchUpsert
            | Call::BatchArchive
            | Call::Merge
            | Call::PrivacyDelete
            | Call::AssociateDefault
            | Call::Associate
            | Call::Disassociate
            | Call::AssociationsCreate
            | Call::AssociationsDefault
            | Call::AssociationsArchive
            | Call::AssociationLabelsArchive => object.of(Right::Write),
            Call::Properties | Call::Property | Call::Groups => object.of(Right::ReadSchema),
            Call::PropertyCreate
            | Call::GroupCreate
            | Call::PropertyPatch
            | Call::PropertyDelete
            | Call::LabelCreate
            | Call::LabelUpdate
            | Call::LabelDelete
            | Call::LinkLimitsCreate
            | Call::LinkLimitsUpdate
            | Call::LinkLimitsPurge => object.of(Right::WriteSchema),
            Call::Owners | Call::Owner => {
                vec![OWNERS_SCOPE.to_owned(), AUTOMATION_SCOPE.to_owned()]
            }
            Call::Schemas | Call::SchemasRead | Call::Schema => CUSTOM_SCOPES.of(Right::ReadSchema),
            Call::SchemaCreate
            | Call::SchemaPatch
            | Call::SchemaDelete
            | Call::SchemaAssociate
            | Call::SchemaDisassociate => CUSTOM_SCOPES.of(Right::WriteSchema),
            Call::AccountDetails | Call::AccountUsage => vec![APP_SCOPE.to_owned()],
            Call::TokenInfo | Call::LinkLimitsAll => Vec::new(),
        }
    }
}

/// The scope that lets owners be read.
pub(crate) const OWNERS_SCOPE: &str = "crm.objects.owners.read";

/// The scope that lets owners be read, too.
pub(crate) const AUTOMATION_SCOPE: &str = "automation";

/// The scope that every app has, named or not.
pub(crate) const APP_SCOPE: &str = "oauth";

const DATE_VERSIONS: [&str; 2] = ["2026-03", "2026-09"];

/// Area, version and the rest of the segments.
fn area_of<'a>(segments: &'a [&'a str]) -> Option<(&'a str, &'a str, &'a [&'a str])> {
    match segments {
        [
            "crm",
            "v3",
            area @ ("objects" | "properties" | "owners" | "pipelines"),
            rest @ ..,
        ] => Some((area, "v3", rest)),
        [
            "crm",
            area @ ("objects" | "properties" | "owners" | "pipelines"),
            version,
            rest @ ..,
        ]
        | [area @ "account-info", version, rest @ ..]
            if *version == "v3" || DATE_VERSIONS.contains(version) =>
        {
            Some((area, version, rest))
        }
        ["crm", "v3", "schemas", rest @ ..] => Some(("schemas", "v3", rest)),
        ["crm-object-schemas", version, "schemas", rest @ ..]
            if *version == "v3" || DATE_VERSIONS.contains(version) =>
        {
            Some(("schemas", version, rest))
        }
        ["crm", "v4", area @ ("objects" | "associations"), rest @ ..] => Some((area, "v4", rest)),
        ["crm", area @ "associations", version, rest @ ..]
            if *version == "v4" || DATE_VERSIONS.contains(version) =>
        {
            Some((area, version, rest))
        }
        ["oauth", "v2", "private-apps", "get", "access-token-info"] => {
            Some(("token-info", "v2", &[]))
        }
        _ => None,
    }
}

/// The call that a request makes; 404 and 405 are problems.
pub(crate) fn route(request: &Request, objects: Objects<'_>) -> Result<Route, Problem> {
    let decoded: Vec<String> = request
        .path
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let unknown = || Problem::not_found("resource not found");
    let (area, version, rest) = area_of(&segments).ok_or_else(unknown)?;
    let method = request.method.as_str();
    let is_pair = area == "associations" || rest.get(2) == Some(&"associations");
    // Single records' associations are at v4 and at the dates, records at v3 and at the dates.
    if (version == "v4") != is_pair && (version == "v3" || version == "v4") {
        return Err(unknown());
    }
    let parts = match area {
        "associations" => pair_route(objects, method, rest)?,
        "objects" if is_pair => association_route(objects, method, rest)?,
        "objects" => object_route(objects, method, rest)?.into(),
        "schemas" => schema_route(objects, method, rest)?,
        "properties" => property_route(objects, method, rest)?.into(),
        "pipelines" => pipeline_route(objects, method, rest)?.into(),
        _ => plain_route(method, area, rest)?.into(),
    };
    // The older spelling of the label paths is not exempt in the files.
    let is_old_label = segments.get(1) == Some(&"v4") && rest.get(2) == Some(&"labels");
    Ok(Route {
        call: parts.call,
        object: parts.object,
        name: parts.name.to_owned(),
        to: parts.to,
        to_name: parts.to_name.to_owned(),
        enforces_rules: version == "2026-09",
        is_dated: DATE_VERSIONS.contains(&version),
        is_exempt: area == "associations" && !is_old_label,
    })
}

pub(crate) type Parts<'a> = (Call, ObjectIndex, &'a str);

/// Which object a name means in this portal.
pub(crate) type Objects<'o> = &'o dyn Fn(&str) -> Option<ObjectIndex>;

pub(crate) fn object_in(objects: Objects<'_>, name: &str) -> Result<ObjectIndex, Problem> {
    objects(name)
        .ok_or_else(|| Problem::not_found(format!("Unable to infer object type from: {name}")))
}

pub(crate) fn not_allowed() -> Problem {
    Problem::new(405, "METHOD_NOT_ALLOWED", "HTTP 405 Method Not Allowed")
}

fn object_route<'a>(
    objects: Objects<'_>,
    method: &str,
    rest: &[&'a str],
) -> Result<Parts<'a>, Problem> {
    let (name, rest) = rest
        .split_first()
        .ok_or_else(|| Problem::not_found("resource not found"))?;
    let object = object_in(objects, name)?;
    let (call, id) = match (method, rest) {
        ("GET", []) => (Call::List, ""),
        ("POST", []) => (Call::Create, ""),
        ("POST", ["search"]) => (Call::Search, ""),
        ("POST", ["merge"]) => (Call::Merge, ""),
        ("POST", ["gdpr-delete"]) => (Call::PrivacyDelete, ""),
        ("POST", ["batch", batch]) => (batch_call(batch)?, ""),
        ("GET", [id]) => (Call::Read, *id),
        ("PATCH", [id]) => (Call::Patch, *id),
        ("DELETE", [id]) => (Call::Delete, *id),
        (_, [] | [_] | ["batch", _]) => return Err(not_allowed()),
        _ => return Err(Problem::not_found("resource not found")),
    };
    Ok((call, object, id))
}

fn batch_call(name: &str) -> Result<Call, Problem> {
    match name {
        "read" => Ok(Call::BatchRead),
        "create" => Ok(Call::BatchCreate),
        "update" => Ok(Call::BatchUpdate),
        "upsert" => Ok(Call::BatchUpsert),
        "archive" => Ok(Call::BatchArchive),
        _ => Err(Problem::not_found("resource not found")),
    }
}

fn property_route<'a>(
    objects: Objects<'_>,
    method: &str,
    rest: &[&'a str],
) -> Result<Parts<'a>, Problem> {
    let (name, rest) = rest
        .split_first()
        .ok_or_else(|| Problem::not_found("resource not found"))?;
    let object = object_in(objects, name)?;
    let (call, property) = match (method, rest) {
        ("GET", []) => (Call::Properties, ""),
        ("POST", []) => (Call::PropertyCreate, ""),
        ("GET", ["groups"]) => (Call::Groups, ""),
        ("POST", ["groups"]) => (Call::GroupCreate, ""),
        ("GET", [property]) => (Call::Property, *property),
        ("PATCH", [property]) => (Call::PropertyPatch, *property),
        ("DELETE", [property]) => (Call::PropertyDelete, *property),
        (_, [] | [_]) => return Err(not_allowed()),
        _ => return Err(Problem::not_found("resource not found")),
    };
    Ok((call, object, property))
}

fn pipeline_route<'a>(
    objects: Objects<'_>,
    method: &str,
    rest: &[&'a str],
) -> Result<Parts<'a>, Problem> {
    match (method, rest) {
        ("GET", [object]) => Ok((Call::Pipelines, object_in(objects, object)?, "")),
        ("GET", [object, id]) => Ok((Call::Pipeline, object_in(objects, object)?, id)),
        (_, [_] | [_, _]) => Err(not_allowed()),
        _ => Err(Problem::not_found("resource not found")),
    }
}

fn plain_route<'a>(method: &str, area: &str, rest: &[&'a str]) -> Result<Parts<'a>, Problem> {
    match (method, area, rest) {
        ("GET", "owners", []) => Ok((Call::Owners, 0, "")),
        ("GET", "owners", [id]) => Ok((Call::Owner, 0, id)),
        ("GET", "account-info", ["details"]) => Ok((Call::AccountDetails, 0, "")),
        ("GET", "account-info", ["api-usage", "daily", "private-apps"]) => {
            Ok((Call::AccountUsage, 0, ""))
        }
        ("POST", "token-info", []) => Ok((Call::TokenInfo, 0, "")),
        _ => Err(Problem::not_found("resource not found")),
    }
}

/// The path with ids and names of things replaced, for logs.
pub(crate) fn template(request: &Request, route: &Route) -> String {
    let mut segments: Vec<&str> = request.path.trim_end_matches('/').split('/').collect();
    let own = segments.iter().position(|part| *part == "associations");
    let own = match own {
        Some(place) if !route.name.is_empty() => place.checked_sub(1),
        _ => None,
    };
    let is_last = if own.is_some() {
        !route.to_name.is_empty()
    } else {
        !(route.name.is_empty() && route.to_name.is_empty())
    };
    let last = Some(segments.len() - 1).filter(|_| is_last);
    for place in own.into_iter().chain(last) {
        segments[place] = "{id}";
    }
    segments.join("/")
}

/// Query parameters, decoded.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |part: &str| {
            percent_decode_str(&part.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Comma lists and repeated parameters alike.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let values = self
            .0
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','));
        values
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// In any case: HubSpot's Python client writes `True`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::object_named;

    fn call(method: &str, path: &str) -> Result<(Call, ObjectIndex, String), u16> {
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Request::default()
        };
        route(&request, &object_named)
            .map(|route| (route.call, route.object, route.name))
            .map_err(|problem| problem.status)
    }

    /// api-facts.md#1: the families have the same calls.
    #[test]
    fn all_families_of_paths_lead_to_the_same_call() {
        for base in [
            "/crm/v3/objects",
            "/crm/objects/2026-03",
            "/crm/objects/2026-09",
        ] {
            for name in ["deals", "0-3"] {
                assert_eq!(
                    call("POST", &format!("{base}/{name}/batch/upsert")),
                    Ok((Call::BatchUpsert, 2, String::new()))
                );
                assert_eq!(
                    call("GET", &format!("{base}/{name}/17")),
                    Ok((Call::Read, 2, "17".to_owned()))
                );
            }
        }
        assert_eq!(
            call("GET", "/crm/properties/2026-09/0-1/email"),
            Ok((Call::Property, 0, "email".to_owned()))
        );
        assert_eq!(
            call("GET", "/account-info/2026-03/details"),
            Ok((Call::AccountDetails, 0, String::new()))
        );
        assert_eq!(
            call("GET", "/crm/v3/pipelines/tickets"),
            Ok((Call::Pipelines, 3, String::new()))
        );
    }

    #[test]
    fn what_is_not_there_is_404_and_a_wrong_method_405() {
        assert_eq!(call("GET", "/crm/v3/objects/unicorns"), Err(404));
        assert_eq!(call("GET", "/crm/objects/2019-01/contacts"), Err(404));
        assert_eq!(call("PUT", "/crm/v3/objects/contacts/1"), Err(405));
        assert_eq!(
            call("POST", "/crm/v3/objects/contacts/batch/shred"),
            Err(404)
        );
    }

    #[test]
    fn lists_in_queries_come_with_commas_and_repeated() {
        let query = Query::parse("properties=email,firstname&properties=a%20b&archived=True");
        assert_eq!(query.list("properties"), ["email", "firstname", "a b"]);
        assert!(query.flag("archived"));
    }
}
