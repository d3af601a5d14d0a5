package observer

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"syscall"
)

const hasCPU, hasProc = true, true

// process is what the system says of this process.
type process struct {
	user, system        float64 // seconds of CPU
	rss, threads, files int64
	line                [1024]byte // of /proc/self/stat, which has some 350 bytes
	entries             []byte     // of /proc/self/fd
}

// read asks the system. What it does not answer stays what it was: a service
// that has no file descriptors left should not seem to have none in use.
func (p *process) read() {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		p.user, p.system = seconds(u.Utime), seconds(u.Stime)
	}
	if n := readSmall("/proc/self/stat", p.line[:]); n > 0 {
		if threads, pages, ok := parseStat(p.line[:n]); ok {
			p.threads, p.rss = threads, pages*pageSize
		}
	}
	if n, ok := countByStat(); ok {
		p.files = n
	} else if n, ok := p.countByListing(); ok {
		p.files = n
	}
}

var pageSize = int64(os.Getpagesize())

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// readSmall reads a file that fits into buf, past the poller of package os.
func readSmall(name string, buf []byte) int {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer syscall.Close(fd)
	n, err := syscall.Read(fd, buf)
	if err != nil {
		return 0
	}
	return n
}

// Fields of /proc/PID/stat after the name of the program, which is in brackets
// and may hold anything. Source: proc_pid_stat(5), where the first is field 3.
const (
	statThreads = 20 - 3
	statRSS     = 24 - 3
)

func parseStat(line []byte) (threads, pages int64, ok bool) {
	end := bytes.LastIndexByte(line, ')')
	if end < 0 {
		return 0, 0, false
	}
	rest, found := line[end+1:], 0
	for at := 0; at <= statRSS; at++ {
		rest = bytes.TrimLeft(rest, " ")
		word, after, _ := bytes.Cut(rest, []byte{' '})
		rest = after
		if at != statThreads && at != statRSS {
			continue
		}
		n, err := strconv.ParseInt(string(word), 10, 64)
		if err != nil || n < 0 {
			return 0, 0, false
		}
		if found++; at == statThreads {
			threads = n
		} else {
			pages = n
		}
	}
	return threads, pages, found == 2
}

const descriptors = "/proc/self/fd"

// countByStat needs no descriptor itself. Linux says the number since 6.2, before
// it says 0.
func countByStat() (int64, bool) {
	var st syscall.Stat_t
	if syscall.Stat(descriptors, &st) != nil || st.Size <= 0 {
		return 0, false
	}
	return st.Size, true
}

// maxListed bounds the time that listing takes, to some 20 ms; a service with
// more descriptors has this many at least.
const maxListed = 100_000

// countByListing counts the entries of the directory.
func (p *process) countByListing() (n int64, ok bool) {
	fd, err := syscall.Open(descriptors, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer syscall.Close(fd)
	if p.entries == nil {
		p.entries = make([]byte, 16<<10)
	}
	for n < maxListed {
		size, err := syscall.ReadDirent(fd, p.entries)
		if err != nil {
			return 0, false
		}
		if size == 0 {
			break
		}
		// struct linux_dirent64: inode and offset of 8 bytes each, then the
		// length of the entry.
		for b := p.entries[:size]; len(b) > 18; n++ {
			b = b[min(max(int(binary.NativeEndian.Uint16(b[16:])), 1), len(b)):]
		}
	}
	return max(n-3, 0), true // ".", ".." and the one that lists
}
