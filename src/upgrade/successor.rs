//! The old process's side of an upgrade: starts the new process, waits until it is ready, and gives up the
//! sockets.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, ExitStatus},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{timeout, timeout_at},
};

use super::{
    channel::{Channel, DESCRIPTORS, Received},
    message::{Offer, PROTOCOL, ToNew, ToOld},
    program::Program,
    records,
};
use crate::{
    config::{Attempt, Trigger},
    http::OutgoingConnection,
    net::InheritedSocket,
};

/// All that passes to the new process.
pub(crate) struct InheritedState {
    pub(crate) generation: u64,
    pub(crate) attempts: u64,
    /// The history, newest first.
    pub(crate) history: Vec<Arc<Attempt>>,
    pub(crate) sockets: Vec<(InheritedSocket, OwnedFd)>,
    /// What the service manager has passed, by name.
    pub(crate) activated: Vec<(String, OwnedFd)>,
}

/// A new process that serves. Dropped before [`commit`](ReadySuccessor::commit) it is ended.
pub(crate) struct ReadySuccessor {
    process: ChildProcess,
    channel: Channel,
    pub(crate) pid: u32,
    pub(crate) generation: u64,
    /// Which sockets it has taken, by their place in the state.
    pub(crate) taken: Vec<usize>,
}

/// The new process, after the old one has let go.
pub(crate) struct Successor {
    channel: Arc<Channel>,
    /// Which of the connections that were passed last it has taken.
    taken: Mutex<mpsc::Receiver<Vec<usize>>>,
    /// What the reload that was passed on last came to.
    reloaded: Mutex<mpsc::Receiver<Attempt>>,
}

/// What a new process has said of its start.
enum Started {
    Ready {
        pid: u32,
        generation: u64,
        taken: Vec<usize>,
    },
    Failed(Vec<String>),
}

/// How long a process that has said why it fails may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Starts `program` and waits until it serves, until `deadline` at the most. Dropping the future
/// ends the new process.
///
/// # Errors
/// Why there is no new process, in words.
pub(crate) async fn start_successor(
    program: &Program,
    state: InheritedState,
    deadline: Instant,
) -> Result<ReadySuccessor, String> {
    let named = |error: io::Error| format!("cannot start {}: {error}", program.describe());
    let (channel, theirs) = Channel::pair().map_err(named)?;
    send_state(&channel, &state).map_err(|error| format!("cannot pass the sockets: {error}"))?;
    drop(state);
    let child = program.start(theirs).map_err(named)?;
    let id = child.id();
    let watched = ChildProcess::watch(child);
    let mut process = watched.map_err(|error| format!("cannot watch pid {id}: {error}"))?;
    let started = tokio::select! {
        biased;
        started = started(&channel) => started,
        how = process.wait() => {
            return Err(format!(
                "pid {id} ({}) ended before it was ready: {how}",
                program.describe()
            ));
        }
        () = tokio::time::sleep_until(deadline.into()) => {
            return Err(format!(
                "pid {id} ({}) was not ready within `reload.timeout`; it has been ended",
                program.describe()
            ));
        }
    };
    match started {
        Ok(Started::Ready {
            pid,
            generation,
            taken,
        }) => Ok(ReadySuccessor {
            process,
            channel,
            pid,
            generation,
            taken,
        }),
        Ok(Started::Failed(reasons)) => {
            // Either way it ends now.
            let _ = timeout(LAST_WORDS, process.wait()).await;
            Err(format!("pid {id} could not start: {}", reasons.join("; ")))
        }
        Err(error) => Err(format!(
            "pid {id} sent a message that cannot be read: {error}"
        )),
    }
}

/// Waits until the new process says how its start went. One that closes its end without a word is
/// either about to end or another program: its exit or the deadline tells.
async fn started(channel: &Channel) -> io::Result<Started> {
    loop {
        let Some(Received { message, .. }) = channel.next().await? else {
            return std::future::pending().await;
        };
        match message {
            ToOld::Ready {
                pid,
                generation,
                taken,
            } => {
                return Ok(Started::Ready {
                    pid,
                    generation,
                    taken,
                });
            }
            ToOld::Failed { reasons } => return Ok(Started::Failed(reasons)),
            // Answers that nothing was asked for yet.
            ToOld::Taken { .. } | ToOld::Reloaded { .. } => {}
            ToOld::Unknown => {}
        }
    }
}

/// Sends everything that the new process inherits.
fn send_state(channel: &Channel, state: &InheritedState) -> io::Result<()> {
    let offer = Offer {
        everup_upgrade: PROTOCOL,
        generation: state.generation,
        attempts: state.attempts,
    };
    let history = records::write(&state.history)?;
    channel.send(&offer, &[io::stdin().as_fd(), history.as_fd()])?;
    send_all(channel, &state.sockets, |sockets| ToNew::Sockets {
        sockets,
    })?;
    send_all(channel, &state.activated, |names| ToNew::Activated {
        names,
    })
}

/// Sends what comes with a descriptor each, in as many messages as that takes.
fn send_all<T: Clone>(
    channel: &Channel,
    all: &[(T, OwnedFd)],
    message: impl Fn(Vec<T>) -> ToNew,
) -> io::Result<()> {
    for some in all.chunks(DESCRIPTORS) {
        let (what, with): (Vec<T>, Vec<_>) = some
            .iter()
            .map(|(what, socket)| (what.clone(), socket.as_fd()))
            .unzip();
        channel.send(&message(what), &with)?;
    }
    Ok(())
}

impl ReadySuccessor {
    /// Gives up the sockets that the new process has taken. Must be called within an arbiter.
    ///
    /// # Errors
    /// Where it has ended meanwhile: nothing has changed then.
    pub(crate) fn commit(mut self) -> Result<Successor, String> {
        self.channel
            .send(&ToNew::Commit, &[])
            .map_err(|error| format!("pid {} ended as soon as it was ready: {error}", self.pid))?;
        self.process.release();
        let channel = Arc::new(self.channel);
        // One answer at a time is waited for.
        let (taken, all_taken) = mpsc::channel(1);
        let (reloaded, all_reloaded) = mpsc::channel(1);
        actix_rt::spawn(hand_out(channel.clone(), taken, reloaded));
        Ok(Successor {
            channel,
            taken: Mutex::new(all_taken),
            reloaded: Mutex::new(all_reloaded),
        })
    }
}

/// Hands answers of the new process to those that wait for them, until it closes its end. An answer
/// that nobody waits for, or that is not understood, is dropped.
async fn hand_out(
    channel: Arc<Channel>,
    taken: mpsc::Sender<Vec<usize>>,
    reloaded: mpsc::Sender<Attempt>,
) {
    loop {
        match channel.next().await {
            Ok(Some(Received { message, .. })) => match message {
                ToOld::Taken { places } => drop(taken.try_send(places)),
                ToOld::Reloaded { attempt } => drop(reloaded.try_send(*attempt)),
                ToOld::Ready { .. } | ToOld::Failed { .. } | ToOld::Unknown => {}
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Ok(None) | Err(_) => return,
        }
    }
}

impl Successor {
    /// Passes on a reload that was asked for meanwhile. What the attempt came to;
    /// `None` where the new process has not answered within `patience`.
    pub(crate) async fn reload(&self, trigger: Trigger, patience: Duration) -> Option<Attempt> {
        let deadline = Instant::now() + patience;
        let mut reloaded = self.reloaded.lock().await;
        // The late answer to one that was given up says nothing of this one.
        while reloaded.try_recv().is_ok() {}
        self.channel.send(&ToNew::Reload { trigger }, &[]).ok()?;
        timeout_at(deadline.into(), reloaded.recv()).await.ok()?
    }

    /// Transfers idle connections as they come. P5: connections for which the new process has no room stay
    /// here, and so do all once it is gone.
    pub(crate) async fn transfer(&self, mut to_send: mpsc::UnboundedReceiver<OutgoingConnection>) {
        let mut taken = self.taken.lock().await;
        while let Some(first) = to_send.recv().await {
            let mut together = vec![first];
            while together.len() < DESCRIPTORS
                && let Ok(next) = to_send.try_recv()
            {
                together.push(next);
            }
            let listeners = together.iter().map(|one| one.listener.clone()).collect();
            let sockets: Vec<_> = together.iter().map(|one| one.socket.as_fd()).collect();
            let message = ToNew::Connections { listeners };
            let places = match self.channel.send_in_turn(&message, &sockets).await {
                Ok(()) => taken.recv().await,
                // The kernel passes no more descriptors on for now.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Some(Vec::new()),
                Err(_) => None,
            };
            // Those that are dropped stay: their tasks see it.
            let Some(places) = places else {
                return;
            };
            for (place, outgoing) in together.into_iter().enumerate() {
                if places.contains(&place) {
                    // Its task was cut meanwhile: it goes on in the new process all the same.
                    let _ = outgoing.arrived.send(());
                }
            }
        }
    }
}

/// A child process that is ended with this, unless it is released. It is reaped either way.
struct ChildProcess {
    /// Names the process, and no later one of its number.
    process: OwnedFd,
    exit: oneshot::Receiver<io::Result<ExitStatus>>,
    is_released: bool,
}

impl ChildProcess {
    /// A child that cannot be watched is ended: it would serve beside this process.
    fn watch(mut child: Child) -> io::Result<Self> {
        let opened = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
        let process = match opened {
            Ok(process) => process,
            Err(error) => {
                // It cannot have been reaped, so the pid is its own.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let (exited, exit) = oneshot::channel();
        let watched = Self {
            process,
            exit,
            is_released: false,
        };
        // A thread of its own: a process that hangs in the kernel ends when that lets it. It ends
        // with either process.
        thread::Builder::new()
            .name("everup-reap".into())
            .spawn(move || exited.send(child.wait()))?;
        Ok(watched)
    }

    /// Waits for its end, and tells how it was.
    async fn wait(&mut self) -> String {
        match (&mut self.exit).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "nobody knows how".to_owned(),
        }
    }

    fn release(&mut self) {
        self.is_released = true;
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if !self.is_released {
            // Refused only where it has ended by itself.
            let _ = pidfd_send_signal(&self.process, Signal::KILL);
        }
    }
}
