//! From a call to what carries it out: the one list of everything that the API does.

use crate::api::batch::Action;
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::{Call, Route};
use crate::portal::{Handled, Portal};

impl Portal {
    pub(crate) fn call(&mut self, route: &Route, request: &Request, at_ms: i64) -> Handled {
        if !request.body.is_empty() && !is_json(request) {
            return Err(Problem::new(
                415,
                "UNSUPPORTED_MEDIA_TYPE",
                "HTTP 415 Unsupported Media Type",
            ));
        }
        match route.call {
            Call::List => self.list(route, request),
            Call::Create => self.create_one(route, request, at_ms),
            Call::Read => self.read(route, request),
            Call::Patch => self.patch(route, request, at_ms),
            Call::Delete => Ok(self.delete(route, at_ms)),
            Call::BatchRead => self.batch_read(route, request, at_ms),
            Call::BatchCreate => self.batch(route, request, at_ms, Action::Create),
            Call::BatchUpdate => self.batch(route, request, at_ms, Action::Update),
            Call::BatchUpsert => self.batch(route, request, at_ms, Action::Upsert),
            Call::BatchArchive => self.batch(route, request, at_ms, Action::Archive),
            Call::Search => self.search(route, request),
            Call::Merge => self.merge_call(route, request, at_ms),
            Call::PrivacyDelete => self.privacy_delete(route, request, at_ms),
            Call::Properties => Ok(self.properties(route, request)),
            Call::PropertyCreate => self.property_create(route, request, at_ms),
            Call::Property => self.property(route, request),
            Call::PropertyPatch => self.property_patch(route, request, at_ms),
            Call::PropertyDelete => self.property_delete(route, at_ms),
            Call::Groups => Ok(self.groups(route)),
            Call::GroupCreate => self.group_create(route, request),
            Call::Owners => Self::owners(request),
            Call::Owner => Self::owner(route, request),
            Call::Pipelines => Ok(self.pipelines(route)),
            Call::Pipeline => self.pipeline(route),
            Call::AccountDetails => Ok(self.account_details(at_ms)),
            Call::AccountUsage => Ok(self.account_usage(at_ms)),
            Call::TokenInfo => self.token_info(request),
            Call::Associations => self.associations(route, request),
            Call::AssociateDefault => self.associate_default(route, at_ms),
            Call::Associate => self.associate_one(route, request, at_ms),
            Call::Disassociate => Ok(self.disassociate_one(route, at_ms)),
            Call::AssociationsRead => self.associations_read(route, request, at_ms),
            Call::AssociationsCreate => self.associations_create(route, request, at_ms),
            Call::AssociationsDefault => self.associations_default(route, request, at_ms),
            Call::AssociationsArchive => self.associations_archive(route, request, at_ms),
            Call::AssociationLabelsArchive => self.labels_archive(route, request, at_ms),
            Call::Labels => Ok(self.labels(route)),
            Call::LabelCreate => self.label_create(route, request),
            Call::LabelUpdate => self.label_update(route, request),
            Call::LabelDelete => self.label_delete(route, at_ms),
            Call::LinkLimits => Ok(self.link_limits(route)),
            Call::LinkLimitsAll => Ok(self.all_link_limits()),
            Call::LinkLimitsCreate | Call::LinkLimitsUpdate => {
                self.link_limits_write(route, request, at_ms)
            }
            Call::Schemas => Ok(self.schemas(request)),
            Call::SchemaCreate => self.schema_create(request, at_ms),
            Call::SchemasRead => self.schemas_read(request),
            Call::Schema => self.schema(route, request),
            Call::SchemaPatch => self.schema_patch(route, request, at_ms),
            Call::SchemaDelete => self.schema_delete(route, at_ms),
            Call::SchemaAssociate => self.schema_associate(route, request, at_ms),
            Call::SchemaDisassociate => self.schema_disassociate(route),
            Call::LinkLimitsPurge => self.link_limits_purge(route, request),
        }
    }
}

fn is_json(request: &Request) -> bool {
    request
        .header("content-type")
        .is_some_and(|kind| kind.trim_start().starts_with("application/json"))
}
