package otlpsink

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// sent is what a test sends.
type sent struct {
	traces  ptrace.SpanSlice
	logs    plog.LogRecordSlice
	metrics pmetric.MetricSlice
	all     Received
}

func newSent() *sent {
	r := nothing()
	return &sent{
		traces:  r.Traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans(),
		logs:    r.Logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords(),
		metrics: r.Metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics(),
		all:     r,
	}
}

// span adds a span; attributes are pairs of key and value.
func (s *sent) span(trace, id, parent byte, kind ptrace.SpanKind, name string, attrs ...string) ptrace.Span {
	sp := s.traces.AppendEmpty()
	sp.SetTraceID(pcommon.TraceID{trace})
	sp.SetSpanID(pcommon.SpanID{id})
	if parent != 0 {
		sp.SetParentSpanID(pcommon.SpanID{parent})
	}
	sp.SetKind(kind)
	sp.SetName(name)
	put(sp.Attributes(), attrs)
	return sp
}

func (s *sent) log(trace, span byte, body string, attrs ...string) {
	l := s.logs.AppendEmpty()
	if trace != 0 {
		l.SetTraceID(pcommon.TraceID{trace})
		l.SetSpanID(pcommon.SpanID{span})
	}
	l.SetSeverityNumber(plog.SeverityNumberInfo)
	l.SetSeverityText("info")
	l.Body().SetStr(body)
	put(l.Attributes(), attrs)
}

// counter sets a histogram's series to a count, or a sum's when monotonic.
func (s *sent) counter(name string, n int, attrs ...string) {
	m := s.metrics.AppendEmpty()
	m.SetName(name)
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	p := h.DataPoints().AppendEmpty()
	p.SetCount(uint64(n))
	put(p.Attributes(), attrs)
}

func put(m pcommon.Map, attrs []string) {
	for i := 0; i < len(attrs); i += 2 {
		m.PutStr(attrs[i], attrs[i+1])
	}
}

// send posts all to a sink, packed.
func (s *sent) send(sink *Sink) error {
	traces, err := ptraceotlp.NewExportRequestFromTraces(s.all.Traces).MarshalProto()
	if err != nil {
		return err
	}
	logs, err := plogotlp.NewExportRequestFromLogs(s.all.Logs).MarshalProto()
	if err != nil {
		return err
	}
	metrics, err := pmetricotlp.NewExportRequestFromMetrics(s.all.Metrics).MarshalProto()
	if err != nil {
		return err
	}
	for signal, body := range map[string][]byte{"traces": traces, "logs": logs, "metrics": metrics} {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(body)
		_ = z.Close()
		req, err := http.NewRequest("POST", sink.URL+"/v1/"+signal, &packed)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Encoding", "gzip")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", signal, resp.Status)
		}
	}
	return nil
}

func TestReceive(t *testing.T) {
	sink := New(t)
	s := newSent()
	s.span(1, 1, 0, ptrace.SpanKindServer, "GET /orders/{id}", "http.route", "/orders/{id}", "server.port", "4711")
	s.span(1, 2, 1, ptrace.SpanKindClient, "SELECT orders", "db.query.summary", "SELECT orders", "db.system.name", "sqlite")
	s.log(1, 1, "order read", "order", "7")
	s.counter("http.server.request.duration", 1, "http.route", "/orders/{id}", "server.port", "4711")
	done := make(chan error, 1)
	go func() { done <- s.send(sink) }()
	sink.WaitSpans(2)
	sink.Wait(func(r Received) string {
		if r.Logs.LogRecordCount() == 0 || r.Metrics.DataPointCount() == 0 {
			return "a log record and a metric"
		}
		return ""
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := `GET /orders/{id} [server] http.route=/orders/{id}
  SELECT orders [client] db.system.name=sqlite db.query.summary="SELECT orders"
  log INFO "order read" order=7
metric http.server.request.duration http.route=/orders/{id} server.port=* count=1
`
	if diff := cmp.Diff(want, sink.Quiet(0).Render()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	sink.Forget()
	if got := sink.Received().Render(); got != "" {
		t.Errorf("after Forget: %q", got)
	}
}

func TestRender(t *testing.T) {
	check := func(what string, fill func(s *sent), want string) {
		t.Helper()
		s := newSent()
		fill(s)
		if diff := cmp.Diff(want, s.all.Render()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
	}
	check("children come before their parent, and the same is one", func(s *sent) {
		for i := byte(2); i < 5; i++ {
			s.span(1, i+10, i, ptrace.SpanKindInternal, "inner")
			s.span(1, i, 1, ptrace.SpanKindClient, "get")
		}
		s.span(1, 9, 1, ptrace.SpanKindClient, "get")
		s.span(1, 1, 0, ptrace.SpanKindServer, "root")
	}, "root [server]\n  get [client]\n  get [client] ×3\n    inner [internal]\n")
	check("parents that are missing, of spans and of log records", func(s *sent) {
		s.span(1, 1, 0, ptrace.SpanKindServer, "root")
		s.span(1, 2, 77, ptrace.SpanKindClient, "lost")
		s.log(1, 78, "lost too")
		s.log(2, 1, "another trace")
	}, "? log INFO \"another trace\"\n? lost [client]\nroot [server]\n? log INFO \"lost too\"\n")
	check("log records without a trace are sorted and the same is one", func(s *sent) {
		s.log(0, 0, "b")
		s.log(0, 0, "a", "order", "2")
		s.log(0, 0, "b")
	}, "log INFO \"a\" order=2\nlog INFO \"b\" ×2\n")
	check("the same trace twice is one", func(s *sent) {
		for i := byte(1); i < 3; i++ {
			s.span(i, 1, 0, ptrace.SpanKindServer, "root")
			s.span(i, 2, 1, ptrace.SpanKindClient, "get")
		}
	}, "root [server] ×2\n  get [client]\n")
	check("events, links, status", func(s *sent) {
		a := s.span(1, 1, 0, ptrace.SpanKindProducer, "send")
		e := a.Events().AppendEmpty()
		e.SetName("exception")
		put(e.Attributes(), []string{"exception.type", "*errors.errorString", "exception.message", "dial 127.0.0.1:40123: refused", "exception.stacktrace", "main.go:7"})
		a.Status().SetCode(ptrace.StatusCodeError)
		a.Status().SetMessage("it failed")
		b := s.span(2, 1, 0, ptrace.SpanKindConsumer, "receive")
		b.Links().AppendEmpty().SetTraceID(a.TraceID())
		b.Links().At(0).SetSpanID(a.SpanID())
		b.Links().AppendEmpty()
	}, `receive [consumer]
  link to ?
  link to send
send [producer] status=error("it failed")
  event exception exception.message="dial 127.0.0.1:*: refused" exception.type=*errors.errorString
`)
	check("values that differ from run to run", func(s *sent) {
		s.log(0, 0, "took 12.5ms at 2026-11-20T10:11:12.345Z", "trace_id", "0af7651916cd43dd8448eb211c80319c", "id", "7d444840-9dc0-11d1-b245-5ffdce74fad2",
			"port", "43211", "order", "4711", "code.line.number", "17", "duration", "17", "at", "0xc000123456", "peer", "[::1]:80", "minutes", "1m30s")
	}, `log INFO "took * at *" at=* duration=* id=* minutes=* order=4711 peer=[::1]:* port=* trace_id=*`+"\n")
	check("series add up over ports and go on over requests", func(s *sent) {
		s.counter("calls", 1, "server.port", "1")
		s.counter("calls", 3, "server.port", "1")
		s.counter("calls", 2, "server.port", "2")
		s.counter("go.gc", 2)
		m := s.metrics.AppendEmpty()
		m.SetName("busy")
		m.SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(17)
		for range 2 {
			m = s.metrics.AppendEmpty()
			m.SetName("retries")
			sum := m.SetEmptySum()
			sum.SetIsMonotonic(true)
			sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			sum.DataPoints().AppendEmpty().SetIntValue(2)
		}
	}, "metric busy\nmetric calls server.port=* count=5\nmetric retries sum=4\n")
}

// What is rendered does not depend on the order of arrival.
func TestRenderIsSteady(t *testing.T) {
	text := func(order []byte) string {
		s := newSent()
		for _, i := range order {
			parent := i / 2
			s.span(1, i, parent, ptrace.SpanKindInternal, fmt.Sprint("span ", i%3))
			s.log(1, parent, fmt.Sprint("log ", i%4))
		}
		return s.all.Render()
	}
	want := text([]byte{1, 2, 3, 4, 5, 6, 7})
	for _, order := range [][]byte{{7, 6, 5, 4, 3, 2, 1}, {4, 1, 7, 3, 2, 6, 5}} {
		if diff := cmp.Diff(want, text(order)); diff != "" {
			t.Errorf("in order %v: -want +got:\n%s", order, diff)
		}
	}
}
