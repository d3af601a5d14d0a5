//go:build linux && (amd64 || arm64)

package attach

import (
	"encoding/binary"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Kind is what a span is of.
type Kind uint32

const (
	HTTPServer Kind = iota + 1
	HTTPClient
	GRPCServer
	GRPCClient
	SQL
	Redis
)

// String is the name of the library, for people.
func (k Kind) String() string {
	names := [...]string{"", "http server", "http client", "grpc server", "grpc client", "sql", "redis"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Flags tell how a span came about.
type Flags uint32

const (
	Truncated  Flags = 1 << iota // some text did not fit
	Aborted                      // the handler panicked
	Hijacked                     // the handler took the connection; the span ends there
	Remote                       // the parent came with a traceparent header
	Correlated                   // the parent was found by the connection
	HTTP2
	TLS
)

// firstLine, a flag of the kernel's alone, says that the text is method and URI as they came.
const firstLine = 1 << 7

// gRPC's codes that are not in the error itself.
const (
	grpcUnknown  = 2
	grpcDeadline = 4
)

// grpcCode is the code of an error of a call. Only gRPC's own errors hold one; the
// kernel read where it would be.
func grpcCode(typ string, code int) int {
	switch typ {
	case "*google.golang.org/grpc/internal/status.Error":
		return code
	case "context.deadlineExceededError":
		return grpcDeadline
	case "*errors.errorString": // io.EOF, the good end of a stream; or context.Canceled, which cannot be told from it
		return 0
	}
	return grpcUnknown
}

// Span is one piece of work of an attached process.
type Span struct {
	Kind       Kind
	Trace      [16]byte
	ID, Parent [8]byte // Parent is zero for a root
	Start, End time.Time
	Process    kernel.Process
	Goroutine  uint64
	Flags      Flags

	Method string // HTTP's, gRPC's full method, SQL's and Redis' first word
	Host   string // the request's authority; address of the database, where known
	Route  string // pattern of http.ServeMux, with the method if it names one
	Text   string // path of the URL; SQL
	Status int    // HTTP's, gRPC's code
	Error  string // type of the error that the call returned, "" if none
	System string // type of the SQL driver
	Batch  int    // commands in a Redis pipeline
	Peer   netip.AddrPort
}

func (f *Feature) span(e *attachSpan, a *attached) Span {
	s := Span{
		Kind: Kind(e.Kind), Trace: e.Trace, Start: f.host.Wall(e.Start), Process: a.Process,
		Goroutine: e.Goroutine, Flags: Flags(e.Flags), Status: int(e.Status),
		Method: text(e.Method[:], e.MethodLen), Host: text(e.Host[:], e.HostLen),
		Route: text(e.Route[:], e.RouteLen), Text: text(e.Text[:], e.TextLen),
	}
	if s.Flags&firstLine != 0 {
		s.Flags &^= firstLine
		s.Method, s.Text = splitLine(s.Text, int(e.MethodLen))
	}
	s.Error = a.names.name(e.Error)
	switch s.Kind {
	case SQL:
		s.System = a.names.name(e.Extra)
		if s.System == "database/sql.dsnConnector" { // holds the driver, which has no connector of its own
			s.System = a.names.name(e.Extra2)
		}
		if s.Method == "" { // else a transaction's, which has no text
			s.Method = firstWord(s.Text)
		}
	case Redis:
		s.Method = strings.ToUpper(s.Method)
		s.Batch = int(e.Extra)
	case GRPCClient:
		if s.Error != "" {
			s.Status = grpcCode(s.Error, s.Status)
			if s.Status == 0 {
				s.Error = ""
			}
		}
	}
	s.End = s.Start.Add(time.Duration(e.End - e.Start))
	binary.NativeEndian.PutUint64(s.ID[:], e.Id)
	binary.NativeEndian.PutUint64(s.Parent[:], e.Parent)
	if e.PeerPort != 0 {
		s.Peer = netip.AddrPortFrom(netip.AddrFrom16(e.PeerIp).Unmap(), uint16(e.PeerPort))
	}
	return s
}

// splitLine takes the method and, as net/http does, the path out of a request's first line.
func splitLine(line string, method int) (_, path string) {
	if len(line) <= method {
		return "", "" // it could not be read
	}
	m, uri := line[:method], line[method+1:]
	if strings.HasPrefix(uri, "/") && !strings.Contains(uri, "%") {
		path, _, _ = strings.Cut(uri, "?")
		return m, path
	}
	if m == http.MethodConnect && !strings.HasPrefix(uri, "/") {
		return m, "" // a host alone
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return m, "" // net/http serves none of these
	}
	return m, u.Path
}

// firstWord of SQL says what it does.
func firstWord(sql string) string {
	sql = strings.TrimLeft(sql, " \t\r\n(")
	end := strings.IndexFunc(sql, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
	if end < 0 {
		end = len(sql)
	}
	return strings.ToUpper(sql[:end])
}

func text(b []uint8, n uint16) string {
	return string(b[:min(int(n), len(b))])
}
