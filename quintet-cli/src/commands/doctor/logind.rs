//! Whether systemd-logind removes the objects when their user logs out: `RemoveIPC=`.

use super::finding::Finding;
use crate::users::Users;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the settings are, the less important first.
const DIRECTORIES: [&str; 4] = ["/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd"];

/// Examines whether what `uid` has in `dir` is safe.
pub fn examine(dir: &Path, uid: u32) -> Finding {
    let safe = |why: String| Finding::ok("logout", format!("objects outlive a logout: {why}"));
    let user = Users::load().name(uid);
    if !dir.starts_with("/dev/shm") {
        return safe("the namespace is not under /dev/shm".to_owned());
    }
    if !Path::new("/run/systemd/seats").exists() {
        return safe("systemd-logind does not run here".to_owned());
    }
    if uid <= last_system_user(&std::fs::read_to_string("/etc/login.defs").unwrap_or_default()) {
        return safe(format!("{user} is a system user"));
    }
    if Path::new("/var/lib/systemd/linger").join(&user).exists() {
        return safe(format!("{user} lingers (loginctl enable-linger)"));
    }
    if !removes(&settings()) {
        return safe("RemoveIPC=no is set".to_owned());
    }
    Finding::warn(
        "logout",
        format!("systemd-logind removes all files of {user} under /dev/shm when the last session ends (RemoveIPC=yes)"),
        format!(
            "as root: 'loginctl enable-linger {user}', or RemoveIPC=no in /etc/systemd/logind.conf; or use a namespace elsewhere"
        ),
    )
}

fn last_system_user(login_defs: &str) -> u32 {
    let value = login_defs.lines().find_map(|line| line.strip_prefix("SYS_UID_MAX")?.trim().parse().ok());
    value.unwrap_or(999)
}

/// The texts of all settings files, in the order in which they take effect.
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
    fn system_users_are_those_of_login_defs() {
        assert_eq!(last_system_user("SYS_UID_MIN 101\nSYS_UID_MAX   499\n"), 499);
        assert_eq!(last_system_user("#SYS_UID_MAX 5\n"), 999);
    }

    #[test]
    fn elsewhere_nothing_is_removed() {
        assert!(examine(Path::new("/srv/ipc"), 1000).message.contains("not under /dev/shm"));
    }
}
