//! The sets of sample data by name: `souk`, and one for each dialect.

use commerce::Amount;
use payment::Money;

/// A set before it has passwords.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) products: &'static [Product],
    pub(super) places: &'static [Place],
    /// Pieces of each product in each place, in the order of `products`; one number is meant for all of them.
    pub(super) goods: &'static [(&'static str, &'static [i64])],
    /// The threshold of every level in a store.
    pub(super) threshold: Option<i64>,
    pub(super) users: &'static [User],
    /// The sandbox refuses a charge above this, in cents.
    sandbox_limit: Option<i64>,
}

/// SKU, name, description, category, price in cents.
type Product = (&'static str, &'static str, &'static str, &'static str, i64);
/// Id, name, kind, city.
type Place = (&'static str, &'static str, &'static str, &'static str);

/// A user; one without a fixed password gets a random one.
pub(super) struct User {
    pub(super) username: &'static str,
    pub(super) name: &'static str,
    pub(super) role: auth::Role,
    pub(super) stores: &'static [&'static str],
    pub(super) password: Option<&'static str>,
}

impl Set {
    /// The set of that name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SETS.iter().find(|set| set.name == name)
    }

    /// The names of all sets.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        SETS.iter().map(|set| set.name)
    }

    pub(super) fn sandbox_limit(&self) -> Option<Money> {
        self.sandbox_limit.map(|cents| Money(Amount::from_minor(cents)))
    }
}

const ADMIN: User =
    User { username: "admin", name: "Head Office", role: auth::Role::Admin, stores: &[], password: None };

const HOUSE: Set = Set {
    name: "souk",
    products: CATALOGUE,
    places: STORES,
    goods: GOODS,
    threshold: None,
    users: USERS,
    sandbox_limit: None,
};

const SETS: &[Set] = &[
    HOUSE,
    // Clients of this dialect expect no goods of their own.
    Set { name: "crm", ..HOUSE },
    Set {
        name: "quartet",
        products: QUARTET,
        places: &[],
        goods: &[("logistics", &[1_000])],
        threshold: None,
        users: &[ADMIN],
        sandbox_limit: None,
    },
    Set {
        name: "ms-client",
        products: MS_CLIENT,
        places: &[],
        goods: &[("logistics", &[10, 25, 50])],
        threshold: None,
        users: &[
            User { password: Some("password"), ..ADMIN },
            User {
                username: "user1",
                name: "User One",
                role: auth::Role::Clerk,
                stores: &[],
                password: Some("userpass"),
            },
        ],
        sandbox_limit: None,
    },
    Set {
        name: "multi-magasins",
        products: MULTI_MAGASINS,
        // In this order, since clients know stores by their numbers.
        places: &[
            ("magasin-1", "Plateau", "store", "Montréal"),
            ("magasin-2", "Rosemont", "store", "Montréal"),
            ("magasin-3", "Vieux-Port", "store", "Montréal"),
            ("magasin-4", "Verdun", "store", "Montréal"),
            ("magasin-5", "Saint-Laurent", "store", "Montréal"),
            ("logistics", "Centre logistique", "logistics", "Montréal"),
            ("en-ligne", "Boutique en ligne", "store", "Montréal"),
        ],
        goods: &[
            ("magasin-1", &[50]),
            ("magasin-2", &[50]),
            ("magasin-3", &[50]),
            ("magasin-4", &[50]),
            ("magasin-5", &[50]),
            ("logistics", &[100]),
            ("en-ligne", &[10, 5, 20, 50]),
        ],
        threshold: Some(20),
        users: &[ADMIN],
        sandbox_limit: Some(50_000),
    },
    Set {
        name: "event-prospect",
        products: &[],
        places: &[],
        goods: &[],
        threshold: None,
        users: &[
            ADMIN,
            User {
                username: "user",
                name: "Event Manager",
                role: auth::Role::Clerk,
                stores: &[],
                password: Some("password"),
            },
        ],
        sandbox_limit: None,
    },
];

const USERS: &[User] = &[
    ADMIN,
    User {
        username: "manager",
        name: "Store Manager",
        role: auth::Role::Manager,
        stores: &["store-1"],
        password: None,
    },
    User { username: "customer", name: "Sample Customer", role: auth::Role::Customer, stores: &[], password: None },
];

const STORES: &[Place] = &[
    ("logistics", "Logistics centre", "logistics", ""),
    ("store-1", "Souk Hafenstraße", "store", "Hamburg"),
    ("store-2", "Souk Alter Markt", "store", "Köln"),
    ("store-3", "Souk Viktualien", "store", "München"),
    ("store-4", "Souk Naschmarkt", "store", "Wien"),
    ("store-5", "Souk Canal", "store", "Amsterdam"),
];
const GOODS: &[(&str, &[i64])] = &[
    ("logistics", &[1_000]),
    ("store-1", &[40]),
    ("store-2", &[40]),
    ("store-3", &[40]),
    ("store-4", &[40]),
    ("store-5", &[40]),
];

const QUARTET: &[Product] = &[
    ("1", "Smartphone", "Dernier modèle de smartphone haut de gamme", "", 89_999),
    ("2", "Ordinateur portable", "Ordinateur portable pour professionnels", "", 129_999),
    ("3", "Tablette", "", "", 49_999),
    ("4", "Écouteurs sans fil", "", "", 14_999),
];

const MS_CLIENT: &[Product] = &[
    ("1", "Clavier", "Clavier mécanique", "Informatique", 10_000),
    ("2", "Souris", "Souris sans fil", "Informatique", 2_500),
    ("3", "Écran", "Écran de 24 pouces", "Informatique", 17_900),
];

const MULTI_MAGASINS: &[Product] = &[
    ("1", "Produit 1", "", "", 10_000),
    ("2", "Produit 2", "", "", 25_000),
    ("3", "Produit 3", "", "", 3_000),
    ("4", "Produit 4", "", "", 6_000),
];

/// 1 to 4 are those of the dialect `quartet`.
const CATALOGUE: &[Product] = &[
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
