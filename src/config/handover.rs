//! ConfigActor's part of an upgrade: it holds reloads and passes them to the process that serves
//! afterwards.

use std::{fmt, sync::Arc, time::Duration};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    actor::ConfigActor,
    attempt::{Refused, millis},
    events::ConfigEvent,
};
use crate::{
    server::{HandOver, HandedOver, Stop, StopUrgency},
    telemetry::emit,
};

/// Hand the service over to a new process of the program on disk. From every trigger alike. The
/// answer goes to `requester`, so that who loses interest takes nothing back.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Upgrade {
    /// Who asks, for the log.
    pub(crate) by: String,
    pub(crate) requester: oneshot::Sender<Result<Upgraded, NotUpgraded>>,
}

/// A new process serves.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Upgraded {
    /// The new process's.
    pub pid: u32,
    /// The generation that it serves.
    pub generation: u64,
    /// From the start of the new process until it served.
    pub ready_ms: f64,
}

/// Why there is no new process; the service goes on as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUpgraded {
    reason: String,
    is_stopping: bool,
}

impl NotUpgraded {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_stopping: false,
        }
    }

    /// The service is stopping, or has stopped.
    pub(crate) fn stopping() -> Self {
        Self {
            reason: "stopping".to_owned(),
            is_stopping: true,
        }
    }

    /// Whether a stop came first.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }
}

impl fmt::Display for NotUpgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for NotUpgraded {}

/// Where an upgrade stands.
pub(super) enum Upgrading {
    /// It begins when the attempt under way has ended.
    Waits(Upgrade),
    UnderWay,
}

impl Handler<Upgrade> for ConfigActor {
    type Result = ();

    fn handle(&mut self, upgrade: Upgrade, ctx: &mut Context<Self>) {
        if self.attempts.has_ended() {
            return refuse(upgrade, NotUpgraded::stopping());
        }
        if self.upgrading.is_some() {
            return refuse(upgrade, NotUpgraded::because("an upgrade is under way"));
        }
        self.attempts.hold();
        if self.attempts.is_idle() {
            self.hand_over(upgrade, ctx);
        } else {
            self.upgrading = Some(Upgrading::Waits(upgrade));
        }
    }
}

impl ConfigActor {
    /// An attempt has ended: the upgrade that waited for it begins.
    pub(super) fn upgrade_if_it_waits(&mut self, ctx: &mut Context<Self>) {
        match self.upgrading.take() {
            Some(Upgrading::Waits(upgrade)) => self.hand_over(upgrade, ctx),
            under_way => self.upgrading = under_way,
        }
    }

    /// A stop overtakes the upgrade that waits. One under way is ended by the ServerActor.
    pub(super) fn end_upgrade(&mut self) {
        match self.upgrading.take() {
            Some(Upgrading::Waits(upgrade)) => refuse(upgrade, NotUpgraded::stopping()),
            under_way => self.upgrading = under_way,
        }
    }

    fn hand_over(&mut self, Upgrade { by, requester }: Upgrade, ctx: &mut Context<Self>) {
        let patience = self.current.as_ref().map_or(Duration::ZERO, |current| {
            current.content.settings.tables.reload.timeout
        });
        self.upgrading = Some(Upgrading::UnderWay);
        emit(&ConfigEvent::UpgradeAsked(&by));
        let handing = self.new.server.send(HandOver {
            attempts: self.attempts.newest(),
            history: self.history.attempts(),
            patience,
        });
        ctx.spawn(handing.into_actor(self).map(move |handed, this, ctx| {
            this.upgrading = None;
            let handed = handed.unwrap_or_else(|_| Err(NotUpgraded::stopping()));
            let answer = match handed {
                Ok(handed) => Ok(this.handed_over(handed, patience, ctx)),
                Err(why) => {
                    emit(&ConfigEvent::NotUpgraded { by: &by, why: &why });
                    if let Some(next) = this.attempts.release() {
                        this.begin(next, ctx);
                    }
                    Err(why)
                }
            };
            // Who has hung up meanwhile has the log.
            let _ = requester.send(answer);
        }));
    }

    /// This process ends: what was asked of it meanwhile is asked of the new one.
    fn handed_over(
        &mut self,
        handed: HandedOver,
        patience: Duration,
        ctx: &mut Context<Self>,
    ) -> Upgraded {
        let upgraded = Upgraded {
            pid: handed.pid,
            generation: handed.generation,
            ready_ms: millis(handed.took),
        };
        emit(&ConfigEvent::Upgraded(&upgraded));
        let rollback = self.current.as_ref().and_then(|it| it.rollback.as_ref());
        if let Some(rollback) = rollback {
            emit(&ConfigEvent::RollbackEnds(rollback.to));
        }
        let waiting = self.attempts.end().into_iter();
        // What was to be compared with this process's generations means nothing there.
        let (passed, kept): (Vec<_>, Vec<_>) = waiting.partition(|group| group.request.folds());
        for group in kept {
            self.refuse(group, Refused::Stopping);
        }
        let (successor, pid) = (handed.successor, handed.pid);
        let asking = async move {
            let mut answers = Vec::new();
            for group in passed {
                let trigger = group.triggers.first().expect("a group has a trigger");
                let attempt = successor.reload(trigger.clone(), patience).await;
                answers.push((group, attempt));
            }
            answers
        };
        // P4: the stop begins when they have been answered. It would not wait for them.
        ctx.spawn(asking.into_actor(self).map(move |answers, this, _| {
            for (group, attempt) in answers {
                let Some(attempt) = attempt.map(Arc::new) else {
                    this.refuse(group, Refused::Stopping);
                    continue;
                };
                for requester in group.requesters {
                    // Who has hung up meanwhile has the new process's log.
                    let _ = requester.send(attempt.clone());
                }
            }
            this.new.server.do_send(Stop {
                urgency: StopUrgency::Graceful,
                by: format!("the upgrade to pid {pid}"),
                is_failure: false,
            });
        }));
        upgraded
    }
}

fn refuse(upgrade: Upgrade, why: NotUpgraded) {
    let Upgrade { by, requester } = upgrade;
    emit(&ConfigEvent::NotUpgraded { by: &by, why: &why });
    let _ = requester.send(Err(why));
}
