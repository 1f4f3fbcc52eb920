//! A folder that is taken to a machine with a GPU: kernels, launch files, expected outputs, simulated times, and the script
//! that runs and compares them there. `make gpu-pack` makes it; nothing of ours is needed on that machine.
//!
//! ```text
//! run.sh  *.py                    bash run.sh RESULT.json, at most six minutes
//! pack.json                       what to run, what must come out, how long it should take
//! kernels/gather-3-2.{ptx,json}   PTX and its launch file: `alcop run` and `alcop time` take it too
//! expected/HASH.z                 outputs (zlib), each once
//! ```
//!
//! Arrays that kernels read come from seeds (`Generated`), with their SHA-256 in the pack.

mod expected;
mod kernels;
mod times;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use alcop_runtime::launch::ArgBuffer;
use alcop_search::evaluate::sha256;
use alcop_spec::{Kernel, KernelArg, LaunchFile, OpSpec};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use rayon::prelude::*;
use serde::Serialize;

use expected::{buffer, results};
use kernels::Wanted;
use times::{SimulatedDevice, TimedKernel};

/// What a pack may weigh.
pub const SIZE_LIMIT: usize = 40 << 20;
/// The version of `pack.json`.
const SCHEMA: u32 = 1;

/// The files of `scripts/gpu-pack` that run on the other machine.
const SCRIPTS: [(&str, &str); 7] = [
    ("run.sh", include_str!("../../scripts/gpu-pack/run.sh")),
    ("run.py", include_str!("../../scripts/gpu-pack/run.py")),
    ("report.py", include_str!("../../scripts/gpu-pack/report.py")),
    ("pack.py", include_str!("../../scripts/gpu-pack/pack.py")),
    ("check.py", include_str!("../../scripts/gpu-pack/check.py")),
    ("worker.py", include_str!("../../scripts/gpu-pack/worker.py")),
    ("driver.py", include_str!("../../scripts/gpu-pack/driver.py")),
];

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PackError {
    /// A file that cannot be read. The user's mistake.
    #[error("cannot read {path}: {message}")]
    Read { path: PathBuf, message: String },
    /// A folder without kernels. The user's mistake.
    #[error("{folder} has no .mlir files; the repository's are in tests/filetests/pipeline")]
    NoForms { folder: PathBuf },
    /// A device whose times cannot be simulated. A bug of ours.
    #[error("{message}")]
    Target { message: String },
    /// A kernel that cannot be compiled, run or timed, or does not compute exact numbers. A bug of ours, or of a new kernel.
    #[error("{name}: {message}")]
    Kernel { name: String, message: String },
    /// Too many bytes.
    #[error("the pack has {bytes} B and may have {SIZE_LIMIT}; take smaller matmuls in src/gpu_pack/kernels.rs")]
    TooLarge { bytes: usize },
}

impl PackError {
    fn read<E: ToString>(path: &Path) -> impl Fn(E) -> PackError {
        move |error| PackError::Read {
            path: path.to_owned(),
            message: error.to_string(),
        }
    }

    fn kernel<E: ToString>(name: &str) -> impl Fn(E) -> PackError {
        move |error| PackError::Kernel {
            name: name.to_owned(),
            message: error.to_string(),
        }
    }
}

/// A file of a pack.
pub struct PackFile {
    /// Its place inside of the pack.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A pack in memory.
pub struct Pack {
    /// Its files, with paths inside of the pack; `pack.json` is the last.
    pub files: Vec<PackFile>,
    /// Kernels whose outputs are compared.
    pub cases: usize,
    /// Different forms among them.
    pub forms: usize,
    /// Schedules that are timed.
    pub schedules: usize,
}

impl Pack {
    /// All bytes.
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.bytes.len()).sum()
    }
}

/// `pack.json`.
#[derive(Serialize)]
struct Index {
    schema: u32,
    /// The most bytes that the pack may have.
    size_limit: usize,
    devices: Vec<SimulatedDevice>,
    cases: Vec<Case>,
    operators: Vec<Operator>,
    /// Every other file.
    files: BTreeMap<String, FileEntry>,
}

#[derive(Serialize)]
struct FileEntry {
    bytes: usize,
    sha256: String,
}

/// A kernel whose outputs are compared.
#[derive(Serialize)]
struct Case {
    name: String,
    form: String,
    first: bool,
    launch: String,
    /// By argument: the bytes that a seed must give.
    inputs: BTreeMap<usize, String>,
    results: Vec<Expected>,
}

/// An array after the launch.
#[derive(Serialize)]
struct Expected {
    argument: usize,
    sha256: String,
    /// The bytes; an array that the launch leaves as it was has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// binary32, how far each element may be off; without it every bit must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<String>,
}

/// A matmul whose schedules are timed.
#[derive(Serialize)]
struct Operator {
    name: String,
    m: u64,
    n: u64,
    k: u64,
    layout: String,
    dtype: String,
    out_dtype: String,
    inputs: BTreeMap<usize, String>,
    /// Rows of C that are compared, and where their bytes are.
    rows: Vec<u64>,
    rows_file: String,
    schedules: Vec<Schedule>,
}

#[derive(Serialize)]
struct Schedule {
    name: String,
    schedule: String,
    launch: String,
    /// By target.
    simulated_us: BTreeMap<&'static str, f64>,
}

/// Makes a pack. `forms` is the folder of `tests/filetests/pipeline`; a small pack has a few kernels and no times worth
/// reading, for tests.
///
/// # Errors
/// See [`PackError`].
pub fn pack(forms: &Path, small: bool) -> Result<Pack, PackError> {
    let target = kernels::ampere()?;
    let mut files = Files::default();
    for (name, text) in SCRIPTS {
        files.add(name.to_owned(), text.as_bytes().to_vec());
    }
    let recipes = kernels::recipes(forms, small)?;
    let made: Vec<Vec<Checked>> = recipes
        .par_iter()
        .map(|recipe| kernels::make(recipe, &target)?.into_iter().map(checked).collect())
        .collect::<Result<_, PackError>>()?;
    let cases: Vec<Case> = made
        .into_iter()
        .flatten()
        .map(|checked| files.case(checked))
        .collect::<Result<_, _>>()?;
    let forms = cases.iter().filter(|case| case.first).count();
    let devices = times::devices()?;
    let timed = times::timed(small, &target, &devices)?;
    let operators = timed
        .into_iter()
        .map(|timed| files.operator(timed))
        .collect::<Result<Vec<_>, _>>()?;
    let (count, schedules) = (cases.len(), operators.iter().map(|op| op.schedules.len()).sum());
    let index = Index {
        schema: SCHEMA,
        size_limit: SIZE_LIMIT,
        devices: devices.into_iter().map(|(described, _)| described).collect(),
        cases,
        operators,
        files: files.entries(),
    };
    let mut text = serde_json::to_string_pretty(&index).expect("plain data with string keys is JSON");
    text.push('\n');
    let mut files = files.list();
    files.push(PackFile {
        path: "pack.json".into(),
        bytes: text.into_bytes(),
    });
    let pack = Pack {
        files,
        cases: count,
        forms,
        schedules,
    };
    match pack.bytes() {
        bytes if bytes > SIZE_LIMIT => Err(PackError::TooLarge { bytes }),
        _ => Ok(pack),
    }
}

/// A kernel with its arguments before and after.
struct Checked {
    wanted: Wanted,
    before: Vec<ArgBuffer>,
    after: Vec<ArgBuffer>,
}

fn checked(wanted: Wanted) -> Result<Checked, PackError> {
    let failed = PackError::kernel(&wanted.name);
    let before = wanted
        .args
        .iter()
        .map(buffer)
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let failed = PackError::kernel(&wanted.name);
    let after = results(&wanted.kernel, &before, wanted.allowed.is_none()).map_err(failed)?;
    Ok(Checked { wanted, before, after })
}

/// The files of a pack by path.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn add(&mut self, path: String, bytes: Vec<u8>) {
        self.0.insert(path, bytes);
    }

    fn entries(&self) -> BTreeMap<String, FileEntry> {
        let entry = |bytes: &Vec<u8>| FileEntry {
            bytes: bytes.len(),
            sha256: sha256(bytes),
        };
        self.0
            .iter()
            .map(|(path, bytes)| (path.clone(), entry(bytes)))
            .collect()
    }

    fn list(self) -> Vec<PackFile> {
        let files = self.0.into_iter();
        files
            .map(|(path, bytes)| PackFile {
                path: path.into(),
                bytes,
            })
            .collect()
    }

    /// Bytes that are compared, compressed; equal ones share a file.
    fn expected(&mut self, name: &str, bytes: &[u8]) -> Result<String, PackError> {
        let path = format!("expected/{}.z", &sha256(bytes)[..16]);
        if !self.0.contains_key(&path) {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
            self.add(path.clone(), packed.map_err(PackError::kernel(name))?);
        }
        Ok(path)
    }

    /// The PTX and the launch file of a kernel; the path of the latter.
    fn launch(&mut self, name: &str, kernel: Kernel, args: Vec<KernelArg>) -> String {
        let ptx = format!("{name}.ptx");
        let args = args.into_iter().map(|arg| match arg {
            KernelArg::Generated {
                generated,
                output: Some(output),
            } => KernelArg::Generated {
                generated,
                output: Some(format!("{name}.{}", output.display()).into()),
            },
            other => other,
        });
        let launch = LaunchFile {
            ptx: ptx.clone().into(),
            entry: kernel.entry,
            grid: kernel.grid,
            block: kernel.block,
            dynamic_shared_bytes: kernel.dynamic_shared_bytes,
            assumes: Vec::new(),
            args: args.collect(),
        };
        let mut text = serde_json::to_string_pretty(&launch).expect("plain data with string keys is JSON");
        text.push('\n');
        let path = format!("kernels/{name}.json");
        self.add(format!("kernels/{ptx}"), kernel.ptx.into_bytes());
        self.add(path.clone(), text.into_bytes());
        path
    }

    fn case(&mut self, checked: Checked) -> Result<Case, PackError> {
        let Checked { wanted, before, after } = checked;
        let mut results = Vec::new();
        for (argument, (before, after)) in before.iter().zip(&after).enumerate() {
            let Some(bytes) = after.bytes() else { continue };
            let allowed = wanted.allowed.as_ref().filter(|(of, _)| *of == argument);
            let allowed = allowed.map(|(_, each)| {
                let bytes: Vec<u8> = each.iter().flat_map(|error| error.to_le_bytes()).collect();
                self.expected(&wanted.name, &bytes)
            });
            // Parts of sums of fractions, as the sums themselves, have no defined bits: what comes of them is compared.
            if wanted.allowed.is_some() && allowed.is_none() && before != after {
                continue;
            }
            results.push(Expected {
                argument,
                sha256: sha256(bytes),
                file: match before == after {
                    true => None,
                    false => Some(self.expected(&wanted.name, bytes)?),
                },
                allowed: allowed.transpose()?,
            });
        }
        let launch = self.launch(&wanted.name, wanted.kernel, wanted.args);
        Ok(Case {
            name: wanted.name,
            form: wanted.form,
            first: wanted.first,
            launch,
            inputs: hashes(&before),
            results,
        })
    }

    fn operator(&mut self, timed: times::Timed) -> Result<Operator, PackError> {
        let op = timed.op;
        let name = OpSpec::Matmul(op).to_string();
        let operands = kernels::whole_operands(&op);
        let operands = operands.iter().take(2).map(buffer).collect::<Result<Vec<_>, _>>();
        let (rows, bytes) = timed.rows;
        Ok(Operator {
            inputs: hashes(&operands.map_err(PackError::kernel(&name))?),
            rows_file: self.expected(&name, &bytes)?,
            rows,
            m: op.m,
            n: op.n,
            k: op.k,
            layout: op.layout.to_string(),
            dtype: op.dtype.to_string(),
            out_dtype: op.out_dtype.to_string(),
            name,
            schedules: timed.kernels.into_iter().map(|kernel| self.schedule(kernel)).collect(),
        })
    }

    fn schedule(&mut self, timed: TimedKernel) -> Schedule {
        let TimedKernel {
            name,
            schedule,
            kernel,
            args,
            simulated_us,
        } = timed;
        Schedule {
            launch: self.launch(&name, kernel, args),
            name,
            schedule: schedule.to_string(),
            simulated_us: simulated_us.into_iter().collect(),
        }
    }
}

fn hashes(args: &[ArgBuffer]) -> BTreeMap<usize, String> {
    let args = args.iter().enumerate();
    args.filter_map(|(index, arg)| Some((index, sha256(arg.bytes()?))))
        .collect()
}

/// Writes a pack into a folder, which must be empty, absent, or an older pack (a folder with a `pack.json`), which it
/// replaces.
///
/// # Errors
/// A folder that holds something else; what cannot be written.
pub fn write(pack: &Pack, folder: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let occupied = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(folder, error)),
    };
    if occupied {
        if !folder.join("pack.json").is_file() {
            return Err(format!(
                "{} is not empty and is not a pack; name another folder",
                folder.display()
            ));
        }
        // Only what a pack has goes: results that lie beside it stay.
        for part in ["kernels", "expected"] {
            let part = folder.join(part);
            match std::fs::remove_dir_all(&part) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&part, error)),
                _ => {}
            }
        }
    }
    for file in &pack.files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        std::fs::write(&path, &file.bytes).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
