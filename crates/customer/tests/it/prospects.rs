//! `/api/prospects` and `/api/activities`, and what is heard of prospects on the bus.

use std::time::{Duration, Instant};

use bus::{Bus, Message};
use serde_json::{Value, json};

use crate::test_service::{TestService, problem};

fn ada() -> Value {
    json!({"first_name": "Ada", "last_name": "Lovelace", "field": "mathematics", "email": "ada@example.org"})
}

impl TestService {
    async fn prospect(&self, body: &Value) -> Value {
        let answer = self.send("POST", "/api/prospects", &self.clerk, body).await;
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(method, path, &self.clerk, body).await;
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    /// The names of all activities that fit, once there are so many of them.
    async fn activities(&self, query: &str, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let page: Value =
                self.get(&format!("/api/activities?limit=100{query}"), &self.clerk).await.json().await.unwrap();
            let found = page["data"].as_array().unwrap().clone();
            if found.len() >= count || begun.elapsed() > Duration::from_secs(10) {
                assert_eq!(found.len(), count, "{page}");
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the activities that match have these names.
    async fn activities_named(&self, query: &str, names: &[&str]) {
        let begun = Instant::now();
        loop {
            let activities = self.activities(query, names.len()).await;
            let found: Vec<&str> = activities.iter().map(|activity| activity["name"].as_str().unwrap()).collect();
            if found == names {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{found:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn path(made: &Value) -> String {
    format!("/api/prospects/{}", made["id"].as_str().unwrap())
}

fn stages(prospect: &Value) -> Vec<&str> {
    prospect["history"].as_array().unwrap().iter().map(|moved| moved["stage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_prospect_is_made_moved_and_converted_once() {
    let service = TestService::start().await;
    let answer = service.send("POST", "/api/prospects", &service.clerk, &ada()).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["etag"]), (201, &"\"1\"".parse().unwrap()));
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = answer.json().await.unwrap();
    assert_eq!((&made["number"], &made["stage"], location), (&json!(1), &json!("new"), path(&made)));
    let at = path(&made);

    problem(service.send("PATCH", &at, &service.clerk, &json!({"stage": "lost"})).await, 422).await;
    let lost = service.json("PATCH", &at, &json!({"stage": "lost", "reason": "no budget"})).await;
    assert_eq!((stages(&lost), &lost["history"][1]["reason"]), (vec!["new", "lost"], &json!("no budget")));
    let refused = problem(service.send("PATCH", &at, &service.clerk, &json!({"stage": "won"})).await, 409).await;
    assert!(refused["detail"].as_str().unwrap().contains("lost cannot become won"), "{refused}");
    problem(service.send("POST", &format!("{at}/convert"), &service.clerk, &json!({})).await, 409).await;
    let page: Value = service.get("/api/customers?include_total=true", &service.admin).await.json().await.unwrap();
    assert_eq!(page["total"], 0, "who cannot be won becomes nobody");

    service.json("PATCH", &at, &json!({"stage": "contacted"})).await;
    let whole = json!({"first_name": "Ada", "last_name": "King", "field": "poetry", "email": "ada@example.org"});
    let put = service.json("PUT", &at, &whole).await;
    assert_eq!((&put["stage"], &put["last_name"]), (&json!("contacted"), &json!("King")), "PUT leaves the stage");
    let won = service.json("POST", &format!("{at}/convert"), &json!({})).await;
    assert_eq!(stages(&won), ["new", "lost", "contacted", "won"]);
    assert_eq!(service.json("POST", &format!("{at}/convert"), &json!({})).await, won);
    let customer: Value = service
        .get(&format!("/api/customers/{}", won["customer_id"].as_str().unwrap()), &service.clerk)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!((&customer["name"], &customer["email"]), (&json!("Ada King"), &json!("ada@example.org")));
    problem(service.send("PATCH", &at, &service.clerk, &json!({"stage": "contacted"})).await, 409).await;
    problem(service.send("PATCH", &at, &service.clerk, &json!({"customer_id": "c"})).await, 400).await;
}

#[tokio::test]
async fn fields_have_rules_and_roles_have_limits() {
    let service = TestService::start().await;
    for (body, status, field) in [
        (json!({}), 422, "first_name"),
        (json!({"first_name": "A", "last_name": "B", "field": " "}), 422, "field"),
        (json!({"first_name": "A", "last_name": "B", "field": "x", "owner": "nobody"}), 422, "owner"),
        (json!({"first_name": "A", "last_name": "B", "field": "x", "activity_id": "none"}), 422, "activity_id"),
        (json!({"first_name": "A", "last_name": "B", "field": "x", "stage": "won"}), 400, "stage"),
    ] {
        let told =
            problem(service.send("POST", "/api/prospects", &service.clerk, &body).await, status).await.to_string();
        assert!(told.contains(field), "{told}");
    }
    for body in [json!({"name": "Fair"}), json!({"name": "Fair", "date": "2026-02-30"}), json!({"date": "2026-02-03"})]
    {
        problem(service.send("POST", "/api/activities", &service.clerk, &body).await, 422).await;
    }
    let unknown = json!({"name": "Fair", "date": "2026-05-04", "prospect_id": "nobody"});
    problem(service.send("POST", "/api/activities", &service.clerk, &unknown).await, 422).await;
    let made = service.prospect(&ada()).await;
    let me = service.register("bob").await;
    let customer = me["token"].as_str().unwrap();
    for (method, path) in [
        ("GET", "/api/prospects".to_owned()),
        ("POST", "/api/prospects".into()),
        ("GET", path(&made)),
        ("PATCH", path(&made)),
        ("DELETE", path(&made)),
        ("POST", format!("{}/convert", path(&made))),
        ("GET", "/api/activities".into()),
        ("POST", "/api/activities".into()),
    ] {
        problem(service.send(method, &path, customer, &ada()).await, 403).await;
        problem(service.send(method, &path, "", &ada()).await, 401).await;
    }
    problem(service.send("DELETE", &path(&made), &service.clerk, &json!({})).await, 403).await;
    assert_eq!(service.get(&path(&made), &service.service).await.status(), 200);
    for bad in ["stage=sold", "colour=red", "limit=x"] {
        problem(service.get(&format!("/api/prospects?{bad}"), &service.clerk).await, 400).await;
    }
    problem(service.get("/api/activities?from=yesterday", &service.clerk).await, 422).await;
    problem(service.get("/api/prospects/a%00b", &service.clerk).await, 404).await;
    let repeat = |key: &'static str, body: Value| {
        let request =
            service.request("POST", "/api/prospects", &service.clerk).header("idempotency-key", key).json(&body);
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    assert_eq!(repeat("k", ada()).await, repeat("k", ada()).await);
    let page: Value =
        service.get("/api/prospects?include_total=true&page=2&limit=1", &service.clerk).await.json().await.unwrap();
    assert_eq!((&page["total"], &page["data"][0]["number"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn what_happens_to_a_prospect_becomes_an_activity() {
    let service = TestService::start().await;
    let made = service.prospect(&ada()).await;
    let about = format!("&prospect_id={}", made["id"].as_str().unwrap());
    let activities = service.activities(&about, 1).await;
    assert_eq!(activities[0]["name"], "Prospect created: Ada Lovelace");
    assert_eq!(activities[0]["date"].as_str().unwrap(), &made["created_at"].as_str().unwrap()[..10]);
    assert_eq!((&activities[0]["number"], &activities[0]["prospect_id"]), (&json!(1), &made["id"]));

    service.json("PATCH", &path(&made), &json!({"company": "ACME"})).await;
    service.json("PATCH", &path(&made), &json!({"company": "ACME"})).await;
    let activities = service.activities(&about, 2).await;
    assert_eq!(activities[1]["name"], "Prospect updated: Ada Lovelace");
    service.json("POST", &format!("{}/convert", path(&made)), &json!({})).await;

    let gone = service.send("DELETE", &path(&made), &service.admin, &json!({})).await;
    assert_eq!(gone.status(), 204);
    service.activities_named(&about, &["Prospect created: Anonymised", "Prospect updated: Anonymised"]).await;
    problem(service.get(&path(&made), &service.clerk).await, 404).await;
}

#[tokio::test]
async fn an_event_that_comes_after_the_deletion_brings_no_name_back() {
    let service = TestService::start().await;
    let made = service.prospect(&ada()).await;
    let about = format!("&prospect_id={}", made["id"].as_str().unwrap());
    service.activities(&about, 1).await;
    assert_eq!(service.send("DELETE", &path(&made), &service.admin, &json!({})).await.status(), 204);
    service.activities_named(&about, &["Prospect created: Anonymised"]).await;
    // As from the dead letters: of this service, and without an activity so far.
    let event = json!({"specversion": "1.0", "id": "late", "source": "/souk/customer", "type": "souk.prospect.updated",
        "subject": made["id"], "time": "2024-02-29T23:00:00Z", "sequence": 99, "data": made});
    let key = made["id"].as_str().unwrap().to_owned();
    let late = Message { topic: "prospect-events".into(), key, payload: event.to_string() };
    let bus = Bus::open(&service.config.common.bus_url, &service.ctx).await.unwrap();
    bus.publish(vec![late]).await.unwrap();
    let activities = service.activities(&about, 2).await;
    assert_eq!(activities[1]["name"], "Prospect updated: Anonymised");
}

#[tokio::test]
async fn prospects_of_other_programs_are_heard_of_once() {
    let service = TestService::start().await;
    let bus = Bus::open(&service.config.common.bus_url, &service.ctx).await.unwrap();
    let told =
        |payload: &str| Message { topic: "prospect-events".into(), key: "7".into(), payload: payload.to_owned() };
    let plain = told(r#"{"id":7,"firstName":"Grace","lastName":"Hopper","filedWork":"navy"}"#);
    let event = told(
        &json!({"specversion": "1.0", "id": "e-1", "source": "/crm", "type": "prospect.added",
                "time": "2024-02-29T23:00:00Z", "data": {"firstName": "Alan", "lastName": "Turing"}})
        .to_string(),
    );
    // No CloudEvent, since it tells no time, but near enough.
    let wrapped =
        told(r#"{"specversion":"1.0","id":"e-2","source":"/crm","data":{"first_name":"Kurt","last_name":"Gödel"}}"#);
    // Two people may have one name.
    let twin = told(r#"{"firstName":"Jane","lastName":"Doe"}"#);
    let odd = [told("hello"), told("{}"), told(r#"{"firstName":"Only"}"#)];
    bus.publish([&[plain.clone(), event.clone(), wrapped, plain, event, twin.clone(), twin][..], &odd].concat())
        .await
        .unwrap();
    let made = service.prospect(&ada()).await;
    // The service's own comes last, so whatever came before it was taken.
    let activities = service.activities("", 6).await;
    let of = |name: &str| activities.iter().find(|activity| activity["name"] == name).unwrap();
    assert_eq!(of("Prospect created: Alan Turing")["date"], "2024-02-29");
    assert!(of("Prospect created: Grace Hopper").get("prospect_id").is_none());
    assert!(of("Prospect created: Kurt Gödel").get("prospect_id").is_none());
    let janes = activities.iter().filter(|activity| activity["name"] == "Prospect created: Jane Doe").count();
    assert_eq!(janes, 2);
    assert_eq!(of("Prospect created: Ada Lovelace")["prospect_id"], made["id"]);
    let letters = bus.dead_letters(&bus::DeadLetterFilter::default()).await.unwrap();
    let reasons: Vec<(&str, &str)> =
        letters.iter().map(|letter| (letter.group.as_str(), letter.payload.as_str())).collect();
    assert_eq!(reasons, odd.each_ref().map(|odd| ("customer", odd.payload.as_str())));
    let path = format!("/api/activities/{}", of("Prospect created: Alan Turing")["id"].as_str().unwrap());
    assert_eq!(service.send("DELETE", &path, &service.admin, &json!({})).await.status(), 204);
    problem(service.send("PATCH", &path, &service.clerk, &json!({"name": "x"})).await, 404).await;
}

#[tokio::test]
async fn an_activity_is_made_changed_and_listed_by_day() {
    let service = TestService::start().await;
    let fair = json!({"name": "Fair", "date": "2026-05-04"});
    let made = service.json("POST", "/api/activities", &fair).await;
    service.json("POST", "/api/activities", &json!({"name": "Visit", "date": "2026-05-06"})).await;
    let at = format!("/api/activities/{}", made["id"].as_str().unwrap());
    let changed = service.json("PATCH", &at, &json!({"date": "2026-05-05"})).await;
    assert_eq!(
        (&changed["name"], &changed["date"], &changed["version"]),
        (&json!("Fair"), &json!("2026-05-05"), &json!(2))
    );
    for (query, names) in [
        ("&date=2026-05-05", vec!["Fair"]),
        ("&from=2026-05-06", vec!["Visit"]),
        ("&to=2026-05-05", vec!["Fair"]),
        ("&from=2026-05-01&to=2026-05-31", vec!["Fair", "Visit"]),
    ] {
        let found = service.activities(query, names.len()).await;
        assert_eq!(found.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(), names, "{query}");
    }
    let new = json!({"first_name": "A", "last_name": "B", "field": "x", "activity_id": made["id"]});
    let met = service.prospect(&new).await;
    assert_eq!(service.send("DELETE", &at, &service.admin, &json!({})).await.status(), 204);
    problem(service.get(&at, &service.clerk).await, 404).await;
    let changed = service.json("PATCH", &path(&met), &json!({"company": "ACME"})).await;
    assert_eq!(changed["activity_id"], made["id"], "what was named before may have gone");
}
