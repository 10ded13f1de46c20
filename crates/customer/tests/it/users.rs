//! `/api/users` and what others verify tokens with.

use auth::{AuthConfig, Role, Verifier};
use serde_json::{Value, json};

use crate::house::{House, problem};

#[tokio::test]
async fn registering_gives_a_token_that_any_service_can_verify() {
    let house = House::start().await;
    let me = house.register("Bob").await;
    let token = me["token"].as_str().unwrap();
    assert_eq!(me["user"]["roles"], json!(["customer"]));
    let config = AuthConfig {
        issuer: house.config.issuer.clone(),
        jwks_url: format!("{}/.well-known/jwks.json", house.url),
        ..AuthConfig::default()
    };
    let caller = Verifier::new(&config).unwrap().verify(token).await.unwrap();
    assert_eq!(
        (caller.subject.as_str(), caller.roles.as_slice()),
        (me["user"]["id"].as_str().unwrap(), [Role::Customer].as_slice())
    );
    assert_eq!(caller.customer_id.as_deref(), me["user"]["customer_id"].as_str());
    let user: Value = house.get("/api/users/me", token).await.json().await.unwrap();
    assert_eq!(user, me["user"]);

    house.make(&json!({"name": "Carol", "email": "carol@example.org"})).await;
    for (username, email) in [("bob", "new@example.org"), ("new", "BOB@example.org"), ("carol", "Carol@example.org")] {
        let body = json!({"username": username, "email": email, "password": "correct horse"});
        problem(house.send("POST", "/api/users/register", "", &body).await, 409).await;
    }
    let weak = json!({"username": "a b", "email": "x", "password": "short"});
    let told = problem(house.send("POST", "/api/users/register", "", &weak).await, 422).await;
    let fields: Vec<&str> =
        told["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["username", "email", "password"]);
}

#[tokio::test]
async fn logging_in_takes_the_password_and_logging_out_ends_the_token() {
    let house = House::start().await;
    house.register("bob").await;
    let login = |body: Value| {
        let house = &house;
        async move { house.send("POST", "/api/users/login", "", &body).await }
    };
    let by_name = login(json!({"username": "BOB", "password": "correct horse"})).await;
    assert_eq!(by_name.status(), 200);
    let by_email: Value =
        login(json!({"email": "bob@example.org", "password": "correct horse"})).await.json().await.unwrap();
    assert!(by_email["expires_at"].as_str().unwrap().ends_with('Z'));
    let wrong = problem(login(json!({"username": "bob", "password": "wrong horse"})).await, 401).await;
    let unknown = problem(login(json!({"username": "eve", "password": "wrong horse"})).await, 401).await;
    assert_eq!(wrong["detail"], unknown["detail"]);
    problem(login(json!({"password": "correct horse"})).await, 422).await;
    problem(login(json!({"username": "bob"})).await, 400).await;

    let token = by_email["token"].as_str().unwrap();
    assert_eq!(house.send("POST", "/api/users/logout", token, &json!({})).await.status(), 204);
    problem(house.get("/api/users/me", token).await, 401).await;
    let revoked: Value = house.get("/.well-known/revoked", "").await.json().await.unwrap();
    assert_eq!(revoked["revoked"].as_array().unwrap().len(), 1);
    let other = by_name.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!(house.get("/api/users/me", &other).await.status(), 200);
}

#[tokio::test]
async fn head_office_makes_users_and_gives_roles() {
    let house = House::start().await;
    let body = json!({"username": "manager", "email": "m@souk.example", "password": "correct horse", "roles": ["manager"], "stores": ["paris"]});
    problem(house.send("POST", "/api/users", &house.clerk, &body).await, 403).await;
    let made: Value = house.send("POST", "/api/users", &house.admin, &body).await.json().await.unwrap();
    assert!(made.get("password").is_none() && made.get("customer_id").is_none(), "{made}");
    let login = json!({"username": "manager", "password": "correct horse"});
    let token = house.send("POST", "/api/users/login", "", &login).await.json::<Value>().await.unwrap()["token"]
        .as_str()
        .unwrap()
        .to_owned();

    let roles = format!("/api/users/{}/roles", made["id"].as_str().unwrap());
    for bad in [
        json!({"roles": ["service"]}),
        json!({"roles": []}),
        json!({"roles": ["king"]}),
        json!({"roles": ["clerk"], "stores": ["a b"]}),
    ] {
        problem(house.send("PUT", &roles, &house.admin, &bad).await, 422).await;
    }
    let clerk = json!({"roles": ["clerk"], "stores": ["berlin"]});
    let changed: Value = house.send("PUT", &roles, &house.admin, &clerk).await.json().await.unwrap();
    assert_eq!((&changed["roles"], &changed["version"]), (&json!(["clerk"]), &json!(2)));
    problem(house.get("/api/users/me", &token).await, 401).await;

    let users: Value = house.get("/api/users?include_total=true&limit=2", &house.admin).await.json().await.unwrap();
    assert_eq!((&users["total"], users["data"].as_array().unwrap().len()), (&json!(3), 2));
    let admin = users["data"].as_array().unwrap().iter().find(|user| user["username"] == "admin").unwrap();
    let path = format!("/api/users/{}/roles", admin["id"].as_str().unwrap());
    problem(house.send("PUT", &path, &house.admin, &clerk).await, 409).await;
}

#[tokio::test]
async fn the_api_describes_itself() {
    let house = House::start().await;
    let api: Value = house.get("/openapi.json", "").await.json().await.unwrap();
    assert_eq!(api, serde_json::to_value(customer::openapi()).unwrap());
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(api["paths"]["/api/customers/{id}"]["patch"].is_object());
    assert_eq!(house.get("/docs/", "").await.status(), 200);
    assert_eq!(house.get("/ready", "").await.status(), 200);
}
