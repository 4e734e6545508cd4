//! A certificate authority, and certificates that it signs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// How many authorities there are.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

pub struct Authority {
    /// The authority's own certificate.
    pub root: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// `cert_file: …, key_file: …`.
    pub fn yaml(&self) -> String {
        format!(
            "cert_file: '{}', key_file: '{}'",
            self.certificate.display(),
            self.key.display()
        )
    }

    /// Puts another certificate and key in place of this one, one file after the other.
    pub fn replace_with(&self, other: &Self) {
        for (from, to) in [
            (&other.certificate, &self.certificate),
            (&other.key, &self.key),
        ] {
            let beside = to.with_extension("new");
            std::fs::copy(from, &beside).expect("copied");
            std::fs::rename(&beside, to).expect("renamed");
        }
    }
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
        // Two authorities of one name would be taken for one that has lost its key.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        root.distinguished_name = named(&format!("authority {number}"));
        let root_pem = root.self_signed(&root_key).expect("signed").pem();
        let path = folder.path().join("root.pem");
        std::fs::write(&path, root_pem).expect("written");
        let mut authority = Self {
            root: path,
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            issuer: Issuer::new(root, root_key),
            folder,
        };
        let localhost = authority.server("leaf", &["localhost"]);
        (authority.certificate, authority.key) = (localhost.certificate, localhost.key);
        authority
    }

    /// A certificate for these hosts, in files of this name.
    pub fn server(&self, file: &str, hosts: &[&str]) -> Pair {
        self.sign(file, self::hosts(hosts))
    }

    /// The same, whose time is over.
    pub fn expired(&self, file: &str, hosts: &[&str]) -> Pair {
        let mut leaf = self::hosts(hosts);
        leaf.not_before = date_time_ymd(2001, 1, 1);
        leaf.not_after = date_time_ymd(2002, 1, 1);
        self.sign(file, leaf)
    }

    /// A client's certificate.
    pub fn client(&self, name: &str) -> Pair {
        let mut leaf = self::hosts(&[]);
        leaf.distinguished_name = named(name);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, leaf)
    }

    /// The same with alternative names.
    pub fn client_named(&self, name: &str, names: Vec<rcgen::SanType>) -> Pair {
        let mut leaf = self::hosts(&[]);
        leaf.distinguished_name = named(name);
        leaf.subject_alt_names = names;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, leaf)
    }

    fn sign(&self, file: &str, leaf: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let leaf = leaf.signed_by(&key, &self.issuer).expect("signed");
        let write = |name: String, text: String| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        Pair {
            certificate: write(format!("{file}.pem"), leaf.pem()),
            key: write(format!("{file}.key"), key.serialize_pem()),
        }
    }
}

fn hosts(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut leaf = CertificateParams::new(names).expect("parameters");
    leaf.distinguished_name = named("leaf");
    leaf
}

fn named(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}
