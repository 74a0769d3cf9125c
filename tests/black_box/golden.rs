//! Golden requests: for every destination, operation and action exactly what is sent, kept in `tests/golden/`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test black_box golden` writes the files anew; read the difference before committing it.

use std::{env, fs, path::Path};

use sandbox::{DirektivVersion, Options, Sandbox, Service};
use serde_json::{Value, json};

use crate::{
    gitlab::in_job,
    support::{Run, golden_form, notify, record},
};

/// One case: what is run, and in which environment beyond the usual one.
struct Case {
    name: &'static str,
    /// Runs one after the other against the same sandbox; all but the last prepare.
    runs: Runs,
    variables: Vec<(&'static str, &'static str)>,
    /// What is there before, where the run asks GitLab's record.
    seed: Option<fn(&Sandbox)>,
}

type Runs = &'static [&'static [&'static str]];
type Variables = &'static [(&'static str, &'static str)];

fn case(name: &'static str, runs: Runs, variables: Variables) -> Case {
    Case {
        name,
        runs,
        variables: variables.to_vec(),
        seed: None,
    }
}

/// A repair of what `seed` puts into GitLab's record and into the portals.
fn repair(name: &'static str, variables: Variables, seed: fn(&Sandbox)) -> Case {
    Case {
        seed: Some(seed),
        ..case(name, &[&["reconcile"]], variables)
    }
}

fn start(case: &Case, arguments: &[&str], sandbox: &Sandbox) -> Run {
    let run = match case.seed {
        Some(_) => in_job(arguments, sandbox),
        None => notify(arguments).at(sandbox),
    };
    run.vars(case.variables.iter().copied())
}

/// Runs each case on a sandbox of its own, and compares what its last run sent with the golden file.
fn check(service: Service, options: &Options, cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        let sandbox = Sandbox::start_with(options.clone());
        let mut before = 0;
        if let Some(seed) = case.seed {
            seed(&sandbox);
        }
        let (last, preparing) = case.runs.split_last().expect("a case runs something");
        for arguments in preparing {
            start(case, arguments, &sandbox).run().exits(0);
            before = sandbox.requests_to(service).len();
        }
        let ran = start(case, last, &sandbox).run();
        let mut requests: Vec<Value> = sandbox.requests_to(service)[before..]
            .iter()
            .map(|request| golden_form(request, &sandbox))
            .collect();
        // Several questions are under way at a time, and all of them before anything is written.
        if case.seed.is_some() {
            requests.sort_by_key(|sent| {
                let read = sent["request"].as_str().filter(|line| line.starts_with("GET "));
                (read.is_none(), read.map(str::to_owned))
            });
        }
        let sent = json!({ "run": last, "variables": variables(case), "exit": ran.code, "requests": requests });
        let text = format!("{sent:#}\n");
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(service.name())
            .join(format!("{}.json", case.name));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().expect("a golden file has a folder")).expect("the folder can be made");
            fs::write(&path, &text).expect("a golden file can be written");
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        if golden != text {
            wrong.push(format!(
                "{}: sent\n{text}\nbut the golden file says\n{golden}\n{}",
                path.display(),
                ran.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn variables(case: &Case) -> Value {
    case.variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Each action as a case of the same operation: the eight words, some by a synonym.
fn actions(runs: Runs, variables: Variables) -> Vec<Case> {
    const ACTIONS: &[(&str, (&str, &str))] = &[
        ("started", ("EVENT_ACTION", "started")),
        ("progressing", ("EVENT_ACTION", "running")),
        ("success", ("EVENT_ACTION", "succeeded")),
        ("failure", ("EVENT_ACTION", "failed")),
        ("canceled", ("EVENT_ACTION", "cancelled")),
        ("blocked", ("EVENT_ACTION", "blocked")),
        ("stopped", ("EVENT_ACTION", "stopped")),
        ("rolled-back", ("EVENT_ACTION", "rolled-back")),
    ];
    let with = |(name, action): &(&'static str, (&'static str, &'static str))| {
        let mut case = case(name, runs, variables);
        case.variables.push(*action);
        case
    };
    ACTIONS.iter().map(with).collect()
}

/// An action of the user's own.
const OTHER: Variables = &[("EVENT_ACTION", "merge"), ("EVENT_ENVIRONMENT", "production")];

/// A service, and fields of its team's own, one of which takes the place of a default.
const SERVICE_AT_RELY: Variables = &[
    ("EVENT_SERVICE", "Shop API"),
    (
        "EVENT_PROPERTIES",
        r#"{"failureReason": "a \"quote\"\n🚀", "sourceCommit": null, "link": "https://runbook.example.com"}"#,
    ),
];
const SERVICE_AT_PORT: Variables = &[
    ("EVENT_SERVICE", "Shop API"),
    (
        "EVENT_PROPERTIES",
        r#"{"image": "a \"quote\"\n🚀", "commit": null, "url": "https://runbook.example.com"}"#,
    ),
];

/// As a deploy job's own `after_script` sees it. The duration would be another each time.
const FROM_INSIDE: Variables = &[
    ("CI_JOB_STATUS", "success"),
    ("CI_JOB_STARTED_AT", "2025-03-01T10:00:00Z"),
    ("EVENT_PROPERTIES", r#"{"duration": 450}"#),
];

const PROPERTIES: &str = r#"{"status": "a \"quote\", a \\ and\na line", "link": "{{ event.url }}", "duration": 12.50, "successful": "{{ event.attempt }}", "failureReason": null}"#;

#[test]
fn rely() {
    let options = Options::default();
    check(
        Service::Rely,
        &options,
        &actions(&[&["rely"]], &[("EVENT_ENVIRONMENT", "production")]),
    );
    check(
        Service::Rely,
        &options,
        &[
            case(
                "create",
                &[&["rely:create"]],
                &[
                    ("RELY_ENTITY_ID", "Acme/Shop #42"),
                    ("RELY_ENTITY_TITLE", "{{ env.CI_COMMIT_TITLE }}"),
                ],
            ),
            case("create-twice", &[&["rely:create"], &["rely:create"]], &[]),
            case(
                "replace",
                &[&["rely"], &["rely:replace"]],
                &[("RELY_PROPERTIES", r#"{"status": "X"}"#)],
            ),
            case(
                "patch",
                &[&["rely"], &["rely:patch"]],
                &[("RELY_ENTITY_DESCRIPTION", "multi\nline \"🚀\"")],
            ),
            case("service", &[&["rely"]], SERVICE_AT_RELY),
            case("from-inside", &[&["rely"]], FROM_INSIDE),
            case(
                "entities",
                &[&["rely"]],
                &[("RELY_ENTITIES_FILE", "examples/rely/entities.ndjson")],
            ),
            case("get", &[&["rely"], &["rely:get"]], &[]),
            case("get-missing", &[&["rely:get"]], &[]),
            case(
                "relations",
                &[&["rely"]],
                &[(
                    "RELY_RELATIONS",
                    r#"{"service": "shop.service", "targetEnvironment": {"value": ["prod.environment"]}}"#,
                )],
            ),
            case("unknown-property", &[&["rely"]], &[("RELY_PROPERTIES", PROPERTIES)]),
        ],
    );
    let put_is_no_upsert = Options {
        rely_put_creates: false,
        rely_duplicate: 422,
        ..Options::default()
    };
    check(
        Service::Rely,
        &put_is_no_upsert,
        &[case("upsert-by-post", &[&["rely"]], &[])],
    );
}

#[test]
fn cto() {
    check(
        Service::Cto,
        &Options::default(),
        &actions(&[&["cto"]], &[("EVENT_ENVIRONMENT", "production")]),
    );
    check(
        Service::Cto,
        &Options::default(),
        &[
            case(
                "official-names",
                &[&["cto", "--official-names"]],
                &[
                    ("CTOAI_EVENTS_API_TOKEN", ""),
                    ("CTOAI_TEAM_ID", ""),
                    ("TOKEN", "cto-sandbox-51c0d7e6fa"),
                    ("TEAM_ID", "02f71e12-5b1d-4c4c-8a8a-956b425e5bee"),
                    ("BRANCH", "b\"\\"),
                    ("COMMIT", "c0ffee"),
                    ("REPO", "r/r"),
                    ("ENVIRONMENT", "e"),
                    ("IMAGE", "registry.example.com/acme/shop:1.4.2"),
                    ("USER", "root"),
                ],
            ),
            case("other", &[&["cto"]], OTHER),
            case("user", &[&["cto"]], &[("CTOAI_USER", "{{ event.user | upper }}")]),
            case(
                "nothing-known",
                &[&["cto"]],
                &[
                    ("CI_PROJECT_PATH", ""),
                    ("CI_COMMIT_BRANCH", ""),
                    ("CI_COMMIT_REF_NAME", ""),
                    ("CI_COMMIT_SHA", ""),
                    ("GITLAB_USER_LOGIN", ""),
                ],
            ),
        ],
    );
}

#[test]
fn aviator() {
    const RELEASED: &[&[&str]] = &[&["aviator:release"], &["aviator"]];
    check(
        Service::Aviator,
        &Options::default(),
        &actions(
            RELEASED,
            &[("EVENT_ENVIRONMENT", "production"), ("CI_COMMIT_TAG", "1.4.0-rc1")],
        ),
    );
    check(
        Service::Aviator,
        &Options::default(),
        &[
            case(
                "release",
                &[&["aviator:release"]],
                &[
                    ("AVIATOR_RELEASE_CANDIDATE", "2025.03.01-rc2"),
                    ("AVIATOR_TRIGGER_BUILD", "true"),
                    ("AVIATOR_REPO", "acme/shop"),
                ],
            ),
            case(
                "release-of-another-repository",
                &[&["aviator:release"]],
                &[("AVIATOR_RELEASE_CANDIDATE", "1-rc1"), ("AVIATOR_REPO", "acme/other")],
            ),
            case(
                "deployment",
                &[&["aviator:release"], &["aviator:deployment"]],
                &[
                    ("AVIATOR_RELEASE_CANDIDATE", "1-rc1"),
                    ("AVIATOR_ENVIRONMENT", "staging"),
                ],
            ),
            case(
                "deployment-without-release",
                &[&["aviator:deployment"]],
                &[
                    ("AVIATOR_RELEASE_CANDIDATE", "1-rc1"),
                    ("AVIATOR_ENVIRONMENT", "staging"),
                ],
            ),
            case(
                "rollback-without-deployment",
                &[&["aviator:rollback"]],
                &[("AVIATOR_ENVIRONMENT", "staging"), ("AVIATOR_FORCE", "true")],
            ),
            case("list", &[&["aviator:list"]], &[("EVENT_ENVIRONMENT", "production")]),
            case(
                "own-word",
                RELEASED,
                &[
                    ("EVENT_ENVIRONMENT", "production"),
                    ("CI_COMMIT_TAG", "1.4.0-rc1"),
                    ("EVENT_ACTION", "error"),
                ],
            ),
            case(
                "own-status",
                RELEASED,
                &[
                    ("EVENT_ENVIRONMENT", "production"),
                    ("CI_COMMIT_TAG", "1.4.0-rc1"),
                    ("AVIATOR_STATUS", "canceling"),
                    ("EVENT_ACTION", ""),
                ],
            ),
        ],
    );
}

#[test]
fn direktiv() {
    const WORKFLOW: (&str, &str) = ("DIREKTIV_WORKFLOW", "/wf/deploy.yaml");
    let new = Options::default();
    check(
        Service::Direktiv,
        &new,
        &actions(&[&["direktiv"]], &[("EVENT_ENVIRONMENT", "production")]),
    );
    check(
        Service::Direktiv,
        &new,
        &[
            case("other", &[&["direktiv"]], OTHER),
            case("sync", &[&["direktiv:sync"]], &[("EVENT_ACTION", "")]),
            case(
                "sync-of-no-mirror",
                &[&["direktiv:sync"]],
                &[("DIREKTIV_NAMESPACE", "plain")],
            ),
            case(
                "sync-by-api-key",
                &[&["direktiv:sync"]],
                &[("DIREKTIV_AUTH", "api-key")],
            ),
            case(
                "sync-by-header",
                &[&["direktiv:sync"]],
                &[("DIREKTIV_HEADER", "Direktiv-Api-Key: direktiv-sandbox-c73a90be14")],
            ),
            case(
                "execute",
                &[&["direktiv:execute"]],
                &[
                    WORKFLOW,
                    ("DIREKTIV_INPUT", r#"{"title": "{{ env.CI_COMMIT_TITLE }}", "n": 1.50}"#),
                ],
            ),
            case("execute-event", &[&["direktiv:execute"]], &[WORKFLOW]),
            case(
                "execute-unknown",
                &[&["direktiv:execute"]],
                &[("DIREKTIV_WORKFLOW", "nope.yaml")],
            ),
            case("broadcast-twice", &[&["direktiv"], &["direktiv"]], &[]),
        ],
    );
    let old = Options {
        direktiv_version: DirektivVersion::V0_7,
        ..Options::default()
    };
    check(
        Service::Direktiv,
        &old,
        &[
            case("old-sync", &[&["direktiv:sync"]], &[]),
            case(
                "old-sync-directory",
                &[&["direktiv:sync"]],
                &[("DIREKTIV_DIRECTORY", "/workflows/directory")],
            ),
            case(
                "old-execute",
                &[&["direktiv:execute"]],
                &[("DIREKTIV_WORKFLOW", "wf/deploy")],
            ),
            case("old-broadcast", &[&["direktiv"]], &[]),
        ],
    );
}

#[test]
fn cdevents() {
    const PURL: (&str, &str) = ("CDEVENTS_ARTIFACT_ID", "pkg:generic/acme/shop@1.4.2");
    const PRODUCTION: (&str, &str) = ("EVENT_ENVIRONMENT", "production");
    const TYPES: &[(&str, (&str, &str))] = &[
        ("pipelinerun-queued", ("CDEVENTS_TYPE", "pipelinerun.queued")),
        ("pipelinerun-started", ("CDEVENTS_TYPE", "pipelinerun.started")),
        ("pipelinerun-finished", ("CDEVENTS_TYPE", "pipelinerun.finished")),
        ("service-deployed", ("CDEVENTS_TYPE", "service.deployed")),
        ("service-upgraded", ("CDEVENTS_TYPE", "service.upgraded")),
        ("service-rolledback", ("CDEVENTS_TYPE", "service.rolledback")),
        ("service-removed", ("CDEVENTS_TYPE", "service.removed")),
        ("service-published", ("CDEVENTS_TYPE", "service.published")),
        ("environment-created", ("CDEVENTS_TYPE", "environment.created")),
        ("environment-modified", ("CDEVENTS_TYPE", "environment.modified")),
        ("environment-deleted", ("CDEVENTS_TYPE", "environment.deleted")),
        ("incident-detected", ("CDEVENTS_TYPE", "incident.detected")),
        ("incident-reported", ("CDEVENTS_TYPE", "incident.reported")),
        (
            "incident-resolved",
            ("CDEVENTS_TYPE", "dev.cdevents.incident.resolved.0.3.0"),
        ),
    ];
    const UGLY: &[(&str, &str)] = &[
        PRODUCTION,
        ("EVENT_SERVICE", "50% \"größe\" 🚀"),
        (
            "EVENT_PROPERTIES",
            r#"{"team": "payments", "price": 1.50, "branch": "{{ event.branch }}"}"#,
        ),
    ];
    let mut cases = actions(&[&["cdevents"]], &[PRODUCTION]);
    cases.extend(TYPES.iter().map(|(name, kind)| {
        let mut case = case(name, &[&["cdevents"]], &[PRODUCTION, PURL]);
        case.variables.push(*kind);
        case
    }));
    cases.extend([
        case("success-of-an-artifact", &[&["cdevents"]], &[PRODUCTION, PURL]),
        case(
            "rolledback",
            &[&["cdevents"]],
            &[PRODUCTION, PURL, ("EVENT_ACTION", "rolled_back")],
        ),
        case("service", &[&["cdevents"]], UGLY),
        case("twice", &[&["cdevents"], &["cdevents"]], &[]),
        case("own-source", &[&["cdevents"]], &[("CDEVENTS_SOURCE", "urn:acme:shop")]),
    ]);
    let mut binary = case("binary", &[&["cdevents"]], UGLY);
    binary.variables.push(("CDEVENTS_MODE", "binary"));
    cases.push(binary);
    check(Service::CdEvents, &Options::default(), &cases);
}

#[test]
fn port() {
    const GUIDE: &str = r#"{"myStringProp": "My \"value\"\n\\ 🚀", "myNumberProp": 1, "myBooleanProp": true, "myArrayProp": ["myVal1", "myVal2"], "myObjectProp": {"myKey": "myVal", "myExtraKey": "myExtraVal"}}"#;
    const ENTITY: &[(&str, &str)] = &[
        ("PORT_BLUEPRINT", "test-blueprint"),
        ("PORT_ENTITY_ID", "acme/ünïcode=1"),
        ("PORT_PROPERTIES", GUIDE),
    ];
    const RUN: &[&str] = &["port:run-create"];
    let all = Options::default();
    check(
        Service::Port,
        &all,
        &actions(&[&["port"]], &[("EVENT_ENVIRONMENT", "production")]),
    );
    check(
        Service::Port,
        &all,
        &[
            case("service", &[&["port"]], SERVICE_AT_PORT),
            case("from-inside", &[&["port"]], FROM_INSIDE),
            case("create", &[&["port:create"]], ENTITY),
            case("create-twice", &[&["port:create"], &["port:create"]], ENTITY),
            case("replace", &[&["port"], &["port:replace"]], ENTITY),
            case("replace-missing", &[&["port:replace"]], ENTITY),
            case("patch", &[&["port"], &["port:patch"]], ENTITY),
            case(
                "entities",
                &[&["port"]],
                &[
                    ("PORT_BLUEPRINT", "service"),
                    ("PORT_ENTITIES_FILE", "examples/port/entities.ndjson"),
                    ("PORT_CREATE_MISSING_RELATED_ENTITIES", "true"),
                ],
            ),
            case("get", &[&["port"], &["port:get"]], ENTITY),
            case("delete", &[&["port"], &["port:delete"]], ENTITY),
            case("delete-missing", &[&["port:delete"]], ENTITY),
            case(
                "search",
                &[&["port:search"]],
                &[
                    (
                        "PORT_QUERY",
                        r#"{"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": "service"}]}"#,
                    ),
                    ("PORT_INCLUDE", "identifier, title"),
                ],
            ),
            case(
                "search-in-one",
                &[&["port"], &["port:search"]],
                &[
                    ("PORT_QUERY", r#"{"combinator": "and", "rules": []}"#),
                    ("PORT_BLUEPRINT", "deployment"),
                    ("PORT_INCLUDE", "identifier,properties.status,relations.service"),
                ],
            ),
            case(
                "override",
                &[&["port"]],
                &[
                    ("PORT_MERGE", "false"),
                    ("PORT_CREATE_MISSING_RELATED_ENTITIES", "true"),
                    ("PORT_ICON", "Deployment"),
                    ("PORT_ENTITY_TITLE", "{{ env.CI_COMMIT_TITLE }}"),
                ],
            ),
            case(
                "unknown-property",
                &[&["port"]],
                &[("PORT_PROPERTIES", r#"{"nope": 1}"#)],
            ),
            case("unknown-blueprint", &[&["port"]], &[("PORT_BLUEPRINT", "nope")]),
            case(
                "run-create",
                &[RUN],
                &[
                    ("PORT_ACTION", "deploy"),
                    (
                        "PORT_PROPERTIES",
                        r#"{"environment": "production", "version": "1.4.2"}"#,
                    ),
                ],
            ),
            case(
                "run-unknown",
                &[&["port:run-update"]],
                &[("PORT_RUN_ID", "r_nope"), ("PORT_RUN_LOG", "a \"line\"\nand another")],
            ),
        ],
    );
}

#[test]
fn webhook() {
    const UNSIGNED: (&str, &str) = ("WEBHOOK_SECRET", "");
    check(
        Service::Webhook,
        &Options::default(),
        &actions(&[&["webhook"]], &[("EVENT_ENVIRONMENT", "production")]),
    );
    check(
        Service::Webhook,
        &Options::default(),
        &[
            case(
                "unsigned",
                &[&["webhook"]],
                &[UNSIGNED, ("EVENT_PROPERTIES", PROPERTIES)],
            ),
            case(
                "own-body",
                &[&["webhook"]],
                &[
                    ("WEBHOOK_METHOD", "PATCH"),
                    (
                        "WEBHOOK_HEADERS",
                        r#"{"Content-Type": "application/json; charset=UTF-8", "X-Attempt": "{{ event.attempt }}"}"#,
                    ),
                    (
                        "WEBHOOK_BODY",
                        r#"{"token": "t0ken-of-the-body", "n": 1.50, "attempt": "{{ event.attempt }}", "list": [null, {"title": "{{ env.CI_COMMIT_TITLE }}"}]}"#,
                    ),
                ],
            ),
            case(
                "text",
                &[&["webhook"]],
                &[("WEBHOOK_BODY", "{{ event.title }}:\n\"{{ event.branch }}\" 🚀")],
            ),
        ],
    );
}

#[test]
fn reconcile() {
    const LOST: &str = "deploy production failed~runner_system_failure";
    fn missing(sandbox: &Sandbox) {
        record::seed(sandbox, LOST);
    }
    fn several_missing(sandbox: &Sandbox) {
        record::seed(
            sandbox,
            "deploy: [\"eu\", 🚀] production success | web production running",
        );
    }
    fn held(sandbox: &Sandbox) {
        missing(sandbox);
        let started = json!({"status": "IN_PROGRESS", "createdAt": record::began(1), "link": "https://x.example.com"});
        record::hold(sandbox, record::ID, &started);
    }
    const RELY: (&str, &str) = ("NOTIFY_DESTINATIONS", "rely");
    const PORT: (&str, &str) = ("NOTIFY_DESTINATIONS", "port");
    const OWN_AT_RELY: Variables = &[RELY, SERVICE_AT_RELY[1]];
    const OWN_AT_PORT: Variables = &[PORT, SERVICE_AT_PORT[1]];
    let options = Options::default();
    check(
        Service::Rely,
        &options,
        &[
            repair("reconcile-create", OWN_AT_RELY, missing),
            repair("reconcile-amend", &[RELY], held),
        ],
    );
    check(
        Service::Port,
        &options,
        &[
            repair("reconcile-create", OWN_AT_PORT, missing),
            repair("reconcile-create-several", &[PORT], several_missing),
            repair("reconcile-amend", &[PORT], held),
        ],
    );
}
