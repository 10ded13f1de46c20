//! A check of a document before it is validated.
//!
//! Validation and execution follow each spread of a fragment as often as it stands there, compare the fields of a selection with each
//! other, and copy a variable wherever it is used. So a kilobyte can cost hours: twenty-five fragments that each spread the next one
//! twice are 33 million selections. Here a fragment is measured once, however often it is spread, so the check itself takes no longer
//! than reading the document. What passes keeps validation to some ten milliseconds: that is why a request may be left running when its
//! client has gone.

use std::collections::HashMap;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    BaseType, Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Pos, Positioned, ServerError, Value as ConstValue, Variables};
use async_graphql_value::Value;

use super::scan;

/// Selections, arguments, values and comparisons that all operations and fragments come to. Five hundred products by alias with all
/// their fields are 11,500; the introspection that tools send is 1,000.
const MAX_NODES: usize = 20_000;
/// Fragments of a document. Each may be followed from every other one.
const MAX_FRAGMENTS: usize = 100;
/// Selection sets within each other, those of fragments included. Each takes stack, also if its fragment is not used.
const MAX_LEVELS: usize = 32;
/// Fields of the root, under whatever alias: each is a statement of the store.
const MAX_ROOT_FIELDS: usize = 500;
/// Arguments, or directives, of one field. The schema's fields have at most nine.
const MAX_PER_FIELD: usize = 32;
/// Values that an introspection returns. The one that tools send is estimated at 50,000.
const MAX_INTROSPECTED: usize = 100_000;
/// Bytes of a text that count as one value.
const TEXT_BYTES: usize = 64;

/// Fields of introspection that are lists, and how long such a list is. The schema's own types have no fields of these names.
const INTROSPECTED_LISTS: [(&str, usize); 6] =
    [("types", 25), ("fields", 8), ("args", 4), ("inputFields", 8), ("enumValues", 10), ("directives", 6)];
/// The types that a variable may have. Validation takes for granted that those of default values exist.
const INPUT_TYPES: [&str; 5] = ["Boolean", "Float", "ID", "Int", "String"];

/// A document that may be validated.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) document: ExecutableDocument,
    /// What validation costs, and what of the response needs no store: at most some hundred thousand.
    pub(super) cost: usize,
}

/// Parses a query, and refuses one that would cost too much to validate, or that asks for the schema where that is off.
pub(super) fn check(query: &str, variables: &Variables, introspection: bool) -> Result<Checked, ServerError> {
    scan::check(query).map_err(|reason| ServerError::new(reason, None))?;
    let document = parse_query(query)?;
    let mut measure = Measure::new(&document, variables, introspection);
    let total = measure.document()?;
    Ok(Checked { document, cost: total.nodes.saturating_add(total.introspected) })
}

/// Whether the operation that would be executed is a query: only such may come by GET.
pub(super) fn is_query(document: &ExecutableDocument, operation: Option<&str>) -> bool {
    let chosen = |name: Option<&Name>| operation.is_none() || name.map(Name::as_str) == operation;
    document.operations.iter().filter(|(name, _)| chosen(*name)).all(|(_, op)| op.node.ty == OperationType::Query)
}

/// What a part of a document comes to when each spread is replaced by its fragment, and each variable by its value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Size {
    /// Everything that is visited, compared or copied.
    nodes: usize,
    /// Selection sets within each other.
    levels: usize,
    /// Values that an introspection would return.
    introspected: usize,
    /// Fields beside each other, those of fragments included.
    fields: usize,
    /// Most arguments of one of those.
    arguments: usize,
}

impl Size {
    /// Adds what stands beside it.
    fn beside(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.levels = self.levels.max(other.levels);
        self.introspected = self.introspected.saturating_add(other.introspected);
        self.fields = self.fields.saturating_add(other.fields);
        self.arguments = self.arguments.max(other.arguments);
    }
}

struct Measure<'a> {
    document: &'a ExecutableDocument,
    introspection: bool,
    /// Sizes of fragments; none while one is measured.
    fragments: HashMap<&'a str, Option<Size>>,
    /// What the values of variables come to: those that were sent, declared or not, and default values.
    variables: HashMap<&'a str, usize>,
}

impl<'a> Measure<'a> {
    fn new(document: &'a ExecutableDocument, variables: &'a Variables, introspection: bool) -> Self {
        let variables = variables.iter().map(|(name, value)| (name.as_str(), const_value(value))).collect();
        Self { document, introspection, fragments: HashMap::new(), variables }
    }

    /// The sum of all operations and fragments. Validation visits also those that nothing leads to.
    fn document(&mut self) -> Result<Size, ServerError> {
        let document = self.document;
        if document.fragments.len() > MAX_FRAGMENTS {
            let message = format!("The query has more than {MAX_FRAGMENTS} fragments.");
            return Err(ServerError::new(message, None));
        }
        let mut total = Size::default();
        for (_, operation) in document.operations.iter() {
            self.declared(&operation.node)?;
        }
        for (_, operation) in document.operations.iter() {
            let set = &operation.node.selection_set;
            let mut size = self.set(set, 1)?;
            size.nodes = size.nodes.saturating_add(self.directives(&operation.node.directives, operation.pos)?);
            if size.fields > MAX_ROOT_FIELDS {
                let message = format!("The query has more than {MAX_ROOT_FIELDS} fields of the root.");
                return refuse(message, operation.pos);
            }
            total.beside(size);
            within(total, operation.pos)?;
        }
        for (name, fragment) in &document.fragments {
            let mut size = self.fragment(name, fragment.pos, 1)?;
            size.nodes = size.nodes.saturating_add(self.directives(&fragment.node.directives, fragment.pos)?);
            total.beside(size);
            within(total, fragment.pos)?;
        }
        Ok(total)
    }

    /// Takes what an operation says of its variables. A default value is copied like one that was sent.
    fn declared(&mut self, operation: &'a OperationDefinition) -> Result<(), ServerError> {
        for variable in &operation.variable_definitions {
            let mut base = &variable.node.var_type.node.base;
            while let BaseType::List(inner) = base {
                base = &inner.base;
            }
            if let BaseType::Named(name) = base
                && !INPUT_TYPES.contains(&name.as_str())
            {
                return refuse(format!("Unknown input type \"{name}\"."), variable.node.var_type.pos);
            }
            let default = variable.node.default_value.as_ref().map_or(0, |value| const_value(&value.node));
            let known = self.variables.entry(variable.node.name.node.as_str()).or_default();
            *known = default.max(*known);
        }
        Ok(())
    }

    /// A fragment at a level, where a spread stands.
    fn fragment(&mut self, name: &'a str, pos: Pos, level: usize) -> Result<Size, ServerError> {
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            // Validation says so.
            return Ok(Size::default());
        };
        match self.fragments.get(name.as_str()) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return refuse(format!("The fragment \"{name}\" spreads itself."), pos),
            None => {}
        }
        self.fragments.insert(name, None);
        let size = self.set(&fragment.node.selection_set, level)?;
        self.fragments.insert(name, Some(size));
        Ok(size)
    }

    /// A selection set at a level, which bounds the stack that measuring takes.
    fn set(&mut self, set: &'a Positioned<SelectionSet>, level: usize) -> Result<Size, ServerError> {
        if level > MAX_LEVELS {
            return refuse(format!("The query is nested more than {MAX_LEVELS} levels deep."), set.pos);
        }
        let mut size = Size::default();
        for selection in &set.node.items {
            size.beside(self.selection(selection, level)?);
            within(Size { levels: size.levels + level, ..size }, selection.pos)?;
        }
        // Each field is compared with another one of its name, argument by argument.
        size.nodes = size.nodes.saturating_add(size.fields.saturating_mul(1 + size.arguments));
        size.levels += 1;
        Ok(size)
    }

    fn selection(&mut self, selection: &'a Positioned<Selection>, level: usize) -> Result<Size, ServerError> {
        let pos = selection.pos;
        let mut size = match &selection.node {
            Selection::Field(field) => self.field(&field.node, pos, level)?,
            Selection::InlineFragment(fragment) => self.set(&fragment.node.selection_set, level + 1)?,
            Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, pos, level + 1)?,
        };
        let directives = self.directives(selection.node.directives(), pos)?;
        size.nodes = size.nodes.saturating_add(1 + directives);
        Ok(size)
    }

    fn field(&mut self, field: &'a Field, pos: Pos, level: usize) -> Result<Size, ServerError> {
        let name = field.name.node.as_str();
        if !self.introspection && matches!(name, "__schema" | "__type") {
            return refuse("Introspection is off here.".to_owned(), pos);
        }
        let below = if field.selection_set.node.items.is_empty() {
            Size::default()
        } else {
            self.set(&field.selection_set, level + 1)?
        };
        let times = INTROSPECTED_LISTS.iter().find(|(list, _)| *list == name).map_or(1, |(_, length)| *length);
        Ok(Size {
            nodes: below.nodes.saturating_add(self.arguments(&field.arguments, pos)?),
            levels: below.levels,
            introspected: below.introspected.saturating_add(1).saturating_mul(times),
            fields: 1,
            arguments: field.arguments.len(),
        })
    }

    fn directives(&self, directives: &'a [Positioned<Directive>], pos: Pos) -> Result<usize, ServerError> {
        bounded(directives.len(), "directives", pos)?;
        directives.iter().try_fold(0usize, |sum, directive| {
            let arguments = self.arguments(&directive.node.arguments, directive.pos)?;
            Ok(sum.saturating_add(1).saturating_add(arguments))
        })
    }

    fn arguments(&self, arguments: &[(Positioned<Name>, Positioned<Value>)], pos: Pos) -> Result<usize, ServerError> {
        bounded(arguments.len(), "arguments", pos)?;
        Ok(arguments.iter().fold(0, |sum, (_, value)| sum.saturating_add(1).saturating_add(self.value(&value.node))))
    }

    fn value(&self, value: &Value) -> usize {
        match value {
            Value::Variable(name) => self.variables.get(name.as_str()).map_or(1, |value| value.saturating_add(1)),
            Value::List(values) => sum(values.iter().map(|value| self.value(value))),
            Value::Object(members) => sum(members.values().map(|value| self.value(value))),
            Value::String(text) => 1 + text.len() / TEXT_BYTES,
            _ => 1,
        }
    }
}

fn const_value(value: &ConstValue) -> usize {
    match value {
        ConstValue::List(values) => sum(values.iter().map(const_value)),
        ConstValue::Object(members) => sum(members.values().map(const_value)),
        ConstValue::String(text) => 1 + text.len() / TEXT_BYTES,
        _ => 1,
    }
}

/// A list or an object: itself and what is in it.
fn sum(values: impl Iterator<Item = usize>) -> usize {
    values.fold(1, usize::saturating_add)
}

fn bounded(count: usize, what: &str, pos: Pos) -> Result<(), ServerError> {
    if count > MAX_PER_FIELD {
        return refuse(format!("There are more than {MAX_PER_FIELD} {what} in one place."), pos);
    }
    Ok(())
}

/// Refuses a size that is too large. `levels` are counted from the root.
fn within(size: Size, pos: Pos) -> Result<(), ServerError> {
    if size.levels > MAX_LEVELS {
        return refuse(format!("The query is nested more than {MAX_LEVELS} levels deep."), pos);
    }
    if size.nodes > MAX_NODES {
        return refuse("The query comes to too much, with its fragments and variables.".to_owned(), pos);
    }
    if size.introspected > MAX_INTROSPECTED {
        return refuse("The query asks for too much of the schema at once.".to_owned(), pos);
    }
    Ok(())
}

fn refuse<T>(message: String, pos: Pos) -> Result<T, ServerError> {
    Err(ServerError::new(message, Some(pos)))
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
