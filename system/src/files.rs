//! Writes outputs so that nothing is lost: a file whole or not at all where that is possible, and no device, FIFO or link
//! is ever replaced.
//!
//! ```text
//! k.ptx                    nothing there, or a plain file: a partial beside it is renamed; mode and owner stay
//! link -> elsewhere/k.ptx  the file that the link leads to, also where there is none yet
//! /dev/stdout, /dev/fd/3   that descriptor, which is neither opened nor truncated
//! FIFO, device, file with several hard links, mount point     written in place
//! ```

use std::borrow::Cow;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile};

/// Where an output goes, all links followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A descriptor of this process.
    Descriptor(u32),
    /// A descriptor of another process, by its name in `/proc`.
    Foreign(PathBuf),
    /// A file, FIFO or device, or the name of a file that is not there yet.
    Name(PathBuf),
}

/// Links that a path may lead through (`SYMLOOP_MAX` is 40 on Linux: path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Follows all links of an output's path. The last part need not exist.
///
/// # Errors
/// A folder that is not there or not readable, links in a circle, a path that names a folder.
pub fn place(path: &Path) -> io::Result<Place> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Some(number) = named_descriptor(&path) {
            return Ok(Place::Descriptor(number));
        }
        let text = path.as_os_str().as_encoded_bytes();
        let names_a_folder = text.ends_with(b"/") || text.ends_with(b"/.");
        let Some(name) = path.file_name().filter(|_| !names_a_folder) else {
            return Err(Errno::ISDIR.into());
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => fs::canonicalize(folder)?,
            _ => fs::canonicalize(".")?,
        };
        let resolved = folder.join(name);
        if let Some(owner) = owner_of_descriptors(&folder) {
            let number = name.to_str().and_then(|name| name.parse().ok());
            return Ok(match number {
                Some(number) if fs::canonicalize("/proc/self").is_ok_and(|own| own == owner) => {
                    Place::Descriptor(number)
                }
                _ => Place::Foreign(resolved),
            });
        }
        match fs::symlink_metadata(&resolved) {
            Ok(found) if found.is_symlink() => path = folder.join(fs::read_link(&resolved)?),
            Ok(found) if found.is_dir() => return Err(Errno::ISDIR.into()),
            Ok(_) => return Ok(Place::Name(resolved)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::Name(resolved)),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP.into())
}

/// The descriptor that a name stands for by convention, also where there is no `/proc`.
fn named_descriptor(path: &Path) -> Option<u32> {
    let text = path.to_str()?;
    match text {
        "/dev/stdin" => return Some(0),
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => {}
    }
    let number = ["/dev/fd/", "/proc/self/fd/"]
        .iter()
        .find_map(|folder| text.strip_prefix(folder))?;
    number.parse().ok()
}

/// The process whose descriptors a folder lists: `/proc/7` of `/proc/7/fd` and of `/proc/7/task/8/fd`.
fn owner_of_descriptors(folder: &Path) -> Option<PathBuf> {
    let parts: Vec<&str> = folder.to_str()?.strip_prefix("/proc/")?.split('/').collect();
    match parts[..] {
        [process, "fd"] | [process, "task", _, "fd"] => Some(Path::new("/proc").join(process)),
        _ => None,
    }
}

/// An output: its path and its content in pieces.
#[derive(Clone, Debug)]
pub struct Output<'a> {
    /// Where it goes.
    pub path: PathBuf,
    /// What is written, one piece after the other.
    pub pieces: Vec<Cow<'a, [u8]>>,
}

impl<'a> Output<'a> {
    /// Of one piece.
    pub fn new(path: impl Into<PathBuf>, content: impl Into<Cow<'a, [u8]>>) -> Output<'a> {
        Output {
            path: path.into(),
            pieces: vec![content.into()],
        }
    }
}

/// An output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// The output, as it was named.
    pub path: PathBuf,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

/// Writes one output.
///
/// # Errors
/// The system's reason. What stood there is as it was, unless it had to be written in place.
pub fn write(path: &Path, content: &[u8]) -> Result<(), WriteError> {
    write_all(&[Output::new(path, content)])
}

/// Writes outputs that belong together: all of them beside their places first, then each is put in its place, the last one
/// last. Name the file last that names the others.
///
/// # Errors
/// The first output that cannot be written. No partial stays behind.
pub fn write_all(outputs: &[Output<'_>]) -> Result<(), WriteError> {
    let fail = |output: &Output<'_>, source: io::Error| WriteError {
        path: output.path.clone(),
        source,
    };
    let staged = outputs
        .iter()
        .map(|output| stage(output).map_err(|error| fail(output, error)))
        .collect::<Result<Vec<_>, _>>()?;
    for (output, staged) in outputs.iter().zip(staged) {
        staged.commit(output).map_err(|error| fail(output, error))?;
    }
    Ok(())
}

/// An output before its place changes.
enum Staged {
    /// Written beside its place, which it takes by a rename.
    Partial(NamedTempFile, PathBuf),
    /// To be written in place.
    InPlace(PathBuf),
    /// To be written to a descriptor of this process, or appended to one of another.
    Descriptor(u32),
    Foreign(PathBuf),
}

fn stage(output: &Output<'_>) -> io::Result<Staged> {
    let name = match place(&output.path)? {
        Place::Descriptor(number) => return Ok(Staged::Descriptor(number)),
        Place::Foreign(name) => return Ok(Staged::Foreign(name)),
        Place::Name(name) => name,
    };
    let existing = match fs::symlink_metadata(&name) {
        Ok(existing) => Some(existing),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(existing) = &existing {
        if !existing.is_file() {
            return Ok(Staged::InPlace(name));
        }
        // A rename needs no right to write the file itself: whoever may not write it shall not replace it.
        let file = OpenOptions::new().write(true).open(&name)?;
        if existing.nlink() != 1 || is_more_than_its_mode(existing, &file)? {
            return Ok(Staged::InPlace(name));
        }
    }
    let mut partial = match partial(&name, existing.as_ref()) {
        Ok(Some(partial)) => partial,
        Ok(None) => return Ok(Staged::InPlace(name)),
        Err(error) if is_full(&error) => return Err(error),
        // The folder takes no new file, and may have this one all the same.
        Err(_) => return Ok(Staged::InPlace(name)),
    };
    write_pieces(partial.as_file_mut(), output)?;
    settle(partial.as_file())?;
    Ok(Staged::Partial(partial, name))
}

/// Whether a rename would lose something of a file that its mode and owner do not say: set-user-ID, access control lists,
/// other extended attributes. Labels of the system's (`security.`) come with the folder.
fn is_more_than_its_mode(existing: &Metadata, file: &File) -> io::Result<bool> {
    if existing.mode() & 0o6000 != 0 {
        return Ok(true);
    }
    let mut names = vec![0; 64 << 10]; // XATTR_LIST_MAX: xattr(7)
    let bytes = match rustix::fs::flistxattr(file, &mut names) {
        Ok(bytes) => bytes,
        Err(Errno::NOTSUP | Errno::NOSYS) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut names = names[..bytes].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.any(|name| !name.starts_with(b"security.")))
}

/// A file of a random name beside an output, with the mode and owner of what stands there; `None` where it cannot have
/// these.
fn partial(name: &Path, existing: Option<&Metadata>) -> io::Result<Option<NamedTempFile>> {
    let folder = name.parent().unwrap_or(Path::new("/"));
    // The system takes the umask off. What replaces a file is nobody else's to read before it has that file's mode.
    let mode = if existing.is_some() { 0o600 } else { 0o666 };
    let partial = Builder::new()
        .prefix(".alcop-")
        .suffix(".partial")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    let Some(existing) = existing else {
        return Ok(Some(partial));
    };
    let own = partial.as_file().metadata()?;
    if (own.uid(), own.gid()) != (existing.uid(), existing.gid()) {
        let owned = std::os::unix::fs::fchown(partial.as_file(), Some(existing.uid()), Some(existing.gid()));
        if owned.is_err() {
            return Ok(None);
        }
    }
    let mode = Permissions::from_mode(existing.mode() & 0o7777);
    Ok(partial.as_file().set_permissions(mode).is_ok().then_some(partial))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn write_pieces(file: &mut File, output: &Output<'_>) -> io::Result<()> {
    output.pieces.iter().try_for_each(|piece| file.write_all(piece))
}

/// Hands a file's content to the disk, where the file system can do that.
fn settle(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

impl Staged {
    fn commit(self, output: &Output<'_>) -> io::Result<()> {
        match self {
            Staged::Partial(partial, name) => match partial.persist(&name) {
                Ok(_) => Ok(()),
                // A mount point, for one, cannot be renamed over. The partial is removed when the error is dropped.
                Err(_) => in_place(&name, output),
            },
            Staged::InPlace(name) => in_place(&name, output),
            Staged::Descriptor(number) => to_descriptor(number, output),
            Staged::Foreign(name) => write_pieces(&mut OpenOptions::new().append(true).open(name)?, output),
        }
    }
}

/// Writes over what stands there, and then cuts off what is left of it.
fn in_place(name: &Path, output: &Output<'_>) -> io::Result<()> {
    let exists = fs::symlink_metadata(name).is_ok();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(!exists)
        .custom_flags(rustix::fs::OFlags::NOCTTY.bits() as i32)
        .open(name)?;
    write_pieces(&mut file, output)?;
    if file.metadata()?.is_file() {
        let bytes: usize = output.pieces.iter().map(|piece| piece.len()).sum();
        file.set_len(bytes as u64)?;
        settle(&file)?;
    }
    Ok(())
}

/// Writes to a descriptor through a copy of it, which shares its position and flags (`>>`).
fn to_descriptor(number: u32, output: &Output<'_>) -> io::Result<()> {
    let raw = i32::try_from(number).map_err(|_| io::Error::from(Errno::BADF))?;
    if number == 1 {
        io::stdout().flush()?;
    }
    // SAFETY: the number is not negative, and borrowed for the copy alone; one that is not open is an error of fcntl(2).
    let copy = rustix::io::fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(raw) }, 0)?;
    match write_pieces(&mut File::from(copy), output) {
        // Who reads (`| head`) has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && number <= 2 => Ok(()),
        result => result,
    }
}

/// Whether files can be made in a folder; none stays.
///
/// # Errors
/// The system's reason.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    Builder::new().prefix(".alcop-").tempfile_in(folder)?.close()
}

/// From now on a write beyond the largest size of files (`ulimit -f`) is an error, instead of ending the process and leaving
/// its partials behind.
pub fn report_full_files() {
    // SAFETY: ignoring a signal installs no handler. It cannot fail for a signal that may be ignored (signal(2)).
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// What two names must not share. Streams, which outputs may share, have none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A file that is there, by device and number: hard links are one file.
    File(u64, u64),
    /// The name of a file that is not there yet.
    Name(PathBuf),
}

/// The file that an output's path leads to, or will; `None` for descriptors, FIFOs and devices.
///
/// # Errors
/// See [`place`].
pub fn identity(path: &Path) -> io::Result<Option<Identity>> {
    let Place::Name(name) = place(path)? else {
        return Ok(None);
    };
    match fs::symlink_metadata(&name) {
        Ok(found) if found.is_file() => Ok(Some(Identity::File(found.dev(), found.ino()))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Identity::Name(name))),
        Err(error) => Err(error),
    }
}

/// The file that is read by a path (`-` is standard input); `None` where there is none, or it is a stream.
pub fn identity_of_input(path: &Path) -> Option<Identity> {
    let found = match path == Path::new("-") {
        true => fs::metadata("/dev/stdin"),
        false => fs::metadata(path),
    };
    let file = found.ok().filter(Metadata::is_file)?;
    Some(Identity::File(file.dev(), file.ino()))
}

/// Two things that one file would have to be.
#[derive(Debug, thiserror::Error)]
pub enum ClashError {
    /// Two outputs.
    #[error(
        "{} would be both {one} and {other}; nothing was written; give the outputs names of their own", path.display()
    )]
    Outputs {
        /// The second output's path.
        path: PathBuf,
        /// What the first is.
        one: String,
        /// What the second is.
        other: String,
    },
    /// An output over an input.
    #[error("{} is {input}, and would be overwritten by {output}; nothing was written; give the output another name", path.display())]
    Input {
        /// The output's path.
        path: PathBuf,
        /// What is read there.
        input: String,
        /// What would be written.
        output: String,
    },
    /// An output whose place cannot be found.
    #[error(transparent)]
    Place(#[from] WriteError),
}

/// Checks, before anything is written, that outputs are files of their own: none is another one, none an input. Each path
/// comes with what it is, for the message ("the launch file").
///
/// # Errors
/// The first clash, or an output that has no place.
pub fn check_clashes(outputs: &[(&Path, &str)], inputs: &[(&Path, &str)]) -> Result<(), ClashError> {
    let read: Vec<(Identity, &str)> = inputs
        .iter()
        .filter_map(|(path, what)| Some((identity_of_input(path)?, *what)))
        .collect();
    let mut written: Vec<(Identity, &str)> = Vec::new();
    for (path, what) in outputs {
        let found = identity(path).map_err(|source| WriteError {
            path: path.to_path_buf(),
            source,
        })?;
        let Some(found) = found else { continue };
        if let Some((_, input)) = read.iter().find(|(input, _)| *input == found) {
            return Err(ClashError::Input {
                path: path.to_path_buf(),
                input: (*input).to_owned(),
                output: (*what).to_owned(),
            });
        }
        if let Some((_, one)) = written.iter().find(|(one, _)| *one == found) {
            return Err(ClashError::Outputs {
                path: path.to_path_buf(),
                one: (*one).to_owned(),
                other: (*what).to_owned(),
            });
        }
        written.push((found, what));
    }
    Ok(())
}

/// Whether a path leads to a FIFO, a device or a descriptor, beside which no other file can stand.
///
/// # Errors
/// See [`place`].
pub fn is_stream(path: &Path) -> io::Result<bool> {
    let Place::Name(name) = place(path)? else {
        return Ok(true);
    };
    Ok(fs::symlink_metadata(&name).is_ok_and(|found| {
        let kind = found.file_type();
        kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || kind.is_socket()
    }))
}

#[cfg(test)]
mod tests;
