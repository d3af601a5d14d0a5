//go:build linux

package telemetry

import (
	"cmp"
	"path"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Names of instrumentation scopes.
const (
	scopeTCP    = "guanlan.kernel.tcp"
	scopeOOM    = "guanlan.kernel.oom"
	scopeAudit  = "guanlan.kernel.audit"
	scopeHealth = "guanlan.kernel"
)

// Origin is where the telemetry comes from.
type Origin struct {
	Host    string // host.name
	Service string // service.name of what is not about a process: the agent's own
	Version string // of the scopes

	Names *Names // nil: none
}

// noProcess stands for sockets that no process owns, such as those that NFS has.
const noProcess = "kernel"

// subject is what a resource says of a process. Processes that it does not tell
// apart share metrics.
type subject struct {
	service, exe, container, pod string
}

// subjectOf names the service as its environment does, else by its program.
// Container and pod come from the event where it knows better than the process,
// which may be gone.
func subjectOf(p kernel.Process, container, pod string) subject {
	s := subject{exe: p.Comm, container: cmp.Or(container, p.Container), pod: cmp.Or(pod, p.Pod)}
	if p.Exe != "" {
		s.exe = path.Base(p.Exe)
	}
	s.service = cmp.Or(p.Service, s.exe, noProcess)
	return s
}

func (s subject) compare(o subject) int {
	return cmp.Or(cmp.Compare(s.service, o.service), cmp.Compare(s.exe, o.exe), cmp.Compare(s.container, o.container), cmp.Compare(s.pod, o.pod))
}

// shortContainer is how much of a container's id names it among people.
const shortContainer = 12

// instance tells the streams of one service apart: several programs may run
// with one OTEL_SERVICE_NAME, which children inherit.
func (s subject) instance(host string) string {
	at := host
	if s.container != "" {
		at += "/" + s.container[:min(len(s.container), shortContainer)]
	}
	if s.exe != "" {
		at += "/" + s.exe
	}
	return at
}

func (s subject) each(o Origin, f func(key, value string)) {
	f(semconv.ServiceName, s.service)
	f(semconv.ServiceInstanceID, s.instance(o.Host))
	f(semconv.HostName, o.Host)
	f(semconv.ContainerID, s.container)
	f(semconv.K8sPodUID, s.pod)
	f(semconv.ProcessExecutableName, s.exe)
	if s.pod != "" {
		o.Names.pod(s.pod, f)
	}
}

func (s subject) put(o Origin, r pcommon.Resource) {
	s.each(o, func(k, v string) { putText(r.Attributes(), k, v) })
}

// resourceOfProfile is the resource of one process, which a profile is about:
// what it says of several is summed up by who reads it.
func resourceOfProfile(o Origin, p kernel.Process) map[string]string {
	out := map[string]string{}
	subjectOf(p, "", "").each(o, func(k, v string) {
		if v != "" {
			out[k] = v
		}
	})
	if p.PID != 0 {
		out[semconv.ProcessPID] = strconv.Itoa(p.PID)
	}
	return out
}

// own is the resource of what is about the whole machine or the agent.
func (o Origin) own(r pcommon.Resource) {
	a := r.Attributes()
	putText(a, semconv.ServiceName, o.Service)
	putText(a, semconv.ServiceInstanceID, o.Host)
	putText(a, semconv.HostName, o.Host)
}

// putText leaves out what is not known.
func putText(m pcommon.Map, key, value string) {
	if value != "" {
		m.PutStr(key, value)
	}
}
