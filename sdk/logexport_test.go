package sdk

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestLogIDsOf(t *testing.T) {
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 0xab}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	inSpan := trace.ContextWithSpanContext(context.Background(), span)
	var none context.Context
	for _, c := range []struct {
		name string
		ctx  context.Context
		want string
	}{
		{"no context", none, ""},
		{"nothing", context.Background(), ""},
		{"a context that panics", struct{ context.Context }{}, ""},
		{"span", inSpan, "trace_id=01ab0000000000000000000000000000 span_id=0200000000000000"},
		{"request", WithRequestID(context.Background(), "r1"), "request_id=r1"},
		{"all", WithBizID(WithRequestID(inSpan, "r1"), "b1"), "trace_id=01ab0000000000000000000000000000 span_id=0200000000000000 request_id=r1 biz_id=b1"},
	} {
		ids := LogIDsOf(c.ctx)
		var got []string
		for name, value := range ids.All {
			got = append(got, name+"="+value)
		}
		if text := strings.Join(got, " "); text != c.want || ids.None() != (c.want == "") {
			t.Errorf("%s: got %q, None %v; want %q", c.name, text, ids.None(), c.want)
		}
		for n := range got { // who stops early is not called again
			seen := 0
			for range ids.All {
				if seen++; seen > n {
					break
				}
			}
			if seen != n+1 {
				t.Errorf("%s: %d ids after a break at the %d.", c.name, seen, n+1)
			}
		}
	}
}

// A record of Export is what that of Record is, but for the line.
func TestExport(t *testing.T) {
	var sent []byte
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(_ context.Context, body []byte, _ int) (int, error) {
		sent = append(sent, body...)
		return 0, nil
	}})
	t.Cleanup(func() { _ = pipe.Close(context.Background()) })
	var lines bytes.Buffer
	l := newLog(nil, nil, core.NewLogger(pipe, core.NewScope("test", "", ""), core.DefaultLimits), nil)
	l.direct = &lines
	fields := func(f *LogFields) {
		f.Add(core.String("plain", "P"))
		f.OpenGroup("g")
		f.AddUint("uint", 1<<63)
		f.OpenGroup("h")
		f.AddTime("time", time.Unix(0, 0).UTC())
		f.CloseGroup()
		f.AddAny("any", []any{1, "x"})
	}
	written := func(r *LogRecord) string {
		with := ExportFields()
		fields(with)
		r.AddFields(with.Clone())
		fields(&r.LogFields)
		r.Write()
		if err := pipe.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		text := string(sent)
		sent = nil
		return text[:strings.Index(text, "any")]
	}
	ctx := WithBizID(WithRequestID(context.Background(), "r1"), "b1")
	ids := LogIDsOf(ctx)
	got := l.Export(&ids, time.Unix(1, 0), core.SeverityWarn, "WARN", "")
	got.SetBody("body")
	export := written(got)
	if lines.Len() > 0 {
		t.Errorf("it has a line: %s", lines.String())
	}
	// Its room is used again, by one with a line.
	record := written(l.Record(ctx, time.Unix(1, 0), core.SeverityWarn, "WARN", "body"))
	if export != record {
		t.Errorf("Export sends %q, Record %q", export, record)
	}
	if !strings.Contains(lines.String(), `"plain":"P"`) {
		t.Errorf("the line is %s", lines.String())
	}
	if unstarted.Export(&ids, time.Time{}, 0, "", "") != nil {
		t.Error("without OTLP there is a record")
	}
}
