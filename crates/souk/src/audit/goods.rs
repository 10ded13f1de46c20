//! Goods: orders, reservations, levels and the ledger.

use std::collections::{BTreeMap, HashMap};

use commerce::Timestamp;
use order::audit::OrderFact;

use super::{Check, facts::Facts};

pub(super) fn stock_follows_orders(facts: &Facts) -> Check {
    let mut check = Check::new("confirmed orders have their goods, cancelled orders hold none");
    for order in facts.orders.values() {
        let behind = facts.stock_is_behind(order);
        // The order was read first, so what happened since shows only here.
        let reservation = facts.reservations.get(&order.id);
        let changes = reservation.is_some_and(|held| facts.is_young(Timestamp::from_micros(held.updated_at)));
        if facts.is_under_way(order) || behind || changes {
            check.pending += 1;
            // An event that is not consumed for longer than a lease is stuck, not under way.
            if facts.running && behind && !facts.is_young(order.updated_at) && !order.open {
                check.fail(Some(format!("order {}: its last event has not reached the stock service", order.id)));
            }
            continue;
        }
        check.saw(goods_of(facts, order));
    }
    check
}

fn goods_of(facts: &Facts, order: &OrderFact) -> Option<String> {
    let reservation = facts.reservations.get(&order.id);
    let state = reservation.map_or("none", |reservation| reservation.state);
    let lines: BTreeMap<&str, (i64, i64)> = reservation
        .map(|r| r.lines.iter().map(|l| (l.product_id.as_str(), (l.quantity, l.restocked))).collect())
        .unwrap_or_default();
    if order.status == "cancelled" {
        let kept = lines.iter().any(|(_, (quantity, restocked))| quantity != restocked);
        return match state {
            "held" => Some(format!("order {} is cancelled but still reserves stock", order.id)),
            "committed" if kept => Some(format!("order {} is cancelled but its stock is not restocked", order.id)),
            _ => None,
        };
    }
    if order.goods.is_empty() {
        return None;
    }
    if state != "committed" {
        return Some(format!("order {} is {} and its reservation is {state}", order.id, order.status));
    }
    let sold: BTreeMap<&str, i64> = lines.iter().map(|(product, (quantity, _))| (*product, *quantity)).collect();
    let bought: BTreeMap<&str, i64> =
        order.goods.iter().map(|(product, quantity)| (product.as_str(), *quantity)).collect();
    if sold != bought {
        return Some(format!("order {}: bought {bought:?}, the stock service sold {sold:?}", order.id));
    }
    let back: BTreeMap<&str, i64> = lines
        .iter()
        .filter(|(_, (_, restocked))| *restocked > 0)
        .map(|(product, (_, restocked))| (*product, *restocked))
        .collect();
    let returned: BTreeMap<&str, i64> =
        order.restocked.iter().map(|(product, quantity)| (product.as_str(), *quantity)).collect();
    (back != returned)
        .then(|| format!("order {}: {returned:?} were returned, but the stock service restocked {back:?}", order.id))
}

/// What the ledger says was sold and put back is what reservations say, so that nothing is sold twice or to nobody.
pub(super) fn sales_in_the_ledger_are_those_of_orders(facts: &Facts) -> Check {
    let mut check = Check::new("sold and returned in the ledger = committed reservations");
    let mut sold: HashMap<(&str, &str), (i64, i64)> = HashMap::new();
    for reservation in facts.reservations.values().filter(|reservation| reservation.state == "committed") {
        let place = reservation.place_id.as_deref().unwrap_or_default();
        for line in &reservation.lines {
            let (quantity, restocked) = sold.entry((line.product_id.as_str(), place)).or_default();
            (*quantity, *restocked) = (*quantity + line.quantity, *restocked + line.restocked);
        }
    }
    for level in &facts.levels {
        let orders = sold.remove(&(level.product_id.as_str(), level.place_id.as_str())).unwrap_or_default();
        let ledger = (level.sold, level.restocked);
        check.saw((ledger != orders).then(|| {
            format!(
                "{} at {}: the ledger says {} sold and {} returned, the reservations {} and {}",
                level.product_id, level.place_id, ledger.0, ledger.1, orders.0, orders.1
            )
        }));
    }
    for ((product, place), (pieces, _)) in sold {
        check.fail(
            (pieces != 0).then(|| format!("{pieces} of {product} were sold at {place}, which has no level of it")),
        );
    }
    check
}

pub(super) fn reservations_belong_to_orders(facts: &Facts) -> Check {
    let mut check = Check::new("reservations belong to orders");
    for reservation in facts.reservations.values() {
        let young = facts.is_young(Timestamp::from_micros(reservation.updated_at));
        check.pending += usize::from(young);
        // What programs outside set aside has no order here; it is given back when its time is over.
        let outside = reservation.order_id.starts_with("legacy:") && reservation.state == "held";
        let unknown =
            !outside && !facts.orders.contains_key(&reservation.order_id) && reservation.state != "released" && !young;
        check.saw(unknown.then(|| format!("reservation of {}: there is no such order", reservation.order_id)));
    }
    check
}

pub(super) fn levels_follow_the_ledger(facts: &Facts) -> Check {
    let mut check = Check::new("stock on hand = put in - sold + returned - sent + received, as the ledger says");
    for level in &facts.levels {
        let expected = level.adjusted - level.sold + level.restocked - level.sent + level.received;
        let wrong = level.on_hand != expected || level.on_hand < level.reserved || level.reserved < 0;
        check.saw(wrong.then(|| {
            format!(
                "{} at {}: {} on hand, the ledger says {expected} ({} put in, {} sold, {} returned, {} sent, {} received); {} \
                 reserved",
                level.product_id,
                level.place_id,
                level.on_hand,
                level.adjusted,
                level.sold,
                level.restocked,
                level.sent,
                level.received,
                level.reserved
            )
        }));
    }
    check
}

/// Goods between two places belong to neither, and none of them gets lost.
pub(super) fn transit_is_what_left_and_has_not_come(facts: &Facts) -> Check {
    let mut check = Check::new("goods in transit = sent - received, of every product");
    let mut left: BTreeMap<&str, i64> = BTreeMap::new();
    for level in &facts.levels {
        *left.entry(level.product_id.as_str()).or_default() += level.sent - level.received;
    }
    let mut on_their_way: BTreeMap<&str, i64> = BTreeMap::new();
    for transit in &facts.in_transit {
        *on_their_way.entry(transit.product_id.as_str()).or_default() += transit.pieces;
    }
    for (product, left) in left {
        let pieces = on_their_way.remove(product).unwrap_or(0);
        check.saw(
            (left != pieces)
                .then(|| format!("{product}: {left} pieces were sent and not received, but {pieces} are in transit")),
        );
    }
    for (product, pieces) in on_their_way {
        check.fail(Some(format!("{product}: {pieces} pieces are in transit but were never sent")));
    }
    check
}

pub(super) fn reserved_is_what_is_held(facts: &Facts) -> Check {
    let mut check = Check::new("reserved = open reservations");
    let mut held: HashMap<(&str, &str), i64> = HashMap::new();
    for reservation in facts.reservations.values().filter(|reservation| reservation.state == "held") {
        let place = reservation.place_id.as_deref().unwrap_or_default();
        for line in &reservation.lines {
            *held.entry((line.product_id.as_str(), place)).or_default() += line.quantity;
        }
    }
    for level in &facts.levels {
        let open = held.remove(&(level.product_id.as_str(), level.place_id.as_str())).unwrap_or(0);
        check.saw((level.reserved != open).then(|| {
            format!(
                "{} at {}: {} reserved, {open} in open reservations",
                level.product_id, level.place_id, level.reserved
            )
        }));
    }
    for ((product, place), pieces) in held {
        check.fail(
            (pieces != 0)
                .then(|| format!("{pieces} of {product} are reserved at {place}, which has no stock level of it")),
        );
    }
    check
}
