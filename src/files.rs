//! Files, opened so that none of them can be a trap: only regular ones are read, and no more than fits; what is written
//! stands there whole or not at all. A pipe would be waited for, a device read for ever, and a link that came with
//! another job's artifacts leads wherever that job liked.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// No file of more bytes is read or written: as much as a reply may have that is read in full, and far beyond what
/// GitLab's variables, a bundle of root certificates or a receipt come to.
pub const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The name of a file in the making, see [`replace`].
const IN_THE_MAKING: (&str, &str) = (".notify-event-", ".tmp");

/// Whether a link is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It is: somebody who may configure the job named it. Kubernetes mounts secrets as links.
    Followed,
    /// It is an error: another job may have left it.
    Refused,
}

/// A file's content.
///
/// # Errors
/// It can't be read, is no regular file, or too big.
pub fn read(path: &Path, links: Links) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    let too_big = || io::Error::other(format!("is bigger than {MOST_BYTES} bytes"));
    if file.metadata()?.len() > MOST_BYTES {
        return Err(too_big());
    }
    let mut bytes = Vec::new();
    // Some regular files have no size before they are read (those of /proc), and some grow.
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(too_big());
    }
    Ok(bytes)
}

/// A regular file, opened without waiting for anything.
fn open(path: &Path, links: Links) -> io::Result<File> {
    if links == Links::Refused && fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::other("is a link, and links are not followed here"));
    }
    let mut flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    if links == Links::Refused {
        flags |= libc::O_NOFOLLOW;
    }
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Of what was opened, whatever has become of the name meanwhile.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    Ok(file)
}

/// What a [`Long`] file is read through.
pub type LongReader<'a> = BufReader<&'a File>;

/// A file of any length, which is read in pieces, and as often as need be.
pub struct Long(File);

impl Long {
    /// The regular file at `path`; a link is followed, for somebody who may configure the job named it.
    ///
    /// # Errors
    /// It can't be read, or is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        open(path, Links::Followed).map(Self)
    }

    /// All that `source` gives, in a file that has no name and is gone when the program ends, however it does.
    ///
    /// # Errors
    /// `source` can't be read, or there is no room for it.
    pub fn spool(mut source: impl io::Read) -> io::Result<Self> {
        let folder = std::env::temp_dir();
        let path = in_the_making(&folder);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let in_folder = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
        let mut file = options.open(&path).map_err(in_folder)?;
        fs::remove_file(&path)?;
        io::copy(&mut source, &mut file)?;
        Ok(Self(file))
    }

    /// Reads it from its beginning.
    ///
    /// # Errors
    /// It can't be.
    pub fn reader(&self) -> io::Result<LongReader<'_>> {
        (&self.0).rewind()?;
        Ok(BufReader::with_capacity(64 * 1024, &self.0))
    }

    /// Whether `path` leads to this very file.
    pub fn is_at(&self, path: &Path) -> bool {
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.0.metadata(), fs::metadata(path)) {
            (Ok(own), Ok(other)) => place(own) == place(other),
            _ => false,
        }
    }
}

/// A file that is written line by line, and has its name only when it is whole.
pub struct Growing {
    beside: PathBuf,
    file: BufWriter<File>,
}

impl Growing {
    /// A new one in `folder`.
    ///
    /// # Errors
    /// It can't be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let beside = in_the_making(folder);
        let file = File::create_new(&beside)?;
        share(&file, 0o666);
        Ok(Self {
            beside,
            file: BufWriter::new(file),
        })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes())?;
        self.file.write_all(b"\n")
    }

    /// Puts it at `path`, in the place of what stands there.
    ///
    /// # Errors
    /// It could not be written to its end, or can't be put there; it is gone then.
    pub fn put(mut self, path: &Path) -> io::Result<()> {
        let put = self.file.flush().and_then(|()| fs::rename(&self.beside, path));
        if put.is_err() {
            let _ = remove(&self.beside);
        }
        put
    }
}

/// A file's content as text, links refused.
///
/// # Errors
/// As [`read`], and where it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read(path, Links::Refused)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("is not UTF-8 text"))
}

/// Whether `path` is a folder, and no link to one.
pub fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether something of that name is there: a link that leads nowhere, too.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Removes a file; what is no regular file or link (of that name) stays.
///
/// # Errors
/// It can't be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    // Unlinking never follows.
    fs::remove_file(path)
}

/// Makes a folder that everybody may write to, where there is none.
///
/// # Errors
/// It can't be made, or is a link or a file.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if is_folder(path) {
        return Ok(());
    }
    if is_there(path) {
        return Err(io::Error::other(format!("{} is no folder", path.display())));
    }
    fs::create_dir_all(path)?;
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
        .open(path)?;
    share(&folder, 0o777);
    Ok(())
}

/// Puts `text` into the file `name` of `folder`, in place of whatever stands there: written beside it first, so that a
/// kill at any moment leaves the old or the new, and a link in its place is replaced, not followed.
///
/// # Errors
/// It can't be written, or is too big to be read again.
pub fn replace(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    write_beside(folder, text, |beside| fs::rename(beside, folder.join(name)))
}

/// Puts `text` into a new file of `folder`. Whether it was new: one that is there stays as it is.
///
/// # Errors
/// It can't be written, or is too big to be read again.
pub fn add(folder: &Path, name: &str, text: &str) -> io::Result<bool> {
    let path = folder.join(name);
    // A name of its own until it is whole. A second name for one file is refused where the first is taken, whatever
    // takes it; renaming would replace that.
    let added = write_beside(folder, text, |beside| fs::hard_link(beside, &path));
    match added {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // Not every file system knows second names.
        Err(_) if !is_there(&path) => write_beside(folder, text, |beside| fs::rename(beside, &path)).map(|()| true),
        Err(error) => Err(error),
    }
}

/// Removes what a killed run left half written in `folder`.
pub fn clear_unfinished(folder: &Path) {
    let (start, end) = IN_THE_MAKING;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|name| name.starts_with(start) && name.ends_with(end));
        if is_ours {
            let _ = remove(&entry.path());
        }
    }
}

/// A name of its own for what is not whole yet.
fn in_the_making(folder: &Path) -> PathBuf {
    let (start, end) = IN_THE_MAKING;
    folder.join(format!("{start}{:016x}{end}", fastrand::u64(..)))
}

fn write_beside(folder: &Path, text: &str, place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
    }
    let beside = in_the_making(folder);
    // Nothing may stand there, not even a link that leads nowhere.
    let mut file = File::create_new(&beside)?;
    share(&file, 0o666);
    let placed = file.write_all(text.as_bytes()).and_then(|()| place(&beside));
    // It is gone after a renaming.
    let _ = remove(&beside);
    placed
}

/// Lets everybody write. The runner hands artifacts to later jobs as root's files with the modes they had, and neither
/// our image nor the user's has to run as root. By descriptor: what is opened is ours, whatever its name leads to by now.
fn share(file: &File, mode: u32) {
    let _ = file.set_permissions(Permissions::from_mode(mode));
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, path::PathBuf, process::Command};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("notify-event-{}-files-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn why(path: &Path, links: Links) -> String {
        read(path, links).unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_are_read_and_links_only_where_they_may_be() {
        let folder = Folder::new("read");
        let path = |name: &str| folder.0.join(name);
        fs::write(path("plain"), "text").unwrap();
        symlink(path("plain"), path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(path("pipe"))
                .status()
                .is_ok_and(|status| status.success())
        );
        symlink(path("pipe"), path("to-pipe")).unwrap();
        let big = File::create(path("big")).unwrap();
        big.set_len(MOST_BYTES + 1).unwrap();
        for links in [Links::Followed, Links::Refused] {
            assert_eq!(read(&path("plain"), links).unwrap(), b"text");
            assert!(why(&path("pipe"), links).contains("no regular file"));
            assert!(why(Path::new("/dev/zero"), links).contains("no regular file"));
            assert!(why(&folder.0, links).contains("no regular file"));
            assert!(why(&path("big"), links).contains("bigger than"));
            assert!(read(&path("missing"), links).is_err());
        }
        assert_eq!(read(&path("link"), Links::Followed).unwrap(), b"text");
        for name in ["zero", "to-pipe"] {
            assert!(why(&path(name), Links::Followed).contains("no regular file"), "{name}");
        }
        for name in ["link", "zero", "to-pipe"] {
            assert!(why(&path(name), Links::Refused).contains("is a link"), "{name}");
        }
        // Its size is said to be 0.
        assert!(
            !read(Path::new("/proc/self/status"), Links::Followed)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_written_replaces_links_and_leaves_nothing_beside_it() {
        let folder = Folder::new("write");
        let path = |name: &str| folder.0.join(name);
        let mode = |name: &str| fs::symlink_metadata(path(name)).unwrap().permissions().mode() & 0o777;
        fs::write(path("profile"), "theirs").unwrap();
        fs::set_permissions(path("profile"), Permissions::from_mode(0o600)).unwrap();
        symlink(path("profile"), path("receipt.env")).unwrap();
        replace(&folder.0, "receipt.env", "A=1\n").unwrap();
        assert_eq!(fs::read_to_string(path("profile")).unwrap(), "theirs");
        assert_eq!(mode("profile"), 0o600);
        assert!(!fs::symlink_metadata(path("receipt.env")).unwrap().is_symlink());
        assert_eq!(mode("receipt.env"), 0o666);
        symlink(path("nowhere"), path("taken")).unwrap();
        assert!(
            !add(&folder.0, "taken", "x").unwrap(),
            "a link that leads nowhere is there"
        );
        assert!(add(&folder.0, "new", "x").unwrap());
        assert!(!add(&folder.0, "new", "y").unwrap());
        assert_eq!(fs::read_to_string(path("new")).unwrap(), "x");
        assert!(!is_there(&path("nowhere")));
        assert!(replace(&folder.0, "big", &"x".repeat(16 * 1024 * 1024 + 1)).is_err());
        let mut names: Vec<_> = fs::read_dir(&folder.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["new", "profile", "receipt.env", "taken"]);
        fs::write(path(".notify-event-00.tmp"), "half").unwrap();
        clear_unfinished(&folder.0);
        assert!(!is_there(&path(".notify-event-00.tmp")));
        assert!(is_there(&path("new")));
    }

    #[test]
    fn a_folder_is_no_link() {
        let folder = Folder::new("folder");
        let path = |name: &str| folder.0.join(name);
        symlink(std::env::temp_dir(), path("link")).unwrap();
        assert!(!is_folder(&path("link")));
        assert!(make_folder(&path("link")).is_err());
        make_folder(&path("a/b")).unwrap();
        assert!(is_folder(&path("a/b")));
        let mode = fs::metadata(path("a/b")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o777);
    }
}
