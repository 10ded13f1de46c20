//! How fast the brokers are; run by hand: `cargo test --release -p bus rates -- --ignored --nocapture`.

use std::time::Instant;

use crate::{
    handlers::{Recorder, event, until},
    world::{Kind, World},
};

async fn measure(kind: Kind, name: &str) {
    const MESSAGES: i64 = 20_000;
    let Some(world) = World::new(kind).await else { return };
    let publisher = world.publisher().await;
    publisher.publish(vec![event("warm", 1)]).await.expect("publishes");
    let messages: Vec<_> = (0..MESSAGES).map(|n| event(&format!("s{}", n % 2_000), n / 2_000 + 1)).collect();
    let begun = Instant::now();
    // As the relay does.
    for batch in messages.chunks(500) {
        publisher.publish(batch.to_vec()).await.expect("publishes");
    }
    let published = MESSAGES as f64 / begun.elapsed().as_secs_f64();
    let handler = Recorder::default();
    let consumer = world.consumer("first", handler.clone()).await;
    until("the first comes", || handler.seen.count() > 0).await;
    let begun = Instant::now();
    until("all come", || handler.seen.count() > MESSAGES as usize).await;
    let consumed = MESSAGES as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{name}: {published:.0} messages a second published, {consumed:.0} consumed");
    consumer.stop().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; run it by hand"]
async fn rates() {
    measure(Kind::Embedded, "embedded").await;
    measure(Kind::Kafka, "Kafka").await;
    measure(Kind::Rabbit, "RabbitMQ").await;
    measure(Kind::Dapr, "Dapr").await;
}
