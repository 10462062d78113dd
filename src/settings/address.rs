//! Where listeners and the admin API listen, as settings write it.

use super::units::Text;
use serde::de::Deserializer;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `127.0.0.1:8080`; port 0 picks one.
    Tcp(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `systemd:NAME`: on the socket that the service manager passes by this name
    /// (`FileDescriptorName=` in systemd.socket(5), by default the socket unit's own name).
    Systemd(String),
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere: `""`.
    Off,
    /// On an address such as `127.0.0.1:8081`; port 0 picks one.
    Tcp(SocketAddr),
    /// On a unix socket: `unix:PATH`.
    Unix(PathBuf),
}

impl AdminAddress {
    /// As a listener's, where it is on.
    pub(crate) fn listener(&self) -> Option<Address> {
        match self {
            AdminAddress::Off => None,
            AdminAddress::Tcp(address) => Some(Address::Tcp(*address)),
            AdminAddress::Unix(path) => Some(Address::Unix(path.clone())),
        }
    }

    /// Whether others than this machine's own users can reach it.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            AdminAddress::Off | AdminAddress::Unix(_) => false,
            AdminAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        }
    }
}

impl Address {
    /// The TCP address, where it is one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) | Address::Systemd(_) => None,
        }
    }

    /// Whether the system picks the port: two such are two.
    pub(crate) fn is_any_port(&self) -> bool {
        self.tcp().is_some_and(|address| address.port() == 0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(out),
            Address::Unix(path) => write!(out, "unix:{}", path.display()),
            Address::Systemd(name) => write!(out, "systemd:{name}"),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Address, ()> {
        let address = if let Some(path) = text.strip_prefix("unix:") {
            unix_path_of(path).map(Address::Unix)
        } else if let Some(name) = text.strip_prefix("systemd:") {
            is_socket_name(name).then(|| Address::Systemd(name.to_owned()))
        } else {
            text.parse().ok().map(Address::Tcp)
        };
        address.ok_or(())
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text {
            expected: "an IP address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\", \
                       \"unix:PATH\" or \"systemd:NAME\"",
            read: |text| text.parse().ok(),
        })
    }
}

/// Whether it is a name that systemd gives: up to 255 printable characters of ASCII without a colon
/// (systemd.socket(5), `FileDescriptorName=`).
fn is_socket_name(name: &str) -> bool {
    let may_hold = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
    (1..=255).contains(&name.len()) && name.bytes().all(may_hold)
}

/// A path that a unix socket can have: a NUL cannot be in one, and an empty one names an unnamed
/// socket.
fn unix_path_of(path: &str) -> Option<PathBuf> {
    (!path.is_empty() && !path.contains('\0')).then(|| path.into())
}

impl serde::Serialize for AdminAddress {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            AdminAddress::Off => out.serialize_str(""),
            AdminAddress::Tcp(address) => out.collect_str(address),
            AdminAddress::Unix(path) => out.collect_str(&format_args!("unix:{}", path.display())),
        }
    }
}

impl<'de> serde::Deserialize<'de> for AdminAddress {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text {
            expected: "an IP address and a port such as \"127.0.0.1:8081\", \"unix:PATH\" or \"\" \
                       for none",
            read: admin_address_of,
        })
    }
}

fn admin_address_of(text: &str) -> Option<AdminAddress> {
    if text.is_empty() {
        return Some(AdminAddress::Off);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path_of(path).map(AdminAddress::Unix);
    }
    text.parse().ok().map(AdminAddress::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_off_unix_or_an_address() {
        let tcp = |text: &str| Some(AdminAddress::Tcp(text.parse().expect("an address")));
        assert_eq!(admin_address_of(""), Some(AdminAddress::Off));
        assert_eq!(admin_address_of("127.0.0.1:0"), tcp("127.0.0.1:0"));
        assert_eq!(admin_address_of("[::1]:1"), tcp("[::1]:1"));
        assert_eq!(
            admin_address_of("unix:/run/a.sock"),
            Some(AdminAddress::Unix("/run/a.sock".into()))
        );
        for text in ["localhost:1", "unix:", "127.0.0.1"] {
            assert_eq!(admin_address_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_socket_is_named_as_systemd_names_it() {
        let systemd = |name: &str| Ok(Address::Systemd(name.to_owned()));
        assert_eq!("systemd:http".parse(), systemd("http"));
        assert_eq!("systemd:my web.socket".parse(), systemd("my web.socket"));
        let longest = "a".repeat(255);
        assert_eq!(format!("systemd:{longest}").parse(), systemd(&longest));
        for name in ["", "a:b", "ä", "a\n", &"a".repeat(256)] {
            assert_eq!(
                format!("systemd:{name}").parse::<Address>(),
                Err(()),
                "{name}"
            );
        }
    }

    #[test]
    fn an_admin_address_is_open_where_other_machines_reach_it() {
        for (text, open) in [
            ("", false),
            ("unix:/run/a.sock", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("10.0.0.1:1", true),
        ] {
            let address = admin_address_of(text).expect(text);
            assert_eq!(address.is_open(), open, "{text}");
        }
    }
}
