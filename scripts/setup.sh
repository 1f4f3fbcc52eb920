#!/usr/bin/env bash
# Installs what alcop needs to build and this machine lacks. Idempotent: where nothing is missing it only says so.
#
#   scripts/setup.sh           what `make tune` and `make test` need
#   scripts/setup.sh --lint    … and rustfmt and clippy
#   scripts/setup.sh --sass    … and Python's venv, for `make bench-sass`
#   scripts/setup.sh --check   install nothing; exit 1 if something is missing
#
# On Debian 12, as root or with sudo, it installs Debian packages. On any other system it lists what to install.
set -euo pipefail

readonly RUST_MINOR=88 # the oldest Rust is 1.88: `rust-version` in Cargo.toml
readonly DEBIAN_PACKAGES=(
    llvm-22-dev libmlir-22-dev mlir-22-tools llvm-22-tools libclang-22-dev libpolly-22-dev
    zlib1g-dev libzstd-dev libxml2-dev libffi-dev libz3-dev g++ make python3 ca-certificates
)
readonly LLVM_PREFIX="${MLIR_SYS_220_PREFIX:-/usr/lib/llvm-22}"

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

want_lint=false want_sass=false check_only=false
for argument in "$@"; do
    case "$argument" in
        --lint) want_lint=true ;;
        --sass) want_sass=true ;;
        --check) check_only=true ;;
        -h | --help)
            sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        *)
            printf 'setup: unknown option %s; see scripts/setup.sh --help\n' "$argument" >&2
            exit 2
            ;;
    esac
done

# Where rustup puts its proxies, in case the shell does not have it on PATH yet.
export PATH="$PATH:${HOME:-/root}/.cargo/bin"

# "1.95" for `cargo 1.95.0 (…)`; nothing where the tool is absent or has no toolchain to run.
version_of() {
    { "$1" --version 2>/dev/null || true; } | sed -n "1s/^$1 \([0-9]*\.[0-9]*\).*/\1/p"
}

new_enough() {
    local major="${1%%.*}" minor="${1#*.}"
    [[ "$1" == *.* ]] && { ((major > 1)) || ((major == 1 && minor >= RUST_MINOR)); }
}

rust_is_ready() { new_enough "$(version_of cargo)" && new_enough "$(version_of rustc)"; }
lint_is_ready() { cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; }
venv_is_ready() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

describe_rust() {
    local cargo rustc
    cargo="$(version_of cargo)" rustc="$(version_of rustc)"
    printf 'cargo %s, rustc %s' "${cargo:-absent}" "${rustc:-absent}"
}

is_debian_12() {
    [[ -r /etc/os-release ]] && (
        # shellcheck source=/dev/null
        . /etc/os-release
        [[ "${ID:-}" == debian && "${VERSION_ID:-}" == 12 ]]
    )
}

# --- not Debian 12: look for the things themselves, list those that are not there ------------------------------------

any_exists() {
    local path
    for path in "$@"; do
        [[ -e "$path" ]] && return 0
    done
    return 1
}

check_elsewhere() {
    local missing=() version
    version="$({ "$LLVM_PREFIX/bin/llvm-config" --version 2>/dev/null || true; })"
    [[ "$version" == 22.* ]] || missing+=("LLVM 22 with headers and the NVPTX target (llvm-config in $LLVM_PREFIX/bin)")
    any_exists "$LLVM_PREFIX"/include/mlir-c/IR.h ||
        missing+=("MLIR 22 with headers (mlir-c/IR.h in $LLVM_PREFIX/include)")
    any_exists "$LLVM_PREFIX"/lib/libMLIR-C.so "$LLVM_PREFIX"/lib/libMLIRCAPI*.a ||
        missing+=("MLIR's C API (libMLIR-C.so, or libMLIR.so with libMLIRCAPI*.a, in $LLVM_PREFIX/lib)")
    any_exists "$LLVM_PREFIX"/bin/mlir-tblgen || missing+=("mlir-tblgen 22, in $LLVM_PREFIX/bin")
    any_exists "${LIBCLANG_PATH:-$LLVM_PREFIX/lib}"/libclang*.so* ||
        missing+=("libclang, for bindgen (in $LLVM_PREFIX/lib, or where LIBCLANG_PATH points)")
    command -v c++ >/dev/null || missing+=("a C++ compiler")
    command -v python3 >/dev/null || missing+=("Python 3")
    rust_is_ready || missing+=("Rust 1.$RUST_MINOR or newer (here: $(describe_rust)): https://rustup.rs")
    if $want_lint && ! lint_is_ready; then
        missing+=("rustfmt and clippy: rustup component add rustfmt clippy")
    fi
    if $want_sass && ! venv_is_ready; then
        missing+=("Python 3 with venv and pip")
    fi
    if ((${#missing[@]} == 0)); then
        say "nothing is missing ($LLVM_PREFIX, $(describe_rust))"
        return
    fi
    {
        echo "setup: this is not Debian 12, so nothing was installed. Please install:"
        printf '  - %s\n' "${missing[@]}"
        cat <<TEXT
The development files of zlib, zstd, libxml2, libffi, Z3 and Polly are needed where your LLVM was built with them.
If LLVM is not in $LLVM_PREFIX, set MLIR_SYS_220_PREFIX, LLVM_SYS_221_PREFIX and TABLEGEN_220_PREFIX to where it is,
and LD_LIBRARY_PATH to its lib directory; the defaults are in .cargo/config.toml.
On Debian 12 the packages are: ${DEBIAN_PACKAGES[*]}
TEXT
    } >&2
    exit 1
}

# --- Debian 12 -------------------------------------------------------------------------------------------------------

is_installed() {
    [[ "$({ dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null || true; })" == installed ]]
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: run as root, or install sudo, or ask your administrator for: $*"
    fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get "$@"; }

candidate_version() {
    # 1.96.0+dfsg1-1~deb12u2 -> 1.96
    LC_ALL=C apt-cache policy "$1" | sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}\([0-9]*\.[0-9]*\).*/\2/p'
}

setup_debian() {
    local missing=() package wants_debian_rust=false wants_components=false
    for package in "${DEBIAN_PACKAGES[@]}"; do
        is_installed "$package" || missing+=("$package")
    done

    if ! rust_is_ready; then
        if command -v rustup >/dev/null; then
            # Debian's Rust cannot stand beside rustup's, and which toolchain is the default is the user's choice.
            die "Rust 1.$RUST_MINOR or newer is needed, and rustup's default toolchain is: $(describe_rust)" \
                "run: rustup update stable && rustup default stable"
        fi
        # Debian's own rustc is 1.63. `rustc-web` follows what browsers need; its binaries are plain cargo and rustc.
        wants_debian_rust=true
        missing+=(rustc-web cargo-web)
    fi
    if $want_lint && ! lint_is_ready; then
        if $wants_debian_rust || is_installed rustc-web; then
            missing+=(rustfmt-web rust-web-clippy)
        elif command -v rustup >/dev/null; then
            wants_components=true
        else
            die "rustfmt or clippy is missing for the Rust in $(command -v cargo): install them from where it came from"
        fi
    fi
    if $want_sass && ! venv_is_ready; then
        missing+=(python3 python3-venv)
    fi

    if ((${#missing[@]} == 0)) && ! $wants_components; then
        say "nothing is missing (LLVM and MLIR 22, $(describe_rust))"
        return
    fi
    if ((${#missing[@]} > 0)); then
        say "missing Debian packages: ${missing[*]}"
    fi
    if $wants_components; then
        say "missing rustup components: rustfmt or clippy"
    fi
    if $check_only; then
        exit 1
    fi

    if ((${#missing[@]} > 0)); then
        say "updating the package lists"
        apt_get update -qq
        if $wants_debian_rust; then
            local offered
            offered="$(candidate_version rustc-web)"
            new_enough "$offered" ||
                die "Rust 1.$RUST_MINOR or newer is needed; rustc-web in the package lists is ${offered:-absent}" \
                    "add Debian's bookworm-security archive, or install Rust from https://rustup.rs"
        fi
        say "installing: ${missing[*]}"
        apt_get install -y -qq --no-install-recommends "${missing[@]}"
        hash -r
    fi
    if $wants_components; then
        say "adding rustfmt and clippy through rustup"
        rustup component add rustfmt clippy
    fi
    rust_is_ready || die "Rust was installed, but another comes first on PATH: $(command -v cargo) ($(describe_rust))"
    say "done (LLVM and MLIR 22, $(describe_rust))"
}

if is_debian_12; then
    setup_debian
else
    check_elsewhere
fi

# bindgen looks for libclang by itself and finds Debian's; a stale LIBCLANG_PATH would mislead it.
if [[ -n "${LIBCLANG_PATH:-}" && ! -f "$LIBCLANG_PATH" ]] && ! any_exists "$LIBCLANG_PATH"/libclang*.so*; then
    die "LIBCLANG_PATH is $LIBCLANG_PATH, and there is no libclang: unset it, or set it to $LLVM_PREFIX/lib"
fi
