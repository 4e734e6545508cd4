//! The values of the mirror: text that must have a certain shape.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde_json::Value;

/// `true` or `false`; as text too, since variables are filled in as text.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Flag(pub(in crate::config) bool);

/// A whole number.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Count(pub(in crate::config) u64);

/// A number of bytes: `65536`, `64KiB`, `1MiB`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Size(pub(in crate::config) u64);

/// A part of a whole, 0 to 1; written in percent: `10%`, `0.1%`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Share(pub(in crate::config) f64);

/// A length of time: `500ms`, `10s`, `1h30m`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Time(pub(in crate::config) Duration);

/// A value that must never be repeated in a message.
#[derive(Clone)]
pub(in crate::config) struct Hidden(pub(in crate::config) String);

/// Text, a number or a boolean: what a claim can be compared with.
#[derive(Clone, Debug)]
pub(in crate::config) struct Scalar(pub(in crate::config) Value);

/// Longer is a mistake, and adding it to a clock could overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

const FLAG: &str = "`true` or `false`";
const COUNT: &str = "a whole number";
const SIZE: &str = "a size in bytes, such as `65536`, `64KiB` or `1MiB`";
const SHARE: &str = "a share in percent, such as `100%`, `5%` or `0.1%`";
const TIME: &str = "a time with its unit, such as `500ms`, `10s`, `5m` or `1h30m`, at most a year";

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A value read from text or a number.
trait FromScalar: Sized {
    /// What should have been written.
    const EXPECTED: &'static str;

    fn from_text(text: &str) -> Option<Self>;

    fn from_int(_: i64) -> Option<Self> {
        None
    }

    fn from_bool(_: bool) -> Option<Self> {
        None
    }
}

impl FromScalar for Flag {
    const EXPECTED: &'static str = FLAG;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn from_bool(value: bool) -> Option<Self> {
        Some(Self(value))
    }
}

impl FromScalar for Count {
    const EXPECTED: &'static str = COUNT;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn from_int(value: i64) -> Option<Self> {
        value.try_into().ok().map(Self)
    }
}

impl FromScalar for Size {
    const EXPECTED: &'static str = SIZE;

    fn from_text(text: &str) -> Option<Self> {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let unit = match text[end..].trim_start() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        let number: u64 = text[..end].parse().ok()?;
        number.checked_mul(unit).map(Self)
    }

    fn from_int(value: i64) -> Option<Self> {
        value.try_into().ok().map(Self)
    }
}

impl FromScalar for Share {
    const EXPECTED: &'static str = SHARE;

    fn from_text(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        let percent: f64 = number.parse().ok()?;
        (percent <= 100.0).then_some(Self(percent / 100.0))
    }
}

impl FromScalar for Time {
    const EXPECTED: &'static str = TIME;

    fn from_text(text: &str) -> Option<Self> {
        // humantime takes `M` for months: nobody who writes `5M` means five months.
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let time = humantime::parse_duration(text).ok()?;
        (time <= LONGEST).then_some(Self(time))
    }

    fn from_int(value: i64) -> Option<Self> {
        (value == 0).then_some(Self(Duration::ZERO))
    }
}

impl Time {
    /// A time where something else may stand too.
    pub(in crate::config) fn read(text: &str) -> Option<Self> {
        Self::from_text(text)
    }
}

impl Scalar {
    /// As it was written.
    pub(in crate::config) fn text(&self) -> String {
        match &self.0 {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

struct ScalarVisitor<T>(std::marker::PhantomData<T>);

impl<T: FromScalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        T::from_bool(value).ok_or_else(|| E::invalid_type(Unexpected::Bool(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::from_int(value).ok_or_else(|| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

macro_rules! scalar {
    ($name:ident, $schema:tt) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(ScalarVisitor(std::marker::PhantomData))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

scalar!(Flag, {
    "description": "`true` or `false`.",
    "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": "^(true|false|.*\\$\\{.*)$" }]
});
scalar!(Count, {
    "description": "A whole number.",
    "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^([0-9]+|.*\\$\\{.*)$" }]
});
scalar!(Size, {
    "description": "A number of bytes, such as `65536`, `64KiB` or `1MiB`.",
    "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^([0-9]+ *(B|KiB|MiB|GiB)?|.*\\$\\{.*)$" }]
});
scalar!(Share, {
    "description": "A share in percent, such as `100%`, `5%` or `0.1%`.",
    "type": "string",
    "pattern": "^([0-9]+(\\.[0-9]+)? *%|.*\\$\\{.*)$"
});
scalar!(Time, {
    "description": "A length of time, such as `500ms`, `10s`, `5m` or `1h30m`.",
    "anyOf": [{ "const": 0 }, { "type": "string", "pattern": "^(([0-9]+ *[a-z]+ *)+|.*\\$\\{.*)$" }]
});

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The message of a wrong type would hold the value.
        String::deserialize(deserializer)
            .map(Self)
            .map_err(|_| D::Error::custom("invalid type: not text, expected the secret in quotes"))
    }
}

impl JsonSchema for Hidden {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;

        impl Visitor<'_> for AnyScalar {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, `true` or `false`, or a list of these")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.into()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.into()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.into()))
            }
        }

        deserializer.deserialize_any(AnyScalar)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_or_refused() {
        let bytes = |text| Size::from_text(text).map(|size| size.0);
        assert_eq!(bytes("64MiB"), Some(64 << 20));
        assert_eq!(bytes("8 KiB"), Some(8 << 10));
        assert_eq!(bytes("12"), Some(12));
        for text in ["64MB", "64M", "KiB", "", "-1", "1.5MiB", "99999999999GiB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn shares_are_percent() {
        let share = |text| Share::from_text(text).map(|share| share.0);
        assert_eq!(share("100%"), Some(1.0));
        assert_eq!(share("0.5 %"), Some(0.005));
        for text in ["0.5", "101%", "-1%", "%", "", "1e1%", "nan%"] {
            assert_eq!(share(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        let seconds = |text| Time::from_text(text).map(|time| time.0.as_secs());
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("10s"), Some(10));
        for text in ["10", "5M", "", "s", "2years", "-1s"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
