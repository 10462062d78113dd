//! The one JSON text that settings have: keys in order, no blanks. One text takes a tenth of the memory
//! that a tree of values takes.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::Serialize;
use serde_json::Value as Json;
use serde_json::ser::{Formatter, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;

/// A JSON text as [`write`] makes it.
pub(super) type Text = str;

/// Writes a value: the text that it has as a [`Json`] whose objects are sorted.
///
/// # Errors
/// Those of the value, and numbers that JSON does not have.
pub(super) fn write(value: &impl Serialize) -> Result<Box<Text>, serde_json::Error> {
    let out = Out::default();
    let sorting = Sorting {
        out: out.clone(),
        entries: Vec::new(),
        open: Vec::new(),
        sorted: Vec::new(),
    };
    value.serialize(&mut Serializer::with_formatter(out.clone(), sorting))?;
    let text = std::mem::take(&mut *out.0.borrow_mut());
    let text = String::from_utf8(text).expect("`serde_json` writes UTF-8");
    Ok(text.into())
}

/// Reads a text as a tree of values.
pub(super) fn read(text: &Text) -> Json {
    serde_json::from_str(text).expect("`write` writes JSON")
}

/// The entries of an object, in order; `None` for all else.
pub(super) fn entries(text: &Text) -> Option<Vec<(Cow<'_, str>, &Text)>> {
    let is_object = text.starts_with('{');
    let read = || serde_json::from_str(text).expect("`write` writes JSON");
    is_object.then(read).map(|Entries(entries)| entries)
}

/// The value at a path; a list's elements are counted from 0.
pub(super) fn at<'t, S: AsRef<str>>(text: &'t Text, path: &[S]) -> Option<&'t Text> {
    path.iter().try_fold(text, |text, segment| {
        let segment = segment.as_ref();
        if text.starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(text).expect("`write` writes JSON");
            return Some(list.get(segment.parse::<usize>().ok()?)?.get());
        }
        let mut entries = entries(text)?.into_iter();
        Some(entries.find(|(key, _)| key == segment)?.1)
    })
}

/// What is written, where it can be looked at again.
#[derive(Clone, Default)]
struct Out(Rc<RefCell<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sorts the entries of each object when it ends.
struct Sorting {
    out: Out,
    /// Of the objects that are open, the innermost last.
    entries: Vec<Entry>,
    /// How many entries there were when each of them began.
    open: Vec<usize>,
    /// The entries of the object that is being sorted.
    sorted: Vec<u8>,
}

/// Where an entry begins, where its key ends, and where it ends itself.
#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    key_end: usize,
    end: usize,
    /// Whether its key is another text than what is written between its quotes.
    is_escaped: bool,
}

impl Entry {
    fn key(self, out: &[u8]) -> Cow<'_, [u8]> {
        let written = &out[self.start..self.key_end];
        if !self.is_escaped {
            return written[1..written.len() - 1].into();
        }
        let key: String = serde_json::from_slice(written).expect("`serde_json` has written it");
        key.into_bytes().into()
    }
}

impl Sorting {
    fn length(&self) -> usize {
        self.out.0.borrow().len()
    }

    fn innermost(&mut self) -> &mut Entry {
        self.entries.last_mut().expect("an entry has begun")
    }

    /// Sorts the entries of the object that ends; of two with one key the later stays.
    fn sort(&mut self) {
        let first = self.open.pop().expect("an object that ends has begun");
        let entries = &mut self.entries[first..];
        let mut out = self.out.0.borrow_mut();
        if !entries.is_sorted_by(|one, other| one.key(&out) < other.key(&out)) {
            let start = entries[0].start;
            entries.sort_by(|one, other| one.key(&out).cmp(&other.key(&out)));
            self.sorted.clear();
            for (index, entry) in entries.iter().enumerate() {
                let next = entries.get(index + 1);
                if next.is_some_and(|next| next.key(&out) == entry.key(&out)) {
                    continue;
                }
                if !self.sorted.is_empty() {
                    self.sorted.push(b',');
                }
                self.sorted.extend_from_slice(&out[entry.start..entry.end]);
            }
            out.truncate(start);
            out.extend_from_slice(&self.sorted);
        }
        self.entries.truncate(first);
    }
}

impl Formatter for Sorting {
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open.push(self.entries.len());
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> io::Result<()> {
        if !is_first {
            writer.write_all(b",")?;
        }
        let start = self.length();
        self.entries.push(Entry {
            start,
            key_end: start,
            end: start,
            is_escaped: false,
        });
        Ok(())
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        let key_end = self.length();
        let start = self.innermost().start;
        let is_escaped = self.out.0.borrow()[start..key_end].contains(&b'\\');
        let entry = self.innermost();
        (entry.key_end, entry.is_escaped) = (key_end, is_escaped);
        Ok(())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        let end = self.length();
        self.innermost().end = end;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.sort();
        writer.write_all(b"}")
    }

    /// As a [`Json`] has it, whose numbers are all of this size.
    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, number: f32) -> io::Result<()> {
        self.write_f64(writer, number.into())
    }

    fn write_i128<W: ?Sized + Write>(&mut self, writer: &mut W, number: i128) -> io::Result<()> {
        match (i64::try_from(number), u64::try_from(number)) {
            (Ok(number), _) => self.write_i64(writer, number),
            (_, Ok(number)) => self.write_u64(writer, number),
            _ => Err(io::Error::other("number out of range")),
        }
    }

    fn write_u128<W: ?Sized + Write>(&mut self, writer: &mut W, number: u128) -> io::Result<()> {
        match u64::try_from(number) {
            Ok(number) => self.write_u64(writer, number),
            Err(_) => Err(io::Error::other("number out of range")),
        }
    }
}

/// The entries of an object, their values unread.
struct Entries<'t>(Vec<(Cow<'t, str>, &'t str)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Entries<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<_, &RawValue>()? {
                    entries.push((key, value.get()));
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(OfMap)
    }
}

#[derive(serde::Deserialize)]
struct Key<'t>(#[serde(borrow)] Cow<'t, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn by_tree(value: &impl Serialize) -> String {
        let mut json = serde_json::to_value(value).expect("it has a JSON form");
        json.sort_all_objects();
        json.to_string()
    }

    fn tables() -> impl Strategy<Value = Unsorted> {
        let key = || prop_oneof!["[a-c\"\\\\\u{1}é]{0,2}", "[a-z]{1,3}"];
        let leaf = prop_oneof![
            any::<Option<bool>>().prop_map(|value| Unsorted::Json(value.into())),
            any::<i64>().prop_map(|number| Unsorted::Json(number.into())),
            any::<f32>().prop_map(Unsorted::Small),
            any::<u64>().prop_map(|number| Unsorted::Large(number.into())),
            key().prop_map(|text| Unsorted::Json(text.into())),
        ];
        leaf.prop_recursive(4, 32, 6, move |within| {
            prop_oneof![
                prop::collection::vec(within.clone(), 0..4).prop_map(Unsorted::List),
                prop::collection::hash_map(key(), within, 0..6).prop_map(Unsorted::Table),
            ]
        })
    }

    #[derive(Clone, Debug, serde::Serialize)]
    #[serde(untagged)]
    enum Unsorted {
        Json(Json),
        Small(f32),
        Large(u128),
        List(Vec<Unsorted>),
        Table(HashMap<String, Unsorted>),
    }

    proptest! {
        #[test]
        fn a_text_is_that_of_the_sorted_tree(value in tables()) {
            let text = write(&value).expect("it has a JSON form");
            prop_assert_eq!(&*text, by_tree(&value));
            prop_assert_eq!(read(&text).to_string(), &*text);
        }
    }

    #[test]
    fn of_two_entries_with_one_key_the_later_stays() {
        #[derive(serde::Serialize)]
        struct Twice {
            b: u8,
            #[serde(rename = "b")]
            c: u8,
            a: u8,
        }
        let twice = Twice { b: 1, c: 2, a: 3 };
        assert_eq!(&*write(&twice).expect("written"), by_tree(&twice));
    }

    #[test]
    fn numbers_that_json_does_not_have_are_errors() {
        for number in [i128::MAX, i128::MIN] {
            let error = write(&number).expect_err("too large");
            assert_eq!(error.to_string(), "number out of range");
        }
    }

    #[test]
    fn a_path_leads_into_objects_and_lists() {
        let text = r#"{"a":{"\"":[1,{"b":2}]},"c":3}"#;
        assert_eq!(at(text, &["a", "\"", "1", "b"]), Some("2"));
        assert_eq!(at(text, &["a", "b"]), None);
        assert_eq!(at(text, &["c", "b"]), None);
        assert_eq!(at::<&str>(text, &[]), Some(text));
        let keys = entries(text).expect("an object");
        assert_eq!(keys[0], ("a".into(), r#"{"\"":[1,{"b":2}]}"#));
        assert_eq!(entries("[]"), None);
    }
}
