//! Listening sockets that the service manager holds and passes by name (sd_listen_fds(3)).
//!
//! They outlive the process: another one may serve them later, and the manager keeps them open in between.
//! Each use takes a clone, so a socket can be taken again.

use std::{env, io, iter, os::fd::OwnedFd, sync::Arc};

use listenfd::ListenFd;
use rustix::process::{Resource, getrlimit};
use socket2::{SockAddr, Socket};

use super::listener::Listener;
use crate::settings::Address;

/// What the service manager has passed.
#[derive(Default)]
pub(crate) struct Activation(Vec<PassedSocket>);

struct PassedSocket {
    name: String,
    /// Why it cannot be listened on, where it cannot.
    socket: Result<Socket, &'static str>,
}

/// The name of a socket that has none (sd_listen_fds_with_names(3)).
const UNNAMED: &str = "unknown";

impl Activation {
    /// Takes what `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` tell of. To be called once, before
    /// anything opens a descriptor or starts a thread: it unsets the first two, which are not meant
    /// for children.
    pub(crate) fn claim() -> Self {
        let told = |name| env::var(name).unwrap_or_default();
        let count = told("LISTEN_FDS").parse::<u64>();
        let limit = getrlimit(Resource::Nofile).current;
        if count.is_ok_and(|count| limit.is_some_and(|limit| count > limit)) {
            // There cannot be so many.
            return Self::default();
        }
        let names = told("LISTEN_FDNAMES");
        let names = names.split(':').chain(iter::repeat(""));
        let names = names.map(|name| if name.is_empty() { UNNAMED } else { name });
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len())
            .zip(names)
            .map(|(place, name)| PassedSocket {
                name: name.to_owned(),
                socket: take(&mut passed, place),
            });
        Self(sockets.collect())
    }

    /// What the predecessor was passed, and passes on.
    pub(crate) fn inherited(sockets: impl IntoIterator<Item = (String, OwnedFd)>) -> Self {
        let sockets = sockets.into_iter().map(|(name, socket)| PassedSocket {
            name,
            socket: Ok(socket.into()),
        });
        Self(sockets.collect())
    }

    /// Its listening sockets, for the next process.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn clone_for_successor(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.valid_sockets()
            .map(|(name, socket)| Ok((name.to_owned(), socket.try_clone()?.into())))
            .collect()
    }

    fn valid_sockets(&self) -> impl Iterator<Item = (&str, &Socket)> {
        self.0.iter().filter_map(|passed| {
            let socket = passed.socket.as_ref().ok()?;
            Some((passed.name.as_str(), socket))
        })
    }

    /// The listener `name` on the socket that was passed as `wanted`; `asked` is how settings say it.
    ///
    /// # Errors
    /// Where it is not exactly one, or cannot be listened on.
    pub(crate) fn listener(
        &self,
        name: &str,
        asked: &Address,
        wanted: &str,
    ) -> io::Result<Listener> {
        let mut of_name = self.0.iter().filter(|passed| passed.name == wanted);
        let passed = of_name.next().ok_or_else(|| self.missing())?;
        if of_name.next().is_some() {
            return Err(io::Error::other(
                "more than one socket of this name was passed (`FileDescriptorName=` tells them \
                 apart)",
            ));
        }
        let socket = passed.socket.as_ref();
        let socket = socket.map_err(|why| io::Error::other(*why))?;
        Listener::activated(name, asked, socket.try_clone()?)
    }

    fn missing(&self) -> io::Error {
        let names = self.0.iter().map(|passed| format!("`{}`", passed.name));
        let names: Vec<_> = names.collect();
        io::Error::other(if names.is_empty() {
            "the service manager passed no socket (is the service started by its `.socket` unit?)"
                .to_owned()
        } else {
            format!(
                "no socket of this name was passed; passed were {}",
                names.join(", ")
            )
        })
    }

    /// The names of listening sockets that no listener asks for.
    pub(crate) fn unused<'a>(&'a self, listeners: &'a [Arc<Listener>]) -> Vec<&'a str> {
        let is_asked = |name: &str| {
            let mut asked = listeners.iter().map(|listener| listener.asked());
            asked.any(|asked| matches!(asked, Address::Systemd(asked) if asked == name))
        };
        let names = self.valid_sockets().map(|(name, _)| name);
        names.filter(|name| !is_asked(name)).collect()
    }
}

fn take(passed: &mut ListenFd, place: usize) -> Result<Socket, &'static str> {
    let tcp = passed
        .take_tcp_listener(place)
        .map(|it| it.map(Socket::from));
    let socket = tcp.or_else(|_| {
        passed
            .take_unix_listener(place)
            .map(|it| it.map(Socket::from))
    });
    match socket {
        Ok(Some(socket)) if socket.is_listener().unwrap_or(false) => Ok(socket),
        Ok(Some(_)) => Err("the socket that was passed does not listen (`Accept=yes`?)"),
        Ok(None) | Err(_) => Err("what was passed is no TCP or unix stream socket"),
    }
}

/// Where a socket listens. An abstract name is written after `@`, as systemd.socket(5) has it.
pub(crate) fn address_of(found: &SockAddr) -> Option<Address> {
    if let Some(address) = found.as_socket() {
        return Some(Address::Tcp(address));
    }
    if let Some(path) = found.as_pathname() {
        return Some(Address::Unix(path.to_owned()));
    }
    let name = String::from_utf8_lossy(found.as_abstract_namespace()?);
    Some(Address::Unix(format!("@{name}").into()))
}
