//! Who may bring messages by HTTP: the process's own Dapr sidecar.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap},
};

/// The header by which the sidecar shows that it is ours, and we to it.
pub(crate) const TOKEN: &str = "dapr-api-token";

/// The sidecar of this process, as a caller. Cheap to clone.
#[derive(Clone)]
pub struct Sidecar {
    /// What it shows to us. Without one, only this machine may deliver.
    app_token: Option<String>,
}

impl std::fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sidecar").field("has_token", &self.app_token.is_some()).finish()
    }
}

impl Sidecar {
    /// That of this process: `APP_API_TOKEN` says by what it is known.
    pub fn of_process() -> Self {
        Self { app_token: chassis::config::var("APP_API_TOKEN") }
    }

    /// Whether it is the sidecar that asks. A page in a browser on this machine could send plain text, but no JSON, without
    /// being asked for leave, so demand JSON too.
    pub fn asks(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        match &self.app_token {
            Some(token) => headers.get(TOKEN).is_some_and(|given| same(given.as_bytes(), token.as_bytes())),
            None => extensions
                .get::<ConnectInfo<SocketAddr>>()
                .is_some_and(|ConnectInfo(peer)| is_this_machine(peer.ip().to_canonical())),
        }
    }
}

/// Not all of 127.0.0.0/8: a proxy of a service mesh hands on what comes from afar from an address in there.
fn is_this_machine(peer: IpAddr) -> bool {
    peer == Ipv4Addr::LOCALHOST || peer == Ipv6Addr::LOCALHOST
}

/// Compares in a time that does not tell where the difference is.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len() && given.iter().zip(wanted).fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: Option<&str>) -> Extensions {
        let mut extensions = Extensions::new();
        if let Some(peer) = peer {
            extensions.insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
        }
        extensions
    }

    #[test]
    fn only_the_sidecar_may_deliver() {
        let (near, far) = (from(Some("[::ffff:127.0.0.1]:9")), from(Some("10.0.0.1:9")));
        let (mut right, mut wrong) = (HeaderMap::new(), HeaderMap::new());
        right.insert(TOKEN, "secret".parse().unwrap());
        wrong.insert(TOKEN, "secreT".parse().unwrap());
        let open = Sidecar { app_token: None };
        assert!(open.asks(&HeaderMap::new(), &near) && open.asks(&HeaderMap::new(), &from(Some("[::1]:9"))));
        assert!(!open.asks(&right, &far) && !open.asks(&right, &from(None)));
        assert!(!open.asks(&right, &from(Some("127.0.0.6:9"))), "the proxy of a mesh");
        let locked = Sidecar { app_token: Some("secret".into()) };
        assert!(locked.asks(&right, &far));
        assert!(!locked.asks(&wrong, &near) && !locked.asks(&HeaderMap::new(), &near));
        assert!(!format!("{locked:?}").contains("secret"));
    }
}
