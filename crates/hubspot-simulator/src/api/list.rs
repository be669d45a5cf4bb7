//! `GET O`: pages in the order of record ids, straight from the store (`api-facts.md#5`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::answer::{Addition, Answer, RecordWriter, Selection};
use crate::api::problem::Problem;
use crate::api::request::Request;
use crate::api::routes::{Query, Route};
use crate::portal::links::End;
use crate::portal::record::Stored;
use crate::portal::{Handled, PageFault, Portal};

const MOST: usize = 100;
const MOST_WITH_HISTORY: usize = 50;

/// Scrambles ids for an `after` that can't be computed by a client.
const OPAQUE: u64 = 0x5DEE_CE66_D1CE_B00C;

impl Portal {
    pub(crate) fn list(&mut self, route: &Route, request: &Request) -> Handled {
        let query = Query::parse(&request.query);
        let history = query.list("propertiesWithHistory");
        let limit = page_limit(&query, history.is_empty())?;
        let start = self.start_of(query.get("after"))?;
        let fault = self.take_page_fault();
        let table = self.table(route.object);
        let (is_archived, linked) = (query.flag("archived"), query.list("associations"));
        let records = if is_archived {
            &table.archived
        } else {
            &table.live
        };
        let (mut page, next) = page_of(records, start, limit);
        page.retain(|(id, _)| !self.settings().hidden.contains(id));
        self.check_page(page.len())?;
        let selection = Selection::new(table, &query.list("properties"), &history);
        let writer = RecordWriter {
            table,
            settings: self.settings(),
            selection: &selection,
        };
        let mut body = Vec::with_capacity(page.len() * 700 + 200);
        body.extend_from_slice(b"{\"results\":[");
        let page = fault.map_or(page.clone(), |fault| fault.spoil(page));
        for (position, (id, stored)) in page.into_iter().enumerate() {
            if position > 0 {
                body.push(b',');
            }
            let links = if is_archived {
                None
            } else {
                let end = End {
                    object: route.object,
                    id,
                };
                self.shown_links(end, &linked)
            };
            let addition = Addition {
                links: links.as_ref(),
                ..Addition::default()
            };
            writer.stored(&mut body, id, stored, addition);
        }
        body.push(b']');
        if let Some(last) = next {
            body.extend_from_slice(
                format!(",\"paging\":{}", self.paging(request, last)).as_bytes(),
            );
        }
        body.push(b'}');
        Ok(Answer { status: 200, body })
    }

    /// The first id of a page: `after` is the last id plus one, or opaque.
    pub(crate) fn start_of(&self, after: Option<&str>) -> Result<u64, Problem> {
        let Some(after) = after.filter(|after| !after.is_empty()) else {
            return Ok(0);
        };
        let parsed = if self.settings().opaque_after {
            after
                .strip_prefix("NT")
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                .map(|id| id ^ OPAQUE)
        } else {
            after.parse().ok()
        };
        parsed.ok_or_else(|| {
            Problem::validation(format!("The after parameter is not valid: {after}"))
        })
    }

    /// `after` of the page that begins with an id.
    pub(crate) fn after_text(&self, next: u64) -> String {
        if self.settings().opaque_after {
            format!("NT{:x}", next ^ OPAQUE)
        } else {
            next.to_string()
        }
    }

    pub(crate) fn paging(&self, request: &Request, last: u64) -> Value {
        let next = last + 1;
        let after = self.after_text(next);
        let rest: Vec<&str> = request
            .query
            .split('&')
            .filter(|pair| !pair.starts_with("after=") && !pair.is_empty())
            .collect();
        let link = format!(
            "https://api.hubapi.com{}?{}&after={after}",
            request.path,
            rest.join("&")
        );
        json!({"next": {"after": after, "link": link}})
    }
}

fn page_limit(query: &Query, plain: bool) -> Result<usize, Problem> {
    let most = if plain { MOST } else { MOST_WITH_HISTORY };
    let limit = query.get("limit").map_or(Ok(10), str::parse);
    match limit {
        Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(Problem::validation(format!(
            "Invalid limit: it must be between 1 and {most}"
        ))),
    }
}

type Page<'a> = Vec<(u64, &'a Stored)>;

/// The records of a page, and the last one's id if others follow.
fn page_of(records: &BTreeMap<u64, Stored>, start: u64, limit: usize) -> (Page<'_>, Option<u64>) {
    let mut page: Page<'_> = records
        .range(start..)
        .take(limit + 1)
        .map(|(id, stored)| (*id, stored))
        .collect();
    let has_more = page.len() > limit;
    page.truncate(limit);
    let last = page.last().map(|(id, _)| *id).filter(|_| has_more);
    (page, last)
}

impl PageFault {
    /// One item missing or twice, from the middle.
    pub(crate) fn spoil<T: Copy>(self, mut page: Vec<T>) -> Vec<T> {
        if page.is_empty() {
            return page;
        }
        let middle = page.len() / 2;
        match self {
            Self::Duplicate => page.insert(middle, page[middle]),
            Self::Missing => drop(page.remove(middle)),
            Self::Unreadable | Self::Omitted => {}
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use crate::portal::record::Record;
    use crate::testing::{Desk, ids};
    use crate::world::settings::Settings;

    const CONTACTS: &str = "/crm/objects/2026-03/contacts";

    fn walk(desk: &mut Desk) -> Vec<u64> {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (status, body) = desk.get(&format!("{CONTACTS}?limit=100{after}"));
            assert_eq!(status, 200);
            seen.extend(ids(&body));
            match body["paging"]["next"]["after"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return seen,
            }
        }
    }

    /// api-facts.md#5: ascending ids, `paging` absent on the last page.
    #[test]
    fn pages_walk_all_records_in_the_order_of_their_ids() {
        for opaque_after in [false, true] {
            let mut desk = Desk::new(Settings {
                opaque_after,
                ..Settings::quick()
            });
            desk.portal.fill("contacts", 250, desk.now_ms);
            let all: Vec<u64> = desk
                .portal
                .records("contacts")
                .iter()
                .map(Record::id)
                .collect();
            assert_eq!(walk(&mut desk), all);
        }
    }

    #[test]
    fn an_after_of_ids_takes_any_id_and_an_opaque_one_does_not() {
        let mut desk = Desk::quick();
        let first = desk.contact("a@example.com");
        let second = desk.contact("b@example.com");
        assert_eq!(
            ids(&desk.get(&format!("{CONTACTS}?after={}", first + 1)).1),
            [second]
        );
        desk.portal.settings_mut().opaque_after = true;
        assert_eq!(desk.get(&format!("{CONTACTS}?after={first}")).0, 400);
    }

    #[test]
    fn limits_of_a_page_are_100_and_50_with_history() {
        let mut desk = Desk::quick();
        for (query, status) in [
            ("limit=100", 200),
            ("limit=101", 400),
            ("limit=0", 400),
            ("limit=x", 400),
        ] {
            assert_eq!(
                desk.get(&format!("{CONTACTS}?{query}")).0,
                status,
                "{query}"
            );
        }
        assert_eq!(
            desk.get(&format!("{CONTACTS}?limit=51&propertiesWithHistory=email"))
                .0,
            400
        );
        assert_eq!(
            desk.get(&format!("{CONTACTS}?limit=50&propertiesWithHistory=email"))
                .0,
            200
        );
    }

    #[test]
    fn archived_records_have_a_list_of_their_own() {
        let mut desk = Desk::quick();
        let kept = desk.contact("a@example.com");
        let gone = desk.contact("b@example.com");
        assert!(desk.portal.archive("contacts", gone, desk.now_ms));
        assert_eq!(ids(&desk.get(CONTACTS).1), [kept]);
        let (_, body) = desk.get(&format!("{CONTACTS}?archived=true&properties=email"));
        assert_eq!(ids(&body), [gone]);
        assert_eq!(body["results"][0]["archived"], true);
        assert!(body["results"][0]["archivedAt"].is_string());
        desk.now_ms += 91 * 86_400_000;
        assert_eq!(
            ids(&desk.get(&format!("{CONTACTS}?archived=true")).1),
            [0; 0],
            "purged after 90 days"
        );
    }
}
