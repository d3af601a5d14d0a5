package main

import (
	"debug/elf"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestSlopeIgnoresPeaks(t *testing.T) {
	var rising, flat []point
	for i := range 300 {
		x := float64(i) / 60
		peak := 0.0
		if i%40 == 0 {
			peak = 80
		}
		rising = append(rising, point{x, 100 + 3*x + peak})
		flat = append(flat, point{x, 100 + peak})
	}
	if got := slope(rising); math.Abs(got-3) > 0.01 {
		t.Errorf("slope %v, want 3", got)
	}
	if got := slope(flat); got != 0 {
		t.Errorf("slope %v, want 0", got)
	}
	if got := slope(nil); got != 0 {
		t.Errorf("slope of nothing is %v", got)
	}
}

func TestModuleOf(t *testing.T) {
	modules := []string{"github.com/guanlan-io/guanlan", "go.opentelemetry.io/collector", "go.opentelemetry.io/collector/pdata", "google.golang.org/grpc", "gopkg.in/yaml.v3"}
	f := func(symbol, want string) {
		t.Helper()
		if got := moduleOf(symbol, modules); got != want {
			t.Errorf("%s is of %q, want %q", symbol, got, want)
		}
	}
	const std = "standard library and runtime"
	f("runtime.mallocgc", std)
	f("net/http.(*Server).Serve", std)
	f("google.golang.org/grpc.(*Server).Serve", "google.golang.org/grpc")
	f("google.golang.org/grpcx.F", std)
	f("go.opentelemetry.io/collector/pdata/ptrace.NewTraces", "go.opentelemetry.io/collector/pdata")
	f("go.opentelemetry.io/collector/otelcol.New", "go.opentelemetry.io/collector")
	f("gopkg.in/yaml%2ev3.(*Decoder).Decode", "gopkg.in/yaml.v3")
	f("type:*google.golang.org/grpc.Server", "google.golang.org/grpc")
	f("type:.eq.google.golang.org/grpc/status.Status", "google.golang.org/grpc")
	f("go:itab.*google.golang.org/grpc.Server,io.Closer", "google.golang.org/grpc")
}

func TestAnswersDiffer(t *testing.T) {
	read := func(s string) answers {
		t.Helper()
		a, err := readMatrix([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := read(`{"data":{"resultType":"matrix","result":[{"metric":{"job":"cart"},"values":[[1,"100"],[31,"200.5"]]},{"metric":{"job":"tax"},"values":[[1,"7"]]}]}}`)
	if a.len() != 3 {
		t.Fatalf("%d values, want 3", a.len())
	}
	f := func(s string, want int) {
		t.Helper()
		if got := a.differ(read(s)); got != want {
			t.Errorf("%d values differ, want %d", got, want)
		}
	}
	f(`{"data":{"result":[{"metric":{"job":"tax"},"values":[[1,"7"]]},{"metric":{"job":"cart"},"values":[[1,"100.00000000001"],[31,"200.5"]]}]}}`, 0)
	f(`{"data":{"result":[{"metric":{"job":"cart"},"values":[[1,"100.1"],[31,"200.5"]]}]}}`, 2)
	f(`{"data":{"result":[]}}`, 3)
	if _, err := readMatrix([]byte("no")); err == nil {
		t.Error("what is no JSON is no error")
	}
	if v, err := readScalar([]byte(`{"data":{"result":[{"metric":{},"value":[1,"100000"]}]}}`)); err != nil || v != 100000 {
		t.Errorf("scalar %v, %v", v, err)
	}
}

func TestGrownCountsEveryBlockOnce(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, kib int) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, kib<<10), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("events/reserve", 512)
	before := folders(dir)
	write("events/traces/a/b", 128)
	write("events/index", 64)
	write("metrics/wal", 32)
	write("top", 16)
	total, where := grown(before, folders(dir), 1024)
	if total != 128+64+32+16 {
		t.Errorf("%v KiB, want %d", total, 128+64+32+16)
	}
	if want := "events/index 64.0, events/traces 128.0, metrics/wal 32.0, top 16.0"; where != want {
		t.Errorf("%s, want %s", where, want)
	}
}

func TestWeightsAddUpToTheProgram(t *testing.T) {
	// Programs that go test makes have no symbols.
	path := filepath.Join(t.TempDir(), "store")
	if text, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	weights, err := weigh(path)
	if err != nil {
		t.Fatal(err)
	}
	var total uint64
	for _, w := range weights {
		total += w
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var loaded uint64
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			loaded += s.FileSize
		}
	}
	if got := float64(total) / float64(loaded); got < 0.98 || got > 1.02 {
		t.Errorf("modules weigh %d bytes, the sections that are loaded have %d", total, loaded)
	}
	if weights["google.golang.org/grpc"] == 0 || weights["standard library and runtime"] == 0 {
		t.Errorf("no weight of grpc or of the standard library: %v", weights)
	}
}
