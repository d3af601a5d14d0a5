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

	"golang.org/x/sys/unix"
)

const (
	// maxCgroups bounds the cache of paths. A node runs some hundred containers;
	// when it overflows it is emptied, because a path is cheap to find again.
	maxCgroups = 4096
	// maxCgroupWalk bounds the search for an id without CAP_DAC_READ_SEARCH.
	maxCgroupWalk = 20_000
	// fileIDKernfs is the handle type of kernfs: the 8 bytes of the node's id.
	fileIDKernfs = 0xfe
)

type cgroups struct {
	mount string
	mu    sync.Mutex
	paths map[uint64]string
}

func newCgroups(mount string) *cgroups { return &cgroups{mount: mount, paths: map[uint64]string{}} }

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
	p, ok := c.find(id)
	if !ok {
		return "", false
	}
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
	found, seen := "", 0
	err := filepath.WalkDir(c.mount, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if seen++; seen > maxCgroupWalk {
			return fs.SkipAll
		}
		if fi, err := d.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Ino == id {
				found = p
				return fs.SkipAll
			}
		}
		return nil
	})
	if err == nil && found == "" {
		err = fs.ErrNotExist
	}
	return found, err
}

// cgroup2Mount finds the mount of cgroup v2: /sys/fs/cgroup where there is only
// v2, /sys/fs/cgroup/unified and others where v1 is beside it.
func cgroup2Mount(proc string) string {
	f, err := os.Open(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, ok := strings.Cut(s.Text(), " - ")
		if fields := strings.Fields(before); ok && len(fields) > 4 && strings.HasPrefix(after, "cgroup2 ") && fields[3] == "/" {
			return unescapeMount(fields[4])
		}
	}
	return ""
}

// unescapeMount undoes the octal escapes of mountinfo.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

var (
	containerID = regexp.MustCompile(`(?:^|[/:.-])([0-9a-f]{64})(?:\.scope)?(?:/|$)`)
	podUID      = regexp.MustCompile(`pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})`)
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
