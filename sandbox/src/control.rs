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

use crate::page;
use crate::server::World;
use crate::wire::{Reply, Request};
use crate::{FaultRule, Service};

/// The headers that carry credentials: what is masked for people, and echoed by the fault that echoes.
pub(crate) const CREDENTIAL_HEADERS: [&str; 9] = [
    "authorization",
    "direktiv-token",
    "direktiv-api-key",
    "direktiv-api-token",
    "apikey",
    "job-token",
    "private-token",
    "proxy-authorization",
    "cookie",
];

/// Answers a request that is for no service.
pub(crate) fn answer(world: &World, request: &Request) -> Reply {
    let segments = request.segments().unwrap_or_default();
    let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", [""]) => page::render(world),
        ("GET", ["_sandbox", "health"]) => Reply::json(200, &json!({"ok": true})),
        ("GET", ["_sandbox", "requests"]) => requests(world, request),
        ("GET", ["_sandbox", "state"]) => {
            let mut services = world.services();
            let states = Service::ALL.map(|service| (service.name().to_owned(), services.of(service).state()));
            Reply::json(200, &Value::Object(states.into_iter().collect::<Map<_, _>>()))
        }
        ("GET", ["_sandbox", "state", name]) => match Service::named(name) {
            Some(service) => Reply::json(200, &world.services().of(service).state()),
            None => problem(404, &format!("there is no service {name:?}")),
        },
        ("POST", ["_sandbox", "faults"]) => faults(world, request),
        ("POST", ["_sandbox", "seed", name]) => match (Service::named(name), request.json()) {
            (None, _) => problem(404, &format!("there is no service {name:?}")),
            (_, Err(error)) => problem(400, &format!("the body is not JSON: {error}")),
            (Some(service), Ok(state)) => {
                let seeded = world.services().of(service).seed(state);
                seeded.map_or_else(
                    |error| problem(400, &error),
                    |()| Reply::json(200, &json!({"ok": true})),
                )
            }
        },
        ("POST", ["_sandbox", "reset"]) => {
            world.reset();
            Reply::json(200, &json!({"ok": true}))
        }
        _ => problem(
            404,
            "the sandbox serves /rely, /cto, /direktiv, /aviator, /port, /gitlab, /_sandbox and /",
        ),
    }
}

fn problem(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"error": message}))
}

fn requests(world: &World, request: &Request) -> Reply {
    let query = request.query();
    let only = match query.get("service").map(|name| (name, Service::named(name))) {
        None => None,
        Some((_, Some(service))) => Some(service),
        Some((name, None)) => return problem(404, &format!("there is no service {name:?}")),
    };
    let entries = world.journal().entries();
    let entries = entries
        .iter()
        .filter(|entry| only.is_none_or(|service| entry.service == service));
    Reply::json(200, &entries.map(crate::Recorded::to_json).collect())
}

/// All rules are taken, or none.
fn faults(world: &World, request: &Request) -> Reply {
    let rules = match request.json() {
        Ok(Value::Array(rules)) => rules,
        Ok(rule) => vec![rule],
        Err(error) => return problem(400, &format!("the body is not JSON: {error}")),
    };
    match rules.iter().map(FaultRule::from_json).collect::<Result<Vec<_>, _>>() {
        Err(error) => problem(400, &error),
        Ok(rules) => {
            let mut faults = world.faults();
            for (service, rule) in rules {
                faults.add(service, rule);
            }
            Reply::json(200, &json!({"ok": true}))
        }
    }
}
