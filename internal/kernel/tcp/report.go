//go:build linux

package tcp

import (
	"net/netip"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Role is which side of its connections a flow's process is.
type Role uint8

// The kernel knows the role of connections that it saw begin. Of older ones, those
// whose local port is listened on count as the server's.
const (
	Client Role = 1
	Server Role = 2
)

func (r Role) String() string {
	switch r {
	case Client:
		return "client"
	case Server:
		return "server"
	}
	return "unknown"
}

// Identity is who talks to whom. All connections of one process to one remote
// endpoint, or from one remote address to one listening port, are one flow: the
// port of the side that has an ephemeral one is 0.
type Identity struct {
	Process kernel.Process // only PID, Start and Comm if it ended unseen; zero for sockets that no process owns
	Cgroup  string         // path in cgroup v2, "" if unknown
	NetNS   uint32         // inode of the network namespace
	Role    Role
	// PeerProcess is the other side where it is a process of this host, in any
	// network namespace; zero where it is not, where an address was translated
	// between them, and where several programs may be meant.
	PeerProcess kernel.Process
	Local       netip.AddrPort
	// Remote is :: for the connections of a process that found no room in the
	// kernel's table, together.
	Remote netip.AddrPort
}

// Flow is what a flow's connections did in the interval of a Report.
type Flow struct {
	Identity

	Open uint32 // connections at the end of the interval; 0 also where sockets cannot be listed

	BytesSent     uint64 // acknowledged by the peer
	BytesReceived uint64
	DataSegments  uint32 // sent with data, first times and again
	Retransmits   uint32 // segments with data or FIN sent again
	OutOfOrder    uint32 // segments that came out of order
	ZeroPeer      uint32 // times the peer closed its window: it does not read
	ZeroLocal     uint32 // times we closed ours: this process reads too slowly, or not at all

	RTTs    uint32 // samples
	RTTOver uint32 // of them above Options.SlowRTT
	RTTSum  time.Duration
	RTT     RTTHistogram

	// Client: SYN to SYN-ACK.
	Connects    uint32
	ConnectOver uint32 // of them above Options.SlowConnect
	ConnectSum  time.Duration
	Connect     ConnectHistogram
	SYNsAgain   uint32 // SYNs sent again
	Failed      [Failures]uint32

	// Server: SYN-ACK to ACK, and the wait of accepted connections, or of their
	// first data, until the process read for the first time.
	Accepts       uint32
	HandshakeOver uint32
	HandshakeSum  time.Duration
	SYNACKsAgain  uint32 // counted at the listener's flow: remote address ::
	Waits         uint32
	WaitOver      uint32 // of them above Options.SlowAccept
	WaitSum       time.Duration

	Closed         uint32
	TimeWaits      uint32 // of them, those that left a socket in TIME_WAIT here
	ResetsSent     uint32
	ResetsReceived uint32
}

// Failure is why a connection did not come about.
type Failure uint8

const (
	Refused Failure = iota
	TimedOut
	Unreachable
	Canceled // closed by its process before an answer, such as by a timeout of its own
	NoPort   // no local port was free
	Other
	Failures = 6
)

func (f Failure) String() string {
	return [...]string{"refused", "timeout", "unreachable", "canceled", "no_port", "other"}[min(f, Other)]
}

// State is a state of TCP, as the kernel numbers them.
type State uint8

const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	NewSynRecv
	States
)

func (s State) String() string {
	if s == 0 || s >= States {
		return "unknown"
	}
	return [...]string{"established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close",
		"close_wait", "last_ack", "listen", "closing", "new_syn_recv"}[s-1]
}

// Namespace is one network namespace at the end of an interval.
type Namespace struct {
	ID     uint32 // inode
	States [States]uint32
	// What the namespace's own counters rose by in the interval; 0 in the first
	// report that has the namespace.
	ListenOverflows, ListenDrops uint64
	OutSegments, Retransmits     uint64
	AttemptFails, OutResets      uint64
	Listeners                    []Listener
}

// Listener is a listening socket.
type Listener struct {
	Process      kernel.Process
	NetNS        uint32
	Addr         netip.AddrPort
	Waiting, Max uint32 // connections that nobody accepted yet, and how many may be
	Drops        uint32 // connections and SYNs that the kernel dropped here in the interval
}

// Report is what happened in one interval.
type Report struct {
	From, To   time.Time
	Flows      []Flow // those with traffic, events or open connections
	Namespaces []Namespace
	// Suppressed counts events above Options.EventsPerSecond and
	// Options.MaxConnections: their counters are in Flows.
	Suppressed uint64
}

// Kind is the kind of an Event.
type Kind uint8

const (
	ConnectSlow Kind = iota + 1
	ConnectFailed
	ResetSent
	ResetReceived
	ClosedBad  // had retransmits or an RTT above Options.SlowRTT
	Connection // is open and had them since the last report
)

func (k Kind) String() string {
	if k < ConnectSlow || k > Connection {
		return "unknown"
	}
	return [...]string{"connect_slow", "connect_failed", "reset_sent", "reset_received", "closed_bad", "connection"}[k-1]
}

// Event is one connection out of the ordinary. Local and Remote have both ports.
type Event struct {
	Kind Kind
	Time time.Time
	Identity
	Failure                  Failure       // of ConnectFailed
	State                    State         // that the connection was in, of ResetSent and ResetReceived
	Duration                 time.Duration // of the attempt; of ClosedBad and Connection, the connection's life if it is known
	SRTT, MaxRTT             time.Duration // MaxRTT of Connection is since the last report; 0 where samples cannot be had
	Retransmits              uint32        // in the connection's life
	Recent                   uint32        // of them, those that no Connection told of yet
	BytesSent, BytesReceived uint64        // in the connection's life
}
