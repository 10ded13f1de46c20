//! Queries and mutations.

use commerce::{Amount, Currency, ProductId};
use product::SeedProduct;
use serde_json::{Value, json};

use crate::test_service::TestService;

const ALL: &str = "id number name description category price currency active version";

#[tokio::test]
async fn a_product_is_added_changed_found_and_deleted() {
    let service = TestService::start().await;
    let add = format!(
        r#"mutation {{ addProduct(id: "85123A", name: "Holder", price: 12.3, description: "white", category: "Home") {{ {ALL} }} }}"#
    );
    let made = &service.data(&service.admin, &add).await["addProduct"];
    let expected = json!({"id": "85123A", "number": 1, "name": "Holder", "description": "white", "category": "Home",
                          "price": 12.3, "currency": "EUR", "active": true, "version": 1});
    assert_eq!(*made, expected);
    assert_eq!(service.data(&service.admin, &add).await["addProduct"], expected, "a repeat by id");

    let update = r#"mutation { updateProduct(id: "85123A", price: 899.99, description: null, version: 1) { price description category version } }"#;
    let changed = &service.data(&service.admin, update).await["updateProduct"];
    assert_eq!(*changed, json!({"price": 899.99, "description": null, "category": "Home", "version": 2}));
    assert_eq!(service.error(&service.admin, update).await.0, "STALE");
    let same = r#"mutation { updateProduct(id: "85123A", price: 899.990, name: "Holder") { version } }"#;
    assert_eq!(service.data(&service.admin, same).await["updateProduct"]["version"], 2);

    service
        .data(
            &service.admin,
            r#"mutation { addProduct(id: "85123a", name: "holder, small", price: 5, active: false) { id } }"#,
        )
        .await;
    let ids = r#"{ productsByIds(ids: ["85123a", "none", "85123A", "85123a"]) { id price active } }"#;
    let found = service.data("", ids).await;
    assert_eq!(found["productsByIds"][0], json!({"id": "85123a", "price": 5, "active": false}));
    assert_eq!((&found["productsByIds"][1], &found["productsByIds"][2]["id"]), (&Value::Null, &json!("85123A")));
    assert_eq!(found["productsByIds"][3]["id"], "85123a");
    let read = service
        .data("", r#"{ products { id } product(id: "85123A") { name } none: product(id: "x") { name } categories }"#)
        .await;
    assert_eq!(
        read,
        json!({"products": [{"id": "85123A"}], "product": {"name": "Holder"}, "none": null, "categories": ["Home"]})
    );

    let delete = r#"mutation { deleteProduct(id: "85123A") { id active version } }"#;
    assert_eq!(
        service.data(&service.admin, delete).await["deleteProduct"],
        json!({"id": "85123A", "active": false, "version": 3})
    );
    let unknown = service.error(&service.admin, delete).await;
    assert_eq!(unknown, ("NOT_FOUND".into(), "Produit avec l'ID 85123A non trouvé".into()));
    assert_eq!(service.error(&service.admin, &add).await.0, "CONFLICT", "the id stays taken");
    assert_eq!(
        service.data("", r#"{ product(id: "85123A") { id } productsByIds(ids: ["85123A"]) { id } }"#).await,
        json!({"product": null, "productsByIds": [null]})
    );

    assert_eq!(audited(&service).await, [1, 2, 3]);
}

/// Sequences of the events about the first product, which must be what the store says of it.
async fn audited(service: &TestService) -> Vec<i64> {
    let facts = product::audit_facts(&service.config.common.database_url).await.unwrap();
    let gone = &facts.products[0];
    assert_eq!((gone.id.as_str(), gone.last_sequence), ("85123A", 3));
    assert!(facts.outbox.events[1].payload.contains(r#""price":899.99"#), "{}", facts.outbox.events[1].payload);
    let about = facts.outbox.events.iter().filter(|event| event.subject == "85123A");
    about.map(|event| event.sequence).collect()
}

#[tokio::test]
async fn the_catalogue_is_searched_and_walked_through() {
    let service = TestService::start().await;
    let product = |n: i64| SeedProduct {
        id: ProductId::parse(&format!("p-{n}")).unwrap(),
        name: format!("Thing {n}"),
        description: (n == 3).then(|| "100% Wool".into()),
        category: Some(if n % 2 == 0 { "even" } else { "odd" }.into()),
        price: Amount::from_minor(n * 100 + 99),
        currency: Currency::EUR,
    };
    let products: Vec<SeedProduct> = (1..=5).map(product).collect();
    assert_eq!(product::seed(&service.config, &products[..2]).await.unwrap(), 2);
    assert_eq!(product::seed(&service.config, &products).await.unwrap(), 3);

    let mut seen = Vec::new();
    let mut after = "null".to_owned();
    loop {
        let query = format!(
            "{{ catalog(first: 2, after: {after}) {{ totalCount edges {{ cursor node {{ id number }} }} pageInfo {{ hasNextPage hasPreviousPage endCursor }} }} }}"
        );
        let part = service.data("", &query).await["catalog"].take();
        assert_eq!(part["totalCount"], 5);
        seen.extend(part["edges"].as_array().unwrap().iter().map(|edge| edge["node"]["number"].as_i64().unwrap()));
        after = part["pageInfo"]["endCursor"].to_string();
        if part["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    for (filter, count) in [
        ("search: \"THING 4\"", 1),
        ("search: \"0% w\"", 1),
        ("search: \"_\"", 0),
        ("category: \"odd\"", 3),
        ("category: \"odd\", active: false", 0),
        ("active: null", 5),
    ] {
        let found = service.data("", &format!("{{ catalog({filter}) {{ totalCount }} }}")).await;
        assert_eq!(found["catalog"]["totalCount"], count, "{filter}");
    }
}

#[tokio::test]
async fn only_admins_change_and_rules_are_told_by_field() {
    let service = TestService::start().await;
    let add = r#"mutation { addProduct(name: "x", price: 1) { id } }"#;
    assert_eq!(service.error("", add).await.0, "UNAUTHENTICATED");
    assert_eq!(service.error(&service.clerk, add).await.0, "FORBIDDEN");
    assert_eq!(service.post("nonsense", "{ categories }", json!({})).await.status(), 401);
    for (arguments, code) in [
        (r#"name: "", price: 1"#, "INVALID"),
        (r#"name: "x", price: -1"#, "INVALID"),
        (r#"name: "x", price: 1, id: "a b""#, "INVALID"),
        (r#"name: "x", price: 1, currency: "euro""#, "INVALID"),
        (r#"name: "x", price: 12.345"#, "BAD_REQUEST"),
        (r#"name: "x", price: "1""#, "BAD_REQUEST"),
        (r#"name: "x", price: 1, colour: "red""#, "BAD_REQUEST"),
        (r#"name: "x""#, "BAD_REQUEST"),
    ] {
        let query = format!("mutation {{ addProduct({arguments}) {{ id }} }}");
        assert_eq!(service.error(&service.admin, &query).await.0, code, "{arguments}");
    }
    let long = "mutation($name: String!) { addProduct(name: $name, price: 1) { id } }";
    let told: Value =
        service.post(&service.admin, long, json!({"name": "x".repeat(1 << 20)})).await.json().await.unwrap();
    assert_eq!(told["errors"][0]["extensions"]["errors"][0]["field"], "name", "{told}");
    assert_eq!(service.data("", "{ products { id } }").await["products"], json!([]));
}

#[tokio::test]
async fn a_repeat_by_key_gives_the_first_answer() {
    let service = TestService::start().await;
    let add = r#"mutation { addProduct(name: "x", price: 1, idempotencyKey: "k") { id number version } }"#;
    let first = service.data(&service.admin, add).await;
    let id = first["addProduct"]["id"].as_str().unwrap();
    service.data(&service.admin, &format!(r#"mutation {{ updateProduct(id: "{id}", price: 2) {{ version }} }}"#)).await;
    assert_eq!(service.data(&service.admin, add).await, first);
    let other = add.replace("price: 1", "price: 2");
    assert_eq!(service.error(&service.admin, &other).await.0, "INVALID");
}
