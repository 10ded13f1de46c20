//! Changes of a profile by PUT and PATCH.

use serde_json::Value;

use super::Error;
use super::Profile;

/// A change of a profile.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Replaces all fields; absent ones are removed.
    Replace(Box<Profile>),
    /// A merge patch (RFC 7386): absent fields stay, null removes a field.
    Merge(Value),
}

impl Change {
    /// Applies the change and checks the result.
    pub(crate) fn apply(self, now: &Profile) -> Result<Profile, Error> {
        let changed = match self {
            Self::Replace(profile) => *profile,
            Self::Merge(patch) => {
                if !patch.is_object() {
                    return Err(Error::Unreadable("A merge patch is a JSON object.".into()));
                }
                let mut document = serde_json::to_value(now).map_err(|_| Error::Defect("a profile is no JSON"))?;
                merge(&mut document, patch);
                serde_json::from_value(document).map_err(|err| Error::Unreadable(err.to_string()))?
            }
        };
        changed.checked().map_err(Error::Invalid)
    }
}

/// Merges a patch into a document (RFC 7386).
pub(super) fn merge(document: &mut Value, patch: Value) {
    let Value::Object(changes) = patch else {
        *document = patch;
        return;
    };
    if !document.is_object() {
        *document = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(members) = document {
        for (name, change) in changes {
            if change.is_null() {
                members.remove(&name);
            } else {
                merge(members.entry(name).or_insert(Value::Null), change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_keeps_what_is_absent_and_removes_what_is_null() {
        let profile: Profile = serde_json::from_value(json!({
            "name": "Ada", "email": "ada@example.org", "address": {"line1": "1 Main St", "city": "London"}
        }))
        .unwrap();
        let patch = json!({"email": null, "phone": "+44 20 1234", "address": {"city": null, "country": "GB"}});
        let changed = Change::Merge(patch).apply(&profile).unwrap();
        let address = changed.address.unwrap();
        assert_eq!(
            (changed.name.as_deref(), changed.email, changed.phone.as_deref()),
            (Some("Ada"), None, Some("+44 20 1234"))
        );
        assert_eq!((address.line1.as_str(), address.city, address.country.as_deref()), ("1 Main St", None, Some("GB")));

        assert!(matches!(Change::Merge(json!({"name": null})).apply(&profile), Err(Error::Invalid(_))));
        assert!(
            matches!(Change::Merge(json!({"colour": "red"})).apply(&profile), Err(Error::Unreadable(text)) if text.contains("colour"))
        );
        assert!(matches!(Change::Merge(json!([])).apply(&profile), Err(Error::Unreadable(_))));
        let none = Profile { name: Some("Bo".into()), ..Profile::default() };
        let added = Change::Merge(json!({"address": {"line1": "2 Side St", "line2": null}})).apply(&none).unwrap();
        assert_eq!(added.address.unwrap().line1, "2 Side St");
    }
}
