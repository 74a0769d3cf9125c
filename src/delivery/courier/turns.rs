//! What a request owes to the others of its session: it waits where one of them was told to wait, and logs in once for all.

use std::time::SystemTime;

use tokio::time::{Instant, sleep};

use super::{InFlight, Stopped};
use crate::{
    delivery::{
        plan::{LOGIN, Login, Step},
        reply::Reply,
    },
    secret::Secret,
};

impl InFlight<'_> {
    /// Waits as long as the service wants to be left alone.
    pub(super) async fn wait_for_turn(&self) -> Result<(), Stopped> {
        while let Some(at) = self.session.may_send_at(Instant::now()) {
            if at >= self.courier.limits.deadline {
                return Err(self.out_of_time_after("the service asks to wait"));
            }
            self.within_budget(sleep(at.saturating_duration_since(Instant::now())))
                .await
                .ok_or_else(|| self.out_of_time())?;
        }
        Ok(())
    }

    /// Takes in what a reply says to all lanes: that they get through, or that the next request would be refused.
    pub(super) fn heed(&self, step: &Step, reply: &Reply) {
        // That a login yields something does not say that it will be accepted.
        if reply.is_success() && step.name != LOGIN {
            self.session.succeeded();
        }
        let remaining = self.remaining_header.and_then(|name| reply.header(name));
        if self.session.is_shared()
            && remaining.is_some_and(|remaining| remaining.trim() == "0")
            && let Some(wait) = reply.retry_after(self.reset_header, SystemTime::now())
        {
            self.session.pause(Instant::now(), wait);
        }
    }

    /// That one lane was refused for coming too often while others got through is no failed attempt: its turn comes.
    pub(super) fn allow_for_others(&mut self, step: &Step) {
        let successes = self.session.successes();
        if self.session.is_shared() && self.refused_at != Some(successes) {
            self.refused_at = Some(successes);
            self.uncount(step);
        }
    }

    /// Has what `login` yields at hand: as another request has learned it, or by a login of its own.
    pub(super) async fn learn(&mut self, login: &Login) -> Result<(), Stopped> {
        let session = self.session;
        let mut logins = session.logins().await;
        if logins.get(login.name).is_none() {
            let secret = self.log_in(login).await?;
            logins.learn(login.name, secret);
        }
        self.learned = logins.get(login.name).cloned();
        Ok(())
    }

    /// Has `login` yield its credential, and hides it from then on.
    async fn log_in(&mut self, login: &Login) -> Result<Secret, Stopped> {
        // A login is a step like any other, but that it needs no login itself.
        let is_ambiguous = self.is_ambiguous;
        let run = Box::pin(self.run(login.step(), None)).await;
        // Nor does it do anything that could count.
        self.is_ambiguous = is_ambiguous;
        let delivered = run.map_err(|Stopped(class, why)| Stopped(class, format!("the login failed: {why}")))?;
        let credential = delivered.identifier.unwrap_or_default();
        self.courier.console.redactor().hide(&credential, login.name);
        // The next one, after a refusal, has attempts of its own.
        self.counts.remove(LOGIN);
        Ok(Secret::new(&credential, login.name))
    }
}
