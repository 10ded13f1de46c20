//! Whether what clients were told is so.

use crate::workload::Workload;

impl Workload {
    /// Compares what clients were told with what became of their orders, when nothing fails any more.
    pub async fn compare(&self) {
        for (number, told) in self.book.all() {
            let Some(id) = &told.id else { continue };
            let url = format!("http://order/api/orders/{id}");
            let Some(answer) = self.client.call("GET", &url, &[], None).await else {
                self.book.contradiction(format!("order {id} cannot be read"));
                continue;
            };
            let status = answer.json["status"].as_str().unwrap_or_default().to_owned();
            let wrong = if told.confirmed && answer.status != 200 {
                Some(format!("was confirmed, and is answered with {}", answer.status))
            } else if told.confirmed && !told.undoes && status == "cancelled" {
                Some("was confirmed, nobody undid it, and it is cancelled".to_owned())
            } else if told.cancelled && status != "cancelled" {
                Some(format!("was cancelled, and is {status}"))
            } else if answer.status == 200 && status == "pending" {
                Some("is pending".to_owned())
            } else {
                None
            };
            if let Some(wrong) = wrong {
                self.book.contradiction(format!("order {number} ({id}) {wrong}"));
            }
            self.compare_returns(id, &told.returns).await;
        }
    }

    async fn compare_returns(&self, order: &str, told: &[String]) {
        if told.is_empty() {
            return;
        }
        let url = format!("http://order/api/orders/{order}/returns");
        let answer = self.client.call("GET", &url, &[], None).await;
        let made = answer.map(|answer| answer.json["data"].as_array().cloned().unwrap_or_default());
        let made = made.unwrap_or_default();
        for id in told {
            let same = made.iter().filter(|made| made["id"] == id.as_str()).count();
            if same != 1 {
                self.book.contradiction(format!("return {id} of order {order} was answered and exists {same} times"));
            }
        }
        for left in made.iter().filter(|made| made["refund"]["status"] == "pending") {
            self.book.contradiction(format!("the refund of return {} of order {order} is pending", left["id"]));
        }
    }
}
