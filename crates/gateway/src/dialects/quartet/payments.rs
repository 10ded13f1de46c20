//! Payments, by the old proto, which the payment service implements.

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::Json;
use http::StatusCode;
use proto::legacy::{PaymentRequest, payment_service_client::PaymentServiceClient};
use serde_json::json;
use tonic::{Code, Request};

use super::{Quartet, refusal};
use crate::dialects::{money, routes::AnyJson, values::text};

/// How long the old gateway waited.
const TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };
const REFUSED: &str = "Paiement refusé";
const FAILED: &str = "Erreur lors du traitement du paiement";

pub(super) async fn pay(State(quartet): State<Quartet>, AnyJson(body): AnyJson) -> Response {
    let Some(order_id) = text(&body["orderId"]) else {
        return refusal(StatusCode::BAD_REQUEST, "orderId manquant");
    };
    let amount = body["amount"].as_f64();
    let (Some(amount), Some(cents)) = (amount, amount.and_then(money::cents)) else {
        return refusal(StatusCode::BAD_REQUEST, "amount manquant");
    };
    let mut client = PaymentServiceClient::new(quartet.api.gateway.payment_channel.clone());
    #[expect(clippy::cast_possible_truncation, reason = "the old proto has a float; the service rounds it to cents")]
    let mut request = Request::new(PaymentRequest { order_id, amount: amount as f32 });
    // The float of the old proto cannot represent every cent of a large amount.
    request.metadata_mut().insert("amount-cents", cents.into());
    request.set_timeout(TIMEOUT);
    chassis::trace::inject_grpc(request.metadata_mut());
    let paid = tokio::time::timeout(TIMEOUT, client.pay(request)).await;
    let status = match paid {
        Ok(Ok(response)) if response.get_ref().status == "SUCCESS" => {
            let response = json!({"success": true, "message": "Paiement traité avec succès", "status": "SUCCESS"});
            return Json(response).into_response();
        }
        Ok(Ok(_)) => {
            let response = json!({"success": false, "message": REFUSED, "status": "DECLINED"});
            return (StatusCode::PAYMENT_REQUIRED, Json(response)).into_response();
        }
        Ok(Err(status)) => status,
        Err(_) => tonic::Status::deadline_exceeded("no answer in time"),
    };
    let code = match status.code() {
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        // `Cancelled` is the status of the client's own timeout.
        Code::DeadlineExceeded | Code::Cancelled => StatusCode::GATEWAY_TIMEOUT,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (code, Json(json!({"success": false, "message": FAILED, "error": status.message()}))).into_response()
}
