//! The new process's side: finds what it was left, takes from it, says when it serves.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;

use super::{
    channel::Channel,
    message::{Offer, PROTOCOL, ToNew, ToOld},
    records,
};
use crate::{
    config::{Attempt, Trigger},
    server::{Access, Activation, Arrival, Bequest, Listener, Origin},
    settings::{Address, Diagnostic},
};

/// What an old process has left for this one.
pub(crate) struct Inheritance {
    /// The generation that the old process serves, and its newest attempt's number.
    pub(crate) generation: u64,
    pub(crate) attempts: u64,
    /// What is told of them, newest first.
    pub(crate) history: Vec<Attempt>,
    /// What the service manager has passed to the first of all processes.
    pub(crate) activation: Arc<Activation>,
    channel: Channel,
    chest: Mutex<Chest>,
    is_ours: watch::Sender<bool>,
}

#[derive(Default)]
struct Chest {
    /// `None`: taken.
    sockets: Vec<Option<(Bequest, OwnedFd)>>,
    taken: Vec<Taken>,
}

/// A socket that this process listens on now.
struct Taken {
    /// Its listener's name in the old process.
    old_name: Arc<str>,
    /// Its listener here; until the commit it lives on in the old process.
    origin: Arc<Origin>,
}

/// What the old process passes on after the commit.
pub(crate) enum PassedOn {
    /// Somebody asked it for a reload.
    Reload(Trigger),
    /// Idle connections.
    Connections(Vec<Arrival>),
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
        Some(Self::unpack(channel))
    }

    fn unpack(channel: Channel) -> io::Result<Self> {
        let lost = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (offer, with): (Offer, _) = channel.receive()?.ok_or_else(lost)?;
        let mut with = with.into_iter();
        rustix::stdio::dup2_stdin(with.next().ok_or_else(lost)?)?;
        if offer.everup_upgrade != PROTOCOL {
            return Err(io::Error::other(format!(
                "the old process speaks version {} of the upgrade, this one {PROTOCOL}",
                offer.everup_upgrade
            )));
        }
        let (mut sockets, mut activated) = (Vec::new(), Vec::new());
        loop {
            match channel.receive() {
                Ok(Some((ToNew::Sockets(bequests), with))) => {
                    sockets.extend(bequests.into_iter().zip(with).map(Some));
                }
                Ok(Some((ToNew::Activated(names), with))) => {
                    activated.extend(names.into_iter().zip(with));
                }
                Ok(Some(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It has ended meanwhile: its sockets are here all the same.
                Ok(None) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            generation: offer.generation,
            attempts: offer.attempts,
            history: with.next().map(records::read).unwrap_or_default(),
            activation: Arc::new(Activation::inherited(activated)),
            channel,
            chest: Mutex::new(Chest {
                sockets,
                taken: Vec::new(),
            }),
            is_ours: watch::Sender::new(false),
        })
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
        let mut chest = self.chest();
        let is_it = |bequest: &Bequest| bequest.is_of(name, address, access);
        let found = chest
            .sockets
            .iter_mut()
            .find(|socket| socket.as_ref().is_some_and(|(bequest, _)| is_it(bequest)));
        let (bequest, socket) = found?.take()?;
        let old_name = bequest.name().clone();
        let listener = Listener::inherit(name, address, bequest, socket);
        if let Ok(listener) = &listener {
            let origin = listener.origin().clone();
            chest.taken.push(Taken { old_name, origin });
        }
        Some(listener)
    }

    /// Says that this process serves, and closes what it has not taken.
    ///
    /// # Errors
    /// Where the old process is gone.
    pub(crate) fn announce(&self, generation: u64) -> io::Result<()> {
        let sockets = std::mem::take(&mut self.chest().sockets);
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
        let _ = self.channel.send(&ToOld::Failed(reasons), &[]);
    }

    /// What the old process passes on next; `None` when it has nothing more to say, and all is ours.
    pub(crate) async fn next(&self) -> Option<PassedOn> {
        loop {
            match self.channel.next().await {
                Ok(Some((said, with))) => {
                    if let Some(passed) = self.take_note(said, with) {
                        return Some(passed);
                    }
                }
                Ok(None) | Err(_) => {
                    self.settle();
                    return None;
                }
            }
        }
    }

    fn take_note(&self, said: ToNew, with: Vec<OwnedFd>) -> Option<PassedOn> {
        match said {
            ToNew::Yours => {
                self.settle();
                None
            }
            ToNew::Reload(trigger) => Some(PassedOn::Reload(trigger)),
            ToNew::Connections(names) => {
                let arrivals = names.iter().zip(with);
                let arrivals = arrivals.filter_map(|(name, socket)| self.arrival(name, socket));
                Some(PassedOn::Connections(arrivals.collect()))
            }
            ToNew::Sockets(_) | ToNew::Activated(_) => None,
        }
    }

    fn arrival(&self, old_name: &Arc<str>, socket: OwnedFd) -> Option<Arrival> {
        let chest = self.chest();
        let taken = chest.taken.iter().find(|taken| taken.old_name == *old_name);
        // A reload may have given its socket another name since.
        let listener = taken?.origin.newest().name().clone();
        Some(Arrival { listener, socket })
    }

    /// Tells the old process what a reload that it passed on came to. Where it is gone, so is
    /// whoever asked it.
    pub(crate) fn reloaded(&self, attempt: &Attempt) {
        let answer = ToOld::Reloaded(Box::new(attempt.clone()));
        let _ = self.channel.send(&answer, &[]);
    }

    /// Whether the old process has let go.
    pub(crate) fn is_settled(&self) -> bool {
        *self.is_ours.borrow()
    }

    /// Waits until it has.
    pub(crate) async fn settles(&self) {
        // The sender is here.
        let _ = self.is_ours.subscribe().wait_for(|is_ours| *is_ours).await;
    }

    /// This process stops: where the old one has not let go by now, it will find that it cannot,
    /// and serves on. Connections that have come so far, and no task has seen, are to be served.
    pub(crate) fn renounce(&self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        if self.has_hung_up(&mut arrivals) {
            self.settle();
        } else {
            self.channel.end();
            // What it said before that counts.
            self.has_hung_up(&mut arrivals);
        }
        arrivals
    }

    /// Takes note of what has been said so far; whether that is all that there will be.
    fn has_hung_up(&self, arrivals: &mut Vec<Arrival>) -> bool {
        loop {
            match self.channel.receive() {
                Ok(Some((said, with))) => {
                    // A reload that a stop overtakes is not begun.
                    if let Some(PassedOn::Connections(some)) = self.take_note(said, with) {
                        arrivals.extend(some);
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn settle(&self) {
        if !self.is_ours.send_replace(true) {
            for taken in &self.chest().taken {
                taken.origin.passes(false);
            }
        }
    }

    fn chest(&self) -> MutexGuard<'_, Chest> {
        self.chest.lock().expect("nobody panics while holding it")
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
            chest: Mutex::default(),
            is_ours: watch::Sender::new(false),
        };
        let received = inheritance.channel.receive::<Offer>();
        assert!(received.is_ok_and(|offer| offer.is_some()));
        (old, inheritance)
    }

    #[test]
    fn who_stops_before_the_commit_leaves_all_to_the_old_process() {
        let (old, inheritance) = claimed();
        assert!(inheritance.renounce().is_empty());
        assert!(!inheritance.is_settled());
        let refused = old.send(&ToNew::Yours, &[]).expect_err("it has ended");
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn who_stops_after_the_commit_has_all() {
        let (old, inheritance) = claimed();
        old.send(&ToNew::Yours, &[]).expect("it is open");
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
