//! Disks that can be full: file systems in memory whose size shrinks to what is on them.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ChaosError;

/// Room on a disk, in MiB. Memory is used for what is really there.
const SIZE_MIB: u64 = 4096;

/// A file system of its own, unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    mount_point: PathBuf,
}

impl Disk {
    /// Mounts one. Fails where mounting is not allowed.
    pub fn mount() -> Result<Self, ChaosError> {
        // Directly below the folder for temporary files: the database's own user must get there.
        let dir = tempfile::Builder::new()
            .prefix("headcount-disk-")
            .tempdir()
            .map_err(ChaosError::io("a mount point"))?
            .keep();
        let size = format!("size={SIZE_MIB}m");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "headcount-chaos"], &dir);
        if let Err(error) = mounted {
            let _ = std::fs::remove_dir(&dir);
            return Err(error);
        }
        Ok(Self { mount_point: dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Takes away all room that is left, and makes sure that nothing more can be written.
    pub fn fill(&self) -> Result<(), ChaosError> {
        // What is there grows meanwhile, and a size below it is refused.
        for _ in 0..20 {
            if run("mount", &["-o", &self.remount(self.used_kib()?)], &self.mount_point).is_ok()
                && self.is_full()?
            {
                return Ok(());
            }
        }
        Err(ChaosError::Other(format!("{} could not be filled", self.mount_point.display())))
    }

    /// Gives the room back.
    pub fn free(&self) -> Result<(), ChaosError> {
        run("mount", &["-o", &self.remount(SIZE_MIB * 1024)], &self.mount_point)
    }

    fn remount(&self, size_kib: u64) -> String {
        format!("remount,size={size_kib}k")
    }

    fn used_kib(&self) -> Result<u64, ChaosError> {
        let stat = nix::sys::statvfs::statvfs(&self.mount_point)
            .map_err(|error| ChaosError::io("statvfs")(error.into()))?;
        let used_blocks = stat.blocks() - stat.blocks_free();
        Ok((used_blocks * stat.fragment_size()).div_ceil(1024))
    }

    fn is_full(&self) -> Result<bool, ChaosError> {
        let probe = self.mount_point.join("probe");
        let written = File::create(&probe).and_then(|mut file| file.write_all(&[0; 64 << 10]));
        let _ = std::fs::remove_file(&probe);
        match written {
            Ok(()) => Ok(false),
            Err(error) if error.kind() == ErrorKind::StorageFull => Ok(true),
            Err(error) => Err(ChaosError::io(probe.display().to_string())(error)),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there must not keep it.
        match run("umount", &["-l"], &self.mount_point) {
            Ok(()) => drop(std::fs::remove_dir(&self.mount_point)),
            Err(error) => tracing::warn!(%error, "a disk stays mounted"),
        }
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<(), ChaosError> {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.map_err(ChaosError::io(program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ChaosError::Other(format!("{program}: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_full_and_has_room_again() {
        let disk = match Disk::mount() {
            Ok(disk) => disk,
            Err(error) => return eprintln!("SKIPPED: {error}"),
        };
        let file = disk.path().join("file");
        std::fs::write(&file, [1; 100_000]).expect("there is room");
        disk.fill().expect("fills");
        std::fs::write(disk.path().join("more"), [1; 100_000]).expect_err("there is none");
        disk.free().expect("frees");
        std::fs::write(disk.path().join("more"), [1; 100_000]).expect("there is room again");
        let path = disk.path().to_owned();
        drop(disk);
        assert!(!path.exists());
    }
}
