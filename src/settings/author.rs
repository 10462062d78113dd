//! What the author of a service brings: the settings type, its check and the build of its state.
//! Owns what is handed to that code; runs none of it.

use super::diagnostic::REPORTED;
use super::file;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The settings of a service: its table `[app]`.
///
/// Doc comments of the type become the descriptions of its schema. Put `#[serde(default)]` on it,
/// so that every setting may be left out. A key that the type does not know is an error by itself.
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
    /// # Errors
    /// Any error rejects the reload; [`Findings`] are told each at its place.
    fn build(&self, with: &Build) -> impl Future<Output = Result<Self::State, Box<dyn Error>>>;
}

/// What a [`Settings::check`] finds wrong; or a [`Settings::build`], which returns it as its error.
#[derive(Debug, Default)]
pub struct Findings {
    pub(super) findings: Vec<Finding>,
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
    /// It may be right, but this came of it.
    Failed(String),
    /// It must not be followed.
    Refused(String),
}

/// What a [`Settings::build`] may use: files, whose content then counts as part of the settings.
#[derive(Debug)]
pub struct Build {
    base: PathBuf,
    read: Mutex<BTreeMap<PathBuf, Option<Sum>>>,
    secrets: Mutex<BTreeMap<PathBuf, Option<Sum>>>,
    /// Files that hold secrets, and were read with the settings.
    known_secrets: Vec<PathBuf>,
    opened: Mutex<BTreeMap<PathBuf, Option<Identity>>>,
}

/// The files that a build read, and what they held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadFiles {
    base: PathBuf,
    /// By the path as it was asked for; `None` for a file that could not be read.
    files: BTreeMap<PathBuf, Option<Sum>>,
    /// Those that hold secrets, likewise: in no digest that is published.
    secrets: BTreeMap<PathBuf, Option<Sum>>,
    /// The directories that were opened, likewise.
    directories: BTreeMap<PathBuf, Option<Identity>>,
}

/// The SHA-256 of a file's content.
pub(super) type Sum = [u8; 32];

/// Which directory a name leads to: its device and inode.
type Identity = (u64, u64);

impl Findings {
    /// Reports a setting: its dotted key, relative to the author's table (`friends.0`,
    /// `routes."/a.b".status`), and what was expected there ("a text that is not empty").
    ///
    /// What was found, and where, is added.
    pub fn at(&mut self, key: &str, expected: impl ToString) {
        self.add(key, Wrong::Expected(expected.to_string()));
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

    /// Whether nothing was found.
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

impl fmt::Display for Findings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Finding { key, wrong }) in self.findings.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            match wrong {
                Wrong::Expected(expected) => write!(out, "{separator}{key}: expected {expected}")?,
                Wrong::Failed(why) | Wrong::Refused(why) => write!(out, "{separator}{key}: {why}")?,
            }
        }
        Ok(())
    }
}

impl Error for Findings {}

impl Build {
    pub(crate) fn new(base: PathBuf) -> Build {
        Build {
            base,
            read: Mutex::default(),
            secrets: Mutex::default(),
            known_secrets: Vec::new(),
            opened: Mutex::default(),
        }
    }

    /// The same for settings whose secrets are in these files.
    pub(crate) fn with_secrets(self, files: impl Iterator<Item = PathBuf>) -> Build {
        Build {
            known_secrets: files.collect(),
            ..self
        }
    }

    /// The settings directory; empty for wherever the process works.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Opens a directory, to resolve names beneath it; a relative path starts at the settings
    /// directory.
    ///
    /// That another directory has taken its place is a change of the settings; what is in it is
    /// none, and neither is in the digest.
    ///
    /// # Errors
    /// The directory cannot be opened, or is none.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let directory = open_directory(&self.base.join(path));
        let identity = directory.as_ref().ok().and_then(|fd| identity(fd).ok());
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        // P3: as of files, the first of two openings counts.
        opened.entry(path.to_owned()).or_insert(identity);
        directory
    }

    /// The content of a file; a relative path starts at the settings directory.
    ///
    /// The digest covers what is read here, and a change of it is a change of the settings: with
    /// `reload.watch` it asks for a reload.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or has more than 16 MiB.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_into(&self.read, path)
    }

    /// As [`read`](Self::read), of a secret: the digest that is published leaves it out.
    pub(crate) fn read_secret(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_into(&self.secrets, path)
    }

    fn read_into(
        &self,
        files: &Mutex<BTreeMap<PathBuf, Option<Sum>>>,
        path: &Path,
    ) -> io::Result<Vec<u8>> {
        let content = file::read(&self.base.join(path));
        let sum = content.as_deref().ok().map(sum);
        // A panic elsewhere leaves the map as whole as it was.
        let mut read = files.lock().unwrap_or_else(PoisonError::into_inner);
        // P3: the first of two readings counts; where they differ, so does `unchanged`.
        read.entry(path.to_owned()).or_insert(sum);
        content
    }

    /// Where the secrets are that have been read until now, the settings' own among them.
    pub(crate) fn secrets(&self) -> Vec<PathBuf> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let read = secrets.keys().map(|path| self.base.join(path));
        read.chain(self.known_secrets.iter().cloned()).collect()
    }

    /// Whether a file, by whatever name, is one of those.
    pub(crate) fn is_secret(&self, path: &Path) -> bool {
        let identity = |path: &Path| {
            let found = path.metadata().ok()?;
            Some((found.dev(), found.ino()))
        };
        let found = identity(&self.base.join(path));
        let mut secrets = self.secrets().into_iter();
        found.is_some() && secrets.any(|secret| identity(&secret) == found)
    }

    /// What has been read until now.
    pub(crate) fn files_read(&self) -> ReadFiles {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        ReadFiles {
            base: self.base.clone(),
            files: read.clone(),
            secrets: secrets.clone(),
            directories: opened.clone(),
        }
    }
}

impl ReadFiles {
    /// Where all of it is.
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.files.keys().chain(self.secrets.keys());
        let all = files.chain(self.directories.keys());
        all.map(|path| self.base.join(path))
    }

    /// Reads all again: whether each still holds the same, and each directory is still the same. A
    /// file that can no longer be read has changed, and so has one that now can.
    pub(crate) fn unchanged(&self) -> bool {
        let mut files = self.files.iter().chain(&self.secrets);
        let same_files = files.all(|(path, before)| {
            let content = file::read(&self.base.join(path));
            content.as_deref().ok().map(sum) == *before
        });
        same_files
            && self.directories.iter().all(|(path, before)| {
                let directory = open_directory(&self.base.join(path));
                let now = directory.ok().and_then(|fd| identity(&fd).ok());
                now == *before
            })
    }

    /// Adds the files to a digest, but for the secret ones.
    pub(super) fn digest(&self, digest: &mut Sha256) {
        for (path, sum) in &self.files {
            let path = path.as_os_str().as_encoded_bytes();
            // With its length, no path can pass for another's end.
            digest.update((path.len() as u64).to_le_bytes());
            digest.update(path);
            digest.update(sum.unwrap_or_default());
        }
    }
}

pub(super) fn sum(content: &[u8]) -> Sum {
    Sha256::digest(content).into()
}

/// Only a place in the tree: nothing is read, and nothing but a directory is touched.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

fn identity(directory: impl AsFd) -> io::Result<Identity> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_was_read_is_known_to_have_changed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("list");
        fs::write(&path, "a").expect("written");
        let build = Build::new(folder.path().to_owned());
        assert_eq!(build.read(Path::new("list")).expect("read"), b"a");
        assert!(build.read(Path::new("absent")).is_err());
        let read = build.files_read();
        assert!(read.unchanged());
        fs::write(folder.path().join("absent"), "").expect("written");
        assert!(!read.unchanged());
        fs::remove_file(folder.path().join("absent")).expect("removed");
        fs::write(&path, "b").expect("written");
        assert!(!read.unchanged());
        fs::write(&path, "a").expect("written");
        assert!(read.unchanged());
        fs::remove_file(&path).expect("removed");
        assert!(!read.unchanged());
    }

    #[test]
    fn another_directory_under_the_name_is_a_change_and_what_is_in_it_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("one")).expect("made");
        let build = Build::new(folder.path().to_owned());
        let _open = build.directory(Path::new("one")).expect("a directory");
        let known = build.files_read();
        fs::write(path("one/file"), "a").expect("written");
        assert!(known.unchanged());
        fs::rename(path("one"), path("two")).expect("renamed");
        assert!(!known.unchanged());
        fs::create_dir(path("one")).expect("made");
        assert!(!known.unchanged());

        let build = Build::new(folder.path().to_owned());
        assert!(build.directory(Path::new("two/file")).is_err());
        assert!(build.directory(Path::new("absent")).is_err());
        assert!(build.files_read().unchanged());
    }

    #[test]
    fn two_readings_that_differ_are_a_change() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("list");
        let build = Build::new(PathBuf::new());
        for content in ["a", "b"] {
            fs::write(&path, content).expect("written");
            assert_eq!(build.read(&path).expect("read"), content.as_bytes());
        }
        assert!(!build.files_read().unchanged());
    }
}
