package sdkzap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// TestMain is also the process that ends by Fatal.
func TestMain(m *testing.M) {
	if endpoint := os.Getenv("GUANLAN_TEST_FATAL"); endpoint != "" {
		log := New().With(zap.Int("n", 1))
		log.Info("early")
		if _, err := sdk.Start(context.Background(), sdk.Options{Endpoint: endpoint}); err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		log.Fatal("the end")
	}
	goleak.VerifyTestMain(m)
}

// service is a running SDK, its lines and what it sent.
type service struct {
	*sdk.SDK
	t    testing.TB
	path string

	mu      sync.Mutex
	records []*logspb.LogRecord
}

func start(t testing.TB, level slog.Level) *service {
	t.Helper()
	s := &service{t: t, path: filepath.Join(t.TempDir(), "app.log")}
	server := httptest.NewServer(http.HandlerFunc(s.receive))
	t.Cleanup(server.Close)
	var err error
	s.SDK, err = sdk.Start(context.Background(), sdk.Options{
		Endpoint: server.URL, Failed: func(err error) { t.Error(err) }, Sampler: core.NewByThreshold(1),
		Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Log:    sdk.LogOptions{Level: level, File: core.FileOptions{Path: s.path}, FileOnly: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *service) receive(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	if r.URL.Path != "/v1/logs" {
		return
	}
	var m logspb.LogsData
	if err := proto.Unmarshal(body, &m); err != nil {
		s.t.Errorf("request is not OTLP: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range m.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			s.records = append(s.records, scope.LogRecords...)
		}
	}
}

// logged is the lines, without their time, and the records so far.
func (s *service) logged() (lines []string, records []*logspb.LogRecord) {
	s.t.Helper()
	if err := New().Sync(); err != nil {
		s.t.Fatal(err)
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !json.Valid([]byte(line)) {
			s.t.Errorf("not JSON: %s", line)
		}
		_, rest, _ := strings.Cut(line, ",")
		lines = append(lines, "{"+strings.TrimSuffix(rest, "\n"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return lines, s.records
}

// attrs are the attributes of a record as text.
func attrs(r *logspb.LogRecord) string {
	var all []string
	for _, a := range r.Attributes {
		all = append(all, a.Key+"="+text(a.Value))
	}
	return strings.Join(all, " ")
}

func text(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case nil:
		return "-"
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *commonpb.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *commonpb.AnyValue_BytesValue:
		return fmt.Sprintf("bytes:%s", v.BytesValue)
	case *commonpb.AnyValue_ArrayValue:
		var all []string
		for _, x := range v.ArrayValue.Values {
			all = append(all, text(x))
		}
		return "[" + strings.Join(all, " ") + "]"
	case *commonpb.AnyValue_KvlistValue:
		var all []string
		for _, x := range v.KvlistValue.Values {
			all = append(all, x.Key+":"+text(x.Value))
		}
		return "{" + strings.Join(all, " ") + "}"
	}
	return "?"
}

// A reader of slog's lines and records can read zap's: they are the same.
func TestSameAsSlog(t *testing.T) {
	s := start(t, slog.LevelDebug)
	ctx, _ := s.TracerProvider().Tracer("x").Start(t.Context(), "n")
	at := time.Date(2026, 11, 20, 19, 0, 0, 5, time.UTC)
	sl := slog.New(sdk.DefaultLogHandler())
	z := New()

	sl.DebugContext(ctx, "kinds \"x\"\n", "s", "a\"b", "i", -5, "u", uint64(1<<63), "f", 1.5, "nan", math.NaN(), "b", true, "d", time.Second, "t", at,
		"nil", nil, "err", errors.New("no"), "bytes", []byte("hi"), "list", []string{"a", "b"}, "map", map[string]int{"a": 1}, "", "empty")
	z.Debug("kinds \"x\"\n", Context(ctx), zap.String("s", "a\"b"), zap.Int("i", -5), zap.Uint64("u", 1<<63), zap.Float64("f", 1.5), zap.Float64("nan", math.NaN()), zap.Bool("b", true), zap.Duration("d", time.Second), zap.Time("t", at),
		zap.Reflect("nil", nil), zap.NamedError("err", errors.New("no")), zap.Binary("bytes", []byte("hi")), zap.Strings("list", []string{"a", "b"}), zap.Reflect("map", map[string]int{"a": 1}), zap.String("", "empty"))

	sl.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").Warn("groups", "c", 3, slog.Group("i", "d", 4, slog.Group("empty")), slog.Group("", "e", 5), "f", 6)
	z.With(zap.Int("a", 1)).With(zap.Namespace("g"), zap.Int("b", 2)).With(zap.Namespace("h")).Warn("groups", zap.Int("c", 3), zap.Dict("i", zap.Int("d", 4), zap.Dict("empty")), zap.Inline(zap.DictObject(zap.Int("e", 5))), zap.Int("f", 6))

	sl.WithGroup("g").Error("an empty group")
	z.With(zap.Namespace("g")).Error("an empty group")

	lines, records := s.logged()
	if len(lines) != 6 || len(records) != 6 {
		t.Fatalf("%d lines, %d records", len(lines), len(records))
	}
	for i := 0; i < 6; i += 2 {
		if lines[i] != lines[i+1] {
			t.Errorf("slog writes\n%s, zap\n%s", lines[i], lines[i+1])
		}
		a, b := records[i], records[i+1]
		if attrs(a) != attrs(b) || a.SeverityNumber != b.SeverityNumber || a.SeverityText != b.SeverityText || text(a.Body) != text(b.Body) || !bytes.Equal(a.TraceId, b.TraceId) || !bytes.Equal(a.SpanId, b.SpanId) || a.Flags != b.Flags {
			t.Errorf("slog sends\n%v, zap\n%v", a, b)
		}
	}
	if len(records[1].TraceId) != 16 {
		t.Errorf("a record without ids: %v", records[1])
	}
}

// point is an object; a negative one opens a namespace.
type point struct{ x, y int }

func (p point) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddInt("x", p.x)
	if p.x < 0 {
		e.OpenNamespace("below")
	}
	e.AddInt("y", p.y)
	return nil
}

type stringer string

func (s stringer) String() string { return string(s) }

type verbose struct{}

func (verbose) Error() string                 { return "short" }
func (verbose) Format(s fmt.State, verb rune) { _, _ = io.WriteString(s, "long") }

func TestKindsOfFields(t *testing.T) {
	s := start(t, slog.LevelInfo)
	at := time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)
	f := func(line, sent string, fields ...zap.Field) {
		t.Helper()
		New().Info("m", fields...)
		lines, records := s.logged()
		if got, want := lines[len(lines)-1], `{"level":"INFO","msg":"m",`+line+`}`; got != want {
			t.Errorf("line %s, want %s", got, want)
		}
		if got := attrs(records[len(records)-1]); got != sent {
			t.Errorf("sent %s, want %s", got, sent)
		}
	}
	f(`"i8":-8,"i16":-16,"i32":-32,"u8":8,"u16":16,"u32":32,"u":1,"p":255`, `i8=-8 i16=-16 i32=-32 u8=8 u16=16 u32=32 u=1 p=255`,
		zap.Int8("i8", -8), zap.Int16("i16", -16), zap.Int32("i32", -32), zap.Uint8("u8", 8), zap.Uint16("u16", 16), zap.Uint32("u32", 32), zap.Uint("u", 1), zap.Uintptr("p", 255))
	f(`"f32":0.1,"c":"1+2i","c64":"0.5-1i","bs":"text","inf":"+Inf"`, `f32=0.1 c=1+2i c64=0.5-1i bs=text inf=+Inf`,
		zap.Float32("f32", 0.1), zap.Complex128("c", 1+2i), zap.Complex64("c64", 0.5-1i), zap.ByteString("bs", []byte("text")), zap.Float64("inf", math.Inf(1)))
	f(`"s":"text","nil":null,"t":"1800-01-01T00:00:00Z"`, `s=text nil=- t=1800-01-01T00:00:00Z`,
		zap.Stringer("s", stringer("text")), zap.Intp("nil", nil), zap.Time("t", time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC)))
	f(`"p":{"x":1,"y":2},"n":{"x":-1,"below":{"y":2}},"after":true`, `p.x=1 p.y=2 n.x=-1 n.below.y=2 after=true`,
		zap.Object("p", point{1, 2}), zap.Object("n", point{-1, 2}), zap.Bool("after", true))
	f(`"x":-1,"below":{"y":2,"after":true}`, `x=-1 below.y=2 below.after=true`, zap.Inline(point{-1, 2}), zap.Bool("after", true))
	f(`"list":[{"x":1,"y":2},{"x":-1,"below":{"y":2}}],"b":[true],"t":["2026-11-20T19:00:00Z"],"d":[1000000000],"e":[{"error":"no"}]`, `list=[{x:1 y:2} {x:-1 below:{y:2}}] b=[true] t=[2026-11-20T19:00:00Z] d=[1000000000] e=[{error:no}]`,
		zap.Objects("list", []point{{1, 2}, {-1, 2}}), zap.Bools("b", []bool{true}), zap.Times("t", []time.Time{at}), zap.Durations("d", []time.Duration{time.Second}), zap.Errors("e", []error{errors.New("no")}))
	f(`"any":[1,"two",2.5,null,{"a":[true],"b":{}},"9223372036854775808"]`, `any=[1 two 2.5 - {a:[true] b:{}} 9223372036854775808]`,
		zap.Array("any", zapcore.ArrayMarshalerFunc(func(e zapcore.ArrayEncoder) error {
			e.AppendUint8(1)
			e.AppendByteString([]byte("two"))
			e.AppendFloat32(2.5)
			_ = e.AppendReflected(nil)
			_ = e.AppendReflected(map[string]any{"b": struct{}{}, "a": []bool{true}})
			e.AppendUint64(1 << 63)
			return nil
		})))
	f(`"error":"short","errorVerbose":"long"`, `error=short errorVerbose=long`, zap.Error(verbose{}))
	f(`"error":"a\nb"`, "error=a\nb", zap.Error(errors.Join(errors.New("a"), errors.New("b"))))
}

func TestSpanOfALine(t *testing.T) {
	s := start(t, slog.LevelInfo)
	tracer := s.TracerProvider().Tracer("x")
	ctx1, span1 := tracer.Start(t.Context(), "1")
	ctx2, span2 := tracer.Start(t.Context(), "2")
	type key struct{}
	f := func(want trace.Span, log *zap.Logger, fields ...zap.Field) {
		t.Helper()
		log.Info("m", append(fields, zap.Int("n", 1))...)
		lines, records := s.logged()
		ids := ""
		if want != nil {
			ids = fmt.Sprintf(`,"trace_id":"%s","span_id":"%s"`, want.SpanContext().TraceID(), want.SpanContext().SpanID())
		}
		if got, want := lines[len(lines)-1], `{"level":"INFO","msg":"m"`+ids+`,"n":1}`; got != want {
			t.Errorf("line %s, want %s", got, want)
		}
		r := records[len(records)-1]
		if id := fmt.Sprintf("%x", r.SpanId); !strings.Contains(ids, id) || (id == "") != (ids == "") || attrs(r) != "n=1" {
			t.Errorf("sent %v, want ids %s", r, ids)
		}
	}
	f(nil, New())
	f(nil, New(), Context(t.Context()))
	f(span1, New(), Context(ctx1))
	f(span1, New(), zap.Any("ctx", ctx1))
	f(span1, New(), zap.Reflect("ctx", ctx1))
	f(span1, New(), zap.Any("ctx", context.WithValue(ctx1, key{}, 1))) // a Stringer
	f(span1, New().With(Context(ctx1)))
	f(span1, New().WithLazy(Context(ctx1)))
	f(span2, New().With(Context(ctx1)), Context(ctx2))
	f(span2, New().With(Context(ctx1)).With(Context(ctx2)))
	f(nil, New(), zap.Skip())
}

// job is a value that is a context, too.
type job struct {
	context.Context
	ID int
}

// A context that panics costs no more than its ids, and a value that embeds one
// is a value.
func TestContextsThatAreValues(t *testing.T) {
	s := start(t, slog.LevelInfo)
	ctx, span := s.TracerProvider().Tracer("x").Start(t.Context(), "1")
	defer span.End()
	f := func(want string, fields ...zap.Field) {
		t.Helper()
		New().Info("m", fields...)
		lines, records := s.logged()
		if got, want := lines[len(lines)-1], `{"level":"INFO","msg":"m"`+want+`}`; got != want {
			t.Errorf("line %s, want %s", got, want)
		}
		if r := records[len(records)-1]; (len(r.SpanId) > 0) != strings.Contains(want, "span_id") {
			t.Errorf("sent %v, want as in %s", r, want)
		}
	}
	ids := fmt.Sprintf(`,"trace_id":"%s","span_id":"%s"`, span.SpanContext().TraceID(), span.SpanContext().SpanID())
	f(`,"job":{"Context":null,"ID":7}`, zap.Any("job", job{nil, 7}))
	f(`,"job":{"Context":{},"ID":7}`, zap.Reflect("job", job{context.Background(), 7}))
	f(ids+`,"job":{"Context":{},"ID":7}`, Context(ctx), zap.Any("job", job{context.Background(), 7}))
	f(`,"n":1`, zap.Any("ctx", job{nil, 7}), zap.Int("n", 1))
	f(`,"n":1`, zap.Any("ctx", (*job)(nil)), zap.Int("n", 1))
	f(`,"n":1`, Context(late{ctx}), zap.Int("n", 1))
}

// late is a context that panics when its span is known already.
type late struct{ context.Context }

func (l late) Value(key any) any {
	if v := l.Context.Value(key); v != nil {
		return v
	}
	panic("late")
}

// What With was given may be changed afterwards.
func TestSlicesOfWith(t *testing.T) {
	s := start(t, slog.LevelInfo)
	b, list := []byte("before"), []string{"before"}
	log := New().With(zap.Binary("b", b), zap.Reflect("r", b), zap.Reflect("s", list))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				copy(b, "after.")
				list[0] = "after"
			}
		}
	})
	for range 100 {
		log.Info("m")
	}
	close(stop)
	wg.Wait()
	log.Info("m")
	_, records := s.logged()
	if got, want := attrs(records[len(records)-1]), "b=bytes:before r=bytes:before s=[before]"; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

func TestLevels(t *testing.T) {
	s := start(t, slog.LevelDebug)
	log := New(zap.WithFatalHook(zapcore.WriteThenPanic))
	for level, want := range map[zapcore.Level]logspb.SeverityNumber{
		zapcore.DebugLevel: logspb.SeverityNumber_SEVERITY_NUMBER_DEBUG, zapcore.InfoLevel: logspb.SeverityNumber_SEVERITY_NUMBER_INFO,
		zapcore.WarnLevel: logspb.SeverityNumber_SEVERITY_NUMBER_WARN, zapcore.ErrorLevel: logspb.SeverityNumber_SEVERITY_NUMBER_ERROR,
		zapcore.DPanicLevel: logspb.SeverityNumber_SEVERITY_NUMBER_FATAL, zapcore.PanicLevel: logspb.SeverityNumber_SEVERITY_NUMBER_FATAL2,
		zapcore.FatalLevel: logspb.SeverityNumber_SEVERITY_NUMBER_FATAL3,
	} {
		func() {
			defer func() { _ = recover() }()
			log.Log(level, "m")
		}()
		lines, records := s.logged()
		if r := records[len(records)-1]; r.SeverityNumber != want || r.SeverityText != level.CapitalString() || lines[len(lines)-1] != `{"level":"`+level.CapitalString()+`","msg":"m"}` {
			t.Errorf("%v: %s, %v", level, lines[len(lines)-1], r)
		}
	}
	quiet := zap.New(Core(zapcore.ErrorLevel))
	if quiet.Core().Enabled(zapcore.WarnLevel) || !quiet.Core().Enabled(zapcore.ErrorLevel) {
		t.Error("a core does not keep to its level")
	}
	if !log.Core().Enabled(zapcore.DebugLevel) || log.Core().Enabled(zapcore.DebugLevel-1) {
		t.Error("a core without a level does not keep to the SDK's")
	}
}

func TestNamesAndCallers(t *testing.T) {
	s := start(t, slog.LevelInfo)
	New(zap.AddCaller(), zap.AddStacktrace(zapcore.ErrorLevel)).Named("shop").Named("orders").With(zap.Namespace("ns")).Error("m", zap.Int("n", 1))
	lines, records := s.logged()
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	file, _ := line["code.file.path"].(string)
	function, _ := line["code.function.name"].(string)
	stack, _ := line["code.stacktrace"].(string)
	if line["logger"] != "shop.orders" || filepath.Base(file) != "core_test.go" || line["code.line.number"].(float64) < 100 ||
		!strings.HasSuffix(function, "TestNamesAndCallers") || !strings.Contains(stack, "TestNamesAndCallers") || fmt.Sprint(line["ns"]) != "map[n:1]" {
		t.Errorf("line %s", lines[0])
	}
	if got := attrs(records[0]); !strings.HasPrefix(got, "logger=shop.orders code.file.path=") || !strings.HasSuffix(got, " ns.n=1") {
		t.Errorf("sent %s", got)
	}
}

// bad is what must not hurt.
type bad struct{ how string }

func (b *bad) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddInt("before", 1)
	e.OpenNamespace("open")
	e.AddInt("inside", 1)
	switch b.how {
	case "panics":
		panic("oh")
	case "panics deep":
		return e.AddObject("deep", &bad{"panics"})
	case "recovers":
		func() {
			defer func() { _ = recover() }()
			_ = e.AddObject("deep", &bad{"panics"})
		}()
		return nil
	case "holds itself":
		return e.AddObject("self", b)
	case "lists itself":
		return e.AddArray("self", zapcore.ArrayMarshalerFunc(b.list))
	case "logs":
		New().Info("from within")
		return nil
	}
	return errors.New(b.how)
}

func (b *bad) list(e zapcore.ArrayEncoder) error {
	return e.AppendArray(zapcore.ArrayMarshalerFunc(b.list))
}
func (b *bad) String() string { panic(b.how) }
func (b *bad) Error() string  { panic(b.how) }

type badPanic struct{}

func (badPanic) Error() string { panic(badPanic{}) }

func TestBadValues(t *testing.T) {
	s := start(t, slog.LevelInfo)
	f := func(name, want string, field zap.Field) {
		t.Helper()
		New().With(zap.Namespace("ns"), zap.Int("a", 1)).Info(name, field, zap.Int("z", 1))
		lines, records := s.logged()
		line := lines[len(lines)-1]
		if !strings.Contains(line, `"ns":{"a":1,`) || !strings.HasSuffix(line, `,"z":1}}`) || !strings.Contains(line, want) {
			t.Errorf("%s: %.300s, want %s", name, line, want)
		}
		if got := attrs(records[len(records)-1]); !strings.HasPrefix(got, "ns.a=1 ") || !strings.HasSuffix(got, " ns.z=1") {
			t.Errorf("%s: sent %.300s", name, got)
		}
	}
	f("object", `"x":"!PANIC: oh"`, zap.Object("x", &bad{"panics"}))
	f("deep object", `"x":"!PANIC: oh"`, zap.Object("x", &bad{"panics deep"}))
	f("object that recovers", `"x":{"before":1,"open":{"inside":1,"deep":{"before":1`, zap.Object("x", &bad{"recovers"}))
	f("inline object", `"":"!PANIC: oh"`, zap.Inline(&bad{"panics"}))
	f("object with an error", `"x":{"before":1,"open":{"inside":1}},"xError":"no"`, zap.Object("x", &bad{"no"}))
	f("object that holds itself", `objects in each other`, zap.Object("x", &bad{"holds itself"}))
	f("list that holds itself", `objects in each other`, zap.Object("x", &bad{"lists itself"}))
	f("object that logs", `"x":{"before":1,"open":{"inside":1}}`, zap.Object("x", &bad{"logs"}))
	f("stringer", `"xError":"PANIC=oh"`, zap.Stringer("x", &bad{"oh"}))
	f("nil stringer", `"x":"<nil>"`, zap.Stringer("x", (*bad)(nil)))
	f("error", `"x":"!PANIC: oh"`, zap.NamedError("x", &bad{"oh"}))
	f("nil error", `"x":"<nil>"`, zap.NamedError("x", (*bad)(nil)))
	f("error that panics with itself", `"x":"!PANIC`, zap.NamedError("x", badPanic{}))
	f("nil object", `"x":"<nil>"`, zap.Object("x", (*point)(nil)))
	f("channel", `"x":"!ERROR: json: unsupported type: chan int"`, zap.Reflect("x", make(chan int)))
	f("list of channels", `"x":["!ERROR: json: unsupported type: chan int"]`, zap.Array("x", zapcore.ArrayMarshalerFunc(func(e zapcore.ArrayEncoder) error { return e.AppendReflected(make(chan int)) })))
	f("unknown kind", `"x":"!PANIC: unknown field type`, zap.Field{Key: "x", Type: 200})
	f("wrong kind", `"x":"!PANIC: interface conversion`, zap.Field{Key: "x", Type: zapcore.BinaryType})
}

// What is logged last is there although the process ends with it; and a logger
// that was made before Start, which wrote its line at once, finds the SDK.
func TestFatalIsFlushed(t *testing.T) {
	s := &service{t: t}
	server := httptest.NewServer(http.HandlerFunc(s.receive))
	defer server.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GUANLAN_TEST_FATAL="+server.URL)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the process ends with %v, want status 1", err)
	}
	early, late, _ := strings.Cut(string(out), "\n")
	if !strings.HasSuffix(early, `"level":"INFO","msg":"early","n":1}`) || !strings.HasSuffix(late, `"level":"FATAL","msg":"the end","n":1}`+"\n") {
		t.Errorf("it writes %q", out)
	}
	if len(s.records) != 1 || text(s.records[0].Body) != "the end" || attrs(s.records[0]) != "n=1" {
		t.Errorf("it sends %v", s.records)
	}
}

func TestConcurrentLogging(t *testing.T) {
	s := start(t, slog.LevelInfo)
	log := New().With(zap.Namespace("ns"))
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			child := log.With(zap.Int("g", g))
			for i := range 50 {
				child.Info("m", zap.Int("i", i), zap.Object("p", point{1, 2}))
			}
		})
	}
	wg.Wait()
	lines, records := s.logged()
	seen := map[string]bool{}
	for _, line := range lines {
		seen[line] = true
	}
	if len(seen) != 1000 || len(records) != 1000 {
		t.Errorf("%d different lines, %d records, want 1000", len(seen), len(records))
	}
}
