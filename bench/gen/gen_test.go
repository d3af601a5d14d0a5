package gen

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

var end = time.Unix(1_800_000_000, 0)

func plan(spans int) *Plan { return NewPlan(1, end.Add(-6*time.Hour), end, spans, 1000) }

func eachSpan(t *testing.T, request []byte, f func(pcommon.Map, ptrace.Span)) {
	t.Helper()
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalProto(request); err != nil {
		t.Fatal(err)
	}
	for _, rs := range r.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			if got, want := ss.Scope().Name()+" "+ss.Scope().Version(), "example.com/shop/telemetry 1.4.0"; got != want {
				t.Fatalf("scope %q, want %q", got, want)
			}
			for _, s := range ss.Spans().All() {
				f(rs.Resource().Attributes(), s)
			}
		}
	}
}

func TestRequestSaysWhatShapeSays(t *testing.T) {
	p := plan(20_000)
	m := p.Maker()
	for i := range p.Batches() {
		want := map[string]Span{}
		for _, s := range m.Shape(i) {
			want[hex.EncodeToString(s.SpanID[:])] = s
		}
		if len(want) != 1000 {
			t.Fatalf("batch %d has %d span ids, want 1000", i, len(want))
		}
		eachSpan(t, m.Spans(i, Spans), func(res pcommon.Map, s ptrace.Span) {
			w, ok := want[s.SpanID().String()]
			if !ok {
				t.Fatalf("span id %s is not in the shape, or occurs twice", s.SpanID())
			}
			delete(want, s.SpanID().String())
			service, _ := res.Get("service.name")
			user, _ := s.Attributes().Get("user.id")
			got := fmt.Sprint(s.TraceID(), s.ParentSpanID(), service.Str(), s.Name(), int(s.Kind()), s.Status().Code() == ptrace.StatusCodeError, int64(s.StartTimestamp()), int64(s.EndTimestamp()), user.Str())
			exp := fmt.Sprint(pcommon.TraceID(w.TraceID), pcommon.SpanID(w.Parent), w.Service, w.Name, w.Kind, w.Error, w.Start, w.End, UserID(w.User))
			if got != exp {
				t.Fatalf("got  %s\nwant %s", got, exp)
			}
			if n := s.Attributes().Len(); n != 12 {
				t.Fatalf("%s has %d attributes, want 12: %v", s.Name(), n, s.Attributes().AsRaw())
			}
			if w.Status != 0 {
				if c, _ := s.Attributes().Get("http.response.status_code"); c.Int() != int64(w.Status) {
					t.Fatalf("status %d, want %d", c.Int(), w.Status)
				}
			}
		})
		if len(want) != 0 {
			t.Fatalf("%d spans of batch %d were not encoded", len(want), i)
		}
	}
}

func TestTracesHoldTogether(t *testing.T) {
	p := plan(200_000)
	m := p.Maker()
	operations := map[string]bool{}
	failing := 0
	for i := range p.Batches() {
		spans := m.Shape(i)
		for k, s := range spans {
			trace := spans[k/SpansPerTrace*SpansPerTrace:][:SpansPerTrace]
			operations[s.Service+" "+s.Name] = true
			if s.TraceID != trace[0].TraceID {
				t.Fatal("ten spans in a row have more than one trace id")
			}
			if s.Error {
				failing++
			}
			if s.End < p.Start().UnixNano() || s.End > p.End().UnixNano() || s.Start > s.End {
				t.Fatalf("span from %d to %d, outside of the window", s.Start, s.End)
			}
			if k%SpansPerTrace == 0 {
				continue
			}
			parent := trace[tree[k%SpansPerTrace].parent]
			if s.Parent != parent.SpanID || s.Start < parent.Start || s.End > parent.End {
				t.Fatalf("span %d does not lie in its parent: %+v in %+v", k, s, parent)
			}
			if s.Kind == KindServer && (parent.Kind != KindClient || parent.Name != "HTTP "+s.Service || parent.Status != s.Status) {
				t.Fatalf("%s is called by %+v", s.Service, parent)
			}
		}
	}
	// 30 services × 20 operations.
	if len(operations) != 600 {
		t.Errorf("%d operations, want 600", len(operations))
	}
	if share := float64(failing) / float64(p.Spans()); share < 0.01 || share > 0.03 {
		t.Errorf("%.1f %% of spans fail, want 1 to 3", share*100)
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	p := plan(5_000)
	a, b := p.Maker(), p.Maker()
	var forward [][]byte
	for i := range p.Batches() {
		forward = append(forward, bytes.Clone(a.Spans(i, Spans)), bytes.Clone(a.Logs(i)))
	}
	for i := p.Batches() - 1; i >= 0; i-- {
		if !bytes.Equal(b.Logs(i), forward[2*i+1]) || !bytes.Equal(b.Spans(i, Spans), forward[2*i]) {
			t.Fatalf("batch %d depends on what was made before", i)
		}
	}
	if other := NewPlan(2, p.Start(), p.End(), 5_000, 1000).Maker(); bytes.Equal(other.Spans(0, Spans), forward[0]) {
		t.Error("the seed changes nothing")
	}
}

func TestLogsBelongToSpans(t *testing.T) {
	p := plan(5_000)
	m := p.Maker()
	severities := map[string]int{}
	for i := range p.Batches() {
		spans := map[string]Span{}
		for _, s := range m.Shape(i) {
			spans[hex.EncodeToString(s.SpanID[:])] = s
		}
		r := plogotlp.NewExportRequest()
		if err := r.UnmarshalProto(m.Logs(i)); err != nil {
			t.Fatal(err)
		}
		if n := r.Logs().LogRecordCount(); n != 500 {
			t.Fatalf("%d records for 1000 spans, want 500", n)
		}
		for _, rl := range r.Logs().ResourceLogs().All() {
			for _, l := range rl.ScopeLogs().At(0).LogRecords().All() {
				s, ok := spans[l.SpanID().String()]
				service, _ := rl.Resource().Attributes().Get("service.name")
				if !ok || pcommon.TraceID(s.TraceID) != l.TraceID() || s.Service != service.Str() {
					t.Fatalf("record of no span: %s", l.Body().Str())
				}
				if at := int64(l.Timestamp()); at < s.Start || at > s.End {
					t.Fatalf("record at %d, span from %d to %d", at, s.Start, s.End)
				}
				if s.Error != (l.SeverityText() == "ERROR") || len(l.Body().Str()) < 20 {
					t.Fatalf("%s %q on span %+v", l.SeverityText(), l.Body().Str(), s)
				}
				severities[l.SeverityText()]++
			}
		}
	}
	if len(severities) != 4 {
		t.Errorf("severities %v, want four", severities)
	}
}

func TestRowsCarryTheSameContent(t *testing.T) {
	m := plan(1000).Maker()
	spans := map[string]ptrace.Span{}
	eachSpan(t, m.Spans(0, Spans), func(_ pcommon.Map, s ptrace.Span) { spans[s.SpanID().String()] = s })
	r := plogotlp.NewExportRequest()
	if err := r.UnmarshalProto(m.Spans(0, Rows)); err != nil {
		t.Fatal(err)
	}
	if r.Logs().LogRecordCount() != len(spans) {
		t.Fatalf("%d rows, want %d", r.Logs().LogRecordCount(), len(spans))
	}
	for _, rl := range r.Logs().ResourceLogs().All() {
		for _, l := range rl.ScopeLogs().At(0).LogRecords().All() {
			s, ok := spans[l.SpanID().String()]
			if !ok || l.Timestamp() != s.EndTimestamp() || l.TraceID() != s.TraceID() {
				t.Fatalf("row of no span: %v", l.Attributes().AsRaw())
			}
			got := l.Attributes().AsRaw()
			for k, v := range s.Attributes().AsRaw() {
				if got[k] != v {
					t.Errorf("%s is %v, want %v", k, got[k], v)
				}
			}
			if got["name"] != s.Name() || got["kind"] != strings.ToLower(s.Kind().String()) ||
				got["duration"] != int64(s.EndTimestamp()-s.StartTimestamp()) ||
				(got["status"] == "error") != (s.Status().Code() == ptrace.StatusCodeError) {
				t.Errorf("row %v of span %q", got, s.Name())
			}
			if parent, _ := got["parent_span_id"].(string); parent != s.ParentSpanID().String() {
				t.Errorf("parent %q, want %q", parent, s.ParentSpanID())
			}
		}
	}
}

// The figures of the suites are per span: spans of another size would not be
// comparable with earlier results.
func TestSizeOfASpan(t *testing.T) {
	p := plan(100_000)
	m := p.Maker()
	bytes := 0
	for i := range p.Batches() {
		bytes += len(m.Spans(i, Spans))
	}
	if got := float64(bytes) / float64(p.Spans()); got < 595 || got > 615 {
		t.Errorf("%.0f B a span, want 605 ± 10", got)
	}
}

func BenchmarkSpans(b *testing.B) {
	p := plan(2_000_000)
	m := p.Maker()
	b.ReportAllocs()
	for i := range b.N {
		b.SetBytes(int64(len(m.Spans(i%p.Batches(), Spans))))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*p.SpansPerBatch()), "ns/span")
}

func BenchmarkLogs(b *testing.B) {
	p := plan(2_000_000)
	m := p.Maker()
	b.ReportAllocs()
	for i := range b.N {
		b.SetBytes(int64(len(m.Logs(i % p.Batches()))))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*p.SpansPerBatch()/2), "ns/record")
}
