package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// stdout makes the standard output a file, and returns what reads it.
func stdout(t *testing.T) func() string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdout
	os.Stdout = f
	t.Cleanup(func() { os.Stdout = before; f.Close() })
	return func() string {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// stopped makes sure that no SDK runs, and none is left running.
func stopped(t *testing.T) {
	before := running.Swap(nil)
	t.Cleanup(func() { running.Store(before) })
}

func TestLinesGoWhereTheyAreTold(t *testing.T) {
	stopped(t)
	f := func(name string, env map[string]string, opts LogOptions, inStdout, inFile bool) {
		t.Helper()
		out := stdout(t)
		path := filepath.Join(t.TempDir(), "logs", "app.log")
		for _, v := range []string{"GUANLAN_LOG_FILE", "GUANLAN_LOG_STDOUT", "GUANLAN_LOG_LEVEL"} {
			t.Setenv(v, strings.ReplaceAll(env[v], "PATH", path))
		}
		opts.File.Path = strings.ReplaceAll(opts.File.Path, "PATH", path)
		s, _ := start(t, Options{Log: opts})
		slog.New(s.LogHandler(nil)).Warn("hello")
		slog.New(s.LogHandler(nil)).Info("verbose")
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		inside, _ := os.ReadFile(path)
		for where, x := range map[string]struct {
			text string
			want bool
		}{"stdout": {out(), inStdout}, "file": {string(inside), inFile}} {
			if strings.Contains(x.text, `"msg":"hello"`) != x.want {
				t.Errorf("%s: %s holds %q, want the line there %v", name, where, x.text, x.want)
			}
			if strings.Contains(x.text, "verbose") && (env["GUANLAN_LOG_LEVEL"] != "" || opts.Level != nil) {
				t.Errorf("%s: %s holds lines below the level: %q", name, where, x.text)
			}
		}
		st := s.Stats()
		for _, x := range []struct {
			got  core.SpoolStats
			want bool
		}{{st.Lines, inStdout}, {st.FileLines, inFile}} {
			if (x.got.Written > 0) != x.want {
				t.Errorf("%s: stats %+v", name, st)
			}
		}
	}
	f("nothing said", nil, LogOptions{}, true, false)
	f("file", map[string]string{"GUANLAN_LOG_FILE": "PATH"}, LogOptions{}, true, true)
	f("file only", map[string]string{"GUANLAN_LOG_FILE": "PATH", "GUANLAN_LOG_STDOUT": "false"}, LogOptions{}, false, true)
	f("no file, no stdout", map[string]string{"GUANLAN_LOG_STDOUT": "false"}, LogOptions{}, true, false)
	f("options", nil, LogOptions{File: core.FileOptions{Path: "PATH"}, FileOnly: true}, false, true)
	f("level", map[string]string{"GUANLAN_LOG_LEVEL": "warn"}, LogOptions{}, true, false)
	f("level in options", map[string]string{"GUANLAN_LOG_LEVEL": "debug"}, LogOptions{Level: slog.LevelWarn}, true, false)
}

// A file that cannot be opened is an error, and nothing else.
func TestLinesWithoutTheirFile(t *testing.T) {
	stopped(t)
	out := stdout(t)
	path := filepath.Join(os.Stdout.Name(), "app.log") // in a file, not a folder
	s, err := Start(t.Context(), Options{Endpoint: newSink(t).URL, Log: LogOptions{File: core.FileOptions{Path: path}, FileOnly: true}})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "standard output") {
		t.Errorf("error %v, want one with the path that says where lines go", err)
	}
	slog.New(DefaultLogHandler()).Info("hello")
	if err := s.Shutdown(t.Context()); err != nil || !strings.Contains(out(), "hello") {
		t.Errorf("error %v, stdout %q, want the line there", err, out())
	}
}

func TestLogEnvironmentErrors(t *testing.T) {
	env := map[string]string{"GUANLAN_LOG_LEVEL": "loud", "GUANLAN_LOG_STDOUT": "maybe", "GUANLAN_LOG_FILE_MAX_BYTES": "many", "GUANLAN_LOG_FILE_KEEP": "-1", "GUANLAN_LOG_FILE_COMPRESS": "7"}
	c, err := configure(Options{}, func(name string) string { return env[name] })
	for name := range env {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is wrong, error %v", name, err)
		}
	}
	if c.log.Level.Level() != slog.LevelInfo || c.log.FileOnly || c.log.File.MaxBytes != 0 || c.log.File.Keep != 0 || c.log.File.Compress {
		t.Errorf("defaults are not used: %+v", c.log)
	}
	env = map[string]string{"GUANLAN_LOG_LEVEL": "info+2", "GUANLAN_LOG_FILE": "/x", "GUANLAN_LOG_FILE_MAX_BYTES": "1000", "GUANLAN_LOG_FILE_KEEP": "3", "GUANLAN_LOG_FILE_COMPRESS": "true"}
	c, err = configure(Options{}, func(name string) string { return env[name] })
	if err != nil || c.log.Level.Level() != 2 || fmt.Sprint(c.log.File) != fmt.Sprint(core.FileOptions{Path: "/x", MaxBytes: 1000, Keep: 3, Compress: true}) {
		t.Errorf("error %v, %+v", err, c.log)
	}
}

func TestLogReopens(t *testing.T) {
	stopped(t)
	stdout(t)
	path := filepath.Join(t.TempDir(), "app.log")
	s, _ := start(t, Options{Log: LogOptions{File: core.FileOptions{Path: path}}})
	if err := errors.Join(os.Remove(path), s.Log().Reopen()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("after Reopen: %v", err)
	}
	if err := unstarted.Reopen(); err != nil {
		t.Error(err)
	}
}

// Members of the baggage that were named are on lines and records.
func TestLogsHaveMembersOfBaggage(t *testing.T) {
	stopped(t)
	out := stdout(t)
	s, sink := start(t, Options{Baggage: []string{"tenant", "channel"}})
	member, err := baggage.NewMember("tenant", "acme")
	if err != nil {
		t.Fatal(err)
	}
	other, err := baggage.NewMember("secret", "x")
	if err != nil {
		t.Fatal(err)
	}
	b, err := baggage.New(member, other)
	if err != nil {
		t.Fatal(err)
	}
	slog.New(s.LogHandler(nil)).WithGroup("g").InfoContext(baggage.ContextWithBaggage(t.Context(), b), "hello", "n", 1)
	got := sent(t, s, sink)["/v1/logs"]
	if want := `"msg":"hello","tenant":"acme","g":{"n":1}}` + "\n"; !strings.HasSuffix(out(), want) || !strings.Contains(got, "acme") || strings.Contains(got, "secret") {
		t.Errorf("line %q, want %q; sent %q", out(), want, got)
	}
}

// A handler that was made before Start finds the SDK, with what was added to it.
func TestDefaultLogHandler(t *testing.T) {
	stopped(t)
	out := stdout(t)
	log := slog.New(DefaultLogHandler()).With("a", 1).WithGroup("g")
	log.Info("before", "b", 2)
	if want := `"msg":"before","a":1,"g":{"b":2}}` + "\n"; !strings.HasSuffix(out(), want) || log.Enabled(t.Context(), slog.LevelDebug) {
		t.Errorf("before Start: %q, want …%s at once", out(), want)
	}
	goroutines := runtime.NumGoroutine()
	s, sink := start(t, Options{Log: LogOptions{Level: slog.LevelDebug}})
	ctx, span := s.TracerProvider().Tracer("x").Start(t.Context(), "n")
	log.DebugContext(ctx, "after", "b", 2)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`"msg":"after","trace_id":"%s","span_id":"%s","a":1,"g":{"b":2}}`, span.SpanContext().TraceID(), span.SpanContext().SpanID())
	if !strings.HasSuffix(out(), want+"\n") {
		t.Errorf("after Start: %q, want …%s after a Flush", out(), want)
	}
	if got := sent(t, s, sink)["/v1/logs"]; !strings.Contains(got, "after") || !strings.Contains(got, "g.b") {
		t.Errorf("sent %q", got)
	}
	sink.Close()
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines after Shutdown, %d before Start", runtime.NumGoroutine(), goroutines)
		}
	}
}

// Without telemetry there are lines all the same.
func TestLinesOfADisabledSDK(t *testing.T) {
	stopped(t)
	out := stdout(t)
	t.Setenv("OTEL_SDK_DISABLED", "true")
	s, err := Start(t.Context(), Options{Log: LogOptions{Level: slog.LevelDebug}})
	if err != nil {
		t.Fatal(err)
	}
	slog.New(DefaultLogHandler()).Debug("hello")
	if err := errors.Join(s.Flush(t.Context()), s.Shutdown(t.Context())); err != nil || !strings.Contains(out(), "hello") {
		t.Errorf("error %v, stdout %q", err, out())
	}
}

// A standard output that nobody reads holds up neither who logs nor, at the
// end, the file and OTLP.
func TestShutdownWithStuckOutput(t *testing.T) {
	stopped(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdout
	os.Stdout = w
	path := filepath.Join(t.TempDir(), "app.log")
	s, sink := start(t, Options{Log: LogOptions{File: core.FileOptions{Path: path}}})
	os.Stdout = before
	log := slog.New(s.LogHandler(nil))
	const records = 5000 // of which a pipe takes some
	for range records {
		log.Info("hello", "x", strings.Repeat("x", 100))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	text, _ := os.ReadFile(path)
	if n := strings.Count(string(text), "\n"); n != records {
		t.Errorf("%d lines in the file, want %d", n, records)
	}
	got := 0
	for len(sink.bodies) > 0 {
		if b := <-sink.bodies; b.path == "/v1/logs" {
			got += strings.Count(b.body, "hello")
		}
	}
	if got != records {
		t.Errorf("%d records sent, want %d", got, records)
	}
	log.Error("late") // who logs must not wait for what is stuck, also now
	_ = r.Close()     // the writer that was left behind ends
	if err := s.log.closeLines(t.Context()); err != nil {
		t.Error(err)
	}
	_ = w.Close()
}

// Why a process ends is often logged last, after Shutdown: the line is written
// when the call returns.
func TestLinesAfterShutdown(t *testing.T) {
	stopped(t)
	f := func(name string, file, only, inStdout bool) {
		t.Helper()
		out := stdout(t)
		var opts LogOptions
		path := filepath.Join(t.TempDir(), "app.log")
		if file {
			opts = LogOptions{File: core.FileOptions{Path: path}, FileOnly: only}
		}
		s, _ := start(t, Options{Log: opts})
		log := slog.New(DefaultLogHandler())
		log.Info("before")
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.Error("why it ends")
		text, _ := os.ReadFile(path)
		for where, x := range map[string]struct {
			text string
			want bool
		}{"stdout": {out(), inStdout}, "file": {string(text), file}} {
			if n := strings.Count(x.text, "\n"); strings.Contains(x.text, `"msg":"why it ends"`) != x.want || x.want && n != 2 {
				t.Errorf("%s: %s holds %q, want the last line there %v", name, where, x.text, x.want)
			}
		}
		if !file {
			return
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		log.Error("without a file")
		if !strings.Contains(out(), "without a file") {
			t.Errorf("%s: a line whose file is gone is on stdout %q", name, out())
		}
	}
	f("stdout", false, false, true)
	f("both", true, false, true)
	f("file only", true, true, false)
}

func TestLogFields(t *testing.T) {
	_, l, spool := newTestLog(t, nil)
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(context.Context, []byte, int) (int, error) { return 0, nil }})
	defer pipe.Close(context.Background())
	log := newLog(spool, nil, core.NewLogger(pipe, core.NewScope("test", "", ""), core.DefaultLimits), nil)
	with := new(LogFields)
	with.OpenGroup("empty")
	with.CloseGroup()
	with.Add(core.Int("a", 1))
	with.OpenGroup("g")
	with.Add(core.Of("list", core.SliceValue([]core.Value{core.BoolValue(true), core.FloatValue(1.5), {}, core.MapValue([]core.Attr{core.String("k", "v"), core.Of("b", core.BytesValue([]byte("hi")))})})))
	with.OpenGroup("h")
	r := log.Record(t.Context(), time.Time{}, core.SeverityInfo, "INFO", "m")
	r.OpenGroup("outer")
	r.AddFields(with)
	mark := r.Mark()
	r.OpenGroup("gone")
	r.AddUint("n", 1)
	r.Rewind(mark)
	r.AddUint("n", 1<<63)
	r.CloseGroup()
	r.AddTime("t", time.Unix(0, 5).UTC())
	r.AddAny("any", struct{ X []int }{[]int{1}})
	var names []string
	for _, a := range r.attrs {
		names = append(names, a.Key)
	}
	r.Write()
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := "[outer.a outer.g.list outer.g.h.n outer.g.t outer.g.any]"; fmt.Sprint(names) != want {
		t.Errorf("over OTLP %v, want %s", names, want)
	}
	want := `{"level":"INFO","msg":"m","outer":{"a":1,"g":{"list":[true,1.5,null,{"k":"v","b":"aGk="}],"h":{"n":9223372036854775808},"t":"1970-01-01T00:00:00.000000005Z","any":{"X":[1]}}}}` + "\n"
	if got := l.buf.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
