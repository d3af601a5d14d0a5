package symbol

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

const (
	// maxBinaries bounds open files. Nodes run some hundred containers of some
	// dozen images; libraries are shared by their build id.
	maxBinaries = 512
	// maxNamed bounds the addresses whose frames are kept, in each of two
	// generations: about 8 MB with long Go names.
	maxNamed = 16_384
	// maxSymbolBytes bounds the ELF symbols in memory over all binaries. One
	// that needs more is read, used, and forgotten before the next.
	maxSymbolBytes = 16 << 20
)

// Table keeps binaries and the names found in them. Processes hold the binaries
// they run; what no process holds goes first when room is needed. Safe for
// concurrent use.
type Table struct {
	pages pages

	mu      sync.Mutex
	byKey   map[fileKey]*Binary
	byBuild map[content]*Binary
	all     map[*Binary]struct{}
	clock   uint64

	// Names of addresses, in two generations: the older one is dropped whole
	// when the younger is full.
	named, older map[place][]Frame

	refused uint64
}

// content is what an id names: a stripped copy has the id of the whole.
type content struct {
	id   string
	size int64
}

type place struct {
	file uint64
	addr uint64
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{byKey: map[fileKey]*Binary{}, byBuild: map[content]*Binary{}, all: map[*Binary]struct{}{}, named: map[place][]Frame{}}
}

// Close closes all files. Processes of the table must not be used afterwards.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for b := range t.all {
		t.drop(b)
	}
}

// Refused counts binaries that were not opened because maxBinaries were in use.
func (t *Table) Refused() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused
}

// acquire returns the binary behind path, held until release.
func (t *Table) acquire(path string) (*Binary, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("examine %q: %w", path, err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("examine %q: not a file", path)
	}
	key := fileKey{dev: uint64(st.Dev), ino: st.Ino, size: fi.Size(), mtime: fi.ModTime().UnixNano()}

	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	if b := t.byKey[key]; b != nil {
		f.Close()
		b.refs, b.used = b.refs+1, t.clock
		return b, nil
	}
	if len(t.all) >= maxBinaries && !t.evict() {
		f.Close()
		t.refused++
		return nil, ErrFull
	}
	b, err := openBinary(&t.pages, f, f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open binary %q: %w", path, err)
	}
	// Two images with the same library: one table is enough.
	if b.unique {
		b.build = content{b.BuildID, key.size}
		if same := t.byBuild[b.build]; same != nil {
			b.close()
			b = same
		} else {
			t.byBuild[b.build] = b
		}
	}
	if len(b.keys) < maxAliases {
		b.keys = append(b.keys, key)
		t.byKey[key] = b
	}
	t.all[b] = struct{}{}
	b.refs, b.used = b.refs+1, t.clock
	return b, nil
}

// openRegular opens a file, and neither waits at a pipe nor stirs a device: what a
// process names is its choice.
func openRegular(path string) (*os.File, error) {
	if fi, err := os.Stat(path); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("examine %q: not a file", path)
	}
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// maxAliases bounds the files that are remembered as copies of one binary.
const maxAliases = 64

func (t *Table) release(b *Binary) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b.refs--
}

// evict closes the binary that no process has used for longest.
func (t *Table) evict() bool {
	var oldest *Binary
	for b := range t.all {
		if b.refs == 0 && (oldest == nil || b.used < oldest.used) {
			oldest = b
		}
	}
	if oldest == nil {
		return false
	}
	t.drop(oldest)
	return true
}

func (t *Table) drop(b *Binary) {
	for _, k := range b.keys {
		delete(t.byKey, k)
	}
	if t.byBuild[b.build] == b {
		delete(t.byBuild, b.build)
	}
	delete(t.all, b)
	b.close()
}

// frames names an offset in a binary, from memory if it was asked before. The
// result is shared: it must not be changed.
func (t *Table) frames(b *Binary, addr uint64) []Frame {
	k := place{b.id, addr}
	t.mu.Lock()
	t.clock++
	b.used = t.clock
	fr, ok := t.named[k]
	if !ok {
		if fr, ok = t.older[k]; ok {
			t.keep(k, fr)
		}
	}
	t.mu.Unlock()
	if ok {
		return fr
	}
	fr = b.frames(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keep(k, fr)
	t.trim(b)
	return fr
}

// trim forgets the symbols that were not used for longest.
func (t *Table) trim(last *Binary) {
	total := 0
	for b := range t.all {
		total += b.symbolBytes()
	}
	for total > maxSymbolBytes {
		var oldest *Binary
		for b := range t.all {
			if b != last && b.symbolBytes() > 0 && (oldest == nil || b.used < oldest.used) {
				oldest = b
			}
		}
		if oldest == nil {
			return
		}
		total -= oldest.symbolBytes()
		oldest.forgetSymbols()
	}
}

func (t *Table) keep(k place, fr []Frame) {
	if len(t.named) >= maxNamed {
		t.older, t.named = t.named, make(map[place][]Frame, maxNamed/4)
	}
	t.named[k] = fr
}

// Functions lists the Go functions of the binary at path with their addresses
// in the file's own space, until visit returns false.
func Functions(path string, visit func(name string, addr uint64) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := openBinary(new(pages), f, nil)
	if err != nil {
		return fmt.Errorf("open binary %q: %w", path, err)
	}
	if b.goTab == nil {
		return fmt.Errorf("list functions of %q: %w", path, ErrNoTable)
	}
	for i := range b.goTab.nfunc {
		rec, err := b.goTab.record(i)
		if err != nil {
			return fmt.Errorf("list functions of %q: %w", path, err)
		}
		name, err := b.goTab.str(b.goTab.names, uint64(rec.name))
		if err != nil {
			return fmt.Errorf("list functions of %q: %w", path, err)
		}
		if !visit(name, b.goTab.text+rec.entry) {
			break
		}
	}
	return nil
}
