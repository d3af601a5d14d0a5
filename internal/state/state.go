// Package state keeps what users set while Guanlan runs: small files in the
// data folder, each replaced as a whole.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// writeFile replaces path by data so that after a crash it holds the old or
// the new content, and the new one once writeFile has returned. An error means
// that the old one stays, but for one of the last flush, after which either
// may be there.
func writeFile(path string, data []byte) (err error) {
	tmp := path + ".tmp"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	_, err = out.Write(data)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(tmp) // on a full disk its space is wanted
		return fmt.Errorf("write %q: %w", path, err)
	}
	if err = os.Rename(tmp, path); err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
