//go:build unix

package weavetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/testkit/otlpsink"
)

// Service is a program that runs until its test tells it to end.
type Service struct {
	t       testing.TB
	name    string
	process *exec.Cmd
	written *written
	ended   chan error
}

// slowStart is what a service may take until it listens: it may set up a
// database, on a machine that is busy.
const slowStart = time.Minute

// FreePort is a port of the loopback interface that nobody listens on.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// Start starts a program in the folder dir, that sends to a sink, and returns
// when it listens on all ports. Its environment has nothing else about telemetry.
func Start(t testing.TB, sink *otlpsink.Sink, dir, program string, args []string, ports ...string) *Service {
	t.Helper()
	s := &Service{t: t, name: filepath.Base(program), written: &written{}, ended: make(chan error, 1)}
	s.process = exec.Command(program, args...)
	s.process.Dir = dir
	s.process.Env = slices.Concat(environment(), sink.Env())
	s.process.Stdout, s.process.Stderr = s.written, s.written
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.process.Wait() }()
	t.Cleanup(func() {
		_ = s.process.Process.Kill()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", s.name, s.written)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), slowStart)
	defer cancel()
	for _, port := range ports {
		for {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+port)
			if err == nil {
				_ = c.Close()
				break
			}
			select {
			case err := <-s.ended:
				t.Fatalf("%s has ended: %v", s.name, err)
			case <-ctx.Done():
				t.Fatalf("%s does not listen on port %s", s.name, port)
			case <-time.After(20 * time.Millisecond): // between two tries
			}
		}
	}
	return s
}

// End ends the service by a signal, which it must follow without an error.
func (s *Service) End() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("%s ended by SIGTERM: %v", s.name, err)
		}
	case <-time.After(longestRun):
		s.t.Fatalf("%s does not end by SIGTERM", s.name)
	}
}

// Call sends a request and returns the answer's body. Another status than the
// wanted one fails the test.
func Call(t testing.TB, status int, method, url, body string, header ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d\n%s", method, url, resp.StatusCode, status, text)
	}
	return string(text)
}

// Incomplete says what is wrong with what a program has sent about requests, each
// of which is to be one trace: a span or a log record whose parent has not
// arrived, a trace with several roots or with requests of others, and work at the
// time of requests that belongs to none, unless byClock knows it. "" is nothing.
func Incomplete(r otlpsink.Received, byClock func(ptrace.Span) bool) string {
	type key struct {
		trace pcommon.TraceID
		span  pcommon.SpanID
	}
	spans := map[key]ptrace.Span{}
	roots := map[pcommon.TraceID][]string{}
	each(r.Traces, func(s ptrace.Span) { spans[key{s.TraceID(), s.SpanID()}] = s })
	first, last := pcommon.Timestamp(math.MaxUint64), pcommon.Timestamp(0)
	each(r.Traces, func(s ptrace.Span) {
		if s.Kind() == ptrace.SpanKindServer {
			first, last = min(first, s.StartTimestamp()), max(last, s.EndTimestamp())
		}
	})
	var wrong strings.Builder
	each(r.Traces, func(s ptrace.Span) {
		parent, ok := spans[key{s.TraceID(), s.ParentSpanID()}]
		switch {
		case s.ParentSpanID().IsEmpty():
			roots[s.TraceID()] = append(roots[s.TraceID()], s.Name())
			if s.Kind() != ptrace.SpanKindServer && s.StartTimestamp() > first && s.StartTimestamp() < last && (byClock == nil || !byClock(s)) {
				fmt.Fprintf(&wrong, "span %q: it is of no request\n", s.Name())
			}
		case !ok:
			fmt.Fprintf(&wrong, "span %q: its parent is missing\n", s.Name())
		case s.Kind() == ptrace.SpanKindServer && parent.Kind() != ptrace.SpanKindClient:
			fmt.Fprintf(&wrong, "span %q: a request within %q, which has not sent it\n", s.Name(), parent.Name())
		case s.StartTimestamp() < parent.StartTimestamp():
			fmt.Fprintf(&wrong, "span %q: begins before its parent %q\n", s.Name(), parent.Name())
		}
	})
	for _, names := range roots {
		if len(names) > 1 {
			fmt.Fprintf(&wrong, "one trace has the roots %q\n", names)
		}
	}
	for _, rl := range r.Logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, l := range sl.LogRecords().All() {
				if _, ok := spans[key{l.TraceID(), l.SpanID()}]; !ok && !l.TraceID().IsEmpty() {
					fmt.Fprintf(&wrong, "log %q: its span is missing\n", l.Body().AsString())
				}
			}
		}
	}
	return wrong.String()
}

// Requests leaves in r what was sent about requests that the program has
// answered: the traces that begin with one, and their log records. What it does by
// the clock, and its metrics, differ from run to run.
func Requests(r otlpsink.Received) otlpsink.Received {
	answered := map[pcommon.TraceID]bool{}
	each(r.Traces, func(s ptrace.Span) {
		if s.Kind() == ptrace.SpanKindServer && s.ParentSpanID().IsEmpty() {
			answered[s.TraceID()] = true
		}
	})
	for _, rs := range r.Traces.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			ss.Spans().RemoveIf(func(s ptrace.Span) bool { return !answered[s.TraceID()] })
		}
	}
	for _, rl := range r.Logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			sl.LogRecords().RemoveIf(func(l plog.LogRecord) bool { return !answered[l.TraceID()] })
		}
	}
	r.Metrics = pmetric.NewMetrics()
	return r
}

func each(t ptrace.Traces, f func(ptrace.Span)) {
	for _, rs := range t.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				f(s)
			}
		}
	}
}

// written keeps what a program writes, for several goroutines.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
