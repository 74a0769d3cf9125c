//! Direktiv: its Git mirror is synced, a workflow executed, or an event broadcast. Facts: docs/vendors/direktiv.md.
//!
//! Two APIs are in use, and each operation moved from the older to the newer one in a version of its own, between v0.8.4
//! and v0.8.8: which one a server has is found out by asking, never by its version (docs/vendors/direktiv.md 1, 4).

use std::rc::Rc;

use super::{Context, Destination, HiddenJob, Operation, Repetition, Words};
use crate::{
    choice,
    delivery::plan::Plan,
    problem::{Problem, Unmade},
    secret::Secret,
    variables,
    variables::{BaseUrl, Flag, Group as _, HeaderLine, Json},
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
        header: Option<HeaderLine> = "DIREKTIV_HEADER", optional;
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
        /// The only one up to v0.8.3, and gone in v0.8.8.
        V1 = "v1",
        /// The only one from v0.8.8 on.
        V2 = "v2",
    }
}

choice! {
    /// The header that carries the token (docs/vendors/direktiv.md 2).
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
            "broadcast",
            "sends the event to the namespace's listeners, as a CloudEvent",
        )
        .repeated(Repetition::Deduplicated)
        .reports_action()
        .in_words(Words::Any)
        .carries_properties_unless_set("DIREKTIV_INPUT"),
        Operation::new(
            "sync",
            "has the namespace's or directory's Git mirror pull its repository",
        ),
        Operation::new(
            "execute",
            "starts a workflow; sent at most once, since every call starts another",
        )
        .repeated(Repetition::Unasked)
        .drastic()
        .reports_action_unless_set("DIREKTIV_INPUT")
        .carries_properties_unless_set("DIREKTIV_INPUT"),
    ],
    variables: &[Settings::VARIABLES],
    credentials: &["DIREKTIV_URL"],
    hidden_jobs: &[
        HiddenJob::new(
            "direktiv-sync",
            "direktiv:sync",
            "Has Direktiv pull a mirrored namespace or directory.",
        ),
        HiddenJob::new("direktiv-execute", "direktiv:execute", "Starts a Direktiv workflow."),
        HiddenJob::new(
            "direktiv-broadcast",
            "direktiv",
            "Sends a CloudEvent to a Direktiv namespace.",
        ),
    ],
    plan,
    check,
    register: None,
};

fn check(context: &Context) -> Result<Plan, Unmade> {
    let (settings, credential) = credentials(context)?;
    let api = Rc::new(Api::new(&settings, credential, settings.directory.is_some()));
    Ok(sync::check(&api))
}

fn credentials(context: &Context) -> Result<(Settings, Option<api::Credential>), Unmade> {
    let settings: Settings = context.values.read()?;
    match (api::check_namespace(&settings), api::Credential::of(&settings)) {
        (Ok(()), Ok(credential)) => Ok((settings, credential)),
        (namespace, credential) => Err(problems([namespace.err(), credential.err()])),
    }
}

fn problems(problems: impl IntoIterator<Item = Option<Problem>>) -> Unmade {
    Unmade::Wrong(problems.into_iter().flatten().collect())
}

fn plan(context: &Context) -> Result<Plan, Unmade> {
    let with_credentials = credentials(context);
    let settings: Settings = context.values.read()?;
    let directory = match (context.operation, &settings.directory) {
        ("sync", Some(directory)) => api::clean_path("DIREKTIV_DIRECTORY", directory),
        _ => Ok(String::new()),
    };
    let workflow = match context.operation {
        "execute" => execute::workflow(&settings),
        _ => Ok(String::new()),
    };
    let (directory, workflow, credential) = match (with_credentials, directory, workflow) {
        (Ok((_, credential)), Ok(directory), Ok(workflow)) => (directory, workflow, credential),
        (credentials, directory, workflow) => {
            let of_paths = problems([directory.err(), workflow.err()]);
            return Err(
                Unmade::all(credentials.err().into_iter().chain([of_paths])).unwrap_or(Unmade::Wrong(Vec::new()))
            );
        }
    };
    let mut notes = Vec::new();
    if settings.header.is_some() && settings.auth != Auth::Auto {
        notes.push("DIREKTIV_AUTH has no effect: DIREKTIV_HEADER says which header is sent".to_owned());
    }
    if settings.api == ApiChoice::V2 && !directory.is_empty() {
        notes.push(sync::NO_DIRECTORIES.to_owned());
    }
    if settings.header.as_ref().is_some_and(|header| !header.is_verbatim) {
        notes.push(
            "DIREKTIV_HEADER names a file or has base64 in it: what is sent holds the content, the variable does not"
                .to_owned(),
        );
    }
    let api = Rc::new(Api::new(&settings, credential, !directory.is_empty()));
    let input = || match &settings.input {
        Some(Json(input)) => input.clone(),
        None => context.event.to_json(),
    };
    let plan = match context.operation {
        "execute" => {
            // Its input would tell what happened. That it can't be known is told in it; that nothing happened is not.
            if let (None, Err(why @ Unmade::Nothing(_))) = (&settings.input, &context.event.action) {
                return Err(why.clone());
            }
            execute::plan(&api, workflow, input(), settings.wait.0)
        }
        "sync" => sync::plan(&api, directory, settings.wait.0),
        _ => broadcast::plan(&api, context.event, input())?,
    };
    Ok(Plan { notes, ..plan })
}
