//! The two jobs that compare with GitLab's own record: `notify-reconcile` at the end of a pipeline, of the component
//! `deployment-report`, and the hidden job `.notify-reconcile` for schedules.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    components::{MEANT_SERVICE, SHELLS, UGLY_SERVICE, pipeline, put_program, run},
    project::{Project, text},
    shared::REPOSITORY,
    templates::{COMPONENT, REPORT, jobs_by_name, template},
};

/// The jobs that a pipeline with this file has, where these are variables.
fn jobs_with(yaml: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let project = Project::with_templates();
    project.write(".gitlab-ci.yml", yaml);
    project.commit();
    project.jobs(variables)
}

#[test]
fn the_job_at_the_end_is_where_the_deploy_jobs_are_unless_it_is_turned_off() {
    let condition = r#"if: $GO == "yes""#;
    let off = "reconcile: false";
    let both = "notify-binary notify-reconcile deploy";
    let cases = [
        ("", "", both),
        (condition, "", "deploy"),
        (condition, "yes", both),
        (off, "", "notify-binary deploy"),
        (&format!("{off}, {condition}"), "yes", "notify-binary deploy"),
        (&format!("reconcile: true, {condition}"), "", "deploy"),
        (
            "job-prefix: blue-",
            "",
            "blue-notify-binary blue-notify-reconcile deploy",
        ),
    ];
    for (inputs, go, expected) in cases {
        let inputs: Vec<&str> = inputs.split(", ").filter(|input| !input.is_empty()).collect();
        let inputs: String = inputs.iter().map(|input| format!("\n      {input}")).collect();
        let inputs = if inputs.is_empty() {
            inputs
        } else {
            format!("\n    inputs:{inputs}")
        };
        let yaml = format!("include:\n{REPORT}{inputs}\ndeploy:\n  stage: deploy\n  script: ./deploy.sh\n");
        assert_eq!(jobs_with(&yaml, &[("GO", go)]).join(" "), expected, "{yaml}");
    }
}

#[test]
fn the_job_at_the_end_runs_whatever_the_end_and_needs_nobodys_artifacts() {
    let jobs = jobs_by_name(&template("deployment-report.yml"));
    let job = &jobs["notify-reconcile"];
    assert_eq!(job["stage"], ".post");
    // For GitLab's own choice, and for that of a user's `rules`.
    assert_eq!(job["when"], "always");
    assert_eq!(job["rules"][1]["when"], "always");
    assert_eq!(job["dependencies"], json!([]));
    assert_eq!(job["needs"], Value::Null);
    assert_eq!(job["environment"], Value::Null);
    // What of it is not about when it runs and what it says is that of the job that hands out the program.
    for key in ["image", "inherit", "variables", "allow_failure", "timeout", "retry"] {
        assert_eq!(job[key], jobs["notify-binary"][key], "{key}");
    }
    let artifacts = &jobs[".deployment-report"]["artifacts"];
    assert_eq!(&job["artifacts"], artifacts);
}

/// What the stand-in of the program prints: its arguments, and what the job has said.
const PROGRAM: &str = r#"#!/bin/sh
printf '%s\n' "$*" "$NOTIFY_RECONCILE_SINCE${NOTIFY_RECONCILE_SINCE_FILE-}" "$EVENT_SERVICE" "$NOTIFY_DESTINATIONS" "$NOTIFY_OUTPUT_DIR" "${NOTIFY_RECONCILE_JOBS-}"
exit "${ENDS_WITH:-0}"
"#;

#[test]
fn the_job_at_the_end_looks_at_its_own_pipeline_whatever_is_set_for_a_schedule() {
    let include = REPORT.replace("  - component: ", "");
    let inputs = json!({"service": UGLY_SERVICE, "destinations": "rely, cto?"});
    // As variables of the project, which beat a job's own.
    let own = [
        ("NOTIFY_RECONCILE_SINCE", "90d"),
        ("NOTIFY_RECONCILE_SINCE_FILE", "/builds/shop.tmp/since"),
        // Which jobs deploy is as true here.
        ("NOTIFY_RECONCILE_JOBS", "!notify*"),
        ("NOTIFY_OUTPUT_DIR", "elsewhere"),
        ("SERVICE", "it's"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    put_program(&folder.path().join("bin/notify-event"), PROGRAM);
    for (inputs, variables, expected) in [
        (json!({}), [].as_slice(), "\n\n.notify-event\n\n".to_owned()),
        (
            json!({}),
            &[("EVENT_SERVICE", "shop"), ("NOTIFY_DESTINATIONS", "port")],
            "shop\nport\n.notify-event\n\n".to_owned(),
        ),
        (
            inputs,
            &own,
            format!("{MEANT_SERVICE}\nrely, cto?\n.notify-event\n!notify*\n"),
        ),
    ] {
        let yaml = json!({"include": [{"component": include, "inputs": inputs}],
                          "deploy": {"stage": "deploy", "script": "./deploy.sh"}});
        let jobs = pipeline(&yaml.to_string());
        let lines = jobs["notify-reconcile"]["script"].as_array().expect("a script");
        let script: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
        for shell in SHELLS {
            // The runner's own shell ends at the first line that fails.
            let script = format!("set -e\n{}", script.join("\n"));
            let said = run(shell, folder.path(), &script, variables);
            assert_eq!(text(&said), format!("reconcile\npipeline\n{expected}"), "{shell:?}");
            let failed = run(shell, folder.path(), &script, &[("ENDS_WITH", "76")]);
            assert_eq!(failed.status.code(), Some(76), "{shell:?}");
        }
    }
}

#[test]
fn the_scheduled_job_is_in_the_scheduled_pipelines_that_ask_for_it() {
    let yaml = format!("include:\n{COMPONENT}\nrepair:\n  extends: .notify-reconcile\n");
    let at_the_top = format!("{yaml}variables:\n  NOTIFY_RECONCILE: \"true\"\n");
    let schedule = ("CI_PIPELINE_SOURCE", "schedule");
    for (yaml, variables, is_there) in [
        (&yaml, [schedule, ("NOTIFY_RECONCILE", "true")].as_slice(), true),
        (&at_the_top, &[schedule], true),
        (&yaml, &[schedule], false),
        (&yaml, &[schedule, ("NOTIFY_RECONCILE", "false")], false),
        (&yaml, &[("NOTIFY_RECONCILE", "true")], false),
        // What GitLab's rules can't know.
        (&yaml, &[schedule, ("NOTIFY_RECONCILE_DEFAULT", "true")], false),
    ] {
        let jobs = jobs_with(yaml, variables);
        assert_eq!(jobs == ["repair"], is_there, "{variables:?}: {jobs:?}");
    }
}

#[test]
fn the_scheduled_job_can_be_all_that_a_pipeline_has_and_waits_for_its_like_alone() {
    let jobs = pipeline(&format!(
        "include:\n{COMPONENT}\n    inputs: {{stage: .post}}\nrepair:\n  extends: .notify-reconcile\n"
    ));
    let job = &jobs["repair"];
    // GitLab makes no pipeline of .pre and .post alone.
    assert_eq!(job["stage"], "test");
    assert_eq!(job["needs"], json!([]));
    assert_eq!(job["dependencies"], json!([]));
    assert_eq!(job["resource_group"], "notify-reconcile");
    // A push cancels a scheduled pipeline whose jobs are interruptible.
    assert_eq!(job["interruptible"], false);
    // The program's own budget is an hour; the rest is for the image.
    assert_eq!(job["timeout"], "70 minutes");
}

#[test]
fn no_job_of_an_example_is_merged_into_one_of_ours() {
    let ours: BTreeSet<String> = ["deployment-report.yml", "notify-event.yml"]
        .iter()
        .flat_map(|file| jobs_by_name(&template(file)).into_keys())
        .collect();
    assert!(ours.contains("notify-reconcile"));
    for entry in fs::read_dir(Path::new(REPOSITORY).join("examples")).expect("examples/") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let example: Value = serde_saphyr::from_str(&fs::read_to_string(&path).expect("an example")).expect("YAML");
        let merged: Vec<&String> = example
            .as_object()
            .expect("a pipeline")
            .keys()
            .filter(|name| ours.contains(*name))
            .collect();
        assert!(merged.is_empty(), "{}: {merged:?}", path.display());
    }
}
