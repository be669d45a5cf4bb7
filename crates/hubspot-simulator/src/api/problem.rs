//! HubSpot's error bodies (`api-facts.md#4`): one type for a whole request and for one input of a batch.

use serde_json::{Map, Value, json};

/// An error answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problem {
    /// The HTTP status if it is the answer to the whole request.
    pub status: u16,
    pub category: &'static str,
    pub sub_category: Option<&'static str>,
    pub message: String,
    pub context: Vec<(&'static str, Vec<String>)>,
    pub details: Vec<Detail>,
}

/// One entry of `errors[]` and of the array inside `message`.
#[derive(Clone, Debug)]
pub(crate) struct Detail {
    pub message: String,
    pub code: &'static str,
    pub property: String,
}

/// The category of a 403; its context stands in `errors[]`.
const MISSING_SCOPES: &str = "MISSING_SCOPES";

impl Problem {
    /// 403: one of these scopes is needed, and the caller has none of them.
    pub(crate) fn missing_scopes(scopes: Vec<String>) -> Self {
        let problem = Self::new(
            403,
            MISSING_SCOPES,
            "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: \
             https://developers.hubspot.com/scopes.",
        );
        problem.with("requiredGranularScopes", scopes)
    }

    pub(crate) fn new(status: u16, category: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            category,
            message: message.into(),
            ..Self::default()
        }
    }

    /// 400 `VALIDATION_ERROR`.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "VALIDATION_ERROR", message)
    }

    /// 404 with the words of a single read.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "OBJECT_NOT_FOUND", message)
    }

    /// 400 with the embedded array of bad values.
    pub(crate) fn values(details: Vec<Detail>, portal_id: u64) -> Self {
        let array: Vec<Value> = details
            .iter()
            .map(|detail| {
                json!({"isValid": false, "message": detail.message, "error": detail.code, "name": detail.property,
                       "localizedErrorMessage": detail.message, "portalId": portal_id})
            })
            .collect();
        let message = format!("Property values were not valid: {}", Value::Array(array));
        Self {
            details,
            ..Self::validation(message)
        }
    }

    pub(crate) fn with(mut self, key: &'static str, values: Vec<String>) -> Self {
        self.context.push((key, values));
        self
    }

    /// A single write's 409 names the other record in its message alone (`api-facts.md#4`).
    pub(crate) fn without_context(mut self) -> Self {
        self.context.clear();
        self
    }

    /// Whether it is the entry for ids that found no record.
    pub(crate) fn is_missing_ids(&self) -> bool {
        self.category == "OBJECT_NOT_FOUND"
            && self.context.first().is_some_and(|(key, _)| *key == "ids")
    }

    fn context_value(&self) -> Option<Value> {
        let entries = self
            .context
            .iter()
            .map(|(key, values)| ((*key).to_owned(), json!(values)));
        (!self.context.is_empty()).then(|| Value::Object(entries.collect()))
    }

    fn common(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("status".to_owned(), json!("error"));
        body.insert("message".to_owned(), json!(self.message));
        body.insert("category".to_owned(), json!(self.category));
        if let Some(sub_category) = self.sub_category {
            body.insert("subCategory".to_owned(), json!(sub_category));
        }
        if let Some(context) = self.context_value() {
            body.insert("context".to_owned(), context);
        }
        body
    }

    /// The body of an answer that is nothing but this error.
    pub(crate) fn body(&self, correlation_id: &str) -> Value {
        let mut body = self.common();
        body.insert("correlationId".to_owned(), json!(correlation_id));
        if !self.details.is_empty() {
            let details: Vec<Value> = self
                .details
                .iter()
                .map(|detail| {
                    json!({"message": detail.message, "code": detail.code,
                           "context": {"propertyName": [detail.property]}})
                })
                .collect();
            body.insert("errors".to_owned(), Value::Array(details));
        }
        if self.category == MISSING_SCOPES {
            let context = body.remove("context");
            let message = "One or more of the following scopes are required.";
            body.insert(
                "errors".to_owned(),
                json!([{"message": message, "context": context}]),
            );
            body.insert(
                "links".to_owned(),
                json!({"scopes": "https://developers.hubspot.com/scopes"}),
            );
        }
        Value::Object(body)
    }

    /// The entry in `errors` of a 207.
    pub(crate) fn entry(&self) -> Value {
        Value::Object(self.common())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// api-facts.md#4: the message embeds the array, `errors[]` repeats it with `context.propertyName`.
    #[test]
    fn a_bad_value_is_named_twice() {
        let detail = Detail {
            message: "no".to_owned(),
            code: "INVALID_OPTION",
            property: "vip".to_owned(),
        };
        let body = Problem::values(vec![detail], 7).body("c-1");
        assert_eq!(body["errors"][0]["context"]["propertyName"][0], "vip");
        let message = body["message"].as_str().expect("a message");
        assert!(
            message.starts_with("Property values were not valid: [{"),
            "{message}"
        );
        assert!(message.contains(r#""error":"INVALID_OPTION""#), "{message}");
    }
}
