//! Servers that others have written, as the app behind usher. Each answers with how it has read the
//! request, in six lines: method, target, path, host, every value of `X-User-Id` in the laxest
//! reading of names, and how many requests it got.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::process::Process;
use crate::common::{eventually, free_port};
use crate::gateways::{installed, open_folder, program};

/// Decodes, merges slashes, resolves dot segments; reads names with `_` too.
const NGINX: &str = r#"
worker_processes 1;
error_log stderr;
pid nginx.pid;
events {}
http {
    log_format seen "$request_method $request_uri";
    access_log seen.log seen;
    underscores_in_headers on;
    ignore_invalid_headers off;
    large_client_header_buffers 8 32k;
    server {
        listen 127.0.0.1:PORT;
        keepalive_requests 1000000;
        location / {
            default_type text/plain;
            return 200 "$request_method\n$request_uri\n$uri\n$host\n$http_x_user_id\n$connection_requests\n";
        }
    }
}
"#;

/// The URL of browsers: `\` is a slash, `%2e` is a dot, `//a` is a host.
const NODE: &str = r#"
const http = require("http");
const fs = require("fs");
const seen = fs.openSync("seen.log", "a");
let count = 0;
const options = { insecureHTTPParser: true, maxHeaderSize: 1 << 20, keepAliveTimeout: 60000 };
http.createServer(options, (request, response) => {
    fs.writeSync(seen, request.method + " " + request.url + "\n");
    let path = "-";
    try {
        const url = new URL(request.url, "http://app");
        path = (url.host === "app" ? "" : "//" + url.host) + decodeURIComponent(url.pathname);
    } catch {}
    const ids = [];
    for (let i = 0; i < request.rawHeaders.length; i += 2) {
        const name = request.rawHeaders[i].toLowerCase().replace(/[^a-z0-9]+/g, "-");
        if (name === "x-user-id") ids.push(request.rawHeaders[i + 1]);
    }
    request.resume().on("end", () => {
        count += 1;
        response.end([request.method, request.url, path, request.headers.host, ids.join(), count, ""].join("\n"));
    });
}).listen(PORT, "127.0.0.1");
"#;

/// What WSGI makes of names, and `posixpath` of paths.
const PYTHON: &str = r#"
import posixpath, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit
count = 0
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        global count
        count += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            path = posixpath.normpath(unquote(urlsplit(self.path).path))
        except ValueError:
            path = "-"
        named = [value for name, value in self.headers.items() if "".join(c if c.isalnum() else "_" for c in name.upper()) == "X_USER_ID"]
        text = "\n".join([self.command, self.path, path, self.headers.get("Host", "-"), ",".join(named), str(count), ""])
        body = text.encode("utf-8", "surrogateescape")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = do_DELETE = answer
    def log_message(self, *args):
        pass
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
"#;

/// A server that somebody else has written.
pub(super) struct Reader {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    folder: tempfile::TempDir,
    _process: Process,
}

/// How a reader has read a request.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) ids: String,
}

impl Read {
    /// From the body of the answer.
    #[track_caller]
    pub(super) fn of(body: &str) -> Self {
        let lines: Vec<_> = body.split('\n').map(str::to_owned).collect();
        let [method, target, path, host, ids, _, _] = lines.as_slice() else {
            panic!("another answer: {body:?}");
        };
        Self {
            method: method.clone(),
            target: target.clone(),
            path: path.clone(),
            host: host.clone(),
            ids: ids.clone(),
        }
    }
}

impl Reader {
    pub(super) fn nginx() -> Self {
        Self::start("nginx", |port, folder| {
            std::fs::write(folder.join("nginx.conf"), NGINX.replace("PORT", port)).unwrap();
            let mut command = Command::new(program("nginx"));
            let alone = "daemon off; master_process off;";
            command.args(["-c", "nginx.conf", "-e", "stderr", "-g", alone, "-p"]);
            command.arg(folder);
            command
        })
    }

    pub(super) fn node() -> Self {
        Self::start("node", |port, folder| {
            let mut command = Command::new(program("node"));
            command.args(["-e", &NODE.replace("PORT", port)]);
            command.current_dir(folder);
            command
        })
    }

    pub(super) fn python() -> Self {
        Self::start("python", |port, _| {
            let mut command = Command::new(installed("bin/python"));
            command.args(["-c", &PYTHON.replace("PORT", port)]);
            command
        })
    }

    fn start(name: &'static str, command: impl FnOnce(&str, &Path) -> Command) -> Self {
        let folder = open_folder();
        let port = free_port();
        let mut command = command(&port.to_string(), folder.path());
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(quiet.stderr(Stdio::null()));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually(name, || {
            assert!(!process.has_ended(), "{name} ended");
            TcpStream::connect(address).ok()
        });
        Self {
            name,
            address,
            folder,
            _process: process,
        }
    }

    /// nginx and Node: method and target of each request so far.
    pub(super) fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("seen.log")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}
