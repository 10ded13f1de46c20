//! Generated orders, written straight into the order store to measure reports. They are confirmed or cancelled from the
//! start and have no events, so a store with generated orders does not pass the audit of a fleet.

use commerce::{Amount, Currency, Id, OrderId, Quantity, Timestamp};
use db::{Db, Options};

use crate::{
    domain::{Channel, Line, Order, Payment, PaymentMethod, SagaState, StateAt, Status},
    store::{self, Lease, OrderInsert},
};

/// Orders in one transaction.
const BATCH: u64 = 2_000;
/// The time from the first to the last order in microseconds: three years.
const SPAN: u64 = 3 * 365 * 86_400_000_000;

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct GenerateOptions {
    /// Number of orders.
    pub count: u64,
    /// Number of products: `p1`, `p2` and so on.
    pub products: u64,
    /// Number of stores: `store-1` and so on, besides `logistics`.
    pub stores: u64,
    /// When the last order was placed.
    pub until: Timestamp,
}

/// Pseudo-random numbers, the same at every run (<https://prng.di.unimi.it/splitmix64.c>).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

/// Writes orders into the store at `url`. Calls `progress` after each batch with the number of orders so far.
pub async fn orders(
    url: &str,
    wanted: GenerateOptions,
    progress: impl Fn(u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let db = Db::open(url, &Options::of("generate"), None).await?;
    db.migrate(&[bus::MIGRATIONS, store::MIGRATIONS].concat()).await?;
    let mut random = Random(wanted.count);
    let mut made = 0;
    while made < wanted.count {
        let count = BATCH.min(wanted.count - made);
        let orders = (made..made + count).map(|n| generate(&mut random, &wanted, n)).collect();
        let mut tx = db.write().await?;
        store::insert_terminal(&mut tx, orders).await?;
        tx.commit().await?;
        made += count;
        progress(made)?;
    }
    db.close().await;
    Ok(())
}

fn generate(random: &mut Random, wanted: &GenerateOptions, n: u64) -> OrderInsert {
    let small = |number: u64| i64::try_from(number).unwrap_or(0);
    // Oldest first.
    let ago = u128::from(SPAN) * u128::from(wanted.count - n) / u128::from(wanted.count.max(1));
    let at = Timestamp::from_micros(wanted.until.micros() - i64::try_from(ago).unwrap_or(0));
    let place = match random.below(wanted.stores + 1) {
        0 => "logistics".to_owned(),
        store => format!("store-{store}"),
    };
    let line_count = 1 + random.below(3);
    let lines: Vec<Line> = (1..=line_count)
        .filter_map(|position| {
            let product = 1 + random.below(wanted.products);
            let pieces = 1 + random.below(4);
            let unit_price = Amount::from_minor(small(100 + product * 37 % 9_900));
            let quantity = Quantity::new(small(pieces)).ok()?;
            Some(Line {
                line_id: store::line_id(small(position)),
                product_id: Some(Id::trusted(format!("p{product}"))),
                name: format!("Product {product}"),
                quantity,
                // One line in fifty is returned.
                returned: if random.below(50) == 0 { quantity.get() } else { 0 },
                unit_price,
                subtotal: unit_price.checked_mul(quantity).unwrap_or(Amount::ZERO),
            })
        })
        .collect();
    let total = Amount::sum(lines.iter().map(|line| line.subtotal)).unwrap_or(Amount::ZERO);
    let sold = random.below(33) != 0;
    let (state, status) =
        if sold { (SagaState::Confirmed, Status::Delivered) } else { (SagaState::Cancelled, Status::Cancelled) };
    let order = Order {
        id: OrderId::new(),
        number: 0,
        customer_id: None,
        channel: if place == "logistics" { Channel::Web } else { Channel::Store },
        place_id: Id::trusted(place),
        state,
        status,
        states: vec![StateAt { state: SagaState::Created, at }, StateAt { state, at }],
        history: Vec::new(),
        lines,
        adjustments: Vec::new(),
        total,
        currency: Currency::EUR,
        payment: Payment { method: PaymentMethod::OnAccount, status: "none".into(), id: None },
        reason: None,
        shipping_address: None,
        notes: None,
        metadata: Default::default(),
        archived: false,
        placed_at: at,
        created_at: at,
        updated_at: at,
        version: 2,
        sequence: 2,
        cart_id: None,
    };
    OrderInsert {
        order,
        id_chosen: false,
        payload_hash: String::new(),
        key: None,
        acknowledge_by: None,
        lease: Lease { owner: "generate".into(), epoch: 1, until: at },
        traceparent: None,
        cart_version: None,
    }
}
