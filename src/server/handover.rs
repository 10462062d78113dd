//! ServerActor's part of an upgrade: its sockets pass to a new process while it serves.
//!
//! Nothing changes before the new process is ready and has taken them. Then ConfigActor stops this one.
//! [`upgrade`](crate::upgrade) is the conversation of the two processes.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{ActorFutureExt as _, Context, Handler, Message, ResponseActFuture, WrapFuture as _};
use futures_util::future::{join_all, ready};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    actor::ServerActor,
    drain::Phase,
    snapshot::Snapshot,
    worker::{self, Delay, LetGo, Worker},
};
use crate::{
    config::{Attempt, NotUpgraded},
    http::{Transfer, TransferredConnection},
    net::{Activation, Listener},
    systemd::Notifier,
    upgrade::{self, InheritedState, PassedConnections, Program, Successor},
};

/// Pass the sockets to a new process. From the ConfigActor, which holds reloads meanwhile. Fails,
/// with the reason, where there is none: then everything is as before.
#[derive(Message)]
#[rtype(result = "Result<HandedOver, NotUpgraded>")]
pub(crate) struct HandOver {
    /// The newest attempt's number.
    pub(crate) attempts: u64,
    /// The history of attempts, newest first.
    pub(crate) history: Vec<Arc<Attempt>>,
    /// How long the new process may take.
    pub(crate) patience: Duration,
}

/// The new process has all that it takes, and serves.
pub(crate) struct HandedOver {
    pub(crate) pid: u32,
    pub(crate) generation: u64,
    pub(crate) took: Duration,
    pub(crate) successor: Arc<Successor>,
}

/// Take these connections, which the predecessor has accepted, and serve them. From the
/// [`Control`](crate::Control). Cannot fail: in a stop they are left to the predecessor.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Receive(pub(crate) PassedConnections);

/// How many services this process has.
static RESIDENTS: AtomicUsize = AtomicUsize::new(0);

/// A service of this process, from its start to its end.
pub(super) struct Resident(());

impl Resident {
    pub(super) fn enter() -> Self {
        RESIDENTS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        RESIDENTS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a process needs to hand itself over.
pub(crate) struct Upgrades {
    pub(crate) program: Arc<Program>,
    pub(crate) systemd: Notifier,
    pub(crate) activation: Arc<Activation>,
}

/// How long a worker may take to let go.
const LET_GO_PATIENCE: Duration = Duration::from_millis(100);

impl ServerActor {
    /// What an upgrade needs, or why none can begin now.
    fn free_to_hand_over(&self) -> Result<(&Upgrades, &Snapshot), NotUpgraded> {
        let upgrades = self.upgrades.as_ref();
        let refused = |why: &str| Err(NotUpgraded::because(why));
        let Some(upgrades) = upgrades else {
            return refused("the service is embedded: it does not own its process");
        };
        if RESIDENTS.load(Ordering::Relaxed) > 1 {
            return refused(
                "another service of this process (`Service::start`) would not be handed over, and \
                 would be cut",
            );
        }
        if std::process::id() == 1 {
            return refused(
                "as PID 1: the container would end with this process; start another instead",
            );
        }
        if self.drain.phase() != Phase::Serving {
            return Err(NotUpgraded::stopping());
        }
        let Some(snapshot) = &self.snapshot else {
            return refused("nothing is served yet");
        };
        if self.upgrading.is_some() {
            return refused("an upgrade is under way");
        }
        let left = self.inheritance.as_ref();
        if left.is_some_and(|left| !left.is_settled()) {
            return refused("the process before has not let go yet");
        }
        Ok((upgrades, snapshot))
    }

    fn accepting_workers(&self) -> Vec<Worker> {
        let admin = self.admin().map(|admin| admin.worker.clone());
        self.workers().iter().cloned().chain(admin).collect()
    }

    /// From now on idle connections go on in the new process.
    fn open_transfer(&mut self, successor: &Arc<Successor>) {
        let listeners = self.listeners().iter();
        let passing = listeners.filter(|listener| listener.origin().has_passed());
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let names = passing.map(|it| it.name().clone()).collect();
        self.transfer = Some(Transfer::by(names, outgoing));
        let successor = successor.clone();
        actix_rt::spawn(async move { successor.transfer(to_send).await });
    }

    /// Spreads connections that another process or worker has accepted over the workers that serve, one
    /// after the other.
    pub(super) fn receive(&mut self, connections: impl IntoIterator<Item = TransferredConnection>) {
        for connection in connections {
            let workers = self.workers();
            if let Some(worker) = workers.get(self.turn % workers.len().max(1)) {
                worker.address.do_send(worker::Receive(connection));
            }
            self.turn = self.turn.wrapping_add(1);
        }
    }

    /// The last that systemd hears from this process. Whatever names the main process in files, the
    /// new one has written before it was ready.
    fn tell_systemd(&self, pid: u32) {
        if let Some(upgrades) = &self.upgrades {
            upgrades.systemd.main_pid(pid);
        }
    }

    /// What is asked of the admin API from now on, the new process is to answer.
    fn let_admin_go(&self) {
        if let Some(admin) = self
            .admin()
            .filter(|admin| admin.listener.origin().has_passed())
        {
            admin.worker.address.do_send(Delay);
        }
    }
}

fn inherited_state(
    listeners: &[Arc<Listener>],
    activation: &Activation,
    generation: u64,
    asked: HandOver,
) -> io::Result<InheritedState> {
    let sockets = listeners
        .iter()
        .map(|listener| listener.clone_for_successor());
    Ok(InheritedState {
        generation,
        attempts: asked.attempts,
        history: asked.history,
        sockets: sockets.collect::<io::Result<_>>()?,
        activated: activation.clone_for_successor()?,
    })
}

impl Handler<Receive> for ServerActor {
    type Result = ();

    fn handle(&mut self, Receive(passed): Receive, _: &mut Context<Self>) {
        // A stop has ended the talk: what was not taken before it stays there.
        if self.drain.phase() != Phase::Serving {
            return;
        }
        let accepted = self.inheritance.as_ref().map(|left| left.accept(passed));
        self.receive(accepted.into_iter().flatten());
    }
}

/// Who connects when the upgrade has been reported meets the new process.
async fn let_go(workers: &[Worker]) {
    // Tasks of their own: a future of `send` that is dropped takes its message back.
    let letting_go = workers
        .iter()
        .map(|worker| actix_rt::spawn(worker.address.send(LetGo)));
    // One that is blocked in a handler accepts nothing either.
    let _ = timeout(LET_GO_PATIENCE, join_all(letting_go)).await;
}

impl Handler<HandOver> for ServerActor {
    type Result = ResponseActFuture<Self, Result<HandedOver, NotUpgraded>>;

    fn handle(&mut self, asked: HandOver, _: &mut Context<Self>) -> Self::Result {
        let begun = Instant::now();
        let (upgrades, snapshot) = match self.free_to_hand_over() {
            Ok(free) => free,
            Err(why) => return Box::pin(ready(Err(why)).into_actor(self)),
        };
        let (program, activation) = (upgrades.program.clone(), upgrades.activation.clone());
        let generation = snapshot.generation.number;
        let listeners: Vec<_> = snapshot.all_listeners().cloned().collect();
        let workers = self.accepting_workers();
        let (cancel, cancelled) = oneshot::channel::<()>();
        self.upgrading = Some(cancel);
        let handing = async move {
            let deadline = begun + asked.patience;
            let inherited_state = inherited_state(&listeners, &activation, generation, asked)
                .map_err(|error| format!("cannot pass the sockets: {error}"))
                .map_err(NotUpgraded::because)?;
            let starting = upgrade::start_successor(&program, inherited_state, deadline);
            let started = tokio::select! {
                biased;
                _ = cancelled => Err(NotUpgraded::stopping()),
                ready = starting => ready.map_err(NotUpgraded::because),
            };
            let committed = started.and_then(|ready| {
                let known = (ready.pid, ready.generation, ready.taken.clone());
                let successor = ready.commit().map_err(NotUpgraded::because)?;
                Ok((known, successor))
            });
            let ((pid, generation, taken), successor) = match committed {
                Ok(committed) => committed,
                Err(why) => {
                    for listener in &listeners {
                        listener.reclaim_port();
                    }
                    return Err(why);
                }
            };
            // No stop comes in between: nothing is awaited from the commit to here.
            for listener in taken.iter().filter_map(|&place| listeners.get(place)) {
                listener.origin().set_passed(true);
            }
            let took = begun.elapsed();
            let_go(&workers).await;
            let successor = Arc::new(successor);
            Ok(HandedOver {
                pid,
                generation,
                took,
                successor,
            })
        };
        Box::pin(handing.into_actor(self).map(move |handed, this, _| {
            this.upgrading = None;
            if let Ok(handed) = &handed {
                this.open_transfer(&handed.successor);
                this.let_admin_go();
                this.tell_systemd(handed.pid);
            }
            handed
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use actix::Actor as _;

    use super::*;
    use crate::{
        http::{Readiness, SuspensionClock},
        server::NewServer,
        telemetry::LogHandle,
    };

    #[test]
    fn a_process_with_another_service_is_not_upgraded_and_the_reason_is_given() {
        let _other = Resident::enter();
        actix::System::new().block_on(async {
            let (finished, _is_finished) = oneshot::channel();
            let nothing = std::iter::once("/nonexistent".into());
            let server = ServerActor::new(NewServer {
                finished,
                readiness: Readiness::default(),
                suspension: SuspensionClock::new(Instant::now()),
                access: LogHandle::of_another().access().log(),
                upgrades: Some(Upgrades {
                    program: Arc::new(Program::new(nothing, None, Path::new("/"))),
                    systemd: Notifier::new(None),
                    activation: Arc::default(),
                }),
                inheritance: None,
            });
            let asked = server.start().send(HandOver {
                attempts: 1,
                history: Vec::new(),
                patience: Duration::from_secs(1),
            });
            let refused = asked.await.expect("the actor lives").err();
            let why = refused.expect("it is refused").to_string();
            assert!(why.contains("another service of this process"), "{why}");
        });
    }
}
