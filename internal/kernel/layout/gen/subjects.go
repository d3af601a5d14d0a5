package main

// subject is a module whose structs are measured.
type subject struct {
	module    string
	oldest    string              // release to begin with
	program   string              // uses what brings the structs into a program
	types     map[string][]string // struct → its fields; nil: all of them
	functions []string            // whose arguments are wanted
	// prefixes are the packages that the structs are of.
	prefixes []string
}

// goReleases are the first and the last release of each version of Go: structs of the standard
// library do not move in between, but where a security fix needed it. The last of the
// current version grows by hand.
var goReleases = []string{
	"go1.18", "go1.18.10", "go1.19", "go1.19.13", "go1.20", "go1.20.14", "go1.21.0", "go1.21.13", "go1.22.0", "go1.22.12",
	"go1.23.0", "go1.23.12", "go1.24.0", "go1.24.9", "go1.25.0", "go1.25.5", "go1.26.0", "go1.26.8", "go1.27.0",
}

var subjects = []subject{
	{
		module: "std", program: stdProgram,
		functions: []string{
			"runtime.newproc1", "runtime.goexit1", "runtime.isSystemGoroutine",
			"net/http.serverHandler.ServeHTTP", "net/http.(*response).finishRequest", "net/http.(*response).Hijack", "net/http.(*response).WriteHeader",
			"net/http.(*conn).finalFlush", "net/http.(*conn).serve", "net/http.(*Transport).roundTrip", "net/http.(*persistConn).roundTrip",
			"net/http.(*http2serverConn).runHandler", "net/http.(*http2responseWriter).handlerDone", "net/http.(*http2serverConn).processHeaders",
			"net/http.(*http2Transport).RoundTripOpt", "net/http.(*http2ClientConn).roundTrip",
			"net/http/internal/http2.(*serverConn).runHandler", "net/http/internal/http2.(*responseWriter).handlerDone",
			"net/http/internal/http2.(*Transport).RoundTripOpt", "net/http/internal/http2.(*ClientConn).roundTrip",
			"database/sql.(*DB).queryDC", "database/sql.(*DB).execDC", "database/sql.(*DB).prepareDC", "database/sql.(*DB).beginDC",
			"database/sql.(*Stmt).QueryContext", "database/sql.(*Stmt).ExecContext", "database/sql.(*Tx).Commit", "database/sql.(*Tx).rollback",
		},
		prefixes: []string{"runtime", "net/http", "net/url", "database/sql", "net", "internal/poll", "crypto/tls", "context",
			"internal/runtime/maps", "internal/abi", "runtime/pprof", "net/http/internal/http2", "net/netip",
			"vendor/golang.org/x/net/http2/hpack", "net/textproto", "errors", "fmt", "bufio"},
		types: map[string][]string{
			// Of the runtime only what is needed: these structs are large and move with every release.
			"runtime.g":                 {"goid", "m", "labels", "parentGoid", "gopc", "startpc", "atomicstatus", "sched", "stack", "waitreason"},
			"runtime.m":                 {"g0", "gsignal", "curg", "procid", "id", "p", "tls"},
			"runtime.p":                 {"id", "status", "m"},
			"runtime.stack":             nil,
			"runtime.gobuf":             nil,
			"runtime.funcval":           nil,
			"runtime.itab":              nil,
			"internal/abi.ITab":         nil,
			"internal/abi.Type":         nil,
			"runtime._type":             nil,
			"runtime.hmap":              nil,
			"runtime.bmap":              nil,
			"internal/runtime/maps.Map": nil, "internal/runtime/maps.table": nil, "internal/runtime/maps.groupsReference": nil,
			"internal/runtime/maps.groupReference": nil,
			"runtime/pprof.label":                  nil, "runtime/pprof.LabelSet": nil, "runtime/pprof.labelMap": nil,

			"net/http.Request": nil, "net/http.Response": nil, "net/http.response": nil, "net/http.conn": nil, "net/http.Server": nil,
			"net/http.serverHandler": nil, "net/http.persistConn": nil, "net/http.transportRequest": nil, "net/http.chunkWriter": nil,
			"net/http.Transport": nil, "net/http.Client": nil, "net/http.pattern": nil, "net/http.timeoutWriter": nil, "net/http.connectMethodKey": nil,
			"net/http.http2responseWriter": nil, "net/http.http2responseWriterState": nil, "net/http.http2stream": nil, "net/http.http2serverConn": nil,
			"net/http.http2clientStream": nil, "net/http.http2ClientConn": nil, "net/http.http2Transport": nil, "net/http.http2MetaHeadersFrame": nil,
			"net/http.http2HeadersFrame": nil, "net/http.http2FrameHeader": nil, "net/http.http2Framer": {"wbuf", "w"},
			"net/http/internal/http2.responseWriter": nil, "net/http/internal/http2.responseWriterState": nil, "net/http/internal/http2.stream": nil,
			"net/http/internal/http2.serverConn": nil, "net/http/internal/http2.clientStream": nil, "net/http/internal/http2.ClientConn": nil,
			"net/http/internal/http2.Transport": nil, "net/http/internal/http2.MetaHeadersFrame": nil, "net/http/internal/http2.HeadersFrame": nil,
			"net/http/internal/http2.FrameHeader": nil, "net/http/internal/http2.Framer": {"wbuf", "w"}, "net/http/internal/http2.ServerRequest": nil, "net/http/internal/http2.ClientRequest": nil, "net/http/internal/http2.ClientResponse": nil,
			"vendor/golang.org/x/net/http2/hpack.HeaderField": nil,
			"net/url.URL": nil, "bufio.Writer": nil,

			"net.TCPConn": nil, "net.conn": nil, "net.netFD": nil, "net.TCPAddr": nil, "internal/poll.FD": nil, "crypto/tls.Conn": {"conn", "isClient", "vers"},
			"net/http.connReader": {"conn"},
			"context.valueCtx":    nil, "context.cancelCtx": nil, "context.timerCtx": nil,
			"errors.errorString": nil, "fmt.wrapError": nil,

			"database/sql.DB": nil, "database/sql.Conn": nil, "database/sql.Stmt": nil, "database/sql.Tx": nil, "database/sql.Row": nil,
			"database/sql.Rows": nil, "database/sql.driverConn": nil,
		},
	},
	{
		module: "golang.org/x/net", oldest: "v0.1.0", program: http2Program,
		functions: []string{
			"golang.org/x/net/http2.(*serverConn).runHandler", "golang.org/x/net/http2.(*responseWriter).handlerDone",
			"golang.org/x/net/http2.(*Transport).RoundTripOpt", "golang.org/x/net/http2.(*ClientConn).roundTrip",
		},
		prefixes: []string{"golang.org/x/net/http2", "golang.org/x/net/http2/hpack"},
		types: map[string][]string{
			"golang.org/x/net/http2.responseWriter": nil, "golang.org/x/net/http2.responseWriterState": nil, "golang.org/x/net/http2.stream": nil,
			"golang.org/x/net/http2.serverConn": nil, "golang.org/x/net/http2.clientStream": nil, "golang.org/x/net/http2.ClientConn": nil,
			"golang.org/x/net/http2.Transport": nil, "golang.org/x/net/http2.MetaHeadersFrame": nil, "golang.org/x/net/http2.HeadersFrame": nil,
			"golang.org/x/net/http2.FrameHeader": nil, "golang.org/x/net/http2.Framer": {"wbuf", "w"}, "golang.org/x/net/http2/hpack.HeaderField": nil,
		},
	},
	{
		module: "google.golang.org/grpc", oldest: "v1.40.0", program: grpcProgram,
		functions: []string{
			"google.golang.org/grpc.(*Server).handleStream", "google.golang.org/grpc.(*ClientConn).Invoke", "google.golang.org/grpc.(*ClientConn).NewStream",
			"google.golang.org/grpc.invoke", "google.golang.org/grpc.newClientStream", "google.golang.org/grpc.(*clientStream).finish",
			"google.golang.org/grpc/internal/transport.(*http2Server).WriteStatus", "google.golang.org/grpc/internal/transport.(*http2Server).writeStatus",
			"google.golang.org/grpc/internal/transport.(*serverHandlerTransport).WriteStatus", "google.golang.org/grpc/internal/transport.(*serverHandlerTransport).writeStatus",
			"google.golang.org/grpc/internal/transport.(*http2Server).operateHeaders", "google.golang.org/grpc/internal/transport.(*http2Client).NewStream",
		},
		prefixes: []string{"google.golang.org/grpc", "google.golang.org/grpc/internal/transport", "google.golang.org/grpc/internal/status"},
		types: map[string][]string{
			"google.golang.org/grpc/internal/transport.Stream": nil, "google.golang.org/grpc/internal/transport.ServerStream": nil,
			"google.golang.org/grpc/internal/transport.ClientStream": nil, "google.golang.org/grpc/internal/transport.CallHdr": nil,
			"google.golang.org/grpc/internal/transport.headerFrame": {"hf", "streamID"}, "google.golang.org/grpc/internal/transport.clientHeaders": {"hf", "streamID"},
			"google.golang.org/grpc/internal/transport.http2Server":            {"conn", "ctx", "remoteAddr", "localAddr", "peer", "state"},
			"google.golang.org/grpc/internal/transport.http2Client":            {"conn", "ctx", "remoteAddr", "localAddr", "nextID", "state"},
			"google.golang.org/grpc/internal/transport.serverHandlerTransport": {"req", "rw"},
			"google.golang.org/grpc.ClientConn":                                {"ctx", "target", "authority", "parsedTarget"},
			"google.golang.org/grpc.clientStream":                              {"ctx", "desc", "callHdr", "cc", "attempt", "finished", "methodConfig", "callInfo", "opts"},
			"google.golang.org/grpc.csAttempt":                                 nil, "google.golang.org/grpc.serverStream": {"ctx", "s", "t"},
			"google.golang.org/grpc.Server": {"opts", "conns", "services"}, "google.golang.org/grpc.StreamDesc": nil, "google.golang.org/grpc.MethodDesc": nil,
			"google.golang.org/grpc/internal/status.Status": nil, "google.golang.org/grpc/internal/status.Error": nil,
		},
	},
	{
		module: "github.com/redis/go-redis/v9", oldest: "v9.0.0", program: redisProgram,
		functions: []string{
			"github.com/redis/go-redis/v9.(*baseClient).process", "github.com/redis/go-redis/v9.(*baseClient).processPipeline",
			"github.com/redis/go-redis/v9.(*baseClient).processTxPipeline",
		},
		prefixes: []string{"github.com/redis/go-redis/v9"},
		types: map[string][]string{
			"github.com/redis/go-redis/v9.baseCmd": nil, "github.com/redis/go-redis/v9.Cmd": nil, "github.com/redis/go-redis/v9.StringCmd": nil,
			"github.com/redis/go-redis/v9.baseClient": nil, "github.com/redis/go-redis/v9.Client": nil, "github.com/redis/go-redis/v9.Conn": nil,
			"github.com/redis/go-redis/v9.Options": {"Network", "Addr", "DB", "Username"}, "github.com/redis/go-redis/v9.Pipeline": nil,
			"github.com/redis/go-redis/v9.hooksMixin": nil, "github.com/redis/go-redis/v9.ClusterClient": nil,
		},
	},
}

const http2Program = `package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/http2"
)

func main() {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Header, r.URL, r.Host) })
	s := &http.Server{Addr: os.Args[0], Handler: h}
	http2.ConfigureServer(s, &http2.Server{})
	go s.ListenAndServeTLS("", "")
	c, _ := net.Dial("tcp", os.Args[0])
	go (&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: h})
	t := &http2.Transport{}
	r, _ := http.NewRequestWithContext(context.Background(), "GET", os.Args[0], nil)
	fmt.Println(t.RoundTrip(r))
	fmt.Println(http2.ConfigureTransport(&http.Transport{}))
}
`

const grpcProgram = `package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

type service struct{}

func main() {
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "x.Y",
		HandlerType: (*interface{})(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Z", Handler: func(srv interface{}, ctx context.Context, dec func(interface{}) error, i grpc.UnaryServerInterceptor) (interface{}, error) {
			return nil, status.Error(1, os.Args[0])
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "S", ServerStreams: true, Handler: func(srv interface{}, s grpc.ServerStream) error { return s.SendMsg(srv) }}},
	}, service{})
	l, _ := net.Listen("tcp", os.Args[0])
	go s.Serve(l)
	go http.ListenAndServe("", s)
	cc, _ := grpc.Dial(os.Args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	err := cc.Invoke(context.Background(), "/x.Y/Z", nil, nil)
	fmt.Println(status.FromError(err))
	cs, err := cc.NewStream(context.Background(), &grpc.StreamDesc{}, "/x.Y/S")
	fmt.Println(cs.RecvMsg(nil), err)
}
`

const redisProgram = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/redis/go-redis/v9"
)

func main() {
	ctx := context.Background()
	c := redis.NewClient(&redis.Options{Addr: os.Args[0]})
	fmt.Println(c.Get(ctx, "k").Result())
	fmt.Println(c.Do(ctx, "k").Result())
	fmt.Println(c.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "k", "v", 0).Err() }))
	fmt.Println(c.Conn().Ping(ctx))
	fmt.Println(redis.NewClusterClient(&redis.ClusterOptions{}).Get(ctx, "k"))
}
`

// stdProgram serves and asks, by HTTP of both versions, talks to a database, and labels a goroutine.
const stdProgram = `package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"time"
)

func main() {
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), "k", "v"), time.Second)
	defer cancel()
	pprof.Do(ctx, pprof.Labels("a", "b"), func(context.Context) {})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Header, r.URL, r.Host) })
	go http.ListenAndServe("127.0.0.1:0", http.TimeoutHandler(mux, time.Second, ""))
	go http.ListenAndServeTLS("127.0.0.1:0", "", "", mux)
	fmt.Println(http.Get(os.Args[0]))
	db, err := sql.Open(os.Args[0], "")
	if err != nil {
		fmt.Println(fmt.Errorf("x: %w", errors.New("y")))
	}
	conn, _ := db.Conn(ctx)
	conn.QueryContext(ctx, "")
	conn.QueryRowContext(ctx, "").Scan()
	tx, _ := db.BeginTx(ctx, nil)
	st, _ := tx.PrepareContext(ctx, "")
	st.QueryContext(ctx)
	st.ExecContext(ctx)
	tx.ExecContext(ctx, "")
	tx.Commit()
	tx.Rollback()
	m := map[string]string{os.Args[0]: ""}
	fmt.Println(m, db.PingContext(ctx))
}
`
