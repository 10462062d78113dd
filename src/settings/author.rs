//! What the author of a service brings: the settings type, its check and the build of its state.
//! Owns what is handed to that code; runs none of it.

use super::build::Build;
use super::diagnostic::{Fault, REPORTED};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::fmt;
use std::io;

/// The settings of a service: its table `[app]`.
///
/// Doc comments of the type become the descriptions of its schema. Put `#[serde(default)]` on it,
/// so that every setting may be left out: a key without a default is required, whether or not its
/// table is there, and whatever [`Default`] says. A key that the type does not know is an error by itself.
///
/// Where a later layer sets another variant of an enum, that one replaces the first. The same holds for
/// keys of a struct that exclude each other, if its schema says so by `oneOf`:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use schemars::JsonSchema;
/// # use serde_json::json;
/// #[derive(Serialize, Deserialize, JsonSchema, Default)]
/// #[serde(default)]
/// #[schemars(extend("oneOf" = [{ "required": ["path"] }, { "required": ["url"] }]))]
/// struct Source { path: Option<String>, url: Option<String> }
/// ```
pub trait Settings:
    Serialize + DeserializeOwned + JsonSchema + Default + Send + Sync + 'static
{
    /// The service's name, in lower case: it prefixes variables (`EVERUP__SERVER__WORKERS`) and names
    /// the usual settings directory, `/etc/NAME`.
    const NAME: &'static str;

    /// What is derived from the settings once per reload: a pool, a table, a set of templates.
    type State: Send + Sync + 'static;

    /// Finds what types cannot say.
    fn check(&self, _found: &mut Findings) {}

    /// Makes the state of a generation; may do I/O, and need not be `Send`. Where it awaits, it is given
    /// up at `reload.timeout`; where it blocks its thread longer than that, further reloads are rejected
    /// until it returns.
    ///
    /// What it starts with `tokio::spawn` goes on after it, on the thread that serves signals and the
    /// admin API: it must not block. What it starts with `actix_web::rt::spawn` stops when it ends.
    ///
    /// # Errors
    /// Any error rejects the reload; [`Findings`] are told each at its place.
    fn build(&self, with: &Build) -> impl Future<Output = Result<Self::State, Box<dyn Error>>>;
}

/// What a [`Settings::check`] finds wrong; or a [`Settings::build`], which returns it as its error.
#[derive(Debug, Default)]
pub struct Findings {
    pub(super) findings: Vec<Finding>,
    pub(super) warnings: Vec<Warning>,
    pub(super) probes: Vec<Probe>,
}

/// A path that a listener answers itself.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) listener: String,
    pub(crate) path: String,
}

/// A setting that is valid and probably not what was meant.
#[derive(Clone, Debug)]
pub(crate) struct Warning {
    /// Dotted, relative to the author's table.
    pub(super) key: String,
    pub(super) message: String,
}

#[derive(Debug)]
pub(super) struct Finding {
    /// Dotted, relative to the author's table.
    pub(super) key: String,
    pub(super) wrong: Wrong,
}

/// What is wrong with a setting.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It should be this.
    Expected(String),
    /// Its key, a name that the operator chose, should be this.
    ExpectedKey(String),
    /// It may be right, but this came of it.
    Failed(String),
    /// It must not be followed.
    Refused(String),
    /// The file that it names cannot be read.
    Unreadable(Fault, String),
}

impl Findings {
    /// Reports a setting: its dotted key, relative to the author's table (`friends.0`,
    /// `routes."/a.b".status`), and what was expected there ("a text that is not empty").
    ///
    /// What was found, and where, is added.
    pub fn at(&mut self, key: &str, expected: impl ToString) {
        self.add(key, Wrong::Expected(expected.to_string()));
    }

    /// Reports the key itself, where it is a name that the operator chose, such as a header's: what
    /// was expected of it. The key is shown in its line, not the value.
    pub fn at_key(&mut self, key: &str, expected: impl ToString) {
        self.add(key, Wrong::ExpectedKey(expected.to_string()));
    }

    /// Reports a setting that cannot be followed, by its key as [`at`](Self::at) has it, and why not
    /// ("cannot read `list.txt`: permission denied"). Where it stands is added.
    pub fn failed(&mut self, key: &str, why: impl ToString) {
        self.add(key, Wrong::Failed(why.to_string()));
    }

    /// Reports a setting that must not be followed, whatever is tried again, by its key as
    /// [`at`](Self::at) has it, and why not ("`public` holds the settings, which would be served").
    /// Where it stands is added.
    pub fn refused(&mut self, key: &str, why: impl ToString) {
        self.add(key, Wrong::Refused(why.to_string()));
    }

    /// Reports a setting that names a file which cannot be read, by its key as [`at`](Self::at) has
    /// it, with the error of [`Build::read`]. No retry helps: the exit code of a start is 78.
    pub fn unreadable(&mut self, key: &str, error: &io::Error) {
        self.add(key, Wrong::Unreadable(Fault::of(error), error.to_string()));
    }

    /// Warns of a setting that is valid and probably not what was meant, by its key as
    /// [`at`](Self::at) has it. A warning rejects nothing: `check` prints it, each start and reload
    /// logs it, and `/status` lists it. 20 at most are kept.
    ///
    /// ```
    /// # use everup::Findings;
    /// let mut found = Findings::default();
    /// found.warn("timeout", "longer than the 30 s after which clients give up");
    /// assert!(found.is_empty());
    /// ```
    pub fn warn(&mut self, key: &str, message: impl ToString) {
        Warning::add(&mut self.warnings, key, message);
    }

    /// The paths that listeners answer themselves, by their `probes`.
    pub(crate) fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// Whether nothing is wrong; there may be warnings.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, key: &str, wrong: Wrong) {
        // One more than is told, so that it can be told that there are more.
        if self.findings.len() <= REPORTED {
            let key = key.to_owned();
            self.findings.push(Finding { key, wrong });
        }
    }
}

impl Warning {
    pub(super) fn add(to: &mut Vec<Warning>, key: &str, message: impl ToString) {
        // One more than is reported, so that the report can say that there are more.
        if to.len() <= REPORTED {
            let (key, message) = (key.to_owned(), message.to_string());
            to.push(Warning { key, message });
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Finding { key, wrong }) in self.findings.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            match wrong {
                Wrong::Expected(expected) | Wrong::ExpectedKey(expected) => {
                    write!(out, "{separator}{key}: expected {expected}")?
                }
                Wrong::Failed(why) | Wrong::Refused(why) | Wrong::Unreadable(_, why) => {
                    write!(out, "{separator}{key}: {why}")?
                }
            }
        }
        Ok(())
    }
}

impl Error for Findings {}
