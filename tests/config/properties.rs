//! Whatever the text is, reading it ends with a configuration or with problems.

use proptest::prelude::*;

use super::{BASE, read};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "[-a-c:{}\\[\\],#&*!|>'\"%@?~<$\\n\\t 0-9.]{0,120}") {
        let _ = read(&text);
    }

    #[test]
    fn arbitrary_values_never_panic(
        key in "listen|admin|upstream|issuers|headers|tokens|routes|limits|cors|endpoints|workers|log|trusted_proxies",
        value in "[-a-z:/{}\\[\\], '0-9*.%$]{0,60}",
    ) {
        let _ = read(&format!("{BASE}{key}: {value}\n"));
        let _ = read(&format!("{key}:\n  - path: {value}\n    issuer: {value}\n"));
    }

    #[test]
    fn a_problem_stands_within_the_text(text in "[a-c:\\[\\]{}\\n 0-9-]{0,80}") {
        if let Err(problems) = read(&text) {
            for problem in problems {
                prop_assert!(problem.line.unwrap_or(1) <= text.lines().count() + 1);
            }
        }
    }
}
