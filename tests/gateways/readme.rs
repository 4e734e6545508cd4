//! The commands of each example's README, as they stand there, save for the ports.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::process::Process;
use crate::common::{eventually, free_port};

use super::stage::{installed, open_folder, program};

/// The example, in a folder beside the app, and the commands of its README.
struct Example {
    folder: PathBuf,
    start: String,
    tries: Vec<String>,
    /// What the first lines of the second part set.
    before: String,
    home: tempfile::TempDir,
}

/// What the shell has started ends with it, if the shell is asked to end.
struct Started(Process);

impl Drop for Started {
    fn drop(&mut self) {
        self.0.signal("TERM");
        self.0.finish();
    }
}

/// The commands below a heading.
#[track_caller]
fn commands(page: &str, heading: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading);
    let (_, rest) = rest.split_once("```sh\n").expect(heading);
    rest.split_once("```").expect(heading).0.to_owned()
}

impl Example {
    fn new(name: &str) -> Self {
        let home = open_folder();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let folder = home.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let ports = ["8000", "8080", "3000", "9902"].map(|port| (port, free_port().to_string()));
        let copy = |from: &Path, to: &Path| {
            let mut text = fs::read_to_string(from).unwrap();
            for (port, free) in &ports {
                text = text.replace(port, free);
            }
            fs::write(to, text).unwrap();
        };
        copy(&examples.join("app.py"), &home.path().join("app.py"));
        for entry in fs::read_dir(examples.join(name)).unwrap() {
            let path = entry.unwrap().path();
            copy(&path, &folder.join(path.file_name().unwrap()));
        }
        // Not beside the one that somebody else may run.
        let yaml = folder.join("usher.yaml");
        let text = fs::read_to_string(&yaml).unwrap();
        fs::write(&yaml, format!("{text}\nadmin: 127.0.0.1:{}\n", free_port())).unwrap();

        let page = fs::read_to_string(folder.join("README.md")).unwrap();
        let tries = commands(&page, "Try it");
        let (tries, before): (Vec<_>, Vec<_>) =
            tries.lines().partition(|line| line.starts_with("curl"));
        Self {
            start: commands(&page, "Start it"),
            tries: tries.into_iter().map(str::to_owned).collect(),
            before: before.join("\n"),
            folder,
            home,
        }
    }

    /// A shell in the folder, for which the programs are there by their names.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap();
        command
            .args(["-c", script])
            .current_dir(&self.folder)
            .env(
                "PATH",
                format!("{}:{path}", self.home.path().join("bin").display()),
            )
            .env("HOME", self.home.path())
            .stdin(Stdio::null());
        command
    }

    fn install(&self) {
        let bin = self.home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, place) in [
            ("usher", PathBuf::from(env!("CARGO_BIN_EXE_usher"))),
            ("nginx", program("nginx")),
            ("haproxy", program("haproxy")),
            ("caddy", installed("bin/caddy")),
            ("traefik", installed("bin/traefik")),
        ] {
            symlink(place, bin.join(name)).unwrap();
        }
        // Several on one machine would take each other for the one that they follow.
        let envoy = installed("lib/python3*/site-packages/envoy/_bin/envoy");
        let script = format!(
            "#!/bin/sh\nexec '{}' \"$@\" --disable-hot-restart\n",
            envoy.display()
        );
        fs::write(bin.join("envoy"), script).unwrap();
        fs::set_permissions(bin.join("envoy"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Starts all of it, tries each request, and compares with what stands behind it.
    fn holds(&self) {
        self.install();
        let log = fs::File::create(self.home.path().join("log")).unwrap();
        let script = format!(
            "trap 'kill $(jobs -p); wait' EXIT; trap 'exit 0' TERM; {}\nwait",
            self.start
        );
        let started = Started(Process::start(
            self.shell(&script)
                .stdout(log.try_clone().unwrap())
                .stderr(log),
        ));
        let log = || fs::read_to_string(self.home.path().join("log")).unwrap();
        assert_eq!(self.tries.len(), 3);
        eventually("answers by usher and by the app", || {
            assert!(!started.0.has_ended(), "{}", log());
            let refused = self.ask(&self.tries[0]).starts_with("HTTP/1.1 401");
            (refused && self.ask(&self.tries[2]).starts_with("HTTP/1.1 200")).then_some(())
        });
        for line in &self.tries {
            let (_, said) = line.split_once('#').expect("what is to be seen");
            let answer = self.ask(line).to_lowercase();
            let sees = |name: &str| answer.contains(&format!("\n{name}"));
            match said.trim() {
                "401, with a challenge" => {
                    assert!(answer.starts_with("http/1.1 401"), "{line}: {answer}");
                    assert!(sees("www-authenticate: bearer"), "{line}: {answer}");
                }
                "passes; the app sees X-User-Id: 42" => {
                    assert!(answer.starts_with("http/1.1 200"), "{line}: {answer}");
                    assert!(sees("x-user-id: 42"), "{line}: {answer}");
                    assert!(!sees("authorization"), "{line}: {answer}");
                }
                "passes; the app sees no X-User-Id" => {
                    assert!(answer.starts_with("http/1.1 200"), "{line}: {answer}");
                    assert!(sees("get /public/ "), "the app answers: {answer}");
                    // Envoy over HTTP sends what is empty.
                    let empty = answer.contains("x-user-id: \n") || answer.contains("x-user-id:\n");
                    assert!(empty || !sees("x-user-id"), "{line}: {answer}");
                }
                other => panic!("nobody looks for this: {other}"),
            }
        }
    }

    fn ask(&self, line: &str) -> String {
        let script = format!("set -e\n{}\n{line}", self.before);
        let output = self.shell(&script).output().unwrap();
        String::from_utf8_lossy(&output.stdout).replace('\r', "")
    }
}

#[test]
fn nginx() {
    Example::new("nginx").holds();
}

#[test]
fn haproxy() {
    Example::new("haproxy").holds();
}

#[test]
fn caddy() {
    Example::new("caddy").holds();
}

#[test]
fn traefik() {
    Example::new("traefik").holds();
}

#[test]
fn envoy() {
    Example::new("envoy").holds();
    let mut over_http = Example::new("envoy");
    let other = over_http
        .start
        .replace("-c envoy-grpc.yaml", "-c envoy-http.yaml");
    assert_ne!(over_http.start, other);
    over_http.start = other;
    over_http.holds();
}
