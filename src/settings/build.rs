//! What a build may use: files, whose content then counts as part of the settings.
//! Reads them, and knows afterwards which there were and what they held.

use super::author::Warning;
#[cfg(doc)]
use super::author::{Findings, Settings};
use super::diagnostic::Fault;
use super::file::{self, absolute};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What a [`Settings::build`] may use: files, whose content then counts as part of the settings.
#[derive(Debug)]
pub struct Build {
    base: PathBuf,
    read: Mutex<BTreeMap<PathBuf, Option<Sum>>>,
    secrets: Mutex<BTreeMap<PathBuf, Option<Sum>>>,
    /// Files that hold secrets, and were read with the settings.
    known_secrets: Vec<PathBuf>,
    /// The files that the settings were read from.
    settings: Vec<PathBuf>,
    opened: Mutex<BTreeMap<PathBuf, Option<Identity>>>,
    warnings: Mutex<Vec<Warning>>,
}

/// The files that a build read, and what they held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadFiles {
    base: PathBuf,
    /// By the path as it was asked for; `None` for a file that could not be read.
    pub(super) files: BTreeMap<PathBuf, Option<Sum>>,
    /// Those that hold secrets, likewise: in no digest that is published.
    pub(super) secrets: BTreeMap<PathBuf, Option<Sum>>,
    /// The directories that were opened, likewise.
    pub(super) directories: BTreeMap<PathBuf, Option<Identity>>,
}

/// The SHA-256 of a file's content.
pub(super) type Sum = [u8; 32];

/// Which directory a name leads to: its device and inode.
pub(super) type Identity = (u64, u64);

/// A file that could not be read: what an [`io::Error`] of a [`Build`] holds.
#[derive(Debug)]
struct Unreadable {
    /// As it was asked for.
    asked: PathBuf,
    /// Resolved and absolute.
    path: PathBuf,
    error: io::Error,
}

impl Build {
    pub(crate) fn new(base: PathBuf) -> Build {
        Build {
            base,
            read: Mutex::default(),
            secrets: Mutex::default(),
            known_secrets: Vec::new(),
            settings: Vec::new(),
            opened: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// The same for settings whose secrets are in these files.
    pub(crate) fn with_secrets(self, files: impl Iterator<Item = PathBuf>) -> Build {
        Build {
            known_secrets: files.collect(),
            ..self
        }
    }

    /// The same for settings that were read from these files.
    pub(crate) fn with_settings(self, files: impl Iterator<Item = PathBuf>) -> Build {
        Build {
            settings: files.collect(),
            ..self
        }
    }

    /// The absolute path that a path of the settings stands for: a relative one starts at the
    /// settings directory.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        absolute(&self.base.join(path))
    }

    /// An error that names the file.
    pub(crate) fn unreadable(&self, path: &Path, error: io::Error) -> io::Error {
        let (asked, path) = (path.to_owned(), self.resolve(path));
        io::Error::new(error.kind(), Unreadable { asked, path, error })
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
        let directory = directory.map_err(|error| self.unreadable(path, error));
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
    /// The reload that applies a change shows the SHA-256 of the content, in its answer and in the
    /// history. A secret, which could be guessed from that, belongs in a [`Secret`](crate::Secret).
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or has more than 16 MiB. The error names the file
    /// by its absolute path. A build that fails with it, or with an error that has it as a source,
    /// is a fault of the setting that names the file: the exit code of a start is 78.
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
        let content = content.map_err(|error| self.unreadable(path, error));
        let sum = content.as_deref().ok().map(sum);
        // A panic elsewhere leaves the map as whole as it was.
        let mut read = files.lock().unwrap_or_else(PoisonError::into_inner);
        // P3: the first of two readings counts; where they differ, so does `unchanged`.
        read.entry(path.to_owned()).or_insert(sum);
        content
    }

    /// Warns of a setting, or of what a file holds that it names, as [`Findings::warn`] does.
    pub fn warn(&self, key: &str, message: impl ToString) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        Warning::add(&mut warnings, key, message);
    }

    /// What the build has warned of until now.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.clone()
    }

    /// Where the secrets are that have been read until now, the settings' own among them.
    pub(crate) fn secrets(&self) -> Vec<PathBuf> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let read = secrets.keys().map(|path| self.base.join(path));
        read.chain(self.known_secrets.iter().cloned()).collect()
    }

    /// Whether a file, by whatever name, is one of those.
    pub(crate) fn is_secret(&self, path: &Path) -> bool {
        self.is_one_of(path, &self.secrets())
    }

    /// Whether the settings were read from a file, by whatever name.
    pub(crate) fn is_settings(&self, path: &Path) -> bool {
        self.is_one_of(path, &self.settings)
    }

    fn is_one_of(&self, path: &Path, files: &[PathBuf]) -> bool {
        let identity = |path: &Path| {
            let found = path.metadata().ok()?;
            Some((found.dev(), found.ino()))
        };
        let found = identity(&self.base.join(path));
        found.is_some() && files.iter().any(|file| identity(file) == found)
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
    /// The absolute path that a path as it was asked for stands for.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        absolute(&self.base.join(path))
    }

    /// Whether the build asked for this path, be it in vain.
    pub(super) fn includes(&self, path: &Path) -> bool {
        let read = self.files.contains_key(path) || self.secrets.contains_key(path);
        read || self.directories.contains_key(path)
    }

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

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, reason) = (self.path.display(), file::reason(&self.error));
        write!(out, "cannot read `{path}`: {reason}")
    }
}

/// Without a source: it would be displayed twice.
impl Error for Unreadable {}

/// The file that an error of a [`Build`] is about, and whose fault that is; the error may be a
/// source of this one.
pub(crate) fn unreadable_file(error: &(dyn Error + 'static)) -> Option<(PathBuf, Fault)> {
    let mut next = Some(error);
    let causes = std::iter::from_fn(|| {
        let cause = next?;
        next = cause.source();
        Some(cause)
    });
    let mut errors = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    let cause = errors.find(|error| as_unreadable(error).is_some())?;
    let unreadable = as_unreadable(cause)?;
    Some((unreadable.asked.clone(), Fault::of(cause)))
}

fn as_unreadable(error: &io::Error) -> Option<&Unreadable> {
    error.get_ref()?.downcast_ref()
}

/// What really went wrong, where the error is a [`Build`]'s.
pub(super) fn root_cause(error: &io::Error) -> &io::Error {
    as_unreadable(error).map_or(error, |unreadable| &unreadable.error)
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
