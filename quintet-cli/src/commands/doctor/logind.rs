//! The setting `RemoveIPC=` of systemd-logind, which removes objects when their owner logs out.

use super::finding::Finding;
use crate::system::users::Users;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directories of the settings. Later ones override earlier ones.
const DIRECTORIES: [&str; 4] = ["/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd"];

/// Examines whether the files of user `uid` in `dir` survive a logout.
pub fn examine(dir: &Path, uid: u32) -> Finding {
    let survives = |reason: String| Finding::ok("logout", format!("objects survive a logout: {reason}"));
    let user = Users::load().name(uid);
    if !dir.starts_with("/dev/shm") {
        return survives("the namespace is not under /dev/shm".to_owned());
    }
    if !Path::new("/run/systemd/seats").exists() {
        return survives("systemd-logind is not running".to_owned());
    }
    if uid <= last_system_user(&std::fs::read_to_string("/etc/login.defs").unwrap_or_default()) {
        return survives(format!("{user} is a system user"));
    }
    if Path::new("/var/lib/systemd/linger").join(&user).exists() {
        return survives(format!("{user} lingers (loginctl enable-linger)"));
    }
    if !removes(&settings()) {
        return survives("RemoveIPC=no is set".to_owned());
    }
    Finding::warn(
        "logout",
        format!("systemd-logind removes all files of {user} under /dev/shm when the last session ends (RemoveIPC=yes)"),
        format!("run 'loginctl enable-linger {user}' as root, or use a namespace outside /dev/shm"),
    )
}

/// Returns the highest user id of a system user. systemd-logind keeps the files of system users.
fn last_system_user(login_defs: &str) -> u32 {
    let value = login_defs.lines().find_map(|line| line.strip_prefix("SYS_UID_MAX")?.trim().parse().ok());
    value.unwrap_or(999)
}

/// Returns the contents of all settings files, in the order in which they take effect.
fn settings() -> Vec<String> {
    let main = DIRECTORIES.iter().rev().map(|d| Path::new(d).join("logind.conf")).find(|p| p.exists());
    let mut parts: BTreeMap<_, PathBuf> = BTreeMap::new();
    for directory in DIRECTORIES {
        for entry in std::fs::read_dir(Path::new(directory).join("logind.conf.d")).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().ends_with(b".conf") {
                parts.insert(entry.file_name(), entry.path());
            }
        }
    }
    main.into_iter().chain(parts.into_values()).filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Returns the value of `RemoveIPC=`, which is on by default.
fn removes(settings: &[String]) -> bool {
    let mut removes = true;
    for line in settings.iter().flat_map(|text| text.lines()) {
        if let Some((name, value)) = line.split_once('=')
            && name.trim() == "RemoveIPC"
        {
            removes = !matches!(value.trim().to_ascii_lowercase().as_str(), "no" | "false" | "0" | "off" | "n" | "f");
        }
    }
    removes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_setting_counts() {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert!(removes(&[]));
        assert!(removes(&texts(&["[Login]\n#RemoveIPC=no\n"])));
        assert!(!removes(&texts(&["[Login]\nRemoveIPC=yes\n", "[Login]\n RemoveIPC = no\n"])));
    }

    #[test]
    fn login_defs_sets_the_last_system_user() {
        assert_eq!(last_system_user("SYS_UID_MIN 101\nSYS_UID_MAX   499\n"), 499);
        assert_eq!(last_system_user("#SYS_UID_MAX 5\n"), 999);
    }

    #[test]
    fn nothing_is_removed_outside_dev_shm() {
        assert!(examine(Path::new("/srv/ipc"), 1000).message.contains("not under /dev/shm"));
    }
}
