//! `/api/users` and what others verify tokens with.

use auth::{AuthConfig, Role, Verifier};
use serde_json::{Value, json};

use crate::test_service::{TestService, problem};

#[tokio::test]
async fn registering_gives_a_token_that_any_service_can_verify() {
    let service = TestService::start().await;
    let me = service.register("Bob").await;
    let token = me["token"].as_str().unwrap();
    assert_eq!(me["user"]["roles"], json!(["customer"]));
    let config = AuthConfig {
        issuer: service.config.common.auth.issuer.clone(),
        jwks_url: format!("{}/.well-known/jwks.json", service.url),
        ..AuthConfig::default()
    };
    let caller = Verifier::new(&config).unwrap().verify(token).await.unwrap();
    assert_eq!(
        (caller.subject.as_str(), caller.roles.as_slice()),
        (me["user"]["id"].as_str().unwrap(), [Role::Customer].as_slice())
    );
    assert_eq!(caller.customer_id.as_deref(), me["user"]["customer_id"].as_str());
    let user: Value = service.get("/api/users/me", token).await.json().await.unwrap();
    assert_eq!(user, me["user"]);

    service.make(&json!({"name": "Carol", "email": "carol@example.org"})).await;
    for (username, email) in [("bob", "new@example.org"), ("new", "BOB@example.org"), ("carol", "Carol@example.org")] {
        let body = json!({"username": username, "email": email, "password": "correct horse"});
        problem(service.send("POST", "/api/users/register", "", &body).await, 409).await;
    }
    let weak = json!({"username": "a b", "email": "x", "password": "short"});
    let told = problem(service.send("POST", "/api/users/register", "", &weak).await, 422).await;
    let fields: Vec<&str> =
        told["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["username", "email", "password"]);
}

#[tokio::test]
async fn logging_in_takes_the_password_and_logging_out_ends_the_token() {
    let service = TestService::start().await;
    service.register("bob").await;
    let login = |body: Value| {
        let service = &service;
        async move { service.send("POST", "/api/users/login", "", &body).await }
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
    assert_eq!(service.send("POST", "/api/users/logout", token, &json!({})).await.status(), 204);
    problem(service.get("/api/users/me", token).await, 401).await;
    let revoked: Value = service.get("/.well-known/revoked", "").await.json().await.unwrap();
    assert_eq!(revoked["revoked"].as_array().unwrap().len(), 1);
    let other = by_name.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!(service.get("/api/users/me", &other).await.status(), 200);
}

#[tokio::test]
async fn head_office_makes_users_and_gives_roles() {
    let service = TestService::start().await;
    let body = json!({"username": "manager", "email": "m@souk.example", "password": "correct horse", "roles": ["manager"], "stores": ["paris"]});
    problem(service.send("POST", "/api/users", &service.clerk, &body).await, 403).await;
    let made: Value = service.send("POST", "/api/users", &service.admin, &body).await.json().await.unwrap();
    assert!(made.get("password").is_none() && made.get("customer_id").is_none(), "{made}");
    let login = json!({"username": "manager", "password": "correct horse"});
    let token = service.send("POST", "/api/users/login", "", &login).await.json::<Value>().await.unwrap()["token"]
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
        problem(service.send("PUT", &roles, &service.admin, &bad).await, 422).await;
    }
    let clerk = json!({"roles": ["clerk"], "stores": ["berlin"]});
    let changed: Value = service.send("PUT", &roles, &service.admin, &clerk).await.json().await.unwrap();
    assert_eq!((&changed["roles"], &changed["version"]), (&json!(["clerk"]), &json!(2)));
    problem(service.get("/api/users/me", &token).await, 401).await;

    let users: Value = service.get("/api/users?include_total=true&limit=2", &service.admin).await.json().await.unwrap();
    assert_eq!((&users["total"], users["data"].as_array().unwrap().len()), (&json!(3), 2));
    let admin = users["data"].as_array().unwrap().iter().find(|user| user["username"] == "admin").unwrap();
    let path = format!("/api/users/{}/roles", admin["id"].as_str().unwrap());
    problem(service.send("PUT", &path, &service.admin, &clerk).await, 409).await;
}

#[tokio::test]
async fn users_are_given_only_stores_that_exist() {
    let service = TestService::start().await;
    let body = |stores: Value| json!({"username": "carla", "email": "c@souk.example", "password": "correct horse", "roles": ["clerk"], "stores": stores});
    let told = problem(
        service.send("POST", "/api/users", &service.admin, &body(json!(["berlin", "atlantis", "paris", "mu"]))).await,
        422,
    )
    .await;
    let fields: Vec<_> =
        told["errors"].as_array().unwrap().iter().map(|error| (&error["field"], &error["rule"])).collect();
    let (exists, first, second) = (json!("exists"), json!("stores[1]"), json!("stores[3]"));
    assert_eq!(fields, [(&first, &exists), (&second, &exists)]);
    let told = problem(service.send("POST", "/api/users", &service.admin, &body(json!([]))).await, 422).await;
    assert_eq!(told["errors"][0]["field"], "stores");

    let made: Value =
        service.send("POST", "/api/users", &service.admin, &body(json!(["berlin"]))).await.json().await.unwrap();
    let roles = format!("/api/users/{}/roles", made["id"].as_str().unwrap());
    for (bad, field) in [(json!(["atlantis"]), "stores[0]"), (json!([]), "stores")] {
        let bad = json!({"roles": ["manager"], "stores": bad});
        let told = problem(service.send("PUT", &roles, &service.admin, &bad).await, 422).await;
        assert_eq!(told["errors"][0]["field"], field);
    }
    let customer = json!({"roles": ["customer"]});
    assert_eq!(service.send("PUT", &roles, &service.admin, &customer).await.status(), 200);
}

#[tokio::test]
async fn stores_are_not_given_while_the_stock_service_is_away() {
    let stock = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", stock.local_addr().unwrap());
    let place = axum::routing::get(async || axum::Json(json!({"id": "berlin"})));
    let router = axum::Router::new().route("/api/places/berlin", place);
    let serving = tokio::spawn(async move { axum::serve(stock, router).await });
    let service = TestService::start_between("http://127.0.0.1:9", &url).await;
    let body = |name: &str, store: &str| {
        json!({"username": name, "email": format!("{name}@souk.example"), "password": "correct horse",
            "roles": ["clerk"], "stores": [store]})
    };
    let send = async |name: &str, store: &str| {
        let request = service.request("POST", "/api/users", &service.admin).header("idempotency-key", name);
        request.json(&body(name, store)).send().await.unwrap()
    };
    let first = send("carla", "berlin").await;
    assert_eq!(first.status(), 201);
    // A 404 that is not the stock service's word about a place says nothing.
    problem(send("dora", "atlantis").await, 503).await;
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    let lonely = TestService::start_between("http://127.0.0.1:9", "http://127.0.0.1:9").await;
    let away = lonely.send("POST", "/api/users", &lonely.admin, &body("emma", "berlin")).await;
    assert_eq!(away.headers()["retry-after"], "1");
    problem(away, 503).await;
    let again = send("carla", "berlin").await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<Value>().await.unwrap(), first.json::<Value>().await.unwrap());
}

#[tokio::test]
async fn ten_wrong_passwords_let_a_login_name_rest_whether_it_exists_or_not() {
    let service = TestService::start().await;
    service.register("bob").await;
    let login = async |name: &str, password: &str| {
        service.send("POST", "/api/users/login", "", &json!({"username": name, "password": password})).await
    };
    // A right one clears what was wrong before.
    for _ in 0..9 {
        problem(login("bob", "wrong horse").await, 401).await;
    }
    assert_eq!(login("bob", "correct horse").await.status(), 200);
    let mut told = Vec::new();
    for name in ["bob", "eve"] {
        for n in 0..10 {
            let name = if n % 2 == 0 { name.to_uppercase() } else { name.to_owned() };
            problem(login(&name, "wrong horse").await, 401).await;
        }
        let refused = login(name, "correct horse").await;
        let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        told.push(problem(refused, 429).await["detail"].clone());
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(login("clerk", "correct horse").await.status(), 200);
}

#[tokio::test]
async fn wrong_passwords_that_come_at_once_are_counted_too() {
    let service = TestService::start().await;
    let body = json!({"username": "clerk", "password": "wrong horse"});
    let all = futures::future::join_all((0..30).map(|_| service.send("POST", "/api/users/login", "", &body))).await;
    let checked = all.iter().filter(|answer| answer.status() == 401).count();
    // Two are checked at once, so one may be under way when the tenth is counted.
    assert!((10..=11).contains(&checked), "{checked}");
    assert!(all.iter().all(|answer| answer.status() == 401 || answer.status() == 429));
}

#[tokio::test]
async fn the_api_describes_itself() {
    let service = TestService::start().await;
    let api: Value = service.get("/openapi.json", "").await.json().await.unwrap();
    assert!(
        api == chassis::with_problems(serde_json::to_value(customer::openapi()).unwrap()),
        "it is what `souk openapi` prints"
    );
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(api["paths"]["/api/customers/{id}"]["patch"].is_object());
    assert_eq!(service.get("/docs/", "").await.status(), 200);
    assert_eq!(service.get("/ready", "").await.status(), 200);
}
