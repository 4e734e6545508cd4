//! A certificate authority, and a certificate for `localhost` that it signed.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

pub struct Authority {
    /// The authority's own certificate.
    pub root: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    _folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::new().expect("a folder");
        // Servers that run as another user read from here.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("permissions");

        let root_key = KeyPair::generate().expect("a key");
        let mut root = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&root_key).expect("signed").pem();
        let issuer = Issuer::new(root, root_key);
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let leaf = leaf.signed_by(&key, &issuer).expect("signed");

        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        Self {
            root: write("root.pem", root_pem),
            certificate: write("leaf.pem", leaf.pem()),
            key: write("leaf.key", key.serialize_pem()),
            _folder: folder,
        }
    }
}
