//! Reports to systemd (sd_notify(3)) which process is the service's main one.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::ffi::OsStrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// The way to the service manager, where there is one.
#[derive(Default)]
pub(crate) struct Notifier(Option<SocketAddr>);

impl Notifier {
    /// `socket` is `$NOTIFY_SOCKET`: a path, or an abstract name after `@`.
    pub(crate) fn new(socket: Option<&OsStr>) -> Self {
        let address = socket.and_then(|socket| match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(socket).ok(),
        });
        Self(address)
    }

    /// Another process is the main one from now on.
    pub(crate) fn main_pid(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}\n"));
    }

    /// A manager that does not listen hinders nothing.
    fn tell(&self, state: &str) {
        let Some(address) = &self.0 else {
            return;
        };
        let told = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(state.as_bytes(), address)
        });
        if let Err(error) = told {
            let error: io::Error = error;
            log::warn!(target: "everup::systemd", "the service manager was not told: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_of_the_new_main_process() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("it is free");
        Notifier::new(Some(path.as_os_str())).main_pid(7);
        let mut heard = [0; 64];
        let length = manager.recv(&mut heard).expect("it was told");
        assert_eq!(&heard[..length], b"MAINPID=7\n");
    }
}
