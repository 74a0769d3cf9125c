//! What differs, written: of each the record is asked once more before.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{Compared, Halt, Intent, Lane, Place, asking::halted, context};
use crate::{
    commands::reconcile::{
        Scene,
        records::{Record, records},
        table::Fate,
    },
    comparison::teller::times,
    delivery::courier::is_passing,
    destinations::register::Entity,
    gitlab::deployment::Meaning,
    report::class::Class,
    text::grouped,
};

/// A long run says so often how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// So many entities are written after the record was asked once more.
const BATCH: usize = 60;

impl<'a> Lane<'a> {
    /// Writes, batch by batch; of each the record is asked once more before.
    pub(super) async fn write(&mut self, scene: &Scene<'a>, intents: Vec<Intent<'_>>) {
        let mut batches: BTreeMap<(usize, &str), Vec<Intent>> = BTreeMap::new();
        for intent in intents {
            let record = intent.compared.record;
            let batch = batches
                .entry((record.project, record.environment.as_str()))
                .or_default();
            batch.push(intent);
        }
        let total: usize = batches.values().map(Vec::len).sum();
        let mut left = total;
        let mut told = Instant::now();
        for (place, mut batch) in batches {
            // The newest first: of a long history they matter most.
            batch.sort_by_key(|intent| std::cmp::Reverse(intent.compared.deployment.id));
            while !batch.is_empty() {
                let rest = batch.split_off(batch.len().min(BATCH));
                left -= batch.len();
                if let Err((class, why)) = self.write_batch(scene, place, batch).await {
                    let more = format!("{left} more were not written: {why}");
                    self.table.halt = Some((class, if left > 0 { more } else { why }));
                    return;
                }
                batch = rest;
                if told.elapsed() > TELL_EVERY && left > 0 {
                    told = Instant::now();
                    let done = grouped((total - left) as u64);
                    let line = format!("  {:<18} {done} of {} done", self.target.label(), grouped(total as u64));
                    scene.setup.console.info(&line);
                }
            }
        }
    }

    async fn write_batch(
        &mut self,
        scene: &Scene<'a>,
        (project, environment): (usize, &str),
        batch: Vec<Intent<'_>>,
    ) -> Result<(), Halt> {
        let gitlab = &scene.projects[project].1;
        let since = batch.iter().map(|intent| intent.compared.record.begins()).min();
        let first = batch
            .iter()
            .filter_map(|intent| intent.compared.record.attempts.first())
            .map(|one| one.id)
            .min();
        let since = (first.unwrap_or_default(), since.unwrap_or(SystemTime::UNIX_EPOCH));
        let now = match scene.recorder.to(gitlab, environment, since).await {
            Ok(now) => now,
            Err(untold) => {
                let why = format!("the record could not be asked once more: {}", untold.why);
                for intent in &batch {
                    self.tell(scene, intent, Fate::Failed(untold.class, why.clone()));
                }
                return Err((untold.class, why));
            }
        };
        let mut missing: BTreeMap<String, Vec<(Entity, Intent)>> = BTreeMap::new();
        let mut amended = Vec::new();
        for intent in batch {
            let one = intent.compared;
            if !one.record.is_still(&now, one.deployment, &one.action, scene.now) {
                let why = "GitLab's record has changed meanwhile: the next run has it".to_owned();
                self.tell(scene, &intent, Fate::LeftAlone(why));
                continue;
            }
            if intent.properties.is_some() {
                amended.push(intent);
                continue;
            }
            let said = (&one.action, times(one.deployment, scene.now));
            let branch = scene.source_branch(one.record, one.deployment).await;
            let of = (one.record, one.deployment);
            match self.entity(scene, of, said, (None, branch.as_deref())) {
                Ok((entity, ..)) => {
                    let (blueprint, identifier) = intent.place.clone();
                    let entity = Entity {
                        blueprint: blueprint.clone(),
                        identifier,
                        body: entity.body,
                    };
                    missing.entry(blueprint).or_default().push((entity, intent));
                }
                Err(why) => self.tell(scene, &intent, Fate::Failed(Class::Misconfigured, why.to_string())),
            }
        }
        self.create(scene, missing).await?;
        self.amend(scene, amended).await
    }

    /// Of what is to be written, what no other job of its pipeline may own, wherever and whenever that deployed: it may have
    /// been before the window. Of the rest it is told.
    ///
    /// # Errors
    /// The record can't be asked.
    pub(super) async fn uncontested<'c>(
        &mut self,
        scene: &Scene<'a>,
        compared: &[Compared<'a>],
        intents: Vec<Intent<'c>>,
    ) -> Result<Vec<Intent<'c>>, Halt> {
        let mut begins: BTreeMap<usize, SystemTime> = BTreeMap::new();
        for record in intents
            .iter()
            .filter(|one| one.compared.is_shared)
            .map(|one| one.compared.record)
        {
            let first = begins.entry(record.project).or_insert_with(|| record.begins());
            *first = record.begins().min(*first);
        }
        let mut others: Vec<Record> = Vec::new();
        for (project, since) in begins {
            let begun = scene.recorder.since(&scene.projects[project].1, since).await;
            let begun = begun.map_err(|untold| (untold.class, untold.why))?;
            others.extend(records(project, begun, |_, _, job| scene.jobs.fit(job)).0);
        }
        // What is compared in this run has its place.
        let is_elsewhere = |other: &Record, place: &Place| {
            let mut same = compared
                .iter()
                .filter(|one| one.record.is_wanted && one.record.is_that_of(other));
            same.any(|one| one.place.as_ref().is_some_and(|own| own != place))
        };
        let mut free = Vec::new();
        for intent in intents {
            let rivals = others.iter().filter(|other| !is_elsewhere(other, &intent.place));
            if intent.compared.is_shared && self.is_contested(scene, &intent, rivals) {
                self.tell(scene, &intent, intent.compared.contested());
            } else {
                free.push(intent);
            }
        }
        Ok(free)
    }

    /// Whether another job of the pipeline, one of `others`, leads to the same entity.
    fn is_contested<'r>(
        &self,
        scene: &Scene<'_>,
        intent: &Intent<'_>,
        others: impl Iterator<Item = &'r Record>,
    ) -> bool {
        let one = intent.compared.record;
        let own = self.places(scene, one, intent.compared.deployment, &intent.compared.action);
        // Where a receipt of the environment leads, whoever deploys there does.
        let is_of_environment = !own.contains(&intent.place);
        let mut others =
            others.filter(|other| other.is_wanted && other.is_of_pipeline_of(one) && !other.is_that_of(one));
        others.any(|other| match other.meaning(scene.now) {
            Meaning::Happened(deployment, action) | Meaning::Unstarted(deployment, action) => {
                (is_of_environment && other.environment == one.environment)
                    || self.places(scene, other, deployment, &action).contains(&intent.place)
            }
            Meaning::Nothing | Meaning::Unclear(_) => false,
        })
    }

    async fn create(
        &mut self,
        scene: &Scene<'a>,
        missing: BTreeMap<String, Vec<(Entity, Intent<'_>)>>,
    ) -> Result<(), Halt> {
        let Some((event, values)) = self.sample.take() else {
            return Ok(());
        };
        let context = context(&event, &values);
        let mut work = Vec::new();
        let mut chunks = Vec::new();
        for (blueprint, mut entities) in missing {
            let mut most = self.register.most_created;
            while !entities.is_empty() {
                let rest = entities.split_off(entities.len().min(most));
                let (bodies, intents): (Vec<Entity>, Vec<Intent>) = entities.into_iter().unzip();
                match (self.register.create)(&context, &blueprint, &bodies) {
                    Ok(plan) => {
                        work.push(plan);
                        chunks.push(intents);
                    }
                    // Together they may be more than one request takes: from here on each goes alone.
                    Err(_) if bodies.len() > 1 => {
                        most = 1;
                        entities = bodies.into_iter().zip(intents).chain(rest).collect();
                        continue;
                    }
                    Err(why) => {
                        for intent in &intents {
                            self.tell(scene, intent, Fate::Failed(Class::Misconfigured, why.to_string()));
                        }
                    }
                }
                entities = rest;
            }
        }
        self.under_way = chunks.iter().map(Vec::len).sum();
        let results = self.deliver(work).await;
        self.under_way = 0;
        let mut halt = None;
        for (intents, result) in chunks.into_iter().zip(results) {
            let class = result.class;
            let detail = result.detail.clone().unwrap_or_default();
            for (index, intent) in intents.into_iter().enumerate() {
                let refused = result.refused.iter().find(|one| one.index == index);
                let fate = match (class, refused) {
                    (Class::Sent, None) => Fate::Repaired(intent.why.clone()),
                    (Class::Sent, Some(one)) if one.status == Some(409) => {
                        Fate::LeftAlone("it appeared meanwhile, and stays as it is".to_owned())
                    }
                    (Class::Sent, Some(one)) => {
                        let is_passing = one.status.is_some_and(is_passing);
                        let class = if is_passing {
                            Class::Unavailable
                        } else {
                            Class::Rejected
                        };
                        Fate::Failed(class, one.why.clone())
                    }
                    (Class::Skipped, _) => Fate::LeftAlone(detail.clone()),
                    (class, _) => Fate::Failed(class, detail.clone()),
                };
                self.tell(scene, &intent, fate);
            }
            halt = halt.or(halted(&result));
        }
        self.sample = Some((event, values));
        halt.map_or(Ok(()), Err)
    }

    async fn amend(&mut self, scene: &Scene<'a>, amended: Vec<Intent<'_>>) -> Result<(), Halt> {
        let Some((event, values)) = self.sample.take() else {
            return Ok(());
        };
        let context = context(&event, &values);
        let mut work = Vec::new();
        let mut intents = Vec::new();
        for intent in amended {
            let (blueprint, identifier) = &intent.place;
            let properties = intent.properties.clone().unwrap_or_default();
            match (self.register.amend)(&context, blueprint, identifier, &properties) {
                Ok(plan) => {
                    work.push(plan);
                    intents.push(intent);
                }
                Err(why) => {
                    let fate = Fate::Failed(Class::Misconfigured, why.to_string());
                    self.tell(scene, &intent, fate);
                }
            }
        }
        let mut halt = None;
        self.under_way = intents.len();
        let results = self.deliver(work).await;
        self.under_way = 0;
        for (intent, result) in intents.into_iter().zip(results) {
            let detail = result.detail.clone().unwrap_or_default();
            let fate = match result.class {
                Class::Sent => Fate::Repaired(intent.why.clone()),
                Class::Skipped => Fate::LeftAlone(detail),
                _ if result.status == Some(404) => {
                    Fate::LeftAlone("it is gone meanwhile: the next run creates it anew".to_owned())
                }
                class => Fate::Failed(class, detail),
            };
            let is_failure = matches!(fate, Fate::Failed(..));
            self.tell(scene, &intent, fate);
            halt = halt.or(halted(&result).filter(|_| is_failure));
        }
        self.sample = Some((event, values));
        halt.map_or(Ok(()), Err)
    }

    fn tell(&mut self, scene: &Scene<'_>, intent: &Intent<'_>, fate: Fate) {
        let name = intent.compared.record.name_at(scene, Some(&intent.place));
        self.table.add(name, fate);
    }
}
