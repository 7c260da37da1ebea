//! What a pod's container does: how it comes to let us in, whatever image it has, and how it ends its own
//! bill.

use skyward_runtime::model::End;

/// The variable with the key that is let in, as RunPod's own images know it.
pub(super) const PUBLIC_KEY: &str = "PUBLIC_KEY";

/// The command that the container runs. RunPod splits it into words as a shell does, so it is one word for
/// `bash`, with no single quote inside.
pub(super) fn command() -> String {
    format!("bash -c '{SCRIPT}'")
}

/// An SSH server that knows one key. Functions get the variables of the image, which a session over SSH
/// would not have; RunPod's own, with the pod's key in them, stay where they are.
const SCRIPT: &str = r#"set -e; mkdir -p /root/.ssh /run/sshd; chmod 700 /root/.ssh; echo "$PUBLIC_KEY" > /root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys; env | grep -E "^(PATH|LD_LIBRARY_PATH|LIBRARY_PATH|(CUDA|NVIDIA|NCCL|CONDA)[A-Z_]*)=" >> /etc/environment || true; if [ ! -x /usr/sbin/sshd ]; then export DEBIAN_FRONTEND=noninteractive; apt-get update -q; apt-get install -qy --no-install-recommends openssh-server ca-certificates curl; fi; ssh-keygen -A; exec /usr/sbin/sshd -D -e -p 22 -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no -o AllowTcpForwarding=yes"#;

/// The pod deletes itself with RunPod's own tool, which is in every pod, as the pod's own key, which may do
/// that to no other pod. A session over SSH does not have it, the first process does.
pub(super) fn end() -> End {
    End::Command { shell: end_with("/proc/1/environ") }
}

fn end_with(variables: &str) -> String {
    format!(
        "while IFS= read -r it; do case $it in RUNPOD_POD_ID=*|RUNPOD_API_KEY=*) export \"$it\";; esac; done \
         <<END\n$(tr '\\0' '\\n' < {variables})\nEND\nrunpodctl remove pod \"$RUNPOD_POD_ID\""
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_command_of_a_container_is_one_word_of_valid_shell() {
        assert!(!SCRIPT.contains(['\'', '\n', '\\']), "a single quote would end the word");
        let checked = Command::new("bash").args(["-n", "-c", SCRIPT]).output().expect("bash runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        assert!(SCRIPT.contains(&format!("${PUBLIC_KEY}")));
    }

    #[test]
    fn a_pod_ends_itself_with_its_own_name_and_key_and_shows_the_key_to_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("environ"), "PATH=/x\0RUNPOD_API_KEY=it's $k\0A=b\nc\0RUNPOD_POD_ID=p1\0")
            .expect("written");
        let tool = format!("#!/bin/sh\necho \"$@ $RUNPOD_API_KEY\" > {}\n", path("told").display());
        std::fs::write(path("runpodctl"), tool).expect("written");
        std::fs::set_permissions(path("runpodctl"), std::fs::Permissions::from_mode(0o755)).expect("a tool");
        let shell = end_with(&path("environ").display().to_string());
        let variable = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let ended = Command::new("sh").args(["-c", &shell]).env("PATH", variable).output().expect("sh runs");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!((ended.stdout, ended.stderr), (vec![], vec![]));
        assert_eq!(std::fs::read_to_string(path("told")).expect("told"), "remove pod p1 it's $k\n");
    }
}
