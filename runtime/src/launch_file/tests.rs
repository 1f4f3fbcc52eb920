use std::os::unix::fs::symlink;

use alcop_spec::kernel::ArrayDType;

use super::*;

/// A folder with a PTX file, an input, and a folder beside it.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Room {
        let room = Room(tempfile::tempdir().unwrap());
        for folder in ["in", "in/deeper", "out"] {
            fs::create_dir(room.at(folder)).unwrap();
        }
        let array = npy::encode(&NpyArray {
            dtype: ArrayDType::F32,
            shape: vec![2],
            data: vec![0; 8],
        });
        fs::write(room.at("in/k.ptx"), "ptx").unwrap();
        fs::write(room.at("in/x.npy"), &array).unwrap();
        fs::write(room.at("in/y.npy"), &array).unwrap();
        room
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, args: &str, outside: Outside) -> Result<LoadedLaunch, String> {
        let path = self.at("in/k.json");
        let text =
            format!(r#"{{"ptx": "k.ptx", "entry": "k", "grid": [1, 1, 1], "block": [1, 1, 1], "args": [{args}]}}"#);
        fs::write(&path, text).unwrap();
        read_launch_with(&path, outside).map_err(|error| error.to_string())
    }
}

fn zeros(output: &str) -> String {
    format!(r#"{{"zeros": {{"dtype": "f32", "shape": [2]}}, "output": "{output}"}}"#)
}

fn npy(file: &str, output: &str) -> String {
    format!(r#"{{"npy": "{file}", "output": "{output}"}}"#)
}

#[test]
fn outputs_stay_in_the_folder_unless_they_may_leave_it() {
    let room = Room::new();
    symlink("../out", room.at("in/aside")).unwrap();
    symlink("../out/file.npy", room.at("in/link.npy")).unwrap();
    symlink("deeper/file.npy", room.at("in/within.npy")).unwrap();
    let absolute = room.at("out/c.npy").display().to_string();
    for inside in ["c.npy", "./c.npy", "deeper/c.npy", "../in/c.npy", "within.npy"] {
        room.read(&zeros(inside), Outside::Refused)
            .unwrap_or_else(|error| panic!("{inside}: {error}"));
    }
    for outside in [
        "../c.npy",
        "../out/c.npy",
        "aside/c.npy",
        "link.npy",
        "deeper/../../out/c.npy",
        &absolute,
        "/dev/stdout",
        "/dev/null",
    ] {
        let refused = room.read(&zeros(outside), Outside::Refused).unwrap_err();
        assert!(refused.contains("--allow-outside"), "{outside}: {refused}");
        let member = format!(r#"{{"pointers": [{}]}}"#, zeros(outside));
        assert!(room.read(&member, Outside::Refused).is_err(), "{outside} of a list");
        room.read(&zeros(outside), Outside::Allowed)
            .unwrap_or_else(|error| panic!("{outside}: {error}"));
    }
    let nowhere = room.read(&zeros("no-folder/c.npy"), Outside::Refused).unwrap_err();
    assert!(nowhere.contains("cannot be written"), "{nowhere}");
}

#[test]
fn no_output_is_an_input_but_its_own() {
    let room = Room::new();
    symlink("x.npy", room.at("in/soft.npy")).unwrap();
    fs::hard_link(room.at("in/x.npy"), room.at("out/hard.npy")).unwrap();
    room.read(&npy("x.npy", "x.npy"), Outside::Refused).unwrap();
    room.read(&npy("x.npy", "soft.npy"), Outside::Refused).unwrap();
    let two = |one: String, other: String| format!("{one}, {other}");
    for (args, what) in [
        (zeros("k.json"), "the launch file"),
        (zeros("k.ptx"), "its PTX"),
        (
            two(npy("x.npy", "y.npy"), npy("y.npy", "c.npy")),
            "the input of argument 1",
        ),
        (
            two(npy("x.npy", "x.npy"), npy("x.npy", "c.npy")),
            "the input of argument 1",
        ),
        (two(npy("x.npy", "c.npy"), zeros("soft.npy")), "the input of argument 0"),
        (
            two(npy("x.npy", "c.npy"), zeros("../out/hard.npy")),
            "the input of argument 0",
        ),
        (two(zeros("c.npy"), zeros("./c.npy")), "the output of argument 0"),
        (
            format!(r#"{{"pointers": [{}, {}]}}"#, npy("x.npy", "c.npy"), zeros("x.npy")),
            "the input of argument 0",
        ),
    ] {
        for outside in [Outside::Allowed, Outside::Refused] {
            let refused = room.read(&args, outside).unwrap_err();
            let told = refused.contains(what) || (outside == Outside::Refused && refused.contains("--allow-outside"));
            assert!(told, "{args}: {refused}");
        }
    }
}

#[test]
fn a_link_to_a_launch_file_is_that_launch_file() {
    let room = Room::new();
    room.read(&zeros("c.npy"), Outside::Refused).unwrap();
    symlink("in/k.json", room.at("link.json")).unwrap();
    let loaded = read_launch(&room.at("link.json")).unwrap();
    assert_eq!(loaded.kernel.ptx, "ptx");
    write_outputs(&loaded).unwrap();
    assert!(room.at("in/c.npy").exists());
}

#[test]
fn zeros_beyond_memory_are_an_error_with_the_bytes() {
    let room = Room::new();
    for (shape, bytes) in [
        (
            "[4294967296, 4294967296, 4294967296]",
            "316912650057057350374175801344 bytes",
        ),
        ("[18446744073709551615]", "73786976294838206460 bytes"),
        ("[4294967296, 5]", "85899345920 bytes"),
    ] {
        let args = format!(r#"{{"zeros": {{"dtype": "f32", "shape": {shape}}}}}"#);
        let refused = room.read(&args, Outside::Refused).unwrap_err();
        assert!(refused.contains(bytes), "{refused}");
    }
}

#[test]
fn outputs_are_written_all_or_none() {
    let room = Room::new();
    fs::write(room.at("in/c.npy"), "old").unwrap();
    let loaded = room
        .read(
            &format!("{}, {}", zeros("c.npy"), zeros("deeper/d.npy")),
            Outside::Refused,
        )
        .unwrap();
    fs::remove_dir(room.at("in/deeper")).unwrap();
    let failed = write_outputs(&loaded).unwrap_err().to_string();
    assert!(failed.contains("cannot write") && failed.contains("d.npy"), "{failed}");
    assert_eq!(fs::read_to_string(room.at("in/c.npy")).unwrap(), "old");
    let left: Vec<_> = fs::read_dir(room.at("in"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
