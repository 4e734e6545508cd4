//! Whatever a token holds, signed or not: a verdict, and the same one again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher_fuzz::{PARTS, seal};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let token = match kind % 4 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => seal(br#"{"alg":"HS256"}"#, rest),
        2 => seal(
            rest,
            br#"{"iss":"https://idp.test/","aud":"app","sub":"a","exp":9999999999}"#,
        ),
        _ => {
            let half = rest
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(rest.len() / 2);
            seal(&rest[..half], &rest[half..])
        }
    };
    let verdict = |token: &str| PARTS.now(PARTS.identify.identify(token, None));
    let (first, second) = (verdict(&token), verdict(&token));
    assert_eq!(first.is_ok(), second.is_ok());
    let Ok(verified) = first else {
        // Step by step it ends the same way.
        let steps = PARTS.now(PARTS.identify.explain(&token));
        assert!(!steps.is_empty());
        return;
    };
    let id = verified.identity.id();
    assert!(!id.is_empty() && id.trim() == id && !id.chars().any(char::is_control));
    assert!(
        verified
            .identity
            .lines()
            .bytes()
            .all(|byte| (0x20..0x7f).contains(&byte) || b"\r\n".contains(&byte))
    );
    // Of a good token no part is good.
    if let Some((shorter, _)) = token.split_at_checked(token.len() - 1) {
        assert!(verdict(shorter).is_err());
    }
});
