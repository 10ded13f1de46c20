//! Queries and mutations.

use commerce::{Amount, Currency, ProductId};
use product::SeedProduct;
use serde_json::{Value, json};

use crate::house::House;

const ALL: &str = "id number name description category price currency active version";

#[tokio::test]
async fn a_product_is_added_changed_found_and_deleted() {
    let house = House::start().await;
    let add = format!(
        r#"mutation {{ addProduct(id: "85123A", name: "Holder", price: 12.3, description: "white", category: "Home") {{ {ALL} }} }}"#
    );
    let made = &house.data(&house.admin, &add).await["addProduct"];
    let expected = json!({"id": "85123A", "number": 1, "name": "Holder", "description": "white", "category": "Home",
                          "price": 12.3, "currency": "EUR", "active": true, "version": 1});
    assert_eq!(*made, expected);
    assert_eq!(house.data(&house.admin, &add).await["addProduct"], expected, "a repeat by id");

    let update = r#"mutation { updateProduct(id: "85123A", price: 899.99, description: null, version: 1) { price description category version } }"#;
    let changed = &house.data(&house.admin, update).await["updateProduct"];
    assert_eq!(*changed, json!({"price": 899.99, "description": null, "category": "Home", "version": 2}));
    assert_eq!(house.error(&house.admin, update).await.0, "STALE");
    let same = r#"mutation { updateProduct(id: "85123A", price: 899.990, name: "Holder") { version } }"#;
    assert_eq!(house.data(&house.admin, same).await["updateProduct"]["version"], 2);

    house
        .data(
            &house.admin,
            r#"mutation { addProduct(id: "85123a", name: "holder, small", price: 5, active: false) { id } }"#,
        )
        .await;
    let ids = r#"{ productsByIds(ids: ["85123a", "none", "85123A", "85123a"]) { id price active } }"#;
    let found = house.data("", ids).await;
    assert_eq!(found["productsByIds"][0], json!({"id": "85123a", "price": 5, "active": false}));
    assert_eq!((&found["productsByIds"][1], &found["productsByIds"][2]["id"]), (&Value::Null, &json!("85123A")));
    assert_eq!(found["productsByIds"][3]["id"], "85123a");
    let read = house
        .data("", r#"{ products { id } product(id: "85123A") { name } none: product(id: "x") { name } categories }"#)
        .await;
    assert_eq!(
        read,
        json!({"products": [{"id": "85123A"}], "product": {"name": "Holder"}, "none": null, "categories": ["Home"]})
    );

    let delete = r#"mutation { deleteProduct(id: "85123A") { id active version } }"#;
    assert_eq!(
        house.data(&house.admin, delete).await["deleteProduct"],
        json!({"id": "85123A", "active": false, "version": 3})
    );
    let unknown = house.error(&house.admin, delete).await;
    assert_eq!(unknown, ("NOT_FOUND".into(), "Produit avec l'ID 85123A non trouvé".into()));
    assert_eq!(house.error(&house.admin, &add).await.0, "CONFLICT", "the id stays taken");
    assert_eq!(
        house.data("", r#"{ product(id: "85123A") { id } productsByIds(ids: ["85123A"]) { id } }"#).await,
        json!({"product": null, "productsByIds": [null]})
    );

    assert_eq!(audited(&house).await, [1, 2, 3]);
}

/// Sequences of the events about the first product, which must be what the store says of it.
async fn audited(house: &House) -> Vec<i64> {
    let facts = product::audit_facts(&house.config.common.database_url).await.unwrap();
    let gone = &facts.products[0];
    assert_eq!((gone.id.as_str(), gone.last_sequence, gone.deleted), ("85123A", 3, true));
    assert!(facts.outbox.events[1].payload.contains(r#""price":899.99"#), "{}", facts.outbox.events[1].payload);
    let about = facts.outbox.events.iter().filter(|event| event.subject == "85123A");
    about.map(|event| event.sequence).collect()
}

#[tokio::test]
async fn the_catalogue_is_searched_and_walked_through() {
    let house = House::start().await;
    let product = |n: i64| SeedProduct {
        id: ProductId::parse(&format!("p-{n}")).unwrap(),
        name: format!("Thing {n}"),
        description: (n == 3).then(|| "100% Wool".into()),
        category: Some(if n % 2 == 0 { "even" } else { "odd" }.into()),
        price: Amount::from_minor(n * 100 + 99),
        currency: Currency::EUR,
    };
    let products: Vec<SeedProduct> = (1..=5).map(product).collect();
    assert_eq!(product::seed(&house.config, &products[..2]).await.unwrap(), 2);
    assert_eq!(product::seed(&house.config, &products).await.unwrap(), 3);

    let mut seen = Vec::new();
    let mut after = "null".to_owned();
    loop {
        let query = format!(
            "{{ catalog(first: 2, after: {after}) {{ totalCount edges {{ cursor node {{ id number }} }} pageInfo {{ hasNextPage hasPreviousPage endCursor }} }} }}"
        );
        let part = house.data("", &query).await["catalog"].take();
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
        let found = house.data("", &format!("{{ catalog({filter}) {{ totalCount }} }}")).await;
        assert_eq!(found["catalog"]["totalCount"], count, "{filter}");
    }
}

#[tokio::test]
async fn only_admins_change_and_rules_are_told_by_field() {
    let house = House::start().await;
    let add = r#"mutation { addProduct(name: "x", price: 1) { id } }"#;
    assert_eq!(house.error("", add).await.0, "UNAUTHENTICATED");
    assert_eq!(house.error(&house.clerk, add).await.0, "FORBIDDEN");
    assert_eq!(house.post("nonsense", "{ categories }", json!({})).await.status(), 401);
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
        assert_eq!(house.error(&house.admin, &query).await.0, code, "{arguments}");
    }
    let long = "mutation($name: String!) { addProduct(name: $name, price: 1) { id } }";
    let told: Value = house.post(&house.admin, long, json!({"name": "x".repeat(1 << 20)})).await.json().await.unwrap();
    assert_eq!(told["errors"][0]["extensions"]["errors"][0]["field"], "name", "{told}");
    assert_eq!(house.data("", "{ products { id } }").await["products"], json!([]));
}

#[tokio::test]
async fn a_repeat_by_key_gives_the_first_answer() {
    let house = House::start().await;
    let add = r#"mutation { addProduct(name: "x", price: 1, idempotencyKey: "k") { id number version } }"#;
    let first = house.data(&house.admin, add).await;
    let id = first["addProduct"]["id"].as_str().unwrap();
    house.data(&house.admin, &format!(r#"mutation {{ updateProduct(id: "{id}", price: 2) {{ version }} }}"#)).await;
    assert_eq!(house.data(&house.admin, add).await, first);
    let other = add.replace("price: 1", "price: 2");
    assert_eq!(house.error(&house.admin, &other).await.0, "INVALID");
}
