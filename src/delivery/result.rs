//! How a delivery ended: plain data for reports and receipts.

use std::{rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{Plan, Refused};
use crate::report::class::Class;

/// How a plan ended.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryResult {
    /// Result class.
    pub class: Class,
    /// Why, where it was not sent; what else there is to say, where it was.
    pub detail: Option<String>,
    /// What the service knows it by.
    pub identifier: Option<String>,
    /// HTTP status of the last reply.
    pub status: Option<u16>,
    /// Attempts at the request that decided.
    pub attempts: u32,
    /// Time from the first attempt to the end.
    pub elapsed: Duration,
    /// What the service calls the last request.
    pub request_id: Option<String>,
    /// What was read.
    pub json: Option<Rc<Value>>,
    /// Of several entities in one request, those that the service did not take.
    pub refused: Vec<Refused>,
    /// What became of the entities of a file.
    pub entities: Option<Tally>,
    /// The file of the output folder that holds what of them was not sent.
    pub failed_file: Option<String>,
    /// Whether the service has accepted it, and only its end is not known.
    pub is_accepted: bool,
    /// Whether it may have been processed although it failed.
    pub is_ambiguous: bool,
    /// Variables of which nothing is left to do, although the rest failed.
    pub completed: Vec<&'static str>,
    /// Values that a replay has to find in these variables, see [`Plan::found`](super::plan::Plan::found).
    pub found: Vec<(&'static str, String)>,
}

/// What became of the entities of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// So many were sent.
    pub sent: u64,
    /// So many were not.
    pub failed: u64,
}

impl DeliveryResult {
    /// Whether it failed and may have counted all the same; `counts` says whether it would count twice.
    pub fn is_in_doubt(&self, counts: bool) -> bool {
        counts && self.is_ambiguous && self.class.is_failure() && !self.is_accepted
    }

    /// The result of a plan that sends nothing, for the reason that it gives: there is nothing to send, or it is in doubt
    /// whether an earlier attempt has sent it.
    pub fn not_sent(plan: Plan) -> Self {
        let class = if plan.in_doubt {
            Class::Unavailable
        } else {
            Class::Skipped
        };
        Self {
            is_ambiguous: plan.in_doubt,
            completed: plan.completed,
            found: plan.found,
            ..Self::unsent(class, plan.skip.unwrap_or_default(), plan.identifier)
        }
    }

    /// The result of sending nothing.
    pub fn unsent(class: Class, detail: impl Into<String>, identifier: Option<String>) -> Self {
        Self {
            class,
            detail: Some(detail.into()),
            identifier,
            status: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            request_id: None,
            json: None,
            refused: Vec::new(),
            entities: None,
            failed_file: None,
            is_accepted: false,
            is_ambiguous: false,
            completed: Vec::new(),
            found: Vec::new(),
        }
    }
}
