package event

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

// plainFields is what a record says about a field: its texts (several for the
// events of a span), or nothing when it does not have the field.
type plainFields func(field string) []string

// plainMatch is the meaning of a condition, written without the engine.
func plainMatch(c store.Cond, fields plainFields, full []string) bool {
	if c.Op == store.OpText {
		return slices.ContainsFunc(full, func(s string) bool { return plainPhrase(s, c.Value) })
	}
	texts := fields(c.Field)
	some := func(f func(string) bool) bool { return slices.ContainsFunc(texts, f) }
	switch c.Op {
	case store.OpEq:
		return some(func(s string) bool { return s == c.Value })
	case store.OpNe:
		return !some(func(s string) bool { return s == c.Value })
	case store.OpExists:
		return len(texts) > 0
	case store.OpRe:
		return some(regexp.MustCompile(c.Value).MatchString)
	case store.OpNre:
		return !some(regexp.MustCompile(c.Value).MatchString)
	}
	if c.Field == "severity" {
		rank := []string{"trace", "debug", "info", "warn", "error", "fatal"}
		want := slices.Index(rank, c.Value)
		return want >= 0 && some(func(s string) bool {
			have := slices.Index(rank, s)
			return have >= 0 && plainOrder(c.Op, float64(have), float64(want))
		})
	}
	if slices.Contains([]string{"trace_id", "span_id", "parent_span_id", "root", "event.name"}, c.Field) {
		return false
	}
	want, ok := plainNumber(c.Value)
	return ok && some(func(s string) bool {
		have, ok := plainNumber(s)
		return ok && plainOrder(c.Op, have, want)
	})
}

func plainOrder(op store.Op, a, b float64) bool {
	switch op {
	case store.OpLt:
		return a < b
	case store.OpLe:
		return a <= b
	case store.OpGt:
		return a > b
	default:
		return a >= b
	}
}

var plainDecimal = regexp.MustCompile(`^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$`)

func plainNumber(s string) (float64, bool) {
	if !plainDecimal.MatchString(s) {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// plainPhrase: the phrase stands in s, not within a longer word.
func plainPhrase(s, phrase string) bool {
	isWord := func(b byte) bool {
		return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
	}
	for i := 0; i+len(phrase) <= len(s); i++ {
		end := i + len(phrase)
		if s[i:end] == phrase && !(i > 0 && isWord(phrase[0]) && isWord(s[i-1])) && !(end < len(s) && isWord(phrase[len(phrase)-1]) && isWord(s[end])) {
			return true
		}
	}
	return false
}

func plainText(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return v.Str()
	case pcommon.ValueTypeDouble:
		f, format := v.Double(), byte('f')
		if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
			format = 'e'
		}
		return strconv.FormatFloat(f, format, -1, 64)
	case pcommon.ValueTypeBytes:
		return base64.StdEncoding.EncodeToString(v.Bytes().AsRaw())
	case pcommon.ValueTypeEmpty:
		return ""
	case pcommon.ValueTypeSlice:
		b, _ := json.Marshal(v.Slice().AsRaw())
		return string(b)
	}
	return v.AsString()
}

func plainAttribute(m pcommon.Map, key string) []string {
	if v, ok := m.Get(key); ok {
		return []string{plainText(v)}
	}
	return nil
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func plainSpan(res pcommon.Resource, sc pcommon.InstrumentationScope, sp ptrace.Span) plainFields {
	return func(field string) []string {
		switch field {
		case "trace_id":
			return nonEmpty(sp.TraceID().String())
		case "span_id":
			return nonEmpty(sp.SpanID().String())
		case "parent_span_id":
			return nonEmpty(sp.ParentSpanID().String())
		case "name":
			return nonEmpty(sp.Name())
		case "kind":
			return []string{strings.ToLower(sp.Kind().String())}
		case "status":
			return []string{strings.ToLower(sp.Status().Code().String())}
		case "status.message":
			return nonEmpty(sp.Status().Message())
		case "duration":
			return []string{strconv.FormatUint(uint64(sp.EndTimestamp()-sp.StartTimestamp()), 10)}
		case "scope.name":
			return nonEmpty(sc.Name())
		case "scope.version":
			return nonEmpty(sc.Version())
		case "root":
			return []string{strconv.FormatBool(sp.ParentSpanID().IsEmpty())}
		case "event.name":
			var names []string
			for _, e := range sp.Events().All() {
				names = append(names, nonEmpty(strings.ReplaceAll(e.Name(), "\n", " "))...) // as documented
			}
			return names
		}
		return plainBare(field, "span.", res, sp.Attributes())
	}
}

func plainLog(row store.LogRow) plainFields {
	return func(field string) []string {
		r := row.Record
		switch field {
		case "trace_id":
			return nonEmpty(r.TraceID().String())
		case "span_id":
			return nonEmpty(r.SpanID().String())
		case "severity":
			return []string{plainSeverity(r.SeverityNumber())}
		case "severity_text":
			return nonEmpty(r.SeverityText())
		case "event_name":
			return nonEmpty(r.EventName())
		case "scope.name":
			return nonEmpty(row.Scope.Name())
		case "body":
			if r.Body().Type() == pcommon.ValueTypeEmpty {
				return nil
			}
			return []string{plainText(r.Body())}
		}
		return plainBare(field, "log.", row.Resource, r.Attributes())
	}
}

func plainSeverity(n plog.SeverityNumber) string {
	if n < 1 || n > 24 {
		return "unset"
	}
	return []string{"trace", "debug", "info", "warn", "error", "fatal"}[(n-1)/4]
}

func plainBare(field, own string, res pcommon.Resource, attributes pcommon.Map) []string {
	if field == "service.name" {
		if s := plainAttribute(res.Attributes(), field); len(s) > 0 {
			return nonEmpty(s[0])
		}
		return nil
	}
	if key, ok := strings.CutPrefix(field, "resource."); ok {
		return plainAttribute(res.Attributes(), key)
	}
	if key, ok := strings.CutPrefix(field, own); ok {
		texts := plainAttribute(attributes, key)
		if own == "log." { // may be the whole name, too
			texts = append(texts, plainWhole(field, res, attributes)...)
		}
		return texts
	}
	return plainWhole(field, res, attributes)
}

func plainWhole(field string, res pcommon.Resource, attributes pcommon.Map) []string {
	if texts := plainAttribute(attributes, field); texts != nil {
		return texts
	}
	return plainAttribute(res.Attributes(), field)
}

// A small world, so that conditions meet values.
var (
	worldTexts  = []string{"", "0", "5", "200", "404", "-1", "0.3", "-0.3", "1.10", "1.1", "1.5", "007", "1e5", "1_000", "10ms", "5s", "1KiB", "1.2.3.4", "true", "alpha", "beta gamma", "a b c", "a\nb", "alpha\n\nbeta", "not\n5", "alphabet", `q"uo`, "x|y", "名前", "not found", "2024-01-01T00:00:00.000Z"}
	worldKeys   = []string{"a", "b", "http.status", "k v", `"`, "log.a", "span.a", "resource.b"}
	worldNumber = []float64{0, 5, 200, 0.3, -0.3, 1.1, -1, 1e300}
	worldRes    = []string{"", ".*", ".+", "^1", "5$", "a|b", "^$", "(?i)ALPHA", "al.ha", "[0-9]+", `^1\.10$`, `^-0\.3$`, `\d{3}`, "^(?:alpha|beta gamma)$", "^.$", "(?i)b", "not", `\bb\b`, `b\b`, "(?m)^b", "(?s)a.b", "(?m)t$", "a.*c", "a.+", "[^0]", "(al|be)(pha|ta)", `\.`, "alpha|", "(?:)"}
)

func worldValue(t *rapid.T, v pcommon.Value) {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1, 2, 3:
		v.SetStr(rapid.SampledFrom(worldTexts).Draw(t, "s"))
	case 4, 5:
		v.SetInt(rapid.SampledFrom([]int64{0, 5, 200, 404, -1}).Draw(t, "i"))
	case 6:
		v.SetDouble(rapid.SampledFrom(worldNumber).Draw(t, "f"))
	case 7:
		v.SetBool(rapid.Bool().Draw(t, "b"))
	case 8:
		if rapid.Bool().Draw(t, "bytes") {
			v.SetEmptyBytes().FromRaw(rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "b"))
		}
	case 9:
		v.SetEmptySlice().AppendEmpty().SetStr("alpha")
	}
}

func worldMap(t *rapid.T, m pcommon.Map) {
	for _, k := range worldKeys {
		if rapid.IntRange(0, 2).Draw(t, "has") > 0 {
			worldValue(t, m.PutEmpty(k))
		}
	}
	// Columns that the engine keeps as integers, as floats, as addresses.
	m.PutInt("n", rapid.Int64Range(-3, 300).Draw(t, "n"))
	m.PutDouble("f", float64(rapid.Int64Range(-20, 40).Draw(t, "f"))/8)
	m.PutStr("ip", "10.0.0."+strconv.Itoa(rapid.IntRange(0, 40).Draw(t, "ip")))
}

func worldResource(t *rapid.T, r pcommon.Resource) {
	worldMap(t, r.Attributes())
	if rapid.IntRange(0, 4).Draw(t, "service") > 0 {
		r.Attributes().PutStr("service.name", rapid.SampledFrom([]string{"alpha", "beta", "1.10", ""}).Draw(t, "service.name"))
	}
}

func worldTraces(t *rapid.T, now time.Time, spans int) ptrace.Traces {
	td := ptrace.NewTraces()
	n := byte(0)
	names := rapid.SliceOfN(rapid.SampledFrom(worldTexts), 1, 4).Draw(t, "names")
	for range 4 {
		rs := td.ResourceSpans().AppendEmpty()
		worldResource(t, rs.Resource())
		ss := rs.ScopeSpans().AppendEmpty()
		ss.Scope().SetName(rapid.SampledFrom(worldTexts).Draw(t, "scope"))
		for range spans / 4 {
			n++
			sp := ss.Spans().AppendEmpty()
			sp.SetTraceID(pcommon.TraceID{15: n%7 + 1})
			sp.SetSpanID(pcommon.SpanID{7: n})
			if n%3 > 0 {
				sp.SetParentSpanID(pcommon.SpanID{7: n % 3})
			}
			sp.SetName(rapid.SampledFrom(names).Draw(t, "name"))
			sp.SetKind(ptrace.SpanKind(rapid.Int32Range(0, 5).Draw(t, "kind")))
			sp.Status().SetCode(ptrace.StatusCode(rapid.Int32Range(0, 2).Draw(t, "status")))
			sp.Status().SetMessage(rapid.SampledFrom(worldTexts).Draw(t, "message"))
			sp.SetEndTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Duration(n) * time.Second)))
			sp.SetStartTimestamp(sp.EndTimestamp() - pcommon.Timestamp(rapid.SampledFrom([]int{0, 5, 200, 404, 1e9, 1 << 32, 5e9, rapid.IntRange(0, 500).Draw(t, "d")}).Draw(t, "duration")))
			worldMap(t, sp.Attributes())
			for range rapid.IntRange(0, 3).Draw(t, "events") {
				e := sp.Events().AppendEmpty()
				e.SetName(rapid.SampledFrom(worldTexts).Draw(t, "event"))
				e.Attributes().PutStr("k", rapid.SampledFrom(worldTexts).Draw(t, "event value"))
			}
		}
	}
	return td
}

func worldCond(t *rapid.T, fixed []string) store.Cond {
	op := rapid.SampledFrom([]store.Op{store.OpEq, store.OpEq, store.OpNe, store.OpRe, store.OpNre, store.OpLt, store.OpLe, store.OpGt, store.OpGe, store.OpExists, store.OpText}).Draw(t, "op")
	if op == store.OpText {
		return store.Cond{Op: op, Value: rapid.SampledFrom([]string{"alpha", "b", "beta gamma", "200", "not found", "a b", "uo", "1.10", "alp", "exc"}).Draw(t, "phrase")}
	}
	c := store.Cond{Op: op}
	c.Field = rapid.OneOf(rapid.SampledFrom(fixed), rapid.Custom(func(t *rapid.T) string {
		key := rapid.SampledFrom(append(worldKeys, "absent", "n", "f", "ip")).Draw(t, "key")
		return rapid.SampledFrom([]string{"", "resource.", fixed[0]}).Draw(t, "prefix") + key
	})).Draw(t, "field")
	if c.Field == fixed[0] {
		c.Field += "a"
	}
	if op == store.OpRe || op == store.OpNre {
		c.Value = rapid.SampledFrom(worldRes).Draw(t, "re")
	} else {
		c.Value = rapid.OneOf(rapid.SampledFrom(worldTexts), rapid.SampledFrom([]string{"17", "0.5", "1.25", "-0.125", "10.0.0.7", "server", "unspecified", "ok", "unset", "error", "warn", "info", "false", "1e2", "-5", "00000000000000000000000000000003", "0000000000000005"})).Draw(t, "value")
	}
	return c
}

var spanFields = []string{"span.", "trace_id", "span_id", "parent_span_id", "name", "kind", "duration", "status", "status.message", "scope.name", "service.name", "root", "event.name", "resource.service.name"}

// The rows found for any conditions are those that the plain meaning of the
// conditions picks, whatever the engine made of the values in its blocks.
func TestSpanConditions(t *testing.T) {
	s := openTestStorage(t)
	c := newTestSpanCodec(t)
	r := newReader(s, nil, c, nil)
	var tenant store.Tenant
	rapid.Check(t, func(t *rapid.T) {
		tenant.Account++
		now := time.Now()
		td := worldTraces(t, now, 160)
		writeTestTraces(t, s, c, tenant, td, now)
		for range 12 {
			where := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) store.Cond { return worldCond(t, spanFields) }), 1, 2).Draw(t, "where")
			where = slices.DeleteFunc(where, func(c store.Cond) bool { // refused, see TestConditionErrors
				return (c.Op == store.OpRe || c.Op == store.OpNre) && (strings.HasSuffix(c.Field, "_id") || c.Field == "duration")
			})
			var want []string
			for _, rs := range td.ResourceSpans().All() {
				for _, ss := range rs.ScopeSpans().All() {
					for _, sp := range ss.Spans().All() {
						full := []string{sp.Name()}
						for _, e := range sp.Events().All() {
							full = append(full, e.Name())
							for k, v := range e.Attributes().All() {
								full = append(full, k, v.Str())
							}
						}
						if !slices.ContainsFunc(where, func(c store.Cond) bool {
							return !plainMatch(c, plainSpan(rs.Resource(), ss.Scope(), sp), full)
						}) {
							want = append(want, sp.SpanID().String())
						}
					}
				}
			}
			q, err := r.spanQuestion(store.Select{Tenant: tenant, Range: store.Range{Start: now.Add(-time.Hour), End: now.Add(time.Hour)}, Where: where}, "", "| fields span_id, _time")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			err = r.ask(context.Background(), q, func(db *logstorage.DataBlock) error {
				for _, v := range db.GetColumnByName(colSpanID).Values {
					id, err := parseSpanID(v)
					if err != nil {
						return err
					}
					got = append(got, id.String())
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("conditions %q compiled to %s: want (-) and got (+) differ:\n%s", where, q.filter, diff)
			}
		}
	})
}

func writeTestTraces(t rapid.TB, s *logstorage.Storage, c *spanCodec, tenant store.Tenant, td ptrace.Traces, now time.Time) {
	t.Helper()
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	if added, dropped, err := c.appendRows(lr, tenant, encodeTraces(t, td), now); added != td.SpanCount() || dropped != 0 || err != nil {
		t.Fatalf("appendRows added %d and dropped %d of %d spans", added, dropped, td.SpanCount())
	}
	s.MustAddRows(lr)
	logstorage.PutLogRows(lr)
	s.DebugFlush()
}

func TestConditionErrors(t *testing.T) {
	for _, c := range []store.Cond{
		{Field: "a", Op: store.OpRe, Value: "("},
		{Field: "", Op: store.OpEq, Value: "x"},
		{Field: "a", Op: store.OpText, Value: "x"},
		{Field: "a", Op: "~", Value: "x"},
		{Field: "span_id", Op: store.OpRe, Value: "ab"},
		{Field: "trace_id", Op: store.OpNre, Value: "ab"},
	} {
		if _, err := spanDialect.cond(c); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("condition %q: error %v, want ErrInvalid", c, err)
		}
	}
}

// Whatever stands in a condition, it stays one condition of the query.
func FuzzCondition(f *testing.F) {
	for _, c := range [][3]string{{"a", "=", `") or ("`}, {"a|b", "=~", "x|y"}, {"name", "!=", "*"}, {`"`, ">", "5"}, {"resource.a:b", "exists", ""}, {"", "text", "a | delete b"}, {"event.name", "=~", `^a\nb$`}, {"_time", "=", "5m"}, {"options(", "=", "x"}} {
		f.Add(c[0], c[1], c[2])
	}
	f.Fuzz(func(t *testing.T, field, op, value string) {
		for _, d := range []dialect{spanDialect, logDialect} {
			text, err := d.cond(store.Cond{Field: field, Op: store.Op(op), Value: value})
			if err != nil {
				continue
			}
			for _, c := range []struct {
				with string
				row  string
				want bool
			}{{`"_g_witness":="1" `, "0", false}, {`"_g_witness":="1" or `, "1", true}} {
				for _, query := range []string{c.with + text, strings.Replace(c.with, `"_g_witness":="1"`, text, 1) + `"_g_witness":="1"`} {
					filter, err := logstorage.ParseFilter(query)
					if err != nil {
						t.Fatalf("%q does not parse: %v", query, err)
					}
					if got := filter.MatchRow([]logstorage.Field{{Name: "_g_witness", Value: c.row}}); got != c.want {
						t.Fatalf("%q is more than one condition: a row with witness %s gives %v", query, c.row, got)
					}
				}
			}
		}
	})
}

var logFields = []string{"log.", "trace_id", "span_id", "severity", "severity_text", "body", "event_name", "scope.name", "service.name", "resource.service.name"}

func worldLogs(t *rapid.T, now time.Time, records int) plog.Logs {
	ld := plog.NewLogs()
	n := byte(0)
	for range 4 {
		rl := ld.ResourceLogs().AppendEmpty()
		worldResource(t, rl.Resource())
		sl := rl.ScopeLogs().AppendEmpty()
		sl.Scope().SetName(rapid.SampledFrom(worldTexts).Draw(t, "scope"))
		for range records / 4 {
			n++
			r := sl.LogRecords().AppendEmpty()
			r.SetTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Duration(n) * time.Second)))
			r.SetTraceID(pcommon.TraceID{15: n % 4})
			r.SetSpanID(pcommon.SpanID{7: n})
			r.SetSeverityNumber(plog.SeverityNumber(rapid.Int32Range(0, 24).Draw(t, "severity")))
			r.SetSeverityText(rapid.SampledFrom(worldTexts).Draw(t, "severity text"))
			r.SetEventName(rapid.SampledFrom(worldTexts).Draw(t, "event"))
			worldValue(t, r.Body())
			worldMap(t, r.Attributes())
		}
	}
	return ld
}

// As TestSpanConditions; and the live tail, which never asks the engine's
// blocks, picks the same records.
func TestLogConditions(t *testing.T) {
	s := openTestStorage(t)
	c := newLogCodec(testRetention, newTail())
	r := newReader(nil, s, nil, c)
	var tenant store.Tenant
	rapid.Check(t, func(t *rapid.T) {
		tenant.Account++
		everything, err := logstorage.ParseFilter(always)
		if err != nil {
			t.Fatal(err)
		}
		w, err := c.tail.watch(tenant, everything)
		if err != nil {
			t.Fatal(err)
		}
		defer c.tail.leave(w)
		now := time.Now()
		ld := worldLogs(t, now, 80)
		lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
		c.appendRows(lr, tenant, encodeLogs(t, ld), now)
		s.MustAddRows(lr)
		logstorage.PutLogRows(lr)
		s.DebugFlush()
		live, lost := w.take()
		if len(live) != 80 || lost != 0 {
			t.Fatalf("the tail got %d rows and lost %d of 80", len(live), lost)
		}
		for range 12 {
			where := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) store.Cond { return worldCond(t, logFields) }), 1, 2).Draw(t, "where")
			var want, got, tailed []string
			for _, rl := range ld.ResourceLogs().All() {
				for _, sl := range rl.ScopeLogs().All() {
					for _, rec := range sl.LogRecords().All() {
						row := store.LogRow{Resource: rl.Resource(), Scope: sl.Scope(), Record: rec}
						var full []string
						if rec.Body().Type() != pcommon.ValueTypeEmpty {
							full = []string{plainText(rec.Body())}
						}
						if !slices.ContainsFunc(where, func(c store.Cond) bool { return !plainMatch(c, plainLog(row), full) }) {
							want = append(want, rec.SpanID().String())
						}
					}
				}
			}
			sel := store.Select{Tenant: tenant, Range: store.Range{Start: now.Add(-time.Hour), End: now.Add(time.Hour)}, Where: where}
			rows, _, err := r.Logs(context.Background(), sel, store.MaxPage, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				got = append(got, row.Record.SpanID().String())
			}
			_, text, err := logDialect.where(where)
			if err != nil {
				t.Fatal(err)
			}
			filter, err := logstorage.ParseFilter(text)
			if err != nil {
				t.Fatal(err)
			}
			d := newLogDecoder()
			for _, row := range live {
				if filter.MatchRow(row.fields) {
					d.load(row.fields)
					tailed = append(tailed, d.fixed[colLogSpanID])
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			slices.Sort(tailed)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("conditions %q compiled to %s: want (-) and got (+) differ:\n%s", where, text, diff)
			}
			if diff := gocmp.Diff(want, tailed); diff != "" {
				t.Fatalf("conditions %q compiled to %s: want (-) and the tail (+) differ:\n%s", where, text, diff)
			}
		}
	})
}
