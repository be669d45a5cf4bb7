//! `associationChange`, in the classic and the generic form (`api-facts.md#10`).

use serde_json::{Value, json};

use crate::portal::Portal;
use crate::portal::commit::Author;
use crate::portal::links::End;
use crate::portal::logs::LinkLogEntry;
use crate::portal::record::Source;

impl Portal {
    /// Tells the app one direction of one association; the other direction and other types are events of their own.
    pub(crate) fn announce_link(
        &mut self,
        (from, to): (End, End),
        entry: &LinkLogEntry,
        author: &Author,
    ) {
        let Some(webhooks) = self.settings().webhooks.clone() else {
            return;
        };
        let mut event = self.event(&webhooks, from.object, "associationChange", entry.at_ms);
        let is_generic = event["subscriptionType"] == "object.associationChange";
        let spec = |end: End| self.table(end.object).spec;
        let (from_spec, to_spec) = (spec(from), spec(to));
        if is_generic {
            if let Value::Object(fields) = &mut event {
                fields.remove("objectTypeId");
            }
            event["fromObjectTypeId"] = json!(from_spec.type_id);
            event["toObjectTypeId"] = json!(to_spec.type_id);
            event["associationTypeId"] = json!(entry.kind.type_id);
            event["associationCategory"] = json!(entry.kind.category.name());
        } else {
            let ends = format!("{}_TO_{}", from_spec.upper, to_spec.upper);
            event["associationType"] = json!(ends);
        }
        event["fromObjectId"] = json!(from.id);
        event["toObjectId"] = json!(to.id);
        event["associationRemoved"] = json!(entry.removed);
        let definition = self.link_types().find(from.object, to.object, entry.kind);
        let is_primary = definition.is_some_and(|definition| definition.role.is_primary());
        event["isPrimaryAssociation"] = json!(is_primary);
        let app = self.settings().app_id.to_string();
        let (source, id) = match author.source {
            Source::Person(user) => ("USER", format!("userId:{user}")),
            Source::OtherApp(other) => ("INTEGRATION", other.to_string()),
            Source::Integration => ("INTEGRATION", app),
            Source::Import | Source::Merge | Source::Associations => {
                ("ASSOCIATIONS", String::new())
            }
        };
        event["changeSource"] = json!(source);
        event["sourceId"] = json!(id);
        self.send_event(&webhooks, &event, entry.at_ms);
    }
}
