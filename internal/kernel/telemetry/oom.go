//go:build linux

package telemetry

import (
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// topProcess and memorySample are rows of kernel.oom.top and kernel.oom.history.
type topProcess struct {
	PID        int    `json:"pid"`
	Comm       string `json:"comm"`
	Executable string `json:"executable,omitempty"`
	Resident   uint64 `json:"resident"` // bytes
	Shared     uint64 `json:"shared"`
}

type memorySample struct {
	Time  time.Time `json:"time"`
	Usage uint64    `json:"usage"` // bytes
	Cache uint64    `json:"cache"`
}

// OOM adds one kill.
func (r *Records) OOM(e *oom.Event) {
	who := subjectOf(kernel.Process{Comm: e.Comm, Exe: e.Exe, Service: e.Service}, e.Container, e.Pod)
	a := r.add(scopeOOM, &who, semconv.EventKernelOOM, e.Time, plog.SeverityNumberError, "ERROR", sayOOM(e, who.service))
	a.PutInt(semconv.ProcessPID, int64(e.PID))
	a.PutInt(semconv.ProcessParentPID, int64(e.Parent))
	a.PutStr(semconv.UserID, fmt.Sprint(e.UID))
	putText(a, semconv.ProcessExecutablePath, e.Exe)
	putText(a, semconv.ProcessCommandLine, strings.Join(e.Args, " "))
	putText(a, semconv.ContainerName, e.ContainerName)
	putText(a, semconv.ContainerImageName, e.Image)
	putText(a, semconv.KernelCgroup, e.Cgroup)
	putText(a, semconv.KernelOOMLimitCgroup, e.LimitCgroup)
	putText(a, semconv.KernelOOMBy, fmt.Sprintf("%s(%d)", e.ByComm, e.By))
	a.PutBool(semconv.KernelOOMHost, e.Host)
	for _, v := range []struct {
		key   string
		bytes uint64
	}{
		{semconv.KernelOOMRSS, e.RSS()}, {semconv.KernelOOMAnonymous, e.Anonymous}, {semconv.KernelOOMFile, e.File}, {semconv.KernelOOMSwap, e.Swap},
		{semconv.KernelOOMLimit, e.Limit}, {semconv.KernelOOMUsage, e.Usage}, {semconv.KernelOOMPageCache, e.PageCache},
	} {
		a.PutInt(v.key, int64(v.bytes))
	}
	a.PutInt(semconv.KernelOOMScoreAdj, int64(e.ScoreAdj))
	putSeconds(a, semconv.KernelOOMLag, e.Lag)
	top := make([]topProcess, len(e.Top))
	for i, u := range e.Top {
		top[i] = topProcess{u.PID, u.Comm, u.Exe, u.Resident, u.Shared}
	}
	history := make([]memorySample, len(e.History))
	for i, s := range e.History {
		history[i] = memorySample{s.Time.UTC(), s.Usage, s.Cache}
	}
	putJSON(a, semconv.KernelOOMTop, top)
	putJSON(a, semconv.KernelOOMHistory, history)
}

func sayOOM(e *oom.Event, service string) string {
	s := fmt.Sprintf("The kernel killed %s (process %d), which held %s", service, e.PID, size(e.RSS()))
	switch {
	case e.Host:
		return s + ": the machine has no more memory."
	case e.LimitCgroup == "":
		return s + fmt.Sprintf(": the limit of %s was reached.", size(e.Limit))
	}
	return s + fmt.Sprintf(": the limit of %s of cgroup %s was reached.", size(e.Limit), e.LimitCgroup)
}

// size says bytes for people.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/(1<<10), 0
	for v >= 1<<10 && i < len(units)-1 {
		v /= 1 << 10
		i++
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + units[i:i+1] + "iB"
}
