//! Direktiv: its Git mirror is synced, a workflow executed, or an event broadcast. Facts: vendors/direktiv.md.
//!
//! Two APIs are in use, and no server older than v0.8.5 knows the newer one, hardly any younger one the older: which
//! one a server has is found out by asking, never by its version (vendors/direktiv.md 1, 4).

use std::rc::Rc;

use super::{CHECK, Destination, Operation, Order};
use crate::{
    choice,
    delivery::plan::Plan,
    environment::Problem,
    secret::Secret,
    variables,
    variables::{BaseUrl, Flag, Group, Json},
};

mod api;
mod broadcast;
mod execute;
mod sync;
#[cfg(test)]
mod tests;

use api::{Api, Version};

variables! {
    /// What `direktiv` reads.
    pub struct Settings, "Direktiv, Git integration with GitLab" {
        /// Where Direktiv is, as in `https://direktiv.example.com`. It may end in `/api` or `/api/v2`.
        url: BaseUrl = "DIREKTIV_URL", required;
        /// The namespace.
        namespace: String = "DIREKTIV_NAMESPACE", required;
        /// The token: the `apikey` of the installation, or one made under Permissions > Auth Token (Enterprise). `sync` needs its permission to manage.
        token: Option<Secret> = "DIREKTIV_TOKEN", optional;
        /// A whole header line that is sent instead of `DIREKTIV_TOKEN`: `direktiv-token: ${DIREKTIV_TOKEN}`.
        header: Option<Secret> = "DIREKTIV_HEADER", optional;
        /// The directory that `sync` is about, where it is mirrored by itself, as in `/workflows/shop`. Only Direktiv up to v0.7 has such mirrors; v0.8 takes the directory, and syncs the namespace.
        directory: Option<String> = "DIREKTIV_DIRECTORY", derived "the whole namespace";
        /// Which API is used. `auto` finds out: the newer one first, or the older one where a directory is given.
        api: ApiChoice = "DIREKTIV_API", default "auto";
        /// The header that carries the token: `token` is `direktiv-token`, `api-key` is `Direktiv-Api-Key`, `api-token` is `Direktiv-Api-Token`, `bearer` is `Authorization: Bearer`, `apikey` is `apikey`. `auto` sends those that the API's versions want.
        auth: Auth = "DIREKTIV_AUTH", default "auto";
        /// Whether to wait until the sync or the workflow has ended, and report that; `NOTIFY_TIMEOUT` bounds it.
        wait: Flag = "DIREKTIV_WAIT", default "false";
        /// The workflow that `execute` starts, as in `/deploy.yaml`.
        workflow: Option<String> = "DIREKTIV_WORKFLOW", optional;
        /// What the workflow or the listeners of the event are given, as JSON.
        input: Option<Json> = "DIREKTIV_INPUT", derived "the event's JSON";
    }
}

choice! {
    /// Which API is used.
    pub enum ApiChoice {
        /// Found out by asking.
        Auto = "auto",
        /// Up to v0.8.5.
        V1 = "v1",
        /// From v0.8.5.
        V2 = "v2",
    }
}

choice! {
    /// The header that carries the token (vendors/direktiv.md 2).
    pub enum Auth {
        /// What the API's versions want, all of them at once.
        Auto = "auto",
        /// `direktiv-token`, v0.6.6 to v0.8.10.
        Token = "token",
        /// `Direktiv-Api-Key`, from v0.9.
        ApiKey = "api-key",
        /// `Direktiv-Api-Token`, Enterprise from v0.9.
        ApiToken = "api-token",
        /// `Authorization: Bearer`, Enterprise from v0.9.
        Bearer = "bearer",
        /// `apikey`, up to v0.6.7.
        OldApiKey = "apikey",
    }
}

/// Direktiv.
pub const DESTINATION: Destination = Destination {
    name: "direktiv",
    title: "Direktiv",
    operations: &[
        Operation::new(
            "sync",
            "has the namespace's or directory's Git mirror pull its repository",
        ),
        Operation::once(
            "execute",
            "starts a workflow; sent at most once, since every call starts another",
        ),
        Operation::new(
            "broadcast",
            "sends the event to the namespace's listeners, as a CloudEvent",
        ),
    ],
    variables: &[Settings::VARIABLES],
    credentials: &["DIREKTIV_URL"],
    plan,
};

fn plan(order: &Order) -> Result<Plan, Vec<Problem>> {
    let settings: Settings = order.reader.read()?;
    let directory = match (order.operation, &settings.directory) {
        ("sync", Some(directory)) => api::clean_path("DIREKTIV_DIRECTORY", directory),
        _ => Ok(String::new()),
    };
    let workflow = match order.operation {
        "execute" => execute::workflow(&settings),
        _ => Ok(String::new()),
    };
    let credential = api::Credential::of(&settings);
    let (directory, workflow, credential) = match (api::check_namespace(&settings), directory, workflow, credential) {
        (Ok(()), Ok(directory), Ok(workflow), Ok(credential)) => (directory, workflow, credential),
        (namespace, directory, workflow, credential) => {
            let problems = [namespace.err(), directory.err(), workflow.err(), credential.err()];
            return Err(problems.into_iter().flatten().collect());
        }
    };
    let mut notes = Vec::new();
    if settings.header.is_some() && settings.auth != Auth::Auto {
        notes.push("DIREKTIV_AUTH has no effect: DIREKTIV_HEADER says which header is sent".to_owned());
    }
    if settings.api == ApiChoice::V2 && !directory.is_empty() {
        notes.push(sync::NO_DIRECTORIES.to_owned());
    }
    if let (Some(line), Some(inner)) = (&settings.header, credential.as_ref().and_then(api::Credential::inner))
        && !line.expose().contains(inner.expose())
    {
        notes.push(
            "DIREKTIV_HEADER names a file or has base64 in it: what is sent holds the content, the variable does not"
                .to_owned(),
        );
    }
    let secrets = credential.iter().filter_map(api::Credential::inner).cloned().collect();
    let api = Rc::new(Api::new(&settings, credential, !directory.is_empty()));
    let input = || match &settings.input {
        Some(Json(input)) => input.clone(),
        None => order.event.to_json(),
    };
    let plan = match order.operation {
        CHECK => sync::check(&api),
        "execute" => execute::plan(&api, workflow, input(), settings.wait.0),
        "broadcast" => broadcast::plan(&api, order.event, &input()).map_err(|problem| vec![problem])?,
        _ => sync::plan(&api, directory, settings.wait.0),
    };
    Ok(Plan { notes, secrets, ..plan })
}
