//! PostgreSQL over TLS, with certificates of an authority of our own: what each `sslmode` accepts and refuses.

use activity_relay::store::{Mode, Store, StoreError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::postgres::Cluster;

/// Only TLS is let in from the network.
const HBA: &str = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
/// A name that leads to this machine.
const NAME: &str = "localhost";

/// A server whose certificate is for one name, and who signed it.
struct World {
    cluster: Cluster,
    folder: TempDir,
}

impl World {
    /// `None` where PostgreSQL is not installed.
    fn new(name: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (authority, issuer) = authority("the right one");
        std::fs::write(folder.path().join("ca.pem"), authority).unwrap();
        std::fs::write(folder.path().join("other.pem"), self::authority("another").0).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let cluster = Cluster::prepared(|data| {
            data.put("tls.crt", &certificate.pem());
            data.put("tls.key", &key.serialize_pem());
            data.put("pg_hba.conf", HBA);
            "ssl = on\nssl_cert_file = 'tls.crt'\nssl_key_file = 'tls.key'\n".to_owned()
        })?;
        Some(Self { cluster, folder })
    }

    async fn open(&self, options: &str) -> Result<Store, StoreError> {
        let options = options.replace("CA", &self.folder.path().join("ca.pem").display().to_string());
        let options = options.replace("OTHER", &self.folder.path().join("other.pem").display().to_string());
        let port = self.cluster.port();
        let url = format!("postgres://postgres@{NAME}:{port}/postgres?hostaddr=127.0.0.1&{options}");
        Store::open(&url, Mode::Tool).await
    }

    async fn refusal(&self, options: &str) -> String {
        self.open(options).await.unwrap_err().to_string()
    }

    /// How many connections of the relay are encrypted.
    async fn encrypted(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE ssl AND application_name = 'activity-relay'";
        self.cluster.connect("postgres").await.query_one(sql, &[]).await.unwrap().get(0)
    }
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
    assert!(other.contains("TLS") && other.contains("certificate"), "{other}");
    // Without a file the machine's authorities count, and none of them has signed this.
    assert!(world.refusal("sslmode=verify-full").await.contains("certificate"));
    let missing = world.refusal("sslmode=verify-full&sslrootcert=/nowhere/ca.pem").await;
    assert!(missing.contains("/nowhere/ca.pem"), "{missing}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_by_verify_full_alone() {
    let Some(world) = World::new("db.example.com") else { return };
    let wrong = world.refusal("sslmode=verify-full&sslrootcert=CA").await;
    assert!(wrong.contains("not valid for name") && wrong.contains("db.example.com"), "{wrong}");
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
    assert!(error.contains("does not support TLS"), "{error}");
    Store::open(&url("prefer"), Mode::Tool).await.unwrap();
}
