//! Sample data of a first start: a catalogue, places with goods, and users. A data folder holds one set.

mod sets;

use std::collections::BTreeMap;

use anyhow::Context;
use commerce::{Amount, Currency, PlaceId, ProductId};
use customer::SeedUser;
use payment::Money;
use product::SeedProduct;
use stock::{SeedLevel, SeedPlace};

use crate::{data, out::say};
use sets::Set;

/// The name of the default set.
pub const NAME: &str = "souk";
/// What stands for no sample data.
pub const NONE: &str = "none";

/// A set of sample data; passwords that it does not fix are random and printed once.
#[derive(Debug)]
pub struct Sample {
    /// The catalogue.
    pub products: Vec<SeedProduct>,
    /// Stores and logistics centre, in the order of their numbers.
    pub places: Vec<SeedPlace>,
    /// Goods in them.
    pub levels: Vec<SeedLevel>,
    /// An admin and others.
    pub users: Vec<SeedUser>,
}

/// The names that `--sample` takes.
pub fn names() -> Vec<&'static str> {
    Set::names().chain([NONE]).collect()
}

/// The limit of a charge that belongs to a set, as long as the folder lives.
pub fn sandbox_limit(name: &str) -> Option<Money> {
    Set::named(name).and_then(Set::sandbox_limit)
}

impl Sample {
    /// The set of that name with new passwords.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let set = Set::named(name).with_context(|| format!("`{name}` is not one of {}", names().join(", ")))?;
        let product = |(id, name, description, category, cents): &(&str, &str, &str, &str, i64)| SeedProduct {
            id: ProductId::trusted((*id).to_owned()),
            name: (*name).to_owned(),
            description: said(description),
            category: said(category),
            price: Amount::from_minor(*cents),
            currency: Currency::EUR,
        };
        let place = |(id, name, kind, city): &(&str, &str, &'static str, &str)| SeedPlace {
            id: PlaceId::trusted((*id).to_owned()),
            name: (*name).to_owned(),
            kind,
            city: said(city),
        };
        Ok(Self {
            products: set.products.iter().map(product).collect(),
            places: set.places.iter().map(place).collect(),
            levels: levels(set),
            users: set.users.iter().map(user).collect(),
        })
    }
}

fn said(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn levels(set: &Set) -> Vec<SeedLevel> {
    let of_place = |(place, pieces): &(&str, &[i64])| {
        let quantities = pieces.iter().copied().chain(pieces.last().copied().into_iter().cycle());
        let is_store = set.places.iter().any(|(id, _, kind, _)| id == place && *kind == "store");
        let level = |((id, ..), quantity): (&(&str, &str, &str, &str, i64), i64)| SeedLevel {
            product_id: ProductId::trusted((*id).to_owned()),
            place_id: PlaceId::trusted((*place).to_owned()),
            quantity,
            threshold: set.threshold.filter(|_| is_store),
        };
        set.products.iter().zip(quantities).map(level).collect::<Vec<_>>()
    };
    set.goods.iter().flat_map(of_place).collect()
}

fn user(user: &sets::User) -> SeedUser {
    SeedUser {
        username: user.username.to_owned(),
        email: format!("{}@souk.example", user.username),
        name: user.name.to_owned(),
        password: user.password.map_or_else(password, ToOwned::to_owned),
        roles: vec![user.role],
        stores: user.stores.iter().map(|store| (*store).to_owned()).collect(),
    }
}

/// What `souk sample` takes.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// Data folder; its `stores.json` contains the URLs of the stores.
    #[arg(long, env = "SOUK_DATA", default_value = "souk-data")]
    data: std::path::PathBuf,
    /// Name of the sample data: `souk`, or that of a dialect.
    #[arg(long, default_value = NAME, env = "SOUK_SAMPLE", value_parser = clap::builder::PossibleValuesParser::new(Set::names()))]
    sample: String,
    /// Print the created passwords as JSON.
    #[arg(long)]
    json: bool,
}

/// Loads the sample data; idempotent.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let folder = &command.data;
    let sample = Sample::named(&command.sample)?;
    let mut customers = data::config::<customer::Customer>(folder);
    customers.common.auth.internal_key = data::read_key(folder)?;
    let made = customer::seed(&customers, &sample.users).await?;
    // Before anything else can fail: the users exist now, and a repeated run would not have their passwords.
    tell(&sample.users, &made, command.json)?;
    product::seed(&data::config::<product::Product>(folder), &sample.products).await?;
    stock::seed(&data::config::<stock::Stock>(folder), &sample.places, &sample.levels).await?;
    Ok(())
}

/// Prints the passwords of the users that were created.
fn tell(users: &[SeedUser], made: &[bool], json: bool) -> anyhow::Result<()> {
    let passwords: BTreeMap<&str, &str> = users
        .iter()
        .zip(made)
        .filter(|(_, made)| **made)
        .map(|(user, _)| (user.username.as_str(), user.password.as_str()))
        .collect();
    if json {
        say!("{}", serde_json::json!({"passwords": passwords}));
    } else {
        for (user, password) in passwords {
            say!("{user}  {password}");
        }
    }
    Ok(())
}

/// A password of 80 random bits, easy to copy.
fn password() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let part = |range: std::ops::Range<usize>| random.get(range).unwrap_or_default().to_owned();
    [part(0..4), part(4..8), part(8..12), part(16..20), part(20..24)].join("-")
}
