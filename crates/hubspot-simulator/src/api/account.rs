//! Owners, pipelines and what the account says of itself (`api-facts.md#1`–`#3`). Read-only.

use serde_json::{Value, json};

use crate::api::answer::{Answer, spelled};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::{Query, Route};
use crate::api::single::body_of;
use crate::catalogue::pipelines::{Pipeline, Stages};
use crate::catalogue::{OWNERS, Owner};
use crate::portal::{Handled, Portal};
use crate::world::auth::static_scopes;
use crate::world::settings::Settings;
use crate::world::time;

/// When everything in a new portal was made.
const FOUNDED: &str = "2021-03-04T09:12:31.510Z";

fn owner_json(owner: &Owner) -> Value {
    let user_id = Some(owner.user_id).filter(|_| !owner.archived);
    json!({"id": owner.id.to_string(), "email": owner.email, "type": "PERSON", "firstName": owner.first_name,
           "lastName": owner.last_name, "userId": user_id, "userIdIncludingInactive": owner.user_id,
           "createdAt": FOUNDED, "updatedAt": FOUNDED, "archived": owner.archived})
}

fn pipeline_json(pipeline: &Pipeline, known: &Stages, settings: &Settings) -> Value {
    let key = known.metadata;
    let named = |id: &str, label: &str| {
        let given = settings.stage_labels.get(id);
        given.cloned().unwrap_or_else(|| label.to_owned())
    };
    let there = pipeline.stages.iter().enumerate();
    let there = there.filter(|(_, (id, ..))| !settings.deleted_stages.contains(*id));
    let stages = there.map(|(position, (id, label, metadata))| {
        json!({"id": id, "label": named(id, label), "displayOrder": position, "metadata": {(key): metadata}, "archived": false,
               "createdAt": FOUNDED, "updatedAt": FOUNDED, "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT"})
    });
    json!({"id": pipeline.id, "label": named(pipeline.id, pipeline.label), "displayOrder": 0, "stages": stages.collect::<Vec<_>>(),
           "createdAt": FOUNDED, "updatedAt": FOUNDED, "archived": false})
}

impl Portal {
    pub(crate) fn owners(request: &Request) -> Handled {
        let query = Query::parse(&request.query);
        let limit: usize = query
            .get("limit")
            .map_or(Ok(100), str::parse)
            .unwrap_or_default();
        if !(1..=500).contains(&limit) {
            return Err(Problem::validation(
                "Invalid limit: it must be between 1 and 500",
            ));
        }
        let after: u64 = query
            .get("after")
            .and_then(|after| after.parse().ok())
            .unwrap_or_default();
        let (archived, email) = (query.flag("archived"), query.get("email"));
        let mut all: Vec<&Owner> = OWNERS
            .iter()
            .filter(|owner| {
                owner.archived == archived
                    && owner.id > after
                    && email.is_none_or(|email| email == owner.email)
            })
            .collect();
        all.sort_by_key(|owner| owner.id);
        let results: Vec<Value> = all
            .iter()
            .take(limit)
            .map(|owner| owner_json(owner))
            .collect();
        let mut body = json!({"results": results});
        if all.len() > limit {
            body["paging"] = json!({"next": {"after": all[limit - 1].id.to_string()}});
        }
        Ok(Answer::json(200, &body))
    }

    pub(crate) fn owner(route: &Route, request: &Request) -> Handled {
        let by_user = Query::parse(&request.query).get("idProperty") == Some("userId");
        let id = |owner: &Owner| {
            if by_user {
                owner.user_id.to_string()
            } else {
                owner.id.to_string()
            }
        };
        let owner = OWNERS.iter().find(|owner| id(owner) == route.name);
        let owner = owner.ok_or_else(|| Problem::not_found("resource not found"))?;
        Ok(Answer::json(200, &owner_json(owner)))
    }

    pub(crate) fn pipelines(&self, route: &Route) -> Answer {
        let stages = self.table(route.object).spec.stages;
        let pipelines = stages
            .into_iter()
            .flat_map(|known| known.pipelines.iter().map(move |one| (one, known)));
        let settings = self.settings();
        let results: Vec<Value> = pipelines
            .filter(|(pipeline, _)| !settings.deleted_stages.contains(pipeline.id))
            .map(|(pipeline, known)| pipeline_json(pipeline, known, settings))
            .collect();
        Answer::json(200, &json!({"results": results}))
    }

    pub(crate) fn pipeline(&self, route: &Route) -> Handled {
        let known = self.table(route.object).spec.stages;
        let found = known.and_then(|known| {
            let mut pipelines = known.pipelines.iter();
            let deleted = &self.settings().deleted_stages;
            let found = pipelines.find(|one| one.id == route.name && !deleted.contains(one.id));
            Some((found?, known))
        });
        let (pipeline, known) = found.ok_or_else(|| Problem::not_found("resource not found"))?;
        Ok(Answer::json(
            200,
            &pipeline_json(pipeline, known, self.settings()),
        ))
    }

    pub(crate) fn account_details(&self, now_ms: i64) -> Answer {
        let settings = self.settings();
        let offset_ms = time::offset_ms(now_ms, time::zone(&settings.time_zone));
        let (sign, minutes) = (
            if offset_ms < 0 { "-" } else { "+" },
            offset_ms.abs() / 60_000,
        );
        let offset = format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        Answer::json(
            200,
            &json!({"portalId": settings.portal_id, "timeZone": settings.time_zone, "accountType": "DEVELOPER_TEST",
                    "companyCurrency": "USD", "additionalCurrencies": ["EUR"], "utcOffset": offset,
                    "utcOffsetMilliseconds": offset_ms, "uiDomain": "app.hubspot.com", "dataHostingLocation": "na1"}),
        )
    }

    pub(crate) fn account_usage(&mut self, now_ms: i64) -> Answer {
        let used = self.used_today(now_ms);
        let settings = self.settings();
        let at = |ms: i64| spelled(&time::iso(ms), settings);
        let resets_ms = time::next_midnight(now_ms, time::zone(&settings.time_zone));
        let usage = json!({"name": "private-apps-api-calls-daily", "usageLimit": settings.daily_limit,
            "currentUsage": used, "collectedAt": at(now_ms), "fetchStatus": "SUCCESS", "resetsAt": at(resets_ms)});
        Answer::json(200, &json!({"results": [usage]}))
    }

    /// Introspection of a static token: the token is in the body.
    pub(crate) fn token_info(&self, request: &Request) -> Handled {
        let body = body_of(request)?;
        let key = body
            .get("tokenKey")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let settings = self.settings();
        if !settings.tokens.0.iter().any(|known| known == key) {
            return Err(Problem::not_found("The token is not known"));
        }
        let scopes: Vec<&String> = static_scopes()
            .iter()
            .filter(|scope| !settings.denied_scopes.contains(*scope))
            .collect();
        // A service key is no app's.
        let app = (settings.app_id > 0).then_some(settings.app_id);
        let body = json!({"userId": OWNERS[0].user_id, "hubId": settings.portal_id, "appId": app, "scopes": scopes});
        Ok(Answer::json(200, &body))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Desk;
    use crate::world::settings::{DEFAULT_TOKEN, Settings};

    #[test]
    fn the_account_says_who_it_is_and_when_its_day_ends() {
        let mut desk = Desk::new(Settings::default());
        let (_, details) = desk.get("/account-info/2026-03/details");
        assert_eq!(
            (&details["timeZone"], &details["utcOffsetMilliseconds"]),
            (&json!("US/Eastern"), &json!(-18_000_000))
        );
        let (_, usage) = desk.get("/account-info/v3/api-usage/daily/private-apps");
        assert_eq!(usage["results"][0]["currentUsage"], 2);
        assert_eq!(usage["results"][0]["resetsAt"], "2026-11-25T05:00:00Z");
        let (status, info) = desk.post(
            "/oauth/v2/private-apps/get/access-token-info",
            &json!({"tokenKey": DEFAULT_TOKEN}),
        );
        assert_eq!((status, &info["hubId"]), (200, &details["portalId"]));
    }

    #[test]
    fn owners_come_by_page_and_the_archived_one_apart() {
        let mut desk = Desk::quick();
        let (_, page) = desk.get("/crm/owners/2026-03?limit=3");
        let after = page["paging"]["next"]["after"]
            .as_str()
            .expect("more")
            .to_owned();
        let (_, rest) = desk.get(&format!("/crm/owners/2026-03?limit=3&after={after}"));
        assert_eq!(
            (
                page["results"].as_array().map(Vec::len),
                rest["results"].as_array().map(Vec::len)
            ),
            (Some(3), Some(1))
        );
        let (_, archived) = desk.get("/crm/v3/owners?archived=true");
        assert_eq!(
            (
                &archived["results"][0]["archived"],
                &archived["results"][0]["userId"]
            ),
            (&json!(true), &Value::Null)
        );
    }

    #[test]
    fn deals_and_tickets_have_pipelines_and_contacts_none() {
        let mut desk = Desk::quick();
        let (_, deals) = desk.get("/crm/pipelines/2026-09/deals");
        assert_eq!(
            deals["results"][0]["stages"][5]["metadata"]["probability"],
            "1.0"
        );
        let (_, ticket) = desk.get("/crm/v3/pipelines/tickets/0");
        assert_eq!(ticket["stages"][3]["metadata"]["ticketState"], "CLOSED");
        assert_eq!(
            desk.get("/crm/v3/pipelines/contacts").1["results"],
            json!([])
        );
    }
}
