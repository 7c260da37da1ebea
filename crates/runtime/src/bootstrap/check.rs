//! Which values an image may have. Called by `plan()`, before anything is rented.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{Capabilities, Image, PipIndex};

/// Why an image cannot become a plan. Trying again cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// System packages on machines where we are not root.
    #[error(
        "the image asks for the system packages {packages}, but this provider's machines give no root, \
         which apt needs: take `.apt` out of the image and bring them with `.pip`, `.include` or \
         `.shell`, or choose a provider whose machines give root"
    )]
    NoRoot {
        /// The packages, separated by commas.
        packages: String,
    },
    /// A value that would be misread on the machine.
    #[error("the image's {field} {value:?} is refused: {allowed}")]
    Value {
        /// Which part of the image.
        field: &'static str,
        /// The value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Two included paths that would be copied to the same place.
    #[error(
        "the image includes {first:?} and {second:?}, and both would be copied to {name:?} on the machine: \
         rename one of them, or include a folder that holds both"
    )]
    SameName {
        /// The place.
        name: String,
        /// One path.
        first: PathBuf,
        /// The other path.
        second: PathBuf,
    },
}

/// Checks everything that can be checked without looking at this computer's files.
pub(super) fn check(image: &Image, capabilities: &Capabilities) -> Result<(), PlanError> {
    if !image.apt.is_empty() && !capabilities.root {
        return Err(PlanError::NoRoot { packages: image.apt.join(", ") });
    }
    for (name, value) in &image.env {
        refuse_unless(is_variable(name), "environment variable", name, VARIABLE)?;
        refuse_unless(!name.starts_with("SKYWARD_"), "environment variable", name, RESERVED)?;
        refuse_unless(!value.contains('\0'), "environment value", value, NO_NUL)?;
    }
    for package in &image.apt {
        refuse_unless(is_debian(package), "apt package", package, DEBIAN)?;
    }
    for package in &image.pip {
        refuse_unless(is_requirement(package), "pip package", package, REQUIREMENT)?;
    }
    for PipIndex { url } in &image.pip_indexes {
        refuse_unless(is_word(url), "pip index", url, WORD)?;
        refuse_unless(!has_credentials(url), "pip index", &redacted(url), NO_CREDENTIALS)?;
    }
    if let Some(version) = &image.python {
        refuse_unless(is_word(version), "python version", version, WORD)?;
    }
    for pattern in &image.exclude {
        refuse_unless(!pattern.contains(['\0', '\n']), "exclude", pattern, ONE_LINE)?;
    }
    for command in &image.shell {
        refuse_unless(!command.contains('\0'), "shell step", command, NO_NUL)?;
        refuse_unless(!command.trim().is_empty(), "shell step", command, NOT_EMPTY)?;
    }
    check_includes(&image.include)
}

fn check_includes(include: &[PathBuf]) -> Result<(), PlanError> {
    let mut names = BTreeMap::new();
    for path in include {
        let Some(name) = path.file_name() else {
            let value = path.to_string_lossy().into_owned();
            return Err(PlanError::Value { field: "include", value, allowed: NAMED });
        };
        let text = path.to_string_lossy();
        refuse_unless(!text.contains('\0'), "include", &text, NO_NUL)?;
        if let Some(first) = names.insert(name, path) {
            return Err(PlanError::SameName {
                name: name.to_string_lossy().into_owned(),
                first: first.clone(),
                second: path.clone(),
            });
        }
    }
    Ok(())
}

fn refuse_unless(
    allowed: bool,
    field: &'static str,
    value: &str,
    reason: &'static str,
) -> Result<(), PlanError> {
    if allowed { Ok(()) } else { Err(PlanError::Value { field, value: value.to_owned(), allowed: reason }) }
}

/// A name that a shell takes as a variable's.
fn is_variable(name: &str) -> bool {
    name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
}

/// A package, perhaps with an architecture, a version or a release: `g++`, `curl=7.88.1-10`.
/// A final `-` would make apt remove the package.
fn is_debian(package: &str) -> bool {
    package.starts_with(|it: char| it.is_ascii_alphanumeric())
        && package.chars().all(|it| it.is_ascii_alphanumeric() || ".+:~=/_-".contains(it))
        && !package.ends_with('-')
}

/// What pip calls a requirement: inner spaces are part of its syntax.
fn is_requirement(package: &str) -> bool {
    !package.is_empty()
        && !package.starts_with('-')
        && package.trim() == package
        && !package.contains(char::is_control)
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.contains(|it: char| it.is_whitespace() || it.is_control())
}

fn has_credentials(url: &str) -> bool {
    authority(url).is_some_and(|(_, authority)| authority.contains('@'))
}

fn redacted(url: &str) -> String {
    match authority(url).and_then(|(scheme, authority)| Some((scheme, authority.rsplit_once('@')?))) {
        Some((scheme, (_, host))) => format!("{scheme}://***@{host}"),
        None => url.to_owned(),
    }
}

fn authority(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Some((scheme, rest.split('/').next().unwrap_or(rest)))
}

const VARIABLE: &str = "a variable's name is a letter or `_`, then letters, digits and `_`, as in `HF_HOME`";
const RESERVED: &str = "names that start with `SKYWARD_` are Skyward's own";
const DEBIAN: &str = "a Debian package is a letter or digit, then letters, digits and `.+:~=/_-`, not `-` at \
                      the end, as in `ffmpeg` or `curl=7.88.1-10`; one package each";
const REQUIREMENT: &str = "a Python package is one requirement as pip spells it, as in `numpy==2.1`: not empty, no \
                           `-` at the start (options are not taken), no line break";
const WORD: &str = "it must be one word that does not start with `-`";
const NO_CREDENTIALS: &str =
    "the address is written to the machine, so it cannot carry a user or a password: use an index without";
const ONE_LINE: &str = "a pattern is one line";
const NO_NUL: &str = "it cannot contain a NUL character";
const NOT_EMPTY: &str = "it must say something";
const NAMED: &str = "what is included is copied under its last path component, so it must end in a name, not in \
                     `..`, `.` or `/`: name the folder itself, as in `../data`";

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Capabilities =
        Capabilities { root: true, ends_itself: true, udp: true, ..Capabilities::NONE };

    #[test]
    fn ordinary_images_pass() {
        let image = Image::new()
            .env("HF_HOME", "/x y\n'$(id)'")
            .apt(["ffmpeg", "g++", "libc6:amd64", "curl=7.88.1-10+deb12u5~x"])
            .pip(["torch", "numpy >= 2.1, <3", "pkg @ git+https://host/repo@main", "x[extra]==1"])
            .pip_index("https://download.pytorch.org/whl/cu124")
            .python("3.12")
            .include("../data")
            .include("./src/")
            .exclude("*.log")
            .shell("make\nmake install");
        assert_eq!(check(&image, &ROOT), Ok(()));
    }

    #[test]
    fn each_bad_value_is_refused_by_its_field() {
        let new = Image::new;
        for (image, field) in [
            (new().env("A-B", "x"), "environment variable"),
            (new().env("", "x"), "environment variable"),
            (new().env("1A", "x"), "environment variable"),
            (new().env("A=B", "x"), "environment variable"),
            (new().env("SKYWARD_ROLE", "x"), "environment variable"),
            (new().env("A", "x\0y"), "environment value"),
            (new().apt(["-y"]), "apt package"),
            (new().apt(["ffmpeg git"]), "apt package"),
            (new().apt(["ffmpeg\n"]), "apt package"),
            (new().apt(["bash-"]), "apt package"),
            (new().apt([""]), "apt package"),
            (new().pip(["-r x"]), "pip package"),
            (new().pip(["a\nb"]), "pip package"),
            (new().pip([""]), "pip package"),
            (new().pip_index("--index"), "pip index"),
            (new().pip_index("https://me:secret@host/simple"), "pip index"),
            (new().python("3.12 3.13"), "python version"),
            (new().include(".."), "include"),
            (new().include("a/.."), "include"),
            (new().include("."), "include"),
            (new().include("/"), "include"),
            (new().include("a\0b"), "include"),
            (new().exclude("a\nb"), "exclude"),
            (new().shell("a\0b"), "shell step"),
            (new().shell("  "), "shell step"),
        ] {
            match check(&image, &ROOT) {
                Err(PlanError::Value { field: named, .. }) => assert_eq!(named, field, "{image:?}"),
                other => panic!("{image:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn system_packages_without_root_are_refused_with_their_names_and_a_way_out() {
        let image = Image::new().apt(["ffmpeg", "git"]);
        let refused = check(&image, &Capabilities { root: false, ..ROOT }).unwrap_err().to_string();
        for part in ["ffmpeg, git", "no root", "choose a provider"] {
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn two_includes_of_one_name_are_refused() {
        let refused = check(&Image::new().include("a/data").include("b/data/"), &ROOT);
        assert!(matches!(refused, Err(PlanError::SameName { name, .. }) if name == "data"));
    }

    #[test]
    fn a_password_in_an_index_is_not_repeated() {
        let refused = check(&Image::new().pip_index("https://me:secret@host/simple"), &ROOT).unwrap_err();
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}
