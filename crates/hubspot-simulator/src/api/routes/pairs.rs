//! Paths with two ends: associations of a record and of a pair of objects, schemas and what they allow.

use crate::api::problem::Problem;
use crate::api::routes::{Call, Objects, Parts, not_allowed, object_in};
use crate::catalogue::ObjectIndex;

/// What a path says, with the other end of an association.
pub(crate) struct Ends<'a> {
    pub call: Call,
    pub object: ObjectIndex,
    pub name: &'a str,
    pub to: ObjectIndex,
    pub to_name: &'a str,
}

impl<'a> From<Parts<'a>> for Ends<'a> {
    fn from((call, object, name): Parts<'a>) -> Self {
        Self {
            call,
            object,
            name,
            to: object,
            to_name: "",
        }
    }
}

/// The associations of one record.
pub(crate) fn association_route<'a>(
    objects: Objects<'_>,
    method: &str,
    rest: &[&'a str],
) -> Result<Ends<'a>, Problem> {
    let (call, object, name, to, to_name) = match (method, rest) {
        ("GET", [object, id, _, to]) => (Call::Associations, object, *id, to, ""),
        ("PUT", [object, id, _, "default", to, to_id]) => {
            (Call::AssociateDefault, object, *id, to, *to_id)
        }
        ("PUT", [object, id, _, to, to_id]) => (Call::Associate, object, *id, to, *to_id),
        ("DELETE", [object, id, _, to, to_id]) => (Call::Disassociate, object, *id, to, *to_id),
        (_, [_, _, _, _] | [_, _, _, _, _] | [_, _, _, "default", _, _]) => {
            return Err(not_allowed());
        }
        _ => return Err(Problem::not_found("resource not found")),
    };
    Ok(Ends {
        call,
        object: object_in(objects, object)?,
        name,
        to: object_in(objects, to)?,
        to_name,
    })
}

/// Batches, labels and limits of a pair of objects.
pub(crate) fn pair_route<'a>(
    objects: Objects<'_>,
    method: &str,
    rest: &[&'a str],
) -> Result<Ends<'a>, Problem> {
    if rest.starts_with(&["definitions", "configurations"]) {
        return link_limit_route(objects, method, &rest[2..]);
    }
    let [from, to, rest @ ..] = rest else {
        return Err(Problem::not_found("resource not found"));
    };
    let (call, to_name) = match (method, rest) {
        ("POST", ["batch", "read"]) => (Call::AssociationsRead, ""),
        ("POST", ["batch", "create"]) => (Call::AssociationsCreate, ""),
        ("POST", ["batch", "archive"]) => (Call::AssociationsArchive, ""),
        ("POST", ["batch", "associate", "default"]) => (Call::AssociationsDefault, ""),
        ("POST", ["batch", "labels", "archive"]) => (Call::AssociationLabelsArchive, ""),
        ("GET", ["labels"]) => (Call::Labels, ""),
        ("POST", ["labels"]) => (Call::LabelCreate, ""),
        ("PUT", ["labels"]) => (Call::LabelUpdate, ""),
        ("DELETE", ["labels", id]) => (Call::LabelDelete, *id),
        (_, ["batch" | "labels", _] | ["labels"]) => return Err(not_allowed()),
        _ => return Err(Problem::not_found("resource not found")),
    };
    Ok(Ends {
        call,
        object: object_in(objects, from)?,
        name: "",
        to: object_in(objects, to)?,
        to_name,
    })
}

fn link_limit_route<'a>(
    objects: Objects<'_>,
    method: &str,
    rest: &[&'a str],
) -> Result<Ends<'a>, Problem> {
    let (call, from, to) = match (method, rest) {
        ("GET", ["all"]) => return Ok((Call::LinkLimitsAll, 0, "").into()),
        ("GET", [from, to]) => (Call::LinkLimits, from, to),
        ("POST", [from, to, "batch", "create"]) => (Call::LinkLimitsCreate, from, to),
        ("POST", [from, to, "batch", "update"]) => (Call::LinkLimitsUpdate, from, to),
        ("POST", [from, to, "batch", "purge"]) => (Call::LinkLimitsPurge, from, to),
        (_, ["all"] | [_, _] | [_, _, "batch", _]) => return Err(not_allowed()),
        _ => return Err(Problem::not_found("resource not found")),
    };
    Ok(Ends {
        call,
        object: object_in(objects, from)?,
        name: "",
        to: object_in(objects, to)?,
        to_name: "",
    })
}

/// Schemas of custom objects; the last segment names an association or an object.
pub(crate) fn schema_route<'a>(
    objects: Objects<'_>,
    method: &str,
    rest: &[&'a str],
) -> Result<Ends<'a>, Problem> {
    let (call, name, to_name) = match (method, rest) {
        ("GET", []) => return Ok((Call::Schemas, 0, "").into()),
        ("POST", []) => return Ok((Call::SchemaCreate, 0, "").into()),
        ("POST", ["batch", "read"]) => return Ok((Call::SchemasRead, 0, "").into()),
        ("GET", [name]) => (Call::Schema, *name, ""),
        ("PATCH", [name]) => (Call::SchemaPatch, *name, ""),
        ("DELETE", [name]) => (Call::SchemaDelete, *name, ""),
        ("POST", [name, "associations"]) => (Call::SchemaAssociate, *name, ""),
        ("DELETE", [name, "associations", id]) => (Call::SchemaDisassociate, *name, *id),
        (_, [] | [_] | [_, "associations"] | [_, "associations", _]) => return Err(not_allowed()),
        _ => return Err(Problem::not_found("resource not found")),
    };
    let object = object_in(objects, name)?;
    Ok(Ends {
        call,
        object,
        name,
        to: object,
        to_name,
    })
}
