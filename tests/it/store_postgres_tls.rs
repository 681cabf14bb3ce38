//! PostgreSQL over TLS, with certificates of an authority of our own: what each `sslmode` accepts and refuses.

use activity_relay::store::{Mode, Store, StoreError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::postgres::Cluster;
use crate::stage::Stage;

/// Only TLS is let in from the network.
const HBA: &str = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
/// A name that leads to this machine.
const NAME: &str = "localhost";
/// Certificate and key as old tools make them.
const VERSION_1: &str = include_str!("../fixtures/tls-version-1.pem");
/// The remedy of another trouble.
const UP: &str = "is the address in --store right and the server up?";

/// A server with its certificate, and who signed it.
struct World {
    cluster: Cluster,
    folder: TempDir,
}

impl World {
    /// With a certificate for one name. `None` where PostgreSQL is not installed.
    fn new(name: &str) -> Option<Self> {
        Self::until(name, 2099)
    }

    /// The same, good from 2000 to the given year.
    fn until(name: &str, year: i32) -> Option<Self> {
        let (authority, issuer) = authority("the right one");
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, year).signed_by(&key, &issuer).unwrap();
        Self::showing(&certificate.pem(), &key.serialize_pem(), &authority)
    }

    /// With a certificate that is its own authority, as `openssl req -x509` makes it.
    fn signing_itself(name: &str, year: i32) -> Option<Self> {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, year);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self::showing(&certificate, &key.serialize_pem(), &certificate)
    }

    fn showing(certificate: &str, key: &str, authority: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority).unwrap();
        std::fs::write(folder.path().join("other.pem"), self::authority("another").0).unwrap();
        let cluster = Cluster::prepared(|data| {
            data.put("tls.crt", certificate);
            data.put("tls.key", key);
            data.put("pg_hba.conf", HBA);
            "ssl = on\nssl_cert_file = 'tls.crt'\nssl_key_file = 'tls.key'\n".to_owned()
        })?;
        Some(Self { cluster, folder })
    }

    fn url(&self, options: &str) -> String {
        let options = options.replace("CA", &self.folder.path().join("ca.pem").display().to_string());
        let options = options.replace("OTHER", &self.folder.path().join("other.pem").display().to_string());
        let port = self.cluster.port();
        format!("postgres://postgres@{NAME}:{port}/postgres?hostaddr=127.0.0.1&{options}")
    }

    async fn open(&self, options: &str) -> Result<Store, StoreError> {
        Store::open(&self.url(options), Mode::Tool).await
    }

    async fn refusal(&self, options: &str) -> String {
        let refusal = self.open(options).await.unwrap_err().to_string();
        assert!(!refusal.contains(UP) && !refusal.contains("OtherError"), "{refusal}");
        refusal
    }

    /// How many connections of the relay are encrypted.
    async fn encrypted(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE ssl AND application_name = 'activity-relay'";
        self.cluster.connect("postgres").await.query_one(sql, &[]).await.unwrap().get(0)
    }
}

/// A certificate for a name, good from 2000 to the given year.
fn params(name: &str, until: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
}

#[tokio::test]
async fn verify_full_wants_the_right_authority_and_the_right_name() {
    let Some(world) = World::new(NAME) else { return };
    let store = world.open("sslmode=verify-full&sslrootcert=CA").await.unwrap();
    store.ping().await.unwrap();
    assert!(world.encrypted().await > 0);
    let other = world.refusal("sslmode=verify-full&sslrootcert=OTHER").await;
    assert!(other.contains("self-signed or from an authority") && other.contains("other.pem"), "{other}");
    // Without a file the machine's authorities count, and none of them has signed this.
    let unknown = world.refusal("sslmode=verify-full").await;
    assert!(unknown.contains("from an authority") && unknown.contains("sslrootcert=FILE"), "{unknown}");
    let missing = world.refusal("sslmode=verify-full&sslrootcert=/nowhere/ca.pem").await;
    assert!(missing.contains("/nowhere/ca.pem"), "{missing}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_by_verify_full_alone() {
    let Some(world) = World::new("db.example.com") else { return };
    let wrong = world.refusal("sslmode=verify-full&sslrootcert=CA").await;
    assert!(wrong.contains("for another host name (db.example.com)"), "{wrong}");
    assert!(wrong.contains("sslmode=verify-ca"), "{wrong}");
    world.open("sslmode=verify-ca&sslrootcert=CA").await.unwrap();
    assert!(world.refusal("sslmode=verify-ca&sslrootcert=OTHER").await.contains("certificate"));
    // Naming an authority makes `require` ask it, as it does for libpq.
    assert!(world.refusal("sslmode=require&sslrootcert=OTHER").await.contains("certificate"));
    world.open("sslmode=require").await.unwrap();
    world.open("sslmode=prefer").await.unwrap();
}

#[tokio::test]
async fn a_server_and_a_relay_that_want_it_differently_say_so() {
    let Some(world) = World::new(NAME) else { return };
    let plain = world.refusal("sslmode=disable").await;
    assert!(plain.contains("no encryption") && plain.contains("pg_hba.conf"), "{plain}");
    let Some(without) = Cluster::start(&[]) else { return };
    let url = |mode| format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode={mode}", without.port());
    let error = Store::open(&url("require"), Mode::Tool).await.unwrap_err().to_string();
    assert!(error.contains("does not support TLS; set ssl = on") && !error.contains(UP), "{error}");
    Store::open(&url("prefer"), Mode::Tool).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_believed_where_it_is_named() {
    let Some(world) = World::signing_itself(NAME, 2099) else { return };
    world.open("sslmode=verify-full&sslrootcert=CA").await.unwrap();
    world.open("sslmode=verify-ca&sslrootcert=CA").await.unwrap();
    for mode in ["verify-full", "verify-ca"] {
        let other = world.refusal(&format!("sslmode={mode}&sslrootcert=OTHER")).await;
        assert!(other.contains("certificate is self-signed") && other.contains("other.pem"), "{other}");
    }
    let unknown = world.refusal("sslmode=verify-full").await;
    assert!(unknown.contains("is self-signed") && unknown.contains("sslrootcert=FILE"), "{unknown}");
}

#[tokio::test]
async fn one_that_is_named_must_have_the_right_name_and_not_be_out_of_date() {
    let Some(world) = World::signing_itself("db.example.com", 2099) else { return };
    let wrong = world.refusal("sslmode=verify-full&sslrootcert=CA").await;
    assert!(wrong.contains("for another host name (db.example.com)"), "{wrong}");
    world.open("sslmode=verify-ca&sslrootcert=CA").await.unwrap();
    let Some(world) = World::signing_itself(NAME, 2001) else { return };
    for mode in ["verify-full", "verify-ca"] {
        let old = world.refusal(&format!("sslmode={mode}&sslrootcert=CA")).await;
        assert!(old.contains("certificate has expired; renew it"), "{old}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_could_accept_is_refused_in_words() {
    let Some(world) = World::until(NAME, 2001) else { return };
    let old = world.refusal("sslmode=verify-full&sslrootcert=CA").await;
    assert!(old.contains("certificate has expired; renew it"), "{old}");
    let Some(world) = World::showing(VERSION_1, VERSION_1, VERSION_1) else { return };
    for options in ["sslmode=verify-full&sslrootcert=CA", "sslmode=require"] {
        let first = world.refusal(options).await;
        assert!(first.contains("is not of X.509 version 3; give the server one that is"), "{first}");
    }
}

#[tokio::test]
async fn a_refused_certificate_is_told_in_one_line() {
    let Some(world) = World::new(NAME) else { return };
    let stage = Stage::new().await.on(world.url("sslmode=verify-full"));
    let refused = stage.output("status").await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(69), 1), "{said}");
}
