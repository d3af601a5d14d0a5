package errs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

var update = flag.Bool("update", false, "write the golden files")

// shop is a table as a service has one.
func shop() (t *Table, stock, store *Code) {
	t = new(Table)
	store = t.Define("inventory", 2001, System, "The inventory is not available", Help("Look at the database inventory|main."), Doc("https://shop.example/errors/2001"))
	stock = t.Define("inventory", 1001, Client, "Out of stock", HTTP(http.StatusConflict), GRPC(9), Help("Nothing: the customer is told."))
	t.Define("cart", 20, Server, "The sum of the cart is wrong", Level(slog.LevelError+4))
	t.Define("cart", 3, Client, "No such cart", HTTP(http.StatusNotFound))
	return t, stock, store
}

func inTrace() context.Context {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: 7}, SpanID: trace.SpanID{7: 9}, TraceFlags: trace.FlagsSampled})
	return trace.ContextWithSpanContext(context.Background(), sc)
}

const someTrace = "00000000000000000000000000000007"

func TestWrappedErrorsAreFound(t *testing.T) {
	_, stock, store := shop()
	err := fmt.Errorf("place order: %w", store.Wrap(t.Context(), fmt.Errorf("query: %w", fs.ErrClosed)).Detail("shard %d", 3))
	for target, want := range map[error]bool{store: true, stock: false, fs.ErrClosed: true, fs.ErrExist: false} {
		if errors.Is(err, target) != want {
			t.Errorf("errors.Is(%v, %v) is %v", err, target, !want)
		}
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Code() != store {
		t.Errorf("errors.As found %v", e)
	}
	if want := "place order: inventory.2001 The inventory is not available: shard 3: query: " + fs.ErrClosed.Error(); err.Error() != want {
		t.Errorf("text %q, want %q", err, want)
	}
	for _, c := range []struct {
		err  error
		want *Code
	}{
		{nil, nil},
		{err, store},
		{stock, stock},
		{errors.Join(io.EOF, stock), stock},
		{stock.Wrap(t.Context(), err), stock}, // the outermost
		{io.EOF, Internal},
		{fmt.Errorf("x: %w", context.Canceled), Canceled},
		{context.DeadlineExceeded, Timeout},
	} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("code of %v is %v, want %v", c.err, got, c.want)
		}
	}
}

func TestDefaultsFollowClassAndStatus(t *testing.T) {
	var table Table
	for i, c := range []struct {
		class  Class
		opts   []Option
		status int
		grpc   string
		level  slog.Level
	}{
		{Client, nil, 400, "INVALID_ARGUMENT", slog.LevelInfo},
		{Server, nil, 500, "INTERNAL", slog.LevelError},
		{System, nil, 503, "UNAVAILABLE", slog.LevelError},
		{Client, []Option{HTTP(404), Level(slog.LevelDebug)}, 404, "NOT_FOUND", slog.LevelDebug},
		{Client, []Option{HTTP(409), GRPC(6)}, 409, "ALREADY_EXISTS", slog.LevelInfo},
		{Client, []Option{HTTP(401)}, 401, "UNAUTHENTICATED", slog.LevelInfo},
		{Client, []Option{HTTP(403)}, 403, "PERMISSION_DENIED", slog.LevelInfo},
		{Client, []Option{HTTP(429)}, 429, "RESOURCE_EXHAUSTED", slog.LevelInfo},
		{Client, []Option{HTTP(418)}, 418, "INVALID_ARGUMENT", slog.LevelInfo},
		{System, []Option{HTTP(504)}, 504, "DEADLINE_EXCEEDED", slog.LevelError},
		{Server, []Option{HTTP(501)}, 501, "UNIMPLEMENTED", slog.LevelError},
	} {
		got := table.Define("m", i+1, c.class, "t", c.opts...)
		if got.HTTPStatus() != c.status || grpcNames[got.GRPCCode()] != c.grpc || got.Level() != c.level {
			t.Errorf("%v %d: HTTP %d, gRPC %s, level %v; want %d, %s, %v", c.class, i, got.HTTPStatus(), grpcNames[got.GRPCCode()], got.Level(), c.status, c.grpc, c.level)
		}
	}
	if err := table.Check(); err != nil {
		t.Error(err)
	}
}

func TestDuplicatesAndMistakesAreTold(t *testing.T) {
	table, stock, _ := shop()
	again := table.Define("inventory", 1001, Server, "Something else")
	if again == stock || again.Class() != Server {
		t.Errorf("the second definition gives %v", again)
	}
	err := table.Check()
	if err == nil || strings.Count(err.Error(), "errs/errs_test.go:") != 2 || !strings.Contains(err.Error(), "inventory.1001") {
		t.Errorf("a duplicate: error %v, want one that names both places", err)
	}
	var b bytes.Buffer
	if table.Write(&b, Markdown) == nil || b.Len() > 0 {
		t.Errorf("a wrong table was written: %q", b.String())
	}
	for _, define := range []func(*Table){
		func(t *Table) { t.Define("", 1, Client, "t") },
		func(t *Table) { t.Define("Cart", 1, Client, "t") },
		func(t *Table) { t.Define("cart", 0, Client, "t") },
		func(t *Table) { t.Define("cart", 1, 0, "t") },
		func(t *Table) { t.Define("cart", 1, 4, "t") },
		func(t *Table) { t.Define("cart", 1, Client, "") },
		func(t *Table) { t.Define("cart", 1, Client, "t", HTTP(200)) },
		func(t *Table) { t.Define("cart", 1, Client, "t", GRPC(17)) },
		func(t *Table) { t.Define("cart", 1, Client, "t", GRPC(0)) },
	} {
		var one Table
		define(&one)
		if err := one.Check(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want just one", err)
		}
		for _, c := range one.Codes() { // what is wrong must still answer
			Write(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), c)
		}
	}
	if err := Check(); err != nil {
		t.Errorf("our own table: %v", err)
	}
}

func TestTableIsTheDocument(t *testing.T) {
	table, _, _ := shop()
	for f, name := range map[Format]string{Markdown: "testdata/errors.md", JSON: "testdata/errors.json"} {
		var got bytes.Buffer
		if err := table.Write(&got, f); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s is not current: run with -update, and look at what changed\n%s", name, got.String())
		}
	}
	if table.Write(io.Discard, "yaml") == nil {
		t.Error("a table was written as YAML")
	}
	if err := new(Table).Write(io.Discard, JSON); err != nil {
		t.Error(err)
	}
}

func TestClientsSeeNoCause(t *testing.T) {
	_, stock, store := shop()
	const secret = "10.0.0.7:5432"
	for _, c := range []struct {
		err  error
		want Problem
	}{
		{store.Wrap(inTrace(), errors.New("dial "+secret), slog.String("host", secret)).Detail("at %s", secret),
			Problem{"https://shop.example/errors/2001", "The inventory is not available", 503, "", "inventory.2001", someTrace}},
		{stock.Wrap(context.Background(), errors.New(secret), slog.String("host", secret)).Detail("%d left", 2),
			Problem{"urn:problem-type:inventory.1001", "Out of stock", 409, "2 left", "inventory.1001", ""}},
		{fmt.Errorf("read %s: %w", secret, stock), Problem{"urn:problem-type:inventory.1001", "Out of stock", 409, "", "inventory.1001", ""}},
		{errors.New(secret), Problem{"urn:problem-type:sdk.1", "Internal error", 500, "", "sdk.1", ""}},
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Length", "4711") // of what was to be answered
		Write(w, httptest.NewRequest("GET", "/", nil), c.err)
		var got Problem
		dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&got); err != nil || got != c.want || w.Code != c.want.Status {
			t.Errorf("%v: answer %d %s, want %+v", c.err, w.Code, w.Body, c.want)
		}
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("the client sees %s", w.Body)
		}
		if h := w.Header(); h.Get("Content-Type") != ProblemType || h.Get("Content-Length") != "" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("header %v", h)
		}
	}
	// An error made outside of a trace has that of the request.
	w := httptest.NewRecorder()
	Write(w, httptest.NewRequest("GET", "/", nil).WithContext(inTrace()), stock.New(context.Background()))
	if !strings.Contains(w.Body.String(), someTrace) {
		t.Errorf("no trace in %s", w.Body)
	}
}

// logged is what f writes to slog.Default, as JSON lines.
func logged(t *testing.T, f func()) string {
	t.Helper()
	var b bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	f()
	return b.String()
}

func TestLogHasLevelCodeAndCause(t *testing.T) {
	_, stock, store := shop()
	got := logged(t, func() {
		Log(t.Context(), "a", store.Wrap(inTrace(), io.EOF, slog.Int("shard", 3)).Detail("d"))
		Log(t.Context(), "b", fmt.Errorf("outer: %w", stock))
		Log(t.Context(), "c", stock)
		Log(t.Context(), "d", io.EOF)
		Log(t.Context(), "never", nil)
	})
	want := `{"level":"ERROR","msg":"a","error":{"code":"inventory.2001","class":"system","title":"The inventory is not available","detail":"d","cause":"EOF","trace_id":"` + someTrace + `","fields":{"shard":3}}}
{"level":"INFO","msg":"b","error":{"code":"inventory.1001","class":"client","title":"Out of stock"},"error_text":"outer: inventory.1001 Out of stock"}
{"level":"INFO","msg":"c","error":{"code":"inventory.1001","class":"client","title":"Out of stock"}}
{"level":"ERROR","msg":"d","error":{"code":"sdk.1","class":"server","title":"Internal error"},"error_text":"EOF"}
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A nil pointer that was returned as an error is one that panics when it is asked.
func TestErrorsThatPanic(t *testing.T) {
	var nobody *lost
	var out bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	w := httptest.NewRecorder()
	HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nobody }).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusInternalServerError || CodeOf(nobody) != Internal {
		t.Errorf("answered with %d, code %v", w.Code, CodeOf(nobody))
	}
	if err := Internal.Wrap(t.Context(), nobody); !strings.Contains(err.Error(), "!PANIC") || !strings.Contains(err.LogValue().String(), "!PANIC") {
		t.Errorf("text %q, logged as %v", err.Error(), err.LogValue())
	}
	if !strings.Contains(out.String(), "!PANIC") {
		t.Errorf("logged: %s", out.String())
	}
}

type lost struct{ inner error }

func (e *lost) Error() string { return e.inner.Error() }
func (e *lost) Unwrap() error { return e.inner }

func TestHandlerFunc(t *testing.T) {
	_, stock, _ := shop()
	var w *httptest.ResponseRecorder
	got := logged(t, func() {
		for _, err := range []error{nil, stock} {
			w = httptest.NewRecorder()
			HandlerFunc(func(http.ResponseWriter, *http.Request) error { return err }).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if want := map[error]int{nil: 200, stock: 409}[err]; w.Code != want {
				t.Errorf("%v is answered with %d", err, w.Code)
			}
		}
	})
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "inventory.1001") {
		t.Errorf("logged %s", got)
	}
}
