package sdk

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// asked is what a handler finds about a request.
type asked struct {
	request, biz string
	sc           trace.SpanContext
}

func ask(ctx context.Context) asked {
	return asked{RequestID(ctx), BizID(ctx), trace.SpanContextFromContext(ctx)}
}

func TestRequestsHaveIDs(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	var in asked
	h := s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { in = ask(r.Context()) }))
	serve := func(header http.Header) http.Header {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header = header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result().Header
	}
	for name, test := range map[string]struct {
		header       http.Header
		request, biz string // "" for request: that of the trace
		trace        string // "" for any
	}{
		"nothing came":     {http.Header{}, "", "", ""},
		"both":             {http.Header{"X-Request-Id": {"req-1"}, "X-Biz-Id": {"order:4711"}}, "req-1", "order:4711", ""},
		"a trace":          {http.Header{"Traceparent": {someParent}}, "", "", someTrace},
		"a trace and id":   {http.Header{"Traceparent": {someParent}, "X-Request-Id": {"5bf92f3577b34da6a3ce929d0e0e4736"}}, "5bf92f3577b34da6a3ce929d0e0e4736", "", someTrace},
		"id of a trace":    {http.Header{"X-Request-Id": {"5bf92f3577b34da6a3ce929d0e0e4736"}}, "5bf92f3577b34da6a3ce929d0e0e4736", "", "5bf92f3577b34da6a3ce929d0e0e4736"},
		"malformed":        {http.Header{"X-Request-Id": {"a b"}, "X-Biz-Id": {"a\r\nb: c"}}, "", "", ""},
		"too long":         {http.Header{"X-Request-Id": {strings.Repeat("a", maxID+1)}}, "", "", ""},
		"several":          {http.Header{"X-Request-Id": {"a,b", "", "c", "d"}}, "c", "", ""},
		"baggage":          {http.Header{"Baggage": {"x=y,biz_id=a%2Fb"}}, "", "a/b", ""},
		"baggage, too":     {http.Header{"Baggage": {"x=y,biz_id=old"}, "X-Biz-Id": {"new"}}, "", "new", ""},
		"malformed member": {http.Header{"Baggage": {"x=y,biz_id=a%20b"}}, "", "", ""},
	} {
		in = asked{}
		answer := serve(test.header)
		if test.request == "" {
			test.request = in.sc.TraceID().String()
		}
		if in.request != test.request || in.biz != test.biz || (test.trace != "" && in.sc.TraceID().String() != test.trace) {
			t.Errorf("%s: the handler finds %+v, want request %q, business case %q, trace %q", name, in, test.request, test.biz, test.trace)
		}
		if got := answer["X-Request-Id"]; len(got) != 1 || got[0] != test.request {
			t.Errorf("%s: the answer has the request ids %q, want %q", name, got, test.request)
		}
		if got := answer.Get("X-Biz-Id"); got != test.biz {
			t.Errorf("%s: the answer has the business id %q, want %q", name, got, test.biz)
		}
		// Who chose the trace id must not choose whether it is sampled.
		begins := test.header.Get("Traceparent") == ""
		chosen := begins && test.request == test.trace
		random := in.sc.TraceFlags()&trace.FlagsRandom != 0
		if state := in.sc.TraceState().String(); random != (begins && !chosen) || strings.Contains(state, "rv:") != chosen {
			t.Errorf("%s: flags %v, tracestate %q", name, in.sc.TraceFlags(), state)
		}
	}
	got := sent(t, s, sink)["/v1/traces"]
	for _, want := range []string{"req-1", "order:4711", "a/b"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not on a span", want)
		}
	}
	if n := strings.Count(got, attrRequestID); n != 3 {
		t.Errorf("%d spans have a request id that is not their trace id, want 3", n)
	}
}

// A trace whose id was chosen is sampled like all others, and that it was not
// is known further on.
func TestChosenTraceIDsAreSampledByChance(t *testing.T) {
	s, _ := start(t, Options{Sampler: core.NewByThreshold(0.5)})
	kept := 0
	const n = 2000
	h := s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		sc, _ := contextOf(r.Context())
		if !strings.Contains(sc.State, "rv:") || sc.Flags&core.FlagRandom != 0 {
			t.Errorf("tracestate %q, flags %x", sc.State, sc.Flags)
		}
		if th := core.ThresholdOf(0.5); th.Keeps(core.Randomness(&sc)) != sc.IsSampled() {
			t.Errorf("tracestate %q disagrees with sampled %v", sc.State, sc.IsSampled())
		}
		if sc.IsSampled() {
			kept++
		}
	}))
	for range n {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Request-ID", "ffffffffffffffffffffffffffffffff") // would always be kept
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if kept < n*4/10 || kept > n*6/10 {
		t.Errorf("%d of %d were kept, want half", kept, n)
	}
}

// The ids go on to whom is called, and come back in log records.
func TestIDsGoOn(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0)})
	out, spool := new(lines), (*core.Spool)(nil)
	spool = core.NewSpool(out, 0)
	defer spool.Close(context.Background())
	log := slog.New(NewLogHandler(spool, s.log.logger, nil))
	var inner asked
	behind := httptest.NewServer(s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		inner = ask(r.Context())
		log.InfoContext(r.Context(), "behind")
		s.LoggerProvider().Logger("t").Emit(r.Context(), otellog.Record{})
	})))
	defer behind.Close()
	client := &http.Client{Transport: s.HTTPClient().Transport(nil)}
	front := httptest.NewServer(s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequestWithContext(WithBizID(r.Context(), "order-1"), "GET", behind.URL, nil)
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
	})))
	defer front.Close()
	res, err := http.Get(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	id := res.Header.Get("X-Request-Id")
	if inner.request != id || id != inner.sc.TraceID().String() || inner.biz != "order-1" {
		t.Errorf("the front answers with request id %q, the service behind finds %+v", id, inner)
	}
	line := out.logged(t, spool)[0]
	if line["request_id"] != id || line["biz_id"] != "order-1" || line["trace_id"] != id {
		t.Errorf("log line %v", line)
	}
	if got := sent(t, s, sink)["/v1/logs"]; strings.Count(got, attrRequestID) != 2 || strings.Count(got, id) != 2 || strings.Count(got, "order-1") != 2 {
		t.Errorf("the log records over OTLP, by slog and by OpenTelemetry's API, have no ids: %q", got)
	}
}

// A service that speaks of its requests itself goes on doing so.
func TestHandlersKeepTheirOwnIDs(t *testing.T) {
	s, _ := start(t, Options{})
	var seen http.Header
	own := httptest.NewServer(s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		w.Header().Set("X-Request-ID", "its own")
	})))
	defer own.Close()
	target, _ := url.Parse(own.URL)
	proxy := httptest.NewServer(s.HTTPServer().Handler(httputil.NewSingleHostReverseProxy(target)))
	defer proxy.Close()
	res, err := http.Get(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got := res.Header["X-Request-Id"]; !slices.Equal(got, []string{"its own"}) {
		t.Errorf("the answer has the request ids %q", got)
	}
	client := &http.Client{Transport: s.HTTPClient().Transport(nil)}
	req, _ := http.NewRequestWithContext(WithRequestID(t.Context(), "ours"), "GET", own.URL, nil)
	req.Header.Set("X-Request-ID", "the-callers-own")
	if res, err = client.Do(req); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got := seen["X-Request-Id"]; !slices.Equal(got, []string{"the-callers-own"}) {
		t.Errorf("the server has seen the request ids %q", got)
	}
}

func TestPropagateTo(t *testing.T) {
	s, _ := start(t, Options{IDs: IDOptions{PropagateTo: []string{"127.0.0.1", "*.Shop.example"}}})
	for host, want := range map[string]bool{"127.0.0.1": true, "a.shop.example": true, "a.b.SHOP.example.": true, "shop.example": false, "evilshop.example": false, "other.example": false, "": false} {
		if got := s.PropagatesTo(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	var none *SDK
	if !none.PropagatesTo("any") {
		t.Error("without an SDK, OpenTelemetry's default holds")
	}
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }))
	defer server.Close()
	client := &http.Client{Transport: s.HTTPClient().Transport(nil)}
	ctx := WithBizID(WithRequestID(t.Context(), "r"), "b")
	for address, told := range map[string]bool{server.URL: true, strings.Replace(server.URL, "127.0.0.1", "localhost", 1): false} {
		req, _ := http.NewRequestWithContext(ctx, "GET", address, nil)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		for _, name := range []string{"Traceparent", "Baggage", "X-Request-Id", "X-Biz-Id"} {
			if _, there := seen[name]; there != told {
				t.Errorf("%s: header %s is there: %v", address, name, there)
			}
		}
	}
}

func TestIDOptions(t *testing.T) {
	s, _ := start(t, Options{IDs: IDOptions{RequestHeader: "X-Correlation-ID", BizHeader: "-"}})
	var in asked
	h := s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { in = ask(r.Context()) }))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"X-Correlation-Id": {"a"}, "X-Request-Id": {"b"}, "X-Biz-Id": {"c"}, "": {"d"}}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if in.request != "a" || in.biz != "" || w.Header().Get("X-Correlation-ID") != "a" || len(w.Header()) != 1 {
		t.Errorf("the handler finds %+v, the answer has %v", in, w.Header())
	}
	if got := (Propagator{}).Fields(); !slices.Equal(got, []string{"traceparent", "tracestate", "baggage", "x-correlation-id"}) {
		t.Errorf("fields %q", got)
	}
	s, _ = start(t, Options{IDs: IDOptions{Quiet: true}})
	w = httptest.NewRecorder()
	s.HTTPServer().Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Header().Get("X-Request-ID") != "" {
		t.Errorf("a quiet server answers with %v", w.Header())
	}
	env := map[string]string{"GUANLAN_REQUEST_ID_HEADER": "no good", "GUANLAN_BIZ_ID_HEADER": "X-Order", "GUANLAN_PROPAGATE_TO": "a, *.b", "GUANLAN_TRUSTED_PROXIES": "10.0.0.0/8, ::ffff:1.2.3.4, x", "GUANLAN_ACCESS_LOG": "true"}
	c, err := configure(Options{}, func(k string) string { return env[k] })
	if c.idHeaders.request != "X-Request-Id" || c.idHeaders.bizEntry != "x-order" || len(c.hosts) != 2 || len(c.proxies.trusted) != 2 || c.proxies.trusted[1].String() != "1.2.3.4/32" || !c.accessLog {
		t.Errorf("config %+v", c)
	}
	if err == nil || !strings.Contains(err.Error(), "no good") || !strings.Contains(err.Error(), "GUANLAN_TRUSTED_PROXIES") {
		t.Errorf("error %v", err)
	}
}

func TestSetIDs(t *testing.T) {
	ctx := t.Context()
	for _, bad := range []string{"", "a b", "a\nb", "ä", strings.Repeat("a", maxID+1)} {
		if WithRequestID(ctx, bad) != ctx || WithBizID(ctx, bad) != ctx {
			t.Errorf("%q is taken for an id", bad)
		}
	}
	m, _ := baggage.NewMemberRaw("k", "v")
	b, _ := baggage.New(m)
	ctx = WithBizID(WithRequestID(baggage.ContextWithBaggage(ctx, b), "r"), "b")
	if RequestID(ctx) != "r" || BizID(ctx) != "b" || baggage.FromContext(ctx).Member("k").Value() != "v" {
		t.Errorf("request %q, business case %q, baggage %v", RequestID(ctx), BizID(ctx), baggage.FromContext(ctx))
	}
	carrier := propagation.MapCarrier{}
	Propagator{}.Inject(ctx, carrier)
	if carrier["x-request-id"] != "r" || carrier["x-biz-id"] != "b" || !strings.Contains(carrier["baggage"], "biz_id=b") {
		t.Errorf("carrier %v", carrier)
	}
	if got := ask(Propagator{}.Extract(t.Context(), carrier)); got.request != "r" || got.biz != "b" {
		t.Errorf("got back %+v", got)
	}
	// What is within a span stays there.
	ctx, span := newTracer(t, 1).Start(t.Context(), "n")
	carrier = propagation.MapCarrier{"x-request-id": someTrace}
	if got := trace.SpanContextFromContext(Propagator{}.Extract(ctx, carrier)); !got.Equal(span.SpanContext()) {
		t.Errorf("a request id hides the span: %+v", got)
	}
}

// The sampler sees the business case, and a failure that is kept late has it.
func TestSamplersSeeTheBusinessCase(t *testing.T) {
	sampler := core.NewAdaptive(core.Policy{Base: 1e-9, Least: 1e-9, Few: -1, Weights: map[string]map[string]float64{attrBizID: {"vip": 1e9}}}, time.Now())
	s, sink := start(t, Options{Sampler: sampler})
	h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got, want := trace.SpanContextFromContext(r.Context()).IsSampled(), BizID(r.Context()) == "vip"; got != want {
			t.Errorf("%s is sampled: %v", BizID(r.Context()), got)
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	for _, biz := range []string{"vip", "other"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Biz-ID", biz)
		r.Header.Set("X-Request-ID", "of-"+biz)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	got := sent(t, s, sink)["/v1/traces"]
	for _, want := range []string{"vip", "other", "of-vip", "of-other"} {
		if strings.Count(got, "\x12"+string(rune(len(want)+2))+"\x0a"+string(rune(len(want)))+want) != 1 {
			t.Errorf("%q is not an attribute of one span", want)
		}
	}
}

func FuzzPropagator(f *testing.F) {
	f.Add(someParent, "ot=th:8", "k=v,biz_id=b", "r", "b", "")
	f.Add("", "", "biz_id=%0d%0aSet-Cookie: a=b", someTrace, "\r\nX: y", "z")
	f.Fuzz(func(t *testing.T, parent, state, members, request, biz, again string) {
		in := http.Header{"Traceparent": {parent}, "Tracestate": {state}, "Baggage": {members}, "X-Request-Id": {request, again}, "X-Biz-Id": {biz, again}}
		ctx := Propagator{}.Extract(context.Background(), propagation.HeaderCarrier(in))
		out := http.Header{}
		Propagator{}.Inject(ctx, propagation.HeaderCarrier(out))
		for name, values := range out {
			for _, v := range values {
				for i := range len(v) {
					if v[i] < ' ' && v[i] != '\t' || v[i] > '~' {
						t.Fatalf("%s: %q from %q", name, v, in)
					}
				}
			}
		}
		for _, id := range []string{RequestID(ctx), BizID(ctx), out.Get("X-Request-Id"), out.Get("X-Biz-Id")} {
			if id != "" && !isID(id) {
				t.Fatalf("id %q from %q", id, in)
			}
		}
		if q, _ := json.Marshal(RequestID(ctx)); string(q) != `"`+RequestID(ctx)+`"` {
			t.Fatalf("%s would have to be quoted", q)
		}
	})
}

// answers is a writer whose header is new for each request, as net/http's is.
type answers struct{ header http.Header }

func (w *answers) Header() http.Header         { return w.header }
func (w *answers) Write(b []byte) (int, error) { return len(b), nil }
func (w *answers) WriteHeader(int)             {}

func TestRequestAllocations(t *testing.T) {
	s, _ := start(t, Options{Sampler: core.NewByThreshold(0)})
	h := s.HTTPServer().Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for name, test := range map[string]struct {
		header http.Header
		most   float64
	}{
		"nothing came": {http.Header{}, 3},
		"all came":     {http.Header{"Traceparent": {someParent}, "X-Request-Id": {"r"}}, 2},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header = test.header
		w := &answers{http.Header{}}
		if n := testing.AllocsPerRun(1000, func() {
			clear(w.header)
			h.ServeHTTP(w, r)
		}); n > test.most && !raceDetector {
			t.Errorf("%s: a request takes %v allocations, want %v", name, n, test.most)
		}
	}
}
