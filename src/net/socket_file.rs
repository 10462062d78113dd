//! A unix socket's file: it has its mode before it has its name, replaces only a socket that nobody
//! answers, and is removed only while it is still ours.
//!
//! Looking and taking are two steps. Two services that start at once, or one that ends while
//! another starts, take them under a lock on a file of their own beside the socket, so that none takes
//! what the other has just put there. No other user can open that file, and nobody waits for it here.

use std::{
    fs::{self, File, TryLockError},
    hash::{BuildHasher as _, RandomState},
    io::{self, ErrorKind},
    os::{
        linux::fs::MetadataExt as _,
        unix::fs::{FileTypeExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a socket that we have bound, or taken over.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Its name until it listens.
    draft: Option<PathBuf>,
    identity: FileIdentity,
}

/// What makes a file this one, and not another of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Binds `socket` to a draft of `path`, with this mode.
    ///
    /// # Errors
    /// Those of bind(2), so also [`ErrorKind::InvalidInput`] where `path` is too long for a socket's;
    /// [`ErrorKind::AddrInUse`] where another process listens at it, and
    /// [`ErrorKind::AlreadyExists`] where something is there that is not a socket.
    pub(crate) fn bind(socket: &Socket, path: &Path, mode: u32) -> io::Result<Self> {
        // The draft's may be short enough where nobody could connect to this one.
        SockAddr::unix(path)?;
        ensure_free(path)?;
        // Not longer than most names: a socket's path has 107 bytes at the most.
        let number = RandomState::new().hash_one(path) as u32;
        let draft = path.with_file_name(format!(".{number:08x}"));
        socket.bind(&SockAddr::unix(&draft)?)?;
        let mut file = Self {
            path: path.to_owned(),
            draft: Some(draft.clone()),
            identity: FileIdentity::of(&draft)?,
        };
        if let Err(error) = fs::set_permissions(&draft, fs::Permissions::from_mode(mode)) {
            file.discard_draft();
            return Err(error);
        }
        Ok(file)
    }

    /// The file of a socket that another process has handed over, whose name it has already.
    pub(crate) fn inherited(path: &Path, identity: FileIdentity) -> Self {
        Self {
            path: path.to_owned(),
            draft: None,
            identity,
        }
    }

    pub(crate) fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Whether it still has its name, or does not have it yet. Where that cannot be seen, it is taken to
    /// have it.
    pub(crate) fn is_there(&self) -> bool {
        self.draft.is_some() || self.identity.is_at(&self.path)
    }

    /// Gives it its name. The socket listens already: whoever looks at the name from now on finds
    /// that somebody answers.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), where somebody has come first; [`ErrorKind::WouldBlock`] where
    /// another process is about to take or to remove the name: to be tried again.
    pub(crate) fn publish(&mut self) -> io::Result<()> {
        let Some(draft) = &self.draft else {
            return Ok(());
        };
        let _locked = Lock::take(&self.path)?;
        ensure_free(&self.path)?;
        fs::rename(draft, &self.path)?;
        self.draft = None;
        Ok(())
    }

    /// Takes the name away, if it is still ours. What cannot be removed is left: the next start
    /// replaces it. The socket does not listen any more, so where another process holds the lock to
    /// take the name, that replaces the file.
    pub(crate) fn remove(&self) {
        let Ok(_locked) = Lock::take(&self.path) else {
            return;
        };
        if FileIdentity::of(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn discard_draft(&mut self) {
        if let Some(draft) = self.draft.take() {
            // It was never known to anybody.
            let _ = fs::remove_file(draft);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.discard_draft();
    }
}

impl FileIdentity {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::symlink_metadata(path)?))
    }

    /// Whether it is what the path names; also where that cannot be seen.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        match Self::of(path) {
            Ok(found) => found == *self,
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }
}

impl From<&fs::Metadata> for FileIdentity {
    fn from(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.st_dev(),
            inode: metadata.st_ino(),
        }
    }
}

/// Makes sure that `path` names nothing, or a socket that nobody answers.
fn ensure_free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "not a socket"));
        }
        Ok(_) => {}
    }
    // Without waiting: a process that stands still and whose queue is full is there all the same.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        Ok(()) | Err(_) => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another process answers",
        )),
    }
}

/// The right to take or to remove a socket's name, among processes of the same user. It leaves nothing
/// behind, but where its holder was killed.
struct Lock {
    path: PathBuf,
    /// Locked until it is closed (flock(2)).
    _file: File,
}

/// How often a lock file that its holder has just removed is made anew before somebody else is to try.
const LOCK_TRIES: usize = 8;

impl Lock {
    /// Takes it without waiting. `None` where there is nothing to lock: the directory takes no file of
    /// ours, or another user has put something in its place, which must not hinder us.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] where another process holds it.
    fn take(socket: &Path) -> io::Result<Option<Self>> {
        let mut name = std::ffi::OsString::from(".");
        name.push(socket.file_name().unwrap_or_default());
        name.push(".everup-lock");
        let path = socket.with_file_name(name);
        for _ in 0..LOCK_TRIES {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(file) = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) else {
                return Ok(None);
            };
            let file = File::from(file);
            let metadata = file.metadata()?;
            let is_ours = metadata.st_uid() == rustix::process::geteuid().as_raw();
            if !metadata.is_file() || !is_ours {
                return Ok(None);
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(_)) => return Ok(None),
            }
            if FileIdentity::of(&path).is_ok_and(|found| found == FileIdentity::from(&metadata)) {
                return Ok(Some(Self { path, _file: file }));
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: whoever opens the same file finds that it is gone.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(path: &Path) -> io::Result<(Socket, SocketFile)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let file = SocketFile::bind(&socket, path, 0o600)?;
        Ok((socket, file))
    }

    fn listening(path: &Path) -> io::Result<(Socket, SocketFile)> {
        let (socket, mut file) = bound(path)?;
        socket.listen(1)?;
        file.publish()?;
        Ok((socket, file))
    }

    #[test]
    fn of_two_that_find_the_path_free_one_gets_it() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("a.sock");
        let (first, mut of_first) = bound(&path).expect("it is free");
        let (second, mut of_second) = bound(&path).expect("it is free still");
        first.listen(1).expect("it is bound");
        second.listen(1).expect("it is bound");
        of_first.publish().expect("nobody answers yet");
        let error = of_second.publish().expect_err("the first answers");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(of_second);
        of_first.remove();
        let left = fs::read_dir(home.path()).expect("a folder").count();
        assert_eq!(left, 0, "drafts, or the file itself, were left");
    }

    #[test]
    fn a_path_that_nobody_could_connect_to_is_refused() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("x".repeat(108));
        let error = bound(&path).map(drop).expect_err("it is too long");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let left = fs::read_dir(home.path()).expect("a folder").count();
        assert_eq!(left, 0, "a draft was left");
    }

    #[test]
    fn sockets_that_differ_in_extension_do_not_meet() {
        let home = tempfile::tempdir().expect("a folder");
        let one = bound(&home.path().join("x.one")).expect("a draft");
        let two = bound(&home.path().join("x.two")).expect("another draft");
        assert_ne!(one.1.draft, two.1.draft);
    }

    #[test]
    fn a_socket_whose_owner_does_not_accept_is_in_use_and_nobody_waits_for_it() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("full.sock");
        let (_socket, _file) = listening(&path).expect("it is free");
        let mut queued = Vec::new();
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            client.set_nonblocking(true).expect("a live socket");
            let address = SockAddr::unix(&path).expect("a short path");
            match client.connect(&address) {
                Ok(()) => queued.push(client),
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        let error = ensure_free(&path).expect_err("somebody listens");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn whoever_holds_the_lock_is_waited_for_by_nobody() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("a.sock");
        let (socket, mut file) = bound(&path).expect("it is free");
        socket.listen(1).expect("it is bound");
        let held = Lock::take(&path).expect("nobody has it");
        let error = file.publish().expect_err("another has the lock");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(held.expect("the folder takes a file"));
        file.publish().expect("nobody has it any more");
        assert!(path.exists());
    }

    #[test]
    fn what_another_has_put_in_the_place_of_the_lock_hinders_nothing() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("a.sock");
        let victim = home.path().join("victim");
        fs::write(&victim, "precious").expect("a file");
        let place = home.path().join(".a.sock.everup-lock");
        std::os::unix::fs::symlink(&victim, &place).expect("a link");
        let (_socket, file) = listening(&path).expect("it is free");
        file.remove();
        assert!(!path.exists());
        assert!(victim.exists() && place.is_symlink(), "it is left alone");
    }

    #[test]
    fn a_file_that_is_gone_or_is_another_one_is_noticed() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("a.sock");
        let (_socket, file) = listening(&path).expect("it is free");
        assert!(file.is_there());
        fs::remove_file(&path).expect("it is there");
        assert!(!file.is_there());
        fs::write(&path, "another").expect("a file");
        assert!(!file.is_there());
    }

    #[test]
    fn only_what_is_still_ours_is_removed() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("a.sock");
        let (socket, file) = listening(&path).expect("it is free");
        drop(socket);
        let (_next, _of_next) = listening(&path).expect("nobody answers any more");
        file.remove();
        assert!(path.exists(), "the next one's file was removed");
    }
}
