//! One end of the socket pair between two processes: JSON messages with descriptors.
//!
//! Each message is one packet, so an unknown one is skipped whole. The kernel drops descriptors for which
//! the receiving process has no room: [`Received`] reports that.

use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    sync::OnceLock,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixDatagram};

/// Bytes of a message at the most.
const LONGEST: usize = 64 * 1024;

/// Descriptors of a message at the most; the kernel's own bound is 253.
pub(super) const DESCRIPTORS: usize = 64;

/// One end; messages keep their bounds (`SOCK_SEQPACKET`).
pub(super) struct Channel {
    socket: OwnedFd,
    /// A clone that a runtime knows. Kept, since there may be no descriptor for another one later.
    registered: OnceLock<UnixDatagram>,
}

/// A message that has come.
pub(super) struct Received<T> {
    pub(super) message: T,
    /// Those of its descriptors that this process had room for: the first ones.
    pub(super) descriptors: Vec<OwnedFd>,
    /// Whether descriptors are missing.
    pub(super) is_truncated: bool,
}

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
        Ok(Self {
            socket,
            registered: OnceLock::new(),
        })
    }

    /// Sends a message and clones of descriptors.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenPipe`] where the other end is closed; [`ErrorKind::WouldBlock`] where it
    /// has not read what was sent before; [`ErrorKind::InvalidInput`] for a message that is too long.
    pub(super) fn send(&self, message: &impl Serialize, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let fits = with.is_empty() || beside.push(SendAncillaryMessage::ScmRights(with));
        if !fits || bytes.len() > LONGEST {
            return Err(ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut beside, flags)?;
        Ok(())
    }

    /// As [`send`](Self::send), but waits where the other end has not read what was sent before. Must
    /// be called within a runtime.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(super) async fn send_in_turn(
        &self,
        message: &impl Serialize,
        with: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let send = || self.send(message, with);
        self.registered()?.async_io(Interest::WRITABLE, send).await
    }

    /// The next message that can be a `T`; `None` where the other end is closed.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] where none has come; [`ErrorKind::InvalidData`] for a message that is
    /// not a `T`.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<Received<T>>> {
        let mut bytes = vec![0; LONGEST];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let mut into = [IoSliceMut::new(&mut bytes)];
            let received = match recvmsg(&self.socket, &mut into, &mut beside, flags) {
                // The other end was closed with something of ours unread, which is said once. What it
                // has sent is still there.
                Err(rustix::io::Errno::CONNRESET) => continue,
                received => received?,
            };
            let mut descriptors = Vec::new();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            if received.bytes == 0 {
                return Ok(None);
            }
            if received.flags.contains(ReturnFlags::TRUNC) {
                // Longer than any message of this version: of a kind that only a later one knows.
                continue;
            }
            return Ok(Some(Received {
                message: serde_json::from_slice(&bytes[..received.bytes])?,
                descriptors,
                is_truncated: received.flags.contains(ReturnFlags::CTRUNC),
            }));
        }
    }

    /// The next message, when it comes. Must be called within a runtime.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), but that it waits.
    pub(super) async fn next<T: DeserializeOwned>(&self) -> io::Result<Option<Received<T>>> {
        let receive = || self.receive();
        self.registered()?
            .async_io(Interest::READABLE, receive)
            .await
    }

    fn registered(&self) -> io::Result<&UnixDatagram> {
        if let Some(registered) = self.registered.get() {
            return Ok(registered);
        }
        let registered = UnixDatagram::from_std(self.socket.try_clone()?.into())?;
        Ok(self.registered.get_or_init(|| registered))
    }

    /// Ends the talk: nothing that the other end says from now on is sent. What it has said before
    /// can still be received.
    pub(super) fn end(&self) {
        // Refused only where it has ended already.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn message(received: Option<Received<String>>) -> Option<String> {
        received.map(|received| received.message)
    }

    #[test]
    fn messages_and_descriptors_pass_and_the_end_is_seen() {
        let (ours, theirs) = Channel::pair().expect("descriptors");
        let file = std::fs::File::open("/dev/null").expect("a file");
        ours.send(&"with", &[file.as_fd()]).expect("it is open");
        ours.send(&"without", &[]).expect("it is open");
        let theirs = Channel::recognize::<String>(theirs.as_fd()).expect("its first is a text");
        let received = theirs.receive::<String>().expect("it was sent");
        let received = received.expect("it is open");
        assert_eq!(received.message, "with");
        assert_eq!(
            (received.descriptors.len(), received.is_truncated),
            (1, false)
        );
        ours.end();
        let received = theirs.receive::<String>().expect("it was sent before");
        assert_eq!(message(received).as_deref(), Some("without"));
        assert!(theirs.receive::<String>().expect("an end").is_none());
        let refused = theirs.send(&1, &[]).expect_err("nobody receives it");
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_was_said_before_the_end_is_still_received() {
        let (ours, theirs) = Channel::pair().expect("descriptors");
        let theirs = Channel::of(theirs).expect("a live socket");
        theirs.send(&"last", &[]).expect("it is open");
        ours.end();
        let received = ours.receive::<String>().expect("it was sent before");
        assert_eq!(message(received).as_deref(), Some("last"));
    }

    #[test]
    fn what_was_said_by_one_that_ended_with_something_unread_is_still_received() {
        let (ours, theirs) = Channel::pair().expect("descriptors");
        let theirs = Channel::of(theirs).expect("a live socket");
        ours.send(&"unread", &[]).expect("it is open");
        theirs.send(&"last", &[]).expect("it is open");
        drop(theirs);
        let received = ours.receive::<String>().expect("it was sent before");
        assert_eq!(message(received).as_deref(), Some("last"));
        assert!(ours.receive::<String>().expect("an end").is_none());
    }

    #[test]
    fn a_message_that_is_longer_than_any_of_ours_is_skipped() {
        let (ours, theirs) = Channel::pair().expect("descriptors");
        let long = serde_json::to_vec(&"x".repeat(LONGEST)).expect("a text");
        rustix::net::send(&theirs, &long, SendFlags::empty()).expect("it is open");
        let theirs = Channel::of(theirs).expect("a live socket");
        theirs.send(&"next", &[]).expect("it is open");
        let received = ours.receive::<String>().expect("it was sent");
        assert_eq!(message(received).as_deref(), Some("next"));
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
