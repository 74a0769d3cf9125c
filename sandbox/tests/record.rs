//! GitLab's stand-in as the record of what was deployed: of several projects, over time.

mod common;

use std::time::{Duration, Instant};

use common::{each, error, gitlab, gitlab_user, message, port, refusal};
use sandbox::{Sandbox, Service};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/api/v4/projects/42/deployments";
const OTHERS: &str = "/api/v4/projects/43/deployments";

/// The sandbox's GitLab with two more projects: one of the same group, and an archived one of a group in it.
fn group() -> Sandbox {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::GitLab,
        json!({"projects": {
            "43": {"path": "acme/api", "job_token_access": true, "default_branch": "trunk",
                "pipelines": {"9000": {"jobs": [{"name": "deploy"}]}},
                "deployments": [{"deployable": 9_000_001}, {"environment": "staging"}]},
            "44": {"path": "acme/tools/lint", "archived": true, "deployments": [{}]},
        }}),
    );
    sandbox
}

#[test]
fn deployments_are_found_by_their_times_only_in_that_order() {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::GitLab,
        json!({"deployments": [
            {"updated_at": "2025-03-03T00:00:00Z"},
            {"updated_at": "2025-03-01T00:00:00Z", "status": "failed"},
            {"updated_at": "2025-03-02T01:00:00+01:00", "finished_at": "2025-03-02T00:00:00Z"},
            {"updated_at": "2025-03-03T00:00:00Z", "finished_at": "2025-03-04T00:00:00Z"},
        ]}),
    );
    let gitlab = gitlab(&sandbox);
    let get = |query: &str| gitlab.get(&format!("{DEPLOYMENTS}?{query}"));
    let find = |query: &str| each(&get(query), "id");
    assert_eq!(
        find("order_by=updated_at&updated_after=2025-03-02T00:00:00Z"),
        [503, 501, 504]
    );
    assert_eq!(
        find("order_by=updated_at&updated_after=2025-03-02T01:00:00%2B01:00&sort=desc"),
        [504, 501, 503]
    );
    assert_eq!(
        find("order_by=updated_at&updated_after=2025-03-02T00:00:00.001Z"),
        [501, 504]
    );
    assert_eq!(find("order_by=updated_at&updated_before=2025-03-02"), [502, 503]);
    assert_eq!(
        find("order_by=updated_at&updated_after=2025-03-02&updated_before=2025-03-02T12:00:00Z&environment=production"),
        [503]
    );
    assert_eq!(
        find("order_by=updated_at&updated_after="),
        [502, 503, 501, 504],
        "as if it were left out"
    );
    assert_eq!(
        find("order_by=finished_at&status=success&finished_after=2025-03-02"),
        [503, 504]
    );
    assert_eq!(
        find("order_by=finished_at&status=success&finished_before=2025-03-02"),
        [501]
    );
    let page = get("order_by=updated_at&updated_after=2025-03-02&per_page=2");
    assert!(
        page.header("link")
            .contains("updated_after=2025-03-02&page=2&per_page=2>; rel=\"next\"")
    );
    for (query, text) in [
        (
            "updated_after=2025-03-02",
            "`updated_at` filter requires `updated_at` sort",
        ),
        (
            "updated_before=2025-03-02&order_by=id",
            "`updated_at` filter requires `updated_at` sort",
        ),
        (
            "finished_after=2025-03-02&status=success",
            "`finished_at` filter requires `finished_at` sort.",
        ),
        (
            "finished_after=2025-03-02&order_by=finished_at",
            "`finished_at` filter must be combined with `success` status filter.",
        ),
        (
            "order_by=finished_at&status=running",
            "`finished_at` sort requires `finished_at` filter or a filter with at least one of the finished statuses.",
        ),
        (
            "finished_after=2025-03-02&updated_after=2025-03-02",
            "Both `updated_at` filter and `finished_at` filter can not be specified",
        ),
    ] {
        let refused = message(400, &format!("400 Bad request - {text}"));
        assert_eq!(refusal(&get(query)), refused, "{query}");
    }
    for bad in ["yesterday", "2025-13-01", "2025-03-02T00:00:00+01:00"] {
        let reply = get(&format!("order_by=updated_at&updated_after={bad}"));
        assert_eq!(refusal(&reply), error(400, "updated_after is invalid"), "{bad}");
    }
}

#[test]
fn a_job_token_reads_other_projects_only_where_it_may() {
    let sandbox = group();
    let (job, user) = (gitlab(&sandbox), gitlab_user(&sandbox));
    assert_eq!(each(&job.get(DEPLOYMENTS), "id"), [501, 502]);
    assert_eq!(each(&job.get(OTHERS), "id"), [430_501, 430_502]);
    assert_eq!(job.get("/api/v4/projects/acme%2Fapi/pipelines/9000/jobs").status, 200);
    let closed = "/api/v4/projects/acme%2Ftools%2Flint/deployments";
    let refused = "403 Forbidden - Authentication by CI/CD job token not allowed from shop to lint.";
    assert_eq!(refusal(&job.get(closed)), message(403, refused));
    assert_eq!(each(&user.get(closed), "id"), [440_501]);
    // A pipeline is found in its own project alone, a job too.
    for path in [
        "pipelines/8812",
        "jobs/99104",
        "deployments/501",
        "jobs/99104/artifacts/a",
    ] {
        assert_eq!(user.get(&format!("/api/v4/projects/43/{path}")).status, 404, "{path}");
    }
    let shown = user.get("/api/v4/projects/43").json();
    for (field, value) in [
        ("id", json!(43)),
        ("path", json!("api")),
        ("path_with_namespace", json!("acme/api")),
        ("default_branch", json!("trunk")),
        ("archived", json!(false)),
        ("web_url", json!("https://gitlab.example.com/acme/api")),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(user.get("/api/v4/projects/acme%2Fshop").json()["id"], 42);
    for project in ["42", "43", "45"] {
        let reply = job.get(&format!("/api/v4/projects/{project}"));
        assert_eq!(refusal(&reply), message(404, "404 Project Not Found"), "{project}");
    }
}

#[test]
fn a_groups_projects_are_those_below_its_path() {
    let sandbox = group();
    let user = gitlab_user(&sandbox);
    let list = |query: &str| each(&user.get(&format!("/api/v4/groups/{query}")), "id");
    assert_eq!(list("acme/projects"), [43, 42], "the newest first");
    assert_eq!(
        list("acme/projects?include_subgroups=true&order_by=id&sort=asc"),
        [42, 43, 44]
    );
    assert_eq!(
        list("acme/projects?include_subgroups=true&archived=false&order_by=path&sort=asc"),
        [43, 42]
    );
    assert_eq!(
        list("acme/projects?include_subgroups=true&archived=true&with_shared=false"),
        [44]
    );
    assert_eq!(list("acme%2Ftools/projects"), [44]);
    let full = user.get("/api/v4/groups/acme/projects?include_subgroups=true&per_page=1&page=2&order_by=id");
    assert_eq!((each(&full, "id"), full.header("x-total")), (vec![json!(43)], "3"));
    let shown = full.json()[0].clone();
    assert_eq!(
        (&shown["archived"], &shown["namespace"]["full_path"]),
        (&json!(false), &json!("acme"))
    );
    assert_eq!(
        list(&format!("{}/projects", shown["namespace"]["id"])),
        [43, 42],
        "by its id"
    );
    let simple = user.get("/api/v4/groups/acme/projects?simple=true").json();
    assert!(simple[0].get("archived").is_none() && simple[0]["path_with_namespace"] == "acme/api");
    let unknown = message(404, "404 Group Not Found");
    for group in ["other", "acm", "acme%2Fshop", "1"] {
        assert_eq!(
            refusal(&user.get(&format!("/api/v4/groups/{group}/projects"))),
            unknown,
            "{group}"
        );
    }
    assert_eq!(refusal(&gitlab(&sandbox).get("/api/v4/groups/acme/projects")), unknown);
    let bad = user.get("/api/v4/groups/acme/projects?simple=maybe");
    assert_eq!(refusal(&bad), error(400, "simple is invalid"));
}

#[test]
fn a_merge_requests_pipeline_leads_to_its_branch() {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::GitLab,
        json!({
            "merge_requests": {"12": {"source_branch": "topic"}, "13": {"state": "merged", "title": "Done"}},
            "pipelines": {"8813": {"ref": "refs/merge-requests/12/head", "jobs": [{"id": 7, "name": "deploy"}]}},
            "deployments": [
                {"deployable": 7, "merge_requests": [{"iid": 9, "source_branch": "old"}]},
                {"deployable": {"pipeline": {"id": 5, "ref": "refs/merge-requests/13/head"}}},
            ],
        }),
    );
    let gitlab = gitlab(&sandbox);
    for deployment in gitlab.get(DEPLOYMENTS).json().as_array().unwrap() {
        let pipeline = &deployment["deployable"]["pipeline"];
        assert_eq!(pipeline["source"], "merge_request_event");
        assert!(pipeline["ref"].as_str().unwrap().starts_with("refs/merge-requests/1"));
        assert_eq!(
            (&deployment["ref"], &deployment["deployable"]["ref"]),
            (&pipeline["ref"], &pipeline["ref"])
        );
    }
    let get = |iid: &str| gitlab.get(&format!("/api/v4/projects/42/merge_requests/{iid}"));
    let open = get("12").json();
    for (field, value) in [
        ("iid", json!(12)),
        ("source_branch", json!("topic")),
        ("target_branch", json!("main")),
        ("title", json!("Change 12")),
        ("state", json!("opened")),
        ("merged_at", Value::Null),
        ("merge_commit_sha", Value::Null),
        (
            "web_url",
            json!("https://gitlab.example.com/acme/shop/-/merge_requests/12"),
        ),
    ] {
        assert_eq!(open[field], value, "{field}");
    }
    assert!(get("13").json()["merged_at"].is_string());
    assert_eq!(get("9").json()["source_branch"], "old", "one that a deployment brought");
    assert_eq!(refusal(&get("14")), message(404, "404 Not found"));
    assert_eq!(refusal(&get("x")), error(400, "merge_request_iid is invalid"));
}

#[test]
fn environments_have_the_slugs_that_gitlab_gives_them() {
    let sandbox = Sandbox::start();
    for (name, slug) in [
        ("production", "production"),
        ("staging-1234567890123456", "staging-1234567890123456"),
        ("production-", "production"),
        ("PRODUCTION", "production-vl4voz"),
        ("review/fix-\"quoted\"-ünï", "review-fix-quoted-o34m2u"),
        ("1-foo", "env-1-foo-1k46wz"),
        ("staging-12345678901234567", "staging-123456789-s729ne"),
    ] {
        sandbox.seed(Service::GitLab, json!({"deployments": [{"environment": name}]}));
        let shown = gitlab(&sandbox).get(DEPLOYMENTS).json();
        assert_eq!(shown[0]["environment"]["slug"], slug, "{name}");
    }
}

#[test]
fn a_deployment_says_what_became_of_its_job() {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::GitLab,
        json!({
            "pipelines": {"8812": {"source": "schedule", "jobs": [
                {"id": 1, "name": "deploy", "status": "failed", "failure_reason": "runner_system_failure"},
                {"id": 2, "name": "deploy", "artifacts": {"out/a.txt": "two"}},
            ]}},
            "deployments": [
                {"deployable": 1},
                {"deployable": 2},
                {"status": "blocked"},
                {"status": "created"},
                {"status": "skipped"},
                {"status": "canceled"},
                {"deployable": {"status": "failed", "started_at": null, "failure_reason": "deployment_rejected"}},
                {"deployable": {"status": "running", "started_at": "2025-03-05T00:00:00Z"}},
                {"deployable": {"id": 3, "status": "failed", "finished_at": "2025-03-06T00:00:00Z", "user": "lee",
                    "artifacts": {"out/a.txt": "three"}}},
            ],
        }),
    );
    let gitlab = gitlab(&sandbox);
    let shown = gitlab.get(DEPLOYMENTS).json();
    let jobs = gitlab
        .get("/api/v4/projects/42/pipelines/8812/jobs?include_retried=true")
        .json();
    assert_eq!(
        (&shown[0]["deployable"], &shown[1]["deployable"]),
        (&jobs[1], &jobs[0]),
        "each attempt"
    );
    assert_eq!(shown[0]["deployable"]["failure_reason"], "runner_system_failure");
    for (field, value) in [
        ("source", "schedule"),
        ("ref", "main"),
        ("created_at", "2025-03-01T10:00:00.000Z"),
        ("web_url", "https://gitlab.example.com/acme/shop/-/pipelines/8812"),
    ] {
        assert_eq!(shown[1]["deployable"]["pipeline"][field], value, "{field}");
    }
    let said = |index: usize| {
        let one = &shown[index];
        let job = &one["deployable"];
        [&one["status"], &job["status"], &job["failure_reason"]].map(|text| text.as_str().unwrap_or("-").to_owned())
    };
    for (index, expected) in [
        (2, ["blocked", "manual", "-"]),
        (3, ["created", "created", "-"]),
        (4, ["skipped", "skipped", "-"]),
        (5, ["canceled", "canceled", "-"]),
        (6, ["failed", "failed", "deployment_rejected"]),
    ] {
        assert_eq!(said(index), expected);
        assert_eq!(shown[index]["deployable"]["started_at"], Value::Null, "{index}");
        assert_eq!(shown[index]["deployable"]["pipeline"]["project_id"], 42);
    }
    assert_eq!(said(7)[0], "running");
    assert_eq!(shown[7]["updated_at"], "2025-03-05T00:00:00.000Z", "when it began");
    assert_eq!(
        (&shown[8]["status"], &shown[8]["updated_at"]),
        (&json!("failed"), &json!("2025-03-06T00:00:00.000Z"))
    );
    assert_eq!(shown[8]["user"]["username"], "lee");
    for (job, text) in [(2, "two"), (3, "three")] {
        assert_eq!(
            shown[if job == 2 { 1 } else { 8 }]["deployable"]["artifacts_file"]["filename"],
            "artifacts.zip"
        );
        let file = gitlab.get(&format!("/api/v4/projects/42/jobs/{job}/artifacts/out/a.txt"));
        assert_eq!(file.text, text);
    }
    let state = sandbox.state(Service::GitLab);
    sandbox.seed(Service::GitLab, state.clone());
    assert_eq!(sandbox.state(Service::GitLab), state);
}

#[test]
fn projects_that_can_not_be_are_not_seeded() {
    let sandbox = group();
    let state = sandbox.state(Service::GitLab);
    sandbox.seed(Service::GitLab, state.clone());
    assert_eq!(sandbox.state(Service::GitLab), state, "what is held can be seeded");
    let url = format!("{}/_sandbox/seed/gitlab", sandbox.root_url());
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    for (other, problem) in [
        (
            json!({"path": "api"}),
            "project 45: \"api\" is no path of a project in a group",
        ),
        (json!({"path": "acme/a", "id": 45}), "project 45: its \"id\" is its key"),
        (json!({"path": "acme/api"}), "there are two projects 45 or \"acme/api\""),
        (
            json!({"path": "acme/a", "jobs": []}),
            "project 45: unknown field `jobs`",
        ),
        (
            json!({"path": "acme/a", "pipelines": {"8812": {}}}),
            "project 45: there are two pipelines 8812",
        ),
        (
            json!({"path": "acme/a", "pipelines": {"1": {"jobs": [{"name": "a", "id": 99_104}]}}}),
            "there are two jobs 99104",
        ),
        (
            json!({"path": "acme/a", "deployments": [{"id": 501}]}),
            "project 45: there are two deployments 501",
        ),
        (
            json!({"path": "acme/a", "deployments": [{"deployable": {"id": 9_000_001}}]}),
            "there are two jobs 9000001",
        ),
        (
            json!({"path": "acme/a", "deployments": [{"deployable": {"pipeline": {"id": 1, "jobs": []}}}]}),
            "project 45: deployment 1: deployable: pipeline: unknown field \"jobs\"",
        ),
        (
            json!({"path": "acme/a", "merge_requests": {"x": {}}}),
            "project 45: \"x\" is no merge request's number",
        ),
    ] {
        let mut reply = agent.post(&url).send_json(json!({"projects": {"45": other}})).unwrap();
        let said = reply.body_mut().read_json::<Value>().unwrap()["error"].clone();
        assert!(
            said.as_str().unwrap_or_default().starts_with(problem),
            "{other}: {said}"
        );
    }
    assert_eq!(sandbox.state(Service::GitLab), state);
    sandbox.seed(Service::GitLab, json!({"projects": {"43": null}}));
    assert_eq!(gitlab_user(&sandbox).get(OTHERS).status, 404);
}

#[test]
fn the_record_changes_between_two_requests() {
    let sandbox = Sandbox::start();
    let running = json!({"deployments": [{"deployable": {"status": "running"}}]});
    let ended = json!({"deployments": [{"deployable": {"status": "failed"}}]});
    sandbox.seed(Service::GitLab, running);
    sandbox.seed_after(Service::GitLab, "/deployments", 2, Service::GitLab, ended);
    let appeared = json!({"entities": {"deployment": {"a": {}}}});
    sandbox.seed_after(Service::GitLab, "/pipelines/8812/jobs", 1, Service::Port, appeared);
    let (gitlab, port) = (gitlab(&sandbox), port(&sandbox));
    let status = || each(&gitlab.get(DEPLOYMENTS), "status")[0].clone();
    assert_eq!([status(), status(), status()], ["running", "running", "failed"]);
    let entity = || port.get("/v1/blueprints/deployment/entities/a").status;
    assert_eq!(entity(), 404);
    gitlab.get("/api/v4/projects/42/pipelines/8812/jobs");
    assert_eq!(entity(), 200);
    // What can't be seeded isn't kept quiet.
    sandbox.seed_after(Service::GitLab, "/deployments", 1, Service::GitLab, json!(7));
    assert_eq!(
        gitlab.get(DEPLOYMENTS).text,
        "gitlab can't be seeded: 7 is not an object"
    );
}

#[test]
fn a_long_history_of_many_projects_is_read_quickly() {
    let sandbox = Sandbox::start();
    let projects = (100..160).map(|project| {
        let jobs = (0..17).map(|_| json!({"name": "deploy"})).collect::<Value>();
        let of_jobs = (0..17).map(|job| json!({"deployable": project * 1000 + job + 1}));
        let own = (0..17).map(|number| json!({"environment": format!("review/{number}")}));
        let deployments = of_jobs.chain(own).collect::<Value>();
        let path = format!("acme/p{project}");
        let pipelines = json!({project.to_string(): {"jobs": jobs}});
        (
            project.to_string(),
            json!({"path": path, "pipelines": pipelines, "deployments": deployments}),
        )
    });
    let start = Instant::now();
    sandbox.seed(
        Service::GitLab,
        json!({"projects": projects.collect::<serde_json::Map<_, _>>()}),
    );
    let derived = start.elapsed();
    let user = gitlab_user(&sandbox);
    let listed = each(&user.get("/api/v4/groups/acme/projects?per_page=100"), "id");
    assert_eq!(listed.len(), 61);
    let deployments = listed.iter().map(|project| {
        let path = format!("/api/v4/projects/{project}/deployments?per_page=100");
        each(
            &user.get(&format!("{path}&order_by=updated_at&updated_after=2025-01-01")),
            "id",
        )
        .len()
    });
    assert_eq!(deployments.sum::<usize>(), 60 * 34 + 2);
    let all = start.elapsed();
    println!("derived after {derived:?}, listed after {all:?}");
    // As it is built for tests, and on a machine that has other things to do.
    assert!(
        derived < Duration::from_secs(5) && all < Duration::from_secs(20),
        "{derived:?}, {all:?}"
    );
}
