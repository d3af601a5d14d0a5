package core

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// message is a decoded protobuf message: what each field holds, in order.
type message map[int][]any

// decode reads a message; nested says which fields are messages themselves.
func decode(t *testing.T, b []byte, nested map[int]any) message {
	t.Helper()
	m := message{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatalf("malformed tag in %x", b)
		}
		b = b[n:]
		field := int(tag >> 3)
		switch tag & 7 {
		case wireVarint:
			v, n := binary.Uvarint(b)
			m[field] = append(m[field], v)
			b = b[n:]
		case wireFixed64:
			m[field] = append(m[field], binary.LittleEndian.Uint64(b))
			b = b[8:]
		case wireFixed32:
			m[field] = append(m[field], binary.LittleEndian.Uint32(b))
			b = b[4:]
		case wireBytes:
			size, n := binary.Uvarint(b)
			if n > 1 && size < 1<<(7*(n-1)) {
				t.Errorf("field %d has a size of %d in %d bytes", field, size, n)
			}
			v := b[n : n+int(size)]
			b = b[n+int(size):]
			if inner, ok := nested[field].(map[int]any); ok {
				m[field] = append(m[field], decode(t, v, inner))
			} else {
				m[field] = append(m[field], string(v))
			}
		default:
			t.Fatalf("field %d has wire type %d", field, tag&7)
		}
	}
	return m
}

// The nested messages of OTLP.
var (
	anyValue  = map[int]any{}
	keyValue  = map[int]any{keyValueValue: anyValue}
	eventForm = map[int]any{eventAttributes: keyValue}
	linkForm  = map[int]any{linkAttributes: keyValue}
	spanForm  = map[int]any{spanAttributes: keyValue, spanEvents: eventForm, spanLinks: linkForm, spanStatus: map[int]any{}}
	scopeForm = map[int]any{scopeItems: spanForm, scopeField: map[int]any{scopeAttributes: keyValue}}
	request   = map[int]any{requestResources: map[int]any{resourceField: map[int]any{resourceAttributes: keyValue}, resourceScopes: scopeForm}}
)

func init() { // a value may hold values
	list := map[int]any{listValues: anyValue}
	anyValue[anyArray], anyValue[anyMap] = list, map[int]any{listValues: keyValue}
}

// collector is a Send that keeps what it is given.
type collector struct {
	mu     sync.Mutex
	bodies [][]byte
	items  int
}

func (c *collector) send(_ context.Context, body []byte, items int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies = append(c.bodies, append([]byte(nil), body...))
	c.items += items
	return 0, nil
}

// spans decodes all spans that were sent.
func (c *collector) spans(t *testing.T) (spans []message) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, body := range c.bodies {
		for _, r := range decode(t, body, request)[requestResources] {
			for _, s := range r.(message)[resourceScopes] {
				for _, sp := range s.(message)[scopeItems] {
					spans = append(spans, sp.(message))
				}
			}
		}
	}
	return spans
}

func newTestTracer(t testing.TB, limits *Limits) (*Tracer, *collector, *Pipe) {
	c := new(collector)
	pipe := NewPipe(EncodeResource([]Attr{String("service.name", "shop")}, ""), PipeOptions{Send: c.send})
	t.Cleanup(func() {
		if err := pipe.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return NewProvider(Options{Pipe: pipe, Limits: limits}).Tracer(NewScope("test", "1.0", "")), c, pipe
}

func flush(t testing.TB, p *Pipe) {
	t.Helper()
	if err := p.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// attrs turns attributes into a map from key to what the value holds.
func attrs(list []any) map[string]any {
	m := map[string]any{}
	for _, kv := range list {
		key := kv.(message)[keyValueKey][0].(string)
		if _, ok := m[key]; ok {
			m[key] = "twice"
			continue
		}
		m[key] = kv.(message)[keyValueValue][0]
	}
	return m
}

func TestSpanIsEncoded(t *testing.T) {
	tracer, c, pipe := newTestTracer(t, nil)
	start := time.Unix(1_700_000_000, 123)
	parent, _ := ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x=y")
	var s Span
	tracer.Start(&s, &parent, "first name", KindServer, start, Int("early", 1))
	s.SetName("GET /orders/{id}")
	long := strings.Repeat("x", 300) // its size takes two bytes
	s.SetAttrs(String("a", "1"), String("long", long), Bool("yes", true), Bool("no", false), Float("pi", math.Pi), Int("minus", -1))
	s.SetAttr(String("a", "2"))
	s.SetAttrs(Of("bytes", BytesValue([]byte{0, 255})), Of("empty", Value{}), Of("strings", StringsValue([]string{"p", ""})),
		Of("ints", IntsValue([]int64{1, -2})), Of("map", MapValue([]Attr{Of("inner", SliceValue([]Value{BoolValue(true), StringValue("q")}))})), String("bad\xff", "\xc3("))
	s.AddEvent("exception", start.Add(5), String("exception.message", long), Int("n", 3))
	s.AddLink(&SpanContext{TraceID: TraceID{9}, SpanID: SpanID{8}, Flags: FlagSampled, Remote: true, State: "k=v"}, String("why", "batch"))
	s.SetStatus(StatusError, "no luck")
	s.End(start.Add(time.Second))
	s.End(start.Add(time.Hour)) // does nothing
	s.SetAttr(String("late", "1"))
	flush(t, pipe)

	spans := c.spans(t)
	if len(spans) != 1 {
		t.Fatalf("%d spans were sent, want 1", len(spans))
	}
	got := spans[0]
	sc := s.Context()
	eq := func(name string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, want %#v", name, got, want)
		}
	}
	eq("trace id", got[spanTraceID], []any{string(parent.TraceID[:])})
	eq("span id", got[spanSpanID], []any{string(sc.SpanID[:])})
	eq("parent", got[spanParentSpanID], []any{string(parent.SpanID[:])})
	eq("state", got[spanTraceState], []any{"x=y"})
	eq("name", got[spanName], []any{"GET /orders/{id}"})
	eq("kind", got[spanKindField], []any{uint64(2)})
	eq("start", got[spanStart], []any{uint64(start.UnixNano())})
	eq("end", got[spanEnd], []any{uint64(start.Add(time.Second).UnixNano())})
	eq("flags", got[spanFlags], []any{uint32(0x301)})
	eq("status", got[spanStatus], []any{message{statusMessage: {"no luck"}, statusCode: {uint64(2)}}})
	str := func(s string) message { return message{anyString: {s}} }
	eq("attributes", attrs(got[spanAttributes]), map[string]any{
		"early": message{anyInt: {uint64(1)}}, "a": str("2"), "long": str(long), "yes": message{anyBool: {uint64(1)}}, "no": message{anyBool: {uint64(0)}},
		"pi": message{anyDouble: {math.Float64bits(math.Pi)}}, "minus": message{anyInt: {uint64(math.MaxUint64)}}, "bytes": message{anyBytes: {"\x00\xff"}}, "empty": message{},
		"strings":   message{anyArray: {message{listValues: {str("p"), str("")}}}},
		"ints":      message{anyArray: {message{listValues: {message{anyInt: {uint64(1)}}, message{anyInt: {uint64(math.MaxUint64 - 1)}}}}}},
		"map":       message{anyMap: {message{listValues: {message{keyValueKey: {"inner"}, keyValueValue: {message{anyArray: {message{listValues: {message{anyBool: {uint64(1)}}, str("q")}}}}}}}}}},
		"bad\uFFFD": str("\uFFFD("),
	})
	event := got[spanEvents][0].(message)
	eq("event", []any{event[eventName], event[eventTime]}, []any{[]any{"exception"}, []any{uint64(start.Add(5).UnixNano())}})
	eq("its attributes", attrs(event[eventAttributes]), map[string]any{"exception.message": str(long), "n": message{anyInt: {uint64(3)}}})
	link := got[spanLinks][0].(message)
	eq("link", []any{link[linkTraceID][0], link[linkSpanID][0], link[linkTraceState][0], link[linkFlags][0]},
		[]any{"\x09" + strings.Repeat("\x00", 15), "\x08" + strings.Repeat("\x00", 7), "k=v", uint32(0x301)})
	resource := decode(t, c.bodies[0], request)[requestResources][0].(message)
	eq("resource", attrs(resource[resourceField][0].(message)[resourceAttributes]), map[string]any{"service.name": str("shop")})
	scope := resource[resourceScopes][0].(message)[scopeField][0].(message)
	eq("scope", []any{scope[scopeName][0], scope[scopeVersion][0]}, []any{"test", "1.0"})
}

func TestLimits(t *testing.T) {
	tracer, c, pipe := newTestTracer(t, &Limits{Attributes: 3, Events: 1, Links: 1, EventAttributes: 1, LinkAttributes: 0, ValueLength: 2})
	var s Span
	tracer.Start(&s, &SpanContext{}, "n", KindInternal, time.Time{})
	s.SetAttrs(String("a", "äöü"), Int("b", 1), Int("c", 1), Int("d", 1), String("a", "xyz"), Int("", 1))
	s.AddEvent("one", time.Time{}, Int("a", 1), Int("a", 2), Int("b", 1))
	s.AddEvent("two", time.Time{})
	s.AddLink(&SpanContext{TraceID: TraceID{1}, SpanID: SpanID{1}}, Int("a", 1))
	s.AddLink(&SpanContext{TraceID: TraceID{1}, SpanID: SpanID{1}})
	s.End(time.Time{})
	flush(t, pipe)
	got := c.spans(t)[0]
	if a := attrs(got[spanAttributes]); len(a) != 3 || !reflect.DeepEqual(a["a"], message{anyString: {"xy"}}) {
		t.Errorf("attributes %v, want three with a=xy", a)
	}
	event, link := got[spanEvents][0].(message), got[spanLinks][0].(message)
	counts := fmt.Sprint(got[spanDroppedAttributes], got[spanDroppedEvents], got[spanDroppedLinks], event[eventDroppedAttributes], link[linkDroppedAttributes])
	if counts != "[2] [1] [1] [1] [1]" {
		t.Errorf("dropped counts %s", counts)
	}
	if a := attrs(event[eventAttributes]); !reflect.DeepEqual(a, map[string]any{"a": message{anyInt: {uint64(2)}}}) {
		t.Errorf("attributes of the event: %v, want the last a", a)
	}
}

func TestStatusRules(t *testing.T) {
	tracer, c, pipe := newTestTracer(t, nil)
	for _, set := range [][]Status{{StatusError, StatusOK}, {StatusOK, StatusError}, {StatusError, StatusUnset}} {
		var s Span
		tracer.Start(&s, &SpanContext{}, "n", KindInternal, time.Time{})
		for _, status := range set {
			s.SetStatus(status, "why")
		}
		s.End(time.Time{})
	}
	flush(t, pipe)
	var got []any
	for _, s := range c.spans(t) {
		got = append(got, s[spanStatus][0].(message)[statusCode][0])
	}
	if fmt.Sprint(got) != "[1 1 2]" {
		t.Errorf("codes %v, want OK, OK, error", got)
	}
}

func TestUnsampledSpansRecordNothing(t *testing.T) {
	tracer, c, pipe := newTestTracer(t, nil)
	parent, _ := ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "")
	var s, zero Span
	tracer.Start(&s, &parent, "n", KindServer, time.Time{}, Int("a", 1))
	for _, s := range []*Span{&s, &zero} {
		s.SetName("x")
		s.SetAttrs(Int("a", 1))
		s.AddEvent("e", time.Time{})
		s.AddLink(&parent)
		s.SetStatus(StatusError, "")
		if s.Recording() {
			t.Error("it records")
		}
		s.End(time.Time{})
	}
	flush(t, pipe)
	if got := c.spans(t); len(got) != 0 {
		t.Errorf("%d spans were sent", len(got))
	}
	if sc := s.Context(); sc.TraceID != parent.TraceID || sc.SpanID == parent.SpanID || sc.SpanID.IsZero() || sc.IsSampled() {
		t.Errorf("context %+v of a child of %+v", sc, parent)
	}
}

// What is used by many goroutines at a time, and after its end, must not get
// into another span.
func TestSpansDoNotMix(t *testing.T) {
	tracer, c, pipe := newTestTracer(t, nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 200 {
				var s Span
				name := fmt.Sprintf("%d-%d", g, i)
				tracer.Start(&s, &SpanContext{}, name, KindInternal, time.Time{})
				var users sync.WaitGroup
				for u := range 3 {
					users.Add(1)
					go func() {
						defer users.Done()
						s.SetAttr(String(fmt.Sprint("k", u), name))
					}()
				}
				s.SetAttr(String("name", name))
				s.End(time.Time{})
				users.Wait()
			}
		}()
	}
	wg.Wait()
	flush(t, pipe)
	spans := c.spans(t)
	if len(spans) != 800 {
		t.Fatalf("%d spans, want 800", len(spans))
	}
	for _, s := range spans {
		want := message{anyString: {s[spanName][0]}}
		for key, value := range attrs(s[spanAttributes]) {
			if !reflect.DeepEqual(value, want) {
				t.Errorf("span %v has %s=%v", s[spanName], key, value)
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool drops what it is given at random")
	}
	tracer, _, _ := newTestTracer(t, nil)
	root := &SpanContext{}
	if n := testing.AllocsPerRun(1000, func() {
		s := new(Span)
		tracer.Start(s, root, "GET /orders/{id}", KindServer, time.Time{})
		s.SetAttrs(String("http.request.method", "GET"), String("http.route", "/orders/{id}"), Int("http.response.status_code", 200))
		s.End(time.Time{})
	}); n > 2 {
		t.Errorf("a span takes %v allocations, want the handle and at most one more", n)
	}
	parent, _ := ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "")
	var s Span
	if n := testing.AllocsPerRun(1000, func() {
		s = Span{}
		tracer.Start(&s, &parent, "n", KindServer, time.Time{})
		s.End(time.Time{})
	}); n != 0 {
		t.Errorf("an unsampled span takes %v allocations", n)
	}
}

func BenchmarkSpan8Attributes(b *testing.B) {
	discard := func(context.Context, []byte, int) (int, error) { return 0, nil }
	pipe := NewPipe(nil, PipeOptions{Send: discard})
	defer pipe.Close(context.Background())
	tracer := NewProvider(Options{Pipe: pipe}).Tracer(NewScope("bench", "", ""))
	root := &SpanContext{}
	b.ReportAllocs()
	for b.Loop() {
		s := new(Span)
		tracer.Start(s, root, "GET /orders/{id}", KindServer, time.Time{})
		s.SetAttrs(String("http.request.method", "GET"), String("http.route", "/orders/{id}"), String("url.scheme", "http"), String("url.path", "/orders/4711"),
			Int("http.response.status_code", 200), String("server.address", "shop.example"), Int("server.port", 8080), String("client.address", "10.1.2.3"))
		s.End(time.Time{})
	}
	if full := pipe.Stats().Full; full > 0 {
		b.Errorf("%d were dropped", full)
	}
}

func BenchmarkUnsampled(b *testing.B) {
	tracer := NewProvider(Options{Sampler: NewByThreshold(0)}).Tracer(NewScope("bench", "", ""))
	parent, _ := ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "")
	b.ReportAllocs()
	var s Span
	for b.Loop() {
		s = Span{}
		tracer.Start(&s, &parent, "n", KindInternal, time.Time{})
		s.End(time.Time{})
	}
}

func BenchmarkSampler(b *testing.B) {
	s := NewByThreshold(0.01)
	sc := SpanContext{TraceID: NewTraceID()}
	b.ReportAllocs()
	for b.Loop() {
		sc.TraceID[9]++
		s.Decide(&sc, "n", KindServer, nil)
	}
}

func BenchmarkParseTraceparent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "ot=th:8")
	}
}
