use crate::support::{Ns, assert_says, refusal, text, utf8};
use quintet::{Id, Segment};

fn content(t: &Ns, id: i32) -> Vec<u8> {
    let segment = Segment::open_id(&t.ns, Id::from_raw(id).unwrap()).unwrap();
    let memory = segment.attach_read_only().unwrap();
    memory.to_vec(0..memory.len()).unwrap()
}

#[test]
fn written_bytes_are_read_back() {
    let t = Ns::new();
    let id = t.segment(&["--size", "200000", "--key", "3"]);
    let bytes: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let file = t.file("data", &bytes);
    assert_eq!(text(&mut t.quintet(&["write", "key:3", utf8(&file)])), "");
    assert_eq!(content(&t, id), bytes);
    assert_eq!(t.quintet(&["cat", "key:3"]).output().unwrap().stdout, bytes);
    let part = t.quintet(&["cat", "key:3", "--offset", "65530", "--length", "70001"]).output().unwrap().stdout;
    assert_eq!(part, bytes[65530..135_531]);
}

#[test]
fn writes_standard_input_at_an_offset() {
    let t = Ns::new();
    let id = t.segment(&["--size", "10"]).to_string();
    t.quintet(&["write", &id, "--offset", "4", "-"]).write_stdin("abc").assert().success();
    assert_eq!(content(&t, id.parse().unwrap()), b"\0\0\0\0abc\0\0\0");
    let mut command = t.quintet(&["write", &id, "--offset", "7", "--json"]);
    command.write_stdin("xyz");
    let value = crate::support::parsed(&mut command, "write");
    assert_eq!((value["offset"].as_u64(), value["written"].as_u64()), (Some(7), Some(3)));
    assert_eq!(content(&t, id.parse().unwrap()), b"\0\0\0\0abcxyz");
}

#[test]
fn prints_hexadecimal() {
    let t = Ns::new();
    let id = t.segment(&["--size", "40"]).to_string();
    t.quintet(&["write", &id]).write_stdin("Hello, world!\n").assert().success();
    let expected = "\
00000000  48 65 6c 6c 6f 2c 20 77  6f 72 6c 64 21 0a 00 00  |Hello, world!...|
00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
00000020  00 00 00 00 00 00 00 00                           |........|
00000028
";
    assert_eq!(text(&mut t.quintet(&["cat", &id, "--hex"])), expected);
    let part = "00000007  77 6f                                             |wo|\n00000009\n";
    assert_eq!(text(&mut t.quintet(&["cat", &id, "--hex", "--offset", "7", "--length", "2"])), part);
}

#[test]
fn input_that_does_not_fit_is_refused() {
    let t = Ns::new();
    let id = t.segment(&["--size", "10"]).to_string();
    let file = t.file("data", [b'x'; 11]);
    let said = refusal(&mut t.quintet(&["write", &id, utf8(&file)]), 1);
    assert_says(&said, &["the input has 11 bytes", "but only 10 fit", "(EFBIG); nothing was written"]);
    let said = refusal(t.quintet(&["write", &id, "--offset", "8"]).write_stdin("xyz"), 1);
    assert_says(&said, &["more than 2 bytes", "at offset 8: the input has", "but only 2 fit"]);
    assert_says(
        &refusal(t.quintet(&["write", &id, "--offset", "11"]).write_stdin(""), 1),
        &["cannot write at offset 11", "10 bytes"],
    );
    assert_says(
        &refusal(&mut t.quintet(&["write", &id, "/no/such"]), 1),
        &["cannot read /no/such: No such file or directory (ENOENT)"],
    );
    assert_eq!(content(&t, id.parse().unwrap()), [0; 10]);
}

#[test]
fn a_range_beyond_the_end_is_refused() {
    let t = Ns::new();
    let id = t.segment(&["--size", "10"]).to_string();
    for range in [
        &["--offset", "11"][..],
        &["--length", "11"],
        &["--offset", "9", "--length", "2"],
        &["--offset", "17T", "--length", "17T"],
    ] {
        assert_says(&refusal(t.quintet(&["cat", &id]).args(range), 1), &["has 10 bytes (EINVAL)"]);
    }
    assert_eq!(t.quintet(&["cat", &id, "--offset", "10"]).output().unwrap().stdout, b"");
    assert_says(&refusal(&mut t.quintet(&["cat", "30000"]), 1), &["cannot open segment 30000"]);
    let output = t.quintet(&["cat", &id, "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_says(
        &String::from_utf8(output.stderr).unwrap(),
        &["cannot use --json with 'quintet cat': it prints bytes; leave out --json"],
    );
}
