package event

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// A column of a result block is either an attribute of a section, or one of
// the fixed columns, told by its name.
type columnRole struct {
	section section // 0: fixed
	key     string  // of the attribute, or the name of the column
	values  []string
}

// rowDecoder reads the rows of result blocks; what is common to spans and
// records is here. The engine owns the strings of a block, so all that is kept
// is copied.
type rowDecoder struct {
	keyOf func(column string) (section, string)

	roles []columnRole
	times []int64

	// Of the current row, except for slices, which are reused.
	fixed  map[string]string
	attrs  []rowAttribute
	types  []typeException
	parsed string // the colTypes value that types stands for
	// Sums over the columns that make the resource, the scope, and over all
	// columns: their order differs between blocks.
	resourceSum, scopeSum, content uint64
}

type rowAttribute struct {
	section section
	key     string
	text    string // guarded
}

type typeException struct {
	section section
	code    byte
	key     string
}

// begin prepares for the rows of a block.
func (d *rowDecoder) begin(db *logstorage.DataBlock) error {
	d.roles = d.roles[:0]
	for _, c := range db.Columns {
		name := strings.Clone(c.Name)
		s, key := d.keyOf(name)
		d.roles = append(d.roles, columnRole{s, key, c.Values})
	}
	var ok bool
	d.times, ok = db.GetTimestamps(d.times[:0])
	if !ok {
		return fmt.Errorf("read rows without _time: %w", errPacked)
	}
	if d.fixed == nil {
		d.fixed = make(map[string]string)
	}
	return nil
}

// load gathers a row from its fields.
func (d *rowDecoder) load(fields []logstorage.Field) {
	d.roles = d.roles[:0]
	for i := range fields {
		s, key := d.keyOf(fields[i].Name)
		d.roles = append(d.roles, columnRole{s, key, []string{fields[i].Value}})
	}
	if d.fixed == nil {
		d.fixed = make(map[string]string)
	}
	d.row(0)
}

// row gathers row i of the block.
func (d *rowDecoder) row(i int) {
	clear(d.fixed)
	d.attrs = d.attrs[:0]
	d.resourceSum, d.scopeSum, d.content = 0, 0, 0
	for _, r := range d.roles {
		v := r.values[i]
		if v == "" {
			continue
		}
		if r.section == 0 && (r.key == "_time" || r.key == "_stream" || r.key == "_stream_id") {
			continue
		}
		h := fieldHash(r.section, r.key, v)
		d.content += h
		if r.section == 0 {
			d.fixed[r.key] = v
			switch r.key {
			case colService:
				d.resourceSum += h
			case colScopeName, colScopeVersion:
				d.scopeSum += h
			}
			continue
		}
		d.identify(r.section, h)
		d.attrs = append(d.attrs, rowAttribute{r.section, r.key, v})
	}
	if t := d.fixed[colTypes]; t != d.parsed {
		d.parsed = strings.Clone(t)
		d.types = parseTypes(d.types[:0], d.parsed)
	}
	for _, t := range d.types {
		d.identify(t.section, fieldHash(t.section, t.key, string(t.code)))
	}
}

// identify adds to the sum of a section that is shared by rows.
func (d *rowDecoder) identify(s section, h uint64) {
	switch s {
	case sectionResource:
		d.resourceSum += h
	case sectionScope:
		d.scopeSum += h
	}
}

func fieldHash(s section, key, value string) uint64 {
	h := xxhash.Sum64String(value)
	return bits.RotateLeft64(h, 29)*0x9e3779b97f4a7c15 ^ xxhash.Sum64String(key) + uint64(s)
}

func parseTypes(dst []typeException, s string) []typeException {
	for len(s) > 2 && (s[0] == typesWithText || s[0] == typesWithoutText) {
		key, rest, _ := strings.Cut(s[2:], string(rune(typesEnd)))
		if rest == "" {
			break
		}
		dst = append(dst, typeException{section(s[1]), rest[0], key})
		s = rest[1:]
	}
	return dst
}

func (d *rowDecoder) code(s section, key string) byte {
	for _, t := range d.types {
		if t.section == s && t.key == key {
			return t.code
		}
	}
	return 0
}

// text is a fixed column that was written with a guard.
func (d *rowDecoder) text(name string) string { return strings.Clone(unguarded(d.fixed[name])) }

// attributes puts the attributes of a section.
func (d *rowDecoder) attributes(s section, m pcommon.Map) error {
	for _, a := range d.attrs {
		if a.section == s {
			putText(m.PutEmpty(a.key), strings.Clone(unguarded(a.text)), d.code(s, a.key))
		}
	}
	for _, t := range d.types { // values without text have no column
		if t.section == s && withoutText(t.code) {
			putText(m.PutEmpty(t.key), "", t.code)
		}
	}
	if s == sectionResource {
		if service, ok := d.fixed[colService]; ok {
			if _, found := m.Get(colService); !found {
				m.PutStr(colService, strings.Clone(unguarded(service)))
			}
		}
	}
	return d.moreAttributes(s, m)
}

func (d *rowDecoder) moreAttributes(s section, m pcommon.Map) error {
	u := unpacker{s: d.fixed[colMore]}
	if u.s == "" {
		return nil
	}
	u.s = strings.Clone(u.s)
	for u.more() {
		how, of := u.byte(), section(u.byte())
		key := u.text()
		v := pcommon.NewValueEmpty()
		u.value(v, 0)
		if u.err != nil {
			return u.damage(colMore)
		}
		if of != s {
			continue
		}
		e, found := m.GetOrPutEmpty(key)
		if found && how == moreAdd {
			continue // the column has the first of two equal keys
		}
		v.MoveTo(e)
	}
	return nil
}

// moreBody sets a body that its column does not say fully.
func (d *rowDecoder) moreBody(v pcommon.Value) {
	for u := (unpacker{s: d.fixed[colMore]}); u.more(); {
		_, of := u.byte(), section(u.byte())
		u.text()
		more := pcommon.NewValueEmpty()
		u.s = strings.Clone(u.s)
		u.value(more, 0)
		if of == sectionBody && u.err == nil {
			more.MoveTo(v)
		}
	}
}

// header is what the private columns say about resource and scope.
type header struct {
	resourceURL, scopeURL         string
	resourceDropped, scopeDropped uint32
}

// identifyMore adds what the private columns say about resource and scope to
// their sums.
func (d *rowDecoder) identifyMore(h header) {
	d.resourceSum += fieldHash(sectionResource, "", h.resourceURL) + uint64(h.resourceDropped)*0x9e3779b97f4a7c15
	d.scopeSum += fieldHash(sectionScope, "", h.scopeURL) + uint64(h.scopeDropped)*0x9e3779b97f4a7c15
	u := unpacker{s: d.fixed[colMore]}
	for u.more() {
		from := u.s
		_, of := u.byte(), section(u.byte())
		key := u.text()
		u.value(pcommon.NewValueEmpty(), 0)
		if u.err != nil {
			return
		}
		d.identify(of, fieldHash(of, key, from[:len(from)-len(u.s)]))
	}
}

// counts unpacks colDropped.
func (d *rowDecoder) counts(dst []uint32) error {
	u := unpacker{s: d.fixed[colDropped]}
	if u.s == "" {
		return nil
	}
	for i := range dst {
		dst[i] = uint32(u.uint())
	}
	return u.damage(colDropped)
}

// cutAttribute is put on spans and records of which something was cut: a map
// from the name of what was cut to its original size in bytes; 0 where a value
// could only be kept as text. Attributes are named as in conditions.
const cutAttribute = "guanlan.cut"

func (d *rowDecoder) cuts(own string, m pcommon.Map) error {
	u := unpacker{s: d.fixed[colCut]}
	if u.s == "" {
		return nil
	}
	u.s = strings.Clone(u.s)
	notes := m.PutEmptyMap(cutAttribute)
	for u.more() {
		s := section(u.byte())
		key, size := u.text(), u.uint()
		switch s {
		case sectionResource:
			key = "resource." + key
		case sectionScope:
			key = "scope." + key
		case sectionOwn:
			key = own + key
		}
		notes.PutInt(key, int64(size))
	}
	return u.damage(colCut)
}

// scope fills a scope.
func (d *rowDecoder) scope(sc pcommon.InstrumentationScope, dropped uint32) error {
	sc.SetName(d.text(colScopeName))
	sc.SetVersion(d.text(colScopeVersion))
	sc.SetDroppedAttributesCount(dropped)
	return d.attributes(sectionScope, sc.Attributes())
}

func (d *rowDecoder) schema() (resource, scope string, err error) {
	u := unpacker{s: d.fixed[colSchema]}
	if u.s == "" {
		return "", "", nil
	}
	resource, scope = u.text(), u.text()
	return strings.Clone(resource), strings.Clone(scope), u.damage(colSchema)
}
