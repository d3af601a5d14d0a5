//go:build linux

package telemetry

import (
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// maxSignals bounds the findings of one report, the worst first: a bad network
// makes all flows bad, and some dozen say so as well.
const maxSignals = 50

// TCP adds one connection out of the ordinary.
func (r *Records) TCP(e *tcp.Event) {
	who, other := subjectOf(e.Process, "", ""), r.Origin.Names.of(e.Identity)
	// Reset by a peer or refused is what somebody should look at; slow is a fact.
	severity, text := plog.SeverityNumberWarn, "WARN"
	if e.Kind == tcp.ConnectSlow || e.Kind == tcp.ClosedBad || e.Kind == tcp.Connection {
		severity, text = plog.SeverityNumberInfo, "INFO"
	}
	a := r.add(scopeTCP, &who, "kernel.tcp."+e.Kind.String(), e.Time, severity, text, sayTCP(e, who.service, other.name()))
	putFlow(a, e.Identity, other)
	switch e.Kind {
	case tcp.ConnectFailed:
		a.PutStr(semconv.ErrorType, e.Failure.String())
	case tcp.ResetSent, tcp.ResetReceived:
		a.PutStr(semconv.KernelTCPState, e.State.String())
	}
	putSeconds(a, semconv.KernelTCPDuration, e.Duration)
	putSeconds(a, semconv.KernelTCPSRTT, e.SRTT)
	putSeconds(a, semconv.KernelTCPRTTMax, e.MaxRTT)
	a.PutInt(semconv.KernelTCPRetransmits, int64(e.Retransmits))
}

// toward says the other end, by name if it has one.
func toward(i tcp.Identity, peer string) string {
	if peer == "" {
		return i.Remote.String()
	}
	return fmt.Sprintf("%s (%s)", peer, i.Remote)
}

// between says both ends in the order of who called.
func between(i tcp.Identity, service, peer string) string {
	if i.Role == tcp.Server {
		return fmt.Sprintf("of %s from %s to port %d", service, toward(i, peer), i.Local.Port())
	}
	return fmt.Sprintf("of %s to %s", service, toward(i, peer))
}

var failureWords = [tcp.Failures]string{
	tcp.Refused: "was refused", tcp.TimedOut: "had no answer", tcp.Unreachable: "found no way there",
	tcp.Canceled: "was given up", tcp.NoPort: "found no free local port", tcp.Other: "failed",
}

func sayTCP(e *tcp.Event, service, peer string) string {
	ends := between(e.Identity, service, peer)
	switch e.Kind {
	case tcp.ConnectSlow:
		return fmt.Sprintf("Connection %s took %s to come about.", ends, round(e.Duration))
	case tcp.ConnectFailed:
		s := fmt.Sprintf("Connection %s %s after %s", ends, failureWords[min(e.Failure, tcp.Other)], round(e.Duration))
		return s + again(e.Retransmits, "SYN", "SYNs") + "."
	case tcp.ResetSent:
		return fmt.Sprintf("%s reset its connection with %s in state %s.", service, toward(e.Identity, peer), e.State)
	case tcp.ResetReceived:
		return fmt.Sprintf("%s reset its connection with %s in state %s.", toward(e.Identity, peer), service, e.State)
	}
	s := fmt.Sprintf("Connection %s ended", ends)
	if e.Kind == tcp.Connection {
		s = fmt.Sprintf("Connection %s is open", ends)
	}
	if e.Duration > 0 {
		s += map[bool]string{true: " for ", false: " after "}[e.Kind == tcp.Connection] + round(e.Duration)
	}
	s += again(e.Retransmits, "segment", "segments")
	if e.MaxRTT > 0 {
		s += fmt.Sprintf(", round trips up to %s", round(e.MaxRTT))
	}
	return s + "."
}

func again(n uint32, one, many string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(", 1 %s sent again", one)
	}
	return fmt.Sprintf(", %d %s sent again", n, many)
}

// round keeps three digits, as much as anybody reads.
func round(d time.Duration) string {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
}

// Signals adds what is wrong in a report.
func (r *Records) Signals(report *tcp.Report, limits tcp.Limits) {
	r.signals(Signals(report, limits), report.To)
}

// Signals is the worst of what is wrong in a report, and keeps nothing else of it.
func Signals(report *tcp.Report, limits tcp.Limits) []tcp.Signal {
	all := tcp.Signals(*report, limits)
	out := slices.Clone(all[:min(len(all), maxSignals)])
	for i := range out {
		if f := out[i].Flow; f != nil {
			one := *f
			out[i].Flow = &one
		}
	}
	return out
}

func (r *Records) signals(found []tcp.Signal, at time.Time) {
	for _, s := range found {
		r.signal(s, at)
	}
}

var signalWords = map[string]string{
	tcp.SignalTimeWait:       "Many sockets wait in TIME_WAIT",
	tcp.SignalRetransmits:    "Many segments are sent again",
	tcp.SignalRTT:            "Round trips are long",
	tcp.SignalSYNACK:         "Connections take long to come about",
	tcp.SignalListenOverflow: "An accept queue is full",
}

func (r *Records) signal(s tcp.Signal, at time.Time) {
	var who *subject
	var other peer
	body := signalWords[s.Name]
	switch l := s.Listener; {
	case s.Flow != nil:
		w := subjectOf(s.Flow.Process, "", "")
		who, other = &w, r.Origin.Names.of(s.Flow.Identity)
		body += ", on connections " + between(s.Flow.Identity, w.service, other.name())
	case l != nil && l.Process.PID != 0:
		w := subjectOf(l.Process, "", "")
		who = &w
		body += fmt.Sprintf(", that of %s on port %d", w.service, l.Addr.Port())
	}
	if len(s.Evidence) > 0 {
		body += ": " + s.Evidence[0]
	}
	a := r.warn(scopeTCP, who, semconv.EventKernelTCPSignal, at, body+".")
	a.PutStr(semconv.KernelSignal, s.Name)
	a.PutDouble(semconv.KernelSignalValue, s.Value)
	a.PutDouble(semconv.KernelSignalLimit, s.Limit)
	putTexts(a, semconv.KernelSignalEvidence, s.Evidence)
	if s.Flow != nil {
		putFlow(a, s.Flow.Identity, other)
		return
	}
	if l := s.Listener; l != nil {
		putEndpoint(a, semconv.NetworkLocalAddress, l.Addr.Addr().String(), semconv.NetworkLocalPort, l.Addr.Port())
		putProcess(a, l.Process)
	}
	a.PutInt(semconv.KernelNetns, int64(s.NetNS))
}

func putTexts(a pcommon.Map, key string, texts []string) {
	list := a.PutEmptySlice(key)
	for _, t := range texts {
		list.AppendEmpty().SetStr(t)
	}
}
