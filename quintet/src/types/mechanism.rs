//! The three classes of objects.

/// A class of objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// Shared memory segments.
    Shm = 0,
    /// Semaphore sets.
    Sem = 1,
    /// Message queues.
    Msg = 2,
}

impl Mechanism {
    /// All classes.
    pub const ALL: [Mechanism; 3] = [Mechanism::Shm, Mechanism::Sem, Mechanism::Msg];

    /// Returns the name of the class's folder, which is also the class in a key's name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Shm => "shm",
            Mechanism::Sem => "sem",
            Mechanism::Msg => "msg",
        }
    }
}
