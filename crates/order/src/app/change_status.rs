//! Changes of an order's status by staff, and archiving.

use chassis::{Kind, Problem};
use commerce::{OrderId, Timestamp};

use super::{App, require_written};
use crate::{
    domain::{Order, Status},
    error::Error,
    events, store,
};

/// Changes the status of an order from the version that the caller has read. 409 when the status cannot follow the present
/// one, or the order was changed meanwhile.
pub(crate) async fn change_status(app: &App, read: &Order, to: Status, actor: &str) -> Result<Order, Error> {
    let mut tx = app.db.write().await?;
    let stored = store::get_locked(&mut tx, &read.id).await?;
    let (from, read_version) = (stored.order.status, stored.read_version());
    if !from.may_become(to) || stored.work.is_some() {
        let (from, to) = (from.as_str(), to.as_str());
        let wrong_step = Problem::new(Kind::Conflict, format!("Cannot go from {from} to {to}."));
        return Err(wrong_step.with_code("order.status_step").into());
    }
    if stored.order.version != read.version {
        let changed = Problem::new(Kind::Conflict, "The order was changed meanwhile; read it again.");
        return Err(changed.with_code("order.changed").into());
    }
    let mut order = stored.order;
    let now = Timestamp::now();
    order.set_status(to, now, Some(actor.to_owned()), None);
    order.touch(now);
    require_written(store::update(&mut tx, &order, None, read_version, &stored.lease).await?)?;
    bus::outbox::append(&mut tx, crate::NAME, vec![events::status_changed(&order, from, actor)]).await?;
    app.ctx.crash.reach("order.status.before");
    tx.commit().await?;
    app.ctx.crash.reach("order.status.after");
    app.relay.wake();
    Ok(order)
}

/// Hides an order from lists and from all callers but admins and services. Its row stays.
pub(crate) async fn archive(app: &App, id: &OrderId) -> Result<(), Error> {
    let mut tx = app.db.write().await?;
    store::archive(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}
