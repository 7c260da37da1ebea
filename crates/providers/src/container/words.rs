//! What container runtimes print, as it may come, for `tests/fuzz`.

use super::command::Runtime;
use super::failure::{Failure, last};
use super::{Config, map};

/// Reads one; the first byte says which and whose.
pub(crate) fn check(bytes: &[u8]) {
    let Some(([which], said)) = bytes.split_first_chunk() else { return };
    let said = String::from_utf8_lossy(said);
    let runtime = match which / 4 % 4 {
        0 => Runtime::Docker,
        1 => Runtime::Podman,
        2 => Runtime::Nerdctl,
        _ => Runtime::Apple,
    };
    match which % 4 {
        0 => {
            if let Some((of, info)) = map::info(runtime, &said, true) {
                assert!(of == runtime || of == Runtime::Podman, "{runtime:?} is {of:?}");
                assert!(info.trouble.is_none_or(|it| it.len() <= 2 * said.len()));
            }
        }
        1 => drop(map::seen(runtime, &said)),
        2 => {
            for one in map::listed(&said).into_iter().flatten() {
                let is_stale = one.is_stale(u64::MAX);
                assert!(!(is_stale && one.runs), "{one:?} runs and is nobody's");
                assert!(!is_stale || one.pool().is_some(), "{one:?} is not ours to remove");
            }
        }
        _ => {
            let shown = last(&said);
            assert!(shown.len() <= 4 * (SHOWN + 1) && !shown.contains('\n'), "{shown:?}");
            let error = Failure::of(&said).error("begin", &said, runtime, &Config::default()).to_string();
            assert!(error.contains(&shown), "{error}");
        }
    }
}

/// How many characters of what was said are shown, by those who show it.
const SHOWN: usize = 600;

/// Some in order.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        (
            0,
            r#"{"NCPU":8,"MemTotal":16000000000,"Architecture":"x86_64","OperatingSystem":"Debian","SecurityOptions":["name=rootless"],"ServerErrors":["no"]}"#,
        ),
        (
            4,
            r#"{"host":{"cpus":8,"memTotal":16000000000,"arch":"amd64","security":{"rootless":true},"serviceIsRemote":false}}"#,
        ),
        (
            1,
            r#"[{"State":{"Status":"running","ExitCode":0,"OOMKilled":false},"NetworkSettings":{"Ports":{"2222/tcp":[{"HostIp":"127.0.0.1","HostPort":"40022"}]},"Networks":{"n":{"IPAddress":"203.0.113.9"}}}}]"#,
        ),
        (1, r#"[{"State":{"Status":"exited","ExitCode":137,"OOMKilled":true}}]"#),
        (
            13,
            r#"[{"status":{"state":"running","networks":[{"ipv4Address":"203.0.113.9/24"}]},"configuration":{"publishedPorts":[{"containerPort":2222,"hostPort":40022}]}}]"#,
        ),
        (
            2,
            "{\"Names\":\"a\",\"State\":\"running\",\"Labels\":\"skyward.pool=p,skyward.expires=7\"}\n{\"Names\":\"b\",\"State\":\"exited\"}",
        ),
        (6, r#"[{"Names":["a"],"State":"paused","Labels":{"skyward.pool":"p","skyward.expires":"7"}}]"#),
        (
            3,
            "docker: Error response from daemon: network skyward-p not found\nRun 'docker run --help' for more",
        ),
        (3, "Error response from daemon: No such container: skyward-p-0"),
        (7, "Error: no space left on device"),
    ];
    texts.iter().map(|(which, text)| [&[*which][..], text.as_bytes()].concat()).collect()
}
