package profile

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/guanlan-io/guanlan/internal/pprofile"
	"github.com/guanlan-io/guanlan/internal/store"
)

// series is what all profiles of a block have in common.
type series struct {
	tenant   store.Tenant
	kind     string
	resource map[string]string
	key      string // encoded
	refs     int    // of blocks and the head; Store.mu
}

func newSeries(tenant store.Tenant, kind string, resource map[string]string) *series {
	k := binary.LittleEndian.AppendUint32(nil, tenant.Account)
	k = binary.LittleEndian.AppendUint32(k, tenant.Project)
	k = appendText(k, kind)
	k = binary.AppendUvarint(k, uint64(len(resource)))
	for _, name := range slices.Sorted(maps.Keys(resource)) {
		k = appendText(appendText(k, name), resource[name])
	}
	return &series{tenant: tenant, kind: kind, resource: resource, key: string(k)}
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// summary is what is known of a block without its body.
type summary struct {
	series      *series
	first, last int64 // start of the oldest and of the newest profile
	until       int64 // latest end
	count       int
	total       int64 // of the main values
	unit        string
	labels      []string // keys that samples have
}

// summarize looks at the rows of a block.
func summarize(s *series, t *table, rows []row) summary {
	m := summary{series: s, count: len(rows)}
	for i, r := range rows {
		if i == 0 || r.time < m.first {
			m.first = r.time
		}
		if i == 0 || r.time > m.last {
			m.last = r.time
		}
		m.until = max(m.until, r.end())
		at, unit := t.main(r.schema, s.kind)
		if i == 0 {
			m.unit = unit
		}
		m.total = pprofile.Plus(m.total, t.sum(r, at))
	}
	keys := map[uint32]bool{}
	for _, set := range t.labels {
		for _, l := range set {
			keys[l.key] = true
		}
	}
	for k := range keys {
		m.labels = append(m.labels, t.strings[k])
	}
	slices.Sort(m.labels)
	return m
}

// main is the value that totals and flame graphs of a kind are about.
func (t *table) main(of uint32, kind string) (at int, unit string) {
	s := t.schemas[of]
	at = len(s.types) - 1
	for i, v := range s.types {
		if v.name == s.byDefault && s.byDefault != 0 {
			at = i
		}
	}
	want := map[string]string{"heap": "inuse_space", "allocs": "alloc_space", "mutex": "delay", "block": "delay"}[kind]
	for i, v := range s.types {
		if name := t.strings[v.name]; name == kind || name == want {
			at = i
		}
	}
	if at < 0 {
		return at, ""
	}
	return at, t.strings[s.types[at].unit]
}

func (t *table) sum(r row, at int) (sum int64) {
	if at < 0 {
		return 0
	}
	n := len(t.schemas[r.schema].types)
	for i := at; i < len(r.values); i += n {
		sum = pprofile.Plus(sum, r.values[i])
	}
	return sum
}

func appendSummary(b []byte, m summary) []byte {
	b = append(b, m.series.key...)
	b = binary.AppendVarint(b, m.first)
	b = binary.AppendVarint(b, m.last)
	b = binary.AppendVarint(b, m.until)
	b = binary.AppendUvarint(b, uint64(m.count))
	b = binary.AppendVarint(b, m.total)
	b = appendText(b, m.unit)
	b = binary.AppendUvarint(b, uint64(len(m.labels)))
	for _, l := range m.labels {
		b = appendText(b, l)
	}
	return b
}

func readSummary(data []byte) (summary, error) {
	d := decoder{b: data}
	var m summary
	var tenant store.Tenant
	if d.want(len(data) >= 8, "tenant"); d.err == nil {
		tenant = store.Tenant{Account: binary.LittleEndian.Uint32(data), Project: binary.LittleEndian.Uint32(data[4:])}
		d.b = data[8:]
	}
	kind, resource := d.text(), map[string]string{}
	for range d.count(2) {
		k := d.text()
		resource[k] = d.text()
	}
	m.first, m.last, m.until, m.count, m.total, m.unit = d.int(), d.int(), d.int(), d.int32(), d.int(), d.text()
	for range d.count(1) {
		m.labels = append(m.labels, d.text())
	}
	d.want(len(d.b) == 0, "end")
	if d.err != nil {
		return m, fmt.Errorf("decode summary: %w", d.err)
	}
	m.series = newSeries(tenant, kind, resource)
	return m, nil
}

// The frame of a block, in segment files and in journal records; see FORMAT.md.
const (
	frameMagic  = "\xa7GP\x01"
	frameHeader = 28
	// maxSummary bounds resource attributes of a series and the keys of its
	// labels: above it a sender is refused.
	maxSummary = 1 << 20
	// summaryRoom is left free by writes: the numbers in the summary of a part of
	// a write may be longer than in that of the whole.
	summaryRoom = 128
	// maxRaw bounds a block as it is decoded. The head is flushed long before.
	maxRaw = 1 << 29
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is the header of a block.
type frame struct {
	summary, body, raw  uint32 // bytes
	sumSummary, sumBody uint32
}

func (f frame) size() int64 { return frameHeader + int64(f.summary) + int64(f.body) }

// appendFrame writes a block. salt keeps bytes that a sender chose from posing
// as a frame where one is searched for.
func appendFrame(b []byte, z *zstd.Encoder, salt uint32, m summary, t *table, rows []row) ([]byte, frame, error) {
	raw := encode(t, rows)
	if len(raw) > maxRaw {
		return b, frame{}, fmt.Errorf("encode profiles: %d MiB, more than %d: %w", len(raw)>>20, maxRaw>>20, store.ErrInvalid)
	}
	at := len(b)
	b = append(b, make([]byte, frameHeader)...)
	b = appendSummary(b, m)
	end := len(b)
	if end-at-frameHeader > maxSummary {
		return b[:at], frame{}, tooManyKeys(end - at)
	}
	b = z.EncodeAll(raw, b)
	f := frame{
		summary: uint32(end - at - frameHeader), body: uint32(len(b) - end), raw: uint32(len(raw)),
		sumSummary: crc32.Checksum(b[at+frameHeader:end], castagnoli), sumBody: crc32.Checksum(b[end:], castagnoli),
	}
	h := b[at : at+frameHeader]
	copy(h, frameMagic)
	for i, v := range []uint32{f.summary, f.body, f.raw, f.sumSummary, f.sumBody} {
		binary.LittleEndian.PutUint32(h[4+4*i:], v)
	}
	binary.LittleEndian.PutUint32(h[24:], crc32.Update(salt, castagnoli, h[:24]))
	return b, f, nil
}

func tooManyKeys(size int) error {
	return fmt.Errorf("resource attributes and label keys of a profile: %d KiB, more than %d: %w", size>>10, maxSummary>>10, store.ErrInvalid)
}

// readFrame reads a header; false when it is none.
func readFrame(h []byte, salt uint32) (frame, bool) {
	if len(h) < frameHeader || string(h[:4]) != frameMagic ||
		crc32.Update(salt, castagnoli, h[:24]) != binary.LittleEndian.Uint32(h[24:]) {
		return frame{}, false
	}
	u := func(at int) uint32 { return binary.LittleEndian.Uint32(h[at:]) }
	f := frame{u(4), u(8), u(12), u(16), u(20)}
	return f, f.summary <= maxSummary && f.raw <= maxRaw
}

// open decodes a body.
func (f frame) open(z *zstd.Decoder, body []byte) (*table, []row, error) {
	if err := f.check(body); err != nil {
		return nil, nil, err
	}
	raw, err := z.DecodeAll(body, make([]byte, 0, f.raw))
	if err != nil {
		return nil, nil, fmt.Errorf("read block: %w: %w", err, errDamaged)
	}
	return decode(raw)
}

// check compares a body with its checksum.
func (f frame) check(body []byte) error {
	if len(body) != int(f.body) || crc32.Checksum(body, castagnoli) != f.sumBody {
		return fmt.Errorf("read block: checksum of the body: %w", errDamaged)
	}
	return nil
}

// has tells whether samples may have a label.
func (m *summary) has(key string) bool { return slices.Contains(m.labels, key) }

// summaryOf reads the summary behind a header.
func (f frame) summaryOf(b []byte) (summary, error) {
	if len(b) < frameHeader+int(f.summary) {
		return summary{}, fmt.Errorf("read summary: %w", errDamaged)
	}
	b = b[frameHeader : frameHeader+int(f.summary)]
	if crc32.Checksum(b, castagnoli) != f.sumSummary {
		return summary{}, fmt.Errorf("read summary: checksum: %w", errDamaged)
	}
	return readSummary(b)
}
