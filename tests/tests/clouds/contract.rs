//! The official contract of a cloud, which every request to and every answer from its stand-in must keep.
//! Contracts are read where they lie, in a folder `shared/contracts` beside or above the project, or the one
//! that `SKYWARD_CONTRACTS` names. Where there is none, that is said, and nothing is checked against it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use crate::graphql::{self, Schema};

/// One contract.
pub(crate) struct Contract {
    root: Value,
    graphql: Option<Schema>,
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

/// What a call is by the contract.
pub(crate) struct Operation<'a> {
    /// `POST /v2/droplets`
    name: String,
    definition: &'a Value,
}

impl Contract {
    /// The contract in a file below the folder of contracts; `None` where that is not.
    pub(crate) fn load(file: &str, amend: impl FnOnce(&mut Value)) -> Option<Self> {
        let text = read(file)?;
        // Each JSON document is a YAML one, but much slower to read as such.
        let json = file.ends_with(".json");
        let mut root: Value =
            if json { serde_json::from_str(&text).unwrap() } else { serde_saphyr::from_str(&text).unwrap() };
        modernize(&mut root);
        amend(&mut root);
        Some(Self { root, graphql: None, validators: Mutex::default() })
    }

    /// With what the schema in another file says about `POST /graphql`.
    pub(crate) fn and_graphql(mut self, file: &str) -> Option<Self> {
        let schema = Schema::read(&read(file)?);
        let content = |schema: Value| json!({"content": {"application/json": {"schema": schema}}});
        let mut body = content(graphql::body());
        body["required"] = json!(true);
        let operation = json!({"requestBody": body, "responses": {"default": content(graphql::answer())}});
        self.root["paths"]["/graphql"] = json!({"post": operation});
        self.root["components"]["schemas"].as_object_mut().unwrap().extend(schema.answers());
        Some(Self { graphql: Some(schema), ..self })
    }

    /// The operation of a request.
    pub(crate) fn operation(&self, method: &str, path: &str) -> Result<Operation<'_>, String> {
        let steps: Vec<_> = path.split('/').collect();
        let fits = |template: &str| {
            let template: Vec<_> = template.split('/').collect();
            template.len() == steps.len()
                && template.iter().zip(&steps).all(|(it, step)| it.starts_with('{') || it == step)
        };
        let paths = self.root["paths"].as_object().unwrap();
        // `/x/global` is not `/x/{id}`.
        let mut fitting: Vec<_> = paths.iter().filter(|(it, _)| fits(it)).collect();
        fitting.sort_by_key(|(it, _)| it.matches('{').count());
        let definition = fitting.iter().find_map(|(_, it)| it.get(method.to_ascii_lowercase()));
        let definition = definition.ok_or_else(|| format!("{method} {path} is in no contract"))?;
        Ok(Operation { name: format!("{method} {}", fitting[0].0), definition })
    }

    /// What is wrong with a request.
    pub(crate) fn request<'a>(
        &self,
        operation: &Operation<'_>,
        query: impl Iterator<Item = &'a String>,
        body: Option<&Value>,
    ) -> Vec<String> {
        let name = &operation.name;
        let parameters = operation.definition["parameters"].as_array().into_iter().flatten();
        let known: Vec<_> = parameters
            .map(|it| self.resolved(it))
            .filter(|it| it["in"] == "query")
            .filter_map(|it| it["name"].as_str())
            .collect();
        let mut wrong: Vec<_> = query
            .filter(|it| !known.contains(&it.as_str()))
            .map(|it| format!("{name}: it has no parameter `{it}`"))
            .collect();
        let definition = self.resolved(&operation.definition["requestBody"]);
        let schema = &definition["content"]["application/json"]["schema"];
        match (body, schema.is_null()) {
            (Some(_), true) => wrong.push(format!("{name}: it takes no body")),
            (None, false) if definition["required"] == true => {
                wrong.push(format!("{name}: a body is missing"))
            }
            (None, _) => {}
            (Some(body), false) => {
                let schema = self.closed(schema);
                wrong.extend(self.validate(&format!("{name} request"), &schema, body));
                if let (Some(graphql), Some(question)) = (&self.graphql, body["query"].as_str()) {
                    let (asked, variables) = graphql.question(question);
                    wrong.extend(asked);
                    wrong.extend(self.validate(
                        &format!("{name} {question}"),
                        &variables,
                        &body["variables"],
                    ));
                }
            }
        }
        wrong
    }

    /// What is wrong with an answer.
    pub(crate) fn answer(&self, operation: &Operation<'_>, status: u16, body: &[u8]) -> Vec<String> {
        let name = format!("{} -> {status}", operation.name);
        let responses = &operation.definition["responses"];
        let definition = responses.get(status.to_string()).or_else(|| responses.get("default"));
        let Some(definition) = definition.map(|it| self.resolved(it)) else {
            return vec![format!("{name}: it has no such answer")];
        };
        let content = &definition["content"];
        let kinds = ["application/json", "application/problem+json"];
        let schema = kinds.iter().map(|it| &content[it]["schema"]).find(|it| !it.is_null());
        let Some(schema) = schema else {
            return if body.is_empty() { vec![] } else { vec![format!("{name}: it has no body")] };
        };
        match serde_json::from_slice(body) {
            Ok(body) => self.validate(&name, schema, &body),
            Err(error) => vec![format!("{name}: {error}")],
        }
    }

    fn validate(&self, name: &str, schema: &Value, value: &Value) -> Vec<String> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(name.to_owned()).or_insert_with(|| {
            let document = json!({"components": self.root["components"], "allOf": [schema]});
            Arc::new(jsonschema::options().with_draft(Draft::Draft202012).build(&document).unwrap())
        });
        let wrong = validator.iter_errors(value);
        wrong.map(|it| format!("{name}: {}: {it}", it.instance_path())).collect()
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// A schema in which no object takes fields that it does not name.
    fn closed(&self, schema: &Value) -> Value {
        let mut closed = self.open(schema);
        if let Value::Object(it) = &mut closed {
            // Of parts, each would refuse the fields of the others.
            if it.contains_key("allOf") {
                it.entry("unevaluatedProperties").or_insert(json!(false));
            } else if it.get("properties").is_some_and(Value::is_object) {
                it.entry("additionalProperties").or_insert(json!(false));
            }
        }
        closed
    }

    /// The same, but for the schema's own fields.
    fn open(&self, schema: &Value) -> Value {
        match schema {
            Value::Object(it) if it.contains_key("$ref") => self.open(self.resolved(schema)),
            Value::Object(it) => {
                let inner = |(name, value): (&String, &Value)| {
                    let parts = value.as_array().filter(|_| name == "allOf");
                    let parts = parts.map(|it| it.iter().map(|it| self.open(it)).collect());
                    (name.clone(), parts.unwrap_or_else(|| self.closed(value)))
                };
                Value::Object(it.iter().map(inner).collect::<Map<_, _>>())
            }
            Value::Array(it) => it.iter().map(|it| self.closed(it)).collect(),
            other => other.clone(),
        }
    }
}

/// `nullable` of OpenAPI 3.0, as JSON Schema says it.
fn modernize(value: &mut Value) {
    match value {
        Value::Object(it) => {
            it.values_mut().for_each(modernize);
            if it.get("nullable") == Some(&json!(true)) {
                it.remove("nullable");
                let plain = Value::Object(std::mem::take(it));
                *value = json!({"anyOf": [plain, {"type": "null"}]});
            }
        }
        Value::Array(it) => it.iter_mut().for_each(modernize),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The text of a file below the folder of contracts.
fn read(file: &str) -> Option<String> {
    let Some(path) = folder().map(|it| it.join(file)).filter(|it| it.is_file()) else {
        let must = std::env::var_os("SKYWARD_REQUIRE_ALL").is_some();
        assert!(!must, "SKYWARD_REQUIRE_ALL is set, but there is no contract {file}");
        eprintln!("SKIPPED: no contract {file}: nothing is validated against it");
        return None;
    };
    Some(std::fs::read_to_string(path).unwrap())
}

/// Where contracts are.
pub(crate) fn folder() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SKYWARD_CONTRACTS") {
        return Some(named.into());
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().map(|it| it.join("shared/contracts")).find(|it| it.is_dir())
}

/// Lets every operation fail with a body of this component, which the contract names for some of them alone.
pub(crate) fn fails_with(contract: &mut Value, component: &str) {
    let schema = json!({"$ref": format!("#/components/schemas/{component}")});
    let failure = json!({"description": "a failure", "content": {"application/json": {"schema": schema}}});
    let paths = contract["paths"].as_object_mut().unwrap().values_mut();
    for operation in paths.filter_map(Value::as_object_mut).flat_map(|it| it.values_mut()) {
        if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
            responses.entry("default").or_insert_with(|| failure.clone());
        }
    }
}
