package sdk

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/log"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// newLogs makes a provider whose requests are kept.
func newLogs(t testing.TB) (p *LoggerProvider, flush func() string) {
	var mu sync.Mutex
	var sent strings.Builder
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(_ context.Context, body []byte, _ int) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		sent.Write(body)
		return 0, nil
	}})
	t.Cleanup(func() { _ = pipe.Close(context.Background()) })
	return NewLoggerProvider(pipe, core.DefaultLimits), func() string {
		if err := pipe.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		text := sent.String()
		sent.Reset()
		return text
	}
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestLoggers(t *testing.T) {
	p, flush := newLogs(t)
	l := p.Logger("l", log.WithInstrumentationVersion("1"))
	if p.Logger("l", log.WithInstrumentationVersion("1")) != l || p.Logger("l") == l {
		t.Error("loggers are not told apart by their scope")
	}
	var r log.Record
	r.SetBody(attribute.StringValue("kept"))
	var none context.Context
	l.Emit(none, r)
	var err *nilError
	r.SetErr(err)
	l.Emit(t.Context(), r) // an error that panics is told as such
	r.SetErr(errors.New("no"))
	l.Emit(t.Context(), r)
	if got := flush(); strings.Count(got, "kept") != 3 || !strings.Contains(got, "!PANIC") || !strings.Contains(got, "*errors.errorString") {
		t.Errorf("sent %q", got)
	}
	if !l.Enabled(t.Context(), log.EnabledParameters{Severity: log.SeverityTrace1}) {
		t.Error("not enabled")
	}
	p.Stop()
	l.Emit(t.Context(), r)
	if got := flush(); l.Enabled(t.Context(), log.EnabledParameters{Severity: log.SeverityFatal}) || got != "" {
		t.Errorf("enabled after Stop, sent %q", got)
	}
}

// What the front door said of a request is on records, too; the record's own
// attribute counts before it.
func TestLoggersHaveBaggage(t *testing.T) {
	p, flush := newLogs(t)
	p.members = []string{"tenant", "region"}
	b, err := baggage.Parse("tenant=acme,region=eu,other=x")
	if err != nil {
		t.Fatal(err)
	}
	r := logRecord()
	r.AddAttributes(attribute.String("region", "us"))
	p.Logger("l").Emit(baggage.ContextWithBaggage(t.Context(), b), r)
	if got := flush(); !strings.Contains(got, "acme") || !strings.Contains(got, "us") || strings.Contains(got, "eu") || strings.Contains(got, "other") {
		t.Errorf("sent %q", got)
	}
}

func logRecord() log.Record {
	var r log.Record
	r.SetTimestamp(time.Now())
	r.SetSeverity(log.SeverityInfo)
	r.SetSeverityText("INFO")
	r.SetBody(attribute.StringValue("order placed"))
	r.AddAttributes(attribute.String("order.id", "4711"), attribute.Int("items", 3), attribute.Float64("total", 17.5))
	return r
}

func TestLoggerAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool drops what it is given at random")
	}
	p, _ := newLogs(t)
	l := p.Logger("l")
	ctx, _ := newTracer(t, 1).Start(t.Context(), "n")
	r := logRecord()
	if n := testing.AllocsPerRun(1000, func() { l.Emit(ctx, r) }); n >= 1 { // batches turn now and then
		t.Errorf("a record takes %v allocations", n)
	}
}
