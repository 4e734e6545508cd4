//! Fills in `${VAR}` and `${VAR:-default}`, after the text was read: a value can never add
//! keys or lists, whatever it holds.

use std::cell::RefCell;

use super::{Content, Node};
use crate::config::report::{Report, element, member};

/// Where a variable's value comes from.
pub(in crate::config) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Fills in every variable; what uses an unset one is reported and taken out.
pub(in crate::config) fn expand(
    node: &mut Node,
    key: &str,
    env: Environment<'_>,
    report: &mut Report,
) {
    match &mut node.content {
        Content::Text(text) if text.contains("${") => {
            let seen = RefCell::new(Vec::new());
            let noting = |name: &str| {
                let value = env(name);
                seen.borrow_mut()
                    .extend(value.clone().map(|value| (name.to_owned(), value)));
                value
            };
            let filled = filled(text, &noting);
            for (name, value) in seen.into_inner() {
                report.filled(&name, &value);
            }
            match filled {
                Ok(text) => {
                    report.expanded(key);
                    node.content = Content::Text(text);
                }
                Err((message, remedy)) => {
                    report.error(key, message, remedy);
                    node.content = Content::Null;
                }
            }
        }
        Content::List(nodes) => {
            for (index, node) in nodes.iter_mut().enumerate() {
                expand(node, &element(key, index), env, report);
            }
        }
        Content::Map(entries) => {
            for entry in entries {
                expand(&mut entry.node, &member(key, &entry.name), env, report);
            }
        }
        _ => {}
    }
}

/// The text with its variables filled in, or what is wrong and what to do.
fn filled(text: &str, env: Environment<'_>) -> Result<String, (String, String)> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        // `$${` stands for `${` itself.
        if let Some(before) = rest[..start].strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        result.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('}') else {
            return Err((
                "has `${` without `}`".into(),
                "Close it, or write `$${` for the characters themselves.".into(),
            ));
        };
        result.push_str(&value(&rest[start + 2..start + length], env)?);
        rest = &rest[start + length + 1..];
    }
    result.push_str(rest);
    Ok(result)
}

fn value(variable: &str, env: Environment<'_>) -> Result<String, (String, String)> {
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    if !is_name(name) {
        return Err((
            format!("has `${{{name}}}`, which is not the name of a variable"),
            "Write letters, digits and `_`, such as `${APP_URL}`.".into(),
        ));
    }
    // As in a shell, `:-` also stands in for a variable that is set to nothing.
    env(name)
        .filter(|value| default.is_none() || !value.is_empty())
        .or_else(|| default.map(str::to_owned))
        .ok_or_else(|| {
            (
                format!("needs the environment variable {name}, which is not set"),
                format!("Set it, or write a default: `${{{name}:-value}}`."),
            )
        })
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        filled(text, &env).map_err(|(message, _)| message)
    }

    #[test]
    fn variables_defaults_and_escapes() {
        assert_eq!(fill("x${A}y${A}").unwrap(), "xoneyone");
        assert_eq!(fill("${B:-two}").unwrap(), "two");
        assert_eq!(fill("${B:-}").unwrap(), "");
        assert_eq!(fill("${EMPTY}").unwrap(), "");
        assert_eq!(fill("${EMPTY:-two}").unwrap(), "two");
        assert_eq!(fill("$${A} $A $").unwrap(), "${A} $A $");
        assert_eq!(fill("$$${A}").unwrap(), "$${A}");
    }

    #[test]
    fn what_is_not_a_variable_is_said() {
        assert!(
            fill("${B}")
                .unwrap_err()
                .contains("variable B, which is not set")
        );
        assert!(fill("${A").unwrap_err().contains("without `}`"));
        assert!(fill("${A B}").unwrap_err().contains("not the name"));
        assert!(fill("${}").unwrap_err().contains("not the name"));
    }
}
