package sdk

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// policyServer answers with what it is told to.
type policyServer struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  []*http.Request
}

func newPolicyServer(t *testing.T, text string) *policyServer {
	s := &policyServer{}
	s.say(text)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, r)
		s.answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *policyServer) do(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.asked = f, nil
}

func (s *policyServer) say(text string) {
	s.do(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

// questions waits until so many questions were asked since the answer changed.
func (s *policyServer) questions(t *testing.T, n int) []*http.Request {
	t.Helper()
	var asked []*http.Request
	untilTrue(t, "questions", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		asked = s.asked
		return len(asked) >= n
	})
	return asked
}

func untilTrue(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}

// pollPolicy asks a server every millisecond until the test ends; errors come out of
// the channel.
func pollPolicy(t *testing.T, s *policyServer, o remoteOptions) (*core.Adaptive, chan error) {
	t.Helper()
	u, err := url.Parse(s.URL + "/sampling?service=shop")
	if err != nil {
		t.Fatal(err)
	}
	o.url, o.every = u, time.Millisecond
	a, errs := core.NewAdaptive(core.Fixed(0.001), time.Now()), make(chan error, 100)
	ctx, stop := context.WithCancel(t.Context())
	r := newRemotePolicy(o, a, func(err error) { errs <- err })
	done := make(chan struct{})
	go func() { r.loop(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return a, errs
}

func nearShare(got, want float64) bool { return math.Abs(got-want) <= want/1000 }

func TestPolicyChangesWhileRunning(t *testing.T) {
	s := newPolicyServer(t, `{"probabilisticSampling":{"samplingRate":0.5}}`)
	a, errs := pollPolicy(t, s, remoteOptions{tenant: "7"})
	untilTrue(t, "share of one half", func() bool { return nearShare(a.Share(), 0.5) })
	s.say(`{"probabilisticSampling":{"samplingRate":0.25}}`)
	untilTrue(t, "share of a quarter", func() bool { return nearShare(a.Share(), 0.25) })
	for name, answer := range map[string]http.HandlerFunc{
		"garbage": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"probabilisticSampling":{"samplingRate":7}}`))
		},
		"refusal": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusFound)
		},
		"flood": func(w http.ResponseWriter, _ *http.Request) {
			for range 2 * maxStrategy / 1024 {
				_, _ = w.Write([]byte(strings.Repeat(" ", 1024)))
			}
		},
		"nothing": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		s.do(answer)
		s.questions(t, 5)
		select {
		case err := <-errs:
			if !strings.Contains(err.Error(), "the last one holds on") {
				t.Errorf("%s: error %v", name, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is not told", name)
		}
		if !nearShare(a.Share(), 0.25) {
			t.Errorf("%s: the share is %v", name, a.Share())
		}
		if len(errs) > 0 {
			t.Errorf("%s is told again: %v", name, <-errs)
		}
		s.say(`{"probabilisticSampling":{"samplingRate":0.25}}`)
		s.questions(t, 3)
	}
	if got := s.questions(t, 1)[0]; got.Header.Get(tenantHeader) != "7" || got.URL.Query().Get("service") != "shop" {
		t.Errorf("asked %v with %v", got.URL, got.Header)
	}
}

func TestPolicyIsAskedForWithItsTag(t *testing.T) {
	s := newPolicyServer(t, "")
	tag := func(tag, text string) {
		s.do(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", tag)
			if r.Header.Get("If-None-Match") == tag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write([]byte(text))
		})
	}
	tag(`"1"`, `{"probabilisticSampling":{"samplingRate":0.5}}`)
	a, _ := pollPolicy(t, s, remoteOptions{})
	untilTrue(t, "tag", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.asked) > 0 && s.asked[len(s.asked)-1].Header.Get("If-None-Match") == `"1"`
	})
	if !nearShare(a.Share(), 0.5) {
		t.Errorf("share %v", a.Share())
	}
	tag(`"2"`, `{"probabilisticSampling":{"samplingRate":0.25}}`)
	untilTrue(t, "share of a quarter", func() bool { return nearShare(a.Share(), 0.25) })
}

// An SDK that polls a server that hangs still stops at once, and leaves no
// goroutine.
func TestShutdownEndsPolling(t *testing.T) {
	sink := newSink(t)
	hang := make(chan struct{})
	s := newPolicyServer(t, `{"probabilisticSampling":{"samplingRate":0.5}}`)
	before := runtime.NumGoroutine()
	t.Setenv("OTEL_TRACES_SAMPLER", "")
	t.Setenv("GUANLAN_ENDPOINT", s.URL)
	sdk, err := Start(t.Context(), Options{Endpoint: sink.URL, ServiceName: "shop", Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	untilTrue(t, "policy", func() bool { return nearShare(sdk.adaptive.Share(), 0.5) })
	if q := s.questions(t, 1)[0].URL; q.Path != "/sampling" || q.Query().Get("service") != "shop" || q.Query().Get("policy") != "full" {
		t.Errorf("asked %v", q)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{}, 100)
	s.do(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	r := newRemotePolicy(remoteOptions{url: u, every: time.Millisecond}, sdk.adaptive, func(err error) { t.Errorf("told at the end: %v", err) })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.loop(ctx); close(done) }()
	<-entered
	stop()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a question that hangs holds up the end")
	}
	close(hang)
	if err := sdk.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.CloseClientConnections()
	sink.CloseClientConnections()
	untilTrue(t, "end of all goroutines", func() bool { return runtime.NumGoroutine() <= before+1 })
}

func TestRemoteSamplingOfTheEnvironment(t *testing.T) {
	f := func(env map[string]string, opts Options, wantURL string, wantEvery time.Duration, wantShare float64, wantErr string) {
		t.Helper()
		c, err := configure(opts, func(k string) string { return env[k] })
		got, every := "", time.Duration(0)
		if c.remote != nil {
			got, every = c.remote.url.String(), c.remote.every
		}
		if got != wantURL || every != wantEvery {
			t.Errorf("%v: asks %q every %v, want %q every %v", env, got, every, wantURL, wantEvery)
		}
		if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
			t.Errorf("%v: error %v, want %q", env, err, wantErr)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: tells a password: %v", env, err)
		}
		if a, ok := c.sampler.(*core.Adaptive); !ok || !nearShare(a.Share(), wantShare) {
			t.Errorf("%v: begins with %+v, want a share of %v", env, c.sampler, wantShare)
		}
	}
	shop := Options{ServiceName: "a shop"}
	const query = "?policy=full&service=a+shop"
	type env = map[string]string
	f(env{}, shop, "", 0, 1, "")
	f(env{"GUANLAN_ENDPOINT": "http://g:4390"}, shop, "http://g:4390/sampling"+query, 10*time.Second, 1, "")
	f(env{"GUANLAN_ENDPOINT": "127.0.0.1:4390"}, shop, "http://127.0.0.1:4390/sampling"+query, 10*time.Second, 1, "")
	f(env{"GUANLAN_ENDPOINT": "https://u:secret@g/guanlan/"}, shop, "https://u:secret@g/guanlan/sampling"+query, 10*time.Second, 1, "")
	f(env{"GUANLAN_ENDPOINT": "http://u:secret@/", "OTEL_TRACES_SAMPLER": ""}, shop, "", 0, 1, "GUANLAN_ENDPOINT: want the address")
	f(env{"GUANLAN_ENDPOINT": "http://g", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod"}, shop, "http://g/sampling?deployment.environment.name=prod&policy=full&service=a+shop", 10*time.Second, 1, "")
	f(env{"GUANLAN_ENDPOINT": "http://g", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=old"}, shop, "http://g/sampling?deployment.environment.name=old&policy=full&service=a+shop", 10*time.Second, 1, "")
	f(env{"OTEL_TRACES_SAMPLER": "jaeger_remote"}, shop, "http://localhost:5778/sampling"+query, time.Minute, 0.001, "")
	f(env{"OTEL_TRACES_SAMPLER": "parentbased_jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": "endpoint=http://j:14250, pollingIntervalMs=5000, initialSamplingRate=0.25", "GUANLAN_ENDPOINT": "http://g"}, shop,
		"http://j:14250/sampling"+query, 5*time.Second, 0.25, "")
	f(env{"OTEL_TRACES_SAMPLER": "jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": "endpoint=http://j:5778/own/path?x=y,pollingIntervalMs=1"}, shop, "http://j:5778/own/path?policy=full&service=a+shop&x=y", leastPoll, 0.001, "")
	f(env{"OTEL_TRACES_SAMPLER": "jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": "endpoint=secret,pollingIntervalMs=-1,initialSamplingRate=2,other=1"}, shop, "", 0, 0.001, "pollingIntervalMs in milliseconds")
	if c, err := configure(Options{Sampler: core.NewByThreshold(1)}, func(k string) string { return env{"GUANLAN_ENDPOINT": "http://g"}[k] }); err != nil || c.remote != nil {
		t.Errorf("the program's own sampler is replaced: %+v, error %v", c.remote, err)
	}
	if c, err := configure(Options{}, func(k string) string {
		return env{"GUANLAN_ENDPOINT": "http://g", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret,x-scope-orgid=12"}[k]
	}); err != nil || c.remote.tenant != "12" {
		t.Errorf("tenant %+v, error %v", c.remote, err)
	}
}

// Weights hold for attributes and for the baggage, which then is an attribute
// too, and only where a trace begins.
func TestWeightsOfBaggage(t *testing.T) {
	policy := core.Policy{Base: 0.0001, Few: -1, Weights: map[string]map[string]float64{"tenant.tier": {"gold": 10_000}}}
	s, sink := start(t, Options{Sampler: core.NewAdaptive(policy, time.Now())})
	tier := func(v string) context.Context {
		m, err := baggage.NewMember("tenant.tier", v)
		if err != nil {
			t.Fatal(err)
		}
		b, err := baggage.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return baggage.ContextWithBaggage(t.Context(), b)
	}
	tracer := s.TracerProvider().Tracer("t")
	_, gold := tracer.Start(tier("gold"), "gold")
	_, attr := tracer.Start(t.Context(), "attribute", trace.WithAttributes(attribute.String("tenant.tier", "gold")))
	if !gold.IsRecording() || !attr.IsRecording() {
		t.Errorf("all of gold is kept: by baggage %v, by attribute %v", gold.IsRecording(), attr.IsRecording())
	}
	gold.End()
	attr.End()
	kept := 0
	for range 100 {
		if _, free := tracer.Start(tier("free"), "free"); free.IsRecording() {
			kept++
		}
	}
	if kept > 5 {
		t.Errorf("%d of 100 without a weight are kept", kept)
	}
	h := s.HTTPServer().Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Baggage", "tenant.tier=gold")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if got := sent(t, s, sink)["/v1/traces"]; strings.Count(got, "tenant.tier") != 3 || strings.Count(got, "gold") < 3 {
		t.Errorf("sent %q", got)
	}
}

// An HTTP server knows an operation of the policy before its route.
func TestCriticalRequests(t *testing.T) {
	policy := core.Policy{Base: 0.0001, Few: -1, Critical: []string{"GET /orders/{id}"}, CriticalFloor: 1}
	s, sink := start(t, Options{Sampler: core.NewAdaptive(policy, time.Now())})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /other", func(http.ResponseWriter, *http.Request) {})
	h := s.HTTPServer().Handler(mux)
	for range 20 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/orders/42", nil))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/other", nil))
	}
	got := sent(t, s, sink)["/v1/traces"]
	if n := strings.Count(got, "\x2a\x10GET /orders/{id}"); n != 20 {
		t.Errorf("%d critical requests are kept, want 20", n)
	}
	if n := strings.Count(got, "GET /other"); n > 2 {
		t.Errorf("%d others are kept", n)
	}
}
