//! Names of objects: `ID`, `key:0x4d2`, `shm:ID`, `shm:key:0x4d2`, and likewise with `sem:` and
//! `msg:`.

use crate::failure::Failure;
use crate::hint;
use quintet::{Errno, Id, Key, Namespace, QueueStatus, Segment, SegmentStatus, SemaphoreSet, SetStatus};
use std::fmt;
use std::str::FromStr;

/// What `--help` says about an OBJECT.
pub const HELP: &str = "ID or key:KEY of a segment; sem:ID or sem:key:KEY of a semaphore set; msg:ID or msg:key:KEY of a message \
                        queue (a segment also as shm:ID or shm:key:KEY)";

/// What `--help` says about an OBJECT that must be a segment.
pub const SEGMENT_HELP: &str = "ID or key:KEY of the segment";

/// What `--help` says about a SET.
pub const SET_HELP: &str = "ID or key:KEY of the set (also sem:ID and sem:key:KEY)";

/// What `--help` says about a QUEUE.
pub const QUEUE_HELP: &str = "ID or key:KEY of the queue (also msg:ID and msg:key:KEY)";

/// The name of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    class: Class,
    name: ObjectName,
}

/// The name of a semaphore set. The prefix `sem:` is optional.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Set(Object);

/// The name of a message queue. The prefix `msg:` is optional.
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
enum ObjectName {
    Id(Id),
    Key(Key),
}

/// The status of an object.
pub enum ObjectStatus {
    Shm(SegmentStatus),
    Sem(SetStatus),
    Msg(QueueStatus),
}

impl Class {
    const ALL: [Class; 3] = [Class::Shm, Class::Sem, Class::Msg];

    /// Returns the prefix of a name.
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
        Object::parse(text, Class::Shm).ok_or_else(|| format!("'{text}' is not the name of an object: give {HELP}"))?
    }
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Set, String> {
        Object::parse_class(text, Class::Sem, SET_HELP).map(Set)
    }
}

impl FromStr for Queue {
    type Err = String;

    fn from_str(text: &str) -> Result<Queue, String> {
        Object::parse_class(text, Class::Msg, QUEUE_HELP).map(Queue)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class.noun();
        match self.name {
            ObjectName::Id(id) => write!(f, "{class} {id}"),
            ObjectName::Key(key) => write!(f, "the {class} with key {key}"),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectName::Id(id) => write!(f, "{id}"),
            ObjectName::Key(key) => write!(f, "key:{key}"),
        }
    }
}

impl Object {
    /// Parses a name. A name without a prefix is of class `class`. Returns `None` if it has another
    /// form.
    fn parse(text: &str, class: Class) -> Option<Result<Object, String>> {
        let prefixed = Class::ALL.into_iter().find_map(|class| Some((class, text.strip_prefix(class.prefix())?)));
        let (class, rest) = prefixed.unwrap_or((class, text));
        let name = match rest.strip_prefix("key:") {
            Some(key) => key.parse().map(ObjectName::Key),
            None => Ok(ObjectName::Id(rest.parse().ok().and_then(|raw| Id::from_raw(raw).ok())?)),
        };
        Some(name.map(|name| Object { class, name }))
    }

    /// Parses the name of an object that must be of class `class`.
    fn parse_class(text: &str, class: Class, help: &str) -> Result<Object, String> {
        let noun = class.noun();
        let object = Object::parse(text, class).ok_or_else(|| format!("'{text}' is not the name of a {noun}: give {help}"))??;
        if object.class == class { Ok(object) } else { Err(format!("{object} is not a {noun}: give {help}")) }
    }

    /// Opens the segment. `access` chooses the hint if the object is a set or a queue.
    pub fn segment(&self, ns: &Namespace, access: Access) -> Result<Segment, Failure> {
        if self.class == Class::Shm {
            return self.open_segment(ns);
        }
        let verb = access.verb();
        Err(Failure::new(format!("cannot {verb} {self}: only a segment has bytes (EINVAL)"))
            .errno(Errno::INVAL)
            .remedy(access.hint(ns, self.class, self.name)))
    }

    fn open_segment(&self, ns: &Namespace) -> Result<Segment, Failure> {
        let found = match self.name {
            ObjectName::Id(id) => Segment::open_id(ns, id),
            ObjectName::Key(key) => Segment::open(ns, key),
        };
        found.map_err(|error| {
            let is_unknown = matches!(error.errno(), Errno::INVAL | Errno::NOENT);
            let failure = Failure::from(error);
            if is_unknown { failure.remedy(self.other_class_hint(ns)) } else { failure }
        })
    }

    /// Returns the hint for a missing segment: the set or the queue of the same name, if there is
    /// one.
    fn other_class_hint(&self, ns: &Namespace) -> String {
        let set = Set(*self).find(ns).map(|id| (Class::Sem, id));
        let queue = || Queue(*self).find(ns).map(|id| (Class::Msg, id));
        match set.or_else(|_| queue()) {
            Ok((class, id)) => format!("a {} has this name: {}{id}", class.noun(), class.prefix()),
            Err(_) => ls_hint(ns),
        }
    }

    /// Returns the status of the object.
    pub fn status(&self, ns: &Namespace) -> Result<ObjectStatus, Failure> {
        let found = match self.class {
            Class::Shm => {
                let id = self.open_segment(ns)?.id();
                ns.segments()?.into_iter().find(|s| s.stat.id == id).map(ObjectStatus::Shm)
            }
            Class::Sem => {
                let id = Set(*self).find(ns)?;
                sets(ns)?.into_iter().find(|s| s.stat.id == id).map(ObjectStatus::Sem)
            }
            Class::Msg => {
                let id = Queue(*self).find(ns)?;
                queues(ns)?.into_iter().find(|q| q.stat.id == id).map(ObjectStatus::Msg)
            }
        };
        found.ok_or_else(|| Failure::new(format!("cannot open {self}: it has just been removed (EIDRM)")).errno(Errno::IDRM))
    }
}

impl Set {
    /// Returns the identifier of the set.
    pub fn find(&self, ns: &Namespace) -> Result<Id, Failure> {
        let found = match self.0.name {
            ObjectName::Id(id) => SemaphoreSet::open_id(ns, id),
            ObjectName::Key(key) => SemaphoreSet::open(ns, key),
        };
        found.map(|set| set.id()).map_err(|error| {
            let is_unknown = matches!(error.errno(), Errno::INVAL | Errno::NOENT);
            let failure = Failure::from(error);
            if is_unknown { failure.remedy(ls_hint(ns)) } else { failure }
        })
    }
}

impl Queue {
    /// Returns the identifier of the queue. It checks no permission.
    pub fn find(&self, ns: &Namespace) -> Result<Id, Failure> {
        let failed = |reason: &str, errno| Failure::new(format!("cannot open {self}: {reason} ({errno:?})")).errno(errno);
        match self.0.name {
            ObjectName::Id(id) => match ns.msg_stat_index(i32::from(id.index()), true) {
                Ok(stat) if stat.id == id => Ok(id),
                Ok(_) | Err(Errno::INVAL) => Err(failed("no queue has this identifier", Errno::INVAL).remedy(ls_hint(ns))),
                Err(errno) => Err(failed(errno.description(), errno)),
            },
            ObjectName::Key(key) if key.is_private() => {
                Err(failed("this key names no queue", Errno::NOENT).remedy("name the queue by its identifier"))
            }
            ObjectName::Key(key) => ns.msgget(key, 0).map_err(|errno| match errno {
                Errno::NOENT => failed("no queue has this key", errno).remedy(ls_hint(ns)),
                _ => failed(errno.description(), errno),
            }),
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name {
            ObjectName::Id(id) => write!(f, "queue {id}"),
            ObjectName::Key(key) if key.is_private() => f.write_str("a queue by the key IPC_PRIVATE"),
            ObjectName::Key(key) => write!(f, "the queue with key {key}"),
        }
    }
}

/// What a command does to the bytes of a segment.
#[derive(Clone, Copy)]
pub enum Access {
    Read,
    Write,
}

impl Access {
    fn verb(self) -> &'static str {
        match self {
            Access::Read => "read the bytes of",
            Access::Write => "write to",
        }
    }

    /// Returns the hint for a set or a queue: the command that reads or writes it.
    fn hint(self, ns: &Namespace, class: Class, name: ObjectName) -> String {
        let command = |subcommand: &str| hint::on(ns, format_args!("{subcommand} {name}"));
        match (self, class) {
            (Access::Read, Class::Msg) => {
                format!("{} shows its messages, {} takes one", command("msg peek"), command("msg recv"))
            }
            (Access::Write, Class::Msg) => format!("{} tells how to send a message", hint::command("msg send --help")),
            (Access::Read, _) => format!("{} prints its values", command("sem get")),
            (Access::Write, _) => format!("{} tells how to set its values", hint::command("sem set --help")),
        }
    }
}

fn ls_hint(ns: &Namespace) -> String {
    format!("{} lists the objects", hint::on(ns, "ls"))
}

/// Returns all message queues of a namespace.
pub fn queues(ns: &Namespace) -> Result<Vec<QueueStatus>, Failure> {
    ns.queues().map_err(|errno| Failure::call("list the message queues", errno))
}

/// Returns all semaphore sets of a namespace.
pub fn sets(ns: &Namespace) -> Result<Vec<SetStatus>, Failure> {
    ns.sets().map_err(|errno| Failure::call("list the semaphore sets", errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_form() {
        let object = |class, name| Ok(Object { class, name });
        let id = Id::from_raw(32769).unwrap();
        assert_eq!("32769".parse(), object(Class::Shm, ObjectName::Id(id)));
        assert_eq!("shm:32769".parse(), object(Class::Shm, ObjectName::Id(id)));
        assert_eq!("sem:0".parse(), object(Class::Sem, ObjectName::Id(Id::from_raw(0).unwrap())));
        assert_eq!("key:0x4d2".parse(), object(Class::Shm, ObjectName::Key(Key::new(1234))));
        assert_eq!("msg:key:-1".parse(), object(Class::Msg, ObjectName::Key(Key::new(-1))));
    }

    #[test]
    fn a_set_needs_no_prefix() {
        let set = |name| Ok(Set(Object { class: Class::Sem, name }));
        let id = Id::from_raw(7).unwrap();
        assert_eq!("7".parse(), set(ObjectName::Id(id)));
        assert_eq!("sem:7".parse(), set(ObjectName::Id(id)));
        assert_eq!("key:5".parse(), set(ObjectName::Key(Key::new(5))));
        assert_eq!("sem:key:5".parse(), set(ObjectName::Key(Key::new(5))));
        assert!("shm:7".parse::<Set>().unwrap_err().contains("segment 7 is not a semaphore set"));
        assert!("x".parse::<Set>().unwrap_err().contains("is not the name of a semaphore set"));
    }

    #[test]
    fn a_queue_needs_no_prefix() {
        let id = ObjectName::Id(Id::from_raw(7).unwrap());
        assert_eq!("7".parse(), Ok(Queue(Object { class: Class::Msg, name: id })));
        assert_eq!("msg:7".parse(), Ok(Queue(Object { class: Class::Msg, name: id })));
        assert!("sem:7".parse::<Queue>().unwrap_err().contains("semaphore set 7 is not a message queue"));
    }

    #[test]
    fn refuses_other_forms() {
        for text in ["", "-1", "x", "shm:", "key:", "key:x", "2147483648", "shm:shm:1", "0x10"] {
            assert!(text.parse::<Object>().is_err() && text.parse::<Set>().is_err() && text.parse::<Queue>().is_err(), "{text}");
        }
    }
}
