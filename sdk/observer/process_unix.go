//go:build unix && !linux

package observer

import "syscall"

const hasCPU, hasProc = true, false

// process is what the system says of this process.
type process struct {
	user, system        float64 // seconds of CPU
	rss, threads, files int64   // unknown here
}

func (p *process) read() {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		p.user = float64(u.Utime.Sec) + float64(u.Utime.Usec)/1e6
		p.system = float64(u.Stime.Sec) + float64(u.Stime.Usec)/1e6
	}
}
