//! Who may call which method, and which input is refused.

use auth::Role;
use proto::payment::v1::{AuthorizeRequest, GetRequest, ListRequest, Outcome};
use tonic::Code;

use crate::service::{TestService, card, one, operate, outcome, with};

#[tokio::test(flavor = "multi_thread")]
async fn only_services_change_and_admins_may_read() {
    let service = TestService::open(|_| {}).await;
    let mut client = service.client();
    let bare = client.authorize(AuthorizeRequest { items: vec![card("o1", 1)] }).await;
    assert_eq!(bare.expect_err("refused").code(), Code::Unauthenticated);
    for role in [Role::Admin, Role::Manager, Role::Clerk, Role::Customer] {
        let token = service.user_token(role);
        let reads = if role == Role::Admin { None } else { Some(Code::PermissionDenied) };
        let changes = client.authorize(with(AuthorizeRequest { items: vec![card("o1", 1)] }, &token)).await;
        assert_eq!(changes.expect_err("refused").code(), Code::PermissionDenied, "{role:?}");
        for answer in [
            client.capture(with(operate("o1", "x", 0), &token)).await,
            client.void(with(operate("o1", "x", 0), &token)).await,
            client.refund(with(operate("o1", "x", 1), &token)).await,
        ] {
            assert_eq!(answer.expect_err("refused").code(), Code::PermissionDenied, "{role:?}");
        }
        let get = client.get(with(GetRequest { ids: vec!["o1".into()] }, &token)).await;
        assert_eq!(get.err().map(|status| status.code()), reads, "{role:?}");
        let list = client.list(with(ListRequest::default(), &token)).await;
        assert_eq!(list.err().map(|status| status.code()), reads, "{role:?}");
    }
    assert!(payment::audit_facts(service.database()).await.expect("reads").payments.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_fails_alone_and_a_bad_call_as_a_whole() {
    let service = TestService::open(|_| {}).await;
    let mut items: Vec<_> = (0..7).map(|n| card(&format!("o{n}"), 100)).collect();
    items[0].amount = 0;
    items[1].currency = "euro".into();
    items[2].method = "shells".into();
    items[3].order_id = "a/b".into();
    items[4].op_id = String::new();
    items[5].order_id = "legacy:o".into();
    let results = service.authorize(items).await;
    for (result, field) in results.iter().zip(["amount", "currency", "method", "order_id", "op_id", "order_id"]) {
        assert_eq!(outcome(result), Outcome::Invalid);
        assert!(result.reason.starts_with(field), "{}", result.reason);
    }
    assert_eq!(outcome(&results[6]), Outcome::Done);
    let mut client = service.client();
    for items in [Vec::new(), vec![card("o1", 1); 1001]] {
        let status = client.authorize(with(AuthorizeRequest { items }, &service.service_token())).await;
        assert_eq!(status.expect_err("refused").code(), Code::InvalidArgument);
    }
    assert_eq!(outcome(&service.refund("o6", "r", -1).await), Outcome::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_from_the_newest_and_get_finds_by_either_id() {
    let service = TestService::open(|_| {}).await;
    service.authorize((1..=5).map(|n| card(&format!("o{n}"), n)).collect()).await;
    service.void("tombstone").await;
    let mut client = service.client();
    let mut cursor = String::new();
    let mut seen = Vec::new();
    loop {
        let request = ListRequest { limit: 2, cursor, ..ListRequest::default() };
        let page = client.list(with(request, &service.service_token())).await.expect("answers").into_inner();
        seen.extend(page.payments.iter().map(|payment| payment.order_id.clone()));
        if page.next_cursor.is_empty() {
            break;
        }
        cursor = page.next_cursor;
    }
    assert_eq!(seen, ["o5", "o4", "o3", "o2", "o1"]);
    let forged = ListRequest { cursor: "AAAA".into(), ..ListRequest::default() };
    let status = client.list(with(forged, &service.service_token())).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    let by_order = client
        .get(with(GetRequest { ids: vec!["o3".into(), "none".into(), "tombstone".into()] }, &service.service_token()));
    let found = by_order.await.expect("answers").into_inner().payments;
    assert_eq!(found.len(), 1);
    let by_id = client.get(with(GetRequest { ids: vec![found[0].id.clone()] }, &service.service_token())).await;
    assert_eq!(by_id.expect("answers").into_inner().payments, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_proto_pays_as_before() {
    let service = TestService::open(|_| {}).await;
    service.charge("o1", 1999).await;
    assert_eq!(service.pay("o1", 19.99).await.expect("answers"), "SUCCESS");
    assert_eq!(service.pay("o1", 20.0).await.expect("answers"), "DECLINED");
    for _ in 0..2 {
        assert_eq!(service.pay("theirs", 0.1).await.expect("answers"), "SUCCESS");
    }
    assert_eq!(service.pay("theirs", 0.2).await.expect("answers"), "DECLINED");
    assert_eq!(service.totals_of("legacy:theirs").await, ("captured", 10, 0));
    // An existing order is charged by its saga, or not at all.
    assert_eq!(service.pay("cancelled-1", 5.0).await.expect("answers"), "DECLINED");
    assert_eq!(service.pay("pending-1", 5.0).await.expect_err("waits").code(), Code::Unavailable);
    // The namespaces are separate: an order with the same id is charged by itself.
    assert_eq!(outcome(&service.charge("theirs", 500).await), Outcome::Done);
    for (id, amount) in [("x", f32::NAN), ("x", -1.0), ("x", 0.0), ("x", f32::INFINITY), ("", 1.0), ("a b", 1.0)] {
        assert_eq!(service.pay(id, amount).await.expect_err("refused").code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_by_the_old_proto_can_only_be_refunded() {
    let service = TestService::open(|_| {}).await;
    assert_eq!(service.pay("theirs", 10.0).await.expect("answers"), "SUCCESS");
    let mut client = service.client();
    for order_id in ["legacy:theirs", "legacy:new"] {
        let capture = client.capture(with(operate(order_id, "c", 0), &service.service_token())).await;
        let capture = one(capture.expect("answers").into_inner().results);
        for result in [capture, service.void(order_id).await] {
            assert_eq!(outcome(&result), Outcome::Invalid);
            assert!(result.reason.starts_with("order_id"), "{}", result.reason);
        }
    }
    assert_eq!(outcome(&service.refund("legacy:theirs", "r", 400).await), Outcome::Done);
    assert_eq!(service.totals_of("legacy:theirs").await, ("partly_refunded", 1000, 400));
    // The refused calls do not prevent a first payment under that id.
    assert_eq!(service.pay("new", 10.0).await.expect("answers"), "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_refund_is_up_to() {
    let service = TestService::open(|_| {}).await;
    service.charge("o1", 100).await;
    let mut request = operate("o1", "x", 0);
    request.items[0].up_to = true;
    let mut client = service.client();
    let capture = client.capture(with(request.clone(), &service.service_token())).await;
    let void = client.void(with(request, &service.service_token())).await;
    for answer in [capture, void] {
        assert_eq!(outcome(&one(answer.expect("answers").into_inner().results)), Outcome::Invalid);
    }
    assert_eq!(service.totals_of("o1").await, ("captured", 100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_need_no_token() {
    let service = TestService::open(|_| {}).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(service.channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: "souk.payment.v1.Payments".into() };
    let serving = health.check(request).await.expect("answers").into_inner().status();
    assert_eq!(serving, tonic_health::pb::health_check_response::ServingStatus::Serving);
    assert!(service.metrics().await.contains("grpc_requests_total"));
}
