package core

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// oldFiles looks after the files that a File has been: it names, compresses and
// removes them. Old files of app.log are app-20060102T150405.000.log, named by
// when they became old in UTC, so that they sort by name; compressed ones end
// in .gz.
type oldFiles struct {
	dir, stem, ext string
	opts           *FileOptions
}

// oldStamp is the time in names of old files. No other file of a folder is
// likely to be named so: those that are belong to us and may be removed.
const oldStamp = "20060102T150405.000"

const (
	zipExt  = ".gz"
	tempExt = ".gz.tmp" // is being compressed
)

func newOldFiles(path string, opts *FileOptions) oldFiles {
	dir, name := filepath.Split(path)
	ext := filepath.Ext(name)
	return oldFiles{dir, strings.TrimSuffix(name, ext), ext, opts}
}

// oldFile is an old file, in one or more forms: both for a moment when it has
// just been compressed, or was when the process was killed.
type oldFile struct {
	at                time.Time
	plain, zip, begun bool
}

// list finds the old files, oldest first.
func (o *oldFiles) list() ([]oldFile, error) {
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return nil, fmt.Errorf("list old log files: %w", err)
	}
	found := map[time.Time]*oldFile{}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), o.stem+"-")
		if !ok || len(rest) < len(oldStamp) || e.IsDir() {
			continue
		}
		at, err := time.Parse(oldStamp, rest[:len(oldStamp)])
		form, ok := strings.CutPrefix(rest[len(oldStamp):], o.ext)
		if err != nil || !ok || form != "" && form != zipExt && form != tempExt {
			continue
		}
		f := found[at]
		if f == nil {
			f = &oldFile{at: at}
			found[at] = f
		}
		switch form {
		case "":
			f.plain = true
		case zipExt:
			f.zip = true
		case tempExt:
			f.begun = true
		}
	}
	all := make([]oldFile, 0, len(found))
	for _, f := range found {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b oldFile) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	return all, nil
}

func (o *oldFiles) path(at time.Time) string {
	return filepath.Join(o.dir, o.stem+"-"+at.Format(oldStamp)+o.ext)
}

// next names what becomes old now, behind all that there are, even if the clock
// was set back.
func (o *oldFiles) next(now time.Time) (string, error) {
	all, err := o.list()
	if err != nil {
		return "", err
	}
	at := now.UTC().Truncate(time.Millisecond)
	if len(all) > 0 {
		if after := all[len(all)-1].at.Add(time.Millisecond); at.Before(after) {
			at = after
		}
	}
	return o.path(at), nil
}

// tidy removes and compresses, until quit is closed.
func (o *oldFiles) tidy(now time.Time, quit <-chan struct{}) error {
	all, err := o.list()
	if errors.Is(err, os.ErrNotExist) {
		return nil // the folder is just being removed
	}
	if err != nil {
		return err
	}
	var errs []error
	remove := func(path string) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove old log file: %w", err))
		}
	}
	for i, f := range all {
		path := o.path(f.at)
		if f.begun { // nobody is at it: the process was killed
			remove(path + tempExt)
		}
		if o.opts.Keep >= 0 && i < len(all)-o.opts.Keep || o.opts.MaxAge > 0 && now.Sub(f.at) > o.opts.MaxAge {
			if f.plain {
				remove(path)
			}
			if f.zip {
				remove(path + zipExt)
			}
			continue
		}
		switch {
		case !f.plain || !o.opts.Compress:
		case f.zip: // it is whole, or it would not have its name
			remove(path)
		default:
			err := zipFile(path, quit)
			if errors.Is(err, errQuit) {
				return errors.Join(errs...)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("compress old log file: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// zipPiece is how much is compressed between pauses.
const zipPiece = 256 << 10

var errQuit = errors.New("the log file is closed")

// zipFile replaces a file by a compressed one.
func zipFile(path string, quit <-chan struct{}) (err error) {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	temp := path + tempExt
	to, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = to.Close()
			_ = os.Remove(temp)
		}
	}()
	z, _ := gzip.NewWriterLevel(to, gzip.BestSpeed) // the level is valid
	z.Name, z.ModTime = filepath.Base(path), info.ModTime()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		began := time.Now()
		if _, err = io.CopyN(z, from, zipPiece); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		// As long a pause as it took leaves the service the core.
		pause.Reset(time.Since(began))
		select {
		case <-quit:
			return errQuit
		case <-pause.C:
		}
	}
	if err = errors.Join(z.Close(), to.Sync(), to.Close()); err != nil {
		return err
	}
	_ = os.Chtimes(temp, time.Time{}, info.ModTime()) // for people; nothing depends on it
	if err = os.Rename(temp, path+zipExt); err != nil {
		return err
	}
	return os.Remove(path)
}
