//! What runtimes were seen to say, and what it is taken for.

use super::*;

#[test]
fn what_runtimes_say_is_told_apart() {
    for (said, expected) in [
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            Failure::Down,
        ),
        (
            "failed to connect to the docker API at unix:///x; check if the path is correct and if the daemon is running: dial unix /x: connect: no such file or directory",
            Failure::Down,
        ),
        (
            "time=\"…\" level=fatal msg=\"cannot access containerd socket \\\"/run/containerd/containerd.sock\\\": no such file or directory\"",
            Failure::Down,
        ),
        (
            "Error: unable to connect to Podman socket: Get \"http://d/v4.3.1/libpod/_ping\": dial unix ///run/user/1000/podman.sock: connect: no such file",
            Failure::Down,
        ),
        ("Error: XPC connection error: Connection invalid; apiserver is not running", Failure::Down),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"…\": dial unix /var/run/docker.sock: connect: permission denied",
            Failure::Permission,
        ),
        ("Got permission denied while trying to connect to the Docker daemon socket", Failure::Permission),
        ("docker: Error response from daemon: No such image: nothing:1.", Failure::NoImage),
        ("Error: nothing:1: image not known", Failure::NoImage),
        (
            "Error response from daemon: manifest for debian:nothing not found: manifest unknown: manifest unknown",
            Failure::NoImage,
        ),
        (
            "Error response from daemon: pull access denied for nothing, repository does not exist or may require 'docker login'",
            Failure::Refused,
        ),
        (
            "Error: initializing source docker://x.test/y: reading manifest: unauthorized: authentication required",
            Failure::Refused,
        ),
        (
            "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
            Failure::Unreachable,
        ),
        (
            "Error: initializing source docker://debian:12: pinging container registry registry-1.docker.io: Get \"…\": dial tcp: i/o timeout",
            Failure::Unreachable,
        ),
        (
            "docker: Error response from daemon: Conflict. The container name \"/x\" is already in use by container \"abc\". You have to remove (or rename) that container to be able to reuse that name.",
            Failure::NameTaken,
        ),
        (
            "Error: creating container storage: the container name \"x\" is already in use by 0a1b. You have to remove that container",
            Failure::NameTaken,
        ),
        ("Error response from daemon: network with name skyward-p already exists", Failure::NameTaken),
        (
            "docker: Error response from daemon: driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:40022 failed: port is already allocated.",
            Failure::PortTaken,
        ),
        (
            "docker: Error response from daemon: driver failed: Error starting userland proxy: listen tcp4 127.0.0.1:40022: bind: address already in use.",
            Failure::PortTaken,
        ),
        (
            "Error: cannot listen on the TCP port: listen tcp4 127.0.0.1:40022: bind: address already in use",
            Failure::PortTaken,
        ),
        (
            "docker: Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]].",
            Failure::NoGpus,
        ),
        ("Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all", Failure::NoGpus),
        ("Error: stat nvidia.com/gpu=all: no such file or directory", Failure::NoGpus),
        (
            "Error response from daemon: could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            Failure::NoNet,
        ),
        ("docker: Error response from daemon: network skyward-p not found.", Failure::NoNetwork),
        ("Error: unable to find network with name or ID skyward-p: network not found", Failure::NoNetwork),
        (
            "docker: Error response from daemon: unable to find user me: no matching entries in passwd file.",
            Failure::NoUser,
        ),
        (
            "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"sh\": executable file not found in $PATH: unknown.",
            Failure::NoShell,
        ),
        (
            "docker: Error response from daemon: error gathering device information while adding custom device \"/dev/kfd\": no such file or directory.",
            Failure::NoDevice,
        ),
        (
            "Error response from daemon: write /var/lib/docker/tmp/x: no space left on device",
            Failure::DiskFull,
        ),
        ("Error response from daemon: No such container: x", Failure::NoContainer),
        ("Error: no container with name or ID \"x\" found: no such container", Failure::NoContainer),
        ("Error: inspecting object: no such object: \"x\"", Failure::NoContainer),
        ("something new", Failure::Other),
        ("", Failure::Other),
    ] {
        assert_eq!(Failure::of(said), expected, "{said}");
    }
}

#[test]
fn each_failure_says_what_failed_what_to_do_and_what_was_said() {
    let config = Config { image: "mine:1".to_owned(), ssh_user: "me".to_owned(), ..Config::default() };
    for (_, failure) in SAID {
        for runtime in Runtime::ALL {
            let error =
                failure.error("run a container", "so it is\nSee 'docker run --help'.", runtime, &config);
            let text = error.to_string();
            let what = format!("failed to run a container with {}: ", runtime.command());
            assert!(text.starts_with(&what) && text.ends_with("(so it is)"), "{text}");
        }
    }
    let text = Failure::NoImage.error("run a container", "", Runtime::Podman, &config).to_string();
    assert!(
        text.contains("\"mine:1\"") && text.contains("podman images") && text.ends_with("that are here"),
        "{text}"
    );
}

#[test]
fn of_what_was_said_the_end_is_shown() {
    assert_eq!(last("a\n\n b \nc\nd\nRun 'x --help' for more information"), "b | c | d");
    assert_eq!(last(&"ü".repeat(2000)).chars().count(), MOST + 1);
    assert_eq!(last(""), "");
}

#[test]
fn only_what_is_said_of_this_container_makes_it_gone() {
    for (said, is_gone) in [
        ("Error response from daemon: No such container: skyward-p-1", true),
        ("Error: no container with name or ID \"skyward-p-1\" found: no such container", true),
        ("Error: inspecting object: no such container skyward-p-1", true),
        ("Error response from daemon: No such container: skyward-p-2", false),
        ("context \"x\": context not found", false),
        ("Error: default OCI runtime \"runc\" not found: invalid argument: skyward-p-1", false),
        ("exec: \"docker-credential-x\": executable file not found in $PATH: skyward-p-1", false),
        ("", false),
    ] {
        assert_eq!(Failure::is_gone(said, "skyward-p-1"), is_gone, "{said}");
    }
}
