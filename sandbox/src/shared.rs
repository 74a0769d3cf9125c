//! What a sandbox holds, shared by the thread that serves and by those that hold the `Sandbox`.

use std::sync::{Mutex, MutexGuard};

use crate::faults::Faults;
use crate::journal::Journal;
use crate::options::Options;
use crate::services::Service;
use crate::stand_in::StandIn;

/// Everything that a sandbox is, apart from its thread.
pub(crate) struct Shared {
    pub(crate) options: Options,
    stand_ins: Mutex<StandIns>,
    journal: Mutex<Journal>,
    faults: Mutex<Faults>,
}

/// The stand-in of each service.
pub(crate) struct StandIns([Box<dyn StandIn>; Service::ALL.len()]);

impl StandIns {
    fn start(options: &Options) -> Self {
        Self(Service::ALL.map(|service| (service.declaration().start)(options)))
    }

    pub(crate) fn of(&mut self, service: Service) -> &mut dyn StandIn {
        self.0[service as usize].as_mut()
    }
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        let stand_ins = Mutex::new(StandIns::start(&options));
        Self {
            options,
            stand_ins,
            journal: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    pub(crate) fn stand_ins(&self) -> MutexGuard<'_, StandIns> {
        self.stand_ins.lock().expect("no stand-in panics")
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("the journal doesn't panic")
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("the faults don't panic")
    }

    pub(crate) fn reset(&self) {
        *self.stand_ins() = StandIns::start(&self.options);
        self.journal().clear();
        self.faults().clear();
    }

    /// Every credential and token that no page may show.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let variables = Service::ALL.iter().flat_map(|service| service.declaration().variables);
        let variables = variables.filter(|variable| variable.secret);
        let mut secrets = variables
            .map(|variable| (variable.value)(&self.options.credentials).to_owned())
            .collect::<Vec<_>>();
        let mut stand_ins = self.stand_ins();
        for service in Service::ALL {
            secrets.extend(stand_ins.of(service).secrets());
        }
        secrets
    }
}
