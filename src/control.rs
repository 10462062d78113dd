//! The handle behind every trigger: reload, roll back, stop, inspect.

use std::sync::Arc;

use actix::Addr;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    config::{
        Attempt, ConfigActor, Consult, Consulted, EndService, NotUpgraded, Recall, Reload,
        ReloadRequest, ReopenLogs, Review, Trigger, TriggerKind, Upgrade, Upgraded,
    },
    http::Readiness,
    server::{Inspect, Inspection, Receive, ServerActor, State, Stop, StopUrgency},
    settings::Diagnostic,
    upgrade::PassedConnections,
};

/// Drives a running service, from any thread and any runtime. Signals and the admin API go the
/// same way.
#[derive(Clone)]
pub struct Control {
    config: Addr<ConfigActor>,
    server: Addr<ServerActor>,
    readiness: Readiness,
    service: &'static str,
    started_at: Timestamp,
}

/// How [`Control::stop`] ends the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// What is in flight is finished until the deadline.
    Graceful,
    /// What is in flight is cut.
    Now,
}

/// The service is gone, or about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the service has stopped")
    }
}

impl std::error::Error for Stopped {}

/// What `GET /status` answers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    pub service: &'static str,
    /// everup's.
    pub version: &'static str,
    pub pid: u32,
    pub generation: u64,
    pub digest: Arc<str>,
    #[serde(serialize_with = "crate::config::to_the_millisecond")]
    pub started_at: Timestamp,
    pub uptime_s: f64,
    #[serde(flatten)]
    pub inspection: Inspection,
    pub last_reload: Option<Arc<Attempt>>,
    /// What is valid and probably not what was meant, such as a certificate that expires soon.
    #[serde(serialize_with = "crate::config::errors")]
    pub warnings: Vec<Diagnostic>,
}

impl Control {
    pub(crate) fn new(
        config: Addr<ConfigActor>,
        server: Addr<ServerActor>,
        readiness: Readiness,
        service: &'static str,
    ) -> Self {
        Self {
            config,
            server,
            readiness,
            service,
            started_at: Timestamp::now(),
        }
    }

    /// The actors behind it.
    #[cfg(test)]
    pub(crate) fn actors(&self) -> (Addr<ConfigActor>, Addr<ServerActor>) {
        (self.config.clone(), self.server.clone())
    }

    /// Reads the settings anew and serves them, and waits for the outcome. Dropping the future
    /// takes nothing back.
    ///
    /// # Errors
    /// [`Stopped`] where the service is gone. One that is still stopping answers with an attempt,
    /// rejected.
    pub async fn reload(&self) -> Result<Arc<Attempt>, Stopped> {
        let trigger = Trigger::new(TriggerKind::Control);
        self.ask(ReloadRequest::default(), trigger).await
    }

    /// Serves the settings of the generation of this number, as a new generation, until the settings
    /// change in content or a reload is forced. Its state is built anew, from files and certificates as they
    /// are now. `reload.history` says how many generations are kept.
    ///
    /// # Errors
    /// [`Stopped`] where the service is gone. Where the generation is not kept, or its state cannot be
    /// built, the attempt is rejected.
    pub async fn rollback(&self, generation: u64) -> Result<Arc<Attempt>, Stopped> {
        let trigger = Trigger::new(TriggerKind::Rollback);
        self.ask(ReloadRequest::rollback(generation), trigger).await
    }

    /// The newest attempts, newest first: 100, or fewer where they tell of more than
    /// 10,000 changes together.
    ///
    /// # Errors
    /// [`Stopped`] where the service is gone.
    pub async fn history(&self) -> Result<Vec<Arc<Attempt>>, Stopped> {
        self.config.send(Review).await.map_err(|_| Stopped)
    }

    /// Ends the service; [`Running::finished`](crate::Running::finished) tells when it has ended.
    pub fn stop(&self, mode: StopMode) {
        let urgency = match mode {
            StopMode::Graceful => StopUrgency::Graceful,
            StopMode::Now => StopUrgency::Now,
        };
        self.end(urgency, Trigger::new(TriggerKind::Control), false);
    }

    /// Hands the service over to a new process of the program that is on disk now, and waits until
    /// that serves; this one then stops. Dropping the future takes nothing back.
    ///
    /// # Errors
    /// Why there is no new process. The service goes on as it was.
    pub async fn upgrade(&self) -> Result<Upgraded, NotUpgraded> {
        self.ask_upgrade(&Trigger::new(TriggerKind::Control)).await
    }

    /// The state of the service.
    ///
    /// # Errors
    /// [`Stopped`] where it is gone.
    pub async fn status(&self) -> Result<Status, Stopped> {
        // In this order: a stop that was asked for goes through the ConfigActor first.
        let recalled = self.config.send(Recall).await.map_err(|_| Stopped)?;
        let inspection = self.server.send(Inspect).await.map_err(|_| Stopped)?;
        let uptime = Timestamp::now().duration_since(self.started_at);
        Ok(Status {
            service: self.service,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            generation: recalled.generation,
            digest: recalled.digest,
            started_at: self.started_at,
            uptime_s: uptime.as_millis() as f64 / 1e3,
            inspection,
            last_reload: recalled.last_reload,
            warnings: recalled.warnings,
        })
    }

    /// The settings that are served.
    pub(crate) async fn consult(&self) -> Result<Consulted, Stopped> {
        let consulted = self.config.send(Consult).await;
        consulted.ok().flatten().ok_or(Stopped)
    }

    /// Whether the service serves and nobody has asked for its end; asks no actor.
    pub(crate) fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// Whether a stop has been asked for, also that of a process that has handed over.
    pub(crate) async fn is_stopping(&self) -> bool {
        let status = self.status().await;
        status.map_or(true, |status| status.inspection.state == State::Draining)
    }

    /// Requests an attempt on behalf of any trigger.
    pub(crate) async fn ask(
        &self,
        request: ReloadRequest,
        trigger: Trigger,
    ) -> Result<Arc<Attempt>, Stopped> {
        self.request(request, trigger).await.map_err(|_| Stopped)
    }

    /// Asks for an attempt, and leaves it to the caller whether to wait for it.
    pub(crate) fn request(
        &self,
        request: ReloadRequest,
        trigger: Trigger,
    ) -> oneshot::Receiver<Arc<Attempt>> {
        let (requester, answer) = oneshot::channel();
        self.config.do_send(Reload {
            request,
            trigger,
            requester,
        });
        answer
    }

    /// Requests that the log file be reopened; the log reports the result.
    pub(crate) fn reopen_logs(&self, trigger: Trigger) {
        self.config.do_send(ReopenLogs { trigger });
    }

    /// Requests an upgrade on behalf of any trigger.
    pub(crate) async fn ask_upgrade(&self, trigger: &Trigger) -> Result<Upgraded, NotUpgraded> {
        let answer = self.request_upgrade(trigger).await;
        answer.unwrap_or_else(|_| Err(NotUpgraded::stopping()))
    }

    /// Asks for an upgrade, and leaves it to the caller whether to wait for it.
    pub(crate) fn request_upgrade(
        &self,
        trigger: &Trigger,
    ) -> oneshot::Receiver<Result<Upgraded, NotUpgraded>> {
        let (requester, answer) = oneshot::channel();
        let by = trigger.to_string();
        self.config.do_send(Upgrade { by, requester });
        answer
    }

    /// Takes connections that the predecessor passes on, and serves them.
    pub(crate) fn receive(&self, passed: PassedConnections) {
        self.server.do_send(Receive(passed));
    }

    /// Requests a stop on behalf of any trigger.
    pub(crate) fn end(&self, urgency: StopUrgency, trigger: Trigger, is_failure: bool) {
        self.readiness.mark_ending();
        let stop = Stop {
            urgency,
            by: trigger.to_string(),
            is_failure,
        };
        self.config
            .do_send(EndService::new(stop, self.server.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use actix::{Actor as _, AsyncContext as _, Context};

    use super::*;
    use crate::{http::SuspensionClock, server::NewServer, telemetry::LogHandle};

    /// The service of a ConfigActor that falls over when `dies` says so.
    fn stopped_with(dies: impl FnOnce(&Control, Context<ConfigActor>)) {
        actix::System::new().block_on(async {
            let (over, is_over) = oneshot::channel();
            let readiness = Readiness::default();
            let server = ServerActor::new(NewServer {
                finished: over,
                readiness: readiness.clone(),
                suspension: SuspensionClock::new(Instant::now()),
                access: LogHandle::of_another().access().log(),
                upgrades: None,
                inheritance: None,
            })
            .start();
            let config = Context::<ConfigActor>::new();
            let control = Control::new(config.address(), server, readiness, "service");
            dies(&control, config);
            let report = is_over.await.expect("the ServerActor reports");
            assert_eq!(report.totals.received, 0);
        });
    }

    #[test]
    fn a_stop_arrives_where_the_config_actor_has_died() {
        stopped_with(|control, config| {
            drop(config);
            control.stop(StopMode::Graceful);
        });
    }

    #[test]
    fn a_stop_arrives_where_the_config_actor_dies_before_it_comes_to_it() {
        stopped_with(|control, config| {
            control.stop(StopMode::Graceful);
            drop(config);
        });
    }
}
