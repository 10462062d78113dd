//! SignalActor: translates the signals of the process into messages.
//!
//! [`TABLE`] says what each signal does; the actor acts on it and on nothing else. Handlers are the
//! process's, so only `main` starts one.

use std::fs;

use actix::{Actor, AsyncContext as _, Context, StreamHandler};
use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
        SIGVTALRM, SIGXCPU, SIGXFSZ,
    },
    iterator::exfiltrator::WithOrigin,
    low_level::siginfo::Origin,
};
use signal_hook_tokio::SignalsInfo;

use crate::{
    config::{Trigger, TriggerKind},
    control::Control,
    server::Urge,
    telemetry::{Event, emit},
};

/// One signal, and what it does here.
struct Signal {
    number: i32,
    name: &'static str,
    action: Action,
}

/// What a signal does.
#[derive(Clone, Copy)]
enum Action {
    Reload,
    Upgrade,
    Stop(Urge),
    /// A limit of the system was reached: stop gracefully, as a failure.
    StopFailed,
    /// Would end the process by default; here it is logged, nothing more.
    Unhandled,
    /// Would end the process by default; here the error is handled where it happens.
    Ignored,
}

const TABLE: &[Signal] = &[
    signal(SIGHUP, "SIGHUP", Action::Reload),
    signal(SIGTERM, "SIGTERM", Action::Stop(Urge::Graceful)),
    signal(SIGINT, "SIGINT", Action::Stop(Urge::Interrupt)),
    signal(SIGQUIT, "SIGQUIT", Action::Stop(Urge::Interrupt)),
    signal(SIGXCPU, "SIGXCPU", Action::StopFailed),
    signal(SIGXFSZ, "SIGXFSZ", Action::Ignored),
    signal(SIGPIPE, "SIGPIPE", Action::Ignored),
    signal(SIGUSR1, "SIGUSR1", Action::Unhandled),
    signal(SIGUSR2, "SIGUSR2", Action::Upgrade),
    signal(SIGALRM, "SIGALRM", Action::Unhandled),
    signal(SIGVTALRM, "SIGVTALRM", Action::Unhandled),
    signal(SIGPROF, "SIGPROF", Action::Unhandled),
    signal(SIGIO, "SIGPOLL", Action::Unhandled),
];

const fn signal(number: i32, name: &'static str, action: Action) -> Signal {
    Signal {
        number,
        name,
        action,
    }
}

/// The actor that hears signals.
pub(crate) struct SignalActor {
    control: Control,
}

/// The process's signals, from the moment that this is made.
pub(crate) struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    /// Installs the handlers. Must be called within a runtime.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn install() -> std::io::Result<Self> {
        SignalsInfo::new(TABLE.iter().map(|signal| signal.number)).map(Self)
    }
}

impl SignalActor {
    pub(crate) fn start(signals: Signals, control: Control) {
        Self::create(|ctx| {
            ctx.add_stream(signals.0);
            Self { control }
        });
    }
}

impl Actor for SignalActor {
    type Context = Context<Self>;
}

impl StreamHandler<Origin> for SignalActor {
    fn handle(&mut self, origin: Origin, _: &mut Context<Self>) {
        let Some(signal) = TABLE.iter().find(|signal| signal.number == origin.signal) else {
            return;
        };
        let trigger = trigger(signal, &origin);
        match signal.action {
            // The log has the outcome; a signal has nobody else to tell.
            Action::Reload => drop(self.control.request(trigger)),
            Action::Upgrade => drop(self.control.request_upgrade(&trigger)),
            Action::Stop(urge) => self.control.end(urge, trigger, false),
            Action::StopFailed => self.control.end(Urge::Graceful, trigger, true),
            Action::Ignored => {}
            Action::Unhandled => emit(&Event::Unhandled(&trigger.to_string())),
        }
    }
}

fn trigger(signal: &Signal, origin: &Origin) -> Trigger {
    let sender = origin.process;
    Trigger {
        signal: Some(signal.name.into()),
        pid: sender.map(|sender| sender.pid),
        uid: sender.map(|sender| sender.uid),
        command: sender.and_then(|sender| command(sender.pid)),
        ..Trigger::new(TriggerKind::Signal)
    }
}

/// The name of a process's command, as far as the kernel tells (proc(5), `comm`): it may be gone.
fn command(pid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let name = name.trim_end();
    (!name.is_empty()).then(|| name.escape_default().to_string())
}
