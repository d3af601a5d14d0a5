//go:build linux

package kernel

import (
	"bytes"
	"container/list"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxProcesses bounds the cache: some hundred bytes each, the least recently asked for goes first.
	maxProcesses = 16_384
	// maxArgs bounds what is kept of a command line, maxEnviron what is read for the service's name.
	maxArgs    = 4 << 10
	maxEnviron = 128 << 10
	// recheck is how long a process is believed to be the one that had its id.
	recheck = time.Second
	// recheckExec is the same for one without arguments, which execs, or has none.
	recheckExec = 10 * time.Millisecond
	// maxService bounds a service's name: it becomes a label of many series.
	maxService = 256
	// ticksPerSecond is USER_HZ, 100 on all architectures that Go runs on.
	ticksPerSecond = 100
)

// Process is who a process is. The Host keeps it for a while after its end, for
// events that are about its last acts.
type Process struct {
	PID, Parent int
	Start       time.Duration // since boot (CLOCK_BOOTTIME), in steps of 10 ms; with PID it names a process for good
	Comm        string        // at most 15 bytes
	Exe         string        // "" for kernel threads and where it may not be read
	Args        []string      // the first 4 KiB
	Cgroup      string        // path in cgroup v2 or, where v2 is not used, of the v1 controller that names a container
	Container   string        // id, 64 hex digits, or ""
	Pod         string        // uid, or ""
	Service     string        // what its environment calls it (OTEL_SERVICE_NAME), or ""
	Ended       bool

	image uint64 // where its arguments begin, which another exec changes; 0 where that may not be read
}

// Program is one run of a program: a process until it ends or execs. It is comparable.
type Program struct {
	start time.Duration
	image uint64
	exe   string
}

// Program returns which program the process runs.
func (p Process) Program() Program { return Program{p.Start, p.image, p.Exe} }

type processes struct {
	proc string
	mu   sync.Mutex
	byID map[int]*list.Element // of *knownProcess
	used *list.List            // most recent first
}

type knownProcess struct {
	Process
	checked time.Time
}

func newProcesses(proc string) *processes {
	return &processes{proc: proc, byID: map[int]*list.Element{}, used: list.New()}
}

// Process returns the process that has the id or, if none has, the last that was
// seen with it. ok is false if it ended before it was ever asked for.
func (h *Host) Process(pid int) (Process, bool) { return h.processes.get(pid) }

// Forget drops what is known of a process: for an exec, after which all but its id is new.
func (h *Host) Forget(pid int) {
	p := h.processes
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byID[pid]; e != nil {
		p.used.Remove(e)
		delete(p.byID, pid)
	}
}

func (p *processes) get(pid int) (Process, bool) {
	if pid <= 0 {
		return Process{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byID[pid]
	now := time.Now()
	if e != nil {
		p.used.MoveToFront(e)
		if k := e.Value.(*knownProcess); now.Sub(k.checked) < k.believed() || k.still(p.proc, now) {
			return k.Process, true
		}
	}
	found, ok := read(p.proc, pid)
	if !ok {
		if e == nil {
			return Process{}, false
		}
		k := e.Value.(*knownProcess)
		k.Ended = true
		return k.Process, true
	}
	k := &knownProcess{Process: found, checked: now}
	if e != nil {
		e.Value = k
		return found, true
	}
	p.byID[pid] = p.used.PushFront(k)
	if p.used.Len() > maxProcesses {
		last := p.used.Back()
		delete(p.byID, last.Value.(*knownProcess).PID)
		p.used.Remove(last)
	}
	return found, true
}

// execs reports whether the process was seen in the middle of an exec: it has its
// new file and name, but neither arguments nor environment yet.
func (k *knownProcess) execs() bool { return k.Exe != "" && len(k.Args) == 0 }

func (k *knownProcess) believed() time.Duration {
	if k.execs() {
		return recheckExec
	}
	return recheck
}

// still checks that the id was not given to another process. A changed name
// means an exec, and so do arguments that lie elsewhere: a process that was seen
// between its fork and its exec may bear the same name. All but the id is new then.
func (k *knownProcess) still(proc string, now time.Time) bool {
	if k.execs() {
		return false
	}
	st, ok := readStat(proc, k.PID)
	if !ok || st.start != k.Start || Text(st.comm) != k.Comm || st.image != k.image && st.image != 0 { // 0 at its end
		return false
	}
	k.checked = now
	return true
}

func read(proc string, pid int) (Process, bool) {
	st, ok := readStat(proc, pid)
	if !ok {
		return Process{}, false
	}
	dir := filepath.Join(proc, strconv.Itoa(pid))
	out := Process{PID: pid, Parent: st.parent, Start: st.start, Comm: Text(st.comm), image: st.image}
	out.Exe, _ = os.Readlink(filepath.Join(dir, "exe"))
	out.Exe = Text(strings.TrimSuffix(out.Exe, " (deleted)"))
	if b := readSome(filepath.Join(dir, "cmdline"), maxArgs); len(b) > 0 {
		out.Args = strings.Split(strings.TrimSuffix(Text(string(b)), "\x00"), "\x00")
	}
	out.Cgroup, out.Container, out.Pod = cgroupOf(Text(string(readSome(filepath.Join(dir, "cgroup"), maxArgs))))
	out.Service = serviceIn(readSome(filepath.Join(dir, "environ"), maxEnviron))
	out.Service = Text(out.Service[:min(len(out.Service), maxService)])
	// The id may have changed hands while its files were read.
	if again, ok := readStat(proc, pid); ok && again.start != st.start {
		return Process{}, false
	}
	return out, true
}

// Text is s as valid UTF-8. Names and arguments are what bytes a process likes; one
// that is no text would be refused further on, with all that it travels with.
func Text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

type stat struct {
	comm   string
	parent int
	start  time.Duration
	image  uint64
}

func readStat(proc string, pid int) (stat, bool) {
	b := readSome(filepath.Join(proc, strconv.Itoa(pid), "stat"), 1024)
	return parseStat(b)
}

// argStart is the place of arg_start (proc(5)) behind the name.
const argStart = 45

// parseStat reads "pid (comm) state ppid …"; comm may hold spaces and parentheses.
func parseStat(b []byte) (stat, bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, false
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return stat{}, false
	}
	parent, err1 := strconv.Atoi(f[1])
	ticks, err2 := strconv.ParseInt(f[19], 10, 64)
	if err1 != nil || err2 != nil {
		return stat{}, false
	}
	var image uint64
	if len(f) > argStart {
		image, _ = strconv.ParseUint(f[argStart], 10, 64) // a kernel without it says nothing
	}
	return stat{string(b[open+1 : end]), parent, time.Duration(ticks) * (time.Second / ticksPerSecond), image}, true
}

// cgroupOf picks of /proc/PID/cgroup the line that tells most: one with a
// container's id, else that of v2.
func cgroupOf(text string) (path, container, pod string) {
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		c, p := Container(parts[2])
		if c != "" && container == "" {
			path, container, pod = parts[2], c, p
		} else if parts[0] == "0" && container == "" {
			path, pod = parts[2], p
		}
	}
	return path, container, pod
}

// serviceIn reads the service's name as OpenTelemetry's SDKs do.
func serviceIn(environ []byte) string {
	var fromAttributes string
	for kv := range bytes.SplitSeq(environ, []byte{0}) {
		k, v, _ := strings.Cut(string(kv), "=")
		switch k {
		case "OTEL_SERVICE_NAME":
			if v != "" {
				return v
			}
		case "OTEL_RESOURCE_ATTRIBUTES":
			for pair := range strings.SplitSeq(v, ",") {
				if k, v, _ := strings.Cut(pair, "="); strings.TrimSpace(k) == "service.name" {
					if u, err := url.PathUnescape(strings.TrimSpace(v)); err == nil {
						fromAttributes = u
					}
				}
			}
		}
	}
	return fromAttributes
}

// readSome reads the beginning of a file, at most limit bytes; nothing where it cannot.
func readSome(name string, limit int64) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, limit))
	return b
}
