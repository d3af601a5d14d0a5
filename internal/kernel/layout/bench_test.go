package layout

import (
	"os"
	"testing"
)

// BenchmarkGoroutinesOf is what each process of Go costs that the profiler meets.
func BenchmarkGoroutinesOf(b *testing.B) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := GoroutinesOf(exe); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAttach is what a program costs that probes are set on: its functions and
// fields by its DWARF. GUANLAN_EXE names a program, default is this one.
func BenchmarkAttach(b *testing.B) {
	exe := os.Getenv("GUANLAN_EXE")
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		bin, err := Of(exe)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := bin.Func("runtime.newproc1"); !ok {
			b.Error("no newproc1")
		}
		_, src, err := bin.Offset("runtime.g", "goid")
		if err != nil {
			b.Error(err)
		}
		if _, err := bin.describe("net/http.Request"); err != nil {
			b.Error(err)
		}
		b.ReportMetric(float64(src), "source")
		b.ReportMetric(float64(len(bin.funcs)), "functions")
		bin.Close()
	}
}
