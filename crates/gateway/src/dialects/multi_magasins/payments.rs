//! Payments, by the old proto, which the payment service implements.

use std::time::Duration;

use axum::extract::State;
use chassis::Json;
use http::StatusCode;
use proto::legacy::{PaymentRequest, payment_service_client::PaymentServiceClient};
use serde_json::{Number, Value, json};
use tonic::{Code, Request};

use super::{Refusal, Shop};
use crate::dialects::{money, routes::AnyJson, values::text};

/// How long the old services waited for each other.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn pay(State(shop): State<Shop>, AnyJson(body): AnyJson) -> Result<Json<Value>, Refusal> {
    let order_id = text(&body["id"]).ok_or_else(|| Refusal::field(json!(["body", "id"]), "field required"))?;
    let Value::Number(montant) = &body["montant"] else {
        return Err(Refusal::field(json!(["body", "montant"]), "value is not a valid float"));
    };
    let amount = montant.as_f64().unwrap_or_default();
    let limit = shop.api.gateway.config.multi_magasins_limit;
    let cents = money::cents(amount).ok_or_else(|| {
        Refusal::bad(if amount > 0.0 { refusal(montant, limit) } else { "montant non valide".to_owned() })
    })?;
    let mut client = PaymentServiceClient::new(shop.api.gateway.payment_channel.clone());
    #[expect(clippy::cast_possible_truncation, reason = "the old proto has a float; the service rounds it to cents")]
    let mut request = Request::new(PaymentRequest { order_id, amount: amount as f32 });
    // The float of the old proto cannot represent every cent of a large amount.
    request.metadata_mut().insert("amount-cents", cents.into());
    request.set_timeout(TIMEOUT);
    chassis::trace::inject_grpc(request.metadata_mut());
    let away = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Le service de paiement ne répond pas, réessayez.");
    match tokio::time::timeout(TIMEOUT, client.pay(request)).await {
        Ok(Ok(response)) if response.get_ref().status == "SUCCESS" => {
            Ok(Json(json!({"status": "paiement accepté", "commande_id": body["id"]})))
        }
        Ok(Ok(_)) => Err(Refusal::bad(refusal(montant, limit))),
        Ok(Err(status)) if status.code() == Code::InvalidArgument => Err(Refusal::bad(status.message())),
        Ok(Err(_)) | Err(_) => Err(away()),
    }
}

/// Why a payment of this amount was refused. The provider decides; the limit is only named.
fn refusal(amount: &Number, limit: f64) -> String {
    if amount.as_f64().is_some_and(|amount| amount > limit) {
        let limit = Number::from_f64(limit).unwrap_or_else(|| 0.into());
        return format!("Paiement refusé : montant trop élevé ({} > {})", plain(amount), plain(&limit));
    }
    "Paiement refusé".to_owned()
}

/// A number as people write it: a whole one without decimals.
fn plain(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map(ToOwned::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amount_stands_in_the_refusal_as_it_was_asked_for() {
        let message = |text: &str| {
            let number: Number = serde_json::from_str(text).expect("a number");
            refusal(&number, 500.0)
        };
        assert_eq!(message("600"), "Paiement refusé : montant trop élevé (600 > 500)");
        assert_eq!(message("600.0"), "Paiement refusé : montant trop élevé (600 > 500)");
        assert_eq!(message("500.01"), "Paiement refusé : montant trop élevé (500.01 > 500)");
        assert_eq!(message("500"), "Paiement refusé");
    }
}
