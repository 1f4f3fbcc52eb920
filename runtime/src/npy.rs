//! NumPy's `.npy` files, versions 1 to 3, C order, little endian (numpy/lib/format.py describes them).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use alcop_spec::kernel::ArrayDType;
use alcop_system::memory;

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
    read_from(bytes, Some(bytes.len() as u64))
}

/// Reads an array from a stream, of which the length may be known. What a header promises is asked for only after it.
fn read_from(mut stream: impl Read, length: Option<u64>) -> Result<NpyArray, String> {
    let mut taken = 0;
    let mut next = |stream: &mut dyn Read, bytes: u64| -> Result<Vec<u8>, String> {
        let mut data = Vec::new();
        stream
            .take(bytes)
            .read_to_end(&mut data)
            .map_err(|error| error.to_string())?;
        taken += data.len() as u64;
        Ok(data)
    };
    let start = next(&mut stream, 10)?;
    if start.len() < 10 || &start[..6] != MAGIC {
        return Err("not a .npy file (its first bytes are not \\x93NUMPY)".to_owned());
    }
    let header_bytes = match start[6] {
        1 => u32::from(u16::from_le_bytes([start[8], start[9]])),
        2 | 3 => {
            let rest = next(&mut stream, 2)?;
            let [low, high] = rest[..] else {
                return Err("the header is cut off or no text".to_owned());
            };
            u32::from_le_bytes([start[8], start[9], low, high])
        }
        version => return Err(format!("version {version} of the .npy format; 1 to 3 are known")),
    };
    let header = next(&mut stream, u64::from(header_bytes))?;
    let header = std::str::from_utf8(&header)
        .ok()
        .filter(|header| header.len() == header_bytes as usize);
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
    let extents = shape.iter().map(|&extent| extent as u64);
    let expected = memory::product(extents.chain([dtype.bytes() as u64]));
    let wrong = |given: u64| {
        Err(format!(
            "{given} bytes of data where {shape:?} {dtype:?} takes {expected}"
        ))
    };
    if let Some(given) = length.map(|length| length.saturating_sub(taken))
        && u128::from(given) != expected
    {
        return wrong(given);
    }
    let mut data: Vec<u8> =
        memory::reserve(expected, &format!("the array {shape:?} {dtype:?}")).map_err(|error| error.to_string())?;
    let read = (&mut stream)
        .take(expected as u64)
        .read_to_end(&mut data)
        .and_then(|_| stream.take(1).read_to_end(&mut Vec::new()));
    let more = read.map_err(|error| error.to_string())?;
    if data.len() as u128 != expected || more > 0 {
        return wrong((data.len() + more) as u64);
    }
    Ok(NpyArray { dtype, shape, data })
}

/// The bytes of a file with that array.
pub fn encode(array: &NpyArray) -> Vec<u8> {
    let mut out = header(array.dtype, &array.shape);
    out.extend(&array.data);
    out
}

/// What stands in a file before the elements, which start at a multiple of 64 bytes.
pub fn header(dtype: ArrayDType, shape: &[usize]) -> Vec<u8> {
    let shape: String = shape.iter().map(|extent| format!("{extent},")).collect();
    let descr = descr_of(dtype);
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Version 1 has two bytes for the length, version 2 four.
    let (version, start) = match header.len() + 64 <= usize::from(u16::MAX) {
        true => (1, 10),
        false => (2, 12),
    };
    while !(start + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([version, 0]);
    out.extend(&(header.len() as u32).to_le_bytes()[..start - 8]);
    out.extend(header.as_bytes());
    out
}

/// Reads a file.
///
/// # Errors
/// As [`decode`], or that the file cannot be read.
pub fn read(path: &Path) -> Result<NpyArray, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let found = file.metadata().map_err(|error| error.to_string())?;
    let length = found.is_file().then_some(found.len());
    read_from(file, length)
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
        let deep = NpyArray {
            dtype: ArrayDType::U8,
            shape: vec![1; 40_000],
            data: vec![7],
        };
        assert_eq!(encode(&deep)[6], 2, "a header of 80 kB");
        assert_eq!(decode(&encode(&deep)), Ok(deep));
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
        let promise = |shape: &str| {
            let text = String::from_utf8_lossy(&good[10..]).replace("(2,), }", &format!("({shape}), }}"));
            let cut = text.len() - 8 - (shape.len() - 2);
            let text = text[..cut - 1].to_owned() + "\n12345678";
            [&good[..10], text.as_bytes()].concat()
        };
        assert!(decode(&promise("2,")).is_ok());
        assert!(
            decode(&promise("3221225472,"))
                .is_err_and(|message| message.contains("8 bytes of data") && message.contains("12884901888"))
        );
        assert!(
            decode(&promise("4294967296,4294967296,4294967296"))
                .is_err_and(|message| message.contains("8 bytes of data"))
        );
        // Of a stream nobody knows the length: what there is not is not asked for.
        let stream = promise("4294967296,4294967296,4294967296");
        assert!(read_from(stream.as_slice(), None).is_err_and(|message| message.contains("more than is left")));
        for cut in [1, 0] {
            let stream = [promise("2,"), vec![0; 1 - cut]].concat();
            let length = stream.len() - 3 * cut;
            assert!(
                read_from(&stream[..length], None).is_err_and(|message| message.contains("bytes of data")),
                "{cut}"
            );
        }
        let text = String::from_utf8_lossy(&good[10..]).replace("False", "True ");
        let fortran = [&good[..10], text.as_bytes()].concat();
        assert!(decode(&fortran).is_err_and(|message| message.contains("Fortran")));
        let text = String::from_utf8_lossy(&good[10..]).replace("<f4", ">f4");
        assert!(decode(&[&good[..10], text.as_bytes()].concat()).is_err_and(|message| message.contains(">f4")));
    }
}
