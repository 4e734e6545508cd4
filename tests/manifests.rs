//! The Kubernetes examples are what Kubernetes takes: each object is read into its type and written
//! again, and nothing that was in the file may be missing then. A field that is misspelt, or in the
//! wrong place, is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic"
)]

use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The part of Istio's `AuthorizationPolicy` that the examples use, which Kubernetes does not know.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthorizationPolicy {
    api_version: String,
    kind: String,
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    spec: PolicySpec,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicySpec {
    selector: Selector,
    action: String,
    provider: Provider,
    rules: Vec<Rule>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    match_labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    name: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    to: Vec<To>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct To {
    operation: Operation,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    paths: Vec<String>,
}

/// The part of the values of Istio's chart `istiod` that the examples use.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MeshValues {
    mesh_config: MeshConfig,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MeshConfig {
    extension_providers: Vec<ExtensionProvider>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExtensionProvider {
    name: String,
    envoy_ext_authz_grpc: EnvoyExtAuthzGrpc,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnvoyExtAuthzGrpc {
    service: String,
    port: u16,
    timeout: String,
    fail_open: bool,
    status_on_error: String,
}

/// The objects of a file.
fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n");
    documents
        .map(|text| serde_saphyr::from_str(text).expect(text))
        .collect()
}

/// An object as its type writes it.
fn typed<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let read: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(read).unwrap())
}

fn written(object: &Value) -> Result<Value, String> {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("v1", "ConfigMap") => typed::<ConfigMap>(object),
        ("v1", "Service") => typed::<Service>(object),
        ("apps/v1", "Deployment") => typed::<Deployment>(object),
        ("networking.k8s.io/v1", "Ingress") => typed::<Ingress>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => typed::<NetworkPolicy>(object),
        ("security.istio.io/v1", "AuthorizationPolicy") => typed::<AuthorizationPolicy>(object),
        // Values of a chart are no object of Kubernetes.
        ("", "") => typed::<MeshValues>(object),
        other => Err(format!("no type for {other:?}")),
    }
}

/// What is in the file and not in what was written again.
fn lost(given: &Value, written: &Value, place: &str, found: &mut Vec<String>) {
    match (given, written) {
        (Value::Object(given), Value::Object(written)) => {
            for (name, value) in given {
                let place = format!("{place}.{name}");
                match written.get(name) {
                    Some(written) => lost(value, written, &place, found),
                    None => found.push(place),
                }
            }
        }
        (Value::Array(given), Value::Array(written)) if given.len() == written.len() => {
            for (index, (given, written)) in given.iter().zip(written).enumerate() {
                lost(given, written, &format!("{place}[{index}]"), found);
            }
        }
        _ if given == written => {}
        _ => found.push(format!("{place}: {given} became {written}")),
    }
}

fn problems(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for object in objects(text) {
        match written(&object) {
            Ok(written) => lost(&object, &written, &object["kind"].to_string(), &mut found),
            Err(error) => found.push(format!("{}: {error}", object["kind"])),
        }
    }
    found
}

fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let yaml = entries.filter(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    yaml.map(|path| {
        (
            path.display().to_string(),
            std::fs::read_to_string(&path).unwrap(),
        )
    })
    .collect()
}

#[test]
fn every_object_is_what_kubernetes_takes() {
    let files = files();
    assert_eq!(files.len(), 4);
    let mut count = 0;
    for (file, text) in files {
        assert_eq!(problems(&text), [""; 0], "{file}");
        count += objects(&text).len();
    }
    assert_eq!(count, 4 + 5 + 5 + 1);
}

#[test]
fn a_field_that_is_misspelt_or_misplaced_is_found() {
    let (_, sidecar) = files()
        .into_iter()
        .find(|(file, _)| file.ends_with("sidecar.yaml"))
        .unwrap();
    for (right, wrong) in [
        ("readinessProbe:", "readynessProbe:"),
        ("readOnlyRootFilesystem:", "readOnlyRootFileSystem:"),
        ("restartPolicy: Always", "restartpolicy: Always"),
        ("targetPort:", "targetport:"),
        ("policyTypes:", "policyType:"),
        ("replicas: 2", "replicas: two"),
        ("kind: Service", "kind: Servce"),
    ] {
        assert!(sidecar.contains(right), "{right}");
        assert_ne!(
            problems(&sidecar.replacen(right, wrong, 1)),
            [""; 0],
            "{wrong}"
        );
    }
    let (_, istio) = files()
        .into_iter()
        .find(|(file, _)| file.ends_with("istio.yaml"))
        .unwrap();
    assert_ne!(
        problems(&istio.replace("action: CUSTOM", "acton: CUSTOM")),
        [""; 0]
    );
    let (_, mesh) = files()
        .into_iter()
        .find(|(file, _)| file.ends_with("istio-mesh.yaml"))
        .unwrap();
    for (right, wrong) in [
        ("failOpen: false", "failOpen: \"no\""),
        ("failOpen:", "failopen:"),
        ("envoyExtAuthzGrpc:", "envoyExtAuthzHttp:"),
        ("port: 9902", "port: '9902'"),
        ("meshConfig:", "meshconfig:"),
    ] {
        assert!(mesh.contains(right), "{right}");
        assert_ne!(problems(&mesh.replace(right, wrong)), [""; 0], "{wrong}");
    }
}

/// What one object says of another is true: names, namespaces and ports.
#[test]
fn the_mesh_finds_usher_and_the_policies_fit() {
    let text = |name: &str| {
        let mut files = files().into_iter();
        let found = files.find(|(file, _)| file.ends_with(name));
        found.unwrap().1
    };
    let mesh = &objects(&text("istio-mesh.yaml"))[0]["meshConfig"]["extensionProviders"][0];
    let provider = &mesh["envoyExtAuthzGrpc"];
    assert_eq!(provider["failOpen"], false);
    let istio = objects(&text("istio.yaml"));
    let of = |kind: &str| {
        let mut found = istio.iter().filter(|object| object["kind"] == kind);
        let first = found.next().unwrap();
        assert!(found.next().is_none(), "{kind}");
        first
    };
    let (service, policy) = (of("Service"), of("NetworkPolicy"));
    let name = |object: &Value| {
        let part = |part: &str| object["metadata"][part].as_str().unwrap().to_owned();
        format!("{}.{}.svc.cluster.local", part("name"), part("namespace"))
    };
    assert_eq!(provider["service"], name(service));
    let port = &service["spec"]["ports"][0];
    assert_eq!(
        [&provider["port"], &provider["port"]],
        [&port["port"], &port["targetPort"]]
    );
    assert_eq!(
        mesh["name"],
        of("AuthorizationPolicy")["spec"]["provider"]["name"]
    );
    let rule = &policy["spec"]["ingress"][0];
    assert_eq!(
        rule["ports"],
        serde_json::json!([{ "protocol": "TCP", "port": port["port"] }])
    );
    let gateway = &of("AuthorizationPolicy")["spec"]["selector"];
    assert_eq!(&rule["from"][0]["podSelector"], gateway);
    let template = &of("Deployment")["spec"]["template"];
    assert_eq!(
        policy["spec"]["podSelector"]["matchLabels"],
        template["metadata"]["labels"]
    );
    let config = of("ConfigMap")["data"]["usher.yaml"].as_str().unwrap();
    let config = usher::config::parse(
        &config.replace(
            "secret_file: /run/secrets/usher/jwt",
            "secret: kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C",
        ),
        "usher.yaml",
        &|_| None,
    );
    let config = config
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .config;
    let asked_at = config.ext_authz.unwrap().listen;
    assert_eq!(port["targetPort"], asked_at.port());
    // Nobody but the gateway's Envoy reaches a port of usher's.
    assert!(!asked_at.ip().is_loopback());
    let listen = config.listeners[0].listen.to_string();
    assert!(listen.starts_with("127.0.0.1:"), "{listen}");
    // All of it is where the service says.
    for object in istio
        .iter()
        .filter(|object| object["kind"] != "AuthorizationPolicy")
    {
        assert_eq!(
            object["metadata"]["namespace"], "usher",
            "{}",
            object["kind"]
        );
    }
}

/// The configurations within the manifests are ones that usher takes.
#[test]
fn the_configurations_within_are_good() {
    let mut count = 0;
    for (file, text) in files() {
        for object in objects(&text) {
            let Some(config) = object["data"]["usher.yaml"].as_str() else {
                continue;
            };
            let folder = tempfile::tempdir().unwrap();
            let secret = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";
            std::fs::write(folder.path().join("jwt"), secret).unwrap();
            let path = folder.path().join("usher.yaml");
            std::fs::write(&path, config.replace("/run/secrets/usher/", "")).unwrap();
            if let Err(problems) = usher::config::load(&path) {
                panic!("{file}: {problems:?}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 3);
}
