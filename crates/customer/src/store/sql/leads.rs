//! Prospects and activities in SQL: their rows, and the lists of them.

use commerce::page::PageRequest;
use commerce::{CustomerId, Timestamp};
use db::{Row, Value};

use super::records::{self, Rows};
use super::{SqlStore, StoreFuture};
use crate::domain::{Activity, ActivityId, Day, Lead, Planned, Prospect, ProspectId, Stage};
use crate::error::Error;
use crate::store::LeadFact;
use crate::store::Render;
use crate::store::leads::{Activities, Edit, Leads, Listed, Prospects};
use idempotency::{Key, StoredResponse};

impl Rows for Prospect {
    const TABLE: &'static str = "prospects";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "number",
        "first_name",
        "last_name",
        "company",
        "email",
        "phone",
        "field",
        "owner",
        "activity_id",
        "customer_id",
        "stage",
        "history",
        "search",
        "created_at",
        "updated_at",
        "version",
        "sequence",
        "deleted_at",
    ];

    fn row(&self) -> Vec<Value> {
        let lead = &self.lead;
        vec![
            self.id.as_str().into(),
            self.number.into(),
            lead.first_name.as_deref().unwrap_or_default().into(),
            lead.last_name.as_deref().unwrap_or_default().into(),
            lead.company.clone().into(),
            lead.email.clone().into(),
            lead.phone.clone().into(),
            lead.field.as_deref().unwrap_or_default().into(),
            lead.owner.clone().into(),
            lead.activity_id.clone().into(),
            self.customer_id.as_ref().map(CustomerId::as_str).into(),
            self.stage.as_str().into(),
            // Strings and times always serialise.
            serde_json::to_string(&self.history).unwrap_or_default().into(),
            if self.deleted_at.is_some() { String::new() } else { lead.search_text() }.into(),
            self.created_at.micros().into(),
            self.updated_at.micros().into(),
            self.version.into(),
            self.sequence.into(),
            self.deleted_at.map(Timestamp::micros).into(),
        ]
    }

    fn read(row: &Row) -> Result<Self, Error> {
        let stage: String = row.get("stage")?;
        let history: String = row.get("history")?;
        Ok(Self {
            id: ProspectId::trusted(row.get("id")?),
            number: row.get("number")?,
            lead: Lead {
                first_name: Some(row.get("first_name")?),
                last_name: Some(row.get("last_name")?),
                company: row.get("company")?,
                email: row.get("email")?,
                phone: row.get("phone")?,
                field: Some(row.get("field")?),
                owner: row.get("owner")?,
                activity_id: row.get("activity_id")?,
            },
            stage: Stage::parse(&stage).ok_or(db::Error::Unreadable("prospects.stage"))?,
            history: serde_json::from_str(&history).map_err(|_| db::Error::Unreadable("prospects.history"))?,
            customer_id: row.get::<Option<String>>("customer_id")?.map(CustomerId::trusted),
            created_at: Timestamp::from_micros(row.get("created_at")?),
            updated_at: Timestamp::from_micros(row.get("updated_at")?),
            version: row.get("version")?,
            sequence: row.get("sequence")?,
            deleted_at: row.get::<Option<i64>>("deleted_at")?.map(Timestamp::from_micros),
        })
    }
}

impl Rows for Activity {
    const TABLE: &'static str = "activities";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "number",
        "name",
        "date",
        "prospect_id",
        "by_event",
        "created_at",
        "updated_at",
        "version",
        "sequence",
        "deleted_at",
    ];

    fn row(&self) -> Vec<Value> {
        vec![
            self.id.as_str().into(),
            self.number.into(),
            self.plan.name.as_str().into(),
            self.plan.date.as_str().into(),
            self.plan.prospect_id.as_ref().map(ProspectId::as_str).into(),
            self.by_event.into(),
            self.created_at.micros().into(),
            self.updated_at.micros().into(),
            self.version.into(),
            self.sequence.into(),
            self.deleted_at.map(Timestamp::micros).into(),
        ]
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: ActivityId::trusted(row.get("id")?),
            number: row.get("number")?,
            plan: Planned {
                name: row.get("name")?,
                date: Day::trusted(row.get("date")?),
                prospect_id: row.get::<Option<String>>("prospect_id")?.map(ProspectId::trusted),
            },
            by_event: row.get::<i64>("by_event")? != 0,
            created_at: Timestamp::from_micros(row.get("created_at")?),
            updated_at: Timestamp::from_micros(row.get("updated_at")?),
            version: row.get("version")?,
            sequence: row.get("sequence")?,
            deleted_at: row.get::<Option<i64>>("deleted_at")?.map(Timestamp::from_micros),
        })
    }
}

const THERE: &str = "deleted_at is null";

fn nothing<T>(window: &PageRequest<i64>) -> Listed<T> {
    (Vec::new(), window.include_total.then_some(0))
}

async fn prospects(store: &SqlStore, filter: Prospects, window: PageRequest<i64>) -> Result<Listed<Prospect>, Error> {
    if filter.is_futile() {
        return Ok(nothing(&window));
    }
    let mut conditions = db::Filter::new(THERE);
    for (condition, value) in [("stage = ?", filter.stage), ("field = ?", filter.field), ("owner = ?", filter.owner)] {
        if let Some(value) = value {
            conditions.and(condition, value);
        }
    }
    if let Some(search) = filter.search {
        conditions.and_contains("search", &search);
    }
    if let Some(number) = filter.number {
        conditions.and("number = ?", number);
    }
    records::list(store, conditions, window).await
}

async fn activities(store: &SqlStore, filter: Activities, window: PageRequest<i64>) -> Result<Listed<Activity>, Error> {
    if filter.is_futile() {
        return Ok(nothing(&window));
    }
    let mut conditions = db::Filter::new(THERE);
    for (condition, value) in [
        ("date = ?", filter.date),
        ("date >= ?", filter.from),
        ("date <= ?", filter.to),
        ("prospect_id = ?", filter.prospect_id),
    ] {
        if let Some(value) = value {
            conditions.and(condition, value);
        }
    }
    if let Some(number) = filter.number {
        conditions.and("number = ?", number);
    }
    records::list(store, conditions, window).await
}

impl Leads for SqlStore {
    fn create_prospect(
        &self,
        new: Prospect,
        key: Option<Key>,
        render: Render<Prospect>,
    ) -> StoreFuture<'_, StoredResponse> {
        Box::pin(records::create(self, new, key, render))
    }

    fn prospect<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Prospect>> {
        Box::pin(records::find(self, id))
    }

    fn prospects(&self, filter: Prospects, window: PageRequest<i64>) -> StoreFuture<'_, Listed<Prospect>> {
        Box::pin(prospects(self, filter, window))
    }

    fn edit_prospect<'a>(&'a self, id: &'a str, seen: Option<i64>, edit: Edit<Prospect>) -> StoreFuture<'a, Prospect> {
        Box::pin(records::edit(self, id, seen, edit))
    }

    fn create_activity(
        &self,
        new: Activity,
        key: Option<Key>,
        render: Render<Activity>,
    ) -> StoreFuture<'_, StoredResponse> {
        Box::pin(records::create(self, new, key, render))
    }

    fn note_activity(&self, new: Activity) -> StoreFuture<'_, bool> {
        Box::pin(records::note(self, new))
    }

    fn activity<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Activity>> {
        Box::pin(records::find(self, id))
    }

    fn activities(&self, filter: Activities, window: PageRequest<i64>) -> StoreFuture<'_, Listed<Activity>> {
        Box::pin(activities(self, filter, window))
    }

    fn edit_activity<'a>(&'a self, id: &'a str, seen: Option<i64>, edit: Edit<Activity>) -> StoreFuture<'a, Activity> {
        Box::pin(records::edit(self, id, seen, edit))
    }

    fn prospect_facts<'a>(&'a self, after: &'a str) -> StoreFuture<'a, Vec<LeadFact>> {
        Box::pin(records::facts::<Prospect>(self, after))
    }

    fn activity_facts<'a>(&'a self, after: &'a str) -> StoreFuture<'a, Vec<LeadFact>> {
        Box::pin(records::facts::<Activity>(self, after))
    }
}
