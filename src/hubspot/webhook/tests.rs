//! Signatures by the published vectors, hostile headers, and what events mean.

use std::time::Duration;

use http::HeaderValue;
use rustix::time::{ClockId, clock_gettime};

use super::*;

const SECRET: &str = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
const URI: &str = "https://www.example.com/webhook_uri";
const OURS: &str = "https://sync.example.com/webhooks/hubspot";
const BODY: &str = r#"[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]"#;

struct Signed {
    version: SignatureVersion,
    method: &'static str,
    uri: &'static str,
    body: Vec<u8>,
    headers: HeaderMap,
    now: i64,
}

impl Signed {
    fn v3(uri: &'static str, body: &str, timestamp: &str, signature: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("X-HubSpot-Signature-v3", signature.parse().expect("text"));
        headers.insert(
            "X-HubSpot-Request-Timestamp",
            timestamp.parse().expect("text"),
        );
        Self {
            version: SignatureVersion::V3,
            method: "POST",
            uri,
            body: body.as_bytes().to_vec(),
            headers,
            now: timestamp.parse().unwrap_or_default(),
        }
    }

    fn hash(version: SignatureVersion, method: &'static str, body: &str, signature: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("X-HubSpot-Signature", signature.parse().expect("text"));
        let name = HeaderValue::from_static(version.as_str());
        headers.insert("X-HubSpot-Signature-Version", name);
        Self {
            version,
            method,
            uri: URI,
            body: body.as_bytes().to_vec(),
            headers,
            now: 0,
        }
    }

    fn check(&self, secrets: &[&str]) -> Result<(), DeliveryRefusal> {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|text| SecretString::from(*text))
            .collect();
        let delivery = Delivery {
            method: self.method,
            uri: self.uri,
            headers: &self.headers,
            body: &self.body,
        };
        verify(
            &secrets,
            self.version,
            &delivery,
            Timestamp::from_millis(self.now),
        )
    }
}

/// The vectors of `hubspot/api-facts.md#11`: 1 to 5 are HubSpot's own, from its documentation and its client libraries.
fn vectors() -> Vec<Signed> {
    let utf8 = r#"[{"eventId":7,"subscriptionId":12345,"portalId":62515,"appId":54321,"occurredAt":1790000000123,"subscriptionType":"object.propertyChange","attemptNumber":0,"objectId":123,"objectTypeId":"0-1","propertyName":"firstname","propertyValue":"Zoë 東京","changeSource":"CRM_UI","sourceId":"userId:1"}]"#;
    let query = "https://sync.example.com/webhooks/hubspot?src=hs%3Aapp%2Fv3&x=%28a%29&y=a%20b";
    let (v1, v2) = (SignatureVersion::V1, SignatureVersion::V2);
    vec![
        Signed::hash(
            v1,
            "POST",
            BODY,
            "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de",
        ),
        Signed::hash(
            v2,
            "GET",
            "",
            "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e",
        ),
        Signed::hash(
            v2,
            "POST",
            r#"{"example_field":"example_value"}"#,
            "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900",
        ),
        Signed::v3(
            URI,
            "{'example_field':'example_value'}",
            "1693657560000",
            "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=",
        ),
        Signed::v3(
            URI,
            "{'example_field':'example_value'}",
            "1700000300000",
            "RnbPH7+UMKVkbV32P8bz450N4M56aPmcru1+D3kSDtw=",
        ),
        Signed::v3(
            OURS,
            BODY,
            "1790000001000",
            "nDR8Kt40soQthcf6bhXhr1ivBdsc4hNpo7YXi5/znMI=",
        ),
        Signed::v3(
            query,
            "[]",
            "1790000001000",
            "AglZL1f13BNTXSFpztiDFMX9f8MrdBMu2vG3fmOwhn8=",
        ),
        Signed::v3(
            query,
            "[]",
            "1790000001000",
            "LHonO8eKIGjxsw65+poKO7/cTyXGohEINpZZUIsWLQQ=",
        ),
        Signed::v3(
            OURS,
            utf8,
            "1790000001000",
            "bBrnEpSPTGWvx1qmiWId0Ov3XZVELY715aF20GOlnDQ=",
        ),
    ]
}

#[test]
fn every_vector_is_believed_with_its_secret_and_no_other() {
    for (index, signed) in vectors().iter().enumerate() {
        assert_eq!(signed.check(&[SECRET]), Ok(()), "vector {}", index + 1);
        assert_eq!(
            signed.check(&["old", SECRET]),
            Ok(()),
            "vector {}",
            index + 1
        );
        assert_eq!(
            signed.check(&["other"]),
            Err(DeliveryRefusal::Wrong),
            "vector {}",
            index + 1
        );
        assert_eq!(
            signed.check(&[]),
            Err(DeliveryRefusal::Wrong),
            "vector {}",
            index + 1
        );
    }
}

#[test]
fn one_changed_byte_of_the_body_is_not_believed() {
    for (index, mut signed) in vectors().into_iter().enumerate() {
        match signed.body.last_mut() {
            Some(byte) => *byte ^= 1,
            None => signed.body.push(b' '),
        }
        assert_eq!(
            signed.check(&[SECRET]),
            Err(DeliveryRefusal::Wrong),
            "vector {}",
            index + 1
        );
    }
}

#[test]
fn a_v3_signature_holds_five_minutes_either_way() {
    let minutes = 60_000;
    for (offset, expected) in [
        (5 * minutes, Ok(())),
        (-5 * minutes, Ok(())),
        (5 * minutes + 1, Err(DeliveryRefusal::Stale)),
        (-5 * minutes - 1, Err(DeliveryRefusal::Stale)),
    ] {
        let mut signed = vectors().remove(5);
        signed.now += offset;
        assert_eq!(signed.check(&[SECRET]), expected, "{offset}");
    }
    for timestamp in [
        "",
        "soon",
        "+1790000001000",
        "1790000001000.0",
        "-1",
        "99999999999999999999",
    ] {
        let mut signed = vectors().remove(5);
        signed.headers.insert(
            "x-hubspot-request-timestamp",
            timestamp.parse().expect("text"),
        );
        assert_eq!(
            signed.check(&[SECRET]),
            Err(DeliveryRefusal::NoTimestamp),
            "{timestamp}"
        );
    }
}

#[test]
fn headers_that_are_missing_or_doubled_are_refused() {
    for index in 0..9 {
        let mut signed = vectors().remove(index);
        let name = match signed.version {
            SignatureVersion::V3 => "x-hubspot-signature-v3",
            SignatureVersion::V2 | SignatureVersion::V1 => "x-hubspot-signature",
        };
        let value = signed.headers.get(name).expect("signed").clone();
        signed.headers.append(name, value);
        assert_eq!(
            signed.check(&[SECRET]),
            Err(DeliveryRefusal::Missing),
            "doubled, {index}"
        );
        signed.headers.remove(name);
        assert_eq!(
            signed.check(&[SECRET]),
            Err(DeliveryRefusal::Missing),
            "missing, {index}"
        );
    }
    let mut signed = vectors().remove(0);
    signed.version = SignatureVersion::V2;
    assert_eq!(
        signed.check(&[SECRET]),
        Err(DeliveryRefusal::Missing),
        "v1 where v2 is wanted"
    );
}

#[test]
fn a_signature_that_is_empty_or_cut_is_refused_in_every_version() {
    for mut signed in vectors() {
        let name = match signed.version {
            SignatureVersion::V3 => "x-hubspot-signature-v3",
            SignatureVersion::V1 | SignatureVersion::V2 => "x-hubspot-signature",
        };
        let whole = signed.headers[name].to_str().expect("text").to_owned();
        assert_eq!(signed.check(&[SECRET]), Ok(()), "{whole}");
        for length in (0..whole.len()).chain([whole.len() + 2]) {
            let other: String = whole.chars().chain("00".chars()).take(length).collect();
            signed
                .headers
                .insert(name, other.parse().expect("a header"));
            assert_eq!(
                signed.check(&[SECRET]),
                Err(DeliveryRefusal::Wrong),
                "{other:?}"
            );
        }
    }
}

#[test]
fn signatures_that_are_no_base64_or_hex_are_wrong() {
    for text in ["!", "AAAA", "é", "%%%%", &"A".repeat(4000)] {
        let mut signed = vectors().remove(5);
        let value = HeaderValue::from_bytes(text.as_bytes()).expect("a header");
        signed.headers.insert("x-hubspot-signature-v3", value);
        assert!(signed.check(&[SECRET]).is_err(), "{text}");
        let mut signed = vectors().remove(0);
        let value = HeaderValue::from_bytes(text.as_bytes()).expect("a header");
        signed.headers.insert("x-hubspot-signature", value);
        assert!(signed.check(&[SECRET]).is_err(), "{text}");
    }
}

#[test]
fn exactly_twelve_escapes_are_decoded() {
    assert_eq!(
        decode_uri("a%3Ab%2fc%3F%40%21%24%27%28%29%2A%2C%3B"),
        "a:b/c?@!$'()*,;"
    );
    for kept in ["%20", "%26", "%3D", "%25", "%", "%3", "%é", "%25%33A"] {
        assert_eq!(decode_uri(kept), kept);
    }
}

fn one(json: &str) -> Event {
    let mut events = parse(format!("[{json}]").as_bytes()).expect("events");
    assert_eq!(events.len(), 1);
    events.remove(0)
}

#[test]
fn the_old_and_the_generic_form_mean_the_same() {
    let old = one(
        r#"{"eventId":3816279340,"subscriptionId":25,"portalId":33,"appId":1160452,"occurredAt":1462216307945,
            "subscriptionType":"contact.propertyChange","attemptNumber":0,"objectId":1246965,
            "propertyName":"lifecyclestage","propertyValue":"subscriber","changeSource":"CRM_UI","sourceId":"userId:882761034"}"#,
    );
    let generic = one(
        r#"{"eventId":"6","portalId":"33","occurredAt":"2016-05-02T19:11:47.945Z","eventType":"object.propertyChange",
            "objectId":"1246965","objectTypeId":"0-1","propertyName":"lifecyclestage","propertyValue":"subscriber"}"#,
    );
    for event in [&old, &generic] {
        assert_eq!(event.kind(), Some(EventKind::PropertyChange));
        assert_eq!(
            event.object.as_ref().map(ObjectType::as_str),
            Some("contacts")
        );
        assert_eq!(event.hs_id, Some(HubspotId(1_246_965)));
        assert_eq!(event.portal_id, Some(PortalId(33)));
        assert_eq!(event.value.as_deref(), Some("subscriber"));
        assert_eq!(
            event.occurred_at.map(Timestamp::millis),
            Some(1_462_216_307_945)
        );
    }
    assert_eq!(old.event_id, Some(3_816_279_340));
    assert!(!format!("{old:?}").contains("subscriber"));
}

#[test]
fn a_change_is_the_app_s_own_by_its_source() {
    let own = |more: &str| {
        let event = one(&format!(
            r#"{{"subscriptionType":"contact.propertyChange","objectId":7,"appId":1160452,{more}}}"#
        ));
        event.own
    };
    assert!(own(r#""changeSource":"INTEGRATION","sourceId":"1160452""#));
    assert!(!own(r#""changeSource":"INTEGRATION","sourceId":"1160453""#));
    assert!(!own(r#""changeSource":"CRM_UI","sourceId":"1160452""#));
    assert!(!own(r#""changeSource":"INTEGRATION""#));
    assert!(!one(r#"{"changeSource":"INTEGRATION"}"#).own);
}

#[test]
fn merges_name_all_their_records_and_associations_where_they_start() {
    let merge = one(
        r#"{"eventId":4,"portalId":33,"subscriptionType":"contact.merge","objectId":100,"primaryObjectId":100,
            "mergedObjectIds":[200,300],"newObjectId":null,"numberOfPropertiesMoved":14}"#,
    );
    assert_eq!(merge.hs_id, Some(HubspotId(100)));
    assert_eq!(merge.others, [200, 300, 100].map(HubspotId));
    let association = one(
        r#"{"portalId":33,"subscriptionType":"contact.associationChange","associationType":"CONTACT_TO_COMPANY",
            "fromObjectId":1246965,"toObjectId":987,"associationRemoved":false}"#,
    );
    assert_eq!(association.hs_id, Some(HubspotId(1_246_965)));
    assert_eq!(association.others, [HubspotId(987)]);
}

#[test]
fn the_record_of_an_association_is_one_of_the_object_that_its_id_is_of() {
    for (fields, expected) in [
        (
            r#""subscriptionType":"contact.associationChange","fromObjectId":1,"toObjectId":2"#,
            ("contacts", 1, &[2][..]),
        ),
        // The company's subscription, told from the contact's end.
        (
            r#""subscriptionType":"object.associationChange","objectTypeId":"0-2","fromObjectTypeId":"0-1","fromObjectId":1,"toObjectId":2"#,
            ("contacts", 1, &[2]),
        ),
        (
            r#""subscriptionType":"company.associationChange","associationType":"CONTACT_TO_COMPANY","fromObjectId":1,"toObjectId":2"#,
            ("contacts", 1, &[2]),
        ),
        (
            r#""subscriptionType":"object.associationChange","associationType":"LINE_ITEM_TO_DEAL","fromObjectId":1,"toObjectId":2"#,
            ("line_items", 1, &[2]),
        ),
        (
            r#""subscriptionType":"object.associationChange","associationType":"CONTACT_TO_COMPANY","objectId":1"#,
            ("contacts", 1, &[]),
        ),
        // A label of the portal's names no object.
        (
            r#""subscriptionType":"company.associationChange","associationType":"PARENT_COMPANY_TO_CHILD_COMPANY","fromObjectId":1"#,
            ("companies", 1, &[]),
        ),
        (
            r#""subscriptionType":"company.associationChange","objectId":1"#,
            ("companies", 1, &[]),
        ),
        (
            r#""subscriptionType":"object.associationChange","objectTypeId":"2-77","objectId":1"#,
            ("2-77", 1, &[]),
        ),
    ] {
        let event = one(&format!("{{{fields}}}"));
        let others: Vec<i64> = event.others.iter().map(|id| id.0).collect();
        let object = event.object.as_ref().map(ObjectType::as_str);
        let found = (object, event.hs_id.map(|id| id.0), &others[..]);
        assert_eq!(
            found,
            (Some(expected.0), Some(expected.1), expected.2),
            "{fields}"
        );
    }
}

#[test]
fn what_makes_no_sense_is_kept_without_a_record_or_type() {
    let event =
        one(r#"{"objectId":"x","occurredAt":"soon","portalId":null,"mergedObjectIds":null}"#);
    assert_eq!(
        (event.hs_id, event.kind(), event.occurred_at, event.problem),
        (None, None, None, None)
    );
    assert_eq!(
        one(r#"{"subscriptionType":"contact.creation","objectId":-1}"#).hs_id,
        None
    );
    let hidden = one(
        r#"{"subscriptionType":"contact.propertyChange","objectId":1,"propertyName":"ssn","propertyValue":"REDACTED"}"#,
    );
    assert_eq!(hidden.value, None);
}

#[test]
fn an_odd_event_keeps_no_other_out() {
    const GOOD: &str = r#"{"subscriptionType":"contact.creation","objectId":7,"portalId":33}"#;
    for (odd, problem) in [
        ("1", Some("the event is not a JSON object")),
        ("[]", Some("the event is not a JSON object")),
        ("null", Some("the event is not a JSON object")),
        (r#"{"\ud800":1}"#, None),
        (
            r#"{"objectId":1,"objectId":2}"#,
            Some("the event says one of its fields twice, and not the same"),
        ),
        (
            r#"{"portalId":{}}"#,
            Some("the event's portalId is not a number"),
        ),
        (
            r#"{"portalId":"mine"}"#,
            Some("the event's portalId is not a number"),
        ),
        (
            r#"{"portalId":1e400}"#,
            Some("the event's portalId is not a number"),
        ),
        (r#"{"objectId":1e400}"#, None),
        (r#"{"objectId":[1]}"#, None),
        (r#"{"subscriptionType":"\udfff"}"#, None),
        ("{}", None),
    ] {
        let body = format!("[{GOOD},{odd},{GOOD}]");
        let events = parse(body.as_bytes()).expect(odd);
        assert_eq!(events.len(), 3, "{odd}");
        assert_eq!(
            (events[1].hs_id, events[1].problem),
            (None, problem),
            "{odd}"
        );
        assert_eq!(events[1].portal_id, None, "{odd}");
        for good in [&events[0], &events[2]] {
            assert_eq!(
                (good.hs_id, good.problem),
                (Some(HubspotId(7)), None),
                "{odd}"
            );
        }
    }
}

#[test]
fn what_decides_nothing_may_be_odd() {
    let change =
        r#""subscriptionType":"contact.propertyChange","objectId":7,"propertyName":"city""#;
    for odd in [
        r#""propertyValue":"half \ud83d""#,
        r#""propertyValue":1e400"#,
        r#""propertyValue":{"a":1}"#,
        r#""occurredAt":1e400"#,
        r#""x":1,"x":2"#,
        r#""objectId":7"#,
    ] {
        let event = one(&format!("{{{change},{odd}}}"));
        assert_eq!(
            (event.hs_id, event.problem),
            (Some(HubspotId(7)), None),
            "{odd}"
        );
        assert_eq!((event.value, event.occurred_at), (None, None), "{odd}");
    }
    let merge = r#""subscriptionType":"contact.merge","primaryObjectId":7"#;
    for (list, others) in [
        ("[8,\"9\",{},1e400,\"\\ud800\"]", vec![8, 9, 7]),
        ("8", vec![8, 7]),
        ("\"8\"", vec![8, 7]),
        ("{\"a\":8}", vec![7]),
        ("true", vec![7]),
    ] {
        let event = one(&format!("{{{merge},\"mergedObjectIds\":{list}}}"));
        let others: Vec<_> = others.into_iter().map(HubspotId).collect();
        assert_eq!(
            (event.hs_id, event.others),
            (Some(HubspotId(7)), others),
            "{list}"
        );
        assert_eq!(event.problem, None);
    }
}

#[test]
fn an_event_without_its_array_is_taken() {
    let event = parse(br#" {"subscriptionType":"contact.creation","objectId":7} "#);
    assert_eq!(event.expect("an event")[0].hs_id, Some(HubspotId(7)));
}

#[test]
fn bodies_that_are_no_events_are_refused() {
    for body in [
        "",
        "{}",
        r#"{"objectId":7}"#,
        r#"{"subscriptionType":"contact.creation"}"#,
        "null",
        "1",
        "[{]",
        "[{}",
        "\"x\"",
        "[{}] x",
        "\u{feff}[]",
    ] {
        assert_eq!(parse(body.as_bytes()), Err(NotEvents), "{body}");
    }
    assert_eq!(parse("[".repeat(100_000).as_bytes()), Err(NotEvents));
    assert_eq!(parse(b"[]"), Ok(Vec::new()));
}

#[test]
fn text_that_is_none_spoils_no_event_of_its_body() {
    let event = r#"{"subscriptionType":"contact.propertyChange","objectId":7,"propertyName":"city","propertyValue":"a VALUE"}"#;
    let half = event.replace("VALUE", "\\ud83d");
    let bytes: Vec<u8> = [
        b"[",
        event.replace("VALUE", "\u{1}").as_bytes(),
        b",",
        half.as_bytes(),
        b"]",
    ]
    .concat()
    .into_iter()
    .map(|byte| if byte == 1 { 0xff } else { byte })
    .collect();
    let values = |body: &[u8]| {
        let events = parse(body).expect("events");
        let values = events.into_iter().map(|event| event.value);
        values.collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(values(&bytes), [text("a \u{fffd}"), text("a \u{fffd}")]);
    // Half a letter in one value: the event says nothing of it, and its record is read.
    assert_eq!(values(format!("[{half}]").as_bytes()), [None]);
    let line = event.replace("VALUE", "\n");
    assert_eq!(values(format!("[{line}]").as_bytes()), [text("a \n")]);
}

/// What the work on a body is counted by, the CPU time of this thread: of four times the length it is not sixteen times as
/// long.
fn grows_linearly(what: &str, body: impl Fn(usize) -> Vec<u8>, events: usize) {
    let time = |body: &[u8]| {
        let spent = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        let shortest = (0..3).map(|_| {
            let began = spent();
            assert_eq!(
                parse(body).map_or(0, |events| events.len()),
                events,
                "{what}"
            );
            spent().saturating_sub(began)
        });
        shortest.min().unwrap_or_default()
    };
    let (short, long) = (time(&body(20_000)), time(&body(80_000)));
    assert!(
        long < short * 10 + Duration::from_millis(20),
        "{what}: {short:?}, {long:?}"
    );
}

#[test]
fn the_work_on_a_body_grows_with_its_length_alone() {
    let repeated = |field: &'static str| {
        move |times: usize| {
            let fields = vec![field; times].join(",");
            format!(r#"[{{"subscriptionType":"contact.creation",{fields}}}]"#).into_bytes()
        }
    };
    grows_linearly("a field of ours", repeated(r#""objectId":7"#), 1);
    grows_linearly("a field of nobody's", repeated(r#""x":7"#), 1);
    grows_linearly("names that are no text", repeated(r#""\ud83d":7"#), 1);
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"[{{"objectId":{open}{close}}}]"#).into_bytes()
    };
    grows_linearly("lists in lists", nested, 1);
    let digits = |count: usize| format!(r#"[{{"objectId":{}}}]"#, "9".repeat(count)).into_bytes();
    grows_linearly("a long number", digits, 1);
    let tiny = |count: usize| format!("[{}]", vec!["{}"; count].join(",")).into_bytes();
    grows_linearly("more events than are taken", tiny, 0);
}
