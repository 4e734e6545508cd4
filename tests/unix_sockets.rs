//! Unix sockets on both sides, and sockets that systemd has opened.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::command::{self, Running, run};
use crate::common::{App, Client, Issuer, Usher, bridge, eventually};

fn request(token: &str, lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n")
}

/// A configuration for the real binary, with a token that it accepts.
fn configuration(folder: &Path, issuer: &Issuer, app: &App, listen: &str) -> (String, String) {
    let file = folder.join("usher.yaml");
    let text = format!(
        "listen: {listen}\nadmin: off\nupstream: http://{}\nissuers: [{}]\nworkers: 1\nshutdown: {{ pause: 0s }}\n",
        app.address,
        issuer.yaml()
    );
    std::fs::write(&file, text).unwrap();
    (file.to_str().unwrap().to_owned(), issuer.token("alice"))
}

fn serve(file: &str) -> Running {
    let running = Running::start(&mut command::usher(&["serve", "--config", file]));
    eventually("usher has started", || {
        running.err().contains("\"started\"").then_some(())
    });
    running
}

#[test]
fn callers_connect_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, &format!("listen: 'unix:{}'", path.display()));
    let token = issuer.token("alice");
    let mut client = Client::over_unix(&path);
    for _ in 0..2 {
        client.send(request(&token, ""));
        assert_eq!(client.reply().unwrap().status, 200);
    }
    let seen = app.last();
    assert_eq!(seen.header("x-user-id"), Some("alice"));
    assert_eq!(seen.header("x-forwarded-for"), Some("unknown"));
    assert_eq!(usher.line("/x")["client"], "unix");
    let name = format!(
        "usher_connections_listener_open{{listener=\"unix:{}\"}}",
        path.display()
    );
    assert_eq!(usher.metric(&name), 1.0);

    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--unix-socket"])
        .arg(&path)
        .args([
            "--header",
            &format!("Authorization: Bearer {token}"),
            "http://app.test/curl",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "hello");
}

/// Who connects over a Unix socket is trusted only if the configuration says so.
#[test]
fn a_unix_peer_is_trusted_only_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let (app, issuer) = (App::start(), Issuer::new());
    for (trusted, wanted) in [
        ("", "unknown"),
        ("trusted_proxies: [unix]", "192.0.2.7, unknown"),
    ] {
        let listen = format!("listen: 'unix:{}'\n{trusted}", path.display());
        let _usher = Usher::start(&app, &issuer, &listen);
        let mut client = Client::over_unix(&path);
        client.send(request(
            &issuer.token("alice"),
            "X-Forwarded-For: 192.0.2.7\r\n",
        ));
        assert_eq!(client.reply().unwrap().status, 200);
        assert_eq!(app.last().header("x-forwarded-for"), Some(wanted));
    }
}

#[test]
fn a_socket_has_the_mode_and_owner_of_the_configuration_and_leaves_with_usher() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let (app, issuer) = (App::start(), Issuer::new());
    let door = format!("address: 'unix:{}'", path.display());
    let uid = std::fs::metadata(folder.path()).unwrap().uid();
    for (more, mode) in [
        (String::new(), 0o660),
        (format!(", mode: 0600, owner: {uid}, group: root"), 0o600),
    ] {
        let usher = Usher::start(&app, &issuer, &format!("listen: {{ {door}{more} }}"));
        let found = std::fs::metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, mode);
        assert_eq!(found.uid(), uid);
        drop(usher);
        assert!(!path.exists(), "the socket is still there");
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let (app, issuer) = (App::start(), Issuer::new());
    let (file, token) = configuration(
        folder.path(),
        &issuer,
        &app,
        &format!("'unix:{}'", path.display()),
    );

    // What a killed process leaves behind.
    drop(UnixListener::bind(&path).unwrap());
    assert!(UnixStream::connect(&path).is_err() && path.exists());
    let mut first = serve(&file);
    let mut client = Client::over_unix(&path);
    client.send(request(&token, ""));
    assert_eq!(client.reply().unwrap().status, 200);

    let (code, _, said) = run(&["serve", "--config", &file]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("cannot listen on unix:") && said.contains("in use"),
        "{said}"
    );
    client.send(request(&token, ""));
    assert_eq!(client.reply().unwrap().status, 200, "the first goes on");
    assert!(path.exists());

    first.signal("KILL");
    first.ended();
    assert!(path.exists(), "nobody could clean up");
    let mut second = serve(&file);
    let mut client = Client::over_unix(&path);
    client.send(request(&token, ""));
    assert_eq!(client.reply().unwrap().status, 200);
    second.signal("TERM");
    assert!(second.ended().success());
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let issuer = Issuer::new();
    let (file, _) = configuration(
        folder.path(),
        &issuer,
        &App::start(),
        &format!("'unix:{}'", path.display()),
    );
    std::fs::write(&path, "precious").unwrap();
    let (code, _, said) = run(&["serve", "--config", &file]);
    assert!(
        code == 1 && said.contains("a file that is no socket"),
        "{code} {said}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    // A link to a stale socket is somebody's too.
    let elsewhere = folder.path().join("elsewhere.sock");
    drop(UnixListener::bind(&elsewhere).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let (code, _, said) = run(&["serve", "--config", &file]);
    assert!(
        code == 1 && said.contains("a file that is no socket"),
        "{code} {said}"
    );
    assert!(path.is_symlink() && elsewhere.exists());
}

#[test]
fn a_socket_that_somebody_else_has_put_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, &format!("listen: 'unix:{}'", path.display()));
    std::fs::remove_file(&path).unwrap();
    let _next = UnixListener::bind(&path).unwrap();
    drop(usher);
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn many_that_start_at_once_leave_one_that_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let (app, issuer) = (App::start(), Issuer::new());
    let (file, token) = configuration(
        folder.path(),
        &issuer,
        &app,
        &format!("'unix:{}'", path.display()),
    );
    drop(UnixListener::bind(&path).unwrap());
    let mut all: Vec<_> = (0..4)
        .map(|_| Running::start(&mut command::usher(&["serve", "--config", &file])))
        .collect();
    eventually("all but one have given up", || {
        let alive = all
            .iter_mut()
            .map(|one| usize::from(one.runs()))
            .sum::<usize>();
        let started = all.iter().any(|one| one.err().contains("\"started\""));
        (alive == 1 && started).then_some(())
    });
    let mut client = Client::over_unix(&path);
    client.send(request(&token, ""));
    assert_eq!(client.reply().unwrap().status, 200);
}

#[test]
fn the_app_listens_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let (app, issuer) = (App::start(), Issuer::new());
    bridge::unix(&path, app.address);
    let usher = Usher::configured(&format!(
        "upstream: 'unix:{}'\nissuers: [{}]",
        path.display(),
        issuer.yaml()
    ));
    let token = issuer.token("alice");
    let mut client = usher.connect();
    for _ in 0..3 {
        client.send(request(&token, ""));
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(app.count(), 3);
    assert_eq!(app.connections(), 1, "the connection is kept");
    assert_eq!(app.last().header("host"), Some("app.test"));
}

#[test]
fn an_app_whose_socket_is_not_there_is_a_502() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let issuer = Issuer::new();
    let usher = Usher::configured(&format!(
        "upstream: 'unix:{}'\nissuers: [{}]",
        path.display(),
        issuer.yaml()
    ));
    assert_eq!(usher.get("/missing", &issuer.token("alice")).status, 502);
    assert_eq!(usher.line("/missing")["reason"], "upstream_unreachable");
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(usher.get("/stale", &issuer.token("alice")).status, 502);
    let app = App::start();
    std::fs::remove_file(&path).unwrap();
    bridge::unix(&path, app.address);
    usher.serves(&issuer.token("alice"));
}

/// Starts usher as systemd does: the sockets are open, and the environment says which. `address`
/// is the path of a Unix socket, or of a file that the port is written to.
fn activated(file: &str, kind: &str, address: &Path, names: &str) -> Running {
    let script = "
import os, socket, sys
kind, address, names = sys.argv[1:4]
if kind == 'unix':
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
else:
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    open(address, 'w').write(str(listener.getsockname()[1]))
listener.listen(64)
os.dup2(listener.fileno(), 3)
# It may have been 3 already.
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
os.execv(sys.argv[4], sys.argv[4:])
";
    let mut command = Command::new("python3");
    command
        .args(["-c", script, kind])
        .arg(address)
        .args([names, env!("CARGO_BIN_EXE_usher")])
        .args(["serve", "--config", file])
        .stdin(Stdio::null());
    let running = Running::start(&mut command);
    eventually("usher has started", || {
        running.err().contains("\"started\"").then_some(())
    });
    running
}

#[test]
fn sockets_that_systemd_has_opened_are_taken_by_name_or_number() {
    for (listen, kind) in [
        ("systemd:web", "tcp"),
        ("systemd", "unix"),
        ("systemd:0", "tcp"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let (app, issuer) = (App::start(), Issuer::new());
        let (file, token) = configuration(folder.path(), &issuer, &app, listen);
        let mut running = activated(&file, kind, &path, "web");
        let mut client = match kind {
            "unix" => Client::over_unix(&path),
            _ => {
                let port = std::fs::read_to_string(&path).unwrap().parse().unwrap();
                Client::connect(SocketAddr::from(([127, 0, 0, 1], port)))
            }
        };
        client.send(request(&token, ""));
        assert_eq!(client.reply().unwrap().status, 200, "{listen}");
        running.signal("TERM");
        assert!(running.ended().success());
        assert!(path.exists(), "the socket is systemd's");
    }
}

#[test]
fn a_socket_that_systemd_has_not_opened_is_said_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::new();
    let (file, _) = configuration(folder.path(), &issuer, &App::start(), "systemd:web");
    let (code, _, said) = run(&["serve", "--config", &file]);
    assert!(
        code == 1 && said.contains("none is \"web\"") && said.contains(".socket unit"),
        "{said}"
    );
}
