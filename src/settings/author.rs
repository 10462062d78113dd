//! What the author of a service brings: the settings type, its check and the build of its state.
//! Owns what is handed to that code; runs none of it.

use super::diagnostic::REPORTED;
use super::file;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The settings of a service: its table `[app]`.
///
/// Doc comments of the type become the descriptions of its schema. Put `#[serde(default)]` on it,
/// so that every setting may be left out.
pub trait Settings:
    Serialize + DeserializeOwned + JsonSchema + Default + Send + Sync + 'static
{
    /// The service's name, in lower case: it prefixes variables and metrics.
    const NAME: &'static str;

    /// What is derived from the settings once per reload: a pool, a table, a set of templates.
    type State: Send + Sync + 'static;

    /// Finds what types cannot say.
    fn check(&self, _found: &mut Findings) {}

    /// Makes the state of a generation; may do I/O, and need not be `Send`.
    ///
    /// # Errors
    /// Any error rejects the reload.
    fn build(&self, with: &Build) -> impl Future<Output = Result<Self::State, Box<dyn Error>>>;
}

/// What a [`Settings::check`] finds wrong.
#[derive(Debug, Default)]
pub struct Findings {
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug)]
pub(super) struct Finding {
    /// Dotted, relative to the author's table.
    pub(super) key: String,
    pub(super) expected: String,
}

/// What a [`Settings::build`] may use: files, whose content then counts as part of the settings.
#[derive(Debug)]
pub struct Build {
    base: PathBuf,
    read: Mutex<BTreeMap<PathBuf, Option<Sum>>>,
}

/// The files that a build read, and what they held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadFiles {
    base: PathBuf,
    /// By the path as it was asked for; `None` for a file that could not be read.
    files: BTreeMap<PathBuf, Option<Sum>>,
}

/// The SHA-256 of a file's content.
type Sum = [u8; 32];

impl Findings {
    /// Reports a setting: its dotted key, relative to the author's table (`friends.0`,
    /// `routes."/a.b".status`), and what was expected there ("a text that is not empty").
    ///
    /// What was found, and where, is added.
    pub fn at(&mut self, key: &str, expected: impl ToString) {
        // One more than is told, so that it can be told that there are more.
        if self.findings.len() <= REPORTED {
            self.findings.push(Finding {
                key: key.to_owned(),
                expected: expected.to_string(),
            });
        }
    }
}

impl Build {
    pub(crate) fn new(base: PathBuf) -> Build {
        Build {
            base,
            read: Mutex::default(),
        }
    }

    /// The content of a file; a relative path starts at the settings directory.
    ///
    /// The digest covers what is read here, and a change of it is a change of the settings.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or has more than 64 MiB.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = file::read(&self.base.join(path));
        let sum = content.as_deref().ok().map(sum);
        // A panic elsewhere leaves the map as whole as it was.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // P3: the first of two readings counts; where they differ, so does `unchanged`.
        read.entry(path.to_owned()).or_insert(sum);
        content
    }

    /// What has been read until now.
    pub(crate) fn files_read(&self) -> ReadFiles {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        ReadFiles {
            base: self.base.clone(),
            files: read.clone(),
        }
    }
}

impl ReadFiles {
    /// Reads all again: whether each still holds the same. A file that can no longer be read has
    /// changed, and so has one that now can.
    pub(crate) fn unchanged(&self) -> bool {
        self.files.iter().all(|(path, before)| {
            let content = file::read(&self.base.join(path));
            content.as_deref().ok().map(sum) == *before
        })
    }

    /// Adds the files to a digest.
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

fn sum(content: &[u8]) -> Sum {
    Sha256::digest(content).into()
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
