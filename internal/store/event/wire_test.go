package event

import (
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

// failer is what testing.TB and rapid.TB have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
}

func encodeTraces(t failer, td ptrace.Traces) []byte {
	t.Helper()
	payload, err := new(ptrace.ProtoMarshaler).MarshalTraces(td)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func encodeLogs(t failer, ld plog.Logs) []byte {
	t.Helper()
	payload, err := new(plog.ProtoMarshaler).MarshalLogs(ld)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// wireValue is v as it would arrive.
func wireValue(t failer, v pcommon.Value) value {
	t.Helper()
	td := ptrace.NewTraces()
	v.CopyTo(td.ResourceSpans().AppendEmpty().Resource().Attributes().PutEmpty("k"))
	var e envelope
	if err := e.walk(encodeTraces(t, td), func() {}, func() {}, nil); err != nil {
		t.Fatal(err)
	}
	return e.resource.attributes[0].value
}

func TestMalformedPayload(t *testing.T) {
	td := oneSpan(func(rs ptrace.ResourceSpans, sp ptrace.Span) {
		rs.Resource().Attributes().PutStr(colService, "order")
		sp.SetName("GET /")
		sp.Attributes().PutEmptySlice("list").AppendEmpty().SetStr("x")
	})
	whole := encodeTraces(t, td)
	c := newTestSpanCodec(t)
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	defer logstorage.PutLogRows(lr)
	if added, _, err := c.appendRows(lr, store.Tenant{}, whole, time.Now()); added != 1 || err != nil {
		t.Fatalf("whole: %d spans, %v", added, err)
	}
	for n := 1; n < len(whole); n++ {
		if _, _, err := c.appendRows(lr, store.Tenant{}, whole[:n], time.Now()); err == nil {
			t.Errorf("the first %d of %d bytes were taken", n, len(whole))
		}
	}
}

// Bytes that pdata can read give as many rows as it sees; others at most an
// error.
func FuzzSpanRows(f *testing.F) {
	f.Add(encodeTraces(f, oneSpan(func(rs ptrace.ResourceSpans, sp ptrace.Span) {
		rs.Resource().Attributes().PutStr(colService, "order")
		sp.SetTraceID(pcommon.TraceID{1})
		sp.Attributes().PutEmptyMap("m").PutDouble("d", 0.5)
		sp.Events().AppendEmpty().Attributes().PutBool("b", true)
		sp.Links().AppendEmpty().SetSpanID(pcommon.SpanID{2})
	})))
	now := time.Now()
	f.Fuzz(func(t *testing.T, payload []byte) {
		c := newTestSpanCodec(t)
		lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
		defer logstorage.PutLogRows(lr)
		_, _, _ = c.appendRows(lr, store.Tenant{}, payload, now)
		td, err := new(ptrace.ProtoUnmarshaler).UnmarshalTraces(payload)
		if err != nil {
			return
		}
		added, dropped, err := c.appendRows(lr, store.Tenant{}, encodeTraces(t, td), now)
		if err != nil || added+dropped != td.SpanCount() {
			t.Errorf("%d spans added, %d dropped of %d, %v", added, dropped, td.SpanCount(), err)
		}
	})
}

func FuzzLogRows(f *testing.F) {
	ld := plog.NewLogs()
	r := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.Body().SetEmptyMap().PutInt("n", -1)
	r.Attributes().PutEmptyBytes("b").FromRaw([]byte{0, 1})
	f.Add(encodeLogs(f, ld))
	now := time.Now()
	f.Fuzz(func(t *testing.T, payload []byte) {
		c := newLogCodec(testRetention, newTail())
		lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
		defer logstorage.PutLogRows(lr)
		_, _, _ = c.appendRows(lr, store.Tenant{}, payload, now)
		ld, err := new(plog.ProtoUnmarshaler).UnmarshalLogs(payload)
		if err != nil {
			return
		}
		added, dropped, err := c.appendRows(lr, store.Tenant{}, encodeLogs(t, ld), now)
		if err != nil || added+dropped != ld.LogRecordCount() {
			t.Errorf("%d records added, %d dropped of %d, %v", added, dropped, ld.LogRecordCount(), err)
		}
	})
}
