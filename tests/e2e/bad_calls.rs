//! Invalid requests over GraphQL and gRPC get the right error code, and change nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use auth::InternalKey;
use bytes::Bytes;
use chassis::Secret;
use fleet_tests::{Fleet, drain_and_audit};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use proto::{
    legacy::{PaymentRequest, payment_service_client::PaymentServiceClient},
    payment::v1 as payment,
    stock::v1 as stock,
};
use serde_json::json;
use tonic::{Code, Request};

use crate::bad_input::counts;

#[tokio::test(flavor = "multi_thread")]
async fn graphql_refuses_with_a_code() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let before = counts(&admin).await?;
    let deep = format!("{}id{}", "{product(id:\"1\")".repeat(50), "}".repeat(50));
    let brackets = format!("{}{}", "{a".repeat(50), "}".repeat(50));
    let wide = format!("{{{}}}", (0..400).map(|n| format!("a{n}:products{{id name}}")).collect::<String>());
    for (query, code) in [
        (deep.as_str(), "BAD_REQUEST"),
        (&brackets, "BAD_REQUEST"),
        (&wide, "BAD_REQUEST"),
        ("{", "BAD_REQUEST"),
        ("", "BAD_REQUEST"),
        ("{nothing}", "BAD_REQUEST"),
        ("{product(id:{a:1}){id}}", "BAD_REQUEST"),
        ("{catalog(first:1000){edges{node{id}}}}", "INVALID"),
        ("{catalog(after:\"garbage\"){edges{node{id}}}}", "INVALID"),
        ("mutation{addProduct(name:\"\",price:1){id}}", "INVALID"),
        ("mutation{addProduct(name:\"A\",price:1.005){id}}", "BAD_REQUEST"),
        ("mutation{addProduct(name:\"A\",price:-1){id}}", "INVALID"),
        ("mutation{addProduct(name:\"A\",price:\"1\"){id}}", "BAD_REQUEST"),
        ("mutation{updateProduct(id:\"no-such\",price:1){id}}", "NOT_FOUND"),
        ("mutation{deleteProduct(id:\"no-such\"){id}}", "NOT_FOUND"),
    ] {
        let response = admin.post("/graphql", &json!({"query": query})).await?.expect(200)?;
        let found = &response["errors"][0]["extensions"]["code"];
        let excerpt: String = query.chars().take(60).collect();
        ensure!(found == code, "{excerpt}: {response}");
    }
    for body in [json!({}), json!({"query": 7}), json!([]), json!({"query": "{products{id}}", "variables": 7})] {
        admin.post("/graphql", &body).await?.problem(400)?;
    }
    assert_eq!(counts(&admin).await?, before, "something was written");
    Ok(())
}

/// An internal token, as services use it among each other.
fn internal_token(fleet: &Fleet) -> Result<String> {
    let key = std::fs::read_to_string(fleet.data().join("internal.key"))?;
    Ok(InternalKey::parse(&Secret::new(key))?.mint("test")?)
}

fn request_with_token<T>(message: T, token: &str) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(10));
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    }
    Ok(request)
}

fn reserve_request(order: &str, place: &str, product: &str, quantity: u32) -> stock::ReserveRequest {
    let lines = vec![stock::Line { product_id: product.into(), quantity }];
    stock::ReserveRequest { orders: vec![stock::OrderLines { order_id: order.into(), place_id: place.into(), lines }] }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_of_stock_refuses_with_a_status_or_an_outcome() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let before = counts(&admin).await?;
    let token = internal_token(&fleet)?;
    let mut stock_client = stock::stock_client::StockClient::connect(fleet.grpc("stock")).await?;
    let mut payment_client = payment::payments_client::PaymentsClient::connect(fleet.grpc("payment")).await?;
    let (manager, customer) = (fleet.client("manager"), fleet.client("customer"));
    for (token, code) in [
        ("", Code::Unauthenticated),
        ("abc", Code::Unauthenticated),
        (customer.token(), Code::PermissionDenied),
        (manager.token(), Code::PermissionDenied),
        (admin.token(), Code::PermissionDenied),
    ] {
        let refused = stock_client
            .reserve(request_with_token(reserve_request("o", "logistics", "1", 1), token)?)
            .await
            .map_err(|status| status.code());
        assert_eq!(refused.err(), Some(code), "{token}");
        let request = payment::OperateRequest { items: Vec::new() };
        let refused = payment_client.refund(request_with_token(request, token)?).await.map_err(|status| status.code());
        assert_eq!(refused.err(), Some(code), "{token}");
    }
    payment_client.list(request_with_token(payment::ListRequest::default(), admin.token())?).await?;
    let bad = [
        reserve_request("", "logistics", "1", 1),
        reserve_request("o1", "logistics", "1", 0),
        reserve_request("o2", "nowhere", "1", 1),
        reserve_request("o3", "a b", "1", 1),
    ];
    for request in bad {
        let excerpt = format!("{request:?}");
        match stock_client.reserve(request_with_token(request, &token)?).await {
            Ok(response) => {
                let outcomes: Vec<_> = response.get_ref().results.iter().map(|result| result.outcome()).collect();
                ensure!(outcomes == [stock::ReserveOutcome::Invalid], "{excerpt}: {response:?}");
            }
            Err(status) => ensure!(status.code() == Code::InvalidArgument, "{excerpt}: {status}"),
        }
    }
    assert_eq!(counts(&admin).await?, before, "something was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_of_payments_refuses_with_a_status_or_an_outcome() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let before = counts(&admin).await?;
    let token = internal_token(&fleet)?;
    let mut payment_client = payment::payments_client::PaymentsClient::connect(fleet.grpc("payment")).await?;
    for (order_id, amount, currency, method) in
        [("", 1, "EUR", "card"), ("p1", -1, "EUR", "card"), ("p2", 1, "euro", "card"), ("p3", 1, "EUR", "shells")]
    {
        let item = payment::Authorization {
            order_id: order_id.into(),
            op_id: "op".into(),
            amount,
            currency: currency.into(),
            customer_id: String::new(),
            method: method.into(),
            capture: true,
        };
        match payment_client
            .authorize(request_with_token(payment::AuthorizeRequest { items: vec![item] }, &token)?)
            .await
        {
            Ok(response) => {
                let outcomes: Vec<_> = response.get_ref().results.iter().map(|result| result.outcome()).collect();
                ensure!(
                    outcomes == [payment::Outcome::Invalid],
                    "{order_id} {amount} {currency} {method}: {response:?}"
                );
            }
            Err(status) => {
                ensure!(status.code() == Code::InvalidArgument, "{order_id} {amount} {currency} {method}: {status}")
            }
        }
    }
    let mut pay = PaymentServiceClient::connect(fleet.grpc("payment")).await?;
    for (order_id, amount) in
        [("", 1.0), ("a b", 1.0), ("x", -1.0), ("x", f32::NAN), ("x", f32::INFINITY), ("x", f32::MAX)]
    {
        let refused =
            pay.pay(PaymentRequest { order_id: order_id.into(), amount }).await.map_err(|status| status.code());
        assert_eq!(refused.err(), Some(Code::InvalidArgument), "{order_id} {amount}");
    }
    assert_eq!(counts(&admin).await?, before, "something was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_grpc_message_are_refused_with_a_status() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    let admin = fleet.client("admin");
    let before = counts(&admin).await?;
    let token = internal_token(&fleet)?;
    let mut stock_client = stock::stock_client::StockClient::connect(fleet.grpc("stock")).await?;
    for (port, path) in [
        ("stock", "/souk.stock.v1.Stock/Reserve"),
        ("payment", "/souk.payment.v1.Payments/Authorize"),
        ("payment", "/PaymentService/Pay"),
    ] {
        for (what, body) in [
            ("no message", b"\0\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
            ("a length beyond the end", b"\0\0\0\0\xff\x0a".to_vec()),
            ("a length beyond the limit", b"\0\xff\xff\xff\xff\x0a".to_vec()),
            ("an unknown compression", b"\x07\0\0\0\x01\x0a".to_vec()),
        ] {
            let code = raw_call(&format!("{}{path}", fleet.grpc(port)), &token, body).await?;
            // INVALID_ARGUMENT, RESOURCE_EXHAUSTED, OUT_OF_RANGE, UNIMPLEMENTED: client errors, never server errors.
            ensure!([3, 8, 11, 12].contains(&code), "{what} to {path}: {code}");
        }
    }
    let request = stock::CheckRequest { orders: reserve_request("check", "logistics", "1", 1).orders };
    let response =
        stock_client.check(request_with_token(request, &token)?).await.context("the service no longer responds")?;
    assert_eq!(response.get_ref().results[0].outcome(), stock::ReserveOutcome::Reserved);
    assert_eq!(counts(&admin).await?, before, "something was written");
    drain_and_audit(fleet).await?;
    Ok(())
}

/// Sends bytes instead of a gRPC message; returns the gRPC status of the response.
async fn raw_call(url: &str, token: &str, body: Vec<u8>) -> Result<i32> {
    let client = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let request = http::Request::post(url)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(body)))?;
    let response = tokio::time::timeout(Duration::from_secs(10), client.request(request)).await??;
    ensure!(response.status() == 200, "{url}: {}", response.status());
    let code =
        |headers: &http::HeaderMap| headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<i32>().ok());
    if let Some(code) = code(response.headers()) {
        return Ok(code);
    }
    let rest = response.into_body().collect().await?;
    rest.trailers().and_then(code).with_context(|| format!("{url}: no grpc-status"))
}
