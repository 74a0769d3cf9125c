//! The harness: calls of the binary, what came of them, and what the sandbox got.

pub mod catalog;
pub mod endless;
pub mod faults;
pub mod held;
pub mod operations;
pub mod proxy;
pub mod record;
pub mod secrets;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use sandbox::{Recorded, Sandbox, Service};
use serde_json::{Value, json};

/// A branch as people really name them.
pub const UGLY_BRANCH: &str = "fix/\"quoted\" \\ ünïcode";

/// What GitLab sets in every job of the pipeline that the tests pretend to be in.
pub const GITLAB: &[(&str, &str)] = &[
    ("GITLAB_CI", "true"),
    ("CI_SERVER_URL", "https://gitlab.example.com"),
    ("CI_PROJECT_ID", "42"),
    ("CI_PROJECT_PATH", "acme/shop"),
    ("CI_PROJECT_PATH_SLUG", "acme-shop"),
    ("CI_PROJECT_URL", "https://gitlab.example.com/acme/shop"),
    ("CI_PIPELINE_ID", "8812"),
    (
        "CI_PIPELINE_URL",
        "https://gitlab.example.com/acme/shop/-/pipelines/8812",
    ),
    ("CI_COMMIT_SHA", "9f2c1e7d0b4a5c6d7e8f90123456789abcdef012"),
    ("CI_COMMIT_REF_NAME", UGLY_BRANCH),
    ("CI_COMMIT_BRANCH", UGLY_BRANCH),
    ("CI_COMMIT_TITLE", "Say \"hello\" to $USER \\ and 🚀"),
    ("CI_JOB_ID", "991"),
    ("CI_JOB_NAME", "notify"),
    ("CI_JOB_TOKEN", "glcbt-64_job-token-value"),
    ("GITLAB_USER_LOGIN", "dana"),
];

/// One call of the binary.
pub struct Run {
    command: Command,
    input: Option<String>,
}

/// What came of it.
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// The binary with these arguments, in a GitLab job whose action is `success`, with nothing else in its environment.
pub fn notify(arguments: &[&str]) -> Run {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("notify-event"));
    command.args(arguments).env_clear().envs(GITLAB.iter().copied());
    Run { command, input: None }
        .var("EVENT_ACTION", "success")
        // Failures are tried again at once or not at all, unless a test says otherwise.
        .var("NOTIFY_TIMEOUT", "20")
        .var("NOTIFY_ATTEMPT_TIMEOUT", "5")
}

impl Run {
    /// With a variable.
    pub fn var(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// With several variables.
    pub fn vars<'a>(mut self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Without a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// With everything that leads to `sandbox`.
    pub fn at(mut self, sandbox: &Sandbox) -> Self {
        self.command.envs(sandbox.variables());
        self
    }

    /// In a folder.
    pub fn within(mut self, folder: &std::path::Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// With something on its standard input.
    pub fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Ran {
        let begun = Instant::now();
        let mut command = assert_cmd::Command::from_std(self.command);
        if let Some(input) = self.input {
            command.write_stdin(input);
        }
        let output = command.output();
        let ran = Ran::new(begun, output.expect("the binary runs"));
        assert_ne!(ran.code, KILLED, "the binary is not killed\n{}", ran.stderr);
        ran
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running {
            begun: Instant::now(),
            process: self.command.spawn().expect("the binary runs"),
        }
    }
}

/// The exit code of what was killed by a signal.
pub const KILLED: i32 = -1;

/// A call of the binary that has not ended.
pub struct Running {
    begun: Instant,
    process: Child,
}

impl Running {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal, by its name: `TERM`, `KILL`.
    pub fn signal(&self, name: &str) {
        // One that has ended meanwhile can be signalled too, for nobody has waited for it yet.
        let script = format!("kill -{name} {}", self.process.id());
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("there is a shell").success(), "{script}");
    }

    /// Waits for its end.
    pub fn ends(self) -> Ran {
        let output = self.process.wait_with_output();
        Ran::new(self.begun, output.expect("the binary ends"))
    }
}

impl Ran {
    fn new(begun: Instant, output: Output) -> Self {
        Self {
            took: begun.elapsed(),
            code: output.status.code().unwrap_or(KILLED),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    /// Checks the exit code, and shows everything if it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that standard error holds a text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        self
    }

    /// Checks that neither output holds a text.
    #[track_caller]
    pub fn hides(self, text: &str) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(!all.contains(text), "{text:?} is in:\n{all}");
        self
    }

    /// Checks that the line about a destination holds a text.
    #[track_caller]
    pub fn says_of(self, label: &str, text: &str) -> Self {
        let start = format!("  {label} ");
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with(&start)).collect();
        assert!(
            lines.iter().any(|line| line.contains(text)),
            "{text:?} is not said of {label} in:\n{}",
            self.stderr
        );
        self
    }

    /// Checks that it took less than this: that nothing was waited for that need not be.
    #[track_caller]
    pub fn ends_within(self, limit: Duration) -> Self {
        assert!(self.took < limit, "took {:?}\n{}", self.took, self.stderr);
        self
    }

    /// Checks that it took at least this: that something was waited for.
    #[track_caller]
    pub fn takes_at_least(self, least: Duration) -> Self {
        assert!(self.took >= least, "took only {:?}\n{}", self.took, self.stderr);
        self
    }

    /// The last line of standard error.
    #[track_caller]
    pub fn last_line(&self) -> &str {
        self.stderr.lines().last().expect("standard error is never empty")
    }

    /// What is on standard output, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A new folder, whoever else wants one of that name at the same time.
pub fn folder(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{name}-{}-{number}", std::process::id());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("an old folder can be removed");
    }
    fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// A file in GitLab's temporary folder of the job, as a variable of the type *file* gets one; the path is its value.
pub fn gitlab_file(folder: &Path, name: &str, content: &str) -> String {
    let temporary = folder.join("shop.tmp");
    fs::create_dir_all(&temporary).expect("a folder can be made");
    let path = temporary.join(name);
    fs::write(&path, content).expect("a file can be written");
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// The JSON in a file.
#[track_caller]
pub fn json_of(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display()))
}

/// The bodies that a service received, in order.
pub fn bodies(sandbox: &Sandbox, service: Service) -> Vec<Value> {
    sandbox.requests_to(service).iter().map(Recorded::json).collect()
}

/// What a service was asked, as `METHOD path?query`, in order.
pub fn asked(sandbox: &Sandbox, service: Service) -> Vec<String> {
    let line = |request: &Recorded| {
        if request.query.is_empty() {
            format!("{} {}", request.method, request.path)
        } else {
            format!("{} {}?{}", request.method, request.path, request.query)
        }
    };
    sandbox.requests_to(service).iter().map(line).collect()
}

/// The methods that a service was asked with, in order: `"POST GET POST"`.
pub fn methods(sandbox: &Sandbox, service: Service) -> String {
    let methods: Vec<String> = sandbox
        .requests_to(service)
        .into_iter()
        .map(|request| request.method)
        .collect();
    methods.join(" ")
}

/// Waits until `true`, which comes of another thread; gives up after ten seconds.
#[track_caller]
pub fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a request looks like in a golden file: everything that is sent, credentials and times by name.
pub fn golden_form(request: &Recorded, sandbox: &Sandbox) -> Value {
    let headers: serde_json::Map<String, Value> = request
        .headers
        .iter()
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "host" | "content-length" | "accept" | "accept-encoding" | "user-agent"
            )
        })
        .map(|(name, value)| match name.as_str() {
            // Both are of the moment; that they are right, the receiver has checked.
            "webhook-timestamp" => (name.clone(), "<time>".into()),
            "webhook-signature" => (name.clone(), "<signature>".into()),
            _ => (name.clone(), normal(value.as_str().into(), sandbox)),
        })
        .collect();
    let body = match request.json() {
        Value::Null => Value::from(String::from_utf8_lossy(&request.body)),
        body => normal(body, sandbox),
    };
    let query = if request.query.is_empty() {
        String::new()
    } else {
        format!("?{}", request.query)
    };
    json!({
        "request": format!("{} {}{query}", request.method, request.path),
        "headers": headers,
        "body": body,
        "answered": request.status,
    })
}

fn named(text: &str, sandbox: &Sandbox) -> String {
    let mut text = text.to_owned();
    for (name, value) in sandbox.variables() {
        if catalog::is_secret(&name) {
            text = text.replace(&value, &format!("${name}"));
        }
    }
    // A token that a login yielded, which is another one each time.
    match text.strip_prefix("Bearer eyJ") {
        Some(_) => "Bearer <learned>".to_owned(),
        None => text,
    }
}

fn normal(value: Value, sandbox: &Sandbox) -> Value {
    match value {
        Value::String(text) if is_time(&text) => "<time>".into(),
        Value::String(text) => named(&text, sandbox).into(),
        Value::Array(items) => items.into_iter().map(|item| normal(item, sandbox)).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, member)| (key, normal(member, sandbox)))
            .collect(),
        other => other,
    }
}

fn is_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

/// Tries all cases at the same time, where each mostly waits. A case that fails fails the test, and is named.
#[track_caller]
pub fn at_once<T: Send + std::fmt::Debug + Clone>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    let check = &check;
    std::thread::scope(|scope| {
        let running: Vec<_> = cases
            .into_iter()
            .map(|case| (format!("{case:?}"), scope.spawn(move || check(case))))
            .collect();
        let failed: Vec<String> = running
            .into_iter()
            .filter_map(|(case, thread)| thread.join().err().map(|_| case))
            .collect();
        assert!(failed.is_empty(), "these cases failed, see above: {failed:#?}");
    });
}
