//! Repair after a crash, and reclaiming after participants that exited, in all classes.

use crate::object::core::Core;
use crate::object::registry::RegistryGuard;
use crate::process::fork::Inside;
use crate::sys::file;
use crate::sys::path_buffer::PathBuffer;
use crate::types::error::Errno;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;

type Result<T> = std::result::Result<T, Errno>;

impl Core {
    /// Repairs the namespace after a process exited while it held the registry's lock.
    pub fn repair(&self, guard: &RegistryGuard<'_>) -> Result<()> {
        self.classes().for_each(|class| class.repair(guard));
        self.sweep_held(guard);
        Ok(())
    }

    /// Reclaims what participants that exited left, and frees memory that is kept for reuse.
    pub fn sweep(&self) -> Result<()> {
        let _inside = Inside::enter();
        let guard = self.lock()?;
        self.sweep_held(&guard);
        self.classes().for_each(|class| class.trim(&guard));
        self.sweep_names(&guard);
        Ok(())
    }

    /// Reclaims the attachments and undo records of participants that exited, then their slots.
    pub fn sweep_held(&self, guard: &RegistryGuard<'_>) {
        self.classes().for_each(|class| class.sweep(guard));
        self.participants.sweep_slots();
    }

    /// Removes stale names of keys. A name stays behind when the process that removed the object
    /// did not own the name.
    fn sweep_names(&self, guard: &RegistryGuard<'_>) {
        for name in self.entries("key") {
            let Some((class, key)) = name.split_once('.').and_then(|(class, key)| Some((class, key.get(..8)?))) else { continue };
            let Ok(key) = u32::from_str_radix(key, 16).map(|raw| Key::new(raw as i32)) else { continue };
            let class = Mechanism::ALL.into_iter().find(|of| of.name() == class).and_then(|of| self.class(of));
            if let Some(class) = class {
                class.drop_stale_names(guard, key);
            }
        }
    }

    /// Returns the names of the entries in one of the namespace's folders.
    pub fn entries(&self, folder: &str) -> Vec<String> {
        let folder = PathBuffer::new(self.directory(), format_args!("/{folder}"));
        let names = file::entries(folder.c_str()).unwrap_or_default();
        names.into_iter().filter_map(|name| name.into_string().ok()).collect()
    }
}
