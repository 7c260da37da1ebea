//! A runtime that is a script, for what a real one does only on a bad day.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use skyward_runtime::model::Market;
use skyward_runtime::program::declare_entry;
use tempfile::TempDir;

use super::*;

/// A runtime that does all that it is asked, but for one thing.
pub(super) struct Fake {
    folder: TempDir,
    binary: PathBuf,
}

impl Fake {
    /// `when` begins what it is asked when it says `why` and fails; `cases` are answers of its own.
    pub(super) fn failing(name: &str, when: &str, why: &str, cases: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let binary = folder.path().join(name);
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >>{0}/asked\ncase \"$*\" in\n{cases}\n'{when}'*) cat >&2 <<'W'\n{why}\nW\nexit 125;;\n\
             info*) echo '{{\"NCPU\":4,\"MemTotal\":8000000000,\"Architecture\":\"x86_64\",\"OperatingSystem\":\"Debian\"}}';;\n\
             exec*) cat >/dev/null; echo 'ssh-ed25519 AAAA';;\n\
             'container inspect'*) echo '[{{\"State\":{{\"Status\":\"running\"}},\"NetworkSettings\":{{\"Ports\":{{\"2222/tcp\":[{{\"HostPort\":\"40022\"}}]}},\"Networks\":{{\"n\":{{\"IPAddress\":\"10.0.0.2\"}}}}}}}}]';;\n\
             esac\n",
            folder.path().display()
        );
        // A child writes it: were it open for writing here, another test's fork could hold it open, and the system
        // refuses to execute such a file.
        let mut child = std::process::Command::new("sh");
        child.args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""]).arg(&binary).arg(script);
        assert!(child.status().expect("a shell").success());
        Self { folder, binary }
    }

    fn good() -> Self {
        Self::failing("docker", "nothing", "", "")
    }

    pub(super) fn config(&self) -> Config {
        let binary = Some(self.binary.display().to_string());
        Config { image: "mine:1".to_owned(), binary, ..Config::default() }
    }

    /// What it was asked, in order.
    fn asked(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    fn was_asked(&self, what: &str) -> bool {
        self.asked().iter().any(|it| it.starts_with(what))
    }
}

fn request() -> Request {
    declare_entry(Vec::new());
    Request {
        pool: PoolId::new("p1"),
        offer: Offer::of(NAME, InstanceType::named(NAME), Price::on_demand(usd!(0))),
        market: Market::OnDemand,
        disk_gb: None,
        volumes: Vec::new(),
        ssh_key: "ssh-ed25519 AAAA".to_owned(),
        lease: Duration::from_secs(60),
    }
}

/// What a pool asks of a provider at its start, up to the first refusal.
async fn begin(container: &Container) -> Result<Provisioned, ProviderError> {
    container.offer().await?;
    container.prepare(&request()).await?;
    container.provision(&request(), 1).await
}

/// Answers as an SSH server would at the port that the fake is told to publish next.
fn serve(fake: &Fake) {
    let asked = fake.folder.path().join("asked");
    let ports = move || {
        let text = std::fs::read_to_string(&asked).unwrap_or_default();
        let words = text.split_whitespace().filter_map(|it| it.strip_prefix("127.0.0.1:")?.split_once(':'));
        words.filter_map(|(port, _)| port.parse::<u16>().ok()).collect::<Vec<_>>()
    };
    let before = ports().len();
    tokio::spawn(async move {
        let port = loop {
            if let Some(port) = ports().get(before) {
                break *port;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n").await;
        }
    });
}

async fn refused(fake: &Fake, config: Config) -> ProviderError {
    let container = Container::new(config);
    let error = begin(&container).await.expect_err("it is refused");
    let _ = container.teardown(&request()).await;
    assert!(!error.message.contains(['\n', '\t']), "{error}");
    assert!(fake.folder.path().exists());
    error
}

#[tokio::test]
async fn every_refusal_of_a_runtime_is_of_its_kind_and_says_what_to_do() {
    use ProviderErrorKind::{Conflict, InvalidRequest, Local, Permission};
    let down =
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
    let denied = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock";
    for (when, why, kind, says) in [
        ("info", down, Local, "systemctl start docker"),
        ("info", denied, Permission, "usermod -aG docker"),
        (
            "run",
            "docker: Error response from daemon: No such image: mine:1.",
            InvalidRequest,
            "docker images",
        ),
        (
            "run",
            "docker: Error response from daemon: Conflict. The container name \"/x\" is already in use by container \"y\".",
            Conflict,
            "container_prefix",
        ),
        (
            "run",
            "docker: Error response from daemon: Bind for 127.0.0.1:1 failed: port is already allocated.",
            Conflict,
            "port",
        ),
        (
            "run",
            "docker: Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]].",
            Local,
            "NVIDIA Container Toolkit",
        ),
        (
            "run",
            "docker: Error response from daemon: unable to find user root: no matching entries in passwd file.",
            InvalidRequest,
            "ssh_user",
        ),
        ("run", "write /var/lib/docker/x: no space left on device", Local, "make room"),
        (
            "network create",
            "could not find an available, non-overlapping IPv4 address pool among the defaults",
            Local,
            "network prune",
        ),
        (
            "network create",
            "Error response from daemon: network with name skyward-p1 already exists",
            Conflict,
            "container_prefix",
        ),
    ] {
        let fake = Fake::failing("docker", when, why, "");
        let error = refused(&fake, fake.config()).await;
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.starts_with("failed to ") && error.message.contains(says), "{error}");
    }
    for (why, kind, says) in [
        ("pull access denied for mine, repository does not exist", Permission, "docker login"),
        ("manifest for mine:1 not found: manifest unknown", InvalidRequest, "build it"),
        (
            "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
            Local,
            "online",
        ),
    ] {
        let fake = Fake::failing("docker", "pull", why, "'image inspect'*) exit 1;;");
        let error = refused(&fake, fake.config()).await;
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(says) && error.message.contains("\"mine:1\""), "{error}");
        assert!(!fake.was_asked("network create"), "nothing is made for an image that is not there");
    }
}

#[tokio::test]
async fn a_runtime_that_is_missing_or_may_not_be_started_is_named() {
    let fake = Fake::good();
    let nowhere = fake.folder.path().join("nowhere/podman").display().to_string();
    let error = refused(&fake, Config { binary: Some(nowhere.clone()), ..fake.config() }).await;
    assert_eq!(error.kind, ProviderErrorKind::Local);
    assert!(error.message.contains(&nowhere) && error.message.contains("install it"), "{error}");
    std::fs::set_permissions(&fake.binary, PermissionsExt::from_mode(0o644)).expect("no program");
    let error = refused(&fake, fake.config()).await;
    assert!(error.message.contains("may not start"), "{error}");
    let strange = Fake::failing("docker", "nothing", "", "info*) echo hello;;");
    let error = refused(&strange, strange.config()).await;
    assert!(error.message.contains("failed to understand"), "{error}");
}

#[tokio::test]
async fn settings_that_no_container_can_have_are_refused_before_anything_is_made() {
    let fake = Fake::good();
    for config in [
        Config { network: Some("host".to_owned()), ..fake.config() },
        Config { network: Some("container:x".to_owned()), ..fake.config() },
        Config { cpus: Some(0.0), ..fake.config() },
        Config { container_prefix: Some("-x".to_owned()), ..fake.config() },
        Config { container_prefix: Some("a b".to_owned()), ..fake.config() },
        Config { image: "--privileged".to_owned(), ..fake.config() },
    ] {
        let error = refused(&fake, config.clone()).await;
        assert_eq!(error.kind, ProviderErrorKind::InvalidRequest, "{config:?}: {error}");
    }
    assert!(!fake.was_asked("run") && !fake.was_asked("network create"));
}

#[tokio::test]
async fn a_container_runs_is_described_and_goes_with_its_network() {
    let networks = "'network ls'*) [ -e \"$0.network\" ] && echo '{\"Name\":\"skyward-p1\",\"Labels\":\"skyward.pool=p1\"}'; exit 0;;\n\
                    'network create'*) touch \"$0.network\";;\n'network rm'*) rm \"$0.network\";;";
    let fake = Fake::failing("docker", "nothing", "", networks);
    let container = Container::new(fake.config());
    serve(&fake);
    let provisioned = begin(&container).await.expect("a container");
    let id = provisioned.instances.first().map(|it| it.id.clone()).expect("one");
    assert!(id.as_str().starts_with("skyward-p1-"), "{id}");
    let described = container.describe(&request(), &id).await.expect("described");
    let InstanceState::Running { ssh, address, end, .. } = described.state else { panic!("{described:?}") };
    assert_eq!((ssh.host.as_str(), ssh.port, ssh.user.as_str()), ("127.0.0.1", 40022, "root"));
    assert_eq!(ssh.host_key, HostKey::Known("ssh-ed25519 AAAA".to_owned()));
    assert_eq!(address, IpAddr::from([10, 0, 0, 2]));
    assert_eq!(end, End::Command { shell: CONTAINER_END.to_owned() });
    assert!(container.capabilities().udp && container.capabilities().root);
    container.terminate(&request(), std::slice::from_ref(&id)).await.expect("gone");
    assert!(fake.was_asked(&format!("rm -f -v {id}")));
    assert_eq!(container.teardown(&request()).await.expect("torn down"), []);
    assert!(fake.was_asked("network rm skyward-p1"));
    assert!(fake.asked().iter().all(|it| !it.contains("--rm")));
}

#[tokio::test]
async fn a_container_that_died_says_how_and_what_it_said_last() {
    let ended = "'container inspect'*) echo '[{\"State\":{\"Status\":\"exited\",\"ExitCode\":127,\"OOMKilled\":false}}]';;\n\
                 logs*) echo \"./x: version GLIBC_2.38 not found\" >&2;;\nexec*) exit 137;;";
    let fake = Fake::failing("podman", "nothing", "", ended);
    let error = refused(&fake, fake.config()).await;
    assert_eq!(error.kind, ProviderErrorKind::InvalidRequest);
    assert!(error.message.contains("GLIBC_2.38") && error.message.contains("linux-musl"), "{error}");
    assert!(fake.was_asked("rm -f"), "what failed is removed");
    let container = Container::new(fake.config());
    let state =
        container.describe(&request(), &InstanceId::new("skyward-p1-x")).await.expect("described").state;
    let InstanceState::Gone { reason, loss } = state else { panic!("{state:?}") };
    assert_eq!(loss, Loss::Crashed);
    assert!(reason.contains("with 127") && reason.contains("GLIBC_2.38"), "{reason}");
}

#[tokio::test]
async fn what_nobody_has_any_more_is_swept_and_nothing_else() {
    let of = |name: &str, state: &str, pool: &str, until: &str| {
        let labels = format!("skyward.pool={pool},skyward.expires={until}");
        format!("{{\"Names\":\"{name}\",\"State\":\"{state}\",\"Labels\":\"{labels}\"}}")
    };
    let later = u64::MAX.to_string();
    let all = [
        of("dead", "exited", "old", "1"),
        of("fresh", "exited", "old", &later),
        of("alive", "running", "living", "1"),
        of("just-died", "exited", "living", "1"),
        of("still", "paused", "forgotten", "1"),
        of("paused-by-its-owner", "paused", "living", "1"),
        of("paused-and-guarded", "paused", "guarded", "1"),
    ];
    let all = all.join("\n");
    let fake = Fake::failing("docker", "nothing", "", &format!("'ps -a'*) cat <<'L'\n{all}\nL\nexit;;"));
    let container = Container::new(fake.config());
    let engine = Engine::find(&fake.config()).await.expect("a runtime");
    let guard = Guard::start(&engine, &PoolId::new("guarded"), "skyward-guarded-", None).expect("a guard");
    container.prepare(&request()).await.expect("prepared");
    let removed: Vec<_> = fake.asked().into_iter().filter(|it| it.starts_with("rm ")).collect();
    assert_eq!(removed, ["rm -f -v dead", "rm -f -v still"]);
    guard.end().await;
    container.teardown(&request()).await.expect("torn down");
}

#[tokio::test]
async fn a_daemon_that_is_away_for_a_moment_is_asked_again() {
    let away = "run*) [ -e \"$0.away\" ] || { touch \"$0.away\"; echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1; };;";
    let fake = Fake::failing("docker", "nothing", "", away);
    let container = Container::new(fake.config());
    let error = begin(&container).await.expect_err("it is away");
    assert_eq!(error.kind, ProviderErrorKind::Transient, "{error}");
    serve(&fake);
    assert_eq!(container.provision(&request(), 1).await.expect("a container").instances.len(), 1);
    container.teardown(&request()).await.expect("torn down");
}

#[tokio::test]
async fn a_runtime_whose_loopback_is_not_ours_is_refused() {
    let fake = Fake::good();
    let error = refused(&fake, fake.config()).await;
    assert_eq!(error.kind, ProviderErrorKind::Local);
    assert!(error.message.contains("DOCKER_HOST"), "{error}");
    assert!(fake.was_asked("rm -f"), "what cannot be reached is removed");
}

#[tokio::test]
async fn a_provision_that_nobody_waits_for_is_undone_by_the_next() {
    let slow = "exec*) [ -e \"$0.slow\" ] || { touch \"$0.slow\"; exec sleep 600; }; cat >/dev/null; echo 'ssh-ed25519 AAAA';;";
    let fake = Fake::failing("docker", "nothing", "", slow);
    let container = Container::new(fake.config());
    container.prepare(&request()).await.expect("prepared");
    let under_way = async {
        while !fake.binary.with_extension("slow").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let asked = request();
    tokio::select! {
        given = container.provision(&asked, 1) => panic!("{given:?}"),
        () = under_way => {}
    }
    let run = fake.asked().into_iter().find(|it| it.starts_with("run ")).expect("one was run");
    let name = run.split_whitespace().find(|it| it.starts_with("skyward-p1-")).expect("a name").to_owned();
    serve(&fake);
    container.provision(&request(), 1).await.expect("another");
    assert!(fake.was_asked(&format!("rm -f -v {name}")), "{:?}", fake.asked());
    container.teardown(&request()).await.expect("torn down");
}

#[tokio::test]
async fn a_network_that_stays_though_it_is_removed_is_named_in_the_end() {
    let stays = "'network ls'*) echo '{\"Name\":\"skyward-p1\",\"Labels\":\"skyward.pool=p1\"}';;";
    let fake = Fake::failing("docker", "nothing", "", stays);
    let left = Container::new(fake.config()).teardown(&request()).await.expect("torn down");
    assert!(left.iter().any(|it| it.reason.contains("is still there")), "{left:?}");
    assert_eq!(fake.asked().iter().filter(|it| it.starts_with("network rm")).count(), TRIES as usize);
}

#[tokio::test]
async fn a_list_that_is_not_understood_means_that_nothing_is_gone() {
    let fake = Fake::failing("docker", "nothing", "", "'network ls'*) echo 'WARNING: hello';;");
    let left = Container::new(fake.config()).teardown(&request()).await.expect("torn down");
    assert!(left.iter().any(|it| it.what.contains("network skyward-p1")), "{left:?}");
    let strange = Fake::failing("docker", "nothing", "", "'container inspect'*) echo '[{\"Other\":1}]';;");
    let described =
        Container::new(strange.config()).describe(&request(), &InstanceId::new("skyward-p1-x")).await;
    assert_eq!(described.expect_err("not understood").kind, ProviderErrorKind::Transient);
}

/// A file that passes for a program of Skyward.
fn worker_binary(fake: &Fake) -> PathBuf {
    let file = fake.folder.path().join("worker");
    std::fs::write(&file, "#!/bin/sh\n# SKYWARD_ROLE\n").expect("written");
    file
}

#[tokio::test]
async fn another_build_of_this_program_says_that_it_is_the_same_before_it_is_trusted() {
    let own = skyward_runtime::program::fingerprint().expect("no function twice");
    for (says, expected) in [
        ("skyward-fingerprint 9-abcdef", "its functions are 9-abcdef and ours are"),
        ("sh: 1: exec: /x: not found", "cannot run it (sh: 1: exec: /x: not found)"),
    ] {
        let fake = Fake::failing(
            "docker",
            "nothing",
            "",
            &format!("exec*) cat >/dev/null; echo '{says}'; exit 74;;"),
        );
        let error =
            refused(&fake, Config { worker_binary: Some(worker_binary(&fake)), ..fake.config() }).await;
        assert_eq!(error.kind, ProviderErrorKind::InvalidRequest);
        assert!(error.message.contains(expected), "{error}");
        assert!(fake.asked().iter().any(|it| it.contains(&own)), "it is asked");
        assert!(fake.was_asked("rm -f"), "what did not become a machine is removed");
    }
    let fake = Fake::good();
    for (file, expected) in [("/dev/null", "no program of Skyward"), ("/nowhere/x", "failed to read")] {
        let error = refused(&fake, Config { worker_binary: Some(file.into()), ..fake.config() }).await;
        assert!(error.message.contains(expected) && error.message.contains(file), "{error}");
    }
    assert!(!fake.was_asked("network create"), "nothing is made for a file that is none");
}
