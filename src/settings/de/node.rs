//! One value of the tree as serde sees it.

use super::super::secret;
use super::super::tree::Tree;
use super::super::value::{Value, ValueKind};
use super::Pass;
use super::access::{Elements, Entries, Variant};
use super::problem::{Error, one_of};
use serde::de::{self, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

/// Whole numbers up to this can be a floating point number without being rounded.
const EXACT: i128 = 1 << 53;

/// A value on the way to becoming something.
#[derive(Clone, Copy)]
pub(super) struct Node<'t, 'c> {
    pub(super) value: &'t Value,
    pub(super) step: &'c Step<'c>,
    pub(super) pass: &'c Pass<'t>,
}

/// The way from the root to a value, link by link on the stack.
pub(super) enum Step<'c> {
    Root,
    Key(&'c Step<'c>, &'c str),
    Index(&'c Step<'c>, usize),
}

impl Step<'_> {
    pub(super) fn path(&self) -> Vec<String> {
        let (above, segment) = match self {
            Step::Root => return Vec::new(),
            Step::Key(above, key) => (above, (*key).to_owned()),
            Step::Index(above, index) => (above, index.to_string()),
        };
        let mut path = above.path();
        path.push(segment);
        path
    }
}

impl<'t, 'c> Node<'t, 'c> {
    pub(super) fn root(pass: &'c Pass<'t>) -> Self {
        Node {
            value: &pass.tree.root,
            step: &Step::Root,
            pass,
        }
    }

    fn tree(&self) -> &'t Tree {
        self.pass.tree
    }

    /// The value as a list or a table, if that is what a bare text stands for.
    pub(super) fn structure(&self) -> &'t Value {
        self.tree().structure(self.value)
    }

    /// What a bare text stands for by itself, where any value will do.
    fn guess(text: &str) -> ValueKind {
        let digits = text.trim_start_matches(['+', '-']);
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return text
                .parse()
                .map_or_else(|_| text.into(), ValueKind::Boolean);
        }
        match (text.parse::<i128>(), text.parse::<f64>()) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) if number.is_finite() => ValueKind::Float(number),
            _ => text.into(),
        }
    }

    /// The value, or what a bare text stands for, as a whole number.
    fn whole(&self) -> Option<i128> {
        match &self.value.kind {
            ValueKind::I64(number) => Some((*number).into()),
            ValueKind::I128(number) => Some(**number),
            _ => self.tree().bare_text(self.value)?.parse().ok(),
        }
    }

    fn float(&self) -> Option<f64> {
        if let ValueKind::Float(number) = self.value.kind {
            return Some(number);
        }
        match self.whole() {
            Some(number) if number.abs() <= EXACT => Some(number as f64),
            Some(_) => None,
            None => {
                let number: f64 = self.tree().bare_text(self.value)?.parse().ok()?;
                number.is_finite().then_some(number)
            }
        }
    }

    fn boolean(&self) -> Option<bool> {
        match self.value.kind {
            ValueKind::Boolean(value) => Some(value),
            _ => self.tree().bare_text(self.value)?.parse().ok(),
        }
    }
}

/// Hands a value to whoever takes any, unless it is a text, a list or a table.
fn visit_scalar<'t, V: Visitor<'t>>(scalar: &ValueKind, visitor: V) -> Result<V::Value, Error<'t>> {
    match scalar {
        ValueKind::Boolean(value) => visitor.visit_bool(*value),
        ValueKind::I64(number) => visitor.visit_i64(*number),
        ValueKind::I128(number) => visitor.visit_i128(**number),
        ValueKind::Float(number) => visitor.visit_f64(*number),
        ValueKind::Nil | ValueKind::String(_) | ValueKind::Table(_) | ValueKind::Array(_) => {
            visitor.visit_unit()
        }
    }
}

/// Numbers of one type: whole, and within its range.
macro_rules! whole_numbers {
    ($($method:ident $visit:ident $number:ty),* $(,)?) => {$(
        fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self.whole().and_then(|number| <$number>::try_from(number).ok()) {
                Some(number) => visitor.$visit(number),
                None => Err(Error::expected(&visitor)),
            }
        }
    )*};
}

impl<'t> Deserializer<'t> for Node<'t, '_> {
    type Error = Error<'t>;

    /// For types that look at the value before they decide.
    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.pass.reads_ahead.set(true);
        match &self.structure().kind {
            // All that is in it is data.
            ValueKind::Table(table) => visitor.visit_map(Entries::of_any(self, table)),
            ValueKind::Array(_) => self.deserialize_seq(visitor),
            ValueKind::String(text) => match self.tree().bare_text(self.value) {
                Some(text) => match Self::guess(text) {
                    ValueKind::String(_) => visitor.visit_borrowed_str(text),
                    scalar => visit_scalar(&scalar, visitor),
                },
                None => visitor.visit_borrowed_str(text),
            },
            scalar => visit_scalar(scalar, visitor),
        }
    }

    whole_numbers! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_u128 visit_u128 u128,
    }

    fn deserialize_f32<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.float() {
            Some(number) => visitor.visit_f64(number),
            None => Err(Error::expected(&visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.boolean() {
            Some(value) => visitor.visit_bool(value),
            None => Err(Error::expected(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match &self.value.kind {
            ValueKind::String(text) => visitor.visit_borrowed_str(text),
            _ => Err(Error::expected(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.value.kind {
            ValueKind::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if name != secret::MARK {
            return visitor.visit_newtype_struct(self);
        }
        match self.pass.open(self) {
            Ok(text) => visitor.visit_string(text),
            Err(words) => Err(de::Error::custom(words)),
        }
    }

    fn deserialize_seq<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match &self.structure().kind {
            ValueKind::Array(list) => visitor.visit_seq(Elements::new(self, list)),
            _ => Err(Error::structure(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'t>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match &self.structure().kind {
            ValueKind::Table(table) => visitor.visit_map(Entries::new(self, table, None)),
            // `routes:` in YAML, with all within it commented out.
            ValueKind::Nil => visitor.visit_map(Entries::none(self)),
            _ => Err(Error::structure(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match &self.structure().kind {
            ValueKind::Table(table) => visitor.visit_map(Entries::new(self, table, Some(known))),
            ValueKind::Nil => visitor.visit_map(Entries::none(self)),
            _ => Err(Error::structure(&visitor)),
        }
    }

    /// A service without settings of its own: its table may be there, with nothing in it.
    fn deserialize_unit_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match &self.structure().kind {
            ValueKind::Table(table) => {
                for (key, value) in table.iter() {
                    let step = Step::Key(self.step, key);
                    self.pass.unknown(
                        Node {
                            value,
                            step: &step,
                            ..self
                        },
                        key,
                        &[],
                    );
                }
                visitor.visit_unit()
            }
            ValueKind::Nil => visitor.visit_unit(),
            _ => Err(Error::structure(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match Variant::of(self) {
            Some(variant) => visitor.visit_enum(variant),
            None => Err(Error::wanted(one_of(known))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { <V: Visitor<'t>> char bytes byte_buf unit identifier }
}
