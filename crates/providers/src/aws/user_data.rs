//! What a machine is told when it is rented: the host key that we know it by, and to end itself when nobody
//! reaches it or renews its lease. It is read by cloud-init, before the SSH server starts. Whatever runs on the
//! machine can read it, too, so it holds nothing that is worth more than this one machine.

use std::time::Duration;

use skyward_runtime::lease::LEASE_FILE;
use skyward_runtime::model::Secret;

/// The host key of the machines of one request.
#[derive(Clone, Debug)]
pub(super) struct HostKey {
    pub(super) private: Secret<String>,
    pub(super) public: String,
}

/// The text. `arrival` is how long a machine waits to be reached, counted from when it boots.
pub(super) fn text(user: &str, key: Option<&HostKey>, arrival: Duration, lease: Duration) -> String {
    let mut text = String::from("#cloud-config\n");
    if let Some(key) = key {
        let private: String = key.private.reveal().lines().map(|it| format!("    {it}\n")).collect();
        text.push_str(&format!(
            "ssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n{private}  ed25519_public: {}\n",
            key.public
        ));
    }
    let guard: String = guard(user, arrival, lease).lines().map(|it| format!("      {it}\n")).collect();
    text.push_str("bootcmd:\n  - - sh\n    - -c\n    - |\n");
    text.push_str(&guard);
    text
}

/// Watches the lease from the first moments of a boot, on a clock that counts the machine's sleep.
fn guard(user: &str, arrival: Duration, lease: Duration) -> String {
    let arrival = arrival.max(lease).as_secs().max(1);
    let lease = lease.as_secs().max(1);
    // The user does not exist yet when this begins, so the home folder is looked up at each look.
    let watch = format!(
        "now() {{ cut -d. -f1 /proc/uptime; }}\n\
         seen=; kept=; since=$(now); most={arrival}\n\
         while [ $(($(now) - since)) -lt $most ]; do\n\
         sleep 5; home=$(getent passwd {user} | cut -d: -f6)\n\
         said=$(cat \"${{home:-/root}}/{LEASE_FILE}\" 2>/dev/null)\n\
         if [ -n \"$kept\" ] || [ \"$said\" = \"$seen\" ]; then continue; fi\n\
         seen=$said; since=$(now)\n\
         case $said in lapsed) most=0 ;; \"keep \"*) kept=1; most=$((${{said#keep }} / 1000)) ;; *) most={lease} ;; esac\n\
         done\n\
         until shutdown -h now || poweroff -f; do sleep 10; done\n"
    );
    format!(
        "cat >/run/skyward-guard <<'GUARD'\n{watch}GUARD\n\
         {{ systemd-run --unit skyward-guard sh /run/skyward-guard || setsid sh /run/skyward-guard; }} \
         </dev/null >/dev/null 2>&1 &\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> String {
        let key = HostKey {
            private: Secret::new(
                "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n".into(),
            ),
            public: "ssh-ed25519 AAAA".into(),
        };
        text("ubuntu", Some(&key), Duration::from_secs(300), Duration::from_secs(60))
    }

    #[test]
    fn cloud_init_finds_a_key_and_a_guard() {
        let text = example();
        assert!(text.starts_with("#cloud-config\nssh_deletekeys: true\nssh_keys:\n"), "{text}");
        assert!(
            text.contains("\n  ed25519_private: |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    AAAA\n"),
            "{text}"
        );
        assert!(text.contains("most=300") && text.contains("most=60"), "{text}");
        // The cloud takes 16 KB before it is encoded.
        assert!(text.len() < 4096, "{} bytes", text.len());
        assert!(!self::text("root", None, Duration::ZERO, Duration::ZERO).contains("ssh_keys"));
    }

    #[test]
    fn a_shell_can_read_what_is_written_for_it() {
        let script = guard("ubuntu", Duration::from_secs(300), Duration::from_secs(60));
        let watch =
            script.split("GUARD").nth(1).expect("a script in the script").trim_start_matches('\'').to_owned();
        for script in [script, watch] {
            let read =
                std::process::Command::new("sh").args(["-n", "-c", &script]).status().expect("a shell");
            assert!(read.success(), "{script}");
        }
    }
}
