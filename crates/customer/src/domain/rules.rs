//! Rules of single fields, collected so that one answer lists all that are broken.

use chassis::FieldError;

/// Checks fields one by one and collects the broken rules.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    broken: Vec<FieldError>,
}

impl Rules {
    /// The value, or all broken rules.
    pub(crate) fn verdict<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.broken.is_empty() { Ok(value) } else { Err(self.broken) }
    }

    /// Records that a field breaks a rule.
    pub(crate) fn breaks(&mut self, field: &str, rule: &str, message: impl Into<String>) {
        self.broken.push(FieldError::new(field, rule, message));
    }

    /// A required text: 1 to `max` characters on one line, trimmed.
    pub(crate) fn required(&mut self, field: &str, value: Option<String>, max: usize) -> String {
        match value {
            Some(value) => self.text(field, &value, max),
            None => {
                self.breaks(field, "required", "is required");
                String::new()
            }
        }
    }

    /// An optional text: absent, or 1 to `max` characters on one line, trimmed.
    pub(crate) fn optional(&mut self, field: &str, value: Option<String>, max: usize) -> Option<String> {
        value.map(|value| self.text(field, &value, max))
    }

    fn text(&mut self, field: &str, value: &str, max: usize) -> String {
        let value = value.trim();
        match chassis::check_line(field, value, 1..=max) {
            Some(broken) => {
                self.broken.push(broken);
                String::new()
            }
            None => value.to_owned(),
        }
    }

    /// An e-mail address, as far as its syntax shows.
    pub(crate) fn email(&mut self, field: &str, value: &str) -> String {
        let value = value.trim();
        if !is_email(value) {
            self.breaks(field, "email", "an address like name@example.org, at most 254 characters");
        }
        value.to_owned()
    }

    /// A phone number as people write them.
    pub(crate) fn phone(&mut self, field: &str, value: &str) -> String {
        let value = value.trim();
        let fits = |char: char| char.is_ascii_digit() || "+-() ./#x".contains(char);
        let digits = value.chars().filter(char::is_ascii_digit).count();
        if value.len() > 32 || digits < 3 || !value.chars().all(fits) {
            self.breaks(field, "phone", "3 to 32 digits, spaces or + - ( ) . / # x");
        }
        value.to_owned()
    }
}

fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.rsplit_once('@') else {
        return false;
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|char| char.is_alphanumeric() || char == '-')
    };
    let local_char = |char: char| char.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(char);
    value.len() <= 254
        && (1..=64).contains(&local.len())
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(local_char)
        && domain.split('.').count() >= 2
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_mail_addresses_are_told_from_nonsense() {
        for good in ["a@b.de", "first.last+tag@sub.example.org", "müller@bücher.example", "o'neil@x-y.io"] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in
            ["", "a", "@b.de", "a@", "a@b", "a@b..de", "a b@c.de", "a@-b.de", ".a@b.de", "a@b.de\n", "a@b@c,de", &long]
        {
            assert!(!is_email(bad), "{bad:?}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let mut rules = Rules::default();
        rules.required("name", None, 10);
        rules.optional("city", Some("x".repeat(11)), 10);
        rules.optional("line", Some("a\nb".into()), 10);
        rules.phone("phone", "call me");
        assert_eq!(rules.optional("fits", Some(" ÄÖÜ ".into()), 3).as_deref(), Some("ÄÖÜ"));
        let broken = rules.verdict(()).unwrap_err();
        let fields: Vec<&str> = broken.iter().map(|broken| broken.field.as_str()).collect();
        assert_eq!(fields, ["name", "city", "line", "phone"]);
    }
}
