//! The reload protocol as a model, checked to exhaustion: P1 to P4 and the stop, over every order
//! in which messages can arrive.
//!
//! It calls the real [`Attempts`] and [`Drain`]; what it adds is the world around them: sources
//! that change, requesters, workers whose mailboxes may be late, a build that may fail, a stop at any
//! point. Liveness is told as `always` over final states.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use stateright::{Checker, Model, Property};

use super::attempts::{Attempts, Decision, ReloadRequest};
use crate::server::{Drain, DrainLimits, Phase, Step, StopUrgency};

const WORKERS: usize = 2;
const TRIGGERS: usize = 3;

/// The requester that may ask for a dry run.
const DRY: Requester = 1;

/// A requester, and what the sources held when it asked.
type Requester = usize;

/// What is known of one requester.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asking {
    NotYet,
    /// The version of the sources when it asked.
    Waits(u8),
    /// The same, but it has asked for a dry run.
    WaitsDry,
    /// The generation that it was told of, and the version that was asked for.
    Applied {
        told: u8,
        asked_for: u8,
    },
    Rejected,
    /// It asked for a dry run, which was tried.
    Tried,
}

/// Where the attempt under way is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Under {
    Nothing,
    /// It has not read its sources yet.
    Loading,
    /// It has read this version.
    Preparing(u8),
    /// `Publish` is in the ServerActor's mailbox.
    Publishing(u8),
}

/// What is in the ServerActor's mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Message {
    Publish(u8),
    Stop,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Worker {
    /// The generation of its slot.
    slot: u8,
    /// `Adopt`s and `Drain`s that it has not handled.
    mailbox: VecDeque<bool>,
    /// The generation of the request that it has in flight.
    in_flight: Option<u8>,
    is_empty: bool,
    /// Blocked in a handler for good: it handles nothing any more.
    is_dead: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    sources: u8,
    attempts: Attempts<(), Requester>,
    under: Under,
    requesters: Vec<Asking>,
    server: VecDeque<Message>,
    /// What the watch channel holds.
    published: u8,
    workers: Vec<Worker>,
    drain: Drain,
    is_end_asked: bool,
    /// A promise that was broken in a step, by its number.
    broken: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Edit,
    Ask(Requester),
    AskDry(Requester),
    Read,
    BuildFails,
    BuildDone,
    Deliver,
    Handle(usize),
    Request(usize),
    Answer(usize),
    Stop,
    Deadline,
    /// The first worker blocks in a handler: workers are alike.
    Die,
}

struct Protocol {
    /// Drain's clock stands still: only the model's own `Deadline` moves it.
    epoch: Instant,
}

const LIMITS: DrainLimits = DrainLimits {
    delay: Duration::ZERO,
    linger: Duration::ZERO,
    timeout: Duration::from_secs(1),
};

impl World {
    fn ask(&mut self, request: ReloadRequest, requester: Requester) {
        match self.attempts.ask(request, (), requester) {
            Decision::Begin(_) => self.under = Under::Loading,
            Decision::Waits => {}
            Decision::Refused(_, group) => self.answer(group.requesters[0], None),
        }
    }

    /// The ConfigActor has an answer for the attempt under way.
    fn conclude(&mut self, applied: Option<u8>) {
        let (group, next) = self.attempts.finish();
        for requester in group.requesters {
            let is_dry = self.requesters[requester] == Asking::WaitsDry;
            if is_dry != group.request.is_dry_run {
                self.broken = Some(4);
            }
            self.answer(requester, applied);
        }
        self.under = if next.is_some() {
            Under::Loading
        } else {
            Under::Nothing
        };
    }

    fn answer(&mut self, requester: Requester, applied: Option<u8>) {
        self.requesters[requester] = match (&self.requesters[requester], applied) {
            (Asking::WaitsDry, _) => Asking::Tried,
            (&Asking::Waits(asked_for), Some(told)) => Asking::Applied { told, asked_for },
            (Asking::Waits(_), None) => Asking::Rejected,
            _ => {
                self.broken = Some(4);
                return;
            }
        };
    }

    fn take(&mut self, step: Option<Step>) {
        match step {
            Some(Step::Drain) => {
                for worker in &mut self.workers {
                    worker.mailbox.push_back(true);
                }
            }
            Some(Step::Cut) => {
                for worker in &mut self.workers {
                    worker.in_flight = None;
                }
            }
            Some(Step::Delay | Step::End) | None => {}
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let worker = Worker {
            slot: 0,
            mailbox: VecDeque::new(),
            in_flight: None,
            is_empty: false,
            is_dead: false,
        };
        vec![World {
            sources: 0,
            attempts: Attempts::default(),
            under: Under::Nothing,
            requesters: vec![Asking::NotYet; TRIGGERS],
            server: VecDeque::new(),
            published: 0,
            workers: vec![worker; WORKERS],
            drain: Drain::new(),
            is_end_asked: false,
            broken: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if usize::from(world.sources) < TRIGGERS - 1 {
            actions.push(Action::Edit);
        }
        // Requesters are alike: they come in their order.
        let next = world
            .requesters
            .iter()
            .position(|requester| *requester == Asking::NotYet);
        actions.extend(next.map(Action::Ask));
        // One that is dry among them is enough to meet the others in every order.
        actions.extend(next.filter(|next| *next == DRY).map(Action::AskDry));
        match world.under {
            Under::Loading => actions.extend([Action::Read, Action::BuildFails]),
            Under::Preparing(_) => actions.extend([Action::BuildDone, Action::BuildFails]),
            Under::Nothing | Under::Publishing(_) => {}
        }
        if !world.server.is_empty() {
            actions.push(Action::Deliver);
        }
        if world.workers.iter().all(|worker| !worker.is_dead)
            && world.workers[0].in_flight.is_some()
        {
            actions.push(Action::Die);
        }
        for (id, worker) in world
            .workers
            .iter()
            .enumerate()
            .filter(|(_, worker)| !worker.is_dead)
        {
            if !worker.mailbox.is_empty() {
                actions.push(Action::Handle(id));
            }
            match worker.in_flight {
                Some(_) => actions.push(Action::Answer(id)),
                None if !worker.is_empty => actions.push(Action::Request(id)),
                None => {}
            }
        }
        if !world.is_end_asked {
            actions.push(Action::Stop);
        }
        if world.drain.due().is_some() {
            actions.push(Action::Deadline);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Edit => world.sources += 1,
            Action::Ask(requester) => {
                world.requesters[requester] = Asking::Waits(world.sources);
                world.ask(ReloadRequest::default(), requester);
            }
            Action::AskDry(requester) => {
                world.requesters[requester] = Asking::WaitsDry;
                let request = ReloadRequest {
                    is_dry_run: true,
                    ..ReloadRequest::default()
                };
                world.ask(request, requester);
            }
            Action::Die => world.workers[0].is_dead = true,
            Action::Read => world.under = Under::Preparing(world.sources),
            Action::BuildFails => world.conclude(None),
            Action::BuildDone => {
                let Under::Preparing(version) = world.under else {
                    return None;
                };
                if world.attempts.request().is_dry_run {
                    world.conclude(None);
                } else {
                    world.server.push_back(Message::Publish(version));
                    world.under = Under::Publishing(version);
                }
            }
            Action::Deliver => match world.server.pop_front()? {
                Message::Publish(version) => {
                    world.published = version;
                    for worker in &mut world.workers {
                        worker.mailbox.push_back(false);
                    }
                    // `Published` is the result of the message: nothing comes between.
                    world.conclude(Some(version));
                }
                Message::Stop => {
                    let step =
                        world
                            .drain
                            .ask(StopUrgency::Graceful, LIMITS, 0..WORKERS, self.epoch);
                    world.take(step);
                }
            },
            Action::Handle(id) => {
                let is_drain = world.workers[id].mailbox.pop_front()?;
                world.workers[id].slot = world.published;
                if is_drain {
                    world.workers[id].is_empty = true;
                }
                if is_drain && world.workers[id].in_flight.is_none() {
                    let step = world.drain.worker_is_empty(id);
                    world.take(step);
                }
            }
            Action::Request(id) => {
                // The head is complete now: the slot looks at the channel first (P2).
                world.workers[id].slot = world.published;
                world.workers[id].in_flight = Some(world.published);
                let told = world
                    .requesters
                    .iter()
                    .filter_map(|requester| match requester {
                        Asking::Applied { told, .. } => Some(*told),
                        _ => None,
                    });
                if told.max().is_some_and(|told| world.published < told) {
                    world.broken = Some(2);
                }
            }
            Action::Answer(id) => {
                let pinned = world.workers[id].in_flight.take()?;
                if pinned > world.published {
                    world.broken = Some(1);
                }
                if world.workers[id].is_empty {
                    let step = world.drain.worker_is_empty(id);
                    world.take(step);
                }
            }
            Action::Stop => {
                world.is_end_asked = true;
                let waiting = world.attempts.end();
                if matches!(world.under, Under::Loading | Under::Preparing(_)) {
                    world.conclude(None);
                }
                for requester in waiting.into_iter().flat_map(|group| group.requesters) {
                    world.answer(requester, None);
                }
                world.server.push_back(Message::Stop);
            }
            Action::Deadline => {
                let step = world.drain.tick(world.drain.due()?);
                world.take(step);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "P1, P2, P4: no promise is broken in a step",
                |_, world: &World| world.broken.is_none(),
            ),
            Property::always(
                "P3: what is published was read whole",
                |_, world: &World| world.published <= world.sources,
            ),
            Property::always(
                "P4: who is told `applied` was asked for no later version",
                |_, world: &World| {
                    world.requesters.iter().all(|requester| match requester {
                        Asking::Applied { told, asked_for } => told >= asked_for,
                        _ => true,
                    })
                },
            ),
            Property::always(
                "P4: at the end of all things everybody has an answer",
                |this, world: &World| {
                    !is_final(this, world)
                        || world.requesters.iter().all(|requester| {
                            use Asking::{Applied, Rejected, Tried};
                            matches!(requester, Applied { .. } | Rejected | Tried)
                        })
                },
            ),
            Property::always(
                "P5: a stop ends, whatever its workers do",
                |this, world: &World| !is_final(this, world) || world.drain.phase() == Phase::Over,
            ),
            Property::sometimes(
                "an requester of a late version is folded",
                |_, world: &World| {
                    world
                        .requesters
                        .iter()
                        .all(|requester| matches!(requester, Asking::Applied { told: 2, .. }))
                },
            ),
            Property::sometimes("a request outlives its generation", |_, world: &World| {
                world
                    .workers
                    .iter()
                    .any(|worker| worker.in_flight == Some(0))
                    && world.published == 2
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.broken.is_none()
    }
}

/// Nothing is left to happen but requests.
fn is_final(protocol: &Protocol, world: &World) -> bool {
    let mut actions = Vec::new();
    protocol.actions(world, &mut actions);
    actions
        .iter()
        .all(|action| matches!(action, Action::Request(_)))
}

#[test]
fn the_protocol_keeps_its_promises_in_every_order_of_events() {
    let protocol = Protocol {
        epoch: Instant::now(),
    };
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}
