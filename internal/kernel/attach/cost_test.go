//go:build linux

package attach

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
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

// cost is the service's CPU time of one request, of a number of them.
func cost(t *testing.T, s *service, n int) time.Duration {
	t.Helper()
	begin := cpu(t, s.Process.Pid)
	for range n {
		resp, err := http.Get("http://" + s.addr + "/fast")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return (cpu(t, s.Process.Pid) - begin) / time.Duration(n)
}

// TestCost says what a server span costs the service. Whole rounds alternate, because the
// machine's speed drifts; the medians count.
func TestCost(t *testing.T) {
	if os.Getenv("GUANLAN_COST") == "" {
		t.Skip("set GUANLAN_COST=1 on a quiet machine")
	}
	s := run(t, build(t))
	cost(t, s, 2000)
	var plain, with []time.Duration
	for range 9 {
		plain = append(plain, cost(t, s, 4000))
		c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
		keep, _ := c.f.host.KeepStatistics()
		if os.Getenv("GUANLAN_COST") != "stats" {
			keep.Close()
		}
		with = append(with, cost(t, s, 4000))
		if st := c.f.Stats(); len(plain) == 9 {
			for _, p := range st.Programs {
				if p.Runs > 0 {
					t.Logf("%s: %d runs of %v", p.Name, p.Runs, p.Time/time.Duration(p.Runs))
				}
			}
		}
		keep.Close()
		if err := c.f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	median := func(d []time.Duration) time.Duration {
		for i := range d {
			for j := range d[:i] {
				if d[i] < d[j] {
					d[i], d[j] = d[j], d[i]
				}
			}
		}
		return d[len(d)/2]
	}
	a, b := median(plain), median(with)
	t.Logf("a request takes %v, attached %v: %v more", a, b, b-a)
	if b-a > 3*time.Microsecond {
		t.Errorf("a span costs %v", b-a)
	}
}
