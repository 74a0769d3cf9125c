//! One service that holds entities: what it holds is asked, compared with the record, and made to agree with it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value};

use super::{
    AT_ONCE, Scene,
    records::Record,
    table::{Fate, Table},
};
use crate::{
    comparison::{
        portrait::{Finding, Portrait, Times},
        teller::times,
    },
    delivery::{courier::Courier, plan::Plan, result::DeliveryResult, session::Session},
    destinations::{
        Context, Target,
        register::{Entity, Register},
    },
    event::{Action, Event},
    gitlab::{
        deployment::{Deployment, Meaning},
        slug,
    },
    problem::Unmade,
    receipts::receipt::Receipt,
    report::class::Class,
    text::truncate,
    variables::{Unrendered, Values},
};

/// Blueprint and identifier.
pub type Place = (String, String);
/// What is held, by its place: the properties.
pub type Held = BTreeMap<Place, Map<String, Value>>;
/// Why nothing more is asked or written.
type Halt = (Class, String);

/// A service, and what was read for it.
pub struct Lane<'a> {
    /// Where it goes.
    pub target: Target,
    pub(super) table: Table,
    register: &'static Register,
    found: Unrendered,
    courier: &'a Courier<'a>,
    session: Session,
    /// A report of any deployment: what is asked and written takes its credentials and settings from it.
    sample: Option<(Event, Values)>,
    compared: Vec<Compared<'a>>,
}

/// A record, and where the service holds it.
struct Compared<'a> {
    record: &'a Record,
    deployment: &'a Deployment,
    action: Action,
    is_unstarted: bool,
    /// Where its report would put it.
    derived: Place,
    /// Where it is, or belongs.
    place: Option<Place>,
}

/// What is to be written.
struct Intent<'a> {
    compared: &'a Compared<'a>,
    place: Place,
    /// None: it is missing.
    properties: Option<Map<String, Value>>,
    why: String,
}

impl<'a> Lane<'a> {
    /// Whether a target writes an entity that could be compared.
    pub fn fits(target: &Target) -> bool {
        let writes = target.operation.entity.is_some() && !target.operation.is_read;
        writes && target.destination.register.is_some()
    }

    /// The lane of a target; none where it holds no entity that could be compared.
    pub fn new(scene: &Scene<'_>, target: Target, courier: &'a Courier<'a>) -> Option<Self> {
        let found = scene.setup.find(target.destination);
        let register = target.destination.register?;
        let is_told = Self::fits(&target) && target.operation.tells(|name| found.is_given(name));
        is_told.then(|| Self {
            target,
            table: Table::default(),
            register,
            found,
            courier,
            session: Session::shared(),
            sample: None,
            compared: Vec::new(),
        })
    }

    /// What the report of a deployment would be, were it told under `id`.
    fn entity(
        &self,
        scene: &Scene<'_>,
        of: (&Record, &Deployment),
        said: (&Action, Times),
        (id, branch): (Option<&str>, Option<&str>),
    ) -> Result<(Entity, Event, Values), Unmade> {
        let (record, deployment) = of;
        let (event, names) = scene.tell((record, branch), deployment, said, id);
        let event = event?;
        let values = self.found.render(&names);
        let entity = (self.register.entity)(&context(&event, &values))?;
        Ok((entity, event, values))
    }

    /// Finds out where each record belongs, and asks what is there under the ids that reports derive.
    pub async fn begin(&mut self, scene: &Scene<'a>) -> Held {
        let mut wrong: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
        for record in scene.records {
            let (deployment, action, is_unstarted) = match record.meaning(scene.now) {
                Meaning::Happened(deployment, action) => (deployment, action, false),
                Meaning::Unstarted(deployment, action) => (deployment, action, true),
                Meaning::Unclear(why) if record.is_wanted => {
                    self.table.add(record.name(scene), Fate::LeftAlone(why));
                    continue;
                }
                Meaning::Nothing | Meaning::Unclear(_) => continue,
            };
            match self.entity(
                scene,
                (record, deployment),
                (&action, times(deployment, scene.now)),
                ANY,
            ) {
                Ok((entity, event, values)) => {
                    self.sample.get_or_insert((event, values));
                    self.compared.push(Compared {
                        record,
                        deployment,
                        action,
                        is_unstarted,
                        derived: (entity.blueprint, entity.identifier),
                        place: None,
                    });
                }
                Err(_) if !record.is_wanted => {}
                Err(why) => {
                    let is_wrong = matches!(why, Unmade::Wrong(_));
                    wrong
                        .entry((is_wrong, why.to_string()))
                        .or_default()
                        .push(record.name(scene));
                }
            }
        }
        for ((is_wrong, why), names) in wrong {
            let more = names.len() - 1;
            let name = match more {
                0 => names[0].clone(),
                more => format!("{} and {more} more", names[0]),
            };
            let fate = if is_wrong {
                Fate::Failed(Class::Misconfigured, why)
            } else {
                Fate::LeftAlone(why)
            };
            self.table.add(name, fate);
        }
        let wanted = self.compared.iter().filter(|one| one.record.is_wanted);
        let places: BTreeSet<Place> = wanted.map(|one| one.derived.clone()).collect();
        self.ask(places).await
    }

    /// The records of which no entity is held under the derived id.
    pub fn missing<'s>(&'s self, held: &'s Held) -> impl Iterator<Item = &'a Record> + 's {
        let missing = self
            .compared
            .iter()
            .filter(|one| one.record.is_wanted && !held.contains_key(&one.derived));
        missing.map(|one| one.record)
    }

    /// Compares, and writes what differs. `receipts` are those that tell of each record whose entity was not held.
    pub async fn finish(&mut self, scene: &Scene<'a>, mut held: Held, receipts: &BTreeMap<usize, Vec<Receipt>>) {
        if self.table.halt.is_some() {
            return;
        }
        self.find(scene, &mut held, receipts).await;
        if self.table.halt.is_some() {
            return;
        }
        let compared = std::mem::take(&mut self.compared);
        let mut intents = Vec::new();
        for (one, fate) in contested(&compared) {
            if let Some(fate) = fate {
                self.table.add(one.record.name_at(scene, one.place.as_ref()), fate);
                continue;
            }
            let Some(place) = &one.place else { continue };
            match self.compare(scene, one, held.get(place)) {
                Ok(Some(intent)) => intents.push(intent),
                Ok(None) => {}
                Err(fate) => self.table.add(one.record.name_at(scene, Some(place)), fate),
            }
        }
        if scene.is_dry {
            for intent in intents {
                let name = intent.compared.record.name_at(scene, Some(&intent.place));
                self.table.add(name, Fate::Shown(intent.why));
            }
            return;
        }
        self.write(scene, intents).await;
    }

    /// Where the entity of each record is that is not held under its derived id.
    async fn find(&mut self, scene: &Scene<'a>, held: &mut Held, receipts: &BTreeMap<usize, Vec<Receipt>>) {
        let mut open: Vec<(usize, Vec<Place>)> = Vec::new();
        let mut asked: BTreeSet<Place> = BTreeSet::new();
        for index in 0..self.compared.len() {
            let one = &self.compared[index];
            if !one.record.is_wanted || held.contains_key(&one.derived) {
                self.compared[index].place = Some(one.derived.clone());
                continue;
            }
            let of_one = receipts.get(&one.record.number).map(Vec::as_slice).unwrap_or_default();
            let name = self.target.destination.name;
            let places = match named(of_one, name, &one.derived.0) {
                Some(place) => vec![place],
                None => self.others(scene, one),
            };
            asked.extend(places.iter().filter(|place| !held.contains_key(*place)).cloned());
            open.push((index, places));
        }
        held.extend(self.ask(asked).await);
        for (index, places) in open {
            let one = &self.compared[index];
            let there = places.iter().find(|place| held.contains_key(*place));
            // What a receipt names is where it belongs, be it there or not.
            let is_named = places.len() == 1 && places[0] != one.derived && there.is_none() && {
                let of_one = receipts.get(&one.record.number).map(Vec::as_slice).unwrap_or_default();
                named(of_one, self.target.destination.name, &one.derived.0).is_some()
            };
            let place = match there {
                Some(place) => place.clone(),
                None if is_named => places[0].clone(),
                None => one.derived.clone(),
            };
            self.compared[index].place = Some(place);
        }
    }

    /// Where else the entity of a record may be, by the ids under which other reports of it would have put it.
    fn others(&self, scene: &Scene<'a>, one: &Compared<'a>) -> Vec<Place> {
        let said = (&one.action, times(one.deployment, scene.now));
        let of = (one.record, one.deployment);
        let service = self
            .entity(scene, of, said, ANY)
            .ok()
            .and_then(|(_, event, _)| event.service);
        let base = crate::gitlab::outcome::whole(&one.record.job).to_owned();
        let project = &scene.projects[one.record.project].0;
        let pipeline = one.record.pipeline.to_string();
        let parts = [Some(base), service, None];
        let parts = parts
            .iter()
            .enumerate()
            .filter(|(place, part)| *place != 1 || part.is_some());
        let mut places: Vec<Place> = Vec::new();
        for (_, part) in parts {
            for environment in [Some(one.deployment.environment_slug.as_str()), None] {
                let id = slug::id(&project.slug, &pipeline, environment, part.as_deref());
                let Ok((entity, ..)) = self.entity(scene, of, said, (Some(&id), None)) else {
                    continue;
                };
                let place = (entity.blueprint, entity.identifier);
                if place != one.derived && !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places
    }

    /// What has to be written of a record, if anything.
    ///
    /// # Errors
    /// What comes of it where nothing is written.
    fn compare<'c>(
        &self,
        scene: &Scene<'a>,
        one: &'c Compared<'a>,
        held: Option<&Map<String, Value>>,
    ) -> Result<Option<Intent<'c>>, Fate>
    where
        'a: 'c,
    {
        let Some(place) = one.place.clone() else {
            return Ok(None);
        };
        let of = (one.record, one.deployment);
        let moment = times(one.deployment, scene.now);
        let Some(held) = held else {
            if one.is_unstarted {
                return Ok(None);
            }
            if let Some(why) = scene.leaves_out(&one.action) {
                return Err(Fate::LeftAlone(why));
            }
            return Ok(Some(Intent {
                compared: one,
                place,
                properties: None,
                why: format!("it was missing; {}", one.action),
            }));
        };
        let portrait = Portrait::new(&one.action, moment, |action, moment| {
            let (entity, ..) = self.entity(scene, of, (action, moment), ANY)?;
            Ok(entity.properties().clone())
        });
        let portrait = portrait.map_err(|why| Fate::Failed(Class::Misconfigured, why.to_string()))?;
        let finding = if one.is_unstarted {
            portrait.compare_unstarted(held)
        } else {
            portrait.compare(held)
        };
        match finding {
            Finding::Agrees => Err(Fate::Agreed),
            Finding::Stays(why) => Err(Fate::LeftAlone(why)),
            Finding::Differs(..) if let Some(why) = scene.leaves_out(&one.action) => Err(Fate::LeftAlone(why)),
            Finding::Differs(properties, why) => Ok(Some(Intent {
                compared: one,
                place,
                properties: Some(properties),
                why,
            })),
        }
    }

    /// Writes, batch by batch; of each the record is asked once more before.
    async fn write(&mut self, scene: &Scene<'a>, intents: Vec<Intent<'_>>) {
        let mut batches: BTreeMap<(usize, &str), Vec<Intent>> = BTreeMap::new();
        for intent in intents {
            let record = intent.compared.record;
            let batch = batches
                .entry((record.project, record.environment.as_str()))
                .or_default();
            batch.push(intent);
        }
        let mut left: usize = batches.values().map(Vec::len).sum();
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
        let since = since.unwrap_or(std::time::SystemTime::UNIX_EPOCH);
        let now = match scene.recorder.to(gitlab, environment, since).await {
            Ok(now) => now,
            Err(untold) => {
                return Err((
                    untold.class,
                    format!("the record could not be asked once more: {}", untold.why),
                ));
            }
        };
        let mut missing: BTreeMap<String, Vec<(Entity, Intent)>> = BTreeMap::new();
        let mut amended = Vec::new();
        for intent in batch {
            let one = intent.compared;
            if !one.record.is_still(&now, one.deployment, &one.action, scene.now) {
                let why = "GitLab's record has changed meanwhile: the next run has it".to_owned();
                self.table
                    .add(one.record.name_at(scene, Some(&intent.place)), Fate::LeftAlone(why));
                continue;
            }
            match &intent.properties {
                Some(_) => amended.push(intent),
                None => {
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
                        Err(why) => {
                            let fate = Fate::Failed(Class::Misconfigured, why.to_string());
                            self.table.add(one.record.name_at(scene, Some(&intent.place)), fate);
                        }
                    }
                }
            }
        }
        self.create(scene, missing).await?;
        self.amend(scene, amended).await
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
            while !entities.is_empty() {
                let rest = entities.split_off(entities.len().min(self.register.most_created));
                let (bodies, intents): (Vec<Entity>, Vec<Intent>) = entities.into_iter().unzip();
                match (self.register.create)(&context, &blueprint, &bodies) {
                    Ok(plan) => {
                        work.push(plan);
                        chunks.push(intents);
                    }
                    Err(why) => {
                        for intent in intents {
                            let fate = Fate::Failed(Class::Misconfigured, why.to_string());
                            let name = intent.compared.record.name_at(scene, Some(&intent.place));
                            self.table.add(name, fate);
                        }
                    }
                }
                entities = rest;
            }
        }
        let results = self.deliver(work).await;
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
                        let is_passing = one.status.is_some_and(crate::delivery::courier::is_passing);
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
                let name = intent.compared.record.name_at(scene, Some(&intent.place));
                self.table.add(name, fate);
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
                    let name = intent.compared.record.name_at(scene, Some(&intent.place));
                    self.table.add(name, fate);
                }
            }
        }
        let mut halt = None;
        for (intent, result) in intents.into_iter().zip(self.deliver(work).await) {
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
            let name = intent.compared.record.name_at(scene, Some(&intent.place));
            self.table.add(name, fate);
            halt = halt.or(halted(&result).filter(|_| is_failure));
        }
        self.sample = Some((event, values));
        halt.map_or(Ok(()), Err)
    }

    /// Asks what is held at these places. What can't be asked ends the lane.
    async fn ask(&mut self, places: BTreeSet<Place>) -> Held {
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
                        of.push(blueprint);
                    }
                    Err(why) => self.table.halt = Some((Class::Misconfigured, why.to_string())),
                }
            }
        }
        for (blueprint, result) in of.into_iter().zip(self.deliver(plans).await) {
            if result.class != Class::Sent {
                let why = format!("what it holds can't be read: {}", result.detail.unwrap_or_default());
                self.table.halt.get_or_insert((result.class, why));
                continue;
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

    /// Carries out plans, several at a time; once one shows that the others would fail likewise, the rest are not begun.
    async fn deliver(&self, plans: Vec<Plan>) -> Vec<DeliveryResult> {
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

/// So many plans are carried out before it is looked whether it makes sense to go on.
const ROUND: usize = 4 * AT_ONCE;
/// Under its own id, and without what is only known of merge requests.
const ANY: (Option<&str>, Option<&str>) = (None, None);
/// So many entities are written after the record was asked once more.
const BATCH: usize = 60;

/// What a register is given.
fn context<'c>(event: &'c Event, values: &'c Values) -> Context<'c> {
    Context {
        operation: "upsert",
        event,
        values,
        is_replay: false,
        in_doubt_since: None,
    }
}

/// Why nothing more makes sense after a request that ended so.
fn halted(result: &DeliveryResult) -> Option<Halt> {
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

/// Where the receipts say that an entity of this destination was put; `blueprint` where they don't name one.
fn named(receipts: &[Receipt], destination: &str, blueprint: &str) -> Option<Place> {
    receipts.iter().find_map(|receipt| {
        let entries: Vec<_> = receipt.entries().collect();
        let entry = entries
            .into_iter()
            .rev()
            .find(|entry| entry.destination == destination && entry.names_entity())?;
        let blueprint = entry.blueprint.clone().unwrap_or_else(|| blueprint.to_owned());
        Some((blueprint, entry.identifier.clone()?))
    })
}

/// Those that are compared, and what comes of those that lead to the same entity as others.
fn contested<'c, 'a>(compared: &'c [Compared<'a>]) -> Vec<(&'c Compared<'a>, Option<Fate>)> {
    let mut by_place: BTreeMap<&Place, Vec<&Compared>> = BTreeMap::new();
    for one in compared {
        let place = one.place.as_ref().unwrap_or(&one.derived);
        by_place.entry(place).or_default().push(one);
    }
    let mut judged = Vec::new();
    for of_one in by_place.into_values() {
        let newest = of_one.iter().max_by_key(|one| one.age()).copied();
        let Some(newest) = newest else { continue };
        let is_of_newest = |one: &Compared| {
            (one.record.project, one.record.pipeline) == (newest.record.project, newest.record.pipeline)
        };
        let several = of_one.iter().filter(|one| is_of_newest(one)).count() > 1;
        for one in of_one {
            if !one.record.is_wanted {
                continue;
            }
            let fate = if !is_of_newest(one) {
                Some(Fate::LeftAlone(format!(
                    "a later pipeline, {}, has the same entity",
                    newest.record.pipeline
                )))
            } else if several {
                let why =
                    "several jobs or environments of this pipeline lead to this entity, so nobody can tell whose it is";
                Some(Fate::LeftAlone(why.to_owned()))
            } else {
                None
            };
            judged.push((one, fate));
        }
    }
    judged
}

impl Compared<'_> {
    /// What says which of several pipelines is the newest: when it began to deploy.
    fn age(&self) -> (Option<std::time::SystemTime>, u64) {
        let start = self
            .deployment
            .made_by
            .as_ref()
            .and_then(|by| by.job.started_at.as_deref());
        (start.and_then(crate::time::parse), self.deployment.id)
    }
}
