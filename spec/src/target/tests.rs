use super::*;

#[test]
fn embedded_targets_parse_and_every_number_has_a_source() {
    let devices = GpuTarget::devices();
    let names: Vec<&str> = devices.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["a100-80gb", "a100-40gb", "rtx3090", "a6000", "h100", "h200"]);
    for target in &devices {
        let json = serde_json::to_value(target).unwrap();
        for table in ["limits", "rates", "overheads"] {
            for (field, value) in json[table].as_object().unwrap() {
                assert!(
                    value.is_null() || target.source(field).is_some(),
                    "{}: {field} lacks a source",
                    target.name
                );
            }
        }
    }
}

#[test]
fn aliases_and_architectures_resolve() {
    assert_eq!(
        GpuTarget::resolve("a100").unwrap(),
        GpuTarget::resolve("a100-80gb").unwrap()
    );
    let bare = GpuTarget::resolve("sm_80").unwrap();
    assert_eq!(bare.limits.shared_bytes_per_block, 163 * 1024);
    assert_eq!(Arch::Sm86.limits().shared_bytes_per_block, 99 * 1024);
    assert_eq!(Arch::Sm90.limits().shared_bytes_per_block, 227 * 1024);
    assert_eq!(Arch::Sm90.limits().warps_per_sm, 64);
}

/// The issue interval, the FMA rate and the number of sub-cores say the same thing three times.
#[test]
fn tensor_core_rates_agree() {
    for target in GpuTarget::devices() {
        let rates = target.rates().unwrap();
        let interval = 16.0 * 8.0 * 16.0 / (rates.mma_fma_per_clk_per_sm / f64::from(target.limits.sub_cores_per_sm));
        assert!(
            (interval / rates.mma_issue_interval_clk - 1.0).abs() < 0.01,
            "{}: {interval}",
            target.name
        );
    }
}

#[test]
fn devices_without_overheads_have_the_reference_devices() {
    let (h100, h200) = (GpuTarget::resolve("h100").unwrap(), GpuTarget::resolve("h200").unwrap());
    assert_eq!(h100.overheads().unwrap(), h200.overheads().unwrap());
    assert!(h100.source("load_extra_clk").unwrap().starts_with("fitted "));
    assert!(
        h200.source("load_extra_clk")
            .unwrap()
            .starts_with("estimate: that of h100")
    );
    assert!(GpuTarget::bare(Arch::Sm80).overheads().is_err());
}

#[test]
fn unknown_names_are_refused_with_the_known_ones() {
    let message = GpuTarget::resolve("a101").unwrap_err().to_string();
    assert_eq!(
        message,
        "unknown target \"a101\"; devices: a100 = a100-80gb, a100-40gb, rtx3090, a6000, h100, h200; \
         architectures: sm_80, sm_86, sm_90; or a file ending in .toml"
    );
}

#[test]
fn a_bare_architecture_has_no_rates() {
    let message = GpuTarget::resolve("sm_80").unwrap().rates().unwrap_err().to_string();
    assert_eq!(
        message,
        "sm_80 is an architecture and has limits only; rates belong to a device: give one of a100 = a100-80gb, \
         a100-40gb, or a file ending in .toml"
    );
}

fn refused(edit: impl Fn(&str) -> String) -> (usize, Option<String>, String) {
    match parse_device("x.toml", &edit(DEVICE_FILES[0].1)) {
        Err(TargetError::Parse {
            line, field, message, ..
        }) => (line, field, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_files_are_refused_with_line_and_field() {
    let clock_line = 1 + DEVICE_FILES[0]
        .1
        .lines()
        .position(|line| line.starts_with("clock_hz"))
        .unwrap();
    let clock = Some("clock_hz".to_owned());

    let (line, field, message) =
        refused(|text| text.replace("clock_hz = { value = 1.41e9", "clock_hz = { value = -1.0"));
    assert_eq!((line, field), (clock_line, clock.clone()));
    assert_eq!(message, "the value -1 is not a number of at least 0");

    let (line, field, _) = refused(|text| text.replace("clock_hz = { value = 1.41e9", "clock_hz = { value = \"fast\""));
    assert_eq!((line, field), (clock_line, clock.clone()));

    let (line, field, message) = refused(|text| text.replace("clock_hz = { value = 1.41e9", "clock_hz = { value = 0"));
    assert_eq!((line, field), (clock_line, clock));
    assert!(message.contains("divided by it"), "{message}");

    let (line, field, message) = refused(|text| text.replace("clock_hz", "klock_hz"));
    assert_eq!((line, field), (clock_line, Some("klock_hz".to_owned())));
    assert!(message.contains("unknown field"), "{message}");

    let (_, _, message) = refused(|text| {
        text.lines()
            .filter(|line| !line.starts_with("clock_hz"))
            .collect::<Vec<_>>()
            .join("\n")
    });
    assert_eq!(message, "missing field `clock_hz`");

    let (line, _, _) = refused(|text| text.replace("arch = \"sm_80\"", "arch = \"sm_10\""));
    assert_eq!(line, 4);
}

#[test]
fn a_missing_file_is_named() {
    let message = GpuTarget::resolve("no/such.toml").unwrap_err().to_string();
    assert!(
        message.starts_with("cannot read the target file no/such.toml: "),
        "{message}"
    );
}
