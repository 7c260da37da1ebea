//! What runtimes print, as far as there are contracts of it those, read where they lie: in `shared/contracts` beside or
//! above the project, or in the folder that `SKYWARD_CONTRACTS` names.

use std::path::{Path, PathBuf};

use super::*;

/// A contract with our port and our labels in place of its own; `None` where there is none, which is said.
fn contract(name: &str) -> Option<String> {
    let named = std::env::var_os("SKYWARD_CONTRACTS").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folders = named.into_iter().chain(above.map(|it| it.join("shared/contracts")));
    let found = folders.map(|it| it.join("containers").join(name)).find(|it| it.is_file());
    let Some(file) = found else {
        let must = std::env::var_os("SKYWARD_REQUIRE_ALL").is_some();
        assert!(!must, "SKYWARD_REQUIRE_ALL is set, but there is no contract {name}");
        println!(
            "SKIPPED: no contract {name} beside or above the project; SKYWARD_CONTRACTS names their folder"
        );
        return None;
    };
    let text = std::fs::read_to_string(file).expect("read");
    let port = format!("\"containerPort\": {SSH_PORT}");
    Some(text.replace("\"containerPort\": 22", &port).replace("22/tcp", &format!("{SSH_PORT}/tcp")))
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

#[test]
fn apples_containers_are_read_as_both_of_its_versions_tell_them() {
    for name in
        ["apple-container-0.12-inspect.constructed.json", "apple-container-1.2.2-inspect.constructed.json"]
    {
        let Some(said) = contract(name) else { continue };
        let expected = Seen { life: Life::Running, port: Some(40022), address: address("192.168.65.3") };
        assert_eq!(seen(Runtime::Apple, &said), Some(expected), "{name}");
        let all = listed(&said.replace("skyx.cluster", POOL)).expect("a list");
        let all: Vec<_> = all.iter().map(|it| (it.name.as_str(), it.runs, it.pool())).collect();
        assert_eq!(all, [("skyx-abc123", true, Some("c1"))], "{name}");
        let stopped = seen(Runtime::Apple, &said.replace("\"running\"", "\"stopped\"")).expect("seen");
        assert_eq!(stopped.life, Life::Ended { code: None, out_of_memory: false });
    }
}

#[test]
fn podmans_ports_and_addresses_are_read_as_it_was_observed_to_print_them() {
    let Some(observed) = contract("podman-4.3.1-observed.txt") else { return };
    let after = |what: &str| {
        let lines = observed.lines().filter_map(|it| it.split_once(what));
        lines
            .map(|(_, value)| value.split("  ").next().unwrap_or(value).trim().to_owned())
            .collect::<Vec<_>>()
    };
    let ports = after(".NetworkSettings.Ports = ");
    let address = after("Networks[\"N\"].IPAddress = ").concat();
    assert_eq!(ports.len(), 2, "with and without an address of its own: {observed}");
    for (ports, expected) in ports.iter().zip([32807, 37471]) {
        let said = format!(
            r#"[{{"State":{{"Status":"running","Running":true,"ExitCode":0}},
                 "NetworkSettings":{{"Ports":{ports},"Networks":{{"N":{{"IPAddress":{address}}}}}}}}}]"#
        );
        let expected =
            Seen { life: Life::Running, port: Some(expected), address: self::address("10.89.0.2") };
        assert_eq!(seen(Runtime::Podman, &said), Some(expected), "{said}");
    }
}

#[test]
fn what_has_ended_says_how_and_what_is_not_there_is_nothing() {
    let said =
        |state: &str| format!(r#"[{{"State":{state},"NetworkSettings":{{"Ports":{{}},"Networks":{{}}}}}}]"#);
    let ended = |code, out_of_memory| Life::Ended { code: Some(code), out_of_memory };
    for (state, life) in [
        (r#"{"Status":"exited","ExitCode":137,"OOMKilled":true}"#, ended(137, true)),
        (r#"{"Status":"exited","ExitCode":0,"OOMKilled":false}"#, ended(0, false)),
        (r#"{"Status":"dead","ExitCode":1}"#, ended(1, false)),
        (r#"{"Status":"created","ExitCode":0}"#, Life::Beginning),
        (r#"{"Status":"paused","ExitCode":0}"#, Life::Running),
    ] {
        for runtime in [Runtime::Docker, Runtime::Podman, Runtime::Nerdctl] {
            let seen = seen(runtime, &said(state)).expect("seen");
            assert_eq!(seen, Seen { life: life.clone(), port: None, address: None }, "{state}");
        }
    }
    for nothing in ["[]", "", "null", "no JSON", "[{}]", "[1]"] {
        for runtime in Runtime::ALL {
            assert_eq!(seen(runtime, nothing), None, "{nothing}");
        }
    }
}

#[test]
fn lists_are_read_as_an_array_or_an_object_on_each_line() {
    let docker = format!(
        "{{\"Names\":\"skyward-p-a\",\"State\":\"running\",\"Labels\":\"{POOL}=p,{EXPIRES}=100,x=\"}}\n\
         {{\"Names\":\"skyward-p-b\",\"State\":\"exited\",\"Labels\":\"{POOL}=p,{EXPIRES}=100\"}}\n"
    );
    let podman = format!(
        "[{{\"Names\":[\"skyward-p-a\"],\"State\":\"running\",\"Labels\":{{\"{POOL}\":\"p\",\"{EXPIRES}\":\"100\"}}}},\
         {{\"Names\":[\"skyward-p-b\"],\"State\":\"exited\",\"Labels\":{{\"{POOL}\":\"p\",\"{EXPIRES}\":\"100\"}}}}]"
    );
    // Older ones say nothing of the state but in words for people.
    let nerdctl = docker
        .replace("\"State\":\"running\"", "\"Status\":\"Up\"")
        .replace("\"State\":\"exited\"", "\"Status\":\"Exited (1) 2 hours ago\"");
    for said in [&docker, &podman, &nerdctl] {
        let all = listed(said).expect("a list");
        let seen: Vec<_> = all.iter().map(|it| (it.name.as_str(), it.runs, it.pool())).collect();
        assert_eq!(seen, [("skyward-p-a", true, Some("p")), ("skyward-p-b", false, Some("p"))], "{said}");
        let stale = |now| all.iter().map(|it| it.is_stale(now)).collect::<Vec<_>>();
        assert_eq!((stale(100), stale(101)), (vec![false, false], vec![false, true]), "{said}");
    }
    let network = format!("[{{\"name\":\"skyward-p\",\"labels\":{{\"{POOL}\":\"p\",\"{EXPIRES}\":\"7\"}}}}]");
    assert!(listed(&network).expect("a list").iter().all(|it| it.name == "skyward-p" && it.is_stale(8)));
    assert_eq!(listed(""), Some(Vec::new()));
    assert_eq!(listed("[]"), Some(Vec::new()));
    assert_eq!(listed("no JSON"), None);
    let foreign = listed("{\"Names\":\"theirs\",\"State\":\"exited\",\"Labels\":\"\"}").expect("a list");
    assert!(!foreign.iter().any(|it| it.is_stale(u64::MAX)));
}

#[test]
fn a_runtime_is_what_it_says_it_is_whatever_it_is_called() {
    let docker = r#"{"NCPU":8,"MemTotal":16000000000,"Architecture":"x86_64","OperatingSystem":"Debian","SecurityOptions":["name=seccomp"]}"#;
    let expected = Info {
        vcpus: Some(8),
        memory_mb: Some(16_000),
        architecture: Some(Architecture::X86_64),
        reaches: true,
        trouble: None,
    };
    assert_eq!(info(Runtime::Docker, docker, true), Some((Runtime::Docker, expected.clone())));
    let podman = r#"{"host":{"cpus":8,"memTotal":16000000000,"arch":"amd64","security":{"rootless":false}},"store":{}}"#;
    assert_eq!(info(Runtime::Docker, podman, true), Some((Runtime::Podman, expected)));
    for (said, is_linux) in [
        (docker.replace("Debian", "Docker Desktop"), true),
        (docker.replace("seccomp", "rootless"), true),
        (podman.replace("false", "true"), true),
        (docker.to_owned(), false),
    ] {
        let (_, info) = info(Runtime::Docker, &said, is_linux).expect("understood");
        assert!(!info.reaches, "{said}");
    }
    let down = r#"{"ServerErrors":["Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"]}"#;
    let (_, down) = info(Runtime::Docker, down, true).expect("understood");
    assert!(down.trouble.is_some_and(|it| it.contains("Cannot connect")));
    assert_eq!(info(Runtime::Nerdctl, "no JSON", true), None);
    assert!(info(Runtime::Apple, "apiserver is running", false).is_some_and(|(_, it)| it.reaches));
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_printed_makes_reading_panic(said in "[\\[{\"a-zA-Z0-9:,}\\]=\n ]{0,200}") {
        for runtime in Runtime::ALL {
            let _ = (seen(runtime, &said), info(runtime, &said, true));
        }
        let _ = listed(&said);
    }
}
