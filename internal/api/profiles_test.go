package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

// profileRecorder notes what it is asked.
type profileRecorder struct {
	recorder
	body []byte
}

func (r *profileRecorder) Profiles(_ context.Context, w query.Window) (*query.ProfileList, error) {
	return ask[query.ProfileList](&r.recorder, "profiles %v", w)
}

func (r *profileRecorder) Flame(_ context.Context, w query.Window, kind string, base *query.Window) (*query.Flame, error) {
	if base == nil {
		return ask[query.Flame](&r.recorder, "flame %v %s", w, kind)
	}
	return ask[query.Flame](&r.recorder, "flame %v %s base %v", w, kind, *base)
}

func (r *profileRecorder) Merge(_ context.Context, w query.Window, kind string, out io.Writer) error {
	p, err := ask[profile.Profile](&r.recorder, "merge %v %s", w, kind)
	if err != nil {
		return err
	}
	p.SampleType = []*profile.ValueType{{Type: "cpu", Unit: "nanoseconds"}}
	return p.Write(out)
}

func (r *profileRecorder) Add(ctx context.Context, body []byte, kind string, resource map[string]string) (*query.ProfileAdded, error) {
	r.body = body
	return ask[query.ProfileAdded](&r.recorder, "add %v %q %v of %d bytes", query.TenantOf(ctx), kind, resource, len(r.body))
}

// The questions of completion come by the engine.
func (r *profileRecorder) Fields(context.Context, query.Window) (*query.FieldList, error) {
	return nil, errors.ErrUnsupported
}

func (r *profileRecorder) Values(context.Context, query.Window, string, string, int) (*query.ValueList, error) {
	return nil, errors.ErrUnsupported
}

func TestProfiles(t *testing.T) {
	r := &profileRecorder{}
	s := NewServer(ServerOptions{Doors: Doors{API: New(Options{Profiles: r, Now: func() time.Time { return noon }})}})
	do := func(method, target, body string) *httptest.ResponseRecorder {
		t.Helper()
		r.asked = ""
		w := httptest.NewRecorder()
		req := httptest.NewRequest(method, target, strings.NewReader(body))
		req.Header.Set(TenantHeader, "4")
		s.http.Handler.ServeHTTP(w, req)
		return w
	}
	f := func(target, want string) {
		t.Helper()
		if w := do(http.MethodGet, target, ""); w.Code != http.StatusOK || r.asked != want {
			t.Errorf("%s: %d %s\ngot  %s\nwant %s", target, w.Code, w.Body, r.asked, want)
		}
	}
	f("/api/v1/profiles", `profiles [-1h0m0s 0s ""]`)
	f("/api/v1/profiles?from=now-2h&to=now-1h&filter=a%3Db", `profiles [-2h0m0s -1h0m0s "a=b"]`)
	f("/api/v1/profiles/flame", `flame [-1h0m0s 0s ""] cpu`)
	f("/api/v1/profiles/flame?type=heap&filter=a%3Db&base_from=now-2h", `flame [-1h0m0s 0s "a=b"] heap base [-2h0m0s 0s "a=b"]`)
	f("/api/v1/profiles/flame?filter=a%3Db&base_filter=a%3Dc", `flame [-1h0m0s 0s "a=b"] cpu base [-1h0m0s 0s "a=c"]`)
	f("/api/v1/profiles/flame?filter=a%3Db&base_filter=*", `flame [-1h0m0s 0s "a=b"] cpu base [-1h0m0s 0s ""]`)
	f("/api/v1/profiles/merge?type=off_cpu&from=now-5m", `merge [-5m0s 0s ""] off_cpu`)
	f("/api/v1/profiles/merge?seconds=30", `merge [-30s 0s ""] cpu`)

	w := do(http.MethodGet, "/api/v1/profiles/merge", "")
	if p, err := profile.Parse(w.Body); err != nil || p.SampleType[0].Type != "cpu" || w.Header().Get("Content-Type") != "application/octet-stream" {
		t.Errorf("merged: %v, %v, %v", p, err, w.Header())
	}
	w = do(http.MethodPost, "/api/v1/profiles?type=heap&service.name=shop&k8s.pod.name=p", "bytes")
	if want := `add 4 "heap" map[k8s.pod.name:p service.name:shop] of 5 bytes`; w.Code != http.StatusOK || r.asked != want || string(r.body) != "bytes" {
		t.Errorf("add: %d %s, asked %s", w.Code, w.Body, r.asked)
	}

	// What is wrong is said, and where.
	wrong := func(method, target, body string, status int, words string) {
		t.Helper()
		w := do(method, target, body)
		var problem struct{ Title string }
		if w.Code != status || !strings.Contains(w.Body.String(), words) || json.Unmarshal(w.Body.Bytes(), &problem) != nil ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %v %s, want %d with %q", target, w.Code, w.Header(), w.Body, status, words)
		}
	}
	wrong(http.MethodGet, "/api/v1/profiles?from=then", "", 422, "query.from")
	wrong(http.MethodGet, "/api/v1/profiles/flame?base_to=then", "", 422, "query.base_to")
	wrong(http.MethodGet, "/api/v1/profiles?to=now-1h&from=now", "", 422, "not before to")
	wrong(http.MethodGet, "/api/v1/profiles?start=now", "", 422, "start")
	wrong(http.MethodPost, "/api/v1/profiles?a=1&a=2", "x", 422, "given more than once")
	wrong(http.MethodPost, "/api/v1/profiles", strings.Repeat("x", maxProfileBody+1), 413, "32 MiB")
	wrong(http.MethodDelete, "/api/v1/profiles", "", 404, "no route")
	r.fail = fmt.Errorf("disk nearly full: %w", store.ErrUnavailable)
	wrong(http.MethodPost, "/api/v1/profiles", "x", 503, "try again")
	if got := do(http.MethodPost, "/api/v1/profiles", "x").Header().Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q", got)
	}
	r.fail = fmt.Errorf("no profile: %w", store.ErrNotFound)
	wrong(http.MethodGet, "/api/v1/profiles/merge", "", 404, "no profile")

	s = NewServer(ServerOptions{Doors: Doors{API: New(Options{})}})
	wrong(http.MethodPost, "/api/v1/profiles", "x", 404, "keeps no profiles")
	// The others below /api/v1/ are not ours.
	prometheus := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "prometheus ", r.URL.Path) })
	s = NewServer(ServerOptions{Doors: Doors{API: New(Options{}), Prometheus: prometheus}})
	if diff := cmp.Diff("prometheus /api/v1/query", do(http.MethodGet, "/api/v1/query", "").Body.String()); diff != "" {
		t.Error(diff)
	}
}
