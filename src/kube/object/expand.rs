//! `$(VAR)` in sub paths, as the kubelet expands it, with the variables whose values can be told from the pod's object alone.
//!
//! A sub path decides to whom a dump belongs, so a value is believed only where nobody can have changed it since the container started. A label or
//! an annotation can be changed by whoever may change the pod: a pod that ran with `$(LABEL)` as its directory could afterwards take the name of
//! another's, and be the only one to mount that. Secrets and ConfigMaps cannot be read from here at all.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::bounds::MAX_PATH;
use super::wire::{Container, Variable};

/// Longest value that is followed: a path cannot be longer. It also ends what variables could make of each other: 30 of them, each twice the one
/// before, are 10^9 bytes.
const MAX_VALUE: usize = MAX_PATH;

/// What never changes in a pod's object, for variables that refer to it.
#[derive(Clone, Copy)]
pub(super) struct Fixed<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    /// The UID that the kubelet knows: of a static pod it is not the object's.
    pub(super) node_uid: &'a str,
    pub(super) node_name: &'a str,
    pub(super) service_account: &'a str,
}

impl<'a> Fixed<'a> {
    /// The value of a field. An IP is none: it is another one after the pod's sandbox was made anew.
    fn field(&self, path: &str) -> Option<&'a str> {
        match path {
            "metadata.name" => Some(self.name),
            "metadata.namespace" => Some(self.namespace),
            "metadata.uid" => Some(self.node_uid),
            "spec.nodeName" => Some(self.node_name),
            "spec.serviceAccountName" => Some(self.service_account),
            _ => None,
        }
    }
}

/// The variables of a container.
pub(super) struct Variables<'a> {
    /// By name; without a value where it cannot be told.
    values: BTreeMap<&'a str, Option<Cow<'a, str>>>,
    /// Whether there are others that cannot be told.
    others: bool,
}

impl<'a> Variables<'a> {
    /// Reads them in their order: a value refers to those before it, and a later one of the same name takes the place of an earlier.
    pub(super) fn of(container: &'a Container, fixed: Fixed<'a>) -> Self {
        let mut variables = Self {
            values: BTreeMap::new(),
            others: !container.env_from.items.is_empty(),
        };
        if container.env.cut {
            // Any of those that were kept may be another's value by now.
            variables.others = true;
            return variables;
        }
        for variable in &container.env.items {
            if let Some(name) = variable.name.as_deref() {
                let value = variables.value_of(variable, fixed);
                variables.values.insert(name, value);
            }
        }
        variables
    }

    /// A value wins over a reference, as in the kubelet; with neither, the variable is empty.
    fn value_of(&self, variable: &'a Variable, fixed: Fixed<'a>) -> Option<Cow<'a, str>> {
        if let Some(value) = &variable.value {
            return expanded(value, |name| self.in_value(name)).map(Cow::Owned);
        }
        let Some(from) = &variable.value_from else {
            return Some(Cow::Borrowed(""));
        };
        let path = from.field_ref.as_ref()?.field_path.as_deref()?;
        fixed.field(path).map(Cow::Borrowed)
    }

    /// A variable within a variable's value: one that is not defined stays as it is written.
    fn in_value(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.values.get(name) {
            Some(value) => value.as_deref().map(Cow::Borrowed),
            None if self.others || may_be_a_services(name) => None,
            None => Some(Cow::Owned(format!("$({name})"))),
        }
    }

    /// A `subPathExpr`, if it can be told. A variable that is not defined, or is empty, keeps the container from starting: then nothing is told
    /// either.
    pub(super) fn expand(&self, expression: &str) -> Option<String> {
        expanded(expression, |name| {
            let value = self.values.get(name)?.as_deref()?;
            (!value.is_empty()).then_some(Cow::Borrowed(value))
        })
    }
}

/// Whether a variable may be one the kubelet adds for each service of the namespace: `CHECKOUT_SERVICE_HOST`, `CHECKOUT_PORT_80_TCP`.
fn may_be_a_services(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST") || name.contains("_PORT")
}

/// Replaces each `$(NAME)` by its value, once, and `$$` by `$`; every other `$` stays. Nothing, where a value is nothing or the text gets too long.
fn expanded<'v>(
    text: &str,
    mut value_of: impl FnMut(&str) -> Option<Cow<'v, str>>,
) -> Option<String> {
    let mut done = String::new();
    let mut rest = text;
    // Once a bracket is not closed, none behind it is: a megabyte of `$(` would be searched 2,000 times for one.
    let mut closes = true;
    while let Some(at) = rest.find('$') {
        push(&mut done, &rest[..at])?;
        let after = &rest[at + 1..];
        rest = match after.as_bytes().first() {
            Some(b'$') => {
                push(&mut done, "$")?;
                &after[1..]
            }
            Some(b'(') if closes => match after[1..].split_once(')') {
                Some((name, behind)) => {
                    push(&mut done, &value_of(name)?)?;
                    behind
                }
                None => {
                    closes = false;
                    push(&mut done, "$")?;
                    after
                }
            },
            // The kubelet takes the first byte for a character, and what it makes of the rest is not text.
            Some(128..) => return None,
            _ => {
                push(&mut done, "$")?;
                after
            }
        };
    }
    push(&mut done, rest)?;
    Some(done)
}

fn push(to: &mut String, more: &str) -> Option<()> {
    (to.len() + more.len() <= MAX_VALUE).then(|| to.push_str(more))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(json: &str) -> Container {
        serde_json::from_str(json).expect("a container")
    }

    const FIXED: Fixed<'static> = Fixed {
        name: "checkout-1",
        namespace: "shop",
        node_uid: "u-1",
        node_name: "node-a",
        service_account: "robot",
    };

    fn expand(env: &str, expression: &str) -> Option<String> {
        let container = container(env);
        Variables::of(&container, FIXED).expand(expression)
    }

    #[test]
    fn dollars_are_read_as_kubernetes_reads_them() {
        let env = r#"{"env":[{"name":"A","value":"a"},{"name":"REF","value":"$$(A)"},{"name":"A$(B","value":"odd"}]}"#;
        for (expression, expected) in [
            ("", Some("")),
            ("plain", Some("plain")),
            ("$(A)", Some("a")),
            ("x$(A)y$(A)z", Some("xayaz")),
            ("$$(A)", Some("$(A)")),
            ("$$$(A)", Some("$a")),
            ("$$$$(A)", Some("$$(A)")),
            ("$$$$$(A)", Some("$$a")),
            // A value is not expanded again.
            ("$(REF)", Some("$(A)")),
            // A name goes up to the first bracket that closes, whatever is in it.
            ("$(A$(B)", Some("odd")),
            ("$(A$(B))", Some("odd)")),
            ("$A", Some("$A")),
            ("${A}", Some("${A}")),
            ("$A)", Some("$A)")),
            ("(A)", Some("(A)")),
            ("$", Some("$")),
            ("a$", Some("a$")),
            ("a$$", Some("a$")),
            ("$(A)$", Some("a$")),
            ("$(", Some("$(")),
            ("$(A", Some("$(A")),
            ("$(A)$(A", Some("a$(A")),
            ("$($($(--", Some("$($($(--")),
            ("$(x$$y$", Some("$(x$y$")),
            ("$(x$$$y", Some("$(x$$y")),
            ("\\$(A)", Some("\\a")),
            ("é$(A)é", Some("éaé")),
            ("$é", None),
            ("$($é", None),
            ("$(A)/$(GONE)", None),
            ("$()", None),
        ] {
            assert_eq!(
                expand(env, expression).as_deref(),
                expected,
                "{expression:?}"
            );
        }
    }

    #[test]
    fn variables_refer_to_those_before_them() {
        for (env, expected) in [
            (
                r#"{"name":"A","value":"1"},{"name":"X","value":"$(A)/2"}"#,
                Some("1/2"),
            ),
            // Not to later ones, and a reference to nothing stays.
            (
                r#"{"name":"X","value":"$(A)"},{"name":"A","value":"1"}"#,
                Some("$(A)"),
            ),
            (r#"{"name":"X","value":"$(X)"}"#, Some("$(X)")),
            // The later of two counts, and each refers to what was there then.
            (
                r#"{"name":"X","value":"1"},{"name":"X","value":"$(X)2"}"#,
                Some("12"),
            ),
            (r#"{"name":"E"},{"name":"X","value":"a$(E)b"}"#, Some("ab")),
            (r#"{"name":"X"}"#, None),
            (r#"{"name":"X","value":""}"#, None),
            (r#"{"name":"X","value":null,"valueFrom":null}"#, None),
            // What the kubelet adds for services is not in the object.
            (r#"{"name":"X","value":"$(DB_SERVICE_HOST)"}"#, None),
            (r#"{"name":"X","value":"$(DB_PORT)"}"#, None),
            (r#"{"name":"X","value":"$(DB_PORT_80_TCP)"}"#, None),
            (
                r#"{"name":"DB_PORT","value":"1"},{"name":"X","value":"$(DB_PORT)"}"#,
                Some("1"),
            ),
            // A value of another type is none.
            (r#"{"name":"X","value":5}"#, None),
            (r#"{"value":"x"}"#, None),
        ] {
            let env = format!(r#"{{"env":[{env}]}}"#);
            assert_eq!(expand(&env, "$(X)").as_deref(), expected, "{env}");
        }
    }

    #[test]
    fn only_fields_that_never_change_are_believed() {
        for (from, expected) in [
            (
                r#"{"fieldRef":{"fieldPath":"metadata.name"}}"#,
                Some("checkout-1"),
            ),
            (
                r#"{"fieldRef":{"fieldPath":"metadata.namespace"}}"#,
                Some("shop"),
            ),
            (r#"{"fieldRef":{"fieldPath":"metadata.uid"}}"#, Some("u-1")),
            (
                r#"{"fieldRef":{"fieldPath":"spec.nodeName"}}"#,
                Some("node-a"),
            ),
            (
                r#"{"fieldRef":{"fieldPath":"spec.serviceAccountName"}}"#,
                Some("robot"),
            ),
            (
                r#"{"fieldRef":{"fieldPath":"metadata.labels['app']"}}"#,
                None,
            ),
            (
                r#"{"fieldRef":{"fieldPath":"metadata.annotations['a']"}}"#,
                None,
            ),
            (r#"{"fieldRef":{"fieldPath":"status.podIP"}}"#, None),
            (r#"{"fieldRef":{"fieldPath":"status.hostIP"}}"#, None),
            (r#"{"fieldRef":{}}"#, None),
            (r#"{"fieldRef":"metadata.name"}"#, None),
            (r#"{"secretKeyRef":{"name":"s","key":"k"}}"#, None),
            (r#"{"configMapKeyRef":{"name":"s","key":"k"}}"#, None),
            (r#"{"resourceFieldRef":{"resource":"limits.cpu"}}"#, None),
            (r#"{"fileKeyRef":{"key":"k"}}"#, None),
            ("{}", None),
        ] {
            let env = format!(
                r#"{{"env":[{{"name":"F","valueFrom":{from}}},{{"name":"X","value":"$(F)/x"}}]}}"#
            );
            assert_eq!(expand(&env, "$(F)").as_deref(), expected, "{from}");
            // What is made of it is told or not as it is.
            let made = expected.map(|value| format!("{value}/x"));
            assert_eq!(expand(&env, "$(X)"), made, "{from}");
        }
    }

    #[test]
    fn variables_from_elsewhere_leave_references_untold() {
        let env = r#"{"envFrom":[{"secretRef":{"name":"s"}}],"env":[{"name":"A","value":"a"},{"name":"X","value":"$(GONE)"}]}"#;
        assert_eq!(expand(env, "$(A)").as_deref(), Some("a"));
        assert_eq!(expand(env, "$(X)"), None);
        assert_eq!(expand(env, "$(GONE)"), None);
        let none = r#"{"envFrom":[],"env":[{"name":"X","value":"$(GONE)"}]}"#;
        assert_eq!(expand(none, "$(X)").as_deref(), Some("$(GONE)"));
    }

    #[test]
    fn variables_that_grow_on_each_other_end_where_paths_do() {
        let mut env = r#"{"name":"V0","value":"0123456789abcdef"}"#.to_owned();
        for n in 1..40 {
            let before = n - 1;
            env += &format!(r#",{{"name":"V{n}","value":"$(V{before})$(V{before})"}}"#);
        }
        let env = format!(r#"{{"env":[{env}]}}"#);
        assert_eq!(expand(&env, "$(V8)").map(|v| v.len()), Some(4096));
        assert_eq!(expand(&env, "$(V9)"), None);
        assert_eq!(expand(&env, "$(V39)"), None);
    }

    #[test]
    fn references_that_are_never_closed_take_no_time() {
        let value = "$(".repeat(500_000);
        let env = format!(r#"{{"env":[{{"name":"X","value":"{value}"}}]}}"#);
        assert_eq!(expand(&env, "$(X)"), None);
    }

    #[test]
    fn of_too_many_variables_none_is_told() {
        let one = r#"{"name":"A","value":"a"}"#;
        let env = |n: usize| format!(r#"{{"env":[{}]}}"#, vec![one; n].join(","));
        assert_eq!(expand(&env(1_024), "$(A)").as_deref(), Some("a"));
        assert_eq!(expand(&env(1_025), "$(A)"), None);
    }
}
