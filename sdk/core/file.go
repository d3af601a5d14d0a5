package core

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// File is a log file that looks after itself. It is written by one goroutine,
// that of a Spool, so what the disk makes it wait for, no one who logs waits
// for.
//
// What is in it are whole lines: of a write that the disk took in part, the
// broken line is taken back; what a killed process left broken gets its end.
// When the file is renamed or deleted by somebody else, as logrotate does, the
// next write begins a new one; no signal is needed. One process at a time may
// write to a path. A path that is no regular file (a pipe, a terminal) is
// written to and nothing else.
type File struct {
	opts FileOptions
	path string // absolute, links followed
	old  oldFiles
	open func(path string) (handle, error)
	now  func() time.Time

	mu      sync.Mutex
	file    handle      // nil: to be opened by the next write
	info    fs.FileInfo // what is open
	regular bool
	size    int64
	period  time.Time // of FileOptions.Every, that of the file
	torn    bool      // the last line has no end
	dirty   bool      // there is something to sync
	closed  bool
	told    time.Time // when Failed was called last
	lost    int       // lines since then
	unmoved time.Time // when it could not be renamed

	tidying, again bool // old files are being looked after; and must be once more
	quit           chan struct{}
	tidied         sync.WaitGroup
}

// FileOptions configure a File. The zero value of a field is its default.
type FileOptions struct {
	// Path of the file; required. Its folder is made.
	Path string
	// MaxBytes is the size at which the file becomes an old one and a new one
	// is begun. Default 100 MiB.
	MaxBytes int64
	// Every begins a new file at each multiple of it, counted from midnight
	// UTC; 24 * time.Hour is daily. Default: by size alone.
	Every time.Duration
	// Keep is how many old files are kept, the newest. Default 7; below 0: all.
	Keep int
	// MaxAge removes older files when a new one is begun. Default: never.
	MaxAge time.Duration
	// Compress has old files compressed with gzip, one at a time, with half a
	// core at most.
	Compress bool
	// Sync is how long a line may be missing after a power failure; after a
	// line with an error it is a tenth of a second at most. The end of the
	// process, however it comes, loses nothing that was written. Default 1 s;
	// below 0 only Close syncs.
	Sync time.Duration
	// Failed hears of what goes wrong, at most once a minute. It must not
	// block. Lines that are lost are counted in SpoolStats.
	Failed func(error)
}

const (
	defaultMaxBytes = 100 << 20
	defaultKeep     = 7
	defaultSync     = time.Second
	// urgentSync is how long a line with an error waits at most. Each costs
	// the disk a seek or an erase, so a storm of errors must not sync more
	// often.
	urgentSync = 100 * time.Millisecond
	// pauseAfterFailure is how often Failed hears of something, and how often
	// renaming is tried again.
	pauseAfterFailure = time.Minute

	fileMode   = 0o640 // the owner writes, a group of log readers reads
	folderMode = 0o750
)

// handle is what a File needs of an os.File.
type handle interface {
	Write([]byte) (int, error)
	ReadAt([]byte, int64) (int, error)
	Truncate(int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

func openFile(path string) (handle, error) {
	// Reading is for the last byte; and a pipe that is opened for both does
	// not wait for its other end.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OpenFile opens a log file, or makes it. The caller closes it, or the Spool
// that it is given to.
func OpenFile(opts FileOptions) (*File, error) {
	return newFile(opts, openFile, time.Now)
}

func newFile(opts FileOptions, open func(string) (handle, error), now func() time.Time) (*File, error) {
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = defaultMaxBytes
	}
	if opts.Keep == 0 {
		opts.Keep = defaultKeep
	}
	if opts.Sync == 0 {
		opts.Sync = defaultSync
	}
	if opts.Failed == nil {
		opts.Failed = func(error) {}
	}
	path, err := filepath.Abs(opts.Path)
	if opts.Path == "" || err != nil {
		return nil, fmt.Errorf("open log file %q: want a path", opts.Path)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link that was renamed would take its target along
	}
	f := &File{opts: opts, path: path, open: open, now: now, quit: make(chan struct{})}
	f.old = newOldFiles(path, &f.opts)
	if err := f.begin(); err != nil {
		return nil, err
	}
	return f, nil
}

// Path is where the lines are.
func (f *File) Path() string { return f.path }

// begin opens the file. mu is held, or nobody has f yet.
func (f *File) begin() error {
	if err := os.MkdirAll(filepath.Dir(f.path), folderMode); err != nil {
		return fmt.Errorf("make folder of log file %q: %w", f.path, err)
	}
	file, err := f.open(f.path)
	if err != nil {
		return fmt.Errorf("open log file %q: %w", f.path, err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("open log file %q: %w", f.path, err)
	}
	f.file, f.info, f.regular, f.size, f.torn, f.dirty = file, info, info.Mode().IsRegular(), info.Size(), false, false
	f.period = f.periodOf(f.now())
	if !f.regular {
		return nil
	}
	if f.size > 0 {
		f.period = f.periodOf(info.ModTime())
		var last [1]byte
		_, err := file.ReadAt(last[:], f.size-1)
		f.torn = err != nil || last[0] != '\n'
	}
	f.tidy()
	return nil
}

func (f *File) periodOf(t time.Time) time.Time {
	if f.opts.Every <= 0 {
		return time.Time{}
	}
	return t.Truncate(f.opts.Every)
}

// end closes the file. mu is held.
func (f *File) end() error {
	if f.file == nil {
		return nil
	}
	err := errors.Join(f.sync(), f.file.Close())
	f.file, f.info = nil, nil
	return err
}

// Write writes whole lines. The bytes that it says it took are whole lines, too:
// what it says it did not take is not in the file.
func (f *File) Write(lines []byte) (n int, err error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return 0, fs.ErrClosed
	}
	beside := f.recheck()
	for n < len(lines) && err == nil {
		var took int
		var moved error
		took, moved, err = f.next(lines[n:])
		beside = errors.Join(beside, moved)
		n += took
	}
	tell := f.tell(errors.Join(err, beside), bytes.Count(lines[n:], newline))
	f.mu.Unlock()
	tell()
	return n, err
}

var newline = []byte{'\n'}

// recheck lets go of a file that is not at its path any more. mu is held.
func (f *File) recheck() error {
	if f.file == nil || !f.regular {
		return nil
	}
	info, err := os.Stat(f.path)
	if err != nil || !os.SameFile(info, f.info) {
		return f.end()
	}
	f.size = info.Size() // somebody may have cut it
	return nil
}

// next writes as many of the lines as belong into one file. moved tells why that
// is not a new one although it should. mu is held.
func (f *File) next(lines []byte) (n int, moved, err error) {
	if f.file == nil {
		if err := f.begin(); err != nil {
			return 0, nil, err
		}
	}
	first := int64(bytes.IndexByte(lines, '\n') + 1)
	if first == 0 { // what has no end is taken for a line, or it would fit nowhere
		first = int64(len(lines))
	}
	if now := f.now(); f.regular && f.size > 0 && now.Sub(f.unmoved) >= pauseAfterFailure &&
		(f.size+first > f.opts.MaxBytes || f.periodOf(now).After(f.period)) {
		if moved = f.move(now); moved != nil {
			f.unmoved = now
		}
		if f.file == nil {
			return 0, nil, moved
		}
	}
	if room := f.opts.MaxBytes - f.size; f.regular && int64(len(lines)) > room && f.now().Sub(f.unmoved) >= pauseAfterFailure {
		lines = lines[:max(int64(bytes.LastIndexByte(lines[:max(room, 0)], '\n')+1), first)]
	}
	n, err = f.append(lines)
	return n, moved, err
}

// move makes an old file of the file and begins a new one. mu is held.
func (f *File) move(now time.Time) error {
	err := f.end()
	to, err2 := f.old.next(now)
	if err2 == nil {
		err2 = os.Rename(f.path, to)
	}
	if err2 != nil {
		err2 = fmt.Errorf("begin a new log file; the old one goes on: %w", err2)
	}
	return errors.Join(err, err2, f.begin())
}

// append writes lines, and takes back what makes no whole one. mu is held.
func (f *File) append(lines []byte) (n int, err error) {
	f.dirty = true
	if f.torn {
		if _, err := f.file.Write(newline); err != nil {
			return 0, err
		}
		f.size++
		f.torn = false
	}
	n, err = f.file.Write(lines)
	f.size += int64(n)
	if err == nil {
		return n, nil
	}
	whole := bytes.LastIndexByte(lines[:n], '\n') + 1
	if whole < n {
		f.torn = true
		// If somebody else has appended, what we cut off would be theirs.
		if info, err := f.file.Stat(); err == nil && info.Size() == f.size && f.file.Truncate(f.size-int64(n-whole)) == nil {
			f.size -= int64(n - whole)
			f.torn = false
		}
	}
	return whole, err
}

// tell notes an error and makes what tells of it, to be called without mu.
func (f *File) tell(err error, lost int) func() {
	f.lost += lost
	now := f.now()
	if err == nil || !f.told.IsZero() && now.Sub(f.told) < pauseAfterFailure {
		return func() {}
	}
	if f.lost > 0 {
		err = fmt.Errorf("%w; %d lines lost since the last report", err, f.lost)
	}
	f.told, f.lost = now, 0
	return func() { f.opts.Failed(fmt.Errorf("write log file %q: %w", f.path, err)) }
}

// Sync has the disk keep what was written so far.
func (f *File) Sync() error {
	f.mu.Lock()
	err := f.sync()
	tell := f.tell(err, 0)
	f.mu.Unlock()
	tell()
	return err
}

// sync is Sync while mu is held.
func (f *File) sync() error {
	if f.file == nil || !f.dirty || !f.regular {
		return nil
	}
	f.dirty = false
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync log file: %w", err)
	}
	return nil
}

// Reopen closes the file and opens its path anew. That is only needed when
// something replaces the file and must know when it is free; a write finds out
// by itself.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	return errors.Join(f.end(), f.begin())
}

// Close syncs and closes, and waits until old files are left alone. It may be
// called again.
func (f *File) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	err := f.end()
	tell := f.tell(err, 0)
	close(f.quit)
	f.mu.Unlock()
	tell()
	f.tidied.Wait()
	return err
}

// tidy has old files looked after. mu is held, or nobody has f yet.
func (f *File) tidy() {
	if f.tidying {
		f.again = true
		return
	}
	f.tidying = true
	f.tidied.Add(1)
	go func() {
		defer f.tidied.Done()
		for {
			err := f.old.tidy(f.now(), f.quit)
			f.mu.Lock()
			tell := f.tell(err, 0)
			f.mu.Unlock()
			tell()
			f.mu.Lock()
			f.tidying, f.again = f.again && !f.closed, false
			done := !f.tidying
			f.mu.Unlock()
			if done {
				return
			}
		}
	}()
}
