package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Files of the rollup; the layout stands in FORMAT.md.
const (
	rollupSuffix = ".rollup"
	rollupMagic  = 0x31524c47 // "GLR1"
	recordHeader = 24         // magic, length, first minute, minutes covered, checksum of payload and of header
	// maxRecord bounds what a damaged length can make the reader allocate.
	maxRecord = 64 << 20
)

var errRollup = errors.New("rollup is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type dayFile struct {
	length int64 // of complete records
	dirty  bool  // written to since the last fsync
}

func openRollup(dir string) (*rollup, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open rollup: %w", err)
	}
	r := &rollup{dir: dir, open: make(map[minuteKey]*openMinute), files: make(map[int64]*dayFile), names: make(map[string]string)}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open rollup: %w", err)
	}
	for _, e := range entries {
		day, ok := rollupDay(e.Name())
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("open rollup: %w", err)
		}
		r.files[day] = &dayFile{length: info.Size()}
	}
	return r, nil
}

const dayLayout = "20060102"

func rollupDay(name string) (int64, bool) {
	t, err := time.Parse(dayLayout+rollupSuffix, name)
	return floorDiv(t.Unix(), 86400), err == nil
}

func (r *rollup) path(day int64) string {
	return filepath.Join(r.dir, time.Unix(day*86400, 0).UTC().Format(dayLayout)+rollupSuffix)
}

// appendDay appends one record with the given open minutes of a day. After a
// failure the file is as long as before, or cut back by the next append.
func (r *rollup) appendDay(day int64, keys []minuteKey) error {
	record := make([]byte, recordHeader, 4<<10)
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, k := range keys {
		record = appendMinute(record, k, r.open[k])
		first, last = min(first, k.minute), max(last, k.minute)
	}
	sealRecord(record, first, last)
	f := r.files[day]
	if f == nil {
		f = &dayFile{}
		r.files[day] = f
	}
	file, err := os.OpenFile(r.path(day), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("append to rollup: %w", err)
	}
	if _, err = file.WriteAt(record, f.length); err != nil {
		err = errors.Join(err, file.Truncate(f.length), file.Close())
		return fmt.Errorf("append to rollup: %w", err)
	}
	f.length += int64(len(record))
	f.dirty = true
	return file.Close()
}

func sealRecord(record []byte, first, last int64) {
	payload := record[recordHeader:]
	le := binary.LittleEndian
	le.PutUint32(record, rollupMagic)
	le.PutUint32(record[4:], uint32(len(payload)))
	le.PutUint32(record[8:], uint32(first))
	le.PutUint32(record[12:], uint32(last-first+1))
	le.PutUint32(record[16:], crc32.Checksum(payload, castagnoli))
	le.PutUint32(record[20:], crc32.Checksum(record[:20], castagnoli))
}

// appendMinute writes tenant, minute and every service with its cells. The
// cells of a service stand behind their length, so that a reader can skip it.
func appendMinute(dst []byte, k minuteKey, m *openMinute) []byte {
	dst = binary.AppendUvarint(dst, uint64(k.tenant.Account))
	dst = binary.AppendUvarint(dst, uint64(k.tenant.Project))
	dst = binary.AppendVarint(dst, k.minute)
	dst = binary.AppendUvarint(dst, uint64(len(m.services)))
	var cells []byte
	for service, s := range m.services {
		dst = binary.AppendUvarint(dst, uint64(len(service)))
		dst = append(dst, service...)
		cells = cells[:0]
		band := 0
		for _, c := range s.cells {
			// band step, then whether failed, then whether the weight differs from the count
			head := uint64(int(c.band)-band) << 2
			if c.failed {
				head |= 2
			}
			if c.weight != float64(c.count) {
				head |= 1
			}
			band = int(c.band)
			cells = binary.AppendUvarint(cells, head)
			cells = binary.AppendUvarint(cells, c.count)
			if head&1 != 0 {
				cells = binary.LittleEndian.AppendUint64(cells, math.Float64bits(c.weight))
			}
		}
		dst = binary.AppendUvarint(dst, uint64(len(cells)))
		dst = append(dst, cells...)
	}
	return dst
}

// minuteFilter says which cells a reader wants.
type minuteFilter struct {
	tenant   store.Tenant
	from, to int64
	only     *string
}

// visitDay reads the records of a day's file up to length. A record that fails
// its checksum is skipped when its header is good; after a bad header nothing
// more can be read.
func (r *rollup) visitDay(day, length int64, want minuteFilter, yield func(int64, string, []cell)) error {
	file, err := os.Open(r.path(day))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // retention was faster
	}
	if err != nil {
		return err
	}
	defer file.Close()
	d := minuteDecoder{want: want, yield: yield}
	header := make([]byte, recordHeader)
	var payload []byte
	for at := int64(0); at+recordHeader <= length; {
		if _, err := file.ReadAt(header, at); err != nil {
			return err
		}
		h, ok := parseRecordHeader(header)
		if !ok {
			return nil
		}
		at += recordHeader
		if h.first < want.to && h.first+h.minutes > want.from {
			payload = grow(payload, h.size)
			if _, err := file.ReadAt(payload, at); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if crc32.Checksum(payload, castagnoli) == h.sum {
				if err := d.minutes(payload); err != nil {
					return err
				}
			}
		}
		at += int64(h.size)
	}
	return nil
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

type recordHead struct {
	size           int
	first, minutes int64
	sum            uint32
}

func parseRecordHeader(b []byte) (recordHead, bool) {
	le := binary.LittleEndian
	if le.Uint32(b) != rollupMagic || crc32.Checksum(b[:20], castagnoli) != le.Uint32(b[20:]) || le.Uint32(b[4:]) > maxRecord {
		return recordHead{}, false
	}
	return recordHead{int(le.Uint32(b[4:])), int64(int32(le.Uint32(b[8:]))), int64(le.Uint32(b[12:])), le.Uint32(b[16:])}, true
}

// minuteDecoder reads payloads of appendMinute.
type minuteDecoder struct {
	want  minuteFilter
	yield func(int64, string, []cell)
	names map[string]string
	cells []cell
}

func (d *minuteDecoder) minutes(b []byte) error {
	in := byteReader{b: b}
	for len(in.b) > 0 {
		account, project := in.uvarint(), in.uvarint()
		minute := in.varint()
		wanted := store.Tenant{Account: uint32(account), Project: uint32(project)} == d.want.tenant && minute >= d.want.from && minute < d.want.to
		for n := in.uvarint(); n > 0 && !in.bad; n-- {
			service := in.take(in.uvarint())
			cells := in.take(in.uvarint())
			if !wanted || in.bad || d.want.only != nil && string(service) != *d.want.only {
				continue
			}
			if !d.decode(cells) {
				return errRollup
			}
			d.yield(minute, d.intern(service), d.cells)
		}
		if in.bad || account > math.MaxUint32 || project > math.MaxUint32 {
			return errRollup
		}
	}
	return nil
}

func (d *minuteDecoder) intern(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	if d.names == nil {
		d.names = make(map[string]string)
	}
	s := string(b)
	d.names[s] = s
	return s
}

func (d *minuteDecoder) decode(b []byte) bool {
	in := byteReader{b: b}
	d.cells = d.cells[:0]
	band := uint64(0)
	for len(in.b) > 0 {
		head, count := in.uvarint(), in.uvarint()
		band += head >> 2
		c := cell{failed: head&2 != 0, count: count, weight: float64(count)}
		if head&1 != 0 {
			if w := in.take(8); len(w) == 8 {
				c.weight = math.Float64frombits(binary.LittleEndian.Uint64(w))
			}
		}
		if in.bad || band > maxBand {
			return false
		}
		c.band = uint8(band)
		d.cells = append(d.cells, c)
	}
	return true
}

// byteReader reads integers and bytes; bad is set when they end too early.
type byteReader struct {
	b   []byte
	bad bool
}

func (r *byteReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return uint64(r.advance(int64(v), n))
}

func (r *byteReader) varint() int64 {
	v, n := binary.Varint(r.b)
	return r.advance(v, n)
}

func (r *byteReader) advance(v int64, n int) int64 {
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *byteReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// freeze closes quiet minutes, syncs the files, and returns the state to put
// into a checkpoint. Nothing may be added meanwhile that the checkpoint does
// not cover: the appliers stand still.
func (r *rollup) freeze() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeMinutes(time.Now(), maxOpenCells)
	if r.failure != nil {
		return nil, r.failure
	}
	created := false
	for day, f := range r.files {
		if !f.dirty {
			continue
		}
		if err := syncPath(r.path(day)); err != nil {
			return nil, fmt.Errorf("sync rollup: %w", err)
		}
		f.dirty, created = false, true
	}
	if created {
		if err := syncPath(r.dir); err != nil {
			return nil, fmt.Errorf("sync rollup: %w", err)
		}
	}
	blob := binary.AppendUvarint(nil, uint64(len(r.files)))
	for day, f := range r.files {
		blob = binary.AppendVarint(blob, day)
		blob = binary.AppendUvarint(blob, uint64(f.length))
	}
	for k, m := range r.open {
		blob = appendMinute(blob, k, m)
	}
	return blob, nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// restore brings back the state of freeze: files return to their length of
// then, later ones go.
func (r *rollup) restore(blob []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := byteReader{b: blob}
	lengths := make(map[int64]int64)
	for n := in.uvarint(); n > 0 && !in.bad; n-- {
		day := in.varint()
		lengths[day] = int64(in.uvarint())
	}
	if in.bad {
		return fmt.Errorf("restore rollup: %w", errRollup)
	}
	clear(r.open)
	r.cells = 0
	now := time.Now()
	for tail := in.b; len(tail) > 0; {
		rest, err := r.restoreMinute(tail, now)
		if err != nil {
			return fmt.Errorf("restore rollup: %w", err)
		}
		tail = rest
	}
	for day, f := range r.files {
		length, known := lengths[day]
		var err error
		switch {
		case !known:
			err = os.Remove(r.path(day))
			delete(r.files, day)
		case f.length > length:
			err = os.Truncate(r.path(day), length)
			f.length, f.dirty = length, true
		}
		if err != nil {
			return fmt.Errorf("restore rollup: %w", err)
		}
	}
	return nil
}

// restoreMinute opens the first minute of an encoding by appendMinute and
// returns what follows it.
func (r *rollup) restoreMinute(b []byte, now time.Time) ([]byte, error) {
	in := byteReader{b: b}
	k := minuteKey{store.Tenant{Account: uint32(in.uvarint()), Project: uint32(in.uvarint())}, in.varint()}
	var d minuteDecoder
	for n := in.uvarint(); n > 0 && !in.bad; n-- {
		service, cells := in.take(in.uvarint()), in.take(in.uvarint())
		if in.bad || !d.decode(cells) {
			return nil, errRollup
		}
		into := r.cellsOf(k, string(service), now)
		for _, c := range d.cells {
			r.cells += into.add(c)
		}
	}
	if in.bad {
		return nil, errRollup
	}
	return in.b, nil
}

// dropBefore deletes the files of days before the one that t stands in.
func (r *rollup) dropBefore(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := floorDiv(t.Unix(), 86400)
	var errs []error
	for day := range r.files {
		if day < first {
			if err := os.Remove(r.path(day)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
				continue
			}
			delete(r.files, day)
		}
	}
	for k, m := range r.open {
		if floorDiv(k.minute, minutesPerDay) < first {
			r.cells -= m.size()
			delete(r.open, k)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drop old rollup: %w", err)
	}
	return nil
}
