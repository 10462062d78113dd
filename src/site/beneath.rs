//! Opens names beneath a directory, with no way out of it, and says what is there. Blocks.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
    io::Errno,
};

use super::file::{OpenFile, Reads};

/// What a name below a directory led to.
pub(super) enum Opened {
    File(Box<OpenFile>),
    Directory,
    /// Nothing that is served; why is none of the client's business.
    Nothing,
    /// Something that this process may not read.
    Denied,
    /// Not right now: the system has no descriptor, memory or thread to give, or the file is being
    /// written.
    Busy,
    Failed(io::Error),
}

/// How often a name is resolved anew where something was renamed meanwhile.
const ATTEMPTS: usize = 8;

/// Opens what a name leads to and looks what it is. Waits for no FIFO.
pub(super) fn look(root: &OwnedFd, name: PathBuf, reads: Reads) -> Opened {
    let fd = match open(root, &name) {
        Ok(fd) => fd,
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN) => return Opened::Busy,
        Err(error @ (Errno::IO | Errno::STALE | Errno::NOSYS)) => {
            return Opened::Failed(error.into());
        }
        Err(Errno::ACCESS) => return Opened::Denied,
        Err(_) => return Opened::Nothing,
    };
    let stat = match fstat(&fd) {
        Ok(stat) => stat,
        Err(error) => return Opened::Failed(error.into()),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => match OpenFile::new(File::from(fd), name, reads) {
            Ok(file) => Opened::File(Box::new(file)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Opened::Busy,
            Err(error) => Opened::Failed(error),
        },
        FileType::Directory => Opened::Directory,
        _ => Opened::Nothing,
    }
}

/// Links are followed as long as they stay beneath the root.
pub(super) fn open(root: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    // A FIFO would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 1..=ATTEMPTS;
    loop {
        attempts.next();
        match openat2(root, name, flags, Mode::empty(), resolve) {
            // The kernel cannot tell whether a name still is beneath: something was renamed.
            Err(Errno::AGAIN | Errno::INTR) if !attempts.is_empty() => {}
            opened => return opened,
        }
    }
}
