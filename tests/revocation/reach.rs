//! What a revocation reaches.

use serde_json::json;

use super::stage::{Stage, dies};
use crate::common::command;
use crate::common::issuer::now;

/// What the command is given for a token, and a token that it must not reach.
#[test]
fn each_kind_of_revocation_reaches_its_tokens_and_no_others() {
    let stage = Stage::new();
    let usher = stage.usher("");
    let token = |sub: &str, more: serde_json::Value| stage.issuer.token_with(sub, more);
    let inspected = |token: &str| {
        let (_, out, _) = command::run(&["token", "inspect", token]);
        let line = out
            .lines()
            .find(|line| line.starts_with("fingerprint"))
            .unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    let cases = [
        (
            token("jti", json!({ "jti": "a" })),
            token("jti", json!({ "jti": "b" })),
            vec!["--jti".to_owned(), "a".to_owned()],
        ),
        (
            token("sid", json!({ "sid": "a" })),
            token("sid", json!({ "sid": "b" })),
            vec![
                "--issuer".into(),
                "idp".into(),
                "--session".into(),
                "a".into(),
            ],
        ),
        {
            let dead = token("print", json!({ "n": 1 }));
            let print = inspected(&dead);
            let alive = token("print", json!({ "n": 2 }));
            (dead, alive, vec!["--fingerprint".into(), print])
        },
        {
            let dead = token("whole", json!({ "n": 1 }));
            let alive = token("whole", json!({ "n": 2 }));
            (dead.clone(), alive, vec!["--token".into(), dead])
        },
        (
            token("user", json!({ "iat": now() - 10 })),
            token("user", json!({ "iat": now() + 20 })),
            vec![
                "--issuer".into(),
                "https://idp.test/".into(),
                "--subject".into(),
                "user".into(),
            ],
        ),
        (
            token("aged", json!({ "iat": null, "exp": now() + 60 })),
            token("aged", json!({ "iat": now() - 5 })),
            vec![],
        ),
    ];
    for (dead, alive, arguments) in &cases {
        if arguments.is_empty() {
            // With a longest life a token without `iat` is refused anyhow.
            assert_eq!(usher.get("/", dead).status, 401);
            continue;
        }
        assert_eq!(usher.get("/", dead).status, 200, "{arguments:?}");
        assert_eq!(usher.get("/", alive).status, 200);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = stage.revoke(&arguments);
        assert!(said.starts_with("revoked: "), "{said}");
        dies(&usher, dead);
        assert_eq!(usher.get("/", alive).status, 200, "{arguments:?}");
    }
}

#[test]
fn a_key_and_an_issuer_take_all_their_tokens_with_them() {
    for arguments in [&["--kid", "k1"][..], &["--everything"]] {
        let stage = Stage::new();
        let usher = stage.usher("");
        let tokens: Vec<_> = (0..3).map(|n| stage.issuer.token(&n.to_string())).collect();
        for token in &tokens {
            assert_eq!(usher.get("/", token).status, 200);
        }
        stage.revoke(arguments);
        for token in &tokens {
            dies(&usher, token);
        }
        // A key stays revoked; an issuer's new tokens are good, once the skew is over.
        let fresh = stage.issuer.token_with("new", json!({ "iat": now() + 30 }));
        let expected = if arguments == ["--kid", "k1"] {
            401
        } else {
            200
        };
        assert_eq!(usher.get("/", &fresh).status, expected, "{arguments:?}");
    }
}

#[test]
fn an_ecdsa_signature_with_another_spelling_does_not_help() {
    let stage = Stage::new();
    let usher = stage.usher("");
    let token = stage.issuer.token("dead");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = format!("{signed}.{}", respelt(signature));
    assert_eq!(
        usher.get("/", &other).status,
        200,
        "it is as good as the first"
    );
    stage.revoke(&["--token", &token]);
    dies(&usher, &token);
    assert_eq!(usher.get("/", &other).status, 401);
}

/// (r, n − s) is a signature wherever (r, s) is one.
fn respelt(signature: &str) -> String {
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let mut bytes = crate::common::forge::decode(signature);
    let order = data_encoding::HEXLOWER.decode(N.as_bytes()).unwrap();
    let mut borrow = 0i32;
    for place in (0..32).rev() {
        let difference = i32::from(order[place]) - i32::from(bytes[32 + place]) - borrow;
        borrow = i32::from(difference < 0);
        bytes[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    crate::common::forge::encode(bytes)
}

#[test]
fn a_token_that_lives_too_long_is_refused() {
    let stage = Stage::new();
    let usher = stage.usher("");
    for (more, status) in [
        (json!({ "exp": now() + 3500 }), 200),
        (json!({ "exp": now() + 3700 }), 401),
        (json!({ "iat": null }), 401),
        (json!({ "iat": now() - 7000, "exp": now() + 100 }), 401),
    ] {
        let token = stage.issuer.token_with("alice", more.clone());
        assert_eq!(usher.get("/", &token).status, status, "{more}");
    }
}
