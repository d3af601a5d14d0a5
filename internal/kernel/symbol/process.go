package symbol

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxMappings bounds the executable mappings kept of one process; programs
// that generate code may have many thousands.
const maxMappings = 4096

// Process is the address space of a process as it was last read. Its files stay
// open after its end. Not safe for concurrent use.
type Process struct {
	table *Table
	dir   string // /proc/PID
	maps  []*Mapping
}

// Mapping is a range of addresses that holds code.
type Mapping struct {
	Start, Limit uint64
	Offset       uint64 // of Start in the file
	Path         string // as the process sees it; "[vdso]"; "" for code made at run time
	BuildID      string

	bin *Binary // nil: not readable
}

// Process reads the mappings of a process and opens its files. proc is where
// procfs is mounted.
func (t *Table) Process(proc string, pid int) (*Process, error) {
	p := &Process{table: t, dir: filepath.Join(proc, strconv.Itoa(pid))}
	if err := p.Refresh(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Refresh reads the mappings again: libraries are loaded, code is generated.
// With an error the old ones stay.
func (p *Process) Refresh() error {
	f, err := os.Open(filepath.Join(p.dir, "maps"))
	if err != nil {
		return fmt.Errorf("read mappings: %w", err)
	}
	defer f.Close()
	maps, err := parseMaps(f)
	if err != nil {
		return err
	}
	if len(maps) == 0 {
		return errors.New("read mappings: the process has no code: it ended")
	}
	old := p.maps
	for _, m := range maps {
		m.bin = p.open(m, old)
		if m.bin != nil {
			m.BuildID = m.bin.BuildID
		}
	}
	p.maps = maps
	p.drop(old)
	return nil
}

// open finds the binary of a mapping. The link in map_files leads to the very
// file that is mapped, also if it was deleted or replaced, but may need
// CAP_CHECKPOINT_RESTORE; exe does for the program itself; the path last.
func (p *Process) open(m *Mapping, old []*Mapping) *Binary {
	if m.Path == "" || m.Path[0] != '/' {
		if m.Path == "[vdso]" {
			b, _ := p.table.vdso()
			return b
		}
		return nil
	}
	for _, o := range old {
		if o.Start == m.Start && o.Limit == m.Limit && o.Path == m.Path && o.bin != nil {
			p.table.hold(o.bin)
			return o.bin
		}
	}
	paths := []string{filepath.Join(p.dir, "map_files", fmt.Sprintf("%x-%x", m.Start, m.Limit))}
	if exe, err := os.Readlink(filepath.Join(p.dir, "exe")); err == nil && exe == m.Path {
		paths = append(paths, filepath.Join(p.dir, "exe"))
	} else if !strings.HasSuffix(m.Path, " (deleted)") { // what has the name now is another file
		paths = append(paths, filepath.Join(p.dir, "root", m.Path))
	}
	for _, path := range paths {
		if b, err := p.table.acquire(path); err == nil {
			return b
		}
	}
	return nil
}

// Close lets the files go.
func (p *Process) Close() {
	p.drop(p.maps)
	p.maps = nil
}

func (p *Process) drop(maps []*Mapping) {
	for _, m := range maps {
		if m.bin != nil {
			p.table.release(m.bin)
		}
	}
}

// Find returns the mapping that holds an address, or nil.
func (p *Process) Find(addr uint64) *Mapping {
	i, ok := slices.BinarySearchFunc(p.maps, addr, func(m *Mapping, a uint64) int {
		switch {
		case m.Limit <= a:
			return -1
		case m.Start > a:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return p.maps[i]
}

// Frames names an address, the innermost inlined call first; nil if nobody knows.
// For a return address, ask for the byte before: it belongs to the call. The
// result is shared and must not be changed.
func (p *Process) Frames(addr uint64) []Frame {
	m := p.Find(addr)
	if m == nil || m.bin == nil {
		return nil
	}
	own, ok := m.bin.addr(addr - m.Start + m.Offset)
	if !ok {
		return nil
	}
	return p.table.frames(m.bin, own)
}

// parseMaps reads the executable lines of /proc/PID/maps.
func parseMaps(r io.Reader) ([]*Mapping, error) {
	var out []*Mapping
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 8192), 64<<10)
	for s.Scan() && len(out) < maxMappings {
		// start-limit perms offset dev inode path
		rangeText, rest, ok := strings.Cut(s.Text(), " ")
		if !ok || len(rest) < 5 || rest[2] != 'x' {
			continue
		}
		startText, limitText, ok1 := strings.Cut(rangeText, "-")
		offText, rest, ok2 := strings.Cut(rest[5:], " ")
		_, rest, ok3 := strings.Cut(rest, " ")
		_, path, _ := strings.Cut(rest, " ")
		start, err1 := strconv.ParseUint(startText, 16, 64)
		limit, err2 := strconv.ParseUint(limitText, 16, 64)
		off, err3 := strconv.ParseUint(offText, 16, 64)
		if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || err3 != nil || limit <= start {
			return nil, fmt.Errorf("read mappings: unexpected line %q", s.Text())
		}
		out = append(out, &Mapping{Start: start, Limit: limit, Offset: off, Path: strings.TrimLeft(path, " ")})
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read mappings: %w", err)
	}
	slices.SortFunc(out, func(a, b *Mapping) int { return cmp.Compare(a.Start, b.Start) })
	return out, nil
}
