//! Values as messages: `send_value` and `receive_value`.

use super::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Task {
    Stop,
    Print { text: String, copies: u32 },
    Table(BTreeMap<String, Vec<Option<f64>>>),
}

fn tasks() -> [Task; 3] {
    let table = BTreeMap::from([("a".into(), vec![Some(0.5), None]), ("b".into(), vec![])]);
    [Task::Stop, Task::Print { text: "page".into(), copies: u32::MAX }, Task::Table(table)]
}

#[test]
fn values_arrive_unchanged() {
    on_both("values::values_arrive_unchanged", |ns| {
        let queue = MessageQueue::private(ns).unwrap();
        for task in tasks() {
            queue.send_value(3, &task).unwrap();
            assert_eq!(queue.receive_value::<Task>(Select::First).unwrap(), (3, task));
        }
        // Borrowed and owned values.
        queue.send_value(1, "text").unwrap();
        queue.send_value(1, &[1u8, 2][..]).unwrap();
        assert_eq!(queue.receive_value::<String>(Select::First).unwrap().1, "text");
        assert_eq!(queue.receive(Select::First).unwrap().value::<Vec<u8>>().unwrap(), [1, 2]);

        queue.send_value(4, &tasks()[1]).unwrap();
        let message = queue.receive(Select::First).unwrap();
        let (errno, text) = failed(message.value::<u8>());
        assert_eq!(errno, Errno::BADMSG);
        let expected = format!(
            "cannot read a u8 from a message of type 4: its {0} bytes are something else: the last {1} are too many (EBADMSG)",
            message.data.len(),
            message.data.len() - 1
        );
        assert_eq!(text, expected);
        queue.send(4, b"").unwrap();
        assert_eq!(failed(queue.receive_value::<Task>(Select::First)).0, Errno::BADMSG);
        assert_eq!(failed(queue.send_value(1, &vec![0u8; 9000])).0, Errno::INVAL);
        // A sequence of unknown length cannot be encoded.
        struct Endless;
        impl serde::Serialize for Endless {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                serde::ser::SerializeSeq::end(to.serialize_seq(None)?)
            }
        }
        let (errno, said) = failed(queue.send_value(1, &Endless));
        assert!(errno == Errno::INVAL && said.contains("Endless cannot be encoded: "), "{said}");
        queue.remove().unwrap();
    });
}

/// A message from another process is untrusted input: decoding fails, or returns a value.
#[test]
fn damaged_values_are_refused() {
    let good = |task: &Task| Message { mtype: 1, data: postcard_of(task) };
    let mut dice = support::Dice(1);
    let mut random = |below: usize| dice.throw(below as u64) as usize;
    let mut refused = 0;
    for round in 0..20_000 {
        let mut message = good(&tasks()[round % 3]);
        for _ in 0..=random(3) {
            let place = random(message.data.len());
            message.data[place] = random(256) as u8;
        }
        message.data.truncate(1 + random(message.data.len() + 3));
        refused += usize::from(message.value::<Task>().is_err());
    }
    assert!(refused > 5000, "{refused}");
    for task in tasks() {
        assert_eq!(good(&task).value::<Task>().unwrap(), task);
    }
}

fn postcard_of(task: &Task) -> Vec<u8> {
    postcard::to_stdvec(task).unwrap()
}
