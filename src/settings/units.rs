//! How durations, sizes, names, levels and bounded numbers are written in settings.
//! Owns their texts both ways; which setting uses which is `schema.rs`.

use actix_http::header::{self, HeaderName};
use bytesize::ByteSize;
use jiff::SignedDuration;
use log::LevelFilter;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The longest duration.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Characters that a listener's name may have.
const NAME: usize = 64;

/// Characters that a log target may have.
const TARGET: usize = 256;

/// A type that is written as a text: what is expected, and how it is read.
pub(super) struct Text<T> {
    pub(super) expected: &'static str,
    pub(super) read: fn(&str) -> Option<T>,
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

/// How long files must be left alone, for `#[serde(with = "…")]`: above zero, at most a minute.
pub(super) mod debounce {
    use super::*;

    pub(in super::super) use super::duration::serialize;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        from.deserialize_str(Text {
            expected: "a duration above zero, of at most a minute, such as \"100ms\" or \"2s\"",
            read: |text| {
                duration_of(text).filter(|it| !it.is_zero() && *it <= Duration::from_secs(60))
            },
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

/// A log level on its own, as the value of a table.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Level(#[serde(with = "level")] pub(super) LevelFilter);

/// A log target; to be read as a key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogTarget(pub(super) String);

impl<'de> serde::Deserialize<'de> for LogTarget {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text {
            expected: "a log target of at most 256 characters such as \"everup::http\"",
            read: |text| {
                let is_name = |part: &str| !part.is_empty() && !part.contains(':');
                let fits = text.len() <= TARGET && text.split("::").all(is_name);
                fits.then(|| LogTarget(text.to_owned()))
            },
        })
    }
}

/// The name of a header that a response may have once more, or nothing.
pub(super) fn generation_header<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    from.deserialize_str(Text {
        expected: "a header's name such as \"x-config-generation\", or \"\" for none",
        read: |text| {
            // By these a response is framed (RFC 9112 §6, RFC 9113 §8.2.2).
            let frames = [
                header::CONNECTION,
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
                header::UPGRADE,
            ];
            let name = HeaderName::from_bytes(text.as_bytes());
            let fits = text.is_empty() || name.is_ok_and(|name| !frames.contains(&name));
            fits.then(|| text.to_owned())
        },
    })
}

/// The path of a log file, or nothing.
pub(super) fn log_file<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    from.deserialize_str(Text {
        expected: "the path of a file, or \"\" for standard error",
        read: |text| (!text.contains('\0')).then(|| text.to_owned()),
    })
}

/// How many rolled log files are kept.
pub(super) fn log_keep<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    from.deserialize_u32(Bounded {
        least: 0,
        most: 100,
    })
}

/// Writes a size exactly: `10MiB`.
pub(super) fn write_size<S: serde::Serializer>(size: &ByteSize, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&written_size(size.0))
}

/// The size of a log file.
pub(super) fn log_size<'de, D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
    from.deserialize_str(Text {
        expected: "a size from \"64KiB\" to \"1TiB\" such as \"10MiB\"",
        read: |text| size_of(text).filter(|size| *size >= ByteSize::kib(64)),
    })
}

/// How large a request's body may be.
pub(super) fn body_size<'de, D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
    from.deserialize_str(Text {
        expected: "a size up to \"1TiB\" such as \"1MiB\"",
        read: size_of,
    })
}

fn size_of(text: &str) -> Option<ByteSize> {
    let size: ByteSize = text.parse().ok()?;
    (size <= ByteSize::tib(1)).then_some(size)
}

/// A size as settings have it, exactly: `10MiB`.
fn written_size(size: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units
        .into_iter()
        .find(|(bits, _)| size != 0 && size.trailing_zeros() >= *bits);
    match whole {
        Some((bits, unit)) => format!("{}{unit}", size >> bits),
        None => format!("{size}B"),
    }
}

/// How many workers.
pub(super) fn workers<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    up_to(512, from)
}

/// How many generations.
pub(super) fn history<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    up_to(1000, from)
}

fn up_to<'de, D: Deserializer<'de>>(most: u16, from: D) -> Result<u16, D::Error> {
    let number = from.deserialize_u32(Bounded {
        least: 0,
        most: most.into(),
    })?;
    u16::try_from(number).map_err(D::Error::custom)
}

/// A path beneath which probes are answered, or nothing.
pub(super) fn probes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    from.deserialize_str(Text {
        expected: "a path that begins and ends with a slash, such as \"/-/\", or \"\" for none",
        read: |text| {
            // As it comes in a request: what would be encoded there never matches.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
            let good = text.starts_with('/') && text.ends_with('/') && text.bytes().all(plain);
            (good || text.is_empty()).then(|| (!text.is_empty()).then(|| text.to_owned()))
        },
    })
}

/// The path of a file, or nothing.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<PathBuf>, D::Error> {
    from.deserialize_str(Text {
        expected: "the path of a file, or \"\" for none",
        read: |text| Some((!text.is_empty()).then(|| PathBuf::from(text))),
    })
}

/// Names that Host may carry.
pub(super) fn hosts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let hosts = <Vec<HostName> as serde::Deserialize>::deserialize(from)?;
    Ok(hosts.into_iter().map(|host| host.0).collect())
}

/// A name as it stands in Host, without its port.
struct HostName(String);

impl<'de> serde::Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text {
            expected: "a host name without a port such as \"admin.example\"",
            read: |text| {
                let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                // RFC 1035 §2.3.4: 255 octets, two of which are not written.
                let fits = (1..=253).contains(&text.len()) && text.bytes().all(good);
                fits.then(|| HostName(text.to_ascii_lowercase()))
            },
        })
    }
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
    fn sizes_are_written_back_exactly() {
        for (text, bytes) in [("64KiB", 65_536), ("10MiB", 10_485_760), ("1TiB", 1 << 40)] {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!((size.0, written_size(bytes).as_str()), (bytes, text));
        }
        assert_eq!(written_size(100_001), "100001B");
        assert_eq!("100001B".parse(), Ok(ByteSize(100_001)));
    }
}
