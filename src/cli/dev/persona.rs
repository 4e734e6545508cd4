//! Somebody to be.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{AUDIENCE, ISSUER};

/// The claims of somebody, as given on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Persona {
    claims: Map<String, Value>,
}

impl FromStr for Persona {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut claims = Map::new();
        for part in text.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!(
                    "`{part}` is not key=value; write `id=42,email=ada@example.com,roles=admin|user`"
                ));
            };
            let (key, value) = (key.trim(), value.trim());
            if key.is_empty() || value.is_empty() {
                return Err(format!("`{part}` has no key or no value"));
            }
            let claim = if key == "id" { "sub" } else { key };
            let value = match key == "roles" || value.contains('|') {
                true => value.split('|').map(Value::from).collect(),
                false => Value::from(value),
            };
            if claims.insert(claim.to_owned(), value).is_some() {
                return Err(format!("`{key}` is given twice"));
            }
        }
        if !claims.contains_key("sub") {
            return Err("a persona needs an id: `id=42,…`".to_owned());
        }
        Ok(Self { claims })
    }
}

impl Persona {
    /// Who there is when nobody is given.
    pub(in crate::cli) fn defaults() -> Vec<Self> {
        [
            "id=42,email=ada@example.com,name=Ada,roles=admin|user",
            "id=7,email=bob@example.com,name=Bob,roles=user",
        ]
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
    }

    /// `Ada (id 42)`, or just `id 42`.
    pub(in crate::cli) fn describe(&self) -> String {
        let text = |name: &str| self.claims.get(name).and_then(Value::as_str);
        let id = text("sub").unwrap_or_default();
        match text("name") {
            Some(name) => format!("{name} (id {id})"),
            None => format!("id {id}"),
        }
    }

    /// All claims of a token for this persona, issued at `now` and good for `life`.
    pub(in crate::cli) fn claims(&self, now: i64, life: Duration) -> Map<String, Value> {
        let end = now.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), ISSUER.into());
        claims.insert("aud".to_owned(), AUDIENCE.into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), end.into());
        // What the persona says wins: an odd `aud` is something to try, too.
        claims.extend(self.claims.clone());
        if !claims.contains_key("name") {
            claims.insert("name".to_owned(), self.describe().into());
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persona_is_a_list_of_claims() {
        let persona: Persona = "id=42, email=ada@example.com, roles=admin|user"
            .parse()
            .unwrap();
        let claims = persona.claims(100, Duration::from_secs(60));
        assert_eq!(claims["sub"], "42");
        assert_eq!(claims["roles"], serde_json::json!(["admin", "user"]));
        assert_eq!(claims["exp"], 160);
    }

    #[test]
    fn odd_personas_are_refused_with_a_hint() {
        for (text, hint) in [
            ("ada", "key=value"),
            ("email=a", "needs an id"),
            ("id=", "no value"),
            ("id=1,id=2", "twice"),
        ] {
            let error = text.parse::<Persona>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert_eq!(Persona::defaults().len(), 2);
    }
}
