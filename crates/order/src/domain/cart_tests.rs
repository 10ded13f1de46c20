//! The cart's rules, for edits in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn item(product: u8, number: i64, quantity: u32) -> Item {
    Item {
        id: Id::trusted(format!("item-{number}")),
        number,
        product_id: Id::trusted(format!("p{product}")),
        name: format!("Product {product}"),
        quantity: Quantity::new(i64::from(quantity)).expect("a quantity"),
        unit_price: Amount::from_minor(100 * i64::from(product)),
        available: None,
        gone: false,
    }
}

fn cart(id: &str) -> Cart {
    Cart::empty(Id::trusted(id.into()), None, Id::trusted(format!("order-of-{id}")), Timestamp::from_micros(1))
}

#[derive(Debug, Clone)]
enum Act {
    Add(u8, u32),
    SetQuantity(usize, u32),
    Remove(usize),
    Clear,
    /// The items of another cart are moved in.
    Claim(Vec<(u8, u32)>),
    /// The checkout begins, or ends with the order confirmed or refused.
    Begin,
    Sold,
    Refused,
}

fn act() -> impl Strategy<Value = Act> {
    let quantity = || prop_oneof![9 => 1_u32..5, 1 => 999_990_u32..=1_000_000];
    prop_oneof![
        6 => (0_u8..6, quantity()).prop_map(|(product, quantity)| Act::Add(product, quantity)),
        2 => (0_usize..6, quantity()).prop_map(|(index, quantity)| Act::SetQuantity(index, quantity)),
        2 => (0_usize..6).prop_map(Act::Remove),
        1 => Just(Act::Clear),
        1 => prop::collection::vec((0_u8..6, quantity()), 0..4).prop_map(Act::Claim),
        1 => Just(Act::Begin),
        1 => Just(Act::Sold),
        1 => Just(Act::Refused),
    ]
}

/// A cart as pieces of each product.
type Model = BTreeMap<String, u32>;

fn pieces(cart: &Cart) -> Model {
    cart.items.iter().map(|item| (item.product_id.to_string(), item.quantity.get())).collect()
}

proptest! {
    #[test]
    fn a_cart_holds_what_was_put_in_and_not_taken_out(acts in prop::collection::vec(act(), 0..40)) {
        let mut cart = cart("c");
        let mut model = Model::new();
        let mut number = 0;
        for act in acts {
            let before = cart.clone();
            let open = !cart.checking_out;
            let done = match &act {
                Act::Add(product, quantity) => {
                    number += 1;
                    let added = cart.add(item(*product, number, *quantity));
                    if added.is_ok() {
                        *model.entry(format!("p{product}")).or_default() += quantity;
                    }
                    added.map(|_| ())
                }
                Act::SetQuantity(index, quantity) => {
                    let id = cart.items.get(*index).map(|item| (item.id.clone(), item.product_id.to_string()));
                    let name = id.as_ref().map_or("none", |(id, _)| id.as_str()).to_owned();
                    let set = cart.set_quantity(&name, Quantity::new(i64::from(*quantity)).expect("a quantity"));
                    if let (Ok(_), Some((_, product))) = (&set, id) {
                        model.insert(product, *quantity);
                    }
                    set.map(|_| ())
                }
                Act::Remove(index) => {
                    let id = cart.items.get(*index).map_or_else(|| Id::trusted("none".into()), |item| item.id.clone());
                    let removed = cart.remove(id.as_str());
                    if let Ok(item) = &removed {
                        model.remove(item.product_id.as_str());
                    }
                    removed.map(|_| ())
                }
                Act::Clear => cart.clear().map(|()| model.clear()),
                Act::Claim(items) => {
                    let mut other = self::cart("guest");
                    for (product, quantity) in items {
                        number += 1;
                        let _ = other.add(item(*product, number, *quantity));
                    }
                    let brought = pieces(&other);
                    let claimed = cart.claim(&mut other);
                    if claimed.is_ok() {
                        prop_assert!(other.items.is_empty(), "nothing is in two carts");
                        for (product, quantity) in brought {
                            *model.entry(product).or_default() += quantity;
                        }
                    } else {
                        prop_assert_eq!(pieces(&other), brought, "what was not moved is still there");
                    }
                    claimed
                }
                Act::Begin => { cart.checking_out = true; Ok(()) }
                Act::Sold => { cart.checking_out = false; cart.items.clear(); model.clear(); Ok(()) }
                Act::Refused => { cart.checking_out = false; Ok(()) }
            };
            if done.is_err() {
                prop_assert_eq!(&cart, &before, "what is refused changes nothing: {:?}", act);
            }
            if !open && !matches!(act, Act::Begin | Act::Sold | Act::Refused) {
                prop_assert_eq!(done, Err(CartError::CheckingOut(cart.order_id.clone())));
            }
            prop_assert_eq!(pieces(&cart), model.clone());
            prop_assert_eq!(cart.items.len(), model.len(), "one item a product");
            prop_assert!(cart.items.iter().all(|item| item.quantity.get() <= Quantity::MAX));
            let total: i64 = cart.items.iter().map(|i| i.unit_price.minor() * i64::from(i.quantity.get())).sum();
            prop_assert_eq!(cart.total().map(Amount::minor), Some(total));
        }
    }

    #[test]
    fn a_change_is_reported_once(
        prices in prop::collection::vec((0_i64..3, 0_i64..3, prop::option::of(0_i64..3)), 1..5),
    ) {
        let mut cart = cart("c");
        cart.add(item(1, 1, 2)).expect("goes in");
        for (price, available, renamed) in prices {
            let name = renamed.map_or_else(|| "Product 1".to_owned(), |n| format!("Renamed {n}"));
            let offers = HashMap::from([("p1".to_owned(), Offer { name, unit_price: Amount::from_minor(price) })]);
            let available_pieces = HashMap::from([("p1".to_owned(), available)]);
            let was = cart.items[0].clone();
            let changes = cart.refresh(Some(&offers), Some(&available_pieces)).remove(0);
            let now = &cart.items[0];
            prop_assert_eq!(changes.iter().any(|c| matches!(c, ItemChange::Price { .. })), was.unit_price != now.unit_price);
            prop_assert_eq!(changes.iter().any(|c| matches!(c, ItemChange::Name { .. })), was.name != now.name);
            let seen = was.available.is_some() && was.available != now.available;
            prop_assert_eq!(changes.iter().any(|c| matches!(c, ItemChange::Available { .. })), seen);
            prop_assert_eq!(cart.refresh(Some(&offers), Some(&available_pieces)), vec![Vec::new()], "the new values are kept");
        }
    }
}

#[test]
fn what_is_no_longer_sold_is_kept_and_not_counted() {
    let mut cart = cart("c");
    cart.add(item(1, 1, 2)).expect("goes in");
    cart.add(item(2, 2, 1)).expect("goes in");
    let offer = Offer { name: "Product 2".into(), unit_price: Amount::from_minor(200) };
    let offers = HashMap::from([("p2".to_owned(), offer)]);
    let changes = cart.refresh(Some(&offers), None);
    assert_eq!(changes, [vec![ItemChange::Gone { was: false, now: true }], Vec::new()]);
    assert_eq!((cart.items.len(), cart.total()), (2, Some(Amount::from_minor(200))));
    assert_eq!(cart.refresh(None, None), [Vec::new(), Vec::new()], "without answers nothing changes");
    assert!(cart.items[0].gone);
    let shown = serde_json::to_value(&changes[0]).expect("JSON");
    assert_eq!(shown, serde_json::json!([{ "field": "gone", "was": false, "now": true }]));
}
