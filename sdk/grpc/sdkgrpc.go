// Package sdkgrpc instruments gRPC servers and clients:
//
//	server := grpc.NewServer(sdkgrpc.ServerOptions()...)
//	conn, err := grpc.NewClient(target, sdkgrpc.DialOptions(grpc.WithTransportCredentials(creds))...)
//
// Every call, unary or a stream, has a span that continues the caller's trace
// and counts in the histograms rpc.server.call.duration and
// rpc.client.call.duration, sampled or not; spans of failed calls are all kept.
// Names are those of OpenTelemetry's semantic conventions for RPC 1.43.
//
// It is made of interceptors, not of a stats.Handler. Installing any
// stats.Handler makes gRPC report eight events a call and copy the metadata for
// them: 15 to 17 allocations on each side, before the handler has done anything,
// which is more than all of what is here. A client sees more this way: a
// stats.Handler hears of attempts, not of the call that waits for name resolution
// or is tried again. A server sees less in three places, which its clients see:
// calls of methods that are not registered; requests of unary calls that cannot
// be decoded; answers of unary calls that cannot be encoded, which count as well
// done.
package sdkgrpc

import (
	"net"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// scope is the instrumentation scope.
const scope = "github.com/guanlan-io/guanlan/sdk/grpc"

// DefaultTrace is what gets spans when nobody says otherwise: every method but
// those of health checks, reflection and OTLP, which would be most of the traces
// of a quiet service.
func DefaultTrace(method string) bool {
	return !strings.HasPrefix(method, "/grpc.health.") && !strings.HasPrefix(method, "/grpc.reflection.") && !strings.HasPrefix(method, telemetry)
}

// telemetry begins the methods of OTLP.
const telemetry = "/opentelemetry.proto.collector."

// off reports whether there is no SDK that records.
func off() bool {
	s := sdk.Default()
	return s == nil || !s.Enabled()
}

// otherMethod stands for what is not a method of this server, so that a client
// cannot make series.
const otherMethod = "_OTHER"

// codeNames are those of the semantic conventions, by their number.
var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// outcome is the code and the message that a call which returned err ends with.
func outcome(err error) (codes.Code, string) {
	if err == nil {
		return codes.OK, ""
	}
	s, ok := status.FromError(err)
	if !ok { // gRPC's server answers this
		s = status.FromContextError(err)
	}
	code := s.Code()
	if int(code) >= len(codeNames) { // gRPC wants codes that are not known to be taken for this
		code = codes.Unknown
	}
	return code, s.Message()
}

// serverFault reports whether a code is an error of the server.
// Source: OpenTelemetry semantic conventions 1.43, "gRPC", status.
func serverFault(code codes.Code) bool {
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	}
	return false
}

// describePeer sets the address of the other side.
func describePeer(sp *sdk.Span, p *peer.Peer) {
	switch addr := p.Addr.(type) {
	case nil:
	case *net.TCPAddr:
		if addr != nil {
			sp.SetAttrs(core.String("network.peer.address", addr.IP.String()), core.Int("network.peer.port", int64(addr.Port)))
		}
	default:
		sp.SetAttr(core.String("network.peer.address", addr.String()))
	}
}
