//! NumPy's `.npy` files, versions 1 to 3, C order, little endian (numpy/lib/format.py describes them).

use std::path::Path;

use alcop_spec::kernel::ArrayDType;

/// An array with its type and extents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyArray {
    /// Element type. Files know no bfloat16: it is written as u16.
    pub dtype: ArrayDType,
    /// Extents, slowest first.
    pub shape: Vec<usize>,
    /// Elements in C order, little endian.
    pub data: Vec<u8>,
}

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Reads an array from the bytes of a file.
///
/// # Errors
/// What about the bytes is not an array that kernels can take.
pub fn decode(bytes: &[u8]) -> Result<NpyArray, String> {
    if bytes.len() < 10 || &bytes[..6] != MAGIC {
        return Err("not a .npy file (its first bytes are not \\x93NUMPY)".to_owned());
    }
    let (start, length) = match bytes[6] {
        1 => (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
        2 | 3 if bytes.len() >= 12 => (
            12,
            u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize,
        ),
        version => return Err(format!("version {version} of the .npy format; 1 to 3 are known")),
    };
    let end = start + length;
    let header = bytes
        .get(start..end)
        .and_then(|header| std::str::from_utf8(header).ok());
    let header = header.ok_or("the header is cut off or no text")?;
    let descr = field(header, "descr").ok_or("the header has no 'descr'")?;
    let descr = descr.trim_start().trim_start_matches(['\'', '"']);
    let descr = &descr[..descr.find(['\'', '"']).ok_or("'descr' is no string")?];
    let dtype = dtype_of(descr).ok_or_else(|| {
        format!("elements of type {descr}; kernels take little-endian f2, f4, f8, i1 to i8 and u1 to u8")
    })?;
    if field(header, "fortran_order").is_some_and(|value| value.trim_start().starts_with("True")) {
        return Err("the array is in Fortran order; save it with numpy.ascontiguousarray".to_owned());
    }
    let shape = field(header, "shape").ok_or("the header has no 'shape'")?;
    let open = shape.find('(').ok_or("'shape' is no tuple")? + 1;
    let close = shape
        .find(')')
        .filter(|&close| close >= open)
        .ok_or("'shape' is no tuple")?;
    let shape: Vec<usize> = shape[open..close]
        .split(',')
        .map(str::trim)
        .filter(|extent| !extent.is_empty())
        .map(|extent| extent.parse::<usize>().map_err(|_| format!("an extent of {extent:?}")))
        .collect::<Result<_, _>>()?;
    let elements = shape.iter().try_fold(1usize, |all, extent| all.checked_mul(*extent));
    let expected = elements
        .and_then(|n| n.checked_mul(dtype.bytes()))
        .ok_or("the extents overflow")?;
    let data = &bytes[end..];
    if data.len() != expected {
        return Err(format!(
            "{} bytes of data where {shape:?} {dtype:?} takes {expected}",
            data.len()
        ));
    }
    Ok(NpyArray {
        dtype,
        shape,
        data: data.to_vec(),
    })
}

/// The bytes of a file with that array.
pub fn encode(array: &NpyArray) -> Vec<u8> {
    let shape: String = array.shape.iter().map(|extent| format!("{extent},")).collect();
    let descr = descr_of(array.dtype);
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The data starts at a multiple of 64 bytes.
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(&array.data);
    out
}

/// Reads a file.
///
/// # Errors
/// As [`decode`], or that the file cannot be read.
pub fn read(path: &Path) -> Result<NpyArray, String> {
    decode(&std::fs::read(path).map_err(|error| error.to_string())?)
}

fn field<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let key = header.find(&format!("'{name}'"))?;
    let rest = &header[key..];
    Some(&rest[rest.find(':')? + 1..])
}

fn dtype_of(descr: &str) -> Option<ArrayDType> {
    Some(match descr {
        "<f2" => ArrayDType::F16,
        "<f4" => ArrayDType::F32,
        "<f8" => ArrayDType::F64,
        "|i1" | "<i1" => ArrayDType::I8,
        "<i2" => ArrayDType::I16,
        "<i4" => ArrayDType::I32,
        "<i8" => ArrayDType::I64,
        "|u1" | "<u1" | "|b1" => ArrayDType::U8,
        "<u2" => ArrayDType::U16,
        "<u4" => ArrayDType::U32,
        "<u8" => ArrayDType::U64,
        _ => return None,
    })
}

fn descr_of(dtype: ArrayDType) -> &'static str {
    match dtype {
        ArrayDType::F16 => "<f2",
        ArrayDType::F32 => "<f4",
        ArrayDType::F64 => "<f8",
        ArrayDType::I8 => "|i1",
        ArrayDType::I16 => "<i2",
        ArrayDType::I32 => "<i4",
        ArrayDType::I64 => "<i8",
        ArrayDType::U8 => "|u1",
        ArrayDType::U16 | ArrayDType::Bf16 => "<u2",
        ArrayDType::U32 => "<u4",
        ArrayDType::U64 => "<u8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let array = NpyArray {
            dtype: ArrayDType::F16,
            shape: vec![2, 3],
            data: (0..12).collect(),
        };
        let bytes = encode(&array);
        assert_eq!(bytes.len() % 64, 12);
        assert_eq!(decode(&bytes), Ok(array));
        let scalar = NpyArray {
            dtype: ArrayDType::I32,
            shape: vec![],
            data: vec![1, 0, 0, 0],
        };
        assert_eq!(decode(&encode(&scalar)), Ok(scalar));
    }

    #[test]
    fn refuses_what_is_not_an_array() {
        let good = encode(&NpyArray {
            dtype: ArrayDType::F32,
            shape: vec![2],
            data: vec![0; 8],
        });
        assert!(decode(b"PK").is_err());
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "cut to {length} bytes");
        }
        let text = String::from_utf8_lossy(&good[10..]).replace("False", "True ");
        let fortran = [&good[..10], text.as_bytes()].concat();
        assert!(decode(&fortran).is_err_and(|message| message.contains("Fortran")));
        let text = String::from_utf8_lossy(&good[10..]).replace("<f4", ">f4");
        assert!(decode(&[&good[..10], text.as_bytes()].concat()).is_err_and(|message| message.contains(">f4")));
    }
}
