use std::io::Read;
use std::os::unix::fs::symlink;
use std::thread;

use super::*;

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Room {
        Room(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.at(name), text).unwrap();
        self.at(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_new_file_has_the_mode_that_the_umask_gives() {
    let room = Room::new();
    write(&room.at("new"), b"text").unwrap();
    let plain = room.with("plain", "");
    assert_eq!(room.text("new"), "text");
    assert_eq!(mode(&room.at("new")), mode(&plain));
    assert_eq!(room.names(), ["new", "plain"]);
}

#[test]
fn a_plain_file_is_replaced_whole_and_keeps_its_mode_and_owner() {
    let room = Room::new();
    for wanted in [0o600, 0o640, 0o755, 0o666] {
        let path = room.with("file", "a much longer text than the new one");
        fs::set_permissions(&path, Permissions::from_mode(wanted)).unwrap();
        let before = fs::metadata(&path).unwrap();
        let mut reader = File::open(&path).unwrap();
        write(&path, b"new").unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(mode(&path), wanted);
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "renamed over");
        let mut old = String::new();
        reader.read_to_string(&mut old).unwrap();
        assert!(
            old.starts_with("a much longer"),
            "who reads the old file keeps it whole"
        );
        assert_eq!(room.text("file"), "new");
        fs::remove_file(&path).unwrap();
    }
    assert!(room.names().is_empty());
}

#[test]
fn the_owner_of_a_replaced_file_stays() {
    let room = Room::new();
    let path = room.with("file", "old");
    // Only root may give files away.
    if std::os::unix::fs::chown(&path, Some(12_345), Some(54_321)).is_err() {
        return;
    }
    write(&path, b"new").unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.uid(), after.gid()), (12_345, 54_321));
    assert_eq!(room.text("file"), "new");
}

#[test]
fn links_are_followed_to_what_they_lead_to() {
    let room = Room::new();
    fs::create_dir(room.at("folder")).unwrap();
    room.with("folder/file", "old");
    symlink("folder/file", room.at("one")).unwrap();
    symlink("one", room.at("two")).unwrap();
    symlink("folder", room.at("aside")).unwrap();
    symlink("folder/not-there", room.at("dangling")).unwrap();
    symlink("no-folder/file", room.at("nowhere")).unwrap();
    symlink("circle", room.at("circle")).unwrap();
    write(&room.at("two"), b"through two links").unwrap();
    assert_eq!(room.text("folder/file"), "through two links");
    write(&room.at("aside/file"), b"through a folder").unwrap();
    assert_eq!(room.text("folder/file"), "through a folder");
    write(&room.at("dangling"), b"made").unwrap();
    assert_eq!(room.text("folder/not-there"), "made");
    for link in ["one", "two", "aside", "dangling"] {
        assert!(
            fs::symlink_metadata(room.at(link)).unwrap().is_symlink(),
            "{link} is a link still"
        );
    }
    assert_eq!(
        write(&room.at("nowhere"), b"").unwrap_err().source.kind(),
        io::ErrorKind::NotFound
    );
    assert!(write(&room.at("circle"), b"").is_err());
    assert!(write(&room.at("folder"), b"").is_err());
    assert!(write(&room.at("new/"), b"").is_err());
    assert_eq!(fs::read_dir(room.at("folder")).unwrap().count(), 2);
}

#[test]
fn hard_links_stay_one_file() {
    let room = Room::new();
    let one = room.with("one", "a longer text");
    fs::hard_link(&one, room.at("other")).unwrap();
    write(&one, b"new").unwrap();
    assert_eq!(
        (room.text("one"), room.text("other")),
        ("new".to_owned(), "new".to_owned())
    );
    assert_eq!(room.names(), ["one", "other"]);
}

#[test]
fn a_fifo_is_written_to() {
    let room = Room::new();
    let path = room.at("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let from = path.clone();
    let reader = thread::spawn(move || fs::read_to_string(from).unwrap());
    write(&path, b"through the pipe").unwrap();
    assert_eq!(reader.join().unwrap(), "through the pipe");
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    assert!(is_stream(&path).unwrap());
    assert_eq!(identity(&path).unwrap(), None);
}

#[test]
fn descriptors_are_known_by_all_their_names() {
    let own = std::process::id();
    let room = Room::new();
    symlink("/dev/stdout", room.at("link")).unwrap();
    for (path, number) in [
        ("/dev/stdin".to_owned(), 0),
        ("/dev/stdout".to_owned(), 1),
        ("/dev/stderr".to_owned(), 2),
        ("/dev/fd/1".to_owned(), 1),
        ("/proc/self/fd/2".to_owned(), 2),
        (format!("/proc/{own}/fd/1"), 1),
        ("/proc/thread-self/fd/1".to_owned(), 1),
        (room.at("link").display().to_string(), 1),
    ] {
        assert_eq!(place(Path::new(&path)).unwrap(), Place::Descriptor(number), "{path}");
    }
    let other = PathBuf::from("/proc/1/fd/1");
    if own != 1 && fs::canonicalize("/proc/1/fd").is_ok() {
        assert_eq!(place(&other).unwrap(), Place::Foreign(other));
    }
    let closed = write(Path::new("/dev/fd/987654"), b"x").unwrap_err();
    assert_eq!(closed.source.raw_os_error(), Some(Errno::BADF.raw_os_error()));
    assert!(write(Path::new("/dev/fd/4294967295"), b"x").is_err());
}

#[test]
fn a_descriptor_is_written_where_it_stands() {
    use std::os::fd::AsRawFd;
    let room = Room::new();
    let path = room.with("log", "earlier\n");
    let log = OpenOptions::new().append(true).open(&path).unwrap();
    write(Path::new(&format!("/dev/fd/{}", log.as_raw_fd())), b"later\n").unwrap();
    write(Path::new(&format!("/proc/self/fd/{}", log.as_raw_fd())), b"last\n").unwrap();
    assert_eq!(room.text("log"), "earlier\nlater\nlast\n");
}

#[test]
fn outputs_that_belong_together_are_written_or_none_is() {
    let room = Room::new();
    let (one, two) = (room.with("one", "old"), room.with("two", "old"));
    let bad = room.at("no-folder/three");
    let outputs = |last: &Path| {
        [
            Output::new(&one, &b"new"[..]),
            Output::new(&two, &b"new"[..]),
            Output::new(last, &b"new"[..]),
        ]
    };
    let error = write_all(&outputs(&bad)).unwrap_err();
    assert_eq!(error.path, bad);
    assert_eq!(
        (room.text("one"), room.text("two")),
        ("old".to_owned(), "old".to_owned())
    );
    assert_eq!(room.names(), ["one", "two"], "no partial");
    write_all(&outputs(&room.at("three"))).unwrap();
    assert_eq!(room.names(), ["one", "three", "two"]);
    let pieces = Output {
        path: one.clone(),
        pieces: vec![Cow::Borrowed(b"a"), Cow::Owned(b"b".to_vec())],
    };
    write_all(&[pieces]).unwrap();
    assert_eq!(room.text("one"), "ab");
}

#[test]
fn a_name_that_leaves_no_room_for_the_partial_is_written_in_place() {
    let room = Room::new();
    let longest = "x".repeat(255);
    write(&room.at(&longest), b"text").unwrap();
    assert_eq!(room.text(&longest), "text");
    assert!(write(&room.at(&"x".repeat(256)), b"text").is_err());
    assert_eq!(room.names(), [longest]);
}

#[test]
fn clashes_are_found_through_links() {
    let room = Room::new();
    let input = room.with("in", "source");
    fs::hard_link(&input, room.at("hard")).unwrap();
    symlink("in", room.at("soft")).unwrap();
    symlink("new", room.at("dangling")).unwrap();
    let clash = |outputs: &[&str]| {
        let paths: Vec<PathBuf> = outputs.iter().map(|name| room.at(name)).collect();
        let named: Vec<(&Path, &str)> = paths.iter().map(|path| (path.as_path(), "the output")).collect();
        check_clashes(&named, &[(&input, "the input")])
    };
    for name in ["in", "hard", "soft", "./in"] {
        let error = clash(&["other", name]).unwrap_err();
        assert!(matches!(error, ClashError::Input { .. }), "{name}: {error}");
    }
    for names in [["new", "new"], ["new", "dangling"], ["new", "./new"]] {
        let error = clash(&names).unwrap_err();
        assert!(matches!(error, ClashError::Outputs { .. }), "{names:?}: {error}");
    }
    clash(&["new", "other"]).unwrap();
    assert!(matches!(clash(&["no/folder"]).unwrap_err(), ClashError::Place(_)));
    check_clashes(
        &[(Path::new("/dev/null"), "one"), (Path::new("/dev/null"), "other")],
        &[],
    )
    .unwrap();
}
