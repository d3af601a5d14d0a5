package sdk

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
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

// The root module serves this very file; house_test.go compares the copies.
func TestParseStrategyOfGuanlan(t *testing.T) {
	text, err := os.ReadFile("testdata/sampling.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseStrategy(text)
	if err != nil {
		t.Fatal(err)
	}
	want := core.Policy{
		Base: 0.05, Few: 10, Least: 0.001, Most: 0.9, Busy: 2000, BusyFloor: 0.2, Errors: 0.01, ErrorBoost: 5, AllErrors: 0.1,
		AllP99: 500 * time.Millisecond, Critical: []string{"POST /pay", "GET /orders/{id}"}, CriticalFloor: 0.25,
		Operations: map[string]float64{"GET /healthz": 0.001}, Weights: map[string]map[string]float64{"tenant.tier": {"free": 0.5, "gold": 20}},
		Window: 2 * time.Second, Smoothing: 0.5,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for v, i := reflect.ValueOf(want), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("the example leaves %s out", v.Type().Field(i).Name)
		}
	}
}

func TestParseStrategy(t *testing.T) {
	f := func(text string, want core.Policy) {
		t.Helper()
		got, err := parseStrategy([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, error %v\nwant %+v", text, got, err, want)
		}
	}
	// As Jaeger writes them; older ones have numbers for the type.
	f(`{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5}}`, core.Fixed(0.5))
	f(`{"strategyType":0,"probabilisticSampling":{"samplingRate":0}}`, core.Fixed(0))
	f(`{"probabilisticSampling":{}}`, core.Fixed(0))
	f(`{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":7}}`, core.PerSecond(7))
	f(`{"guanlan":{}}`, core.Policy{})
	f(`{"guanlan":{"few":0,"of a later version":1}}`, core.Policy{Few: -1})
	own := core.Fixed(0.2)
	own.Operations = map[string]float64{"a": 0.5, "b": 0}
	f(`{"operationSampling":{"defaultSamplingProbability":0.2,"perOperationStrategies":[{"operation":"a","probabilisticSampling":{"samplingRate":0.5}},{"operation":"b","probabilisticSampling":{}}]}}`, own)
	own = core.Fixed(0.2)
	own.Operations, own.Few, own.Most, own.Errors = map[string]float64{}, 2, 1, 2
	f(`{"probabilisticSampling":{"samplingRate":0.2},"operationSampling":{"defaultLowerBoundTracesPerSecond":2}}`, own)

	bad := func(text, want string) {
		t.Helper()
		if p, err := parseStrategy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, error %v, want one with %q", text, p, err, want)
		}
	}
	bad(``, "decode sampling strategy")
	bad(`<html>`, "decode sampling strategy")
	bad(`{}`, "unknown kind")
	bad(`null`, "unknown kind")
	bad(`{"probabilisticSampling":{"samplingRate":1.5}}`, "samplingRate is 1.5: want a share from 0 to 1")
	bad(`{"probabilisticSampling":{"samplingRate":-1}}`, "samplingRate")
	bad(`{"rateLimitingSampling":{}}`, "maxTracesPerSecond")
	bad(`{"rateLimitingSampling":{"maxTracesPerSecond":-1}}`, "maxTracesPerSecond")
	bad(`{"operationSampling":{"perOperationStrategies":[{"operation":"a"}]}}`, `operation "a"`)
	bad(`{"operationSampling":{"defaultSamplingProbability":2}}`, "defaultSamplingProbability")
	bad(`{"operationSampling":{"defaultLowerBoundTracesPerSecond":-2}}`, "defaultLowerBound")
	bad(`{"guanlan":{"base":2}}`, "base is 2")
	bad(`{"guanlan":{"base":"much"}}`, "decode")
	bad(`{"guanlan":{"busy":-1}}`, "busy is -1")
	bad(`{"guanlan":{"operations":{"x":3}}}`, `operations["x"]`)
	bad(`{"guanlan":{"weights":{"x":{"y":-3}}}}`, `weights["x"]["y"]`)
	bad(`{"guanlan":{"critical":["`+strings.Repeat(`x","`, maxNames+1)+`"]}}`, "4096 at most")
}

// Whatever is answered, it is a policy that a sampler can go by, or an error.
func FuzzParseStrategy(f *testing.F) {
	if text, err := os.ReadFile("testdata/sampling.json"); err == nil {
		f.Add(text)
	}
	f.Add([]byte(`{"strategyType":1,"rateLimitingSampling":{"maxTracesPerSecond":7}}`))
	f.Add([]byte(`{"guanlan":{"base":1e-300,"least":1e-300,"most":1e-300,"few":1e300,"windowMs":1e300,"allP99Ms":1e-9,"weights":{"":{"":1e308}},"operations":{"GET /{":1,"GET /{...}/{$}":0}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseStrategy(text)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		a := core.NewAdaptive(p, time.Unix(0, 0))
		if w := a.Window(); w < 100*time.Millisecond || w > time.Hour {
			t.Errorf("window %v", w)
		}
		for i := range 30 {
			a.Observe(time.Second, i%2 == 0)
		}
		a.Turn(time.Unix(1, 0))
		if s := a.Share(); !(s >= 0 && s <= 1) {
			t.Errorf("share %v of %+v", s, p)
		}
		sc := core.SpanContext{TraceID: core.NewTraceID()}
		a.Decide(&sc, a.Operation("GET", "/a/b"), core.KindServer, []core.Attr{core.String("a", "b")})
	})
}

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
	until(t, "questions", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		asked = s.asked
		return len(asked) >= n
	})
	return asked
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}

// poll asks a server every millisecond until the test ends; errors come out of
// the channel.
func poll(t *testing.T, s *policyServer, o remoteOptions) (*core.Adaptive, chan error) {
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

func near(got, want float64) bool { return math.Abs(got-want) <= want/1000 }

func TestPolicyChangesWhileRunning(t *testing.T) {
	s := newPolicyServer(t, `{"probabilisticSampling":{"samplingRate":0.5}}`)
	a, errs := poll(t, s, remoteOptions{tenant: "7"})
	until(t, "share of one half", func() bool { return near(a.Share(), 0.5) })
	s.say(`{"probabilisticSampling":{"samplingRate":0.25}}`)
	until(t, "share of a quarter", func() bool { return near(a.Share(), 0.25) })
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
		case <-time.After(10 * time.Second):
			t.Fatalf("%s is not told", name)
		}
		if !near(a.Share(), 0.25) {
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
	a, _ := poll(t, s, remoteOptions{})
	until(t, "tag", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.asked) > 0 && s.asked[len(s.asked)-1].Header.Get("If-None-Match") == `"1"`
	})
	if !near(a.Share(), 0.5) {
		t.Errorf("share %v", a.Share())
	}
	tag(`"2"`, `{"probabilisticSampling":{"samplingRate":0.25}}`)
	until(t, "share of a quarter", func() bool { return near(a.Share(), 0.25) })
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
	until(t, "policy", func() bool { return near(sdk.adaptive.Share(), 0.5) })
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
	case <-time.After(2 * time.Second):
		t.Fatal("a question that hangs holds up the end")
	}
	close(hang)
	if err := sdk.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.CloseClientConnections()
	sink.CloseClientConnections()
	until(t, "end of all goroutines", func() bool { return runtime.NumGoroutine() <= before+1 })
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
		if a, ok := c.sampler.(*core.Adaptive); !ok || !near(a.Share(), wantShare) {
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
