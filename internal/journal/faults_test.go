package journal

import (
	"errors"
	"os"
	"sync"
)

var errDevice = errors.New("input/output error")

// plan says which operations fail.
type plan struct {
	// write, when set, decides about a WriteAt: how many bytes reach the file
	// and which error comes back.
	write                func(size int) (int, error)
	truncate, sync, make error
	onSync               func()
	noSync               bool // leave fsync out, for tests of many restarts
}

// faults is a disk that fails as planned. It works on real files.
type faults struct {
	osDisk
	mu   sync.Mutex
	plan plan
}

// set changes the plan while the journal runs.
func (d *faults) set(p plan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plan = p
}

func (d *faults) now() plan {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.plan
}

type faultFile struct {
	file
	d *faults
}

func (d *faults) create(path string) (file, error) {
	if err := d.now().make; err != nil {
		return nil, err
	}
	f, err := d.osDisk.create(path)
	return faultFile{f, d}, err
}

func (d *faults) open(path string) (file, error) {
	f, err := d.osDisk.open(path)
	return faultFile{f, d}, err
}

func (f faultFile) WriteAt(p []byte, off int64) (int, error) {
	write := f.d.now().write
	if write == nil {
		return f.file.WriteAt(p, off)
	}
	n, err := write(len(p))
	if _, werr := f.file.WriteAt(p[:n], off); werr != nil {
		return 0, werr
	}
	return n, err
}

func (f faultFile) Truncate(size int64) error {
	if err := f.d.now().truncate; err != nil {
		return err
	}
	return f.file.Truncate(size)
}

func (f faultFile) Sync() error {
	p := f.d.now()
	if p.onSync != nil {
		p.onSync()
	}
	if p.sync != nil {
		return p.sync
	}
	if p.noSync {
		return nil
	}
	return f.file.Sync()
}

func (d *faults) syncDir(path string) error {
	if d.now().noSync {
		return nil
	}
	return d.osDisk.syncDir(path)
}

func copyDir(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}
