//! A customer.

use chassis::FieldError;
use commerce::{CustomerId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Rules;

/// Display name of an anonymised customer.
const ANONYMISED: &str = "Anonymised";

/// The profile of a customer. It has a `name`, or a first or last name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Display name, at most 200 characters; first and last name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// First name, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_name: Option<String>,
    /// Last name, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_name: Option<String>,
    /// E-mail address; unique without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    /// Phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) phone: Option<String>,
    /// Postal address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<Address>,
}

/// A postal address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    /// Street and number, 1 to 200 characters.
    #[serde(default)]
    pub(crate) line1: String,
    /// Further address line, at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line2: Option<String>,
    /// City, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) city: Option<String>,
    /// State or province, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// Postal code, at most 20 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) postal_code: Option<String>,
    /// Country, by name or code; at most 60 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) country: Option<String>,
}

impl Profile {
    /// Checks all fields; the error lists every broken rule.
    pub(crate) fn checked(self) -> Result<Self, Vec<FieldError>> {
        let mut rules = Rules::default();
        let first_name = rules.optional("first_name", self.first_name, 100);
        let last_name = rules.optional("last_name", self.last_name, 100);
        let composed = || {
            let parts: Vec<&str> = [&first_name, &last_name].into_iter().flatten().map(String::as_str).collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        };
        let name = rules.required("name", self.name.or_else(composed), 200);
        let checked = Self {
            name: Some(name),
            email: self.email.map(|email| rules.email("email", &email)),
            phone: self.phone.map(|phone| rules.phone("phone", &phone)),
            address: self.address.map(|address| address.checked(&mut rules)),
            first_name,
            last_name,
        };
        rules.verdict(checked)
    }
}

impl Address {
    fn checked(self, rules: &mut Rules) -> Self {
        Self {
            line1: rules.required("address.line1", Some(self.line1), 200),
            line2: rules.optional("address.line2", self.line2, 200),
            city: rules.optional("address.city", self.city, 100),
            state: rules.optional("address.state", self.state, 100),
            postal_code: rules.optional("address.postal_code", self.postal_code, 20),
            country: rules.optional("address.country", self.country, 60),
        }
    }
}

/// A customer as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) id: CustomerId,
    pub(crate) number: i64,
    pub(crate) profile: Profile,
    pub(crate) created_from: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) version: i64,
    /// Number of events published so far.
    pub(crate) sequence: i64,
    pub(crate) anonymised_at: Option<Timestamp>,
}

impl Customer {
    /// Display name; a checked profile has one.
    pub(crate) fn name(&self) -> &str {
        self.profile.name.as_deref().unwrap_or_default()
    }

    /// The customer after a change that an event announces.
    pub(crate) fn changed(&self, profile: Profile, now: Timestamp) -> Self {
        Self { profile, updated_at: now, version: self.version + 1, sequence: self.sequence + 1, ..self.clone() }
    }

    /// The customer without personal data.
    pub(crate) fn anonymised(&self, now: Timestamp) -> Self {
        let profile = Profile { name: Some(ANONYMISED.into()), ..Profile::default() };
        Self { anonymised_at: Some(now), created_from: None, ..self.changed(profile, now) }
    }
}

/// A new customer.
#[derive(Clone, Debug)]
pub(crate) struct NewCustomer {
    /// Id chosen by the client.
    pub(crate) id: Option<CustomerId>,
    /// Checked.
    pub(crate) profile: Profile,
    /// Fingerprint of the request.
    pub(crate) created_from: String,
}

/// The text that a search matches, in lower case.
pub(crate) fn search_text(profile: &Profile) -> String {
    let parts = [&profile.name, &profile.first_name, &profile.last_name, &profile.email, &profile.phone];
    parts.into_iter().flatten().map(|part| part.to_lowercase()).collect::<Vec<_>>().join("\n")
}
