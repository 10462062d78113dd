//! The environment as values: the variables that set settings, those that secrets name, and the
//! directories that systemd gives a service.
//! Reads nothing ambient: whoever owns the process hands the variables in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

/// A set of variables, and the prefix of those that are settings.
#[derive(Clone, Default)]
pub(super) struct Environment {
    prefix: String,
    variables: BTreeMap<OsString, OsString>,
}

/// Whose variable names the directory in which a relative path of what is written starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// `$LOGS_DIRECTORY`.
    Logs,
    /// `$RUNTIME_DIRECTORY`: sockets, process ids.
    Runtime,
    /// `$STATE_DIRECTORY`.
    State,
}

impl Environment {
    pub(super) fn new(prefix: &str, variables: BTreeMap<OsString, OsString>) -> Environment {
        Environment {
            prefix: prefix.to_owned(),
            variables,
        }
    }

    /// The variables that are settings: the whole name, what follows the prefix, and the value
    /// where it is a text.
    pub(super) fn settings(&self) -> impl Iterator<Item = (Cow<'_, str>, String, Option<&str>)> {
        let prefix = format!("{}__", self.prefix);
        let variables = self.variables.iter();
        variables.filter_map(move |(name, value)| {
            let name = name.to_string_lossy();
            let rest = name.strip_prefix(&prefix)?.to_owned();
            Some((name, rest, value.to_str()))
        })
    }

    /// The variables that begin with the prefix and are not settings for want of one `_`: the whole
    /// name, and what follows the prefix and its `_`.
    pub(super) fn others(&self) -> impl Iterator<Item = (Cow<'_, str>, String)> {
        let prefix = format!("{}_", self.prefix);
        let names = self.variables.keys().map(|name| name.to_string_lossy());
        names.filter_map(move |name| {
            let rest = name.strip_prefix(&prefix)?;
            let rest = (!rest.starts_with('_')).then(|| rest.to_owned())?;
            Some((name, rest))
        })
    }

    /// What the variables of the service begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Any variable.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    /// Where a path of what is written leads: a relative one starts at the directory that systemd
    /// gave, the first of several; without one, wherever the process works.
    pub(super) fn written(&self, what: Written, path: &Path) -> PathBuf {
        let name = match what {
            Written::Logs => "LOGS_DIRECTORY",
            Written::Runtime => "RUNTIME_DIRECTORY",
            Written::State => "STATE_DIRECTORY",
        };
        let directories = self.get(name);
        let first = directories.and_then(|directories| std::env::split_paths(directories).next());
        first.unwrap_or_default().join(path)
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.variables.keys().collect::<Vec<_>>();
        out.debug_struct("Environment")
            .field("prefix", &self.prefix)
            .field("variables", &names)
            .finish()
    }
}
