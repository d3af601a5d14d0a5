package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
)

// rounds is how often TestCrash kills.
func rounds(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("GUANLAN_TORTURE")); err == nil && n > 0 {
		return n
	}
	switch {
	case os.Getenv("CI") == "true":
		return 20
	case testing.Short():
		t.Skip("starts and kills processes")
	}
	return 3
}

// ledger is what senders know of their batches: each was tried, and was
// acknowledged or not.
type ledger struct {
	mu    sync.Mutex
	tried map[string]int // rows, by name of the batch
	acked map[string]bool
}

func newLedger() *ledger { return &ledger{tried: map[string]int{}, acked: map[string]bool{}} }

func (l *ledger) try(name string, rows int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried[name] = rows
}

func (l *ledger) ack(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[name] = true
}

// compare holds stored rows against the ledger: what was acknowledged is there
// exactly once, the rest at most once and as a whole.
func (l *ledger) compare(stored map[string]uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for name, n := range stored {
		if _, ok := l.tried[name]; !ok {
			errs = append(errs, fmt.Errorf("batch %s has %d rows and was never sent", name, n))
		}
	}
	for name, rows := range l.tried {
		if n := stored[name]; n != uint64(rows) && (l.acked[name] || n != 0) {
			errs = append(errs, fmt.Errorf("batch %s has %d rows, want %d (acknowledged: %v)", name, n, rows, l.acked[name]))
		}
	}
	return shorten(errs)
}

// shorten joins the first few errors.
func shorten(errs []error) error {
	const most = 8
	if n := len(errs) - most; n > 0 {
		errs = append(errs[:most:most], fmt.Errorf("… and %d more", n))
	}
	return errors.Join(errs...)
}

// mostBatches bounds what one sender sends in one round: the API lists at
// most 1000 values with their counts.
const mostBatches = 900

// sender sends batches of one signal until the process is killed.
type sender struct {
	name   string // unique in the test
	signal string
	*ledger
}

func (s *sender) run(ctx context.Context, conn *grpc.ClientConn, sent *atomic.Int64) {
	for i := range mostBatches {
		if ctx.Err() != nil {
			return
		}
		n := 1 + rand.IntN(1+rand.IntN(200))
		name := fmt.Sprintf("%s-%d", s.name, i)
		at := time.Now()
		l := labels{{"batch", name}, {"sender", s.name}}
		var err error
		switch s.signal {
		case "traces":
			s.try(name, n)
			_, err = ptraceotlp.NewGRPCClient(conn).Export(ctx, ptraceotlp.NewExportRequestFromTraces(spansOf("crash", n, at, l)))
		case "logs":
			s.try(name, n)
			_, err = plogotlp.NewGRPCClient(conn).Export(ctx, plogotlp.NewExportRequestFromLogs(logsOf("crash", n, at, l)))
		case "metrics":
			// One sample a batch; its value is the batch's number. Two of
			// the same millisecond would be one sample.
			s.try(strconv.Itoa(i), 1)
			name = strconv.Itoa(i)
			_, err = pmetricotlp.NewGRPCClient(conn).Export(ctx, pmetricotlp.NewExportRequestFromMetrics(
				gaugeOf("crash", "crash", float64(i), at, labels{{"sender", s.name}})))
			for time.Since(at) < 2*time.Millisecond {
				time.Sleep(time.Millisecond)
			}
		}
		if err != nil {
			return // killed; whether the batch was kept, nobody knows
		}
		s.ack(name)
		sent.Add(1)
	}
}

// check asks a restarted process for everything that the sender has sent. It
// asks once: what was acknowledged is there when the process says it is ready.
func (s *sender) check(p *process) error {
	var stored map[string]uint64
	var err error
	if s.signal == "metrics" {
		stored, err = p.samples(s.name)
	} else {
		stored, err = p.counts("", s.signal, "batch", fmt.Sprintf("service.name = crash and sender = %q", s.name))
	}
	if err == nil {
		err = s.compare(stored)
	}
	if err != nil {
		return fmt.Errorf("%s of sender %s: %w", s.signal, s.name, err)
	}
	return nil
}

// samples counts the raw samples of a metric sender by value.
func (p *process) samples(sender string) (map[string]uint64, error) {
	var answer struct {
		Data struct {
			Result []struct{ Values [][2]any }
		}
	}
	expr := fmt.Sprintf(`crash{sender=%q}[2h]`, sender)
	if err := p.get("", "/api/v1/query", url.Values{"query": {expr}}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Data.Result) > 1 {
		return nil, fmt.Errorf("%s: got %d series, want at most 1", expr, len(answer.Data.Result))
	}
	counts := map[string]uint64{}
	for _, r := range answer.Data.Result {
		for _, v := range r.Values {
			text, ok := v[1].(string)
			if !ok {
				return nil, fmt.Errorf("%s: sample %v", expr, v)
			}
			counts[text]++
		}
	}
	return counts, nil
}

// TestCrash kills a process that takes in traces, logs and metrics from
// concurrent senders, at random moments from its start on, and starts it
// again on the same folder. Whatever was acknowledged is found, once.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	var all []*sender
	var ready []time.Duration
	p := start(t, dir)
	for round := range rounds(t) {
		var fresh []*sender
		var wg sync.WaitGroup
		var sent atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		for _, signal := range []string{"traces", "traces", "logs", "logs", "metrics", "metrics"} {
			s := &sender{name: fmt.Sprintf("r%ds%d", round, len(fresh)), signal: signal, ledger: newLedger()}
			fresh = append(fresh, s)
			conn := p.dial(t)
			wg.Go(func() { s.run(ctx, conn, &sent) })
		}
		// Checkpoints are seconds apart: the longest times reach beyond one.
		time.Sleep(time.Duration(rand.IntN(1+rand.IntN(6000))) * time.Millisecond)
		p.kill()
		cancel()
		wg.Wait()
		if text := p.output.String(); panicked(text) {
			t.Fatalf("round %d: panicked before the kill:\n%s", round, text)
		}
		all = append(all, fresh...)

		// One start in three is killed too, while it recovers.
		for rand.IntN(3) == 0 {
			early, err := launch(dir)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
			early.kill()
		}
		p = start(t, dir)
		ready = append(ready, p.took)
		for _, s := range fresh {
			if err := s.check(p); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		t.Logf("round %d: %d batches acknowledged, ready again after %v", round, sent.Load(), p.took.Round(time.Millisecond))
		if t.Failed() {
			t.Fatalf("the process said:\n%s", p.output)
		}
	}
	// Later kills have not taken what earlier ones had left, and an end in
	// good order does not either.
	p.stop(t)
	p = start(t, dir)
	for _, s := range all {
		if err := s.check(p); err != nil {
			t.Error(err)
		}
	}
	checkTraces(t, p, all)
	slices.Sort(ready)
	t.Logf("ready after a kill: median %v, longest %v", ready[len(ready)/2].Round(time.Millisecond), ready[len(ready)-1].Round(time.Millisecond))
}

// checkTraces opens some acknowledged traces as a whole: the index that finds
// a trace by its id is another structure than the one that counts rows.
func checkTraces(t *testing.T, p *process, senders []*sender) {
	t.Helper()
	const most = 50
	checked := 0
	for _, s := range senders {
		if s.signal != "traces" {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(s.acked)) {
			if checked == most || rand.IntN(4) != 0 {
				continue
			}
			checked++
			var list struct{ Traces []struct{ TraceID string } }
			if err := p.get("", "/guanlan/v1/traces", url.Values{"filter": {fmt.Sprintf("batch = %q", name)}, "start": {"now-6h"}}, &list); err != nil || len(list.Traces) != 1 {
				t.Errorf("batch %s: got %d traces, want 1 (%v)", name, len(list.Traces), err)
				continue
			}
			var whole struct{ SpanList []struct{ SpanID string } }
			if err := p.get("", "/guanlan/v1/traces/"+list.Traces[0].TraceID, nil, &whole); err != nil || len(whole.SpanList) != s.tried[name] {
				t.Errorf("trace of batch %s: got %d spans, want %d (%v)", name, len(whole.SpanList), s.tried[name], err)
			}
		}
	}
}

// TestUpTellsLastCrash ends a process by a signal that makes the runtime say
// where everybody was, as a panic does; the next one tells what and when.
func TestUpTellsLastCrash(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	began := time.Now().Add(-time.Second) // file systems round
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	ended := time.Now()
	p = start(t, dir)
	var status struct {
		LastCrash struct {
			Time           time.Time
			Reason, Detail string
		}
	}
	if err := p.get("", "/guanlan/v1/status", nil, &status); err != nil {
		t.Fatal(err)
	}
	c := status.LastCrash
	if c.Time.Before(began) || c.Time.After(ended) || !strings.Contains(c.Reason, "SIGQUIT") || !strings.Contains(c.Detail, "goroutine") {
		t.Errorf("got %v %q %.100q, want SIGQUIT between %v and %v", c.Time, c.Reason, c.Detail, began, ended)
	}
}
