//! Searching entities, in all blueprints and in one (docs/vendors/port.md 2).

use serde_json::{Value, json};

use super::request::{Refusal, body, flag, only, query};
use super::rules::{check, fits};
use super::state::State;
use super::view::{VIEW, general, paths_of, view};
use crate::wire::{Reply, Request};

/// The page of a search in a blueprint: what is the default, and what the most (docs/vendors/port.md 2).
const PAGE: usize = 200;
const LARGEST_PAGE: u64 = 1000;

impl State {
    /// `POST /v1/entities/search`.
    pub(super) fn search(&self, request: &Request) -> Result<Reply, Refusal> {
        let query = query(request, &[VIEW.as_slice(), &["allow_partial_results"]].concat())?;
        for name in [
            "exclude_calculated_properties",
            "attach_title_to_relation",
            "allow_partial_results",
        ] {
            flag(&query, name)?;
        }
        let search = body(request)?;
        only(&search, &["combinator", "rules"])?;
        let search = Value::Object(search);
        check(&search)?;
        let (include, exclude) = general(&query)?;
        let (mut entities, mut blueprints) = (Vec::new(), Vec::new());
        for (blueprint, all) in &self.entities {
            for entity in all.values() {
                if fits(entity, &search)? {
                    entities.push(view(entity, &include, &exclude));
                    if blueprints.last() != Some(blueprint) {
                        blueprints.push(blueprint.clone());
                    }
                }
            }
        }
        Ok(Reply::json(
            200,
            &json!({"ok": true, "entities": entities, "matchingBlueprints": blueprints}),
        ))
    }

    /// `POST /v1/blueprints/{bp}/entities/search`, in pages.
    pub(super) fn search_in(&self, blueprint: &str, request: &Request) -> Result<Reply, Refusal> {
        query(request, &[])?;
        let schema = self.blueprint(blueprint)?;
        let body = body(request)?;
        only(&body, &["query", "include", "exclude", "limit", "from"])?;
        let names = |name: &str| match body.get(name) {
            None => Ok(Vec::new()),
            Some(value) => {
                let names = value
                    .as_array()
                    .and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
                let names = names.ok_or(Refusal::invalid(format!("body/{name} must be an array of strings")))?;
                paths_of(schema, name, &names)
            }
        };
        let (include, exclude) = (names("include")?, names("exclude")?);
        let (include, exclude): (Vec<&str>, Vec<&str>) = (
            include.iter().map(String::as_str).collect(),
            exclude.iter().map(String::as_str).collect(),
        );
        let limit = match body.get("limit") {
            None => PAGE,
            Some(limit) => {
                let limit = limit.as_u64().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
                let limit = limit.ok_or(Refusal::invalid("body/limit must be between 1 and 1000"))?;
                usize::try_from(limit).expect("at most 1000")
            }
        };
        // The cursor is opaque to clients: the identifier that the last page ended with.
        let from = match body.get("from") {
            None => None,
            Some(cursor) => {
                let known = cursor.as_str().and_then(|cursor| cursor.strip_prefix("after:"));
                Some(known.ok_or(Refusal::invalid("body/from is not a cursor of this search"))?)
            }
        };
        if let Some(search) = body.get("query") {
            check(search)?;
        }
        let (mut entities, mut next) = (Vec::new(), None);
        for (identifier, entity) in self.entities.get(blueprint).into_iter().flatten() {
            let passed = from.is_some_and(|last| identifier.as_str() <= last);
            if passed || !body.get("query").map_or(Ok(true), |search| fits(entity, search))? {
                continue;
            }
            if entities.len() == limit {
                next = entities.last().map(|(last, _)| format!("after:{last}"));
                break;
            }
            entities.push((identifier, view(entity, &include, &exclude)));
        }
        let entities = entities.into_iter().map(|(_, entity)| entity).collect::<Vec<_>>();
        let mut reply = json!({"ok": true, "entities": entities});
        if let Some(next) = next {
            reply["next"] = json!(next);
        }
        Ok(Reply::json(200, &reply))
    }
}
