//! A listener as its connections know it: its name, its address, and what happens to it. It is written when
//! listeners change, never while a request is served.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::speaks::Speaks;
use crate::generation::Generation;

/// Shared by a listener, its shares and its connections.
pub(crate) struct Origin {
    name: Arc<str>,
    /// The real one; `None` for a path, and for a listener that is gone.
    address: Option<SocketAddr>,
    /// The service manager holds the socket too.
    is_managed: bool,
    has_passed: AtomicBool,
    closes_since: OnceLock<Instant>,
    after: OnceLock<After>,
}

/// What happens to this listener from a generation on. Workers still on an older generation use the
/// settings of its name.
struct After {
    generation: u64,
    then: Then,
}

enum Then {
    /// Another listener takes its connections, and usually its socket.
    Taken(Arc<Origin>),
    /// It closes. Connections that it still accepts use its old protocols.
    Closes(Speaks),
}

impl Origin {
    pub(crate) fn new(name: &str, address: Option<SocketAddr>, is_managed: bool) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            address,
            is_managed,
            has_passed: AtomicBool::new(false),
            closes_since: OnceLock::new(),
            after: OnceLock::new(),
        })
    }

    /// The listener's.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where its socket listens, port 0 resolved; `None` where that is a path.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn is_managed(&self) -> bool {
        self.is_managed
    }

    /// Whether another listener has the socket from now on, in this process or the next: its queue and
    /// its name are that one's.
    pub(crate) fn set_passed(&self, has_passed: bool) {
        self.has_passed.store(has_passed, Ordering::Release);
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::Acquire)
    }

    /// Whether the socket outlives the listener: passed, or held by the service manager.
    pub(crate) fn lives_on(&self) -> bool {
        self.is_managed || self.has_passed()
    }

    /// From this generation on, another listener has the socket.
    pub(crate) fn mark_taken(&self, generation: u64, by: &Arc<Self>) {
        let then = Then::Taken(by.clone());
        // Set once: the snapshot no longer has this listener.
        let _ = self.after.set(After { generation, then });
        by.set_passed(false);
        self.set_passed(true);
    }

    /// From this generation on, another listener has the address, on a socket of its own: this one is
    /// about to close, and its connections are that one's.
    pub(crate) fn mark_replaced(&self, generation: u64, by: &Arc<Self>) {
        let then = Then::Taken(by.clone());
        // Set once: the snapshot no longer has this listener.
        let _ = self.after.set(After { generation, then });
        self.mark_closing();
    }

    /// From this generation on, nothing names the listener: it is about to close.
    pub(crate) fn mark_removed(&self, generation: u64, speaks: Speaks) {
        let then = Then::Closes(speaks);
        // Set once: the snapshot no longer has this listener.
        let _ = self.after.set(After { generation, then });
        self.mark_closing();
    }

    /// The listener is about to close: its connections are to end as soon as nothing is lost by it.
    pub(crate) fn mark_closing(&self) {
        self.closes_since.get_or_init(Instant::now);
    }

    /// Since when its connections are to end, under whatever name by then.
    pub(crate) fn closes_since(self: &Arc<Self>) -> Option<Instant> {
        self.newest().closes_since.get().copied()
    }

    /// Whether this very socket is about to close.
    pub(crate) fn is_closing(&self) -> bool {
        self.closes_since.get().is_some()
    }

    /// The listener that has its connections in this generation.
    pub(crate) fn at(self: &Arc<Self>, generation: u64) -> &Arc<Self> {
        let mut origin = self;
        while let Some(Then::Taken(by)) = origin.then(generation) {
            origin = by;
        }
        origin
    }

    /// The listener that has them now.
    pub(crate) fn newest(self: &Arc<Self>) -> &Arc<Self> {
        self.at(u64::MAX)
    }

    /// What its connections may speak in this generation, by its name where it is served.
    pub(crate) fn speaks(
        &self,
        generation: &Generation,
        by: fn(&Generation, &str) -> Speaks,
    ) -> Speaks {
        match self.then(generation.number) {
            Some(Then::Closes(speaks)) => speaks.clone(),
            Some(Then::Taken(_)) | None => by(generation, &self.name),
        }
    }

    fn then(&self, generation: u64) -> Option<&Then> {
        let after = self.after.get()?;
        (generation >= after.generation).then_some(&after.then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_outlive_a_socket_that_is_replaced() {
        let [old, new] = ["one", "one"].map(|name| Origin::new(name, None, false));
        old.mark_replaced(5, &new);
        assert!(old.is_closing() && !new.is_closing());
        assert!(!old.lives_on(), "its queue is emptied here");
        assert_eq!(old.closes_since(), None);
        new.mark_closing();
        assert!(old.closes_since().is_some());
    }

    #[test]
    fn a_socket_is_that_of_whoever_has_it_in_a_generation() {
        let [first, second, third] =
            ["one", "two", "three"].map(|name| Origin::new(name, None, false));
        first.mark_taken(5, &second);
        second.mark_taken(7, &third);
        let at = |generation| first.at(generation).name().to_string();
        assert_eq!([4, 5, 6, 7].map(at), ["one", "two", "two", "three"]);
        assert_eq!(**first.newest().name(), *"three");
        assert!(first.has_passed() && second.has_passed() && !third.has_passed());
        assert_eq!(first.closes_since(), None);
        third.mark_closing();
        assert!(
            first.closes_since().is_some(),
            "its connections are those of the third"
        );
    }
}
