//! Reads the name of an accelerator as people type it and as clouds write it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::nearest::squash;
use super::{Accelerator, Count, Form, Manufacturer, Model, nearest};
use crate::model::InvalidRequest;

/// What was found in a text: which model, and all that stood beside its name.
pub(super) struct Reading {
    pub(super) model: &'static Model,
    pub(super) count: Option<Count>,
    pub(super) memory_mib: Option<u32>,
    pub(super) form: Option<Form>,
}

/// What a person typed, checked.
pub(super) fn typed(text: &str) -> Result<Accelerator, InvalidRequest> {
    let invalid = |reason: String| InvalidRequest::new("accelerator", text, reason);
    let (name, count) = match text.split_once(':') {
        None => (text, None),
        Some((name, count)) => {
            let count: f64 = count.trim().parse().map_err(|_| {
                invalid(format!(
                    "`{count}` is no number of them; write `{name}:8`, or `{name}:0.5` for a half"
                ))
            })?;
            (name, Some(Count::from(count)))
        }
    };
    let Some(found) = read(name) else { return Err(invalid(unknown(name))) };
    if found.count.is_some() && count.is_some() {
        return Err(invalid("it says twice how many".to_owned()));
    }
    let mut accelerator = Accelerator::from(found.model);
    accelerator.count = count.or(found.count).unwrap_or_default();
    accelerator.memory_mib = found.memory_mib;
    accelerator.form = found.form;
    accelerator.validated().map_err(|it| invalid(it.allowed))?;
    Ok(accelerator)
}

/// Finds the model and what is said beside it; `None` when no model has this name.
pub(super) fn read(text: &str) -> Option<Reading> {
    let mut words = words(text);
    if let Some(model) = lookup(&words.concat()) {
        return Some(Reading { model, count: None, memory_mib: None, form: None });
    }
    let count = take_count(&mut words);
    let memory_mib = take_memory(&mut words);
    let form = take_form(&mut words);
    if let Some(model) = lookup(&words.concat()) {
        return Some(Reading { model, count, memory_mib, form });
    }
    if let Some((model, chips)) = slice(&words) {
        return Some(Reading { model, count: count.or(Some(chips)), memory_mib, form });
    }
    let (model, glued_memory, glued_form) = glued(&words.concat())?;
    Some(Reading { model, count, memory_mib: memory_mib.or(glued_memory), form: form.or(glued_form) })
}

/// Why a name is not known, and what may have been meant.
fn unknown(name: &str) -> String {
    let close = nearest(name, Model::all().map(|it| it.name));
    let all = "`Accelerator::custom` asks for one that is not in the catalog";
    if close.is_empty() {
        let known = "such as `A100`, `H100-SXM`, `RTX 4090`, `MI300X`, `Trainium2`, `Gaudi3` or `TPU-v4-8`";
        format!("no accelerator is called that; it takes a name {known}, and {all}")
    } else {
        format!("no accelerator is called that; did you mean `{}`? {all}", close.join("`, `"))
    }
}

/// The words of a text, in lower case, without those that say nothing.
fn words(text: &str) -> Vec<String> {
    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '.')
        .map(|it| it.trim_matches('.').to_ascii_lowercase())
        .filter(|it| !it.is_empty() && !NOISE.contains(&it.as_str()))
        .collect()
}

/// `8x` as the first word, or glued to it, or `x8` as the last.
fn take_count(words: &mut Vec<String>) -> Option<Count> {
    if let Some(number) = words.last().and_then(|it| it.strip_prefix('x')?.parse::<u32>().ok()) {
        words.pop();
        return Some(Count::from(number));
    }
    let first = words.first_mut()?;
    let (number, rest) = first.split_once('x')?;
    let number: u32 = number.parse().ok()?;
    *first = rest.to_owned();
    words.retain(|it| !it.is_empty());
    Some(Count::from(number))
}

/// `80gb`, `80g`, or `80` before `gb`.
fn take_memory(words: &mut Vec<String>) -> Option<u32> {
    if let Some(unit) = words.iter().position(|it| UNITS.contains(&it.as_str()))
        && let Some(mib) = unit.checked_sub(1).and_then(|at| mib(words.get(at)?))
    {
        words.drain(unit - 1..=unit);
        return Some(mib);
    }
    let (at, mib) = words.iter().enumerate().find_map(|(at, word)| {
        let number = UNITS.iter().find_map(|unit| word.strip_suffix(unit))?;
        Some((at, mib(number)?))
    })?;
    words.remove(at);
    Some(mib)
}

fn mib(gb: &str) -> Option<u32> {
    let gb: f64 = gb.parse().ok()?;
    (gb.is_finite() && gb > 0.0 && gb < 100_000.0).then(|| (gb * 1024.0).round() as u32)
}

/// `sxm5`, `pcie`, `nvl`, `oam`.
fn take_form(words: &mut Vec<String>) -> Option<Form> {
    let (at, form) = words.iter().enumerate().find_map(|(at, word)| Some((at, form(word)?)))?;
    words.remove(at);
    // `PCIe NVLink` says it twice; the first is the form.
    words.retain(|it| it != "nvlink");
    Some(form)
}

fn form(word: &str) -> Option<Form> {
    match word.trim_end_matches(|it: char| it.is_ascii_digit()) {
        "sxm" | "hgx" | "dgx" => Some(Form::Sxm),
        "pcie" => Some(Form::Pcie),
        "nvl" => Some(Form::Nvl),
        "oam" => Some(Form::Oam),
        "superchip" => Some(Form::Superchip),
        "chip" => Some(Form::Chip),
        _ => None,
    }
}

/// `TPU-v4-8`: a slice of so many cores or chips.
fn slice(words: &[String]) -> Option<(&'static Model, Count)> {
    let (size, name) = words.split_last()?;
    let model = lookup(&name.concat()).filter(|it| it.manufacturer == Manufacturer::Google)?;
    let size: u32 = size.parse().ok()?;
    let cores_per_chip = if CORES_ARE_COUNTED.contains(&model.name) { 2 } else { 1 };
    Some((model, Count::of_parts(size.saturating_mul(Count::PARTS / cores_per_chip))))
}

/// `a100sxm480gb` without a gap anywhere: takes away what may stand in front and behind.
fn glued(text: &str) -> Option<(&'static Model, Option<u32>, Option<Form>)> {
    let bare = NOISE.iter().find_map(|it| text.strip_prefix(it)).unwrap_or(text);
    if let Some(model) = lookup(bare) {
        return Some((model, None, None));
    }
    let formed = |text: &str| {
        let cut = text.trim_end_matches(|it: char| it.is_ascii_digit());
        let (word, form) = GLUED_FORMS.iter().find(|(word, _)| cut.ends_with(word))?;
        let model = lookup(cut.strip_suffix(word)?)?;
        Some((model, *form))
    };
    if let Some((model, form)) = formed(bare) {
        return Some((model, None, Some(form)));
    }
    let number = UNITS.iter().find_map(|unit| bare.strip_suffix(unit))?;
    (1..=3).find_map(|digits| {
        let (name, memory) = number.split_at_checked(number.len().checked_sub(digits)?)?;
        let memory_mib = mib(memory)?;
        let sold = |model: &Model| model.memory_gb.contains(&(memory_mib / 1024));
        if let Some(model) = lookup(name).filter(|it| sold(it)) {
            return Some((model, Some(memory_mib), None));
        }
        let (model, form) = formed(name).filter(|(it, _)| sold(it))?;
        Some((model, Some(memory_mib), Some(form)))
    })
}

fn lookup(squashed: &str) -> Option<&'static Model> {
    static NAMES: LazyLock<BTreeMap<String, &'static Model>> = LazyLock::new(|| {
        let aliases =
            Model::all().flat_map(|it| it.aliases.iter().map(move |alias| ((*alias).to_owned(), it)));
        Model::all().map(|it| (squash(it.name), it)).chain(aliases).collect()
    });
    NAMES.get(squashed).copied()
}

const UNITS: [&str; 3] = ["gib", "gb", "g"];

const GLUED_FORMS: [(&str, Form); 3] = [("sxm", Form::Sxm), ("pcie", Form::Pcie), ("nvl", Form::Nvl)];

/// TPUs whose slices are named by the number of their cores.
const CORES_ARE_COUNTED: [&str; 4] = ["TPU v2", "TPU v3", "TPU v4", "TPU v5p"];

/// Words that tell no two models apart: makers, families, kinds of memory, and what sellers add.
const NOISE: [&str; 29] = [
    "nvidia",
    "geforce",
    "tesla",
    "quadro",
    "amd",
    "instinct",
    "radeon",
    "intel",
    "habana",
    "google",
    "aws",
    "cloud",
    "gpu",
    "accelerator",
    "generation",
    "server",
    "workstation",
    "edition",
    "tensor",
    "core",
    "mod",
    "high",
    "freq",
    "hbm2",
    "hbm2e",
    "hbm3",
    "hbm3e",
    "gddr6",
    "nvlink",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::accelerators::*;

    #[test]
    fn what_people_type_is_understood() {
        for (typed, meant) in [
            ("A100", A100.count(1)),
            ("a100", A100.count(1)),
            ("A100:4", A100.count(4)),
            ("A100-80GB:8", A100.count(8).memory_gb(80)),
            ("A100-80G", A100.memory_gb(80)),
            ("A100 80 GB", A100.memory_gb(80)),
            ("A100-SXM4-80GB", A100.memory_gb(80).form(Form::Sxm)),
            ("A100-80GB-PCIe:2", A100.count(2).memory_gb(80).form(Form::Pcie)),
            ("NVIDIA A100:0.5", A100.count(0.5)),
            ("L4:0.125", L4.count(0.125)),
            ("RTX 4090", RTX_4090.count(1)),
            ("rtx4090", RTX_4090.count(1)),
            ("RTX_4090:2", RTX_4090.count(2)),
            ("4090", RTX_4090.count(1)),
            ("GeForce RTX 3060 Ti", RTX_3060_TI.count(1)),
            ("RTX A6000", RTX_A6000.count(1)),
            ("A6000", RTX_A6000.count(1)),
            ("RTX 6000 Ada", RTX_6000_ADA.count(1)),
            ("rtx-pro-6000", RTX_PRO_6000.count(1)),
            ("H100-SXM", H100.form(Form::Sxm)),
            ("H100 NVL", H100.form(Form::Nvl)),
            ("8x H100", H100.count(8)),
            ("8xH100", H100.count(8)),
            ("H100 x8", H100.count(8)),
            ("MI300X:8", MI300X.count(8)),
            ("Instinct MI300X", MI300X.count(1)),
            ("trn1:16", TRAINIUM1.count(16)),
            ("Inferentia2", INFERENTIA2.count(1)),
            ("Gaudi2", GAUDI2.count(1)),
            ("TPU-v4-8", TPU_V4.count(4)),
            ("tpuv4-8", TPU_V4.count(4)),
            ("v5p-8", TPU_V5P.count(4)),
            ("TPU-v5e-8", TPU_V5E.count(8)),
            ("v5litepod-4", TPU_V5E.count(4)),
            ("TPU v6e", TPU_V6E.count(1)),
            ("TPU 7x", TPU_7X.count(1)),
            ("GH200", GH200.count(1)),
        ] {
            assert_eq!(typed.parse(), Ok(meant), "{typed}");
        }
    }

    #[test]
    fn what_is_not_understood_says_what_may_have_been_meant() {
        let refused =
            |typed: &str| typed.parse::<Accelerator>().expect_err("it is not understood").to_string();
        let near = refused("RTX 4990");
        assert!(
            near.starts_with(
                "accelerator is RTX 4990: no accelerator is called that; did you mean `RTX 4090`"
            )
        );
        assert!(near.ends_with("? `Accelerator::custom` asks for one that is not in the catalog"), "{near}");
        assert!(refused("H10O").contains("`H100`"), "{}", refused("H10O"));
        assert!(refused("").contains("such as `A100`"), "{}", refused(""));
        assert!(refused("quantum").contains("`TPU-v4-8`"));
        assert_eq!(
            refused("A100:many"),
            concat!(
                "accelerator is A100:many: `many` is no number of them; ",
                "write `A100:8`, or `A100:0.5` for a half"
            )
        );
        assert_eq!(refused("8x A100:8"), "accelerator is 8x A100:8: it says twice how many");
        assert!(refused("A100:0").contains("must be at least 0.0001 of one"));
        assert!(refused("A100-60GB").ends_with("A100 is sold with 40 or 80 GB"));
        assert!(refused("T4-SXM").ends_with("T4 is built as PCIe"));
    }

    #[test]
    fn what_is_shown_can_be_typed_again() {
        for model in Model::all() {
            let most = model.memory_gb.last().copied().unwrap_or_default();
            for form in model.forms {
                for asked in
                    [model.count(1), model.count(0.25).form(*form), model.memory_gb(most).form(*form)]
                {
                    assert_eq!(asked.to_string().parse(), Ok(asked), "{}", model.name);
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_read(text in "\\PC{0,30}", count in "[-0-9.eE]{0,6}") {
            let _ = text.parse::<Accelerator>();
            let _ = format!("A100 {text}:{count}").parse::<Accelerator>();
            let _ = Accelerator::as_sold(&text);
        }
    }
}
