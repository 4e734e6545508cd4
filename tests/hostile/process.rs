//! What the process needs of the machine, and how its file is linked.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::accounts::stage::{ACCESS, CUSTOMER, LOGIN, REFRESH, request};
use crate::common::command::Running;
use crate::common::{App, Client, Issuer, eventually};

/// A file of this mode, with this content.
fn put(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{command} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// As nobody, without a capability and any way to one, in a folder that is not to be written:
/// directory, accounts, first sight and a proxied request work all the same.
#[test]
fn nothing_but_its_state_is_written_and_no_right_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(at("state")).unwrap();
    let root = run("id", &["-u"]).trim() == "0";
    // Where the build is, nobody may be able to go.
    fs::copy(env!("CARGO_BIN_EXE_usher"), at("usher")).unwrap();
    let (app, issuer) = (App::start(), Issuer::new());
    put(&at("jwks.json"), issuer.jwks().to_string(), 0o444);
    put(&at("acme.pem"), CUSTOMER.public_pem(), 0o444);
    let config = format!(
        "listen: [127.0.0.1:0, 'unix:{state}/usher.sock']\nadmin: 127.0.0.1:0\nupstream: http://{app}\n\
         issuers: [{{ name: idp, issuer: '{name}', audiences: [app], algorithms: [ES256], jwks_file: jwks.json }}]\n\
         users: {{ directory: 'sqlite:{state}/users.db', provisioner: direct }}\n\
         accounts: 'sqlite:{state}/accounts.db'\nprojects: [{{ id: acme, public_key_file: acme.pem }}]\n\
         issued_tokens: {{ access: {{ secret: {ACCESS} }}, refresh: {{ secret: {REFRESH} }} }}\n",
        state = at("state").display(),
        app = app.address,
        name = Issuer::NAME,
    );
    put(&at("usher.yaml"), config, 0o444);
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]);
    if root {
        run("chown", &["65534:65534", at("state").to_str().unwrap()]);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    } else {
        // Whoever is not root has no right to drop one, and none to lose.
        command = Command::new("setpriv");
        command.arg("--no-new-privs");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    command
        .arg(at("usher"))
        .args(["serve", "--config", "usher.yaml"])
        .current_dir(folder.path());
    command.env_clear();
    let running = Running::start(&mut command);
    let address = running.address("listening");

    let mut client = Client::connect(address);
    let token = issuer.token("alice");
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    assert_eq!(client.reply().unwrap().status, 200, "{}", running.err());
    let mut client = Client::over_unix(&at("state/usher.sock"));
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 401);
    let claims = json!({ "sub": "ada", "iss": "acme", "exp": crate::common::issuer::now() + 60, "userData": {} });
    let body = json!({ "userJwt": CUSTOMER.token(claims.to_string()) }).to_string();
    let mut client = Client::connect(address);
    client.send(request(LOGIN, &body, ""));
    assert_eq!(client.reply().unwrap().status, 200, "{}", running.err());

    let process = format!("/proc/{}", running.id());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {status}"))
            .trim()
            .to_owned()
    };
    assert_eq!(value("NoNewPrivs:"), "1");
    if root {
        assert_eq!(value("Uid:").split_whitespace().next(), Some("65534"));
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapBnd:", "CapAmb:"] {
            assert_eq!(value(set), "0000000000000000", "{set}");
        }
    }
    // Every regular file that is open for writing lies in the state directory.
    let mut written = 0;
    for entry in fs::read_dir(format!("{process}/fd")).unwrap() {
        let entry = entry.unwrap();
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        if !target.is_absolute() || target.starts_with("/dev") {
            continue;
        }
        let info = fs::read_to_string(format!(
            "{process}/fdinfo/{}",
            entry.file_name().to_str().unwrap()
        ))
        .unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap()
            .trim();
        if u32::from_str_radix(flags, 8).unwrap() & 3 != 0 {
            assert!(
                target.starts_with(at("state")),
                "{target:?} is open for writing"
            );
            written += 1;
        }
    }
    assert!(written >= 2, "two databases are");
    running.signal("TERM");
    eventually("its end", || {
        (!Path::new(&process).join("fd").exists()
            || fs::read_dir(format!("{process}/fd")).is_ok_and(|mut all| all.next().is_none()))
        .then_some(())
    });
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Of the file that these tests run, and of each that was built to be shipped, where there is one. The
/// profiles differ in optimisation, not in how the linker is called: what holds for one holds for all.
#[test]
fn the_file_is_position_independent_and_its_tables_are_read_only() {
    let own = env!("CARGO_BIN_EXE_usher");
    let target = Path::new(own).parent().and_then(Path::parent).unwrap();
    is_hardened(own);
    for profile in ["release", "dist"] {
        let file = target.join(profile).join("usher");
        match file.exists() {
            true => is_hardened(file.to_str().unwrap()),
            false => {
                // Past what the test runner captures.
                let _ = writeln!(
                    std::io::stderr(),
                    "\n=== {} is not built: RELRO and PIE were NOT looked for in it ===",
                    file.display()
                );
            }
        }
    }
    // Nothing in the build changes that for what is shipped.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for setting in ["relro", "relocation-model", "rustflags", "link-arg"] {
        assert!(!cargo.contains(setting), "Cargo.toml sets {setting}");
    }
    let docker = fs::read_to_string(root.join("Dockerfile")).unwrap();
    assert!(!docker.contains("RUSTFLAGS"), "{docker}");
    assert!(!root.join(".cargo").exists() && cargo.contains("overflow-checks = true"));
    assert!(
        cargo.contains("unsafe_code = \"forbid\"")
            && fs::read_to_string(root.join("src/lib.rs"))
                .unwrap()
                .contains("#![forbid(unsafe_code)]")
    );
}

/// Position independent, its tables read-only after the start, no stack that runs, no code to write to.
#[track_caller]
fn is_hardened(file: &str) {
    let head = run("readelf", &["--file-header", "--wide", file]);
    assert!(
        head.contains("DYN (Position-Independent Executable file)"),
        "{file}: {head}"
    );
    let segments = run("readelf", &["--program-headers", "--wide", file]);
    assert!(segments.contains("GNU_RELRO"), "{file}: {segments}");
    let stack = segments
        .lines()
        .find(|line| line.contains("GNU_STACK"))
        .expect(&segments);
    assert!(
        stack.contains("RW ") && !stack.contains("RWE"),
        "{file}: {stack}"
    );
    let writable_code = segments
        .lines()
        .filter(|line| line.contains("LOAD") && line.contains("RWE"));
    assert_eq!(writable_code.count(), 0, "{file}: {segments}");
    let dynamic = run("readelf", &["--dynamic", "--wide", file]);
    let now = dynamic
        .lines()
        .any(|line| line.contains("BIND_NOW") || line.contains("FLAGS_1") && line.contains("NOW"));
    assert!(
        now,
        "{file}: full RELRO needs symbols bound at the start: {dynamic}"
    );
}
