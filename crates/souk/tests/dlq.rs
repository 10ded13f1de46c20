//! `souk dlq` as somebody at a terminal has it.

use std::{path::Path, process::Command};

use bus::{Bus, Message};
use chassis::{Context, CrashPoints};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn souk(folder: &Path, args: &[&str]) -> (bool, String) {
    souk_with(folder, args, None)
}

fn souk_with(folder: &Path, args: &[&str], bus: Option<&str>) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_souk"));
    command.arg("dlq").args(args).arg("--data").arg(folder).env_remove("SOUK_BUS_URL");
    let output = command.envs(bus.map(|url| ("SOUK_BUS_URL", url))).output().expect("runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).expect("a text"))
}

fn letter(id: &str) -> Message {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/souk/order", "type": "souk.order.confirmed", "subject": "o1",
        "time": "2026-01-02T03:04:05Z", "sequence": 2, "data": {"total": 12.5},
    });
    let body = json!({"reason": "no such line", "group": "stock", "topic": "orders", "payload": event.to_string()});
    Message { topic: "orders.dlq".into(), key: "o1".into(), payload: body.to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_shown_and_replayed_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ok, told) = souk(dir.path(), &["list"]);
    assert!(!ok && told.contains("--bus URL"), "{told}");
    let url = format!("embedded:{}", dir.path().join("bus.db").display());
    let ctx = Context::new("test", "test", CancellationToken::new(), CrashPoints::none());
    let bus = Bus::open(&url, &ctx).await.expect("a bus");
    let unreadable =
        json!({"reason": "no CloudEvent", "group": "stock", "topic": "orders", "payload": "?"}).to_string();
    let unreadable = Message { payload: unreadable, ..letter("") };
    bus.publish(vec![letter("e1"), letter("e2"), unreadable]).await.expect("publishes");

    let (ok, told) = souk(dir.path(), &["list"]);
    assert!(ok && told.contains("e1") && told.contains("e2") && told.contains("no such line"), "{told}");
    let (ok, told) = souk(dir.path(), &["replay", "--id", "e2"]);
    assert!(ok && told.contains("e2") && !told.contains("e1"), "{told}");
    let (_, told) = souk(dir.path(), &["list", "orders", "--json"]);
    let letters: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((letters[0]["id"].as_str(), letters.as_array().map(Vec::len)), (Some("e1"), Some(2)));
    let (_, told) = souk(dir.path(), &["list", "stock"]);
    assert_eq!(told, "no dead letters\n");
    let (ok, told) = souk(dir.path(), &["replay", "--group", "stock"]);
    assert!(!ok && told.contains("e1") && told.contains("cannot be replayed"), "{told}");
    let (_, told) = souk(dir.path(), &["list", "--all"]);
    assert!(told.contains("(replayed) no such line"), "{told}");

    let log = Bus::read_all(&url).await.expect("reads").messages;
    let replayed: Vec<Value> = log
        .iter()
        .filter(|message| message.topic == "orders")
        .map(|message| serde_json::from_str(&message.payload).expect("JSON"))
        .collect();
    assert_eq!(replayed.len(), 2);
    assert_eq!((&replayed[0]["id"], &replayed[0]["replaygroup"]), (&json!("e2"), &json!("stock")));
    assert_eq!(replayed[0]["replay"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_is_where_other_commands_find_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let url = |name: &str| format!("embedded:{}", dir.path().join(name).display());
    for (name, id) in [("elsewhere.db", "e1"), ("named.db", "e2"), ("argued.db", "e3")] {
        let ctx = Context::new("test", "test", CancellationToken::new(), CrashPoints::none());
        let bus = Bus::open(&url(name), &ctx).await.expect("a bus");
        bus.publish(vec![letter(id)]).await.expect("publishes");
    }
    let folder = dir.path().join("souk-data");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("stores.json"), json!({"bus": url("elsewhere.db")}).to_string()).expect("writes");
    let (argued, named) = (url("argued.db"), url("named.db"));
    for (args, bus, id) in [
        (vec!["list"], None, "e1"),
        (vec!["list"], Some(named.as_str()), "e2"),
        (vec!["list", "--bus", &argued], Some(named.as_str()), "e3"),
    ] {
        let (ok, told) = souk_with(&folder, &args, bus);
        let found: Vec<&str> = ["e1", "e2", "e3"].into_iter().filter(|id| told.contains(&format!(" {id} "))).collect();
        assert!(ok && found == [id], "{told}");
    }
}
