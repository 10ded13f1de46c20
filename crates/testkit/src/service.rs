//! A service under test: on a store and bus of its own, on a free port, with an issuer of tokens made for it.

use std::net::SocketAddr;

use auth::{AuthConfig, InternalKey, Issuer, NewToken, Role};
use axum::{Json, Router, routing::get};
use bus::Bus;
use chassis::{Context, CrashPoints, Listeners};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use service::{Deps, Service, Settings as _};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// An issuer of users' tokens with its JWKS server, and the fleet's internal key.
#[derive(Debug)]
pub struct Identity {
    issuer: Issuer,
    /// The internal key.
    pub key: InternalKey,
    jwks_url: String,
}

impl Identity {
    const ISSUER: &'static str = "http://issuer.test";

    /// A new issuer, whose keys are served on a free port until the test ends.
    pub async fn start() -> anyhow::Result<Self> {
        let issuer = Issuer::generate(Self::ISSUER)?;
        let jwks = json!({"keys": [issuer.jwk()]});
        let routes = Router::new()
            .route("/.well-known/jwks.json", get(move || async move { Json(jwks) }))
            .route("/.well-known/revoked", get(|| async { Json(json!({"revoked": []})) }));
        let jwks_url = format!("{}/.well-known/jwks.json", serve_routes(routes).await?);
        Ok(Self { issuer, key: InternalKey::generate()?, jwks_url })
    }

    /// The settings of a service that accepts these tokens.
    pub fn auth(&self) -> AuthConfig {
        AuthConfig {
            issuer: Self::ISSUER.into(),
            jwks_url: self.jwks_url.clone(),
            internal_key: self.key.to_secret(),
            ..AuthConfig::default()
        }
    }

    /// A token of a user.
    pub fn token(&self, new: NewToken) -> anyhow::Result<String> {
        Ok(self.issuer.issue(new)?.token)
    }

    /// A token of the user `u-1` with one role and no stores.
    pub fn of_role(&self, role: Role) -> anyhow::Result<String> {
        let (subject, roles) = ("u-1".into(), vec![role]);
        self.token(NewToken { subject, roles, stores: Vec::new(), customer_id: None, ttl_seconds: 600 })
    }

    /// A token of a user with one role, for stores or for a customer.
    pub fn of_user(&self, role: Role, stores: &[&str], customer_id: Option<&str>) -> anyhow::Result<String> {
        self.token(NewToken {
            subject: customer_id.map_or_else(|| format!("{role:?}"), |id| format!("user of {id}")),
            roles: vec![role],
            stores: stores.iter().map(|store| (*store).to_owned()).collect(),
            customer_id: customer_id.map(Into::into),
            ttl_seconds: 600,
        })
    }

    /// An internal token of the service `name`.
    pub fn of_service(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.key.clone().for_service(name).mint(name)?)
    }
}

/// Serves routes on a free port until the test ends; returns their URL.
pub async fn serve_routes(routes: Router) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

/// A message of a gRPC call with a token.
pub fn with_token<T>(message: T, token: &str) -> anyhow::Result<tonic::Request<T>> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

/// A running service. It stops when this is dropped.
pub struct TestService<S: Service> {
    /// Its REST API.
    pub url: String,
    /// Its gRPC API, if it has one.
    pub grpc: SocketAddr,
    /// Its settings.
    pub config: S::Config,
    /// Its process context.
    pub ctx: Context,
    /// Its bus.
    pub bus: Bus,
    /// Whose tokens it accepts.
    pub identity: Identity,
    client: Client,
    folder: TempDir,
    served: JoinHandle<()>,
    _stop: DropGuard,
}

impl<S: Service> std::fmt::Debug for TestService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestService").field("name", &S::NAME).field("url", &self.url).finish_non_exhaustive()
    }
}

impl<S: Service<Config: Clone>> TestService<S> {
    /// Starts it on a fresh store of the kind that this run is about, after `change` of its settings.
    pub async fn start(change: impl FnOnce(&mut S::Config)) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let identity = Identity::start().await?;
        let mut config = S::Config::default();
        let common = config.common();
        common.database_url = crate::url(&folder, S::NAME).await?;
        common.bus_url = format!("embedded:{}", folder.path().join("bus.db").display());
        common.auth = identity.auth();
        change(&mut config);
        Self::serve(folder, identity, config).await
    }

    /// Stops it and starts it again on the same store, after `change` of its settings.
    pub async fn restart(self, change: impl FnOnce(&mut S::Config)) -> anyhow::Result<Self> {
        let Self { ctx, identity, mut config, folder, served, .. } = self;
        ctx.shutdown.cancel();
        served.await?;
        change(&mut config);
        Self::serve(folder, identity, config).await
    }

    async fn serve(folder: TempDir, identity: Identity, config: S::Config) -> anyhow::Result<Self> {
        let ctx = Context::new(S::NAME, "test", CancellationToken::new(), CrashPoints::none());
        let mut own = config.clone();
        let bus = Bus::open(&own.common().bus_url, &ctx).await?;
        let (http, grpc, served) = Self::serve_replica(own, &ctx, &bus).await?;
        let (url, client) = (format!("http://{http}"), Client::new());
        let _stop = ctx.shutdown.clone().drop_guard();
        Ok(Self { url, grpc, config, ctx, bus, identity, client, folder, served, _stop })
    }

    async fn serve_replica(
        config: S::Config,
        ctx: &Context,
        bus: &Bus,
    ) -> anyhow::Result<(SocketAddr, SocketAddr, JoinHandle<()>)> {
        let app = S::build(config, Deps { ctx: ctx.clone(), bus: bus.clone() }).await?;
        let (http, grpc) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let addresses = (http.local_addr()?, grpc.local_addr()?);
        let ctx = ctx.clone();
        let served = tokio::spawn(async move {
            let outcome = chassis::serve(app, &ctx, Listeners { http, grpc: Some(grpc) }).await;
            assert!(outcome.is_ok(), "{} does not stop cleanly: {outcome:?}", S::NAME);
        });
        Ok((addresses.0, addresses.1, served))
    }

    /// Starts another replica with the same settings on the same store; returns the URL of its REST API.
    pub async fn add_replica(&self, instance: &str) -> anyhow::Result<String> {
        let ctx = Context::new(S::NAME, instance, self.ctx.shutdown.clone(), CrashPoints::none());
        let (http, ..) = Self::serve_replica(self.config.clone(), &ctx, &self.bus).await?;
        Ok(format!("http://{http}"))
    }
}

impl<S: Service> TestService<S> {
    /// A request to its REST API, with a token unless that is empty.
    pub fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    /// Calls the REST API of a replica with an Idempotency-Key, unless that is empty; returns status and body.
    pub async fn call_at(
        &self,
        url: &str,
        (method, path, token): (&str, &str, &str),
        key: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let mut request = self.client.request(method.parse()?, format!("{url}{path}"));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.json().await.unwrap_or_default()))
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.request(Method::GET, "/metrics", "").send().await?.text().await?)
    }

    /// The folder of its embedded stores.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}
