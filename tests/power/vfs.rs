//! A VFS over SQLite's own that writes down what reaches the disk, in order. It is the process's default once installed,
//! so that the store runs through it as it is.
//!
//! Locks and the shared index go to the real files: neither outlives a power cut. Memory mapping is not offered, so that
//! no write passes by.
#![expect(unsafe_code, reason = "a VFS is a table of C functions")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, OnceLock};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_vfs};

/// What was done to a file, named without its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) file: String,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        size: usize,
    },
    /// All changes of the file before it are on the disk, and its name too.
    Sync,
    /// `durable`: SQLite asked for the folder to be flushed with it.
    Delete {
        durable: bool,
    },
}

struct Recording {
    folder: PathBuf,
    operations: Vec<Operation>,
}

static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);

/// Begins to record what happens to files in a folder.
pub(crate) fn record(folder: &Path) {
    install();
    let mut recording = RECORDING.lock().expect("no holder panics");
    assert!(recording.is_none(), "one recording at a time");
    *recording = Some(Recording {
        folder: folder.to_path_buf(),
        operations: Vec::new(),
    });
}

/// How many operations were recorded so far.
pub(crate) fn position() -> usize {
    let recording = RECORDING.lock().expect("no holder panics");
    recording
        .as_ref()
        .map_or(0, |recording| recording.operations.len())
}

/// Ends the recording.
pub(crate) fn take() -> Vec<Operation> {
    let mut recording = RECORDING.lock().expect("no holder panics");
    recording.take().expect("a recording was begun").operations
}

/// Where a path lies in the recorded folder, its name there.
fn recorded_name(path: &Path) -> Option<String> {
    let recording = RECORDING.lock().expect("no holder panics");
    let name = path.strip_prefix(&recording.as_ref()?.folder).ok()?;
    name.to_str().map(str::to_owned)
}

fn push(file: &str, change: Change) {
    if let Some(recording) = RECORDING.lock().expect("no holder panics").as_mut() {
        recording.operations.push(Operation {
            file: file.to_owned(),
            change,
        });
    }
}

/// SQLite's own VFS.
struct Real(*mut sqlite3_vfs);

// SAFETY: SQLite's own VFS lives as long as the process, and its functions may be called from any thread.
unsafe impl Send for Real {}
// SAFETY: as above; nothing writes to it.
unsafe impl Sync for Real {}

static REAL: OnceLock<Real> = OnceLock::new();
static INSTALLED: Once = Once::new();

fn install() {
    INSTALLED.call_once(|| {
        // SAFETY: the found VFS is SQLite's own and stays; the copy is leaked and so lives as long as the process. Only
        // functions that don't look at the VFS they are called with are taken over as they are.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!real.is_null(), "SQLite has a VFS");
            let mut vfs = Box::new(*real);
            vfs.szOsFile += size_of::<Recorded>() as c_int;
            vfs.pNext = std::ptr::null_mut();
            vfs.zName = c"recording".as_ptr();
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
            assert!(REAL.set(Real(real)).is_ok(), "installed once");
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(vfs), 1), ffi::SQLITE_OK);
        }
    });
}

fn real_vfs() -> *mut sqlite3_vfs {
    REAL.get().expect("installed").0
}

/// An open file: SQLite's own lies behind it in the same memory.
#[repr(C)]
struct Recorded {
    base: sqlite3_file,
    /// Its name where it is recorded; else null.
    name: *mut String,
}

/// SAFETY: `file` must have been given to `open`.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: `szOsFile` has room for both.
    unsafe { file.cast::<Recorded>().add(1).cast() }
}

/// SAFETY: `file` must be open.
unsafe fn name<'a>(file: *mut sqlite3_file) -> Option<&'a str> {
    // SAFETY: `open` has set the name, and `close` alone takes it away.
    unsafe { (*file.cast::<Recorded>()).name.as_ref() }.map(String::as_str)
}

unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    const KEPT: c_int =
        ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;
    // SAFETY: SQLite gives memory of `szOsFile` bytes and a path that is null or ends with a zero.
    unsafe {
        let found = if path.is_null() || flags & KEPT == 0 {
            None
        } else {
            CStr::from_ptr(path)
                .to_str()
                .ok()
                .map(Path::new)
                .and_then(recorded_name)
        };
        (*file).pMethods = std::ptr::null();
        (*file.cast::<Recorded>()).name = std::ptr::null_mut();
        let real_open = (*real_vfs()).xOpen.expect("a VFS opens");
        let code = real_open(real_vfs(), path, real(file), flags, out_flags);
        if code == ffi::SQLITE_OK {
            (*file.cast::<Recorded>()).name =
                found.map_or(std::ptr::null_mut(), |name| Box::into_raw(Box::new(name)));
            (*file).pMethods = &raw const METHODS;
        }
        code
    }
}

unsafe extern "C" fn delete(_vfs: *mut sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite gives a path that ends with a zero.
    unsafe {
        let real_delete = (*real_vfs()).xDelete.expect("a VFS deletes");
        let code = real_delete(real_vfs(), path, sync);
        let name = CStr::from_ptr(path)
            .to_str()
            .ok()
            .map(Path::new)
            .and_then(recorded_name);
        if let (ffi::SQLITE_OK, Some(name)) = (code, name) {
            push(&name, Change::Delete { durable: sync != 0 });
        }
        code
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open, and nobody uses it after this.
    unsafe {
        let recorded = file.cast::<Recorded>();
        if !(*recorded).name.is_null() {
            drop(Box::from_raw((*recorded).name));
            (*recorded).name = std::ptr::null_mut();
        }
        let methods = (*real(file)).pMethods;
        (*methods).xClose.expect("a file closes")(real(file))
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, and SQLite gives `amount` bytes.
    unsafe {
        let methods = (*real(file)).pMethods;
        let code = (*methods).xWrite.expect("a file is written")(real(file), bytes, amount, offset);
        if let (ffi::SQLITE_OK, Some(name)) = (code, name(file)) {
            let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), amount as usize).to_vec();
            let offset = offset as usize;
            push(name, Change::Write { offset, bytes });
        }
        code
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let methods = (*real(file)).pMethods;
        let code = (*methods).xTruncate.expect("a file is cut")(real(file), size);
        if let (ffi::SQLITE_OK, Some(name)) = (code, name(file)) {
            push(
                name,
                Change::Truncate {
                    size: size as usize,
                },
            );
        }
        code
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let methods = (*real(file)).pMethods;
        let code = (*methods).xSync.expect("a file is flushed")(real(file), flags);
        if let (ffi::SQLITE_OK, Some(name)) = (code, name(file)) {
            push(name, Change::Sync);
        }
        code
    }
}

/// Functions that go to the real file as they are.
macro_rules! forward {
    ($($name:ident: $method:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $kind),*) $(-> $result)? {
            // SAFETY: the file is open, and the arguments are SQLite's own.
            unsafe {
                let methods = (*real(file)).pMethods;
                (*methods).$method.expect("SQLite's own VFS has it")(real(file), $($argument),*)
            }
        }
    )*};
}

forward! {
    read: xRead(into: *mut c_void, amount: c_int, offset: sqlite3_int64) -> c_int;
    file_size: xFileSize(size: *mut sqlite3_int64) -> c_int;
    lock: xLock(kind: c_int) -> c_int;
    unlock: xUnlock(kind: c_int) -> c_int;
    check_reserved_lock: xCheckReservedLock(result: *mut c_int) -> c_int;
    file_control: xFileControl(operation: c_int, argument: *mut c_void) -> c_int;
    sector_size: xSectorSize() -> c_int;
    device_characteristics: xDeviceCharacteristics() -> c_int;
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, into: *mut *mut c_void) -> c_int;
    shm_lock: xShmLock(offset: c_int, amount: c_int, flags: c_int) -> c_int;
    shm_barrier: xShmBarrier();
    shm_unmap: xShmUnmap(delete: c_int) -> c_int;
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
