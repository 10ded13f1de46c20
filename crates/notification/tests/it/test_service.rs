//! A running notification service with tokens of an admin, a clerk and a service.

use std::net::{IpAddr, Ipv4Addr};

use auth::Role;
use notification::{Config, Notification};
use reqwest::{Client, Response};
use serde_json::Value;

pub(crate) struct TestService {
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) admin: String,
    pub(crate) clerk: String,
    pub(crate) service: String,
    /// Calls from this machine, as a sidecar does.
    pub(crate) near: Client,
    /// Calls from another address, as all others do.
    pub(crate) far: Client,
    _running: testkit::TestService<Notification>,
}

impl TestService {
    pub(crate) async fn start() -> Self {
        let running = testkit::TestService::<Notification>::start(|_| {}).await.unwrap();
        let far = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
        Self {
            url: running.url.clone(),
            config: running.config.clone(),
            admin: running.identity.of_role(Role::Admin).unwrap(),
            clerk: running.identity.of_role(Role::Clerk).unwrap(),
            service: running.identity.of_service("gateway").unwrap(),
            near: Client::new(),
            far: Client::builder().local_address(far).build().unwrap(),
            _running: running,
        }
    }

    /// Sends JSON to `/orders` as the sidecar.
    pub(crate) async fn report(&self, body: &Value) -> Response {
        self.near.post(format!("{}/orders", self.url)).json(body).send().await.unwrap()
    }

    /// All notifications, oldest first.
    pub(crate) async fn notices(&self) -> Vec<Value> {
        let url = format!("{}/api/notifications?limit=100", self.url);
        let answer = self.near.get(url).bearer_auth(&self.admin).send().await.unwrap();
        let mut body: Value = answer.json().await.unwrap();
        let mut data: Vec<Value> = serde_json::from_value(body["data"].take()).unwrap();
        data.reverse();
        data
    }
}
