//! Who hears what: the one place that says which topics there are and which group takes which of them.
//!
//! A broker that keeps nothing for a group before it has come once (RabbitMQ) is told of all groups by whoever
//! connects first, so nothing is lost while a service has never run.

/// Topics, and the groups that hear them.
#[derive(Debug, Clone, Copy)]
pub struct Topology {
    /// All topics; beside each stands `<topic>.dlq` for its dead letters.
    pub topics: &'static [&'static str],
    /// Each group with the topics that it hears.
    pub groups: &'static [(&'static str, &'static [&'static str])],
}

/// The topics of the house.
pub const TOPICS: &[&str] =
    &["orders", "stock", "payments", "customers", "products", "prospect-events", "new-order", "order-processed"];

/// The groups of the house, named as the services are.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("customer", &["prospect-events"]),
    ("notification", &["orders", "stock", "payments", "customers"]),
    ("order", &["payments", "new-order"]),
    ("stock", &["orders"]),
];

impl Topology {
    /// The house's own.
    pub const SOUK: Self = Self { topics: TOPICS, groups: GROUPS };

    /// What a group hears.
    pub(crate) fn hears(&self, group: &str) -> Option<&'static [&'static str]> {
        self.groups.iter().find(|(name, _)| *name == group).map(|(_, topics)| *topics)
    }

    /// Whether anybody hears a topic.
    pub(crate) fn is_heard(&self, topic: &str) -> bool {
        self.groups.iter().any(|(_, topics)| topics.contains(&topic))
    }

    /// The topics and those of their dead letters.
    pub(crate) fn all_topics(&self) -> impl Iterator<Item = String> + use<> {
        self.topics.iter().flat_map(|topic| [(*topic).to_owned(), dead(topic)])
    }
}

/// Where the dead letters of a topic go.
pub(crate) fn dead(topic: &str) -> String {
    format!("{topic}{DEAD}")
}

/// The topic whose dead letters go there.
pub(crate) fn living(topic: &str) -> &str {
    topic.strip_suffix(DEAD).unwrap_or(topic)
}

/// What the names of topics of dead letters end with.
pub(crate) const DEAD: &str = ".dlq";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_hears_topics_that_there_are() {
        for (group, topics) in GROUPS {
            assert!(topics.iter().all(|topic| TOPICS.contains(topic)), "{group}");
            assert_eq!(Topology::SOUK.hears(group), Some(*topics));
        }
        assert!(Topology::SOUK.is_heard("orders") && !Topology::SOUK.is_heard("products"));
        assert_eq!(Topology::SOUK.all_topics().count(), 2 * TOPICS.len());
    }
}
