//go:build linux && (amd64 || arm64)

package attach

import (
	"cmp"
	"net"
	"path"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Scope is the instrumentation scope of the spans.
const Scope = "guanlan.kernel.attach"

// Origin is where the spans come from.
type Origin struct {
	Host    string // host.name
	Version string // of the scope
}

// Traces says spans in OpenTelemetry's terms, those of a service under one resource.
func Traces(o Origin, spans []Span) ptrace.Traces {
	out := ptrace.NewTraces()
	type service struct{ name, exe, container, pod string }
	scopes := map[service]ptrace.ScopeSpans{}
	for i := range spans {
		p := &spans[i].Process
		who := service{exe: executable(p), container: p.Container, pod: p.Pod}
		who.name = cmp.Or(p.Service, who.exe)
		scope, ok := scopes[who]
		if !ok {
			rs := out.ResourceSpans().AppendEmpty()
			a := rs.Resource().Attributes()
			put(a, semconv.ServiceName, who.name)
			put(a, semconv.ServiceInstanceID, instance(o.Host, who.container, who.exe))
			put(a, semconv.HostName, o.Host)
			put(a, semconv.ContainerID, who.container)
			put(a, semconv.K8sPodUID, who.pod)
			put(a, semconv.ProcessExecutableName, who.exe)
			put(a, semconv.TelemetrySDKLanguage, "go")
			scope = rs.ScopeSpans().AppendEmpty()
			scope.Scope().SetName(Scope)
			scope.Scope().SetVersion(o.Version)
			scopes[who] = scope
		}
		spans[i].put(scope.Spans().AppendEmpty())
	}
	return out
}

func executable(p *kernel.Process) string {
	if p.Exe == "" {
		return p.Comm
	}
	return path.Base(strings.TrimSuffix(p.Exe, " (deleted)"))
}

// instance tells programs with one service name apart.
func instance(host, container, exe string) string {
	if container != "" {
		host += "/" + container[:min(len(container), minContainer)]
	}
	return host + "/" + exe
}

// Flags of an OTLP span: the trace's own in the low byte, then whether the parent is known to be of
// another process, and whether it is.
const (
	flagSampled     = 0x001
	flagKnownRemote = 0x100
	flagRemote      = 0x200
)

func (s *Span) put(to ptrace.Span) {
	to.SetTraceID(s.Trace)
	to.SetSpanID(s.ID)
	to.SetParentSpanID(s.Parent)
	to.SetStartTimestamp(pcommon.NewTimestampFromTime(s.Start))
	to.SetEndTimestamp(pcommon.NewTimestampFromTime(s.End))
	flags := uint32(flagSampled | flagKnownRemote)
	if s.Flags&(Remote|Correlated) != 0 {
		flags |= flagRemote
	}
	to.SetFlags(flags)
	to.SetKind(ptrace.SpanKindClient)
	a := to.Attributes()
	a.EnsureCapacity(12)
	failure := s.Error
	switch s.Kind {
	case HTTPServer, HTTPClient:
		failure = s.putHTTP(to, a)
	case GRPCServer, GRPCClient:
		failure = s.putRPC(to, a)
	case SQL:
		name := s.Method
		put(a, semconv.DBSystemName, databaseOf(s.System))
		put(a, semconv.DBOperationName, s.Method)
		put(a, semconv.DBQueryText, withoutLiterals(s.Text))
		to.SetName(cmp.Or(name, "sql"))
	case Redis:
		put(a, semconv.DBSystemName, "redis")
		put(a, semconv.DBOperationName, s.Method)
		if s.Batch > 1 {
			a.PutInt(semconv.DBOperationBatchSize, int64(s.Batch))
		}
		putAddress(a, s.Host)
		to.SetName(cmp.Or(s.Method, "redis"))
	}
	if s.Peer.IsValid() {
		put(a, semconv.NetworkPeerAddress, s.Peer.Addr().String())
		a.PutInt(semconv.NetworkPeerPort, int64(s.Peer.Port()))
	}
	if failure != "" {
		put(a, semconv.ErrorType, failure)
		to.Status().SetCode(ptrace.StatusCodeError)
	}
}

// putHTTP returns why the span counts as failed, "" if it does not.
func (s *Span) putHTTP(to ptrace.Span, a pcommon.Map) string {
	put(a, semconv.HTTPRequestMethod, s.Method)
	put(a, semconv.URLPath, s.Text)
	scheme := "http"
	if s.Flags&TLS != 0 {
		scheme = "https"
	}
	put(a, semconv.URLScheme, scheme)
	putAddress(a, s.Host)
	name := cmp.Or(s.Method, "HTTP")
	status := s.Status
	least := 400 // what a client takes for a failure; a server only its own
	if s.Kind == HTTPServer {
		to.SetKind(ptrace.SpanKindServer)
		least = 500
		if status == 0 && s.Flags&(Hijacked|Aborted) == 0 {
			status = 200 // what net/http sends when a handler says nothing
		}
		if route := routeOf(s.Route); route != "" {
			put(a, semconv.HTTPRoute, route)
			name += " " + route
		}
	}
	to.SetName(name)
	if status != 0 {
		a.PutInt(semconv.HTTPResponseStatusCode, int64(status))
	}
	if s.Flags&HTTP2 != 0 {
		put(a, semconv.NetworkProtocolVersion, "2")
	}
	switch {
	case s.Error != "":
		return s.Error
	case s.Flags&Aborted != 0:
		return "panic"
	case status >= least:
		return strconv.Itoa(status)
	}
	return ""
}

// routeOf takes method and host off a pattern of http.ServeMux.
func routeOf(pattern string) string {
	if i := strings.IndexByte(pattern, '/'); i >= 0 {
		return pattern[i:]
	}
	return pattern
}

// serverFaults are the codes that a server's span counts as failures, by semantic convention.
var serverFaults = [...]bool{2: true, 4: true, 12: true, 13: true, 14: true, 15: true}

func (s *Span) putRPC(to ptrace.Span, a pcommon.Map) string {
	full := strings.TrimPrefix(s.Text, "/")
	service, method, _ := strings.Cut(full, "/")
	put(a, semconv.RPCSystem, "grpc")
	put(a, semconv.RPCService, service)
	put(a, semconv.RPCMethod, method)
	a.PutInt(semconv.RPCGRPCStatusCode, int64(s.Status))
	to.SetName(cmp.Or(full, "grpc"))
	failed := s.Status != 0
	if s.Kind == GRPCServer {
		to.SetKind(ptrace.SpanKindServer)
		failed = s.Status > 0 && s.Status < len(serverFaults) && serverFaults[s.Status]
	} else {
		putAddress(a, targetOf(s.Host))
	}
	if failed {
		return strconv.Itoa(s.Status)
	}
	return ""
}

// targetOf takes scheme and authority off the target of a gRPC client: dns:///host:port.
func targetOf(target string) string {
	if _, rest, ok := strings.Cut(target, "://"); ok {
		_, target, _ = strings.Cut(rest, "/")
	}
	return target
}

func putAddress(a pcommon.Map, hostPort string) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		put(a, semconv.ServerAddress, strings.Trim(hostPort, "[]"))
		return
	}
	put(a, semconv.ServerAddress, host)
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		a.PutInt(semconv.ServerPort, int64(n))
	}
}

func put(a pcommon.Map, key, value string) {
	if value != "" {
		a.PutStr(key, strings.ToValidUTF8(value, "\uFFFD"))
	}
}

// databases: parts of a driver's import path, and OpenTelemetry's name of the product.
var databases = []struct{ part, name string }{
	{"pgx", "postgresql"}, {"lib/pq", "postgresql"}, {"postgres", "postgresql"},
	{"mysql", "mysql"}, {"sqlite", "sqlite"}, {"mssql", "microsoft.sql_server"}, {"sqlserver", "microsoft.sql_server"},
	{"clickhouse", "clickhouse"}, {"godror", "oracle.db"}, {"go-ora", "oracle.db"}, {"snowflake", "snowflake"},
	{"cockroach", "cockroachdb"}, {"duckdb", "duckdb"}, {"trino", "trino"}, {"spanner", "gcp.spanner"},
}

// databaseOf guesses the product by the type of the driver, and calls it other_sql where it cannot.
func databaseOf(driver string) string {
	driver = strings.ToLower(driver)
	for _, d := range databases {
		if strings.Contains(driver, d.part) {
			return d.name
		}
	}
	return "other_sql"
}

// withoutLiterals puts a question mark in the place of strings and numbers of a query: they are
// data of the program's users. What a cut query has of a string goes, too.
func withoutLiterals(sql string) string {
	var b strings.Builder
	b.Grow(len(sql))
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == '\'':
			end := i + 1
			for ; end < len(sql); end++ {
				if sql[end] == '\\' {
					end++
				} else if sql[end] == '\'' {
					if end+1 >= len(sql) || sql[end+1] != '\'' {
						break
					}
					end++ // a doubled quote is one within
				}
			}
			b.WriteByte('?')
			i = min(end+1, len(sql))
		case isDigit(c) && (i == 0 || !isWord(sql[i-1])):
			for i < len(sql) && (isWord(sql[i]) || sql[i] == '.') {
				i++
			}
			b.WriteByte('?')
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isWord also says of $1 and :1 that they are no numbers, but places for them.
func isWord(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$' || c == ':' || c == '"' || c == '@' || c >= 0x80
}
