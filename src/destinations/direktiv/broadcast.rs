//! `broadcast`: the event goes to the namespace's listeners as a `CloudEvent` (docs/vendors/direktiv.md 6). Its id is always
//! the same, and a namespace takes each id once, so it may be sent again at will.
//!
//! The branch after v0.10 answers 200 and does nothing: that can't be told from success.

use std::rc::Rc;

use serde_json::Value;

use super::{
    super::cloudevent::{self, CloudEvent},
    Version, api,
    api::Api,
};
use crate::{
    delivery::{
        plan::{Delivered, Plan, Sent, Step, Verdict},
        reply::Reply,
        request::{Method, Request},
    },
    event::{Action, Event},
    problem::Unmade,
};

/// Whether a namespace says that it has this id: the newer API in these words, the older one by 409
/// (docs/vendors/direktiv.md 6).
fn is_duplicate(version: Version, reply: &Reply) -> bool {
    match version {
        Version::V1 => reply.status == 409,
        Version::V2 => {
            let body = reply.body.to_lowercase();
            reply.status == 400 && body.contains("error appending cloudevent to history")
        }
    }
}

/// The plan of a broadcast.
///
/// # Errors
/// The event has no id, or it is not known what happened.
pub fn plan(api: &Rc<Api>, event: &Event, data: Value) -> Result<Plan, Unmade> {
    let broadcast = Rc::new(Broadcast {
        api: Rc::clone(api),
        event: CloudEvent {
            id: event.delivery_id()?,
            source: cloudevent::source(event),
            kind: type_of(&event.name, event.action()?),
            subject: cloudevent::subject(event).map(str::to_owned),
            time: event.time.clone(),
            data,
        },
    });
    let first = api.versions[0];
    let plan = Plan::new(Some(broadcast.event.id.clone()), vec![broadcast.start(first)]);
    Ok(match api.after(first) {
        Some(other) => plan.otherwise(format!("the server has no API {first}"), broadcast.request(other)),
        None => plan,
    })
}

/// `com.gitlab.deployment.success`: in lower case, and dots for what is neither letter, digit, `_` nor `-`.
fn type_of(name: &str, action: &Action) -> String {
    let text = format!("com.gitlab.{name}.{action}").to_lowercase();
    let words: Vec<&str> = text
        .split(|character: char| !(character.is_alphanumeric() || matches!(character, '_' | '-')))
        .filter(|word| !word.is_empty())
        .collect();
    words.join(".")
}

struct Broadcast {
    api: Rc<Api>,
    event: CloudEvent,
}

impl Broadcast {
    fn request(&self, version: Version) -> Request {
        let path = match version {
            Version::V1 => "/broadcast",
            Version::V2 => "/events/broadcast",
        };
        // Binary mode is the older API's alone.
        self.event.structured(self.api.request(version, Method::Post, path))
    }

    fn start(self: &Rc<Self>, version: Version) -> Step {
        let name = match version {
            Version::V1 => "broadcast v1",
            Version::V2 => "broadcast v2",
        };
        let broadcast = Rc::clone(self);
        Step::new(name, self.request(version), move |reply, sent| {
            broadcast.read(version, reply, sent)
        })
    }

    fn read(self: &Rc<Self>, version: Version, reply: &Reply, sent: Sent) -> Verdict {
        if let Some(verdict) = self.api.detour(version, reply, |other| self.start(other)) {
            return verdict;
        }
        if is_duplicate(version, reply) {
            return if sent.ambiguous {
                Verdict::Delivered(Delivered {
                    note: Some("the attempt before got through after all".to_owned()),
                    ..Delivered::default()
                })
            } else {
                Verdict::Skipped(format!("the namespace already received the event {}", self.event.id))
            };
        }
        if api::is_hidden_outage(version, reply) {
            return api::again(sent.attempts, self.start(version), reply);
        }
        match reply.expect_nothing(200) {
            Ok(()) => Verdict::delivered(),
            Err(unexpected) => unexpected.into(),
        }
    }
}
