//! `usher check` reads what `usher serve` reads at its start, and leaves all of it as it is.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::authority::Authority;
use crate::common::command::run;

const SECRET: &str = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Q";

/// A configuration in a folder, with one issuer beside `more`.
fn check(folder: &Path, more: &str) -> (i32, String, String) {
    let file = folder.join("usher.yaml");
    let issuers = match more.contains("issuers:") {
        true => String::new(),
        false => {
            let issuer = "name: idp, issuer: idp, audiences: [app], max_token_life: 1h";
            format!("issuers: [{{ {issuer}, secret: {SECRET} }}]\n")
        }
    };
    let upstream = match more.contains("upstream:") {
        true => "",
        false => "upstream: http://127.0.0.1:1\n",
    };
    std::fs::write(&file, format!("{upstream}{issuers}{more}")).unwrap();
    let (code, out, err) = run(&["check", file.to_str().unwrap()]);
    let problems = err.lines().filter(|line| !line.contains("warning: "));
    (code, out, problems.collect::<Vec<_>>().join("\n"))
}

fn accounts(project: &str, access: &str) -> String {
    format!(
        "accounts: sqlite:accounts.db\nprojects: [{{ id: acme{project} }}]\n\
         issued_tokens: {{ rate_limit: off, access: {{ {access} }}, refresh: {{ secret: refresh-{SECRET} }} }}\n"
    )
}

#[test]
fn what_serve_does_not_start_with_is_no_good_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.pem");
    std::fs::write(&junk, "-----BEGIN JUNK-----\nAAAA\n-----END JUNK-----\n").unwrap();
    let key = junk.with_file_name("key.pem");
    std::fs::write(
        &key,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let anybodys = junk.with_file_name("anybodys");
    std::fs::create_dir(&anybodys).unwrap();
    std::fs::set_permissions(&anybodys, Permissions::from_mode(0o777)).unwrap();
    let issuer =
        |key: &str| format!("issuers: [{{ name: idp, issuer: idp, audiences: [app], {key} }}]\n");
    let ca = "ca_file: junk.pem";
    let cases = [
        issuer("jwks_file: junk.pem"),
        issuer("public_key_file: junk.pem, algorithms: [RS256]"),
        issuer(&format!("jwks_uri: 'https://idp', fetch: {{ {ca} }}")),
        format!("users: {{ table: t, directory: {{ url: 'postgres://db/app', {ca} }} }}\n"),
        format!(
            "users: {{ directory: 'sqlite:users.db', provisioner: {{ url: 'rediss://redis', {ca} }} }}\n"
        ),
        accounts(
            ", public_key_file: junk.pem",
            &format!("secret: access-{SECRET}"),
        ),
        accounts(", public_key: cHVi", &format!("secret: access-{SECRET}")),
        accounts("", "key_file: key.pem"),
        accounts("", &format!("secret: access-{SECRET}")).replace(
            "accounts: sqlite:accounts.db",
            &format!("accounts: {{ url: 'postgres://db/app', {ca} }}"),
        ),
        format!("revocation: {{ stream: {{ url: 'rediss://redis', {ca} }} }}\n"),
        format!("traces: {{ endpoint: 'https://collector', {ca} }}\n"),
        format!(
            "revocation: {{ stream: 'file:revoked' }}\ncontrol: {{ address: '127.0.0.1:0', token: control-{SECRET}, \
             tls: {{ cert_file: junk.pem, key_file: junk.pem }} }}\n"
        ),
        "state_dir: anybodys\n".to_owned(),
    ];
    for more in cases {
        let (code, out, err) = check(folder.path(), &more);
        assert_eq!((code, out.as_str()), (78, ""), "{more}{err}");
        let named = ["junk.pem", "`acme`", "access.key_file", "anybodys"];
        let told = named.iter().any(|name| err.contains(name));
        assert!(told && err.lines().count() == 1, "{more}{err}");
    }
    let mut left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(
        left,
        ["anybodys", "junk.pem", "key.pem", "usher.yaml"],
        "nothing is made"
    );
}

#[test]
fn each_problem_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("junk.pem"), "junk").unwrap();
    let app = "upstream: { url: 'https://app', ca_file: junk.pem }\n";
    let (code, _, err) = check(folder.path(), app);
    assert_eq!((code, err.lines().count()), (78, 1), "{err}");
}

#[test]
fn what_serve_would_make_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = authority.server("a", &["a.test"]).yaml();
    let more = format!(
        "state_dir: state\nusers: {{ directory: 'sqlite:users.db' }}\n{}\
         revocation: {{ stream: 'file:revoked' }}\n\
         control: {{ address: '127.0.0.1:0', token: control-{SECRET}, tls: {{ {pair} }} }}\n",
        accounts("", &format!("secret: access-{SECRET}"))
    );
    let (code, out, err) = check(folder.path(), &more);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "usher.yaml alone"
    );
}
