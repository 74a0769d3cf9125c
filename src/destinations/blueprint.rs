//! What a blueprint has to say of an entity, at Rely and at Port alike: whether what is sent fits it, and which variable a
//! refusal is about.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    event::{Action, Event},
    problem::{Problem, Unmade},
    time,
    variables::{Object, type_of},
};

/// A portal's own names.
#[derive(Debug)]
pub struct Portal {
    /// The variable that names the blueprint.
    pub blueprint: &'static str,
    /// The variable that holds the properties.
    pub properties: &'static str,
    /// The variable that holds the relations.
    pub relations: &'static str,
    /// The blueprint that has the default fields.
    pub default: &'static str,
    /// What its default fields are, and how the portal comes by that blueprint.
    pub default_fields: &'static str,
}

/// What is sent of an entity, and from where it comes.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Whose entity it is.
    pub portal: &'static Portal,
    /// The identifier of its blueprint.
    pub blueprint: String,
    /// Its properties.
    pub properties: Map<String, Value>,
    /// Its relations.
    pub relations: Map<String, Value>,
    /// Whether the portal's own variable says what the properties are.
    pub is_given: bool,
    /// The names of the event's own properties.
    pub of_event: Vec<String>,
}

/// What a blueprint takes.
#[derive(Debug, Default)]
pub struct Schema<'a> {
    /// Schemas of its properties, by their names.
    pub properties: Option<&'a Map<String, Value>>,
    /// Names of properties that the portal makes itself.
    pub calculated: Vec<&'a str>,
    /// Names of properties that an entity can't do without.
    pub required: Vec<&'a str>,
    /// Its relations, by their names; None where they can't be told.
    pub relations: Option<BTreeMap<&'a str, Relation>>,
}

/// A relation of a blueprint.
#[derive(Debug, Clone, Copy)]
pub struct Relation {
    /// Whether it takes a list; None where that can't be told.
    pub many: Option<bool>,
    /// Whether an entity can't do without it.
    pub is_required: bool,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The blueprint is missing.
    Blueprint,
    /// A property.
    Properties,
    /// A relation, or what it leads to.
    Relations,
}

impl Sent {
    /// What the JSON of an entity sends, where `given` are the portal's own properties, if they are set.
    pub fn new(portal: &'static Portal, blueprint: &str, body: &Value, given: Option<&Object>, event: &Event) -> Self {
        let members = |name: &str| body[name].as_object().cloned().unwrap_or_default();
        let is_of_event = |name: &&String| given.is_none_or(|Object(given)| !given.contains_key(*name));
        Self {
            portal,
            blueprint: blueprint.to_owned(),
            properties: members("properties"),
            relations: members("relations"),
            is_given: given.is_some(),
            of_event: event.properties.keys().filter(is_of_event).cloned().collect(),
        }
    }

    /// What is sent of an event, whatever will have happened: where that is open, what start and end have together.
    ///
    /// # Errors
    /// Those of `of`.
    pub fn of_any(event: &Event, of: impl Fn(&Event) -> Result<Self, Unmade>) -> Result<Self, Unmade> {
        let with = |action: Action| {
            of(&Event {
                action: Ok(action),
                ..event.clone()
            })
        };
        match &event.action {
            Ok(known) if *known != Action::Open => of(event),
            _ => {
                let mut whole = with(Action::Started)?;
                whole.properties.extend(with(Action::Success)?.properties);
                Ok(whole)
            }
        }
    }

    /// The variable that a property comes from; None for a default field.
    fn source(&self, property: &str) -> Option<&'static str> {
        if self.of_event.iter().any(|own| own == property) {
            Some("EVENT_PROPERTIES")
        } else {
            self.is_given.then_some(self.portal.properties)
        }
    }

    /// What of it the blueprint would refuse, a problem for each variable. `is_whole`: whether the entity is made of
    /// nothing else, so that what is required has to be there.
    pub fn misfits(&self, schema: &Schema, is_whole: bool) -> Vec<Problem> {
        let mut by_source: BTreeMap<Option<&'static str>, Vec<String>> = BTreeMap::new();
        if let Some(known) = schema.properties {
            for (name, value) in &self.properties {
                let why = match known.get(name) {
                    Some(schema) => misfit(value, schema),
                    None if schema.calculated.contains(&name.as_str()) => Some("is calculated there".to_owned()),
                    None => Some("is not in it".to_owned()),
                };
                if let Some(why) = why {
                    let whys = by_source.entry(self.source(name)).or_default();
                    whys.push(format!("\"{name}\" {why}"));
                }
            }
        }
        let lacks = |name: &&&str| self.properties.get(**name).is_none_or(Value::is_null);
        for name in schema.required.iter().filter(|_| is_whole).filter(lacks) {
            let source = self.is_given.then_some(self.portal.properties);
            let whys = by_source.entry(source).or_default();
            whys.push(format!("\"{name}\" is required and is not sent"));
        }
        let blueprint = &self.blueprint;
        let mut problems: Vec<Problem> = by_source
            .into_iter()
            .map(|(source, whys)| match source {
                Some(variable) => {
                    let what = format!("does not fit the blueprint `{blueprint}`: {}", whys.join(", "));
                    Problem::new(variable, what)
                }
                None => Problem::new(
                    self.portal.blueprint,
                    format!(
                        "is `{blueprint}`, which the default fields do not fit: {}. {}. Or say in {} what to send",
                        whys.join(", "),
                        self.portal.default_fields,
                        self.portal.properties
                    ),
                ),
            })
            .collect();
        let whys = self.misfitting_relations(schema, is_whole);
        if !whys.is_empty() {
            let what = format!("does not fit the blueprint `{blueprint}`: {}", whys.join(", "));
            problems.push(Problem::new(self.portal.relations, what));
        }
        problems
    }

    fn misfitting_relations(&self, schema: &Schema, is_whole: bool) -> Vec<String> {
        let Some(known) = &schema.relations else {
            return Vec::new();
        };
        let of_sent = self.relations.iter().filter_map(|(name, value)| {
            let why = match (known.get(name.as_str()), value) {
                (None, _) => "is no relation of it",
                (Some(Relation { many: Some(true), .. }), Value::String(_)) => {
                    "is a list there, and one identifier here"
                }
                (Some(Relation { many: Some(false), .. }), Value::Array(_)) => {
                    "is one identifier there, and a list here"
                }
                _ => return None,
            };
            Some(format!("\"{name}\" {why}"))
        });
        let lacks = |name: &&str| is_whole && self.relations.get(*name).is_none_or(Value::is_null);
        let of_required = known
            .iter()
            .filter(|(name, relation)| relation.is_required && lacks(name))
            .map(|(name, _)| format!("\"{name}\" is required and is not sent"));
        of_sent.chain(of_required).collect()
    }

    /// What a refusal is about, as its text tells: by a name in it that was sent, else by what it speaks of first.
    pub fn about(&self, said: &str) -> Option<About> {
        let is_named =
            |names: &Map<String, Value>| names.keys().any(|name| *name != self.blueprint && mentions(said, name));
        if is_named(&self.properties) {
            return Some(About::Properties);
        }
        if is_named(&self.relations) {
            return Some(About::Relations);
        }
        let said = said.to_lowercase();
        let words = [
            ("propert", About::Properties),
            ("relation", About::Relations),
            ("blueprint", About::Blueprint),
        ];
        let found = words
            .iter()
            .filter_map(|(word, about)| Some((said.find(word)?, *about)));
        found.min_by_key(|(place, _)| *place).map(|(_, about)| about)
    }

    /// What to do about a refusal that is about this; `said` are the service's own words.
    pub fn advice(&self, about: About, said: &str) -> String {
        let (portal, blueprint) = (self.portal, &self.blueprint);
        match about {
            About::Blueprint if *blueprint == portal.default && !self.is_given => format!(
                "{} is `{blueprint}`. {}. Or set it to the blueprint that you have, and {} to its properties",
                portal.blueprint, portal.default_fields, portal.properties
            ),
            About::Blueprint => format!(
                "{} is `{blueprint}`: correct it, or create that blueprint",
                portal.blueprint
            ),
            About::Relations if self.relations.is_empty() => {
                format!("Give what the blueprint `{blueprint}` wants in {}", portal.relations)
            }
            About::Relations => format!(
                "Compare {} with the relations of the blueprint `{blueprint}` and the entities that there are",
                portal.relations
            ),
            About::Properties => {
                let named: Vec<&String> = self.properties.keys().filter(|name| mentions(said, name)).collect();
                let all = self.properties.keys();
                let suspects: Vec<&String> = if named.is_empty() { all.collect() } else { named };
                let mut sources: Vec<Option<&str>> = suspects.iter().map(|name| self.source(name)).collect();
                if sources.is_empty() {
                    sources.push(self.is_given.then_some(portal.properties));
                }
                sources.sort_unstable();
                sources.dedup();
                let variables: Vec<&str> = sources.iter().copied().flatten().collect();
                let mut advice = Vec::new();
                if !variables.is_empty() {
                    let variables = variables.join(" and ");
                    advice.push(format!("Compare {variables} with the blueprint `{blueprint}`"));
                }
                if sources.contains(&None) {
                    advice.push(format!(
                        "{} is `{blueprint}`. {}. Or say in {} what to send",
                        portal.blueprint, portal.default_fields, portal.properties
                    ));
                }
                advice.join(". ")
            }
        }
    }
}

/// Whether a text names something, in quotes, in a path, or behind the word for it: a word alone may be any word.
fn mentions(said: &str, name: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    said.match_indices(name).any(|(start, _)| {
        let (before, after) = (&said[..start], &said[start + name.len()..]);
        let before_is_it = before.ends_with(['"', '\'', '`', '/', '.'])
            || before.ends_with("roperty ")
            || before.ends_with("elation ");
        !name.is_empty() && before_is_it && !after.starts_with(is_part)
    })
}

/// Why a property of this schema, a small part of JSON Schema, can't hold a value.
fn misfit(value: &Value, schema: &Value) -> Option<String> {
    // A null clears it.
    if value.is_null() {
        return None;
    }
    let kind = schema["type"].as_str().unwrap_or_default();
    let fits = match kind {
        "string" => value.is_string(),
        "number" | "integer" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    if !fits {
        return Some(format!("has to be of the type {kind}, and is {}", type_of(value)));
    }
    if let Value::Array(items) = value {
        let schema = &schema["items"];
        return items
            .iter()
            .find_map(|item| misfit(item, schema))
            .map(|why| format!("has an item that {why}"));
    }
    // What has not happened yet has no word yet.
    if value.as_str().is_some_and(|text| text.contains(Action::Open.word())) {
        return None;
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|allowed| !allowed.contains(value))
    {
        return Some("is none of the values that it may have".to_owned());
    }
    let (format, text) = (schema["format"].as_str()?, value.as_str()?);
    let fits = match format {
        "date-time" => time::parse(text).is_some(),
        "url" => url::Url::parse(text).is_ok(),
        _ => true,
    };
    (!fits).then(|| format!("has to be of the format {format}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static PORTAL: Portal = Portal {
        blueprint: "X_BLUEPRINT",
        properties: "X_PROPERTIES",
        relations: "X_RELATIONS",
        default: "deployment",
        default_fields: "Import it",
    };

    fn sent(is_given: bool, properties: &Value, relations: &Value) -> Sent {
        Sent {
            portal: &PORTAL,
            blueprint: "deployment".to_owned(),
            properties: properties.as_object().unwrap().clone(),
            relations: relations.as_object().unwrap().clone(),
            is_given,
            of_event: vec!["team".to_owned()],
        }
    }

    #[test]
    fn a_value_fits_its_schema_or_it_is_said_why_not() {
        for (value, schema, why) in [
            (json!("a"), json!({"type": "string"}), None),
            (json!(1.5), json!({"type": "number"}), None),
            (json!(null), json!({"type": "number", "enum": [1]}), None),
            (
                json!("1"),
                json!({"type": "number"}),
                Some("of the type number, and is a string"),
            ),
            (json!(true), json!({"type": "string"}), Some("of the type string")),
            (json!({}), json!({"type": "array"}), Some("of the type array")),
            (
                json!([1]),
                json!({"type": "array", "items": {"type": "string"}}),
                Some("an item that has to be of the type string"),
            ),
            (json!([1]), json!({"type": "array"}), None),
            (json!("b"), json!({"enum": ["a"]}), Some("none of the values")),
            (json!("<action>"), json!({"enum": ["a"]}), None),
            (
                json!("now"),
                json!({"format": "date-time"}),
                Some("of the format date-time"),
            ),
            (json!("2025-03-01T10:00:00Z"), json!({"format": "date-time"}), None),
            (json!("a b"), json!({"format": "url"}), Some("of the format url")),
            (json!("https://a/b"), json!({"format": "url"}), None),
            (json!("x"), json!({"format": "markdown", "type": "new"}), None),
        ] {
            let found = misfit(&value, &schema);
            match (&found, why) {
                (Some(found), Some(why)) => assert!(found.contains(why), "{found}"),
                (found, why) => assert!(found.is_none() && why.is_none(), "{value} {schema}: {found:?}"),
            }
        }
    }

    #[test]
    fn each_misfit_is_told_of_the_variable_that_it_comes_from() {
        let properties = json!({"a": {"type": "number"}, "size": {"type": "number"}});
        let schema = Schema {
            properties: properties.as_object(),
            calculated: vec!["made"],
            required: vec!["size"],
            relations: Some(
                [("one", false, false), ("many", true, true)]
                    .map(|(name, many, is_required)| {
                        (
                            name,
                            Relation {
                                many: Some(many),
                                is_required,
                            },
                        )
                    })
                    .into(),
            ),
        };
        let all = sent(
            true,
            &json!({"a": "x", "b": 1, "made": 2, "team": "t"}),
            &json!({"one": ["x"], "none": "x"}),
        );
        let problems: Vec<String> = all.misfits(&schema, true).iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "EVENT_PROPERTIES does not fit the blueprint `deployment`: \"team\" is not in it",
                "X_PROPERTIES does not fit the blueprint `deployment`: \"a\" has to be of the type number, and is a string, \
                 \"b\" is not in it, \"made\" is calculated there, \"size\" is required and is not sent",
                "X_RELATIONS does not fit the blueprint `deployment`: \"one\" is one identifier there, and a list here, \
                 \"none\" is no relation of it, \"many\" is required and is not sent",
            ]
        );
        let none = sent(true, &json!({}), &json!({}));
        assert_eq!(none.misfits(&schema, false), []);
        let default = sent(false, &json!({"status": "x"}), &json!({}));
        assert_eq!(
            default.misfits(&schema, false)[0].to_string(),
            "X_BLUEPRINT is `deployment`, which the default fields do not fit: \"status\" is not in it. Import it. Or say in \
             X_PROPERTIES what to send"
        );
    }

    #[test]
    fn what_a_refusal_is_about_is_told_by_names_and_else_by_its_first_word() {
        let given = sent(true, &json!({"url": 1, "team": 2, "": 3}), &json!({"service": "shop"}));
        for (said, about) in [
            (
                "Blueprint with identifier \"deployment\" was not found",
                Some(About::Blueprint),
            ),
            ("The blueprint has no property \"url\"", Some(About::Properties)),
            ("body/properties/url must be string", Some(About::Properties)),
            (
                "body.properties.url Input should be a valid string",
                Some(About::Properties),
            ),
            (
                "Property url is not defined in the blueprint deployment",
                Some(About::Properties),
            ),
            (
                "Relation service is not defined in the blueprint deployment",
                Some(About::Relations),
            ),
            ("Entity \"shop\" of 'service' was not found", Some(About::Relations)),
            ("properties do not match the schema", Some(About::Properties)),
            ("the address url is wrong", None),
            ("body/urls is wrong", None),
            ("nothing \"\" is wrong", None),
        ] {
            assert_eq!(given.about(said), about, "{said}");
        }
    }

    #[test]
    fn the_advice_names_the_variables_that_may_be_the_cause() {
        let given = sent(true, &json!({"url": 1, "team": 2}), &json!({}));
        let default = sent(false, &json!({"url": 1, "team": 2}), &json!({"service": "shop"}));
        for (sent, about, said, advice) in [
            (
                &given,
                About::Properties,
                "\"url\" is wrong",
                "Compare X_PROPERTIES with the blueprint `deployment`",
            ),
            (
                &given,
                About::Properties,
                "\"team\" is wrong",
                "Compare EVENT_PROPERTIES with the blueprint `deployment`",
            ),
            (
                &given,
                About::Properties,
                "wrong",
                "Compare EVENT_PROPERTIES and X_PROPERTIES with the blueprint `deployment`",
            ),
            (
                &default,
                About::Properties,
                "\"url\" is wrong",
                "X_BLUEPRINT is `deployment`. Import it. Or say in X_PROPERTIES what to send",
            ),
            (
                &given,
                About::Relations,
                "",
                "Give what the blueprint `deployment` wants in X_RELATIONS",
            ),
            (
                &default,
                About::Relations,
                "",
                "Compare X_RELATIONS with the relations of the blueprint `deployment` and the entities that there are",
            ),
            (
                &given,
                About::Blueprint,
                "",
                "X_BLUEPRINT is `deployment`: correct it, or create that blueprint",
            ),
            (
                &default,
                About::Blueprint,
                "",
                "X_BLUEPRINT is `deployment`. Import it. Or set it to the blueprint that you have, and X_PROPERTIES to its \
                 properties",
            ),
        ] {
            assert_eq!(sent.advice(about, said), advice);
        }
    }
}
