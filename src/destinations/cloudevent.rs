//! CloudEvents 1.0 over HTTP: what a CDEvent and Direktiv's broadcast are sent as (docs/vendors/cdevents.md 2).

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    delivery::request::{Request, segment},
    event::Event,
};

/// What a header's value does not hold as it is, beside what is not ASCII (docs/vendors/cdevents.md 2).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// An event in its envelope. A receiver knows it by its source and its id.
pub struct CloudEvent {
    /// Not empty.
    pub id: String,
    /// A URI-reference.
    pub source: String,
    /// The type, in dots.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// RFC 3339.
    pub time: String,
    /// What it says.
    pub data: Value,
}

impl CloudEvent {
    fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("specversion", Some("1.0")),
            ("id", Some(self.id.as_str())),
            ("source", Some(&self.source)),
            ("type", Some(&self.kind)),
            ("subject", self.subject.as_deref()),
            ("time", Some(&self.time)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// `request` with the event as its JSON body.
    pub fn structured(&self, request: Request) -> Request {
        let mut event: Map<String, Value> = self
            .attributes()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        event.insert("datacontenttype".to_owned(), "application/json".into());
        event.insert("data".to_owned(), self.data.clone());
        request.body("application/cloudevents+json", Value::Object(event).to_string())
    }

    /// `request` with what the event says as its body, and the rest as headers.
    pub fn binary(&self, request: Request) -> Request {
        let with_headers = self.attributes().fold(request, |request, (name, value)| {
            request.header(format!("ce-{name}"), utf8_percent_encode(value, ENCODED).to_string())
        });
        with_headers.json(&self.data)
    }
}

/// Where an event comes from, as a URI-reference: the project's page, with which GitLab's addresses of its pipelines
/// begin; the project's path where the event's address is another one.
pub fn source(event: &Event) -> String {
    let page = event.url.as_deref().and_then(|url| url.split_once("/-/"));
    let page = page.and_then(|(project, _)| Url::parse(project).ok());
    match (page, &event.repo) {
        (Some(page), _) => page.into(),
        (None, Some(path)) => path.split('/').map(segment).collect::<Vec<_>>().join("/"),
        (None, None) => "notify-event".to_owned(),
    }
}

/// What an event is about: the service, else the project.
pub fn subject(event: &Event) -> Option<&str> {
    event.service.as_deref().or(event.repo.as_deref())
}
