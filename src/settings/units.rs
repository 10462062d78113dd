//! How durations, addresses, levels and bounded numbers are written in settings.
//! Owns their texts both ways; which setting uses which is `schema.rs`.

use jiff::SignedDuration;
use log::LevelFilter;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The longest duration.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Characters that a listener's name may have.
const NAME: usize = 64;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `127.0.0.1:8080`; port 0 picks one.
    Tcp(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere: `""`.
    Off,
    /// On an address of this machine only: `127.0.0.1:8081`; port 0 picks one.
    Tcp(SocketAddr),
    /// On a unix socket: `unix:PATH`.
    Unix(PathBuf),
}

/// A type that is written as a text: what is expected, and how it is read.
struct Text<T> {
    expected: &'static str,
    read: fn(&str) -> Option<T>,
}

/// A whole number within bounds, both included.
struct Bounded {
    least: u32,
    most: u32,
}

/// Durations in an author's settings, for `#[serde(with = "everup::duration")]` and
/// `#[schemars(with = "String")]`: `"0s"` to 365 days.
pub mod duration {
    use super::*;

    /// Writes `"250ms"`, `"30s"`, `"1h"`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: serde::Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&written(duration))
    }

    /// Reads what [`serialize`] writes, and what else jiff reads as a duration.
    ///
    /// # Errors
    /// Where the text is not a duration, or negative, or longer than 365 days.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_str(Text {
            expected: "a duration of at most 365 days such as \"250ms\", \"30s\" or \"1h\"",
            read: super::duration_of,
        })
    }
}

/// Durations above zero, for `#[serde(with = "…")]`: at most 365 days.
pub(super) mod positive_duration {
    use super::*;

    pub(in super::super) use super::duration::serialize;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        from.deserialize_str(Text {
            expected: "a duration above zero, of at most 365 days, such as \"250ms\", \"30s\" or \
                       \"1h\"",
            read: |text| duration_of(text).filter(|duration| !duration.is_zero()),
        })
    }
}

/// Log levels, for `#[serde(with = "…")]`.
pub(super) mod level {
    use super::*;

    pub(in super::super) fn serialize<S: serde::Serializer>(
        level: &LevelFilter,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_str(&level.as_str().to_ascii_lowercase())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<LevelFilter, D::Error> {
        from.deserialize_str(Text {
            expected: "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
            read: |text| {
                LevelFilter::iter().find(|level| level.as_str().to_ascii_lowercase() == text)
            },
        })
    }
}

/// How many workers.
pub(super) fn workers<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let number = from.deserialize_u32(Bounded {
        least: 0,
        most: 512,
    })?;
    u16::try_from(number).map_err(D::Error::custom)
}

/// A number above zero.
pub(super) fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    from.deserialize_u32(Bounded {
        least: 1,
        most: u32::MAX,
    })
}

/// A listener's name; to be read as a key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListenerName(pub(super) String);

impl<'de> serde::Deserialize<'de> for ListenerName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text {
            expected: "a listener's name of at most 64 characters from a-z, 0-9, - and _",
            read: |text| {
                let good = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
                let fits = (1..=NAME).contains(&text.len()) && text.bytes().all(good);
                fits.then(|| ListenerName(text.to_owned()))
            },
        })
    }
}

impl Address {
    /// The TCP address, where it is one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
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
        }
    }
}

impl std::str::FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Address, ()> {
        let address = match text.strip_prefix("unix:") {
            Some(path) => unix_path_of(path).map(Address::Unix),
            None => text.parse().ok().map(Address::Tcp),
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
            expected: "an IP address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\", or \
                       \"unix:PATH\"",
            read: |text| text.parse().ok(),
        })
    }
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
            expected: "a loopback address and a port such as \"127.0.0.1:8081\" (others would \
                       need tokens, which there are not yet), \"unix:PATH\" or \"\" for none",
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
    let address: SocketAddr = text.parse().ok()?;
    let local = address.ip().to_canonical().is_loopback();
    local.then_some(AdminAddress::Tcp(address))
}

fn duration_of(text: &str) -> Option<Duration> {
    let duration: SignedDuration = text.parse().ok()?;
    let duration = Duration::try_from(duration).ok()?;
    (duration <= LONGEST).then_some(duration)
}

/// A duration as settings have it: `1m 15s`.
fn written(duration: &Duration) -> String {
    jiff::fmt::friendly::SpanPrinter::new().unsigned_duration_to_string(duration)
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl Visitor<'_> for Bounded {
    type Value = u32;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a number from {} to {}", self.least, self.most)
    }

    fn visit_u32<E: Error>(self, number: u32) -> Result<u32, E> {
        if (self.least..=self.most).contains(&number) {
            Ok(number)
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(number.into()), &self))
        }
    }

    // Other formats (JSON, in a test of an author's) have numbers of one size only.
    fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
        match u32::try_from(number) {
            Ok(number) => self.visit_u32(number),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("1h", 3_600_000),
            ("1m 15s", 75_000),
            ("8760h", 31_536_000_000),
        ] {
            let duration = duration_of(text).expect(text);
            assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(duration_of(&written(&duration)), Some(duration), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1s ago",
            "8761h",
            "99999999999999999999h",
            "1 mile",
        ] {
            assert_eq!(duration_of(text), None, "{text}");
        }
    }

    #[test]
    fn an_admin_address_is_off_unix_or_on_this_machine() {
        let local = |text: &str| Some(AdminAddress::Tcp(text.parse().expect("an address")));
        assert_eq!(admin_address_of(""), Some(AdminAddress::Off));
        assert_eq!(admin_address_of("127.0.0.1:0"), local("127.0.0.1:0"));
        assert_eq!(admin_address_of("[::1]:1"), local("[::1]:1"));
        assert_eq!(
            admin_address_of("unix:/run/a.sock"),
            Some(AdminAddress::Unix("/run/a.sock".into()))
        );
        for text in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "localhost:1",
            "unix:",
            "127.0.0.1",
        ] {
            assert_eq!(admin_address_of(text), None, "{text}");
        }
    }
}
