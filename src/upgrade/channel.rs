//! One end of the socket pair between two processes: messages as JSON, descriptors beside them.
//!
//! Never waits: every call is for what can be done now.

use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixDatagram};

/// Bytes of a message at the most.
const LONGEST: usize = 64 * 1024;

/// Descriptors of a message at the most; the kernel's own bound is 253.
pub(super) const DESCRIPTORS: usize = 64;

/// One end; messages keep their bounds (`SOCK_SEQPACKET`).
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Our end, and the one that is to be the new process's standard input.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok((Self::of(ours)?, theirs))
    }

    /// The descriptor as an end of such a pair, if it is one whose first message is a `T`.
    pub(super) fn recognize<T: DeserializeOwned>(found: BorrowedFd<'_>) -> Option<Self> {
        if sockopt::socket_type(found).ok()? != SocketType::SEQPACKET
            || sockopt::socket_domain(found).ok()? != AddressFamily::UNIX
        {
            return None;
        }
        let mut bytes = vec![0; LONGEST];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let (_, length) = rustix::net::recv(found, &mut bytes, flags).ok()?;
        serde_json::from_slice::<T>(bytes.get(..length)?).ok()?;
        // Close-on-exec, unlike what it is a clone of.
        Self::of(found.try_clone_to_owned().ok()?).ok()
    }

    fn of(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(socket))
    }

    /// Sends a message and clones of descriptors.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenPipe`] where the other end is closed; [`ErrorKind::WouldBlock`] where it
    /// has not read what was sent before.
    pub(super) fn send(&self, message: &impl Serialize, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let fits = with.is_empty() || beside.push(SendAncillaryMessage::ScmRights(with));
        if !fits || bytes.len() > LONGEST {
            return Err(ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut beside, flags)?;
        Ok(())
    }

    /// As [`send`](Self::send), but that it waits where the other end has not read what was sent
    /// before. Must be called within a runtime.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(super) async fn send_in_turn(
        &self,
        message: &impl Serialize,
        with: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let waiting = UnixDatagram::from_std(self.0.try_clone()?.into())?;
        waiting
            .async_io(Interest::WRITABLE, || self.send(message, with))
            .await
    }

    /// The next message and its descriptors; `None` where the other end is closed.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] where none has come; [`ErrorKind::InvalidData`] for what is none.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut beside,
            flags,
        )?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let message = serde_json::from_slice(&bytes[..received.bytes])?;
        Ok(Some((message, descriptors)))
    }

    /// The next message, when it comes. Must be called within a runtime.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), but that it waits.
    pub(super) async fn next<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let waiting = UnixDatagram::from_std(self.0.try_clone()?.into())?;
        let received = waiting.async_io(Interest::READABLE, || self.receive());
        match received.await {
            // It died with something of ours unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(None),
            received => received,
        }
    }

    /// Ends the talk: nothing that the other end says from now on is sent. What it has said before
    /// can still be received.
    pub(super) fn end(&self) {
        // Refused only where it has ended already.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn messages_and_descriptors_pass_and_the_end_is_seen() {
        let (ours, theirs) = Channel::pair().expect("descriptors");
        let file = std::fs::File::open("/dev/null").expect("a file");
        ours.send(&"with", &[file.as_fd()]).expect("it is open");
        ours.send(&"without", &[]).expect("it is open");
        let theirs = Channel::recognize::<String>(theirs.as_fd()).expect("its first is a text");
        let received = theirs.receive::<String>().expect("it was sent");
        let (text, descriptors) = received.expect("it is open");
        assert_eq!((text.as_str(), descriptors.len()), ("with", 1));
        ours.end();
        let received = theirs.receive::<String>().expect("it was sent before");
        assert_eq!(received.map(|(text, _)| text).as_deref(), Some("without"));
        assert!(theirs.receive::<String>().expect("an end").is_none());
        let refused = theirs.send(&1, &[]).expect_err("nobody receives it");
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_was_said_before_the_end_is_still_received() {
        let (ours, theirs) = Channel::pair().expect("descriptors");
        let theirs = Channel(theirs);
        theirs.send(&"last", &[]).expect("it is open");
        ours.end();
        let received = ours.receive::<String>().expect("it was sent before");
        assert_eq!(received.map(|(text, _)| text).as_deref(), Some("last"));
    }

    #[test]
    fn another_standard_input_is_not_taken_for_a_channel() {
        let null = std::fs::File::open("/dev/null").expect("a file");
        assert!(Channel::recognize::<String>(null.as_fd()).is_none());
        let (ours, theirs) = Channel::pair().expect("descriptors");
        assert!(
            Channel::recognize::<String>(theirs.as_fd()).is_none(),
            "empty"
        );
        ours.send(&7, &[]).expect("it is open");
        assert!(
            Channel::recognize::<String>(theirs.as_fd()).is_none(),
            "a number"
        );
    }
}
