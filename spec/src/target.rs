//! Targets: an architecture's limits, and a device's rates and latencies, each number with its source.
//!
//! The numbers are the TOML files in `spec/targets/`, which are embedded. A device of one's own is such a file:
//!
//! ```toml
//! name = "my-a100"
//! arch = "sm_80"
//! [rates]
//! sm_count = { value = 108, source = "data sheet" }
//! # … every other field of `Rates`; a section [overheads] may follow
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::op::UnknownName;

/// A GPU architecture for which PTX is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Arch {
    /// Ampere, GA100: A100.
    #[serde(rename = "sm_80")]
    Sm80,
    /// Ampere, GA10x: RTX 3090, RTX A6000.
    #[serde(rename = "sm_86")]
    Sm86,
    /// Hopper, GH100: H100, H200.
    #[serde(rename = "sm_90")]
    Sm90,
}

impl Arch {
    /// All architectures, oldest first.
    pub const ALL: [Arch; 3] = [Arch::Sm80, Arch::Sm86, Arch::Sm90];

    /// The name that compilers use: `sm_80`.
    pub const fn name(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm86 => "sm_86",
            Arch::Sm90 => "sm_90",
        }
    }

    /// Compute capability as major and minor number.
    pub const fn compute_capability(self) -> (u32, u32) {
        match self {
            Arch::Sm80 => (8, 0),
            Arch::Sm86 => (8, 6),
            Arch::Sm90 => (9, 0),
        }
    }

    /// The limits of the architecture.
    pub fn limits(self) -> Limits {
        GpuTarget::bare(self).limits
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Arch::ALL
            .into_iter()
            .find(|arch| arch.name() == name)
            .ok_or_else(|| UnknownName {
                kind: "architecture",
                given: name.to_owned(),
                known: "sm_80, sm_86, sm_90",
            })
    }
}

/// A positive number of a target file, and where it comes from.
#[derive(Deserialize)]
#[serde(try_from = "UncheckedSourced<T>", bound = "T: Deserialize<'de> + Copy + Into<f64>")]
struct Sourced<T> {
    value: T,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedSourced<T> {
    value: T,
    source: String,
}

impl<T: Copy + Into<f64>> TryFrom<UncheckedSourced<T>> for Sourced<T> {
    type Error = String;

    fn try_from(raw: UncheckedSourced<T>) -> Result<Self, String> {
        let value: f64 = raw.value.into();
        if !(value.is_finite() && value >= 0.0) {
            return Err(format!("the value {value} is not a number of at least 0"));
        }
        if raw.source.trim().is_empty() {
            return Err("the source is empty: say where the number comes from".to_owned());
        }
        Ok(Sourced {
            value: raw.value,
            source: raw.source,
        })
    }
}

/// Declares a table of plain numbers, and the private table of sourced numbers that it is read from.
macro_rules! sourced_table {
    (
        $(#[$meta:meta])* struct $plain:ident, $file:ident;
        required { $( $(#[$doc:meta])* $field:ident: $type:ty, )* }
        optional { $( $(#[$optional_doc:meta])* $optional:ident: $optional_type:ty, )* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $plain {
            $( $(#[$doc])* pub $field: $type, )*
            $( $(#[$optional_doc])* pub $optional: Option<$optional_type>, )*
        }

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $file {
            $( $field: Sourced<$type>, )*
            $( $optional: Option<Sourced<$optional_type>>, )*
        }

        impl $file {
            /// The plain numbers; their sources go to `sources` under the names of the fields.
            fn split(self, sources: &mut BTreeMap<String, String>) -> $plain {
                $( sources.insert(stringify!($field).to_owned(), self.$field.source); )*
                $( let $optional = self.$optional.map(|sourced| {
                    sources.insert(stringify!($optional).to_owned(), sourced.source);
                    sourced.value
                }); )*
                $plain { $( $field: self.$field.value, )* $( $optional, )* }
            }
        }
    };
}

sourced_table! {
    /// What a block and an SM of an architecture may hold. Sources: [`GpuTarget::source`].
    struct Limits, LimitsFile;
    required {
    /// Shared memory that one block may use, static and dynamic together, in bytes (opt-in maximum).
    shared_bytes_per_block: u32,
    /// Shared memory of an SM for all its blocks, in bytes, what is reserved included.
    shared_bytes_per_sm: u32,
    /// Shared memory that the system takes for each resident block, in bytes.
    shared_bytes_reserved_per_block: u32,
    /// Static shared memory of a block, in bytes; more must be dynamic.
    shared_bytes_static_per_block: u32,
    /// Shared memory is handed out in multiples of this many bytes.
    shared_granule_bytes: u32,
    /// 32-bit registers of an SM; also the most that one block may have.
    registers_per_sm: u32,
    /// 32-bit registers that one thread may use.
    registers_per_thread: u32,
    /// Registers are handed out to a warp in multiples of this many 32-bit registers.
    register_granule_per_warp: u32,
    /// Sub-cores (warp schedulers) of an SM; each has an equal share of the registers.
    sub_cores_per_sm: u32,
    /// Resident warps of an SM.
    warps_per_sm: u32,
    /// Resident blocks of an SM.
    blocks_per_sm: u32,
    /// Resident threads of an SM.
    threads_per_sm: u32,
    /// Threads of a block.
    threads_per_block: u32,
    }
    optional {}
}

sourced_table! {
    /// Rates and latencies of a device. `clk` are clocks of the SM. Sources: [`GpuTarget::source`].
    struct Rates, RatesFile;
    required {
    /// Streaming multiprocessors.
    sm_count: u32,
    /// Clock of the SMs under load, in hertz.
    clock_hz: f64,
    /// Dense f16 multiply-adds with f32 accumulation that `mma.sync` sustains, per clk and SM.
    mma_fma_per_clk_per_sm: f64,
    /// Time from the issue of an `mma.m16n8k16` to its result, in clk.
    mma_latency_clk: f64,
    /// Time between two independent `mma.m16n8k16` of one sub-core, in clk.
    mma_issue_interval_clk: f64,
    /// Time of a plain load from shared memory, in clk.
    shared_latency_clk: f64,
    /// Bytes that an SM's shared memory moves per clk.
    shared_bytes_per_clk: f64,
    /// Time of a load that hits the nearer part of L2, in clk.
    l2_near_latency_clk: f64,
    /// Time of a load that hits the farther part of L2, in clk.
    l2_far_latency_clk: f64,
    /// Bytes that L2 delivers per clk and SM while all SMs read.
    l2_bytes_per_clk_per_sm: f64,
    /// Size of L2, in bytes.
    l2_bytes: u32,
    /// Partitions of L2, each of which keeps what the SMs at its side read; 1: all SMs share the whole.
    l2_partitions: u32,
    /// Time of a load from DRAM, in clk.
    dram_latency_clk: f64,
    /// Bytes that DRAM sustains per second for the whole device.
    dram_bytes_per_s: f64,
    /// What a `cp.async` takes longer than a plain load from the same place, in clk.
    cp_async_extra_clk: f64,
    /// Time from the issue of an `ldmatrix.x4` to its result, in clk.
    ldmatrix_x4_latency_clk: f64,
    /// Time between two `ldmatrix.x4` of one SM, in clk.
    ldmatrix_x4_issue_clk: f64,
    /// Time of a barrier of the block when all warps arrive together, in clk.
    barrier_clk: f64,
    /// Lanes of 32-bit integer adds, logic and comparisons of a sub-core: a warp instruction takes 32 / lanes clk.
    int_lanes_per_clk_per_sub_core: f64,
    /// Lanes of f32 arithmetic and of integer multiplies (which run there) of a sub-core.
    float_lanes_per_clk_per_sub_core: f64,
    /// Lanes of special functions (reciprocal, square root, exponential) of a sub-core.
    special_lanes_per_clk_per_sub_core: f64,
    /// Time from the issue of an integer or f32 instruction to its result, in clk.
    alu_latency_clk: f64,
    /// Time from the issue of a special function to its result, in clk.
    special_latency_clk: f64,
    /// Time from the issue of a taken branch to the issue of the warp's next instruction, in clk.
    branch_clk: f64,
    /// Load/store units of a sub-core: a memory instruction of a warp takes 32 / units clk to leave it.
    ldst_lanes_per_clk_per_sub_core: f64,
    /// Memory instructions that a sub-core issues before the first has left it.
    ldst_queue_per_sub_core: u32,
    /// Time of an empty kernel, in seconds.
    launch_overhead_s: f64,
    }
    optional {
    /// Dense f16 multiply-adds with f32 accumulation of `wgmma`, per clk and SM; absent where there is no `wgmma`.
    wgmma_fma_per_clk_per_sm: f64,
    }
}

sourced_table! {
    /// What nobody publishes and the analytic model needs: fitted on timings of whole kernels, six numbers a device.
    /// Sources: [`GpuTarget::source`].
    struct Overheads, OverheadsFile;
    required {
    /// What waiting for a chunk adds to a block's iteration for each of its warps, in clk.
    sync_clk_per_warp: f64,
    /// Issue slots of a warp for loop control, waits and counters, per iteration.
    loop_issue_slots_per_warp: f64,
    /// Issue slots of a warp per copy of 512 bytes (32 threads × 16 bytes), addresses and predicates included.
    copy_issue_slots: f64,
    /// What a chunk's load takes longer than a single L2 hit, in clk.
    load_extra_clk: f64,
    /// Extra traffic of a row of 64 contiguous bytes over one that fills a line of 128, as a share; a row of 32 bytes
    /// has three times that.
    partial_line_penalty: f64,
    /// Start of a block: launch, index arithmetic, descriptors, in clk.
    prologue_clk: f64,
    }
    optional {}
}

impl Rates {
    /// Average latency of an L2 hit, near and far parts being hit equally often, in clk.
    pub fn l2_latency_clk(&self) -> f64 {
        0.5 * (self.l2_near_latency_clk + self.l2_far_latency_clk)
    }

    /// Bytes of data that all SMs read and L2 keeps: each partition has a copy.
    pub fn l2_shared_bytes(&self) -> f64 {
        f64::from(self.l2_bytes) / f64::from(self.l2_partitions.max(1))
    }

    /// Bytes that DRAM sustains per clk for the whole device.
    pub fn dram_bytes_per_clk(&self) -> f64 {
        self.dram_bytes_per_s / self.clock_hz
    }
}

/// A device, or (without rates) a bare architecture. Reading one back from JSON checks no number: that is for what
/// [`GpuTarget`] itself wrote, and a file of the user's is [`GpuTarget::from_file`]'s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuTarget {
    /// Canonical name: `a100-80gb`, or of a bare architecture `sm_80`.
    pub name: String,
    /// Architecture for code generation.
    pub arch: Arch,
    /// What a block and an SM may hold.
    pub limits: Limits,
    /// Rates of the device; `None` for a bare architecture. See [`GpuTarget::rates`].
    pub rates: Option<Rates>,
    /// Fitted overheads; `None` for a bare architecture. A device file without `[overheads]` has those of the
    /// architecture's reference device (A100 80 GB, H100), and their sources say so.
    pub overheads: Option<Overheads>,
    /// The source of each number, by field name.
    pub sources: BTreeMap<String, String>,
}

/// A target that does not exist, cannot be read, or lacks what is asked of it. All are the user's mistakes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The name is neither a device nor an architecture nor a file.
    #[error("unknown target {name:?}; devices: {devices}; architectures: {architectures}; or a file ending in .toml")]
    Unknown {
        /// The name that was given.
        name: String,
        /// The devices that exist.
        devices: String,
        /// The architectures that exist.
        architectures: String,
    },
    /// Rates were asked of a bare architecture.
    #[error(
        "{arch} is an architecture and has limits only; rates belong to a device: give one of {devices}, or a file ending in .toml"
    )]
    NoRates {
        /// The architecture.
        arch: Arch,
        /// The devices of that architecture.
        devices: String,
    },
    /// The file cannot be read.
    #[error("cannot read the target file {path}: {message}")]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        message: String,
    },
    /// The file is not a target.
    #[error("{path}:{line}: {}{message}", field.as_ref().map(|field| format!("{field}: ")).unwrap_or_else(String::new))]
    Parse {
        /// The file.
        path: String,
        /// Line, counted from 1.
        line: usize,
        /// The field on that line, if the line has one.
        field: Option<String>,
        /// What is wrong.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchFile {
    arch: Arch,
    limits: LimitsFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFile {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    arch: Arch,
    rates: RatesFile,
    overheads: Option<OverheadsFile>,
}

/// Embedded devices: file name and text, in the order in which they are listed.
const DEVICE_FILES: [(&str, &str); 6] = [
    ("a100-80gb.toml", include_str!("../targets/a100-80gb.toml")),
    ("a100-40gb.toml", include_str!("../targets/a100-40gb.toml")),
    ("rtx3090.toml", include_str!("../targets/rtx3090.toml")),
    ("a6000.toml", include_str!("../targets/a6000.toml")),
    ("h100.toml", include_str!("../targets/h100.toml")),
    ("h200.toml", include_str!("../targets/h200.toml")),
];

impl GpuTarget {
    /// The target of a name (`a100` = `a100-80gb`, `a100-40gb`, `rtx3090`, `a6000`, `h100`, `h200`, `sm_80`, `sm_86`,
    /// `sm_90`) or of a file whose name ends in `.toml`.
    pub fn resolve(name_or_path: &str) -> Result<GpuTarget, TargetError> {
        if name_or_path.ends_with(".toml") {
            return GpuTarget::from_file(Path::new(name_or_path));
        }
        if let Ok(arch) = name_or_path.parse::<Arch>() {
            return Ok(GpuTarget::bare(arch));
        }
        embedded_devices()
            .into_iter()
            .find(|(target, aliases)| target.name == name_or_path || aliases.iter().any(|alias| alias == name_or_path))
            .map(|(target, _)| target)
            .ok_or_else(|| TargetError::Unknown {
                name: name_or_path.to_owned(),
                devices: device_list(|_| true),
                architectures: Arch::ALL.map(Arch::name).join(", "),
            })
    }

    /// Reads a device from a TOML file (the format is in the module's documentation).
    pub fn from_file(path: &Path) -> Result<GpuTarget, TargetError> {
        let text = std::fs::read_to_string(path).map_err(|error| TargetError::Read {
            path: path.display().to_string(),
            message: error.to_string(),
        })?;
        parse_device(&path.display().to_string(), &text).map(|(target, _)| target)
    }

    /// An architecture without a device.
    pub fn bare(arch: Arch) -> GpuTarget {
        let (path, text) = match arch {
            Arch::Sm80 => ("sm_80.toml", include_str!("../targets/sm_80.toml")),
            Arch::Sm86 => ("sm_86.toml", include_str!("../targets/sm_86.toml")),
            Arch::Sm90 => ("sm_90.toml", include_str!("../targets/sm_90.toml")),
        };
        let file: ArchFile = parse_toml(path, text).unwrap_or_else(|error| panic!("embedded target: {error}"));
        assert_eq!(file.arch, arch, "{path} names another architecture");
        let mut sources = BTreeMap::new();
        let limits = file.limits.split(&mut sources);
        GpuTarget {
            name: arch.name().to_owned(),
            arch,
            limits,
            rates: None,
            overheads: None,
            sources,
        }
    }

    /// All embedded devices, in the order in which they are listed.
    pub fn devices() -> Vec<GpuTarget> {
        embedded_devices().into_iter().map(|(target, _)| target).collect()
    }

    /// The device's fitted overheads; a bare architecture is refused with a list of its devices.
    pub fn overheads(&self) -> Result<&Overheads, TargetError> {
        self.overheads.as_ref().ok_or_else(|| TargetError::NoRates {
            arch: self.arch,
            devices: device_list(|target| target.arch == self.arch),
        })
    }

    /// The device's rates; a bare architecture is refused with a list of its devices.
    pub fn rates(&self) -> Result<&Rates, TargetError> {
        self.rates.as_ref().ok_or_else(|| TargetError::NoRates {
            arch: self.arch,
            devices: device_list(|target| target.arch == self.arch),
        })
    }

    /// Where the number of a field of [`Limits`] or [`Rates`] comes from.
    pub fn source(&self, field: &str) -> Option<&str> {
        self.sources.get(field).map(String::as_str)
    }
}

fn embedded_devices() -> Vec<(GpuTarget, Vec<String>)> {
    DEVICE_FILES
        .iter()
        .map(|(path, text)| parse_device(path, text).unwrap_or_else(|error| panic!("embedded target: {error}")))
        .collect()
}

/// The names of the embedded devices that a condition holds for, with their aliases: "a100 = a100-80gb, a100-40gb".
fn device_list(condition: impl Fn(&GpuTarget) -> bool) -> String {
    let names: Vec<String> = embedded_devices()
        .into_iter()
        .filter(|(target, _)| condition(target))
        .map(|(target, aliases)| aliases.into_iter().chain([target.name]).collect::<Vec<_>>().join(" = "))
        .collect();
    names.join(", ")
}

fn parse_device(path: &str, text: &str) -> Result<(GpuTarget, Vec<String>), TargetError> {
    let file: DeviceFile = parse_toml(path, text)?;
    let mut target = GpuTarget::bare(file.arch);
    let rates = file.rates.split(&mut target.sources);
    check_rates(path, text, &rates)?;
    let overheads = match file.overheads {
        Some(overheads) => overheads.split(&mut target.sources),
        None => reference_overheads(file.arch, &mut target.sources),
    };
    target.overheads = Some(overheads);
    target.name = file.name;
    target.rates = Some(rates);
    Ok((target, file.aliases))
}

/// Overheads for a device that has none of its own.
fn reference_overheads(arch: Arch, sources: &mut BTreeMap<String, String>) -> Overheads {
    let (path, text) = match arch {
        Arch::Sm80 | Arch::Sm86 => DEVICE_FILES[0],
        Arch::Sm90 => DEVICE_FILES[4],
    };
    let reference: DeviceFile = parse_toml(path, text).unwrap_or_else(|error| panic!("embedded target: {error}"));
    let mut reference_sources = BTreeMap::new();
    let overheads = reference
        .overheads
        .unwrap_or_else(|| panic!("embedded target: {path} is a reference device and lacks [overheads]"))
        .split(&mut reference_sources);
    for (field, source) in reference_sources {
        sources.insert(
            field,
            format!(
                "estimate: that of {}, not measured on this device ({source})",
                reference.name
            ),
        );
    }
    overheads
}

/// Zero is allowed for what is added (an extra latency), not for what is divided by.
fn check_rates(path: &str, text: &str, rates: &Rates) -> Result<(), TargetError> {
    let divisors = [
        ("sm_count", f64::from(rates.sm_count)),
        ("clock_hz", rates.clock_hz),
        ("mma_fma_per_clk_per_sm", rates.mma_fma_per_clk_per_sm),
        ("shared_bytes_per_clk", rates.shared_bytes_per_clk),
        ("l2_bytes_per_clk_per_sm", rates.l2_bytes_per_clk_per_sm),
        ("dram_bytes_per_s", rates.dram_bytes_per_s),
        ("int_lanes_per_clk_per_sub_core", rates.int_lanes_per_clk_per_sub_core),
        (
            "float_lanes_per_clk_per_sub_core",
            rates.float_lanes_per_clk_per_sub_core,
        ),
        (
            "special_lanes_per_clk_per_sub_core",
            rates.special_lanes_per_clk_per_sub_core,
        ),
        ("ldst_lanes_per_clk_per_sub_core", rates.ldst_lanes_per_clk_per_sub_core),
        ("ldst_queue_per_sub_core", f64::from(rates.ldst_queue_per_sub_core)),
    ];
    let Some((field, _)) = divisors.into_iter().find(|(_, value)| *value <= 0.0) else {
        return Ok(());
    };
    let line = text
        .lines()
        .position(|line| line.trim_start().starts_with(field))
        .map_or(1, |index| index + 1);
    Err(TargetError::Parse {
        path: path.to_owned(),
        line,
        field: Some(field.to_owned()),
        message: "the value is 0, and times are divided by it; give a positive number".to_owned(),
    })
}

fn parse_toml<T: serde::de::DeserializeOwned>(path: &str, text: &str) -> Result<T, TargetError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let field = text[line_start..]
            .lines()
            .next()
            .and_then(|line| line.split_once('='))
            .map(|(key, _)| key.trim().to_owned());
        TargetError::Parse {
            path: path.to_owned(),
            line: 1 + text[..start].matches('\n').count(),
            field,
            message: error.message().to_owned(),
        }
    })
}

#[cfg(test)]
mod tests;
