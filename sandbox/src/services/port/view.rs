//! What a reply shows of an entity.

use serde_json::{Map, Value, json};

use super::request::{Refusal, flag};
use super::state::State;
use crate::wire::Query;

/// What may be asked of a reply that shows entities.
pub(super) const VIEW: [&str; 4] = [
    "include",
    "exclude",
    "exclude_calculated_properties",
    "attach_title_to_relation",
];

impl State {
    /// An entity as the query wants to see it.
    pub(super) fn view_of(&self, entity: &Value, query: &Query) -> Result<Value, Refusal> {
        // There are no calculated properties here to leave out, but the parameter is checked all the same.
        flag(query, "exclude_calculated_properties")?;
        let titled = flag(query, "attach_title_to_relation")?;
        let entity = if titled {
            self.with_related_titles(entity)
        } else {
            entity.clone()
        };
        let (include, exclude) = general(query)?;
        Ok(view(&entity, &include, &exclude))
    }

    /// The entity with `{"identifier", "title"}` in place of each relation's identifier.
    fn with_related_titles(&self, entity: &Value) -> Value {
        let blueprint = entity["blueprint"].as_str().and_then(|id| self.blueprints.get(id));
        let mut entity = entity.clone();
        for (name, value) in entity["relations"].as_object_mut().into_iter().flatten() {
            let target = blueprint.and_then(|blueprint| blueprint["relations"][name.as_str()]["target"].as_str());
            let titled = |id: &Value| {
                let found = id.as_str().and_then(|id| self.entity(target?, id));
                json!({"identifier": id, "title": found.map(|entity| &entity["title"])})
            };
            *value = match &*value {
                Value::Array(ids) => ids.iter().map(titled).collect(),
                Value::Null => Value::Null,
                id => titled(id),
            };
        }
        entity
    }
}

/// What an entity has besides properties and relations.
const META: [&str; 9] = [
    "identifier",
    "title",
    "icon",
    "team",
    "blueprint",
    "createdAt",
    "createdBy",
    "updatedAt",
    "updatedBy",
];

/// `include` and `exclude` of a query: `identifier`, `properties.version`. What Port does with other words is unknown
/// (docs/vendors/port.md 2), so nobody may count on it: they are refused.
pub(super) fn general(query: &Query) -> Result<(Vec<&str>, Vec<&str>), Refusal> {
    let checked = |name: &str| {
        let words = query.all(name);
        let is_known = |word: &&&str| {
            let whole = word.split('.').next().unwrap_or(word);
            META.contains(word) || matches!(whole, "properties" | "relations" | "scorecards")
        };
        match words.iter().find(|word| !is_known(word)) {
            Some(word) => Err(Refusal::invalid(format!(
                "querystring/{name} has the unknown \"{word}\""
            ))),
            None => Ok(words),
        }
    };
    Ok((checked("include")?, checked("exclude")?))
}

/// `include` or `exclude` of a search in one blueprint, which wants property and relation identifiers, and `$` before
/// everything else, as the paths that [`view`] wants.
pub(super) fn paths_of(blueprint: &Value, name: &str, words: &[&str]) -> Result<Vec<String>, Refusal> {
    let path = |word: &&str| {
        if let Some(meta) = word.strip_prefix('$').filter(|meta| META.contains(meta)) {
            Ok(meta.to_owned())
        } else if blueprint["schema"]["properties"].get(word).is_some() {
            Ok(format!("properties.{word}"))
        } else if blueprint["relations"].get(word).is_some() {
            Ok(format!("relations.{word}"))
        } else {
            Err(Refusal::invalid(format!("body/{name} has the unknown \"{word}\"")))
        }
    };
    words.iter().map(path).collect()
}

/// An entity cut down to what was included, without what was excluded: `identifier`, `properties.version`.
pub(super) fn view(entity: &Value, include: &[&str], exclude: &[&str]) -> Value {
    let mut shown = Map::new();
    for (name, value) in entity.as_object().into_iter().flatten() {
        let listed = |list: &[&str], path: &str| list.contains(&path);
        let kept = |path: &str| {
            let whole = path.split('.').next().unwrap_or(path);
            let in_list = include.is_empty() || listed(include, path) || listed(include, whole);
            in_list && !listed(exclude, path) && !listed(exclude, whole)
        };
        match value {
            Value::Object(fields) if name == "properties" || name == "relations" => {
                let fields = fields.iter().filter(|(field, _)| kept(&format!("{name}.{field}")));
                let fields = fields
                    .map(|(field, value)| (field.clone(), value.clone()))
                    .collect::<Map<_, _>>();
                let asked = kept(name) || !fields.is_empty();
                if asked {
                    shown.insert(name.clone(), Value::Object(fields));
                }
            }
            value if kept(name) => {
                shown.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(shown)
}
