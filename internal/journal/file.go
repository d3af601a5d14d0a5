package journal

import (
	"os"

	"github.com/guanlan-io/guanlan/internal/durable"
)

// file is what a journal needs of an open segment; disk makes them. Tests put
// faults between the journal and the real ones.
type file interface {
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

type disk interface {
	create(path string) (file, error)
	open(path string) (file, error)
	syncDir(path string) error
}

type osDisk struct{}

func (osDisk) create(path string) (file, error) {
	return openFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
}

func (osDisk) open(path string) (file, error) { return openFile(path, os.O_WRONLY) }

// openFile keeps a nil *os.File from becoming a file that is not nil.
func openFile(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osDisk) syncDir(path string) error { return durable.SyncDir(path) }
