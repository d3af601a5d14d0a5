//go:build linux

package oom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

const mib = 1 << 20

// The test binary plays the processes that use memory.
func TestMain(m *testing.M) {
	switch os.Getenv("OOM_TEST_ACT") {
	case "":
		os.Exit(m.Run())
	case "leak":
		join()
		keepFile(os.Getenv("OOM_TEST_FILE"))
		for {
			hold(mib)
		}
	case "hold":
		join()
		hold(8 * mib)
		fmt.Println("holding")
		must(unix.Pause())
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func join() {
	must(os.WriteFile(filepath.Join(os.Getenv("OOM_TEST_CGROUP"), "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0))
}

func hold(n int) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	must(err)
	for i := 0; i < n; i += 4096 {
		b[i] = 1
	}
}

// keepFile holds 4 MiB of a file in the page cache, where they cannot be given up.
func keepFile(name string) {
	f, err := os.Create(name)
	must(err)
	must(f.Truncate(4 * mib))
	b, err := unix.Mmap(int(f.Fd()), 0, 4*mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	must(unix.Mlock(b))
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

// cgroups makes one with a limit and one below it without.
func cgroups(t *testing.T, h *kernel.Host, limit uint64) (upper, lower string) {
	t.Helper()
	tree := hierarchyOf(h)
	name := "guanlan-oom-" + strconv.Itoa(os.Getpid())
	upper, lower = filepath.Join("/", name), filepath.Join("/", name, fmt.Sprintf("%064x", time.Now().UnixNano()))
	skip := func(err error) {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "the right to make cgroups with a limit", Err: err})
	}
	if err := os.MkdirAll(filepath.Join(tree.mount, upper), 0o755); err != nil {
		skip(err)
	}
	t.Cleanup(func() {
		for _, d := range []string{lower, upper} {
			if err := os.Remove(filepath.Join(tree.mount, d)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		}
	})
	if err := os.WriteFile(tree.file(upper, "memory.limit_in_bytes", "memory.max"), []byte(strconv.FormatUint(limit, 10)), 0); err != nil {
		skip(err)
	}
	if err := os.Mkdir(filepath.Join(tree.mount, lower), 0o755); err != nil {
		skip(err)
	}
	return upper, lower
}

func start(t *testing.T, h *kernel.Host, o Options, attach func(*Feature) error) *Feature {
	t.Helper()
	f := New(o)
	kerneltest.Start(t, h, f)
	if attach != nil {
		kerneltest.Need(t, errors.Join(f.object.Detach(), attach(f)))
	}
	return f
}

func play(t *testing.T, act, cgroup string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe", act)
	// Not below /tmp, which may itself be memory.
	c.Env = append(os.Environ(), "OOM_TEST_ACT="+act, "OOM_TEST_CGROUP="+cgroup, "OTEL_SERVICE_NAME=cart",
		"OOM_TEST_FILE="+filepath.Join(t.TempDir(), "file"))
	c.Stderr = os.Stderr
	return c
}

func TestKillInACgroup(t *testing.T) {
	const limit = 64 * mib
	root := t.TempDir()
	h := kernel.NewHost(kernel.Options{Root: root})
	upper, lower := cgroups(t, h, limit)
	config := filepath.Join(root, "var/lib/docker/containers", filepath.Base(lower), "config.v2.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(config), 0o755),
		os.WriteFile(config, []byte(`{"Name":"/cart","Config":{"Image":"shop/cart:2"}}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	tree := hierarchyOf(h)

	holder := play(t, "hold", filepath.Join(tree.mount, lower))
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	if _, err := out.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name   string
		attach func(*Feature) error
	}{{"by task", nil}, {"by id", (*Feature).attachByID}} {
		t.Run(tt.name, func(t *testing.T) {
			events := make(chan Event, 8)
			start(t, h, Options{Every: 2 * time.Millisecond, OnEvent: func(e Event) { events <- e }}, tt.attach)
			asLong := time.Now()
			if err := exec.Command("/bin/true").Run(); err != nil {
				t.Fatal(err)
			}
			took := time.Since(asLong)
			leak := play(t, "leak", filepath.Join(tree.mount, lower))
			began := time.Now()
			err := leak.Run()
			if ws, ok := leak.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != unix.SIGKILL {
				t.Fatalf("the leak ended with %v, want SIGKILL", err)
			}
			var e Event
			select {
			case e = <-events:
			case <-time.After(5 * time.Minute):
				t.Fatal("no event")
			}
			// A machine that is slow or loaded takes longer to start a program, too.
			soon := max(100*time.Millisecond, 10*took)
			t.Logf("complete after %v; a program takes %v", e.Lag, took)
			if e.Lag > soon {
				t.Errorf("complete %v after the kill, want at most %v", e.Lag, soon)
			}
			byTask, err := handsOverTask()
			if err != nil {
				t.Fatal(err)
			}
			if byTask && tt.attach != nil {
				// What this kernel hands over is no id; all else is as on one that does.
				e.PID = leak.Process.Pid
			}
			if e.PID != leak.Process.Pid || e.Cgroup != lower || e.Container != filepath.Base(lower) || e.Host {
				t.Errorf("victim %d in %q, host %v: want %d in %q", e.PID, e.Cgroup, e.Host, leak.Process.Pid, lower)
			}
			if e.ContainerName != "cart" || e.Image != "shop/cart:2" {
				t.Errorf("container %q of image %q", e.ContainerName, e.Image)
			}
			if e.Time.Before(began) || e.Time.After(time.Now()) {
				t.Errorf("at %v", e.Time)
			}
			if e.LimitCgroup != upper || e.Limit != limit || e.Usage > limit+mib || e.Usage < limit-mib {
				t.Errorf("limit %d of %q, used %d; want %d of %q", e.Limit, e.LimitCgroup, e.Usage, limit, upper)
			}
			if e.PageCache < 3*mib || e.PageCache > 16*mib {
				t.Errorf("page cache %d", e.PageCache)
			}
			// Where the id is all that the kernel tells, files say what the victim held; on a
			// machine that is slow enough it is gone by then.
			gone := !byTask && e.RSS() == 0
			if tt.attach == nil && !gone {
				if e.Anonymous < limit/2 || e.File+e.Shared < 3*mib || e.PageTables == 0 || e.Virtual < e.RSS() || e.Parent != os.Getpid() {
					t.Errorf("victim held %+v", e)
				}
				if e.UID != uint32(os.Getuid()) || e.By == 0 || e.ByComm == "" {
					t.Errorf("victim %+v", e)
				}
				if i := slices.IndexFunc(e.Top, func(u Usage) bool { return u.PID == e.PID }); i != 0 {
					t.Errorf("the victim is at place %d of %+v", i, e.Top)
				}
			}
			if i := slices.IndexFunc(e.Top, func(u Usage) bool { return u.PID == holder.Process.Pid }); i < 0 || e.Top[i].Resident < 8*mib || e.Top[i].Comm == "" {
				t.Errorf("the process that holds 8 MiB is not among %+v", e.Top)
			}
			if len(e.History) < 2 || !slices.IsSortedFunc(e.History, func(a, b Sample) int { return a.Time.Compare(b.Time) }) {
				t.Errorf("history of %d samples", len(e.History))
			}
		})
	}
}

func TestDecode(t *testing.T) {
	var b bytes.Buffer
	for i := range 13 {
		_ = binary.Write(&b, binary.LittleEndian, uint64(100+i))
	}
	for i := range 4 {
		_ = binary.Write(&b, binary.LittleEndian, uint32(200+i))
	}
	_ = binary.Write(&b, binary.LittleEndian, int32(-998))
	_ = binary.Write(&b, binary.LittleEndian, uint32(1))
	b.WriteString("victim\x00 the rest")
	b.WriteString("sixteen bytes!!!")
	got, err := decode(b.Bytes())
	want := record{
		100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 200, 201, 202, 203, -998, true, "victim", "sixteen bytes!!!",
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(record{})); err != nil || d != "" {
		t.Errorf("decode: %v (-want +got):\n%s", err, d)
	}
	if _, err := decode(b.Bytes()[:recordSize-1]); !errors.Is(err, errRecord) {
		t.Errorf("a short record gives %v", err)
	}
	if _, err := decode(make([]byte, recordSize)); !errors.Is(err, errRecord) {
		t.Errorf("an empty record gives %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(make([]byte, recordSize))
	f.Add([]byte("file 12\ntotal_cache 5\n12 34 56"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decode(b); err != nil && !errors.Is(err, errRecord) {
			t.Errorf("decode: %v", err)
		}
		statValue(b, "file")
		parseStatm(string(b))
	})
}

func TestStatusBytes(t *testing.T) {
	text := []byte("Name:\tx\nVmSize:\t  1234 kB\nVmPTE:\t48 kB\n")
	for key, want := range map[string]uint64{"VmSize": 1234 << 10, "VmPTE": 48 << 10, "VmSwap": 0} {
		if got := statusBytes(text, key); got != want {
			t.Errorf("statusBytes(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestHistoryKeepsTheLast(t *testing.T) {
	var w history
	s := sampler{watched: map[string]*history{"/x": &w}}
	for i := range 10 {
		w.add(Sample{Usage: uint64(i)}, 4)
	}
	var got []uint64
	for _, one := range s.of("/x") {
		got = append(got, one.Usage)
	}
	if want := []uint64{6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if s.of("/y") != nil {
		t.Error("a cgroup that is not watched has a history")
	}
}

func TestStatValue(t *testing.T) {
	text := []byte("cache 1\ntotal_cache 4096\nfile 7\nfile_mapped 9\nbad\n")
	for key, want := range map[string]uint64{"total_cache": 4096, "file": 7, "none": 0} {
		if got := statValue(text, key); got != want {
			t.Errorf("statValue(%q) = %d, want %d", key, got, want)
		}
	}
}

// The kernel marks a victim once for each thread that wants memory while it dies.
func TestVictimIsToldOnce(t *testing.T) {
	var v victims
	for i, r := range []struct {
		record
		again bool
	}{
		{record{pid: 7, start: 1}, false}, {record{pid: 7, start: 1}, true},
		{record{pid: 7, start: 2}, false}, // another that has its id
		{record{pid: 8, start: 1}, false}, {record{pid: 7, start: 1}, true},
		{record{pid: 9}, false}, {record{pid: 9}, false}, // an old kernel
	} {
		if got := v.again(r.record); got != r.again {
			t.Errorf("%d: again is %t", i, got)
		}
	}
	for i := range uint32(len(v.of)) {
		v.again(record{pid: 100 + i, start: 1})
	}
	if v.again(record{pid: 7, start: 1}) {
		t.Error("remembers more than there is room for")
	}
}
