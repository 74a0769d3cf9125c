//! Starts the sandbox, and shows what notify-event does to it: a deployment's life, reported by the real binary, and one
//! whose runner dies, put right by it.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use sandbox::{Options, Sandbox, Service};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const OPTIONS: &str = "  --listen ADDRESS  where to listen (default 127.0.0.1:8080; port 0 takes a free one)
  --tls             serve TLS, with a root made for this run
  --latency MS      let every reply come that many milliseconds later
  --once            end after the demonstration; fails if notify-event did
  --serve           only serve
  --help            this

NOTIFY_EVENT_BIN names the notify-event to use; without it, cargo builds the one of this workspace.";

/// What the command line asks for.
struct Arguments {
    listen: SocketAddr,
    tls: bool,
    latency: Duration,
    demonstrate: bool,
    keep_serving: bool,
}

fn main() -> ExitCode {
    let arguments = match read_arguments(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print(usage());
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            complain(format!("{problem}\n\n{}", usage()));
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(problem);
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let titles = Service::DESTINATIONS.map(Service::title).join(", ");
    format!(
        "usage: notify-event-sandbox [--listen ADDRESS] [--tls] [--latency MS] [--once | --serve]\n\n\
         Serves strict stand-ins of GitLab's API and of what is reported to: {titles}.\n\
         Reports a deployment's life to them with notify-event, lets it put right what a dead runner could not tell,\n\
         shows what they then hold, and keeps serving until it is stopped.\n\n{OPTIONS}"
    )
}

/// Prints a line at once. That nobody reads it any more (`notify-event-sandbox | head -1`) is no reason to stop serving,
/// or to forget what the demonstration came to. Returns whether it could be printed.
fn print(line: impl Display) -> bool {
    let mut output = std::io::stdout();
    writeln!(output, "{line}").and_then(|()| output.flush()).is_ok()
}

/// The same for standard error.
fn complain(line: impl Display) {
    writeln!(std::io::stderr(), "{line}").ok();
}

/// None where the usage was asked for.
fn read_arguments(mut given: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let (mut listen, mut tls, mut once, mut serve) = (SocketAddr::from(([127, 0, 0, 1], 8080)), false, false, false);
    let mut latency = Duration::ZERO;
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--listen" => {
                let address = given.next().ok_or("--listen needs an address")?;
                listen = address
                    .parse()
                    .map_err(|_| format!("{address:?} is no address such as 127.0.0.1:8080"))?;
            }
            "--tls" => tls = true,
            "--latency" => {
                let number = given.next().ok_or("--latency needs a number of milliseconds")?;
                let number = number
                    .parse()
                    .map_err(|_| format!("{number:?} is no number of milliseconds"))?;
                latency = Duration::from_millis(number);
            }
            "--once" => once = true,
            "--serve" => serve = true,
            "--help" | "-h" => return Ok(None),
            unknown => return Err(format!("unknown argument {unknown:?}")),
        }
    }
    if once && serve {
        return Err("--once and --serve contradict each other".to_owned());
    }
    Ok(Some(Arguments {
        listen,
        tls,
        latency,
        demonstrate: !serve,
        keep_serving: !once,
    }))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let options = Options {
        tls: arguments.tls,
        latency: arguments.latency,
        listen: arguments.listen,
        ..Options::default()
    };
    let sandbox = Sandbox::try_start(options).map_err(|error| {
        let address = arguments.listen;
        if error.kind() == std::io::ErrorKind::AddrInUse {
            format!("{address} is taken by another program: choose another address with --listen")
        } else {
            format!("can't listen on {address}: {error}")
        }
    })?;
    print(format!("The sandbox serves on {}/", sandbox.root_url()));
    let demonstrated = if arguments.demonstrate {
        demonstrate(&sandbox)
    } else {
        Ok(())
    };
    if !arguments.keep_serving {
        return demonstrated;
    }
    if let Err(problem) = demonstrated {
        complain(problem);
    }
    let serving = serve_until_stopped(|| {
        print("\nTo report to it from a shell:");
        for (name, value) in environment(&sandbox) {
            print(format!("  export {name}={}", quote(&value)));
        }
        print("\nTo let it ask this sandbox's GitLab what happened, too:");
        for (name, value) in sandbox.gitlab_variables() {
            print(format!("  export {name}={}", quote(&value)));
        }
        print(format!(
            "\n{}/ shows what the services hold. Ctrl-C ends it.",
            sandbox.root_url()
        ));
    });
    serving.map_err(|error| format!("can't wait for signals: {error}"))
}

/// Waits for Ctrl-C or `docker stop`. Both have to be handled: the first process of a container ignores what it
/// doesn't. The announcement comes when they are, so that nobody can be too early.
fn serve_until_stopped(announce: impl FnOnce()) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let (mut interrupted, mut terminated) =
                (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            announce();
            std::future::poll_fn(|context| {
                let ready = interrupted.poll_recv(context).is_ready() || terminated.poll_recv(context).is_ready();
                if ready {
                    std::task::Poll::Ready(Ok(()))
                } else {
                    std::task::Poll::Pending
                }
            })
            .await
        })
}

/// Reports a deployment's life with the real binary, lets it put another one right, and shows what came of it.
fn demonstrate(sandbox: &Sandbox) -> Result<(), String> {
    let mut demonstration = Demonstration {
        sandbox,
        binary: find_binary()?,
        failed: Vec::new(),
    };
    let destinations = Service::DESTINATIONS.map(Service::name);
    // Each run of the binary: what GitLab would call the job, what happens in it, and what it reports to.
    let life = [
        ("release", "started", &["aviator:release"][..]),
        ("deploy started", "started", &destinations),
        ("deploy succeeded", "success", &destinations),
    ];
    for (job, action, destinations) in life {
        demonstration.run(job, destinations, &[("EVENT_ACTION", action)])?;
    }
    demonstration.lose_a_runner()?;
    for service in Service::DESTINATIONS {
        let state = sandbox.state(service);
        let reported = serde_json::to_string_pretty(service.reported(&state)).unwrap_or_default();
        print(format!("\n── {} now holds\n{reported}", service.name()));
    }
    if demonstration.failed.is_empty() {
        Ok(())
    } else {
        Err(format!("notify-event failed in: {}", demonstration.failed.join(", ")))
    }
}

struct Demonstration<'a> {
    sandbox: &'a Sandbox,
    binary: PathBuf,
    /// The runs that did.
    failed: Vec<&'static str>,
}

impl Demonstration<'_> {
    /// Runs the binary in a job of the sandbox's GitLab, with these variables beside those that every job has.
    fn run(&mut self, job: &'static str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
        let printed = print(format!("\n── {job}: notify-event {}", arguments.join(" ")));
        // It must not fail because nobody reads what it prints.
        let output = if printed { Stdio::inherit() } else { Stdio::null() };
        let status = Command::new(&self.binary)
            .args(arguments)
            .stdout(output)
            .env_clear()
            .envs(environment(self.sandbox))
            .envs(gitlab())
            .envs(self.sandbox.gitlab_variables())
            .envs(variables.iter().copied())
            .status()
            .map_err(|error| format!("can't run {}: {error}", self.binary.display()))?;
        if !status.success() {
            complain(format!("notify-event ended with {status}"));
            self.failed.push(job);
        }
        Ok(())
    }

    /// The next pipeline tells that it deploys, and loses its runner: nobody is left to tell how it ended, but GitLab.
    fn lose_a_runner(&mut self) -> Result<(), String> {
        let started = now(-30);
        let deployment = |status: &str, end: Option<String>| {
            json!({
                "id": 99_204, "name": "deploy", "stage": "deploy", "status": status, "created_at": started,
                "started_at": started, "finished_at": end, "failure_reason": end.as_ref().map(|_| "runner_system_failure"),
            })
        };
        let record = |job: Value| json!({"pipelines": {"8813": {"created_at": started, "jobs": [job]}}});
        self.sandbox.seed(Service::GitLab, record(deployment("running", None)));
        let mut deployments = self.sandbox.state(Service::GitLab)["deployments"].clone();
        deployments
            .as_array_mut()
            .ok_or("GitLab has no list of deployments")?
            .push(json!({"deployable": 99_204}));
        self.sandbox
            .seed(Service::GitLab, json!({ "deployments": deployments }));
        let next = [
            ("CI_PIPELINE_ID", "8813"),
            (
                "CI_PIPELINE_URL",
                "https://gitlab.example.com/acme/shop/-/pipelines/8813",
            ),
            ("EVENT_ACTION", "started"),
            ("NOTIFY_JOB", "deploy"),
        ];
        self.run("the next deploy started", &["--deploy-job", "rely", "port"], &next)?;
        self.sandbox
            .seed(Service::GitLab, record(deployment("failed", Some(now(0)))));
        print("\n── its runner dies: GitLab says failed (runner_system_failure), and nothing reports it");
        print(self.shown());
        self.run("put right", &["reconcile"], &[("NOTIFY_DESTINATIONS", "rely,port")])?;
        print(self.shown());
        Ok(())
    }

    /// What the portals show of that deployment.
    fn shown(&self) -> String {
        let id = "acme-shop-8813-production--deploy";
        let status = |service: Service, entity: &str| {
            let state = self.sandbox.state(service);
            let status = state.pointer(&format!("/entities/{entity}{id}/properties/status"));
            format!(
                "{} shows {}",
                service.title(),
                status.and_then(Value::as_str).unwrap_or("nothing")
            )
        };
        format!(
            "{}, {}",
            status(Service::Rely, ""),
            status(Service::Port, "deployment/")
        )
    }
}

/// So many seconds from now, RFC 3339.
fn now(seconds: i64) -> String {
    let time = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    time.format(&Rfc3339).unwrap_or_default()
}

/// What points notify-event at this sandbox; behind TLS, that includes the root to trust.
fn environment(sandbox: &Sandbox) -> Vec<(String, String)> {
    let mut variables = sandbox.variables();
    variables.extend(sandbox.ca_pem().map(|pem| ("NOTIFY_CA_FILE".to_owned(), pem)));
    variables
}

/// What GitLab sets in a deploy job, of a branch with a name that nobody should have to fear.
fn gitlab() -> [(&'static str, &'static str); 22] {
    [
        ("CI", "true"),
        ("GITLAB_CI", "true"),
        ("CI_SERVER_URL", "https://gitlab.example.com"),
        ("CI_PROJECT_ID", "42"),
        ("CI_PROJECT_NAME", "shop"),
        ("CI_PROJECT_PATH", "acme/shop"),
        ("CI_PROJECT_PATH_SLUG", "acme-shop"),
        ("CI_PROJECT_URL", "https://gitlab.example.com/acme/shop"),
        ("CI_PIPELINE_ID", "8812"),
        ("CI_PIPELINE_IID", "317"),
        ("CI_PIPELINE_SOURCE", "push"),
        (
            "CI_PIPELINE_URL",
            "https://gitlab.example.com/acme/shop/-/pipelines/8812",
        ),
        ("CI_JOB_ID", "99104"),
        ("CI_JOB_NAME", "deploy"),
        ("CI_COMMIT_BRANCH", r#"fix/"quoted" \ ünïcode"#),
        ("CI_COMMIT_REF_NAME", r#"fix/"quoted" \ ünïcode"#),
        ("CI_COMMIT_SHA", "9f2c1e7d0b4a5c6e8f90a1b2c3d4e5f60718293a"),
        ("CI_ENVIRONMENT_NAME", "production"),
        ("CI_ENVIRONMENT_SLUG", "production"),
        ("GITLAB_USER_LOGIN", "dana"),
        // Aviator's own words: they aren't GitLab's, and this branch has no `-rcN` tag to take them from.
        ("AVIATOR_RELEASE_CANDIDATE", "2025.03.01-rc1"),
        ("AVIATOR_REPO", "acme/shop"),
    ]
}

/// The binary that `NOTIFY_EVENT_BIN` names, or the one that cargo builds and reports.
fn find_binary() -> Result<PathBuf, String> {
    if let Some(binary) = std::env::var_os("NOTIFY_EVENT_BIN") {
        return Ok(binary.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    print("building notify-event …");
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "notify-event",
            "--bin",
            "notify-event",
            "--message-format",
            "json",
        ])
        .current_dir(&workspace)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("can't run cargo: {error}"))?;
    if !output.status.success() {
        return Err("notify-event doesn't build: name one that is built with NOTIFY_EVENT_BIN".to_owned());
    }
    // Cargo says where it put the binary, whatever target directory is configured.
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let executables = messages.filter(|message| message["target"]["name"] == "notify-event");
    let mut paths = executables.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    paths
        .next()
        .ok_or("cargo built notify-event, but doesn't say where".to_owned())
}

/// As a POSIX shell takes it literally.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
