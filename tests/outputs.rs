//! Where the command writes: nothing is lost, nothing is replaced that is no plain file, and what does not fit in memory is
//! said.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::{alcop, expect, stdout};

const SMALL: [&str; 12] = [
    "--op", "matmul", "--m", "64", "--n", "64", "--k", "64", "--block", "64x64x32", "--warp", "32x32",
];
const BARE: &str = "gpu.module @m { gpu.func @k(%a: memref<32xf32>) kernel {
    %v = arith.constant 1.0 : f32
    %i = gpu.thread_id x
    memref.store %v, %a[%i] : memref<32xf32>
    gpu.return } }";

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Room {
        Room(tempfile::tempdir().expect("a folder"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, name: &str, text: &str) -> String {
        fs::write(self.at(name), text).expect("writable");
        self.name(name)
    }

    fn name(&self, name: &str) -> String {
        self.at(name).to_str().expect("UTF-8").to_owned()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    /// The command in this folder, by a shell: for redirections, pipes and limits.
    fn shell(&self, script: &str) -> Output {
        Command::new("bash")
            .arg("-c")
            .arg(script)
            .env("ALCOP", env!("CARGO_BIN_EXE_alcop"))
            .env("SMALL", SMALL.join(" "))
            .env_remove("RUST_BACKTRACE")
            .current_dir(self.0.path())
            .output()
            .expect("bash starts")
    }

    fn compile(&self, output: &str) -> Output {
        let mut arguments = vec!["compile"];
        arguments.extend(SMALL);
        arguments.extend(["-o", output]);
        alcop(&arguments)
    }
}

fn is_ptx(text: &str) -> bool {
    text.contains(".visible .entry matmul")
}

#[test]
fn a_device_a_fifo_and_a_link_stay_what_they_are() {
    let room = Room::new();
    // Nodes of one's own, where they may be made (root), so that no test endangers the machine's.
    for (node, minor, code) in [("null", "3", 0), ("full", "7", 2)] {
        let made = Command::new("mknod")
            .args([&room.name(node), "c", "1", minor])
            .stderr(Stdio::null())
            .status();
        if made.is_ok_and(|status| status.success()) && fs::File::options().write(true).open(room.at(node)).is_ok() {
            expect(&room.compile(&room.name(node)), code, "");
            assert!(fs::metadata(room.at(node)).unwrap().file_type().is_char_device());
        }
        room.shell(&format!("rm -f {node}"));
    }
    let piped = room.shell("mkfifo fifo; cat fifo > got & $ALCOP compile $SMALL -o fifo; code=$?; wait; exit $code");
    expect(&piped, 0, "");
    assert!(fs::symlink_metadata(room.at("fifo")).unwrap().file_type().is_fifo());
    assert!(is_ptx(&room.text("got")));
    fs::create_dir(room.at("folder")).unwrap();
    symlink("folder/k.ptx", room.at("link")).unwrap();
    for _ in 0..2 {
        // The first time it leads nowhere.
        stdout(&room.compile(&room.name("link")));
        assert!(fs::symlink_metadata(room.at("link")).unwrap().is_symlink());
        assert!(is_ptx(&room.text("folder/k.ptx")));
    }
    assert_eq!(room.names(), ["fifo", "folder", "got", "link"]);
}

#[test]
fn modes_and_hard_links_stay() {
    let room = Room::new();
    let path = room.with("k.ptx", "old");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    stdout(&room.compile(&path));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    fs::hard_link(&path, room.at("other")).unwrap();
    fs::write(&path, "old").unwrap();
    stdout(&room.compile(&path));
    assert!(is_ptx(&room.text("other")) && is_ptx(&room.text("k.ptx")));
    let fresh = room.shell("umask 027; $ALCOP compile $SMALL -o fresh");
    expect(&fresh, 0, "");
    assert_eq!(fs::metadata(room.at("fresh")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(room.names(), ["fresh", "k.ptx", "other"]);
}

/// Where no partial can be made, and where it cannot be renamed, a file is written in place.
#[test]
fn a_closed_folder_and_a_mount_point_are_written_in_place() {
    let room = Room::new();
    room.shell("mkdir closed; touch closed/k.ptx; chmod 666 closed/k.ptx; chmod 555 closed; chmod 755 .");
    let root = fs::metadata(room.0.path()).unwrap().uid() == 0;
    // Root may write everywhere: another user tries it.
    let user = if root {
        "setpriv --reuid=65534 --regid=65534 --clear-groups"
    } else {
        ""
    };
    if !root || room.shell(&format!("{user} $ALCOP --version")).status.success() {
        let compile = |name: &str| room.shell(&format!("{user} $ALCOP compile $SMALL -o closed/{name}"));
        expect(&compile("k.ptx"), 0, "");
        assert!(is_ptx(&room.text("closed/k.ptx")));
        expect(&compile("new.ptx"), 2, "cannot write closed/new.ptx");
        room.shell("chmod 444 closed/k.ptx");
        let before = room.text("closed/k.ptx");
        expect(&compile("k.ptx"), 2, "cannot write closed/k.ptx");
        assert_eq!(room.text("closed/k.ptx"), before);
    }
    room.shell("chmod 755 closed");
    room.with("under", "old");
    room.with("mounted", "old");
    let mount = "mount --bind under mounted 2>&1";
    if room.shell(&format!("unshare -m bash -c '{mount}'")).status.success() {
        let script = format!("unshare -m bash -c '{mount} && $ALCOP compile $SMALL -o mounted'");
        expect(&room.shell(&script), 0, "");
        assert!(is_ptx(&room.text("under")));
    }
    assert_eq!(room.names(), ["closed", "mounted", "under"]);
}

#[test]
fn descriptors_are_written_to_and_logs_are_appended_to() {
    let room = Room::new();
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"] {
        room.with("log", "earlier\n");
        expect(&room.shell(&format!("$ALCOP compile $SMALL -o {name} >> log")), 0, "");
        let log = room.text("log");
        assert!(log.starts_with("earlier\n") && is_ptx(&log), "{name}: {log}");
    }
    room.with("log", "earlier\n");
    expect(&room.shell("$ALCOP compile $SMALL -o /dev/stderr 2>> log"), 0, "");
    assert!(room.text("log").starts_with("earlier\n") && is_ptx(&room.text("log")));
    room.with("log", "earlier\n");
    expect(&room.shell("$ALCOP compile $SMALL -o /dev/fd/7 7>> log"), 0, "");
    assert!(room.text("log").starts_with("earlier\n") && is_ptx(&room.text("log")));
    room.with("log", "earlier\n");
    // Another process's descriptor, as a script names its own.
    expect(
        &room.shell("exec 7>> log; $ALCOP compile $SMALL -o /proc/$$/fd/7"),
        0,
        "",
    );
    assert!(room.text("log").starts_with("earlier\n") && is_ptx(&room.text("log")));
    symlink("/dev/stdout", room.at("link")).unwrap();
    assert!(is_ptx(&stdout(&room.compile(&room.name("link")))));
    expect(&room.compile("/dev/fd/987"), 2, "cannot write /dev/fd/987");
}

#[test]
fn what_cannot_be_written_leaves_everything_as_it_was() {
    let room = Room::new();
    expect(&room.shell("$ALCOP compile $SMALL > /dev/full"), 2, "standard output");
    room.with("k.ptx", "old");
    // Files of at most 1 KiB: the PTX is longer, and so are the operands.
    for output in ["k.ptx", "new.ptx"] {
        let full = room.shell(&format!("ulimit -f 1; $ALCOP compile $SMALL -o {output}"));
        expect(&full, 2, &format!("cannot write {output}"));
    }
    let full = room.shell("ulimit -f 1; $ALCOP compile $SMALL --emit launch -o k.json");
    expect(&full, 2, "cannot write");
    assert_eq!(room.text("k.ptx"), "old");
    assert_eq!(room.names(), ["k.ptx"]);
    expect(&room.compile(&room.name("no/such.ptx")), 2, "cannot write");
    expect(&room.compile(room.0.path().to_str().expect("UTF-8")), 2, "cannot write");
    room.with("b", "");
    fs::create_dir(room.at("b.a.npy")).unwrap();
    // The second operand's place is a folder: nothing of the bundle is written.
    let mut arguments = vec!["compile"];
    arguments.extend(SMALL);
    let launch = room.name("b.json");
    arguments.extend(["--emit", "launch", "-o", &launch]);
    expect(&alcop(&arguments), 2, "b.a.npy");
    assert_eq!(room.names(), ["b", "b.a.npy", "k.ptx"]);
}

#[test]
fn bundles_in_one_folder_do_not_meet() {
    let room = Room::new();
    for (name, k) in [("one", "64"), ("two", "32")] {
        let launch = room.name(&format!("{name}.json"));
        stdout(&alcop(&[
            "compile",
            "--op",
            "matmul",
            "--m",
            "64",
            "--n",
            "64",
            "--k",
            k,
            "--block",
            "64x64x32",
            "--warp",
            "32x32",
            "--shared-stages",
            "1",
            "--register-stages",
            "1",
            "--emit",
            "launch",
            "-o",
            &launch,
        ]));
    }
    let files = ["a.npy", "b.npy", "json", "ptx"];
    let expected: Vec<String> = ["one", "two"]
        .iter()
        .flat_map(|name| files.map(|file| format!("{name}.{file}")))
        .collect();
    assert_eq!(room.names(), expected);
    for name in ["one", "two"] {
        stdout(&alcop(&["run", &room.name(&format!("{name}.json"))]));
        assert!(room.at(&format!("{name}.c.npy")).exists());
    }
    // A link to a launch file is the launch file, for who writes and who reads.
    fs::create_dir(room.at("links")).unwrap();
    symlink("../real.json", room.at("links/k.json")).unwrap();
    let link = room.name("links/k.json");
    expect(
        &room.shell("$ALCOP compile $SMALL --emit launch -o links/k.json"),
        0,
        "",
    );
    stdout(&alcop(&["run", &link]));
    assert!(room.at("real.c.npy").exists() && room.at("real.ptx").exists());
    assert_eq!(fs::read_dir(room.at("links")).unwrap().count(), 1);
}

#[test]
fn clashes_of_names_are_refused_before_anything_is_written() {
    let room = Room::new();
    let kernel = BARE.replace(
        "kernel {",
        "kernel attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {",
    );
    room.with("k.mlir", &kernel);
    room.with("plan.json", "{}");
    room.with(
        "t.csv",
        "m,n,k,block_m,block_n,block_k,warps,stages\n64,64,64,64,64,32,4,3\n",
    );
    fs::hard_link(room.at("k.mlir"), room.at("hard.ptx")).unwrap();
    symlink("k.mlir", room.at("soft")).unwrap();
    let before = room.names();
    for (script, message) in [
        (
            "$ALCOP compile $SMALL --emit launch -o k.ptx",
            "both the launch file and its PTX",
        ),
        (
            "$ALCOP compile k.mlir --emit launch -o k.ptx",
            "both the launch file and its PTX",
        ),
        (
            "$ALCOP compile k.mlir --emit launch -o hard.json",
            "hard.ptx is the kernel",
        ),
        ("$ALCOP compile k.mlir -o k.mlir", "k.mlir is the kernel"),
        ("$ALCOP compile k.mlir -o hard.ptx", "is the kernel"),
        ("$ALCOP compile k.mlir -o ./soft", "is the kernel"),
        ("$ALCOP compile - -o k.mlir < k.mlir", "is the kernel"),
        ("$ALCOP compile $SMALL --plan plan.json -o plan.json", "is the plan"),
        ("$ALCOP opt k.mlir --canonicalize -o k.mlir", "is the input"),
        ("$ALCOP predict t.csv -o t.csv", "is the table"),
        (
            "$ALCOP bench search --table t.csv --csv x --svg ./x",
            "both the table as CSV and the drawing",
        ),
        ("$ALCOP bench search --table t.csv --csv t.csv", "is the table"),
        (
            "$ALCOP tune $SMALL --out o --journal o/best.json",
            "both the launch file and the journal",
        ),
    ] {
        let script = script.replace("$SMALL", &SMALL[..8].join(" "));
        expect(&room.shell(&script), 2, message);
        assert_eq!(room.text("k.mlir"), kernel, "{script}");
    }
    // A dangling link that leads to the launch file's own name.
    symlink("loop.json", room.at("loop.ptx")).unwrap();
    expect(
        &room.shell("$ALCOP compile k.mlir --emit launch -o loop.json"),
        2,
        "both the launch file and its PTX",
    );
    fs::remove_file(room.at("loop.ptx")).unwrap();
    expect(
        &room.shell("$ALCOP compile k.mlir --emit launch -o - "),
        2,
        "name the launch file with -o",
    );
    expect(
        &room.shell("$ALCOP compile k.mlir --emit launch -o /dev/stdout"),
        2,
        "name the launch file with -o",
    );
    fs::remove_dir(room.at("o")).unwrap();
    assert_eq!(room.names(), before);
}

#[test]
fn outputs_of_a_run_stay_in_the_folder_and_off_the_inputs() {
    let room = Room::new();
    fs::create_dir(room.at("in")).unwrap();
    expect(&room.shell("$ALCOP compile $SMALL --emit launch -o in/k.json"), 0, "");
    let good = room.text("in/k.json");
    let ptx = room.text("in/k.ptx");
    for (output, message) in [
        ("../c.npy", "--allow-outside"),
        (room.name("c.npy").as_str(), "--allow-outside"),
        ("k.ptx", "is its PTX"),
        ("k.json", "is the launch file"),
        ("k.a.npy", "is the input of argument 0"),
    ] {
        let edited = good.replace("k.c.npy", output);
        assert_ne!(edited, good);
        room.with("in/k.json", &edited);
        for command in ["run", "time"] {
            expect(&alcop(&[command, &room.name("in/k.json")]), 2, message);
        }
        assert_eq!(room.text("in/k.ptx"), ptx);
        assert_eq!(room.names(), ["in"]);
    }
    room.with("in/k.json", &good.replace("k.c.npy", "../c.npy"));
    stdout(&alcop(&["time", "--allow-outside", &room.name("in/k.json")]));
    assert_eq!(room.names(), ["in"]);
    stdout(&alcop(&["run", "--allow-outside", &room.name("in/k.json")]));
    assert_eq!(room.names(), ["c.npy", "in"]);
    // One argument names the file that it reads and writes.
    let both = good.replace(r#""npy": "k.a.npy""#, r#""npy": "k.a.npy", "output": "k.a.npy""#);
    assert_ne!(both, good);
    room.with("in/k.json", &both);
    stdout(&alcop(&["run", &room.name("in/k.json")]));
}

/// A launch of a kernel that writes one word.
fn one_word(room: &Room, block: &str, argument: &str) -> String {
    room.with(
        "k.ptx",
        ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n.reg .b64 %rd<3>;\n\
         .reg .b32 %r<2>;\nld.param.u64 %rd1, [p];\ncvta.to.global.u64 %rd2, %rd1;\nmov.u32 %r1, 7;\n\
         st.global.u32 [%rd2], %r1;\nret;\n}\n",
    );
    room.with(
        "k.json",
        &format!(r#"{{"ptx": "k.ptx", "entry": "k", "grid": [1, 1, 1], "block": {block}, "args": [{argument}]}}"#),
    )
}

/// Under a limit of 6 GB of addresses every request beyond it is an error that says its bytes.
#[test]
fn what_does_not_fit_in_memory_is_an_error_with_the_bytes() {
    let room = Room::new();
    let zeros = |shape: &str| format!(r#"{{"zeros": {{"dtype": "f32", "shape": {shape}}}}}"#);
    for (shape, bytes) in [
        ("[3221225472]", "12884901888 bytes"),
        ("[65536, 65536]", "17179869184 bytes"),
        (
            "[4294967296, 4294967296, 4294967296]",
            "316912650057057350374175801344 bytes",
        ),
    ] {
        one_word(&room, "[1, 1, 1]", &zeros(shape));
        for command in ["run", "time"] {
            let output = room.shell(&format!("ulimit -v 6000000; $ALCOP {command} k.json"));
            expect(&output, 2, bytes);
        }
    }
    // Fits once, and not a second time, on the device.
    one_word(&room, "[1, 1, 1]", &zeros("[1000000000]"));
    expect(
        &room.shell("ulimit -v 6000000; $ALCOP run k.json"),
        2,
        "4000000000 bytes",
    );
    for block in ["[4294967295, 4294967295, 4294967295]", "[0, 1, 1]"] {
        one_word(&room, block, &zeros("[8]"));
        expect(&room.shell("$ALCOP run k.json"), 2, "a block of");
    }
    // A header that promises 12 GB, and a file that holds 8 bytes.
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3221225472,), }";
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend([0; 8]);
    fs::write(room.at("x.npy"), file).unwrap();
    one_word(&room, "[1, 1, 1]", r#"{"npy": "x.npy"}"#);
    expect(
        &room.shell("ulimit -v 6000000; $ALCOP run k.json"),
        2,
        "8 bytes of data where [3221225472] F32 takes 12884901888",
    );
}

#[test]
fn extents_beyond_all_memory_are_refused() {
    let room = Room::new();
    const MOST: &str = "18446744073709551615";
    for shape in [
        [MOST, "64", "64"],
        ["64", MOST, "64"],
        ["64", "64", MOST],
        [MOST, MOST, MOST],
    ] {
        let [m, n, k] = shape;
        let operator = format!("--op matmul --m {m} --n {n} --k {k}");
        for command in [
            "explain",
            "compile",
            "compile --emit launch -o k.json",
            "tune --trials 1 --out o",
        ] {
            let output = room.shell(&format!("$ALCOP {command} {operator}"));
            expect(&output, 1, "more than 2^63 bytes");
        }
    }
    for (command, bytes) in [
        ("compile --emit launch -o k.json", "17179869184 bytes"),
        ("tune --trials 1 --out o", "bytes)"),
    ] {
        let output = room.shell(&format!(
            "ulimit -v 6000000; $ALCOP {command} --op matmul --m 65536 --n 65536 --k 65536"
        ));
        expect(&output, 1, bytes);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains("panicked") && !said.contains("stack backtrace"),
            "{said}"
        );
    }
    assert!(!room.at("k.json").exists());
}

/// Whoever reads only the first line (`| head -1`) ends no process with a panic, on either stream.
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let room = Room::new();
    room.with("k.mlir", "gpu.module @m {\n  gpu.bogus\n}");
    room.with("good.mlir", BARE);
    for (command, code) in [
        ("compile $SMALL", 0),
        ("explain $SMALL", 0),
        ("explain k.mlir", 2),
        ("compile no-such.mlir", 2),
        ("opt k.mlir", 2),
        ("--help", 0),
    ] {
        // The reader is gone before the first word: standard error is closed too.
        let script = format!("$ALCOP {command} 2>&1 | true; echo ${{PIPESTATUS[0]}}");
        let ended = stdout(&room.shell(&script));
        assert_eq!(ended.trim(), code.to_string(), "{command}");
    }
}

#[test]
fn there_are_no_colours_in_pipes() {
    let room = Room::new();
    room.with(
        "k.mlir",
        &fs::read_to_string("tests/filetests/detect/read_before_write.mlir").unwrap(),
    );
    for command in ["compile k.mlir", "compile --no-such", "--help", "explain k.mlir"] {
        let output = room.shell(&format!("ALCOP_LOG=debug $ALCOP {command}"));
        let text = [output.stdout, output.stderr].concat();
        assert!(!text.contains(&0x1b), "{command}: {}", String::from_utf8_lossy(&text));
        assert!(!text.is_empty(), "{command}");
    }
}

#[test]
fn a_journal_is_a_plain_file() {
    let room = Room::new();
    room.shell("mkfifo fifo");
    for journal in ["/dev/stdout", "/dev/null", "fifo"] {
        let output = room.shell(
            &format!("$ALCOP tune $SMALL --trials 1 --out o --journal {journal} | cat; exit ${{PIPESTATUS[0]}}")
                .replace("$SMALL", &SMALL[..8].join(" ")),
        );
        expect(&output, 2, "not a plain file");
    }
}

#[test]
fn a_kernel_without_a_launch_shape_is_asked_for_it() {
    let room = Room::new();
    room.with("k.mlir", BARE);
    let compile = |rest: &str| {
        room.shell(&format!(
            "$ALCOP compile k.mlir --shared-stages 1 --register-stages 1 {rest}"
        ))
    };
    let launch = "--emit launch -o k.json";
    expect(&compile(launch), 2, "--block-size X,Y,Z");
    expect(&compile(&format!("{launch} --block-size 32,1,1")), 2, "--grid X,Y,Z");
    expect(&compile(&format!("{launch} --grid 1,1,1")), 2, "--block-size X,Y,Z");
    expect(&compile("--grid 1,1,1"), 2, "--emit launch");
    expect(
        &compile(&format!("{launch} --grid 1,1")),
        2,
        "--grid needs three positive numbers",
    );
    expect(
        &compile(&format!("{launch} --block-size 0,1,1")),
        2,
        "--block-size needs three positive numbers",
    );
    expect(
        &compile(&format!("{launch} --block-size 2048,1,1 --grid 1,1,1")),
        2,
        "at most 1024 threads",
    );
    assert_eq!(room.names(), ["k.mlir"]);
    expect(&compile(&format!("{launch} --block-size 32,1,1 --grid 1,1,1")), 0, "");
    let file: serde_json::Value = serde_json::from_str(&room.text("k.json")).expect("JSON");
    assert_eq!(
        (&file["grid"], &file["block"]),
        (&serde_json::json!([1, 1, 1]), &serde_json::json!([32, 1, 1]))
    );
    assert!(room.text("k.ptx").contains(".reqntid 32"));
    stdout(&alcop(&["run", &room.name("k.json")]));
    let operator = room.shell("$ALCOP compile $SMALL --grid 1,1,1 --emit launch -o x.json");
    expect(&operator, 2, "for a kernel from a file");
    assert!(Path::new(&room.name("k.arg0.npy")).exists());
}
