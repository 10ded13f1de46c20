//! The services, as they are set up for a run.

use std::path::{Path, PathBuf};

use auth::{AuthConfig, InternalKey};
use bus::Bus;
use chassis::{App, Context};
use commerce::{Amount, Currency, PlaceId, ProductId};
use service::{Deps, Service, Settings as _};

/// The hosts that may crash, in the order in which they take their turns.
pub const HOSTS: [&str; 6] =
    [order::NAME, stock::NAME, payment::NAME, product::NAME, customer::NAME, notification::NAME];
/// Products in the catalogue.
pub const PRODUCTS: u64 = 12;
/// Customers.
pub const CUSTOMERS: u64 = 40;
/// The customers whose cards are declined.
pub const DECLINED: [&str; 2] = ["customer-3", "customer-7"];
/// The stores that sell, besides the logistics centre.
pub const STORES: [&str; 2] = ["store-1", "store-2"];

/// The service that a URL's host names, and whether it is its gRPC port.
pub fn host_of(name: &str) -> (&'static str, bool) {
    let (service, grpc) = name.strip_suffix("-grpc").map_or((name, false), |service| (service, true));
    (HOSTS.into_iter().find(|host| *host == service).unwrap_or("nobody"), grpc)
}

/// Where the stores are, and what all services have in common.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The folder of all stores.
    pub folder: PathBuf,
    /// The key of the fleet.
    pub key: InternalKey,
    /// How much there is of each product at each place.
    pub pieces: i64,
    /// What determines the settings that differ from run to run.
    pub seed: u64,
}

impl Setup {
    /// The file of a service's store.
    pub fn store(&self, service: &str) -> PathBuf {
        self.folder.join(format!("{service}.db"))
    }

    fn config<S: Service>(&self) -> S::Config {
        let mut config = S::Config::default();
        let common = config.common();
        common.database_url = in_step("sqlite", &self.store(S::NAME));
        common.bus_url = self.bus_url();
        common.auth = AuthConfig { internal_key: self.key.to_secret(), ..AuthConfig::default() };
        config
    }

    fn bus_url(&self) -> String {
        in_step("embedded", &self.store("bus"))
    }

    /// Fills the stores of products and stock.
    pub async fn seed(&self) -> anyhow::Result<()> {
        let products: Vec<product::SeedProduct> = (0..PRODUCTS)
            .map(|n| product::SeedProduct {
                id: ProductId::trusted(format!("product-{n}")),
                name: format!("Product {n}"),
                description: None,
                category: None,
                price: Amount::from_minor(199 + 350 * n.cast_signed()),
                currency: Currency::EUR,
            })
            .collect();
        product::seed(&self.config::<product::Product>(), &products).await?;
        let place = |id: &str| stock::SeedPlace {
            id: PlaceId::trusted(id.to_owned()),
            name: id.to_owned(),
            kind: "store",
            city: None,
        };
        let places = STORES.map(place);
        let level = |place: &'static str| {
            (0..PRODUCTS).map(move |n| stock::SeedLevel {
                product_id: ProductId::trusted(format!("product-{n}")),
                place_id: PlaceId::trusted(place.to_owned()),
                quantity: self.pieces,
                threshold: None,
            })
        };
        let levels: Vec<stock::SeedLevel> = STORES.into_iter().chain(["logistics"]).flat_map(level).collect();
        stock::seed(&self.config::<stock::Stock>(), &places, &levels).await?;
        Ok(())
    }

    /// Builds a service, as its process does when it starts.
    pub async fn build(self, name: &'static str, ctx: Context) -> anyhow::Result<App> {
        let bus = Bus::open(&self.bus_url(), &ctx).await?;
        let deps = Deps { ctx, bus };
        match name {
            order::NAME => Box::pin(order::Order::build(self.order(), deps)).await,
            stock::NAME => {
                let config = stock::Config {
                    order_url: "http://order".into(),
                    product_url: "http://product".into(),
                    // Either the check for expired reservations has much to do, or it may not be what makes a run end well.
                    reservation_seconds: if self.seed % 2 == 1 { 20 } else { 7_200 },
                    ..self.config::<stock::Stock>()
                };
                Box::pin(stock::Stock::build(config, deps)).await
            }
            payment::NAME => Box::pin(payment::Payment::build(self.payment()?, deps)).await,
            product::NAME => Box::pin(product::Product::build(self.config::<product::Product>(), deps)).await,
            customer::NAME => {
                let config = customer::Config {
                    order_url: "http://order".into(),
                    stock_url: "http://stock".into(),
                    ..self.config::<customer::Customer>()
                };
                Box::pin(customer::Customer::build(config, deps)).await
            }
            _ => {
                let config = self.config::<notification::Notification>();
                Box::pin(notification::Notification::build(config, deps)).await
            }
        }
    }

    fn order(&self) -> order::Config {
        order::Config {
            customer_url: "http://customer".into(),
            product_url: "http://product".into(),
            stock_url: "http://stock".into(),
            stock_grpc_url: "http://stock-grpc".into(),
            payment_grpc_url: "http://payment-grpc".into(),
            patience_seconds: 40,
            sole_replica: self.seed.is_multiple_of(3),
            ..self.config::<order::Order>()
        }
    }

    fn payment(&self) -> anyhow::Result<payment::Config> {
        Ok(payment::Config {
            order_url: "http://order".into(),
            sandbox_decline: DECLINED.map(str::to_owned).to_vec(),
            sandbox_limit: Some(payment::Money("100".parse()?)),
            sandbox_latency_ms: 15,
            sandbox_failure_rate: 0.15,
            sandbox_lost_answer_rate: 0.15,
            ..self.config::<payment::Payment>()
        })
    }
}

fn in_step(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}?in_step", path.display())
}
