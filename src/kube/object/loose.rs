//! Values that may be of any type in any place: one of another type than the place is for counts as absent.
//!
//! A field that changes its type in some future Kubernetes, or that a fake API server sends wrongly, must not cost the whole object, and with it the
//! whole list of pods. What is not kept is passed over as it is read, and never held.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde::{Serialize, Serializer};

/// A place for a value: what it makes of each type. All but the one it is for are `none`.
trait Place<'de>: Sized {
    type Value;

    fn none(self) -> Self::Value;

    fn text(self, _: &str) -> Self::Value {
        self.none()
    }

    fn number(self, _: i64) -> Self::Value {
        self.none()
    }

    fn flag(self, _: bool) -> Self::Value {
        self.none()
    }

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.none())
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.none())
    }
}

/// Puts whatever comes into a place.
struct Filling<P>(P);

impl<'de, P: Place<'de>> DeserializeSeed<'de> for Filling<P> {
    type Value = P::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<P::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, P: Place<'de>> Visitor<'de> for Filling<P> {
    type Value = P::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<P::Value, E> {
        Ok(self.0.none())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<P::Value, E> {
        Ok(self.0.flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<P::Value, E> {
        Ok(self.0.number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<P::Value, E> {
        Ok(match i64::try_from(number) {
            Ok(number) => self.0.number(number),
            Err(_) => self.0.none(),
        })
    }

    fn visit_f64<E>(self, _: f64) -> Result<P::Value, E> {
        Ok(self.0.none())
    }

    fn visit_str<E>(self, text: &str) -> Result<P::Value, E> {
        Ok(self.0.text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<P::Value, A::Error> {
        self.0.map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<P::Value, A::Error> {
        self.0.list(list)
    }
}

struct Text;

impl Place<'_> for Text {
    type Value = Option<String>;

    fn none(self) -> Option<String> {
        None
    }

    /// Kubernetes writes an absent text as an empty one in some places and leaves it out in others.
    fn text(self, text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// A text; an empty one is absent.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Filling(Text).deserialize(from)
}

struct Number;

impl Place<'_> for Number {
    type Value = Option<i64>;

    fn none(self) -> Option<i64> {
        None
    }

    fn number(self, number: i64) -> Option<i64> {
        Some(number)
    }
}

/// A whole number.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Filling(Number).deserialize(from)
}

struct Flag;

impl Place<'_> for Flag {
    type Value = Option<bool>;

    fn none(self) -> Option<bool> {
        None
    }

    fn flag(self, flag: bool) -> Option<bool> {
        Some(flag)
    }
}

/// True or false.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    Filling(Flag).deserialize(from)
}

struct Time;

impl Place<'_> for Time {
    type Value = Option<Timestamp>;

    fn none(self) -> Option<Timestamp> {
        None
    }

    /// The runtime's "never", the year 1970, comes as a time where a container could not be started.
    fn text(self, text: &str) -> Option<Timestamp> {
        let time: Timestamp = text.parse().ok()?;
        (time > Timestamp::UNIX_EPOCH).then_some(time)
    }
}

/// A time, RFC 3339.
pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    Filling(Time).deserialize(from)
}

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Place<'de> for Object<T> {
    type Value = Option<T>;

    fn none(self) -> Option<T> {
        None
    }

    fn map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

/// An object that may be absent.
pub(super) fn maybe<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Filling(Object(PhantomData)).deserialize(from)
}

/// An object that is empty where it is absent.
pub(super) fn object<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    maybe(from).map(Option::unwrap_or_default)
}

struct Texts {
    wanted: fn(&str) -> bool,
    of_another_type: Option<&'static str>,
}

impl<'de> Place<'de> for Texts {
    type Value = BTreeMap<String, String>;

    fn none(self) -> Self::Value {
        BTreeMap::new()
    }

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if !(self.wanted)(&key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value_seed(Filling(AnyText))?;
            let value = value.or_else(|| self.of_another_type.map(str::to_owned));
            if let Some(value) = value {
                kept.insert(key, value);
            }
        }
        Ok(kept)
    }
}

/// A text that may be empty: a label without a value is a label.
struct AnyText;

impl Place<'_> for AnyText {
    type Value = Option<String>;

    fn none(self) -> Option<String> {
        None
    }

    fn text(self, text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

/// Texts by name, of the names that are `wanted`; the others are passed over unread. A value of another type is absent, or `of_another_type`.
pub(super) fn texts<'de, D: Deserializer<'de>>(
    from: D,
    wanted: fn(&str) -> bool,
    of_another_type: Option<&'static str>,
) -> Result<BTreeMap<String, String>, D::Error> {
    let texts = Texts {
        wanted,
        of_another_type,
    };
    Filling(texts).deserialize(from)
}

/// An element of a list.
pub(super) trait Element: DeserializeOwned {
    /// Whether it is kept at all.
    fn wanted(&self) -> bool {
        true
    }

    /// Whether the list is told as cut when this one did not find room.
    fn missed(&self) -> bool {
        true
    }
}

/// A list of at most `MAX` elements.
#[derive(Clone, Debug)]
pub(super) struct Listed<T, const MAX: usize> {
    /// Its first elements, of those that are wanted.
    pub(super) items: Vec<T>,
    /// Whether there were more, or some that could not be read.
    pub(super) cut: bool,
}

impl<T, const MAX: usize> Default for Listed<T, MAX> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            cut: false,
        }
    }
}

impl<T: Serialize, const MAX: usize> Serialize for Listed<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.items.serialize(serializer)
    }
}

impl<'de, T: Element, const MAX: usize> Deserialize<'de> for Listed<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Filling(Self::default()).deserialize(from)
    }
}

impl<'de, T: Element, const MAX: usize> Place<'de> for Listed<T, MAX> {
    type Value = Self;

    fn none(self) -> Self {
        self
    }

    fn list<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while let Some(element) = list.next_element_seed(Filling(Object::<T>(PhantomData)))? {
            match element {
                Some(element) if !element.wanted() => {}
                Some(element) if self.items.len() < MAX => self.items.push(element),
                Some(element) => self.cut |= element.missed(),
                // Of another type: what it would have said is missed.
                None => self.cut = true,
            }
        }
        Ok(self)
    }
}
