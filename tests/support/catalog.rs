//! The variables, as `catalog.yml` lists them: what is generated from it covers every destination that there will be.

use std::fs;

/// A variable.
#[derive(Debug, Clone, Default)]
pub struct Variable {
    /// The destination that reads it; empty for the event's and the delivery's own.
    pub destination: String,
    pub name: String,
    pub kind: String,
    pub is_required: bool,
    pub is_secret: bool,
}

/// Every variable. The file is written by the program itself, a key a line, so no YAML library is needed.
pub fn variables() -> Vec<Variable> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/catalog.yml");
    let text = fs::read_to_string(path).expect("catalog.yml can be read");
    let mut variables: Vec<Variable> = Vec::new();
    let mut destination = String::new();
    let mut is_destination = false;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim().trim_matches('"').to_owned();
        match (key, variables.last_mut()) {
            (section, _) if !section.starts_with(' ') => {
                is_destination = section == "destinations";
                destination.clear();
            }
            ("  - name", _) if is_destination => destination = value,
            ("      - name" | "    - name", _) if is_name(&value) => variables.push(Variable {
                destination: destination.clone(),
                name: value,
                ..Variable::default()
            }),
            ("        type" | "      type", Some(variable)) => variable.kind = value,
            ("        required" | "      required", Some(variable)) => variable.is_required = value == "true",
            ("        secret" | "      secret", Some(variable)) => variable.is_secret = value == "true",
            _ => {}
        }
    }
    assert!(variables.len() > 60, "catalog.yml is read as the program writes it");
    variables
}

/// The variables of destinations that fit.
pub fn of_destinations(fits: impl Fn(&Variable) -> bool) -> Vec<Variable> {
    let mut variables = variables();
    variables.retain(|variable| !variable.destination.is_empty() && fits(variable));
    assert!(!variables.is_empty());
    variables
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit())
}
