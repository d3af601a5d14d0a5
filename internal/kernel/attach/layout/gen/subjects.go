package main

// subject is a module whose structs are measured.
type subject struct {
	module  string
	oldest  string              // release to begin with
	program string              // uses what brings the structs into a program
	types   map[string][]string // struct → its fields; nil: all of them
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
		prefixes: []string{"runtime", "net/http", "net/url", "database/sql", "net", "internal/poll", "crypto/tls", "context",
			"internal/runtime/maps", "internal/abi", "runtime/pprof", "net/http/internal/http2", "net/netip",
			"vendor/golang.org/x/net/http2/hpack", "net/textproto", "errors", "fmt"},
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
			"net/http.http2HeadersFrame": nil, "net/http.http2FrameHeader": nil,
			"net/http/internal/http2.responseWriter": nil, "net/http/internal/http2.responseWriterState": nil, "net/http/internal/http2.stream": nil,
			"net/http/internal/http2.serverConn": nil, "net/http/internal/http2.clientStream": nil, "net/http/internal/http2.ClientConn": nil,
			"net/http/internal/http2.Transport": nil, "net/http/internal/http2.MetaHeadersFrame": nil, "net/http/internal/http2.HeadersFrame": nil,
			"net/http/internal/http2.FrameHeader": nil, "net/http/internal/http2.ServerRequest": nil, "net/http/internal/http2.ClientRequest": nil, "net/http/internal/http2.ClientResponse": nil,
			"vendor/golang.org/x/net/http2/hpack.HeaderField": nil,
			"net/url.URL": nil,

			"net.TCPConn": nil, "net.conn": nil, "net.netFD": nil, "net.TCPAddr": nil, "internal/poll.FD": nil, "crypto/tls.Conn": {"conn", "isClient", "vers"},
			"context.valueCtx": nil, "context.cancelCtx": nil, "context.timerCtx": nil,
			"errors.errorString": nil, "fmt.wrapError": nil,

			"database/sql.DB": nil, "database/sql.Conn": nil, "database/sql.Stmt": nil, "database/sql.Tx": nil, "database/sql.Row": nil,
			"database/sql.Rows": nil, "database/sql.driverConn": nil,
		},
	},
}

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
