//go:build linux && (amd64 || arm64)

package attach

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Unseen is the id of a process that is attached, but has no id in our PID namespace.
const Unseen = -1

// Holder names who is attached, for people.
func Holder(also int) string {
	if also == Unseen {
		return "a process in another PID namespace"
	}
	return "process " + strconv.Itoa(also)
}

// A process that is attached to is claimed by a lock on its PID namespace: a file that all
// containers and users have in common, in which nothing can be written, and whose locks the
// kernel takes back with their holder's last file, however that ends. Where in the file
// says which process it is, by its number in that namespace, and who has it: locks are shared, and
// of locks like these the kernel tells the place, but not the holder.
const (
	pidBits = 22 // PID_MAX_LIMIT
	nsBits  = 63 - 2*pidBits
)

// claim locks the process for whoever asks as long as the file is open, and says who else
// has it: 0 for nobody, Unseen, or a process id. One of several is told.
func claim(proc string, pid int) (_ *os.File, also int, err error) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	inner, err := innerPID(filepath.Join(dir, "status"))
	if err != nil {
		return nil, 0, fmt.Errorf("claim process %d: %w", pid, err)
	}
	own := pidNamespace()
	file, err := os.Open(filepath.Join(dir, "ns/pid"))
	if err != nil {
		return nil, 0, fmt.Errorf("claim process %d: %w", pid, err)
	}
	target := int64(inner) << (pidBits + nsBits)
	mine := unix.Flock_t{Type: unix.F_RDLCK, Start: target | own<<pidBits | int64(os.Getpid()), Len: 1}
	any := unix.Flock_t{Type: unix.F_WRLCK, Start: target, Len: 1 << (pidBits + nsBits)}
	// First ours: of two at once, at least one sees the other.
	if err = unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &mine); err == nil {
		err = unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &any)
	}
	if err != nil {
		_ = file.Close()
		return nil, 0, fmt.Errorf("claim process %d: %w", pid, err)
	}
	if any.Type == unix.F_UNLCK {
		return file, 0, nil
	}
	if any.Len != 1 || any.Start>>pidBits&(1<<nsBits-1) != own {
		return file, Unseen, nil
	}
	return file, int(any.Start & (1<<pidBits - 1)), nil
}

// pidNamespace is as much of our PID namespace's number as tells it from others.
func pidNamespace() int64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) != nil {
		return 0
	}
	return int64(st.Ino) & (1<<nsBits - 1)
}

// innerPID is a process's number in its own PID namespace.
func innerPID(status string) (int, error) {
	b, err := os.ReadFile(status)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(rest)
			if len(f) > 0 {
				return strconv.Atoi(f[len(f)-1])
			}
		}
	}
	return 0, fmt.Errorf("%s has no NSpid", status)
}
