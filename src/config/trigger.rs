//! What triggered an attempt, a stop or an upgrade, and who sent it.

use std::{borrow::Cow, collections::BTreeSet, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::http::{Client, command};

/// What asked for an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trigger {
    pub kind: TriggerKind,
    /// The signal's name, where it was one.
    pub signal: Option<Cow<'static, str>>,
    /// Its sender, as far as the kernel tells.
    pub pid: Option<i32>,
    pub uid: Option<u32>,
    pub command: Option<String>,
    /// The address of the admin API's client, or `unix`.
    #[serde(default)]
    pub peer: Option<String>,
    /// Of changed files, the first three paths.
    #[serde(default)]
    pub paths: Vec<String>,
    /// How many more there are.
    #[serde(default)]
    pub paths_omitted: usize,
    /// The same was rejected before, and is tried again.
    #[serde(skip)]
    pub(crate) is_retry: bool,
}

/// Paths that a trigger names.
const PATHS_NAMED: usize = 3;

/// The kinds of [`Trigger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TriggerKind {
    Start,
    Signal,
    /// The admin API.
    Http,
    /// The library: [`Control`](crate::Control).
    Control,
    /// A changed source.
    Watch,
    /// A rollback, whoever asked for it.
    Rollback,
}

impl Trigger {
    pub(crate) fn new(kind: TriggerKind) -> Self {
        Self {
            kind,
            signal: None,
            pid: None,
            uid: None,
            command: None,
            peer: None,
            paths: Vec::new(),
            paths_omitted: 0,
            is_retry: false,
        }
    }

    /// A request to the admin API.
    pub(crate) fn of_client(kind: TriggerKind, client: &Client) -> Self {
        let peer = client.address.map(|address| address.to_string());
        Self {
            pid: client.pid,
            uid: client.uid,
            command: client.pid.and_then(command),
            peer: Some(peer.unwrap_or_else(|| UNIX.to_owned())),
            ..Self::new(kind)
        }
    }

    /// Files that have changed.
    pub(crate) fn of_paths(paths: &BTreeSet<PathBuf>) -> Self {
        let named = paths.iter().take(PATHS_NAMED);
        Self {
            paths: named.map(|path| path.display().to_string()).collect(),
            paths_omitted: paths.len().saturating_sub(PATHS_NAMED),
            ..Self::new(TriggerKind::Watch)
        }
    }
}

/// The peer on a unix socket.
const UNIX: &str = "unix";

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TriggerKind::Start => f.write_str("start")?,
            TriggerKind::Http => f.write_str("the admin API")?,
            TriggerKind::Control => f.write_str("the program")?,
            TriggerKind::Watch => f.write_str("a changed file")?,
            TriggerKind::Rollback => f.write_str("a rollback")?,
            TriggerKind::Signal => f.write_str(self.signal.as_deref().unwrap_or("a signal"))?,
        }
        match self.peer.as_deref() {
            Some(UNIX) => f.write_str(" from a unix socket")?,
            Some(address) => write!(f, " from {address}")?,
            None => {}
        }
        if let Some(pid) = self.pid {
            let from = if self.peer.is_none() { " from" } else { "," };
            write!(f, "{from} pid {pid}")?;
        }
        if let Some(uid) = self.uid {
            write!(f, " uid {uid}")?;
        }
        if let Some(command) = &self.command {
            write!(f, " ({command})")?;
        }
        if !self.paths.is_empty() {
            write!(f, " ({}", self.paths.join(", "))?;
            match self.paths_omitted {
                0 => f.write_str(")")?,
                more => write!(f, " and {more} more)")?,
            }
        }
        match self.is_retry {
            true => f.write_str(", tried again"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_paths_are_named_and_the_rest_counted() {
        let paths = |count: usize| (0..count).map(|number| PathBuf::from(number.to_string()));
        let told = |count| Trigger::of_paths(&paths(count).collect()).to_string();
        assert_eq!(told(0), "a changed file");
        assert_eq!(told(1), "a changed file (0)");
        assert_eq!(told(3), "a changed file (0, 1, 2)");
        assert_eq!(told(12), "a changed file (0, 1, 10 and 9 more)");
    }

    #[test]
    fn a_client_is_named_as_far_as_it_is_known() {
        let mut client = Client {
            address: "127.0.0.1:7".parse().ok(),
            uid: Some(5),
            ..Client::default()
        };
        let told = |client: &Client| Trigger::of_client(TriggerKind::Http, client).to_string();
        assert_eq!(told(&client), "the admin API from 127.0.0.1:7 uid 5");
        client.address = None;
        client.pid = Some(i32::MAX);
        assert_eq!(
            told(&client),
            "the admin API from a unix socket, pid 2147483647 uid 5"
        );
    }
}
