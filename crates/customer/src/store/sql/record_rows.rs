//! Prospects and activities in SQL: their rows, and the conditions of their lists.

use commerce::{CustomerId, Timestamp};
use db::{Filter, Row, Value};

use super::records::Rows;
use crate::domain::{Activity, ActivityId, Day, Lead, Planned, Prospect, ProspectId, Stage};
use crate::error::Error;
use crate::store::{Activities, Prospects};

/// Adds a condition for each value that is set.
fn and_set(conditions: &mut Filter, wanted: impl IntoIterator<Item = (&'static str, Option<String>)>) {
    for (condition, value) in wanted {
        if let Some(value) = value {
            conditions.and(condition, value);
        }
    }
}

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

    fn filter(filter: Prospects, conditions: &mut Filter) {
        let Prospects { stage, field, owner, search, number } = filter;
        and_set(conditions, [("stage = ?", stage), ("field = ?", field), ("owner = ?", owner)]);
        if let Some(search) = search {
            conditions.and_contains("search", &search);
        }
        if let Some(number) = number {
            conditions.and("number = ?", number);
        }
    }

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

    fn filter(filter: Activities, conditions: &mut Filter) {
        let Activities { date, from, to, prospect_id, number } = filter;
        let texts = [("date = ?", date), ("date >= ?", from), ("date <= ?", to), ("prospect_id = ?", prospect_id)];
        and_set(conditions, texts);
        if let Some(number) = number {
            conditions.and("number = ?", number);
        }
    }

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
