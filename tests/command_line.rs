//! What somebody at a terminal is told, and with which exit code.

mod dev;
mod serve;
mod token;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::command::{run, usher};
use crate::common::{App, Issuer, Usher};

/// A configuration file for this issuer.
fn file(folder: &Path, issuer: &Issuer, more: &str) -> PathBuf {
    let path = folder.join("usher.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: http://127.0.0.1:9\nissuers: [{}]\n{more}",
        issuer.yaml()
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn every_command_explains_itself() {
    for arguments in [
        &[][..],
        &["serve"],
        &["check"],
        &["dev"],
        &["token"],
        &["token", "mint"],
        &["token", "inspect"],
        &["token", "verify"],
        &["account"],
        &["account", "delete"],
        &["revoke"],
        &["schema"],
        &["probe"],
        &["completions"],
    ] {
        let (code, out, err) = run(&[arguments, &["--help"]].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        assert!(out.contains("Usage: usher"), "{arguments:?}: {out}");
        assert!(out.lines().count() > 4, "{arguments:?}: {out}");
    }
    let (_, out, _) = run(&["serve", "--help"]);
    for key in [
        "listen",
        "admin",
        "ext_authz.listen",
        "control",
        "revocation",
        "workers",
        "traces",
        "log",
    ] {
        assert!(
            out.contains(&format!("`{key}`")),
            "{key} takes a restart: {out}"
        );
    }
    let (code, out, err) = run(&[]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("First steps"), "{err}");
    let (code, _, err) = run(&["sevre"]);
    assert_eq!(code, 2);
    assert!(err.contains("'serve'"), "{err}");
    let (code, out, _) = run(&["--version"]);
    assert_eq!(
        (code, out),
        (0, format!("usher {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn check_tells_every_problem_with_its_line() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let good = file(folder.path(), &issuer, "");
    let (code, out, err) = run(&["check", good.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("good") && out.contains("idp"), "{out}");
    let bad = file(
        folder.path(),
        &issuer,
        "lisen: x\ntimeouts: { idle: soon }\nworkers: 0\n",
    );
    let (code, out, err) = run(&["check", bad.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (78, ""));
    for (line, key) in [(5, "lisen"), (6, "timeouts.idle"), (7, "workers")] {
        let place = format!("usher.yaml:{line}");
        assert!(
            err.lines()
                .any(|text| text.contains(&place) && text.contains(key)),
            "{key}: {err}"
        );
    }
    assert!(err.contains("3 problems"), "{err}");
    let (code, _, err) = run(&["check", "/nowhere/usher.yaml"]);
    assert_eq!(code, 78);
    assert!(
        err.contains("/nowhere/usher.yaml") && err.contains("Check that the file is there"),
        "{err}"
    );
}

#[test]
fn the_schema_is_json() {
    let (code, out, err) = run(&["schema"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert!(schema["properties"]["issuers"].is_object());
}

#[test]
fn completions_are_a_script() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, err) = run(&["completions", shell]);
        assert_eq!((code, err.as_str()), (0, ""), "{shell}");
        assert!(out.contains("usher") && out.contains("probe"), "{shell}");
    }
    let (_, out, _) = run(&["completions", "bash"]);
    let mut check = std::process::Command::new("bash");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.bash");
    std::fs::write(&path, out).unwrap();
    assert!(check.arg("-n").arg(path).status().unwrap().success());
}

#[test]
fn a_probe_answers_with_its_exit_code() {
    let (app, issuer) = (App::start(), Issuer::new());
    let mut usher = Usher::start(&app, &issuer, "shutdown: { pause: 30s, deadline: 1s }");
    let admin = usher.admin.to_string();
    for question in ["live", "ready"] {
        assert_eq!(
            run(&["probe", question, "--admin", &admin]).0,
            0,
            "{question}"
        );
    }
    usher.stop();
    crate::common::eventually("unready", || {
        let (code, _, err) = run(&["probe", "ready", "--admin", &admin]);
        (code == 1 && err.contains("draining")).then_some(())
    });
    assert_eq!(run(&["probe", "live", "--admin", &admin]).0, 0);
    drop(usher);
    let (code, out, err) = run(&["probe", "live", "--admin", &admin]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("Is usher running"), "{err}");
    assert_eq!(run(&["probe", "well", "--admin", &admin]).0, 2);
}

#[test]
fn nothing_needs_a_home() {
    let mut command = usher(&["dev"]);
    command.env_remove("HOME").env_remove("XDG_STATE_HOME");
    let (code, _, err) = crate::common::command::said(&command.output().unwrap());
    assert_eq!(code, 1);
    assert!(err.contains("--state-dir"), "{err}");
}
