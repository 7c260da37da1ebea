//! A contract for GraphQL: reads a schema in its own language, checks questions against it, and says in JSON
//! Schema what their variables and answers are.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::{Map, Value, json};

/// A schema. Types are kept as they are written: `[String]`, `Int!`.
#[derive(Default)]
pub(crate) struct Schema {
    objects: BTreeMap<String, BTreeMap<String, Field>>,
    inputs: BTreeMap<String, BTreeMap<String, String>>,
    enums: BTreeMap<String, Vec<String>>,
}

struct Field {
    arguments: BTreeMap<String, String>,
    kind: String,
}

type Tokens = Peekable<IntoIter<String>>;

impl Schema {
    pub(crate) fn read(text: &str) -> Self {
        let mut schema = Self::default();
        let mut tokens = tokens(text);
        while let Some(word) = tokens.next() {
            let name = if word == "schema" { String::new() } else { tokens.next().unwrap() };
            match word.as_str() {
                "scalar" => {}
                "enum" => drop(schema.enums.insert(name, block(&mut tokens))),
                "input" => {
                    take(&mut tokens, "{");
                    drop(schema.inputs.insert(name, named(&mut tokens, "}")));
                }
                "type" => drop(schema.objects.insert(name, fields(&mut tokens))),
                _ => drop(block(&mut tokens)),
            }
        }
        schema
    }

    /// What is wrong with a question, and the schema of its variables.
    pub(crate) fn question(&self, document: &str) -> (Vec<String>, Value) {
        let mut tokens = tokens(document);
        let root = match tokens.next().as_deref() {
            Some("query") => "Query",
            Some("mutation") => "Mutation",
            other => return (vec![format!("{other:?} is neither a query nor a mutation")], json!(false)),
        };
        let mut wrong = Vec::new();
        let _name = tokens.next();
        let mut variables = BTreeMap::new();
        if tokens.next_if_eq("(").is_some() {
            variables = named(&mut tokens, ")");
        }
        self.selection(root, &mut tokens, &variables, &mut wrong);
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for (name, kind) in variables {
            properties.insert(name.clone(), self.input(&kind));
            if kind.ends_with('!') {
                required.push(name);
            }
        }
        (wrong, object(properties, &required))
    }

    /// `{ field(argument: $variable) { .. } .. }` of a type.
    fn selection(
        &self,
        of: &str,
        tokens: &mut Tokens,
        variables: &BTreeMap<String, String>,
        wrong: &mut Vec<String>,
    ) {
        take(tokens, "{");
        loop {
            let name = tokens.next().unwrap();
            if name == "}" {
                return;
            }
            let Some(field) = self.objects.get(of).and_then(|it| it.get(&name)) else {
                wrong.push(format!("{of} has no field `{name}`"));
                return;
            };
            if tokens.next_if_eq("(").is_some() {
                for (argument, variable) in named(tokens, ")") {
                    let given = variables.get(&variable).map(String::as_str);
                    let taken = field.arguments.get(&argument).map(String::as_str);
                    let fits = given
                        .zip(taken)
                        .is_some_and(|(it, taken)| it.trim_end_matches('!') == taken || it == taken);
                    if !fits {
                        wrong.push(format!(
                            "{of}.{name} takes {argument}: {taken:?}, not {variable}: {given:?}"
                        ));
                    }
                }
            }
            let inner = bare(&field.kind);
            match (self.objects.contains_key(inner), tokens.peek().is_some_and(|it| it == "{")) {
                (true, true) => self.selection(inner, tokens, variables, wrong),
                (false, false) => {}
                _ => wrong.push(format!("{of}.{name} is a {inner}: its fields are missing, or too many")),
            }
        }
    }

    /// A type of variables.
    fn input(&self, kind: &str) -> Value {
        self.kind(kind, &|name| {
            let fields = self.inputs.get(name)?;
            let required: Vec<_> =
                fields.iter().filter(|(_, it)| it.ends_with('!')).map(|(name, _)| name.clone()).collect();
            Some(object(fields.iter().map(|(name, it)| (name.clone(), self.input(it))).collect(), &required))
        })
    }

    /// Everything that an answer may have, by the names that `answer` refers to.
    pub(crate) fn answers(&self) -> Map<String, Value> {
        let shape = |fields: &BTreeMap<String, Field>| {
            let of = |field: &Field| {
                self.kind(&field.kind, &|name| {
                    let known = self.objects.contains_key(name);
                    known.then(|| json!({"$ref": format!("#/components/schemas/GraphQL.{name}")}))
                })
            };
            object(fields.iter().map(|(name, it)| (name.clone(), of(it))).collect(), &[])
        };
        self.objects.iter().map(|(name, it)| (format!("GraphQL.{name}"), shape(it))).collect()
    }

    fn kind(&self, kind: &str, named: &dyn Fn(&str) -> Option<Value>) -> Value {
        if let Some(kind) = kind.strip_suffix('!') {
            return self.sure(kind, named);
        }
        json!({"anyOf": [self.sure(kind, named), {"type": "null"}]})
    }

    fn sure(&self, kind: &str, named: &dyn Fn(&str) -> Option<Value>) -> Value {
        if let Some(inner) = kind.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            return json!({"type": "array", "items": self.kind(inner, named)});
        }
        match kind {
            "Int" => json!({"type": "integer"}),
            "Float" => json!({"type": "number"}),
            "Boolean" => json!({"type": "boolean"}),
            "String" => json!({"type": "string"}),
            "DateTime" => {
                json!({"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$"})
            }
            other => match self.enums.get(other) {
                Some(values) => json!({"enum": values}),
                None => named(other).unwrap_or_else(|| panic!("{other} is no type")),
            },
        }
    }
}

/// The body of every answer.
pub(crate) fn answer() -> Value {
    let data = json!({"anyOf": [
        {"$ref": "#/components/schemas/GraphQL.Query"}, {"$ref": "#/components/schemas/GraphQL.Mutation"},
        {"type": "null"}
    ]});
    json!({"type": "object", "properties": {"data": data, "errors": {"type": "array", "items": {
        "type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}
    }}}})
}

/// The body of every question.
pub(crate) fn body() -> Value {
    let properties = json!({
        "query": {"type": "string"}, "operationName": {"type": "string"}, "variables": {"type": "object"}
    });
    json!({"type": "object", "required": ["query", "variables"], "properties": properties})
}

fn object(properties: Map<String, Value>, required: &[String]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn bare(kind: &str) -> &str {
    kind.trim_matches(['[', ']', '!'])
}

/// Words and signs, without comments and descriptions.
fn tokens(text: &str) -> Tokens {
    let lines = text.lines().map(|it| it.split('#').next().unwrap());
    let bare: String = lines
        .flat_map(|it| it.split('"').step_by(2).chain(["\n"]))
        .flat_map(str::chars)
        .flat_map(|it| if "{}()[]:!$".contains(it) { vec![' ', it, ' '] } else { vec![it] })
        .collect();
    let words = bare.split([' ', ',', '\n']).filter(|it| !it.is_empty() && *it != "$").map(str::to_owned);
    words.collect::<Vec<_>>().into_iter().peekable()
}

fn take(tokens: &mut Tokens, expected: &str) {
    assert_eq!(tokens.next().as_deref(), Some(expected));
}

/// `{ .. }`, as its words.
fn block(tokens: &mut Tokens) -> Vec<String> {
    take(tokens, "{");
    tokens.by_ref().take_while(|it| it != "}").collect()
}

/// `name: type ..` up to a sign.
fn named(tokens: &mut Tokens, end: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    loop {
        let name = tokens.next().unwrap();
        if name == end {
            return all;
        }
        take(tokens, ":");
        all.insert(name, kind(tokens));
    }
}

fn kind(tokens: &mut Tokens) -> String {
    let mut kind = tokens.next().unwrap();
    if kind == "[" {
        kind = format!("[{}]", self::kind(tokens));
        take(tokens, "]");
    }
    if tokens.next_if_eq("!").is_some() { format!("{kind}!") } else { kind }
}

fn fields(tokens: &mut Tokens) -> BTreeMap<String, Field> {
    take(tokens, "{");
    let mut all = BTreeMap::new();
    loop {
        let name = tokens.next().unwrap();
        if name == "}" {
            return all;
        }
        let mut arguments = BTreeMap::new();
        if tokens.next_if_eq("(").is_some() {
            arguments = named(tokens, ")");
        }
        take(tokens, ":");
        all.insert(name, Field { arguments, kind: kind(tokens) });
    }
}

#[test]
fn a_question_is_checked_against_its_schema() {
    let text = r#"
        schema { query: Query } # roots
        scalar DateTime
        enum Size { BIG SMALL }
        type Query { things(of: Of!, most: Int): [Thing] }
        "what there is" input Of { size: Size! names: [String] until: DateTime }
        type Thing { id: String inner: Thing }
    "#;
    let schema = Schema::read(text);
    let ask = |it: &str| schema.question(it).0;
    let good = "query Q($of: Of!) { things(of: $of) { id inner { id } } }";
    assert_eq!(ask(good), [""; 0]);
    for bad in [
        "query Q($of: Of!) { thing(of: $of) { id } }",
        "query Q($of: Of!) { things(off: $of) { id } }",
        "query Q($of: Int) { things(of: $of) { id } }",
        "query Q($of: Of) { things(of: $of) { id } }",
        "query Q($of: Of!) { things(of: $of) { id inner } }",
        "query Q($of: Of!) { things(of: $of) { id { id } } }",
        "question Q { things }",
    ] {
        assert!(!ask(bad).is_empty(), "{bad}");
    }
    let variables = jsonschema::validator_for(&schema.question(good).1).unwrap();
    assert!(variables.is_valid(&json!({"of": {"size": "BIG", "names": ["a", null], "until": null}})));
    for bad in [json!({}), json!({"of": {"size": "big"}}), json!({"of": {"size": "BIG", "name": []}})] {
        assert!(!variables.is_valid(&bad), "{bad}");
    }
}
