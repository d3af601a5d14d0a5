package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Bounds on what one service may ask of the engine. They hold for a UTC day,
// as the engine's partitions do.
const (
	// maxColumnsPerService keeps a stream below the 2000 columns from which
	// on the engine drops rows, with room for the fixed columns and for a
	// day's change of versions. Attributes past it are kept, but cannot be
	// searched.
	maxColumnsPerService = 1_500
	// maxStreams bounds the streams of a tenant: each costs at least one
	// block in every part of the day, about 1 KB.
	maxStreams = 20_000
	// maxStreamValue is the longest service name that makes a stream; the
	// engine's stream index takes no long ones.
	maxStreamValue = 256
	// maxColumns bounds the memory of all shapes of a codec, 200 bytes each.
	maxColumns = 300_000
)

// column is an attribute that has a column.
type column struct {
	key  string // of the attribute
	name string // in the engine
}

// repeated stands for an attribute whose key came before in the same map.
var repeated = &column{}

// columnRun is the columns of the attributes of one map, by position.
type columnRun struct {
	shape *shape
	keys  []string // to recognize the next map; empty where there is no column
	cols  []*column
	// changed: the current map differs from the one before, so its keys may
	// repeat.
	changed bool
}

// shapes knows the shape of every service that sent today.
type shapes struct {
	nameOf func(section, string) string // column name of an attribute

	mu      sync.Mutex
	day     int64
	all     map[shapeKey]*shape
	streams map[store.Tenant]int
	columns int
}

type shapeKey struct {
	tenant  store.Tenant
	service string
}

// shape is which columns and which streams a service's rows use.
type shape struct {
	owner *shapes
	key   shapeKey
	// shared is the shape of all services beyond the bound of a tenant; it
	// has no stream of its own.
	shared bool

	mu   sync.Mutex
	cols map[section]map[string]*column
}

func newShapes(nameOf func(section, string) string) *shapes {
	s := &shapes{nameOf: nameOf}
	s.clear()
	return s
}

func (s *shapes) clear() {
	s.all = make(map[shapeKey]*shape)
	s.streams = make(map[store.Tenant]int)
	s.columns = 0
}

// of returns the shape of a service's rows written at now.
func (s *shapes) of(t store.Tenant, service string, now time.Time) *shape {
	s.mu.Lock()
	defer s.mu.Unlock()
	if day := now.Unix() / 86400; day != s.day {
		s.day = day
		s.clear()
	}
	return s.get(shapeKey{t, service})
}

func (s *shapes) get(k shapeKey) *shape {
	if p := s.all[k]; p != nil {
		return p
	}
	shared := k.service == "" || len(k.service) > maxStreamValue || s.streams[k.tenant] >= maxStreams
	if shared {
		k.service = ""
		if p := s.all[k]; p != nil {
			return p
		}
	} else {
		s.streams[k.tenant]++
		k.service = strings.Clone(k.service)
	}
	p := &shape{owner: s, key: k, shared: shared, cols: map[section]map[string]*column{}}
	s.all[k] = p
	return p
}

// begin starts on the next map of attributes.
func (r *columnRun) begin(p *shape) {
	if r.shape != p {
		r.shape, r.keys, r.cols = p, r.keys[:0], r.cols[:0]
	}
	r.changed = false
}

// next is the column of the attribute at place i: nil when it has none,
// repeated when its key came before.
func (r *columnRun) next(i int, s section, key string) *column {
	if i < len(r.keys) && r.keys[i] == key && key != "" {
		if r.changed && r.before(i, r.cols[i]) {
			return repeated
		}
		return r.cols[i]
	}
	if i == len(r.keys) {
		r.keys, r.cols = append(r.keys, ""), append(r.cols, nil)
	}
	r.changed = true
	col := r.shape.column(s, key)
	if col == nil {
		r.keys[i], r.cols[i] = "", nil
		return nil
	}
	r.keys[i], r.cols[i] = col.key, col
	if r.before(i, col) {
		return repeated
	}
	return col
}

func (r *columnRun) before(i int, col *column) bool {
	return slices.Contains(r.cols[:i], col)
}

func sectionIndex(s section) int {
	switch s {
	case sectionResource:
		return 0
	case sectionScope:
		return 1
	default:
		return 2
	}
}

// column is the column of an attribute, nil when it cannot have one.
func (p *shape) column(s section, key string) *column {
	p.mu.Lock()
	defer p.mu.Unlock()
	cols := p.cols[s]
	if c := cols[key]; c != nil {
		return c
	}
	if !columnKey(key) {
		return nil
	}
	name := p.owner.nameOf(s, key)
	if len(name) > maxColumnName || !p.owner.takeColumn(p) {
		return nil
	}
	if cols == nil {
		cols = make(map[string]*column)
		p.cols[s] = cols
	}
	key = strings.Clone(key)
	c := &column{key: key, name: name}
	cols[key] = c
	return c
}

func (s *shapes) takeColumn(p *shape) bool {
	n := 0
	for _, cols := range p.cols {
		n += len(cols)
	}
	if n >= maxColumnsPerService {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.columns >= maxColumns {
		return false
	}
	s.columns++
	return true
}

// columnKey reports whether a key may name a column: valid, not empty, free of
// control characters (they delimit colTypes), and without a star at the end,
// which the engine's field lists take for a prefix.
func columnKey(key string) bool {
	if key == "" || key[len(key)-1] == '*' || !utf8.ValidString(key) {
		return false
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] == 0x7f {
			return false
		}
	}
	return true
}

// minFrozenShape is the number of columns from which on a shape is
// worth remembering over a restart. A smaller one may start anew several times
// in a day before it nears the bounds.
const minFrozenShape = 200

// freeze writes the shapes that near their bounds, so that a restart does not
// grant them a second time on the same day.
func (s *shapes) freeze() []byte {
	s.mu.Lock()
	day := s.day
	all := slices.Collect(maps.Values(s.all))
	s.mu.Unlock()
	dst := binary.AppendVarint(nil, day)
	for _, p := range all {
		dst = p.freeze(dst)
	}
	return dst
}

func (p *shape) freeze(dst []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	columns := 0
	for _, cols := range p.cols {
		columns += len(cols)
	}
	if columns < minFrozenShape {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(p.key.tenant.Account))
	dst = binary.AppendUvarint(dst, uint64(p.key.tenant.Project))
	dst = appendShort(dst, p.key.service)
	dst = binary.AppendUvarint(dst, uint64(columns))
	for s, cols := range p.cols {
		for key := range cols {
			dst = appendShort(append(dst, byte(s)), key)
		}
	}
	return dst
}

func appendShort(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// restore takes what freeze wrote. It is called before the first row.
func (s *shapes) restore(blob []byte) error {
	in := byteReader{b: blob}
	s.day = in.varint()
	for len(in.b) > 0 {
		k := shapeKey{tenant: store.Tenant{Account: uint32(in.uvarint()), Project: uint32(in.uvarint())}}
		k.service = string(in.take(in.uvarint()))
		p := s.get(k)
		for n := in.uvarint(); n > 0 && !in.bad; n-- {
			of := in.take(1)
			key := in.take(in.uvarint())
			if !in.bad {
				p.column(section(of[0]), string(key))
			}
		}
	}
	if in.bad {
		return fmt.Errorf("restore columns: %w", errCheckpoint)
	}
	return nil
}

var errCheckpoint = errors.New("checkpoint is damaged")
