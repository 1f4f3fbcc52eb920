//! The passes of ours by name, and their options.
//!
//! ```text
//! alcop-detect{assume-noalias assume-aligned=4}         verdicts as attributes and remarks
//! alcop-sink-elementwise                                moves work out of copies
//! alcop-plan{shared-stages=3 register-stages=2}         alcop.plan on the module
//! alcop-multi-buffer                                    gives the planned buffers their rings
//! alcop-expand                                          obeys the plan, in those rings or its own
//! alcop-waits                                           relaxes its waits to what each place needs
//! alcop-swizzle                                         lays its slots out without bank conflicts
//! alcop-check-hazards                                   the judge
//! alcop-pipeline{shared-stages=3 register-stages=2}     all of them
//! alcop-lower-math{libdevice}                           math operations as instructions
//! alcop-strip                                           removes attributes of ours
//! ```

use alcop_compiler::detect::attributes;
use alcop_compiler::detect::{Assumptions, DetectOptions, Detection, detect, remark_list};
use alcop_compiler::ir::{Attr, Diagnostic, Module, Op, Severity, preorder};
use alcop_spec::assumption::is_alignment;

use super::planned;
use super::{BuildError, Settings};
use crate::decide::Depths;
use crate::error::Error;
use crate::expand::{expand, multi_buffer};
use crate::fit::Asked;
use crate::hazard;
use crate::math;
use crate::pipeline::transform;
use crate::plan::{PipelinePlan, SharedLayout};
use crate::sink::{sink, sink_and_detect};
use crate::{swizzle, waits};

/// What a user may ask of detection and planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Slots, fragment sets and layout.
    pub depths: Depths,
    /// Which of them an option gave.
    pub asked: Asked,
    /// Threads of a block, where the kernel does not say.
    pub block_size: Option<[u32; 3]>,
    /// How arguments are aligned, where that is said of this pass.
    pub assume_aligned: Option<u64>,
    /// Whether arguments do not overlap, likewise.
    pub assume_noalias: Option<bool>,
    /// Whether a libdevice will be linked.
    pub libdevice: bool,
}

/// A pass of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlcopPass {
    /// Writes verdicts as attributes, and remarks.
    Detect(Options),
    /// Writes the plan into `alcop.plan`.
    Plan(Options),
    /// Moves element-wise work out of copies.
    Sink(Options),
    /// Gives the buffers of `alcop.plan` their rings.
    MultiBuffer,
    /// Obeys `alcop.plan`.
    Expand,
    /// Gives expanded loops their wait counts.
    Waits,
    /// Gives the slots of expanded loops their layout.
    Swizzle,
    /// Fails where the judge finds a hazard.
    CheckHazards,
    /// Detects, plans, expands and judges.
    Pipeline(Options),
    /// Lowers `math` operations; with a libdevice, leaves those that have no lowering of ours.
    LowerMath {
        /// Whether there will be a libdevice.
        libdevice: bool,
    },
    /// Removes every attribute of ours.
    Strip,
}

/// The options of a pass of ours are wrong (the user's mistake).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassOptionError {
    /// No such option.
    #[error("no option {option:?}; known: {known}")]
    Unknown {
        /// What was given.
        option: String,
        /// What there is.
        known: String,
    },
    /// The value does not fit the option.
    #[error("option {option}: {value:?} is not {wanted}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is wanted.
        wanted: &'static str,
    },
}

const DETECTION_OPTIONS: [&str; 3] = ["block-size", "assume-aligned", "assume-noalias"];
const PLAN_OPTIONS: [&str; 6] = [
    "shared-stages",
    "register-stages",
    "layout",
    "block-size",
    "assume-aligned",
    "assume-noalias",
];

/// The names of our passes.
pub fn names() -> Vec<&'static str> {
    vec![
        "alcop-detect",
        "alcop-sink-elementwise",
        "alcop-plan",
        "alcop-multi-buffer",
        "alcop-expand",
        "alcop-waits",
        "alcop-swizzle",
        "alcop-check-hazards",
        "alcop-pipeline",
        "alcop-lower-math",
        "alcop-strip",
    ]
}

/// Whether a name is to be looked up among our passes and not among upstream's.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("alcop-")
}

impl AlcopPass {
    /// A pass from its name and what stands between its braces.
    pub fn parse(name: &str, options: &str) -> Result<AlcopPass, BuildError> {
        let parse = |known: &[&str]| {
            parse_options(options, known).map_err(|error| BuildError::Options {
                name: name.to_owned(),
                error,
            })
        };
        match name {
            "alcop-detect" => Ok(AlcopPass::Detect(parse(&DETECTION_OPTIONS)?)),
            "alcop-sink-elementwise" => Ok(AlcopPass::Sink(parse(&DETECTION_OPTIONS)?)),
            "alcop-plan" => Ok(AlcopPass::Plan(parse(&PLAN_OPTIONS)?)),
            "alcop-pipeline" => Ok(AlcopPass::Pipeline(parse(&PLAN_OPTIONS)?)),
            "alcop-multi-buffer" => parse(&[]).map(|_| AlcopPass::MultiBuffer),
            "alcop-expand" => parse(&[]).map(|_| AlcopPass::Expand),
            "alcop-waits" => parse(&[]).map(|_| AlcopPass::Waits),
            "alcop-swizzle" => parse(&[]).map(|_| AlcopPass::Swizzle),
            "alcop-check-hazards" => parse(&[]).map(|_| AlcopPass::CheckHazards),
            "alcop-lower-math" => parse(&["libdevice"]).map(|options| AlcopPass::LowerMath {
                libdevice: options.libdevice,
            }),
            "alcop-strip" => parse(&[]).map(|_| AlcopPass::Strip),
            _ => Err(BuildError::Unknown { name: name.to_owned() }),
        }
    }

    /// Runs the pass. On an error the module is as it was. Remarks go to the module's context.
    pub fn run(&self, module: &mut Module<'_>, settings: &Settings) -> Result<(), Error> {
        match self {
            AlcopPass::Detect(options) => {
                let detection = detection(module, options, settings);
                attributes::annotate(module, &detection);
                remarks(module, &detection, false);
                Ok(())
            }
            AlcopPass::Plan(options) => {
                let detection = detection(module, options, settings);
                let plan = planned_for(module, module, &detection, (options, settings))?;
                planned::write(module, &plan)
            }
            AlcopPass::Sink(options) => {
                let detection = detection(module, options, settings);
                for (_, error) in sink(module, &detection)?.left {
                    module.context().report(Diagnostic {
                        severity: Severity::Warning,
                        location: String::new(),
                        message: error.to_string(),
                    });
                }
                Ok(())
            }
            AlcopPass::MultiBuffer => {
                let plan = planned::read(module)?;
                plan.check_target(&settings.architecture).map_err(Error::naming_field)?;
                let mut copy = module.duplicate();
                attributes::strip(&copy);
                let renamed = multi_buffer(&mut copy, &plan).map_err(Error::naming_field)?;
                planned::write(&mut copy, &renamed)?;
                module.replace_with(copy);
                Ok(())
            }
            AlcopPass::Waits => waits::count(module).map(|_| ()),
            AlcopPass::Swizzle => swizzle::lay_out(module).map(|_| ()),
            AlcopPass::Expand => {
                let plan = planned::read(module)?;
                plan.check_target(&settings.architecture).map_err(Error::naming_field)?;
                let mut copy = module.duplicate();
                attributes::strip(&copy);
                expand(&mut copy, &plan).map_err(Error::naming_field)?;
                module.replace_with(copy);
                Ok(())
            }
            AlcopPass::CheckHazards => judge(module, module),
            AlcopPass::Pipeline(options) => {
                let mut copy = module.duplicate();
                let found = sink_and_detect(&mut copy, &detect_options(options, settings))?;
                remarks(module, &found, true);
                let plan = planned_for(&copy, module, &found, (options, settings))?;
                if plan.loops.is_empty() {
                    return Ok(());
                }
                attributes::strip(&copy);
                transform(&mut copy, &plan)?;
                judge(module, &copy)?;
                module.replace_with(copy);
                Ok(())
            }
            AlcopPass::LowerMath { libdevice } => math::lower(module, *libdevice),
            AlcopPass::Strip => {
                attributes::strip(module);
                Ok(())
            }
        }
    }
}

fn detection(module: &Module<'_>, options: &Options, settings: &Settings) -> Detection {
    detect(module, &detect_options(options, settings))
}

fn detect_options(options: &Options, settings: &Settings) -> DetectOptions {
    DetectOptions {
        shared_bytes_per_block: settings.shared_bytes_per_block,
        block_size: options.block_size,
        assumptions: Assumptions {
            aligned: options.assume_aligned.unwrap_or(settings.assumptions.aligned),
            noalias: options.assume_noalias.unwrap_or(settings.assumptions.noalias),
        },
    }
}

/// The plan of `module`; a remark for each loop that is less deep than is meant, in `reported`.
fn planned_for(
    module: &Module<'_>,
    reported: &Module<'_>,
    detection: &Detection,
    (options, settings): (&Options, &Settings),
) -> Result<PipelinePlan, Error> {
    let (plan, lowered) = planned::plan(
        module,
        detection,
        &settings.architecture,
        &options.depths,
        options.asked,
    )?;
    for lowered in lowered {
        reported.context().report(Diagnostic {
            severity: Severity::Remark,
            location: lowered.location,
            message: lowered.message,
        });
    }
    Ok(plan)
}

fn remarks(module: &Module<'_>, detection: &Detection, rejections_only: bool) {
    for remark in remark_list(detection) {
        if remark.rejects || !rejections_only {
            module.context().report(Diagnostic {
                severity: Severity::Remark,
                location: remark.location,
                message: remark.message,
            });
        }
    }
}

/// Judges `pipelined`; what the judge could not judge is a warning at the kernel.
fn judge(module: &Module<'_>, pipelined: &Module<'_>) -> Result<(), Error> {
    let kernels = preorder(pipelined.op()).into_iter().filter(|op| op.is("gpu.func"));
    let mut hazards = Vec::new();
    for (kernel, judgement) in kernels.zip(hazard::check(pipelined)) {
        if let Some(reason) = judgement.not_judged {
            module.context().report(Diagnostic {
                severity: Severity::Warning,
                location: kernel.location().to_string(),
                message: format!("{} was not proven free of hazards: {reason}", name(kernel)),
            });
        }
        if let Some(first) = judgement.hazards.first() {
            let location = kernel.location();
            let more = match judgement.hazards.len() {
                1 => String::new(),
                count => format!("; {} more", count - 1),
            };
            let message = format!("{} has hazards: {first}{more}", name(kernel));
            hazards.push(Error::refused("hazard", location, message));
        }
    }
    hazards.into_iter().next().map_or(Ok(()), Err)
}

fn name(kernel: Op<'_>) -> String {
    let name = kernel.attr("sym_name").and_then(Attr::as_str);
    name.map_or_else(|| "the kernel".to_owned(), |name| format!("kernel {name}"))
}

fn parse_options(text: &str, known: &[&str]) -> Result<Options, PassOptionError> {
    let mut options = Options {
        depths: Depths {
            shared_stages: 3,
            register_stages: 2,
            layout: SharedLayout::Xor,
        },
        asked: Asked::default(),
        block_size: None,
        assume_aligned: None,
        assume_noalias: None,
        libdevice: false,
    };
    for option in text.split_whitespace() {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if !known.contains(&name) {
            return Err(PassOptionError::Unknown {
                option: name.to_owned(),
                known: match known {
                    [] => "none".to_owned(),
                    _ => known.join(", "),
                },
            });
        }
        let wrong = |option, wanted| PassOptionError::Value {
            option,
            value: value.to_owned(),
            wanted,
        };
        let count = |option| value.parse().map_err(|_| wrong(option, "a number of stages"));
        let flag = |option| match value {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong(option, "true or false")),
        };
        match name {
            "shared-stages" => {
                options.depths.shared_stages = count("shared-stages")?;
                options.asked.shared = true;
            }
            "register-stages" => {
                options.depths.register_stages = count("register-stages")?;
                options.asked.registers = true;
            }
            "layout" => {
                options.depths.layout = match value {
                    "xor" => SharedLayout::Xor,
                    "plain" => SharedLayout::Plain,
                    _ => return Err(wrong("layout", "xor or plain")),
                }
            }
            "block-size" => {
                let parts: Result<Vec<u32>, _> = value.split(',').map(str::parse).collect();
                let size = parts.ok().and_then(|parts| <[u32; 3]>::try_from(parts).ok());
                let size = size.filter(|size| size.iter().all(|extent| *extent > 0));
                options.block_size = Some(size.ok_or_else(|| wrong("block-size", "three positive numbers: X,Y,Z"))?);
            }
            "assume-aligned" => {
                let bytes = value.parse().ok().filter(|bytes| is_alignment(*bytes));
                let wanted = "a power of two, at most 4096 (bytes)";
                options.assume_aligned = Some(bytes.ok_or_else(|| wrong("assume-aligned", wanted))?);
            }
            "assume-noalias" => options.assume_noalias = Some(flag("assume-noalias")?),
            "libdevice" => options.libdevice = flag("libdevice")?,
            other => unreachable!("{other} is among the known options"),
        }
    }
    Ok(options)
}
