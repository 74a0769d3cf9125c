//! One service that holds entities: what it holds is asked, compared with the record, and made to agree with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use serde_json::{Map, Value};

mod asking;
mod writing;

use super::{
    Scene,
    records::{Receipts, Record, Says, receipts},
    table::{Fate, Table},
};
use crate::{
    comparison::{
        portrait::{Finding, Portrait, Times},
        teller::times,
    },
    delivery::{courier::Courier, session::Session},
    destinations::{
        Context, Target,
        register::{Entity, Register},
    },
    event::{Action, Event},
    gitlab::{
        deployment::{Deployment, Meaning},
        outcome, slug,
    },
    problem::Unmade,
    receipts::receipt::Entry,
    redaction::HIDDEN,
    report::class::Class,
    time,
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
    /// Places of which it can't be told what is there: what is said instead.
    untold: BTreeMap<Place, Fate>,
    /// A report of any deployment: what is asked and written takes its credentials and settings from it.
    sample: Option<(Event, Values)>,
    compared: Vec<Compared<'a>>,
    /// So many are being written.
    under_way: usize,
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
    /// Whether that is no place of this job alone: another job of the pipeline may lead there too.
    is_shared: bool,
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
    /// The lane of a target; none where it holds no entity that could be compared.
    pub fn new(scene: &Scene<'_>, target: Target, courier: &'a Courier<'a>) -> Option<Self> {
        let found = scene.setup.find(target.destination);
        let register = target.register()?;
        let is_told = target.operation.tells(|name| found.is_given(name));
        is_told.then(|| Self {
            target,
            table: Table::default(),
            register,
            found,
            courier,
            session: Session::shared(),
            untold: BTreeMap::new(),
            sample: None,
            compared: Vec::new(),
            under_way: 0,
        })
    }

    /// What came of it, after it may have been cut off.
    pub fn end(mut self, is_cut_off: bool) -> Table {
        if is_cut_off {
            let why = match self.under_way {
                0 => "it was asked to end: the next run has the rest".to_owned(),
                count => format!("it was asked to end while {count} were being written: the next run sees which were"),
            };
            self.table.halt.get_or_insert((Class::Unavailable, why));
        }
        self.table
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

    /// Compares, and writes what differs.
    pub async fn run(&mut self, scene: &Scene<'a>) {
        let held = self.begin(scene).await;
        if self.table.halt.is_some() {
            return;
        }
        let missing: Vec<&Record> = self.missing(&held).collect();
        let receipts = receipts(scene, missing, self.target.destination.name).await;
        self.finish(scene, held, &receipts).await;
    }

    /// Finds out where each record belongs, and asks what is there under the ids that reports derive.
    async fn begin(&mut self, scene: &Scene<'a>) -> Held {
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
                        is_shared: false,
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
    fn missing<'s>(&'s self, held: &'s Held) -> impl Iterator<Item = &'a Record> + 's {
        let missing = self
            .compared
            .iter()
            .filter(|one| one.record.is_wanted && !held.contains_key(&one.derived))
            .filter(|one| !self.untold.contains_key(&one.derived));
        missing.map(|one| one.record)
    }

    /// Compares, and writes what differs. `receipts` are those that tell of each record whose entity was not held.
    async fn finish(&mut self, scene: &Scene<'a>, mut held: Held, receipts: &Receipts) {
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
        let intents = match self.uncontested(scene, &compared, intents).await {
            Ok(free) => free,
            Err((class, why)) => {
                self.table.halt = Some((class, format!("the record could not be asked once more: {why}")));
                return;
            }
        };
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
    async fn find(&mut self, scene: &Scene<'a>, held: &mut Held, receipts: &Receipts) {
        let mut open: Vec<(usize, Option<Says>, Vec<Place>)> = Vec::new();
        let mut asked: BTreeSet<Place> = BTreeSet::new();
        for index in 0..self.compared.len() {
            let one = &self.compared[index];
            // Its entity may be where nobody looked: another one would be a second truth.
            if let Some(why) = receipts.unread.get(&one.record.number) {
                let why = format!("whether a receipt tells where it is can't be known now: {why}");
                self.untold
                    .insert(one.derived.clone(), Fate::Failed(Class::Unavailable, why));
            }
            let is_told = held.contains_key(&one.derived) || self.untold.contains_key(&one.derived);
            if !one.record.is_wanted || is_told {
                self.compared[index].place = Some(one.derived.clone());
                continue;
            }
            let (says, places) = match self.named(receipts, one) {
                Some((says, place)) => (Some(says), vec![place]),
                None => (None, self.others(scene, one)),
            };
            asked.extend(places.iter().filter(|place| !held.contains_key(*place)).cloned());
            open.push((index, says, places));
        }
        held.extend(self.ask(asked).await);
        for (index, says, places) in open {
            let one = &mut self.compared[index];
            let there = places.iter().find(|place| held.contains_key(*place));
            // What a receipt names is where it belongs, be it there or not.
            let place = there
                .or(places.first().filter(|_| says.is_some()))
                .unwrap_or(&one.derived);
            one.is_shared = says != Some(Says::OfJob) && *place != one.derived;
            one.place = Some(place.clone());
        }
    }

    /// Where the receipts say that the entity of a record was put.
    fn named(&self, receipts: &Receipts, one: &Compared<'_>) -> Option<(Says, Place)> {
        let mut receipts = receipts.told.get(&one.record.number)?.iter();
        receipts.find_map(|(says, receipt)| {
            let is_named = |entry: &&Entry| entry.destination == self.target.destination.name && entry.names_entity();
            let entry = receipt.entries().filter(is_named).last()?;
            let blueprint = entry.blueprint.clone().unwrap_or_else(|| one.derived.0.clone());
            let identifier = entry.identifier.clone()?;
            // What is hidden in a receipt leads nowhere.
            let is_whole = [&blueprint, &identifier].iter().all(|text| !text.contains(HIDDEN));
            is_whole.then_some((*says, (blueprint, identifier)))
        })
    }

    /// Where else the entity of a record may be, by the ids under which other reports of it would have put it.
    fn others(&self, scene: &Scene<'_>, one: &Compared<'_>) -> Vec<Place> {
        let places = self.places(scene, one.record, one.deployment, &one.action);
        places.into_iter().filter(|place| *place != one.derived).collect()
    }

    fn places(&self, scene: &Scene<'_>, record: &Record, deployment: &Deployment, action: &Action) -> Vec<Place> {
        let said = (action, times(deployment, scene.now));
        let of = (record, deployment);
        let service = self
            .entity(scene, of, said, ANY)
            .ok()
            .and_then(|(_, event, _)| event.service);
        let base = outcome::whole(&record.job).to_owned();
        let project = &scene.projects[record.project].0;
        let pipeline = record.pipeline.to_string();
        let parts = [Some(base), service, None];
        let parts = parts
            .iter()
            .enumerate()
            .filter(|(place, part)| *place != 1 || part.is_some());
        let mut places: Vec<Place> = Vec::new();
        for (_, part) in parts {
            for environment in [Some(deployment.environment_slug.as_str()), None] {
                let id = slug::id(&project.slug, &pipeline, environment, part.as_deref());
                let Ok((entity, ..)) = self.entity(scene, of, said, (Some(&id), None)) else {
                    continue;
                };
                let place = (entity.blueprint, entity.identifier);
                if !places.contains(&place) {
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
        if let Some(fate) = self.untold.get(&place) {
            return Err(fate.clone());
        }
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
        // What holds all that would be said agrees, whatever that is made of.
        let said = self.entity(scene, of, (&one.action, moment), ANY);
        let (said, ..) = said.map_err(|why| Fate::Failed(Class::Misconfigured, why.to_string()))?;
        let mut said = said.properties().iter().filter(|(_, value)| !value.is_null());
        if said.all(|(name, value)| held.get(name) == Some(value)) {
            return Err(Fate::Agreed);
        }
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
}

/// Under its own id, and without what is only known of merge requests.
const ANY: (Option<&str>, Option<&str>) = (None, None);

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
        let is_of_newest = |one: &Compared| one.record.is_of_pipeline_of(newest.record);
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
                Some(one.contested())
            } else {
                None
            };
            judged.push((one, fate));
        }
    }
    judged
}

impl Compared<'_> {
    /// What comes of it where another job of the pipeline leads to the same entity.
    fn contested(&self) -> Fate {
        Fate::LeftAlone(format!(
            "`{}` to {}: several jobs or environments of this pipeline lead to this entity, so nobody can tell whose it is",
            self.record.job, self.record.environment
        ))
    }

    /// What says which of several pipelines is the newest: when it began to deploy.
    fn age(&self) -> (Option<SystemTime>, u64) {
        let job = self.deployment.made_by.as_ref().map(|by| &by.job);
        let start = job.and_then(|job| job.started_at.as_deref());
        (start.and_then(time::parse), self.deployment.id)
    }
}
