//! A namespace, and what is in it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::instance::Instance;
use super::sync::Sync;
use crate::options::Options;
use crate::wire::Request;

/// The largest body of a workflow's input and of an event (docs/vendors/direktiv.md 5, 6).
pub(super) const BODY_LIMIT: usize = 32 << 20;

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Namespace {
    pub(super) mirror: bool,
    pub(super) directories: Vec<String>,
    pub(super) workflows: Vec<String>,
    pub(super) syncs: Vec<Sync>,
    pub(super) instances: Vec<Instance>,
    pub(super) events: Vec<Value>,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            mirror: true,
            directories: vec!["/workflows/directory".to_owned()],
            workflows: vec!["/wf/deploy.yaml".to_owned()],
            syncs: Vec::new(),
            instances: Vec::new(),
            events: Vec::new(),
        }
    }
}

impl Namespace {
    /// A namespace that mirrors nothing.
    pub(super) fn without_mirror() -> Self {
        Self {
            mirror: false,
            directories: Vec::new(),
            ..Self::default()
        }
    }

    /// Moves syncs and instances to where they are by now.
    pub(super) fn advance(&mut self, options: &Options) {
        self.syncs.retain(|sync| !sync.is_outdated());
        self.syncs.iter_mut().for_each(|sync| sync.advance(options));
        self.instances.iter_mut().for_each(|instance| instance.advance(options));
    }

    /// Starts a workflow that is known to exist.
    pub(super) fn start(&mut self, options: &Options, path: &str, request: &Request) -> Instance {
        let instance = Instance {
            path: path.to_owned(),
            input: String::from_utf8_lossy(&request.body).into_owned(),
            runs: u64::try_from(options.direktiv_workflow_takes.as_millis()).unwrap_or(u64::MAX),
            ..Instance::default()
        };
        self.instances.push(instance.clone());
        instance
    }
}

/// The namespace of a name (docs/vendors/direktiv.md 7); an ill-formed name is as unknown as any other.
pub(super) fn namespace_of<'a>(
    namespaces: &'a mut BTreeMap<String, Namespace>,
    name: &str,
) -> Result<&'a mut Namespace, ()> {
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(([a-z][a-z0-9_\-\.]*[a-z0-9])|([a-z]))$").expect("a constant pattern"));
    if NAME.is_match(name) {
        namespaces.get_mut(name).ok_or(())
    } else {
        Err(())
    }
}
