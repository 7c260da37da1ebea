//! Whether a folder is on another computer, where neither locks nor shared memory can be relied on.

use std::path::Path;

/// What the network file system is called that a folder is on; nothing for a disk of this computer.
#[cfg(target_os = "linux")]
pub(super) fn kind(folder: &Path) -> Option<&'static str> {
    let told = rustix::fs::statfs(folder).ok()?;
    // Its sign and its width differ from processor to processor, the number does not.
    named(u32::try_from(i128::from(told.f_type) & 0xffff_ffff).ok()?)
}

/// Other systems do not say it by a number. SQLite refuses where there is no shared memory.
#[cfg(not(target_os = "linux"))]
pub(super) const fn kind(_: &Path) -> Option<&'static str> {
    None
}

/// The numbers by which Linux knows file systems whose files are on other computers.
#[cfg(any(target_os = "linux", test))]
const fn named(number: u32) -> Option<&'static str> {
    Some(match number {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x7461_636f => "OCFS2",
        0x0116_1970 => "GFS2",
        _ => return None,
    })
}

#[test]
fn file_systems_of_other_computers_are_known_and_disks_are_none() {
    // ext4, XFS, Btrfs, tmpfs, overlay, ZFS: those of this computer.
    for own in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1] {
        assert_eq!(named(own), None, "{own:x}");
    }
    assert_eq!((named(0x6969), named(0xff53_4d42)), (Some("NFS"), Some("SMB")));
    let folder = std::path::PathBuf::from("/home/me/.local/state/skyward");
    let told = super::JournalError::Elsewhere { folder, kind: "NFS" }.to_string();
    assert!(told.contains("(NFS)") && told.contains("set XDG_STATE_HOME to a folder on a disk"), "{told}");
}
