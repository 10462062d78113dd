//! The destination of a sink: standard error, or a file that rotates by size and can be reopened.
//!
//! A path is opened without blocking, so a FIFO without a reader is an error. log4rs' own rotation is not
//! used: it prints to standard output when it fails, and interprets braces in a path.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::OFlags;

/// When a file is rolled, and what is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rolling {
    pub(super) max_size: u64,
    pub(super) keep: u32,
}

/// An open destination.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// `None`: standard error.
    path: Option<PathBuf>,
    /// Its size where it is a regular file, which alone can roll.
    size: Option<u64>,
    /// The last write ended within a line.
    is_torn: bool,
}

/// Lines that could not be written.
pub(super) struct Unwritten {
    pub(super) lines: u64,
    pub(super) error: io::Error,
}

/// How long a destination is left alone that takes nothing at the moment and does not block.
const BUSY: Duration = Duration::from_millis(10);

impl Output {
    /// # Errors
    /// Where the descriptors are used up.
    pub(super) fn stderr() -> io::Result<Self> {
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Ok(Self {
            file,
            path: None,
            size: None,
            is_torn: false,
        })
    }

    /// Opens a file to append to, and says whether it is new.
    ///
    /// # Errors
    /// Where it cannot be opened to write, or is a FIFO that nobody reads.
    pub(super) fn open(path: &Path) -> io::Result<(Self, bool)> {
        let (file, is_new) = match append(path, true) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (append(path, false)?, false),
            opened => (opened?, true),
        };
        let metadata = file.metadata()?;
        let output = Self {
            file,
            path: Some(path.to_owned()),
            size: metadata.is_file().then_some(metadata.len()),
            // A full disk may have torn the last line of this process or of the one before.
            is_torn: metadata.is_file() && ends_within_a_line(path, metadata.len()),
        };
        Ok((output, is_new))
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Goes on in what is at the path now; where that cannot be opened, in what is open.
    ///
    /// # Errors
    /// Those of opening it.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            *self = Self::open(path)?.0;
        }
        Ok(())
    }

    /// Whether these bytes more would be too many. A line longer than the file may be is written
    /// all the same.
    pub(super) fn is_full(&self, bytes: usize, rolling: Rolling) -> bool {
        let bytes = bytes as u64 + u64::from(self.is_torn);
        let is_too_large = |size: u64| size > 0 && size + bytes > rolling.max_size;
        self.size.is_some_and(is_too_large)
    }

    /// Renames the file and begins a new one; where that cannot be done, goes on in what is open.
    ///
    /// # Errors
    /// Those of the renaming and opening.
    pub(super) fn roll(&mut self, rolling: Rolling) -> io::Result<()> {
        let Some(path) = self.path.clone() else {
            return Ok(());
        };
        let rolled = match self.is_at(&path) {
            true => shift(&path, rolling.keep),
            // Somebody else has renamed it: a process that is being upgraded, an operator.
            false => Ok(()),
        };
        let begun = rolled.and_then(|()| self.reopen());
        if begun.is_err() {
            // Not tried again for each line, but when as much has been written once more.
            self.size = self.size.map(|_| 0);
        }
        begun
    }

    /// Writes whole lines. Where an earlier write has torn one, a line end comes first, so that these
    /// begin on a line of their own.
    ///
    /// # Errors
    /// Tells how many lines are not, or not wholly, written.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let none_written = |(_, error)| Unwritten {
            lines: count_lines(lines),
            error,
        };
        if self.is_torn {
            self.write_bytes(b"\n").map_err(none_written)?;
            self.is_torn = false;
        }
        self.write_bytes(lines).map_err(|(written, error)| {
            let (written, left) = lines.split_at(written);
            self.is_torn = written.last().is_some_and(|last| *last != b'\n');
            // A line of which only the end is missing can be read: it is not lost.
            let is_whole = self.is_torn && left.starts_with(b"\n");
            let lines = count_lines(left) - u64::from(is_whole);
            Unwritten { lines, error }
        })
    }

    /// Writes them all, or tells how many are written, and why no more.
    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(more) => {
                    self.size = self.size.map(|size| size + more as u64);
                    written += more;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody else has made what we share with them non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BUSY),
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    /// Whether the open file still has this name.
    fn is_at(&self, path: &Path) -> bool {
        let (Ok(open), Ok(named)) = (self.file.metadata(), fs::metadata(path)) else {
            return false;
        };
        (open.dev(), open.ino()) == (named.dev(), named.ino())
    }
}

pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Whether a file of this length does not end with a line end. Where it may be written and not read,
/// nobody knows.
fn ends_within_a_line(path: &Path, length: u64) -> bool {
    let Some(last) = length.checked_sub(1) else {
        return false;
    };
    let mut byte = [0];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut byte, last));
    read.is_ok() && byte != *b"\n"
}

fn append(path: &Path, is_new: bool) -> io::Result<File> {
    // Neither bit pattern has a high bit.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new()
        .append(true)
        .create_new(is_new)
        .custom_flags(flags)
        .open(path)?;
    // From here on, whoever does not read is waited for, by the sink's own thread.
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

/// `FILE` becomes `FILE.1`, `FILE.1` becomes `FILE.2`, and so on; the last one goes.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    if keep == 0 {
        return fs::remove_file(path);
    }
    let kept = |age: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{age}"));
        PathBuf::from(name)
    };
    for age in (1..keep).rev() {
        match fs::rename(kept(age), kept(age + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, kept(1))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const SMALL: Rolling = Rolling {
        max_size: 8,
        keep: 2,
    };

    fn say(output: &mut Output, line: &str) {
        if output.is_full(line.len(), SMALL) {
            output.roll(SMALL).expect("it can be renamed");
        }
        assert!(output.write(line.as_bytes()).is_ok());
    }

    #[test]
    fn a_file_rolls_before_it_is_too_large_and_the_oldest_goes() {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("{}.log");
        let (mut output, is_new) = Output::open(&path).expect("it can be opened");
        assert!(is_new);
        for line in ["one\n", "two\n", "three\n", "longer than all\n", "five\n"] {
            say(&mut output, line);
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(read("{}.log").as_deref(), Some("five\n"));
        assert_eq!(read("{}.log.1").as_deref(), Some("longer than all\n"));
        assert_eq!(read("{}.log.2").as_deref(), Some("three\n"));
        assert_eq!(read("{}.log.3"), None);
    }

    #[test]
    fn a_file_that_somebody_else_renamed_is_not_renamed_again() {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("log");
        let (mut output, _) = Output::open(&path).expect("it can be opened");
        say(&mut output, "before\n");
        fs::rename(&path, folder.path().join("away")).expect("it can be renamed");
        fs::write(&path, "another's\n").expect("it can be written");
        say(&mut output, "after\n");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(read("log").as_deref(), Some("another's\nafter\n"));
        assert_eq!(read("away").as_deref(), Some("before\n"));
        assert_eq!(read("log.1"), None);
    }

    #[test]
    fn a_full_disk_is_told_line_by_line() {
        let (mut output, is_new) = Output::open(Path::new("/dev/full")).expect("it can be opened");
        assert!(!is_new);
        let unwritten = output.write(b"one\ntwo\n").expect_err("the disk is full");
        assert_eq!(unwritten.lines, 2);
        assert_eq!(unwritten.error.kind(), ErrorKind::StorageFull);
        output.is_torn = true;
        let unwritten = output.write(b"one\ntwo\n").expect_err("the disk is full");
        assert_eq!(unwritten.lines, 2, "behind a torn line too");
    }

    #[test]
    fn what_follows_a_torn_line_begins_on_a_line_of_its_own() {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("log");
        fs::write(&path, "tor").expect("it can be written");
        let (mut output, _) = Output::open(&path).expect("it can be opened");
        say(&mut output, "one\n");
        output.reopen().expect("it can be opened");
        assert!(output.write(b"two\n").is_ok());
        let read = fs::read_to_string(&path);
        assert_eq!(read.expect("it can be read"), "tor\none\ntwo\n");
    }
}
