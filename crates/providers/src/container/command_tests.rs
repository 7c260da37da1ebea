//! What each runtime is asked, word for word.

use super::*;

fn run(runtime: Runtime, config: &Config) -> Result<String, ProviderError> {
    let labels = labels(&PoolId::new("p"), Duration::from_secs(1000), Duration::from_secs(60));
    let told = ["script".to_owned(), "skyward".to_owned()];
    let start =
        Start { name: "skyward-p-1", labels: &labels, network: "skyward-p", port: 40022, words: &told };
    runtime.run(config, &start).map(|it| it.join(" "))
}

const COMMON: &str = "run --detach --name skyward-p-1 --label skyward.pool=p --label skyward.expires=1300 --network \
                      skyward-p --publish 127.0.0.1:40022:2222 --user root --entrypoint sh";

#[test]
fn a_container_is_run_with_what_each_runtime_calls_it() {
    let plain = Config { image: "mine:1".to_owned(), ..Config::default() };
    let limited = Config { cpus: Some(1.5), memory_mb: Some(512), ..plain.clone() };
    for runtime in [Runtime::Docker, Runtime::Podman, Runtime::Nerdctl] {
        let never = format!("{COMMON} --pull=never");
        assert_eq!(run(runtime, &plain).expect("words"), format!("{never} mine:1 -c script skyward"));
        let expected = format!("{never} --cpus 1.5 --memory 512m mine:1 -c script skyward");
        assert_eq!(run(runtime, &limited).expect("words"), expected);
    }
    assert_eq!(run(Runtime::Apple, &plain).expect("words"), format!("{COMMON} mine:1 -c script skyward"));
    let expected = format!("{COMMON} --cpus 2 --memory 512M mine:1 -c script skyward");
    assert_eq!(run(Runtime::Apple, &limited).expect("words"), expected);
}

#[test]
fn accelerators_are_asked_for_as_each_runtime_wants_it() {
    let with = |gpus: &str| Config {
        gpus: Some(gpus.to_owned()),
        devices: vec!["/dev/kfd".to_owned()],
        ..Config::default()
    };
    for (gpus, docker, podman) in [
        ("all", "--gpus all", "--device nvidia.com/gpu=all"),
        ("2", "--gpus 2", "--device nvidia.com/gpu=0 --device nvidia.com/gpu=1"),
        ("device=0,3", "--gpus \"device=0,3\"", "--device nvidia.com/gpu=0 --device nvidia.com/gpu=3"),
    ] {
        for (runtime, expected) in
            [(Runtime::Docker, docker), (Runtime::Nerdctl, docker), (Runtime::Podman, podman)]
        {
            let words = run(runtime, &with(gpus)).expect("words");
            assert!(words.contains(&format!("--device /dev/kfd {expected} debian")), "{words}");
        }
        let refused = run(Runtime::Apple, &with(gpus)).expect_err("it has none");
        assert_eq!(refused.kind, ProviderErrorKind::InvalidRequest);
    }
    for wrong in ["0", "", "some", "device=", "device=0,", "device=0;x"] {
        let refused = run(Runtime::Docker, &with(wrong)).expect_err(wrong);
        assert!(refused.message.contains("`gpus` is"), "{refused}");
    }
}

#[test]
fn a_command_is_known_by_its_name_wherever_it_is() {
    for (binary, runtime) in [
        ("docker", Runtime::Docker),
        ("/opt/bin/podman", Runtime::Podman),
        ("podman-remote", Runtime::Podman),
        ("nerdctl", Runtime::Nerdctl),
        ("/usr/local/bin/container", Runtime::Apple),
        ("my-wrapper", Runtime::Docker),
    ] {
        assert_eq!(Runtime::of(binary), runtime, "{binary}");
    }
}
