//! An accepted socket, of either kind.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll},
};

use rustix::net::RecvFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// An accepted socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Both kinds of socket behave alike.
macro_rules! either {
    ($socket:expr, $it:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($it) => $call,
            Socket::Unix($it) => $call,
        }
    };
}

impl Socket {
    /// Whether anything lies in the receive buffer right now. Asks the kernel: what the runtime
    /// has not been told of yet counts.
    pub(crate) fn has_received(&self) -> bool {
        either!(self, it => has_received(it))
    }

    /// Whether the other side has reset the connection.
    pub(crate) fn is_reset(&self) -> bool {
        let error = either!(self, it => it.take_error());
        !matches!(error, Ok(None))
    }

    /// Another handle on the socket.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        either!(self, it => it.as_fd().try_clone_to_owned())
    }
}

/// Whether anything lies in a socket's receive buffer.
pub(crate) fn has_received(socket: impl AsFd) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let mut byte = [0_u8];
    let looked = rustix::net::recv(socket, &mut byte, flags);
    matches!(looked, Ok((_, received)) if received > 0)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), it => Pin::new(it).poll_write(cx, bytes))
    }

    /// What was written is in the kernel.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_shutdown(cx))
    }
}
