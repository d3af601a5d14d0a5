//go:build linux && (amd64 || arm64)

package attach

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

const goroutineProgram = "goroutine_made"

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
		},
		{
			name: "net/http server", present: "net/http.serverHandler.ServeHTTP",
			probes: []probe{
				{program: "http_served", function: "net/http.(*response).finishRequest"},
				{program: "http_hijacked", function: "net/http.(*response).Hijack", optional: true},
				{program: "http_closed", function: "net/http.(*conn).finalFlush", optional: true},
				{program: "http_serve", function: "net/http.serverHandler.ServeHTTP"},
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
			need: []field{
				{"net/http.http2responseWriter", "rws", func(o *attachOffsets) *uint16 { return &o.H2Rws }},
				{"net/http.http2responseWriterState", "status", func(o *attachOffsets) *uint16 { return &o.H2Status }},
			},
		},
		{ // where Go 1.27 moved it
			name: "net/http HTTP/2 server", present: "net/http/internal/http2.(*serverConn).runHandler",
			probes: []probe{{program: "h2_done", function: "net/http/internal/http2.(*responseWriter).handlerDone"}},
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
		},
		{
			name: "net/http client", calls: true, present: "net/http.(*Transport).roundTrip",
			probes: []probe{
				{program: "http_sent", function: "net/http.(*Transport).roundTrip", at: returns},
				{program: "http_conn", function: "net/http.(*persistConn).roundTrip", optional: true},
				{program: "http_send", function: "net/http.(*Transport).roundTrip"},
			},
			need: append([]field{
				{"net/http.Response", "StatusCode", func(o *attachOffsets) *uint16 { return &o.HttpResponseStatus }},
				{"net/url.URL", "Host", func(o *attachOffsets) *uint16 { return &o.UrlHost }},
				{"net/url.URL", "Scheme", func(o *attachOffsets) *uint16 { return &o.UrlScheme }},
			}, requestFields...),
			want: append([]field{
				{"net/http.persistConn", "conn", func(o *attachOffsets) *uint16 { return &o.PconnConn }},
				{"net/http.persistConn", "tlsState", func(o *attachOffsets) *uint16 { return &o.PconnTls }},
			}, flowFields...),
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
			want: grpcClientFields,
		},
		redisLibrary("github.com/redis/go-redis/v9"),
		redisLibrary("github.com/go-redis/redis/v8"),
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

func redisLibrary(module string) library {
	client := module + ".(*baseClient)."
	// In newer versions process and its like are inlined into wrappers, which go on to these.
	one, oneOlder := client+"processStartingAt", client+"process"
	many, manyOlder := client+"generalProcessPipelineFrom", client+"generalProcessPipeline"
	return library{
		name: "go-redis", calls: true, module: module, present: client + "_process",
		probes: []probe{
			{program: "redis_sent", function: one, older: oneOlder, at: returns},
			{program: "redis_sent", function: many, older: manyOlder, at: returns, optional: true},
			{program: "redis_pipe", function: many, older: manyOlder, optional: true},
			{program: "redis_send", function: one, older: oneOlder},
		},
		need: []field{{module + ".baseCmd", "args", func(o *attachOffsets) *uint16 { return &o.RedisArgs }}},
		want: []field{
			{module + ".baseClient", "opt", func(o *attachOffsets) *uint16 { return &o.RedisOpt }},
			{module + ".Options", "Addr", func(o *attachOffsets) *uint16 { return &o.RedisAddr }},
		},
	}
}
