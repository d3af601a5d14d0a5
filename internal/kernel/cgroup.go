//go:build linux

package kernel

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxCgroups bounds the cache of paths. A node runs some hundred containers;
	// when it overflows it is emptied, because a path is cheap to find again.
	maxCgroups = 4096
	// maxCgroupWalk bounds a walk over all, as the search for an id without
	// CAP_DAC_READ_SEARCH is.
	maxCgroupWalk = 20_000
	// askAgain is how long a cgroup that was not found is not looked for: it was
	// removed, and its id is not given again.
	askAgain = 10 * time.Second
	// fileIDKernfs is the handle type of kernfs: the 8 bytes of the node's id.
	fileIDKernfs = 0xfe
)

// Members are processes of a container's cgroup, at most n, by the path that Cgroup
// or, where the memory controller has a hierarchy of its own, MemoryCgroup gave.
func (h *Host) Members(path string, n int) []Process {
	c := h.containers()
	if c.mount == "" || path == "" {
		return nil
	}
	var out []Process
	for line := range strings.Lines(string(readSome(filepath.Join(c.mount, path, "cgroup.procs"), maxArgs))) {
		pid, err := strconv.Atoi(strings.TrimSpace(line)) // 0: of a namespace that is not seen from here
		if p, ok := h.Process(pid); err == nil && ok && !p.Ended {
			out = append(out, p)
		}
		if len(out) == n {
			break
		}
	}
	return out
}

type cgroups struct {
	mount string
	mu    sync.Mutex
	paths map[uint64]string
	gone  map[uint64]time.Time // when it was looked for
}

func newCgroups(mount string) *cgroups {
	return &cgroups{mount: mount, paths: map[uint64]string{}, gone: map[uint64]time.Time{}}
}

// Cgroup returns the path of a cgroup v2 below its mount, "/" for the root, by the id that
// bpf_get_current_cgroup_id and kernfs_node.id give. A cgroup that was removed is known
// if it was asked for before; ok is false for others.
func (h *Host) Cgroup(id uint64) (path string, ok bool) { return h.cgroups.path(id) }

func (c *cgroups) path(id uint64) (string, bool) {
	if c.mount == "" || id == 0 {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.paths[id]; ok {
		return p, true
	}
	now := time.Now()
	if at, ok := c.gone[id]; ok && now.Sub(at) < askAgain {
		return "", false
	}
	p, ok := c.find(id)
	if !ok {
		if len(c.gone) >= maxCgroups {
			clear(c.gone)
		}
		c.gone[id] = now
		return "", false
	}
	p = Text(p)
	if len(c.paths) >= maxCgroups {
		clear(c.paths)
	}
	c.paths[id] = p
	return p, true
}

func (c *cgroups) find(id uint64) (string, bool) {
	p, err := c.byHandle(id)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		p, err = c.byWalk(id)
	}
	if err != nil {
		return "", false
	}
	rel, err := filepath.Rel(c.mount, p)
	if err != nil || strings.HasPrefix(rel, "..") {
		return "", false
	}
	return filepath.Join("/", rel), true
}

func (c *cgroups) byHandle(id uint64) (string, error) {
	mount, err := unix.Open(c.mount, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(mount)
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], id)
	fd, err := unix.OpenByHandleAt(mount, unix.NewFileHandle(fileIDKernfs, b[:]), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
}

func (c *cgroups) byWalk(id uint64) (string, error) {
	found := ""
	c.each(func(one uint64, path string) bool {
		if one == id {
			found = path
		}
		return found == ""
	})
	if found == "" {
		return "", fs.ErrNotExist
	}
	return found, nil
}

// each calls f with id and file of the cgroups that there are, until a bound or
// until f returns false.
func (c *cgroups) each(f func(id uint64, file string) bool) {
	if c.mount == "" {
		return
	}
	seen := 0
	_ = filepath.WalkDir(c.mount, func(p string, d fs.DirEntry, err error) error {
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
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && !f(st.Ino, p) {
			return fs.SkipAll
		}
		return nil
	})
}

// cgroup2Mount finds the mount of cgroup v2: /sys/fs/cgroup where there is only
// v2, /sys/fs/cgroup/unified and others where v1 is beside it.
func cgroup2Mount(proc string) string {
	return findMount(proc, func(kind string, _ []string) bool { return kind == "cgroup2" })
}

// findMount is where the first file system is mounted, with its root, that is asked for by
// its type and the options of the whole file system; "" if there is none.
func findMount(proc string, wanted func(kind string, options []string) bool) string {
	f, err := os.Open(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, ok := strings.Cut(s.Text(), " - ")
		at, kind := strings.Fields(before), strings.Fields(after)
		if ok && len(at) > 4 && len(kind) > 2 && at[3] == "/" && wanted(kind[0], strings.Split(kind[2], ",")) {
			return unescapeMount(at[4])
		}
	}
	return ""
}

// unescapeMount undoes the octal escapes of mountinfo.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

var (
	containerID = regexp.MustCompile(`(?:^|[/:.-])([0-9a-f]{64})(?:\.scope)?(?:/|$)`)
	// The uid of a static pod is 32 digits without dashes.
	podUID = regexp.MustCompile(`(?:^|[/-])pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?:[/:]|$)`)
)

// Container reads the ids of container and pod out of a cgroup's path as Docker,
// containerd, CRI-O and Podman write it, with cgroupfs and systemd drivers. Both may be "".
func Container(path string) (container, pod string) {
	if m := containerID.FindAllStringSubmatch(path, -1); m != nil {
		container = m[len(m)-1][1]
	}
	if m := podUID.FindStringSubmatch(path); m != nil {
		pod = strings.ReplaceAll(m[1], "_", "-")
	}
	return container, pod
}
