package profile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/guanlan-io/guanlan/internal/durable"
	"github.com/guanlan-io/guanlan/internal/store"
)

// segment is a file of blocks, written once. Its name tells which records of
// the journal it holds, so that the folder itself is the checkpoint.
type segment struct {
	from, to    uint64 // sequence numbers, inclusive
	salt        uint32
	path        string
	size        int64
	first, last int64 // start of the oldest and of the newest profile
	until       int64 // latest end
	count       int   // profiles
	blocks      []block

	file *os.File
	refs int // readers, and one for the store; Store.mu
}

// block is a block of a segment.
type block struct {
	summary
	at    int64
	frame frame
}

const segmentName = "%016x-%016x-%08x.profiles"

func parseSegment(name string) (from, to uint64, salt uint32, ok bool) {
	n, err := fmt.Sscanf(name, segmentName, &from, &to, &salt)
	return from, to, salt, err == nil && n == 3 && name == fmt.Sprintf(segmentName, from, to, salt) && from <= to
}

// file is what writing a segment needs; disk makes them. Tests put faults
// between the store and the real ones.
type file interface {
	io.Writer
	Sync() error
	Close() error
}

type disk interface {
	create(path string) (file, error)
	rename(from, to string) error
	syncDir(path string) error
}

type osDisk struct{}

func (osDisk) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) syncDir(path string) error { return durable.SyncDir(path) }

// writeSegment writes the head's profiles to a new file of dir. After an error
// nothing of it is there under a segment's name, but for one of the last flush;
// then it is complete, and the journal's records that it holds are as well.
func writeSegment(d disk, dir string, h *head) (*segment, error) {
	s := &segment{from: h.from, to: h.to, salt: rand.Uint32(), refs: 1}
	s.path = filepath.Join(dir, fmt.Sprintf(segmentName, s.from, s.to, s.salt))
	tmp := s.path + ".tmp"
	err := s.write(d, tmp, h)
	if err == nil {
		err = d.rename(tmp, s.path)
	}
	if err != nil {
		_ = os.Remove(tmp) // on a full disk its space is wanted
		return nil, fmt.Errorf("write segment %q: %w", s.path, err)
	}
	if err = d.syncDir(dir); err == nil {
		s.file, err = os.Open(s.path)
	}
	if err != nil {
		_ = os.Remove(s.path) // it would hold the same as the next try
		return nil, fmt.Errorf("write segment %q: %w", s.path, err)
	}
	return s, nil
}

func (s *segment) write(d disk, path string, h *head) error {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	err = s.fill(f, h)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (s *segment) fill(w io.Writer, h *head) error {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	var buf []byte
	for _, one := range h.sorted() {
		one.mu.Lock()
		t, rows := one.table.table, slices.Clone(one.rows)
		one.mu.Unlock()
		slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.time, b.time) })
		if buf, err = s.put(w, z, buf, one.series, &t, rows); err != nil {
			return err
		}
	}
	return nil
}

// put writes the rows of a series, as one block or, where that is above a bound
// which each write alone was not, as several.
func (s *segment) put(w io.Writer, z *zstd.Encoder, buf []byte, of *series, t *table, rows []row) ([]byte, error) {
	m := summarize(of, t, rows)
	buf, f, err := appendFrame(buf[:0], z, s.salt, m, t, rows)
	if errors.Is(err, store.ErrInvalid) && len(rows) > 1 {
		for part := range slices.Chunk(rows, (len(rows)+1)/2) {
			b := newBuilder()
			part = b.take(t, part)
			if buf, err = s.put(w, z, buf, of, &b.table, part); err != nil {
				return buf, err
			}
		}
		return buf, nil
	}
	if err != nil {
		return buf, err
	}
	if _, err := w.Write(buf); err != nil {
		return buf, err
	}
	s.add(block{summary: m, at: s.size, frame: f})
	s.size += int64(len(buf))
	return buf, nil
}

func (s *segment) add(b block) {
	if len(s.blocks) == 0 || b.first < s.first {
		s.first = b.first
	}
	if len(s.blocks) == 0 || b.last > s.last {
		s.last = b.last
	}
	s.until = max(s.until, b.until)
	s.count += b.count
	s.blocks = append(s.blocks, b)
}

// openSegment reads the headers of a file. Where one is damaged it searches the
// next; damaged counts what was lost.
func openSegment(path string) (s *segment, damaged int, err error) {
	s = &segment{path: path, refs: 1}
	var ok bool
	if s.from, s.to, s.salt, ok = parseSegment(filepath.Base(path)); !ok {
		return nil, 0, fmt.Errorf("open segment %q: not a name of one", path)
	}
	if s.file, err = os.Open(path); err != nil {
		return nil, 0, fmt.Errorf("open segment: %w", err)
	}
	info, err := s.file.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open segment %q: %w", path, err), s.file.Close())
	}
	s.size = info.Size()
	if damaged, err = s.scan(); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open segment %q: %w", path, err), s.file.Close())
	}
	if len(s.blocks) == 0 { // it goes when it is old all the same, not at once
		s.last = info.ModTime().UnixNano()
	}
	return s, damaged, nil
}

// headRead is read at a time: a header and most summaries.
const headRead = 4 << 10

func (s *segment) scan() (damaged int, err error) {
	buf := make([]byte, headRead)
	for at := int64(0); at < s.size; {
		n, err := s.file.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return damaged, err
		}
		f, ok := readFrame(buf[:n], s.salt)
		if !ok {
			damaged++
			next, err := s.search(at + 1)
			if err != nil {
				return damaged, err
			}
			at = next
			continue
		}
		head := buf[:n]
		if want := frameHeader + int(f.summary); want > n {
			head = make([]byte, want)
			if _, err := s.file.ReadAt(head, at); err != nil && !errors.Is(err, io.EOF) {
				return damaged, err
			}
		}
		m, err := f.summaryOf(head)
		if err != nil || at+f.size() > s.size {
			damaged++
		} else {
			s.add(block{summary: m, at: at, frame: f})
		}
		at += f.size()
	}
	return damaged, nil
}

// search finds the next header from at on, else the end.
func (s *segment) search(at int64) (int64, error) {
	buf := make([]byte, 1<<20)
	for at < s.size {
		n, err := s.file.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		rest := buf[:n]
		for {
			i := bytes.Index(rest, []byte(frameMagic))
			if i < 0 {
				break
			}
			rest = rest[i:]
			if _, ok := readFrame(rest, s.salt); ok {
				return at + int64(n-len(rest)), nil
			}
			rest = rest[1:]
		}
		if n < len(buf) {
			break
		}
		at += int64(n) - frameHeader + 1 // a header may begin at the end of buf
	}
	return s.size, nil
}

// read decodes a block.
func (s *segment) read(z *zstd.Decoder, b block) (*table, []row, error) {
	body := make([]byte, b.frame.body)
	if _, err := s.file.ReadAt(body, b.at+frameHeader+int64(b.frame.summary)); err != nil {
		return nil, nil, fmt.Errorf("read block of %q: %w: %w", s.path, err, errDamaged)
	}
	t, rows, err := b.frame.open(z, body)
	if err != nil {
		return nil, nil, fmt.Errorf("%q at %d: %w", s.path, b.at, err)
	}
	return t, rows, nil
}

// listSegments opens all segments of dir, oldest first, and removes what an
// interrupted flush has left.
func listSegments(dir string) (all []*segment, damaged int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if filepath.Ext(path) == ".tmp" {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, 0, err
			}
			continue
		}
		if _, _, _, ok := parseSegment(e.Name()); !ok {
			continue
		}
		s, n, err := openSegment(path)
		if err != nil {
			for _, o := range all {
				_ = o.file.Close()
			}
			return nil, 0, err
		}
		damaged += n
		all = append(all, s)
	}
	return all, damaged, nil
}
