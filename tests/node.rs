//! `examples/node`: a customer's server in Node signs with `jsonwebtoken`, and a page logs in.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::accounts::stage::Stage;
use crate::common::command::{Running, said};

/// A copy of the example, with what its lock file names.
fn installed(into: &Path) -> PathBuf {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/node");
    let folder = into.join("node");
    std::fs::create_dir(&folder).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(example).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
            files += 1;
        }
    }
    assert!(files >= 6, "{files}");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    let (code, out, err) = said(&npm.current_dir(&folder).output().expect("npm"));
    assert_eq!(code, 0, "npm ci: {out}{err}");
    folder
}

/// What the page does, told in JSON.
const VISIT: &str = r#"
import { login } from "./page.js";
const [own] = process.argv.slice(2);
const visitor = await login(own);
const answer = await visitor.call("/feed/1");
const renewed = await visitor.renew(visitor.refreshToken);
await visitor.signOut(renewed.refreshToken ?? visitor.refreshToken);
const after = await visitor.renew(renewed.refreshToken ?? visitor.refreshToken).catch(String);
console.log(JSON.stringify({ user: visitor.user, status: answer.status, body: await answer.text(), renewed, after }));
"#;

#[test]
fn a_customers_server_vouches_and_a_page_logs_in() {
    let stage = Stage::sqlite();
    let folder = installed(stage.folder.path());
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl")
            .args(arguments)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    };
    openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        "acme-private.pem",
    ]);
    openssl(&[
        "pkey",
        "-in",
        "acme-private.pem",
        "-pubout",
        "-out",
        "../acme.pem",
    ]);
    let usher = stage.usher_with("", "", "routes: [{ path: /feed/**, projects: [acme] }]\n");

    let mut server = Command::new("node");
    server
        .arg("server.js")
        .current_dir(&folder)
        .env("PORT", "0")
        .env("USHER", format!("http://{}", usher.address));
    let server = Running::start(&mut server);
    let own = crate::common::eventually("the customer's server", || {
        assert!(!server.err().contains("Error"), "{}", server.err());
        server.out().lines().next().map(str::to_owned)
    });
    std::fs::write(folder.join("visit.mjs"), VISIT).unwrap();
    let mut visit = Command::new("node");
    visit.args(["visit.mjs", &own]).current_dir(&folder);
    let (code, out, err) = said(&visit.output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");

    let told: Value = serde_json::from_str(&out).unwrap();
    let user = &told["user"];
    assert_eq!(
        (&user["foreignId"], &user["email"]),
        (&json!("42"), &json!("ada@example.com"))
    );
    assert_eq!(user["metadata"], json!({ "plan": "gold" }));
    assert_eq!(
        (&told["status"], &told["body"]),
        (&json!(200), &json!("hello"))
    );
    assert_eq!(stage.app.last().header("x-user-id"), user["id"].as_str());
    assert_eq!(told["renewed"]["user"]["id"], user["id"]);
    assert_eq!(told["after"], "Error: 403 auth/refresh-token-invalid");
}
