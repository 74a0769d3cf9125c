//! Rely and Port, whose blueprints have to fit what is sent: refusals and checks name the variable that is wrong.

use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::{in_job, jobs, seed},
    support::{bodies, notify},
};

/// Each row: destination, what is set, and what is said besides the service's own words.
#[test]
fn a_refusal_names_the_variable_that_is_wrong_and_keeps_the_services_words() {
    let sandbox = Sandbox::start();
    for (destination, variables, words, advice) in [
        (
            "port",
            &[("PORT_PROPERTIES", r#"{"nope": 1}"#)][..],
            "blueprint_schema_mismatch: The blueprint has no property \"nope\"",
            "Compare PORT_PROPERTIES with the blueprint `deployment`",
        ),
        (
            "port",
            &[("PORT_PROPERTIES", r#"{"duration": "1"}"#)],
            "properties/duration must be number",
            "Compare PORT_PROPERTIES with",
        ),
        (
            "port",
            &[("PORT_BLUEPRINT", "service")],
            "blueprint_schema_mismatch",
            "PORT_BLUEPRINT is `service`. The default fields are those of examples/port/deployment-blueprint.json: in Port, \
             Builder > + Blueprint > Edit JSON",
        ),
        (
            "port",
            &[("PORT_BLUEPRINT", "nope"), ("PORT_PROPERTIES", "{}")],
            "not_found: Blueprint with identifier \"nope\" was not found",
            "PORT_BLUEPRINT is `nope`: correct it",
        ),
        (
            "port",
            &[("PORT_RELATIONS", r#"{"nope": "shop"}"#)],
            "Relation with identifier \"nope\" was not found",
            "Compare PORT_RELATIONS with",
        ),
        (
            "port",
            &[("PORT_RELATIONS", r#"{"service": "it's"}"#)],
            "Target entity of the relation \"service\" with identifier \"it's\" was not found",
            "Compare PORT_RELATIONS with",
        ),
        (
            "port:create",
            &[("PORT_RELATIONS", r#"{"images": "one"}"#)],
            "relation_many_violation",
            "Compare PORT_RELATIONS with",
        ),
        (
            "rely",
            &[("RELY_PROPERTIES", r#"{"nope": 1}"#)],
            "Property nope is not defined in the blueprint deployment",
            "Compare RELY_PROPERTIES with the blueprint `deployment`",
        ),
        (
            "rely",
            &[("RELY_PROPERTIES", r#"{"duration": "1"}"#)],
            "body.properties.duration must be number",
            "Compare RELY_PROPERTIES with",
        ),
        (
            "rely",
            &[("RELY_BLUEPRINT", "nope")],
            "Blueprint with id nope not found",
            "RELY_BLUEPRINT is `nope`: correct it",
        ),
        (
            "rely:create",
            &[("RELY_RELATIONS", r#"{"nope": "a"}"#)],
            "Relation nope is not defined",
            "Compare RELY_RELATIONS with",
        ),
    ] {
        notify(&[destination])
            .at(&sandbox)
            .vars(variables.iter().copied())
            .run()
            .exits(76)
            .says_of(destination, "rejected")
            .says_of(destination, words)
            .says_of(destination, advice);
    }
    assert_eq!(sandbox.state(Service::Port)["entities"], json!({}));
}

/// A blueprint of Port with everything that a check looks at.
fn seed_strict(sandbox: &Sandbox) {
    let blueprint = json!({
        "identifier": "strict",
        "schema": {
            "properties": {
                "tier": {"type": "string", "enum": ["gold", "tin"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "at": {"type": "string", "format": "date-time"},
            },
            "required": ["tier"],
        },
        "calculationProperties": {"score": {"type": "number"}},
        "relations": {"service": {"target": "service", "many": false, "required": true}},
    });
    sandbox.seed(
        Service::Port,
        json!({"blueprints": {"strict": blueprint}, "entities": {"service": {"shop": {}}}}),
    );
}

#[test]
fn what_a_check_finds_is_what_a_run_is_refused_for() {
    let sandbox = Sandbox::start();
    seed_strict(&sandbox);
    let shop = r#"{"service": "shop"}"#;
    for (properties, relations, wrong) in [
        (
            r#"{"tier": "gold", "tags": ["a"], "at": "2025-03-01T10:00:00Z"}"#,
            shop,
            "",
        ),
        (r#"{"tier": "lead"}"#, shop, "\"tier\" is none of the values"),
        (r#"{"tier": "tin", "tags": [1]}"#, shop, "\"tags\" has an item that"),
        (
            r#"{"tier": "tin", "at": "today"}"#,
            shop,
            "\"at\" has to be of the format date-time",
        ),
        (r#"{"tier": "tin", "score": 1}"#, shop, "\"score\" is calculated there"),
        ("{}", shop, "\"tier\" is required and is not sent"),
        (r#"{"tier": "tin"}"#, "{}", "\"service\" is required and is not sent"),
        (
            r#"{"tier": "tin"}"#,
            r#"{"service": ["shop"]}"#,
            "\"service\" is one identifier there",
        ),
    ] {
        let variables = [
            ("PORT_BLUEPRINT", "strict"),
            ("PORT_PROPERTIES", properties),
            ("PORT_RELATIONS", relations),
            ("PORT_ENTITY_ID", "it's/one=1"),
        ];
        let checked = notify(&["check", "port"]).at(&sandbox).vars(variables).run();
        let sent = notify(&["port:create"]).at(&sandbox).vars(variables).run();
        if wrong.is_empty() {
            checked.exits(0).says("what is sent fits the blueprint");
            sent.exits(0);
            // What is required is there now, so that an upsert may do without.
            notify(&["check", "port"])
                .at(&sandbox)
                .vars(variables)
                .vars([("PORT_PROPERTIES", "{}"), ("PORT_RELATIONS", "")])
                .run()
                .exits(0);
            sandbox.seed(Service::Port, json!({"entities": {"strict": null}}));
        } else {
            checked.exits(78).says("port               misconfigured").says(wrong);
            sent.exits(76);
        }
    }
}

#[test]
fn the_default_fields_fit_the_shipped_blueprint_and_relys_stock_one() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("deploy success"));
    // As it is imported, without what a customer adds to it.
    sandbox.seed(
        Service::Port,
        json!({"blueprints": {"deployment": {"relations": null}}}),
    );
    in_job(&["check", "port", "rely"], &sandbox)
        .var("EVENT_ENVIRONMENT", "production")
        .run()
        .exits(0)
        .says("the credentials are accepted, and what is sent fits the blueprint")
        .says("the token is accepted; the entity is not there yet; what is sent fits the blueprint");
}

/// The variables of the README's example of templates.
fn example() -> Vec<(String, String)> {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("\n## Templates in values\n").expect("the section");
    let (_, block) = section.split_once("```yaml\n").expect("an example");
    let (block, _) = block.split_once("```").expect("its end");
    let yaml: Value = serde_saphyr::from_str(block).expect("the example is YAML");
    let variables = yaml["variables"].as_object().expect("it sets variables");
    let own = |(name, value): (&String, &Value)| (name.clone(), value.as_str().expect("in quotes").to_owned());
    variables.iter().map(own).collect()
}

#[test]
fn the_readmes_example_of_templates_works_with_the_shipped_blueprint() {
    let sandbox = Sandbox::start();
    seed(&sandbox, jobs("deploy success"));
    let example = example();
    assert!(example.iter().any(|(name, _)| name == "PORT_PROPERTIES"), "{example:?}");
    let variables = || example.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for arguments in [&["check", "rely", "port"][..], &["rely", "port"]] {
        in_job(arguments, &sandbox)
            .vars(variables())
            .var("EVENT_ENVIRONMENT", "production")
            .run()
            .exits(0);
    }
    let sent = bodies(&sandbox, Service::Port).pop().expect("an entity");
    let properties = sent["properties"].as_object().expect("properties");
    assert!(
        properties.values().any(Value::is_number) && properties.values().any(Value::is_string),
        "{sent}"
    );
}
