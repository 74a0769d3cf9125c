//! What the components promise whoever includes them: that no report breaks a pipeline, that nothing of theirs keeps a
//! deployment from starting, and that what stands in an input reaches the program as it is.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::{
    project::{Project, check_schema, text},
    templates::{COMPONENT, LIFECYCLE, REPORT, jobs_by_name, object, template},
};

/// The jobs of a pipeline that GitLab's schema accepts.
pub fn pipeline(yaml: &str) -> BTreeMap<String, Value> {
    let project = Project::with_templates();
    project.write(".gitlab-ci.yml", yaml);
    project.commit();
    let expanded = project.expanded().unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    check_schema(&expanded).unwrap_or_else(|error| panic!("{error}\n{expanded}"));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&expanded).expect("YAML");
    let [pipeline] = documents.as_slice() else {
        panic!("several documents:\n{expanded}")
    };
    object(pipeline)
        .into_iter()
        .filter(|(_, job)| job.is_object())
        .collect()
}

/// A pipeline of every job that our templates define, with a job of the user's behind each hidden one.
fn every_job(inputs: &str) -> BTreeMap<String, Value> {
    let mut yaml = "include:\n".to_owned();
    for component in [COMPONENT, REPORT, LIFECYCLE] {
        yaml += &format!("{component}\n    inputs: {{{inputs}}}\n");
    }
    yaml += "deploy:\n  stage: deploy\n  script: ./deploy.sh\n";
    for file in ["notify-event.yml", "deployment-report.yml"] {
        for name in jobs_by_name(&template(file)).keys() {
            if let Some(visible) = name.strip_prefix('.') {
                yaml += &format!("my {visible}:\n  extends: {name}\n  stage: deploy\n");
                if visible == "deployment-report" {
                    yaml += "  script: ./deploy.sh\n";
                }
            }
        }
    }
    let mut jobs = pipeline(&yaml);
    jobs.remove("deploy").expect("the deploy job");
    assert!(jobs.len() > 15, "{jobs:?}");
    jobs
}

/// The deploy job that extends our hidden job stays the user's own.
const DEPLOY: &str = "my deployment-report";

#[test]
fn no_job_of_ours_turns_a_pipeline_red_unless_it_is_told_to() {
    for (inputs, allowed) in [("", true), ("allow-failure: false", false)] {
        for (name, job) in every_job(inputs) {
            let expected = if name == DEPLOY { Value::Null } else { json!(allowed) };
            assert_eq!(job["allow_failure"], expected, "{name} with {{{inputs}}}");
        }
    }
}

#[test]
fn nothing_that_our_jobs_upload_expires_unless_it_is_told_to() {
    for (inputs, time) in [("", "never"), ("expire-in: 30 days", "30 days")] {
        for (name, job) in every_job(inputs) {
            // Where it is not set, GitLab's own default expires.
            assert_eq!(job["artifacts"]["expire_in"], json!(time), "{name} with {{{inputs}}}");
        }
    }
}

#[test]
fn what_the_runner_breaks_is_retried_in_the_words_of_the_instance() {
    let old = json!(["runner_system_failure", "stuck_or_timeout_failure"]);
    let new = json!(["runner_system_failure", "runner_interrupted"]);
    for (inputs, words) in [
        ("", old),
        ("retry-when: [runner_system_failure, runner_interrupted]", new),
    ] {
        // The published schema may be older than a word, so this looks at the text.
        for (name, job) in every_job(inputs) {
            let expected = if name == DEPLOY { Value::Null } else { words.clone() };
            assert_eq!(job["retry"]["when"], expected, "{name} with {{{inputs}}}");
        }
    }
}

#[test]
fn the_deploy_job_stays_the_users_own() {
    let hidden = jobs_by_name(&template("deployment-report.yml"))[".deployment-report"].clone();
    let keys: Vec<String> = object(&hidden).keys().cloned().collect();
    assert_eq!(keys, ["after_script", "artifacts"]);
    // What an artifact's file is called, or what GitLab reads it as, is the user's.
    let keys: Vec<String> = object(&hidden["artifacts"]).keys().cloned().collect();
    assert_eq!(keys, ["when", "paths", "access", "expire_in"]);
}

#[test]
fn the_program_is_handed_out_alike_by_both_components() {
    let resolved = |file: &str, name: &str| {
        let mut job = object(&jobs_by_name(&template(file))[name]);
        if job.remove("extends").is_some() {
            let base = object(&jobs_by_name(&template(file))[".notify-event"]);
            let mut artifacts = object(&base["artifacts"]);
            artifacts.extend(object(&job["artifacts"]));
            job.insert("artifacts".to_owned(), Value::Object(artifacts));
            for (key, value) in base {
                job.entry(key).or_insert(value);
            }
        }
        // The one is for your own rules, the other brings its own; neither reports anything.
        job.remove("rules");
        job.remove("before_script");
        job["artifacts"].as_object_mut().expect("artifacts").remove("reports");
        job
    };
    assert_eq!(
        resolved("deployment-report.yml", "notify-binary"),
        resolved("notify-event.yml", ".notify-binary")
    );
}

#[test]
fn the_lifecycle_component_adds_jobs_on_the_same_base() {
    let lifecycle = jobs_by_name(&template("deployment-lifecycle.yml"));
    let names: Vec<&str> = lifecycle.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            ".deploy:lifecycle",
            "deploy:failed",
            "deploy:started",
            "deploy:succeeded"
        ]
    );
    let mut base = object(&jobs_by_name(&template("notify-event.yml"))[".notify-event"]);
    base.remove("script");
    assert_eq!(object(&lifecycle[".deploy:lifecycle"]), base);
    for (name, action) in [
        ("deploy:started", "started"),
        ("deploy:succeeded", "auto:success"),
        ("deploy:failed", "auto:failure"),
    ] {
        let job = &lifecycle[name];
        // In `variables:` a project's variable of that name would beat it.
        assert!(job.get("variables").is_none(), "{name} sets variables");
        let script = job["script"][0].as_str().expect("a script");
        assert!(
            script.starts_with(&format!("EVENT_ACTION={action} ")),
            "{name}: {script}"
        );
        assert!(
            job.get("environment").is_none(),
            "{name} would be a deployment of its own"
        );
    }
    // With a second need, GitLab skips the failure report whenever that one was skipped.
    for (name, when) in [("deploy:succeeded", "on_success"), ("deploy:failed", "on_failure")] {
        assert_eq!(lifecycle[name]["needs"], json!(["$[[ inputs.deploy-job ]]"]), "{name}");
        assert_eq!(lifecycle[name]["rules"][0]["when"], json!(when), "{name}");
    }
}

#[test]
fn the_started_report_waits_for_what_the_deploy_job_waits_for() {
    // Without a `needs` it waits for the stages before, as the deploy job does.
    for (needs, waits_for) in [("[]", None), ("[build]", Some("build"))] {
        let jobs = pipeline(&format!(
            "include:\n{LIFECYCLE}\n    inputs: {{started-needs: {needs}}}\nbuild:\n  stage: build\n  script: make\n\
             deploy:\n  stage: deploy\n  script: ./deploy.sh\n"
        ));
        let started = &jobs["deploy:started"];
        let found = started.get("needs").map(|needs| needs[0]["job"].as_str());
        assert_eq!(found, waits_for.map(Some), "{started}");
    }
}

/// Inputs that a shell, YAML or GitLab might take for something else.
const UGLY_JOB: &str = "deploy $HOME & (prod): [a, {{b}}]; #1 `x` ${y} *";
pub const UGLY_SERVICE: &str = "{{ job.matrix[0] | default('a b') }} & $SERVICE; ${SERVICE} * #1 \u{1f680}";
pub const MEANT_SERVICE: &str = "{{ job.matrix[0] | default('a b') }} & it's; it's * #1 \u{1f680}";

#[test]
fn the_lifecycle_component_is_valid_bare_and_with_every_input() {
    for (inputs, prefix, job) in [
        ("", "", "deploy"),
        (
            r#"
    inputs:
      deploy-job: deploy production
      deploy-stage: ship
      stage: report
      destinations: rely, port:upsert, cto?
      environment: review/$CI_COMMIT_REF_SLUG
      service: "{{ job.matrix[0] }}"
      if: '"main" == $CI_COMMIT_BRANCH && $CI_COMMIT_TITLE !~ /^wip: #/'
      report-started: false
      started-needs: [build]
      image: registry.example.com/mirror/notify-event:1
      allow-failure: false
      expire-in: 30 days
      retry-when: [runner_system_failure]
      job-prefix: 'report '"#,
            "report ",
            "deploy production",
        ),
    ] {
        let stage = if inputs.is_empty() { "deploy" } else { "ship" };
        let jobs = pipeline(&format!(
            "include:\n{LIFECYCLE}{inputs}\nstages: [deploy, ship, report]\nbuild:\n  script: make\n  stage: deploy\n\
             {job}:\n  stage: {stage}\n  script: echo done\n"
        ));
        for end in ["started", "succeeded", "failed"] {
            let name = format!("{prefix}{job}:{end}");
            assert!(jobs.contains_key(&name), "{name} is missing in {jobs:?}");
        }
    }
}

/// The shells that images have: dash, bash, and busybox's.
pub const SHELLS: &[&[&str]] = &[&["dash"], &["bash"], &["busybox", "sh"]];

/// What the stand-in of the program prints: its arguments, and these variables.
const PROGRAM: &str = r#"#!/bin/sh
[ "$1" != --version ] || exit 0
printf '%s\n' "$*" "$EVENT_ACTION" "$NOTIFY_JOB" "$EVENT_SERVICE" "$EVENT_ENVIRONMENT" "$NOTIFY_DESTINATIONS" "$NOTIFY_OUTPUT_DIR"
exit "${ENDS_WITH:-0}"
"#;

pub fn put_program(path: &Path, program: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, program).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// Runs a script as the runner does, in `folder` with nothing but `variables` around it.
pub fn run(shell: &[&str], folder: &Path, script: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", script])
        .current_dir(folder)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", folder.join("bin").display()))
        .env("HOME", "/root")
        .envs(variables.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("{shell:?}: {error}"))
}

#[test]
fn what_the_lifecycles_inputs_say_reaches_the_program_as_it_is() {
    let inputs = json!({"deploy-job": UGLY_JOB, "service": UGLY_SERVICE, "environment": "review/$SLUG",
                        "destinations": "rely, cto?", "if": "$CI"});
    let include = LIFECYCLE.replace("  - component: ", "");
    let yaml = json!({"include": [{"component": include, "inputs": inputs}],
                      UGLY_JOB: {"stage": "deploy", "script": "./deploy.sh"}});
    let jobs = pipeline(&yaml.to_string());
    let folder = tempfile::tempdir().expect("a folder");
    put_program(&folder.path().join("bin/notify-event"), PROGRAM);
    for (end, action) in [
        ("started", "started"),
        ("succeeded", "auto:success"),
        ("failed", "auto:failure"),
    ] {
        let script = jobs[&format!("{UGLY_JOB}:{end}")]["script"][0]
            .as_str()
            .expect("a script");
        for shell in SHELLS {
            // As variables of the project, which beat a job's own: none of them says what happened, or to which job.
            let variables = [
                ("SLUG", "feature"),
                ("SERVICE", "it's"),
                ("EVENT_ACTION", "success"),
                ("NOTIFY_JOB", "another"),
            ];
            let said = run(shell, folder.path(), script, &variables);
            let expected =
                format!("--deploy-job\n{action}\n{UGLY_JOB}\n{MEANT_SERVICE}\nreview/feature\nrely, cto?\n\n");
            assert_eq!(text(&said), expected, "{shell:?}: {script}");
        }
    }
}

/// The `after_script` of a deploy job that extends ours, with these inputs.
fn after_script(inputs: &Value) -> String {
    let include = REPORT.replace("  - component: ", "");
    let yaml = json!({"include": [{"component": include, "inputs": inputs}],
                      "deploy": {"extends": ".deployment-report", "stage": "deploy", "script": "./deploy.sh"}});
    let jobs = pipeline(&yaml.to_string());
    let lines = jobs["deploy"]["after_script"].as_array().expect("an after_script");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    line.as_str().expect("a text").to_owned()
}

#[test]
fn the_after_script_works_in_every_shell_and_breaks_nothing() {
    let plain = after_script(&json!({}));
    let with_inputs = after_script(&json!({"service": UGLY_SERVICE, "destinations": "rely"}));
    let binary = ".notify-binary/notify-event";
    for shell in SHELLS {
        let project = tempfile::tempdir().expect("a folder");
        let folder = project.path();
        fs::create_dir_all(folder.join("sub")).expect("a folder");
        let directory = folder.to_str().expect("UTF-8");
        let run_it = |script: &str, more: &[(&str, &str)]| {
            // Behind what the user's own lines have done to the shell, before more of them.
            let script = format!("set -eu\ncd sub\n{script}\necho behind in ${{PWD##*/}}");
            let mut variables = vec![("CI_PROJECT_DIR", directory), ("CI_JOB_NAME", "deploy: [api]")];
            variables.extend_from_slice(more);
            let output = run(shell, folder, &script, &variables);
            (output.status.success(), text(&output))
        };
        let told = |service: &str, job: &str, destinations: &str| {
            format!("--deploy-job\nauto\n{job}\n{service}\n\n{destinations}\n.notify-event\nbehind in sub\n")
        };

        // No program: one line, no error of the shell's, and nothing of another job's is uploaded as this one's.
        fs::create_dir_all(folder.join(".notify-event/undelivered")).expect("a folder");
        for leave_what in ["nothing", "what is no program", "what may not be run", "an empty file"] {
            let program = folder.join(binary);
            match leave_what {
                "nothing" => {}
                "what is no program" => {
                    put_program(&program, PROGRAM);
                    fs::write(&program, "\u{7f}ELF\u{2}\u{1}\u{1}\0 of another architecture").expect("a file");
                }
                "what may not be run" => {
                    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("its mode");
                }
                // Which a shell takes for a script that does nothing, and well.
                _ => {
                    put_program(&program, PROGRAM);
                    fs::write(&program, "").expect("a file");
                }
            }
            let (succeeded, said) = run_it(&plain, &[]);
            assert!(succeeded, "{shell:?}, {leave_what}: {said}");
            let lines: Vec<&str> = said.lines().collect();
            assert!(
                lines.len() == 2 && lines[0].starts_with("notify-event: nothing is reported"),
                "{shell:?}, {leave_what}: {said}"
            );
            assert!(
                !folder.join(".notify-event").exists(),
                "{shell:?}: another job's folder stays"
            );
        }

        put_program(&folder.join(binary), PROGRAM);
        // The user's variables mean other reports; only a job that stops an environment has to name the one that deployed.
        let own = [
            ("EVENT_ACTION", "success"),
            ("NOTIFY_JOB", "another"),
            ("EVENT_SERVICE", "shop"),
            ("NOTIFY_OUTPUT_DIR", "elsewhere"),
            ("NOTIFY_DESTINATIONS", "port"),
        ];
        assert_eq!(run_it(&plain, &[]), (true, told("", "deploy: [api]", "")), "{shell:?}");
        assert_eq!(
            run_it(&plain, &own),
            (true, told("shop", "deploy: [api]", "port")),
            "{shell:?}"
        );
        let stops = [own.as_slice(), &[("CI_ENVIRONMENT_ACTION", "stop")]].concat();
        assert_eq!(
            run_it(&plain, &stops),
            (true, told("shop", "another", "port")),
            "{shell:?}"
        );
        assert_eq!(
            run_it(&with_inputs, &[("SERVICE", "it's")]),
            (true, told(MEANT_SERVICE, "deploy: [api]", "rely")),
            "{shell:?}"
        );

        // What is not delivered fails nothing, unless NOTIFY_ON_ERROR=fail says so.
        for code in ["75", "76", "78", "2", "137"] {
            let (succeeded, said) = run_it(&plain, &[("ENDS_WITH", code)]);
            assert!(
                succeeded && said.ends_with("behind in sub\n"),
                "{shell:?}, {code}: {said}"
            );
        }
        let (succeeded, said) = run_it(&plain, &[("ENDS_WITH", "1")]);
        assert!(!succeeded && !said.contains("behind"), "{shell:?}: {said}");
    }
}

#[test]
fn a_deploy_job_may_have_needs_an_after_script_and_artifacts_of_its_own() {
    let jobs = pipeline(&format!(
        "include:\n{REPORT}\nbuild:\n  stage: build\n  script: make\ndeploy:\n  extends: .deployment-report\n  \
         stage: deploy\n  needs: [build, notify-binary]\n  script: ./deploy.sh\n  after_script:\n    - ./clean-up.sh\n    \
         - !reference [.deployment-report, after_script]\n  artifacts:\n    paths: [dist/, .notify-event/]\n    \
         expire_in: 1 week\n"
    ));
    let deploy = &jobs["deploy"];
    assert_eq!(deploy["after_script"].as_array().map(Vec::len), Some(2), "{deploy}");
    assert_eq!(
        deploy["artifacts"],
        json!({"when": "always", "paths": ["dist/", ".notify-event/"], "access": "developer", "expire_in": "1 week"})
    );
}
