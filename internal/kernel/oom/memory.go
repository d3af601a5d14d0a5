//go:build linux

package oom

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

const (
	// maxWatched bounds the cgroups that are sampled: a node runs some hundred
	// containers, and each costs one small read a sample.
	maxWatched = 512
	// maxListed bounds the processes of a cgroup that are looked at after a kill,
	// so that the event is not late; each costs two small reads.
	maxListed = 512
	// nearLimit is the share of the limit from which on the sampler looks closer:
	// at page cache, and at who the processes are while they can still be asked.
	nearLimit = 0.8
	// maxAsked bounds how many processes of a cgroup near its limit are asked for at a sample.
	maxAsked = 64
	// noLimit: v1 says so with the largest number of whole pages.
	noLimit = math.MaxInt64 / 2
)

// Sample is the memory of a cgroup at a time.
type Sample struct {
	Time  time.Time
	Usage uint64 // bytes
	Cache uint64 // of these, page cache; 0 while the usage is far from the limit
}

// hierarchy reads the memory controller's files, which differ between v1 and v2.
type hierarchy struct {
	mount string
	v1    bool
}

func hierarchyOf(h *kernel.Host) hierarchy {
	if m := h.MemoryMount(); m != "" {
		return hierarchy{m, true}
	}
	return hierarchy{h.Cgroup2(), false}
}

func (h hierarchy) file(cgroup, v1, v2 string) string {
	if h.v1 {
		return filepath.Join(h.mount, cgroup, v1)
	}
	return filepath.Join(h.mount, cgroup, v2)
}

// limit in bytes, 0 for none.
func (h hierarchy) limit(cgroup string) uint64 {
	n, ok := readNumber(h.file(cgroup, "memory.limit_in_bytes", "memory.max"))
	if !ok || n >= noLimit {
		return 0
	}
	return n
}

func (h hierarchy) usage(cgroup string) (uint64, bool) {
	return readNumber(h.file(cgroup, "memory.usage_in_bytes", "memory.current"))
}

// cache is the page cache of a cgroup and all below it.
func (h hierarchy) cache(cgroup string) uint64 {
	text, err := readFile(h.file(cgroup, "memory.stat", "memory.stat"))
	if err != nil {
		return 0
	}
	key := "file"
	if h.v1 {
		key = "total_cache"
	}
	return statValue(text, key)
}

// statValue reads one line of a memory.stat.
func statValue(text []byte, key string) uint64 {
	for line := range bytes.Lines(text) {
		if k, v, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" ")); ok && string(k) == key {
			n, _ := strconv.ParseUint(string(v), 10, 64)
			return n
		}
	}
	return 0
}

// statusBytes reads one line of a /proc/PID/status that counts kB; 0 if there is none.
func statusBytes(text []byte, key string) uint64 {
	for line := range bytes.Lines(text) {
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && string(k) == key {
			n, _ := strconv.ParseUint(string(bytes.TrimSuffix(bytes.TrimSpace(v), []byte(" kB"))), 10, 64)
			return n << 10
		}
	}
	return 0
}

// processes lists the processes of a cgroup and of those below it, at most max.
func (h hierarchy) processes(cgroup string, max int) []int {
	var pids []int
	_ = filepath.WalkDir(filepath.Join(h.mount, cgroup), func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a cgroup may go at any time
		}
		f, err := os.Open(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if len(pids) >= max {
				return filepath.SkipAll
			}
			if pid, err := strconv.Atoi(s.Text()); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

func readNumber(name string) (uint64, bool) {
	b, err := readFile(name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

// sampler keeps the last minutes of memory of the cgroups that have a limit.
type sampler struct {
	h    *kernel.Host
	tree hierarchy
	keep int

	mu      sync.Mutex
	watched map[string]*history // by path
}

type history struct {
	limit   uint64
	samples []Sample // a ring once it is full
	next    int
}

func newSampler(h *kernel.Host, keep int) *sampler {
	return &sampler{h: h, tree: hierarchyOf(h), keep: keep, watched: map[string]*history{}}
}

// search finds the cgroups that have a limit now.
func (s *sampler) search() {
	found := map[string]uint64{}
	s.h.EachCgroup(func(_ uint64, path string) bool {
		if limit := s.tree.limit(path); limit > 0 {
			found[path] = limit
		}
		return len(found) < maxWatched
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range s.watched {
		if found[path] == 0 {
			delete(s.watched, path)
		}
	}
	for path, limit := range found {
		if w := s.watched[path]; w != nil {
			w.limit = limit
		} else {
			s.watched[path] = &history{limit: limit}
		}
	}
}

func (s *sampler) sample(now time.Time) {
	// Files are read without the lock, which a kill's event waits for.
	s.mu.Lock()
	limits := make(map[string]uint64, len(s.watched))
	for path, w := range s.watched {
		limits[path] = w.limit
	}
	s.mu.Unlock()
	for path, limit := range limits {
		usage, ok := s.tree.usage(path)
		if !ok {
			continue
		}
		one := Sample{Time: now, Usage: usage}
		if float64(usage) >= nearLimit*float64(limit) {
			one.Cache = s.tree.cache(path)
			for _, pid := range s.tree.processes(path, maxAsked) {
				s.h.Process(pid) // the Host remembers who it was
			}
		}
		s.mu.Lock()
		if w := s.watched[path]; w != nil {
			w.add(one, s.keep)
		}
		s.mu.Unlock()
	}
}

func (w *history) add(one Sample, keep int) {
	if len(w.samples) < keep {
		w.samples = append(w.samples, one)
		return
	}
	w.samples[w.next] = one
	w.next = (w.next + 1) % keep
}

// of returns the samples of a cgroup, the oldest first.
func (s *sampler) of(path string) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watched[path]
	if w == nil {
		return nil
	}
	return slices.Concat(w.samples[w.next:], w.samples[:w.next])
}
