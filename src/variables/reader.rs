//! Reads variables in two steps: found and cleaned first, when it is seen which names their templates mention; rendered
//! and checked once, when it is known what those names stand for. Every problem is named at once.

use serde_json::{Map, Value};

use super::{
    Body, Default, FromVariable, Group, Kind, Resolved, Variable, header, missing, parse_json, types, url::require_tls,
};
use crate::{
    environment::{Environment, Found, Origin},
    problem::{Problem, Unmade},
    template::{self, Template},
    text::plain,
};

/// Finds variables in the environment.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The process's variables.
    pub environment: &'a Environment,
    /// Whether other tools' names (`official`) are read too.
    pub official_names: bool,
    /// Whether `http://` may be used off loopback.
    pub allow_http: bool,
    /// Texts that GitLab may have pasted into a value, and that are no templates.
    pub literals: &'a [&'a str],
}

/// Renders templates: knows what names stand for.
pub trait Renderer {
    /// What `template`, in the value of `variable`, comes to.
    ///
    /// # Errors
    /// A name that has no value or is out of reach, or that would tell what happened where nothing did.
    fn render(&self, variable: &str, template: &Template) -> Result<Value, Unmade>;
}

impl Reader<'_> {
    /// Finds variables: they are cleaned, and their templates understood but not run.
    pub fn find(&self, variables: impl IntoIterator<Item = &'static Variable>) -> Unrendered {
        self.find_all(variables, true)
    }

    /// Finds variables that have no templates: their values are taken as they are.
    pub fn find_plain(&self, variables: impl IntoIterator<Item = &'static Variable>) -> Unrendered {
        self.find_all(variables, false)
    }

    fn find_all(&self, variables: impl IntoIterator<Item = &'static Variable>, has_templates: bool) -> Unrendered {
        let of_one = |variable: &'static Variable| {
            let source = self.source(variable).and_then(|found| match found {
                None => Ok(None),
                Some(found) => self.understand(variable, found, has_templates).map(Some),
            });
            (variable, source)
        };
        Unrendered {
            sources: variables.into_iter().map(of_one).collect(),
            official_names: self.official_names,
            allow_http: self.allow_http,
        }
    }

    /// Reads every variable of `T`, none of which has templates.
    ///
    /// # Errors
    /// Every variable that is missing or malformed, each with what to do.
    pub fn read<T: Group>(&self) -> Result<T, Vec<Problem>> {
        self.values(T::VARIABLES).read().map_err(|why| match why {
            Unmade::Wrong(problems) => problems,
            Unmade::Nothing(_) => Vec::new(),
        })
    }

    /// The values of variables that have no templates.
    pub fn values(&self, variables: impl IntoIterator<Item = &'static Variable>) -> Values {
        self.find_plain(variables).render(&NoTemplates)
    }

    fn source(&self, variable: &Variable) -> Result<Option<Found>, Problem> {
        let find = |name: &str| self.environment.find(name, variable.is_secret());
        // Proxies are named in lower case first, as curl does it.
        if variable.name.ends_with("_PROXY")
            && let Some(found) = find(&variable.name.to_lowercase())?
        {
            return Ok(Some(found));
        }
        let official = variable.official.filter(|_| self.official_names);
        let own = match variable.official {
            Some(official) if official == variable.name => None,
            _ => variable.find_in(self.environment)?,
        };
        match (own, official) {
            (None, Some(official)) => find(official),
            (own, _) => Ok(own),
        }
    }

    fn understand(&self, variable: &Variable, found: Found, has_templates: bool) -> Result<Source, Problem> {
        if variable.kind == Kind::HeaderLine {
            let (line, is_verbatim) = header::clean(&found.name, &found.value)?;
            return Ok(Source {
                found: Found { value: line, ..found },
                is_verbatim,
                template: None,
            });
        }
        let is_verbatim = matches!(found.origin, Origin::Variable(_));
        if !has_templates || !variable.has_templates() || !template::is_template(&found.value) {
            return Ok(Source {
                found,
                is_verbatim,
                template: None,
            });
        }
        let is_json = match variable.kind {
            Kind::Object | Kind::Headers | Kind::Json => true,
            Kind::Body => Body::looks_like_json(&found.value),
            Kind::JsonOrText => types::looks_like_json(&found.value),
            _ => false,
        };
        let template = if is_json {
            let value = parse_json(&found.value).map_err(|message| Problem::new(&found.name, message))?;
            Template::json(value, self.literals)
        } else {
            Template::text(&found.value, self.literals)
        };
        let template = template.map_err(|error| Problem::new(&found.name, format!("has a {error}")))?;
        Ok(Source {
            found,
            is_verbatim: false,
            template: Some(template),
        })
    }
}

/// What the environment has for one variable.
struct Source {
    found: Found,
    is_verbatim: bool,
    template: Option<Template>,
}

/// Variables as they were found, before their templates run.
pub struct Unrendered {
    sources: Vec<(&'static Variable, Result<Option<Source>, Problem>)>,
    official_names: bool,
    allow_http: bool,
}

impl Unrendered {
    /// Whether a variable is set, be it well or badly.
    pub fn is_given(&self, name: &str) -> bool {
        let mut named = self.sources.iter().filter(|(variable, _)| variable.name == name);
        named.any(|(_, source)| !matches!(source, Ok(None)))
    }

    /// Everything that templates in these values name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let sources = self
            .sources
            .iter()
            .filter_map(|(_, source)| source.as_ref().ok()?.as_ref());
        sources.flat_map(Source::names)
    }

    /// What the templates of the variable `name` name.
    pub fn names_of(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.sources.iter().filter(move |(variable, _)| variable.name == name);
        let sources = named.filter_map(|(_, source)| source.as_ref().ok()?.as_ref());
        sources.flat_map(Source::names)
    }

    /// Renders and checks all of them.
    pub fn render(&self, renderer: &dyn Renderer) -> Values {
        let of_one = |(variable, _): &(&'static Variable, _)| (*variable, self.render_one(variable.name, renderer));
        Values {
            resolved: self.sources.iter().map(of_one).collect(),
        }
    }

    /// Renders and checks the variable `name`.
    ///
    /// # Errors
    /// It is missing, malformed, or names what it must not.
    pub fn render_one(&self, name: &str, renderer: &dyn Renderer) -> Result<Option<Resolved>, Unmade> {
        let Some((variable, source)) = self.sources.iter().find(|(variable, _)| variable.name == name) else {
            return Ok(None);
        };
        match source.as_ref().map_err(|problem| Unmade::from(problem.clone()))? {
            Some(source) => {
                let resolved = source.resolve(variable, renderer)?;
                self.check(variable, &resolved)?;
                Ok(Some(resolved))
            }
            None if variable.default == Default::Required => Err(missing(variable, self.official_names).into()),
            None => Ok(Resolved::default_of(variable)),
        }
    }

    /// Whether a value is one that `variable` may have.
    fn check(&self, variable: &Variable, found: &Resolved) -> Result<(), Problem> {
        (variable.check)(&found.value).map_err(|message| Problem::new(&found.name, message))?;
        let is_address = matches!(variable.kind, Kind::Url | Kind::SecretUrl);
        if is_address && !self.allow_http {
            require_tls(&found.value).map_err(|message| Problem::new(&found.name, message))?;
        }
        Ok(())
    }
}

impl Source {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.template
            .iter()
            .flat_map(|template| template.names().iter().map(String::as_str))
    }

    fn resolve(&self, variable: &Variable, renderer: &dyn Renderer) -> Result<Resolved, Unmade> {
        let Found { value, name, origin } = &self.found;
        let value = match &self.template {
            None => value.clone(),
            Some(template) => match (variable.kind, renderer.render(name, template)?) {
                // A text that a template made is text, however much it looks like JSON.
                (Kind::JsonOrText, Value::String(text)) if types::looks_like_json(&text) => {
                    Value::String(text).to_string()
                }
                (Kind::Object | Kind::Json, value) => value.to_string(),
                (_, value) => plain(&value),
            },
        };
        Ok(Resolved {
            value,
            name: name.clone(),
            origin: Some(origin.clone()),
            is_given: true,
            is_verbatim: self.is_verbatim,
        })
    }
}

/// Where nothing has a template, there is nothing to render.
struct NoTemplates;

impl Renderer for NoTemplates {
    fn render(&self, variable: &str, _: &Template) -> Result<Value, Unmade> {
        Err(Problem::new(variable, "has a template, where none runs; give the value itself").into())
    }
}

/// Values that were read, each once: rendered and checked, or why they can't be used.
#[derive(Debug, Clone, std::default::Default)]
pub struct Values {
    resolved: Vec<(&'static Variable, Result<Option<Resolved>, Unmade>)>,
}

impl Values {
    /// Values by variable.
    pub fn new(resolved: Vec<(&'static Variable, Result<Option<Resolved>, Unmade>)>) -> Self {
        Self { resolved }
    }

    /// Reads every variable of `T`.
    ///
    /// # Errors
    /// Everything that keeps one of them from being read.
    pub fn read<T: Group>(&self) -> Result<T, Unmade> {
        let of_group = |name: &str| T::VARIABLES.iter().find(|variable| variable.name == name);
        let mut found = Vec::new();
        let mut reasons = Vec::new();
        for (variable, resolved) in &self.resolved {
            match (of_group(variable.name), resolved) {
                (Some(_), Err(why)) => reasons.push(why.clone()),
                (Some(variable), Ok(Some(resolved))) => found.push((variable.field, resolved)),
                _ => {}
            }
        }
        if let Some(why) = Unmade::all(reasons) {
            return Err(why);
        }
        let pairs = found
            .iter()
            .map(|(field, resolved)| ((*field).to_owned(), resolved.value.clone()));
        let mut group: T = envy::from_iter(pairs).map_err(|error| Problem::new("", error.to_string()))?;
        let found_of = |field: &str| found.iter().find(|(name, _)| *name == field).map(|(_, found)| *found);
        group.came_from(&found_of);
        Ok(group)
    }

    /// The value of one variable that can be had on its own, whatever is wrong with the others.
    pub fn one<V: FromVariable>(&self, name: &str) -> Option<V> {
        let value = self.get(name).ok()??.value.clone();
        types::read_one(value).ok()
    }

    /// The value of `name`, if it is set or has a default.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn get(&self, name: &str) -> Result<Option<&Resolved>, &Unmade> {
        let mut named = self.resolved.iter().filter(|(variable, _)| variable.name == name);
        named
            .next()
            .map_or(Ok(None), |(_, resolved)| resolved.as_ref().map(Option::as_ref))
    }

    /// Whether a variable is set, rather than stood in for by its default.
    pub fn is_given(&self, name: &str) -> bool {
        matches!(self.get(name), Ok(Some(resolved)) if resolved.is_given)
    }

    /// These values without those of the variables `names`.
    pub fn without(mut self, names: &[&str]) -> Self {
        for (variable, resolved) in &mut self.resolved {
            if names.contains(&variable.name) {
                *resolved = Ok(None);
            }
        }
        self
    }

    /// What may be kept for a replay: names and values of what is set and not read anew.
    pub fn kept(&self) -> Map<String, Value> {
        let is_kept = |(variable, resolved): &(&'static Variable, Result<Option<Resolved>, Unmade>)| {
            let resolved = resolved.as_ref().ok()?.as_ref()?;
            let is_kept = resolved.is_given && !variable.is_read_anew() && variable.kind != Kind::Path;
            is_kept.then(|| (variable.name.to_owned(), Value::from(resolved.value.as_str())))
        };
        self.resolved.iter().filter_map(is_kept).collect()
    }

    /// The variables that could not be read.
    pub fn unreadable(&self) -> impl Iterator<Item = &'static str> {
        let wrong = self.resolved.iter().filter(|(_, resolved)| resolved.is_err());
        wrong.map(|(variable, _)| variable.name)
    }
}
