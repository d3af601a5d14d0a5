package prom

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/metric"
)

// slow takes seconds; the engine looks at the context every few milliseconds.
const slow = "sum_over_time(sum_over_time(vector(1)[1m:1s])[20d:1s])"

func TestQueriesEnd(t *testing.T) {
	t.Run("by timeout", func(t *testing.T) {
		f := serveStore(t, metric.Options{Dir: t.TempDir(), QueryTimeout: 50 * time.Millisecond})
		code, h, body := f.get(t, "/api/v1/query?query="+url.QueryEscape(slow))
		if code != 503 || !strings.Contains(body, `"errorType":"timeout"`) || h.Get("Retry-After") == "" {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("by parameter", func(t *testing.T) {
		f := serve(t)
		code, _, body := f.get(t, "/api/v1/query?timeout=50ms&query="+url.QueryEscape(slow))
		if code != 503 || !strings.Contains(body, `"errorType":"timeout"`) {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("by memory", func(t *testing.T) {
		f := serveStore(t, metric.Options{Dir: t.TempDir(), QueryMemory: 1 << 20})
		code, _, body := f.get(t, "/api/v1/query?query="+url.QueryEscape("sum_over_time(vector(1)[1d:1s])"))
		if code != 422 || !strings.Contains(body, "too many samples") {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("with the client", func(t *testing.T) {
		f := serve(t)
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/api/v1/query?query="+url.QueryEscape(slow), nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if resp, err := http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		running := func(n int) {
			t.Helper()
			for deadline := time.Now().Add(time.Minute); f.store.Stats().QueriesRunning != n; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d queries run, want %d", f.store.Stats().QueriesRunning, n)
				}
			}
		}
		running(1)
		cancel()
		running(0)
		<-done
	})
}

func TestRequestsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &API{opts: Options{MaxBody: 1, Timeout: time.Minute}}
		l := newLimiter(1)
		inside, leave := make(chan bool), make(chan bool)
		h := a.guard(l, func(w http.ResponseWriter, _ *http.Request, _ store.Tenant) {
			inside <- true
			<-leave
		})
		first := httptest.NewRecorder()
		go h.ServeHTTP(first, httptest.NewRequest(http.MethodGet, "/", nil))
		<-inside
		late := httptest.NewRecorder()
		began := time.Now()
		a.guard(l, nil).ServeHTTP(late, withTenant("0"))
		if late.Code != http.StatusServiceUnavailable || late.Header().Get("Retry-After") == "" || time.Since(began) != patience {
			t.Errorf("no turn: got %d after %v", late.Code, time.Since(began))
		}
		leave <- true
		synctest.Wait()
		go h.ServeHTTP(httptest.NewRecorder(), withTenant("0"))
		<-inside // the turn was given back
		leave <- true
	})
}

func withTenant(id string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set(tenantHeader, id)
	return r
}
