//! Whose word is taken for HubSpot's certificate: the system's authorities, or those of `SSL_CERT_FILE` and
//! `SSL_CERT_DIR`; on a machine that has none, those that came with this program. One log line says which.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_native_certs::load_certs_from_paths;
use thiserror::Error;

/// The variables that name authorities in place of the system's.
const VARIABLES: [&str; 2] = [FILE, "SSL_CERT_DIR"];
const FILE: &str = "SSL_CERT_FILE";

/// Authorities in use.
#[derive(Debug)]
pub(crate) struct Authorities {
    pub(crate) store: RootCertStore,
    whose: Whose,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    System,
    Named(Vec<&'static str>),
    Bundled,
}

impl Authorities {
    /// Whose word is taken.
    pub(crate) fn explanation(&self) -> String {
        let total = self.store.len();
        match &self.whose {
            Whose::System => format!("{total} certificate authorities of the system"),
            Whose::Named(variables) => format!(
                "{total} certificate authorities that {} names",
                variables.join(" and ")
            ),
            Whose::Bundled => {
                format!("this machine has no certificate authorities; {total} came with hubsyncd")
            }
        }
    }
}

/// The environment names authorities, and there are none.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error(
    "this machine has no certificate authorities, so HubSpot can't be verified: `{variable}` names `{place}`, which holds none"
)]
pub struct NoAuthorities {
    variable: &'static str,
    place: String,
}

/// A variable that names authorities, and what is there.
struct NamedPlace {
    variable: &'static str,
    place: String,
    found: Vec<CertificateDer<'static>>,
}

impl NamedPlace {
    /// `None` where the variable names nothing.
    fn look(variable: &'static str) -> Option<Self> {
        let place = std::env::var_os(variable).filter(|place| !place.is_empty())?;
        let load = |path: PathBuf| match variable {
            FILE => load_certs_from_paths(Some(&path), None),
            _ => load_certs_from_paths(None, Some(&path)),
        };
        let paths = match variable {
            FILE => vec![PathBuf::from(&place)],
            // As OpenSSL reads it, several folders.
            _ => std::env::split_paths(&place).collect(),
        };
        Some(Self {
            variable,
            found: paths
                .into_iter()
                .flat_map(|path| load(path).certs)
                .collect(),
            place: place.to_string_lossy().into_owned(),
        })
    }
}

/// Finds the authorities, and says in the log which are in use.
pub(crate) fn find() -> Result<Authorities, NoAuthorities> {
    let named: Vec<NamedPlace> = VARIABLES.into_iter().filter_map(NamedPlace::look).collect();
    let of_system = match named.is_empty() {
        true => rustls_native_certs::load_native_certs().certs,
        false => Vec::new(),
    };
    let found = choose(of_system, named)?;
    let total = found.store.len();
    match &found.whose {
        Whose::System => {
            tracing::info!(
                total,
                "HubSpot is verified by the system's certificate authorities"
            );
        }
        Whose::Named(variables) => {
            tracing::info!(
                total,
                name = variables.join(", "),
                "HubSpot is verified by certificate authorities of the environment"
            );
        }
        Whose::Bundled => {
            tracing::warn!(
                total,
                code = "no-authorities",
                hint = "apt-get install ca-certificates, or name a bundle in SSL_CERT_FILE",
                "this machine has no certificate authorities; HubSpot is verified by those that came with hubsyncd"
            );
        }
    }
    Ok(found)
}

fn choose(
    of_system: Vec<CertificateDer<'static>>,
    named: Vec<NamedPlace>,
) -> Result<Authorities, NoAuthorities> {
    let mut store = RootCertStore::empty();
    // What is no certificate, or has a form that nobody reads any more, is left out.
    store.add_parsable_certificates(of_system);
    let mut holding = Vec::new();
    let mut empty = None;
    for NamedPlace {
        variable,
        place,
        found,
    } in named
    {
        match store.add_parsable_certificates(found) {
            (0, _) => empty = empty.or(Some(NoAuthorities { variable, place })),
            (_, _) => holding.push(variable),
        }
    }
    let whose = match (store.is_empty(), empty) {
        (false, _) if holding.is_empty() => Whose::System,
        (false, _) => Whose::Named(holding),
        // Whoever names authorities wants those and no others.
        (true, Some(empty)) => return Err(empty),
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
        let bundled = choose(Vec::new(), Vec::new()).expect("bundled");
        assert_eq!(bundled.whose, Whose::Bundled);
        assert!(bundled.store.len() > 50, "{}", bundled.store.len());
        let broken = vec![CertificateDer::from(vec![1, 2, 3])];
        let whose = choose(broken, Vec::new()).map(|found| found.whose);
        assert_eq!(whose, Ok(Whose::Bundled));
    }

    #[test]
    fn what_the_environment_names_is_taken_alone_or_refused_with_its_name() {
        let named = |variable, found| NamedPlace {
            variable,
            place: "/etc/own.pem".to_owned(),
            found,
        };
        let file = |found| named("SSL_CERT_FILE", found);
        let own = choose(Vec::new(), vec![file(vec![certificate()])]).expect("named");
        assert_eq!(
            (own.whose, own.store.len()),
            (Whose::Named(vec!["SSL_CERT_FILE"]), 1)
        );
        let system = choose(vec![certificate()], Vec::new()).map(|found| found.whose);
        assert_eq!(system, Ok(Whose::System));
        // Of two places the one that holds them is named.
        let folder = named("SSL_CERT_DIR", vec![certificate()]);
        let whose = choose(Vec::new(), vec![file(Vec::new()), folder]).map(|found| found.whose);
        assert_eq!(whose, Ok(Whose::Named(vec!["SSL_CERT_DIR"])));
        let refused = choose(Vec::new(), vec![file(Vec::new())]).map(|found| found.whose);
        let explanation = refused.expect_err("none").to_string();
        assert_eq!(
            explanation,
            "this machine has no certificate authorities, so HubSpot can't be verified: `SSL_CERT_FILE` names `/etc/own.pem`, which holds none"
        );
    }
}
