//! Which sources there are: paths, variables and overrides as values, nothing ambient.
//! Reads nothing: what they hold is `gather.rs`.

use super::environment::{Environment, Written};
use super::layer::Format;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where settings come from. Later layers win, tables merge key by key: `default.*`, the profile's
/// file, `local.*` (TOML, YAML or JSON), variables, overrides.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    path: Option<PathBuf>,
    profile: Option<String>,
    environment: Environment,
    sets: Vec<(String, String)>,
}

impl Sources {
    /// No source at all: the built-in defaults.
    pub fn builtin() -> Sources {
        Sources::default()
    }

    /// A settings directory (with `default.*`, `local.*` or the profile's file, at least one of them) or
    /// one file; it must exist. A file's ending says how it is written: `.toml`, `.yaml` (or `.yml`) or `.json`.
    pub fn at(path: impl Into<PathBuf>) -> Sources {
        Sources {
            path: Some(path.into()),
            ..Sources::default()
        }
    }

    /// Adds a layer between `default.*` and `local.*`: `<name>.*`, which must exist.
    pub fn profile(mut self, name: impl Into<String>) -> Sources {
        self.profile = Some(name.into());
        self
    }

    /// Takes variables, such as [`std::env::vars_os`]: those that begin with `PREFIX__` override
    /// settings (`EVERUP__SERVER__WORKERS=4`), secrets may name any (`{ env = "NAME" }`), and
    /// `LOGS_DIRECTORY`, `RUNTIME_DIRECTORY` and `STATE_DIRECTORY` are where relative paths of what
    /// is written start.
    ///
    /// A variable with one `_` too few (`EVERUP_SERVER_WORKERS`) sets nothing, and is logged as a
    /// warning.
    ///
    /// Keys are between `__`, in any case. Where keys are free, as routes' and listeners' are, one
    /// in upper case is lowered and any other kept as it is. Values are as in [`Sources::set`].
    pub fn variables(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Sources {
        self.environment = Environment::new(prefix, variables.into_iter().collect());
        self
    }

    /// Overrides one setting, as `--set key=value` does: the key is dotted, a segment in double
    /// quotes may hold any character (`app.routes."/a.b"`), the last of several wins.
    ///
    /// The value is a text where a text is wanted, else a number, `true` or `false`, or a list or a
    /// table as TOML writes them in one line; a table merges with what is there.
    pub fn set(mut self, key: &str, value: &str) -> Sources {
        self.sets.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The sources in a few words, for the log; looks which of the files exist.
    pub(crate) fn describe(&self) -> String {
        let mut names: Vec<String> = match &self.path {
            Some(path) if path.is_dir() => {
                let layers = [Some("default"), self.profile_name(), Some("local")];
                let files = layers.into_iter().flatten().flat_map(|layer| {
                    let file = move |(ending, _)| path.join(format!("{layer}.{ending}"));
                    Format::ENDINGS.into_iter().map(file)
                });
                let files = files.filter(|path| path.exists());
                let mut files: Vec<_> = files.map(|path| path.display().to_string()).collect();
                // The directory is what was asked for, though there is nothing in it.
                if files.is_empty() {
                    files.push(path.display().to_string());
                }
                files
            }
            Some(path) => vec![path.display().to_string()],
            None => Vec::new(),
        };
        let no_file = names.is_empty();
        if no_file {
            names.push("built-in defaults".to_owned());
        }
        let variables = self.environment.settings();
        names.extend(variables.map(|(name, ..)| name.into_owned()));
        if !self.sets.is_empty() {
            names.push("--set".to_owned());
        }
        match names.split_last() {
            Some((last, [])) if no_file => format!("{last} only"),
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    }

    /// Where relative paths of what is read start: the settings directory; without one, wherever
    /// the process works.
    pub(crate) fn base(&self) -> PathBuf {
        match &self.path {
            Some(path) if path.is_dir() => path.clone(),
            Some(path) => match path.parent() {
                // The parent of a bare file name is empty, and that opens nothing.
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                Some(_) | None => PathBuf::from("."),
            },
            None => PathBuf::from("."),
        }
    }

    /// Where a path of what is written leads: a relative one starts at `$LOGS_DIRECTORY`,
    /// `$RUNTIME_DIRECTORY` or `$STATE_DIRECTORY` where that is set, else wherever the process
    /// works.
    pub fn written(&self, what: Written, path: &Path) -> PathBuf {
        self.environment.written(what, path)
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn profile_name(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The overrides, first to last.
    pub(super) fn sets(&self) -> &[(String, String)] {
        &self.sets
    }
}
