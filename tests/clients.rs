//! Clients that others wrote, as people use them: curl, nghttp, Chromium, Node.

mod chromium;
mod curl;
mod nghttp;
mod node;
mod site;

use std::path::Path;
use std::process::{Command, Output};

use crate::common::authority::Authority;
use crate::common::{App, Issuer, Usher};

/// The name that callers know.
const NAME: &str = "app.test";

/// A site behind an usher, in the clear and within TLS.
struct Stage {
    app: App,
    usher: Usher,
    secure: Usher,
    token: String,
    authority: Authority,
    _issuer: Issuer,
}

impl Stage {
    fn new() -> Self {
        let (app, issuer, authority) = (site::start(), Issuer::new(), Authority::new());
        let pair = authority.server("site", &[NAME]);
        // Pages cannot set headers of WebSockets and event streams.
        let rules = "tokens: { from: [authorization, websocket_protocol, cookie: session] }\n\
                     routes: [{ path: /, access: public }]\n";
        let within = format!(
            "{rules}listen: {{ address: '127.0.0.1:0', tls: {{ {} }} }}\n",
            pair.yaml()
        );
        Self {
            usher: Usher::start(&app, &issuer, rules),
            secure: Usher::start(&app, &issuer, &within),
            token: issuer.token("alice"),
            app,
            authority,
            _issuer: issuer,
        }
    }

    fn bearer(&self) -> String {
        format!("authorization: Bearer {}", self.token)
    }

    fn root(&self) -> &Path {
        &self.authority.root
    }
}

/// What a command said that ended well.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}. tests/run installs it; or install it by hand")
    });
    let Output {
        status,
        stdout,
        stderr,
    } = &output;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        status.success(),
        "{command:?}: {status}\n{}\n{}",
        text(stdout),
        text(stderr)
    );
    text(stdout)
}
