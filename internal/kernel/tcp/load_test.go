//go:build linux

package tcp

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// connect makes n connections of this process with itself, from a port on that is
// below the ephemeral ones, and keeps them.
func connect(n, port int) error {
	const backlog, perPort = 512, 20_000
	socket := func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) }
	for at := 0; at < n; at += perPort {
		addr := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port + at/perPort}
		l, err := socket()
		if err != nil {
			return err
		}
		if err := errors.Join(unix.Bind(l, addr), unix.Listen(l, backlog)); err != nil {
			return err
		}
		for range min(perPort, n-at) {
			c, err := socket()
			if err != nil {
				return err
			}
			if err := unix.Connect(c, addr); err != nil {
				return err
			}
			if _, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC); err != nil {
				return err
			}
		}
	}
	return nil
}

// resident is this process's memory in bytes.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	_, _ = fmt.Sscan(string(b), &size, &pages)
	return pages * os.Getpagesize()
}

// cpuTime is what this process took so far, in the kernel as well.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A hundred thousand connections of a dozen processes: each is counted, and telling
// of them is neither slow nor large.
func TestManyConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a gigabyte of sockets")
	}
	const processes, each = 12, 8400 // two files each: below the usual limit of 20,000
	const n = processes * each
	ns := newNetns(t)
	f := start(t, Options{})
	f.Poll()
	before := resident(t)
	began := time.Now()
	var ready sync.WaitGroup
	for i := range processes {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=connect %d %d", helper, each, 5000+10*i))
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		ns.Do(t, cmd.Start)
		t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
		ready.Go(func() {
			if s := bufio.NewScanner(out); !s.Scan() || s.Text() != "ready" {
				t.Errorf("a process says %q", s.Text())
			}
		})
	}
	ready.Wait()
	took := time.Since(began)
	if t.Failed() {
		return
	}
	cpu := cpuTime(t) // what others do on this machine counts in no other way
	r := f.Poll()
	poll := cpuTime(t) - cpu
	var clients, servers, accepts, connects int
	for _, fl := range r.Flows {
		switch {
		case fl.NetNS != ns.ID:
		case fl.Role == Client:
			clients, connects = clients+int(fl.Open), connects+int(fl.Connects)
		case fl.Role == Server:
			servers, accepts = servers+int(fl.Open), accepts+int(fl.Accepts)
		}
	}
	t.Logf("%d connections in %v, %d KiB more here; a poll takes %v of CPU", n, took, (resident(t)-before)>>10, poll)
	if clients != n || servers != n || connects != n || accepts != n || f.Stats().Dropped != 0 {
		t.Errorf("%d and %d open of %d, %d connects, %d accepts, %d dropped", clients, servers, n, connects, accepts, f.Stats().Dropped)
	}
	if poll > 10*time.Second {
		t.Errorf("a poll takes %v of CPU", poll)
	}
}

// What finds no room in the ring is counted, one by one.
func TestRingOverflow(t *testing.T) {
	ns := newNetns(t)
	var got atomic.Uint64
	release := make(chan struct{})
	once := sync.OnceFunc(func() { close(release) })
	defer once()
	f := start(t, Options{EventsPerSecond: 1 << 20, OnEvent: func(e Event) {
		<-release
		if e.NetNS == ns.ID {
			got.Add(1)
		}
	}})
	f.Poll()
	const n = 4000 // twice the ring
	for range n {
		_, _ = ns.Dial(t, "127.0.0.1:9", kerneltest.Patience)
	}
	once()
	kerneltest.Until(t, "all to come up", func() bool { return got.Load()+f.Stats().Dropped >= n })
	t.Logf("%d came up, %d dropped", got.Load(), f.Stats().Dropped)
	// Events of others on this machine may be lost, too.
	if dropped := f.Stats().Dropped; dropped < n/4 || got.Load() < n/4 || got.Load()+dropped > n+n/10 {
		t.Errorf("%d came up, %d dropped, of %d", got.Load(), dropped, n)
	}
	if fl := flow(t, f.Poll(), clientOf(ns.ID, "127.0.0.1:9")); fl.Failed[Refused] != n {
		t.Errorf("counted %d, want %d", fl.Failed[Refused], n)
	}
}

// A namespace that goes away between two polls, or while one looks at it, is no
// error; one with sockets but no process in it is still found by its name.
func TestNamespaceGone(t *testing.T) {
	f := start(t, Options{})
	has := func(r Report, id uint32) bool {
		for _, n := range r.Namespaces {
			if n.ID == id {
				return true
			}
		}
		return false
	}
	var id uint32
	t.Run("there", func(t *testing.T) {
		ns := newNetns(t)
		id = ns.ID
		ns.Listen(t, "127.0.0.1:0")
		if r := f.Poll(); !has(r, id) || f.Err() != nil {
			t.Errorf("the namespace is listed: %v; %v", has(r, id), f.Err())
		}
	})
	kerneltest.Until(t, "the namespace to go", func() bool { r := f.Poll(); return !has(r, id) })
	if err := f.Err(); err != nil {
		t.Error(err)
	}
	stop := make(chan struct{})
	var polls sync.WaitGroup
	polls.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			f.Poll()
			if err := f.Err(); err != nil && !strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
				t.Error(err)
				return
			}
		}
	})
	for range 20 {
		t.Run("flicker", func(t *testing.T) { newNetns(t) })
	}
	close(stop)
	polls.Wait()
}
