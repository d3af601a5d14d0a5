package stocktest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/XSAM/otelsql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.opentelemetry.io/otel/attribute"
	metric "go.opentelemetry.io/otel/sdk/metric"
	stock "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	_ "modernc.org/sqlite"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// database is a real one that can be opened with and without instrumentation.
type database struct {
	system, driver, dsn string
	blob                string // the type of bytes
	duplicate           string // the code of a duplicate key
	slow                string // a query that takes long
}

// useDatabase does what programs do and says what it sees.
func useDatabase(ctx context.Context, d database, db *sql.DB, say func(...any)) {
	run := func(query string, args ...any) {
		res, err := db.ExecContext(ctx, query, args...)
		if say(query, err); err == nil {
			n, err := res.RowsAffected()
			say(n, err)
		}
	}
	run("DROP TABLE IF EXISTS t")
	run("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL, raw " + d.blob + ")")
	run("INSERT INTO t (id, name, price, raw) VALUES ($1, $2, $3, $4), ($5, 'b', 2, NULL)", 1, "a", 1.5, []byte{0, 1}, 2)
	run("INSERT INTO t (id, name) VALUES (1, 'again')")
	run("INSERT INTO missing VALUES (1)")
	run("INSERT INTO t (id, name) VALUES ($1, $2)", 3)
	run("INSERT INTO t (id, name) VALUES ($1, $2)", 3, struct{}{})
	read := func(rows *sql.Rows, err error) {
		if say(err); err != nil {
			return
		}
		columns, err := rows.Columns()
		say(columns, err)
		types, err := rows.ColumnTypes()
		say(err)
		for _, c := range types {
			length, hasLength := c.Length()
			null, hasNull := c.Nullable()
			precision, scale, hasPrecision := c.DecimalSize()
			say(c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, null, hasNull, precision, scale, hasPrecision)
		}
		for rows.Next() {
			values := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			say(rows.Scan(into...))
			say(values...)
		}
		say(rows.NextResultSet(), rows.Err(), rows.Close())
	}
	read(db.QueryContext(ctx, "SELECT id, name, price, raw FROM t ORDER BY id"))
	read(db.QueryContext(ctx, "SELECT id FROM t WHERE name = $1 OR id IN ($2, $3)", "a", 2, 3))
	read(db.QueryContext(ctx, "SELECT nothing FROM t"))
	var name string
	say(db.QueryRowContext(ctx, "SELECT name FROM t WHERE id = $1", 7).Scan(&name) == sql.ErrNoRows)
	say(db.QueryRowContext(ctx, "SELECT name FROM t WHERE id = $1", 1).Scan(&name), name)

	stmt, err := db.PrepareContext(ctx, "SELECT name FROM t WHERE id > $1 ORDER BY id")
	if say(err); err == nil {
		read(stmt.QueryContext(ctx, 0))
		read(stmt.QueryContext(ctx, 1))
		read(stmt.QueryContext(ctx, "no number"))
		say(stmt.Close())
	}
	_, err = db.PrepareContext(ctx, "SELECT FROM WHERE")
	say(err != nil)

	for _, commit := range []bool{true, false} {
		tx, err := db.BeginTx(ctx, nil)
		if say(err); err != nil {
			return
		}
		_, err = tx.ExecContext(ctx, "UPDATE t SET price = price + 1 WHERE id = 1")
		say(err)
		inTx, err := tx.PrepareContext(ctx, "SELECT price FROM t WHERE id = $1")
		say(err)
		read(inTx.QueryContext(ctx, 1))
		if commit {
			say(tx.Commit())
		} else {
			say(tx.Rollback())
		}
	}
	read(db.QueryContext(ctx, "SELECT price FROM t WHERE id = 1"))

	// Rows that are left open hold their connection until they are closed.
	rows, err := db.QueryContext(ctx, "SELECT id FROM t")
	say(err, rows.Next(), db.Stats().InUse, rows.Close(), db.Stats().InUse)

	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = db.ExecContext(canceled, "UPDATE t SET price = 0")
	say(err)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	var n int
	say(db.QueryRowContext(short, d.slow).Scan(&n) != nil, short.Err())

	conn, err := db.Conn(ctx)
	say(err)
	say(conn.PingContext(ctx))
	say(conn.Raw(func(raw any) error { say(reflect.TypeOf(sdk.DriverConn(raw))); return nil }))
	say(conn.Close())
	say(reflect.TypeOf(db.Driver()))

	var wg sync.WaitGroup
	var mu sync.Mutex
	sum := 0
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				var id int
				if err := db.QueryRowContext(ctx, "SELECT id FROM t WHERE id = $1", i%2+1).Scan(&id); err != nil {
					say(err)
				}
				mu.Lock()
				sum += id
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	say(sum)
}

// testDatabase runs the program plain and instrumented, with and without
// sampling, and looks at the spans.
func testDatabase(t *testing.T, d database) {
	var want []string
	for _, mode := range []string{"plain", "instrumented without an SDK", "nothing sampled", "all sampled"} {
		var said []string
		var mu sync.Mutex
		say := func(what ...any) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, fmt.Sprintln(what...))
		}
		open := sdk.OpenSQL
		if mode == "plain" {
			open = sql.Open
		}
		db, err := open(d.driver, d.dsn)
		if err != nil {
			t.Fatal(err)
		}
		r := newReceiver(t)
		ctx := t.Context()
		var s *sdk.SDK
		if strings.HasSuffix(mode, "sampled") {
			share := map[string]float64{"nothing sampled": 0, "all sampled": 1}[mode]
			if s, err = sdk.Start(ctx, sdk.Options{Endpoint: r.URL, Sampler: core.NewByThreshold(share), Failed: func(err error) { t.Error(err) }}); err != nil {
				t.Fatal(err)
			}
			var root trace.Span
			ctx, root = s.TracerProvider().Tracer("t").Start(ctx, "root")
			defer root.End()
		}
		useDatabase(ctx, d, db, say)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if mode == "plain" {
			if want = said; len(want) < 50 {
				t.Fatalf("the program said only %d things", len(want))
			}
			continue
		}
		if !slices.Equal(said, want) {
			t.Errorf("%s, a program sees\n%s\nbut plain\n%s", mode, strings.Join(said, ""), strings.Join(want, ""))
		}
		if s == nil {
			continue
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		d.checkSpans(t, mode == "all sampled", r)
	}
}

func (d database) checkSpans(t *testing.T, all bool, r *receiver) {
	t.Helper()
	byName := map[string][]*tracepb.Span{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range r.spans {
		for _, scope := range resource.ScopeSpans {
			for _, sp := range scope.Spans {
				byName[sp.Name] = append(byName[sp.Name], sp)
				if sp.Kind == tracepb.Span_SPAN_KIND_CLIENT && attributeOf(sp, "db.system.name").GetStringValue() != d.system {
					t.Errorf("span %q of system %v", sp.Name, attributeOf(sp, "db.system.name"))
				}
			}
		}
	}
	find := func(name, key, want string) {
		t.Helper()
		for _, sp := range byName[name] {
			if attributeOf(sp, key).GetStringValue() == want {
				return
			}
		}
		t.Errorf("no span %q with %s %q among %v", name, key, want, byName[name])
	}
	find("INSERT t", "db.response.status_code", d.duplicate)
	find("INSERT t", "error.type", d.duplicate)
	find("INSERT t", "db.query.text", "INSERT INTO t (id, name) VALUES (?, ?)")
	find("INSERT missing", "db.collection.name", "missing")
	if !all {
		if n := len(byName["COMMIT"]) + len(byName["SELECT t"]); n > 3 { // a wrong column, a wrong type and the cancelled ones
			t.Errorf("%d spans that did not fail were kept", n)
		}
		return
	}
	find("CREATE TABLE t", "db.operation.name", "CREATE TABLE")
	find("SELECT t", "db.query.text", "SELECT id FROM t WHERE name = $1 OR id IN (?)")
	for name, want := range map[string]int{"BEGIN": 2, "COMMIT": 1, "ROLLBACK": 1} {
		if n := len(byName[name]); n != want {
			t.Errorf("%d spans %q, want %d", n, name, want)
		}
	}
	if n := len(byName["SELECT t"]); n < 320 {
		t.Errorf("%d selects", n)
	}
}

func TestSQLite(t *testing.T) {
	testDatabase(t, database{
		system: "sqlite", driver: "sqlite", dsn: "file:" + filepath.Join(t.TempDir(), "t.db") + "?_pragma=busy_timeout(5000)", blob: "BLOB",
		duplicate: "1555", slow: "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
	})
}

func TestSQLiteNamedArguments(t *testing.T) {
	db, err := sdk.OpenSQL("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRow("SELECT :a + :b", sql.Named("a", 1), sql.Named("b", 2)).Scan(&n); err != nil || n != 3 {
		t.Errorf("1 + 2 is %d, error %v", n, err)
	}
}

// An unknown driver and a malformed name are the errors they are without us.
func TestOpenFails(t *testing.T) {
	for _, name := range []string{"nobody", "pgx"} {
		_, want := sql.Open(name, "postgres://%zz")
		_, got := sdk.OpenSQL(name, "postgres://%zz")
		if name == "nobody" && want == nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("error %v, want %v", got, want)
		}
	}
}

// startPostgres starts a server for the test; it skips where there is none.
func startPostgres(t *testing.T) (dsn string) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI needs postgresql")
		}
		t.Skip("PostgreSQL is not installed: /usr/lib/postgresql/*/bin/initdb is not there")
	}
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var as *syscall.SysProcAttr
	if os.Getuid() == 0 { // which PostgreSQL refuses
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	data := filepath.Join(dir, "data")
	setUp := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "test", "--no-sync")
	setUp.SysProcAttr, setUp.Dir = as, dir
	if out, err := setUp.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", dir, "-F")
	server.SysProcAttr, server.Dir = as, dir
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = server.Wait()
	})
	dsn = fmt.Sprintf("postgres://test@127.0.0.1:%d/postgres?sslmode=disable", port)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for deadline := time.Now().Add(60 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := db.PingContext(ctx)
		cancel()
		if err == nil {
			return dsn
		}
		if time.Now().After(deadline) {
			t.Fatalf("PostgreSQL does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // between two tries
	}
}

func TestPostgres(t *testing.T) {
	dsn := startPostgres(t)
	testDatabase(t, database{system: "postgresql", driver: "pgx", dsn: dsn, blob: "BYTEA", duplicate: "23505", slow: "SELECT 1 FROM pg_sleep(30)"})

	// Connections that the server ends are replaced, and no failure.
	r := newReceiver(t)
	s, err := sdk.Start(t.Context(), sdk.Options{Endpoint: r.URL, Sampler: core.NewByThreshold(0), Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	db, err := sdk.OpenSQL("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	admin, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	var pid int
	if err := db.QueryRow("SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec("SELECT pg_terminate_backend($1, 5000)", pid); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow("SELECT 1").Scan(&pid); err != nil {
		t.Errorf("the connection is not replaced: %v", err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(r.spans) != 0 {
		t.Errorf("a connection that was replaced is a failure: %v", r.spans)
	}
}

// nothing is a database that answers at once, to see what is added to it.
type nothing struct{}

func (n nothing) Connect(context.Context) (driver.Conn, error) { return n, nil }
func (n nothing) Driver() driver.Driver                        { return n }
func (n nothing) Open(string) (driver.Conn, error)             { return n, nil }
func (n nothing) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not needed") }
func (n nothing) Close() error                                 { return nil }
func (n nothing) Begin() (driver.Tx, error)                    { return nil, errors.New("not needed") }
func (n nothing) ResetSession(context.Context) error           { return nil }
func (n nothing) IsValid() bool                                { return true }
func (n nothing) CheckNamedValue(*driver.NamedValue) error     { return nil }
func (n nothing) Columns() []string                            { return oneColumn }
func (n nothing) Next([]driver.Value) error                    { return nil }
func (n nothing) LastInsertId() (int64, error)                 { return 0, nil }
func (n nothing) RowsAffected() (int64, error)                 { return 0, nil }
func (n nothing) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return n, nil
}
func (n nothing) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return n, nil
}

var oneColumn = []string{"a"}

// discard is where both SDKs send spans; ours has encoded them by then.
type discard struct{}

func (discard) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

func (discard) ExportSpans(context.Context, []stock.ReadOnlySpan) error { return nil }
func (discard) Shutdown(context.Context) error                          { return nil }

// BenchmarkSQL is what a query costs on a database that answers at once, bare,
// with this SDK, and with the stock one and otelsql.
func BenchmarkSQL(b *testing.B) {
	const query = "SELECT name, price FROM orders WHERE id = $1 AND region IN ($2, $3)"
	measure := func(b *testing.B, ctx context.Context, db *sql.DB) {
		defer db.Close()
		b.Run("exec", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := db.ExecContext(ctx, query); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("query", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rows, err := db.QueryContext(ctx, query)
				if err != nil {
					b.Fatal(err)
				}
				_ = rows.Close()
			}
		})
	}
	b.Run("bare", func(b *testing.B) { measure(b, context.Background(), sql.OpenDB(nothing{})) })
	for _, share := range []float64{0, 1} {
		b.Run(fmt.Sprintf("ours/sampled=%v", share), func(b *testing.B) {
			s, err := sdk.Start(context.Background(), sdk.Options{Client: &http.Client{Transport: discard{}}, Sampler: core.NewByThreshold(share), Failed: func(error) {}})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Shutdown(context.Background())
			ctx, root := s.TracerProvider().Tracer("t").Start(context.Background(), "root")
			defer root.End()
			measure(b, ctx, sdk.SQL{System: "postgresql", Server: "db:5432", Namespace: "shop"}.OpenDB(nothing{}))
		})
		b.Run(fmt.Sprintf("otelsql/sampled=%v", share), func(b *testing.B) {
			tp := stock.NewTracerProvider(stock.WithSampler(stock.ParentBased(stock.TraceIDRatioBased(share))), stock.WithBatcher(discard{}))
			mp := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
			defer tp.Shutdown(context.Background())
			ctx, root := tp.Tracer("t").Start(context.Background(), "root")
			defer root.End()
			measure(b, ctx, otelsql.OpenDB(nothing{}, otelsql.WithTracerProvider(tp), otelsql.WithMeterProvider(mp),
				otelsql.WithAttributes(attribute.String("db.system.name", "postgresql"), attribute.String("server.address", "db"), attribute.Int("server.port", 5432), attribute.String("db.namespace", "shop"))))
		})
	}
}
