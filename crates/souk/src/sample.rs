//! Sample data of a first start: a small catalogue and three users. Places and stock are the stock service's own.

use std::collections::BTreeMap;

use auth::Role;
use commerce::{Amount, Currency, ProductId};
use customer::SeedUser;
use product::SeedProduct;

use crate::{data, out::say};

/// The name of this sample set.
pub const NAME: &str = "souk";

/// A catalogue and users; the passwords are made anew and told once.
#[derive(Debug)]
pub struct Sample {
    /// The catalogue.
    pub products: Vec<SeedProduct>,
    /// An admin, a store manager and a customer.
    pub users: Vec<SeedUser>,
}

/// SKU, name, description, category, price in cents. 1 to 4 are those of the dialect `quartet`.
const CATALOGUE: &[(&str, &str, &str, &str, i64)] = &[
    ("1", "Smartphone", "Dernier modèle de smartphone haut de gamme", "electronics", 89_999),
    ("2", "Ordinateur portable", "Ordinateur portable pour professionnels", "electronics", 129_999),
    ("3", "Tablette", "", "electronics", 49_999),
    ("4", "Écouteurs sans fil", "", "electronics", 14_999),
    ("TEA-ASSAM-250", "Assam tea, 250 g", "Second flush, strong and malty", "pantry", 890),
    ("TEA-SENCHA-100", "Sencha tea, 100 g", "First harvest from Uji", "pantry", 1_250),
    ("COFFEE-YIRGA-500", "Yirgacheffe coffee, 500 g", "Whole beans, light roast", "pantry", 1_695),
    ("OLIVE-OIL-1L", "Olive oil, 1 l", "Cold pressed, from Crete", "pantry", 1_490),
    ("HONEY-LINDEN-500", "Linden honey, 500 g", "From one village", "pantry", 940),
    ("SAFFRON-1G", "Saffron threads, 1 g", "Grade I", "pantry", 795),
    ("MUG-BLUE", "Mug, blue glaze", "Hand thrown, 300 ml", "kitchen", 1_800),
    ("BOWL-OAK-L", "Oak bowl, large", "Turned from one piece", "kitchen", 5_400),
    ("KNIFE-CHEF-20", "Chef's knife, 20 cm", "Carbon steel, walnut handle", "kitchen", 11_900),
    ("PAN-IRON-28", "Iron pan, 28 cm", "Seasoned", "kitchen", 6_250),
    ("TOWEL-LINEN", "Linen towel", "Stone washed", "home", 1_650),
    ("BLANKET-WOOL", "Wool blanket", "140 by 200 cm", "home", 9_900),
    ("LAMP-BRASS", "Brass lamp", "Dimmable", "home", 14_500),
    ("CANDLE-BEES", "Beeswax candle", "Burns 60 hours", "home", 1_290),
    ("RUG-KILIM-M", "Kilim rug, medium", "120 by 180 cm", "home", 24_900),
    ("BASKET-WILLOW", "Willow basket", "With two handles", "home", 3_450),
    ("SOAP-ALEPPO", "Aleppo soap, 200 g", "Laurel and olive", "bath", 690),
    ("SPONGE-SEA", "Sea sponge", "Natural", "bath", 1_150),
    ("NOTEBOOK-A5", "Notebook, A5", "192 pages, dotted", "desk", 1_490),
    ("PEN-FOUNTAIN", "Fountain pen", "Medium nib", "desk", 4_900),
];

impl Sample {
    /// The sample set with new passwords.
    pub fn new() -> Self {
        let products = CATALOGUE
            .iter()
            .map(|(id, name, description, category, cents)| SeedProduct {
                id: ProductId::known((*id).to_owned()),
                name: (*name).to_owned(),
                description: Some((*description).to_owned()).filter(|text| !text.is_empty()),
                category: Some((*category).to_owned()),
                price: Amount::from_minor(*cents),
                currency: Currency::EUR,
            })
            .collect();
        let user = |username: &str, name: &str, role: Role, stores: &[&str]| SeedUser {
            username: username.to_owned(),
            email: format!("{username}@souk.example"),
            name: name.to_owned(),
            password: password(),
            roles: vec![role],
            stores: stores.iter().map(|store| (*store).to_owned()).collect(),
        };
        let store = stock::STORES.first().map_or("store-1", |(id, ..)| id);
        let users = vec![
            user("admin", "Head Office", Role::Admin, &[]),
            user("manager", "Store Manager", Role::Manager, &[store]),
            user("customer", "Sample Customer", Role::Customer, &[]),
        ];
        Self { products, users }
    }

    /// The catalogue's SKUs.
    pub fn product_ids(&self) -> Vec<ProductId> {
        self.products.iter().map(|product| product.id.clone()).collect()
    }
}

/// What `souk sample` takes.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// Data folder; its `stores.json` says where the stores are.
    #[arg(long, env = "SOUK_DATA", default_value = "souk-data")]
    data: std::path::PathBuf,
    /// Print the passwords that were made as JSON.
    #[arg(long)]
    json: bool,
}

/// Loads the sample data; repeated it changes nothing.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let folder = &command.data;
    let key = data::read_key(folder)?;
    let sample = Sample::new();
    let customers = customer::Config {
        database_url: data::store_url(folder, customer::NAME),
        internal_key: key.clone(),
        ..customer::Config::default()
    };
    let made = customer::seed(&customers, &sample.users).await?;
    let products =
        product::Config { database_url: data::store_url(folder, product::NAME), ..product::Config::default() };
    product::seed(&products, &sample.products).await?;
    let stocks = stock::Config { database_url: data::store_url(folder, stock::NAME), ..stock::Config::default() };
    stock::seed(&stocks, &sample.product_ids()).await?;
    let passwords: BTreeMap<&str, &str> = sample
        .users
        .iter()
        .zip(made)
        .filter(|(_, made)| *made)
        .map(|(user, _)| (user.username.as_str(), user.password.as_str()))
        .collect();
    if command.json {
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
