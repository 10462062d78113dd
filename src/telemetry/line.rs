//! Formats log lines: text by log4rs' pattern encoder, or one JSON object a line. One event is one line,
//! whatever its message contains.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use jiff::Timestamp;
use log::Record;
use log4rs::encode::{Encode, Write, pattern::PatternEncoder, writer::simple::SimpleWriter};
use serde::Serialize;

use crate::settings::LogFormat;

/// Time in UTC, level, target, message.
const PATTERN: &str = "{d(%Y-%m-%dT%H:%M:%S%.3fZ)(utc)} {l:<5} {t}: {m}";

/// The encoder of a format; its lines are to be brought to an [`end`].
pub(super) fn encoder(format: LogFormat) -> Box<dyn Encode> {
    match format {
        LogFormat::Text => Box::new(PatternEncoder::new(PATTERN)),
        LogFormat::Json => Box::new(JsonEncoder),
    }
}

/// A record as a whole line.
pub(super) fn encode(encoder: &dyn Encode, record: &Record<'_>) -> anyhow::Result<Vec<u8>> {
    let mut line = SimpleWriter(Vec::with_capacity(256));
    encoder.encode(&mut line, record)?;
    end(&mut line.0, 0);
    Ok(line.0)
}

/// Brings to its end the line that begins at `start`: no other control character is in it.
pub(super) fn end(lines: &mut Vec<u8>, start: usize) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    if !lines[start..].iter().all(is_plain) {
        let line = String::from_utf8_lossy(&lines[start..]);
        if let Cow::Owned(escaped) = escaped(&line) {
            lines.truncate(start);
            lines.extend_from_slice(escaped.as_bytes());
        }
    }
    lines.push(b'\n');
}

/// The text without control characters, which could forge lines or drive a terminal. Both in a text
/// and in JSON it stands for what it was.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            letter if letter.is_control() => {
                write!(escaped, "\\u{:04x}", u32::from(letter))
                    .expect("a text takes all that is written");
            }
            letter => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// An object a line.
#[derive(Debug)]
struct JsonEncoder;

impl Encode for JsonEncoder {
    fn encode(&self, out: &mut dyn Write, record: &Record<'_>) -> anyhow::Result<()> {
        let object = Object {
            time: format_args!("{:.3}", Timestamp::now()),
            level: record.level().as_str(),
            target: record.target(),
            message: *record.args(),
        };
        Ok(serde_json::to_writer(out, &object)?)
    }
}

#[derive(Serialize)]
struct Object<'a> {
    time: fmt::Arguments<'a>,
    level: &'static str,
    target: &'a str,
    message: fmt::Arguments<'a>,
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    fn line(format: LogFormat, message: &str) -> String {
        let mut record = Record::builder();
        record.level(Level::Warn).target("a::b");
        let line = encode(
            &*encoder(format),
            &record.args(format_args!("{message}")).build(),
        );
        let line = line.expect("a text can be encoded");
        String::from_utf8(line).expect("lines are UTF-8")
    }

    /// What drives a terminal: C0, DEL, and C1, which is two bytes long in UTF-8.
    const NASTY: &str = "a\r\n\u{1b}[2J\u{7f}\u{9b}2J\tä";

    #[test]
    fn no_control_character_reaches_a_line() {
        let text = line(LogFormat::Text, NASTY);
        let (_, said) = text.split_once("WARN  a::b: ").expect("level and target");
        assert_eq!(said, "a\\r\\n\\u001b[2J\\u007f\\u009b2J\\tä\n");
    }

    #[test]
    fn an_object_holds_what_was_said() {
        let json = line(LogFormat::Json, NASTY);
        assert_eq!(json.chars().filter(|letter| letter.is_control()).count(), 1);
        let object: serde_json::Value = serde_json::from_str(&json).expect("an object");
        assert_eq!(object["message"], NASTY);
        assert_eq!(
            (&object["level"], &object["target"]),
            (&"WARN".into(), &"a::b".into())
        );
    }
}
