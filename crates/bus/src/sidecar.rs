//! Authenticates the process's own Dapr sidecar, the only caller that may deliver messages by HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap},
};

/// The header with the token by which sidecar and process authenticate to each other.
pub(crate) const TOKEN: &str = "dapr-api-token";

/// The sidecar of this process, as a caller. Cheap to clone.
#[derive(Clone)]
pub struct Sidecar {
    /// The sidecar's token. Without one, only callers on this machine may deliver.
    app_token: Option<String>,
}

impl std::fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sidecar").field("has_token", &self.app_token.is_some()).finish()
    }
}

impl Sidecar {
    /// The sidecar of this process, with the token in `APP_API_TOKEN`.
    pub fn of_process() -> Self {
        Self { app_token: chassis::config::var("APP_API_TOKEN") }
    }

    /// Whether the request comes from the sidecar. Callers must require JSON too: a web page in a browser on this machine
    /// could send plain text without a CORS preflight.
    pub fn is_caller(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        match &self.app_token {
            Some(token) => headers.get(TOKEN).is_some_and(|given| constant_time_eq(given.as_bytes(), token.as_bytes())),
            None => extensions
                .get::<ConnectInfo<SocketAddr>>()
                .is_some_and(|ConnectInfo(peer)| is_this_machine(peer.ip().to_canonical())),
        }
    }
}

/// Not all of 127.0.0.0/8: the proxy of a service mesh forwards remote requests from an address in that range.
fn is_this_machine(peer: IpAddr) -> bool {
    peer == Ipv4Addr::LOCALHOST || peer == Ipv6Addr::LOCALHOST
}

/// Compares in a time that does not depend on where the difference is.
fn constant_time_eq(given: &[u8], expected: &[u8]) -> bool {
    given.len() == expected.len() && given.iter().zip(expected).fold(0, |found, (a, b)| found | (a ^ b)) == 0
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
        assert!(open.is_caller(&HeaderMap::new(), &near) && open.is_caller(&HeaderMap::new(), &from(Some("[::1]:9"))));
        assert!(!open.is_caller(&right, &far) && !open.is_caller(&right, &from(None)));
        assert!(!open.is_caller(&right, &from(Some("127.0.0.6:9"))), "the proxy of a mesh");
        let locked = Sidecar { app_token: Some("secret".into()) };
        assert!(locked.is_caller(&right, &far));
        assert!(!locked.is_caller(&wrong, &near) && !locked.is_caller(&HeaderMap::new(), &near));
        assert!(!format!("{locked:?}").contains("secret"));
    }
}
