//! Naming an object on the command line: `ID`, `key:0x4d2`, `shm:ID`, `shm:key:0x4d2`, and so with `sem:` and `msg:`.

use crate::failure::Failure;
use quintet::{Errno, Id, Key, Namespace, QueueStatus, Segment, SegmentStatus, SemaphoreSet, SetStatus};
use std::fmt;
use std::str::FromStr;

/// What `--help` says of an OBJECT.
pub const HELP: &str = "ID or key:KEY of a segment; sem:ID or sem:key:KEY of a semaphore set; msg:ID or msg:key:KEY of a message \
                        queue (shm: of a segment, too)";

/// What `--help` says of an OBJECT that must be a segment.
pub const SEGMENT_HELP: &str = "ID or key:KEY of a segment";

/// What `--help` says of a SET.
pub const SET_HELP: &str = "ID or key:KEY of the set (sem:ID and sem:key:KEY, too)";

/// What `--help` says of a QUEUE.
pub const QUEUE_HELP: &str = "ID or key:KEY of the queue (msg:ID and msg:key:KEY, too)";

/// An object as a person names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    class: Class,
    name: Name,
}

/// A semaphore set as a person names it: an object whose class need not be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Set(Object);

/// A message queue as a person names it, as above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue(Object);

/// The three classes of System V IPC objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Shm,
    Sem,
    Msg,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Id(Id),
    Key(Key),
}

/// An object, with all that is known of it.
pub enum Status {
    Shm(SegmentStatus),
    Sem(SetStatus),
    Msg(QueueStatus),
}

impl Class {
    const ALL: [Class; 3] = [Class::Shm, Class::Sem, Class::Msg];

    /// What stands before the name of an object of the class.
    fn prefix(self) -> &'static str {
        match self {
            Class::Shm => "shm:",
            Class::Sem => "sem:",
            Class::Msg => "msg:",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Class::Shm => "segment",
            Class::Sem => "semaphore set",
            Class::Msg => "message queue",
        }
    }
}

impl FromStr for Object {
    type Err = String;

    fn from_str(text: &str) -> Result<Object, String> {
        Object::parse(text, Class::Shm).ok_or_else(|| format!("'{text}' names no object: give {HELP}"))?
    }
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Set, String> {
        Object::of_class(text, Class::Sem, SET_HELP).map(Set)
    }
}

impl FromStr for Queue {
    type Err = String;

    fn from_str(text: &str) -> Result<Queue, String> {
        Object::of_class(text, Class::Msg, QUEUE_HELP).map(Queue)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class.noun();
        match self.name {
            Name::Id(id) => write!(f, "{class} {id}"),
            Name::Key(key) => write!(f, "{class} with key {key}"),
        }
    }
}

impl Object {
    /// Reads a name whose class is `class` if it does not say one; `None` if it is not of the form.
    fn parse(text: &str, class: Class) -> Option<Result<Object, String>> {
        let prefixed = Class::ALL.into_iter().find_map(|class| Some((class, text.strip_prefix(class.prefix())?)));
        let (class, rest) = prefixed.unwrap_or((class, text));
        let name = match rest.strip_prefix("key:") {
            Some(key) => key.parse().map(Name::Key),
            None => Ok(Name::Id(rest.parse().ok().and_then(|raw| Id::from_raw(raw).ok())?)),
        };
        Some(name.map(|name| Object { class, name }))
    }

    /// Reads the name of an object that must be of `class`, which need not be said.
    fn of_class(text: &str, class: Class, help: &str) -> Result<Object, String> {
        let noun = class.noun();
        let object = Object::parse(text, class).ok_or_else(|| format!("'{text}' names no {noun}: give {help}"))??;
        if object.class == class { Ok(object) } else { Err(format!("the {object} is no {noun}: give {help}")) }
    }

    /// The segment that is meant; `instead`: what there is for the others.
    pub fn segment(&self, ns: &Namespace, instead: Instead) -> Result<Segment, Failure> {
        match self.class {
            Class::Shm => self.open_segment(ns),
            class => {
                let failure = Failure::new(format!("the {self} is no segment, and has no bytes of its own")).errno(Errno::INVAL);
                Err(failure.remedy(instead.command(class, self.name)))
            }
        }
    }

    fn open_segment(&self, ns: &Namespace) -> Result<Segment, Failure> {
        let found = match self.name {
            Name::Id(id) => Segment::open_id(ns, id),
            Name::Key(key) => Segment::open(ns, key),
        };
        found.map_err(|error| {
            let unknown = matches!(error.errno(), Errno::INVAL | Errno::NOENT);
            let failure = Failure::from(error);
            if unknown { failure.remedy(self.elsewhere(ns)) } else { failure }
        })
    }

    /// What to do where no segment is found: there may be a set or a queue of this name.
    fn elsewhere(&self, ns: &Namespace) -> String {
        let set = Set(*self).find(ns).map(|id| (Class::Sem, id));
        let queue = || Queue(*self).find(ns).map(|id| (Class::Msg, id));
        match set.or_else(|_| queue()) {
            Ok((class, id)) => format!("there is a {} of this name: {}{id}", class.noun(), class.prefix()),
            Err(_) => SEE_LS.to_owned(),
        }
    }

    /// The object that is meant, with all that is known of it.
    pub fn status(&self, ns: &Namespace) -> Result<Status, Failure> {
        let found = match self.class {
            Class::Shm => {
                let id = self.open_segment(ns)?.id();
                ns.segments()?.into_iter().find(|s| s.stat.id == id).map(Status::Shm)
            }
            Class::Sem => {
                let id = Set(*self).find(ns)?;
                sets(ns)?.into_iter().find(|s| s.stat.id == id).map(Status::Sem)
            }
            Class::Msg => {
                let id = Queue(*self).find(ns)?;
                queues(ns)?.into_iter().find(|q| q.stat.id == id).map(Status::Msg)
            }
        };
        found.ok_or_else(|| Failure::new(format!("the {self} has just been removed")).errno(Errno::IDRM))
    }
}

impl Set {
    /// The set's identifier.
    pub fn find(&self, ns: &Namespace) -> Result<Id, Failure> {
        let found = match self.0.name {
            Name::Id(id) => SemaphoreSet::open_id(ns, id),
            Name::Key(key) => SemaphoreSet::open(ns, key),
        };
        found.map(|set| set.id()).map_err(|error| {
            let unknown = matches!(error.errno(), Errno::INVAL | Errno::NOENT);
            let failure = Failure::from(error);
            if unknown { failure.remedy(SEE_LS) } else { failure }
        })
    }
}

impl Queue {
    /// The queue's identifier. No right is asked for yet.
    pub fn find(&self, ns: &Namespace) -> Result<Id, Failure> {
        let refused = |why: String, errno| Failure::new(format!("cannot open {}: {why}", self.spoken())).errno(errno);
        match self.0.name {
            Name::Id(id) => match ns.msg_stat_index(i32::from(id.index()), true) {
                Ok(stat) if stat.id == id => Ok(id),
                Ok(_) | Err(Errno::INVAL) => {
                    Err(refused("there is none with this identifier (EINVAL)".to_owned(), Errno::INVAL).remedy(SEE_LS))
                }
                Err(errno) => Err(refused(errno.to_string(), errno)),
            },
            Name::Key(key) if key.is_private() => {
                Err(refused("it finds no queue (ENOENT)".to_owned(), Errno::NOENT).remedy("name the queue by its identifier"))
            }
            Name::Key(key) => ns.msgget(key, 0).map_err(|errno| {
                let failure = refused(errno.to_string(), errno);
                if errno == Errno::NOENT { failure.remedy(SEE_LS) } else { failure }
            }),
        }
    }

    fn spoken(&self) -> String {
        match self.0.name {
            Name::Id(id) => format!("queue {id}"),
            Name::Key(key) if key.is_private() => "the key IPC_PRIVATE".to_owned(),
            Name::Key(key) => format!("the queue with key {key}"),
        }
    }
}

/// What was to be done with the bytes of a segment, and has another verb for the other classes.
#[derive(Clone, Copy)]
pub enum Instead {
    Read,
    Write,
}

impl Instead {
    fn command(self, class: Class, name: Name) -> String {
        let name = match name {
            Name::Id(id) => id.to_string(),
            Name::Key(key) => format!("key:{key}"),
        };
        match (self, class) {
            (Instead::Read, Class::Msg) => {
                format!("'quintet msg peek {name}' shows its messages, 'quintet msg recv {name}' takes one")
            }
            (Instead::Write, Class::Msg) => format!("'quintet msg send {name}' sends a message"),
            (Instead::Read, _) => format!("'quintet sem get {name}' prints its values"),
            (Instead::Write, _) => format!("'quintet sem set {name}' sets its values"),
        }
    }
}

/// What to do where nothing is found.
const SEE_LS: &str = "'quintet ls' shows what is there";

/// All queues of a namespace.
pub fn queues(ns: &Namespace) -> Result<Vec<QueueStatus>, Failure> {
    ns.queues().map_err(|e| Failure::new(format!("cannot list the message queues: {e}")).errno(e))
}

/// All sets of a namespace.
pub fn sets(ns: &Namespace) -> Result<Vec<SetStatus>, Failure> {
    ns.sets().map_err(|e| Failure::new(format!("cannot list the semaphore sets: {e}")).errno(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let named = |class, name| Ok(Object { class, name });
        let id = Id::from_raw(32769).unwrap();
        assert_eq!("32769".parse(), named(Class::Shm, Name::Id(id)));
        assert_eq!("shm:32769".parse(), named(Class::Shm, Name::Id(id)));
        assert_eq!("sem:0".parse(), named(Class::Sem, Name::Id(Id::from_raw(0).unwrap())));
        assert_eq!("key:0x4d2".parse(), named(Class::Shm, Name::Key(Key::new(1234))));
        assert_eq!("msg:key:-1".parse(), named(Class::Msg, Name::Key(Key::new(-1))));
    }

    #[test]
    fn a_set_needs_no_class() {
        let set = |name| Ok(Set(Object { class: Class::Sem, name }));
        let id = Id::from_raw(7).unwrap();
        assert_eq!("7".parse(), set(Name::Id(id)));
        assert_eq!("sem:7".parse(), set(Name::Id(id)));
        assert_eq!("key:5".parse(), set(Name::Key(Key::new(5))));
        assert_eq!("sem:key:5".parse(), set(Name::Key(Key::new(5))));
        assert!("shm:7".parse::<Set>().unwrap_err().contains("the segment 7 is no semaphore set"));
        assert!("x".parse::<Set>().unwrap_err().contains("names no semaphore set"));
    }

    #[test]
    fn nor_does_a_queue() {
        let id = Name::Id(Id::from_raw(7).unwrap());
        assert_eq!("7".parse(), Ok(Queue(Object { class: Class::Msg, name: id })));
        assert_eq!("msg:7".parse(), Ok(Queue(Object { class: Class::Msg, name: id })));
        assert!("sem:7".parse::<Queue>().unwrap_err().contains("the semaphore set 7 is no message queue"));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "-1", "x", "shm:", "key:", "key:x", "2147483648", "shm:shm:1", "0x10"] {
            assert!(text.parse::<Object>().is_err() && text.parse::<Set>().is_err() && text.parse::<Queue>().is_err(), "{text}");
        }
    }
}
