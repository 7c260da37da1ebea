//! What programs print, as it was seen, and what is read from it.

use skyward_runtime::usd;

use super::*;

#[test]
fn what_the_ssh_client_tells_of_a_host_is_read_and_too_little_is_none() {
    let said = "user me\nhostname 10.0.0.7\nport 2222\nidentitiesonly yes\nidentityfile /k/one\nidentityfile /k/two\n\
                stricthostkeychecking accept-new\nproxyjump near,me@far:23\nproxycommand none\nhostkeyalias lab\n\
                userknownhostsfile /k/a /k/b\nglobalknownhostsfile /etc/ssh/ssh_known_hosts\nidentityagent none\n";
    let read = settings(said).expect("a host");
    assert_eq!((read.host.as_str(), read.port, read.user.as_str()), ("10.0.0.7", 2222, "me"));
    assert_eq!(read.identity_files, [PathBuf::from("/k/one"), PathBuf::from("/k/two")]);
    assert!(read.identities_only && read.accepts_new && read.proxy_command.is_none());
    assert_eq!(read.jump.as_deref(), Some("near,me@far:23"));
    assert_eq!((read.known_as(), read.known_hosts.len()), ("lab".to_owned(), 3));
    assert_eq!(read.agent(Some("/agent".into())), None);
    let plain = settings("hostname h\nport 22\nuser me\nstricthostkeychecking ask\n").expect("a host");
    assert_eq!((plain.known_as().as_str(), plain.accepts_new), ("h", false));
    assert_eq!(plain.agent(Some("/agent".into())), Some("/agent".into()));
    let odd = settings("hostname h\nport 2222\nuser me\n").expect("a host");
    assert_eq!(odd.known_as(), "[h]:2222");
    for too_little in ["", "hostname h\n", "hostname h\nuser me\nport x\n", "hostname h\nuser me\n"] {
        assert_eq!(settings(too_little), None, "{too_little:?}");
    }
}

#[test]
fn keys_of_a_list_are_read_and_a_revoked_one_is_heard_of() {
    let said = "# Host h found: line 1\nh ssh-ed25519 AAAA1 a comment\n# Host h found: line 2\n|1|x=|y= ssh-rsa AAAA2\n";
    assert_eq!(known(said), Known::Keys(vec!["ssh-ed25519 AAAA1".into(), "ssh-rsa AAAA2".into()]));
    assert_eq!(known("@cert-authority *.h ssh-ed25519 AAAA\n"), Known::Keys(Vec::new()));
    assert_eq!(known("h ssh-rsa AAAA\n@revoked h ssh-ed25519 AAAA1\n"), Known::Revoked);
    assert_eq!(known(""), Known::Keys(Vec::new()));
}

#[test]
fn a_host_tells_what_it_has_for_each_of_its_machines() {
    let said = "Welcome!\nskyward system Linux\nskyward processor x86_64\nskyward vcpus 16\n\
                skyward memory_kb 65536000\nskyward disk_kb 500000000\n\
                skyward nvidia NVIDIA A100-SXM4-80GB, 81920\nskyward nvidia NVIDIA A100-SXM4-80GB, 81920\n";
    let whole = probed(said, 1).expect("a host");
    assert_eq!((whole.vcpus, whole.memory_mb, whole.disk_gb), (16, 67_108, Some(512)));
    assert_eq!(whole.architecture, Some(Architecture::X86_64));
    let accelerator = whole.accelerator.expect("accelerators");
    assert_eq!((accelerator.name.as_str(), accelerator.count.whole()), ("A100", Some(2)));
    assert_eq!(accelerator.memory_mib, Some(81_920));
    let half = probed(said, 2).expect("a host");
    assert_eq!((half.vcpus, half.accelerator.and_then(|it| it.count.whole())), (8, Some(1)));
    let amd = r#"skyward amd {"card0": {"Card Series": "AMD Instinct MI300X", "VRAM Total Memory (B)": "206141652992"}}"#;
    let amd = probed(&format!("skyward system Linux\n{amd}\n"), 1).expect("a host").accelerator;
    assert_eq!(amd.expect("an accelerator").memory_mib, Some(196_592));
    assert_eq!(probed("skyward system Linux\nskyward amd \n", 1).expect("a host").accelerator, None);
    for refused in ["", "skyward system Darwin\n"] {
        assert!(probed(refused, 1).expect_err("no Linux").contains("only Linux"), "{refused:?}");
    }
}

#[test]
fn hosts_that_differ_a_little_are_offered_together_as_the_least_of_them() {
    let host = |name: &str, vcpus, memory_mb, hourly| Found {
        name: name.to_owned(),
        slots: 1,
        hourly,
        kind: InstanceType { vcpus, memory_mb, ..InstanceType::default() },
    };
    let free = usd!(0);
    let all = [
        host("a", 8, 16_000, free),
        host("b", 16, 64_000, free),
        host("c", 8, 16_500, free),
        host("d", 8, 16_000, usd!(1)),
    ];
    let told: Vec<_> = offers(&all)
        .into_iter()
        .map(|it| (it.specific.get(HOSTS).cloned().unwrap_or_default(), it.stock, it.instance_type.memory_mb))
        .collect();
    let expected = [("a b c", 3, 16_000), ("b c", 2, 16_500), ("b", 1, 64_000), ("d", 1, 16_000)];
    assert_eq!(told, expected.map(|(names, stock, memory)| (names.to_owned(), Some(stock), memory)));
    let ids: Vec<_> = offers(&all).into_iter().map(|it| it.id).collect();
    assert_eq!(ids, ["0000", "0001", "0002", "0003"]);
}

#[test]
fn an_answer_is_the_last_line_that_is_ours() {
    assert_eq!(answer("motd\nskyward machine 7 /home/me/x y\nbye\n"), Some(("machine", "7 /home/me/x y")));
    assert_eq!(answer("skyward gone\n"), Some(("gone", "")));
    assert_eq!(answer("bash: sh: command not found\n"), None);
}

#[test]
fn a_shell_can_read_what_is_written_for_it() {
    let shared = concat!(include_str!("sh/lock.sh"), include_str!("sh/clear.sh"));
    for script in [
        include_str!("sh/enter.sh"),
        include_str!("sh/guard.sh"),
        include_str!("sh/leave.sh"),
        include_str!("sh/look.sh"),
        include_str!("sh/probe.sh"),
    ] {
        let script = format!("{shared}{script}");
        let read = std::process::Command::new("sh").args(["-n", "-c", &script]).status().expect("a shell");
        assert!(read.success(), "{script}");
    }
}
