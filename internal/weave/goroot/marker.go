package goroot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	markerName = "guanlan.made" // the file that makes a folder whole
	ours       = "src" + string(filepath.Separator) + "guanlan"
)

// marker says what a folder has in it. Its file is written last, and its time of
// change is the folder's time of last use.
type marker struct {
	base  string   // the GOROOT that the links point into
	links []string // relative to the folder, as they are to base
	files []sized
}

type sized struct {
	name string
	size int64
}

func (m marker) write(dir string) error {
	var b bytes.Buffer
	fmt.Fprintln(&b, m.base)
	for _, l := range m.links {
		fmt.Fprintln(&b, "link", l)
	}
	for _, f := range m.files {
		fmt.Fprintln(&b, f.size, f.name)
	}
	fmt.Fprintln(&b, "end")
	return os.WriteFile(filepath.Join(dir, markerName), b.Bytes(), 0o644)
}

func readMarker(dir string) (marker, error) {
	text, err := os.ReadFile(filepath.Join(dir, markerName))
	if err != nil {
		return marker{}, err
	}
	list, ended := strings.CutSuffix(string(text), "\nend\n")
	if !ended {
		return marker{}, errors.New("the marker is cut off")
	}
	var m marker
	for i, line := range strings.Split(list, "\n") {
		if i == 0 {
			m.base = line
			continue
		}
		what, name, ok := strings.Cut(line, " ")
		if what == "link" {
			m.links = append(m.links, name)
			continue
		}
		size, err := strconv.ParseInt(what, 10, 64)
		if err != nil || !ok {
			return marker{}, fmt.Errorf("the marker has the line %q", line)
		}
		m.files = append(m.files, sized{name, size})
	}
	return m, nil
}

// whole says what the folder lacks of a GOROOT of ours for base, nil for nothing:
// the links point where they should, base has no entry without one, and our files
// have their sizes, for there are programs that clean caches file by file. It
// looks at some 400 files, which takes 1 ms.
func whole(dir, base string) error {
	m, err := readMarker(dir)
	if err != nil {
		return err
	}
	if m.base != base {
		return fmt.Errorf("it is made of %s", m.base)
	}
	linked := map[string]bool{}
	for _, l := range m.links {
		to, err := os.Readlink(filepath.Join(dir, l))
		if err != nil {
			return err
		}
		if to != filepath.Join(base, l) {
			return fmt.Errorf("%s points to %s", l, to)
		}
		linked[l] = true
	}
	for _, at := range []string{".", "src"} {
		entries, err := os.ReadDir(filepath.Join(base, at))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if name := filepath.Join(at, e.Name()); !linked[name] && name != "src" && name != ours {
				return fmt.Errorf("it has no link %s", name)
			}
			delete(linked, filepath.Join(at, e.Name()))
		}
	}
	for l := range linked {
		return fmt.Errorf("%s points to nothing", l)
	}
	for _, f := range m.files {
		info, err := os.Lstat(filepath.Join(dir, f.name))
		if err != nil {
			return err
		}
		if info.Size() != f.size {
			return fmt.Errorf("%s has %d bytes, want %d", f.name, info.Size(), f.size)
		}
	}
	if name := filepath.Join(dir, markerName); older(name, touched) {
		now := time.Now()
		_ = os.Chtimes(name, now, now) // a cache that is read-only now is as good
	}
	return nil
}
