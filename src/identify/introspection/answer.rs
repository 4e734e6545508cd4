//! What an introspection endpoint answers (RFC 7662 §2.2).

use std::sync::Arc;

use serde_json::Value;

use crate::identify::claims::Claims;
use crate::identify::json;

/// What was told about a token.
#[derive(Clone, Debug)]
pub(in crate::identify) enum Told {
    /// It is good, and this is what it says.
    Active(Arc<Claims>),
    /// It is not good: expired, revoked, somebody else's, or none at all.
    Inactive,
}

impl Told {
    /// Reads an answer. One that does not clearly say yes or no says nothing, and what it does say
    /// is not repeated: it may hold anything.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let mut members = json::object(body).map_err(|_| {
            "answered with something that is not one JSON object whose names all differ".to_owned()
        })?;
        match members.remove("active") {
            Some(Value::Bool(true)) => Ok(Self::Active(Arc::new(members))),
            Some(Value::Bool(false)) => Ok(Self::Inactive),
            _ => Err("answered without saying whether the token is `active`".to_owned()),
        }
    }
}

/// For `fuzz/`: whether this is a yes, a no, or neither.
#[cfg(feature = "fuzzing")]
pub fn fuzz(body: &[u8]) -> Option<bool> {
    let told = Told::read(body).ok()?;
    Some(matches!(told, Told::Active(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(matches!(
            Told::read(br#"{"active":true,"sub":"42"}"#),
            Ok(Told::Active(claims)) if claims.len() == 1
        ));
        assert!(matches!(
            Told::read(br#"{"active":false,"sub":"42"}"#),
            Ok(Told::Inactive)
        ));
        for text in [
            "",
            "{}",
            "true",
            "[]",
            "<html>",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            r#"{"Active":true}"#,
            r#"{"active":false,"active":true}"#,
            r#"{"active":true} {"active":true}"#,
            r#"{"active":true,"sub":"a","sub":"b"}"#,
        ] {
            assert!(Told::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
