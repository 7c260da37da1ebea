//! Arguments as a worker decodes them and values as a client does, with raw data beside the encoding and with
//! shared values that are not there.

use std::collections::BTreeMap;

use bytes::Bytes as Raw;
use serde::{Deserialize, Serialize};
use skyward::__private::{Answer, Body, Encoder, argument, plain};
use skyward::{Array, Bytes, Shared};
use skyward_runtime::registry::Registry;
use skyward_runtime::testing::read;

/// Something of every kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Round(f64),
    Named { name: String, sides: Vec<u8> },
    Raw(Bytes),
}

type All = (i64, Option<char>, BTreeMap<String, Shape>, Bytes, Array<f32>, Vec<Array<u16>>);

#[skyward::function]
fn echo(value: All) -> All {
    value
}

#[skyward::function]
fn length(shared: Shared<String>, more: Vec<Shared<u8>>) -> usize {
    shared.len() + more.len()
}

/// How a registered function is run.
fn body(name: &str) -> fn(Raw) -> Result<Answer, String> {
    let registry = read(Registry::global());
    let mut all = (0..).map_while(|it| registry.get(skyward_runtime::model::FunctionId(it)));
    match all.find(|it| it.name.ends_with(name)).map(|it| &it.body) {
        Some(Body::Blocking(run)) => *run,
        _ => unreachable!("{name} is registered as a plain function"),
    }
}

/// The arguments of one of two functions; the first byte says of which.
pub(crate) fn check(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let arguments = Raw::copy_from_slice(rest);
    if which % 4 == 3 {
        drop(body("::length")(arguments));
        return;
    }
    let decoding = plain::<All>().decoding();
    if which % 4 == 2 {
        if let Ok(value) = decoding.value(&arguments) {
            drop(echoed(encoded(&value)));
        }
        return;
    }
    let Ok(answer) = body("::echo")(arguments) else { return };
    let Answer::Returned(value) = answer else { unreachable!("what was decoded is encoded") };
    let value = value.into_bytes();
    let again = echoed(encoded(&read(decoding.value(&value))));
    assert_eq!(again, value, "it means something else when it is read again");
}

fn encoded(value: &All) -> Raw {
    let mut encoder = Encoder::new(1);
    encoder.add("value", &argument::<All>(), value);
    read(encoder.finish()).into_body()
}

fn echoed(arguments: Raw) -> Raw {
    match read(body("::echo")(arguments)) {
        Answer::Returned(value) => value.into_bytes(),
        Answer::Failed(_) | Answer::Unencodable(_) => unreachable!("it gives back what it took"),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let shapes = [
        ("nothing", Shape::Nothing),
        ("round", Shape::Round(f64::NAN)),
        ("named", Shape::Named { name: "é".to_owned(), sides: vec![1, 2, 3] }),
        ("raw", Shape::Raw(Bytes::from(vec![7; 1100]))),
    ];
    let shapes: BTreeMap<_, _> = shapes.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect();
    let small: All =
        (-1, Some('é'), BTreeMap::new(), Bytes::from(vec![1, 2]), vec![1.0, f32::NAN].into(), vec![]);
    let numbers: Vec<u16> = (0..600).collect();
    let large: All =
        (i64::MAX, None, shapes, Bytes::from(vec![3; 1025]), vec![0.5; 300].into(), vec![numbers.into()]);
    let mut seeds: Vec<_> = [small, large].iter().map(|it| [&[0][..], &encoded(it)].concat()).collect();
    seeds.extend([vec![2, 0x96, 1], [&[3, 0xdc, 0, 2, 0xc4, 40][..], &[0; 40], &[0x90]].concat()]);
    seeds
}
