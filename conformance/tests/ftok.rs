//! ftok(3), clause by clause.

use conformance::*;
use std::os::unix::fs::{MetadataExt, symlink};

/// glibc's key of a file: 16 bits of the inode, 8 bits of the device, 8 bits of the project.
fn expected(path: &std::path::Path, project: i32) -> i32 {
    let file = path.metadata().unwrap();
    ((file.ino() & 0xffff) | (file.dev() & 0xff) << 16) as i32 | project << 24
}

clauses! {
    /// "uses the identity of the file named by pathname and the least significant 8 bits of
    /// proj_id".
    fn identity_and_project(world) {
        let a = world.agent();
        for path in ["/", "/dev/null", "/proc/self"] {
            for project in [1, 'q' as i32, 255, 256, 257, -1, 0] {
                let key = a.ftok(path, project).unwrap();
                if path != "/proc/self" {
                    assert_eq!(key, expected(path.as_ref(), project), "{path} {project}");
                }
                assert_eq!(key >> 24, (project << 24) >> 24);
            }
        }
    }

    /// "The resulting value is the same for all pathnames that name the same file".
    fn same_file(world) {
        let a = world.agent();
        let file = world.directory().join("file");
        std::fs::write(&file, "").unwrap();
        let (hard, soft) = (world.directory().join("hard"), world.directory().join("soft"));
        std::fs::hard_link(&file, &hard).unwrap();
        symlink(&file, &soft).unwrap();
        let key = a.ftok(file.to_str().unwrap(), 7).unwrap();
        assert_eq!(a.ftok(hard.to_str().unwrap(), 7), Ok(key));
        assert_eq!(a.ftok(soft.to_str().unwrap(), 7), Ok(key));
        assert_eq!(a.ftok(soft.to_str().unwrap(), 7 + 256), Ok(key));
        assert_ne!(a.ftok(soft.to_str().unwrap(), 8), Ok(key));
    }

    /// "On failure -1 is returned, with errno indicating the error as for the stat(2) system call."
    fn errors_of_stat(world) {
        let a = world.agent();
        assert_eq!(a.ftok("/nonexistent/file", 1), Err(Errno::NOENT));
        assert_eq!(a.ftok("/dev/null/file", 1), Err(Errno::NOTDIR));
        assert_eq!(a.ftok(&format!("/{}", "x".repeat(300)), 1), Err(Errno::NAMETOOLONG));
        let circle = world.directory().join("circle");
        symlink(&circle, &circle).unwrap();
        assert_eq!(a.ftok(circle.to_str().unwrap(), 1), Err(Errno::LOOP));
    }

    /// The file need not be readable, but its directory must be searchable.
    fn permissions(world) {
        use std::os::unix::fs::PermissionsExt;
        let a = world.ordinary();
        let folder = world.directory().join("folder");
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("file");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(a.ftok(file.to_str().unwrap(), 1), Ok(expected(&file, 1)));
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(a.ftok(file.to_str().unwrap(), 1), Err(Errno::ACCES));
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}
