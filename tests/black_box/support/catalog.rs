//! Destinations, operations and variables, from `catalog.yml`.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::shared;

/// The catalog, read once.
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let mut catalog: Catalog = shared::catalog();
    for destination in &mut catalog.destinations {
        for variable in &mut destination.variables {
            variable.destination.clone_from(&destination.name);
        }
        for operation in &mut destination.operations {
            operation.label = if operation.is_default {
                destination.name.clone()
            } else {
                format!("{}:{}", destination.name, operation.name)
            };
        }
    }
    catalog
});

#[derive(Deserialize)]
struct Catalog {
    destinations: Vec<Destination>,
    event: Section,
    delivery: Section,
}

/// The variables that are no destination's own.
#[derive(Deserialize)]
struct Section {
    variables: Vec<Variable>,
}

/// A destination.
#[derive(Deserialize)]
pub struct Destination {
    pub name: String,
    pub operations: Vec<Operation>,
    pub variables: Vec<Variable>,
}

/// An operation.
#[derive(Deserialize)]
pub struct Operation {
    name: String,
    #[serde(rename = "default")]
    is_default: bool,
    /// What comes of doing it a second time.
    pub repetition: String,
    /// What names it on the command line and in the report: `rely`, `rely:patch`.
    #[serde(skip)]
    pub label: String,
}

/// A variable.
#[derive(Debug, Clone, Deserialize)]
pub struct Variable {
    /// The destination that reads it; empty for the event's and the delivery's own.
    #[serde(skip)]
    pub destination: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "required")]
    pub is_required: bool,
    #[serde(rename = "secret")]
    pub is_secret: bool,
    /// The forms in which it may be given; empty for all.
    #[serde(default)]
    forms: Vec<String>,
}

impl Variable {
    /// Whether it may be given as `NAME_DEFAULT`.
    pub fn has_default(&self) -> bool {
        self.forms.is_empty()
    }
}

/// Every destination.
pub fn destinations() -> &'static [Destination] {
    &CATALOG.destinations
}

/// Every variable.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    let own = destinations().iter().flat_map(|destination| &destination.variables);
    own.chain(&CATALOG.event.variables).chain(&CATALOG.delivery.variables)
}

/// The variables of destinations that fit.
pub fn of_destinations(fits: impl Fn(&Variable) -> bool) -> Vec<&'static Variable> {
    let fits = |variable: &&Variable| !variable.destination.is_empty() && fits(variable);
    let variables: Vec<&Variable> = variables().filter(fits).collect();
    assert!(!variables.is_empty());
    variables
}

/// Whether the value of this variable must not be shown.
pub fn is_secret(name: &str) -> bool {
    variables().any(|variable| variable.is_secret && variable.name == name)
}
