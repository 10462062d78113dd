//! A source's text: byte offsets to places, and the line that a place is in, without its secrets.

use super::diagnostic::Place;
use super::value::Value;
use std::sync::OnceLock;

/// Characters of a line that an excerpt has before and after the place that it shows.
const AROUND: usize = 80;

/// The line that a [`Diagnostic`](super::Diagnostic) is about, or the part of it that is near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Of one line, without its end; control characters are spaces.
    pub text: String,
    /// Where in `text` the place begins, in characters from 0.
    pub start: usize,
    /// How many characters the place has, at least 1.
    pub length: usize,
}

/// How much of a line may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discretion {
    /// All: no setting is secret.
    Open,
    /// A key, or the value of a line's one key. Elsewhere a secret may stand, if only under a
    /// misspelt name.
    Secretive,
}

/// One source's name and, for a file, its text: turns byte offsets into places.
#[derive(Debug, PartialEq)]
pub(super) struct SourceText {
    /// The file's path as it was given, a variable's name or `--set`.
    pub(super) name: String,
    holds: Holds,
}

#[derive(Debug, PartialEq)]
enum Holds {
    /// A file's lines.
    Lines(Lines),
    /// One bare text, and the list or table that it is when it is read as one.
    Bare(Option<Value>),
}

#[derive(Debug)]
struct Lines {
    text: Box<str>,
    /// The offset of each line's first byte; mostly nobody asks.
    starts: OnceLock<Box<[u32]>>,
}

impl PartialEq for Lines {
    fn eq(&self, other: &Lines) -> bool {
        self.text == other.text
    }
}

impl SourceText {
    /// A file and its text.
    pub(super) fn file(name: String, text: String) -> Self {
        SourceText {
            name,
            holds: Holds::Lines(Lines {
                text: text.into(),
                starts: OnceLock::new(),
            }),
        }
    }

    /// A source whose one value is a bare text without lines, such as `--set`, and the list or
    /// table that it is when it is read as one.
    pub(super) fn bare(name: &str, inline: Option<Value>) -> Self {
        SourceText {
            name: name.to_owned(),
            holds: Holds::Bare(inline),
        }
    }

    /// Whether its value is a bare text, which becomes a number or the like where that is wanted.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self.holds, Holds::Bare(_))
    }

    /// The list or table that a bare text stands for.
    pub(super) fn inline(&self) -> Option<&Value> {
        match &self.holds {
            Holds::Bare(inline) => inline.as_ref(),
            Holds::Lines(_) => None,
        }
    }

    /// The text; empty for a bare source.
    pub(super) fn text(&self) -> &str {
        self.lines().map_or("", |lines| &lines.text)
    }

    /// The place of the character at a byte offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let position = self.lines().map(|lines| lines.position(offset));
        Place {
            source: self.name.clone(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
        }
    }

    /// The offset of a byte by its line and its place in it, both from 1.
    pub(super) fn offset_of_byte(&self, line: usize, column: usize) -> usize {
        let offset = self.start(line) + column.saturating_sub(1);
        self.text().floor_char_boundary(offset)
    }

    /// The offset of a character by its line and its place in it, both from 1.
    pub(super) fn offset_of_character(&self, line: usize, column: usize) -> usize {
        let start = self.start(line);
        let (before, _) = split_at(&self.text()[start..], column.saturating_sub(1));
        start + before.len()
    }

    /// The offset of a line, from 1; the end of the text where it has no such line.
    fn start(&self, line: usize) -> usize {
        let lines = self.lines();
        let start = lines.and_then(|lines| lines.start(line.saturating_sub(1)));
        start.unwrap_or(self.text().len())
    }

    /// The line of a place in this source.
    pub(super) fn excerpt(&self, place: &Place, discretion: Discretion) -> Option<Excerpt> {
        let number = usize::try_from(place.line?).ok()?;
        let start = usize::try_from(place.column?).ok()?.checked_sub(1)?;
        let line = self.lines()?.line(number)?;
        let (before, shown) = split_at(line, start);
        let length = length(shown).max(1);
        let around = before.chars().rev().take(AROUND).collect::<Vec<_>>();
        let before: String = around.into_iter().rev().collect();
        let after = match discretion {
            Discretion::Open => AROUND,
            Discretion::Secretive if is_one_entry(&before, shown, length) => 0,
            Discretion::Secretive => return None,
        };
        let shown: String = shown.chars().take(length.min(AROUND) + after).collect();
        let plain = |text: &str| text.replace(char::is_control, " ");
        Some(Excerpt {
            start: before.chars().count(),
            length: length.min(AROUND),
            text: plain(&before) + &plain(&shown),
        })
    }

    fn lines(&self) -> Option<&Lines> {
        match &self.holds {
            Holds::Lines(lines) => Some(lines),
            Holds::Bare(_) => None,
        }
    }
}

impl Lines {
    /// The offset of each line's first byte.
    fn starts(&self) -> &[u32] {
        self.starts.get_or_init(|| {
            let ends = memchr::memchr_iter(b'\n', self.text.as_bytes());
            // A file has at most 16 MiB.
            std::iter::once(0)
                .chain(ends.map(|at| at as u32 + 1))
                .collect()
        })
    }

    /// The offset of a line, from 0.
    fn start(&self, line: usize) -> Option<usize> {
        self.starts().get(line).map(|start| *start as usize)
    }

    /// Line and column, both from 1.
    fn position(&self, offset: usize) -> (u32, u32) {
        let starts = self.starts();
        let line = starts.partition_point(|start| *start as usize <= offset);
        let start = starts[line - 1] as usize;
        let before = &self.text.as_bytes()[start..offset.min(self.text.len())];
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        // A file has at most 16 MiB, so neither number can be too large.
        (line as u32, column as u32)
    }

    /// A line by its number, from 1, without its end.
    fn line(&self, number: usize) -> Option<&str> {
        let start = self.start(number.checked_sub(1)?)?;
        let end = self.start(number).unwrap_or(self.text.len());
        Some(self.text[start..end].trim_end_matches(['\n', '\r']))
    }
}

fn split_at(text: &str, characters: usize) -> (&str, &str) {
    let end = text.char_indices().nth(characters);
    text.split_at(end.map_or(text.len(), |(at, _)| at))
}

/// How many characters the key or the value at the beginning of a text has; of a list or a table,
/// what opens it.
fn length(text: &str) -> usize {
    match text.chars().next() {
        Some('[' | '{') => 1,
        Some(quote @ ('"' | '\'')) => {
            let mut is_escaped = false;
            let inside = text.chars().skip(1).take_while(|c| {
                let goes_on = is_escaped || *c != quote;
                is_escaped = !is_escaped && *c == '\\' && quote == '"';
                goes_on
            });
            (inside.count() + 2).min(text.chars().count())
        }
        _ => {
            let is_end = |c: &char| c.is_whitespace() || ",]}#=:".contains(*c);
            text.chars().take_while(|c| !is_end(c)).count()
        }
    }
}

/// Whether a place is a key, or the value of the one key before it: an element of a list may be a
/// secret, and so may what is before it.
fn is_one_entry(before: &str, shown: &str, length: usize) -> bool {
    let (_, after) = split_at(shown, length);
    let (before, after) = (before.trim(), after.trim_start());
    let keys_only = |text: &str| !text.contains(['=', ':', ',', '{', '[', '#']);
    if let Some(key) = before.strip_suffix(['=', ':']) {
        return keys_only(key);
    }
    let header = before.strip_prefix("[[").or(before.strip_prefix('['));
    match header {
        Some(keys) => {
            let is_number = shown.starts_with(|c: char| c.is_ascii_digit());
            keys_only(keys) && !is_number && after.starts_with([']', '.'])
        }
        None => keys_only(before) && after.starts_with(['=', ':', '.']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = SourceText::file("a.toml".into(), "x = 1\nä = \"ü\" # é".into());
        let at = |text: &str| source.text().find(text).expect("in the text");
        assert_eq!(source.place(0).to_string(), "a.toml:1:1");
        assert_eq!(source.place(at("ä")).to_string(), "a.toml:2:1");
        assert_eq!(source.place(at("\"ü")).to_string(), "a.toml:2:5");
        assert_eq!(source.place(at("é")).to_string(), "a.toml:2:11");
        assert_eq!(source.place(source.text().len()).to_string(), "a.toml:2:12");
        assert_eq!(source.place(usize::MAX).to_string(), "a.toml:2:12");
        let bare = SourceText::bare("--set", None);
        assert_eq!(bare.place(7).to_string(), "--set");
    }

    #[test]
    fn an_excerpt_is_the_line_and_what_is_meant_in_it() {
        let shown = |text: &str, at: &str, discretion| {
            let source = SourceText::file("a".into(), text.into());
            let place = source.place(text.find(at).expect("in the text"));
            let Excerpt {
                text,
                start,
                length,
            } = source.excerpt(&place, discretion)?;
            let meant: String = text.chars().skip(start).take(length).collect();
            Some((text, meant))
        };
        let line = |text: &str, meant: &str| Some((text.to_owned(), meant.to_owned()));
        let text = "a = 1\r\nä = { \"b c\" = \"x\\\"y\", d = 5 }\r\n";
        let whole = "ä = { \"b c\" = \"x\\\"y\", d = 5 }";
        assert_eq!(shown(text, "a", Discretion::Open), line("a = 1", "a"));
        assert_eq!(
            shown(text, "\"x", Discretion::Open),
            line(whole, "\"x\\\"y\"")
        );
        assert_eq!(shown(text, "5", Discretion::Open), line(whole, "5"));
        assert_eq!(shown(text, "1", Discretion::Secretive), line("a = 1", "1"));
        assert_eq!(shown(text, "a", Discretion::Secretive), line("a", "a"));
        assert_eq!(shown(text, "5", Discretion::Secretive), None);
        let text = "[a.b]\n[[c]]\nd.e = 'f'\n- g\nh: [i]\n  j,\n[k]\n[8]\n";
        for harmless in ["b", "c", "e", "'f'", "h", "k"] {
            assert!(
                shown(text, harmless, Discretion::Secretive).is_some(),
                "{harmless}"
            );
        }
        for secret in ["g", "i", "j", "8"] {
            assert_eq!(shown(text, secret, Discretion::Secretive), None, "{secret}");
        }
        let long = format!("{}={}", "k".repeat(5000), "v".repeat(5000));
        let (text, _) = shown(&long, "v", Discretion::Open).expect("in a line");
        assert!(text.chars().count() <= 3 * AROUND, "{text}");
    }
}
