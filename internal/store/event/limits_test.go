package event

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

// oneSpan is a batch of one span that ended a minute ago.
func oneSpan(fill func(ptrace.ResourceSpans, ptrace.Span)) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "order")
	sp := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	sp.SetTraceID(pcommon.TraceID{15: 1})
	sp.SetSpanID(pcommon.SpanID{7: 1})
	sp.SetName("op")
	sp.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now().Add(-time.Minute)))
	sp.SetStartTimestamp(sp.EndTimestamp() - 5)
	fill(rs, sp)
	return td
}

// writeAndRead writes spans and reads the only one back.
func writeAndRead(t *testing.T, td ptrace.Traces) (pcommon.Resource, ptrace.Span) {
	t.Helper()
	s := openTestStorage(t)
	writeTestTraces(t, s, newTestSpanCodec(t), store.Tenant{}, td, time.Now())
	mergeAll(s)
	got := readAllSpans(t, s, store.Tenant{})
	if got.SpanCount() != 1 {
		t.Fatalf("read %d spans, want 1: the engine refused the row", got.SpanCount())
	}
	rs := got.ResourceSpans().At(0)
	return rs.Resource(), rs.ScopeSpans().At(0).Spans().At(0)
}

func TestLongValueIsCut(t *testing.T) {
	long := strings.Repeat("é", maxValueBytes) // two bytes each
	_, sp := writeAndRead(t, oneSpan(func(rs ptrace.ResourceSpans, sp ptrace.Span) {
		sp.Attributes().PutStr("body", long)
		sp.Attributes().PutStr("short", "s")
		sp.Status().SetMessage(long)
		rs.Resource().Attributes().PutStr("env", long)
	}))
	if v, _ := sp.Attributes().Get("body"); len(v.Str()) > maxValueBytes || len(v.Str()) < maxValueBytes-2 || !strings.HasPrefix(long, v.Str()) {
		t.Errorf("the long value came back with %d bytes, want its first %d", len(v.Str()), maxValueBytes)
	}
	if v, _ := sp.Attributes().Get("short"); v.Str() != "s" {
		t.Errorf("the short value came back as %q", v.Str())
	}
	cut, ok := sp.Attributes().Get(cutAttribute)
	if !ok {
		t.Fatalf("no %s attribute", cutAttribute)
	}
	for name, want := range map[string]int64{"span.body": int64(len(long)), "status.message": int64(len(long)), "resource.env": int64(len(long))} {
		if n, ok := cut.Map().Get(name); !ok || n.Int() != want {
			t.Errorf("%s says %v of %s, want %d", cutAttribute, cut.AsString(), name, want)
		}
	}
}

func TestHugeRowsFit(t *testing.T) {
	big := strings.Repeat("x", 200<<10)
	for name, fill := range map[string]func(ptrace.ResourceSpans, ptrace.Span){
		"many long values": func(_ ptrace.ResourceSpans, sp ptrace.Span) {
			for i := range 40 {
				sp.Attributes().PutStr(fmt.Sprint("k", i), big)
			}
		},
		"long resource": func(rs ptrace.ResourceSpans, sp ptrace.Span) {
			for i := range 40 {
				rs.Resource().Attributes().PutStr(fmt.Sprint("k", i), big)
			}
		},
		"5000 attributes": func(_ ptrace.ResourceSpans, sp ptrace.Span) {
			for i := range 5000 {
				sp.Attributes().PutStr(fmt.Sprint("key.", i), strings.Repeat("v", 100))
			}
		},
		"keys that cannot be columns": func(_ ptrace.ResourceSpans, sp ptrace.Span) {
			for i := range 3000 {
				sp.Attributes().PutStr(strings.Repeat("long", 100)+fmt.Sprint(i), "v")
			}
		},
		"long arrays": func(_ ptrace.ResourceSpans, sp ptrace.Span) {
			for i := range 5 {
				a := sp.Attributes().PutEmptySlice(fmt.Sprint("a", i))
				for range 40_000 {
					a.AppendEmpty().SetStr("some text")
				}
			}
		},
		"many events": func(_ ptrace.ResourceSpans, sp ptrace.Span) {
			for i := range 20_000 {
				e := sp.Events().AppendEmpty()
				e.SetName(fmt.Sprint("event ", i))
				e.Attributes().PutStr("a", strings.Repeat("v", 100))
			}
		},
		"long events and links": func(_ ptrace.ResourceSpans, sp ptrace.Span) {
			for range 10 {
				sp.Events().AppendEmpty().Attributes().PutStr("stack", big)
				sp.Links().AppendEmpty().Attributes().PutStr("why", big)
			}
		},
		"all at once": func(rs ptrace.ResourceSpans, sp ptrace.Span) {
			sp.SetName(big)
			sp.Status().SetMessage(big)
			sp.TraceState().FromRaw(big)
			for i := range 1000 {
				rs.Resource().Attributes().PutStr(fmt.Sprintf("resource.key.%090d", i), strings.Repeat("v", 3000))
				sp.Attributes().PutStr(fmt.Sprintf("span.key.%090d", i), strings.Repeat("v", 3000))
				sp.Attributes().PutStr(strings.Repeat("long", 100)+fmt.Sprint(i), "v")
				sp.Events().AppendEmpty().Attributes().PutStr("stack", strings.Repeat("v", 3000))
				sp.Links().AppendEmpty().Attributes().PutStr("why", strings.Repeat("v", 3000))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			td := oneSpan(fill)
			res, sp := writeAndRead(t, td)
			want := td.ResourceSpans().At(0)
			wantSpan := want.ScopeSpans().At(0).Spans().At(0)
			cut, _ := sp.Attributes().Get(cutAttribute)
			sp.Attributes().Remove(cutAttribute)
			for _, c := range []struct {
				what    string
				got     int
				dropped uint32
				want    int
			}{
				{"span attributes", sp.Attributes().Len(), sp.DroppedAttributesCount(), wantSpan.Attributes().Len()},
				{"resource attributes", res.Attributes().Len(), res.DroppedAttributesCount(), want.Resource().Attributes().Len()},
				{"events", sp.Events().Len(), sp.DroppedEventsCount(), wantSpan.Events().Len()},
				{"links", sp.Links().Len(), sp.DroppedLinksCount(), wantSpan.Links().Len()},
			} {
				if c.got+int(c.dropped) != c.want {
					t.Errorf("%s: %d came back and %d are counted as dropped, want %d in all", c.what, c.got, c.dropped, c.want)
				}
			}
			whole := 0
			for k, v := range wantSpan.Attributes().All() {
				if got, ok := sp.Attributes().Get(k); ok && got.AsString() == v.AsString() {
					whole++
				}
			}
			if whole < sp.Attributes().Len() && cut.Type() != pcommon.ValueTypeMap {
				t.Errorf("%d of %d attributes came back changed, and nothing says so", sp.Attributes().Len()-whole, sp.Attributes().Len())
			}
		})
	}
}

// More keys than the engine takes in a stream must not cost rows.
func TestManyKeysOfOneService(t *testing.T) {
	s := openTestStorage(t)
	c := newTestSpanCodec(t)
	td := oneSpan(func(_ ptrace.ResourceSpans, sp ptrace.Span) {})
	spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	for i := range 3000 {
		sp := spans.AppendEmpty()
		spans.At(0).CopyTo(sp)
		sp.SetSpanID(pcommon.SpanID{6: byte(i >> 8), 7: byte(i), 0: 1})
		sp.Attributes().PutInt(fmt.Sprint("user.", i, ".clicks"), int64(i))
	}
	writeTestTraces(t, s, c, store.Tenant{}, td, time.Now())
	mergeAll(s)
	got := readAllSpans(t, s, store.Tenant{})
	if got.SpanCount() != 3001 {
		t.Fatalf("read %d spans, want 3001", got.SpanCount())
	}
	if want, have := dumpTraces(td), dumpTraces(got); !slices.Equal(want, have) {
		t.Error("spans came back changed")
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s := newShapes(spanColumn)
	now := time.Now()
	p := s.of(store.Tenant{}, "order", now)
	if p.shared {
		t.Error("the first service got no stream of its own")
	}
	for i := range maxStreams {
		s.of(store.Tenant{}, fmt.Sprint("service", i), now)
	}
	if p := s.of(store.Tenant{}, "service too many", now); !p.shared {
		t.Error("a service beyond the bound got a stream of its own")
	}
	if p := s.of(store.Tenant{Account: 1}, "service", now); p.shared {
		t.Error("one tenant's services use up another's")
	}
	if p := s.of(store.Tenant{}, "service too many", now.Add(25*time.Hour)); p.shared {
		t.Error("the bound did not begin anew on the next day")
	}
}

func TestShapesSurviveRestart(t *testing.T) {
	now := time.Now()
	s := newShapes(spanColumn)
	p := s.of(store.Tenant{Account: 3}, "order", now)
	for i := range maxColumnsPerService {
		if p.column(sectionOwn, fmt.Sprint("k", i)) == nil {
			t.Fatalf("column %d refused", i)
		}
	}
	small := s.of(store.Tenant{}, "cart", now)
	small.column(sectionOwn, "a")
	again := newShapes(spanColumn)
	if err := again.restore(s.freeze()); err != nil {
		t.Fatal(err)
	}
	q := again.of(store.Tenant{Account: 3}, "order", now)
	if q.column(sectionOwn, "one more") != nil {
		t.Error("a restart granted the service more columns on the same day")
	}
	if q.column(sectionOwn, "k7") == nil {
		t.Error("a restart forgot a column")
	}
	if again.restore([]byte{1, 2, 3}) == nil {
		t.Error("restore took damaged bytes")
	}
}

func TestOldRowsAreDropped(t *testing.T) {
	now := time.Now()
	old := pcommon.NewTimestampFromTime(now.Add(-testRetention - time.Hour))
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	defer logstorage.PutLogRows(lr)
	td := oneSpan(func(_ ptrace.ResourceSpans, sp ptrace.Span) { sp.SetEndTimestamp(old) })
	if added, dropped, err := newTestSpanCodec(t).appendRows(lr, store.Tenant{}, encodeTraces(t, td), now); added != 0 || dropped != 1 || err != nil {
		t.Errorf("of an old span %d were added and %d dropped", added, dropped)
	}
	ld := plog.NewLogs()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().SetTimestamp(old)
	if added, dropped, err := newLogCodec(testRetention, newTail()).appendRows(lr, store.Tenant{}, encodeLogs(t, ld), now); added != 0 || dropped != 1 || err != nil {
		t.Errorf("of an old record %d were added and %d dropped", added, dropped)
	}
	if n := lr.RowsCount(); n != 0 {
		t.Errorf("%d rows of old events", n)
	}
}

func TestRepeatedKeys(t *testing.T) {
	td := oneSpan(func(_ ptrace.ResourceSpans, sp ptrace.Span) {
		sp.Attributes().PutStr("key.a", "first")
		sp.Attributes().PutStr("key.b", "second")
		sp.Attributes().PutStr("key.c", "other")
	})
	wire, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	if err != nil {
		t.Fatal(err)
	}
	td, err = (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(bytes.Replace(wire, []byte("key.b"), []byte("key.a"), 1))
	if err != nil {
		t.Fatal(err)
	}
	_, sp := writeAndRead(t, td)
	if got := fmt.Sprint(sp.Attributes().AsRaw()); got != "map[key.a:first key.c:other]" {
		t.Errorf("attributes with a repeated key came back as %s", got)
	}
}

// A trace with more spans than the limit comes back with those that end first.
func TestTraceIsCut(t *testing.T) {
	s := newRowStore(t)
	td := oneSpan(func(_ ptrace.ResourceSpans, sp ptrace.Span) {})
	spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	first := spans.At(0)
	for i := range byte(30) {
		sp := spans.AppendEmpty()
		first.CopyTo(sp)
		sp.SetSpanID(pcommon.SpanID{7: i + 2})
		sp.SetEndTimestamp(first.EndTimestamp() + pcommon.Timestamp(i+1))
		sp.SetName(fmt.Sprint("op", i%3))
	}
	if err := s.WriteTraces(context.Background(), store.Tenant{}, td); err != nil {
		t.Fatal(err)
	}
	s.traces.DebugFlush()
	at := int64(first.EndTimestamp())
	d, err := s.readTrace(context.Background(), store.Tenant{}, first.TraceID(), window{at - 5, at + 100}, 10)
	if err != nil || !d.full || d.spans != 10 {
		t.Fatalf("read %d spans, full %v, error %v; want 10 and more", d.spans, d.full, err)
	}
	for _, rs := range d.traces.ResourceSpans().All() {
		for _, sp := range rs.ScopeSpans().At(0).Spans().All() {
			if sp.EndTimestamp() > first.EndTimestamp()+9 {
				t.Errorf("span %s ends %d ns after the first, want those that end first", sp.SpanID(), sp.EndTimestamp()-first.EndTimestamp())
			}
		}
	}
}

func TestWeight(t *testing.T) {
	for state, want := range map[string]float64{
		"": 1, "ot=th:0": 1, "ot=th:8": 2, "ot=th:c": 4, "ot=rv:0123456789abcd;th:c": 4, "vendor=x, ot=th:ff": 256, "a=th:8": 1,
		"ot=th:": 1, "ot=th:xyz": 1, "ot=th:123456789abcdef": 1, "ot=th:fffffffffffffff": 1, "ot=th:ffffffffffffff": 1 << 56,
	} {
		if got := weightOf(state); got != want {
			t.Errorf("weightOf(%q) = %v, want %v", state, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		th := rapid.Uint64Range(0, 1<<56-1).Draw(t, "th")
		w := weightOf("ot=th:" + strings.TrimRight(fmt.Sprintf("%014x", th), "0") + ";rv:1")
		text := string(appendWeight(nil, w))
		if needsGuard(text) {
			t.Fatalf("weight %v is written as %q, which the engine would change", w, text)
		}
		if got := parseWeight(text); math.Abs(got-w) > 1e-5*w && math.Abs(got-w) > 0.5e-4 {
			t.Fatalf("weight %v came back as %v", w, got)
		}
	})
}
