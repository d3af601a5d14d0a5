//go:build linux

// Package telemetry says in OpenTelemetry's terms what the features of
// internal/kernel find: metrics of TCP connections, log records of events,
// profiles, and how the features themselves fare. Names are those of
// internal/semconv.
//
// What a Converter makes is the caller's. Run (run.go) is the whole: features,
// converters, and bounded queues between the kernel's rings and who takes the
// telemetry.
package telemetry

import (
	"cmp"
	"path"

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

func (s subject) put(o Origin, r pcommon.Resource) {
	a := r.Attributes()
	putText(a, semconv.ServiceName, s.service)
	putText(a, semconv.ServiceInstanceID, s.instance(o.Host))
	putText(a, semconv.HostName, o.Host)
	putText(a, semconv.ContainerID, s.container)
	putText(a, semconv.K8sPodUID, s.pod)
	putText(a, semconv.ProcessExecutableName, s.exe)
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
