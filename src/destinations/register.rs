//! What a service holds of each deployment: asked for, created where it is missing, amended where it differs. So the record
//! that GitLab keeps can be repaired where it is shown, by the same code that reports.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::Context;
use crate::{delivery::plan::Plan, problem::Unmade};

/// A service that holds an entity for each deployment: it can be asked for entities, and made to agree with GitLab's
/// record. Pure, as every plan.
#[derive(Debug)]
pub struct Register {
    /// The variable that names the blueprint.
    pub blueprint: &'static str,
    /// The entity that the report of this event would be about, and what it would say.
    pub entity: fn(&Context) -> Result<Entity, Unmade>,
    /// The most entities that one question asks for.
    pub most_asked: usize,
    /// Asks for entities of one blueprint by their identifiers. Delivered is, as `json`, an array with an object for each
    /// that is there: `{"identifier": …, "properties": {…}}`.
    pub ask: fn(&Context, blueprint: &str, identifiers: &[String]) -> Result<Plan, Unmade>,
    /// The most entities that one request creates.
    pub most_created: usize,
    /// Creates entities of one blueprint, never changes one that is there. One alone that is there by now ends as
    /// `Skipped`; of several, such a one is among the refused, with status 409. What an earlier attempt of the same plan may
    /// have created, since its reply was lost, counts as created.
    pub create: fn(&Context, blueprint: &str, entities: &[Entity]) -> Result<Plan, Unmade>,
    /// Changes these properties of an entity that is there, and nothing else of it; one that is missing by now is refused
    /// with 404 and not created.
    #[expect(clippy::type_complexity, reason = "each part has a name")]
    pub amend: fn(&Context, blueprint: &str, identifier: &str, properties: &Map<String, Value>) -> Result<Plan, Unmade>,
}

/// An entity as a report writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// The blueprint.
    pub blueprint: String,
    /// The identifier, as the service takes it.
    pub identifier: String,
    /// The rest of its JSON as it is created: title, properties, relations and so on, without identifier and blueprint.
    pub body: Map<String, Value>,
}

impl Entity {
    /// What of it is compared.
    pub fn properties(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.body.get("properties").and_then(Value::as_object).unwrap_or(&NONE)
    }
}

/// What is said of an entity that is there although it was missing a moment before.
pub const APPEARED: &str = "it appeared meanwhile, and stays as it is";

/// What is said of an entity that an earlier attempt has created.
pub const OURS: &str = "it exists: an earlier attempt got through, though its reply did not";
