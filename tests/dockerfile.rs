//! The Dockerfile's steps, one by one, since no container engine is needed for a test run.
//! `tests/run` also builds the image where an engine answers.

use std::fs;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions: name and the rest, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text: Vec<_> = lines.collect();
    let text = text.join("\n").replace("\\\n", " ");
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

/// Those of the last stage.
fn shipped() -> Vec<(String, String)> {
    let all = instructions();
    let last = all.iter().rposition(|(name, _)| name == "FROM").unwrap();
    assert!(last > 0, "one stage only");
    all[last..].to_vec()
}

fn only(stage: &[(String, String)], name: &str) -> String {
    let found: Vec<_> = stage.iter().filter(|(found, _)| found == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0].1.clone()
}

#[test]
fn what_is_copied_is_there_and_is_not_ignored() {
    let ignore = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let mut copied = 0;
    for (name, rest) in instructions() {
        if name != "COPY" || rest.starts_with("--from") {
            continue;
        }
        let names: Vec<_> = rest.split_whitespace().collect();
        for file in &names[..names.len() - 1] {
            assert!(root().join(file).exists(), "COPY {file}");
            assert!(
                ignore.lines().any(|line| line == format!("!{file}")),
                ".dockerignore keeps {file} out"
            );
            copied += 1;
        }
    }
    assert!(copied >= 4, "{copied}");
}

/// The copied files alone are a package that Cargo can lock and build.
#[test]
fn what_is_copied_is_a_package() {
    let folder = tempfile::tempdir().unwrap();
    let sources = instructions();
    let sources = sources
        .iter()
        .filter(|(name, rest)| name == "COPY" && !rest.starts_with("--from"))
        .flat_map(|(_, rest)| {
            let names: Vec<_> = rest.split_whitespace().collect();
            names[..names.len() - 1].to_vec()
        });
    for source in sources {
        let copied = Command::new("cp")
            .args(["-r", source])
            .arg(folder.path())
            .current_dir(root())
            .status()
            .unwrap();
        assert!(copied.success(), "cp {source}");
    }
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--no-deps",
            "--format-version=1",
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&metadata.stderr).into_owned();
    assert!(metadata.status.success(), "{error}");
    let reaching_out = Command::new("grep")
        .args([
            "-rnE",
            r#"include_(str|bytes)!\("(\.\./)+(config|docs|tests|examples)"#,
            "src",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&reaching_out.stdout).into_owned();
    assert_eq!(
        found, "",
        "src includes files that the image's builder has not"
    );
}

#[test]
fn the_build_command_names_a_profile_and_a_toolchain_that_exist() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let all = instructions();
    let build = all
        .iter()
        .find(|(name, rest)| name == "RUN" && rest.starts_with("cargo build"));
    let (_, build) = build.unwrap();
    assert_eq!(build, "cargo build --profile dist --locked");
    assert!(manifest.contains("\n[profile.dist]\n"));
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap();
    let image = format!(
        "rust:{}-slim-bookworm AS builder",
        version.trim_matches('"')
    );
    assert_eq!(all[0], ("FROM".to_owned(), image));
    let (_, binary) = shipped()
        .into_iter()
        .find(|(_, rest)| rest.starts_with("--from"))
        .unwrap();
    assert_eq!(binary, "--from=builder /build/target/dist/usher /usher");
}

#[test]
fn the_shipped_stage_has_no_shell_and_no_root() {
    let stage = shipped();
    let base = only(&stage, "FROM");
    assert_eq!(base, "gcr.io/distroless/cc-debian12:nonroot");
    let user = only(&stage, "USER");
    let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap()).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id >= 1000), "{user}");
    // Both would run in a shell, which is not there.
    assert!(!stage.iter().any(|(name, _)| name == "RUN"));
    for name in ["ENTRYPOINT", "CMD"] {
        assert!(only(&stage, name).starts_with("[\""), "{name}");
    }
    let health = only(&stage, "HEALTHCHECK");
    assert!(
        health.contains("CMD [\"/usher\", \"probe\", \"live\"]"),
        "{health}"
    );
}

/// What the image runs without arguments, and its health check, are commands that exist.
#[test]
fn the_commands_it_runs_exist() {
    let usher = |arguments: &[&str]| {
        let mut usher = Command::new(env!("CARGO_BIN_EXE_usher"));
        let output = usher.args(arguments).env_remove("USHER_CONFIG").output();
        output.unwrap()
    };
    assert!(usher(&["probe", "live", "--help"]).status.success());
    assert!(usher(&["serve", "--help"]).status.success());
    let stage = shipped();
    assert_eq!(only(&stage, "ENTRYPOINT"), "[\"/usher\"]");
    assert_eq!(only(&stage, "CMD"), "[\"serve\"]");
    let variable = only(&stage, "ENV");
    let help = String::from_utf8(usher(&["serve", "--help"]).stdout).unwrap();
    let name = variable.split('=').next().unwrap();
    assert!(help.contains(name), "`serve` does not read {name}");
}

/// The base image has glibc and libgcc and nothing else that a binary could link against.
#[test]
#[cfg(target_os = "linux")]
fn the_base_image_has_the_libraries() {
    let listed = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_usher"))
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|path| path.rsplit('/').next().unwrap_or(path))
        .collect();
    assert!(names.contains(&"libc.so.6"), "{listed}");
    for name in names {
        let known = [
            "linux-vdso.so",
            "libc.so",
            "libm.so",
            "libgcc_s.so",
            "ld-linux",
        ];
        assert!(
            known.iter().any(|known| name.starts_with(known)),
            "distroless/cc has no {name}"
        );
    }
}
