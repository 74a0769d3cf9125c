//! Whole pipelines, run in real containers from the image that the Dockerfile makes, against the sandbox.
//!
//! Each folder of `tests/pipelines/cases/` is a user's project: its `.gitlab-ci.yml`, and in `expect.yml` its runs by name.
//! The pipeline of a folder `example_…` is the file of that name in `examples/`.
//! A run says which services' credentials the project has, which variables besides, how each job that ran ended (a job
//! that isn't listed must not have run), what the jobs say, and what the services hold in the end.
//!
//! The first test to run builds the image (`scripts/image`) and starts a container engine if there is none. Where that
//! is impossible the tests fail: a pipeline that wasn't run is not a pipeline that works.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use sandbox::{DirektivVersion, Options, Sandbox, Service};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    project::{Project, script, text},
    shared::{REPOSITORY, catalog},
};

/// Where the pipelines are, in this repository.
const CASES: &str = "tests/pipelines/cases";

/// What a run is, and what must come of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Run {
    /// The services whose credentials are variables of the project; `gitlab` is one whose API a job may ask.
    services: Vec<String>,
    /// More variables of the project; they replace the services' own. `{sandbox}` is the sandbox's own address.
    #[serde(default)]
    variables: BTreeMap<String, String>,
    /// Which Direktiv the sandbox is: `v0.7` as when its guide was written, else today's.
    #[serde(default)]
    direktiv: Option<String>,
    /// What a service holds before the pipeline, as its file in the sandbox documents.
    #[serde(default)]
    seed: BTreeMap<String, Value>,
    /// How each job that ran has ended: `passed`, `failed`, or `warned` with its exit code.
    jobs: BTreeMap<String, String>,
    /// Jobs that somebody runs again in the same pipeline.
    #[serde(default)]
    again: Option<Again>,
    /// Text that must be in a job's log.
    #[serde(default)]
    says: BTreeMap<String, Vec<String>>,
    /// Text that must be in no log.
    #[serde(default)]
    never_says: Vec<String>,
    /// What a service holds in the end; see [`differs`].
    #[serde(default)]
    holds: BTreeMap<String, Value>,
    /// How many requests a service has got.
    #[serde(default)]
    requests: BTreeMap<String, usize>,
}

/// A second turn of some jobs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Again {
    /// Variables of the project that are different by now.
    variables: BTreeMap<String, String>,
    /// The jobs, and how each ended.
    jobs: BTreeMap<String, String>,
}

/// How a pipeline went.
struct Outcome {
    jobs: BTreeMap<String, String>,
    log: String,
}

/// The image, built once; its name is the one in the templates.
fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        script("image", &[]);
        String::from_utf8_lossy(&script("check-version", &["--image"]).stdout)
            .trim()
            .to_owned()
    })
}

/// The variables of one service among the sandbox's.
fn variables_of(sandbox: &Sandbox, service: &str) -> Vec<(String, String)> {
    if service == "gitlab" {
        // Of a pipeline that the sandbox's GitLab has: what is seeded there is what the jobs see.
        return sandbox.gitlab_variables();
    }
    let catalog: Value = catalog();
    let destinations = catalog["destinations"].as_array().expect("destinations");
    let declared: Vec<&Value> = destinations
        .iter()
        .filter(|destination| destination["name"] == service)
        .flat_map(|destination| destination["variables"].as_array().expect("variables"))
        .map(|variable| &variable["name"])
        .collect();
    let mut variables = sandbox.variables();
    variables.retain(|(name, _)| declared.iter().any(|declared| *declared == name));
    assert!(!variables.is_empty(), "the sandbox has no variables for {service}");
    variables
}

/// What the deploy jobs of the examples call. It fails where it is told that its argument fails.
const DEPLOY: &str =
    "#!/bin/sh\ncase \" $FAILS \" in *\" $1 \"*) exit 1 ;; esac\nmkdir -p logs && echo \"$1\" >logs/log\n";

/// A user's project with a folder's pipeline in it.
fn project_of(folder: &Path) -> Project {
    let project = Project::with_templates();
    let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
    let own = folder.join(".gitlab-ci.yml");
    let pipeline = if let Some(example) = name.strip_prefix("example_") {
        for (file, content) in [
            ("build.sh", "#!/bin/sh\nmkdir -p dist && echo built >dist/shop\n"),
            ("deploy.sh", DEPLOY),
            ("clean-up.sh", "#!/bin/sh\necho cleaned up\n"),
        ] {
            project.write(file, content);
            fs::set_permissions(project.path(file), fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        example_here(&example.replace('_', "-"))
    } else {
        fs::read_to_string(own).expect("a pipeline")
    };
    project.write(".gitlab-ci.yml", &pipeline);
    project
}

/// An example with the components of this commit, and images that are here.
fn example_here(name: &str) -> String {
    let path = Path::new(REPOSITORY).join("examples").join(name).with_extension("yml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let released = concat!(
        "remote: https://gitlab.com/notify-event/notify-event/-/raw/",
        env!("CARGO_PKG_VERSION"),
        "/"
    );
    assert!(text.contains(released), "{name} doesn't include {released}");
    text.replace(released, "local: ")
        .replace("alpine:3.22", "notify-event-test/busybox:1")
}

/// Runs a project's pipeline, or of it the `jobs` alone.
fn run_pipeline(project: &Project, variables: &BTreeMap<String, String>, jobs: &[&str]) -> Outcome {
    image();
    // The file that gitlab-ci-local reads a project's CI/CD variables from. JSON is YAML.
    project.write(".gitlab-ci-local-variables.yml", &json!(variables).to_string());
    let options = [
        "--helper-image",
        "notify-event-test/helper:1",
        "--pull-policy",
        "if-not-present",
        // The sandbox listens on the machine's loopback.
        "--network",
        "host",
        // As on GitLab: the image's own user, and artifacts that stay out of the work tree.
        "--no-umask",
        "--no-artifacts-to-source",
        // A scenario may say which of the sandbox's pipelines it is in, for what GitLab's API tells of it, and when and by what
        // it was made.
        "--ignore-predefined-vars",
        "CI_API_V4_URL,CI_PIPELINE_CREATED_AT,CI_PIPELINE_ID,CI_PIPELINE_SOURCE,CI_PROJECT_ID",
        "--color=false",
        "--max-job-name-padding",
        "0",
    ];
    let output = project.gitlab_ci_local(&[jobs, &options].concat());
    let log = text(&output);
    let jobs = ended(&log);
    assert!(!jobs.is_empty(), "no job ran:\n{log}");
    Outcome { jobs, log }
}

/// Reads how each job ended from gitlab-ci-local's last lines: ` PASS  name`, ` FAIL  name`, ` WARN  name  pre_script`.
/// Its own exit code is of no use here: a job that fails with none of its `allow_failure: exit_codes` leaves it at 0.
fn ended(log: &str) -> BTreeMap<String, String> {
    let mut jobs = BTreeMap::new();
    for line in log.lines() {
        let name = |rest: &str| rest.trim().trim_end_matches("pre_script").trim().to_owned();
        if let Some(rest) = line.strip_prefix(" PASS ") {
            jobs.insert(name(rest), "passed".to_owned());
        } else if let Some(rest) = line.strip_prefix(" FAIL ") {
            jobs.insert(name(rest), "failed".to_owned());
        } else if let Some(rest) = line.strip_prefix(" WARN ") {
            // ` WARN 76 ` is at the end of the line that says that the job has finished.
            let job = name(rest);
            let code = log
                .lines()
                .filter(|line| line.starts_with(&format!("{job} finished")))
                .find_map(|line| line.split(" WARN ").nth(1));
            jobs.insert(job, format!("warned {}", code.unwrap_or("without a code").trim()));
        }
    }
    jobs
}

impl Outcome {
    /// What one job has written.
    fn log_of(&self, job: &str) -> String {
        let prefix = format!("{job} > ");
        self.log
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .fold(String::new(), |log, line| log + line + "\n")
    }
}

/// Where what is held differs from what is expected: objects may hold more than expected (an empty one holds nothing),
/// arrays must be as long, `"?"` is anything but null, and the key `"*"` is the only key there is, whatever its name.
fn differs(expected: &Value, held: &Value, at: &str) -> Option<String> {
    match (expected, held) {
        (Value::String(any), held) if any == "?" => held.is_null().then(|| format!("{at} is null")),
        (Value::Object(expected), Value::Object(held)) if expected.is_empty() && at.ends_with("entities") => {
            (!held.is_empty()).then(|| format!("{at} is not empty: {held:?}"))
        }
        (Value::Object(expected), Value::Object(held)) => expected.iter().find_map(|(key, expected)| {
            if key != "*" {
                return differs(expected, held.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"));
            }
            match held.iter().collect::<Vec<_>>().as_slice() {
                [(key, held)] => differs(expected, held, &format!("{at}.{key}")),
                several => Some(format!("{at} has {} keys, not one: {several:?}", several.len())),
            }
        }),
        (Value::Array(expected), Value::Array(held)) if expected.len() == held.len() => expected
            .iter()
            .zip(held)
            .enumerate()
            .find_map(|(index, (expected, held))| differs(expected, held, &format!("{at}[{index}]"))),
        (expected, held) if expected == held => None,
        (expected, held) => Some(format!("{at} is {held}, expected {expected}")),
    }
}

/// Runs a folder's pipeline once for each of its runs.
fn scenario(name: &str) {
    let folder = Path::new(REPOSITORY).join(CASES).join(name);
    let expectations = fs::read_to_string(folder.join("expect.yml")).expect("expect.yml");
    let runs: BTreeMap<String, Run> =
        serde_saphyr::from_str(&expectations).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (title, run) in runs {
        let mut options = Options::default();
        match run.direktiv.as_deref() {
            None => {}
            Some("v0.7") => options.direktiv_version = DirektivVersion::V0_7,
            Some(other) => panic!("{name}, {title}: no Direktiv {other}"),
        }
        let sandbox = Sandbox::start_with(options);
        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        for service in &run.services {
            variables.extend(variables_of(&sandbox, service));
        }
        // A job always has a GitLab and a token. Where it is not among the services, it is one that shows a token nothing.
        if !run.services.iter().any(|service| service == "gitlab") {
            let gitlab = sandbox.gitlab_variables();
            variables.extend(gitlab.into_iter().filter(|(name, _)| name == "CI_API_V4_URL"));
            variables.insert("CI_JOB_TOKEN".to_owned(), "a-token-that-may-see-nothing".to_owned());
        }
        let address = sandbox.root_url();
        let own = run.variables.into_iter();
        variables.extend(own.map(|(name, value)| (name, value.replace("{sandbox}", &address))));
        for (service, state) in run.seed {
            sandbox.seed(named(&service), state);
        }
        let project = project_of(&folder);
        project.commit();
        let mut outcome = run_pipeline(&project, &variables, &[]);
        let jobs_that_ran = |outcome: &Outcome, jobs: &BTreeMap<String, String>| {
            assert_eq!(
                outcome.jobs, *jobs,
                "{name}, {title}: the jobs that ran\n{}",
                outcome.log
            );
        };
        jobs_that_ran(&outcome, &run.jobs);
        if let Some(again) = run.again {
            variables.extend(again.variables);
            let jobs: Vec<&str> = again.jobs.keys().map(String::as_str).collect();
            let second = run_pipeline(&project, &variables, &jobs);
            jobs_that_ran(&second, &again.jobs);
            outcome.log += &second.log;
        }
        let log = &outcome.log;
        for (job, wanted) in &run.says {
            let said = outcome.log_of(job);
            for wanted in wanted {
                assert!(
                    said.contains(wanted),
                    "{name}, {title}: {job} doesn't say {wanted:?} but\n{said}"
                );
            }
        }
        for secret in run.never_says.iter().chain(
            variables
                .iter()
                .filter(|(name, _)| is_secret(name))
                .map(|(_, value)| value),
        ) {
            assert!(!log.contains(secret), "{name}, {title}: a secret is in the log\n{log}");
        }
        for (service, expected) in &run.holds {
            let held = sandbox.state(named(service));
            if let Some(difference) = differs(expected, &held, service) {
                panic!("{name}, {title}: {difference}\n{held:#}\n{log}");
            }
        }
        for (service, expected) in &run.requests {
            assert_eq!(
                sandbox.requests_to(named(service)).len(),
                *expected,
                "{name}, {title}: requests to {service}\n{log}"
            );
        }
    }
}

fn named(service: &str) -> Service {
    Service::named(service).unwrap_or_else(|| panic!("no service {service}"))
}

/// `$NAME` is what stands for a missing secret, and may be shown.
fn is_secret(name: &str) -> bool {
    ["TOKEN", "SECRET"].iter().any(|word| name.ends_with(word))
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { scenario(stringify!($name)); })*

        #[test]
        fn every_folder_is_run() {
            let mut folders: Vec<String> = fs::read_dir(Path::new(REPOSITORY).join(CASES))
                .expect(CASES)
                .map(|entry| entry.expect("a folder").file_name().into_string().expect("UTF-8"))
                .collect();
            folders.sort();
            assert_eq!(folders, [$(stringify!($name)),*]);
            let run: Vec<&str> = folders.iter().filter_map(|folder| folder.strip_prefix("example_")).collect();
            let mut examples: Vec<String> = fs::read_dir(Path::new(REPOSITORY).join("examples"))
                .expect("examples/")
                .map(|entry| entry.expect("a file").path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
                .map(|path| path.file_stem().expect("a name").to_string_lossy().replace('-', "_"))
                .collect();
            examples.sort();
            assert_eq!(run, examples);
        }
    };
}

// In the order of the alphabet, as the folders are.
scenarios![
    after_script,
    aviator_release,
    aviator_rollback,
    cto_guide,
    deploy_jobs_dotenv,
    deployment_lifecycle,
    deployment_report,
    direktiv_sync_now,
    direktiv_sync_on_push,
    direktiv_workflows,
    example_deployment_lifecycle,
    example_deployment_report,
    example_monorepo,
    example_reconcile,
    example_release,
    example_webhook,
    fail_policy,
    fan_out,
    lifecycle_asks_gitlab,
    port_catalog,
    port_entities,
    port_entity,
    port_run,
    reconcile_at_the_end,
    rely_lifecycle,
    replay,
    services_by_name,
    three_services,
    wrong_token,
];

/// Runs a command in a fresh container, with a script on standard input.
fn in_container(options: &[&str], image: &str, command: &[&str], stdin: &str) -> String {
    let mut child = Command::new("docker")
        .args(["run", "--rm", "--interactive", "--network", "none"])
        .args(options)
        .arg(image)
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("docker");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(stdin.as_bytes())
        .expect("a script");
    let output = child.wait_with_output().expect("docker");
    assert!(output.status.success(), "{command:?} in {image}: {}", text(&output));
    text(&output)
}

/// What GitLab's runner starts in a job's container under the Docker executor: a search for a shell, which then reads
/// the script from standard input (`shells/bash.go`, `BashDetectShellScript`).
const DETECT_SHELL: &str = "if [ -x /usr/local/bin/bash ]; then
	exec /usr/local/bin/bash
elif [ -x /usr/bin/bash ]; then
	exec /usr/bin/bash
elif [ -x /bin/bash ]; then
	exec /bin/bash
elif [ -x /usr/local/bin/sh ]; then
	exec /usr/local/bin/sh
elif [ -x /usr/bin/sh ]; then
	exec /usr/bin/sh
elif [ -x /bin/sh ]; then
	exec /bin/sh
elif [ -x /busybox/sh ]; then
	exec /busybox/sh
else
	echo shell not found
	exit 1
fi
";

#[test]
fn the_image_runs_a_job_the_way_the_runner_starts_it() {
    // The shape of the runner's own script: ANSI-C quoting inside an eval, a file variable, GITLAB_ENV.
    let job = r#"trap exit 1 TERM
if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit
set +o noclobber
: | eval $'export CI=$\'true\'\nmkdir -p "/tmp/builds.tmp"\nprintf \'%s\' $\'a \\x22file\\x22\' > "/tmp/builds.tmp/FILE"\nexport FILE="/tmp/builds.tmp/FILE"\ntouch "/tmp/builds.tmp/gitlab_runner_env"\necho $\'\\x1b[32;1m$ notify-event --version\\x1b[0;m\'\nnotify-event --version\ncat "$FILE"\n'
exit 0
"#;
    // Read-only but for the builds folder: nothing in the image has to be writable.
    let options = [
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    ];
    let said = in_container(&options, image(), &["sh", "-c", DETECT_SHELL], job);
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    assert!(said.contains("a \"file\""), "{said}");
}

#[test]
fn the_image_has_what_the_runners_call_in_it() {
    // By the Kubernetes executor's attach strategy, by runners of different age, and by people who look around.
    let commands = "sh mkdir touch tee chmod mv grep ls sleep kill id date awk cat rm env true test";
    in_container(
        &[],
        image(),
        &[
            "sh",
            "-ec",
            "for name in $0; do command -v $name >/dev/null || exit 1; done",
            commands,
        ],
        "",
    );
}

#[test]
fn the_image_has_a_numeric_user_and_no_entrypoint() {
    let inspect = Command::new("docker")
        .args(["image", "inspect", image()])
        .output()
        .expect("docker");
    let images: Value = serde_json::from_slice(&inspect.stdout).expect("JSON");
    let config = &images[0]["Config"];
    assert!(config["Entrypoint"].is_null(), "{config}");
    let user = config["User"].as_str().unwrap_or_default();
    assert!(
        user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id != 0)),
        "user {user:?} is root or a name"
    );
}

#[test]
fn the_sandboxs_image_serves() {
    let name = format!("{}-sandbox", image());
    // The server is what the image starts by itself; the same command, with a look at it from inside.
    let look = "notify-event-sandbox --serve --listen 0.0.0.0:8080 & \
        for _ in 1 2 3 4 5 6 7 8 9 10; do wget -qO- http://127.0.0.1:8080/_sandbox/state && exit 0; sleep 0.3; done; exit 1";
    let state = in_container(&[], &name, &["sh", "-c", look], "");
    assert!(state.contains("rely"), "{state}");
}
