//! The topology: all topics, and the topics that each consumer group consumes.
//!
//! A broker that keeps nothing for a group that has never connected (RabbitMQ) gets all groups declared by the first
//! process that connects, so no message is lost before a service has run for the first time.

/// Topics, and the groups that consume them.
#[derive(Debug, Clone, Copy)]
pub struct Topology {
    /// All topics; each has a topic `<topic>.dlq` for its dead letters.
    pub topics: &'static [&'static str],
    /// Each group with the topics that it consumes.
    pub groups: &'static [(&'static str, &'static [&'static str])],
}

/// The topics of Souk.
pub const TOPICS: &[&str] =
    &["orders", "stock", "payments", "customers", "products", "prospect-events", "new-order", "order-processed"];

/// The consumer groups of Souk, named after the services.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("customer", &["prospect-events"]),
    ("notification", &["orders", "stock", "payments", "customers"]),
    ("order", &["payments", "new-order"]),
    ("stock", &["orders"]),
];

impl Topology {
    /// The topology of Souk.
    pub const SOUK: Self = Self { topics: TOPICS, groups: GROUPS };

    /// The topics that a group consumes.
    pub(crate) fn topics_of(&self, group: &str) -> Option<&'static [&'static str]> {
        self.groups.iter().find(|(name, _)| *name == group).map(|(_, topics)| *topics)
    }

    /// Whether any group consumes a topic.
    pub(crate) fn has_consumer(&self, topic: &str) -> bool {
        self.groups.iter().any(|(_, topics)| topics.contains(&topic))
    }

    /// The topics and their dead letter topics.
    pub(crate) fn all_topics(&self) -> impl Iterator<Item = String> + use<> {
        self.topics.iter().flat_map(|topic| [(*topic).to_owned(), dead_letter_topic(topic)])
    }
}

/// The dead letter topic of a topic.
pub(crate) fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}{DEAD_LETTER_SUFFIX}")
}

/// The topic of a dead letter topic.
pub(crate) fn original_topic(topic: &str) -> &str {
    topic.strip_suffix(DEAD_LETTER_SUFFIX).unwrap_or(topic)
}

/// Suffix of the names of dead letter topics.
pub(crate) const DEAD_LETTER_SUFFIX: &str = ".dlq";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_consumes_existing_topics() {
        for (group, topics) in GROUPS {
            assert!(topics.iter().all(|topic| TOPICS.contains(topic)), "{group}");
            assert_eq!(Topology::SOUK.topics_of(group), Some(*topics));
        }
        assert!(Topology::SOUK.has_consumer("orders") && !Topology::SOUK.has_consumer("products"));
        assert_eq!(Topology::SOUK.all_topics().count(), 2 * TOPICS.len());
    }
}
