//! Goods that arrive, and goods that move from place to place.

use std::time::Duration;

use serde_json::json;

use crate::{
    fleet::{PRODUCTS, STORES},
    random::Random,
    workload::Workload,
};

impl Workload {
    /// Goods arrive and move from time to time, so that scarce products are sold again.
    pub async fn move_goods(self, until: u64) {
        let mut random = Random::new(self.seed, "goods");
        let begun = tokio::time::Instant::now();
        for n in 0.. {
            tokio::time::sleep(Duration::from_millis(random.between(300, 2_000))).await;
            if begun.elapsed() > Duration::from_millis(until) {
                return;
            }
            if random.chance(0.5) {
                self.deliver(n, &mut random).await;
            } else {
                self.transfer(n, &mut random).await;
            }
        }
    }

    async fn deliver(&self, n: u64, random: &mut Random) {
        let product = format!("product-{}", random.between(0, PRODUCTS));
        let place = *random.pick(&["logistics", STORES[0], STORES[1]]);
        let pieces = random.between(1, 20).cast_signed() - 4;
        let body = json!({"product_id": product, "place_id": place, "delta": pieces, "reason": "delivery"});
        let headers = [("idempotency-key", format!("goods-{n}"))];
        let url = "http://stock/api/stock/adjustments";
        if self.client.insist(random, "POST", url, &headers, Some(&body)).await.is_some_and(|a| a.status < 300) {
            self.trace.add("client: stock adjusted", 1);
        }
    }

    /// A store asks for goods of the logistics centre, and gets all, some or none of them.
    async fn transfer(&self, n: u64, random: &mut Random) {
        let product = format!("product-{}", random.between(0, PRODUCTS));
        let (quantity, place) = (random.between(1, 9), *random.pick(&STORES));
        let id = format!("transfer-{n}");
        let base = "http://stock/api/stock/replenishments";
        let body = json!({"id": id, "product_id": product, "place_id": place, "quantity": quantity});
        let asked = self.client.insist(random, "POST", base, &[], Some(&body)).await;
        if asked.is_none_or(|answer| answer.status >= 300) {
            return;
        }
        for step in ["approve", "dispatch"] {
            let url = format!("{base}/{id}/{step}");
            let answer = self.client.insist(random, "POST", &url, &[], None).await;
            if answer.is_none_or(|answer| answer.status >= 300) || random.chance(0.1) {
                return;
            }
        }
        let body = json!({"quantity": random.between(0, quantity + 1), "last": true});
        let url = format!("{base}/{id}/receive");
        let headers = [("idempotency-key", format!("receipt-{n}"))];
        let answer = self.client.insist(random, "POST", &url, &headers, Some(&body)).await;
        if answer.is_some_and(|answer| answer.status < 300) {
            self.trace.add("client: goods moved", 1);
        }
    }
}
