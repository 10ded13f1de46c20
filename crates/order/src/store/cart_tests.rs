//! Carts in the store: writes at the version that was read, the end of their checkouts, and the pruning of old ones.

use std::{sync::Arc, time::Duration};

use commerce::{Amount, Id, Quantity, Timestamp};
use db::{Db, query};

use super::tests::{confirmation, fresh, order_insert};
use super::*;
use crate::{
    domain::{Cart, Item, SagaState, Status},
    events,
};

fn item(number: i64) -> Item {
    Item {
        id: Id::trusted(format!("item {number}")),
        number,
        product_id: Id::trusted("tea".into()),
        name: "Tea".into(),
        quantity: Quantity::new(2).expect("two"),
        unit_price: Amount::from_minor(450),
        available: None,
        gone: false,
    }
}

fn cart(id: &str, customer: Option<&str>, at: Timestamp) -> Cart {
    let customer = customer.map(|id| Id::trusted(id.into()));
    let mut cart = Cart::empty(Id::trusted(id.into()), customer, Id::trusted(format!("order-of-{id}")), at);
    cart.version = 1;
    cart
}

async fn saved(db: &Db, cart: &Cart, read: i64) -> bool {
    let mut tx = db.write().await.expect("begins");
    let saved = carts::save(&mut tx, cart, read).await.expect("saves");
    tx.commit().await.expect("commits");
    saved
}

async fn found(db: &Db, id: &str) -> Option<Cart> {
    carts::find(&mut db.read().await.expect("reads"), id).await.expect("reads")
}

/// The insert of a cart's order.
fn checkout(cart: &Cart) -> OrderInsert {
    let mut new = order_insert(cart.order_id.as_str(), "h", None);
    new.order.cart_id = Some(cart.id.clone());
    new.cart_version = Some(cart.version);
    new
}

async fn inserted(db: &Db, inserts: Vec<OrderInsert>) -> Vec<InsertOutcome> {
    let mut tx = db.write().await.expect("begins");
    let placed = insert_orders(&mut tx, &Vec::from_iter(&inserts), events::placed, events::placed_message)
        .await
        .expect("places");
    tx.commit().await.expect("commits");
    placed
}

async fn updated(db: &Db, update: OrderUpdate) -> bool {
    let mut tx = db.write().await.expect("begins");
    let written = apply_updates(&mut tx, &[&update]).await.expect("updates");
    tx.commit().await.expect("commits");
    written[0]
}

#[tokio::test]
async fn only_what_was_read_is_written() {
    let (_dir, db) = fresh().await;
    let mut cart = cart("c1", Some("c1"), Timestamp::from_micros(1));
    assert!(saved(&db, &cart, 0).await);
    assert!(!saved(&db, &cart, 0).await, "it is there already");
    cart.add(item(1)).expect("goes in");
    cart.version = 2;
    assert!(saved(&db, &cart, 1).await);
    assert!(!saved(&db, &cart, 1).await, "that version is gone");
    assert_eq!(found(&db, "c1").await, Some(cart.clone()));
    let items = std::mem::take(&mut cart.items);
    cart.version = 3;
    assert!(saved(&db, &cart, 2).await);
    assert_eq!((items.len(), found(&db, "c1").await), (1, Some(cart)));
}

#[tokio::test]
async fn a_cart_becomes_one_order_and_can_be_edited_after_that_ends() {
    let (_dir, db) = fresh().await;
    let mut cart = cart("c1", Some("c1"), Timestamp::from_micros(1));
    cart.add(item(1)).expect("goes in");
    assert!(saved(&db, &cart, 0).await);
    let stale = OrderInsert { cart_version: Some(7), ..checkout(&cart) };
    let placed = inserted(&db, vec![stale, checkout(&cart), checkout(&cart)]).await;
    assert!(matches!(placed[0], InsertOutcome::CartChanged));
    assert!(matches!(placed[1], InsertOutcome::Inserted(_)));
    assert!(matches!(placed[2], InsertOutcome::ExistingId { .. }));
    let InsertOutcome::Inserted(order) = &placed[1] else { panic!("new") };
    let checking_out = found(&db, "c1").await.expect("there");
    assert!(checking_out.checking_out && checking_out.version == 2 && checking_out.place_id.is_some());
    assert!(!saved(&db, &Cart { version: 3, ..checking_out.clone() }, 2).await, "nothing changes meanwhile");
    // Refused: the cart keeps its items, and its next checkout makes another order.
    let mut refused = confirmation(order, 1);
    (refused.order.state, refused.order.status) = (SagaState::Cancelled, Status::Cancelled);
    assert!(updated(&db, refused).await);
    let open = found(&db, "c1").await.expect("there");
    assert_eq!((open.checking_out, open.items.len(), open.last_order_id.clone()), (false, 1, None));
    assert_ne!(open.order_id, checking_out.order_id);
    // Confirmed: the cart is empty, and has its last order.
    let placed = inserted(&db, vec![checkout(&open)]).await;
    let InsertOutcome::Inserted(order) = &placed[0] else { panic!("new") };
    assert!(updated(&db, confirmation(order, 1)).await);
    let sold = found(&db, "c1").await.expect("there");
    assert_eq!((sold.checking_out, sold.items.len()), (false, 0));
    assert_eq!((sold.last_order_id, sold.version), (Some(open.order_id), open.version + 2));
}

#[tokio::test]
async fn abandoned_carts_of_guests_are_pruned() {
    let (_dir, db) = fresh().await;
    let (now, old) = (Timestamp::now(), Timestamp::now().minus(Duration::from_secs(40 * 86_400)));
    let mut abandoned = cart("guest-old", None, old);
    abandoned.add(item(1)).expect("goes in");
    let busy = cart("guest-busy", None, old);
    for cart in [&abandoned, &busy, &cart("guest-new", None, now), &cart("c1", Some("c1"), old)] {
        assert!(saved(&db, cart, 0).await);
    }
    let mut tx = db.write().await.expect("begins");
    query("update carts set checking_out = 1 where id = 'guest-busy'").execute(&mut tx).await.expect("runs");
    tx.commit().await.expect("commits");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let ctx = chassis::Context::new(crate::NAME, "test", shutdown.clone(), chassis::CrashPoints::none());
    let jobs = prunes(&crate::Config::default()).into_iter().map(|prune| prune.job(db.clone())).collect();
    upkeep::start(&ctx, Arc::new(upkeep::SqlLeases(db.clone())), jobs);
    for _ in 0..200 {
        if found(&db, "guest-old").await.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let mut tx = db.read().await.expect("reads");
    let left = query("select id from carts order by id").fetch_all(&mut tx).await.expect("reads");
    let left: Vec<String> = left.iter().map(|row| row.get("id").expect("an id")).collect();
    assert_eq!(left, ["c1", "guest-busy", "guest-new"]);
    let items = query("select count(*) as n from cart_items").fetch_one(&mut tx).await.expect("reads");
    assert_eq!(items.get::<i64>("n").expect("a number"), 0, "with what was in it");
    shutdown.cancel();
}
