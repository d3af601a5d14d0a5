//go:build linux

package profile

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// BenchmarkCost runs the profiler for b.N intervals of 10 s over whatever the
// machine does and reports what it costs: CPU of this process and of the
// programs in the kernel, in % of one CPU, and resident memory.
// GUANLAN_OFFCPU=1 profiles waits, too.
func BenchmarkCost(b *testing.B) {
	h := kernel.NewHost(kernel.Options{})
	keep, err := h.KeepStatistics()
	if err != nil {
		b.Skip(err)
	}
	defer keep.Close()
	profiles, samples := 0, 0
	f := New(Options{OffCPU: os.Getenv("GUANLAN_OFFCPU") != "", Interval: 10 * time.Second, OnProfile: func(p Profile) {
		profiles++
		samples += len(p.Pprof.Sample)
	}})
	if err := f.Start(b.Context(), h); err != nil {
		b.Skip(err)
	}
	h.ForgetTypes()
	defer f.Close()
	time.Sleep(11 * time.Second) // the first interval reads the names of the kernel and of what runs
	b.ResetTimer()
	before, began := ownCPU(b), time.Now()
	ran := programTime(f)
	time.Sleep(time.Duration(b.N) * 10 * time.Second)
	wall := time.Since(began).Seconds()
	b.ReportMetric(100*(ownCPU(b)-before).Seconds()/wall, "%cpu-user")
	b.ReportMetric(100*(programTime(f)-ran).Seconds()/wall, "%cpu-bpf")
	b.ReportMetric(float64(rss(b))/(1<<20), "MB-rss")
	b.ReportMetric(float64(profiles), "profiles")
	b.ReportMetric(float64(samples), "stacks")
	b.ReportMetric(float64(f.Stats().Dropped), "dropped")
	for _, p := range f.Stats().Programs {
		if p.Runs > 0 {
			b.ReportMetric(float64(p.Time.Nanoseconds())/float64(p.Runs), "ns/"+p.Name)
		}
	}
}

func programTime(f *Feature) (sum time.Duration) {
	for _, p := range f.Stats().Programs {
		sum += p.Time
	}
	return sum
}

func ownCPU(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rss(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
