//! No report repeats a secret, however it was written and whatever stands around it.

use super::*;

/// Everything that is ever printed of a report.
fn everything(text: &str) -> String {
    let Checked {
        report, settings, ..
    } = checked(text);
    let json = report.to_json();
    let shown = render_settings(Path::new("c.toml"), &settings);
    let lines: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    format!(
        "{}{}{json}{report:?}{shown}{lines:?}",
        report.render(Drawing::Plain),
        report.render(Drawing::Coloured)
    )
}

#[test]
fn a_secret_written_in_clear_is_never_repeated() {
    let secret = "5ecretValue";
    for line in [
        "access_token = \"5ecretValue\"",
        "access_token = '''\n5ecretValue'''",
        "acess_token = \"5ecretValue\"",
        "access_token = 5ecretValue",
        "access_token = \"5ecretValue",
        "access_token = { env = \"5ecretValue-with-dashes\" }",
        "access_token = { value = \"5ecretValue\" }",
        "access_token = { env = \"pat-na1-5ecretValue\" }",
        "access_token = { env = \"pat_na1_5ecretValue\" }",
        "access_token = { env = \"CJSP5qf1KhICAQEYs4MOIJSP5ecretValue\" }",
        "access_token = { credential = \"a5ecretValue0123456789abcdef\" }",
        "access_token = { env = \"A\", evn = \"5ecretValue\" }",
        "access_token = { credential = \"a/5ecretValue\" }",
        "access_token = { file = \"pat-na1-5ecretValue\" }",
        "access_token = [\"5ecretValue\"]",
        "developer_key = { file = [\"5ecretValue\"] }",
        "developer_key = { env = [\"5ecretValue\"] }",
        "client_secret = [{ file = [\"5ecretValue\"] }]",
        "oauth = { client_secret = \"5ecretValue\", typo = 1 }",
        "access_token = \"5ecretValue\" trailing",
        "token = \"5ecretValue\"",
        "x = \"pat-na1-5ecretValue\"",
        "acces_tokn = \"5ecretValue\"",
        "acces_tokn \"5ecretValue\"",
        "access_token: 5ecretValue",
        "access_token =\n\"5ecretValue\"",
        "access_token = \"\n5ecretValue\"",
        "access_token = [\n\"5ecretValue\"\n",
        "access_token = {\nvalue = \"5ecretValue\"\n",
        "access_token = { 5ecretValue }",
        "access_token = { 5ecretValue = 1 }",
        "access_token.5ecretValue = 1",
        "access_token = { env = 5ecretValue }",
        "auth = \"5ecretValue\"",
        "oauth = \"5ecretValue\"",
        "webhooks = [\"5ecretValue\"]",
        "base_url = \"https://me:p/5ecretValue@api.hubapi.com\"",
        "listen = \"me:5ecretValue@localhost:80\"",
        "public_url = \"https://a.example/?client_secret=5ecretValue#\"",
        "teir = ['oken = \"5ecretValue\"",
    ] {
        for text in [
            format!("[auth]\n{line}\n[objects.contacts]"),
            format!("[webhooks]\n{line}\n[objects.contacts]"),
            line.to_owned(),
        ] {
            let printed = everything(&text);
            assert!(!printed.contains(secret), "{text}\n{printed}");
            assert!(printed.contains("\"ok\":false"), "{text}");
        }
    }
    let printed = everything(
        "portal.base_url = \"https://me:5ecretValue@api.hubapi.com\"\n[objects.contacts]",
    );
    assert!(!printed.contains(secret), "{printed}");
}

#[test]
fn whatever_stands_beside_a_secrets_keys_is_not_repeated() {
    for line in [
        "oath = \"5ecretValue\"",
        "clientid = \"5ecretValue\"",
        "key = \"5ecretValue\"",
        "acc 5ecretValue",
        "acc = 5ecretValue",
        "x.y = \"5ecretValue\"",
    ] {
        for table in ["auth", "auth.oauth", "atuh"] {
            let text = format!("[{table}]\n{line}\n[objects.contacts]");
            let printed = everything(&text);
            assert!(!printed.contains("5ecretValue"), "{text}\n{printed}");
        }
    }
}

/// A secret in each of the shapes that HubSpot's have.
fn any_secret() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::strategy::Strategy;
    let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
    let base64 = proptest::collection::vec(proptest::num::u8::ANY, 32);
    let base64 = base64.prop_map(|bytes| {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_";
        let word: String = bytes
            .iter()
            .map(|byte| char::from(letters[usize::from(*byte % 64)]))
            .collect();
        format!("CJ{word}9zQ4=")
    });
    proptest::prop_oneof![
        uuid,
        uuid.prop_map(|uuid| format!("pat-na1-{uuid}")),
        uuid.prop_map(|uuid| format!("eu1-{uuid}")),
        base64,
    ]
}

#[test]
fn a_secret_in_clear_says_what_to_do() {
    check("[auth]\naccess_token = \"hush\"", "secret-in-clear 2:16");
    check("[auth]\naccess_token = {}", "bad-secret 2:16");
    check(
        "[auth]\naccess_token = { env = \"A\", file = \"b\" }",
        "bad-secret 2:16",
    );
    check(
        "[auth]\naccess_token = { env = \"A B\" }",
        "bad-secret 2:24",
    );
    check(
        "[auth]\naccess_token = { credential = \"../x\" }",
        "bad-secret 2:31",
    );
    check(
        "[auth]\naccess_token = { env = \"aa11bb22cc33dd44ee55ff66\" }",
        "secret-in-clear 2:24",
    );
    for name in [
        "HUBSPOT_ACCESS_TOKEN_2026_PRODUCTION_EU1",
        "hubspot_token_1",
        "MyHubSpotAccessTokenEurope2",
    ] {
        check(
            &format!("[auth]\naccess_token = {{ env = \"{name}\" }}"),
            "",
        );
    }
    let report = checked("[auth]\naccess_token = \"hush\"\n[objects.contacts]").report;
    insta::assert_snapshot!(report.problems[0].hint, @r#"put it in the environment and write `access_token = { env = "HUBSPOT_ACCESS_TOKEN" }`; then have HubSpot make a new one"#);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]

    #[test]
    fn no_secret_is_repeated_whatever_the_pen_slips_at(
        secret in any_secret(),
        line in "(access_token|client_secret|key|x|env|id|email|[a-z_]{1,12}) ?[=: ] ?[\"'\\[{]{0,2}",
        after in "[\"'\\]} ]{0,2}",
        place in 0_usize..400,
        at in 0_usize..9000,
        length in 0_usize..40,
        instead in "[\\[\\]{}=\"'.#\n a-z]{0,6}",
    ) {
        let mut lines: Vec<String> = EXAMPLE.replace("\n# ", "\n").lines().map(str::to_owned).collect();
        let place = place % lines.len();
        lines.insert(place, format!("{line}{secret}{after}"));
        let mut text = lines.join("\n");
        let start = text.floor_char_boundary(at);
        let end = text.floor_char_boundary(start + length).max(start);
        let cuts_it = text.find(&secret).is_some_and(|found| start < found + secret.len() && found < end);
        text.replace_range(start..end, &instead);
        let printed = everything(&text);
        let pieces = (0..secret.len() - 16).map(|from| &secret[from..from + 16]);
        for piece in pieces.filter(|_| !cuts_it) {
            proptest::prop_assert!(!printed.contains(piece), "{}\n{}", text, printed);
        }
    }
}

#[test]
fn a_secret_that_slipped_into_a_public_key_is_not_shown_with_what_is_in_force() {
    let text = "[objects.contacts]\nkey = [003b4076-f25d-4adc-93ea-ee9a99bf83df\"\"\ntable = \"contacts\"\n";
    let printed = everything(text);
    assert!(!printed.contains("003b4076"), "{printed}");
    // What names a file in one table names none in another.
    let misplaced = "[objects.contacts]\nkey = \"003b4076-f25d-4adc-93ea-ee9a99bf83df\"\n";
    let printed = everything(misplaced);
    assert!(!printed.contains("003b4076"), "{printed}");
    // A path is one, and is shown as it is.
    let shown = everything("[database]\npath = \"/srv/0f8f1a2b3c4d5e6f/crm.db\"\n");
    assert!(shown.contains("/srv/0f8f1a2b3c4d5e6f/crm.db"), "{shown}");
}

/// Ways to write a value, right and wrong.
const SHAPES: [&str; 32] = [
    "\"%\"",
    "'%'",
    "%",
    "\"%",
    "%\"",
    "\"\"\"\n%\n\"\"\"",
    "\"\"\"\n%",
    "'''%",
    "[\"%\"]",
    "[\n\"%\"\n]",
    "[\"%\"",
    "[ { env = \"A\" }, \"%\" ]",
    "{ env = % }",
    "{ value = \"%\" }",
    "{ \"%\" }",
    "{ % = 1 }",
    "{\n env = \"A\",\n x = \"%\"\n}",
    "{ x = { y = \"%\" } }",
    "\"%\" # c",
    "\"a\" \"%\"",
    "= \"%\"",
    "\"\\\n%\"",
    "\n\"%\"",
    "\n\n\"%\"",
    "\"a\n%\"",
    "{ file = [\"%\"] }",
    "{ env = \"\"\"\n%!\"\"\" }",
    "<%>",
    "env(\"%\")",
    "{ env = \"A\" } %",
    "{ env = \"A\", %",
    "\"x\"\n\"%\"",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    #[test]
    fn no_secret_is_repeated_however_its_key_and_value_are_written(
        before in proptest::sample::select(vec!["", "[objects.contacts]\n", "x = [\n", "tier = free\n"]),
        table in proptest::sample::select(vec![
            "[auth]", "[auth.oauth]", "[webhooks]", "[portal]", "[atuh]", "[auth", "", "[[auth]]", "[auth]]", "[log]",
        ]),
        key in proptest::sample::select(vec![
            "access_token", "client_secret", "token_key", "developer_key", "acces_tokn", "client_secrt", "oken",
            "Access-Token", "\"access_token\"", "auth.access_token", "oauth.client_secret", "token",
        ]),
        equals in proptest::sample::select(vec![" = ", "=", ": ", " ", " := ", " == ", " => ", "\n= "]),
        shape in proptest::sample::select(SHAPES.to_vec()),
        after in proptest::sample::select(vec![
            "", "\n[objects.contacts]\n", "\nid = 0\n", "\npoll = 5\n[portal]\nteir = 1\n",
        ]),
    ) {
        let value = shape.replace('%', "hush5ecretPW");
        let text = format!("{before}{table}\n{key}{equals}{value}{after}");
        let printed = everything(&text);
        proptest::prop_assert!(!printed.contains("hush5ecretPW"), "{}\n{}", text, printed);
    }
}
