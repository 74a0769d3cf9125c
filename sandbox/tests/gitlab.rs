//! GitLab's stand-in against docs/gitlab.md 2.5, 3.9, 11, 11.1.

mod common;

use common::{Reply, each, error, gitlab, gitlab_user, message, refusal, with};
use sandbox::{Fault, GitLabAccess, Options, Sandbox, Service};
use serde_json::{Value, json};

const PROJECT: &str = "/api/v4/projects/42";
const JOBS: &str = "/api/v4/projects/42/pipelines/8812/jobs";
const DEPLOYMENTS: &str = "/api/v4/projects/42/deployments";

/// The pipeline's jobs from now on.
fn seed_jobs(sandbox: &Sandbox, jobs: &Value) {
    sandbox.seed(Service::GitLab, json!({"pipelines": {"8812": {"jobs": jobs}}}));
}

fn token(sandbox: &Sandbox) -> String {
    sandbox.gitlab_variables()[3].1.clone()
}

#[test]
fn the_variables_lead_to_the_pipeline() {
    let sandbox = Sandbox::start();
    let variables = sandbox.gitlab_variables();
    let names = variables.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(
        names,
        ["CI_API_V4_URL", "CI_PROJECT_ID", "CI_PIPELINE_ID", "CI_JOB_TOKEN"]
    );
    let [api, project, pipeline, token] = [0, 1, 2, 3].map(|index| variables[index].1.as_str());
    let url = format!("{api}/projects/{project}/pipelines/{pipeline}/jobs");
    let mut reply = ureq::get(&url).header("JOB-TOKEN", token).call().unwrap();
    let jobs = reply.body_mut().read_json::<Value>().unwrap();
    assert_eq!(jobs.as_array().unwrap().len(), 3);
    assert_eq!(sandbox.requests_to(Service::GitLab)[0].status, Some(200));
    assert!(!sandbox.variables().iter().any(|(name, _)| name.starts_with("CI_")));
}

#[test]
fn a_job_is_as_gitlab_prints_it() {
    let sandbox = Sandbox::start();
    let listed = gitlab(&sandbox).get(JOBS);
    assert_eq!(listed.header("content-type"), "application/json");
    assert_eq!(each(&listed, "id"), [99_105, 99_104, 99_103], "newest first");
    assert_eq!(each(&listed, "name"), ["notify", "deploy", "build"]);
    assert_eq!(each(&listed, "status"), ["running", "success", "success"]);
    let deploy = listed.json()[1].clone();
    for (field, value) in [
        ("stage", json!("deploy")),
        ("ref", json!("main")),
        ("tag", json!(false)),
        ("coverage", Value::Null),
        ("allow_failure", json!(false)),
        ("created_at", json!("2025-03-01T10:00:00.000Z")),
        ("started_at", json!("2025-03-01T10:01:02.000Z")),
        ("finished_at", json!("2025-03-01T10:02:00.000Z")),
        ("erased_at", Value::Null),
        ("duration", json!(58.0)),
        ("queued_duration", json!(2.0)),
        ("web_url", json!("https://gitlab.example.com/acme/shop/-/jobs/99104")),
        ("project", json!({"ci_job_token_scope_enabled": false})),
    ] {
        assert_eq!(deploy[field], value, "{field}");
    }
    assert_eq!(deploy["user"]["username"], "dana");
    assert_eq!(deploy["commit"]["id"].as_str().unwrap().len(), 40);
    assert_eq!(
        (&deploy["pipeline"]["id"], &deploy["pipeline"]["status"]),
        (&json!(8812), &json!("running"))
    );
    assert!(deploy.get("failure_reason").is_none() && deploy.get("retried").is_none());
}

#[test]
fn what_a_seed_leaves_out_follows_from_the_status() {
    let sandbox = Sandbox::start();
    seed_jobs(
        &sandbox,
        &json!([
            {"name": "failed", "status": "failed"},
            {"name": "late", "status": "failed", "failure_reason": "stuck_or_timeout_failure"},
            {"name": "skipped", "status": "skipped", "failure_reason": "script_failure"},
            {"name": "manual", "status": "manual", "allow_failure": true},
            {"name": "early", "status": "canceled"},
            {"name": "stopped", "status": "canceled", "started_at": "2025-03-01T11:00:00+01:00", "duration": 7.5},
            {"name": "running", "status": "running"},
            {"name": "odd", "finished_at": null, "user": "lee", "stage": "deploy"},
        ]),
    );
    let mut jobs = gitlab(&sandbox).get(JOBS).json();
    let jobs = jobs.as_array_mut().unwrap();
    jobs.reverse();
    let show = |index: usize, field: &str| jobs[index][field].clone();
    assert_eq!((show(0, "id"), show(0, "stage")), (json!(8_812_001), json!("test")));
    assert_eq!(show(0, "failure_reason"), "script_failure");
    assert_eq!(show(1, "failure_reason"), "stuck_or_timeout_failure");
    assert!(jobs[2].get("failure_reason").is_none(), "only when failed");
    for never in [2, 3, 4] {
        assert_eq!(
            (show(never, "started_at"), show(never, "duration")),
            (Value::Null, Value::Null)
        );
    }
    assert_eq!(
        (show(3, "finished_at"), show(3, "allow_failure")),
        (Value::Null, json!(true))
    );
    assert_eq!(
        show(4, "finished_at"),
        "2025-03-01T10:04:00.000Z",
        "canceled is finished"
    );
    assert_eq!(show(5, "started_at"), "2025-03-01T10:00:00.000Z");
    assert_eq!(
        (show(5, "finished_at"), show(5, "duration")),
        (json!("2025-03-01T10:00:07.500Z"), json!(7.5))
    );
    assert_eq!(
        (show(6, "finished_at"), show(6, "duration")),
        (Value::Null, json!(30.0))
    );
    assert_eq!(
        (show(7, "finished_at"), &show(7, "user")["username"]),
        (Value::Null, &json!("lee"))
    );
    // The same seed gives the same jobs, and what is held can be seeded as it is.
    let state = sandbox.state(Service::GitLab);
    sandbox.seed(Service::GitLab, state.clone());
    assert_eq!(sandbox.state(Service::GitLab), state);
}

#[test]
fn retried_attempts_are_left_out_unless_asked_for() {
    let sandbox = Sandbox::start();
    seed_jobs(
        &sandbox,
        &json!([
            {"name": "deploy", "status": "failed"},
            {"id": 9_000_001, "name": "deploy", "status": "success"},
            {"name": "build 1/2"}, {"name": "build 2/2"},
            {"id": 77, "name": "deploy", "status": "canceled"},
        ]),
    );
    let gitlab = gitlab(&sandbox);
    assert_eq!(each(&gitlab.get(JOBS), "id"), [9_000_003, 9_000_002, 9_000_001]);
    let all = gitlab.get(&format!("{JOBS}?include_retried=true"));
    assert_eq!(each(&all, "id"), [9_000_003, 9_000_002, 9_000_001, 8_812_001, 77]);
    // A retried attempt doesn't come back by its status.
    assert_eq!(each(&gitlab.get(&format!("{JOBS}?scope[]=failed")), "id"), [0; 0]);
    let failed = gitlab.get(&format!("{JOBS}?include_retried=1&scope%5B%5D=failed&scope[]=canceled"));
    assert_eq!(each(&failed, "id"), [8_812_001, 77]);
    assert_eq!(
        each(
            &gitlab.get(&format!("{JOBS}?scope=success&include_retried=false")),
            "id"
        )
        .len(),
        3
    );
}

#[test]
fn many_jobs_come_in_pages() {
    let sandbox = Sandbox::start();
    let jobs = (1..=250)
        .map(|number| json!({"name": format!("test {number}/250")}))
        .collect();
    seed_jobs(&sandbox, &jobs);
    let gitlab = gitlab(&sandbox);
    let header = |reply: &Reply| {
        let names = [
            "x-page",
            "x-per-page",
            "x-next-page",
            "x-prev-page",
            "x-total",
            "x-total-pages",
        ];
        names.map(|name| reply.header(name).to_owned())
    };
    let first = gitlab.get(JOBS);
    assert_eq!(header(&first), ["1", "20", "2", "", "250", "13"]);
    let mut names = Vec::new();
    let mut path = format!("{JOBS}?per_page=100");
    for (page, expected) in [["1", "2", ""], ["2", "3", "1"], ["3", "", "2"]]
        .into_iter()
        .enumerate()
    {
        let reply = gitlab.get(&path);
        assert_eq!(
            header(&reply),
            [expected[0], "100", expected[1], expected[2], "250", "3"]
        );
        names.extend(each(&reply, "name"));
        let next = reply
            .header("link")
            .split(", ")
            .find(|link| link.ends_with("; rel=\"next\""));
        assert_eq!(next.is_none(), page == 2);
        if let Some(next) = next {
            let url = next.trim_start_matches('<').split('>').next().unwrap();
            path = url.strip_prefix(&sandbox.url(Service::GitLab)).unwrap().to_owned();
        }
    }
    let expected = (1..=250).rev().map(|number| json!(format!("test {number}/250")));
    assert_eq!(names, expected.collect::<Vec<_>>());
    assert_eq!(
        header(&gitlab.get(&format!("{JOBS}?per_page=500")))[1],
        "100",
        "at most"
    );
    let beyond = gitlab.get(&format!("{JOBS}?per_page=100&page=4"));
    assert_eq!(
        (each(&beyond, "id").len(), header(&beyond)),
        (0, ["4", "100", "", "3", "250", "3"].map(str::to_owned))
    );
    seed_jobs(&sandbox, &json!([]));
    assert_eq!(header(&gitlab.get(JOBS)), ["1", "20", "", "", "0", "1"]);
    for (query, text) in [
        ("page=0", "page does not have a valid value"),
        ("page=x", "page is invalid"),
        ("per_page=0", "per_page does not have a valid value"),
        ("per_page=-1", "per_page is invalid"),
        ("scope[]=broken", "scope does not have a valid value"),
        ("include_retried=maybe", "include_retried is invalid"),
        (
            "include_retry=true",
            "include_retry is unknown to the sandbox, and ignored by GitLab",
        ),
    ] {
        assert_eq!(
            refusal(&gitlab.get(&format!("{JOBS}?{query}"))),
            error(400, text),
            "{query}"
        );
    }
}

#[test]
fn either_token_has_its_forms_and_no_other() {
    let sandbox = Sandbox::start();
    let (job, access) = (token(&sandbox), sandbox.gitlab_access_token());
    let nobody = gitlab(&sandbox);
    let nobody = nobody.with("job-token", None);
    assert_eq!(nobody.with("job-token", Some(&job)).get(JOBS).status, 200);
    assert_eq!(nobody.get(&format!("{JOBS}?job_token={job}")).status, 200);
    assert_eq!(nobody.with("private-token", Some(&access)).get(JOBS).status, 200);
    assert_eq!(
        nobody
            .with("authorization", Some(&format!("Bearer {access}")))
            .get(JOBS)
            .status,
        200
    );
    let unauthorized = message(401, "401 Unauthorized");
    assert_eq!(refusal(&nobody.get(JOBS)), unauthorized);
    for (header, value) in [
        ("job-token", "wrong"),
        ("job-token", &access),
        ("private-token", "wrong"),
        ("private-token", &job),
        ("authorization", &format!("Bearer {job}")),
        ("authorization", &format!("Basic {access}")),
    ] {
        assert_eq!(
            refusal(&nobody.with(header, Some(value)).get(JOBS)),
            unauthorized,
            "{header}: {value}"
        );
    }
    assert_eq!(
        refusal(&nobody.get(&format!("{JOBS}?private_token={access}"))),
        unauthorized
    );
    // A wrong access token isn't made up for by a right job token.
    let both = nobody.with("job-token", Some(&job));
    assert_eq!(
        refusal(&both.with("private-token", Some("wrong")).get(JOBS)),
        unauthorized
    );
}

#[test]
fn a_project_goes_by_its_id_or_its_encoded_path() {
    let sandbox = Sandbox::start();
    let gitlab = gitlab(&sandbox);
    assert_eq!(
        gitlab.get("/api/v4/projects/acme%2Fshop/pipelines/8812/jobs").status,
        200
    );
    let other = message(404, "404 Project Not Found");
    for project in ["43", "acme%2Fother", "acme"] {
        let reply = gitlab.get(&format!("/api/v4/projects/{project}/pipelines/8812/jobs"));
        assert_eq!(refusal(&reply), other, "{project}");
    }
    let unencoded = gitlab.get("/api/v4/projects/acme/shop/pipelines/8812/jobs");
    assert_eq!(refusal(&unencoded), error(404, "404 Not Found"));
    assert_eq!(
        refusal(&gitlab.get("/api/v4/projects/42/pipelines/1/jobs")),
        message(404, "404 Not found")
    );
    assert_eq!(
        refusal(&gitlab.get("/api/v4/projects/42/pipelines/last/jobs")),
        error(400, "pipeline_id is invalid")
    );
    sandbox.seed(Service::GitLab, json!({"project": {"id": 7, "path": "acme/tools"}}));
    assert_eq!(refusal(&gitlab.get(JOBS)), other);
    assert_eq!(
        gitlab.get("/api/v4/projects/acme%2Ftools/pipelines/8812/jobs").status,
        200
    );
}

#[test]
fn a_job_token_may_not_read_what_it_may_not_read_in_gitlab() {
    let paths = ["/pipelines/8812", "/jobs/99104"].map(|path| format!("{PROJECT}{path}"));
    for (status, text) in [
        (404, "404 Project Not Found"),
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
    ] {
        let sandbox = with(|options| options.gitlab_pipelines = GitLabAccess::Refused(status));
        assert_eq!(refusal(&gitlab(&sandbox).get(&paths[0])), message(status, text));
        assert_eq!(
            refusal(&gitlab(&sandbox).get(&paths[1])),
            message(401, "401 Unauthorized")
        );
        for path in &paths {
            assert_eq!(gitlab_user(&sandbox).get(path).status, 200);
        }
    }
    let sandbox = Sandbox::start();
    assert_eq!(gitlab(&sandbox).get(&paths[0]).status, 404, "unless told otherwise");
    let sandbox = with(|options| options.gitlab_pipelines = GitLabAccess::Allowed);
    assert_eq!(gitlab(&sandbox).get(&paths[0]).status, 200);
}

#[test]
fn an_older_gitlab_refuses_a_job_token_more() {
    let artifact = format!("{PROJECT}/jobs/1/artifacts/a.txt");
    for status in [401, 403, 404] {
        let refused = GitLabAccess::Refused(status);
        let job = json!([{"id": 1, "name": "build", "artifacts": {"a.txt": ""}}]);
        let open = |change: fn(&mut Options, GitLabAccess)| {
            let sandbox = with(|options| change(options, refused));
            seed_jobs(&sandbox, &job);
            let paths = [JOBS, artifact.as_str(), DEPLOYMENTS];
            assert!(paths.iter().all(|path| gitlab_user(&sandbox).get(path).status == 200));
            paths.map(|path| gitlab(&sandbox).get(path).status)
        };
        assert_eq!(
            open(|options, refused| options.gitlab_jobs = refused),
            [status, 200, 200]
        );
        assert_eq!(
            open(|options, refused| options.gitlab_artifacts = refused),
            [200, status, 200]
        );
        assert_eq!(
            open(|options, refused| options.gitlab_deployments = refused),
            [200, 200, status]
        );
    }
    let sandbox = with(|options| options.gitlab_deployments = GitLabAccess::Refused(403));
    for path in ["/deployments/501", "/deployments/501/merge_requests"] {
        assert_eq!(
            refusal(&gitlab(&sandbox).get(&format!("{PROJECT}{path}"))),
            message(403, "403 Forbidden")
        );
    }
}

#[test]
fn an_older_gitlab_shows_a_job_token_no_trigger_jobs() {
    let lists = ["trigger_jobs", "bridges"].map(|list| format!("{PROJECT}/pipelines/8812/{list}"));
    let statuses = |sandbox: &Sandbox| lists.clone().map(|list| gitlab(sandbox).get(&list).status);
    assert_eq!(statuses(&Sandbox::start()), [200, 200]);
    let older = with(|options| {
        options.gitlab_trigger_jobs = GitLabAccess::Missing;
        options.gitlab_bridges = GitLabAccess::Refused(401);
    });
    assert_eq!(statuses(&older), [404, 401]);
    let missing = gitlab_user(&older).get(&lists[0]);
    assert_eq!(
        refusal(&missing),
        error(404, "404 Not Found"),
        "nobody has a route that is missing"
    );
    assert_eq!(gitlab_user(&older).get(&lists[1]).status, 200);
}

#[test]
fn a_token_without_the_right_to_read_builds_sees_no_jobs_and_is_not_told() {
    let sandbox = with(|options| options.gitlab_reads_builds = false);
    let forbidden = message(403, "403 Forbidden");
    assert_eq!(gitlab(&sandbox).get(JOBS).json(), json!([]));
    assert_eq!(gitlab(&sandbox).get(&JOBS.replace("8812", "9")).status, 404);
    for path in [
        "pipelines/8812/trigger_jobs",
        "pipelines/8812/bridges",
        "jobs/99104/artifacts/a.txt",
    ] {
        assert_eq!(
            refusal(&gitlab(&sandbox).get(&format!("{PROJECT}/{path}"))),
            forbidden,
            "{path}"
        );
    }
    assert_eq!(gitlab(&sandbox).get(DEPLOYMENTS).status, 200);
    assert_eq!(each(&gitlab_user(&sandbox).get(JOBS), "name").len(), 3);
}

#[test]
fn a_job_token_ends_with_its_job() {
    let sandbox = with(|options| options.gitlab_job_token_expired = true);
    let unauthorized = message(401, "401 Unauthorized");
    for path in [
        JOBS,
        DEPLOYMENTS,
        "/api/v4/job",
        "/api/v4/projects/42/jobs/99104/artifacts/a.txt",
    ] {
        assert_eq!(refusal(&gitlab(&sandbox).get(path)), unauthorized);
    }
    assert_eq!(gitlab_user(&sandbox).get(JOBS).status, 200);
}

#[test]
fn the_current_job_is_the_tokens() {
    let sandbox = Sandbox::start();
    let current = gitlab(&sandbox).get("/api/v4/job").json();
    assert_eq!(
        (&current["id"], &current["pipeline"]["id"]),
        (&json!(99_105), &json!(8812))
    );
    sandbox.seed(Service::GitLab, json!({"current_job": 99_104}));
    assert_eq!(gitlab(&sandbox).get("/api/v4/job").json()["name"], "deploy");
    let nobodys = message(404, "404 Job Not Found");
    assert_eq!(refusal(&gitlab_user(&sandbox).get("/api/v4/job")), nobodys);
    sandbox.seed(
        Service::GitLab,
        json!({"current_job": null, "pipelines": {"8812": null}, "deployments": []}),
    );
    assert_eq!(refusal(&gitlab(&sandbox).get("/api/v4/job")), nobodys);
}

#[test]
fn child_pipelines_are_seen_by_their_trigger_jobs() {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": {
            "8812": {
                "jobs": [{"name": "build"}],
                "bridges": [
                    {"name": "child", "status": "failed", "downstream_pipeline": 8813},
                    {"name": "elsewhere", "stage": "deploy", "downstream_pipeline": {"id": 5, "status": "success"}},
                    {"name": "not-yet", "status": "manual", "allow_failure": true},
                ],
            },
            "8813": {"source": "parent_pipeline", "jobs": [{"name": "deploy", "status": "failed"}]},
        }}),
    );
    assert_eq!(
        each(&gitlab(&sandbox).get(JOBS), "name"),
        ["build"],
        "no bridges among the jobs"
    );
    let user = gitlab_user(&sandbox);
    let bridges = user.get(&format!("{PROJECT}/pipelines/8812/bridges"));
    let same = gitlab(&sandbox).get(&format!("{PROJECT}/pipelines/8812/trigger_jobs"));
    assert_eq!(bridges.json(), same.json());
    let shown = bridges.json()[0].as_object().expect("a bridge").clone();
    for name in ["artifacts", "runner", "tag_list", "archived", "retried", "strategy"] {
        assert!(!shown.contains_key(name), "{name}");
    }
    assert_eq!(each(&bridges, "id"), [8_812_903, 8_812_902, 8_812_901]);
    let downstream = each(&bridges, "downstream_pipeline");
    assert_eq!(downstream[..2], [Value::Null, json!({"id": 5, "status": "success"})]);
    assert_eq!(
        (&downstream[2]["id"], &downstream[2]["status"]),
        (&json!(8813), &json!("failed"))
    );
    let state = sandbox.state(Service::GitLab);
    sandbox.seed(Service::GitLab, state.clone());
    assert_eq!(sandbox.state(Service::GitLab), state);
    let failed = user.get(&format!("{PROJECT}/pipelines/8812/bridges?scope[]=failed"));
    assert_eq!(each(&failed, "name"), ["child"]);
    let pipeline = user.get(&format!("{PROJECT}/pipelines/8813")).json();
    assert_eq!(
        (&pipeline["status"], &pipeline["source"]),
        (&json!("failed"), &json!("parent_pipeline"))
    );
    assert_eq!(pipeline["finished_at"], "2025-03-01T10:01:00.000Z");
}

#[test]
fn a_trigger_job_follows_its_downstream_pipeline_only_if_it_waits() {
    let sandbox = Sandbox::start();
    let jobs =
        |status: &str, allow_failure: bool| json!([{"name": "a", "status": status, "allow_failure": allow_failure}]);
    for (downstream, none, depend, mirror) in [
        (jobs("success", false), "success", "success", "success"),
        (jobs("failed", false), "success", "failed", "failed"),
        (jobs("canceled", false), "success", "canceled", "canceled"),
        (jobs("skipped", false), "success", "failed", "skipped"),
        (jobs("manual", false), "success", "running", "manual"),
        (jobs("running", false), "success", "running", "running"),
        (jobs("failed", true), "success", "success", "success"),
    ] {
        let bridge =
            |strategy: Value| json!({"name": strategy.to_string(), "strategy": strategy, "downstream_pipeline": 8813});
        let bridges = [Value::Null, json!("depend"), json!("mirror")].map(bridge);
        sandbox.seed(
            Service::GitLab,
            json!({"pipelines": {"8812": {"bridges": bridges}, "8813": {"jobs": downstream}}}),
        );
        let listed = gitlab(&sandbox).get(&format!("{PROJECT}/pipelines/8812/trigger_jobs"));
        assert_eq!(each(&listed, "status"), [mirror, depend, none], "{downstream}");
    }
}

#[test]
fn a_job_that_failed_before_it_started_has_no_failure_of_a_script() {
    let sandbox = Sandbox::start();
    seed_jobs(
        &sandbox,
        &json!([{"name": "a", "status": "failed", "started_at": null}, {"name": "b", "status": "failed"}]),
    );
    let listed = gitlab(&sandbox).get(JOBS);
    assert_eq!(
        each(&listed, "failure_reason"),
        ["script_failure", "stuck_or_timeout_failure"]
    );
    assert_eq!(each(&listed, "started_at")[1], Value::Null);
}

#[test]
fn a_pipelines_status_is_composed_of_its_jobs() {
    let sandbox = Sandbox::start();
    let job = |name: &str, status: &str| json!({"name": name, "status": status});
    for (expected, jobs) in [
        ("success", json!([job("a", "success"), job("b", "skipped")])),
        (
            "success",
            json!([{"name": "a", "status": "failed", "allow_failure": true}]),
        ),
        ("success", json!([job("a", "failed"), job("a", "success")])),
        (
            "success",
            json!([job("b", "success"), {"name": "a", "status": "manual", "allow_failure": true}]),
        ),
        ("failed", json!([job("a", "failed"), job("b", "skipped")])),
        ("failed", json!([job("a", "failed"), job("b", "canceled")])),
        ("canceled", json!([job("a", "success"), job("b", "canceled")])),
        ("canceling", json!([job("a", "success"), job("b", "canceling")])),
        ("running", json!([job("a", "failed"), job("b", "running")])),
        ("running", json!([job("a", "success"), job("b", "created")])),
        ("manual", json!([job("a", "success"), job("b", "manual")])),
        ("pending", json!([job("a", "pending"), job("b", "created")])),
        ("created", json!([job("a", "created")])),
        ("skipped", json!([job("a", "skipped")])),
    ] {
        seed_jobs(&sandbox, &jobs);
        let pipeline = gitlab_user(&sandbox).get(&format!("{PROJECT}/pipelines/8812")).json();
        assert_eq!(pipeline["status"], expected, "{jobs}");
    }
    sandbox.seed(Service::GitLab, json!({"pipelines": {"8812": {"status": "failed"}}}));
    assert_eq!(
        sandbox.state(Service::GitLab)["pipelines"]["8812"]["status"],
        "failed",
        "unless it is seeded"
    );
}

#[test]
fn a_file_of_any_attempts_artifacts_can_be_read() {
    let sandbox = Sandbox::start();
    seed_jobs(
        &sandbox,
        &json!([
            {"id": 1, "name": "notify", "status": "failed", "artifacts": {
                "out/receipt.json": {"sent": ["port"]},
                "out/receipt.env": "A=1\n",
                "out/log.txt": "sent\n",
                "out/a b.json": "[]",
            }},
            {"id": 2, "name": "notify", "status": "running"},
        ]),
    );
    let gitlab = gitlab(&sandbox);
    let file = |job: u64, path: &str| gitlab.get(&format!("{PROJECT}/jobs/{job}/artifacts/{path}"));
    let receipt = file(1, "out/receipt.json");
    assert_eq!(
        (receipt.status, receipt.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(
        receipt.header("content-disposition"),
        "attachment; filename=\"receipt.json\""
    );
    assert_eq!(receipt.json(), json!({"sent": ["port"]}));
    let plain = file(1, "out%2Freceipt.env");
    assert_eq!(
        (plain.text.as_str(), plain.header("content-type")),
        ("A=1\n", "application/octet-stream")
    );
    assert_eq!(
        file(1, "out/log.txt").header("content-type"),
        "text/plain; charset=utf-8"
    );
    assert_eq!(file(1, "out/a%20b.json").text, "[]");
    // What isn't in an archive is missed by the proxy in front of GitLab, which speaks no JSON.
    let missing = file(1, "out/none.json");
    assert_eq!((missing.status, missing.text.as_str()), (404, "404 page not found\n"));
    assert_eq!(refusal(&file(2, "out/receipt.json")), message(404, "404 Not Found"));
    assert_eq!(refusal(&file(3, "out/receipt.json")), message(404, "404 Not Found"));
    assert_eq!(
        refusal(&file(1, "out%2F..%2Freceipt.env")),
        message(400, "400 Bad request")
    );
    let listed = gitlab.get(&format!("{JOBS}?include_retried=true")).json();
    assert_eq!(listed[1]["artifacts_file"]["filename"], "artifacts.zip");
    assert_eq!(
        (listed[0].get("artifacts_file"), &listed[0]["artifacts"]),
        (None, &json!([]))
    );
}

#[test]
fn a_refs_artifacts_are_those_of_its_last_good_pipeline() {
    let sandbox = Sandbox::start();
    let built = |content: &str| json!([{"name": "build app", "artifacts": {"out/v.txt": content}}]);
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": {
            "8810": {"ref": "release/1.0", "jobs": built("old")},
            "8811": {"ref": "release/1.0", "jobs": built("good")},
            "8812": {"ref": "release/1.0", "jobs": [{"name": "build app", "artifacts": {"out/v.txt": "new"}}, {"name": "x", "status": "failed"}]},
        }, "deployments": []}),
    );
    let gitlab = gitlab(&sandbox);
    let raw = |rest: &str| gitlab.get(&format!("{PROJECT}/jobs/artifacts/{rest}"));
    assert_eq!(raw("release%2F1.0/raw/out/v.txt?job=build%20app").text, "good");
    assert_eq!(raw("release/1.0/raw/out/v.txt?job=build+app").text, "good");
    assert_eq!(
        refusal(&raw("main/raw/out/v.txt?job=build%20app")),
        message(404, "404 Not found")
    );
    assert_eq!(
        refusal(&raw("release%2F1.0/raw/out/v.txt?job=x")),
        message(404, "404 Not found")
    );
    assert_eq!(
        refusal(&raw("release%2F1.0/raw/out/v.txt")),
        error(400, "job is missing")
    );
    assert_eq!(raw("release%2F1.0/raw/none?job=build%20app").status, 404);
}

#[test]
fn deployments_are_found_by_environment_and_status() {
    let sandbox = Sandbox::start();
    sandbox.seed(
        Service::GitLab,
        json!({"deployments": [
            {"sha": "a".repeat(40)},
            {"status": "failed"},
            {"environment": "staging", "ref": "next", "deployable": null},
            {"sha": "b".repeat(40), "finished_at": "2025-02-27T00:00:00Z", "deployable": {"name": "go", "pipeline": 8000}},
            {"deployable": 99_105},
        ]}),
    );
    let gitlab = gitlab(&sandbox);
    let find = |query: &str| each(&gitlab.get(&format!("{DEPLOYMENTS}?{query}")), "id");
    assert_eq!(find(""), [501, 502, 503, 504, 505], "oldest first");
    assert_eq!(
        find("environment=production&status=success&order_by=id&sort=desc"),
        [504, 501]
    );
    assert_eq!(find("environment=production&status=running"), [505]);
    assert_eq!(find("environment=staging"), [503]);
    assert_eq!(find("environment=nowhere"), [0; 0]);
    assert_eq!(find("order_by=ref"), [501, 502, 504, 505, 503]);
    assert_eq!(find("order_by=updated_at"), [504, 501, 502, 503, 505]);
    assert_eq!(find("order_by=iid&sort=desc&per_page=2&page=2"), [503, 502]);
    for (query, text) in [
        ("status=succeeded", "status does not have a valid value"),
        ("order_by=name", "order_by does not have a valid value"),
        ("sort=down", "sort does not have a valid value"),
    ] {
        assert_eq!(
            refusal(&gitlab.get(&format!("{DEPLOYMENTS}?{query}"))),
            error(400, text)
        );
    }
    let show = |id: u64| gitlab.get(&format!("{DEPLOYMENTS}/{id}")).json();
    let first = show(501);
    assert_eq!((&first["iid"], &first["ref"]), (&json!(1), &json!("main")));
    assert_eq!(
        (&first["environment"]["name"], &first["environment"]["id"]),
        (&json!("production"), &json!(1))
    );
    assert_eq!(
        (&first["sha"], &first["deployable"]["commit"]["id"]),
        (&json!("a".repeat(40)), &json!("a".repeat(40)))
    );
    assert_eq!(first["created_at"], "2025-02-28T10:00:00.000Z");
    assert_eq!(first["deployable"]["finished_at"], "2025-02-28T10:01:00.000Z");
    assert!(first.get("finished_at").is_none() && first.get("merge_requests").is_none());
    assert_eq!(show(502)["deployable"]["failure_reason"], "script_failure");
    assert_eq!(show(503)["deployable"], Value::Null);
    let own = show(504)["deployable"].clone();
    assert_eq!((&own["name"], &own["pipeline"]["id"]), (&json!("go"), &json!(8000)));
    // A pipeline's job says of its deployment what the seed doesn't.
    let current = show(505);
    assert_eq!(
        (&current["status"], &current["created_at"]),
        (&json!("running"), &json!("2025-03-01T10:00:00.000Z"))
    );
    assert_eq!(
        (&current["sha"], &current["deployable"]["id"]),
        (&current["deployable"]["commit"]["id"], &json!(99_105))
    );
    sandbox.seed(
        Service::GitLab,
        json!({"pipelines": {"8812": {"jobs": [{"id": 99_105, "name": "deploy", "status": "failed"}]}}}),
    );
    assert_eq!(show(505)["status"], "failed", "as it goes on");
    assert_eq!(
        refusal(&gitlab.get(&format!("{DEPLOYMENTS}/9"))),
        message(404, "404 Not found")
    );
    assert_eq!(
        refusal(&gitlab.get(&format!("{DEPLOYMENTS}/x"))),
        error(400, "deployment_id is invalid")
    );
}

#[test]
fn a_deployment_brought_its_merge_requests() {
    let sandbox = Sandbox::start();
    let requests = (1..=30)
        .map(|number| json!(format!("Change {number}")))
        .collect::<Value>();
    sandbox.seed(
        Service::GitLab,
        json!({"deployments": [
            {"merge_requests": [
                "Show the price",
                {"iid": 9, "title": "Older", "author": "lee", "created_at": "2025-01-01T00:00:00Z", "merged_at": "2025-01-02T00:00:00Z"},
            ]},
            {"merge_requests": requests},
            {},
        ]}),
    );
    let gitlab = gitlab(&sandbox);
    let brought = |rest: &str| gitlab.get(&format!("{DEPLOYMENTS}/{rest}"));
    let listed = brought("501/merge_requests");
    assert_eq!(each(&listed, "iid"), [1, 9], "newest first");
    assert_eq!(
        each(&brought("501/merge_requests?order_by=created_at&sort=asc"), "iid"),
        [9, 1]
    );
    let first = listed.json()[0].clone();
    for (field, value) in [
        ("title", "Show the price"),
        ("state", "merged"),
        ("created_at", "2025-02-27T10:00:00.000Z"),
        ("merged_at", "2025-02-28T09:00:00.000Z"),
        ("web_url", "https://gitlab.example.com/acme/shop/-/merge_requests/1"),
        ("sha", "000000000000000000000000000000000000a001"),
        ("merge_commit_sha", "000000000000000000000000000000000000b001"),
    ] {
        assert_eq!(first[field], value);
    }
    assert_eq!(first["author"]["username"], "dana");
    assert_eq!(listed.json()[1]["author"]["username"], "lee");
    let page = brought("502/merge_requests?per_page=20&page=2");
    assert_eq!((each(&page, "iid").len(), page.header("x-total")), (10, "30"));
    assert_eq!(each(&brought("503/merge_requests"), "iid"), [0; 0]);
    assert_eq!(refusal(&brought("9/merge_requests")), message(404, "404 Not found"));
}

#[test]
fn nothing_else_is_served_and_nothing_is_written() {
    let sandbox = Sandbox::start();
    let state = sandbox.state(Service::GitLab);
    for client in [gitlab(&sandbox), gitlab_user(&sandbox)] {
        for path in [
            "/api/v4",
            "/api/v4/groups/acme",
            "/api/v4/projects/42/issues",
            "/api/v4/version",
            "/api/v4/jobs",
        ] {
            assert_eq!(refusal(&client.get(path)), error(404, "404 Not Found"), "{path}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let write = client.bytes(method, DEPLOYMENTS, b"{}");
            assert_eq!(
                (refusal(&write), write.header("allow")),
                (error(405, "405 Not Allowed"), "OPTIONS, GET, HEAD")
            );
            let retry = client.bytes(method, "/api/v4/projects/42/jobs/99104/retry", b"{}");
            assert_eq!(refusal(&retry), message(403, "403 Forbidden"));
        }
        let page = client.get("/acme/shop/-/jobs/99104");
        assert_eq!(
            (page.status, page.header("content-type")),
            (404, "text/html; charset=utf-8")
        );
    }
    let stranger = gitlab(&sandbox);
    let stranger = stranger.with("job-token", None);
    assert_eq!(
        stranger
            .bytes("POST", "/api/v4/projects/42/jobs/99104/retry", b"")
            .status,
        401
    );
    assert_eq!(sandbox.state(Service::GitLab), state);
}

#[test]
fn what_can_not_be_is_not_seeded() {
    let sandbox = Sandbox::start();
    let state = sandbox.state(Service::GitLab);
    let url = format!("{}/_sandbox/seed/gitlab", sandbox.root_url());
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let seed = |body: &Value| {
        let mut reply = agent.post(&url).send_json(body).unwrap();
        (reply.status().as_u16(), reply.body_mut().read_json::<Value>().unwrap())
    };
    let job = |job: Value| json!({"pipelines": {"8812": {"jobs": [job]}}});
    let deployment = |deployment: Value| json!({"deployments": [deployment]});
    for (bad, problem) in [
        (json!({"jobs": []}), "unknown field \"jobs\""),
        (json!({"pipelines": {"x": {}}}), "\"x\" is no pipeline's id"),
        (
            json!({"pipelines": {"8812": {"job": []}}}),
            "pipeline 8812: unknown field \"job\"",
        ),
        (json!({"pipelines": []}), "pipelines: [] is not an object"),
        (job(json!({})), "pipeline 8812: job 1: it has no name"),
        (
            job(json!({"name": "a", "started_at": "noon"})),
            "pipeline 8812: job 1: \"started_at\" is not a time",
        ),
        (
            job(json!({"name": "a", "id": u64::MAX})),
            "pipeline 8812: job 1: \"id\" is not a number that can count",
        ),
        (
            json!({"pipelines": {"1": {"jobs": [{"name": "a", "id": 99_104}]}}}),
            "there are two jobs 99104",
        ),
        (json!({"current_job": 5}), "current_job: no pipeline has a job 5"),
        (
            deployment(json!({"deployable": 5})),
            "deployment 1: no pipeline has a job 5",
        ),
        (
            deployment(json!({"merge_requests": [{"iid": "x"}]})),
            "deployment 1: merge_requests: \"iid\" is not a number that can count",
        ),
        (
            json!({"deployments": [{"id": 1}, {"id": 1}]}),
            "there are two deployments 1",
        ),
    ] {
        assert_eq!(seed(&bad), error(400, problem), "{bad}");
    }
    for bad in [
        job(json!({"name": "a", "status": "done"})),
        job(json!({"name": "a", "retried": true})),
        job(json!({"name": "a", "artifacts": []})),
        job(json!({"name": "a", "user": 7})),
        json!({"pipelines": {"8812": {"bridges": [{"name": "a", "downstream_pipeline": 5}]}}}),
        json!({"pipelines": {"8812": {"bridges": [{"name": "a", "strategy": "wait"}]}}}),
        deployment(json!({"status": "done"})),
        deployment(json!({"commit": "a"})),
        deployment(json!({"environment": 7})),
        json!({"deployments": [{"iid": u64::MAX}, {}]}),
        deployment(json!({"deployable": "deploy"})),
        deployment(json!({"created_at": null})),
        json!(7),
    ] {
        assert_eq!(seed(&bad).0, 400, "{bad}");
    }
    assert_eq!(sandbox.state(Service::GitLab), state, "all of a seed, or nothing");
    let extreme = json!({"name": "a", "duration": 1e300, "started_at": "9999-12-31T23:59:59Z"});
    assert_eq!(
        seed(&json!({"pipelines": {"8812": {"jobs": [extreme]}}, "deployments": []})).0,
        200
    );
    assert_eq!(
        seed(&json!({"pipelines": {"8812": {"created_at": "0000-01-01T00:00:00+10:00"}}})).0,
        400
    );
    assert_eq!(seed(&json!({"pipelines": {"8812": null}, "deployments": []})).0, 200);
    let held = agent
        .get(url.replace("seed", "state"))
        .call()
        .unwrap()
        .body_mut()
        .read_json::<Value>()
        .unwrap();
    assert_eq!(held["pipelines"], json!({}));
    sandbox.reset();
    assert_eq!(sandbox.state(Service::GitLab), state);
}

#[test]
fn faults_meet_gitlab_too() {
    let sandbox = Sandbox::start();
    sandbox.fail_on(
        Service::GitLab,
        "GET /api/v4/projects/42/pipelines",
        1,
        Fault::status_with(429, "retry-after", "1"),
    );
    let gitlab = gitlab(&sandbox);
    assert_eq!(gitlab.get(DEPLOYMENTS).status, 200);
    let limited = gitlab.get(JOBS);
    assert_eq!((limited.status, limited.header("retry-after")), (429, "1"));
    assert_eq!(gitlab.get(JOBS).status, 200);
    sandbox.fail(Service::GitLab, 1, Fault::EchoSecrets);
    let echo = gitlab.get(JOBS);
    assert_eq!(echo.status, 400);
    assert!(echo.json()["message"].as_str().unwrap().contains(&token(&sandbox)));
    assert_eq!(Service::named("gitlab"), Some(Service::GitLab));
    assert!(Service::ALL.contains(&Service::GitLab) && !Service::DESTINATIONS.contains(&Service::GitLab));
}
