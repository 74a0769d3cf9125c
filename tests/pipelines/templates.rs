//! The templates by GitLab's rules: those that GitLab checks when a pipeline is created, and those that nobody checks
//! until a user's pipeline breaks. No published schema looks at hidden jobs, so this does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{
    project::{Project, check_schema, script},
    shared::{REPOSITORY, catalog},
};

/// What `.notify-binary` runs: the one hidden job that is no call of the program.
const HAND_OVER: &str = r#"mkdir -p .notify-binary && cp "$(command -v notify-event)" .notify-binary/notify-event && echo '*' >.notify-binary/.gitignore"#;

/// The hidden jobs of a component and the one command that each of them runs, as the catalog has them.
fn hidden_jobs(component: &str) -> Vec<(String, String)> {
    let catalog: Value = catalog();
    let components = catalog["components"].as_array().expect("components");
    let component = components
        .iter()
        .find(|entry| entry["name"] == component)
        .unwrap_or_else(|| panic!("the catalog has no component {component}"));
    let jobs = component["hidden-jobs"].as_array().expect("hidden jobs");
    jobs.iter()
        .map(|job| {
            let name = job["name"].as_str().expect("a name").to_owned();
            let runs = match &job["runs"] {
                Value::Null if name == ".notify-binary" => HAND_OVER,
                runs => runs.as_str().unwrap_or_else(|| panic!("{name} runs nothing")),
            };
            (name, runs.to_owned())
        })
        .collect()
}

/// What would reach beyond the jobs that extend a hidden job: a template must not say any of it.
const GLOBAL: [&str; 11] = [
    "after_script",
    "before_script",
    "cache",
    "default",
    "image",
    "include",
    "pages",
    "services",
    "stages",
    "variables",
    "workflow",
];

/// A template file: its header's inputs, and the jobs below.
pub struct Template {
    name: String,
    inputs: Map<String, Value>,
    pub jobs: Map<String, Value>,
    text: String,
}

pub fn object(value: &Value) -> Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("not a mapping: {value}"))
        .clone()
}

fn templates() -> Vec<Template> {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(REPOSITORY).join("templates")).expect("templates/") {
        names.push(
            entry
                .expect("templates/")
                .file_name()
                .into_string()
                .expect("a name in UTF-8"),
        );
    }
    names.sort();
    let read = |name: String| {
        let text = fs::read_to_string(Path::new(REPOSITORY).join("templates").join(&name)).expect("a template");
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let [header, body] = documents.as_slice() else {
            panic!("{name}: a header, a line `---` and the jobs")
        };
        assert_eq!(
            object(header).keys().collect::<Vec<_>>(),
            ["spec"],
            "{name}: keys of the header"
        );
        // `spec: description` and `spec: component` are younger than the GitLab versions that this supports.
        assert_eq!(
            object(&header["spec"]).keys().collect::<Vec<_>>(),
            ["inputs"],
            "{name}: keys of spec"
        );
        Template {
            inputs: object(&header["spec"]["inputs"]),
            jobs: object(body),
            name,
            text,
        }
    };
    names.into_iter().map(read).collect()
}

pub fn template(name: &str) -> Template {
    templates()
        .into_iter()
        .find(|template| template.name == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

/// A job's name with every input at its default.
fn filled(template: &Template, name: &str) -> String {
    let mut name = name.to_owned();
    for (input, spec) in &template.inputs {
        name = name.replace(
            &format!("$[[ inputs.{input} ]]"),
            spec["default"].as_str().unwrap_or_default(),
        );
    }
    name
}

/// The jobs by their names, with every input at its default.
pub fn jobs_by_name(template: &Template) -> BTreeMap<String, Value> {
    template
        .jobs
        .iter()
        .map(|(name, job)| (filled(template, name), job.clone()))
        .collect()
}

#[test]
fn every_template_is_a_component_by_its_name() {
    for template in templates() {
        let stem = template
            .name
            .strip_suffix(".yml")
            .unwrap_or_else(|| panic!("{} must end in .yml", template.name));
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        assert!(
            !stem.is_empty() && stem.chars().all(allowed),
            "{} is no component's name to GitLab",
            template.name
        );
    }
}

#[test]
fn every_header_is_valid_to_gitlabs_schema() {
    for Template { name, text, .. } in templates() {
        // The checker takes one document at a time.
        let (header, _) = text.split_once("\n---\n").expect("a header");
        check_schema(header).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            check_schema(&header.replace("type: string", "type: text")).is_err(),
            "the schema accepts anything"
        );
    }
}

#[test]
fn every_input_is_explained_typed_and_optional() {
    for Template { name: file, inputs, .. } in templates() {
        for (name, input) in inputs {
            let input = object(&input);
            let kebab = |letter: char| letter.is_ascii_lowercase() || letter == '-';
            assert!(name.chars().all(kebab), "{file}: {name} is not in kebab-case");
            let description = input["description"].as_str().unwrap_or_default();
            assert!(
                (20..=1024).contains(&description.len()),
                "{file}: {name}: a description of 20 to 1024 characters"
            );
            assert!(
                input.contains_key("default"),
                "{file}: {name} has no default, so a bare include would fail"
            );
            match (input["type"].as_str(), &input["default"]) {
                (Some("string"), Value::String(default)) => {
                    let regex = input["regex"]
                        .as_str()
                        .unwrap_or_else(|| panic!("{file}: {name} has no regex"));
                    // GitLab checks the default too.
                    let regex = regex::Regex::new(regex).unwrap_or_else(|error| panic!("{file}: {name}: {error}"));
                    assert!(
                        regex.is_match(default),
                        "{file}: {name}: its default doesn't match its regex"
                    );
                }
                (Some("boolean"), Value::Bool(_)) | (Some("array"), Value::Array(_)) => {}
                (kind, default) => panic!("{file}: {name}: type {kind:?} with default {default}"),
            }
            let known = ["default", "description", "type", "regex"];
            assert!(
                input.keys().all(|key| known.contains(&key.as_str())),
                "{file}: {name}: unknown key"
            );
        }
    }
}

#[test]
fn every_input_is_used_and_every_used_input_is_declared() {
    for Template { name, inputs, text, .. } in templates() {
        let used: BTreeSet<&str> = text
            .split("$[[ inputs.")
            .skip(1)
            .map(|rest| rest.split(" ]]").next().unwrap_or_default())
            .collect();
        let declared: BTreeSet<&str> = inputs.keys().map(String::as_str).collect();
        assert_eq!(used, declared, "{name}");
        // GitLab refuses a file with a component context when it is included by project, remote or local.
        assert!(!text.contains("$[[ component."), "{name} uses the component context");
    }
}

#[test]
fn the_default_image_is_this_version() {
    script("check-version", &[]);
    for Template { name, inputs, .. } in templates() {
        let image = inputs["image"]["default"].as_str().unwrap_or_default();
        assert_eq!(image.rsplit(':').next(), Some(env!("CARGO_PKG_VERSION")), "{name}");
    }
}

#[test]
fn a_forgotten_version_is_found() {
    let copy = tempfile::tempdir().expect("a temporary folder");
    for file in [
        "Cargo.toml",
        "scripts/common.sh",
        "scripts/check-version",
        "templates/notify-event.yml",
    ] {
        let path = copy.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::copy(Path::new(REPOSITORY).join(file), path).expect("a copy");
    }
    let check = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(copy.path().join("scripts/check-version"));
        let output = command
            .env_remove("CI_COMMIT_TAG")
            .envs(variables.iter().copied())
            .output()
            .expect("bash");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert!(check(&[]).0);
    assert!(check(&[("CI_COMMIT_TAG", env!("CARGO_PKG_VERSION"))]).0);
    for (tag, registry) in [
        ("99.0.0", ""),
        (env!("CARGO_PKG_VERSION"), "registry.example.com/a/fork"),
    ] {
        let (agrees, said) = check(&[("CI_COMMIT_TAG", tag), ("CI_REGISTRY_IMAGE", registry)]);
        assert!(
            !agrees && (said.contains("99.0.0") || said.contains("a/fork")),
            "{said}"
        );
    }
    let template = copy.path().join("templates/notify-event.yml");
    let text = fs::read_to_string(&template).expect("a template");
    fs::write(
        &template,
        text.replace(concat!(":", env!("CARGO_PKG_VERSION")), ":99.0.0"),
    )
    .expect("a template");
    let (agrees, said) = check(&[]);
    assert!(!agrees && said.contains("templates/notify-event.yml"), "{said}");
}

#[test]
fn the_hidden_jobs_are_the_promised_ones_each_with_one_command() {
    let jobs = jobs_by_name(&template("notify-event.yml"));
    let commands: BTreeMap<&str, Vec<&str>> = jobs
        .iter()
        .map(|(name, job)| {
            (
                name.as_str(),
                job["script"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect(),
            )
        })
        .collect();
    let promised = hidden_jobs("notify-event");
    assert_eq!(
        commands,
        promised
            .iter()
            .map(|(name, command)| (name.as_str(), vec![command.as_str()]))
            .collect()
    );
}

#[test]
fn the_catalog_lists_the_hidden_jobs_in_the_templates_order_and_files_that_exist() {
    let names: Vec<String> = hidden_jobs("notify-event").into_iter().map(|(name, _)| name).collect();
    let template = template("notify-event.yml");
    let written: Vec<String> = template.jobs.keys().map(|name| filled(&template, name)).collect();
    assert_eq!(names, written);
    let catalog: Value = catalog();
    let components = catalog["components"].as_array().into_iter().flatten();
    let listed: BTreeSet<&str> = components.filter_map(|component| component["file"].as_str()).collect();
    let files: Vec<String> = templates()
        .into_iter()
        .map(|template| format!("templates/{}", template.name))
        .collect();
    assert_eq!(listed, files.iter().map(String::as_str).collect());
}

#[test]
fn no_template_says_anything_global() {
    for template in templates() {
        for name in jobs_by_name(&template).keys() {
            assert!(
                !GLOBAL.contains(&name.as_str()),
                "{}: {name} holds for the user's whole pipeline",
                template.name
            );
        }
    }
}

#[test]
fn a_hidden_job_leaves_to_the_user_what_is_the_users() {
    let template = template("notify-event.yml");
    for (name, job) in jobs_by_name(&template) {
        assert!(name.starts_with('.'), "{name} is not hidden");
        // Not `environment`: GitLab would record a deployment. Not `rules` and the like: theirs would replace ours.
        let allowed = [
            "allow_failure",
            "artifacts",
            "before_script",
            "extends",
            "image",
            "inherit",
            "interruptible",
            "retry",
            "script",
            "stage",
            "timeout",
            "variables",
        ];
        // When a schedule reconciles is said by a variable; it waits for no job, and for its own like alone.
        let scheduled = ["dependencies", "needs", "resource_group", "rules"];
        for key in object(&job).keys() {
            let key = key.as_str();
            let allowed = allowed.contains(&key) || name == ".notify-reconcile" && scheduled.contains(&key);
            assert!(allowed, "{name}: {key}");
        }
        // A job's variables beat those at the top of the user's file.
        for variable in job["variables"].as_object().into_iter().flat_map(Map::keys) {
            assert_eq!(variable, "GIT_STRATEGY", "{name} hides the user's own {variable}");
        }
        if name != ".notify-event" {
            let parent = job["extends"].as_str().unwrap_or_default();
            assert!(
                parent.starts_with(".$[[ inputs.job-prefix ]]"),
                "{name} extends {parent:?}"
            );
        }
    }
}

#[test]
fn the_base_job_is_as_gitlab_needs_it() {
    let base = &jobs_by_name(&template("notify-event.yml"))[".notify-event"];
    assert_eq!(base["image"]["entrypoint"], json!([""]));
    assert_eq!(base["inherit"], json!({"default": ["tags"]}));
    assert_eq!(base["retry"]["max"], json!(2));
    assert_eq!(base["variables"], json!({"GIT_STRATEGY": "none"}));
    assert_eq!(base["interruptible"], json!(false));
    // Receipts and what was not delivered are kept whatever the end, and where the program is told to leave them.
    assert_eq!(base["artifacts"]["when"], json!("always"));
    assert_eq!(base["artifacts"]["paths"], json!([".notify-event/"]));
    assert_eq!(
        base["before_script"],
        json!(["export NOTIFY_OUTPUT_DIR=\"${NOTIFY_OUTPUT_DIR:-${NOTIFY_OUTPUT_DIR_DEFAULT:-.notify-event}}\""])
    );
}

/// A pipeline in which a job extends every hidden job.
fn every_hidden_job(includes: &str, prefix: &str) -> Project {
    let project = Project::with_templates();
    let mut pipeline = format!("include:\n{includes}\nbuild:\n  script: echo built\n");
    for (hidden, _) in hidden_jobs("notify-event") {
        let name = &hidden[1..];
        write!(pipeline, "{prefix}{name}:\n  extends: .{prefix}{name}\n").expect("text takes all");
    }
    project.write(".gitlab-ci.yml", &pipeline);
    project
}

pub const COMPONENT: &str = "  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/notify-event@$CI_COMMIT_SHA";
pub const LIFECYCLE: &str = "  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/deployment-lifecycle@$CI_COMMIT_SHA";
pub const REPORT: &str = "  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/deployment-report@$CI_COMMIT_SHA";

#[test]
fn expanded_every_hidden_job_is_valid_to_gitlabs_schema() {
    let project = every_hidden_job(COMPONENT, "");
    project.commit();
    let expanded = project.expanded().expect("an expanded pipeline");
    check_schema(&expanded).expect("valid");
    for (hidden, _) in hidden_jobs("notify-event") {
        assert!(
            expanded.contains(&format!("\n{}:\n", &hidden[1..])),
            "{hidden} is not in the expanded pipeline"
        );
    }
    // The check is worth something only if it refuses what GitLab refuses.
    let wrong = expanded.replacen("interruptible: false", "interruptible: perhaps", 1);
    assert!(check_schema(&wrong).is_err(), "the schema accepts anything");
}

#[test]
fn a_file_can_be_included_in_every_way_with_and_without_inputs() {
    let ways = [
        COMPONENT,
        "  - local: templates/notify-event.yml",
        "  - project: group/notify-event\n    ref: '1'\n    file: templates/notify-event.yml",
        "  - remote: https://gitlab.example.com/group/notify-event/-/raw/1/templates/notify-event.yml",
    ];
    for way in ways {
        for prefix in ["", "blue-"] {
            let inputs = if prefix.is_empty() {
                ""
            } else {
                "\n    inputs:\n      stage: .pre\n      job-prefix: blue-"
            };
            let project = every_hidden_job(&format!("{way}{inputs}"), prefix);
            // Where gitlab-ci-local keeps what it has fetched: other projects' files need no network then.
            let template = fs::read_to_string(project.path("templates/notify-event.yml")).expect("the template");
            let fetched = ".gitlab-ci-local/includes/gitlab.example.com/group/notify-event";
            project.write(&format!("{fetched}/1/templates/notify-event.yml"), &template);
            project.write(&format!("{fetched}/-/raw/1/templates/notify-event.yml"), &template);
            project.commit();
            let expanded = project.expanded().unwrap_or_else(|error| panic!("{way}: {error}"));
            check_schema(&expanded).unwrap_or_else(|error| panic!("{way}: {error}"));
        }
    }
}

#[test]
fn two_includes_with_different_inputs_live_together() {
    let first = format!("{COMPONENT}\n    inputs:\n      image: registry.example.com/one:1");
    let second = format!("{COMPONENT}\n    inputs:\n      job-prefix: blue-\n      image: registry.example.com/two:2");
    let project = Project::with_templates();
    let jobs = "one:\n  extends: .rely-notify\ntwo:\n  extends: .blue-rely-notify\nbuild:\n  script: echo built\n";
    project.write(".gitlab-ci.yml", &format!("include:\n{first}\n{second}\n{jobs}"));
    project.commit();
    let expanded = project.expanded().expect("an expanded pipeline");
    let pipeline: Vec<Value> = serde_saphyr::from_multiple(&expanded).expect("YAML");
    assert_eq!(pipeline[0]["one"]["image"]["name"], "registry.example.com/one:1");
    assert_eq!(pipeline[0]["two"]["image"]["name"], "registry.example.com/two:2");
}

#[test]
fn wrong_inputs_are_refused_before_any_job_starts() {
    // GitLab refuses an unknown input too; gitlab-ci-local lets it pass.
    let cases = [
        (COMPONENT, "job-prefix: Blue", "job-prefix"),
        (COMPONENT, "job-prefix: [blue]", "job-prefix"),
        (COMPONENT, "image: ''", "image"),
        (LIFECYCLE, "report-started: perhaps", "report-started"),
        (LIFECYCLE, "destinations: rely; rm -rf /", "destinations"),
        (LIFECYCLE, "destinations: rely port", "destinations"),
        (LIFECYCLE, "environment: '$(id)'", "environment"),
        // Nothing gets out of the quotes that a script puts around it.
        (LIFECYCLE, "deploy-job: \"deploy 'it'\"", "deploy-job"),
        (LIFECYCLE, "deploy-job: .hidden", "deploy-job"),
        (LIFECYCLE, "service: a$(id)", "service"),
        (LIFECYCLE, "service: '${x:-$(id)}'", "service"),
        (LIFECYCLE, "service: '${x@P}'", "service"),
        (LIFECYCLE, "service: 'a`id`'", "service"),
        (REPORT, "service: 'a\"; id; \"'", "service"),
        (REPORT, "service: 'a\\'", "service"),
        (REPORT, "service: \"a\\nb\"", "service"),
        (REPORT, "destinations: '$(id)'", "destinations"),
        (REPORT, "job-prefix: $HOME-", "job-prefix"),
        (REPORT, "expire-in: 'never\"'", "expire-in"),
        (COMPONENT, "allow-failure: sometimes", "allow-failure"),
        (COMPONENT, "retry-when: always", "retry-when"),
    ];
    for (include, input, named) in cases {
        let project = Project::with_templates();
        let jobs = "deploy:\n  stage: deploy\n  script: echo deployed\n";
        project.write(
            ".gitlab-ci.yml",
            &format!("include:\n{include}\n    inputs:\n      {input}\n{jobs}"),
        );
        project.commit();
        match project.expanded() {
            Ok(expanded) => panic!("{input} was accepted:\n{expanded}"),
            Err(error) => assert!(error.contains(named), "{input}: the error doesn't name it: {error}"),
        }
    }
}

#[test]
fn this_projects_own_pipelines_are_valid() {
    let mut files = vec![Path::new(REPOSITORY).join(".gitlab-ci.yml")];
    for child in fs::read_dir(Path::new(REPOSITORY).join(".gitlab")).expect(".gitlab/") {
        files.push(child.expect(".gitlab/").path());
    }
    for file in files {
        let yaml = fs::read_to_string(&file).expect("a pipeline");
        check_schema(&yaml).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

#[test]
fn the_components_own_test_pipeline_knows_what_the_sandbox_accepts() {
    let file = Path::new(REPOSITORY).join(".gitlab/component-test.yml");
    let pipeline: Value = serde_saphyr::from_str(&fs::read_to_string(file).expect("a pipeline")).expect("YAML");
    let mut accepted: BTreeMap<String, String> = sandbox::Sandbox::start().variables().into_iter().collect();
    for (name, value) in object(&pipeline["variables"]) {
        let Some(accepted) = accepted.remove(&name) else {
            continue;
        };
        // Each sandbox has an address of its own.
        let expected = if name.ends_with("_URL") {
            format!(
                "http://sandbox:8080/{}",
                accepted.rsplit('/').next().unwrap_or_default()
            )
        } else {
            accepted
        };
        assert_eq!(value, Value::String(expected), "{name}");
    }
}
