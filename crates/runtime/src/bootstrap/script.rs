//! A plan as one POSIX shell script. Pure: the same plan is the same text, kept as golden files.

use std::fmt::Write as _;

use super::plan::Plan;

/// The script. It does the steps in order, skips what is done, stops at the first that fails, and can
/// be run again at any time. It expects the shell variable `nonce` to be set before it, and says what
/// it does on standard output, on lines that start with it:
///
/// ```text
/// wait            another run on this machine is waited for
/// start KEY       a step begins; what follows is its output
/// skip KEY        a step was done before
/// done KEY        a step ended well
/// fail KEY CODE   a step ended with this exit code, and so does the script
/// end             all steps are done
/// ```
pub fn script(plan: &Plan) -> String {
    let mut text = String::from(include_str!("sh/script.sh"));
    for step in plan.steps() {
        // A step's text cannot contain its own hash, so the mark of its end is unambiguous.
        let (name, key, body) = (&step.name, &step.key, step.body.trim_end_matches('\n'));
        let name: String = name.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n    # {name}\n    step {key} <<'END_{key}'\n{body}\nEND_{key}\n");
    }
    text.push_str("\n    rm -f \"$skyward/step.sh\"\n    say end\n}\n\nmain\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::includes::Includes;
    use crate::bootstrap::plan::plan;
    use crate::model::{Capabilities, Image};

    const ROOT: Capabilities =
        Capabilities { root: true, ends_itself: true, udp: true, ..Capabilities::NONE };

    #[test]
    fn everything_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data.csv"), "1,2\n").unwrap();
        let image = Image::new()
            .env("GREETING", "it's $HOME\nand more")
            .env("HF_HOME", "/data/hf")
            .apt(["ffmpeg", "g++"])
            .python("3.12")
            .pip(["torch", "numpy >= 2"])
            .pip_index("https://download.pytorch.org/whl/cu124")
            .include(folder.path().join("data.csv"))
            .shell("make -j4")
            .shell("cat <<END\nhello\nEND");
        let plan = plan(&image, &ROOT).unwrap().with(&Includes::pack(&image).unwrap());
        insta::assert_snapshot!(script(&plan));
    }

    #[test]
    fn python_without_root() {
        let image = Image::new().pip(["torch"]);
        insta::assert_snapshot!(script(&plan(&image, &Capabilities { root: false, ..ROOT }).unwrap()));
    }
}
