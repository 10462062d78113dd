//! The new process's side of an upgrade: receives the inherited sockets, takes those that it needs, and
//! reports when it serves.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;

use super::{
    channel::{Channel, Received},
    message::{Offer, PROTOCOL, ToNew, ToOld},
    records,
};
use crate::{
    config::{Attempt, Trigger},
    http::TransferredConnection,
    net::{Access, Activation, InheritedSocket, LentPort, Listener, Origin},
    server::leaves_reserve,
    settings::{Address, Diagnostic},
};

/// What an old process has left for this one.
pub(crate) struct Inheritance {
    /// The generation that the old process serves, and its newest attempt's number.
    pub(crate) generation: u64,
    pub(crate) attempts: u64,
    /// The history, newest first.
    pub(crate) history: Vec<Attempt>,
    /// What the service manager has passed to the first of all processes.
    pub(crate) activation: Arc<Activation>,
    channel: Channel,
    inherited: Mutex<InheritedSockets>,
    is_ours: watch::Sender<bool>,
}

#[derive(Default)]
struct InheritedSockets {
    /// `None`: taken.
    sockets: Vec<Option<(InheritedSocket, OwnedFd)>>,
    taken: Vec<Taken>,
}

/// A socket that this process listens on now.
struct Taken {
    /// Its listener's name in the old process.
    old_name: Arc<str>,
    /// Its listener here; until the commit it lives on in the old process.
    origin: Arc<Origin>,
}

/// What the old process has left in the channel.
struct Left {
    offer: Offer,
    history: OwnedFd,
    sockets: Vec<(InheritedSocket, OwnedFd)>,
    activated: Vec<(String, OwnedFd)>,
}

/// Takes all of it out, and puts back the standard input that was.
fn unpack(channel: &Channel) -> io::Result<Left> {
    let lost = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let received: Received<Offer> = channel.receive()?.ok_or_else(lost)?;
    let offer = received.message;
    let mut with = received.descriptors.into_iter();
    rustix::stdio::dup2_stdin(with.next().ok_or_else(no_room)?)?;
    if offer.everup_upgrade != PROTOCOL {
        return Err(io::Error::other(format!(
            "the old process speaks version {} of the upgrade, this one {PROTOCOL}",
            offer.everup_upgrade
        )));
    }
    let mut left = Left {
        offer,
        history: with.next().ok_or_else(no_room)?,
        sockets: Vec::new(),
        activated: Vec::new(),
    };
    loop {
        let Received {
            message,
            descriptors,
            is_truncated,
        } = match channel.receive() {
            Ok(Some(received)) => received,
            // It has ended meanwhile: its sockets are here all the same.
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
        match message {
            ToNew::Sockets { .. } | ToNew::Activated { .. } if is_truncated => {
                return Err(no_room());
            }
            ToNew::Sockets { sockets } => left.sockets.extend(sockets.into_iter().zip(descriptors)),
            ToNew::Activated { names } => left.activated.extend(names.into_iter().zip(descriptors)),
            ToNew::Commit | ToNew::Connections { .. } | ToNew::Reload { .. } => {}
            ToNew::Unknown => {}
        }
    }
    Ok(left)
}

fn no_room() -> io::Error {
    io::Error::other(
        "the sockets of the old process do not fit into this one's limit of descriptors (`ulimit -n`, \
         `LimitNOFILE=`)",
    )
}

/// What the old process passes on after the commit.
pub(crate) enum PassedOn {
    /// Somebody asked it for a reload.
    Reload(Trigger),
    Connections(PassedConnections),
}

/// Idle connections that this process has room for. They are the old process's until they are taken
/// ([`Inheritance::accept`]).
pub(crate) struct PassedConnections {
    connections: Vec<TransferredConnection>,
    /// The place of each in the message that they came with.
    places: Vec<usize>,
}

impl Inheritance {
    /// Looks whether standard input is an old process's, and if so, puts back the standard input
    /// that was. To be called before anything else reads it or starts a process.
    ///
    /// # Errors
    /// Where it is one, but what it left cannot be taken.
    pub(crate) fn claim() -> Option<io::Result<Self>> {
        let stdin = io::stdin();
        let channel = Channel::recognize::<Offer>(stdin.as_fd())?;
        let unpacked = unpack(&channel);
        Some(match unpacked {
            Ok(left) => Ok(Self::of(channel, left)),
            Err(error) => {
                let reasons = vec![error.to_string()];
                let _ = channel.send(&ToOld::Failed { reasons }, &[]);
                Err(error)
            }
        })
    }

    fn of(channel: Channel, left: Left) -> Self {
        Self {
            generation: left.offer.generation,
            attempts: left.offer.attempts,
            history: records::read(left.history),
            activation: Arc::new(Activation::inherited(left.activated)),
            channel,
            inherited: Mutex::new(InheritedSockets {
                sockets: left.sockets.into_iter().map(Some).collect(),
                taken: Vec::new(),
            }),
            is_ours: watch::Sender::new(false),
        }
    }

    /// The listener of this address, under its new name. Where the system has picked the port, the
    /// name tells which: the admin API's listener has a name of its own.
    ///
    /// # Errors
    /// Where what was left is no such socket.
    pub(crate) fn take(
        &self,
        name: &str,
        address: &Address,
        access: Access,
    ) -> Option<io::Result<Listener>> {
        let mut sockets = self.inherited();
        let is_it = |inherited: &InheritedSocket| inherited.is_of(name, address, access);
        let found = sockets.sockets.iter_mut().find(|socket| {
            socket
                .as_ref()
                .is_some_and(|(inherited, _)| is_it(inherited))
        });
        let (inherited, socket) = found?.take()?;
        let old_name = inherited.name().clone();
        let listener = Listener::inherit(name, address, inherited, socket);
        if let Ok(listener) = &listener {
            let origin = listener.origin().clone();
            sockets.taken.push(Taken { old_name, origin });
        }
        Some(listener)
    }

    /// Lets this process bind what overlaps with addresses at this port that it has not taken.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn lend(&self, port: u16) -> io::Result<Vec<LentPort>> {
        let inherited = self.inherited();
        let left = inherited.sockets.iter().flatten();
        left.filter_map(|(inherited, socket)| inherited.lend(socket, port).transpose())
            .collect()
    }

    /// Says that this process serves, and closes what it has not taken.
    ///
    /// # Errors
    /// Where the old process is gone.
    pub(crate) fn announce(&self, generation: u64) -> io::Result<()> {
        let sockets = std::mem::take(&mut self.inherited().sockets);
        let taken = sockets.iter().enumerate();
        let ready = ToOld::Ready {
            pid: std::process::id(),
            generation,
            taken: taken
                .filter(|(_, socket)| socket.is_none())
                .map(|(place, _)| place)
                .collect(),
        };
        self.channel.send(&ready, &[])
    }

    /// Says why this process cannot serve. The old one sees the exit code where it does not listen.
    pub(crate) fn fail(&self, errors: &[Diagnostic]) {
        let reasons = errors.iter().map(ToString::to_string).collect();
        let _ = self.channel.send(&ToOld::Failed { reasons }, &[]);
    }

    /// What the old process passes on next; `None` when it has nothing more to say, and all is ours.
    pub(crate) async fn next(&self) -> Option<PassedOn> {
        loop {
            match self.channel.next().await {
                Ok(Some(received)) => {
                    if let Some(passed) = self.take_note(received) {
                        return Some(passed);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    // It is not understood. What it has not been answered for stays there.
                    self.channel.end();
                    break;
                }
            }
        }
        self.settle();
        None
    }

    fn take_note(&self, received: Received<ToNew>) -> Option<PassedOn> {
        match received.message {
            ToNew::Commit => {
                self.settle();
                None
            }
            ToNew::Reload { trigger } => Some(PassedOn::Reload(trigger)),
            ToNew::Connections { listeners } => {
                let mut passed = PassedConnections {
                    connections: Vec::new(),
                    places: Vec::new(),
                };
                // The kernel has dropped those behind the last that it had room for.
                let sockets = listeners.iter().zip(received.descriptors);
                for (place, (name, socket)) in sockets.enumerate() {
                    if leaves_reserve(&socket)
                        && let Some(connection) = self.transferred(name, socket)
                    {
                        passed.connections.push(connection);
                        passed.places.push(place);
                    }
                }
                Some(PassedOn::Connections(passed))
            }
            ToNew::Sockets { .. } | ToNew::Activated { .. } | ToNew::Unknown => None,
        }
    }

    /// Takes these connections, and says so: those that are returned are this process's now, and no
    /// longer the old one's.
    pub(crate) fn accept(&self, passed: PassedConnections) -> Vec<TransferredConnection> {
        let PassedConnections {
            connections,
            places,
        } = passed;
        match self.channel.send(&ToOld::Taken { places }, &[]) {
            Ok(()) => connections,
            // It is gone, and they were the last of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => connections,
            // It waits for this answer, and cannot get it. At the end of the talk it keeps them.
            Err(_) => {
                self.channel.end();
                Vec::new()
            }
        }
    }

    fn transferred(&self, old_name: &Arc<str>, socket: OwnedFd) -> Option<TransferredConnection> {
        let inherited = self.inherited();
        let taken = inherited
            .taken
            .iter()
            .find(|taken| taken.old_name == *old_name);
        // A reload may have given its socket another name since.
        let listener = taken?.origin.newest().name().clone();
        Some(TransferredConnection { listener, socket })
    }

    /// Tells the old process what a reload that it passed on came to. Where it is gone, so is
    /// whoever asked it.
    pub(crate) fn reloaded(&self, attempt: &Attempt) {
        let mut attempt = Box::new(attempt.clone());
        let answer = |attempt| ToOld::Reloaded { attempt };
        let sent = self.channel.send(&answer(attempt.clone()), &[]);
        if sent.is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput) {
            // Too long: the changes are counted, and not named. The history has them.
            attempt.changes_omitted += attempt.changes.len();
            attempt.changes.clear();
            let _ = self.channel.send(&answer(attempt), &[]);
        }
    }

    /// Whether the old process has let go.
    pub(crate) fn is_settled(&self) -> bool {
        *self.is_ours.borrow()
    }

    /// Waits until it has.
    pub(crate) async fn wait_until_settled(&self) {
        // The sender is here.
        let _ = self.is_ours.subscribe().wait_for(|is_ours| *is_ours).await;
    }

    /// This process stops: where the old one has not let go by now, it will find that it cannot,
    /// and serves on. Connections that have come so far, and no task has seen, are to be served.
    pub(crate) fn renounce(&self) -> Vec<TransferredConnection> {
        let mut connections = Vec::new();
        if self.hear_out(|passed| connections.extend(self.accept(passed))) {
            self.settle();
        } else {
            self.channel.end();
            // A commit that came before that counts. Connections do not: the old process would not hear
            // that they were taken.
            self.hear_out(drop);
        }
        connections
    }

    /// Takes note of what has been said so far; whether that is all that there will be.
    fn hear_out(&self, mut take: impl FnMut(PassedConnections)) -> bool {
        loop {
            match self.channel.receive() {
                Ok(Some(received)) => {
                    // A reload that a stop overtakes is not begun.
                    if let Some(PassedOn::Connections(passed)) = self.take_note(received) {
                        take(passed);
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn settle(&self) {
        if !self.is_ours.send_replace(true) {
            for taken in &self.inherited().taken {
                taken.origin.set_passed(false);
            }
        }
    }

    fn inherited(&self) -> MutexGuard<'_, InheritedSockets> {
        self.inherited
            .lock()
            .expect("nobody panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides after a claim: the old process's end, and what the new one has.
    fn claimed() -> (Channel, Inheritance) {
        let (old, new) = Channel::pair().expect("descriptors");
        let offer = Offer {
            everup_upgrade: PROTOCOL,
            generation: 7,
            attempts: 9,
        };
        old.send(&offer, &[]).expect("it is open");
        let inheritance = Inheritance {
            generation: 7,
            attempts: 9,
            history: Vec::new(),
            activation: Arc::default(),
            channel: Channel::recognize::<Offer>(new.as_fd()).expect("it begins with an offer"),
            inherited: Mutex::default(),
            is_ours: watch::Sender::new(false),
        };
        let received = inheritance.channel.receive::<Offer>();
        assert!(received.is_ok_and(|offer| offer.is_some()));
        (old, inheritance)
    }

    #[test]
    fn connections_whose_taking_cannot_be_told_are_left_to_the_old_process_which_hears_of_the_end()
    {
        let (old, inheritance) = claimed();
        let fills = || ToOld::Taken { places: Vec::new() };
        while inheritance.channel.send(&fills(), &[]).is_ok() {}
        let passed = PassedConnections {
            connections: Vec::new(),
            places: vec![0],
        };
        assert!(inheritance.accept(passed).is_empty());
        let is_end = loop {
            match old.receive::<ToOld>() {
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert!(is_end, "it would wait for ever");
    }

    #[test]
    fn who_stops_before_the_commit_leaves_all_to_the_old_process() {
        let (old, inheritance) = claimed();
        assert!(inheritance.renounce().is_empty());
        assert!(!inheritance.is_settled());
        let refused = old.send(&ToNew::Commit, &[]).expect_err("it has ended");
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn who_stops_after_the_commit_has_all() {
        let (old, inheritance) = claimed();
        old.send(&ToNew::Commit, &[]).expect("it is open");
        assert!(inheritance.renounce().is_empty());
        assert!(inheritance.is_settled());
    }

    #[test]
    fn who_outlives_the_old_process_has_all() {
        let (old, inheritance) = claimed();
        drop(old);
        assert!(inheritance.renounce().is_empty());
        assert!(inheritance.is_settled());
    }
}
