package event

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/cespare/xxhash/v2"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxExactFields is the number of rows up to which fields are counted
	// exactly; above it a field counts for all rows of a block that has it.
	maxExactFields = 200_000
	// maxFields bounds the fields of a list.
	maxFields = 1_000
	// maxValues bounds the values of a list.
	maxValues = 10_000
)

// signal is what listing fields and values needs to know of a storage.
type signal struct {
	dialect dialect
	keyOf   func(column string) (section, string)
	own     string // prefix of own attributes in conditions
	ask     func(r *reader, sel store.Select, narrow, pipes string) (question, error)
	// fields of the columns that are no attributes; the others are private.
	fields map[string]string
}

func spanSignal() signal {
	return signal{spanDialect, spanColumnKey, "span.", (*reader).spanQuestion, map[string]string{
		colTraceLow: "trace_id", colSpanID: "span_id", colParentSpanID: "parent_span_id", colService: "service.name", colName: "name", colKind: "kind",
		colDuration: "duration", colStatus: "status", colStatusMessage: "status.message", colScopeName: "scope.name", colScopeVersion: "scope.version", colEventName: "event.name",
	}}
}

func logSignal() signal {
	return signal{logDialect, logColumnKey, logPrefix, (*reader).logQuestion, map[string]string{
		colTraceID: "trace_id", colLogSpanID: "span_id", colService: "service.name", colSeverity: "severity", colSeverityText: "severity_text",
		colBody: "body", colScopeName: "scope.name", colLogEventName: "event_name",
	}}
}

// fieldOf is the name of a column in conditions, empty for those that have
// none.
func (s signal) fieldOf(column string) string {
	switch of, key := s.keyOf(column); of {
	case sectionOwn:
		return s.own + key
	case sectionResource:
		return "resource." + key
	case sectionScope:
		return ""
	}
	return s.fields[column]
}

// SpanFields implements store.TraceReader.
func (r *reader) SpanFields(ctx context.Context, sel store.Select) ([]store.Count, error) {
	return r.listFields(ctx, spanSignal(), sel)
}

// LogFields implements store.LogReader.
func (r *reader) LogFields(ctx context.Context, sel store.Select) ([]store.Count, error) {
	return r.listFields(ctx, logSignal(), sel)
}

func (r *reader) listFields(ctx context.Context, s signal, sel store.Select) ([]store.Count, error) {
	columns, err := r.columnHits(ctx, s, sel)
	if err != nil {
		return nil, fmt.Errorf("list fields: %w", err)
	}
	if columns["_time"] <= maxExactFields {
		if err := r.countColumns(ctx, s, sel, columns); err != nil {
			return nil, fmt.Errorf("list fields: %w", err)
		}
	}
	for _, column := range [...]string{colKind, colStatus, colSeverity} { // every row has these, with or without a column
		if _, ok := columns[column]; ok {
			columns[column] = columns["_time"]
		}
	}
	var out []store.Count
	for column, n := range columns {
		if field := s.fieldOf(column); field != "" && n > 0 {
			out = append(out, store.Count{Value: field, Count: n})
		}
	}
	sortCounts(out)
	return out[:min(len(out), maxFields)], nil
}

func sortCounts(cs []store.Count) {
	slices.SortFunc(cs, func(a, b store.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
}

// columnHits is the columns of the blocks that have matching rows, with how
// many matching rows these blocks have.
func (r *reader) columnHits(ctx context.Context, s signal, sel store.Select) (map[string]uint64, error) {
	q, err := s.ask(r, sel, "", "| field_names")
	if err != nil {
		return nil, err
	}
	columns := make(map[string]uint64)
	return columns, r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		name, hits := cells(db, "name"), cells(db, "hits")
		for i := range db.RowsCount() {
			columns[strings.Clone(name(i))] += parseCount(hits(i))
		}
		return nil
	})
}

// countColumns replaces hits by the number of rows where a column has a value.
func (r *reader) countColumns(ctx context.Context, s signal, sel store.Select, columns map[string]uint64) error {
	var names, counts []string
	for column := range columns {
		if s.fieldOf(column) != "" && len(names) < maxFields {
			counts = append(counts, fmt.Sprintf("count(%s) n%d", strconv.Quote(column), len(names)))
			names = append(names, column)
		}
	}
	if len(names) == 0 {
		return nil
	}
	q, err := s.ask(r, sel, "", "| stats "+strings.Join(counts, ", "))
	if err != nil {
		return err
	}
	return r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		for i, column := range names {
			columns[column] = parseCount(cells(db, "n"+strconv.Itoa(i))(0))
		}
		return nil
	})
}

// SpanValues implements store.TraceReader.
func (r *reader) SpanValues(ctx context.Context, sel store.Select, field string, limit int) ([]store.Count, error) {
	return r.listValues(ctx, spanSignal(), sel, field, limit)
}

// LogValues implements store.LogReader.
func (r *reader) LogValues(ctx context.Context, sel store.Select, field string, limit int) ([]store.Count, error) {
	return r.listValues(ctx, logSignal(), sel, field, limit)
}

func (r *reader) listValues(ctx context.Context, s signal, sel store.Select, field string, limit int) ([]store.Count, error) {
	if field == "" {
		return nil, fmt.Errorf("list values: field missing: %w", store.ErrInvalid)
	}
	o, err := s.dialect.operand(field)
	if err != nil {
		return nil, fmt.Errorf("list values of %q: %w", field, err)
	}
	limit = max(1, min(limit, maxValues))
	found := make(map[string]uint64)
	if err := r.valuesOf(ctx, s, sel, o, "", limit, found); err != nil {
		return nil, fmt.Errorf("list values of %q: %w", field, err)
	}
	out := make([]store.Count, 0, len(found))
	for v, n := range found {
		out = append(out, store.Count{Value: v, Count: n})
	}
	sortCounts(out)
	return out[:min(len(out), limit)], nil
}

// valuesOf adds the values of an operand in rows that match sel and narrow.
func (r *reader) valuesOf(ctx context.Context, s signal, sel store.Select, o operand, narrow string, limit int, found map[string]uint64) error {
	switch o := o.(type) {
	case eitherOr:
		if err := r.valuesOf(ctx, s, sel, o.first, narrow, limit, found); err != nil {
			return err
		}
		return r.valuesOf(ctx, s, sel, o.second, narrow+" "+not(o.first.exists()), limit, found)
	case eitherReading:
		// Lists of fields name attributes with their prefix, whatever their
		// names begin with: the whole name counts where that finds nothing.
		if err := r.valuesOf(ctx, s, sel, o.prefixed, narrow, limit, found); err != nil || len(found) > 0 {
			return err
		}
		return r.valuesOf(ctx, s, sel, o.whole, narrow, limit, found)
	case attribute:
		if err := r.columnValues(ctx, s, sel, o.column, narrow, limit, unguarded, "", found); err != nil {
			return err
		}
		n, err := r.countRows(ctx, s, sel, narrow+" "+o.emptyText())
		if n > 0 {
			found[""] += n
		}
		return err
	case textColumn:
		return r.columnValues(ctx, s, sel, string(o), narrow, limit, unguarded, "", found)
	case idColumn:
		return r.columnValues(ctx, s, sel, string(o.textColumn), narrow, limit, unguarded, "", found)
	case duration:
		return r.columnValues(ctx, s, sel, colDuration, narrow, limit, func(s string) string { return strconv.FormatInt(parseDuration(s), 10) }, "", found)
	case wordColumn:
		return r.columnValues(ctx, s, sel, o.column, narrow, limit, unguarded, o.absent, found)
	case severity:
		return r.columnValues(ctx, s, sel, o.column, narrow, limit, unguarded, o.absent, found)
	case packedID:
		return r.columnValues(ctx, s, sel, string(o), narrow, limit, func(s string) string {
			id, _ := parseSpanID(s)
			return id.String()
		}, "", found)
	case traceID:
		return r.traceIDValues(ctx, s, sel, narrow, limit, found)
	case eventName:
		names := make(map[string]uint64)
		if err := r.columnValues(ctx, s, sel, colEventName, narrow, maxValues, unguarded, "", names); err != nil {
			return err
		}
		for lines, n := range names {
			for name := range strings.SplitSeq(lines, "\n") {
				found[name] += n
			}
		}
		return nil
	case isRoot:
		for _, v := range [...]string{"true", "false"} {
			n, err := r.countRows(ctx, s, sel, narrow+" "+o.equals(v))
			if err != nil {
				return err
			}
			if n > 0 {
				found[v] += n
			}
		}
	}
	return nil
}

// columnValues adds the most frequent values of a column, told by text. Rows
// without a value count for absent, if that is not empty.
func (r *reader) columnValues(ctx context.Context, s signal, sel store.Select, column, narrow string, limit int, text func(string) string, absent string, found map[string]uint64) error {
	if absent == "" {
		narrow += " " + hasText(column)
	}
	q, err := s.ask(r, sel, narrow, fmt.Sprintf("| top %d by (%s) hits as n", limit, strconv.Quote(column)))
	if err != nil {
		return err
	}
	return r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		value, n := cells(db, column), cells(db, "n")
		for i := range db.RowsCount() {
			v := absent
			if value(i) != "" {
				v = strings.Clone(text(value(i)))
			}
			found[v] += parseCount(n(i))
		}
		return nil
	})
}

// traceIDValues is columnValues for trace ids, which take two columns.
func (r *reader) traceIDValues(ctx context.Context, s signal, sel store.Select, narrow string, limit int, found map[string]uint64) error {
	q, err := s.ask(r, sel, conditions(narrow, hasText(colTraceLow)), fmt.Sprintf("| top %d by (%s, %s) hits as n", limit, colTraceHigh, colTraceLow))
	if err != nil {
		return err
	}
	return r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		high, low, n := cells(db, colTraceHigh), cells(db, colTraceLow), cells(db, "n")
		for i := range db.RowsCount() {
			id, err := parseTraceID(high(i), low(i))
			if err != nil {
				return err
			}
			found[id.String()] += parseCount(n(i))
		}
		return nil
	})
}

func (r *reader) countRows(ctx context.Context, s signal, sel store.Select, narrow string) (n uint64, err error) {
	q, err := s.ask(r, sel, narrow, "| stats count() n")
	if err != nil {
		return 0, err
	}
	err = r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		n += parseCount(cells(db, "n")(0))
		return nil
	})
	return n, err
}

const (
	// maxComparedRows is how many rows of each side Compare looks at, about; of
	// more it takes a half, a third… and scales up.
	maxComparedRows = 100_000
	// maxComparedValues bounds the values kept per field while counting, and
	// maxReportedValues those reported: where the sides differ most.
	maxComparedValues = 5_000
	maxReportedValues = 50
	// maxComparedText leaves out long texts: statements and stack traces tell
	// nothing as values.
	maxComparedText = 256
)

// tallies counts values by field. Counts are pointers because assigning to an
// existing key of a map may replace the key, here by memory of the engine.
type tallies map[string]map[string]*uint64

// Compare implements store.TraceReader.
func (r *reader) Compare(ctx context.Context, selection, baseline store.Select, limit int) ([]store.Difference, uint64, uint64, error) {
	here, selected, err := r.tallySpans(ctx, selection)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("compare: read selection: %w", err)
	}
	there, base, err := r.tallySpans(ctx, baseline)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("compare: read baseline: %w", err)
	}
	rows := make(map[string]uint64)
	for _, side := range [...]tallies{here, there} {
		for field, values := range side {
			for _, n := range values {
				rows[field] += *n
			}
		}
	}
	fields := slices.SortedFunc(maps.Keys(rows), func(a, b string) int {
		return cmp.Or(cmp.Compare(rows[b], rows[a]), cmp.Compare(a, b))
	})
	var diffs []store.Difference
	for _, field := range fields[:min(len(fields), max(1, limit))] {
		diffs = append(diffs, differences(field, here[field], there[field], selected, base)...)
	}
	return diffs, selected, base, nil
}

// differences is the values of a field, those first whose shares differ most.
func differences(field string, here, there map[string]*uint64, selected, base uint64) []store.Difference {
	var diffs []store.Difference
	for v, n := range here {
		d := store.Difference{Field: field, Value: v, Selected: *n}
		if n := there[v]; n != nil {
			d.Baseline = *n
		}
		diffs = append(diffs, d)
	}
	for v, n := range there {
		if here[v] == nil {
			diffs = append(diffs, store.Difference{Field: field, Value: v, Baseline: *n})
		}
	}
	gap := func(d store.Difference) float64 {
		return math.Abs(float64(d.Selected)/float64(max(1, selected)) - float64(d.Baseline)/float64(max(1, base)))
	}
	slices.SortFunc(diffs, func(a, b store.Difference) int {
		return cmp.Or(cmp.Compare(gap(b), gap(a)), cmp.Compare(b.Selected+b.Baseline, a.Selected+a.Baseline), cmp.Compare(a.Value, b.Value))
	})
	return diffs[:min(len(diffs), maxReportedValues)]
}

// tallySpans counts the values of all comparable fields.
func (r *reader) tallySpans(ctx context.Context, sel store.Select) (tallies, uint64, error) {
	s := spanSignal()
	total, err := r.countRows(ctx, s, sel, "")
	if err != nil || total == 0 {
		return nil, 0, err
	}
	stride := (total + maxComparedRows - 1) / maxComparedRows
	hidden := []string{privatePrefix + "*", colTraceHigh, colTraceLow, colParentSpanID, colDuration, colWeight, colFlags, colTraceState, colStatusMessage, colEventName, colScopeName, colScopeVersion, strconv.Quote(scopeAttrPrefix + "*")}
	if stride == 1 {
		hidden = append(hidden, colSpanID)
	}
	q, err := s.ask(r, sel, "", "| delete _stream, _stream_id, "+strings.Join(hidden, ", "))
	if err != nil {
		return nil, 0, err
	}
	counts := make(tallies)
	var picked []int
	err = r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		picked = pick(picked[:0], db, stride)
		for _, c := range db.Columns {
			if field := s.fieldOf(c.Name); field != "" && c.Name != colSpanID {
				counts.count(field, c.Values, picked, absentWord(c.Name))
			}
		}
		for _, column := range [...]string{colKind, colStatus} { // blocks where no row has it have no column
			if db.GetColumnByName(column) == nil {
				counts.count(column, make([]string, db.RowsCount()), picked, absentWord(column))
			}
		}
		return nil
	})
	for _, values := range counts {
		for _, n := range values {
			*n = min(*n*stride, total)
		}
	}
	return counts, total, err
}

func absentWord(column string) string {
	switch column {
	case colKind:
		return "unspecified"
	case colStatus:
		return "unset"
	}
	return ""
}

// pick chooses one row of stride by its span id: the same rows whenever somebody
// asks, in whatever order blocks come.
func pick(into []int, db *logstorage.DataBlock, stride uint64) []int {
	var ids []string
	if c := db.GetColumnByName(colSpanID); c != nil {
		ids = c.Values
	}
	for i := range db.RowsCount() {
		if stride == 1 || i < len(ids) && xxhash.Sum64String(ids[i])%stride == 0 {
			into = append(into, i)
		}
	}
	return into
}

// count counts the values of the rows that are picked. Equal values often
// follow each other.
func (t tallies) count(field string, values []string, picked []int, absent string) {
	into := t[field]
	if into == nil {
		into = make(map[string]*uint64)
		t[field] = into
	}
	flush := func(v string, n uint64) {
		if v == "" {
			v = absent
		}
		if n == 0 || v == "" || len(v) > maxComparedText {
			return
		}
		v = unguarded(v)
		if have := into[v]; have != nil {
			*have += n
		} else if len(into) < maxComparedValues {
			count := n
			into[strings.Clone(v)] = &count
		}
	}
	last, n := "", uint64(0)
	for _, i := range picked {
		if i >= len(values) {
			break
		}
		if v := values[i]; v == last {
			n++
		} else {
			flush(last, n)
			last, n = v, 1
		}
	}
	flush(last, n)
}
