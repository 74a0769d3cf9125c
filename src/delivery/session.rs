//! What all requests to one service share in a run: what logins have yielded, and when the service wants to be left alone.
//! Lanes to one service that run side by side agree by it.

use std::{cell::Cell, collections::HashMap, time::Duration};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use crate::secret::Secret;

/// Lanes that were all told to wait come back spread over this time.
const SPREAD: Duration = Duration::from_millis(500);
/// However short a service says that it wants to be left alone.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// What the requests to one service share in a run.
#[derive(Default)]
pub struct Session {
    /// Whoever logs in holds this meanwhile: the others wait, and find what it has learned.
    logins: Mutex<Logins>,
    /// Whether several lanes use it at the same time.
    is_shared: bool,
    paused_until: Cell<Option<Instant>>,
    successes: Cell<u64>,
}

/// What logins have yielded.
#[derive(Default)]
pub struct Logins {
    learned: HashMap<&'static str, Secret>,
    has_renewed: bool,
    /// How many successes there had been at the last renewal.
    successes: u64,
}

impl Session {
    /// A session of several lanes.
    pub fn shared() -> Self {
        Self {
            is_shared: true,
            ..Self::default()
        }
    }

    /// Whether several lanes use it at the same time.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// What logins have yielded; nobody else logs in while this is held.
    pub async fn logins(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().await
    }

    /// Whether a request may be sent once more after the service has refused `used`: another lane has learned a newer one,
    /// or it is time to learn one. A credential is not renewed again that was never accepted.
    pub async fn renews(&self, name: &str, used: Option<&Secret>) -> bool {
        let mut logins = self.logins.lock().await;
        if logins.learned.get(name) != used {
            return true;
        }
        if logins.has_renewed && self.successes.get() == logins.successes {
            return false;
        }
        logins.has_renewed = true;
        logins.successes = self.successes.get();
        logins.learned.remove(name);
        true
    }

    /// The service has accepted a request.
    pub fn succeeded(&self) {
        self.successes.set(self.successes.get() + 1);
    }

    /// How many requests it has accepted.
    pub fn successes(&self) -> u64 {
        self.successes.get()
    }

    /// Nothing is sent for `pause` from `now` on, by no lane.
    pub fn pause(&self, now: Instant, pause: Duration) {
        let until = now + pause.max(SHORTEST_PAUSE);
        if self.paused_until.get().is_none_or(|earlier| earlier < until) {
            self.paused_until.set(Some(until));
        }
    }

    /// When a lane may send that wants to at `now`, if not at once. Each lane gets a moment of its own.
    pub fn may_send_at(&self, now: Instant) -> Option<Instant> {
        let until = self.paused_until.get().filter(|until| *until > now)?;
        Some(until + SPREAD.mul_f64(fastrand::f64()))
    }
}

impl Logins {
    /// What was learned under this name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.learned.get(name)
    }

    /// Takes in what a login has yielded.
    pub fn learn(&mut self, name: &'static str, secret: Secret) {
        self.learned.insert(name, secret);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn a_credential_is_renewed_once_for_all_lanes_and_again_only_if_it_was_of_use() {
        block_on(async {
            let session = Session::shared();
            let secret = |value: &str| Secret::new(value, "TOKEN");
            let learn = async |value: &str| session.logins().await.learn("TOKEN", secret(value));
            learn("first").await;
            assert!(
                session.renews("TOKEN", Some(&secret("first"))).await,
                "it may have expired"
            );
            learn("second").await;
            assert!(
                session.renews("TOKEN", Some(&secret("first"))).await,
                "another lane has renewed it"
            );
            assert!(
                !session.renews("TOKEN", Some(&secret("second"))).await,
                "it was never accepted"
            );
            session.succeeded();
            assert!(session.renews("TOKEN", Some(&secret("second"))).await);
        });
    }

    #[test]
    fn the_longest_pause_counts_and_lanes_come_back_spread() {
        let session = Session::shared();
        let now = Instant::now();
        assert_eq!(session.may_send_at(now), None);
        session.pause(now, Duration::from_secs(9));
        session.pause(now, Duration::ZERO);
        let moments: Vec<Instant> = (0..20).filter_map(|_| session.may_send_at(now)).collect();
        let end = now + Duration::from_secs(9);
        assert!(moments.iter().all(|at| (end..=end + SPREAD).contains(at)));
        assert!(moments.iter().any(|at| *at != moments[0]));
        assert_eq!(session.may_send_at(end), None);
    }
}
