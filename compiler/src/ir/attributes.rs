//! Types and attributes. MLIR uniques both: equality is identity.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use mlir_sys::*;

use super::context::{Context, Tie, print};
use super::handles::{string_ref, to_str};

/// A type.
#[derive(Clone, Copy)]
pub struct Type<'ir> {
    raw: MlirType,
    tie: Tie<'ir>,
}

/// An attribute.
#[derive(Clone, Copy)]
pub struct Attr<'ir> {
    raw: MlirAttribute,
    tie: Tie<'ir>,
}

/// The parts of a memref type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemRef<'ir> {
    /// Type of the elements.
    pub element: Type<'ir>,
    /// Extents, slowest first; `None` where dynamic.
    pub shape: Vec<Option<i64>>,
    /// Strides in elements; `None` where dynamic.
    pub strides: Vec<Option<i64>>,
    /// Offset in elements; `None` where dynamic.
    pub offset: Option<i64>,
    /// Whether it lies in a block's shared memory (`#gpu.address_space<workgroup>` or integer 3).
    pub is_workgroup: bool,
}

impl MemRef<'_> {
    /// Whether the elements lie without gaps, the last index fastest, from offset 0.
    pub fn is_row_major(&self) -> bool {
        let mut expected = Some(1);
        for (extent, stride) in self.shape.iter().zip(&self.strides).rev() {
            if expected.is_none() || *stride != expected {
                return false;
            }
            expected = extent.map(|extent| extent * expected.unwrap_or(1));
        }
        self.offset == Some(0)
    }

    /// Bytes from the first to behind the last element, where the type is static.
    pub fn static_bytes(&self) -> Option<u64> {
        let element = self.element.bytes()?;
        let mut last = 0;
        for (extent, stride) in self.shape.iter().zip(&self.strides) {
            let extent = (*extent)?;
            if extent == 0 {
                return Some(0);
            }
            last += (extent - 1) * (*stride)?;
        }
        Some((last as u64 + 1) * element)
    }
}

/// The strides of a memref without gaps; unknown from the first dynamic extent on, outwards.
fn row_major(shape: &[Option<i64>]) -> Vec<Option<i64>> {
    let mut strides = vec![Some(1_i64); shape.len()];
    for dim in (1..shape.len()).rev() {
        strides[dim - 1] = strides[dim]
            .zip(shape[dim])
            .and_then(|(stride, extent)| stride.checked_mul(extent));
    }
    strides
}

impl<'ir> Type<'ir> {
    /// Wraps a raw type.
    ///
    /// # Safety
    /// It must not be null, and its context must live for `'ir`.
    pub unsafe fn from_raw(raw: MlirType) -> Self {
        Type { raw, tie: PhantomData }
    }

    /// The raw type.
    pub fn raw(self) -> MlirType {
        self.raw
    }

    /// `index`.
    pub fn index(context: &'ir Context) -> Self {
        unsafe { Type::from_raw(mlirIndexTypeGet(context.raw())) }
    }

    /// A signless integer.
    pub fn int(context: &'ir Context, bits: u32) -> Self {
        unsafe { Type::from_raw(mlirIntegerTypeGet(context.raw(), bits)) }
    }

    /// `f16`.
    pub fn f16(context: &'ir Context) -> Self {
        unsafe { Type::from_raw(mlirF16TypeGet(context.raw())) }
    }

    /// `bf16`.
    pub fn bf16(context: &'ir Context) -> Self {
        unsafe { Type::from_raw(mlirBF16TypeGet(context.raw())) }
    }

    /// `f32`.
    pub fn f32(context: &'ir Context) -> Self {
        unsafe { Type::from_raw(mlirF32TypeGet(context.raw())) }
    }

    /// A vector.
    pub fn vector(shape: &[i64], element: Type<'ir>) -> Self {
        unsafe { Type::from_raw(mlirVectorTypeGet(shape.len() as isize, shape.as_ptr(), element.raw)) }
    }

    /// A row-major memref; `space` is its memory space attribute.
    pub fn memref(shape: &[i64], element: Type<'ir>, space: Option<Attr<'ir>>) -> Self {
        let space = space.map_or(MlirAttribute { ptr: std::ptr::null() }, |space| space.raw);
        unsafe {
            Type::from_raw(mlirMemRefTypeContiguousGet(
                element.raw,
                shape.len() as isize,
                shape.as_ptr(),
                space,
            ))
        }
    }

    /// The same memref, vector or scalar with elements of another type; `None` for what is none of these.
    pub fn with_element(self, element: Type<'ir>) -> Option<Self> {
        // SAFETY: each accessor is called on the kind of type that it is for; the parts come from a valid type.
        unsafe {
            if mlirTypeIsAMemRef(self.raw) {
                let rank = mlirShapedTypeGetRank(self.raw);
                let shape: Vec<i64> = (0..rank as usize)
                    .map(|dim| mlirShapedTypeGetDimSize(self.raw, dim as isize))
                    .collect();
                let (layout, space) = (
                    mlirMemRefTypeGetLayout(self.raw),
                    mlirMemRefTypeGetMemorySpace(self.raw),
                );
                return Some(Type::from_raw(mlirMemRefTypeGet(
                    element.raw,
                    rank as isize,
                    shape.as_ptr(),
                    layout,
                    space,
                )));
            }
        }
        match self.as_vector() {
            Some((shape, _)) => Some(Type::vector(&shape, element)),
            None => self.scalar_bits().map(|_| element),
        }
    }

    /// A function type.
    pub fn function(context: &'ir Context, inputs: &[Type<'ir>], results: &[Type<'ir>]) -> Self {
        let inputs: Vec<MlirType> = inputs.iter().map(|ty| ty.raw).collect();
        let results: Vec<MlirType> = results.iter().map(|ty| ty.raw).collect();
        unsafe {
            Type::from_raw(mlirFunctionTypeGet(
                context.raw(),
                inputs.len() as isize,
                inputs.as_ptr(),
                results.len() as isize,
                results.as_ptr(),
            ))
        }
    }

    /// Parses a type, e.g. `!nvgpu.device.async.token`.
    pub fn parse(context: &'ir Context, text: &str) -> Option<Self> {
        let raw = unsafe { mlirTypeParseGet(context.raw(), string_ref(text)) };
        (!raw.ptr.is_null()).then_some(Type { raw, tie: PhantomData })
    }

    /// Whether this is `index`.
    pub fn is_index(self) -> bool {
        unsafe { mlirTypeIsAIndex(self.raw) }
    }

    /// Bits of an integer or float.
    pub fn scalar_bits(self) -> Option<u32> {
        unsafe {
            if mlirTypeIsAInteger(self.raw) {
                Some(mlirIntegerTypeGetWidth(self.raw))
            } else if mlirTypeIsAFloat(self.raw) {
                Some(mlirFloatTypeGetWidth(self.raw))
            } else {
                None
            }
        }
    }

    /// Whether this is a floating-point type.
    pub fn is_float(self) -> bool {
        unsafe { mlirTypeIsAFloat(self.raw) }
    }

    /// Bytes of a scalar of whole bytes, or of a static vector of such.
    pub fn bytes(self) -> Option<u64> {
        if let Some((shape, element)) = self.as_vector() {
            return Some(shape.iter().product::<i64>() as u64 * element.bytes()?);
        }
        if self.is_index() {
            return Some(8);
        }
        let bits = self.scalar_bits()?;
        (bits % 8 == 0).then_some(u64::from(bits / 8))
    }

    /// Shape and element type of a fixed-size vector.
    pub fn as_vector(self) -> Option<(Vec<i64>, Type<'ir>)> {
        unsafe {
            if !mlirTypeIsAVector(self.raw) {
                return None;
            }
            let rank = mlirShapedTypeGetRank(self.raw);
            let shape = (0..rank)
                .map(|dim| mlirShapedTypeGetDimSize(self.raw, dim as isize))
                .collect();
            Some((shape, Type::from_raw(mlirShapedTypeGetElementType(self.raw))))
        }
    }

    /// Whether this is a vector whose length is known to the machine alone.
    pub fn is_scalable_vector(self) -> bool {
        // SAFETY: the vector's accessor is called on a vector.
        unsafe { mlirTypeIsAVector(self.raw) && mlirVectorTypeIsScalable(self.raw) }
    }

    /// Rows, columns, bits of an element, and the operand (`AOp`, `BOp`, `COp`) of a `!gpu.mma_matrix`. The C API has no
    /// access to them, so the type's text is taken apart.
    pub fn as_mma_matrix(self) -> Option<(u64, u64, u64, String)> {
        // SAFETY: every type has a dialect.
        let dialect = unsafe { to_str(mlirDialectGetNamespace(mlirTypeGetDialect(self.raw))) };
        if dialect != "gpu" {
            return None;
        }
        let text = self.to_string();
        let (shape, operand) = text
            .strip_prefix("!gpu.mma_matrix<")?
            .strip_suffix('>')?
            .split_once(", ")?;
        let mut parts = shape.split('x');
        let (rows, columns, element) = (parts.next()?, parts.next()?, parts.next()?);
        let bits = element.trim_start_matches(|c: char| !c.is_ascii_digit());
        Some((
            rows.parse().ok()?,
            columns.parse().ok()?,
            bits.parse().ok()?,
            operand.trim_matches('"').to_owned(),
        ))
    }

    /// The parts of a ranked memref with a strided layout.
    pub fn as_memref(self) -> Option<MemRef<'ir>> {
        unsafe {
            if !mlirTypeIsAMemRef(self.raw) {
                return None;
            }
            let rank = mlirShapedTypeGetRank(self.raw) as usize;
            let dynamic = mlirShapedTypeGetDynamicSize();
            let dynamic_stride = mlirShapedTypeGetDynamicStrideOrOffset();
            let shape: Vec<Option<i64>> = (0..rank)
                .map(|dim| mlirShapedTypeGetDimSize(self.raw, dim as isize))
                .map(|extent| (extent != dynamic).then_some(extent))
                .collect();
            let known = |stride: i64| (stride != dynamic_stride).then_some(stride);
            let plain = mlirAffineMapIsIdentity(mlirMemRefTypeGetAffineMap(self.raw)) && !shape.contains(&Some(0));
            let (strides, offset) = if plain {
                // Nearly every memref. MLIR builds and simplifies affine expressions for it, which takes microseconds.
                (row_major(&shape), Some(0))
            } else {
                let mut strides = vec![0_i64; rank];
                let mut offset = 0_i64;
                let result = mlirMemRefTypeGetStridesAndOffset(self.raw, strides.as_mut_ptr(), &raw mut offset);
                if result.value == 0 {
                    return None;
                }
                (strides.into_iter().map(known).collect(), known(offset))
            };
            Some(MemRef {
                element: Type::from_raw(mlirShapedTypeGetElementType(self.raw)),
                shape,
                strides,
                offset,
                is_workgroup: self.memory_space().is_some_and(Attr::is_workgroup),
            })
        }
    }

    /// The number of dimensions of a ranked memref.
    pub fn memref_rank(self) -> Option<usize> {
        unsafe { mlirTypeIsAMemRef(self.raw).then(|| mlirShapedTypeGetRank(self.raw) as usize) }
    }

    /// The element type of a ranked memref.
    pub fn memref_element(self) -> Option<Type<'ir>> {
        unsafe { mlirTypeIsAMemRef(self.raw).then(|| Type::from_raw(mlirShapedTypeGetElementType(self.raw))) }
    }

    /// The number of inputs of a function type.
    pub fn num_inputs(self) -> Option<usize> {
        unsafe { mlirTypeIsAFunction(self.raw).then(|| mlirFunctionTypeGetNumInputs(self.raw) as usize) }
    }

    /// The memory space of a memref, if it names one.
    pub fn memory_space(self) -> Option<Attr<'ir>> {
        unsafe {
            if !mlirTypeIsAMemRef(self.raw) {
                return None;
            }
            Attr::opt(mlirMemRefTypeGetMemorySpace(self.raw))
        }
    }
}

impl<'ir> Attr<'ir> {
    /// Wraps a raw attribute.
    ///
    /// # Safety
    /// It must not be null, and its context must live for `'ir`.
    pub unsafe fn from_raw(raw: MlirAttribute) -> Self {
        Attr { raw, tie: PhantomData }
    }

    pub(super) fn opt(raw: MlirAttribute) -> Option<Self> {
        (!raw.ptr.is_null()).then_some(Attr { raw, tie: PhantomData })
    }

    /// The raw attribute.
    pub fn raw(self) -> MlirAttribute {
        self.raw
    }

    /// An integer of a type (`index` or `iN`).
    pub fn int(ty: Type<'ir>, value: i64) -> Self {
        unsafe { Attr::from_raw(mlirIntegerAttrGet(ty.raw, value)) }
    }

    /// A float of a type.
    pub fn float(context: &'ir Context, ty: Type<'ir>, value: f64) -> Self {
        unsafe { Attr::from_raw(mlirFloatAttrDoubleGet(context.raw(), ty.raw, value)) }
    }

    /// A boolean.
    pub fn bool(context: &'ir Context, value: bool) -> Self {
        unsafe { Attr::from_raw(mlirBoolAttrGet(context.raw(), i32::from(value))) }
    }

    /// A unit attribute: present or not.
    pub fn unit(context: &'ir Context) -> Self {
        unsafe { Attr::from_raw(mlirUnitAttrGet(context.raw())) }
    }

    /// A string.
    pub fn string(context: &'ir Context, text: &str) -> Self {
        unsafe { Attr::from_raw(mlirStringAttrGet(context.raw(), string_ref(text))) }
    }

    /// A type as attribute.
    pub fn ty(ty: Type<'ir>) -> Self {
        unsafe { Attr::from_raw(mlirTypeAttrGet(ty.raw)) }
    }

    /// An array of attributes.
    pub fn array(context: &'ir Context, items: &[Attr<'ir>]) -> Self {
        let raw: Vec<MlirAttribute> = items.iter().map(|item| item.raw).collect();
        unsafe { Attr::from_raw(mlirArrayAttrGet(context.raw(), raw.len() as isize, raw.as_ptr())) }
    }

    /// An array of 64-bit integer attributes (`[0, 1]`), as `vector.extract_strided_slice` wants them.
    pub fn i64_attrs(context: &'ir Context, items: &[i64]) -> Self {
        let ty = Type::int(context, 64);
        let items: Vec<Attr<'ir>> = items.iter().map(|&item| Attr::int(ty, item)).collect();
        Attr::array(context, &items)
    }

    /// `array<i32: …>`.
    pub fn dense_i32(context: &'ir Context, items: &[i32]) -> Self {
        unsafe {
            Attr::from_raw(mlirDenseI32ArrayGet(
                context.raw(),
                items.len() as isize,
                items.as_ptr(),
            ))
        }
    }

    /// `array<i64: …>`.
    pub fn dense_i64(context: &'ir Context, items: &[i64]) -> Self {
        unsafe {
            Attr::from_raw(mlirDenseI64ArrayGet(
                context.raw(),
                items.len() as isize,
                items.as_ptr(),
            ))
        }
    }

    /// `array<i1: …>`.
    pub fn dense_bool(context: &'ir Context, items: &[bool]) -> Self {
        let items: Vec<i32> = items.iter().map(|&item| i32::from(item)).collect();
        unsafe {
            Attr::from_raw(mlirDenseBoolArrayGet(
                context.raw(),
                items.len() as isize,
                items.as_ptr(),
            ))
        }
    }

    /// `dense<value>` of a vector type, from its element attribute.
    pub fn splat(vector: Type<'ir>, element: Attr<'ir>) -> Self {
        unsafe { Attr::from_raw(mlirDenseElementsAttrSplatGet(vector.raw, element.raw)) }
    }

    /// A reference to a symbol of the same table.
    pub fn symbol(context: &'ir Context, name: &str) -> Self {
        unsafe { Attr::from_raw(mlirFlatSymbolRefAttrGet(context.raw(), string_ref(name))) }
    }

    /// A dictionary.
    pub fn dictionary(context: &'ir Context, items: &[(&str, Attr<'ir>)]) -> Self {
        let named: Vec<MlirNamedAttribute> = items
            .iter()
            .map(|(name, attr)| unsafe {
                mlirNamedAttributeGet(mlirIdentifierGet(context.raw(), string_ref(name)), attr.raw)
            })
            .collect();
        unsafe {
            Attr::from_raw(mlirDictionaryAttrGet(
                context.raw(),
                named.len() as isize,
                named.as_ptr(),
            ))
        }
    }

    /// `#gpu.address_space<workgroup>`.
    pub fn workgroup_space(context: &'ir Context) -> Self {
        Attr::parse(context, "#gpu.address_space<workgroup>").expect("the gpu dialect is loaded in every context")
    }

    /// Parses an attribute's text, where the C API has no constructor.
    pub fn parse(context: &'ir Context, text: &str) -> Option<Self> {
        unsafe { Attr::opt(mlirAttributeParseGet(context.raw(), string_ref(text))) }
    }

    /// The value of an integer (or bool) attribute.
    pub fn as_int(self) -> Option<i64> {
        unsafe {
            if mlirAttributeIsABool(self.raw) {
                return Some(i64::from(mlirBoolAttrGetValue(self.raw)));
            }
            mlirAttributeIsAInteger(self.raw).then(|| mlirIntegerAttrGetValueInt(self.raw))
        }
    }

    /// The value of a boolean attribute.
    pub fn as_bool(self) -> Option<bool> {
        unsafe { mlirAttributeIsABool(self.raw).then(|| mlirBoolAttrGetValue(self.raw)) }
    }

    /// Whether it is a number, or a splat of a number, of which every bit is zero.
    pub fn is_zero(self) -> bool {
        // SAFETY: each accessor is called on the kind of attribute that it is for.
        unsafe {
            if mlirAttributeIsADenseElements(self.raw) && mlirDenseElementsAttrIsSplat(self.raw) {
                return Attr::from_raw(mlirDenseElementsAttrGetSplatValue(self.raw)).is_zero();
            }
            if mlirAttributeIsAFloat(self.raw) {
                let value = mlirFloatAttrGetValueDouble(self.raw);
                return value == 0.0 && value.is_sign_positive();
            }
        }
        self.as_int() == Some(0)
    }

    /// Whether it is a floating-point number that is none.
    pub fn is_nan(self) -> bool {
        // SAFETY: the value is asked for only of a float.
        unsafe { mlirAttributeIsAFloat(self.raw) && mlirFloatAttrGetValueDouble(self.raw).is_nan() }
    }

    /// The value of a floating-point attribute.
    pub fn as_float(self) -> Option<f64> {
        // SAFETY: the value is asked for only of a float.
        unsafe { mlirAttributeIsAFloat(self.raw).then(|| mlirFloatAttrGetValueDouble(self.raw)) }
    }

    /// The number that every element of a dense constant has.
    pub fn splat_value(self) -> Option<Attr<'ir>> {
        // SAFETY: the value is asked for only of a splat.
        unsafe {
            let splat = mlirAttributeIsADenseElements(self.raw) && mlirDenseElementsAttrIsSplat(self.raw);
            splat.then(|| Attr::from_raw(mlirDenseElementsAttrGetSplatValue(self.raw)))
        }
    }

    /// The value of a string attribute.
    pub fn as_str(self) -> Option<&'ir str> {
        unsafe { mlirAttributeIsAString(self.raw).then(|| to_str(mlirStringAttrGetValue(self.raw))) }
    }

    /// The name of a flat symbol reference.
    pub fn as_symbol(self) -> Option<&'ir str> {
        unsafe { mlirAttributeIsAFlatSymbolRef(self.raw).then(|| to_str(mlirFlatSymbolRefAttrGetValue(self.raw))) }
    }

    /// The type in a type attribute.
    pub fn as_type(self) -> Option<Type<'ir>> {
        unsafe { mlirAttributeIsAType(self.raw).then(|| Type::from_raw(mlirTypeAttrGetValue(self.raw))) }
    }

    /// The items of an array attribute.
    pub fn as_array(self) -> Option<Vec<Attr<'ir>>> {
        unsafe {
            mlirAttributeIsAArray(self.raw).then(|| {
                let count = mlirArrayAttrGetNumElements(self.raw);
                (0..count)
                    .map(|index| Attr::from_raw(mlirArrayAttrGetElement(self.raw, index)))
                    .collect()
            })
        }
    }

    /// An entry of a dictionary attribute.
    pub fn entry(self, name: &str) -> Option<Attr<'ir>> {
        unsafe {
            if !mlirAttributeIsADictionary(self.raw) {
                return None;
            }
            Attr::opt(mlirDictionaryAttrGetElementByName(self.raw, string_ref(name)))
        }
    }

    /// Whether this is a dictionary.
    pub fn is_dictionary(self) -> bool {
        unsafe { mlirAttributeIsADictionary(self.raw) }
    }

    /// The names and values of a dictionary attribute; none of another attribute.
    pub fn entries(self) -> Vec<(&'ir str, Attr<'ir>)> {
        unsafe {
            if !mlirAttributeIsADictionary(self.raw) {
                return Vec::new();
            }
            (0..mlirDictionaryAttrGetNumElements(self.raw))
                .map(|position| {
                    let named = mlirDictionaryAttrGetElement(self.raw, position);
                    (to_str(mlirIdentifierStr(named.name)), Attr::from_raw(named.attribute))
                })
                .collect()
        }
    }

    /// The integers of a dense integer array (`array<i32: …>`, `array<i64: …>`, `array<i1: …>`) or an array of
    /// integer attributes.
    pub fn as_ints(self) -> Option<Vec<i64>> {
        unsafe {
            if mlirAttributeIsADenseI32Array(self.raw) {
                let count = mlirDenseArrayGetNumElements(self.raw);
                return Some(
                    (0..count)
                        .map(|i| i64::from(mlirDenseI32ArrayGetElement(self.raw, i)))
                        .collect(),
                );
            }
            if mlirAttributeIsADenseI64Array(self.raw) {
                let count = mlirDenseArrayGetNumElements(self.raw);
                return Some((0..count).map(|i| mlirDenseI64ArrayGetElement(self.raw, i)).collect());
            }
            if mlirAttributeIsADenseBoolArray(self.raw) {
                let count = mlirDenseArrayGetNumElements(self.raw);
                return Some(
                    (0..count)
                        .map(|i| i64::from(mlirDenseBoolArrayGetElement(self.raw, i)))
                        .collect(),
                );
            }
        }
        self.as_array()?.into_iter().map(Attr::as_int).collect()
    }

    /// Whether this memory space is a block's shared memory: `#gpu.address_space<workgroup>` or the integer 3.
    pub fn is_workgroup(self) -> bool {
        self.as_int() == Some(3) || self.to_string() == "#gpu.address_space<workgroup>"
    }
}

macro_rules! uniqued {
    ($name:ident, $print:ident) => {
        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                std::ptr::eq(self.raw.ptr, other.raw.ptr)
            }
        }
        impl Eq for $name<'_> {}
        impl Hash for $name<'_> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                (self.raw.ptr as usize).hash(state);
            }
        }
        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&print(|callback, data| unsafe {
                    $print(self.raw, callback, data)
                }))
            }
        }
        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

uniqued!(Type, mlirTypePrint);
uniqued!(Attr, mlirAttributePrint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_of_plain_layouts_are_those_of_mlir() {
        let context = Context::new();
        for text in [
            "memref<f16>",
            "memref<8xf16>",
            "memref<2x3x4xf16>",
            "memref<?x4xf16>",
            "memref<2x?x4xf16>",
            "memref<2x3x?xf16>",
            "memref<1x0x4xf16>",
        ] {
            let ty = Type::parse(&context, text).expect(text);
            let found = ty.as_memref().expect(text);
            let mut strides = vec![0_i64; found.shape.len()];
            let mut offset = 0_i64;
            let dynamic = unsafe {
                assert_eq!(
                    mlirMemRefTypeGetStridesAndOffset(ty.raw, strides.as_mut_ptr(), &raw mut offset).value,
                    1
                );
                mlirShapedTypeGetDynamicStrideOrOffset()
            };
            let expected: Vec<Option<i64>> = strides
                .iter()
                .map(|&stride| (stride != dynamic).then_some(stride))
                .collect();
            assert_eq!((found.strides, found.offset), (expected, Some(offset)), "{text}");
        }
    }
}
