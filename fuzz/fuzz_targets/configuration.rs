//! A text is a configuration, or has problems that stand within it; secrets are in no problem.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::config;

fuzz_target!(|text: &str| {
    let env =
        |name: &str| (name == "SECRET").then(|| "hunter2hunter2hunter2hunter2hunter2!".to_owned());
    // No file of this machine is read.
    if text.contains("file") || text.contains("sqlite") || text.contains("unix:") {
        return;
    }
    if let Err(problems) = config::parse(text, "fuzz.yaml", &env) {
        assert!(!problems.is_empty());
        // To YAML a bare carriage return ends a line, too.
        let lines = text.split(['\r', '\n']).count() + 1;
        for problem in problems {
            assert!(problem.line.is_none_or(|line| line <= lines), "{problem}");
            // Unless it stands in the text itself, where anybody can read it.
            let shown = problem.to_string().contains("hunter2hunter2");
            assert!(!shown || text.contains("hunter2hunter2"), "{problem}");
        }
    }
});
