//! Files and folders to and from real local nodes, and artifacts of tasks.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skyward::prelude::*;
use skyward::{Artifact, FileError, FileTrouble};
use skyward_tests::{Ground, below, builder, desk, end, until};

const SOON: Duration = Duration::from_secs(40);

/// More than a link's windows, which are its own memory: what is left in memory beyond them shows.
const LARGE: u64 = 256 << 20;

#[skyward::function]
fn read(path: PathBuf) -> Result<(Vec<u8>, u32), Failure> {
    let mode = fs::metadata(&path)?.permissions().mode();
    Ok((fs::read(path)?, mode & 0o111))
}

#[skyward::function]
fn write(path: PathBuf, content: Vec<u8>) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, content)?)
}

#[skyward::function]
fn write_zeros(path: PathBuf, length: u64) -> Result<(), Failure> {
    Ok(fs::File::create(path)?.set_len(length)?)
}

#[skyward::function]
fn link(path: PathBuf, target: PathBuf) -> Result<(), Failure> {
    Ok(symlink(target, path)?)
}

/// Everything below a directory of the node.
#[skyward::function]
fn listed(directory: PathBuf) -> Vec<PathBuf> {
    below(&directory)
}

/// The most memory that the worker ever had, in bytes.
#[skyward::function]
fn most_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[skyward::function]
fn train(seed: u8) -> Result<Artifact, Failure> {
    fs::create_dir_all("out")?;
    fs::write("out/model.bin", vec![seed; 1 << 20])?;
    Ok(Artifact::file("out/model.bin")?)
}

/// Bytes that no two places of which look the same.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn trouble<T: std::fmt::Debug>(result: Result<T, FileError>) -> (Option<u32>, FileTrouble) {
    let error = result.expect_err("trouble");
    (error.rank.map(|it| it.0), error.trouble)
}

#[skyward::test]
async fn a_file_goes_to_every_node_and_comes_back_from_each() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("file"), desk("file")?);
    let compute = builder(&ground).nodes(2).start().await?;
    let local = desk.path().join("tool");
    let bytes = content((3 << 20) + 17);
    fs::write(&local, &bytes)?;
    fs::set_permissions(&local, fs::Permissions::from_mode(0o755))?;
    let sent = compute.upload(&local, "bin/deep/tool").await?;
    assert_eq!((sent.files, sent.bytes), (2, 2 * bytes.len() as u64));
    for (found, executable) in (read("bin/deep/tool".into()) * &compute).await? {
        assert!(found == bytes && executable == 0o111);
    }
    // To one node only, empty, not executable.
    let empty = desk.path().join("empty");
    fs::write(&empty, "")?;
    compute.node(1).upload(&empty, "empty").await?;
    assert_eq!((read("empty".into()) >> compute.node(1)).await?, (vec![], 0));
    assert!((read("empty".into()) >> compute.node(0)).await.is_err());
    // Back again.
    let back = desk.path().join("back");
    let got = compute.download("bin/deep/tool", &back).await?;
    assert_eq!((got.files, got.bytes), (2, 2 * bytes.len() as u64));
    assert_eq!(below(&back).len(), 4);
    for rank in ["0", "1"] {
        let tool = back.join(rank).join("tool");
        assert!(fs::read(&tool)? == bytes);
        assert_eq!(fs::metadata(&tool)?.permissions().mode() & 0o111, 0o111);
    }
    let one = desk.path().join("new/folder/one");
    assert_eq!(compute.head().download("bin/deep/tool", &one).await?.files, 1);
    assert!(fs::read(&one)? == bytes);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_folder_is_merged_into_what_is_there() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("folder"), desk("folder")?);
    let compute = builder(&ground).start().await?;
    let local = desk.path().join("data");
    fs::create_dir_all(local.join("sub/empty"))?;
    fs::write(local.join("a"), "new a")?;
    fs::write(local.join("sub/b"), "b")?;
    symlink("../a", local.join("sub/to-a"))?;
    (write("corpus/a".into(), b"old a, which is longer".to_vec()) >> &compute).await?;
    (write("corpus/kept".into(), b"kept".to_vec()) >> &compute).await?;
    assert_eq!(compute.upload(&local, "corpus").await?.files, 2);
    let expected = ["a", "kept", "sub", "sub/b", "sub/empty", "sub/to-a"];
    let there = (listed("corpus".into()) >> &compute).await?;
    assert_eq!(there, expected.map(|it| Path::new("corpus").join(it)));
    assert_eq!((read("corpus/a".into()) >> &compute).await?.0, b"new a");
    assert_eq!((read("corpus/sub/to-a".into()) >> &compute).await?.0, b"new a");
    // Into the worker's directory itself, and back into a folder with something in it.
    compute.upload(&local, ".").await?;
    assert_eq!((read("sub/b".into()) >> &compute).await?.0, b"b");
    let back = desk.path().join("back");
    fs::create_dir(&back)?;
    fs::write(back.join("mine"), "mine")?;
    assert_eq!(compute.head().download("corpus", &back).await?.files, 3);
    let expected = ["a", "kept", "mine", "sub", "sub/b", "sub/empty", "sub/to-a"];
    assert_eq!(below(&back), expected.map(|it| back.join(it)));
    assert_eq!(fs::read_link(back.join("sub/to-a"))?, Path::new("../a"));
    end(compute, &ground).await
}

#[skyward::test]
async fn paths_outside_of_the_workers_directory_are_refused_both_ways() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("outside"), desk("outside")?);
    let compute = builder(&ground).start().await?;
    let local = desk.path().join("x");
    fs::write(&local, "x")?;
    (link("out".into(), "..".into()) >> &compute).await?;
    let absolute = desk.path().join("absolute").display().to_string();
    for path in ["../x", "a/../../x", "/tmp/x", &absolute, "out/x"] {
        let sent = compute.upload(&local, path).await;
        assert_eq!(trouble(sent), (Some(0), FileTrouble::Outside), "upload to {path}");
    }
    for path in ["../worker.log", "out/worker.log", "/etc/hostname", "a/../.."] {
        let got = compute.head().download(path, desk.path().join("got")).await;
        assert_eq!(trouble(got), (Some(0), FileTrouble::Outside), "download of {path}");
    }
    assert_eq!(below(desk.path()), [local]);
    end(compute, &ground).await
}

#[skyward::test]
async fn trouble_is_told_with_where_and_which_file() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("trouble"), desk("trouble")?);
    let compute = builder(&ground).nodes(2).start().await?;
    let at = |it: &str| desk.path().join(it);
    fs::write(at("x"), "x")?;
    fs::create_dir_all(at("folder/sub"))?;
    symlink("/etc/hostname", at("folder/sub/leaves"))?;
    let _socket = std::os::unix::net::UnixListener::bind(at("socket"))?;
    (write("there/x".into(), vec![1]) * &compute).await?;

    let missing = compute.upload(at("nowhere"), "x").await.expect_err("missing");
    assert!(missing.to_string().contains("nowhere") && missing.rank.is_none(), "{missing}");
    assert_eq!(trouble(compute.upload(at("nowhere"), "x").await), (None, FileTrouble::Missing));
    assert_eq!(trouble(compute.upload(at("socket"), "x").await), (None, FileTrouble::Special));
    let leaves = FileTrouble::LeavesFolder { target: "/etc/hostname".into() };
    assert_eq!(trouble(compute.upload(at("folder"), "x").await), (None, leaves));
    assert_eq!(trouble(compute.node(1).upload(at("x"), "there").await), (Some(1), FileTrouble::IsFolder));
    let below_file = compute.node(1).upload(at("x"), "there/x/y").await;
    assert_eq!(trouble(below_file), (Some(1), FileTrouble::NotAFolder));
    assert_eq!(trouble(compute.node(7).upload(at("x"), "x").await), (Some(7), FileTrouble::NoSuchNode));

    let missing = compute.node(1).download("out/model", at("got")).await.expect_err("missing");
    assert_eq!(
        missing.to_string(),
        "node 1: \"out/model\": there is no such file or folder: correct the path"
    );
    let into_folder = compute.head().download("there/x", at("folder")).await;
    assert_eq!(trouble(into_folder), (None, FileTrouble::IsFolder));
    let over_file = compute.head().download("there", at("x")).await;
    assert_eq!(trouble(over_file), (None, FileTrouble::NotAFolder));
    let into_device = compute.head().download("there/x", "/dev/null").await;
    assert_eq!(trouble(into_device), (None, FileTrouble::Special));
    assert_eq!(fs::read_to_string(at("x"))?, "x");
    // The nodes go on.
    assert_eq!((read("there/x".into()) * &compute).await?.len(), 2);
    end(compute, &ground).await
}

#[skyward::test]
async fn a_transfer_that_is_dropped_leaves_no_half_file() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("dropped"), desk("dropped")?);
    let compute = builder(&ground).start().await?;
    let (large, got) = (desk.path().join("large"), desk.path().join("got/large"));
    fs::File::create(&large)?.set_len(64 << 30)?;
    (write("large".into(), b"old".to_vec()) >> &compute).await?;
    // It is dropped when its draft is there, so it is in the middle.
    let drafts = async |wanted: bool| {
        while ((listed(".".into()) >> &compute).await?.len() > 1) != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, skyward::Error>(())
    };
    tokio::select! {
        sent = compute.upload(&large, "large") => panic!("{sent:?}"),
        seen = tokio::time::timeout(SOON, drafts(true)) => seen.expect("it begins")?,
    }
    tokio::time::timeout(SOON, drafts(false)).await.expect("the draft is removed")?;
    assert_eq!((read("large".into()) >> &compute).await?.0, b"old");

    (write_zeros("huge".into(), 64 << 30) >> &compute).await?;
    let folder = got.parent().expect("below the desk").to_owned();
    let begun = async || {
        while below(&folder).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let node = compute.head();
    tokio::select! {
        done = node.download("huge", &got) => panic!("{done:?}"),
        seen = tokio::time::timeout(SOON, begun()) => seen.expect("it begins"),
    }
    let emptied =
        tokio::task::spawn_blocking(move || until(SOON, || below(&folder).is_empty().then_some(())));
    emptied.await?.expect("the draft is removed");
    end(compute, &ground).await
}

#[skyward::test]
async fn a_large_file_passes_through_little_memory_and_holds_up_no_call() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("memory"), desk("memory")?);
    let compute = builder(&ground).start().await?;
    let (large, got) = (desk.path().join("large"), desk.path().join("got"));
    fs::File::create(&large)?.set_len(LARGE)?;
    let before = (most_memory() >> &compute).await?.expect("Linux tells");
    let transfers = async {
        assert_eq!(compute.upload(&large, "large").await?.bytes, LARGE);
        assert_eq!(compute.head().download("large", &got).await?.bytes, LARGE);
        Ok::<_, FileError>(())
    };
    let mut slowest = Duration::ZERO;
    let mut calls = 0;
    let mut calling = async || -> skyward::Result<()> {
        loop {
            let begun = std::time::Instant::now();
            (most_memory() >> &compute).await?;
            slowest = slowest.max(begun.elapsed());
            calls += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        done = transfers => done?,
        failed = calling() => failed?,
    }
    assert!(calls > 0 && slowest < Duration::from_secs(10), "{calls} calls, the slowest {slowest:?}");
    let grown = (most_memory() >> &compute).await?.expect("Linux tells").saturating_sub(before);
    assert!(grown < LARGE / 2, "the worker grew by {grown} bytes");
    assert_eq!(fs::metadata(&got)?.len(), LARGE);
    end(compute, &ground).await
}

#[skyward::test]
async fn an_artifact_is_fetched_from_its_node_and_only_as_it_was() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("artifact"), desk("artifact")?);
    let compute = builder(&ground).nodes(2).start().await?;
    let artifact = (train(7) >> compute.node(1)).await?;
    assert_eq!((artifact.rank().0, artifact.bytes()), (1, 1 << 20));
    assert_eq!(artifact.path(), Path::new("out/model.bin"));
    let local = desk.path().join("models/final.bin");
    assert_eq!(compute.fetch(&artifact, &local).await?.bytes, 1 << 20);
    assert!(fs::read(&local)? == vec![7; 1 << 20]);
    // Another run wrote another file of the same size under the same name.
    let newer = (train(8) >> compute.node(1)).await?;
    assert_eq!(trouble(compute.fetch(&artifact, &local).await), (Some(1), FileTrouble::Changed));
    assert!(fs::read(&local)? == vec![7; 1 << 20]);
    assert_eq!(below(desk.path()).len(), 2);
    compute.fetch(&newer, &local).await?;
    assert!(fs::read(&local)? == vec![8; 1 << 20]);
    end(compute, &ground).await?;

    let ground = Ground::new("artifact-gone");
    let other = builder(&ground).start().await?;
    let (rank, gone) = trouble(other.fetch(&newer, &local).await);
    assert!(rank.is_none() && matches!(gone, FileTrouble::Gone { .. }), "{gone:?}");
    end(other, &ground).await
}

#[skyward::test]
async fn an_included_folder_arrives_without_what_its_ignore_files_name() -> skyward::Result<()> {
    let (ground, desk) = (Ground::new("include"), desk("include")?);
    let project = desk.path().join("project");
    fs::create_dir_all(project.join(".git"))?;
    fs::create_dir_all(project.join("src"))?;
    for (file, content) in [
        (".git/HEAD", "ref"),
        (".gitignore", "*.log\n"),
        (".skywardignore", "raw.bin\n"),
        ("src/a.rs", "a"),
        ("src/a.log", "a"),
        ("raw.bin", "raw"),
    ] {
        fs::write(project.join(file), content)?;
    }
    let compute = builder(&ground).image(Image::new().include(&project)).start().await?;
    let expected = ["", ".gitignore", ".skywardignore", "src", "src/a.rs"];
    let there = (listed(".".into()) >> &compute).await?;
    assert_eq!(there, expected.map(|it| Path::new("./project").join(it)));
    end(compute, &ground).await
}

#[skyward::test]
async fn a_transfer_to_a_pool_that_was_given_back_says_so() -> skyward::Result<()> {
    let ground = Ground::new("given-back");
    let compute = builder(&ground).start().await?;
    let node = compute.head();
    end(compute, &ground).await?;
    let late = node.upload("Cargo.toml", "x").await;
    assert_eq!(trouble(late), (Some(0), FileTrouble::NoSuchNode));
    Ok(())
}
