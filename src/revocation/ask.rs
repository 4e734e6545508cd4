//! Somebody wants something revoked: what exactly, and for how long it has to be known.

use std::fmt;
use std::time::Duration;

use crate::config::revocation::{IssuerLife, TokenLife};
use crate::revoked::Mark;

/// Beyond the life of tokens: clocks differ, and `iat` may lie a little ahead.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// The longest name of anything.
const LONGEST: usize = 2048;

/// What somebody wants revoked, as they said it. One of `jti`, `fingerprint`, `subject`,
/// `session`, `kid` and `everything` is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The issuer, by its configured name or by the value of `iss`.
    pub issuer: Option<String>,
    /// One token, by its `jti`.
    pub jti: Option<String>,
    /// One token, by its fingerprint.
    pub fingerprint: Option<String>,
    /// The tokens of a user, by the user's id.
    pub subject: Option<String>,
    /// The tokens of a session, by their `sid`.
    pub session: Option<String>,
    /// The tokens that a key has made, by its `kid`.
    pub kid: Option<String>,
    /// All tokens of the issuer.
    pub everything: bool,
    /// With `subject` and `everything`: those issued up to this second since 1970. Default: now.
    pub before: Option<i64>,
    /// Whether a `before` that lies in the future means now; otherwise it is refused.
    pub clamp: bool,
}

/// Why nothing can be made of an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear(pub String);

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What goes to the source, whose clock says when now is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) mark: Mark,
    pub(super) before: When,
    /// How long it has to be known; `None`: for ever.
    pub(super) life: Option<Duration>,
    pub(super) clamp: bool,
}

/// Which tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// All.
    Always,
    /// Those issued up to now.
    Now,
    /// Those issued up to then.
    At(i64),
}

impl Ask {
    /// What is meant, among these issuers.
    pub(super) fn order(&self, issuers: &[IssuerLife]) -> Result<Order, Unclear> {
        let named = [
            ("jti", self.jti.as_deref()),
            ("fingerprint", self.fingerprint.as_deref()),
            ("subject", self.subject.as_deref()),
            ("session", self.session.as_deref()),
            ("kid", self.kid.as_deref()),
            ("everything", self.everything.then_some("all")),
        ];
        let mut given = named
            .into_iter()
            .filter_map(|(kind, name)| Some((kind, name?)));
        let (Some((kind, name)), None) = (given.next(), given.next()) else {
            return unclear(
                "say exactly one of: jti, fingerprint, subject, session, kid, everything",
            );
        };
        if name.is_empty() || name.len() > LONGEST {
            return unclear(format!(
                "the {kind} is empty, or longer than {LONGEST} bytes"
            ));
        }
        let timed = matches!(kind, "subject" | "everything");
        if self.before.is_some() && !timed {
            return unclear(format!(
                "`before` goes with subject and everything; a {kind} is revoked whole"
            ));
        }
        let (mark, life) = self.mark(kind, name, issuers)?;
        Ok(Order {
            mark,
            before: match self.before {
                _ if !timed => When::Always,
                Some(second) => When::At(second),
                None => When::Now,
            },
            life,
            clamp: self.clamp,
        })
    }

    fn mark(
        &self,
        kind: &str,
        name: &str,
        issuers: &[IssuerLife],
    ) -> Result<(Mark, Option<Duration>), Unclear> {
        if kind == "fingerprint" {
            let mark = Mark::parse(name).ok_or_else(|| {
                Unclear(
                    "a fingerprint has 32 hex digits, as in logs and `usher token inspect`"
                        .to_owned(),
                )
            })?;
            // It says nothing of its issuer, so it is known for as long as any token can live.
            return Ok((mark, longest(issuers)));
        }
        let issuer = self.issuer(issuers)?;
        let mark = match kind {
            "jti" => Mark::of_token(&issuer.name, name),
            "subject" => Mark::of_user(&issuer.name, name),
            "session" => Mark::of_session(&issuer.name, name),
            "kid" => Mark::of_key(&issuer.name, name),
            _ => Mark::of_issuer(&issuer.name),
        };
        Ok((mark, lasting(issuer.life)))
    }

    /// The issuer that is meant; where there is only one it need not be said.
    fn issuer<'a>(&self, issuers: &'a [IssuerLife]) -> Result<&'a IssuerLife, Unclear> {
        let names = || {
            let names: Vec<_> = issuers.iter().map(|issuer| issuer.name.as_str()).collect();
            names.join(", ")
        };
        match (&self.issuer, issuers) {
            (None, [only]) => Ok(only),
            (None, _) => unclear(format!("which issuer? One of: {}", names())),
            (Some(wanted), _) => {
                let named = issuers.iter().find(|issuer| issuer.name == *wanted);
                let by_iss = || {
                    let of = |issuer: &&IssuerLife| issuer.issuer.as_ref() == Some(wanted);
                    issuers.iter().find(of)
                };
                named.or_else(by_iss).ok_or_else(|| {
                    Unclear(format!(
                        "no issuer is called {wanted:?}; there is: {}",
                        names()
                    ))
                })
            }
        }
    }
}

fn unclear<T>(why: impl Into<String>) -> Result<T, Unclear> {
    Err(Unclear(why.into()))
}

fn lasting(life: TokenLife) -> Option<Duration> {
    match life {
        TokenLife::Most(life) => Some(life + MARGIN),
        TokenLife::Any => None,
    }
}

fn longest(issuers: &[IssuerLife]) -> Option<Duration> {
    let lives: Option<Vec<_>> = issuers.iter().map(|issuer| lasting(issuer.life)).collect();
    lives?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuers() -> Vec<IssuerLife> {
        let hour = Duration::from_secs(3600);
        let issuer = |name: &str, iss: Option<&str>, life| IssuerLife {
            name: name.to_owned(),
            issuer: iss.map(str::to_owned),
            life,
        };
        vec![
            issuer("idp", Some("https://idp/"), TokenLife::Most(hour)),
            issuer("long", None, TokenLife::Most(hour * 2)),
        ]
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn an_issuer_is_meant_by_its_name_or_its_iss() {
        let ask = |issuer| Ask {
            issuer,
            subject: text("u"),
            ..Ask::default()
        };
        let by_name = ask(text("idp")).order(&issuers()).unwrap();
        assert_eq!(by_name.mark, Mark::of_user("idp", "u"));
        assert_eq!(by_name.before, When::Now);
        assert_eq!(by_name.life, Some(Duration::from_secs(3900)));
        assert_eq!(ask(text("https://idp/")).order(&issuers()), Ok(by_name));
        for unclear in [ask(None), ask(text("other"))] {
            let Unclear(why) = unclear.order(&issuers()).unwrap_err();
            assert!(why.contains("idp, long"), "{why}");
        }
        assert!(ask(None).order(&issuers()[..1]).is_ok(), "only one");
    }

    #[test]
    fn a_fingerprint_is_known_for_the_longest_life() {
        let ask = Ask {
            fingerprint: text("000102030405060708090A0B0C0D0E0F"),
            ..Ask::default()
        };
        let order = ask.order(&issuers()).unwrap();
        assert_eq!(order.life, Some(Duration::from_secs(7500)));
        assert_eq!(order.before, When::Always);
        let mut endless = issuers();
        endless[0].life = TokenLife::Any;
        assert_eq!(ask.order(&endless).unwrap().life, None);
    }

    #[test]
    fn what_is_not_one_thing_is_unclear() {
        let jti = Ask {
            issuer: text("idp"),
            jti: text("j"),
            ..Ask::default()
        };
        assert!(jti.order(&issuers()).is_ok());
        for ask in [
            Ask::default(),
            Ask {
                kid: text("k"),
                ..jti.clone()
            },
            Ask {
                before: Some(1),
                ..jti.clone()
            },
            Ask {
                jti: text(""),
                ..jti.clone()
            },
            Ask {
                jti: text(&"x".repeat(LONGEST + 1)),
                ..jti
            },
            Ask {
                fingerprint: text("00"),
                ..Ask::default()
            },
        ] {
            assert!(ask.order(&issuers()).is_err(), "{ask:?}");
        }
    }
}
