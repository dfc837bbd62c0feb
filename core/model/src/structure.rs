//! One declaration for a type, its shape and its decoding.
//!
//! `structure!`, `union!` and `enumeration!` each yield the Rust type, its [`Shape`] and the way from a checked document to it,
//! so that the three cannot drift apart.

use serde_json::Value;

use crate::shape::{Bounds, Form, Shape};

/// A type that knows its shape.
pub trait Shaped: Sized {
    /// What its documents look like.
    const SHAPE: &'static Shape;

    /// Reads a document that [`Shape::check`] found nothing wrong with; `None` for one that it would refuse.
    fn decode(value: &Value) -> Option<Self>;
}

/// Declares a structure. Each member is `presence field "wireName": Type`, with `=> &SHAPE` where the member's shape is narrower
/// than its type's own. Presence is `required`, `lenient` (required by a strict server only), `optional`, or `many` for an
/// optional list, whose absence and emptiness mean the same.
macro_rules! structure {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $( $(#[doc = $member_doc:literal])* $presence:ident $field:ident $wire:literal : $type:ty $(=> $shape:expr)? ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $member_doc])* pub $field: $crate::structure::structure!(@type $presence $type), )*
        }

        impl $crate::structure::Shaped for $name {
            const SHAPE: &'static $crate::shape::Shape = &$crate::shape::Shape {
                name: stringify!($name),
                form: $crate::shape::Form::Structure { members: &[ $( $crate::shape::Member {
                    name: $wire,
                    presence: $crate::structure::structure!(@presence $presence),
                    shape: $crate::structure::structure!(@shape $presence $type $(=> $shape)?),
                    doc: concat!($($member_doc),*),
                }, )* ] },
            };

            fn decode(value: &serde_json::Value) -> Option<Self> {
                let object = value.as_object()?;
                let _ = object;
                Some(Self { $( $field: $crate::structure::structure!(@decode $presence $type, object, $wire), )* })
            }
        }
    };

    (@type required $type:ty) => { $type };
    (@type many $type:ty) => { Vec<$type> };
    (@type $other:ident $type:ty) => { Option<$type> };

    (@presence required) => { $crate::shape::Presence::Required };
    (@presence lenient) => { $crate::shape::Presence::RequiredWhenStrict };
    (@presence $other:ident) => { $crate::shape::Presence::Optional };

    (@shape $presence:ident $type:ty => $shape:expr) => { $shape };
    (@shape many $type:ty) => { <Vec<$type> as $crate::structure::Shaped>::SHAPE };
    (@shape $other:ident $type:ty) => { <$type as $crate::structure::Shaped>::SHAPE };

    (@decode required $type:ty, $object:ident, $wire:literal) => {
        <$type as $crate::structure::Shaped>::decode($object.get($wire)?)?
    };
    (@decode many $type:ty, $object:ident, $wire:literal) => {
        match $object.get($wire) {
            None | Some(serde_json::Value::Null) => Vec::new(),
            Some(value) => <Vec<$type> as $crate::structure::Shaped>::decode(value)?,
        }
    };
    (@decode $other:ident $type:ty, $object:ident, $wire:literal) => {
        match $object.get($wire) {
            None | Some(serde_json::Value::Null) => None,
            Some(value) => Some(<$type as $crate::structure::Shaped>::decode(value)?),
        }
    };
}

/// Declares a union: an object with exactly one of its members. Each variant is `Variant "wireName": Type`.
macro_rules! union {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $( $(#[doc = $member_doc:literal])* $variant:ident $wire:literal : $type:ty $(=> $shape:expr)? ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $( $(#[doc = $member_doc])* $variant($type), )*
        }

        impl $crate::structure::Shaped for $name {
            const SHAPE: &'static $crate::shape::Shape = &$crate::shape::Shape {
                name: stringify!($name),
                form: $crate::shape::Form::Union { members: &[ $( $crate::shape::Member {
                    name: $wire,
                    presence: $crate::shape::Presence::Optional,
                    shape: $crate::structure::structure!(@shape required $type $(=> $shape)?),
                    doc: concat!($($member_doc),*),
                }, )* ] },
            };

            fn decode(value: &serde_json::Value) -> Option<Self> {
                let object = value.as_object()?;
                $( if let Some(value) = object.get($wire).filter(|value| !value.is_null()) {
                    return <$type as $crate::structure::Shaped>::decode(value).map(Self::$variant);
                } )*
                None
            }
        }
    };
}

/// Declares an enumeration of words. Each variant is `Variant "word"`.
macro_rules! enumeration {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $( $(#[doc = $word_doc:literal])* $variant:ident $word:literal ),* $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[doc = $word_doc])* $variant, )*
        }

        impl $name {
            /// Every variant, in the order of App Mesh's model.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::structure::Shaped for $name {
            const SHAPE: &'static $crate::shape::Shape =
                &$crate::shape::Shape::enumeration(stringify!($name), &[ $( $word ),* ]);

            fn decode(value: &serde_json::Value) -> Option<Self> {
                match value.as_str()? { $( $word => Some(Self::$variant), )* _ => None }
            }
        }
    };
}

pub(crate) use {enumeration, structure, union};

impl Shaped for String {
    const SHAPE: &'static Shape = &Shape::string("String");

    fn decode(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }
}

impl Shaped for bool {
    const SHAPE: &'static Shape = &Shape { name: "Boolean", form: Form::Boolean };

    fn decode(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: &'static Shape =
        &Shape { name: "List", form: Form::List { element: T::SHAPE, length: Bounds::OPEN } };

    fn decode(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::decode).collect()
    }
}

macro_rules! whole_number {
    ($($type:ty => $shape:expr),* $(,)?) => { $(
        impl Shaped for $type {
            const SHAPE: &'static Shape = &$shape;

            fn decode(value: &Value) -> Option<Self> {
                value.as_i64()?.try_into().ok()
            }
        }
    )* };
}

whole_number! {
    u8 => Shape::integer("Byte", Bounds::between(0, u8::MAX as i64)),
    u16 => Shape::integer("Short", Bounds::between(0, u16::MAX as i64)),
    u32 => Shape::integer("Integer", Bounds::at_least(0)),
    u64 => Shape::long("Long", Bounds::at_least(0)),
    i64 => Shape::long("Long", Bounds::OPEN),
}
