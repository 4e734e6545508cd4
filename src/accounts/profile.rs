//! What a customer's server says about its user, checked field by field.

use serde_json::{Map, Value, json};

use super::date;
use super::transaction::Cell;
use crate::config::accounts::ProjectLimits;

/// RFC 5321 §4.5.3.1.3: a path, less its brackets.
const MAX_EMAIL: usize = 254;
/// Characters of names; longer is a mistake, and an index has to hold them.
const MAX_NAME: usize = 255;
/// Bytes of an avatar's URL.
const MAX_AVATAR: usize = 2048;

/// The columns of a profile, in the order in which statements bind them.
pub(super) const COLUMNS: usize = 9;

/// The fields that were said, each with its value; what was not said stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// In the order of the fields below; `None`: not said.
    pub(super) fields: [Option<Cell>; COLUMNS],
}

/// What is wrong, with the field's name. Never repeats the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

type Checked = Result<Cell, Invalid>;

impl Profile {
    /// Reads `userData`. A field that is `null` is emptied; fields of other names are ignored.
    ///
    /// # Errors
    /// The first field that cannot be stored, and why.
    pub fn read(
        data: &Map<String, Value>,
        limits: &ProjectLimits,
        now: i64,
    ) -> Result<Self, Invalid> {
        let said = |name: &str, check: &dyn Fn(&str, &Value) -> Checked, none: Cell| match data
            .get(name)
        {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(none)),
            Some(value) => check(name, value).map(Some),
        };
        let metadata = |most: usize| move |name: &str, value: &Value| object(name, value, most);
        let empty = || Cell::from("{}");
        Ok(Self {
            fields: [
                said("email", &email, Cell::Null)?,
                said(
                    "name",
                    &|name, value| words(name, value, MAX_NAME),
                    Cell::Null,
                )?,
                said("username", &username, Cell::Null)?,
                said("avatar", &avatar, Cell::Null)?,
                said(
                    "bio",
                    &|name, value| words(name, value, limits.bio),
                    Cell::Null,
                )?,
                said("location", &location, Cell::Null)?,
                said(
                    "birthdate",
                    &|name, value| birthdate(name, value, now),
                    Cell::Null,
                )?,
                said("metadata", &metadata(limits.metadata), empty())?,
                said("secureMetadata", &metadata(limits.secure_metadata), empty())?,
            ],
        })
    }

    /// The e-mail, where one was said.
    pub fn email(&self) -> Option<&str> {
        said_text(&self.fields[0])
    }

    /// The username, where one was said.
    pub(super) fn username(&self) -> Option<&str> {
        said_text(&self.fields[2])
    }

    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.iter().all(Option::is_none)
    }
}

fn said_text(field: &Option<Cell>) -> Option<&str> {
    match field {
        Some(Cell::Text(text)) => Some(text),
        _ => None,
    }
}

fn invalid<T>(name: &str, why: impl std::fmt::Display) -> Result<T, Invalid> {
    Err(Invalid(format!("userData.{name} {why}")))
}

/// Text without blanks around it. PostgreSQL's text cannot hold NUL.
fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Invalid> {
    match value {
        Value::String(text) if text.contains('\0') => invalid(name, "holds a NUL character"),
        Value::String(text) => Ok(text.trim()),
        _ => invalid(name, "must be a string"),
    }
}

fn words(name: &str, value: &Value, most: usize) -> Checked {
    let text = text(name, value)?;
    if text.chars().count() > most {
        return invalid(name, format_args!("must be at most {most} characters long"));
    }
    Ok(text.into())
}

fn username(name: &str, value: &Value) -> Checked {
    if text(name, value)?.is_empty() {
        return invalid(name, "must not be empty");
    }
    words(name, value, MAX_NAME)
}

fn avatar(name: &str, value: &Value) -> Checked {
    let text = text(name, value)?;
    if text.len() > MAX_AVATAR {
        return invalid(
            name,
            format_args!("must be at most {MAX_AVATAR} bytes long"),
        );
    }
    Ok(text.into())
}

/// One `@`, something on both sides, no blanks: whether mail arrives, only mail can tell.
fn email(name: &str, value: &Value) -> Checked {
    let text = text(name, value)?;
    let odd = |c: char| c.is_whitespace() || c.is_control();
    let good = text.split_once('@').is_some_and(|(local, domain)| {
        let ends = domain.starts_with(['.', '-']) || domain.ends_with(['.', '-']);
        !local.is_empty() && !domain.is_empty() && !domain.contains('@') && !ends
    });
    if !good || text.len() > MAX_EMAIL || text.contains(odd) {
        return invalid(name, "must be an e-mail address");
    }
    Ok(text.into())
}

/// A GeoJSON point (RFC 7946 §3.1.2): longitude, latitude, perhaps an altitude.
fn location(name: &str, value: &Value) -> Checked {
    let Some(members) = value.as_object() else {
        return invalid(name, "must be a GeoJSON Point");
    };
    if members.get("type").and_then(Value::as_str) != Some("Point") {
        return invalid(name, "must be a GeoJSON object with the type \"Point\"");
    }
    let coordinates = members.get("coordinates").and_then(Value::as_array);
    let numbers: Option<Vec<f64>> =
        coordinates.and_then(|all| all.iter().map(Value::as_f64).collect());
    let Some([longitude, latitude, rest @ ..]) = numbers.as_deref() else {
        return invalid(name, "must have coordinates: [longitude, latitude]");
    };
    if rest.len() > 1 {
        return invalid(name, "must have two coordinates, or three with an altitude");
    }
    if !(-180.0..=180.0).contains(longitude) {
        return invalid(name, "must have a longitude from -180 to 180");
    }
    if !(-90.0..=90.0).contains(latitude) {
        return invalid(name, "must have a latitude from -90 to 90");
    }
    let point = json!({ "type": "Point", "coordinates": coordinates });
    Ok(Cell::Text(point.to_string()))
}

fn birthdate(name: &str, value: &Value, now: i64) -> Checked {
    let Some(date) = date::parse(text(name, value)?) else {
        return invalid(
            name,
            "must be a date such as \"1990-05-04\", or an RFC 3339 time",
        );
    };
    // Somewhere it is tomorrow already.
    if date > now.saturating_add(24 * 60 * 60 * 1000) {
        return invalid(name, "must not lie in the future");
    }
    Ok(Cell::Text(date::render(date)))
}

fn object(name: &str, value: &Value, most: usize) -> Checked {
    if !value.is_object() {
        return invalid(name, "must be an object");
    }
    let text = value.to_string();
    if text.len() > most {
        return invalid(name, format_args!("must be at most {most} bytes of JSON"));
    }
    Ok(Cell::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026.
    const NOW: i64 = 1_780_000_000_000;

    fn read(data: &Value) -> Result<Profile, String> {
        let data = data.as_object().unwrap();
        Profile::read(data, &ProjectLimits::default(), NOW).map_err(|invalid| invalid.0)
    }

    #[test]
    fn what_is_said_is_kept_trimmed() {
        let data = json!({
            "email": " ada@example.com ", "name": " Ada ", "bio": null, "birthdate": "1815-12-10",
            "location": { "type": "Point", "coordinates": [-0.5, 51, 12], "bbox": [] },
            "metadata": { "a": [1] }, "other": 7
        });
        let profile = read(&data).unwrap();
        assert_eq!(profile.email(), Some("ada@example.com"));
        let [
            _,
            name,
            username,
            avatar,
            bio,
            location,
            birthdate,
            metadata,
            secure,
        ] = &profile.fields;
        assert_eq!(*name, Some("Ada".into()));
        assert_eq!((username, avatar, secure), (&None, &None, &None));
        assert_eq!(*bio, Some(Cell::Null));
        let point = r#"{"coordinates":[-0.5,51,12],"type":"Point"}"#;
        assert_eq!(*location, Some(point.into()));
        assert_eq!(*birthdate, Some("1815-12-10T00:00:00.000Z".into()));
        assert_eq!(*metadata, Some(r#"{"a":[1]}"#.into()));
        assert!(read(&json!({})).unwrap().is_empty());
    }

    #[test]
    fn each_field_is_named_when_it_is_wrong() {
        let point = |coordinates: Value| json!({ "type": "Point", "coordinates": coordinates });
        let table = [
            ("email", json!(7), "must be a string"),
            ("email", json!(""), "e-mail address"),
            ("email", json!("ada"), "e-mail address"),
            ("email", json!("a@b@c"), "e-mail address"),
            ("email", json!("a b@example.com"), "e-mail address"),
            ("email", json!("a@.example.com"), "e-mail address"),
            (
                "email",
                json!(format!("{}@example.com", "a".repeat(250))),
                "e-mail address",
            ),
            ("name", json!("\0"), "NUL"),
            ("name", json!("n".repeat(256)), "at most 255 characters"),
            ("username", json!("  "), "must not be empty"),
            ("username", json!([]), "must be a string"),
            ("avatar", json!("a".repeat(2049)), "at most 2048 bytes"),
            ("bio", json!("é".repeat(301)), "at most 300 characters"),
            ("location", json!("Rome"), "GeoJSON Point"),
            ("location", json!({ "type": "Polygon" }), "type \"Point\""),
            ("location", json!({ "type": "Point" }), "coordinates"),
            ("location", point(json!([1])), "coordinates"),
            ("location", point(json!(["1", "2"])), "coordinates"),
            ("location", point(json!([1, 2, 3, 4])), "two coordinates"),
            ("location", point(json!([180.1, 0])), "longitude"),
            ("location", point(json!([0, -90.5])), "latitude"),
            ("birthdate", json!("yesterday"), "must be a date"),
            ("birthdate", json!(0), "must be a string"),
            ("birthdate", json!("2999-01-01"), "future"),
            ("metadata", json!([]), "must be an object"),
            (
                "metadata",
                json!({ "a": "x".repeat(512 << 10) }),
                "bytes of JSON",
            ),
            ("secureMetadata", json!("x"), "must be an object"),
        ];
        for (field, value, phrase) in table {
            let told = read(&json!({ field: value })).expect_err(field);
            let start = format!("userData.{field} ");
            assert!(told.starts_with(&start) && told.contains(phrase), "{told}");
        }
        assert!(read(&json!({ "bio": "é".repeat(300) })).is_ok());
    }
}
