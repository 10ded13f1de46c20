//! Dialects: the APIs of older fleets, as thin translations to the public API. They have no business rules.
//!
//! An open dialect listens on the ports of its fleet. In addition, `/compat/<name>/<port>/…` of the gateway leads to every dialect: to
//! an open one without restrictions, to the others for admins only, since most dialects have no authentication.

mod api_client;
mod crm;
mod event_prospect;
mod lists;
mod model;
mod money;
mod ms_client;
mod multi_magasins;
mod orders;
mod quartet;
mod routes;
mod values;

use std::collections::BTreeMap;

use auth::{AdminOnly, Allow};
use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use chassis::{Context, config::ConfigError};
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tower_http::normalize_path::NormalizePath;

use crate::{config::Config, state::Gateway};
use api_client::ApiClient;

/// The API of an older fleet.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in settings and paths.
    pub name: &'static str,
    /// The ports of the fleet.
    pub ports: &'static [Port],
    /// The routes of each port.
    routes: fn(&ApiClient, u16) -> Router,
    /// Starts the translation of events, if the dialect has one.
    start_consumer: Option<StartConsumer>,
}

/// Starts a consumer of events that runs until the process stops.
type StartConsumer = for<'a> fn(&'a ApiClient, &'a Context) -> BoxFuture<'a, anyhow::Result<()>>;

/// A port of a dialect.
#[derive(Debug)]
pub struct Port {
    /// The port number.
    pub number: u16,
    /// The service of the older fleet.
    pub what: &'static str,
    /// Whether the dialect works without this port if another program uses it.
    pub optional: bool,
}

impl Port {
    /// Whether the dialect works without this port after this result of opening it: the port is optional and in use, or requires
    /// root, such as 80.
    pub fn is_spared(&self, opened: &std::io::Result<TcpListener>) -> bool {
        let kind = opened.as_ref().err().map(std::io::Error::kind);
        let spared = (self.number < 1024 && kind == Some(std::io::ErrorKind::PermissionDenied))
            || (self.optional && kind == Some(std::io::ErrorKind::AddrInUse));
        if spared {
            tracing::warn!(port = self.number, what = self.what, "this port of a dialect stays closed");
        }
        spared
    }
}

/// Added to the port of a service whose own port a dialect uses.
pub const PORT_OFFSET: u16 = 10_000;

impl Dialect {
    /// All dialects.
    pub const ALL: &'static [Self] =
        &[crm::DIALECT, quartet::DIALECT, ms_client::DIALECT, multi_magasins::DIALECT, event_prospect::DIALECT];

    /// The dialects with these names. Refuses an unknown name, and two dialects with the same port.
    pub fn choose(names: &[String]) -> Result<Vec<&'static Self>, ConfigError> {
        let mut chosen: Vec<&Self> = Vec::new();
        for name in names {
            let Some(dialect) = Self::ALL.iter().find(|dialect| dialect.name == name) else {
                let known: Vec<&str> = Self::ALL.iter().map(|dialect| dialect.name).collect();
                return Err(ConfigError::new(format!("dialects: `{name}` is none of {}", known.join(", "))));
            };
            if chosen.iter().any(|other| other.name == dialect.name) {
                continue;
            }
            for port in dialect.ports {
                if let Some(other) =
                    chosen.iter().find(|other| other.ports.iter().any(|theirs| theirs.number == port.number))
                {
                    return Err(ConfigError::new(format!(
                        "the dialects {} and {} both use port {}; open one of them, and reach the other by \
                         /compat/{}/{}/ on the gateway",
                        other.name, dialect.name, port.number, dialect.name, port.number
                    )));
                }
            }
            chosen.push(dialect);
        }
        Ok(chosen)
    }

    /// The routes of a port, with and without a slash at the end of the path.
    fn router(&self, client: &ApiClient, port: u16) -> Router {
        let routes = (self.routes)(client, port);
        routes.clone().fallback_service(NormalizePath::trim_trailing_slash(routes))
    }
}

/// Opens the ports of the dialects in the settings.
pub(crate) async fn listen(config: &Config) -> anyhow::Result<BTreeMap<u16, TcpListener>> {
    let mut listeners = BTreeMap::new();
    for dialect in Dialect::choose(&config.dialects)? {
        for port in dialect.ports {
            let Port { number, what, .. } = port;
            let opened = TcpListener::bind((config.bind, *number)).await;
            if port.is_spared(&opened) {
                continue;
            }
            let listener = opened.map_err(|err| {
                ConfigError::new(format!(
                    "port {number} of the dialect {} ({what}) cannot be opened: {err}; stop what listens there, or leave \
                     the dialect out of SOUK_DIALECTS and use /compat/{}/{number}/ on the gateway",
                    dialect.name, dialect.name
                ))
            })?;
            listeners.insert(*number, listener);
        }
    }
    Ok(listeners)
}

/// Serves the open dialects on their ports, and returns the routes under `/compat`.
pub(crate) async fn open(
    gateway: &Gateway,
    api: &Router,
    ctx: &Context,
    mut listeners: BTreeMap<u16, TcpListener>,
) -> anyhow::Result<Router> {
    let chosen = Dialect::choose(&gateway.config.dialects)?;
    let mut compat = Router::new();
    for dialect in Dialect::ALL {
        let is_open = chosen.iter().any(|open| open.name == dialect.name);
        let client = ApiClient::new(dialect.name, gateway.clone(), api.clone(), ctx);
        for Port { number: port, .. } in dialect.ports {
            let routes = dialect.router(&client, *port);
            let path = format!("/compat/{}/{port}", dialect.name);
            if is_open {
                if let Some(listener) = listeners.remove(port) {
                    let served = chassis::serve_port(ctx, listener, routes.clone());
                    ctx.spawn("port", async move {
                        if let Err(error) = served.await {
                            tracing::error!(%error, "a dialect's port is no longer served");
                        }
                    });
                }
                compat = compat.nest_service(&path, routes);
            } else {
                let guard = middleware::from_fn_with_state(gateway.clone(), require_admin);
                compat = compat.nest_service(&path, routes.layer(guard));
            }
        }
        if let (true, Some(start_consumer)) = (is_open, dialect.start_consumer) {
            start_consumer(&client, ctx).await?;
        }
    }
    Ok(compat)
}

/// Refuses everybody but admins, for dialects that are not open.
async fn require_admin(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match Allow::<AdminOnly>::from_request_parts(&mut parts, &gateway).await {
        Ok(_) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_that_is_none_is_named_with_those_that_there_are() {
        let error = Dialect::choose(&["cobol".into()]).expect_err("no such dialect").to_string();
        assert!(error.contains("cobol") && error.contains("crm"), "{error}");
    }

    #[test]
    fn a_dialect_named_twice_is_opened_once() {
        let chosen = Dialect::choose(&["crm".into(), "crm".into()]).expect("one dialect");
        assert_eq!(chosen.len(), 1);
    }
}
