//! Values arrive as they are written: whatever is in them, whatever they are put into.

use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

use crate::support::{
    Run, UGLY_BRANCH, bodies,
    held::{cto_events, direktiv_namespace, port_deployment, rely_production},
    notify,
    operations::{prepared, ready, sent},
};

/// Texts that something on the way could trip over.
const TEXTS: &[&str] = &[
    UGLY_BRANCH,
    "\"},{\"status\":\"FAILED\",\"x\":{\"y\":[\"",
    "costs $5, $HOME, ${HOME}, $$ and $(id)",
    "line one\nline two\r\nline three\n",
    "🚀👩‍👩‍👧‍👦 ünï 日本語 עברית \u{202e}reversed\u{202c} \u{feff}\u{2028}",
    "{{ not.a.template }} }} {{",
    "tab\tbell\u{7}escape\u{1b}[31mred",
    "%41%2F ?a=b&c=d#e +plus",
    "\\\" \\\\ \\u0041 \\n",
    "<script>alert('x')</script> &amp;",
    " leading and trailing ",
    "null",
    "42",
    "true",
    "{\"a\": 1}",
];

/// What the workflow of Direktiv was given: the text itself.
fn direktiv_input(sandbox: &Sandbox) -> String {
    let namespace = direktiv_namespace(sandbox);
    namespace["instances"][0]["input"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// A run of the operations that take free text, into all of which a template puts the commit's message.
fn with_message(sandbox: &Sandbox, message: &str) -> Run {
    prepared(sandbox, &["rely", "cto", "direktiv:execute", "direktiv", "port"])
        .var("CI_COMMIT_MESSAGE", message)
        .var("EVENT_TITLE", "{{ env.CI_COMMIT_MESSAGE }}")
        .var("EVENT_IMAGE", "{{ pipeline.commit_message }}")
        .var(
            "RELY_PROPERTIES",
            r#"{"status": "{{ env.CI_COMMIT_MESSAGE }}", "failureReason": "said: {{ env.CI_COMMIT_MESSAGE }}"}"#,
        )
        .var("RELY_ENTITY_DESCRIPTION", "{{ env.CI_COMMIT_MESSAGE }}")
        .var("PORT_PROPERTIES", r#"{"version": "{{ env.CI_COMMIT_MESSAGE }}"}"#)
        .var("PORT_ENTITY_TITLE", "{{ env.CI_COMMIT_MESSAGE }}")
}

/// Checks that a message is everywhere, and nothing is beside it.
#[track_caller]
fn arrived(sandbox: &Sandbox, message: &str) {
    let entity = rely_production(sandbox);
    assert_eq!(entity["title"], message);
    assert_eq!(entity["description"], message);
    assert_eq!(
        entity["properties"],
        json!({"status": message, "failureReason": format!("said: {message}")})
    );
    let events = cto_events(sandbox);
    assert_eq!(events[0]["image"], message);
    assert_eq!(events[0].as_object().map(serde_json::Map::len), Some(9));
    let input: Value = serde_json::from_str(&direktiv_input(sandbox)).expect("the input is JSON");
    assert_eq!(input["title"], message);
    assert_eq!(input["image"], message);
    let broadcast = &direktiv_namespace(sandbox)["events"][0];
    assert_eq!(broadcast["data"]["title"], message);
    let entity = port_deployment(sandbox, "there");
    assert_eq!(entity["title"], message);
    assert_eq!(entity["properties"]["version"], message);
}

#[test]
fn any_text_arrives_intact_at_every_service() {
    for text in TEXTS {
        let sandbox = ready();
        with_message(&sandbox, text).run().exits(0);
        arrived(&sandbox, text);
    }
}

#[test]
fn a_commit_message_of_100_kb_arrives_intact_at_every_service() {
    let line = "a \"long\" line, \\ and 🚀\n";
    let message = line.repeat(100 * 1024 / line.len());
    assert!(message.len() > 100_000);
    let sandbox = ready();
    with_message(&sandbox, &message).run().exits(0);
    arrived(&sandbox, &message);
}

#[test]
fn an_ugly_branch_arrives_intact_at_every_service_without_being_asked_for() {
    let sandbox = ready();
    prepared(
        &sandbox,
        &["rely", "cto", "direktiv:execute", "direktiv", "port", "aviator"],
    )
    .var("RELY_PROPERTIES", r#"{"status": "{{ event.branch }}"}"#)
    .run()
    .exits(0);
    assert_eq!(rely_production(&sandbox)["properties"]["status"], UGLY_BRANCH);
    assert_eq!(cto_events(&sandbox)[0]["branch"], UGLY_BRANCH);
    assert_eq!(port_deployment(&sandbox, "there")["properties"]["branch"], UGLY_BRANCH);
    let input: Value = serde_json::from_str(&direktiv_input(&sandbox)).expect("the input is JSON");
    assert_eq!(input["branch"], UGLY_BRANCH);
    let broadcast = &direktiv_namespace(&sandbox)["events"][0];
    assert_eq!(broadcast["data"]["branch"], UGLY_BRANCH);
}

#[test]
fn names_in_addresses_are_one_segment_each() {
    let ugly = "Prod/EU west?#%";
    let sandbox = ready();
    prepared(&sandbox, &["aviator"])
        .var("AVIATOR_ENVIRONMENT", ugly)
        .var("AVIATOR_PROJECT", "Shop API/ü")
        .run()
        .exits(76);
    assert_eq!(
        sent(&sandbox, Service::Aviator)[0].path,
        "/api/releases/Shop%20API%2F%C3%BC/environments/Prod%2FEU%20west%3F%23%25/deployments"
    );
    prepared(&sandbox, &["port:get"])
        .var("PORT_ENTITY_ID", "acme/shop:1=ü\\")
        .run()
        .exits(76);
    assert_eq!(
        sent(&sandbox, Service::Port)[0].path,
        "/v1/blueprints/deployment/entities/acme%2Fshop%3A1%3D%C3%BC%5C"
    );
}

#[test]
fn numbers_stay_as_they_are_written() {
    let numbers = r#"{"a":1.50,"b":123456789012345678901234567890,"c":1e+3,"d":-0.0,"e":0.1,"f":[1.0,10.00]}"#;
    let sandbox = ready();
    prepared(&sandbox, &["direktiv:execute"])
        .var("DIREKTIV_INPUT", numbers)
        .run()
        .exits(0);
    assert_eq!(direktiv_input(&sandbox), numbers);
    // Beside a template, and inside the event.
    let sandbox = ready();
    prepared(&sandbox, &["direktiv:execute", "rely", "port"])
        .var("EVENT_PROPERTIES", numbers)
        .var(
            "DIREKTIV_INPUT",
            r#"{"all":"{{ event.properties }}","id":"{{ pipeline.id }}","n":1.50}"#,
        )
        .var("RELY_PROPERTIES", r#"{"duration":12.50,"link":"{{ event.url }}"}"#)
        .var("PORT_PROPERTIES", r#"{"duration":12.50}"#)
        .run()
        .exits(0);
    assert_eq!(
        direktiv_input(&sandbox),
        format!(r#"{{"all":{numbers},"id":8812,"n":1.50}}"#)
    );
    for service in [Service::Rely, Service::Port] {
        let text = sent(&sandbox, service)[0].text();
        assert!(text.contains(r#""duration":12.50"#), "{text}");
    }
}

#[test]
fn the_order_of_fields_stays_as_it_is_written() {
    let fields = r#"{"z":1,"a":{"y":2,"b":3},"m":[{"d":4,"c":5}]}"#;
    let sandbox = ready();
    prepared(&sandbox, &["direktiv:execute"])
        .var("DIREKTIV_INPUT", fields)
        .run()
        .exits(0);
    assert_eq!(direktiv_input(&sandbox), fields);
}

// Templates

/// What a template yields, as the only value of the workflow's input.
#[track_caller]
fn rendered(template: &str, change: impl Fn(Run) -> Run) -> Value {
    let sandbox = ready();
    change(prepared(&sandbox, &["direktiv:execute"]))
        .var("DIREKTIV_INPUT", json!([template]).to_string())
        .run()
        .exits(0);
    let input: Value = serde_json::from_str(&direktiv_input(&sandbox)).expect("the input is JSON");
    input[0].clone()
}

#[test]
fn a_leaf_that_is_one_expression_keeps_its_type() {
    for (template, expected) in [
        ("{{ event.attempt }}", json!(1)),
        ("{{event.attempt}}", json!(1)),
        ("{{ pipeline.id }}", json!(8812)),
        ("no. {{ pipeline.id }}", json!("no. 8812")),
        ("{{ pipeline.id }}{{ event.attempt }}", json!("88121")),
        ("{{ event.name }}", json!("deployment")),
        ("{{ event.properties }}", json!({"deep": [true, null]})),
        ("{{ event.properties.deep }}", json!([true, null])),
        ("{{ event.properties | json }}", json!("{\"deep\":[true,null]}")),
        ("{{ env.CI_PIPELINE_ID }}", json!("8812")),
        ("{{ event.version | default(\"none\") | upper }}", json!("NONE")),
        ("{{ event.version | default(7) }}", json!(7)),
        ("{{ event.branch | slug }}", json!("fix-quoted-n-code")),
        ("{{ pipeline.project_path | upper }}", json!("ACME/SHOP")),
        ("{{ env.CI_COMMIT_TITLE | truncate(5) }}", json!("Say …")),
        ("{{ \"{{\" }} stays", json!("{{ stays")),
        (
            "{{ event.action }}/{{ event.environment }}",
            json!("success/production"),
        ),
    ] {
        let value = rendered(template, |run| run.var("EVENT_PROPERTIES", r#"{"deep": [true, null]}"#));
        assert_eq!(value, expected, "{template}");
    }
}

#[test]
fn names_of_fields_are_not_rendered() {
    let sandbox = ready();
    prepared(&sandbox, &["direktiv:execute"])
        .var("DIREKTIV_INPUT", r#"{"{{ event.id }}":"{{ event.name }}"}"#)
        .run()
        .exits(0);
    assert_eq!(direktiv_input(&sandbox), r#"{"{{ event.id }}":"deployment"}"#);
}

#[test]
fn what_a_template_yields_is_not_rendered_again() {
    let value = rendered("{{ env.CI_COMMIT_TITLE }}", |run| {
        run.var("CI_COMMIT_TITLE", "{{ env.CI_JOB_TOKEN }} {{ event.id }}")
    });
    assert_eq!(value, "{{ env.CI_JOB_TOKEN }} {{ event.id }}");
}

#[test]
fn what_a_template_can_not_reach_is_misconfigured_and_never_empty() {
    for (template, words) in [
        ("{{ event.nothing }}", "event.nothing"),
        ("{{ event.version }}", "has no value here"),
        ("{{ pipeline.tag }}", "pipeline.tag"),
        ("{{ nonsense }}", "nonsense"),
        ("{{ env.CI_NOT_SET }}", "CI_NOT_SET"),
        ("{{ env.CI_JOB_TOKEN }}", "credential"),
        ("{{ env.CI_JOB_TOKEN | default(\"x\") }}", "credential"),
        ("{{ env.RELY_API_TOKEN }}", "credential"),
        ("{{ env.PORT_CLIENT_SECRET }}", "credential"),
        ("{{ env.HOME }}", "NOTIFY_TEMPLATE_ENV"),
        ("{{ env.MY_REGION }}", "NOTIFY_TEMPLATE_ENV"),
        ("{{ event.id", "two braces"),
        ("{{ }}", "unexpected end of variable block"),
        ("{{ event.id | reverse }}", "reverse"),
        ("{{ event.id | truncate }}", "truncate"),
        ("{% if event.id %}{{ event.id }}", "unexpected end of input"),
    ] {
        for (destination, name, value) in [
            ("rely", "RELY_ENTITY_TITLE", template.to_owned()),
            ("rely", "RELY_PROPERTIES", json!({"status": template}).to_string()),
            ("cto", "CTOAI_USER", template.to_owned()),
            (
                "port",
                "PORT_PROPERTIES",
                json!({"deep": [{"x": template}]}).to_string(),
            ),
        ] {
            let sandbox = ready();
            prepared(&sandbox, &[destination])
                .var("MY_REGION", "eu")
                .var("HOME", "/root")
                .var(name, value)
                .run()
                .exits(78)
                .says_of(destination, name)
                .says_of(destination, words);
            assert_eq!(sandbox.requests().len(), 0, "{template}");
        }
    }
}

#[test]
fn more_variables_can_be_opened_and_credentials_only_by_their_names() {
    let run = |open: &str, template: &str| {
        let sandbox = ready();
        let ran = prepared(&sandbox, &["direktiv:execute"])
            .vars([("MY_REGION", "eu"), ("MY_ZONE", "a"), ("MY_PASSWORD", "opened-by-name")])
            .var("NOTIFY_TEMPLATE_ENV", open)
            .var("DIREKTIV_INPUT", json!([template]).to_string())
            .run();
        (ran.code, direktiv_input(&sandbox))
    };
    for (open, template, expected) in [
        ("MY_REGION", "{{ env.MY_REGION }}", Some("eu")),
        ("OTHER, MY_REGION", "{{ env.MY_REGION }}", Some("eu")),
        ("MY_*", "{{ env.MY_ZONE }}", Some("a")),
        ("*_ZONE", "{{ env.MY_ZONE }}", Some("a")),
        ("*", "{{ env.MY_REGION }}{{ env.MY_ZONE }}", Some("eua")),
        ("MY_REGION", "{{ env.MY_ZONE }}", None),
        ("MY_*", "{{ env.MY_PASSWORD }}", None),
        ("*", "{{ env.MY_PASSWORD }}", None),
        ("*", "{{ env.CI_JOB_TOKEN }}", None),
        ("CI_JOB_TOKEN", "{{ env.CI_JOB_TOKEN }}", None),
        ("RELY_API_TOKEN,*", "{{ env.RELY_API_TOKEN }}", None),
    ] {
        let (code, input) = run(open, template);
        match expected {
            Some(text) => assert_eq!((code, input), (0, json!([text]).to_string()), "{open} {template}"),
            None => assert_eq!((code, input), (78, String::new()), "{open} {template}"),
        }
    }
}

#[test]
fn a_title_can_not_break_out_of_its_place() {
    let attack = r#"x"},"properties":{"status":"HACKED"},"y":{"z":""#;
    let sandbox = ready();
    prepared(&sandbox, &["rely", "port", "cto"])
        .var("CI_COMMIT_TITLE", attack)
        .var("RELY_ENTITY_TITLE", "{{ env.CI_COMMIT_TITLE }}")
        .var("PORT_ENTITY_TITLE", "{{ env.CI_COMMIT_TITLE }}")
        .var("CTOAI_USER", "{{ env.CI_COMMIT_TITLE }}")
        .run()
        .exits(0);
    let rely = &bodies(&sandbox, Service::Rely)[0];
    let keys: Vec<&String> = rely.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["id", "blueprintId", "title", "properties"]);
    assert_eq!(
        (&rely["title"], &rely["properties"]["status"]),
        (&json!(attack), &json!("SUCCESS"))
    );
    assert_eq!(port_deployment(&sandbox, "there")["properties"]["status"], "SUCCESS");
    assert_eq!(cto_events(&sandbox)[0]["meta"], json!({"user": attack}));
}

// The event's own defaults

#[test]
fn the_event_is_made_of_what_gitlab_says() {
    for (variables, field, expected) in [
        (&[][..], "id", json!("acme-shop-8812")),
        (
            &[("EVENT_ENVIRONMENT", "Review/ünï #1")],
            "title",
            json!("acme/shop #8812 (Review/ünï #1)"),
        ),
        (
            &[("CI_ENVIRONMENT_NAME", "prod"), ("CI_ENVIRONMENT_SLUG", "prod-x1")],
            "id",
            json!("acme-shop-8812-prod-x1"),
        ),
        (
            &[("CI_JOB_ID", "1"), ("CI_PIPELINE_ID", "9")],
            "id",
            json!("acme-shop-9"),
        ),
        (&[("EVENT_ID", "mine-{{ pipeline.id }}")], "id", json!("mine-8812")),
        (&[("CI_COMMIT_TAG", "v1.2.3")], "version", json!("v1.2.3")),
        (&[("CI_COMMIT_BRANCH", "")], "branch", json!(UGLY_BRANCH)),
        (
            &[("CI_COMMIT_BRANCH", ""), ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "mr")],
            "branch",
            json!("mr"),
        ),
        (&[("EVENT_BRANCH", "own")], "branch", json!("own")),
        (&[("EVENT_ACTION", "in-progress")], "action", json!("progressing")),
        (
            &[("EVENT_ACTION", "auto"), ("CI_JOB_STATUS", "failed")],
            "action",
            json!("failure"),
        ),
        (
            &[("EVENT_ACTION", ""), ("CI_JOB_STATUS", "canceled")],
            "action",
            json!("canceled"),
        ),
    ] {
        let sandbox = Sandbox::start();
        notify(&["direktiv:execute"])
            .at(&sandbox)
            .var("DIREKTIV_WORKFLOW", "/wf/deploy.yaml")
            .vars(variables.iter().copied())
            .run()
            .exits(0);
        let input: Value = serde_json::from_str(&direktiv_input(&sandbox)).expect("the input is JSON");
        assert_eq!(input[field], expected, "{field} of {variables:?}");
    }
}
