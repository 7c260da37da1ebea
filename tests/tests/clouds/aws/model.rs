//! The service models of AWS, which every request must keep: operations, members and their types, with unknown
//! members refused. They lie where the other contracts do.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::contract::folder;

/// The models that are there.
pub(crate) struct Models(BTreeMap<&'static str, Value>);

/// The services, by the name in their signatures.
const SERVICES: [(&str, &str); 4] = [
    ("ec2", "ec2.service-2.json"),
    ("ssm", "ssm.service-2.json"),
    ("sts", "sts.service-2.json"),
    ("pricing", "pricing.service-2.json"),
];

impl Models {
    /// `None` where there is no folder of contracts.
    pub(crate) fn load() -> Option<Self> {
        let folder = folder()?.join("aws");
        let read = |file: &str| {
            let text = std::fs::read_to_string(folder.join(file)).expect("a model of every service");
            serde_json::from_str(&text).expect("JSON")
        };
        Some(Self(SERVICES.iter().map(|(service, file)| (*service, read(file))).collect()))
    }

    /// What a request in EC2's form does wrong. `names` are decoded.
    pub(crate) fn form(&self, service: &str, pairs: &[(String, String)]) -> Vec<String> {
        let model = &self.0[service];
        let of = |name: &str| pairs.iter().find(|(it, _)| it == name).map_or("", |(_, it)| it.as_str());
        let action = of("Action").to_owned();
        let Some(operation) = model["operations"].get(&action) else {
            return vec![format!("{service} has no {action}")];
        };
        let mut wrong = Vec::new();
        if model["metadata"]["apiVersion"] != of("Version") {
            wrong.push(format!("{action}: the version is {}", of("Version")));
        }
        let shape = operation["input"]["shape"].as_str().unwrap_or_default();
        let mut tree = Node::default();
        for (name, value) in pairs.iter().filter(|(it, _)| it != "Action" && it != "Version") {
            tree.put(&name.split('.').collect::<Vec<_>>(), value);
        }
        check(model, shape, &tree, &action, &mut wrong);
        wrong
    }

    /// What a request in JSON does wrong. What there is no model of is not looked at.
    pub(crate) fn json(&self, service: &str, target: &str, body: &Value) -> Vec<String> {
        let Some(model) = self.0.get(service) else { return Vec::new() };
        let action = target.rsplit('.').next().unwrap_or_default();
        let prefix = model["metadata"]["targetPrefix"].as_str().unwrap_or_default();
        let Some(operation) =
            model["operations"].get(action).filter(|_| target == format!("{prefix}.{action}"))
        else {
            return vec![format!("{service} has no {target}")];
        };
        let mut wrong = Vec::new();
        json(model, operation["input"]["shape"].as_str().unwrap_or_default(), body, action, &mut wrong);
        wrong
    }
}

/// What a form says, by the steps of its names.
#[derive(Default)]
struct Node {
    value: Option<String>,
    below: BTreeMap<String, Self>,
}

impl Node {
    fn put(&mut self, path: &[&str], value: &str) {
        match path {
            [] => self.value = Some(value.to_owned()),
            [first, rest @ ..] => self.below.entry((*first).to_owned()).or_default().put(rest, value),
        }
    }
}

fn check(model: &Value, name: &str, node: &Node, path: &str, wrong: &mut Vec<String>) {
    let shape = &model["shapes"][name];
    match shape["type"].as_str().unwrap_or_default() {
        "structure" => {
            let empty = Map::new();
            let members = shape["members"].as_object().unwrap_or(&empty);
            let by_query: BTreeMap<String, (&String, &Value)> =
                members.iter().map(|(name, it)| (query_name(name, it), (name, it))).collect();
            for (step, below) in &node.below {
                let path = format!("{path}.{step}");
                match by_query.get(step) {
                    Some((_, member)) => {
                        check(model, member["shape"].as_str().unwrap_or_default(), below, &path, wrong);
                    }
                    None => wrong.push(format!("{path} is no member of {name}")),
                }
            }
            for required in shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let there = members.get(required).map(|it| query_name(required, it));
                if there.is_some_and(|it| !node.below.contains_key(&it)) {
                    wrong.push(format!("{path} has no {required}"));
                }
            }
            if node.value.is_some() {
                wrong.push(format!("{path} is a structure"));
            }
        }
        "list" => {
            for (step, below) in &node.below {
                if step.parse::<u32>().map_or(true, |it| it == 0) {
                    wrong.push(format!("{path}.{step} is no place in a list"));
                }
                let member = shape["member"]["shape"].as_str().unwrap_or_default();
                check(model, member, below, &format!("{path}.{step}"), wrong);
            }
            if node.value.is_some() {
                wrong.push(format!("{path} is a list"));
            }
        }
        kind => {
            let value = node.value.as_deref().unwrap_or_default();
            if !node.below.is_empty() || !scalar(kind, shape, value) {
                wrong.push(format!("{path} is no {kind}: {value}"));
            }
        }
    }
}

fn scalar(kind: &str, shape: &Value, value: &str) -> bool {
    match kind {
        "integer" | "long" => value.parse::<i64>().is_ok(),
        "double" | "float" => value.parse::<f64>().is_ok(),
        "boolean" => ["true", "false"].contains(&value),
        "timestamp" => value.ends_with('Z') && value.contains('T'),
        _ => shape["enum"].as_array().is_none_or(|all| all.iter().any(|it| it == value)),
    }
}

/// What a member is called in a form of EC2.
fn query_name(name: &str, member: &Value) -> String {
    if let Some(name) = member["queryName"].as_str() {
        return name.to_owned();
    }
    let name = member["locationName"].as_str().unwrap_or(name);
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

fn json(model: &Value, name: &str, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let shape = &model["shapes"][name];
    let fits = match shape["type"].as_str().unwrap_or_default() {
        "structure" => {
            for (field, below) in value.as_object().into_iter().flatten() {
                let path = format!("{path}.{field}");
                match shape["members"].get(field).and_then(|it| it["shape"].as_str()) {
                    Some(member) => json(model, member, below, &path, wrong),
                    None => wrong.push(format!("{path} is no member of {name}")),
                }
            }
            for required in shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if value.get(required).is_none() {
                    wrong.push(format!("{path} has no {required}"));
                }
            }
            value.is_object()
        }
        "list" => {
            for item in value.as_array().into_iter().flatten() {
                json(model, shape["member"]["shape"].as_str().unwrap_or_default(), item, path, wrong);
            }
            value.is_array()
        }
        "integer" | "long" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "string" => value.as_str().is_some_and(|it| scalar("string", shape, it)),
        _ => true,
    };
    if !fits {
        wrong.push(format!("{path} is no {name}: {value}"));
    }
}

/// The names and values of a form.
pub(crate) fn pairs(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|it| it.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut read = Vec::new();
    while let Some(byte) = bytes.next() {
        read.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
                let digits = std::str::from_utf8(&digits).unwrap_or("??");
                u8::from_str_radix(digits, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&read).into_owned()
}
