//! The stand-ins against the catalog of notify-event: every destination has one, and gets what it needs to report to it.

use std::collections::BTreeSet;

use sandbox::{Sandbox, Service};

/// A destination, as far as it matters here.
#[derive(Default)]
struct Destination {
    name: String,
    title: String,
    variables: BTreeSet<String>,
    required: BTreeSet<String>,
}

/// The destinations of `catalog.yml`. A test of notify-event holds the file to one form, so that its lines say enough.
fn destinations() -> Vec<Destination> {
    let catalog = include_str!("../../catalog.yml");
    let section = catalog.lines().skip_while(|line| *line != "destinations:").skip(1);
    let mut destinations = Vec::<Destination>::new();
    let mut variable = String::new();
    for line in section.take_while(|line| line.starts_with(' ')) {
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        let text = value.trim_matches('"').to_owned();
        if key == "  - name" {
            destinations.push(Destination {
                name: text,
                ..Destination::default()
            });
            continue;
        }
        let destination = destinations.last_mut().expect("a destination begins with its name");
        match (key, value) {
            ("    title", _) => destination.title = text,
            // Operations have names too; they aren't required of anybody.
            ("      - name", _) => {
                destination.variables.insert(text.clone());
                variable = text;
            }
            ("        required", "true") => {
                destination.required.insert(variable.clone());
            }
            _ => {}
        }
    }
    destinations
}

#[test]
fn every_destination_of_the_catalog_has_a_stand_in() {
    let destinations = destinations();
    let of_catalog = destinations
        .iter()
        .map(|destination| (destination.name.as_str(), destination.title.as_str()));
    let of_sandbox = Service::DESTINATIONS.map(|service| (service.name(), service.title()));
    assert_eq!(of_catalog.collect::<Vec<_>>(), of_sandbox);
}

#[test]
fn a_sandbox_hands_out_what_its_destinations_require() {
    let sandbox = Sandbox::start();
    let variables = sandbox.variables();
    let given = variables.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>();
    let destinations = destinations();
    for destination in &destinations {
        assert!(
            !destination.required.is_empty(),
            "{} requires nothing",
            destination.name
        );
        for name in &destination.required {
            assert!(given.contains(name.as_str()), "{} needs {name}", destination.name);
        }
    }
    for name in given {
        assert!(
            destinations
                .iter()
                .any(|destination| destination.variables.contains(name)),
            "{name} is no variable of the catalog"
        );
    }
}
