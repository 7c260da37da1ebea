//! The shell text and the name of each kind of step. Pure. `$SKYWARD_HOME` is the machine's
//! `$HOME/.skyward`, set by the script that runs the steps.

use crate::model::Image;
use crate::ssh::quote;

pub(super) fn env_name(image: &Image) -> String {
    let names: Vec<_> = image.env.keys().map(String::as_str).collect();
    if names.is_empty() { "env".to_owned() } else { format!("env: {}", names.join(", ")) }
}

/// Writes the file that every later step and the worker read. Values are literal: `$X` stays `$X`.
/// The Python environment is put before the user's `PATH`, so that tasks find it.
pub(super) fn env(image: &Image, python: bool) -> String {
    let mut body = String::from("{\n");
    if python {
        body.push_str("    echo 'export VIRTUAL_ENV=\"$HOME/.skyward/venv\"'\n");
    }
    for (name, value) in &image.env {
        let line = quote(&format!("export {name}={}", quote(value)));
        body.push_str(&format!("    printf '%s\\n' {line}\n"));
    }
    if python {
        body.push_str("    echo 'export PATH=\"$VIRTUAL_ENV/bin:$PATH\"'\n");
    }
    body.push_str("} >\"$SKYWARD_HOME/env.new\"\nmv -f \"$SKYWARD_HOME/env.new\" \"$SKYWARD_HOME/env\"\n");
    body
}

/// Waits for other users of the package database (a cloud's first boot updates itself) and repairs
/// what an interrupted run left. Recommended packages are left out, as in container images.
pub(super) fn apt(packages: &[String]) -> String {
    let words: Vec<_> = packages.iter().map(|it| quote(it)).collect();
    format!("{}apt_install {}\n", include_str!("sh/apt.sh"), words.join(" "))
}

pub(super) fn python_name(image: &Image) -> String {
    image.python.as_ref().map_or_else(|| "python".to_owned(), |version| format!("python {version}"))
}

/// Finds or installs uv, then makes the environment afresh. With root the system package that
/// Python's own `venv` needs on Debian is installed first.
pub(super) fn python(image: &Image, root: bool) -> String {
    let prepare = if root { include_str!("sh/apt.sh") } else { "" };
    let venv =
        if root { "install_venv() { apt_install python3-venv; }\n" } else { "install_venv() { :; }\n" };
    let version = image.python.as_ref().map(|it| format!(" --python {}", quote(it))).unwrap_or_default();
    format!(
        "{prepare}{venv}{}\"$SKYWARD_HOME/uv/bin/uv\" venv --quiet{version} \"$SKYWARD_HOME/venv\"\n",
        include_str!("sh/uv.sh")
    )
}

/// Indexes are asked in the image's order, before PyPI, and the first that has a package serves it
/// (uv's `first-index`): a stranger cannot shadow a private package by a higher version elsewhere.
pub(super) fn pip(image: &Image) -> String {
    let indexes: String =
        image.pip_indexes.iter().map(|it| format!(" --extra-index-url {}", quote(&it.url))).collect();
    let packages: String = image.pip.iter().map(|it| format!(" \\\n    {}", quote(it))).collect();
    format!(
        "\"$SKYWARD_HOME/uv/bin/uv\" pip install --no-progress --python \"$SKYWARD_HOME/venv/bin/python\" \
         --index-strategy first-index{indexes} --{packages}\n"
    )
}

/// Unpacks over what is there; files get the time of unpacking, because the archive carries none.
pub(super) fn unpack(path: &str) -> String {
    let path = quote(path.strip_prefix(".skyward/").unwrap_or(path));
    format!("{}tar -xmof \"$SKYWARD_HOME\"/{path} -C \"$SKYWARD_HOME/work\"\n", include_str!("sh/tar.sh"))
}

/// The command's first line, cut where it gets long.
pub(super) fn shell_name(number: u32, command: &str) -> String {
    let line = command.trim().lines().next().unwrap_or_default();
    let mut shown: String = line.chars().filter(|it| !it.is_control()).take(NAME_LIMIT).collect();
    if shown.trim_end() != command.trim() {
        shown.push_str(" …");
    }
    format!("shell {number}: {shown}")
}

/// Characters of a command in its step's name: it shares a terminal line with the node and the time.
const NAME_LIMIT: usize = 48;
