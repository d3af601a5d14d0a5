package core

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogIsEncoded(t *testing.T) {
	var c collector
	p := NewPipe(nil, PipeOptions{Send: c.send})
	l := NewLogger(p, testScope, DefaultLimits)
	at := time.Unix(100, 5)
	l.Emit(&Record{Time: at, Severity: SeverityWarn, Level: "WARN", Body: "bad \xff", Event: "order.placed",
		Attrs: []Attr{Int("n", 1), Int("n", 2)}, Span: &SpanContext{TraceID: TraceID{1}, SpanID: SpanID{2}, Flags: FlagSampled}})
	l.Emit(&Record{Body: "bare"})
	structured := MapValue([]Attr{Int("n", 1)})
	l.Emit(&Record{Observed: at, Value: &structured, Attrs: []Attr{Int("", 1)}, Dropped: 2})
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	form := map[int]any{requestResources: map[int]any{resourceScopes: map[int]any{scopeItems: map[int]any{logBody: map[int]any{}, logAttributes: keyValue}}}}
	records := decode(t, c.bodies[0], form)[requestResources][0].(message)[resourceScopes][0].(message)[scopeItems]
	full, bare, other := records[0].(message), records[1].(message), records[2].(message)
	if body := other[logBody][0].(message); body[anyString] != nil || len(body[anyMap]) != 1 || other[logObserved][0] != uint64(at.UnixNano()) || other[logDropped][0] != uint64(3) {
		t.Errorf("record with a map %v", other)
	}
	if fmt.Sprint(full[logTime], full[logSeverity], full[logSeverityText], full[logBody][0].(message)[anyString], full[logEvent], full[logFlags], len(full[logAttributes])) !=
		"[100000000005] [13] [WARN] [bad \uFFFD] [order.placed] [1] 1" || full[logTraceID][0].(string)[0] != 1 || full[logSpanID][0].(string)[0] != 2 || full[logObserved] == nil {
		t.Errorf("record %v", full)
	}
	if len(bare) != 2 || bare[logObserved][0].(uint64) == 0 {
		t.Errorf("bare record %v", bare)
	}
}

// The less important is dropped first, here and in the spool.
func TestErrorsAreDroppedLast(t *testing.T) {
	severities := []Severity{SeverityDebug, SeverityInfo, SeverityWarn, SeverityError}
	stuck, writing := make(chan struct{}), make(chan struct{}, 100)
	p := NewPipe(nil, PipeOptions{Bytes: 20_000, BatchBytes: 20_000, Delay: time.Hour, Send: func(context.Context, []byte, int) (int, error) { <-stuck; return 0, nil }})
	l := NewLogger(p, testScope, DefaultLimits)
	spool := NewSpool(stuckWriter{stuck, writing}, 20_000)
	line := []byte(strings.Repeat("x", 99) + "\n")
	spool.Line(line, SeverityError)
	<-writing
	var sent, spooled []int
	for _, s := range severities {
		n, m := 0, 0
		for l.Emit(&Record{Severity: s, Body: string(line)}) {
			n++
		}
		for spool.Line(line, s) {
			m++
		}
		sent, spooled = append(sent, n), append(spooled, m)
	}
	if fmt.Sprint(spooled) != "[120 40 20 20]" {
		t.Errorf("lines taken by severity %v", spooled)
	}
	for i, n := range sent {
		if want := float64(spooled[i]) * 100 / 130; math.Abs(float64(n)-want) > want/3 {
			t.Errorf("severity %d: %d records are taken, want about %v", severities[i], n, want)
		}
	}
	close(stuck)
	if err := errors.Join(p.Close(t.Context()), spool.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if s := spool.Stats(); s.Written != 201 || s.Dropped != 4 || s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
}

// stuckWriter says that it has something to write and waits.
type stuckWriter struct{ until, writing chan struct{} }

func (w stuckWriter) Write(b []byte) (int, error) {
	w.writing <- struct{}{}
	<-w.until
	return len(b), nil
}

func TestSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w strings.Builder
		s := NewSpool(&w, 0)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range 100 {
					s.Line(fmt.Appendf(nil, "%d-%d\n", g, i), SeverityInfo)
				}
			}()
		}
		wg.Wait()
		if err := s.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if n := strings.Count(w.String(), "\n"); n != 400 || s.Stats().Written != 400 {
			t.Errorf("%d lines, stats %+v", n, s.Stats())
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if s.Line([]byte("late\n"), SeverityFatal) || s.Stats().Dropped != 1 {
			t.Error("a closed spool takes lines")
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Who flushes or closes waits for the lines before, not for those that others go
// on to add; and the disk is asked to keep what is there.
func TestSpoolUnderATrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		d.room.Store(-1)
		f, err := newFile(FileOptions{Path: filepath.Join(t.TempDir(), "app.log")}, func(path string) (handle, error) {
			h, err := d.open(path)
			return slowHandle{h}, err
		}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		s := NewFileSpool(f, 0)
		stop, stopped := make(chan struct{}), make(chan int)
		go func() { // several lines come while one is written
			taken, tick := 0, time.NewTicker(slowHandleTakes/5)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					if s.Line([]byte("trickle\n"), SeverityInfo) {
						taken++
					}
				case <-stop:
					stopped <- taken
					return
				}
			}
		}()
		time.Sleep(10 * time.Second)
		if n := d.syncs.Load(); n < 9 || n > 11 {
			t.Errorf("%d syncs in 10 s, want one each second", n)
		}
		const soon = spoolLinger + 5*slowHandleTakes
		for range 3 {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := s.Flush(ctx); err != nil || time.Since(began) > soon {
				t.Errorf("Flush takes %v: %v", time.Since(began), err)
			}
			cancel()
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil || time.Since(began) > soon || !s.Closed() {
			t.Errorf("Close takes %v: %v", time.Since(began), err)
		}
		close(stop)
		if taken, st := <-stopped, s.Stats(); st.Written != uint64(taken) || st.Waiting != 0 {
			t.Errorf("%d lines were taken, stats %+v", taken, st)
		}
	})
}

// slowHandle is a file on a slow disk.
type slowHandle struct{ handle }

const slowHandleTakes = time.Millisecond

func (h slowHandle) Write(b []byte) (int, error) {
	time.Sleep(slowHandleTakes)
	return h.handle.Write(b)
}

// A disk that is full must cost lines, not the service.
func TestSpoolCountsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSpool(brokenWriter{}, 0)
		s.Line([]byte("a\n"), SeverityInfo)
		if err := s.Close(t.Context()); err != nil || s.Stats().Failed != 1 {
			t.Errorf("error %v, stats %+v", err, s.Stats())
		}
		stuck := make(chan struct{})
		s = NewSpool(stuckWriter{stuck, make(chan struct{}, 1)}, 0)
		s.Line([]byte("a\n"), SeverityInfo)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with a stuck writer: %v", err)
		}
		close(stuck)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }
