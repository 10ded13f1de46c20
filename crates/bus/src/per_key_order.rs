//! Ordered publishing through brokers that confirm messages one by one.

use std::{collections::HashMap, future::Future};

use futures::{StreamExt, TryStreamExt, stream};

use crate::{Error, Message};

/// Sends messages. Each message of a topic and key is sent after the one before it was confirmed; at most `max_concurrent`
/// keys are sent at the same time. So after any failure the broker has a prefix of each key's messages, and sending all
/// again causes repeats but never reorders them.
pub(crate) async fn publish_in_order<F, Sent>(
    messages: Vec<Message>,
    max_concurrent: usize,
    send: F,
) -> Result<(), Error>
where
    F: Fn(Message) -> Sent,
    Sent: Future<Output = Result<(), Error>>,
{
    let mut queues: Vec<Vec<Message>> = Vec::new();
    let mut index_by_key: HashMap<(String, String), usize> = HashMap::new();
    for message in messages {
        let queue = *index_by_key.entry((message.topic.clone(), message.key.clone())).or_insert(queues.len());
        if queue == queues.len() {
            queues.push(Vec::new());
        }
        queues[queue].push(message);
    }
    let send = &send;
    stream::iter(queues)
        .map(Ok)
        .try_for_each_concurrent(max_concurrent, |queue| async move {
            for message in queue {
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
    async fn a_key_is_sent_in_order_and_stops_at_its_failure() {
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
