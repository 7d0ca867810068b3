//! The three classes of objects.

/// A class of objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    Shm = 0,
    Sem = 1,
    Msg = 2,
}

impl Mechanism {
    pub const ALL: [Mechanism; 3] = [Mechanism::Shm, Mechanism::Sem, Mechanism::Msg];

    /// The name of the folder, and of the class in a key's name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Shm => "shm",
            Mechanism::Sem => "sem",
            Mechanism::Msg => "msg",
        }
    }
}
