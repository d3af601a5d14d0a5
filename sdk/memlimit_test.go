package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// The limit that a process has must survive the tests.
func keepMemoryLimit(t *testing.T, begin int64) {
	before := debug.SetMemoryLimit(begin)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
}

func TestMemoryLimitFollowsTheCgroup(t *testing.T) {
	keepMemoryLimit(t, math.MaxInt64)
	const gib = 1 << 30
	var allowed uint64 = gib
	var failure error
	m := newMemoryLimit(0.5)
	m.cgroup = func() (uint64, error) { return allowed, failure }
	now := time.Unix(0, 0)
	f := func(what string, later time.Duration, limit, set int64) {
		t.Helper()
		now = now.Add(later)
		m.follow(now)
		if got := debug.SetMemoryLimit(-1); got != limit || m.set() != set {
			t.Errorf("%s: the limit is %d and ours %d, want %d and %d", what, got, m.set(), limit, set)
		}
	}
	f("at start", 0, gib/2, gib/2)
	allowed = 2 * gib
	f("too early to look", time.Second, gib/2, gib/2)
	f("resized", time.Minute, gib, gib)
	failure = errors.New("unreadable")
	f("unreadable", time.Minute, gib, gib)
	failure = memlimit.ErrNoLimit
	f("limit taken away", time.Minute, math.MaxInt64, 0)
	failure, allowed = nil, 1<<20
	f("too little to live", time.Minute, math.MaxInt64, 0)
	allowed = math.MaxUint64
	f("more than there is", time.Minute, 1<<62, 1<<62)
	allowed = gib
	f("back", time.Minute, gib/2, gib/2)
	debug.SetMemoryLimit(12345678)
	f("set by code", time.Minute, 12345678, 0)
	allowed = 2 * gib
	f("left alone", time.Hour, 12345678, 0)

	m.ratio = 0
	debug.SetMemoryLimit(math.MaxInt64)
	m.next = time.Time{}
	f("off", time.Hour, math.MaxInt64, 0)
}

func TestMemoryRatioOfTheEnvironment(t *testing.T) {
	f := func(want float64, bad bool, env ...string) {
		t.Helper()
		c, err := configure(Options{}, func(name string) string {
			for _, e := range env {
				if k, v, _ := strings.Cut(e, "="); k == name {
					return v
				}
			}
			return ""
		})
		if c.memory != want || (err != nil) != bad {
			t.Errorf("%v: got %v, %v, want %v", env, c.memory, err, want)
		}
	}
	f(0.9, false)
	f(0.75, false, "AUTOMEMLIMIT=0.75")
	f(0, false, "AUTOMEMLIMIT=off")
	f(0, false, "GOMEMLIMIT=1GiB", "AUTOMEMLIMIT=0.75")
	f(0, false, "GOMEMLIMIT=off")
	for _, wrong := range []string{"0", "1.1", "-1", "NaN", "Inf", "90%"} {
		f(0.9, true, "AUTOMEMLIMIT="+wrong)
	}
}

// asChild makes the test binary a service in a cgroup: it waits until it was put
// there, starts the SDK and prints the limit.
const asChild = "GUANLAN_TEST_MEMLIMIT_CHILD"

func TestMemoryLimitChild(t *testing.T) {
	if os.Getenv(asChild) == "" {
		t.Skip("runs as the child of TestMemoryLimitOfARealCgroup")
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(asChild) == "code" {
		debug.SetMemoryLimit(77 << 20)
	}
	s, err := Start(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("limit=%d set=%d\n", debug.SetMemoryLimit(-1), s.Stats().MemoryLimit)
	ended, stop := context.WithCancel(context.Background())
	stop() // nobody listens
	_ = s.Shutdown(ended)
}

// memoryCgroup makes a cgroup below that of this process, or of the root, and one
// below it; only the upper one is limited.
func memoryCgroup(t *testing.T, limit int) (leaf string) {
	t.Helper()
	var skipped []string
	for _, c := range []struct{ root, file string }{{"/sys/fs/cgroup", "memory.max"}, {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}} {
		upper := filepath.Join(c.root, fmt.Sprintf("guanlan-test-%d", os.Getpid()))
		leaf := filepath.Join(upper, "leaf")
		if err := os.Mkdir(upper, 0o755); err != nil {
			skipped = append(skipped, err.Error())
			continue
		}
		t.Cleanup(func() { os.Remove(upper) })
		if _, err := os.Stat(filepath.Join(upper, c.file)); err != nil {
			os.Remove(upper) // a plain folder beside the controllers of version 1, or no memory controller
			skipped = append(skipped, err.Error())
			continue
		}
		if err := os.WriteFile(filepath.Join(upper, c.file), []byte(strconv.Itoa(limit)), 0); err != nil {
			skipped = append(skipped, err.Error())
			continue
		}
		if err := os.Mkdir(leaf, 0o755); err != nil {
			skipped = append(skipped, err.Error())
			continue
		}
		t.Cleanup(func() { os.Remove(leaf) })
		return leaf
	}
	t.Skipf("no cgroup with a memory limit can be made here: %s", strings.Join(skipped, "; "))
	return ""
}

func TestMemoryLimitOfARealCgroup(t *testing.T) {
	const limit = 512 << 20
	leaf := memoryCgroup(t, limit)
	f := func(how, want string, env ...string) {
		t.Helper()
		cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryLimitChild$", "-test.v")
		for _, e := range os.Environ() {
			if !strings.HasPrefix(e, "GOMEMLIMIT=") && !strings.HasPrefix(e, "AUTOMEMLIMIT=") {
				cmd.Env = append(cmd.Env, e)
			}
		}
		cmd.Env = append(append(cmd.Env, asChild+"="+how), env...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		err = os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0)
		_, wrote := io.WriteString(in, "go\n")
		if err := errors.Join(err, wrote, cmd.Wait()); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%s %v: want %s, got\n%s", how, env, want, out.String())
		}
	}
	const ours = limit * 9 / 10
	f("plain", fmt.Sprintf("limit=%d set=%d", ours, ours))
	f("plain", fmt.Sprintf("limit=%d set=%d", limit/2, limit/2), "AUTOMEMLIMIT=0.5")
	f("plain", fmt.Sprintf("limit=%d set=0", int64(math.MaxInt64)), "AUTOMEMLIMIT=off")
	f("plain", fmt.Sprintf("limit=%d set=0", 99<<20), "GOMEMLIMIT=99MiB")
	f("code", fmt.Sprintf("limit=%d set=0", 77<<20))
}
