//! What the destinations' tests share: plans made in a job with some variables, requests as they go over the wire, and
//! verdicts in one line.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{Context, Destination};
use crate::{
    delivery::{
        plan::{Plan, Sent, Step, Verdict},
        reply::Reply,
        request::Request,
    },
    environment::Environment,
    event::{Event, resolve::Resolver},
    problem::Unmade,
    secret::Secret,
    variables::{Reader, Values, Variable},
};

/// What had been sent when a first reply came.
pub const FIRST: Sent = Sent {
    attempts: 1,
    ambiguous: false,
};

/// What had been sent when a reply came after another one was lost.
pub const AGAIN: Sent = Sent {
    attempts: 2,
    ambiguous: true,
};

/// The event and the destination's values, with these variables set; of the same name the last counts, and an empty one
/// is unset.
pub fn event_and_values<'a>(
    destination: &Destination,
    variables: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> (Event, Values) {
    let variables: BTreeMap<&str, &str> = variables.into_iter().copied().collect();
    let environment =
        Environment::from_variables(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_823_651);
    let declared: Vec<&'static Variable> = super::variables().collect();
    let literals = crate::gitlab::pipeline::written_by_people(&environment);
    let (event, names) = Resolver::new(&environment, &literals, None, &[], &declared, now).finish();
    let reader = Reader {
        environment: &environment,
        official_names: false,
        allow_http: false,
        literals: &literals,
    };
    let values = reader.find(destination.variables()).render(&names);
    (event.expect("the event can be made"), values)
}

/// The plan of an operation with these variables.
pub fn try_plan<'a>(
    destination: &'static Destination,
    operation: &str,
    variables: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> Result<Plan, Unmade> {
    of_context(destination, operation, variables, destination.plan)
}

/// The plan of an operation's check with these variables.
pub fn try_check<'a>(
    destination: &'static Destination,
    operation: &str,
    variables: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> Result<Plan, Unmade> {
    of_context(destination, operation, variables, destination.check)
}

/// What is made of the context of an operation with these variables.
pub fn of_context<'a, T>(
    destination: &'static Destination,
    operation: &str,
    variables: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
    make: impl FnOnce(&Context) -> T,
) -> T {
    let (event, values) = event_and_values(destination, variables);
    make(&Context {
        operation: destination
            .operation(operation)
            .expect("it is one of its operations")
            .name,
        event: &event,
        values: &values,
        is_replay: false,
        in_doubt_since: None,
    })
}

/// A request as it goes over the wire: `METHOD address`, and the body in the next line. Every credential that a login
/// yields is `learned`.
pub fn wire(request: &Request) -> String {
    let learned = |name: &str| Some(Secret::new("learned", name));
    let url = request.url.expose(&learned).unwrap();
    let body = request.body.as_ref().map(|body| body.expose(&learned).unwrap());
    let kind = request.headers.iter().any(|(name, _)| name == "Content-Type");
    assert_eq!(kind, body.is_some(), "a body says what it is");
    let line = format!("{} {url}", request.method.name());
    body.map_or(line.clone(), |body| format!("{line}\n{body}"))
}

/// A reply; one that starts like a page says that it is one.
pub fn reply(status: u16, body: &str) -> Reply {
    let html = ("content-type".to_owned(), "text/html".to_owned());
    let headers = body.starts_with('<').then_some(html).into_iter().collect();
    Reply::new(status, headers, body.to_owned())
}

/// What a step makes of a reply.
pub fn read(step: &Step, sent: Sent, status: u16, body: &str) -> Verdict {
    step.read(&reply(status, body), sent)
}

/// A verdict in one line.
pub fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered(delivered) => format!(
            "delivered {} {}",
            delivered.identifier.as_deref().unwrap_or("-"),
            delivered.note.as_deref().unwrap_or("-")
        ),
        Verdict::Rejected(why) => format!("rejected {why}"),
        Verdict::Misconfigured(why) => format!("misconfigured {why}"),
        Verdict::Undocumented(why) => format!("undocumented {why}"),
        Verdict::Failed(why) => format!("failed {why}"),
        Verdict::Unavailable(why) => format!("unavailable {why}"),
        Verdict::InDoubt(why) => format!("doubtful {why}"),
        Verdict::Skipped(why) => format!("skipped {why}"),
        Verdict::ByStatus => "by status".to_owned(),
        other => format!("{other:?}"),
    }
}
