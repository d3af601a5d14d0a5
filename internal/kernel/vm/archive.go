//go:build linux

package vm

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// archive writes an initramfs: the "newc" format of cpio, which the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst describes.
type archive struct {
	w    *bufio.Writer
	n    int64
	ino  int
	dirs map[string]bool
	err  error
}

const (
	modeDir    = 0o040000
	modeChar   = 0o020000
	modeFile   = 0o100000
	consoleDev = 5<<8 | 1 // /dev/console, which the kernel opens for the init
)

func newArchive(w io.Writer) *archive {
	a := &archive{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{".": true, "/": true}}
	a.entry("/dev/console", modeChar|0o600, consoleDev, 0, nil)
	return a
}

func (a *archive) entry(name string, mode, dev int, size int64, body io.Reader) {
	a.parents(name)
	a.ino++
	name = strings.TrimPrefix(path.Clean(name), "/")
	a.print("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, size, 0, 0, dev>>8, dev&0xff, len(name)+1, 0)
	a.print("%s\x00", name)
	a.pad()
	if body != nil && a.err == nil {
		n, err := io.Copy(a.w, body)
		if err == nil && n != size {
			err = fmt.Errorf("pack %s: %d bytes, want %d", name, n, size)
		}
		a.n, a.err = a.n+n, err
	}
	a.pad()
}

func (a *archive) print(format string, args ...any) {
	if a.err == nil {
		var n int
		n, a.err = fmt.Fprintf(a.w, format, args...)
		a.n += int64(n)
	}
}

func (a *archive) pad() {
	for a.n%4 != 0 && a.err == nil {
		a.err = a.w.WriteByte(0)
		a.n++
	}
}

func (a *archive) parents(name string) {
	if dir := path.Dir(path.Clean(name)); !a.dirs[dir] {
		a.dirs[dir] = true
		a.entry(dir, modeDir|0o755, 0, 0, nil)
	}
}

func (a *archive) text(name, text string) {
	a.entry(name, modeFile|0o644, 0, int64(len(text)), strings.NewReader(text))
}

// file packs a file of this machine.
func (a *archive) file(name, from string) {
	if a.err != nil {
		return
	}
	f, err := os.Open(from)
	if err != nil {
		a.err = err
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		a.err = err
		return
	}
	a.entry(name, modeFile|int(fi.Mode().Perm())|0o444, 0, fi.Size(), f)
}

// tree packs a folder of this machine.
func (a *archive) tree(name, from string) {
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		a.file(path.Join(name, filepath.ToSlash(rel)), p)
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}
