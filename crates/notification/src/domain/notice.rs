//! Events of other services as sentences for people. They hold no personal data, which would have to be removed later.

use commerce::{Amount, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much a notification matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// For information only.
    Info,
    /// A person should act.
    Warning,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Notice {
    /// Id of the event that it was made from; a generated id for an order that another program reported.
    pub(crate) id: String,
    /// The position in the stream, from 1; `Last-Event-ID` takes it.
    pub(crate) number: i64,
    /// When it happened.
    pub(crate) at: Timestamp,
    /// Kind of event, such as `order.confirmed`.
    pub(crate) kind: String,
    /// How much a notification matters.
    pub(crate) severity: Severity,
    /// A sentence for people, in English.
    pub(crate) message: String,
    /// Id of the aggregate that changed.
    pub(crate) subject: String,
    /// The order that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order_id: Option<String>,
    /// The customer that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) customer_id: Option<String>,
    /// The place that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place_id: Option<String>,
}

/// The fields that are read of other services' events; all may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Payload {
    pub(crate) number: Option<i64>,
    pub(crate) order_id: Option<String>,
    pub(crate) customer_id: Option<String>,
    pub(crate) place_id: Option<String>,
    pub(crate) product_id: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) total: Option<Amount>,
    pub(crate) amount: Option<Amount>,
    pub(crate) currency: Option<String>,
    pub(crate) available: Option<i64>,
    pub(crate) threshold: Option<i64>,
    pub(crate) quantity: Option<i64>,
}

/// The notification of an event; `None` for kinds without one.
pub(crate) fn notice(id: &str, kind: &str, subject: &str, at: Timestamp, payload: Payload) -> Option<Notice> {
    let kind = kind.strip_prefix("souk.")?;
    let (what, _) = kind.split_once('.')?;
    let (severity, message) = sentence(kind, subject, &payload)?;
    let order_id = match what {
        "order" => Some(subject.to_owned()),
        _ => payload.order_id,
    };
    let customer_id = match what {
        "customer" => Some(subject.to_owned()),
        _ => payload.customer_id,
    };
    Some(Notice {
        id: id.to_owned(),
        number: 0,
        at,
        kind: kind.to_owned(),
        severity,
        message,
        subject: subject.to_owned(),
        order_id,
        customer_id,
        place_id: payload.place_id,
    })
}

fn sentence(kind: &str, subject: &str, payload: &Payload) -> Option<(Severity, String)> {
    let order = || payload.number.map_or_else(|| format!("Order {subject}"), |number| format!("Order {number}"));
    let money = |amount: Option<Amount>| {
        let amount = amount.map(|amount| amount.to_string()).unwrap_or_default();
        format!("{amount} {}", payload.currency.as_deref().unwrap_or_default()).trim().to_owned()
    };
    let because = |text: String| match payload.reason.as_deref() {
        Some(reason) if !reason.is_empty() => format!("{text}: {reason}"),
        _ => text,
    };
    let of_order = payload.order_id.as_deref().unwrap_or(subject);
    let info = |text: String| Some((Severity::Info, text));
    let warning = |text: String| Some((Severity::Warning, text));
    match kind {
        "order.placed" => info(format!("{} is placed: {}", order(), money(payload.total))),
        "order.confirmed" => info(format!("{} is confirmed: {}", order(), money(payload.total))),
        "order.cancelled" => warning(because(format!("{} is cancelled", order()))),
        "order.status_changed" => info(format!("{} is {}", order(), payload.status.as_deref().unwrap_or("moved"))),
        "order.returned" => info(format!("Goods of {} came back", order().to_lowercase())),
        "payment.captured" => info(format!("{} is paid for order {of_order}", money(payload.amount))),
        "payment.refused" => warning(because(format!("The payment of order {of_order} is refused"))),
        "payment.voided" => info(format!("The payment of order {of_order} is given back")),
        "payment.refunded" => info(format!("Money of order {of_order} is given back")),
        "stock.low" => {
            let product = payload.product_id.as_deref().unwrap_or(subject);
            let place = payload.place_id.as_deref().unwrap_or("its place");
            let left = payload.available.map_or_else(String::new, |left| format!(": {left} left"));
            let threshold = payload.threshold.map_or_else(String::new, |threshold| format!(" (threshold {threshold})"));
            warning(format!("{product} runs low at {place}{left}{threshold}"))
        }
        "stock.adjusted" => {
            let product = payload.product_id.as_deref().unwrap_or(subject);
            info(because(format!(
                "Stock of {product} was adjusted at {}",
                payload.place_id.as_deref().unwrap_or("its place")
            )))
        }
        "replenishment.requested" | "replenishment.refused" | "replenishment.sent" | "replenishment.received" => {
            let product = payload.product_id.as_deref().unwrap_or(subject);
            let place = payload.place_id.as_deref().unwrap_or("its place");
            let pieces = payload.quantity.map_or_else(String::new, |pieces| format!("{pieces} of "));
            let stage = kind.trim_start_matches("replenishment.");
            let text = format!("{pieces}{product} for {place}: {stage}");
            if stage == "refused" { warning(because(text)) } else { info(text) }
        }
        "customer.created" => info("Customer account opened".into()),
        "customer.updated" => info("Customer details changed".into()),
        "customer.anonymised" => info("Customer deleted; personal data removed".into()),
        // Reserved, released, sold and restocked are covered by the order's own events.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, payload: serde_json::Value) -> Option<Notice> {
        let payload = serde_json::from_value(payload).expect("a payload");
        notice("e1", kind, "s1", Timestamp::from_micros(0), payload)
    }

    #[test]
    fn a_confirmed_order_is_told_to_its_customer_and_its_place() {
        let payload = serde_json::json!({"number": 7, "customer_id": "c1", "place_id": "p1", "total": 12.5, "currency": "EUR", "new": {}});
        let notice = told("souk.order.confirmed", payload).expect("told");
        assert_eq!(notice.message, "Order 7 is confirmed: 12.50 EUR");
        assert_eq!((notice.customer_id.as_deref(), notice.place_id.as_deref()), (Some("c1"), Some("p1")));
        assert_eq!(notice.order_id.as_deref(), Some("s1"));
    }

    #[test]
    fn low_stock_is_a_warning_with_the_numbers() {
        let payload = serde_json::json!({"product_id": "tea", "place_id": "store-1", "available": 2, "threshold": 5});
        let notice = told("souk.stock.low", payload).expect("told");
        assert_eq!(notice.severity, Severity::Warning);
        assert_eq!(notice.message, "tea runs low at store-1: 2 left (threshold 5)");
    }

    #[test]
    fn kinds_that_nobody_waits_for_and_foreign_events_are_passed_over() {
        assert_eq!(told("souk.stock.reserved", serde_json::json!({})), None);
        assert_eq!(told("com.example.thing", serde_json::json!({})), None);
    }
}
