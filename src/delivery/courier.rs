//! Carries out plans: attempts, budget, backoff, logins, and the class that each ends in.

use std::{
    collections::HashMap,
    future::Future,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    client::{Client, SendError},
    limits::Limits,
    plan::{Delivered, Login, Plan, Refused, Repeat, Sent, Step, Verdict},
    reply::Reply,
    result::DeliveryResult,
    session::Session,
};
use crate::{
    report::{class::Class, console::Console},
    secret::Secret,
};

mod turns;

/// The first pause before a repetition is at most this long; each further one at most twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// No pause of our own choosing is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Statuses with which a service says that it did not act: the request came too slowly, too early, or too often.
const NOT_PROCESSED: &[u16] = &[408, 425, 429];

/// Carries out plans.
pub struct Courier<'a> {
    /// What sends.
    pub client: &'a Client,
    /// What prints.
    pub console: &'a Console,
    /// What it may cost.
    pub limits: Limits,
}

/// A plan on its way.
struct InFlight<'a> {
    courier: &'a Courier<'a>,
    label: &'a str,
    session: &'a Session,
    /// What a login has yielded for the requests of this plan.
    learned: Option<Secret>,
    attempts: u32,
    reset_header: Option<&'static str>,
    remaining_header: Option<&'static str>,
    /// How many requests of the session had succeeded when this was last refused for coming too often.
    refused_at: Option<u64>,
    address: Option<&'static str>,
    counts: HashMap<&'static str, Sent>,
    status: Option<u16>,
    request_id: Option<String>,
    last: u32,
    waiting_for: Option<String>,
    refused: Vec<Refused>,
    is_accepted: bool,
    /// Whether it may have been done by now, by an attempt that failed. Only an answer that tells takes it back.
    is_ambiguous: bool,
}

/// The end of a plan that was not delivered.
struct Stopped(Class, String);

impl Courier<'_> {
    /// Sends what `plan` says, and tells how it ended. `label` names it in what is printed.
    pub async fn deliver(&self, label: &str, plan: Plan, session: &Session) -> DeliveryResult {
        if plan.skip.is_some() {
            return DeliveryResult::not_sent(plan);
        }
        let begun = Instant::now();
        let mut in_flight = InFlight {
            courier: self,
            label,
            session,
            learned: None,
            attempts: plan
                .attempts
                .map_or(self.limits.attempts, |own| own.min(self.limits.attempts)),
            reset_header: plan.reset_header,
            remaining_header: plan.remaining_header,
            refused_at: None,
            address: plan.address,
            counts: HashMap::new(),
            status: None,
            request_id: None,
            last: 0,
            waiting_for: None,
            refused: Vec::new(),
            is_accepted: false,
            is_ambiguous: plan.in_doubt,
        };
        let mut completed = plan.completed;
        let mut delivered = Delivered::default();
        let mut end = None;
        for step in plan.steps {
            let variable = step.completes;
            match in_flight.run(step, plan.login.as_ref()).await {
                Ok(more) => {
                    completed.extend(variable);
                    let note = match (delivered.note, more.note) {
                        (Some(first), Some(second)) => Some(format!("{first}; {second}")),
                        (first, second) => first.or(second),
                    };
                    delivered = Delivered {
                        identifier: more.identifier.or(delivered.identifier),
                        json: more.json.or(delivered.json),
                        note,
                    };
                }
                Err(Stopped(class, why)) => {
                    end = Some((class, why));
                    break;
                }
            }
        }
        let (class, detail) = match end {
            None => (Class::Sent, delivered.note),
            Some((class, why)) => (class, Some(why)),
        };
        DeliveryResult {
            class,
            detail,
            identifier: delivered.identifier.or(plan.identifier),
            status: in_flight.status,
            attempts: in_flight.last,
            elapsed: begun.elapsed(),
            request_id: in_flight.request_id,
            json: delivered.json,
            refused: in_flight.refused,
            entities: None,
            failed_file: None,
            is_accepted: in_flight.is_accepted,
            is_ambiguous: in_flight.is_ambiguous && class.is_failure(),
            completed,
            found: plan.found,
        }
    }
}

impl InFlight<'_> {
    async fn run(&mut self, mut step: Step, login: Option<&Login>) -> Result<Delivered, Stopped> {
        loop {
            if let (Some(_), Some(login)) = (step.request.learns(), login) {
                self.learn(login).await?;
            }
            let (reply, sent) = match self.attempt(&step).await {
                Ok(reply) => reply,
                Err(next) => {
                    step = next?;
                    continue;
                }
            };
            if reply.status == 401
                && let Some(name) = step.request.learns()
                && self.session.renews(name, self.learned.as_ref()).await
            {
                self.uncount(&step);
                continue;
            }
            self.heed(&step, &reply);
            let verdict = step.read(&reply, sent);
            // What follows a success only watches over it.
            self.is_accepted |=
                reply.is_success() && step.acts() && matches!(verdict, Verdict::Then(_) | Verdict::Later(..));
            step = match verdict {
                Verdict::Delivered(delivered) => return Ok(delivered),
                Verdict::DoneButFor(refused) => {
                    self.refused = refused;
                    return Ok(Delivered::default());
                }
                Verdict::Skipped(why) => return Err(Stopped(Class::Skipped, why)),
                Verdict::Rejected(why) => return Err(Stopped(Class::Rejected, why)),
                Verdict::Misconfigured(why) => return Err(Stopped(Class::Misconfigured, why)),
                Verdict::Unavailable(why) => return Err(Stopped(Class::Unavailable, why)),
                Verdict::Undocumented(why) => {
                    self.is_ambiguous |= step.acts();
                    return Err(Stopped(Class::Rejected, why));
                }
                Verdict::InDoubt(why) => {
                    self.is_ambiguous = true;
                    return Err(Stopped(Class::Unavailable, why));
                }
                Verdict::Failed(why) => {
                    self.is_accepted = true;
                    return Err(Stopped(Class::Rejected, why));
                }
                Verdict::Then(next) => {
                    if step.settles {
                        self.is_ambiguous = false;
                    }
                    if step.is_poll {
                        self.uncount(&step);
                    }
                    next
                }
                Verdict::Later(pause, next, what) => {
                    if step.is_poll {
                        self.uncount(&step);
                    } else if next.name == step.name && self.count(&step).attempts >= self.attempts {
                        return Err(Stopped(
                            Class::Unavailable,
                            format!("{what}, after {}", times(self.attempts)),
                        ));
                    }
                    self.waiting_for = Some(what);
                    self.pause(pause).await?;
                    next
                }
                Verdict::ByStatus => self.by_status(step, &reply).await?,
            };
        }
    }

    /// One attempt at a step. Without a reply: what comes next, or the end.
    async fn attempt(&mut self, step: &Step) -> Result<(Reply, Sent), Result<Step, Stopped>> {
        self.wait_for_turn().await.map_err(Err)?;
        let count = self.counts.entry(step.name).or_default();
        count.attempts += 1;
        let sent = *count;
        self.last = sent.attempts;
        let remaining = self.remaining();
        if remaining.is_zero() {
            return Err(Err(self.out_of_time()));
        }
        let limits = self.courier.limits;
        let timeout = if step.is_patient {
            remaining
        } else {
            limits.attempt.min(remaining)
        };
        let learned = |_: &str| self.learned.clone();
        let begun = Instant::now();
        let result = self
            .courier
            .client
            .send(
                &step.request,
                self.address,
                &learned,
                (SystemTime::now(), timeout),
                step.limit,
            )
            .await;
        let label = self.label;
        let what = format!("{label} {}, attempt {} of {}", step.name, sent.attempts, self.attempts);
        let took = begun.elapsed().as_millis();
        match result {
            Ok(reply) => {
                let reply = reply.shown_by(self.courier.console.redactor());
                self.courier.console.debug(&format!(
                    "{what}: {} in {took} ms, {} bytes{}",
                    reply.status,
                    reply.body.len(),
                    if reply.is_success() {
                        String::new()
                    } else {
                        format!(": {}", reply.complaint())
                    }
                ));
                self.status = Some(reply.status);
                self.request_id = reply.request_id();
                Ok((reply, sent))
            }
            Err(error) => {
                self.courier
                    .console
                    .debug(&format!("{what}: {error:?} after {took} ms"));
                self.status = None;
                self.request_id = None;
                match error {
                    SendError::TooLong(status, limit) => {
                        self.status = Some(status);
                        let why = format!("answered {status} with more than the {limit} bytes that are read");
                        Err(self.too_long(step, status, why).await)
                    }
                    SendError::Misconfigured(why) => Err(Err(Stopped(Class::Misconfigured, why))),
                    SendError::NotSent(why) => Err(self.retry(step, false, None, &why).await),
                    SendError::MaybeSent(why) => Err(self.retry(step, true, None, &why).await),
                }
            }
        }
    }

    /// The general rule for a reply that the destination has nothing of its own to say to.
    async fn by_status(&mut self, step: Step, reply: &Reply) -> Result<Step, Stopped> {
        let complaint = reply.complaint();
        let said = if complaint.is_empty() {
            format!("answered {}", reply.status)
        } else {
            format!("answered {}: {complaint}", reply.status)
        };
        let said = match reply.gateway() {
            Some(proxy) => format!("{said} (it came through {proxy}, which may have said that itself)"),
            None => said,
        };
        match reply.status {
            status if is_passing(status) => {
                let wait = reply.retry_after(self.reset_header, SystemTime::now());
                if status == 429 {
                    self.allow_for_others(&step);
                }
                self.passing(&step, status, wait, &said).await
            }
            300..=399 => Err(Stopped(
                Class::Rejected,
                match reply.location() {
                    Some(location) => format!(
                        "answered {} and points to {location}; redirects are not followed with a credential, so give that address",
                        reply.status
                    ),
                    None => said,
                },
            )),
            401 | 403 => Err(Stopped(Class::Rejected, format!("{said}{}", credentials_hint(&step)))),
            _ => Err(Stopped(Class::Rejected, said)),
        }
    }

    /// After a status that may pass: the step that comes next, or the end.
    async fn passing(&mut self, step: &Step, status: u16, wait: Option<Duration>, said: &str) -> Result<Step, Stopped> {
        let unprocessed: &[u16] = match step.repeat {
            Repeat::Unprocessed(statuses) | Repeat::RefusedTwice(statuses) | Repeat::Asking(statuses, _) => statuses,
            Repeat::Freely | Repeat::AskingFirst(_) => &[],
        };
        let ambiguous = !NOT_PROCESSED.contains(&status) && !unprocessed.contains(&status);
        // Whatever may be repeated: behind a 5xx the service may have acted.
        self.counts.entry(step.name).or_default().ambiguous |= status >= 500;
        self.is_ambiguous |= status >= 500 && matches!(step.repeat, Repeat::RefusedTwice(_));
        self.retry(step, ambiguous, wait, said).await
    }

    /// After a reply that was too long to be read: its status is all that is known of it.
    async fn too_long(&mut self, step: &Step, status: u16, why: String) -> Result<Step, Stopped> {
        if is_passing(status) {
            return self.passing(step, status, None, &why).await;
        }
        self.is_ambiguous |= (200..300).contains(&status) && step.acts();
        Err(Stopped(
            Class::Rejected,
            format!("{why}: the address may lead somewhere else"),
        ))
    }

    /// After a failure: the step that comes next, when its pause is over, or the end.
    async fn retry(
        &mut self,
        step: &Step,
        ambiguous: bool,
        wait: Option<Duration>,
        why: &str,
    ) -> Result<Step, Stopped> {
        self.is_ambiguous |= ambiguous && step.acts();
        let next = match &step.repeat {
            Repeat::Unprocessed(_) | Repeat::RefusedTwice(_) if ambiguous => {
                return Err(Stopped(
                    Class::Unavailable,
                    format!("{why}. It may have been processed all the same, so it was not sent again"),
                ));
            }
            Repeat::Asking(_, ask) if ambiguous => ask(),
            Repeat::AskingFirst(ask) => ask(),
            _ => step.clone(),
        };
        let count = self.counts.entry(step.name).or_default();
        count.ambiguous |= ambiguous;
        let attempts = count.attempts;
        let remaining = self.remaining();
        // The last attempt may have been cut short by that: then it is the time that was missing.
        if remaining.is_zero() {
            return Err(self.out_of_time_after(why));
        }
        if attempts >= self.attempts {
            return Err(Stopped(Class::Unavailable, format!("{why}, after {}", times(attempts))));
        }
        let pause = wait.unwrap_or_else(|| backoff(attempts));
        if wait.is_some() && pause >= remaining {
            return Err(Stopped(
                Class::Unavailable,
                format!(
                    "{why}. It asks to wait {} s; {} s are left of the {} s {}",
                    pause.as_secs(),
                    remaining.as_secs(),
                    self.courier.limits.budget.as_secs_f64(),
                    self.courier.limits.budget_is
                ),
            ));
        }
        self.courier.console.debug(&format!(
            "{} {}: again in {:.1} s",
            self.label,
            step.name,
            pause.as_secs_f64()
        ));
        if self.session.is_shared() && wait.is_some() {
            // Of all lanes: the others would only be told the same.
            self.session.pause(Instant::now(), pause);
            return Ok(next);
        }
        self.within_budget(sleep(pause))
            .await
            .ok_or_else(|| self.out_of_time_after(why))?;
        Ok(next)
    }

    async fn pause(&self, pause: Duration) -> Result<(), Stopped> {
        self.within_budget(sleep(pause)).await.ok_or_else(|| self.out_of_time())
    }

    async fn within_budget<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.courier.limits.deadline, future).await.ok()
    }

    fn remaining(&self) -> Duration {
        self.courier.limits.deadline.saturating_duration_since(Instant::now())
    }

    fn out_of_time(&self) -> Stopped {
        self.out_of_time_after(self.waiting_for.as_deref().unwrap_or("not sent"))
    }

    fn out_of_time_after(&self, why: &str) -> Stopped {
        let budget = self.courier.limits.budget.as_secs_f64();
        Stopped(
            Class::Unavailable,
            format!("{why}; the {budget} s {} are over", self.courier.limits.budget_is),
        )
    }

    fn count(&self, step: &Step) -> Sent {
        self.counts.get(step.name).copied().unwrap_or_default()
    }

    fn uncount(&mut self, step: &Step) {
        if let Some(count) = self.counts.get_mut(step.name) {
            count.attempts -= 1;
        }
    }
}

/// Whether a status says that it may be another one soon.
pub fn is_passing(status: u16) -> bool {
    NOT_PROCESSED.contains(&status) || status >= 500
}

fn times(attempts: u32) -> String {
    if attempts == 1 {
        "1 attempt".to_owned()
    } else {
        format!("{attempts} attempts")
    }
}

/// Which variables hold what the service did not accept.
fn credentials_hint(step: &Step) -> String {
    let variables = step.request.secrets();
    if variables.is_empty() {
        return String::new();
    }
    format!(
        ". Check {}: expired, revoked, of another instance, or without the permission for this",
        variables.join(" and ")
    )
}

/// The pause before attempt `attempts + 1`: full jitter, so that the jobs of a whole instance don't come back at once.
pub fn backoff(attempts: u32) -> Duration {
    let ceiling = FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)))
        .min(LONGEST_PAUSE);
    ceiling.mul_f64(fastrand::f64())
}
