package symbol

import (
	"fmt"
	"io"
	"sync"
)

const (
	pageSize = 4096
	// pageSlots bounds the cache of file pages to 2 MiB over all binaries. A
	// lookup touches about twenty pages, most of them shared with its
	// neighbours.
	pageSlots = 512
)

// pages caches pages of many files in a direct-mapped table: no list to keep,
// and a bound that needs no accounting. Safe for concurrent use.
type pages struct {
	mu    sync.Mutex
	slots [pageSlots]page
	next  uint64
}

type page struct {
	file uint64 // 0: empty
	num  int64
	n    int
	data []byte
}

// pagedFile reads one file through the shared pages.
type pagedFile struct {
	cache *pages
	id    uint64
	r     io.ReaderAt
}

func (p *pages) file(r io.ReaderAt) *pagedFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	return &pagedFile{cache: p, id: p.next, r: r}
}

// ReadAt implements [io.ReaderAt].
func (f *pagedFile) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: negative offset", off)
	}
	if len(b) > pageSize {
		return f.r.ReadAt(b, off)
	}
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	read := 0
	for read < len(b) {
		at := off + int64(read)
		pg, err := f.cache.load(f, at/pageSize)
		if err != nil {
			return read, err
		}
		in := int(at % pageSize)
		if in >= pg.n {
			return read, io.EOF
		}
		read += copy(b[read:], pg.data[in:pg.n])
	}
	return read, nil
}

func (p *pages) load(f *pagedFile, num int64) (*page, error) {
	slot := &p.slots[(uint64(num)+f.id*0x9e3779b97f4a7c15>>40)%pageSlots]
	if slot.file == f.id && slot.num == num {
		return slot, nil
	}
	if slot.data == nil {
		slot.data = make([]byte, pageSize)
	}
	slot.file = 0 // a failed read leaves nothing that looks valid
	n, err := f.r.ReadAt(slot.data, num*pageSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	slot.file, slot.num, slot.n = f.id, num, n
	return slot, nil
}
