// Package durable writes what must be on the disk when it says so.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Replace replaces the file at path by data so that after a crash it holds the
// old or the new content, and the new one once Replace has returned. An error
// means that the old one stays, but for one of the last flush, after which
// either may be there. Beside the file it uses path.tmp.
func Replace(path string, data []byte) error {
	if err := replace(path, data); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

func replace(path string, data []byte) error {
	tmp := path + ".tmp"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp) // on a full disk its space is wanted
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names of files that were created, renamed or removed in dir
// survive a crash.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
