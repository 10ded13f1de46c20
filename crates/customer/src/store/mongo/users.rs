//! Users in MongoDB, and the customers that follow from them.
//!
//! A registration writes two documents, a user and a customer, without a transaction over both. The user is inserted first,
//! marked `pending`, with the id of the customer to come; then the customer; then the mark is removed. Until then the user is
//! invisible. Every operation that meets the mark (a login, a repeat, a registration of the same name, the periodic recovery) finishes
//! the remaining steps, and any number of them may do so at the same time.
//!
//! One place decides whether there is a customer: the id in `customers`. Either the customer is inserted there or, if another
//! customer has the e-mail address, a refusal. So two operations that finish the same registration cannot come to different results,
//! however late one of them is, and the user is removed only after the refusal is stored.
//!
//! A customer must not take the address of a user without a customer. A read before the insert suffices: the opposite order, a user
//! without a customer who takes the address of an existing customer, is allowed, so a race has the result of that order.

use commerce::page::PageRequest;
use commerce::{CustomerId, Timestamp, UserId};
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};

use super::customers::{self, Place};
use super::docs::{Kept, Pending, UserDoc, document, reply_id};
pub(crate) use super::roles::set_roles;
use super::{MongoStore, TRIES, idempotency_keys, schema};
use crate::domain::{NewUser, Profile, User};
use crate::error::Error;
use crate::error::{MongoError, in_time, within};
use crate::store::Render;
use idempotency::{KeyedRequest, StoredResponse};

pub(super) fn typed(store: &MongoStore) -> Collection<UserDoc> {
    store.users.clone_with_type()
}

fn without_replies() -> Document {
    doc! { "replies": 0 }
}

pub(crate) async fn create(
    store: &MongoStore,
    new: NewUser,
    key: Option<KeyedRequest>,
    render: Render<User>,
) -> Result<(Option<User>, StoredResponse), Error> {
    for _ in 0..TRIES {
        if let Some(key) = &key
            && let Some(reply) = response(store, key).await?
        {
            return Ok((None, reply));
        }
        let (whole, answer) = begin(store, &new, key.as_ref(), render).await?;
        match within(store.users.insert_one(document(&whole)?)).await {
            Ok(_) => {
                let settled = settle(store, whole.clone()).await?;
                return match (settled, whole.pending) {
                    (Some(user), _) => Ok((Some(user.user()), answer)),
                    (None, Some(Pending::Link)) => Err(no_customer()),
                    (None, _) => Err(Error::EmailTaken),
                };
            }
            Err(failure) => {
                let Some(index) = failure.duplicate() else { return Err(failure.into()) };
                let holder = match index {
                    schema::USER_REPLIES_KEY => continue,
                    "users_username_lower_key" => doc! { "username_lower": &whole.username_lower },
                    "users_email_lower_key" => doc! { "email_lower": &whole.email_lower },
                    "users_customer_id_key" => doc! { "customer_id": whole.customer_id.clone() },
                    _ => return Err(failure.into()),
                };
                // A pending registration may still be refused; a repeat of this very request has its response.
                let stands = find_doc(store, holder).await?.is_some();
                if stands && (key.is_none() || response_of(store, key.as_ref()).await?.is_none()) {
                    return Err(failure.into());
                }
            }
        }
    }
    Err(Error::from(MongoError::Away(None)))
}

fn no_customer() -> Error {
    Error::invalid("customer_id", "exists", "there is no such customer")
}

/// The user as it is inserted first, and the response to the registration.
pub(super) async fn begin(
    store: &MongoStore,
    new: &NewUser,
    key: Option<&KeyedRequest>,
    render: Render<User>,
) -> Result<(UserDoc, StoredResponse), Error> {
    let mut pending = None;
    let mut customer_id = None;
    if let Some(id) = &new.customer_id {
        let known = customers::find(store, id).await?.filter(|customer| customer.anonymised_at.is_none());
        customer_id = Some(known.ok_or_else(no_customer)?.id);
        pending = Some(Pending::Link);
    }
    if new.with_customer {
        let email = new.credentials.email.to_lowercase();
        if customers::has_email(store, &email).await? || without_customer(store, &email).await? {
            return Err(Error::EmailTaken);
        }
        customer_id = Some(CustomerId::new());
        pending = Some(Pending::Customer);
    }
    let now = Timestamp::now();
    let user = User {
        id: UserId::new(),
        username: new.credentials.username.clone(),
        email: new.credentials.email.clone(),
        name: new.credentials.name.clone(),
        password_hash: new.password_hash.clone(),
        roles: new.roles.clone(),
        stores: new.stores.clone(),
        customer_id,
        created_at: now,
        version: 1,
    };
    let answer = render(&user, true);
    let mut whole = UserDoc::new(&user);
    whole.pending = pending;
    whole.replies = key.iter().map(|key| Kept::new(key, &answer, now)).collect();
    Ok((whole, answer))
}

/// Finishes a registration; `None` if it is refused.
pub(super) async fn settle(store: &MongoStore, mut user: UserDoc) -> Result<Option<UserDoc>, MongoError> {
    let Some(pending) = user.pending.take() else { return Ok(Some(user)) };
    let Some(customer_id) = user.customer_id.clone() else {
        return Err(MongoError::Server(format!("user {} waits for a customer without an id", user.id)));
    };
    let stands = match pending {
        Pending::Customer => make_customer(store, &user, customer_id).await?,
        Pending::Link => link(store, &user, &customer_id).await?,
    };
    let filter = doc! { "_id": &user.id, "pending": { "$exists": true } };
    if stands {
        within(store.users.update_one(filter, doc! { "$unset": { "pending": "" } })).await?;
        return Ok(Some(user));
    }
    within(store.users.delete_one(filter)).await?;
    Ok(None)
}

/// Inserts the customer of a user; false if another one has the e-mail address.
async fn make_customer(store: &MongoStore, user: &UserDoc, id: String) -> Result<bool, MongoError> {
    let profile = Profile { name: Some(user.name.clone()), email: Some(user.email.clone()), ..Profile::default() };
    loop {
        let draft = customers::draft(CustomerId::trusted(id.clone()), profile.clone(), None);
        match customers::add(store, draft, None).await {
            Ok(_) => return Ok(true),
            Err(failure) if failure.duplicate().is_some() => {}
            Err(failure) => return Err(failure),
        }
        match customers::place(store, &id).await? {
            Place::Taken => return Ok(true),
            Place::Refused => return Ok(false),
            Place::Free => {
                if customers::refuse(store, &id).await? {
                    return Ok(false);
                }
            }
        }
    }
}

/// Whether the customer that a user names still exists. This is a write, so that it is ordered with the removal of that customer:
/// either the removal comes later and finds the user, or it came first and this returns false.
async fn link(store: &MongoStore, user: &UserDoc, customer_id: &str) -> Result<bool, MongoError> {
    let alive = doc! { "_id": customer_id, "number": { "$gte": 1_i64 }, "anonymised_at": Bson::Null };
    let done = within(store.customers.update_one(alive, doc! { "$set": { "user_id": &user.id } })).await?;
    Ok(done.matched_count == 1)
}

/// The user that the filter finds, with its pending steps finished.
pub(super) async fn find_doc(store: &MongoStore, filter: Document) -> Result<Option<UserDoc>, MongoError> {
    match within(typed(store).find_one(filter).projection(without_replies())).await? {
        Some(user) => settle(store, user).await,
        None => Ok(None),
    }
}

pub(crate) async fn find(store: &MongoStore, id: &UserId) -> Result<Option<User>, Error> {
    Ok(find_doc(store, doc! { "_id": id.as_str() }).await?.map(UserDoc::user))
}

pub(crate) async fn by_login(store: &MongoStore, login: &str) -> Result<Option<User>, Error> {
    let sought = login.trim().to_lowercase();
    // A username has no @, an address has one.
    let filter = if login.contains('@') {
        doc! { "email_lower": sought }
    } else {
        doc! { "username_lower": sought }
    };
    Ok(find_doc(store, filter).await?.map(UserDoc::user))
}

/// The response stored under this key; the operation that it reports is finished first.
pub(crate) async fn response(store: &MongoStore, key: &KeyedRequest) -> Result<Option<StoredResponse>, Error> {
    find_doc(store, doc! { "replies.id": reply_id(key), "pending": { "$exists": true } }).await?;
    idempotency_keys::find(&store.users, key).await
}

async fn response_of(store: &MongoStore, key: Option<&KeyedRequest>) -> Result<Option<StoredResponse>, Error> {
    match key {
        Some(key) => response(store, key).await,
        None => Ok(None),
    }
}

/// Whether a user without a customer has that address, given in lower case.
pub(super) async fn without_customer(store: &MongoStore, email: &str) -> Result<bool, MongoError> {
    let user = find_doc(store, doc! { "email_lower": email }).await?;
    Ok(user.is_some_and(|user| user.customer_id.is_none()))
}

/// The id of the user of that customer, pending or not.
pub(super) async fn of_customer(store: &MongoStore, id: &str) -> Result<Option<String>, MongoError> {
    let user = within(store.users.find_one(doc! { "customer_id": id }).projection(doc! { "_id": 1 })).await?;
    Ok(user.and_then(|user| user.get_str("_id").ok().map(str::to_owned)))
}

pub(crate) async fn list(store: &MongoStore, window: PageRequest<String>) -> Result<(Vec<User>, Option<u64>), Error> {
    let mut wanted = doc! { "pending": Bson::Null };
    let total =
        if window.include_total { Some(within(store.users.count_documents(wanted.clone())).await?) } else { None };
    wanted.insert("_id", doc! { "$gt": window.after.clone().unwrap_or_default() });
    let users: Vec<UserDoc> = in_time(async {
        let users = typed(store);
        let find = users.find(wanted).projection(without_replies()).sort(doc! { "_id": 1 });
        Ok(find.skip(u64::from(window.offset)).limit(window.fetch()).await?.try_collect().await?)
    })
    .await?;
    Ok((users.into_iter().map(UserDoc::user).collect(), total))
}
