//go:build linux && (amd64 || arm64)

package attach

import "strings"

// place is where in a function a probe stands.
type place int

const (
	body    place = iota // behind the prologue
	returns              // at each return
	call                 // where it calls another
)

// probe is one program at one function.
type probe struct {
	program  string
	function string
	older    string // the function's name in older versions
	at       place
	callee   string // of call
	optional bool   // the library works without it
}

// Goroutines is the name of the Library that connects spans, and makes none.
const Goroutines = "goroutines"

const (
	goroutineProgram = "goroutine_made"
	serveProgram     = "http_serve"
)

// library is what to probe for one kind of span.
type library struct {
	name    string
	module  string // "" for the standard library
	present string // the function that is there if the program uses it
	calls   bool   // its spans are of calls, whose parents are found by goroutine
	probes  []probe
	need    []field // without these there are no spans
	want    []field // without these, something in them is missing
}

// field is one offset and where it goes.
type field struct {
	typ, name string
	to        func(*attachOffsets) *uint16
}

// libraries in the order in which their probes are set: what ends spans stands
// before what begins them, so that none stays open.
func libraries() []library {
	return []library{
		{
			name: Goroutines, present: "runtime.newproc1",
			probes: []probe{{program: goroutineProgram, function: "runtime.newproc1", at: call, callee: "runtime.isSystemGoroutine"}},
			need: []field{
				{"runtime.g", "goid", func(o *attachOffsets) *uint16 { return &o.G_goid }},
				{"runtime.g", "m", func(o *attachOffsets) *uint16 { return &o.G_m }},
				{"runtime.m", "curg", func(o *attachOffsets) *uint16 { return &o.M_curg }},
			},
			want: []field{{"runtime.g", "gopc", func(o *attachOffsets) *uint16 { return &o.G_gopc }}},
		},
		{
			name: "net/http server", present: "net/http.serverHandler.ServeHTTP",
			probes: []probe{
				{program: "http_served", function: "net/http.(*response).finishRequest"},
				{program: "http_hijacked", function: "net/http.(*response).Hijack", optional: true},
				{program: "http_closed", function: "net/http.(*conn).finalFlush", optional: true},
				{program: serveProgram, function: "net/http.serverHandler.ServeHTTP"},
			},
			need: append([]field{
				{"net/http.response", "status", func(o *attachOffsets) *uint16 { return &o.ResponseStatus }},
				{"net/http.Request", "ProtoMajor", func(o *attachOffsets) *uint16 { return &o.RequestProto }},
			}, requestFields...),
			want: append([]field{
				{"net/http.Request", "Header", func(o *attachOffsets) *uint16 { return &o.RequestHeader }},
				{"net/http.response", "conn", func(o *attachOffsets) *uint16 { return &o.ResponseConn }},
				{"net/http.conn", "rwc", func(o *attachOffsets) *uint16 { return &o.ConnRwc }},
				{"net/http.conn", "tlsState", func(o *attachOffsets) *uint16 { return &o.ConnTls }},
			}, flowFields...),
		},
		{
			name: "net/http HTTP/2 server", present: "net/http.(*http2serverConn).runHandler",
			probes: []probe{{program: "h2_done", function: "net/http.(*http2responseWriter).handlerDone"}},
			want:   serverStream("net/http.http2", false),
			need: []field{
				{"net/http.http2responseWriter", "rws", func(o *attachOffsets) *uint16 { return &o.H2Rws }},
				{"net/http.http2responseWriterState", "status", func(o *attachOffsets) *uint16 { return &o.H2Status }},
			},
		},
		{ // where Go 1.27 moved it
			name: "net/http HTTP/2 server", present: "net/http/internal/http2.(*serverConn).runHandler",
			probes: []probe{{program: "h2_done", function: "net/http/internal/http2.(*responseWriter).handlerDone"}},
			want:   serverStream("net/http/internal/http2.", false),
			need: []field{
				{"net/http/internal/http2.responseWriter", "rws", func(o *attachOffsets) *uint16 { return &o.H2Rws }},
				{"net/http/internal/http2.responseWriterState", "status", func(o *attachOffsets) *uint16 { return &o.H2Status }},
			},
		},
		{
			name: "golang.org/x/net/http2 server", module: "golang.org/x/net", present: "golang.org/x/net/http2.(*serverConn).runHandler",
			probes: []probe{
				{program: "xh2_done", function: "golang.org/x/net/http2.(*responseWriter).handlerDone"},
				{program: "xh2_serve", function: "golang.org/x/net/http2.(*serverConn).runHandler"},
			},
			need: append([]field{
				{"golang.org/x/net/http2.responseWriter", "rws", func(o *attachOffsets) *uint16 { return &o.Xh2Rws }},
				{"golang.org/x/net/http2.responseWriterState", "status", func(o *attachOffsets) *uint16 { return &o.Xh2Status }},
				{"net/http.Request", "ProtoMajor", func(o *attachOffsets) *uint16 { return &o.RequestProto }},
			}, requestFields...),
			want: serverStream("golang.org/x/net/http2.", true),
		},
		{
			name: "Gin", module: "github.com/gin-gonic/gin", present: "github.com/gin-gonic/gin.(*Engine).handleHTTPRequest",
			probes: []probe{{program: "gin_handle", function: "github.com/gin-gonic/gin.(*Engine).handleHTTPRequest"}},
			need: []field{
				{"github.com/gin-gonic/gin.Context", "writermem", func(o *attachOffsets) *uint16 { return &o.GinWriter }},
				{"github.com/gin-gonic/gin.Context", "fullPath", func(o *attachOffsets) *uint16 { return &o.GinPath }},
			},
		},
		{
			name: "net/http client", calls: true, present: "net/http.(*Transport).roundTrip",
			probes: []probe{
				{program: "http_sent", function: "net/http.(*Transport).roundTrip", at: returns},
				{program: "http_conn", function: "net/http.(*persistConn).roundTrip", optional: true},
				{program: "http_send", function: "net/http.(*Transport).roundTrip"},
			},
			need: clientFields,
			want: append([]field{
				{"net/http.persistConn", "conn", func(o *attachOffsets) *uint16 { return &o.PconnConn }},
				{"net/http.persistConn", "tlsState", func(o *attachOffsets) *uint16 { return &o.PconnTls }},
			}, flowFields...),
		},
		clientStream("net/http client over HTTP/2", "", "net/http.http2", "h2_stream"),
		clientStream("net/http client over HTTP/2", "", "net/http/internal/http2.", "h2_stream"),
		clientStream("golang.org/x/net/http2 client", "golang.org/x/net", "golang.org/x/net/http2.", "xh2_stream"),
		{
			name: "golang.org/x/net/http2 client", calls: true, module: "golang.org/x/net", present: "golang.org/x/net/http2.(*Transport).RoundTrip",
			probes: []probe{
				{program: "http_sent", function: "golang.org/x/net/http2.(*Transport).roundTripOpt", older: "golang.org/x/net/http2.(*Transport).RoundTripOpt", at: returns},
				{program: "xh2_send", function: "golang.org/x/net/http2.(*Transport).roundTripOpt", older: "golang.org/x/net/http2.(*Transport).RoundTripOpt"},
			},
			need: clientFields,
		},
		{
			name: "database/sql", calls: true, present: "database/sql.(*DB).queryDC",
			probes: []probe{
				{program: "sql_queried", function: "database/sql.(*DB).queryDC", at: returns},
				{program: "sql_query", function: "database/sql.(*DB).queryDC"},
			},
			want: connectorFields,
		},
		{
			name: "database/sql", calls: true, present: "database/sql.(*DB).execDC",
			probes: []probe{
				{program: "sql_execed", function: "database/sql.(*DB).execDC", at: returns},
				{program: "sql_exec", function: "database/sql.(*DB).execDC"},
			},
			want: connectorFields,
		},
		{
			name: "database/sql", calls: true, present: "database/sql.(*Stmt).QueryContext",
			probes: []probe{
				{program: "sql_queried", function: "database/sql.(*Stmt).QueryContext", at: returns},
				{program: "sql_stmt", function: "database/sql.(*Stmt).QueryContext"},
			},
			need: statementFields, want: connectorFields,
		},
		{
			name: "database/sql", calls: true, present: "database/sql.(*Stmt).ExecContext",
			probes: []probe{
				{program: "sql_execed", function: "database/sql.(*Stmt).ExecContext", at: returns},
				{program: "sql_stmt", function: "database/sql.(*Stmt).ExecContext"},
			},
			need: statementFields, want: connectorFields,
		},
		{
			name: "database/sql", calls: true, present: "database/sql.(*DB).beginDC",
			probes: []probe{
				{program: "sql_queried", function: "database/sql.(*DB).beginDC", at: returns},
				{program: "sql_begin", function: "database/sql.(*DB).beginDC"},
			},
			want: connectorFields,
		},
		{
			name: "database/sql", calls: true, present: "database/sql.(*Tx).Commit",
			probes: []probe{
				{program: "sql_finished", function: "database/sql.(*Tx).Commit", at: returns},
				{program: "sql_commit", function: "database/sql.(*Tx).Commit"},
			},
			need: transactionFields, want: connectorFields,
		},
		{
			name: "database/sql", calls: true, present: "database/sql.(*Tx).rollback",
			probes: []probe{
				{program: "sql_finished", function: "database/sql.(*Tx).rollback", at: returns},
				{program: "sql_rollback", function: "database/sql.(*Tx).rollback"},
			},
			need: transactionFields, want: connectorFields,
		},
		{
			name: "gRPC server", module: grpcModule, present: "google.golang.org/grpc.(*Server).handleStream",
			probes: []probe{
				{program: "grpc_served", function: grpcTransport + "(*http2Server).writeStatus", older: grpcTransport + "(*http2Server).WriteStatus"},
				{program: "grpc_served", function: grpcTransport + "(*serverHandlerTransport).writeStatus", older: grpcTransport + "(*serverHandlerTransport).WriteStatus", optional: true},
				{program: "grpc_headers", function: grpcTransport + "(*http2Server).operateHeaders", optional: true},
				{program: "grpc_serve", function: "google.golang.org/grpc.(*Server).handleStream"},
			},
			need: []field{
				{grpcTransport + "Stream", "method", func(o *attachOffsets) *uint16 { return &o.GsMethod }},
				{grpcTransport + "Stream", "id", func(o *attachOffsets) *uint16 { return &o.GsId }},
			},
			want: append([]field{
				{grpcTransport + "http2Server", "conn", func(o *attachOffsets) *uint16 { return &o.GsConn }},
				{"golang.org/x/net/http2.MetaHeadersFrame", "HeadersFrame", func(o *attachOffsets) *uint16 { return &o.FrameHeaders }},
				{"golang.org/x/net/http2.MetaHeadersFrame", "Fields", func(o *attachOffsets) *uint16 { return &o.FrameFields }},
				{"golang.org/x/net/http2.FrameHeader", "StreamID", func(o *attachOffsets) *uint16 { return &o.FrameStream }},
			}, append(statusFields, flowFields...)...),
		},
		{
			name: "gRPC client", calls: true, module: grpcModule, present: "google.golang.org/grpc.(*ClientConn).Invoke",
			probes: []probe{
				{program: "grpc_written", function: grpcTransport + "(*http2Client).write", older: grpcTransport + "(*http2Client).Write", optional: true},
				{program: "grpc_invoked", function: "google.golang.org/grpc.(*ClientConn).Invoke", at: returns},
				{program: "grpc_invoke", function: "google.golang.org/grpc.(*ClientConn).Invoke"},
			},
			want: grpcClientFields,
		},
		{
			name: "gRPC client", calls: true, module: grpcModule, present: "google.golang.org/grpc.(*ClientConn).NewStream",
			probes: []probe{
				{program: "grpc_attempt", function: "google.golang.org/grpc.(*clientStream).newAttemptLocked"},
				{program: "grpc_finish", function: "google.golang.org/grpc.(*clientStream).finish"},
				{program: "grpc_opened", function: "google.golang.org/grpc.(*ClientConn).NewStream", at: returns},
				{program: "grpc_open", function: "google.golang.org/grpc.(*ClientConn).NewStream"},
			},
			want: append([]field{
				{"google.golang.org/grpc.clientStream", "attempt", func(o *attachOffsets) *uint16 { return &o.CsAttempt }},
			}, grpcClientFields...),
		},
		redisLibrary("github.com/redis/go-redis/v9", redis8),
		redisLibrary("github.com/go-redis/redis/v8", redis8),
		redisLibrary("github.com/go-redis/redis/v7", redis7),
		redisLibrary("github.com/go-redis/redis", redis6),
	}
}

const (
	grpcModule    = "google.golang.org/grpc"
	grpcTransport = "google.golang.org/grpc/internal/transport."
)

var requestFields = []field{
	{"net/http.Request", "Method", func(o *attachOffsets) *uint16 { return &o.RequestMethod }},
	{"net/http.Request", "URL", func(o *attachOffsets) *uint16 { return &o.RequestUrl }},
	{"net/http.Request", "Host", func(o *attachOffsets) *uint16 { return &o.RequestHost }},
	{"net/url.URL", "Path", func(o *attachOffsets) *uint16 { return &o.UrlPath }},
}

var clientFields = append([]field{
	{"net/http.Response", "StatusCode", func(o *attachOffsets) *uint16 { return &o.HttpResponseStatus }},
	{"net/url.URL", "Host", func(o *attachOffsets) *uint16 { return &o.UrlHost }},
	{"net/url.URL", "Scheme", func(o *attachOffsets) *uint16 { return &o.UrlScheme }},
}, requestFields...)

// either puts an offset where that of net/http's HTTP/2 belongs, or that of golang.org/x/net's.
func either(x bool, own, other func(*attachOffsets) *uint16) func(*attachOffsets) *uint16 {
	if x {
		return other
	}
	return own
}

// serverStream finds the connection of an HTTP/2 request that is served, and its number there.
func serverStream(prefix string, x bool) []field {
	return append([]field{
		{prefix + "responseWriterState", "stream", either(x, func(o *attachOffsets) *uint16 { return &o.H2Stream }, func(o *attachOffsets) *uint16 { return &o.Xh2Stream })},
		{prefix + "stream", "id", either(x, func(o *attachOffsets) *uint16 { return &o.H2Id }, func(o *attachOffsets) *uint16 { return &o.Xh2Id })},
		{prefix + "stream", "sc", either(x, func(o *attachOffsets) *uint16 { return &o.H2Sc }, func(o *attachOffsets) *uint16 { return &o.Xh2Sc })},
		{prefix + "serverConn", "conn", either(x, func(o *attachOffsets) *uint16 { return &o.H2Conn }, func(o *attachOffsets) *uint16 { return &o.Xh2Conn })},
		{prefix + "serverConn", "tlsState", either(x, func(o *attachOffsets) *uint16 { return &o.H2Tls }, func(o *attachOffsets) *uint16 { return &o.Xh2Tls })},
	}, flowFields...)
}

// clientStream tells the server of an HTTP/2 request whose child it is.
func clientStream(name, module, prefix, program string) library {
	x := module != ""
	dot := strings.LastIndexByte(prefix, '.') + 1
	sent := prefix[:dot] + "(*" + prefix[dot:] + "clientStream).encodeAndWriteHeaders"
	return library{
		name: name, module: module, present: sent,
		probes: []probe{{program: program, function: sent}},
		need: append([]field{
			{prefix + "clientStream", "ID", either(x, func(o *attachOffsets) *uint16 { return &o.H2SentId }, func(o *attachOffsets) *uint16 { return &o.Xh2SentId })},
			{prefix + "clientStream", "cc", either(x, func(o *attachOffsets) *uint16 { return &o.H2Cc }, func(o *attachOffsets) *uint16 { return &o.Xh2Cc })},
			{prefix + "ClientConn", "tconn", either(x, func(o *attachOffsets) *uint16 { return &o.H2Client }, func(o *attachOffsets) *uint16 { return &o.Xh2Client })},
			{prefix + "ClientConn", "tlsState", either(x, func(o *attachOffsets) *uint16 { return &o.H2ClientTls }, func(o *attachOffsets) *uint16 { return &o.Xh2ClientTls })},
		}, flowFields...),
	}
}

// flowFields find the addresses of a connection. That a net.TCPConn is a net.conn
// and nothing else is taken for granted.
var flowFields = []field{
	{"crypto/tls.Conn", "conn", func(o *attachOffsets) *uint16 { return &o.TlsConn }},
	{"net.conn", "fd", func(o *attachOffsets) *uint16 { return &o.TcpFd }},
	{"net.netFD", "laddr", func(o *attachOffsets) *uint16 { return &o.FdLaddr }},
	{"net.netFD", "raddr", func(o *attachOffsets) *uint16 { return &o.FdRaddr }},
	{"net.TCPAddr", "IP", func(o *attachOffsets) *uint16 { return &o.AddrIp }},
	{"net.TCPAddr", "Port", func(o *attachOffsets) *uint16 { return &o.AddrPort }},
}

var connectorFields = []field{
	{"database/sql.DB", "connector", func(o *attachOffsets) *uint16 { return &o.DbConnector }},
}

var statementFields = []field{
	{"database/sql.Stmt", "query", func(o *attachOffsets) *uint16 { return &o.StmtQuery }},
	{"database/sql.Stmt", "db", func(o *attachOffsets) *uint16 { return &o.StmtDb }},
}

var transactionFields = []field{
	{"database/sql.Tx", "db", func(o *attachOffsets) *uint16 { return &o.TxDb }},
	{"database/sql.Tx", "done", func(o *attachOffsets) *uint16 { return &o.TxDone }},
}

var statusFields = []field{
	{"google.golang.org/grpc/internal/status.Status", "s", func(o *attachOffsets) *uint16 { return &o.StatusS }},
	{"google.golang.org/genproto/googleapis/rpc/status.Status", "Code", func(o *attachOffsets) *uint16 { return &o.StatusCode }},
}

var grpcClientFields = append([]field{
	{"google.golang.org/grpc.ClientConn", "target", func(o *attachOffsets) *uint16 { return &o.CcTarget }},
	{"google.golang.org/grpc/internal/status.Error", "s", func(o *attachOffsets) *uint16 { return &o.ErrorS }},
	{grpcTransport + "http2Client", "conn", func(o *attachOffsets) *uint16 { return &o.GcConn }},
	{grpcTransport + "Stream", "id", func(o *attachOffsets) *uint16 { return &o.GsId }},
}, append(statusFields, flowFields...)...)

// redisShape is what of go-redis changed between versions.
type redisShape struct {
	one, oneOlder   string // method that sends a command, with all attempts
	many, manyOlder string // and a pipeline
	present         string
	send, pipe      string // programs, by where the arguments are
	args            string // of a command
}

func redisLibrary(module string, s redisShape) library {
	client := module + ".(*baseClient)."
	method := func(program, name, older string, at place) probe {
		p := probe{program: program, function: client + name, at: at}
		if older != "" {
			p.older = client + older
		}
		return p
	}
	sent, piped := method("redis_sent", s.many, s.manyOlder, returns), method(s.pipe, s.many, s.manyOlder, body)
	sent.optional, piped.optional = true, true
	return library{
		name: "go-redis", calls: true, module: module, present: client + s.present,
		probes: []probe{method("redis_sent", s.one, s.oneOlder, returns), sent, piped, method(s.send, s.one, s.oneOlder, body)},
		need:   []field{{module + ".baseCmd", s.args, func(o *attachOffsets) *uint16 { return &o.RedisArgs }}},
		want: []field{
			{module + ".baseClient", "opt", func(o *attachOffsets) *uint16 { return &o.RedisOpt }},
			{module + ".Options", "Addr", func(o *attachOffsets) *uint16 { return &o.RedisAddr }},
		},
	}
}

var (
	// In newer versions process and its like are inlined into wrappers, which go on to these.
	redis8 = redisShape{one: "processStartingAt", oneOlder: "process", many: "generalProcessPipelineFrom", manyOlder: "generalProcessPipeline",
		present: "_process", send: "redis_send", pipe: "redis_pipe", args: "args"}
	// process is itself a wrapper.
	redis7 = redisShape{one: "_process", many: "generalProcessPipeline", manyOlder: "_generalProcessPipeline",
		present: "_process", send: "redis_send", pipe: "redis_pipe", args: "args"}
	redis6 = redisShape{one: "defaultProcess", many: "generalProcessPipeline",
		present: "defaultProcess", send: "redis6_send", pipe: "redis6_pipe", args: "_args"}
)
