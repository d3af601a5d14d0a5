package sdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// sending begins a span with ids and baggage.
func sending(t *testing.T, s *SDK) (context.Context, trace.Span) {
	m, err := baggage.NewMemberRaw("tenant", "t-1")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := baggage.New(m)
	ctx := WithBizID(WithRequestID(baggage.ContextWithBaggage(t.Context(), b), "r-1"), "b-1")
	return s.TracerProvider().Tracer("t").Start(ctx, "sender")
}

// receives checks what a task finds.
func receives(t *testing.T, ctx context.Context, from trace.Span) {
	t.Helper()
	sc := trace.SpanContextFromContext(ctx)
	if sc.TraceID() != from.SpanContext().TraceID() || sc.SpanID() == from.SpanContext().SpanID() {
		t.Errorf("span context %+v, want a child of %+v", sc, from.SpanContext())
	}
	if RequestID(ctx) != "r-1" || BizID(ctx) != "b-1" || baggage.FromContext(ctx).Member("tenant").Value() != "t-1" {
		t.Errorf("request %q, business case %q, baggage %v", RequestID(ctx), BizID(ctx), baggage.FromContext(ctx))
	}
}

func TestTasks(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	ctx, sender := sending(t, s)
	var wg sync.WaitGroup
	wg.Add(1)
	Go(ctx, "by Go", func(ctx context.Context) {
		defer wg.Done()
		receives(t, ctx, sender)
	})
	wg.Wait()
	wrapped := Wrap(ctx, "by Wrap", func(ctx context.Context) { receives(t, ctx, sender) })
	wrapped()
	wrapped()
	no := errors.New("no")
	if err := WrapError(ctx, "by WrapError", func(context.Context) error { return no })(); err != no {
		t.Errorf("error %v", err)
	}
	ch := make(chan Message[int], 1)
	ch <- NewMessage(ctx, 7)
	m := <-ch
	type key struct{}
	receiver, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "receiver's"))
	if err := m.Run(receiver, "by Carrier", func(ctx context.Context) error {
		receives(t, ctx, sender)
		if ctx.Value(key{}) != "receiver's" || m.Value != 7 {
			t.Errorf("value %v, message %d", ctx.Value(key{}), m.Value)
		}
		cancel()
		return ctx.Err()
	}); err != context.Canceled {
		t.Errorf("error %v, want that of the receiver's context", err)
	}
	_, other := s.TracerProvider().Tracer("t").Start(t.Context(), "other sender")
	if err := RunBatch(t.Context(), "by RunBatch", []Carrier{m.Carrier, Capture(trace.ContextWithSpan(t.Context(), other)), {}}, func(ctx context.Context) error {
		if sc := trace.SpanContextFromContext(ctx); sc.TraceID() == sender.SpanContext().TraceID() {
			t.Error("a batch is in the trace of one of its parts")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	var zero Carrier
	if zero.Context(t.Context()) != t.Context() {
		t.Error("the zero Carrier carries something")
	}
	func() {
		defer func() {
			if p := recover(); p != "oh" {
				t.Errorf("the panic was %v", p)
			}
		}()
		Wrap(ctx, "panics", func(context.Context) { panic("oh") })()
	}()
	ended := make(chan struct{})
	Go(ctx, "goexit", func(context.Context) {
		defer close(ended)
		runtime.Goexit()
	})
	<-ended
	sender.End()
	other.End()
	waitFor(t, func() bool { return s.pipe.Stats().Added >= 10 })
	got := sent(t, s, sink)
	for path, wants := range map[string][]string{
		"/v1/traces":  {"by Go", "by Wrap", "by WrapError", "by Carrier", "by RunBatch", "goexit", attrWait, "exception.stacktrace", "TestTasks", "canceled"},
		"/v1/metrics": {"guanlan.task.duration", "guanlan.task.wait", "by Carrier", "panic", "*errors.errorString"},
	} {
		for _, want := range wants {
			if !strings.Contains(got[path], want) {
				t.Errorf("%q is not in what was sent to %s", want, path)
			}
		}
	}
	id := other.SpanContext().SpanID()
	if n := strings.Count(got["/v1/traces"], string(id[:])); n != 2 {
		t.Errorf("the other sender is named %d times, want as itself and in the link", n)
	}
}

// waitFor polls.
func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !what(); {
		if time.Now().After(end) {
			t.Fatal("it did not come to that")
		}
		runtime.Gosched()
	}
}

// How long the parts of a batch waited is known when it begins, also where that
// is told at its end.
func TestWaitOfABatchIsWithoutItsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []byte
		pipe := core.NewPipe(nil, core.PipeOptions{Send: func(_ context.Context, b []byte, _ int) (int, error) { sent = append(sent, b...); return 0, nil }})
		stopped(t)
		s := &SDK{enabled: true, provider: NewTracerProvider(core.NewProvider(core.Options{Sampler: core.NewByThreshold(0), Pipe: pipe})), meters: map[string]*core.Meter{}}
		running.Store(s)
		ctx, span := s.provider.Tracer("t").Start(t.Context(), "sender")
		c := Capture(ctx)
		span.End()
		time.Sleep(3 * time.Second)
		_ = RunBatch(t.Context(), "batch", []Carrier{c}, func(context.Context) error {
			time.Sleep(time.Hour)
			return errors.New("no")
		})
		if err := pipe.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		// As AnyValue{double_value} in the attribute of the span and of the link.
		want := binary.LittleEndian.AppendUint64([]byte(attrWait+"\x12\x09\x21"), math.Float64bits(3))
		if n := bytes.Count(sent, want); n != 2 {
			t.Errorf("a wait of 3 s is told %d times, want for the span and the link: %q", n, sent)
		}
	})
}

func TestTasksWithoutAnSDK(t *testing.T) {
	running.Store(nil)
	done := make(chan struct{})
	Go(t.Context(), "n", func(ctx context.Context) {
		defer close(done)
		if ctx != t.Context() {
			t.Error("the context is another one")
		}
	})
	<-done
	p := NewPool(PoolOptions{Name: "p", Failed: func(_ context.Context, name string, err error) {
		if name != "panics" || !strings.HasPrefix(err.Error(), "panic: oh\n") {
			t.Errorf("%s: %v", name, err)
		}
	}})
	if err := p.Submit(t.Context(), "panics", func(context.Context) error { panic("oh") }); err != nil {
		t.Error(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDetach(t *testing.T) {
	s, _ := start(t, Options{})
	ctx, sender := sending(t, s)
	ctx, cancel := context.WithCancel(ctx)
	detached := Detach(ctx)
	cancel()
	if detached.Err() != nil {
		t.Error("it has ended")
	}
	ctx, child := s.TracerProvider().Tracer("t").Start(detached, "child")
	defer child.End()
	receives(t, ctx, sender)
}

// A panic in a goroutine ends the process as it would without us, with the
// place it came from, and is sent before.
func TestGoPanics(t *testing.T) {
	if endpoint := os.Getenv("GUANLAN_TEST_ENDPOINT"); endpoint != "" {
		if _, err := Start(context.Background(), Options{Endpoint: endpoint, Sampler: core.NewByThreshold(0)}); err != nil {
			t.Fatal(err)
		}
		Go(t.Context(), "doomed", func(context.Context) { doomed() })
		select {} // until it is over
	}
	sink := newSink(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestGoPanics$")
	cmd.Env = append(os.Environ(), "GUANLAN_TEST_ENDPOINT="+sink.URL)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "panic: doom") || !strings.Contains(string(out), "sdk.doomed(") {
		t.Errorf("error %v, output:\n%s", err, out)
	}
	got := ""
	for len(sink.bodies) > 0 {
		got += (<-sink.bodies).body
	}
	for _, want := range []string{"doomed", "exception.stacktrace", "doom", "guanlan.task.duration"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q was not sent", want)
		}
	}
}

//go:noinline
func doomed() { panic("doom") }

func BenchmarkTask(b *testing.B) {
	s, sink := start(b, Options{Sampler: core.NewByThreshold(0)})
	go func() {
		for range sink.bodies {
		}
	}()
	_ = s
	c := Capture(context.Background())
	b.Run("carrier", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = c.Run(context.Background(), "n", func(context.Context) error { return nil })
		}
	})
	b.Run("pool", func(b *testing.B) {
		p := NewPool(PoolOptions{Name: "p"})
		b.ReportAllocs()
		for b.Loop() {
			_ = p.Submit(context.Background(), "n", func(context.Context) error { return nil })
		}
		_ = p.Close(context.Background())
	})
}
