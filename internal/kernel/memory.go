//go:build linux

package kernel

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// MemoryMount is where the memory controller's own hierarchy (cgroup v1, alone
// or beside v2) is mounted, "" where v2 has the controller. Where it is set, its
// cgroups tell containers apart and those of v2 may not.
func (h *Host) MemoryMount() string { return h.memory.mount }

// MemoryCgroup is Cgroup for ids of the memory controller's own hierarchy.
func (h *Host) MemoryCgroup(id uint64) (path string, ok bool) { return h.memory.path(id) }

// EachCgroup calls f with id and path of the cgroups that there are: those of
// the memory controller's own hierarchy or, where there is none, of v2. It
// stops after a bound or when f returns false.
func (h *Host) EachCgroup(f func(id uint64, path string) bool) {
	mount := h.memory.mount
	if mount == "" {
		mount = h.cgroup2
	}
	if mount == "" {
		return
	}
	seen := 0
	_ = filepath.WalkDir(mount, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a cgroup may go at any time
		}
		if seen++; seen > maxCgroupWalk {
			return fs.SkipAll
		}
		fi, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && !f(st.Ino, "/"+strings.TrimPrefix(strings.TrimPrefix(p, mount), "/")) {
			return fs.SkipAll
		}
		return nil
	})
}

// memoryMount finds the mount of the memory controller's own hierarchy.
func memoryMount(proc string) string {
	f, err := os.Open(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, ok := strings.Cut(s.Text(), " - ")
		at, fs := strings.Fields(before), strings.Fields(after)
		if ok && len(at) > 4 && len(fs) > 2 && fs[0] == "cgroup" && at[3] == "/" && slices.Contains(strings.Split(fs[2], ","), "memory") {
			return unescapeMount(at[4])
		}
	}
	return ""
}
