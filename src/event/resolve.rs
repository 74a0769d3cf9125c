//! Makes the event: of its variables, of GitLab's, and of what GitLab was asked. Its fields may refer to each other, so
//! they are made in the order that their templates ask for, each once.

use std::{collections::BTreeMap, time::SystemTime};

use serde_json::{Map, Value, json};

use super::{
    Action, DeployJob, Event, SCHEMA_VERSION,
    auto::{Found, Given},
    job::{self, ReportedJob},
    scope::{Fact, Names, fact_of, fields_of},
    variables::EventVariables,
};
use crate::{
    environment::Environment,
    gitlab::{outcome::Outcome, slug},
    problem::{Problem, Unmade},
    text::plain,
    time::{self, timestamp},
    variables::{Default, Group as _, Reader, Unrendered, Variable, parse_json},
};

/// What a field has come to.
type Field = Result<Option<Value>, Unmade>;

/// What is known before GitLab is asked for anything.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Known {
    /// The action, or that nothing but `EVENT_ACTION` will tell it.
    pub action: bool,
    /// The deploy job: this is its `after_script`.
    pub job: bool,
    /// The deploy job's name.
    pub job_name: bool,
    /// Which job has deployed what this one stops; or nobody will want to know.
    pub deployer: bool,
}

/// The event in the making.
pub struct Resolver<'a> {
    environment: &'a Environment,
    now: SystemTime,
    /// What became of the job that this is the `after_script` of, in GitLab's word. None: this is none.
    job_status: Option<&'a str>,
    reported: ReportedJob<'a>,
    sources: Unrendered,
    names: Names,
    outcome: Option<Outcome>,
    is_action_open: bool,
    /// What `EVENT_ACTION` says, once it was read.
    given: Option<Result<Given, Unmade>>,
    action: Option<Found>,
    fields: BTreeMap<&'static str, Field>,
}

impl<'a> Resolver<'a> {
    /// The event of `environment` at the time `now`. `literals` are texts that GitLab may have pasted into its values,
    /// `watched` is `NOTIFY_JOB`, `open` are the words of `NOTIFY_TEMPLATE_ENV`, `declared` is every variable that the
    /// program reads.
    pub fn new(
        environment: &'a Environment,
        literals: &[&str],
        watched: Option<&'a str>,
        open: &[String],
        declared: &[&'static Variable],
        now: SystemTime,
    ) -> Self {
        let reader = Reader {
            environment,
            official_names: false,
            allow_http: true,
            literals,
        };
        let mut resolver = Self {
            environment,
            now,
            job_status: job::status(environment),
            reported: ReportedJob::new(environment, watched),
            sources: reader.find(EventVariables::VARIABLES),
            names: Names::new(environment, open, declared),
            outcome: None,
            is_action_open: false,
            given: None,
            action: None,
            fields: BTreeMap::new(),
        };
        resolver.names.set_field("schema_version", &SCHEMA_VERSION.into());
        resolver.names.set_field("time", &resolver.time().into());
        resolver.tell_job();
        resolver
    }

    /// Says that what is reported is the deployment of one job: of the one in `NOTIFY_JOB`, else, in an `after_script`, of
    /// this one.
    pub fn report_deploy_job(&mut self) {
        self.reported.is_deployment = true;
    }

    /// What is known before GitLab is asked for anything.
    pub fn known(&mut self) -> Known {
        Known {
            action: !self.needs_outcome(),
            job: self.job_status.is_some(),
            job_name: self.reported.is_known(),
            deployer: !self.reported.needs_deployer() || self.sources.is_given("EVENT_ID"),
        }
    }

    /// When the event is reported, RFC 3339.
    pub fn time(&self) -> String {
        timestamp(self.now)
    }

    /// Everything that the event's own templates name.
    pub fn mentioned(&self) -> impl Iterator<Item = &str> {
        self.sources.names()
    }

    /// Whether only GitLab's jobs can tell the action: it is not set, and this is no `after_script`.
    fn needs_outcome(&mut self) -> bool {
        // A word that can't be read is told as a problem; GitLab is not asked for it.
        self.job_status.is_none() && (self.names_jobs("action") || matches!(self.given_action(), Ok(Given::Auto(_))))
    }

    /// Whether the environment's name is made from what GitLab's jobs tell, so that it is not known before.
    pub fn environment_needs_jobs(&mut self) -> bool {
        self.names_jobs("environment") || (self.made_from("environment").contains(&"action") && self.needs_outcome())
    }

    /// Whether a field is made, directly or by way of others, from something that GitLab's jobs tell.
    fn names_jobs(&self, field: &'static str) -> bool {
        let mut fields = self.made_from(field).into_iter().filter_map(declared);
        fields.any(|variable| {
            let mut names = self.sources.names_of(variable.name);
            names.any(|name| match fact_of(name) {
                Some(Fact::Jobs) => true,
                Some(Fact::JobName) => !self.reported.is_known(),
                _ => false,
            })
        })
    }

    /// The fields that a field is made from, itself included.
    fn made_from(&self, field: &'static str) -> Vec<&'static str> {
        let mut open = vec![field];
        let mut seen = Vec::new();
        while let Some(field) = open.pop() {
            if let Some(variable) = declared(field).filter(|_| !seen.contains(&field)) {
                seen.push(field);
                open.extend(self.sources.names_of(variable.name).flat_map(fields_of));
            }
        }
        seen
    }

    /// Takes in what became of the jobs.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        self.names.set_outcome(&outcome);
        self.outcome = Some(outcome);
        self.tell_job();
    }

    /// Takes in the names of the pipeline's jobs: `NOTIFY_JOB` may stand for one part of a matrix.
    pub fn set_job_names<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        self.reported.find_part(names);
        self.tell_job();
    }

    /// Takes in which job deployed what this one stops, or why GitLab's record does not tell.
    pub fn set_deployer(&mut self, deployer: Result<String, String>) {
        self.reported.set_deployer(deployer);
        self.tell_job();
    }

    /// Why the event's id is not the one that was reported when it was deployed, if so.
    pub fn no_deployer(&self) -> Option<String> {
        self.reported.no_deployer()
    }

    /// Takes in what was deployed, or why that can't be had.
    pub fn set_changes(&mut self, changes: &Result<Value, String>) {
        self.names.set_changes(changes);
    }

    /// Leaves the action open where it is not known: the request is only shown, or tried.
    pub fn leave_action_open(&mut self) {
        self.is_action_open = true;
    }

    /// The event's id.
    pub fn id(&mut self) -> Option<String> {
        self.text("id")
    }

    /// The event's environment.
    pub fn environment(&mut self) -> Option<String> {
        self.text("environment")
    }

    /// The environment that GitLab knows this job by.
    pub fn own_environment(&self) -> Option<&'a str> {
        self.environment.predefined("CI_ENVIRONMENT_NAME")
    }

    /// What each of the event's variables has come to, by their names, as far as it can be had.
    pub fn texts(&mut self) -> BTreeMap<&'static str, String> {
        let of_one = |variable: &'static Variable| Some((variable.name, self.text(variable.field)?));
        EventVariables::VARIABLES.iter().filter_map(of_one).collect()
    }

    /// The event, and the names for everything that is made from it.
    ///
    /// # Errors
    /// In place of the event: every variable of it that is set and can't be used.
    pub fn finish(mut self) -> (Result<Event, Unmade>, Names) {
        let mut reasons: Vec<Unmade> = self.reported.problem().map(Unmade::from).into_iter().collect();
        for variable in EventVariables::VARIABLES {
            if let Err(why) = self.field(variable.field, &mut Vec::new())
                && !reasons.contains(&why)
            {
                reasons.push(why);
            }
        }
        let event = match Unmade::all(reasons) {
            Some(why) => Err(why),
            None => Ok(self.event()),
        };
        (event, self.names)
    }

    fn event(&mut self) -> Event {
        let found = self.action.take().unwrap_or_else(|| self.found_out(None));
        let properties = match self.fields.get("properties") {
            Some(Ok(Some(Value::Object(members)))) => members.clone(),
            _ => Map::new(),
        };
        let mut text = |field| self.text(field);
        Event {
            name: text("name").unwrap_or_default(),
            service: text("service"),
            id: text("id"),
            title: text("title"),
            repo: text("repo"),
            branch: text("branch"),
            commit: text("commit"),
            environment: text("environment"),
            image: text("image"),
            version: text("version"),
            url: text("url"),
            user: text("user"),
            properties,
            action: found.action,
            action_word: found.word,
            action_source: found.source,
            time: self.time(),
            job: self.job(),
        }
    }

    /// What is known of the deploy job: of its own `after_script`, else by GitLab's jobs.
    fn job(&self) -> DeployJob {
        if self.job_status.is_none() {
            return match &self.outcome {
                Some(Outcome::Happened(finding)) => finding.job.clone(),
                _ => self.reported.by_name(),
            };
        }
        let predefined = |name: &str| self.environment.predefined(name).map(str::to_owned);
        let started_at = predefined("CI_JOB_STARTED_AT");
        let duration = started_at
            .as_deref()
            .and_then(time::parse)
            .and_then(|start| self.now.duration_since(start).ok());
        DeployJob {
            name: predefined("CI_JOB_NAME"),
            url: predefined("CI_JOB_URL"),
            started_at,
            finished_at: Some(self.time()),
            duration: duration.map(|duration| duration.as_secs()),
            started_by: predefined("GITLAB_USER_LOGIN"),
            ..DeployJob::default()
        }
    }

    /// Lets templates know of the deploy job.
    fn tell_job(&mut self) {
        for (field, value) in self.job().fields() {
            self.names.set_field(field, &value);
        }
        // What decided may be one part of many, now this one and now that.
        if let Some(name) = self.reported.full_name() {
            self.names.set_job_name(name);
        }
    }

    /// What `EVENT_ACTION` says.
    fn given_action(&mut self) -> Result<Given, Unmade> {
        if let Some(given) = &self.given {
            return given.clone();
        }
        let made = self.depend("action", &mut Vec::new());
        let given = made.and_then(|()| self.sources.render_one("EVENT_ACTION", &self.names));
        let given = given.map(|given| given.filter(|given| !given.value.trim().is_empty()));
        let given = given.and_then(|given| Ok(Given::read(given.as_ref().map(|given| given.value.as_str()))?));
        self.given.insert(given).clone()
    }

    /// What is told where GitLab's jobs can't be asked.
    pub fn fallback(&mut self) -> Option<Action> {
        match self.given_action() {
            Ok(Given::Auto(fallback)) => fallback,
            _ => None,
        }
    }

    /// Finds out what happened, and lets templates know.
    fn action(&mut self) -> Result<(), Unmade> {
        if self.action.is_none() {
            let found = match self.given_action() {
                Err(why) => Found::unreadable(why),
                Ok(Given::Word(word)) => Found::given(word),
                Ok(Given::Auto(fallback)) => self.found_out(fallback.as_ref()),
            };
            self.names.set_field("action_source", &found.source.to_string().into());
            match &found.action {
                Ok(action) => self.names.set_field("action", &action.word().into()),
                Err(why) => self.names.set_no_action(why),
            }
            self.action = Some(found);
        }
        match &self.action {
            // That it is not known is no fault of the event: only destinations that need it care.
            Some(Found {
                action: Err(why),
                is_unreadable: true,
                ..
            }) => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// What happened, where nobody has set it: by the job's own status in its `after_script`, else by GitLab's jobs, else
    /// `fallback`.
    fn found_out(&self, fallback: Option<&Action>) -> Found {
        match self.job_status {
            Some(status) => Found::by_job_status(status, self.environment.predefined("CI_ENVIRONMENT_ACTION")),
            None => Found::by_jobs(self.outcome.as_ref(), fallback, self.is_action_open),
        }
    }

    /// Makes a field of the event, and lets templates know. `path` are the fields in the making.
    fn field(&mut self, field: &'static str, path: &mut Vec<&'static str>) -> Field {
        if field == "action" {
            return self.action().map(|()| None);
        }
        if let Some(known) = self.fields.get(field) {
            return known.clone();
        }
        let made = self.depend(field, path).and_then(|()| self.make(field));
        if let Ok(Some(value)) = &made {
            self.names.set_field(field, value);
        }
        self.fields.insert(field, made.clone());
        made
    }

    /// Makes what `field` is made from.
    fn depend(&mut self, field: &'static str, path: &mut Vec<&'static str>) -> Result<(), Unmade> {
        let Some(variable) = declared(field) else { return Ok(()) };
        path.push(field);
        let mut needed: Vec<&'static str> = self.sources.names_of(variable.name).flat_map(fields_of).collect();
        if !self.sources.is_given(variable.name) {
            needed.extend(self.default_from(field));
        }
        let names_changes = |name: &str| fact_of(name) == Some(Fact::Changes);
        if path.contains(&"environment") && self.sources.names_of(variable.name).any(names_changes) {
            let what = "would be made from `changes`, which GitLab is asked for by the environment's own name";
            path.pop();
            return Err(Problem::new("EVENT_ENVIRONMENT", what).into());
        }
        let mut result = Ok(());
        for other in needed {
            if let Some(start) = path.iter().position(|making| *making == other) {
                result = Err(circle(&path[start..]).into());
                break;
            }
            result = self.field(other, path).map(drop);
            if result.is_err() {
                break;
            }
        }
        path.pop();
        result
    }

    fn make(&self, field: &str) -> Field {
        let Some(variable) = declared(field) else {
            return Ok(None);
        };
        match self.sources.render_one(variable.name, &self.names)? {
            Some(found) if field == "properties" => match parse_json(&found.value) {
                Ok(value) => Ok(Some(value)),
                Err(message) => Err(Problem::new(variable.name, message).into()),
            },
            // A template that comes to nothing says no more than a variable that is empty.
            Some(found) if !found.value.trim().is_empty() => Ok(Some(found.value.into())),
            None if field == "properties" => Ok(Some(json!({}))),
            // What its default is made from was not asked for.
            Some(_) if !self.default_from(field).is_empty() => Ok(None),
            Some(_) | None => Ok(self.default(variable).map(Value::from)),
        }
    }

    /// The fields that a field's default is made from.
    fn default_from(&self, field: &str) -> &'static [&'static str] {
        match field {
            "id" if self.reported.is_deployment => &["environment"],
            "id" => &["environment", "service"],
            "title" => &["environment", "service", "version"],
            _ => &[],
        }
    }

    /// What stands in for a field that is not set.
    fn default(&self, variable: &Variable) -> Option<String> {
        let predefined = |name: &str| self.environment.predefined(name).map(str::to_owned);
        match variable.field {
            "id" => {
                let project = predefined("CI_PROJECT_PATH_SLUG")
                    .or_else(|| predefined("CI_PROJECT_PATH").map(|path| slug::path(&path)))?;
                let pipeline = predefined("CI_PIPELINE_ID")?;
                let part = if self.reported.is_deployment {
                    self.reported.name().map(str::to_owned)
                } else {
                    self.known_field("service")
                };
                let environment = self.environment_slug();
                Some(slug::id(&project, &pipeline, environment.as_deref(), part.as_deref()))
            }
            "title" => {
                let project = predefined("CI_PROJECT_PATH")?;
                let service = self.known_field("service").map(|name| format!("/{name}"));
                let environment = self.known_field("environment").map(|name| format!(" ({name})"));
                let pipeline = || predefined("CI_PIPELINE_ID").map(|id| format!("#{id}"));
                let version = self.known_field("version").or_else(pipeline)?;
                let [service, environment] = [service, environment].map(Option::unwrap_or_default);
                Some(format!("{project}{service} {version}{environment}"))
            }
            "branch" => predefined("CI_COMMIT_BRANCH")
                .or_else(|| predefined("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"))
                .or_else(|| predefined("CI_COMMIT_REF_NAME")),
            // The other defaults are one of GitLab's variables each, named by the declaration itself.
            _ => match variable.default {
                Default::Derived(name) => predefined(name),
                _ => None,
            },
        }
    }

    /// The slug of the event's environment: GitLab's own where it gave one for this environment.
    fn environment_slug(&self) -> Option<String> {
        let name = self.known_field("environment")?;
        let is_gitlabs = self.environment.predefined("CI_ENVIRONMENT_NAME") == Some(&name);
        self.environment
            .predefined("CI_ENVIRONMENT_SLUG")
            .filter(|_| is_gitlabs)
            .map(str::to_owned)
            .or_else(|| Some(slug::environment(&name)))
    }

    fn known_field(&self, field: &str) -> Option<String> {
        match self.fields.get(field) {
            Some(Ok(Some(value))) => Some(plain(value)),
            _ => None,
        }
    }

    fn text(&mut self, field: &'static str) -> Option<String> {
        let value = self.field(field, &mut Vec::new()).ok()??;
        Some(plain(&value))
    }
}

fn declared(field: &str) -> Option<&'static Variable> {
    EventVariables::VARIABLES
        .iter()
        .find(|variable| variable.field == field)
}

/// The problem of fields each of which is made from the next, and the last from the first.
fn circle(fields: &[&str]) -> Problem {
    let mut names: Vec<&str> = fields.iter().filter_map(|field| Some(declared(field)?.name)).collect();
    let first = names.first().copied().unwrap_or_default();
    names.push(first);
    Problem::new(first, format!("would be made from itself: {}", names.join(" from ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{gitlab::pipeline, template::Template, variables::Renderer as _};

    const GITLAB: &[(&str, &str)] = &[
        ("CI_PROJECT_PATH", "Acme/Shop"),
        ("CI_PROJECT_PATH_SLUG", "acme-shop"),
        ("CI_PIPELINE_ID", "8812"),
        (
            "CI_PIPELINE_URL",
            "https://gitlab.example.com/acme/shop/-/pipelines/8812",
        ),
        ("CI_COMMIT_SHA", "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012"),
        ("CI_COMMIT_REF_NAME", "fix/\"quoted\" \\ ünïcode"),
        ("CI_JOB_ID", "991"),
        ("GITLAB_USER_LOGIN", "dana"),
        ("CI_JOB_TOKEN", "job-token-value"),
    ];

    fn environment(more: &[(&str, &str)]) -> Environment {
        let variables = GITLAB.iter().chain(more);
        Environment::from_variables(variables.map(|(name, value)| (name.into(), value.into())))
    }

    fn resolver<'a>(environment: &'a Environment, open: &[&str]) -> Resolver<'a> {
        let open: Vec<String> = open.iter().map(|&pattern| pattern.to_owned()).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_823_651);
        let declared: Vec<&Variable> = crate::destinations::variables().collect();
        let literals = pipeline::written_by_people(environment);
        Resolver::new(environment, &literals, None, &open, &declared, now)
    }

    fn event(more: &[(&str, &str)]) -> Event {
        resolver(&environment(more), &[]).finish().0.unwrap()
    }

    fn problem(more: &[(&str, &str)]) -> String {
        let (event, _) = resolver(&environment(more), &[]).finish();
        event.unwrap_err().to_string()
    }

    #[test]
    fn defaults_come_from_gitlab() {
        let event = event(&[("EVENT_ACTION", "success"), ("EVENT_ENVIRONMENT", "production")]);
        assert_eq!(event.id(), Ok("acme-shop-8812-production"));
        assert_eq!(event.title(), Ok("Acme/Shop #8812 (production)"));
        assert_eq!(event.branch.as_deref(), Some("fix/\"quoted\" \\ ünïcode"));
        assert_eq!(event.user.as_deref(), Some("dana"));
        assert_eq!(event.time, "2025-03-01T10:07:31Z");
        assert_eq!(
            (event.job.started_at, event.job.finished_at, event.job.attempt),
            (None, None, 1)
        );
    }

    #[test]
    fn a_template_that_comes_to_nothing_sets_nothing() {
        let nothing = "{{ env.CI_COMMIT_TAG | default('') }}";
        let event = event(&[
            ("EVENT_ACTION", "success"),
            ("EVENT_SERVICE", nothing),
            ("EVENT_ENVIRONMENT", nothing),
            ("CI_ENVIRONMENT_NAME", "production"),
            ("EVENT_TITLE", nothing),
        ]);
        assert_eq!(event.id(), Ok("acme-shop-8812-production"));
        assert_eq!((event.service, event.title), (None, None));
        // It is as `auto`, which a unit has no jobs for.
        let action = resolver(&environment(&[("EVENT_ACTION", nothing)]), &[]).finish().0;
        assert!(matches!(action.unwrap().action, Err(Unmade::Wrong(_))));
    }

    #[test]
    fn a_branch_is_found_in_merge_request_and_tag_pipelines() {
        let branch = |more| event(more).branch;
        assert_eq!(branch(&[("CI_COMMIT_BRANCH", "main")]).as_deref(), Some("main"));
        assert_eq!(
            branch(&[
                ("CI_COMMIT_BRANCH", ""),
                ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "topic")
            ])
            .as_deref(),
            Some("topic")
        );
    }

    #[test]
    fn every_job_comes_to_the_same_id() {
        let deploy = event(&[
            ("CI_ENVIRONMENT_NAME", "review/Feature"),
            ("CI_ENVIRONMENT_SLUG", "review-feature-qwerty"),
            ("CI_JOB_ID", "1"),
        ]);
        assert_eq!(
            deploy.id(),
            Ok("acme-shop-8812-review-feature-qwerty"),
            "GitLab's own slug is taken"
        );
        let computed = slug::environment("review/Feature");
        let notify = event(&[("EVENT_ENVIRONMENT", "review/Feature"), ("CI_JOB_ID", "2")]);
        assert_eq!(notify.id(), Ok(format!("acme-shop-8812-{computed}").as_str()));
    }

    /// The id and the title of a report; `watched` is `NOTIFY_JOB`, `is_of_job` whether it is of one job's deployment.
    fn identity(watched: Option<&str>, is_of_job: bool, more: &[(&str, &str)]) -> (String, String) {
        let environment = environment(more);
        let mut resolver = Resolver::new(&environment, &[], watched, &[], &[], SystemTime::UNIX_EPOCH);
        if is_of_job {
            resolver.report_deploy_job();
        }
        let event = match resolver.finish().0 {
            Ok(event) => event,
            Err(why) => return (why.to_string(), String::new()),
        };
        (event.id().unwrap().to_owned(), event.title().unwrap().to_owned())
    }

    #[test]
    fn services_and_deploy_jobs_have_ids_of_their_own() {
        type Case<'a> = (Option<&'a str>, bool, &'a [(&'a str, &'a str)], &'a str, &'a str);
        const PRODUCTION: (&str, &str) = ("EVENT_ENVIRONMENT", "production");
        const SHOP: (&str, &str) = ("EVENT_SERVICE", "shop");
        const OF_MATRIX: (&str, &str) = ("EVENT_SERVICE", "{{ job.matrix[0] }}");
        let inside = |job: &'static str| [("CI_JOB_STATUS", "success"), ("CI_JOB_NAME", job)];
        let [deploy, [_, shop], [_, eu]] = ["deploy", "deploy: [shop, eu]", "deploy: [shop, us]"].map(inside);
        let no_job = "NOTIFY_JOB is not set, and this is no after_script: --deploy-job reports the deployment of one job, \
                      so name it";
        let cases: &[Case] = &[
            (None, false, &[], "acme-shop-8812", "Acme/Shop #8812"),
            (None, false, &[SHOP], "acme-shop-8812--shop", "Acme/Shop/shop #8812"),
            (
                None,
                false,
                &[SHOP, PRODUCTION, ("CI_COMMIT_TAG", "1.4.2")],
                "acme-shop-8812-production--shop",
                "Acme/Shop/shop 1.4.2 (production)",
            ),
            (
                None,
                false,
                &[("EVENT_SERVICE", "Shop API")],
                "acme-shop-8812--shop-api-r14ln6",
                "Acme/Shop/Shop API #8812",
            ),
            // A report of one's own, whatever job it names.
            (
                Some("deploy"),
                false,
                &[PRODUCTION],
                "acme-shop-8812-production",
                "Acme/Shop #8812 (production)",
            ),
            (Some("deploy"), true, &[], "acme-shop-8812--deploy", "Acme/Shop #8812"),
            (
                Some("deploy"),
                true,
                &[SHOP, PRODUCTION],
                "acme-shop-8812-production--deploy",
                "Acme/Shop/shop #8812 (production)",
            ),
            (None, true, &deploy, "acme-shop-8812--deploy", "Acme/Shop #8812"),
            // Each part of a matrix knows its own name; from outside it is named, and GitLab need not be asked.
            (
                None,
                true,
                &[deploy[0], shop, OF_MATRIX],
                "acme-shop-8812--deploy-shop-eu-r1zutj",
                "Acme/Shop/shop #8812",
            ),
            (
                Some("deploy"),
                true,
                &[deploy[0], eu, OF_MATRIX],
                "acme-shop-8812--deploy-shop-us-li2bte",
                "Acme/Shop/shop #8812",
            ),
            (
                Some("deploy: [shop, eu]"),
                true,
                &[OF_MATRIX],
                "acme-shop-8812--deploy-shop-eu-r1zutj",
                "Acme/Shop/shop #8812",
            ),
            (
                Some("deploy: [shop, eu]"),
                false,
                &[OF_MATRIX],
                "acme-shop-8812--shop",
                "Acme/Shop/shop #8812",
            ),
            // Until it is known what a job stops, which only destinations that hold no entities will be told.
            (
                None,
                true,
                &[deploy[0], ("CI_JOB_NAME", "stop"), ("CI_ENVIRONMENT_ACTION", "stop")],
                "acme-shop-8812--stop",
                "Acme/Shop #8812",
            ),
            (None, true, &[], no_job, ""),
            (
                None,
                true,
                &[("CI_JOB_STATUS", "running"), ("CI_JOB_NAME", "notify")],
                no_job,
                "",
            ),
            (
                None,
                false,
                &[SHOP, ("EVENT_ID", "mine"), ("EVENT_TITLE", "{{ event.service }}!")],
                "mine",
                "shop!",
            ),
        ];
        for (watched, is_of_job, more, id, title) in cases {
            let (found, named) = identity(*watched, *is_of_job, more);
            assert_eq!(
                (found.as_str(), named.as_str()),
                (*id, *title),
                "{watched:?} {is_of_job} {more:?}"
            );
        }
    }

    #[test]
    fn one_part_of_a_matrix_is_known_by_the_pipelines_jobs() {
        let service = |jobs: &[&str]| {
            let environment = environment(&[("EVENT_SERVICE", "{{ job.matrix[0] | default('none') }}")]);
            let mut resolver = Resolver::new(&environment, &[], Some("deploy"), &[], &[], SystemTime::UNIX_EPOCH);
            resolver.set_job_names(jobs.iter().copied());
            resolver.finish().0.unwrap().service
        };
        assert_eq!(
            service(&["build", "deploy: [shop]", "deploy: [shop]"]).as_deref(),
            Some("shop")
        );
        for jobs in [&["deploy"][..], &["deploy: [shop]", "deploy: [api]"], &[]] {
            assert_eq!(service(jobs).as_deref(), Some("none"), "{jobs:?}");
        }
    }

    #[test]
    fn a_report_on_no_job_has_an_empty_matrix() {
        let environment = environment(&[("EVENT_TITLE", "{{ job.matrix | length }}{{ job.matrix | join('-') }}")]);
        let event = Resolver::new(&environment, &[], None, &[], &[], SystemTime::UNIX_EPOCH).finish();
        assert_eq!(event.0.unwrap().title.as_deref(), Some("0"));
    }

    #[test]
    fn after_script_knows_the_outcome_and_the_times() {
        let event = event(&[
            ("CI_JOB_STATUS", "failed"),
            ("CI_JOB_STARTED_AT", "2025-03-01T10:00:01Z"),
        ]);
        assert_eq!(event.action(), Ok(&Action::Failure));
        assert_eq!(event.job.started_at.as_deref(), Some("2025-03-01T10:00:01Z"));
        assert_eq!(event.job.finished_at.as_deref(), Some("2025-03-01T10:07:31Z"));
        assert_eq!(event.job.duration, Some(450));
        assert!(event.summary().contains("from CI_JOB_STATUS"));
    }

    #[test]
    fn an_unknown_outcome_is_only_an_error_for_who_asks() {
        for status in ["", "running"] {
            let event = event(&[("CI_JOB_STATUS", status), ("EVENT_ACTION", "auto")]);
            let problem = event.action().unwrap_err().to_string();
            assert!(problem.starts_with("EVENT_ACTION is auto"), "{problem}");
            assert!(problem.contains("started, progressing, success"), "{problem}");
        }
    }

    #[test]
    fn fields_may_refer_to_each_other_but_not_to_themselves() {
        let event = event(&[
            (
                "EVENT_TITLE",
                "{{ event.name | upper }} {{ event.id }} try {{ event.attempt }}",
            ),
            ("EVENT_ENVIRONMENT", "{{ env.CI_COMMIT_REF_NAME | slug }}"),
            (
                "EVENT_PROPERTIES",
                r#"{"commit": "{{ event.commit }}", "n": "{{ pipeline.id }}", "price": 1.50}"#,
            ),
        ]);
        let id = "acme-shop-8812-fix-quoted-n-code";
        assert_eq!(event.title(), Ok(format!("DEPLOYMENT {id} try 1").as_str()));
        assert_eq!(event.properties["n"], json!(8812));
        assert_eq!(event.properties["price"].to_string(), "1.50");
        assert_eq!(
            problem(&[("EVENT_TITLE", "{{ event.id }}"), ("EVENT_ID", "{{ event.title }}")]),
            "EVENT_ID would be made from itself: EVENT_ID from EVENT_TITLE from EVENT_ID"
        );
        assert!(problem(&[("EVENT_PROPERTIES", r#"{"a": "{{ event }}"}"#)]).contains("would be made from itself"));
        assert!(problem(&[("EVENT_ENVIRONMENT", "{{ changes.count }}")]).contains("would be made from `changes`"));
    }

    #[test]
    fn what_looks_like_a_circle_and_is_none() {
        let one = event(&[
            ("EVENT_TITLE", "{{ event.id }}"),
            ("EVENT_ID", "{{ event.version | default('x') }}"),
        ]);
        assert_eq!(one.title(), Ok("x"));
        // The deploy job is no field that anything here is made from.
        let job = event(&[
            ("EVENT_ACTION", "success"),
            ("EVENT_ENVIRONMENT", "{{ event.job | default('production') }}"),
        ]);
        assert_eq!(job.title(), Ok("Acme/Shop #8812 (production)"));
        let action = event(&[("EVENT_ACTION", "{{ event.job | default('failed') }}")]);
        assert_eq!(action.action(), Ok(&Action::Failure));
    }

    #[test]
    fn bad_values_name_their_variable() {
        assert!(
            problem(&[("EVENT_PROPERTIES", "{\"a\": }")])
                .starts_with("EVENT_PROPERTIES is not JSON: expected value at line 1, column 7")
        );
        assert!(problem(&[("EVENT_PROPERTIES", "[1]")]).contains("it is an array"));
        assert!(
            problem(&[("EVENT_REPO", "$CI_PROJECT_PATH")]).starts_with("EVENT_REPO is literally `$CI_PROJECT_PATH`")
        );
        assert!(
            problem(&[("EVENT_TITLE", "{{ event.image }}")])
                .starts_with("EVENT_TITLE has a template at character 1: `event.image` has no value")
        );
        assert_eq!(
            problem(&[("EVENT_ID", "{{ event.image }}"), ("EVENT_TITLE", "{{ event.id }}")])
                .matches("EVENT_ID")
                .count(),
            1,
            "what is made from it adds nothing"
        );
    }

    #[test]
    fn what_a_commit_says_is_no_template() {
        let title = "Fix {{ .Values.image.tag }}";
        let event = event(&[
            ("CI_COMMIT_TITLE", title),
            ("EVENT_TITLE", "{{ event.name }}: Fix {{ .Values.image.tag }}"),
        ]);
        assert_eq!(event.title(), Ok("deployment: Fix {{ .Values.image.tag }}"));
    }

    #[test]
    fn templates_reach_what_they_may() {
        let environment = environment(&[
            ("RELY_API_TOKEN", "secret-1"),
            ("COPY", "https://x/?token=secret-1"),
            ("MY_TOKEN", "secret-2"),
            ("MY_DB", "postgres://app:pass@db"),
            ("MY_TEXT", "text"),
            ("OTHER", "other"),
            ("CI_DEPLOY_KEY", "a-deploy-key"),
            ("GITLAB_PASS", "a-password"),
            ("CI_KUBECONFIG", "users: []"),
        ]);
        let (_, names) = resolver(&environment, &["MY_*", "RELY_API_TOKEN", "COPY", "CI_JOB_TOKEN"]).finish();
        let render = |name: &str| {
            let template = Template::text(&format!("{{{{ {name} | default('none') }}}}"), &[]).unwrap();
            names.render("A", &template)
        };
        for (name, value) in [
            ("env.MY_TEXT", json!("text")),
            ("env.EVENT_REPO", json!("Acme/Shop")),
            ("env.CI_PROJECT_PATH", json!("Acme/Shop")),
            ("pipeline.id", json!(8812)),
            ("env.CI_COMMIT_TAG", json!("none")),
            ("event.image", json!("none")),
            ("pipeline.tag", json!("none")),
            ("event.properties.x", json!("none")),
        ] {
            assert_eq!(render(name), Ok(value), "{name}");
        }
        for name in [
            "env.OTHER",
            "env.MY_TOKEN",
            "env.MY_DB",
            "env.RELY_API_TOKEN",
            "env.COPY",
            "env.CI_JOB_TOKEN",
            "env.CI_DEPLOY_KEY",
            "env.GITLAB_PASS",
            "env.CI_KUBECONFIG",
            "env.EVENT_EXTRA",
            "env.HOME",
            "event.nope",
            "pipeline.nope",
            "job.nope",
            "nope",
        ] {
            assert!(
                matches!(render(name), Err(Unmade::Wrong(_))),
                "{name}: {:?}",
                render(name)
            );
        }
    }

    #[test]
    fn outside_gitlab_only_the_id_is_missing() {
        let environment = Environment::default();
        let event = resolver(&environment, &[]).finish().0.unwrap();
        assert_eq!(event.id().unwrap_err().variable, "EVENT_ID");
        assert_eq!(event.title().unwrap_err().variable, "EVENT_ID");
    }

    #[test]
    fn nothing_happened_is_told_where_a_template_wants_to_know() {
        let environment = environment(&[("EVENT_TITLE", "{{ event.action }}")]);
        let mut resolver = resolver(&environment, &[]);
        resolver.set_outcome(Outcome::Nothing("`deploy` was skipped".to_owned()));
        let (event, _) = resolver.finish();
        assert_eq!(event.unwrap_err(), Unmade::Nothing("`deploy` was skipped".to_owned()));
    }

    #[test]
    fn every_end_that_the_runner_knows_is_told() {
        for (status, action) in [
            ("success", Action::Success),
            ("failed", Action::Failure),
            ("timedout", Action::Failure),
            ("terminated", Action::Failure),
            ("canceled", Action::Canceled),
        ] {
            assert_eq!(event(&[("CI_JOB_STATUS", status)]).action(), Ok(&action), "{status}");
        }
        let unknown = event(&[("CI_JOB_STATUS", "levitating")])
            .action()
            .unwrap_err()
            .to_string();
        assert!(
            unknown.starts_with("EVENT_ACTION is auto, and CI_JOB_STATUS is `levitating`"),
            "{unknown}"
        );
    }
}
