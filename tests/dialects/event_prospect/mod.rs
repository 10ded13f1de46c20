//! `event-prospect`: gateway on 8081, events on 8080, prospects on 9090; the realm on 8180.

use anyhow::{Context, Result, ensure};
use fleet_tests::{Client, Fleet, Rows, eventually, on_servers};
use serde_json::{Value, json};

use crate::{has_members, port};

const PAGE: &[&str] =
    &["content", "totalElements", "totalPages", "number", "size", "first", "last", "numberOfElements", "empty"];

async fn token(user: &str, password: &str) -> Result<Value> {
    let form = format!("client_id=event-app&grant_type=password&username={user}&password={password}");
    let realm = port(8180);
    let request = realm
        .request(reqwest::Method::POST, "/realms/EventProspect/protocol/openid-connect/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let response = realm.send(request).await?;
    let mut body = response.json()?;
    body["http"] = response.status.into();
    Ok(body)
}

async fn add(prospects: &Client, first: &str, last: &str, field: &str) -> Result<Value> {
    let body = json!({"firstName": first, "lastName": last, "filedWork": field});
    prospects.post("/prospects", &body).await?.expect(200)
}

/// Waits for the event with this name, which the service creates when a prospect changes.
async fn event_named(events: &Client, name: &str) -> Result<Value> {
    eventually(&format!("the event {name}"), || async {
        let page = events.get("/events?pageNbr=0&pageSize=100").await?.expect(200)?;
        let found = page["content"].as_array().into_iter().flatten().find(|event| event["name"] == name).cloned();
        Ok(found)
    })
    .await
}

fn not_found(response: &fleet_tests::Response, what: &str) -> Result<Value> {
    let body = response.expect(404)?;
    ensure!(body["code"] == "NOT_FOUND" && body["message"] == format!("{what} not found"), "{body}");
    ensure!(body["timestamp"].is_string(), "{body}");
    Ok(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::dialect(folder.path(), "event-prospect", &[]).await?;
    let (events, prospects) = (port(8080), port(9090));
    let mut rows = Rows::new("event-prospect");

    rows.row("POST /prospects", async {
        let made = add(&prospects, "Ada", "Lovelace", "IT").await?;
        has_members(&made, &["id", "firstName", "lastName", "filedWork", "idEvent"])?;
        ensure!(made["id"] == 1 && made["filedWork"] == "IT" && made["idEvent"].is_null(), "{made}");
        let wrong = prospects.post("/prospects", &json!({"firstName": "", "lastName": "x"})).await?.expect(400)?;
        ensure!(wrong["code"] == "VALIDATION_ERROR" && wrong["timestamp"].is_string(), "{wrong}");
        let wrong = json!({"firstName": "a", "lastName": "b", "filedWork": "c", "idEvent": 999});
        prospects.post("/prospects", &wrong).await?.expect(400)?;
        Ok(())
    })
    .await;
    rows.row("a change of a prospect creates an event", async {
        let made = event_named(&events, "Prospect created: Ada Lovelace").await?;
        ensure!(made["idProspect"] == 1 && made["dateEvent"].as_str().is_some_and(|day| day.len() == 10), "{made}");
        let body = json!({"lastName": "King"});
        let request = prospects.request(reqwest::Method::PATCH, "/prospects/1").json(&body);
        prospects.send(request).await?.expect(200)?;
        let updated = event_named(&events, "Prospect updated: Ada King").await?;
        ensure!(updated["idProspect"] == 1, "{updated}");
        let page = events.get("/events?pageNbr=0&pageSize=100").await?.expect(200)?;
        ensure!(page["totalElements"] == 2, "not one event per change: {page}");
        Ok(())
    })
    .await;
    rows.row("PATCH /prospects/{id}", async {
        let patch = |path: &'static str, body: Value| {
            let request = prospects.request(reqwest::Method::PATCH, path).json(&body);
            prospects.send(request)
        };
        let changed = patch("/prospects/1", json!({"filedWork": "Maths", "idEvent": 1})).await?.expect(200)?;
        ensure!(
            changed["filedWork"] == "Maths" && changed["idEvent"] == 1 && changed["lastName"] == "King",
            "{changed}"
        );
        not_found(&patch("/prospects/999", json!({"filedWork": "x"})).await?, "Prospect")?;
        Ok(())
    })
    .await;
    rows.row("GET /prospects, {id}, filedWork/{v}", async {
        for n in 0..12 {
            add(&prospects, &format!("P{n}"), "Test", if n % 2 == 0 { "Law" } else { "IT" }).await?;
        }
        let page = prospects.get("/prospects?pageNbr=0&pageSize=10").await?.expect(200)?;
        has_members(&page, PAGE)?;
        ensure!(page["totalElements"] == 13 && page["totalPages"] == 2 && page["first"] == true, "{page}");
        ensure!(page["last"] == false && page["numberOfElements"] == 10 && page["number"] == 0, "{page}");
        let last = prospects.get("/prospects?pageNbr=1&pageSize=10").await?.expect(200)?;
        ensure!(last["last"] == true && last["first"] == false && last["numberOfElements"] == 3, "{last}");
        let none = prospects.get("/prospects?pageNbr=7").await?.expect(200)?;
        ensure!(none["empty"] == true && none["content"] == json!([]), "{none}");
        ensure!(prospects.get("/prospects/1").await?.expect(200)?["lastName"] == "King");
        not_found(&prospects.get("/prospects/999").await?, "Prospect")?;
        let law = prospects.get("/prospects/filedWork/Law?pageNbr=0&pageSize=4").await?.expect(200)?;
        ensure!(law["totalElements"] == 6 && law["totalPages"] == 2, "{law}");
        ensure!(
            law["content"].as_array().is_some_and(|rows| rows.iter().all(|row| row["filedWork"] == "Law")),
            "{law}"
        );
        Ok(())
    })
    .await;
    rows.row("DELETE /prospects/{id}", async {
        let deleted = prospects.delete("/prospects/2").await?;
        ensure!(deleted.status == 200 && deleted.text() == "true", "{}: {}", deleted.status, deleted.text());
        not_found(&prospects.delete("/prospects/2").await?, "Prospect")?;
        not_found(&prospects.get("/prospects/2").await?, "Prospect")?;
        Ok(())
    })
    .await;
    rows.row("POST, GET, PATCH, DELETE /events", async {
        let made = events.post("/events", &json!({"name": "Salon", "dateEvent": "2031-05-04"})).await?.expect(201)?;
        has_members(&made, &["id", "name", "dateEvent"])?;
        let path = format!("/events/{}", made["id"]);
        let request = events.request(reqwest::Method::PATCH, &path).json(&json!({"name": "Salon 2"}));
        let changed = events.send(request).await?.expect(200)?;
        ensure!(changed["name"] == "Salon 2" && changed["dateEvent"] == "2031-05-04", "{changed}");
        events.get(&path).await?.is(200, &changed)?;
        let of_day = events.get("/events/dateEvent/2031-05-04").await?.expect(200)?;
        has_members(&of_day, PAGE)?;
        ensure!(of_day["totalElements"] == 1 && of_day["content"][0]["name"] == "Salon 2", "{of_day}");
        let deleted = events.delete(&path).await?;
        ensure!(deleted.status == 204 && deleted.body.is_empty(), "{}", deleted.status);
        for response in [events.get(&path).await?, events.delete(&path).await?] {
            ensure!(!not_found(&response, "Event")?["details"].is_null());
        }
        let wrong = events.post("/events", &json!({"name": "x", "dateEvent": "tomorrow"})).await?.expect(400)?;
        ensure!(wrong["code"] == "VALIDATION_ERROR", "{wrong}");
        Ok(())
    })
    .await;
    rows.row("a token through :8081, of the fleet's own realm", async {
        let gateway = port(8081);
        for path in ["/prospects", "/events"] {
            ensure!(gateway.get(path).await?.status == 401, "{path} without a token");
            ensure!(gateway.with_token("nonsense").get(path).await?.status == 401, "{path} with nonsense");
        }
        let granted = token("user", "password").await?;
        ensure!(granted["http"] == 200 && granted["token_type"] == "Bearer", "{granted}");
        ensure!(granted["expires_in"].as_i64().is_some_and(|left| left > 3_000), "{granted}");
        let user = gateway.with_token(granted["access_token"].as_str().context("a token")?);
        has_members(&user.get("/prospects").await?.expect(200)?, PAGE)?;
        has_members(&user.get("/events/").await?.expect(200)?, PAGE)?;
        let (shopper, _) = fleet.anonymous().register("shopper").await?;
        ensure!(
            gateway.with_token(shopper.token()).get("/prospects").await?.status == 401,
            "the token of a customer was accepted"
        );
        let wrong = token("user", "wrong").await?;
        ensure!(wrong["http"] == 401 && wrong["error"] == "invalid_grant", "{wrong}");
        let realm = port(8180);
        let configuration = realm.get("/realms/EventProspect/.well-known/openid-configuration").await?.expect(200)?;
        let keys = configuration["jwks_uri"].as_str().context("jwks_uri")?;
        let keys = Client::new(keys, None).get("").await?.expect(200)?;
        ensure!(keys["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "{keys}");
        Ok(())
    })
    .await;
    if !on_servers() {
        rows.row("the older topics", async {
            let messages = eventually("all prospect events are on prospect-topic", || async {
                let log = fleet_tests::read_topic(fleet.data(), "prospect-topic").await?;
                Ok((log.len() >= 14).then_some(log))
            })
            .await?;
            ensure!(messages.contains(&"PROSPECT_CREATED: 1".to_owned()), "{messages:?}");
            ensure!(messages.contains(&"PROSPECT_DELETED:2".to_owned()), "{messages:?}");
            Ok(())
        })
        .await;
    }
    rows.finish(fleet).await.map(drop)
}
