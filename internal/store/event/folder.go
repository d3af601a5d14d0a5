package event

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/internal/durable"
)

const (
	formatFile = "FORMAT"
	lockFile   = "LOCK"
	crashFile  = "last-crash.txt"

	// formatVersion grows when an older version could not read the folder.
	formatVersion = 1
	formatPrefix  = "guanlan events "

	// crashHead is how much of a crash is reported: the message and the
	// stack of the goroutine that panicked. The file keeps the rest.
	crashHead = 4 << 10
	// crashNews is for how long a crash is reported.
	crashNews = 24 * time.Hour
	// keepCrashes is how many older crash files stay.
	keepCrashes = 5
)

// folder is the data folder as such: who has it, which format it is in, and
// how the last process that had it ended.
type folder struct {
	dir  string
	lock *os.File
}

// openFolder creates and locks the folder.
func openFolder(dir string) (_ *folder, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	f := &folder{dir: dir, lock: lock}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(lock, 20))
		return nil, fmt.Errorf("data folder %q is in use by process %s: stop it, or give this one another folder",
			dir, strings.TrimSpace(string(pid)))
	}
	if err != nil {
		return nil, fmt.Errorf("lock data folder %q: %w", dir, err)
	}
	if err := f.checkFormat(); err != nil {
		return nil, err
	}
	if err := lock.Truncate(0); err != nil {
		return nil, fmt.Errorf("lock data folder %q: %w", dir, err)
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, fmt.Errorf("lock data folder %q: %w", dir, err)
	}
	return f, nil
}

// checkFormat reads the version of the folder, or writes it to a new one.
func (f *folder) checkFormat() error {
	path := filepath.Join(f.dir, formatFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return durable.Replace(path, []byte(formatPrefix+strconv.Itoa(formatVersion)+"\n"))
	}
	if err != nil {
		return fmt.Errorf("read format of data folder: %w", err)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(string(data)), formatPrefix)
	version, err := strconv.Atoi(text)
	if !ok || err != nil || version < 1 {
		return fmt.Errorf("data folder %q: %s says %q, want %q: is this a folder of Guanlan's events?",
			f.dir, formatFile, data, formatPrefix+strconv.Itoa(formatVersion))
	}
	if version > formatVersion {
		return fmt.Errorf("data folder %q has format %d, this version of Guanlan knows formats up to %d: start a newer version, or give this one another folder",
			f.dir, version, formatVersion)
	}
	return nil
}

// watchCrash has the runtime write the last words of a panic, which an I/O
// error of the engine ends in, into the folder.
func (f *folder) watchCrash() error {
	out, err := os.OpenFile(filepath.Join(f.dir, crashFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("prepare crash report: %w", err)
	}
	defer out.Close() // the runtime keeps a duplicate
	if err := debug.SetCrashOutput(out, debug.CrashOptions{}); err != nil {
		return fmt.Errorf("prepare crash report: %w", err)
	}
	return nil
}

// takeLastCrash puts the last words of the previous process aside, if it
// panicked, and returns the beginning of the latest that were put aside within
// crashNews, and when they were said. They are not told only once: the start
// after a crash may fail itself, or be watched by nobody.
func (f *folder) takeLastCrash(log *slog.Logger) (text string, at time.Time) {
	path := filepath.Join(f.dir, crashFile)
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		aside := filepath.Join(f.dir, "crash-"+info.ModTime().UTC().Format("20060102T150405")+".txt")
		if err := os.Rename(path, aside); err != nil {
			log.Warn("cannot put the report of a crash aside", "error", err)
		}
		text, at = readCrash(aside)
		log.Error("the previous process ended in a panic", "when", at.UTC().Format(time.RFC3339), "file", aside, "text", text)
	}
	old, _ := filepath.Glob(filepath.Join(f.dir, "crash-*.txt"))
	if len(old) == 0 {
		return "", at
	}
	slices.Sort(old)
	for len(old) > keepCrashes {
		_ = os.Remove(old[0])
		old = old[1:]
	}
	if text, at = readCrash(old[len(old)-1]); time.Since(at) > crashNews {
		return "", time.Time{}
	}
	return text, at
}

// readCrash returns the beginning of the report of a crash, and when it was
// written.
func readCrash(path string) (text string, at time.Time) {
	in, err := os.Open(path)
	if err != nil {
		return "", at
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return "", at
	}
	head, err := io.ReadAll(io.LimitReader(in, crashHead))
	if err != nil {
		return "", at
	}
	return string(head), info.ModTime()
}

func (f *folder) close() error {
	err := debug.SetCrashOutput(nil, debug.CrashOptions{})
	_ = os.Remove(filepath.Join(f.dir, crashFile))
	return errors.Join(err, f.lock.Close()) // closing unlocks
}
