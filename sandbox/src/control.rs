//! The sandbox's own routes: what its library does, over HTTP.
//!
//! | request | reply |
//! |---|---|
//! | `GET /` | a page for people |
//! | `GET /_sandbox/health` | 200 |
//! | `GET /_sandbox/requests[?service=]` | the journal, oldest first |
//! | `GET /_sandbox/state[/SERVICE]` | what the services hold |
//! | `POST /_sandbox/faults` | one rule, or a list of them: see `FaultRule::from_json` |
//! | `POST /_sandbox/seed/SERVICE` | merges the body into what the service holds |
//! | `POST /_sandbox/reset` | forgets everything |

use serde_json::{Map, Value, json};

use crate::faults::FaultRule;
use crate::journal::Recorded;
use crate::page;
use crate::services::Service;
use crate::shared::Shared;
use crate::wire::{Reply, Request};

/// Answers a request that is for no service.
pub(crate) fn answer(shared: &Shared, request: &Request) -> Reply {
    let segments = request.segments().unwrap_or_default();
    let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", [""]) => page::render(shared),
        ("GET", ["_sandbox", "health"]) => Reply::json(200, &json!({"ok": true})),
        ("GET", ["_sandbox", "requests"]) => requests(shared, request),
        ("GET", ["_sandbox", "state"]) => {
            let mut stand_ins = shared.stand_ins();
            let states = Service::ALL.map(|service| (service.name().to_owned(), stand_ins.of(service).state()));
            Reply::json(200, &Value::Object(states.into_iter().collect::<Map<_, _>>()))
        }
        ("GET", ["_sandbox", "state", name]) => match Service::named(name) {
            Some(service) => Reply::json(200, &shared.stand_ins().of(service).state()),
            None => problem(404, &format!("there is no service {name:?}")),
        },
        ("POST", ["_sandbox", "faults"]) => faults(shared, request),
        ("POST", ["_sandbox", "seed", name]) => match (Service::named(name), request.json()) {
            (None, _) => problem(404, &format!("there is no service {name:?}")),
            (_, Err(error)) => problem(400, &format!("the body is not JSON: {error}")),
            (Some(service), Ok(state)) => {
                let seeded = shared.stand_ins().of(service).seed(state);
                seeded.map_or_else(
                    |error| problem(400, &error),
                    |()| Reply::json(200, &json!({"ok": true})),
                )
            }
        },
        ("POST", ["_sandbox", "reset"]) => {
            shared.reset();
            Reply::json(200, &json!({"ok": true}))
        }
        _ => {
            let services = Service::ALL.map(|service| format!("/{}", service.name()));
            problem(
                404,
                &format!("the sandbox serves {}, /_sandbox and /", services.join(", ")),
            )
        }
    }
}

fn problem(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"error": message}))
}

fn requests(shared: &Shared, request: &Request) -> Reply {
    let query = request.query();
    let only = match query.get("service").map(|name| (name, Service::named(name))) {
        None => None,
        Some((_, Some(service))) => Some(service),
        Some((name, None)) => return problem(404, &format!("there is no service {name:?}")),
    };
    let entries = shared.journal().entries();
    let entries = entries
        .iter()
        .filter(|entry| only.is_none_or(|service| entry.service == service));
    Reply::json(200, &entries.map(Recorded::to_json).collect())
}

/// All rules are taken, or none.
fn faults(shared: &Shared, request: &Request) -> Reply {
    let rules = match request.json() {
        Ok(Value::Array(rules)) => rules,
        Ok(rule) => vec![rule],
        Err(error) => return problem(400, &format!("the body is not JSON: {error}")),
    };
    match rules.iter().map(FaultRule::from_json).collect::<Result<Vec<_>, _>>() {
        Err(error) => problem(400, &error),
        Ok(rules) => {
            let mut faults = shared.faults();
            for (service, rule) in rules {
                faults.add(service, rule);
            }
            Reply::json(200, &json!({"ok": true}))
        }
    }
}
