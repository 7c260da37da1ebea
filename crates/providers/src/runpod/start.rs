//! What a pod's container does: how it comes to let us in, whatever image it has, and how it ends its own
//! bill.

use std::time::Duration;

use skyward_runtime::lease::LEASE_FILE;
use skyward_runtime::model::End;
use skyward_runtime::provider::Request;

use super::Config;
use super::api::SERVICE;

/// The variable with the key that is let in, as RunPod's own images know it.
pub(super) const PUBLIC_KEY: &str = "PUBLIC_KEY";

/// The variables of a container: whom it lets in, how long it lives alone, and where it asks to be deleted.
pub(super) fn variables(request: &Request, config: &Config) -> [(&'static str, String); 4] {
    let seconds = |it: Duration| it.as_secs().max(1).to_string();
    let base_url = config.access.base_url.as_deref().unwrap_or(SERVICE.base_url);
    [
        (PUBLIC_KEY, request.ssh_key.clone()),
        ("SKYWARD_ARRIVAL", seconds(ARRIVAL.max(request.lease))),
        ("SKYWARD_LEASE", seconds(request.lease)),
        ("SKYWARD_API", base_url.trim_end_matches('/').to_owned()),
    ]
}

/// The command that the container runs. RunPod splits it into words as a shell does, so it is one word for
/// `bash`, with no single quote inside.
pub(super) fn command() -> String {
    format!("bash -c '{}'", script())
}

/// First what ends the pod when nobody comes or nobody stays, then an SSH server that knows one key. When that does
/// not start, or ends, the pod is of no use to anybody, and is deleted. The shell stays the first process: an SSH
/// server writes its title over what it was started with, and [`end`] has to find the pod's name and key there.
fn script() -> String {
    format!(
        "lease=/root/{LEASE_FILE}; {END} {GUARD} guard >/dev/null 2>&1 & {SERVE} while :; do end_pod; sleep 10; done"
    )
}

/// Has the pod delete itself, by RunPod's own tool, which is in most pods, and by the interface itself: nobody says that
/// every pod's key is good for both. It is the pod's own, may delete no other pod, and is in no argument of anything.
const END: &str = r#"end_pod() { runpodctl remove pod "$RUNPOD_POD_ID"; told=$?; echo "Authorization: Bearer $RUNPOD_API_KEY" | curl -fsS -m 20 -X DELETE -H @- "$SKYWARD_API/v2/pods/$RUNPOD_POD_ID" || [ $told = 0 ]; };"#;

/// Ends the pod when its lease is not renewed, by looking every few seconds whether the lease's file has changed. Until
/// it is there the pod lives for [`ARRIVAL`].
const GUARD: &str = r#"guard() { seen=; idle=0; most=$SKYWARD_ARRIVAL; while [ $idle -lt $most ]; do sleep 5; idle=$((idle + 5)); now=$(cat $lease 2>/dev/null); if [ "$now" = "$seen" ]; then continue; fi; seen=$now; idle=0; case $now in lapsed) most=0 ;; "keep "*) most=$((${now#keep } / 1000)) ;; *) most=$SKYWARD_LEASE ;; esac; done; while :; do end_pod; sleep 10; done; };"#;

/// An SSH server that knows one key. Functions get the variables of the image, which a session over SSH
/// would not have; RunPod's own, with the pod's key in them, stay where they are.
const SERVE: &str = r#"( set -e; mkdir -p /root/.ssh /run/sshd; chmod 700 /root/.ssh; echo "$PUBLIC_KEY" > /root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys; env | grep -E "^(PATH|LD_LIBRARY_PATH|LIBRARY_PATH|(CUDA|NVIDIA|NCCL|CONDA)[A-Z_]*)=" >> /etc/environment || true; if [ ! -x /usr/sbin/sshd ]; then export DEBIAN_FRONTEND=noninteractive; apt-get update -q; apt-get install -qy --no-install-recommends openssh-server ca-certificates curl; fi; ssh-keygen -A; exec /usr/sbin/sshd -D -e -p 22 -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no -o AllowTcpForwarding=yes );"#;

/// How long a pod whose image is there waits for us. An SSH server may have to be installed first, and the client may
/// have to try several times; less would end pods that are about to be used.
pub(super) const ARRIVAL: Duration = Duration::from_secs(600);

/// The pod deletes itself with its own key. A session over SSH does not have it, the first process does.
pub(super) fn end() -> End {
    End::Command { shell: end_with(FIRST_PROCESS) }
}

fn end_with(variables: &str) -> String {
    format!(
        "while IFS= read -r it; do case $it in RUNPOD_POD_ID=*|RUNPOD_API_KEY=*|SKYWARD_API=*) export \"$it\";; \
         esac; done <<END\n$(tr '\\0' '\\n' < {variables})\nEND\n{END} end_pod"
    )
}

const FIRST_PROCESS: &str = "/proc/1/environ";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_command_of_a_container_is_one_word_of_valid_shell() {
        let script = script();
        assert!(!script.contains(['\'', '\n', '\\']), "a single quote would end the word");
        let checked = Command::new("bash").args(["-n", "-c", &script]).output().expect("bash runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        assert!(script.contains(&format!("${PUBLIC_KEY}")));
    }

    #[test]
    fn a_pod_ends_itself_with_its_own_name_and_key_and_shows_the_key_to_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let variables = "PATH=/x\0RUNPOD_API_KEY=it's $k\0A=b\nc\0RUNPOD_POD_ID=p1\0SKYWARD_API=http://a\0";
        std::fs::write(path("environ"), variables).expect("written");
        let told = path("told").display().to_string();
        for (tool, text) in [
            ("runpodctl", format!("echo \"$@ $RUNPOD_API_KEY\" > {told}")),
            ("curl", format!("{{ echo \"$@\"; cat; }} >> {told}; exit 22")),
        ] {
            std::fs::write(path(tool), format!("#!/bin/sh\n{text}\n")).expect("written");
            std::fs::set_permissions(path(tool), std::fs::Permissions::from_mode(0o755)).expect("a tool");
        }
        let shell = end_with(&path("environ").display().to_string());
        let variable = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let ended = Command::new("sh").args(["-c", &shell]).env("PATH", variable).output().expect("sh runs");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!((ended.stdout, ended.stderr), (vec![], vec![]));
        let expected = "remove pod p1 it's $k\n-fsS -m 20 -X DELETE -H @- http://a/v2/pods/p1\n\
                        Authorization: Bearer it's $k\n";
        assert_eq!(std::fs::read_to_string(told).expect("told"), expected);
    }
}
