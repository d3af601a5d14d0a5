//go:build linux && (amd64 || arm64)

package attach

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// cpu is what a process used so far, without its children.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	// The first number is nanoseconds on a CPU, of the first thread alone; so
	// the sum is over all of them.
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	var sum time.Duration
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + task.Name() + "/schedstat")
		if err != nil {
			continue
		}
		n, _ := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		sum += time.Duration(n)
	}
	return sum
}

// requests sends n to a service, one after the other, and returns its CPU time for one.
func requests(t *testing.T, s *service, n int) time.Duration {
	t.Helper()
	begin := cpu(t, s.Process.Pid)
	for range n {
		resp, err := client.Get("http://" + s.addr + "/fast")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return (cpu(t, s.Process.Pid) - begin) / time.Duration(n)
}

// TestCost says what a server span costs the service: the CPU time of a service
// before, while it is attached to, and after, against that of a twin that is
// left alone and asked in turn, because the machine's speed drifts.
func TestCost(t *testing.T) {
	if os.Getenv("GUANLAN_COST") == "" {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "a quiet machine", Next: "set GUANLAN_COST=1 on one"})
	}
	t.Run("server", func(t *testing.T) { testCost(t, "server", 3*time.Microsecond) })
	// Also each goroutine that starts is seen, one a request.
	t.Run("server and clients", func(t *testing.T) { testCost(t, "service", 4*time.Microsecond) })
}

func testCost(t *testing.T, program string, most time.Duration) {
	// One P: else half of the service's time is its scheduler's, looking for work.
	t.Setenv("GOMAXPROCS", "1")
	s, twin := run(t, buildProgram(t, program)), run(t, buildProgram(t, program))
	phase := func(name string) time.Duration {
		var alone, more []time.Duration
		for range 500 {
			a, b := requests(t, s, 30), requests(t, twin, 30)
			alone, more = append(alone, b), append(more, a-b)
		}
		slices.Sort(alone)
		slices.Sort(more)
		t.Logf("%s: a request takes %v of the twin, %v more (quarters %v to %v)", name, alone[len(alone)/2], more[len(more)/2], more[len(more)/4], more[len(more)*3/4])
		return more[len(more)/2]
	}
	before := phase("before")
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	if os.Getenv("GUANLAN_COST") == "programs" {
		keep, err := c.f.host.KeepStatistics()
		if err != nil {
			t.Fatal(err)
		}
		defer keep.Close()
	}
	attached := phase("attached")
	for _, p := range c.f.Stats().Programs {
		if p.Runs > 0 {
			t.Logf("%s: %d runs of %v", p.Name, p.Runs, p.Time/time.Duration(p.Runs))
		}
	}
	begin := time.Now()
	if err := c.f.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("detached in %v", time.Since(begin))
	after := phase("detached")
	span := attached - (before+after)/2
	t.Logf("a span costs %v", span)
	if span > most {
		t.Errorf("more than %v", most)
	}
}
