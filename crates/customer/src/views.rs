//! What callers and events show of customers, users, prospects and activities.

use commerce::{CustomerId, Timestamp, UserId};
use idempotency::StoredResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Activity, ActivityId, Address, Customer, Moved, Prospect, ProspectId, Stage, User};

/// A customer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Customer)]
pub(crate) struct CustomerView {
    /// Opaque id, unique and stable.
    id: CustomerId,
    /// Number of the resource, from 1 without gaps.
    number: i64,
    /// Display name.
    name: String,
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    /// Last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    /// Postal address.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Address>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// When all personal data was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymised_at: Option<Timestamp>,
    /// Number of changes; the value of `ETag`.
    version: i64,
}

impl From<&Customer> for CustomerView {
    fn from(customer: &Customer) -> Self {
        let profile = customer.profile.clone();
        Self {
            id: customer.id.clone(),
            number: customer.number,
            name: customer.name().to_owned(),
            first_name: profile.first_name,
            last_name: profile.last_name,
            email: profile.email,
            phone: profile.phone,
            address: profile.address,
            created_at: customer.created_at,
            updated_at: customer.updated_at,
            anonymised_at: customer.anonymised_at,
            version: customer.version,
        }
    }
}

/// The response to the creation of a customer.
pub(crate) fn customer_response(customer: &Customer, created: bool) -> StoredResponse {
    StoredResponse::of(
        &CustomerView::from(customer),
        created,
        format!("/api/customers/{}", customer.id),
        customer.version,
    )
}

/// A user: a login with roles.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserView {
    /// Opaque id, unique and stable.
    id: UserId,
    /// Login name.
    username: String,
    /// E-mail address; may be used to log in.
    email: String,
    /// Display name.
    name: String,
    /// Roles: `admin`, `manager`, `clerk`, `customer`.
    roles: Vec<String>,
    /// Ids of the places that the user works in.
    stores: Vec<String>,
    /// The customer that the user is.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<CustomerId>,
    created_at: Timestamp,
    /// Number of changes.
    version: i64,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.clone(),
            username: user.username.clone(),
            email: user.email.clone(),
            name: user.name.clone(),
            roles: user.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            stores: user.stores.clone(),
            customer_id: user.customer_id.clone(),
            created_at: user.created_at,
            version: user.version,
        }
    }
}

/// The response to the creation of a user.
pub(crate) fn user_response(user: &User, created: bool) -> StoredResponse {
    StoredResponse::of(&UserView::from(user), created, format!("/api/users/{}", user.id), user.version)
}

/// A prospect.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Prospect)]
pub(crate) struct ProspectView {
    /// Opaque id, unique and stable.
    #[schema(value_type = String, example = "0198c1d2-7b1e-7c3a-9f00-3d5a6b7c8d9e")]
    id: ProspectId,
    /// Number of the resource, from 1 without gaps.
    #[schema(example = 7)]
    number: i64,
    /// First name.
    #[schema(example = "Ada")]
    first_name: String,
    /// Last name.
    #[schema(example = "Lovelace")]
    last_name: String,
    /// Employer.
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "ada@example.org")]
    email: Option<String>,
    /// Phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    /// Field of work.
    #[schema(example = "mathematics")]
    field: String,
    stage: Stage,
    /// Id of the user in charge of the prospect.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// Id of the activity at which contact was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_id: Option<String>,
    /// The customer that the prospect became.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<CustomerId>,
    /// Every transition of the stage, oldest first; the first one leads to `new`.
    history: Vec<Moved>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// When all personal data was removed; only in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    /// Number of changes; the value of `ETag`.
    version: i64,
}

impl From<&Prospect> for ProspectView {
    fn from(prospect: &Prospect) -> Self {
        let lead = prospect.lead.clone();
        Self {
            id: prospect.id.clone(),
            number: prospect.number,
            first_name: lead.first_name.unwrap_or_default(),
            last_name: lead.last_name.unwrap_or_default(),
            company: lead.company,
            email: lead.email,
            phone: lead.phone,
            field: lead.field.unwrap_or_default(),
            stage: prospect.stage,
            owner: lead.owner,
            activity_id: lead.activity_id,
            customer_id: prospect.customer_id.clone(),
            history: prospect.history.clone(),
            created_at: prospect.created_at,
            updated_at: prospect.updated_at,
            deleted_at: prospect.deleted_at,
            version: prospect.version,
        }
    }
}

/// The response to the creation of a prospect.
pub(crate) fn prospect_response(prospect: &Prospect, created: bool) -> StoredResponse {
    StoredResponse::of(
        &ProspectView::from(prospect),
        created,
        format!("/api/prospects/{}", prospect.id),
        prospect.version,
    )
}

/// An activity.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Activity)]
pub(crate) struct ActivityView {
    /// Opaque id, unique and stable.
    #[schema(value_type = String, example = "0198c1d2-7b1e-7c3a-9f00-3d5a6b7c8d9e")]
    id: ActivityId,
    /// Number of the resource, from 1 without gaps.
    #[schema(example = 3)]
    number: i64,
    /// Title. An activity made from an event is called `Prospect created: …` or `Prospect updated: …`.
    #[schema(example = "Prospect created: Ada Lovelace")]
    name: String,
    /// Day, `YYYY-MM-DD`; for an activity made from an event, the day of the event in UTC.
    #[schema(format = "date", example = "2026-05-04")]
    date: String,
    /// The prospect that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    prospect_id: Option<ProspectId>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Number of changes; the value of `ETag`.
    version: i64,
}

impl From<&Activity> for ActivityView {
    fn from(activity: &Activity) -> Self {
        Self {
            id: activity.id.clone(),
            number: activity.number,
            name: activity.plan.name.clone(),
            date: activity.plan.date.to_string(),
            prospect_id: activity.plan.prospect_id.clone(),
            created_at: activity.created_at,
            updated_at: activity.updated_at,
            version: activity.version,
        }
    }
}

/// The response to the creation of an activity.
pub(crate) fn activity_response(activity: &Activity, created: bool) -> StoredResponse {
    StoredResponse::of(
        &ActivityView::from(activity),
        created,
        format!("/api/activities/{}", activity.id),
        activity.version,
    )
}
