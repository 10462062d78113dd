//! SignalActor: translates the signals of the process into messages, as [`TABLE`] says.

use std::io;

use actix::{Actor, AsyncContext as _, Context, StreamHandler};
use signal_hook::{iterator::exfiltrator::WithOrigin, low_level::siginfo::Origin};
use signal_hook_tokio::SignalsInfo;

use super::{
    events::SignalEvent,
    table::{Action, Signal, TABLE},
    terminal::Terminal,
};
use crate::{
    config::{ReloadRequest, Trigger, TriggerKind},
    control::Control,
    http::command,
    server::{PanicGuard, StopUrgency},
    telemetry::emit,
};

/// The actor that hears signals.
pub(crate) struct SignalActor {
    control: Control,
    terminal: Terminal,
    _guard: PanicGuard,
}

/// The process's signals, from the moment that this is made.
pub(crate) struct Signals {
    stream: SignalsInfo<WithOrigin>,
    terminal: Terminal,
}

impl Signals {
    /// Installs the handlers, also over what was ignored. Must be called within a runtime.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn install() -> io::Result<Self> {
        let terminal = Terminal::at_start();
        let caught = TABLE.iter().filter(|signal| signal.is_caught());
        let stream = SignalsInfo::new(caught.map(|signal| signal.number))?;
        Ok(Self { stream, terminal })
    }
}

impl SignalActor {
    pub(crate) fn start(signals: Signals, control: Control, guard: PanicGuard) {
        Self::create(|ctx| {
            ctx.add_stream(signals.stream);
            Self {
                control,
                terminal: signals.terminal,
                _guard: guard,
            }
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
            Action::Reload if self.terminal.has_gone(&origin) => {
                emit(&SignalEvent::TerminalGone(&trigger.to_string()));
                self.control.end(StopUrgency::Graceful, trigger, false);
            }
            // The log has the outcome; a signal has nobody else to tell.
            Action::Reload => drop(self.control.request(ReloadRequest::default(), trigger)),
            Action::Stop(urgency) => self.control.end(urgency, trigger, false),
            Action::StopFailed => self.control.end(StopUrgency::Graceful, trigger, true),
            Action::ReopenLogs => self.control.reopen_logs(trigger),
            Action::Upgrade => drop(self.control.request_upgrade(&trigger)),
            Action::Unhandled => emit(&SignalEvent::Unhandled(&trigger.to_string())),
            Action::Ignored | Action::Default | Action::NotOurs | Action::Uncatchable => {}
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
