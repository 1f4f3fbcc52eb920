//! Plain data in attributes: JSON as dictionaries, arrays, strings and numbers, and back.
//!
//! ```text
//! {"slots": 2, "transport": "cp_async"}     <->     {slots = 2 : i64, transport = "cp_async"}
//! ```

use alcop_compiler::ir::{Attr, Context, Type};
use serde_json::Value;

/// JSON as an attribute: objects as dictionaries, without their nulls.
pub fn to_attribute<'ir>(context: &'ir Context, value: &Value) -> Option<Attr<'ir>> {
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(Attr::bool(context, *value)),
        Value::Number(number) => Some(Attr::int(Type::int(context, 64), number.as_i64()?)),
        Value::String(text) => Some(Attr::string(context, text)),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| to_attribute(context, item)).collect();
            Some(Attr::array(context, &items?))
        }
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .filter_map(|(name, value)| Some((name.as_str(), to_attribute(context, value)?)))
                .collect();
            Some(Attr::dictionary(context, &entries))
        }
    }
}

/// The reverse of [`to_attribute`]; `None` for an attribute that it does not make.
pub fn to_json(attribute: Attr<'_>) -> Option<Value> {
    if attribute.is_dictionary() {
        let entries = attribute.entries().into_iter();
        let entries: Option<serde_json::Map<_, _>> = entries
            .map(|(name, value)| Some((name.to_owned(), to_json(value)?)))
            .collect();
        return entries.map(Value::Object);
    }
    if let Some(items) = attribute.as_array() {
        let items: Option<Vec<_>> = items.into_iter().map(to_json).collect();
        return items.map(Value::Array);
    }
    attribute
        .as_str()
        .map(Value::from)
        .or_else(|| attribute.as_bool().map(Value::from))
        .or_else(|| attribute.as_int().map(Value::from))
}
