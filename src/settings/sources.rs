//! Which sources there are and what they hold right now.
//! Owns paths, overrides and the reading until two passes agree; parses nothing.

use super::diagnostic::{Diagnostic, Fault};
use super::environment::{Environment, Written};
use super::file;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The files of a settings directory; later ones win. Each may be absent.
const FILES: [&str; 2] = ["default.toml", "local.toml"];

/// How long to wait before looking again at sources that changed while they were read.
const PAUSE: Duration = Duration::from_millis(5);

/// Where settings come from: arguments and paths as values, nothing ambient.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    path: Option<PathBuf>,
    profile: Option<String>,
    environment: Environment,
    sets: Vec<(String, String)>,
}

/// What a load found of each source, for the next one: how many bytes each file had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    lengths: BTreeMap<PathBuf, usize>,
}

/// What all sources held in two passes that agreed.
pub(super) struct Gathered {
    /// Each file that is there, lowest layer first.
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    pub(super) facts: Facts,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// What one pass found of one file.
#[derive(PartialEq)]
enum Content {
    Absent,
    Bytes(Vec<u8>),
    Failed(Fault, String),
}

type Pass = Vec<(PathBuf, Content)>;

impl Sources {
    /// No source at all: the built-in defaults.
    pub fn builtin() -> Sources {
        Sources::default()
    }

    /// A settings directory (`default.toml`, `local.toml`) or one file; it must exist.
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
    pub fn set(mut self, key: &str, value: &str) -> Sources {
        self.sets.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The sources in a few words, for the log; looks which of the files exist.
    pub(crate) fn describe(&self) -> String {
        let mut names: Vec<String> = match &self.path {
            Some(path) if path.is_dir() => FILES
                .map(|name| path.join(name))
                .into_iter()
                .filter(|path| path.exists())
                .map(|path| path.display().to_string())
                .collect(),
            Some(path) => vec![path.display().to_string()],
            None => Vec::new(),
        };
        match (names.is_empty(), self.sets.is_empty()) {
            (true, true) => return "built-in defaults only".to_owned(),
            (true, false) => names.push("built-in defaults".to_owned()),
            (false, _) => {}
        }
        if !self.sets.is_empty() {
            names.push("--set".to_owned());
        }
        match names.split_last() {
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
            Some(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
            None => PathBuf::new(),
        }
    }

    /// Where a path of what is written leads: a relative one starts at `$LOGS_DIRECTORY`,
    /// `$RUNTIME_DIRECTORY` or `$STATE_DIRECTORY` where that is set, else wherever the process
    /// works.
    pub(crate) fn written(&self, what: Written, path: &Path) -> PathBuf {
        self.environment.written(what, path)
    }

    /// The overrides, first to last.
    pub(super) fn sets(&self) -> &[(String, String)] {
        &self.sets
    }

    /// Reads all files until two whole passes agree, and compares with what was there before.
    pub(super) fn gather(&self, previous: Option<&Facts>, deadline: Instant) -> Gathered {
        let mut gathered = Gathered {
            files: Vec::new(),
            facts: Facts::default(),
            diagnostics: Vec::new(),
        };
        // P3: what changes while it is being read is never applied.
        match self.agreed(deadline) {
            Ok(pass) => gathered.take(pass, previous),
            Err(path) => gathered.diagnostics.push(Diagnostic::source(
                path.display().to_string(),
                "kept changing while it was read, until the time to load was over",
                Fault::System,
            )),
        }
        gathered
    }

    /// Two passes that agree, or the path of a file that kept changing.
    fn agreed(&self, deadline: Instant) -> Result<Pass, PathBuf> {
        let mut before = self.pass();
        loop {
            let after = self.pass();
            if before == after {
                return Ok(after);
            }
            if Instant::now() + PAUSE >= deadline {
                let changed = after.into_iter().zip(before).find(|(new, old)| new != old);
                return Err(changed.map_or_else(PathBuf::new, |((path, _), _)| path));
            }
            std::thread::sleep(PAUSE);
            before = after;
        }
    }

    fn pass(&self) -> Pass {
        let Some(path) = &self.path else {
            return Vec::new();
        };
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => FILES
                .map(|name| path.join(name))
                .into_iter()
                .map(|path| {
                    let content = Content::of(&path);
                    (path, content)
                })
                .collect(),
            Ok(_) => vec![(path.clone(), Content::named(path))],
            Err(error) => vec![(path.clone(), Content::failed(&error))],
        }
    }
}

impl Gathered {
    fn take(&mut self, pass: Pass, previous: Option<&Facts>) {
        for (path, content) in pass {
            match content {
                Content::Absent => {}
                Content::Failed(kind, message) => self.fail(&path, message, kind),
                Content::Bytes(bytes) => {
                    self.facts.lengths.insert(path.clone(), bytes.len());
                    self.files.push((path, bytes));
                }
            }
        }
        // A named path that is gone or unreadable says so itself.
        let compared = previous.filter(|_| self.diagnostics.is_empty());
        for (path, length) in compared.into_iter().flat_map(|facts| &facts.lengths) {
            match self.facts.lengths.get(path) {
                // P3: a file between truncation and its new content parses; it must not be used.
                Some(0) if *length > 0 => self.fail(
                    path,
                    "is empty and was not before (to set nothing, leave a comment in it)",
                    Fault::Settings,
                ),
                None => self.fail(
                    path,
                    "is gone and was there before (to set nothing, leave a comment in it)",
                    Fault::Settings,
                ),
                Some(_) => {}
            }
        }
    }

    fn fail(&mut self, path: &Path, message: impl Into<String>, kind: Fault) {
        let name = path.display().to_string();
        self.diagnostics
            .push(Diagnostic::source(name, message, kind));
    }
}

impl Content {
    /// Of a file that may be absent.
    fn of(path: &Path) -> Content {
        match Content::named(path) {
            // A link to nowhere is there, and is broken: that is not the same as absent.
            Content::Failed(..) if path.symlink_metadata().is_err_and(absent) => Content::Absent,
            content => content,
        }
    }

    /// Of a file that must be there.
    fn named(path: &Path) -> Content {
        match file::read(path) {
            Ok(bytes) => Content::Bytes(bytes),
            Err(error) => Content::failed(&error),
        }
    }

    fn failed(error: &io::Error) -> Content {
        Content::Failed(Fault::of(error), file::reason(error))
    }
}

fn absent(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
