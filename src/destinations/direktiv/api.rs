//! What the operations have in common: addresses, credentials, which API a server has, and its errors.

use std::{fmt, time::Duration};

use serde_json::Value;

use super::{ApiChoice, Auth, Settings};
use crate::{
    delivery::{
        plan::{Step, Verdict},
        reply::Reply,
        request::{Form, Method, Request, Text, segment},
    },
    problem::Problem,
    secret::Secret,
    text::truncate,
    variables::header,
};

/// One of Direktiv's two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `/api/namespaces/…`, up to v0.8.5.
    V1,
    /// `/api/v2/namespaces/…`, from v0.8.5.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// What the requests authenticate with.
pub enum Credential {
    /// A token, and the header that carries it.
    Token(Secret, Auth),
    /// A whole header line.
    Line(Secret),
}

impl Credential {
    /// The one that is set: the header line before the token, since the vendor's own snippet has both and sends the
    /// line (docs/vendors/direktiv.md 10). None: a server may do without.
    ///
    /// # Errors
    /// A token that no header can carry; nothing of it is quoted.
    pub fn of(settings: &Settings) -> Result<Option<Self>, Problem> {
        match (&settings.header, &settings.token) {
            (Some(header), _) => Ok(Some(Self::Line(header.line.clone()))),
            (None, Some(token)) if !header::is_value(token.expose()) => {
                Err(Problem::new(token.variable(), header::UNFIT))
            }
            (None, Some(token)) => Ok(Some(Self::Token(token.clone(), settings.auth))),
            (None, None) => Ok(None),
        }
    }

    /// The headers of a request (docs/vendors/direktiv.md 2). The line goes as a header without a name, so that a dry run
    /// can show it as `$DIREKTIV_HEADER`, which holds name and value.
    fn headers(&self, version: Version, is_probe: bool) -> Vec<(&'static str, Text)> {
        let (token, auth) = match self {
            Self::Line(line) => return vec![("", Text::default().secret(line, Form::Plain))],
            Self::Token(token, auth) => (token, *auth),
        };
        let prefix = if auth == Auth::Bearer { "Bearer " } else { "" };
        names(auth, version, is_probe, token.expose())
            .into_iter()
            .map(|name| {
                let text = if prefix.is_empty() {
                    Text::default()
                } else {
                    Text::from(prefix)
                };
                (name, text.secret(token, Form::Plain))
            })
            .collect()
    }

    /// What a person can do about a refusal.
    fn advice(&self, version: Version, is_probe: bool) -> String {
        match self {
            Self::Line(..) => "check the token in DIREKTIV_HEADER and its permissions; with DIREKTIV_TOKEN alone, the \
                               header is chosen to suit the server"
                .to_owned(),
            Self::Token(token, auth) => format!(
                "{} was sent as {}; check it and its permissions, or name another header by DIREKTIV_AUTH",
                token.variable(),
                names(*auth, version, is_probe, token.expose()).join(", ")
            ),
        }
    }
}

/// The headers that carry a token. For `auto`, v0.8.5 to v0.8.10 serve the newer API and still want the older header,
/// and an Enterprise server takes only UUIDs as its own tokens, so the rest is spared that header. Servers check the
/// credential before the path, so a probe of the older API carries what the newer one wants too, or it would be refused
/// where it should be told that there is no such path.
fn names(auth: Auth, version: Version, is_probe: bool, token: &str) -> Vec<&'static str> {
    match auth {
        Auth::Auto => {
            let is_older = version == Version::V1;
            let is_newer = !is_older || is_probe;
            [
                ("direktiv-token", true),
                ("apikey", is_older),
                ("Direktiv-Api-Key", is_newer),
                ("Direktiv-Api-Token", is_newer && is_uuid(token)),
            ]
            .into_iter()
            .filter_map(|(name, is_sent)| is_sent.then_some(name))
            .collect()
        }
        Auth::Token => vec!["direktiv-token"],
        Auth::ApiKey => vec!["Direktiv-Api-Key"],
        Auth::ApiToken => vec!["Direktiv-Api-Token"],
        Auth::Bearer => vec!["Authorization"],
        Auth::OldApiKey => vec!["apikey"],
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Checks the namespace against `^(([a-z][a-z0-9_\-\.]*[a-z0-9])|([a-z]))$` (docs/vendors/direktiv.md 7).
pub fn check_namespace(settings: &Settings) -> Result<(), Problem> {
    let name = settings.namespace.as_str();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.bytes().all(|byte| is_plain(byte) || b"_-.".contains(&byte))
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().last().is_some_and(is_plain)
    {
        return Ok(());
    }
    Err(Problem::new(
        "DIREKTIV_NAMESPACE",
        format!(
            "is `{}`; a namespace has only a-z, 0-9, `_`, `-` and `.`, starts with a letter, and ends with a letter or \
             a digit",
            truncate(name, 60)
        ),
    ))
}

/// A path inside the namespace with one slash before each of its names and none behind; nothing for the namespace.
///
/// # Errors
/// `.` and `..`, which every client and server on the way would resolve, each in its own manner.
pub fn clean_path(variable: &str, path: &str) -> Result<String, Problem> {
    let names: Vec<&str> = path.trim().split('/').filter(|name| !name.is_empty()).collect();
    if names.iter().any(|name| matches!(*name, "." | "..")) {
        return Err(Problem::new(
            variable,
            "has `.` or `..` in it; give the whole path from the namespace, as in /workflows/shop",
        ));
    }
    Ok(names.iter().flat_map(|name| ["/", name]).collect())
}

/// A clean path as it stands in a URL: encoded, except for its slashes.
pub fn encoded_path(path: &str) -> String {
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// A server, its namespace, and the APIs that it may have.
pub struct Api {
    credential: Option<Credential>,
    v1: String,
    v2: String,
    /// In the order in which they are tried.
    pub versions: &'static [Version],
}

impl Api {
    /// The server of `settings`. Directories are mirrored by the older API only (docs/vendors/direktiv.md 3, 4).
    pub fn new(settings: &Settings, credential: Option<Credential>, is_directory: bool) -> Self {
        let namespace = segment(&settings.namespace);
        let address = |path: &str| settings.url.join(&["/api/v2", "/api"], &format!("{path}/{namespace}"));
        Self {
            credential,
            v1: address("/api/namespaces"),
            v2: address("/api/v2/namespaces"),
            versions: match settings.api {
                ApiChoice::V1 => &[Version::V1],
                ApiChoice::V2 => &[Version::V2],
                ApiChoice::Auto if is_directory => &[Version::V1, Version::V2],
                ApiChoice::Auto => &[Version::V2, Version::V1],
            },
        }
    }

    /// A request with its credential, about `path` in the namespace.
    pub fn request(&self, version: Version, method: Method, path: &str) -> Request {
        let namespace = match version {
            Version::V1 => &self.v1,
            Version::V2 => &self.v2,
        };
        let request = Request::new(method, format!("{namespace}{path}"));
        self.credential
            .iter()
            .flat_map(|credential| credential.headers(version, self.is_probe(version)))
            .fold(request, |request, (name, value)| request.header(name, value))
    }

    /// The API that is tried after `version`.
    pub fn after(&self, version: Version) -> Option<Version> {
        let index = self.versions.iter().position(|tried| *tried == version)?;
        self.versions.get(index + 1).copied()
    }

    /// Whether a request may meet a server that has only another API.
    fn is_probe(&self, version: Version) -> bool {
        self.after(version).is_some()
    }

    /// What is done where the server refuses the credential, or hasn't the API: then `other` makes the same request
    /// by the next one. Nothing has happened before it, so this is safe for every operation.
    pub fn detour(&self, version: Version, reply: &Reply, other: impl FnOnce(Version) -> Step) -> Option<Verdict> {
        if lacks_route(version, reply) {
            return Some(match self.after(version) {
                Some(next) => Verdict::Then(other(next)),
                None if self.versions.len() > 1 => Verdict::Rejected(format!(
                    "answered {}: neither API of Direktiv, v1 or v2, has this at this address; check DIREKTIV_URL",
                    reply.status
                )),
                None => Verdict::Rejected(format!(
                    "answered {}: there is no API {version} with this at this address; check DIREKTIV_URL, or set \
                     DIREKTIV_API=auto",
                    reply.status
                )),
            });
        }
        if !matches!(reply.status, 401 | 403) {
            return None;
        }
        let complaint = match reply.complaint() {
            complaint if complaint.is_empty() => String::new(),
            complaint => format!(" ({complaint})"),
        };
        let advice = match &self.credential {
            Some(credential) => credential.advice(version, self.is_probe(version)),
            None => "no credential was sent; set DIREKTIV_TOKEN".to_owned(),
        };
        Some(Verdict::Rejected(format!(
            "answered {}{complaint}: {advice}",
            reply.status
        )))
    }
}

/// Whether a 404 or 405 comes from something that does not know the API at all, rather than from the API: the newer one
/// says `request_path_not_found`, proxies and older servers something that is no error of the API called; a namespace
/// that is not found is the API's own answer (docs/vendors/direktiv.md 3, 4).
fn lacks_route(version: Version, reply: &Reply) -> bool {
    if !matches!(reply.status, 404 | 405) {
        return false;
    }
    match reply.text_at("/error/code") {
        Some(code) => code == "request_path_not_found",
        None => version == Version::V2 || !is_v1_error(reply),
    }
}

/// `{"code": 404, "message": "…"}` (docs/vendors/direktiv.md 3).
fn is_v1_error(reply: &Reply) -> bool {
    reply
        .json()
        .is_some_and(|error| error["code"].is_number() && error["message"].is_string())
}

/// Whether a 400 of the older API is its way to say that something behind it is down: it maps gRPC's `Unavailable`,
/// `DeadlineExceeded` and most others to 400, and only the message tells them from a bad request (docs/vendors/direktiv.md
/// 3). These are the texts of gRPC and Go for it.
pub fn is_hidden_outage(version: Version, reply: &Reply) -> bool {
    const SIGNS: &[&str] = &[
        "unavailable",
        "deadlineexceeded",
        "deadline exceeded",
        "resourceexhausted",
        "connection refused",
        "connection reset",
        "connection error",
        "error while dialing",
        "transport is closing",
        "context canceled",
        "i/o timeout",
        "try again",
    ];
    let message = reply.text_at("/message").unwrap_or_default().to_lowercase();
    version == Version::V1 && reply.status == 400 && SIGNS.iter().any(|sign| message.contains(sign))
}

/// Whether a hidden outage is one of which nothing came: no connection was made to what would have acted.
pub fn is_unconnected(reply: &Reply) -> bool {
    let message = reply.text_at("/message").unwrap_or_default().to_lowercase();
    ["connection refused", "error while dialing"]
        .iter()
        .any(|sign| message.contains(sign))
}

/// The same step once more after a hidden outage.
pub fn again(attempts: u32, step: Step, reply: &Reply) -> Verdict {
    let pause = Duration::from_secs(attempts.clamp(1, 5).into());
    Verdict::Later(pause, step, format!("it answered 400 ({})", reply.complaint()))
}

/// How long to wait before asking for progress: a second at first, then growing to five.
pub fn pause(round: u32) -> Duration {
    Duration::from_secs(round.clamp(1, 5).into())
}

/// What a poll's failure means for what was started and goes on unseen: a refusal is told as that.
pub fn unseen(verdict: Verdict, reply: &Reply, what: &str) -> Verdict {
    let is_repeatable = matches!(reply.status, 408 | 425 | 429 | 500..);
    match verdict {
        Verdict::ByStatus if !is_repeatable => Verdict::Rejected(format!(
            "{what} was accepted, but its progress can't be read: it answered {} ({}). Without DIREKTIV_WAIT it is not \
             asked for",
            reply.status,
            reply.complaint()
        )),
        other => other,
    }
}

/// The identifier at `pointer` of a successful reply.
///
/// # Errors
/// The verdict on anything else.
pub fn identifier(reply: &Reply, pointer: &str) -> Result<String, Verdict> {
    reply.expect_object()?;
    match reply.text_at(pointer) {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err(Verdict::Undocumented(format!(
            "answered {} without an identifier ({pointer}), which this API always gives: the address may lead somewhere \
             else",
            reply.status
        ))),
    }
}

/// The records under the first of `pointers` that has any, each by itself: v0.6 wraps them as edges of a graph.
pub fn records<'a>(body: &'a Value, pointers: &[&str]) -> Vec<&'a Value> {
    pointers
        .iter()
        .find_map(|pointer| body.pointer(pointer)?.as_array())
        .into_iter()
        .flatten()
        .map(|record| record.get("node").unwrap_or(record))
        .collect()
}
