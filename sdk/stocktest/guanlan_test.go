package stocktest

import (
	"context"
	"encoding/json"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// guanlan is the real binary, running.
type guanlan struct {
	api, otlp string // URLs
}

// startGuanlan runs bin/guanlan until the test ends.
func startGuanlan(t *testing.T) *guanlan {
	t.Helper()
	path, err := filepath.Abs("../../bin/guanlan")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed: run make build first", path)
		}
		t.Skipf("%s is not there: run make build first", path)
	}
	addr := freeAddrs(t, 3)
	cmd := exec.Command(path, "up", "--data", t.TempDir())
	cmd.Env = append(os.Environ(), "GUANLAN_ENDPOINT="+addr[0], "GUANLAN_OTLP_HTTP="+addr[1], "GUANLAN_OTLP_GRPC="+addr[2])
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("guanlan ended with %v and wrote:\n%s", err, text)
		}
	})
	g := &guanlan{api: "http://" + addr[0], otlp: "http://" + addr[1]}
	eventually(t, "guanlan answers", func() bool {
		for _, a := range addr[:2] {
			conn, err := net.Dial("tcp", a)
			if err != nil {
				return false
			}
			conn.Close()
		}
		return true
	})
	return g
}

func freeAddrs(t *testing.T, n int) (addrs []string) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// eventually polls: another process has its own pace.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen in 90 s: " + what)
		}
	}
}

// value evaluates PromQL to one number, 0 when there is none.
func (g *guanlan) value(t *testing.T, promQL string) float64 {
	t.Helper()
	res, err := http.Get(g.api + "/api/v1/query?query=" + url.QueryEscape(promQL))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Data.Result) == 0 {
		return 0
	}
	v, err := strconv.ParseFloat(answer.Data.Result[0].Value[1].(string), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What Guanlan counts from the service's own metric is what was asked of it,
// what it counts from the spans that were kept is that within a per cent, and of
// failed requests not one is missing: while the share that is kept changes.
func TestCountsAreRight(t *testing.T) {
	g := startGuanlan(t)
	const requests, failures = 400_000, 400
	s, err := sdk.Start(t.Context(), sdk.Options{
		ServiceName: "counted", Endpoint: g.otlp, Failed: func(err error) { t.Error(err) },
		// The test is over in seconds, and offers more than any policy of
		// use would keep much of.
		Sampler: core.NewAdaptive(core.Policy{Base: 0.5, Busy: 100_000, BusyFloor: 0.4, Window: 50 * time.Millisecond}, time.Now()),
	})
	if err != nil {
		t.Fatal(err)
	}
	h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fails" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	shares := map[float64]bool{}
	for i := range requests {
		path := "/works"
		if i%(requests/failures) == 0 {
			path = "/fails"
		}
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
		// As fast as it can, the service would be quicker than what it sends.
		if i%2000 == 0 {
			shares[math.Round(100*s.SamplingShare())] = true
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if len(shares) < 3 {
		t.Errorf("the share that is kept was %v all along", shares)
	}
	stats := s.Stats().Spans
	t.Logf("%d of %d spans were kept, at shares of %v %%", stats.Sent, requests, shares)
	if stats.Sent != stats.Added {
		t.Fatalf("spans were lost: %+v", stats)
	}
	eventually(t, "the service's own count is the number of requests", func() bool {
		return g.value(t, `sum(http_server_request_duration_seconds_count{job="counted"})`) == requests
	})
	var scaled float64
	since := time.Now() // how long scaled has been what it is
	eventually(t, "every failure is counted once, and nothing more comes", func() bool {
		if v := g.value(t, `sum(traces_span_metrics_calls_total{service_name="counted",span_kind="SPAN_KIND_SERVER"})`); v != scaled {
			scaled, since = v, time.Now()
		}
		return g.value(t, `sum(traces_span_metrics_calls_total{service_name="counted",status_code="STATUS_CODE_ERROR"})`) == failures && time.Since(since) > 3*time.Second
	})
	if off := math.Abs(scaled-requests) / requests; off > 0.01 {
		t.Errorf("from kept spans there were %.0f requests, %.2f %% off", scaled, 100*off)
	}
	t.Logf("counted from kept spans: %.0f of %d", scaled, requests)
}
