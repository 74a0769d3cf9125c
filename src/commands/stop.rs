//! The wish that the run should end: `SIGTERM`, which a canceled job gets.

use std::{future::pending, pin::pin, time::Duration};

use futures_util::future::{Either, select};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// What is under way when the run is asked to end has this long. When a job is canceled, GitLab's runner asks every process
/// of the container to end and waits about five seconds for each (its `ContainerSigTermScriptForLinux`); then the
/// container is stopped. The rest is for what has to be written.
pub const GRACE: Duration = Duration::from_secs(4);

/// Whether somebody wants the run to end.
pub struct Stop {
    /// None where the signal does what it does to every program.
    asked: Option<watch::Receiver<bool>>,
}

impl Stop {
    /// Listens from now on, in a runtime. Where that is impossible, the signal ends the program at once, as it would have.
    pub fn listen() -> Self {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return Self::never();
        };
        let (tell, asked) = watch::channel(false);
        tokio::spawn(async move {
            terminate.recv().await;
            let _ = tell.send(true);
        });
        Self { asked: Some(asked) }
    }

    /// Does not listen.
    pub fn never() -> Self {
        Self { asked: None }
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| *asked.borrow())
    }

    /// What comes of `work`; none if somebody asks before that.
    pub async fn unless_asked<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match select(pin!(work), pin!(self.asked())).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(_) => None,
        }
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        if let Some(mut asked) = self.asked.clone()
            && asked.wait_for(|is_asked| *is_asked).await.is_ok()
        {
            return;
        }
        pending::<()>().await;
    }
}
