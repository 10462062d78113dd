//! Chooses a socket for each listener of an attempt: the one that is served, one of a removed listener or
//! of the predecessor, or a new one. Clients reach none of the new sockets yet.
//!
//! Existing sockets are assigned first, then the rest is bound. Only sockets that nobody keeps lend their
//! port to an overlapping address.

use std::{io, sync::Arc};

use super::prepare::Job;
use crate::{
    net::{Access, Activation, LentPort, Listener},
    settings::{
        Address, Admin, Diagnostic, Effective, Fault, Server, Sources, Written, first, reason,
    },
    upgrade::Inheritance,
};

/// A listener of the next snapshot.
pub(super) enum Opening {
    /// It is served already.
    Kept(Arc<Listener>),
    New(Listener),
    /// On the socket of one that goes: the address is served before and after.
    Moved {
        from: Arc<Listener>,
        to: Listener,
    },
    /// In the place of one whose socket's file is gone: nobody could connect to that any more.
    Replaced {
        from: Arc<Listener>,
        to: Listener,
    },
}

impl Opening {
    pub(super) fn listener(&self) -> &Listener {
        match self {
            Self::Kept(listener) => listener,
            Self::New(listener)
            | Self::Moved { to: listener, .. }
            | Self::Replaced { to: listener, .. } => listener,
        }
    }

    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// All listeners of the next snapshot.
pub(super) struct Bound {
    pub(super) listeners: Vec<Opening>,
    pub(super) admin: Option<Opening>,
}

impl Bound {
    /// Binds every address, or tells of every one that cannot be bound.
    pub(super) fn all(
        job: &Job,
        effective: &Effective,
        server: &Server,
        admin: &Admin,
    ) -> Result<Self, Vec<Diagnostic>> {
        let listeners = server.listeners.iter().map(|(name, listener)| Wanted {
            name,
            address: placed(&job.sources, listener.address.clone()),
            access: Access::Anyone,
        });
        let admin = admin.address.listener().map(|address| Wanted {
            name: ADMIN,
            address: placed(&job.sources, address),
            access: Access::Owner,
        });
        let has_admin = admin.is_some();
        let wanted: Vec<_> = listeners.chain(admin).collect();
        let mut binding = Binding::of(job, effective, &wanted);
        let found: Vec<_> = wanted.iter().map(|wanted| binding.find(wanted)).collect();
        let mut listeners = Vec::new();
        for (wanted, found) in wanted.iter().zip(found) {
            listeners.extend(binding.one(wanted, found));
        }
        if !binding.errors.is_empty() {
            return Err(first(binding.errors));
        }
        let admin = has_admin.then(|| listeners.pop()).flatten();
        Ok(Self { listeners, admin })
    }

    /// Those that are not served yet.
    pub(super) fn new_ones(&mut self) -> impl Iterator<Item = &mut Listener> {
        let openings = self.listeners.iter_mut().chain(&mut self.admin);
        openings.filter_map(|opening| match opening {
            Opening::Kept(_) => None,
            Opening::New(listener)
            | Opening::Moved { to: listener, .. }
            | Opening::Replaced { to: listener, .. } => Some(listener),
        })
    }

    /// Those whose socket's file was gone.
    pub(super) fn replaced(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let openings = self.listeners.iter().chain(&self.admin);
        openings.filter_map(|opening| match opening {
            Opening::Replaced { from, .. } => Some(from),
            Opening::Kept(_) | Opening::New(_) | Opening::Moved { .. } => None,
        })
    }
}

/// A listener that the settings ask for.
struct Wanted<'a> {
    name: &'a str,
    address: Address,
    access: Access,
}

impl Wanted<'_> {
    fn is_served_by(&self, listener: &Listener) -> bool {
        **listener.name() == *self.name && *listener.asked() == self.address
    }
}

struct Binding<'a> {
    effective: &'a Effective,
    inheritance: Option<&'a Inheritance>,
    activation: &'a Activation,
    kept: Vec<Arc<Listener>>,
    /// Those that are served and will not be.
    going: Vec<Arc<Listener>>,
    /// The addresses so far, and the keys that ask for them.
    taken: Vec<(Address, String)>,
    errors: Vec<Diagnostic>,
}

impl<'a> Binding<'a> {
    fn of(job: &'a Job, effective: &'a Effective, wanted: &[Wanted<'_>]) -> Self {
        let served = job
            .current
            .iter()
            .flat_map(|it| it.snapshot.all_listeners());
        let (kept, going) = served
            .cloned()
            .partition(|listener| wanted.iter().any(|wanted| wanted.is_served_by(listener)));
        Self {
            effective,
            inheritance: job.inheritance.as_deref(),
            activation: &job.activation,
            kept,
            going,
            taken: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn one(&mut self, wanted: &Wanted<'_>, found: Option<io::Result<Opening>>) -> Option<Opening> {
        let (key, address) = (key_of(wanted.name), &wanted.address);
        let twice = self.taken.iter().find(|(other, _)| other == address);
        if let Some((_, first)) = twice.filter(|_| !address.is_any_port()) {
            let message = format!("{address} is the address of {first} already");
            self.errors
                .push(self.effective.diagnostic(Fault::Settings, &key, &message));
            return None;
        }
        let opened = found.unwrap_or_else(|| self.bind(wanted));
        let opened = opened.map_err(|error| {
            let fault = match address {
                // No later try finds other sockets passed.
                Address::Systemd(_) => Fault::of(&error),
                Address::Tcp(_) | Address::Unix(_) => Fault::System,
            };
            let message = format!("cannot listen on {address}: {}", reason(&error));
            self.errors
                .push(self.effective.diagnostic(fault, &key, &message));
        });
        self.taken.push((address.clone(), key));
        opened.ok()
    }

    /// What exists already.
    fn find(&mut self, wanted: &Wanted<'_>) -> Option<io::Result<Opening>> {
        let Wanted {
            name,
            address,
            access,
        } = wanted;
        if let Some(kept) = self.kept.iter().find(|kept| wanted.is_served_by(kept)) {
            return kept.has_file().then(|| Ok(Opening::Kept(kept.clone())));
        }
        let is_it = |going: &Arc<Listener>| going.as_inherited().is_of(name, address, *access);
        if let Some(place) = self.going.iter().position(is_it) {
            let from = self.going.swap_remove(place);
            let moved = from.clone_for_successor().and_then(|(inherited, socket)| {
                Listener::inherit(name, address, inherited, socket)
            });
            return Some(moved.map(|to| Opening::Moved { from, to }));
        }
        let inherited = self.inheritance?.take(name, address, *access)?;
        Some(inherited.map(Opening::New))
    }

    fn bind(&self, wanted: &Wanted<'_>) -> io::Result<Opening> {
        let Wanted {
            name,
            address,
            access,
        } = wanted;
        let is_there = |it: &&Arc<Listener>| it.address() == address && it.has_file();
        if let Some(other) = self.going.iter().find(is_there) {
            // A path whose mode is another's: that says who may connect.
            let name = other.name();
            let why = format!("{name} still uses it, until a reload closes that listener");
            return Err(io::Error::other(why));
        }
        let bound = match address {
            Address::Systemd(passed) => self.activation.listener(name, address, passed),
            Address::Tcp(_) | Address::Unix(_) => {
                Listener::bind(name, address, *access, |port| self.lend(port))
            }
        };
        let replaced = self.kept.iter().find(|kept| wanted.is_served_by(kept));
        Ok(match replaced {
            Some(from) => Opening::Replaced {
                from: from.clone(),
                to: bound?,
            },
            None => Opening::New(bound?),
        })
    }

    /// The ports of sockets that nobody here listens on from now on.
    fn lend(&self, port: u16) -> io::Result<Vec<LentPort>> {
        let going = self.going.iter();
        let mut lent: Vec<_> = going
            .filter_map(|going| going.lend(port).transpose())
            .collect::<io::Result<_>>()?;
        if let Some(inheritance) = self.inheritance {
            lent.extend(inheritance.lend(port)?);
        }
        Ok(lent)
    }
}

/// Where a relative path starts.
fn placed(sources: &Sources, address: Address) -> Address {
    match address {
        Address::Unix(path) => Address::Unix(sources.written(Written::Runtime, &path)),
        Address::Tcp(_) | Address::Systemd(_) => address,
    }
}

/// The admin listener's name, which no other listener can have: those have no space.
const ADMIN: &str = "the admin API";

/// The key that asks for a listener.
pub(super) fn key_of(listener: &str) -> String {
    match listener {
        ADMIN => "admin.address".to_owned(),
        name => format!("server.listeners.{name}.address"),
    }
}
