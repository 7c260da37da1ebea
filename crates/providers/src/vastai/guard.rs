//! What runs on an instance before we are there, and how it ends its own bill: shell, as text. An instance has
//! a key of its own, which can do nothing but stop, start and destroy it; it is read where it lies, when it is
//! needed, and is never an argument of anything.

use std::time::Duration;

use skyward_runtime::lease::LEASE_FILE;

/// The command that destroys the instance on which it runs.
pub(super) fn end(base_url: &str) -> String {
    let base_url = base_url.trim_end_matches('/');
    format!(
        "of() {{ tr '\\0' '\\n' <{ENVIRONMENT} | sed -n \"s/^$1=//p\"; }}; \
         id=$(of CONTAINER_ID); key=$(of CONTAINER_API_KEY); [ -n \"$id\" ] && [ -n \"$key\" ] || exit 78; \
         printf 'header = \"Authorization: Bearer %s\"\\n' \"$key\" | \
         curl -fsS -m 20 -X DELETE --config - \"{base_url}/api/v0/instances/$id/\""
    )
}

/// What an instance runs when it starts: it lets the pool's key in, and destroys itself when nobody renews its
/// lease. Until the lease is first written it lives for [`ARRIVAL`].
pub(super) fn onstart(base_url: &str, ssh_key: &str, lease: Duration) -> String {
    let (end, key, arrival) = (end(base_url), quoted(ssh_key), ARRIVAL.max(lease).as_secs());
    let lease = lease.as_secs().max(1);
    // The system's folders may lie on a volume whose rights the SSH server does not like.
    format!(
        "export HOME=${{HOME:-/root}}\n\
         mkdir -p \"$HOME/.ssh\" && printf '%s\\n' {key} >>\"$HOME/.ssh/authorized_keys\"\n\
         chmod 700 \"$HOME/.ssh\"; chmod 600 \"$HOME/.ssh/authorized_keys\"; chmod go-w \"$HOME\"\n\
         command -v curl >/dev/null 2>&1 || {{ apt-get -q update && apt-get -q -y install curl ca-certificates; }}\n\
         end() {{ ({end}); }}\n\
         guard() {{\n\
         seen=; idle=0; most={arrival}\n\
         while [ $idle -lt $most ]; do\n\
         sleep 5; idle=$((idle + 5)); now=$(cat \"$HOME/{LEASE_FILE}\" 2>/dev/null)\n\
         if [ \"$now\" = \"$seen\" ]; then continue; fi\n\
         seen=$now; idle=0\n\
         case $now in lapsed) most=0 ;; 'keep '*) most=$((${{now#keep }} / 1000)) ;; *) most={lease} ;; esac\n\
         done\n\
         until end; do sleep 10; done\n\
         }}\n\
         guard >/dev/null 2>&1 &\n"
    )
}

/// A word for a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.trim().replace('\'', "'\\''"))
}

/// Where the first process of a container has what it was started with.
const ENVIRONMENT: &str = "/proc/1/environ";

/// How long an instance that has started waits for us. The client may have to try several times to reach its
/// SSH server; less would end machines that are about to be used.
pub(super) const ARRIVAL: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_fits_and_a_key_cannot_break_out_of_it() {
        let script =
            onstart("https://console.vast.ai/", "ssh-ed25519 AAAA it's; rm -rf /", Duration::from_secs(60));
        assert!(script.len() < 4048, "{} characters, and the cloud takes 4048", script.len());
        assert!(script.contains(r"'ssh-ed25519 AAAA it'\''s; rm -rf /'"), "{script}");
        assert!(script.contains("\"https://console.vast.ai/api/v0/instances/$id/\""), "{script}");
    }

    #[test]
    fn a_shell_can_read_what_is_written_for_it() {
        let script = onstart("https://console.vast.ai", "ssh-ed25519 AAAA me", Duration::from_secs(60));
        let read = std::process::Command::new("sh").args(["-n", "-c", &script]).status().expect("a shell");
        assert!(read.success(), "{script}");
    }
}
