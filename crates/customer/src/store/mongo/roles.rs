//! Roles, and that there is always an admin.
//!
//! "Another admin remains" is a condition on other documents, which no single update can check. So a demotion first marks its
//! user (`stepping_down`), then counts the other admins without a mark, and goes through only if there is one. When all admins are
//! demoted at the same time, the last demotion to go through has counted a user without a mark; that user's own demotion marks later,
//! finds no other admin and fails: one admin remains. Possibly none goes through; then they are tried again after a pause.
//!
//! A mark that a crash left behind only keeps other users admin. It is removed when it is old and in the way. If its demotion is merely
//! slow it notices, since its last step requires its own mark.

use std::time::Duration;

use auth::Role;
use commerce::{Timestamp, UserId};
use mongodb::bson::{Document, doc};

use super::docs::{UserDoc, role_names};
use super::{MongoStore, TRIES, customers, keys, users};
use crate::domain::User;
use crate::error::Error;
use crate::error::{MongoError, within};

/// Age from which a mark is taken for left behind by a crash.
const MARK_LASTS: Duration = Duration::from_secs(30);
/// Attempts when concurrent demotions block each other.
const TURNS: u32 = 8;

pub(crate) async fn set_roles(
    store: &MongoStore,
    id: &UserId,
    roles: Vec<Role>,
    stores: Vec<String>,
) -> Result<(User, Vec<String>), Error> {
    let mut turns = 0;
    for attempt in 0..TRIES {
        let whole = users::find_doc(store, doc! { "_id": id.as_str() }).await?.ok_or(Error::NotFound("user"))?;
        let mut user = whole.user();
        if user.roles == roles && user.stores == stores {
            // Revokes the tokens that an interrupted change has left.
            return Ok((user, end_tokens(store, id.as_str()).await?));
        }
        let mut filter = doc! { "_id": id.as_str(), "version": user.version };
        if user.roles.contains(&Role::Admin) && !roles.contains(&Role::Admin) {
            let Some(mark) = mark(store, &user).await? else { continue };
            if !another_admin(store, id).await? {
                unmark(store, id, &mark).await?;
                turns += 1;
                if turns < TURNS && others_step_down(store, id).await? {
                    customers::pause(attempt + 20).await;
                    continue;
                }
                return Err(Error::LastAdmin);
            }
            filter.insert("stepping_down.mark", mark);
        }
        let set = doc! {
            "roles": role_names(&roles), "stores": &stores, "version": user.version + 1, "tokens_ending": true,
        };
        let update = doc! { "$set": set, "$unset": { "stepping_down": "" } };
        if within(store.users.update_one(filter, update)).await?.matched_count == 1 {
            (user.roles, user.stores, user.version) = (roles, stores, user.version + 1);
            return Ok((user, end_tokens(store, id.as_str()).await?));
        }
        customers::pause(attempt).await;
    }
    Err(Error::from(MongoError::Away(None)))
}

/// Marks a user as about to lose the role; `None` if it has changed meanwhile or has another mark.
pub(super) async fn mark(store: &MongoStore, user: &User) -> Result<Option<String>, MongoError> {
    let now = Timestamp::now();
    // A unique id.
    let mark = UserId::new().as_str().to_owned();
    let free = doc! { "$or": [
        { "stepping_down": { "$exists": false } },
        { "stepping_down.at": { "$not": lasting(now) } },
    ] };
    let filter = doc! { "_id": user.id.as_str(), "version": user.version, "$and": [free] };
    let update = doc! { "$set": { "stepping_down": { "mark": &mark, "at": now.micros() } } };
    let done = within(store.users.update_one(filter, update)).await?;
    if done.matched_count == 1 {
        return Ok(Some(mark));
    }
    customers::pause(20).await;
    Ok(None)
}

/// The times of marks that last. One from the future was made before a clock was put right.
fn lasting(now: Timestamp) -> Document {
    doc! { "$gte": now.minus(MARK_LASTS).micros(), "$lte": now.latest_deadline(MARK_LASTS).micros() }
}

async fn unmark(store: &MongoStore, id: &UserId, mark: &str) -> Result<(), MongoError> {
    let filter = doc! { "_id": id.as_str(), "stepping_down.mark": mark };
    within(store.users.update_one(filter, doc! { "$unset": { "stepping_down": "" } })).await?;
    Ok(())
}

fn other_admins(id: &UserId) -> Document {
    doc! { "roles": Role::Admin.as_str(), "_id": { "$ne": id.as_str() }, "pending": { "$exists": false } }
}

/// Whether another user is admin and not about to lose the role.
async fn another_admin(store: &MongoStore, id: &UserId) -> Result<bool, MongoError> {
    let mut old = other_admins(id);
    old.insert("stepping_down", doc! { "$exists": true });
    old.insert("stepping_down.at", doc! { "$not": lasting(Timestamp::now()) });
    within(store.users.update_many(old, doc! { "$unset": { "stepping_down": "" } })).await?;
    let mut staying = other_admins(id);
    staying.insert("stepping_down", doc! { "$exists": false });
    Ok(within(store.users.find_one(staying).projection(doc! { "_id": 1 })).await?.is_some())
}

async fn others_step_down(store: &MongoStore, id: &UserId) -> Result<bool, MongoError> {
    Ok(within(store.users.find_one(other_admins(id)).projection(doc! { "_id": 1 })).await?.is_some())
}

/// Revokes the tokens of a user whose roles have changed. The mark is removed last, so that this is repeated after a crash.
pub(super) async fn end_tokens(store: &MongoStore, id: &str) -> Result<Vec<String>, MongoError> {
    let users = store.users.clone_with_type::<UserDoc>();
    let marked = doc! { "_id": id, "tokens_ending": true };
    let Some(user) = within(users.find_one(marked.clone())).await? else { return Ok(Vec::new()) };
    let ended = keys::end_tokens(store, id).await?;
    let mut same = marked;
    // A later change has its own mark, which stays.
    same.insert("version", user.version);
    within(store.users.update_one(same, doc! { "$unset": { "tokens_ending": "" } })).await?;
    Ok(ended)
}
