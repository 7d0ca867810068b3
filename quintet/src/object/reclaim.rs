//! Reclaiming what participants that exited have left, in all classes.

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
    /// Repairs the namespace after the owner of the registry's lock exited while it held it.
    pub fn repair(&self, held: &RegistryGuard<'_>) -> Result<()> {
        self.classes().for_each(|class| class.repair(held));
        self.sweep_held(held);
        Ok(())
    }

    /// Reclaims what participants that exited have left, and gives back memory that is kept for reuse.
    pub fn sweep(&self) -> Result<()> {
        let _inside = Inside::enter();
        let held = self.lock()?;
        self.sweep_held(&held);
        self.classes().for_each(|class| class.trim(&held));
        self.sweep_names(&held);
        Ok(())
    }

    /// Reclaims what participants that exited have left in the objects, and their slots.
    pub fn sweep_held(&self, held: &RegistryGuard<'_>) {
        self.classes().for_each(|class| class.sweep(held));
        self.participants.sweep_slots();
    }

    /// Removes names of keys that stayed behind because the process that ended their objects did not
    /// own them.
    fn sweep_names(&self, held: &RegistryGuard<'_>) {
        for name in self.entries("key") {
            let Some((class, key)) = name.split_once('.').and_then(|(class, key)| Some((class, key.get(..8)?))) else { continue };
            let Ok(key) = u32::from_str_radix(key, 16).map(|raw| Key::new(raw as i32)) else { continue };
            let class = Mechanism::ALL.into_iter().find(|of| of.name() == class).and_then(|of| self.class(of));
            if let Some(class) = class {
                class.drop_stale_names(held, key);
            }
        }
    }

    /// Returns the names in one of the namespace's folders.
    pub fn entries(&self, folder: &str) -> Vec<String> {
        let folder = PathBuffer::new(self.directory(), format_args!("/{folder}"));
        let names = file::entries(folder.c_str()).unwrap_or_default();
        names.into_iter().filter_map(|name| name.into_string().ok()).collect()
    }
}
