//! Publishing through brokers that confirm messages one by one.

use std::{collections::HashMap, future::Future};

use futures::{StreamExt, TryStreamExt, stream};

use crate::{Error, Message};

/// Sends messages; one of a topic and key goes only after the one before it was confirmed, those of others at the same
/// time, at most `width` at once. So whatever fails, of each key the broker has the first ones, and sending all
/// again brings repeats but never a message before one that it follows.
pub(crate) async fn publish_in_order<F, Sent>(messages: Vec<Message>, width: usize, send: F) -> Result<(), Error>
where
    F: Fn(Message) -> Sent,
    Sent: Future<Output = Result<(), Error>>,
{
    let mut lanes: Vec<Vec<Message>> = Vec::new();
    let mut known: HashMap<(String, String), usize> = HashMap::new();
    for message in messages {
        let lane = *known.entry((message.topic.clone(), message.key.clone())).or_insert(lanes.len());
        if lane == lanes.len() {
            lanes.push(Vec::new());
        }
        lanes[lane].push(message);
    }
    let send = &send;
    stream::iter(lanes)
        .map(Ok)
        .try_for_each_concurrent(width, |lane| async move {
            for message in lane {
                send(message).await?;
            }
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_key_stops_at_its_failure_and_goes_out_in_order() {
        let message = |key: &str, n: u32| Message { topic: "t".into(), key: key.into(), payload: n.to_string() };
        let sent = Mutex::new(Vec::new());
        let messages = (0..30).map(|n| message(["a", "b", "c"][n as usize % 3], n)).collect();
        let outcome = publish_in_order(messages, 8, |message| {
            let sent = &sent;
            async move {
                tokio::time::sleep(Duration::from_millis(u64::from(message.payload.len() % 2 == 0))).await;
                if message.key == "b" && message.payload == "13" {
                    return Err(Error::Stopped);
                }
                sent.lock().unwrap().push(message);
                Ok(())
            }
        })
        .await;
        assert!(outcome.is_err());
        let sent = sent.into_inner().unwrap();
        let of = |key: &str| -> Vec<u32> {
            sent.iter().filter(|m| m.key == key).map(|m| m.payload.parse().unwrap()).collect()
        };
        assert_eq!(of("b"), [1, 4, 7, 10]);
        assert!(of("a").is_sorted() && of("c").is_sorted());
    }
}
