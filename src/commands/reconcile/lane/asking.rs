//! What a service holds, asked.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::{Halt, Held, Lane, Place, context};
use crate::{
    commands::reconcile::{AT_ONCE, table::Fate},
    delivery::{plan::Plan, result::DeliveryResult},
    report::class::Class,
    text::truncate,
};

/// So many plans are carried out before it is looked whether it makes sense to go on.
const ROUND: usize = 4 * AT_ONCE;

impl Lane<'_> {
    /// Asks what is held at these places. What can't be asked ends the lane.
    pub(super) async fn ask(&mut self, places: BTreeSet<Place>) -> Held {
        let mut held = Held::new();
        let Some((event, values)) = self.sample.take() else {
            return held;
        };
        let context = context(&event, &values);
        let mut by_blueprint: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (blueprint, identifier) in places {
            by_blueprint.entry(blueprint).or_default().push(identifier);
        }
        let mut plans = Vec::new();
        let mut of = Vec::new();
        for (blueprint, identifiers) in &by_blueprint {
            for chunk in identifiers.chunks(self.register.most_asked) {
                match (self.register.ask)(&context, blueprint, chunk) {
                    Ok(plan) => {
                        plans.push(plan);
                        of.push((blueprint, chunk));
                    }
                    // A receipt may name anything.
                    Err(why) => self.leave_untold(blueprint, chunk, &Fate::LeftAlone(why.to_string())),
                }
            }
        }
        for ((blueprint, chunk), result) in of.into_iter().zip(self.deliver(plans).await) {
            let why = || {
                format!(
                    "what it holds can't be read: {}",
                    result.detail.as_deref().unwrap_or_default()
                )
            };
            if let Some((class, _)) = halted(&result) {
                self.table.halt.get_or_insert_with(|| (class, why()));
                continue;
            }
            if result.class != Class::Sent {
                self.leave_untold(blueprint, chunk, &Fate::Failed(result.class, why()));
                continue;
            }
            // Something of that identifier is there, and can't be what it should be.
            if let Some(note) = &result.detail {
                self.leave_untold(blueprint, chunk, &Fate::LeftAlone(note.clone()));
            }
            let found = result.json.as_deref().and_then(Value::as_array);
            for entity in found.into_iter().flatten() {
                if let Some(identifier) = entity["identifier"].as_str() {
                    let properties = entity["properties"].as_object().cloned().unwrap_or_default();
                    held.insert((blueprint.clone(), identifier.to_owned()), properties);
                }
            }
        }
        self.sample = Some((event, values));
        held
    }

    fn leave_untold(&mut self, blueprint: &str, identifiers: &[String], fate: &Fate) {
        for identifier in identifiers {
            let place = (blueprint.to_owned(), identifier.clone());
            self.untold.insert(place, fate.clone());
        }
    }

    /// Carries out plans, several at a time; once one shows that the others would fail likewise, the rest are not begun.
    pub(super) async fn deliver(&self, plans: Vec<Plan>) -> Vec<DeliveryResult> {
        let label = self.target.label();
        let address = self.target.destination.address();
        let mut results = Vec::new();
        let mut plans = plans.into_iter();
        // The first alone: what is wrong with a credential or an address shows once.
        let mut round = 1;
        loop {
            let some: Vec<Plan> = plans.by_ref().take(round).collect();
            if some.is_empty() {
                return results;
            }
            let running = stream::iter(some).map(|plan| {
                let plan = Plan { address, ..plan };
                self.courier.deliver(&label, plan, &self.session)
            });
            let ended: Vec<DeliveryResult> = running.buffered(AT_ONCE).collect().await;
            let halt = ended.iter().find_map(halted);
            results.extend(ended);
            if let Some((class, why)) = halt {
                let rest = plans
                    .by_ref()
                    .map(|plan| DeliveryResult::unsent(class, why.as_str(), plan.identifier));
                results.extend(rest);
                return results;
            }
            round = ROUND;
        }
    }
}

/// Why nothing more makes sense after a request that ended so.
pub(super) fn halted(result: &DeliveryResult) -> Option<Halt> {
    let is_for_all = match result.class {
        Class::Misconfigured | Class::Unavailable => true,
        Class::Rejected => matches!(result.status, Some(300..=399 | 401 | 403)),
        Class::Sent | Class::Skipped => false,
    };
    is_for_all.then(|| {
        (
            result.class,
            truncate(result.detail.as_deref().unwrap_or_default(), 500),
        )
    })
}
