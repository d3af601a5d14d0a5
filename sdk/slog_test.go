package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// lines is a writer that keeps what it is given.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// logged flushes a spool and decodes its lines.
func (l *lines) logged(t *testing.T, s *core.Spool) (out []map[string]any) {
	t.Helper()
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

func newTestLog(t testing.TB, level slog.Leveler) (*slog.Logger, *lines, *core.Spool) {
	l := new(lines)
	spool := core.NewSpool(l, 0)
	t.Cleanup(func() {
		if err := spool.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return slog.New(NewLogHandler(spool, nil, level)), l, spool
}

func TestLogHandlerIsASlogHandler(t *testing.T) {
	log, l, spool := newTestLog(t, nil)
	if err := slogtest.TestHandler(log.Handler(), func() []map[string]any { return l.logged(t, spool) }); err != nil {
		t.Error(err)
	}
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("oh") }

// What slog's own handler writes, ours must write.
func TestLinesAreSlogsOwn(t *testing.T) {
	log, l, spool := newTestLog(t, slog.LevelDebug)
	var own bytes.Buffer
	stock := slog.New(slog.NewJSONHandler(&own, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, log := range []*slog.Logger{log, stock} {
		log.Debug("plain")
		log.Info("kinds", "s", "a\"b\\c\n\t\x01\u2028é", "i", -5, "u", uint64(1<<63), "f", 1.5, "b", true, "d", time.Second, "t", time.Unix(1, 5).UTC(), "nil", nil, "err", errors.New("no"), "list", []int{1, 2}, "map", map[string]int{"a": 1})
		log.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").Warn("groups", "c", 3, slog.Group("i", "d", 4, slog.Group("empty")), slog.Group("", "e", 5))
		log.WithGroup("g").Error("an empty group")
		log.WithGroup("g").With(slog.Group("empty")).Log(context.Background(), slog.Level(2), "a level between", slog.Group("x", slog.Group("y", "z", 1)), "after", 1)
	}
	got := l.logged(t, spool)
	var want []map[string]any
	for line := range strings.Lines(own.String()) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		want = append(want, m)
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, slog's own handler writes %d", len(got), len(want))
	}
	for i := range want {
		delete(got[i], "time")
		delete(want[i], "time")
		g, _ := json.Marshal(got[i])
		w, _ := json.Marshal(want[i])
		if string(g) != string(w) {
			t.Errorf("line %d: %s, slog's own handler writes %s", i, g, w)
		}
	}
	log.Info("panics", "p", panics{})
	if got := l.logged(t, spool); !strings.Contains(got[len(got)-1]["p"].(string), "PANIC") {
		t.Errorf("a value that panics: %v", got[len(got)-1])
	}
}

func TestClock(t *testing.T) {
	var c clock
	at := time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("", 5*3600+1800), time.FixedZone("", -3600), time.UTC} {
		for _, d := range []time.Duration{0, 1, 500 * time.Millisecond, time.Second, 120 * time.Microsecond, -1} {
			x := at.Add(d).In(zone)
			if got := string(c.append(nil, x)); got != x.Format(time.RFC3339Nano) {
				t.Errorf("%v is %q", x, got)
			}
		}
	}
	if x := time.Date(12345, 1, 1, 0, 0, 0, 5, time.UTC); string(c.append(nil, x)) != x.Format(time.RFC3339Nano) {
		t.Errorf("%v is %q", x, c.append(nil, x))
	}
}

func TestLogsHaveIDs(t *testing.T) {
	log, l, spool := newTestLog(t, nil)
	ctx, s := newTracer(t, 1).Start(t.Context(), "n")
	log.InfoContext(ctx, "in")
	log.Info("out")
	got := l.logged(t, spool)
	if got[0]["trace_id"] != s.SpanContext().TraceID().String() || got[0]["span_id"] != s.SpanContext().SpanID().String() {
		t.Errorf("in a span: %v", got[0])
	}
	if _, ok := got[1]["trace_id"]; ok {
		t.Errorf("outside of a span: %v", got[1])
	}
}

func TestLogAllocations(t *testing.T) {
	log, _, _ := newTestLog(t, nil)
	h := log.With("service", "shop").Handler()
	ctx, _ := newTracer(t, 1).Start(t.Context(), "n")
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "order placed", 0)
	r.AddAttrs(slog.String("order.id", "4711"), slog.Int("items", 3), slog.Duration("took", time.Millisecond))
	if n := testing.AllocsPerRun(1000, func() { _ = h.Handle(ctx, r) }); n > 0 && !raceDetector {
		t.Errorf("a record takes %v allocations", n)
	}
}

func FuzzJSONString(f *testing.F) {
	f.Add("a\"b\\\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(core.AppendJSONString(nil, s), &got); err != nil || got != strings.ToValidUTF8(s, "\uFFFD") && got != string([]rune(s)) {
			t.Errorf("%q becomes %q, error %v", s, got, err)
		}
	})
}

func BenchmarkLog(b *testing.B) {
	spool := core.NewSpool(discard{}, 0)
	defer spool.Close(context.Background())
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(context.Context, []byte, int) (int, error) { return 0, nil }})
	defer pipe.Close(context.Background())
	ctx, _ := newTracer(b, 1).Start(context.Background(), "n")
	for name, h := range map[string]slog.Handler{
		"stock": slog.NewJSONHandler(discard{}, nil),
		"line":  NewLogHandler(spool, nil, nil),
		"both":  NewLogHandler(spool, core.NewLogger(pipe, core.NewScope("bench", "", ""), core.DefaultLimits), nil),
	} {
		b.Run(name, func(b *testing.B) {
			log := slog.New(h).With("service", "shop")
			b.ReportAllocs()
			for b.Loop() {
				log.LogAttrs(ctx, slog.LevelInfo, "order placed", slog.String("order.id", "4711"), slog.Int("items", 3), slog.Duration("took", time.Millisecond))
			}
		})
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
