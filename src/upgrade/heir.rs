//! The old process's side: starts the new one, waits until it is ready, lets go.

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
    sync::{mpsc, oneshot},
    time::{timeout, timeout_at},
};

use super::{
    channel::{Channel, DESCRIPTORS},
    message::{Offer, PROTOCOL, ToNew, ToOld},
    program::Program,
    records,
};
use crate::{
    config::{Attempt, Trigger},
    server::{Bequest, Passenger},
};

/// All that passes to the new process.
pub(crate) struct Estate {
    pub(crate) generation: u64,
    pub(crate) attempts: u64,
    /// What is told of them, newest first.
    pub(crate) history: Vec<Arc<Attempt>>,
    pub(crate) sockets: Vec<(Bequest, OwnedFd)>,
    /// What the service manager has passed, by name.
    pub(crate) activated: Vec<(String, OwnedFd)>,
}

/// A new process that serves. Dropped before [`commit`](Heir::commit) it is ended.
pub(crate) struct Heir {
    process: Ward,
    channel: Channel,
    pub(crate) pid: u32,
    pub(crate) generation: u64,
    /// Which sockets it has taken, by their place in the estate.
    pub(crate) taken: Vec<usize>,
}

/// The new process, after the old one has let go.
pub(crate) struct Successor {
    channel: Channel,
}

/// How long a process that has said why it fails may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Starts `program` and waits until it serves, until `deadline` at the most. Dropping the future
/// ends the new process.
///
/// # Errors
/// Why there is no new process, in words.
pub(crate) async fn raise(
    program: &Program,
    estate: Estate,
    deadline: Instant,
) -> Result<Heir, String> {
    let named = |error: io::Error| format!("cannot start {}: {error}", program.describe());
    let (channel, theirs) = Channel::pair().map_err(named)?;
    bequeath(&channel, &estate).map_err(|error| format!("cannot pass the sockets on: {error}"))?;
    drop(estate);
    let child = program.start(theirs).map_err(named)?;
    let id = child.id();
    let watched = Ward::watch(child);
    let mut process = watched.map_err(|error| format!("cannot watch pid {id}: {error}"))?;
    let said = tokio::select! {
        biased;
        said = said(&channel) => said,
        how = process.ends() => {
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
    match said {
        Ok(ToOld::Ready {
            pid,
            generation,
            taken,
        }) => Ok(Heir {
            process,
            channel,
            pid,
            generation,
            taken,
        }),
        Ok(ToOld::Failed(reasons)) => {
            // Either way it ends now.
            let _ = timeout(LAST_WORDS, process.ends()).await;
            Err(format!("pid {id} could not start: {}", reasons.join("; ")))
        }
        Ok(ToOld::Reloaded(_)) => Err(format!("pid {id} answered what it was not asked")),
        Err(error) => Err(format!("pid {id} was not understood: {error}")),
    }
}

/// The new process's first message. One that closes its end without a word is either about to
/// end or another program: its exit or the deadline tells.
async fn said(channel: &Channel) -> io::Result<ToOld> {
    match channel.next().await? {
        Some((said, _)) => Ok(said),
        None => std::future::pending().await,
    }
}

/// Leaves everything where the new process will find it.
fn bequeath(channel: &Channel, estate: &Estate) -> io::Result<()> {
    let offer = Offer {
        everup_upgrade: PROTOCOL,
        generation: estate.generation,
        attempts: estate.attempts,
    };
    let history = records::write(&estate.history)?;
    channel.send(&offer, &[io::stdin().as_fd(), history.as_fd()])?;
    send_all(channel, &estate.sockets, ToNew::Sockets)?;
    send_all(channel, &estate.activated, ToNew::Activated)
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

impl Heir {
    /// Lets go: from now on the sockets that it has taken are its own.
    ///
    /// # Errors
    /// Where it has ended meanwhile: nothing has changed then.
    pub(crate) fn commit(mut self) -> Result<Successor, String> {
        self.channel
            .send(&ToNew::Yours, &[])
            .map_err(|error| format!("pid {} ended as soon as it was ready: {error}", self.pid))?;
        self.process.release();
        Ok(Successor {
            channel: self.channel,
        })
    }
}

impl Successor {
    /// Passes on a reload that was asked for meanwhile. What the attempt came to;
    /// `None` where the new process has not answered within `patience`.
    pub(crate) async fn reload(&self, trigger: Trigger, patience: Duration) -> Option<Attempt> {
        let deadline = Instant::now() + patience;
        self.channel.send(&ToNew::Reload(trigger), &[]).ok()?;
        match timeout_at(deadline.into(), self.channel.next()).await {
            Ok(Ok(Some((ToOld::Reloaded(attempt), _)))) => Some(*attempt),
            _ => None,
        }
    }

    /// Carries idle connections over, as they come.
    pub(crate) async fn carry(&self, mut passengers: mpsc::UnboundedReceiver<Passenger>) {
        while let Some(first) = passengers.recv().await {
            let mut together = vec![first];
            while together.len() < DESCRIPTORS
                && let Ok(next) = passengers.try_recv()
            {
                together.push(next);
            }
            let names = together.iter().map(|one| one.listener.clone()).collect();
            let sockets: Vec<_> = together.iter().map(|one| one.socket.as_fd()).collect();
            let message = ToNew::Connections(names);
            if self.channel.send_in_turn(&message, &sockets).await.is_ok() {
                for passenger in together {
                    // Its task was cut meanwhile: it goes on in the new process all the same.
                    let _ = passenger.arrived.send(());
                }
            }
            // Else they are dropped, which tells their tasks that they stay.
        }
    }
}

/// A child process that is ended with this, unless it is released. It is reaped either way.
struct Ward {
    /// Names the process, and no later one of its number.
    process: OwnedFd,
    exit: oneshot::Receiver<io::Result<ExitStatus>>,
    is_released: bool,
}

impl Ward {
    fn watch(mut child: Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        let (exited, exit) = oneshot::channel();
        let ward = Self {
            process: pidfd_open(pid, PidfdFlags::empty())?,
            exit,
            is_released: false,
        };
        // A thread of its own: a process that hangs in the kernel ends when that lets it. It ends
        // with either process.
        thread::Builder::new()
            .name("everup-reap".into())
            .spawn(move || exited.send(child.wait()))?;
        Ok(ward)
    }

    /// Waits for its end, and tells how it was.
    async fn ends(&mut self) -> String {
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

impl Drop for Ward {
    fn drop(&mut self) {
        if !self.is_released {
            // Refused only where it has ended by itself.
            let _ = pidfd_send_signal(&self.process, Signal::KILL);
        }
    }
}
