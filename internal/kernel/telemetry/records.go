//go:build linux

package telemetry

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Records collects log records of events by who they are about. The zero value
// with an Origin works. Not safe for concurrent use.
type Records struct {
	Origin Origin

	out plog.Logs
	by  map[recordsOf]plog.LogRecordSlice
	n   int
}

type recordsOf struct {
	who   subject
	own   bool
	scope string
}

// Len is how many there are.
func (r *Records) Len() int { return r.n }

// Take returns what there is and begins anew.
func (r *Records) Take() plog.Logs {
	out := r.out
	if r.n == 0 {
		out = plog.NewLogs()
	}
	*r = Records{Origin: r.Origin}
	return out
}

// add makes a record about who, or nil: the machine.
func (r *Records) add(scope string, who *subject, name string, at time.Time, severity plog.SeverityNumber, text, body string) pcommon.Map {
	if r.by == nil {
		r.out, r.by = plog.NewLogs(), map[recordsOf]plog.LogRecordSlice{}
	}
	k := recordsOf{own: who == nil, scope: scope}
	if who != nil {
		k.who = *who
	}
	list, ok := r.by[k]
	if !ok {
		rl := r.out.ResourceLogs().AppendEmpty()
		if who == nil {
			r.Origin.own(rl.Resource())
		} else {
			who.put(r.Origin, rl.Resource())
		}
		sl := rl.ScopeLogs().AppendEmpty()
		sl.Scope().SetName(scope)
		sl.Scope().SetVersion(r.Origin.Version)
		list = sl.LogRecords()
		r.by[k] = list
	}
	l := list.AppendEmpty()
	r.n++
	l.SetTimestamp(pcommon.NewTimestampFromTime(at))
	l.SetObservedTimestamp(l.Timestamp())
	l.SetEventName(name)
	l.SetSeverityNumber(severity)
	l.SetSeverityText(text)
	l.Body().SetStr(body)
	return l.Attributes()
}

func (r *Records) warn(scope string, who *subject, name string, at time.Time, body string) pcommon.Map {
	return r.add(scope, who, name, at, plog.SeverityNumberWarn, "WARN", body)
}

// putFlow says who talks to whom.
func putFlow(a pcommon.Map, i tcp.Identity, other peer) {
	a.PutStr(semconv.KernelTCPRole, i.Role.String())
	putEndpoint(a, semconv.NetworkLocalAddress, i.Local.Addr().String(), semconv.NetworkLocalPort, i.Local.Port())
	putEndpoint(a, semconv.NetworkPeerAddress, i.Remote.Addr().String(), semconv.NetworkPeerPort, i.Remote.Port())
	putPeer(a, other)
	putProcess(a, i.Process)
	putText(a, semconv.KernelCgroup, i.Cgroup)
	a.PutInt(semconv.KernelNetns, int64(i.NetNS))
}

func putPeer(a pcommon.Map, p peer) {
	putText(a, semconv.ServicePeerName, p.service)
	putText(a, semconv.ServicePeerNamespace, p.namespace)
	putText(a, semconv.ServerAddress, p.server)
}

func putEndpoint(a pcommon.Map, address, host, portKey string, port uint16) {
	a.PutStr(address, host)
	if port != 0 {
		a.PutInt(portKey, int64(port))
	}
}

func putProcess(a pcommon.Map, p kernel.Process) {
	if p.PID != 0 {
		a.PutInt(semconv.ProcessPID, int64(p.PID))
	}
}

// putSeconds leaves out what was not measured.
func putSeconds(a pcommon.Map, key string, d time.Duration) {
	if d > 0 {
		a.PutDouble(key, d.Seconds())
	}
}
