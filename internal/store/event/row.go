package event

import (
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Columns that belong to the codec, in both storages. Their names begin with
// privatePrefix: readers outside never see them.
const (
	privatePrefix = "_g_"

	colTypes   = "_g_types"   // exceptions: values whose type does not follow from their text
	colMore    = "_g_more"    // packed: attributes that have no column, or whose column does not say all
	colCut     = "_g_cut"     // packed: what was cut, with its original size
	colTimes   = "_g_times"   // packed: original times where _time does not tell them
	colDropped = "_g_dropped" // packed: the dropped counts
	colSchema  = "_g_schema"  // packed: schema URLs of resource and scope

	colService = "service.name"
	// colShared is the tag of the stream that services without their own
	// share.
	colShared = "_g_shared"
)

// Limits of a row. The engine refuses rows above 2 MiB (counted as JSON), 2000
// columns, and column names above 128 bytes, with a log line only; in a block
// of one stream it also drops rows once more than 2000 different columns come
// together, hence the bound per service in columns.go.
const (
	// maxValueBytes bounds one string. Longer ones are cut: nobody reads them
	// on a screen, and eight of them would fill a row.
	maxValueBytes = 256 << 10
	// minValueBytes is the floor when a row is cut again and again to fit.
	// With at most maxColumnsPerService columns and the bounds below it
	// always fits then.
	minValueBytes = 256
	// maxMoreBytes bounds colMore; attributes past it are discarded and
	// counted as dropped.
	maxMoreBytes = 256 << 10
	// maxKeyBytes bounds the keys of attributes without a column. A key is
	// never cut: it would become another's. Longer ones go with their value.
	maxKeyBytes = 4 << 10
	// maxNoteBytes bounds colCut: the first cuts are named.
	maxNoteBytes = 64 << 10
	// maxRowBytes is below the engine's 2 MiB, for what it adds itself.
	maxRowBytes = 2<<20 - 64<<10
	// maxColumnName is the engine's.
	maxColumnName = 128
)

// section is where an attribute stands; also its letter in packed columns.
type section byte

const (
	sectionResource section = 'r'
	sectionScope    section = 'c'
	sectionOwn      section = 'a' // the span's or the record's
	sectionBody     section = 'b' // a log body; the key is empty
	sectionField    section = 'f' // a field of the span or record, by name; in colCut only
)

// An entry of colTypes is one of the first two bytes, the section, the key,
// typesEnd, the code. Keys with such bytes are never columns, so that filters
// can look for entries as substrings.
const (
	typesWithText    = '\x1e'
	typesWithoutText = '\x1d' // the value has no text, hence no column: it exists all the same
	typesEnd         = '\x1f'
)

// typesEntry is an entry but for the code.
func typesEntry(dst []byte, begin byte, s section, key string) []byte {
	return append(append(append(dst, begin, byte(s)), key...), typesEnd)
}

// Marks of colMore entries.
const (
	moreAdd     = 0x01 // the attribute has no column
	moreReplace = 0x02 // the attribute's column is for searching; this is its value
)

// cutter makes strings fit: valid UTF-8 of at most limit bytes. What it cuts
// it notes, under the label set before.
type cutter struct {
	limit   int
	section section
	key     string
	notes   []byte // packed for colCut
}

func (c *cutter) label(s section, key string) { c.section, c.key = s, key }

func (c *cutter) text(s string) string {
	if len(s) > c.limit {
		n := c.limit
		for n > 0 && !utf8.RuneStart(s[n]) && c.limit-n < utf8.UTFMax {
			n--
		}
		c.note(len(s))
		s = s[:n]
	}
	return validText(s)
}

// validText replaces what is not UTF-8: the wire format forbids it, and the
// JSON of answers cannot carry it.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func (c *cutter) note(size int) {
	if len(c.notes) > maxNoteBytes {
		return
	}
	key := c.key
	if len(key) > maxColumnName {
		key = validText(key[:maxColumnName])
	}
	c.notes = append(c.notes, byte(c.section))
	c.notes = packUint(packText(c.notes, key), uint64(size))
}

// rowBuilder collects the fields of one row after another. A row is built on
// top of what its resource and scope have in common, which is built once: see
// mark and rewind. Field values point into the payload or into buf;
// LogRows copies them.
type rowBuilder struct {
	fields []logstorage.Field
	buf    []byte // backing of texts made here; only appended to within a mark
	size   int    // of the row as the engine counts it
	cut    cutter
	types  []byte
	more   []byte

	// Columns of the previous row's attributes by position, per section: the
	// rows of one operation have the same keys in the same order.
	last [3]columnRun
	// discarded counts attributes that found no room, since the caller last
	// set it to zero.
	discarded uint32
	// What resourceAndScope found to be dropped there.
	resourceDropped, scopeDropped uint32

	stream []byte // canonical tags of the rows' stream, as the engine has them
	order  rowOrder
}

// mark is a state to come back to.
type mark struct{ fields, buf, size, notes, types, more int }

func (b *rowBuilder) reset(limit int) {
	b.rewind(mark{})
	b.cut.limit = limit
}

func (b *rowBuilder) mark() mark {
	return mark{len(b.fields), len(b.buf), b.size, len(b.cut.notes), len(b.types), len(b.more)}
}

func (b *rowBuilder) rewind(m mark) {
	b.fields, b.buf, b.size = b.fields[:m.fields], b.buf[:m.buf], m.size
	b.cut.notes, b.types, b.more = b.cut.notes[:m.notes], b.types[:m.types], b.more[:m.more]
}

// add adds a column with a value that needs neither guard nor cut.
func (b *rowBuilder) add(name, value string) {
	b.fields = append(b.fields, logstorage.Field{Name: name, Value: value})
	b.size += len(name) + len(value) + len(`,"":""`)
}

// addBytes adds a column whose value was appended to buf from offset on.
func (b *rowBuilder) addBytes(name string, from int) {
	b.add(name, b.text(from))
}

func (b *rowBuilder) text(from int) string {
	if from == len(b.buf) {
		return ""
	}
	return unsafe.String(&b.buf[from], len(b.buf)-from)
}

// addText adds a field of the span or record that is a string.
func (b *rowBuilder) addText(name, value string) {
	if value == "" {
		return
	}
	b.cut.label(sectionField, name)
	b.add(name, b.guard(b.cut.text(value)))
}

func (b *rowBuilder) guard(s string) string {
	if !needsGuard(s) {
		return s
	}
	from := len(b.buf)
	b.buf = appendGuarded(b.buf, s)
	return b.text(from)
}

func (b *rowBuilder) except(s section, code byte, key string) {
	begin := byte(typesWithText)
	if withoutText(code) {
		begin = typesWithoutText
	}
	b.types = append(typesEntry(b.types, begin, s, key), code)
}

// attributes adds the attributes of a section. shape tells which of them may
// be columns; the others are packed into colMore.
func (b *rowBuilder) attributes(s section, list []pair, shape *shape) {
	run := &b.last[sectionIndex(s)]
	run.begin(shape)
	for i := range list {
		a := &list[i]
		col := run.next(i, s, a.key)
		switch {
		case col == repeated:
		case s == sectionResource && a.key == colService && a.value.kind == pcommon.ValueTypeStr && a.value.text != "":
			// stands in colService
		case col == nil:
			b.cut.label(s, a.key)
			b.packMore(moreAdd, s, validText(a.key), a.value)
		default:
			b.value(s, col.name, col.key, a.value)
		}
	}
}

func (b *rowBuilder) packMore(how byte, s section, key string, v value) {
	from := len(b.more)
	b.more = packText(append(b.more, how, byte(s)), key)
	b.more = packValue(b.more, v, &b.cut, 0)
	if len(b.more) > maxMoreBytes || len(key) > maxKeyBytes {
		b.more = b.more[:from]
		if how == moreAdd {
			b.discarded++
		} else {
			b.cut.note(0)
		}
	}
}

// value adds one value under a column name.
func (b *rowBuilder) value(s section, name, key string, v value) {
	b.cut.label(s, key)
	if v.kind == pcommon.ValueTypeStr {
		text := b.cut.text(v.text)
		if text == "" {
			b.except(s, codeEmptyString, key)
			return
		}
		if c := text[0]; c <= '9' || c == '_' || c == 't' || c == 'f' || c == 'N' { // all that may be taken for another type, or changed
			if inferType(text) != pcommon.ValueTypeStr {
				b.except(s, codeString, key)
			}
			text = b.guard(text)
		}
		b.add(name, text)
		return
	}
	from := len(b.buf)
	var code byte
	var exact bool
	b.buf, code, exact = appendText(b.buf, v)
	if s == sectionBody && code == 0 { // only here an int, double or bool does not follow from the text
		code = plainCode(v.kind)
	}
	text := b.text(from)
	if len(text) > b.cut.limit { // only arrays, maps and bytes can be that long: keep the beginning, for the eye
		text, code, exact = b.cut.text(text), 0, true
	}
	if code != 0 {
		b.except(s, code, key)
	}
	if !exact {
		b.packMore(moreReplace, s, key, v)
	}
	if text != "" {
		b.add(name, b.guard(text))
	}
}

func plainCode(t pcommon.ValueType) byte {
	switch t {
	case pcommon.ValueTypeInt:
		return codeInt
	case pcommon.ValueTypeDouble:
		return codeDouble
	case pcommon.ValueTypeBool:
		return codeBool
	}
	return 0
}

// private adds the codec's own columns that have something to say. It is the
// last step of a row.
func (b *rowBuilder) private() {
	for _, c := range [...]struct {
		name  string
		value []byte
	}{{colTypes, b.types}, {colMore, b.more}, {colCut, b.cut.notes}} {
		if len(c.value) > 0 {
			b.add(c.name, unsafe.String(&c.value[0], len(c.value)))
		}
	}
}

func (b *rowBuilder) fits() bool { return b.size <= maxRowBytes }

func (b *rowBuilder) addUint(name string, u uint64) {
	n := len(b.buf)
	b.buf = strconv.AppendUint(b.buf, u, 10)
	b.addBytes(name, n)
}

// addID adds an identifier unless it is zero.
func (b *rowBuilder) addID(name string, id uint64) {
	if id == 0 {
		return
	}
	n := len(b.buf)
	b.buf = appendID(b.buf, id)
	b.addBytes(name, n)
}

// resourceAndScope adds what the rows of a scope have in common, the tag of
// their stream first: the service, or the mark of the shared stream. The
// operation would be a second tag; but then a service's rows lie in so many
// small blocks that they take a third more disk, and only the search for one
// operation gains. See ADR 0010.
func (b *rowBuilder) resourceAndScope(p *shape, service string, r *resource, c *scope) {
	if p.shared {
		b.add(colShared, "1")
	}
	b.cut.label(sectionResource, colService)
	b.add(colService, b.guard(b.cut.text(service)))
	b.tagStream(b.fields[0])
	b.discarded = 0
	b.attributes(sectionResource, r.attributes, p)
	b.resourceDropped = addCount(r.dropped, b.discarded)
	b.addText(colScopeName, c.name)
	b.addText(colScopeVersion, c.version)
	b.discarded = 0
	b.attributes(sectionScope, c.attributes, p)
	b.scopeDropped = addCount(c.dropped, b.discarded)
	if r.schemaURL != "" || c.schemaURL != "" {
		n := len(b.buf)
		b.cut.label(sectionField, "schema_url")
		b.buf = packText(packText(b.buf, b.cut.text(r.schemaURL)), b.cut.text(c.schemaURL))
		b.addBytes(colSchema, n)
	}
}

func (b *rowBuilder) tagStream(tag logstorage.Field) {
	tags := logstorage.GetStreamTags()
	tags.Add(tag.Name, tag.Value)
	b.stream = tags.MarshalCanonical(b.stream[:0])
	logstorage.PutStreamTags(tags)
}

// addTo adds the row to lr, which copies it.
func (b *rowBuilder) addTo(lr *logstorage.LogRows, tenant logstorage.TenantID, at int64) {
	lr.MustAddInsertRow(&logstorage.InsertRow{
		TenantID:            tenant,
		StreamTagsCanonical: unsafe.String(&b.stream[0], len(b.stream)),
		Timestamp:           at,
		Fields:              b.order.sorted(b.fields),
	})
}

// dropped adds the dropped counts when one is not zero.
func (b *rowBuilder) dropped(counts []uint32) {
	n := len(b.buf)
	for _, c := range counts {
		if c != 0 {
			for _, c := range counts {
				b.buf = packUint(b.buf, uint64(c))
			}
			b.addBytes(colDropped, n)
			return
		}
	}
}
