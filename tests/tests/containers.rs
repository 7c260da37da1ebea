//! Pools in containers of real runtimes, each a test's own: what works there, what befalls them, and what is left.
//! The tests of the harness make a runtime and run those of `inside` in its namespaces.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::process::{Command, Stdio};

use skyward_tests::hosts::PATIENCE;
use skyward_tests::testbed::{Engine, processes_of, sweep, within, within_second};
use skyward_tests::until;

macro_rules! on_both {
    ($($docker:ident $podman:ident $test:literal)*) => { $(
        #[test]
        fn $docker() {
            within(Engine::Docker, concat!("inside::", $test));
        }

        #[test]
        fn $podman() {
            within(Engine::Podman, concat!("inside::", $test));
        }
    )* };
}

on_both! {
    twenty_kinds_of_calls_work_in_containers_of_docker_over_quic
    twenty_kinds_of_calls_work_in_containers_of_podman_over_quic
    "calls_over_quic"

    twenty_kinds_of_calls_work_in_containers_of_docker_over_ssh
    twenty_kinds_of_calls_work_in_containers_of_podman_over_ssh
    "calls_over_ssh"

    a_container_of_docker_that_is_killed_is_replaced_and_its_calls_go_elsewhere
    a_container_of_podman_that_is_killed_is_replaced_and_its_calls_go_elsewhere
    "a_container_that_is_killed_is_replaced"

    nothing_of_docker_is_left_when_a_program_is_killed_or_a_computer_lost_power
    nothing_of_podman_is_left_when_a_program_is_killed_or_a_computer_lost_power
    "nothing_is_left"

    an_image_of_docker_with_another_c_library_runs_this_program_as_it_was_built_for_that
    an_image_of_podman_with_another_c_library_runs_this_program_as_it_was_built_for_that
    "another_build"
}

#[test]
fn containers_run_where_control_groups_are_of_version_2() {
    for engine in [Engine::Docker, Engine::Podman] {
        within_second(engine, "inside::calls_over_quic");
    }
}

#[test]
fn a_runtime_and_all_in_it_end_with_the_test_that_made_it_however_that_ends() {
    for (engine, test) in [
        (Engine::Docker, "twenty_kinds_of_calls_work_in_containers_of_docker_over_ssh"),
        (Engine::Podman, "twenty_kinds_of_calls_work_in_containers_of_podman_over_ssh"),
    ] {
        if !engine.can_be_had() {
            continue;
        }
        let mut own = Command::new(std::env::current_exe().expect("this program"));
        let mut child = own.args(["--exact", test]).stdout(Stdio::null()).spawn().expect("it starts");
        let program = child.id();
        let seen = until(PATIENCE, || (processes_of(program) > 2).then_some(()));
        child.kill().expect("killed");
        child.wait().expect("waited");
        seen.expect("a runtime");
        until(PATIENCE, || (processes_of(program) == 0).then_some(())).expect("nothing runs on");
        until(PATIENCE, || (sweep() == 0).then_some(())).expect("no control group is left");
    }
}

mod inside {
    use std::io::{BufRead, BufReader};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use skyward::prelude::*;
    use skyward::{EventKind, container};
    use skyward_tests::hosts::{PATIENCE, timing};
    use skyward_tests::smoke::{double, image, place, rank, smoke};
    use skyward_tests::testbed::{Engine, can_limit};
    use skyward_tests::{at_home_in, below, desk, until};

    const IMAGE: &str = "skyward-test/box:1";
    const OTHER: &str = "skyward-test/other:1";

    fn engine() -> Engine {
        Engine::here().expect("the namespaces of a runtime: run the test that runs this one")
    }

    fn config() -> container::Config {
        container::Config {
            image: IMAGE.to_owned(),
            binary: Some(engine().command().to_owned()),
            ..container::Config::default()
        }
    }

    fn pool(config: container::Config) -> skyward::Builder {
        skyward_tests::apart().spec(Spec::on(Container::new(config))).timing(timing())
    }

    /// What runs in the namespaces that is ours.
    fn processes() -> Vec<String> {
        let entries = std::fs::read_dir("/proc").expect("processes").flatten();
        let command = |pid: u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (pid != std::process::id() && line.contains("skyward")).then(|| format!("{pid}: {line}"))
        };
        // The shell of the bed itself has the image's name.
        let all = entries.filter_map(|it| command(it.file_name().to_str()?.parse().ok()?));
        all.filter(|it| !it.contains("skyward-bed") && !it.contains("dockerd")).collect()
    }

    fn expect_as_before(before: &(Vec<String>, Vec<String>)) {
        let now = || (engine().state(), processes());
        if until(PATIENCE, || (now() == *before).then_some(())).is_none() {
            assert_eq!(&now(), before);
        }
    }

    async fn carries(carrier: Carrier) -> skyward::Result<()> {
        let before = (engine().state(), processes());
        let compute = pool(config()).nodes(2).carrier(carrier).image(image()).start().await?;
        let places = smoke(&compute).await?;
        let names: std::collections::BTreeSet<_> = places.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names.len(), 2, "{places:?}");
        assert!(places.iter().all(|it| it.home == "/root"), "{places:?}");
        compute.stop().await?;
        expect_as_before(&before);
        Ok(())
    }

    #[skyward::test]
    #[ignore = "the tests above run it in the namespaces of a runtime"]
    async fn calls_over_quic() -> skyward::Result<()> {
        carries(Carrier::Quic).await
    }

    #[skyward::function]
    fn limits() -> (String, u32) {
        let read = |it: &str| std::fs::read_to_string(it).ok();
        let memory =
            read("/sys/fs/cgroup/memory.max").or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
        let uid = std::fs::metadata("/proc/self").map(|it| std::os::unix::fs::MetadataExt::uid(&it));
        (memory.unwrap_or_default().trim().to_owned(), uid.unwrap_or(u32::MAX))
    }

    #[skyward::test]
    #[ignore = "the tests above run it in the namespaces of a runtime"]
    async fn calls_over_ssh() -> skyward::Result<()> {
        carries(Carrier::Ssh).await?;
        let before = (engine().state(), processes());
        // A user who is not root, limits, a network of somebody else's, and names of one's own.
        engine().run(&["network", "create", "theirs"]);
        let config = container::Config {
            ssh_user: "ubuntu".to_owned(),
            cpus: Some(0.8),
            memory_mb: Some(512),
            network: Some("theirs".to_owned()),
            container_prefix: Some("mine".to_owned()),
            ..config()
        };
        let is_limited = can_limit();
        let config =
            if is_limited { config } else { container::Config { memory_mb: None, cpus: None, ..config } };
        let compute = pool(config).start().await?;
        let (memory, user) = (limits() >> &compute).await?;
        assert_eq!(user, 1000);
        assert!(!is_limited || memory == (512_u64 << 20).to_string(), "{memory}");
        assert_eq!((place() >> &compute).await?.home, "/home/ubuntu");
        let state = engine().state();
        assert!(state.iter().any(|it| it.starts_with("container mine-")), "{state:?}");
        assert!(!state.iter().any(|it| it.starts_with("network mine")), "{state:?}");
        compute.stop().await?;
        engine().run(&["network", "rm", "theirs"]);
        expect_as_before(&before);
        for (config, says) in [
            (
                container::Config { image: "skyward-test/nothing:1".to_owned(), ..self::config() },
                "\"skyward-test/nothing:1\"",
            ),
            (container::Config { ssh_user: "nobody-at-all".to_owned(), ..self::config() }, "`ssh_user`"),
            (container::Config { devices: vec!["/dev/nothing".to_owned()], ..self::config() }, "`devices`"),
            (
                container::Config { binary: Some("/nowhere/docker".to_owned()), ..self::config() },
                "/nowhere/docker",
            ),
        ] {
            let timing = Timing { provision_attempts: 1, ..timing() };
            let refused = pool(config).timing(timing).start().await.expect_err(says).to_string();
            assert!(refused.contains(says), "{refused}");
        }
        expect_as_before(&before);
        Ok(())
    }

    #[skyward::function]
    async fn works(number: u32) -> u32 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        number
    }

    #[skyward::test]
    #[ignore = "the tests above run it in the namespaces of a runtime"]
    async fn a_container_that_is_killed_is_replaced() -> skyward::Result<()> {
        let before = (engine().state(), processes());
        let short = Timing { grace: Duration::from_secs(6), ..timing() };
        let worker = Worker { concurrency: 2, ..Worker::default() };
        let compute = pool(config()).nodes(2).worker(worker).timing(short).start().await?;
        let mut events = compute.events();
        let running = compute.spawn(gather((0..8).map(works)));
        let of_ours = |it: &String| it.strip_prefix("container ").map(str::to_owned);
        let struck = engine().state().iter().find_map(of_ours).expect("a container");
        while !matches!(events.next().await.map(|it| it.kind), Some(EventKind::TaskStarted { .. }) | None) {}
        engine().run(&["kill", &struck]);
        let lost = tokio::time::timeout(PATIENCE, async {
            loop {
                if let EventKind::NodeLost { reason, .. } = events.next().await.expect("the pool lives").kind
                {
                    break reason;
                }
            }
        });
        let lost = lost.await.expect("a node is lost");
        assert!(lost.contains("ended with 137"), "{lost}");
        let came = tokio::time::timeout(PATIENCE, running).await.expect("in time")?;
        assert_eq!(came, (0..8).collect::<Vec<_>>());
        let ready = tokio::time::timeout(PATIENCE, async {
            while (rank() * &compute).await.ok() != Some(vec![Some(0), Some(1)]) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        ready.await.expect("two nodes again");
        let gone = || !engine().state().contains(&format!("container {struck}"));
        until(PATIENCE, || gone().then_some(())).expect("it is given back");
        compute.stop().await?;
        expect_as_before(&before);
        Ok(())
    }

    #[skyward::test]
    #[ignore = "the tests above run it in the namespaces of a runtime"]
    async fn nothing_is_left() -> skyward::Result<()> {
        let before = (engine().state(), processes());
        let desk = desk("tenant")?;
        let mut tenant = Command::new(env!("CARGO_BIN_EXE_tenant"));
        at_home_in(&mut tenant, desk.path());
        tenant.args(["container", engine().command(), IMAGE]).stdout(Stdio::piped());
        let mut tenant = tenant.spawn()?;
        let mut line = String::new();
        BufReader::new(tenant.stdout.take().expect("piped")).read_line(&mut line)?;
        assert_eq!(line.trim(), "started");
        let containers = engine().state().iter().filter(|it| it.starts_with("container skyward-")).count();
        assert_eq!(containers, 2, "{:?}", engine().state());
        // One that stands still does not see that its lease is over.
        let ours = engine().state().iter().find_map(|it| Some(it.strip_prefix("container ")?.to_owned()));
        engine().run(&["pause", &ours.expect("a container")]);
        tenant.kill()?;
        tenant.wait()?;
        expect_as_before(&before);
        assert_eq!(below(&desk.path().join("home")), Vec::<PathBuf>::new());
        // What a computer that lost power has, or one on which a guard was killed: a container that does not run, one
        // that stands still, and a network, whose time is over.
        let labels = ["--label", "skyward.pool=old", "--label", "skyward.expires=1"];
        let mut run = vec!["run", "--detach", "--name", "skyward-old-1", "--entrypoint", "sh"];
        run.extend(labels);
        run.extend([IMAGE, "-c", "exit 3"]);
        engine().run(&run);
        let mut still = vec!["run", "--detach", "--name", "skyward-old-2", "--entrypoint", "sleep"];
        still.extend(labels);
        still.extend([IMAGE, "1000"]);
        engine().run(&still);
        engine().run(&["pause", "skyward-old-2"]);
        engine().run(&[&["network", "create"], &labels[..], &["skyward-old"]].concat());
        engine().run(&["network", "create", "theirs"]);
        let compute = pool(config()).start().await?;
        assert_eq!((double(21) >> &compute).await?, 42);
        let state = engine().state();
        assert!(!state.iter().any(|it| it.contains("skyward-old")), "{state:?}");
        compute.stop().await?;
        engine().run(&["network", "rm", "theirs"]);
        expect_as_before(&before);
        Ok(())
    }

    /// A program as it is when it was built for the C library of the other image: only where its loader is differs.
    fn built_for_other(program: &Path, folder: &Path) -> skyward::Result<PathBuf> {
        let (usual, other) = (b"/ld-linux-", b"/od-linux-");
        let mut content = std::fs::read(program)?;
        for at in 0..content.len() {
            if let Some(found) = content.get_mut(at..at + usual.len())
                && found == usual
            {
                found.copy_from_slice(other);
            }
        }
        let file = folder.join(program.file_name().unwrap_or_default());
        std::fs::write(&file, content)?;
        Ok(file)
    }

    #[skyward::test]
    #[ignore = "the tests above run it in the namespaces of a runtime"]
    async fn another_build() -> skyward::Result<()> {
        let (before, desk) = ((engine().state(), processes()), desk("another-build")?);
        let own = std::env::current_exe()?;
        let built = built_for_other(&own, desk.path())?;
        let another = built_for_other(Path::new(env!("CARGO_BIN_EXE_tenant")), desk.path())?;
        let with = |worker_binary| container::Config { image: OTHER.to_owned(), worker_binary, ..config() };
        for (file, says) in [
            (None, "or build this program for the image as well"),
            (Some(own), "cannot run it"),
            (Some(another), "it is another program"),
            (Some("/bin/sh".into()), "it is no program of Skyward"),
            (Some("/nowhere/program".into()), "failed to read `worker_binary` /nowhere/program"),
        ] {
            let timing = Timing { provision_attempts: 1, ..timing() };
            let refused = pool(with(file)).timing(timing).start().await.expect_err(says).to_string();
            assert!(refused.contains(says) && refused.contains("worker_binary"), "{refused}");
        }
        let compute = pool(with(Some(built))).start().await?;
        assert_eq!((double(21) >> &compute).await?, 42);
        // Nothing else was sent there to run.
        assert_eq!((programs() >> &compute).await?, 1);
        compute.stop().await?;
        expect_as_before(&before);
        Ok(())
    }

    /// How many programs there are on the node.
    #[skyward::function]
    fn programs() -> usize {
        std::fs::read_dir("/root/.skyward/programs").map_or(0, Iterator::count)
    }
}
