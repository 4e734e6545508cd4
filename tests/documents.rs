//! The documents say what the code does, as far as a test can tell.

use std::fs;
use std::path::{Path, PathBuf};

use usher::denial::{Fault, Reason};

use crate::common::{App, Issuer, Usher};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents that people read: those at the top, those in `docs`, those of the examples.
fn pages() -> Vec<PathBuf> {
    let mut folders = vec![root().join("docs"), root().join("examples")];
    let mut pages = markdown(root(), &mut Vec::new());
    while let Some(folder) = folders.pop() {
        pages.extend(markdown(&folder, &mut folders));
    }
    assert!(pages.len() >= 8, "{pages:?}");
    pages
}

fn markdown(folder: &Path, folders: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            folders.push(path);
        } else if path.extension().is_some_and(|ext| ext == "md") {
            pages.push(path);
        }
    }
    pages
}

#[test]
fn every_denial_is_explained_under_whose_fault_it_is() {
    let page = page("docs/operations.md");
    let (_, denials) = page.split_once("\n## Denials\n").unwrap();
    let (client, rest) = denials.split_once("**usher's fault").unwrap();
    let (ours, rest) = rest.split_once("**The app's fault**").unwrap();
    let upstream = rest.split("\n## ").next().unwrap();
    for reason in Reason::ALL {
        let table = match reason.fault() {
            Fault::Client => client,
            Fault::Ours => ours,
            Fault::Upstream => upstream,
        };
        let row = format!("| `{}` | {} | ", reason.id(), reason.status().as_u16());
        assert!(table.contains(&row), "docs/operations.md has no row {row}");
    }
    let rows = denials.split("\n## ").next().unwrap();
    let rows = rows.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Reason::ALL.len(), "a row is of no reason");
}

#[test]
fn every_metric_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (app, issuer) = (App::start(), Issuer::new());
    let users = format!(
        "users: {{ directory: \"sqlite:{}\", provisioner: direct, shared_ids: true }}\n\
         accounts: \"sqlite:{}\"\nprojects: [{{ id: acme }}]\nissued_tokens: {{ \
         access: {{ secret: aq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }}, \
         refresh: {{ secret: rq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }} }}\n\
         revocation: {{ stream: \"file:{}\" }}",
        folder.path().join("users.db").display(),
        folder.path().join("accounts.db").display(),
        folder.path().join("revoked").display()
    );
    // One that is asked about tokens, so that what is counted about it shows.
    let asked = "{ name: asked, audiences: any, max_token_life: any, introspection: { url: \"http://127.0.0.1:9/\", \
        client_id: usher, client_secret: x } }";
    let issuer = issuer.yaml_with(", max_token_life: 1h");
    let usher = Usher::configured(&format!(
        "upstream: http://{}\nissuers: [{issuer}, {asked}]\n{users}\ntraces: http://127.0.0.1:1",
        app.address,
    ));
    let page = page("docs/operations.md");
    let exposed = usher.admin("/metrics").body;
    let mut names = Vec::new();
    for line in exposed.lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let total = if kind == "counter" { "_total" } else { "" };
        names.push(format!("| `{name}{total}` |"));
    }
    assert!(names.len() >= 20, "{exposed}");
    for name in &names {
        assert!(
            page.contains(name.as_str()),
            "docs/operations.md lacks {name}"
        );
    }
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `usher_"))
        .count();
    assert_eq!(rows, names.len(), "a row is of no metric");
}

#[test]
fn every_field_of_an_access_line_is_explained() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    usher.get("/let-in", &issuer.token("alice"));
    usher.get_as_nobody("/refused");
    let page = page("docs/operations.md");
    let (_, fields) = page.split_once("\n## Access lines\n").unwrap();
    let fields = fields.split("\n## ").next().unwrap();
    let (let_in, refused) = (usher.line("/let-in"), usher.line("/refused"));
    let found = [let_in.as_object().unwrap(), refused.as_object().unwrap()];
    for field in found.into_iter().flat_map(|line| line.keys()) {
        assert!(
            fields.contains(&format!("`{field}`")),
            "docs/operations.md does not explain the field {field}"
        );
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (place, _) in text.match_indices("](") {
            let link = &text[place + 2..];
            let link = &link[..link.find(')').unwrap()];
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", page.display());
            if !heading.is_empty() {
                let target = fs::read_to_string(&target).unwrap();
                let known = target.lines().filter(|line| line.starts_with('#'));
                assert!(
                    known.map(anchor).any(|known| known == heading),
                    "{}: {link}",
                    page.display()
                );
            }
            links += 1;
        }
    }
    assert!(links >= 20, "{links}");
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn configurations_in_documents_are_good() {
    let mut complete = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("\n```").next().unwrap();
            if !(block.contains("upstream:") && block.contains("issuers:")) {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("usher.yaml");
            let secret = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";
            fs::write(folder.path().join("jwt-secret"), secret).unwrap();
            fs::write(folder.path().join("acme.pem"), "of a customer").unwrap();
            fs::write(&file, block).unwrap();
            if let Err(problems) = usher::config::load(&file) {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                panic!("{}: {}\n{block}", page.display(), problems.join("\n"));
            }
            complete += 1;
        }
    }
    assert!(complete >= 2, "{complete}");
}

/// The configuration inside a Kubernetes manifest, its secret in a folder of the test's.
#[test]
fn the_configuration_in_the_manifest_is_good() {
    let manifest = page("examples/kubernetes/sidecar.yaml");
    let (_, block) = manifest.split_once("  usher.yaml: |\n").unwrap();
    let block: Vec<_> = block
        .lines()
        .map_while(|line| line.strip_prefix("    "))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let secret = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";
    fs::write(folder.path().join("jwt"), secret).unwrap();
    let text = block.join("\n").replace("/run/secrets/usher/", "");
    let file = folder.path().join("usher.yaml");
    fs::write(&file, &text).unwrap();
    let config = usher::config::load(&file).unwrap().config;
    // The probes and the app's probe go where these are.
    assert_eq!(config.listeners.len(), 1);
    assert!(manifest.contains("containerPort: 8080") && text.contains("listen: 0.0.0.0:8080"));
    assert!(config.admin.is_some() && !text.contains("admin:"));
    let health = config
        .routes
        .iter()
        .find(|route| route.paths == ["/health"]);
    assert_eq!(health.unwrap().access, usher::config::Access::Public);
}

#[test]
fn every_room_is_on_the_plan() {
    let plan = page("ARCHITECTURE.md");
    let (_, tree) = plan.split_once("\n## The tree\n").unwrap();
    let tree = tree.split("\n## ").next().unwrap();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        // `route.rs` stands for `route/` too.
        if path.is_dir() && path.with_extension("rs").exists() {
            continue;
        }
        let slash = if path.is_dir() { "/" } else { "" };
        let name = format!("{}{slash}", path.file_name().unwrap().to_str().unwrap());
        let known = tree.lines().any(|line| line.trim().starts_with(&name));
        assert!(known, "ARCHITECTURE.md does not know src/{name}");
    }
}

#[test]
fn the_plan_has_the_layers_of_the_map() {
    let (plan, map) = (page("ARCHITECTURE.md"), page("src/lib.rs"));
    let rows: Vec<_> = map
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|row| format!("| {}", row.replace("[`", "`").replace("`]", "`")))
        .collect();
    assert!(rows.len() >= 7, "{rows:?}");
    for row in rows {
        assert!(
            plan.lines().any(|line| line == row),
            "ARCHITECTURE.md lacks: {row}"
        );
    }
}
