//! What is within one value as serde asks for it: a table's entries, a list's elements, an enum's
//! variant.

use super::super::tree::{is_removal, live};
use super::super::value::{At, Key as Name, Table, Value, ValueKind};
use super::key::Key;
use super::node::{Node, Step};
use super::problem::Error;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// A table's entries, without those that failed before and, for a struct, those it does not know.
pub(super) struct Entries<'t, 'c> {
    within: Node<'t, 'c>,
    entries: Option<std::slice::Iter<'t, (Name, Value)>>,
    /// A struct's keys; `None` for a map, which takes any.
    known: Option<&'static [&'static str]>,
    /// Whether what is removed is left out. It is data to a type that takes any value.
    leaves_out_removed: bool,
    entry: Option<(&'t str, &'t Value)>,
    /// How many entries are behind.
    behind: usize,
}

impl<'t, 'c> Entries<'t, 'c> {
    pub(super) fn new(
        within: Node<'t, 'c>,
        table: &'t Table,
        known: Option<&'static [&'static str]>,
    ) -> Self {
        let mut entries = table.iter();
        let behind = match known {
            Some(_) => 0,
            None => within.pass.left_out(within.value),
        };
        if let Some(last) = behind.checked_sub(1) {
            entries.nth(last);
        }
        Entries {
            within,
            entries: Some(entries),
            known,
            leaves_out_removed: true,
            entry: None,
            behind,
        }
    }

    /// Of a table whose type is not known: all of it is data.
    pub(super) fn of_any(within: Node<'t, 'c>, table: &'t Table) -> Self {
        Entries {
            leaves_out_removed: false,
            ..Entries::new(within, table, None)
        }
    }

    /// Of a table that is not there.
    pub(super) fn none(within: Node<'t, 'c>) -> Self {
        Entries {
            within,
            entries: None,
            known: None,
            leaves_out_removed: true,
            entry: None,
            behind: 0,
        }
    }

    /// An error within the entry that was read last.
    fn failed(&self, error: Error<'t>) -> Error<'t> {
        if self.known.is_none() {
            let read = self.behind.saturating_sub(1);
            self.within.pass.has_read(self.within.value, read);
        }
        error
    }
}

impl<'t> MapAccess<'t> for Entries<'t, '_> {
    type Error = Error<'t>;

    fn next_key_seed<K: DeserializeSeed<'t>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        for (key, value) in self.entries.iter_mut().flatten() {
            self.behind += 1;
            let step = Step::Key(self.within.step, key);
            let node = Node {
                value,
                step: &step,
                pass: self.within.pass,
            };
            if node.pass.hides(value) {
                continue;
            }
            match self.known {
                Some(known) if !known.contains(&&**key) => node.pass.unknown(node, key, known),
                _ if self.leaves_out_removed && is_removal(value) => {}
                _ => {
                    self.entry = Some((key, value));
                    let key = seed.deserialize(Key(key));
                    return key
                        .map(Some)
                        .map_err(|error| self.failed(error.locate(node, At::Key)));
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Self::Error> {
        let (key, value) = self
            .entry
            .take()
            .expect("serde asks for a key before its value");
        let step = Step::Key(self.within.step, key);
        let node = Node {
            value,
            step: &step,
            pass: self.within.pass,
        };
        seed.deserialize(node)
            .map_err(|error| self.failed(error.locate(node, At::Value)))
    }
}

/// A list's elements, without those that failed before; the others keep their index.
pub(super) struct Elements<'t, 'c> {
    within: Node<'t, 'c>,
    elements: std::iter::Enumerate<std::slice::Iter<'t, Value>>,
}

impl<'t, 'c> Elements<'t, 'c> {
    pub(super) fn new(within: Node<'t, 'c>, list: &'t [Value]) -> Self {
        Elements {
            within,
            elements: list.iter().enumerate(),
        }
    }
}

impl<'t> SeqAccess<'t> for Elements<'t, '_> {
    type Error = Error<'t>;

    fn next_element_seed<T: DeserializeSeed<'t>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        let pass = self.within.pass;
        let next = self.elements.find(|(_, value)| !pass.hides(value));
        next.map(|(index, value)| {
            let step = Step::Index(self.within.step, index);
            let node = Node {
                value,
                step: &step,
                pass,
            };
            seed.deserialize(node)
                .map_err(|error| error.locate(node, At::Value))
        })
        .transpose()
    }
}

/// An enum's variant: a text for one without content, else a table with the name as its one key.
pub(super) struct Variant<'t, 'c> {
    within: Node<'t, 'c>,
    name: &'t str,
    content: Option<&'t Value>,
}

impl<'t, 'c> Variant<'t, 'c> {
    /// `None` where the value has not the form of a variant.
    pub(super) fn of(within: Node<'t, 'c>) -> Option<Self> {
        let (name, content) = match &within.structure().kind {
            ValueKind::String(name) => (&**name, None),
            ValueKind::Table(table) => {
                let mut live = live(table);
                let (name, content) = live.next()?;
                live.next().is_none().then_some((name, Some(content)))?
            }
            _ => return None,
        };
        Some(Variant {
            within,
            name,
            content,
        })
    }

    /// Hands the content to a reader.
    fn content<T>(
        self,
        read: impl FnOnce(Node<'t, '_>) -> Result<T, Error<'t>>,
    ) -> Result<T, Error<'t>> {
        let pass = self.within.pass;
        match self.content {
            Some(value) if !pass.hides(value) => {
                let step = Step::Key(self.within.step, self.name);
                let node = Node {
                    value,
                    step: &step,
                    pass,
                };
                read(node).map_err(|error| error.locate(node, At::Value))
            }
            _ => Err(Error::wanted(format!(
                "a table with the key `{}`",
                self.name
            ))),
        }
    }
}

impl<'t> EnumAccess<'t> for Variant<'t, '_> {
    type Error = Error<'t>;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'t>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), Self::Error> {
        let name = seed.deserialize(BorrowedStrDeserializer::new(self.name))?;
        Ok((name, self))
    }
}

impl<'t> VariantAccess<'t> for Variant<'t, '_> {
    type Error = Error<'t>;

    fn unit_variant(self) -> Result<(), Self::Error> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Error::wanted(format!("{:?}", self.name))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'t>>(
        self,
        seed: T,
    ) -> Result<T::Value, Self::Error> {
        self.content(|node| seed.deserialize(node))
    }

    fn tuple_variant<V: Visitor<'t>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.content(|node| node.deserialize_tuple(length, visitor))
    }

    fn struct_variant<V: Visitor<'t>>(
        self,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.content(|node| node.deserialize_struct("", known, visitor))
    }
}
