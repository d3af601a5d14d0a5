//go:build linux

package kernel

import (
	"slices"
	"strings"
)

// MemoryMount is where the memory controller's own hierarchy (cgroup v1, alone
// or beside v2) is mounted, "" where v2 has the controller. Where it is set, its
// cgroups tell containers apart and those of v2 may not.
func (h *Host) MemoryMount() string { return h.memory.mount }

// MemoryCgroup is Cgroup for ids of the memory controller's own hierarchy.
func (h *Host) MemoryCgroup(id uint64) (path string, ok bool) { return h.memory.path(id) }

// containers are the cgroups that tell containers apart: of the memory
// controller's own hierarchy or, where there is none, of v2.
func (h *Host) containers() *cgroups {
	if h.memory.mount != "" {
		return h.memory
	}
	return h.cgroups
}

// EachCgroup calls f with id and path of the cgroups that there are: those of
// the memory controller's own hierarchy or, where there is none, of v2. It
// stops after a bound or when f returns false.
func (h *Host) EachCgroup(f func(id uint64, path string) bool) {
	c := h.containers()
	c.each(func(id uint64, file string) bool {
		return f(id, "/"+strings.TrimPrefix(strings.TrimPrefix(file, c.mount), "/"))
	})
}

// memoryMount finds the mount of the memory controller's own hierarchy.
func memoryMount(proc string) string {
	return findMount(proc, func(kind string, options []string) bool {
		return kind == "cgroup" && slices.Contains(options, "memory")
	})
}
