//! A service's reply: bounded, and read with suspicion.

use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};

use crate::{redaction::Redactor, text};

/// How much of a foreign text is shown to a person, in characters.
const SHOWN: usize = 300;

/// Headers under which services name a request for their support, in order of preference. Port: `X-Trace-Id`
/// (docs/vendors/port.md 1).
const REQUEST_ID_HEADERS: &[&str] = &["x-trace-id", "x-request-id", "request-id", "x-correlation-id", "cf-ray"];

/// What a page is called.
const PAGE: &str = "an HTML page";

/// Resets above this are points in time, below it they are seconds to wait: Port's docs and its own clients disagree,
/// and this is how its Ocean framework tells them apart (docs/vendors/port.md 5).
const EPOCH_FROM: u64 = 10_000;

/// Who asks to wait longer is taken to ask for this: a year is beyond every run, and a moment that no clock can show is not
/// added to one.
const LONGEST_WAIT: Duration = Duration::from_hours(365 * 24);

/// Why a reply is not the success that the service documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unexpected {
    /// Its status says that it failed: what that means is the general rule's affair.
    Status,
    /// It says that it succeeded, and is not what the service documents, in the way that this tells.
    Undocumented(String),
}

/// The most values in a reply, as [`text::count_of_values`] counts them. An ordinary read of 16 MiB has no more; a tree of
/// empty objects, of which the same 16 MiB would take two gigabytes of memory, has them within 2 MiB.
const MOST_VALUES: usize = 1_000_000;

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as text; what is not UTF-8 is replaced.
    pub body: String,
    json: Option<Rc<Value>>,
    is_utf8: bool,
    /// The proxy that could have made it, where one could.
    proxy: Option<String>,
    /// What cleans all that is shown of it to people.
    redactor: Redactor,
}

impl Reply {
    /// A reply with its body, which is parsed here and nowhere else. What was compressed although nobody asked for that,
    /// or is not UTF-8, is not JSON.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: impl Into<Vec<u8>>) -> Self {
        let (body, is_utf8) = match String::from_utf8(body.into()) {
            Ok(body) => (body, true),
            Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
        };
        let mut reply = Self {
            status,
            headers,
            body,
            json: None,
            is_utf8,
            proxy: None,
            redactor: Redactor::default(),
        };
        if is_utf8 && reply.encoding().is_none() && !reply.is_too_large_a_tree() {
            reply.json = serde_json::from_str(&reply.body).ok().map(Rc::new);
        }
        reply
    }

    /// Whether the body has more values than are read: 16 MiB of empty objects take a hundred times that in memory.
    fn is_too_large_a_tree(&self) -> bool {
        // A short body can't hold so many.
        self.body.len() > MOST_VALUES && text::count_of_values(&self.body) > MOST_VALUES
    }

    /// The same reply; what it says to people is without what `redactor` hides. What it says to the program stays.
    pub fn shown_by(self, redactor: &Redactor) -> Self {
        Self {
            redactor: redactor.clone(),
            ..self
        }
    }

    /// The same reply, which came through a proxy that sees requests and could have answered itself; shown as `proxy`.
    pub fn through(self, proxy: String) -> Self {
        Self {
            proxy: Some(proxy),
            ..self
        }
    }

    /// The proxy that this may be of, rather than of the service: 502, 503 and 504 are a gateway's own words, and so is a
    /// refusal that is no JSON.
    pub fn gateway(&self) -> Option<&str> {
        let is_its_word = (502..=504).contains(&self.status) || (self.status == 403 && self.json.is_none());
        self.proxy.as_deref().filter(|_| is_its_word)
    }

    /// How the body is compressed, if it is.
    fn encoding(&self) -> Option<&str> {
        let encoding = self.header("content-encoding")?.trim();
        (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body, if it is JSON.
    pub fn json(&self) -> Option<&Value> {
        self.json.as_deref()
    }

    /// The same, to be kept: a copy of a large answer would take as much memory again.
    pub fn shared_json(&self) -> Option<Rc<Value>> {
        self.json.clone()
    }

    /// The value at a JSON pointer, if it is a string.
    pub fn text_at(&self, pointer: &str) -> Option<&str> {
        self.json()?.pointer(pointer)?.as_str()
    }

    /// The object of a successful reply.
    ///
    /// # Errors
    /// What it is instead.
    pub fn expect_object(&self) -> Result<&Map<String, Value>, Unexpected> {
        self.expect_json()?
            .as_object()
            .ok_or_else(|| self.unexpected("JSON that is no object"))
    }

    /// The object of a successful reply that is what `is_documented` says; `what` names it.
    ///
    /// # Errors
    /// As [`Reply::expect_object`].
    pub fn expect(
        &self,
        what: &str,
        is_documented: impl Fn(&Map<String, Value>) -> bool,
    ) -> Result<&Map<String, Value>, Unexpected> {
        let body = self.expect_object()?;
        if is_documented(body) {
            Ok(body)
        } else if body.contains_key("error") || body.contains_key("detail") {
            Err(self.contradictory())
        } else {
            Err(self.unexpected(&format!("JSON that is not {what}")))
        }
    }

    /// The JSON of a successful reply.
    ///
    /// # Errors
    /// As [`Reply::expect_object`].
    pub fn expect_json(&self) -> Result<&Value, Unexpected> {
        if !self.is_success() {
            return Err(Unexpected::Status);
        }
        self.json().ok_or_else(|| self.unexpected(&self.kind()))
    }

    /// A reply without a body, of the status with which the service documents one.
    ///
    /// # Errors
    /// As [`Reply::expect_object`].
    pub fn expect_nothing(&self, status: u16) -> Result<(), Unexpected> {
        if !self.is_success() {
            return Err(Unexpected::Status);
        }
        if self.status == status && self.is_empty() {
            return Ok(());
        }
        Err(if self.json().is_some_and(|body| !complaints(body).is_empty()) {
            self.contradictory()
        } else if self.is_empty() {
            self.unexpected(&format!("no body, and not {status}"))
        } else if self.json.is_some() {
            self.unexpected("JSON")
        } else {
            self.unexpected(&self.kind())
        })
    }

    /// A successful reply whose body may be empty or JSON, because the service documents none.
    ///
    /// # Errors
    /// As [`Reply::expect_object`].
    pub fn expect_empty_or_json(&self) -> Result<(), Unexpected> {
        if self.is_empty() && self.is_success() {
            return Ok(());
        }
        self.expect_json().map(|_| ())
    }

    /// A successful reply with any body but a page: the receiver documents none.
    ///
    /// # Errors
    /// As [`Reply::expect_object`].
    pub fn expect_no_page(&self) -> Result<(), Unexpected> {
        if !self.is_success() {
            return Err(Unexpected::Status);
        }
        match self.kind() {
            page if page == PAGE => Err(Unexpected::Undocumented(format!(
                "answered {} with {PAGE}, as a login or a proxy does: the address may lead somewhere else",
                self.status
            ))),
            _ => Ok(()),
        }
    }

    /// The verdict on a success that says that it is none.
    pub fn contradictory(&self) -> Unexpected {
        Unexpected::Undocumented(format!("answered {}, but says: {}", self.status, self.complaint()))
    }

    fn is_empty(&self) -> bool {
        self.body.trim().is_empty() && self.encoding().is_none()
    }

    fn kind(&self) -> String {
        if let Some(encoding) = self.encoding() {
            return format!(
                "a body compressed by {}, which was not asked for",
                text::truncate(encoding, 30)
            );
        }
        let start: String = self
            .body
            .trim_start()
            .chars()
            .take(15)
            .collect::<String>()
            .to_lowercase();
        let is_html = start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<head");
        if is_html || self.header("content-type").is_some_and(|kind| kind.contains("html")) {
            PAGE
        } else if self.body.trim().is_empty() {
            "no body"
        } else if !self.is_utf8 {
            "something that is not UTF-8"
        } else if self.is_too_large_a_tree() {
            return format!("more than {MOST_VALUES} values, which are more than are read");
        } else {
            "something that is not JSON"
        }
        .to_owned()
    }

    fn unexpected(&self, what: &str) -> Unexpected {
        Unexpected::Undocumented(format!(
            "answered {} with {what}, which this API never does: the address may lead somewhere else",
            self.status
        ))
    }

    /// What the service says is wrong, for a person: without secrets, and only its start.
    pub fn complaint(&self) -> String {
        // Cut before, half of a secret could be left at the end.
        text::truncate(&self.redactor.foreign(&self.said()), SHOWN)
    }

    /// What the service says is wrong, for the program: the texts that the services' error bodies have in common, else
    /// the body. Every vendor's form is listed in docs/vendors/ under errors.
    pub fn said(&self) -> String {
        let found = self.json().map(complaints).unwrap_or_default();
        if !found.is_empty() {
            found.join(": ")
        } else if self.encoding().is_some() || self.kind() == PAGE {
            self.kind()
        } else {
            self.body.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    }

    /// Whether the service complains that what it was to create is there.
    pub fn says_that_it_exists(&self) -> bool {
        let said = self.said().to_lowercase();
        let denies = ["not exist", "n't exist", "nonexist", "non-exist"];
        (said.contains("exist") || said.contains("already")) && !denies.iter().any(|words| said.contains(words))
    }

    /// Where a redirect points, without query and fragment, in which credentials travel.
    pub fn location(&self) -> Option<String> {
        let address = self.header("location")?.split(['?', '#']).next()?;
        Some(self.redactor.foreign(address))
    }

    /// What the service calls this request.
    pub fn request_id(&self) -> Option<String> {
        let id = REQUEST_ID_HEADERS.iter().find_map(|name| self.header(name))?;
        Some(self.redactor.foreign(id))
    }

    /// How long the service asks to wait: `Retry-After` in seconds or as a date, else the vendor's own reset header.
    pub fn retry_after(&self, reset_header: Option<&str>, now: SystemTime) -> Option<Duration> {
        self.wait(reset_header, now).map(|wait| wait.min(LONGEST_WAIT))
    }

    fn wait(&self, reset_header: Option<&str>, now: SystemTime) -> Option<Duration> {
        let until = |time: SystemTime| time.duration_since(now).unwrap_or_default();
        if let Some(value) = self.header("retry-after") {
            let value = value.trim();
            if let Ok(seconds) = value.parse() {
                return Some(Duration::from_secs(seconds));
            }
            if let Ok(time) = httpdate::parse_http_date(value) {
                return Some(until(time));
            }
        }
        let reset: u64 = self.header(reset_header?)?.trim().parse().ok()?;
        Some(if reset > EPOCH_FROM {
            until(SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(reset))?)
        } else {
            Duration::from_secs(reset)
        })
    }
}

/// The messages in an error body: `error` (text, or an object with `code` and `message`), `message`, `detail` (text,
/// or the list of `FastAPI` with `loc` and `msg`), `errors`.
fn complaints(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(body) = body.as_object() else {
        return found;
    };
    for key in ["error", "code", "message", "detail", "errors", "details", "title"] {
        match body.get(key) {
            Some(Value::String(text)) if !text.is_empty() && !found.contains(text) => found.push(text.clone()),
            Some(Value::Object(inner)) => found.extend(complaints(&Value::Object(inner.clone()))),
            Some(Value::Array(items)) => {
                let texts: Vec<String> = items.iter().map(validation).collect();
                found.push(texts.join("; "));
            }
            _ => {}
        }
    }
    found
}

fn validation(item: &Value) -> String {
    let place = item.get("loc").and_then(Value::as_array).map(|steps| {
        let steps: Vec<String> = steps.iter().map(text::plain).collect();
        format!("{} ", steps.join("."))
    });
    let text = ["msg", "message", "error"]
        .iter()
        .find_map(|key| item.get(key))
        .map_or_else(|| text::plain(item), text::plain);
    format!("{}{text}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Reply::new(status, headers, body.to_owned())
    }

    #[test]
    fn each_services_complaint_is_found() {
        for (body, complaint) in [
            (r#"{"detail":"Invalid token"}"#, "Invalid token"),
            (
                r#"{"detail":[{"loc":["body","id"],"msg":"bad id","type":"x"}]}"#,
                "body.id bad id",
            ),
            (
                r#"{"ok":false,"error":"not_found","message":"No blueprint"}"#,
                "not_found: No blueprint",
            ),
            (
                r#"{"error":{"code":"resource_not_found","message":"no namespace"}}"#,
                "resource_not_found: no namespace",
            ),
            (r#"{"code":500,"message":"already underway"}"#, "already underway"),
            (r#"{"error":"Release not found"}"#, "Release not found"),
            ("Error parsing\n CloudEvent", "Error parsing CloudEvent"),
            ("<html>secret page</html>", "an HTML page"),
            ("", ""),
        ] {
            assert_eq!(reply(400, &[], body).complaint(), complaint);
        }
        assert_eq!(reply(400, &[], &"x".repeat(999)).complaint().chars().count(), SHOWN);
    }

    #[test]
    fn both_forms_of_retry_after_and_both_readings_of_reset() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_823_651);
        let wait = |headers: &[(&str, &str)]| {
            reply(429, headers, "")
                .retry_after(Some("x-ratelimit-reset"), now)
                .map(|wait| wait.as_secs())
        };
        assert_eq!(wait(&[("retry-after", "7")]), Some(7));
        assert_eq!(wait(&[("retry-after", "Sat, 01 Mar 2025 10:07:41 GMT")]), Some(10));
        assert_eq!(wait(&[("retry-after", "Sat, 01 Mar 2025 10:00:00 GMT")]), Some(0));
        assert_eq!(wait(&[("retry-after", "soon"), ("x-ratelimit-reset", "3")]), Some(3));
        assert_eq!(wait(&[("x-ratelimit-reset", "1740823656")]), Some(5));
        assert_eq!(wait(&[("x-ratelimit-reset", "18446744073709551615")]), None);
        assert_eq!(wait(&[("retry-after", "18446744073709551615")]), Some(31_536_000));
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn that_it_exists_is_told_from_that_it_does_not() {
        for (said, exists) in [
            ("Release candidate already exists", true),
            ("Entity with id x exists", true),
            ("The id is already taken", true),
            ("Blueprint deployment does not exist", false),
            ("GitHub repository doesn't exist", false),
            ("Invalid commit hash", false),
        ] {
            let body = json!({ "error": said }).to_string();
            assert_eq!(reply(400, &[], &body).says_that_it_exists(), exists, "{said}");
        }
    }

    #[test]
    fn what_is_compressed_or_no_text_is_not_understood() {
        let json = r#"{"id":"x"}"#;
        for (encoding, is_understood) in [
            ("identity", true),
            ("Identity", true),
            ("", true),
            ("gzip", false),
            ("br", false),
        ] {
            let reply = reply(200, &[("content-encoding", encoding)], json);
            assert_eq!(reply.expect_object().is_ok(), is_understood, "{encoding}");
            assert_eq!(reply.expect_empty_or_json().is_ok(), is_understood, "{encoding}");
        }
        let packed = Reply::new(
            200,
            vec![("content-encoding".to_owned(), "gzip".to_owned())],
            vec![0x1f, 0x8b, 8, 0, 0xff],
        );
        assert_eq!(packed.complaint(), "a body compressed by gzip, which was not asked for");
        let latin = Reply::new(200, Vec::new(), b"{\"id\":\"M\xfcnchen\"}".to_vec());
        match latin.expect_object() {
            Err(Unexpected::Undocumented(why)) => assert!(why.contains("not UTF-8"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(latin.body.contains("nchen"));
    }

    #[test]
    fn a_reply_that_is_too_large_a_tree_is_not_read() {
        let tree = |count: usize| format!("[{}0]", "{\"\":0},".repeat(count));
        assert!(reply(200, &[], &tree(100_000)).json().is_some());
        let large = reply(200, &[], &tree(300_000));
        assert!(large.json().is_none());
        let why = large.expect_json().unwrap_err();
        assert!(matches!(why, Unexpected::Undocumented(what) if what.contains("more than 1000000 values")));
        // What stands in texts is no value.
        let text = format!("{{\"a\":\"{}\"}}", ",".repeat(1_500_000));
        assert!(reply(200, &[], &text).json().is_some());
    }

    #[test]
    fn success_has_to_look_like_success() {
        let refused = |reply: Reply| match reply.expect_object() {
            Err(Unexpected::Undocumented(why)) => why,
            other => panic!("{other:?}"),
        };
        let html = reply(200, &[("content-type", "text/html")], "<!DOCTYPE html>");
        assert!(refused(html).contains("an HTML page"));
        assert!(refused(reply(200, &[], "")).contains("no body"));
        assert!(refused(reply(200, &[], "{\"a\":")).contains("not JSON"));
        assert!(refused(reply(200, &[], "[]")).contains("no object"));
        assert!(matches!(reply(500, &[], "{}").expect_object(), Err(Unexpected::Status)));
        assert!(reply(201, &[], "").expect_empty_or_json().is_ok());
        assert!(reply(200, &[], "<html>").expect_empty_or_json().is_err());
    }
}
