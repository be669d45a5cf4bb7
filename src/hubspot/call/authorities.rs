//! Whose word is taken for HubSpot's certificate: the system's authorities, or those of `SSL_CERT_FILE` and
//! `SSL_CERT_DIR`; on a machine that has none, those that came with this program. One log line says which.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use thiserror::Error;

/// The variables that name authorities in place of the system's.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Authorities in use.
#[derive(Debug)]
pub(crate) struct Authorities {
    pub(crate) store: RootCertStore,
    whose: Whose,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    System,
    Named(&'static str),
    Bundled,
}

/// The environment names authorities, and there are none.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "this machine has no certificate authorities, so HubSpot can't be verified: `{variable}` names `{place}`, which holds none"
)]
pub struct NoAuthorities {
    variable: &'static str,
    place: String,
}

/// Finds the authorities, and says in the log which are in use.
pub(crate) fn find() -> Result<Authorities, NoAuthorities> {
    let named = VARIABLES.iter().find_map(|name| {
        let place = std::env::var_os(name)?;
        Some((*name, place.to_string_lossy().into_owned())).filter(|(_, place)| !place.is_empty())
    });
    let found = choose(rustls_native_certs::load_native_certs().certs, named)?;
    let total = found.store.len();
    match &found.whose {
        Whose::System => {
            tracing::info!(
                total,
                "HubSpot is verified by the system's certificate authorities"
            );
        }
        Whose::Named(name) => {
            tracing::info!(
                total,
                name,
                "HubSpot is verified by certificate authorities of the environment"
            );
        }
        Whose::Bundled => {
            tracing::warn!(
                total,
                hint = "apt-get install ca-certificates, or name a bundle in SSL_CERT_FILE",
                "this machine has no certificate authorities; HubSpot is verified by those that came with hubsyncd"
            );
        }
    }
    Ok(found)
}

fn choose(
    found: Vec<CertificateDer<'static>>,
    named: Option<(&'static str, String)>,
) -> Result<Authorities, NoAuthorities> {
    let mut store = RootCertStore::empty();
    // What is no certificate, or has a form that nobody reads any more, is left out.
    store.add_parsable_certificates(found);
    let whose = match (store.is_empty(), named) {
        (false, None) => Whose::System,
        (false, Some((name, _))) => Whose::Named(name),
        // Whoever names authorities wants those and no others.
        (true, Some((variable, place))) => return Err(NoAuthorities { variable, place }),
        (true, None) => {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            Whose::Bundled
        }
    };
    Ok(Authorities { store, whose })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        made.expect("a certificate").cert.der().clone()
    }

    #[test]
    fn a_machine_without_authorities_takes_the_bundled_ones() {
        let bundled = choose(Vec::new(), None).expect("bundled");
        assert_eq!(bundled.whose, Whose::Bundled);
        assert!(bundled.store.len() > 50, "{}", bundled.store.len());
        let broken = vec![CertificateDer::from(vec![1, 2, 3])];
        let whose = choose(broken, None).map(|found| found.whose);
        assert_eq!(whose, Ok(Whose::Bundled));
    }

    #[test]
    fn what_the_environment_names_is_taken_alone_or_refused_with_its_name() {
        let named = || Some(("SSL_CERT_FILE", "/etc/own.pem".to_owned()));
        let own = choose(vec![certificate()], named()).expect("named");
        assert_eq!(
            (own.whose, own.store.len()),
            (Whose::Named("SSL_CERT_FILE"), 1)
        );
        let system = choose(vec![certificate()], None).map(|found| found.whose);
        assert_eq!(system, Ok(Whose::System));
        let refused = choose(Vec::new(), named()).map(|found| found.whose);
        let words = refused.expect_err("none").to_string();
        assert_eq!(
            words,
            "this machine has no certificate authorities, so HubSpot can't be verified: `SSL_CERT_FILE` names `/etc/own.pem`, which holds none"
        );
    }
}
