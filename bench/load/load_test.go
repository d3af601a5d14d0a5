package load

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/guanlan-io/guanlan/bench/gen"
)

// receiver is an OTLP receiver as others build it.
type receiver struct {
	ptraceotlp.UnimplementedGRPCServer
	spans    atomic.Int64
	busy     atomic.Int64 // answers that many requests with Unavailable
	rejected int64        // of each request
}

func (r *receiver) Export(_ context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	response := ptraceotlp.NewExportResponse()
	if r.busy.Add(-1) >= 0 {
		return response, status.Error(codes.Unavailable, "busy")
	}
	r.spans.Add(int64(request.Traces().SpanCount()))
	if r.rejected > 0 {
		response.PartialSuccess().SetErrorMessage("too old")
		response.PartialSuccess().SetRejectedSpans(r.rejected)
	}
	return response, nil
}

func (r *receiver) listen(t *testing.T) *OTLP {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(server, r)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	o, err := DialOTLP(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func TestFullCountsWhatAnOTLPReceiverTakes(t *testing.T) {
	f := func(name string, r *receiver, acked, rejected int64, retried bool) {
		t.Helper()
		o := r.listen(t)
		plan := gen.NewPlan(1, time.Unix(1_800_000_000, 0), time.Unix(1_800_003_600, 0), 20_000, 500)
		got, err := Full(t.Context(), 3, plan.Batches(), func(int) Make {
			m := plan.Maker()
			return func(i int) ([]byte, int) { return m.Spans(i, gen.Spans), plan.SpansPerBatch() }
		}, o.Traces, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.Acked != acked || got.Rejected != rejected || (got.Retries > 0) != retried {
			t.Errorf("%s: %d acknowledged, %d rejected, %d retries; want %d, %d, %v", name, got.Acked, got.Rejected, got.Retries, acked, rejected, retried)
		}
		if n := r.spans.Load(); n != 20_000 {
			t.Errorf("%s: the receiver has %d spans, want 20000", name, n)
		}
		if len(got.Latencies) != plan.Batches() {
			t.Errorf("%s: %d latencies of %d requests", name, len(got.Latencies), plan.Batches())
		}
	}
	f("all", &receiver{}, 20_000, 0, false)
	f("partial success", &receiver{rejected: 3}, 20_000-3*40, 3*40, false)
	busy := &receiver{}
	busy.busy.Store(2)
	f("busy at first", busy, 20_000, 0, true)
}

func TestFullStopsAtAnErrorThatStays(t *testing.T) {
	refuse := errors.New("no")
	got, err := Full(t.Context(), 2, 1000, func(int) Make { return func(int) ([]byte, int) { return nil, 1 } },
		func(context.Context, []byte) (int, error) { return 0, refuse }, nil)
	if !errors.Is(err, refuse) || got.Acked != 0 {
		t.Errorf("%d acknowledged, error %v; want 0, %v", got.Acked, err, refuse)
	}
}

func TestPacedLatencyRunsFromWhenARequestWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// One lane, and the first request takes as long as ten intervals:
		// those behind it must show the wait.
		const interval = 10 * time.Millisecond
		first := true
		got, err := Paced(t.Context(), interval, 20*interval, 1, func(int) Make {
			return func(int) ([]byte, int) { return nil, 5 }
		}, func(context.Context, []byte) (int, error) {
			if first {
				time.Sleep(10 * interval)
			}
			first = false
			return 0, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got.Acked != 20*5 || got.Wall != 19*interval {
			t.Errorf("%d acknowledged in %v, want 100 in %v", got.Acked, got.Wall, 19*interval)
		}
		var want Latencies
		for i := range 20 {
			want = append(want, max(0, time.Duration(10-i)*interval))
		}
		if !slices.Equal(got.Latencies, want) {
			t.Errorf("latencies %v, want %v", got.Latencies, want)
		}
	})
}

func TestPacedEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		sent := 0
		got, err := Paced(ctx, time.Millisecond, time.Hour, 1, func(int) Make {
			return func(int) ([]byte, int) { return nil, 1 }
		}, func(ctx context.Context, _ []byte) (int, error) {
			if sent++; sent == 20 {
				cancel()
			}
			// What is under way is still acknowledged.
			return 0, ctx.Err()
		})
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
		if got.Acked != int64(sent) || sent < 20 || sent > 22 {
			t.Errorf("%d acknowledged of %d sent, want all of about 20", got.Acked, sent)
		}
	})
}

func TestPostTellsBusyFromRefused(t *testing.T) {
	f := func(code int, busy, ok bool) {
		t.Helper()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Test") != "1" {
				t.Error("the header is missing")
			}
			w.WriteHeader(code)
		}))
		defer s.Close()
		_, err := Post(s.URL, http.Header{"X-Test": {"1"}})(t.Context(), []byte("x"))
		if (err == nil) != ok || errors.Is(err, ErrBusy) != busy {
			t.Errorf("status %d: error %v", code, err)
		}
	}
	f(204, false, true)
	f(200, false, true)
	f(429, true, false)
	f(503, true, false)
	f(400, false, false)
}

func TestQuantile(t *testing.T) {
	var l Latencies
	for i := range 100 {
		l = append(l, time.Duration(100-i))
	}
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0.5, 50}, {0.95, 95}, {0.99, 99}, {1, 100}, {0, 1}} {
		if got := l.Quantile(c.q); got != c.want {
			t.Errorf("quantile %v is %d, want %d", c.q, got, c.want)
		}
	}
	if got := Latencies(nil).Quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
	if l[0] != 100 {
		t.Error("Quantile changed the order")
	}
}
