//! From a method and a path to a call: three families of paths, one table (`api-facts.md#1`).

use percent_encoding::percent_decode_str;

use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::catalogue::{OBJECTS, ObjectIndex, object_named};

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
    Owners,
    Owner,
    Pipelines,
    Pipeline,
    AccountDetails,
    AccountUsage,
    TokenInfo,
}

/// A call with what the path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub call: Call,
    /// Contacts where the path names no object.
    pub object: ObjectIndex,
    /// The last segment where it varies: a record's id, a property's name; else empty.
    pub name: String,
    /// 2026-09 obeys the portal's own rules on writes.
    pub enforces_rules: bool,
}

impl Route {
    /// The scopes of which the call needs one; none: it needs no scope (`api-facts.md#2`).
    pub(crate) fn scopes(&self) -> Vec<String> {
        let plural = OBJECTS[self.object].plural;
        let is_ticket = plural == "tickets";
        let objects = |right: &str| match is_ticket {
            true => vec!["tickets".to_owned()],
            false => vec![format!("crm.objects.{plural}.{right}")],
        };
        let schemas = |right: &str| {
            let mut scopes = vec![format!("crm.schemas.{plural}.{right}")];
            if is_ticket {
                scopes.push("tickets".to_owned());
            }
            scopes
        };
        match self.call {
            Call::List
            | Call::Read
            | Call::BatchRead
            | Call::Search
            | Call::Pipelines
            | Call::Pipeline => objects("read"),
            Call::Create
            | Call::Patch
            | Call::Delete
            | Call::BatchCreate
            | Call::BatchUpdate
            | Call::BatchUpsert
            | Call::BatchArchive
            | Call::Merge
            | Call::PrivacyDelete => objects("write"),
            Call::Properties | Call::Property | Call::Groups => schemas("read"),
            Call::PropertyCreate | Call::PropertyPatch | Call::PropertyDelete => schemas("write"),
            Call::Owners | Call::Owner => {
                vec![
                    "crm.objects.owners.read".to_owned(),
                    AUTOMATION_SCOPE.to_owned(),
                ]
            }
            Call::AccountDetails | Call::AccountUsage => vec![APP_SCOPE.to_owned()],
            Call::TokenInfo => Vec::new(),
        }
    }
}

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
        ["oauth", "v2", "private-apps", "get", "access-token-info"] => {
            Some(("token-info", "v2", &[]))
        }
        _ => None,
    }
}

/// The call that a request makes; 404 and 405 are problems.
pub(crate) fn route(request: &Request) -> Result<Route, Problem> {
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
    let (call, object, name) = match area {
        "objects" => object_route(method, rest)?,
        "properties" => property_route(method, rest)?,
        "pipelines" => pipeline_route(method, rest)?,
        _ => plain_route(method, area, rest)?,
    };
    Ok(Route {
        call,
        object,
        name: name.to_owned(),
        enforces_rules: version == "2026-09",
    })
}

type Parts<'a> = (Call, ObjectIndex, &'a str);

fn object_in(name: &str) -> Result<ObjectIndex, Problem> {
    object_named(name)
        .ok_or_else(|| Problem::not_found(format!("Unable to infer object type from: {name}")))
}

fn not_allowed() -> Problem {
    Problem::new(405, "METHOD_NOT_ALLOWED", "HTTP 405 Method Not Allowed")
}

fn object_route<'a>(method: &str, rest: &[&'a str]) -> Result<Parts<'a>, Problem> {
    let (name, rest) = rest
        .split_first()
        .ok_or_else(|| Problem::not_found("resource not found"))?;
    let object = object_in(name)?;
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

fn property_route<'a>(method: &str, rest: &[&'a str]) -> Result<Parts<'a>, Problem> {
    let (name, rest) = rest
        .split_first()
        .ok_or_else(|| Problem::not_found("resource not found"))?;
    let object = object_in(name)?;
    let (call, property) = match (method, rest) {
        ("GET", []) => (Call::Properties, ""),
        ("POST", []) => (Call::PropertyCreate, ""),
        ("GET", ["groups"]) => (Call::Groups, ""),
        ("GET", [property]) => (Call::Property, *property),
        ("PATCH", [property]) => (Call::PropertyPatch, *property),
        ("DELETE", [property]) => (Call::PropertyDelete, *property),
        (_, [] | [_]) => return Err(not_allowed()),
        _ => return Err(Problem::not_found("resource not found")),
    };
    Ok((call, object, property))
}

fn pipeline_route<'a>(method: &str, rest: &[&'a str]) -> Result<Parts<'a>, Problem> {
    match (method, rest) {
        ("GET", [object]) => Ok((Call::Pipelines, object_in(object)?, "")),
        ("GET", [object, id]) => Ok((Call::Pipeline, object_in(object)?, id)),
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
    if route.name.is_empty() {
        return request.path.clone();
    }
    let parent = request
        .path
        .trim_end_matches('/')
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    format!("{parent}/{{id}}")
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

    fn call(method: &str, path: &str) -> Result<(Call, ObjectIndex, String), u16> {
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Request::default()
        };
        route(&request)
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
