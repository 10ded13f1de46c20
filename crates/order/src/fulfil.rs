//! People moving an order along its life.

use chassis::{Kind, Problem};
use commerce::Timestamp;

use crate::{
    checkout::Checkout,
    domain::{Order, Status},
    error::Error,
    events, store,
};

impl Checkout {
    /// Moves an order as the caller read it; 409 when the move is not one of its life's, or others
    /// changed the order meanwhile.
    pub(crate) async fn move_status(&self, order: Order, to: Status, actor: &str) -> Result<Order, Error> {
        let mut tx = self.db.write().await?;
        let mut held = store::get_locked(&mut tx, &order.id).await?;
        let from = held.order.status;
        if !from.may_become(to) || held.work.is_some() {
            let (from, to) = (from.as_str(), to.as_str());
            return Err(Problem::new(Kind::Conflict, format!("Cannot go from {from} to {to}.")).into());
        }
        if held.order.version != order.version {
            return Err(Problem::new(Kind::Conflict, "The order was changed meanwhile; read it again.").into());
        }
        let now = Timestamp::now();
        held.order.move_to(to, now, Some(actor.to_owned()), None);
        held.order.touch(now);
        let read = (order.version, held.lease.epoch);
        if !store::change(&mut tx, &held.order, None, read, &held.lease).await? {
            return Err(Problem::new(Kind::Conflict, "The order was changed meanwhile; read it again.").into());
        }
        bus::outbox::append(&mut tx, crate::NAME, vec![events::status_changed(&held.order, from, actor)]).await?;
        self.ctx.crash.reach("order.status.before");
        tx.commit().await?;
        self.ctx.crash.reach("order.status.after");
        self.relay.wake();
        Ok(held.order)
    }
}
