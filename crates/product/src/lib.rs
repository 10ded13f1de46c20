//! The catalogue, by GraphQL.
