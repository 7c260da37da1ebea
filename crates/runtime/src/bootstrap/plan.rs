//! What a bare machine must become, as ordered steps. Pure: an image and what a provider can do go
//! in, names, keys and shell text come out. Called before renting, so that a mistake costs nothing.

use sha2::{Digest, Sha256};

use super::check::{PlanError, check};
use super::includes::Includes;
use super::steps;
use crate::model::{Capabilities, Image};

/// Ordered steps. Running them twice does them once.
///
/// ```
/// use skyward_runtime::bootstrap::plan;
/// use skyward_runtime::model::{Capabilities, Image};
/// let can = Capabilities { root: true, ends_itself: true, udp: true, ..Capabilities::NONE };
/// let plan = plan(&Image::new().apt(["ffmpeg"]).shell("make"), &can).unwrap();
/// let names: Vec<_> = plan.steps().iter().map(|it| it.name.as_str()).collect();
/// assert_eq!(names, ["apt: ffmpeg", "shell 1: make"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
}

/// One thing to do on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Names the step's content and everything that was done before it, so that a step is done again
    /// when it or one of its predecessors changed. 32 hex digits.
    pub key: String,
    /// For people: `apt: ffmpeg`.
    pub name: String,
    /// Shell text, run with `sh -e`.
    pub body: String,
    place: Place,
}

/// Where a step comes in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Env,
    Apt,
    Python,
    Pip,
    Includes,
    Shell,
}

/// Plans an image for a provider's machines: environment, system packages, Python and its packages,
/// included files, shell steps. The included files join later ([`Plan::with`]), because only reading
/// them tells what is in them.
///
/// # Errors
/// When a value of the image would be misread on the machine, or asks for what the provider does not
/// give. Each names the value and what to write instead.
pub fn plan(image: &Image, capabilities: &Capabilities) -> Result<Plan, PlanError> {
    check(image, capabilities)?;
    let python = image.python.is_some() || !image.pip.is_empty();
    let mut steps = Vec::new();
    let mut add = |place, name, body| steps.push(Step { key: String::new(), name, body, place });
    if python || !image.env.is_empty() {
        add(Place::Env, steps::env_name(image), steps::env(image, python));
    }
    if !image.apt.is_empty() {
        add(Place::Apt, format!("apt: {}", image.apt.join(", ")), steps::apt(&image.apt));
    }
    if python {
        add(Place::Python, steps::python_name(image), steps::python(image, capabilities.root));
    }
    if !image.pip.is_empty() {
        add(Place::Pip, format!("pip: {}", image.pip.join(", ")), steps::pip(image));
    }
    for (number, command) in (1..).zip(&image.shell) {
        add(Place::Shell, steps::shell_name(number, command), command.clone());
    }
    Ok(Plan::of(steps))
}

impl Plan {
    /// Keys are chained: each covers its step and all before it.
    fn of(mut steps: Vec<Step>) -> Self {
        let mut before = String::new();
        for step in &mut steps {
            let mut hash = Sha256::new();
            for part in [KEY_VERSION, &before, &step.name, &step.body] {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
            step.key = hex::encode(hash.finalize()).chars().take(KEY_DIGITS).collect();
            before.clone_from(&step.key);
        }
        Self { steps }
    }

    /// The plan with the step that unpacks these files, before the shell steps. Nothing is added when
    /// there are none.
    #[must_use]
    pub fn with(&self, includes: &Includes) -> Self {
        let mut steps = self.steps.clone();
        if let Some(path) = includes.path() {
            let at = steps.partition_point(|it| it.place < Place::Includes);
            let (name, body) = (includes.summary(), steps::unpack(&path));
            steps.insert(at, Step { key: String::new(), name, body, place: Place::Includes });
        }
        Self::of(steps)
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether there is nothing to do.
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Part of every key. To be raised when the meaning of a step's text changes, so that machines that
/// outlive an upgrade do their steps again.
const KEY_VERSION: &str = "1";

/// 128 bits: two different steps never meet.
const KEY_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Capabilities =
        Capabilities { root: true, ends_itself: true, udp: true, ..Capabilities::NONE };

    fn keys(image: &Image) -> Vec<String> {
        plan(image, &ROOT).unwrap().steps().iter().map(|it| it.key.clone()).collect()
    }

    #[test]
    fn an_image_that_asks_for_nothing_has_no_steps() {
        assert!(plan(&Image::new(), &ROOT).unwrap().is_empty());
        assert!(plan(&Image::new(), &ROOT).unwrap().with(&Includes::default()).is_empty());
    }

    #[test]
    fn steps_come_in_the_documented_order_whatever_the_order_of_the_builder() {
        let image = Image::new()
            .shell("make -C data\nmake test")
            .pip(["torch", "numpy"])
            .apt(["ffmpeg"])
            .env("B", "2")
            .python("3.12")
            .env("A", "1");
        let plan = plan(&image, &ROOT).unwrap();
        let names: Vec<_> = plan.steps().iter().map(|it| it.name.as_str()).collect();
        assert_eq!(
            names,
            ["env: A, B", "apt: ffmpeg", "python 3.12", "pip: torch, numpy", "shell 1: make -C data …"]
        );
    }

    #[test]
    fn a_key_changes_with_its_step_and_with_every_step_before_it() {
        let image = Image::new().env("A", "1").apt(["git"]).shell("x").shell("x");
        let first = keys(&image);
        assert_eq!(first, keys(&image.clone()));
        assert_ne!(first[2], first[3], "the same command twice is two steps");
        let changed = keys(&Image { apt: vec!["curl".into()], ..image });
        let same: Vec<_> = first.iter().zip(&changed).map(|(a, b)| a == b).collect();
        assert_eq!(same, [true, false, false, false]);
    }

    #[test]
    fn the_included_files_come_before_the_shell_steps() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.csv"), "1,2").unwrap();
        let image = Image::new().env("A", "1").shell("make").include(folder.path().join("x.csv"));
        let plan = plan(&image, &ROOT).unwrap().with(&Includes::pack(&image).unwrap());
        let names: Vec<_> = plan.steps().iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["env: A", "include: x.csv (1 file, 3 B)", "shell 1: make"]);
    }
}
