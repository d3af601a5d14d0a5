//go:build linux && (amd64 || arm64)

package attach

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Target says which processes are meant: all conditions that are set must hold.
type Target struct {
	PID       int
	Exe       string // path of the executable as the process sees it, or its last element
	Container string // id, or at least its first 12 digits
}

// minContainer is how much of a container's id names it: what tools print.
const minContainer = 12

func (t Target) matches(p kernel.Process) bool {
	if t == (Target{}) {
		return false
	}
	exe := strings.TrimSuffix(p.Exe, " (deleted)")
	return (t.PID == 0 || t.PID == p.PID) &&
		(t.Exe == "" || t.Exe == exe || t.Exe == filepath.Base(exe)) &&
		(t.Container == "" || len(t.Container) >= minContainer && strings.HasPrefix(p.Container, t.Container))
}

// search attaches to processes that match and are new, and detaches from ended ones.
func (f *Feature) search() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for pid, a := range f.attached {
		if p, ok := f.host.Process(pid); ok && !p.Ended && p.Program() == a.Program() {
			continue
		}
		_ = a.detach() // its memory is gone, nothing is left to fail
		a.ended = time.Now()
		delete(f.attached, pid)
		f.tell(Process{Process: a.Process})
	}
	self := f.host.Self()
	alive := map[int]bool{}
	for _, pid := range f.candidates() {
		alive[pid] = true
		p, ok := f.host.Process(pid)
		if !ok || p.Ended || f.attached[pid] != nil || pid == self {
			continue // of our own requests we would make spans, and of sending these
		}
		if known, ok := f.known[pid]; ok && known == p.Program() {
			continue // before its exec it was its parent's program
		}
		if p.Exe == "" || len(p.Args) == 0 {
			continue // a kernel thread, or in the middle of its exec
		}
		if !slices.ContainsFunc(f.opts.Targets, func(t Target) bool { return t.matches(p) }) {
			f.known[pid] = p.Program()
			continue
		}
		began := time.Now()
		a, libraries, injects, err := f.attach(p)
		if err != nil {
			f.known[pid] = p.Program()
			f.tell(Process{Process: p, Libraries: libraries, Err: err})
			continue
		}
		f.attached[pid] = a
		f.tell(Process{Process: p, Attached: true, Took: time.Since(began), Also: a.also, Libraries: libraries, Injects: injects})
	}
	for pid := range f.known {
		if !alive[pid] {
			delete(f.known, pid)
		}
	}
}

func (f *Feature) tell(p Process) {
	if f.opts.OnProcess != nil {
		f.opts.OnProcess(p)
	}
}

// candidates lists the processes to look at.
func (f *Feature) candidates() []int {
	var pids []int
	for _, t := range f.opts.Targets {
		if t.PID == 0 {
			return allProcesses(f.host.Proc())
		}
		pids = append(pids, t.PID)
	}
	return pids
}

func allProcesses(proc string) []int {
	entries, _ := os.ReadDir(proc) // what cannot be listed has none
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func exeOf(proc string, pid int) string { return filepath.Join(proc, strconv.Itoa(pid), "exe") }

func netnsOf(proc string, pid int) uint32 {
	fi, err := os.Stat(filepath.Join(proc, strconv.Itoa(pid), "ns/net"))
	if err != nil {
		return 0
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint32(st.Ino)
	}
	return 0
}
